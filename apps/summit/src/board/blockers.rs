//! What is in the way of most tasks.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use farm::queue::Blocker;
use farm::task::State;

use super::Board;

impl Board {
    /// What blocks tasks, with how many each blocks directly: whatever blocks most first, at most `max`.
    pub(crate) fn blockers(&self, max: usize) -> Vec<(Blocker, usize)> {
        let mut counts: BTreeMap<&Blocker, usize> = BTreeMap::new();
        for living in self.living.values() {
            if let State::Blocked { by, .. } = &living.state {
                for blocker in by {
                    *counts.entry(blocker).or_default() += 1;
                }
            }
        }
        let mut counts: Vec<(&Blocker, usize)> = counts.into_iter().collect();
        // Equal ones in the same order every time.
        counts.sort_by_cached_key(|(blocker, tasks)| (Reverse(*tasks), blocker.to_string()));
        counts.truncate(max);
        counts.into_iter().map(|(blocker, tasks)| (blocker.clone(), tasks)).collect()
    }
}
