//! `moraine fire` as people run it: a real Vessel, killed over and over, behind the real caches of this machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use testkit::Seaweed;

/// Where Debian has what people do not call, beside the path.
const SERVERS: &str = "/usr/sbin:/usr/local/sbin";

/// Where a program is; says that it is missing where it is not.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(std::env::split_paths(SERVERS));
    let found = folders.find(|folder| folder.join(name).is_file()).map(|folder| folder.join(name));
    if found.is_none() {
        testkit::skip(name);
    }
    found
}

/// Whether both caches are here.
fn has_caches() -> bool {
    ["nginx", "varnishd"].iter().all(|name| program(name).is_some())
}

/// An example of settings, with other places than those in it.
fn example(name: &str, others: &[(&str, &str)]) -> String {
    let path = testkit::workspace_root().join("examples/delivery").join(name);
    let mut text = fs_err::read_to_string(path).unwrap();
    for (place, other) in others {
        assert!(text.contains(place), "{place} is not in {name}");
        text = text.replace(place, other);
    }
    text
}

#[test]
fn the_example_of_nginx_is_taken_by_nginx() {
    let Some(nginx) = program("nginx") else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display().to_string();
    let cache = format!("{here}/cache");
    let listen = format!("listen {}:18080;", testkit::steady_address().ip());
    let text = example("nginx.conf", &[("/var/cache/nginx/vessel", &cache), ("listen 80;", &listen)]);
    fs_err::write(folder.path().join("vessel.conf"), text).unwrap();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {here}/{kind};\n"))
        .collect();
    let whole = format!(
        "pid {here}/pid;\nerror_log {here}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}include {here}/vessel.conf;\n}}\n"
    );
    let settings = folder.path().join("nginx.conf");
    fs_err::write(&settings, whole).unwrap();
    let output = Command::new(nginx).args(["-t", "-p", &here, "-c"]).arg(&settings).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_example_of_varnish_is_taken_by_varnish() {
    let Some(varnish) = program("varnishd") else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("vessel.vcl");
    fs_err::write(&settings, example("varnish.vcl", &[])).unwrap();
    let output = Command::new(varnish)
        .args(["-C", "-j", "none", "-n"])
        .arg(folder.path().join("work"))
        .arg("-f")
        .arg(&settings)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("X-Ban-Keys"), "{said}");
}

/// Two at the same time would leave neither of them much to do with.
static ALONE: Mutex<()> = Mutex::new(());

fn fire(arguments: &[&str]) -> (bool, Value, String) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(env!("CARGO_BIN_EXE_moraine"))
        .args(["fire", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let outcome = serde_json::from_slice(&output.stdout).ok();
    assert!(outcome.is_some(), "{said}");
    (output.status.success(), outcome.unwrap_or_default(), said)
}

#[test]
fn whatever_happens_readers_meet_a_complete_version() {
    if !has_caches() {
        return;
    }
    let short = [
        "--seconds",
        "16",
        "--clients",
        "40",
        "--systems",
        "1",
        "--cache-seconds",
        "1",
        "--download-seconds",
        "3",
    ];
    let long = [
        "--seconds",
        "80",
        "--clients",
        "300",
        "--systems",
        "3",
        "--cache-seconds",
        "3",
        "--download-seconds",
        "8",
    ];
    let (went_well, outcome, said) = fire(if testkit::long() { &long } else { &short });
    assert!(went_well, "{outcome} {said}");
    all_is_well(&outcome);
    assert_eq!(outcome["ways"].as_array().unwrap().len(), 4, "{outcome}");
}

/// Nothing happened that must not, and enough happened for that to mean something.
fn all_is_well(outcome: &Value) {
    for key in ["not_found", "mismatches", "mixed", "rollbacks_accepted"] {
        assert_eq!(outcome[key], 0, "{outcome}");
    }
    for (key, least) in [
        ("walks", 100),
        ("histories", 10),
        ("histories_read", 5),
        ("removed", 1),
        ("kills", 2),
        ("syncs", 1),
        ("rollbacks_offered", 1),
        ("rollbacks_refused", 1),
    ] {
        assert!(outcome[key].as_u64().unwrap() >= least, "{key}: {outcome}");
    }
}

#[test]
fn a_bucket_is_as_good_a_place_as_a_folder() {
    let Some(seaweed) = Seaweed::start() else { return };
    if !has_caches() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (credentials, store) = (folder.path().join("credentials"), folder.path().join("store.toml"));
    let (id, secret) = (Seaweed::ACCESS_KEY_ID, Seaweed::SECRET_ACCESS_KEY);
    fs_err::write(&credentials, format!("access_key_id = {id}\nsecret_access_key = {secret}\n")).unwrap();
    fs_err::set_permissions(&credentials, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (endpoint, bucket) = (seaweed.endpoint(), seaweed.bucket());
    let text = format!(
        "[store]\nendpoint = {endpoint:?}\nbucket = {bucket:?}\ncredentials_file = {credentials:?}\n"
    );
    fs_err::write(&store, text).unwrap();
    let seconds = if testkit::long() { "60" } else { "30" };
    let (went_well, outcome, said) = fire(&[
        "--store",
        store.to_str().unwrap(),
        "--seconds",
        seconds,
        "--clients",
        "30",
        "--systems",
        "1",
        "--cache-seconds",
        "1",
        "--download-seconds",
        "2",
    ]);
    assert!(went_well, "{outcome} {said}");
    all_is_well(&outcome);
}

#[test]
fn who_prunes_as_if_nobody_kept_anything_sends_readers_to_what_is_gone() {
    if !has_caches() {
        return;
    }
    let (went_well, outcome, said) = fire(&[
        "--careless",
        "--seconds",
        "90",
        "--clients",
        "60",
        "--systems",
        "0",
        "--cache-seconds",
        "3",
        "--way",
        "chain",
    ]);
    assert!(!went_well, "{outcome}");
    assert!(outcome["not_found"].as_u64().unwrap() > 0, "{outcome}");
    assert!(said.contains("is not there"), "{said}");
}
