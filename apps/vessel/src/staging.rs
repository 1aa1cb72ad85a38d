//! Uploads in progress: files named by attempt and validated digest, appended to by offset.
//!
//! A file is `<sha256>.part` until its announced size is there and its digest is right, then `<sha256>`. Each append
//! checks the offset against what is here under a lock, so a builder that connects again while its old connection
//! lingers cannot mix bytes up. Bounded by the announcement: no byte beyond it is written.
//!
//! What came is not synced, but for large files: a power cut before the commit costs the builder, which still has everything,
//! another upload. So a start takes nothing that was not committed for what it is called ([`Staging::sweep`]). Whoever needs
//! the files to stay syncs them ([`Staging::sync`]), or the names that they get elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fault::{Fault, Kind};

use store::Sha256;
use store::durable;

/// The uploads of one Vessel.
#[derive(Debug, Clone)]
pub(crate) struct Staging {
    root: PathBuf,
    /// One lock for each artefact that is being written.
    writers: Arc<Mutex<BTreeMap<(u64, Sha256), Writer>>>,
}

/// Files of this size are synced when they are here, so that nobody waits for them when they land.
const SYNCED_AT_ONCE_BYTES: u64 = 1 << 20;

/// Held while a file is being written.
type Writer = Arc<Mutex<()>>;

/// What is announced of an artefact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) sha256: Sha256,
    pub(crate) size_bytes: u64,
}

/// Why bytes were not taken.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The bytes are not those that come next.
    #[error("cannot take bytes of {sha256} from offset {offset}: {here_bytes} bytes are here")]
    Offset {
        /// The artefact.
        sha256: Sha256,
        /// Where the bytes begin.
        offset: u64,
        /// Where they would have to begin.
        here_bytes: u64,
    },
    /// More than was announced.
    #[error("cannot take bytes of {sha256}: it was announced with {size_bytes} bytes")]
    TooLong {
        /// The artefact.
        sha256: Sha256,
        /// What was announced.
        size_bytes: u64,
    },
    /// As long as announced, and something else.
    #[error("cannot accept {expected}: what came has digest {found}")]
    Digest {
        /// What was announced.
        expected: Sha256,
        /// What came.
        found: Sha256,
    },
    /// The disk refused.
    #[error("cannot store {sha256} of attempt {attempt_id}")]
    Disk {
        /// The attempt.
        attempt_id: u64,
        /// The artefact.
        sha256: Sha256,
        /// Why.
        source: io::Error,
    },
}

impl Fault for StagingError {
    fn kind(&self) -> Kind {
        match self {
            StagingError::Offset { .. } => Kind::Conflict,
            StagingError::TooLong { .. } => Kind::Input,
            StagingError::Digest { .. } => Kind::Damaged,
            StagingError::Disk { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            StagingError::Offset { .. } => vec!["ask for the offset and go on from there".into()],
            StagingError::TooLong { .. } => vec!["announce the artefact with the size that it has".into()],
            StagingError::Digest { .. } => {
                vec!["what came was thrown away: send the artefact again from its beginning".into()]
            }
            StagingError::Disk { .. } => {
                vec!["make room on the disk of the data folder; what has come so far is kept".into()]
            }
        }
    }
}

impl Staging {
    /// Uploads below `root`.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, writers: Arc::default() }
    }

    /// The folder of an attempt.
    pub(crate) fn folder(&self, attempt_id: u64) -> PathBuf {
        self.root.join(attempt_id.to_string())
    }

    /// Where an artefact is when it is complete.
    pub(crate) fn complete(&self, attempt_id: u64, sha256: Sha256) -> PathBuf {
        self.folder(attempt_id).join(sha256.to_string())
    }

    fn partial(&self, attempt_id: u64, sha256: Sha256) -> PathBuf {
        self.folder(attempt_id).join(format!("{sha256}.part"))
    }

