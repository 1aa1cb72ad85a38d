//! What belongs to builds beside their packages, and where debug information is.

use std::collections::BTreeMap;

use database::sqlx;
use database::{DatabaseError, DatabaseRow, During, WriteTransaction};

use super::{Ledger, column, digest, number, text};
use crate::builds::{BuildFile, DebugFile};
use store::Sha256;

/// Packages that may have the debug information of one build id: as many as were ever published with the same program in
/// it; the newest are enough.
const DEBUG_PLACES_MAX: i64 = 32;

/// Debug information in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DebugPlace {
    pub(crate) channel: String,
    /// Of the package, below the channel.
    pub(crate) pool_path: String,
    /// In the package, below `/usr`.
    pub(crate) target: String,
}

impl Ledger {
    /// The files of builds that a channel has, of one source or of all, by path.
    pub(crate) async fn build_files(
        &self,
        channel: &str,
        source: Option<&str>,
    ) -> Result<Vec<BuildFile>, DatabaseError> {
        let query = sqlx::query(
            "SELECT path, sha256, size_bytes, source, build FROM build_file
             WHERE channel = ? AND removed_at IS NULL AND (? IS NULL OR source = ?) ORDER BY path",
        );
        let rows = query.bind(channel).bind(source).bind(source).fetch_all(self.database.pool()).await;
        rows.during("list the files of builds")?.iter().map(build_file).collect()
    }

    /// Which bytes files of builds were ever published with under these paths; paths that never were are left out.
    pub(crate) async fn known_build_files<'a>(
        &self,
        channel: &str,
        paths: impl Iterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, Sha256>, DatabaseError> {
        const ACTION: &str = "look up the files of builds";
        let mut found = BTreeMap::new();
        let mut connection = self.database.pool().acquire().await.during(ACTION)?;
        for path in paths {
            let query = sqlx::query("SELECT sha256 FROM build_file WHERE channel = ? AND path = ?");
            let row = query.bind(channel).bind(path).fetch_optional(&mut *connection).await;
            if let Some(row) = row.during(ACTION)? {
                found.insert(path.to_owned(), digest(&row)?);
            }
        }
        Ok(found)
    }

    /// Notes that files of builds go.
    pub(crate) async fn remove_build_files(
        &self,
        channel: &str,
        paths: impl Iterator<Item = &str>,
        at: i64,
    ) -> Result<(), DatabaseError> {
        const ACTION: &str = "remove files of builds";
        let mut write = self.database.write().await?;
        for path in paths {
            let query = sqlx::query("UPDATE build_file SET removed_at = ? WHERE channel = ? AND path = ?");
            query.bind(at).bind(channel).bind(path).execute(&mut *write).await.during(ACTION)?;
        }
        write.commit().await.during(ACTION)
    }

    /// Whether everything in a channel found what it needed once.
    pub(crate) async fn is_closed(&self, channel: &str) -> Result<bool, DatabaseError> {
        let query = sqlx::query("SELECT 1 FROM closed_channel WHERE channel = ?");
        let row = query.bind(channel).fetch_optional(self.database.pool()).await;
        Ok(row.during("look up a channel")?.is_some())
    }

    /// Lets a held attempt land whatever it needs. False when it is not held.
    pub(crate) async fn let_land_unmet(&self, attempt_id: u64) -> Result<bool, DatabaseError> {
        const ACTION: &str = "release a held attempt";
        let mut write = self.database.write().await?;
        let query = sqlx::query(
            "UPDATE attempt SET may_land_unmet = 1 WHERE attempt_id = ? AND state = 'expected' AND held IS NOT NULL",
        );
        let updated = query.bind(column(attempt_id)).execute(&mut *write).await.during(ACTION)?;
        write.commit().await.during(ACTION)?;
        Ok(updated.rows_affected() == 1)
    }

    /// Those of these digests that are of packages that were ever published, in any channel.
    pub(crate) async fn ever_published(
        &self,
        digests: impl Iterator<Item = Sha256>,
    ) -> Result<Vec<Sha256>, DatabaseError> {
        const ACTION: &str = "look up packages by digest";
        let mut found = Vec::new();
        let mut connection = self.database.pool().acquire().await.during(ACTION)?;
        for sha256 in digests {
            let query = sqlx::query("SELECT 1 FROM change WHERE sha256 = ? LIMIT 1");
            let row = query.bind(sha256.to_string()).fetch_optional(&mut *connection).await;
            if row.during(ACTION)?.is_some() {
                found.push(sha256);
            }
        }
        Ok(found)
    }

