//! What a channel has for one architecture.
//!
//! A channel has thousands of packages, and a build that lands changes a handful. So there are two tables: one that stays as
//! it is, shared by everybody who holds an earlier or a later state, and a small one of what came since. Once that is not
//! small any more, both become one again.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use package::{Dependency, DependencyKind};

use crate::number_set::NumberSet;
use table::Table;

/// Packages in the small table up to which it is one. Following a change costs as much as this has, and making one table of
/// both as much as all: at some three packages a build and ten thousand in all, both cost about the same in the long run.
const NEWER_MAX: usize = if cfg!(test) { 6 } else { 256 };

/// One published package.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublishedPackage {
    /// Its name.
    pub name: String,
    /// Name of the source it was built from.
    pub source: String,
    /// Version of the source.
    pub version: String,
    /// Release of the source.
    pub release: u64,
    /// Build release.
    pub build_release: u64,
    /// What it offers, besides its name; in order. Thousands of packages are kept, and a slice is a third of a set.
    pub provides: Box<[Dependency]>,
    /// What it needs at run time; in order.
    pub depends: Box<[Dependency]>,
    /// Bytes that somebody who installs it fetches.
    pub download_size_bytes: u64,
}

/// The newest published build of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedSource {
    /// Its version.
    pub version: String,
    /// Its release.
    pub release: u64,
    /// Its build release.
    pub build_release: u64,
}

/// Packages of a channel, found by name, by source and by what they offer.
#[derive(Debug, Clone, Default)]
pub struct Published {
    base: Arc<Table>,
    /// Places in `base` of packages that were replaced, or are gone.
    hidden: NumberSet,
    /// What came since.
    newer: Arc<Table>,
    /// By name.
    sources: Vec<Arc<SourceRow>>,
    fingerprint: u64,
}

/// What is published of one source.
#[derive(Debug)]
struct SourceRow {
    name: String,
    newest: PublishedSource,
    fingerprint: u64,
}

impl SourceRow {
    /// None when there are no packages.
    fn of<'a>(packages: impl Iterator<Item = &'a Arc<PublishedPackage>>) -> Option<SourceRow> {
        let mut row: Option<SourceRow> = None;
        for package in packages {
            let build = || PublishedSource {
                version: package.version.clone(),
                release: package.release,
                build_release: package.build_release,
            };
            let row = row.get_or_insert_with(|| SourceRow {
                name: package.source.clone(),
                newest: build(),
                fingerprint: 0,
            });
            if (row.newest.release, row.newest.build_release) < (package.release, package.build_release) {
                row.newest = build();
            }
            // A sum, so that the order does not matter.
            row.fingerprint = row.fingerprint.wrapping_add(FixedState::default().hash_one(package.as_ref()));
        }
        row
    }
}

impl Published {
    /// Indexes the packages of one architecture. Of several with one name the newest counts.
    #[must_use]
    pub fn new(packages: impl IntoIterator<Item = PublishedPackage>) -> Self {
        Self::of(packages.into_iter().map(Arc::new).collect())
    }

    fn of(mut packages: Vec<Arc<PublishedPackage>>) -> Self {
        let age = |package: &PublishedPackage| (package.release, package.build_release);
        // The newest first; of equals the first that was given.
        packages.sort_by(|left, right| left.name.cmp(&right.name).then_with(|| age(right).cmp(&age(left))));
        packages.dedup_by(|later, first| later.name == first.name);
        let base = Table::new(packages);
        let sources: Vec<Arc<SourceRow>> =
            base.by_source().filter_map(|of_source| SourceRow::of(of_source).map(Arc::new)).collect();
        let fingerprint = sum(&sources);
        Self { base: Arc::new(base), sources, fingerprint, ..Self::default() }
    }

