//! What a channel has, read as any client reads it.

use fault::{Fault, Kind};
use fetch::{Body, Client, HttpError, Validators};
use package::PackageMeta;
use repository::{Identifier, Index, ROOT_INDEX_BYTES_MAX, RootIndex, Version, layout};

/// Why a channel cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishedError {
    /// A file cannot be had.
    #[error("cannot read the published repository")]
    Fetch(#[source] HttpError),
    /// A file is not what it should be.
    #[error("cannot read the published repository: {url}: {reason}")]
    Damaged {
        /// Its address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Fault for PublishedError {
    fn kind(&self) -> Kind {
        match self {
            PublishedError::Fetch(error) => error.kind(),
            PublishedError::Damaged { .. } => Kind::Damaged,
        }
    }
}

/// A channel at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// The history that `stream/volatile` points to.
    pub history: String,
    /// Its packages for this machine's architecture, ordered by name.
    pub packages: Vec<PackageMeta>,
}

/// An index; one of 65,535 packages has about 30 MB.
const INDEX_BYTES_MAX: u64 = 256 << 20;

/// Reads what `stream/volatile` of a channel has now.
///
/// # Errors
/// When the tree at `base_url` cannot be reached, or a file of it does not hold together.
pub(crate) fn published(base_url: &str, channel: &str) -> Result<Published, PublishedError> {
    let damaged = |url: &str, error: &dyn std::error::Error| PublishedError::Damaged {
        url: url.to_owned(),
        reason: fault::chain(error).join(": "),
    };
    let channel: Identifier = channel.parse().map_err(|error| damaged(base_url, &error))?;
    let volatile: Version = "stream/volatile".parse().map_err(|error| damaged(base_url, &error))?;

    let url = format!("{base_url}/{}", layout::root_index_path(&channel));
    let bytes = get(&url, u64::try_from(ROOT_INDEX_BYTES_MAX).unwrap_or(u64::MAX))?;
    let root_index = RootIndex::from_json(&bytes).map_err(|error| damaged(&url, &error))?;
    let resolved = root_index.resolve(&volatile).map_err(|error| damaged(&url, &error))?;

    let path = layout::history_index_path(&channel, &resolved.history, std::env::consts::ARCH);
    let url = format!("{base_url}/{path}");
    let bytes = get(&url, INDEX_BYTES_MAX)?;
    let index =
        Index::read(std::io::Cursor::new(bytes), &Index::limits()).map_err(|error| damaged(&url, &error))?;
    Ok(Published { history: resolved.history.to_string(), packages: index.into_packages() })
}

fn get(url: &str, size_bytes_max: u64) -> Result<Vec<u8>, PublishedError> {
    match Client::default().get(url, &Validators::default(), size_bytes_max).map_err(PublishedError::Fetch)? {
        Body::Bytes { bytes, .. } => Ok(bytes),
        // Nothing was said to be known, so a server that says this contradicts itself.
        Body::NotModified => {
            Err(PublishedError::Damaged { url: url.to_owned(), reason: "it has no content".into() })
        }
    }
}
