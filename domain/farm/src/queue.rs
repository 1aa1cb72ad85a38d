//! What every task waits for: the one place that says when a build may start.
//!
//! A task may start when no task below it is open, near or far: the way down may lead through recipes that are published
//! already, for these would change too. A task below that failed blocks by name, for as long as it stays failed; so does one
//! that can never start because of an obstacle. "Below" is along the edges that are not deferred, for members of a knot and
//! for recipes above it alike: whoever waited for a whole knot would be stopped by any member that fails, although the others
//! have built against its previous generation.
//!
//! Every recipe counts how many of those directly below it are not clear. When a task changes, or the graph does, counts
//! change upwards for as far as anything turns from clear to not clear or back, so that a change costs what it touches.
//! [`Queue::take_changed`] then tells whose verdict may be another.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};

use package::Dependency;
use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Obstacle, Touched};
use crate::ids::{RecipeId, TaskId};
use crate::number_set::NumberSet;
use crate::task::Phase;

/// Roots of trouble that one verdict names: more than anybody reads, few enough to be stored with every task.
pub const BLOCKERS_NAMED_MAX: usize = 8;

/// Something that keeps a task from starting and does not go away by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Blocker {
    /// A task that it needs failed, was cancelled, or cannot start itself.
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
    /// A dependency cannot be installed.
    Uninstallable {
        /// The dependency.
        dependency: Dependency,
        /// The published package in its way.
        package: String,
        /// What that package needs and nobody offers.
        needs: Dependency,
    },
    /// A recipe of the same knot is needed and has no previous generation to begin with.
    Knot {
        /// Its source name.
        source: String,
        /// What is needed of it; none in rows that were written before this was noted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dependency: Option<Dependency>,
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
            Blocker::Unresolved { dependency } => {
                write!(formatter, "nobody offers {}", dependency.as_written())
            }
            Blocker::Uninstallable { dependency, package, needs } => {
                write!(
                    formatter,
                    "{} cannot be installed: {package} needs {}, which nobody offers",
                    dependency.as_written(),
                    needs.as_written()
                )
            }
            Blocker::Knot { source, dependency } => {
                let what = what_of_knot(source, dependency.as_ref());
                write!(formatter, "{what}, which needs this one and was never built")
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
    /// It will, when tasks below are published: [`Queue::waits_on`] names them. Written with braces so that rows which
    /// still name the tasks can be read.
    Waits {},
    /// It will not until somebody does something.
    Blocked {
        /// Why: at most [`BLOCKERS_NAMED_MAX`] roots of the trouble, the nearest; in order.
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

/// What is not clear directly below a recipe.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// How many directly below it have something open, at or below themselves.
    open: u32,
    /// How many directly below it have something stuck, at or below themselves.
    stuck: u32,
}

/// What is not clear at or below a recipe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Trouble {
    /// Something is open.
    open: bool,
    /// Something is stuck.
    stuck: bool,
    /// Its own task is a reason for that.
    is_root: bool,
}

/// Open tasks over a graph, and what each waits for.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    /// By recipe.
    tasks: Vec<Option<OpenTask>>,
    /// By recipe.
    counts: Vec<Count>,
    /// By recipe, following from its task, its count and its obstacles.
    troubles: Vec<Trouble>,
    changed: NumberSet,
}

impl Queue {
    /// Judges all tasks anew. Every open task counts as changed.
    #[must_use]
    pub fn new(graph: &Graph, open: impl IntoIterator<Item = (RecipeId, OpenTask)>) -> Self {
        let mut queue = Self::default();
        queue.tasks.resize(graph.slots(), None);
        for (recipe, task) in open {
            if let Some(place) = queue.tasks.get_mut(recipe.index()) {
                *place = Some(task);
            }
        }
        queue.count(graph);
        let queued: Vec<u32> = queue.queued().map(|recipe| recipe.0).collect();
        queue.changed.extend(queued);
        queue
    }

