//! What belongs to builds, and sets that wait for what they need, also over restarts and deaths.

use std::path::Path;

use repository::signed::{Envelope, SignedKind};
use serde_json::{Value, json};
use store::Sha256;

use super::tests::{builder, deliver, files, open, order, read_as_a_client, upload};
use super::*;
use crate::expectation::tests::artefact;
use crate::expectation::{ArtefactKind, Expectation};
use crate::operation::Operation;
use testkit::packages::{meta_with, stone};

/// An order of a source with one package of its name that needs and offers this.
fn needing(
    attempt_id: u64,
    name: &str,
    release: u64,
    needs: &[&str],
    offers: &[&str],
) -> (Expectation, Vec<Vec<u8>>) {
    let meta = meta_with(name, release, needs, offers);
    let bytes = stone(&meta, format!("{name} {release}").as_bytes());
    let mut what = order(attempt_id, name, release, &[(name, "")]);
    what.0.artefacts[0] = artefact(ArtefactKind::Package, &meta.file_name(), &bytes);
    what.1[0] = bytes;
    what
}

/// With a record, as Boulder writes it.
fn with_record(
    (mut order, mut files): (Expectation, Vec<Vec<u8>>),
    release: u64,
) -> (Expectation, Vec<Vec<u8>>) {
    let record = json!({
        "name": order.source, "version": "1", "release": release, "build_release": 1, "architecture": "x86_64",
        "sources": [{ "url": "https://example.org/a.tar", "identity": "ab".repeat(32) }],
        "root_packages": [],
    });
    let bytes = record.to_string().into_bytes();
    order.artefacts.push(artefact(ArtefactKind::Record, "build-record.json", &bytes));
    files.push(bytes);
    (order, files)
}

async fn holding(data: &Path, policy: ClosurePolicy) -> Arc<Publisher> {
    let publisher = Publisher::open(data, &["main".to_owned()]).await.unwrap();
    let publisher = publisher.closing(Closure { default: policy, ..Closure::default() });
    publisher.land_all_held().await.unwrap();
    Arc::new(publisher)
}

async fn ask(publisher: &Publisher, operation: Value) -> Value {
    let operation: Operation = serde_json::from_value(operation).unwrap();
    serde_json::to_value(publisher.operate(operation, "a test").await.unwrap()).unwrap()
}

async fn commit(publisher: &Arc<Publisher>, attempt_id: u64) -> Committed {
    publisher.commit(builder(), attempt_id).await.unwrap()
}

async fn give(publisher: &Arc<Publisher>, what: &(Expectation, Vec<Vec<u8>>)) -> Committed {
    upload(publisher, what).await;
    commit(publisher, what.0.attempt_id).await
}

fn names(data: &Path) -> Vec<String> {
    read_as_a_client(data).map(|(_, names)| names).unwrap_or_default()
}

/// Every file below `build/` is what the ledger says, and there is no other.
pub(super) async fn check_build_files(publisher: &Publisher, data: &Path) -> usize {
    let root = data.join("public/main");
    let known = publisher.ledger.build_files("main", None).await.unwrap();
    for file in &known {
        let path = root.join(&file.path);
        assert_eq!(Sha256::of_file(&path).unwrap(), file.sha256, "{}", file.path);
        assert_eq!(fs_err::metadata(&path).unwrap().len(), file.size_bytes);
    }
    let folder = root.join("build");
    let found = if folder.exists() { files(&folder).len() } else { 0 };
    assert_eq!(found, known.len(), "{known:?}");
    known.len()
}

