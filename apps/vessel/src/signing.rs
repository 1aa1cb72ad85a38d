//! Who signs what is published: key files, or a process of its own that alone can read the key.
//!
//! A [`Signer`] puts the signatures of the keys at hand on an envelope, of those keys that the newest list of keys lets sign.
//! What is signed and when is the publisher's business. Whoever has only this service has no key where a signer process is used:
//! see [`process`].

pub(crate) mod process;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use repository::signed::{Envelope, PublicKey, SignedKind};
use wire::{Identity, IdentityError};

use process::ProcessError;

/// Key files beside each other: one for each rotation that is not yet long over.
const KEY_FILES_MAX: usize = 64;

/// Where the key of a Vessel is that is told nothing else, below its data folder.
const DEFAULT_KEY_FILE: &str = "signing/publish.key";

/// How long a pointer is worth something, where nothing else is said: long enough for a Vessel that stands still over the
/// holidays, and short enough that nobody can be kept on an old version for a month.
const EXPIRY_DAYS: u32 = 14;

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Where the keys are, and how long what they sign is worth something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// Where the keys are.
    pub keys: KeyPlace,
    /// For how long a pointer is worth something.
    pub expiry_days: u32,
}

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// In the data folder; made at the first start.
    DataFolder,
    /// In this file, and in those beside it that are called like it and a number.
    File(PathBuf),
    /// With the process that listens on this socket.
    Socket(PathBuf),
}

impl Default for Signing {
    fn default() -> Self {
        Self { keys: KeyPlace::DataFolder, expiry_days: EXPIRY_DAYS }
    }
}

impl Signing {
    /// Seconds for which a pointer is worth something.
    pub(crate) fn expiry_seconds(&self) -> i64 {
        i64::from(self.expiry_days.max(1)).saturating_mul(DAY_SECONDS)
    }

    /// Seconds after which it is signed anew: a fourteenth of that, a day by default.
    pub(crate) fn renewal_seconds(&self) -> i64 {
        self.expiry_seconds() / i64::from(EXPIRY_DAYS)
    }

    /// The key file of a data folder.
    pub(crate) fn key_file(&self, data: &Path) -> Option<PathBuf> {
        match &self.keys {
            KeyPlace::DataFolder => Some(data.join(DEFAULT_KEY_FILE)),
            KeyPlace::File(path) => Some(path.clone()),
            KeyPlace::Socket(_) => None,
        }
    }
}

/// Why something is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A key file.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The signer process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The folder of the key files.
    #[error("cannot look for keys in {path:?}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The keys at hand may not sign.
    #[error(
        "cannot sign {what}: the keys at hand ({}) are not among those that the list of keys lets sign ({})",
        listed(at_hand),
        listed(allowed)
    )]
    NoKey {
        /// "a pointer" …
        what: &'static str,
        /// Keys at hand.
        at_hand: Vec<PublicKey>,
        /// Keys that may.
        allowed: Vec<PublicKey>,
    },
}

