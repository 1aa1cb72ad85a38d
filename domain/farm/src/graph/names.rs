//! Every text once, and every needed dependency once, each with a number.
//!
//! Numbers are never given back: the memory that a name once took is free again when the graph is drawn afresh.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use package::{Dependency, DependencyKind};
use smallvec::SmallVec;

/// Most lists of the graph are this short or shorter: they then need no memory of their own.
pub(super) type List = SmallVec<[u32; 4]>;

/// Stands for no number.
pub(super) const NONE: u32 = u32::MAX;

/// A text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name(pub(super) u32);

/// A position as a number. There are never as many recipes, texts or dependencies as would not fit: a catalogue has at
/// most a few hundred thousand of each, and the memory would be full long before.
pub(super) fn number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(NONE)
}

/// Maps and sets of the graph. Names come from reviewed recipes, so that a hash that is fast and always the same will do.
pub(super) type Map<K, V> = HashMap<K, V, FixedState>;

/// See [`Map`].
pub(super) type Set<K> = HashSet<K, FixedState>;

pub(super) fn fingerprint<T: std::hash::Hash + ?Sized>(value: &T) -> u64 {
    FixedState::default().hash_one(value)
}

/// What is known of one text.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where it ends in the bytes; it begins where the one before ends.
    end: u32,
    /// The recipe whose source name it is.
    recipe: u32,
    /// The recipe whose path it is.
    recipe_at: u32,
    /// The first dependency with this name; see [`Thing::next`].
    thing: u32,
}

/// Texts by number, and numbers by text.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    bytes: String,
    entries: Vec<Entry>,
    table: HashTable<Name>,
}

impl Names {
    pub(super) fn text(&self, name: Name) -> &str {
        text(&self.bytes, &self.entries, name)
    }

    pub(super) fn find(&self, wanted: &str) -> Option<Name> {
        self.table.find(fingerprint(wanted), |&name| self.text(name) == wanted).copied()
    }

    pub(super) fn intern(&mut self, wanted: &str) -> Name {
        if let Some(name) = self.find(wanted) {
            return name;
        }
        let name = Name(number(self.entries.len()));
        self.bytes.push_str(wanted);
        let end = number(self.bytes.len());
        self.entries.push(Entry { end, recipe: NONE, recipe_at: NONE, thing: NONE });
        let (bytes, entries) = (&self.bytes, &self.entries);
        self.table.insert_unique(fingerprint(wanted), name, |&name| fingerprint(text(bytes, entries, name)));
        name
    }

    /// Gives back what growing took in advance.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    pub(super) fn recipe(&self, source: Name) -> Option<u32> {
        self.entries.get(source.0 as usize).map(|entry| entry.recipe).filter(|&recipe| recipe != NONE)
    }

    pub(super) fn set_recipe(&mut self, source: Name, recipe: u32) {
        if let Some(entry) = self.entries.get_mut(source.0 as usize) {
            entry.recipe = recipe;
        }
    }

    pub(super) fn recipe_at(&self, path: Name) -> Option<u32> {
        self.entries.get(path.0 as usize).map(|entry| entry.recipe_at).filter(|&recipe| recipe != NONE)
    }

    pub(super) fn set_recipe_at(&mut self, path: Name, recipe: u32) {
        if let Some(entry) = self.entries.get_mut(path.0 as usize) {
            entry.recipe_at = recipe;
        }
    }
}

fn text<'n>(bytes: &'n str, entries: &[Entry], name: Name) -> &'n str {
    let index = name.0 as usize;
    let end_of = |index: usize| entries.get(index).map_or(0, |entry| entry.end as usize);
    let begin = index.checked_sub(1).map_or(0, end_of);
    bytes.get(begin..end_of(index)).unwrap_or_default()
}

/// Who has a dependency that some recipe needs, besides the recipes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Had {
    /// Our own repository.
    pub(super) own: bool,
    /// One of the further repositories.
    pub(super) others: bool,
    /// The machine that builds.
    pub(super) host: bool,
}

impl Had {
    pub(super) fn at_all(self) -> bool {
        self.own || self.others || self.host
    }
}

/// A dependency that some recipe needs, or once needed.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    kind: DependencyKind,
    name: Name,
    /// The next dependency with the same name and another kind.
    next: u32,
    pub(super) had: Had,
    /// Recipes that offer it.
    pub(super) providers: List,
    /// Recipes that need it for their build.
    pub(super) build_users: List,
    /// Recipes whose packages need it at run time.
    pub(super) run_users: List,
}

/// Needed dependencies by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Things {
    all: Vec<Thing>,
}

