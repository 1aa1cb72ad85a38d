//! A client that dies while it refreshes what a signed repository offers: it has the old index or the new one, never nothing and
//! never anything else, and goes on.

use std::collections::BTreeSet;
use std::path::Path;

use fs_err as fs;
use moss::{Access, Freshness, Silent, StopAfter, System};

use crate::POINTER;
use crate::place::{Place, package};

/// More than the steps of any refresh.
const STEPS_MAX: usize = 40;

/// The release of alpha that is offered; none where nothing is known.
fn offered(root: &str, freshness: Freshness, stop_after: StopAfter) -> Result<Option<u64>, String> {
    let system = System::open(Path::new(root), Access::Write, &Silent).unwrap();
    let system = system.stopping_refresh_after(stop_after);
    let offers = system.offers(freshness).map_err(|error| fault::chain(&error).join(": "))?;
    let alpha =
        |offer: &moss::Offer| offer.packages.iter().find(|it| it.name == "alpha").map(|it| it.release);
    Ok(offers.iter().find_map(alpha))
}

/// What is known without asking anybody, and with the repository away.
fn known(place: &Place, root: &str) -> Option<u64> {
    let away = place.path("away");
    fs::rename(place.public(), &away).unwrap();
    let cached = offered(root, Freshness::Cached, StopAfter::NEVER).unwrap();
    let preferred = offered(root, Freshness::Preferred, StopAfter::NEVER).ok().flatten();
    fs::rename(&away, place.public()).unwrap();
    assert_eq!(cached, preferred, "whoever cannot reach the repository has what was fetched last");
    cached
}

#[test]
fn a_crash_after_each_step_of_a_refresh_leaves_the_old_index_or_the_new_one() {
    let place = Place::published();
    let key = place.key();
    let mut seen = BTreeSet::new();
    for steps in 0..STEPS_MAX {
        let old = u64::try_from(steps).unwrap() + 2;
        let root = place.root(&format!("root-{steps}"), &key);
        assert_eq!(offered(&root, Freshness::Required, StopAfter::NEVER), Ok(Some(old)));
        let old_pointer = fs::read(place.public().join(POINTER)).unwrap();
        place.import(&[package("alpha", old + 1)]);

        let stopped = offered(&root, Freshness::Required, StopAfter::steps(steps));
        let known_now = known(&place, &root);
        assert!([Some(old), Some(old + 1)].contains(&known_now), "after {steps} steps: {known_now:?}");
        seen.insert((stopped.is_err(), known_now == Some(old + 1)));

        // Whoever has followed the new pointer is not led back to the old one.
        let pointer = place.public().join(POINTER);
        let new_pointer = fs::read(&pointer).unwrap();
        fs::write(&pointer, &old_pointer).unwrap();
        match offered(&root, Freshness::Required, StopAfter::NEVER) {
            Ok(release) => assert_eq!((release, known_now), (Some(old), Some(old)), "after {steps} steps"),
            Err(told) => assert!(told.contains("was seen before"), "after {steps} steps: {told}"),
        }
        fs::write(&pointer, &new_pointer).unwrap();

        // And it goes on, without anything left behind.
        assert_eq!(offered(&root, Freshness::Required, StopAfter::NEVER), Ok(Some(old + 1)));
        assert_eq!(known(&place, &root), Some(old + 1));
        if stopped.is_ok() {
            break;
        }
    }
    assert_eq!(seen, [(true, false), (true, true), (false, true)].into(), "old, new, and the end");
}

#[test]
fn a_crash_after_each_step_of_the_first_refresh_leaves_nothing_or_all() {
    let place = Place::published();
    let key = place.key();
    let mut seen = BTreeSet::new();
    for steps in 0..STEPS_MAX {
        let root = place.root(&format!("root-{steps}"), &key);
        // What came when it was added.
        fs::remove_dir_all(Path::new(&root).join(".moss/repo")).unwrap();
        let stopped = offered(&root, Freshness::Required, StopAfter::steps(steps));
        let known_now = known(&place, &root);
        assert!([None, Some(2)].contains(&known_now), "after {steps} steps: {known_now:?}");
        seen.insert(known_now);
        assert_eq!(offered(&root, Freshness::Required, StopAfter::NEVER), Ok(Some(2)));
        if stopped.is_ok() {
            break;
        }
    }
    assert_eq!(seen, [None, Some(2)].into());
}
