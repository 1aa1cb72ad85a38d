//! What every store does.

use std::sync::atomic::{AtomicU64, Ordering};

use fault::{Fault, Kind};
use store::{Leftovers, Listed, NewObject, Source, StoreError};

use crate::stores::{LABELS, file, object, object_of, over_every_store};

#[test]
fn an_object_is_created_once() {
    over_every_store(|store| {
        assert_eq!(store.read("a/b", 100).unwrap(), None);
        for _ in 0..2 {
            store.create(&[object("a/b", b"one"), object("a/c", b"")], Leftovers::Refuse).unwrap();
        }
        let error = store.create(&[object("a/b", b"two")], Leftovers::Refuse).unwrap_err();
        let message = fault::chain(&error).join(": ");
        assert!(matches!(error, StoreError::OtherBytes(_)), "{message}");
        assert!(message.contains("a/b") && message.contains(&store.place()), "{message}");
        assert_eq!(store.read("a/b", 100).unwrap().unwrap().bytes, b"one");
        assert_eq!(store.read("a/c", 100).unwrap().unwrap().bytes, b"");
        // What something that died left is replaced by those who know that it is that.
        store.create(&[object("a/b", b"two")], Leftovers::Replace).unwrap();
        assert_eq!(store.read("a/b", 100).unwrap().unwrap().bytes, b"two");
        assert_eq!(store.list("").unwrap().len(), 2, "nothing is left beside them");
    });
}

#[test]
fn names_are_kept_as_they_are() {
    over_every_store(|store| {
        let names = [
            "g++-15~rc1-2-1-x86_64.stone",
            "a b",
            "caf\u{e9}",
            "100%",
            "a=b&c",
            "#1",
            "q?",
            "[x]{y}",
            "a'b\"c",
        ];
        let paths: Vec<String> = names.iter().map(|name| format!("main/pool/{name}")).collect();
        let objects: Vec<NewObject> = paths.iter().map(|path| object(path, path.as_bytes())).collect();
        store.create(&objects, Leftovers::Refuse).unwrap();
        let mut listed: Vec<String> =
            store.list("main").unwrap().into_iter().map(|listed| listed.path).collect();
        let mut expect = paths.clone();
        expect.sort();
        listed.sort();
        assert_eq!(listed, expect);
        for path in &paths {
            assert_eq!(store.read(path, 1000).unwrap().unwrap().bytes, path.as_bytes());
        }
        store.delete(&paths).unwrap();
        assert_eq!(store.list("").unwrap(), []);
    });
}

#[test]
fn a_list_has_what_is_below_a_folder_and_nothing_else() {
    over_every_store(|store| {
        for path in ["a/x", "a/b/y", "ab/z", "a.b/z"] {
            store.create(&[object(path, path.as_bytes())], Leftovers::Refuse).unwrap();
        }
        let listed = |path: &str, size_bytes| Listed { path: path.into(), size_bytes };
        assert_eq!(store.list("a").unwrap(), [listed("a/b/y", 5), listed("a/x", 3)]);
        assert_eq!(store.list("none").unwrap(), []);
        store.delete(&["a/x".into(), "a/missing".into()]).unwrap();
        assert_eq!(store.list("a").unwrap(), [listed("a/b/y", 5)]);
        // More than a service tells at once.
        let many: Vec<NewObject> = (0..1100).map(|number| object(&format!("many/{number}"), b"x")).collect();
        store.create(&many, Leftovers::Refuse).unwrap();
        assert_eq!(store.list("many").unwrap().len(), 1100);
    });
}

#[test]
fn large_files_are_whole_and_can_be_read_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    // Two parts and a piece.
    let bytes = file(&path, (17 << 20) + 12_345);
    over_every_store(|store| {
        let large = object_of("large", &path);
        for _ in 0..2 {
            store.create(std::slice::from_ref(&large), Leftovers::Refuse).unwrap();
        }
        assert_eq!(store.digest("large").unwrap(), Some(large.sha256));
        let facts = store.head("large").unwrap().unwrap();
        assert_eq!(facts.size_bytes, bytes.len() as u64);
        for range in [0..10, (8 << 20) - 5..(8 << 20) + 5, (17 << 20)..(17 << 20) + 99_999] {
            let [begin, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
            let end = bytes.len().min(end);
            let found = store.read_range("large", range.clone(), Some(&facts.tag)).unwrap();
            assert!(found == bytes[begin..end], "{range:?}");
        }
        let error = store.create(&[object("large", b"small")], Leftovers::Refuse).unwrap_err();
        assert!(matches!(error, StoreError::OtherBytes(_)), "{error}");
        let error = store.read("large", 1000).unwrap_err();
        assert!(
            matches!(error, StoreError::TooLarge { size_bytes, .. } if size_bytes == facts.size_bytes),
            "{error}"
        );
        // And copied within the store.
        let copy = NewObject { path: "b/copy".into(), from: Source::Stored("large".into()), ..large.clone() };
        store.create(&[copy.clone(), copy], Leftovers::Refuse).unwrap();
        assert_eq!(store.digests(&["b/copy".into(), "none".into()]).unwrap(), [Some(large.sha256), None]);
    });
}

