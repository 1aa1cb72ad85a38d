//! The published tree of a channel: objects, histories and the pointer, in the order that makes them safe.
//!
//! ```text
//! <channel>/pool/v0/<p>/<source>/<file>.stone     written once, never changed
//! <channel>/build/<p>/<source>/<build>/<file>     written once, never changed
//! <channel>/release/<name>/<file>                 written once, never changed
//! <channel>/history/<id>/<arch>/stone.index …     written once, never changed
//! <channel>/history/<id>/statement.json           written once, never changed: names all files of the history
//! <channel>/moss-root-index.json (and .zst)       the pointer: replaced by compare-and-swap
//! <channel>/{keys,stream/<name>,tag/<name>}.json  the same, signed
//! ```
//!
//! Nothing names an object before it can be read back, nothing names a history before its indexes are durable, and
//! only [`Tree::move_pointer`] changes what a reader sees. Which histories and objects there should be is the ledger's
//! business; [`Tree::sweep`] removes what a crash left beyond that. Whether a folder or a bucket keeps it is the
//! [`Store`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor};
use std::sync::{Arc, Mutex, PoisonError};

use fault::{Fault, Kind};
use repository::layout::{self, COMPACT_INDEX_FILE, INDEX_FILE, TEXTS_FILE};
use stone::Entry;
use store::{Leftovers, NewObject, Sha256, Source, Store, StoreError, Swap, Tag, Unsettled};

use crate::admission::{Package, Snapshot};
use crate::delivery::Delivery;
use crate::described::{self, Described, Plan, Shelf};
use crate::format::{self, FormatError, PackedEntries};
use crate::http;
use crate::stored::{self, Stored};

/// The pointer of a channel.
pub(crate) const ROOT_INDEX: &str = "moss-root-index.json";

/// Bytes of a file that is replaced. A root index has some eighty for each history, and there are 50,000 at most.
const MUTABLE_SIZE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of an index. The largest has 65,535 packages of a kilobyte each.
const INDEX_SIZE_BYTES_MAX: u64 = 512 << 20;

/// The architecture that readers ask for when they say nothing; its index is always there.
const DEFAULT_ARCHITECTURE: &str = "x86_64";

/// What happened last, in order. A crash after any of them must leave the old version or the new one; the tests see to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Decided,
    ObjectsLinked,
    ObjectsReadBack,
    IndexesWritten,
    PointersSigned,
    Recorded,
    PointerWritten,
    PointerMoved,
    StagingRemoved,
}

/// An admitted file and where it goes.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// Where it is now.
    pub(crate) from: Source,
    /// Path below the channel.
    pub(crate) pool_path: String,
    pub(crate) sha256: Sha256,
    pub(crate) size_bytes: u64,
}

/// A file of the tree, as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreeFile {
    /// Below the folder that takes it.
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
}

/// What happens where a channel has more packages for an architecture than a `stone.index` can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoneIndex {
    /// Nothing is published.
    #[default]
    Always,
    /// It is published without a `stone.index` for that architecture, which only clients of other makers miss.
    WhileItFits,
}

/// When there are plain indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlainIndexes {
    /// What happens where there are more packages than one can hold.
    pub(crate) policy: StoneIndex,
    /// The most that one can hold.
    pub(crate) packages_max: usize,
}

impl Default for PlainIndexes {
    /// The header of a `stone.index` counts packages with 16 bits.
    fn default() -> Self {
        Self { policy: StoneIndex::default(), packages_max: stone::PAYLOADS_MAX }
    }
}

/// Why the tree was not changed as asked.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk refused.
    #[error("cannot {action}")]
    Disk {
        /// "store packages in the pool" …
        action: &'static str,
        /// Why, with the path.
        source: io::Error,
    },
    /// What was written is not what is there.
    #[error("cannot rely on {path}: it reads back with digest {found}, written was {written}")]
    ReadBack {
        /// The object.
        path: String,
        /// What it must be.
        written: Sha256,
        /// What it is.
        found: Sha256,
    },
    /// An index or a pointer cannot be made or read.
    #[error("cannot publish {what}")]
    Format {
        /// "the index of 17-3fa94c21 for x86_64" …
        what: String,
        /// Why.
        source: FormatError,
    },
    /// The index of the newest history is not what the ledger says.
    #[error("cannot use history {id} of channel {channel}: its index holds something else (content {found})")]
    OtherContent {
        /// The channel.
        channel: String,
        /// The history.
        id: String,
        /// Digest of what the index holds.
        found: Sha256,
    },
    /// A published package cannot be read.
    #[error("cannot list the files of {path:?}")]
    Package {
        /// The package.
        path: String,
        /// Why.
        source: Box<stone::ReadError>,
    },
    /// The tree is newer than the ledger.
    #[error(
        "cannot use channel {channel}: its root index names history {id}, which the database does not know"
    )]
    UnknownHistory {
        /// The channel.
        channel: String,
        /// The history.
        id: String,
    },
}

