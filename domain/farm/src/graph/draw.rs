//! Drawing the graph, and following changes.
//!
//! A change goes through four stages, each of which touches only what the one before changed: recipes and published
//! sources; things (who offers them, who has them); edges; components, levels and obstacles.

use std::collections::BTreeSet;

use package::{Dependency, DependencyKind};

use super::names::{self, Had, List, Map, Set, fingerprint, number};
use super::{Edge, Ends, Graph, Node, Stray, Supply, Touched};
use crate::catalogue::{Catalogue, RecipeEntry, TEMPLATE_SUFFIXES};
use crate::ids::RecipeId;
use crate::published::Published;

/// New things up to which each is looked for in every recipe; beyond, all offers are looked at once. Looking once costs
/// about as much as this.
const NEW_THINGS_EACH_MAX: usize = 12;

/// What an update has to look at again.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// The recipe of each entry of the catalogue.
    slots: Vec<u32>,
    /// Recipes that are new or say something else, with their index in the catalogue.
    changed: Vec<(u32, usize)>,
    /// Recipes that are gone.
    pub(super) removed: Vec<u32>,
    /// Things that were not needed before.
    new_things: BTreeSet<u32>,
    /// Things that were published, or not any more: somebody else may have them now.
    pub(super) to_check: BTreeSet<u32>,
    /// Things whose provider became due, or is not any more. That matters while nobody has them.
    due: BTreeSet<u32>,
    /// Recipes of which something else is published, or that became due, or are not any more.
    pub(super) published: Vec<u32>,
    /// New orders of knots.
    pub(super) knot_orders: Map<u64, Vec<RecipeId>>,
    /// Things that other recipes offer now, that others have now, or whose provider became due while nobody has them.
    pub(super) things: BTreeSet<u32>,
    /// Recipes whose edges, supply or obstacles may be others.
    pub(super) nodes: BTreeSet<u32>,
    /// Edges that were not there, as user and needed.
    pub(super) new_edges: Vec<(u32, u32)>,
    /// Recipes that lost an edge.
    pub(super) lost_edges: Vec<u32>,
    /// Whether the list of unreadable recipes is another.
    pub(super) unreadable: bool,
    /// Whether edges or components changed.
    pub(super) structure: bool,
}

impl Graph {
    /// Draws the graph of `catalogue`.
    #[must_use]
    pub fn new(catalogue: &Catalogue, supply: &Supply<'_>) -> Self {
        let mut graph = Self::default();
        graph.update(catalogue, supply);
        graph
    }

    /// Follows to another catalogue and another supply. A recipe counts as changed when its path or its content is
    /// another; a published source when it has other packages. A recipe keeps its number for as long as there is one of
    /// its source name.
    pub fn update(&mut self, catalogue: &Catalogue, supply: &Supply<'_>) -> Touched {
        let mut work = Work::default();
        let is_first = self.nodes.is_empty();
        self.nodes.reserve_exact(if is_first { catalogue.recipes().len() } else { 0 });
        self.compare_recipes(catalogue, supply.own, &mut work);
        self.forget_removed(&mut work);
        self.read_needs(catalogue, supply, &mut work);
        self.read_offers(catalogue, supply, &mut work);
        self.read_supply(supply, &mut work);
        for &thing in &work.things {
            if let Some(thing) = self.things.get(thing) {
                work.nodes.extend(thing.build_users.iter().chain(&thing.run_users));
            }
        }
        self.draw_edges(&mut work);
        self.rank(&mut work);
        self.unreadable_changed(catalogue, &mut work);
        self.find_obstacles(supply.own, &mut work);
        self.free.extend(&work.removed);
        if is_first {
            self.names.shrink();
            self.things.shrink();
        }
        let recipes = work.nodes.iter().chain(&work.removed).copied().map(RecipeId);
        let recipes: BTreeSet<RecipeId> = recipes.collect();
        Touched { recipes: recipes.into_iter().collect(), structure: work.structure }
    }

