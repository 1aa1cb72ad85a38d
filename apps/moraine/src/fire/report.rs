//! What readers met, counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::FireArguments;
use super::caches::Caches;

/// Troubles that are told in full.
const TOLD_MAX: usize = 20;

/// What must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// What is named is not there.
    NotFound,
    /// Bytes are not what their digest says, or cannot be read at all.
    Mismatch,
    /// An index is not that of its history, or holds a part of a landing.
    Mixed,
}

/// What was met so far, by everybody.
#[derive(Debug, Default)]
pub(super) struct Record {
    requests: AtomicU64,
    bytes: AtomicU64,
    walks: AtomicU64,
    unavailable: AtomicU64,
    abandoned: AtomicU64,
    too_old: AtomicU64,
    oldest_pointer_ms: AtomicU64,
    landings: AtomicU64,
    operations: AtomicU64,
    kills: AtomicU64,
    imports: AtomicU64,
    syncs: AtomicU64,
    rollbacks_offered: AtomicU64,
    rollbacks_accepted: AtomicU64,
    rollbacks_refused: AtomicU64,
    seen: Mutex<BTreeSet<String>>,
    troubles: Mutex<(BTreeMap<Trouble, u64>, Vec<String>)>,
    /// What each history must hold because it came about by its landing: source and release.
    landed: Mutex<BTreeMap<String, Vec<(String, u64)>>>,
}

