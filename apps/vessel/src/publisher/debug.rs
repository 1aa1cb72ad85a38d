//! Debug information by build id, as debuggers ask for it: taken out of its package when somebody first wants it, and kept
//! for others in a folder of bounded size.
//!
//! A file of the folder can be removed at any time: it is made again from the package, which is the truth.

use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fs_err::File;
use stone::{ContentSink, Digest, EntryFile, Limits, ReadError};

use super::{PublishError, Publisher, blocking};
use store::durable;

use crate::ledger::DebugPlace;
use crate::tree::{Tree, TreeError};
use crate::verify::VerifyError;

/// Packages that files are taken out of at once. Each keeps one processor busy.
pub(super) const EXTRACTIONS_MAX: usize = 2;

/// Bytes of all files that are kept. The debug information of a browser has some gigabytes.
const KEPT_SIZE_BYTES_MAX: u64 = 8 << 30;

/// Bytes read from a package at a time.
pub(super) const BUFFER_SIZE_BYTES: usize = 1 << 20;

/// Tells files in the making apart.
static MAKING: AtomicU64 = AtomicU64::new(0);

/// Debug information in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DebugInfo {
    /// Where it is now; it may be gone when it is opened.
    pub(crate) path: PathBuf,
    /// The file name of its package.
    pub(crate) package: String,
    /// Where the package installs it.
    pub(crate) target: String,
}

impl Publisher {
    /// The debug information of a checked build id; none where no package has it.
    pub(crate) async fn debug_info(&self, build_id: &str) -> Result<Option<DebugInfo>, PublishError> {
        let places = self.ledger.debug_places(build_id).await?;
        for DebugPlace { channel, pool_path, target } in places {
            let Ok(channel) = self.channel(&channel) else { continue };
            let tree = channel.tree.clone();
            let info = DebugInfo {
                path: self.folder.debug_info(build_id),
                package: pool_path.rsplit('/').next().unwrap_or_default().to_owned(),
                target: format!("/usr/{target}"),
            };
            if info.path.is_file() {
                return Ok(Some(info));
            }
            // Never closed.
            let _place = self.extractions.acquire().await.ok();
            let made = info.clone();
            if blocking(move || extract(&tree, &pool_path, &target, &made.path)).await? {
                return Ok(Some(info));
            }
        }
        Ok(None)
    }
}

/// Takes one file out of a package. False when there is no such package any more.
pub(super) fn extract(tree: &Tree, pool_path: &str, target: &str, path: &Path) -> Result<bool, PublishError> {
    let disk = |source| TreeError::Disk { action: "keep debug information", source };
    if path.is_file() {
        // Somebody else wanted it at the same time.
        return Ok(true);
    }
    let Some(stone) = tree.open(pool_path)? else { return Ok(false) };
    let unreadable = |source| VerifyError::Stone { file: pool_path.to_owned(), source: Box::new(source) };
    let limits = Limits::default();
    let mut stone = BufReader::with_capacity(BUFFER_SIZE_BYTES, stone);
    let records = stone::read_records(&mut stone, &limits).map_err(unreadable)?;
    let wanted = records.layout.iter().find(|entry| entry.target == target).map(|entry| &entry.file);
    let Some(EntryFile::Regular(digest)) = wanted else { return Ok(false) };
    stone.rewind().map_err(disk)?;

    let folder = path.parent().unwrap_or(Path::new("."));
    durable::create_folders(folder).map_err(disk)?;
    let making = folder.join(format!(".{}.making", MAKING.fetch_add(1, Ordering::Relaxed)));
    let out = BufWriter::new(File::create(&making).map_err(disk)?);
    let mut sink = OneFile { wanted: *digest, out, state: State::Before };
    let read = stone::read(&mut stone, &limits, &mut sink);
    let is_whole = sink.state == State::After;
    match read {
        // The sink stops the reader when it has what it wants.
        Err(ReadError::Sink { .. }) if is_whole => {}
        Ok(_) if is_whole => {}
        other => {
            durable::remove(&making).map_err(disk)?;
            other.map_err(unreadable)?;
            return Ok(false);
        }
    }
    drop(sink);
    fs_err::rename(&making, path).map_err(disk)?;
    make_room(folder, path).map_err(disk)?;
    Ok(true)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    Within,
    After,
}

/// Writes one file of a content and passes over the others.
struct OneFile {
    wanted: Digest,
    out: BufWriter<File>,
    state: State,
}

impl ContentSink for OneFile {
    fn begin(&mut self, digest: Digest, _size_bytes: u64) -> io::Result<()> {
        if self.state == State::Before && digest == self.wanted {
            self.state = State::Within;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.state == State::Within { self.out.write_all(bytes) } else { Ok(()) }
    }

    fn end(&mut self) -> io::Result<()> {
        if self.state != State::Within {
            return Ok(());
        }
        self.out.flush()?;
        self.state = State::After;
        Err(io::Error::other("all that is wanted was read"))
    }
}

/// Removes the files that were made first until the rest has room; the newest stays.
fn make_room(folder: &Path, newest: &Path) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        // It may be gone again.
        let Ok(metadata) = entry.metadata() else { continue };
        let is_made = !entry.file_name().to_string_lossy().starts_with('.');
        if is_made && entry.path() != newest {
            kept.push((metadata.modified()?, metadata.len(), entry.path()));
        }
    }
    kept.sort_by_key(|(made, ..)| std::cmp::Reverse(*made));
    let mut size_bytes = fs_err::metadata(newest)?.len();
    for (_, length, path) in kept {
        size_bytes = size_bytes.saturating_add(length);
        if size_bytes > KEPT_SIZE_BYTES_MAX {
            durable::remove(&path)?;
        }
    }
    Ok(())
}