#[test]
fn ranges_are_of_the_bytes_that_are_meant() {
    over_every_store(|store| {
        let tag = store.swap("p", b"first", None, LABELS).unwrap();
        assert_eq!(store.read_range("p", 1..3, Some(&tag)).unwrap(), b"ir");
        let other = store.swap("p", b"second", Some(&tag), LABELS).unwrap();
        let error = store.read_range("p", 1..3, Some(&tag)).unwrap_err();
        assert!(matches!(error, StoreError::Changed { .. }), "{error}");
        assert_eq!(store.read_range("p", 1..3, Some(&other)).unwrap(), b"ec");
        let error = store.read_range("none", 1..3, None).unwrap_err();
        assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    });
}

#[test]
fn a_pointer_moves_only_from_where_it_was_seen() {
    over_every_store(|store| {
        let first = store.swap("main/pointer.json", b"1", None, LABELS).unwrap();
        assert_eq!(
            store.swap("main/pointer.json", b"1", None, LABELS).unwrap(),
            first,
            "it is there already"
        );
        let lost = |expected, bytes: &[u8]| {
            let error = store.swap("main/pointer.json", bytes, expected, LABELS).unwrap_err();
            assert!(matches!(error, StoreError::Swapped { .. }), "{error}");
            assert_eq!(error.kind(), Kind::Conflict);
            assert!(error.hints()[0].contains("another Vessel"), "{:?}", error.hints());
        };
        lost(None, b"2");
        let second = store.swap("main/pointer.json", b"2", Some(&first), LABELS).unwrap();
        lost(Some(&first), b"3");
        lost(None, b"3");
        let read = store.read("main/pointer.json", 100).unwrap().unwrap();
        assert_eq!((read.bytes.as_slice(), &read.tag), (&b"2"[..], &second));
        assert_eq!(store.head("main/pointer.json").unwrap().unwrap().tag, second);
        store.delete(&["main/pointer.json".into()]).unwrap();
        lost(Some(&second), b"3");
        assert_eq!(store.read("main/pointer.json", 100).unwrap(), None);
    });
}

#[test]
fn of_writers_at_once_each_knows_whether_it_won() {
    const WRITERS: u64 = 6;
    over_every_store(|store| {
        store.swap("count", b"0", None, LABELS).unwrap();
        let (won, lost) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (won, lost) = (&won, &lost);
                scope.spawn(move || {
                    for _ in 0..10 {
                        let read = store.read("count", 100).unwrap().unwrap();
                        let text = String::from_utf8(read.bytes).unwrap();
                        let count: u64 = text.split('-').next().unwrap().parse().unwrap();
                        // No two write the same bytes.
                        let next = format!("{}-{writer}", count + 1);
                        match store.swap("count", next.as_bytes(), Some(&read.tag), LABELS) {
                            Ok(_) => won.fetch_add(1, Ordering::Relaxed),
                            Err(StoreError::Swapped { .. }) => lost.fetch_add(1, Ordering::Relaxed),
                            Err(error) => panic!("{error}"),
                        };
                    }
                });
            }
        });
        let text = String::from_utf8(store.read("count", 100).unwrap().unwrap().bytes).unwrap();
        let count: u64 = text.split('-').next().unwrap().parse().unwrap();
        assert_eq!(count, won.load(Ordering::Relaxed), "every win is there, and nothing else");
        assert_eq!(count + lost.load(Ordering::Relaxed), WRITERS * 10, "and who lost was told");
        // And of those that create, one.
        let created = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let created = &created;
                scope.spawn(move || {
                    let bytes = format!("of writer {writer}");
                    match store.create(&[object("once", bytes.as_bytes())], Leftovers::Refuse) {
                        Ok(()) => {
                            created.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => assert!(matches!(error, StoreError::OtherBytes(_)), "{error}"),
                    }
                });
            }
        });
        assert_eq!(created.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    over_every_store(|store| {
        for path in ["../a", "/a", "a//b", "a/./b", ".a", ""] {
            let errors = [
                store.create(&[object(path, b"x")], Leftovers::Replace).unwrap_err(),
                store.read(path, 1).unwrap_err(),
                store.swap(path, b"x", None, LABELS).unwrap_err(),
            ];
            assert!(errors.iter().all(|error| matches!(error, StoreError::Path { .. })), "{errors:?}");
        }
        assert!(store.delete(&["a/../b".into()]).is_err());
        assert_eq!(store.list("").unwrap(), []);
    });
}
