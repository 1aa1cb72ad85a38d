//! What builds have taught: how long they took and how much memory they needed.

use database::sqlx::{self, Row};
use database::{DatabaseConnection, During};
use farm::estimate::Sample;
use farm::ids::BuilderId;
use farm::moment::Moment;

use super::{Store, StoreError, integer, number, text};

/// Samples that are kept: ten rebuilds of the largest distributions on several architectures. Older ones say little.
const SAMPLES_MAX: u64 = 200_000;

/// Keeps a sample.
pub(super) async fn keep(connection: &mut DatabaseConnection, sample: &Sample) -> Result<(), StoreError> {
    let row = sqlx::query(
        "INSERT INTO sample (source, architecture, builder, seconds, peak_memory_bytes, at)
         VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
    )
    .bind(&sample.source)
    .bind(&sample.architecture)
    .bind(&sample.builder.0)
    .bind(sample.seconds)
    .bind(integer(sample.peak_memory_bytes))
    .bind(integer(sample.at.0))
    .fetch_one(&mut *connection)
    .await
    .during("keep a sample")?;
    let oldest = number(&row, "id")?.saturating_sub(SAMPLES_MAX);
    sqlx::query("DELETE FROM sample WHERE id <= $1")
        .bind(integer(oldest))
        .execute(&mut *connection)
        .await
        .during("forget old samples")?;
    Ok(())
}

impl Store {
    /// Every sample, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn samples(&self) -> Result<Vec<Sample>, StoreError> {
        let rows = sqlx::query("SELECT * FROM sample ORDER BY id")
            .fetch_all(self.database.pool())
            .await
            .during("list samples")?;
        rows.iter()
            .map(|row| {
                Ok(Sample {
                    source: text(row, "source")?,
                    architecture: text(row, "architecture")?,
                    builder: BuilderId(text(row, "builder")?),
                    seconds: row.try_get("seconds").during("read a sample")?,
                    peak_memory_bytes: number(row, "peak_memory_bytes")?,
                    at: Moment(number(row, "at")?),
                })
            })
            .collect()
    }
}
