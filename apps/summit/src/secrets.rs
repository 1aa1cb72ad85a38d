//! Secrets that an operator keeps in files.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};

/// Largest secret that is read. Those that forges and tools make have some 40 bytes.
const SECRET_SIZE_BYTES_MAX: u64 = 4096;

/// Why a secret is not used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret in {path:?}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("cannot use the secret in {path:?}: others than its owner may read it", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("cannot use the secret in {path:?}: it is empty", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Fault for SecretError {
    fn kind(&self) -> Kind {
        match self {
            SecretError::Read { .. } => Kind::Unavailable,
            SecretError::Open { .. } => Kind::Denied,
            SecretError::Empty { .. } => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            SecretError::Open { path } => vec![format!("chmod 600 {}", path.display())],
            SecretError::Read { .. } | SecretError::Empty { .. } => Vec::new(),
        }
    }
}

/// The secret in the file at `path`, without spaces around it.
///
/// # Errors
/// When it cannot be read, is empty, or others than its owner may read it.
pub fn read(path: &Path) -> Result<Vec<u8>, SecretError> {
    let failed = |source| SecretError::Read { path: path.to_path_buf(), source };
    let file = fs_err::File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(SecretError::Open { path: path.to_path_buf() });
    }
    let mut bytes = Vec::new();
    file.take(SECRET_SIZE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let secret = bytes.trim_ascii();
    match secret.is_empty() {
        true => Err(SecretError::Empty { path: path.to_path_buf() }),
        false => Ok(secret.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_that_others_may_read_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let allow = |mode| fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        fs_err::write(&path, "  words \n").unwrap();
        for (mode, is_used) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            allow(mode);
            assert_eq!(read(&path).is_ok(), is_used, "{mode:o}");
        }
        allow(0o600);
        assert_eq!(read(&path).unwrap(), b"words");
        fs_err::write(&path, "\n").unwrap();
        assert!(matches!(read(&path), Err(SecretError::Empty { .. })));
    }
}
