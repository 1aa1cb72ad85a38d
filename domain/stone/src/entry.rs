//! Layout records: what a package puts below `/usr`.

use std::cmp::Ordering;

use crate::digest::Digest;
use crate::place::{PayloadPlace, RecordPlace};
use crate::read::{Cursor, ReadError};
use crate::write::WriteError;

/// One file, link or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The complete `st_mode`, with the bits of the file type. Those bits are a claim: what the entry is, is decided by
    /// [`Entry::file`], and whoever creates it should use the lower twelve bits only.
    pub mode: u32,
    /// Where it is, relative to `/usr`, such as `bin/nano`; [`check_target`] holds.
    pub target: String,
    /// What it is.
    pub file: EntryFile,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryFile {
    /// A regular file with the bytes of this digest.
    Regular(Digest),
    /// A symbolic link with this text, which is never empty and has no NUL. It may lead anywhere.
    Symlink(String),
    /// A folder. Only empty ones and those whose mode is not 0755 are listed.
    Directory,
    /// A character device; the format does not say which.
    CharacterDevice,
    /// A block device; the format does not say which.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl EntryFile {
    /// The number of the kind in a layout record.
    #[must_use]
    pub fn number(&self) -> u8 {
        match self {
            EntryFile::Regular(_) => 1,
            EntryFile::Symlink(_) => 2,
            EntryFile::Directory => 3,
            EntryFile::CharacterDevice => 4,
            EntryFile::BlockDevice => 5,
            EntryFile::Fifo => 6,
            EntryFile::Socket => 7,
        }
    }

    /// One word for people and for JSON.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            EntryFile::Regular(_) => "regular",
            EntryFile::Symlink(_) => "symlink",
            EntryFile::Directory => "directory",
            EntryFile::CharacterDevice => "character-device",
            EntryFile::BlockDevice => "block-device",
            EntryFile::Fifo => "fifo",
            EntryFile::Socket => "socket",
        }
    }

    /// The digest of a regular file.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            EntryFile::Regular(digest) => Some(*digest),
            _ => None,
        }
    }
}

/// What is wrong with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetFault {
    /// Nothing.
    #[error("is empty")]
    Empty,
    /// Begins with a slash, and so does not lie below `/usr`.
    #[error("is absolute")]
    Absolute,
    /// Ends with a slash.
    #[error("ends with a slash")]
    TrailingSlash,
    /// Two slashes in a row.
    #[error("has an empty component")]
    EmptyComponent,
    /// A component `.`.
    #[error("has a component \".\"")]
    Dot,
    /// A component `..`, which may leave `/usr`.
    #[error("has a component \"..\"")]
    DotDot,
    /// A NUL.
    #[error("has a NUL inside")]
    Nul,
    /// More than 65,535 bytes, which the format cannot hold.
    #[error("is longer than 65,535 bytes")]
    TooLong,
}

/// Checks that a target is a plain relative path: components that are neither empty nor `.` nor `..`, one slash between them.
///
/// # Errors
/// The first fault found.
pub fn check_target(target: &str) -> Result<(), TargetFault> {
    if target.is_empty() {
        return Err(TargetFault::Empty);
    }
    if target.len() > usize::from(u16::MAX) {
        return Err(TargetFault::TooLong);
    }
    if target.contains('\0') {
        return Err(TargetFault::Nul);
    }
    if target.starts_with('/') {
        return Err(TargetFault::Absolute);
    }
    if target.ends_with('/') {
        return Err(TargetFault::TrailingSlash);
    }
    for component in target.split('/') {
        match component {
            "" => return Err(TargetFault::EmptyComponent),
            "." => return Err(TargetFault::Dot),
            ".." => return Err(TargetFault::DotDot),
            _ => {}
        }
    }
    Ok(())
}

/// Two entries of one layout that cannot both be; the numbers are those of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collision {
    /// The same target.
    Same { first: usize, second: usize },
    /// `child` lies below `parent`, which is no folder.
    Below { parent: usize, child: usize },
}

