//! SHA-256: the name that an artefact has from the announcement on.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use fault::{Fault, Kind};
use sha2::Digest;

/// Bytes hashed at a time.
const BLOCK_SIZE_BYTES: usize = 128 << 10;

/// A SHA-256. As text 64 lower-case hexadecimal digits and nothing else, which makes the text a safe file name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {text:?} as a SHA-256: it is not 64 lower-case hexadecimal digits")]
pub struct Sha256Error {
    /// The text, shortened.
    pub text: String,
}

impl Fault for Sha256Error {
    fn kind(&self) -> Kind {
        Kind::Input
    }
}

impl Sha256 {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest of the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut file = fs_err::File::open(path)?;
        let mut hasher = sha2::Sha256::new();
        let mut block = vec![0; BLOCK_SIZE_BYTES];
        loop {
            let count = file.read(&mut block)?;
            if count == 0 {
                return Ok(Self(hasher.finalize().into()));
            }
            hasher.update(&block[..count]);
        }
    }
}

impl Sha256 {
    /// Its 32 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

/// Makes a digest of bytes that come one block after the other.
#[derive(Debug, Default)]
pub(crate) struct Hasher(sha2::Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

impl FromStr for Sha256 {
    type Err = Sha256Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || Sha256Error { text: text.chars().take(80).collect() };
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return Err(error());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| match digit {
                b'0'..=b'9' => Ok(digit - b'0'),
                b'a'..=b'f' => Ok(digit - b'a' + 10),
                _ => Err(error()),
            };
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Thousands are written for each history, so not byte by byte.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        let mut text = [0; 64];
        for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 0xf)];
        }
        formatter.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256::of(b"abc").to_string(), text);
        assert_eq!(text.parse(), Ok(Sha256::of(b"abc")));
    }

    #[test]
    fn paths_and_other_text_are_refused() {
        let good = Sha256::of(b"abc").to_string();
        let table = [
            String::new(),
            "../../../etc/passwd".into(),
            good.to_uppercase(),
            good[..63].into(),
            format!("{good}0"),
            format!("/{}", &good[1..]),
            format!("é{}", &good[2..]),
            format!("{}\0", &good[1..]),
        ];
        for text in table {
            assert!(text.parse::<Sha256>().is_err(), "{text:?}");
        }
    }
}
