//! What of the things that anybody needs each recipe offers.
//!
//! A few recipes are asked for everything that they offer. When there are many new things, all recipes are asked for
//! what they list; for what they offer by the template of recipes, and as what is published of them, it is the other way
//! round: each thing says who that would be. There are many more names that nobody needs than needed ones.

use package::{Dependency, DependencyKind};

use super::Graph;
use super::draw::Work;
use super::names::number;
use crate::catalogue::{Catalogue, RecipeEntry, TEMPLATE_SUFFIXES};
use crate::published::Published;

/// New things up to which each is looked for in every recipe; beyond, all offers are looked at once. Looking once costs
/// about as much as this. Small worlds are tested, and both ways.
const NEW_THINGS_EACH_MAX: usize = if cfg!(test) { 2 } else { 12 };

impl Graph {
    /// Reads what changed recipes and changed published sources offer, and what of the new things the others offer.
    /// `again` are the changed ones.
    pub(super) fn read_offers(
        &mut self,
        catalogue: &Catalogue,
        own: &Published,
        again: &mut Vec<(u32, u32)>,
        work: &mut Work,
    ) {
        let things = number(self.things.len());
        let new_things = work.things_before..things;
        let mut offers: Vec<Offer> = Vec::new();
        if new_things.len() > NEW_THINGS_EACH_MAX {
            *again = self.catalogue_order.iter().copied().zip(0..).collect();
            again.sort_unstable();
            for thing in 0..things {
                self.by_template(thing, &mut offers);
                self.by_publication(thing, own, thing >= new_things.start, &mut offers);
            }
            for &(slot, index) in again.iter() {
                if let Some(entry) = catalogue.recipes().get(index as usize) {
                    self.by_list(slot, entry, &mut offers);
                }
            }
        } else {
            for &(slot, index) in again.iter() {
                let Some(entry) = catalogue.recipes().get(index as usize) else { continue };
                self.by_name(slot, entry, &mut offers);
                self.by_list(slot, entry, &mut offers);
                self.published_of(&entry.source, own, |thing| offers.push(Offer::new(slot, thing)));
            }
            self.add_new_things(catalogue, own, new_things, work);
        }
        offers.sort_unstable();
        offers.dedup();
        let mut offers = offers.into_iter().peekable();
        let mut numbers = Vec::new();
        for &(slot, _) in again.iter() {
            numbers.clear();
            while let Some(offer) = offers.next_if(|offer| offer.slot() <= slot) {
                numbers.push(offer.thing());
            }
            self.set_offers(slot, &numbers, work);
        }
        self.read_strays(own, work);
    }

    /// The recipes that may offer a thing because it is named as a package of theirs.
    fn by_template(&self, thing: u32, offers: &mut Vec<Offer>) {
        let Some(known) = self.things.get(thing).filter(|known| known.kind == DependencyKind::Name) else {
            return;
        };
        offers.extend(self.names.recipe(known.name).map(|slot| Offer::new(slot, thing)));
        let name = self.names.text(known.name);
        let sources = TEMPLATE_SUFFIXES.iter().filter_map(|suffix| name.strip_suffix(suffix));
        offers.extend(sources.filter_map(|source| self.slot(source)).map(|slot| Offer::new(slot, thing)));
    }

    /// The recipes of which something is published that offers a thing. Sources without a recipe take note of it when it
    /// is new.
    fn by_publication(&mut self, thing: u32, own: &Published, is_new: bool, offers: &mut Vec<Offer>) {
        let Some(known) = self.things.get(thing) else { return };
        for source in own.sources_offering(known.kind, self.names.text(known.name)) {
            let Some(source) = self.names.find(source) else { continue };
            match self.names.recipe(source) {
                Some(slot) => offers.push(Offer::new(slot, thing)),
                None if is_new => self.strays.entry(source).or_default().push(thing),
                None => {}
            }
        }
    }

    /// What a recipe offers by its name and the template of recipes.
    fn by_name(&self, slot: u32, entry: &RecipeEntry, offers: &mut Vec<Offer>) {
        let mut name = entry.source.clone();
        for suffix in [""].iter().chain(&TEMPLATE_SUFFIXES) {
            name.truncate(entry.source.len());
            name.push_str(suffix);
            let thing = self.things.find(&self.names, DependencyKind::Name, &name);
            offers.extend(thing.map(|thing| Offer::new(slot, thing)));
        }
    }

