//! Sets of small numbers, such as recipes of a graph, that are filled, sorted and thrown away.

/// Numbers, each once. Putting one in costs the same whatever is in already; the memory is an eighth of a byte for each
/// number up to the highest, and four bytes for each that is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NumberSet {
    bits: Vec<u64>,
    /// In the order in which they were put in.
    numbers: Vec<u32>,
}

impl NumberSet {
    fn place(number: u32) -> (usize, u64) {
        ((number / u64::BITS) as usize, 1 << (number % u64::BITS))
    }

    /// Whether it was not in already.
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = Self::place(number);
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let Some(word) = self.bits.get_mut(word) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        if is_new {
            self.numbers.push(number);
        }
        is_new
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        let (word, bit) = Self::place(number);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// All, the smallest first.
    pub(crate) fn sorted(&mut self) -> &[u32] {
        // Nearly always they were put in in order.
        if !self.numbers.is_sorted() {
            self.numbers.sort_unstable();
        }
        &self.numbers
    }

    /// Takes all out, the smallest first.
    pub(crate) fn take_sorted(&mut self) -> Vec<u32> {
        self.sorted();
        let numbers = std::mem::take(&mut self.numbers);
        for &number in &numbers {
            if let Some(word) = self.bits.get_mut(Self::place(number).0) {
                *word = 0;
            }
        }
        numbers
    }

    /// All, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.numbers.iter().copied()
    }
}

impl Extend<u32> for NumberSet {
    fn extend<I: IntoIterator<Item = u32>>(&mut self, numbers: I) {
        for number in numbers {
            self.insert(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_once_and_comes_out_in_order() {
        let mut set = NumberSet::default();
        let is_new: Vec<bool> = [200, 3, 200, 64, 0].map(|number| set.insert(number)).into();
        assert_eq!(is_new, [true, true, false, true, true]);
        assert_eq!(
            (set.numbers.len(), set.contains(64), set.contains(65), set.contains(9999)),
            (4, true, false, false)
        );
        assert_eq!(set.iter().collect::<Vec<_>>(), [200, 3, 64, 0]);
        assert_eq!(set.sorted(), [0, 3, 64, 200]);
        assert_eq!(set.take_sorted(), [0, 3, 64, 200]);
        assert!(set.is_empty() && !set.contains(64), "and all are out");
        set.extend([3, 3]);
        assert_eq!(set.sorted(), [3]);
    }
}
