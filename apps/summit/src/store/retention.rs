//! Forgets what is old: tasks with their attempts and events, events, samples, what was audited. A piece at a time, so that
//! nobody waits for it.
//!
//! Never what is open, the newest of its recipe (which says what is published, and why something failed), any task of the
//! newest wave of a knot, or an attempt of which Vessel has still to hear.

use database::During;
use database::sqlx::{self, AssertSqlSafe};
use farm::ids::{AttemptId, TaskId};
use farm::moment::Moment;
use farm::task::Phase;

use super::{Store, StoreError, integer, number, places};

/// Rows of one piece: some milliseconds of work.
const PIECE: u64 = 200;

/// Where tasks stand that have come to an end.
const ENDED: [Phase; 4] = [Phase::Published, Phase::Failed, Phase::Cancelled, Phase::Superseded];

impl Store {
    /// Some tasks that ended before `before` and may be forgotten, the oldest first, with their attempts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forgettable(&self, before: Moment) -> Result<Vec<(TaskId, Vec<AttemptId>)>, StoreError> {
        let sql = format!(
            "SELECT id FROM task WHERE phase IN ({}) AND updated < $1
             AND EXISTS (SELECT 1 FROM task AS newer WHERE newer.project = task.project
                 AND newer.architecture = task.architecture AND newer.source = task.source AND newer.id > task.id)
             AND (phase <> 'published' OR EXISTS (SELECT 1 FROM task AS newer WHERE newer.project = task.project
                 AND newer.architecture = task.architecture AND newer.source = task.source AND newer.id > task.id
                 AND newer.phase = 'published'))
             AND (wave IS NULL OR wave < (SELECT max(newest.wave) FROM task AS newest WHERE newest.project = task.project
                 AND newest.architecture = task.architecture AND newest.source = task.source))
             AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.task = task.id AND attempt.withdraw = 1)
             ORDER BY id LIMIT $2",
            ENDED.map(|phase| format!("'{}'", phase.keyword())).join(", ")
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(integer(before.0))
            .bind(integer(PIECE))
            .fetch_all(self.database.pool())
            .await
            .during("find old tasks")?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            found.push((TaskId(number(row, "id")?), Vec::new()));
        }
        if found.is_empty() {
            return Ok(found);
        }
        let sql =
            format!("SELECT id, task FROM attempt WHERE task IN ({}) ORDER BY id", places(1, found.len()));
        let statement = sqlx::query(AssertSqlSafe(sql));
        let statement = found.iter().fold(statement, |statement, (task, _)| statement.bind(integer(task.0)));
        let rows = statement.fetch_all(self.database.pool()).await.during("find old attempts")?;
        for row in &rows {
            let (attempt, task) = (AttemptId(number(row, "id")?), TaskId(number(row, "task")?));
            // In the order of their numbers, as they were asked for.
            if let Ok(place) = found.binary_search_by_key(&task, |(task, _)| *task) {
                found[place].1.push(attempt);
            }
        }
        Ok(found)
    }

    /// Forgets tasks that [`Store::forgettable`] named, with everything that belongs to them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_tasks(&self, tasks: &[TaskId]) -> Result<(), StoreError> {
        if tasks.is_empty() {
            return Ok(());
        }
        let mut write = self.database.write().await?;
        for (table, column) in [("output", "task"), ("event", "task"), ("attempt", "task"), ("task", "id")] {
            let sql = format!("DELETE FROM {table} WHERE {column} IN ({})", places(1, tasks.len()));
            let statement = sqlx::query(AssertSqlSafe(sql));
            let statement = tasks.iter().fold(statement, |statement, task| statement.bind(integer(task.0)));
            statement.execute(&mut *write).await.during("forget old tasks")?;
        }
        write.commit().await.during("forget old tasks")?;
        Ok(())
    }

    /// Forgets some events of before `before` whose tasks have ended. Returns whether there may be more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_events(&self, before: Moment) -> Result<bool, StoreError> {
        let sql = format!(
            "DELETE FROM event WHERE id IN (SELECT event.id FROM event JOIN task ON task.id = event.task
                 WHERE event.at < $1 AND task.updated < $1 AND task.phase IN ({}) ORDER BY event.id LIMIT $2)",
            ENDED.map(|phase| format!("'{}'", phase.keyword())).join(", ")
        );
        let statement = sqlx::query(AssertSqlSafe(sql)).bind(integer(before.0)).bind(integer(PIECE));
        Ok(self.database.change(statement, "forget old events").await? == PIECE)
    }

    /// Forgets some samples of before `before`, but never the last one of a source. Returns whether there may be more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_samples(&self, before: Moment) -> Result<bool, StoreError> {
        let statement = sqlx::query(
            "DELETE FROM sample WHERE id IN (SELECT id FROM sample WHERE at < $1 AND EXISTS (SELECT 1 FROM sample AS newer
                 WHERE newer.source = sample.source AND newer.architecture = sample.architecture AND newer.id > sample.id)
                 ORDER BY id LIMIT $2)",
        )
        .bind(integer(before.0))
        .bind(integer(PIECE));
        Ok(self.database.change(statement, "forget old samples").await? == PIECE)
    }

    /// Forgets some of what was audited before `before`. Returns whether there may be more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_audit(&self, before: Moment) -> Result<bool, StoreError> {
        let statement = sqlx::query(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY id LIMIT $2)",
        )
        .bind(integer(before.0))
        .bind(integer(PIECE));
        Ok(self.database.change(statement, "forget old audits").await? == PIECE)
    }
}
