//! Streams, tags, what operators did with them, and what is known of old histories.

use std::collections::{BTreeMap, BTreeSet};

use database::sqlx::{self, Row};
use database::{DatabaseError, During, WriteTransaction};
use repository::retention::HistoryChanges;

use super::{Ledger, PublishedObject, column, digest, number, optional_number, text};

/// Of a package there is one in a history for each architecture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlaceKey {
    pub(crate) name: String,
    pub(crate) architecture: String,
}

/// What a history changed.
pub(crate) type HistoryContent = HistoryChanges<PlaceKey, PublishedObject>;

/// Something that points to a history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pointee<'a> {
    pub(crate) channel: &'a str,
    /// "stream" or "tag".
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
}

/// A pointer that an operator moves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Movement<'a> {
    pub(crate) pointee: Pointee<'a>,
    /// Where it must be now; none when it must not be there.
    pub(crate) from: Option<u64>,
    /// Where it goes; none when it is removed.
    pub(crate) to: Option<u64>,
    /// Unix seconds.
    pub(crate) at: i64,
    /// Whoever says so.
    pub(crate) by: &'a str,
}

impl Ledger {
    /// What the tags of a channel point to, by name.
    pub(crate) async fn tags(&self, channel: &str) -> Result<BTreeMap<String, u64>, DatabaseError> {
        let query = sqlx::query("SELECT name, history FROM tag WHERE channel = ?");
        let rows = query.bind(channel).fetch_all(self.database.pool()).await.during("list tags")?;
        rows.iter().map(|row| Ok((text(row, "name")?, number(row, "history")?))).collect()
    }

    /// The ids of every history that there ever was in a channel, by number.
    pub(crate) async fn every_history(&self, channel: &str) -> Result<BTreeMap<u64, String>, DatabaseError> {
        let query = sqlx::query("SELECT number, id FROM history WHERE channel = ?");
        let rows = query.bind(channel).fetch_all(self.database.pool()).await.during("list histories")?;
        rows.iter().map(|row| Ok((number(row, "number")?, text(row, "id")?))).collect()
    }

    /// What each history of a channel changed, also of those that are gone.
    pub(crate) async fn contents(&self, channel: &str) -> Result<Vec<HistoryContent>, DatabaseError> {
        const ACTION: &str = "list changes";
        let query = sqlx::query("SELECT number, previous FROM history WHERE channel = ? ORDER BY number");
        let rows = query.bind(channel).fetch_all(self.database.pool()).await.during(ACTION)?;
        let mut contents = BTreeMap::new();
        for row in &rows {
            let (number, previous) = (number(row, "number")?, optional_number(row, "previous")?);
            contents.insert(number, HistoryContent { number, previous, changes: Vec::new() });
        }
        let query = sqlx::query(
            "SELECT history, name, architecture, sha256, pool_path FROM change WHERE channel = ? ORDER BY history",
        );
        for row in &query.bind(channel).fetch_all(self.database.pool()).await.during(ACTION)? {
            let Some(content) = contents.get_mut(&number(row, "history")?) else { continue };
            let key = PlaceKey { name: text(row, "name")?, architecture: text(row, "architecture")? };
            let pool_path: Option<String> = row.try_get("pool_path").during(ACTION)?;
            let object = match pool_path {
                Some(pool_path) => Some(PublishedObject { sha256: digest(row)?, pool_path }),
                None => None,
            };
            content.changes.push((key, object));
        }
        Ok(contents.into_values().collect())
    }

    /// Where a stream was before an operator moved it to where it is now.
    pub(crate) async fn moved_from(
        &self,
        pointee: Pointee<'_>,
        to: u64,
    ) -> Result<Option<u64>, DatabaseError> {
        const ACTION: &str = "look up where a stream was";
        let query = sqlx::query(
            "SELECT from_history FROM movement WHERE channel = ? AND kind = ? AND name = ? AND to_history = ?
             ORDER BY movement_id DESC LIMIT 1",
        );
        let query = query.bind(pointee.channel).bind(pointee.kind).bind(pointee.name).bind(column(to));
        match query.fetch_optional(self.database.pool()).await.during(ACTION)? {
            Some(row) => optional_number(&row, "from_history"),
            None => Ok(None),
        }
    }

