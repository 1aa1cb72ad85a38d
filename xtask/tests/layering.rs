//! Holds the direction of imports: apps → platform → domain. A path tells what may be imported there.
//!
//! Only the manifests of the workspace and its lock file are read, so nothing has to be downloaded for it.

#![expect(clippy::expect_used, clippy::panic, reason = "a test's own way to fail")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Outer rooms may import inner ones, which have lower numbers.
const LAYERS: [(&str, u8); 5] = [("domain", 0), ("platform", 1), ("apps", 2), ("tests", 3), ("xtask", 3)];

/// Imports between neighbours outside the domain, each with its reason.
const NEIGHBOURS: [(&str, &str, &str); 8] = [
    ("boulder", "moss", "a build root is filled by the same code that fills a system"),
    ("moraine", "avalanche", "one binary holds every program"),
    ("moraine", "boulder", "one binary holds every program"),
    ("moraine", "moss", "one binary holds every program"),
    ("moraine", "summit", "one binary holds every program"),
    ("moraine", "vessel", "one binary holds every program"),
    ("bench", "testkit", "benches read the same data folder"),
    ("conformance", "testkit", "tests share the data folder and their skips"),
];

/// What the domain may use from elsewhere: formats and language, nothing that knows a clock, a disk or a network.
const DOMAIN_MAY_USE: [&str; 16] = [
    "base64",
    "foldhash",
    "hashbrown",
    "kdl",
    "regex",
    "saphyr-parser",
    "schemars",
    "serde",
    "serde_json",
    "sha2",
    "smallvec",
    "subtle",
    "thiserror",
    "toml",
    "xxhash-rust",
    "zstd",
];

/// Crates that are too big to have twice.
const ONLY_ONCE: [&str; 10] =
    ["axum", "clap", "h2", "hyper", "libsqlite3-sys", "prost", "rustls", "tokio", "tonic", "zstd-sys"];

fn metadata() -> Metadata {
    let manifest = testkit::workspace_root().join("Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo metadata")
}

/// The folder below the root that a workspace package lies in: `domain` for `domain/stone`.
fn room<'a>(metadata: &Metadata, package: &'a Package) -> &'a str {
    let below = package.manifest_path.strip_prefix(&metadata.workspace_root).expect("below the root");
    below.components().next().expect("a folder").as_str()
}

fn layer(room: &str) -> u8 {
    LAYERS
        .iter()
        .find(|(name, _)| *name == room)
        .unwrap_or_else(|| panic!("{room}/ has no place in LAYERS"))
        .1
}

#[test]
fn imports_point_inwards() {
    let metadata = metadata();
    let packages: BTreeMap<&str, &Package> =
        metadata.workspace_packages().into_iter().map(|package| (package.name.as_str(), package)).collect();
    let mut wrong = Vec::new();
    for package in packages.values() {
        let own_layer = layer(room(&metadata, package));
        for dependency in
            package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal)
        {
            let Some(imported) = packages.get(dependency.name.as_str()) else { continue };
            let imported_layer = layer(room(&metadata, imported));
            let inside_domain = own_layer == 0 && imported_layer == 0;
            let reasoned = NEIGHBOURS
                .iter()
                .any(|(from, to, _)| *from == package.name.as_str() && *to == imported.name.as_str());
            if imported_layer >= own_layer && !inside_domain && !reasoned {
                wrong.push(format!("{} imports {}", package.name, imported.name));
            }
        }
    }
    assert!(wrong.is_empty(), "these imports do not point inwards: {wrong:?}");
}

#[test]
fn the_domain_uses_nothing_that_acts() {
    let metadata = metadata();
    let own: BTreeSet<&str> =
        metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        if room(&metadata, package) != "domain" {
            continue;
        }
        for dependency in
            package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal)
        {
            let name = dependency.name.as_str();
            if !own.contains(name) && !DOMAIN_MAY_USE.contains(&name) {
                wrong.push(format!("{} uses {name}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "the domain is pure, but: {wrong:?}");
}

#[test]
fn a_folder_is_named_as_its_crate() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let folder = package.manifest_path.parent().and_then(|path| path.file_name()).expect("a folder");
        assert_eq!(folder, package.name.as_str());
    }
}

#[test]
fn every_neighbour_that_is_excused_still_is_one() {
    let metadata = metadata();
    for (from, to, reason) in NEIGHBOURS {
        let package = metadata.workspace_packages().into_iter().find(|package| package.name.as_str() == from);
        let imports = package.is_some_and(|package| package.dependencies.iter().any(|used| used.name == to));
        assert!(imports, "{from} does not import {to} any more; take it from the list ({reason})");
    }
}

#[test]
fn big_crates_are_there_once() {
    let lock = fs_err::read_to_string(testkit::workspace_root().join("Cargo.lock")).expect("Cargo.lock");
    for name in ONLY_ONCE {
        let line = format!("name = \"{name}\"");
        let count = lock.lines().filter(|found| *found == line).count();
        assert_eq!(count, 1, "{name} is there {count} times; see `cargo tree --invert {name}`");
    }
}
