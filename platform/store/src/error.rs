//! What goes wrong with a store, each with the place, the object, and what to do.

use std::io::{self, ErrorKind};

use fault::{Fault, Kind};

use crate::bucket::{Cause, SettingsError, Trouble};
use crate::digest::Sha256;

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A text that is no path of an object.
    #[error("cannot use {path:?} as the path of an object")]
    Path {
        /// As it came, shortened.
        path: String,
    },
    /// The disk refused.
    #[error("cannot {action}")]
    Disk {
        /// "create an object" …
        action: &'static str,
        /// Why, with the path.
        source: io::Error,
    },
    /// The bucket or its service refused.
    #[error("cannot {action}{at}{place}: {what}", at = at(.key), what = .trouble.what())]
    Bucket {
        /// "create an object" …
        action: &'static str,
        /// The bucket, with its service.
        place: String,
        /// The object, as the service knows it; empty when it is about the bucket.
        key: String,
        /// What is wrong.
        trouble: Trouble,
        /// What the service said.
        source: Cause,
    },
    /// Settings that name no bucket.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The object was replaced while it was read.
    #[error("cannot read {path} in {place}: it was replaced meanwhile")]
    Changed {
        /// The store.
        place: String,
        /// The object.
        path: String,
    },
    /// The work was cut off.
    #[error("cannot go on with {place}: the work was interrupted")]
    Interrupted {
        /// The store.
        place: String,
    },
    /// There is an object with other bytes already.
    #[error("cannot create {path} in {place}: it is there with other bytes (digest {found}, to be written {wanted})", path = .0.path, place = .0.place, found = .0.found, wanted = .0.wanted)]
    OtherBytes(Box<Mismatch>),
    /// What was to be put is not what it was said to be.
    #[error("cannot put {path} into {place}: its bytes have digest {found}, said was {wanted}", path = .0.path, place = .0.place, found = .0.found, wanted = .0.wanted)]
    OtherSource(Box<Mismatch>),
    /// A compare-and-swap was lost.
    #[error("cannot replace {path} in {place}: somebody else replaced it meanwhile")]
    Swapped {
        /// The store.
        place: String,
        /// The object.
        path: String,
    },
    /// An object that has to be there is not.
    #[error("cannot read {path} in {place}: there is no such object")]
    Missing {
        /// The store.
        place: String,
        /// The object.
        path: String,
    },
    /// An object that is larger than what asks for it can hold.
    #[error("cannot read {path} in {place}: it has {size_bytes} bytes, and {max_bytes} at most are expected")]
    TooLarge {
        /// The store.
        place: String,
        /// The object.
        path: String,
        /// What it has.
        size_bytes: u64,
        /// The bound.
        max_bytes: u64,
    },
}

/// Bytes that are not what they must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The store.
    pub place: String,
    /// The object.
    pub path: String,
    /// What it must be.
    pub wanted: Sha256,
    /// What it is.
    pub found: Sha256,
}

fn at(key: &str) -> String {
    if key.is_empty() { " at ".to_owned() } else { format!(" {key} at ") }
}

impl StoreError {
    /// Whether the same again may help at once: a connection was cut, or an answer did not come.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self,
            StoreError::Bucket { trouble: Trouble::Unreachable, .. }
                | StoreError::Changed { .. }
                | StoreError::Interrupted { .. }
        )
    }

    /// Whether the store is full.
    fn is_full(source: &io::Error) -> bool {
        matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
    }
}

impl Fault for StoreError {
    fn kind(&self) -> Kind {
        match self {
            // Paths are made from checked names.
            StoreError::Path { .. } => Kind::Bug,
            StoreError::Disk { source, .. } if source.kind() == ErrorKind::PermissionDenied => Kind::Denied,
            StoreError::Disk { .. } | StoreError::Interrupted { .. } => Kind::Unavailable,
            StoreError::Bucket { trouble, .. } => trouble.kind(),
            StoreError::Settings(error) => error.kind(),
            StoreError::Changed { .. } | StoreError::OtherBytes(_) | StoreError::Swapped { .. } => {
                Kind::Conflict
            }
            StoreError::OtherSource(_) | StoreError::Missing { .. } | StoreError::TooLarge { .. } => {
                Kind::Damaged
            }
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            StoreError::Path { .. } => return Vec::new(),
            StoreError::Disk { source, .. } if StoreError::is_full(source) => {
                "make room on the disk and do it again; what is published is unchanged"
            }
            StoreError::Disk { .. } => {
                "check that the folder may be written and do it again; what is published is unchanged"
            }
            StoreError::Bucket { trouble, .. } => trouble.remedy(),
            StoreError::Settings(error) => return error.hints(),
            StoreError::Changed { .. } | StoreError::Interrupted { .. } => "do it again",
            StoreError::OtherBytes(_) => {
                "published bytes never change: give what is to be published another release"
            }
            StoreError::OtherSource(_) => "the disk or its memory is failing: check both before going on",
            StoreError::Swapped { .. } => {
                "another Vessel writes to the same place: give each a folder or a prefix of its own"
            }
            StoreError::Missing { .. } | StoreError::TooLarge { .. } => {
                "restore the object from a backup or a mirror; published objects must never be edited"
            }
        };
        vec![hint.to_owned()]
    }
}

/// Says what was being done when the disk refused.
pub(crate) trait During<T> {
    fn during(self, action: &'static str) -> Result<T, StoreError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Disk { action, source })
    }
}
