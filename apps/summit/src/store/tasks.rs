//! Tasks, their attempts and their events.

use database::sqlx::sqlite::SqliteRow;
use database::sqlx::{self, Row, SqliteConnection};
use database::{DatabaseError, During};
use farm::failure::FailureClass;
use farm::ids::{AttemptId, BuilderId, LeaseToken, TaskId};
use farm::missing::Reason;
use farm::moment::Moment;
use farm::plan::KnownTask;
use farm::task::{Claim, Effect, Event, Phase, Refusal, State, step};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, integer, json, number, optional_number, text, to_json};

/// A task as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// Its number.
    pub id: TaskId,
    /// Source name.
    pub source: String,
    /// Version.
    pub version: String,
    /// Release.
    pub release: u64,
    /// Build release.
    pub build_release: u64,
    /// Architecture.
    pub architecture: String,
    /// Path of the recipe in its repository.
    pub recipe_path: String,
    /// Content of the recipe.
    pub content: String,
    /// The commit that it is built from.
    pub commit: String,
    /// Time of that commit, in seconds since 1970.
    pub commit_time_seconds: u64,
    /// Why it is needed.
    pub reason: Reason,
    /// Where it stands.
    pub state: State,
    /// How often it changed.
    pub generation: u64,
    /// When it was made.
    pub created: Moment,
    /// When it changed last.
    pub updated: Moment,
}

/// A task to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// Source name.
    pub source: String,
    /// Version.
    pub version: String,
    /// Release.
    pub release: u64,
    /// Build release.
    pub build_release: u64,
    /// Architecture.
    pub architecture: String,
    /// Path of the recipe in its repository.
    pub recipe_path: String,
    /// Content of the recipe.
    pub content: String,
    /// The commit that it is built from.
    pub commit: String,
    /// Time of that commit, in seconds since 1970.
    pub commit_time_seconds: u64,
    /// Why it is needed.
    pub reason: Reason,
    /// Tasks that it replaces.
    pub supersedes: Vec<TaskId>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The repository has what it built.
    Published {
        /// The first history that has it.
        history: String,
    },
    /// It came to nothing.
    Failed {
        /// Why.
        class: FailureClass,
        /// Why, in a line.
        message: String,
        /// In which part of the build.
        during: String,
    },
    /// Somebody stopped it.
    Stopped {
        /// Why.
        why: String,
    },
}

/// An attempt as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Its number.
    pub id: AttemptId,
    /// Its task.
    pub task: TaskId,
    /// Who has or had it.
    pub builder: BuilderId,
    /// The token of its lease.
    pub token: LeaseToken,
    /// When it was handed out.
    pub assigned: Moment,
    /// When the build began.
    pub started: Option<Moment>,
    /// When the build was finished.
    pub built: Option<Moment>,
    /// When everything was over.
    pub ended: Option<Moment>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why this builder got it at that time.
    pub why: String,
    /// Whether its log has reached the limit.
    pub log_full: bool,
}

impl AttemptRow {
    /// What a report on it must carry.
    #[must_use]
    pub fn claim(&self) -> Claim {
        Claim { builder: self.builder.clone(), attempt: self.id, token: self.token }
    }
}

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// When.
    pub at: Moment,
    /// What, in a word.
    pub verb: String,
    /// What, with everything.
    pub event: Event,
    /// Where the task stood afterwards.
    pub phase: Phase,
}