    /// This with packages that came, or came anew, and without those of these names. Costs what changes.
    #[must_use]
    pub fn with_changes(
        &self,
        arriving: impl IntoIterator<Item = PublishedPackage>,
        leaving: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut changes: BTreeMap<String, Option<Arc<PublishedPackage>>> =
            leaving.into_iter().map(|name| (name, None)).collect();
        changes.extend(arriving.into_iter().map(|package| (package.name.clone(), Some(Arc::new(package)))));
        let mut touched: BTreeSet<String> =
            changes.values().flatten().map(|package| package.source.clone()).collect();
        touched.extend(changes.keys().filter_map(|name| Some(self.package(name)?.source.clone())));
        let mut hidden = self.hidden.clone();
        hidden.extend(changes.keys().filter_map(|name| self.base.place_of(name)));
        let mut newer: Vec<Arc<PublishedPackage>> = self
            .newer
            .packages()
            .iter()
            .filter(|package| !changes.contains_key(&package.name))
            .cloned()
            .collect();
        newer.extend(changes.into_values().flatten());
        newer.sort_by(|left, right| left.name.cmp(&right.name));
        let mut after = Self {
            base: Arc::clone(&self.base),
            hidden,
            newer: Arc::new(Table::new(newer)),
            sources: Vec::new(),
            fingerprint: 0,
        };
        if after.newer.packages().len() > NEWER_MAX {
            return Self::of(after.visible().cloned().collect());
        }
        after.sources = after.rows_after(&self.sources, touched);
        after.fingerprint = sum(&after.sources);
        after
    }

    /// The rows of all sources, where those of `touched` may be others than `before`.
    fn rows_after(&self, before: &[Arc<SourceRow>], touched: BTreeSet<String>) -> Vec<Arc<SourceRow>> {
        let mut rows = Vec::with_capacity(before.len() + touched.len());
        let mut known = before.iter().peekable();
        for source in touched {
            while let Some(row) = known.next_if(|row| row.name < source) {
                rows.push(Arc::clone(row));
            }
            known.next_if(|row| row.name == source);
            rows.extend(SourceRow::of(self.of_source(&source)).map(Arc::new));
        }
        rows.extend(known.cloned());
        rows
    }

    /// Every package that is there, in no order that means anything.
    fn visible(&self) -> impl Iterator<Item = &Arc<PublishedPackage>> {
        let is_there = |(place, _): &(u32, &Arc<PublishedPackage>)| !self.hidden.contains(*place);
        (0..)
            .zip(self.base.packages())
            .filter(is_there)
            .map(|(_, package)| package)
            .chain(self.newer.packages())
    }

    fn row(&self, source: &str) -> Option<&SourceRow> {
        let index = self.sources.binary_search_by(|row| row.name.as_str().cmp(source)).ok()?;
        self.sources.get(index).map(AsRef::as_ref)
    }

    fn of_source(&self, source: &str) -> impl Iterator<Item = &Arc<PublishedPackage>> {
        let known = self.base.of_source(source).filter(|(place, _)| !self.hidden.contains(*place));
        known.chain(self.newer.of_source(source)).map(|(_, package)| package)
    }

    fn offering(&self, kind: DependencyKind, name: &str) -> impl Iterator<Item = &PublishedPackage> {
        let known = self.base.offering(kind, name).filter(|(place, _)| !self.hidden.contains(*place));
        known.chain(self.newer.offering(kind, name)).map(|(_, package)| package.as_ref())
    }

