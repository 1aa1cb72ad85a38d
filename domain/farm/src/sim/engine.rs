//! The clock and the farm of a simulation.
//!
//! What happens is kept in order of time, and of entry where times are equal. At each moment everything that happens
//! then is applied to the tasks, the queue says whose turn changed, and the scheduler is asked once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::model::{at_pace_ms, float};
use super::outcome::{BuildEnd, BuildRun, Unbuilt};
use super::random::Random;
use super::{PUBLISHING_MS, Setup, Watch};
use crate::estimate::{Estimates, Expected, Sample};
use crate::failure::FailureClass;
use crate::ids::{AttemptId, BuilderId, LeaseToken, RecipeId, TaskId};
use crate::moment::Moment;
use crate::queue::{Blocker, OpenTask, Queue, Readiness};
use crate::schedule::{
    ASSUMED_MS, Assignment, Builder, Candidate, Needs, Policy, Priority, Running, Schedule, Scheduler, Trust,
};
use crate::task::{self, Claim, Effect, Event, Phase, State, Tries};

/// How long a builder that crashed is waited for before its builds are given to others.
const LEASE: Duration = Duration::from_secs(60);

/// How long it takes until somebody asks again for a task that the farm gave up.
const ASKED_AGAIN_MS: u64 = 15 * 60_000;

/// How often somebody asks for the same task. What is given up that often meets crashes more often than it can end.
const ASKED_AGAIN_MAX: u16 = 10;

/// How often builds that take far too long are looked for.
const LOOK_MS: u64 = 60_000;

/// Passes in a row that may give nothing to anybody while nothing runs. A scheduler that needs more waits for something
/// that never comes.
const IDLE_PASSES_MAX: u32 = 1000;

/// Something that happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A build comes to its end, if it was not stopped before.
    Ends { machine: usize, attempt: AttemptId },
    /// The repository has published what an attempt made.
    Lands { recipe: RecipeId, attempt: AttemptId },
    /// The lease of an attempt whose builder crashed runs out.
    Expires { recipe: RecipeId, attempt: AttemptId },
    /// A builder is there again.
    Returns { machine: usize },
    /// Somebody asks again for a task that was given up.
    AskedAgain { recipe: RecipeId },
    /// The scheduler wanted to be asked.
    Wakes,
    /// Builds that take far too long are looked for.
    Looks,
    /// A builder crashes.
    Crashes { machine: usize },
}

impl Happening {
    /// Whether it changes something even when nothing runs.
    fn is_progress(self) -> bool {
        !matches!(self, Happening::Wakes | Happening::Looks | Happening::Crashes { .. })
    }
}

/// How an attempt will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Built,
    HostFault,
    Broke,
}

/// A build that runs.
#[derive(Debug)]
struct Attempt {
    claim: Claim,
    recipe: RecipeId,
    lane: usize,
    ready: Moment,
    start: Moment,
    takes_ms: u64,
    fate: Fate,
    is_second: bool,
}

#[derive(Debug)]
struct Runtime {
    pace: f64,
    lanes: Vec<bool>,
    attempts: Vec<Attempt>,
    chance: Random,
}

