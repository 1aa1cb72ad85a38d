//! What goes wrong between an announcement and a published history.

use database::DatabaseError;
use fault::{Fault, Kind};

use repository::signed::KeysError;
use repository::{IdentifierError, UrlError, VersionError};

use crate::admission::Refusal;
use crate::expectation::ExpectationError;
use crate::folder::FolderError;
use crate::place::PlaceError;
use crate::provenance::RecordError;
use crate::signing::SigningError;
use crate::staging::StagingError;
use crate::tree::TreeError;
use crate::verify::VerifyError;

/// Why packages were not taken or not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The database did not do its part.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The place of the published tree cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The published tree could not be read or written.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Nothing signs.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// A list of keys cannot be followed.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// There is no key with which a first list of keys could be signed.
    #[error("cannot sign anything: the signer has no key")]
    NoSigningKey,
    /// Somebody else changed the list of keys.
    #[error("cannot follow version {version} of the list of keys: there is one already")]
    KeysMoved {
        /// The version.
        version: u64,
    },
    /// A file is no package that can be published.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The rules of the channel say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What was announced cannot be expected.
    #[error(transparent)]
    Expectation(#[from] ExpectationError),
    /// The record of a build is none.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Uploaded bytes were not taken.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// No such channel.
    #[error("cannot find channel {channel:?}")]
    NoChannel {
        /// As it was asked for.
        channel: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Nobody announced this.
    #[error("cannot find attempt {attempt_id}: it was never expected, or was withdrawn")]
    NoAttempt {
        /// The attempt.
        attempt_id: u64,
    },
    /// The attempt belongs to another builder.
    #[error("cannot act on attempt {attempt_id} as this builder: it was given to another one")]
    OtherBuilder {
        /// The attempt.
        attempt_id: u64,
    },
    /// The artefact is not part of the attempt.
    #[error("cannot take {sha256} for attempt {attempt_id}: it was not announced")]
    NotAnnounced {
        /// The attempt.
        attempt_id: u64,
        /// The digest, as it came, shortened.
        sha256: String,
    },
    /// The attempt is known with another announcement.
    #[error("cannot expect attempt {attempt_id}: it is known with another {field}")]
    OtherExpectation {
        /// The attempt.
        attempt_id: u64,
        /// The first thing that differs.
        field: &'static str,
    },
    /// Not everything is here.
    #[error("cannot commit attempt {attempt_id}: {here_bytes} of {size_bytes} bytes of {name} are here")]
    Incomplete {
        /// The attempt.
        attempt_id: u64,
        /// File name of the first artefact that is not complete.
        name: String,
        /// What has come.
        here_bytes: u64,
        /// What was announced.
        size_bytes: u64,
    },
    /// The attempt was refused before.
    #[error("cannot land attempt {attempt_id}: it was refused: {reason}")]
    WasRefused {
        /// The attempt.
        attempt_id: u64,
        /// Why.
        reason: String,
    },
    /// The attempt has landed.
    #[error("cannot withdraw attempt {attempt_id}: it has landed in {history}")]
    HasLanded {
        /// The attempt.
        attempt_id: u64,
        /// Where.
        history: String,
    },
    /// More attempts wait than are ever kept.
    #[error("cannot expect attempt {attempt_id}: {waiting} attempts are waiting already")]
    TooManyAttempts {
        /// The attempt.
        attempt_id: u64,
        /// How many.
        waiting: usize,
    },
    /// A chunk of an upload is not like the others.
    #[error("cannot take a chunk: {why}")]
    Chunk {
        /// What is wrong with it.
        why: String,
    },
    /// A folder to import cannot be read.
    #[error("cannot import {folder:?}", folder = folder.display())]
    Import {
        /// The folder.
        folder: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder to import has nothing in it, or too much.
    #[error("cannot import {folder:?}: {why}", folder = folder.display())]
    ImportFolder {
        /// The folder.
        folder: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The channel cannot go to the format.
    #[error("cannot upgrade the format of channel {channel}: {why}")]
    FormatUpgrade {
        /// The channel.
        channel: String,
        /// What is in the way.
        why: String,
    },
    /// Clients are led through this tag.
    #[error(
        "cannot remove tag {tag} of channel {channel}: clients that read nothing newer than {format} are led through it"
    )]
    WayUp {
        /// The channel.
        channel: String,
        /// The tag.
        tag: String,
        /// The newest format that these clients read.
        format: String,
    },
    /// An address that is none.
    #[error(transparent)]
    Address(#[from] UrlError),
    /// A text that names no version.
    #[error(transparent)]
    VersionText(#[from] VersionError),
    /// A text that is no name.
    #[error(transparent)]
    Name(#[from] IdentifierError),
    /// No such stream, tag or history.
    #[error("cannot find {version:?} in channel {channel}")]
    NoVersion {
        /// The channel.
        channel: String,
        /// As it was asked for.
        version: String,
        /// Streams and tags that there are.
        known: Vec<String>,
    },
    /// A stream was never anywhere else.
    #[error("cannot roll stream {stream} of channel {channel} back: there is nothing before {history}")]
    NothingBefore {
        /// The channel.
        channel: String,
        /// The stream.
        stream: String,
        /// Where it is.
        history: String,
    },
    /// Tags never move.
    #[error("cannot tag another history of channel {channel} as {tag}: it is the name of {history}")]
    TagStands {
        /// The channel.
        channel: String,
        /// The tag.
        tag: String,
        /// What it names.
        history: String,
    },
    /// A stream that must stay.
    #[error("cannot remove stream {stream} of channel {channel}: every landing moves it")]
    Needed {
        /// The channel.
        channel: String,
        /// The stream.
        stream: String,
    },
    /// A package that is not there.
    #[error("cannot remove package {package:?} from channel {channel}: it is not in it")]
    NoPackage {
        /// The channel.
        channel: String,
        /// As it was asked for.
        package: String,
    },
    /// Nothing of this source waits.
    #[error("cannot find source {name:?} among what is held back in channel {channel}")]
    NotHeld {
        /// The channel.
        channel: String,
        /// As it was asked for.
        name: String,
    },
    /// A release that is there, or was, with other files.
    #[error("cannot add release {release} to channel {channel}: it was published with other files")]
    ReleaseStands {
        /// The channel.
        channel: String,
        /// The release.
        release: String,
    },
    /// A release that is not there.
    #[error("cannot find release {release:?} in channel {channel}")]
    NoRelease {
        /// The channel.
        channel: String,
        /// As it was asked for.
        release: String,
    },
    /// Files that are no release.
    #[error("cannot publish these files as a release: {why}")]
    ReleaseFiles {
        /// What is wrong with them.
        why: String,
    },
    /// Nothing to remove, or too much.
    #[error("cannot remove {count} packages: name one at least and {max} at most")]
    HowMany {
        /// How many were named.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// Somebody else moved the stream.
    #[error("cannot publish in channel {channel}: its stream was moved by somebody else meanwhile")]
    StreamMoved {
        /// The channel.
        channel: String,
    },
    /// The work was cut off.
    #[error("cannot go on publishing: the work was interrupted")]
    Interrupted {
        /// How.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl PublishError {
    /// Whether the attempt can never land, whatever is tried: its bytes or its order are wrong.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            PublishError::Refused(_) | PublishError::Record(_) => true,
            PublishError::Verify(error) => !matches!(error.kind(), Kind::Unavailable),
            _ => false,
        }
    }

    fn inner(&self) -> Option<&dyn Fault> {
        match self {
            PublishError::Folder(error) => Some(error),
            PublishError::Database(error) => Some(error),
            PublishError::Place(error) => Some(error),
            PublishError::Tree(error) => Some(error),
            PublishError::Signing(error) => Some(error),
            PublishError::Keys(error) => Some(error),
            PublishError::Verify(error) => Some(error),
            PublishError::Refused(error) => Some(error),
            PublishError::Expectation(error) => Some(error),
            PublishError::Staging(error) => Some(error),
            PublishError::Record(error) => Some(error),
            PublishError::VersionText(error) => Some(error),
            PublishError::Name(error) => Some(error),
            PublishError::Address(error) => Some(error),
            _ => None,
        }
    }
}

impl Fault for PublishError {
    fn kind(&self) -> Kind {
        match self {
            PublishError::NoChannel { .. }
            | PublishError::NoAttempt { .. }
            | PublishError::NoVersion { .. }
            | PublishError::NoPackage { .. }
            | PublishError::NotHeld { .. }
            | PublishError::NoRelease { .. }
            | PublishError::NothingBefore { .. } => Kind::NotFound,
            PublishError::OtherBuilder { .. } | PublishError::NotAnnounced { .. } => Kind::Denied,
            PublishError::OtherExpectation { .. }
            | PublishError::Incomplete { .. }
            | PublishError::WasRefused { .. }
            | PublishError::HasLanded { .. }
            | PublishError::TagStands { .. }
            | PublishError::ReleaseStands { .. }
            | PublishError::Needed { .. }
            | PublishError::FormatUpgrade { .. }
            | PublishError::WayUp { .. }
            | PublishError::NoSigningKey
            | PublishError::KeysMoved { .. }
            | PublishError::StreamMoved { .. } => Kind::Conflict,
            PublishError::TooManyAttempts { .. } | PublishError::Interrupted { .. } => Kind::Unavailable,
            PublishError::ReleaseFiles { .. } => Kind::Input,
            PublishError::Chunk { .. } | PublishError::HowMany { .. } | PublishError::ImportFolder { .. } => {
                Kind::Input
            }
            PublishError::Import { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => Kind::NotFound,
                std::io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Unavailable,
            },
            _ => self.inner().map_or(Kind::Bug, Fault::kind),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            PublishError::NoChannel { known, .. } if known.is_empty() => {
                vec!["nothing has been published yet".into()]
            }
            PublishError::NoChannel { known, .. } => {
                vec![format!(
                    "there are: {}; `vessel serve --channel NAME` makes another one",
                    known.join(", ")
                )]
            }
            PublishError::NoAttempt { .. } => {
                vec!["ask Summit; it must announce an attempt before its upload".into()]
            }
            PublishError::Incomplete { .. } => {
                vec!["ask for the offset, put the rest, and commit again".into()]
            }
            PublishError::WasRefused { .. } => vec!["build again under a new attempt".into()],
            PublishError::NotAnnounced { .. } => {
                vec!["announce every artefact to Summit before uploading".into()]
            }
            PublishError::StreamMoved { .. } => vec!["do it again".into()],
            PublishError::FormatUpgrade { channel, .. } => vec![
                format!("see what it has: vessel channel show {channel}"),
                "a check that is known to be wrong is left out with --unchecked".into(),
            ],
            PublishError::WayUp { .. } => {
                vec!["it takes hardly any room; keep it as long as there may be such clients".into()]
            }
            PublishError::KeysMoved { .. } => {
                vec!["look with `vessel key show` and say again what is to change".into()]
            }
            PublishError::NoSigningKey => {
                vec!["name a key file or a signer in [signing] of the settings".into()]
            }
            PublishError::NoVersion { channel, known, .. } => {
                let ids = format!("`vessel channel histories {channel}` tells the ids of histories");
                if known.is_empty() {
                    vec![ids]
                } else {
                    vec![format!("there are {}; {ids}", known.join(", "))]
                }
            }
            PublishError::NothingBefore { channel, .. } => {
                vec![format!("name the version with --to; `vessel channel histories {channel}` lists them")]
            }
            PublishError::TagStands { channel, tag, .. } => {
                vec![format!(
                    "tags never move: choose another name, or `vessel channel untag {channel} {tag}` first"
                )]
            }
            PublishError::NoPackage { channel, .. } => {
                vec![format!("the root index of {channel} leads to the list of its packages")]
            }
            PublishError::NotHeld { channel, .. } => {
                vec![format!("`vessel channel show {channel}` lists what is held back, and what for")]
            }
            PublishError::ReleaseStands { .. } => {
                vec!["what is published never changes: give the release another name".into()]
            }
            PublishError::NoRelease { channel, .. } => {
                vec![format!("`vessel release list {channel}` lists what there is")]
            }
            PublishError::TooManyAttempts { .. } => vec!["withdraw attempts that are no longer built".into()],
            _ => self.inner().map_or_else(Vec::new, Fault::hints),
        }
    }
}
