//! How long histories stay, and which packages the ones that stay hold.
//!
//! Old histories go in two phases. First they are *given up*: the root index no longer names them, and nobody new comes to
//! them. Only after a grace time, longer than any cache keeps a root index, their files are *removed*. What a stream or a tag
//! points to is never given up; what was given up and is pointed to again is taken back.

use std::collections::{BTreeMap, BTreeSet};

/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// How long histories stay that nothing points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Days for which every history stays.
    pub keep_days: u32,
    /// How many of the newest stay, however old they are.
    pub keep_newest: u32,
    /// Seconds between giving a history up and removing its files: longer than any cache keeps what names it.
    pub grace_seconds: u32,
}

impl Default for Retention {
    /// Two weeks, as AerynOS keeps histories; a few in any case, so that there is something to roll back to; and a grace of a
    /// week, where an old root index is served for a day at most when its server is down.
    fn default() -> Self {
        Self { keep_days: 14, keep_newest: 16, grace_seconds: 7 * 86_400 }
    }
}

/// What decides how long a history stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryAge {
    /// Its number within the channel; newer ones have higher ones.
    pub number: u64,
    /// Unix seconds.
    pub recorded_at: i64,
    /// Unix seconds; none while it is named by the root index.
    pub given_up_at: Option<i64>,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Due {
    /// No longer to be named.
    pub give_up: Vec<u64>,
    /// Given up before, and to be named again.
    pub take_back: Vec<u64>,
    /// Given up long enough ago: their files may go.
    pub remove: Vec<u64>,
    /// Given up, and waiting: number, and from when on its files may go, in Unix seconds.
    pub waiting: Vec<(u64, i64)>,
}

impl Due {
    /// Whether all stays as it is.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.give_up.is_empty() && self.take_back.is_empty() && self.remove.is_empty()
    }
}

impl Retention {
    /// What is due at `now`, in Unix seconds. Streams and tags point to `pinned`.
    #[must_use]
    pub fn due(&self, histories: &[HistoryAge], pinned: &BTreeSet<u64>, now: i64) -> Due {
        let mut numbers: Vec<u64> = histories.iter().map(|history| history.number).collect();
        numbers.sort_unstable_by(|left, right| right.cmp(left));
        let newest = usize::try_from(self.keep_newest).unwrap_or(usize::MAX);
        let newest: BTreeSet<u64> = numbers.into_iter().take(newest).collect();
        let kept_from = now.saturating_sub(i64::from(self.keep_days).saturating_mul(DAY_SECONDS));
        let mut due = Due::default();
        for history in histories {
            let number = history.number;
            let stays =
                pinned.contains(&number) || newest.contains(&number) || history.recorded_at > kept_from;
            match (stays, history.given_up_at) {
                (true, None) => {}
                (true, Some(_)) => due.take_back.push(number),
                (false, None) => due.give_up.push(number),
                (false, Some(at)) => {
                    // Times are cut to whole seconds: a second more, so that it is never less.
                    let grace = self.grace_seconds.saturating_add(u32::from(self.grace_seconds > 0));
                    let until = at.saturating_add(i64::from(grace));
                    if until <= now { due.remove.push(number) } else { due.waiting.push((number, until)) }
                }
            }
        }
        due
    }
}

/// What a history changed from the one before it: names that came or were replaced, with what they stand for now, and names
/// that left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryChanges<Name, Object> {
    /// Its number.
    pub number: u64,
    /// The history that it was made from; always a lower number.
    pub previous: Option<u64>,
    /// Each name once.
    pub changes: Vec<(Name, Option<Object>)>,
}

/// Everything that a history holds; nothing where there is no such history. `histories` may have any order.
#[must_use]
pub fn content<Name: Ord, Object>(
    histories: &[HistoryChanges<Name, Object>],
    number: u64,
) -> BTreeMap<&Name, &Object> {
    let by_number: BTreeMap<u64, &HistoryChanges<Name, Object>> =
        histories.iter().map(|history| (history.number, history)).collect();
    let mut line = Vec::new();
    let mut next = Some(number);
    while let Some(history) = next.and_then(|number| by_number.get(&number)) {
        line.push(*history);
        // Only downwards, so that no damage makes this go round.
        next = history.previous.filter(|previous| *previous < history.number);
    }
    let mut content = BTreeMap::new();
    for (name, object) in line.iter().rev().flat_map(|history| &history.changes) {
        match object {
            Some(object) => drop(content.insert(name, object)),
            None => drop(content.remove(name)),
        }
    }
    content
}

