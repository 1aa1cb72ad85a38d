//! Landings that are repeated, interrupted and killed at every step.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use fault::Fault;
use wire::PublicKey;

use super::*;
use crate::admission::Refusal;
use crate::expectation::tests::artefact;
use crate::expectation::{ArtefactKind, Expectation};
use crate::staging::Announced;
use store::Sha256;
use store::durable;
use testkit::packages::{meta, stone};

/// Which step the child dies at, and where.
const CRASH_STEP: &str = "VESSEL_TEST_CRASH_STEP";
const CRASH_DATA: &str = "VESSEL_TEST_CRASH_DATA";

const STEPS: [Step; 9] = [
    Step::Decided,
    Step::ObjectsLinked,
    Step::ObjectsReadBack,
    Step::IndexesWritten,
    Step::PointersSigned,
    Step::Recorded,
    Step::PointerWritten,
    Step::PointerMoved,
    Step::StagingRemoved,
];

pub(super) fn builder() -> PublicKey {
    PublicKey::from_bytes([1; 32])
}

pub(super) async fn open(data: &Path) -> Arc<Publisher> {
    Arc::new(Publisher::open(data, &["main".to_owned()]).await.unwrap())
}

/// An order of `source` with packages by name and content.
pub(super) fn order(
    attempt_id: u64,
    source: &str,
    release: u64,
    contents: &[(&str, &str)],
) -> (Expectation, Vec<Vec<u8>>) {
    let files: Vec<(String, Vec<u8>)> = contents
        .iter()
        .map(|(name, content)| {
            let meta = meta(source, name, release);
            (meta.file_name(), stone(&meta, content.as_bytes()))
        })
        .collect();
    let manifest =
        (format!("manifest-{attempt_id}.jsonc"), format!("{{ \"attempt\": {attempt_id} }}").into_bytes());
    let mut artefacts: Vec<_> =
        files.iter().map(|(name, bytes)| artefact(ArtefactKind::Package, name, bytes)).collect();
    artefacts.push(artefact(ArtefactKind::ManifestJson, &manifest.0, &manifest.1));
    let order = Expectation {
        task_id: attempt_id,
        attempt_id,
        channel: "main".into(),
        source: source.into(),
        version: "1".into(),
        release,
        build_release: 1,
        architecture: "x86_64".into(),
        builder: builder(),
        artefacts,
        origin: Default::default(),
        may_land_unmet: false,
    };
    (order, files.into_iter().map(|(_, bytes)| bytes).chain([manifest.1]).collect())
}

/// Announces and uploads, and does not commit.
pub(super) async fn upload(publisher: &Arc<Publisher>, (order, files): &(Expectation, Vec<Vec<u8>>)) {
    publisher.expect(order.clone()).await.unwrap();
    for bytes in files {
        let announced =
            Announced { sha256: Sha256::of(bytes), size_bytes: u64::try_from(bytes.len()).unwrap() };
        publisher.append(order.attempt_id, announced, 0, bytes.clone()).await.unwrap();
        publisher.settle(order.attempt_id, announced).await.unwrap();
    }
}

pub(super) async fn deliver(
    publisher: &Arc<Publisher>,
    what: &(Expectation, Vec<Vec<u8>>),
) -> Result<String, PublishError> {
    upload(publisher, what).await;
    commit(publisher, what.0.attempt_id).await
}

/// Of what lands and is not held back.
pub(super) async fn commit(publisher: &Arc<Publisher>, attempt_id: u64) -> Result<String, PublishError> {
    publisher.commit(builder(), attempt_id).await.map(|committed| match committed {
        Committed::Landed(history) => history,
        Committed::Held(reason) => panic!("attempt {attempt_id} is held back: {reason}"),
    })
}

