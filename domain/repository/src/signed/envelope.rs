//! The envelope around everything that is signed: a DSSE envelope (<https://github.com/secure-systems-lab/dsse>).
//!
//! What is signed is not the JSON but `DSSEv1 LENGTH TYPE LENGTH PAYLOAD`: the type is part of it, so that a signature of one
//! kind of file is none of another kind, and tools that know the format can check ours.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use fault::{Fault, Kind};
use key::PublicKey;
use serde::{Deserialize, Serialize};

/// The largest envelope that is read, in bytes: a statement of a history of many architectures has some ten kilobytes, and
/// provenance lists a few thousand packages of a build root at 200 bytes each.
pub const ENVELOPE_BYTES_MAX: usize = 4 << 20;

/// Signatures on one file: keys of a list and of the list before, and room.
const SIGNATURES_MAX: usize = 32;

/// Bytes of an ed25519 signature (RFC 8032).
const SIGNATURE_BYTES: usize = 64;

/// Checks one ed25519 signature: key, message, signature.
pub type Verify<'a> = &'a dyn Fn(&PublicKey, &[u8], &[u8]) -> bool;

/// The kinds of signed files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignedKind {
    /// Who may sign.
    Keys,
    /// Where a stream or a tag points.
    Pointer,
    /// What a history is.
    History,
    /// How a build came about: an in-toto statement.
    Provenance,
    /// Files that belong together, such as those of a release.
    List,
}

/// Why an envelope cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// More than any real one has.
    #[error("cannot read {what}: it has {size_bytes} bytes, and at most {limit_bytes} are read")]
    TooLong {
        /// "a list of keys" …
        what: &'static str,
        /// Its length.
        size_bytes: usize,
        /// The most.
        limit_bytes: usize,
    },
    /// It is not written as envelopes are.
    #[error("cannot read {what}")]
    Json {
        /// What was expected.
        what: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// It holds something else.
    #[error("cannot use {found:?} as {what}")]
    OtherKind {
        /// What was expected.
        what: &'static str,
        /// What it says that it is.
        found: String,
    },
    /// Nobody who may has signed it.
    #[error("cannot trust {what}: it is signed by {}, and none of these keys may sign it", listed(signers))]
    NotTrusted {
        /// What it is.
        what: &'static str,
        /// Who says to have signed it.
        signers: Vec<String>,
    },
    /// A key that may sign is named, and its signature is not one of these bytes.
    #[error("cannot trust {what}: the signature of key {key} does not fit its bytes")]
    BadSignature {
        /// What it is.
        what: &'static str,
        /// Whose signature it should be.
        key: PublicKey,
    },
}

fn listed(signers: &[String]) -> String {
    if signers.is_empty() { "nobody".to_owned() } else { signers.join(", ") }
}

impl Fault for EnvelopeError {
    fn kind(&self) -> Kind {
        match self {
            EnvelopeError::NotTrusted { .. } => Kind::Denied,
            _ => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            EnvelopeError::NotTrusted { .. } => {
                "compare the pinned key with what the owner of the repository publishes; do not pin another one unless he says so"
            }
            EnvelopeError::OtherKind { .. } => "it may come from a newer Vessel: update Moraine",
            _ => {
                "fetch it again, from another mirror if there is one; if that does not help, tell the owner of the repository"
            }
        };
        vec![hint.to_owned()]
    }
}

/// Signed bytes and their signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    kind: SignedKind,
    payload: Vec<u8>,
    signatures: Vec<(String, Vec<u8>)>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WrittenSignature>,
}

#[derive(Serialize, Deserialize)]
struct WrittenSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

impl SignedKind {
    /// Every kind.
    pub const ALL: [SignedKind; 5] = [
        SignedKind::Keys,
        SignedKind::Pointer,
        SignedKind::History,
        SignedKind::Provenance,
        SignedKind::List,
    ];

    /// The type that is signed with the payload.
    #[must_use]
    pub fn payload_type(self) -> &'static str {
        match self {
            SignedKind::Keys => "application/vnd.moraine.keys.v1+json",
            SignedKind::Pointer => "application/vnd.moraine.pointer.v1+json",
            SignedKind::History => "application/vnd.moraine.history.v1+json",
            SignedKind::Provenance => "application/vnd.in-toto+json",
            SignedKind::List => "application/vnd.moraine.list.v1+json",
        }
    }

    /// Its name in messages.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            SignedKind::Keys => "a list of keys",
            SignedKind::Pointer => "a pointer",
            SignedKind::History => "the statement of a history",
            SignedKind::Provenance => "the provenance of a build",
            SignedKind::List => "a list of files",
        }
    }
}

