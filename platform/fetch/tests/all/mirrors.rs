//! A file from several places, some of which are away, slow, behind the others, or lie.

use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fetch::{Client, ClientSettings, Digest, Location, MirrorError, Standing, WantedFile};

use crate::server::Server;

const BYTES: &[u8] = b"the very bytes that were promised";

fn location(server: &str) -> Location {
    Location { place: server.to_owned(), url: format!("{server}/x.stone") }
}

fn client() -> Client {
    Client::new(ClientSettings {
        connect_timeout: Duration::from_secs(3),
        read_timeout: Duration::from_secs(3),
        slow_window: Duration::from_secs(3),
        slow_bytes_per_second: 1000,
        retry_pause: Duration::from_millis(1),
        ..ClientSettings::default()
    })
}

/// What came, and what was told on the way.
fn get(
    standing: &Standing,
    locations: &[Location],
    part: &Path,
) -> (Result<Vec<u8>, MirrorError>, Vec<String>) {
    let told = Mutex::new(Vec::new());
    let wanted = WantedFile { locations, sha256: Digest::of(BYTES), size_bytes_max: 1000, part };
    let result = client()
        .download_from(standing, &wanted, &|_| (), &|text| told.lock().unwrap().push(text.to_owned()));
    let bytes = result.map(|finished| fs_err::read(finished.path).unwrap());
    (bytes, told.into_inner().unwrap())
}

#[test]
fn whoever_has_it_is_asked_and_whoever_lies_is_named_and_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("x.part");
    let nobody = "http://127.0.0.1:1";
    let behind = Server::files(&[]);
    let liar = Server::files(&[("/x.stone", b"other bytes")]);
    let good = Server::files(&[("/x.stone", BYTES)]);
    let all = [location(nobody), location(&behind.url), location(&liar.url), location(&good.url)];
    let standing = Standing::default();
    let (bytes, told) = get(&standing, &all, &part);
    assert_eq!(bytes.unwrap(), BYTES);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("127.0.0.1:1 is passed over"), "{told:?}");
    assert!(told[1].contains("404"), "{told:?}");
    assert!(
        told[2].contains(&format!("{} is set aside", liar.url)) && told[2].contains("SHA-256"),
        "{told:?}"
    );

    // The next file comes from the one that had it, at once; the one that lied is not asked again.
    fs_err::remove_file(&part).unwrap();
    let (bytes, told) = get(&standing, &all, &part);
    assert_eq!((bytes.unwrap().as_slice(), told), (BYTES, Vec::new()));
    assert_eq!((liar.requests().len(), behind.requests().len(), good.requests().len()), (1, 1, 2));
}

#[test]
fn a_place_that_trickles_is_left_for_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let slow = Server::start(|_, stream| {
        drop(
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BYTES.len()).as_bytes()),
        );
        for byte in BYTES {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(400));
        }
    });
    let good = Server::files(&[("/x.stone", BYTES)]);
    let begin = Instant::now();
    let (bytes, told) =
        get(&Standing::default(), &[location(&slow.url), location(&good.url)], &folder.path().join("x.part"));
    assert_eq!(bytes.unwrap(), BYTES);
    assert!(told[0].contains("is passed over"), "{told:?}");
    assert!(begin.elapsed() < Duration::from_secs(10), "all of it takes 13 seconds there");
}

#[test]
fn when_nobody_has_it_the_first_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("x.part");
    let (behind, liar) = (Server::files(&[]), Server::files(&[("/x.stone", b"other bytes")]));
    let (bytes, told) = get(&Standing::default(), &[location(&behind.url), location(&liar.url)], &part);
    let error = bytes.unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(!part.exists(), "what was wrong is not gone on with");
}
