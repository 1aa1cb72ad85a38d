//! The published tree of a channel: objects, histories and the pointer, in the order that makes them safe.
//!
//! ```text
//! public/<channel>/pool/v0/<p>/<source>/<file>.stone     written once, never changed
//! public/<channel>/history/<id>/<arch>/stone.index       written once, never changed
//! public/<channel>/moss-root-index.json (and .zst)       the pointer: replaced by rename
//! ```
//!
//! Nothing names an object before it can be read back, nothing names a history before its indexes are durable, and
//! only [`Tree::move_pointer`] changes what a reader sees. Which histories and objects there should be is the ledger's
//! business; [`Tree::sweep`] removes what a crash left beyond that.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fault::{Fault, Kind};

use crate::admission::{Package, Snapshot};
use crate::digest::Sha256;
use crate::durable;
use crate::format::{self, FormatError, PackedEntries};

/// The pointer of a channel.
const ROOT_INDEX: &str = "moss-root-index.json";

/// Level for the compressed copy of the pointer. It names every history and is written with each: of some ten kilobytes for
/// 1,400 histories the highest level saves a fifth, and took a tenth of all of Vessel's time.
const ROOT_INDEX_LEVEL: i32 = 3;

/// The architecture that readers ask for when they say nothing; its index is always there.
const DEFAULT_ARCHITECTURE: &str = "x86_64";

/// What happened last, in order. A crash after any of them must leave the old version or the new one; the tests see to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Decided,
    ObjectsLinked,
    ObjectsReadBack,
    IndexesWritten,
    HistoryNamed,
    Recorded,
    PointerWritten,
    PointerMoved,
    StagingRemoved,
}

/// An admitted file and where it goes.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// Where it is now, on the file system of the tree, synced.
    pub(crate) staged: PathBuf,
    /// Path below the channel.
    pub(crate) pool_path: String,
    pub(crate) sha256: Sha256,
    pub(crate) size_bytes: u64,
}

/// Why the tree was not changed as asked.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The disk refused.
    #[error("cannot {action}")]
    Disk {
        /// "store packages in the pool" …
        action: &'static str,
        /// Why, with the path.
        source: io::Error,
    },
    /// What was written is not what is there.
    #[error("cannot rely on {path:?}: it reads back with digest {found}, written was {written}", path = path.display())]
    ReadBack {
        /// The object.
        path: PathBuf,
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
            TreeError::Disk { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Kind::Denied
            }
            TreeError::Disk { .. } => Kind::Unavailable,
            TreeError::ReadBack { .. }
            | TreeError::OtherContent { .. }
            | TreeError::UnknownHistory { .. } => Kind::Damaged,
            TreeError::Format { source, .. } => source.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
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
            TreeError::OtherContent { .. } => {
                vec!["restore the history folder from a backup or a mirror; published files must never be edited".into()]
            }
            TreeError::UnknownHistory { channel, .. } => vec![format!(
                "restore vessel.db from the newest backup, or, to begin anew, move public/{channel} away"
            )],
        }
    }
}

trait During<T> {
    fn during(self, action: &'static str) -> Result<T, TreeError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str) -> Result<T, TreeError> {
        self.map_err(|source| TreeError::Disk { action, source })
    }
}

/// What was removed from a pool, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cleared {
    pub(crate) objects: u64,
    pub(crate) size_bytes: u64,
}

/// The published files of one channel.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    channel: String,
    root: PathBuf,
    /// Entries of the indexes that were written last.
    entries: Arc<Mutex<PackedEntries>>,
}

impl Tree {
    /// The tree of `channel`, a checked name, below the public folder.
    pub(crate) fn new(public: &Path, channel: &str) -> Self {
        Self { channel: channel.to_owned(), root: public.join(channel), entries: Arc::default() }
    }

