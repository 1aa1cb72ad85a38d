//! The static server as a client on a socket sees it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::Identity;

use crate::fixture::{Delivery, Running};
use testkit::packages::meta;

/// An answer: status, headers in lower case, body.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }
}

/// Sends the request as it is, so that paths reach the server unchanged.
async fn ask(vessel: &Running, request_line: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(vessel.addresses.http).await.unwrap();
    let request = format!("{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer { status, headers: lines.filter_map(header).collect(), body: bytes[end + 4..].to_vec() }
}

#[tokio::test]
async fn the_published_tree_is_served_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let vessel = Running::start(data.path()).await;
    let page = ask(&vessel, "GET /", "").await;
    assert!(String::from_utf8(page.body).unwrap().contains("nothing published yet"));

    let builder = Identity::generate().unwrap();
    let delivery = Delivery::new(1, meta("nano", "nano", 1), &[3; 300]);
    let package = &delivery.files[0].1;
    let history = vessel.deliver(&builder, &delivery).await.unwrap();
    let pool = "/main/pool/v0/n/nano/nano-1-1-1-x86_64.stone";
    let index = format!("/main/history/{history}/x86_64/stone.index");
    let pointer = "/main/moss-root-index.json";

    // The kind of every file, and how long it stays as it is.
    let forever = "public, max-age=31536000, immutable";
    for (path, kind, cache) in [
        (pool, "application/x-stone-binary", forever),
        (index.as_str(), "application/x-stone-repository", forever),
        (pointer, "application/json", "public, max-age=60, stale-while-revalidate=60, stale-if-error=86400"),
        ("/main/moss-root-index.json.zst", "application/zstd", "public, max-age=60"),
        ("/health", "application/json", "no-store"),
        ("/metrics", "text/plain; version=0.0.4", "no-store"),
        ("/", "text/html; charset=utf-8", "no-store"),
    ] {
        let got = ask(&vessel, &format!("GET {path}"), "").await;
        assert_eq!((got.status, got.header("content-type")), (200, kind), "{path}");
        assert!(got.header("cache-control").starts_with(cache), "{path}: {}", got.header("cache-control"));
        assert_eq!(got.header("content-length"), got.body.len().to_string(), "{path}");
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        let head = ask(&vessel, &format!("HEAD {path}"), "").await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header("content-length"), got.header("content-length"), "{path}");
        assert_eq!(head.header("etag"), got.header("etag"), "{path}");
    }
    assert_eq!(ask(&vessel, &format!("GET {pool}"), "").await.body, *package);
    let page = String::from_utf8(ask(&vessel, "GET /", "").await.body).unwrap();
    assert!(page.contains(&history) && page.contains("moss repo add"), "{page}");

    // A refresh without news is one small answer.
    let tag = ask(&vessel, &format!("GET {pointer}"), "").await.header("etag").to_owned();
    let unchanged = ask(&vessel, &format!("GET {pointer}"), &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let part = ask(&vessel, &format!("GET {pool}"), "Range: bytes=10-19\r\n").await;
    assert_eq!((part.status, part.body.as_slice()), (206, &package[10..20]));
    assert_eq!(part.header("content-range"), format!("bytes 10-19/{}", package.len()));

    // Nothing outside, however it is written.
    for path in [
        "/main",
        "/main/",
        "/main/pool",
        "/none",
        "/../identity.key",
        "/%2e%2e/identity.key",
        "/main/../../identity.key",
        "/..%2fidentity.key",
        "/main/%00",
        "/main//moss-root-index.json",
        "/.hidden",
        "//etc/passwd",
    ] {
        let got = ask(&vessel, &format!("GET {path}"), "").await;
        assert_eq!(got.status, 404, "{path}");
        assert!(got.body.len() < 100, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let got = ask(&vessel, &format!("{method} {pool}"), "").await;
        assert_eq!((got.status, got.header("allow")), (405, "GET, HEAD"), "{method}");
    }

    // The pointer has another tag after a landing, the old history stays.
    vessel.deliver(&builder, &Delivery::new(2, meta("nano", "nano", 2), b"two")).await.unwrap();
    let news = ask(&vessel, &format!("GET {pointer}"), &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!(news.status, 200);
    assert_eq!(ask(&vessel, &format!("GET {index}"), "").await.status, 200);
    assert_eq!(ask(&vessel, &format!("GET {pool}"), "").await.body, *package);
    vessel.stop().await;
}

#[tokio::test]
async fn pointers_have_compressed_twins_and_packages_have_none() {
    let data = tempfile::tempdir().unwrap();
    let vessel = Running::start(data.path()).await;
    let builder = Identity::generate().unwrap();
    let history = vessel.deliver(&builder, &Delivery::new(1, meta("nano", "nano", 1), b"one")).await.unwrap();
    let pointer = "GET /main/moss-root-index.json";
    let plain = ask(&vessel, pointer, "").await;
    let zstd = ask(&vessel, pointer, "Accept-Encoding: gzip, zstd\r\n").await;
    let gzip = ask(&vessel, pointer, "Accept-Encoding: gzip\r\n").await;
    assert_eq!([&plain, &zstd, &gzip].map(|answer| answer.header("content-encoding")), ["", "zstd", "gzip"]);
    assert_eq!(zstd::stream::decode_all(&zstd.body[..]).unwrap(), plain.body);
    let tags = [&plain, &zstd, &gzip].map(|answer| answer.header("etag").to_owned());
    assert!(tags[0] != tags[1] && tags[1] != tags[2], "{tags:?}");
    for answer in [&plain, &zstd, &gzip] {
        assert_eq!(answer.header("vary"), "accept-encoding");
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        assert_eq!(answer.header("surrogate-key"), "main main/pointer");
        assert_eq!(answer.header("cache-tag"), "main,main/pointer");
    }
    let condition = |tag: &str| format!("Accept-Encoding: zstd\r\nIf-None-Match: {tag}\r\n");
    assert_eq!(ask(&vessel, pointer, &condition(&tags[1])).await.status, 304);
    assert_eq!(ask(&vessel, pointer, &condition(&tags[0])).await.status, 200);
    let range = format!("Accept-Encoding: zstd\r\nRange: bytes=5-\r\nIf-Range: {}\r\n", tags[1]);
    let rest = ask(&vessel, pointer, &range).await;
    assert_eq!((rest.status, rest.body.as_slice()), (206, &zstd.body[5..]));
    let head = ask(&vessel, "HEAD /main/moss-root-index.json", "Accept-Encoding: zstd\r\n").await;
    assert_eq!((head.header("content-length"), head.body.len()), (zstd.header("content-length"), 0));

    let pool = "GET /main/pool/v0/n/nano/nano-1-1-1-x86_64.stone";
    for path in [pool, &format!("GET /main/history/{history}/x86_64/stone.index")] {
        let answer = ask(&vessel, path, "Accept-Encoding: gzip, zstd\r\n").await;
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), ("", ""), "{path}");
    }
    assert_eq!(ask(&vessel, pool, "").await.header("surrogate-key"), "main main/pool");
    let missing = ask(&vessel, "GET /main/pool/v0/n/none", "").await;
    assert_eq!((missing.status, missing.header("surrogate-key")), (404, "main main/missing"));
    assert_eq!(missing.header("cache-control"), "no-store");

    // A twin is never of another version than the file.
    let second = vessel.deliver(&builder, &Delivery::new(2, meta("nano", "nano", 2), b"two")).await.unwrap();
    let news = ask(&vessel, pointer, "Accept-Encoding: zstd\r\n").await;
    let text = String::from_utf8(zstd::stream::decode_all(&news.body[..]).unwrap()).unwrap();
    assert!(text.contains(&second), "{text}");
    vessel.stop().await;
}

