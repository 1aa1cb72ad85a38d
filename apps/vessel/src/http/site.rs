//! Finds the file that a request path names, and nothing outside the public folder.
//!
//! A path is decoded once, split, and every component checked; then the folders are opened one below the other, each
//! relative to the one before and never through a symbolic link. So neither `..`, however it is written, nor a link
//! that somebody placed in the tree leads out of it.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rustix::fs::{Mode, OFlags, openat};
use store::{Facts, Store, StoreError, Tag};

use super::answer::{FileFacts, Lifetime, content_type, surrogate_keys};

/// Components of a path. The deepest that is published, `<channel>/pool/v0/<p>/<source>/<file>`, has six.
const COMPONENTS_MAX: usize = 16;

/// Bytes of a component: NAME_MAX of Linux file systems.
const COMPONENT_SIZE_BYTES_MAX: usize = 255;

/// The published tree.
#[derive(Debug)]
pub(crate) enum Site {
    /// In this folder.
    Folder(OwnedFd),
    /// In a bucket.
    Bucket(Store),
}

/// The kind of error of what was replaced while it was read.
pub(crate) const REPLACED: ErrorKind = ErrorKind::ResourceBusy;

/// The bytes of a published file.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A file, opened.
    File(Arc<File>),
    /// An object in a bucket.
    Stored(Stored),
}

/// An object in a bucket, of which one version is meant.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    store: Store,
    path: String,
    tag: Tag,
    pub(crate) size_bytes: u64,
}

