//! Builds that take far too long, and who could begin them a second time.

use std::sync::Arc;

use crate::ids::TaskId;
use crate::moment::Moment;
use crate::schedule::pass::{Pass, duration, milliseconds, speed};
use crate::schedule::{Assignment, Builder, Candidate, Needs, Priority, Running, Schedule, Scheduler};

/// A build is a straggler when it has run this many times as long as was expected there. Estimates are seldom off by
/// that much; a machine that swaps or a disk that dies is.
const OVERDUE_TIMES: u64 = 2;

/// And at least for so long beyond that: a second start of something short saves nothing.
const OVERDUE_MS_MIN: u64 = 3 * 60 * 1000;

impl Scheduler {
    /// Second starts that are worth a free place: of builds that have run far beyond expectation, that matter to the end
    /// of the whole run, and that another builder with a free place would likely finish sooner. Ask after a pass:
    /// places that `schedule` gave away or keeps for others are not used. `needs_of` tells what a running task needs.
    ///
    /// A build that is overdue is expected to last as long again as it has lasted so far.
    #[must_use]
    pub fn stragglers(
        &self,
        builders: &[Builder],
        schedule: &Schedule,
        needs_of: impl Fn(TaskId) -> Option<Arc<Needs>>,
        now: Moment,
    ) -> Vec<Assignment> {
        let late = |run: &Running| {
            let expected_ms = run.expected_end.0.saturating_sub(run.since.0);
            let lasted_ms = now.0.saturating_sub(run.since.0);
            !run.twin
                && lasted_ms > expected_ms.saturating_mul(OVERDUE_TIMES)
                && lasted_ms > expected_ms.saturating_add(OVERDUE_MS_MIN)
        };
        let mut overdue: Vec<(&Builder, &Running)> = builders
            .iter()
            .flat_map(|builder| builder.running.iter().map(move |run| (builder, run)))
            .filter(|(_, run)| late(run))
            .collect();
        if overdue.is_empty() {
            return Vec::new();
        }
        overdue.sort_by_key(|(_, run)| (std::cmp::Reverse(run.tail_ms), run.since, run.task));
        let mut pass = Pass::new(self, builders, now);
        for given in &schedule.assignments {
            let Some(needs) = needs_of(given.task) else { continue };
            pass.occupy(&given.builder, &needs, given.expected_end);
        }
        for held in schedule.held.iter().filter(|held| held.for_memory) {
            pass.close(&held.builder);
        }
        overdue
            .into_iter()
            .filter_map(|(builder, run)| second_start(&mut pass, builder, run, &*needs_of(run.task)?, now))
            .collect()
    }
}

fn second_start(
    pass: &mut Pass<'_>,
    builder: &Builder,
    run: &Running,
    needs: &Needs,
    now: Moment,
) -> Option<Assignment> {
    let expected_ms = run.expected_end.0.saturating_sub(run.since.0);
    let lasted_ms = now.0.saturating_sub(run.since.0);
    let work_ms = crate::schedule::whole(milliseconds(expected_ms) * speed(builder));
    let candidate = Candidate {
        task: run.task,
        needs: Arc::new(needs.clone()),
        priority: Priority::Normal,
        path_ms: work_ms.saturating_add(run.tail_ms),
        expected_ms: Some(work_ms),
        since: run.since,
        not_before: Moment(0),
        avoid: None,
    };
    let place = pass.second_place(&candidate, needs, &builder.id, lasted_ms)?;
    Some(Assignment {
        why: format!(
            "runs for {} on {} instead of {}; expected {} here; the longest way after it is {}",
            duration(lasted_ms),
            builder.id,
            duration(expected_ms),
            duration(place.expected_end.0.saturating_sub(now.0)),
            duration(run.tail_ms),
        ),
        ..place
    })
}
