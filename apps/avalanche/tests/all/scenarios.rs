use fetch::Digest;
use wire::summit::finished::Outcome;
use wire::summit::{
    Cancel, Failed, FailureClass, Finished, HeldState, Limits, Release, Verdict, from_agent, to_agent,
};

use crate::agent::{Agent, Place};
use crate::summit::{Session, Summit};
use crate::until;
use crate::vessel::Vessel;

pub(crate) const BUILD: &str = r#"
echo "building"
printf 'package' > "$OUT/nano-1-1-1-x86_64.stone"
printf 'manifest' > "$OUT/manifest.x86_64.bin"
echo '{"outcome":"built","seconds":1,"peak_memory_bytes":70000000}' > "$REPORT"
echo "built" >&2
"#;

/// The agent comes first: it is dropped before the folder it logs to.
pub(crate) struct Farm {
    pub(crate) agent: Agent,
    pub(crate) summit: Summit,
    pub(crate) place: Place,
}

impl Farm {
    pub(crate) async fn start() -> Option<Farm> {
        Farm::start_with(&["--free-bytes-min", "0"]).await
    }

    pub(crate) async fn start_with(more: &[&str]) -> Option<Farm> {
        if std::process::Command::new("git").arg("--version").output().is_err() {
            testkit::skip("git");
            return None;
        }
        let place = Place::new();
        let summit = Summit::start(place.key()).await;
        let agent = place.start_with(&summit.address, summit.key(), more);
        Some(Farm { place, summit, agent })
    }

    /// The agent is killed and started again.
    pub(crate) fn restart_agent(self) -> Farm {
        let Farm { place, summit, agent } = self;
        agent.kill();
        let agent = place.start(&summit.address, summit.key());
        Farm { place, summit, agent }
    }
}

pub(crate) async fn finished(session: &Session) -> Finished {
    match session.next().await {
        from_agent::Message::Finished(finished) => {
            assert_eq!(finished.lease_token, finished.attempt_id + 1000);
            finished
        }
        other => panic!("not finished: {other:?}"),
    }
}

pub(crate) async fn built(session: &Session) -> Vec<wire::summit::Artefact> {
    match finished(session).await.outcome {
        Some(Outcome::Built(built)) => {
            assert_eq!(built.peak_memory_bytes, 70_000_000, "as Boulder reported it");
            built.artefacts
        }
        other => panic!("not built: {other:?}"),
    }
}

pub(crate) async fn failed(session: &Session) -> (FailureClass, Failed) {
    match finished(session).await.outcome {
        Some(Outcome::Failed(failed)) => (failed.class(), failed),
        other => panic!("not failed: {other:?}"),
    }
}

