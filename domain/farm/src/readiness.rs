//! What a task waits for: the one place that says when a build may start.
//!
//! A task may start when no task that it needs is open, near or far: the way to a needed task may lead through
//! recipes that are published already, for these would change too. A needed task that failed blocks by name, for as
//! long as it stays failed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use package::{Dependency, DependencyKind};
use serde::{Deserialize, Serialize};

use crate::catalogue::Catalogue;
use crate::graph::Graph;
use crate::ids::TaskId;
use crate::published::Published;
use crate::task::Phase;

/// Something that keeps a task from starting and does not go away by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Blocker {
    /// A task that it needs failed or was cancelled.
    Task {
        /// That task.
        task: TaskId,
        /// Its source name.
        source: String,
    },
    /// Nobody offers a dependency.
    Unresolved {
        /// The dependency.
        dependency: Dependency,
    },
    /// A recipe of the same knot is needed and has no previous generation to begin with.
    Knot {
        /// Its source name.
        source: String,
    },
    /// A recipe that it needs cannot be read.
    Unreadable {
        /// Path of the recipe.
        path: String,
    },
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Blocker::Task { task, source } => write!(formatter, "{source} (task {task})"),
            Blocker::Unresolved { dependency } => write!(formatter, "nobody offers {dependency}"),
            Blocker::Knot { source } => {
                write!(formatter, "{source}, which needs this one and was never built")
            }
            Blocker::Unreadable { path } => write!(formatter, "{path}, which cannot be read"),
        }
    }
}

/// Whether a task may start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// It may.
    Ready,
    /// It will, when these tasks are published.
    Waits {
        /// Tasks in progress that it needs, directly or not; in order.
        on: Vec<TaskId>,
    },
    /// It will not until somebody does something.
    Blocked {
        /// Why; in order.
        by: Vec<Blocker>,
    },
}

/// The newest task of a recipe that is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTask {
    /// Its number.
    pub id: TaskId,
    /// Where it stands: never published nor superseded.
    pub phase: Phase,
}

/// Judges every open task. `open` is by index of the recipe.
#[must_use]
pub fn judge(
    catalogue: &Catalogue,
    graph: &Graph,
    published: &Published,
    open: &HashMap<usize, OpenTask>,
) -> BTreeMap<TaskId, Readiness> {
    let waiting = open.iter().filter(|(_, task)| task.phase.is_queued());
    waiting.map(|(&recipe, task)| (task.id, judge_one(catalogue, graph, published, open, recipe))).collect()
}

fn judge_one(
    catalogue: &Catalogue,
    graph: &Graph,
    published: &Published,
    open: &HashMap<usize, OpenTask>,
    recipe: usize,
) -> Readiness {
    let source =
        |index: usize| catalogue.recipes().get(index).map_or("?", |entry| entry.source.as_str()).to_owned();
    let mut on = BTreeSet::new();
    let mut by = BTreeSet::new();
    if let Some(node) = graph.nodes().get(recipe) {
        for dependency in node.unresolved.iter().chain(&node.from_host) {
            if let Some(path) = unreadable_provider(catalogue, dependency) {
                by.insert(Blocker::Unreadable { path: path.to_owned() });
            } else if node.unresolved.contains(dependency) {
                by.insert(Blocker::Unresolved { dependency: dependency.clone() });
            }
        }
        for &deferred in &node.deferred {
            // Without a previous generation there is nothing to build against.
            if published.source(&source(deferred)).is_none() && open.contains_key(&deferred) {
                by.insert(Blocker::Knot { source: source(deferred) });
            }
        }
    }
    let mut seen: HashSet<usize> = [recipe].into();
    let mut path = vec![recipe];
    while let Some(current) = path.pop() {
        let Some(node) = graph.nodes().get(current) else { continue };
        for &needed in node.needs.keys().filter(|needed| !node.deferred.contains(needed)) {
            if !seen.insert(needed) {
                continue;
            }
            match open.get(&needed) {
                Some(task) if matches!(task.phase, Phase::Failed | Phase::Cancelled) => {
                    by.insert(Blocker::Task { task: task.id, source: source(needed) });
                }
                Some(task) => {
                    on.insert(task.id);
                    // What is blocked blocks its dependents as well, by the name of the root of the trouble.
                    path.push(needed);
                }
                None => path.push(needed),
            }
        }
    }
    // The way back to itself through a knot is a deferred edge somewhere, never a reason to wait for itself.
    if let Some(own) = open.get(&recipe) {
        on.remove(&own.id);
    }
    if !by.is_empty() {
        Readiness::Blocked { by: by.into_iter().collect() }
    } else if !on.is_empty() {
        Readiness::Waits { on: on.into_iter().collect() }
    } else {
        Readiness::Ready
    }
}

