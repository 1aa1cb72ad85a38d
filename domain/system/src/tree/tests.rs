use proptest::prelude::*;

use super::*;

fn entry(path: &str, mode: u32, file: EntryFile) -> Entry {
    Entry { uid: 0, gid: 0, mode, target: path.into(), file }
}

fn file(path: &str, content: &str) -> Entry {
    entry(path, 0o100_644, EntryFile::Regular(Digest::of(content.as_bytes())))
}

fn link(path: &str, target: &str) -> Entry {
    entry(path, 0o120_777, EntryFile::Symlink(target.into()))
}

fn directory(path: &str, mode: u32) -> Entry {
    entry(path, 0o040_000 | mode, EntryFile::Directory)
}

fn merged(packages: &[(&str, Vec<Entry>)]) -> Result<Tree, TreeError> {
    let layouts: Vec<Layout<'_>> =
        packages.iter().map(|(package, entries)| Layout { package, entries }).collect();
    merge(&layouts)
}

/// The tree with a letter for each kind.
#[track_caller]
fn check(packages: &[(&str, Vec<Entry>)], expect: &[&str]) {
    let tree = merged(packages).unwrap();
    let lines: Vec<String> = tree
        .nodes
        .iter()
        .map(|(path, node)| match &node.kind {
            NodeKind::Directory => format!("d{:o} {path}", node.mode),
            NodeKind::Regular(_) => format!("f{:o} {path}", node.mode),
            NodeKind::Symlink(target) => format!("l {path} -> {target}"),
        })
        .collect();
    assert_eq!(lines, expect);
}

#[track_caller]
fn refused(packages: &[(&str, Vec<Entry>)], expect: &str) {
    assert_eq!(merged(packages).unwrap_err().to_string(), expect);
}

#[test]
fn parents_are_made_and_listed_modes_are_kept() {
    check(
        &[(
            "a",
            vec![
                file("bin/nano", "x"),
                directory("lib/private", 0o700),
                file("lib/private/key", "k"),
                link("bin/pico", "nano"),
            ],
        )],
        &[
            "d755 bin",
            "f644 bin/nano",
            "l bin/pico -> nano",
            "d755 lib",
            "d700 lib/private",
            "f644 lib/private/key",
        ],
    );
}

#[test]
fn the_same_thing_twice_is_one_thing() {
    let both = || {
        vec![file("share/licenses/GPL", "text"), link("share/l", "licenses"), directory("share/empty", 0o755)]
    };
    check(
        &[("a", both()), ("b", both())],
        &[
            "d755 share",
            "d755 share/empty",
            "l share/l -> licenses",
            "d755 share/licenses",
            "f644 share/licenses/GPL",
        ],
    );
}

#[test]
fn different_things_at_one_path_name_both_packages() {
    let executable = entry("bin/x", 0o100_755, EntryFile::Regular(Digest::of(b"1")));
    let owned = Entry { uid: 5, ..file("bin/x", "1") };
    for other in [file("bin/x", "2"), executable, owned, link("bin/x", "y"), directory("bin/x", 0o755)] {
        refused(
            &[("one", vec![file("bin/x", "1")]), ("two", vec![other])],
            "cannot place /usr/bin/x: one and two both bring it, and not the same",
        );
    }
}

#[test]
fn below_a_link_is_where_the_link_leads() {
    for target in ["bin", "../usr/bin", "/usr/bin", "./bin/../bin", "/bin"] {
        check(
            &[
                ("links", vec![link("sbin", target)]),
                ("tool", vec![file("sbin/tool", "t")]),
                ("other", vec![file("bin/other", "o")]),
            ],
            &["d755 bin", "f644 bin/other", "f644 bin/tool", &format!("l sbin -> {target}")],
        );
    }
    // Through two links.
    check(
        &[
            ("links", vec![link("a", "b"), link("b", "c"), directory("c", 0o755)]),
            ("x", vec![file("a/f", "1")]),
        ],
        &["l a -> b", "l b -> c", "d755 c", "f644 c/f"],
    );
    // Two packages meet where the link leads.
    refused(
        &[
            ("links", vec![link("sbin", "bin")]),
            ("one", vec![file("bin/x", "1")]),
            ("two", vec![file("sbin/x", "2")]),
        ],
        "cannot place /usr/bin/x: one and two both bring it, and not the same",
    );
}

