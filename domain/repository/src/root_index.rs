//! `moss-root-index.json`: where streams and tags of a channel point, and which formats there are.
//!
//! Written with all four keys, two spaces of indent, a newline at the end, and the entries of each map ordered by name, so
//! that the same state always gives the same bytes. Descriptions of formats that this version does not know are kept as they are.

use std::collections::BTreeMap;

use fault::{Fault, Kind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identifier::{Identifier, Version};

/// Longest root index that is read, in bytes: some 100,000 histories at 60 bytes and twice that for names and streams.
pub const ROOT_INDEX_BYTES_MAX: usize = 16 << 20;

/// A format of history entries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// From before there were versioned repositories.
    Legacy,
    /// The one that is written.
    V0,
    /// One that this version does not know.
    Other(String),
}

impl Format {
    /// The word in the file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Format::Legacy => "legacy",
            Format::V0 => "v0",
            Format::Other(name) => name,
        }
    }

    /// Whether this version can read such an entry.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        !matches!(self, Format::Other(_))
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(match name.as_str() {
            "legacy" => Format::Legacy,
            "v0" => Format::V0,
            _ => Format::Other(name),
        })
    }
}

/// What there is to know about the formats themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Formats {
    /// About format v0.
    pub v0: V0,
    /// About all others, as the file has it.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// About format v0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct V0 {
    /// Where a client that knows nothing newer than v0 finds a client that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_via: Option<Version>,
    /// What else the file says.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// Where a stream points now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEntry {
    /// Format of the history entry.
    pub format: Format,
    /// The history entry.
    pub history: Identifier,
    /// The tag that the same entry has, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Identifier>,
}

/// Where a tag points for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagEntry {
    /// Format of the history entry.
    pub format: Format,
    /// The history entry.
    pub history: Identifier,
}

/// A history entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Its format.
    pub format: Format,
}

/// The root index of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootIndex {
    /// About the formats.
    pub formats: Formats,
    /// Streams by name.
    pub streams: BTreeMap<Identifier, StreamEntry>,
    /// Tags by name.
    pub tags: BTreeMap<Identifier, TagEntry>,
    /// Histories by name.
    pub history: BTreeMap<Identifier, HistoryEntry>,
}

/// Why a root index could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RootIndexError {
    /// Longer than any that is known.
    #[error("cannot read a root index of {length_bytes} bytes: the most is {ROOT_INDEX_BYTES_MAX}")]
    TooLong {
        /// Its length.
        length_bytes: usize,
    },
    /// No JSON of the right shape.
    #[error("cannot read a root index")]
    Json {
        /// Line, column and what is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl Fault for RootIndexError {
    fn kind(&self) -> Kind {
        Kind::Damaged
    }

    fn hints(&self) -> Vec<String> {
        vec!["check that the address is that of a versioned repository; a plain one is named by its stone.index".to_owned()]
    }
}

/// What a version stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The history entry.
    pub history: Identifier,
    /// Its format.
    pub format: Format,
}

/// Why a version stands for nothing that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No such stream, tag or history.
    #[error("cannot find {version} in the repository; it has {}", listed(known))]
    Unknown {
        /// What was asked for.
        version: Version,
        /// What there is of the same kind; of histories none is listed.
        known: Vec<Version>,
    },
    /// A stream or tag that points to nothing.
    #[error("cannot follow {version}: it points to history {history}, which the repository does not list")]
    Dangling {
        /// What was asked for.
        version: Version,
        /// Where it points.
        history: Identifier,
    },
    /// A format that this version does not know.
    #[error("cannot use {version}: history {history} has the format {format:?}, which is unknown")]
    Unsupported {
        /// What was asked for.
        version: Version,
        /// Where it points.
        history: Identifier,
        /// The format.
        format: String,
        /// Where the repository has a newer client.
        upgrade_via: Option<Version>,
    },
}

