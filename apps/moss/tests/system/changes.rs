//! Install, remove, sync, and back again.

use fs_err as fs;
use moss::{Access, Freshness, Silent, System};
use package::Dependency;
use system::StateId;
use system::resolve::Request;

use crate::packages::{Place, install, package};

fn editor_and_library() -> Place {
    Place::with(&[
        package("editor", 1)
            .depends("soname(libtext.so.1)")
            .file_with_mode("bin/editor", b"editor 1", 0o755)
            .link("bin/ed", "editor"),
        package("text", 1).provides("soname(libtext.so.1)").file("lib/libtext.so.1", "text 1"),
        package("extra", 1).file("share/extra", "extra"),
    ])
}

#[test]
fn install_makes_a_state_with_what_is_needed() {
    let place = editor_and_library();
    let (change, state) = place.change(&install(&["editor"])).unwrap();
    assert_eq!(state, Some(StateId(1)));
    assert!(change.download_bytes > 0);
    assert_eq!(place.files(), ["bin/ed", "bin/editor", "lib/libtext.so.1"]);
    assert_eq!(place.read("usr/.stateID"), "1");
    assert_eq!(place.read("bin/editor"), "editor 1", "the links in the root lead into /usr");
    assert_eq!(fs::read_link(place.root().join("lib64")).unwrap().to_str(), Some("usr/lib"));
    assert!(place.read("usr/lib/os-release").contains("ID="));
    let model: kdl::KdlDocument = place.read("usr/lib/system-model.kdl").parse().unwrap();
    let packages = model.get("packages").unwrap().children().unwrap();
    assert_eq!(packages.nodes().iter().map(|node| node.name().value()).collect::<Vec<_>>(), ["editor"]);

    // The same again changes nothing, and needs nothing.
    let (change, state) = place.change(&install(&["editor"])).unwrap();
    assert_eq!((change.download_bytes, state), (0, None));
}

#[test]
fn files_are_hard_links_to_the_store_and_other_modes_are_copies() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::with(&[
        package("a", 1).file_with_mode("bin/same", b"shared", 0o755),
        package("b", 1).file_with_mode("bin/too", b"shared", 0o755).file_with_mode(
            "share/plain",
            b"shared",
            0o644,
        ),
    ]);
    place.install(&["a", "b"]);
    let metadata = |path: &str| fs::metadata(place.root().join("usr").join(path)).unwrap();
    assert_eq!(metadata("bin/same").ino(), metadata("bin/too").ino());
    assert_ne!(metadata("bin/same").ino(), metadata("share/plain").ino());
    assert_eq!((metadata("bin/same").mode() & 0o777, metadata("share/plain").mode() & 0o777), (0o755, 0o644));
}

#[test]
fn remove_takes_dependents_and_orphans_along() {
    let place = editor_and_library();
    place.install(&["editor", "extra"]);
    let (change, state) = place.change(&Request::Remove(vec![Dependency::name("text")])).unwrap();
    assert_eq!(state, Some(StateId(2)));
    let removed: Vec<String> = change
        .resolution
        .removed
        .iter()
        .map(|removal| format!("{} ({})", removal.package.name, removal.reason))
        .collect();
    assert_eq!(removed, ["editor (needs soname(libtext.so.1))", "text (asked for by you)"]);
    assert!(change.removed_bytes > 0);
    assert_eq!(place.files(), ["share/extra"]);
}

#[test]
fn sync_brings_the_newest_and_activate_goes_back_and_forth() {
    let place = editor_and_library();
    place.install(&["editor"]);
    place.publish(&[
        package("editor", 2).depends("soname(libtext.so.2)").file_with_mode("bin/editor", b"editor 2", 0o755),
        package("text", 2).provides("soname(libtext.so.2)").file("lib/libtext.so.2", "text 2"),
    ]);
    let (change, state) = place.change(&Request::Sync).unwrap();
    assert_eq!(state, Some(StateId(2)));
    assert_eq!(change.resolution.upgraded.len(), 2);
    assert_eq!(place.files(), ["bin/editor", "lib/libtext.so.2"]);

    place.system().activate(StateId(1)).unwrap();
    assert_eq!(place.files(), ["bin/ed", "bin/editor", "lib/libtext.so.1"]);
    assert_eq!(place.read("usr/bin/editor"), "editor 1");
    let names = |place: &Place| {
        place.system().installed().unwrap().iter().map(|package| package.meta.release).collect::<Vec<_>>()
    };
    assert_eq!(names(&place), [1, 1]);
    place.system().activate(StateId(2)).unwrap();
    assert_eq!(names(&place), [2, 2]);
    assert!(place.system().activate(StateId(2)).unwrap_err().to_string().contains("it is active"));
    assert!(place.system().activate(StateId(9)).unwrap_err().to_string().contains("there is none"));
}

#[test]
fn sync_never_downgrades_and_keeps_what_vanished() {
    let place = editor_and_library();
    place.publish(&[
        package("editor", 3).file("bin/editor", "editor 3"),
        package("extra", 1).file("share/extra", "extra"),
    ]);
    place.install(&["editor", "extra"]);
    place.publish(&[package("editor", 2).file("bin/editor", "editor 2")]);
    let (change, state) = place.change(&Request::Sync).unwrap();
    assert_eq!(state, None);
    let notes: Vec<String> = change.resolution.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "editor 1.3-3 stays: the repositories have only 1.2-2",
            "extra 1.1-1 stays: no repository has it any more"
        ]
    );
}

#[test]
fn planning_without_writing_leaves_no_trace() {
    let place = editor_and_library();
    let before = fs::read_dir(place.root()).unwrap().count();
    let system = System::open(&place.root(), Access::Read, &Silent).unwrap();
    let change = system.plan(&install(&["editor"]), Freshness::Preferred).unwrap();
    assert_eq!(change.resolution.added.len(), 2);
    assert_eq!(fs::read_dir(place.root()).unwrap().count(), before, "nothing but etc is there");
}

#[test]
fn a_repository_that_went_away_is_served_from_the_cache() {
    let place = editor_and_library();
    place.install(&["extra"]);
    fs::rename(place.repository(), place.repository().with_extension("away")).unwrap();
    let system = place.system();
    let change = system.plan(&install(&["editor"]), Freshness::Preferred).unwrap();
    assert_eq!(change.resolution.added.len(), 2);
    assert!(system.plan(&install(&["editor"]), Freshness::Required).is_err());
    // What was planned cannot be downloaded, and nothing changes.
    assert!(system.apply(&change, "test").is_err());
    drop(system);
    assert_eq!(place.files(), ["share/extra"]);
    assert_eq!(place.active(), Some(StateId(1)));
}

#[test]
fn a_removed_package_comes_back_without_a_download() {
    let place = editor_and_library();
    place.install(&["extra"]);
    place.change(&Request::Remove(vec![Dependency::name("extra")])).unwrap();
    assert_eq!(place.files(), Vec::<String>::new());
    let (change, _) = place.change(&install(&["extra"])).unwrap();
    assert_eq!(change.download_bytes, 0);
    assert_eq!(change.added_bytes, Some(5));
    assert_eq!(place.files(), ["share/extra"]);
}
