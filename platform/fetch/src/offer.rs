//! What a repository offers now, read as any client reads it and kept nowhere: pointer, then the index it names.

use std::io::Cursor;

use fault::{Fault, Kind};
use package::PackageMeta;
use repository::{
    Identifier, Index, IndexError, ROOT_INDEX_BYTES_MAX, RepositorySource, ResolveError, RootIndex,
    RootIndexError, Version,
};

use crate::client::{Body, Client, HttpError, Validators};

/// Largest `stone.index` that is read: 65,535 packages, the most that fit, at 1,500 bytes each, not compressed at all.
pub const INDEX_BYTES_MAX: u64 = 100 << 20;

/// What a repository offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// The history; none for an index that is replaced in place.
    pub history: Option<Identifier>,
    /// Address of the index, which the addresses of packages are relative to.
    pub index_url: String,
    /// Its packages, ordered by name.
    pub packages: Vec<PackageMeta>,
}

/// What was found at a repository.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Nothing was published there yet, or nothing in that stream.
    Nothing,
    /// The history that is known already.
    Unchanged,
    /// This.
    Offer(Offer),
}

/// Why it is not known what a repository offers.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// A file cannot be had.
    #[error("cannot read the repository")]
    Fetch {
        /// Which and why.
        source: Box<HttpError>,
    },
    /// The pointer is damaged.
    #[error("cannot use the repository: {url}")]
    RootIndex {
        /// Its address.
        url: String,
        /// What is wrong.
        source: RootIndexError,
    },
    /// The repository has not the version that is to be followed.
    #[error("cannot use the repository: {url}")]
    Version {
        /// Address of its pointer.
        url: String,
        /// Why.
        source: Box<ResolveError>,
    },
    /// The index is damaged.
    #[error("cannot use the repository: {url}")]
    Index {
        /// Its address.
        url: String,
        /// What is wrong.
        source: Box<IndexError>,
    },
}

impl Fault for OfferError {
    fn kind(&self) -> Kind {
        match self {
            OfferError::Fetch { source } => source.kind(),
            OfferError::RootIndex { source, .. } => source.kind(),
            OfferError::Version { source, .. } => source.kind(),
            OfferError::Index { source, .. } => source.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            OfferError::Fetch { source } => source.hints(),
            OfferError::RootIndex { source, .. } => source.hints(),
            OfferError::Version { source, .. } => source.hints(),
            OfferError::Index { source, .. } => source.hints(),
        }
    }
}

impl Client {
    /// Reads what `source` offers, unless it is the history `known`. Waits for the network: not for an async task.
    ///
    /// A history without an index for the architecture offers no package; a stream that is not there yet, nothing.
    ///
    /// # Errors
    /// When a file cannot be had or is damaged, or when the repository has no such tag or history.
    pub fn offer(&self, source: &RepositorySource, known: Option<&Identifier>) -> Result<Found, OfferError> {
        let history = match source {
            RepositorySource::Direct { .. } => None,
            RepositorySource::Versioned { version, .. } => match self.history(source, version)? {
                Some(history) if known == Some(&history) => return Ok(Found::Unchanged),
                Some(history) => Some(history),
                None => return Ok(Found::Nothing),
            },
        };
        let index_url = match (source, &history) {
            (RepositorySource::Direct { uri }, _) => uri.clone(),
            (RepositorySource::Versioned { .. }, Some(history)) => source.index_url(history),
            (RepositorySource::Versioned { .. }, None) => return Ok(Found::Nothing),
        };
        let packages = match self.file(&index_url, INDEX_BYTES_MAX)? {
            Some(bytes) => Index::read(Cursor::new(bytes), &Index::limits())
                .map_err(|source| OfferError::Index { url: index_url.clone(), source: Box::new(source) })?
                .into_packages(),
            None if history.is_none() => return Ok(Found::Nothing),
            None => Vec::new(),
        };
        Ok(Found::Offer(Offer { history, index_url, packages }))
    }

