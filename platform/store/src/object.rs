//! What is put into a store, and what is known of what is in it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Sha256;

/// An object to be created.
#[derive(Debug, Clone)]
pub struct NewObject {
    /// Where, relative to the store.
    pub path: String,
    /// Its bytes.
    pub from: Source,
    /// Their digest.
    pub sha256: Sha256,
    /// What a reader is told with them.
    pub labels: Labels,
}

impl NewObject {
    /// An object with these bytes.
    #[must_use]
    pub fn of_bytes(path: String, bytes: &[u8], labels: Labels) -> Self {
        Self { path, from: Source::Bytes(bytes.into()), sha256: Sha256::of(bytes), labels }
    }
}

/// Where the bytes of a new object are.
#[derive(Debug, Clone)]
pub enum Source {
    /// Here.
    Bytes(Arc<[u8]>),
    /// In a file that nobody changes any more.
    File(PathBuf),
    /// In the same store under another path.
    Stored(String),
}

/// Objects that are there for everybody who looks, and that a power cut could take away. Of a bucket there is nothing.
#[derive(Debug, Default)]
#[must_use = "what was created is durable only when it is settled"]
pub struct Unsettled {
    /// Files and folders to be synced.
    pub(crate) paths: BTreeSet<PathBuf>,
    /// Folders whose names are durable then.
    pub(crate) folders: BTreeSet<PathBuf>,
}

impl Unsettled {
    /// Both together.
    pub fn and(mut self, other: Self) -> Self {
        self.paths.extend(other.paths);
        self.folders.extend(other.folders);
        self
    }
}

/// The replacement of a small object.
#[derive(Debug, Clone)]
pub struct Swap<'a> {
    /// Where, relative to the store.
    pub path: String,
    /// Its new bytes.
    pub bytes: &'a [u8],
    /// Which bytes it has, as far as the caller knows; none means that it is not there.
    pub expected: Option<Tag>,
    /// What a reader is told with them.
    pub labels: Labels,
}

/// What a bucket tells readers with an object, where they read from it directly. A folder keeps none of it: the server
/// in front of it says the same by the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Content-Type.
    pub content_type: &'static str,
    /// Cache-Control.
    pub cache_control: Cow<'static, str>,
}

/// What to do with an object that is there with other bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// It is an error.
    Refuse,
    /// It is replaced. For callers who know that nobody was ever told of it: something that died left it.
    Replace,
}

/// Which bytes an object had. Equal tags mean equal bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(pub(crate) String);

impl Tag {
    /// As text of visible ASCII without quotes, for an entity tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As an entity tag.
    pub(crate) fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

/// The bytes of an object and which they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// All of them.
    pub bytes: Vec<u8>,
    /// For the next compare-and-swap.
    pub tag: Tag,
}

/// What is known of an object without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its length.
    pub size_bytes: u64,
    /// Which bytes it has.
    pub tag: Tag,
    /// When it got them.
    pub modified: std::time::SystemTime,
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Relative to the store.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
}
