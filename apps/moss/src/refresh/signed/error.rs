//! Why what was fetched is not used.

use fault::{Fault, Kind};
use repository::Identifier;
use repository::compact::CompactError;
use repository::signed::{Digest, EnvelopeError, KeysError, PointerError, StatementError};

/// Why what was fetched is not used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The list of keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The signatures of a file.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// What the pointer says.
    #[error(transparent)]
    Pointer(#[from] PointerError),
    /// What the statement of the history says.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The index itself.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// A file that is another than was promised.
    #[error(
        "cannot use {file}: it has {found_bytes} bytes with SHA-256 {found}, and {promised_bytes} with {promised} are promised"
    )]
    OtherFile {
        /// The file, below the address of the repository.
        file: String,
        /// Its digest.
        found: Digest,
        /// Its length.
        found_bytes: u64,
        /// What is promised.
        promised: Digest,
        /// What is promised.
        promised_bytes: u64,
    },
    /// The statement and the pointer do not fit together.
    #[error(
        "cannot use history {history}: its pointer says format {pointer:?}, and its statement {statement:?}"
    )]
    OtherFormat {
        /// The history.
        history: Identifier,
        /// One format.
        pointer: String,
        /// The other.
        statement: String,
    },
}

impl TrustError {
    fn inner(&self) -> Option<&dyn Fault> {
        Some(match self {
            TrustError::Keys(error) => error,
            TrustError::Envelope(error) => error,
            TrustError::Pointer(error) => error,
            TrustError::Statement(error) => error,
            TrustError::Compact(error) => error,
            TrustError::OtherFile { .. } | TrustError::OtherFormat { .. } => return None,
        })
    }

    /// Whether it only means that what is at hand is newer.
    pub(in crate::refresh) fn is_behind(&self) -> bool {
        matches!(self, TrustError::Pointer(PointerError::Older { .. }))
    }
}

impl Fault for TrustError {
    fn kind(&self) -> Kind {
        self.inner().map_or(Kind::Damaged, Fault::kind)
    }

    fn hints(&self) -> Vec<String> {
        match self.inner() {
            Some(inner) => inner.hints(),
            None => vec![
                "somebody changed a file on the way or where it lies: try again later, or another mirror, and tell the owner of the repository".into(),
            ],
        }
    }
}
