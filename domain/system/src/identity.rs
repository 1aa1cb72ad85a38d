//! What packages and states are called on an installed system.

use std::fmt;
use std::str::FromStr;

use fault::{Fault, Kind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Length of a SHA-256 digest written as hexadecimal text.
const SHA256_HEX_LENGTH: usize = 64;

/// The SHA-256 digest of a `.stone` file, which names the package everywhere on an installed system.
///
/// Only 64 lower-case hexadecimal digits make one, so it is safe as part of a path, whatever an index says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(String);

/// A text that is no package id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {text:?} as a package digest: it is not 64 lower-case hexadecimal digits")]
pub struct PackageIdError {
    /// The text, shortened when long.
    pub text: String,
}

/// How much of a refused text is repeated in the message; twice a digest is enough to recognise it.
const REPEATED_TEXT_CHARACTERS_MAX: usize = 2 * SHA256_HEX_LENGTH;

impl PackageId {
    /// The digest as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PackageId {
    type Err = PackageIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if text.len() == SHA256_HEX_LENGTH && digits {
            Ok(Self(text.to_owned()))
        } else {
            Err(PackageIdError { text: text.chars().take(REPEATED_TEXT_CHARACTERS_MAX).collect() })
        }
    }
}

impl Fault for PackageIdError {
    fn kind(&self) -> Kind {
        Kind::Damaged
    }

    fn hints(&self) -> Vec<String> {
        vec!["the repository's index is damaged or not to be trusted; tell whoever publishes it".into()]
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for PackageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PackageId({})", self.0)
    }
}

impl Serialize for PackageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PackageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which of two packages of one name is newer: first by the release of the source, then by how often it was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Release {
    /// The release number in the recipe.
    pub source: u64,
    /// How often that release was built.
    pub build: u64,
}

impl Release {
    /// A release from its two numbers.
    #[must_use]
    pub fn new(source: u64, build: u64) -> Self {
        Self { source, build }
    }
}

/// What a person needs to know to tell a package from others; printed as `nano 8.4-35`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageSummary {
    /// The digest.
    pub id: PackageId,
    /// The name.
    pub name: String,
    /// Upstream's version.
    pub version: String,
    /// The release.
    pub release: Release,
}

impl fmt::Display for PackageSummary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}-{}", self.name, self.version, self.release.source)
    }
}

/// The number of a system state. Numbers are given once and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateId(pub u64);

impl fmt::Display for StateId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for StateId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim().parse().map(StateId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_digest_is_a_package_id() {
        let good = "0123456789abcdef".repeat(4);
        assert_eq!(good.parse::<PackageId>().unwrap().as_str(), good);
        let bad = [
            String::new(),
            "../../../../etc/passwd".into(),
            good.to_uppercase(),
            good[1..].to_owned(),
            format!("{good}0"),
            format!("{}/../", &good[..60]),
            "é".repeat(32),
            "/".repeat(64),
        ];
        for text in bad {
            assert!(text.parse::<PackageId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn releases_compare_by_source_first() {
        assert!(Release::new(2, 1) > Release::new(1, 9));
        assert!(Release::new(2, 2) > Release::new(2, 1));
    }

    #[test]
    fn a_state_id_survives_the_newline_of_its_file() {
        assert_eq!("12\n".parse::<StateId>(), Ok(StateId(12)));
        assert!("x".parse::<StateId>().is_err());
    }
}
