//! One agent of several Summits, and of one Summit with several addresses.

use wire::summit::{Release, to_agent};

use crate::agent::{Agent, Place};
use crate::scenarios::{BUILD, built};
use crate::summit::Summit;
use crate::until;

fn has_git() -> bool {
    let found = std::process::Command::new("git").arg("--version").output().is_ok();
    if !found {
        testkit::skip("git");
    }
    found
}

/// Starts the agent with `[[summit]]` for each.
fn start(place: &Place, summits: &[(&str, &[&Summit])], slots: u32) -> Agent {
    let mut text = format!("slots = {slots}\nfree_bytes_min = 0\n");
    for (name, processes) in summits {
        let list = |of: &dyn Fn(&Summit) -> String| {
            processes.iter().map(|summit| format!("{:?}", of(summit))).collect::<Vec<_>>().join(", ")
        };
        let (addresses, keys) =
            (list(&|summit| summit.address.clone()), list(&|summit| summit.key().to_string()));
        text += &format!("[[summit]]\nname = {name:?}\naddresses = [{addresses}]\npublic_keys = [{keys}]\n");
    }
    let path = place.path("avalanche.toml");
    fs_err::write(&path, text).unwrap();
    place.run(&["--config", path.to_str().unwrap()])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_summits_share_the_slots_and_nothing_else() {
    if !has_git() {
        return;
    }
    let place = Place::new();
    let (mut one, mut two) = (Summit::start(place.key()).await, Summit::start(place.key()).await);
    let agent = start(&place, &[("one", &[&one]), ("two", &[&two])], 2);
    let (first, second) = (one.welcome().await, two.welcome().await);
    assert_eq!((first.hello.slots, second.hello.slots), (2, 2));

    // The same number at both; each takes one slot when it is offered one.
    let script =
        |name: &str| format!("while [ ! -e \"$DATA/{name}\" ]; do sleep 0.01; done\necho {name}\n{BUILD}");
    let order = |name: &str| place.order(1, &script(name));
    for (session, name) in [(&first, "of-one"), (&second, "of-two")] {
        while session.heartbeat().await.slots_offered < Some(1) {}
        session.order(order(name)).await;
    }
    // Nothing is free: each has what runs for it.
    for session in [&first, &second] {
        while session.heartbeat().await.slots_offered != Some(1) {}
    }
    for name in ["one", "two"] {
        assert!(place.path(&format!("data/summits/{name}/attempts/1")).exists());
    }
    fs_err::write(place.path("of-two"), "").unwrap();
    built(&second).await;
    // Now there is one to take again; whoever has more does not get it first.
    while second.heartbeat().await.slots_offered != Some(1) {}
    second.send(to_agent::Message::Release(Release { attempt_id: 1 })).await;
    until("only the attempt of the second is deleted", || {
        !place.path("data/summits/two/attempts/1").exists()
    })
    .await;
    assert!(place.path("data/summits/one/attempts/1").exists());
    fs_err::write(place.path("of-one"), "").unwrap();
    built(&first).await;
    assert!(one.log(1).contains("\nof-one\n") && two.log(1).contains("\nof-two\n"));

    // One that is not in the settings any more is forgotten.
    agent.kill();
    let _agent = start(&place, &[("two", &[&two])], 2);
    drop((first, second));
    two.welcome().await;
    assert!(!place.path("data/summits/one/attempts/1").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_summit_that_leads_is_found_and_found_again() {
    if !has_git() {
        return;
    }
    let place = Place::new();
    let mut leader = Summit::start(place.key()).await;
    let mut standby = leader.standby().await;
    // Nobody listens at the first address; the standby refuses.
    let mut gone = leader.standby().await;
    gone.stop().await;
    let _agent = start(&place, &[("farm", &[&gone, &standby, &leader])], 1);
    let session = leader.welcome().await;
    let script = format!(
        "seq 1 1000\ntouch \"$DATA/first\"\nwhile [ ! -e \"$DATA/go-on\" ]; do sleep 0.01; done\n{BUILD}"
    );
    session.order(place.order(1, &script)).await;
    until("the build runs", || place.path("first").exists()).await;
    drop(session);

    // The one that led is gone; the other takes over and has what was stored.
    leader.stop().await;
    standby.stand_by(false);
    let began = std::time::Instant::now();
    let session = standby.welcome().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(session.hello.held[0].attempt_id, 1);
    fs_err::write(place.path("go-on"), "").unwrap();
    match session.next().await {
        wire::summit::from_agent::Message::Started(_) => {}
        other => panic!("not started: {other:?}"),
    }
    built(&session).await;
    let numbers: Vec<u32> = standby.log(1).lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers, (1..=1000).collect::<Vec<u32>>());
}
