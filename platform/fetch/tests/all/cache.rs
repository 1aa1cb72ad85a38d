use std::path::Path;
use std::process::Command;

use fault::{Fault, Kind};
use fetch::{Digest, FetchError, Mirror, Order, PrefixLayout, Source, SourceCache};

use crate::client::patient;
use crate::server::{Server, head};

const HELLO: &[u8] = b"hello, this is a release tarball";

fn source(url: &str) -> Source {
    Source::new(url, Digest::of(HELLO))
}

fn cache(root: &Path) -> SourceCache {
    SourceCache::new(root, patient(), Order::UpstreamFirst)
}

fn by_name(base: &str) -> Mirror {
    Mirror::Prefix { base: base.to_owned(), layout: PrefixLayout::FileName }
}

fn leftovers(root: &Path) -> Vec<String> {
    fs_err::read_dir(root.join("partial"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_source_is_fetched_once_and_then_kept() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::files(&[("/pub/hello-1.tar.gz", HELLO)]);
    let source = source(&format!("{}/pub/hello-1.tar.gz?mirror=1", server.url).replace("?mirror=1", ""));
    let cache = cache(root.path());
    let path = cache.fetch(&source, &[], &|_| ()).unwrap();
    assert_eq!(fs_err::read(&path).unwrap(), HELLO);
    assert_eq!(path, root.path().join("sources").join(source.sha256.relative_path()));
    assert_eq!(cache.fetch(&source, &[], &|_| ()).unwrap(), path);
    assert_eq!(self::cache(root.path()).fetch(&source, &[], &|_| ()).unwrap(), path);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(leftovers(root.path()), Vec::<String>::new());
    assert!(fs_err::metadata(&path).unwrap().permissions().readonly());
}

#[test]
fn wrong_bytes_are_removed_and_the_next_place_is_asked() {
    let root = tempfile::tempdir().unwrap();
    let upstream = Server::files(&[("/x.tar.gz", b"something else")]);
    let good = Server::files(&[("/mirror/x.tar.gz", HELLO)]);
    let source = source(&format!("{}/x.tar.gz", upstream.url));
    let mirrors = [by_name(&format!("{}/mirror/", good.url))];
    let path = cache(root.path()).fetch(&source, &mirrors, &|_| ()).unwrap();
    assert_eq!(fs_err::read(path).unwrap(), HELLO);
    assert_eq!((upstream.requests().len(), good.requests().len()), (1, 1));
    assert_eq!(leftovers(root.path()), Vec::<String>::new());
}

#[test]
fn mirrors_may_come_first_and_may_be_laid_out_by_digest() {
    let root = tempfile::tempdir().unwrap();
    let upstream = Server::files(&[]);
    let source = source(&format!("{}/x.tar.gz", upstream.url));
    let place = format!("/{}", source.sha256.relative_path());
    let mirror = Server::files(&[(place.as_str(), HELLO)]);
    let mirrors = [Mirror::Prefix { base: mirror.url.clone(), layout: PrefixLayout::Digest }];
    let cache = SourceCache::new(root.path(), patient(), Order::MirrorsFirst);
    cache.fetch(&source, &mirrors, &|_| ()).unwrap();
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn every_place_and_its_reason_is_listed() {
    let root = tempfile::tempdir().unwrap();
    let upstream = Server::files(&[]);
    let wrong = Server::files(&[("/x.tar.gz", b"wrong")]);
    let source = source(&format!("{}/x.tar.gz", upstream.url));
    let mirrors = [by_name(&wrong.url), by_name("file:///nowhere")];
    let error = cache(root.path()).fetch(&source, &mirrors, &|_| ()).unwrap_err();
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("cannot fetch x.tar.gz"), "{text}");
    assert!(lines[1].contains("the server answered 404"), "{text}");
    let wrong_digest = format!("expected {}, got {}", Digest::of(HELLO), Digest::of(b"wrong"));
    assert!(lines[2].contains(&wrong.url) && lines[2].contains(&wrong_digest), "{text}");
    assert!(lines[3].contains("file:///nowhere/x.tar.gz"), "{text}");
    assert_eq!(error.kind(), Kind::Damaged, "other bytes are worth a look");
    assert!(!cache(root.path()).path(source.sha256).exists());
    assert_eq!(leftovers(root.path()), Vec::<String>::new());
}

#[test]
fn only_missing_everywhere_is_not_found() {
    let root = tempfile::tempdir().unwrap();
    let upstream = Server::files(&[]);
    let error =
        cache(root.path()).fetch(&source(&format!("{}/x.tar.gz", upstream.url)), &[], &|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn a_damaged_file_is_fetched_again() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::files(&[("/x", HELLO)]);
    let source = source(&format!("{}/x", server.url));
    let path = cache(root.path()).fetch(&source, &[], &|_| ()).unwrap();
    fs_err::remove_file(&path).unwrap();
    fs_err::write(&path, "rotten").unwrap();
    cache(root.path()).fetch(&source, &[], &|_| ()).unwrap();
    assert_eq!(fs_err::read(&path).unwrap(), HELLO);
}

#[test]
fn the_rest_of_a_broken_transfer_of_other_bytes_does_not_spoil_the_file() {
    use std::io::Write;
    let root = tempfile::tempdir().unwrap();
    // The first place breaks off after other bytes under the validator that the second place uses too.
    let broken = Server::start(|_, stream| {
        head(stream, "200 OK", &[("ETag", "\"v1\"")], HELLO.len());
        drop(stream.write_all(b"XXXXX"));
    });
    let good = Server::files(&[("/x", HELLO)]);
    let source = source(&format!("{}/x", broken.url));
    let path = cache(root.path()).fetch(&source, &[by_name(&good.url)], &|_| ()).unwrap();
    assert_eq!(fs_err::read(path).unwrap(), HELLO);
}

#[test]
fn many_threads_fetch_one_source_once() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::files(&[("/x", HELLO)]);
    let source = source(&format!("{}/x", server.url));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            // A cache each, as separate processes have.
            let (root, source) = (root.path(), &source);
            scope.spawn(move || {
                let path = cache(root).fetch(source, &[], &|_| ()).unwrap();
                assert_eq!(fs_err::read(path).unwrap(), HELLO);
            });
        }
    });
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn another_process_that_holds_the_lock_is_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::files(&[("/x", HELLO)]);
    let source = source(&format!("{}/x", server.url));
    fs_err::create_dir_all(root.path().join("locks")).unwrap();
    let lock = root.path().join("locks").join(source.sha256.to_string());
    let Ok(mut holder) = Command::new("flock")
        .arg(&lock)
        .args(["sh", "-c", "echo held; read line"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
    else {
        return testkit::skip("flock");
    };
    let mut said = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| cache(root.path()).fetch(&source, &[], &|_| ()));
        // It cannot have asked anybody while the lock is held, however fast it is.
        while !waits_for_a_lock(&lock) {
            std::thread::yield_now();
        }
        assert_eq!(server.requests().len(), 0);
        drop(holder.stdin.take());
        fetching.join().unwrap().unwrap();
    });
    holder.wait().unwrap();
    assert_eq!(server.requests().len(), 1);
}

/// The kernel lists waiters with an arrow.
fn waits_for_a_lock(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{} ", fs_err::metadata(path).unwrap().ino());
    match fs_err::read_to_string("/proc/locks") {
        Ok(locks) => locks.lines().any(|line| line.contains("->") && line.contains(&inode)),
        Err(_) => true,
    }
}

#[test]
fn a_root_that_cannot_be_written_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs_err::write(&file, "").unwrap();
    let error = cache(&file.join("cache")).fetch(&source("http://127.0.0.1:1/x"), &[], &|_| ()).unwrap_err();
    assert!(matches!(error, FetchError::Cache { .. }), "{error:?}");
    assert!(error.to_string().contains("file/cache"), "{error}");
}
