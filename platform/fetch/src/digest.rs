//! SHA-256 digests.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use fault::{Fault, Kind};
use fs_err as fs;
use sha2::{Digest as _, Sha256};

/// Bytes of a SHA-256 digest, FIPS 180-4.
const SIZE_BYTES: usize = 32;
/// Bytes of a file read at a time; large enough that system calls cost nothing beside hashing.
const CHUNK_BYTES: usize = 64 * 1024;

/// A SHA-256 digest; shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; SIZE_BYTES]);

/// A text is not a SHA-256 digest.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {text:?} as a SHA-256 digest: it must be 64 hexadecimal digits")]
pub struct DigestError {
    text: String,
}

impl Fault for DigestError {
    fn kind(&self) -> Kind {
        Kind::Input
    }
}

impl Digest {
    /// Reads 64 hexadecimal digits of either case.
    ///
    /// # Errors
    /// For anything else.
    pub fn parse(text: &str) -> Result<Digest, DigestError> {
        let refused = || DigestError { text: text.chars().take(80).collect() };
        let digits = text.as_bytes();
        if digits.len() != SIZE_BYTES * 2 {
            return Err(refused());
        }
        let mut bytes = [0; SIZE_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return Err(refused()) };
            let (Some(high), Some(low)) = (nibble(*high), nibble(*low)) else { return Err(refused()) };
            *byte = high << 4 | low;
        }
        Ok(Digest(bytes))
    }

    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The digest and the size of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_file(path: &Path) -> io::Result<(Digest, u64)> {
        let mut file = fs::File::open(path)?;
        let mut hasher = Sha256::new();
        let mut size_bytes = 0_u64;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                return Ok((Digest::finish(hasher), size_bytes));
            }
            hasher.update(chunk.get(..count).unwrap_or_default());
            size_bytes = size_bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }

    /// The digest that `hasher` has come to.
    #[must_use]
    pub(crate) fn finish(hasher: Sha256) -> Digest {
        Digest(hasher.finalize().into())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; SIZE_BYTES] {
        &self.0
    }

    /// The place of a file of this digest below a folder of such files: `ab/cdef…`.
    #[must_use]
    pub fn relative_path(&self) -> String {
        let text = self.to_string();
        let (first, rest) = text.split_at(2);
        format!("{first}/{rest}")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_digits_are_a_digest() {
        fn check(text: &str, expect: bool) {
            assert_eq!(Digest::parse(text).is_ok(), expect, "{text}");
        }
        check(&"ab".repeat(32), true);
        check(&"AB".repeat(32), true);
        check(&"ab".repeat(31), false);
        check(&"ag".repeat(32), false);
        check(&"é".repeat(32), false);
        check("../../../../etc/passwd", false);
        check("", false);
    }

    #[test]
    fn the_empty_text_has_the_known_digest() {
        let empty = Digest::of(b"");
        assert_eq!(empty.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Digest::parse(&empty.to_string()).unwrap(), empty);
        assert!(empty.relative_path().starts_with("e3/b0c4"));
    }
}