#[tokio::test]
async fn row_p14_what_belongs_to_a_build_is_published_with_it_and_goes_with_its_last_package() {
    let data = tempfile::tempdir().unwrap();
    let publisher = Publisher::open(data.path(), &["main".to_owned(), "stable".to_owned()]).await.unwrap();
    let short = Retention { keep_days: 0, keep_newest: 1, grace_seconds: 0 };
    let publisher = Arc::new(publisher.keeping(short));
    let first = with_record(order(1, "s", 1, &[("a", "one")]), 1);
    deliver(&publisher, &first).await.unwrap();
    assert_eq!(check_build_files(&publisher, data.path()).await, 4);
    let root = data.path().join("public/main/build/s/s/1-1-1-x86_64");
    let statement: Value =
        serde_json::from_slice(&fs_err::read(root.join("provenance.json")).unwrap()).unwrap();
    let package = &first.0.artefacts[0];
    assert_eq!(statement["subject"][0]["name"], package.name.as_str());
    assert_eq!(statement["subject"][0]["digest"]["sha256"], package.sha256.to_string());
    assert_eq!(fs_err::read(root.join("build-record.json")).unwrap(), first.1[2]);
    let before = fs_err::read(root.join("provenance.json")).unwrap();
    let signed = fs_err::read(root.join("provenance.intoto.json")).unwrap();
    let signed = Envelope::read(&signed, SignedKind::Provenance).unwrap();
    assert_eq!(signed.unchecked_payload(), before);

    // The same packages under another attempt, with another manifest: what is published stays as it is.
    let mut again = first.clone();
    again.0.attempt_id = 2;
    let manifest = b"{ \"another\": true }".to_vec();
    again.0.artefacts[1] = artefact(ArtefactKind::ManifestJson, "manifest-1.jsonc", &manifest);
    again.1[1] = manifest;
    deliver(&publisher, &again).await.unwrap();
    assert_eq!(fs_err::read(root.join("provenance.json")).unwrap(), before);

    let show = json!({ "operation": "artefacts", "channel": "main", "source": "s" });
    let listed = ask(&publisher, show.clone()).await;
    let paths: Vec<&str> =
        listed["files"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        ["build-record.json", "manifest-1.jsonc", "provenance.intoto.json", "provenance.json"]
            .map(|name| format!("build/s/s/1-1-1-x86_64/{name}"))
    );
    let none = ask(&publisher, json!({ "operation": "artefacts", "channel": "main", "source": "t" })).await;
    assert_eq!(none["files"], json!([]));

    // Another channel gets it with the packages.
    let promotion = json!({
        "operation": "promote", "channel": "main", "from": "volatile", "to": "volatile", "to_channel": "stable"
    });
    ask(&publisher, promotion).await;
    let promoted = data.path().join("public/stable/build/s/s/1-1-1-x86_64/provenance.json");
    assert_eq!(fs_err::read(promoted).unwrap(), before);

    deliver(&publisher, &with_record(order(3, "s", 2, &[("a", "two")]), 2)).await.unwrap();
    assert_eq!(check_build_files(&publisher, data.path()).await, 8);
    for _ in 0..2 {
        ask(&publisher, json!({ "operation": "prune", "channel": "main", "dry_run": false })).await;
    }
    assert_eq!(check_build_files(&publisher, data.path()).await, 4);
    assert!(!root.join("provenance.json").exists(), "its packages are gone");
    assert_eq!(ask(&publisher, show).await["files"].as_array().unwrap().len(), 4);
    publisher.close().await;
    drop(publisher);
    let publisher = open(data.path()).await;
    assert_eq!(check_build_files(&publisher, data.path()).await, 4);
}

#[tokio::test]
async fn row_s3_records_and_manifests_of_something_else_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let other = with_record(order(1, "s", 1, &[("a", "one")]), 2);
    let error = deliver(&publisher, &other).await.unwrap_err().to_string();
    assert!(error.contains("build-record.json") && error.contains("release"), "{error}");

    let mut broken = order(2, "s", 1, &[("a", "one")]);
    broken.0.artefacts.push(artefact(ArtefactKind::Record, "build-record.json", b"{"));
    broken.1.push(b"{".to_vec());
    let error = deliver(&publisher, &broken).await.unwrap_err();
    assert!(matches!(error, PublishError::Record(_)) && error.is_final(), "{error}");

    let manifest = |name: &str| {
        let mut meta = testkit::packages::meta("s", name, 1);
        meta.build_depends = ["binary(cc)".parse().unwrap()].into();
        let packages = [meta];
        let manifest = package::ManifestFile::of_build(packages).unwrap();
        manifest.write(std::io::Cursor::new(Vec::new())).unwrap().into_inner()
    };
    for (attempt_id, bytes, expect) in [
        (3, manifest("b"), Some("says of b")),
        (4, b"no stone".to_vec(), Some("manifest")),
        (5, manifest("a"), None),
    ] {
        let mut what = order(attempt_id, "s", 1, &[("a", "one")]);
        what.0.artefacts.push(artefact(ArtefactKind::ManifestBinary, "manifest.x86_64.bin", &bytes));
        what.1.push(bytes);
        let found = deliver(&publisher, &what).await;
        match expect {
            None => drop(found.unwrap()),
            Some(text) => {
                let error = found.unwrap_err();
                assert!(error.to_string().contains(text) && error.is_final(), "{error}");
            }
        }
    }
    assert_eq!(check_build_files(&publisher, data.path()).await, 4);
}

