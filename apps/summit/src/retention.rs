//! Forgets what is older than the configuration wants to keep, a piece at a time, once an hour.
//!
//! Logs go before the rows that name them: killed in between, the next round finds the rows and goes on. What may go is
//! decided by the store (`store/retention.rs`).

use std::sync::Arc;
use std::time::Duration;

use farm::moment::Moment;
use serde::Deserialize;

use crate::hub::Hub;
use crate::logs::{LogError, Logs};
use crate::store::{Store, StoreError};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(3600);

/// Before the first: at a start there is other work.
const FIRST: Duration = Duration::from_secs(60);

/// Between two pieces, so that whoever else writes gets its turn.
const PAUSE: Duration = Duration::from_millis(50);

const DAY_MS: u64 = 24 * 3600 * 1000;

/// For how many days what is kept; 0 for ever.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Tasks that have come to an end, with their attempts, events and logs; never the newest of a recipe.
    pub task_days: u32,
    /// What happened to tasks that have come to an end.
    pub event_days: u32,
    /// How long builds took; never the last one of a source.
    pub sample_days: u32,
    /// Who changed what.
    pub audit_days: u32,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { task_days: 365, event_days: 365, sample_days: 730, audit_days: 730 }
    }
}

/// What a round came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Forgotten {
    tasks: usize,
    logs: usize,
}

#[derive(Debug, thiserror::Error)]
enum RetentionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Forgets for ever.
pub(crate) async fn run(hub: Arc<Hub>) {
    tokio::time::sleep(FIRST).await;
    loop {
        let now = hub.clock.now();
        match round(&hub.store, &hub.logs, &hub.config().retention, now).await {
            Ok(Forgotten { tasks: 0, .. }) => {}
            Ok(Forgotten { tasks, logs }) => tracing::info!(tasks, logs, "forgot what is old"),
            Err(error) => {
                tracing::warn!(
                    error = fault::chain(&error).join(": "),
                    "cannot forget what is old; trying again"
                );
            }
        }
        tokio::time::sleep(ROUND).await;
    }
}

async fn round(
    store: &Store,
    logs: &Logs,
    keep: &RetentionConfig,
    now: Moment,
) -> Result<Forgotten, RetentionError> {
    let mut forgotten = Forgotten::default();
    if let Some(before) = cut(now, keep.task_days) {
        loop {
            let old = store.forgettable(before).await?;
            if old.is_empty() {
                break;
            }
            for (task, attempts) in &old {
                for attempt in attempts {
                    logs.forget(*task, *attempt).await?;
                    forgotten.logs += 1;
                }
            }
            let tasks: Vec<_> = old.iter().map(|(task, _)| *task).collect();
            store.forget_tasks(&tasks).await?;
            forgotten.tasks += tasks.len();
            tokio::time::sleep(PAUSE).await;
        }
    }
    if let Some(before) = cut(now, keep.event_days) {
        while store.forget_events(before).await? {
            tokio::time::sleep(PAUSE).await;
        }
    }
    if let Some(before) = cut(now, keep.sample_days) {
        while store.forget_samples(before).await? {
            tokio::time::sleep(PAUSE).await;
        }
    }
    if let Some(before) = cut(now, keep.audit_days) {
        while store.forget_audit(before).await? {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(forgotten)
}

/// What is older than this goes.
fn cut(now: Moment, days: u32) -> Option<Moment> {
    (days > 0).then(|| Moment(now.0.saturating_sub(u64::from(days) * DAY_MS)))
}

#[cfg(test)]
mod tests {
    use farm::ids::{BuilderId, TaskId};
    use farm::queue::Readiness;
    use farm::task::Event;

    use super::*;
    use crate::store::tests::{each_database, new_task};

    const KEEP: RetentionConfig =
        RetentionConfig { task_days: 30, event_days: 0, sample_days: 0, audit_days: 0 };

    /// A task that was tried once, with a log, and cancelled.
    async fn ended(store: &Store, logs: &Logs, source: &str, now: Moment) -> (TaskId, farm::ids::AttemptId) {
        let task = store.carry_out(&[new_task(source)], &[], now).await.unwrap().0[0];
        store.apply(task, &Event::Judged { readiness: Readiness::Ready }, now).await.unwrap();
        let builder = BuilderId("key".into());
        let until = Moment(now.0 + 1000);
        let applied = store.assign(task, &builder, until, "why", false, now).await.unwrap();
        let attempt = applied.task.state.lease().unwrap().claim.attempt;
        logs.append(task, attempt, 0, b"a line\n").await.unwrap();
        store.apply(task, &Event::CancelAsked { why: "x".into() }, now).await.unwrap();
        (task, attempt)
    }

    #[tokio::test]
    async fn logs_go_with_their_tasks_also_when_it_was_killed_in_between() {
        each_database(async |store| {
            let folder = tempfile::tempdir().unwrap();
            let logs = Logs::new(folder.path(), 1 << 20);
            let mut tried = Vec::new();
            for day in [0, 1, 2, 40] {
                tried.push(ended(&store, &logs, "nano", Moment(1 + day * DAY_MS)).await);
            }
            let now = Moment(31 * DAY_MS);
            assert_eq!(
                round(&store, &logs, &RetentionConfig { task_days: 0, ..KEEP }, now).await.unwrap().tasks,
                0
            );
            // Killed after the log of the first one had gone.
            logs.forget(tried[0].0, tried[0].1).await.unwrap();
            let forgotten = round(&store, &logs, &KEEP, Moment(1 + 32 * DAY_MS)).await.unwrap();
            assert_eq!(forgotten, Forgotten { tasks: 2, logs: 2 });
            let left: Vec<u64> = {
                let mut left = Vec::new();
                for (task, attempt) in &tried {
                    left.push(logs.size_bytes(*task, *attempt).await);
                }
                left
            };
            assert_eq!(left, [0, 0, 7, 7], "what is younger, and the newest, has its log");
            assert!(store.task(tried[1].0).await.is_err() && store.task(tried[2].0).await.is_ok());
        })
        .await;
    }
}
