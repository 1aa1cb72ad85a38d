//! A graph in figures, for people and tools.

use std::collections::BTreeSet;

use package::Dependency;
use schemars::JsonSchema;
use serde::Serialize;

use super::Graph;
use crate::catalogue::{Catalogue, RecipeEntry, Unreadable};
use crate::ids::RecipeId;

/// A graph in figures, with everything that somebody might have to do something about.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct GraphSummary {
    /// How many recipes there are.
    pub recipes: usize,
    /// Pairs of recipes of which one needs the other to be built.
    pub build_edges: usize,
    /// Pairs of recipes of which packages of one need packages of the other at run time.
    pub run_edges: usize,
    /// Those of the run edges along which builds wait all the same, because nothing is published yet that would serve.
    pub first_generation_edges: usize,
    /// Build dependencies that the graph neither has as an edge nor tells to be missing.
    pub dropped: usize,
    /// Build dependencies that nobody offers, by recipe.
    pub unresolved: Vec<UnresolvedNeed>,
    /// Source names of the members of each knot, in build order.
    pub components: Vec<Vec<String>>,
    /// How many levels there are.
    pub levels: usize,
    /// Seconds that graph and order took, without reading recipes.
    pub seconds: f64,
    /// Recipes on each level, from those that need nothing.
    pub widths: Vec<usize>,
    /// Needs inside knots for which the previous generation serves, by recipe.
    pub deferred: Vec<DeferredNeed>,
    /// Recipes that cannot be read.
    pub unreadable: Vec<UnreadableRecipe>,
}

/// A build dependency that nobody offers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct UnresolvedNeed {
    /// Source name of the recipe that needs it.
    pub recipe: String,
    /// What it needs.
    #[schemars(with = "String")]
    pub dependency: Dependency,
}

/// A need along which a recipe is built against the previous generation of the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct DeferredNeed {
    /// Source name of the recipe that needs the other.
    pub recipe: String,
    /// Source name of the other.
    pub needs: String,
}

/// A recipe that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UnreadableRecipe {
    /// Its path.
    pub path: String,
    /// Line, from 1; 0 where none is known.
    pub line: u32,
    /// Column, from 1; 0 where none is known.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

impl Graph {
    /// This graph, which was drawn of `catalogue` in `seconds`, in figures.
    #[must_use]
    pub fn summary(&self, catalogue: &Catalogue, seconds: f64) -> GraphSummary {
        let source = |id: RecipeId| self.source(id).to_owned();
        let unresolved = self.recipes().flat_map(|id| {
            let row = move |dependency| UnresolvedNeed { recipe: source(id), dependency };
            self.unresolved(id).into_iter().map(row)
        });
        let deferred = self.recipes().flat_map(|id| {
            self.deferred(id).map(move |needed| DeferredNeed { recipe: source(id), needs: source(needed) })
        });
        let mut widths = vec![0; self.level_count()];
        for level in self.recipes().map(|id| self.level(id)) {
            widths[level] += 1;
        }
        let unreadable = |file: &Unreadable| UnreadableRecipe {
            path: file.path.clone(),
            line: file.line,
            column: file.column,
            message: file.message.clone(),
        };
        GraphSummary {
            recipes: self.len(),
            build_edges: self.edge_count(),
            run_edges: self.run_edge_count(),
            first_generation_edges: self.first_generation_count(),
            dropped: catalogue.recipes().iter().map(|entry| self.dropped_of(entry)).sum(),
            unresolved: sorted(unresolved),
            components: self.knots().map(|knot| knot.iter().map(|&id| source(id)).collect()).collect(),
            levels: self.level_count(),
            seconds,
            widths,
            deferred: sorted(deferred),
            unreadable: catalogue.unreadable().iter().map(unreadable).collect(),
        }
    }

    /// Counts what of a recipe's build dependencies was lost on the way to edges, by looking for each.
    fn dropped_of(&self, entry: &RecipeEntry) -> usize {
        let Some(id) = self.by_source(&entry.source) else { return entry.build_depends.len() };
        let mut told: BTreeSet<Dependency> =
            self.needs(id).flat_map(|needed| self.because(id, needed)).collect();
        told.extend(self.unresolved(id));
        told.extend(self.from_repository(id));
        told.extend(self.from_host(id));
        let mut lost = entry.build_depends.iter().filter(|dependency| !told.contains(dependency)).peekable();
        if lost.peek().is_none() {
            return 0;
        }
        // What a recipe offers itself makes no edge.
        let own = entry.offers();
        lost.filter(|dependency| !own.contains(dependency)).count()
    }
}

fn sorted<T: Ord>(rows: impl Iterator<Item = T>) -> Vec<T> {
    let mut rows: Vec<T> = rows.collect();
    rows.sort_unstable();
    rows
}
