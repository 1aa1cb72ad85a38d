//! How far each webhook has been told of the events.

use database::sqlx;
use database::{DatabaseError, DatabaseRow, During};
use farm::ids::TaskId;
use farm::moment::Moment;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Store, StoreError, integer, number, optional_number, text};

/// How a webhook is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WebhookRow {
    /// Its name in the configuration.
    pub name: String,
    /// The number of the last event that it was told of, or that was given up.
    pub position: u64,
    /// How often the next one was tried in vain.
    pub tries: u64,
    /// When that was first tried.
    pub first_try_ms: Option<u64>,
    /// When it is tried again.
    pub next_try_ms: Option<u64>,
    /// Deliveries so far.
    pub delivered: u64,
    /// Events that were given up after a day.
    pub given_up: u64,
    /// What the receiver said last, or why it could not be reached.
    pub last_answer: String,
    /// When it said so.
    pub last_at_ms: Option<u64>,
}

/// An event as webhooks tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldEvent {
    /// Its number.
    pub id: u64,
    /// When.
    pub at: Moment,
    /// What happened, in a word.
    pub verb: String,
    /// Where the task was then.
    pub phase: String,
    /// The task.
    pub task: TaskId,
    /// What it builds.
    pub source: String,
    /// In which version.
    pub version: String,
    /// In which release.
    pub release: u64,
    /// For which architecture.
    pub architecture: String,
    /// Of which project.
    pub project: String,
}

fn webhook_row(row: &DatabaseRow) -> Result<WebhookRow, DatabaseError> {
    Ok(WebhookRow {
        name: text(row, "name")?,
        position: number(row, "position")?,
        tries: number(row, "tries")?,
        first_try_ms: optional_number(row, "first_try")?,
        next_try_ms: optional_number(row, "next_try")?,
        delivered: number(row, "delivered")?,
        given_up: number(row, "given_up")?,
        last_answer: text(row, "last_answer")?,
        last_at_ms: optional_number(row, "last_at")?,
    })
}

impl Store {
    /// Every webhook that was ever begun.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks(&self) -> Result<Vec<WebhookRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM webhook ORDER BY name")
            .fetch_all(self.database.pool())
            .await
            .during("list webhooks")?;
        Ok(rows.iter().map(webhook_row).collect::<Result<_, _>>()?)
    }

    /// Where a webhook is; one that is new begins with what happens from now on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhook(&self, name: &str) -> Result<WebhookRow, StoreError> {
        let known = sqlx::query("SELECT * FROM webhook WHERE name = $1")
            .bind(name)
            .fetch_optional(self.database.pool())
            .await
            .during("find a webhook")?;
        if let Some(row) = known {
            return Ok(webhook_row(&row)?);
        }
        let mut transaction = self.database.write().await?;
        let row = sqlx::query(
            "INSERT INTO webhook (name, position) VALUES ($1, (SELECT coalesce(max(id), 0) FROM event))
             ON CONFLICT (name) DO UPDATE SET position = webhook.position RETURNING *",
        )
        .bind(name)
        .fetch_one(&mut *transaction)
        .await
        .during("begin a webhook")?;
        transaction.commit().await.during("commit a webhook")?;
        Ok(webhook_row(&row)?)
    }

    /// Notes where a webhook is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_webhook(&self, row: &WebhookRow) -> Result<(), StoreError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "UPDATE webhook SET position = $1, tries = $2, first_try = $3, next_try = $4, delivered = $5,
                 given_up = $6, last_answer = $7, last_at = $8 WHERE name = $9",
        )
        .bind(integer(row.position))
        .bind(integer(row.tries))
        .bind(row.first_try_ms.map(integer))
        .bind(row.next_try_ms.map(integer))
        .bind(integer(row.delivered))
        .bind(integer(row.given_up))
        .bind(&row.last_answer)
        .bind(row.last_at_ms.map(integer))
        .bind(&row.name)
        .execute(&mut *transaction)
        .await
        .during("note where a webhook is")?;
        transaction.commit().await.during("commit where a webhook is")?;
        Ok(())
    }

    /// The first `count` events after number `position`, in their order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events_after(&self, position: u64, count: u64) -> Result<Vec<ToldEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT event.id AS event_id, event.at AS event_at, event.verb AS event_verb,
                 event.phase AS event_phase, task.id AS task_id, task.source, task.version, task.release,
                 task.architecture, task.project
             FROM event JOIN task ON task.id = event.task WHERE event.id > $1 ORDER BY event.id LIMIT $2",
        )
        .bind(integer(position))
        .bind(integer(count))
        .fetch_all(self.database.pool())
        .await
        .during("list events to tell")?;
        rows.iter()
            .map(|row| {
                Ok(ToldEvent {
                    id: number(row, "event_id")?,
                    at: Moment(number(row, "event_at")?),
                    verb: text(row, "event_verb")?,
                    phase: text(row, "event_phase")?,
                    task: TaskId(number(row, "task_id")?),
                    source: text(row, "source")?,
                    version: text(row, "version")?,
                    release: number(row, "release")?,
                    architecture: text(row, "architecture")?,
                    project: text(row, "project")?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::each_database;

    #[tokio::test]
    async fn a_webhook_goes_on_where_it_was() {
        each_database(async |store| {
            let mut hook = store.webhook("chat").await.unwrap();
            assert_eq!((hook.position, hook.tries, hook.next_try_ms), (0, 0, None));
            hook.position = 7;
            hook.next_try_ms = Some(9);
            hook.last_answer = "500".into();
            store.set_webhook(&hook).await.unwrap();
            assert_eq!(store.webhook("chat").await.unwrap(), hook);
            assert_eq!(store.webhooks().await.unwrap(), [hook]);
            assert!(store.events_after(0, 10).await.unwrap().is_empty());
        })
        .await;
    }
}
