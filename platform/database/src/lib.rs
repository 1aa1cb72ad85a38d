//! One SQLite file: durable, migrated, for its owner only.
//!
//! A write that was answered is on the disk (`synchronous = FULL`); readers never wait for the writer (WAL). Every
//! write goes through [`Database::write`], which takes the write lock at once, so that a transaction never fails
//! half-way because another one was faster. No transaction may wait for a file, a network or a clock.

mod error;
mod migration;

use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Sqlite, Transaction};

pub use error::{DatabaseError, During};
pub use migration::Migration;
pub use sqlx;

/// How long a connection waits for the write lock. Our longest transaction takes milliseconds; ten seconds cover a
/// disk that stalls.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections open at once: one writes, the others read for as many pages and streams as are being served.
const CONNECTIONS_MAX: u32 = 8;

/// A row of an answer.
pub type DatabaseRow = sqlx::sqlite::SqliteRow;

/// A connection, for statements inside a transaction.
pub type DatabaseConnection = sqlx::SqliteConnection;

/// A transaction that may write; see [`Database::write`].
pub type WriteTransaction = Transaction<'static, Sqlite>;

/// An open database. Clones share it.
#[derive(Debug, Clone)]
pub struct Database {
    pool: SqlitePool,
    path: PathBuf,
}

impl Database {
    /// Opens the file at `path`, made with mode 0600 when it is missing, and applies the `migrations` it lacks.
    ///
    /// # Errors
    /// When the file cannot be made or opened, when a newer program has used it, when a migration fails.
    pub async fn open(path: &Path, migrations: &[Migration]) -> Result<Self, DatabaseError> {
        make(path).map_err(|source| DatabaseError::Make { path: path.to_path_buf(), source })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let opened = |source| DatabaseError::Open { path: path.to_path_buf(), source };
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            // SQLite undoes a whole transaction by itself when the disk is full, which the driver does not notice: it goes
            // on counting it, and every later transaction on that connection would fail. Another connection takes over.
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_with(options)
            .await
            .map_err(opened)?;
        let mut connection = pool.acquire().await.map_err(opened)?;
        migration::migrate(&mut connection, path, migrations).await?;
        drop(connection);
        Ok(Self { pool, path: path.to_path_buf() })
    }

    /// For reading.
    #[must_use]
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a transaction that holds the write lock. Dropping it undoes it.
    ///
    /// # Errors
    /// When the lock is not to be had in time.
    pub async fn write(&self) -> Result<WriteTransaction, DatabaseError> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.during("begin a write")
    }

    /// Closes every connection and folds the log into the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Makes the file and its folder; SQLite gives the files beside it the same mode.
fn make(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs_err::create_dir_all(folder)?;
    }
    let mut options = fs_err::OpenOptions::new();
    options.options_mut().create(true).append(true).mode(0o600);
    let file = options.open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fault::{Fault, Kind};
    use sqlx::Row;

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
        sqlx::query("INSERT INTO thing VALUES (7)").execute(database.pool()).await.unwrap();
        database.close().await;
        let database = fixture.open(&[FIRST, SECOND]).await.unwrap();
        assert_eq!(things(&database).await, 1, "what was there stays");
        sqlx::query("INSERT INTO part VALUES (1, 7)").execute(database.pool()).await.unwrap();
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
        let orphan = sqlx::query("INSERT INTO part VALUES (1, 99)").execute(database.pool()).await;
        assert!(orphan.is_err(), "foreign keys are enforced");
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