/// How far the tasks have come: two equal marks mean that nothing but renewals of leases lies between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    newest_task: u64,
    newest_event: u64,
}

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

    /// Hands `task` out: a new attempt with a new token, and the lease.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub async fn assign(
        &self,
        task: TaskId,
        builder: &BuilderId,
        until: Moment,
        why: &str,
        now: Moment,
    ) -> Result<Applied, StoreError> {
        let mut transaction = self.database.write().await?;
        // Vessel and agents remember attempts by number. One that is at least the time in milliseconds is never given
        // again, even when this database is lost and begins anew.
        let row = sqlx::query(
            "INSERT INTO attempt (id, task, builder, token, assigned, why)
             VALUES ((SELECT max(coalesce(max(id), 0) + 1, ?) FROM attempt), ?, ?,
                     (SELECT coalesce(max(token), 0) + 1 FROM attempt), ?, ?) RETURNING id, token",
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
        let applied = apply(&mut transaction, task, &Event::Assigned { claim, until }, now).await?;
        transaction.commit().await.during("commit an assignment")?;
        Ok(applied)
    }

    /// How far the tasks have come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mark(&self) -> Result<Mark, StoreError> {
        let row = sqlx::query(
            "SELECT (SELECT coalesce(max(id), 0) FROM task) AS task, (SELECT coalesce(max(id), 0) FROM event) AS event",
        )
        .fetch_one(self.database.pool())
        .await
        .during("read how far the tasks are")?;
        Ok(Mark { newest_task: number(&row, "task")?, newest_event: number(&row, "event")? })
    }

    /// The task of this number.
    ///
    /// # Errors
    /// When there is none, when the database fails.
    pub async fn task(&self, id: TaskId) -> Result<TaskRow, StoreError> {
        let mut connection = self.database.pool().acquire().await.during("read a task")?;
        task(&mut connection, id).await
    }

    /// Tasks in these phases, the oldest first, all as they were at one moment: a task that moves from one of the phases
    /// to another meanwhile is there in any case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tasks_in(&self, phases: &[Phase]) -> Result<Vec<TaskRow>, StoreError> {
        let keywords: Vec<&str> = phases.iter().map(|phase| phase.keyword()).collect();
        let rows =
            sqlx::query("SELECT * FROM task WHERE phase IN (SELECT value FROM json_each(?)) ORDER BY id")
                .bind(to_json(&keywords)?)
                .fetch_all(self.database.pool())
                .await
                .during("list tasks")?;
        Ok(rows.iter().map(task_of).collect::<Result<_, _>>()?)
    }

    /// A page of tasks, those that changed last first, and how many there are in all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task_page(
        &self,
        phase: Option<Phase>,
        offset: u64,
        count: u64,
    ) -> Result<(Vec<TaskRow>, u64), StoreError> {
        let keyword = phase.map(Phase::keyword);
        let total = sqlx::query("SELECT count(*) AS n FROM task WHERE ?1 IS NULL OR phase = ?1")
            .bind(keyword)
            .fetch_one(self.database.pool())
            .await
            .during("count tasks")?;
        let rows = sqlx::query(
            "SELECT * FROM task WHERE ?1 IS NULL OR phase = ?1 ORDER BY updated DESC, id DESC LIMIT ?2 OFFSET ?3",
        )
        .bind(keyword)
        .bind(integer(count))
        .bind(integer(offset))
        .fetch_all(self.database.pool())
        .await
        .during("list tasks")?;
        let tasks = rows.iter().map(task_of).collect::<Result<_, _>>()?;
        Ok((tasks, number(&total, "n")?))
    }

    /// How many tasks stand where.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn counts(&self) -> Result<Vec<(Phase, u64)>, StoreError> {
        let rows = sqlx::query("SELECT phase, count(*) AS n FROM task GROUP BY phase")
            .fetch_all(self.database.pool())
            .await
            .during("count tasks")?;
        let mut counts: Vec<(Phase, u64)> = Phase::ALL.into_iter().map(|phase| (phase, 0)).collect();
        for row in &rows {
            let keyword = text(row, "phase")?;
            let count = number(row, "n")?;
            for entry in counts.iter_mut().filter(|(phase, _)| phase.keyword() == keyword) {
                entry.1 = count;
            }
        }
        Ok(counts)
    }

    /// The newest task of each recipe that is not superseded, and every one that is open.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_tasks(&self) -> Result<Vec<(KnownTask, Moment)>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, recipe_path, content, release, build_release, phase, updated FROM task
             WHERE phase NOT IN ('published', 'superseded')
                OR id IN (SELECT max(id) FROM task WHERE phase = 'published' GROUP BY recipe_path)",
        )
        .fetch_all(self.database.pool())
        .await
        .during("list known tasks")?;
        rows.iter()
            .map(|row| {
                let known = KnownTask {
                    id: TaskId(number(row, "id")?),
                    recipe_path: text(row, "recipe_path")?,
                    content: text(row, "content")?,
                    release: number(row, "release")?,
                    build_release: number(row, "build_release")?,
                    phase: phase_of(row)?,
                };
                Ok((known, Moment(number(row, "updated")?)))
            })
            .collect()
    }

    /// The attempts of a task, the first one first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn attempts(&self, task: TaskId) -> Result<Vec<AttemptRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM attempt WHERE task = ? ORDER BY id")
            .bind(integer(task.0))
            .fetch_all(self.database.pool())
            .await
            .during("list attempts")?;
        rows.iter().map(|row| attempt_of(row).map_err(StoreError::from)).collect()
    }

    /// The attempt of this number.
    ///
    /// # Errors
    /// When there is none, when the database fails.
    pub async fn attempt(&self, id: AttemptId) -> Result<AttemptRow, StoreError> {
        let row = sqlx::query("SELECT * FROM attempt WHERE id = ?")
            .bind(integer(id.0))
            .fetch_optional(self.database.pool())
            .await
            .during("read an attempt")?;
        match row {
            Some(row) => Ok(attempt_of(&row)?),
            None => Err(StoreError::NotFound { what: format!("attempt {id}") }),
        }
    }

    /// The last events of a task, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(&self, task: TaskId, count: u64) -> Result<Vec<EventRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM event WHERE task = ? ORDER BY id DESC LIMIT ?")
            .bind(integer(task.0))
            .bind(integer(count))
            .fetch_all(self.database.pool())
            .await
            .during("list events")?;
        rows.iter()
            .map(|row| {
                Ok(EventRow {
                    at: Moment(number(row, "at")?),
                    verb: text(row, "verb")?,
                    event: json(row, "event")?,
                    phase: phase_of(row)?,
                })
            })
            .collect()
    }

    /// Notes that the log of an attempt has reached its limit.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_is_full(&self, attempt: AttemptId) -> Result<(), StoreError> {
        sqlx::query("UPDATE attempt SET log_full = 1 WHERE id = ?")
            .bind(integer(attempt.0))
            .execute(self.database.pool())
            .await
            .during("note a full log")?;
        Ok(())
    }

    /// Attempts that the repository should forget.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn to_withdraw(&self) -> Result<Vec<AttemptId>, StoreError> {
        let rows = sqlx::query("SELECT id FROM attempt WHERE withdraw = 1 ORDER BY id LIMIT 100")
            .fetch_all(self.database.pool())
            .await
            .during("list attempts to withdraw")?;
        rows.iter().map(|row| Ok(AttemptId(number(row, "id")?))).collect()
    }

    /// Notes that the repository has forgotten an attempt.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn withdrawn(&self, attempt: AttemptId) -> Result<(), StoreError> {
        sqlx::query("UPDATE attempt SET withdraw = 0 WHERE id = ?")
            .bind(integer(attempt.0))
            .execute(self.database.pool())
            .await
            .during("note a withdrawal")?;
        Ok(())
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    task: &NewTask,
    now: Moment,
) -> Result<TaskId, StoreError> {
    let state = State::new();
    let row = sqlx::query(
        "INSERT INTO task (source, version, release, build_release, architecture, recipe_path, content, git_commit,
             commit_time_seconds, reason, phase, state, generation, created, updated)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?) RETURNING id",
    )
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
    .bind(state.phase().keyword())
    .bind(to_json(&state)?)
    .bind(integer(now.0))
    .bind(integer(now.0))
    .fetch_one(&mut *connection)
    .await
    .during("make a task")?;
    Ok(TaskId(number(&row, "id")?))
}