    /// What `version` stands for now; none when it is a stream that is not there yet.
    fn history(
        &self,
        source: &RepositorySource,
        version: &Version,
    ) -> Result<Option<Identifier>, OfferError> {
        let Some(url) = source.root_index_url() else { return Ok(None) };
        let size_bytes_max = u64::try_from(ROOT_INDEX_BYTES_MAX).unwrap_or(u64::MAX);
        let Some(bytes) = self.file(&url, size_bytes_max)? else { return Ok(None) };
        let root = RootIndex::from_json(&bytes)
            .map_err(|source| OfferError::RootIndex { url: url.clone(), source })?;
        if matches!(version, Version::Stream(name) if !root.streams.contains_key(name)) {
            return Ok(None);
        }
        let resolved =
            root.resolve(version).map_err(|source| OfferError::Version { url, source: Box::new(source) })?;
        Ok(Some(resolved.history))
    }

    /// What is at `url`; none when there is nothing.
    fn file(&self, url: &str, size_bytes_max: u64) -> Result<Option<Vec<u8>>, OfferError> {
        match self.get(url, &Validators::default(), size_bytes_max) {
            Ok(Body::Bytes { bytes, .. }) => Ok(Some(bytes)),
            // Nothing was said to be known, so a server that says this has nothing to give.
            Ok(Body::NotModified) => Ok(None),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(source) => Err(OfferError::Fetch { source: Box::new(source) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use repository::layout;

    use super::*;

    fn meta(name: &str) -> PackageMeta {
        PackageMeta {
            name: name.into(),
            version: "1".into(),
            release: 1,
            build_release: 1,
            architecture: "x86_64".into(),
            source_id: name.into(),
            uri: Some(format!("../../{name}.stone")),
            hash: Some("0".repeat(64)),
            download_size_bytes: Some(5),
            summary: String::new(),
            description: String::new(),
            homepage: String::new(),
            licenses: Vec::new(),
            depends: BTreeSet::new(),
            provides: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            build_depends: BTreeSet::new(),
        }
    }

    fn put(tree: &Path, path: &str, bytes: &[u8]) {
        let path = tree.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }

    fn source(tree: &Path, version: &str) -> RepositorySource {
        RepositorySource::Versioned {
            base_uri: format!("file://{}", tree.display()),
            channel: "main".parse().unwrap(),
            version: version.parse().unwrap(),
            arch: "x86_64".into(),
        }
    }

    #[test]
    fn nothing_then_a_history_then_the_same_again() {
        let tree = tempfile::tempdir().unwrap();
        let client = Client::default();
        let volatile = source(tree.path(), "stream/volatile");
        let offer = |known| client.offer(&volatile, known);
        assert_eq!(offer(None).unwrap(), Found::Nothing);

        let (channel, history): (Identifier, Identifier) = ("main".parse().unwrap(), "1-a".parse().unwrap());
        let root = br#"{"formats":{"v0":{}},"streams":{"volatile":{"format":"v0","history":"1-a"}},"tags":{},
            "history":{"1-a":{"format":"v0"}}}"#;
        put(tree.path(), &layout::root_index_path(&channel), root);
        let Found::Offer(empty) = offer(None).unwrap() else { panic!("the history is there") };
        assert_eq!((empty.history, empty.packages.len()), (Some(history.clone()), 0), "not for x86_64 yet");

        let index = Index::new([meta("zlib"), meta("acl")]).unwrap();
        let bytes = index.write(Cursor::new(Vec::new()), stone::Packing::FAST).unwrap().into_inner();
        let path = layout::history_index_path(&channel, &history, "x86_64");
        put(tree.path(), &path, &bytes);
        let Found::Offer(full) = offer(None).unwrap() else { panic!("the history is there") };
        assert_eq!(
            full.packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(),
            ["acl", "zlib"]
        );
        assert_eq!(offer(Some(&history)).unwrap(), Found::Unchanged);

        let stable = client.offer(&source(tree.path(), "stream/stable"), None).unwrap();
        assert_eq!(stable, Found::Nothing, "a stream may come later");
        let missing = client.offer(&source(tree.path(), "tag/none"), None).unwrap_err();
        assert!(matches!(missing, OfferError::Version { .. }), "{missing}");
        put(tree.path(), &path, b"garbage");
        assert!(matches!(offer(None).unwrap_err(), OfferError::Index { .. }));
        let direct = RepositorySource::Direct { uri: format!("file://{}/none.index", tree.path().display()) };
        assert_eq!(client.offer(&direct, None).unwrap(), Found::Nothing);
    }
}
