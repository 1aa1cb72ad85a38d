//! One time of leading: everything that plans, dispatches and serves, from the beginning to the end of it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use database::Address;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::{Config, ConfigFiles, Project};
use crate::hub::Hub;
use crate::store::{Store, StoreError};
use crate::{
    MIRRORS_FOLDER, SINGLE_MIRROR_FOLDER, SummitError, agents, board, dispatcher, identity, log_folder, logs,
    projects, publisher, reload, retention, web, webhooks,
};

/// What a Summit keeps, whether it leads or not.
#[derive(Debug)]
pub(crate) struct Summit {
    pub(crate) config: Config,
    pub(crate) files: Option<ConfigFiles>,
    pub(crate) data: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) address: Address,
    /// Sockets that listen for as long as the program runs; whoever is in office answers.
    pub(crate) http: TcpListener,
    pub(crate) grpc: TcpListener,
}

/// What runs while this Summit leads. Dropped, it stops as if it were killed, which loses nothing.
pub(crate) struct Term {
    pub(crate) hub: Arc<Hub>,
    stop: watch::Sender<bool>,
    parts: JoinSet<Result<(), SummitError>>,
}

impl Term {
    /// Begins. It serves when this returns.
    pub(crate) async fn begin(summit: Arc<Summit>, store: Store) -> Result<Self, SummitError> {
        let identity = identity(&summit.data)?;
        let (http, grpc) = (listener(&summit.http)?, listener(&summit.grpc)?);
        let (config, files) = (summit.config.clone(), summit.files.clone());
        let hub = Hub::new(config, identity, &summit.data, store, summit.clock.clone());
        let log_folder = log_folder::of(&hub.config(), &summit.data);
        if let Some(trouble) = log_folder::compare(&hub.store, &log_folder).await? {
            tracing::warn!("{trouble}");
            hub.older_logs.get_or_init(|| trouble);
        }
        if let Ok(address) = summit.grpc.local_addr() {
            hub.grpc_address.get_or_init(|| address);
        }
        let config = hub.config();
        reload::let_in(&hub, &config).await?;
        let mirrors = summit.data.join(MIRRORS_FOLDER);
        if let Some(first) = config.projects.first() {
            inherit(&hub, first, &summit.data, &mirrors).await?;
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
        parts.spawn(until(stopped.clone(), retention::run(Arc::clone(&hub))));
        parts.spawn(until(stopped.clone(), webhooks::run(Arc::clone(&hub))));
        parts.spawn({
            let (hub, mut stopped) = (Arc::clone(&hub), stopped.clone());
            async move {
                let routes = agents::routes(Arc::clone(&hub));
                let shutdown = async move { drop(stopped.wait_for(|stop| *stop).await) };
                let allowed = agents::allowed(&hub);
                Ok(wire::serve_open(grpc, &hub.identity, allowed, agents::OPEN_METHODS, routes, shutdown)
                    .await?)
            }
        });
        parts.spawn(web::serve(http, Arc::clone(&hub), stopped));
        Ok(Self { hub, stop, parts })
    }

    /// Waits until a part of it ends by itself, which only happens when something is wrong.
    pub(crate) async fn ended(&mut self) -> SummitError {
        match self.parts.join_next().await {
            Some(Ok(Err(error))) => error,
            _ => SummitError::Ended,
        }
    }

    /// Ends it in order.
    pub(crate) async fn finish(mut self) {
        self.stop.send_replace(true);
        while self.parts.join_next().await.is_some() {}
        self.hub.store.close().await;
    }
}

/// Another handle of a socket that listens.
pub(crate) fn listener(socket: &TcpListener) -> Result<tokio::net::TcpListener, SummitError> {
    let address = socket.local_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
    socket
        .try_clone()
        .and_then(tokio::net::TcpListener::from_std)
        .map_err(|source| SummitError::Listen { address, source })
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

/// What a Summit with one project has left belongs to the first project now.
async fn inherit(hub: &Hub, first: &Project, data: &Path, mirrors: &Path) -> Result<(), StoreError> {
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