    /// The package of this name.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&PublishedPackage> {
        let newer = self.newer.place_of(name).map(|place| (&self.newer, place));
        let known = || {
            let place = self.base.place_of(name).filter(|place| !self.hidden.contains(*place))?;
            Some((&self.base, place))
        };
        let (table, place) = newer.or_else(known)?;
        table.package(place).map(AsRef::as_ref)
    }

    /// The newest build of this source.
    #[must_use]
    pub fn source(&self, source: &str) -> Option<&PublishedSource> {
        self.row(source).map(|row| &row.newest)
    }

    /// Names of the packages that offer `dependency`, in order.
    pub fn providers(&self, dependency: &Dependency) -> impl Iterator<Item = &str> {
        let offering = self.offering(dependency.kind, &dependency.name);
        let mut names: Vec<&str> = offering.map(|package| package.name.as_str()).collect();
        names.sort_unstable();
        names.into_iter()
    }

    /// Whether any package offers this.
    pub(crate) fn has(&self, kind: DependencyKind, name: &str) -> bool {
        self.offering(kind, name).next().is_some()
    }

    /// Sources whose packages offer this; one may come twice.
    pub(crate) fn sources_offering(&self, kind: DependencyKind, name: &str) -> impl Iterator<Item = &str> {
        self.offering(kind, name).map(|package| package.source.as_str())
    }

    /// Everything that the packages of this source offer, each once, in order.
    pub fn offers_of_source(&self, source: &str) -> impl Iterator<Item = &Dependency> {
        let mut offers: Vec<&Dependency> = Vec::new();
        for package in self.packages_of_source(source) {
            offers.extend(&package.provides);
            offers.extend(self.newer.name_of(package).or_else(|| self.base.name_of(package)));
        }
        offers.sort_unstable();
        offers.dedup();
        offers.into_iter()
    }

    /// The packages of this source, by name.
    pub fn packages_of_source(&self, source: &str) -> impl Iterator<Item = &PublishedPackage> {
        let mut packages: Vec<&PublishedPackage> = self.of_source(source).map(AsRef::as_ref).collect();
        packages.sort_by(|left, right| left.name.cmp(&right.name));
        packages.into_iter()
    }

    /// Names of all sources, in order.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|row| row.name.as_str())
    }

    /// All sources in order of their names, each with its fingerprint: a number that is another when the source or
    /// any package of it is another. Only for comparison inside one process.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.sources.iter().map(|row| (row.name.as_str(), row.fingerprint))
    }

    /// A number that is another when any package is another. Only for comparison inside one process.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// How many packages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.base.packages().len().saturating_sub(self.hidden.iter().count()) + self.newer.packages().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }
}

