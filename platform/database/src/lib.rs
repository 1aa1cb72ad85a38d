//! One database: durable, migrated. A file of SQLite, for its owner only, or a server of PostgreSQL.
//!
//! Statements are written once, in words that both understand (`$1`, `ON CONFLICT`, no functions of one of them), and their
//! rows and connections have one type. A write that was answered is on the disk; readers never wait for the writer.
//! Every write goes through [`Database::write`] or [`Database::change`], which wait for their turn first, so that a
//! transaction never fails half-way because another one was faster; what [`Database::pool`] gives can only read. No
//! transaction may wait for a file, a network or a clock.

mod address;
mod error;
mod migration;
mod pool;
mod postgres;
mod session;
mod sqlite;
mod translate;

use std::path::Path;

use sqlx::any::AnyArguments;
use sqlx::{Any, AnyPool, Row, Transaction};

pub use address::{Address, ServerAddress};
pub use error::{DatabaseError, During};
pub use migration::Migration;
pub use session::Session;
pub use sqlx;

/// A row of an answer.
pub type DatabaseRow = sqlx::any::AnyRow;

/// A connection, for statements inside a transaction.
pub type DatabaseConnection = sqlx::AnyConnection;

/// A transaction that may write; see [`Database::write`].
pub type WriteTransaction = Transaction<'static, Any>;

/// A statement with what is bound to it, as `sqlx::query` makes it.
pub type Statement<'q> = sqlx::query::Query<'q, Any, AnyArguments>;

/// What must be so for a write to happen: a question whose answer is this number. It is asked in every transaction that
/// writes, after its turn has come: whoever changes the answer in a write of its own shuts out all that still rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// A statement that answers one number.
    pub question: &'static str,
    /// The number.
    pub answer: i64,
}

/// An open database. Clones share it.
#[derive(Debug, Clone)]
pub struct Database {
    fence: Option<Fence>,
    readers: AnyPool,
    writers: AnyPool,
    address: Address,
}

impl Database {
    /// Opens the file at `path`, made with mode 0600 when it is missing, and applies the `migrations` it lacks.
    ///
    /// # Errors
    /// When the file cannot be made or opened, when a newer program has used it, when a migration fails.
    pub async fn open(path: &Path, migrations: &[Migration]) -> Result<Self, DatabaseError> {
        Self::open_at(&Address::from(path), migrations).await
    }

    /// Opens the database at `address` and applies the `migrations` it lacks. A file is made when it is missing; a database
    /// on a server is not.
    ///
    /// # Errors
    /// When it cannot be made or opened, when a newer program has used it, when a migration fails.
    pub async fn open_at(address: &Address, migrations: &[Migration]) -> Result<Self, DatabaseError> {
        sqlx::any::install_default_drivers();
        let opened = |source| DatabaseError::Open { address: address.clone(), source };
        let writers = match address {
            Address::File(path) => {
                sqlite::make(path).map_err(|source| DatabaseError::Make { path: path.clone(), source })?;
                sqlite::writers(path).await
            }
            Address::Server(server) => postgres::writers(server).await,
        };
        let writers = writers.map_err(opened)?;
        migration::migrate(&writers, address, migrations).await?;
        // Not before: SQLite would show them the columns of before once more, which the driver takes for too many.
        let readers = match address {
            Address::File(path) => sqlite::readers(path).await,
            Address::Server(server) => postgres::readers(server).await,
        };
        Ok(Self { fence: None, readers: readers.map_err(opened)?, writers, address: address.clone() })
    }

    /// The same database, behind a fence.
    #[must_use]
    pub fn fenced(self, fence: Fence) -> Self {
        Self { fence: Some(fence), ..self }
    }

    /// For reading: what writes is refused here.
    #[must_use]
    pub fn pool(&self) -> &AnyPool {
        &self.readers
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Begins a transaction that holds the write lock. Dropping it undoes it.
    ///
    /// # Errors
    /// When the lock is not to be had in time, when a fence shuts this program out.
    pub async fn write(&self) -> Result<WriteTransaction, DatabaseError> {
        let mut write = begin(&self.writers, &self.address).await.during("begin a write")?;
        let Some(fence) = self.fence else { return Ok(write) };
        let answer = sqlx::query(fence.question).fetch_one(&mut *write).await.during("look at the fence")?;
        match answer.try_get::<i64, _>(0).during("look at the fence")? {
            answer if answer == fence.answer => Ok(write),
            _ => Err(DatabaseError::Fenced),
        }
    }

    /// Carries out one statement that writes; returns how many rows it changed.
    ///
    /// # Errors
    /// When the lock is not to be had in time, when the statement fails: "cannot ACTION in the database".
    pub async fn change(&self, statement: Statement<'_>, action: &'static str) -> Result<u64, DatabaseError> {
        let mut write = self.write().await?;
        let changed = statement.execute(&mut *write).await.during(action)?;
        write.commit().await.during(action)?;
        Ok(changed.rows_affected())
    }

    /// Closes every connection and folds the log into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }
}

async fn begin(writers: &AnyPool, address: &Address) -> sqlx::Result<WriteTransaction> {
    let words = match address {
        Address::File(_) => "BEGIN IMMEDIATE",
        Address::Server(_) => postgres::BEGIN_WRITE,
    };
    writers.begin_with(words).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use fault::{Fault, Kind};

    use super::*;

    const FIRST: Migration =
        Migration { number: 1, name: "thing", sql: "CREATE TABLE thing (id INTEGER PRIMARY KEY) STRICT" };
    const SECOND: Migration = Migration {
        number: 2,
        name: "part",
        sql: "CREATE TABLE part (id INTEGER PRIMARY KEY, thing INTEGER NOT NULL REFERENCES thing) STRICT;
              CREATE INDEX part_thing ON part (thing)",
    };

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("state/test.db")
        }

