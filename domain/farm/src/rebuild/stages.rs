//! In which stages the recipes of a plan can be built.

use std::collections::{BTreeMap, BTreeSet};

use super::Stage;
use crate::graph::Graph;
use crate::ids::RecipeId;

/// Puts the recipes of `set` into stages: each after everything that it needs, near or far, also through recipes that are
/// not built again. Recipes that need each other are in one stage. Inside a stage they are in build order.
pub(super) fn stages(graph: &Graph, set: &BTreeSet<RecipeId>) -> Vec<Vec<RecipeId>> {
    // How many stages come before whoever needs a member of the component.
    let mut after = vec![0; graph.component_count()];
    let mut stages: Vec<Vec<RecipeId>> = Vec::new();
    for (component, members) in graph.components().enumerate() {
        let needed = members.iter().flat_map(|&member| graph.ordered_after(member));
        let below = needed.map(|needed| graph.component(needed)).filter(|&needed| needed != component);
        let first = below.filter_map(|needed| after.get(needed)).copied().max().unwrap_or(0);
        let built: Vec<RecipeId> = members.iter().copied().filter(|member| set.contains(member)).collect();
        if let Some(after) = after.get_mut(component) {
            *after = first + usize::from(!built.is_empty());
        }
        if !built.is_empty() {
            if stages.len() <= first {
                stages.resize_with(first + 1, Vec::new);
            }
            stages[first].extend(built);
        }
    }
    stages
}

/// A stage as people see it.
pub(super) fn stage(graph: &Graph, ids: &[RecipeId]) -> Stage {
    let source = |id: &RecipeId| graph.source(*id).to_owned();
    let mut by_knot: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for id in ids {
        if let Some(knot) = graph.knot_of(*id) {
            by_knot.entry(knot).or_default().push(source(id));
        }
    }
    Stage {
        recipes: ids.iter().map(source).collect(),
        knots: by_knot.into_values().filter(|members| members.len() > 1).collect(),
    }
}
