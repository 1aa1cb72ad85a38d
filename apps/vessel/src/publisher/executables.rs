//! The program or library that a build id is of: looked for in the packages that lie beside its debug information, by what stands at
//! the beginning of each file.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Seek};
use std::sync::{Mutex, PoisonError};

use stone::{ContentSink, Digest, EntryFile, Limits, ReadError};

use super::debug::{BUFFER_SIZE_BYTES, DebugInfo, extract};
use super::{PublishError, Publisher, blocking};
use crate::ledger::DebugPlace;
use crate::tree::{Tree, TreeError};
use crate::verify::VerifyError;

/// Bytes at the beginning of a file in which its build id is looked for: linkers put it before the code.
const HEAD_SIZE_BYTES: usize = 64 << 10;

/// Answers that are remembered. When there are more, all are forgotten.
const REMEMBERED_MAX: usize = 10_000;

/// A file in a package.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// Of the package, below the channel.
    pool_path: String,
    /// In the package, below `/usr`.
    target: String,
}

/// What was found for a build id, and that nothing was.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<BTreeMap<(String, String), Option<Found>>>);

impl Remembered {
    fn get(&self, key: &(String, String)) -> Option<Option<Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn put(&self, key: (String, String), found: Option<Found>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(key, found);
    }
}

impl Publisher {
    /// The program or library of a checked build id; none where no package has it, or none has its debug information.
    pub(crate) async fn executable(&self, build_id: &str) -> Result<Option<DebugInfo>, PublishError> {
        let places = self.ledger.debug_places(build_id).await?;
        for DebugPlace { channel, pool_path, .. } in places {
            let Ok(channel) = self.channel(&channel) else { continue };
            // Never closed.
            let _place = self.extractions.acquire().await.ok();
            let key = (build_id.to_owned(), format!("{}/{pool_path}", channel.name));
            let found = match self.executables.get(&key) {
                Some(found) => found,
                None => {
                    let (tree, id) = (channel.tree.clone(), build_id.to_owned());
                    let found = blocking(move || find(&tree, &pool_path, &id)).await?;
                    self.executables.put(key, found.clone());
                    found
                }
            };
            let Some(Found { pool_path, target }) = found else { continue };
            let info = DebugInfo {
                path: self.folder.executable(build_id),
                package: pool_path.rsplit('/').next().unwrap_or_default().to_owned(),
                target: format!("/usr/{target}"),
            };
            let (tree, made) = (channel.tree.clone(), info.clone());
            if blocking(move || extract(&tree, &pool_path, &target, &made.path)).await? {
                return Ok(Some(info));
            }
        }
        Ok(None)
    }
}

/// Looks in the packages that were built with the one that has the debug information.
fn find(tree: &Tree, debug_path: &str, build_id: &str) -> Result<Option<Found>, PublishError> {
    for pool_path in tree.built_with(debug_path)? {
        if let Some(target) = find_in(tree, &pool_path, build_id)? {
            return Ok(Some(Found { pool_path, target }));
        }
    }
    Ok(None)
}

/// The file of a package with this build id.
fn find_in(tree: &Tree, pool_path: &str, build_id: &str) -> Result<Option<String>, PublishError> {
    let Some(stone) = tree.open(pool_path)? else { return Ok(None) };
    let unreadable = |source| VerifyError::Stone { file: pool_path.to_owned(), source: Box::new(source) };
    let limits = Limits::default();
    let mut stone = BufReader::with_capacity(BUFFER_SIZE_BYTES, stone);
    let records = stone::read_records(&mut stone, &limits).map_err(unreadable)?;
    stone.rewind().map_err(|source| TreeError::Disk { action: "look for a program in a package", source })?;
    let mut sink = Heads { wanted: build_id, head: Vec::new(), digest: None, found: None };
    let read = stone::read(&mut stone, &limits, &mut sink);
    let Some(digest) = sink.found else {
        read.map_err(unreadable)?;
        return Ok(None);
    };
    // The sink stops the reader when it has what it wants.
    match read {
        Ok(_) | Err(ReadError::Sink { .. }) => {}
        Err(error) => return Err(unreadable(error).into()),
    }
    let has_it = |file: &EntryFile| matches!(file, EntryFile::Regular(it) if *it == digest);
    let entry = records.layout.iter().find(|entry| has_it(&entry.file));
    Ok(entry.map(|entry| entry.target.clone()))
}

/// Looks at the beginning of each file.
struct Heads<'a> {
    wanted: &'a str,
    head: Vec<u8>,
    digest: Option<Digest>,
    found: Option<Digest>,
}

impl ContentSink for Heads<'_> {
    fn begin(&mut self, digest: Digest, _size_bytes: u64) -> io::Result<()> {
        self.head.clear();
        self.digest = Some(digest);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = HEAD_SIZE_BYTES.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(bytes.get(..left).unwrap_or_default());
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if build_id_of(&self.head).as_deref() == Some(self.wanted) {
            self.found = self.digest;
            return Err(io::Error::other("the file that is wanted was found"));
        }
        Ok(())
    }
}

/// The build id in the beginning of an ELF file: a note of the owner `GNU` and type 3.
fn build_id_of(head: &[u8]) -> Option<String> {
    const OWNER: [u8; 4] = *b"GNU\0";
    let note = |type_bytes: [u8; 4]| [type_bytes, OWNER].concat();
    let is_little = match head.get(..6)? {
        [0x7f, b'E', b'L', b'F', _, 1] => true,
        [0x7f, b'E', b'L', b'F', _, 2] => false,
        _ => return None,
    };
    let number =
        |bytes: [u8; 4]| if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
    let wanted = note(if is_little { 3_u32.to_le_bytes() } else { 3_u32.to_be_bytes() });
    let places = head.windows(wanted.len()).enumerate().filter(|(_, bytes)| *bytes == wanted.as_slice());
    for (place, _) in places {
        let lengths = place.checked_sub(8).and_then(|begin| head.get(begin..place));
        let Some([a, b, c, d, e, f, g, h]) = lengths.and_then(|it| <[u8; 8]>::try_from(it).ok()) else {
            continue;
        };
        let (owner, length) = (number([a, b, c, d]), usize::try_from(number([e, f, g, h])).ok()?);
        let begin = place + wanted.len();
        let id = begin.checked_add(length).and_then(|end| head.get(begin..end));
        if let (4, Some(id)) = (owner, id.filter(|id| !id.is_empty() && id.len() <= 64)) {
            return Some(id.iter().map(|byte| format!("{byte:02x}")).collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(class: u8, note: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, class];
        bytes.resize(64, 0);
        bytes.extend_from_slice(note);
        bytes.extend_from_slice(&[9; 32]);
        bytes
    }

    #[test]
    fn the_build_id_of_a_program() {
        let check = |head: &[u8], expect: Option<&str>| assert_eq!(build_id_of(head).as_deref(), expect);
        let little = [&[4, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0][..], b"GNU\0", &[0xab, 0xcd, 0xef]].concat();
        let big = [&[0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 3][..], b"GNU\0", &[0xab, 0xcd, 0xef]].concat();
        check(&elf(1, &little), Some("abcdef"));
        check(&elf(2, &big), Some("abcdef"));
        check(&elf(2, &little), None);
        check(&little, None);
        check(b"", None);
        // A note that says that it is longer than the file.
        let long = [&[4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0][..], b"GNU\0"].concat();
        check(&elf(1, &long), None);
        // Another kind of note before it.
        let property = [&[4, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0][..], b"GNU\0", &[1, 2, 3, 4]].concat();
        check(&elf(1, &[property, little].concat()), Some("abcdef"));
    }
}
