//! A database on a server of PostgreSQL.

use std::time::Duration;

use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;

use crate::address::ServerAddress;

/// Connections that read at once: as many as for a file.
const READERS_MAX: u32 = 8;

/// How long to wait for a connection, new or free: a server that restarts is back within it, and whoever waits for a page
/// has not gone away yet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of every connection. They read: what writes says so when it begins, and thereby takes its turn. A statement that
/// takes half a minute is lost; a lock that is not to be had within ten seconds belongs to somebody who is stuck; a
/// transaction of ours pauses for microseconds, so that one that is idle for four seconds belongs to a process that was
/// stopped, and must not hold up the one that takes its place.
const SETTINGS: &str = "SET application_name = 'moraine'; SET default_transaction_read_only = on;
    SET statement_timeout = '30s'; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '4s';
    SET client_min_messages = warning";

/// Begins a transaction that writes. One at a time does, whichever program it belongs to: as with a file, a transaction never
/// fails half-way because another one was faster, and numbers are given in the order in which they become visible. The lock
/// belongs to the database and goes with the transaction; the number is "moraine" in ASCII.
pub(crate) const BEGIN_WRITE: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock(30803309512715877)";

/// The connection that writes: there is one, so that writers of this program take turns in order.
pub(crate) async fn writers(address: &ServerAddress) -> sqlx::Result<AnyPool> {
    pool(address, 1).await
}

/// The connections that read.
pub(crate) async fn readers(address: &ServerAddress) -> sqlx::Result<AnyPool> {
    pool(address, READERS_MAX).await
}

async fn pool(address: &ServerAddress, connections_max: u32) -> sqlx::Result<AnyPool> {
    let options = AnyPoolOptions::new().max_connections(connections_max).acquire_timeout(CONNECT_TIMEOUT);
    crate::pool::open(address.url(), SETTINGS, options).await
}