/// Finds entries that cannot both be.
pub(crate) fn find_collision(entries: &[Entry]) -> Option<Collision> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    // Sorted by components, whatever lies below an entry follows right behind it. So neighbours are all there is to
    // compare, and a hostile layout of deep paths costs no more than an honest one.
    order.sort_by(|&left, &right| {
        compare_components(&entries[left].target, &entries[right].target).then(left.cmp(&right))
    });
    order.windows(2).find_map(|pair| {
        let (first, second) = (pair[0], pair[1]);
        let rest = entries[second].target.strip_prefix(entries[first].target.as_str())?;
        if rest.is_empty() {
            Some(Collision::Same { first, second })
        } else if rest.starts_with('/') && entries[first].file != EntryFile::Directory {
            Some(Collision::Below { parent: first, child: second })
        } else {
            None
        }
    })
}

/// The order of paths in which a slash sorts before everything else.
fn compare_components(left: &str, right: &str) -> Ordering {
    let key = |byte: u8| if byte == b'/' { 0 } else { byte };
    left.bytes().map(key).cmp(right.bytes().map(key))
}

/// Decodes the layout of a file and checks its targets.
pub(crate) fn decode_all(bytes: &[u8], payload: PayloadPlace, count: u32) -> Result<Vec<Entry>, ReadError> {
    let entries = Cursor::new(bytes, payload).records(count, decode)?;
    // A count of records came from 32 bits, so the numbers fit again.
    let record = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    match find_collision(&entries) {
        None => Ok(entries),
        Some(Collision::Same { first, second }) => Err(ReadError::DuplicateTarget {
            place: RecordPlace { payload, record: record(second) },
            first: record(first),
            target: entries[second].target.clone(),
        }),
        Some(Collision::Below { parent, child }) => Err(ReadError::TargetBelowFile {
            place: RecordPlace { payload, record: record(child) },
            target: entries[child].target.clone(),
            parent: entries[parent].target.clone(),
        }),
    }
}

fn decode(cursor: &mut Cursor<'_>) -> Result<Entry, ReadError> {
    let uid = cursor.u32()?;
    let gid = cursor.u32()?;
    let mode = cursor.u32()?;
    // A tag that is always 0.
    cursor.zeros::<4>()?;
    let source_length = cursor.u16()?;
    let target_length = cursor.u16()?;
    let kind = cursor.u8()?;
    cursor.zeros::<11>()?;
    let file = decode_file(cursor, kind, source_length)?;
    let target = cursor.text(u64::from(target_length), "target")?;
    match check_target(&target) {
        Ok(()) => Ok(Entry { uid, gid, mode, target, file }),
        Err(fault) => Err(ReadError::Target { place: cursor.place(), target, fault }),
    }
}

fn decode_file(cursor: &mut Cursor<'_>, kind: u8, source_length: u16) -> Result<EntryFile, ReadError> {
    let file = match kind {
        1 if source_length == 16 => return Ok(EntryFile::Regular(Digest::from_be_bytes(cursor.array()?))),
        1 => EntryFile::Regular(Digest::EMPTY),
        2 => {
            let text = cursor.text(u64::from(source_length), "link text")?;
            if !text.is_empty() {
                return Ok(EntryFile::Symlink(text));
            }
            EntryFile::Symlink(text)
        }
        3 => EntryFile::Directory,
        4 => EntryFile::CharacterDevice,
        5 => EntryFile::BlockDevice,
        6 => EntryFile::Fifo,
        7 => EntryFile::Socket,
        number => return Err(ReadError::UnknownEntryKind { place: cursor.place(), number }),
    };
    let expected = match file {
        EntryFile::Regular(_) => "16",
        EntryFile::Symlink(_) => "at least one",
        _ if source_length == 0 => return Ok(file),
        _ => "none",
    };
    Err(ReadError::SourceLength {
        place: cursor.place(),
        kind: file.label(),
        length_bytes: source_length,
        expected,
    })
}

