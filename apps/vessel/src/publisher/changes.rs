//! What became another between two histories, for whoever follows a channel without reading its index after every landing.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::{PublishError, Publisher};
use crate::admission::{Package, PackageKey};
use crate::format;
use crate::tree::TreeError;

/// Histories that are remembered. Whoever follows asks after every landing, or after every few; whoever was away for
/// longer reads the index once.
const STEPS_MAX: usize = 256;

/// Packages that are told of at once. A build brings three, the largest some hundred; each is about a kilobyte, and all fit
/// into a message of [`wire::limits::MESSAGE_SIZE_BYTES_MAX`].
const PACKAGES_MAX: usize = 1000;

/// From one history to the next one.
#[derive(Debug)]
struct Passage {
    from: String,
    to: String,
    touched: Vec<PackageKey>,
}

/// The newest passages of a channel.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<Passage>>);

/// What became another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    /// That is not known; the newest history is this one, if there is any.
    Unknown { history: String },
    /// These packages came, as an index; and those of these names went.
    Since { history: String, arrived: Vec<u8>, gone: Vec<String> },
}

impl Recent {
    pub(super) fn note(&self, from: &str, to: &str, touched: Vec<PackageKey>) {
        let mut passages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        passages.push_back(Passage { from: from.to_owned(), to: to.to_owned(), touched });
        while passages.len() > STEPS_MAX {
            passages.pop_front();
        }
    }

    /// What was touched on the way from `since` to `history`; none when not all of the way is remembered.
    fn touched(&self, since: &str, history: &str) -> Option<BTreeSet<PackageKey>> {
        let passages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = history;
        let mut touched = BTreeSet::new();
        for passage in passages.iter().rev() {
            if at == since {
                break;
            }
            if passage.to == at {
                touched.extend(passage.touched.iter().cloned());
                at = &passage.from;
            }
        }
        (at == since).then_some(touched)
    }
}

impl Publisher {
    /// What readers of a channel see now that they did not at `since`.
    pub(crate) fn changes(
        &self,
        channel: &str,
        architecture: &str,
        since: &str,
    ) -> Result<Changes, PublishError> {
        let channel = self.channel(channel)?;
        let shown = channel.shown();
        let history = shown.current.map(|current| current.id).unwrap_or_default();
        let touched = channel.recent.touched(since, &history).filter(|keys| keys.len() <= PACKAGES_MAX);
        let (false, Some(touched)) = (history.is_empty(), touched) else {
            return Ok(Changes::Unknown { history });
        };
        let mut arrived: Vec<&Package> = Vec::new();
        let mut gone = Vec::new();
        for key in touched.iter().filter(|key| key.architecture == architecture) {
            match shown.snapshot.get(key) {
                Some(package) => arrived.push(package),
                None => gone.push(key.name.clone()),
            }
        }
        let bytes = match arrived.as_slice() {
            [] => Vec::new(),
            packages => format::PackedEntries::default().index(packages).map_err(|source| {
                TreeError::Format { what: format!("what changed from {since} to {history}"), source }
            })?,
        };
        Ok(Changes::Since { history, arrived: bytes, gone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> PackageKey {
        PackageKey { name: name.into(), architecture: "x86_64".into() }
    }

    #[test]
    fn the_way_back_is_found_also_past_a_history_that_was_left_again() {
        let recent = Recent::default();
        let check = |since: &str, history: &str, expect: Option<&[&str]>| {
            let found = recent.touched(since, history);
            let names = found.map(|keys| keys.into_iter().map(|key| key.name).collect::<Vec<_>>());
            assert_eq!(
                names.as_deref(),
                expect
                    .map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                    .as_deref(),
                "{since} {history}"
            );
        };
        check("1", "1", Some(&[]));
        check("1", "2", None);
        recent.note("1", "2", vec![key("a"), key("b")]);
        recent.note("2", "3", vec![key("b"), key("c")]);
        check("1", "3", Some(&["a", "b", "c"]));
        check("2", "3", Some(&["b", "c"]));
        check("3", "3", Some(&[]));
        check("0", "3", None);
        // Back to the second, and on from there.
        recent.note("2", "4", vec![key("d")]);
        check("1", "4", Some(&["a", "b", "d"]));
        check("3", "4", None);
        for number in 4..4 + STEPS_MAX {
            recent.note(&number.to_string(), &(number + 1).to_string(), vec![key("x")]);
        }
        check("3", &(4 + STEPS_MAX).to_string(), None);
        check("4", &(4 + STEPS_MAX).to_string(), Some(&["x"]));
    }
}
