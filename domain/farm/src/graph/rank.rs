//! Components, the order of all recipes, and levels, after edges changed.
//!
//! The order of all recipes has every component after all that it needs. An edge that is new and points forward in it
//! may close a circle, but only among the components between its ends: only these are looked at again. The same holds for
//! a component that lost an edge.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::components::components;
use super::draw::Work;
use super::names::{Map, NONE, Name, fingerprint, number};
use super::order::{Need, order};
use super::{Edge, Graph};
use crate::ids::RecipeId;
use crate::number_set::NumberSet;

/// Weight of an edge along which there is a previous generation: a circle is broken where it costs the fewest of these.
const PREVIOUS_GENERATION: i64 = 1;

/// Weight of a first-generation edge: what is published before it cannot be installed for a while.
const FIRST_GENERATION: i64 = 20;

/// Weight of an edge that cannot be deferred, because what is needed is nowhere yet: more than any knot has others.
const UNBREAKABLE: i64 = 1_000_000;

/// Orders of knots that are remembered: a release more or a publication changes no edge, and a change is often taken back.
const KNOT_ORDERS_MAX: usize = 64;

impl Graph {
    /// For each recipe, by number, the recipes on the longest way that ends there from one that nobody needs, itself and
    /// whole knots included: the higher, the sooner it must begin.
    #[must_use]
    pub fn heights(&self) -> Vec<usize> {
        let mut heights = vec![0; self.slots()];
        for component in (0..self.component_count()).rev() {
            let members = self.component_members(component);
            let above = members.iter().flat_map(|&member| self.ordered_before(member));
            let outside = above.filter(|&user| self.component(user) != component);
            let height = outside.map(|user| heights[user.index()]).max().unwrap_or(0) + members.len();
            for member in members {
                heights[member.index()] = height;
            }
        }
        heights
    }

    /// Brings components, order and levels in line with the edges. Adds to the nodes those whose place in a knot is
    /// another.
    pub(super) fn rank(&mut self, work: &mut Work) {
        self.append_new(work);
        let mut dirty = std::mem::take(&mut work.weights);
        dirty.extend(work.lost_edges.iter().copied());
        dirty.extend(work.new_edges.iter().map(|&(user, _)| user));
        let regions = self.regions(work, &dirty);
        let mut to_level = NumberSet::default();
        if !regions.is_empty() {
            let regions = self.rearrange(&regions, &dirty, work);
            to_level.extend(regions.into_iter().flatten());
        }
        let changed = work.lost_edges.iter().chain(work.new_edges.iter().map(|(user, _)| user));
        to_level.extend(changed.map(|&slot| self.component_of(slot)));
        to_level.extend((0..number(self.component_count())).filter(|_| work.is_first));
        self.level_from(to_level);
    }

    /// New recipes are components of their own at the end until their edges are looked at.
    fn append_new(&mut self, work: &mut Work) {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        for &slot in work.nodes.sorted() {
            if self.component_of(slot) == NONE {
                self.places[slot as usize] = number(self.order.len());
                self.component_of[slot as usize] = number(self.starts.len() - 1);
                self.order.push(RecipeId(slot));
                self.starts.push(number(self.order.len()));
            }
        }
    }

    /// Ranges of components that have to be looked at again, in order and apart from each other. `dirty` are the recipes
    /// whose edges are others, or have other weights.
    fn regions(&self, work: &Work, dirty: &NumberSet) -> Vec<Range<u32>> {
        let component = |slot: u32| self.component_of(slot);
        let mut wanted: Vec<Range<u32>> = Vec::new();
        wanted.extend(work.removed.iter().map(|&slot| component(slot)..component(slot) + 1));
        // Weights inside a knot may have changed, or an edge that held it together may be gone.
        let in_knots = dirty.iter().filter(|&slot| self.knot_of(RecipeId(slot)).is_some());
        wanted.extend(in_knots.map(|slot| component(slot)..component(slot) + 1));
        let forward = |user: u32, needed: u32| {
            (component(user) < component(needed)).then(|| component(user)..component(needed) + 1)
        };
        if work.is_first {
            let furthest = |user: u32| {
                self.ordered_after(RecipeId(user))
                    .map(|needed| needed.0)
                    .max_by_key(|&needed| component(needed))
            };
            let users = (0..number(self.nodes.len())).filter_map(|user| forward(user, furthest(user)?));
            wanted.extend(users);
        }
        wanted.extend(work.new_edges.iter().filter_map(|&(user, needed)| forward(user, needed)));
        wanted.sort_unstable_by_key(|region| region.start);
        let mut regions: Vec<Range<u32>> = Vec::new();
        for region in wanted {
            match regions.last_mut() {
                Some(last) if region.start < last.end => last.end = last.end.max(region.end),
                _ => regions.push(region),
            }
        }
        regions
    }