    /// Finds which recipes are new, changed and gone.
    fn compare_recipes(&mut self, catalogue: &Catalogue, own: &Published, work: &mut Work) {
        let mut is_seen = vec![false; self.nodes.len()];
        work.slots.reserve(catalogue.recipes().len());
        // The catalogue is most likely the one before, in the same order.
        let before = std::mem::take(&mut self.catalogue_order);
        for (index, entry) in catalogue.recipes().iter().enumerate() {
            let content = content_of(entry);
            let likely = before.get(index).copied().filter(|&slot| {
                self.nodes
                    .get(slot as usize)
                    .is_some_and(|node| node.exists && self.names.text(node.source) == entry.source)
            });
            let source = match likely {
                Some(slot) => self.nodes[slot as usize].source,
                None => self.names.intern(&entry.source),
            };
            if let Some(slot) = self.names.recipe(source) {
                is_seen[slot as usize] = true;
                work.slots.push(slot);
                let node = &self.nodes[slot as usize];
                // Without a manifest, what was published says what it needs at run time.
                let is_guessed = entry.manifest.is_none()
                    && self.own != own.fingerprint()
                    && own.fingerprint_of_source(&entry.source).unwrap_or(0) != node.published;
                if is_guessed || node.content != content || self.names.text(node.path) != entry.path {
                    work.changed.push((slot, index));
                }
                continue;
            }
            let node = Node {
                path: source,
                source,
                content,
                published: 0,
                release: entry.release,
                exists: true,
                is_due: true,
                lacks_something: false,
                build: List::new(),
                run: List::new(),
                offers: List::new(),
                needs: Ends::new(),
                needed_by: Ends::new(),
                component: names::NONE,
                place: names::NONE,
                level: 0,
            };
            let slot = match self.free.pop() {
                Some(slot) => {
                    self.nodes[slot as usize] = node;
                    is_seen[slot as usize] = true;
                    slot
                }
                None => {
                    self.nodes.push(node);
                    is_seen.push(true);
                    number(self.nodes.len() - 1)
                }
            };
            self.names.set_recipe(source, slot);
            work.slots.push(slot);
            work.changed.push((slot, index));
            work.structure = true;
        }
        self.catalogue_order = work.slots.clone();
        let gone = (0..).zip(&self.nodes).zip(&is_seen).filter(|((_, node), seen)| node.exists && !**seen);
        work.removed = gone.map(|((slot, _), _)| slot).collect();
    }

    fn forget_removed(&mut self, work: &mut Work) {
        for &slot in &work.removed {
            work.structure = true;
            let node = &mut self.nodes[slot as usize];
            node.exists = false;
            let (path, source) = (node.path, node.source);
            let needs = std::mem::take(&mut node.needs);
            let [build, run, offers] = [&mut node.build, &mut node.run, &mut node.offers].map(std::mem::take);
            for edge in needs {
                remove_end(&mut self.nodes[edge.recipe() as usize].needed_by, slot);
            }
            self.each_thing(&build, |thing| names::remove(&mut thing.build_users, slot));
            self.each_thing(&run, |thing| names::remove(&mut thing.run_users, slot));
            self.each_thing(&offers, |thing| names::remove(&mut thing.providers, slot));
            work.things.extend(offers);
            self.names.set_recipe(source, names::NONE);
            if self.names.recipe_at(path) == Some(slot) {
                self.names.set_recipe_at(path, names::NONE);
            }
            self.obstacles.remove(&slot);
        }
    }

