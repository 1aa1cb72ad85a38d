//! A whole farm with Summit as it is, and an agent and a Vessel that speak the real protocol over loopback.

#![expect(unreachable_pub, reason = "the parts of a test program are private to it")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "farm/access.rs"]
mod access;
#[path = "farm/agent.rs"]
mod agent;
#[path = "farm/channel.rs"]
mod channel;
#[path = "farm/fixture.rs"]
#[allow(dead_code, reason = "the tests with a browser use the rest")]
mod fixture;
#[path = "farm/hooks.rs"]
mod hooks;
#[path = "farm/leader.rs"]
mod leader;
#[path = "farm/life.rs"]
mod life;
#[path = "farm/logs.rs"]
mod logs;
#[path = "farm/pages.rs"]
mod pages;
#[path = "farm/projects.rs"]
mod projects;
#[path = "farm/real_vessel.rs"]
mod real_vessel;
#[path = "farm/rows.rs"]
mod rows;
#[path = "farm/twins.rs"]
mod twins;
#[path = "farm/vessel.rs"]
#[allow(dead_code, reason = "the tests with a browser use the rest")]
mod vessel;
#[path = "farm/waves.rs"]
mod waves;

use std::time::Duration;

use farm::ids::BuilderId;
use serde_json::{Value, json};
use summit::Clock;
use summit::store::BuilderSaid;
use wire::summit::{FailureClass, HeldState, to_agent};

use agent::{Agent, built, failed};
use fixture::{Farm, eventually};

/// A short way to a recipe.
pub fn recipe(name: &str, release: u64, needs: &[&str]) -> String {
    let needs: String = needs.iter().map(|need| format!("    - {need}\n")).collect();
    let needs = if needs.is_empty() { String::new() } else { format!("builddeps:\n{needs}") };
    format!(
        "name: {name}\nversion: \"1.0\"\nrelease: {release}\nhomepage: https://example.org\nlicense: MIT\nsummary: s\n\
         description: d\n{needs}"
    )
}

