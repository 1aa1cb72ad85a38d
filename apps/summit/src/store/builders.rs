//! Builders: who may attach, what the operator says about them, and what they said about themselves.
//!
//! Role, trust, features and size are the operator's, whether they come from the configuration, the command line or a
//! one-time token ([`super::enrolments`]); nothing of it is ever taken from what an agent says. A builder that is removed
//! keeps its row, so that its old attempts have a name, and its key is refused.

mod said;

use database::sqlx;
use database::{DatabaseConnection, DatabaseError, DatabaseRow, During};
use farm::ids::BuilderId;
use farm::moment::Moment;
use farm::schedule::Trust;
use serde::{Deserialize, Serialize};

use super::{AttemptRow, Store, StoreError, attempts, integer, json, number, optional_number, text, to_json};
use crate::config::BuilderSize;
pub use said::{BuilderChange, BuilderRefusal, BuilderRole, BuilderSaid};

/// A builder as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderRow {
    /// Its key.
    pub id: BuilderId,
    /// What the operator says about it.
    pub said: BuilderSaid,
    /// Whether the configuration names it; then it says all but the labels.
    pub from_config: bool,
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

/// An attempt that a builder had, with what it was to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderAttempt {
    /// The attempt.
    pub attempt: AttemptRow,
    /// Source, version and release of its task, for people.
    pub title: String,
}

impl Store {
    /// Adds a builder, or says something else about a known one.
    ///
    /// # Errors
    /// When another one has its name, when a word cannot be, when the database fails.
    pub async fn add_builder(
        &self,
        id: &BuilderId,
        said: &BuilderSaid,
        from_config: bool,
        now: Moment,
    ) -> Result<BuilderRow, StoreError> {
        said.check()?;
        let mut transaction = self.database.write().await?;
        let mut said = said.clone();
        if from_config && let Ok(known) = find(&mut transaction, &id.0).await {
            // The configuration says nothing of labels.
            said.labels = known.said.labels;
        }
        insert(&mut transaction, id, &said, from_config, now).await?;
        let row = find(&mut transaction, &id.0).await?;
        transaction.commit().await.during("add a builder")?;
        Ok(row)
    }