    /// Moves a stream or a tag, if it is where it is said to be. What it goes to is named by the root index again.
    pub(crate) async fn point(&self, movement: &Movement<'_>) -> Result<bool, DatabaseError> {
        const ACTION: &str = "move a stream or a tag";
        let Movement { pointee, from, to, at, by } = *movement;
        let mut write = self.database.write().await?;
        if !swap(&mut write, pointee, from, to).await? {
            return Ok(false);
        }
        if let Some(to) = to {
            let query = sqlx::query(
                "UPDATE history SET given_up_at = NULL WHERE channel = ? AND number = ? AND removed_at IS NULL",
            );
            let named = query.bind(pointee.channel).bind(column(to)).execute(&mut *write).await;
            if named.during(ACTION)?.rows_affected() != 1 {
                return Ok(false);
            }
        }
        let query = sqlx::query(
            "INSERT INTO movement (channel, kind, name, from_history, to_history, moved_at, moved_by) VALUES (?, ?, ?, ?, ?, ?, ?)",
        );
        let noted = query
            .bind(pointee.channel)
            .bind(pointee.kind)
            .bind(pointee.name)
            .bind(from.map(column))
            .bind(to.map(column))
            .bind(at)
            .bind(by)
            .execute(&mut *write)
            .await;
        noted.during(ACTION)?;
        write.commit().await.during(ACTION)?;
        Ok(true)
    }

    /// Gives histories up at `at`, or takes them back without one. Those that something points to stay.
    pub(crate) async fn give_up(
        &self,
        channel: &str,
        numbers: &[u64],
        at: Option<i64>,
    ) -> Result<(), DatabaseError> {
        const ACTION: &str = "give histories up";
        let mut write = self.database.write().await?;
        for number in numbers {
            let query = sqlx::query(
                "UPDATE history SET given_up_at = ?1 WHERE channel = ?2 AND number = ?3 AND removed_at IS NULL
                 AND (?1 IS NULL OR NOT EXISTS (SELECT 1 FROM stream WHERE stream.channel = ?2 AND stream.history = ?3)
                                AND NOT EXISTS (SELECT 1 FROM tag WHERE tag.channel = ?2 AND tag.history = ?3))",
            );
            query.bind(at).bind(channel).bind(column(*number)).execute(&mut *write).await.during(ACTION)?;
        }
        write.commit().await.during(ACTION)
    }

    /// Notes that the files of histories go. Only those that were given up do; answers which.
    pub(crate) async fn remove_histories(
        &self,
        channel: &str,
        numbers: &[u64],
        at: i64,
    ) -> Result<BTreeSet<u64>, DatabaseError> {
        const ACTION: &str = "remove histories";
        let mut write = self.database.write().await?;
        let mut removed = BTreeSet::new();
        for number in numbers {
            let query = sqlx::query(
                "UPDATE history SET removed_at = ? WHERE channel = ? AND number = ? AND given_up_at IS NOT NULL",
            );
            let query = query.bind(at).bind(channel).bind(column(*number));
            if query.execute(&mut *write).await.during(ACTION)?.rows_affected() == 1 {
                removed.insert(*number);
            }
        }
        write.commit().await.during(ACTION)?;
        Ok(removed)
    }
}

/// The compare-and-swap of a stream or a tag.
pub(super) async fn swap(
    write: &mut WriteTransaction,
    pointee: Pointee<'_>,
    from: Option<u64>,
    to: Option<u64>,
) -> Result<bool, DatabaseError> {
    let Pointee { channel, kind, name } = pointee;
    let is_stream = kind == "stream";
    let query = match (from, to) {
        (Some(from), Some(to)) => {
            let words = if is_stream {
                "UPDATE stream SET history = ?1 WHERE channel = ?2 AND name = ?3 AND history = ?4"
            } else {
                "UPDATE tag SET history = ?1 WHERE channel = ?2 AND name = ?3 AND history = ?4"
            };
            sqlx::query(words).bind(column(to)).bind(channel).bind(name).bind(column(from))
        }
        (None, Some(to)) => {
            let words = if is_stream {
                "INSERT INTO stream (history, channel, name) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING"
            } else {
                "INSERT INTO tag (history, channel, name) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING"
            };
            sqlx::query(words).bind(column(to)).bind(channel).bind(name)
        }
        (Some(from), None) => {
            let words = if is_stream {
                "DELETE FROM stream WHERE history = ?1 AND channel = ?2 AND name = ?3"
            } else {
                "DELETE FROM tag WHERE history = ?1 AND channel = ?2 AND name = ?3"
            };
            sqlx::query(words).bind(column(from)).bind(channel).bind(name)
        }
        (None, None) => return Ok(true),
    };
    Ok(query.execute(&mut **write).await.during("move a stream or a tag")?.rows_affected() == 1)
}
