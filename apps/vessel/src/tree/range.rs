//! An object of a store as something to read in, with requests for the ranges that are read.

use std::io::{self, Read, Seek, SeekFrom};

use store::{Store, StoreError};

/// Bytes that are asked for at once: the records of most packages.
const BLOCK_SIZE_BYTES: u64 = 256 << 10;

/// A place in an object.
#[derive(Debug)]
pub(super) struct RangeReader<'a> {
    store: &'a Store,
    path: &'a str,
    size_bytes: u64,
    at: u64,
    /// The block that was read last, and where it begins.
    block: (u64, Vec<u8>),
}

impl<'a> RangeReader<'a> {
    /// At the beginning of the object.
    pub(super) fn open(store: &'a Store, path: &'a str) -> Result<Self, StoreError> {
        let missing = || StoreError::Missing { place: store.place(), path: path.to_owned() };
        let size_bytes = store.head(path)?.ok_or_else(missing)?.size_bytes;
        Ok(Self { store, path, size_bytes, at: 0, block: (0, Vec::new()) })
    }
}

impl Read for RangeReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size_bytes {
            return Ok(0);
        }
        let held = |(begin, bytes): &(u64, Vec<u8>), at: u64| {
            let offset = usize::try_from(at.checked_sub(*begin)?).ok()?;
            (offset < bytes.len()).then_some(offset)
        };
        if held(&self.block, self.at).is_none() {
            let end = self.at.saturating_add(BLOCK_SIZE_BYTES).min(self.size_bytes);
            let bytes = self.store.read_range(self.path, self.at..end, None).map_err(io::Error::other)?;
            self.block = (self.at, bytes);
        }
        let Some(offset) = held(&self.block, self.at) else {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the object is shorter than it was"));
        };
        let rest = self.block.1.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at = self.at.saturating_add(u64::try_from(count).unwrap_or_default());
        Ok(count)
    }
}

impl Seek for RangeReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size_bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_the_file_holds() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..700_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        fs_err::create_dir(folder.path().join("main")).unwrap();
        fs_err::write(folder.path().join("main/it"), &bytes).unwrap();
        let store = Store::folder(folder.path()).unwrap();
        let mut reader = RangeReader::open(&store, "main/it").unwrap();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert!(all == bytes);
        for at in [699_999, 0, 262_143, 262_144, 262_145, 500_000] {
            reader.seek(SeekFrom::Start(at)).unwrap();
            let mut some = [0; 1];
            reader.read_exact(&mut some).unwrap();
            assert_eq!(some[0], bytes[usize::try_from(at).unwrap()], "{at}");
        }
        assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), 699_999);
        assert!(reader.seek(SeekFrom::Current(-700_000)).is_err());
        assert!(RangeReader::open(&store, "main/other").is_err());
    }
}