/// A farm at a moment.
pub(super) struct Engine<'a> {
    setup: &'a Setup<'a>,
    now: Moment,
    happenings: BinaryHeap<Reverse<(Moment, u64, Happening)>>,
    entered: u64,
    /// Happenings that change something by themselves: when there are none, all that is left is to ask the scheduler.
    pending: usize,
    next_wake: Option<Moment>,
    /// Whether builds that take too long are to be looked for at the next pass, and whether that was entered.
    looks: bool,
    look_entered: bool,
    queue: Queue,
    scheduler: Scheduler,
    estimates: Estimates,
    /// By index of the recipe; nothing for a task that was never judged or is published: there is no more to say.
    states: Vec<Option<Box<State>>>,
    /// The state of those that say no more.
    just_made: State,
    starts: Vec<u16>,
    asked: Vec<u16>,
    /// The longest way that begins at each recipe.
    path_ms: Vec<u64>,
    needs: HashMap<u64, Arc<Needs>>,
    builders: Vec<Builder>,
    machine_of: HashMap<BuilderId, usize>,
    runtimes: Vec<Runtime>,
    last_attempt: u64,
    /// What each task was expected to take when the ways were measured.
    counted_ms: Vec<u64>,
    pub(super) last_landing: Moment,
    pub(super) published: Vec<bool>,
    pub(super) runs: Vec<BuildRun>,
    pub(super) waits_ms: Vec<u64>,
    pub(super) asked_again: usize,
    pub(super) passes: u64,
    pub(super) ready_most: usize,
}

impl<'a> Engine<'a> {
    /// Everything waits, and the past has been learned from.
    pub(super) fn new(setup: &'a Setup<'a>) -> Self {
        let graph = setup.graph;
        let slots = graph.slots();
        let width = setup.width();
        let machines = setup.fleet.machines();
        let builders: Vec<Builder> = machines
            .iter()
            .map(|machine| Builder {
                id: BuilderId(machine.name.clone()),
                architectures: vec![setup.architecture.to_owned()],
                trust: Trust::Official,
                slots: machine.places(width),
                cores: machine.cores,
                memory_bytes: machine.memory_bytes,
                speed: 1.0,
                ..Builder::default()
            })
            .collect();
        let runtimes = machines
            .iter()
            .map(|machine| Runtime {
                pace: machine.pace(width),
                lanes: vec![false; usize::try_from(machine.places(width)).unwrap_or(1)],
                attempts: Vec::new(),
                chance: Random::of(setup.model.seed(), "crash", &machine.name),
            })
            .collect();
        let mut engine = Self {
            setup,
            now: Moment(0),
            happenings: BinaryHeap::new(),
            entered: 0,
            pending: 0,
            next_wake: None,
            looks: false,
            look_entered: false,
            queue: Queue::new(graph, graph.recipes().map(|recipe| open(recipe, Phase::Waiting))),
            scheduler: Scheduler::new(setup.policy),
            estimates: Estimates::default(),
            states: (0..slots).map(|_| None).collect(),
            just_made: State::default(),
            starts: vec![0; slots],
            asked: vec![0; slots],
            path_ms: Vec::new(),
            needs: HashMap::new(),
            machine_of: builders
                .iter()
                .enumerate()
                .map(|(index, builder)| (builder.id.clone(), index))
                .collect(),
            builders,
            runtimes,
            last_attempt: 0,
            counted_ms: Vec::new(),
            last_landing: Moment(0),
            published: vec![false; slots],
            runs: Vec::new(),
            waits_ms: Vec::new(),
            asked_again: 0,
            passes: 0,
            ready_most: 0,
        };
        engine.learn_the_past();
        engine.measure_paths();
        for machine in 0..machines.len() {
            engine.enter_crash(machine);
        }
        engine
    }

    /// Lets time pass until nothing can happen any more.
    pub(super) fn run(&mut self, watch: &mut dyn Watch) {
        watch.begins();
        let mut idle_passes = 0;
        loop {
            self.judge_changed();
            let ready = self.scheduler.len();
            self.ready_most = self.ready_most.max(ready);
            let started = self.pass();
            watch.passed(self.now, ready, started);
            idle_passes = if self.pending > 0 { 0 } else { idle_passes + 1 };
            if idle_passes > 0 && (self.scheduler.is_empty() || idle_passes > IDLE_PASSES_MAX) {
                break;
            }
            let Some(Reverse((moment, ..))) = self.happenings.peek() else { break };
            self.now = *moment;
            watch.begins();
            while let Some(Reverse((moment, _, happening))) = self.happenings.peek().copied() {
                if moment > self.now {
                    break;
                }
                self.happenings.pop();
                self.happen(happening);
            }
        }
    }