    /// Notes the newest open task of a recipe; none when it was published, superseded, or is gone.
    pub fn set(&mut self, graph: &Graph, recipe: RecipeId, task: Option<OpenTask>) {
        let Some(place) = self.tasks.get(recipe.index()) else { return };
        if *place == task {
            return;
        }
        let before = self.trouble(recipe);
        self.tasks[recipe.index()] = task;
        self.changed.insert(recipe.0);
        let is_root = self.is_root(graph, recipe);
        self.judge(recipe, is_root);
        if before.is_root || is_root {
            // Those above are blocked by other names, even where they are blocked as before.
            self.change_above(graph, [recipe]);
        }
        self.carry_up(graph, recipe, before);
    }

    /// Follows the graph to what [`Graph::update`] made of it. Tasks of recipes that are gone are forgotten.
    pub fn follow(&mut self, graph: &Graph, touched: &Touched) {
        self.tasks.resize(graph.slots(), None);
        self.counts.resize(graph.slots(), Count::default());
        self.troubles.resize(graph.slots(), Trouble::default());
        // Those below are counted before those above.
        let mut to_count: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
        let mut is_touched = NumberSet::default();
        for &recipe in &touched.recipes {
            match graph.place_of(recipe) {
                Some(place) => {
                    is_touched.insert(recipe.0);
                    to_count.push(Reverse(place));
                }
                None => {
                    self.tasks[recipe.index()] = None;
                    self.counts[recipe.index()] = Count::default();
                    self.troubles[recipe.index()] = Trouble::default();
                }
            }
        }
        let mut are_counted = is_touched.clone();
        let mut stuck = Vec::new();
        while let Some(Reverse(place)) = to_count.pop() {
            let Some(&recipe) = graph.build_order().get(place) else { continue };
            self.changed.insert(recipe.0);
            let before = self.trouble(recipe);
            self.counts[recipe.index()] = self.count_below(graph, recipe);
            let is_root = self.is_root(graph, recipe);
            self.judge(recipe, is_root);
            let now = self.trouble(recipe);
            if is_touched.contains(recipe.0) && (before.stuck || now.stuck) {
                stuck.push(recipe);
            }
            if before != now {
                let users = graph.waited_for_by(recipe).filter(|user| are_counted.insert(user.0));
                to_count.extend(users.filter_map(|user| graph.place_of(user)).map(Reverse));
            }
        }
        // The way to what blocks those above may lead elsewhere now, even where they are blocked as before.
        self.change_above(graph, stuck);
    }

    /// Recipes whose verdict may be another since this was asked last, each once, in order. Only those whose task is
    /// queued: nobody asks whether a running one may start.
    pub fn take_changed(&mut self) -> Vec<RecipeId> {
        let changed = self.changed.take_sorted().into_iter().map(RecipeId);
        changed.filter(|&recipe| self.is_queued(recipe)).collect()
    }

    /// The newest open task of a recipe.
    #[must_use]
    pub fn task(&self, recipe: RecipeId) -> Option<OpenTask> {
        self.tasks.get(recipe.index()).copied().flatten()
    }

    /// All open tasks, by recipe.
    pub fn open(&self) -> impl Iterator<Item = (RecipeId, OpenTask)> {
        (0..).zip(&self.tasks).filter_map(|(recipe, task)| task.map(|task| (RecipeId(recipe), task)))
    }

    /// Whether the open task of a recipe may start, or might if it were queued; none when there is no task.
    #[must_use]
    pub fn readiness(&self, graph: &Graph, recipe: RecipeId) -> Option<Readiness> {
        self.task(recipe)?;
        let obstacles = graph.obstacles(recipe);
        let count = self.counts.get(recipe.index()).copied().unwrap_or_default();
        if obstacles.is_empty() && count.stuck == 0 {
            return Some(if count.open == 0 { Readiness::Ready } else { Readiness::Waits {} });
        }
        let mut by: Vec<Blocker> = obstacles.iter().flat_map(blockers_of).collect();
        let below = self.nearest(graph, recipe, BLOCKERS_NAMED_MAX, |queue, at| {
            queue.trouble(at).is_root.then(|| queue.task(at)).flatten()
        });
        let named = below
            .into_iter()
            .map(|(at, task)| Blocker::Task { task: task.id, source: graph.source(at).to_owned() });
        by.extend(named);
        by.sort();
        by.truncate(BLOCKERS_NAMED_MAX);
        Some(Readiness::Blocked { by })
    }