    /// Removes the builders that the configuration named and names no more. Returns them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_configured(
        &self,
        named: &[BuilderId],
        now: Moment,
    ) -> Result<Vec<BuilderRow>, StoreError> {
        let mut transaction = self.database.write().await?;
        let mut gone = all(&mut transaction).await?;
        gone.retain(|row| row.from_config && !named.contains(&row.id));
        for row in &gone {
            mark_removed(&mut transaction, &row.id, now).await?;
        }
        transaction.commit().await.during("remove builders that the configuration names no more")?;
        Ok(gone)
    }

    /// Removes a builder by its key or its name. Its key is refused from then on.
    ///
    /// # Errors
    /// When there is none, when the configuration names it, when the database fails.
    pub async fn remove_builder(&self, key_or_name: &str, now: Moment) -> Result<BuilderRow, StoreError> {
        let mut transaction = self.database.write().await?;
        let row = find(&mut transaction, key_or_name).await?;
        if row.from_config {
            return Err(BuilderRefusal::InConfiguration { verb: "remove", name: row.said.name }.into());
        }
        mark_removed(&mut transaction, &row.id, now).await?;
        transaction.commit().await.during("remove a builder")?;
        Ok(row)
    }

    /// Says whether a builder, by its key or its name, is to get work. One that is to get work is trusted afresh: its
    /// faults are forgotten.
    ///
    /// # Errors
    /// When there is none, when the database fails.
    pub async fn drain_builder(&self, key_or_name: &str, drained: bool) -> Result<BuilderRow, StoreError> {
        let mut transaction = self.database.write().await?;
        let row = find(&mut transaction, key_or_name).await?;
        let faults = if drained { row.faults_in_row } else { 0 };
        sqlx::query("UPDATE builder SET drained = $1, faults_in_row = $2 WHERE public_key = $3")
            .bind(i64::from(drained))
            .bind(i64::from(faults))
            .bind(&row.id.0)
            .execute(&mut *transaction)
            .await
            .during("drain a builder")?;
        let row = find(&mut transaction, &row.id.0).await?;
        transaction.commit().await.during("drain a builder")?;
        Ok(row)
    }

    /// Changes what is said about a builder, by its key or its name.
    ///
    /// # Errors
    /// When there is none, when the configuration says it, when a word or value cannot be, when the database fails.
    pub async fn change_builder(
        &self,
        key_or_name: &str,
        change: &BuilderChange,
        now: Moment,
    ) -> Result<BuilderRow, StoreError> {
        let mut transaction = self.database.write().await?;
        let row = find(&mut transaction, key_or_name).await?;
        let said = row.said.changed(change)?;
        let only_labels = BuilderSaid { labels: row.said.labels.clone(), ..said.clone() } == row.said;
        if row.from_config && !only_labels {
            return Err(BuilderRefusal::InConfiguration { verb: "change", name: row.said.name }.into());
        }
        insert(&mut transaction, &row.id, &said, row.from_config, now).await?;
        let row = find(&mut transaction, &row.id.0).await?;
        transaction.commit().await.during("change a builder")?;
        Ok(row)
    }

    /// Every builder that was not removed, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builders(&self) -> Result<Vec<BuilderRow>, StoreError> {
        let mut connection = self.database.pool().acquire().await.during("list builders")?;
        all(&mut connection).await
    }

    /// A builder by its key or its name.
    ///
    /// # Errors
    /// When there is none, when the database fails.
    pub async fn builder(&self, key_or_name: &str) -> Result<BuilderRow, StoreError> {
        let mut connection = self.database.pool().acquire().await.during("read a builder")?;
        find(&mut connection, key_or_name).await
    }

    /// The names of every builder there ever was, by its key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builder_names(&self) -> Result<Vec<(BuilderId, String)>, StoreError> {
        let rows = sqlx::query("SELECT public_key, name FROM builder")
            .fetch_all(self.database.pool())
            .await
            .during("list names of builders")?;
        rows.iter().map(|row| Ok((BuilderId(text(row, "public_key")?), text(row, "name")?))).collect()
    }

    /// The last attempts of a builder, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn attempts_of_builder(
        &self,
        id: &BuilderId,
        count: u64,
    ) -> Result<Vec<BuilderAttempt>, StoreError> {
        let rows = sqlx::query(
            "SELECT attempt.*, task.source AS task_source, task.version AS task_version, task.release AS task_release
             FROM attempt JOIN task ON task.id = attempt.task WHERE attempt.builder = $1
             ORDER BY attempt.id DESC LIMIT $2",
        )
        .bind(&id.0)
        .bind(integer(count))
        .fetch_all(self.database.pool())
        .await
        .during("list attempts of a builder")?;
        let attempt = |row: &DatabaseRow| {
            let (source, version) = (text(row, "task_source")?, text(row, "task_version")?);
            let title = format!("{source} {version}-{}", number(row, "task_release")?);
            Ok(BuilderAttempt { attempt: attempts::attempt_of(row)?, title })
        };
        rows.iter().map(attempt).collect()
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

    /// Notes a fault of a builder's machine. Returns how many it had in a row.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builder_failed(&self, id: &BuilderId, reason: &str, now: Moment) -> Result<u32, StoreError> {
        let mut transaction = self.database.write().await?;
        let row = sqlx::query(
            "UPDATE builder SET faults_in_row = faults_in_row + 1, last_fault = $1, last_fault_reason = $2
             WHERE public_key = $3 RETURNING faults_in_row",
        )
        .bind(integer(now.0))
        .bind(reason)
        .bind(&id.0)
        .fetch_optional(&mut *transaction)
        .await
        .during("note a fault of a builder")?;
        transaction.commit().await.during("note a fault of a builder")?;
        let faults = row.map(|row| number(&row, "faults_in_row")).transpose()?.unwrap_or(0);
        Ok(u32::try_from(faults).unwrap_or(u32::MAX))
    }
}

/// Notes that a build on a builder reached an end, so that the machine works.
pub(super) async fn fared_well(
    connection: &mut DatabaseConnection,
    id: &BuilderId,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE builder SET faults_in_row = 0 WHERE public_key = $1 AND faults_in_row > 0")
        .bind(&id.0)
        .execute(connection)
        .await
        .during("note that a builder works")?;
    Ok(())
}

/// Adds a builder, or overwrites what is said about it. A removed one is back, with nothing left of its faults.
pub(super) async fn insert(
    connection: &mut DatabaseConnection,
    id: &BuilderId,
    said: &BuilderSaid,
    from_config: bool,
    now: Moment,
) -> Result<(), StoreError> {
    check_name(connection, &said.name, &id.0).await?;
    sqlx::query(
        "UPDATE builder SET drained = 0, faults_in_row = 0, last_fault_reason = '', added = $1, removed = NULL
         WHERE public_key = $2 AND removed IS NOT NULL",
    )
    .bind(integer(now.0))
    .bind(&id.0)
    .execute(&mut *connection)
    .await
    .during("take a builder back")?;
    sqlx::query(
        "INSERT INTO builder (public_key, name, added, labels, features, trust, size, role, from_config)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (public_key) DO UPDATE SET name = excluded.name, labels = excluded.labels,
             features = excluded.features, trust = excluded.trust, size = excluded.size, role = excluded.role,
             from_config = excluded.from_config",
    )
    .bind(&id.0)
    .bind(&said.name)
    .bind(integer(now.0))
    .bind(to_json(&said.labels)?)
    .bind(to_json(&said.features)?)
    .bind(said.trust.keyword())
    .bind(said.size.keyword())
    .bind(said.role.keyword())
    .bind(i64::from(from_config))
    .execute(&mut *connection)
    .await
    .during("add a builder")?;
    Ok(())
}

