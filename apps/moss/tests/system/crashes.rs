//! Invariant 9: any crash leaves the old state or the new one.

use std::process::{Command, Stdio};

use fs_err as fs;
use moss::{ChangeError, Freshness, StopAfter, SwapError};
use system::StateId;
use system::resolve::Request;

use crate::packages::{Package, Place, install, package};

fn versions(release: u64) -> Vec<Package> {
    vec![
        package("tool", release)
            .file("bin/tool", &format!("tool {release}"))
            .file(&format!("share/{release}"), "only here"),
    ]
}

/// More than the steps of any exchange.
const STEPS_MAX: usize = 10;

fn assert_whole(place: &Place, context: &str) -> u64 {
    let system = place.system();
    let installed = system.installed().unwrap();
    let (states, active) = system.states().unwrap();
    drop(system);
    let release = installed.first().map_or(0, |package| package.meta.release);
    if release > 0 {
        assert_eq!(place.read("usr/bin/tool"), format!("tool {release}"), "{context}");
        assert_eq!(place.files(), ["bin/tool".to_owned(), format!("share/{release}")], "{context}");
    }
    let private = place.root().join(".moss");
    assert!(!private.join("journal.json").exists(), "{context}");
    assert!(!private.join("root/staging/usr").exists(), "{context}");
    for state in states {
        let archived = private.join("root").join(state.id.to_string()).join("usr");
        assert_eq!(archived.is_dir(), Some(state.id) != active, "{context}: state {}", state.id);
    }
    release
}

#[test]
fn a_crash_after_each_step_of_an_update_leaves_one_of_the_two() {
    let mut seen = Vec::new();
    for steps in 0..STEPS_MAX {
        let place = Place::with(&versions(1));
        place.install(&["tool"]);
        place.publish(&versions(2));
        let system = place.system().stopping_after(StopAfter::steps(steps));
        let change = system.plan(&Request::Sync, Freshness::Required).unwrap();
        let stopped =
            matches!(system.apply(&change, "test"), Err(ChangeError::Swap(SwapError::Stopped { .. })));
        drop(system);
        let release = assert_whole(&place, &format!("after {steps} steps"));
        seen.push((stopped, release));
        // The next change works as if nothing had happened.
        place.change(&Request::Sync).unwrap();
        assert_eq!(assert_whole(&place, &format!("again after {steps} steps")), 2);
    }
    assert_eq!(seen.first(), Some(&(true, 1)));
    assert!(seen.contains(&(true, 2)), "some crash is after the exchange: {seen:?}");
    assert_eq!(seen.last(), Some(&(false, 2)));
}

#[test]
fn a_crash_after_each_step_of_going_back_leaves_one_of_the_two() {
    for steps in 0..STEPS_MAX {
        let place = Place::with(&versions(1));
        place.install(&["tool"]);
        place.publish(&versions(2));
        place.change(&Request::Sync).unwrap();
        let system = place.system().stopping_after(StopAfter::steps(steps));
        let result = system.activate(StateId(1));
        drop(system);
        let release = assert_whole(&place, &format!("after {steps} steps"));
        assert!(release == 1 || (release == 2 && result.is_err()), "after {steps} steps");
    }
}

#[test]
fn a_crash_after_each_step_of_the_first_installation_leaves_nothing_or_all() {
    for steps in 0..STEPS_MAX {
        let place = Place::with(&versions(1));
        let system = place.system().stopping_after(StopAfter::steps(steps));
        let change = system.plan(&install(&["tool"]), Freshness::Required).unwrap();
        let result = system.apply(&change, "test");
        drop(system);
        let release = assert_whole(&place, &format!("after {steps} steps"));
        assert!(release == 1 || result.is_err(), "after {steps} steps");
        place.install(&["tool"]);
        assert_eq!(assert_whole(&place, &format!("again after {steps} steps")), 1);
    }
}

#[test]
fn a_killed_process_leaves_one_of_the_two() {
    let place = Place::with(&versions(1));
    place.install(&["tool"]);
    let journal = place.root().join(".moss/journal.json");
    let mut seen = std::collections::BTreeSet::new();
    // Kills the real program at different moments: as soon as it locks, when the journal appears, a little later.
    for round in 0..12_u64 {
        let release = round + 2;
        place.publish(&versions(release));
        let before = place.system().installed().unwrap()[0].meta.release;
        let mut child = Command::new(env!("CARGO_BIN_EXE_moss"))
            .args(["sync", "-u", "-y", "--json", "-D"])
            .arg(place.root())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut looks = 0;
        while child.try_wait().unwrap().is_none() && !(journal.exists() && looks >= round * 20) {
            looks += u64::from(journal.exists());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let after = assert_whole(&place, &format!("round {round}"));
        assert!(after == before || after == release, "round {round}: {before} -> {after}");
        seen.insert(after == release);
        fs::metadata(place.root().join("usr")).unwrap();
    }
    assert!(!seen.is_empty());
}
