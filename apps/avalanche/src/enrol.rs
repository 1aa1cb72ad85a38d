//! Makes this machine a builder: presents the one-time token of an operator to Summit, with the key of the agent.
//!
//! What the builder becomes stands with the token at Summit; nothing of it is said here. The token is sent only to a server
//! with the key that was given, so nobody in between can use it first.

use std::io::Read;
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use wire::summit::EnrolRequest;
use wire::summit::summit_client::SummitClient;
use wire::{Identity, PublicKey, WireError};

/// Largest file that may hold a token, and nothing else.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

/// Why this machine is no builder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    /// The file with the token cannot be read.
    #[error("cannot read token file {path}", path = path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Summit cannot be reached.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Summit says no.
    #[error("cannot become a builder: Summit refuses: {message}")]
    Refused {
        /// What it says.
        message: String,
    },
}

impl Fault for EnrolError {
    fn kind(&self) -> Kind {
        match self {
            EnrolError::Token { .. } => Kind::Input,
            EnrolError::Wire(error) => error.kind(),
            EnrolError::Refused { .. } => Kind::Denied,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            EnrolError::Token { .. } | EnrolError::Refused { .. } => {
                vec!["an operator makes a token with `moraine builder enrol NAME`; it is good once".into()]
            }
            EnrolError::Wire(error) => error.hints(),
        }
    }
}

/// Presents the token in `token_file`; returns what the operator calls this builder.
///
/// # Errors
/// When the token cannot be read, Summit cannot be reached, or refuses.
pub(crate) async fn enrol(
    address: &str,
    key: PublicKey,
    token_file: &Path,
    identity: &Identity,
) -> Result<String, EnrolError> {
    let failed = |source| EnrolError::Token { path: token_file.to_path_buf(), source };
    let mut token = String::new();
    let file = fs_err::File::open(token_file).map_err(failed)?;
    file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut token).map_err(failed)?;
    let channel = wire::connect(address, key, identity).await?;
    let request = EnrolRequest { token: token.trim().to_owned() };
    match SummitClient::new(channel).enrol(request).await {
        Ok(reply) => Ok(reply.into_inner().name),
        Err(status) => Err(EnrolError::Refused { message: status.message().to_owned() }),
    }
}