/// As [`apply`], but a refusal leaves everything as it is: the task moved on by itself meanwhile.
async fn change(
    connection: &mut SqliteConnection,
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
    connection: &mut SqliteConnection,
    id: TaskId,
    event: &Event,
    now: Moment,
) -> Result<Applied, StoreError> {
    let before = task(connection, id).await?;
    let refused = |source| StoreError::Refused { task: id, source };
    let step = step(&before.state, event, now).map_err(refused)?;
    let phase = step.next.phase().keyword();
    let changed = sqlx::query(
        "UPDATE task SET phase = ?, state = ?, generation = generation + 1, updated = ?
         WHERE id = ? AND generation = ?",
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
        sqlx::query("INSERT INTO event (task, generation, at, verb, event, phase) VALUES (?, ?, ?, ?, ?, ?)")
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
    connection: &mut SqliteConnection,
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
            let why = "the other attempt at the same task came to an end first".to_owned();
            end_attempt(connection, claim.attempt, &Outcome::Stopped { why }, false, now).await?;
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
            sqlx::query("UPDATE attempt SET started = coalesce(started, ?) WHERE id = ?")
                .bind(integer(now.0))
                .bind(attempt_number)
                .execute(&mut *connection)
                .await
                .during("note the start of an attempt")?;
            return Ok(());
        }
        Event::Built { .. } => {
            sqlx::query("UPDATE attempt SET started = coalesce(started, ?1), built = ?1 WHERE id = ?2")
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
        Event::Replaced { .. } => Outcome::Stopped { why: "a newer task took its place".into() },
        _ => return Ok(()),
    };
    let withdraw = effects.iter().any(|effect| matches!(effect, Effect::Withdraw(_)));
    end_attempt(connection, attempt, &outcome, withdraw, now).await
}

