//! Forward-only migrations: numbered, applied in order, each in a transaction of its own, never changed afterwards.

use sha2::{Digest, Sha256};
use sqlx::{AnyPool, Row};

use crate::error::{DatabaseError, During};
use crate::translate::translate;
use crate::{Address, begin};

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// 1 for the first, and without gaps.
    pub number: u32,
    /// What it is for, in a word or two.
    pub name: &'static str,
    /// Statements, separated by semicolons, in SQLite's words; a server gets them translated.
    pub sql: &'static str,
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS applied_migration (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL
) STRICT";

/// Brings the schema up to the last of `migrations`.
pub(crate) async fn migrate(
    writers: &AnyPool,
    address: &Address,
    migrations: &[Migration],
) -> Result<(), DatabaseError> {
    for (migration, number) in migrations.iter().zip(1..) {
        if migration.number != number {
            return Err(DatabaseError::OutOfOrder { number: migration.number, name: migration.name });
        }
    }
    // Only one program migrates at a time; the other finds everything done.
    let mut transaction = begin(writers, address).await.during("begin the migration")?;
    raw(address, TABLE).execute(&mut *transaction).await.during("make the table of migrations")?;
    let rows = sqlx::query("SELECT number, sha256 FROM applied_migration ORDER BY number")
        .fetch_all(&mut *transaction)
        .await
        .during("list the applied migrations")?;
    let mut applied = 0;
    for row in rows {
        let number: i64 = row.try_get("number").during("read an applied migration")?;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let digest: String = row.try_get("sha256").during("read an applied migration")?;
        let Some(migration) = migrations.iter().find(|migration| migration.number == number) else {
            let known = migrations.last().map_or(0, |last| last.number);
            return Err(DatabaseError::Newer { address: address.clone(), found: number, known });
        };
        if digest != digest_of(migration) {
            return Err(DatabaseError::Differs { address: address.clone(), number, name: migration.name });
        }
        applied = number;
    }
    for migration in migrations.iter().filter(|migration| migration.number > applied) {
        let failed = |source| DatabaseError::Migrate {
            address: address.clone(),
            number: migration.number,
            name: migration.name,
            source,
        };
        raw(address, migration.sql).execute(&mut *transaction).await.map_err(failed)?;
        sqlx::query("INSERT INTO applied_migration (number, name, sha256) VALUES ($1, $2, $3)")
            .bind(i64::from(migration.number))
            .bind(migration.name)
            .bind(digest_of(migration))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        tracing::info!(number = migration.number, name = migration.name, "applied migration");
    }
    transaction.commit().await.during("commit the migration")
}

fn raw(address: &Address, sql: &'static str) -> sqlx::RawSql {
    let sql = match address {
        Address::File(_) => sql.to_owned(),
        Address::Server(_) => translate(sql),
    };
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
}

fn digest_of(migration: &Migration) -> String {
    Sha256::digest(migration.sql).iter().map(|byte| format!("{byte:02x}")).collect()
}
