//! Which ready task goes to which builder.
//!
//! The task at the beginning of the longest way goes first, then the one that waited longest. A builder must have the
//! architecture and a free place. Every task that finds none is answered with the reason.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{BuilderId, TaskId};
use crate::moment::Moment;

/// Faults of the machine in a row after which a builder gets no work for a while.
const FAULTS_BEFORE_REST: u32 = 2;

/// How long the first rest lasts; each further fault doubles it. Long enough to notice, short enough that a machine
/// that was mended is back before anybody looks.
const REST_FIRST: Duration = Duration::from_secs(60);

/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(30 * 60);

/// A task that may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The task.
    pub task: TaskId,
    /// Architecture it is built for.
    pub architecture: String,
    /// Recipes on the longest way that begins here; see [`crate::graph::Node::height`].
    pub height: usize,
    /// Ready since.
    pub since: Moment,
    /// Not to be started before.
    pub not_before: Moment,
    /// The builder of its last attempt that came to nothing; another one is preferred.
    pub avoid: Option<BuilderId>,
}

/// A builder that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    /// Who it is.
    pub id: BuilderId,
    /// Architectures it builds for.
    pub architectures: Vec<String>,
    /// Builds it takes at once.
    pub slots: u32,
    /// Builds it has.
    pub running: u32,
    /// Whether it is to get no more work.
    pub drained: bool,
    /// Faults of the machine since its last build that reached an end.
    pub faults_in_row: u32,
    /// When the last of them was.
    pub last_fault: Moment,
}

/// A task goes to a builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The task.
    pub task: TaskId,
    /// The builder.
    pub builder: BuilderId,
    /// Why this task and this builder, for people.
    pub why: String,
}

/// Why a ready task was given to nobody.
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
    /// Every builder that could is busy.
    Busy,
    /// Every builder that could is drained, or set aside after faults.
    SetAside,
}

impl std::fmt::Display for Unplaced {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unplaced::Resting { .. } => formatter.write_str("is tried again in a moment"),
            Unplaced::NoBuilder => formatter.write_str("no builder is connected"),
            Unplaced::NoArchitecture { architecture } => {
                write!(formatter, "no connected builder has {architecture}")
            }
            Unplaced::Busy => formatter.write_str("every builder is busy"),
            Unplaced::SetAside => formatter.write_str("every builder is drained, or set aside after faults"),
        }
    }
}

/// Who gets what, and why the others get nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// To be carried out, in this order.
    pub assignments: Vec<Assignment>,
    /// Tasks that stay.
    pub unplaced: Vec<(TaskId, Unplaced)>,
}

/// Until when a builder gets no work because of its faults; none when it is trusted.
#[must_use]
pub fn rests_until(builder: &Builder) -> Option<Moment> {
    let beyond = builder.faults_in_row.checked_sub(FAULTS_BEFORE_REST)?;
    let rest = REST_FIRST.saturating_mul(1 << beyond.min(10)).min(REST_MAX);
    Some(builder.last_fault.after(rest))
}

/// Gives tasks to builders.
#[must_use]
pub fn assign(mut candidates: Vec<Candidate>, builders: &[Builder], now: Moment) -> Schedule {
    candidates
        .sort_by_key(|candidate| (std::cmp::Reverse(candidate.height), candidate.since, candidate.task));
    let mut free: Vec<(u32, &Builder)> =
        builders.iter().map(|builder| (builder.slots.saturating_sub(builder.running), builder)).collect();
    let mut schedule = Schedule::default();
    for candidate in candidates {
        match place(&candidate, &mut free, now) {
            Ok(builder) => schedule.assignments.push(Assignment {
                task: candidate.task,
                builder,
                why: format!(
                    "{} recipes long way, ready for {} s",
                    candidate.height,
                    now.since(candidate.since).as_secs()
                ),
            }),
            Err(why) => schedule.unplaced.push((candidate.task, why)),
        }
    }
    schedule
}

