//! What goes wrong is named, and nothing is lost by it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fault::{Fault, Kind};
use store::{BucketSettings, Leftovers, NewObject, Patience, Store, StoreError, Trouble};
use testkit::Seaweed;

use crate::stores::{LABELS, file, object, object_of, settings};

/// Short, for what never comes.
const IMPATIENT: Patience = Patience {
    connect: Duration::from_secs(1),
    request: Duration::from_secs(3),
    tries: 1,
    all_tries: Duration::from_secs(2),
};

fn trouble(error: &StoreError) -> Trouble {
    match error {
        StoreError::Bucket { trouble, .. } => *trouble,
        other => panic!("{other}"),
    }
}

/// The error is about this bucket, and says what to do.
fn is_named(error: &StoreError, settings: &BucketSettings, remedy: &str) {
    let message = fault::chain(error).join(": ");
    assert!(message.contains(&settings.endpoint) && message.contains(&settings.bucket), "{message}");
    assert!(error.hints().join(" ").contains(remedy), "{:?}", error.hints());
    assert!(!message.contains(&settings.credentials.secret_access_key), "{message}");
}

#[test]
fn credentials_that_are_wrong_are_named() {
    let Some(seaweed) = Seaweed::shared() else { return };
    let mut settings = settings(seaweed, None);
    for wrong in ["another-id", Seaweed::ACCESS_KEY_ID] {
        settings.credentials.access_key_id = wrong.into();
        settings.credentials.secret_access_key = "another-secret".into();
        let error = Store::bucket(settings.clone()).unwrap_err();
        assert_eq!((trouble(&error), error.kind()), (Trouble::Denied, Kind::Denied), "{error}");
        is_named(&error, &settings, "credentials");
    }
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let Some(seaweed) = Seaweed::shared() else { return };
    let settings = BucketSettings { bucket: "no-such-bucket".into(), ..settings(seaweed, None) };
    let error = Store::bucket(settings.clone()).unwrap_err();
    assert_eq!((trouble(&error), error.kind()), (Trouble::NoBucket, Kind::NotFound), "{error}");
    is_named(&error, &settings, "create the bucket");
}

#[test]
fn a_service_that_is_not_there_is_named_soon() {
    let Some(seaweed) = Seaweed::shared() else { return };
    // Nobody listens, and somebody listens who never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [nobody, silent.local_addr().unwrap()] {
        let settings = BucketSettings {
            endpoint: format!("http://{address}"),
            patience: IMPATIENT,
            ..settings(seaweed, None)
        };
        let begin = Instant::now();
        let error = Store::bucket(settings.clone()).unwrap_err();
        assert_eq!((trouble(&error), error.kind()), (Trouble::Unreachable, Kind::Unavailable), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
        is_named(&error, &settings, "can be reached");
    }
}

/// How many times longer every third connection lives: a part of a large object passes.
const LONG_LIFE: usize = 5_000;

/// Stands between client and service, and cuts connections.
struct Proxy {
    address: SocketAddr,
    /// Bytes towards the client or the service after which a connection is cut; 0 cuts none.
    cut_after_bytes: Arc<AtomicUsize>,
    cuts: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            cut_after_bytes: Arc::default(),
            cuts: Arc::default(),
            ended: Arc::default(),
        };
        let (cut_after_bytes, cuts, ended) =
            (Arc::clone(&proxy.cut_after_bytes), Arc::clone(&proxy.cuts), Arc::clone(&proxy.ended));
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let (Ok(client), Ok(service)) = (client, TcpStream::connect(to)) else { continue };
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // Cut on the way there, or on the way back, when everything has been done and nobody heard of it; every third
                // lives longer, so that the patient come through.
                let limit = cut_after_bytes.load(Ordering::Relaxed);
                let (there, back) = match number % 3 {
                    _ if limit == 0 => (None, None),
                    0 => (Some(limit), None),
                    1 => (None, Some(limit.min(64))),
                    _ => (Some(LONG_LIFE * limit), None),
                };
                pass(client.try_clone().unwrap(), service.try_clone().unwrap(), there, Arc::clone(&cuts));
                pass(service, client, back, Arc::clone(&cuts));
            }
        });
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, limit: Option<usize>, cuts: Arc<AtomicUsize>) {
    std::thread::spawn(move || {
        let mut block = [0; 4096];
        let mut passed = 0;
        while let Ok(count @ 1..) = from.read(&mut block) {
            passed += count;
            if limit.is_some_and(|limit| passed > limit) {
                cuts.fetch_add(1, Ordering::Relaxed);
                break;
            }
            if to.write_all(&block[..count]).is_err() {
                break;
            }
        }
        drop(from.shutdown(std::net::Shutdown::Both));
        drop(to.shutdown(std::net::Shutdown::Both));
    });
}

