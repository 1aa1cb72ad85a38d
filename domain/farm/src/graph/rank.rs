//! Components, the order of all recipes, and levels, after edges changed.
//!
//! The order of all recipes has every component after all that it needs. An edge that is new and points forward in it
//! may close a circle, but only among the components between its ends: only these are looked at again. The same holds for
//! a component that lost an edge.

use std::collections::BTreeSet;
use std::ops::Range;

use super::components::{Edges, components};
use super::draw::Work;
use super::names::{Map, NONE, Name, Set, fingerprint, number};
use super::order::{Need, order};
use super::{Edge, Graph};
use crate::ids::RecipeId;

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
        let regions = self.regions(work);
        let mut to_level: BTreeSet<u32> = BTreeSet::new();
        if let Some(first) = regions.first().map(|region| region.start) {
            self.rearrange(&regions, work);
            // Components of a region may have become more or fewer: everything from the first on is looked at, which is
            // cheap where nothing changes.
            to_level.extend(first..number(self.component_count()));
        }
        let changed = work.lost_edges.iter().chain(work.new_edges.iter().map(|(user, _)| user));
        to_level.extend(changed.map(|&slot| self.nodes[slot as usize].component));
        self.level_from(to_level);
    }

    /// New recipes are components of their own at the end until their edges are looked at.
    fn append_new(&mut self, work: &Work) {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        for &slot in &work.nodes {
            let node = &mut self.nodes[slot as usize];
            if node.component == NONE {
                node.place = number(self.order.len());
                node.component = number(self.starts.len() - 1);
                self.order.push(RecipeId(slot));
                self.starts.push(number(self.order.len()));
            }
        }
    }

    /// Ranges of components that have to be looked at again, in order and apart from each other.
    fn regions(&self, work: &Work) -> Vec<Range<u32>> {
        let mut wanted: Vec<Range<u32>> = Vec::new();
        let component = |slot: u32| self.nodes[slot as usize].component;
        for &slot in &work.removed {
            wanted.push(component(slot)..component(slot) + 1);
        }
        for &slot in &work.nodes {
            // Weights inside a knot may have changed, or an edge that held it together may be gone.
            if self.component_members(component(slot) as usize).len() > 1 {
                wanted.push(component(slot)..component(slot) + 1);
            }
        }
        for &(user, needed) in &work.new_edges {
            if component(user) < component(needed) {
                wanted.push(component(user)..component(needed) + 1);
            }
        }
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

    /// Finds the components of each region anew, and numbers everything from the first region on.
    fn rearrange(&mut self, regions: &[Range<u32>], work: &mut Work) {
        let dirty: Set<u32> = work.nodes.iter().copied().collect();
        let Some(first) = regions.first().map(|region| region.start) else { return };
        let mut starts = self.starts.clone();
        starts.truncate(first as usize + 1);
        let mut order = self.order.clone();
        order.truncate(starts.last().copied().unwrap_or(0) as usize);
        let mut component = first;
        for region in regions {
            for same in component..region.start {
                order.extend_from_slice(self.component_members(same as usize));
                starts.push(number(order.len()));
            }
            for members in self.components_of(region) {
                let members = match members.as_slice() {
                    [single] if self.knot_of(*single).is_none() => members,
                    // It left a knot: nothing of it is deferred any more.
                    [single] => {
                        work.nodes.insert(single.0);
                        members
                    }
                    _ => self.order_of_knot(members, &dirty, work),
                };
                order.extend_from_slice(&members);
                starts.push(number(order.len()));
            }
            component = region.end;
        }
        for same in component..number(self.component_count()) {
            order.extend_from_slice(self.component_members(same as usize));
            starts.push(number(order.len()));
        }
        self.order = order;
        self.starts = starts;
        // Orders that were used now or before; forgotten when they are many more than there are knots.
        if self.knot_orders.len() > KNOT_ORDERS_MAX {
            self.knot_orders.clear();
        }
        self.knot_orders.extend(std::mem::take(&mut work.knot_orders));
        for component in first as usize..self.component_count() {
            for place in self.starts[component]..self.starts[component + 1] {
                let node = &mut self.nodes[self.order[place as usize].index()];
                node.component = number(component);
                node.place = place;
            }
        }
    }

    /// The components among the recipes of a range of components, without removed ones.
    fn components_of(&self, region: &Range<u32>) -> Vec<Vec<RecipeId>> {
        let at = |component: u32| self.starts.get(component as usize).copied().unwrap_or(0);
        let (begin, end) = (at(region.start), at(region.end));
        let members = self.order.get(begin as usize..end as usize).unwrap_or_default();
        let mut edges = Edges::new();
        for member in members {
            let places =
                self.nodes[member.index()].needs.iter().map(|edge| self.nodes[edge.recipe() as usize].place);
            edges.push(places.filter(|place| (begin..end).contains(place)).map(|place| place - begin));
        }
        let (found, ends) = components(&edges);
        let mut all = Vec::with_capacity(ends.len());
        let mut from = 0;
        for end in ends {
            let component = found.get(from..end as usize).unwrap_or_default();
            let component = component.iter().filter_map(|&local| members.get(local as usize));
            let component: Vec<RecipeId> =
                component.copied().filter(|member| self.nodes[member.index()].exists).collect();
            if !component.is_empty() {
                all.push(component);
            }
            from = end as usize;
        }
        all
    }

    /// The order inside a knot: the one that it had, where nothing changed inside.
    fn order_of_knot(&self, mut members: Vec<RecipeId>, dirty: &Set<u32>, work: &mut Work) -> Vec<RecipeId> {
        let component = members.first().map_or(usize::MAX, |&member| self.component(member));
        let known = self.component_members(component);
        let is_same = known.len() == members.len()
            && members
                .iter()
                .all(|&member| self.component(member) == component && !dirty.contains(&member.0));
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
        for (member, user) in members.iter().zip(0..) {
            let nowhere = self.nowhere(member.0);
            for edge in &self.nodes[member.index()].needs {
                let Some(&needed) = local.get(&edge.recipe()) else { continue };
                needs.push(Need { user, needed, weight: weight(*edge, &nowhere) });
            }
        }
        needs
    }

    /// Recipes of which something is needed for the build of `slot` that nobody has yet.
    fn nowhere(&self, slot: u32) -> Vec<u32> {
        let things = self.nodes[slot as usize].build.iter().filter_map(|&thing| self.things.get(thing));
        let nowhere = things.filter(|thing| !thing.had.at_all());
        nowhere.flat_map(|thing| thing.providers.iter().copied()).collect()
    }

    /// Levels of these components and of all that stand on them.
    fn level_from(&mut self, mut wanted: BTreeSet<u32>) {
        while let Some(component) = wanted.pop_first() {
            let members = self.component_members(component as usize);
            let needed = members.iter().flat_map(|member| &self.nodes[member.index()].needs);
            let needed = needed.map(|edge| &self.nodes[edge.recipe() as usize]);
            let outside = needed.filter(|node| node.component != component);
            let level = outside.map(|node| node.level + 1).max().unwrap_or(0);
            let (begin, end) = (self.starts[component as usize], self.starts[component as usize + 1]);
            for place in begin..end {
                let slot = self.order[place as usize].index();
                if self.nodes[slot].level == level {
                    continue;
                }
                self.nodes[slot].level = level;
                for user in 0..self.nodes[slot].needed_by.len() {
                    let user = self.nodes[slot].needed_by[user].recipe();
                    let above = self.nodes[user as usize].component;
                    if above != component {
                        wanted.insert(above);
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
