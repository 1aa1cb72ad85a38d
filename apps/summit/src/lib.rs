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
mod channels;
pub mod cli;
pub mod clock;
pub mod config;
mod discover;
mod dispatcher;
mod folder;
mod forge;
mod git;
mod hub;
mod log_folder;
pub mod logs;
mod metrics;
mod pace;
mod projects;
mod publisher;
pub mod recipes;
mod reload;
mod repository_state;
pub mod retention;
mod roles;
pub mod secrets;
mod sessions;
pub mod store;
mod term;
mod vessel_link;
pub mod watcher;
pub mod waves;
pub mod web;
pub mod webhooks;
mod world;

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use database::{Address, Session};
use fault::{Fault, Kind};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wire::{Identity, IdentityError, PublicKey, WireError};

pub use clock::Clock;
pub use config::{
    BuilderConfig, Config, ConfigError, ConfigFiles, DatabaseChoice, LimitsConfig, Project, RepositoryConfig,
    VesselConfig,
};
use store::{Store, StoreError};
use term::{Summit, Term};

/// Name of the key file in the data folder.
const IDENTITY_FILE: &str = "identity.key";

/// Name of the database in the data folder.
const DATABASE_FILE: &str = "summit.db";

/// Name of the file in the data folder that says where the database is, when it is not in that folder.
const DATABASE_ADDRESS_FILE: &str = "database";

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
    /// The data folder cannot be written.
    #[error("cannot write {path:?}", path = path.display())]
    Folder {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another Summit runs on the data folder.
    #[error("cannot use {data:?}: another Summit runs on it{}", process.map(|number| format!(", process {number}")).unwrap_or_default(), data = data.display())]
    Occupied {
        /// The folder.
        data: PathBuf,
        /// The number of its process, when that is known.
        process: Option<u32>,
    },
    /// The system gives no more threads.
    #[error("cannot start threads")]
    Threads {
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
            SummitError::Occupied { .. } => Kind::Conflict,
            SummitError::Listen { .. }
            | SummitError::Http { .. }
            | SummitError::Folder { .. }
            | SummitError::Threads { .. } => Kind::Unavailable,
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
            SummitError::Occupied { .. } => vec![
                "stop the other one, or give this one a folder of its own with --data; what several Summits share is a \
                 database on a server"
                    .into(),
            ],
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
    /// There while it leads.
    hub: watch::Receiver<Option<Arc<hub::Hub>>>,
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
    let address = match fs_err::read_to_string(data.join(DATABASE_ADDRESS_FILE)) {
        Ok(text) => Address::parse(text.trim(), data)?,
        Err(_) => Address::File(data.join(DATABASE_FILE)),
    };
    Store::open(&address).await
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
    let folder = folder::OwnFolder::take(data).await?;
    let public_key = identity(data)?.public_key();
    let address = config.database_address(data)?;
    remember_database(data, &config)?;
    let (http, http_address) = listen(config.http_address).await?;
    let (grpc, grpc_address) = listen(config.grpc_address).await?;
    let summit = Arc::new(Summit { config, files, data: data.to_path_buf(), clock, address, http, grpc });
    let (stop, stopped) = watch::channel(false);
    let (office, hub) = watch::channel(None);
    let mut parts = JoinSet::new();
    match summit.address.clone() {
        Address::File(_) => {
            let store = Store::open(&summit.address).await?;
            let term = Term::begin(summit, store).await?;
            office.send_replace(Some(Arc::clone(&term.hub)));
            parts.spawn(keeping(folder, roles::alone(term, stopped)));
        }
        Address::Server(server) => {
            // Whatever is wrong with the address is told now, and not by a standby for ever.
            let session = Session::open(&server).await?;
            parts.spawn(keeping(folder, roles::among_others(summit, server, session, office, stopped)));
        }
    }
    tracing::info!(%http_address, %grpc_address, %public_key, "Summit runs");
    Ok(Running { http_address, grpc_address, public_key, stop, parts, hub })
}

/// Has the folder until the work is over.
async fn keeping(
    folder: folder::OwnFolder,
    work: impl Future<Output = Result<(), SummitError>>,
) -> Result<(), SummitError> {
    let result = work.await;
    drop(folder);
    result
}

/// Tools find the database by the data folder, wherever it is.
fn remember_database(data: &Path, config: &Config) -> Result<(), SummitError> {
    let path = data.join(DATABASE_ADDRESS_FILE);
    let failed = |source| SummitError::Folder { path: path.clone(), source };
    let Some(text) = config.database_text()? else {
        return match fs_err::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        };
    };
    // The address may hold a password.
    let mut options = fs_err::OpenOptions::new();
    options.options_mut().create(true).write(true).truncate(true).mode(0o600);
    let mut file = options.open(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
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
        if let Some(hub) = self.hub.borrow().as_ref() {
            hub.look_at_config.notify_one();
        }
    }

    /// Whether this Summit leads. Alone on its database it always does.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.hub.borrow().is_some()
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
    }
}

async fn listen(address: SocketAddr) -> Result<(std::net::TcpListener, SocketAddr), SummitError> {
    let error = |source| SummitError::Listen { address, source };
    let listener = TcpListener::bind(address).await.and_then(TcpListener::into_std).map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    Ok((listener, address))
}

/// The folder of this Summit's logs, for tools.
#[must_use]
pub fn logs_folder(data: &Path) -> PathBuf {
    data.join("logs")
}
