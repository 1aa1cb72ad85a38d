//! Changes of tasks: each is one transaction, judged by [`farm::task::step`] and written with its event.

use database::sqlx;
use database::{DatabaseConnection, During};
use farm::estimate::Sample;
use farm::failure::FailureClass;
use farm::ids::{AttemptId, BuilderId, LeaseToken, TaskId};
use farm::moment::Moment;
use farm::task::{Claim, Effect, Event, Refusal, State, step};

use super::tasks::task;
use super::{
    AttemptRow, NewTask, Outcome, Store, StoreError, TaskRow, attempts, batches, builders, integer, learned,
    number, to_json, waves,
};

/// Why attempts at a replaced task are stopped.
const REPLACED: &str = "a newer task took its place";

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The task afterwards.
    pub task: TaskRow,
    /// What is to be done.
    pub effects: Vec<Effect>,
}

impl Store {
    /// Makes tasks, supersedes those that they replace, and ends those that nobody asks for any more; all or nothing.
    /// Returns the numbers of the new ones and what is to be done.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn carry_out(
        &self,
        new: &[NewTask],
        withdrawn: &[TaskId],
        now: Moment,
    ) -> Result<(Vec<TaskId>, Vec<Effect>), StoreError> {
        let mut transaction = self.database.write().await?;
        let made = batches::insert(&mut transaction, new, now).await?;
        let replaced: Vec<(TaskId, TaskId)> = new
            .iter()
            .zip(&made)
            .flat_map(|(task, &id)| task.supersedes.iter().map(move |&old| (old, id)))
            .collect();
        batches::inherit(&mut transaction, &replaced, now).await?;
        let replaced = replaced.into_iter().map(|(old, id)| (old, Event::Replaced { by: Some(id) }));
        let withdrawn = withdrawn.iter().map(|&task| (task, Event::Replaced { by: None }));
        let events: Vec<(TaskId, Event)> = replaced.chain(withdrawn).collect();
        let applied = batches::apply_all(&mut transaction, &events, now).await?;
        let effects = applied.into_iter().flat_map(|applied| applied.effects).collect();
        transaction.commit().await.during("commit new tasks")?;
        Ok((made, effects))
    }

    /// Lets `event` happen to `task`.
    ///
    /// # Errors
    /// When there is no such task, when its life cycle refuses, when the database fails.
    pub async fn apply(&self, task: TaskId, event: &Event, now: Moment) -> Result<Applied, StoreError> {
        let mut transaction = self.database.write().await?;
        let applied = apply(&mut transaction, task, event, now).await?;
        transaction.commit().await.during("commit a change of a task")?;
        Ok(applied)
    }

    /// Lets each event happen to its task, all in one transaction. Refused ones are left out: those tasks moved on by
    /// themselves.
    ///
    /// # Errors
    /// When the database fails; then nothing has happened.
    pub async fn apply_many(
        &self,
        events: &[(TaskId, Event)],
        now: Moment,
    ) -> Result<Vec<Applied>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.database.write().await?;
        let all = batches::apply_all(&mut transaction, events, now).await?;
        transaction.commit().await.during("commit changes of tasks")?;
        Ok(all)
    }

    /// Lets the end of a build happen to `task`, with what is known of it only then: how much memory it needed at once (0 when
    /// nobody knows), that its machine works, and, of one that was built, what it teaches. A build that failed may have
    /// failed early, and teaches nothing.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub async fn finish(
        &self,
        task: TaskId,
        event: &Event,
        peak_memory_bytes: u64,
        now: Moment,
    ) -> Result<(Applied, Option<Sample>), StoreError> {
        let mut transaction = self.database.write().await?;
        let applied = apply(&mut transaction, task, event, now).await?;
        let mut sample = None;
        if let Some(claim) = event.claim() {
            if peak_memory_bytes > 0 {
                attempts::note_peak(&mut transaction, claim.attempt, peak_memory_bytes).await?;
            }
            match event {
                Event::Broke { class, .. } if !class.is_host() => {
                    builders::fared_well(&mut transaction, &claim.builder).await?;
                }
                Event::Built { .. } => {
                    let attempt = attempts::attempt(&mut transaction, claim.attempt).await?;
                    sample = taught(&applied.task, &attempt);
                }
                _ => {}
            }
        }
        if let Some(sample) = &sample {
            learned::keep(&mut transaction, sample).await?;
        }
        transaction.commit().await.during("commit the end of a build")?;
        Ok((applied, sample))
    }

    /// Lets what `attempt` built be in `history`, with what it yielded, as far as the repository says: whoever sees that it
    /// has landed must see that too. Its builder works.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub async fn land(
        &self,
        task: TaskId,
        attempt: AttemptId,
        history: &str,
        output: &str,
        now: Moment,
    ) -> Result<Applied, StoreError> {
        let mut transaction = self.database.write().await?;
        let event = Event::Landed { attempt, history: history.to_owned() };
        let applied = apply(&mut transaction, task, &event, now).await?;
        let landed = attempts::attempt(&mut transaction, attempt).await?;
        if !output.is_empty() {
            let began = landed.started.unwrap_or(landed.assigned);
            waves::note_output(&mut transaction, task, began, now, output).await?;
        }
        builders::fared_well(&mut transaction, &landed.builder).await?;
        transaction.commit().await.during("commit a landing")?;
        Ok(applied)
    }

    /// Hands `task` out: a new attempt with a new token, and the lease; `is_second` beside the attempt that runs.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub async fn assign(
        &self,
        task: TaskId,
        builder: &BuilderId,
        until: Moment,
        why: &str,
        is_second: bool,
        now: Moment,
    ) -> Result<Applied, StoreError> {
        let mut transaction = self.database.write().await?;
        // Vessel and agents remember attempts by number. One that is at least the time in milliseconds is never given
        // again, even when this database is lost and begins anew.
        let row = sqlx::query(
            "INSERT INTO attempt (id, task, builder, token, assigned, why)
             VALUES ((SELECT CASE WHEN max(id) >= $1 THEN max(id) + 1 ELSE $1 END FROM attempt), $2, $3,
                     (SELECT coalesce(max(token), 0) + 1 FROM attempt), $4, $5) RETURNING id, token",
        )
        .bind(integer(now.0))
        .bind(integer(task.0))
        .bind(&builder.0)
        .bind(integer(now.0))
        .bind(why)
        .fetch_one(&mut *transaction)
        .await
        .during("make an attempt")?;
        let claim = Claim {
            builder: builder.clone(),
            attempt: AttemptId(number(&row, "id")?),
            token: LeaseToken(number(&row, "token")?),
        };
        let event = match is_second {
            false => Event::Assigned { claim, until },
            true => Event::TwinAssigned { claim, until },
        };
        let applied = apply(&mut transaction, task, &event, now).await?;
        transaction.commit().await.during("commit an assignment")?;
        Ok(applied)
    }
}

