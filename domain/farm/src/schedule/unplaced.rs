//! Why a ready task was given to nobody.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::ids::{BuilderId, TaskId};
use crate::moment::Moment;
use crate::schedule::comparison;
use crate::schedule::place::expected_end;
use crate::schedule::pressure::common_shortage;
use crate::schedule::{
    Builder, Held, Needs, Schedule, Scheduler, Shortage, is_able, is_in_use, is_trusted_now, rests_until,
};

/// Why a ready task was given to nobody. From a builder that is missing to one that is merely busy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Unplaced {
    /// It rests after an attempt that came to nothing.
    Resting {
        /// Until then.
        until: Moment,
    },
    /// No builder is connected.
    NoBuilder,
    /// No connected builder has its architecture.
    NoArchitecture {
        /// The architecture.
        architecture: String,
    },
    /// No connected builder of its architecture has a feature that it needs.
    NoFeature {
        /// What the builder that has most lacks.
        features: BTreeSet<String>,
    },
    /// It must be built on a machine of the distribution, and only lent ones are connected.
    NotTrusted,
    /// No connected builder has so much memory at all.
    NoMemory {
        /// What it needs.
        needed_bytes: u64,
        /// What the largest builder has.
        largest_bytes: u64,
    },
    /// No connected builder has so much room on its disk.
    NoDisk {
        /// What it needs.
        needed_bytes: u64,
        /// What the builder with most room has.
        largest_bytes: u64,
    },
    /// Every builder that could is drained.
    Drained {
        /// One of them.
        builder: BuilderId,
    },
    /// Every builder that could is quarantined after faults of its machine, or drained.
    Quarantined {
        /// The one that is tried again first.
        builder: BuilderId,
        /// When that is.
        until: Moment,
    },
    /// Every builder that could has a machine that is short of something.
    Pressed {
        /// What the first of them is short of.
        shortage: Shortage,
    },
    /// It needs more memory than is free anywhere; a builder is kept for it.
    ReservedFor {
        /// That builder.
        builder: BuilderId,
        /// When it has room, by experience.
        until: Moment,
    },
    /// It would be done sooner on a busy builder than on a free one.
    HeldFor {
        /// That builder.
        builder: BuilderId,
        /// When it has room, by experience.
        until: Moment,
    },
    /// Every builder that could is busy, or has been given more urgent work.
    Busy {
        /// How many tasks that the same builders can take are more urgent.
        ahead: usize,
        /// When the first of those builders is done with something, by experience.
        until: Option<Moment>,
    },
}

impl std::fmt::Display for Unplaced {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unplaced::Resting { .. } => formatter.write_str("is tried again in a moment"),
            Unplaced::NoBuilder => formatter.write_str("no builder is connected"),
            Unplaced::NoArchitecture { architecture } => {
                write!(formatter, "no connected builder has {architecture}")
            }
            Unplaced::NoFeature { features } => {
                let names: Vec<&str> = features.iter().map(String::as_str).collect();
                write!(formatter, "no connected builder has {}", names.join(", "))
            }
            Unplaced::NotTrusted => formatter
                .write_str("it may only be built on a machine of the distribution, and none is connected"),
            Unplaced::NoMemory { needed_bytes, largest_bytes } => write!(
                formatter,
                "needs {} of memory, and the largest connected builder has {}",
                size(*needed_bytes),
                size(*largest_bytes)
            ),
            Unplaced::NoDisk { needed_bytes, largest_bytes } => write!(
                formatter,
                "needs {} on disk, and no connected builder has more than {} free",
                size(*needed_bytes),
                size(*largest_bytes)
            ),
            Unplaced::Drained { builder } => {
                write!(formatter, "every builder that could is drained, as {builder} is")
            }
            Unplaced::Quarantined { builder, .. } => {
                write!(
                    formatter,
                    "every builder that could is quarantined after faults, as {builder} is, or drained"
                )
            }
            Unplaced::Pressed { shortage: Shortage::Memory } => {
                formatter.write_str("every builder that could is short of memory just now")
            }
            Unplaced::Pressed { shortage: Shortage::Io } => {
                formatter.write_str("every builder that could waits for its disk just now")
            }
            Unplaced::ReservedFor { builder, .. } => {
                write!(formatter, "waits until {builder} has enough free memory")
            }
            Unplaced::HeldFor { builder, .. } => {
                write!(formatter, "waits for {builder}, where it is done sooner than on a free builder")
            }
            Unplaced::Busy { ahead: 0, .. } => formatter.write_str("every builder that could is busy"),
            Unplaced::Busy { ahead: 1, .. } => {
                formatter.write_str("every builder that could is busy; one task goes first")
            }
            Unplaced::Busy { ahead, .. } => {
                write!(formatter, "every builder that could is busy; {ahead} tasks go first")
            }
        }
    }
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    match bytes {
        GIB.. if bytes.is_multiple_of(GIB) || bytes >= 10 * GIB => format!("{} GiB", bytes / GIB),
        GIB.. => format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB),
        _ => format!("{} MiB", bytes.div_ceil(MIB)),
    }
}