    /// What was not built, and why.
    pub(super) fn unbuilt(&mut self) -> Vec<Unbuilt> {
        let graph = self.setup.graph;
        let left: Vec<RecipeId> = graph.recipes().filter(|recipe| !self.published[recipe.index()]).collect();
        let unbuilt = left.into_iter().map(|recipe| {
            let (why, is_root) = self.why(recipe);
            Unbuilt { recipe, why, is_root }
        });
        unbuilt.collect()
    }

    /// Why a recipe was not built, and whether the reason is its own.
    fn why(&mut self, recipe: RecipeId) -> (String, bool) {
        match self.state(recipe).clone() {
            State::Failed { class, message, .. } if class.is_infrastructure() => {
                let starts = self.starts[recipe.index()];
                (format!("the farm gave it up after {starts} starts: {message}"), true)
            }
            State::Failed { message, .. } => (format!("it cannot be built: {message}"), true),
            State::Blocked { by, .. } => {
                let is_other = |blocker: &Blocker| matches!(blocker, Blocker::Task { .. });
                let named: Vec<String> = by.iter().map(name_of_blocker).collect();
                (format!("it is blocked by {}", named.join("; ")), !by.iter().all(is_other))
            }
            State::Ready { .. } => {
                let unplaced = self.scheduler.unplaced(task_of(recipe), &self.builders, self.now);
                (unplaced.map_or_else(|| "no builder took it".into(), |why| why.to_string()), true)
            }
            State::Waiting { .. } => ("it waits for recipes that were not built".into(), false),
            other => (format!("it is still {}", other.phase()), true),
        }
    }

    /// The time that each builder's places were taken, together.
    pub(super) fn busy_ms(&self) -> Vec<u64> {
        let mut busy = vec![0; self.runtimes.len()];
        for run in &self.runs {
            busy[run.machine] += run.end.0.saturating_sub(run.start.0);
        }
        busy
    }

    /// Earlier builds of every recipe, each on some builder.
    fn learn_the_past(&mut self) {
        let count = u64::try_from(self.builders.len()).unwrap_or(0);
        for number in 1..=self.setup.past_builds {
            for recipe in self.setup.graph.recipes() {
                let source = self.setup.graph.source(recipe);
                let seed = self.setup.model.seed().wrapping_add(u64::from(number));
                let machine = usize::try_from(Random::of(seed, "where", source).below(count)).unwrap_or(0);
                let takes_ms =
                    at_pace_ms(self.setup.model.past_ms(source, number), self.runtimes[machine].pace);
                self.learn(recipe, machine, takes_ms);
            }
        }
    }

    fn learn(&mut self, recipe: RecipeId, machine: usize, takes_ms: u64) {
        let source = self.setup.graph.source(recipe);
        self.estimates.learn(&Sample {
            source: source.to_owned(),
            architecture: self.setup.architecture.to_owned(),
            builder: self.builders[machine].id.clone(),
            seconds: float(takes_ms) / 1000.0,
            peak_memory_bytes: self.setup.model.cost(source).memory_bytes,
            at: self.now,
        });
        self.builders[machine].speed = self.estimates.speed(&self.builders[machine].id);
    }

    fn enter(&mut self, moment: Moment, happening: Happening) {
        self.entered += 1;
        self.pending += usize::from(happening.is_progress());
        self.happenings.push(Reverse((moment, self.entered, happening)));
    }

    fn enter_after(&mut self, milliseconds: u64, happening: Happening) {
        self.enter(Moment(self.now.0.saturating_add(milliseconds)), happening);
    }

    /// The next crash comes after any time up to twice the mean.
    fn enter_crash(&mut self, machine: usize) {
        if let Some(mean_ms) = self.setup.faults.crash_ms {
            let wait_ms = self.runtimes[machine].chance.below(mean_ms.saturating_mul(2));
            self.enter_after(wait_ms.max(1), Happening::Crashes { machine });
        }
    }

