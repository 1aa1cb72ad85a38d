//! Build logs: one file for each attempt, written at exact offsets, never changed afterwards.
//!
//! An agent sends its log in pieces with offsets, and sends pieces again after a break. What is here already is
//! skipped; a gap is refused with the offset from which to go on. What was acknowledged is on the disk.

use std::collections::HashMap;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use farm::ids::{AttemptId, TaskId};
use fault::{Fault, Kind};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::Mutex;

/// Pieces of a log that readers get at once.
pub const READ_SIZE_BYTES_MAX: usize = 64 << 10;

/// Files kept open for writing; each is one running build.
const OPEN_FILES_MAX: usize = 1024;

/// The logs below one folder.
#[derive(Debug, Clone)]
pub struct Logs {
    folder: PathBuf,
    size_bytes_max: u64,
    writers: Arc<Mutex<HashMap<AttemptId, Arc<Mutex<Writer>>>>>,
}

#[derive(Debug)]
struct Writer {
    file: tokio::fs::File,
    size_bytes: u64,
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
            _ => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self.source.kind() {
            io::ErrorKind::StorageFull => vec!["make room on the disk; agents send the rest again".into()],
            _ => Vec::new(),
        }
    }
}

impl Logs {
    /// The logs below `folder`, none larger than `size_bytes_max`.
    #[must_use]
    pub fn new(folder: &Path, size_bytes_max: u64) -> Self {
        Self { folder: folder.to_path_buf(), size_bytes_max, writers: Arc::default() }
    }

    /// Where the log of an attempt is.
    #[must_use]
    pub fn path(&self, task: TaskId, attempt: AttemptId) -> PathBuf {
        self.folder.join(task.to_string()).join(format!("{attempt}.log"))
    }

    /// Writes `bytes`, which begin at `offset` of the log. Answers when they are on the disk.
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
        let writer = self.writer(task, attempt).await?;
        let mut writer = writer.lock().await;
        let before = writer.size_bytes;
        let room = self.size_bytes_max.saturating_sub(before);
        // A gap: nothing can be written before what is missing.
        let Some(skip) = before.checked_sub(offset) else {
            return Ok(Appended { offset: before, grew: false, full: room == 0 });
        };
        let new = usize::try_from(skip).ok().and_then(|skip| bytes.get(skip..)).unwrap_or_default();
        let new = &new[..new.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        if !new.is_empty() {
            let written = write(&mut writer.file, before, new).await;
            if let Err(source) = written {
                // The next piece begins where the last whole one ended.
                self.writers.lock().await.remove(&attempt);
                return Err(LogError { path: self.path(task, attempt), source });
            }
            writer.size_bytes = before + new.len() as u64;
        }
        let full = writer.size_bytes >= self.size_bytes_max;
        Ok(Appended { offset: writer.size_bytes, grew: !new.is_empty(), full })
    }

    /// How much of a log is here.
    pub async fn size_bytes(&self, task: TaskId, attempt: AttemptId) -> u64 {
        match tokio::fs::metadata(self.path(task, attempt)).await {
            Ok(metadata) => metadata.len(),
            Err(_missing) => 0,
        }
    }

    /// Nothing more will come.
    pub async fn close(&self, attempt: AttemptId) {
        self.writers.lock().await.remove(&attempt);
    }

    /// At most [`READ_SIZE_BYTES_MAX`] bytes from `offset` on; empty at the end, and when there is no log.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn read(&self, task: TaskId, attempt: AttemptId, offset: u64) -> Result<Vec<u8>, LogError> {
        let path = self.path(task, attempt);
        let result = async {
            let mut file = match tokio::fs::File::open(&path).await {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            file.seek(SeekFrom::Start(offset)).await?;
            let mut bytes = Vec::new();
            file.take(READ_SIZE_BYTES_MAX as u64).read_to_end(&mut bytes).await?;
            Ok(bytes)
        };
        result.await.map_err(|source| LogError { path, source })
    }

    async fn writer(&self, task: TaskId, attempt: AttemptId) -> Result<Arc<Mutex<Writer>>, LogError> {
        let mut writers = self.writers.lock().await;
        if let Some(writer) = writers.get(&attempt) {
            return Ok(Arc::clone(writer));
        }
        if writers.len() >= OPEN_FILES_MAX {
            writers.clear();
        }
        let path = self.path(task, attempt);
        let opened = async {
            if let Some(folder) = path.parent() {
                tokio::fs::create_dir_all(folder).await?;
            }
            let file =
                tokio::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).await?;
            let size_bytes = file.metadata().await?.len();
            Ok(Writer { file, size_bytes })
        };
        let writer = opened.await.map_err(|source| LogError { path: path.clone(), source })?;
        let writer = Arc::new(Mutex::new(writer));
        writers.insert(attempt, Arc::clone(&writer));
        Ok(writer)
    }
}

