//! Drawing the graph, and following changes.
//!
//! A change goes through four stages, each of which touches only what the one before changed: recipes and published
//! sources; things (who needs them, who offers them, who has them); edges; components, levels and obstacles.

use package::Dependency;

use super::compare::content_of;
use super::names::{self, Had, Map, Name, fingerprint, number};
use super::pool::{Change, List};
use super::{Edge, Graph, Node, Supply, Touched};
use crate::catalogue::Catalogue;
use crate::ids::RecipeId;
use crate::number_set::NumberSet;
use crate::published::Published;

/// What an update has to look at again.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Whether there was nothing before.
    pub(super) is_first: bool,
    /// Recipes that are new or say something else, with their index in the catalogue.
    pub(super) changed: Vec<(u32, u32)>,
    /// Recipes that are gone.
    pub(super) removed: Vec<u32>,
    /// Recipes of which something else is published, or that became due, or are not any more.
    pub(super) published: NumberSet,
    /// Sources without a recipe of which something else is published, or whose recipe is gone.
    pub(super) strays: Vec<Name>,
    /// How many things were needed before: those that follow are new.
    pub(super) things_before: u32,
    /// Things that were published, or not any more: somebody else may have them now.
    pub(super) to_check: NumberSet,
    /// Things whose provider became due, or is not any more. That matters while nobody has them.
    pub(super) due: NumberSet,
    /// Things that other recipes offer now, or that others have now.
    pub(super) things: NumberSet,
    /// Recipes whose edges, supply or obstacles may be others.
    pub(super) nodes: NumberSet,
    /// Recipes whose edges may have other weights.
    pub(super) weights: NumberSet,
    /// Changes to the lists of things.
    pub(super) build_users: Vec<Change>,
    pub(super) run_users: Vec<Change>,
    pub(super) providers: Vec<Change>,
    /// Changes to the edges as seen from what is needed.
    needed_by: Vec<Change>,
    /// New orders of knots.
    pub(super) knot_orders: Map<u64, Vec<RecipeId>>,
    /// Edges that were not there, as user and needed. Not kept at first, when that is all of them.
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
        let is_first = self.nodes.is_empty();
        let mut work = Work { is_first, things_before: number(self.things.len()), ..Work::default() };
        if is_first {
            let count = catalogue.recipes().len();
            self.nodes.reserve_exact(count);
            for numbers in [&mut self.places, &mut self.component_of, &mut self.levels] {
                numbers.reserve_exact(count);
            }
        }
        self.compare_recipes(catalogue, &mut work);
        self.compare_published(supply.own, &mut work);
        self.forget_removed(&mut work);
        let mut again = self.to_read_again(&work);
        self.read_needs(catalogue, supply.own, &again, &mut work);
        self.read_due(catalogue, supply, &again, &mut work);
        self.read_offers(catalogue, supply.own, &mut again, &mut work);
        self.apply_to_things(&mut work);
        self.read_supply(supply, &mut work);
        self.gather_nodes(&mut work);
        self.draw_edges(&mut work);
        self.rank(&mut work);
        self.unreadable_changed(catalogue, &mut work);
        self.find_obstacles(supply.own, &mut work);
        for &slot in &work.removed {
            self.places[slot as usize] = names::NONE;
            self.component_of[slot as usize] = names::NONE;
            self.levels[slot as usize] = 0;
        }
        self.free.extend(&work.removed);
        self.save_memory(is_first);
        let mut touched = work.nodes;
        touched.extend(work.removed);
        let recipes = touched.take_sorted().into_iter().map(RecipeId).collect();
        Touched { recipes, structure: work.structure }
    }

    fn save_memory(&mut self, is_first: bool) {
        if is_first {
            self.names.shrink();
            self.things.shrink();
            self.pool.shrink();
        }
        if self.pool.is_loose() {
            let nodes = self.nodes.iter_mut();
            let of_nodes = nodes.flat_map(|node| {
                [&mut node.build, &mut node.run, &mut node.offers, &mut node.needs, &mut node.needed_by]
            });
            let of_things = self
                .things
                .all
                .iter_mut()
                .flat_map(|thing| [&mut thing.providers, &mut thing.build_users, &mut thing.run_users]);
            self.pool.tighten(of_nodes.chain(of_things));
        }
    }

    fn forget_removed(&mut self, work: &mut Work) {
        for &slot in &work.removed {
            work.structure = true;
            let node = &mut self.nodes[slot as usize];
            node.exists = false;
            let source = node.source;
            if node.is_published {
                work.strays.push(source);
            }
            for edge in self.pool.take(&mut node.needs) {
                work.needed_by.push(Change::take(Edge { bits: edge }.recipe(), Edge::build(slot).bits));
                work.needed_by
                    .push(Change::take(Edge { bits: edge }.recipe(), Edge::first_generation(slot).bits));
            }
            let changes = [
                (&mut node.build, &mut work.build_users),
                (&mut node.run, &mut work.run_users),
                (&mut node.offers, &mut work.providers),
            ];
            for (list, changes) in changes {
                changes.extend(self.pool.take(list).into_iter().map(|thing| Change::take(thing, slot)));
            }
            self.names.set_recipe(source, names::NONE);
            self.obstacles.remove(&slot);
        }
        work.things.extend(work.providers.iter().map(|change| change.owner()));
    }

    /// Recipes that say something else, or of which something else is published, with their index in the catalogue; by
    /// number.
    fn to_read_again(&self, work: &Work) -> Vec<(u32, u32)> {
        let mut again = work.changed.clone();
        if !work.published.is_empty() && !work.is_first {
            let mut is_changed = NumberSet::default();
            is_changed.extend(work.changed.iter().map(|&(slot, _)| slot));
            let of_published = (0..).zip(&self.catalogue_order);
            let of_published = of_published
                .filter(|(_, slot)| work.published.contains(**slot) && !is_changed.contains(**slot));
            again.extend(of_published.map(|(index, &slot)| (slot, index)));
        }
        again.sort_unstable();
        again
    }

    /// Reads what changed recipes need.
    fn read_needs(&mut self, catalogue: &Catalogue, own: &Published, again: &[(u32, u32)], work: &mut Work) {
        let is_changed: NumberSet = collect(work.changed.iter().map(|&(slot, _)| slot));
        let mut numbers = Vec::new();
        for &(slot, index) in again {
            let Some(entry) = catalogue.recipes().get(index as usize) else { continue };
            // Without a manifest, what was published says what it needs at run time.
            if !is_changed.contains(slot) && entry.manifest.is_some() {
                continue;
            }
            let is_new = self.component_of(slot) == names::NONE;
            let node = &mut self.nodes[slot as usize];
            node.content = content_of(entry);
            let has_moved = self.names.text(node.path) != entry.path;
            if has_moved {
                node.path = self.names.keep(&entry.path);
            }
            self.intern_all(entry.build_depends.iter(), &mut numbers);
            let node = &mut self.nodes[slot as usize];
            let needs_other = self.pool.get(node.build) != numbers;
            if needs_other {
                work.compare_things(self.pool.get(node.build), &numbers, slot, |work| &mut work.build_users);
                self.pool.set(&mut node.build, &numbers);
                work.weights.insert(slot);
            }
            match &entry.manifest {
                Some(manifest) => {
                    self.intern_all(entry.run_depends.iter().chain(&manifest.depends), &mut numbers);
                }
                // What was published last is the best guess.
                None => {
                    let published = own.packages_of_source(&entry.source);
                    let published = published.flat_map(|package| &package.depends);
                    self.intern_all(entry.run_depends.iter().chain(published), &mut numbers);
                }
            }
            let node = &mut self.nodes[slot as usize];
            let runs_other = self.pool.get(node.run) != numbers;
            if runs_other {
                work.compare_things(self.pool.get(node.run), &numbers, slot, |work| &mut work.run_users);
                self.pool.set(&mut node.run, &numbers);
            }
            // Another text that needs the same, such as that of a new release, changes nothing here.
            if is_new || has_moved || needs_other || runs_other {
                work.nodes.insert(slot);
            }
        }
    }

    /// The numbers of dependencies, in order and each once.
    fn intern_all<'d>(&mut self, dependencies: impl Iterator<Item = &'d Dependency>, numbers: &mut Vec<u32>) {
        numbers.clear();
        numbers.extend(dependencies.map(|dependency| self.things.intern(&mut self.names, dependency)));
        numbers.sort_unstable();
        numbers.dedup();
    }

    /// Finds which recipes have a release that is not published yet.
    fn read_due(
        &mut self,
        catalogue: &Catalogue,
        supply: &Supply<'_>,
        again: &[(u32, u32)],
        work: &mut Work,
    ) {
        let has_generations = !supply.own.is_empty() || supply.others.iter().any(|other| !other.is_empty());
        let all_due = std::mem::replace(&mut self.has_generations, has_generations) != has_generations;
        if all_due && !work.is_first {
            for node in &self.nodes {
                work.due.extend(self.pool.get(node.offers).iter().copied());
            }
        }
        for &(slot, index) in again {
            let Some(entry) = catalogue.recipes().get(index as usize) else { continue };
            let node = &mut self.nodes[slot as usize];
            let known = if node.is_published { supply.own.source(&entry.source) } else { None };
            let is_due = known.is_none_or(|known| known.release < entry.release);
            let offers = self.pool.get(node.offers).iter().copied();
            if work.published.contains(slot) {
                work.to_check.extend(offers.clone());
            }
            if std::mem::replace(&mut node.is_due, is_due) != is_due {
                work.due.extend(offers);
                work.published.insert(slot);
            }
        }
    }

    pub(super) fn slot(&self, source: &str) -> Option<u32> {
        self.names.find(source).and_then(|name| self.names.recipe(name))
    }

    /// Brings the lists of things in line with those of recipes.
    fn apply_to_things(&mut self, work: &mut Work) {
        let (pool, things) = (&mut self.pool, &mut self.things.all);
        if work.is_first {
            let mut turn = |list: fn(&Node) -> List| {
                pool.turn(self.nodes.iter().map(list), things.len(), |slot, thing| (thing, slot))
            };
            let [build_users, run_users, providers] =
                [|node: &Node| node.build, |node: &Node| node.run, |node: &Node| node.offers].map(&mut turn);
            for (thing, ((build_users, run_users), providers)) in
                things.iter_mut().zip(build_users.into_iter().zip(run_users).zip(providers))
            {
                (thing.build_users, thing.run_users, thing.providers) = (build_users, run_users, providers);
            }
            return;
        }
        pool.apply(&mut work.build_users, things, |thing| &mut thing.build_users);
        pool.apply(&mut work.run_users, things, |thing| &mut thing.run_users);
        pool.apply(&mut work.providers, things, |thing| &mut thing.providers);
    }

    /// Finds out who has the things whose providers changed.
    fn read_supply(&mut self, supply: &Supply<'_>, work: &mut Work) {
        let others: Vec<u64> = supply.others.iter().map(|other| other.fingerprint()).collect();
        let fingerprint = fingerprint(&(others, supply.host as u8));
        let all = std::mem::replace(&mut self.supply, fingerprint) != fingerprint;
        let all_things = 0..number(self.things.len());
        let wanted: NumberSet = match all {
            true => NumberSet::default(),
            false => {
                let new = work.things_before..all_things.end;
                collect(work.to_check.iter().chain(work.things.iter()).chain(new))
            }
        };
        for thing in all_things.filter(|_| all).chain(wanted.iter()) {
            let Some(known) = self.things.get_mut(thing) else { continue };
            let (kind, name) = (known.kind, self.names.text(known.name));
            let had = Had {
                own: supply.own.has(kind, name),
                others: supply.others.iter().any(|other| other.has(kind, name)),
                host: supply.host.covers_kind(kind),
            };
            if std::mem::replace(&mut known.had, had) != had && !work.is_first {
                work.things.insert(thing);
            }
        }
    }

    /// Recipes that need what somebody else offers or has now.
    fn gather_nodes(&self, work: &mut Work) {
        for thing in work.things.iter().filter_map(|thing| self.things.get(thing)) {
            let users = self.pool.get(thing.build_users).iter().copied();
            work.nodes.extend(users.clone());
            work.weights.extend(users);
            work.nodes.extend(self.pool.get(thing.run_users).iter().copied());
        }
        let due = work.due.iter().filter_map(|thing| self.things.get(thing));
        for thing in due.filter(|thing| !thing.had.at_all()) {
            work.nodes.extend(self.pool.get(thing.run_users).iter().copied());
        }
    }

    /// Draws the edges of all recipes that may have others now.
    fn draw_edges(&mut self, work: &mut Work) {
        let mut ends = Vec::new();
        let nodes = std::mem::take(&mut work.nodes);
        for slot in nodes.iter() {
            self.needs_of(slot, &mut ends);
            let node = &mut self.nodes[slot as usize];
            let before = self.pool.get(node.needs);
            if before != ends {
                work.structure = true;
                work.compare_edges(before, &ends, slot);
                self.pool.set(&mut node.needs, &ends);
            }
        }
        work.nodes = nodes;
        if work.is_first {
            let needs = self.nodes.iter().map(|node| node.needs);
            let turned = |slot, bits| (Edge { bits }.recipe(), Edge { bits }.back_to(slot).bits);
            let needed_by = self.pool.turn(needs, self.nodes.len(), turned);
            for (node, needed_by) in self.nodes.iter_mut().zip(needed_by) {
                node.needed_by = needed_by;
            }
        }
        self.pool.apply(&mut work.needed_by, &mut self.nodes, |node| &mut node.needed_by);
    }

    /// The edges of a recipe, as its things say.
    fn needs_of(&self, slot: u32, ends: &mut Vec<u32>) {
        ends.clear();
        let Some(node) = self.nodes.get(slot as usize) else { return };
        let providers = |&thing: &u32| self.things.providers(&self.pool, thing);
        for thing in self.pool.get(node.build) {
            ends.extend(providers(thing).iter().map(|&provider| Edge::build(provider).bits));
        }
        if self.has_generations {
            let is_had = |&thing: &u32| self.things.get(thing).is_none_or(|thing| thing.had.at_all());
            for thing in self.pool.get(node.run).iter().filter(|thing| !is_had(thing)) {
                let first = providers(thing).iter().filter(|&&provider| self.nodes[provider as usize].is_due);
                ends.extend(first.map(|&provider| Edge::first_generation(provider).bits));
            }
        }
        // A recipe that needs itself is built with its own previous generation, or has an obstacle.
        ends.retain(|&bits| Edge { bits }.recipe() != slot);
        ends.sort_unstable();
        // A build edge comes before a first-generation edge to the same recipe, and is the one that stays.
        ends.dedup_by_key(|bits| Edge { bits: *bits }.recipe());
    }

    /// Things by number, as what they are.
    pub(super) fn dependencies(&self, things: std::ops::Range<u32>) -> Vec<(u32, Dependency)> {
        things.filter_map(|thing| Some((thing, self.things.dependency(&self.names, thing)?))).collect()
    }
}

fn collect(numbers: impl Iterator<Item = u32>) -> NumberSet {
    let mut set = NumberSet::default();
    set.extend(numbers);
    set
}

impl Work {
    /// Notes which things a recipe has in a list now and had not before, and the other way round. At first, nobody had
    /// anything, and all lists are turned at once.
    pub(super) fn compare_things(
        &mut self,
        before: &[u32],
        after: &[u32],
        slot: u32,
        changes: impl Fn(&mut Self) -> &mut Vec<Change>,
    ) {
        if self.is_first {
            return;
        }
        let changes = changes(self);
        names::compare(before, after, |thing, is_new| changes.push(Change::new(thing, slot, is_new)));
    }

    fn compare_edges(&mut self, before: &[u32], after: &[u32], slot: u32) {
        if self.is_first {
            return;
        }
        let lost_before = self.lost_edges.len();
        names::compare(before, after, |bits, is_new| {
            let edge = Edge { bits };
            self.needed_by.push(Change::new(edge.recipe(), edge.back_to(slot).bits, is_new));
            match is_new {
                true => self.new_edges.push((slot, edge.recipe())),
                false => self.lost_edges.push(slot),
            }
        });
        self.lost_edges.truncate(lost_before + 1);
    }
}
