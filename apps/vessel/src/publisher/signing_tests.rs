//! What is signed, seen as a client sees it that has nothing but a pinned key.

use std::path::Path;

use package::PackageMeta;
use repository::compact;
use repository::signed::{KeyChange, KeyState};

use super::tests::{deliver, files, open, order};
use super::*;
use crate::operation::{Operation, Outcome};
use crate::signing::{KeyPlace, next_key_file, public_key, sign_with};
use repository::signed::{
    Digest, Envelope, FileFacts, HistoryStatement, Pointer as SignedPointer, PublicKey as SigningKey,
    SignedKind, TrustedKeys,
};

/// What a client finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) history: String,
    pub(super) version: u64,
    /// `name@release`
    pub(super) names: Vec<String>,
}

fn trusted(root: &Path, pins: &[SigningKey]) -> TrustedKeys {
    let mut lists = Vec::new();
    while let Ok(list) = fs_err::read(root.join(format!("keys/{}.json", lists.len() + 1))) {
        lists.push(list);
    }
    assert_eq!(lists.last(), fs_err::read(root.join("keys.json")).ok().as_ref(), "the newest is the last");
    TrustedKeys::walk(lists.iter().map(Vec::as_slice), pins, &seal::verify).unwrap()
}

fn read_as(root: &Path, path: &str, facts: FileFacts) -> Vec<u8> {
    let bytes = fs_err::read(root.join(path)).unwrap();
    assert_eq!(FileFacts::of(&bytes), facts, "{path}");
    bytes
}

/// Goes from the pinned keys to the last byte of every package; none where there is no such pointer.
pub(super) fn read_signed(data: &Path, channel: &str, what: &str, pins: &[SigningKey]) -> Option<Seen> {
    let root = data.join("public").join(channel);
    let bytes = fs_err::read(root.join(format!("{what}.json"))).ok()?;
    assert!(bytes.len() < 2_048, "a pointer of {} bytes", bytes.len());
    let trusted = trusted(&root, pins);
    let envelope = Envelope::read(&bytes, SignedKind::Pointer).unwrap();
    let payload = trusted.open_fresh(&envelope, unix_seconds(), &seal::verify).unwrap();
    let pointer = SignedPointer::read(payload, &channel.parse().unwrap(), &what.parse().unwrap()).unwrap();
    pointer.check(None, unix_seconds()).unwrap();
    let folder = root.join("history").join(pointer.history.as_str());
    let statement = read_as(&folder, "statement.json", pointer.statement);
    let envelope = Envelope::read(&statement, SignedKind::History).unwrap();
    let payload = trusted.open(&envelope, &seal::verify).unwrap();
    let statement = HistoryStatement::read(payload, &pointer.channel, &pointer.history).unwrap();

    let own = folder.join("x86_64");
    let described = statement.architecture("x86_64").unwrap();
    let image =
        compact::unpack(&read_as(&own, "index.compact", described.files["index.compact"]), 1 << 24, "it");
    let image = image.unwrap();
    assert_eq!(Digest::of(&image), described.image);
    let mut packages = compact::packages(&image).unwrap();
    let texts =
        compact::unpack(&read_as(&own, "texts.compact", described.files["texts.compact"]), 1 << 24, "it");
    compact::add_texts(&mut packages, &texts.unwrap()).unwrap();
    let index = read_as(&own, "stone.index", described.files["stone.index"]);
    let index = repository::Index::read(std::io::Cursor::new(index), &repository::Index::limits()).unwrap();
    assert_eq!(index.packages(), packages, "both indexes say the same");
    let lists = read_as(&own, "files.compact", described.files["files.compact"]);
    let lists = compact::read_file_lists(&lists).unwrap();
    assert_eq!(lists.len(), packages.len());
    for (list, package) in lists.iter().zip(&packages) {
        assert_eq!(list.package.to_string(), *package.hash.as_ref().unwrap());
        let path = format!("share/{}/file", package.name);
        assert_eq!(compact::unpack_paths(list.packed).unwrap(), [path]);
    }
    for delta in &described.deltas {
        let bytes = read_as(&own, &format!("delta/{}", delta.from), delta.file);
        let old = root.join("history").join(delta.from.as_str()).join("x86_64/index.compact");
        let old = compact::unpack(&fs_err::read(old).unwrap(), 1 << 24, "it").unwrap();
        assert_eq!(compact::apply(&old, &bytes).unwrap(), image, "the delta from {}", delta.from);
    }
    let name = |package: &PackageMeta| {
        let path = own.join(package.uri.as_ref().unwrap());
        assert_eq!(store::Sha256::of_file(&path).unwrap().to_string(), *package.hash.as_ref().unwrap());
        format!("{}@{}", package.name, package.release)
    };
    Some(Seen {
        history: pointer.history.to_string(),
        version: pointer.version,
        names: packages.iter().map(name).collect(),
    })
}

