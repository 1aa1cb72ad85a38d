//! Packages that do not change any more, found by name, by source and by what they offer.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{Equivalent, HashMap};
use package::{Dependency, DependencyKind};
use smallvec::SmallVec;

use super::PublishedPackage;

/// A place in the table, and what is there.
pub(super) type Entry<'a> = (u32, &'a Arc<PublishedPackage>);

#[derive(Debug, Default)]
pub(super) struct Table {
    /// By name.
    packages: Vec<Arc<PublishedPackage>>,
    /// Places of the packages of each source, in order of their names.
    of_source: Vec<u32>,
    /// Places of the packages that offer something, in order.
    providers: HashMap<Dependency, SmallVec<[u32; 2]>, FixedState>,
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

impl Table {
    /// A table of packages that are in order of their names, each once.
    pub(super) fn new(mut packages: Vec<Arc<PublishedPackage>>) -> Self {
        packages.shrink_to_fit();
        let mut of_source: Vec<u32> = (0..place(packages.len())).collect();
        of_source.sort_by_key(|&index| packages.get(index as usize).map(|package| &package.source));
        let mut providers: HashMap<Dependency, SmallVec<[u32; 2]>, FixedState> = HashMap::default();
        for (index, package) in (0..).zip(&packages) {
            let name = Dependency::name(&package.name);
            for offer in package.provides.iter().chain([&name]) {
                let places = match providers.get_mut(offer) {
                    Some(places) => places,
                    None => providers.entry(offer.clone()).or_default(),
                };
                if places.last() != Some(&index) {
                    places.push(index);
                }
            }
        }
        Self { packages, of_source, providers }
    }

    /// All packages, by name.
    pub(super) fn packages(&self) -> &[Arc<PublishedPackage>] {
        &self.packages
    }

    pub(super) fn package(&self, place: u32) -> Option<&Arc<PublishedPackage>> {
        self.packages.get(place as usize)
    }

    /// Where the package of this name is.
    pub(super) fn place_of(&self, name: &str) -> Option<u32> {
        self.packages.binary_search_by(|package| package.name.as_str().cmp(name)).ok().map(place)
    }

    fn at<'a>(&'a self, places: &'a [u32]) -> impl Iterator<Item = Entry<'a>> {
        places.iter().filter_map(|&place| Some((place, self.package(place)?)))
    }

    /// The packages of each source, in order of the sources.
    pub(super) fn by_source(&self) -> impl Iterator<Item = impl Iterator<Item = &Arc<PublishedPackage>>> {
        let source = |place: &u32| self.package(*place).map(|package| &package.source);
        let of_each = self.of_source.chunk_by(move |left, right| source(left) == source(right));
        of_each.map(|places| self.at(places).map(|(_, package)| package))
    }

    /// The packages of one source.
    pub(super) fn of_source(&self, source: &str) -> impl Iterator<Item = Entry<'_>> {
        let known = |place: &u32| self.package(*place).map_or("", |package| package.source.as_str());
        let begin = self.of_source.partition_point(|place| known(place) < source);
        let rest = self.of_source.get(begin..).unwrap_or_default();
        let count = rest.partition_point(|place| known(place) == source);
        self.at(rest.get(..count).unwrap_or_default())
    }

    /// The packages that offer this.
    pub(super) fn offering(&self, kind: DependencyKind, name: &str) -> impl Iterator<Item = Entry<'_>> {
        self.at(self.providers.get(&Offer { kind, name }).map_or(&[], SmallVec::as_slice))
    }

    /// The name of a package, as something that it offers.
    pub(super) fn name_of(&self, package: &PublishedPackage) -> Option<&Dependency> {
        let name = Offer { kind: DependencyKind::Name, name: &package.name };
        self.providers.get_key_value(&name).map(|(name, _)| name)
    }
}
