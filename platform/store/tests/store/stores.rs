//! The stores that tests run over.

use std::borrow::Cow;
use std::path::Path;

use store::{BucketSettings, Credentials, Labels, NewObject, Patience, Sha256, Source, Store};
use testkit::Seaweed;

pub(crate) const LABELS: Labels = Labels {
    content_type: "application/x-test",
    cache_control: Cow::Borrowed("public, max-age=31536000, immutable"),
};

/// Runs the test over a new folder, and over a new bucket where there is SeaweedFS.
pub(crate) fn over_every_store(test: impl Fn(&Store)) {
    let folder = tempfile::tempdir().unwrap();
    test(&Store::folder(&folder.path().join("store")).unwrap());
    if let Some(seaweed) = Seaweed::shared() {
        let journal = folder.path().join("journal");
        test(&Store::bucket(settings(seaweed, Some(&journal))).unwrap());
    }
}

/// A new bucket.
pub(crate) fn settings(seaweed: &Seaweed, journal: Option<&Path>) -> BucketSettings {
    BucketSettings {
        endpoint: seaweed.endpoint(),
        bucket: seaweed.bucket(),
        region: "us-east-1".into(),
        prefix: Some("some/prefix".into()),
        credentials: Credentials {
            access_key_id: Seaweed::ACCESS_KEY_ID.into(),
            secret_access_key: Seaweed::SECRET_ACCESS_KEY.into(),
            session_token: None,
        },
        ca_file: None,
        journal: journal.map(Path::to_path_buf),
        patience: Patience::default(),
    }
}

pub(crate) fn object(path: &str, bytes: &[u8]) -> NewObject {
    NewObject::of_bytes(path.to_owned(), bytes, LABELS)
}

/// A file with so many bytes, none like its neighbour.
pub(crate) fn file(path: &Path, size_bytes: usize) -> Vec<u8> {
    let value = |number: usize| u8::try_from((number % 251 + number / 65_521 % 7) % 256).unwrap();
    let bytes: Vec<u8> = (0..size_bytes).map(value).collect();
    fs_err::write(path, &bytes).unwrap();
    bytes
}

pub(crate) fn object_of(path: &str, file: &Path) -> NewObject {
    let sha256 = Sha256::of_file(file).unwrap();
    NewObject { path: path.to_owned(), from: Source::File(file.to_path_buf()), sha256, labels: LABELS }
}