    /// The debug information in the packages at these paths.
    pub(crate) async fn debug_files<'a>(
        &self,
        channel: &str,
        pool_paths: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<DebugFile>, DatabaseError> {
        const ACTION: &str = "list debug information";
        let mut found = Vec::new();
        let mut connection = self.database.pool().acquire().await.during(ACTION)?;
        for pool_path in pool_paths {
            let query =
                sqlx::query("SELECT build_id, target FROM debug_file WHERE channel = ? AND pool_path = ?");
            let rows = query.bind(channel).bind(pool_path).fetch_all(&mut *connection).await;
            for row in &rows.during(ACTION)? {
                let (build_id, target) = (text(row, "build_id")?, text(row, "target")?);
                found.push(DebugFile { build_id, pool_path: pool_path.to_owned(), target });
            }
        }
        Ok(found)
    }

    /// Where the debug information of a build id was published, the newest first. The package may be gone meanwhile.
    pub(crate) async fn debug_places(&self, build_id: &str) -> Result<Vec<DebugPlace>, DatabaseError> {
        let query = sqlx::query(
            "SELECT channel, pool_path, target FROM debug_file WHERE build_id = ? ORDER BY history DESC, channel LIMIT ?",
        );
        let rows = query.bind(build_id).bind(DEBUG_PLACES_MAX).fetch_all(self.database.pool()).await;
        let place = |row: &DatabaseRow| {
            Ok(DebugPlace {
                channel: text(row, "channel")?,
                pool_path: text(row, "pool_path")?,
                target: text(row, "target")?,
            })
        };
        rows.during("look up a build id")?.iter().map(place).collect()
    }
}

/// Notes what comes with a history. A file whose path is known came before with the same bytes, and may have gone since.
pub(super) async fn insert(
    write: &mut WriteTransaction,
    channel: &str,
    history: u64,
    builds: &[BuildFile],
    debug: &[DebugFile],
) -> Result<(), DatabaseError> {
    const ACTION: &str = "record the files of a build";
    for file in builds {
        let query = sqlx::query(
            "INSERT INTO build_file (channel, path, sha256, size_bytes, source, build, history) VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (channel, path) DO UPDATE SET removed_at = NULL",
        );
        let inserted = query
            .bind(channel)
            .bind(&file.path)
            .bind(file.sha256.to_string())
            .bind(column(file.size_bytes))
            .bind(&file.source)
            .bind(&file.build)
            .bind(column(history))
            .execute(&mut **write)
            .await;
        inserted.during(ACTION)?;
    }
    for file in debug {
        let query = sqlx::query(
            "INSERT INTO debug_file (build_id, channel, history, pool_path, target) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (build_id, channel, pool_path) DO UPDATE SET history = excluded.history",
        );
        let inserted = query
            .bind(&file.build_id)
            .bind(channel)
            .bind(column(history))
            .bind(&file.pool_path)
            .bind(&file.target)
            .execute(&mut **write)
            .await;
        inserted.during(ACTION)?;
    }
    Ok(())
}

/// Notes that everything in a channel finds what it needs.
pub(super) async fn close(
    write: &mut WriteTransaction,
    channel: &str,
    history: u64,
) -> Result<(), DatabaseError> {
    let query =
        sqlx::query("INSERT INTO closed_channel (channel, history) VALUES (?, ?) ON CONFLICT DO NOTHING");
    let noted = query.bind(channel).bind(column(history)).execute(&mut **write).await;
    noted.during("note that a channel is closed").map(drop)
}

fn build_file(row: &DatabaseRow) -> Result<BuildFile, DatabaseError> {
    Ok(BuildFile {
        path: text(row, "path")?,
        sha256: digest(row)?,
        size_bytes: number(row, "size_bytes")?,
        source: text(row, "source")?,
        build: text(row, "build")?,
    })
}