    /// Finds the components of each region anew, and numbers what has other numbers now. Returns the regions as they are
    /// numbered then.
    fn rearrange(&mut self, regions: &[Range<u32>], dirty: &NumberSet, work: &mut Work) -> Vec<Range<u32>> {
        let Some(first) = regions.first().map(|region| region.start) else { return Vec::new() };
        let mut starts = Vec::with_capacity(self.starts.len());
        starts.extend(self.starts.iter().take(first as usize + 1));
        let mut order = Vec::with_capacity(self.order.len());
        order.extend(self.order.iter().take(starts.last().map_or(0, |&start| start as usize)));
        let mut renumbered = Vec::with_capacity(regions.len());
        let mut component = first;
        for region in regions {
            self.copy_components(component..region.start, &mut order, &mut starts);
            let begin = number(starts.len() - 1);
            self.components_of(region, dirty, work, &mut order, &mut starts);
            renumbered.push(begin..number(starts.len() - 1));
            component = region.end;
        }
        self.copy_components(component..number(self.component_count()), &mut order, &mut starts);
        let has_moved = renumbered != regions || order.len() != self.order.len();
        self.order = order;
        self.starts = starts;
        // Orders that were used now or before; forgotten when they are many more than there are knots.
        if self.knot_orders.len() > KNOT_ORDERS_MAX {
            self.knot_orders.clear();
        }
        self.knot_orders.extend(std::mem::take(&mut work.knot_orders));
        match has_moved {
            true => self.number_components(first..number(self.component_count())),
            false => renumbered.iter().cloned().for_each(|region| self.number_components(region)),
        }
        renumbered
    }

    fn copy_components(&self, components: Range<u32>, order: &mut Vec<RecipeId>, starts: &mut Vec<u32>) {
        for component in components {
            order.extend_from_slice(self.component_members(component as usize));
            starts.push(number(order.len()));
        }
    }

    fn number_components(&mut self, components: Range<u32>) {
        for component in components {
            for place in self.starts[component as usize]..self.starts[component as usize + 1] {
                let slot = self.order[place as usize].index();
                self.component_of[slot] = component;
                self.places[slot] = place;
            }
        }
    }

    /// Adds the components among the recipes of a range of components, without removed recipes.
    fn components_of(
        &self,
        region: &Range<u32>,
        dirty: &NumberSet,
        work: &mut Work,
        order: &mut Vec<RecipeId>,
        starts: &mut Vec<u32>,
    ) {
        let at = |component: u32| self.starts.get(component as usize).copied().unwrap_or(0);
        let (begin, end) = (at(region.start), at(region.end));
        let members = self.order.get(begin as usize..end as usize).unwrap_or_default();
        let ends = |local: u32| match members.get(local as usize) {
            Some(member) => self.pool.get(self.nodes[member.index()].needs),
            None => &[],
        };
        let local = |bits: u32| {
            let place = self.place(RecipeId(Edge { bits }.recipe()));
            (begin..end).contains(&place).then(|| place - begin)
        };
        let (found, ends) = components(members.len(), ends, local);
        let mut from = 0;
        for end in ends {
            let component = found.get(from..end as usize).unwrap_or_default();
            let component = component.iter().filter_map(|&local| members.get(local as usize).copied());
            let mut component = component.filter(|member| self.nodes[member.index()].exists);
            from = end as usize;
            match (component.next(), component.next()) {
                (None, _) => continue,
                (Some(single), None) => {
                    // If it left a knot, nothing of it is deferred any more.
                    if self.knot_of(single).is_some() {
                        work.nodes.insert(single.0);
                    }
                    order.push(single);
                }
                (Some(first), Some(second)) => {
                    let members: Vec<RecipeId> = [first, second].into_iter().chain(component).collect();
                    order.extend(self.order_of_knot(members, dirty, work));
                }
            }
            starts.push(number(order.len()));
        }
    }