    fn happen(&mut self, happening: Happening) {
        self.pending -= usize::from(happening.is_progress());
        match happening {
            Happening::Ends { machine, attempt } => self.ends(machine, attempt),
            Happening::Lands { recipe, attempt } => {
                if self.apply(recipe, &Event::Landed { attempt, history: String::new() }) {
                    self.last_landing = self.now;
                }
            }
            Happening::Expires { recipe, attempt } => self.expires(recipe, attempt),
            Happening::Returns { machine } => {
                self.builders[machine].drained = false;
                self.enter_crash(machine);
            }
            Happening::AskedAgain { recipe } => {
                if self.apply(recipe, &Event::RetryAsked) {
                    self.asked_again += 1;
                }
            }
            Happening::Wakes => self.next_wake = None,
            Happening::Looks => (self.looks, self.look_entered) = (true, false),
            Happening::Crashes { machine } => self.crashes(machine),
        }
    }
}

/// What becomes of builds and builders.
impl Engine<'_> {
    fn ends(&mut self, machine: usize, attempt: AttemptId) {
        let Some(ended) = self.take(machine, attempt) else { return };
        let recipe = ended.recipe;
        match ended.fate {
            Fate::Built => {
                self.builders[machine].faults_in_row = 0;
                self.learn(recipe, machine, ended.takes_ms);
                let built = Event::Built { claim: ended.claim.clone(), artefacts: Vec::new() };
                if self.apply(recipe, &built) {
                    self.enter_after(PUBLISHING_MS, Happening::Lands { recipe, attempt });
                }
                self.record(machine, &ended, BuildEnd::Published);
            }
            Fate::HostFault => {
                self.builders[machine].faults_in_row += 1;
                self.builders[machine].last_fault = self.now;
                self.apply(recipe, &broke(&ended.claim, FailureClass::HostFault, "the builder had a fault"));
                self.record(machine, &ended, BuildEnd::HostFault);
            }
            Fate::Broke => {
                self.builders[machine].faults_in_row = 0;
                self.apply(recipe, &broke(&ended.claim, FailureClass::Build, "the compiler found an error"));
                self.record(machine, &ended, BuildEnd::Broke);
            }
        }
    }

    fn expires(&mut self, recipe: RecipeId, attempt: AttemptId) {
        let state = self.state(recipe);
        let claim = state.claims().map(|(claim, _)| claim).find(|claim| claim.attempt == attempt).cloned();
        if let Some(claim) = claim {
            self.mark_twins(task_of(recipe), false);
            self.apply(recipe, &Event::Expired { claim });
        }
    }

    fn crashes(&mut self, machine: usize) {
        self.builders[machine].drained = true;
        self.builders[machine].running.clear();
        for lost in std::mem::take(&mut self.runtimes[machine].attempts) {
            self.runtimes[machine].lanes[lost.lane] = false;
            let lease_ms = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
            self.enter_after(
                lease_ms,
                Happening::Expires { recipe: lost.recipe, attempt: lost.claim.attempt },
            );
            self.record(machine, &lost, BuildEnd::Lost);
        }
        self.enter_after(self.setup.faults.repair_ms, Happening::Returns { machine });
    }

    fn stop(&mut self, claim: &Claim) {
        let Some(&machine) = self.machine_of.get(&claim.builder) else { return };
        if let Some(stopped) = self.take(machine, claim.attempt) {
            self.record(machine, &stopped, BuildEnd::Stopped);
        }
    }

    /// Takes a build from its builder, whose place is free then.
    fn take(&mut self, machine: usize, attempt: AttemptId) -> Option<Attempt> {
        let runtime = &mut self.runtimes[machine];
        let index = runtime.attempts.iter().position(|running| running.claim.attempt == attempt)?;
        let taken = runtime.attempts.swap_remove(index);
        runtime.lanes[taken.lane] = false;
        let task = task_of(taken.recipe);
        self.builders[machine].running.retain(|running| running.task != task);
        self.mark_twins(task, false);
        Some(taken)
    }

    fn mark_twins(&mut self, task: TaskId, twin: bool) {
        let state = recipe_of(task).map(|recipe| self.state(recipe));
        let Some(State::Building { twin: Some(_), .. }) = state else { return };
        let running = self.builders.iter_mut().flat_map(|builder| &mut builder.running);
        for run in running.filter(|run| run.task == task) {
            run.twin = twin;
        }
    }

    fn record(&mut self, machine: usize, attempt: &Attempt, outcome: BuildEnd) {
        self.runs.push(BuildRun {
            recipe: attempt.recipe,
            machine,
            lane: attempt.lane,
            ready: attempt.ready,
            start: attempt.start,
            end: self.now,
            outcome,
            is_second: attempt.is_second,
            on_critical_path: false,
        });
    }
}

