//! Whether what a channel offers is enough for what its packages need to run.
//!
//! Pure. What a landing leaves unmet is told here; what is held back for it is decided in `gathering`.

use std::collections::{BTreeSet, HashMap, HashSet};

use package::{Dependency, DependencyKind, PackageMeta};

use crate::admission::{Landing, Package, Snapshot};

/// Needs named in one remark. A person reads the first few and looks at the rest in the index.
const NAMED_MAX: usize = 8;

/// A need that nobody in the snapshot meets, and the packages that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// What is needed.
    pub need: Dependency,
    /// Who needs it, `name (architecture)`.
    pub by: BTreeSet<String>,
}

/// Needs that this landing leaves unmet: of the packages that arrive, and of those that relied on what leaves.
///
/// Needs that were unmet before and have nothing to do with this landing are not among them.
#[must_use]
pub fn unmet(before: &Snapshot, landing: &Landing) -> Vec<Unmet> {
    let arriving = || landing.arriving.iter().filter_map(|key| landing.snapshot.get(key));
    // What somebody offered that is replaced or leaves; whether it is still offered is seen below.
    let changed = landing.arriving.iter().chain(&landing.obsolete);
    let mut lost: HashSet<Thing<'_>> =
        changed.filter_map(|key| before.get(key)).flat_map(|package| offers(&package.meta)).collect();
    for offer in arriving().flat_map(|package| offers(&package.meta)) {
        lost.remove(&offer);
    }
    let mut needs: HashMap<Thing<'_>, BTreeSet<String>> = HashMap::new();
    let name = |package: &Package| format!("{} ({})", package.meta.name, package.meta.architecture);
    for package in arriving() {
        for need in &package.meta.depends {
            needs.entry(thing(need)).or_default().insert(name(package));
        }
    }
    if !lost.is_empty() {
        for package in landing.snapshot.packages() {
            for need in package.meta.depends.iter().map(thing).filter(|need| lost.contains(need)) {
                needs.entry(need).or_default().insert(name(package));
            }
        }
    }
    for package in landing.snapshot.packages() {
        if needs.is_empty() {
            break;
        }
        for offer in offers(&package.meta) {
            needs.remove(&offer);
        }
    }
    let unmet = needs
        .into_iter()
        .map(|((kind, name), by)| Unmet { need: Dependency { kind, name: name.to_owned() }, by });
    let mut unmet: Vec<Unmet> = unmet.collect();
    unmet.sort_by(|left, right| left.need.cmp(&right.need));
    unmet
}

/// One line for an operator; empty when nothing is unmet.
#[must_use]
pub fn remark(unmet: &[Unmet]) -> String {
    if unmet.is_empty() {
        return String::new();
    }
    let mut parts: Vec<String> = unmet
        .iter()
        .take(NAMED_MAX)
        .map(|unmet| {
            let mut by = unmet.by.iter();
            let first = by.next().map_or("", String::as_str);
            let others = by.count();
            let others = if others == 0 { String::new() } else { format!(" and {others} more") };
            format!("{} needed by {first}{others}", unmet.need)
        })
        .collect();
    if unmet.len() > NAMED_MAX {
        parts.push(format!("and {} more", unmet.len() - NAMED_MAX));
    }
    format!("nothing in the channel provides {}", parts.join("; "))
}

/// Something that is offered and needed, of which nobody has to own the text: a channel has tens of thousands.
pub(crate) type Thing<'a> = (DependencyKind, &'a str);

pub(crate) fn thing(dependency: &Dependency) -> Thing<'_> {
    (dependency.kind, &dependency.name)
}

/// Everything that a package offers; its own name is always among it.
pub(crate) fn offers(meta: &PackageMeta) -> impl Iterator<Item = Thing<'_>> {
    meta.provides.iter().map(thing).chain([(DependencyKind::Name, meta.name.as_str())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Scope, land};
    use store::Sha256;
    use testkit::packages::meta_with;

    fn package(name: &str, release: u64, depends: &[&str], provides: &[&str]) -> Package {
        let sha256 = Sha256::of(format!("{name} {release}").as_bytes());
        Package { meta: meta_with(name, release, depends, provides), sha256, size_bytes: 1 }
    }

    fn check(before: Vec<Package>, incoming: &[Package], expect: &str) {
        let before: Snapshot = before.into_iter().collect();
        let landing = land(&before, incoming, Scope::Folder).unwrap();
        assert_eq!(remark(&unmet(&before, &landing)), expect);
    }

    #[test]
    fn needs_are_met_by_names_and_offers_old_and_new() {
        let library = || package("lib", 1, &[], &["soname(l.so.1(x86_64))"]);
        check(vec![], &[library(), package("app", 1, &["soname(l.so.1(x86_64))", "lib"], &[])], "");
        check(vec![library()], &[package("app", 1, &["soname(l.so.1(x86_64))", "app"], &[])], "");
        check(
            vec![],
            &[package("app", 1, &["lib"], &[])],
            "nothing in the channel provides name(lib) needed by app (x86_64)",
        );
    }

    #[test]
    fn whoever_relied_on_what_leaves_is_named() {
        let library = package("lib", 1, &[], &["soname(l.so.1(x86_64))"]);
        let apps = ["a", "b", "c"].map(|name| package(name, 1, &["soname(l.so.1(x86_64))"], &[]));
        let before = apps.into_iter().chain([library]).collect();
        let newer = package("lib", 2, &[], &["soname(l.so.2(x86_64))"]);
        check(
            before,
            &[newer],
            "nothing in the channel provides soname(l.so.1(x86_64)) needed by a (x86_64) and 2 more",
        );
    }

    #[test]
    fn old_wounds_are_not_told_again() {
        check(vec![package("a", 1, &["missing"], &[])], &[package("b", 1, &[], &[])], "");
    }

    #[test]
    fn a_long_list_is_cut() {
        let needs: Vec<String> = (0..20).map(|number| format!("need{number:02}")).collect();
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        let before = Snapshot::default();
        let landing = land(&before, &[package("a", 1, &needs, &[])], Scope::Folder).unwrap();
        let text = remark(&unmet(&before, &landing));
        assert!(
            text.ends_with("and 12 more") && text.contains("need07") && !text.contains("need08"),
            "{text}"
        );
    }
}