impl Fault for TreeError {
    fn kind(&self) -> Kind {
        match self {
            TreeError::Store(error) => error.kind(),
            TreeError::Disk { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Kind::Denied
            }
            TreeError::Disk { .. } => Kind::Unavailable,
            TreeError::ReadBack { .. }
            | TreeError::OtherContent { .. }
            | TreeError::UnknownHistory { .. } => Kind::Damaged,
            TreeError::Format { source, .. } => source.kind(),
            TreeError::Package { source, .. } => source.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            TreeError::Store(error) => error.hints(),
            TreeError::Disk { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                vec!["make room on the disk and do it again; what is published is unchanged".into()]
            }
            TreeError::Disk { .. } => {
                vec!["check that the data folder may be written and do it again; what is published is unchanged".into()]
            }
            TreeError::ReadBack { .. } => {
                vec!["the disk or its memory is failing: check both before going on".into()]
            }
            TreeError::Format { source, .. } => source.hints(),
            TreeError::Package { source, .. } => source.hints(),
            TreeError::OtherContent { .. } => {
                vec!["restore the history folder from a backup or a mirror; published files must never be edited".into()]
            }
            TreeError::UnknownHistory { channel, .. } => vec![format!(
                "restore vessel.db from the newest backup; to begin anew, move the published folder {channel} away; in a bucket, check that no other Vessel publishes there"
            )],
        }
    }
}

/// What was removed from a pool, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cleared {
    /// Packages.
    pub(crate) objects: u64,
    /// Bytes of everything.
    pub(crate) size_bytes: u64,
}

/// The published files of one channel.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    channel: String,
    store: Store,
    /// What caches are told of pointers that lie in a bucket.
    pointer_control: Arc<str>,
    /// Entries of the indexes that were written last.
    entries: Arc<Mutex<PackedEntries>>,
    /// Which bytes the files that are replaced had when they were last looked at; none for one that was not there.
    seen: Arc<Mutex<BTreeMap<String, Option<Tag>>>>,
    /// What this tree has put into them.
    shown: Arc<Mutex<BTreeMap<String, Sha256>>>,
    /// What the newest history was described with.
    described: Arc<Mutex<described::Memory>>,
}

impl Tree {
    /// The tree of `channel`, a checked name, in the store, whose pointers caches keep as `delivery` says.
    pub(crate) fn new(store: &Store, channel: &str, delivery: &Delivery) -> Self {
        let (channel, store) = (channel.to_owned(), store.clone());
        Self {
            channel,
            store,
            pointer_control: delivery.cache_control().into(),
            entries: Arc::default(),
            seen: Arc::default(),
            shown: Arc::default(),
            described: Arc::default(),
        }
    }

    /// Gives the admitted files their places in the pool. The caller knows from the ledger that none of the places was
    /// ever published with other bytes: what is there is of an attempt that died before it was recorded. They are durable
    /// once what this answers is settled.
    pub(crate) fn store(&self, objects: &[Object]) -> Result<Unsettled, TreeError> {
        let new = |object: &Object| {
            let path = self.object(&object.pool_path);
            let labels = http::labels(&path, &self.pointer_control);
            NewObject { path, from: object.from.clone(), sha256: object.sha256, labels }
        };
        let objects: Vec<NewObject> = objects.iter().map(new).collect();
        Ok(self.store.create_unsettled(&objects, Leftovers::Replace)?)
    }

    /// Makes durable what was stored and written.
    pub(crate) fn settle(&self, unsettled: Unsettled) -> Result<(), TreeError> {
        Ok(self.store.settle(unsettled)?)
    }

    /// Reads every object again, as a reader would find it.
    pub(crate) fn read_back(&self, objects: &[Object]) -> Result<(), TreeError> {
        let paths: Vec<String> = objects.iter().map(|object| self.object(&object.pool_path)).collect();
        for ((object, path), found) in objects.iter().zip(&paths).zip(self.store.digests(&paths)?) {
            let Some(found) = found else { return Err(self.missing(path.clone()).into()) };
            if found != object.sha256 {
                return Err(TreeError::ReadBack { path: path.clone(), written: object.sha256, found });
            }
        }
        Ok(())
    }