    /// Gives the admitted files their places in the pool. The caller knows from the ledger that none of the places was
    /// ever published with other bytes.
    pub(crate) fn store(&self, objects: &[Object]) -> Result<(), TreeError> {
        const ACTION: &str = "store packages in the pool";
        let mut folders = BTreeSet::new();
        for object in objects {
            let path = self.root.join(&object.pool_path);
            if let Some(folder) = path.parent() {
                fs_err::create_dir_all(folder).during(ACTION)?;
                // Every folder up to the public one may be new.
                let above = folder.ancestors().take_while(|above| above.starts_with(&self.root));
                folders.extend(above.map(Path::to_path_buf));
            }
            if durable::link_new(&object.staged, &path).during(ACTION)? {
                continue;
            }
            if Sha256::of_file(&path).during(ACTION)? != object.sha256 {
                // No history names it, so nobody can have read it: an attempt that died before it was recorded.
                tracing::info!(path = %path.display(), "replacing what an unfinished landing left");
                let hidden = durable::hidden_neighbour(&path).during(ACTION)?;
                durable::remove(&hidden).during(ACTION)?;
                durable::link_new(&object.staged, &hidden).during(ACTION)?;
                fs_err::rename(&hidden, &path).during(ACTION)?;
            }
        }
        durable::sync_all(folders.iter()).during(ACTION)?;
        durable::sync_folder_of(&self.root).during(ACTION)
    }

    /// Reads every object again, as a reader would find it.
    pub(crate) fn read_back(&self, objects: &[Object]) -> Result<(), TreeError> {
        for object in objects {
            let path = self.root.join(&object.pool_path);
            let found = Sha256::of_file(&path).during("read a package back")?;
            if found != object.sha256 {
                return Err(TreeError::ReadBack { path, written: object.sha256, found });
            }
        }
        Ok(())
    }