fn listed(keys: &[PublicKey]) -> String {
    if keys.is_empty() {
        return "none".to_owned();
    }
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Fault for SigningError {
    fn kind(&self) -> Kind {
        match self {
            SigningError::Identity(error) => error.kind(),
            SigningError::Process(error) => error.kind(),
            SigningError::Folder { .. } => Kind::Unavailable,
            SigningError::NoKey { .. } => Kind::Denied,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            SigningError::Identity(error) => error.hints(),
            SigningError::Process(error) => error.hints(),
            SigningError::Folder { .. } => vec!["check that it exists and may be read".into()],
            SigningError::NoKey { .. } => vec![
                "if the keys of this Vessel are elsewhere, name its settings with --config FILE".into(),
                "restore the key from its backup; `vessel key show` lists the keys that may sign".into(),
            ],
        }
    }
}

/// Puts signatures on envelopes.
#[derive(Debug)]
pub(crate) enum Signer {
    /// With keys of our own.
    Keys(Vec<Identity>),
    /// By asking a process.
    Process(PathBuf),
}

impl Signer {
    /// The keys of a data folder. `make` makes one where there is none, for a repository that has no list of keys yet.
    pub(crate) fn open(signing: &Signing, data: &Path, make: bool) -> Result<Self, SigningError> {
        match (signing.key_file(data), &signing.keys) {
            (None, KeyPlace::Socket(path)) => Ok(Self::Process(path.clone())),
            (file, _) => {
                let file = file.unwrap_or_else(|| data.join(DEFAULT_KEY_FILE));
                if make {
                    Identity::load_or_create(&file)?;
                }
                let keys =
                    key_files(&file)?.iter().map(|path| Identity::load(path)).collect::<Result<_, _>>();
                Ok(Self::Keys(keys?))
            }
        }
    }

    /// The keys at hand.
    pub(crate) fn keys(&self) -> Result<Vec<PublicKey>, SigningError> {
        match self {
            Self::Keys(keys) => Ok(keys.iter().map(public_key).collect()),
            Self::Process(path) => Ok(process::keys(path)?),
        }
    }

    /// What is signed by every key at hand that is among the `allowed`, as a file.
    pub(crate) fn sign(
        &self,
        kind: SignedKind,
        payload: Vec<u8>,
        allowed: &[PublicKey],
    ) -> Result<Vec<u8>, SigningError> {
        let mut envelope = Envelope::new(kind, payload);
        match self {
            Self::Keys(keys) => {
                for key in keys.iter().filter(|key| allowed.contains(&public_key(key))) {
                    sign_with(&mut envelope, key);
                }
            }
            Self::Process(path) => {
                let signed = process::sign(path, &envelope, kind)?;
                for (key, signature) in signed.signatures().filter(|(key, _)| allowed.contains(key)) {
                    envelope.add_signature(&key, signature.to_vec());
                }
            }
        }
        match envelope.signers().next().is_some() {
            true => Ok(envelope.to_json()),
            false => Err(SigningError::NoKey {
                what: kind.what(),
                at_hand: self.keys()?,
                allowed: allowed.to_vec(),
            }),
        }
    }
}

/// Puts the signature of one key on an envelope.
pub(crate) fn sign_with(envelope: &mut Envelope, key: &Identity) {
    let signature = key.sign(&envelope.message());
    envelope.add_signature(&public_key(key), signature);
}

/// A key as signed files name it.
pub(crate) fn public_key(identity: &Identity) -> PublicKey {
    PublicKey::from_bytes(*identity.public_key().as_bytes())
}

/// A key file and those that rotations have put beside it: `publish.key`, `publish.key.2` …
pub(crate) fn key_files(file: &Path) -> Result<Vec<PathBuf>, SigningError> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = |source| SigningError::Folder { path: folder.to_path_buf(), source };
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let is_one =
            entry.file_name().to_str().and_then(|found| found.strip_prefix(name)).is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix('.').is_some_and(|number| number.parse::<u64>().is_ok())
            });
        if is_one && files.len() < KEY_FILES_MAX {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Where the next rotation puts its key.
pub(crate) fn next_key_file(file: &Path, version: u64) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{version}"));
    PathBuf::from(name)
}

/// Makes the folder of a key file so that nobody else looks into it.
pub(crate) fn private_folder_of(file: &Path) -> Result<(), SigningError> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists())
    else {
        return Ok(());
    };
    let failed = |source| SigningError::Folder { path: folder.to_path_buf(), source };
    fs_err::create_dir_all(folder).map_err(failed)?;
    fs_err::set_permissions(folder, PermissionsExt::from_mode(0o700)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sign_where_the_list_lets_them() {
        let folder = tempfile::tempdir().unwrap();
        let signing = Signing::default();
        assert!(Signer::open(&signing, folder.path(), false).unwrap().keys().unwrap().is_empty());
        let signer = Signer::open(&signing, folder.path(), true).unwrap();
        let [key] = signer.keys().unwrap()[..] else { panic!("one key") };
        let second = folder.path().join("signing/publish.key.2");
        let other = public_key(&Identity::load_or_create(&second).unwrap());
        let signer = Signer::open(&signing, folder.path(), false).unwrap();
        assert_eq!(signer.keys().unwrap(), [key, other]);

        let sign = |allowed: &[PublicKey]| signer.sign(SignedKind::List, b"{}".to_vec(), allowed);
        let bytes = sign(&[other]).unwrap();
        let envelope = Envelope::read(&bytes, SignedKind::List).unwrap();
        assert_eq!(envelope.signed_by(&[key, other], &seal::verify).unwrap(), [other]);
        let error = sign(&[PublicKey::from_bytes([9; 32])]).unwrap_err();
        assert!(matches!(error, SigningError::NoKey { .. }), "{error}");
    }

    #[test]
    fn a_key_that_others_may_read_signs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let signing = Signing::default();
        Signer::open(&signing, folder.path(), true).unwrap();
        let file = signing.key_file(folder.path()).unwrap();
        fs_err::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let error = Signer::open(&signing, folder.path(), true).unwrap_err();
        assert!(error.to_string().contains("others may read it"), "{error}");
    }

    #[test]
    fn only_files_of_rotations_are_keys() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.key", "a.key.2", "a.key.10", "a.key.old", "a.key2", "b.key"] {
            fs_err::write(folder.path().join(name), "").unwrap();
        }
        let files = key_files(&folder.path().join("a.key")).unwrap();
        let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.key", "a.key.10", "a.key.2"]);
    }
}
