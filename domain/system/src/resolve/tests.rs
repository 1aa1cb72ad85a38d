use std::collections::BTreeMap;

use fault::{Fault, Kind};
use proptest::prelude::*;

use super::*;
use crate::Release;

pub(super) fn candidate(name: &str, release: u64) -> Candidate {
    repackaged(name, release, "main")
}

/// The same release of the same name, from elsewhere: another package.
fn repackaged(name: &str, release: u64, from: &str) -> Candidate {
    let mut digest = String::new();
    for byte in format!("{name}-{release}-{from}").bytes() {
        digest.push_str(&format!("{byte:02x}"));
    }
    digest.truncate(64);
    Candidate {
        id: format!("{digest:0<64}").parse().unwrap(),
        name: name.into(),
        version: format!("1.{release}"),
        release: Release::new(release, 1),
        depends: Vec::new(),
        provides: Vec::new(),
        conflicts: Vec::new(),
    }
}

impl Candidate {
    pub(super) fn depends(mut self, text: &str) -> Self {
        self.depends.push(text.parse().unwrap());
        self
    }

    pub(super) fn provides(mut self, text: &str) -> Self {
        self.provides.push(text.parse().unwrap());
        self
    }

    pub(super) fn conflicts(mut self, text: &str) -> Self {
        self.conflicts.push(text.parse().unwrap());
        self
    }
}

pub(super) fn installed(candidate: Candidate, explicit: bool) -> Installed {
    Installed { candidate, explicit }
}

fn source(name: &str, priority: u64, candidates: Vec<Candidate>) -> Source {
    Source { name: name.into(), priority, candidates }
}

fn install(wanted: &[&str]) -> Request {
    Request::Install(wanted.iter().map(|text| text.parse().unwrap()).collect())
}

/// The new set as `name-release`, with `*` for explicit packages.
fn set(resolution: &Resolution) -> Vec<String> {
    let print = |selected: &Selected| {
        let mark = if selected.explicit { "*" } else { "" };
        format!("{}-{}{mark}", selected.package.name, selected.package.release.source)
    };
    resolution.selection.iter().map(print).collect()
}

#[track_caller]
fn check(packages: &[Installed], sources: &[Source], request: &Request, expect: &[&str]) -> Resolution {
    let resolution = resolve(&Universe::new(packages, sources), request, &Missing::Refuse).unwrap();
    assert_eq!(set(&resolution), expect);
    resolution
}

#[track_caller]
fn refused(packages: &[Installed], sources: &[Source], request: &Request, expect: &str) -> ResolveError {
    let error = resolve(&Universe::new(packages, sources), request, &Missing::Refuse).unwrap_err();
    assert_eq!(error.to_string(), expect);
    error
}

#[test]
fn an_upgrade_of_one_package_leaves_all_others() {
    let packages = [
        installed(candidate("moss", 1).depends("libc"), false),
        installed(candidate("libc", 1), false),
        installed(candidate("tool", 1).depends("libc"), true),
    ];
    let plain = [source("main", 0, vec![candidate("moss", 2), candidate("libc", 2), candidate("tool", 2)])];
    let request = Request::Upgrade("moss".into());
    check(&packages, &plain, &request, &["libc-1", "moss-2", "tool-1*"]);
    // What the new one needs comes along.
    let needy = [source(
        "main",
        0,
        vec![candidate("moss", 2).depends("soname(new.so)"), candidate("new", 1).provides("soname(new.so)")],
    )];
    check(&packages, &needy, &request, &["libc-1", "moss-2", "new-1", "tool-1*"]);
    // Never to an older one, and nothing is said of the others.
    let older = [source("main", 0, vec![candidate("moss", 0)])];
    let resolution = check(&packages, &older, &request, &["libc-1", "moss-1", "tool-1*"]);
    assert_eq!(resolution.notes.len(), 1);
    assert!(resolution.changes_nothing());
}