    /// How many bytes of an artefact are here. All of them are here only when their digest is right: a file that is as
    /// long as announced and not yet checked, because this program died in between, is checked now.
    pub(crate) fn size_bytes(&self, attempt_id: u64, announced: Announced) -> Result<u64, StagingError> {
        let disk = |source| StagingError::Disk { attempt_id, sha256: announced.sha256, source };
        if length(&self.complete(attempt_id, announced.sha256)).map_err(disk)?.is_some() {
            return Ok(announced.size_bytes);
        }
        let here_bytes = length(&self.partial(attempt_id, announced.sha256)).map_err(disk)?.unwrap_or(0);
        if here_bytes < announced.size_bytes {
            return Ok(here_bytes);
        }
        match self.settle(attempt_id, announced) {
            // It was thrown away: it has to come again from its beginning.
            Err(StagingError::Digest { .. }) => Ok(0),
            settled => settled,
        }
    }

    /// Appends `bytes`, which begin at `offset` of the artefact, and answers how many are here.
    ///
    /// Bytes of a complete artefact that come again are passed over: whoever sends them missed our answer.
    pub(crate) fn append(
        &self,
        attempt_id: u64,
        announced: Announced,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, StagingError> {
        let Announced { sha256, size_bytes } = announced;
        let disk = |source| StagingError::Disk { attempt_id, sha256, source };
        let too_long = StagingError::TooLong { sha256, size_bytes };
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let Some(end) = offset.checked_add(count).filter(|end| *end <= size_bytes) else {
            return Err(too_long);
        };
        let writer = self.writer(attempt_id, sha256);
        let _writing = writer.lock().unwrap_or_else(PoisonError::into_inner);
        if length(&self.complete(attempt_id, sha256)).map_err(disk)?.is_some() {
            return Ok(size_bytes);
        }
        let path = self.partial(attempt_id, sha256);
        let here_bytes = length(&path).map_err(disk)?.unwrap_or(0);
        if offset != here_bytes {
            return Err(StagingError::Offset { sha256, offset, here_bytes });
        }
        if here_bytes == 0 {
            fs_err::create_dir_all(self.folder(attempt_id)).map_err(disk)?;
        }
        append_to(&path, bytes, here_bytes).map_err(disk)?;
        Ok(end)
    }

    /// Checks the digest of what is all here, and gives it its final name.
    ///
    /// Answers how many bytes are here. A file with another digest is thrown away: it can never become right.
    pub(crate) fn settle(&self, attempt_id: u64, announced: Announced) -> Result<u64, StagingError> {
        let Announced { sha256, size_bytes } = announced;
        let disk = |source| StagingError::Disk { attempt_id, sha256, source };
        let writer = self.writer(attempt_id, sha256);
        let _writing = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (path, complete) = (self.partial(attempt_id, sha256), self.complete(attempt_id, sha256));
        if length(&complete).map_err(disk)?.is_some() {
            return Ok(size_bytes);
        }
        if size_bytes == 0 {
            // Nobody sends no bytes; the announcement alone completes it.
            fs_err::create_dir_all(self.folder(attempt_id)).map_err(disk)?;
            append_to(&path, &[], 0).map_err(disk)?;
        }
        let Some(here_bytes) = length(&path).map_err(disk)? else { return Ok(0) };
        if here_bytes == size_bytes {
            let found = Sha256::of_file(&path).map_err(disk)?;
            if found != sha256 {
                fs_err::remove_file(&path).map_err(disk)?;
                return Err(StagingError::Digest { expected: sha256, found });
            }
            if size_bytes >= SYNCED_AT_ONCE_BYTES {
                durable::sync_all([&path]).map_err(disk)?;
            }
            fs_err::rename(&path, &complete).map_err(disk)?;
        }
        Ok(here_bytes)
    }

    /// Makes durable everything that is here of an attempt.
    pub(crate) fn sync(&self, attempt_id: u64) -> io::Result<()> {
        let folder = self.folder(attempt_id);
        let mut paths = vec![self.root.clone(), folder.clone()];
        for entry in fs_err::read_dir(&folder)? {
            paths.push(entry?.path());
        }
        durable::sync_all(&paths)
    }

    /// Puts bytes that belong to an attempt and that nobody sends beside what was sent; answers their digest.
    pub(crate) fn add(&self, attempt_id: u64, bytes: &[u8]) -> io::Result<Sha256> {
        let sha256 = Sha256::of(bytes);
        let path = self.complete(attempt_id, sha256);
        // Two who commit at once write the same file, and the first one may remove the folder when it is done.
        let _turn = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        fs_err::create_dir_all(self.folder(attempt_id))?;
        let hidden = durable::hidden_neighbour(&path)?;
        fs_err::write(&hidden, bytes)?;
        fs_err::rename(&hidden, &path)?;
        Ok(sha256)
    }

    /// Forgets the uploads of an attempt.
    pub(crate) fn remove(&self, attempt_id: u64) -> io::Result<()> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.retain(|(attempt, _), _| *attempt != attempt_id);
        durable::remove(&self.folder(attempt_id))
    }

