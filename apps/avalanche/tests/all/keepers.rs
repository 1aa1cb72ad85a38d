//! Builds survive their agent: it is killed at every step of a build, and its keeper too.

use rustix::process::{Signal, kill_process};
use wire::summit::{Cancel, FailureClass, HeldState, Limits, Order, Release, from_agent, to_agent};

use crate::agent::Place;
use crate::scenarios::{BUILD, Farm, built, failed, is_running, published};
use crate::summit::Session;
use crate::until;
use crate::vessel::Vessel;

/// A build of three parts that waits for the test between them, and says which process it is and that it began.
const GATED: &str = r#"
wait_for() { while [ ! -e "$DATA/$1" ]; do sleep 0.01; done; }
echo run >> "$DATA/runs"
echo $$ > "$DATA/pid"
seq 1 5000
touch "$DATA/first"; wait_for go-on
seq 5001 10000
touch "$DATA/second"; wait_for finish
"#;

fn gated(place: &Place) -> Order {
    place.order(1, &format!("{GATED}{BUILD}"))
}

fn allow(place: &Place, step: &str) {
    fs_err::write(place.path(step), "").unwrap();
}

async fn reached(place: &Place, step: &str) {
    until(step, || place.path(step).exists()).await;
}

fn pid(place: &Place) -> String {
    fs_err::read_to_string(place.path("pid")).unwrap().trim().to_owned()
}

/// When the agent is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    OrderSent,
    FirstPart,
    SecondPart,
    BuildEnds,
    EndTold,
    UploadBroke,
}

/// Kills the agent at `step`, as an upgrade to another program, and with Summit away at the same time if asked.
async fn survive(step: Step, summit_too: bool) {
    let Some(mut farm) = Farm::start().await else { return };
    let vessel = Vessel::start(farm.place.key()).await;
    let mut session = farm.summit.welcome().await;
    let order = gated(&farm.place);
    session.send(to_agent::Message::Order(order.clone())).await;
    let restart = async |mut farm: Farm, session: Session, after_kill: &dyn Fn(&Place)| {
        drop(session);
        farm.agent.kill();
        after_kill(&farm.place);
        farm.place.upgrade();
        if summit_too {
            farm.summit.stop().await;
            farm.summit.restart().await;
        }
        farm.agent = farm.place.start(&farm.summit.address, farm.summit.key());
        let session = farm.summit.welcome().await;
        (farm, session)
    };
    if step == Step::OrderSent {
        (farm, session) = restart(farm, session, &|_| ()).await;
        if session.hello.held.is_empty() {
            // It had not come so far as to write the order down.
            session.send(to_agent::Message::Order(order)).await;
        }
    }
    reached(&farm.place, "first").await;
    let first_pid = pid(&farm.place);
    if step == Step::FirstPart {
        (farm, session) = restart(farm, session, &|_| ()).await;
        assert_eq!(session.hello.held[0].state(), HeldState::Building);
    }
    allow(&farm.place, "go-on");
    if step == Step::SecondPart {
        (farm, session) = restart(farm, session, &|_| ()).await;
    }
    reached(&farm.place, "second").await;
    if step == Step::BuildEnds {
        let end = |place: &Place| {
            allow(place, "finish");
            let ended = place.attempt(1).join("ended.json");
            let limit = std::time::Instant::now() + crate::PATIENCE;
            while !ended.exists() {
                assert!(std::time::Instant::now() < limit, "the build does not end without its agent");
                std::thread::yield_now();
            }
        };
        (farm, session) = restart(farm, session, &end).await;
    }
    allow(&farm.place, "finish");
    let mut artefacts = built_after_started(&session).await;
    if step == Step::EndTold {
        (farm, session) = restart(farm, session, &|_| ()).await;
        artefacts = built_after_started(&session).await;
    }
    assert_eq!(artefacts.len(), 2);
    if step == Step::UploadBroke {
        vessel.shelf.lock().unwrap().commit_outages = u32::MAX;
        session.send(vessel.upload(1)).await;
        until("it tries to publish", || vessel.shelf.lock().unwrap().commits > 0).await;
        (farm, session) = restart(farm, session, &|_| ()).await;
        vessel.shelf.lock().unwrap().commit_outages = 0;
        built_after_started(&session).await;
    }
    session.send(vessel.upload(1)).await;
    published(&session).await;

    assert_eq!(fs_err::read_to_string(farm.place.path("runs")).unwrap(), "run\n", "{step:?}: built once");
    assert_eq!(pid(&farm.place), first_pid, "{step:?}: by the same process");
    let log = farm.summit.log(1);
    let stored = fs_err::read_to_string(farm.place.attempt(1).join("log")).unwrap();
    assert_eq!(log, stored, "{step:?}: every byte of the log");
    let numbers: Vec<u32> = log.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers, (1..=10000).collect::<Vec<u32>>(), "{step:?}");
}