impl Envelope {
    /// An envelope that nobody has signed yet.
    #[must_use]
    pub fn new(kind: SignedKind, payload: Vec<u8>) -> Self {
        Self { kind, payload, signatures: Vec::new() }
    }

    /// Reads an envelope of this kind. Nothing is trusted yet.
    ///
    /// # Errors
    /// For anything that is too long, is no envelope, or holds another kind.
    pub fn read(bytes: &[u8], kind: SignedKind) -> Result<Self, EnvelopeError> {
        let what = kind.what();
        if bytes.len() > ENVELOPE_BYTES_MAX {
            let (size_bytes, limit_bytes) = (bytes.len(), ENVELOPE_BYTES_MAX);
            return Err(EnvelopeError::TooLong { what, size_bytes, limit_bytes });
        }
        let json = |source| EnvelopeError::Json { what, source };
        let written: Written = serde_json::from_slice(bytes).map_err(json)?;
        if written.payload_type != kind.payload_type() {
            let found = written.payload_type.chars().take(100).collect();
            return Err(EnvelopeError::OtherKind { what, found });
        }
        let base64 = |text: &str, field: &str| {
            STANDARD
                .decode(text)
                .or_else(|_| URL_SAFE.decode(text))
                .map_err(|_| json(serde::de::Error::custom(format_args!("its {field} is no base64"))))
        };
        let payload = base64(&written.payload, "payload")?;
        if written.signatures.len() > SIGNATURES_MAX {
            return Err(json(serde::de::Error::custom("it has too many signatures")));
        }
        let mut signatures = Vec::new();
        for signature in &written.signatures {
            let keyid = signature.keyid.chars().take(100).collect();
            signatures.push((keyid, base64(&signature.sig, "signature")?));
        }
        Ok(Self { kind, payload, signatures })
    }

    /// The file.
    #[must_use]
    #[expect(clippy::expect_used, reason = "texts in a structure, written to memory, have no way to fail")]
    pub fn to_json(&self) -> Vec<u8> {
        let written = Written {
            payload: STANDARD.encode(&self.payload),
            payload_type: self.kind.payload_type().to_owned(),
            signatures: self
                .signatures
                .iter()
                .map(|(keyid, sig)| WrittenSignature { keyid: keyid.clone(), sig: STANDARD.encode(sig) })
                .collect(),
        };
        let mut bytes = serde_json::to_vec(&written).expect("an envelope turns into JSON");
        bytes.push(b'\n');
        bytes
    }

