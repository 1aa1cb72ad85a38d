//! The paths of the files of all packages, each package's packed alone.
//!
//! ```text
//! "MRNF" format:1 count:varint  { sha256-of-package:32 length:varint frame }
//! frame    of { shared-with-the-path-before:varint length:varint rest }
//! ```
//!
//! Who publishes puts the next file together from the frames of the one before and those of what is new; so the packages have no
//! common frame. Clients read the file only when somebody asks who owns a path.

use super::columns::{Cursor, put_bytes, put_number};
use super::{CompactError, FORMAT, SHA256_BYTES, count, pack, unpack};
use crate::signed::Digest;

const FILES_MAGIC: [u8; 4] = *b"MRNF";

/// The largest list of one package, with all its paths in full: a million files of 64 bytes each.
const PATHS_BYTES_MAX: usize = 64 << 20;

/// The longest path: PATH_MAX of Linux.
const PATH_BYTES_MAX: usize = 4096;

/// The paths of one package, packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileList<'a> {
    /// The digest of the package.
    pub package: Digest,
    /// See [`pack_paths`].
    pub packed: &'a [u8],
}

/// Packs the paths of one package, below `/usr` and without a slash at the beginning. In order they take the least.
#[must_use]
pub fn pack_paths<'p>(paths: impl IntoIterator<Item = &'p str>) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut before: &[u8] = b"";
    for path in paths {
        let path = path.as_bytes();
        let shared = before.iter().zip(path).take_while(|(left, right)| left == right).count();
        put_number(&mut plain, count(shared));
        put_bytes(&mut plain, path.get(shared..).unwrap_or_default());
        before = path;
    }
    pack(&plain)
}

/// The paths of one package.
///
/// # Errors
/// For anything that [`pack_paths`] does not write.
pub fn unpack_paths(packed: &[u8]) -> Result<Vec<String>, CompactError> {
    const WHAT: &str = "the list of files of a package";
    let plain = unpack(packed, PATHS_BYTES_MAX, WHAT)?;
    let mut cursor = Cursor { what: WHAT, rest: &plain };
    let mut paths: Vec<String> = Vec::new();
    let mut total_bytes = 0;
    while !cursor.rest.is_empty() {
        let shared = usize::try_from(cursor.number()?).unwrap_or(usize::MAX);
        let before = paths.last().map(String::as_bytes).unwrap_or_default();
        let mut path =
            before.get(..shared).ok_or_else(|| cursor.damaged("a path goes on from nothing"))?.to_vec();
        path.extend_from_slice(cursor.bytes()?);
        if path.len() > PATH_BYTES_MAX {
            return Err(cursor.damaged("a path is too long"));
        }
        // A few bytes of the file can stand for a long path.
        total_bytes += path.len();
        if total_bytes > PATHS_BYTES_MAX {
            return Err(CompactError::TooLong { what: WHAT, limit_bytes: PATHS_BYTES_MAX });
        }
        paths.push(String::from_utf8(path).map_err(|_| cursor.damaged("a path is not UTF-8"))?);
    }
    Ok(paths)
}

/// The file of these lists.
#[must_use]
pub fn write_file_lists(lists: &[FileList<'_>]) -> Vec<u8> {
    let mut bytes = Vec::from(FILES_MAGIC);
    bytes.push(FORMAT);
    put_number(&mut bytes, count(lists.len()));
    for list in lists {
        bytes.extend_from_slice(list.package.as_bytes());
        put_bytes(&mut bytes, list.packed);
    }
    bytes
}

/// The lists of a file, still packed.
///
/// # Errors
/// For anything that [`write_file_lists`] does not write.
pub fn read_file_lists(bytes: &[u8]) -> Result<Vec<FileList<'_>>, CompactError> {
    const WHAT: &str = "lists of files";
    let rest = bytes
        .strip_prefix(&FILES_MAGIC)
        .and_then(|rest| rest.strip_prefix(&[FORMAT]))
        .ok_or(CompactError::Magic { what: WHAT })?;
    let mut cursor = Cursor { what: WHAT, rest };
    let mut lists = Vec::new();
    for _ in 0..cursor.number()? {
        let mut package = [0; SHA256_BYTES];
        package.copy_from_slice(cursor.take(SHA256_BYTES)?);
        lists.push(FileList { package: Digest::from_bytes(package), packed: cursor.bytes()? });
    }
    cursor.end()?;
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn written_and_read() {
        let paths = ["bin/nano", "bin/rnano", "share/doc/nano/faq.html", "share/doc/nano/fäq.html"];
        let (one, none) = (pack_paths(paths), pack_paths([]));
        assert_eq!(unpack_paths(&one).unwrap(), paths);
        assert_eq!(unpack_paths(&none).unwrap(), [""; 0]);
        let lists = [
            FileList { package: Digest::of(b"one"), packed: &one },
            FileList { package: Digest::of(b"none"), packed: &none },
        ];
        let file = write_file_lists(&lists);
        assert_eq!(read_file_lists(&file).unwrap(), lists);
        for at in 0..file.len() {
            assert!(read_file_lists(&file[..at]).is_err(), "cut at {at}");
        }
        assert!(read_file_lists(&[file.as_slice(), b"more"].concat()).is_err());
    }

    #[test]
    fn paths_that_grow_without_end_are_refused() {
        // Each path is the one before and another letter: a few bytes for each, and ever longer ones.
        let mut plain = Vec::new();
        for length in 0..=PATH_BYTES_MAX {
            put_number(&mut plain, count(length));
            put_bytes(&mut plain, b"a");
        }
        let error = unpack_paths(&pack(&plain)).unwrap_err();
        assert!(error.to_string().ends_with("a path is too long"), "{error}");
        let mut many = Vec::new();
        put_number(&mut many, 0);
        put_bytes(&mut many, &[b'a'; 4000]);
        (0..PATHS_BYTES_MAX / 4000).for_each(|_| {
            put_number(&mut many, 4000);
            put_bytes(&mut many, b"");
        });
        assert!(matches!(unpack_paths(&pack(&many)), Err(CompactError::TooLong { .. })));
        assert!(unpack_paths(&pack(b"\x01\x00")).is_err(), "goes on from nothing");
        assert!(unpack_paths(&pack(b"\x00\x01\xff")).is_err(), "is no text");
    }

    proptest! {
        #[test]
        fn any_paths_come_back(paths in proptest::collection::vec(".{0,40}", 0..20)) {
            let packed = pack_paths(paths.iter().map(String::as_str));
            prop_assert_eq!(unpack_paths(&packed).unwrap(), paths);
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let file = [FILES_MAGIC.as_slice(), &[FORMAT], &bytes].concat();
            std::hint::black_box((read_file_lists(&file).is_ok(), unpack_paths(&pack(&bytes)).is_ok()));
        }
    }
}
