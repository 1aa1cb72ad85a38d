//! How long the longest way is that begins at each open task.
//!
//! The length of a way is the expected time of its open tasks, on the reference machine; what is published already
//! passes the way on and adds nothing. A way follows the edges that are not deferred, as the queue does.
//!
//! One walk over the graph against its order. Ask again when tasks were added or the graph has changed; that tasks are
//! done changes no length of those that are left.

use crate::graph::Graph;
use crate::ids::RecipeId;
use crate::queue::Queue;
use crate::schedule::ASSUMED_MS;

/// The longest way of open tasks that begins with each recipe, in milliseconds, by index of the recipe. The recipe's own
/// time is in it when its task is open; 0 when nothing on the way is open.
///
/// `expected_ms` is asked for every recipe with an open task. What it does not know is taken to last as long as the
/// middle of those that it does know; when it knows none, all count the same, and the longest way is the one with most
/// tasks.
pub fn lengths(graph: &Graph, queue: &Queue, expected_ms: impl Fn(RecipeId) -> Option<u64>) -> Vec<u64> {
    let mut own: Vec<Option<Option<u64>>> = vec![None; graph.slots()];
    for (recipe, _) in queue.open() {
        if let Some(own) = own.get_mut(recipe.index()) {
            *own = Some(expected_ms(recipe));
        }
    }
    let typical_ms = middle(own.iter().copied().flatten().flatten().collect());
    let own_ms = |recipe: RecipeId| match own.get(recipe.index()) {
        Some(Some(expected)) => expected.unwrap_or(typical_ms),
        _ => 0,
    };
    let mut lengths = vec![0_u64; graph.slots()];
    for &recipe in graph.build_order().iter().rev() {
        let longest = graph.waited_for_by(recipe).map(|user| lengths[user.index()]).max().unwrap_or(0);
        lengths[recipe.index()] = longest.saturating_add(own_ms(recipe));
    }
    lengths
}

fn middle(mut known: Vec<u64>) -> u64 {
    let at = known.len() / 2;
    if known.is_empty() {
        return ASSUMED_MS;
    }
    *known.select_nth_unstable(at).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::catalogue::tests::recipe;
    use crate::graph::{HostProvides, Supply};
    use crate::ids::TaskId;
    use crate::published::Published;
    use crate::queue::OpenTask;
    use crate::task::Phase;

    /// The lengths by source, with `open` tasks and the times that are known.
    fn check(recipes: &[(&str, &[&str])], open: &[&str], times: &[(&str, u64)], expect: &[(&str, u64)]) {
        let entries = recipes.iter().map(|(source, needs)| recipe(source, needs)).collect();
        let catalogue = Catalogue::new(entries, Vec::new());
        let published = Published::default();
        let supply = Supply { own: &published, others: &[], host: HostProvides::Everything };
        let graph = Graph::new(&catalogue, &supply);
        let id = |source: &&str| graph.by_source(source).unwrap();
        let task = |source| (id(source), OpenTask { id: TaskId(1), phase: Phase::Waiting });
        let queue = Queue::new(&graph, open.iter().map(task));
        let known = |recipe| times.iter().find(|(source, _)| id(source) == recipe).map(|&(_, time)| time);
        let lengths = lengths(&graph, &queue, known);
        let found: Vec<(&str, u64)> =
            expect.iter().map(|(source, _)| (*source, lengths[id(source).index()])).collect();
        assert_eq!(found, expect);
    }

    const DIAMOND: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])];

    #[test]
    fn the_longest_way_counts_with_the_task_itself() {
        let times = [("a", 1), ("b", 10), ("c", 3), ("d", 5)];
        check(DIAMOND, &["a", "b", "c", "d"], &times, &[("a", 16), ("b", 15), ("c", 8), ("d", 5)]);
    }

    #[test]
    fn what_is_published_passes_the_way_on() {
        check(DIAMOND, &["a", "d"], &[("a", 1), ("d", 5)], &[("a", 6), ("b", 5), ("c", 5), ("d", 5)]);
        check(DIAMOND, &[], &[], &[("a", 0), ("d", 0)]);
    }

    #[test]
    fn without_history_the_number_of_tasks_counts() {
        let expect = [("a", 3 * ASSUMED_MS), ("b", 2 * ASSUMED_MS), ("d", ASSUMED_MS)];
        check(DIAMOND, &["a", "b", "c", "d"], &[], &expect);
        // The middle of 1, 10 and 40 stands for the unknown.
        check(DIAMOND, &["a", "b", "c", "d"], &[("a", 1), ("b", 10), ("d", 40)], &[("c", 50), ("a", 51)]);
    }

    #[test]
    fn a_way_does_not_lead_along_deferred_edges() {
        // a and b need each other, and a goes first; z needs only a.
        let recipes: &[(&str, &[&str])] = &[("a", &["b"]), ("b", &["a"]), ("z", &["a"])];
        let times = [("a", 10), ("b", 100), ("z", 1000)];
        check(recipes, &["a", "b", "z"], &times, &[("a", 1010), ("b", 100), ("z", 1000)]);
    }
}