    /// The order inside a knot: the one that it had, where nothing changed inside.
    fn order_of_knot(&self, mut members: Vec<RecipeId>, dirty: &NumberSet, work: &mut Work) -> Vec<RecipeId> {
        let component = members.first().map_or(usize::MAX, |&member| self.component(member));
        let known = self.component_members(component);
        let is_same = known.len() == members.len()
            && members.iter().all(|&member| self.component(member) == component && !dirty.contains(member.0));
        if is_same {
            return known.to_vec();
        }
        // Names do not depend on how the graph came to be what it is.
        members.sort_unstable_by_key(|&member| self.source(member));
        let needs = self.needs_inside(&members);
        let names: Vec<Name> = members.iter().map(|member| self.nodes[member.index()].source).collect();
        let known_as = fingerprint(&(&members, &names, &needs));
        let order = match self.knot_orders.get(&known_as) {
            Some(order) => order.clone(),
            None => {
                let order = order(members.len(), &needs).into_iter();
                order.filter_map(|local| members.get(local as usize).copied()).collect()
            }
        };
        if order != known {
            work.structure = true;
            work.nodes.extend(order.iter().map(|member| member.0));
        }
        work.knot_orders.insert(known_as, order.clone());
        order
    }

    /// The edges between the members of a knot, by their places in the list.
    fn needs_inside(&self, members: &[RecipeId]) -> Vec<Need> {
        let local: Map<u32, u32> = members.iter().zip(0..).map(|(member, local)| (member.0, local)).collect();
        let mut needs = Vec::new();
        for (&member, user) in members.iter().zip(0..) {
            let nowhere = self.nowhere(member.0);
            for edge in self.ends(member, |node| node.needs) {
                let Some(&needed) = local.get(&edge.recipe()) else { continue };
                needs.push(Need { user, needed, weight: weight(edge, &nowhere) });
            }
        }
        needs
    }

    /// Recipes of which something is needed for the build of `slot` that nobody has yet.
    fn nowhere(&self, slot: u32) -> Vec<u32> {
        let build = self.nodes.get(slot as usize).map_or(&[][..], |node| self.pool.get(node.build));
        let nowhere =
            build.iter().filter_map(|&thing| self.things.get(thing)).filter(|thing| !thing.had.at_all());
        nowhere.flat_map(|thing| self.pool.get(thing.providers).iter().copied()).collect()
    }

    /// Levels of these components and of all that stand on them.
    fn level_from(&mut self, mut wanted: NumberSet) {
        // What stands on a component comes after it.
        let mut components: BinaryHeap<Reverse<u32>> = wanted.sorted().iter().copied().map(Reverse).collect();
        while let Some(Reverse(component)) = components.pop() {
            let members = self.component_members(component as usize);
            let needed = members.iter().flat_map(|&member| self.ordered_after(member));
            let outside = needed.filter(|needed| self.component_of(needed.0) != component);
            let level = outside.map(|needed| self.levels[needed.index()] + 1).max().unwrap_or(0);
            let (begin, end) = (self.starts[component as usize], self.starts[component as usize + 1]);
            for place in begin..end {
                let recipe = self.order[place as usize];
                if std::mem::replace(&mut self.levels[recipe.index()], level) == level {
                    continue;
                }
                for user in self.ordered_before(recipe) {
                    let above = self.component_of(user.0);
                    if above != component && wanted.insert(above) {
                        components.push(Reverse(above));
                    }
                }
            }
        }
    }
}

fn weight(edge: Edge, nowhere: &[u32]) -> i64 {
    if !edge.is_build() {
        FIRST_GENERATION
    } else if nowhere.contains(&edge.recipe()) {
        UNBREAKABLE
    } else {
        PREVIOUS_GENERATION
    }
}