    /// Reads what changed recipes need.
    fn read_needs(&mut self, catalogue: &Catalogue, supply: &Supply<'_>, work: &mut Work) {
        // All old paths first: recipes may have changed places.
        for &(slot, _) in &work.changed {
            let path = self.nodes[slot as usize].path;
            if self.names.recipe_at(path) == Some(slot) {
                self.names.set_recipe_at(path, names::NONE);
            }
        }
        for &(slot, index) in &work.changed {
            let Some(entry) = catalogue.recipes().get(index) else { continue };
            let path = self.names.intern(&entry.path);
            self.names.set_recipe_at(path, slot);
            let build = self.intern_all(entry.build_depends.iter(), &mut work.new_things);
            let run = match &entry.manifest {
                Some(manifest) => {
                    self.intern_all(entry.run_depends.iter().chain(&manifest.depends), &mut work.new_things)
                }
                // What was published last is the best guess.
                None => {
                    let published = supply.own.packages_of_source(&entry.source);
                    let published = published.flat_map(|package| &package.depends);
                    self.intern_all(entry.run_depends.iter().chain(published), &mut work.new_things)
                }
            };
            let node = &mut self.nodes[slot as usize];
            let mut is_other = node.component == names::NONE || node.path != path;
            node.path = path;
            node.content = content_of(entry);
            node.release = entry.release;
            let old_build = std::mem::replace(&mut node.build, build.clone());
            let old_run = std::mem::replace(&mut node.run, run.clone());
            let (gone, new) = names::compare(&old_build, &build);
            is_other |= !gone.is_empty() || !new.is_empty();
            self.each_thing(&gone, |thing| names::remove(&mut thing.build_users, slot));
            self.each_thing(&new, |thing| names::insert(&mut thing.build_users, slot));
            let (gone, new) = names::compare(&old_run, &run);
            is_other |= !gone.is_empty() || !new.is_empty();
            self.each_thing(&gone, |thing| names::remove(&mut thing.run_users, slot));
            self.each_thing(&new, |thing| names::insert(&mut thing.run_users, slot));
            // Another text that needs the same, such as that of a new release, changes nothing here.
            if is_other {
                work.nodes.insert(slot);
            }
        }
    }

    fn each_thing(&mut self, list: &[u32], mut change: impl FnMut(&mut names::Thing)) {
        for &thing in list {
            if let Some(thing) = self.things.get_mut(thing) {
                change(thing);
            }
        }
    }