#[test]
fn install_brings_what_is_needed_and_says_who_asked() {
    let main = [source(
        "main",
        0,
        vec![
            candidate("nano", 3).depends("soname(libncursesw.so.6(x86_64))").provides("binary(nano)"),
            candidate("ncurses", 2).provides("soname(libncursesw.so.6(x86_64))"),
        ],
    )];
    let resolution = check(&[], &main, &install(&["binary(nano)"]), &["nano-3*", "ncurses-2"]);
    assert_eq!(resolution.added.len(), 2);
    assert_eq!(resolution.selection[0].origin, Origin::Asked);
    let needed = "soname(libncursesw.so.6(x86_64))".parse().unwrap();
    assert_eq!(resolution.selection[1].origin, Origin::NeededBy { name: "nano".into(), dependency: needed });
}

#[test]
fn the_best_provider_is_chosen_by_priority_release_build_and_name() {
    let awk = |name: &str, release| candidate(name, release).provides("binary(awk)");
    let mut rebuilt = awk("gawk", 5);
    rebuilt.release.build = 2;
    rebuilt.id = "f".repeat(64).parse().unwrap();
    let table: [(Vec<Source>, &str); 4] = [
        (vec![source("low", 1, vec![awk("aaa", 9)]), source("high", 2, vec![awk("zzz", 1)])], "zzz-1*"),
        (vec![source("main", 0, vec![awk("aaa", 1), awk("zzz", 2)])], "zzz-2*"),
        (vec![source("main", 0, vec![awk("zzz", 2), awk("aaa", 2)])], "aaa-2*"),
        (vec![source("main", 0, vec![awk("aaaa", 5), rebuilt])], "gawk-5*"),
    ];
    for (sources, expect) in table {
        check(&[], &sources, &install(&["binary(awk)"]), &[expect]);
    }
}

#[test]
fn a_dependency_named_by_the_user_becomes_explicit_and_nothing_is_added() {
    let packages =
        [installed(candidate("nano", 1).depends("ncurses"), true), installed(candidate("ncurses", 1), false)];
    let resolution = check(&packages, &[], &install(&["ncurses"]), &["nano-1*", "ncurses-1*"]);
    assert_eq!(resolution.made_explicit, ["ncurses"]);
    assert!(resolution.added.is_empty() && resolution.upgraded.is_empty());
}

#[test]
fn install_leaves_alone_what_need_not_move() {
    let packages = [installed(candidate("nano", 1), true), installed(candidate("orphan", 1), false)];
    let main = [source("main", 0, vec![candidate("nano", 2), candidate("less", 1), candidate("orphan", 2)])];
    check(&packages, &main, &install(&["less"]), &["less-1*", "nano-1*", "orphan-1"]);
}

#[test]
fn a_library_and_its_users_move_together() {
    let library = |release: u64| candidate("foo", release).provides(&format!("soname(libfoo.so.{release})"));
    let user =
        |name: &str, release: u64| candidate(name, release).depends(&format!("soname(libfoo.so.{release})"));
    let packages =
        [installed(library(1), false), installed(user("old", 1), true), installed(user("other", 1), true)];
    let main = [source("main", 0, vec![library(2), user("old", 2), user("other", 2), user("new", 2)])];
    let resolution = check(&packages, &main, &install(&["new"]), &["foo-2", "new-2*", "old-2*", "other-2*"]);
    assert_eq!(resolution.upgraded.len(), 3);

    // Without a rebuilt user there is no way, and the message says who stands in it.
    let main = [source("main", 0, vec![library(2), user("old", 2), user("new", 2)])];
    refused(
        &packages,
        &main,
        &install(&["new"]),
        "cannot find a set of packages that holds together: old 1.1-1 needs soname(libfoo.so.1), which cannot be had: \
         foo 1.1-1 would replace foo 1.2-2, which must stay; old is installed",
    );
}

#[test]
fn a_package_met_first_in_its_old_release_moves_when_a_later_need_asks_for_it() {
    let packages = [installed(candidate("foo", 1), true)];
    let main = [source(
        "main",
        0,
        vec![
            candidate("foo", 2).provides("soname(libfoo.so.2)"),
            candidate("first", 1).depends("foo"),
            candidate("second", 1).depends("soname(libfoo.so.2)"),
        ],
    )];
    check(&packages, &main, &install(&["first", "second"]), &["first-1*", "foo-2*", "second-1*"]);
}