#[tokio::test]
async fn a_set_waits_for_what_it_needs_also_over_a_restart_and_lands_with_it() {
    let data = tempfile::tempdir().unwrap();
    let publisher = holding(data.path(), ClosurePolicy::Hold).await;
    let app = needing(1, "app", 1, &["lib", "soname(l.so.1(x86_64))"], &[]);
    let Committed::Held(reason) = give(&publisher, &app).await else { panic!("it landed") };
    assert!(reason.contains("name(lib) needed by app"), "{reason}");
    assert_eq!(commit(&publisher, 1).await, Committed::Held(reason.clone()), "a lost answer is repeated");
    assert_eq!(publisher.landing(1).await.unwrap(), LandingStatus::Held { reason: reason.clone() });
    publisher.expect(app.0.clone()).await.unwrap();
    assert!(names(data.path()).is_empty());
    let shown = ask(&publisher, json!({ "operation": "show", "channel": "main" })).await;
    assert_eq!(shown["held"][0]["source"], "app");
    assert_eq!(shown["held"][0]["reason"], reason.as_str());
    publisher.close().await;
    drop(publisher);

    let publisher = holding(data.path(), ClosurePolicy::Hold).await;
    assert_eq!(publisher.landing(1).await.unwrap(), LandingStatus::Held { reason });
    // Half of what it needs: it says what is still missing.
    assert!(matches!(give(&publisher, &needing(2, "other", 1, &[], &[])).await, Committed::Landed(_)));
    assert_eq!(names(data.path()), ["other@1"]);
    let library = needing(3, "lib", 1, &[], &["soname(l.so.1(x86_64))"]);
    let Committed::Landed(history) = give(&publisher, &library).await else { panic!("it is held") };
    assert_eq!(names(data.path()), ["app@1", "lib@1", "other@1"]);
    let LandingStatus::Landed { history: of_app, .. } = publisher.landing(1).await.unwrap() else { panic!() };
    assert_eq!(of_app, history, "one history has both");
    assert!(files(&data.path().join("staging")).is_empty(), "nobody comes to clear up");
    assert_eq!(commit(&publisher, 1).await, Committed::Landed(history));
    check_build_files(&publisher, data.path()).await;
}

