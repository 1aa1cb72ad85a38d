//! `moraine world` as people run it, with a small pack: the real Summit, Vessel and agents, killed and cut off on the way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use package::{Dependency, ManifestFile, PackageMeta};
use serde_json::Value;

/// Recipes with what their builds need. The first two need each other.
const RECIPES: [(&str, &[&str]); 8] = [
    ("libc", &["compiler"]),
    ("compiler", &["libc"]),
    ("zlib", &["compiler"]),
    ("openssl", &["compiler", "zlib"]),
    ("curl", &["compiler", "openssl", "zlib"]),
    ("bash", &["compiler"]),
    ("git", &["bash", "curl"]),
    ("editor", &["bash", "something-from-outside"]),
];

fn write_pack(folder: &Path) {
    for (name, needs) in RECIPES {
        let place = folder.join(name);
        fs_err::create_dir_all(&place).unwrap();
        let needs: String = needs.iter().map(|need| format!("  - {need}\n")).collect();
        let text = format!(
            "name: {name}\nversion: \"1.0\"\nrelease: 4\nhomepage: https://example.org\nlicense: MIT\nsummary: s\n\
             description: d\nbuilddeps:\n{needs}"
        );
        fs_err::write(place.join("stone.yaml"), text).unwrap();
        let package = PackageMeta {
            name: name.into(),
            version: "1.0".into(),
            release: 4,
            build_release: 0,
            architecture: std::env::consts::ARCH.into(),
            summary: "s".into(),
            description: "d".into(),
            source_id: name.into(),
            homepage: "https://example.org".into(),
            licenses: vec!["MIT".into()],
            depends: [Dependency::name("libc")].into(),
            provides: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            build_depends: BTreeSet::new(),
            uri: None,
            hash: None,
            download_size_bytes: None,
        };
        let manifest = ManifestFile::of_build([package]).unwrap();
        let bytes = manifest.write(Cursor::new(Vec::new())).unwrap().into_inner();
        fs_err::write(place.join(ManifestFile::bin_name(std::env::consts::ARCH)), bytes).unwrap();
    }
}

/// Plays the pack; what it says on standard output and on standard error.
fn play(arguments: &[&str]) -> Option<(Value, String)> {
    if !testkit::has_programs(&["git"]) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    write_pack(&folder.path().join("recipes"));
    let output = Command::new(env!("CARGO_BIN_EXE_moraine"))
        .args(["world", "--builders", "2", "--json", "--recipes"])
        .arg(folder.path().join("recipes"))
        .arg("--data")
        .arg(folder.path().join("data"))
        .args(arguments)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    Some((serde_json::from_slice(&output.stdout).unwrap(), told))
}

fn check_end(outcome: &Value) {
    for (key, expect) in [
        ("recipes", 8),
        ("published", 8),
        ("false_failures", 0),
        ("orphans", 0),
        ("lost_log_bytes", 0),
        ("duplicates", 0),
    ] {
        assert_eq!(outcome[key], expect, "{outcome}");
    }
    assert!(outcome["seconds"].as_f64().unwrap() > 0.0, "{outcome}");
    assert!(outcome["assign_ms"]["p99"].as_u64() >= outcome["assign_ms"]["p50"].as_u64(), "{outcome}");
}

#[test]
fn a_world_begins_with_no_more_than_opens_its_knot() {
    let Some((outcome, told)) = play(&["--bootstrap"]) else { return };
    check_end(&outcome);
    assert_eq!(outcome["faults"], 0, "{outcome}");
    assert!(told.contains("a bootstrap set of 1 recipes"), "{told}");
}

#[test]
fn a_world_ends_well_although_its_processes_are_killed_and_its_connections_cut() {
    // Builds of some seconds, so that there is time for faults.
    let Some((outcome, told)) = play(&["--kill-seed", "1", "--scale", "60"]) else { return };
    check_end(&outcome);
    assert!(outcome["faults"].as_u64().unwrap() > 0, "{outcome} {told}");
}
