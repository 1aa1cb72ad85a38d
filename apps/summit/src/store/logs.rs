//! Attempts as whoever searches their logs wants them: with what was built, from which commit, by whom, and what came of it.

use database::sqlx::{self, Row};
use database::{DatabaseError, DatabaseRow, During};
use farm::ids::{AttemptId, BuilderId, TaskId};
use farm::moment::Moment;
use farm::task::Phase;

use super::attempts::Outcome;
use super::tasks::phase_of;
use super::{Store, StoreError, integer, json, number, optional_number, text};

/// Which logs are wanted; everything that is not said is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Of this source.
    pub source: Option<String>,
    /// Of this project.
    pub project: Option<String>,
    /// Of tasks that stand there.
    pub phase: Option<Phase>,
    /// Of attempts that began then or later.
    pub since: Option<Moment>,
    /// Of this task.
    pub task: Option<TaskId>,
    /// Of this attempt.
    pub attempt: Option<AttemptId>,
}

/// An attempt and what it was to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Its number.
    pub attempt: AttemptId,
    /// Its task.
    pub task: TaskId,
    /// The project of the task.
    pub project: String,
    /// What was built.
    pub source: String,
    /// In which version.
    pub version: String,
    /// In which release.
    pub release: u64,
    /// In which build release.
    pub build_release: u64,
    /// For which architecture.
    pub architecture: String,
    /// From which commit.
    pub commit: String,
    /// Content of the recipe there.
    pub content: String,
    /// Where the task stands.
    pub phase: Phase,
    /// Who built it.
    pub builder: BuilderId,
    /// When it was handed out.
    pub assigned: Moment,
    /// When it was over.
    pub ended: Option<Moment>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

macro_rules! columns {
    () => {
        "attempt.id AS id, attempt.task AS task, task.project AS project, task.source AS source,
    task.version AS version, task.release AS release, task.build_release AS build_release,
    task.architecture AS architecture, task.git_commit AS git_commit, task.content AS content, task.phase AS phase,
    attempt.builder AS builder, attempt.assigned AS assigned, attempt.ended AS ended, attempt.outcome AS outcome
    FROM attempt JOIN task ON task.id = attempt.task "
    };
}

impl Store {
    /// Attempts that `filter` wants, older than `before`, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn logs(
        &self,
        filter: &LogFilter,
        before: AttemptId,
        count: u64,
    ) -> Result<Vec<LogRow>, StoreError> {
        // What is not wanted is empty or 0, which no row has.
        let statement = concat!(
            "SELECT ",
            columns!(),
            "WHERE attempt.id < $1 AND ($2 = '' OR task.source = $2) AND ($3 = '' OR task.project = $3)
               AND ($4 = '' OR task.phase = $4) AND attempt.assigned >= $5 AND ($6 = 0 OR attempt.task = $6)
               AND ($7 = 0 OR attempt.id = $7)
             ORDER BY attempt.id DESC LIMIT $8"
        );
        let rows = sqlx::query(statement)
            .bind(integer(before.0))
            .bind(filter.source.clone().unwrap_or_default())
            .bind(filter.project.clone().unwrap_or_default())
            .bind(filter.phase.map(Phase::keyword).unwrap_or_default())
            .bind(integer(filter.since.map_or(0, |since| since.0)))
            .bind(integer(filter.task.map_or(0, |task| task.0)))
            .bind(integer(filter.attempt.map_or(0, |attempt| attempt.0)))
            .bind(integer(count))
            .fetch_all(self.database.pool())
            .await
            .during("list attempts whose logs are searched")?;
        rows.iter().map(|row| log_row(row).map_err(StoreError::from)).collect()
    }

    /// The last attempt before `of` that built the same source for an earlier task.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn build_before(&self, of: &LogRow) -> Result<Option<LogRow>, StoreError> {
        let statement = concat!(
            "SELECT ",
            columns!(),
            "WHERE task.project = $1 AND task.architecture = $2 AND task.source = $3 AND attempt.task < $4
               AND attempt.built IS NOT NULL
             ORDER BY attempt.id DESC LIMIT 1"
        );
        let row = sqlx::query(statement)
            .bind(of.project.clone())
            .bind(of.architecture.clone())
            .bind(of.source.clone())
            .bind(integer(of.task.0))
            .fetch_optional(self.database.pool())
            .await
            .during("find an earlier build")?;
        Ok(row.map(|row| log_row(&row)).transpose()?)
    }
}