    /// The bytes that a key signs.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let kind = self.kind.payload_type();
        let head = format!("DSSEv1 {} {kind} {} ", kind.len(), self.payload.len());
        [head.as_bytes(), &self.payload].concat()
    }

    /// Adds a signature of [`Envelope::message`].
    pub fn add_signature(&mut self, key: &PublicKey, signature: Vec<u8>) {
        self.signatures.push((key.to_string(), signature));
    }

    /// The payload, whoever signed it.
    #[must_use]
    pub fn unchecked_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Who says to have signed it.
    pub fn signers(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|(key, _)| key.as_str())
    }

    /// The signatures of keys that can be read, whether they fit or not.
    pub fn signatures(&self) -> impl Iterator<Item = (PublicKey, &[u8])> {
        self.signatures.iter().filter_map(|(key, signature)| Some((key.parse().ok()?, signature.as_slice())))
    }

    /// Which of these keys have signed it. None of them: an error that says why.
    ///
    /// # Errors
    /// When none of the keys is named, and when one that is named did not sign these bytes.
    pub fn signed_by<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k PublicKey>,
        verify: Verify<'_>,
    ) -> Result<Vec<PublicKey>, EnvelopeError> {
        let what = self.kind.what();
        let message = self.message();
        let mut signed = Vec::new();
        for key in keys {
            let text = key.to_string();
            // Once for each key: the same signature twice is no second opinion.
            let Some((_, signature)) = self.signatures.iter().find(|(keyid, _)| *keyid == text) else {
                continue;
            };
            if signature.len() != SIGNATURE_BYTES || !verify(key, &message, signature) {
                return Err(EnvelopeError::BadSignature { what, key: *key });
            }
            if !signed.contains(key) {
                signed.push(*key);
            }
        }
        if signed.is_empty() {
            let signers = self.signers().map(str::to_owned).collect();
            return Err(EnvelopeError::NotTrusted { what, signers });
        }
        Ok(signed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sha2::Digest as _;

    use super::*;

    pub(crate) fn key(number: u8) -> PublicKey {
        PublicKey::from_bytes([number; 32])
    }

    /// Stands in for a signature: nobody needs a secret for it, and it fits only this key and message.
    fn seal(key: &PublicKey, message: &[u8]) -> Vec<u8> {
        let half = sha2::Sha256::digest([key.as_bytes().as_slice(), message].concat());
        [half.as_slice(), half.as_slice()].concat()
    }

    pub(crate) fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        seal(key, message) == signature
    }

    pub(crate) fn sign(envelope: &mut Envelope, key: &PublicKey) {
        let signature = seal(key, &envelope.message());
        envelope.add_signature(key, signature);
    }

    #[test]
    fn what_is_signed_is_what_the_standard_says() {
        let envelope = Envelope::new(SignedKind::Provenance, b"hello world".to_vec());
        assert_eq!(envelope.message(), b"DSSEv1 28 application/vnd.in-toto+json 11 hello world");
    }

    #[test]
    fn written_and_read() {
        for kind in SignedKind::ALL {
            let mut envelope = Envelope::new(kind, b"{\"a\": 1}".to_vec());
            sign(&mut envelope, &key(1));
            let read = Envelope::read(&envelope.to_json(), kind).unwrap();
            assert_eq!(read, envelope);
            assert_eq!(read.signed_by(&[key(2), key(1)], &verify).unwrap(), [key(1)]);
            let others = SignedKind::ALL.into_iter().filter(|other| *other != kind);
            for other in others {
                let error = Envelope::read(&envelope.to_json(), other).unwrap_err();
                assert!(matches!(error, EnvelopeError::OtherKind { .. }), "{error}");
            }
        }
    }

    #[test]
    fn a_signature_counts_once_and_for_its_bytes_only() {
        let mut envelope = Envelope::new(SignedKind::Pointer, b"one".to_vec());
        let error = envelope.signed_by(&[key(1)], &verify).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot trust a pointer: it is signed by nobody, and none of these keys may sign it"
        );
        sign(&mut envelope, &key(1));
        sign(&mut envelope, &key(1));
        assert_eq!(envelope.signed_by(&[key(1), key(1)], &verify).unwrap(), [key(1)]);
        let error = envelope.signed_by(&[key(2)], &verify).unwrap_err();
        assert_eq!((error.kind(), matches!(error, EnvelopeError::NotTrusted { .. })), (Kind::Denied, true));
        envelope.payload = b"two".to_vec();
        let error = envelope.signed_by(&[key(1)], &verify).unwrap_err();
        assert!(matches!(error, EnvelopeError::BadSignature { .. }), "{error}");
    }

    #[test]
    fn the_kind_is_part_of_what_is_signed() {
        let mut pointer = Envelope::new(SignedKind::Pointer, b"{}".to_vec());
        sign(&mut pointer, &key(1));
        let disguised = Envelope { kind: SignedKind::Keys, ..pointer };
        assert!(disguised.signed_by(&[key(1)], &verify).is_err());
    }

    #[test]
    fn anything_else_is_refused() {
        let many = format!(
            "{{\"payload\":\"\",\"payloadType\":\"{}\",\"signatures\":[{}]}}",
            SignedKind::Pointer.payload_type(),
            vec!["{\"sig\":\"\"}"; SIGNATURES_MAX + 1].join(",")
        );
        for bytes in [b"".as_slice(), b"{}", b"[]", b"\xff", many.as_bytes()] {
            let error = Envelope::read(bytes, SignedKind::Pointer).unwrap_err();
            assert!(matches!(error, EnvelopeError::Json { .. }), "{error}");
        }
        let long = vec![b' '; ENVELOPE_BYTES_MAX + 1];
        assert!(matches!(Envelope::read(&long, SignedKind::Pointer), Err(EnvelopeError::TooLong { .. })));
    }
}