/// What a reader finds: id and packages of the history that the pointer names, every byte of it read and compared.
pub(super) fn read_as_a_client(data: &Path) -> Option<(String, Vec<String>)> {
    let root = data.join("public/main");
    let pointer = fs_err::read(root.join("moss-root-index.json")).ok()?;
    let id = format::pointed(&pointer).unwrap().unwrap();
    let folder = root.join("history").join(&id).join("x86_64");
    let index = repository::Index::read(
        fs_err::File::open(folder.join("stone.index")).unwrap(),
        &repository::Index::limits(),
    )
    .unwrap();
    let names = index.packages().iter().map(|meta| {
        let path = folder.join(meta.uri.as_ref().unwrap());
        assert_eq!(Sha256::of_file(&path).unwrap().to_string(), *meta.hash.as_ref().unwrap());
        assert_eq!(fs_err::metadata(&path).unwrap().len(), meta.download_size_bytes.unwrap());
        format!("{}@{}", meta.name, meta.release)
    });
    Some((id, names.collect()))
}

/// Every file below the folder, hidden ones included.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn a_landing_publishes_and_its_repetition_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    assert_eq!(publisher.current("main").await.unwrap(), None);
    let first = order(1, "s", 1, &[("a", "one"), ("old", "one")]);
    let id = deliver(&publisher, &first).await.unwrap();
    assert_eq!(commit(&publisher, 1).await.unwrap(), id, "a lost answer is repeated");
    publisher.expect(first.0.clone()).await.unwrap();
    assert_eq!(read_as_a_client(data.path()), Some((id.clone(), vec!["a@1".into(), "old@1".into()])));
    // The same bytes under a new attempt land where they are.
    let mut again = first.clone();
    again.0.attempt_id = 2;
    assert_eq!(deliver(&publisher, &again).await.unwrap(), id);
    assert_eq!(publisher.ledger.histories("main").await.unwrap().len(), 1);

    let id = deliver(&publisher, &order(3, "s", 2, &[("a", "two")])).await.unwrap();
    assert!(id.starts_with("2-"), "{id}");
    assert_eq!(read_as_a_client(data.path()), Some((id.clone(), vec!["a@2".into()])));
    assert!(files(&data.path().join("staging")).is_empty());
    let output = |attempt_id| {
        let publisher = &publisher;
        async move {
            match publisher.landing(attempt_id).await.unwrap() {
                LandingStatus::Landed { output, remarks, .. } => (output, remarks),
                other => panic!("{other:?}"),
            }
        }
    };
    let (of_first, of_again, of_second) = (output(1).await, output(2).await, output(3).await);
    assert!(of_first.0.is_some() && of_first.0 == of_again.0, "the same build again yields the same");
    assert_ne!(of_first.0, of_second.0);
    assert_eq!(of_second.1, "", "nothing to look at");
    let builds = super::held_tests::check_build_files(&publisher, data.path()).await;
    assert_eq!(builds, 6, "manifests and provenances, plain and signed, are published");
    publisher.close().await;
    drop(publisher);
    // And all of it is still there after a restart, the old history included.
    let publisher = open(data.path()).await;
    assert_eq!(publisher.current("main").await.unwrap(), Some(id));
    assert_eq!(fs_err::read_dir(data.path().join("public/main/history")).unwrap().count(), 2);
    assert_eq!(commit(&publisher, 1).await.unwrap()[..2], *"1-");
}

#[tokio::test]
async fn whoever_follows_a_channel_is_told_what_changed_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let told = |since: &str| match publisher.changes("main", "x86_64", since).unwrap() {
        Changes::Unknown { history } => Err(history),
        Changes::Since { history, arrived, gone } => {
            let packages = match arrived.is_empty() {
                true => Vec::new(),
                false => format::read_index(std::io::Cursor::new(arrived)).unwrap(),
            };
            let names =
                packages.iter().map(|package| format!("{}@{}", package.meta.name, package.meta.release));
            Ok((history, names.collect::<Vec<_>>(), gone))
        }
    };
    assert_eq!(told(""), Err(String::new()), "nothing is there");
    let first = deliver(&publisher, &order(1, "s", 1, &[("a", "1"), ("old", "1")])).await.unwrap();
    assert_eq!(told(""), Err(first.clone()), "nobody can follow from nothing");
    assert_eq!(told(&first), Ok((first.clone(), vec![], vec![])));
    let second = deliver(&publisher, &order(2, "t", 1, &[("b", "1")])).await.unwrap();
    let third = deliver(&publisher, &order(3, "s", 2, &[("a", "2")])).await.unwrap();
    assert_eq!(told(&second), Ok((third.clone(), vec!["a@2".into()], vec!["old".into()])));
    assert_eq!(told(&first), Ok((third.clone(), vec!["a@2".into(), "b@1".into()], vec!["old".into()])));
    assert_eq!(told("2-of-another"), Err(third.clone()));
    let elsewhere = publisher.changes("main", "aarch64", &first).unwrap();
    assert_eq!(elsewhere, Changes::Since { history: third.clone(), arrived: vec![], gone: vec![] });
    publisher.close().await;
    drop(publisher);
    let publisher = open(data.path()).await;
    let after = publisher.changes("main", "x86_64", &first).unwrap();
    assert_eq!(after, Changes::Unknown { history: third }, "a restart forgets, and says so");
}

