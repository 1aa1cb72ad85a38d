//! What a channel has, read from the published tree as any client reads it.
//!
//! Our own channel changes with every landing, and its index has thousands of packages. So Vessel is asked what changed, and
//! the index is read only at the beginning, and when Vessel cannot say.

use std::io::Cursor;
use std::sync::Arc;

use farm::published::{Published, PublishedPackage};
use fault::{Fault, Kind};
use fetch::{Client, Found, OfferError};
use package::PackageMeta;
use repository::{Identifier, IdentifierError, Index, RepositorySource, VersionError};
use wire::vessel::ChangesReply;

use crate::config::RepositoryConfig;

/// What the channel has.
#[derive(Debug, Clone, Default)]
pub(crate) struct RepositoryState {
    /// The newest history; none before anything was published, and for an index that is replaced in place.
    pub history: Option<Identifier>,
    /// Its packages; thousands, and shared by everybody who looks.
    pub published: Arc<Published>,
}

/// Version of a channel that a farm publishes to.
pub(crate) const PUBLISHED_VERSION: &str = "stream/volatile";

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryStateError {
    /// The published tree does not give it.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// The configuration names what cannot be a version.
    #[error("cannot use {name:?} as a version")]
    Version {
        /// What it names.
        name: String,
        /// What is wrong with it.
        source: VersionError,
    },
    /// The configuration names what cannot be a channel.
    #[error("cannot use {name:?} as the name of a channel")]
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
            RepositoryStateError::Version { .. } => Kind::Input,
            RepositoryStateError::Name { source, .. } => source.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        let mut hints = match self {
            RepositoryStateError::Offer(error) => error.hints(),
            RepositoryStateError::Name { .. } | RepositoryStateError::Version { .. } => Vec::new(),
        };
        hints.push("check vessel.public_url and [[project.repository]] in the configuration".into());
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
    read_source(client, &versioned(base_url, channel, PUBLISHED_VERSION, architecture)?, known)
}

/// Reads a place that builds draw on. One that has nothing is empty, and said to be.
///
/// # Errors
/// When it cannot be had or understood.
pub(crate) fn read_place(
    client: &Client,
    place: &RepositoryConfig,
    architecture: &str,
    known: &RepositoryState,
) -> Result<RepositoryState, RepositoryStateError> {
    let source = match (&place.index_uri, &place.base_uri) {
        (Some(uri), _) => RepositorySource::Direct { uri: uri.clone() },
        (None, Some(base_url)) => versioned(base_url, &place.channel, &place.version, architecture)?,
        (None, None) => return Ok(RepositoryState::default()),
    };
    let state = read_source(client, &source, known)?;
    if state.published.is_empty() {
        tracing::warn!(repository = place.id, architecture, "a repository to build against has no packages");
    }
    Ok(state)
}

/// What a channel has after the changes that Vessel tells of; none when it has to be read to know.
pub(crate) fn follow(known: &RepositoryState, changes: ChangesReply) -> Option<RepositoryState> {
    if changes.whole || known.history.is_none() {
        return None;
    }
    let history = Some(changes.history.parse::<Identifier>().ok()?);
    let arrived = match changes.arrived.as_slice() {
        [] => Vec::new(),
        bytes => Index::read(Cursor::new(bytes), &Index::limits()).ok()?.into_packages(),
    };
    if arrived.is_empty() && changes.gone.is_empty() {
        return Some(RepositoryState { history, published: Arc::clone(&known.published) });
    }
    let after = known.published.with_changes(arrived.into_iter().map(published), changes.gone);
    // The same thing stays where it is, as when it is read.
    let published = match known.published.fingerprint() == after.fingerprint() {
        true => Arc::clone(&known.published),
        false => Arc::new(after),
    };
    Some(RepositoryState { history, published })
}

fn versioned(
    base_url: &str,
    channel: &str,
    version: &str,
    architecture: &str,
) -> Result<RepositorySource, RepositoryStateError> {
    Ok(RepositorySource::Versioned {
        base_uri: base_url.trim_end_matches('/').to_owned(),
        channel: channel
            .parse()
            .map_err(|source| RepositoryStateError::Name { name: channel.to_owned(), source })?,
        version: version
            .parse()
            .map_err(|source| RepositoryStateError::Version { name: version.to_owned(), source })?,
        arch: architecture.to_owned(),
    })
}

fn read_source(
    client: &Client,
    source: &RepositorySource,
    known: &RepositoryState,
) -> Result<RepositoryState, RepositoryStateError> {
    Ok(match client.offer(source, known.history.as_ref())? {
        Found::Nothing => RepositoryState::default(),
        Found::Unchanged => known.clone(),
        Found::Offer(offer) => {
            let published = Published::new(offer.packages.into_iter().map(published));
            // The same thing stays where it is: that it did not change is then told at once.
            match offer.history == known.history && known.published.fingerprint() == published.fingerprint() {
                true => known.clone(),
                false => RepositoryState { history: offer.history, published: Arc::new(published) },
            }
        }
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
        provides: package.provides.into_iter().collect(),
        depends: package.depends.into_iter().collect(),
        download_size_bytes: package.download_size_bytes.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(name: &str, release: u64) -> PackageMeta {
        PackageMeta {
            uri: Some(format!("../../../pool/{name}.stone")),
            hash: Some("0".repeat(64)),
            download_size_bytes: Some(3),
            ..testkit::packages::meta(name, name, release)
        }
    }

    #[test]
    fn what_changed_is_followed_and_what_cannot_be_is_read() {
        let read = |packages: Vec<PackageMeta>| RepositoryState {
            history: Some("1-a".parse().unwrap()),
            published: Arc::new(Published::new(packages.into_iter().map(published))),
        };
        let known = read(vec![meta("nano", 1), meta("vim", 1), meta("ed", 1)]);
        let index = Index::new([meta("nano", 2), meta("emacs", 1)]).unwrap();
        let arrived = index.write(Cursor::new(Vec::new()), stone::Packing::FAST).unwrap().into_inner();
        let told = |arrived: &[u8], gone: &[&str], whole| ChangesReply {
            history: "2-b".into(),
            whole,
            arrived: arrived.to_vec(),
            gone: gone.iter().map(|name| (*name).to_owned()).collect(),
        };
        let after = follow(&known, told(&arrived, &["ed"], false)).unwrap();
        let whole = read(vec![meta("nano", 2), meta("vim", 1), meta("emacs", 1)]);
        assert_eq!(after.published.fingerprint(), whole.published.fingerprint());
        assert_eq!(after.history.as_ref().map(ToString::to_string).as_deref(), Some("2-b"));
        let same = follow(&known, told(&[], &[], false)).unwrap();
        assert!(Arc::ptr_eq(&same.published, &known.published), "that nothing changed is told at once");
        let same = follow(&known, told(&[], &["never-there"], false)).unwrap();
        assert!(Arc::ptr_eq(&same.published, &known.published));
        assert!(follow(&known, told(&arrived, &[], true)).is_none());
        assert!(follow(&known, told(b"no index", &[], false)).is_none());
        assert!(follow(&RepositoryState::default(), told(&arrived, &[], false)).is_none());
    }
}
