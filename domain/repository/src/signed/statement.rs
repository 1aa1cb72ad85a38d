//! What a history is: every file of it with length and digest.

use std::collections::{BTreeMap, BTreeSet};

use fault::{Fault, Kind};
use serde::{Deserialize, Serialize};

use super::digest::{Digest, FileFacts};
use crate::identifier::Identifier;

/// The largest statement that is read, in bytes, as a file: some two kilobytes for each architecture.
pub const STATEMENT_BYTES_MAX: usize = 256 << 10;

/// The farthest jump back that a history offers, as a power of two: with one to a hundred histories a day, whoever was away for
/// a week needs a handful of jumps.
const JUMP_LOG_MAX: u32 = 9;

/// Deltas that one history offers at most. Each costs its making and a few kilobytes.
const DELTAS_MAX: usize = 12;

/// What a statement says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryStatement {
    /// The channel.
    pub channel: Identifier,
    /// The history.
    pub history: Identifier,
    /// Its number in the channel.
    pub number: u64,
    /// What it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Identifier>,
    /// When it was recorded, in Unix seconds.
    pub recorded: i64,
    /// Its format: `v0` …
    pub format: String,
    /// Each architecture by name.
    pub architectures: BTreeMap<String, ArchitectureFiles>,
}

/// The files of one architecture, all in `history/ID/ARCH/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchitectureFiles {
    /// How many packages there are.
    pub packages: u64,
    /// The digest of the unpacked image in `index.compact`: what every delta must lead to.
    pub image: Digest,
    /// Each file by name: `stone.index`, `index.compact`, `texts.compact`, `files.compact`.
    pub files: BTreeMap<String, FileFacts>,
    /// The files `delta/FROM`, the nearest history first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<DeltaFacts>,
}

/// A delta from an older history to this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltaFacts {
    /// The older history.
    pub from: Identifier,
    /// Its number.
    pub number: u64,
    /// The file.
    #[serde(flatten)]
    pub file: FileFacts,
}

/// Why a statement cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// It is not written as statements are.
    #[error("cannot read the statement of history {history}")]
    Json {
        /// The history.
        history: Identifier,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// It is about something else.
    #[error(
        "cannot use the statement of history {history} in channel {channel}: it is that of {found} in channel {found_channel}"
    )]
    Other {
        /// The channel that was asked for.
        channel: Identifier,
        /// The history that was asked for.
        history: Identifier,
        /// The channel that it names.
        found_channel: Identifier,
        /// The history that it names.
        found: Identifier,
    },
    /// It has no such architecture.
    #[error("cannot use history {history} for {architecture}: it has {}", listed(known))]
    NoArchitecture {
        /// The history.
        history: Identifier,
        /// What was asked for.
        architecture: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It has no such file.
    #[error("cannot find {file} of history {history} for {architecture}: its statement does not list it")]
    NoFile {
        /// The history.
        history: Identifier,
        /// The architecture.
        architecture: String,
        /// What was asked for.
        file: String,
    },
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "no architecture".to_owned() } else { known.join(", ") }
}

impl Fault for StatementError {
    fn kind(&self) -> Kind {
        match self {
            StatementError::Json { .. } | StatementError::Other { .. } => Kind::Damaged,
            StatementError::NoArchitecture { .. } | StatementError::NoFile { .. } => Kind::NotFound,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            StatementError::Json { .. } => "it may come from a newer Vessel: update Moraine",
            StatementError::Other { .. } => {
                "tell the owner of the repository: a mirror serves one file in the place of another"
            }
            StatementError::NoArchitecture { .. } => "choose an architecture that the repository has",
            StatementError::NoFile { .. } => {
                "the channel may not publish it: ask the owner of the repository"
            }
        };
        vec![hint.to_owned()]
    }
}

impl HistoryStatement {
    /// Reads a payload and checks that it is about `history` of `channel`.
    ///
    /// # Errors
    /// When it is not.
    pub fn read(payload: &[u8], channel: &Identifier, history: &Identifier) -> Result<Self, StatementError> {
        let statement: Self = serde_json::from_slice(payload)
            .map_err(|source| StatementError::Json { history: history.clone(), source })?;
        if statement.channel != *channel || statement.history != *history {
            return Err(StatementError::Other {
                channel: channel.clone(),
                history: history.clone(),
                found_channel: statement.channel,
                found: statement.history,
            });
        }
        Ok(statement)
    }

    /// The payload.
    #[must_use]
    #[expect(clippy::expect_used, reason = "texts and numbers, written to memory, have no way to fail")]
    pub fn to_payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a statement turns into JSON")
    }

    /// The files of an architecture.
    ///
    /// # Errors
    /// When there is no such architecture.
    pub fn architecture(&self, name: &str) -> Result<&ArchitectureFiles, StatementError> {
        self.architectures.get(name).ok_or_else(|| StatementError::NoArchitecture {
            history: self.history.clone(),
            architecture: name.to_owned(),
            known: self.architectures.keys().cloned().collect(),
        })
    }

    /// What a file of an architecture must be.
    ///
    /// # Errors
    /// When there is no such architecture or file.
    pub fn file(&self, architecture: &str, file: &str) -> Result<FileFacts, StatementError> {
        let found = self.architecture(architecture)?.files.get(file).copied();
        found.ok_or_else(|| StatementError::NoFile {
            history: self.history.clone(),
            architecture: architecture.to_owned(),
            file: file.to_owned(),
        })
    }

    /// The delta with which somebody who has history number `held` should reach this one: the one from there, or else from the
    /// history nearest to it that is newer, to be reached in the same way first. None where there is none: the whole index.
    #[must_use]
    pub fn best_delta(&self, architecture: &str, held: u64) -> Option<&DeltaFacts> {
        let deltas = &self.architectures.get(architecture)?.deltas;
        deltas
            .iter()
            .filter(|delta| (held..self.number).contains(&delta.number))
            .min_by_key(|delta| delta.number)
            // From an older history, as after a rollback, a delta serves only who has exactly that one.
            .or_else(|| deltas.iter().find(|delta| delta.number == held))
    }
}