    /// That the plain indexes of a history can hold its packages, or may be left out: before anything is stored for it.
    pub(crate) fn check_fits(
        &self,
        id: &str,
        snapshot: &Snapshot,
        plain: PlainIndexes,
    ) -> Result<(), TreeError> {
        if snapshot.len() <= plain.packages_max || plain.policy == StoneIndex::WhileItFits {
            return Ok(());
        }
        let is_too_long = |(_, packages): &(&str, Vec<&Package>)| packages.len() > plain.packages_max;
        match by_architecture(snapshot).into_iter().find(is_too_long) {
            None => Ok(()),
            Some((architecture, packages)) => Err(TreeError::Format {
                what: format!("the index of {id} for {architecture}"),
                source: repository::IndexError::TooManyPackages { count: packages.len() }.into(),
            }),
        }
    }

    /// The plain indexes of a history, one for every architecture, below its folder. One that cannot hold all packages is an
    /// error or left out, as `plain` says.
    pub(crate) fn indexes(
        &self,
        id: &str,
        snapshot: &Snapshot,
        plain: PlainIndexes,
    ) -> Result<Vec<TreeFile>, TreeError> {
        let architectures = by_architecture(snapshot);
        let mut files = Vec::new();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for (architecture, packages) in architectures {
            if packages.len() > plain.packages_max && plain.policy == StoneIndex::WhileItFits {
                let count = packages.len();
                tracing::warn!(
                    history = id,
                    architecture,
                    count,
                    "publishing no stone.index: it cannot hold so many packages"
                );
                continue;
            }
            let bytes = entries.index(&packages).map_err(|source| TreeError::Format {
                what: format!("the index of {id} for {architecture}"),
                source,
            })?;
            files.push(TreeFile { path: format!("{architecture}/stone.index"), bytes });
        }
        entries.forget_others(snapshot.packages());
        Ok(files)
    }

    /// Writes the files of a history, whose paths are below its folder. Nothing names the history yet, so what is in its
    /// folder was left by a landing that died before it was recorded. They are durable once what this answers is settled.
    pub(crate) fn write_history(&self, id: &str, files: &[TreeFile]) -> Result<Unsettled, TreeError> {
        let folder = self.history_folder(id);
        let new = |file: &TreeFile| {
            let path = format!("{folder}/{}", file.path);
            let labels = http::labels(&path, &self.pointer_control);
            NewObject::of_bytes(path, &file.bytes, labels)
        };
        let objects: Vec<NewObject> = files.iter().map(new).collect();
        let is_other = |path: &String| objects.iter().all(|object| object.path != *path);
        let left = self.store.list(&folder)?.into_iter().map(|listed| listed.path).filter(is_other);
        self.store.delete(&left.collect::<Vec<_>>())?;
        let unsettled = self.store.create_unsettled(&objects, Leftovers::Replace)?;
        for object in &objects {
            match self.store.digest(&object.path)? {
                Some(found) if found == object.sha256 => {}
                Some(found) => {
                    return Err(TreeError::ReadBack {
                        path: object.path.clone(),
                        written: object.sha256,
                        found,
                    });
                }
                None => return Err(self.missing(object.path.clone()).into()),
            }
        }
        Ok(unsettled)
    }

    /// What a history holds, read from its indexes and compared with the digest in its id.
    pub(crate) fn read_history(&self, id: &str) -> Result<Snapshot, TreeError> {
        let folder = self.history_folder(id);
        let mut packages = Vec::new();
        let listed = self.store.list(&folder)?;
        let paths: BTreeSet<&str> = listed.iter().map(|listed| listed.path.as_str()).collect();
        for path in &paths {
            let below = path.strip_prefix(&folder).unwrap_or_default().split('/').skip(1);
            let found = match below.collect::<Vec<_>>().as_slice() {
                [_, INDEX_FILE] => {
                    let Some(read) = self.store.read(path, INDEX_SIZE_BYTES_MAX)? else { continue };
                    format::read_index(Cursor::new(read.bytes))
                }
                // Where the plain index cannot hold all packages there is none.
                [architecture, COMPACT_INDEX_FILE]
                    if !paths.contains(format!("{folder}/{architecture}/{INDEX_FILE}").as_str()) =>
                {
                    let texts = format!("{folder}/{architecture}/{TEXTS_FILE}");
                    let Some(index) = self.store.read(path, INDEX_SIZE_BYTES_MAX)? else { continue };
                    let texts = self.store.read(&texts, INDEX_SIZE_BYTES_MAX)?.ok_or(self.missing(texts))?;
                    format::read_compact(&index.bytes, &texts.bytes)
                }
                _ => continue,
            };
            packages.extend(found.map_err(|source| TreeError::Format { what: (*path).to_owned(), source })?);
        }
        let snapshot: Snapshot = packages.into_iter().collect();
        let found = snapshot.content_digest();
        let number = id.split_once('-').and_then(|(number, _)| number.parse().ok());
        if number.is_none_or(|number| crate::admission::history_id(number, found) != id) {
            return Err(TreeError::OtherContent { channel: self.channel.clone(), id: id.to_owned(), found });
        }
        Ok(snapshot)
    }

