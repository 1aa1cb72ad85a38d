//! What every page has: who reads it, and where the API says the same.

use serde_json::Value;
use wire::summit::FailureClass;

use crate::agent::failed;
use crate::fixture::Farm;
use crate::recipe;

/// The text between two others.
fn between<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin} in {text}"));
    rest.split_once(end).unwrap().0
}

/// Whether an address is one of those that the API describes.
fn is_described(paths: &Value, address: &str) -> bool {
    let place = address.split('?').next().unwrap();
    let fits = |template: &String| {
        let (one, other) = (template.split('/'), place.split('/'));
        one.clone().count() == other.clone().count()
            && one.zip(other).all(|(part, given)| part == given || part.starts_with('{'))
    };
    paths.as_object().unwrap().keys().any(fits)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_names_its_reader_and_has_a_twin() {
    let Some(farm) = Farm::start_guarded("", &[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    agent.started(&order).await;
    agent.log(&order, 0, b"==> phase build\na.c:1: error: no\n").await;
    agent.send(failed(&order, FailureClass::Build, "make failed", "build")).await;
    agent.released(order.attempt_id).await;
    let (task, attempt) = (order.task_id, order.attempt_id);
    let cookie = farm.sign_in(&farm.token("ida", &["admin"])).await;
    let described: Value = serde_json::from_str(&farm.text("/api/openapi.json").await).unwrap();
    for path in [
        "/".to_owned(),
        "/tasks?q=na".into(),
        format!("/tasks/{task}"),
        format!("/tasks/{task}/attempts/{attempt}"),
        "/builders".into(),
        "/builders/one".into(),
        "/packages/nano".into(),
        "/queue".into(),
        "/queue?show=all&view=list".into(),
        "/durations?source=nano&arch=x86_64".into(),
        "/timeline".into(),
        "/timeline?hours=6&until_ms=1700000000000".into(),
        "/channels".into(),
        "/logs".into(),
        "/logs?q=error%3A&since=7d&source=nano".into(),
        "/audit".into(),
        "/sign-in".into(),
    ] {
        let (code, page) = farm.request("GET", &path, &[&cookie]).await;
        assert_eq!(code, 200, "{path}: {page}");
        assert_eq!(between(&page, "<a class=\"who\" href=\"/sign-in\">", "</a>"), "ida", "{path}");
        let twin = between(&page, "rel=\"alternate\" type=\"application/json\" href=\"", "\"");
        let twin = twin.replace("&amp;", "&");
        assert!(is_described(&described["paths"], &twin), "{path} has the twin {twin}");
        let (code, answer) = farm.request("GET", &twin, &[&cookie]).await;
        assert_eq!(code, 200, "{twin} of {path}: {answer}");
        if !twin.contains("/search") {
            serde_json::from_str::<Value>(&answer).unwrap_or_else(|error| panic!("{twin}: {error}"));
        }
        // A visitor sees the same without a name.
        if path != "/audit" {
            let (_, page) = farm.request("GET", &path, &[]).await;
            assert_eq!(between(&page, "<a class=\"who\" href=\"/sign-in\">", "</a>"), "Sign in", "{path}");
        }
    }
    // Also a page that says why there is none.
    for (path, expect) in [("/tasks/99999", 404), ("/nothing", 404), ("/timeline?hours=x", 400)] {
        let (code, page) = farm.request("GET", path, &[&cookie]).await;
        assert_eq!(code, expect, "{path}");
        assert_eq!(between(&page, "<a class=\"who\" href=\"/sign-in\">", "</a>"), "ida", "{path}: {page}");
    }
}
