//! Builds that take far too long, and are begun a second time on a builder that has nothing to do.

use std::time::Duration;

use serde_json::{Value, json};
use wire::summit::{FailureClass, HeldState, Order, to_agent};

use crate::agent::{Agent, built, failed};
use crate::fixture::{Farm, eventually};
use crate::recipe;

/// Steps of the clock: shorter than a lease, and long enough that it is renewed.
const STEP: Duration = Duration::from_secs(40);

/// A build for which ten seconds are known is overdue after this, whatever the least delay is.
const STEPS_UNTIL_OVERDUE: usize = 6;

/// Two agents and a task that both build: the first one has had it for far too long.
struct Race {
    farm: Farm,
    slow: Agent,
    slow_order: Order,
    fast: Agent,
    fast_order: Order,
}

/// Moves the clock while `agent` goes on saying that it holds `order`.
async fn hold(farm: &Farm, agent: &Agent, order: &Order, steps: usize) {
    for _ in 0..steps {
        farm.clock.advance(STEP);
        agent.heartbeat(&[Agent::held(order, HeldState::Building, 0)]).await;
        let store = farm.store().await;
        eventually("the lease is renewed", || async {
            let task = store.task(farm::ids::TaskId(order.task_id)).await.unwrap();
            let soon = farm.clock.now().after(STEP);
            task.state.claims().any(|(claim, until)| claim.attempt.0 == order.attempt_id && until > soon)
        })
        .await;
        store.close().await;
    }
}

async fn race() -> Option<Race> {
    let farm = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await?;
    let mut slow = farm.attach("one", 1, &[]).await;
    // It is learned that ten seconds are enough.
    let first = slow.order().await;
    slow.started(&first).await;
    let path = format!("/api/tasks/{}", first.task_id);
    eventually("it is built", || async { farm.get(&path).await["phase"] == "building" }).await;
    farm.clock.advance(Duration::from_secs(10));
    slow.build_and_publish(&farm.vessel, &first).await;
    farm.until_status(|status| status["idle"] == true).await;
    farm.commit(&[("a/a", &recipe("a", 2, &[]))]);
    assert_eq!(farm.post("/api/wake-up").await.0, 200);
    let slow_order = slow.order().await;
    slow.started(&slow_order).await;
    let mut fast = farm.attach("two", 1, &[]).await;
    hold(&farm, &slow, &slow_order, STEPS_UNTIL_OVERDUE).await;
    let fast_order = fast.order().await;
    assert_eq!(fast_order.task_id, slow_order.task_id, "the same task");
    assert_ne!(fast_order.attempt_id, slow_order.attempt_id, "as another attempt");
    assert!(fast_order.lease_token > slow_order.lease_token, "with a token of its own");
    fast.started(&fast_order).await;
    eventually("both build", || async {
        let attempts = task(&farm, &slow_order).await["attempts"].clone();
        attempts[0]["started_ms"].is_u64() && attempts[1]["started_ms"].is_u64()
    })
    .await;
    Some(Race { farm, slow, slow_order, fast, fast_order })
}

async fn task(farm: &Farm, order: &Order) -> Value {
    farm.get(&format!("/api/tasks/{}", order.task_id)).await
}