fn phases(tasks: &Value) -> Vec<(String, String)> {
    let mut phases: Vec<_> = tasks["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| (task["source"].as_str().unwrap().to_owned(), task["phase"].as_str().unwrap().to_owned()))
        .collect();
    phases.sort();
    phases
}

fn pairs(expect: &[(&str, &str)]) -> Vec<(String, String)> {
    expect.iter().map(|&(source, phase)| (source.to_owned(), phase.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recipes_become_packages_in_order_and_bad_ones_are_named() {
    let Some(farm) = Farm::start(&[
        ("n/ncurses", &recipe("ncurses", 1, &[])),
        ("l/less", &recipe("less", 1, &["ncurses-devel"])),
        ("b/broken", &recipe("broken", 1, &[]).replace("release: 1", "release: none")),
    ])
    .await
    else {
        return;
    };
    let mut agent = farm.attach("one", 2, &[]).await;
    let first = agent.order().await;
    assert_eq!((first.recipe_path.as_str(), first.architecture.as_str()), ("n/ncurses/stone.yaml", "x86_64"));
    assert!(first.repositories.is_empty(), "nothing was published yet");
    assert!(first.commit_time_seconds > 0);
    // Invariant 4: the dependent waits, and says for what.
    assert_eq!(phases(&farm.get("/api/tasks").await), pairs(&[("less", "waiting"), ("ncurses", "leased")]));
    let less = &farm.get("/api/tasks?phase=waiting").await["tasks"][0];
    assert_eq!(less["waits_for"][0]["source"], "ncurses");
    let why = farm.get(&format!("/api/tasks/{}/why", less["id"])).await;
    assert_eq!(
        (&why["phase"], &why["because"][0]["task"]),
        (&json!("waiting"), &json!(first.task_id)),
        "{why}"
    );
    assert!(why["headline"].as_str().unwrap().contains("waits until ncurses is published"), "{why}");
    assert!(!why["next_step"].as_str().unwrap().is_empty(), "{why}");

    agent.started(&first).await;
    assert_eq!(agent.log(&first, 0, b"hello <b>world</b>\n").await, 19);
    assert_eq!(agent.log(&first, 6, b"<b>world</b>\nmore\n").await, 24, "an overlap is skipped");
    assert_eq!(agent.log(&first, 99, b"gap").await, 24, "a gap is refused with the offset to go on from");
    agent.build_and_publish(&farm.vessel, &first).await;
    let second = agent.order().await;
    assert_eq!(second.recipe_path, "l/less/stone.yaml");
    assert_eq!(second.repositories.len(), 1, "what was published is there for the dependent");
    agent.started(&second).await;
    agent.build_and_publish(&farm.vessel, &second).await;
    let status = farm.until_status(|status| status["idle"] == true).await;
    assert_eq!((&status["published_packages"], &status["unreadable"]), (&json!(2), &json!(1)));
    assert_eq!(status["history"], "2-test");

    let samples = farm.store().await.samples().await.unwrap();
    let learned: Vec<_> =
        samples.iter().map(|sample| (sample.source.as_str(), sample.peak_memory_bytes)).collect();
    assert_eq!(
        learned,
        [("ncurses", 1 << 30), ("less", 1 << 30)],
        "finished builds teach how long they take"
    );
    let attempt = &farm.get(&format!("/api/tasks/{}", first.task_id)).await["attempts"][0];
    assert_eq!(attempt["peak_memory_bytes"], 1 << 30, "{attempt}");
    let why = farm.get(&format!("/api/tasks/{}/why", first.task_id)).await;
    assert_eq!((&why["phase"], &why["project"]), (&json!("published"), &json!("test")));
    let recipes = farm.get("/api/recipes").await;
    assert_eq!(recipes["unreadable"][0]["path"], "b/broken/stone.yaml");
    assert_eq!(recipes["unreadable"][0]["line"], 3);
    let overview = farm.text("/").await;
    assert!(overview.contains("b/broken/stone.yaml:3"), "{overview}");
    let page = farm.text(&format!("/tasks/{}", first.task_id)).await;
    assert!(page.contains("hello &lt;b&gt;world&lt;/b&gt;"), "{page}");
    assert!(page.contains("1.0 GiB"), "{page}");
    assert!(farm.text("/queue").await.contains("Build order"), "also when nothing is to be built");
    let log = farm.text(&format!("/tasks/{}/log/{}", first.task_id, first.attempt_id)).await;
    assert!(log.contains("hello <b>world</b>\nmore"), "{log}");
    let stream =
        farm.text(&format!("/tasks/{}/log/{}/stream?offset=19", first.task_id, first.attempt_id)).await;
    assert!(stream.contains("<span>more</span>") && stream.contains("id: 24"), "{stream}");
    assert!(stream.contains("event: end"), "{stream}");
    assert!(!stream.contains("hello"), "what was seen is not sent again: {stream}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_commit_is_found_by_a_wake_up_call_and_replaces_what_waits() {
    let Some(farm) = Farm::start(&[("z/zlib", &recipe("zlib", 1, &[]))]).await else { return };
    farm.until_status(|status| status["open"] == 1).await;
    farm.commit(&[("z/zlib", &recipe("zlib", 2, &[])), ("x/xz", &recipe("xz", 1, &["zlib-devel"]))]);
    let (code, report) = farm.post("/api/wake-up").await;
    assert_eq!((code, &report["moved"]), (200, &json!(true)), "{report}");
    assert_eq!(report["new_tasks"].as_array().unwrap().len(), 2);
    let expect = pairs(&[("xz", "waiting"), ("zlib", "ready"), ("zlib", "superseded")]);
    eventually("the new tasks are judged", || async { phases(&farm.get("/api/tasks").await) == expect })
        .await;
    let (_, again) = farm.post("/api/wake-up").await;
    assert_eq!((&again["moved"], &again["new_tasks"]), (&json!(false), &json!([])));
    farm.remove("x/xz");
    farm.post("/api/wake-up").await;
    let superseded = farm.get("/api/tasks?phase=superseded").await;
    assert_eq!(superseded["total"], 2, "a removed recipe asks for nothing any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_names_the_commit_that_its_task_was_made_for() {
    let Some(farm) = Farm::start(&[("z/zlib", &recipe("zlib", 1, &[]))]).await else { return };
    let status = farm.until_status(|status| status["open"] == 1 && status["commit"].is_string()).await;
    farm.commit(&[("x/xz", &recipe("xz", 1, &["zlib"]))]);
    let (_, report) = farm.post("/api/wake-up").await;
    assert_ne!(report["commit"], status["commit"]);
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    assert_eq!((order.source_name.as_str(), &json!(order.commit)), ("zlib", &status["commit"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_build_shows_its_class_blocks_by_name_and_is_retried_on_demand() {
    let Some(farm) = Farm::start(&[
        ("a/a", &recipe("a", 1, &[])),
        ("b/b", &recipe("b", 1, &["a"])),
        ("c/c", &recipe("c", 1, &["b"])),
    ])
    .await
    else {
        return;
    };
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    agent.started(&order).await;
    agent.send(failed(&order, FailureClass::Build, "make: *** [all] Error 2", "build")).await;
    agent.released(order.attempt_id).await;
    let status = farm.until_status(|status| status["blocked"] == 2).await;
    assert_eq!(status["failed"][0]["class"], "build");
    assert_eq!(status["idle"], true, "nothing will happen by itself");
    let attempt = &farm.get(&format!("/api/tasks/{}", order.task_id)).await["attempts"][0];
    assert_eq!(attempt["peak_memory_bytes"], 1 << 20, "what a failed build took is shown too: {attempt}");
    for source in ["b", "c"] {
        let blocked = farm.get("/api/tasks?phase=blocked").await;
        let task = blocked["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|task| task["source"] == source)
            .unwrap()
            .clone();
        assert_eq!(task["blocked_by"][0]["task"], order.task_id, "{task}");
    }
    let retry = format!("/api/tasks/{}/retry", order.task_id);
    assert_eq!(farm.request("POST", &retry, &[]).await.0, 401, "without the header nothing changes");
    let (code, task) = farm.post(&retry).await;
    assert_eq!(code, 200, "{task}");
    let (code, refusal) = farm.post(&retry).await;
    assert_eq!(code, 409, "only failed and cancelled tasks are tried again");
    assert!(refusal["error"]["causes"][0].as_str().unwrap().contains("cannot retry"), "{refusal}");
    assert_eq!(farm.post("/api/tasks/999/retry").await.0, 404);
    let again = agent.order().await;
    assert_eq!(again.task_id, order.task_id);
    assert!(again.lease_token > order.lease_token);
    agent.started(&again).await;
    agent.build_and_publish(&farm.vessel, &again).await;
    assert_eq!(agent.order().await.recipe_path, "b/b/stone.yaml");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_2_a_lost_attempt_is_retried_elsewhere_and_its_old_holder_is_refused() {
    let Some(farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    let mut first = farm.attach("one", 1, &[]).await;
    let old = first.order().await;
    first.started(&old).await;
    // It says nothing for longer than its lease, and the connection stays.
    farm.clock.advance(Duration::from_secs(120));
    let mut second = farm.attach("two", 1, &[]).await;
    farm.clock.advance(Duration::from_secs(10));
    let new = second.order().await;
    assert_eq!(new.task_id, old.task_id);
    assert!(new.lease_token > old.lease_token && new.attempt_id > old.attempt_id);
    second.started(&new).await;
    // The old holder wakes up and reports; nothing of it counts.
    first.send(built(&old)).await;
    first.released(old.attempt_id).await;
    let path = format!("/api/tasks/{}", old.task_id);
    eventually("the new holder builds", || async { farm.get(&path).await["phase"] == "building" }).await;
    let task = farm.get(&path).await;
    assert_eq!(task["attempts"][0]["outcome"]["class"], "lost");
    second.build_and_publish(&farm.vessel, &new).await;
    farm.until_status(|status| status["idle"] == true && status["history"] == "1-test").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_3_a_killed_summit_kills_no_build_and_loses_no_log() {
    let Some(mut farm) =
        Farm::start_program(&[("a/a", &recipe("a", 1, &[])), ("b/b", &recipe("b", 1, &["a"]))]).await
    else {
        return;
    };
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    agent.started(&order).await;
    assert_eq!(agent.log(&order, 0, b"first half\n").await, 11);
    farm.kill();
    farm.start_again().await;
    let held = Agent::held(&order, HeldState::Building, 23);
    let mut agent = farm.attach("one", 1, &[held]).await;
    let verdict = agent.welcome.verdicts[0];
    assert!(verdict.keep, "the build goes on");
    assert_eq!(verdict.log_offset, 11, "what was acknowledged is there");
    assert_eq!(agent.log(&order, 11, b"second half\n").await, 23);
    agent.send(built(&order)).await;
    let upload = agent.upload(order.attempt_id).await;
    // Killed again while it is uploaded, and it lands meanwhile.
    farm.kill();
    agent.commit(&upload).await;
    farm.start_again().await;
    let held = Agent::held(&order, HeldState::Uploading, 23);
    let mut agent = farm.attach("one", 1, &[held]).await;
    // It is told to forget it at once, or as soon as Vessel was asked.
    if agent.welcome.verdicts[0].keep {
        agent.released(order.attempt_id).await;
    }
    let next = agent.order().await;
    assert_eq!(next.recipe_path, "b/b/stone.yaml");
    let task = farm.get(&format!("/api/tasks/{}", order.task_id)).await;
    assert_eq!((&task["phase"], &task["history"]), (&json!("published"), &json!("1-test")));
    assert_eq!(task["attempts"].as_array().unwrap().len(), 1, "nothing was built twice");
    let log = farm.text(&format!("/tasks/{}/log/{}", order.task_id, order.attempt_id)).await;
    assert!(log.contains("first half\nsecond half\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_do_not_attach_and_removed_builders_are_disconnected() {
    let Some(farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    let stranger = wire::Identity::generate().unwrap();
    let error = Agent::attach(&farm.grpc, farm.key, &stranger, "x", 1, &[]).await.err().unwrap();
    assert!(error.contains("not known"), "{error}");
    let identity = wire::Identity::generate().unwrap();
    let (store, id) = (farm.store().await, BuilderId(identity.public_key().to_string()));
    store.add_builder(&id, &BuilderSaid::named("three"), false, Clock::system().now()).await.unwrap();
    eventually("it may attach", || async {
        Agent::attach(&farm.grpc, farm.key, &identity, "x", 0, &[]).await.is_ok()
    })
    .await;
    let mut agent = Agent::attach(&farm.grpc, farm.key, &identity, "x", 1, &[]).await.unwrap();
    agent.order().await;
    store.remove_builder("three", Clock::system().now()).await.unwrap();
    agent.disconnected().await;
    eventually("the builder is gone", || async {
        farm.get("/api/builders").await["builders"]
            .as_array()
            .unwrap()
            .iter()
            .all(|builder| builder["name"] != "three")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_build_needed_is_set_aside_for_the_next() {
    let Some(farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    let mut agent = farm.attach("one", 1, &[]).await;
    let set_aside = async || farm.get("/api/builders").await["builders"][0]["memory_set_aside_bytes"].clone();
    let order = agent.order().await;
    agent.started(&order).await;
    assert_eq!(set_aside().await, 0, "nobody knows what it needs");
    agent.build_and_publish(&farm.vessel, &order).await;
    farm.commit(&[("a/a", &recipe("a", 2, &[]))]);
    assert_eq!(farm.post("/api/wake-up").await.0, 200);
    let order = agent.order().await;
    agent.started(&order).await;
    assert_eq!(set_aside().await, 1 << 30);
    let page = farm.text("/builders").await;
    assert!(page.contains("1 of 1 places taken, 1.0 GiB of memory expected to be needed"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_task_is_cancelled_and_its_build_stopped() {
    let Some(farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    agent.started(&order).await;
    assert_eq!(farm.post(&format!("/api/tasks/{}/cancel", order.task_id)).await.0, 200);
    let cancelled = agent.next(|message| matches!(message, to_agent::Message::Cancel(_))).await;
    let to_agent::Message::Cancel(cancel) = cancelled else { panic!("{cancelled:?}") };
    assert_eq!(cancel.attempt_id, order.attempt_id);
    agent.send(failed(&order, FailureClass::Cancelled, "stopped", "build")).await;
    agent.released(order.attempt_id).await;
    assert_eq!(farm.get(&format!("/api/tasks/{}", order.task_id)).await["phase"], "cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_vessel_refuses_is_a_store_fault_and_not_the_recipes() {
    let Some(farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    farm.vessel.refuse_next("the package is older than the published one");
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    agent.started(&order).await;
    agent.send(built(&order)).await;
    agent.released(order.attempt_id).await;
    let task = farm.get(&format!("/api/tasks/{}", order.task_id)).await;
    assert_eq!(task["attempts"][0]["outcome"]["class"], "store-fault", "{task}");
    farm.clock.advance(Duration::from_secs(10));
    let again = agent.order().await;
    assert_eq!(again.task_id, order.task_id, "it is tried again");
}
