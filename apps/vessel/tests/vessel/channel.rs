//! `vessel channel …` beside a running Vessel, from elsewhere, and on the folder of one that does not run.

use std::path::Path;
use std::process::{Command, Output};

use wire::Identity;

use crate::fixture::{Delivery, Program, Running};
use testkit::packages::meta;

fn channel(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vessel")).arg("channel").args(arguments).output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn at(data: &Path, arguments: &[&str]) -> serde_json::Value {
    json(&channel(&[arguments, &["--json", "--data", data.to_str().unwrap()]].concat()))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_heard_beside_a_running_service_and_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let builder = Identity::generate().unwrap();
    let running = Running::start(&data).await;
    let first = running.deliver(&builder, &Delivery::new(1, meta("a", "a", 1), b"1")).await.unwrap();
    let promoted = at(&data, &["promote", "main", "volatile", "unstable"]);
    assert_eq!((&promoted["to"], &promoted["changed"]), (&first.clone().into(), &true.into()), "{promoted}");
    let second = running.deliver(&builder, &Delivery::new(2, meta("a", "a", 2), b"2")).await.unwrap();
    at(&data, &["promote", "main", "volatile", "unstable"]);
    let shown = at(&data, &["show"]);
    assert_eq!(shown["streams"], serde_json::json!({ "unstable": second, "volatile": second }));
    // The service goes on from what the operator did.
    at(&data, &["rollback", "main", "volatile"]);
    let third = running.deliver(&builder, &Delivery::new(3, meta("b", "b", 1), b"3")).await.unwrap();
    let diff = at(&data, &["diff", "main", &first, &third]);
    assert_eq!(
        diff["added"],
        serde_json::json!([{ "name": "b", "architecture": "x86_64", "version": "1-1-1" }])
    );
    assert_eq!(
        (diff["removed"].as_array().unwrap().len(), diff["changed"].as_array().unwrap().len()),
        (0, 0)
    );
    running.stop().await;

    let back = at(&data, &["rollback", "main", "unstable"]);
    assert_eq!((&back["from"], &back["to"]), (&second.into(), &first.clone().into()));
    let data_argument = data.to_str().unwrap();
    let told = text(&channel(&["tag", "main", "2026-11", "unstable", "--data", data_argument]));
    assert_eq!(told, format!("channel main: tag 2026-11 nothing → {first}\n"));
    let told = text(&channel(&["prune", "--dry-run", "--data", data_argument]));
    assert_eq!(told, "channel main\nnothing to do\n");
    let refused = channel(&["remove", "main", "nano", "--data", data_argument]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    assert!(text(&refused).contains("cannot remove package \"nano\""), "{}", text(&refused));
    let told = text(&channel(&["histories", "main", "--limit", "1", "--data", data_argument]));
    assert_eq!(told, format!("history {third}  2 packages  landing\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_service_said_of_itself_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let hub = Identity::generate().unwrap();
    let running = Running::start_for(&data, hub).await;
    let builder = Identity::generate().unwrap();
    let history = running.deliver(&builder, &Delivery::new(1, meta("a", "a", 1), b"1")).await.unwrap();
    let hub = running.stop().await;
    let program = Program::start(&data, &hub);
    assert!(data.join("running.json").exists());
    program.kill();
    assert!(data.join("running.json").exists());
    assert_eq!(at(&data, &["promote", "main", "volatile", "stable"])["to"], history);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_network_only_operators_are_heard() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let keys = [folder.path().join("operator.key"), folder.path().join("builder.key")];
    let [operator, builder] = keys.each_ref().map(|path| Identity::load_or_create(path).unwrap());
    let hub = Identity::generate().unwrap();
    let known = operator.public_key();
    let running = Running::start_with(&data, hub, |settings| settings.operators = vec![known]).await;
    let history = running.deliver(&builder, &Delivery::new(1, meta("a", "a", 1), b"1")).await.unwrap();
    let (address, key) = (running.addresses.grpc.to_string(), running.addresses.key.to_string());
    let ask = |identity: &Path, arguments: &[&str]| {
        let key = format!("--vessel-key={key}");
        let way = ["--vessel", &address, &key, "--identity", identity.to_str().unwrap()];
        channel(&[arguments, &way].concat())
    };
    let promoted = json(&ask(&keys[0], &["promote", "main", "volatile", "stable", "--json"]));
    assert_eq!(promoted["to"], history);
    assert_eq!(json(&ask(&keys[0], &["show", "--json"]))["streams"]["stable"], history);
    let refused = ask(&keys[0], &["rollback", "main", "stable", "--to", "tag/none"]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    assert!(text(&refused).contains("hint: there are stream/stable"), "{}", text(&refused));
    let denied = ask(&keys[1], &["promote", "main", "volatile", "evil"]);
    assert!(text(&denied).contains("only operators may"), "{}", text(&denied));
    assert!(!denied.status.success());
    running.stop().await;
}
