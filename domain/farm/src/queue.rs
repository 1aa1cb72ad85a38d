//! What every task waits for: the one place that says when a build may start.
//!
//! A task may start when no task below it is open, near or far: the way down may lead through recipes that are published
//! already, for these would change too. A task below that failed blocks by name, for as long as it stays failed; so does one
//! that can never start because of an obstacle. A recipe outside a knot waits for the whole knot; one inside waits along the
//! edges that are not deferred.
//!
//! Every recipe, and every knot as a whole, counts how many of those directly before it are not clear. When a task changes,
//! counts change upwards for as far as anything turns from clear to not clear or back, so that a change costs what it
//! touches. [`Queue::take_changed`] then tells whose verdict may be another.

use std::collections::{BTreeSet, HashSet, VecDeque};

use package::Dependency;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::graph::{Graph, Obstacle, Touched};
use crate::ids::{RecipeId, TaskId};
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
            Blocker::Unresolved { dependency } => write!(formatter, "nobody offers {dependency}"),
            Blocker::Uninstallable { dependency, package, needs } => {
                write!(
                    formatter,
                    "{dependency} cannot be installed: {package} needs {needs}, which nobody offers"
                )
            }
            Blocker::Knot { source, dependency: None } => {
                write!(formatter, "{source}, which needs this one and was never built")
            }
            Blocker::Knot { source, dependency: Some(dependency) } => {
                write!(formatter, "{dependency} of {source}, which needs this one and was never built")
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

/// A recipe, or a knot as a whole by the index of its component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Recipe(u32),
    Knot(u32),
}

/// Places side by side.
type Places = SmallVec<[Place; 8]>;

/// What is not clear directly before a place.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// How many directly before it have something open, at or below themselves.
    open: u32,
    /// How many directly before it have something stuck, at or below themselves.
    stuck: u32,
}

/// Whether something at or below a place is open, or stuck.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Trouble {
    open: bool,
    stuck: bool,
}