fn log_row(row: &DatabaseRow) -> Result<LogRow, DatabaseError> {
    let outcome: Option<String> = row.try_get("outcome").during("read an attempt")?;
    Ok(LogRow {
        attempt: AttemptId(number(row, "id")?),
        task: TaskId(number(row, "task")?),
        project: text(row, "project")?,
        source: text(row, "source")?,
        version: text(row, "version")?,
        release: number(row, "release")?,
        build_release: number(row, "build_release")?,
        architecture: text(row, "architecture")?,
        commit: text(row, "git_commit")?,
        content: text(row, "content")?,
        phase: phase_of(row)?,
        builder: BuilderId(text(row, "builder")?),
        assigned: Moment(number(row, "assigned")?),
        ended: optional_number(row, "ended")?.map(Moment),
        outcome: outcome.map(|_| json(row, "outcome")).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use farm::missing::Reason;
    use farm::queue::Readiness;
    use farm::task::{Claim, Event};

    use super::*;
    use crate::store::NewTask;
    use crate::store::tests::each_database;

    async fn attempt(store: &Store, source: &str, release: u64, at: Moment) -> Claim {
        let task = NewTask {
            project: "p".into(),
            channel: "main".into(),
            source: source.into(),
            version: "1.0".into(),
            release,
            build_release: 1,
            architecture: "x86_64".into(),
            recipe_path: format!("{source}/stone.yaml"),
            content: format!("content {release}"),
            commit: release.to_string().repeat(40),
            commit_time_seconds: 1,
            reason: Reason::New,
            wave: None,
            round: 0,
            supersedes: Vec::new(),
        };
        let task = store.carry_out(&[task], &[], at).await.unwrap().0[0];
        store.apply(task, &Event::Judged { readiness: Readiness::Ready }, at).await.unwrap();
        let builder = BuilderId("key".into());
        let applied = store.assign(task, &builder, Moment(u64::MAX >> 8), "why", false, at).await.unwrap();
        let claim = applied.task.state.lease().unwrap().claim.clone();
        store.apply(task, &Event::Started { claim: claim.clone() }, at).await.unwrap();
        claim
    }

    #[tokio::test]
    async fn logs_are_listed_with_what_was_built_and_the_build_before_is_found() {
        each_database(async |store| {
            let old = attempt(&store, "nano", 1, Moment(1000)).await;
            let other = attempt(&store, "less", 1, Moment(2000)).await;
            let ids = async |filter: LogFilter, before: u64| -> Vec<AttemptId> {
                let rows = store.logs(&filter, AttemptId(before), 10).await.unwrap();
                rows.into_iter().map(|row| row.attempt).collect()
            };
            let all = LogFilter::default;
            assert_eq!(ids(all(), u64::MAX).await, [other.attempt, old.attempt]);
            assert_eq!(ids(all(), other.attempt.0).await, [old.attempt]);
            let of_source = LogFilter { source: Some("less".into()), ..all() };
            assert_eq!(ids(of_source, u64::MAX).await, [other.attempt]);
            let since = LogFilter { since: Some(Moment(1500)), ..all() };
            assert_eq!(ids(since, u64::MAX).await, [other.attempt]);
            let building = LogFilter { phase: Some(Phase::Building), project: Some("p".into()), ..all() };
            assert_eq!(ids(building, u64::MAX).await.len(), 2);
            let elsewhere = LogFilter { project: Some("q".into()), ..all() };
            assert!(ids(elsewhere, u64::MAX).await.is_empty());
            let of_attempt = LogFilter { attempt: Some(old.attempt), ..all() };
            let row = store.logs(&of_attempt, AttemptId(u64::MAX), 10).await.unwrap().remove(0);
            assert_eq!(ids(LogFilter { task: Some(row.task), ..all() }, u64::MAX).await, [old.attempt]);
            assert_eq!(
                (row.source.as_str(), row.content.as_str(), row.builder.0.as_str()),
                ("nano", "content 1", "key")
            );
            assert_eq!((row.assigned, row.ended, row.outcome), (Moment(1000), None, None));

            // Only a build that came to its end is one to compare with, and only of the same source.
            let claim = old.clone();
            store
                .apply(row.task, &Event::Built { claim, artefacts: Vec::new() }, Moment(1500))
                .await
                .unwrap();
            let new = attempt(&store, "nano", 2, Moment(3000)).await;
            let row = store.logs(&all(), AttemptId(u64::MAX), 1).await.unwrap().remove(0);
            assert_eq!((row.attempt, row.release), (new.attempt, 2));
            let before = store.build_before(&row).await.unwrap().unwrap();
            assert_eq!((before.attempt, before.content.as_str()), (old.attempt, "content 1"));
            assert_eq!(store.build_before(&before).await.unwrap(), None);
        })
        .await;
    }
}