/// Whether no other builder than the one with this key has the name.
pub(super) async fn check_name(
    connection: &mut DatabaseConnection,
    name: &str,
    key: &str,
) -> Result<(), StoreError> {
    let namesake = sqlx::query(
        "SELECT public_key FROM builder WHERE name = $1 AND public_key <> $2 AND removed IS NULL",
    )
    .bind(name)
    .bind(key)
    .fetch_optional(&mut *connection)
    .await
    .during("look for a builder of that name")?;
    match namesake {
        Some(row) => {
            Err(BuilderRefusal::NameTaken { name: name.to_owned(), key: text(&row, "public_key")? }.into())
        }
        None => Ok(()),
    }
}

async fn mark_removed(
    connection: &mut DatabaseConnection,
    id: &BuilderId,
    now: Moment,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE builder SET removed = $1, from_config = 0 WHERE public_key = $2")
        .bind(integer(now.0))
        .bind(&id.0)
        .execute(&mut *connection)
        .await
        .during("remove a builder")?;
    Ok(())
}

async fn all(connection: &mut DatabaseConnection) -> Result<Vec<BuilderRow>, StoreError> {
    let rows = sqlx::query("SELECT * FROM builder WHERE removed IS NULL ORDER BY name, public_key")
        .fetch_all(&mut *connection)
        .await
        .during("list builders")?;
    Ok(rows.iter().map(builder_of).collect::<Result<_, _>>()?)
}

pub(super) async fn find(
    connection: &mut DatabaseConnection,
    key_or_name: &str,
) -> Result<BuilderRow, StoreError> {
    let row = sqlx::query("SELECT * FROM builder WHERE removed IS NULL AND (public_key = $1 OR name = $1)")
        .bind(key_or_name)
        .fetch_optional(&mut *connection)
        .await
        .during("read a builder")?;
    match row {
        Some(row) => Ok(builder_of(&row)?),
        None => Err(StoreError::NotFound { what: format!("builder {key_or_name:?}") }),
    }
}

