//! Build logs: one file for each attempt, written at exact offsets, never changed afterwards, compressed once ended.
//!
//! An agent sends its log in pieces with offsets, and sends pieces again after a break. What is here already is
//! skipped; a gap is refused with the offset from which to go on. What was acknowledged is on the disk, and only that is
//! shown. A log is kept with its attempt until [`Logs::forget`].

pub(crate) mod archiver;
pub mod first_error;
pub mod outline;
pub mod reader;
pub mod rows;
pub mod search;
mod seekable;
pub mod terminal;
pub mod view;
pub mod writer;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farm::ids::{AttemptId, TaskId};
use fault::{Fault, Kind};
use tokio::sync::{Notify, watch};

use outline::Outline;
use reader::LogReader;
use writer::{Acknowledge, GrowingLog, Written};

/// Pieces of a log that readers get at once.
pub const READ_SIZE_BYTES_MAX: usize = 64 << 10;

/// Logs that are kept open; each is a running build, or one that somebody looks at.
const OPEN_LOGS_MAX: usize = 2048;

/// How files are called after the number of the attempt.
const PLAIN_SUFFIX: &str = ".log";
const ARCHIVED_SUFFIX: &str = ".log.zst";
/// What has not its name yet.
const PART_SUFFIX: &str = ".part";

/// The logs below one folder.
#[derive(Debug, Clone)]
pub struct Logs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    size_bytes_max: u64,
    growing: Mutex<HashMap<AttemptId, Arc<GrowingLog>>>,
    /// Logs that are not compressed yet.
    plain: Mutex<BTreeSet<(TaskId, AttemptId)>>,
    usage: Mutex<Usage>,
    closed: Notify,
}

/// What all logs together take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Their number.
    pub logs: u64,
    /// Bytes of their files, as they are stored.
    pub stored_bytes: u64,
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Everything below this is on the disk.
    pub offset: u64,
    /// Whether anything was new.
    pub grew: bool,
    /// Whether no more is taken.
    pub full: bool,
}

/// Why a log can be neither written nor read.
#[derive(Debug, thiserror::Error)]
#[error("cannot use log {path:?}", path = path.display())]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

