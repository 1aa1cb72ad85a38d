//! Dials a server whose key is known.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use key::PublicKey;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::Service;

use crate::error::WireError;
use crate::identity::Identity;
use crate::limits;
use crate::tls::{self, PinnedKey};

/// The name in the handshake. Servers are told apart by key, so every one has the same.
const SERVER_NAME: &str = "moraine.invalid";

/// Connects to the server at `address`, which is `host:port`, if its key is `pinned`.
///
/// The channel connects again by itself after a break, with the same check.
///
/// # Errors
/// Says whether nothing listens, nothing answers in time, or somebody else answers.
pub async fn connect(address: &str, pinned: PublicKey, identity: &Identity) -> Result<Channel, WireError> {
    connect_within(address, pinned, identity, limits::CONNECT_TIMEOUT).await
}

/// As [`connect`], where several servers may be the one that is meant, each with a key of its own.
///
/// # Errors
/// As [`connect`].
pub async fn connect_to_any(
    address: &str,
    pinned: &[PublicKey],
    identity: &Identity,
) -> Result<Channel, WireError> {
    dial(address, pinned, identity, limits::CONNECT_TIMEOUT).await
}

/// As [`connect`], with another time limit for TCP and TLS together.
///
/// # Errors
/// As [`connect`].
pub async fn connect_within(
    address: &str,
    pinned: PublicKey,
    identity: &Identity,
    limit: Duration,
) -> Result<Channel, WireError> {
    dial(address, &[pinned], identity, limit).await
}

async fn dial(
    address: &str,
    pinned: &[PublicKey],
    identity: &Identity,
    limit: Duration,
) -> Result<Channel, WireError> {
    let bad_address = || WireError::BadAddress { address: address.to_owned() };
    let uri: Uri = format!("http://{address}").parse().map_err(|_| bad_address())?;
    if uri.port_u16().is_none() || uri.path() != "/" || uri.query().is_some() {
        return Err(bad_address());
    }
    let (config, verifier) =
        tls::client_config(identity, pinned).map_err(|source| WireError::Tls { source })?;
    let failure = Arc::new(Mutex::new(None));
    let dialer = Dialer {
        address: address.to_owned(),
        pinned: pinned.to_vec(),
        limit,
        config: Arc::new(config),
        verifier,
        failure: Arc::clone(&failure),
    };
    let endpoint = Endpoint::from(uri)
        .http2_keep_alive_interval(limits::KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    endpoint.connect_with_connector(dialer).await.map_err(|source| {
        // What the dialer itself found out says more than the error that tonic wrapped around it.
        let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.unwrap_or_else(|| WireError::Handshake { address: address.to_owned(), source: source.into() })
    })
}

/// Makes the connections of one channel.
#[derive(Clone)]
struct Dialer {
    address: String,
    pinned: Vec<PublicKey>,
    limit: Duration,
    config: Arc<ClientConfig>,
    verifier: Arc<PinnedKey>,
    failure: Arc<Mutex<Option<WireError>>>,
}

impl Dialer {
    async fn dial(self) -> Result<TokioIo<TlsStream<TcpStream>>, DialError> {
        let result = match timeout(self.limit, self.handshake()).await {
            Ok(result) => result,
            Err(_elapsed) => Err(WireError::Timeout { address: self.address.clone(), limit: self.limit }),
        };
        result.map(TokioIo::new).map_err(|error| {
            let message = error.to_string();
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            DialError { message }
        })
    }

    async fn handshake(&self) -> Result<TlsStream<TcpStream>, WireError> {
        let address = || self.address.clone();
        let connect_error = |source| WireError::Connect { address: address(), source };
        let stream = TcpStream::connect(&self.address).await.map_err(connect_error)?;
        stream.set_nodelay(true).map_err(connect_error)?;
        let name = ServerName::try_from(SERVER_NAME)
            .map_err(|source| WireError::Handshake { address: address(), source: source.into() })?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name, stream).await.map_err(|source| match self.verifier.other() {
            Some(found) => WireError::OtherKey { address: address(), found, pinned: self.pinned.clone() },
            None => WireError::Handshake { address: address(), source: source.into() },
        })
    }
}

/// What tonic is told; the whole error waits in the dialer.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct DialError {
    message: String,
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        Box::pin(self.clone().dial())
    }
}
