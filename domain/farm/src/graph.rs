//! Who needs whom, to be built and at run time.
//!
//! A *build edge* goes from a recipe to every recipe that offers one of its build dependencies, by manifest, by package
//! name or by what its published packages offer. A *run edge* goes to every recipe that offers what its packages need at
//! run time. Run edges do not order builds, with one exception: what a package needs at run time and nobody ever
//! published must be there before the package is, or nobody could install it. Such a *first-generation edge* orders builds
//! like a build edge for as long as it is needed.
//!
//! No edge is ever dropped. Recipes that need each other form a *knot* (a strongly connected component); within a knot some
//! edges cannot be waited for, and exactly those are deferred: along them a recipe is built against the previous generation
//! of the other. Where there is no previous generation, no other repository and no host to help, the recipe has an
//! [`Obstacle`] that names what is missing. A first-generation edge that is deferred is no obstacle: recipes know what their
//! packages need only all together, so a build that could go well would be forbidden.
//!
//! The graph is drawn once and then follows changes: [`Graph::update`] costs a comparison with what was there and otherwise
//! as much as what changed. A graph that followed all changes says the same as one that was drawn afresh, except for the
//! numbers of recipes and components.
//!
//! What it does not do: it knows no tasks ([`crate::queue`] does), and does not judge which packages of several that
//! offer the same should be taken: it waits for all.

mod compare;
mod components;
mod draw;
mod names;
mod obstacles;
mod offers;
mod order;
mod pool;
mod rank;
mod summary;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Weak;

use package::{Dependency, DependencyKind};
use serde::{Deserialize, Serialize};

use crate::catalogue::RecipeEntry;
use crate::ids::RecipeId;
use crate::published::Published;
use names::{Map, NONE, Name, Names, Things};
use pool::{List, Pool};
pub use summary::{DeferredNeed, GraphSummary, UnreadableRecipe, UnresolvedNeed};

/// What the machine that builds has besides our own packages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostProvides {
    /// Nothing: the build root is made of packages only.
    #[default]
    Nothing,
    /// Programs: `binary(…)` and `sysbinary(…)` that no recipe offers are left to the host.
    Binaries,
    /// Everything that no recipe offers is left to the host, which then has it or not.
    Everything,
}

impl HostProvides {
    /// Whether the host is trusted to have `dependency`.
    #[must_use]
    pub fn covers(self, dependency: &Dependency) -> bool {
        self.covers_kind(dependency.kind)
    }

    fn covers_kind(self, kind: DependencyKind) -> bool {
        match self {
            HostProvides::Nothing => false,
            HostProvides::Binaries => {
                matches!(kind, DependencyKind::Binary | DependencyKind::SystemBinary)
            }
            HostProvides::Everything => true,
        }
    }
}

/// Where builds get what no recipe of the catalogue makes, and the previous generation of what one does.
#[derive(Debug, Clone, Copy)]
pub struct Supply<'a> {
    /// The repository that is published to.
    pub own: &'a Published,
    /// Further repositories, by falling priority.
    pub others: &'a [&'a Published],
    /// The machine that builds.
    pub host: HostProvides,
}

/// What keeps a recipe from ever being built, whatever becomes of the tasks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Obstacle {
    /// Nobody offers a build dependency.
    Unresolved {
        /// The dependency.
        dependency: Dependency,
    },
    /// A build dependency is there, and cannot be installed.
    Uninstallable {
        /// The build dependency.
        dependency: Dependency,
        /// The published package in its way.
        package: String,
        /// What that package needs and nobody offers.
        needs: Dependency,
    },
    /// The recipe that most likely offers a build dependency cannot be read.
    Unreadable {
        /// Path of that recipe.
        path: String,
    },
    /// Recipes of the same knot come later in its order, or it is the recipe itself, and what is needed of them has no
    /// previous generation: nobody has it to begin with.
    Knot {
        /// Their source names, with what is needed of each.
        needs: Vec<(String, Dependency)>,
    },
}

/// What an update changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Recipes that are new, gone, or whose edges, place, supply or obstacles may be others than before; in order.
    pub recipes: Vec<RecipeId>,
    /// Whether edges, components or the order inside a knot changed.
    pub structure: bool,
}

impl Touched {
    /// Whether everything is as before.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recipes.is_empty() && !self.structure
    }
}

/// An end of an edge that orders builds. In order by recipe, a build edge before a first-generation edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edge {
    /// The recipe at the other end, and in the lowest bit whether no build dependency makes the edge.
    bits: u32,
}

impl Edge {
    fn build(recipe: u32) -> Self {
        Self { bits: recipe << 1 }
    }

