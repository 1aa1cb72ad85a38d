//! Rebuilds that were asked for, and what builds yielded.
//!
//! A wish is kept until the repository has what it asks for, so that nothing that happens meanwhile loses it.

use std::collections::HashMap;

use database::During;
use database::sqlx::{self, Row};
use farm::ids::TaskId;
use farm::missing::Wanted;
use farm::moment::Moment;
use farm::task::Phase;

use super::tasks::phase_of;
use super::{Store, StoreError, integer, json, number, optional_number, text, to_json};

/// What one published build yielded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRow {
    /// Its task.
    pub task: TaskId,
    /// Its source.
    pub source: String,
    /// The round in its knot, from 1; 0 outside of knots.
    pub round: u32,
    /// When its build began.
    pub began: Moment,
    /// When the repository had it.
    pub landed: Option<Moment>,
    /// Names what it yielded, apart from what differs between any two builds.
    pub normalised: Option<String>,
    /// Whether that is other than what the build before yielded.
    pub changed: bool,
}

/// A task of a wave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveTask {
    /// Its number.
    pub task: TaskId,
    /// Its source.
    pub source: String,
    /// Where it stands; never superseded.
    pub phase: Phase,
    /// Its round, from 1.
    pub round: u32,
    /// When it was made.
    pub created: Moment,
    /// When it changed last.
    pub updated: Moment,
    /// What it yielded, when it is published and that is known.
    pub output: Option<OutputRow>,
}

