//! Many short lists of numbers in one piece of memory.
//!
//! The graph has eight lists for each recipe and its dependency, most of them with a few numbers: kept each for itself,
//! they would cost more in being apart than in what they say. A list that gets longer moves to the end; what it leaves is
//! unused until there is more unused than used, and then everything moves together.

use super::names::number;

/// Unused numbers up to which moving everything together is not worth it. Small worlds are tested, and both ways.
const UNUSED_MAX: usize = if cfg!(test) { 8 } else { 1 << 16 };

/// A list in a [`Pool`]. It has one owner: a copy is out of date once the list is changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct List {
    begin: u32,
    len: u32,
}

/// The numbers of all lists.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    numbers: Vec<u32>,
    unused: usize,
}

/// Something to put into the list of an owner, or to take out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    /// The owner in the highest bits, then the number, then whether it is put in: so they are in the order in which they
    /// are made, and what is taken out and put in again ends up in.
    bits: u64,
}

impl Change {
    pub(super) fn new(owner: u32, number: u32, is_put: bool) -> Self {
        Self { bits: u64::from(owner) << 33 | u64::from(number) << 1 | u64::from(is_put) }
    }

    pub(super) fn take(owner: u32, number: u32) -> Self {
        Self::new(owner, number, false)
    }

    pub(super) fn owner(self) -> u32 {
        u32::try_from(self.bits >> 33).unwrap_or_default()
    }

    fn number(self) -> u32 {
        u32::try_from(self.bits >> 1 & u64::from(u32::MAX)).unwrap_or_default()
    }

    fn is_put(self) -> bool {
        self.bits & 1 == 1
    }
}

impl Pool {
    pub(super) fn get(&self, list: List) -> &[u32] {
        let begin = list.begin as usize;
        self.numbers.get(begin..begin + list.len as usize).unwrap_or_default()
    }

    /// Makes `list` have these numbers.
    pub(super) fn set(&mut self, list: &mut List, numbers: &[u32]) {
        let begin = list.begin as usize;
        self.unused += list.len as usize;
        let len = number(numbers.len());
        let known = self.numbers.get_mut(begin..begin + numbers.len()).filter(|_| len <= list.len);
        if let Some(known) = known {
            known.copy_from_slice(numbers);
            self.unused -= numbers.len();
            list.len = len;
        } else {
            *list = List { begin: number(self.numbers.len()), len };
            self.numbers.extend_from_slice(numbers);
        }
    }

    /// Takes a list out.
    pub(super) fn take(&mut self, list: &mut List) -> Vec<u32> {
        let numbers = self.get(*list).to_vec();
        self.unused += numbers.len();
        *list = List::default();
        numbers
    }

    /// Makes changes to sorted lists, and forgets them. `list` says which list of an owner is meant.
    pub(super) fn apply<T>(
        &mut self,
        changes: &mut Vec<Change>,
        owners: &mut [T],
        list: impl Fn(&mut T) -> &mut List,
    ) {
        changes.sort_unstable();
        let mut numbers: Vec<u32> = Vec::new();
        for of_owner in changes.chunk_by(|left, right| left.owner() == right.owner()) {
            let owner = of_owner.first().map_or(0, |change| change.owner() as usize);
            let Some(list) = owners.get_mut(owner).map(&list) else { continue };
            numbers.clear();
            let mut known = self.get(*list).iter().copied().peekable();
            for change in of_owner {
                while let Some(number) = known.next_if(|&known| known < change.number()) {
                    numbers.push(number);
                }
                known.next_if_eq(&change.number());
                if numbers.last() == Some(&change.number()) {
                    numbers.pop();
                }
                if change.is_put() {
                    numbers.push(change.number());
                }
            }
            numbers.extend(known);
            self.set(list, &numbers);
        }
        changes.clear();
    }

