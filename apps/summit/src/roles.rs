//! One of several Summits on one database leads; the others stand by and take over.
//!
//! The leader holds a lock of the database server with a connection of its own ([`database::Session`]), confirms it every
//! second, and stops leading at once when it cannot. Whoever gets the lock raises the epoch in the table `leader` before it
//! does anything, and every write of a leader asks for that epoch first: one that was stopped in the middle and comes back
//! finds itself shut out. Leases live in the database and survive; agents come back by themselves with what they hold.
//!
//! Each time in office has threads of its own, so that its end ends every task and every connection that it has begun.

mod standby;

use std::sync::Arc;
use std::time::Duration;

use database::{DatabaseError, ServerAddress, Session};
use fault::{Fault, Kind};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

use crate::SummitError;
use crate::hub::Hub;
use crate::store::leader::leader_seen_by;
use crate::store::{LeaderRow, Store};
use crate::term::{Summit, Term};

/// Between two looks at the lock.
const LOOK: Duration = Duration::from_secs(1);

/// What a standby knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) leader: Option<LeaderRow>,
    /// Why the database is not to be had.
    pub(crate) trouble: Option<String>,
}

/// Who is told that this Summit leads, or that it does not any more.
pub(crate) type Office = watch::Sender<Option<Arc<Hub>>>;

type Stopped = watch::Receiver<bool>;

/// How a time in office ended.
enum End {
    /// This Summit is to stop.
    Stopped,
    /// The lock is gone, or cannot be confirmed.
    Lost,
}

/// The only Summit on its database: leads until it is stopped.
pub(crate) async fn alone(mut term: Term, mut stopped: Stopped) -> Result<(), SummitError> {
    tokio::select! {
        error = term.ended() => return Err(error),
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    term.finish().await;
    Ok(())
}

/// One of several: stands by, leads, stands by again, until it is stopped.
pub(crate) async fn among_others(
    summit: Arc<Summit>,
    server: ServerAddress,
    first: Session,
    office: Office,
    mut stopped: Stopped,
) -> Result<(), SummitError> {
    let mut session = Some(first);
    loop {
        let Some(mut lead) = stand_by(&summit, &server, session.take(), &mut stopped).await? else {
            return Ok(());
        };
        let end = self::lead(&summit, &mut lead, &office, &mut stopped).await;
        office.send_replace(None);
        match end {
            Ok(End::Stopped) => {
                lead.close().await;
                return Ok(());
            }
            Ok(End::Lost) => tracing::warn!("this Summit leads no more"),
            Err(error) if error.kind() == Kind::Unavailable => {
                tracing::error!(
                    error = fault::chain(&error).join(": "),
                    "this Summit cannot lead; trying again"
                );
                lead.close().await;
                tokio::time::sleep(LOOK).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Stands by until the lock is had; nothing when this Summit is to stop.
async fn stand_by(
    summit: &Summit,
    server: &ServerAddress,
    mut session: Option<Session>,
    stopped: &mut Stopped,
) -> Result<Option<Session>, SummitError> {
    let mut services: Option<(OwnRuntime, watch::Sender<Standing>)> = None;
    loop {
        let standing = match look(&mut session, server).await {
            Ok(None) => return Ok(session),
            Ok(Some(leader)) => Standing { leader, trouble: None },
            Err(error) => {
                // Its connection is of no use any more.
                session = None;
                Standing { leader: None, trouble: Some(fault::chain(&error).join(": ")) }
            }
        };
        match &services {
            Some((_, known)) => {
                let is_new = known.send_replace(standing.clone()) != standing;
                if let (true, Some(trouble)) = (is_new, &standing.trouble) {
                    tracing::warn!(%trouble, "cannot reach the database; trying again");
                }
            }
            None => {
                tracing::info!(leader = ?standing.leader.as_ref().map(|leader| &leader.http), "this Summit stands by");
                let runtime = OwnRuntime::new()?;
                let (known, standing) = watch::channel(standing);
                standby::serve(&runtime.handle, summit, standing)?;
                services = Some((runtime, known));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stopped.wait_for(|stop| *stop) => return Ok(None),
        }
    }
}

/// Asks for the lock. Nothing when it is had; otherwise who leads, if that is known.
async fn look(
    session: &mut Option<Session>,
    server: &ServerAddress,
) -> Result<Option<Option<LeaderRow>>, DatabaseError> {
    let session = match session {
        Some(session) => session,
        None => session.insert(Session::open(server).await?),
    };
    if session.try_lock().await? {
        return Ok(None);
    }
    leader_seen_by(session).await.map(Some)
}

/// Leads for as long as the lock can be confirmed.
async fn lead(
    summit: &Arc<Summit>,
    session: &mut Session,
    office: &Office,
    stopped: &mut Stopped,
) -> Result<End, SummitError> {
    let runtime = OwnRuntime::new()?;
    let beginning = runtime.handle.spawn(begin(Arc::clone(summit)));
    let mut term = tokio::select! {
        term = beginning => term.map_err(|_| SummitError::Ended)??,
        () = lost(session) => return Ok(End::Lost),
        _ = stopped.wait_for(|stop| *stop) => return Ok(End::Stopped),
    };
    office.send_replace(Some(Arc::clone(&term.hub)));
    tokio::select! {
        error = term.ended() => return Err(error),
        () = lost(session) => return Ok(End::Lost),
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    term.finish().await;
    Ok(End::Stopped)
}

async fn begin(summit: Arc<Summit>) -> Result<Term, SummitError> {
    let store = Store::open(&summit.address).await?;
    let (http, grpc) = announced(&summit);
    let store = store.take_over(&http, &grpc, summit.clock.now()).await?;
    let term = Term::begin(summit, store).await?;
    tracing::info!(%http, %grpc, "this Summit leads");
    Ok(term)
}

/// Where others reach this Summit: as the configuration says, or as it listens.
fn announced(summit: &Summit) -> (String, String) {
    let local = |socket: &std::net::TcpListener| {
        socket.local_addr().map(|address| address.to_string()).unwrap_or_default()
    };
    let http =
        summit.config.announce_http.clone().unwrap_or_else(|| format!("http://{}", local(&summit.http)));
    let grpc = summit.config.announce_grpc.clone().unwrap_or_else(|| local(&summit.grpc));
    (http.trim_end_matches('/').to_owned(), grpc)
}

/// Returns when the lock cannot be confirmed.
async fn lost(session: &mut Session) {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = session.confirm().await {
            tracing::error!(error = fault::chain(&error).join(": "), "the lead is lost");
            return;
        }
    }
}

/// Threads whose tasks end with this value, wherever they are.
struct OwnRuntime {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl OwnRuntime {
    fn new() -> Result<Self, SummitError> {
        let runtime = Runtime::new().map_err(|source| SummitError::Threads { source })?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