impl Stored {
    /// Some bytes. Blocks as long as the service takes.
    pub(crate) fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let length = range.end - range.start;
        let bytes =
            self.store.read_range(&self.path, range, Some(&self.tag)).map_err(|error| match error {
                StoreError::Changed { .. } => io::Error::new(REPLACED, error),
                error => io::Error::other(error),
            })?;
        if u64::try_from(bytes.len()) == Ok(length) {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

impl Content {
    /// All bytes, if they are so many at most. Blocks.
    pub(crate) fn read_whole(&self, size_bytes_max: usize) -> io::Result<Vec<u8>> {
        let limit = u64::try_from(size_bytes_max).unwrap_or(u64::MAX);
        let bytes = match self {
            Content::Stored(stored) if stored.size_bytes > limit => {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Content::Stored(stored) => stored.read(0..stored.size_bytes)?,
            Content::File(file) => {
                let mut bytes = Vec::new();
                file.try_clone()?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
                bytes
            }
        };
        if bytes.len() > size_bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }
}

impl Site {
    /// Serves what is in this store.
    pub(crate) fn open(store: &Store) -> io::Result<Self> {
        match store.as_folder() {
            Some(public) => Ok(Site::Folder(rustix::fs::open(public, FOLDER, Mode::empty())?)),
            None => Ok(Site::Bucket(store.clone())),
        }
    }

    /// Opens the file at these components; none where there is no such file. Blocks, in a bucket as long as the service takes.
    pub(crate) fn file(&self, components: &[String]) -> io::Result<Option<(Content, FileFacts)>> {
        match self {
            Site::Folder(root) => {
                let found = file_below(root, components);
                Ok(found.map(|(file, facts)| (Content::File(Arc::new(file)), facts)))
            }
            Site::Bucket(store) => object(store, components),
        }
    }
}

fn object(store: &Store, components: &[String]) -> io::Result<Option<(Content, FileFacts)>> {
    let path = components.join("/");
    let found = match store.head(&path) {
        Ok(found) => found,
        // No object has such a path.
        Err(StoreError::Path { .. }) => None,
        Err(error) => return Err(io::Error::other(error)),
    };
    let (Some(Facts { size_bytes, tag, modified }), Some(name)) = (found, components.last()) else {
        return Ok(None);
    };
    let facts = FileFacts {
        size_bytes,
        modified,
        tag: tag.as_str().to_owned(),
        content_type: content_type(name),
        lifetime: Lifetime::of(components),
        keys: surrogate_keys(components),
        encoding: None,
    };
    Ok(Some((Content::Stored(Stored { store: store.clone(), path, tag, size_bytes }), facts)))
}

fn file_below(root: &OwnedFd, components: &[String]) -> Option<(File, FileFacts)> {
    let (name, folders) = components.split_last()?;
    let mut folder: Option<OwnedFd> = None;
    for component in folders {
        folder = Some(openat(folder.as_ref().unwrap_or(root), component, FOLDER, Mode::empty()).ok()?);
    }
    // Without O_NONBLOCK a named pipe would keep the server waiting.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(openat(folder.as_ref().unwrap_or(root), name, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() {
        return None;
    }
    let facts = FileFacts {
        size_bytes: metadata.len(),
        modified: metadata.modified().ok()?,
        tag: tag(&metadata),
        content_type: content_type(name),
        lifetime: Lifetime::of(components),
        keys: surrogate_keys(components),
        encoding: None,
    };
    Some((file, facts))
}

/// A file is never written again once it can be reached, and a rename brings another inode and another time in nanoseconds.
fn tag(metadata: &Metadata) -> String {
    let modified =
        metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{:x}-{:x}-{:x}", metadata.len(), modified.as_nanos(), metadata.ino())
}

/// What is known of an open file that never changes and is not part of the published tree.
pub(crate) fn facts_of(file: File) -> Option<(File, FileFacts)> {
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    let facts = FileFacts {
        size_bytes: metadata.len(),
        modified: metadata.modified().ok()?,
        tag: tag(&metadata),
        content_type: content_type(""),
        lifetime: Lifetime::Forever,
        keys: Vec::new(),
        encoding: None,
    };
    Some((file, facts))
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::DIRECTORY);

/// The components of a request path; none when it cannot name a published file.
///
/// Published names never begin with a dot: those are files in the making.
pub(crate) fn components(path: &str) -> Option<Vec<String>> {
    let mut components = Vec::new();
    for component in path.strip_prefix('/')?.split('/') {
        let component = String::from_utf8(percent_decoded(component)?).ok()?;
        let is_plain = !component.is_empty()
            && component.len() <= COMPONENT_SIZE_BYTES_MAX
            && !component.starts_with('.')
            && !component.contains(['/', '\0', '\\']);
        if !is_plain || components.len() == COMPONENTS_MAX {
            return None;
        }
        components.push(component);
    }
    Some(components)
}

/// None for a percent sign without two digits behind it.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hexadecimal(bytes.next()?)? << 4 | hexadecimal(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(decoded)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_components() {
        fn check(path: &str, expect: Option<&[&str]>) {
            let found = components(path);
            assert_eq!(
                found.as_deref().map(<[String]>::iter).map(Iterator::collect),
                expect.map(to_strings),
                "{path}"
            );
        }
        fn to_strings(texts: &[&str]) -> Vec<&'static String> {
            texts.iter().map(|text| &*Box::leak(Box::new((*text).to_owned()))).collect()
        }
        check("/main/a.stone", Some(&["main", "a.stone"]));
        check("/main/g%2B%2b.stone", Some(&["main", "g++.stone"]));
        check("/caf%C3%A9", Some(&["café"]));
        for path in [
            "",
            "/",
            "main",
            "//main",
            "/main/",
            "/..",
            "/main/../x",
            "/main/%2e%2e/x",
            "/%2E",
            "/main/.hidden",
            "/a%2fb",
            "/a%00b",
            "/a%5cb",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/%ff",
        ] {
            check(path, None);
        }
        assert!(components(&"/a".repeat(COMPONENTS_MAX)).is_some());
        assert!(components(&"/a".repeat(COMPONENTS_MAX + 1)).is_none());
        assert!(components(&format!("/{}", "a".repeat(COMPONENT_SIZE_BYTES_MAX + 1))).is_none());
    }

    #[test]
    fn only_regular_files_below_the_root_and_no_links() {
        let folder = tempfile::tempdir().unwrap();
        let public = folder.path().join("public");
        fs_err::create_dir_all(public.join("main/pool")).unwrap();
        fs_err::write(folder.path().join("identity.key"), "secret").unwrap();
        fs_err::write(public.join("main/pool/a.stone"), "stone").unwrap();
        fs_err::os::unix::fs::symlink("../../identity.key", public.join("main/link")).unwrap();
        fs_err::os::unix::fs::symlink("../..", public.join("main/up")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, public.join("main/pipe"), Mode::from(0o644)).unwrap();
        let site = Site::open(&Store::folder(&public).unwrap()).unwrap();
        let open = |path: &str| components(path).and_then(|components| site.file(&components).unwrap());
        assert_eq!(open("/main/pool/a.stone").unwrap().1.size_bytes, 5);
        for path in [
            "/main",
            "/main/pool",
            "/main/link",
            "/main/up/identity.key",
            "/main/pipe",
            "/main/none",
            "/none/a",
        ] {
            assert!(open(path).is_none(), "{path}");
        }
    }
}
