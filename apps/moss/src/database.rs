//! What an installation knows: packages, what they contain, and states.
//!
//! One SQLite file. Invariants: a recorded state names only packages that are recorded with their layout; numbers of states
//! are given once. A commit is on the disk before it is reported (`synchronous = EXTRA`).
//!
//! The journal mode is SQLite's default and not write-ahead logging: a write-ahead log has to be created by readers as
//! well, and reading an installation writes nothing. Writes are a few short transactions under the installation's own
//! lock, so nobody would gain from it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fault::{Fault, Kind};
use fs_err as fs;
use package::{Dependency, PackageMeta};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, params};
use stone::{Entry, EntryFile};
use system::{PackageId, StateId};

use crate::installation::{Access, Installation};

/// The schema, one step for each version; a step is never changed once released.
const MIGRATIONS: [&str; 1] = [include_str!("database/0001_packages_and_states.sql")];

/// How long to wait for another connection's short transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the database did not answer.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The directory for it cannot be made.
    #[error("cannot make the directory of the database {}", path.display())]
    Directory {
        /// The database.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot {verb} in the database {}", path.display())]
    Query {
        /// What was to be done.
        verb: &'static str,
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// It was made by a later version.
    #[error("cannot use the database {}: its version is {version}, and this program knows versions up to {}", path.display(), MIGRATIONS.len())]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// A row says something that cannot be.
    #[error("cannot understand the database {}: {what}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What cannot be.
        what: String,
    },
}

impl Fault for DatabaseError {
    fn kind(&self) -> Kind {
        match self {
            DatabaseError::Directory { .. } | DatabaseError::Query { .. } => Kind::Unavailable,
            DatabaseError::TooNew { .. } => Kind::Conflict,
            DatabaseError::Damaged { .. } => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            DatabaseError::TooNew { .. } => {
                vec!["use the version of moss that made it, or a later one".into()]
            }
            DatabaseError::Query { source, .. }
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) =>
            {
                vec!["the disk is full; the system is as it was: make room and do the same again".into()]
            }
            DatabaseError::Directory { .. } | DatabaseError::Query { .. } | DatabaseError::Damaged { .. } => {
                Vec::new()
            }
        }
    }
}

/// A package of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateMember {
    /// The package.
    pub id: PackageId,
    /// Whether somebody asked for it by name.
    pub explicit: bool,
    /// Why it is there, for people.
    pub reason: String,
}

/// A state of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Its number.
    pub id: StateId,
    /// When it was made, in seconds since 1970.
    pub created_unix_seconds: i64,
    /// What was done, in a word.
    pub summary: String,
    /// The command that did it.
    pub description: String,
    /// Its packages.
    pub members: Vec<StateMember>,
}

/// A package with what it contains.
#[derive(Debug, Clone)]
pub struct StoredPackage {
    /// The digest.
    pub id: PackageId,
    /// The metadata.
    pub meta: PackageMeta,
    /// What it puts below `/usr`.
    pub layout: Vec<Entry>,
    /// Bytes of its files.
    pub installed_bytes: u64,
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    /// None when reading an installation that has no database yet.
    connection: Option<Connection>,
    path: PathBuf,
}

impl Database {
    /// Opens the database of an installation; with [`Access::Write`] makes it, or brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be opened, or a later version made it.
    pub fn open(installation: &Installation, access: Access) -> Result<Self, DatabaseError> {
        Self::open_file(&installation.database(), access)
    }

