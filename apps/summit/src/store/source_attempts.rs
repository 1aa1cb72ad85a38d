//! Every attempt to build one recipe, over all its tasks.

use database::During;
use database::sqlx;

use super::attempts::{AttemptRow, attempt_of};
use super::{Store, StoreError, integer, number, text};

/// An attempt, and what was to be built.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceAttempt {
    /// The attempt.
    pub attempt: AttemptRow,
    /// Version of the recipe.
    pub version: String,
    /// Its release.
    pub release: u64,
    /// How often this release was built before, from 1.
    pub build_release: u64,
    /// The commit that it was built from.
    pub commit: String,
}

impl Store {
    /// The last attempts to build a recipe, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builds_of_source(
        &self,
        project: &str,
        architecture: &str,
        source: &str,
        count: u64,
    ) -> Result<Vec<SourceAttempt>, StoreError> {
        let rows = sqlx::query(
            "SELECT attempt.*, task.version AS task_version, task.release AS task_release,
                    task.build_release AS task_build_release, task.git_commit AS task_commit
             FROM attempt JOIN task ON task.id = attempt.task
             WHERE task.project = $1 AND task.architecture = $2 AND task.source = $3
             ORDER BY attempt.id DESC LIMIT $4",
        )
        .bind(project)
        .bind(architecture)
        .bind(source)
        .bind(integer(count))
        .fetch_all(self.database.pool())
        .await
        .during("list attempts to build a recipe")?;
        rows.iter()
            .map(|row| {
                Ok(SourceAttempt {
                    attempt: attempt_of(row)?,
                    version: text(row, "task_version")?,
                    release: number(row, "task_release")?,
                    build_release: number(row, "task_build_release")?,
                    commit: text(row, "task_commit")?,
                })
            })
            .collect()
    }
}