#[tokio::test]
async fn two_commits_at_once_make_one_history() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let what = order(1, "s", 1, &[("a", "one")]);
    upload(&publisher, &what).await;
    let (left, right) = tokio::join!(publisher.commit(builder(), 1), publisher.commit(builder(), 1));
    assert_eq!(left.unwrap(), right.unwrap());
    assert_eq!(publisher.ledger.histories("main").await.unwrap().len(), 1);
}

#[tokio::test]
async fn attempts_that_wait_for_their_turn_land_together_and_one_that_cannot_stops_no_other() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    deliver(&publisher, &order(1, "s", 1, &[("a", "one")])).await.unwrap();
    // Two sources with a package of the same name: the first one gets it.
    let names: [(u64, &str, &str); 4] = [(2, "t", "b"), (3, "u", "c"), (4, "v", "b"), (5, "w", "d")];
    for (attempt_id, source, name) in names {
        upload(&publisher, &order(attempt_id, source, 1, &[(name, source)])).await;
    }
    let channel = publisher.channel("main").unwrap();
    let turn = channel.state.lock().await;
    let commits: Vec<_> = (2..=5)
        .map(|attempt_id| {
            let publisher = Arc::clone(&publisher);
            tokio::spawn(async move { commit(&publisher, attempt_id).await })
        })
        .collect();
    let all_wait = async {
        while channel.waiting.len() < commits.len() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), all_wait).await.unwrap();
    drop(turn);
    let mut results = Vec::new();
    for commit in commits {
        results.push(commit.await.unwrap());
    }
    let landed: Vec<&String> = results.iter().flatten().collect();
    assert_eq!(landed.len(), 3, "{results:?}");
    assert!(landed.iter().all(|history| *history == landed[0]), "{results:?}");
    assert!(results[1].is_ok() && results[3].is_ok() && results[0].is_ok() != results[2].is_ok());
    let refused = results.iter().find_map(|result| result.as_ref().err()).unwrap();
    assert!(matches!(refused, PublishError::Refused(Refusal::OtherOwner { .. })), "{refused:?}");
    assert_eq!(publisher.ledger.histories("main").await.unwrap().len(), 2);
    let (id, packages) = read_as_a_client(data.path()).unwrap();
    assert_eq!((&id, packages.len()), (landed[0], 4));
    assert!(files(&data.path().join("staging")).is_empty());
}

