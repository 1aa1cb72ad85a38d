//! A connection whose lock says which of several programs does what only one may.
//!
//! The lock is the server's: it goes with the connection, however that ends. The server ends the connection when it hears
//! nothing for some seconds, so a program that was stopped, or is cut off, loses the lock too; whoever holds it must confirm
//! it often, and stop when that fails.

use std::time::Duration;

use sqlx::{AnyConnection, Connection, Row};
use tokio::time::timeout;

use crate::address::{Address, ServerAddress};
use crate::error::{DatabaseError, During};
use crate::{DatabaseRow, Statement};

/// Longest answer. It is shorter than the time after which the server gives the lock away: whoever is cut off stops before
/// the next one begins.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest way to a connection that answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The server ends a session that is silent for five seconds: a confirmation each second, and one that takes its time, are
/// well below it, and the next one leads before anybody has to wait for long. PostgreSQL knows this since version 14.
const SETTINGS: &str = "SET application_name = 'moraine leader'; SET default_transaction_read_only = on;
    SET statement_timeout = '2s'; SET idle_session_timeout = '5s'";

/// The lock of the one that leads; the number is "leader" in ASCII.
const LEADER_LOCK: i64 = 119_182_681_466_226;

/// A connection that may hold the lock.
#[derive(Debug)]
pub struct Session {
    connection: AnyConnection,
    address: Address,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub async fn open(server: &ServerAddress) -> Result<Self, DatabaseError> {
        sqlx::any::install_default_drivers();
        let address = Address::Server(server.clone());
        let connecting = async {
            let mut connection = AnyConnection::connect(server.url()).await?;
            sqlx::raw_sql(SETTINGS).execute(&mut connection).await?;
            Ok(connection)
        };
        match timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Ok(connection) => Ok(Self { connection, address }),
            Err(source) => Err(DatabaseError::Open { address, source }),
        }
    }

    /// Takes the lock if nobody has it.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn try_lock(&mut self) -> Result<bool, DatabaseError> {
        let statement =
            sqlx::query("SELECT CASE WHEN pg_try_advisory_lock($1) THEN 1 ELSE 0 END").bind(LEADER_LOCK);
        let row = self.row(statement, "ask for the lead").await?;
        Ok(row.is_some_and(|row| row.try_get::<i32, _>(0).is_ok_and(|one| one == 1)))
    }

    /// Asks the server whether this connection is still there: then so is its lock.
    ///
    /// # Errors
    /// When it is not, or when that cannot be known in time.
    pub async fn confirm(&mut self) -> Result<(), DatabaseError> {
        self.row(sqlx::query("SELECT 1"), "confirm the lead").await.map(drop)
    }

    /// The first row of an answer.
    ///
    /// # Errors
    /// When the connection is lost, when the statement fails.
    pub async fn row(
        &mut self,
        statement: Statement<'_>,
        action: &'static str,
    ) -> Result<Option<DatabaseRow>, DatabaseError> {
        let answer = timeout(ANSWER_TIMEOUT, statement.fetch_optional(&mut self.connection)).await;
        answer.unwrap_or(Err(sqlx::Error::PoolTimedOut)).during(action)
    }

    /// Where the database is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Gives the lock back.
    pub async fn close(self) {
        // Gone is gone: without a word the server finds out by itself.
        drop(timeout(ANSWER_TIMEOUT, self.connection.close()).await);
    }
}