pub(crate) async fn published(session: &Session) -> String {
    match session.next().await {
        from_agent::Message::Published(published) => published.history,
        other => panic!("not published: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_becomes_packages_at_vessel() {
    let Some(mut farm) = Farm::start_with(&["--slots", "2", "--free-bytes-min", "0"]).await else { return };
    let vessel = Vessel::start(farm.place.key()).await;
    let session = farm.summit.welcome().await;
    assert_eq!((session.hello.name.as_str(), session.hello.slots), ("tester", 2));
    assert_eq!(session.hello.architectures, [std::env::consts::ARCH]);
    assert_eq!(session.hello.held, []);
    assert!(session.hello.cores > 0 && session.hello.memory_bytes > 0);

    session.order(farm.place.order(1, BUILD)).await;
    let artefacts = built(&session).await;
    let names: Vec<&str> = artefacts.iter().map(|artefact| artefact.name.as_str()).collect();
    assert_eq!(names, ["manifest.x86_64.bin", "nano-1-1-1-x86_64.stone"]);
    assert_eq!(artefacts[1].sha256, Digest::of(b"package").to_string());
    assert_eq!(artefacts[1].size_bytes, 7);
    let log = farm.summit.log(1);
    assert!(log.starts_with("[avalanche] n/nano/stone.yaml at "), "{log}");
    assert!(log.ends_with("building\nbuilt\n"), "{log}");

    session.send(vessel.upload(1)).await;
    assert_eq!(published(&session).await, "17-3fa94c21");
    assert_eq!(vessel.shelf.lock().unwrap().held[&artefacts[1].sha256], b"package");
    assert!(farm.place.attempt(1).join("output").exists(), "kept until it is released");
    session.send(to_agent::Message::Release(Release { attempt_id: 1 })).await;
    until("the attempt is deleted", || !farm.place.attempt(1).exists()).await;
    assert!(farm.agent.terminate());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_summit_kills_no_build_and_loses_no_byte() {
    let Some(mut farm) = Farm::start().await else { return };
    let session = farm.summit.welcome().await;
    // The build goes from step to step when the test allows it, by files.
    let script = format!(
        "{}{BUILD}",
        r#"
        wait_for() { while [ ! -e "$DATA/$1" ]; do sleep 0.01; done; }
        seq 1 20000
        touch "$DATA/first"; wait_for go-on
        seq 20001 40000
        touch "$DATA/second"; wait_for finish
        "#
    );
    session.order(farm.place.order(1, &script)).await;
    let log_has = |summit: &Summit, line: &str| summit.log(1).contains(&format!("\n{line}\n"));
    session.store_until("the first part is stored", || log_has(&farm.summit, "20000")).await;
    drop(session);
    farm.summit.stop().await;

    // Nobody listens while the second part is written.
    fs_err::write(farm.place.path("go-on"), "").unwrap();
    until("the build goes on", || farm.place.path("second").exists()).await;
    // Some of what was acknowledged did not survive; the verdict says where to go on.
    farm.summit.lose_log_from(1, 1000);
    farm.summit.restart().await;
    let session = farm.summit.welcome().await;
    let held = &session.hello.held[0];
    assert_eq!((held.attempt_id, held.lease_token, held.state()), (1, 1001, HeldState::Building));
    assert!(held.log_size_bytes > 200_000);
    assert!(matches!(session.next().await, from_agent::Message::Started(started) if started.attempt_id == 1));
    fs_err::write(farm.place.path("finish"), "").unwrap();
    assert_eq!(built(&session).await.len(), 2);

    let log = farm.summit.log(1);
    let numbers: Vec<u32> = log.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers, (1..=40000).collect::<Vec<u32>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_that_goes_back_is_followed() {
    let Some(mut farm) = Farm::start().await else { return };
    let session = farm.summit.welcome().await;
    session.order(farm.place.order(1, &format!("seq 1 1000\n{BUILD}"))).await;
    // The first two pieces are not stored, and said not to be.
    for _ in 0..2 {
        loop {
            if let from_agent::Message::Log(chunk) = session.raw().await {
                assert_eq!(chunk.offset, 0);
                session.acknowledge(1, 0).await;
                break;
            }
        }
    }
    built(&session).await;
    assert!(farm.summit.log(1).ends_with("1000\nbuilding\nbuilt\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_told_again_until_it_is_answered() {
    let Some(mut farm) = Farm::start().await else { return };
    let session = farm.summit.welcome().await;
    session.order(farm.place.order(1, BUILD)).await;
    let first = built(&session).await;
    drop(session);
    farm.summit.stop().await;
    farm.summit.restart().await;
    let session = farm.summit.welcome().await;
    assert_eq!(session.hello.held[0].state(), HeldState::Built);
    assert_eq!(built(&session).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_everything_the_build_started() {
    let Some(mut farm) = Farm::start().await else { return };
    let session = farm.summit.welcome().await;
    let script = "sleep 600 & echo $! > \"$DATA/child\"; echo $$ > \"$DATA/pid\"; echo ready; wait";
    session.order(farm.place.order(1, script)).await;
    session.store_until("the build runs", || farm.summit.log(1).ends_with("ready\n")).await;
    session.send(to_agent::Message::Cancel(Cancel { attempt_id: 1 })).await;
    let (class, _) = failed(&session).await;
    assert_eq!(class, FailureClass::Cancelled);
    for name in ["child", "pid"] {
        let pid = fs_err::read_to_string(farm.place.path(name)).unwrap().trim().to_owned();
        until("its processes are gone", || !is_running(&pid)).await;
    }
    // Its slot is free again.
    session.order(farm.place.order(2, BUILD)).await;
    built(&session).await;
}

pub(crate) fn is_running(pid: &str) -> bool {
    fs_err::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_their_class() {
    async fn check(
        farm: &mut Farm,
        session: &Session,
        id: u64,
        script: &str,
        limits: Limits,
        expect: (FailureClass, &str, &str),
    ) {
        let mut order = farm.place.order(id, script);
        order.limits = Some(limits);
        session.order(order).await;
        let (class, failed) = failed(session).await;
        assert_eq!((class, failed.phase.as_str()), (expect.0, expect.1), "{failed:?}");
        assert!(failed.message.contains(expect.2), "{failed:?}");
        assert_eq!(failed.peak_memory_bytes, if id == 1 || id == 8 { 70_000_000 } else { 0 }, "{failed:?}");
        assert!(farm.summit.log(id).contains(&format!("[avalanche] failed: {}", failed.message)));
        assert!(!farm.place.attempt(id).join("output").exists());
        assert!(!farm.place.attempt(id).join("source").exists());
    }
    let Some(mut farm) = Farm::start().await else { return };
    let session = farm.summit.welcome().await;
    let none = Limits::default;
    let report = r#"echo '{"outcome":"failed","class":"dependency","phase":"check","message":"no provider of x","peak_memory_bytes":70000000}' > "$REPORT"; exit 1"#;
    check(&mut farm, &session, 1, report, none(), (FailureClass::Dependency, "check", "no provider of x"))
        .await;
    check(&mut farm, &session, 2, "exit 70", none(), (FailureClass::HostFault, "", "left no report")).await;
    // Whoever it was, it was not the kernel for want of memory.
    check(&mut farm, &session, 3, "kill -9 $$", none(), (FailureClass::HostFault, "", "killed")).await;
    let empty = r#"echo '{"outcome":"built"}' > "$REPORT""#;
    check(&mut farm, &session, 4, empty, none(), (FailureClass::Build, "", "nothing was built")).await;
    let time = Limits { time_seconds: 1, ..none() };
    check(
        &mut farm,
        &session,
        5,
        "while :; do echo x; sleep 0.1; done",
        time,
        (FailureClass::TimeLimit, "", "1 seconds"),
    )
    .await;
    let silence = Limits { silence_seconds: 1, ..none() };
    check(&mut farm, &session, 6, "sleep 600", silence, (FailureClass::Silence, "", "said nothing")).await;
    let log = Limits { log_bytes: 1_000_000, ..none() };
    check(&mut farm, &session, 7, "yes", log, (FailureClass::LogLimit, "", "1000000")).await;
    assert!(farm.summit.log(7).len() < 1_010_000);
    let output = Limits { output_bytes: 3, ..none() };
    check(&mut farm, &session, 8, BUILD, output, (FailureClass::SizeLimit, "", "the limit is 3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_without_the_commit_is_not_this_hosts_fault_and_one_that_is_gone_is() {
    let Some(mut farm) = Farm::start().await else { return };
    let session = farm.summit.welcome().await;
    let mut order = farm.place.order(1, BUILD);
    order.commit = "ab".repeat(20);
    session.order(order).await;
    let (class, what) = failed(&session).await;
    assert_eq!((class, what.phase.as_str()), (FailureClass::Build, "checkout"), "{what:?}");
    let mut order = farm.place.order(2, BUILD);
    order.git_url = "file:///nowhere/recipes".to_owned();
    session.order(order).await;
    assert_eq!(failed(&session).await.0, FailureClass::HostFault);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_goes_on_where_it_stopped() {
    let Some(mut farm) = Farm::start().await else { return };
    let vessel = Vessel::start(farm.place.key()).await;
    {
        let mut shelf = vessel.shelf.lock().unwrap();
        shelf.break_after = Some(300_000);
        shelf.commit_outages = 1;
    }
    let session = farm.summit.welcome().await;
    let script = r#"
        seq 1 200000 > "$OUT/big.stone"
        echo '{"outcome":"built","peak_memory_bytes":70000000}' > "$REPORT"
    "#;
    session.order(farm.place.order(1, script)).await;
    let artefacts = built(&session).await;
    session.send(vessel.upload(1)).await;
    published(&session).await;
    let shelf = vessel.shelf.lock().unwrap();
    let sha256 = &artefacts[0].sha256;
    assert_eq!(Digest::of(&shelf.held[sha256]).to_string(), *sha256);
    assert_eq!(shelf.puts, [(sha256.clone(), 0), (sha256.clone(), 300_000)]);
    assert_eq!(shelf.commits, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_at_the_same_time() {
    let Some(mut farm) = Farm::start().await else { return };
    let vessel = Vessel::start(farm.place.key()).await;
    vessel.shelf.lock().unwrap().puts_awaited = 4;
    let session = farm.summit.welcome().await;
    let script = r#"
        for number in $(seq 1 20); do echo "$number" > "$OUT/part-$number.stone"; done
        echo '{"outcome":"built","peak_memory_bytes":70000000}' > "$REPORT"
    "#;
    session.order(farm.place.order(1, script)).await;
    let artefacts = built(&session).await;
    session.send(vessel.upload(1)).await;
    published(&session).await;
    let shelf = vessel.shelf.lock().unwrap();
    assert_eq!((shelf.held.len(), artefacts.len()), (20, 20));
    assert_eq!(shelf.putting_most, 4, "and no more: others want to upload too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_again_and_again_is_a_store_fault() {
    let Some(mut farm) = Farm::start().await else { return };
    let vessel = Vessel::start(farm.place.key()).await;
    let session = farm.summit.welcome().await;
    session.order(farm.place.order(1, BUILD)).await;
    built(&session).await;
    // What lies there is not what was announced.
    fs_err::write(farm.place.attempt(1).join("output/manifest.x86_64.bin"), "tampered").unwrap();
    session.send(vessel.upload(1)).await;
    let (class, what) = failed(&session).await;
    assert_eq!(class, FailureClass::HostFault, "{what:?}");
    assert!(what.message.contains("not what was built any more"), "{what:?}");
    assert_eq!(vessel.shelf.lock().unwrap().commits, 0);

    vessel.shelf.lock().unwrap().refuses = true;
    session.order(farm.place.order(2, BUILD)).await;
    built(&session).await;
    session.send(vessel.upload(2)).await;
    let (class, what) = failed(&session).await;
    assert_eq!(class, FailureClass::StoreFault);
    assert!(what.message.contains("not what Summit ordered"), "{what:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_built_survives_the_agent() {
    let Some(mut farm) = Farm::start().await else { return };
    let vessel = Vessel::start(farm.place.key()).await;
    let session = farm.summit.welcome().await;
    session.order(farm.place.order(1, BUILD)).await;
    let artefacts = built(&session).await;
    drop(session);

    let mut farm = farm.restart_agent();
    let session = farm.summit.welcome().await;
    let held: Vec<_> = session.hello.held.iter().map(|held| (held.attempt_id, held.state())).collect();
    assert_eq!(held, [(1, HeldState::Built)]);
    assert_eq!(built(&session).await, artefacts);
    session.send(vessel.upload(1)).await;
    published(&session).await;
    drop(session);

    // Killed again before Summit heard of it.
    let mut farm = farm.restart_agent();
    let session = farm.summit.welcome().await;
    assert_eq!(published(&session).await, "17-3fa94c21");
    assert_eq!(vessel.shelf.lock().unwrap().commits, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_to_stop_builds_ends_them_with_itself() {
    let Some(mut farm) = Farm::start_with(&["--stop-builds", "--free-bytes-min", "0"]).await else { return };
    let session = farm.summit.welcome().await;
    session.order(farm.place.order(1, "echo $$ > \"$DATA/pid\"; echo ready; sleep 600")).await;
    session.store_until("the build runs", || farm.summit.log(1).ends_with("ready\n")).await;
    let Farm { place, mut summit, agent } = farm;
    assert!(agent.terminate());
    let pid = fs_err::read_to_string(place.path("pid")).unwrap().trim().to_owned();
    assert!(!is_running(&pid));
    assert!(!place.attempt(1).exists());
    let _agent = place.start(&summit.address, summit.key());
    drop(session);
    assert_eq!(summit.welcome().await.hello.held, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_summit_does_not_want_is_dropped() {
    let Some(mut farm) = Farm::start().await else { return };
    let session = farm.summit.welcome().await;
    session.order(farm.place.order(1, "echo ready; sleep 600")).await;
    session.store_until("the build runs", || farm.summit.log(1).ends_with("ready\n")).await;
    drop(session);
    farm.summit.stop().await;
    farm.summit.restart().await;
    let session = farm.summit.attached().await;
    session.welcome(vec![Verdict { attempt_id: 1, keep: false, log_offset: 0 }]).await;
    until("the attempt is deleted", || !farm.place.attempt(1).exists()).await;
    session.order(farm.place.order(2, BUILD)).await;
    built(&session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_cannot_be_taken_are_refused() {
    let Some(mut farm) = Farm::start_with(&["--free-bytes-min", "18446744073709551615"]).await else {
        return;
    };
    let session = farm.summit.welcome().await;
    let refused = async |order| {
        session.send(to_agent::Message::Order(order)).await;
        match session.next().await {
            from_agent::Message::Refused(refused) => refused.reason,
            other => panic!("not refused: {other:?}"),
        }
    };
    assert!(refused(farm.place.order(1, BUILD)).await.contains("bytes are free"));
    let mut order = farm.place.order(2, BUILD);
    order.recipe_path = "../../etc/stone.yaml".to_owned();
    assert!(refused(order).await.contains("path of a recipe"));
}

#[test]
fn the_key_is_printed_and_stays() {
    let place = Place::new();
    let key = |more: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_avalanche"))
            .args(["key", "--data"])
            .arg(place.path("data"))
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(key(&[]).trim(), place.key().to_string());
    assert_eq!(key(&["--json"]).trim(), format!("{{\"public_key\":\"{}\"}}", place.key()));
}

#[test]
fn mistakes_on_the_command_line_end_with_status_2_and_a_hint() {
    let run = |arguments: &[&str]| {
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_avalanche")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["fly"]).0, Some(2));
    let (code, said) = run(&["run", "--data", "/nowhere"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("error: cannot run an agent: summit is not given\nhint: give --summit"), "{said}");
}