#[test]
fn a_broken_provider_is_passed_over_for_the_next() {
    let main = [source(
        "main",
        0,
        vec![
            candidate("broken", 9).provides("binary(cc)").depends("nowhere"),
            candidate("works", 1).provides("binary(cc)"),
            candidate("tool", 1).depends("binary(cc)"),
        ],
    )];
    check(&[], &main, &install(&["tool"]), &["tool-1*", "works-1"]);
}

#[test]
fn conflicts_hold_in_both_directions() {
    let main = [source(
        "main",
        0,
        vec![candidate("pineapple", 1), candidate("italian-pizza", 1).conflicts("pineapple")],
    )];
    let message = "cannot find a set of packages that holds together: pineapple cannot be had: \
                   pineapple 1.1-1 conflicts with italian-pizza 1.1-1 over pineapple; ";
    refused(&[], &main, &install(&["italian-pizza", "pineapple"]), &format!("{message}asked for by you"));
    let packages = [installed(candidate("pineapple", 1), true)];
    let error =
        refused(&packages, &main, &install(&["italian-pizza"]), &format!("{message}pineapple is installed"));
    assert_eq!(error.kind(), Kind::Conflict);
    assert_eq!(error.hints(), ["keep one of them: moss remove italian-pizza or moss remove pineapple"]);
}

#[test]
fn a_package_may_conflict_with_what_it_provides_itself() {
    let mta = |name: &str| candidate(name, 1).provides("name(mta)").conflicts("name(mta)");
    let main = [source("main", 0, vec![mta("postfix"), mta("exim")])];
    check(&[], &main, &install(&["postfix"]), &["postfix-1*"]);
    assert!(resolve(&Universe::new(&[], &main), &install(&["postfix", "exim"]), &Missing::Refuse).is_err());
}

#[test]
fn the_chain_that_cannot_hold_is_named() {
    let main = [source(
        "main",
        0,
        vec![
            candidate("desktop", 2).depends("nano"),
            candidate("nano", 35).depends("soname(libmagic.so.1(x86_64))"),
        ],
    )];
    let error = refused(
        &[],
        &main,
        &install(&["desktop"]),
        "cannot find a set of packages that holds together: desktop 1.2-2 needs nano; nano 1.35-35 needs \
         soname(libmagic.so.1(x86_64)), which nobody provides; desktop was asked for by you",
    );
    assert_eq!(error.kind(), Kind::NotFound);
    let error = refused(
        &[],
        &main,
        &install(&["nanoo"]),
        "cannot find a set of packages that holds together: nobody provides nanoo; asked for by you",
    );
    assert_eq!(
        error.hints(),
        ["look for it: moss search nanoo", "the repositories may have changed: moss repo update"]
    );
}

#[test]
fn needs_of_allowed_kinds_may_stay_open() {
    let main = [source(
        "main",
        0,
        vec![candidate("nano", 1).depends("soname(libc.so.6)").depends("soname(libm.so.6)")],
    )];
    let universe = Universe::new(&[], &main);
    let allowed = Missing::Allow(vec![DependencyKind::Soname, DependencyKind::Binary]);
    let resolution = resolve(&universe, &install(&["nano", "binary(cc)"]), &allowed).unwrap();
    let open: Vec<String> = resolution
        .unresolved
        .iter()
        .map(|open| format!("{} {:?}", open.dependency, open.needed_by))
        .collect();
    assert_eq!(
        open,
        ["binary(cc) None", "soname(libc.so.6) Some(\"nano\")", "soname(libm.so.6) Some(\"nano\")"]
    );
    assert!(resolve(&universe, &install(&["name(gone)"]), &allowed).is_err());
}

#[test]
fn sync_takes_the_newest_and_drops_orphans() {
    let packages = [
        installed(candidate("nano", 1).depends("ncurses"), true),
        installed(candidate("ncurses", 1), false),
        installed(candidate("orphan", 1), false),
    ];
    let main = [source(
        "main",
        0,
        vec![candidate("nano", 2).depends("ncurses"), candidate("ncurses", 2), candidate("orphan", 2)],
    )];
    let resolution = check(&packages, &main, &Request::Sync, &["nano-2*", "ncurses-2"]);
    assert_eq!(resolution.removed.len(), 1);
    assert_eq!(resolution.removed[0].reason, RemovalReason::Orphaned);
}