    /// Keeps what belongs to the `open` attempts, of which those in `synced` were made durable. What else is here is removed.
    ///
    /// A file that was not made durable may have lost its bytes in a power cut: it is a part again, and is checked when it is
    /// asked for.
    pub(crate) fn sweep(&self, open: &BTreeSet<u64>, synced: &BTreeSet<u64>) -> io::Result<()> {
        for entry in fs_err::read_dir(&self.root)? {
            let path = entry?.path();
            let attempt_id = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            match attempt_id.filter(|attempt_id| open.contains(attempt_id)) {
                Some(attempt_id) if synced.contains(&attempt_id) => {}
                Some(_) => doubt_all(&path)?,
                None => {
                    tracing::info!(path = %path.display(), "removing an upload that nobody waits for");
                    durable::remove(&path)?;
                }
            }
        }
        Ok(())
    }

    fn writer(&self, attempt_id: u64, sha256: Sha256) -> Writer {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(writers.entry((attempt_id, sha256)).or_default())
    }
}

/// Makes every complete file of an attempt a part again.
fn doubt_all(folder: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.parse::<Sha256>().is_ok()) {
            fs_err::rename(&path, path.with_extension("part"))?;
        }
    }
    Ok(())
}

fn length(path: &Path) -> io::Result<Option<u64>> {
    match fs_err::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Appends all or nothing: after a failed write, for example on a full disk, the file is as long as before.
fn append_to(path: &Path, bytes: &[u8], length_before: u64) -> io::Result<()> {
    let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(bytes).inspect_err(|_| {
        if let Err(error) = file.set_len(length_before) {
            tracing::warn!(path = %path.display(), %error, "cannot cut a partial upload back");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPT: u64 = 7;

    fn fixture() -> (tempfile::TempDir, Staging) {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::new(folder.path().join("staging"));
        durable::create_folders(&staging.root).unwrap();
        (folder, staging)
    }

    fn announced(bytes: &[u8]) -> Announced {
        Announced { sha256: Sha256::of(bytes), size_bytes: u64::try_from(bytes.len()).unwrap() }
    }

    #[test]
    fn pieces_become_the_whole_and_repeats_do_no_harm() {
        let (_folder, staging) = fixture();
        let whole = announced(b"abcdef");
        assert_eq!(staging.size_bytes(ATTEMPT, whole).unwrap(), 0);
        assert_eq!(staging.append(ATTEMPT, whole, 0, b"abc").unwrap(), 3);
        assert_eq!(staging.settle(ATTEMPT, whole).unwrap(), 3);
        assert!(matches!(
            staging.append(ATTEMPT, whole, 0, b"abc"),
            Err(StagingError::Offset { here_bytes: 3, .. })
        ));
        assert!(matches!(staging.append(ATTEMPT, whole, 4, b"ef"), Err(StagingError::Offset { .. })));
        assert_eq!(staging.append(ATTEMPT, whole, 3, b"def").unwrap(), 6);
        assert_eq!(staging.settle(ATTEMPT, whole).unwrap(), 6);
        assert_eq!(fs_err::read(staging.complete(ATTEMPT, whole.sha256)).unwrap(), b"abcdef");
        assert_eq!(staging.append(ATTEMPT, whole, 3, b"def").unwrap(), 6, "it was complete");
        assert_eq!(staging.settle(ATTEMPT, whole).unwrap(), 6);
        assert_eq!(staging.size_bytes(ATTEMPT, whole).unwrap(), 6);
    }

    #[test]
    fn not_a_byte_more_than_announced() {
        let (_folder, staging) = fixture();
        let whole = announced(b"abc");
        for (offset, bytes) in [(0, &b"abcd"[..]), (3, b"d"), (u64::MAX, b"abc")] {
            let error = staging.append(ATTEMPT, whole, offset, bytes).unwrap_err();
            assert!(matches!(error, StagingError::TooLong { .. }), "{error}");
        }
        assert_eq!(staging.size_bytes(ATTEMPT, whole).unwrap(), 0);
    }

    #[test]
    fn a_wrong_digest_is_thrown_away_and_can_be_sent_again() {
        let (_folder, staging) = fixture();
        let whole = announced(b"abc");
        staging.append(ATTEMPT, whole, 0, b"abd").unwrap();
        let error = staging.settle(ATTEMPT, whole).unwrap_err();
        assert!(matches!(error, StagingError::Digest { .. }), "{error}");
        assert_eq!(staging.size_bytes(ATTEMPT, whole).unwrap(), 0);
        staging.append(ATTEMPT, whole, 0, b"abc").unwrap();
        assert_eq!(staging.settle(ATTEMPT, whole).unwrap(), 3);
    }

    #[test]
    fn an_empty_artefact_is_complete_without_a_chunk() {
        let (_folder, staging) = fixture();
        let whole = announced(b"");
        assert_eq!(staging.size_bytes(ATTEMPT, whole).unwrap(), 0);
        assert!(staging.complete(ATTEMPT, whole.sha256).exists());
        assert_eq!(staging.append(ATTEMPT, whole, 0, b"").unwrap(), 0);
        assert_eq!(staging.settle(ATTEMPT, whole).unwrap(), 0);
    }

    #[test]
    fn a_death_between_the_last_byte_and_the_check_is_made_good() {
        let (_folder, staging) = fixture();
        let whole = announced(b"abc");
        staging.append(ATTEMPT, whole, 0, b"abc").unwrap();
        assert_eq!(staging.size_bytes(ATTEMPT, whole).unwrap(), 3);
        assert!(staging.complete(ATTEMPT, whole.sha256).exists());
        let other = announced(b"xyz");
        staging.append(ATTEMPT, other, 0, b"xyy").unwrap();
        assert_eq!(
            staging.size_bytes(ATTEMPT, other).unwrap(),
            0,
            "it never becomes right, so it comes again"
        );
        staging.append(ATTEMPT, other, 0, b"xyz").unwrap();
        assert_eq!(staging.size_bytes(ATTEMPT, other).unwrap(), 3);
    }

    #[test]
    fn sweeping_keeps_what_is_waited_for() {
        let (_folder, staging) = fixture();
        let whole = announced(b"abc");
        for attempt_id in [1, 2] {
            staging.append(attempt_id, whole, 0, b"abc").unwrap();
            staging.settle(attempt_id, whole).unwrap();
        }
        fs_err::write(staging.root.join("stray"), "").unwrap();
        staging.sweep(&[2].into(), &[2].into()).unwrap();
        let left: Vec<_> =
            fs_err::read_dir(&staging.root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["2"]);
        assert!(staging.complete(2, whole.sha256).exists());
        staging.remove(2).unwrap();
        staging.remove(2).unwrap();
    }

    #[test]
    fn what_a_power_cut_may_have_spoilt_is_checked_and_comes_again() {
        let (_folder, staging) = fixture();
        let [good, spoilt, cut] = [&b"abc"[..], b"def", b"ghi"].map(announced);
        for (whole, bytes) in [(good, b"abc"), (spoilt, b"def"), (cut, b"ghi")] {
            staging.append(ATTEMPT, whole, 0, bytes).unwrap();
            staging.settle(ATTEMPT, whole).unwrap();
        }
        // Names and lengths can be on the disk before the bytes are.
        fs_err::write(staging.complete(ATTEMPT, spoilt.sha256), [0; 3]).unwrap();
        fs_err::write(staging.complete(ATTEMPT, cut.sha256), "").unwrap();
        staging.sweep(&[ATTEMPT].into(), &[].into()).unwrap();
        assert_eq!(staging.size_bytes(ATTEMPT, good).unwrap(), 3);
        for (whole, bytes) in [(spoilt, b"def"), (cut, b"ghi")] {
            assert_eq!(staging.size_bytes(ATTEMPT, whole).unwrap(), 0);
            staging.append(ATTEMPT, whole, 0, bytes).unwrap();
            assert_eq!(staging.settle(ATTEMPT, whole).unwrap(), 3);
            assert_eq!(fs_err::read(staging.complete(ATTEMPT, whole.sha256)).unwrap(), bytes);
        }
        staging.sync(ATTEMPT).unwrap();
    }
}
