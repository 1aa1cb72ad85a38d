//! Streams, tags, promotion, rollback, removal and pruning, seen as a client sees them.

use std::path::Path;

use repository::RootIndex;

use super::tests::{deliver, files, open, order};
use super::*;
use crate::admission::Refusal;
use crate::operation::{Moved, Operation, Outcome};

/// Nothing stays but what is pointed to and the newest.
pub(super) const SHORT: Retention = Retention { keep_days: 0, keep_newest: 1, grace_seconds: 0 };

/// What a version of a channel holds for a reader, every byte of it compared: `name@release`.
fn read(data: &Path, channel: &str, version: &str) -> Option<(String, Vec<String>)> {
    let root = data.join("public").join(channel);
    let pointer = RootIndex::from_json(&fs_err::read(root.join("moss-root-index.json")).unwrap()).unwrap();
    let id = pointer.resolve(&version.parse().unwrap()).ok()?.history.to_string();
    let folder = root.join("history").join(&id).join("x86_64");
    let index = fs_err::File::open(folder.join("stone.index")).unwrap();
    let index = repository::Index::read(index, &repository::Index::limits()).unwrap();
    let names = index.packages().iter().map(|meta| {
        let path = folder.join(meta.uri.as_ref().unwrap());
        assert_eq!(crate::Sha256::of_file(&path).unwrap().to_string(), *meta.hash.as_ref().unwrap());
        format!("{}@{}", meta.name, meta.release)
    });
    Some((id, names.collect()))
}

fn names(data: &Path, channel: &str, version: &str) -> Vec<String> {
    read(data, channel, version).map(|(_, names)| names).unwrap_or_default()
}

async fn ask(publisher: &Publisher, operation: serde_json::Value) -> Result<Outcome, PublishError> {
    let operation: Operation = serde_json::from_value(operation).unwrap();
    publisher.operate(operation, "a test").await
}

async fn moved(publisher: &Publisher, operation: serde_json::Value) -> Moved {
    match ask(publisher, operation).await.unwrap() {
        Outcome::Promote(moved)
        | Outcome::Rollback(moved)
        | Outcome::Tag(moved)
        | Outcome::Untag(moved)
        | Outcome::RemoveStream(moved) => moved,
        other => panic!("{other:?}"),
    }
}

fn promote(from: &str, to: &str) -> serde_json::Value {
    serde_json::json!({ "operation": "promote", "channel": "main", "from": from, "to": to, "to_channel": "main" })
}

fn rollback(stream: &str) -> serde_json::Value {
    serde_json::json!({ "operation": "rollback", "channel": "main", "stream": stream })
}

async fn history(publisher: &Arc<Publisher>, release: u64) -> String {
    let content = format!("release {release}");
    deliver(publisher, &order(release, "s", release, &[("a", &content), ("b", &content)])).await.unwrap()
}

#[tokio::test]
async fn streams_follow_when_they_are_told_and_go_back() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let (first, second) = (history(&publisher, 1).await, history(&publisher, 2).await);
    let made = moved(&publisher, promote(&first, "unstable")).await;
    assert_eq!((made.from, made.to, made.changed), (None, Some(first.clone()), true));
    assert!(!moved(&publisher, promote(&format!("history/{first}"), "unstable")).await.changed);
    assert_eq!(names(data.path(), "main", "stream/unstable"), ["a@1", "b@1"]);
    moved(&publisher, promote("stream/volatile", "unstable")).await;
    assert_eq!(read(data.path(), "main", "stream/unstable").unwrap().0, second);
    let back = moved(&publisher, rollback("unstable")).await;
    assert_eq!((back.from, back.to), (Some(second.clone()), Some(first.clone())));
    assert_eq!(names(data.path(), "main", "stream/unstable"), ["a@1", "b@1"]);
    assert_eq!(names(data.path(), "main", "stream/volatile"), ["a@2", "b@2"], "others stay where they are");

    // All of it is still there after a restart, also when the root index was lost.
    publisher.close().await;
    drop(publisher);
    fs_err::remove_file(data.path().join("public/main/moss-root-index.json")).unwrap();
    let publisher = open(data.path()).await;
    assert_eq!(names(data.path(), "main", "stream/unstable"), ["a@1", "b@1"]);
    let gone = serde_json::json!({ "operation": "remove-stream", "channel": "main", "stream": "unstable" });
    assert_eq!(moved(&publisher, gone).await.to, None);
    assert_eq!(read(data.path(), "main", "stream/unstable"), None);
    for (operation, expect) in [
        (promote("tag/none", "unstable"), "cannot find \"tag/none\""),
        (promote("branch/none", "unstable"), "does not begin with"),
        (promote("volatile", "../up"), "cannot use \"../up\""),
        (rollback("stable"), "cannot find \"stream/stable\""),
        (
            serde_json::json!({ "operation": "remove-stream", "channel": "main", "stream": "volatile" }),
            "every landing moves it",
        ),
        (
            serde_json::json!({ "operation": "prune", "channel": "none", "dry_run": true }),
            "cannot find channel",
        ),
    ] {
        let error = ask(&publisher, operation).await.unwrap_err();
        assert!(fault::chain(&error).join(": ").contains(expect), "{error}");
    }
}

