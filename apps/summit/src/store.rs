//! What Summit remembers: tasks, attempts, events, builders, recipes.
//!
//! Every change of a task goes through [`farm::task::step`] inside a write transaction: the state is read, judged and
//! written with compare-and-set on its generation, and the event is written beside it. Rows become domain types here
//! and nowhere else.

mod attempts;
mod audit;
mod batches;
mod builders;
mod changes;
mod enrolments;
pub(crate) mod leader;
mod learned;
mod log_folder;
mod logs;
mod pause;
mod recipes;
mod retention;
mod schema;
mod task_list;
mod tasks;
mod tokens;
mod wanted;
mod waves;
mod webhooks;

use database::sqlx::Row;
use database::{Address, Database, DatabaseError, DatabaseRow, During};
use farm::task::Refusal;
use fault::{Fault, Kind};

pub use attempts::{AttemptRow, Built, Outcome};
pub use audit::{AuditPage, AuditRow};
pub use builders::{
    About, BuilderAttempt, BuilderChange, BuilderRefusal, BuilderRole, BuilderRow, BuilderSaid,
};
pub use changes::Applied;
pub use enrolments::{EnrolRefusal, EnrolmentRow};
pub use leader::LeaderRow;
pub use logs::{LogFilter, LogRow};
pub use recipes::{RecipeRow, RecipeSummary, UnreadableRow};
pub use task_list::{TaskFilter, TaskOrder};
pub use tasks::{EventRow, Mark, NamedTask, NewTask, TaskRow};
pub(crate) use tokens::random;
pub use tokens::{TokenRefusal, TokenRow, lifetime};
pub use webhooks::{ToldEvent, WebhookRow};

/// The database of one Summit.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The life cycle does not allow it.
    #[error("cannot change task {task}")]
    Refused {
        /// The task.
        task: farm::ids::TaskId,
        /// Why.
        source: Refusal,
    },
    /// What is known of builders does not allow it.
    #[error(transparent)]
    Builder(#[from] BuilderRefusal),
    /// A one-time token is good for nothing.
    #[error(transparent)]
    Enrol(#[from] EnrolRefusal),
    /// There can be no such token.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// There is no such thing.
    #[error("cannot find {what}")]
    NotFound {
        /// The thing.
        what: String,
    },
}

impl Fault for StoreError {
    fn kind(&self) -> Kind {
        match self {
            StoreError::Database(error) => error.kind(),
            StoreError::Refused { source, .. } => source.kind(),
            StoreError::Builder(refusal) => refusal.kind(),
            StoreError::Enrol(refusal) => refusal.kind(),
            StoreError::Token(refusal) => refusal.kind(),
            StoreError::NotFound { .. } => Kind::NotFound,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            StoreError::Database(error) => error.hints(),
            StoreError::Refused { task, source } => {
                source.hints().into_iter().map(|hint| hint.replace("TASK", &task.to_string())).collect()
            }
            StoreError::Builder(refusal) => refusal.hints(),
            StoreError::Enrol(refusal) => refusal.hints(),
            StoreError::Token(refusal) => refusal.hints(),
            // The first word is the kind of thing.
            StoreError::NotFound { what } => match what.split(' ').next() {
                Some("task") => vec!["`moraine task list` shows which there are".into()],
                Some("builder") => vec!["`moraine builder list` shows which there are".into()],
                _ => Vec::new(),
            },
        }
    }
}

impl Store {
    /// Opens the database at `address`; a file is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be opened or migrated.
    pub async fn open(address: &Address) -> Result<Self, DatabaseError> {
        Ok(Self { database: Database::open_at(address, schema::MIGRATIONS).await? })
    }

    /// Closes it.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

/// Places for `count` values, the first one `$FIRST`: for statements whose length depends on what is asked.
fn places(first: usize, count: usize) -> String {
    let places: Vec<String> = (first..first + count).map(|place| format!("${place}")).collect();
    places.join(", ")
}

/// The integers of databases are signed; nothing we count reaches the other half.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(row: &DatabaseRow, column: &'static str) -> Result<u64, DatabaseError> {
    let number: i64 = row.try_get(column).during("read a number")?;
    unsigned(number, column)
}

fn optional_number(row: &DatabaseRow, column: &'static str) -> Result<Option<u64>, DatabaseError> {
    let number: Option<i64> = row.try_get(column).during("read a number")?;
    number.map(|number| unsigned(number, column)).transpose()
}

fn unsigned(number: i64, column: &'static str) -> Result<u64, DatabaseError> {
    u64::try_from(number)
        .map_err(|_| DatabaseError::Damaged { what: column.to_owned(), why: format!("{number} is negative") })
}

fn text(row: &DatabaseRow, column: &'static str) -> Result<String, DatabaseError> {
    row.try_get(column).during("read a text")
}

fn json<T: serde::de::DeserializeOwned>(row: &DatabaseRow, column: &'static str) -> Result<T, DatabaseError> {
    let text = text(row, column)?;
    serde_json::from_str(&text)
        .map_err(|error| DatabaseError::Damaged { what: column.to_owned(), why: error.to_string() })
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String, DatabaseError> {
    serde_json::to_string(value).map_err(|error| DatabaseError::Damaged {
        what: "a value to store".to_owned(),
        why: error.to_string(),
    })
}

#[cfg(test)]
pub(crate) mod tests;
