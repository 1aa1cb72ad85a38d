//! Signed files: what makes a published tree trustworthy wherever its bytes come from.
//!
//! ```text
//! CHANNEL/keys/N.json               who may sign, version N; written once, signed by the keys of version N - 1 and its own
//! CHANNEL/keys.json                 the newest of them
//! CHANNEL/stream/NAME.json          where a stream points now; small, expires, its version only rises
//! CHANNEL/tag/NAME.json             the same for a tag
//! CHANNEL/history/ID/statement.json what a history is: every file of it with size and digest
//! ```
//!
//! A client pins keys. From them it walks the lists of keys to the newest ([`TrustedKeys`]), checks the pointer with it, the
//! statement by the digest in the pointer, indexes by the digests in the statement, and packages by the digests in the index.
//!
//! Each file is an [`Envelope`]: the bytes that are signed and the signatures beside them, so that nothing depends on how JSON
//! is written. No cryptography is done here: whoever checks brings a function that checks one signature.

mod digest;
mod envelope;
mod keys;
mod pointer;
mod statement;

pub use digest::{Digest, DigestError, FileFacts};
pub use envelope::{ENVELOPE_BYTES_MAX, Envelope, EnvelopeError, SignedKind, Verify};
pub use key::{PublicKey, PublicKeyError};
pub use keys::{KeyChange, KeyList, KeyState, KeysError, LISTS_MAX, ListedKey, Role, TrustedKeys};
pub use pointer::{POINTER_BYTES_MAX, Pointer, PointerError};
pub use statement::{
    ArchitectureFiles, DeltaFacts, HistoryStatement, STATEMENT_BYTES_MAX, StatementError, delta_bases,
};
