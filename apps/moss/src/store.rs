//! The content store: every file of every package once, named by the digest of its bytes.
//!
//! Invariants: a file under its final name was verified against that name; it is never written to again, and its mode
//! never changes, because trees hold hard links to it. Several processes may fill one store at the same time: each
//! writes under a name of its own and renames.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use stone::{ContentSink, Digest, Hasher};

/// Digests with fewer digits than this are kept without sub-directories; the on-disk layout says so.
const SHARDED_DIGITS_MIN: usize = 10;

/// The layout prints at least this many digits of a digest.
const DIGITS_MIN: usize = 2;

/// Bytes read at a time when an existing file is verified; a few pages of the page cache.
const READ_BYTES: usize = 128 * 1024;

/// Mode of a stored file that no layout says anything about.
const PLAIN_MODE: u32 = 0o644;

/// A directory of files named by digest.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// The store in this directory, which is made when something is stored.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Where the file with this digest is, or would be.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.directory.join(relative_path(digest))
    }

    /// Whether something is stored under this digest. It was verified when it was stored.
    #[must_use]
    pub fn contains(&self, digest: Digest) -> bool {
        digest == Digest::EMPTY
            || self.path(digest).symlink_metadata().is_ok_and(|metadata| metadata.is_file())
    }

    /// A sink that stores what a package contains. `modes` gives the permissions each file is stored with, so that a
    /// tree which wants the same can hold a hard link.
    #[must_use]
    pub fn sink<'s>(&'s self, modes: &'s HashMap<Digest, u32>) -> StoreSink<'s> {
        StoreSink { store: self, modes, current: None }
    }

    /// Whether what is stored under this digest is what it should be, of this length.
    fn holds(&self, digest: Digest, size_bytes: u64) -> io::Result<bool> {
        let mut file = match fs::File::open(self.path(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() != size_bytes {
            return Ok(false);
        }
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(hasher.digest() == digest);
            }
            hasher.update(&buffer[..count]);
        }
    }
}

/// Lower-case hexadecimal without leading zeros, below its first three pairs.
fn relative_path(digest: Digest) -> PathBuf {
    let full = digest.to_string();
    let significant = full.trim_start_matches('0').len().max(DIGITS_MIN);
    let name = &full[full.len() - significant..];
    if name.len() < SHARDED_DIGITS_MIN {
        return PathBuf::from(name);
    }
    Path::new(&name[0..2]).join(&name[2..4]).join(&name[4..6]).join(name)
}

/// Stores the files of one package.
pub struct StoreSink<'s> {
    store: &'s Store,
    modes: &'s HashMap<Digest, u32>,
    /// None while a file passes by that is stored already.
    current: Option<Partial>,
}

struct Partial {
    file: fs::File,
    path: PathBuf,
    destination: PathBuf,
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a rename there is nothing here any more. A left-over is harmless: nothing looks for its name.
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(%error, "a partial file stays behind");
        }
    }
}

/// Makes names of partial files unique within this process.
static PARTIAL_NUMBER: AtomicU64 = AtomicU64::new(0);

impl ContentSink for StoreSink<'_> {
    fn begin(&mut self, digest: Digest, size_bytes: u64) -> io::Result<()> {
        self.current = None;
        // Empty files are made one by one in each tree; a shared one would have users that append to it surprise each other.
        if digest == Digest::EMPTY || self.store.holds(digest, size_bytes)? {
            return Ok(());
        }
        let destination = self.store.path(digest);
        let parent = destination.parent().unwrap_or(&self.store.directory);
        fs::create_dir_all(parent)?;
        let number = PARTIAL_NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = destination.with_extension(format!("part-{}-{number}", std::process::id()));
        let mode = self.modes.get(&digest).copied().unwrap_or(PLAIN_MODE);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        let partial = Partial { file, path, destination };
        partial.file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        self.current = Some(partial);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.current {
            Some(partial) => partial.file.write_all(bytes),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        match self.current.take() {
            Some(partial) => fs::rename(&partial.path, &partial.destination),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        format!("{text:0>32}").parse().unwrap()
    }

    #[test]
    fn names_have_no_leading_zeros() {
        let table = [
            ("99aa06d3014798d86001c324468d497e", "99/aa/06/99aa06d3014798d86001c324468d497e"),
            ("00aa06d3014798d86001c324468d497e", "aa/06/d3/aa06d3014798d86001c324468d497e"),
            ("1234567890", "12/34/56/1234567890"),
            ("123456789", "123456789"),
            ("1", "01"),
            ("0", "00"),
        ];
        for (text, expect) in table {
            assert_eq!(relative_path(digest(text)), Path::new(expect), "{text}");
        }
    }

    fn put(store: &Store, content: &[u8], modes: &HashMap<Digest, u32>) {
        let mut sink = store.sink(modes);
        sink.begin(Digest::of(content), content.len().try_into().unwrap()).unwrap();
        sink.write(content).unwrap();
        sink.end().unwrap();
    }

    #[test]
    fn what_is_stored_is_there_and_what_was_not_ended_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("v2"));
        let modes = HashMap::from([(Digest::of(b"tool"), 0o755)]);
        put(&store, b"tool", &modes);
        put(&store, b"text", &modes);
        assert_eq!(fs::read(store.path(Digest::of(b"tool"))).unwrap(), b"tool");
        let mode = |content: &[u8]| {
            store.path(Digest::of(content)).metadata().unwrap().permissions().mode() & 0o7777
        };
        assert_eq!((mode(b"tool"), mode(b"text")), (0o755, 0o644));

        let half = Digest::of(b"half");
        let mut sink = store.sink(&modes);
        sink.begin(half, 4).unwrap();
        sink.write(b"ha").unwrap();
        drop(sink);
        assert!(!store.contains(half));
        let parent = store.path(half).parent().unwrap().to_path_buf();
        assert_eq!(fs::read_dir(parent).unwrap().count(), 0, "the half file is gone");
    }

    #[test]
    fn a_damaged_file_is_replaced_and_a_good_one_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_path_buf());
        let modes = HashMap::new();
        put(&store, b"good", &modes);
        let path = store.path(Digest::of(b"good"));
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
        let first = inode(&path);
        put(&store, b"good", &modes);
        assert_eq!(inode(&path), first);
        for damaged in [&b"goo"[..], b"bad!"] {
            fs::write(&path, damaged).unwrap();
            put(&store, b"good", &modes);
            assert_eq!(fs::read(&path).unwrap(), b"good");
        }
    }
}
