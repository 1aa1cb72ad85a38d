//! The graph as it is laid out in a picture, and the way through it that takes longest.

use crate::graph::Graph;
use crate::ids::RecipeId;
use crate::queue::Queue;

/// Recipes in the order in which they could be built, as [`picture::layers()`] takes them, with the recipe of each.
#[must_use]
pub fn recipes(graph: &Graph, is_shown: impl Fn(RecipeId) -> bool) -> (Vec<RecipeId>, Vec<picture::Recipe>) {
    let order = graph.build_order().to_vec();
    let mut place = vec![usize::MAX; graph.slots()];
    for (index, recipe) in order.iter().enumerate() {
        place[recipe.index()] = index;
    }
    let recipe = |&recipe: &RecipeId| picture::Recipe {
        needs: graph.waits_for(recipe).map(|needed| place[needed.index()]).collect(),
        knot: graph.knot_of(recipe),
        characters: graph.source(recipe).chars().count(),
        is_shown: is_shown(recipe),
    };
    let recipes = order.iter().map(recipe).collect();
    (order, recipes)
}

/// The open tasks of the longest way, from the one that is built first. `lengths` are those of
/// [`crate::critical_path::lengths`].
#[must_use]
pub fn critical_path(graph: &Graph, queue: &Queue, lengths: &[u64]) -> Vec<RecipeId> {
    let length = |recipe: &RecipeId| lengths.get(recipe.index()).copied().unwrap_or(0);
    // The one that comes first in the build order, among equals: the same each time.
    let longest = |recipes: &mut dyn Iterator<Item = RecipeId>| {
        recipes
            .filter(|recipe| length(recipe) > 0)
            .max_by_key(|recipe| (length(recipe), std::cmp::Reverse(graph.place_of(*recipe))))
    };
    let mut path = Vec::new();
    let mut next = longest(&mut queue.open().map(|(recipe, _)| recipe));
    while let Some(recipe) = next {
        if queue.task(recipe).is_some_and(|task| task.phase.is_open()) {
            path.push(recipe);
        }
        next = longest(&mut graph.waited_for_by(recipe));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::catalogue::tests::recipe;
    use crate::critical_path::lengths;
    use crate::graph::{HostProvides, Supply};
    use crate::ids::TaskId;
    use crate::published::Published;
    use crate::queue::OpenTask;
    use crate::task::Phase;

    fn graph(recipes: &[(&str, &[&str])]) -> Graph {
        let entries = recipes.iter().map(|(source, needs)| recipe(source, needs)).collect();
        let published = Published::default();
        let supply = Supply { own: &published, others: &[], host: HostProvides::Everything };
        Graph::new(&Catalogue::new(entries, Vec::new()), &supply)
    }

    fn path(graph: &Graph, open: &[&str], times: &[(&str, u64)]) -> Vec<String> {
        let id = |source: &&str| graph.by_source(source).unwrap();
        let task = |source| (id(source), OpenTask { id: TaskId(1), phase: Phase::Waiting });
        let queue = Queue::new(graph, open.iter().map(task));
        let known = |recipe| times.iter().find(|(source, _)| id(source) == recipe).map(|&(_, time)| time);
        let lengths = lengths(graph, &queue, known);
        critical_path(graph, &queue, &lengths).iter().map(|&recipe| graph.source(recipe).to_owned()).collect()
    }

    #[test]
    fn the_critical_path_leads_through_what_is_published() {
        let graph = graph(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"]), ("e", &[])]);
        let times = [("a", 1), ("b", 10), ("c", 3), ("d", 5), ("e", 12)];
        assert_eq!(path(&graph, &["a", "b", "c", "d", "e"], &times), ["a", "b", "d"]);
        assert_eq!(path(&graph, &["a", "c", "d", "e"], &times), ["e"], "1 + 3 + 5 are less than 12");
        assert_eq!(path(&graph, &["a", "d"], &times), ["a", "d"], "what is published adds nothing");
        assert_eq!(path(&graph, &[], &times), Vec::<String>::new());
    }

    #[test]
    fn recipes_come_after_what_they_wait_for() {
        let graph = graph(&[("z", &[]), ("a", &["z"]), ("k", &["l", "z"]), ("l", &["k"])]);
        let (order, recipes) = recipes(&graph, |recipe| graph.source(recipe) != "z");
        for (index, recipe) in recipes.iter().enumerate() {
            assert!(recipe.needs.iter().all(|&need| need < index), "{recipe:?}");
            let source = graph.source(order[index]);
            assert_eq!(
                (recipe.is_shown, recipe.knot.is_some()),
                (source != "z", matches!(source, "k" | "l"))
            );
        }
        assert_eq!(recipes.iter().map(|recipe| recipe.needs.len()).sum::<usize>(), 3, "one edge is deferred");
    }
}