#[test]
fn below_a_link_to_nowhere_is_an_error() {
    for target in ["nowhere", "/etc", "..", "../etc", "bin/file"] {
        refused(
            &[
                ("links", vec![link("opt", target), file("bin/file", "f")]),
                ("tool", vec![file("opt/tool", "t")]),
            ],
            &format!(
                "cannot place /usr/opt/tool of tool: /usr/opt of links is a link to {target:?}, which is no directory of any package"
            ),
        );
    }
    refused(
        &[("links", vec![link("a", "b"), link("b", "a")]), ("x", vec![file("a/f", "1")])],
        "cannot place \"a/f\" of x: the links on its way lead in a circle",
    );
}

#[test]
fn below_a_file_is_an_error() {
    refused(
        &[("one", vec![file("share/x", "1")]), ("two", vec![file("share/x/y", "2")])],
        "cannot place /usr/share/x/y of two: /usr/share/x of one is not a directory",
    );
}

#[test]
fn escaping_paths_are_refused() {
    for path in ["/etc/passwd", "../etc/passwd", "a/../../b", "", "a//b", "a/"] {
        let error = merged(&[("evil", vec![file(path, "x")])]).unwrap_err();
        assert!(matches!(error, TreeError::BadPath { .. }), "{path}: {error}");
        assert!(error.to_string().contains("of evil"));
    }
}

#[test]
fn a_split_usr_is_refused() {
    refused(
        &[("old", vec![file("lib64/libc.so.6", "x")])],
        "cannot place /usr/lib64/libc.so.6 of old: /lib64 leads to /usr/lib, so the file belongs there",
    );
    refused(
        &[("old", vec![link("lib64", "lib32")])],
        "cannot place /usr/lib64 of old: the only thing this may be is a link to lib",
    );
    refused(
        &[("old", vec![file("bin", "x")])],
        "cannot place /usr/bin of old: a link in the root of the system leads here, so it must be a directory",
    );
    check(
        &[
            ("glibc", vec![link("lib64", "lib"), file("lib/libc.so.6", "x")]),
            ("b", vec![file("lib64/libb.so", "y")]),
        ],
        &["d755 lib", "f644 lib/libb.so", "f644 lib/libc.so.6", "l lib64 -> lib"],
    );
}

fn arbitrary_entry() -> impl Strategy<Value = Entry> {
    let path = prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "lib"]), 1..4)
        .prop_map(|names| names.join("/"));
    let target = prop::sample::select(vec!["a", "../b", "b/c", "/usr/lib", "..", "/etc", "../../c"]);
    (path, 0..3_u8, target).prop_map(|(path, kind, target)| match kind {
        0 => file(&path, "content"),
        1 => link(&path, target),
        _ => directory(&path, 0o755),
    })
}

proptest! {
    #[test]
    fn every_parent_is_a_directory_that_comes_first(
        one in prop::collection::vec(arbitrary_entry(), 0..6),
        two in prop::collection::vec(arbitrary_entry(), 0..6),
    ) {
        let Ok(tree) = merged(&[("one", one.clone()), ("two", two.clone())]) else { return Ok(()) };
        let mut seen = HashSet::new();
        for (path, node) in &tree.nodes {
            prop_assert!(check_path(path).is_ok());
            for parent in ancestors(path) {
                prop_assert!(seen.contains(parent), "{} before {}", parent, path);
                prop_assert_eq!(&tree.nodes[parent].kind, &NodeKind::Directory);
            }
            if node.kind == NodeKind::Directory {
                seen.insert(path.clone());
            }
        }
        // The order of the packages does not change the tree.
        prop_assert_eq!(merged(&[("two", two), ("one", one)]).map(|other| other.nodes), Ok(tree.nodes));
    }
}
