//! Which ready task goes to which builder.
//!
//! The [`Scheduler`] keeps every task that may start, ordered by urgency (priority, then the longest way that begins
//! at it, then age) in classes of equal needs. A pass takes the most urgent first and stops when no place is free; a
//! class that finds no place is left out for the rest of the pass, so that a pass never looks at everything runnable.
//!
//! Hard needs decide whether a builder may take a task: architecture, features, trust, disk, and memory beside what
//! already runs there. Among those that may, the one wins that is expected to be done first. Two looks ahead keep
//! fast and large machines for what needs them:
//!
//! - A task that matters to the end of the whole run is kept for a faster builder that is busy, when it would end
//!   sooner there; the slow builder gets a task that can afford it ([`Held`]).
//! - A task that needs more memory than is free anywhere reserves the builder that has it first. Others may use that
//!   builder only if they end before, or leave enough.
//!
//! What stays is explained on demand ([`Scheduler::unplaced`]). Everything here is deterministic: equal questions have
//! equal answers. It does not know what tasks depend on (only ready ones are offered) and starts nothing itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::{Equivalent, HashMap};
use serde::{Deserialize, Serialize};

use crate::ids::{BuilderId, TaskId};
use crate::moment::Moment;

mod comparison;
mod pass;
mod place;
mod pressure;
mod stragglers;
mod unplaced;

pub(crate) use pass::{duration, milliseconds, whole};
pub use pressure::{Pressure, Shortage};
pub use unplaced::Unplaced;
pub(crate) use unplaced::size;

/// Faults of the machine in a row after which a builder gets no work for a while.
pub const FAULTS_BEFORE_REST: u32 = 2;

/// How long the first rest lasts; each further fault doubles it. Long enough to notice, short enough that a machine
/// that was mended is back before anybody looks.
const REST_FIRST: Duration = Duration::from_secs(60);

/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(30 * 60);

/// What a build is taken to need when nothing is known: about the median of a distribution's recipes.
pub const ASSUMED_MS: u64 = 3 * 60 * 1000;

/// Steps between two sizes of memory in one doubling. Needs are rounded up to such a step, so that learned figures
/// do not make a class of every recipe; at most a fifth is given away.
const MEMORY_STEPS: u64 = 4;

/// What a build needs and cannot do without.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Needs {
    /// Architecture that it is built for.
    pub architecture: String,
    /// Features that the builder must have.
    pub features: BTreeSet<String>,
    /// Memory at its peak; 0 when that is not known. The scheduler rounds it up.
    pub memory_bytes: u64,
    /// Room on disk; 0 when that is not known.
    pub disk_bytes: u64,
    /// How far the builder must be trusted.
    pub trust: Trust,
}

/// How far a builder is trusted, or must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Anybody's machine, lent to the farm.
    #[default]
    Any,
    /// A machine of the distribution.
    Official,
}

/// Which tasks go first whatever else is known.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// When nothing else is to be done: rebuilds that nobody waits for.
    Low,
    /// Everyday work.
    #[default]
    Normal,
    /// Somebody waits for it.
    High,
    /// A security update.
    Urgent,
}

impl Priority {
    /// Every one, the lowest first.
    pub const ALL: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Urgent];

    /// Its name in messages, files and addresses.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Urgent => "urgent",
        }
    }

    /// The priority of this name.
    #[must_use]
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.keyword() == keyword)
    }
}

impl Trust {
    /// Its name in messages, files and addresses.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Trust::Any => "any",
            Trust::Official => "official",
        }
    }

    /// The trust of this name.
    #[must_use]
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        [Trust::Any, Trust::Official].into_iter().find(|trust| trust.keyword() == keyword)
    }
}

/// A task that may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The task.
    pub task: TaskId,
    /// What it needs.
    pub needs: Arc<Needs>,
    /// How urgent somebody says it is.
    pub priority: Priority,
    /// The longest way of open tasks that begins with this one, in expected milliseconds on the reference machine.
    pub path_ms: u64,
    /// How long it is expected to take on the reference machine; none when nothing is known.
    pub expected_ms: Option<u64>,
    /// Ready since.
    pub since: Moment,
    /// Not to be started before.
    pub not_before: Moment,
    /// The builder of its last attempt that came to nothing; another one is preferred.
    pub avoid: Option<BuilderId>,
}

impl Candidate {
    /// The way that is left when it is done.
    fn tail_ms(&self) -> u64 {
        self.path_ms.saturating_sub(self.work_ms())
    }

    fn work_ms(&self) -> u64 {
        self.expected_ms.unwrap_or(ASSUMED_MS)
    }
}