/// What becomes of tasks.
impl Engine<'_> {
    fn state(&self, recipe: RecipeId) -> &State {
        self.states[recipe.index()].as_deref().unwrap_or(&self.just_made)
    }

    /// Takes a step, tells queue and scheduler, and does what it asks for. Says whether anything changed.
    fn apply(&mut self, recipe: RecipeId, event: &Event) -> bool {
        if self.published[recipe.index()] {
            return false;
        }
        let before = self.state(recipe);
        let Ok(step) = task::step(before, event, self.now) else { return false };
        let (before, phase) = (before.phase(), step.next.phase());
        if phase != before {
            let task = (phase != Phase::Published).then(|| open(recipe, phase).1);
            self.queue.set(self.setup.graph, recipe, task);
        }
        match &step.next {
            State::Ready { since, tries } => self.offer(recipe, *since, tries),
            State::Failed { class, .. }
                if class.is_infrastructure() && self.asked[recipe.index()] < ASKED_AGAIN_MAX =>
            {
                self.asked[recipe.index()] += 1;
                self.enter_after(ASKED_AGAIN_MS, Happening::AskedAgain { recipe });
            }
            _ => {}
        }
        if before == Phase::Ready && phase != Phase::Ready {
            self.scheduler.retract(task_of(recipe));
        }
        // What is published stays so, and says no more.
        self.published[recipe.index()] = phase == Phase::Published;
        self.states[recipe.index()] = (phase != Phase::Published).then(|| Box::new(step.next));
        for effect in step.effects {
            if let Effect::StopBuild(claim) = effect {
                self.stop(&claim);
            }
        }
        true
    }

    fn judge_changed(&mut self) {
        loop {
            let changed = self.queue.take_changed();
            if changed.is_empty() {
                return;
            }
            for recipe in changed {
                if let Some(readiness) = self.queue.readiness(self.setup.graph, recipe) {
                    self.judge(recipe, readiness);
                }
            }
        }
    }

    fn judge(&mut self, recipe: RecipeId, readiness: Readiness) {
        let is_unseen = self.states[recipe.index()].is_none();
        // A task that was just made waits; no step is needed to say so.
        if !(is_unseen && matches!(readiness, Readiness::Waits { .. })) {
            self.apply(recipe, &Event::Judged { readiness });
        }
    }

    fn measure_paths(&mut self) {
        let expected_ms = |recipe: RecipeId| self.expected_ms(recipe);
        self.path_ms = crate::critical_path::lengths(self.setup.graph, &self.queue, expected_ms);
        self.counted_ms = vec![0; self.states.len()];
        for recipe in self.setup.graph.recipes() {
            self.counted_ms[recipe.index()] = self.expected_ms(recipe).unwrap_or(ASSUMED_MS);
        }
    }

    fn expected_ms(&self, recipe: RecipeId) -> Option<u64> {
        let source = self.setup.graph.source(recipe);
        self.estimates.expected(source, self.setup.architecture).map(Expected::reference_ms)
    }

    fn offer(&mut self, recipe: RecipeId, since: Moment, tries: &Tries) {
        let source = self.setup.graph.source(recipe);
        let expected = self.estimates.expected(source, self.setup.architecture);
        let memory_bytes = self.memory_bytes(expected);
        let needs = self.needs.entry(memory_bytes);
        let needs = needs.or_insert_with(|| Arc::new(needs_of(self.setup.architecture, memory_bytes)));
        self.scheduler.offer(Candidate {
            task: task_of(recipe),
            needs: Arc::clone(needs),
            priority: Priority::Normal,
            path_ms: self.path_ms.get(recipe.index()).copied().unwrap_or(0),
            expected_ms: expected.map(Expected::reference_ms),
            since,
            not_before: tries.not_before,
            avoid: tries.avoid.clone(),
        });
    }
}