fn sum(sources: &[Arc<SourceRow>]) -> u64 {
    sources.iter().fold(0, |sum, row| sum.wrapping_add(row.fingerprint))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn package(name: &str, source: &str, release: u64, provides: &[&str]) -> PublishedPackage {
        PublishedPackage {
            name: name.into(),
            source: source.into(),
            version: "1.0".into(),
            release,
            build_release: 1,
            provides: provides.iter().map(|text| text.parse().unwrap()).collect(),
            depends: Box::default(),
            download_size_bytes: 1000,
        }
    }

    #[test]
    fn found_by_name_by_source_and_by_offer() {
        let published = Published::new([
            package("zlib", "zlib", 3, &["soname(libz.so.1(x86_64))"]),
            package("zlib-devel", "zlib", 4, &["pkgconfig(zlib)"]),
            package("zlib-devel", "zlib", 2, &["pkgconfig(old)"]),
        ]);
        assert_eq!(published.len(), 2);
        assert_eq!(published.source("zlib").unwrap().release, 4, "the newest package of the source counts");
        let providers =
            |text: &str| published.providers(&text.parse().unwrap()).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(providers("pkgconfig(zlib)"), ["zlib-devel"]);
        assert_eq!(providers("zlib"), ["zlib"]);
        assert!(providers("pkgconfig(old)").is_empty(), "an older package of the same name is gone");
        let offers: Vec<String> = published.offers_of_source("zlib").map(Dependency::short).collect();
        assert_eq!(offers, ["zlib", "zlib-devel", "pkgconfig(zlib)", "soname(libz.so.1(x86_64))"]);
        let sources: Vec<&str> = published.sources_offering(DependencyKind::Name, "zlib-devel").collect();
        assert_eq!(sources, ["zlib"]);
        assert!(!published.has(DependencyKind::Name, "xz"));
        let of_zlib: Vec<&str> =
            published.packages_of_source("zlib").map(|package| package.name.as_str()).collect();
        assert_eq!(of_zlib, ["zlib", "zlib-devel"]);
    }

    #[test]
    fn a_fingerprint_tells_other_packages_and_not_another_order() {
        let [xz, zlib, devel] = [("xz", "xz"), ("zlib", "zlib"), ("zlib-devel", "zlib")]
            .map(|(name, source)| package(name, source, 1, &[]));
        let before = Published::new([xz.clone(), zlib.clone(), devel.clone()]);
        let turned = Published::new([devel.clone(), zlib.clone(), xz.clone()]);
        assert_eq!(before.fingerprint(), turned.fingerprint());
        let newer = PublishedPackage { release: 2, ..devel };
        let after = Published::new([xz, zlib, newer]);
        assert_ne!(before.fingerprint(), after.fingerprint());
        let rows = |published: &Published| {
            published.rows().map(|(source, fingerprint)| (source.to_owned(), fingerprint)).collect::<Vec<_>>()
        };
        let (before, after) = (rows(&before), rows(&after));
        assert_eq!(before.iter().map(|(source, _)| source.as_str()).collect::<Vec<_>>(), ["xz", "zlib"]);
        assert_eq!(before[0], after[0]);
        assert_ne!(before[1], after[1]);
    }

    /// Everything that can be asked.
    fn all(published: &Published) -> Vec<String> {
        let offers = [
            (DependencyKind::Name, "a"),
            (DependencyKind::Name, "b"),
            (DependencyKind::PkgConfig, "even"),
            (DependencyKind::PkgConfig, "odd"),
        ];
        let mut said = vec![format!("{} {}", published.len(), published.is_empty())];
        said.extend(published.rows().map(|(source, fingerprint)| format!("{source} {fingerprint}")));
        for (kind, name) in offers {
            let dependency = Dependency { kind, name: name.to_owned() };
            let providers: Vec<&str> = published.providers(&dependency).collect();
            let mut sources: Vec<&str> = published.sources_offering(kind, name).collect();
            sources.sort_unstable();
            said.push(format!("{dependency:?} {providers:?} {sources:?} {}", published.has(kind, name)));
        }
        for source in published.sources() {
            let packages: Vec<&PublishedPackage> = published.packages_of_source(source).collect();
            let offers: Vec<&Dependency> = published.offers_of_source(source).collect();
            said.push(format!("{source} {:?} {packages:?} {offers:?}", published.source(source)));
            said.extend(packages.iter().map(|package| format!("{:?}", published.package(&package.name))));
        }
        said.push(format!("{:?} {}", published.package("no"), published.fingerprint()));
        said
    }

    proptest::proptest! {
        /// However a state came about, it is the same. Packages change their sources, too.
        #[test]
        fn following_changes_comes_to_the_same_as_beginning_anew(
            steps in proptest::collection::vec(
                proptest::collection::vec((0..12_usize, 0..4_u64, 0..3_usize), 0..5), 1..30)
        ) {
            let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
            let mut expected: BTreeMap<&str, PublishedPackage> = BTreeMap::new();
            let mut published = Published::default();
            for step in steps {
                let (mut arriving, mut leaving) = (BTreeMap::new(), Vec::new());
                for (name, release, source) in step {
                    let name = names[name];
                    if release == 0 {
                        arriving.remove(name);
                        expected.remove(name);
                        leaving.push(name.to_owned());
                        continue;
                    }
                    let offers = if release % 2 == 0 { ["pkgconfig(even)"] } else { ["pkgconfig(odd)"] };
                    let package = package(name, ["x", "y", "z"][source], release, &offers);
                    expected.insert(name, package.clone());
                    arriving.insert(name, package);
                }
                leaving.retain(|name| !arriving.contains_key(name.as_str()));
                published = published.with_changes(arriving.into_values(), leaving);
                let anew = Published::new(expected.values().cloned());
                proptest::prop_assert_eq!(all(&published), all(&anew));
            }
        }
    }
}