#[tokio::test]
async fn sets_that_need_each_other_land_together() {
    let data = tempfile::tempdir().unwrap();
    let publisher = holding(data.path(), ClosurePolicy::Hold).await;
    assert!(matches!(give(&publisher, &needing(1, "a", 1, &["b"], &[])).await, Committed::Held(_)));
    assert!(matches!(give(&publisher, &needing(2, "b", 1, &["c"], &[])).await, Committed::Held(_)));
    assert!(names(data.path()).is_empty());
    assert!(matches!(give(&publisher, &needing(3, "c", 1, &["a"], &[])).await, Committed::Landed(_)));
    assert_eq!(names(data.path()), ["a@1", "b@1", "c@1"]);
    assert_eq!(publisher.ledger.histories("main").await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_waits_can_be_withdrawn_dropped_and_let_go() {
    let data = tempfile::tempdir().unwrap();
    let publisher = holding(data.path(), ClosurePolicy::Hold).await;
    for (attempt_id, name) in [(1, "a"), (2, "b"), (3, "c")] {
        assert!(matches!(
            give(&publisher, &needing(attempt_id, name, 1, &["x"], &[])).await,
            Committed::Held(_)
        ));
    }
    publisher.withdraw(1).await.unwrap();
    assert_eq!(publisher.landing(1).await.unwrap(), LandingStatus::Unknown);
    let dropped =
        ask(&publisher, json!({ "operation": "drop-held", "channel": "main", "sources": ["b"] })).await;
    assert_eq!(dropped["held"][0]["attempt"], 2);
    let LandingStatus::Refused { reason } = publisher.landing(2).await.unwrap() else { panic!() };
    assert!(reason.contains("a test") && reason.contains("name(x)"), "{reason}");
    let unknown = publisher.release_held("main", &["a".to_owned()]).await.unwrap_err();
    assert!(matches!(unknown, PublishError::NotHeld { .. }), "{unknown}");
    let released =
        ask(&publisher, json!({ "operation": "release-held", "channel": "main", "sources": [] })).await;
    assert_eq!(released["held"].as_array().unwrap().len(), 1);
    assert_eq!(names(data.path()), ["c@1"]);
    assert!(files(&data.path().join("staging")).is_empty());
}

#[tokio::test]
async fn an_import_and_another_policy_let_go_what_waits() {
    let data = tempfile::tempdir().unwrap();
    let publisher = holding(data.path(), ClosurePolicy::Hold).await;
    assert!(matches!(give(&publisher, &needing(1, "a", 1, &["lib"], &[])).await, Committed::Held(_)));
    assert!(matches!(give(&publisher, &needing(2, "b", 1, &["never"], &[])).await, Committed::Held(_)));
    let folder = tempfile::tempdir().unwrap();
    let library = meta_with("lib", 1, &["gone"], &[]);
    fs_err::write(folder.path().join(library.file_name()), stone(&library, b"lib")).unwrap();
    publisher.import(folder.path(), "main").await.unwrap();
    assert_eq!(names(data.path()), ["a@1", "lib@1"], "an import is not held back, and lets go what needs it");
    publisher.close().await;
    drop(publisher);
    let publisher = holding(data.path(), ClosurePolicy::Warn).await;
    assert_eq!(names(data.path()), ["a@1", "b@1", "lib@1"]);
    let LandingStatus::Landed { remarks, .. } = publisher.landing(2).await.unwrap() else { panic!() };
    assert!(remarks.contains("name(never)"), "{remarks}");
}

#[tokio::test]
async fn a_new_distribution_begins_with_what_needs_what_comes_after_it() {
    let data = tempfile::tempdir().unwrap();
    let publisher = holding(data.path(), ClosurePolicy::Auto).await;
    let landed = |committed| matches!(committed, Committed::Landed(_));
    assert!(landed(give(&publisher, &needing(1, "filesystem", 1, &[], &[])).await));
    assert!(landed(give(&publisher, &needing(2, "app", 1, &["libc"], &[])).await), "nothing was closed yet");
    assert!(landed(give(&publisher, &needing(3, "libc", 1, &[], &[])).await));
    // From here on everything finds what it needs.
    assert!(!landed(give(&publisher, &needing(4, "b", 1, &["x"], &[])).await));
    publisher.close().await;
    drop(publisher);
    let publisher = holding(data.path(), ClosurePolicy::Auto).await;
    assert!(!landed(give(&publisher, &needing(5, "c", 1, &["x"], &[])).await), "also after a restart");
    // A member of a knot lands on Summit's word.
    let mut knot = needing(6, "d", 1, &["y"], &[]);
    knot.0.may_land_unmet = true;
    assert!(landed(give(&publisher, &knot).await));
    assert!(landed(give(&publisher, &needing(7, "x", 1, &[], &[])).await));
    assert_eq!(names(data.path()).len(), 7);
}

#[tokio::test]
async fn a_newer_release_lands_past_one_that_waits() {
    let data = tempfile::tempdir().unwrap();
    let publisher = holding(data.path(), ClosurePolicy::Hold).await;
    assert!(matches!(give(&publisher, &needing(1, "a", 1, &["x"], &[])).await, Committed::Held(_)));
    assert!(matches!(give(&publisher, &needing(2, "a", 2, &[], &[])).await, Committed::Landed(_)));
    let LandingStatus::Refused { reason } = publisher.landing(1).await.unwrap() else {
        panic!("still waiting")
    };
    assert!(reason.contains("release 2"), "{reason}");
    assert!(matches!(give(&publisher, &needing(3, "x", 1, &[], &[])).await, Committed::Landed(_)));
    assert_eq!(names(data.path()), ["a@2", "x@1"]);
    assert!(files(&data.path().join("staging")).is_empty());
}

#[tokio::test]
async fn row_p7_a_landing_notes_what_it_brings_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    for number in 1..=20 {
        let name = format!("p{number}");
        deliver(&publisher, &order(number, &name, 1, &[(&name, "x")])).await.unwrap();
    }
    let contents = publisher.ledger.contents("main").await.unwrap();
    assert_eq!(contents.len(), 20);
    assert!(contents.iter().all(|history| history.changes.len() == 1), "each brought one package");
    assert_eq!(names(data.path()).len(), 20);
}

#[tokio::test]
async fn row_s7_an_upload_that_is_repeated_after_its_end_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let publisher = holding(data.path(), ClosurePolicy::Hold).await;
    let landed = needing(1, "a", 1, &[], &[]);
    let waits = needing(2, "b", 1, &["x"], &[]);
    let Committed::Landed(history) = give(&publisher, &landed).await else { panic!("it is held") };
    assert!(matches!(give(&publisher, &waits).await, Committed::Held(_)));
    let before = names(data.path());
    for what in [&landed, &waits] {
        for artefact in &what.0.artefacts {
            let here =
                publisher.offset(builder(), what.0.attempt_id, &artefact.sha256.to_string()).await.unwrap();
            assert_eq!(here, artefact.size_bytes, "nothing is left to be sent");
        }
    }
    assert_eq!(commit(&publisher, 1).await, Committed::Landed(history));
    // The same files for another attempt that nobody ordered, and by a builder that nobody named.
    let foreign = wire::PublicKey::from_bytes([9; 32]);
    assert!(matches!(publisher.commit(builder(), 3).await, Err(PublishError::NoAttempt { .. })));
    assert!(matches!(publisher.commit(foreign, 2).await, Err(PublishError::OtherBuilder { .. })));
    assert_eq!(names(data.path()), before);
    assert_eq!(publisher.ledger.histories("main").await.unwrap().len(), 1);
}