impl Engine<'_> {
    /// Memory that a build must have, as far as it is known. AerynOS knows nothing of memory.
    fn memory_bytes(&self, expected: Option<Expected>) -> u64 {
        match self.setup.policy {
            Policy::AerynOs => 0,
            Policy::CriticalPath | Policy::FirstInFirstOut => {
                expected.map_or(0, |expected| expected.memory_bytes)
            }
        }
    }
}

/// What is started where.
impl Engine<'_> {
    /// Asks the scheduler, and starts what it says. How many builds that were.
    fn pass(&mut self) -> usize {
        self.passes += 1;
        let schedule = self.scheduler.pass(&self.builders, self.now);
        if let Some(wake) = schedule.wake_at.filter(|&wake| self.next_wake.is_none_or(|known| wake < known)) {
            let wake = wake.max(Moment(self.now.0 + 1));
            self.next_wake = Some(wake);
            self.enter(wake, Happening::Wakes);
        }
        let mut started = 0;
        for assignment in &schedule.assignments {
            started += usize::from(self.start(assignment, false));
        }
        if self.setup.policy == Policy::CriticalPath {
            self.look(&schedule);
        }
        started
    }

    /// Starts a second time what takes far too long, once in a while.
    fn look(&mut self, schedule: &Schedule) {
        if std::mem::take(&mut self.looks) {
            let architecture = self.setup.architecture;
            let needs_of = |task: TaskId| {
                let source = self.setup.graph.source(recipe_of(task)?);
                let memory_bytes = self.memory_bytes(self.estimates.expected(source, architecture));
                Some(Arc::new(needs_of(architecture, memory_bytes)))
            };
            // What was just given away is running already.
            let given = Schedule { assignments: Vec::new(), ..schedule.clone() };
            for second in self.scheduler.stragglers(&self.builders, &given, needs_of, self.now) {
                self.start(&second, true);
            }
        }
        if !self.look_entered && self.pending > 0 {
            self.look_entered = true;
            self.enter_after(LOOK_MS, Happening::Looks);
        }
    }

    fn start(&mut self, assignment: &Assignment, is_second: bool) -> bool {
        let Some(&machine) = self.machine_of.get(&assignment.builder) else { return false };
        let Some(lane) = self.runtimes[machine].lanes.iter().position(|taken| !taken) else { return false };
        let Some(recipe) = recipe_of(assignment.task) else { return false };
        self.last_attempt += 1;
        let claim = Claim {
            builder: assignment.builder.clone(),
            attempt: AttemptId(self.last_attempt),
            token: LeaseToken(self.last_attempt),
        };
        let until = self.now.after(LEASE);
        let ready = match self.state(recipe) {
            State::Ready { since, .. } => *since,
            _ => self.now,
        };
        let event = match is_second {
            true => Event::TwinAssigned { claim: claim.clone(), until },
            false => Event::Assigned { claim: claim.clone(), until },
        };
        if !self.apply(recipe, &event) {
            return false;
        }
        self.apply(recipe, &Event::Started { claim: claim.clone() });
        let (takes_ms, ends_ms, fate) = self.fate(recipe, machine);
        self.enter_after(ends_ms, Happening::Ends { machine, attempt: claim.attempt });
        if !is_second {
            self.waits_ms.push(self.now.0.saturating_sub(ready.0));
        }
        let expected = self.estimates.expected(self.setup.graph.source(recipe), self.setup.architecture);
        let path_ms = self.path_ms.get(recipe.index()).copied().unwrap_or(0);
        self.builders[machine].running.push(Running {
            task: assignment.task,
            since: self.now,
            expected_end: assignment.expected_end,
            tail_ms: path_ms.saturating_sub(self.counted_ms[recipe.index()]),
            memory_bytes: expected.map_or(0, |expected| expected.memory_bytes),
            twin: false,
        });
        if is_second {
            self.mark_twins(assignment.task, true);
        }
        self.runtimes[machine].lanes[lane] = true;
        let start = self.now;
        self.runtimes[machine].attempts.push(Attempt {
            claim,
            recipe,
            lane,
            ready,
            start,
            takes_ms,
            fate,
            is_second,
        });
        true
    }

    /// How long the next start of a build takes, after which time it ends, and how. Drawn by recipe and number of the
    /// start, so that one policy's luck is another's.
    fn fate(&mut self, recipe: RecipeId, machine: usize) -> (u64, u64, Fate) {
        let source = self.setup.graph.source(recipe);
        let faults = self.setup.faults;
        let start = self.starts[recipe.index()];
        self.starts[recipe.index()] = start.saturating_add(1);
        let seed = self.setup.model.seed();
        let breaks = Random::of(seed, "break", source).fraction() < faults.break_share;
        let mut chance = Random::of(seed.wrapping_add(u64::from(start)), "start", source);
        let straggles = chance.fraction() < faults.straggle_share;
        let has_host_fault = chance.fraction() < faults.host_share;
        let share = chance.fraction();
        let cost_ms = self.setup.model.cost(source).reference_ms;
        let takes_ms = at_pace_ms(cost_ms, self.runtimes[machine].pace);
        let takes_ms = match straggles {
            true => at_pace_ms(takes_ms, 1.0 / faults.straggle_times),
            false => takes_ms,
        };
        let early_ms = super::model::whole(float(takes_ms) * share).max(1);
        match (has_host_fault, breaks) {
            (true, _) => (takes_ms, early_ms, Fate::HostFault),
            (_, true) => (takes_ms, early_ms, Fate::Broke),
            _ => (takes_ms, takes_ms, Fate::Built),
        }
    }
}

fn needs_of(architecture: &str, memory_bytes: u64) -> Needs {
    Needs { architecture: architecture.to_owned(), memory_bytes, ..Needs::default() }
}

/// Tasks are numbered from 1, in the order of the graph.
fn task_of(recipe: RecipeId) -> TaskId {
    TaskId(u64::from(recipe.0) + 1)
}

fn recipe_of(task: TaskId) -> Option<RecipeId> {
    task.0.checked_sub(1).and_then(|number| u32::try_from(number).ok()).map(RecipeId)
}

fn open(recipe: RecipeId, phase: Phase) -> (RecipeId, OpenTask) {
    (recipe, OpenTask { id: task_of(recipe), phase })
}

/// Numbers of tasks mean nothing outside of the simulation.
fn name_of_blocker(blocker: &Blocker) -> String {
    match blocker {
        Blocker::Task { source, .. } => source.clone(),
        other => other.to_string(),
    }
}

fn broke(claim: &Claim, class: FailureClass, message: &str) -> Event {
    Event::Broke { claim: claim.clone(), class, message: message.to_owned(), during: "build".to_owned() }
}
