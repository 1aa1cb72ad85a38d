//! Compresses logs once their attempts have ended.
//!
//! Killed at any step, the log is whole afterwards: the compressed file is written beside the plain one, made durable, read
//! back and compared byte by byte, and only then gets its name; only after that the plain file goes. What a killed Summit
//! left half done is done again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use farm::ids::{AttemptId, TaskId};
use fs_err::File;

use super::outline::length;
use super::seekable::{self, Archive};
use super::writer::sync_folder;
use super::{ARCHIVED_SUFFIX, PART_SUFFIX, PLAIN_SUFFIX};
use crate::hub::Hub;
use crate::store::StoreError;

/// How often attempts are looked at whose end nobody told.
const SWEEP: Duration = Duration::from_secs(60);

/// What is done to a log, in this order. Tests stop before each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Write,
    Sync,
    ReadBack,
    Rename,
    SyncFolder,
    RemovePlain,
}

/// Compresses logs until Summit stops.
pub(crate) async fn run(hub: Arc<Hub>) {
    if let Err(error) = hub.logs.look_around().await {
        tracing::error!(error = fault::chain(&error).join(": "), "cannot look at the logs");
    }
    loop {
        for (task, attempt) in hub.logs.plain() {
            match has_ended(&hub, attempt).await {
                Ok(true) => {
                    if let Err(error) = hub.logs.archive(task, attempt).await {
                        tracing::error!(error = fault::chain(&error).join(": "), attempt.id = %attempt,
                            "cannot compress a log");
                    }
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(error = fault::chain(&error).join(": "), "cannot look at an attempt");
                }
            }
        }
        // Early or late makes no difference.
        drop(tokio::time::timeout(SWEEP, hub.logs.closed()).await);
    }
}

async fn has_ended(hub: &Hub, attempt: AttemptId) -> Result<bool, StoreError> {
    match hub.store.attempt(attempt).await {
        Ok(row) => Ok(row.ended.is_some()),
        // Its database is another one; the log is kept as it is.
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Replaces the plain file by a compressed one. Returns the bytes of both. Blocks.
pub(super) fn compress(
    plain: &Path,
    archived: &Path,
    before: &mut dyn FnMut(Step) -> io::Result<()>,
) -> io::Result<(u64, u64)> {
    // A name of its own: another Summit that was stopped in the middle of the same log may go on at any moment.
    let mark = RandomState::new().build_hasher().finish();
    let part = with_suffix(archived, &format!(".{mark:016x}{PART_SUFFIX}"));
    let log = File::open(plain)?;
    let size_bytes = log.metadata()?.len();
    before(Step::Write)?;
    let mut out = File::create(&part)?;
    seekable::write(log, &mut out)?;
    before(Step::Sync)?;
    out.sync_all()?;
    drop(out);
    before(Step::ReadBack)?;
    compare(plain, &part)?;
    before(Step::Rename)?;
    fs_err::rename(&part, archived)?;
    before(Step::SyncFolder)?;
    if let Some(folder) = archived.parent() {
        sync_folder(folder)?;
    }
    before(Step::RemovePlain)?;
    let stored_bytes = fs_err::metadata(archived)?.len();
    fs_err::remove_file(plain)?;
    Ok((size_bytes, stored_bytes))
}

/// Whether the compressed log is there and has at least the bytes of the plain one.
pub(super) fn has_all(archived: &Path, plain: &Path) -> bool {
    let archive = File::open(archived).and_then(Archive::open);
    let plain_bytes = fs_err::metadata(plain).map_or(u64::MAX, |metadata| metadata.len());
    archive.is_ok_and(|archive| archive.size_bytes() >= plain_bytes)
}

fn compare(plain: &Path, part: &Path) -> io::Result<()> {
    let mut log = File::open(plain)?;
    let mut archive = Archive::open(File::open(part)?)?;
    let mut expected = Vec::new();
    let mut offset = 0;
    loop {
        let bytes = archive.read_at(offset)?;
        expected.clear();
        // At the end of the archive one more byte of the log would be seen.
        log.by_ref().take(length(bytes).max(1)).read_to_end(&mut expected)?;
        if expected != bytes {
            return Err(io::Error::other("what was compressed is not what was written"));
        }
        if bytes.is_empty() {
            archive.outline()?;
            return Ok(());
        }
        offset += length(bytes);
    }
}

/// What is in a folder of logs.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) plain: Vec<(TaskId, AttemptId)>,
    pub(super) logs: u64,
    pub(super) stored_bytes: u64,
}

/// Looks at every log, and removes what a killed Summit left half done. Blocks.
pub(super) fn look_around(folder: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    let tasks = match fs_err::read_dir(folder) {
        Ok(tasks) => tasks,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in tasks {
        let entry = entry?;
        let Some(task) = number(&entry.file_name().to_string_lossy()) else { continue };
        for file in fs_err::read_dir(entry.path())? {
            let file = file?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(PART_SUFFIX) {
                fs_err::remove_file(file.path())?;
                continue;
            }
            let plain = name.strip_suffix(PLAIN_SUFFIX).and_then(number);
            let archived = name.strip_suffix(ARCHIVED_SUFFIX).and_then(number);
            if plain.is_none() && archived.is_none() {
                continue;
            }
            found.logs += 1;
            found.stored_bytes += file.metadata()?.len();
            if let Some(attempt) = plain {
                found.plain.push((TaskId(task), AttemptId(attempt)));
            }
        }
    }
    Ok(found)
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
