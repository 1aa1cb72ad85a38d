//! Why a world cannot be played, and why it did not end well.

use std::net::SocketAddr;
use std::path::PathBuf;

use fault::{Fault, Kind};
use observe::OutputError;
use summit::recipes::ReadFolderError;

use crate::examples::ExamplesError;
use crate::supervisor::SupervisorError;

/// Why there is no good end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorldError {
    /// The recipes cannot be read.
    #[error(transparent)]
    Recipes(#[from] ReadFolderError),
    /// None of them has a manifest that packages could be made from.
    #[error("cannot play the recipes in {path}: none of them has a manifest for {architecture}")]
    NoManifests {
        /// The folder.
        path: PathBuf,
        /// The architecture.
        architecture: &'static str,
    },
    /// The folder of the world, or something in it, cannot be used.
    #[error("cannot use {path}")]
    Folder {
        /// What.
        path: PathBuf,
        /// What the disk says.
        #[source]
        source: std::io::Error,
    },
    /// The folder has something in it.
    #[error("cannot play in {path}: it is not empty")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A manifest cannot be read.
    #[error("cannot read {path}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: package::ManifestError,
    },
    /// A package cannot be written.
    #[error("cannot make package {name}")]
    Package {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: stone::WriteError,
    },
    /// The repository of recipes cannot be made.
    #[error(transparent)]
    Git(#[from] ExamplesError),
    /// The previous generation cannot be published.
    #[error("cannot publish the previous generation: vessel import failed: {message}")]
    Import {
        /// What it said.
        message: String,
    },
    /// A key cannot be made.
    #[error("cannot make the identity of {service}")]
    Identity {
        /// Whose.
        service: String,
        /// Why.
        #[source]
        source: wire::IdentityError,
    },
    /// No port is free.
    #[error("cannot listen on {address}")]
    Port {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The configuration of Summit cannot be written.
    #[error("cannot write the configuration of Summit")]
    Config(#[source] toml::ser::Error),
    /// A service does not stay up.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// A service does not answer.
    #[error("cannot reach {service}: no answer at {url}; its log is {log}")]
    Silent {
        /// Which.
        service: &'static str,
        /// Where it was asked.
        url: String,
        /// Its log.
        log: PathBuf,
    },
    /// What a service says cannot be had.
    #[error("cannot ask {url}")]
    Ask {
        /// What was asked.
        url: String,
        /// Why there is no answer.
        #[source]
        source: Box<fetch::HttpError>,
    },
    /// What a service says cannot be understood.
    #[error("cannot understand the answer of {url}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// What is published cannot be read.
    #[error("cannot read what is published")]
    Offer(#[from] fetch::OfferError),
    /// Nothing goes on.
    #[error(
        "cannot go on: nothing was published for {minutes} minutes; {open} tasks are open, such as {example}"
    )]
    Stuck {
        /// How long.
        minutes: u64,
        /// How many.
        open: usize,
        /// One of them and where it stands.
        example: String,
    },
    /// Something is not as it must be.
    #[error("cannot accept the end of this world: {}", .wrong.join("; "))]
    Wrong {
        /// What, a line each.
        wrong: Vec<String>,
        /// Where everything is kept.
        data: PathBuf,
    },
    /// Somebody asked it to stop.
    #[error("stopped before everything was published")]
    Interrupted,
    /// Signals cannot be taken over.
    #[error("cannot take over interrupt and terminate")]
    Signals(#[source] std::io::Error),
    /// The network of namespaces cannot be made.
    #[error("cannot make a network of namespaces: {step}: {message}")]
    Network {
        /// What was done.
        step: String,
        /// What the machine says.
        message: String,
    },
    /// Standard output is closed.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Fault for WorldError {
    fn kind(&self) -> Kind {
        match self {
            WorldError::Recipes(error) => error.kind(),
            WorldError::Git(error) => error.kind(),
            WorldError::Supervisor(error) => error.kind(),
            WorldError::Offer(error) => error.kind(),
            WorldError::Output(error) => error.kind(),
            WorldError::Identity { source, .. } => source.kind(),
            WorldError::Manifest { source, .. } => source.kind(),
            WorldError::NoManifests { .. } => Kind::Input,
            WorldError::NotEmpty { .. } => Kind::Conflict,
            WorldError::Config(_) | WorldError::Package { .. } | WorldError::Wrong { .. } => Kind::Bug,
            WorldError::Ask { .. }
            | WorldError::Answer { .. }
            | WorldError::Folder { .. }
            | WorldError::Import { .. }
            | WorldError::Port { .. }
            | WorldError::Silent { .. }
            | WorldError::Stuck { .. }
            | WorldError::Interrupted
            | WorldError::Network { .. }
            | WorldError::Signals(_) => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            WorldError::Recipes(error) => error.hints(),
            WorldError::Git(error) => error.hints(),
            WorldError::Supervisor(error) => error.hints(),
            WorldError::Offer(error) => error.hints(),
            WorldError::Identity { source, .. } => source.hints(),
            WorldError::Manifest { source, .. } => source.hints(),
            WorldError::Folder { .. } | WorldError::NotEmpty { .. } => {
                vec!["choose another place with --data".into()]
            }
            WorldError::Silent { log, .. } => vec![format!("read its log: less {}", log.display())],
            WorldError::Wrong { data, .. } => {
                vec![format!("look at the logs of the services: ls {}", data.join("logs").display())]
            }
            WorldError::Stuck { .. } => vec!["run it again with --data DIR, and read DIR/logs".into()],
            WorldError::Network { .. } => {
                vec!["install iproute2 and util-linux: apt-get install iproute2 util-linux".into()]
            }
            _ => Vec::new(),
        }
    }
}

impl WorldError {
    /// For what a disk refuses.
    pub(super) fn folder(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> WorldError {
        let path = path.into();
        move |source| WorldError::Folder { path, source }
    }
}