/// Takes what is told first: that the build runs, which every new connection hears.
async fn built_after_started(session: &Session) -> Vec<wire::summit::Artefact> {
    loop {
        match session.next().await {
            from_agent::Message::Started(_) => {}
            from_agent::Message::Finished(finished) => match finished.outcome {
                Some(wire::summit::finished::Outcome::Built(built)) => return built.artefacts,
                other => panic!("not built: {other:?}"),
            },
            other => panic!("neither started nor built: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_survives_the_end_of_its_agent_at_every_step() {
    for step in [
        Step::OrderSent,
        Step::FirstPart,
        Step::SecondPart,
        Step::BuildEnds,
        Step::EndTold,
        Step::UploadBroke,
    ] {
        survive(step, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_survives_the_end_of_agent_and_summit_at_once() {
    for step in [Step::OrderSent, Step::SecondPart, Step::BuildEnds] {
        survive(step, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_told_to_end_leaves_its_builds_to_the_next() {
    let Some(mut farm) = Farm::start().await else { return };
    let session = farm.summit.welcome().await;
    session.order(gated(&farm.place)).await;
    reached(&farm.place, "first").await;
    drop(session);
    let Farm { place, mut summit, agent } = farm;
    assert!(agent.terminate());
    assert!(is_running(&pid(&place)));
    allow(&place, "go-on");
    allow(&place, "finish");
    let _agent = place.start(&summit.address, summit.key());
    let session = summit.welcome().await;
    built_after_started(&session).await;
}

/// The keeper ends as if the machine had no memory left; nothing of the build lives on, with or without an agent.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_keeper_is_a_lost_build_of_which_nothing_is_left() {
    let Some(mut farm) = Farm::start().await else { return };
    let mut session = farm.summit.welcome().await;
    let script = |name: &str| {
        format!(
            "sleep 600 & echo $! > \"$DATA/child-{name}\"; echo $$ > \"$DATA/pid-{name}\"; touch \"$DATA/{name}\"; wait"
        )
    };
    for (id, with_agent) in [(1, true), (2, false)] {
        let name = format!("runs-{id}");
        session.order(farm.place.order(id, &script(&name))).await;
        reached(&farm.place, &name).await;
        let attempt = farm.place.attempt(id);
        let keeper = farm.place.keeper(&attempt).unwrap();
        if with_agent {
            kill_process(keeper, Signal::KILL).unwrap();
        } else {
            drop(session);
            let Farm { place, summit, agent } = farm;
            agent.kill();
            kill_process(keeper, Signal::KILL).unwrap();
            let agent = place.start(&summit.address, summit.key());
            farm = Farm { place, summit, agent };
            session = farm.summit.welcome().await;
        }
        let (class, what) = failed_after_started(&session).await;
        assert_eq!(class, FailureClass::Lost, "{what:?}");
        assert!(what.message.contains("killed"), "{what:?}");
        for process in ["child", "pid"] {
            let pid = fs_err::read_to_string(farm.place.path(&format!("{process}-{name}"))).unwrap();
            until("its processes are gone", || !is_running(pid.trim())).await;
        }
        assert!(!attempt.join("output").exists());
        release(&farm.place, &session, id).await;
    }
    session.order(farm.place.order(3, BUILD)).await;
    built(&session).await;
}

async fn release(place: &Place, session: &Session, id: u64) {
    session.send(to_agent::Message::Release(Release { attempt_id: id })).await;
    until("the attempt is deleted", || !place.attempt(id).exists()).await;
}

async fn failed_after_started(session: &Session) -> (FailureClass, wire::summit::Failed) {
    loop {
        match session.next().await {
            from_agent::Message::Started(_) => {}
            from_agent::Message::Finished(finished) => match finished.outcome {
                Some(wire::summit::finished::Outcome::Failed(failed)) => return (failed.class(), failed),
                other => panic!("not failed: {other:?}"),
            },
            other => panic!("neither started nor failed: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_without_an_agent() {
    for (limits, script, expect) in [
        (
            Limits { time_seconds: 2, ..Limits::default() },
            "while :; do echo x; sleep 0.1; done",
            FailureClass::TimeLimit,
        ),
        (Limits { silence_seconds: 2, ..Limits::default() }, "sleep 600", FailureClass::Silence),
        (Limits { log_bytes: 100_000, ..Limits::default() }, "sleep 1; yes", FailureClass::LogLimit),
    ] {
        let Some(mut farm) = Farm::start().await else { return };
        let session = farm.summit.welcome().await;
        let mut order =
            farm.place.order(1, &format!("echo $$ > \"$DATA/pid\"\ntouch \"$DATA/runs\"\n{script}"));
        order.limits = Some(limits);
        session.order(order).await;
        reached(&farm.place, "runs").await;
        drop(session);
        let Farm { place, mut summit, agent } = farm;
        agent.kill();
        until("the limit ends the build", || place.attempt(1).join("ended.json").exists()).await;
        assert!(!is_running(&pid(&place)));
        let _agent = place.start(&summit.address, summit.key());
        let session = summit.welcome().await;
        let (class, what) = failed_after_started(&session).await;
        assert_eq!(class, expect, "{what:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agent_ended_still_says_how_much_memory_it_took() {
    let Some(mut farm) = Farm::start().await else { return };
    let session = farm.summit.welcome().await;
    let script = r#"
        trap 'echo "{\"outcome\":\"failed\",\"class\":\"cancelled\",\"peak_memory_bytes\":12345}" > "$REPORT"; exit 1' TERM
        echo ready; while :; do sleep 0.01; done
    "#;
    session.order(farm.place.order(1, script)).await;
    session.store_until("the build runs", || farm.summit.log(1).ends_with("ready\n")).await;
    session.send(to_agent::Message::Cancel(Cancel { attempt_id: 1 })).await;
    let (class, what) = failed(&session).await;
    assert_eq!((class, what.peak_memory_bytes), (FailureClass::Cancelled, 12345), "{what:?}");

    let mut order = farm.place.order(2, script);
    order.limits = Some(Limits { time_seconds: 1, ..Limits::default() });
    session.order(order).await;
    let (class, what) = failed(&session).await;
    assert_eq!((class, what.peak_memory_bytes), (FailureClass::TimeLimit, 12345), "{what:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_machine_builds_nothing_until_its_agent_is_started_again() {
    let Some(mut farm) = Farm::start().await else { return };
    let session = farm.summit.welcome().await;
    session.order(farm.place.order(1, "touch \"$DATA/first\"; sleep 600")).await;
    reached(&farm.place, "first").await;
    let output = farm.place.drain(&["--now", "--json"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "{\"ended\":1}");
    let (class, _) = failed_after_started(&session).await;
    assert_eq!(class, FailureClass::Lost, "nobody cancelled it: Summit gives it to another");
    assert_eq!(session.heartbeat().await.slots_offered, Some(0));
    session.send(to_agent::Message::Order(farm.place.order(2, BUILD))).await;
    match session.next().await {
        from_agent::Message::Refused(refused) => {
            assert!(refused.busy && refused.reason.contains("drained"), "{refused:?}");
        }
        other => panic!("not refused: {other:?}"),
    }
    release(&farm.place, &session, 1).await;
    drop(session);
    let mut farm = farm.restart_agent();
    let session = farm.summit.welcome().await;
    assert_eq!(session.hello.slots_offered, None);
    session.order(farm.place.order(3, BUILD)).await;
}

#[test]
fn nobody_but_an_agent_starts_a_keeper() {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_avalanche"))
        .arg("keep")
        .arg(folder.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("its agent did not hand over the lock"), "{said}");
}