#[tokio::test]
async fn what_is_refused_stays_refused_and_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let id = deliver(&publisher, &order(1, "s", 1, &[("a", "one")])).await.unwrap();
    // A builder that puts a package of another source into a file with the right name.
    let foreign = stone(&meta("t", "a", 2), b"evil");
    let mut evil = order(2, "s", 2, &[("a", "two")]);
    evil.0.artefacts[0] = artefact(ArtefactKind::Package, "a-1-2-1-x86_64.stone", &foreign);
    evil.1[0] = foreign;
    let error = deliver(&publisher, &evil).await.unwrap_err();
    assert!(matches!(error, PublishError::Refused(Refusal::NotOrdered { field: "source", .. })), "{error}");
    let LandingStatus::Refused { reason } = publisher.landing(2).await.unwrap() else {
        panic!("not refused")
    };
    assert!(reason.contains("ordered was \"s\""), "{reason}");
    let error = publisher.commit(builder(), 2).await.unwrap_err();
    assert!(matches!(error, PublishError::WasRefused { .. }), "{error}");
    assert!(matches!(publisher.expect(evil.0).await, Err(PublishError::WasRefused { .. })));
    assert_eq!(read_as_a_client(data.path()).unwrap().0, id);
    assert!(files(&data.path().join("staging")).is_empty());
    // What is damaged, and what is called something else than it is.
    for (attempt_id, bytes, expect) in [
        (
            3,
            b"no stone at all, and long enough to have a header".to_vec(),
            "cannot accept a-1-2-1-x86_64.stone",
        ),
        (4, stone(&meta("s", "b", 2), b"x"), "the package in it is b-1-2-1-x86_64.stone"),
    ] {
        let mut bad = order(attempt_id, "s", 2, &[("a", "two")]);
        bad.0.artefacts[0] = artefact(ArtefactKind::Package, "a-1-2-1-x86_64.stone", &bytes);
        bad.1[0] = bytes;
        let error = deliver(&publisher, &bad).await.unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    }
    assert_eq!(publisher.ledger.histories("main").await.unwrap().len(), 1);
}

#[tokio::test]
async fn published_paths_keep_their_bytes_in_every_history() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    deliver(&publisher, &order(1, "s", 1, &[("a", "one"), ("b", "one")])).await.unwrap();
    deliver(&publisher, &order(2, "s", 2, &[("a", "two")])).await.unwrap();
    // b left with release 2. Nothing in the current history keeps another source from bringing the same file name.
    let folder = tempfile::tempdir().unwrap();
    let other = stone(&meta("s", "b", 1), b"other bytes");
    fs_err::write(folder.path().join("b.stone"), other).unwrap();
    let error = publisher.import(folder.path(), "main").await.unwrap_err();
    assert!(matches!(error, PublishError::Refused(Refusal::OtherObject { .. })), "{error}");
}

#[tokio::test]
async fn every_architecture_has_an_index_of_its_own() {
    let data = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let import = async |name: &str, architecture: &str| {
        let mut meta = meta("s", name, 1);
        meta.architecture = architecture.into();
        fs_err::write(folder.path().join(format!("{name}-{architecture}.stone")), stone(&meta, b"x"))
            .unwrap();
        let publisher = open(data.path()).await;
        let imported = publisher.import(folder.path(), "main").await.unwrap();
        publisher.close().await;
        imported.history
    };
    let listed = |id: &str, architecture: &str| {
        let path = data.path().join(format!("public/main/history/{id}/{architecture}/stone.index"));
        let packages = format::read_index(fs_err::File::open(path).unwrap()).unwrap();
        packages.into_iter().map(|package| package.meta.architecture).collect::<Vec<_>>()
    };
    let id = import("a", "aarch64").await;
    assert_eq!((listed(&id, "x86_64"), listed(&id, "aarch64")), (vec![], vec!["aarch64".to_owned()]));
    let id = import("a", "x86_64").await;
    assert_eq!((listed(&id, "x86_64").len(), listed(&id, "aarch64").len()), (1, 1));
    assert_eq!(open(data.path()).await.current("main").await.unwrap(), Some(id));
}