impl Things {
    /// Gives back what growing took in advance.
    pub(super) fn shrink(&mut self) {
        for thing in &mut self.all {
            for list in [&mut thing.providers, &mut thing.build_users, &mut thing.run_users] {
                list.shrink_to_fit();
            }
        }
        self.all.shrink_to_fit();
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, thing: u32) -> Option<&Thing> {
        self.all.get(thing as usize)
    }

    pub(super) fn get_mut(&mut self, thing: u32) -> Option<&mut Thing> {
        self.all.get_mut(thing as usize)
    }

    pub(super) fn dependency(&self, names: &Names, thing: u32) -> Option<Dependency> {
        self.get(thing).map(|thing| Dependency::new(thing.kind, names.text(thing.name)))
    }

    pub(super) fn kind_and_name<'n>(
        &self,
        names: &'n Names,
        thing: u32,
    ) -> Option<(DependencyKind, &'n str)> {
        self.get(thing).map(|thing| (thing.kind, names.text(thing.name)))
    }

    /// The number of a dependency, if anybody needs it.
    pub(super) fn find(&self, names: &Names, kind: DependencyKind, name: &str) -> Option<u32> {
        self.find_named(names, kind, names.find(name)?)
    }

    fn find_named(&self, names: &Names, kind: DependencyKind, name: Name) -> Option<u32> {
        let mut next = names.entries.get(name.0 as usize)?.thing;
        while let Some(thing) = self.get(next) {
            if thing.kind == kind {
                return Some(next);
            }
            next = thing.next;
        }
        None
    }

    pub(super) fn intern(&mut self, names: &mut Names, dependency: &Dependency) -> u32 {
        let name = names.intern(&dependency.name);
        if let Some(thing) = self.find_named(names, dependency.kind, name) {
            return thing;
        }
        let thing = number(self.all.len());
        let Some(entry) = names.entries.get_mut(name.0 as usize) else { return NONE };
        self.all.push(Thing {
            kind: dependency.kind,
            name,
            next: entry.thing,
            had: Had::default(),
            providers: List::new(),
            build_users: List::new(),
            run_users: List::new(),
        });
        entry.thing = thing;
        thing
    }
}

/// Puts `value` into a sorted list.
pub(super) fn insert(list: &mut List, value: u32) {
    if let Err(place) = list.binary_search(&value) {
        list.insert(place, value);
    }
}

/// Takes `value` out of a sorted list.
pub(super) fn remove(list: &mut List, value: u32) {
    if let Ok(place) = list.binary_search(&value) {
        list.remove(place);
    }
}

/// What only the sorted list `before` has, and what only the sorted list `after` has.
pub(super) fn compare(before: &[u32], after: &[u32]) -> (List, List) {
    let only = |left: &[u32], right: &[u32]| {
        left.iter().copied().filter(|value| right.binary_search(value).is_err()).collect()
    };
    (only(before, after), only(after, before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_and_comes_back_by_it() {
        let mut names = Names::default();
        let numbers: Vec<Name> = ["zlib", "", "xz", "zlib", "ä"].map(|text| names.intern(text)).into();
        assert_eq!(numbers[0], numbers[3]);
        assert_eq!([1, 2, 4].map(|index: usize| names.text(numbers[index])), ["", "xz", "ä"]);
        assert_eq!((names.find("xz"), names.find("x")), (Some(numbers[2]), None));
    }

    #[test]
    fn kinds_of_one_name_are_different_things() {
        let (mut names, mut things) = (Names::default(), Things::default());
        let texts = ["zlib", "pkgconfig(zlib)", "binary(zlib)", "pkgconfig(zlib)"];
        let numbers = texts.map(|text| things.intern(&mut names, &text.parse().unwrap()));
        assert_eq!(numbers, [0, 1, 2, 1]);
        assert_eq!(things.find(&names, DependencyKind::Binary, "zlib"), Some(2));
        assert_eq!(things.find(&names, DependencyKind::Soname, "zlib"), None);
        assert_eq!(things.dependency(&names, 1).unwrap().to_string(), "pkgconfig(zlib)");
    }

    #[test]
    fn lists_are_compared_both_ways() {
        for (before, after, expect_gone, expect_new) in [
            (&[][..], &[][..], &[][..], &[][..]),
            (&[1, 2], &[], &[1, 2], &[]),
            (&[], &[1, 2], &[], &[1, 2]),
            (&[1, 3, 5], &[2, 3, 6, 7], &[1, 5], &[2, 6, 7]),
        ] {
            let (gone, new) = compare(before, after);
            assert_eq!((&gone[..], &new[..]), (expect_gone, expect_new));
        }
    }
}
