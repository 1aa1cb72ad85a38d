use fetch::{DebianError, DebianSources, Digest, Mirror, Order, Source, SourceCache};

use crate::client::patient;

/// Releases that Debian holds byte for byte.
const RELEASES: [(&str, &str); 3] = [
    ("hello-2.10.tar.gz", "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b"),
    ("xz-5.4.1.tar.xz", "5d9827aa1875b21c288f78864bb26d2650b436ea8d2cad364e4921eb6266a5a5"),
    ("file-5.44.tar.gz", "3751c7fba8dbc831cb8d7cc8aff21035459b8ce5155ef8b0880a27d028475f3b"),
];

#[test]
fn releases_are_found_by_their_digest() {
    if std::env::var_os("MORAINE_NETWORK").is_none() {
        // Not a lack of this machine: the test command may not use the network.
        println!("skipped: MORAINE_NETWORK is not set");
        return;
    }
    if DebianSources::offered().is_err() {
        return testkit::skip("apt-get");
    }
    let root = tempfile::tempdir().unwrap();
    let debian = DebianSources::new(&root.path().join("debian"), None);
    let cache = SourceCache::new(root.path(), patient(), Order::UpstreamFirst);
    for (file_name, sha256) in RELEASES {
        let source = Source::new(&format!("http://127.0.0.1:1/{file_name}"), Digest::parse(sha256).unwrap());
        let path = cache.fetch(&source, &[Mirror::DebianSources(debian.clone())], &|_| ()).unwrap();
        assert_eq!(Digest::of(&fs_err::read(path).unwrap()).to_string(), sha256);
    }
    let unknown = Digest::of(b"no release");
    let destination = tempfile::tempdir().unwrap();
    let error = debian.fetch(unknown, destination.path()).unwrap_err();
    assert!(matches!(error, DebianError::Unknown), "{error:?}");
}
