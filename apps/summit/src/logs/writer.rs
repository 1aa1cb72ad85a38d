//! Writing a log that grows: pieces at exact offsets, gathered for some milliseconds before the disk is made to keep them.
//!
//! A piece is written when it comes and acknowledged when it is on the disk. Making the disk keep something costs the same
//! for a line as for a thousand, so what comes within [`GATHER`] is kept at once; only the first piece of such a group is
//! acknowledged, with the offset that all of them reach.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fs_err::File;
use tokio::sync::{oneshot, watch};

use super::outline::{Outline, length};

/// How long pieces are gathered. A disk needs about as long to keep them, and people see no difference.
pub(super) const GATHER: Duration = Duration::from_millis(4);

/// A log that grows, or that somebody waits for.
#[derive(Debug)]
pub(super) struct GrowingLog {
    pub(super) plain: PathBuf,
    pub(super) archived: PathBuf,
    /// What is on the disk; none until it was opened.
    pub(super) durable: watch::Sender<Option<u64>>,
    /// Held while it is compressed as well: nothing is written then.
    pub(super) writer: Mutex<Option<Writer>>,
    pub(super) outline: Mutex<Outline>,
}

#[derive(Debug)]
pub(super) struct Writer {
    file: Arc<File>,
    written_bytes: u64,
    /// Whether somebody is about to make the disk keep it.
    gathering: bool,
    waiting: Option<oneshot::Sender<u64>>,
}

/// What became of a piece.
#[derive(Debug)]
pub struct Written {
    /// Bytes that were new.
    pub new_bytes: u64,
    /// Whether no more is taken.
    pub full: bool,
    /// How the sender hears of it.
    pub acknowledge: Acknowledge,
}

/// When everything up to an offset is on the disk.
#[derive(Debug)]
pub enum Acknowledge {
    /// It is now.
    Now(u64),
    /// Once this says so.
    Later(Kept),
    /// The sender of an earlier piece is told, and the offset stands for this one too.
    WithAnother,
}

/// Says when the disk has kept a group of pieces.
#[derive(Debug)]
pub struct Kept {
    receiver: oneshot::Receiver<u64>,
}

impl Kept {
    /// The offset up to which everything is on the disk; none when the disk refused.
    pub async fn offset(self) -> Option<u64> {
        self.receiver.await.ok()
    }
}

impl GrowingLog {
    pub(super) fn new(plain: PathBuf, archived: PathBuf) -> Self {
        Self {
            plain,
            archived,
            durable: watch::Sender::new(None),
            writer: Mutex::default(),
            outline: Mutex::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it for writing if that was not done yet, and says how much of it is on the disk. Blocks.
    pub(super) fn resume(&self) -> io::Result<u64> {
        let mut writer = self.lock();
        if writer.is_some() || self.plain.exists() || self.archived.exists() {
            self.opened(&mut writer)?;
        }
        Ok(self.durable.borrow().unwrap_or(0))
    }

    /// The writer; none when the log is compressed already.
    fn opened<'a>(&self, writer: &'a mut Option<Writer>) -> io::Result<Option<&'a mut Writer>> {
        if writer.is_none() {
            if self.archived.exists() && !self.plain.exists() {
                let size_bytes =
                    super::reader::LogReader::open(&self.plain, &self.archived, None)?.size_bytes();
                self.durable.send_replace(Some(size_bytes));
                return Ok(None);
            }
            *writer = Some(Writer::open(&self.plain)?);
            self.durable.send_replace(writer.as_ref().map(|writer| writer.written_bytes));
        }
        Ok(writer.as_mut())
    }

    /// Writes what is new of `bytes`, which begin at `offset`. Blocks.
    pub(super) fn write(
        self: &Arc<Self>,
        offset: u64,
        bytes: &[u8],
        size_bytes_max: u64,
    ) -> io::Result<Written> {
        let mut guard = self.lock();
        let Some(writer) = self.opened(&mut guard)? else {
            let size_bytes = self.durable.borrow().unwrap_or(0);
            return Ok(Written { new_bytes: 0, full: true, acknowledge: Acknowledge::Now(size_bytes) });
        };
        let before = writer.written_bytes;
        let room = usize::try_from(size_bytes_max.saturating_sub(before)).unwrap_or(usize::MAX);
        // Of a piece behind a gap nothing can be written before what is missing.
        let skip = before.checked_sub(offset).and_then(|skip| usize::try_from(skip).ok());
        let new = skip.and_then(|skip| bytes.get(skip..)).unwrap_or_default();
        let new = new.get(..new.len().min(room)).unwrap_or_default();
        if !new.is_empty()
            && let Err(error) = writer.file.file().write_all_at(new, before)
        {
            // Half a piece would be taken for a whole one after a restart.
            let cut = writer.file.set_len(before);
            *guard = None;
            return Err(cut.err().unwrap_or(error));
        }
        writer.written_bytes = before + length(new);
        let full = writer.written_bytes >= size_bytes_max;
        let durable = self.durable.borrow().unwrap_or(0);
        let acknowledge = if writer.written_bytes == durable {
            Acknowledge::Now(durable)
        } else {
            if !writer.gathering {
                writer.gathering = true;
                let log = Arc::clone(self);
                tokio::spawn(async move {
                    tokio::time::sleep(GATHER).await;
                    drop(tokio::task::spawn_blocking(move || log.keep()).await);
                });
            }
            match writer.waiting {
                Some(_) => Acknowledge::WithAnother,
                None => {
                    let (sender, receiver) = oneshot::channel();
                    writer.waiting = Some(sender);
                    Acknowledge::Later(Kept { receiver })
                }
            }
        };
        Ok(Written { new_bytes: length(new), full, acknowledge })
    }

    /// Makes the disk keep what was written. Blocks.
    pub(super) fn keep(&self) {
        let Some((file, written_bytes, waiting)) = self.take_group() else { return };
        match file.sync_data() {
            Ok(()) => {
                self.durable.send_if_modified(|durable| {
                    let is_more = durable.is_none_or(|durable| durable < written_bytes);
                    if is_more {
                        *durable = Some(written_bytes);
                    }
                    is_more
                });
                if let Some(waiting) = waiting
                    && waiting.send(written_bytes).is_err()
                {
                    tracing::debug!("nobody waits for a log to be kept any more");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the disk does not keep a log");
                // What the disk has of it is not known any more: it is sent again from what was kept.
                let mut writer = self.lock();
                *writer = None;
                let durable = self.durable.borrow().unwrap_or(0);
                if let Err(error) = file.set_len(durable) {
                    tracing::error!(%error, "cannot cut a log");
                }
            }
        }
    }

    fn take_group(&self) -> Option<(Arc<File>, u64, Option<oneshot::Sender<u64>>)> {
        let mut guard = self.lock();
        let writer = guard.as_mut()?;
        writer.gathering = false;
        Some((Arc::clone(&writer.file), writer.written_bytes, writer.waiting.take()))
    }
}

impl Writer {
    fn open(path: &Path) -> io::Result<Self> {
        let is_new = !path.exists();
        if let Some(folder) = path.parent()
            && is_new
        {
            fs_err::create_dir_all(folder)?;
        }
        let file = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        // What an earlier Summit wrote may not be on the disk yet; nor may the name of a new file.
        if is_new {
            for folder in path.ancestors().skip(1).take(2) {
                sync_folder(folder)?;
            }
        } else {
            file.sync_data()?;
        }
        let written_bytes = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), written_bytes, gathering: false, waiting: None })
    }
}

/// Makes the disk keep the names in a folder.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
