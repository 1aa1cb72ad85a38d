//! Lists of keys and signed pointers.

use std::collections::BTreeMap;

use database::sqlx::{self, Row};
use database::{DatabaseConnection, DatabaseError, DatabaseRow, During};

use super::{Ledger, column, number, text};

/// What was signed last for a stream or a tag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SignedRow {
    /// The highest version that was given.
    pub(crate) version: u64,
    /// The file; none when there is none to show.
    pub(crate) envelope: Option<String>,
}

impl Ledger {
    /// Every list of keys, as it was signed, by its version.
    pub(crate) async fn key_lists(&self) -> Result<BTreeMap<u64, String>, DatabaseError> {
        let query = sqlx::query("SELECT version, envelope FROM key_list ORDER BY version");
        let rows = query.fetch_all(self.database.pool()).await.during("read lists of keys")?;
        rows.iter().map(|row| Ok((number(row, "version")?, text(row, "envelope")?))).collect()
    }

    /// Keeps a list of keys. False when there is one of this version.
    pub(crate) async fn add_key_list(&self, version: u64, envelope: &str) -> Result<bool, DatabaseError> {
        const ACTION: &str = "keep a list of keys";
        let mut write = self.database.write().await?;
        let query = sqlx::query(
            "INSERT INTO key_list (version, envelope) VALUES (?, ?) ON CONFLICT (version) DO NOTHING",
        );
        let added = query.bind(column(version)).bind(envelope).execute(&mut *write).await.during(ACTION)?;
        write.commit().await.during(ACTION)?;
        Ok(added.rows_affected() == 1)
    }

    /// What was signed for the streams and tags of a channel, by `stream/NAME` and `tag/NAME`.
    pub(crate) async fn signed_pointers(
        &self,
        channel: &str,
    ) -> Result<BTreeMap<String, SignedRow>, DatabaseError> {
        const ACTION: &str = "read signed pointers";
        let query = sqlx::query("SELECT what, version, envelope FROM signed_pointer WHERE channel = ?");
        let rows = query.bind(channel).fetch_all(self.database.pool()).await.during(ACTION)?;
        let row = |row: &DatabaseRow| {
            let envelope = row.try_get("envelope").during(ACTION)?;
            Ok((text(row, "what")?, SignedRow { version: number(row, "version")?, envelope }))
        };
        rows.iter().map(row).collect()
    }

    /// Gives each of these pointers its next version.
    pub(crate) async fn give_versions(
        &self,
        channel: &str,
        pointers: &[String],
    ) -> Result<BTreeMap<String, u64>, DatabaseError> {
        const ACTION: &str = "give versions to pointers";
        let mut write = self.database.write().await?;
        let mut given = BTreeMap::new();
        for what in pointers {
            let query = sqlx::query(
                "INSERT INTO signed_pointer (channel, what, version) VALUES (?, ?, 1)
                 ON CONFLICT (channel, what) DO UPDATE SET version = signed_pointer.version + 1 RETURNING version",
            );
            let row = query.bind(channel).bind(what).fetch_one(&mut *write).await.during(ACTION)?;
            given.insert(what.clone(), number(&row, "version")?);
        }
        write.commit().await.during(ACTION)?;
        Ok(given)
    }

    /// Keeps what was signed, and forgets the pointers that stand for nothing any more; their versions stay.
    pub(crate) async fn keep_pointers(
        &self,
        channel: &str,
        signed: &BTreeMap<String, String>,
        gone: &[String],
    ) -> Result<(), DatabaseError> {
        const ACTION: &str = "keep signed pointers";
        let mut write = self.database.write().await?;
        keep(&mut write, channel, signed).await?;
        for what in gone {
            let query =
                sqlx::query("UPDATE signed_pointer SET envelope = NULL WHERE channel = ? AND what = ?");
            query.bind(channel).bind(what).execute(&mut *write).await.during(ACTION)?;
        }
        write.commit().await.during(ACTION)
    }
}

/// Keeps what was signed, under versions that were given.
pub(super) async fn keep(
    write: &mut DatabaseConnection,
    channel: &str,
    signed: &BTreeMap<String, String>,
) -> Result<(), DatabaseError> {
    for (what, envelope) in signed {
        let query = sqlx::query("UPDATE signed_pointer SET envelope = ? WHERE channel = ? AND what = ?");
        let query = query.bind(envelope).bind(channel).bind(what);
        query.execute(&mut *write).await.during("keep signed pointers")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn versions_only_rise_and_lists_stay() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("vessel.db")).await.unwrap();
        let names = ["stream/volatile".to_owned(), "tag/x".to_owned()];
        let given = |versions: BTreeMap<String, u64>| versions.into_values().collect::<Vec<_>>();
        assert_eq!(given(ledger.give_versions("main", &names).await.unwrap()), [1, 1]);
        assert_eq!(given(ledger.give_versions("main", &names[..1]).await.unwrap()), [2]);
        assert_eq!(given(ledger.give_versions("other", &names[..1]).await.unwrap()), [1]);
        let signed = [(names[0].clone(), "{}".to_owned()), (names[1].clone(), "{}".to_owned())].into();
        ledger.keep_pointers("main", &signed, &[]).await.unwrap();
        ledger.keep_pointers("main", &BTreeMap::new(), &names[1..]).await.unwrap();
        let rows = ledger.signed_pointers("main").await.unwrap();
        assert_eq!(rows["stream/volatile"], SignedRow { version: 2, envelope: Some("{}".into()) });
        assert_eq!(rows["tag/x"], SignedRow { version: 1, envelope: None });
        assert_eq!(given(ledger.give_versions("main", &names).await.unwrap()), [3, 2]);

        assert!(ledger.add_key_list(1, "one").await.unwrap());
        assert!(!ledger.add_key_list(1, "two").await.unwrap());
        assert_eq!(ledger.key_lists().await.unwrap(), [(1, "one".to_owned())].into());
        ledger.close().await;
    }
}