#[tokio::test]
async fn release_files_are_published_once_listed_and_taken_away() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let bring = |files: &[(&str, &[u8])]| {
        let folder = publisher.folder.incoming("main", "2026.1");
        fs_err::create_dir_all(&folder).unwrap();
        let files: Vec<Value> = files
            .iter()
            .map(|(name, bytes)| {
                fs_err::write(folder.join(name), bytes).unwrap();
                json!({ "name": name, "size_bytes": bytes.len(), "sha256": Sha256::of(bytes).to_string() })
            })
            .collect();
        json!({ "operation": "release-add", "channel": "main", "name": "2026.1", "files": files })
    };
    let image = vec![7; 3 << 20];
    let add = bring(&[("desktop.iso", &image), ("desktop.iso.asc", b"signed")]);
    let added = ask(&publisher, add.clone()).await;
    assert_eq!(added["release"]["files"].as_array().unwrap().len(), 4, "with the list, plain and signed");
    let folder = data.path().join("public/main/release/2026.1");
    assert_eq!(fs_err::read(folder.join("desktop.iso")).unwrap(), image);
    let list: Value = serde_json::from_slice(&fs_err::read(folder.join("release.json")).unwrap()).unwrap();
    assert_eq!(list["files"][0]["sha256"], Sha256::of(&image).to_string());
    assert_eq!(list["files"][0]["size_bytes"], image.len());
    let signed = fs_err::read(folder.join("release.signed.json")).unwrap();
    let signed = Envelope::read(&signed, SignedKind::List).unwrap();
    assert_eq!(signed.unchecked_payload(), fs_err::read(folder.join("release.json")).unwrap());
    assert!(!publisher.folder.incoming("main", "2026.1").exists());
    assert_eq!(ask(&publisher, add.clone()).await["release"], added["release"], "again is once");
    let refused = |operation: Value| {
        let publisher = &publisher;
        async move {
            let operation: Operation = serde_json::from_value(operation).unwrap();
            publisher.operate(operation, "a test").await.unwrap_err()
        }
    };
    let other = refused(bring(&[("desktop.iso", b"other")])).await;
    assert!(matches!(other, PublishError::ReleaseStands { .. }), "{other}");
    let mut lying = bring(&[("x", b"abc")]);
    lying["name"] = "2026.2".into();
    let from = publisher.folder.incoming("main", "2026.1");
    fs_err::rename(&from, publisher.folder.incoming("main", "2026.2")).unwrap();
    fs_err::write(publisher.folder.incoming("main", "2026.2").join("x"), b"abd").unwrap();
    refused(lying).await;
    for (name, file) in [("../x", "a"), ("ok", "../a"), ("ok", ".hidden"), ("ok", "release.json")] {
        let files = json!([{ "name": file, "size_bytes": 1, "sha256": Sha256::of(b"a").to_string() }]);
        refused(json!({ "operation": "release-add", "channel": "main", "name": name, "files": files })).await;
    }

    // Neither a start nor pruning takes it away; what nobody named goes.
    deliver(&publisher, &order(1, "s", 1, &[("a", "one")])).await.unwrap();
    fs_err::create_dir_all(data.path().join("public/main/release/stray")).unwrap();
    fs_err::write(data.path().join("public/main/release/stray/x"), "x").unwrap();
    ask(&publisher, json!({ "operation": "prune", "channel": "main", "dry_run": false })).await;
    publisher.close().await;
    drop(publisher);
    let publisher = open(data.path()).await;
    let listed = ask(&publisher, json!({ "operation": "release-list", "channel": "main" })).await;
    assert_eq!(listed["releases"][0]["files"], added["release"]["files"]);
    assert_eq!(files(&data.path().join("public/main/release")).len(), 4);
    ask(&publisher, json!({ "operation": "release-remove", "channel": "main", "name": "2026.1" })).await;
    assert!(!folder.join("desktop.iso").exists());
    let listed = ask(&publisher, json!({ "operation": "release-list", "channel": "main" })).await;
    assert_eq!(listed["releases"], json!([]));
}
