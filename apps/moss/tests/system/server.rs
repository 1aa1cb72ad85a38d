//! A repository over HTTP: resume and conditional requests.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fs_err as fs;
use moss::{Access, Freshness, Silent, System, add_repository};
use repository::{RepositoryConfig, RepositoryFields};

use crate::packages::{Place, direct, install, package, publish};

/// Serves a directory; remembers each request as `path status`.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn serve(directory: PathBuf, cut_once_after: Option<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let cut = Arc::new(Mutex::new(cut_once_after));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (directory, seen, cut) = (directory.clone(), Arc::clone(&seen), Arc::clone(&cut));
                std::thread::spawn(move || answer(stream.unwrap(), &directory, &seen, &cut));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn answer(mut stream: TcpStream, directory: &Path, seen: &Mutex<Vec<String>>, cut: &Mutex<Option<usize>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut path, mut range, mut tag) = (String::new(), 0, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
            break;
        }
        let lower = line.trim().to_lowercase();
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap().to_owned();
        } else if let Some(value) = lower.strip_prefix("range: bytes=") {
            range = value.trim_end_matches('-').parse().unwrap();
        } else if let Some(value) = lower.strip_prefix("if-none-match: ") {
            tag = value.to_owned();
        }
    }
    let Ok(bytes) = fs::read(directory.join(path.trim_start_matches('/'))) else {
        seen.lock().unwrap().push(format!("{path} 404"));
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        return;
    };
    let etag = format!("\"{}\"", &fetch::Digest::of(&bytes).to_string()[..16]);
    if tag == etag {
        seen.lock().unwrap().push(format!("{path} 304"));
        stream.write_all(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n").unwrap();
        return;
    }
    let status = if range > 0 { "206 Partial Content" } else { "200 OK" };
    seen.lock().unwrap().push(format!("{path} {}", &status[..3]));
    let mut head = format!(
        "HTTP/1.1 {status}\r\nETag: {etag}\r\nConnection: close\r\nContent-Length: {}\r\n",
        bytes.len() - range
    );
    if range > 0 {
        head.push_str(&format!("Content-Range: bytes {range}-{}/{}\r\n", bytes.len() - 1, bytes.len()));
    }
    let body = &bytes[range..];
    let cut = if path.ends_with(".stone") { cut.lock().unwrap().take() } else { None };
    let sent = &body[..cut.unwrap_or(body.len()).min(body.len())];
    // The client may have gone; then there is nobody to serve.
    let _gone = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(b"\r\n"))
        .and_then(|()| stream.write_all(sent));
}

/// Bytes that do not compress, so that the package is as long as they are.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56).to_le_bytes()[0]
    };
    (0..200_000).map(|_| next()).collect()
}

fn system(root: &Path) -> System<'static> {
    System::open(root, Access::Write, &Silent).unwrap()
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    publish(&folder.path().join("tree"), &[package("big", 1).file_with_mode("share/big", &noise(), 0o644)]);
    let server = Server::serve(folder.path().join("tree"), Some(100_000));
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    add_repository(&root, &direct("main", format!("{}/stone.index", server.address), 0)).unwrap();
    let system = system(&root);
    let change = system.plan(&install(&["big"]), Freshness::Required).unwrap();
    system.apply(&change, "test").unwrap();
    assert_eq!(fs::read(root.join("usr/share/big")).unwrap(), noise());
    let downloads: Vec<String> =
        server.take().into_iter().filter(|request| request.contains(".stone ")).collect();
    assert!(downloads.iter().any(|request| request.ends_with("206")), "{downloads:?}");
}

#[test]
fn a_direct_index_is_asked_for_conditionally() {
    let folder = tempfile::tempdir().unwrap();
    publish(&folder.path().join("tree"), &[package("tool", 1).file("bin/tool", "x")]);
    let server = Server::serve(folder.path().join("tree"), None);
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    add_repository(&root, &direct("main", format!("{}/stone.index", server.address), 0)).unwrap();
    system(&root).offers(Freshness::Required).unwrap();
    system(&root).offers(Freshness::Required).unwrap();
    system(&root).offers(Freshness::Cached).unwrap();
    assert_eq!(server.take(), ["/stone.index 200", "/stone.index 304"]);
}