    fn open_file(path: &Path, access: Access) -> Result<Self, DatabaseError> {
        let mut database = Self { connection: None, path: path.to_path_buf() };
        let flags = match access {
            Access::Read if !path.exists() => return Ok(database),
            Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::Write => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)
                        .map_err(|source| DatabaseError::Directory { path: path.to_path_buf(), source })?;
                }
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
            }
        };
        let opened = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
        let connection = opened.map_err(|source| database.error("open", source))?;
        database.configure(&connection, access)?;
        database.connection = Some(connection);
        if access == Access::Write {
            database.migrate()?;
        }
        let version = database.version()?;
        if usize::try_from(version).is_ok_and(|version| version <= MIGRATIONS.len()) {
            Ok(database)
        } else {
            Err(DatabaseError::TooNew { path: path.to_path_buf(), version })
        }
    }

    fn configure(&self, connection: &Connection, access: Access) -> Result<(), DatabaseError> {
        let mut done = connection.busy_timeout(BUSY_TIMEOUT);
        if access == Access::Write {
            done = done.and_then(|()| {
                connection.execute_batch("PRAGMA synchronous = EXTRA; PRAGMA foreign_keys = ON;")
            });
        }
        done.map_err(|source| self.error("open", source))
    }

    fn version(&self) -> Result<i64, DatabaseError> {
        match &self.connection {
            None => Ok(0),
            Some(connection) => connection
                .query_row("PRAGMA user_version", [], |row| row.get(0))
                .map_err(|source| self.error("read the version", source)),
        }
    }

    fn migrate(&mut self) -> Result<(), DatabaseError> {
        let version = usize::try_from(self.version()?).unwrap_or(usize::MAX);
        for (position, migration) in MIGRATIONS.iter().enumerate().skip(version) {
            self.write("change the schema", |transaction| {
                transaction.execute_batch(migration)?;
                transaction.pragma_update(
                    None,
                    "user_version",
                    i64::try_from(position + 1).unwrap_or(i64::MAX),
                )
            })?;
        }
        Ok(())
    }

    fn error(&self, verb: &'static str, source: rusqlite::Error) -> DatabaseError {
        DatabaseError::Query { verb, path: self.path.clone(), source }
    }

    fn write<T>(
        &self,
        verb: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let connection = self.connection.as_ref().ok_or_else(|| DatabaseError::Damaged {
            path: self.path.clone(),
            what: "it was opened for reading before it existed".into(),
        })?;
        let run = || {
            let transaction = connection.unchecked_transaction()?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run().map_err(|source| self.error(verb, source))
    }

    /// Answers `empty` where there is no database yet.
    fn read<T>(
        &self,
        verb: &'static str,
        empty: T,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        match &self.connection {
            None => Ok(empty),
            Some(connection) => work(connection).map_err(|source| self.error(verb, source)),
        }
    }

    /// Remembers packages with what they contain, all of them or none. A package that is known stays as it is.
    ///
    /// # Errors
    /// When the database fails, or a number is larger than SQLite can hold.
    pub fn remember_packages(&self, packages: &[StoredPackage]) -> Result<(), DatabaseError> {
        self.write("record packages", |transaction| {
            for package in packages {
                insert_package(transaction, package)?;
            }
            Ok(())
        })
    }

    /// Whether the package is known with what it contains.
    ///
    /// # Errors
    /// When the database fails.
    pub fn has_package(&self, id: &PackageId) -> Result<bool, DatabaseError> {
        self.read("look for a package", false, |connection| {
            connection.prepare_cached("SELECT 1 FROM package WHERE id = ?1")?.exists([id.as_str()])
        })
    }

    /// The metadata and the size of a package, in bytes of its files.
    ///
    /// # Errors
    /// When the database fails or a row cannot be understood.
    pub fn package(&self, id: &PackageId) -> Result<Option<(PackageMeta, u64)>, DatabaseError> {
        let found = self.read("read a package", None, |connection| {
            let row = connection
                .prepare_cached("SELECT * FROM package WHERE id = ?1")?
                .query_row([id.as_str()], read_package)
                .optional()?;
            let Some((mut meta, installed_bytes)) = row else { return Ok(None) };
            meta.licenses =
                list(connection, "SELECT license FROM package_license WHERE package_id = ?1 ORDER BY 1", id)?;
            let depends = list(
                connection,
                "SELECT dependency FROM package_dependency WHERE package_id = ?1 ORDER BY 1",
                id,
            )?;
            let provides = list(
                connection,
                "SELECT provider FROM package_provider WHERE package_id = ?1 ORDER BY 1",
                id,
            )?;
            let conflicts = list(
                connection,
                "SELECT conflict FROM package_conflict WHERE package_id = ?1 ORDER BY 1",
                id,
            )?;
            Ok(Some((meta, installed_bytes, depends, provides, conflicts)))
        })?;
        let Some((mut meta, installed_bytes, depends, provides, conflicts)) = found else { return Ok(None) };
        meta.depends = self.dependencies(&depends)?;
        meta.provides = self.dependencies(&provides)?;
        meta.conflicts = self.dependencies(&conflicts)?;
        Ok(Some((meta, installed_bytes)))
    }

    fn dependencies<C: FromIterator<Dependency>>(&self, texts: &[String]) -> Result<C, DatabaseError> {
        let parse = |text: &String| {
            text.parse()
                .map_err(|error| DatabaseError::Damaged { path: self.path.clone(), what: format!("{error}") })
        };
        texts.iter().map(parse).collect()
    }

    /// What a package puts below `/usr`.
    ///
    /// # Errors
    /// When the database fails or a row cannot be understood.
    pub fn layout(&self, id: &PackageId) -> Result<Vec<Entry>, DatabaseError> {
        let rows = self.read("read the files of a package", Vec::new(), |connection| {
            connection
                .prepare_cached("SELECT uid, gid, mode, kind, path, value FROM layout WHERE package_id = ?1 ORDER BY position")?
                .query_map([id.as_str()], LayoutRow::read)?
                .collect()
        })?;
        let damaged = |path: String| DatabaseError::Damaged {
            path: self.path.clone(),
            what: format!("the entry {path:?} of package {id}"),
        };
        rows.into_iter().map(|row| row.into_entry().map_err(damaged)).collect()
    }

    /// Records a state.
    ///
    /// # Errors
    /// When the database fails, or a package of it is not known.
    pub fn record_state(&self, state: &State) -> Result<(), DatabaseError> {
        self.write("record a state", |transaction| {
            transaction.execute(
                "INSERT INTO state (id, created, summary, description) VALUES (?1, ?2, ?3, ?4)",
                params![signed(state.id.0)?, state.created_unix_seconds, state.summary, state.description],
            )?;
            let mut insert = transaction
                .prepare_cached("INSERT INTO state_selection (state_id, package_id, explicit, reason) VALUES (?1, ?2, ?3, ?4)")?;
            for member in &state.members {
                insert.execute(params![signed(state.id.0)?, member.id.as_str(), member.explicit, member.reason])?;
            }
            Ok(())
        })
    }

    /// Forgets a state, if it is known. Its number is not given again.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_state(&self, id: StateId) -> Result<(), DatabaseError> {
        self.write("forget a state", |transaction| {
            transaction.execute("DELETE FROM state WHERE id = ?1", [signed(id.0)?])?;
            Ok(())
        })
    }

    /// Whether the state is known.
    ///
    /// # Errors
    /// When the database fails.
    pub fn has_state(&self, id: StateId) -> Result<bool, DatabaseError> {
        self.read("look for a state", false, |connection| {
            connection.prepare_cached("SELECT 1 FROM state WHERE id = ?1")?.exists([signed(id.0)?])
        })
    }

    /// All states, oldest first.
    ///
    /// # Errors
    /// When the database fails or a row cannot be understood.
    pub fn states(&self) -> Result<Vec<State>, DatabaseError> {
        let ids: Vec<u64> = self.read("read the states", Vec::new(), |connection| {
            let mut query = connection.prepare_cached("SELECT id FROM state ORDER BY id")?;
            query.query_map([], |row| unsigned(row, 0))?.collect()
        })?;
        let states = ids.into_iter().map(|id| self.state(StateId(id)));
        states.filter_map(Result::transpose).collect()
    }

    /// One state; none when it is not known.
    ///
    /// # Errors
    /// When the database fails or a row cannot be understood.
    pub fn state(&self, id: StateId) -> Result<Option<State>, DatabaseError> {
        let found = self.read("read a state", None, |connection| {
            let state = connection
                .prepare_cached("SELECT created, summary, description FROM state WHERE id = ?1")?
                .query_row([signed(id.0)?], |row| {
                    let (created_unix_seconds, summary, description) = (row.get(0)?, row.get(1)?, row.get(2)?);
                    Ok(State { id, created_unix_seconds, summary, description, members: Vec::new() })
                })
                .optional()?;
            let members: Vec<(String, bool, String)> = connection
                .prepare_cached("SELECT package_id, explicit, reason FROM state_selection WHERE state_id = ?1 ORDER BY package_id")?
                .query_map([signed(id.0)?], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(state.map(|state| (state, members)))
        })?;
        let Some((mut state, members)) = found else { return Ok(None) };
        for (id, explicit, reason) in members {
            let id = id.parse().map_err(|error| DatabaseError::Damaged {
                path: self.path.clone(),
                what: format!("{error}"),
            })?;
            state.members.push(StateMember { id, explicit, reason });
        }
        Ok(Some(state))
    }

    /// The number for the next state: larger than every number ever given.
    ///
    /// # Errors
    /// When the database fails.
    pub fn next_state_id(&self) -> Result<StateId, DatabaseError> {
        let last = self.read("read the last state", 0, |connection| {
            connection
                .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'state'", [], |row| unsigned(row, 0))
                .optional()
                .map(Option::unwrap_or_default)
        })?;
        Ok(StateId(last + 1))
    }
}

