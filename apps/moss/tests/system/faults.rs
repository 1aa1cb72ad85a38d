//! Bad packages, bad indexes, and systems in the way: refused by name, with nothing changed.

use fault::{Fault, Kind};
use fs_err as fs;
use moss::{Access, ChangeError, Silent, System};
use stone::{FileType, Packing, Record, Writer, tag};
use system::StateId;

use crate::packages::{Place, install, package, write_index};

#[track_caller]
fn refused(place: &Place, names: &[&str], expect: &str) -> ChangeError {
    let before = place.files_or_none();
    let error = place.change(&install(names)).unwrap_err();
    let chain = fault::chain(&error).join(": ");
    assert!(chain.contains(expect), "{chain} does not say {expect:?}");
    assert_eq!(place.files_or_none(), before, "nothing was changed");
    error
}

impl Place {
    fn files_or_none(&self) -> Vec<String> {
        if self.root().join("usr").exists() { self.files() } else { Vec::new() }
    }
}

#[test]
fn a_tampered_package_is_refused() {
    let place = Place::with(&[package("tool", 1).file("bin/tool", "tool")]);
    let file = fs::read_dir(place.repository()).unwrap().map(|entry| entry.unwrap().path());
    let file =
        file.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "stone")).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, &bytes).unwrap();
    let error = refused(&place, &["tool"], "and the index says");
    assert_eq!(error.kind(), Kind::Damaged);
    assert!(error.to_string().starts_with("cannot use tool 1.1-1 from file://"), "{error}");
    // The right bytes are taken afterwards.
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, &bytes).unwrap();
    place.install(&["tool"]);
    assert_eq!(place.read("usr/bin/tool"), "tool");
}

#[test]
fn a_package_with_the_promised_digest_that_is_none_is_refused() {
    let place = Place::with(&[]);
    let mut metas = place.publish(&[package("tool", 1).file("bin/tool", "tool")]);
    fs::write(place.repository().join("bad.stone"), b"not a package").unwrap();
    metas[0].uri = Some("bad.stone".into());
    metas[0].hash = Some(fetch::Digest::of(b"not a package").to_string());
    metas[0].download_size_bytes = Some(13);
    write_index(&place.repository(), &metas);
    refused(&place, &["tool"], "cannot read tool 1.1-1");
}

#[test]
fn an_index_whose_digest_is_a_path_is_refused() {
    let place = Place::with(&[]);
    for hash in ["../../../../etc/passwd", "/etc/passwd", "é", ""] {
        let meta = place.publish(&[package("tool", 1)]).remove(0);
        let records: Vec<Record> =
            meta.to_records()
                .into_iter()
                .map(|record| {
                    if record.tag == tag::PACKAGE_HASH {
                        Record::text(tag::PACKAGE_HASH, hash)
                    } else {
                        record
                    }
                })
                .collect();
        let out = std::io::Cursor::new(Vec::new());
        let mut writer = Writer::with_packing(out, FileType::Repository, Packing::FAST).unwrap();
        writer.meta(&records).unwrap();
        fs::write(place.repository().join("stone.index"), writer.finish().unwrap().into_inner()).unwrap();
        refused(&place, &["tool"], "cannot accept the package hash");
    }
}

#[test]
fn an_address_that_leaves_the_repository_is_refused() {
    let place = Place::with(&[]);
    let mut metas = place.publish(&[package("tool", 1)]);
    for uri in ["../../../../../../../../../etc/passwd", "/etc/passwd", "https://elsewhere.example/x.stone"] {
        metas[0].uri = Some(uri.into());
        write_index(&place.repository(), &metas);
        refused(&place, &["tool"], "as the address of a package");
    }
}

#[test]
fn two_packages_with_one_file_are_refused_and_named() {
    let place = Place::with(&[
        package("one", 1).file("share/x", "1"),
        package("two", 1).file("share/x", "2"),
        package("same", 1).file("share/x", "1"),
    ]);
    let error = refused(
        &place,
        &["one", "two"],
        "cannot place /usr/share/x: one and two both bring it, and not the same",
    );
    assert_eq!(
        error.hints(),
        ["these packages cannot be installed together; keep one: moss remove one or moss remove two"]
    );
    place.install(&["one", "same"]);
    assert_eq!(place.files(), ["share/x"]);
}

