//! Public keys: 32 bytes that say who somebody is, a service or a machine, or who signed what is published.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fault::{Fault, Kind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Length of an ed25519 public key (RFC 8032, section 5.1.5).
pub const PUBLIC_KEY_SIZE_BYTES: usize = 32;

/// An ed25519 public key. As text: URL-safe base64 without padding, 43 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; PUBLIC_KEY_SIZE_BYTES]);

/// Why a text is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read public key {text:?}: it is not 43 characters of URL-safe base64")]
pub struct PublicKeyError {
    /// The text, shortened.
    pub text: String,
}

impl Fault for PublicKeyError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        vec!["`key` of a service prints its own, `vessel key show` those that sign a repository; copy such a line".into()]
    }
}

impl PublicKey {
    /// The key that these bytes are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; PUBLIC_KEY_SIZE_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_SIZE_BYTES] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || PublicKeyError { text: text.chars().take(80).collect() };
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| error())?;
        bytes.try_into().map(Self).map_err(|_| error())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let key = PublicKey::from_bytes([0xfb; 32]);
        let text = key.to_string();
        assert_eq!(text.len(), 43);
        assert_eq!(text.parse::<PublicKey>(), Ok(key));
        assert_eq!(format!(" {text}\n").parse::<PublicKey>(), Ok(key), "a pasted line has blanks around it");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "abc", "ä", &"A".repeat(42), &"A".repeat(44), &"+".repeat(43)] {
            assert!(text.parse::<PublicKey>().is_err(), "{text:?}");
        }
    }
}