/// The key that was made at the first start.
pub(super) fn first_key(data: &Path) -> SigningKey {
    public_key(&wire::Identity::load(&data.join("signing/publish.key")).unwrap())
}

async fn ask(publisher: &Publisher, operation: serde_json::Value) -> Outcome {
    let operation: Operation = serde_json::from_value(operation).unwrap();
    publisher.operate(operation, "a test").await.unwrap()
}

fn release(number: u64) -> (crate::expectation::Expectation, Vec<Vec<u8>>) {
    order(number, "s", number, &[("a", &number.to_string()), ("b", "same")])
}

#[tokio::test]
async fn everything_is_signed_from_the_pinned_key_to_the_last_package() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let pins = [first_key(data.path())];
    let read = |what: &str| read_signed(data.path(), "main", what, &pins);
    assert_eq!(read("stream/volatile"), None, "nothing is there and nothing is signed");
    for number in 1..=4 {
        let history = deliver(&publisher, &release(number)).await.unwrap();
        let names = vec![format!("a@{number}"), format!("b@{number}")];
        assert_eq!(read("stream/volatile"), Some(Seen { history, version: number, names }));
    }
    let promote = serde_json::json!({
        "operation": "promote", "channel": "main", "from": "volatile", "to": "stable", "to_channel": "main",
    });
    ask(&publisher, promote.clone()).await;
    ask(
        &publisher,
        serde_json::json!({ "operation": "tag", "channel": "main", "name": "t", "version": "volatile" }),
    )
    .await;
    let fourth = read("stream/volatile").unwrap();
    assert_eq!(read("stream/stable"), Some(Seen { version: 1, ..fourth.clone() }));
    assert_eq!(read("tag/t"), Some(Seen { version: 1, ..fourth.clone() }));

    // Back to an older history: the version rises all the same.
    ask(&publisher, serde_json::json!({ "operation": "rollback", "channel": "main", "stream": "volatile" }))
        .await;
    let back = read("stream/volatile").unwrap();
    assert_eq!((back.version, back.names), (5, vec!["a@3".to_owned(), "b@3".to_owned()]));
    deliver(&publisher, &release(5)).await.unwrap();
    let fifth = read("stream/volatile").unwrap();
    assert_eq!((fifth.version, fifth.history[..2].to_owned()), (6, "5-".to_owned()));
    let deltas = data.path().join("public/main/history").join(&fifth.history).join("x86_64/delta");
    // From the one before it in number, which the rollback left, and from what streams and tags stand for.
    assert!(deltas.join(&fourth.history).is_file() && files(&deltas).len() == 2, "{:?}", files(&deltas));

    ask(
        &publisher,
        serde_json::json!({ "operation": "remove-stream", "channel": "main", "stream": "stable" }),
    )
    .await;
    ask(&publisher, serde_json::json!({ "operation": "untag", "channel": "main", "name": "t" })).await;
    assert_eq!((read("stream/stable"), read("tag/t")), (None, None));
    ask(&publisher, promote).await;
    assert_eq!(read("stream/stable").unwrap().version, 2, "a name that comes again goes on");
    publisher.close().await;
    drop(publisher);
    let _again = open(data.path()).await;
    assert_eq!(read("stream/volatile"), Some(fifth), "a start signs nothing that is signed");
}