async fn write(file: &mut tokio::fs::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset)).await?;
    let result = async {
        file.write_all(bytes).await?;
        file.flush().await?;
        file.sync_data().await
    };
    if let Err(error) = result.await {
        // Half a piece would be taken for a whole one after a restart.
        file.set_len(offset).await?;
        return Err(error);
    }
    Ok(())
}

/// The part of `bytes` that can be shown: whole lines, or everything when a line is longer than the piece. The rest
/// comes with the next piece. `at_end` takes what is left.
#[must_use]
pub fn whole_lines(bytes: &[u8], at_end: bool) -> &[u8] {
    if at_end || bytes.len() >= READ_SIZE_BYTES_MAX {
        let cut = bytes.iter().rposition(|&byte| byte == b'\n').map_or(bytes.len(), |end| end + 1);
        return if at_end && bytes.len() < READ_SIZE_BYTES_MAX { bytes } else { &bytes[..cut] };
    }
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    &bytes[..end]
}

/// Text as a browser may show it: colours and other escapes of terminals are left out, a carriage return begins the
/// line anew, bytes that are no UTF-8 become the replacement character.
#[must_use]
pub fn plain_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => match characters.next() {
                // CSI: parameters, then one letter.
                Some('[') => while characters.next().is_some_and(|next| !('@'..='~').contains(&next)) {},
                // OSC: up to BEL or ESC \.
                Some(']') => {
                    while let Some(next) = characters.next() {
                        if next == '\u{7}' || (next == '\u{1b}' && characters.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\r' if characters.peek() != Some(&'\n') => {
                let line = plain.rfind('\n').map_or(0, |end| end + 1);
                plain.truncate(line);
            }
            '\n' | '\t' => plain.push(character),
            _ if character.is_control() => {}
            _ => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskId = TaskId(1);
    const ATTEMPT: AttemptId = AttemptId(2);

    #[tokio::test]
    async fn pieces_land_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path(), 100);
        // (offset, bytes, offset afterwards, whether it grew)
        for (offset, bytes, expect, grew) in [
            (0, "hello ", 6, true),
            (0, "hello ", 6, false),
            (3, "lo world", 11, true),
            (20, "gap", 11, false),
            (11, "", 11, false),
            (u64::MAX, "x", 11, false),
        ] {
            let appended = logs.append(TASK, ATTEMPT, offset, bytes.as_bytes()).await.unwrap();
            assert_eq!(appended, Appended { offset: expect, grew, full: false }, "{offset} {bytes:?}");
        }
        let again = Logs::new(folder.path(), 100);
        assert_eq!(again.append(TASK, ATTEMPT, 11, b"!").await.unwrap().offset, 12, "a restart goes on");
        assert_eq!(again.read(TASK, ATTEMPT, 6).await.unwrap(), b"world!");
        assert_eq!(again.read(TASK, AttemptId(3), 0).await.unwrap(), b"");
        assert_eq!(again.size_bytes(TASK, ATTEMPT).await, 12);
    }

    #[tokio::test]
    async fn a_log_is_cut_at_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path(), 8);
        let appended = logs.append(TASK, ATTEMPT, 0, b"0123456789").await.unwrap();
        assert_eq!(appended, Appended { offset: 8, grew: true, full: true });
        let appended = logs.append(TASK, ATTEMPT, 10, b"more").await.unwrap();
        assert_eq!(appended, Appended { offset: 8, grew: false, full: true });
    }

    #[test]
    fn escapes_of_terminals_do_not_reach_a_browser() {
        for (bytes, expect) in [
            (&b"\x1b[1;32mok\x1b[0m\n"[..], "ok\n"),
            (b"10%\r50%\r100%\n", "100%\n"),
            (b"a\r\nb\n", "a\nb\n"),
            (b"\x1b]0;title\x07x", "x"),
            (b"\x1b]8;;http://x\x1b\\link", "link"),
            (b"\x00\x08x\xff", "x\u{fffd}"),
            (b"\x1b", ""),
            (b"<script>", "<script>"),
        ] {
            assert_eq!(plain_text(bytes), expect);
        }
    }

    #[test]
    fn lines_are_shown_whole() {
        assert_eq!(whole_lines(b"one\ntw", false), b"one\n");
        assert_eq!(whole_lines(b"tw", false), b"");
        assert_eq!(whole_lines(b"one\ntw", true), b"one\ntw");
        let long = vec![b'x'; READ_SIZE_BYTES_MAX];
        assert_eq!(whole_lines(&long, false).len(), READ_SIZE_BYTES_MAX);
    }
}