    /// Makes these files, whose paths are below the channel, what its readers see, one after the other. **The first is the
    /// pointer, and replacing it is the moment of publication**: everything it names is durable and was read back before,
    /// and whoever asks sees the old version or the new one. Until the last is replaced, the others name the version before.
    ///
    /// Each is replaced only if it still is what this tree saw last; somebody else who publishes here is not overwritten.
    pub(crate) fn move_pointer(&self, files: &[TreeFile], reached: &dyn Fn(Step)) -> Result<(), TreeError> {
        let mut swaps = Vec::new();
        let mut digests = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let path = self.object(&file.path);
            let digest = Sha256::of(&file.bytes);
            // Of lists of keys and pointers few change with a history. The pointer itself is never taken as given.
            if number > 0 && self.shown(|shown| shown.get(&path) == Some(&digest)) {
                continue;
            }
            let expected = self.last_seen(&path)?;
            let labels = http::labels(&path, &self.pointer_control);
            digests.push((path.clone(), digest));
            swaps.push(Swap { path, bytes: &file.bytes, expected, labels });
        }
        self.store.swap_all(&swaps, &mut |number, tag| {
            let Some((path, digest)) = digests.get(number) else { return };
            self.see(path, Some(tag));
            self.shown(|shown| shown.insert(path.clone(), *digest));
            if number == 0 {
                reached(Step::PointerWritten);
            }
        })?;
        reached(Step::PointerMoved);
        Ok(())
    }

    /// Removes the pointers of streams and tags that are not among these files.
    pub(crate) fn remove_other_pointers(&self, files: &[TreeFile]) -> Result<(), TreeError> {
        let kept: BTreeSet<String> = files.iter().map(|file| self.object(&file.path)).collect();
        let mut going = Vec::new();
        for folder in ["stream", "tag"] {
            let listed = self.store.list(&self.object(folder))?.into_iter().map(|listed| listed.path);
            going.extend(listed.filter(|path| !kept.contains(path)));
        }
        self.store.delete(&going)?;
        for path in &going {
            self.see(path, None);
            self.shown(|shown| shown.remove(path));
        }
        Ok(())
    }

    /// A file of a history, by its path below the channel; none where there is none.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, TreeError> {
        Ok(self.store.read(&self.object(path), INDEX_SIZE_BYTES_MAX)?.map(|read| read.bytes))
    }

    /// The files of a history beside its plain indexes, those among them, and its statement.
    pub(crate) fn describe(
        &self,
        plan: &Plan,
        snapshot: &Snapshot,
        indexes: Vec<TreeFile>,
    ) -> Result<Described, TreeError> {
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        described::describe(plan, snapshot, indexes, &mut described, self)
    }

    /// Whether readers see exactly these files.
    pub(crate) fn has_pointer(&self, files: &[TreeFile]) -> Result<bool, TreeError> {
        for file in files {
            if self.look(&self.object(&file.path))?.as_ref() != Some(&file.bytes) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The history that the published pointer names as newest; none before the first landing.
    pub(crate) fn pointed(&self) -> Result<Option<String>, TreeError> {
        let path = self.object(ROOT_INDEX);
        let Some(bytes) = self.look(&path)? else { return Ok(None) };
        format::pointed(&bytes).map_err(|source| TreeError::Format { what: path, source })
    }

    /// Removes everything that is not among the known: what unfinished landings left, and what was given up.
    pub(crate) fn sweep(
        &self,
        histories: &BTreeSet<String>,
        objects: &BTreeMap<String, Sha256>,
    ) -> Result<(), TreeError> {
        self.clear(histories, objects, false).map(drop)
    }

    /// The same, and says how much it was; `dry_run` only says it.
    pub(crate) fn clear(
        &self,
        histories: &BTreeSet<String>,
        objects: &BTreeMap<String, Sha256>,
        dry_run: bool,
    ) -> Result<Cleared, TreeError> {
        let mut going = Vec::new();
        let folder = self.object("history");
        for listed in self.store.list(&folder)? {
            let below = listed.path.strip_prefix(&folder).unwrap_or_default().trim_start_matches('/');
            let history = below.split('/').next().unwrap_or_default();
            if !histories.contains(history) {
                going.push(listed.path);
            }
        }
        let mut cleared = Cleared::default();
        for folder in ["pool", layout::BUILDS, layout::RELEASES] {
            for listed in self.store.list(&self.object(folder))? {
                let path =
                    listed.path.strip_prefix(&self.channel).unwrap_or_default().trim_start_matches('/');
                if !objects.contains_key(path) {
                    // What belongs to a build goes with its packages, and is counted with them.
                    cleared.objects += u64::from(folder == "pool");
                    cleared.size_bytes += listed.size_bytes;
                    going.push(listed.path);
                }
            }
        }
        if !dry_run {
            for path in &going {
                tracing::info!(channel = %self.channel, %path, "removing what no history holds");
            }
            self.store.delete(&going)?;
        }
        Ok(cleared)
    }

    /// The other packages of the build of a package, by their paths below the channel: those beside it whose names end as its own
    /// does, with version, release, build release and architecture.
    pub(crate) fn built_with(&self, pool_path: &str) -> Result<Vec<String>, TreeError> {
        let Some((folder, name)) = pool_path.rsplit_once('/') else { return Ok(Vec::new()) };
        let end =
            name.rmatch_indices('-').nth(3).map_or(name, |(place, _)| name.get(place..).unwrap_or(name));
        let listed = self.store.list(&self.object(folder))?.into_iter();
        let below = listed.filter_map(|it| Some(it.path.strip_prefix(&self.object(""))?.to_owned()));
        Ok(below.filter(|path| path.ends_with(end) && path != pool_path).collect())
    }

    /// Opens the object with this path below the channel to be read here and there; none when it is not there.
    pub(crate) fn open(&self, path: &str) -> Result<Option<Stored>, TreeError> {
        Ok(Stored::open(&self.store, &self.object(path))?)
    }

    /// Where the object with this path below the channel is in the store.
    pub(crate) fn object(&self, path: &str) -> String {
        format!("{}/{path}", self.channel)
    }

    fn history_folder(&self, id: &str) -> String {
        self.object(&format!("history/{id}"))
    }

    fn missing(&self, path: String) -> StoreError {
        StoreError::Missing { place: self.store.place(), path }
    }

    /// Reads a file that is replaced, and keeps in mind which bytes it had.
    fn look(&self, path: &str) -> Result<Option<Vec<u8>>, TreeError> {
        let read = self.store.read(path, MUTABLE_SIZE_BYTES_MAX)?;
        self.see(path, read.as_ref().map(|read| read.tag.clone()));
        Ok(read.map(|read| read.bytes))
    }

    fn shown<T>(&self, with: impl FnOnce(&mut BTreeMap<String, Sha256>) -> T) -> T {
        with(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn see(&self, path: &str, tag: Option<Tag>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), tag);
    }

    fn last_seen(&self, path: &str) -> Result<Option<Tag>, TreeError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        match seen {
            Some(tag) => Ok(tag),
            // A file that comes into being, or was never looked at since the start.
            None => {
                self.look(path)?;
                Ok(self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned().flatten())
            }
        }
    }
}