#[tokio::test]
async fn leftovers_of_unknown_origin_go_and_a_lost_database_stops_everything() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let id = deliver(&publisher, &order(1, "s", 1, &[("a", "one")])).await.unwrap();
    publisher.close().await;
    drop(publisher);
    let main = data.path().join("public/main");
    let before = files(&main);
    for stray in ["history/9-dead/x86_64/stone.index", "history/.9-dead.new/x", "pool/v0/x/x/x.stone"] {
        fs_err::create_dir_all(main.join(stray).parent().unwrap()).unwrap();
        fs_err::write(main.join(stray), "x").unwrap();
    }
    fs_err::create_dir_all(data.path().join("staging/77")).unwrap();
    // As after a crash between the transaction and the rename, or a restored copy of the tree.
    fs_err::remove_file(main.join("moss-root-index.json")).unwrap();
    let publisher = open(data.path()).await;
    assert_eq!(files(&main).len(), before.len());
    assert_eq!(read_as_a_client(data.path()).unwrap().0, id);
    assert!(!data.path().join("staging/77").exists());
    publisher.close().await;
    drop(publisher);

    for name in ["vessel.db", "vessel.db-wal", "vessel.db-shm"] {
        durable::remove(&data.path().join(name)).unwrap();
    }
    let error = Publisher::open(data.path(), &["main".to_owned()]).await.unwrap_err();
    assert!(error.to_string().contains(&id) && error.hints()[0].contains("vessel.db"), "{error}");
    assert_eq!(files(&main).len(), before.len(), "nothing was removed");
}

#[tokio::test]
async fn an_edited_index_is_noticed() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let first = deliver(&publisher, &order(1, "s", 1, &[("a", "one")])).await.unwrap();
    let second = deliver(&publisher, &order(2, "s", 2, &[("a", "two")])).await.unwrap();
    publisher.close().await;
    drop(publisher);
    let index = |id: &str| data.path().join(format!("public/main/history/{id}/x86_64/stone.index"));
    fs_err::copy(index(&first), index(&second)).unwrap();
    let error = Publisher::open(data.path(), &[]).await.unwrap_err();
    assert!(error.to_string().contains("its index holds something else"), "{error}");
}

#[tokio::test]
async fn withdrawn_attempts_are_forgotten_and_landed_ones_are_not() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let what = order(1, "s", 1, &[("a", "one")]);
    upload(&publisher, &what).await;
    assert_eq!(publisher.landing(1).await.unwrap(), LandingStatus::Receiving);
    publisher.withdraw(1).await.unwrap();
    publisher.withdraw(1).await.unwrap();
    assert_eq!(publisher.landing(1).await.unwrap(), LandingStatus::Unknown);
    assert!(matches!(publisher.commit(builder(), 1).await, Err(PublishError::NoAttempt { .. })));
    deliver(&publisher, &what).await.unwrap();
    assert!(matches!(publisher.withdraw(1).await, Err(PublishError::HasLanded { .. })));
    // Another order under the same attempt is another matter.
    let mut other = what.0.clone();
    other.release = 2;
    other.artefacts[0].name = "a-1-2-1-x86_64.stone".into();
    let error = publisher.expect(other).await.unwrap_err();
    assert!(matches!(error, PublishError::OtherExpectation { field: "release", .. }), "{error}");
}

#[tokio::test]
async fn unmet_needs_are_told_with_the_landing() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let needing = testkit::packages::meta_with("a", 1, &["soname(x.so(x86_64))"], &[]);
    let bytes = stone(&needing, b"x");
    let mut what = order(1, "a", 1, &[("a", "one")]);
    what.0.artefacts[0] = artefact(ArtefactKind::Package, &needing.file_name(), &bytes);
    what.1[0] = bytes;
    deliver(&publisher, &what).await.unwrap();
    let LandingStatus::Landed { remarks, .. } = publisher.landing(1).await.unwrap() else {
        panic!("not landed")
    };
    assert!(remarks.contains("soname(x.so(x86_64)) needed by a"), "{remarks}");
}

#[tokio::test]
async fn a_stream_that_somebody_else_moved_is_read_anew() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    deliver(&publisher, &order(1, "s", 1, &[("a", "one")])).await.unwrap();
    // As if another process had landed: the state in memory is now older than the database.
    publisher.channels["main"].state.lock().await.current = None;
    let what = order(2, "s", 2, &[("a", "two")]);
    let error = deliver(&publisher, &what).await.unwrap_err();
    assert!(matches!(error, PublishError::StreamMoved { .. }), "{error}");
    let id = commit(&publisher, 2).await.unwrap();
    assert_eq!(read_as_a_client(data.path()), Some((id, vec!["a@2".to_owned()])));
    assert_eq!(publisher.ledger.histories("main").await.unwrap().len(), 2);
}

