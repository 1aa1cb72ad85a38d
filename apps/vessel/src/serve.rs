//! The running service: the data folder opened, both servers started, and an orderly end.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fault::{Fault, Kind};
use store::durable;
use tokio::net::TcpListener;
use tokio::sync::watch;
use wire::tonic::service::Routes;
use wire::vessel::vessel_server::VesselServer;
use wire::{Identity, IdentityError, PublicKey, WireError, limits};

use crate::folder::{FolderError, Running};
use crate::http::{self, Shown};
use crate::publisher::{PublishError, Publisher};
use crate::purge::{self, Moves};
use crate::service::Service;
use crate::settings::Settings;

/// How often is looked whether pointers must be signed anew. Each is when a day of its fourteen is over, so that a signer may be
/// gone for days before anybody sees it.
const RENEWAL_PAUSE: Duration = Duration::from_secs(600);

/// How often memory is given back while packages land.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(15);

/// Where a running Vessel is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// gRPC.
    pub grpc: SocketAddr,
    /// The published tree.
    pub http: SocketAddr,
    /// The address that clients are told, without a slash at its end.
    pub public_url: String,
    /// The key to pin.
    pub key: PublicKey,
}

/// Why a Vessel does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its data cannot be used.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Its key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// gRPC ended.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// "gRPC" or "HTTP".
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The published tree cannot be opened.
    #[error("cannot serve the published tree")]
    Public {
        /// Why.
        source: std::io::Error,
    },
}

impl Fault for ServeError {
    fn kind(&self) -> Kind {
        match self {
            ServeError::Publish(error) => error.kind(),
            ServeError::Identity(error) => error.kind(),
            ServeError::Wire(error) => error.kind(),
            ServeError::Listen { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Kind::Denied
            }
            ServeError::Listen { .. } | ServeError::Public { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ServeError::Publish(error) => error.hints(),
            ServeError::Identity(error) => error.hints(),
            ServeError::Wire(error) => error.hints(),
            ServeError::Listen { address, .. } => vec![format!(
                "`ss -ltnp | grep :{}` says who uses it; port 0 takes any free one",
                address.port()
            )],
            ServeError::Public { .. } => Vec::new(),
        }
    }
}

/// Runs a Vessel until `shutdown` is ready. `ready` is called once, when both servers listen.
///
/// # Errors
/// When it cannot start, and when one of its servers ends by itself.
pub async fn serve(
    settings: Settings,
    ready: impl FnOnce(&Addresses),
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let (store, signing, delivery) = (settings.store, settings.signing, &settings.delivery);
    let publisher =
        Publisher::open_with(&settings.data, &settings.channels, store, signing, delivery).await?;
    let publisher = publisher.keeping(settings.retention).with_stone_index(settings.stone_index);
    let publisher = Arc::new(publisher.closing(settings.closure));
    // Files of releases whose addition died on the way; whoever adds one now begins anew.
    durable::remove(&settings.data.join("incoming"))
        .map_err(|source| FolderError::Disk { path: settings.data.clone(), source })
        .map_err(PublishError::from)?;
    // What was held back under another policy, or when this program died between two landings.
    publisher.land_all_held().await?;
    let identity = Identity::load_or_create(&publisher.folder().identity())?;
    let (grpc_listener, grpc) = listen("gRPC", settings.grpc).await?;
    let (http_listener, http) = listen("HTTP", settings.http).await?;
    let public_url = settings.public_url.unwrap_or_else(|| default_url(http));
    let addresses = Addresses { grpc, http, public_url: public_url.clone(), key: identity.public_key() };

    let shown =
        Shown::open(publisher.store(), public_url.clone(), Arc::clone(&publisher), &settings.delivery)
            .map_err(|source| ServeError::Public { source })?;
    // Whoever can read the key of this Vessel owns its folder.
    let operators: BTreeSet<PublicKey> =
        settings.operators.iter().copied().chain([identity.public_key()]).collect();
    let service =
        Service::new(Arc::clone(&publisher), settings.hub_keys.clone(), operators.clone(), public_url);
    let routes =
        Routes::new(VesselServer::new(service).max_decoding_message_size(limits::MESSAGE_SIZE_BYTES_MAX));
    let (builders, hubs) = (publisher.builders(), settings.hub_keys);
    let allowed = move |key: &PublicKey| {
        hubs.contains(key)
            || operators.contains(key)
            || builders.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    };

    let folder = |source| FolderError::Disk { path: settings.data.clone(), source };
    publisher.folder().say_running(Some(&Running { grpc })).map_err(folder).map_err(PublishError::from)?;
    tracing::info!(%grpc, %http, key = %addresses.key, data = %settings.data.display(), "vessel is ready");
    ready(&addresses);
    for purge in settings.purge {
        // They end with the runtime: what is not told any more, caches find out by themselves.
        tokio::spawn(purge::run(purge, publisher.moves()));
    }
    tokio::spawn(give_memory_back(publisher.moves()));
    let renewal = tokio::spawn(sign_anew(Arc::clone(&publisher)));
    let pruning = settings.prune_pause.map(|pause| {
        let publisher = Arc::clone(&publisher);
        tokio::spawn(async move { publisher.prune_every(pause).await })
    });
    let (stop, stopped) = watch::channel(false);
    let http_stopped = wait_for(stopped.clone());
    let http_server = tokio::spawn(http::serve(http_listener, shown, http_stopped));
    let grpc_server = wire::serve(grpc_listener, &identity, allowed, routes, wait_for(stopped));
    tokio::pin!(grpc_server);
    let result = tokio::select! {
        result = &mut grpc_server => result,
        () = shutdown => {
            tracing::info!("stopping");
            stop.send_replace(true);
            grpc_server.await
        }
    };
    stop.send_replace(true);
    renewal.abort();
    if let Some(pruning) = pruning {
        pruning.abort();
    }
    // It has nothing to lose: readers ask again.
    http_server.abort();
    if let Err(error) = publisher.folder().say_running(None) {
        tracing::debug!(%error, "cannot say that this service is gone");
    }
    publisher.close().await;
    Ok(result?)
}

/// Signs pointers in time before they expire. Stopped anywhere, the next start goes on.
async fn sign_anew(publisher: Arc<Publisher>) {
    loop {
        tokio::time::sleep(RENEWAL_PAUSE).await;
        // What fails is in the log, and is tried again.
        drop(publisher.renew().await);
    }
}

/// Gives back what landings leave free in memory: a quarter of what a Vessel holds after some hundred of them. They come close
/// together, so not after each. Ends with the publisher.
async fn give_memory_back(mut moves: watch::Receiver<Moves>) {
    while moves.changed().await.is_ok() {
        // It is no matter whether it comes to its end.
        drop(tokio::task::spawn_blocking(observe::give_memory_back).await);
        tokio::time::sleep(GIVE_BACK_EVERY).await;
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { what, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// An address that a client on this machine can use.
fn default_url(http: SocketAddr) -> String {
    match http {
        SocketAddr::V4(address) if address.ip().is_unspecified() => {
            format!("http://127.0.0.1:{}", address.port())
        }
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            format!("http://[::1]:{}", address.port())
        }
        address => format!("http://{address}"),
    }
}

async fn wait_for(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    drop(stopped.wait_for(|stop| *stop).await);
}
