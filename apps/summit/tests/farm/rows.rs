//! What goes on while something else goes wrong, and what a viewer is sent of many recipes.

use std::time::{Duration, Instant};

use serde_json::json;
use wire::summit::FailureClass;

use crate::agent::{built, failed};
use crate::fixture::{Farm, eventually};
use crate::recipe;

async fn phase(farm: &Farm, task: &str) -> String {
    farm.get(&format!("/api/tasks/{task}")).await["phase"].as_str().unwrap().to_owned()
}

async fn until_phase(farm: &Farm, task: &str, wanted: &str) {
    eventually(&format!("{task} is {wanted}"), || async { phase(farm, task).await == wanted }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_q6_a_build_goes_on_when_what_it_needs_fails_or_is_cancelled_meanwhile() {
    let (a, b) = (recipe("a", 1, &[]), recipe("b", 1, &["a"]));
    let Some(farm) = Farm::start(&[("a/a", &a), ("b/b", &b)]).await else { return };
    let mut one = farm.attach("one", 1, &[]).await;
    let order = one.order().await;
    one.build_and_publish(&farm.vessel, &order).await;
    let dependent = one.order().await;
    assert_eq!(dependent.source_name, "b");
    one.started(&dependent).await;

    farm.commit(&[("a/a", &recipe("a", 2, &[]))]);
    assert_eq!(farm.post("/api/wake-up").await.0, 200);
    let mut two = farm.attach("two", 1, &[]).await;
    let newer = two.order().await;
    assert_eq!(newer.source_name, "a");
    two.started(&newer).await;
    two.send(failed(&newer, FailureClass::Build, "no", "build")).await;
    until_phase(&farm, "a", "failed").await;
    assert_eq!(phase(&farm, "b").await, "building", "it was begun with what was there");

    assert_eq!(farm.post_json("/api/tasks/a/retry", &json!({})).await.0, 200);
    let again = two.order().await;
    two.started(&again).await;
    until_phase(&farm, "a", "building").await;
    assert_eq!(farm.post_json("/api/tasks/a/cancel", &json!({})).await.0, 200);
    until_phase(&farm, "a", "cancelled").await;
    assert_eq!(phase(&farm, "b").await, "building");

    one.send(built(&dependent)).await;
    let upload = one.upload(dependent.attempt_id).await;
    one.commit(&upload).await;
    until_phase(&farm, "b", "published").await;
    let events = farm.get("/api/tasks/b").await["events"].clone();
    let phases: Vec<&str> =
        events.as_array().unwrap().iter().filter_map(|event| event["phase"].as_str()).collect();
    assert!(!phases.contains(&"failed") && !phases.contains(&"blocked"), "{phases:?}");
}

/// Recipes of which each needs all that come before it on a way, and the one before it itself.
fn chain(length: usize) -> Vec<(String, String)> {
    let name = |number: usize| format!("r{number:03}");
    let one = |number: usize| {
        let needs: Vec<String> = number.checked_sub(1).map(name).into_iter().collect();
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        (format!("r/{}", name(number)), recipe(&name(number), 1, &needs))
    };
    (0..length).map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_l4_what_a_viewer_is_sent_grows_with_the_recipes_and_not_with_their_ways() {
    const FEW: usize = 60;
    let Some(farm) = Farm::start(&[("o/other", &recipe("other", 1, &[]))]).await else { return };
    let mut sizes: Vec<Vec<usize>> = Vec::new();
    for length in [FEW, 3 * FEW] {
        let recipes = chain(length);
        let recipes: Vec<(&str, &str)> = recipes.iter().map(|(path, text)| (&**path, &**text)).collect();
        farm.commit(&recipes);
        assert_eq!(farm.post("/api/wake-up").await.0, 200);
        let last = format!("r{:03}", length - 1);
        until_phase(&farm, &last, "waiting").await;
        let mut of_pages = Vec::new();
        for page in ["/api/queue", "/api/queue/now", "/api/plan/graph", "/api/status", "/queue"] {
            of_pages.push(farm.text(page).await.len());
        }
        sizes.push(of_pages);
    }
    // All pairs of which one needs the other would be nine times as many.
    for (few, many) in sizes[0].iter().zip(&sizes[1]) {
        assert!(*many < 4 * few, "{sizes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_a_build_frees_is_given_away_before_what_was_built_is_published() {
    /// Less than the time after which everything is looked at without being woken.
    const SOON: Duration = Duration::from_secs(1);
    let recipes = ["a", "b", "c", "d"].map(|name| (format!("r/{name}"), recipe(name, 1, &[])));
    let recipes: Vec<(&str, &str)> = recipes.iter().map(|(path, text)| (&**path, &**text)).collect();
    let Some(farm) = Farm::start(&recipes).await else { return };
    let mut agent = farm.attach("one", 1, &[]).await;
    let mut order = agent.order().await;
    let mut waits = Vec::new();
    for _ in 1..recipes.len() {
        agent.started(&order).await;
        let begun = Instant::now();
        agent.send(built(&order)).await;
        order = agent.order().await;
        waits.push(begun.elapsed());
    }
    // One of them at least, however busy the machine is: without being woken, all would take longer.
    assert!(waits.iter().any(|wait| *wait < SOON), "{waits:?}");
    assert_eq!(farm.get("/api/tasks?phase=publishing").await["total"], 3, "and nothing was uploaded");
}