/// SQLite's integers are signed.
fn signed(number: u64) -> rusqlite::Result<i64> {
    i64::try_from(number).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn unsigned_named(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let column = row.as_ref().column_index(column)?;
    unsigned(row, column)
}

fn list(connection: &Connection, query: &str, id: &PackageId) -> rusqlite::Result<Vec<String>> {
    connection.prepare_cached(query)?.query_map([id.as_str()], |row| row.get(0))?.collect()
}

fn insert_package(transaction: &Transaction<'_>, package: &StoredPackage) -> rusqlite::Result<()> {
    let (id, meta) = (package.id.as_str(), &package.meta);
    let inserted = transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO package (id, name, version, source_release, build_release, architecture, summary, description,
             source_id, homepage, uri, download_size, installed_size) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            id,
            meta.name,
            meta.version,
            signed(meta.release)?,
            signed(meta.build_release)?,
            meta.architecture,
            meta.summary,
            meta.description,
            meta.source_id,
            meta.homepage,
            meta.uri,
            meta.download_size_bytes.map(signed).transpose()?,
            signed(package.installed_bytes)?,
        ])?;
    if inserted == 0 {
        return Ok(());
    }
    for license in &meta.licenses {
        transaction.execute("INSERT OR IGNORE INTO package_license VALUES (?1, ?2)", params![id, license])?;
    }
    let lists: [(&str, Vec<&Dependency>); 3] = [
        ("INSERT OR IGNORE INTO package_dependency VALUES (?1, ?2)", meta.depends.iter().collect()),
        ("INSERT OR IGNORE INTO package_provider VALUES (?1, ?2)", meta.provides.iter().collect()),
        ("INSERT OR IGNORE INTO package_conflict VALUES (?1, ?2)", meta.conflicts.iter().collect()),
    ];
    for (query, dependencies) in lists {
        for dependency in dependencies {
            transaction.prepare_cached(query)?.execute(params![id, dependency.to_string()])?;
        }
    }
    let mut insert = transaction.prepare_cached(
        "INSERT INTO layout (package_id, position, uid, gid, mode, kind, path, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (position, entry) in package.layout.iter().enumerate() {
        let value = match &entry.file {
            EntryFile::Regular(digest) => Some(digest.to_string()),
            EntryFile::Symlink(target) => Some(target.clone()),
            _ => None,
        };
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        insert.execute(params![
            id,
            position,
            entry.uid,
            entry.gid,
            entry.mode,
            entry.file.number(),
            entry.target,
            value
        ])?;
    }
    Ok(())
}

