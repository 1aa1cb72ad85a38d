//! The connection to one Summit, made again whenever it breaks, at whichever of its addresses answers.

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
/// Longest pause before the next address of the same Summit is tried: one that has just stopped leading is up, and the
/// one that leads now is a moment away.
const PAUSE_NEXT_ADDRESS: Duration = Duration::from_millis(100);
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

/// One of the Summits of this agent.
pub(crate) type SummitNumber = usize;

/// What a connection tells the agent, and which Summit's it is.
pub(crate) type ToDesk = (SummitNumber, FromConnection);

/// Where a Summit is: one of these addresses leads, under one of these keys.
#[derive(Debug, Clone)]
pub(crate) struct Summit {
    pub(crate) number: SummitNumber,
    /// For people; empty for the only one.
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) keys: Vec<PublicKey>,
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
pub(crate) async fn keep(summit: Summit, agent: mpsc::Sender<ToDesk>) {
    let mut session = 0;
    let mut failures = 0;
    let mut turn = 0;
    // What was said of each address the last time.
    let mut last_messages = vec![String::new(); summit.addresses.len()];
    loop {
        session += 1;
        let mut attached = false;
        let place = turn % summit.addresses.len().max(1);
        let Some(address) = summit.addresses.get(place) else { return };
        let error = match converse(&summit, address, session, &agent, &mut attached).await {
            ConnectionError::Ending => return,
            error => error,
        };
        if attached {
            failures = 0;
            if agent.send((summit.number, FromConnection::Detached { session })).await.is_err() {
                return;
            }
        }
        failures += 1;
        let pause = pause(failures, summit.addresses.len(), random());
        // The one that has just welcomed us is the likeliest to do so again.
        turn += usize::from(!attached);
        let message = fault::chain(&error).join(": ");
        let name = summit.name.as_str();
        match last_messages.get_mut(place) {
            Some(last) if *last != message => {
                let hint = error.hints().join("; ");
                tracing::warn!(
                    summit.name = name,
                    address,
                    error = message,
                    hint,
                    ?pause,
                    "no connection to Summit; builds go on"
                );
                *last = message;
            }
            _ => {
                tracing::debug!(
                    summit.name = name,
                    address,
                    error = message,
                    ?pause,
                    "still no connection to Summit"
                );
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// How long to wait after so many failures in a row: hardly at all for an address that was not tried since the last pause.
fn pause(failures: u32, addresses: usize, random: u64) -> Duration {
    let addresses = u32::try_from(addresses).unwrap_or(u32::MAX).max(1);
    if failures.is_multiple_of(addresses) {
        backoff(failures / addresses, random)
    } else {
        PAUSE_NEXT_ADDRESS.min(Duration::from_millis(random % 100))
    }
}

async fn converse(
    summit: &Summit,
    address: &str,
    session: SessionNumber,
    agent: &mpsc::Sender<ToDesk>,
    attached: &mut bool,
) -> ConnectionError {
    match try_converse(summit, address, session, agent, attached).await {
        Ok(()) => ConnectionError::Closed,
        Err(error) => error,
    }
}

async fn try_converse(
    summit: &Summit,
    address: &str,
    session: SessionNumber,
    agent: &mpsc::Sender<ToDesk>,
    attached: &mut bool,
) -> Result<(), ConnectionError> {
    let channel = wire::connect_to_any(address, &summit.keys, &summit.identity)
        .await
        .map_err(ConnectionError::Connect)?;
    let pass =
        |event| async { agent.send((summit.number, event)).await.map_err(|_| ConnectionError::Ending) };
    let (ask, asked) = oneshot::channel();
    pass(FromConnection::HelloWanted(ask)).await?;
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
    fn every_address_is_tried_before_a_long_pause() {
        let long = |failures, addresses| pause(failures, addresses, u64::MAX / 2 + 1) > PAUSE_NEXT_ADDRESS;
        assert_eq!(
            [1, 2, 3, 4, 5, 6].map(|failures| long(failures, 3)),
            [false, false, true, false, false, true]
        );
        assert_eq!([1, 2].map(|failures| long(failures, 1)), [true, true]);
        assert!(pause(3, 3, 0) < pause(6, 3, 0), "pauses grow with the rounds");
    }

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