fn write_root_index(tree: &Path, history: &str, format: &str) {
    let text = format!(
        "{{\"formats\":{{\"v0\":{{}}}},\"streams\":{{\"volatile\":{{\"format\":\"{format}\",\"history\":\"{history}\"}}}},\
         \"tags\":{{}},\"history\":{{\"{history}\":{{\"format\":\"{format}\"}}}}}}"
    );
    fs::write(tree.join("main/moss-root-index.json"), text).unwrap();
}

#[test]
fn a_versioned_repository_costs_one_request_when_nothing_changed() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    publish(&tree.join("main/history/1/x86_64"), &[package("tool", 1).file("bin/tool", "1")]);
    publish(&tree.join("main/history/2/x86_64"), &[package("tool", 2).file("bin/tool", "2")]);
    write_root_index(&tree, "1", "v0");
    let server = Server::serve(tree.clone(), None);
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    let fields = RepositoryFields {
        description: Some("test".into()),
        base_uri: Some(server.address.clone()),
        version: Some("stream/volatile".into()),
        priority: Some(0),
        ..RepositoryFields::default()
    };
    add_repository(&root, &RepositoryConfig::from_fields("main", &fields).unwrap()).unwrap();
    let release = || system(&root).offers(Freshness::Required).unwrap()[0].packages[0].release;
    assert_eq!((release(), release()), (1, 1));
    let (pointer, first, second) = (
        "/main/moss-root-index.json",
        "/main/history/1/x86_64/stone.index",
        "/main/history/2/x86_64/stone.index",
    );
    // Only who knows nothing yet asks whether there are signed files.
    let probe = "/main/stream/volatile.json 404".to_owned();
    assert_eq!(
        server.take(),
        [probe, format!("{pointer} 200"), format!("{first} 200"), format!("{pointer} 304")]
    );

    // The pointer is written anew and says the same: the history is not fetched again.
    let text = fs::read_to_string(tree.join(&pointer[1..])).unwrap();
    fs::write(tree.join(&pointer[1..]), format!("{text}\n")).unwrap();
    assert_eq!((release(), release()), (1, 1));
    assert_eq!(server.take(), [format!("{pointer} 200"), format!("{pointer} 304")]);

    write_root_index(&tree, "2", "v0");
    assert_eq!(release(), 2);
    assert_eq!(server.take(), [format!("{pointer} 200"), format!("{second} 200")]);

    // A format of the future is refused with a word, even where the cache could serve.
    write_root_index(&tree, "3", "v9");
    let error = system(&root).offers(Freshness::Preferred).unwrap_err();
    let chain = fault::chain(&error).join(": ");
    assert!(chain.contains("has the format \"v9\", which is unknown"), "{chain}");
}

#[test]
fn two_processes_may_fill_one_cache() {
    let place = Place::with(&[package("tool", 1).file_with_mode("share/big", &noise(), 0o644)]);
    let folder = tempfile::tempdir().unwrap();
    let repositories = [direct("main", format!("file://{}/stone.index", place.repository().display()), 0)];
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (folder, repositories) = (folder.path(), &repositories);
            scope.spawn(move || {
                let target = folder.join(worker.to_string());
                fs::create_dir(&target).unwrap();
                let made = moss::materialise(&moss::Materialise {
                    target: &target,
                    repositories,
                    cache_dir: &folder.join("cache"),
                    wanted: &["tool".parse().unwrap()],
                    missing: moss::MissingPolicy::Refuse,
                    reporter: &Silent,
                })
                .unwrap();
                assert_eq!(made.packages.len(), 1);
                assert_eq!(fs::read(target.join("usr/share/big")).unwrap(), noise());
            });
        }
    });
}
