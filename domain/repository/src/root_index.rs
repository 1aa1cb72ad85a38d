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
    /// The format of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "legacy" => Format::Legacy,
            "v0" => Format::V0,
            _ => Format::Other(name.to_owned()),
        }
    }

    /// The word in the file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Format::Legacy => "legacy",
            Format::V0 => "v0",
            Format::Other(name) => name,
        }
    }

    /// The number of a format `vN`; none of [`Format::Legacy`] and of names that are none of these.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        match self {
            Format::Legacy => None,
            Format::V0 => Some(0),
            Format::Other(name) => name
                .strip_prefix('v')
                .filter(|digits| !digits.starts_with(['+', '0']))
                .and_then(|digits| digits.parse().ok()),
        }
    }

    /// The format `vN`.
    #[must_use]
    pub fn numbered(number: u32) -> Self {
        if number == 0 { Format::V0 } else { Format::Other(format!("v{number}")) }
    }

    /// Whether a history of this format may come after one of the other. A channel only ever goes up.
    #[must_use]
    pub fn may_follow(&self, other: &Format) -> bool {
        match (self, other) {
            (Format::Legacy, Format::Legacy) => true,
            (Format::Legacy, _) => false,
            (_, Format::Legacy) => self.number().is_some(),
            _ => self.number().zip(other.number()).is_some_and(|(new, old)| new >= old),
        }
    }
}

/// The formats that a client can read: legacy, and `v0` up to some `vN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownFormats {
    newest: u32,
}

impl KnownFormats {
    /// Those that this version of Moraine reads.
    pub const CURRENT: Self = Self::up_to(0);

    /// Everything up to `vN`: what some older or newer client reads.
    #[must_use]
    pub const fn up_to(newest: u32) -> Self {
        Self { newest }
    }

    /// Whether entries of this format can be read.
    #[must_use]
    pub fn contains(self, format: &Format) -> bool {
        *format == Format::Legacy || format.number().is_some_and(|number| number <= self.newest)
    }

    /// The newest.
    #[must_use]
    pub fn newest(self) -> Format {
        Format::numbered(self.newest)
    }
}

impl Default for KnownFormats {
    fn default() -> Self {
        Self::CURRENT
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Format::from_name(&String::deserialize(deserializer)?))
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

/// The key under which a format names the way up.
const UPGRADE_VIA: &str = "upgrade_via";

impl Formats {
    /// Where a client that knows nothing newer than this format finds a client that does.
    #[must_use]
    pub fn upgrade_via(&self, format: &Format) -> Option<Version> {
        match format {
            Format::V0 => self.v0.upgrade_via.clone(),
            other => self.other.get(other.as_str())?.get(UPGRADE_VIA)?.as_str()?.parse().ok(),
        }
    }

