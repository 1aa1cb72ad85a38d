//! Removes what builds left that were killed: their folders, where nobody holds the lock.
//!
//! A build that ends by itself, also as a failed one, takes its folder away. One that was killed cannot, and on a farm its
//! release may never be built on that machine again.

use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use sandbox::SandboxError;

use crate::build::{FolderState, folder_states};

/// What was done.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cleaned {
    /// Folders that are gone.
    pub removed: Vec<String>,
    /// Folders in which somebody builds.
    pub in_use: Vec<String>,
    /// Folders that somebody wanted to keep.
    pub kept: Vec<String>,
}

/// Why not everything is clean.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// The cache cannot be looked at.
    #[error("cannot clean {path}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder resists.
    #[error("cannot remove a build folder")]
    Remove(#[source] SandboxError),
}

impl Fault for CleanError {
    fn kind(&self) -> Kind {
        match self {
            CleanError::Folder { .. } => Kind::Unavailable,
            CleanError::Remove(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            CleanError::Folder { .. } => vec!["name the cache that builds use with --cache-dir".into()],
            CleanError::Remove(error) => error.hints(),
        }
    }
}

/// Removes the folders of builds that run no more; `kept_too`: also those that `--keep` left.
///
/// # Errors
/// When the cache cannot be read or a folder not be removed; what was removed before stays removed.
pub fn clean(cache: &Path, kept_too: bool) -> Result<Cleaned, CleanError> {
    let mut cleaned = Cleaned::default();
    let failed = |source| CleanError::Folder { path: cache.to_path_buf(), source };
    for (name, state) in folder_states(cache).map_err(failed)? {
        match state {
            FolderState::InUse => cleaned.in_use.push(name),
            FolderState::Kept(_) if !kept_too => cleaned.kept.push(name),
            FolderState::Kept(left) | FolderState::Left(left) => {
                left.remove().map_err(CleanError::Remove)?;
                cleaned.removed.push(name);
            }
        }
    }
    Ok(cleaned)
}
