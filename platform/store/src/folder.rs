//! The store in a local folder: durable by sync, atomic by link and rename.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, ErrorKind, Read as _, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};

use crate::Watch;
use crate::digest::Sha256;
use crate::durable;
use crate::error::{During, Mismatch, StoreError};
use crate::object::{Facts, Leftovers, Listed, NewObject, Read, Source, Swap, Tag, Unsettled};

const CREATE: &str = "create an object";
const READ: &str = "read an object";
const LIST: &str = "list objects";
const REMOVE: &str = "remove an object";
const SWAP: &str = "replace an object";

/// Folders inside each other that are looked through: as many as a path can have components.
const DEPTH_MAX: usize = 500;

/// Published files may be read by any web server, which is another user.
const FILE_MODE: u32 = 0o644;

/// Folders that are remembered to be durable: those of the packages of a large channel. When there are more, all are
/// forgotten, which costs a landing some more syncs.
const SETTLED_MAX: usize = 16_384;

#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Folders below the root whose names are on the disk, as are those of the folders that they are in.
    settled: Mutex<HashSet<PathBuf>>,
}

impl Folder {
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        const ACTION: &str = "make the folder of the store";
        durable::create_folders(root).during(ACTION)?;
        durable::sync_folder_of(root).during(ACTION)?;
        Ok(Self { root: root.to_path_buf(), settled: Mutex::default() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn place(&self) -> String {
        self.root.display().to_string()
    }

    /// Every object is there under its name, or the call fails; some may be there then. They are durable once what is
    /// answered is settled.
    pub(crate) fn create(
        &self,
        objects: &[NewObject],
        leftovers: Leftovers,
        watch: &Watch,
    ) -> Result<Unsettled, StoreError> {
        let mut unsettled = Unsettled::default();
        let mut written = Vec::new();
        for object in objects {
            let path = self.root.join(&object.path);
            if let Some(folder) = path.parent() {
                fs_err::create_dir_all(folder).during(CREATE)?;
                unsettled.paths.insert(folder.to_path_buf());
                self.note_folders(folder, &mut unsettled);
            }
            unsettled.paths.insert(path.clone());
            if self.link(object, &path).during(CREATE)? {
                watch.note("create", &object.path);
                continue;
            }
            if path.exists() {
                let found = Sha256::of_file(&path).during(CREATE)?;
                if found == object.sha256 {
                    continue;
                }
                if leftovers == Leftovers::Refuse {
                    return Err(self.other_bytes(object, found));
                }
                tracing::info!(path = %path.display(), "replacing what something that died left");
            }
            let hidden = durable::own_hidden_neighbour(&path).during(CREATE)?;
            self.put(object, &hidden).during(CREATE)?;
            watch.note("write", &object.path);
            written.push((object, hidden, path));
        }
        if leftovers == Leftovers::Refuse {
            // Who finds such an object later takes its name for its bytes.
            durable::sync_all(written.iter().map(|(_, hidden, _)| hidden)).during(CREATE)?;
        }
        for (object, hidden, path) in &written {
            match leftovers {
                Leftovers::Replace => fs_err::rename(hidden, path).during(CREATE)?,
                Leftovers::Refuse => {
                    let is_ours = durable::link_new(hidden, path).during(CREATE)?
                        || Sha256::of_file(path).during(CREATE)? == object.sha256;
                    durable::remove(hidden).during(CREATE)?;
                    if !is_ours {
                        return Err(self.other_bytes(object, Sha256::of_file(path).during(CREATE)?));
                    }
                }
            }
            watch.note("create", &object.path);
        }
        Ok(unsettled)
    }

    /// Notes what must be synced for the name of `folder` to be durable, and the names of those that it is in.
    fn note_folders(&self, folder: &Path, unsettled: &mut Unsettled) {
        let settled = self.settled();
        let below_root = folder.ancestors().take_while(|above| *above != self.root);
        for folder in below_root.take_while(|folder| !settled.contains(*folder)) {
            unsettled.paths.extend(folder.parent().map(Path::to_path_buf));
            unsettled.folders.insert(folder.to_path_buf());
        }
    }

    /// Makes durable what was created.
    pub(crate) fn settle(&self, unsettled: Unsettled) -> Result<(), StoreError> {
        durable::sync_all(&unsettled.paths).during(CREATE)?;
        let mut settled = self.settled();
        if settled.len() > SETTLED_MAX {
            settled.clear();
        }
        settled.extend(unsettled.folders);
        Ok(())
    }

    fn settled(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the object another name of a file. False where it has to be copied: there is something already, or the file
    /// is on another file system.
    fn link(&self, object: &NewObject, path: &Path) -> io::Result<bool> {
        const CANNOT: [ErrorKind; 3] = [
            ErrorKind::CrossesDevices,
            // A file system that has no room for one more name, or has no links.
            ErrorKind::TooManyLinks,
            ErrorKind::Unsupported,
        ];
        let existing = match &object.from {
            Source::Bytes(_) => return Ok(false),
            Source::File(file) => file.clone(),
            Source::Stored(stored) => self.root.join(stored),
        };
        match durable::link_new(&existing, path) {
            Err(error) if CANNOT.contains(&error.kind()) => Ok(false),
            result => result,
        }
    }

    fn put(&self, object: &NewObject, to: &Path) -> io::Result<()> {
        durable::remove(to)?;
        if self.link(object, to)? {
            return Ok(());
        }
        match &object.from {
            Source::Bytes(bytes) => fs_err::write(to, bytes)?,
            Source::File(file) => drop(fs_err::copy(file, to)?),
            Source::Stored(stored) => drop(fs_err::copy(self.root.join(stored), to)?),
        }
        fs_err::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(FILE_MODE))
    }

    fn other_bytes(&self, object: &NewObject, found: Sha256) -> StoreError {
        let (place, path, wanted) = (self.place(), object.path.clone(), object.sha256);
        StoreError::OtherBytes(Box::new(Mismatch { place, path, wanted, found }))
    }

    pub(crate) fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Read>, StoreError> {
        let Some(file) = if_there(fs_err::File::open(self.root.join(path))).during(READ)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let size_bytes = file.metadata().during(READ)?.len();
        if size_bytes <= max_bytes {
            file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).during(READ)?;
        }
        let size_bytes = size_bytes.max(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if size_bytes > max_bytes {
            let (place, path) = (self.place(), path.to_owned());
            return Err(StoreError::TooLarge { place, path, size_bytes, max_bytes });
        }
        let tag = tag_of(&bytes);
        Ok(Some(Read { bytes, tag }))
    }

    pub(crate) fn read_range(
        &self,
        path: &str,
        range: Range<u64>,
        tag: Option<&Tag>,
    ) -> Result<Vec<u8>, StoreError> {
        let missing = || StoreError::Missing { place: self.place(), path: path.to_owned() };
        if let Some(tag) = tag
            && self.head(path)?.is_some_and(|facts| facts.tag != *tag)
        {
            return Err(StoreError::Changed { place: self.place(), path: path.to_owned() });
        }
        let mut file =
            if_there(fs_err::File::open(self.root.join(path))).during(READ)?.ok_or_else(missing)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(range.start)).during(READ)?;
        file.take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes).during(READ)?;
        Ok(bytes)
    }

