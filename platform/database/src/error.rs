//! What goes wrong with a database.

use std::io;
use std::path::PathBuf;

use fault::{Fault, Kind};
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use crate::Address;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// What should say where it is does not.
    #[error("cannot understand the address of a database: {why}")]
    Address {
        /// Why.
        why: String,
    },
    /// Its file or folder cannot be made.
    #[error("cannot make database {path:?}", path = path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be opened.
    #[error("cannot open database {address}")]
    Open {
        /// Where it is.
        address: Address,
        /// Why.
        source: sqlx::Error,
    },
    /// A newer program has used it.
    #[error("cannot use database {address}: it has migration {found}, and this program knows {known}")]
    Newer {
        /// Where it is.
        address: Address,
        /// The newest migration that was applied.
        found: u32,
        /// The newest migration of this program; 0 for none.
        known: u32,
    },
    /// A migration was applied with another text than this program has.
    #[error("cannot use database {address}: its migration {number} ({name}) is not the one of this program")]
    Differs {
        /// Where it is.
        address: Address,
        /// Number of the migration.
        number: u32,
        /// Its name here.
        name: &'static str,
    },
    /// A migration failed; nothing of it was applied.
    #[error("cannot apply migration {number} ({name}) to database {address}")]
    Migrate {
        /// Where it is.
        address: Address,
        /// Number of the migration.
        number: u32,
        /// Its name.
        name: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// The migrations of this program are not numbered 1, 2, 3, …
    #[error("cannot migrate: migration {number} ({name}) is out of order")]
    OutOfOrder {
        /// Number of the migration.
        number: u32,
        /// Its name.
        name: &'static str,
    },
    /// A query failed.
    #[error("cannot {action} in the database")]
    Query {
        /// What was to be done: "store task", "list builders".
        action: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// Another program has taken over what this one did; nothing was written.
    #[error("cannot write to the database: another program has taken over")]
    Fenced,
    /// A row says what this program never writes.
    #[error("cannot read {what} from the database: {why}")]
    Damaged {
        /// The row: "task 17".
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Fault for DatabaseError {
    fn kind(&self) -> Kind {
        match self {
            DatabaseError::Address { .. } => Kind::Input,
            // Whoever asked finds the other one.
            DatabaseError::Make { .. } | DatabaseError::Fenced => Kind::Unavailable,
            DatabaseError::Open { source, .. }
            | DatabaseError::Migrate { source, .. }
            | DatabaseError::Query { source, .. } => kind_of(source),
            DatabaseError::Newer { .. } => Kind::Conflict,
            DatabaseError::Differs { .. } | DatabaseError::Damaged { .. } => Kind::Damaged,
            DatabaseError::OutOfOrder { .. } => Kind::Bug,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            DatabaseError::Address { .. } => {
                "write it as postgres://user@host:5432/name?sslmode=verify-full, or leave it out for a file in the data \
                 folder"
                    .into()
            }
            DatabaseError::Newer { .. } => {
                "start the newer program again, or restore the backup that was made before it".into()
            }
            DatabaseError::Differs { address: Address::File(_), .. } => {
                "the file belongs to another build of the program: use that one, or another data folder".into()
            }
            DatabaseError::Differs { .. } => {
                "it belongs to another build of the program: use that one, or another database".into()
            }
            DatabaseError::Make { path, .. } => {
                format!("check that the folder of {} may be written and its disk is not full", path.display())
            }
            DatabaseError::Query { source, .. } | DatabaseError::Open { source, .. } if is_full(source) => {
                "make room on the disk; nothing was lost, and the program goes on by itself".into()
            }
            DatabaseError::Open { address: Address::File(path), .. } => {
                format!("check that {} is a database: sqlite3 {0} 'PRAGMA integrity_check'", path.display())
            }
            DatabaseError::Open { address: Address::Server(_), source } if is_distrusted(source) => {
                "its certificate is not what `sslmode` asks for: name the authority that signed it with \
                 `&sslrootcert=FILE`, and the server as its certificate does"
                    .into()
            }
            DatabaseError::Open { address: Address::Server(server), source } => match kind_of(source) {
                Kind::NotFound => format!("make the database: createdb, with the name at the end of {server}"),
                _ => format!("check that the server answers and lets this user in: psql {server}"),
            },
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

/// Names what a query was for.
pub trait During<T> {
    /// The result with an error that says "cannot ACTION in the database".
    ///
    /// # Errors
    /// The same as before.
    fn during(self, action: &'static str) -> Result<T, DatabaseError>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, action: &'static str) -> Result<T, DatabaseError> {
        self.map_err(|source| DatabaseError::Query { action, source })
    }
}

/// Whether the server showed a certificate that is not the right one. The TLS library says so in an error of input.
fn is_distrusted(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}

fn kind_of(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::RowNotFound => Kind::NotFound,
        error if is_distrusted(error) => Kind::Denied,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => Kind::Unavailable,
        sqlx::Error::Database(error) if error.is_unique_violation() => Kind::Conflict,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            if error.try_downcast_ref::<SqliteError>().is_some() {
                kind_of_sqlite(primary(&code))
            } else if error.try_downcast_ref::<PgDatabaseError>().is_some() {
                kind_of_postgres(&code)
            } else {
                Kind::Bug
            }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Kind::Damaged,
        _ => Kind::Bug,
    }
}

/// By the primary result codes of <https://sqlite.org/rescode.html>.
fn kind_of_sqlite(code: Option<u32>) -> Kind {
    match code {
        // Busy, locked, input/output error, disk full: a later try can be free of them.
        Some(5 | 6 | 10 | 13) => Kind::Unavailable,
        // "database disk image is malformed" and "file is not a database"
        Some(11 | 26) => Kind::Damaged,
        _ => Kind::Bug,
    }
}

/// By the codes and classes of <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn kind_of_postgres(code: &str) -> Kind {
    match code {
        // A limit of time, a deadlock, another transaction that was faster, a lock that was not to be had.
        "57014" | "40001" | "40P01" | "55P03" => Kind::Unavailable,
        // A transaction, or a session, that stood still too long.
        "25P03" | "57P05" => Kind::Unavailable,
        "3D000" => Kind::NotFound,
        "42501" => Kind::Denied,
        "XX001" | "XX002" => Kind::Damaged,
        _ => match code.get(..2) {
            // The connection, resources (disk, memory, connections), the operator, the system below.
            Some("08" | "53" | "57" | "58") => Kind::Unavailable,
            Some("28") => Kind::Denied,
            _ => Kind::Bug,
        },
    }
}

fn is_full(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    let code = error.code().unwrap_or_default();
    match error.try_downcast_ref::<SqliteError>() {
        Some(_) => primary(&code) == Some(13),
        None => code == "53100",
    }
}

/// The lower eight bits of an extended result code are the primary one.
fn primary(code: &str) -> Option<u32> {
    code.parse::<u32>().ok().map(|number| number & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_a_later_try_can_be_free_of() {
        for (code, expect) in [
            ("08006", Kind::Unavailable),
            ("40001", Kind::Unavailable),
            ("53100", Kind::Unavailable),
            ("57P01", Kind::Unavailable),
            ("25P03", Kind::Unavailable),
            ("28P01", Kind::Denied),
            ("3D000", Kind::NotFound),
            ("XX001", Kind::Damaged),
            ("42601", Kind::Bug),
            ("25006", Kind::Bug),
            ("", Kind::Bug),
        ] {
            assert_eq!(kind_of_postgres(code), expect, "{code}");
        }
        for (code, expect) in [("5", Kind::Unavailable), ("267", Kind::Damaged), ("1", Kind::Bug)] {
            assert_eq!(kind_of_sqlite(primary(code)), expect, "{code}");
        }
    }
}
