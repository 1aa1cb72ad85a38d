//! Names of channels, streams, tags and histories.

use std::fmt;
use std::str::FromStr;

use fault::{Fault, Kind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest identifier, in bytes: room for any name, and short of what a file system takes.
pub const IDENTIFIER_BYTES_MAX: usize = 100;

/// The name of a channel, stream, tag or history: letters and digits of ASCII and `-`, not beginning with `-`. Fit to be a
/// component of a path or an address as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(String);

impl Identifier {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot use {text:?} as a name: it is not 1 to {IDENTIFIER_BYTES_MAX} letters, digits and dashes, the first no dash"
)]
pub struct IdentifierError {
    /// The text.
    pub text: String,
}

impl Fault for IdentifierError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        vec!["choose a name such as \"volatile\" or \"2026-07\"".to_owned()]
    }
}

impl FromStr for Identifier {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=IDENTIFIER_BYTES_MAX).contains(&text.len())
            && !text.starts_with('-')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if fits { Ok(Self(text.to_owned())) } else { Err(IdentifierError { text: text.to_owned() }) }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Which state of a repository is meant. Written `stream/volatile`, `tag/2026-07`, `history/ID`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Whatever the stream points to now.
    Stream(Identifier),
    /// The history that was given this name.
    Tag(Identifier),
    /// This history.
    History(Identifier),
}

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Neither stream nor tag nor history.
    #[error(
        "cannot read {text:?} as a repository version: it does not begin with \"stream/\", \"tag/\" or \"history/\""
    )]
    Kind {
        /// The text.
        text: String,
    },
    /// The name behind the slash.
    #[error("cannot read {text:?} as a repository version")]
    Identifier {
        /// The text.
        text: String,
        /// What is wrong with the name.
        #[source]
        source: IdentifierError,
    },
}

impl Fault for VersionError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        vec!["write it like \"stream/volatile\"".to_owned()]
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) =
            text.split_once('/').ok_or_else(|| VersionError::Kind { text: text.to_owned() })?;
        let make = match kind {
            "stream" => Version::Stream,
            "tag" => Version::Tag,
            "history" => Version::History,
            _ => return Err(VersionError::Kind { text: text.to_owned() }),
        };
        name.parse().map(make).map_err(|source| VersionError::Identifier { text: text.to_owned(), source })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Stream(name) => write!(formatter, "stream/{name}"),
            Version::Tag(name) => write!(formatter, "tag/{name}"),
            Version::History(name) => write!(formatter, "history/{name}"),
        }
    }
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        for text in ["volatile", "2026-07", "a", "x-", "A--9"] {
            assert_eq!(text.parse::<Identifier>().unwrap().to_string(), text);
        }
        assert!("a".repeat(IDENTIFIER_BYTES_MAX).parse::<Identifier>().is_ok());
        let long = "a".repeat(IDENTIFIER_BYTES_MAX + 1);
        for text in ["", "-a", "a/b", "..", "a_b", "a.b", "a b", "é", "a\0", long.as_str()] {
            assert!(text.parse::<Identifier>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn versions() {
        for text in ["stream/volatile", "tag/2026-07", "history/17-a"] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
        }
        for text in ["volatile", "", "stream/", "stream/..", "stream/a/b", "branch/a", "/a"] {
            let error = text.parse::<Version>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
