//! The versions that pointers had when they were verified before: without a memory nobody can tell an old pointer from a new one.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;

use super::error::VerifyError;

/// The highest version of each pointer, by its file below the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Versions(BTreeMap<String, u64>);

impl Versions {
    /// What an earlier run left; nothing where there was none.
    pub(super) fn read(file: &Path) -> Result<Self, VerifyError> {
        match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Self)
                .map_err(|source| VerifyError::Memory { path: file.to_path_buf(), source: source.into() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(VerifyError::Memory { path: file.to_path_buf(), source }),
        }
    }

    /// Replaces the file.
    pub(super) fn write(&self, file: &Path) -> Result<(), VerifyError> {
        let memory = |source| VerifyError::Memory { path: file.to_path_buf(), source };
        let text = serde_json::to_vec_pretty(&self.0).map_err(|error| memory(error.into()))?;
        let part = file.with_extension("part");
        fs::write(&part, text).and_then(|()| fs::rename(&part, file)).map_err(memory)
    }

    /// The version that a pointer had.
    pub(super) fn of(&self, pointer_file: &str) -> Option<u64> {
        self.0.get(pointer_file).copied()
    }

    /// Adds one that was verified.
    pub(super) fn add(&mut self, pointer_file: &str, version: u64) {
        self.0.insert(pointer_file.to_owned(), version);
    }

    /// Adds all that were.
    pub(super) fn note(&mut self, others: &Versions) {
        self.0.extend(others.0.iter().map(|(file, version)| (file.clone(), *version)));
    }
}
