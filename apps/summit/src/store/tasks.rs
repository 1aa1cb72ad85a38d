//! Tasks, their attempts and their events.

use database::sqlx::sqlite::SqliteRow;
use database::sqlx::{self, Row, SqliteConnection};
use database::{DatabaseError, During};
use farm::failure::FailureClass;
use farm::ids::{AttemptId, BuilderId, LeaseToken, TaskId};
use farm::missing::Reason;
use farm::moment::Moment;
use farm::plan::KnownTask;
use farm::task::{Claim, Event, Phase, State};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, integer, json, number, optional_number, text, to_json};

/// A task as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// Its number.
    pub id: TaskId,
    /// The project that asks for it.
    pub project: String,
    /// The channel that it is published to.
    pub channel: String,
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
    /// The wave of the knot that it is built with.
    pub wave: Option<u64>,
    /// The round in its knot, from 1; 0 outside of knots.
    pub round: u32,
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
    /// The project that asks for it.
    pub project: String,
    /// The channel that it is published to.
    pub channel: String,
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
    /// The wave of the knot that it is built with.
    pub wave: Option<u64>,
    /// The round in its knot, from 1; 0 outside of knots.
    pub round: u32,
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
    /// Most memory that its build needed at once; 0 when nobody knows.
    pub peak_memory_bytes: u64,
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

impl Store {
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

    /// Tasks in these phases that belong to none of these arenas (project, architecture, channel), the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tasks_outside(
        &self,
        arenas: &[(String, String, String)],
        phases: &[Phase],
    ) -> Result<Vec<TaskRow>, StoreError> {
        let keywords: Vec<&str> = phases.iter().map(|phase| phase.keyword()).collect();
        let rows = sqlx::query(
            "SELECT * FROM task WHERE phase IN (SELECT value FROM json_each(?1)) AND NOT EXISTS
                 (SELECT 1 FROM json_each(?2) AS arena WHERE arena.value ->> 0 = task.project
                  AND arena.value ->> 1 = task.architecture AND arena.value ->> 2 = task.channel)
             ORDER BY id",
        )
        .bind(to_json(&keywords)?)
        .bind(to_json(&arenas)?)
        .fetch_all(self.database.pool())
        .await
        .during("list tasks that nobody asks for")?;
        Ok(rows.iter().map(task_of).collect::<Result<_, _>>()?)
    }

    /// Tasks that were made or changed after `mark`, and the mark that they bring. Renewals of leases do not count.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn changed_since(&self, mark: Mark) -> Result<(Vec<TaskRow>, Mark), StoreError> {
        // Before the tasks: what happens in between is told once more the next time.
        let new_mark = self.mark().await?;
        let rows = sqlx::query(
            "SELECT * FROM task WHERE id > ?1 OR id IN (SELECT task FROM event WHERE id > ?2) ORDER BY id",
        )
        .bind(integer(mark.newest_task))
        .bind(integer(mark.newest_event))
        .fetch_all(self.database.pool())
        .await
        .during("list changed tasks")?;
        Ok((rows.iter().map(task_of).collect::<Result<_, _>>()?, new_mark))
    }

    /// Gives tasks that were made before there were several projects to this one. Returns how many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn adopt_tasks(&self, project: &str, channel: &str) -> Result<u64, StoreError> {
        let adopted = sqlx::query("UPDATE task SET project = ?, channel = ? WHERE project = ''")
            .bind(project)
            .bind(channel)
            .execute(self.database.pool())
            .await
            .during("give tasks to a project")?;
        Ok(adopted.rows_affected())
    }

    /// A page of tasks, those that changed last first, and how many there are in all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task_page(
        &self,
        phase: Option<Phase>,
        project: Option<&str>,
        offset: u64,
        count: u64,
    ) -> Result<(Vec<TaskRow>, u64), StoreError> {
        let keyword = phase.map(Phase::keyword);
        let total = sqlx::query(
            "SELECT count(*) AS n FROM task WHERE (?1 IS NULL OR phase = ?1) AND (?2 IS NULL OR project = ?2)",
        )
            .bind(keyword)
            .bind(project)
            .fetch_one(self.database.pool())
            .await
            .during("count tasks")?;
        let rows = sqlx::query(
            "SELECT * FROM task WHERE (?1 IS NULL OR phase = ?1) AND (?2 IS NULL OR project = ?2)
             ORDER BY updated DESC, id DESC LIMIT ?3 OFFSET ?4",
        )
        .bind(keyword)
        .bind(project)
        .bind(integer(count))
        .bind(integer(offset))
        .fetch_all(self.database.pool())
        .await
        .during("list tasks")?;
        let tasks = rows.iter().map(task_of).collect::<Result<_, _>>()?;
        Ok((tasks, number(&total, "n")?))
    }

    /// How many tasks stand where, in one project or in all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn counts(&self, project: Option<&str>) -> Result<Vec<(Phase, u64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT phase, count(*) AS n FROM task WHERE ?1 IS NULL OR project = ?1 GROUP BY phase",
        )
        .bind(project)
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

    /// The newest task of each recipe of an arena that is not superseded, and every one that is open.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_tasks(
        &self,
        project: &str,
        architecture: &str,
    ) -> Result<Vec<(KnownTask, Moment)>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, source, recipe_path, content, release, build_release, phase, updated FROM task
             WHERE project = ?1 AND architecture = ?2 AND (phase NOT IN ('published', 'superseded')
                OR id IN (SELECT max(id) FROM task WHERE project = ?1 AND architecture = ?2 AND phase = 'published'
                          GROUP BY source))",
        )
        .bind(project)
        .bind(architecture)
        .fetch_all(self.database.pool())
        .await
        .during("list known tasks")?;
        rows.iter()
            .map(|row| {
                let known = KnownTask {
                    id: TaskId(number(row, "id")?),
                    source: text(row, "source")?,
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

    /// Notes how much memory the build of an attempt needed at once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn attempt_needed(&self, attempt: AttemptId, peak_memory_bytes: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE attempt SET peak_memory_bytes = ? WHERE id = ?")
            .bind(integer(peak_memory_bytes))
            .bind(integer(attempt.0))
            .execute(self.database.pool())
            .await
            .during("note what an attempt needed")?;
        Ok(())
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

pub(super) async fn task(connection: &mut SqliteConnection, id: TaskId) -> Result<TaskRow, StoreError> {
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
        project: text(row, "project")?,
        channel: text(row, "channel")?,
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
        wave: optional_number(row, "wave")?,
        round: u32::try_from(number(row, "round")?).unwrap_or(u32::MAX),
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
        peak_memory_bytes: number(row, "peak_memory_bytes")?,
    })
}

pub(super) fn phase_of(row: &SqliteRow) -> Result<Phase, DatabaseError> {
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
            project: "p".into(),
            channel: "main".into(),
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
            wave: None,
            round: 0,
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