/// A word of the database as what it stands for.
pub(super) fn keyword<T>(
    row: &DatabaseRow,
    column: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, DatabaseError> {
    let word = text(row, column)?;
    read(&word).ok_or_else(|| DatabaseError::Damaged {
        what: column.to_owned(),
        why: format!("{word:?} is not known"),
    })
}

/// What a row says about a builder; rows of builders and of enrolments have the same columns.
pub(super) fn said_of(row: &DatabaseRow) -> Result<BuilderSaid, DatabaseError> {
    Ok(BuilderSaid {
        name: text(row, "name")?,
        labels: json(row, "labels")?,
        features: json(row, "features")?,
        trust: keyword(row, "trust", Trust::from_keyword)?,
        size: keyword(row, "size", BuilderSize::from_keyword)?,
        role: keyword(row, "role", BuilderRole::from_keyword)?,
    })
}

fn builder_of(row: &DatabaseRow) -> Result<BuilderRow, DatabaseError> {
    Ok(BuilderRow {
        id: BuilderId(text(row, "public_key")?),
        said: said_of(row)?,
        from_config: number(row, "from_config")? != 0,
        added: Moment(number(row, "added")?),
        drained: number(row, "drained")? != 0,
        faults_in_row: u32::try_from(number(row, "faults_in_row")?).unwrap_or(u32::MAX),
        last_fault: Moment(number(row, "last_fault")?),
        last_fault_reason: text(row, "last_fault_reason")?,
        last_seen: optional_number(row, "last_seen")?.map(Moment),
        about: json(row, "about")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::each_database;

    const NOW: Moment = Moment(1_000_000);

    fn key(name: &str) -> BuilderId {
        BuilderId(format!("key-of-{name}"))
    }

    async fn add(store: &Store, name: &str, from_config: bool) -> BuilderRow {
        let said = BuilderSaid { trust: Trust::Official, ..BuilderSaid::named(name) };
        store.add_builder(&key(name), &said, from_config, NOW).await.unwrap()
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
        match result {
            Err(StoreError::Builder(refusal)) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn row_s8_a_builder_that_the_configuration_names_no_more_is_removed_and_its_name_is_remembered() {
        each_database(async |store| {
            add(&store, "ada", true).await;
            add(&store, "bob", true).await;
            add(&store, "eve", false).await;
            let gone = store.keep_configured(&[key("bob")], NOW).await.unwrap();
            assert_eq!(gone.iter().map(|row| row.said.name.as_str()).collect::<Vec<_>>(), ["ada"]);
            let left: Vec<_> = store.builders().await.unwrap().into_iter().map(|row| row.said.name).collect();
            assert_eq!(left, ["bob", "eve"], "one that was added by hand stays");
            let names = store.builder_names().await.unwrap();
            assert!(names.contains(&(key("ada"), "ada".into())), "old attempts still have a name");
            assert!(matches!(store.builder("ada").await, Err(StoreError::NotFound { .. })));
        })
        .await;
    }

    #[tokio::test]
    async fn what_the_configuration_says_is_changed_there_but_for_labels() {
        each_database(async |store| {
            add(&store, "ada", true).await;
            let refused = refusal(store.remove_builder("ada", NOW).await);
            assert_eq!(refused, "cannot remove builder \"ada\": the configuration says so");
            let size = BuilderChange { size: Some("large".into()), ..BuilderChange::default() };
            refusal(store.change_builder("ada", &size, NOW).await);
            let label = BuilderChange { add_labels: vec!["rack-3".into()], ..BuilderChange::default() };
            let row = store.change_builder("ada", &label, NOW).await.unwrap();
            assert_eq!((row.said.labels.len(), row.from_config), (1, true));
            let row = add(&store, "ada", true).await;
            assert_eq!(row.said.labels.len(), 1, "a look at the configuration leaves labels alone");
        })
        .await;
    }

    #[tokio::test]
    async fn names_are_unique_and_a_removed_one_is_free_again() {
        each_database(async |store| {
            add(&store, "ada", false).await;
            let other = store.add_builder(&key("bob"), &BuilderSaid::named("ada"), false, NOW).await;
            assert!(refusal(other).contains("key-of-ada has that name"));
            store.remove_builder("ada", NOW).await.unwrap();
            store.add_builder(&key("bob"), &BuilderSaid::named("ada"), false, NOW).await.unwrap();
            for name in ["", " a", "a/b", "a\nb", &"x".repeat(65)] {
                let said = BuilderSaid::named(name);
                assert!(
                    refusal(store.add_builder(&key("x"), &said, false, NOW).await).starts_with("cannot call")
                );
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_builder_is_changed_in_every_way_and_bad_words_change_nothing() {
        each_database(async |store| {
            add(&store, "ada", false).await;
            let change = BuilderChange {
                name: Some("ida".into()),
                add_labels: vec!["rack-3".into(), "loud".into()],
                add_features: vec!["kvm".into()],
                trust: Some("any".into()),
                size: Some("large".into()),
                ..BuilderChange::default()
            };
            let row = store.change_builder("ada", &change, NOW).await.unwrap();
            assert_eq!(
                row.said,
                BuilderSaid {
                    name: "ida".into(),
                    labels: ["loud".to_owned(), "rack-3".to_owned()].into(),
                    features: ["kvm".to_owned()].into(),
                    trust: Trust::Any,
                    size: BuilderSize::Large,
                    role: BuilderRole::Builder,
                }
            );
            for bad in [
                BuilderChange { trust: Some("root".into()), ..BuilderChange::default() },
                BuilderChange { size: Some("huge".into()), ..BuilderChange::default() },
                BuilderChange { add_features: vec!["a b".into()], ..BuilderChange::default() },
                BuilderChange {
                    add_labels: (0..99).map(|word| word.to_string()).collect(),
                    ..BuilderChange::default()
                },
            ] {
                refusal(store.change_builder("ida", &bad, NOW).await);
            }
            let remove = BuilderChange {
                remove_labels: vec!["loud".into()],
                remove_features: vec!["kvm".into()],
                ..BuilderChange::default()
            };
            let row = store.change_builder("ida", &remove, NOW).await.unwrap();
            assert_eq!((row.said.labels.len(), row.said.features.len()), (1, 0));
        })
        .await;
    }

    #[tokio::test]
    async fn a_builder_that_is_to_work_again_is_trusted_afresh() {
        each_database(async |store| {
            add(&store, "ada", false).await;
            for faults in 1..=3 {
                assert_eq!(store.builder_failed(&key("ada"), "no disk", NOW).await.unwrap(), faults);
            }
            let row = store.drain_builder("ada", true).await.unwrap();
            assert_eq!((row.drained, row.faults_in_row), (true, 3));
            let row = store.drain_builder("ada", false).await.unwrap();
            assert_eq!(
                (row.drained, row.faults_in_row, row.last_fault_reason.as_str()),
                (false, 0, "no disk")
            );
        })
        .await;
    }
}