/// What the build of an attempt teaches.
fn taught(task: &TaskRow, attempt: &AttemptRow) -> Option<Sample> {
    let (started, built) = attempt.started.zip(attempt.built)?;
    Some(Sample {
        source: task.source.clone(),
        architecture: task.architecture.clone(),
        builder: attempt.builder.clone(),
        seconds: built.since(started).as_secs_f64(),
        peak_memory_bytes: attempt.peak_memory_bytes,
        at: built,
    })
}

pub(super) async fn apply(
    connection: &mut DatabaseConnection,
    id: TaskId,
    event: &Event,
    now: Moment,
) -> Result<Applied, StoreError> {
    let before = task(connection, id).await?;
    let refused = |source| StoreError::Refused { task: id, source };
    let step = step(&before.state, event, now).map_err(refused)?;
    let phase = step.next.phase().keyword();
    let changed = sqlx::query(
        "UPDATE task SET phase = $1, state = $2, generation = generation + 1, updated = $3
         WHERE id = $4 AND generation = $5",
    )
    .bind(phase)
    .bind(to_json(&step.next)?)
    .bind(integer(now.0))
    .bind(integer(id.0))
    .bind(integer(before.generation))
    .execute(&mut *connection)
    .await
    .during("change a task")?;
    if changed.rows_affected() != 1 {
        // The write lock is held, so this cannot be; and if it were, nothing may be overwritten.
        return Err(refused(Refusal::WrongPhase { verb: event.verb(), phase: before.state.phase() }));
    }
    let generation = before.generation + 1;
    // A renewal says only that a builder is alive, and comes several times a minute for each build.
    if !matches!(event, Event::Renewed { .. }) {
        sqlx::query(
            "INSERT INTO event (task, generation, at, verb, event, phase) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(integer(id.0))
        .bind(integer(generation))
        .bind(integer(now.0))
        .bind(event.verb())
        .bind(to_json(event)?)
        .bind(phase)
        .execute(&mut *connection)
        .await
        .during("note an event")?;
    }
    note_attempt(connection, &before.state, event, &step.effects, now).await?;
    let task = TaskRow { state: step.next, generation, updated: now, ..before };
    Ok(Applied { task, effects: step.effects })
}

/// What an event means for the attempt that it is about, and for those that it stops.
pub(super) async fn note_attempt(
    connection: &mut DatabaseConnection,
    before: &State,
    event: &Event,
    effects: &[Effect],
    now: Moment,
) -> Result<(), StoreError> {
    let running = before.lease().map(|lease| lease.claim.attempt);
    let Some(attempt) = event.claim().map(|claim| claim.attempt).or(running) else { return Ok(()) };
    for effect in effects {
        let Effect::StopBuild(claim) = effect else { continue };
        if claim.attempt != attempt {
            let why = match event {
                Event::CancelAsked { why } => why,
                Event::Replaced { .. } => REPLACED,
                _ => "the other attempt at the same task came to an end first",
            };
            let stopped = Outcome::Stopped { why: why.to_owned() };
            end_attempt(connection, claim.attempt, &stopped, false, now).await?;
        }
    }
    let attempt_number = integer(attempt.0);
    let failed = |class: FailureClass, message: &str, during: &str| Outcome::Failed {
        class,
        message: message.to_owned(),
        during: during.to_owned(),
    };
    let outcome = match event {
        Event::Started { .. } => {
            sqlx::query("UPDATE attempt SET started = coalesce(started, $1) WHERE id = $2")
                .bind(integer(now.0))
                .bind(attempt_number)
                .execute(&mut *connection)
                .await
                .during("note the start of an attempt")?;
            return Ok(());
        }
        Event::Built { .. } => {
            sqlx::query("UPDATE attempt SET started = coalesce(started, $1), built = $1 WHERE id = $2")
                .bind(integer(now.0))
                .bind(attempt_number)
                .execute(&mut *connection)
                .await
                .during("note the end of a build")?;
            return Ok(());
        }
        Event::Landed { history, .. } => Outcome::Published { history: history.clone() },
        Event::Broke { class, message, during, .. } => failed(*class, message, during),
        Event::Expired { .. } => failed(FailureClass::Lost, "nothing was heard of the builder", ""),
        Event::Declined { reason, .. } => failed(FailureClass::HostFault, reason, ""),
        Event::Rejected { reason, .. } => failed(FailureClass::StoreFault, reason, "publish"),
        Event::CancelAsked { why } => Outcome::Stopped { why: why.clone() },
        Event::Replaced { .. } => Outcome::Stopped { why: REPLACED.into() },
        _ => return Ok(()),
    };
    let withdraw = effects.iter().any(|effect| matches!(effect, Effect::Withdraw(_)));
    end_attempt(connection, attempt, &outcome, withdraw, now).await
}

async fn end_attempt(
    connection: &mut DatabaseConnection,
    attempt: AttemptId,
    outcome: &Outcome,
    withdraw: bool,
    now: Moment,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE attempt SET ended = $1, outcome = $2, withdraw = $3 WHERE id = $4")
        .bind(integer(now.0))
        .bind(to_json(outcome)?)
        .bind(i64::from(withdraw))
        .bind(integer(attempt.0))
        .execute(&mut *connection)
        .await
        .during("note the end of an attempt")?;
    Ok(())
}
