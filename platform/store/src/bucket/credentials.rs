//! The credentials for a bucket: a file that nobody else may read.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};

/// Bytes of a credentials file; a session token has some hundred to two thousand.
const FILE_SIZE_BYTES_MAX: u64 = 64 << 10;

/// Who asks, and the secret that proves it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Public.
    pub access_key_id: String,
    /// Secret.
    pub secret_access_key: String,
    /// Beside it, for credentials of limited life.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Why credentials cannot be used. What is in the file is never told.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("cannot read credentials {path:?}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("cannot use credentials {path:?}: others than its owner may read or write it", path = path.display())]
    Mode {
        /// The file.
        path: PathBuf,
    },
    /// It says something else.
    #[error("cannot use credentials {path:?}: line {line} is neither access_key_id, secret_access_key nor session_token = …", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// It does not say enough.
    #[error("cannot use credentials {path:?}: {key} is missing", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What is missing.
        key: &'static str,
    },
}

impl Fault for CredentialsError {
    fn kind(&self) -> Kind {
        match self {
            CredentialsError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            CredentialsError::Read { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Kind::Denied
            }
            CredentialsError::Read { .. } => Kind::Unavailable,
            CredentialsError::Mode { .. } => Kind::Denied,
            CredentialsError::Line { .. } | CredentialsError::Missing { .. } => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            CredentialsError::Read { path, .. } => {
                vec![format!("check that {} is there and may be read by Vessel", path.display())]
            }
            CredentialsError::Mode { path } => vec![format!("chmod 600 {}", path.display())],
            CredentialsError::Line { .. } | CredentialsError::Missing { .. } => {
                vec!["it has the lines `access_key_id = …` and `secret_access_key = …`, as the bucket's service gave them out".into()]
            }
        }
    }
}

impl Credentials {
    /// Reads a file with lines `access_key_id = …`, `secret_access_key = …` and, if there is one, `session_token = …`; quotes
    /// around the values, the `aws_` that others write before the names, sections in brackets and lines that begin with `#` are fine.
    ///
    /// # Errors
    /// When the file cannot be read, when others may read it, when it says something else.
    pub fn read(path: &Path) -> Result<Self, CredentialsError> {
        let failed = |source| CredentialsError::Read { path: path.to_path_buf(), source };
        let file = fs_err::File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(CredentialsError::Mode { path: path.to_path_buf() });
        }
        let mut text = String::new();
        file.take(FILE_SIZE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CredentialsError> {
        let (mut access_key_id, mut secret_access_key, mut session_token) = (None, None, None);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '[']) {
                continue;
            }
            let wrong = || CredentialsError::Line { path: path.to_path_buf(), line: number + 1 };
            let (key, value) = line.split_once('=').ok_or_else(wrong)?;
            let value = value.trim().trim_matches('"').to_owned();
            let place = match key.trim().trim_start_matches("aws_") {
                "access_key_id" => &mut access_key_id,
                "secret_access_key" => &mut secret_access_key,
                "session_token" => &mut session_token,
                _ => return Err(wrong()),
            };
            if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong());
            }
            *place = Some(value);
        }
        let missing = |key| CredentialsError::Missing { path: path.to_path_buf(), key };
        Ok(Self {
            access_key_id: access_key_id.ok_or_else(|| missing("access_key_id"))?,
            secret_access_key: secret_access_key.ok_or_else(|| missing("secret_access_key"))?,
            session_token,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, mode: u32) -> Result<Credentials, CredentialsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        fs_err::write(&path, text).unwrap();
        fs_err::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        Credentials::read(&path)
    }

    #[test]
    fn files_of_both_styles() {
        for text in [
            "access_key_id = \"id\"\nsecret_access_key = \"secret\"\n",
            "[default]\n# mine\naws_access_key_id=id\naws_secret_access_key=secret\n",
        ] {
            let credentials = read(text, 0o600).unwrap();
            assert_eq!((&*credentials.access_key_id, &*credentials.secret_access_key), ("id", "secret"));
            assert!(!format!("{credentials:?}").contains("secret"), "secrets are not shown");
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_the_secret() {
        fn check(text: &str, mode: u32, expect: &str) {
            let error = read(text, mode).unwrap_err();
            let message = fault::chain(&error).join(": ") + &error.hints().join(" ");
            assert!(message.contains(expect) && !message.contains("hush"), "{message}");
        }
        check("access_key_id = a\nsecret_access_key = hush\n", 0o640, "chmod 600");
        check("access_key_id = a\nsecret_acces_key = hush\n", 0o600, "line 2");
        check("access_key_id = a\nsecret_access_key = hush hush\n", 0o600, "line 2");
        check("hush\n", 0o600, "line 1");
        check("access_key_id = a\n", 0o600, "secret_access_key is missing");
    }
}