#[tokio::test]
async fn after_a_rollback_of_the_newest_landings_go_on_from_there_and_no_path_gets_other_bytes() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let first = history(&publisher, 1).await;
    history(&publisher, 2).await;
    assert_eq!(moved(&publisher, rollback("volatile")).await.to, Some(first));
    assert_eq!(publisher.current("main").await.unwrap().unwrap()[..2], *"1-");
    let error = deliver(&publisher, &order(9, "s", 2, &[("a", "other")])).await.unwrap_err();
    assert!(matches!(error, PublishError::Refused(Refusal::OtherObject { .. })), "{error}");
    let third = deliver(&publisher, &order(3, "s", 3, &[("a", "three")])).await.unwrap();
    assert!(third.starts_with("3-"), "{third}");
    assert_eq!(names(data.path(), "main", "stream/volatile"), ["a@3"]);
    publisher.close().await;
    drop(publisher);
    assert_eq!(open(data.path()).await.current("main").await.unwrap(), Some(third));
}

#[tokio::test]
async fn tags_never_move() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let (first, second) = (history(&publisher, 1).await, history(&publisher, 2).await);
    let tag = |version: &str| serde_json::json!({ "operation": "tag", "channel": "main", "name": "2026-11", "version": version });
    assert!(moved(&publisher, tag(&first)).await.changed);
    assert!(!moved(&publisher, tag(&first)).await.changed);
    let error = ask(&publisher, tag(&second)).await.unwrap_err();
    assert!(matches!(error, PublishError::TagStands { .. }), "{error}");
    assert_eq!(names(data.path(), "main", "tag/2026-11"), ["a@1", "b@1"]);
    moved(&publisher, promote("tag/2026-11", "stable")).await;
    assert_eq!(names(data.path(), "main", "stream/stable"), ["a@1", "b@1"]);
    moved(&publisher, serde_json::json!({ "operation": "untag", "channel": "main", "name": "2026-11" }))
        .await;
    assert_eq!(read(data.path(), "main", "tag/2026-11"), None);
    assert!(moved(&publisher, tag(&second)).await.changed);
}

#[tokio::test]
async fn another_channel_gets_a_history_and_packages_of_its_own() {
    let data = tempfile::tempdir().unwrap();
    let channels = ["main".to_owned(), "stable".to_owned()];
    let publisher = Arc::new(Publisher::open(data.path(), &channels).await.unwrap());
    history(&publisher, 1).await;
    let across = |stream: &str| {
        serde_json::json!({
            "operation": "promote", "channel": "main", "from": "volatile", "to": stream, "to_channel": "stable"
        })
    };
    let made = moved(&publisher, across("volatile")).await;
    assert!(made.changed && made.to.as_ref().is_some_and(|id| id.starts_with("1-")), "{made:?}");
    assert!(!moved(&publisher, across("volatile")).await.changed);
    deliver(&publisher, &order(2, "s", 2, &[("a", "two"), ("c", "two")])).await.unwrap();
    assert_eq!(names(data.path(), "stable", "stream/volatile"), ["a@1", "b@1"]);
    moved(&publisher, across("testing")).await;
    moved(&publisher, across("volatile")).await;
    for stream in ["stream/volatile", "stream/testing"] {
        assert_eq!(names(data.path(), "stable", stream), ["a@2", "c@2"], "{stream}");
    }
    let diff = serde_json::json!({ "operation": "diff", "channel": "main", "from": "history/".to_owned()
        + &publisher.ledger.histories("main").await.unwrap()[1].id, "to": "volatile" });
    let Outcome::Diff(diff) = ask(&publisher, diff).await.unwrap() else { panic!("no diff") };
    assert_eq!((diff.added.len(), diff.removed.len(), diff.changed.len()), (1, 1, 1));
    assert_eq!((diff.changed[0].from.as_str(), diff.changed[0].to.as_str()), ("1-1-1", "1-2-1"));
    publisher.close().await;
    drop(publisher);
    let publisher = Publisher::open(data.path(), &[]).await.unwrap();
    assert_eq!(names(data.path(), "stable", "stream/testing"), ["a@2", "c@2"]);
    assert!(publisher.channels.contains_key("stable"));
}

