//! What the dispatcher keeps in mind between two sweeps: who waits for whom, what is ready, how long things take.
//!
//! Everything here can be made again from the store and the worlds, and is at every start. Afterwards only what changed
//! is taken in: a task that changes costs what it touches. Nothing here waits, so a lock on it is held for moments.

mod blockers;
mod elsewhere;
mod map;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use farm::critical_path;
use farm::estimate::{Estimates, Sample};
use farm::graph::Graph;
use farm::ids::{BuilderId, RecipeId, TaskId};
use farm::moment::Moment;
use farm::queue::{OpenTask, Queue, Readiness};
use farm::schedule::{
    ASSUMED_MS, Assignment, Builder, Candidate, Needs, Policy, Priority, Running, Schedule, Scheduler,
    Unplaced,
};
use farm::task::{Claim, Event, Phase, State};

use crate::config::{BuilderSize, Config};
use crate::sessions::Attached;
use crate::store::{BuilderRow, Mark, TaskRow};
use crate::world::{Arena, World, Worlds};
use elsewhere::Elsewhere;
pub(crate) use map::Ways;

/// A task that still matters, as far as planning needs it. The ends of its leases are not kept up to date.
#[derive(Debug, Clone)]
pub(crate) struct Living {
    pub(crate) arena: Arena,
    pub(crate) source: String,
    pub(crate) state: State,
    pub(crate) updated: Moment,
    /// What an operator said about this task; the configuration decides where that is nothing.
    pub(crate) priority: Option<Priority>,
}

/// The queue of one arena.
#[derive(Debug)]
struct ArenaBoard {
    graph: Arc<Graph>,
    queue: Queue,
    /// The longest way of open tasks that begins with each recipe; see [`critical_path::lengths`].
    lengths: Vec<u64>,
    /// Whether tasks were added, or the graph has changed, since the lengths were measured.
    is_stale: bool,
    /// Channels of other projects that this one builds against.
    elsewhere: Elsewhere,
}

/// Everything that is kept in mind.
#[derive(Debug, Default)]
pub(crate) struct Board {
    mark: Option<Mark>,
    living: HashMap<TaskId, Living>,
    /// Living tasks of each recipe; the newest counts.
    tasks_of: HashMap<Arena, HashMap<String, BTreeSet<TaskId>>>,
    arenas: BTreeMap<Arena, ArenaBoard>,
    scheduler: Scheduler,
    estimates: Estimates,
    config: Option<Arc<Config>>,
    /// The largest builder that is there, and its memory: wishes that nobody can fulfil give way.
    largest: BuilderSize,
    most_memory_bytes: u64,
}

impl Board {
    /// A board that has learned from `samples`, the oldest first.
    pub(crate) fn new(samples: &[Sample]) -> Self {
        let mut board = Self { scheduler: Scheduler::new(Policy::CriticalPath), ..Self::default() };
        for sample in samples {
            board.estimates.learn(sample);
        }
        board
    }

