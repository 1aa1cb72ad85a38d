//! Release files: what was published beside the packages, and what was taken away again.

use std::collections::BTreeMap;

use database::sqlx::{self, Row};
use database::{DatabaseError, DatabaseRow, During};
use store::Sha256;

use super::{Ledger, column, digest, number, text};

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReleaseFile {
    pub(crate) name: String,
    pub(crate) sha256: Sha256,
    pub(crate) size_bytes: u64,
}

/// A release, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) name: String,
    /// Unix seconds.
    pub(crate) added_at: i64,
    pub(crate) added_by: String,
    /// Unix seconds; none while its files are there.
    pub(crate) removed_at: Option<i64>,
    /// By name.
    pub(crate) files: Vec<ReleaseFile>,
}

impl Ledger {
    /// The releases of a channel by name, also those that were removed.
    pub(crate) async fn releases(&self, channel: &str) -> Result<BTreeMap<String, Release>, DatabaseError> {
        const ACTION: &str = "list releases";
        let query = sqlx::query("SELECT name, added_at, added_by, removed_at FROM release WHERE channel = ?");
        let rows = query.bind(channel).fetch_all(self.database.pool()).await.during(ACTION)?;
        let mut releases = BTreeMap::new();
        for row in &rows {
            let release = Release {
                name: text(row, "name")?,
                added_at: row.try_get("added_at").during(ACTION)?,
                added_by: text(row, "added_by")?,
                removed_at: row.try_get("removed_at").during(ACTION)?,
                files: Vec::new(),
            };
            releases.insert(release.name.clone(), release);
        }
        let query = sqlx::query(
            "SELECT release, name, sha256, size_bytes FROM release_file WHERE channel = ? ORDER BY release, name",
        );
        for row in &query.bind(channel).fetch_all(self.database.pool()).await.during(ACTION)? {
            if let Some(release) = releases.get_mut(&text(row, "release")?) {
                release.files.push(release_file(row)?);
            }
        }
        Ok(releases)
    }

    /// Keeps a release, or one that was removed and has come again with the same files.
    pub(crate) async fn add_release(&self, channel: &str, release: &Release) -> Result<(), DatabaseError> {
        const ACTION: &str = "keep a release";
        let mut write = self.database.write().await?;
        let query = sqlx::query(
            "INSERT INTO release (channel, name, added_at, added_by) VALUES (?, ?, ?, ?)
             ON CONFLICT (channel, name) DO UPDATE SET removed_at = NULL, added_at = excluded.added_at,
                                                       added_by = excluded.added_by",
        );
        let query = query.bind(channel).bind(&release.name).bind(release.added_at).bind(&release.added_by);
        query.execute(&mut *write).await.during(ACTION)?;
        for file in &release.files {
            let query = sqlx::query(
                "INSERT INTO release_file (channel, release, name, sha256, size_bytes) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (channel, release, name) DO NOTHING",
            );
            let query = query.bind(channel).bind(&release.name).bind(&file.name);
            let query = query.bind(file.sha256.to_string()).bind(column(file.size_bytes));
            query.execute(&mut *write).await.during(ACTION)?;
        }
        write.commit().await.during(ACTION)
    }

    /// Notes that the files of a release go. False when there is none.
    pub(crate) async fn remove_release(
        &self,
        channel: &str,
        name: &str,
        at: i64,
    ) -> Result<bool, DatabaseError> {
        const ACTION: &str = "remove a release";
        let mut write = self.database.write().await?;
        let query = sqlx::query(
            "UPDATE release SET removed_at = ? WHERE channel = ? AND name = ? AND removed_at IS NULL",
        );
        let updated = query.bind(at).bind(channel).bind(name).execute(&mut *write).await.during(ACTION)?;
        write.commit().await.during(ACTION)?;
        Ok(updated.rows_affected() == 1)
    }
}

fn release_file(row: &DatabaseRow) -> Result<ReleaseFile, DatabaseError> {
    Ok(ReleaseFile { name: text(row, "name")?, sha256: digest(row)?, size_bytes: number(row, "size_bytes")? })
}