    /// What a recipe offers by its own list and its manifest.
    fn by_list(&self, slot: u32, entry: &RecipeEntry, offers: &mut Vec<Offer>) {
        let manifest = entry.manifest.iter();
        for package in entry.packages.iter().chain(manifest.clone().flat_map(|manifest| &manifest.packages)) {
            let thing = self.things.find(&self.names, DependencyKind::Name, package);
            offers.extend(thing.map(|thing| Offer::new(slot, thing)));
        }
        for offer in manifest.flat_map(|manifest| &manifest.provides) {
            let thing = self.things.find(&self.names, offer.kind, &offer.name);
            offers.extend(thing.map(|thing| Offer::new(slot, thing)));
        }
    }

    fn published_of(&self, source: &str, own: &Published, mut found: impl FnMut(u32)) {
        for package in own.packages_of_source(source) {
            self.things
                .find(&self.names, DependencyKind::Name, &package.name)
                .into_iter()
                .for_each(&mut found);
            for offer in &package.provides {
                self.things.find(&self.names, offer.kind, &offer.name).into_iter().for_each(&mut found);
            }
        }
    }

    /// New things, as far as they are offered by recipes that did not change.
    fn add_new_things(
        &mut self,
        catalogue: &Catalogue,
        own: &Published,
        new_things: std::ops::Range<u32>,
        work: &mut Work,
    ) {
        let mut offers = Vec::new();
        let dependencies: Vec<(u32, Dependency)> = self.dependencies(new_things.clone());
        for (thing, dependency) in &dependencies {
            self.by_template(*thing, &mut offers);
            self.by_publication(*thing, own, true, &mut offers);
            for (entry, &slot) in catalogue.recipes().iter().zip(&self.catalogue_order) {
                if entry.may_offer(dependency) {
                    offers.push(Offer::new(slot, *thing));
                }
            }
        }
        offers.sort_unstable();
        offers.dedup();
        for of_recipe in offers.chunk_by(|left, right| left.slot() == right.slot()) {
            let Some(slot) = of_recipe.first().map(|offer| offer.slot()) else { continue };
            let mut numbers = self.pool.get(self.nodes[slot as usize].offers).to_vec();
            numbers.extend(of_recipe.iter().map(|offer| offer.thing()));
            numbers.sort_unstable();
            numbers.dedup();
            self.set_offers(slot, &numbers, work);
        }
    }

    fn set_offers(&mut self, slot: u32, things: &[u32], work: &mut Work) {
        let node = &mut self.nodes[slot as usize];
        let known = self.pool.get(node.offers);
        if known == things {
            return;
        }
        let before = work.providers.len();
        work.compare_things(known, things, slot, |work| &mut work.providers);
        let changes = work.providers.get(before..).unwrap_or_default();
        work.things.extend(changes.iter().map(|change| change.owner()));
        self.pool.set(&mut node.offers, things);
    }

    /// Looks at what is published of sources that have no recipe.
    fn read_strays(&mut self, own: &Published, work: &mut Work) {
        for source in std::mem::take(&mut work.strays) {
            let text = self.names.text(source);
            let mut offers = Vec::new();
            // At first, every thing is new and has been noted.
            if !work.is_first {
                work.to_check.extend(self.strays.remove(&source).into_iter().flatten());
                self.published_of(text, own, |thing| offers.push(thing));
                work.to_check.extend(offers.iter().copied());
            }
            if own.source(text).is_some() {
                self.strays.entry(source).or_default().extend(offers);
            }
        }
    }
}

/// A recipe offers a thing. In order by recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Offer {
    bits: u64,
}

impl Offer {
    fn new(slot: u32, thing: u32) -> Self {
        Self { bits: u64::from(slot) << 32 | u64::from(thing) }
    }

    fn slot(self) -> u32 {
        u32::try_from(self.bits >> 32).unwrap_or_default()
    }

    fn thing(self) -> u32 {
        u32::try_from(self.bits & u64::from(u32::MAX)).unwrap_or_default()
    }
}