async fn until_cancelled(agent: &mut Agent, order: &Order) {
    let wanted = |message: &to_agent::Message| matches!(message, to_agent::Message::Cancel(cancel) if cancel.attempt_id == order.attempt_id);
    agent.next(wanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_that_is_done_first_is_published_and_the_first_is_stopped() {
    let Some(Race { farm, mut slow, slow_order, mut fast, fast_order }) = race().await else { return };
    let shown = task(&farm, &slow_order).await;
    assert_eq!(shown["phase"], "building");
    let detail = shown["detail"].as_str().unwrap();
    assert!(detail.contains("one") && detail.contains("two"), "both builders are named: {detail}");
    let why = shown["attempts"][1]["why"].as_str().unwrap();
    assert!(why.contains("instead of"), "the decision is recorded with its figures: {why}");
    let builders = farm.get("/api/builders").await;
    for builder in builders["builders"].as_array().unwrap() {
        assert_eq!(builder["running"][0]["source"], "a", "both are busy: {builder}");
    }

    fast.send(built(&fast_order)).await;
    until_cancelled(&mut slow, &slow_order).await;
    // It was done as well, a moment too late.
    slow.send(built(&slow_order)).await;
    slow.released(slow_order.attempt_id).await;
    let upload = fast.upload(fast_order.attempt_id).await;
    fast.commit(&upload).await;
    fast.released(fast_order.attempt_id).await;
    farm.until_status(|status| status["idle"] == true && status["history"] == "2-test").await;
    let done = task(&farm, &slow_order).await;
    assert_eq!((&done["phase"], &done["attempt"]), (&json!("published"), &json!(fast_order.attempt_id)));
    assert_eq!(done["attempts"][0]["outcome"]["outcome"], "stopped", "{done}");
    assert_eq!(done["attempts"][1]["outcome"]["outcome"], "published", "{done}");
    // The next start is not influenced by how long the stopped one took.
    let samples = farm.store().await.samples().await.unwrap();
    assert_eq!(samples.len(), 2, "only builds that were done teach: {samples:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_is_done_after_all_is_published_and_the_second_is_stopped() {
    let Some(Race { farm, mut slow, slow_order, mut fast, fast_order }) = race().await else { return };
    slow.send(built(&slow_order)).await;
    until_cancelled(&mut fast, &fast_order).await;
    fast.send(failed(&fast_order, FailureClass::Cancelled, "stopped", "build")).await;
    fast.released(fast_order.attempt_id).await;
    let upload = slow.upload(slow_order.attempt_id).await;
    slow.commit(&upload).await;
    slow.released(slow_order.attempt_id).await;
    farm.until_status(|status| status["idle"] == true && status["history"] == "2-test").await;
    let done = task(&farm, &slow_order).await;
    assert_eq!((&done["phase"], &done["attempt"]), (&json!("published"), &json!(slow_order.attempt_id)));
    assert_eq!(done["attempts"].as_array().unwrap().len(), 2);
    // Neither is charged with anything.
    for builder in farm.get("/api/builders").await["builders"].as_array().unwrap() {
        assert_eq!((&builder["fault"], &builder["running"]), (&Value::Null, &json!([])), "{builder}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_is_lost_leaves_the_second_running() {
    let Some(Race { farm, mut slow, slow_order, mut fast, fast_order }) = race().await else { return };
    // Only the second one is heard of.
    hold(&farm, &fast, &fast_order, 2).await;
    eventually("the first attempt is lost", || async {
        task(&farm, &slow_order).await["attempts"][0]["outcome"]["class"] == "lost"
    })
    .await;
    let shown = task(&farm, &slow_order).await;
    assert_eq!((&shown["phase"], &shown["builder"]), (&json!("building"), &json!("two")));
    slow.send(built(&slow_order)).await;
    slow.released(slow_order.attempt_id).await;
    assert_eq!(task(&farm, &slow_order).await["phase"], "building", "what is lost does not count");
    fast.build_and_publish(&farm.vessel, &fast_order).await;
    farm.until_status(|status| status["idle"] == true && status["history"] == "2-test").await;
    assert_eq!(task(&farm, &slow_order).await["attempt"], json!(fast_order.attempt_id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_cancelled_stops_both() {
    let Some(Race { farm, mut slow, slow_order, mut fast, fast_order }) = race().await else { return };
    assert_eq!(farm.post(&format!("/api/tasks/{}/cancel", slow_order.task_id)).await.0, 200);
    until_cancelled(&mut slow, &slow_order).await;
    until_cancelled(&mut fast, &fast_order).await;
    let shown = task(&farm, &slow_order).await;
    for attempt in shown["attempts"].as_array().unwrap() {
        assert_eq!(attempt["outcome"]["why"], "cancelled by somebody at this machine", "{attempt}");
    }
}