    /// How far the store was taken in; none before it ever was.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.mark
    }

    pub(crate) fn learn(&mut self, sample: &Sample) {
        self.estimates.learn(sample);
    }

    /// A task that still matters.
    pub(crate) fn living(&self, task: TaskId) -> Option<&Living> {
        self.living.get(&task)
    }

    /// How long a source takes on the reference machine, by experience.
    pub(crate) fn expected(&self, source: &str, architecture: &str) -> Option<Duration> {
        let expected = self.estimates.expected(source, architecture)?;
        Duration::try_from_secs_f64(expected.reference_seconds).ok()
    }

    /// Takes in tasks as they are at `mark`.
    pub(crate) fn take_in(&mut self, rows: Vec<TaskRow>, mark: Mark) {
        for row in rows {
            self.take_in_one(row);
        }
        self.mark = Some(mark);
    }

    fn take_in_one(&mut self, row: TaskRow) {
        let (id, arena) = (row.id, Arena::of(&row));
        let lives = row.state.phase().is_living();
        let tasks = self.tasks_of.entry(arena.clone()).or_default().entry(row.source.clone()).or_default();
        let is_new = if lives { tasks.insert(id) } else { !tasks.remove(&id) };
        let newest = tasks.last().copied();
        if lives {
            let living = Living {
                arena: arena.clone(),
                source: row.source.clone(),
                state: row.state,
                updated: row.updated,
                priority: row.priority,
            };
            self.living.insert(id, living);
        } else {
            self.living.remove(&id);
        }
        let open = newest.and_then(|newest| {
            self.living.get(&newest).map(|living| OpenTask { id: newest, phase: living.state.phase() })
        });
        if let Some(board) = self.arenas.get_mut(&arena) {
            if let Some(recipe) = board.graph.by_source(&row.source) {
                board.queue.set(&board.graph, recipe, open);
            }
            board.is_stale |= lives && is_new;
        }
        self.offer(id);
    }

    /// Follows the worlds to their newest graphs, and what the operator and the builders are now.
    pub(crate) fn follow(&mut self, worlds: &Worlds, config: &Arc<Config>, builders: &[Builder]) {
        let gone: Vec<Arena> =
            self.arenas.keys().filter(|arena| !worlds.contains_key(*arena)).cloned().collect();
        let mut is_other = !gone.is_empty();
        for arena in gone {
            self.arenas.remove(&arena);
            if let Some(tasks) = self.tasks_of.get_mut(&arena) {
                tasks.retain(|_, ids| !ids.is_empty());
            }
        }
        for (arena, world) in worlds.iter().filter(|(_, world)| world.looked.is_some()) {
            self.follow_graph(arena, world);
            if let Some(board) = self.arenas.get_mut(arena) {
                board.elsewhere = elsewhere::of(world, worlds, &config.vessel);
            }
        }
        let largest =
            builders.iter().map(|builder| BuilderSize::of(&builder.features)).max().unwrap_or_default();
        let most_memory_bytes = builders.iter().map(|builder| builder.memory_bytes).max().unwrap_or(0);
        is_other |= self.config.as_ref().is_none_or(|known| !Arc::ptr_eq(known, config))
            || (largest, most_memory_bytes) != (self.largest, self.most_memory_bytes);
        (self.largest, self.most_memory_bytes) = (largest, most_memory_bytes);
        self.config = Some(Arc::clone(config));
        if self.measure() || is_other {
            let ready: Vec<TaskId> = self.living.keys().copied().collect();
            for task in ready {
                self.offer(task);
            }
        }
    }

    /// Follows the graph of one arena: along its changes where they are known, else afresh.
    fn follow_graph(&mut self, arena: &Arena, world: &World) {
        let graph = &world.graph;
        let mut known = self.arenas.remove(arena);
        if let Some(board) = known.as_mut().filter(|board| !Arc::ptr_eq(&board.graph, graph)) {
            match world.redrawn.as_ref().filter(|redrawn| redrawn.is_of(&board.graph)) {
                Some(redrawn) => {
                    board.queue.follow(graph, &redrawn.touched);
                    for &recipe in &redrawn.touched.recipes {
                        let open = self.open_task(arena, graph.source(recipe));
                        board.queue.set(graph, recipe, open);
                    }
                    board.is_stale |= redrawn.touched.structure;
                    board.graph = Arc::clone(graph);
                }
                None => known = None,
            }
        }
        let board = known.unwrap_or_else(|| {
            let sources = self.tasks_of.get(arena).into_iter().flatten().map(|(source, _)| source);
            let open =
                sources.filter_map(|source| Some((graph.by_source(source)?, self.open_task(arena, source)?)));
            let queue = Queue::new(graph, open);
            ArenaBoard {
                graph: Arc::clone(graph),
                queue,
                lengths: Vec::new(),
                is_stale: true,
                elsewhere: Elsewhere::default(),
            }
        });
        self.arenas.insert(arena.clone(), board);
    }

    /// The newest living task of a source.
    fn open_task(&self, arena: &Arena, source: &str) -> Option<OpenTask> {
        let id = *self.tasks_of.get(arena)?.get(source)?.last()?;
        Some(OpenTask { id, phase: self.living.get(&id)?.state.phase() })
    }

    /// Measures the ways where tasks were added; whether it had to.
    fn measure(&mut self) -> bool {
        let mut measured = false;
        for (arena, board) in self.arenas.iter_mut().filter(|(_, board)| board.is_stale) {
            let expected_ms = |recipe| {
                let expected = self.estimates.expected(board.graph.source(recipe), &arena.architecture);
                expected.map(farm::estimate::Expected::reference_ms)
            };
            board.lengths = critical_path::lengths(&board.graph, &board.queue, expected_ms);
            board.is_stale = false;
            measured = true;
        }
        measured
    }

    fn expected_ms(&self, living: &Living) -> Option<u64> {
        let expected = self.estimates.expected(&living.source, &living.arena.architecture)?;
        Some(expected.reference_ms())
    }

    /// Offers a task to the scheduler if it is ready, and takes it back if it is not.
    fn offer(&mut self, task: TaskId) {
        match self.candidate(task) {
            Some(candidate) => self.scheduler.offer(candidate),
            None => drop(self.scheduler.retract(task)),
        }
    }

    fn candidate(&self, task: TaskId) -> Option<Candidate> {
        let living = self.living.get(&task)?;
        let State::Ready { since, tries } = &living.state else { return None };
        // Before the first look it is not known what to build against.
        let board = self.arenas.get(&living.arena)?;
        let config = self.config.as_ref()?;
        let wishes = config.project(&living.arena.project)?.wishes(&living.source);
        let expected_ms = self.expected_ms(living);
        let length_ms = board
            .graph
            .by_source(&living.source)
            .and_then(|recipe| board.lengths.get(recipe.index()).copied())
            .unwrap_or(0);
        Some(Candidate {
            task,
            priority: living.priority.unwrap_or(wishes.priority),
            needs: Arc::new(self.needs(living, config)?),
            path_ms: length_ms.max(expected_ms.unwrap_or(ASSUMED_MS)),
            expected_ms,
            since: *since,
            not_before: tries.not_before,
            avoid: tries.avoid.clone(),
        })
    }

    /// What a task cannot do without. A size is a wish, and so is what was learned: where nobody is so large, the
    /// largest will do.
    fn needs(&self, living: &Living, config: &Config) -> Option<Needs> {
        let wishes = config.project(&living.arena.project)?.wishes(&living.source);
        let learned = self.estimates.expected(&living.source, &living.arena.architecture);
        let learned_bytes = learned.map_or(0, |expected| expected.memory_bytes).min(self.most_memory_bytes);
        let mut features = wishes.features;
        features.extend(wishes.size.min(self.largest).feature());
        Some(Needs {
            architecture: living.arena.architecture.clone(),
            features,
            memory_bytes: wishes.memory_bytes.max(learned_bytes),
            disk_bytes: wishes.disk_bytes,
            trust: wishes.trust,
        })
    }

    /// What is to be said to tasks whose verdict may have changed, in arenas that `is_current`. The others are asked
    /// again when they are.
    pub(crate) fn verdicts(
        &mut self,
        is_current: impl Fn(&Arena) -> bool,
        now: Moment,
    ) -> Vec<(TaskId, Event)> {
        let mut changed = Vec::new();
        for (arena, board) in self.arenas.iter_mut().filter(|(arena, _)| is_current(arena)) {
            let mut recipes = board.queue.take_changed();
            // What happens elsewhere is not counted by the queue: whoever could start is looked at each time.
            if !board.elsewhere.is_empty() {
                let may_start = |task: &OpenTask| matches!(task.phase, Phase::Waiting | Phase::Ready);
                let open = board.queue.open().filter(|(_, task)| may_start(task));
                recipes.extend(open.map(|(recipe, _)| recipe));
                recipes.sort_unstable();
                recipes.dedup();
            }
            changed.push((arena.clone(), recipes));
        }
        let mut events = Vec::new();
        for (arena, recipes) in changed {
            let Some(board) = self.arenas.get(&arena) else { continue };
            for recipe in recipes {
                let Some(task) = board.queue.task(recipe).map(|task| task.id) else { continue };
                let Some(mut readiness) = board.queue.readiness(&board.graph, recipe) else { continue };
                if readiness == Readiness::Ready && !self.coming_elsewhere(board, recipe, 1).is_empty() {
                    readiness = Readiness::Waits {};
                }
                let event = Event::Judged { readiness };
                // Most judgements say what was said before: only the others are written.
                let state = self.living.get(&task).map(|living| &living.state);
                if state.is_some_and(|state| farm::task::step(state, &event, now).is_ok()) {
                    events.push((task, event));
                }
            }
        }
        events
    }

    /// Nothing came of what [`Board::verdicts`] said: everything is judged again.
    pub(crate) fn judge_again(&mut self) {
        self.arenas.clear();
        self.mark = None;
        self.living.clear();
        self.tasks_of.clear();
    }

    /// The builders that are there, with what the operator says of them and what they have to do.
    pub(crate) fn builders(&self, rows: &[BuilderRow], attached: Vec<Attached>) -> Vec<Builder> {
        let mut running = self.running();
        let rows: HashMap<&BuilderId, &BuilderRow> = rows.iter().map(|row| (&row.id, row)).collect();
        let builder = |session: Attached| {
            let row = rows.get(&session.id)?;
            let mut features = row.said.features.clone();
            features.extend(row.said.size.and_smaller());
            Some(Builder {
                running: running.remove(&session.id).unwrap_or_default(),
                speed: self.estimates.speed(&session.id),
                features,
                trust: row.said.trust,
                id: session.id,
                architectures: session.about.architectures,
                slots: session.load.slots_offered.unwrap_or(u32::MAX).min(session.about.slots),
                cores: session.about.cores,
                memory_bytes: session.about.memory_bytes,
                disk_free_bytes: session.load.disk_free_bytes,
                load_percent: session.load.load_percent,
                pressure: session.load.pressure,
                drained: row.drained,
                faults_in_row: row.faults_in_row,
                last_fault: row.last_fault,
            })
        };
        let mut builders: Vec<Builder> = attached.into_iter().filter_map(builder).collect();
        builders.sort_by(|one, other| one.id.cmp(&other.id));
        builders
    }

    /// The memory that is set aside on each builder for what it builds now, in bytes; nothing for one that builds nothing.
    pub(crate) fn memory_set_aside(&self) -> HashMap<BuilderId, u64> {
        let sum = |builds: Vec<Running>| builds.iter().map(|build| build.memory_bytes).sum();
        self.running().into_iter().map(|(id, builds)| (id, sum(builds))).collect()
    }

    /// What runs, by builder. An upload takes no place: the machine can build meanwhile.
    fn running(&self) -> HashMap<BuilderId, Vec<Running>> {
        let mut running: HashMap<BuilderId, Vec<Running>> = HashMap::new();
        for (&task, living) in &self.living {
            if !matches!(living.state.phase(), Phase::Leased | Phase::Building) {
                continue;
            }
            let needs = self.config.as_ref().and_then(|config| self.needs(living, config));
            for (claim, since) in attempts(living) {
                running.entry(claim.builder.clone()).or_default().push(Running {
                    task,
                    since,
                    expected_end: self.expected_end(living, claim, since),
                    tail_ms: self.tail_ms(living),
                    memory_bytes: needs.as_ref().map_or(0, |needs| needs.memory_bytes),
                    twin: living.state.twin().is_some(),
                });
            }
        }
        for builds in running.values_mut() {
            builds.sort_by_key(|build| build.task);
        }
        running
    }

    fn expected_end(&self, living: &Living, claim: &Claim, since: Moment) -> Moment {
        let learned = self.estimates.expected_on(&living.source, &living.arena.architecture, &claim.builder);
        let assumed = Duration::from_millis(ASSUMED_MS);
        since.after(learned.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(assumed))
    }

    /// What decides which of two ready tasks goes first: the priority that was wished for, and the longest way that begins
    /// with the task, in milliseconds.
    pub(crate) fn urgency(&self, task: TaskId) -> (Priority, u64) {
        let Some(living) = self.living.get(&task) else { return (Priority::Low, 0) };
        let project = self.config.as_ref().and_then(|config| config.project(&living.arena.project));
        let wished = project.map(|project| project.wishes(&living.source).priority).unwrap_or_default();
        (living.priority.unwrap_or(wished), self.tail_ms(living))
    }

    /// The longest way that begins when a task is done.
    fn tail_ms(&self, living: &Living) -> u64 {
        let Some(board) = self.arenas.get(&living.arena) else { return 0 };
        let recipe = board.graph.by_source(&living.source);
        let length_ms = recipe.and_then(|recipe| board.lengths.get(recipe.index()).copied()).unwrap_or(0);
        length_ms.saturating_sub(self.expected_ms(living).unwrap_or(ASSUMED_MS))
    }

    /// Who gets what now, and which builds are begun a second time. What is given away stays here until the store says
    /// that it was.
    pub(crate) fn plan(&mut self, builders: &[Builder], now: Moment) -> (Schedule, Vec<Assignment>) {
        let schedule = self.scheduler.preview(builders, now);
        let needs_of = |task: TaskId| {
            let config = self.config.as_ref()?;
            Some(Arc::new(self.needs(self.living.get(&task)?, config)?))
        };
        let second = self.scheduler.stragglers(builders, &schedule, needs_of, now);
        (schedule, second)
    }

    /// Why ready tasks are given to nobody.
    pub(crate) fn unplaced(&mut self, builders: &[Builder], now: Moment) -> HashMap<TaskId, Unplaced> {
        self.scheduler.unplaced_all(builders, now).into_iter().collect()
    }

    /// Orders that may still have to be sent: builds that were ordered and have not begun.
    pub(crate) fn ordered(&self) -> Vec<(TaskId, Claim)> {
        let mut ordered: Vec<(TaskId, Claim)> = self
            .living
            .iter()
            .filter_map(|(&task, living)| match &living.state {
                State::Leased { lease } => Some((task, lease.claim.clone())),
                state => {
                    let twin = state.twin().filter(|twin| twin.since.is_none());
                    twin.map(|twin| (task, twin.claim.clone()))
                }
            })
            .collect();
        ordered.sort_by_key(|(task, _)| *task);
        ordered
    }

    /// The nearest tasks that have to be published before this one; at most `max`.
    pub(crate) fn waits_on(&self, task: TaskId, max: usize) -> Vec<TaskId> {
        let Some((board, recipe)) = self.place(task) else { return Vec::new() };
        let mut found = board.queue.waits_on(&board.graph, recipe, max);
        found.extend(self.coming_elsewhere(board, recipe, max.saturating_sub(found.len())));
        found
    }

    /// What holds a task up in the end: tasks before it, near or far, that wait for no other; at most `max`.
    pub(crate) fn held_up_by(&self, task: TaskId, max: usize) -> Vec<TaskId> {
        let Some((board, recipe)) = self.place(task) else { return Vec::new() };
        let mut found = board.queue.held_up_by(&board.graph, recipe, max);
        found.extend(self.coming_elsewhere(board, recipe, max.saturating_sub(found.len())));
        found
    }

    /// How many open tasks wait for this one.
    pub(crate) fn holds_up(&self, task: TaskId) -> usize {
        self.place(task).map_or(0, |(board, recipe)| board.queue.holds_up(&board.graph, recipe))
    }

    /// An operator says how urgent a task is.
    pub(crate) fn set_priority(&mut self, task: TaskId, priority: Option<Priority>) {
        if let Some(living) = self.living.get_mut(&task) {
            living.priority = priority;
            self.offer(task);
        }
    }

    /// How fast one build runs on a builder, as far as was learned.
    pub(crate) fn speed(&self, builder: &BuilderId) -> f64 {
        self.estimates.speed(builder)
    }

    /// When the build that runs will be done, by experience.
    pub(crate) fn expected_end_of(&self, task: TaskId) -> Option<Moment> {
        let living = self.living.get(&task)?;
        attempts(living).map(|(claim, since)| self.expected_end(living, claim, since)).min()
    }

    /// The open task of each recipe that needs this one directly.
    pub(crate) fn needed_by(&self, task: TaskId) -> Vec<(TaskId, String)> {
        let Some((board, recipe)) = self.place(task) else { return Vec::new() };
        let users = board.graph.needed_by(recipe);
        let open = users.filter_map(|user| {
            let task = board.queue.task(user).filter(|task| task.phase.is_open())?;
            Some((task.id, board.graph.source(user).to_owned()))
        });
        open.collect()
    }

    fn place(&self, task: TaskId) -> Option<(&ArenaBoard, RecipeId)> {
        let living = self.living.get(&task)?;
        let board = self.arenas.get(&living.arena)?;
        Some((board, board.graph.by_source(&living.source)?))
    }
}

/// Every attempt that builds, or was told to, with its beginning.
fn attempts(living: &Living) -> impl Iterator<Item = (&Claim, Moment)> {
    let (first, twin) = match &living.state {
        State::Leased { lease } => (Some((&lease.claim, living.updated)), None),
        State::Building { lease, since, twin } => {
            let second = twin.as_ref().map(|twin| (&twin.claim, twin.since.unwrap_or(living.updated)));
            (Some((&lease.claim, *since)), second)
        }
        _ => (None, None),
    };
    first.into_iter().chain(twin)
}

#[cfg(test)]
mod tests;