/// The unreadable recipe that most likely offers `dependency`: the folder of a recipe has the name of its source, and
/// the names of its packages begin with it. Better to wait for its correction than to build against the host.
fn unreadable_provider<'c>(catalogue: &'c Catalogue, dependency: &Dependency) -> Option<&'c str> {
    if dependency.kind != DependencyKind::Name {
        return None;
    }
    let mut paths = catalogue.unreadable().iter().map(|file| file.path.as_str());
    paths.find(|path| {
        let folder = path.rsplit('/').nth(1).unwrap_or_default();
        let rest = dependency.name.strip_prefix(folder);
        !folder.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Unreadable;
    use crate::catalogue::tests::recipe;
    use crate::graph::HostProvides;
    use crate::published::tests::package;

    /// Readiness by source name, given the phase of each open task by source name.
    fn check(
        recipes: &[(&str, &[&str])],
        published: &[&str],
        open: &[(&str, Phase)],
        wanted: &str,
    ) -> String {
        let entries = recipes.iter().map(|(source, needs)| recipe(source, needs)).collect();
        let catalogue = Catalogue::new(entries, Vec::new());
        let published = Published::new(published.iter().map(|source| package(source, source, 1, &[])));
        let graph = Graph::new(&catalogue, &published, HostProvides::Nothing);
        let index =
            |source: &str| catalogue.recipes().iter().position(|entry| entry.source == source).unwrap();
        let open: HashMap<usize, OpenTask> = open
            .iter()
            .map(|&(source, phase)| (index(source), OpenTask { id: TaskId(index(source) as u64 + 1), phase }))
            .collect();
        let name = |task: &TaskId| catalogue.recipes()[usize::try_from(task.0).unwrap() - 1].source.clone();
        match &judge(&catalogue, &graph, &published, &open)[&open[&index(wanted)].id] {
            Readiness::Ready => "ready".into(),
            Readiness::Waits { on } => {
                format!("waits on {}", on.iter().map(name).collect::<Vec<_>>().join(", "))
            }
            Readiness::Blocked { by } => {
                format!("blocked by {}", by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
        }
    }

    const CHAIN: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["b"])];

    #[test]
    fn a_dependent_starts_only_when_what_it_needs_is_published() {
        use Phase::*;
        let w = Waiting;
        assert_eq!(check(CHAIN, &[], &[("a", w), ("b", w), ("c", w)], "a"), "ready");
        assert_eq!(check(CHAIN, &[], &[("a", w), ("b", w), ("c", w)], "c"), "waits on a, b");
        for phase in [Ready, Leased, Building, Publishing] {
            assert_eq!(check(CHAIN, &[], &[("a", phase), ("b", w)], "b"), "waits on a", "{phase:?}");
        }
        assert_eq!(check(CHAIN, &["a"], &[("b", w), ("c", w)], "b"), "ready", "a has no open task");
    }

    #[test]
    fn order_passes_through_what_is_published_already() {
        let open = [("a", Phase::Building), ("c", Phase::Waiting)];
        assert_eq!(check(CHAIN, &["a", "b"], &open, "c"), "waits on a");
    }

    #[test]
    fn a_failed_task_blocks_its_dependents_by_name_near_and_far() {
        for phase in [Phase::Failed, Phase::Cancelled] {
            let open = [("a", phase), ("b", Phase::Waiting), ("c", Phase::Waiting)];
            assert_eq!(check(CHAIN, &[], &open, "b"), "blocked by a (task 1)");
            assert_eq!(check(CHAIN, &[], &open, "c"), "blocked by a (task 1)");
            let open = [("a", phase), ("c", Phase::Waiting)];
            assert_eq!(check(CHAIN, &["b"], &open, "c"), "blocked by a (task 1)", "through a published one");
        }
        let open = [("a", Phase::Waiting), ("b", Phase::Blocked)];
        assert_eq!(check(CHAIN, &[], &open, "b"), "waits on a", "a retried one blocks no longer");
    }

    #[test]
    fn what_nobody_offers_blocks_by_name() {
        let recipes: &[(&str, &[&str])] = &[("a", &["pkgconfig(nowhere)"])];
        let answer = check(recipes, &[], &[("a", Phase::Waiting)], "a");
        assert_eq!(answer, "blocked by nobody offers pkgconfig(nowhere)");
    }

    #[test]
    fn a_recipe_that_cannot_be_read_blocks_those_that_name_it() {
        let broken =
            Unreadable { path: "n/ncurses/stone.yaml".into(), line: 1, column: 1, message: "broken".into() };
        for (need, blocked) in
            [("ncurses-devel", true), ("ncurses", true), ("ncursesw", false), ("binary(ncurses)", false)]
        {
            let catalogue = Catalogue::new(vec![recipe("less", &[need])], vec![broken.clone()]);
            let graph = Graph::new(&catalogue, &Published::default(), HostProvides::Everything);
            let open = HashMap::from([(0, OpenTask { id: TaskId(1), phase: Phase::Waiting })]);
            let readiness = &judge(&catalogue, &graph, &Published::default(), &open)[&TaskId(1)];
            let by = Blocker::Unreadable { path: broken.path.clone() };
            let expect = if blocked { Readiness::Blocked { by: vec![by] } } else { Readiness::Ready };
            assert_eq!(*readiness, expect, "{need}");
        }
    }

    #[test]
    fn a_knot_is_built_against_its_previous_generation() {
        let knot: &[(&str, &[&str])] = &[("a", &["b"]), ("b", &["a"])];
        let open = [("a", Phase::Waiting), ("b", Phase::Waiting)];
        assert_eq!(check(knot, &["a", "b"], &open, "a"), "ready");
        assert_eq!(check(knot, &["a", "b"], &open, "b"), "waits on a");
        assert_eq!(check(knot, &[], &open, "a"), "blocked by b, which needs this one and was never built");
    }
}
