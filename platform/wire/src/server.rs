//! Serves gRPC to peers that are known by their keys.
//!
//! Accepting, the TLS handshake and serving are apart: a peer that dawdles in its handshake keeps nobody waiting.
//! `allowed` is asked again at every call, so a key that was taken off the list is refused at its next call even on
//! an open connection. A peer that is not allowed is told so, with its key, and disconnected; it never reaches a
//! handler, except for methods that are open to everybody ([`serve_open`]), such as the one that makes a key known.
//! Handlers learn who calls from [`peer_key`].

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use key::PublicKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Status};

use crate::error::WireError;
use crate::identity::Identity;
use crate::limits;
use crate::spki;
use crate::tls;

mod places;

use places::{Complaints, Place, Places};

/// Who calls: an extension of every request that a server of this crate hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerKey(pub PublicKey);

/// Pause after the system could not accept, for example because all file descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who sent this request.
///
/// # Errors
/// `UNAUTHENTICATED` when the request did not come through [`serve`].
pub fn peer_key<T>(request: &Request<T>) -> Result<PublicKey, Status> {
    match request.extensions().get::<PeerKey>() {
        Some(PeerKey(key)) => Ok(*key),
        None => Err(Status::unauthenticated("the connection carries no key")),
    }
}

/// Serves `routes` on `listener` until `shutdown` is ready, and a short grace longer for calls in progress.
///
/// # Errors
/// When TLS cannot be set up, and when the server ends by itself.
pub async fn serve<A>(
    listener: TcpListener,
    identity: &Identity,
    allowed: A,
    routes: Routes,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), WireError>
where
    A: Fn(&PublicKey) -> bool + Clone + Send + Sync + 'static,
{
    serve_open(listener, identity, allowed, &[], routes, shutdown).await
}

/// As [`serve`], with methods that every key may call, as `/package.Service/Method`. A key that is not allowed otherwise
/// stays for as long as [`limits::UNKNOWN_CONNECTION_TIME_MAX`] all the same.
///
/// # Errors
/// As [`serve`].
pub async fn serve_open<A>(
    listener: TcpListener,
    identity: &Identity,
    allowed: A,
    open_methods: &'static [&'static str],
    routes: Routes,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), WireError>
where
    A: Fn(&PublicKey) -> bool + Clone + Send + Sync + 'static,
{
    let address =
        listener.local_addr().map_or_else(|_| "its address".to_owned(), |address| address.to_string());
    let config = tls::server_config(identity).map_err(|source| WireError::Tls { source })?;
    raise_open_files();
    let (ready, incoming) = mpsc::channel(limits::HANDSHAKES_MAX);
    let accepting =
        tokio::spawn(accept_all(listener, TlsAcceptor::from(Arc::new(config)), allowed.clone(), ready));

    let check = move |request: Request<()>| {
        let key = peer_key(&request)?;
        let is_open = request
            .extensions()
            .get::<Method>()
            .is_some_and(|method| open_methods.contains(&method.0.as_str()));
        if is_open || allowed(&key) {
            return Ok(request);
        }
        Err(Status::permission_denied(format!("the key {key} is not known here; an operator must add it")))
    };
    let (stop, mut stopped) = watch::channel(false);
    let server = Server::builder()
        .http2_keepalive_interval(Some(limits::KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEP_ALIVE_TIMEOUT))
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        .layer(NoteMethod)
        .layer(InterceptorLayer::new(check))
        .serve_with_incoming_shutdown(routes, ReceiverStream::new(incoming), async move {
            // An error means that the sender is gone, which is a stop as well.
            let _stop_or_gone = stopped.wait_for(|stop| *stop).await;
        });
    tokio::pin!(server);
    let result = tokio::select! {
        result = &mut server => result,
        () = shutdown => {
            accepting.abort();
            stop.send_replace(true);
            // Streams of agents never end by themselves: after the grace they are dropped, and attach again later.
            timeout(limits::SHUTDOWN_GRACE, server).await.unwrap_or(Ok(()))
        }
    };
    accepting.abort();
    // The address is free when this returns: whoever starts again at once listens at the same one.
    drop(accepting.await);
    result.map_err(|source| WireError::Serve { address, source: source.into() })
}