async fn end_attempt(
    connection: &mut SqliteConnection,
    attempt: AttemptId,
    outcome: &Outcome,
    withdraw: bool,
    now: Moment,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE attempt SET ended = ?, outcome = ?, withdraw = ? WHERE id = ?")
        .bind(integer(now.0))
        .bind(to_json(outcome)?)
        .bind(withdraw)
        .bind(integer(attempt.0))
        .execute(&mut *connection)
        .await
        .during("note the end of an attempt")?;
    Ok(())
}

async fn task(connection: &mut SqliteConnection, id: TaskId) -> Result<TaskRow, StoreError> {
    let row = sqlx::query("SELECT * FROM task WHERE id = ?")
        .bind(integer(id.0))
        .fetch_optional(connection)
        .await
        .during("read a task")?;
    match row {
        Some(row) => Ok(task_of(&row)?),
        None => Err(StoreError::NotFound { what: format!("task {id}") }),
    }
}

fn task_of(row: &SqliteRow) -> Result<TaskRow, DatabaseError> {
    Ok(TaskRow {
        id: TaskId(number(row, "id")?),
        source: text(row, "source")?,
        version: text(row, "version")?,
        release: number(row, "release")?,
        build_release: number(row, "build_release")?,
        architecture: text(row, "architecture")?,
        recipe_path: text(row, "recipe_path")?,
        content: text(row, "content")?,
        commit: text(row, "git_commit")?,
        commit_time_seconds: number(row, "commit_time_seconds")?,
        reason: json(row, "reason")?,
        state: json(row, "state")?,
        generation: number(row, "generation")?,
        created: Moment(number(row, "created")?),
        updated: Moment(number(row, "updated")?),
    })
}

fn attempt_of(row: &SqliteRow) -> Result<AttemptRow, DatabaseError> {
    let outcome: Option<String> = row.try_get("outcome").during("read an attempt")?;
    Ok(AttemptRow {
        id: AttemptId(number(row, "id")?),
        task: TaskId(number(row, "task")?),
        builder: BuilderId(text(row, "builder")?),
        token: LeaseToken(number(row, "token")?),
        assigned: Moment(number(row, "assigned")?),
        started: optional_number(row, "started")?.map(Moment),
        built: optional_number(row, "built")?.map(Moment),
        ended: optional_number(row, "ended")?.map(Moment),
        outcome: outcome.map(|_| json(row, "outcome")).transpose()?,
        why: text(row, "why")?,
        log_full: number(row, "log_full")? != 0,
    })
}

fn phase_of(row: &SqliteRow) -> Result<Phase, DatabaseError> {
    let keyword = text(row, "phase")?;
    Phase::from_keyword(&keyword).ok_or_else(|| DatabaseError::Damaged {
        what: "phase".into(),
        why: format!("{keyword:?} is not known"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_task() -> NewTask {
        NewTask {
            source: "nano".into(),
            version: "7.2".into(),
            release: 1,
            build_release: 1,
            architecture: "x86_64".into(),
            recipe_path: "nano/stone.yaml".into(),
            content: String::new(),
            commit: "0".repeat(40),
            commit_time_seconds: 0,
            reason: Reason::New,
            supersedes: Vec::new(),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_task_that_moves_while_it_is_looked_for_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("summit.db")).await.unwrap();
        store.carry_out(&[new_task()], &[], Moment(0)).await.unwrap();
        let id = store.tasks_in(&Phase::ALL).await.unwrap()[0].id;
        let moving = tokio::spawn({
            let store = store.clone();
            async move {
                for round in 0..100 {
                    let cancel = Event::CancelAsked { why: format!("round {round}") };
                    store.apply(id, &cancel, Moment(round)).await.unwrap();
                    store.apply(id, &Event::RetryAsked, Moment(round)).await.unwrap();
                }
            }
        });
        let phases = [Phase::Waiting, Phase::Building, Phase::Failed, Phase::Cancelled];
        while !moving.is_finished() {
            assert_eq!(store.tasks_in(&phases).await.unwrap().len(), 1);
        }
        moving.await.unwrap();
    }
}