    /// Writes the indexes of a history for every architecture and makes them appear together under its id.
    pub(crate) fn write_history(
        &self,
        id: &str,
        snapshot: &Snapshot,
        reached: &dyn Fn(Step),
    ) -> Result<(), TreeError> {
        const ACTION: &str = "write an index";
        let folder = self.history_folder(id);
        let hidden = durable::hidden_neighbour(&folder).during(ACTION)?;
        durable::remove(&hidden).during(ACTION)?;
        let mut architectures: BTreeMap<&str, Vec<&Package>> =
            BTreeMap::from([(DEFAULT_ARCHITECTURE, Vec::new())]);
        for package in snapshot.packages() {
            architectures.entry(&package.meta.architecture).or_default().push(package);
        }
        let mut folders = vec![hidden.clone()];
        for (architecture, packages) in architectures {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let index = entries.index(&packages);
            drop(entries);
            let bytes = index.map_err(|source| TreeError::Format {
                what: format!("the index of {id} for {architecture}"),
                source,
            })?;
            let folder = hidden.join(architecture);
            fs_err::create_dir_all(&folder).during(ACTION)?;
            durable::write_synced(&folder.join("stone.index"), &bytes).during(ACTION)?;
            folders.push(folder);
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.forget_others(snapshot.packages());
        drop(entries);
        durable::sync_all(folders.iter()).during(ACTION)?;
        reached(Step::IndexesWritten);
        // Left by a landing that died before it was recorded; it has the same content, or the id would be another.
        durable::remove(&folder).during(ACTION)?;
        fs_err::rename(&hidden, &folder).during(ACTION)?;
        durable::sync_folder_of(&folder).during(ACTION)?;
        durable::sync_folder_of(&self.root.join("history")).during(ACTION)?;
        reached(Step::HistoryNamed);
        Ok(())
    }

    /// What a history holds, read from its indexes and compared with the digest in its id.
    pub(crate) fn read_history(&self, id: &str) -> Result<Snapshot, TreeError> {
        const ACTION: &str = "read an index";
        let mut packages = Vec::new();
        for entry in fs_err::read_dir(self.history_folder(id)).during(ACTION)? {
            let path = entry.during(ACTION)?.path().join("stone.index");
            let file = fs_err::File::open(&path).during(ACTION)?;
            let found = format::read_index(file)
                .map_err(|source| TreeError::Format { what: format!("{}", path.display()), source })?;
            packages.extend(found);
        }
        let snapshot: Snapshot = packages.into_iter().collect();
        let found = snapshot.content_digest();
        let number = id.split_once('-').and_then(|(number, _)| number.parse().ok());
        if number.is_none_or(|number| crate::admission::history_id(number, found) != id) {
            return Err(TreeError::OtherContent { channel: self.channel.clone(), id: id.to_owned(), found });
        }
        Ok(snapshot)
    }

    /// Makes `pointer` what readers of the channel see. **The rename inside is the moment of publication**: everything
    /// the pointer names is durable and was read back before, and whoever asks sees the old version or the new one.
    pub(crate) fn move_pointer(&self, pointer: &[u8], reached: &dyn Fn(Step)) -> Result<(), TreeError> {
        const ACTION: &str = "move the pointer of a channel";
        let compressed = zstd::bulk::compress(pointer, ROOT_INDEX_LEVEL).during(ACTION)?;
        let path = self.root.join(ROOT_INDEX);
        durable::replace_file(&path, pointer).during(ACTION)?;
        reached(Step::PointerWritten);
        // A copy for web servers that send files compressed beforehand. Until this line it names the version before.
        durable::replace_file(&path.with_extension("json.zst"), &compressed).during(ACTION)?;
        reached(Step::PointerMoved);
        Ok(())
    }

    /// Whether readers see exactly `pointer`, by both names.
    pub(crate) fn has_pointer(&self, pointer: &[u8]) -> Result<bool, TreeError> {
        let path = self.root.join(ROOT_INDEX);
        let plain = read_if_there(&path).during("read a root index")?;
        let compressed = read_if_there(&path.with_extension("json.zst")).during("read a root index")?;
        let unpacked = compressed.and_then(|bytes| zstd::bulk::decompress(&bytes, pointer.len()).ok());
        Ok(plain.as_deref() == Some(pointer) && unpacked.as_deref() == Some(pointer))
    }

    /// The history that the published pointer names as newest; none before the first landing.
    pub(crate) fn pointed(&self) -> Result<Option<String>, TreeError> {
        let Some(bytes) = read_if_there(&self.root.join(ROOT_INDEX)).during("read a root index")? else {
            return Ok(None);
        };
        let what = || format!("{}/{ROOT_INDEX}", self.channel);
        format::pointed(&bytes).map_err(|source| TreeError::Format { what: what(), source })
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
        const ACTION: &str = "remove what no history holds";
        let history = self.root.join("history");
        for name in names(&history).during(ACTION)? {
            if !histories.contains(&name) && !dry_run {
                tracing::info!(channel = %self.channel, history = %name, "removing a history that nothing names");
                durable::remove(&history.join(name)).during(ACTION)?;
            }
        }
        let mut cleared = Cleared::default();
        self.clear_objects(&self.root.join("pool"), objects, dry_run, &mut cleared).during(ACTION)?;
        Ok(cleared)
    }

    fn clear_objects(
        &self,
        folder: &Path,
        objects: &BTreeMap<String, Sha256>,
        dry_run: bool,
        cleared: &mut Cleared,
    ) -> io::Result<()> {
        for name in names(folder)? {
            let path = folder.join(&name);
            let metadata = fs_err::symlink_metadata(&path)?;
            if metadata.is_dir() {
                self.clear_objects(&path, objects, dry_run, cleared)?;
                continue;
            }
            let is_known = path
                .strip_prefix(&self.root)
                .ok()
                .and_then(Path::to_str)
                .is_some_and(|pool_path| objects.contains_key(pool_path));
            if is_known {
                continue;
            }
            cleared.objects += 1;
            cleared.size_bytes += metadata.len();
            if !dry_run {
                tracing::info!(path = %path.display(), "removing a package that no history holds");
                durable::remove(&path)?;
            }
        }
        Ok(())
    }

    /// Where the object with this path below the channel is.
    pub(crate) fn object(&self, pool_path: &str) -> PathBuf {
        self.root.join(pool_path)
    }

    fn history_folder(&self, id: &str) -> PathBuf {
        self.root.join("history").join(id)
    }

    /// Makes the folders that everything else is put into.
    pub(crate) fn create(&self) -> Result<(), TreeError> {
        for folder in ["history", "pool"] {
            durable::create_folders(&self.root.join(folder)).during("make the folders of a channel")?;
        }
        Ok(())
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // A name that is not UTF-8 is none of ours; it is left alone.
    entries.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose()).collect()
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs_err::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
