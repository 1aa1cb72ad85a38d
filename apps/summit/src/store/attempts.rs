//! Attempts: who tried to build a task, when, and what came of it.

use database::sqlx::{self, Row};
use database::{DatabaseConnection, DatabaseError, DatabaseRow, During};
use farm::failure::FailureClass;
use farm::ids::{AttemptId, BuilderId, LeaseToken, TaskId};
use farm::moment::Moment;
use farm::task::Claim;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, integer, json, number, optional_number, text};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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

/// What an attempt builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Source name of the recipe.
    pub source: String,
    /// Its version.
    pub version: String,
    /// Its release.
    pub release: u64,
    /// How often this release was built before, from 1.
    pub build_release: u64,
    /// The commit that it is built from.
    pub commit: String,
    /// The project.
    pub project: String,
    /// The architecture.
    pub architecture: String,
}

/// Attempts that are looked at for those of a time: a large farm makes 10,000 in a busy day.
const LOOKED_AT_MAX: u64 = 20_000;

impl AttemptRow {
    /// What a report on it must carry.
    #[must_use]
    pub fn claim(&self) -> Claim {
        Claim { builder: self.builder.clone(), attempt: self.id, token: self.token }
    }
}

impl Store {
    /// The attempts of a task, the first one first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn attempts(&self, task: TaskId) -> Result<Vec<AttemptRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM attempt WHERE task = $1 ORDER BY id")
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
        let mut connection = self.database.pool().acquire().await.during("read an attempt")?;
        attempt(&mut connection, id).await
    }

    /// Attempts of all tasks that went on at any time from `from` on, the newest first, each with what it built: of the
    /// newest [`LOOKED_AT_MAX`] attempts, at most `max`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn attempts_since(
        &self,
        from: Moment,
        max: u64,
    ) -> Result<Vec<(AttemptRow, Built)>, StoreError> {
        let rows = sqlx::query(
            "SELECT attempt.*, task.source, task.architecture, task.project, task.version, task.release,
                    task.build_release, task.git_commit
             FROM (SELECT * FROM attempt ORDER BY id DESC LIMIT $1) attempt JOIN task ON task.id = attempt.task
             WHERE attempt.ended IS NULL OR attempt.ended >= $2 ORDER BY attempt.id DESC LIMIT $3",
        )
        .bind(integer(LOOKED_AT_MAX))
        .bind(integer(from.0))
        .bind(integer(max))
        .fetch_all(self.database.pool())
        .await
        .during("list attempts")?;
        rows.iter().map(|row| Ok((attempt_of(row)?, built_of(row)?))).collect()
    }

    /// The newest attempts of a source, the newest first; of a project and an architecture where they are given.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn attempts_of_source(
        &self,
        source: &str,
        project: Option<&str>,
        architecture: Option<&str>,
        max: u64,
    ) -> Result<Vec<(AttemptRow, Built)>, StoreError> {
        let rows = sqlx::query(
            "SELECT attempt.*, task.source, task.architecture, task.project, task.version, task.release,
                    task.build_release, task.git_commit
             FROM attempt JOIN task ON task.id = attempt.task
             WHERE task.source = $1 AND ($2 = '' OR task.project = $2) AND ($3 = '' OR task.architecture = $3)
             ORDER BY attempt.id DESC LIMIT $4",
        )
        .bind(source)
        .bind(project.unwrap_or_default())
        .bind(architecture.unwrap_or_default())
        .bind(integer(max))
        .fetch_all(self.database.pool())
        .await
        .during("list attempts of a source")?;
        rows.iter().map(|row| Ok((attempt_of(row)?, built_of(row)?))).collect()
    }

    /// Notes that the log of an attempt has reached its limit.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_is_full(&self, attempt: AttemptId) -> Result<(), StoreError> {
        let statement = sqlx::query("UPDATE attempt SET log_full = 1 WHERE id = $1").bind(integer(attempt.0));
        self.database.change(statement, "note a full log").await?;
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
        let statement = sqlx::query("UPDATE attempt SET withdraw = 0 WHERE id = $1").bind(integer(attempt.0));
        self.database.change(statement, "note a withdrawal").await?;
        Ok(())
    }
}

pub(super) async fn attempt(
    connection: &mut DatabaseConnection,
    id: AttemptId,
) -> Result<AttemptRow, StoreError> {
    let row = sqlx::query("SELECT * FROM attempt WHERE id = $1")
        .bind(integer(id.0))
        .fetch_optional(connection)
        .await
        .during("read an attempt")?;
    match row {
        Some(row) => Ok(attempt_of(&row)?),
        None => Err(StoreError::NotFound { what: format!("attempt {id}") }),
    }
}

/// Notes how much memory the build of an attempt needed at once.
pub(super) async fn note_peak(
    connection: &mut DatabaseConnection,
    attempt: AttemptId,
    peak_memory_bytes: u64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE attempt SET peak_memory_bytes = $1 WHERE id = $2")
        .bind(integer(peak_memory_bytes))
        .bind(integer(attempt.0))
        .execute(connection)
        .await
        .during("note what an attempt needed")?;
    Ok(())
}

fn built_of(row: &DatabaseRow) -> Result<Built, DatabaseError> {
    Ok(Built {
        source: text(row, "source")?,
        version: text(row, "version")?,
        release: number(row, "release")?,
        build_release: number(row, "build_release")?,
        commit: text(row, "git_commit")?,
        project: text(row, "project")?,
        architecture: text(row, "architecture")?,
    })
}

pub(super) fn attempt_of(row: &DatabaseRow) -> Result<AttemptRow, DatabaseError> {
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
