//! The text of a token, and how it is shown in a request.
//!
//! `moraine_<id>_<secret>`, all lower-case hexadecimal digits: 6 bytes that name it, and 32 random bytes that only its
//! holder knows. Summit keeps the SHA-256 of the secret alone; with 256 random bits nothing slower is needed. Whatever
//! else a request carries is refused by name, and costs no more than its length.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every token begins with, so that a leaked one is found by whoever scans for secrets.
const PREFIX: &str = "moraine_";

/// Bytes of an id: tokens are few, and an id that is taken is drawn again.
pub const ID_SIZE_BYTES: usize = 6;

/// Bytes of a secret.
pub const SECRET_SIZE_BYTES: usize = 32;

/// Length of the text: prefix, id, underscore, secret.
const TEXT_SIZE_BYTES: usize = PREFIX.len() + 2 * ID_SIZE_BYTES + 1 + 2 * SECRET_SIZE_BYTES;

/// What names a token. No secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(String);

impl TokenId {
    /// The id of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; ID_SIZE_BYTES]) -> Self {
        Self(hexadecimal(&bytes))
    }

    /// The id that is written so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        bytes::<ID_SIZE_BYTES>(text).map(|_| Self(text.to_owned()))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The SHA-256 of a secret. Two are compared in the same time wherever they differ.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// Of these bytes.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// As it was stored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        bytes(text).map(Self)
    }

    /// As it is stored.
    #[must_use]
    pub fn to_text(self) -> String {
        hexadecimal(&self.0)
    }
}

impl PartialEq for SecretDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretDigest {}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretDigest(…)")
    }
}

/// A whole token. Shown once, to whoever made it.
#[derive(Clone)]
pub struct Token {
    id: TokenId,
    secret: [u8; SECRET_SIZE_BYTES],
}

/// Why a text is no token. Never says what the text was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// The header does not have the form `Bearer TOKEN`.
    #[error("the Authorization header does not have the form `Bearer TOKEN`")]
    NotBearer,
    /// There is more than one.
    #[error("there are several Authorization headers")]
    Several,
    /// It does not look like one.
    #[error("what was shown does not have the form of a token (moraine_…)")]
    Malformed,
}

impl Token {
    /// The token of random bytes.
    #[must_use]
    pub fn new(id: [u8; ID_SIZE_BYTES], secret: [u8; SECRET_SIZE_BYTES]) -> Self {
        Self { id: TokenId::new(id), secret }
    }

    /// Reads the text of a token.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, NoToken> {
        if text.len() != TEXT_SIZE_BYTES {
            return Err(NoToken::Malformed);
        }
        let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
        let (id, secret) = parts.ok_or(NoToken::Malformed)?;
        match (TokenId::parse(id), bytes(secret)) {
            (Some(id), Some(secret)) => Ok(Self { id, secret }),
            _ => Err(NoToken::Malformed),
        }
    }

    /// Reads the `Authorization` headers of a request; none is no mistake.
    ///
    /// # Errors
    /// When there is one that holds no token, or several.
    pub fn of_headers<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Self>, NoToken> {
        let mut headers = headers.into_iter();
        let Some(header) = headers.next() else { return Ok(None) };
        if headers.next().is_some() {
            return Err(NoToken::Several);
        }
        let text = std::str::from_utf8(header).map_err(|_| NoToken::NotBearer)?;
        let (scheme, rest) = text.split_once(' ').ok_or(NoToken::NotBearer)?;
        match scheme.eq_ignore_ascii_case("bearer") {
            true => Self::parse(rest.trim_matches(' ')).map(Some),
            false => Err(NoToken::NotBearer),
        }
    }

    /// What names it.
    #[must_use]
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// What is kept of its secret.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(&self.secret)
    }

    /// The whole text, which nobody can find out afterwards.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, hexadecimal(&self.secret))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Token({}, …)", self.id)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that are written so, if they are just so many and in lower case.
fn bytes<const COUNT: usize>(text: &str) -> Option<[u8; COUNT]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 2 * COUNT {
        return None;
    }
    let mut found = [0; COUNT];
    for (byte, pair) in found.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> Token {
        Token::new([0xab; ID_SIZE_BYTES], [7; SECRET_SIZE_BYTES])
    }

    fn header(text: &str) -> Result<Option<TokenId>, NoToken> {
        Token::of_headers([text.as_bytes()]).map(|token| token.map(|token| token.id().clone()))
    }

    #[test]
    fn a_token_is_read_as_it_was_shown_and_never_printed() {
        let text = token().reveal();
        assert_eq!(text.len(), TEXT_SIZE_BYTES);
        let read = Token::parse(&text).unwrap();
        assert_eq!((read.id(), read.digest()), (token().id(), token().digest()));
        assert_eq!(SecretDigest::parse(&read.digest().to_text()), Some(read.digest()));
        let printed = format!("{read:?} {:?}", read.digest());
        assert!(!printed.contains("0707"), "{printed}");
    }

    #[test]
    fn headers() {
        let text = token().reveal();
        let id = Ok(Some(token().id().clone()));
        for (header_text, expect) in [
            (format!("Bearer {text}"), id.clone()),
            (format!("bearer  {text} "), id),
            (format!("Basic {text}"), Err(NoToken::NotBearer)),
            (text.clone(), Err(NoToken::NotBearer)),
            (String::new(), Err(NoToken::NotBearer)),
            ("Bearer ".into(), Err(NoToken::Malformed)),
            ("Bearer eyJhbGciOiJub25lIn0.e30.".into(), Err(NoToken::Malformed)),
            (format!("Bearer {}", text.to_uppercase()), Err(NoToken::Malformed)),
            (format!("Bearer {text}0"), Err(NoToken::Malformed)),
            (format!("Bearer {}", text.replace("moraine_", "moraine-")), Err(NoToken::Malformed)),
            (format!("Bearer {}", "é".repeat(TEXT_SIZE_BYTES / 2)), Err(NoToken::Malformed)),
        ] {
            assert_eq!(header(&header_text), expect, "{header_text}");
        }
        assert!(matches!(Token::of_headers([]), Ok(None)));
        assert_eq!(Token::of_headers([&b"Bearer x"[..], b"Bearer y"]).unwrap_err(), NoToken::Several);
        assert_eq!(Token::of_headers([&b"Bearer \xff\xfe"[..]]).unwrap_err(), NoToken::NotBearer);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let read = Token::of_headers([bytes.as_slice()]);
            prop_assert!(read.is_err(), "random bytes are no token");
        }

        #[test]
        fn what_looks_nearly_like_a_token_is_read_or_refused(
            tail in "[0-9a-fA-F_]{60,100}", prefix in "(Bearer|bearer|BEARER) {1,2}moraine_"
        ) {
            let text = format!("{prefix}{tail}");
            if let Ok(Some(token)) = Token::of_headers([text.as_bytes()]) {
                prop_assert!(text.ends_with(&token.reveal()));
            }
        }

        #[test]
        fn every_token_is_read_again(id: [u8; ID_SIZE_BYTES], secret: [u8; SECRET_SIZE_BYTES]) {
            let token = Token::new(id, secret);
            let read = Token::parse(&token.reveal()).unwrap();
            prop_assert_eq!(read.reveal(), token.reveal());
        }
    }
}
