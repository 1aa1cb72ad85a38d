//! The connection to Summit, made again whenever it breaks.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use fault::Fault;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use wire::summit::summit_client::SummitClient;
use wire::summit::{FromAgent, Hello, ToAgent, Welcome, from_agent, to_agent};
use wire::tonic::Streaming;
use wire::{Identity, PublicKey, RemoteError, WireError};

/// Longest pause between two attempts to connect. A farm whose Summit was restarted is whole again within a minute.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// First pause; a Summit that is being upgraded is back in about this time.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// Longest wait for the Welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages that may wait for the network. Logs are sent one piece at a time for each build, so only a connection that
/// has stopped gets there.
pub(crate) const OUTGOING_MAX: usize = 1024;

/// Which connection; a word from an old one is not taken for one of the new.
pub(crate) type SessionNumber = u64;

/// What the connection tells the agent.
#[derive(Debug)]
pub(crate) enum FromConnection {
    /// It is about to say Hello and asks for what to say.
    HelloWanted(oneshot::Sender<Hello>),
    /// The connection ends when `end` is dropped.
    Attached {
        session: SessionNumber,
        welcome: Welcome,
        outgoing: mpsc::Sender<FromAgent>,
        end: oneshot::Sender<()>,
    },
    Message {
        session: SessionNumber,
        message: to_agent::Message,
    },
    Detached {
        session: SessionNumber,
    },
}

/// Where Summit is.
#[derive(Debug, Clone)]
pub(crate) struct Summit {
    pub(crate) address: String,
    pub(crate) key: PublicKey,
    pub(crate) identity: Identity,
}

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("cannot reach Summit")]
    Connect(#[source] WireError),
    #[error("Summit ended the connection")]
    Refused(#[source] RemoteError),
    #[error("Summit closed the connection")]
    Closed,
    #[error("Summit does not welcome us within {} seconds", WELCOME_TIMEOUT.as_secs())]
    Silent,
    #[error("Summit does not speak as agreed: its first word is not Welcome")]
    Protocol,
    #[error("the agent is ending")]
    Ending,
}

impl Fault for ConnectionError {
    fn kind(&self) -> fault::Kind {
        match self {
            ConnectionError::Connect(error) => error.kind(),
            ConnectionError::Refused(error) => error.kind(),
            ConnectionError::Closed | ConnectionError::Silent | ConnectionError::Ending => {
                fault::Kind::Unavailable
            }
            ConnectionError::Protocol => fault::Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ConnectionError::Connect(error) => error.hints(),
            ConnectionError::Refused(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

/// Keeps a connection until the agent ends. Returns only then.
pub(crate) async fn keep(summit: Summit, agent: mpsc::Sender<FromConnection>) {
    let mut session = 0;
    let mut failures = 0;
    let mut last_message = String::new();
    loop {
        session += 1;
        let mut attached = false;
        let error = match converse(&summit, session, &agent, &mut attached).await {
            ConnectionError::Ending => return,
            error => error,
        };
        if attached {
            failures = 0;
            if agent.send(FromConnection::Detached { session }).await.is_err() {
                return;
            }
        }
        failures += 1;
        let pause = backoff(failures, random());
        let message = fault::chain(&error).join(": ");
        if message == last_message {
            tracing::debug!(error = message, ?pause, "still no connection to Summit");
        } else {
            let hint = error.hints().join("; ");
            tracing::warn!(error = message, hint, ?pause, "no connection to Summit; builds go on");
        }
        last_message = message;
        tokio::time::sleep(pause).await;
    }
}

async fn converse(
    summit: &Summit,
    session: SessionNumber,
    agent: &mpsc::Sender<FromConnection>,
    attached: &mut bool,
) -> ConnectionError {
    match try_converse(summit, session, agent, attached).await {
        Ok(()) => ConnectionError::Closed,
        Err(error) => error,
    }
}

async fn try_converse(
    summit: &Summit,
    session: SessionNumber,
    agent: &mpsc::Sender<FromConnection>,
    attached: &mut bool,
) -> Result<(), ConnectionError> {
    let channel = wire::connect(&summit.address, summit.key, &summit.identity)
        .await
        .map_err(ConnectionError::Connect)?;
    let (ask, asked) = oneshot::channel();
    agent.send(FromConnection::HelloWanted(ask)).await.map_err(|_| ConnectionError::Ending)?;
    let hello = asked.await.map_err(|_| ConnectionError::Ending)?;

    let (outgoing, queued) = mpsc::channel(OUTGOING_MAX);
    let hello = FromAgent { message: Some(from_agent::Message::Hello(hello)) };
    outgoing.send(hello).await.map_err(|_| ConnectionError::Closed)?;
    let mut client =
        SummitClient::new(channel).max_decoding_message_size(wire::limits::MESSAGE_SIZE_BYTES_MAX);
    let welcomed = async {
        let mut incoming = client
            .attach(ReceiverStream::new(queued))
            .await
            .map_err(|status| ConnectionError::Refused(wire::from_status(&status)))?
            .into_inner();
        match receive(&mut incoming).await? {
            Some(to_agent::Message::Welcome(welcome)) => Ok((incoming, welcome)),
            Some(_) => Err(ConnectionError::Protocol),
            None => Err(ConnectionError::Closed),
        }
    };
    let (mut incoming, welcome) =
        tokio::time::timeout(WELCOME_TIMEOUT, welcomed).await.map_err(|_| ConnectionError::Silent)??;
    *attached = true;
    let pass = |event| async { agent.send(event).await.map_err(|_| ConnectionError::Ending) };
    let (end, mut ended) = oneshot::channel();
    pass(FromConnection::Attached { session, welcome, outgoing, end }).await?;
    loop {
        let message = tokio::select! {
            message = receive(&mut incoming) => message?,
            _ = &mut ended => None,
        };
        match message {
            Some(message) => pass(FromConnection::Message { session, message }).await?,
            None => return Ok(()),
        }
    }
}

/// The next message that this version knows.
async fn receive(incoming: &mut Streaming<ToAgent>) -> Result<Option<to_agent::Message>, ConnectionError> {
    loop {
        match incoming.message().await {
            Ok(Some(ToAgent { message: Some(message) })) => return Ok(Some(message)),
            Ok(Some(ToAgent { message: None })) => {
                tracing::warn!("Summit sent a message that this version does not know");
            }
            Ok(None) => return Ok(None),
            Err(status) => return Err(ConnectionError::Refused(wire::from_status(&status))),
        }
    }
}

/// Pause after so many failures in a row: doubled each time, and between half and all of that by chance, so that a
/// thousand builders do not come back in the same moment.
pub(crate) fn backoff(failures: u32, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX);
    let half = whole / 2;
    let range_ms = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    half + Duration::from_millis(random % range_ms)
}

/// A number that differs between calls and machines; good enough to spread load, for nothing else.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_spread() {
        fn check(failures: u32, random: u64, expect_ms: u64) {
            assert_eq!(backoff(failures, random), Duration::from_millis(expect_ms), "{failures} {random}");
        }
        check(1, 0, 250);
        check(1, 250, 500);
        check(2, 0, 500);
        check(3, 1000, 2000);
        check(7, 0, 15_000);
        check(u32::MAX, 15_000, 30_000);
        assert_ne!(random(), random());
    }
}