impl Fault for LogError {
    fn kind(&self) -> Kind {
        match self.source.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::InvalidData => Kind::Damaged,
            _ => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self.source.kind() {
            io::ErrorKind::StorageFull => vec!["make room on the disk; agents send the rest again".into()],
            io::ErrorKind::InvalidData => {
                vec![format!("bring {} back from a copy, or remove it", self.path.display())]
            }
            _ => Vec::new(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Logs {
    /// The logs below `folder`, none larger than `size_bytes_max`.
    #[must_use]
    pub fn new(folder: &Path, size_bytes_max: u64) -> Self {
        let inner = Inner {
            folder: folder.to_path_buf(),
            size_bytes_max,
            growing: Mutex::default(),
            plain: Mutex::default(),
            usage: Mutex::default(),
            closed: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Where they all are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Where the log of an attempt is while it grows.
    #[must_use]
    pub fn path(&self, task: TaskId, attempt: AttemptId) -> PathBuf {
        self.inner.folder.join(task.to_string()).join(format!("{attempt}{PLAIN_SUFFIX}"))
    }

    /// Where it is once it is compressed.
    #[must_use]
    pub fn archived_path(&self, task: TaskId, attempt: AttemptId) -> PathBuf {
        self.inner.folder.join(task.to_string()).join(format!("{attempt}{ARCHIVED_SUFFIX}"))
    }

    /// Writes `bytes`, which begin at `offset` of the log. Says how the sender hears that they are on the disk.
    ///
    /// # Errors
    /// When the file cannot be written; the same piece can be sent again.
    pub async fn write(
        &self,
        task: TaskId,
        attempt: AttemptId,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<Written, LogError> {
        let log = self.growing(task, attempt);
        let size_bytes_max = self.inner.size_bytes_max;
        let is_new = lock(&self.inner.plain).insert((task, attempt));
        let written = self.block(task, attempt, move || log.write(offset, &bytes, size_bytes_max)).await?;
        let mut usage = lock(&self.inner.usage);
        usage.logs += u64::from(is_new);
        usage.stored_bytes += written.new_bytes;
        Ok(written)
    }

    /// Writes `bytes` as [`Logs::write`] does, and answers when they are on the disk.
    ///
    /// # Errors
    /// When the file cannot be written; the same piece can be sent again.
    pub async fn append(
        &self,
        task: TaskId,
        attempt: AttemptId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Appended, LogError> {
        let mut durable = self.growth(task, attempt);
        let written = self.write(task, attempt, offset, bytes.to_vec()).await?;
        let grew = written.new_bytes > 0;
        let refused = |_| self.error(task, attempt)(io::Error::other("the disk did not keep it"));
        let offset = match written.acknowledge {
            Acknowledge::Now(offset) => offset,
            Acknowledge::Later(kept) => kept.offset().await.ok_or(()).map_err(refused)?,
            Acknowledge::WithAnother => {
                let end = offset.saturating_add(outline::length(bytes));
                let reached = durable.wait_for(|durable| durable.is_some_and(|durable| durable >= end)).await;
                reached.map_err(|_| ()).map_err(refused)?.unwrap_or(0)
            }
        };
        Ok(Appended { offset, grew, full: written.full })
    }

    /// Up to where a log is on the disk, for whoever is to send the rest. Nothing is made where nothing is.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn resume(&self, task: TaskId, attempt: AttemptId) -> Result<u64, LogError> {
        let log = self.growing(task, attempt);
        self.block(task, attempt, move || log.resume()).await
    }

    /// Says whenever more of a log is on the disk; ends when nothing more will come.
    #[must_use]
    pub fn growth(&self, task: TaskId, attempt: AttemptId) -> watch::Receiver<Option<u64>> {
        self.growing(task, attempt).durable.subscribe()
    }

    /// How much of a log can be read.
    pub async fn size_bytes(&self, task: TaskId, attempt: AttemptId) -> u64 {
        let logs = self.clone();
        let size =
            self.block(task, attempt, move || logs.open(task, attempt).map(|reader| reader.size_bytes()));
        size.await.unwrap_or(0)
    }

    /// Nothing more will come.
    pub async fn close(&self, attempt: AttemptId) {
        let log = lock(&self.inner.growing).remove(&attempt);
        if let Some(log) = log {
            // It is kept in any case; nobody waits for it.
            drop(tokio::task::spawn_blocking(move || log.keep()).await);
        }
        self.inner.closed.notify_one();
    }

    /// Removes the log of an attempt for ever. That there is none is no mistake.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub async fn forget(&self, task: TaskId, attempt: AttemptId) -> Result<(), LogError> {
        lock(&self.inner.growing).remove(&attempt);
        lock(&self.inner.plain).remove(&(task, attempt));
        let (logs, paths) = (self.clone(), [self.path(task, attempt), self.archived_path(task, attempt)]);
        self.block(task, attempt, move || {
            for path in &paths {
                match fs_err::metadata(path) {
                    Ok(metadata) => {
                        fs_err::remove_file(path)?;
                        let mut usage = lock(&logs.inner.usage);
                        usage.logs = usage.logs.saturating_sub(1);
                        usage.stored_bytes = usage.stored_bytes.saturating_sub(metadata.len());
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            // Only an empty folder goes; the logs of other attempts stay.
            if let Some(folder) = paths[0].parent() {
                drop(fs_err::remove_dir(folder));
            }
            Ok(())
        })
        .await
    }

    /// What all logs take, as of the last look around and what happened since.
    #[must_use]
    pub fn usage(&self) -> Usage {
        *lock(&self.inner.usage)
    }

    /// At most [`READ_SIZE_BYTES_MAX`] bytes from `offset` on; empty at the end, and when there is no log.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn read(&self, task: TaskId, attempt: AttemptId, offset: u64) -> Result<Vec<u8>, LogError> {
        self.with_reader(task, attempt, move |reader| reader.read_at(offset, READ_SIZE_BYTES_MAX)).await
    }

    /// Does something with a log that may take the disk some time.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn with_reader<T: Send + 'static>(
        &self,
        task: TaskId,
        attempt: AttemptId,
        work: impl FnOnce(&mut LogReader) -> io::Result<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let logs = self.clone();
        self.block(task, attempt, move || work(&mut logs.open(task, attempt)?)).await
    }

    /// Does something with a log of which it is known where its lines are.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn with_outline<T: Send + 'static>(
        &self,
        task: TaskId,
        attempt: AttemptId,
        work: impl FnOnce(&mut LogReader, &Outline) -> io::Result<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let logs = self.clone();
        self.block(task, attempt, move || {
            let mut reader = logs.open(task, attempt)?;
            if reader.is_archived() {
                let mut outline = Outline::default();
                reader.outline(&mut outline)?;
                return work(&mut reader, &outline);
            }
            // Of a log that grows, what was counted is counted once.
            let log = logs.growing(task, attempt);
            let mut outline = lock(&log.outline);
            reader.outline(&mut outline)?;
            work(&mut reader, &outline)
        })
        .await
    }

    /// Opens a log for reading. Blocks.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn open(&self, task: TaskId, attempt: AttemptId) -> io::Result<LogReader> {
        let visible = lock(&self.inner.growing).get(&attempt).and_then(|log| *log.durable.borrow());
        LogReader::open(&self.path(task, attempt), &self.archived_path(task, attempt), visible)
    }

    /// Compresses a log of which nothing more will come.
    ///
    /// # Errors
    /// When a file cannot be read or written; the log is then as it was.
    pub async fn archive(&self, task: TaskId, attempt: AttemptId) -> Result<(), LogError> {
        let log = self.growing(task, attempt);
        let logs = self.clone();
        let done = self.block(task, attempt, move || {
            log.keep();
            // Whoever is late finds the compressed log, and is refused.
            let mut writer = log.lock();
            *writer = None;
            let sizes = match log.plain.exists() {
                // Nobody's log twice: what was compressed and read back is never replaced by less.
                true if archiver::has_all(&log.archived, &log.plain) => {
                    let size_bytes = fs_err::metadata(&log.plain)?.len();
                    fs_err::remove_file(&log.plain)?;
                    Some((size_bytes, 0))
                }
                true => Some(archiver::compress(&log.plain, &log.archived, &mut |_| Ok(()))?),
                false => None,
            };
            drop(writer);
            Ok(sizes)
        });
        let sizes = done.await?;
        lock(&logs.inner.growing).remove(&attempt);
        lock(&logs.inner.plain).remove(&(task, attempt));
        if let Some((size_bytes, stored_bytes)) = sizes {
            let mut usage = lock(&logs.inner.usage);
            usage.stored_bytes = usage.stored_bytes.saturating_sub(size_bytes) + stored_bytes;
        }
        Ok(())
    }

    /// Looks at every file: what is not compressed, and what all take. Removes what was left half done.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) async fn look_around(&self) -> Result<(), LogError> {
        let folder = self.inner.folder.clone();
        let found = self.block(TaskId(0), AttemptId(0), move || archiver::look_around(&folder)).await?;
        lock(&self.inner.plain).extend(found.plain);
        *lock(&self.inner.usage) = Usage { logs: found.logs, stored_bytes: found.stored_bytes };
        Ok(())
    }

    /// Logs that are not compressed yet, as far as they are known.
    pub(crate) fn plain(&self) -> Vec<(TaskId, AttemptId)> {
        lock(&self.inner.plain).iter().copied().collect()
    }

    /// Waits until a log is closed.
    pub(crate) async fn closed(&self) {
        self.inner.closed.notified().await;
    }

    fn growing(&self, task: TaskId, attempt: AttemptId) -> Arc<GrowingLog> {
        let mut growing = lock(&self.inner.growing);
        if growing.len() >= OPEN_LOGS_MAX {
            // Those that nobody holds; what is written to them is with whoever writes it.
            growing.retain(|_, log| Arc::strong_count(log) > 1 || log.durable.receiver_count() > 0);
        }
        let log = growing.entry(attempt).or_insert_with(|| {
            Arc::new(GrowingLog::new(self.path(task, attempt), self.archived_path(task, attempt)))
        });
        Arc::clone(log)
    }

    fn error(&self, task: TaskId, attempt: AttemptId) -> impl FnOnce(io::Error) -> LogError + use<> {
        let path = match attempt {
            AttemptId(0) => self.inner.folder.clone(),
            attempt => self.path(task, attempt),
        };
        move |source| LogError { path, source }
    }

    /// Lets a thread that may wait do it.
    async fn block<T: Send + 'static>(
        &self,
        task: TaskId,
        attempt: AttemptId,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let result = tokio::task::spawn_blocking(work).await;
        result.map_err(io::Error::other).and_then(|result| result).map_err(self.error(task, attempt))
    }
}

#[cfg(test)]
mod tests;