fn listed(known: &[Version]) -> String {
    if known.is_empty() {
        return "none of that kind".to_owned();
    }
    known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Fault for ResolveError {
    fn kind(&self) -> Kind {
        match self {
            ResolveError::Unknown { .. } => Kind::NotFound,
            ResolveError::Dangling { .. } => Kind::Damaged,
            ResolveError::Unsupported { .. } => Kind::Conflict,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            ResolveError::Unknown { .. } => {
                "choose another version with `moss repo add --version`".to_owned()
            }
            ResolveError::Dangling { .. } => {
                "tell the owner of the repository, and try again later".to_owned()
            }
            ResolveError::Unsupported { upgrade_via: Some(version), .. } => {
                format!("update moss first, from {version} of the same repository")
            }
            ResolveError::Unsupported { .. } => "update moss first".to_owned(),
        };
        vec![hint]
    }
}

impl RootIndex {
    /// Reads a root index.
    ///
    /// # Errors
    /// For more than [`ROOT_INDEX_BYTES_MAX`], and for anything but the four maps with `formats.v0` in the first.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RootIndexError> {
        if bytes.len() > ROOT_INDEX_BYTES_MAX {
            return Err(RootIndexError::TooLong { length_bytes: bytes.len() });
        }
        serde_json::from_slice(bytes).map_err(|source| RootIndexError::Json { source })
    }

    /// The file.
    #[must_use]
    #[expect(clippy::expect_used, reason = "maps with text keys, written to memory, have no way to fail")]
    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a root index turns into JSON");
        bytes.push(b'\n');
        bytes
    }

    /// What a version stands for now.
    ///
    /// # Errors
    /// For a version that is not there, points nowhere, or has a format that this version does not know.
    pub fn resolve(&self, version: &Version) -> Result<Resolved, ResolveError> {
        let unknown = |known| ResolveError::Unknown { version: version.clone(), known };
        let history = match version {
            Version::Stream(name) => match self.streams.get(name) {
                Some(entry) => entry.history.clone(),
                None => return Err(unknown(self.streams.keys().cloned().map(Version::Stream).collect())),
            },
            Version::Tag(name) => match self.tags.get(name) {
                Some(entry) => entry.history.clone(),
                None => return Err(unknown(self.tags.keys().cloned().map(Version::Tag).collect())),
            },
            Version::History(name) if self.history.contains_key(name) => name.clone(),
            Version::History(_) => return Err(unknown(Vec::new())),
        };
        let Some(HistoryEntry { format }) = self.history.get(&history) else {
            return Err(ResolveError::Dangling { version: version.clone(), history });
        };
        if !format.is_supported() {
            return Err(ResolveError::Unsupported {
                version: version.clone(),
                history,
                format: format.as_str().to_owned(),
                upgrade_via: self.formats.v0.upgrade_via.clone(),
            });
        }
        Ok(Resolved { history, format: format.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = r#"{
  "formats": {
    "v0": {
      "upgrade_via": "tag/last-v0"
    },
    "v1": {
      "a": [
        1,
        {
          "b": null
        }
      ]
    }
  },
  "streams": {
    "unstable": {
      "format": "v1",
      "history": "h3"
    },
    "volatile": {
      "format": "v0",
      "history": "h2",
      "tag": "last-v0"
    }
  },
  "tags": {
    "last-v0": {
      "format": "v0",
      "history": "h2"
    },
    "lost": {
      "format": "v0",
      "history": "h9"
    }
  },
  "history": {
    "h1": {
      "format": "legacy"
    },
    "h2": {
      "format": "v0"
    },
    "h3": {
      "format": "v1"
    }
  }
}
"#;

    #[test]
    fn read_and_written_again() {
        let index = RootIndex::from_json(REAL.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(index.to_json()).unwrap(), REAL);
        let empty = RootIndex::default();
        assert_eq!(RootIndex::from_json(&empty.to_json()).unwrap(), empty);
        for key in ["formats", "v0", "streams", "tags", "history"] {
            let json: serde_json::Value = serde_json::from_slice(&empty.to_json()).unwrap();
            assert!(json.get(key).or_else(|| json["formats"].get(key)).is_some(), "{key}");
        }
    }

    #[test]
    fn resolved() {
        let index = RootIndex::from_json(REAL.as_bytes()).unwrap();
        let check = |version: &str, expect: Result<&str, &str>| {
            let found = index.resolve(&version.parse().unwrap());
            match (found, expect) {
                (Ok(found), Ok(history)) => assert_eq!(found.history.as_str(), history),
                (Err(error), Err(words)) => {
                    assert!(error.to_string().contains(words), "{error}");
                    assert!(!error.hints().is_empty());
                }
                (found, _) => panic!("{version}: {found:?}"),
            }
        };
        check("stream/volatile", Ok("h2"));
        check("tag/last-v0", Ok("h2"));
        check("history/h1", Ok("h1"));
        check("stream/stable", Err("it has stream/unstable, stream/volatile"));
        check("tag/none", Err("it has tag/last-v0, tag/lost"));
        check("history/h8", Err("cannot find history/h8"));
        check("tag/lost", Err("points to history h9"));
        check("stream/unstable", Err("format \"v1\""));
        let error = index.resolve(&"stream/unstable".parse().unwrap()).unwrap_err();
        assert!(error.hints()[0].contains("tag/last-v0"));
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"formats":{},"streams":{},"tags":{},"history":{}}"#,
            r#"{"formats":{"v0":{}},"streams":{},"tags":{}}"#,
            r#"{"formats":{"v0":{}},"streams":{},"tags":{},"history":{"../..":{"format":"v0"}}}"#,
            r#"{"formats":{"v0":{}},"streams":{"a":{"format":"v0","history":"/etc"}},"tags":{},"history":{}}"#,
        ] {
            let error = RootIndex::from_json(text.as_bytes()).unwrap_err();
            assert!(matches!(error, RootIndexError::Json { .. }), "{text}");
        }
        let long = vec![b' '; ROOT_INDEX_BYTES_MAX + 1];
        assert!(matches!(RootIndex::from_json(&long), Err(RootIndexError::TooLong { .. })));
    }
}