/// A builder that is connected.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Builder {
    /// Who it is.
    pub id: BuilderId,
    /// Architectures it builds for.
    pub architectures: Vec<String>,
    /// What else it has to offer.
    pub features: BTreeSet<String>,
    /// How far it is trusted.
    pub trust: Trust,
    /// Builds it takes at once.
    pub slots: u32,
    /// Cores of its machine.
    pub cores: u32,
    /// Memory of its machine; 0 when that is not known, and then it is not a limit.
    pub memory_bytes: u64,
    /// Free room on its disk; 0 when that is not known, and then it is not a limit.
    pub disk_free_bytes: u64,
    /// How busy the whole machine is, with whatever.
    pub load_percent: u32,
    /// What its machine waits for.
    pub pressure: Pressure,
    /// How fast one build runs on it; 1.0 is the reference machine, and what is taken when nothing was learned.
    pub speed: f64,
    /// What it builds now. An upload takes no place.
    pub running: Vec<Running>,
    /// Whether it is to get no more work.
    pub drained: bool,
    /// Faults of the machine since its last build that reached an end.
    pub faults_in_row: u32,
    /// When the last of them was.
    pub last_fault: Moment,
}

/// A build that a builder has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The task.
    pub task: TaskId,
    /// Since then.
    pub since: Moment,
    /// When it will be done, by experience.
    pub expected_end: Moment,
    /// The longest way of open tasks that begins when it is done, in milliseconds on the reference machine.
    pub tail_ms: u64,
    /// What it needs at its peak; 0 when that is not known.
    pub memory_bytes: u64,
    /// Whether two builders build this task.
    pub twin: bool,
}

/// A task goes to a builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The task.
    pub task: TaskId,
    /// The builder.
    pub builder: BuilderId,
    /// When it will be done, by experience.
    pub expected_end: Moment,
    /// Why this task and this builder, with the figures; a line for people.
    pub why: String,
}

/// A task that waits for a certain builder although another one is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The task.
    pub task: TaskId,
    /// The builder that it waits for.
    pub builder: BuilderId,
    /// When that builder has room, by experience.
    pub until: Moment,
    /// Whether it waits for memory; else it waits because it is done sooner on that builder than on a free one.
    pub for_memory: bool,
}

/// What a pass decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// To be carried out, in this order.
    pub assignments: Vec<Assignment>,
    /// Tasks that are kept for a builder that is busy.
    pub held: Vec<Held>,
    /// When a pass may find more to do although nothing happened.
    pub wake_at: Option<Moment>,
}

/// How tasks are ordered and placed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// As this module says.
    #[default]
    CriticalPath,
    /// By age, to any free place. For comparison.
    FirstInFirstOut,
    /// As AerynOS's controller does it: by size class, then by number; one build per builder. For comparison.
    AerynOs,
}

/// Place of a task in its class; the smaller goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    first: u64,
    second: u64,
    third: u64,
    task: TaskId,
}

/// Tasks of equal needs.
#[derive(Debug, Clone)]
struct Class {
    needs: Arc<Needs>,
    queue: BTreeSet<Key>,
}

#[derive(Debug, Clone)]
struct Entry {
    candidate: Candidate,
    class: u32,
    rests: bool,
}

/// What a class needs, without a copy of it.
#[derive(Debug, Hash)]
struct RoundedNeeds<'n> {
    // The same as `Needs`, in the same order.
    architecture: &'n str,
    features: &'n BTreeSet<String>,
    memory_bytes: u64,
    disk_bytes: u64,
    trust: Trust,
}

impl<'n> From<&'n Needs> for RoundedNeeds<'n> {
    fn from(needs: &'n Needs) -> Self {
        Self {
            architecture: &needs.architecture,
            features: &needs.features,
            memory_bytes: rounded_memory(needs.memory_bytes),
            disk_bytes: needs.disk_bytes,
            trust: needs.trust,
        }
    }
}

impl Equivalent<Arc<Needs>> for RoundedNeeds<'_> {
    fn equivalent(&self, other: &Arc<Needs>) -> bool {
        self.memory_bytes == other.memory_bytes
            && self.architecture == other.architecture
            && self.features == &other.features
            && self.disk_bytes == other.disk_bytes
            && self.trust == other.trust
    }
}

/// Tasks that may start, in order.
#[derive(Debug, Clone, Default)]
pub struct Scheduler {
    policy: Policy,
    classes: Vec<Class>,
    class_of: HashMap<Arc<Needs>, u32, FixedState>,
    tasks: HashMap<TaskId, Entry, FixedState>,
    /// Tasks that must not start yet, by the moment when they may.
    resting: BTreeSet<(Moment, TaskId)>,
    /// Expected time of all of them on the reference machine.
    offered_ms: u64,
}

impl Scheduler {
    /// Nothing to do yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Takes in a task that became ready, or takes note of what changed about one.
    pub fn offer(&mut self, candidate: Candidate) {
        self.retract(candidate.task);
        let class = self.class(&candidate.needs);
        let rests = candidate.not_before > Moment(0);
        if rests {
            // Whether it may start already is seen at the next pass.
            self.resting.insert((candidate.not_before, candidate.task));
        } else if let Some(class) = self.classes.get_mut(class as usize) {
            class.queue.insert(comparison::key(self.policy, &candidate));
        }
        self.offered_ms = self.offered_ms.saturating_add(candidate.work_ms());
        self.tasks.insert(candidate.task, Entry { candidate, class, rests });
    }

