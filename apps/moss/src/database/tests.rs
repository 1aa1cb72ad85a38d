use stone::Digest;

use super::*;

fn id(digit: char) -> PackageId {
    digit.to_string().repeat(64).parse().unwrap()
}

fn package(digit: char) -> StoredPackage {
    let entry = |target: &str, mode, file| Entry { uid: 1, gid: 2, mode, target: target.into(), file };
    StoredPackage {
        id: id(digit),
        meta: PackageMeta {
            name: format!("package-{digit}"),
            version: "1.10".into(),
            release: 3,
            build_release: 2,
            architecture: "x86_64".into(),
            summary: "a summary".into(),
            description: "a description".into(),
            source_id: "source".into(),
            homepage: "https://example.org".into(),
            licenses: vec!["MIT".into(), "MPL-2.0".into()],
            depends: BTreeSet::from(["soname(libc.so.6(x86_64))".parse().unwrap(), "nano".parse().unwrap()]),
            provides: BTreeSet::from(["binary(x)".parse().unwrap()]),
            conflicts: BTreeSet::from(["name(y)".parse().unwrap()]),
            build_depends: BTreeSet::new(),
            uri: Some("x.stone".into()),
            hash: Some(id(digit).to_string()),
            download_size_bytes: Some(77),
        },
        layout: vec![
            entry("bin/x", 0o100_755, EntryFile::Regular(Digest::of(b"x"))),
            entry("bin/y", 0o120_777, EntryFile::Symlink("x".into())),
            entry("lib/d", 0o040_700, EntryFile::Directory),
            entry("lib/f", 0o010_644, EntryFile::Fifo),
        ],
        installed_bytes: 1234,
    }
}

fn state(number: u64, members: &[char]) -> State {
    State {
        id: StateId(number),
        created_unix_seconds: 5,
        summary: "Install".into(),
        description: "moss install".into(),
        members: members
            .iter()
            .map(|digit| StateMember { id: id(*digit), explicit: *digit == 'a', reason: "asked".into() })
            .collect(),
    }
}

fn open(folder: &tempfile::TempDir) -> Database {
    Database::open_file(&folder.path().join("db/test"), Access::Write).unwrap()
}

#[test]
fn packages_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder);
    let package = package('a');
    database.remember_packages(&[package.clone(), package.clone()]).unwrap();
    let (meta, installed_bytes) = open(&folder).package(&id('a')).unwrap().unwrap();
    assert_eq!(meta, package.meta);
    assert_eq!(installed_bytes, 1234);
    assert_eq!(database.layout(&id('a')).unwrap(), package.layout);
    assert!(database.has_package(&id('a')).unwrap());
    assert!(!database.has_package(&id('b')).unwrap());
    assert_eq!(database.package(&id('b')).unwrap(), None);
}

#[test]
fn states_come_back_and_their_numbers_are_given_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder);
    assert_eq!(database.next_state_id().unwrap(), StateId(1));
    database.remember_packages(&[package('a'), package('b')]).unwrap();
    database.record_state(&state(1, &['a'])).unwrap();
    database.record_state(&state(2, &['a', 'b'])).unwrap();
    assert_eq!(database.states().unwrap(), [state(1, &['a']), state(2, &['a', 'b'])]);
    database.forget_state(StateId(2)).unwrap();
    database.forget_state(StateId(2)).unwrap();
    assert!(!database.has_state(StateId(2)).unwrap());
    assert_eq!(database.states().unwrap(), [state(1, &['a'])]);
    assert_eq!(database.next_state_id().unwrap(), StateId(3));
}

#[test]
fn a_state_with_an_unknown_package_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder);
    database.remember_packages(&[package('a')]).unwrap();
    assert!(database.record_state(&state(1, &['a', 'b'])).is_err());
    assert_eq!(database.states().unwrap(), []);
}

#[test]
fn reading_before_anything_was_written_finds_nothing_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open_file(&folder.path().join("db/test"), Access::Read).unwrap();
    assert_eq!(database.states().unwrap(), []);
    assert!(!database.has_package(&id('a')).unwrap());
    assert!(database.record_state(&state(1, &[])).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn reading_beside_a_writer_leaves_no_file_behind() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).remember_packages(&[package('a')]).unwrap();
    let names = || {
        fs::read_dir(folder.path().join("db"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    let before = names();
    let reader = Database::open_file(&folder.path().join("db/test"), Access::Read).unwrap();
    assert!(reader.has_package(&id('a')).unwrap());
    assert!(reader.remember_packages(&[package('b')]).is_err());
    assert_eq!(names(), before);
}

#[test]
fn a_later_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder);
    database.connection.as_ref().unwrap().pragma_update(None, "user_version", 99).unwrap();
    for access in [Access::Read, Access::Write] {
        let error = Database::open_file(&folder.path().join("db/test"), access).unwrap_err();
        assert!(error.to_string().contains("its version is 99"), "{error}");
    }
}

#[test]
fn a_number_that_sqlite_cannot_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut package = package('a');
    package.meta.release = u64::MAX;
    assert!(open(&folder).remember_packages(&[package]).is_err());
}
