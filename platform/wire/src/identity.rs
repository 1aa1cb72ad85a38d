//! Who we are: one ed25519 private key in a file that nobody else may read.
//!
//! The file is PKCS#8 and appears whole or not at all, with mode 0600 from its first moment. Two programs that start
//! at once agree on one key: the second finds the first's file.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fault::{Fault, Kind};
use key::PublicKey;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use tokio_rustls::rustls::crypto::ring::sign::any_eddsa_type;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};

use crate::spki;

/// The largest key file that is read. A PKCS#8 ed25519 key has 48 to 100 bytes.
const KEY_FILE_SIZE_BYTES_MAX: u64 = 4096;

/// Our own key pair.
#[derive(Clone)]
pub struct Identity {
    public_key: PublicKey,
    signing_key: Arc<dyn SigningKey>,
    pair: Arc<Ed25519KeyPair>,
}

/// What goes wrong with an identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file can be neither read nor written.
    #[error("cannot use identity {path:?}", path = path.display())]
    File {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others could have read the private key.
    #[error("cannot use identity {path:?}: others may read it (mode {mode:04o})", path = path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is no ed25519 key.
    #[error("cannot use identity {path:?}: it is no PKCS#8 ed25519 key", path = path.display())]
    NoKey {
        /// The key file.
        path: PathBuf,
    },
    /// The system gave no randomness.
    #[error("cannot make an identity: the system gives no randomness")]
    NoRandomness,
}

impl Fault for IdentityError {
    fn kind(&self) -> Kind {
        match self {
            IdentityError::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Kind::Denied
            }
            IdentityError::File { .. } | IdentityError::NoRandomness => Kind::Unavailable,
            IdentityError::Exposed { .. } => Kind::Denied,
            IdentityError::NoKey { .. } => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            IdentityError::Exposed { path, .. } => vec![
                format!("if nobody else has read it: chmod 600 {}", path.display()),
                "if somebody may have: delete it, start again, and give the new public key to the peers"
                    .into(),
            ],
            IdentityError::NoKey { path } => vec![format!(
                "restore it from a backup, or move it away: mv {0} {0}.damaged; a new one is made at the next start",
                path.display()
            )],
            IdentityError::File { .. } | IdentityError::NoRandomness => Vec::new(),
        }
    }
}

impl Identity {
    /// A key pair that lives as long as this value.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        let bytes = generate_pkcs8()?;
        Self::from_pkcs8(&bytes).ok_or(IdentityError::NoRandomness)
    }

    /// Reads the key pair in the file at `path`; makes both when there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read or written, when others may read it, when it is no key.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        match Self::load(path) {
            Err(IdentityError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(path)?;
                Self::load(path)
            }
            other => other,
        }
    }

    /// Reads the key pair in the file at `path`.
    ///
    /// # Errors
    /// As [`Identity::load_or_create`], and when there is no such file.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let file_error = |source| IdentityError::File { path: path.to_path_buf(), source };
        let file = fs_err::File::open(path).map_err(file_error)?;
        let mode = file.metadata().map_err(file_error)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed { path: path.to_path_buf(), mode });
        }
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, KEY_FILE_SIZE_BYTES_MAX), &mut bytes)
            .map_err(file_error)?;
        Self::from_pkcs8(&bytes).ok_or_else(|| IdentityError::NoKey { path: path.to_path_buf() })
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// Signs `message`; 64 bytes (RFC 8032).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }

    fn from_pkcs8(bytes: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).ok()?;
        let public_key = PublicKey::from_bytes(pair.public_key().as_ref().try_into().ok()?);
        let signing_key = any_eddsa_type(&PrivatePkcs8KeyDer::from(bytes)).ok()?;
        Some(Self { public_key, signing_key, pair: Arc::new(pair) })
    }

    /// As TLS presents it: the raw public key in the place of a certificate.
    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        let key = CertificateDer::from(spki::to_tls(&self.public_key));
        Arc::new(CertifiedKey::new(vec![key], Arc::clone(&self.signing_key)))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Identity({})", self.public_key)
    }
}

fn generate_pkcs8() -> Result<Vec<u8>, IdentityError> {
    Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map(|document| document.as_ref().to_vec())
        .map_err(|_| IdentityError::NoRandomness)
}

/// Makes the file. Finding one that somebody else made meanwhile is as good.
fn create(path: &Path) -> Result<(), IdentityError> {
    let bytes = generate_pkcs8()?;
    write_new(path, &bytes).map_err(|source| IdentityError::File { path: path.to_path_buf(), source })
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    // A temporary file of this crate has mode 0600 from its creation on.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => fs_err::File::open(folder)?.sync_all(),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_start_finds_the_key_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/identity.key");
        let first = Identity::load_or_create(&path).unwrap();
        let second = Identity::load_or_create(&path).unwrap();
        assert_eq!(first.public_key(), second.public_key());
        let mode = fs_err::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(fs_err::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        Identity::load_or_create(&path).unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let error = Identity::load_or_create(&path).unwrap_err();
        assert!(matches!(error, IdentityError::Exposed { mode: 0o640, .. }), "{error}");
        assert!(error.hints()[0].contains("chmod 600"));
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        fs_err::write(&path, b"not a key").unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert!(matches!(Identity::load_or_create(&path), Err(IdentityError::NoKey { .. })));
        assert_eq!(fs_err::read(&path).unwrap(), b"not a key");
    }
}