    /// Forgets a task that is not ready any more. Returns it if it was there.
    pub fn retract(&mut self, task: TaskId) -> Option<Candidate> {
        let entry = self.tasks.remove(&task)?;
        if entry.rests {
            self.resting.remove(&(entry.candidate.not_before, task));
        } else if let Some(class) = self.classes.get_mut(entry.class as usize) {
            class.queue.remove(&comparison::key(self.policy, &entry.candidate));
        }
        self.offered_ms = self.offered_ms.saturating_sub(entry.candidate.work_ms());
        Some(entry.candidate)
    }

    /// How many tasks it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// What it knows of a task.
    #[must_use]
    pub fn candidate(&self, task: TaskId) -> Option<&Candidate> {
        self.tasks.get(&task).map(|entry| &entry.candidate)
    }

    /// Gives tasks to builders. What is given away is forgotten: offer it again if the assignment cannot be made.
    pub fn pass(&mut self, builders: &[Builder], now: Moment) -> Schedule {
        let schedule = self.preview(builders, now);
        for given in &schedule.assignments {
            self.retract(given.task);
        }
        schedule
    }

    /// What a pass would do now.
    pub fn preview(&mut self, builders: &[Builder], now: Moment) -> Schedule {
        self.wake(now);
        let mut schedule = match self.policy {
            Policy::CriticalPath => pass::run(self, builders, now),
            Policy::FirstInFirstOut | Policy::AerynOs => comparison::run(self, builders, now),
        };
        if !self.is_empty() {
            let rests = self.resting.first().map(|&(until, _)| until);
            let set_aside = builders.iter().filter_map(rests_until).filter(|&until| until > now).min();
            schedule.wake_at = [schedule.wake_at, rests, set_aside].into_iter().flatten().min();
        }
        schedule
    }

    /// Tasks whose rest is over join their class.
    fn wake(&mut self, now: Moment) {
        while let Some(&(until, task)) = self.resting.first() {
            if until > now {
                break;
            }
            self.resting.pop_first();
            let Some(entry) = self.tasks.get_mut(&task) else { continue };
            entry.rests = false;
            if let Some(class) = self.classes.get_mut(entry.class as usize) {
                class.queue.insert(comparison::key(self.policy, &entry.candidate));
            }
        }
    }

    fn class(&mut self, needs: &Arc<Needs>) -> u32 {
        let rounded = RoundedNeeds::from(&**needs);
        if let Some(&class) = self.class_of.get(&rounded) {
            return class;
        }
        let needs = match rounded.memory_bytes == needs.memory_bytes {
            true => Arc::clone(needs),
            false => Arc::new(Needs { memory_bytes: rounded.memory_bytes, ..Needs::clone(needs) }),
        };
        let class = u32::try_from(self.classes.len()).unwrap_or(u32::MAX);
        self.classes.push(Class { needs: Arc::clone(&needs), queue: BTreeSet::new() });
        self.class_of.insert(needs, class);
        class
    }
}

/// The next step of memory that is at least `bytes`.
fn rounded_memory(bytes: u64) -> u64 {
    let step = bytes.checked_ilog2().map_or(1, |log| ((1_u64 << log) / MEMORY_STEPS).max(1));
    bytes.checked_next_multiple_of(step).unwrap_or(bytes)
}

/// How long a builder gets no work after so many faults of its machine in a row; none when it is trusted.
#[must_use]
pub fn quarantine(faults_in_row: u32) -> Option<Duration> {
    let beyond = faults_in_row.checked_sub(FAULTS_BEFORE_REST)?;
    Some(REST_FIRST.saturating_mul(1 << beyond.min(10)).min(REST_MAX))
}

/// Until when a builder gets no work because of its faults; none when it is trusted.
#[must_use]
pub fn rests_until(builder: &Builder) -> Option<Moment> {
    Some(builder.last_fault.after(quarantine(builder.faults_in_row)?))
}

/// Whether a builder gets work at all now.
fn is_in_use(builder: &Builder, now: Moment) -> bool {
    is_trusted_now(builder, now) && builder.pressure.shortage().is_none()
}

/// Whether neither the operator nor its faults keep work from it.
fn is_trusted_now(builder: &Builder, now: Moment) -> bool {
    !builder.drained && rests_until(builder).is_none_or(|until| until <= now)
}

/// Whether a builder could ever take such a build, were it idle.
fn is_able(builder: &Builder, needs: &Needs) -> bool {
    builder.architectures.contains(&needs.architecture)
        && builder.trust >= needs.trust
        && needs.features.is_subset(&builder.features)
        && (builder.memory_bytes == 0 || needs.memory_bytes <= builder.memory_bytes)
        && (builder.disk_free_bytes == 0 || needs.disk_bytes <= builder.disk_free_bytes)
}

#[cfg(test)]
mod tests;