#[tokio::test]
async fn packages_are_taken_out_by_name() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    history(&publisher, 1).await;
    let remove = |names: &[&str]| serde_json::json!({ "operation": "remove-package", "channel": "main", "names": names });
    for (names, expect) in [(&["b", "none"][..], "\"none\""), (&[], "name one at least")] {
        let error = ask(&publisher, remove(names)).await.unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    }
    let Outcome::RemovePackage { history, removed, .. } = ask(&publisher, remove(&["b"])).await.unwrap()
    else {
        panic!("not removed")
    };
    assert_eq!((&history[..2], removed), ("2-", vec!["b (x86_64)".to_owned()]));
    assert_eq!(names(data.path(), "main", "stream/volatile"), ["a@1"]);
    assert_eq!(publisher.ledger.histories("main").await.unwrap()[0].cause, "removal of b");
    moved(&publisher, rollback("volatile")).await;
    assert_eq!(names(data.path(), "main", "stream/volatile"), ["a@1", "b@1"]);
}

#[tokio::test]
async fn old_histories_go_in_two_phases_with_what_only_they_held() {
    let data = tempfile::tempdir().unwrap();
    let publisher = Publisher::open(data.path(), &["main".to_owned()]).await.unwrap();
    let publisher = Arc::new(publisher.keeping(SHORT));
    let mut ids = Vec::new();
    for release in 1..=4 {
        ids.push(history(&publisher, release).await);
    }
    let tag = serde_json::json!({ "operation": "tag", "channel": "main", "name": "kept", "version": ids[1] });
    moved(&publisher, tag).await;
    let main = data.path().join("public/main");
    let prune = async |dry_run: bool| {
        let operation = serde_json::json!({ "operation": "prune", "channel": "main", "dry_run": dry_run });
        match ask(&publisher, operation).await.unwrap() {
            Outcome::Prune { channels, .. } => channels.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let stored = || files(&main.join("history")).len() + files(&main.join("pool")).len();
    let before = stored();
    assert_eq!(prune(true).await.given_up, [ids[2].clone(), ids[0].clone()]);
    assert_eq!(prune(false).await.given_up, [ids[2].clone(), ids[0].clone()]);
    assert_eq!(stored(), before, "whoever knows them still finds them");
    assert_eq!(
        read(data.path(), "main", &format!("history/{}", ids[0])),
        None,
        "and nobody comes to know them"
    );
    assert!(read(data.path(), "main", &format!("history/{}", ids[1])).is_some());

    // Pointing to one takes it back.
    moved(&publisher, promote(&ids[2], "unstable")).await;
    assert_eq!(names(data.path(), "main", "stream/unstable"), ["a@3", "b@3"]);

    let would = prune(true).await;
    assert_eq!((&would.removed, would.packages), (&vec![ids[0].clone()], 2));
    assert_eq!(stored(), before);
    let did = prune(false).await;
    assert_eq!((did.removed, did.packages), (would.removed, 2));
    assert_eq!(stored(), before - 7, "the five files of a history and two packages");
    for version in ["tag/kept", "stream/unstable", "stream/volatile"] {
        assert_eq!(names(data.path(), "main", version).len(), 2, "{version}");
    }
    assert_eq!(prune(false).await, prune(true).await, "nothing is left to do");

    // The path of a package that is gone still belongs to its bytes, and the number of its history to it.
    publisher.close().await;
    drop(publisher);
    let publisher = open(data.path()).await;
    let folder = tempfile::tempdir().unwrap();
    let meta = testkit::packages::meta("s", "z", 1);
    fs_err::write(folder.path().join("z.stone"), testkit::packages::stone(&meta, b"z")).unwrap();
    assert_eq!(publisher.import(folder.path(), "main").await.unwrap().history[..2], *"5-");
    assert_eq!(names(data.path(), "main", "stream/volatile"), ["a@4", "b@4", "z@1"]);
}

#[tokio::test]
async fn a_vessel_prunes_by_itself() {
    let data = tempfile::tempdir().unwrap();
    let publisher = Publisher::open(data.path(), &["main".to_owned()]).await.unwrap();
    let publisher = Arc::new(publisher.keeping(SHORT));
    let mut newest = String::new();
    for release in 1..=3 {
        newest = history(&publisher, release).await;
    }
    let own = Arc::clone(&publisher);
    let pruning = tokio::spawn(async move { own.prune_every(Duration::from_millis(20)).await });
    // Packages go after the histories that held them.
    let others = || {
        let histories = publisher.store().list("main/history").unwrap().into_iter();
        let packages = publisher.store().list("main/pool").unwrap().len();
        histories.filter(|it| !it.path.contains(&newest)).count() + packages.saturating_sub(2)
    };
    let gone = async {
        while others() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    pruning.abort();
    assert_eq!(names(data.path(), "main", "stream/volatile"), ["a@3", "b@3"]);
    assert_eq!(files(&data.path().join("public/main/pool")).len(), 2);
    assert_eq!(publisher.health().await.unwrap().pruning, None);
}

#[tokio::test]
async fn more_packages_than_a_plain_index_holds_are_refused_or_published_without_one() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in ["a", "b", "c"] {
        let meta = testkit::packages::meta(name, name, 1);
        let bytes = testkit::packages::stone(&meta, name.as_bytes());
        fs_err::write(folder.path().join(meta.file_name()), bytes).unwrap();
    }
    let channels = ["main".to_owned()];
    let publisher = Publisher::open(data.path(), &channels).await.unwrap().with_plain_indexes_of(2);
    let error = publisher.import(folder.path(), "main").await.unwrap_err();
    let told = fault::chain(&error).join(": ") + &fault::Fault::hints(&error).join(" ");
    assert!(told.contains("3 packages do not fit") && told.contains("while-it-fits"), "{told}");
    assert_eq!(publisher.store().list("main").unwrap().len(), 0, "nothing was stored for it");

    let publisher = publisher.with_stone_index(StoneIndex::WhileItFits);
    let imported = publisher.import(folder.path(), "main").await.unwrap();
    let own = data.path().join("public/main/history").join(&imported.history).join("x86_64");
    assert!(own.join("index.compact").is_file() && !own.join("stone.index").exists());
    publisher.close().await;
    drop(publisher);
    let publisher = open(data.path()).await;
    let again = publisher.import(folder.path(), "main").await.unwrap();
    assert_eq!((again.is_new, again.packages), (false, 3), "a start finds all of them");
}

#[tokio::test]
async fn a_path_with_two_owners_is_told_and_lands() {
    let data = tempfile::tempdir().unwrap();
    let publisher = Publisher::open(data.path(), &["main".to_owned()]).await.unwrap();
    let import = async |packages: &[(&str, u64, &[testkit::packages::File<'_>])]| {
        let folder = tempfile::tempdir().unwrap();
        for (name, release, files) in packages {
            let mut meta = testkit::packages::meta(name, name, *release);
            if *name == "rival" {
                meta.conflicts = ["name(a)".parse().unwrap()].into();
            }
            let bytes = testkit::packages::stone_with(&meta, files);
            fs_err::write(folder.path().join(meta.file_name()), bytes).unwrap();
        }
        publisher.import(folder.path(), "main").await.unwrap().remarks
    };
    let (tool, other): (testkit::packages::File<'_>, testkit::packages::File<'_>) =
        (("bin/tool", 0o100_755, b"tool"), ("bin/tool", 0o100_755, b"another"));
    assert_eq!(import(&[("a", 1, &[tool]), ("same", 1, &[tool])]).await, "");
    assert_eq!(import(&[("b", 1, &[other])]).await, "/usr/bin/tool of b is in a as well");
    assert_eq!(import(&[("rival", 1, &[other])]).await, "", "they cannot be installed together");
    // The path goes from one package to another in one landing.
    let moved: testkit::packages::File<'_> = ("bin/moved", 0o100_755, b"moved");
    assert_eq!(import(&[("c", 1, &[moved]), ("d", 1, &[("bin/d", 0o100_755, b"d")])]).await, "");
    let heir: testkit::packages::File<'_> = ("bin/moved", 0o100_755, b"moved and changed");
    assert_eq!(import(&[("c", 2, &[("bin/c", 0o100_755, b"c")]), ("d", 2, &[heir])]).await, "");
    // What is known is found again by a Vessel that was started anew.
    publisher.close().await;
    drop(publisher);
    let publisher = open(data.path()).await;
    let folder = tempfile::tempdir().unwrap();
    let meta = testkit::packages::meta("e", "e", 1);
    let bytes = testkit::packages::stone_with(&meta, &[moved]);
    fs_err::write(folder.path().join(meta.file_name()), bytes).unwrap();
    let imported = publisher.import(folder.path(), "main").await.unwrap();
    assert_eq!(imported.remarks, "/usr/bin/moved of e is in d as well");
    // One of before that cannot be read any more keeps nothing from landing.
    let spoilt = crate::format::pool_path(&testkit::packages::meta("d", "d", 2));
    fs_err::write(data.path().join("public/main").join(spoilt), "spoilt").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let meta = testkit::packages::meta("f", "f", 1);
    fs_err::write(folder.path().join(meta.file_name()), testkit::packages::stone_with(&meta, &[moved]))
        .unwrap();
    let imported = publisher.import(folder.path(), "main").await.unwrap();
    assert_eq!((imported.is_new, imported.remarks.as_str()), (true, ""));
}
