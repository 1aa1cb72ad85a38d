//! A publication that dies after any write to the store, in a folder and in a bucket of SeaweedFS, and the start after it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use repository::signed::{Envelope, Pointer as SignedPointer, SignedKind};
use repository::{Format, KnownFormats, RootIndex};
use store::{Sha256, Store};
use testkit::Seaweed;

use super::tests::{builder, deliver, order, upload};
use super::version_tests::SHORT;
use super::{Publisher, Watched};
use crate::delivery::Delivery;
use crate::format;
use crate::place::{Place, WrittenBucket};
use crate::signing::Signing;

/// How many writes the child does before it dies, and where. Its place it remembers.
const CRASH_AFTER: &str = "VESSEL_TEST_CRASH_AFTER";
const CRASH_DATA: &str = "VESSEL_TEST_CRASH_WRITES_DATA";
/// What it does, as JSON; without it, it commits attempt 2.
const CRASH_OPERATION: &str = "VESSEL_TEST_CRASH_OPERATION";

async fn open(data: &Path, place: Option<Place>) -> Arc<Publisher> {
    Arc::new(Publisher::open_at(data, &["main".to_owned()], place).await.unwrap())
}

/// A bucket that nobody else uses, with credentials in the data folder.
pub(super) fn bucket(seaweed: &Seaweed, data: &Path) -> Place {
    let credentials_file = data.join("credentials");
    let (id, secret) = (Seaweed::ACCESS_KEY_ID, Seaweed::SECRET_ACCESS_KEY);
    fs_err::write(&credentials_file, format!("access_key_id = {id}\nsecret_access_key = {secret}\n"))
        .unwrap();
    fs_err::set_permissions(&credentials_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Place::Bucket(WrittenBucket {
        endpoint: seaweed.endpoint(),
        bucket: seaweed.bucket(),
        region: None,
        prefix: Some("aeryn".into()),
        credentials_file,
        ca_file: None,
    })
}

/// What a reader finds: packages of the history that the pointer names, every byte of it read and compared.
pub(super) fn read(store: &Store) -> Option<Vec<String>> {
    let bytes = |path: &str| store.read(path, 1 << 20).unwrap().map(|read| read.bytes);
    let pointer = bytes("main/moss-root-index.json")?;
    let id = format::pointed(&pointer).unwrap().unwrap();
    let index = bytes(&format!("main/history/{id}/x86_64/stone.index")).expect("the index is there");
    let packages = format::read_index(std::io::Cursor::new(index)).unwrap();
    let names = packages.iter().map(|package| {
        let path = format!("main/{}", format::pool_path(&package.meta));
        assert_eq!(store.digest(&path).unwrap(), Some(package.sha256), "{path}");
        format!("{}@{}", package.meta.name, package.meta.release)
    });
    Some(names.collect())
}

/// Not a test by itself: what the others run in a process of its own.
#[tokio::test]
async fn child_that_writes_and_dies() {
    let (Ok(after), Ok(data)) = (std::env::var(CRASH_AFTER), std::env::var(CRASH_DATA)) else { return };
    let (after, writes): (usize, _) = (after.parse().unwrap(), AtomicUsize::new(0));
    let wrote = move |_: &'static str, _: &str| {
        if writes.fetch_add(1, Ordering::Relaxed) + 1 == after {
            // As hard as kill -9: nothing is dropped, flushed or rolled back.
            std::process::abort();
        }
    };
    let watched = Watched { wrote: Some(Box::new(wrote)), ..Watched::default() };
    let publisher = Publisher::open_watched(
        Path::new(&data),
        &["main".to_owned()],
        None,
        Signing::default(),
        &Delivery::default(),
        watched,
    )
    .await
    .unwrap();
    match std::env::var(CRASH_OPERATION) {
        Ok(operation) => {
            let operation = serde_json::from_str(&operation).unwrap();
            publisher.keeping(SHORT).operate(operation, "a test").await.unwrap();
        }
        Err(_) => drop(Arc::new(publisher).commit(builder(), 2).await.unwrap()),
    }
}

