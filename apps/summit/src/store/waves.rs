//! What builds yielded, and tasks of the newest waves of knots; see [`crate::waves`].

use database::sqlx;
use database::{DatabaseConnection, During};
use farm::ids::TaskId;
use farm::moment::Moment;

use super::tasks::phase_of;
use super::{Store, StoreError, integer, number, optional_number, text};
use crate::waves::WaveTask;

/// Notes what the build of `task` yielded. Without a build before it that is known, it counts as changed.
pub(super) async fn note_output(
    connection: &mut DatabaseConnection,
    task: TaskId,
    began: Moment,
    landed: Moment,
    normalised: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO output (project, source, architecture, task, round, began, landed, normalised, changed)
             SELECT project, source, architecture, id, round, $2, $3, $4,
                 CASE WHEN $4 IS DISTINCT FROM (SELECT normalised FROM output AS before
                     WHERE before.project = task.project AND before.source = task.source
                     AND before.architecture = task.architecture AND before.task < task.id
                     ORDER BY before.task DESC LIMIT 1) THEN 1 ELSE 0 END
             FROM task WHERE id = $1 ON CONFLICT (task) DO NOTHING",
    )
    .bind(integer(task.0))
    .bind(integer(began.0))
    .bind(integer(landed.0))
    .bind(normalised)
    .execute(connection)
    .await
    .during("note what a build yielded")?;
    Ok(())
}

impl Store {
    /// Every task of the newest wave of each source of an arena. Superseded ones are left out: what took their place is
    /// there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wave_tasks(&self, project: &str, architecture: &str) -> Result<Vec<WaveTask>, StoreError> {
        let rows = sqlx::query(
            "SELECT task.id, task.source, task.wave, task.round, task.phase, task.updated, output.began, output.landed,
                 output.changed
             FROM task LEFT JOIN output ON output.task = task.id
             WHERE task.project = $1 AND task.architecture = $2 AND task.phase <> 'superseded' AND task.wave IN
                 (SELECT max(wave) FROM task WHERE project = $1 AND architecture = $2 AND wave IS NOT NULL GROUP BY source)
             ORDER BY task.id",
        )
        .bind(project)
        .bind(architecture)
        .fetch_all(self.database.pool())
        .await
        .during("list the tasks of waves")?;
        rows.iter()
            .map(|row| {
                let output = match (optional_number(row, "began")?, optional_number(row, "landed")?) {
                    (Some(began), Some(landed)) => {
                        Some((Moment(began), Moment(landed), number(row, "changed")? != 0))
                    }
                    _ => None,
                };
                Ok(WaveTask {
                    id: TaskId(number(row, "id")?),
                    source: text(row, "source")?,
                    wave: number(row, "wave")?,
                    round: u32::try_from(number(row, "round")?).unwrap_or(u32::MAX),
                    phase: phase_of(row)?,
                    updated: Moment(number(row, "updated")?),
                    output,
                })
            })
            .collect()
    }
}