#[test]
fn connections_that_are_cut_lose_nothing() {
    let Some(seaweed) = Seaweed::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    file(&path, 9 << 20);
    let proxy = Proxy::start(seaweed.address());
    let settings = BucketSettings {
        endpoint: format!("http://{}", proxy.address),
        ..settings(seaweed, Some(&folder.path().join("journal")))
    };
    proxy.cut_after_bytes.store(2000, Ordering::Relaxed);
    let store = Store::bucket(settings.clone()).unwrap();
    let direct = Store::bucket(BucketSettings { endpoint: seaweed.endpoint(), ..settings }).unwrap();
    let mut tag = None;
    for round in 0..8_u32 {
        let text = format!("round {round}");
        let mut objects: Vec<NewObject> =
            (0..5).map(|number| object(&format!("{round}/{number}"), text.as_bytes())).collect();
        if round == 3 {
            objects.push(object_of("large", &path));
        }
        // Many in a row may be cut; then the caller hears of it and does it again.
        let mut tries = 0;
        while let Err(error) = store.create(&objects, Leftovers::Refuse) {
            assert_eq!(trouble(&error), Trouble::Unreachable, "{error}");
            tries += 1;
            assert!(tries < 5, "{error}");
        }
        tag = loop {
            match store.swap("pointer", text.as_bytes(), tag.as_ref(), LABELS) {
                Ok(tag) => break Some(tag),
                Err(error) => assert_eq!(trouble(&error), Trouble::Unreachable, "{error}"),
            }
        };
        assert_eq!(direct.read("pointer", 100).unwrap().unwrap().bytes, text.as_bytes());
        for object in &objects {
            assert_eq!(direct.digest(&object.path).unwrap(), Some(object.sha256));
        }
    }
    // How many there are depends on how many requests shared a connection.
    assert!(proxy.cuts.load(Ordering::Relaxed) > 0, "connections were cut");
}

/// Not a test by itself: what [`a_full_disk_says_so_and_keeps_what_it_has`] runs where a small file system is mounted.
#[test]
fn child_that_fills_a_disk() {
    let Ok(folder) = std::env::var("STORE_TEST_FULL") else { return };
    let store = Store::folder(folder.as_ref()).unwrap();
    let block = vec![7; 128 << 10];
    let first = object("first", &block);
    store.create(std::slice::from_ref(&first), Leftovers::Refuse).unwrap();
    let tag = store.swap("pointer", b"old", None, LABELS).unwrap();
    let many: Vec<NewObject> =
        (0..16_u8).map(|number| object(&format!("{number}"), &[&block[..], &[number]].concat())).collect();
    let error = store.create(&many, Leftovers::Refuse).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.hints()[0].contains("make room"), "{error}: {:?}", error.hints());
    // A pointer that finds no room stays what it was.
    while fs_err::write(
        format!("{folder}/fill-{}", fs_err::read_dir(&folder).unwrap().count()),
        &block[..4096],
    )
    .is_ok()
    {}
    let error = store.swap("pointer", &block, Some(&tag), LABELS).unwrap_err();
    assert!(error.hints()[0].contains("make room"), "{error}");
    assert_eq!(store.read("pointer", 100).unwrap().unwrap().bytes, b"old");
    assert_eq!(store.digest("first").unwrap(), Some(first.sha256));
    println!("filled");
}

#[test]
fn a_full_disk_says_so_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=1m none "$STORE_TEST_FULL" || exit 77; exec "$0" --exact --nocapture faults::child_that_fills_a_disk"#;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("STORE_TEST_FULL", folder.path())
        .stderr(Stdio::inherit())
        .output();
    match output {
        Ok(output)
            if output.status.code() == Some(77)
                || output.status.code() == Some(1) && output.stdout.is_empty() =>
        {
            testkit::skip("mounts in a namespace of its own");
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("filled"), "{text}");
        }
        Err(_) => testkit::skip("unshare"),
    }
}