impl Store {
    /// The newest wave of each source of an arena that ever was in one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest_waves(
        &self,
        project: &str,
        architecture: &str,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT source, max(wave) AS wave FROM task WHERE project = ? AND architecture = ? AND wave IS NOT NULL
             GROUP BY source ORDER BY source",
        )
        .bind(project)
        .bind(architecture)
        .fetch_all(self.database.pool())
        .await
        .during("list waves")?;
        rows.iter().map(|row| Ok((text(row, "source")?, number(row, "wave")?))).collect()
    }

    /// The tasks of a wave that were not superseded, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wave(&self, wave: u64) -> Result<Vec<WaveTask>, StoreError> {
        let rows = sqlx::query(
            "SELECT task.id, task.source, task.phase, task.round, task.created, task.updated,
                 output.began, output.landed, output.normalised, output.changed
             FROM task LEFT JOIN output ON output.task = task.id
             WHERE task.wave = ? AND task.phase <> 'superseded' ORDER BY task.id",
        )
        .bind(integer(wave))
        .fetch_all(self.database.pool())
        .await
        .during("read a wave")?;
        rows.iter()
            .map(|row| {
                let (task, source) = (TaskId(number(row, "id")?), text(row, "source")?);
                let round = u32::try_from(number(row, "round")?).unwrap_or(u32::MAX);
                let output = match optional_number(row, "began")? {
                    None => None,
                    Some(began) => Some(OutputRow {
                        task,
                        source: source.clone(),
                        round,
                        began: Moment(began),
                        landed: optional_number(row, "landed")?.map(Moment),
                        normalised: row.try_get("normalised").during("read what a build yielded")?,
                        changed: number(row, "changed")? != 0,
                    }),
                };
                Ok(WaveTask {
                    task,
                    source,
                    phase: phase_of(row)?,
                    round,
                    created: Moment(number(row, "created")?),
                    updated: Moment(number(row, "updated")?),
                    output,
                })
            })
            .collect()
    }

    /// Asks for rebuilds, by source; all or nothing. Of two wishes for one source the later build counts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn want(
        &self,
        project: &str,
        architecture: &str,
        wanted: &[(String, Wanted)],
        now: Moment,
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.write().await?;
        for (source, wanted) in wanted {
            sqlx::query(
                "INSERT INTO wanted (project, source, architecture, release, build_release, why, created)
                 VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (project, source, architecture) DO UPDATE
                 SET release = excluded.release, build_release = excluded.build_release, why = excluded.why,
                     created = excluded.created
                 WHERE (excluded.release, excluded.build_release) > (wanted.release, wanted.build_release)",
            )
            .bind(project)
            .bind(source)
            .bind(architecture)
            .bind(integer(wanted.release))
            .bind(integer(wanted.build_release))
            .bind(to_json(&wanted.why)?)
            .bind(integer(now.0))
            .execute(&mut *transaction)
            .await
            .during("ask for a rebuild")?;
        }
        transaction.commit().await.during("commit wishes")?;
        Ok(())
    }

    /// The rebuilds that are asked for in an arena, by source.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wanted(
        &self,
        project: &str,
        architecture: &str,
    ) -> Result<HashMap<String, Wanted>, StoreError> {
        let rows = sqlx::query("SELECT * FROM wanted WHERE project = ? AND architecture = ?")
            .bind(project)
            .bind(architecture)
            .fetch_all(self.database.pool())
            .await
            .during("list wishes")?;
        rows.iter()
            .map(|row| {
                let wanted = Wanted {
                    release: number(row, "release")?,
                    build_release: number(row, "build_release")?,
                    why: json(row, "why")?,
                };
                Ok((text(row, "source")?, wanted))
            })
            .collect()
    }

    /// Forgets wishes that came true: for these sources, up to these builds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fulfilled(
        &self,
        project: &str,
        architecture: &str,
        wanted: &[(String, Wanted)],
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.write().await?;
        for (source, wanted) in wanted {
            sqlx::query(
                "DELETE FROM wanted WHERE project = ? AND source = ? AND architecture = ?
                     AND (release, build_release) <= (?, ?)",
            )
            .bind(project)
            .bind(source)
            .bind(architecture)
            .bind(integer(wanted.release))
            .bind(integer(wanted.build_release))
            .execute(&mut *transaction)
            .await
            .during("forget a wish")?;
        }
        transaction.commit().await.during("commit what came true")?;
        Ok(())
    }

    /// Notes what the build of `task` yielded. Without a build before it that is known, it counts as changed.
    ///
    /// # Errors
    /// When there is no such task, when the database fails.
    pub async fn note_output(
        &self,
        task: TaskId,
        began: Moment,
        landed: Moment,
        normalised: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO output (project, source, architecture, task, round, began, landed, normalised, changed)
             SELECT project, source, architecture, id, round, ?2, ?3, ?4,
                 ?4 IS NOT (SELECT normalised FROM output AS before WHERE before.project = task.project
                     AND before.source = task.source AND before.architecture = task.architecture
                     AND before.task < task.id ORDER BY before.task DESC LIMIT 1)
             FROM task WHERE id = ?1 ON CONFLICT (task) DO NOTHING",
        )
        .bind(integer(task.0))
        .bind(integer(began.0))
        .bind(integer(landed.0))
        .bind(normalised)
        .execute(self.database.pool())
        .await
        .during("note what a build yielded")?;
        Ok(())
    }

    /// What the newest builds of an arena yielded, one for each source.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outputs(&self, project: &str, architecture: &str) -> Result<Vec<OutputRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM output WHERE task IN
                 (SELECT max(task) FROM output WHERE project = ? AND architecture = ? GROUP BY source) ORDER BY task",
        )
        .bind(project)
        .bind(architecture)
        .fetch_all(self.database.pool())
        .await
        .during("list what builds yielded")?;
        rows.iter()
            .map(|row| {
                Ok(OutputRow {
                    task: TaskId(number(row, "task")?),
                    source: text(row, "source")?,
                    round: u32::try_from(number(row, "round")?).unwrap_or(u32::MAX),
                    began: Moment(number(row, "began")?),
                    landed: optional_number(row, "landed")?.map(Moment),
                    normalised: row.try_get("normalised").during("read what a build yielded")?,
                    changed: number(row, "changed")? != 0,
                })
            })
            .collect()
    }
}