fn place(candidate: &Candidate, free: &mut [(u32, &Builder)], now: Moment) -> Result<BuilderId, Unplaced> {
    if candidate.not_before > now {
        return Err(Unplaced::Resting { until: candidate.not_before });
    }
    if free.is_empty() {
        return Err(Unplaced::NoBuilder);
    }
    let able = |builder: &Builder| builder.architectures.contains(&candidate.architecture);
    if !free.iter().any(|(_, builder)| able(builder)) {
        return Err(Unplaced::NoArchitecture { architecture: candidate.architecture.clone() });
    }
    let trusted =
        |builder: &Builder| !builder.drained && rests_until(builder).is_none_or(|until| until <= now);
    let usable = |builder: &Builder| able(builder) && trusted(builder);
    if !free.iter().any(|(_, builder)| usable(builder)) {
        return Err(Unplaced::SetAside);
    }
    // The one with the most free places, so that work spreads; another than the last one where there is a choice.
    let best = free.iter_mut().filter(|(slots, builder)| *slots > 0 && usable(builder)).max_by_key(
        |(slots, builder)| {
            let is_other = candidate.avoid.as_ref() != Some(&builder.id);
            (is_other, *slots, std::cmp::Reverse(&builder.id))
        },
    );
    let Some((slots, builder)) = best else { return Err(Unplaced::Busy) };
    *slots -= 1;
    Ok(builder.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(task: u64, height: usize, since: u64) -> Candidate {
        Candidate {
            task: TaskId(task),
            architecture: "x86_64".into(),
            height,
            since: Moment(since),
            not_before: Moment(0),
            avoid: None,
        }
    }

    fn builder(id: &str, slots: u32, running: u32) -> Builder {
        Builder {
            id: BuilderId(id.into()),
            architectures: vec!["x86_64".into()],
            slots,
            running,
            drained: false,
            faults_in_row: 0,
            last_fault: Moment(0),
        }
    }

    fn pairs(schedule: &Schedule) -> Vec<(u64, &str)> {
        schedule.assignments.iter().map(|given| (given.task.0, given.builder.0.as_str())).collect()
    }

    const NOW: Moment = Moment(1_000_000);

    #[test]
    fn the_longest_way_goes_first_then_the_oldest_then_the_smallest_number() {
        let candidates =
            vec![candidate(1, 1, 10), candidate(2, 3, 90), candidate(3, 1, 5), candidate(4, 1, 5)];
        let schedule = assign(candidates, &[builder("a", 3, 0)], NOW);
        assert_eq!(pairs(&schedule), [(2, "a"), (3, "a"), (4, "a")]);
        assert_eq!(schedule.unplaced, [(TaskId(1), Unplaced::Busy)]);
    }

    #[test]
    fn work_spreads_over_builders() {
        let candidates = (1..=4).map(|task| candidate(task, 1, 0)).collect();
        let schedule = assign(candidates, &[builder("a", 2, 0), builder("b", 3, 0)], NOW);
        assert_eq!(pairs(&schedule), [(1, "b"), (2, "a"), (3, "b"), (4, "a")]);
    }

    #[test]
    fn every_reason_to_wait_has_a_name() {
        let arm = Builder { architectures: vec!["aarch64".into()], ..builder("arm", 1, 0) };
        let drained = Builder { drained: true, ..builder("d", 1, 0) };
        let faulty = Builder { faults_in_row: 2, last_fault: NOW, ..builder("f", 1, 0) };
        let resting = Candidate { not_before: Moment(NOW.0 + 1), ..candidate(1, 1, 0) };
        let table: [(Candidate, Vec<Builder>, Unplaced); 6] = [
            (candidate(1, 1, 0), vec![], Unplaced::NoBuilder),
            (candidate(1, 1, 0), vec![arm], Unplaced::NoArchitecture { architecture: "x86_64".into() }),
            (candidate(1, 1, 0), vec![builder("a", 1, 1)], Unplaced::Busy),
            (candidate(1, 1, 0), vec![drained], Unplaced::SetAside),
            (candidate(1, 1, 0), vec![faulty], Unplaced::SetAside),
            (resting, vec![builder("a", 1, 0)], Unplaced::Resting { until: Moment(NOW.0 + 1) }),
        ];
        for (candidate, builders, expect) in table {
            let schedule = assign(vec![candidate], &builders, NOW);
            assert_eq!(schedule.unplaced, [(TaskId(1), expect)]);
            assert!(schedule.assignments.is_empty());
        }
    }

    #[test]
    fn a_retry_goes_elsewhere_where_there_is_a_choice() {
        let retry = Candidate { avoid: Some(BuilderId("a".into())), ..candidate(1, 1, 0) };
        let both = [builder("a", 4, 0), builder("b", 1, 0)];
        assert_eq!(pairs(&assign(vec![retry.clone()], &both, NOW)), [(1, "b")]);
        assert_eq!(pairs(&assign(vec![retry], &both[..1], NOW)), [(1, "a")]);
    }

    #[test]
    fn two_faults_in_a_row_set_a_builder_aside_for_a_growing_while() {
        for (faults, seconds) in [(0, None), (1, None), (2, Some(60)), (3, Some(120)), (40, Some(1800))] {
            let builder = Builder { faults_in_row: faults, last_fault: NOW, ..builder("a", 1, 0) };
            let expect = seconds.map(|seconds| NOW.after(Duration::from_secs(seconds)));
            assert_eq!(rests_until(&builder), expect, "{faults}");
        }
        let mended = Builder { faults_in_row: 2, last_fault: Moment(0), ..builder("a", 1, 0) };
        assert_eq!(pairs(&assign(vec![candidate(1, 1, 0)], &[mended], NOW)), [(1, "a")]);
    }
}