/// The method that is called, for whoever checks the call.
#[derive(Debug, Clone)]
struct Method(String);

/// Notes the [`Method`] of every call.
#[derive(Debug, Clone, Copy)]
struct NoteMethod;

/// A service behind [`NoteMethod`].
#[derive(Debug, Clone)]
struct MethodNoted<S>(S);

impl<S> tower::Layer<S> for NoteMethod {
    type Service = MethodNoted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MethodNoted(inner)
    }
}

impl<S, B> tower::Service<http::Request<B>> for MethodNoted<S>
where
    S: tower::Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let method = Method(request.uri().path().to_owned());
        request.extensions_mut().insert(method);
        self.0.call(request)
    }
}

async fn accept_all<A>(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    allowed: A,
    ready: mpsc::Sender<Result<PeerStream, io::Error>>,
) where
    A: Fn(&PublicKey) -> bool + Clone + Send + Sync + 'static,
{
    let places = Arc::new(Places::default());
    let complaints = Arc::new(Complaints::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let mut handshake = loop {
            match places.handshake() {
                Ok(place) => break place,
                Err(full) => {
                    let until = full.until.unwrap_or_else(std::time::Instant::now);
                    // Those behind it wait in the queue of the system.
                    tokio::time::sleep_until(until.max(std::time::Instant::now()).into()).await;
                }
            }
        };
        let (acceptor, allowed, ready) = (acceptor.clone(), allowed.clone(), ready.clone());
        let (places, complaints) = (Arc::clone(&places), Arc::clone(&complaints));
        tokio::spawn(async move {
            let greeted = tokio::select! {
                greeted = greet(&acceptor, stream, peer) => greeted,
                () = handshake.taken_away() => {
                    tracing::debug!(%peer, "a handshake that took too long gave way to another");
                    None
                }
            };
            drop(handshake);
            let Some((stream, key)) = greeted else { return };
            let is_known = allowed(&key);
            let Ok(place) = places.connection(key, is_known) else {
                if let Some(count) = complaints.add() {
                    tracing::warn!(%peer, %key, count, "too many connections; this one is dropped, as others were");
                }
                return;
            };
            let deadline =
                (!is_known).then(|| Box::pin(tokio::time::sleep(limits::UNKNOWN_CONNECTION_TIME_MAX)));
            // A closed channel means that the server is stopping.
            let _sent_or_stopping =
                ready.send(Ok(PeerStream { stream, key, deadline, place, complaints })).await;
        });
    }
}

/// Lets this process have as many connections as it serves, where the machine allows it: the usual limit is half of that.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = now.maximum.map_or(limits::OPEN_FILES_WANTED, |most| most.min(limits::OPEN_FILES_WANTED));
    if now.current.is_some_and(|current| current < wanted) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: now.maximum });
        if let Err(error) = raised {
            tracing::warn!(%error, "cannot raise the number of open files");
        }
    }
}

/// One TLS handshake; none when it fails, which is logged.
async fn greet(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(TlsStream<TcpStream>, PublicKey)> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot switch delayed sending off");
    }
    let stream = match timeout(limits::CONNECT_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "the TLS handshake failed");
            return None;
        }
        Err(_elapsed) => {
            tracing::debug!(%peer, "the TLS handshake took too long");
            return None;
        }
    };
    let key = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let key = key.and_then(|key| spki::from_tls(key))?;
    Some((stream, key))
}

/// A connection together with the key of its other end and its place among the connections served at once.
struct PeerStream {
    stream: TlsStream<TcpStream>,
    key: PublicKey,
    deadline: Option<Pin<Box<Sleep>>>,
    place: Place,
    complaints: Arc<Complaints>,
}

impl Connected for PeerStream {
    type ConnectInfo = PeerKey;

    fn connect_info(&self) -> PeerKey {
        PeerKey(self.key)
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if this.place.poll_taken_away(context).is_ready() {
            if let Some(count) = this.complaints.add() {
                tracing::warn!(key = %this.key, count, "a connection gave way to a newer one, as others did");
            }
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
