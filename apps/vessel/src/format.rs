//! Our snapshots and pointers in the published formats, and back. An adapter of the `repository` crate.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufReader, Cursor, Read, Seek};

use fault::{Fault, Kind};
use package::PackageMeta;
use repository::compact::{self, CompactError, IMAGE_BYTES_MAX};
use repository::{
    Format, HistoryEntry, Identifier, IdentifierError, Index, IndexError, Moved, PackedEntry, RootIndex,
    RootIndexError, StreamEntry, TagEntry, Version, layout,
};
use stone::Packing;

use crate::admission::Package;
use crate::ledger::VOLATILE;
use store::Sha256;

/// How indexes are packed. Every landing writes a whole index; the smallest packing would take fifty times as long.
const INDEX_PACKING: Packing = Packing::FAST;

/// What the root index of a channel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// Name → id of a history.
    pub(crate) streams: BTreeMap<String, String>,
    /// Name → id of a history, for ever.
    pub(crate) tags: BTreeMap<String, String>,
    /// Every history that readers may ask for by its id, and its format.
    pub(crate) histories: BTreeMap<String, Format>,
    /// The newest format that a client reads → the tag through which it is led to the next.
    pub(crate) upgrades: BTreeMap<Format, String>,
    /// Where the channel went.
    pub(crate) moved: Option<Moved>,
}

/// Why a published file cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The root index.
    #[error(transparent)]
    RootIndex(#[from] RootIndexError),
    /// A name in the root index.
    #[error(transparent)]
    Identifier(#[from] IdentifierError),
    /// The compact index.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// An index entry whose hash is none.
    #[error("cannot use package {package} of an index: its hash is {hash:?}")]
    Hash {
        /// Package name.
        package: String,
        /// What stands there.
        hash: String,
    },
}

impl Fault for FormatError {
    fn kind(&self) -> Kind {
        match self {
            FormatError::Index(error) => error.kind(),
            FormatError::RootIndex(error) => error.kind(),
            FormatError::Compact(error) => error.kind(),
            // Ids are made here and checked when they come in.
            FormatError::Identifier(_) => Kind::Bug,
            FormatError::Hash { .. } => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            FormatError::Index(error) => error.hints(),
            FormatError::RootIndex(error) => error.hints(),
            FormatError::Compact(error) => error.hints(),
            FormatError::Identifier(error) => error.hints(),
            FormatError::Hash { .. } => vec!["restore the history folder from a backup or a mirror".into()],
        }
    }
}

/// Where a package is below its channel.
pub(crate) fn pool_path(meta: &PackageMeta) -> String {
    layout::pool_path(meta)
}

/// Entries of indexes, packed, by the digest of the package file. A landing changes a few of thousands.
#[derive(Debug, Default)]
pub(crate) struct PackedEntries(HashMap<Sha256, PackedEntry>);

impl PackedEntries {
    /// The bytes of the `stone.index` that lists these packages, all of one architecture.
    pub(crate) fn index(&mut self, packages: &[&Package]) -> Result<Vec<u8>, FormatError> {
        for package in packages {
            if let Entry::Vacant(place) = self.0.entry(package.sha256) {
                let meta = PackageMeta {
                    uri: Some(layout::package_uri(&package.meta)),
                    hash: Some(package.sha256.to_string()),
                    download_size_bytes: Some(package.size_bytes),
                    ..package.meta.clone()
                };
                place.insert(PackedEntry::new(&meta, INDEX_PACKING)?);
            }
        }
        let entries = packages.iter().filter_map(|package| self.0.get(&package.sha256)).collect();
        Ok(repository::write_packed(entries, Cursor::new(Vec::new()))?.into_inner())
    }

    /// Forgets what is in none of these packages, when that is more than half.
    pub(crate) fn forget_others<'a>(&mut self, packages: impl Iterator<Item = &'a Package> + Clone) {
        if self.0.len() / 2 > packages.clone().count() {
            let kept: HashSet<Sha256> = packages.map(|package| package.sha256).collect();
            self.0.retain(|sha256, _| kept.contains(sha256));
        }
    }
}

/// The packages that a `stone.index` lists, as they came in.
pub(crate) fn read_index(file: impl Read + Seek) -> Result<Vec<Package>, FormatError> {
    let index = Index::read(BufReader::new(file), &Index::limits())?;
    index.into_packages().into_iter().map(package).collect()
}

/// The packages of a compact index and its texts, as they came in.
pub(crate) fn read_compact(index: &[u8], texts: &[u8]) -> Result<Vec<Package>, FormatError> {
    let mut packages = compact::packages(&compact::unpack(index, IMAGE_BYTES_MAX, "a compact index")?)?;
    compact::add_texts(&mut packages, &compact::unpack(texts, IMAGE_BYTES_MAX, "texts")?)?;
    packages.into_iter().map(package).collect()
}

fn package(mut meta: PackageMeta) -> Result<Package, FormatError> {
    // An index gives all three for every package.
    let hash = meta.hash.take().unwrap_or_default();
    let size_bytes = meta.download_size_bytes.take().unwrap_or_default();
    meta.uri = None;
    match hash.parse() {
        Ok(sha256) => Ok(Package { meta, sha256, size_bytes }),
        Err(_) => Err(FormatError::Hash { package: meta.name, hash }),
    }
}

/// The bytes of a root index.
pub(crate) fn root_index(pointer: &Pointer) -> Result<Vec<u8>, FormatError> {
    let mut root = RootIndex { moved: pointer.moved.clone(), ..RootIndex::default() };
    for (id, format) in &pointer.histories {
        root.history.insert(id.parse()?, HistoryEntry { format: format.clone() });
    }
    let format = |id: &String| pointer.histories.get(id).cloned().unwrap_or(Format::V0);
    for (name, id) in &pointer.streams {
        let entry = StreamEntry { format: format(id), history: id.parse()?, tag: None };
        root.streams.insert(name.parse()?, entry);
    }
    for (name, id) in &pointer.tags {
        root.tags.insert(name.parse()?, TagEntry { format: format(id), history: id.parse()? });
    }
    for (format, tag) in &pointer.upgrades {
        root.formats.set_upgrade_via(format, Version::Tag(tag.parse()?));
    }
    Ok(root.to_json())
}

/// The history to which a root index points as newest; none when it points nowhere.
pub(crate) fn pointed(bytes: &[u8]) -> Result<Option<String>, FormatError> {
    let root = RootIndex::from_json(bytes)?;
    let volatile: Identifier = VOLATILE.parse()?;
    Ok(root.streams.get(&volatile).map(|entry| entry.history.to_string()))
}

/// Where the index of a history is below the public base.
pub(crate) fn index_path(channel: &str, id: &str, architecture: &str) -> Result<String, FormatError> {
    Ok(layout::history_index_path(&channel.parse()?, &id.parse()?, architecture))
}