    /// Says where such a client is found. Of a legacy repository nothing can be said here: its clients read no root index.
    pub fn set_upgrade_via(&mut self, format: &Format, version: Version) {
        match format {
            Format::Legacy => {}
            Format::V0 => self.v0.upgrade_via = Some(version),
            Format::Other(name) => {
                let entry = self.other.entry(name.clone()).or_insert_with(|| serde_json::json!({}));
                if let Some(entry) = entry.as_object_mut() {
                    entry.insert(UPGRADE_VIA.to_owned(), serde_json::Value::String(version.to_string()));
                }
            }
        }
    }
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

/// Another address of a channel, to which its clients are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The address of the tree there, as [`crate::RepositorySource::Versioned`] has it.
    pub base_uri: String,
    /// The channel there.
    pub channel: Identifier,
}

impl std::fmt::Display for Moved {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} channel {}", self.base_uri, self.channel)
    }
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
    /// Where the channel went; not in the file while it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
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
                "choose another version: moss repo add NAME URL --root-index version=…".to_owned()
            }
            ResolveError::Dangling { .. } => {
                "tell the owner of the repository, and try again later".to_owned()
            }
            ResolveError::Unsupported { upgrade_via: Some(version), .. } => {
                format!("update moss first, from {version} of the same repository: moss sync does so by itself")
            }
            ResolveError::Unsupported { .. } => {
                "the repository names no version from which this moss could be updated: get a newer one elsewhere, or ask its owner".to_owned()
            }
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

    /// What a version stands for now, for a client of this version of Moraine.
    ///
    /// # Errors
    /// As [`RootIndex::resolve_for`].
    pub fn resolve(&self, version: &Version) -> Result<Resolved, ResolveError> {
        self.resolve_for(version, KnownFormats::CURRENT)
    }

    /// Where a client that knows these formats finds one that knows newer ones: what the newest format that it reads names.
    /// Only versions that it can read count.
    #[must_use]
    pub fn way_up(&self, known: KnownFormats) -> Option<Version> {
        (0..=known.newest).rev().find_map(|number| {
            let version = self.formats.upgrade_via(&Format::numbered(number))?;
            let format = &self.history.get(self.pointee(&version)?)?.format;
            known.contains(format).then_some(version)
        })
    }

    fn pointee<'i>(&'i self, version: &'i Version) -> Option<&'i Identifier> {
        match version {
            Version::Stream(name) => self.streams.get(name).map(|entry| &entry.history),
            Version::Tag(name) => self.tags.get(name).map(|entry| &entry.history),
            Version::History(name) => Some(name),
        }
    }

    /// What a version stands for now, for a client that knows these formats.
    ///
    /// # Errors
    /// For a version that is not there, points nowhere, or has a format that the client does not know.
    pub fn resolve_for(&self, version: &Version, known: KnownFormats) -> Result<Resolved, ResolveError> {
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
        if !known.contains(format) {
            return Err(ResolveError::Unsupported {
                version: version.clone(),
                history,
                format: format.as_str().to_owned(),
                upgrade_via: self.way_up(known),
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
    fn formats_go_up() {
        let format = |name: &str| match name {
            "legacy" => Format::Legacy,
            "v0" => Format::V0,
            _ => Format::Other(name.into()),
        };
        let order = ["legacy", "v0", "v1", "v2", "v10"];
        for (new_place, new) in order.iter().enumerate() {
            for (old_place, old) in order.iter().enumerate() {
                assert_eq!(format(new).may_follow(&format(old)), new_place >= old_place, "{new} after {old}");
            }
            assert_eq!(KnownFormats::up_to(1).contains(&format(new)), new_place <= 2, "{new}");
        }
        for strange in ["v", "v01", "v+1", "v-1", "x", "v99999999999"] {
            assert_eq!(format(strange).number(), None, "{strange}");
            assert!(!format(strange).may_follow(&Format::V0));
            assert!(!KnownFormats::up_to(u32::MAX).contains(&format(strange)));
        }
    }

    #[test]
    fn each_format_names_the_way_to_the_next() {
        let mut index = RootIndex::from_json(REAL.as_bytes()).unwrap();
        let volatile: Version = "stream/unstable".parse().unwrap();
        index.history.insert("h4".parse().unwrap(), HistoryEntry { format: Format::numbered(2) });
        index.streams.get_mut(&"unstable".parse().unwrap()).unwrap().history = "h4".parse().unwrap();
        let via = |index: &RootIndex, newest| match index.resolve_for(&volatile, KnownFormats::up_to(newest))
        {
            Ok(_) => "here".to_owned(),
            Err(ResolveError::Unsupported { upgrade_via, .. }) => {
                upgrade_via.map_or_else(|| "nowhere".into(), |version| version.to_string())
            }
            Err(error) => panic!("{error}"),
        };
        assert_eq!(via(&index, 0), "tag/last-v0");
        assert_eq!(via(&index, 1), "tag/last-v0", "v1 names nothing, so the way from v0 is taken");
        index.formats.set_upgrade_via(&Format::numbered(1), "history/h3".parse().unwrap());
        assert_eq!(via(&index, 0), "tag/last-v0");
        assert_eq!(via(&index, 1), "history/h3");
        assert_eq!(via(&index, 2), "here");
        // What else was said of the format stays.
        assert!(index.formats.other["v1"].get("a").is_some());
        // A way that leads to what cannot be read is none.
        index.formats.set_upgrade_via(&Format::V0, "history/h4".parse().unwrap());
        assert_eq!(via(&index, 0), "nowhere");
        index.formats.set_upgrade_via(&Format::V0, "tag/gone".parse().unwrap());
        assert_eq!(via(&index, 0), "nowhere");
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