macro_rules! counters {
    ($($(#[$about:meta])* $name:ident => $counter:ident;)*) => {
        impl Record {
            $($(#[$about])* pub(super) fn $name(&self) { self.$counter.fetch_add(1, Ordering::Relaxed); })*
        }
    };
}

counters! {
    /// A walk from a pointer to its packages came to its end.
    walked => walks;
    /// A server was away or had nothing to say.
    was_unavailable => unavailable;
    /// A walk took longer than a download may.
    abandoned => abandoned;
    /// A pointer was older than caches may hand out.
    was_too_old => too_old;
    /// A landing is published.
    has_landed => landings;
    /// An operator's word was heard.
    was_operated => operations;
    /// Vessel was killed.
    was_killed => kills;
    /// A folder was imported.
    was_imported => imports;
    /// A Moss installation followed.
    has_synced => syncs;
    /// A Moss installation went back to an older pointer than it had followed.
    accepted_rollback => rollbacks_accepted;
    /// One refused to.
    refused_rollback => rollbacks_refused;
}

impl Record {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A request was answered with so many bytes.
    pub(super) fn requested(&self, bytes: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// So many older pointers were handed out to somebody who had followed a newer one.
    pub(super) fn rollbacks_were_offered(&self, count: u64) {
        self.rollbacks_offered.fetch_max(count, Ordering::Relaxed);
    }

    /// How old the pointer of a walk was.
    pub(super) fn pointer_was(&self, age: Duration) {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.oldest_pointer_ms.fetch_max(age_ms, Ordering::Relaxed);
    }

    /// A reader walked through this history.
    pub(super) fn saw(&self, history: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(history) {
            seen.insert(history.to_owned());
        }
    }

    /// What must not happen has happened.
    pub(super) fn trouble(&self, trouble: Trouble, text: String) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        *troubles.0.entry(trouble).or_default() += 1;
        if troubles.1.len() < TOLD_MAX {
            troubles.1.push(text);
        }
    }

    /// Whether something happened that must not.
    pub(super) fn has_trouble(&self) -> bool {
        !self.troubles.lock().unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    /// This history came about by the landing of this release.
    pub(super) fn landed_in(&self, history: String, source: &str, release: u64) {
        let mut landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        landed.entry(history).or_default().push((source.to_owned(), release));
    }

    /// What this history must hold.
    pub(super) fn landings_of(&self, history: &str) -> Vec<(String, u64)> {
        let landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        landed.get(history).cloned().unwrap_or_default()
    }

    /// Everything together.
    pub(super) fn outcome(
        &self,
        arguments: &FireArguments,
        caches: &Caches,
        time: Duration,
        (histories, removed): (usize, usize),
    ) -> Outcome {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |trouble| troubles.0.get(&trouble).copied().unwrap_or_default();
        Outcome {
            clients: arguments.clients,
            requests: count(&self.requests),
            histories,
            kills: count(&self.kills),
            not_found: of(Trouble::NotFound),
            mismatches: of(Trouble::Mismatch),
            mixed: of(Trouble::Mixed),
            ways: caches.names(),
            seconds: (time.as_secs_f64() * 10.0).round() / 10.0,
            bytes: count(&self.bytes),
            walks: count(&self.walks),
            histories_read: self.seen.lock().unwrap_or_else(PoisonError::into_inner).len(),
            landings: count(&self.landings),
            operations: count(&self.operations),
            imports: count(&self.imports),
            removed,
            systems: arguments.systems,
            syncs: count(&self.syncs),
            rollbacks_offered: count(&self.rollbacks_offered),
            rollbacks_refused: count(&self.rollbacks_refused),
            rollbacks_accepted: count(&self.rollbacks_accepted),
            unavailable: count(&self.unavailable),
            abandoned: count(&self.abandoned),
            too_old: count(&self.too_old),
            oldest_pointer_ms: count(&self.oldest_pointer_ms),
            troubles: troubles.1.clone(),
        }
    }
}

/// The JSON of `moraine fire`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Outcome {
    /// Readers at the same time.
    pub(super) clients: u32,
    pub(super) requests: u64,
    /// Histories that came about.
    pub(super) histories: usize,
    pub(super) kills: u64,
    pub(super) not_found: u64,
    pub(super) mismatches: u64,
    pub(super) mixed: u64,
    /// Ways to Vessel.
    pub(super) ways: Vec<String>,
    pub(super) seconds: f64,
    pub(super) bytes: u64,
    /// From a pointer to packages.
    pub(super) walks: u64,
    /// Histories that some reader walked through.
    pub(super) histories_read: usize,
    pub(super) landings: u64,
    pub(super) operations: u64,
    pub(super) imports: u64,
    /// Histories that pruning removed.
    pub(super) removed: usize,
    /// Moss installations, and how often they followed.
    pub(super) systems: u32,
    pub(super) syncs: u64,
    /// Older pointers that were handed out again to a Moss installation that had followed a newer one.
    pub(super) rollbacks_offered: u64,
    /// How often an installation refused one, of these or from a cache that was behind.
    pub(super) rollbacks_refused: u64,
    /// How often an installation went back to one.
    pub(super) rollbacks_accepted: u64,
    /// Requests that were made again, because a server was away.
    pub(super) unavailable: u64,
    /// Walks that took too long to count.
    pub(super) abandoned: u64,
    /// Pointers that were older than the caches may hand out, which happens when Vessel is away; they are not followed.
    pub(super) too_old: u64,
    /// The oldest pointer that was followed.
    pub(super) oldest_pointer_ms: u64,
    /// What must not have happened, the first of it.
    pub(super) troubles: Vec<String>,
}

impl Outcome {
    /// Whether nothing happened that must not.
    pub(super) fn is_clean(&self) -> bool {
        self.not_found == 0
            && self.mismatches == 0
            && self.mixed == 0
            && self.rollbacks_accepted == 0
            && self.troubles.is_empty()
    }

    pub(super) fn json(&self) -> String {
        // Text keys and plain values have no way to fail.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }

    pub(super) fn text(&self) -> String {
        format!(
            "{} readers by way of {} made {} requests in {} s: {} walks through {} of {} histories\n\
             {} landings, {} words of the operator, {} imports, {} histories removed, {} kills; Moss followed {} times\n\
             not found {}, other bytes {}, mixed {}, rollbacks accepted {} of {} offered, {} refused\n\
             {} requests made again, {} walks too slow and {} pointers too old to count; the oldest followed {:.1} s\n",
            self.clients,
            self.ways.join(", "),
            self.requests,
            self.seconds,
            self.walks,
            self.histories_read,
            self.histories,
            self.landings,
            self.operations,
            self.imports,
            self.removed,
            self.kills,
            self.syncs,
            self.not_found,
            self.mismatches,
            self.mixed,
            self.rollbacks_accepted,
            self.rollbacks_offered,
            self.rollbacks_refused,
            self.unavailable,
            self.abandoned,
            self.too_old,
            Duration::from_millis(self.oldest_pointer_ms).as_secs_f64(),
        )
    }
}
