//! What goes wrong with a database.

use std::io;
use std::path::PathBuf;

use fault::{Fault, Kind};

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Its file or folder cannot be made.
    #[error("cannot make database {path:?}", path = path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be opened.
    #[error("cannot open database {path:?}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// A newer program has used it.
    #[error(
        "cannot use database {path:?}: it has migration {found}, and this program knows {known}",
        path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The newest migration that was applied.
        found: u32,
        /// The newest migration of this program; 0 for none.
        known: u32,
    },
    /// A migration was applied with another text than this program has.
    #[error(
        "cannot use database {path:?}: its migration {number} ({name}) is not the one of this program",
        path = path.display()
    )]
    Differs {
        /// The file.
        path: PathBuf,
        /// Number of the migration.
        number: u32,
        /// Its name here.
        name: &'static str,
    },
    /// A migration failed; nothing of it was applied.
    #[error("cannot apply migration {number} ({name}) to database {path:?}", path = path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
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
            DatabaseError::Make { .. } => Kind::Unavailable,
            DatabaseError::Open { source, .. }
            | DatabaseError::Migrate { source, .. }
            | DatabaseError::Query { source, .. } => kind_of(source),
            DatabaseError::Newer { .. } => Kind::Conflict,
            DatabaseError::Differs { .. } | DatabaseError::Damaged { .. } => Kind::Damaged,
            DatabaseError::OutOfOrder { .. } => Kind::Bug,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            DatabaseError::Newer { .. } => {
                vec!["start the newer program again, or restore the backup that was made before it".into()]
            }
            DatabaseError::Differs { .. } => {
                vec![
                    "the file belongs to another build of the program: use that one, or another data folder"
                        .into(),
                ]
            }
            DatabaseError::Make { path, .. } => vec![format!(
                "check that the folder of {} may be written and its disk is not full",
                path.display()
            )],
            DatabaseError::Query { source, .. } | DatabaseError::Open { source, .. } if is_full(source) => {
                vec!["make room on the disk; nothing was lost, and the program goes on by itself".into()]
            }
            DatabaseError::Open { path, .. } => vec![format!(
                "check that {} is a database: sqlite3 {0} 'PRAGMA integrity_check'",
                path.display()
            )],
            _ => Vec::new(),
        }
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

/// Extended result codes of SQLite that a later try can be free of: busy, locked, disk full, input/output error.
const PASSING_CODES: [&str; 4] = ["5", "6", "13", "10"];

fn kind_of(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::RowNotFound => Kind::NotFound,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => Kind::Unavailable,
        sqlx::Error::Database(error) => match error.code() {
            Some(code) if PASSING_CODES.contains(&primary(&code).as_str()) => Kind::Unavailable,
            // "database disk image is malformed" and "file is not a database"
            Some(code) if ["11", "26"].contains(&primary(&code).as_str()) => Kind::Damaged,
            _ if error.is_unique_violation() => Kind::Conflict,
            _ => Kind::Bug,
        },
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Kind::Damaged,
        _ => Kind::Bug,
    }
}

fn is_full(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| primary(&code) == "13")
}

/// The lower eight bits of an extended result code are the primary one.
fn primary(code: &str) -> String {
    code.parse::<u32>().map_or_else(|_| code.to_owned(), |number| (number & 0xff).to_string())
}
