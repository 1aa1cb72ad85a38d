//! The pause of the whole queue: it survives a restart, and every Summit on the same database sees it.

use database::During;
use database::sqlx;
use farm::why::Paused;

use super::{Store, StoreError, json, to_json};

/// The setting that holds it.
const NAME: &str = "pause";

impl Store {
    /// Who paused the queue; none when it goes on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn paused(&self) -> Result<Option<Paused>, StoreError> {
        let row = sqlx::query("SELECT value FROM setting WHERE name = $1")
            .bind(NAME)
            .fetch_optional(self.database.pool())
            .await
            .during("read whether the queue is paused")?;
        Ok(row.map(|row| json(&row, "value")).transpose()?)
    }

    /// Pauses the queue, or lets it go on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_paused(&self, paused: Option<&Paused>) -> Result<(), StoreError> {
        let Some(paused) = paused else {
            let statement = sqlx::query("DELETE FROM setting WHERE name = $1").bind(NAME);
            self.database.change(statement, "let the queue go on").await?;
            return Ok(());
        };
        let statement = sqlx::query(
            "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(NAME)
        .bind(to_json(paused)?);
        self.database.change(statement, "pause the queue").await?;
        Ok(())
    }
}
