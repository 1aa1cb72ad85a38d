//! A process that dies after any write, and another one that does the same again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use store::{BucketSettings, Leftovers, NewObject, Sha256, Store};
use testkit::Seaweed;

use crate::stores::{LABELS, file, object, object_of, settings};

/// How many writes the child does before it dies, and where.
const DIE_AFTER: &str = "STORE_TEST_DIE_AFTER";
const FOLDER: &str = "STORE_TEST_FOLDER";
const ENDPOINT: &str = "STORE_TEST_ENDPOINT";
const BUCKET: &str = "STORE_TEST_BUCKET";

/// Everything that is done with a store, and where it ends: small objects, a large one, a pointer that moves, a removal.
fn work(store: &Store, large: &Path) {
    let small: Vec<NewObject> = (0..3).map(|number| object(&format!("small/{number}"), b"small")).collect();
    store.create(&small, Leftovers::Replace).unwrap();
    store.create(&[object_of("large", large)], Leftovers::Replace).unwrap();
    let read = store.read("pointer", 100).unwrap();
    store.swap("pointer", b"new", read.as_ref().map(|read| &read.tag), LABELS).unwrap();
    store.delete(&["old".into()]).unwrap();
}

fn reopen(folder: &Path, bucket: Option<(String, String)>) -> Store {
    match bucket {
        None => Store::folder(&folder.join("store")).unwrap(),
        Some((endpoint, bucket)) => {
            let credentials = store::Credentials {
                access_key_id: Seaweed::ACCESS_KEY_ID.into(),
                secret_access_key: Seaweed::SECRET_ACCESS_KEY.into(),
                session_token: None,
            };
            Store::bucket(BucketSettings {
                endpoint,
                bucket,
                region: "us-east-1".into(),
                prefix: None,
                credentials,
                ca_file: None,
                journal: Some(folder.join("journal")),
                patience: store::Patience::default(),
            })
            .unwrap()
        }
    }
}

/// Not a test by itself: what [`a_process_that_dies_after_any_write_is_made_good_by_the_next`] runs in a process of its own.
#[test]
fn child_that_writes_and_dies() {
    let (Ok(die_after), Ok(folder)) = (std::env::var(DIE_AFTER), std::env::var(FOLDER)) else { return };
    let (die_after, folder): (usize, PathBuf) = (die_after.parse().unwrap(), folder.into());
    let bucket = std::env::var(ENDPOINT).ok().zip(std::env::var(BUCKET).ok());
    let writes = AtomicUsize::new(0);
    let store = reopen(&folder, bucket)
        .watched(move |_, _| {
            if writes.fetch_add(1, Ordering::Relaxed) + 1 == die_after {
                // As hard as kill -9: nothing is dropped, flushed or rolled back.
                std::process::abort();
            }
        })
        .unwrap();
    work(&store, &folder.join("large-file"));
}

/// Whether the child came to its end before it should have died.
fn child(die_after: usize, folder: &Path, bucket: Option<&(String, String)>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::child_that_writes_and_dies"]);
    command.env(DIE_AFTER, die_after.to_string()).env(FOLDER, folder);
    if let Some((endpoint, bucket)) = bucket {
        command.env(ENDPOINT, endpoint).env(BUCKET, bucket);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

#[test]
fn a_process_that_dies_after_any_write_is_made_good_by_the_next() {
    for over_bucket in [false, true] {
        if over_bucket && Seaweed::shared().is_none() {
            return;
        }
        let mut resumed = 0;
        for die_after in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let large = folder.path().join("large-file");
            file(&large, 18 << 20);
            let bucket = Seaweed::shared()
                .filter(|_| over_bucket)
                .map(|seaweed| (seaweed.endpoint(), settings(seaweed, None).bucket));
            let store = reopen(folder.path(), bucket.clone());
            store.swap("pointer", b"old", None, LABELS).unwrap();
            store.create(&[object("old", b"old")], Leftovers::Refuse).unwrap();
            // Of a landing that died long before.
            store.create(&[object("small/1", b"left over")], Leftovers::Refuse).unwrap();

            let is_over = child(die_after, folder.path(), bucket.as_ref());
            let pointer = store.read("pointer", 100).unwrap().unwrap().bytes;
            assert!([&b"old"[..], b"new"].contains(&&pointer[..]), "after {die_after} writes");
            if pointer == b"new" {
                assert_eq!(store.digest("large").unwrap(), Some(Sha256::of_file(&large).unwrap()));
            }
            let steps: Arc<Mutex<Vec<&'static str>>> = Arc::default();
            let told = Arc::clone(&steps);
            let store = store.watched(move |step, _| told.lock().unwrap().push(step)).unwrap();
            work(&store, &large);
            let steps = steps.lock().unwrap().clone();
            if steps.contains(&"part") && !steps.contains(&"begin") {
                resumed += 1;
            }
            assert_eq!(store.read("pointer", 100).unwrap().unwrap().bytes, b"new");
            assert_eq!(store.digest("large").unwrap(), Some(Sha256::of_file(&large).unwrap()));
            assert_eq!(store.digest("small/1").unwrap(), Some(Sha256::of(b"small")));
            // Files in the making are the caller's to remove; nobody reads them.
            let (left, listed): (Vec<String>, Vec<String>) = store
                .list("")
                .unwrap()
                .into_iter()
                .map(|listed| listed.path)
                .partition(|path| path.contains("/."));
            store.delete(&left).unwrap();
            assert_eq!(
                listed,
                ["large", "pointer", "small/0", "small/1", "small/2"],
                "after {die_after} writes"
            );
            if is_over {
                assert!(die_after > 5, "died after {die_after} writes at most");
                break;
            }
        }
        assert_eq!(resumed > 0, over_bucket, "a large object went on where it was");
    }
}
