//! Every text once, each with a number.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// A text in the table: with enough of its hash that others are nearly never looked at, nor this one when it moves.
#[derive(Debug, Clone, Copy)]
struct Known {
    hash: u32,
    number: u32,
}

impl Known {
    /// The table takes its bits from both ends of this.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

/// Texts by number, and numbers by text. All lie in one piece of memory, and are never given back. Names come from
/// reviewed recipes, so that a hash that is fast and always the same will do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    bytes: String,
    /// Where each ends in the bytes; it begins where the one before ends.
    ends: Vec<u32>,
    table: HashTable<Known>,
}

impl Texts {
    /// The text of this number; empty when there is none.
    pub(crate) fn get(&self, number: u32) -> &str {
        text(&self.bytes, &self.ends, number)
    }

    pub(crate) fn find(&self, wanted: &str) -> Option<u32> {
        let hash = hash_of(wanted);
        let is_wanted = |known: &Known| known.hash == hash && self.get(known.number) == wanted;
        self.table.find(Known::spread(hash), is_wanted).map(|known| known.number)
    }

    /// The number of a text, and whether it is new. Numbers are given from 0.
    pub(crate) fn intern(&mut self, wanted: &str) -> (u32, bool) {
        let hash = hash_of(wanted);
        let is_wanted =
            |known: &Known| known.hash == hash && text(&self.bytes, &self.ends, known.number) == wanted;
        match self.table.entry(Known::spread(hash), is_wanted, |known| Known::spread(known.hash)) {
            Entry::Occupied(known) => (known.get().number, false),
            Entry::Vacant(place) => {
                let number = store(&mut self.bytes, &mut self.ends, wanted);
                place.insert(Known { hash, number });
                (number, true)
            }
        }
    }

    /// Keeps a text without making it known: nobody will find it.
    pub(crate) fn keep(&mut self, text: &str) -> u32 {
        store(&mut self.bytes, &mut self.ends, text)
    }

    /// Gives back what growing took in advance.
    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

fn hash_of(text: &str) -> u32 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(text.as_bytes());
    u32::try_from(hasher.finish() >> 32).unwrap_or_default()
}

fn text<'t>(bytes: &'t str, ends: &[u32], number: u32) -> &'t str {
    let index = number as usize;
    let end_of = |index: usize| ends.get(index).map_or(0, |&end| end as usize);
    let begin = index.checked_sub(1).map_or(0, end_of);
    bytes.get(begin..end_of(index)).unwrap_or_default()
}

/// There are never as many texts, nor are they together as long, as would not fit: a catalogue has at most a few
/// hundred thousand names.
fn store(bytes: &mut String, ends: &mut Vec<u32>, text: &str) -> u32 {
    let number = u32::try_from(ends.len()).unwrap_or(u32::MAX);
    bytes.push_str(text);
    ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_and_comes_back_by_it() {
        let mut texts = Texts::default();
        let numbers = ["zlib", "", "xz", "zlib", "ä"].map(|text| texts.intern(text));
        assert_eq!(numbers, [(0, true), (1, true), (2, true), (0, false), (3, true)]);
        assert_eq!([1, 2, 3, 4].map(|number| texts.get(number)), ["", "xz", "ä", ""]);
        assert_eq!((texts.find("xz"), texts.find("x")), (Some(2), None));
        assert_eq!((texts.keep("a/b"), texts.find("a/b"), texts.get(4)), (4, None, "a/b"));
        assert_eq!(texts.intern("a/b"), (5, true));
    }

    #[test]
    fn many_texts_are_found_again() {
        let mut texts = Texts::default();
        for number in 0..5000 {
            assert_eq!(texts.intern(&format!("p{number}")), (number, true));
        }
        texts.shrink();
        assert!((0..5000).all(|number| texts.find(&format!("p{number}")) == Some(number)));
    }
}