    /// The nearest open tasks on each way down, at most `max` of them, in order. They are what the recipe waits for; what
    /// these wait for themselves is not named again.
    #[must_use]
    pub fn waits_on(&self, graph: &Graph, recipe: RecipeId, max: usize) -> Vec<TaskId> {
        let mut found = Vec::new();
        let mut seen = HashSet::from([recipe]);
        let mut path = VecDeque::from([recipe]);
        while let Some(recipe) = path.pop_front() {
            for below in graph.waits_for(recipe) {
                if found.len() == max || !seen.insert(below) || !self.trouble(below).is_any() {
                    continue;
                }
                match self.task(below) {
                    Some(task) => found.push(task.id),
                    None => path.push_back(below),
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// Open tasks below a recipe, near or far, that wait for no other themselves: what holds it up in the end. At most
    /// `max` of them, the nearest, in order.
    #[must_use]
    pub fn held_up_by(&self, graph: &Graph, recipe: RecipeId, max: usize) -> Vec<TaskId> {
        let waits = |at: RecipeId| self.counts.get(at.index()).is_some_and(|count| count.open > 0);
        let mut found = Vec::new();
        let mut seen = HashSet::from([recipe]);
        let mut path = VecDeque::from([recipe]);
        while let Some(recipe) = path.pop_front() {
            for below in graph.waits_for(recipe) {
                if found.len() == max || !self.trouble(below).is_any() || !seen.insert(below) {
                    continue;
                }
                match self.task(below) {
                    Some(task) if !waits(below) => found.push(task.id),
                    _ => path.push_back(below),
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// How many open tasks wait for the one of this recipe, near or far. Costs as much as there is above it.
    #[must_use]
    pub fn holds_up(&self, graph: &Graph, recipe: RecipeId) -> usize {
        let mut count = 0;
        self.above(graph, [recipe], |at| count += usize::from(self.task(at).is_some()));
        count
    }

    fn queued(&self) -> impl Iterator<Item = RecipeId> {
        self.open().filter(|(_, task)| task.phase.is_queued()).map(|(recipe, _)| recipe)
    }

    fn is_queued(&self, recipe: RecipeId) -> bool {
        self.task(recipe).is_some_and(|task| task.phase.is_queued())
    }

    /// Whether the task of this recipe is itself a reason why those above cannot start.
    fn is_root(&self, graph: &Graph, recipe: RecipeId) -> bool {
        self.task(recipe).is_some_and(|task| match task.phase {
            Phase::Failed | Phase::Cancelled => true,
            phase => phase.is_queued() && !graph.obstacles(recipe).is_empty(),
        })
    }

    fn trouble(&self, recipe: RecipeId) -> Trouble {
        self.troubles.get(recipe.index()).copied().unwrap_or_default()
    }

    /// Notes what is not clear at or below a recipe, by what is counted.
    fn judge(&mut self, recipe: RecipeId, is_root: bool) {
        let count = self.counts.get(recipe.index()).copied().unwrap_or_default();
        let has_task = self.task(recipe).is_some();
        if let Some(trouble) = self.troubles.get_mut(recipe.index()) {
            *trouble = Trouble {
                open: count.open > 0 || (has_task && !is_root),
                stuck: count.stuck > 0 || is_root,
                is_root,
            };
        }
    }

    /// Counts everything anew.
    fn count(&mut self, graph: &Graph) {
        self.counts.resize(graph.slots(), Count::default());
        self.troubles.resize(graph.slots(), Trouble::default());
        // What comes first is counted before it is looked at by what comes later.
        for &recipe in graph.build_order() {
            self.counts[recipe.index()] = self.count_below(graph, recipe);
            let is_root = self.is_root(graph, recipe);
            self.judge(recipe, is_root);
        }
    }

    fn count_below(&self, graph: &Graph, recipe: RecipeId) -> Count {
        let mut count = Count::default();
        for below in graph.waits_for(recipe) {
            let trouble = self.trouble(below);
            count.open += u32::from(trouble.open);
            count.stuck += u32::from(trouble.stuck);
        }
        count
    }

    /// Tells those directly above a recipe that it is not as it was, and those above these, as far as it goes.
    fn carry_up(&mut self, graph: &Graph, recipe: RecipeId, before: Trouble) {
        // In the order in which they happened: a recipe may change twice.
        let mut turns = VecDeque::from([(recipe, before, self.trouble(recipe))]);
        while let Some((recipe, before, now)) = turns.pop_front() {
            if now == before {
                continue;
            }
            for user in graph.waited_for_by(recipe) {
                let had = self.trouble(user);
                self.changed.insert(user.0);
                let Some(count) = self.counts.get_mut(user.index()) else { continue };
                count.open = (count.open + u32::from(now.open)).saturating_sub(u32::from(before.open));
                count.stuck = (count.stuck + u32::from(now.stuck)).saturating_sub(u32::from(before.stuck));
                self.judge(user, had.is_root);
                let has = self.trouble(user);
                if has != had {
                    turns.push_back((user, had, has));
                }
            }
        }
    }

    fn change_above(&mut self, graph: &Graph, recipes: impl IntoIterator<Item = RecipeId>) {
        let mut changed = std::mem::take(&mut self.changed);
        self.above(graph, recipes, |at| {
            changed.insert(at.0);
        });
        self.changed = changed;
    }

    /// Calls `visit` for every recipe above some.
    fn above(
        &self,
        graph: &Graph,
        recipes: impl IntoIterator<Item = RecipeId>,
        mut visit: impl FnMut(RecipeId),
    ) {
        let mut path: Vec<RecipeId> = recipes.into_iter().collect();
        let mut seen = NumberSet::default();
        while let Some(recipe) = path.pop() {
            for user in graph.waited_for_by(recipe) {
                if seen.insert(user.0) {
                    path.push(user);
                    visit(user);
                }
            }
        }
    }

    /// The nearest recipes below one for which `wanted` has an answer, at most `max`; only ways on which something is stuck
    /// are followed.
    fn nearest<T>(
        &self,
        graph: &Graph,
        recipe: RecipeId,
        max: usize,
        wanted: impl Fn(&Self, RecipeId) -> Option<T>,
    ) -> Vec<(RecipeId, T)> {
        let mut found = Vec::new();
        let mut seen = HashSet::from([recipe]);
        let mut path = VecDeque::from([recipe]);
        while let Some(recipe) = path.pop_front() {
            for below in graph.waits_for(recipe) {
                if found.len() == max || !self.trouble(below).stuck || !seen.insert(below) {
                    continue;
                }
                if let Some(answer) = wanted(self, below) {
                    found.push((below, answer));
                }
                path.push_back(below);
            }
        }
        found
    }
}

impl Trouble {
    fn is_any(self) -> bool {
        self.open || self.stuck
    }
}

/// What is needed of a member of a knot, for people.
pub(crate) fn what_of_knot(source: &str, dependency: Option<&Dependency>) -> String {
    match dependency.map(Dependency::as_written) {
        Some(written) if written != source => format!("{written} of {source}"),
        _ => source.to_owned(),
    }
}

fn blockers_of(obstacle: &Obstacle) -> Vec<Blocker> {
    match obstacle.clone() {
        Obstacle::Unresolved { dependency } => vec![Blocker::Unresolved { dependency }],
        Obstacle::Uninstallable { dependency, package, needs } => {
            vec![Blocker::Uninstallable { dependency, package, needs }]
        }
        Obstacle::Unreadable { path } => vec![Blocker::Unreadable { path }],
        Obstacle::Knot { needs } => needs
            .into_iter()
            .map(|(source, dependency)| Blocker::Knot { source, dependency: Some(dependency) })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