/// The bytes of a layout payload.
///
/// # Errors
/// For a target that [`check_target`] refuses, targets that collide, and link text that is empty, too long or has a NUL.
pub(crate) fn encode_all(entries: &[Entry]) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::new();
    for entry in entries {
        encode(entry, &mut out)?;
    }
    match find_collision(entries) {
        None => Ok(out),
        Some(Collision::Same { second, .. }) => {
            Err(WriteError::DuplicateTarget { target: entries[second].target.clone() })
        }
        Some(Collision::Below { parent, child }) => Err(WriteError::TargetBelowFile {
            target: entries[child].target.clone(),
            parent: entries[parent].target.clone(),
        }),
    }
}

fn encode(entry: &Entry, out: &mut Vec<u8>) -> Result<(), WriteError> {
    check_target(&entry.target)
        .map_err(|fault| WriteError::Target { target: entry.target.clone(), fault })?;
    let digest;
    let source: &[u8] = match &entry.file {
        EntryFile::Regular(of_file) => {
            digest = of_file.to_be_bytes();
            &digest
        }
        EntryFile::Symlink(text) if text.is_empty() || text.contains('\0') => {
            return Err(WriteError::LinkText { target: entry.target.clone() });
        }
        EntryFile::Symlink(text) => text.as_bytes(),
        _ => &[],
    };
    let source_length = u16::try_from(source.len())
        .map_err(|_source| WriteError::LinkText { target: entry.target.clone() })?;
    let target_length = u16::try_from(entry.target.len()).map_err(|_source| WriteError::Target {
        target: entry.target.clone(),
        fault: TargetFault::TooLong,
    })?;
    out.extend(entry.uid.to_be_bytes());
    out.extend(entry.gid.to_be_bytes());
    out.extend(entry.mode.to_be_bytes());
    out.extend([0; 4]);
    out.extend(source_length.to_be_bytes());
    out.extend(target_length.to_be_bytes());
    out.push(entry.file.number());
    out.extend([0; 11]);
    out.extend(source);
    out.extend(entry.target.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let table = [
            ("bin/nano", Ok(())),
            ("share/doc/...", Ok(())),
            ("a", Ok(())),
            ("share/ü/.hidden", Ok(())),
            ("", Err(TargetFault::Empty)),
            ("/etc/passwd", Err(TargetFault::Absolute)),
            ("bin/", Err(TargetFault::TrailingSlash)),
            ("bin//nano", Err(TargetFault::EmptyComponent)),
            ("./bin", Err(TargetFault::Dot)),
            ("bin/./nano", Err(TargetFault::Dot)),
            ("../etc", Err(TargetFault::DotDot)),
            ("bin/..", Err(TargetFault::DotDot)),
            ("bin/na\0no", Err(TargetFault::Nul)),
        ];
        for (target, expect) in table {
            assert_eq!(check_target(target), expect, "{target:?}");
        }
        assert_eq!(check_target(&"a".repeat(65_535)), Ok(()));
        assert_eq!(check_target(&"a".repeat(65_536)), Err(TargetFault::TooLong));
    }

    #[test]
    fn collisions() {
        let entries = |targets: &[(&str, EntryFile)]| -> Vec<Entry> {
            targets
                .iter()
                .map(|(target, file)| Entry {
                    uid: 0,
                    gid: 0,
                    mode: 0,
                    target: (*target).to_owned(),
                    file: file.clone(),
                })
                .collect()
        };
        let link = || EntryFile::Symlink("/etc".into());
        let table = [
            (entries(&[("a", link()), ("b", link()), ("ab", link())]), None),
            (entries(&[("a", EntryFile::Directory), ("a/b", link())]), None),
            (
                entries(&[("a/b", link()), ("c", link()), ("a", link())]),
                Some(Collision::Below { parent: 2, child: 0 }),
            ),
            // '-' sorts before '/': a plain byte order would put a stranger between the two.
            (
                entries(&[("a", link()), ("a-b", link()), ("a/x", EntryFile::Fifo)]),
                Some(Collision::Below { parent: 0, child: 2 }),
            ),
            (
                entries(&[("x", link()), ("y", link()), ("x", EntryFile::Directory)]),
                Some(Collision::Same { first: 0, second: 2 }),
            ),
        ];
        for (entries, expect) in table {
            assert_eq!(find_collision(&entries), expect, "{entries:?}");
        }
    }
}