        async fn open(&self, migrations: &[Migration]) -> Result<Database, DatabaseError> {
            Database::open(&self.path(), migrations).await
        }
    }

    async fn things(database: &Database) -> i64 {
        sqlx::query("SELECT count(*) FROM thing").fetch_one(database.pool()).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn migrations_are_applied_once_and_in_order() {
        let fixture = Fixture::new();
        let database = fixture.open(&[FIRST]).await.unwrap();
        assert_eq!(database.change(sqlx::query("INSERT INTO thing VALUES (7)"), "insert").await.unwrap(), 1);
        database.close().await;
        let database = fixture.open(&[FIRST, SECOND]).await.unwrap();
        assert_eq!(things(&database).await, 1, "what was there stays");
        database.change(sqlx::query("INSERT INTO part VALUES (1, 7)"), "insert").await.unwrap();
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused() {
        let fixture = Fixture::new();
        fixture.open(&[FIRST, SECOND]).await.unwrap().close().await;
        let error = fixture.open(&[FIRST]).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Newer { found: 2, known: 1, .. }), "{error}");
        assert_eq!(error.kind(), Kind::Conflict);
    }

    #[tokio::test]
    async fn a_changed_migration_is_refused() {
        let fixture = Fixture::new();
        fixture.open(&[FIRST]).await.unwrap().close().await;
        let changed = Migration { sql: "CREATE TABLE thing (id TEXT) STRICT", ..FIRST };
        let error = fixture.open(&[changed]).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Differs { number: 1, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_failing_migration_leaves_nothing() {
        let fixture = Fixture::new();
        let broken =
            Migration { number: 2, name: "broken", sql: "CREATE TABLE half (id INTEGER); SELECT nonsense" };
        let error = fixture.open(&[FIRST, broken]).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Migrate { number: 2, .. }), "{error}");
        let database = fixture.open(&[FIRST]).await.unwrap();
        let half = sqlx::query("SELECT 1 FROM sqlite_schema WHERE name = 'half'");
        assert!(half.fetch_optional(database.pool()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn gaps_between_migrations_are_a_bug() {
        let fixture = Fixture::new();
        let error = fixture.open(&[SECOND]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Bug);
    }

    #[tokio::test]
    async fn the_file_is_for_its_owner_and_the_settings_hold() {
        let fixture = Fixture::new();
        let database = fixture.open(&[FIRST, SECOND]).await.unwrap();
        let mode = fs_err::metadata(fixture.path()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        for (pragma, expect) in
            [("PRAGMA journal_mode", "wal"), ("PRAGMA synchronous", "2"), ("PRAGMA foreign_keys", "1")]
        {
            let row = sqlx::query(pragma).fetch_one(database.pool()).await.unwrap();
            let value = row.try_get::<String, _>(0).unwrap_or_else(|_| row.get::<i64, _>(0).to_string());
            assert_eq!(value, expect, "{pragma}");
        }
        let orphan = database.change(sqlx::query("INSERT INTO part VALUES (1, 99)"), "insert").await;
        assert!(orphan.is_err(), "foreign keys are enforced");
        let aside = sqlx::query("INSERT INTO thing VALUES (1)").execute(database.pool()).await;
        assert!(aside.is_err(), "what reads cannot write");
    }

    #[tokio::test]
    async fn a_dropped_write_is_undone_and_writers_wait_for_each_other() {
        let fixture = Fixture::new();
        let database = fixture.open(&[FIRST]).await.unwrap();
        let mut first = database.write().await.unwrap();
        sqlx::query("INSERT INTO thing VALUES (1)").execute(&mut *first).await.unwrap();
        let second = async {
            let mut second = database.write().await.unwrap();
            sqlx::query("INSERT INTO thing VALUES (2)").execute(&mut *second).await.unwrap();
            second.commit().await.unwrap();
        };
        let undo = async {
            drop(first);
        };
        tokio::join!(second, undo);
        assert_eq!(things(&database).await, 1);
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_damaged() {
        let fixture = Fixture::new();
        fs_err::create_dir_all(fixture.path().parent().unwrap()).unwrap();
        fs_err::write(fixture.path(), "plain text, long enough to be taken for a header of something")
            .unwrap();
        let error = fixture.open(&[FIRST]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged, "{error:?}");
        assert!(!error.hints().is_empty());
    }

    #[tokio::test]
    async fn a_full_disk_leaves_no_connection_behind_that_cannot_write() {
        let fixture = Fixture::new();
        let database = fixture.open(&[FIRST]).await.unwrap();
        // What SQLite does by itself when a commit finds the disk full.
        let mut write = database.write().await.unwrap();
        sqlx::query("ROLLBACK").execute(&mut *write).await.unwrap();
        drop(write);
        for _ in 0..3 {
            let mut write = database.write().await.expect("another connection takes over");
            sqlx::query("INSERT INTO thing DEFAULT VALUES").execute(&mut *write).await.unwrap();
            write.commit().await.unwrap();
        }
        assert_eq!(things(&database).await, 3);
    }
}
