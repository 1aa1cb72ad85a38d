//! What a channel has for one architecture.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::{Equivalent, HashMap};
use package::{Dependency, DependencyKind};
use smallvec::SmallVec;

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
    /// What it offers, besides its name.
    pub provides: BTreeSet<Dependency>,
    /// What it needs at run time.
    pub depends: BTreeSet<Dependency>,
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
    /// By name.
    packages: Vec<PublishedPackage>,
    /// By name.
    sources: Vec<SourceRow>,
    /// Places of the packages of each source, in order of their names.
    of_source: Vec<u32>,
    /// Places of the sources of the packages.
    source_of: Vec<u32>,
    /// Places of the packages that offer something, in order.
    providers: HashMap<Dependency, SmallVec<[u32; 2]>, FixedState>,
    fingerprint: u64,
}

/// What is published of one source.
#[derive(Debug, Clone)]
struct SourceRow {
    name: String,
    newest: PublishedSource,
    /// Where in `of_source` its packages are.
    packages: Range<u32>,
    fingerprint: u64,
}

/// A dependency of which nobody has to own the text.
#[derive(Debug, Hash)]
struct Offer<'a> {
    kind: DependencyKind,
    name: &'a str,
}

impl Equivalent<Dependency> for Offer<'_> {
    fn equivalent(&self, other: &Dependency) -> bool {
        self.kind == other.kind && self.name == other.name
    }
}

/// A position as a number: packages that would not fit would not fit into memory either.
fn place(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

impl Published {
    /// Indexes the packages of one architecture. Of several with one name the newest counts.
    #[must_use]
    pub fn new(packages: impl IntoIterator<Item = PublishedPackage>) -> Self {
        let mut packages: Vec<PublishedPackage> = packages.into_iter().collect();
        let age = |package: &PublishedPackage| (package.release, package.build_release);
        // The newest first; of equals the first that was given.
        packages.sort_by(|left, right| left.name.cmp(&right.name).then_with(|| age(right).cmp(&age(left))));
        packages.dedup_by(|later, first| later.name == first.name);
        packages.shrink_to_fit();
        let mut of_source: Vec<u32> = (0..place(packages.len())).collect();
        of_source.sort_by_key(|&index| packages.get(index as usize).map(|package| &package.source));
        let mut this = Self { source_of: vec![0; packages.len()], packages, of_source, ..Self::default() };
        this.index_sources();
        for (index, package) in (0..).zip(&this.packages) {
            let name = Dependency::name(&package.name);
            for offer in package.provides.iter().chain([&name]) {
                let places = match this.providers.get_mut(offer) {
                    Some(places) => places,
                    None => this.providers.entry(offer.clone()).or_default(),
                };
                if places.last() != Some(&index) {
                    places.push(index);
                }
            }
        }
        this
    }

    fn index_sources(&mut self) {
        for (at, &index) in (0..).zip(&self.of_source) {
            let Some(package) = self.packages.get(index as usize) else { continue };
            let build = PublishedSource {
                version: package.version.clone(),
                release: package.release,
                build_release: package.build_release,
            };
            if self.sources.last().is_none_or(|row| row.name != package.source) {
                let (name, newest) = (package.source.clone(), build.clone());
                self.sources.push(SourceRow { name, newest, packages: at..at, fingerprint: 0 });
            }
            let number = place(self.sources.len() - 1);
            let Some(row) = self.sources.last_mut() else { continue };
            if (row.newest.release, row.newest.build_release) < (build.release, build.build_release) {
                row.newest = build;
            }
            // A sum, so that the order does not matter.
            let fingerprint = FixedState::default().hash_one(package);
            row.fingerprint = row.fingerprint.wrapping_add(fingerprint);
            row.packages.end = at + 1;
            self.fingerprint = self.fingerprint.wrapping_add(fingerprint);
            if let Some(source) = self.source_of.get_mut(index as usize) {
                *source = number;
            }
        }
        self.sources.shrink_to_fit();
    }

    fn row(&self, source: &str) -> Option<&SourceRow> {
        let index = self.sources.binary_search_by(|row| row.name.as_str().cmp(source)).ok()?;
        self.sources.get(index)
    }

    fn packages_of_row(&self, row: Option<&SourceRow>) -> impl Iterator<Item = &PublishedPackage> {
        let range = row.map_or(0..0, |row| row.packages.start as usize..row.packages.end as usize);
        let places = self.of_source.get(range).unwrap_or_default();
        places.iter().filter_map(|&index| self.packages.get(index as usize))
    }

    fn offering(&self, kind: DependencyKind, name: &str) -> &[u32] {
        self.providers.get(&Offer { kind, name }).map_or(&[], SmallVec::as_slice)
    }

    /// The package of this name.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&PublishedPackage> {
        let index = self.packages.binary_search_by(|package| package.name.as_str().cmp(name)).ok()?;
        self.packages.get(index)
    }

    /// The newest build of this source.
    #[must_use]
    pub fn source(&self, source: &str) -> Option<&PublishedSource> {
        self.row(source).map(|row| &row.newest)
    }

    /// Names of the packages that offer `dependency`, in order.
    pub fn providers(&self, dependency: &Dependency) -> impl Iterator<Item = &str> {
        let places = self.offering(dependency.kind, &dependency.name).iter();
        places.filter_map(|&index| self.packages.get(index as usize)).map(|package| package.name.as_str())
    }

    /// Whether any package offers this.
    pub(crate) fn has(&self, kind: DependencyKind, name: &str) -> bool {
        !self.offering(kind, name).is_empty()
    }

    /// Places in [`Published::rows`] of the sources whose packages offer this; one may come twice.
    pub(crate) fn rows_offering(&self, kind: DependencyKind, name: &str) -> impl Iterator<Item = usize> {
        let places = self.offering(kind, name).iter();
        places.filter_map(|&index| self.source_of.get(index as usize)).map(|&row| row as usize)
    }

    /// Everything that the packages of this source offer, each once, in order.
    pub fn offers_of_source(&self, source: &str) -> impl Iterator<Item = &Dependency> {
        let mut offers: Vec<&Dependency> = Vec::new();
        for package in self.packages_of_source(source) {
            offers.extend(&package.provides);
            let name = Offer { kind: DependencyKind::Name, name: &package.name };
            offers.extend(self.providers.get_key_value(&name).map(|(name, _)| name));
        }
        offers.sort_unstable();
        offers.dedup();
        offers.into_iter()
    }

    /// The packages of this source, by name.
    pub fn packages_of_source(&self, source: &str) -> impl Iterator<Item = &PublishedPackage> {
        self.packages_of_row(self.row(source))
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
        self.packages.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }
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
            depends: BTreeSet::new(),
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
        let rows: Vec<usize> = published.rows_offering(DependencyKind::Name, "zlib-devel").collect();
        assert_eq!(rows, [0]);
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
}
