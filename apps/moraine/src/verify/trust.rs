//! Opens what is signed with the keys of a channel.
//!
//! What was signed by a key that its owner revoked afterwards is worth nothing to clients. It is no fault of the tree, whose files
//! never change; so such files are compared as all others, and told.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use repository::signed::{Envelope, EnvelopeError, KeyState, SignedKind, TrustedKeys};

use super::error::VerifyError;

/// The keys that count, and which files were signed by others that counted once.
#[derive(Debug, Default)]
pub(super) struct Trust {
    trusted: Option<TrustedKeys>,
    revoked: Mutex<BTreeSet<String>>,
}

impl Trust {
    /// Those of a channel; none where it is not signed.
    pub(super) fn new(trusted: Option<TrustedKeys>) -> Self {
        Self { trusted, revoked: Mutex::default() }
    }

    /// The payload of an envelope, which must be written exactly as it would be anew: else a byte of it could be changed.
    pub(super) fn open(&self, file: &str, bytes: &[u8], kind: SignedKind) -> Result<Vec<u8>, VerifyError> {
        let envelope = |source| VerifyError::Envelope { file: file.to_owned(), source };
        let read = Envelope::read(bytes, kind).map_err(envelope)?;
        if read.to_json() != bytes {
            return Err(VerifyError::Rewritten { file: file.to_owned() });
        }
        let Some(trusted) = &self.trusted else { return Ok(read.unchecked_payload().to_vec()) };
        match trusted.open(&read, &seal::verify) {
            Ok(payload) => Ok(payload.to_vec()),
            Err(error @ EnvelopeError::NotTrusted { .. }) => {
                let keys = trusted.list().keys.iter().filter(|listed| listed.state == KeyState::Revoked);
                if read.signed_by(keys.map(|listed| &listed.key), &seal::verify).is_err() {
                    return Err(envelope(error));
                }
                self.revoked.lock().unwrap_or_else(PoisonError::into_inner).insert(file.to_owned());
                Ok(read.unchecked_payload().to_vec())
            }
            Err(error) => Err(envelope(error)),
        }
    }

    /// How many files are signed by keys that were revoked, and one of them.
    pub(super) fn revoked(&self) -> (usize, Option<String>) {
        let revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        (revoked.len(), revoked.first().cloned())
    }
}