#[tokio::test]
async fn addresses_of_earlier_times_lead_to_what_is_there_now() {
    let data = tempfile::tempdir().unwrap();
    let vessel = Running::start(data.path()).await;
    let builder = Identity::generate().unwrap();
    let delivery = Delivery::new(1, meta("nano", "nano", 1), b"one");
    let first = vessel.deliver(&builder, &delivery).await.unwrap();
    let index = ask(&vessel, &format!("GET /main/history/{first}/x86_64/stone.index"), "").await;
    let direct = [
        "/volatile/x86_64/stone.index",
        "/stream/volatile/x86_64/stone.index",
        "/main/stream/volatile/x86_64/stone.index",
        "/main/volatile/x86_64/stone.index",
        "/main/legacy/stream/volatile/x86_64/stone.index",
    ];
    for path in direct {
        let answer = ask(&vessel, &format!("GET {path}"), "").await;
        assert_eq!((answer.status, &answer.body), (200, &index.body), "{path}");
        // It is a pointer now, whatever the file behind it is.
        assert!(answer.header("cache-control").starts_with("public, max-age=60,"), "{path}");
        assert_eq!(answer.header("surrogate-key"), "main main/pointer", "{path}");
    }
    // Where the addresses in that index lead from each of these.
    for path in [
        "/pool/v0/n/nano/nano-1-1-1-x86_64.stone",
        "/pool/n/nano/nano-1-1-1-x86_64.stone",
        "/main/legacy/pool/v0/n/nano/nano-1-1-1-x86_64.stone",
    ] {
        let answer = ask(&vessel, &format!("GET {path}"), "").await;
        assert_eq!((answer.status, &answer.body), (200, &delivery.files[0].1), "{path}");
        assert!(answer.header("cache-control").contains("immutable"), "{path}");
    }
    assert_eq!(ask(&vessel, "GET /moss-root-index.json", "").await.status, 200);
    assert_eq!(ask(&vessel, &format!("GET /history/{first}/x86_64/stone.index"), "").await.status, 200);
    for path in [
        "/stream/none/x86_64/stone.index",
        "/stream/volatile/riscv64/stone.index",
        "/none/volatile/x86_64/stone.index",
    ] {
        assert_eq!(ask(&vessel, &format!("GET {path}"), "").await.status, 404, "{path}");
    }
    // The direct address moves with the stream, and its entity tag says so.
    let tag = ask(&vessel, "GET /volatile/x86_64/stone.index", "").await.header("etag").to_owned();
    vessel.deliver(&builder, &Delivery::new(2, meta("nano", "nano", 2), b"two")).await.unwrap();
    let news = ask(&vessel, "GET /volatile/x86_64/stone.index", &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!(news.status, 200);
    assert_ne!(news.body, index.body);
    vessel.stop().await;
}