/// Not a test by itself: what [`a_crash_at_any_step_leaves_the_old_version_or_the_new_one`] runs in a process of its own.
#[tokio::test]
async fn child_that_commits_and_dies() {
    let (Ok(step), Ok(data)) = (std::env::var(CRASH_STEP), std::env::var(CRASH_DATA)) else { return };
    let reached = move |reached: Step| {
        if format!("{reached:?}") == step {
            // As hard as kill -9: nothing is dropped, flushed or rolled back.
            std::process::abort();
        }
    };
    let publisher = Publisher::open_watched(
        Path::new(&data),
        &["main".to_owned()],
        None,
        Signing::default(),
        &Delivery::default(),
        Watched { reached: Arc::new(reached), wrote: None },
    )
    .await
    .unwrap();
    Arc::new(publisher).commit(builder(), 2).await.unwrap();
}

fn die_at(step: Step, data: &Path) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "publisher::tests::child_that_commits_and_dies"])
        .env(CRASH_STEP, format!("{step:?}"))
        .env(CRASH_DATA, data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success(), "the child did not reach {step:?}");
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_the_old_version_or_the_new_one() {
    for (number, step) in STEPS.into_iter().enumerate() {
        for has_older in [true, false] {
            let data = tempfile::tempdir().unwrap();
            let publisher = open(data.path()).await;
            if has_older {
                deliver(&publisher, &order(1, "s", 1, &[("a", "one"), ("old", "one")])).await.unwrap();
            }
            upload(&publisher, &order(2, "s", 2, &[("a", "two"), ("b", "two")])).await;
            publisher.close().await;
            drop(publisher);
            let before = read_as_a_client(data.path());
            let pins = [signing_tests::first_key(data.path())];
            die_at(step, data.path());

            let after = read_as_a_client(data.path());
            // The signed pointer comes after the other one, and is the old or the new one as well.
            let signed = |data: &Path| signing_tests::read_signed(data, "main", "stream/volatile", &pins);
            let signed_after = signed(data.path());
            let new = vec!["a@2".to_owned(), "b@2".to_owned()];
            // STEPS[6] is the first one after the rename.
            if number < 6 {
                assert_eq!(after, before, "{step:?}");
            } else {
                assert_eq!(after.as_ref().map(|(_, names)| names), Some(&new), "{step:?}");
            }

            let version = |seen: &Option<signing_tests::Seen>| seen.as_ref().map_or(0, |seen| seen.version);
            if step == Step::PointerWritten || number < 6 {
                assert_eq!(version(&signed_after), u64::from(has_older), "{step:?}");
            }
            let publisher = open(data.path()).await;
            assert!(version(&signed(data.path())) >= version(&signed_after), "{step:?}");
            let recovered = read_as_a_client(data.path());
            // STEPS[5] is the first one after the transaction.
            if number < 5 {
                assert_eq!(recovered, before, "{step:?}");
            } else {
                assert_eq!(recovered.map(|(_, names)| names), Some(new.clone()), "{step:?}");
            }
            let id = commit(&publisher, 2).await.unwrap();
            assert_eq!(read_as_a_client(data.path()), Some((id.clone(), new)), "{step:?}");
            assert_eq!(signed(data.path()).unwrap().history, id, "{step:?}");
            let histories = publisher.ledger.histories("main").await.unwrap();
            assert_eq!(histories.len(), usize::from(has_older) + 1, "{step:?}");
            let folders = fs_err::read_dir(data.path().join("public/main/history")).unwrap();
            assert_eq!(folders.count(), histories.len());
            let packages = if has_older { 4 } else { 2 };
            assert_eq!(files(&data.path().join("public/main/pool")).len(), packages, "{step:?}");
            assert!(files(&data.path().join("staging")).is_empty(), "{step:?}");
            let builds = super::held_tests::check_build_files(&publisher, data.path()).await;
            assert_eq!(builds, if has_older { 6 } else { 3 }, "{step:?}");
        }
    }
}