#[test]
fn sync_follows_a_provider_that_was_renamed() {
    let packages = [
        installed(candidate("user", 1).depends("soname(libzstd.so.1)"), true),
        installed(candidate("zstd", 1).provides("soname(libzstd.so.1)"), false),
    ];
    let main = [source(
        "main",
        0,
        vec![
            candidate("user", 1).depends("soname(libzstd.so.1)"),
            candidate("zstd", 2).depends("zstd-libs"),
            candidate("zstd-libs", 2).provides("soname(libzstd.so.1)"),
        ],
    )];
    check(&packages, &main, &Request::Sync, &["user-1*", "zstd-libs-2"]);
}

#[test]
fn sync_stays_with_the_provider_that_is_there() {
    let awk = |name: &str, release| candidate(name, release).provides("binary(awk)");
    let user = || candidate("user", 1).depends("binary(awk)");
    let packages = [installed(user(), true), installed(awk("gawk", 1), false)];
    let main = [source("main", 0, vec![user(), awk("gawk", 2), awk("mawk", 9)])];
    check(&packages, &main, &Request::Sync, &["gawk-2", "user-1*"]);
}

#[test]
fn sync_never_downgrades_and_says_so() {
    let packages = [installed(candidate("nano", 35), true), installed(candidate("local", 1), true)];
    let main = [source("main", 0, vec![candidate("nano", 33)])];
    let resolution = check(&packages, &main, &Request::Sync, &["local-1*", "nano-35*"]);
    let notes: Vec<String> = resolution.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "local 1.1-1 stays: no repository has it any more",
            "nano 1.35-35 stays: the repositories have only 1.33-33"
        ]
    );
    assert!(resolution.changes_nothing());
}

#[test]
fn sync_holds_back_what_would_break_and_says_why() {
    let library = |release: u64| candidate("foo", release).provides(&format!("soname(libfoo.so.{release})"));
    let user = candidate("user", 1).depends("soname(libfoo.so.1)");
    let packages = [installed(library(1), true), installed(user.clone(), true)];
    let main = [source("main", 0, vec![library(2), user])];
    let resolution = check(&packages, &main, &Request::Sync, &["foo-1*", "user-1*"]);
    assert_eq!(
        resolution.notes[0].to_string(),
        "foo 1.1-1 stays, 1.2-2 cannot be taken: another package needs what only the installed one provides"
    );

    let packages = [installed(candidate("nano", 1), true)];
    let main = [source("main", 0, vec![candidate("nano", 2).depends("nowhere")])];
    let resolution = check(&packages, &main, &Request::Sync, &["nano-1*"]);
    assert_eq!(
        resolution.notes[0].to_string(),
        "nano 1.1-1 stays, 1.2-2 cannot be taken: nano 1.2-2 needs nowhere, which nobody provides; nano is installed"
    );
}

#[test]
fn the_same_release_from_elsewhere_replaces_on_sync_only() {
    let packages = [installed(candidate("nano", 2), true)];
    let sources = [source("other", 5, vec![repackaged("nano", 2, "other")])];
    let resolution = check(&packages, &sources, &Request::Sync, &["nano-2*"]);
    assert_eq!(resolution.upgraded.len(), 1);
    let resolution = check(&packages, &sources, &install(&["nano"]), &["nano-2*"]);
    assert!(resolution.changes_nothing());
}

#[test]
fn a_hopeless_knot_ends_within_its_bound() {
    // Every package of the knot has many providers, and none of them can be taken together with the last need.
    let mut candidates = Vec::new();
    let mut root = candidate("root", 1);
    for need in 0..12 {
        root = root.depends(&format!("binary(n{need})"));
        for provider in 0..12 {
            candidates.push(
                candidate(&format!("p{need}-{provider}"), 1)
                    .provides(&format!("binary(n{need})"))
                    .conflicts("final"),
            );
        }
    }
    candidates.push(root.depends("final"));
    candidates.push(candidate("final", 1));
    let main = [source("main", 0, candidates)];
    let error = resolve(&Universe::new(&[], &main), &install(&["root"]), &Missing::Refuse).unwrap_err();
    assert!(error.to_string().contains("conflicts with"), "{error}");
}