/// Open tasks over a graph, and what each waits for.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    /// By recipe.
    tasks: Vec<Option<OpenTask>>,
    /// By recipe.
    counts: Vec<Count>,
    /// By component; only those of knots are used.
    knots: Vec<Count>,
    changed: BTreeSet<RecipeId>,
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
        queue.changed = queue.queued().collect();
        queue
    }

    /// Notes the newest open task of a recipe; none when it was published, superseded, or is gone.
    pub fn set(&mut self, graph: &Graph, recipe: RecipeId, task: Option<OpenTask>) {
        let Some(place) = self.tasks.get(recipe.index()) else { return };
        if *place == task {
            return;
        }
        let before = self.trouble(graph, Place::Recipe(recipe.0));
        let was_root = self.is_root(graph, recipe);
        self.tasks[recipe.index()] = task;
        self.changed.insert(recipe);
        if was_root || self.is_root(graph, recipe) {
            // Those above are blocked by other names, even where they are blocked as before.
            self.change_above(graph, recipe);
        }
        self.carry_up(graph, Place::Recipe(recipe.0), before);
    }

    /// Follows the graph to what [`Graph::update`] made of it. Tasks of recipes that are gone are forgotten.
    pub fn follow(&mut self, graph: &Graph, touched: &Touched) {
        if touched.is_empty() {
            return;
        }
        self.tasks.resize(graph.slots(), None);
        for &recipe in &touched.recipes {
            if graph.source(recipe).is_empty()
                && let Some(task) = self.tasks.get_mut(recipe.index())
            {
                *task = None;
            }
        }
        self.count(graph);
        self.changed.extend(self.queued().collect::<Vec<_>>());
    }

    /// Recipes whose verdict may be another since this was asked last, each once, in order. Only those whose task is
    /// queued: nobody asks whether a running one may start.
    pub fn take_changed(&mut self) -> Vec<RecipeId> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter(|&recipe| self.is_queued(recipe)).collect()
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
            queue.is_root(graph, at).then(|| queue.task(at)).flatten()
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
        let mut seen = HashSet::from([Place::Recipe(recipe.0)]);
        let mut path = VecDeque::from([Place::Recipe(recipe.0)]);
        while let Some(place) = path.pop_front() {
            for before in before(graph, place) {
                if found.len() == max || !seen.insert(before) || !self.trouble(graph, before).is_any() {
                    continue;
                }
                match before {
                    Place::Recipe(at) => match self.task(RecipeId(at)) {
                        Some(task) => found.push(task.id),
                        None => path.push_back(before),
                    },
                    Place::Knot(_) => path.push_back(before),
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
        self.above(graph, recipe, |at| count += usize::from(self.task(at).is_some()));
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

    fn trouble(&self, graph: &Graph, place: Place) -> Trouble {
        match place {
            Place::Knot(component) => trouble_of(self.knots.get(component as usize)),
            Place::Recipe(recipe) => {
                let below = trouble_of(self.counts.get(recipe as usize));
                let is_root = self.is_root(graph, RecipeId(recipe));
                let has_task = self.task(RecipeId(recipe)).is_some();
                Trouble { open: below.open || (has_task && !is_root), stuck: below.stuck || is_root }
            }
        }
    }

    /// Counts everything anew.
    fn count(&mut self, graph: &Graph) {
        self.counts.clear();
        self.counts.resize(graph.slots(), Count::default());
        self.knots.clear();
        self.knots.resize(graph.component_count(), Count::default());
        // What comes first is counted before it is looked at by what comes later.
        for component in 0..graph.component_count() {
            let members = graph.component_members(component);
            for &recipe in members {
                self.counts[recipe.index()] = self.count_before(graph, Place::Recipe(recipe.0));
            }
            if members.len() > 1 {
                let place = Place::Knot(u32::try_from(component).unwrap_or(u32::MAX));
                self.knots[component] = self.count_before(graph, place);
            }
        }
    }

    fn count_before(&self, graph: &Graph, place: Place) -> Count {
        let mut count = Count::default();
        for before in before(graph, place) {
            let trouble = self.trouble(graph, before);
            count.open += u32::from(trouble.open);
            count.stuck += u32::from(trouble.stuck);
        }
        count
    }

    /// Tells those after a place that it is not as it was, and those after these, as far as it goes.
    fn carry_up(&mut self, graph: &Graph, place: Place, before: Trouble) {
        // In the order in which they happened: a place may change twice.
        let mut turns = VecDeque::from([(place, before, self.trouble(graph, place))]);
        while let Some((place, before, now)) = turns.pop_front() {
            if now == before {
                continue;
            }
            for after in after(graph, place) {
                let had = self.trouble(graph, after);
                let count = match after {
                    Place::Recipe(recipe) => {
                        self.changed.insert(RecipeId(recipe));
                        self.counts.get_mut(recipe as usize)
                    }
                    Place::Knot(component) => self.knots.get_mut(component as usize),
                };
                let Some(count) = count else { continue };
                count.open = (count.open + u32::from(now.open)).saturating_sub(u32::from(before.open));
                count.stuck = (count.stuck + u32::from(now.stuck)).saturating_sub(u32::from(before.stuck));
                turns.push_back((after, had, self.trouble(graph, after)));
            }
        }
    }

    fn change_above(&mut self, graph: &Graph, recipe: RecipeId) {
        let mut changed = std::mem::take(&mut self.changed);
        self.above(graph, recipe, |at| {
            changed.insert(at);
        });
        self.changed = changed;
    }

    /// Calls `visit` for every recipe above one.
    fn above(&self, graph: &Graph, recipe: RecipeId, mut visit: impl FnMut(RecipeId)) {
        let mut seen = HashSet::from([Place::Recipe(recipe.0)]);
        let mut path = vec![Place::Recipe(recipe.0)];
        while let Some(place) = path.pop() {
            for after in after(graph, place) {
                if seen.insert(after) {
                    path.push(after);
                    if let Place::Recipe(at) = after {
                        visit(RecipeId(at));
                    }
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
        let mut seen = HashSet::from([Place::Recipe(recipe.0)]);
        let mut path = VecDeque::from([Place::Recipe(recipe.0)]);
        while let Some(place) = path.pop_front() {
            for before in before(graph, place) {
                if found.len() == max || !self.trouble(graph, before).stuck || !seen.insert(before) {
                    continue;
                }
                if let Place::Recipe(at) = before
                    && let Some(answer) = wanted(self, RecipeId(at))
                {
                    found.push((RecipeId(at), answer));
                }
                path.push_back(before);
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

fn trouble_of(count: Option<&Count>) -> Trouble {
    let count = count.copied().unwrap_or_default();
    Trouble { open: count.open > 0, stuck: count.stuck > 0 }
}

/// What has to be clear directly before a place. One that is before it in several ways comes several times.
fn before(graph: &Graph, place: Place) -> Places {
    match place {
        Place::Knot(component) => {
            graph.component_members(component as usize).iter().map(|member| Place::Recipe(member.0)).collect()
        }
        Place::Recipe(recipe) => {
            let recipe = RecipeId(recipe);
            let needs = graph.ordered_after(recipe).filter(|&needed| !graph.is_deferred(recipe, needed));
            needs.map(|needed| seen_from(graph, needed, recipe)).collect()
        }
    }
}

/// Those that a place is directly before, as often as it is.
fn after(graph: &Graph, place: Place) -> Places {
    let users_of = |recipe: RecipeId| graph.ordered_before(recipe);
    match place {
        Place::Knot(component) => {
            let members = graph.component_members(component as usize).iter();
            let users = members.flat_map(|&member| users_of(member));
            let outside = users.filter(|&user| graph.component(user) != component as usize);
            outside.map(|user| Place::Recipe(user.0)).collect()
        }
        Place::Recipe(recipe) => {
            let recipe = RecipeId(recipe);
            let Some(component) = graph.knot_of(recipe) else {
                return users_of(recipe).map(|user| Place::Recipe(user.0)).collect();
            };
            let inside = users_of(recipe)
                .filter(|&user| graph.knot_of(user) == Some(component) && graph.is_in_order(recipe, user));
            let whole = Place::Knot(u32::try_from(component).unwrap_or(u32::MAX));
            inside.map(|user| Place::Recipe(user.0)).chain([whole]).collect()
        }
    }
}

/// What `user` sees of a recipe: itself from inside its knot, the whole knot from outside.
fn seen_from(graph: &Graph, needed: RecipeId, user: RecipeId) -> Place {
    match graph.knot_of(needed) {
        Some(component) if graph.component(user) != component => {
            Place::Knot(u32::try_from(component).unwrap_or(u32::MAX))
        }
        _ => Place::Recipe(needed.0),
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