    fn first_generation(recipe: u32) -> Self {
        Self { bits: recipe << 1 | 1 }
    }

    fn recipe(self) -> u32 {
        self.bits >> 1
    }

    fn is_build(self) -> bool {
        self.bits & 1 == 0
    }

    /// The same edge as seen from the other end.
    fn back_to(self, recipe: u32) -> Self {
        Self { bits: recipe << 1 | self.bits & 1 }
    }
}

/// One recipe among the others.
#[derive(Debug, Clone)]
struct Node {
    path: Name,
    source: Name,
    /// Fingerprint of what the catalogue says.
    content: u64,
    /// Whether there is such a recipe: places of removed ones are used again.
    exists: bool,
    /// Whether our own repository has anything of it.
    is_published: bool,
    /// Whether our own repository has not got this release yet.
    is_due: bool,
    /// Whether a published package of it may need at run time what nobody offers.
    lacks_something: bool,
    /// What it needs for its build.
    build: List,
    /// What its packages need at run time.
    run: List,
    /// What of the things that anybody needs it offers.
    offers: List,
    /// Its edges, to what it needs.
    needs: List,
    /// The other ends of the edges to it.
    needed_by: List,
}

/// What our own repository has of a source.
#[derive(Debug, Clone, Copy)]
struct PublishedRow {
    source: Name,
    fingerprint: u64,
}

/// The graph of a catalogue.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    names: Names,
    things: Things,
    /// The numbers of all lists of nodes and things.
    pool: Pool,
    nodes: Vec<Node>,
    /// Place of each recipe in the order of all; none for a place without a recipe.
    places: Vec<u32>,
    /// Index of the component of each recipe.
    component_of: Vec<u32>,
    /// Level of each recipe.
    levels: Vec<u32>,
    /// Places of removed recipes.
    free: Vec<u32>,
    /// What our own repository has of sources without a recipe: all such sources, with what they offer.
    strays: Map<Name, Vec<u32>>,
    /// Recipes in the order of their components, each component after all that it needs; inside a knot in its order.
    order: Vec<RecipeId>,
    /// Where each component begins in `order`, and at last where the last one ends.
    starts: Vec<u32>,
    /// Orders of knots by a fingerprint of all that they follow from.
    knot_orders: Map<u64, Vec<RecipeId>>,
    /// Recipes that can never be built as things are.
    obstacles: BTreeMap<u32, Vec<Obstacle>>,
    /// Paths of recipes that cannot be read.
    unreadable: Vec<String>,
    /// The recipe of each entry of the catalogue that was followed last, by path.
    catalogue_order: Vec<u32>,
    /// These entries, to know them again. They keep nothing in memory but the place of the entry itself.
    entries: Vec<Weak<RecipeEntry>>,
    /// What our own repository has, by name of the source.
    rows: Vec<PublishedRow>,
    /// What our own repository has, as a fingerprint.
    own: u64,
    /// What the further repositories and the host have, as a fingerprint.
    supply: u64,
    /// Whether anybody published anything: before, there are no generations to tell apart.
    has_generations: bool,
}

impl Graph {
    fn node(&self, id: RecipeId) -> Option<&Node> {
        self.nodes.get(id.index()).filter(|node| node.exists)
    }

    /// The recipe at this path.
    #[must_use]
    pub fn recipe(&self, path: &str) -> Option<RecipeId> {
        let path_of = |slot: &u32| self.path(RecipeId(*slot));
        let found = self.catalogue_order.binary_search_by(|slot| path_of(slot).cmp(path)).ok()?;
        self.catalogue_order.get(found).copied().map(RecipeId)
    }

    /// The recipe with this source name.
    #[must_use]
    pub fn by_source(&self, source: &str) -> Option<RecipeId> {
        self.names.find(source).and_then(|name| self.names.recipe(name)).map(RecipeId)
    }

    /// All recipes, by number.
    pub fn recipes(&self) -> impl Iterator<Item = RecipeId> {
        (0..).zip(&self.nodes).filter(|(_, node)| node.exists).map(|(id, _)| RecipeId(id))
    }