    pub(crate) fn head(&self, path: &str) -> Result<Option<Facts>, StoreError> {
        let path = self.root.join(path);
        let Some(metadata) = if_there(fs_err::metadata(&path)).during(READ)? else { return Ok(None) };
        let tag = Tag(Sha256::of_file(&path).during(READ)?.to_string());
        let modified = metadata.modified().during(READ)?;
        Ok(Some(Facts { size_bytes: metadata.len(), tag, modified }))
    }

    pub(crate) fn digest(&self, path: &str) -> Result<Option<Sha256>, StoreError> {
        if_there(Sha256::of_file(&self.root.join(path))).during(READ)
    }

    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let mut found = Vec::new();
        walk(&self.root.join(prefix), prefix, DEPTH_MAX, &mut found).during(LIST)?;
        found.sort();
        Ok(found)
    }

    /// Removes the file, and the folders that are empty then.
    pub(crate) fn delete(&self, path: &str, watch: &Watch) -> Result<(), StoreError> {
        let file = self.root.join(path);
        durable::remove(&file).during(REMOVE)?;
        watch.note("delete", path);
        let folders = file.ancestors().skip(1).take_while(|folder| *folder != self.root);
        for folder in folders {
            // Not empty, mostly, or gone already.
            if fs_err::remove_dir(folder).is_err() {
                break;
            }
            self.settled().remove(folder);
        }
        Ok(())
    }

    /// Under a lock that every process which swaps takes. The new bytes of all are on the disk before the first is replaced.
    pub(crate) fn swap_all(
        &self,
        swaps: &[Swap<'_>],
        watch: &Watch,
        done: &mut dyn FnMut(usize, Tag),
    ) -> Result<(), StoreError> {
        let root = fs_err::File::open(&self.root).during(SWAP)?;
        flock(root.file().as_fd(), FlockOperation::LockExclusive).map_err(io::Error::from).during(SWAP)?;
        let mut written = Vec::new();
        for Swap { path, bytes, expected, .. } in swaps {
            let file = self.root.join(path);
            let found = if_there(fs_err::read(&file)).during(SWAP)?.map(|bytes| tag_of(&bytes));
            if found.as_ref() == Some(&tag_of(bytes)) {
                continue;
            }
            if found != *expected {
                return Err(StoreError::Swapped { place: self.place(), path: path.clone() });
            }
            if let Some(folder) = file.parent() {
                durable::create_folders(folder).during(SWAP)?;
            }
            let hidden = durable::hidden_neighbour(&file).during(SWAP)?;
            fs_err::write(&hidden, bytes).during(SWAP)?;
            written.push((path, hidden, file));
        }
        durable::sync_all(written.iter().map(|(_, hidden, _)| hidden)).during(SWAP)?;
        let mut folders = BTreeSet::new();
        for (number, Swap { path, bytes, .. }) in swaps.iter().enumerate() {
            if let Some((_, hidden, file)) = written.iter().find(|(written, ..)| *written == path) {
                fs_err::rename(hidden, file).during(SWAP)?;
                watch.note("swap", path);
                folders.extend(file.parent().map(Path::to_path_buf));
            }
            done(number, tag_of(bytes));
        }
        durable::sync_all(&folders).during(SWAP)
    }
}

fn tag_of(bytes: &[u8]) -> Tag {
    Tag(Sha256::of(bytes).to_string())
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn walk(folder: &Path, path: &str, depth_left: usize, found: &mut Vec<Listed>) -> io::Result<()> {
    let Some(entries) = if_there(fs_err::read_dir(folder))? else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        // A name that is not UTF-8 is none of ours; it is left alone.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        if entry.file_type()?.is_dir() {
            if depth_left > 0 {
                walk(&entry.path(), &path, depth_left - 1, found)?;
            }
        } else {
            found.push(Listed { path, size_bytes: entry.metadata()?.len() });
        }
    }
    Ok(())
}
