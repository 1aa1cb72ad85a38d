//! What a channel has for one architecture.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use package::Dependency;

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
    packages: HashMap<String, PublishedPackage>,
    sources: HashMap<String, PublishedSource>,
    providers: HashMap<Dependency, BTreeSet<String>>,
    offers_of_source: HashMap<String, HashSet<Dependency>>,
    /// Names of the packages of each source, in order, and a fingerprint of all that they say.
    packages_of_source: HashMap<String, (BTreeSet<String>, u64)>,
    fingerprint: u64,
}

impl Published {
    /// Indexes the packages of one architecture. Of several with one name the newest counts.
    #[must_use]
    pub fn new(packages: impl IntoIterator<Item = PublishedPackage>) -> Self {
        let mut newest: HashMap<String, PublishedPackage> = HashMap::new();
        for package in packages {
            match newest.get(&package.name) {
                Some(known)
                    if (known.release, known.build_release) >= (package.release, package.build_release) => {}
                _ => {
                    newest.insert(package.name.clone(), package);
                }
            }
        }
        let mut this = Self::default();
        for package in newest.values() {
            let build = PublishedSource {
                version: package.version.clone(),
                release: package.release,
                build_release: package.build_release,
            };
            let known = this.sources.entry(package.source.clone()).or_insert_with(|| build.clone());
            if (known.release, known.build_release) < (build.release, build.build_release) {
                *known = build;
            }
            // A sum, so that the order does not matter.
            let fingerprint = BuildHasherDefault::<DefaultHasher>::default().hash_one(package);
            let of_source = this.packages_of_source.entry(package.source.clone()).or_default();
            of_source.0.insert(package.name.clone());
            of_source.1 = of_source.1.wrapping_add(fingerprint);
            this.fingerprint = this.fingerprint.wrapping_add(fingerprint);
            let offers = this.offers_of_source.entry(package.source.clone()).or_default();
            for offer in package.provides.iter().cloned().chain([Dependency::name(&package.name)]) {
                this.providers.entry(offer.clone()).or_default().insert(package.name.clone());
                offers.insert(offer);
            }
        }
        this.packages = newest;
        this
    }

    /// The package of this name.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&PublishedPackage> {
        self.packages.get(name)
    }

    /// The newest build of this source.
    #[must_use]
    pub fn source(&self, source: &str) -> Option<&PublishedSource> {
        self.sources.get(source)
    }

    /// Names of the packages that offer `dependency`.
    pub fn providers(&self, dependency: &Dependency) -> impl Iterator<Item = &str> {
        self.providers.get(dependency).into_iter().flatten().map(String::as_str)
    }

    /// Everything that the packages of this source offer.
    pub fn offers_of_source(&self, source: &str) -> impl Iterator<Item = &Dependency> {
        self.offers_of_source.get(source).into_iter().flatten()
    }

    /// The packages of this source, by name.
    pub fn packages_of_source(&self, source: &str) -> impl Iterator<Item = &PublishedPackage> {
        let names = self.packages_of_source.get(source).into_iter().flat_map(|(names, _)| names);
        names.filter_map(|name| self.packages.get(name))
    }

    /// Names of all sources, in no order.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// A number that is another when a package of this source is another. Only for comparison inside one process.
    #[must_use]
    pub fn fingerprint_of_source(&self, source: &str) -> Option<u64> {
        self.packages_of_source.get(source).map(|(_, fingerprint)| *fingerprint)
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
        assert_eq!(published.offers_of_source("zlib").count(), 4);
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
        assert_ne!(before.fingerprint_of_source("zlib"), after.fingerprint_of_source("zlib"));
        assert_eq!(before.fingerprint_of_source("xz"), after.fingerprint_of_source("xz"));
    }
}
