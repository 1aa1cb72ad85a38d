//! Holds that every path and test of this project that the documents name is there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

const DOCUMENTS: [&str; 4] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "docs/lessons.md"];
/// The document that names tests.
const LESSONS: &str = "docs/lessons.md";
/// First folders of paths that mean this project.
const ROOMS: [&str; 7] = ["domain/", "platform/", "apps/", "tests/", "xtask/", "docs/", "examples/"];

/// Words between backquotes and targets of links, as far as they are paths of this project.
fn paths(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let linked = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    quoted
        .chain(linked)
        .filter(|word| ROOMS.iter().any(|room| word.starts_with(room)) && !word.contains(['*', ' ']))
        .map(|word| word.trim_end_matches('/').to_owned())
        .collect()
}

#[test]
fn every_path_that_a_document_names_is_there() {
    let root = testkit::workspace_root();
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let text = fs_err::read_to_string(root.join(document)).unwrap();
        let found = paths(&text);
        assert!(!found.is_empty(), "{document} names no path; is it read right?");
        missing.extend(
            found
                .into_iter()
                .filter(|path| !root.join(path).exists())
                .map(|path| format!("{document}: {path}")),
        );
    }
    assert!(missing.is_empty(), "these paths are not there: {missing:#?}");
}

/// Names of all test functions below a folder.
fn tests_below(folder: &std::path::Path, found: &mut std::collections::HashSet<String>) {
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs_err::read_to_string(&path).unwrap();
            let after_mark = text.split("test").skip(1).filter_map(|rest| rest.split_once("fn "));
            found.extend(after_mark.filter_map(|(_, rest)| Some(rest.split_once('(')?.0.trim().to_owned())));
        }
    }
}

#[test]
fn every_test_that_the_lessons_name_is_there() {
    let root = testkit::workspace_root();
    let mut tests = std::collections::HashSet::new();
    for room in ["domain", "platform", "apps", "tests"] {
        tests_below(&root.join(room), &mut tests);
    }
    let text = fs_err::read_to_string(root.join(LESSONS)).unwrap();
    let named = text.split('`').skip(1).step_by(2).filter(|word| !word.contains(['/', ' ', '.']));
    let missing: Vec<&str> = named.clone().filter(|name| !tests.contains(*name)).collect();
    assert!(named.count() > 30, "the lessons name hardly any test; are they read right?");
    assert!(missing.is_empty(), "these tests are not there: {missing:#?}");
}

#[test]
fn paths_are_told_from_other_words() {
    let text = "see `domain/stone`, [why](docs/decisions), `docs/decisions/NNNN-title.md now`, `cargo test`, `apps/*`";
    assert_eq!(paths(text), ["domain/stone", "docs/decisions"]);
}