    fn intern_all<'d>(
        &mut self,
        dependencies: impl Iterator<Item = &'d Dependency>,
        new_things: &mut BTreeSet<u32>,
    ) -> List {
        let mut list = List::new();
        for dependency in dependencies {
            let known = self.things.len();
            let thing = self.things.intern(&mut self.names, dependency);
            if self.things.len() > known {
                new_things.insert(thing);
            }
            list.push(thing);
        }
        list.sort_unstable();
        list.dedup();
        list.shrink_to_fit();
        list
    }

    /// Reads what changed recipes and changed published sources offer, and what of the new things the others offer.
    fn read_offers(&mut self, catalogue: &Catalogue, supply: &Supply<'_>, work: &mut Work) {
        let changed: Set<u32> = work.changed.iter().map(|&(slot, _)| slot).collect();
        let is_own_same =
            std::mem::replace(&mut self.own, supply.own.fingerprint()) == supply.own.fingerprint();
        let has_generations = !supply.own.is_empty() || supply.others.iter().any(|other| !other.is_empty());
        let all_due = std::mem::replace(&mut self.has_generations, has_generations) != has_generations;
        let look_at_all = work.new_things.len() > NEW_THINGS_EACH_MAX;
        let new_things: Vec<(u32, Dependency)> = match look_at_all {
            true => Vec::new(),
            false => self.dependencies(work.new_things.iter().copied()).collect(),
        };
        let is_quiet = is_own_same && changed.is_empty() && new_things.is_empty() && !look_at_all && !all_due;
        let slots = std::mem::take(&mut work.slots);
        for (entry, &slot) in catalogue.recipes().iter().zip(if is_quiet { &[][..] } else { &slots }) {
            let is_changed = changed.contains(&slot);
            if is_own_same && !is_changed && !look_at_all && !all_due {
                self.offer_new_things(entry, slot, &new_things);
                continue;
            }
            let published = supply.own.fingerprint_of_source(&entry.source).unwrap_or(0);
            let known = supply.own.source(&entry.source);
            let node = &mut self.nodes[slot as usize];
            let is_due = known.is_none_or(|known| known.release < node.release);
            let due_changed = std::mem::replace(&mut node.is_due, is_due) != is_due;
            let is_published_anew = std::mem::replace(&mut node.published, published) != published;
            if is_published_anew || due_changed {
                work.published.push(slot);
            }
            if is_published_anew {
                work.to_check.extend(node.offers.iter().copied());
            }
            if due_changed || all_due {
                work.due.extend(node.offers.iter().copied());
            }
            if is_published_anew || look_at_all || is_changed {
                let offers = self.offers_of(entry, supply.own);
                self.set_offers(slot, offers, work);
            } else {
                self.offer_new_things(entry, slot, &new_things);
            }
        }
        for (thing, dependency) in &new_things {
            for package in supply.own.providers(dependency) {
                let source = supply.own.package(package).map_or("", |package| &package.source);
                match self.slot(source) {
                    Some(slot) => self.add_offer(slot, *thing),
                    None => {
                        self.strays.entry(source.to_owned()).or_default().offers.push(*thing);
                    }
                }
            }
        }
        if !is_own_same || work.structure {
            self.read_strays(supply.own, work);
        }
    }

    fn offer_new_things(&mut self, entry: &RecipeEntry, slot: u32, new_things: &[(u32, Dependency)]) {
        for (thing, _) in new_things.iter().filter(|(_, dependency)| entry.may_offer(dependency)) {
            self.add_offer(slot, *thing);
        }
    }

    pub(super) fn slot(&self, source: &str) -> Option<u32> {
        self.names.find(source).and_then(|name| self.names.recipe(name))
    }

    fn dependencies(&self, things: impl Iterator<Item = u32>) -> impl Iterator<Item = (u32, Dependency)> {
        things.filter_map(|thing| Some((thing, self.things.dependency(&self.names, thing)?)))
    }

    fn add_offer(&mut self, slot: u32, thing: u32) {
        names::insert(&mut self.nodes[slot as usize].offers, thing);
        self.each_thing(&[thing], |thing| names::insert(&mut thing.providers, slot));
    }

    fn set_offers(&mut self, slot: u32, offers: List, work: &mut Work) {
        let before = std::mem::replace(&mut self.nodes[slot as usize].offers, offers.clone());
        let (gone, new) = names::compare(&before, &offers);
        self.each_thing(&gone, |thing| names::remove(&mut thing.providers, slot));
        self.each_thing(&new, |thing| names::insert(&mut thing.providers, slot));
        work.things.extend(gone);
        work.things.extend(new);
    }

    /// What of the things that anybody needs a recipe offers: what its template, its own list and its manifest say, and
    /// what is published of it.
    fn offers_of(&self, entry: &RecipeEntry, own: &Published) -> List {
        let mut list = List::new();
        let mut name = entry.source.clone();
        for suffix in [""].iter().chain(&TEMPLATE_SUFFIXES) {
            name.truncate(entry.source.len());
            name.push_str(suffix);
            list.extend(self.things.find(&self.names, DependencyKind::Name, &name));
        }
        let packages =
            entry.packages.iter().chain(entry.manifest.iter().flat_map(|manifest| &manifest.packages));
        for package in packages {
            list.extend(self.things.find(&self.names, DependencyKind::Name, package));
        }
        for offer in entry.manifest.iter().flat_map(|manifest| &manifest.provides) {
            list.extend(self.things.find(&self.names, offer.kind, &offer.name));
        }
        self.add_published_offers(own, &entry.source, &mut list);
        list.sort_unstable();
        list.dedup();
        list.shrink_to_fit();
        list
    }

    fn add_published_offers(&self, own: &Published, source: &str, list: &mut List) {
        for package in own.packages_of_source(source) {
            list.extend(self.things.find(&self.names, DependencyKind::Name, &package.name));
            for offer in &package.provides {
                list.extend(self.things.find(&self.names, offer.kind, &offer.name));
            }
        }
    }

    /// Looks at what is published of sources that have no recipe.
    fn read_strays(&mut self, own: &Published, work: &mut Work) {
        let gone: Vec<String> = self
            .strays
            .keys()
            .filter(|source| own.source(source).is_none() || self.slot(source).is_some())
            .cloned()
            .collect();
        for source in gone {
            let stray = self.strays.remove(&source).unwrap_or_default();
            work.to_check.extend(stray.offers);
        }
        for source in own.sources() {
            if self.slot(source).is_some() {
                continue;
            }
            let published = own.fingerprint_of_source(source).unwrap_or(0);
            let known = self.strays.get(source);
            if known.is_some_and(|known| known.published == published) {
                continue;
            }
            let mut offers = List::new();
            self.add_published_offers(own, source, &mut offers);
            work.to_check.extend(offers.iter().copied());
            let before = self.strays.insert(source.to_owned(), Stray { published, offers });
            work.to_check.extend(before.unwrap_or_default().offers);
        }
    }

    /// Finds out who has the things whose providers changed.
    fn read_supply(&mut self, supply: &Supply<'_>, work: &mut Work) {
        let others: Vec<u64> = supply.others.iter().map(|other| other.fingerprint()).collect();
        let fingerprint = fingerprint(&(others, supply.host as u8));
        let all = std::mem::replace(&mut self.supply, fingerprint) != fingerprint;
        let wanted: Vec<u32> = match all {
            true => (0..number(self.things.len())).collect(),
            false => work.to_check.iter().chain(&work.things).chain(&work.new_things).copied().collect(),
        };
        for thing in wanted {
            let Some(dependency) = self.things.dependency(&self.names, thing) else { continue };
            let has = |published: &Published| {
                !published.is_empty() && published.providers(&dependency).next().is_some()
            };
            let had = Had {
                own: has(supply.own),
                others: supply.others.iter().any(|other| has(other)),
                host: supply.host.covers(&dependency),
            };
            let Some(known) = self.things.get_mut(thing) else { continue };
            if std::mem::replace(&mut known.had, had) != had {
                work.things.insert(thing);
            }
        }
        let is_had = |thing: &u32| self.things.get(*thing).is_none_or(|thing| thing.had.at_all());
        let due = work.due.iter().copied().filter(|thing| !is_had(thing));
        work.things.extend(due);
    }

    /// Draws the edges of all recipes that may have others now.
    fn draw_edges(&mut self, work: &mut Work) {
        for &slot in &work.nodes {
            let needs = self.needs_of(slot);
            let before = std::mem::replace(&mut self.nodes[slot as usize].needs, needs.clone());
            if before == needs {
                continue;
            }
            work.structure = true;
            for &edge in before.iter().filter(|edge| !needs.contains(edge)) {
                remove_end(&mut self.nodes[edge.recipe() as usize].needed_by, slot);
                work.lost_edges.push(slot);
            }
            for &edge in needs.iter().filter(|edge| !before.contains(edge)) {
                let back = if edge.is_build() { Edge::build(slot) } else { Edge::first_generation(slot) };
                insert_end(&mut self.nodes[edge.recipe() as usize].needed_by, back);
                work.new_edges.push((slot, edge.recipe()));
            }
        }
    }

    /// The edges of a recipe, as its things say.
    fn needs_of(&self, slot: u32) -> Ends {
        let node = &self.nodes[slot as usize];
        let mut ends = Ends::new();
        let providers =
            |thing: &u32| self.things.get(*thing).into_iter().flat_map(|thing| thing.providers.iter());
        ends.extend(node.build.iter().flat_map(providers).map(|&provider| Edge::build(provider)));
        if self.has_generations {
            let is_had = |thing: u32| self.things.get(thing).is_none_or(|thing| thing.had.at_all());
            let first = node.run.iter().filter(|&&thing| !is_had(thing)).flat_map(providers);
            let first = first.filter(|&&provider| self.nodes[provider as usize].is_due);
            ends.extend(first.map(|&provider| Edge::first_generation(provider)));
        }
        // A recipe that needs itself is built with its own previous generation, or has an obstacle.
        ends.retain(|edge| edge.recipe() != slot);
        // A build edge comes before a first-generation edge to the same recipe, and is the one that stays.
        ends.sort_unstable_by_key(|edge| (edge.recipe(), edge.bits));
        ends.dedup_by_key(|edge| edge.recipe());
        ends.shrink_to_fit();
        ends
    }
}

fn content_of(entry: &RecipeEntry) -> u64 {
    fingerprint(&(&entry.content, &entry.version, entry.release))
}

fn remove_end(ends: &mut Ends, recipe: u32) {
    if let Ok(place) = ends.binary_search_by_key(&recipe, |edge| edge.recipe()) {
        ends.remove(place);
    }
}

fn insert_end(ends: &mut Ends, edge: Edge) {
    match ends.binary_search_by_key(&edge.recipe(), |edge| edge.recipe()) {
        Ok(place) => ends[place] = edge,
        Err(place) => ends.insert(place, edge),
    }
}