/// From which histories a new one should offer deltas, nearest first: the one before it; those `2^k` before it where `2^k`
/// divides its number, so that every history leads to every later one in few jumps; and those that something points to.
/// `living` are the numbers that there are; the new one is not among them.
#[must_use]
pub fn delta_bases(number: u64, living: &BTreeSet<u64>, pointed: &BTreeSet<u64>) -> Vec<u64> {
    let mut bases = BTreeSet::new();
    bases.extend(living.range(..number).next_back());
    for log in 1..=JUMP_LOG_MAX.min(number.trailing_zeros()) {
        bases.extend(number.checked_sub(1 << log).filter(|base| living.contains(base)));
    }
    bases.extend(pointed.iter().filter(|base| **base != number && living.contains(base)));
    bases.into_iter().rev().take(DELTAS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(number: u64, deltas: &[u64]) -> HistoryStatement {
        let deltas = deltas.iter().map(|number| DeltaFacts {
            from: format!("{number}-x").parse().unwrap(),
            number: *number,
            file: FileFacts::of(b"delta"),
        });
        let files = ArchitectureFiles {
            packages: 4_000,
            image: Digest::of(b"image"),
            files: [("index.compact".to_owned(), FileFacts::of(b"packed"))].into(),
            deltas: deltas.collect(),
        };
        HistoryStatement {
            channel: "main".parse().unwrap(),
            history: format!("{number}-x").parse().unwrap(),
            number,
            previous: None,
            recorded: 1_800_000_000,
            format: "v0".into(),
            architectures: [("x86_64".to_owned(), files)].into(),
        }
    }

    #[test]
    fn written_and_read() {
        let written = statement(7, &[6, 3]);
        let read = |channel: &str, history: &str| {
            let (channel, history) = (channel.parse().unwrap(), history.parse().unwrap());
            HistoryStatement::read(&written.to_payload(), &channel, &history)
        };
        assert_eq!(read("main", "7-x").unwrap(), written);
        assert!(matches!(read("main", "8-x"), Err(StatementError::Other { .. })));
        assert!(matches!(read("other", "7-x"), Err(StatementError::Other { .. })));
        assert!(written.file("x86_64", "index.compact").is_ok());
        assert!(matches!(written.file("x86_64", "other"), Err(StatementError::NoFile { .. })));
        assert!(matches!(
            written.file("riscv64", "index.compact"),
            Err(StatementError::NoArchitecture { .. })
        ));
    }

    #[test]
    fn few_jumps_lead_from_every_history_to_every_later_one() {
        let mut offered: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut living = BTreeSet::new();
        // Every hundredth was removed.
        for number in (1..1_500).filter(|number| number % 100 != 99) {
            offered.insert(number, delta_bases(number, &living, &BTreeSet::new()));
            living.insert(number);
        }
        let count: usize = offered.values().map(Vec::len).sum();
        assert!(count < 2 * offered.len() + 10, "{count} deltas for {} histories", offered.len());
        for held in (1..1_498).step_by(7).filter(|held| held % 100 != 99) {
            let (mut at, mut jumps) = (1_498, 0);
            while at != held {
                let delta = statement(at, &offered[&at]).best_delta("x86_64", held).cloned().unwrap();
                assert!((held..at).contains(&delta.number), "from {at} to {}", delta.number);
                (at, jumps) = (delta.number, jumps + 1);
            }
            assert!(jumps <= 30, "{jumps} jumps from {held}");
        }
    }

    #[test]
    fn bases_of_a_history() {
        let living: BTreeSet<u64> = (1..64).collect();
        let pointed = BTreeSet::from([5, 40, 63, 99]);
        assert_eq!(delta_bases(64, &living, &pointed), [63, 62, 60, 56, 48, 40, 32, 5]);
        assert_eq!(delta_bases(63, &living, &BTreeSet::new()), [62]);
        assert_eq!(delta_bases(1, &BTreeSet::new(), &BTreeSet::new()), [0; 0]);
        assert_eq!(delta_bases(64, &living, &living).len(), DELTAS_MAX);
    }

    #[test]
    fn the_way_back_from_a_rollback() {
        let found = |held| statement(7, &[6, 4, 3]).best_delta("x86_64", held).map(|delta| delta.number);
        assert_eq!(found(6), Some(6));
        assert_eq!(found(5), Some(6));
        assert_eq!(found(2), Some(3));
        assert_eq!(found(7), None);
        assert_eq!(found(9), None);
    }
}
