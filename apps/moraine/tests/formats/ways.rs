//! The tests themselves.

use fs_err as fs;
use serde_json::json;

use crate::repository_of_formats::{Place, broken_moss, edit_root_index, moss, tool};

/// v0 → v1 → v2: before each step a Moss is published that reads the next format.
fn with_three_formats(place: &Place, between: impl Fn(u32)) {
    place.import(&[moss(1, 0), tool(1)]);
    between(0);
    place.import(&[moss(2, 1)]);
    place.upgrade_format();
    place.import(&[tool(2)]);
    between(1);
    place.import(&[moss(3, 2)]);
    place.upgrade_format();
    place.import(&[tool(3)]);
    between(2);
}

pub(crate) fn every_format_is_a_start() {
    let place = Place::new();
    let machines = std::cell::RefCell::new(Vec::new());
    with_three_formats(&place, |format| {
        machines.borrow_mut().push(place.machine(&format!("machine-{format}"), format));
    });
    let index = place.root_index();
    assert_eq!(index["formats"]["v0"]["upgrade_via"], "tag/last-v0");
    assert_eq!(index["formats"]["v1"]["upgrade_via"], "tag/last-v1");
    assert_eq!(index["streams"]["volatile"]["format"], "v2");
    let expect = [
        (["moss@1", "tool@1"], vec!["Install", "Self upgrade", "Self upgrade", "Sync"]),
        (["moss@2", "tool@2"], vec!["Install", "Self upgrade", "Sync"]),
        (["moss@3", "tool@3"], vec!["Install"]),
    ];
    for (machine, (before, states)) in machines.into_inner().iter().zip(expect) {
        assert_eq!(machine.installed(), before);
        let answer = machine.json(&["sync", "-y"]);
        assert_eq!(machine.installed(), ["moss@3", "tool@3"]);
        assert_eq!(machine.states(), states);
        // What is printed is the one object of the Moss that came to the end.
        let upgraded = answer["upgraded"].as_array().unwrap();
        assert!(upgraded.iter().all(|it| it["name"] == "tool"), "{answer}");
        // And there is nothing left to do.
        assert_eq!(machine.json(&["sync", "-y"])["state"], json!(null));
    }
}

pub(crate) fn the_way_back_is_open() {
    let place = Place::new();
    let machine = std::cell::OnceCell::new();
    with_three_formats(&place, |format| {
        if format == 0 {
            assert!(machine.set(place.machine("machine", 0)).is_ok());
        }
    });
    let machine = machine.into_inner().unwrap();
    machine.json(&["sync", "-y"]);
    machine.json(&["state", "activate", "1"]);
    assert_eq!(machine.installed(), ["moss@1", "tool@1"]);
    // The old one is led again, and downloads nothing twice.
    fs::remove_dir_all(place.published().join("main/pool")).unwrap();
    machine.json(&["sync", "-y"]);
    assert_eq!(machine.installed(), ["moss@3", "tool@3"]);
}

pub(crate) fn nobody_is_led_without_being_asked() {
    let place = Place::new();
    place.import(&[moss(1, 0), tool(1)]);
    let machine = place.machine("machine", 0);
    place.import(&[moss(2, 1)]);
    place.upgrade_format();
    let told = machine.refused(&["sync"]);
    assert!(told.contains("moss is updated first"), "{told}");
    assert!(told.contains("standard input is not a terminal"), "{told}");
    let told = machine.refused(&["sync", "--dry-run"]);
    assert!(told.contains("format \"v1\", which is unknown"), "{told}");
    // Other commands say what to do, and do not do it.
    let told = machine.refused(&["install", "-y", "tool"]);
    assert!(told.contains("moss sync does so by itself"), "{told}");
    assert_eq!(machine.states(), ["Install"]);
}

pub(crate) fn a_way_that_leads_nowhere_is_told() {
    let place = Place::new();
    place.import(&[moss(1, 0), tool(1)]);
    let machine = place.machine("machine", 0);
    place.upgrade_format();
    // The last history of the old format has the Moss that is installed.
    let told = machine.refused(&["sync", "-y"]);
    assert!(told.contains("the newest moss of tag/last-v0 is moss 1.1-1, which does not know it"), "{told}");
    edit_root_index(&place.published(), |index| index["formats"]["v0"] = json!({}));
    let told = machine.refused(&["sync", "-y"]);
    assert!(told.contains("it names no version from which moss could be updated"), "{told}");
    edit_root_index(&place.published(), |index| {
        index["formats"]["v0"] = json!({ "upgrade_via": "stream/volatile" });
    });
    let told = machine.refused(&["sync", "-y"]);
    assert!(told.contains("it names no version from which moss could be updated"), "{told}");
    assert_eq!(machine.states(), ["Install"]);
}

pub(crate) fn a_moss_that_does_not_start_is_taken_back() {
    let place = Place::new();
    place.import(&[moss(1, 0), tool(1)]);
    let machine = place.machine("machine", 0);
    place.import(&[broken_moss(2)]);
    place.upgrade_format();
    let told = machine.refused(&["sync", "-y"]);
    assert!(told.contains("this moss is broken"), "{told}");
    assert!(told.contains("state 1 is active again"), "{told}");
    assert_eq!(machine.installed(), ["moss@1", "tool@1"]);
    // A newer one that works is found although the broken one was met before.
    place.vessel(&["channel", "rollback", "main", "volatile"]).unwrap();
    place.import(&[moss(3, 1)]);
    place.vessel(&["channel", "upgrade-format", "main", "--unchecked", "--tag", "last-v0-again"]).unwrap();
    machine.json(&["sync", "-y"]);
    assert_eq!(machine.installed(), ["moss@3", "tool@1"]);
}

pub(crate) fn a_tag_that_leads_clients_stays() {
    let place = Place::new();
    place.import(&[tool(1)]);
    let refused = |arguments: &[&str]| place.vessel(arguments).unwrap_err();
    let told = refused(&["channel", "upgrade-format", "main"]);
    assert!(told.contains("there is no package moss in it"), "{told}");
    place.import(&[moss(1, 0)]);
    let told = refused(&["channel", "upgrade-format", "main", "--to", "v7"]);
    assert!(told.contains("could not read v7"), "{told}");
    place.upgrade_format();
    let told = refused(&["channel", "untag", "main", "last-v0"]);
    assert!(told.contains("are led through it"), "{told}");
    for format in ["v0", "v1", "legacy", "strange"] {
        let told = refused(&["channel", "upgrade-format", "main", "--unchecked", "--to", format]);
        assert!(told.contains("is not a later one"), "{told}");
    }
    let shown = place.vessel(&["channel", "show", "main"]).unwrap();
    assert!(shown.contains("format v0 → through tag/last-v0"), "{shown}");
    assert!(shown.contains("format v1"), "{shown}");
}