#[test]
fn a_directory_where_a_root_link_belongs_is_refused_before_anything_happens() {
    let place = Place::with(&[
        package("tool", 1).file("bin/tool", "tool"),
        package("more", 1).file("bin/more", "more"),
    ]);
    place.install(&["tool"]);
    fs::remove_file(place.root().join("bin")).unwrap();
    fs::create_dir(place.root().join("bin")).unwrap();
    let error = refused(&place, &["more"], "something else is there");
    assert!(error.hints()[0].contains("move it away: mv "), "{:?}", error.hints());
    assert_eq!(place.active(), Some(StateId(1)));
    let (states, _) = place.system().states().unwrap();
    assert_eq!(states.len(), 1, "the refused state is not recorded");
}

#[test]
fn a_usr_that_is_not_ours_is_left_alone() {
    let place = Place::with(&[package("tool", 1).file("bin/tool", "tool")]);
    fs::create_dir_all(place.root().join("usr/bin")).unwrap();
    refused(&place, &["tool"], "it is not a tree made by moss");
}

#[test]
fn a_broken_configuration_file_is_named() {
    let place = Place::with(&[package("tool", 1).file("bin/tool", "tool")]);
    fs::write(place.root().join("etc/moss/repo.d/broken.kdl"), "broken {").unwrap();
    refused(&place, &["tool"], "broken.kdl");
}

#[test]
fn a_damaged_index_does_not_replace_the_cached_one() {
    let place = Place::with(&[package("tool", 1).file("bin/tool", "tool")]);
    place.install(&["tool"]);
    fs::write(place.repository().join("stone.index"), b"garbage").unwrap();
    let system = place.system();
    assert!(system.offers(moss::Freshness::Required).is_err());
    assert_eq!(system.offers(moss::Freshness::Preferred).unwrap()[0].packages.len(), 1);
}

#[test]
fn a_package_cannot_write_the_files_of_moss() {
    let place = Place::with(&[package("tool", 1)
        .file(".stateID", "99")
        .file("lib/system-model.kdl", "x")
        .link("bin", "lib")]);
    place.install(&["tool"]);
    assert_eq!(place.read("usr/.stateID"), "1");
    assert!(place.read("usr/lib/system-model.kdl").contains("packages"));
    // A packaged link in the place of lib is never followed out of the tree.
    let place = Place::with(&[package("tool", 1).link("lib", "/etc")]);
    place.install(&["tool"]);
    assert_eq!(place.read("usr/.stateID"), "1");
}

#[test]
fn a_journal_that_is_none_stops_every_change_and_no_query() {
    let place = Place::with(&[package("tool", 1).file("bin/tool", "tool")]);
    place.install(&["tool"]);
    fs::write(place.root().join(".moss/journal.json"), "{").unwrap();
    let error = System::open(&place.root(), Access::Write, &Silent).err().unwrap();
    assert_eq!(error.kind(), Kind::Damaged);
    assert!(error.to_string().contains("cannot read the journal"), "{error}");
    let system = System::open(&place.root(), Access::Read, &Silent).unwrap();
    assert_eq!(system.installed().unwrap().len(), 1);
}

#[test]
fn a_usr_that_somebody_else_exchanged_is_not_touched() {
    let place = Place::with(&[package("tool", 1).file("bin/tool", "tool")]);
    place.install(&["tool"]);
    fs::write(place.root().join(".moss/journal.json"), r#"{"kind":"create","new":7,"old":6}"#).unwrap();
    let error = System::open(&place.root(), Access::Write, &Silent).err().unwrap();
    assert!(error.to_string().contains("/usr is state 1, neither the old state nor the new one"), "{error}");
    assert_eq!(fs::read_to_string(place.root().join("usr/bin/tool")).unwrap(), "tool");
}

#[test]
fn an_active_state_that_the_database_does_not_know_is_named() {
    let place = Place::with(&[package("tool", 1).file("bin/tool", "tool")]);
    place.install(&["tool"]);
    fs::write(place.root().join("usr/.stateID"), "9").unwrap();
    refused(&place, &["tool"], "the database knows nothing of state 9, which is active");
}

#[test]
fn content_that_vanished_is_fetched_again() {
    let place = Place::with(&[
        package("tool", 1).file("bin/tool", "tool"),
        package("more", 1).file("bin/more", "more"),
    ]);
    place.install(&["tool"]);
    fs::remove_dir_all(place.root().join(".moss/assets")).unwrap();
    place.install(&["more"]);
    assert_eq!(place.files(), ["bin/more", "bin/tool"]);
}
