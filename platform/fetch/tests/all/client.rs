use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fault::{Fault, Kind};
use fetch::{Body, Client, ClientSettings, Digest, HttpError, PartFile, Validators};

use crate::server::{Server, answer, head, range_start, serve};

const LIMIT: u64 = 1 << 20;

pub(crate) fn patient() -> Client {
    Client::new(quick())
}

fn quick() -> ClientSettings {
    ClientSettings { retry_pause: Duration::from_millis(1), ..ClientSettings::default() }
}

fn once() -> Client {
    Client::new(ClientSettings { attempts_max: 1, ..quick() })
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

#[test]
fn a_file_is_read_and_then_known() {
    let server = Server::files(&[("/a", b"hello")]);
    let url = format!("{}/a", server.url);
    let Body::Bytes { bytes, validators } = patient().get(&url, &Validators::default(), LIMIT).unwrap()
    else {
        panic!("nothing was known");
    };
    assert_eq!(bytes, b"hello");
    assert_eq!(patient().get(&url, &validators, LIMIT).unwrap(), Body::NotModified);
    let agent = server.requests()[0].headers["user-agent"].clone();
    assert!(agent.starts_with("moraine/"), "{agent}");
}

#[test]
fn what_changes_something_is_asked_once_and_every_answer_is_one() {
    for status in ["200 OK", "409 Conflict", "503 Busy", "302 Found"] {
        let server = Server::start(move |_, stream| {
            answer(stream, status, &[("Location", "/elsewhere")], b"said");
        });
        let url = format!("{}/a", server.url);
        let said = patient().post(&url, &[("X-Moraine", "1")], b"{}", LIMIT).unwrap();
        assert_eq!((said.status.to_string().as_str(), said.bytes.as_slice()), (&status[..3], &b"said"[..]));
        let requests = server.requests();
        assert_eq!(requests.len(), 1, "{status}");
        assert_eq!((requests[0].method.as_str(), requests[0].body.as_slice()), ("POST", &b"{}"[..]));
        assert_eq!(requests[0].headers["x-moraine"], "1");
        let asked = patient().ask(&url, LIMIT).unwrap();
        assert_eq!(asked, said, "a question is answered in the same way");
        let requests = server.requests();
        assert_eq!((requests.len(), requests[1].method.as_str()), (2, "GET"), "{status}");
        for error in [patient().post(&url, &[], b"{}", 3).unwrap_err(), patient().ask(&url, 3).unwrap_err()] {
            assert!(matches!(error, HttpError::TooLarge { .. }), "{error}");
        }
    }
    assert!(patient().post("file:///a", &[], b"", LIMIT).is_err());
    assert!(patient().ask("file:///a", LIMIT).is_err());
}

#[test]
fn a_local_file_is_an_address_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b");
    fs_err::write(&path, "text").unwrap();
    let url = format!("file://{}/a%20b", folder.path().display());
    let Body::Bytes { bytes, validators } = patient().get(&url, &Validators::default(), LIMIT).unwrap()
    else {
        panic!("nothing was known");
    };
    assert_eq!(bytes, b"text");
    assert_eq!(patient().get(&url, &validators, LIMIT).unwrap(), Body::NotModified);
    let missing = patient().get("file:///nowhere/x", &Validators::default(), LIMIT).unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    let folder = patient().get("file:///tmp", &Validators::default(), LIMIT).unwrap_err();
    assert!(matches!(folder, HttpError::File { .. }));
}