impl Scheduler {
    /// Why the next pass would leave `task` where it is; none when it would be given away, or is not known.
    pub fn unplaced(&mut self, task: TaskId, builders: &[Builder], now: Moment) -> Option<Unplaced> {
        let schedule = self.preview(builders, now);
        let entry = self.tasks.get(&task)?;
        if schedule.assignments.iter().any(|given| given.task == task) {
            return None;
        }
        if entry.rests {
            return Some(Unplaced::Resting { until: entry.candidate.not_before });
        }
        let class = self.classes.get(entry.class as usize)?;
        let given: BTreeSet<TaskId> = schedule.assignments.iter().map(|given| given.task).collect();
        let before = class.queue.range(..comparison::key(self.policy, &entry.candidate));
        let ahead = before.filter(|key| !given.contains(&key.task)).count();
        let held = schedule.held.iter().find(|held| held.task == task);
        Some(Prospect::new(&class.needs, builders, now).reason(held, ahead))
    }

    /// Why the next pass would leave each task that it would leave; by number of the task.
    pub fn unplaced_all(&mut self, builders: &[Builder], now: Moment) -> Vec<(TaskId, Unplaced)> {
        let Schedule { assignments, held, .. } = self.preview(builders, now);
        let given: BTreeSet<TaskId> = assignments.iter().map(|given| given.task).collect();
        let held: HashMap<TaskId, &Held> = held.iter().map(|held| (held.task, held)).collect();
        let mut all = Vec::new();
        for class in self.classes.iter().filter(|class| !class.queue.is_empty()) {
            let prospect = Prospect::new(&class.needs, builders, now);
            let left = class.queue.iter().filter(|key| !given.contains(&key.task));
            all.extend(
                left.enumerate()
                    .map(|(ahead, key)| (key.task, prospect.reason(held.get(&key.task).copied(), ahead))),
            );
        }
        all.extend(self.resting.iter().map(|&(until, task)| (task, Unplaced::Resting { until })));
        all.sort_by_key(|(task, _)| *task);
        all
    }
}

/// What a class has to expect.
struct Prospect {
    hopeless: Option<Unplaced>,
    first_end: Option<Moment>,
}

impl Prospect {
    fn new(needs: &Needs, builders: &[Builder], now: Moment) -> Self {
        let usable = builders.iter().filter(|builder| is_able(builder, needs) && is_in_use(builder, now));
        let running = usable.flat_map(|builder| &builder.running);
        Self {
            hopeless: hopeless(needs, builders, now),
            first_end: running.map(|run| expected_end(run.since, run.expected_end, now)).min(),
        }
    }

    fn reason(&self, held: Option<&Held>, ahead: usize) -> Unplaced {
        match (&self.hopeless, held) {
            (Some(hopeless), _) => hopeless.clone(),
            (None, Some(Held { builder, until, for_memory: true, .. })) => {
                Unplaced::ReservedFor { builder: builder.clone(), until: *until }
            }
            (None, Some(Held { builder, until, for_memory: false, .. })) => {
                Unplaced::HeldFor { builder: builder.clone(), until: *until }
            }
            (None, None) => Unplaced::Busy { ahead, until: self.first_end },
        }
    }
}

/// Why no connected builder takes such a build, were all of them idle.
fn hopeless(needs: &Needs, builders: &[Builder], now: Moment) -> Option<Unplaced> {
    if builders.is_empty() {
        return Some(Unplaced::NoBuilder);
    }
    let mut left: Vec<&Builder> = builders.iter().collect();
    left.retain(|builder| builder.architectures.contains(&needs.architecture));
    if left.is_empty() {
        return Some(Unplaced::NoArchitecture { architecture: needs.architecture.clone() });
    }
    let lacks = |builder: &Builder| needs.features.difference(&builder.features).cloned().collect();
    let fewest: Option<BTreeSet<String>> =
        left.iter().map(|builder| lacks(builder)).min_by_key(|lacks: &BTreeSet<String>| lacks.len());
    left.retain(|builder| needs.features.is_subset(&builder.features));
    if left.is_empty() {
        return Some(Unplaced::NoFeature { features: fewest.unwrap_or_default() });
    }
    left.retain(|builder| builder.trust >= needs.trust);
    if left.is_empty() {
        return Some(Unplaced::NotTrusted);
    }
    let largest_bytes = left.iter().map(|builder| builder.memory_bytes).max().unwrap_or_default();
    left.retain(|builder| builder.memory_bytes == 0 || builder.memory_bytes >= needs.memory_bytes);
    if left.is_empty() {
        return Some(Unplaced::NoMemory { needed_bytes: needs.memory_bytes, largest_bytes });
    }
    let largest_bytes = left.iter().map(|builder| builder.disk_free_bytes).max().unwrap_or_default();
    left.retain(|builder| builder.disk_free_bytes == 0 || builder.disk_free_bytes >= needs.disk_bytes);
    if left.is_empty() {
        return Some(Unplaced::NoDisk { needed_bytes: needs.disk_bytes, largest_bytes });
    }
    if !left.iter().any(|builder| is_trusted_now(builder, now)) {
        let resting = left.iter().filter(|builder| !builder.drained);
        let first = resting.filter_map(|builder| Some((rests_until(builder)?, &builder.id))).min();
        return match (first, left.first()) {
            (Some((until, builder)), _) => Some(Unplaced::Quarantined { builder: builder.clone(), until }),
            (None, Some(drained)) => Some(Unplaced::Drained { builder: drained.id.clone() }),
            (None, None) => None,
        };
    }
    left.retain(|builder| is_trusted_now(builder, now));
    common_shortage(&left).map(|shortage| Unplaced::Pressed { shortage })
}
