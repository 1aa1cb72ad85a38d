//! Sets of small numbers, for questions about who is reached from where.

/// A table of sets: a row for each of a count of things, over numbers below a bound.
#[derive(Debug)]
pub(crate) struct Sets {
    words: Vec<u64>,
    words_each: usize,
}

impl Sets {
    pub(crate) fn new(rows: usize, numbers: usize) -> Self {
        let words_each = numbers.div_ceil(64).max(1);
        Self { words: vec![0; rows * words_each], words_each }
    }

    pub(crate) fn insert(&mut self, row: usize, number: usize) {
        if let Some(word) = self.words.get_mut(row * self.words_each + number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Adds everything in `other` of the same table to `row`.
    pub(crate) fn add_row(&mut self, row: usize, other: usize) {
        for word in 0..self.words_each {
            let more = self.words.get(other * self.words_each + word).copied().unwrap_or(0);
            if let Some(known) = self.words.get_mut(row * self.words_each + word) {
                *known |= more;
            }
        }
    }

    pub(crate) fn has(&self, row: usize, number: usize) -> bool {
        let word = self.words.get(row * self.words_each + number / 64).copied().unwrap_or(0);
        word & 1 << (number % 64) != 0
    }

    /// The numbers in a row, rising.
    pub(crate) fn of(&self, row: usize) -> Vec<usize> {
        let words = self.words.get(row * self.words_each..(row + 1) * self.words_each).unwrap_or_default();
        let mut found = Vec::new();
        for (place, &word) in words.iter().enumerate() {
            let mut rest = word;
            while rest != 0 {
                found.push(place * 64 + usize::try_from(rest.trailing_zeros()).unwrap_or(0));
                rest &= rest - 1;
            }
        }
        found
    }
}
