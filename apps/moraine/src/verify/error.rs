//! Everything that can be wrong with a published tree, each with its own words.

use std::path::PathBuf;

use fault::{Fault, Kind};
use fetch::{HttpError, PartError};
use package::MetaError;
use repository::compact::CompactError;
use repository::signed::{EnvelopeError, KeysError, PointerError, PublicKeyError, StatementError};
use repository::{IdentifierError, IndexError, RootIndexError, UrlError};
use stone::ReadError;

/// The first thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    /// A file of keys cannot be used.
    #[error("cannot use the keys in {}", path.display())]
    KeyFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// What stands there is no key.
    #[error("cannot use the keys in {}", path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: PublicKeyError,
    },
    /// The file of the versions of pointers.
    #[error("cannot remember the versions of pointers in {}", path.display())]
    Memory {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot find a published channel in {place}")]
    NoChannel { place: String },
    #[error("cannot use the channel")]
    Channel {
        #[source]
        source: IdentifierError,
    },
    #[error("cannot read {file}")]
    Reach {
        file: String,
        #[source]
        source: HttpError,
    },
    #[error("cannot read {file}")]
    Disk {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot keep {file} while it is verified")]
    Keep {
        file: String,
        #[source]
        source: PartError,
    },
    #[error("cannot trust channel {channel}: a key is given, and the channel is not signed")]
    Unsigned { channel: String },
    #[error("cannot trust {file}")]
    Keys {
        file: String,
        #[source]
        source: KeysError,
    },
    #[error("cannot trust {file}")]
    Envelope {
        file: String,
        #[source]
        source: EnvelopeError,
    },
    #[error("cannot trust {file}")]
    Pointer {
        file: String,
        #[source]
        source: Box<PointerError>,
    },
    #[error("cannot use {file}")]
    Statement {
        file: String,
        #[source]
        source: StatementError,
    },
    #[error("cannot use {file}")]
    RootIndex {
        file: String,
        #[source]
        source: RootIndexError,
    },
    #[error("cannot use {file}: it was changed after it was written")]
    Rewritten { file: String },
    #[error(
        "cannot use {file}: it has {found_bytes} bytes with SHA-256 {found}, and {by} promises {promised_bytes} with {promised}"
    )]
    OtherFile {
        file: String,
        found: String,
        found_bytes: u64,
        promised: String,
        promised_bytes: u64,
        by: String,
    },
    #[error("cannot use {file}: {found}, and {other} says {expected}")]
    Contradiction { file: String, found: String, other: String, expected: String },
    #[error("cannot use {file}")]
    Index {
        file: String,
        #[source]
        source: Box<IndexError>,
    },
    #[error("cannot use {file}")]
    Compact {
        file: String,
        #[source]
        source: CompactError,
    },
    #[error("cannot use {file}")]
    Address {
        file: String,
        #[source]
        source: UrlError,
    },
    #[error("cannot use {file}")]
    Package {
        file: String,
        #[source]
        source: Box<ReadError>,
    },
    #[error("cannot use {file}")]
    Meta {
        file: String,
        #[source]
        source: Box<MetaError>,
    },
    #[error("cannot read {file}")]
    Json {
        file: String,
        #[source]
        source: serde_json::Error,
    },
    /// Nobody says what must be in a folder.
    #[error("cannot trust {file}: there is no {missing} in it, so nobody vouches for what is there")]
    Unvouched { file: String, missing: &'static str },
    /// A file that nobody put there who may.
    #[error("cannot trust {file}: {by} does not name it")]
    NotNamed { file: String, by: String },
    /// A name that leads out of its folder.
    #[error("cannot use {file}: {name:?} is no name of a file")]
    Name { file: String, name: String },
    #[error("cannot use {file}: it describes {count} packages instead of one")]
    MetaCount { file: String, count: usize },
}

impl VerifyError {
    /// A file that must be there is not.
    pub(super) fn missing(file: &str) -> Self {
        VerifyError::Disk { file: file.to_owned(), source: std::io::ErrorKind::NotFound.into() }
    }

    fn inner(&self) -> Option<&dyn Fault> {
        Some(match self {
            VerifyError::Key { source, .. } => source,
            VerifyError::Channel { source } => source,
            VerifyError::Reach { source, .. } => source,
            VerifyError::Keep { source, .. } => source,
            VerifyError::Keys { source, .. } => source,
            VerifyError::Envelope { source, .. } => source,
            VerifyError::Pointer { source, .. } => source.as_ref(),
            VerifyError::Statement { source, .. } => source,
            VerifyError::RootIndex { source, .. } => source,
            VerifyError::Index { source, .. } => source.as_ref(),
            VerifyError::Compact { source, .. } => source,
            VerifyError::Address { source, .. } => source,
            VerifyError::Package { source, .. } => source.as_ref(),
            VerifyError::Meta { source, .. } => source.as_ref(),
            _ => return None,
        })
    }
}

impl Fault for VerifyError {
    fn kind(&self) -> Kind {
        match self {
            VerifyError::KeyFile { .. } | VerifyError::NoChannel { .. } => Kind::NotFound,
            VerifyError::Disk { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            VerifyError::Disk { .. } | VerifyError::Memory { .. } => Kind::Unavailable,
            VerifyError::Unsigned { .. } | VerifyError::Unvouched { .. } | VerifyError::NotNamed { .. } => {
                Kind::Denied
            }
            other => other.inner().map_or(Kind::Damaged, Fault::kind),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            VerifyError::NoChannel { .. } => {
                vec![
                    "name the folder or address above the channels, and --channel when it is not main".into(),
                ]
            }
            VerifyError::Memory { .. } => {
                vec![
                    "name a file that can be written; without it begin anew, if you know why it is gone"
                        .into(),
                ]
            }
            VerifyError::KeyFile { .. } => vec!["vessel key show prints the key of a Vessel".into()],
            VerifyError::Unsigned { .. } => {
                vec!["leave --key out to verify what can be verified without signatures".into()]
            }
            VerifyError::Unvouched { .. } => {
                vec![
                    "restore the folder from a mirror or a backup; Vessel signs whatever it publishes".into(),
                ]
            }
            VerifyError::NotNamed { .. } => {
                vec!["remove the file: whoever put it there was not Vessel".into()]
            }
            other => match other.inner() {
                Some(inner) => inner.hints(),
                None => vec![
                    "restore the file from a mirror or a backup; published files must never be edited".into(),
                ],
            },
        }
    }
}