    /// How many recipes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no recipe.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// One more than the highest number that a recipe has, for tables by recipe.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.nodes.len()
    }

    /// Source name of a recipe; empty when there is none of this number.
    #[must_use]
    pub fn source(&self, id: RecipeId) -> &str {
        self.node(id).map_or("", |node| self.names.text(node.source))
    }

    /// Path of a recipe; empty when there is none of this number.
    #[must_use]
    pub fn path(&self, id: RecipeId) -> &str {
        self.node(id).map_or("", |node| self.names.text(node.path))
    }

    fn ends(&self, id: RecipeId, of: impl Fn(&Node) -> List) -> impl Iterator<Item = Edge> {
        let ends = self.nodes.get(id.index()).map_or(&[][..], |node| self.pool.get(of(node)));
        ends.iter().map(|&bits| Edge { bits })
    }

    fn place(&self, id: RecipeId) -> u32 {
        self.places.get(id.index()).copied().unwrap_or(NONE)
    }

    /// Recipes that this one needs to be built, by number.
    pub fn needs(&self, id: RecipeId) -> impl Iterator<Item = RecipeId> {
        self.ends(id, |node| node.needs).filter(|edge| edge.is_build()).map(|edge| RecipeId(edge.recipe()))
    }

    /// Recipes that need this one to be built, by number.
    pub fn needed_by(&self, id: RecipeId) -> impl Iterator<Item = RecipeId> {
        self.ends(id, |node| node.needed_by)
            .filter(|edge| edge.is_build())
            .map(|edge| RecipeId(edge.recipe()))
    }

    /// Recipes of whose first generation this one has to wait, besides those that it needs to be built.
    pub fn first_generations(&self, id: RecipeId) -> impl Iterator<Item = RecipeId> {
        self.ends(id, |node| node.needs).filter(|edge| !edge.is_build()).map(|edge| RecipeId(edge.recipe()))
    }

    /// All that come before this one if it can be helped: build edges and first-generation edges, deferred or not.
    pub fn ordered_after(&self, id: RecipeId) -> impl Iterator<Item = RecipeId> {
        self.ends(id, |node| node.needs).map(|edge| RecipeId(edge.recipe()))
    }

    /// All that come after this one if it can be helped: the reverse of [`Graph::ordered_after`].
    pub fn ordered_before(&self, id: RecipeId) -> impl Iterator<Item = RecipeId> {
        self.ends(id, |node| node.needed_by).map(|edge| RecipeId(edge.recipe()))
    }

    /// Those of [`Graph::ordered_after`] that a build of this one waits for: all but the deferred ones.
    pub fn waits_for(&self, id: RecipeId) -> impl Iterator<Item = RecipeId> {
        self.ordered_after(id).filter(move |&needed| self.is_in_order(needed, id))
    }

    /// Those whose builds wait for this one: the reverse of [`Graph::waits_for`].
    pub fn waited_for_by(&self, id: RecipeId) -> impl Iterator<Item = RecipeId> {
        self.ordered_before(id).filter(move |&user| self.is_in_order(id, user))
    }

    /// Recipes whose packages the packages of this one need at run time, by number.
    pub fn run_needs(&self, id: RecipeId) -> impl Iterator<Item = RecipeId> {
        let things = self.node(id).map_or(&[][..], |node| self.pool.get(node.run));
        let providers =
            things.iter().filter_map(|&thing| self.things.get(thing)).map(|thing| thing.providers);
        let mut found: Vec<u32> = providers.flat_map(|list| self.pool.get(list).iter().copied()).collect();
        found.retain(|&recipe| recipe != id.0);
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(RecipeId)
    }

    /// The dependencies that make the edge from `user` to `needed`, in order: build dependencies, or for a
    /// first-generation edge what the packages of `user` need at run time.
    #[must_use]
    pub fn because(&self, user: RecipeId, needed: RecipeId) -> Vec<Dependency> {
        let Some(node) = self.node(user) else { return Vec::new() };
        let is_build = self.ends(user, |node| node.needs).any(|edge| edge == Edge::build(needed.0));
        let things = if is_build { node.build } else { node.run };
        let things = self.pool.get(things).iter();
        let mut found: Vec<Dependency> = things
            .filter(|&&thing| self.things.providers(&self.pool, thing).contains(&needed.0))
            .filter_map(|&thing| self.things.dependency(&self.names, thing))
            .collect();
        found.sort();
        found
    }

    /// Build dependencies that no recipe offers and `wanted` has said yes to, in order.
    fn without_recipe(&self, id: RecipeId, wanted: impl Fn(names::Had) -> bool) -> Vec<Dependency> {
        let Some(node) = self.node(id) else { return Vec::new() };
        let things = self.pool.get(node.build).iter();
        let mut found: Vec<Dependency> = things
            .filter(|&&thing| {
                let is_wanted = self.things.get(thing).is_some_and(|thing| wanted(thing.had));
                is_wanted && self.things.providers(&self.pool, thing).is_empty()
            })
            .filter_map(|&thing| self.things.dependency(&self.names, thing))
            .collect();
        found.sort();
        found
    }

    /// Build dependencies that nobody offers, in order.
    #[must_use]
    pub fn unresolved(&self, id: RecipeId) -> Vec<Dependency> {
        self.without_recipe(id, |had| !had.at_all())
    }

    /// Build dependencies that some repository offers and no recipe does, in order.
    #[must_use]
    pub fn from_repository(&self, id: RecipeId) -> Vec<Dependency> {
        self.without_recipe(id, |had| had.own || had.others)
    }

    /// Build dependencies that are left to the host, in order.
    #[must_use]
    pub fn from_host(&self, id: RecipeId) -> Vec<Dependency> {
        self.without_recipe(id, |had| had.host && !had.own && !had.others)
    }

    /// What keeps the recipe from ever being built, in order.
    #[must_use]
    pub fn obstacles(&self, id: RecipeId) -> &[Obstacle] {
        self.obstacles.get(&id.0).map_or(&[], Vec::as_slice)
    }

    /// Index of the component of a recipe. Updates change it.
    #[must_use]
    pub fn component(&self, id: RecipeId) -> usize {
        self.node(id).map_or(usize::MAX, |_| self.component_of(id.0) as usize)
    }

    fn component_of(&self, slot: u32) -> u32 {
        self.component_of.get(slot as usize).copied().unwrap_or(NONE)
    }

    /// How many components there are.
    #[must_use]
    pub fn component_count(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The members of the component of this index, in the order in which they are built.
    #[must_use]
    pub fn component_members(&self, component: usize) -> &[RecipeId] {
        let at = |index: usize| self.starts.get(index).map(|&start| start as usize);
        match (at(component), at(component + 1)) {
            (Some(begin), Some(end)) => self.order.get(begin..end).unwrap_or_default(),
            _ => &[],
        }
    }

    /// Components, each after everything that it needs; inside, members in the order in which they are built.
    pub fn components(&self) -> impl Iterator<Item = &[RecipeId]> {
        (0..self.component_count()).map(|component| self.component_members(component))
    }

    /// Components of recipes that need each other.
    pub fn knots(&self) -> impl Iterator<Item = &[RecipeId]> {
        self.components().filter(|members| members.len() > 1)
    }

    /// Index of the knot that a recipe belongs to.
    #[must_use]
    pub fn knot_of(&self, id: RecipeId) -> Option<usize> {
        self.node(id)?;
        let component = self.component_of(id.0) as usize;
        (self.component_members(component).len() > 1).then_some(component)
    }

    /// All recipes in an order in which they could be built one after another.
    #[must_use]
    pub fn build_order(&self) -> &[RecipeId] {
        &self.order
    }

    /// Where a recipe is in the build order.
    #[must_use]
    pub fn place_of(&self, id: RecipeId) -> Option<usize> {
        Some(self.place(id)).filter(|&place| place != NONE).map(|place| place as usize)
    }

    /// Whether `left` comes before `right` in the build order.
    #[must_use]
    pub fn is_in_order(&self, left: RecipeId, right: RecipeId) -> bool {
        let right = self.place(right);
        self.place(left) < right && right != NONE
    }

    /// 0 for a recipe that needs no other, else one more than the highest level that its component needs.
    #[must_use]
    pub fn level(&self, id: RecipeId) -> usize {
        self.node(id).map_or(0, |_| self.levels.get(id.index()).map_or(0, |&level| level as usize))
    }

    /// How many levels there are.
    #[must_use]
    pub fn level_count(&self) -> usize {
        self.recipes().map(|recipe| self.level(recipe) + 1).max().unwrap_or(0)
    }

    /// Whether `user` is built against the previous generation of `needed`: both are in one knot, and `needed` comes later
    /// in its order. An edge that does not exist is never deferred.
    #[must_use]
    pub fn is_deferred(&self, user: RecipeId, needed: RecipeId) -> bool {
        self.component_of(user.0) == self.component_of(needed.0)
            && self.is_in_order(user, needed)
            && self.ordered_after(user).any(|found| found == needed)
    }

    /// Recipes that this one needs, whose previous generation it is built against, by number.
    pub fn deferred(&self, id: RecipeId) -> impl Iterator<Item = RecipeId> {
        let is_later = move |&needed: &RecipeId| {
            self.component_of(id.0) == self.component_of(needed.0) && self.is_in_order(id, needed)
        };
        self.ordered_after(id).filter(is_later)
    }

    /// How many build edges there are.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.recipes().map(|recipe| self.needs(recipe).count()).sum()
    }

    /// How many first-generation edges there are.
    #[must_use]
    pub fn first_generation_count(&self) -> usize {
        self.recipes().map(|recipe| self.first_generations(recipe).count()).sum()
    }

    /// How many run edges there are.
    #[must_use]
    pub fn run_edge_count(&self) -> usize {
        self.recipes().map(|recipe| self.run_needs(recipe).count()).sum()
    }
}
