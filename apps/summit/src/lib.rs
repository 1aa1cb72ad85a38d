//! Controller: watches recipes, decides what must be built and in which order, hands builds out, keeps logs and history.
//!
//! Three loops share one [`store::Store`] and wake each other:
//!
//! * [`watcher`]: recipes (git) and repository (HTTP) → tasks;
//! * dispatcher: what is ready → leases; leases that run out → lost;
//! * publisher: what was built → Vessel → published.
//!
//! Around them: the gRPC service for agents, and [`web`] for people and tools. All decisions are `farm`'s. Summit can be
//! killed at any moment: every change is one transaction, every loop finds its work by looking, and agents come back by
//! themselves with what they hold.

mod agents;
pub mod cli;
pub mod clock;
pub mod config;
mod discover;
mod dispatcher;
mod git;
mod hub;
pub mod logs;
mod publisher;
pub mod recipes;
mod repository_state;
mod sessions;
pub mod store;
pub mod watcher;
pub mod web;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use farm::ids::BuilderId;
use fault::{Fault, Kind};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wire::{Identity, IdentityError, PublicKey, WireError};

pub use clock::Clock;
pub use config::{BuilderConfig, Config, ConfigError, LimitsConfig, Project, RepositoryConfig, VesselConfig};
use store::{Store, StoreError};

/// Name of the key file in the data folder.
const IDENTITY_FILE: &str = "identity.key";

/// Name of the database in the data folder.
const DATABASE_FILE: &str = "summit.db";

/// Name of the mirror of the recipes in the data folder.
const MIRROR_FOLDER: &str = "recipes.git";

/// Why Summit does not run.
#[derive(Debug, thiserror::Error)]
pub enum SummitError {
    /// Its key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its database cannot be used.
    #[error(transparent)]
    Database(#[from] database::DatabaseError),
    /// Its store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address is taken, or is not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Agents cannot be served.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The configuration cannot be used.
    #[error("cannot use the configuration: {what}")]
    Config {
        /// The key and what is wrong with its value.
        what: String,
    },
    /// Browsers cannot be served.
    #[error("cannot serve HTTP")]
    Http {
        /// Why.
        source: std::io::Error,
    },
    /// A loop ended that never ends.
    #[error("a part of Summit ended by itself")]
    Ended,
}

impl Fault for SummitError {
    fn kind(&self) -> Kind {
        match self {
            SummitError::Identity(error) => error.kind(),
            SummitError::Database(error) => error.kind(),
            SummitError::Store(error) => error.kind(),
            SummitError::Wire(error) => error.kind(),
            SummitError::Config { .. } => Kind::Input,
            SummitError::Listen { .. } | SummitError::Http { .. } => Kind::Unavailable,
            SummitError::Ended => Kind::Bug,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            SummitError::Identity(error) => error.hints(),
            SummitError::Database(error) => error.hints(),
            SummitError::Store(error) => error.hints(),
            SummitError::Wire(error) => error.hints(),
            SummitError::Listen { address, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
                vec![format!(
                    "something listens on {address} already: stop it, or choose another port (0 for any)"
                )]
            }
            _ => Vec::new(),
        }
    }
}

/// A Summit that runs.
#[derive(Debug)]
pub struct Running {
    http_address: SocketAddr,
    grpc_address: SocketAddr,
    public_key: PublicKey,
    stop: watch::Sender<bool>,
    parts: JoinSet<Result<(), SummitError>>,
    store: Store,
}

/// The key of the Summit whose data is in `data`; made when there is none.
///
/// # Errors
/// When the key file cannot be used.
pub fn identity(data: &Path) -> Result<Identity, IdentityError> {
    Identity::load_or_create(&data.join(IDENTITY_FILE))
}

/// The store of the Summit whose data is in `data`. Several processes may have it open.
///
/// # Errors
/// When it cannot be opened.
pub async fn open_store(data: &Path) -> Result<Store, database::DatabaseError> {
    Store::open(&data.join(DATABASE_FILE)).await
}

/// Starts a Summit with its data in `data`. It listens when this returns.
///
/// # Errors
/// When it cannot listen, or its key or database cannot be used.
pub async fn start(config: Config, data: &Path, clock: Clock) -> Result<Running, SummitError> {
    if let Some(what) = config.problem() {
        return Err(SummitError::Config { what });
    }
    let identity = identity(data)?;
    let public_key = identity.public_key();
    let store = open_store(data).await?;
    for builder in &config.builders {
        store.add_builder(&BuilderId(builder.public_key.to_string()), &builder.name, clock.now()).await?;
    }
    let (http, http_address) = listen(config.http_address).await?;
    let (grpc, grpc_address) = listen(config.grpc_address).await?;
    let mirror =
        git::Mirror::new(&data.join(MIRROR_FOLDER), &config.project.repository, &config.project.branch);
    let discoverer = discover::Discoverer::new(mirror, &config.project.architecture)
        .sharing(discover::Understood::default());
    let (hub, requests) = hub::Hub::new(config, identity, &logs_folder(data), store.clone(), clock);
    // Known keys are there before the first connection is.
    dispatcher::sweep(&hub, &mut dispatcher::Judged::default()).await?;

    let (stop, stopped) = watch::channel(false);
    let mut parts = JoinSet::new();
    parts.spawn(until(stopped.clone(), watcher::run(Arc::clone(&hub), discoverer, requests)));
    parts.spawn(until(stopped.clone(), dispatcher::run(Arc::clone(&hub))));
    parts.spawn(until(stopped.clone(), publisher::run(Arc::clone(&hub))));
    parts.spawn({
        let (hub, mut stopped) = (Arc::clone(&hub), stopped.clone());
        async move {
            let routes = agents::routes(Arc::clone(&hub));
            let shutdown = async move { drop(stopped.wait_for(|stop| *stop).await) };
            Ok(wire::serve(grpc, &hub.identity, agents::allowed(&hub), routes, shutdown).await?)
        }
    });
    parts.spawn(web::serve(http, hub, stopped));
    tracing::info!(%http_address, %grpc_address, %public_key, "Summit runs");
    Ok(Running { http_address, grpc_address, public_key, stop, parts, store })
}

impl Running {
    /// Where the dashboard and the API are.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where agents attach.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// The key that agents pin.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// Waits until a part of it ends by itself.
    ///
    /// # Errors
    /// Always: nothing ends by itself unless something is wrong.
    pub async fn wait(&mut self) -> Result<(), SummitError> {
        match self.parts.join_next().await {
            Some(Ok(Err(error))) => Err(error),
            _ => Err(SummitError::Ended),
        }
    }

    /// Stops it. Builds go on; agents attach again when it is back.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.parts.join_next().await.is_some() {}
        self.store.close().await;
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SummitError> {
    let error = |source| SummitError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    Ok((listener, address))
}

/// Runs a loop until Summit stops.
async fn until(
    mut stopped: watch::Receiver<bool>,
    part: impl Future<Output = ()>,
) -> Result<(), SummitError> {
    tokio::select! {
        () = part => Err(SummitError::Ended),
        _ = stopped.wait_for(|stop| *stop) => Ok(()),
    }
}

/// The folder of this Summit's logs, for tools.
#[must_use]
pub fn logs_folder(data: &Path) -> PathBuf {
    data.join("logs")
}
