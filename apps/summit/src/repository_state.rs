//! What the channel has, read from the published tree as any client reads it.

use std::io::Cursor;

use farm::published::{Published, PublishedPackage};
use fault::{Fault, Kind};
use fetch::{Body, Client, HttpError, Validators};
use repository::{Identifier, Index, IndexError, RootIndex, RootIndexError, Version, layout};

/// The largest index that is read: ten times that of AerynOS with 4,000 packages.
const INDEX_SIZE_BYTES_MAX: u64 = 64 << 20;

/// What the channel has.
#[derive(Debug, Clone, Default)]
pub(crate) struct RepositoryState {
    /// The newest history; none before anything was published.
    pub history: Option<String>,
    /// Its packages.
    pub published: Published,
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryStateError {
    /// The server does not give it.
    #[error("cannot read the repository")]
    Http {
        /// Why.
        source: Box<HttpError>,
    },
    /// The root index is not what it must be.
    #[error("cannot understand the root index at {url}")]
    RootIndex {
        /// Its address.
        url: String,
        /// Why.
        source: RootIndexError,
    },
    /// The index is not what it must be.
    #[error("cannot understand the index at {url}")]
    Index {
        /// Its address.
        url: String,
        /// Why.
        source: Box<IndexError>,
    },
    /// The root index contradicts itself, or a name in the configuration is none.
    #[error("cannot find stream/volatile of channel {channel:?}: {why}")]
    Stream {
        /// The channel.
        channel: String,
        /// What is wrong.
        why: String,
    },
}

impl Fault for RepositoryStateError {
    fn kind(&self) -> Kind {
        match self {
            RepositoryStateError::Http { source } => source.kind(),
            RepositoryStateError::RootIndex { .. } | RepositoryStateError::Index { .. } => Kind::Damaged,
            RepositoryStateError::Stream { .. } => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            RepositoryStateError::Http { source } => source.hints(),
            _ => vec!["check vessel.public_url in the configuration".into()],
        }
    }
}

/// Reads the newest state of `channel` below `base_url` for `architecture`. Waits for the network: not for an async task.
///
/// # Errors
/// When it cannot be had or understood. No root index at all means that nothing was published yet.
pub(crate) fn read(
    client: &Client,
    base_url: &str,
    channel: &str,
    architecture: &str,
) -> Result<RepositoryState, RepositoryStateError> {
    let stream = |why: String| RepositoryStateError::Stream { channel: channel.to_owned(), why };
    let channel_id: Identifier = channel.parse().map_err(|error| stream(format!("{error}")))?;
    let base_url = base_url.trim_end_matches('/');
    let root_url = format!("{base_url}/{}", layout::root_index_path(&channel_id));
    let Some(bytes) = get(client, &root_url)? else { return Ok(RepositoryState::default()) };
    let root = RootIndex::from_json(&bytes)
        .map_err(|source| RepositoryStateError::RootIndex { url: root_url.clone(), source })?;
    let version: Version = "stream/volatile".parse().map_err(|error| stream(format!("{error}")))?;
    let Version::Stream(name) = &version else { return Err(stream("it is no stream".into())) };
    if !root.streams.contains_key(name) {
        return Ok(RepositoryState::default());
    }
    let resolved = root.resolve(&version).map_err(|error| stream(error.to_string()))?;
    let index_url =
        format!("{base_url}/{}", layout::history_index_path(&channel_id, &resolved.history, architecture));
    let history = Some(resolved.history.to_string());
    // A history without this architecture has no index for it.
    let Some(bytes) = get(client, &index_url)? else {
        return Ok(RepositoryState { history, published: Published::default() });
    };
    let index = Index::read(Cursor::new(bytes), &Index::limits())
        .map_err(|source| RepositoryStateError::Index { url: index_url, source: Box::new(source) })?;
    let packages = index.into_packages().into_iter().map(|package| PublishedPackage {
        name: package.name,
        source: package.source_id,
        version: package.version,
        release: package.release,
        build_release: package.build_release,
        provides: package.provides,
        depends: package.depends,
        download_size_bytes: package.download_size_bytes.unwrap_or(0),
    });
    Ok(RepositoryState { history, published: Published::new(packages) })
}

/// What is at `url`; none when there is nothing.
fn get(client: &Client, url: &str) -> Result<Option<Vec<u8>>, RepositoryStateError> {
    match client.get(url, &Validators::default(), INDEX_SIZE_BYTES_MAX) {
        Ok(Body::Bytes { bytes, .. }) => Ok(Some(bytes)),
        Ok(Body::NotModified) => Ok(None),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(source) => Err(RepositoryStateError::Http { source: Box::new(source) }),
    }
}
