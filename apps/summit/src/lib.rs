//! Controller: watches recipes, decides what must be built and in which order, hands builds out, keeps logs and history.
//!
//! Three loops share one [`store::Store`] and wake each other:
//!
//! * [`watcher`], one for each project: recipes (git) and repository (HTTP) → tasks;
//! * dispatcher: what is ready → leases; leases that run out → lost;
//! * publisher: what was built → Vessel → published.
//!
//! The configuration is looked at again while it runs, and projects come, change and go with it. Around them: the gRPC service for agents, and [`web`] for people and tools. All decisions are `farm`'s. Summit can be
//! killed at any moment: every change is one transaction, every loop finds its work by looking, and agents come back by
//! themselves with what they hold.

mod agents;
mod board;
pub mod cli;
pub mod clock;
pub mod config;
mod discover;
mod dispatcher;
mod git;
mod hub;
pub mod logs;
mod pace;
mod projects;
mod publisher;
pub mod recipes;
mod reload;
mod repository_state;
mod sessions;
pub mod store;
pub mod watcher;
pub mod waves;
pub mod web;
mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fault::{Fault, Kind};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wire::{Identity, IdentityError, PublicKey, WireError};

pub use clock::Clock;
pub use config::{
    BuilderConfig, Config, ConfigError, ConfigFiles, LimitsConfig, Project, RepositoryConfig, VesselConfig,
};
use store::{Store, StoreError};

/// Name of the key file in the data folder.
const IDENTITY_FILE: &str = "identity.key";

/// Name of the database in the data folder.
const DATABASE_FILE: &str = "summit.db";

/// Name of the folder with the mirrors of the recipes in the data folder.
const MIRRORS_FOLDER: &str = "recipes";

/// Name of the mirror in the data folder of a Summit that had one project.
const SINGLE_MIRROR_FOLDER: &str = "recipes.git";

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
    /// The configuration cannot be read.
    #[error(transparent)]
    ConfigFile(#[from] ConfigError),
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
            SummitError::ConfigFile(error) => error.kind(),
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
            SummitError::ConfigFile(error) => error.hints(),
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
pub struct Running {
    http_address: SocketAddr,
    grpc_address: SocketAddr,
    public_key: PublicKey,
    stop: watch::Sender<bool>,
    parts: JoinSet<Result<(), SummitError>>,
    hub: Arc<hub::Hub>,
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
    Store::open(&database::Address::File(data.join(DATABASE_FILE))).await
}

/// Starts a Summit with its data in `data`, and this configuration for as long as it runs. It listens when this returns.
///
/// # Errors
/// When it cannot listen, or its key or database cannot be used.
pub async fn start(config: Config, data: &Path, clock: Clock) -> Result<Running, SummitError> {
    start_with(config, None, data, clock).await
}

/// Starts a Summit as [`start`] does, with the configuration in `files`, which may change while it runs.
///
/// # Errors
/// As [`start`], and when the configuration cannot be used.
pub async fn start_from(files: ConfigFiles, data: &Path, clock: Clock) -> Result<Running, SummitError> {
    let loaded = files.load()?;
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    start_with(loaded.config, Some(files), data, clock).await
}

async fn start_with(
    config: Config,
    files: Option<ConfigFiles>,
    data: &Path,
    clock: Clock,
) -> Result<Running, SummitError> {
    if let Some(what) = config.problem() {
        return Err(SummitError::Config { what });
    }
    let identity = identity(data)?;
    let public_key = identity.public_key();
    let store = open_store(data).await?;
    let (http, http_address) = listen(config.http_address).await?;
    let (grpc, grpc_address) = listen(config.grpc_address).await?;
    let hub = hub::Hub::new(config, identity, &logs_folder(data), store, clock);
    let config = hub.config();
    reload::let_in(&hub, &config).await?;
    let mirrors = data.join(MIRRORS_FOLDER);
    if let Some(first) = config.projects.first() {
        inherit(&hub, first, data, &mirrors).await?;
    }
    // Known keys are there before the first connection is, and watchers before the first call.
    let samples = hub.store.samples().await?;
    hub.with_board(|board| *board = board::Board::new(&samples));
    dispatcher::sweep(&hub).await?;
    let mut watchers = projects::Watchers::new(Arc::clone(&hub), &mirrors);
    watchers.follow(&config).await?;

    let (stop, stopped) = watch::channel(false);
    let mut parts = JoinSet::new();
    parts.spawn(until(stopped.clone(), watchers.run()));
    parts.spawn(until(stopped.clone(), reload::run(Arc::clone(&hub), files)));
    parts.spawn(until(stopped.clone(), dispatcher::run(Arc::clone(&hub))));
    parts.spawn(until(stopped.clone(), publisher::run(Arc::clone(&hub))));
    parts.spawn(until(stopped.clone(), logs::archiver::run(Arc::clone(&hub))));
    parts.spawn({
        let (hub, mut stopped) = (Arc::clone(&hub), stopped.clone());
        async move {
            let routes = agents::routes(Arc::clone(&hub));
            let shutdown = async move { drop(stopped.wait_for(|stop| *stop).await) };
            let allowed = agents::allowed(&hub);
            Ok(wire::serve_open(grpc, &hub.identity, allowed, agents::OPEN_METHODS, routes, shutdown).await?)
        }
    });
    parts.spawn(web::serve(http, Arc::clone(&hub), stopped));
    tracing::info!(%http_address, %grpc_address, %public_key, "Summit runs");
    Ok(Running { http_address, grpc_address, public_key, stop, parts, hub })
}

/// What a Summit with one project has left belongs to the first project now.
async fn inherit(hub: &hub::Hub, first: &Project, data: &Path, mirrors: &Path) -> Result<(), StoreError> {
    let adopted = hub.store.adopt_tasks(&first.name, &first.channel).await?;
    if adopted > 0 {
        tracing::info!(
            project.name = first.name,
            tasks = adopted,
            "tasks of before belong to the first project"
        );
    }
    let (old, new) = (data.join(SINGLE_MIRROR_FOLDER), projects::mirror(mirrors, &first.name));
    if old.is_dir() && !new.exists() {
        let moved = fs_err::create_dir_all(mirrors).and_then(|()| fs_err::rename(&old, &new));
        if let Err(error) = moved {
            // It is fetched anew then.
            tracing::warn!(%error, "the mirror of before is of no use");
        }
    }
    Ok(())
}

impl std::fmt::Debug for Running {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Running")
            .field("http_address", &self.http_address)
            .field("grpc_address", &self.grpc_address)
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
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

    /// Looks at the configuration file now, not only at the next poll.
    pub fn look_at_configuration(&self) {
        self.hub.look_at_config.notify_one();
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
        self.hub.store.close().await;
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
