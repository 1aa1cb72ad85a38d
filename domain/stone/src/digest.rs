//! The name of a file's bytes: XXH3-128.
//!
//! Fast and good at noticing accidents, and no defence against an attacker: two files with the same digest can be made
//! on purpose. Whatever must be trusted is named by SHA-256 elsewhere.

use std::fmt;
use std::str::FromStr;

/// XXH3-128 with seed 0 of a file's content. Printed as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(u128);

impl Digest {
    /// The digest of no bytes at all.
    pub const EMPTY: Digest = Digest(0x99aa_06d3_0147_98d8_6001_c324_468d_497f);

    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(bytes))
    }

    /// The digest as the format stores it.
    #[must_use]
    pub fn from_be_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The digest as the format stores it.
    #[must_use]
    pub fn to_be_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {text:?} as a file digest: it is not 32 lower-case hexadecimal digits")]
pub struct DigestError {
    /// The text.
    pub text: String,
}

impl fault::Fault for DigestError {
    fn kind(&self) -> fault::Kind {
        fault::Kind::Input
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed =
            text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(text, 16) {
            Ok(number) if well_formed => Ok(Self(number)),
            _ => Err(DigestError { text: text.to_owned() }),
        }
    }
}

/// Computes a [`Digest`] of bytes that come in pieces.
#[derive(Clone, Default)]
pub struct Hasher(xxhash_rust::xxh3::Xxh3);

impl Hasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything seen.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.0.digest128())
    }

    /// XXH3-64 of everything seen: the checksum of a payload.
    pub(crate) fn checksum(&self) -> u64 {
        self.0.digest()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Hasher").field(&self.digest()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_file() {
        assert_eq!(Digest::of(b""), Digest::EMPTY);
        assert_eq!(Digest::EMPTY.to_string(), "99aa06d3014798d86001c324468d497f");
        assert_eq!(Hasher::new().digest(), Digest::EMPTY);
    }

    #[test]
    fn text_and_bytes_and_back() {
        let digest = Digest::of(b"moraine");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(Digest::from_be_bytes(digest.to_be_bytes()), digest);
        let mut hasher = Hasher::new();
        hasher.update(b"mor");
        hasher.update(b"aine");
        assert_eq!(hasher.digest(), digest);
    }

    #[test]
    fn text_that_is_no_digest() {
        for text in [
            "",
            "99aa",
            "99AA06D3014798D86001C324468D497F",
            "+9aa06d3014798d86001c324468d497f",
            "99aa06d3014798d86001c324468d497f0",
            "zzaa06d3014798d86001c324468d497f",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
    }
}