fn read_package(row: &Row<'_>) -> rusqlite::Result<(PackageMeta, u64)> {
    let meta = PackageMeta {
        name: row.get("name")?,
        version: row.get("version")?,
        release: unsigned_named(row, "source_release")?,
        build_release: unsigned_named(row, "build_release")?,
        architecture: row.get("architecture")?,
        summary: row.get("summary")?,
        description: row.get("description")?,
        source_id: row.get("source_id")?,
        homepage: row.get("homepage")?,
        uri: row.get("uri")?,
        hash: Some(row.get("id")?),
        download_size_bytes: row
            .get::<_, Option<i64>>("download_size")?
            .and_then(|size| u64::try_from(size).ok()),
        licenses: Vec::new(),
        depends: BTreeSet::new(),
        provides: BTreeSet::new(),
        conflicts: BTreeSet::new(),
        build_depends: BTreeSet::new(),
    };
    Ok((meta, unsigned_named(row, "installed_size")?))
}

struct LayoutRow {
    uid: u32,
    gid: u32,
    mode: u32,
    kind: u8,
    path: String,
    value: Option<String>,
}

impl LayoutRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            uid: row.get(0)?,
            gid: row.get(1)?,
            mode: row.get(2)?,
            kind: row.get(3)?,
            path: row.get(4)?,
            value: row.get(5)?,
        })
    }

    /// Gives the path back where the row is not an entry.
    fn into_entry(self) -> Result<Entry, String> {
        let file = match (self.kind, self.value) {
            (1, Some(digest)) => match digest.parse() {
                Ok(digest) => EntryFile::Regular(digest),
                Err(_) => return Err(self.path),
            },
            (2, Some(target)) => EntryFile::Symlink(target),
            (3, None) => EntryFile::Directory,
            (4, None) => EntryFile::CharacterDevice,
            (5, None) => EntryFile::BlockDevice,
            (6, None) => EntryFile::Fifo,
            (7, None) => EntryFile::Socket,
            _ => return Err(self.path),
        };
        Ok(Entry { uid: self.uid, gid: self.gid, mode: self.mode, target: self.path, file })
    }
}

#[cfg(test)]
mod tests;
