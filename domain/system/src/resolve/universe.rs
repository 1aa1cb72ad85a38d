//! The packages that exist, indexed by what they provide and ordered by preference.

use std::cmp::Reverse;
use std::collections::HashMap;

use package::{Dependency, DependencyKind};

use crate::{PackageId, PackageSummary, Release};

/// What the resolver must know about a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The digest.
    pub id: PackageId,
    /// The name, which is also provided, without being listed.
    pub name: String,
    /// Upstream's version: printed, never compared.
    pub version: String,
    /// What is compared.
    pub release: Release,
    /// What must be there with it.
    pub depends: Vec<Dependency>,
    /// What it gives to others.
    pub provides: Vec<Dependency>,
    /// What must not be there with it, unless it provides that itself.
    pub conflicts: Vec<Dependency>,
}

impl Candidate {
    /// The part that is printed.
    #[must_use]
    pub fn summary(&self) -> PackageSummary {
        PackageSummary {
            id: self.id.clone(),
            name: self.name.clone(),
            version: self.version.clone(),
            release: self.release,
        }
    }
}

/// A package of the active state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The package.
    pub candidate: Candidate,
    /// Whether somebody asked for it by name; otherwise it is there because another needs it.
    pub explicit: bool,
}

/// A repository as far as the resolver cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its identifier, the last tie-breaker.
    pub name: String,
    /// Larger is preferred.
    pub priority: u64,
    /// Its packages, in the order of its index.
    pub candidates: Vec<Candidate>,
}

/// Position of a package in [`Universe::entries`]; smaller is preferred.
pub(crate) type Place = usize;

pub(crate) struct Entry<'a> {
    pub(crate) candidate: &'a Candidate,
    /// Whether a repository offers it; an installed package may have vanished from all of them.
    pub(crate) available: bool,
}

/// Everything a request can choose from. Built once per request in time proportional to its size.
pub struct Universe<'a> {
    pub(crate) entries: Vec<Entry<'a>>,
    by_name: HashMap<&'a str, Vec<Place>>,
    by_provider: HashMap<&'a Dependency, Vec<Place>>,
    /// Installed packages by name, with their place and whether they are explicit.
    pub(crate) installed: HashMap<&'a str, (Place, bool)>,
}

impl<'a> Universe<'a> {
    /// Indexes what is installed and what the repositories offer. A package that is in several places counts once,
    /// at its best place; of two installed packages with one name, which a state never holds, the first counts.
    #[must_use]
    pub fn new(installed: &'a [Installed], sources: &'a [Source]) -> Self {
        let mut offers: Vec<(&Source, &Candidate)> =
            Vec::with_capacity(sources.iter().map(|source| source.candidates.len()).sum());
        for source in sources {
            offers.extend(source.candidates.iter().map(|candidate| (source, candidate)));
        }
        // The sort is stable, so two packages equal in everything said keep the order of their index.
        offers.sort_by(|(left_source, left), (right_source, right)| {
            let key = |source: &Source, candidate: &Candidate| {
                (Reverse(source.priority), Reverse(candidate.release))
            };
            key(left_source, left)
                .cmp(&key(right_source, right))
                .then_with(|| left.name.cmp(&right.name))
                .then_with(|| left_source.name.cmp(&right_source.name))
        });

        let mut universe = Self {
            entries: Vec::with_capacity(offers.len() + installed.len()),
            by_name: HashMap::with_capacity(offers.len()),
            by_provider: HashMap::with_capacity(offers.len()),
            installed: HashMap::with_capacity(installed.len()),
        };
        let mut places: HashMap<&PackageId, Place> = HashMap::with_capacity(offers.len());
        for (_, candidate) in offers {
            if !places.contains_key(&candidate.id) {
                places.insert(&candidate.id, universe.add(candidate, true));
            }
        }
        for package in installed {
            let place = match places.get(&package.candidate.id) {
                Some(place) => *place,
                None => universe.add(&package.candidate, false),
            };
            universe.installed.entry(&package.candidate.name).or_insert((place, package.explicit));
        }
        universe
    }

    fn add(&mut self, candidate: &'a Candidate, available: bool) -> Place {
        let place = self.entries.len();
        self.entries.push(Entry { candidate, available });
        self.by_name.entry(&candidate.name).or_default().push(place);
        for provider in &candidate.provides {
            let is_own_name = provider.kind == DependencyKind::Name && provider.name == candidate.name;
            let places = self.by_provider.entry(provider).or_default();
            if !is_own_name && places.last() != Some(&place) {
                places.push(place);
            }
        }
        place
    }

    pub(crate) fn candidate(&self, place: Place) -> &'a Candidate {
        self.entries[place].candidate
    }

    /// Everything with this name, preferred first.
    pub(crate) fn named(&self, name: &str) -> &[Place] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Everything that provides this, preferred first; packages of that very name come before others that claim it.
    pub(crate) fn providers(&self, dependency: &Dependency) -> impl Iterator<Item = Place> + '_ {
        let named = if dependency.kind == DependencyKind::Name { self.named(&dependency.name) } else { &[] };
        let claimed = self.by_provider.get(dependency).map_or(&[][..], Vec::as_slice);
        named.iter().chain(claimed).copied()
    }

    pub(crate) fn is_installed(&self, place: Place) -> bool {
        self.installed
            .get(self.candidate(place).name.as_str())
            .is_some_and(|(installed, _)| *installed == place)
    }

    /// The installed package that taking `place` would replace by an older release.
    pub(crate) fn newer_installed(&self, place: Place) -> Option<Place> {
        let candidate = self.candidate(place);
        let (installed, _) = self.installed.get(candidate.name.as_str())?;
        (self.candidate(*installed).release > candidate.release).then_some(*installed)
    }

    /// Installed packages in the order of their names.
    pub(crate) fn installed_by_name(&self) -> Vec<(Place, bool)> {
        let mut installed: Vec<_> = self.installed.iter().collect();
        installed.sort_unstable_by_key(|(name, _)| **name);
        installed.into_iter().map(|(_, entry)| *entry).collect()
    }
}
