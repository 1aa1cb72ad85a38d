//! The makespan that no schedule can beat.
//!
//! Two things hold for whatever schedule: the builders together do only so much work in a second, and recipes that
//! need each other follow one another, at best all on the fastest builder. The larger of the two is the bound. It
//! counts only recipes that were built in the end. A build in several pieces, or moved from one builder to another, is
//! not part of the model.
//!
//! Inside a knot the order is that of the graph: another order would be another plan, with another bound.

use super::fleet::{Fleet, Width};
use super::model::{float, whole};
use crate::graph::Graph;
use crate::ids::RecipeId;

/// What the fastest schedule could not do without.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LowerBound {
    /// The longest way through the graph, all of it on the fastest builder.
    pub critical_path_ms: u64,
    /// All work, spread evenly over all builders.
    pub work_ms: u64,
    /// The recipes on that way, in the order in which they are built.
    pub critical_path: Vec<RecipeId>,
}

impl LowerBound {
    /// The larger of the two.
    #[must_use]
    pub fn makespan_ms(&self) -> u64 {
        self.critical_path_ms.max(self.work_ms)
    }
}

/// The bound for building the recipes whose `cost_ms` (by index, on the reference machine) is not zero.
pub(super) fn lower_bound(graph: &Graph, cost_ms: &[u64], fleet: &Fleet, width: Width) -> LowerBound {
    let cost = |recipe: RecipeId| cost_ms.get(recipe.index()).copied().unwrap_or(0);
    let slots = graph.slots();
    let mut done_ms = vec![0_u64; slots];
    let mut before: Vec<Option<RecipeId>> = vec![None; slots];
    let mut last: (u64, Option<RecipeId>) = (0, None);
    for &recipe in graph.build_order() {
        let waited_for = graph.ordered_after(recipe).filter(|&needed| !graph.is_deferred(recipe, needed));
        let begin =
            waited_for.map(|needed| (done_ms[needed.index()], Some(needed))).max().unwrap_or_default();
        done_ms[recipe.index()] = begin.0 + cost(recipe);
        before[recipe.index()] = begin.1;
        last = last.max((done_ms[recipe.index()], Some(recipe)));
    }
    let work: u64 = cost_ms.iter().sum();
    LowerBound {
        critical_path_ms: floor_ms(float(last.0) / fleet.best_pace(width)),
        work_ms: floor_ms(float(work) / fleet.capacity()),
        critical_path: way_to(last.1, &before, cost),
    }
}

/// Rounded down, and by what a division may be off: a bound that is too high by a hair is no bound.
fn floor_ms(milliseconds: f64) -> u64 {
    whole(milliseconds * (1.0 - 1e-12))
}

fn way_to(
    last: Option<RecipeId>,
    before: &[Option<RecipeId>],
    cost: impl Fn(RecipeId) -> u64,
) -> Vec<RecipeId> {
    let mut way: Vec<RecipeId> =
        std::iter::successors(last, |recipe| before.get(recipe.index()).copied().flatten()).collect();
    way.retain(|&recipe| cost(recipe) > 0);
    way.reverse();
    way
}