/// Whether the child came to its end before it should have died.
fn child(after: usize, data: &Path, operation: Option<&serde_json::Value>) -> bool {
    Command::new(std::env::current_exe().unwrap())
        .envs(operation.map(|operation| (CRASH_OPERATION, operation.to_string())))
        .args(["--exact", "publisher::crash_tests::child_that_writes_and_dies"])
        .env(CRASH_AFTER, after.to_string())
        .env(CRASH_DATA, data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

async fn crash_after_every_write(place: impl Fn(&Path) -> Option<Place>) {
    let (mut old_seen, mut new_seen) = (0, 0);
    for after in 1.. {
        let data = tempfile::tempdir().unwrap();
        let publisher = open(data.path(), place(data.path())).await;
        deliver(&publisher, &order(1, "s", 1, &[("a", "one"), ("old", "one")])).await.unwrap();
        upload(&publisher, &order(2, "s", 2, &[("a", "two"), ("b", "two")])).await;
        let store = publisher.store().clone();
        publisher.close().await;
        drop(publisher);
        let (old, new) =
            (vec!["a@1".to_owned(), "old@1".to_owned()], vec!["a@2".to_owned(), "b@2".to_owned()]);
        assert_eq!(read(&store).as_ref(), Some(&old));

        let is_over = child(after, data.path(), None);
        let seen = read(&store).unwrap();
        assert!(seen == old || seen == new, "after {after} writes: {seen:?}");
        if seen == old {
            old_seen += 1;
        } else {
            new_seen += 1;
        }

        let publisher = open(data.path(), None).await;
        let recovered = read(&store).unwrap();
        assert!(recovered == old || recovered == new, "after {after} writes: {recovered:?}");
        assert!(seen == old || recovered == new, "what was seen once is seen again");
        publisher.commit(builder(), 2).await.unwrap();
        assert_eq!(read(&store), Some(new));
        let histories = publisher.ledger.histories("main").await.unwrap().len();
        assert_eq!(histories, 2);
        let paths = |prefix: &str| store.list(prefix).unwrap().len();
        assert_eq!(
            (paths("main/pool"), paths("main/history") >= histories),
            (4, true),
            "after {after} writes"
        );
        if is_over {
            break;
        }
    }
    assert!(old_seen >= 3 && new_seen >= 2, "{old_seen} times old, {new_seen} times new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_write_leaves_the_old_version_or_the_new_one() {
    crash_after_every_write(|_| None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_write_to_a_bucket_leaves_the_old_version_or_the_new_one() {
    let Some(seaweed) = Seaweed::shared() else { return };
    crash_after_every_write(|data| Some(bucket(seaweed, data))).await;
}

/// Where the stream is, in which format, and through what older clients are led; all of it found.
fn led(store: &Store) -> (String, String, Option<String>) {
    let bytes = |path: &str| store.read(path, 1 << 20).unwrap().map(|read| read.bytes);
    let root = RootIndex::from_json(&bytes("main/moss-root-index.json").unwrap()).unwrap();
    let stream = root.resolve_for(&"stream/volatile".parse().unwrap(), KnownFormats::up_to(9)).unwrap();
    let via = root.formats.upgrade_via(&Format::V0);
    if let Some(via) = &via {
        let last = root.resolve_for(via, KnownFormats::up_to(9)).unwrap();
        assert_eq!((last.history.as_str().split_once('-').unwrap().0, last.format), ("1", Format::V0));
        assert!(bytes(&format!("main/history/{}/x86_64/stone.index", last.history)).is_some());
    }
    let signed = |what: &str| -> Option<SignedPointer> {
        let envelope = Envelope::read(&bytes(&format!("main/{what}.json"))?, SignedKind::Pointer).unwrap();
        let (channel, version) = ("main".parse().unwrap(), what.parse().unwrap());
        Some(SignedPointer::read(envelope.unchecked_payload(), &channel, &version).unwrap())
    };
    let pointer = signed("stream/volatile").unwrap();
    if pointer.format != "v0" {
        assert_eq!(via.as_ref().map(ToString::to_string).as_deref(), Some("tag/last-v0"), "there is a way");
        assert_eq!(signed("tag/last-v0").map(|it| it.format), Some("v0".to_owned()), "and it can be gone");
    }
    let number = stream.history.as_str().split_once('-').unwrap().0.to_owned();
    (number, stream.format.as_str().to_owned(), via.map(|via| via.to_string()))
}

async fn crash_after_every_write_of_an_upgrade(place: impl Fn(&Path) -> Option<Place>) {
    let upgrade = serde_json::json!({
        "operation": "upgrade-format", "channel": "main", "to": "v1", "tag": null, "unchecked": true,
    });
    let old = ("1".to_owned(), "v0".to_owned(), None);
    let new = ("2".to_owned(), "v1".to_owned(), Some("tag/last-v0".to_owned()));
    let (mut old_seen, mut new_seen) = (0, 0);
    for after in 1.. {
        let data = tempfile::tempdir().unwrap();
        let publisher = open(data.path(), place(data.path())).await;
        deliver(&publisher, &order(1, "s", 1, &[("moss", "one"), ("b", "one")])).await.unwrap();
        let store = publisher.store().clone();
        publisher.close().await;
        drop(publisher);
        let is_over = child(after, data.path(), Some(&upgrade));
        let seen = led(&store);
        assert!(seen == old || seen == new, "after {after} writes: {seen:?}");
        if seen == old {
            old_seen += 1;
        } else {
            new_seen += 1;
        }

        let publisher = open(data.path(), None).await;
        let recovered = led(&store);
        assert!(recovered == old || recovered == new, "after {after} writes: {recovered:?}");
        assert!(seen == old || recovered == new, "what was seen once is seen again");
        if recovered == old {
            publisher.operate(serde_json::from_value(upgrade.clone()).unwrap(), "a test").await.unwrap();
        }
        assert_eq!(led(&store), new);
        assert_eq!(read(&store), Some(vec!["b@1".to_owned(), "moss@1".to_owned()]));
        deliver(&publisher, &order(2, "s", 2, &[("moss", "two"), ("b", "one")])).await.unwrap();
        assert_eq!(led(&store), ("3".to_owned(), "v1".to_owned(), new.2.clone()));
        if is_over {
            break;
        }
    }
    assert!(old_seen >= 3 && new_seen >= 2, "{old_seen} times old, {new_seen} times new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_write_of_a_format_upgrade_leaves_the_old_format_or_the_new_one_and_a_way() {
    crash_after_every_write_of_an_upgrade(|_| None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_write_of_a_format_upgrade_in_a_bucket_does_so_too() {
    let Some(seaweed) = Seaweed::shared() else { return };
    crash_after_every_write_of_an_upgrade(|data| Some(bucket(seaweed, data))).await;
}

#[tokio::test]
async fn a_crash_after_any_write_of_a_pruning_removes_nothing_that_is_named() {
    let prune = serde_json::json!({ "operation": "prune", "channel": "main", "dry_run": false });
    for after in 1.. {
        let data = tempfile::tempdir().unwrap();
        let publisher = Arc::into_inner(open(data.path(), None).await).unwrap();
        let publisher = Arc::new(publisher.keeping(SHORT));
        for release in 1..=4 {
            deliver(&publisher, &order(release, "s", release, &[("a", &release.to_string())])).await.unwrap();
        }
        // Given up now, and removed by the child.
        publisher.operate(serde_json::from_value(prune.clone()).unwrap(), "a test").await.unwrap();
        let store = publisher.store().clone();
        let before = store.list("main/pool").unwrap().len();
        publisher.close().await;
        drop(publisher);
        let is_over = child(after, data.path(), Some(&prune));
        assert_eq!(read(&store), Some(vec!["a@4".to_owned()]), "after {after} writes");
        let publisher = Arc::into_inner(open(data.path(), None).await).unwrap().keeping(SHORT);
        assert_eq!(read(&store), Some(vec!["a@4".to_owned()]), "after {after} writes");
        publisher.operate(serde_json::from_value(prune.clone()).unwrap(), "a test").await.unwrap();
        assert!(store.list("main/pool").unwrap().len() < before, "it goes on");
        assert_eq!(read(&store), Some(vec!["a@4".to_owned()]));
        if is_over {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pointers_in_a_bucket_say_how_long_caches_keep_them() {
    let Some(seaweed) = Seaweed::shared() else { return };
    let data = tempfile::tempdir().unwrap();
    let place = bucket(seaweed, data.path());
    let Place::Bucket(WrittenBucket { endpoint, bucket, .. }) = &place else { panic!("{place:?}") };
    let base = format!("{endpoint}/{bucket}/aeryn/main");
    let delivery =
        Delivery { pointer_seconds: 7, stale_seconds: 8, stale_if_error_seconds: 9, ..Delivery::default() };
    let main = ["main".to_owned()];
    let publisher =
        Publisher::open_with(data.path(), &main, Some(place.clone()), Signing::default(), &delivery);
    let publisher = Arc::new(publisher.await.unwrap());
    let history = deliver(&publisher, &order(1, "s", 1, &[("a", "one")])).await.unwrap();
    let told = |path: &str| {
        let host = endpoint.strip_prefix("http://").unwrap();
        let path = format!("{base}/{path}").replacen(endpoint.as_str(), "", 1);
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        write!(stream, "HEAD {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let mut lines = answer.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(name, _)| name.eq_ignore_ascii_case("cache-control")).map(|(_, value)| value.to_owned())
    };
    for pointer in ["moss-root-index.json", "moss-root-index.json.zst", "stream/volatile.json", "keys.json"] {
        let expect = "public, max-age=7, stale-while-revalidate=8, stale-if-error=9";
        assert_eq!(told(pointer).as_deref(), Some(expect), "{pointer}");
    }
    let forever = told(&format!("history/{history}/statement.json"));
    assert_eq!(forever.as_deref(), Some("public, max-age=31536000, immutable"));
    publisher.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_vessels_on_one_bucket_the_second_is_told_and_nothing_is_lost() {
    let Some(seaweed) = Seaweed::shared() else { return };
    let (data, other_data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = bucket(seaweed, data.path());
    let (one, other) =
        (open(data.path(), Some(place.clone())).await, open(other_data.path(), Some(place.clone())).await);
    deliver(&one, &order(1, "s", 1, &[("a", "one")])).await.unwrap();
    let error = deliver(&other, &order(1, "t", 1, &[("b", "other")])).await.unwrap_err();
    let message = fault::chain(&error).join(": ");
    assert!(message.contains("somebody else replaced it"), "{message}");
    assert_eq!(read(one.store()), Some(vec!["a@1".to_owned()]));
    other.close().await;
    drop(other);
    // And it does not start any more.
    let error = Publisher::open_at(other_data.path(), &["main".to_owned()], None).await.unwrap_err();
    assert!(error.to_string().contains("which the database does not know"), "{error}");
    assert_eq!(read(one.store()), Some(vec!["a@1".to_owned()]));
    deliver(&one, &order(2, "s", 2, &[("a", "two")])).await.unwrap();
    assert_eq!(read(one.store()), Some(vec!["a@2".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_the_store_that_dies_while_publishing_loses_nothing() {
    if !testkit::long() {
        return;
    }
    let Some(mut seaweed) = Seaweed::start_replicated() else { return };
    let data = tempfile::tempdir().unwrap();
    let place = bucket(&seaweed, data.path());
    let publisher = open(data.path(), Some(place)).await;
    let mut release = 1;
    for round in 0..12 {
        if round == 4 {
            seaweed.kill_volume_server(1);
        }
        release += 1;
        let what = order(release, "s", release, &[("a", &"x".repeat(100_000)), ("b", "y")]);
        upload(&publisher, &what).await;
        // What cannot be done now is done later, and changes nothing until then.
        let mut tries = 0;
        while let Err(error) = publisher.commit(builder(), release).await {
            assert!(matches!(fault::Fault::kind(&error), fault::Kind::Unavailable), "{error}");
            tries += 1;
            assert!(tries < 20, "{}", fault::chain(&error).join(": "));
        }
        assert_eq!(read(publisher.store()), Some(vec![format!("a@{release}"), format!("b@{release}")]));
    }
    // Everything of before is there as well.
    assert_eq!(publisher.store().list("main/pool").unwrap().len(), 24);
    for listed in publisher.store().list("main").unwrap() {
        let digest: Option<Sha256> = publisher.store().digest(&listed.path).unwrap();
        assert!(digest.is_some(), "{}", listed.path);
    }
}
