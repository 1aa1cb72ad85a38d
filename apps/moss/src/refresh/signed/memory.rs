//! What is kept of a repository with signed files: what is trusted, and which index is at hand.
//!
//! A crash leaves what was kept before or what is kept now: each file is replaced as a whole, and an index lies beside the one that
//! it follows until the file that names it was replaced.

use std::collections::BTreeMap;

use repository::signed::{Digest, FileFacts, KeyList, Pointer};
use repository::{Identifier, Moved};
use serde::{Deserialize, Serialize};

use super::super::{Place, RefreshError};

/// Files of the cache.
const TRUST_FILE: &str = "trust.json";
const MEMORY_FILE: &str = "signed.json";

/// How the name of an index begins; its digest follows.
const IMAGE_PREFIX: &str = "image-";

/// What is known of a repository's keys, for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trust {
    /// The keys that were pinned then; with others, trust begins anew.
    pub(super) pins: Vec<String>,
    /// The newest list of keys.
    pub(super) keys: KeyList,
    /// The highest version of the pointer that was ever followed.
    pub(super) version: Option<u64>,
}

/// What the cached index is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::refresh) struct SignedMemory {
    pub(super) pins: Vec<String>,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) pointer: Option<Pointer>,
    pub(super) history: Identifier,
    pub(super) number: u64,
    pub(super) image: Digest,
    /// Files that are fetched when somebody asks.
    pub(super) files: BTreeMap<String, FileFacts>,
    #[serde(default)]
    pub(super) moved: Option<Moved>,
}

impl SignedMemory {
    /// The name of the file with the index.
    fn image_file(&self) -> String {
        format!("{IMAGE_PREFIX}{}", self.image)
    }
}

impl Place<'_> {
    /// The index at hand and what it is; none when there is none that is whole.
    pub(super) fn read_image(&self) -> Result<Option<(SignedMemory, Vec<u8>)>, RefreshError> {
        let Some(memory) = self.read_optional(MEMORY_FILE)? else { return Ok(None) };
        let Ok(memory) = serde_json::from_slice::<SignedMemory>(&memory) else { return Ok(None) };
        let Some(image) = self.read_optional(&memory.image_file())? else { return Ok(None) };
        let is_whole = Digest::of(&image) == memory.image && memory.pins == self.repository.keys;
        Ok(is_whole.then_some((memory, image)))
    }

    pub(super) fn read_trust(&self) -> Result<Option<Trust>, RefreshError> {
        let Some(bytes) = self.read_optional(TRUST_FILE)? else { return Ok(None) };
        let trust = serde_json::from_slice::<Trust>(&bytes).ok();
        Ok(trust.filter(|trust| trust.pins == self.repository.keys))
    }

    pub(super) fn write_trust(&self, trust: &Trust) -> Result<(), RefreshError> {
        self.keep(|files| files.replace(TRUST_FILE, &serde_json::to_vec(trust)?))
    }

    /// Remembers what the index at hand is, and with `image` another index.
    pub(super) fn write_signed(
        &self,
        memory: &SignedMemory,
        image: Option<&[u8]>,
    ) -> Result<(), RefreshError> {
        self.keep(|files| {
            if let Some(image) = image {
                files.replace(&memory.image_file(), image)?;
            }
            files.replace(MEMORY_FILE, &serde_json::to_vec(memory)?)?;
            // Who reads at the same time and misses it fetches for itself.
            files.remove_others(IMAGE_PREFIX, &memory.image_file())
        })
    }
}
