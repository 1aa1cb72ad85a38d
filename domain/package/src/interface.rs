//! What others were built against, and what of it goes away from one build to the next.
//!
//! The interface of a package is what the linker and the build systems of others find it by: sonames, pkg-config modules
//! and CMake packages. When such a name is gone, whatever used it must be built again. A name that stays says nothing
//! about what is behind it: a library that breaks its users without a new soname is not seen here.

use std::collections::{BTreeMap, BTreeSet};

use crate::dependency::{Dependency, DependencyKind};

impl DependencyKind {
    /// Whether it names something that others are built or linked against.
    #[must_use]
    pub fn is_interface(self) -> bool {
        match self {
            DependencyKind::Soname
            | DependencyKind::PkgConfig
            | DependencyKind::PkgConfig32
            | DependencyKind::CMake => true,
            DependencyKind::Name
            | DependencyKind::Interpreter
            | DependencyKind::Python
            | DependencyKind::Binary
            | DependencyKind::SystemBinary => false,
        }
    }
}

/// How the interface of a source differs between two builds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceChange {
    /// Names that are gone, each with the new ones that are most likely meant instead: `libfoo.so.2` for `libfoo.so.1`.
    pub gone: BTreeMap<Dependency, BTreeSet<Dependency>>,
    /// Names that are new.
    pub new: BTreeSet<Dependency>,
}

/// Compares what two builds of a source offer. What is no interface is passed over.
#[must_use]
pub fn interface_change<'a>(
    before: impl IntoIterator<Item = &'a Dependency>,
    after: impl IntoIterator<Item = &'a Dependency>,
) -> InterfaceChange {
    let interface = |offer: &&Dependency| offer.kind.is_interface();
    let before: BTreeSet<&Dependency> = before.into_iter().filter(interface).collect();
    let after: BTreeSet<&Dependency> = after.into_iter().filter(interface).collect();
    let mut new_by_stem: BTreeMap<(DependencyKind, String), BTreeSet<Dependency>> = BTreeMap::new();
    let mut change = InterfaceChange::default();
    for &offer in after.difference(&before) {
        new_by_stem.entry((offer.kind, interface_stem(offer))).or_default().insert(offer.clone());
        change.new.insert(offer.clone());
    }
    for &offer in before.difference(&after) {
        let instead = new_by_stem.get(&(offer.kind, interface_stem(offer))).cloned().unwrap_or_default();
        change.gone.insert(offer.clone(), instead);
    }
    change
}

/// The name without what looks like a version: the same for `libfoo.so.1(x86_64)` and `libfoo.so.2(x86_64)`, and for
/// `foo-1.0` and `foo-2.0`.
#[must_use]
pub fn interface_stem(offer: &Dependency) -> String {
    let unversioned = |text: &str| -> String {
        text.trim_end_matches(|sign: char| sign.is_ascii_digit() || matches!(sign, '.' | '-' | '_' | '+'))
            .into()
    };
    match offer.kind {
        DependencyKind::Soname => {
            let (library, set) = offer.name.split_once('(').unwrap_or((&offer.name, ""));
            let base = library.split_once(".so").map_or(library, |(base, _)| base);
            format!("{}({set}", unversioned(base))
        }
        _ => unversioned(&offer.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(before: &[&str], after: &[&str]) -> (Vec<String>, Vec<String>) {
        let read =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Dependency>>();
        let change = interface_change(&read(before), &read(after));
        let gone = change.gone.iter().map(|(offer, instead)| {
            let instead: Vec<String> = instead.iter().map(ToString::to_string).collect();
            if instead.is_empty() { offer.to_string() } else { format!("{offer} -> {}", instead.join(" ")) }
        });
        (gone.collect(), change.new.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn changes() {
        for (before, after, gone, new) in [
            (&["soname(libz.so.1(x86_64))"][..], &["soname(libz.so.1(x86_64))"][..], &[][..], &[][..]),
            (
                &["soname(libz.so.1(x86_64))"],
                &["soname(libz.so.2(x86_64))"],
                &["soname(libz.so.1(x86_64)) -> soname(libz.so.2(x86_64))"],
                &["soname(libz.so.2(x86_64))"],
            ),
            (
                &["soname(libbar-1.2.so(x86_64))"],
                &["soname(libbar-1.4.so(x86_64))"],
                &["soname(libbar-1.2.so(x86_64)) -> soname(libbar-1.4.so(x86_64))"],
                &["soname(libbar-1.4.so(x86_64))"],
            ),
            // Another instruction set is another library.
            (
                &["soname(libz.so.1(386))"],
                &["soname(libz.so.2(x86_64))"],
                &["soname(libz.so.1(386))"],
                &["soname(libz.so.2(x86_64))"],
            ),
            (
                &["pkgconfig(foo-1.0)"],
                &["pkgconfig(foo-2.0)"],
                &["pkgconfig(foo-1.0) -> pkgconfig(foo-2.0)"],
                &["pkgconfig(foo-2.0)"],
            ),
            (&["pkgconfig(foo)", "cmake(Foo)"], &["pkgconfig(foo)"], &["cmake(Foo)"], &[]),
            // A program or a package name is nothing that others are built against.
            (&["binary(foo)", "foo", "python(foo)"], &[], &[], &[]),
        ] {
            let expect = (
                Vec::from_iter(gone.iter().map(ToString::to_string)),
                Vec::from_iter(new.iter().map(ToString::to_string)),
            );
            assert_eq!(change(before, after), expect, "{before:?} {after:?}");
        }
    }
}
