//! Knots, built in rounds until they come to rest.

use serde_json::json;
use wire::vessel::ExpectRequest;

use crate::agent::Agent;
use crate::fixture::Farm;
use crate::recipe;
use crate::vessel::{Yields, meta, write_tree};

/// gcc and glibc with a first generation, and then as recipes that need each other; nano needs glibc.
async fn knot(yields: Yields) -> Option<(Farm, Agent)> {
    let beginning = [
        ("g/gcc", recipe("gcc", 1, &[])),
        ("g/glibc", recipe("glibc", 1, &["gcc"])),
        ("n/nano", recipe("nano", 1, &["glibc"])),
    ];
    let beginning: Vec<(&str, &str)> = beginning.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let farm = Farm::start(&beginning).await?;
    farm.vessel.yields(yields);
    let mut agent = farm.attach("one", 1, &[]).await;
    assert_eq!(build_all(&farm, &mut agent, 3).await, ["gcc 1", "glibc 1", "nano 1"]);
    farm.commit(&[
        ("g/gcc", &recipe("gcc", 2, &["glibc"])),
        ("g/glibc", &recipe("glibc", 2, &["gcc"])),
        ("n/nano", &recipe("nano", 2, &["glibc"])),
    ]);
    assert_eq!(farm.post("/api/wake-up").await.0, 200);
    Some((farm, agent))
}

/// Builds so many orders, whatever comes, and tells source and build release of each.
async fn build_all(farm: &Farm, agent: &mut Agent, count: usize) -> Vec<String> {
    let mut built = Vec::new();
    for _ in 0..count {
        let order = agent.order().await;
        agent.started(&order).await;
        agent.build_and_publish(&farm.vessel, &order).await;
        built.push(format!("{} {}", order.source_name, order.build_release));
    }
    built
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_knot_comes_to_rest_when_nothing_changes_any_more() {
    // The second generation differs from the first; after that everything yields what it yielded.
    let Some((farm, mut agent)) = knot(|source, _| format!("{source} of any build")).await else { return };
    // Its output is the same as in release 1, so nothing that was built with it is out of date.
    let built = build_all(&farm, &mut agent, 3).await;
    assert!(built.contains(&"gcc 1".to_owned()) && built.contains(&"glibc 1".to_owned()), "{built:?}");
    farm.until_status(|status| status["idle"] == true).await;
    assert_eq!(farm.get("/api/tasks").await["total"], 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_built_with_an_older_member_is_built_again() {
    let Some((farm, mut agent)) = knot(|source, build_release| match source {
        // As release 1 was built with another one, it is another one; the second build of release 2 is as the first.
        "glibc" => format!("glibc {}", build_release.min(1)),
        other => format!("{other} of any build"),
    })
    .await
    else {
        return;
    };
    farm.vessel.yields(|source, build_release| match (source, build_release) {
        ("glibc", _) => "another glibc".into(),
        (other, _) => format!("{other} of any build"),
    });
    let built = build_all(&farm, &mut agent, 4).await;
    assert_eq!(built.iter().filter(|build| build.starts_with("gcc")).collect::<Vec<_>>(), ["gcc 1", "gcc 2"]);
    farm.until_status(|status| status["idle"] == true).await;
    let tasks = farm.get("/api/tasks").await;
    assert_eq!(tasks["total"], 7, "gcc alone was built once more: {tasks}");
    let again = tasks["tasks"].as_array().unwrap().iter().find(|task| task["build_release"] == 2).unwrap();
    assert_eq!(again["source"], "gcc");
    assert!(again["reason"].as_str().unwrap().contains("glibc"), "it says because of what: {again}");
    assert_eq!(farm.get("/api/status").await["trouble"], json!(null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_knot_that_never_comes_to_rest_stops_and_says_so() {
    let Some((farm, mut agent)) =
        knot(|source, build_release| format!("{source} {build_release} {:?}", std::time::Instant::now()))
            .await
    else {
        return;
    };
    let mut built = build_all(&farm, &mut agent, 7).await;
    built.retain(|build| !build.starts_with("nano"));
    built.sort();
    assert_eq!(
        built,
        ["gcc 1", "gcc 2", "gcc 3", "glibc 1", "glibc 2", "glibc 3"],
        "three rounds are allowed"
    );
    let status = farm.until_status(|status| status["idle"] == true).await;
    let trouble = status["trouble"].as_str().unwrap();
    assert!(trouble.contains("was built 3 times and is still out of date"), "{trouble}");
    assert!(trouble.contains("rounds_max"), "it says what to do: {trouble}");
}

/// The first generation of a source, as a bootstrap repository has it.
fn beginning(source: &str) -> package::PackageMeta {
    meta(&ExpectRequest {
        source: source.into(),
        version: "0.9".into(),
        release: 1,
        build_release: 1,
        architecture: "x86_64".into(),
        ..ExpectRequest::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_knot_without_a_generation_names_what_it_needs_and_begins_with_a_bootstrap_repository() {
    let recipes = [("g/gcc", recipe("gcc", 1, &["glibc"])), ("g/glibc", recipe("glibc", 1, &["gcc"]))];
    let recipes: Vec<(&str, &str)> = recipes.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let Some(mut farm) = Farm::start(&recipes).await else { return };
    let mut agent = farm.attach("one", 1, &[]).await;
    farm.until_status(|status| status["counts"][1]["tasks"] == 2).await;
    let tasks = farm.get("/api/tasks").await["tasks"].as_array().unwrap().clone();
    let whys = tasks.iter().map(|task| format!("/api/tasks/{}/why", task["id"]));
    let mut said = String::new();
    for path in whys {
        said.push_str(&farm.get(&path).await.to_string());
    }
    assert!(
        said.contains("It needs glibc, and glibc needs this package too"),
        "what is needed first is named: {said}"
    );
    assert!(said.contains("bootstrap"), "and where it can come from: {said}");

    let begin = farm.folder().join("begin");
    write_tree(&begin, "1-begin", &[beginning("glibc"), beginning("gcc")]);
    let repository = format!(
        "[[project.repository]]\nid = 'begin'\nbase_uri = 'file://{}'\nbootstrap = true\n",
        begin.display()
    );
    farm.configure_project(&repository);
    let first = agent.order().await;
    let ids: Vec<&str> = first.repositories.iter().map(|repository| repository.id.as_str()).collect();
    assert_eq!(ids, ["begin"], "nothing is published yet");
    agent.started(&first).await;
    agent.build_and_publish(&farm.vessel, &first).await;
    let second = agent.order().await;
    assert_eq!(second.repositories[0].id, "main", "what is our own comes first");
    agent.started(&second).await;
    agent.build_and_publish(&farm.vessel, &second).await;
    farm.until_status(|status| status["idle"] == true).await;
}
