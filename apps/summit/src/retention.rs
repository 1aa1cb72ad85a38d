//! Forgets what is older than the configuration wants to keep, a piece at a time, once an hour.
//!
//! Logs go before the rows that name them: killed in between, the next round finds the rows and goes on. What may go is
//! decided by the store (`store/retention.rs`).

use std::sync::Arc;
use std::time::Duration;

use farm::moment::Moment;
use serde::Deserialize;

use crate::hub::Hub;
use crate::logs::LogError;
use crate::store::StoreError;

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
        match round(&hub, &hub.config().retention, now).await {
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

async fn round(hub: &Hub, keep: &RetentionConfig, now: Moment) -> Result<Forgotten, RetentionError> {
    let mut forgotten = Forgotten::default();
    if let Some(before) = cut(now, keep.task_days) {
        loop {
            let old = hub.store.forgettable(before).await?;
            if old.is_empty() {
                break;
            }
            for (task, attempts) in &old {
                for attempt in attempts {
                    hub.logs.forget(*task, *attempt).await?;
                    forgotten.logs += 1;
                }
            }
            let tasks: Vec<_> = old.iter().map(|(task, _)| *task).collect();
            hub.store.forget_tasks(&tasks).await?;
            forgotten.tasks += tasks.len();
            tokio::time::sleep(PAUSE).await;
        }
    }
    if let Some(before) = cut(now, keep.event_days) {
        while hub.store.forget_events(before).await? {
            tokio::time::sleep(PAUSE).await;
        }
    }
    if let Some(before) = cut(now, keep.sample_days) {
        while hub.store.forget_samples(before).await? {
            tokio::time::sleep(PAUSE).await;
        }
    }
    if let Some(before) = cut(now, keep.audit_days) {
        while hub.store.forget_audit(before).await? {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(forgotten)
}

/// What is older than this goes.
fn cut(now: Moment, days: u32) -> Option<Moment> {
    (days > 0).then(|| Moment(now.0.saturating_sub(u64::from(days) * DAY_MS)))
}
