//! Connections of browsers and tools: how many there may be, how large a head, and how long one may be idle.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

/// Connections at once; more wait in the kernel's queue. Live views keep one each; every one costs some 20 KB.
const CONNECTIONS_MAX: usize = 2048;

/// Connections at once from one address, so that none keeps all others out. A proxy in front has one address.
const CONNECTIONS_OF_ONE_MAX: usize = 1024;

/// Time for the head of a request, also of the next one on a connection that is kept. A reader on a bad line needs a second
/// or two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a request's head. Ours have some hundred, browsers with cookies some thousand.
const HEAD_SIZE_BYTES_MAX: usize = 32 << 10;

/// Pause after the system could not accept, for example because all file descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections each address has.
type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One connection, counted for as long as it lasts.
struct Counted {
    counts: Counts,
    address: IpAddr,
}

impl Counted {
    fn new(counts: &Counts, address: IpAddr) -> Option<Self> {
        let mut held = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(address).or_default();
        if *count >= CONNECTIONS_OF_ONE_MAX {
            return None;
        }
        *count += 1;
        Some(Self { counts: Arc::clone(counts), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut held = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.address);
            }
        }
    }
}

/// Serves `app` until it is stopped. Connections end with it: browsers connect again when Summit is back.
pub(super) async fn serve(listener: TcpListener, app: Router, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let counts = Counts::default();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let Some(counted) = Counted::new(&counts, peer.ip().to_canonical()) else {
                    tracing::warn!(address = %peer.ip(), "too many HTTP connections from one address");
                    continue;
                };
                let app = app.clone();
                connections.spawn(async move {
                    let (_place, _counted) = (place, counted);
                    serve_connection(stream, peer, app).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, app: Router) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let app = app.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            app.oneshot(request).await
        }
    });
    let _small_answers_at_once = stream.set_nodelay(true);
    let result = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_SIZE_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_takes_every_connection() {
        let counts = Counts::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let mut held: Vec<Counted> =
            (0..CONNECTIONS_OF_ONE_MAX).map(|_| Counted::new(&counts, address).unwrap()).collect();
        assert!(Counted::new(&counts, address).is_none());
        assert!(Counted::new(&counts, "192.0.2.2".parse().unwrap()).is_some());
        held.pop();
        assert!(Counted::new(&counts, address).is_some());
        drop(held);
        assert!(counts.lock().unwrap().is_empty(), "nothing is left of addresses that have gone");
    }
}