/// The packages of each architecture; the one that readers ask for when they say nothing is always among them.
fn by_architecture(snapshot: &Snapshot) -> BTreeMap<&str, Vec<&Package>> {
    let mut architectures: BTreeMap<&str, Vec<&Package>> =
        BTreeMap::from([(DEFAULT_ARCHITECTURE, Vec::new())]);
    for package in snapshot.packages() {
        architectures.entry(&package.meta.architecture).or_default().push(package);
    }
    architectures
}

impl Shelf for Tree {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, TreeError> {
        Tree::read(self, path)
    }

    fn layout(&self, package: &Package) -> Result<Vec<Entry>, TreeError> {
        let path = self.object(&format::pool_path(&package.meta));
        let limits = stone::Limits::default();
        let stone = match self.store.as_folder() {
            Some(folder) => {
                let file = fs_err::File::open(folder.join(&path))
                    .map_err(|source| TreeError::Disk { action: "list the files of a package", source })?;
                stone::read_records(io::BufReader::new(file), &limits)
            }
            None => {
                let missing = || StoreError::Missing { place: self.store.place(), path: path.clone() };
                let stored = Stored::open(&self.store, &path)?.ok_or_else(missing)?;
                stone::read_records(io::BufReader::with_capacity(stored::RANGE_SIZE_BYTES, stored), &limits)
            }
        };
        let stone = stone.map_err(|source| TreeError::Package { path, source: Box::new(source) })?;
        Ok(stone.layout)
    }
}