async fn rotated(publisher: &Publisher, data: &Path, number: u64) -> (SigningKey, String) {
    let file = data.join("signing/publish.key");
    let report = publisher.keys().await.unwrap();
    let old = report.at_hand.iter().find(|key| report.list.find(key).unwrap().state == KeyState::Active);
    let new = wire::Identity::load_or_create(&next_key_file(&file, number)).unwrap();
    let change = KeyChange::Replace { old: *old.unwrap(), new: public_key(&new) };
    let next = report.list.changed(&change, unix_seconds()).unwrap();
    let mut envelope = Envelope::new(SignedKind::Keys, next.to_payload());
    for path in crate::signing::key_files(&file).unwrap() {
        sign_with(&mut envelope, &wire::Identity::load(&path).unwrap());
    }
    (public_key(&new), String::from_utf8(envelope.to_json()).unwrap())
}

#[tokio::test]
async fn clients_follow_a_rotation_and_nobody_else_can_rotate() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let old = first_key(data.path());
    deliver(&publisher, &release(1)).await.unwrap();
    let read = |pin| read_signed(data.path(), "main", "stream/volatile", &[pin]);
    let before = read(old).unwrap();

    let report = publisher.keys().await.unwrap();
    let stranger = wire::Identity::generate().unwrap();
    let change = KeyChange::Replace { old, new: public_key(&stranger) };
    let mut foreign = Envelope::new(SignedKind::Keys, report.list.changed(&change, 0).unwrap().to_payload());
    sign_with(&mut foreign, &stranger);
    let foreign = String::from_utf8(foreign.to_json()).unwrap();
    let error = publisher.follow_keys(&foreign).await.unwrap_err();
    assert!(matches!(error, PublishError::Keys(_)), "{error}");
    assert_eq!(read(old), Some(before.clone()), "nothing has changed");

    let (new, list) = rotated(&publisher, data.path(), 2).await;
    publisher.follow_keys(&list).await.unwrap();
    assert_eq!(read(old), Some(Seen { version: 2, ..before.clone() }), "pinned before the rotation");
    assert_eq!(read(new), Some(Seen { version: 2, ..before }), "pinned after it");
    deliver(&publisher, &release(2)).await.unwrap();
    assert_eq!(read(old).unwrap().version, 3);
    assert!(publisher.follow_keys(&list).await.is_err(), "once is enough");
    publisher.close().await;
}

#[tokio::test]
async fn a_rotation_that_was_interrupted_is_completed_at_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let old = first_key(data.path());
    deliver(&publisher, &release(1)).await.unwrap();
    let (_, list) = rotated(&publisher, data.path(), 2).await;
    // As if it had died after the list was kept and before anything was signed with the new key.
    assert!(publisher.ledger.add_key_list(2, &list).await.unwrap());
    publisher.close().await;
    drop(publisher);
    assert_eq!(read_signed(data.path(), "main", "stream/volatile", &[old]).unwrap().version, 1);
    let publisher = open(data.path()).await;
    assert_eq!(read_signed(data.path(), "main", "stream/volatile", &[old]).unwrap().version, 2);
    publisher.close().await;
}

#[tokio::test]
async fn without_its_keys_a_vessel_serves_and_publishes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let publisher = open(data.path()).await;
    let pin = first_key(data.path());
    deliver(&publisher, &release(1)).await.unwrap();
    publisher.close().await;
    drop(publisher);
    let read = || read_signed(data.path(), "main", "stream/volatile", &[pin]);
    let before = read();
    let elsewhere = Signing { keys: KeyPlace::Socket(data.path().join("nobody.sock")), ..Signing::default() };
    let main = ["main".to_owned()];
    let publisher = Arc::new(Publisher::open_signing(data.path(), &main, elsewhere).await.unwrap());
    let error = deliver(&publisher, &release(2)).await.unwrap_err();
    assert!(matches!(error, PublishError::Signing(_)), "{error}");
    let move_it = serde_json::from_value(
        serde_json::json!({ "operation": "tag", "channel": "main", "name": "t", "version": "volatile" }),
    );
    let error = publisher.operate(move_it.unwrap(), "a test").await.unwrap_err();
    assert!(matches!(error, PublishError::Signing(_)), "{error}");
    assert_eq!(publisher.ledger.tags("main").await.unwrap().len(), 0, "nothing was begun");
    assert_eq!(read(), before);
    publisher.close().await;
    drop(publisher);

    // The key is back, and so is the attempt.
    let publisher = open(data.path()).await;
    publisher.commit(super::tests::builder(), 2).await.unwrap();
    assert_eq!(read().unwrap().names, ["a@2", "b@2"]);
    publisher.close().await;
}
