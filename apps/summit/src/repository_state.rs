//! What a channel has, read from the published tree as any client reads it.

use std::sync::Arc;

use farm::published::{Published, PublishedPackage};
use fault::{Fault, Kind};
use fetch::{Client, Found, OfferError};
use package::PackageMeta;
use repository::{Identifier, IdentifierError, RepositorySource, Version};

/// What the channel has.
#[derive(Debug, Clone, Default)]
pub(crate) struct RepositoryState {
    /// The newest history; none before anything was published.
    pub history: Option<Identifier>,
    /// Its packages; thousands, and shared by everybody who looks.
    pub published: Arc<Published>,
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryStateError {
    /// The published tree does not give it.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// The configuration names what cannot be a channel or a version.
    #[error("cannot use {name:?} as the name of a channel or version")]
    Name {
        /// What it names.
        name: String,
        /// What is wrong with it.
        source: IdentifierError,
    },
}

impl Fault for RepositoryStateError {
    fn kind(&self) -> Kind {
        match self {
            RepositoryStateError::Offer(error) => error.kind(),
            RepositoryStateError::Name { source, .. } => source.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        let mut hints = match self {
            RepositoryStateError::Offer(error) => error.hints(),
            RepositoryStateError::Name { .. } => Vec::new(),
        };
        hints.push("check vessel.public_url in the configuration".into());
        hints
    }
}

/// Reads the newest state of `channel` below `base_url` for `architecture`. Waits for the network: not for an async task.
/// What is known already is not fetched again.
///
/// # Errors
/// When it cannot be had or understood. No root index at all means that nothing was published yet.
pub(crate) fn read(
    client: &Client,
    base_url: &str,
    channel: &str,
    architecture: &str,
    known: &RepositoryState,
) -> Result<RepositoryState, RepositoryStateError> {
    let name = |name: &str| {
        let parsed: Result<Identifier, _> = name.parse();
        parsed.map_err(|source| RepositoryStateError::Name { name: name.to_owned(), source })
    };
    let source = RepositorySource::Versioned {
        base_uri: base_url.trim_end_matches('/').to_owned(),
        channel: name(channel)?,
        version: Version::Stream(name("volatile")?),
        arch: architecture.to_owned(),
    };
    Ok(match client.offer(&source, known.history.as_ref())? {
        Found::Nothing => RepositoryState::default(),
        Found::Unchanged => known.clone(),
        Found::Offer(offer) => RepositoryState {
            history: offer.history,
            published: Arc::new(Published::new(offer.packages.into_iter().map(published))),
        },
    })
}

/// What the farm has to know of a package.
pub(crate) fn published(package: PackageMeta) -> PublishedPackage {
    PublishedPackage {
        name: package.name,
        source: package.source_id,
        version: package.version,
        release: package.release,
        build_release: package.build_release,
        provides: package.provides,
        depends: package.depends,
        download_size_bytes: package.download_size_bytes.unwrap_or(0),
    }
}
