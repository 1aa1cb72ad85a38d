//! Formats of histories, the ways from each to the next, and where a channel went.

use std::collections::BTreeMap;

use database::sqlx::{self, Row};
use database::{DatabaseError, During, WriteTransaction};
use repository::{Format, Moved};

use super::{Ledger, NewHistory, Pointee, column, text, versions};

/// A history that is the first of its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormatUpgrade {
    /// The format before.
    pub(crate) from: Format,
    /// Its own.
    pub(crate) to: Format,
    /// The name that the last history of the format before gets.
    pub(crate) tag: String,
    /// Whether that history has the name already.
    pub(crate) is_tagged: bool,
}

impl Ledger {
    /// The tags through which clients of a channel are led, by the newest format that these clients read.
    pub(crate) async fn format_upgrades(
        &self,
        channel: &str,
    ) -> Result<BTreeMap<Format, String>, DatabaseError> {
        let query = sqlx::query("SELECT format, tag FROM format_upgrade WHERE channel = ?");
        let rows = query.bind(channel).fetch_all(self.database.pool()).await.during("list formats")?;
        rows.iter().map(|row| Ok((Format::from_name(&text(row, "format")?), text(row, "tag")?))).collect()
    }

    /// Where the channel went; none while it is where it always was.
    pub(crate) async fn moved(&self, channel: &str) -> Result<Option<Moved>, DatabaseError> {
        const ACTION: &str = "look up where a channel went";
        let query = sqlx::query("SELECT base_uri, to_channel FROM channel_moved WHERE channel = ?");
        let row = query.bind(channel).fetch_optional(self.database.pool()).await.during(ACTION)?;
        let Some(row) = row else { return Ok(None) };
        let to_channel = text(&row, "to_channel")?;
        let to_channel = to_channel.parse().map_err(|_| DatabaseError::Damaged {
            what: format!("where channel {channel} went"),
            why: format!("channel {to_channel:?}"),
        })?;
        Ok(Some(Moved { base_uri: text(&row, "base_uri")?, channel: to_channel }))
    }

    /// Says where a channel went, or that it is here.
    pub(crate) async fn set_moved(
        &self,
        channel: &str,
        moved: Option<&Moved>,
        at: i64,
        by: &str,
    ) -> Result<(), DatabaseError> {
        const ACTION: &str = "note where a channel went";
        let mut write = self.database.write().await?;
        let query = sqlx::query("DELETE FROM channel_moved WHERE channel = ?");
        query.bind(channel).execute(&mut *write).await.during(ACTION)?;
        if let Some(moved) = moved {
            let query = sqlx::query(
                "INSERT INTO channel_moved (channel, base_uri, to_channel, moved_at, moved_by) VALUES (?, ?, ?, ?, ?)",
            );
            let query = query.bind(channel).bind(&moved.base_uri).bind(moved.channel.as_str());
            query.bind(at).bind(by).execute(&mut *write).await.during(ACTION)?;
        }
        write.commit().await.during(ACTION)
    }
}

/// The format of a history that is being recorded: its own when it is the first of one, else that of the one before it, and
/// `v0` at the very beginning.
pub(super) async fn note_format(
    write: &mut WriteTransaction,
    new: &NewHistory,
) -> Result<bool, DatabaseError> {
    const ACTION: &str = "note the format of a history";
    let format = match (&new.upgrade, new.previous) {
        (Some(upgrade), _) => upgrade.to.as_str().to_owned(),
        (None, None) => Format::V0.as_str().to_owned(),
        (None, Some(previous)) => {
            let query = sqlx::query("SELECT format FROM history WHERE channel = ? AND number = ?");
            let query = query.bind(&new.channel).bind(column(previous));
            let row = query.fetch_one(&mut **write).await.during(ACTION)?;
            row.try_get("format").during(ACTION)?
        }
    };
    let query = sqlx::query("UPDATE history SET format = ? WHERE channel = ? AND number = ?");
    let query = query.bind(format).bind(&new.channel).bind(column(new.number));
    query.execute(&mut **write).await.during(ACTION)?;
    let Some(upgrade) = &new.upgrade else { return Ok(true) };
    if !upgrade.is_tagged {
        let pointee = Pointee { channel: &new.channel, kind: "tag", name: &upgrade.tag };
        // Without a word when the name is taken meanwhile: the caller tells it as any other change that came between.
        let was_free = tag_is_free(write, pointee).await?;
        if !was_free || !versions::swap(write, pointee, None, new.previous).await? {
            return Ok(false);
        }
    }
    let query = sqlx::query(
        "INSERT INTO format_upgrade (channel, format, tag) VALUES (?1, ?2, ?3)
         ON CONFLICT (channel, format) DO UPDATE SET tag = ?3",
    );
    let query = query.bind(&new.channel).bind(upgrade.from.as_str()).bind(&upgrade.tag);
    query.execute(&mut **write).await.during(ACTION)?;
    Ok(true)
}

async fn tag_is_free(write: &mut WriteTransaction, pointee: Pointee<'_>) -> Result<bool, DatabaseError> {
    let query = sqlx::query("SELECT 1 FROM tag WHERE channel = ? AND name = ?");
    let query = query.bind(pointee.channel).bind(pointee.name);
    Ok(query.fetch_optional(&mut **write).await.during("look up a tag")?.is_none())
}