    /// Says lists the other way round: `turned` tells for an owner and a number in its list, to whose list what is
    /// added. Returns the lists of `count` such, each in the order of the owners.
    pub(super) fn turn(
        &mut self,
        owners: impl Iterator<Item = List> + Clone,
        count: usize,
        turned: impl Fn(u32, u32) -> (u32, u32),
    ) -> Vec<List> {
        let mut lists = vec![List::default(); count];
        for (owner, list) in (0..).zip(owners.clone()) {
            for &number in self.get(list) {
                if let Some(list) = lists.get_mut(turned(owner, number).0 as usize) {
                    list.len += 1;
                }
            }
        }
        let mut end = number(self.numbers.len());
        for list in &mut lists {
            list.begin = end;
            end += std::mem::take(&mut list.len);
        }
        self.numbers.reserve_exact((end as usize).saturating_sub(self.numbers.len()));
        self.numbers.resize(end as usize, 0);
        for (owner, list) in (0..).zip(owners) {
            for place in list.begin..list.begin + list.len {
                let number = self.numbers.get(place as usize).copied().unwrap_or_default();
                let (target, value) = turned(owner, number);
                let Some(list) = lists.get_mut(target as usize) else { continue };
                if let Some(place) = self.numbers.get_mut((list.begin + list.len) as usize) {
                    *place = value;
                }
                list.len += 1;
            }
        }
        lists
    }

    /// Whether it is worth it to move everything together.
    pub(super) fn is_loose(&self) -> bool {
        self.unused > UNUSED_MAX && self.unused > self.numbers.len() / 2
    }

    /// Moves everything together. `lists` are all that there are.
    pub(super) fn tighten<'l>(&mut self, lists: impl Iterator<Item = &'l mut List>) {
        let mut numbers = Vec::with_capacity(self.numbers.len().saturating_sub(self.unused));
        for list in lists {
            let begin = number(numbers.len());
            numbers.extend_from_slice(self.get(*list));
            list.begin = begin;
        }
        self.numbers = numbers;
        self.unused = 0;
    }

    /// Gives back what growing took in advance.
    pub(super) fn shrink(&mut self) {
        self.numbers.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_have_what_was_put_in_and_not_taken_out(
            steps in proptest::collection::vec(proptest::collection::vec((0..4_u32, 0..9_u32, any::<bool>()), 0..9), 1..12)
        ) {
            let mut pool = Pool::default();
            let mut lists = [List::default(); 4];
            let mut expect = [const { BTreeSet::<u32>::new() }; 4];
            for step in steps {
                let mut changes: Vec<Change> = step
                    .iter()
                    .map(|&(owner, number, is_put)| Change::new(owner, number, is_put))
                    .collect();
                for &(owner, number, _) in step.iter().filter(|(_, _, is_put)| !is_put) {
                    expect[owner as usize].remove(&number);
                }
                for &(owner, number, _) in step.iter().filter(|(_, _, is_put)| *is_put) {
                    expect[owner as usize].insert(number);
                }
                pool.apply(&mut changes, &mut lists, |list| list);
                prop_assert!(changes.is_empty());
                if step.len() % 3 == 0 {
                    pool.tighten(lists.iter_mut());
                    let used: usize = expect.iter().map(BTreeSet::len).sum();
                    prop_assert_eq!((pool.unused, pool.numbers.len()), (0, used));
                }
                let used: usize = expect.iter().map(BTreeSet::len).sum();
                prop_assert_eq!(pool.numbers.len() - pool.unused, used);
                for (list, expect) in lists.iter().zip(&expect) {
                    prop_assert!(pool.get(*list).iter().eq(expect));
                }
            }
        }
    }

    #[test]
    fn lists_are_said_the_other_way_round() {
        let mut pool = Pool::default();
        let mut lists = [List::default(); 3];
        for (list, numbers) in lists.iter_mut().zip([&[0, 3][..], &[], &[3, 1]]) {
            pool.set(list, numbers);
        }
        let turned = pool.turn(lists.iter().copied(), 5, |owner, number| (number, owner * 10));
        let turned: Vec<&[u32]> = turned.into_iter().map(|list| pool.get(list)).collect();
        assert_eq!(turned, [&[0][..], &[20], &[], &[0, 20], &[]]);
    }

    #[test]
    fn the_largest_numbers_fit() {
        let change = Change::new(u32::MAX >> 1, u32::MAX, true);
        assert_eq!((change.owner(), change.number(), change.is_put()), (u32::MAX >> 1, u32::MAX, true));
        let put = Change::new(1, 5, true);
        assert!(Change::take(1, 5) < put && put < Change::take(2, 0));
    }
}
