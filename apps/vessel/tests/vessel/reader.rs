//! The published tree as a client of AerynOS reads it: a program in another language, with none of our code, over HTTP.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use wire::Identity;

use crate::fixture::{Delivery, Running};
use testkit::packages::meta;

/// A Python with what the independent reader of packages needs, and the folder of that one; none where one is missing.
fn tools() -> Option<(PathBuf, PathBuf)> {
    let tools = testkit::data()?.join("../tools");
    if !tools.join("stonedump.py").is_file() {
        testkit::skip("stonedump.py");
        return None;
    }
    let own = testkit::workspace_root().join("target/tools/python/bin/python3");
    let python = if own.is_file() { own } else { PathBuf::from("python3") };
    let tried = Command::new(&python).args(["-c", "import xxhash, zstandard"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        testkit::skip("python3 with xxhash and zstandard");
        return None;
    }
    Some((python, tools))
}

async fn read(python: &Path, tools: &Path, vessel: &Running, state: &Path) -> Value {
    let client = testkit::workspace_root().join("apps/vessel/tests/vessel/aerynos_client.py");
    let mut command = Command::new(python);
    command.arg(client).arg(tools).arg(format!("http://{}", vessel.addresses.http)).arg(state);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn import(folder: &Path, data: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vessel"));
    let output = command.arg("import").arg(folder).arg("--data").arg(data).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_make_reads_everything_that_is_published() {
    let Some((python, tools)) = tools() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, state) = (folder.path().join("data"), folder.path().join("state.json"));
    // Packages that another builder made.
    import(&tools.join("../data/stones"), &data);
    let builder = Identity::generate().unwrap();
    let vessel = Running::start(&data).await;
    let first = read(&python, &tools, &vessel, &state).await;
    let imported = first["versions"]["streams/volatile"].as_str().unwrap().to_owned();
    assert!(first["contents"][&imported].as_array().unwrap().iter().any(|name| name == "nano"), "{first}");

    let landed = vessel.deliver(&builder, &Delivery::new(1, meta("zlib", "zlib", 1), b"one")).await.unwrap();
    crate::channel::at(&data, &["promote", "main", &imported, "unstable"]);
    crate::channel::at(&data, &["tag", "main", "2026-11", &imported]);
    let second = read(&python, &tools, &vessel, &state).await;
    let expected = serde_json::json!({
        "streams/volatile": landed, "streams/unstable": imported, "tags/2026-11": imported
    });
    assert_eq!(second["versions"], expected);
    assert!(second["contents"][&landed].as_array().unwrap().iter().any(|name| name == "zlib"), "{second}");
    assert_eq!(second["contents"][&imported], first["contents"][&imported]);
    assert!(second["immutable"].as_u64() > first["immutable"].as_u64(), "{second}");
    vessel.stop().await;
}
