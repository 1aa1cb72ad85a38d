//! Which folder the logs of this database are in; see [`crate::log_folder`].

use database::During;
use database::sqlx;

use super::{Store, StoreError, text};

/// The setting that holds its number.
const NAME: &str = "log_folder";

impl Store {
    /// The number of the folder that was used first; `here`, where none was.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn log_folder(&self, here: &str) -> Result<String, StoreError> {
        let statement =
            sqlx::query("INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
                .bind(NAME)
                .bind(here);
        self.database.change(statement, "note the folder of the logs").await?;
        let row = sqlx::query("SELECT value FROM setting WHERE name = $1")
            .bind(NAME)
            .fetch_one(self.database.pool())
            .await
            .during("read the folder of the logs")?;
        Ok(text(&row, "value")?)
    }
}
