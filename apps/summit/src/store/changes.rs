//! Changes of tasks: each is one transaction, judged by [`farm::task::step`] and written with its event.

use database::sqlx;
use database::{DatabaseConnection, During};
use farm::failure::FailureClass;
use farm::ids::{AttemptId, BuilderId, LeaseToken, TaskId};
use farm::moment::Moment;
use farm::task::{Claim, Effect, Event, Refusal, State, step};

use super::tasks::task;
use super::{NewTask, Outcome, Store, StoreError, TaskRow, integer, number, to_json};

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
        let mut made = Vec::new();
        let mut effects = Vec::new();
        for task in new {
            let id = insert(&mut transaction, task, now).await?;
            for &old in &task.supersedes {
                inherit(&mut transaction, old, id, now).await?;
                let event = Event::Replaced { by: Some(id) };
                effects.extend(change(&mut transaction, old, &event, now).await?);
            }
            made.push(id);
        }
        for &task in withdrawn {
            effects.extend(change(&mut transaction, task, &Event::Replaced { by: None }, now).await?);
        }
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
        let mut all = Vec::with_capacity(events.len());
        for (id, event) in events {
            match apply(&mut transaction, *id, event, now).await {
                Ok(applied) => all.push(applied),
                Err(StoreError::Refused { source, .. }) => {
                    tracing::debug!(task.id = %id, reason = %source, "the task moved on meanwhile");
                }
                Err(error) => return Err(error),
            }
        }
        transaction.commit().await.during("commit changes of tasks")?;
        Ok(all)
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

async fn insert(
    connection: &mut DatabaseConnection,
    task: &NewTask,
    now: Moment,
) -> Result<TaskId, StoreError> {
    let state = State::new();
    let row = sqlx::query(
        "INSERT INTO task (project, channel, source, version, release, build_release, architecture, recipe_path, content,
             git_commit, commit_time_seconds, reason, wave, round, phase, state, generation, created, updated)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 0, $17, $18) RETURNING id",
    )
    .bind(&task.project)
    .bind(&task.channel)
    .bind(&task.source)
    .bind(&task.version)
    .bind(integer(task.release))
    .bind(integer(task.build_release))
    .bind(&task.architecture)
    .bind(&task.recipe_path)
    .bind(&task.content)
    .bind(&task.commit)
    .bind(integer(task.commit_time_seconds))
    .bind(to_json(&task.reason)?)
    .bind(task.wave.map(integer))
    .bind(i64::from(task.round))
    .bind(state.phase().keyword())
    .bind(to_json(&state)?)
    .bind(integer(now.0))
    .bind(integer(now.0))
    .fetch_one(&mut *connection)
    .await
    .during("make a task")?;
    Ok(TaskId(number(&row, "id")?))
}

/// What a person said about a task holds for the one that takes its place: its priority, and that it is held.
async fn inherit(
    connection: &mut DatabaseConnection,
    old: TaskId,
    new: TaskId,
    now: Moment,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE task SET priority = (SELECT priority FROM task WHERE id = $1) WHERE id = $2 AND priority IS NULL")
        .bind(integer(old.0))
        .bind(integer(new.0))
        .execute(&mut *connection)
        .await
        .during("hand on the priority of a task")?;
    if let State::Held { by, why, .. } = task(connection, old).await?.state {
        apply(connection, new, &Event::Held { by, why }, now).await?;
    }
    Ok(())
}

/// As [`apply`], but a refusal leaves everything as it is: the task moved on by itself meanwhile.
async fn change(
    connection: &mut DatabaseConnection,
    id: TaskId,
    event: &Event,
    now: Moment,
) -> Result<Vec<Effect>, StoreError> {
    match apply(connection, id, event, now).await {
        Ok(applied) => Ok(applied.effects),
        Err(StoreError::Refused { source, .. }) => {
            tracing::info!(task.id = %id, reason = %source, "a task was left as it is");
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

async fn apply(
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
async fn note_attempt(
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