#[test]
fn a_broken_transfer_goes_on_where_it_stopped() {
    let body = bytes(100_000);
    let served = body.clone();
    // Every answer breaks off after 30,000 bytes.
    let server = Server::start(move |request, stream| {
        let start = range_start(request).unwrap_or(0);
        let rest = &served[start..];
        let end = rest.len().min(30_000);
        let range = format!("bytes {start}-{}/{}", served.len() - 1, served.len());
        if start == 0 {
            head(stream, "200 OK", &[("ETag", "\"v1\"")], rest.len());
        } else {
            head(stream, "206 Partial Content", &[("ETag", "\"v1\""), ("Content-Range", &range)], rest.len());
        }
        drop(stream.write_all(&rest[..end]));
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.part");
    // Two runs of a client that asks twice each.
    let client = Client::new(ClientSettings { attempts_max: 2, ..quick() });
    let mut part = PartFile::open(&path).unwrap();
    let error = client.download(&server.url, &mut part, LIMIT, &|_| ()).unwrap_err();
    assert!(
        matches!(error, HttpError::Truncated { received_bytes: 60_000, total_bytes: Some(100_000), .. }),
        "{error:?}"
    );
    drop(part);
    let mut part = PartFile::open(&path).unwrap();
    let seen = Mutex::new(Vec::new());
    client.download(&server.url, &mut part, LIMIT, &|progress| seen.lock().unwrap().push(progress)).unwrap();
    assert_eq!(part.finish().unwrap().sha256, Digest::of(&body));
    let asked: Vec<_> =
        server.requests().iter().map(|request| request.headers.get("range").cloned()).collect();
    let range = |start: usize| Some(format!("bytes={start}-"));
    assert_eq!(asked, [None, range(30_000), range(60_000), range(90_000)]);
    assert_eq!(server.requests()[1].headers["if-range"], "\"v1\"");
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.last().unwrap().received_bytes, 100_000);
    assert!(seen.iter().all(|progress| progress.total_bytes == Some(100_000)));
}

#[test]
fn a_file_that_changed_meanwhile_is_read_anew() {
    let (old, new) = (bytes(50_000), vec![7; 40_000]);
    let asked = AtomicUsize::new(0);
    let served = new.clone();
    let server = Server::start(move |request, stream| {
        if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            head(stream, "200 OK", &[("ETag", "\"old\"")], old.len());
            drop(stream.write_all(&old[..20_000]));
        } else {
            serve(request, stream, &served, "\"new\"");
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let mut part = PartFile::open(&folder.path().join("x.part")).unwrap();
    patient().download(&server.url, &mut part, LIMIT, &|_| ()).unwrap();
    assert_eq!(part.finish().unwrap().sha256, Digest::of(&new));
}

#[test]
fn an_answer_to_another_range_is_not_believed() {
    let server = Server::start(|request, stream| match range_start(request) {
        None => {
            head(stream, "200 OK", &[("ETag", "\"v1\"")], 100);
            drop(stream.write_all(&[1; 10]));
        }
        Some(_) => {
            answer(stream, "206 Partial Content", &[("Content-Range", "bytes 0-99/100")], &[1; 100]);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let mut part = PartFile::open(&folder.path().join("x.part")).unwrap();
    let error = patient().download(&server.url, &mut part, LIMIT, &|_| ()).unwrap_err();
    assert!(matches!(error, HttpError::Protocol { .. }), "{error:?}");
    assert_eq!(part.size_bytes(), 0);
}

#[test]
fn too_much_is_refused_whether_announced_or_not() {
    let announced = Server::files(&[("/a", &[0; 2000])]);
    let error = once().get(&format!("{}/a", announced.url), &Validators::default(), 1999).unwrap_err();
    assert!(matches!(error, HttpError::TooLarge { size_bytes_max: 1999, .. }), "{error:?}");
    assert!(patient().get(&format!("{}/a", announced.url), &Validators::default(), 2000).is_ok());

    let endless = Server::start(|_, stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"));
        while stream.write_all(&[0; 1000]).is_ok() {}
    });
    let error = once().get(&endless.url, &Validators::default(), 50_000).unwrap_err();
    assert!(matches!(error, HttpError::TooLarge { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Damaged);
}

#[test]
fn a_server_that_trickles_is_given_up() {
    let server = Server::start(|_, stream| {
        head(stream, "200 OK", &[], 1_000_000);
        while stream.write_all(b"x").and_then(|()| stream.flush()).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let client = Client::new(ClientSettings {
        attempts_max: 1,
        slow_bytes_per_second: 100_000,
        slow_window: Duration::from_millis(200),
        ..quick()
    });
    let error = client.get(&server.url, &Validators::default(), LIMIT).unwrap_err();
    assert!(matches!(error, HttpError::TooSlow { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[test]
fn a_server_that_goes_silent_is_given_up() {
    let server = Server::start(|_, stream| {
        head(stream, "200 OK", &[], 1000);
        // Waits for the client to leave.
        drop(std::io::Read::read(stream, &mut [0]));
    });
    let client =
        Client::new(ClientSettings { attempts_max: 1, read_timeout: Duration::from_millis(200), ..quick() });
    let error = client.get(&server.url, &Validators::default(), LIMIT).unwrap_err();
    assert!(matches!(error, HttpError::Truncated { received_bytes: 0, .. }), "{error:?}");
}

#[test]
fn only_what_may_pass_is_asked_again() {
    fn check(status: &'static str, expect_requests: usize) {
        let server = Server::start(move |_, stream| answer(stream, status, &[], b""));
        let error = patient().get(&server.url, &Validators::default(), LIMIT).unwrap_err();
        assert!(matches!(error, HttpError::Status { .. }), "{error:?}");
        assert_eq!(server.requests().len(), expect_requests, "{status}");
    }
    check("503 Service Unavailable", 3);
    check("429 Too Many Requests", 3);
    check("404 Not Found", 1);
    check("403 Forbidden", 1);
}

#[test]
fn redirects_are_followed_so_many_times() {
    let server = Server::start(|request, stream| {
        let hop: u32 = request.path.trim_start_matches('/').parse().unwrap();
        if hop == 0 {
            answer(stream, "200 OK", &[], b"end");
        } else {
            answer(stream, "302 Found", &[("Location", &format!("/{}", hop - 1))], b"");
        }
    });
    let client = once();
    assert!(client.get(&format!("{}/10", server.url), &Validators::default(), LIMIT).is_ok());
    let error = client.get(&format!("{}/12", server.url), &Validators::default(), LIMIT).unwrap_err();
    assert!(error.to_string().contains("redirects too often"), "{error}");
}

#[test]
fn a_stored_gzip_stays_as_it_is() {
    let server = Server::start(|_, stream| {
        answer(stream, "200 OK", &[("Content-Encoding", "gzip")], b"\x1f\x8bnot really");
    });
    let Body::Bytes { bytes, .. } = once().get(&server.url, &Validators::default(), LIMIT).unwrap() else {
        panic!("nothing was known");
    };
    assert_eq!(bytes, b"\x1f\x8bnot really");
    let server = Server::start(|_, stream| answer(stream, "200 OK", &[("Content-Encoding", "br")], b"x"));
    let error = once().get(&server.url, &Validators::default(), LIMIT).unwrap_err();
    assert!(matches!(error, HttpError::Protocol { .. }));
}

#[test]
fn a_closed_port_is_named_without_credentials() {
    let closed = std::net::TcpListener::bind(testkit::steady_address()).unwrap().local_addr().unwrap();
    let url = format!("http://user:secret@{closed}/x");
    let error = patient().get(&url, &Validators::default(), LIMIT).unwrap_err();
    let text = fault::chain(&error).join("\n");
    assert!(text.contains(&format!("http://[redacted]@{closed}/x")), "{text}");
    assert!(!text.contains("secret"), "{text}");
    assert_eq!(error.kind(), Kind::Unavailable);
}
