//! An object of the store as something that is read here and there, whatever the store is.

use std::io::{self, Read, Seek, SeekFrom};

use store::{Store, StoreError};

/// Bytes asked for at a time: few enough requests to a bucket, and little memory.
pub(crate) const RANGE_SIZE_BYTES: usize = 1 << 20;

/// An object, and how far it was read.
#[derive(Debug)]
pub(crate) struct Stored {
    store: Store,
    path: String,
    size_bytes: u64,
    offset: u64,
}

impl Stored {
    /// The object at this path; none when it is not there.
    pub(crate) fn open(store: &Store, path: &str) -> Result<Option<Self>, StoreError> {
        let Some(facts) = store.head(path)? else { return Ok(None) };
        let (store, path) = (store.clone(), path.to_owned());
        Ok(Some(Self { store, path, size_bytes: facts.size_bytes, offset: 0 }))
    }
}

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = u64::try_from(buffer.len().min(RANGE_SIZE_BYTES)).unwrap_or(0);
        let end = self.offset.saturating_add(wanted).min(self.size_bytes);
        if self.offset >= end {
            return Ok(0);
        }
        let bytes = self.store.read_range(&self.path, self.offset..end, None).map_err(io::Error::other)?;
        let count = bytes.len().min(buffer.len());
        buffer.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
        self.offset = self.offset.saturating_add(u64::try_from(count).unwrap_or(0));
        Ok(count)
    }
}

impl Seek for Stored {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let offset = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            SeekFrom::End(by) => self.size_bytes.checked_add_signed(by),
        };
        self.offset = offset.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_reads_as_a_file_does() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("a")).unwrap();
        fs_err::write(folder.path().join("a/b"), b"0123456789").unwrap();
        let store = Store::folder(folder.path()).unwrap();
        assert!(Stored::open(&store, "a/none").unwrap().is_none());
        let mut stored = Stored::open(&store, "a/b").unwrap().unwrap();
        let mut text = String::new();
        stored.read_to_string(&mut text).unwrap();
        assert_eq!(text, "0123456789");
        assert_eq!(stored.seek(SeekFrom::End(-3)).unwrap(), 7);
        let mut two = [0; 2];
        stored.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"78");
        assert_eq!(stored.seek(SeekFrom::Current(-8)).unwrap(), 1);
        stored.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"12");
        assert!(stored.seek(SeekFrom::Current(-9)).is_err());
        stored.seek(SeekFrom::Start(99)).unwrap();
        assert_eq!(stored.read(&mut two).unwrap(), 0);
    }
}
