//! `moraine fire` as people run it: a real Vessel, killed over and over, behind the real caches of this machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Where Debian has what people do not call, beside the path.
const SERVERS: &str = "/usr/sbin:/usr/local/sbin";

/// Whether both caches are here; says which is missing.
fn has_caches() -> bool {
    let found = ["nginx", "varnishd"].map(|name| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<_> = std::env::split_paths(&path).chain(std::env::split_paths(SERVERS)).collect();
        let found = folders.iter().any(|folder| Path::new(folder).join(name).is_file());
        if !found {
            testkit::skip(name);
        }
        found
    });
    found.iter().all(|found| *found)
}

fn fire(arguments: &[&str]) -> (bool, Value, String) {
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
        "14",
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
    for key in ["not_found", "mismatches", "mixed"] {
        assert_eq!(outcome[key], 0, "{outcome}");
    }
    assert_eq!(outcome["ways"].as_array().unwrap().len(), 4, "{outcome}");
    // What went well only because nothing happened would show nothing.
    for (key, least) in
        [("walks", 100), ("histories", 10), ("histories_read", 5), ("removed", 1), ("kills", 2), ("syncs", 1)]
    {
        assert!(outcome[key].as_u64().unwrap() >= least, "{key}: {outcome}");
    }
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