#[test]
fn cycles_of_dependencies_resolve() {
    let main = [source("main", 0, vec![candidate("a", 1).depends("b"), candidate("b", 1).depends("a")])];
    check(&[], &main, &install(&["a"]), &["a-1*", "b-1"]);
}

/// A random universe: a few names, each in a few releases, that need, provide and refuse a few things.
fn arbitrary_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (
        0..6_u8,
        1..4_u64,
        prop::collection::vec(0..8_u8, 0..3),
        prop::collection::vec(0..8_u8, 0..3),
        prop::option::weighted(0.1, 0..6_u8),
    );
    prop::collection::vec(one, 0..14).prop_map(|rows| {
        let mut unique = BTreeMap::new();
        for (name, release, depends, provides, conflict) in rows {
            let mut package = candidate(&format!("p{name}"), release);
            for need in depends {
                package = package.depends(&format!("binary(b{need})"));
            }
            for offer in provides {
                package = package.provides(&format!("binary(b{offer})"));
            }
            if let Some(conflict) = conflict {
                package = package.conflicts(&format!("p{conflict}"));
            }
            unique.insert((name, release), package);
        }
        unique.into_values().collect()
    })
}

fn holds_together(resolution: &Resolution, all: &[Candidate]) -> Result<(), TestCaseError> {
    let selected: Vec<&Candidate> = resolution
        .selection
        .iter()
        .map(|selected| all.iter().find(|candidate| candidate.id == selected.package.id).unwrap())
        .collect();
    let offers = |package: &Candidate, dependency: &Dependency| {
        package.provides.contains(dependency)
            || (dependency.kind == DependencyKind::Name && package.name == dependency.name)
    };
    for (position, package) in selected.iter().enumerate() {
        for other in &selected[position + 1..] {
            prop_assert_ne!(&package.name, &other.name);
        }
        for dependency in &package.depends {
            prop_assert!(
                selected.iter().any(|other| offers(other, dependency)),
                "{} lacks {dependency}",
                package.name
            );
        }
        for conflict in &package.conflicts {
            prop_assert!(!selected.iter().any(|other| other.id != package.id && offers(other, conflict)));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_answered_holds_together(candidates in arbitrary_candidates(), wanted in 0..6_u8, next in 0..6_u8) {
        let first = [source("main", 0, candidates.clone())];
        let old: Vec<Candidate> = candidates.iter().filter(|candidate| candidate.release.source < 3).cloned().collect();
        let past = [source("main", 0, old)];
        let request = install(&[&format!("p{wanted}")]);
        let Ok(before) = resolve(&Universe::new(&[], &past), &request, &Missing::Refuse) else { return Ok(()) };
        holds_together(&before, &candidates)?;

        let packages: Vec<Installed> = before
            .selection
            .iter()
            .map(|selected| Installed {
                candidate: candidates.iter().find(|candidate| candidate.id == selected.package.id).unwrap().clone(),
                explicit: selected.explicit,
            })
            .collect();
        let universe = Universe::new(&packages, &first);
        let again = resolve(&universe, &install(&[&format!("p{next}")]), &Missing::Refuse);
        if let Ok(resolution) = &again {
            holds_together(resolution, &candidates)?;
            for package in &packages {
                let kept = resolution.selection.iter().find(|selected| selected.package.name == package.candidate.name).unwrap();
                prop_assert!(kept.package.release >= package.candidate.release);
            }
        }
        // An installed set that holds together can always stay as it is, so an update never fails.
        let synced = resolve(&universe, &Request::Sync, &Missing::Refuse).unwrap();
        holds_together(&synced, &candidates)?;
        let removed = resolve(&universe, &Request::Remove(vec![Dependency::name(format!("p{wanted}"))]), &Missing::Refuse).unwrap();
        holds_together(&removed, &candidates)?;
    }
}
