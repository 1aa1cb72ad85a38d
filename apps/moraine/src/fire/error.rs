//! Why there is no fire, or why it did not go well.

use std::io;
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};

/// Why it did not go well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FireError {
    /// A file or folder.
    #[error("cannot use {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that should say where the tree is.
    #[error("cannot use {} for the place of the tree: {why}", path.display())]
    Store {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A program does not start.
    #[error("cannot start {program}: {why}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        why: String,
    },
    /// A key cannot be made.
    #[error(transparent)]
    Identity(#[from] wire::IdentityError),
    /// A package cannot be made.
    #[error("cannot make a package")]
    Package(#[from] stone::WriteError),
    /// Vessel says no to what it has to take.
    #[error("cannot {action}: {why}")]
    Refused {
        /// What.
        action: String,
        /// Why.
        why: String,
    },
    /// A thread panicked.
    #[error("a reader ended in the middle of its work")]
    Reader,
    /// A thread or a runtime cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// Signals cannot be taken over.
    #[error("cannot take over interrupt and terminate")]
    Signals(#[source] io::Error),
    /// Readers met what must not be.
    #[error("cannot accept what readers met: {}", .wrong.join("; "))]
    Wrong {
        /// What, the first of it.
        wrong: Vec<String>,
        /// Where everything is.
        data: PathBuf,
    },
    /// Standard output is closed.
    #[error(transparent)]
    Output(#[from] observe::OutputError),
}

impl FireError {
    /// The error of a file or folder.
    pub(super) fn folder(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| FireError::Folder { path, source }
    }
}

impl Fault for FireError {
    fn kind(&self) -> Kind {
        match self {
            FireError::Identity(error) => error.kind(),
            FireError::Output(error) => error.kind(),
            FireError::Package(_) | FireError::Reader => Kind::Bug,
            FireError::Refused { .. } | FireError::Wrong { .. } => Kind::Damaged,
            FireError::Store { .. } => Kind::Input,
            FireError::Folder { .. }
            | FireError::Start { .. }
            | FireError::Thread(_)
            | FireError::Signals(_) => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            FireError::Wrong { data, .. } => {
                vec![format!(
                    "look at it again with --data DIR to keep everything; it was in {}",
                    data.display()
                )]
            }
            FireError::Store { .. } => {
                vec!["write it as for Vessel: store = \"/folder\", or [store] with endpoint, bucket, credentials_file".into()]
            }
            _ => Vec::new(),
        }
    }
}
