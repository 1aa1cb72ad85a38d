//! Holds that every path of this project that the documents name is there.

const DOCUMENTS: [&str; 3] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"];
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

#[test]
fn paths_are_told_from_other_words() {
    let text = "see `domain/stone`, [why](docs/decisions), `docs/decisions/NNNN-title.md now`, `cargo test`, `apps/*`";
    assert_eq!(paths(text), ["domain/stone", "docs/decisions"]);
}
