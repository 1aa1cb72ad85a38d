//! Builders: who may attach, and what they said about themselves.

use database::sqlx;
use database::{DatabaseRow, During};
use farm::ids::BuilderId;
use farm::moment::Moment;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, integer, json, number, optional_number, text, to_json};

/// A builder as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderRow {
    /// Its key.
    pub id: BuilderId,
    /// Its name, for people.
    pub name: String,
    /// When it was added.
    pub added: Moment,
    /// Whether it is to get no more work.
    pub drained: bool,
    /// Faults of its machine in a row.
    pub faults_in_row: u32,
    /// When the last of them was.
    pub last_fault: Moment,
    /// What the last of them was, a sentence; empty when there was none.
    pub last_fault_reason: String,
    /// When it was heard of last.
    pub last_seen: Option<Moment>,
    /// What it said when it attached last.
    pub about: About,
}

/// What an agent says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// Architectures it builds for.
    pub architectures: Vec<String>,
    /// Builds it takes at once.
    pub slots: u32,
    /// Cores of its machine.
    pub cores: u32,
    /// Memory of its machine.
    pub memory_bytes: u64,
    /// Version of the agent.
    pub version: String,
}

impl Store {
    /// Adds a builder, or gives a known one another name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_builder(&self, id: &BuilderId, name: &str, now: Moment) -> Result<(), StoreError> {
        let statement = sqlx::query(
            "INSERT INTO builder (public_key, name, added) VALUES ($1, $2, $3)
             ON CONFLICT (public_key) DO UPDATE SET name = excluded.name",
        )
        .bind(&id.0)
        .bind(name)
        .bind(integer(now.0));
        self.database.change(statement, "add a builder").await?;
        Ok(())
    }

    /// Removes a builder by its key or its name.
    ///
    /// # Errors
    /// When there is none, when the database fails.
    pub async fn remove_builder(&self, key_or_name: &str) -> Result<(), StoreError> {
        let statement =
            sqlx::query("DELETE FROM builder WHERE public_key = $1 OR name = $1").bind(key_or_name);
        let gone = self.database.change(statement, "remove a builder").await?;
        found(gone, key_or_name)
    }

    /// Says whether a builder, by its key or its name, is to get work.
    ///
    /// # Errors
    /// When there is none, when the database fails.
    pub async fn drain_builder(&self, key_or_name: &str, drained: bool) -> Result<(), StoreError> {
        let statement = sqlx::query("UPDATE builder SET drained = $2 WHERE public_key = $1 OR name = $1")
            .bind(key_or_name)
            .bind(i64::from(drained));
        let changed = self.database.change(statement, "drain a builder").await?;
        found(changed, key_or_name)
    }

    /// Every builder, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builders(&self) -> Result<Vec<BuilderRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM builder ORDER BY name, public_key")
            .fetch_all(self.database.pool())
            .await
            .during("list builders")?;
        rows.iter().map(builder_of).collect()
    }

    /// Notes what a builder said when it attached.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builder_attached(
        &self,
        id: &BuilderId,
        about: &About,
        now: Moment,
    ) -> Result<(), StoreError> {
        let statement = sqlx::query("UPDATE builder SET about = $1, last_seen = $2 WHERE public_key = $3")
            .bind(to_json(about)?)
            .bind(integer(now.0))
            .bind(&id.0);
        self.database.change(statement, "note an attached builder").await?;
        Ok(())
    }

    /// Notes that a builder was heard of.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builder_seen(&self, id: &BuilderId, now: Moment) -> Result<(), StoreError> {
        let statement = sqlx::query("UPDATE builder SET last_seen = $1 WHERE public_key = $2")
            .bind(integer(now.0))
            .bind(&id.0);
        self.database.change(statement, "note a builder").await?;
        Ok(())
    }

    /// Notes a fault of a builder's machine.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builder_failed(&self, id: &BuilderId, reason: &str, now: Moment) -> Result<(), StoreError> {
        let statement = sqlx::query(
            "UPDATE builder SET faults_in_row = faults_in_row + 1, last_fault = $2, last_fault_reason = $3
             WHERE public_key = $1",
        )
        .bind(&id.0)
        .bind(integer(now.0))
        .bind(reason);
        self.database.change(statement, "note a fault of a builder").await?;
        Ok(())
    }

    /// Notes that a build on a builder reached an end, so that the machine works.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builder_fared_well(&self, id: &BuilderId) -> Result<(), StoreError> {
        let statement = sqlx::query("UPDATE builder SET faults_in_row = 0 WHERE public_key = $1").bind(&id.0);
        self.database.change(statement, "note that a builder works").await?;
        Ok(())
    }
}

fn found(rows: u64, key_or_name: &str) -> Result<(), StoreError> {
    match rows {
        0 => Err(StoreError::NotFound { what: format!("builder {key_or_name:?}") }),
        _ => Ok(()),
    }
}

fn builder_of(row: &DatabaseRow) -> Result<BuilderRow, StoreError> {
    Ok(BuilderRow {
        id: BuilderId(text(row, "public_key")?),
        name: text(row, "name")?,
        added: Moment(number(row, "added")?),
        drained: number(row, "drained")? != 0,
        faults_in_row: u32::try_from(number(row, "faults_in_row")?).unwrap_or(u32::MAX),
        last_fault: Moment(number(row, "last_fault")?),
        last_fault_reason: text(row, "last_fault_reason")?,
        last_seen: optional_number(row, "last_seen")?.map(Moment),
        about: json(row, "about")?,
    })
}