/// Every object that at least one of the `living` histories holds. Looks at each change twice, however many histories live.
#[must_use]
pub fn held<'a, Name: Ord, Object: Ord>(
    histories: &'a [HistoryChanges<Name, Object>],
    living: &BTreeSet<u64>,
) -> BTreeSet<&'a Object> {
    let mut following: BTreeMap<Option<u64>, Vec<&HistoryChanges<Name, Object>>> = BTreeMap::new();
    for history in histories {
        let previous = history.previous.filter(|previous| *previous < history.number);
        following.entry(previous).or_default().push(history);
    }
    let mut walk = Walk { places: BTreeMap::new(), living_seen: 0, held: BTreeSet::new() };
    let mut open: Vec<Visit<'a, Name, Object>> =
        following.get(&None).into_iter().flatten().map(|history| Visit::Enter(history)).collect();
    while let Some(visit) = open.pop() {
        match visit {
            Visit::Enter(history) => {
                let before =
                    history.changes.iter().map(|(name, object)| (name, walk.put(name, object.as_ref())));
                let before = before.collect();
                walk.living_seen += u64::from(living.contains(&history.number));
                open.push(Visit::Leave(before));
                open.extend(
                    following.get(&Some(history.number)).into_iter().flatten().map(|it| Visit::Enter(it)),
                );
            }
            Visit::Leave(before) => {
                for (name, object) in before {
                    walk.put(name, object);
                }
            }
        }
    }
    walk.held
}

enum Visit<'a, Name, Object> {
    Enter(&'a HistoryChanges<Name, Object>),
    /// What stood in the places that the history changed.
    Leave(Vec<(&'a Name, Option<&'a Object>)>),
}

/// A walk through the histories, each before those that were made from it. An object is held when living histories were
/// passed while it was in its place.
struct Walk<'a, Name, Object> {
    /// What is in place, and how many living histories had been passed when it came there.
    places: BTreeMap<&'a Name, (&'a Object, u64)>,
    living_seen: u64,
    held: BTreeSet<&'a Object>,
}

impl<'a, Name: Ord, Object: Ord> Walk<'a, Name, Object> {
    /// Puts an object, or nothing, into a place; answers what was there.
    fn put(&mut self, name: &'a Name, object: Option<&'a Object>) -> Option<&'a Object> {
        let before = match object {
            Some(object) => self.places.insert(name, (object, self.living_seen)),
            None => self.places.remove(name),
        };
        let (before, since) = before?;
        if self.living_seen > since {
            self.held.insert(before);
        }
        Some(before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAYS: Retention = Retention { keep_days: 10, keep_newest: 1, grace_seconds: 5 * 86_400 };

    fn check(age: (i64, Option<i64>), pinned: bool, expect: &str) {
        let (recorded_days_ago, given_up_days_ago) = age;
        let now = 1_000 * DAY_SECONDS;
        let at = |days: i64| now - days * DAY_SECONDS;
        let old = HistoryAge {
            number: 1,
            recorded_at: at(recorded_days_ago),
            given_up_at: given_up_days_ago.map(at),
        };
        let newest = HistoryAge { number: 2, recorded_at: at(500), given_up_at: None };
        let pinned = pinned.then_some(1).into_iter().collect();
        let due = DAYS.due(&[old, newest], &pinned, now);
        let found = match (&*due.give_up, &*due.take_back, &*due.remove, &*due.waiting) {
            ([], [], [], []) => "stays",
            ([1], [], [], []) => "give up",
            ([], [1], [], []) => "take back",
            ([], [], [1], []) => "remove",
            ([], [], [], [(1, _)]) => "waits",
            _ => "something else",
        };
        assert_eq!(found, expect, "{age:?} {pinned:?}: {due:?}");
    }

    #[test]
    fn histories_go_in_two_phases_and_never_what_is_pointed_to() {
        check((9, None), false, "stays");
        check((11, None), false, "give up");
        check((11, None), true, "stays");
        check((100, Some(4)), false, "waits");
        check((100, Some(5)), false, "waits");
        check((100, Some(6)), false, "remove");
        check((100, Some(50)), true, "take back");
        // A policy that keeps longer than the one before.
        check((3, Some(2)), false, "take back");
        // A clock that went back keeps everything.
        check((-30, None), false, "stays");
        check((100, Some(-1)), false, "waits");
    }

    fn histories() -> impl Strategy<Value = Vec<HistoryChanges<u8, u16>>> {
        let changes = proptest::collection::btree_map(0..4_u8, proptest::option::of(0..12_u16), 0..4);
        let history = (proptest::option::of(any::<prop::sample::Index>()), changes);
        proptest::collection::vec(history, 0..12).prop_map(|all| {
            let each = all.into_iter().enumerate().map(|(number, (previous, changes))| HistoryChanges {
                number: u64::try_from(number).unwrap() + 1,
                previous: previous
                    .filter(|_| number > 0)
                    .map(|index| u64::try_from(index.index(number)).unwrap() + 1),
                changes: changes.into_iter().collect(),
            });
            each.collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_held_is_what_the_living_hold(all in histories(), picked in any::<u16>()) {
            let living: BTreeSet<u64> =
                all.iter().map(|it| it.number).filter(|number| picked >> (number % 16) & 1 == 1).collect();
            let naive: BTreeSet<&u16> =
                living.iter().flat_map(|number| content(&all, *number).into_values()).collect();
            prop_assert_eq!(held(&all, &living), naive);
        }
    }
}
