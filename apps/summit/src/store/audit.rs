//! Who did what: one row for each change by whomever, and for each that was refused to somebody who is known.

use access::{Action, Actor};
use database::During;
use database::sqlx;
use farm::moment::Moment;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Store, StoreError, integer, number, text};

/// Longest text of a row. What was done fits in a line; texts of requests are cut.
const TEXT_SIZE_BYTES_MAX: usize = 1000;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AuditRow {
    /// Its number; later ones are greater.
    pub id: u64,
    /// When.
    pub at_ms: u64,
    /// What kind of actor it was: `token`, `local`, `data_folder`, `configuration`, `agent`, `vessel`, `forge`, `summit`.
    pub actor_kind: String,
    /// Which one of its kind; empty where there is only one.
    pub actor: String,
    /// What they did, as [`Action::keyword`].
    pub action: String,
    /// To what.
    pub subject: String,
    /// What became of it.
    pub detail: String,
    /// Whether it was refused.
    pub refused: bool,
}

/// A page of the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AuditPage {
    /// The newest first.
    pub entries: Vec<AuditRow>,
    /// The number to ask for older ones with, as `before`; none when there are no older ones.
    pub older: Option<u64>,
}

impl Store {
    /// Notes that `actor` did `action` to `subject`, or was refused to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note(
        &self,
        actor: &Actor,
        action: Action,
        subject: &str,
        detail: &str,
        refused: bool,
        now: Moment,
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "INSERT INTO audit (at, actor_kind, actor, action, subject, detail, refused)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(integer(now.0))
        .bind(actor.kind())
        .bind(shortened(actor.name()))
        .bind(action.keyword())
        .bind(shortened(subject))
        .bind(shortened(detail))
        .bind(i64::from(refused))
        .execute(&mut *transaction)
        .await
        .during("note what was done")?;
        transaction.commit().await.during("commit what was done")?;
        Ok(())
    }

    /// The newest `count` changes, of those before number `before`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit(&self, before: Option<u64>, count: u64) -> Result<AuditPage, StoreError> {
        let rows = sqlx::query("SELECT * FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2")
            .bind(before.map_or(i64::MAX, integer))
            .bind(integer(count.saturating_add(1)))
            .fetch_all(self.database.pool())
            .await
            .during("list what was done")?;
        let mut entries = rows
            .iter()
            .map(|row| {
                Ok(AuditRow {
                    id: number(row, "id")?,
                    at_ms: number(row, "at")?,
                    actor_kind: text(row, "actor_kind")?,
                    actor: text(row, "actor")?,
                    action: text(row, "action")?,
                    subject: text(row, "subject")?,
                    detail: text(row, "detail")?,
                    refused: number(row, "refused")? != 0,
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        let has_older = entries.len() as u64 > count;
        entries.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        let older = entries.last().filter(|_| has_older).map(|entry| entry.id);
        Ok(AuditPage { entries, older })
    }
}

fn shortened(text: &str) -> &str {
    let end = text.floor_char_boundary(TEXT_SIZE_BYTES_MAX);
    &text[..end]
}
