//! Where a stream or a tag points now. The only signed file that is fetched again and again, so it is small.

use fault::{Fault, Kind};
use serde::{Deserialize, Serialize};

use super::digest::FileFacts;
use crate::identifier::{Identifier, Version};
use crate::root_index::Moved;

/// The largest pointer that is read, in bytes, as a file: one has about a kilobyte.
pub const POINTER_BYTES_MAX: usize = 16 << 10;

/// What a pointer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The channel. A pointer of one channel is none of another.
    pub channel: Identifier,
    /// `stream/NAME` or `tag/NAME`.
    pub what: Version,
    /// Rises with every pointer that is signed for this name.
    pub version: u64,
    /// When it was signed, in Unix seconds.
    pub issued: i64,
    /// From when on it is worth nothing, in Unix seconds.
    pub expires: i64,
    /// The version of the list of keys that holds.
    pub keys: u64,
    /// Where it points.
    pub history: Identifier,
    /// The format of that history: `v0` …
    pub format: String,
    /// The file `history/ID/statement.json`.
    pub statement: FileFacts,
    /// Where the channel is from now on; not in the file while it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
}

/// Why a pointer is not followed.
#[derive(Debug, thiserror::Error)]
pub enum PointerError {
    /// It is not written as pointers are.
    #[error("cannot read the pointer of {what}")]
    Json {
        /// What was asked for.
        what: Version,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// It belongs to something else.
    #[error(
        "cannot follow the pointer of {what} in channel {channel}: it is that of {found} in channel {found_channel}"
    )]
    Other {
        /// The channel that was asked for.
        channel: Identifier,
        /// What was asked for.
        what: Version,
        /// The channel that it names.
        found_channel: Identifier,
        /// What it names.
        found: Version,
    },
    /// It is older than one that was seen.
    #[error(
        "cannot follow the pointer of {what}: it has version {found}, and version {known} was seen before"
    )]
    Older {
        /// What was asked for.
        what: Version,
        /// Its version.
        found: u64,
        /// The highest that was seen.
        known: u64,
    },
    /// Its time is over.
    #[error("cannot follow the pointer of {what}: it expired {} ago", duration(*seconds))]
    Expired {
        /// What was asked for.
        what: Version,
        /// Since when, in seconds.
        seconds: u64,
    },
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl Fault for PointerError {
    fn kind(&self) -> Kind {
        match self {
            PointerError::Json { .. } | PointerError::Other { .. } => Kind::Damaged,
            PointerError::Older { .. } | PointerError::Expired { .. } => Kind::Conflict,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            PointerError::Json { .. } => "it may come from a newer Vessel: update Moraine",
            PointerError::Other { .. } => {
                "tell the owner of the repository: a mirror serves one file in the place of another"
            }
            PointerError::Older { .. } => {
                "a cache or a mirror is behind, or somebody holds updates back: try again later, or another mirror"
            }
            PointerError::Expired { .. } => {
                "check the clock of this machine; if it is right, the mirror is behind or its Vessel no longer signs"
            }
        };
        vec![hint.to_owned()]
    }
}

impl Pointer {
    /// Reads a payload and checks that it is the pointer of `what` in `channel`.
    ///
    /// # Errors
    /// When it is not.
    pub fn read(payload: &[u8], channel: &Identifier, what: &Version) -> Result<Self, PointerError> {
        let pointer: Pointer = serde_json::from_slice(payload)
            .map_err(|source| PointerError::Json { what: what.clone(), source })?;
        if pointer.channel != *channel || pointer.what != *what {
            return Err(PointerError::Other {
                channel: channel.clone(),
                what: what.clone(),
                found_channel: pointer.channel,
                found: pointer.what,
            });
        }
        Ok(pointer)
    }

    /// That it may be followed at `now`, in Unix seconds, by whoever has seen version `known`.
    ///
    /// # Errors
    /// When its version is lower, and when it has expired.
    pub fn check(&self, known: Option<u64>, now: i64) -> Result<(), PointerError> {
        let what = || self.what.clone();
        if let Some(known) = known.filter(|known| *known > self.version) {
            return Err(PointerError::Older { what: what(), found: self.version, known });
        }
        if self.expires <= now {
            let seconds = now.abs_diff(self.expires);
            return Err(PointerError::Expired { what: what(), seconds });
        }
        Ok(())
    }

    /// The payload.
    #[must_use]
    #[expect(clippy::expect_used, reason = "texts and numbers, written to memory, have no way to fail")]
    pub fn to_payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a pointer turns into JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::tests::{key, sign};
    use super::super::{Envelope, SignedKind};
    use super::*;

    fn pointer() -> Pointer {
        Pointer {
            channel: "main".parse().unwrap(),
            what: "stream/volatile".parse().unwrap(),
            version: 7,
            issued: 1_800_000_000,
            expires: 1_800_000_000 + 14 * 86_400,
            keys: 1,
            history: "123456-0123abcd".parse().unwrap(),
            format: "v0".into(),
            statement: FileFacts::of(b"statement"),
            moved: None,
        }
    }

    #[test]
    fn written_and_read() {
        let payload = pointer().to_payload();
        let read = |channel: &str, what: &str| {
            Pointer::read(&payload, &channel.parse().unwrap(), &what.parse().unwrap())
        };
        assert_eq!(read("main", "stream/volatile").unwrap(), pointer());
        for (channel, what) in [("other", "stream/volatile"), ("main", "tag/volatile"), ("main", "stream/x")]
        {
            assert!(matches!(read(channel, what), Err(PointerError::Other { .. })), "{channel} {what}");
        }
        let mut envelope = Envelope::new(SignedKind::Pointer, payload.clone());
        sign(&mut envelope, &key(1));
        let length = envelope.to_json().len();
        assert!(length < 1_000, "asking whether something is new costs {length} bytes");
    }

    #[test]
    fn an_older_one_and_an_expired_one_are_not_followed() {
        let check = |known: Option<u64>, now: i64, expect: &str| {
            let found = match pointer().check(known, now) {
                Ok(()) => "followed".to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expect);
        };
        let now = pointer().issued;
        check(None, now, "followed");
        check(Some(7), now, "followed");
        check(Some(6), pointer().expires - 1, "followed");
        check(
            Some(8),
            now,
            "cannot follow the pointer of stream/volatile: it has version 7, and version 8 was seen before",
        );
        let expired = "cannot follow the pointer of stream/volatile: it expired 3 days ago";
        check(Some(7), pointer().expires + 3 * 86_400, expired);
        check(
            None,
            pointer().expires,
            "cannot follow the pointer of stream/volatile: it expired 0 seconds ago",
        );
    }
}
