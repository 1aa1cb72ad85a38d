//! Every text once, and every needed dependency once, each with a number.
//!
//! Numbers are never given back: the memory that a name once took is free again when the graph is drawn afresh.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use package::{Dependency, DependencyKind};

use super::pool::{List, Pool};
use crate::texts::Texts;

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

/// Maps of the graph. Names come from reviewed recipes, so that a hash that is fast and always the same will do.
pub(super) type Map<K, V> = HashMap<K, V, FixedState>;

pub(super) fn fingerprint<T: std::hash::Hash + ?Sized>(value: &T) -> u64 {
    FixedState::default().hash_one(value)
}

/// What a text is the name of.
#[derive(Debug, Clone, Copy)]
struct Named {
    /// The recipe whose source name it is.
    recipe: u32,
    /// The first dependency with this name; see [`Thing::next`].
    thing: u32,
}

impl Named {
    const NOBODY: Self = Self { recipe: NONE, thing: NONE };
}

/// Texts by number, numbers by text, and what they are the names of.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    texts: Texts,
    named: Vec<Named>,
}

impl Names {
    pub(super) fn text(&self, name: Name) -> &str {
        self.texts.get(name.0)
    }

    pub(super) fn find(&self, wanted: &str) -> Option<Name> {
        self.texts.find(wanted).map(Name)
    }

    pub(super) fn intern(&mut self, wanted: &str) -> Name {
        let (name, is_new) = self.texts.intern(wanted);
        if is_new {
            self.named.push(Named::NOBODY);
        }
        Name(name)
    }

    /// Keeps a text without making it known: it will not be found, nor anybody else's.
    pub(super) fn keep(&mut self, text: &str) -> Name {
        self.named.push(Named::NOBODY);
        Name(self.texts.keep(text))
    }

    /// Gives back what growing took in advance.
    pub(super) fn shrink(&mut self) {
        self.texts.shrink();
        self.named.shrink_to_fit();
    }

    pub(super) fn recipe(&self, source: Name) -> Option<u32> {
        self.named.get(source.0 as usize).map(|named| named.recipe).filter(|&recipe| recipe != NONE)
    }

    pub(super) fn set_recipe(&mut self, source: Name, recipe: u32) {
        if let Some(named) = self.named.get_mut(source.0 as usize) {
            named.recipe = recipe;
        }
    }
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
    pub(super) kind: DependencyKind,
    pub(super) had: Had,
    pub(super) name: Name,
    /// The next dependency with the same name and another kind.
    next: u32,
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
    pub(super) all: Vec<Thing>,
}

impl Things {
    /// Gives back what growing took in advance.
    pub(super) fn shrink(&mut self) {
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

    pub(super) fn providers<'p>(&self, pool: &'p Pool, thing: u32) -> &'p [u32] {
        self.get(thing).map_or(&[], |thing| pool.get(thing.providers))
    }

    pub(super) fn dependency(&self, names: &Names, thing: u32) -> Option<Dependency> {
        self.get(thing).map(|thing| Dependency::new(thing.kind, names.text(thing.name)))
    }

    /// The number of a dependency, if anybody needs it.
    pub(super) fn find(&self, names: &Names, kind: DependencyKind, name: &str) -> Option<u32> {
        self.find_named(names, kind, names.find(name)?)
    }

    pub(super) fn find_named(&self, names: &Names, kind: DependencyKind, name: Name) -> Option<u32> {
        let mut next = names.named.get(name.0 as usize)?.thing;
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
        let Some(named) = names.named.get_mut(name.0 as usize) else { return NONE };
        self.all.push(Thing {
            kind: dependency.kind,
            had: Had::default(),
            name,
            next: named.thing,
            providers: List::default(),
            build_users: List::default(),
            run_users: List::default(),
        });
        named.thing = thing;
        thing
    }
}

/// Calls `differs` for what only one of two sorted lists has, and says whether that is `after`.
pub(super) fn compare(before: &[u32], after: &[u32], mut differs: impl FnMut(u32, bool)) {
    let (mut before, mut after) = (before.iter().copied().peekable(), after.iter().copied().peekable());
    loop {
        match (before.peek().copied(), after.peek().copied()) {
            (Some(left), Some(right)) if left == right => {
                before.next();
                after.next();
            }
            (Some(left), right) if right.is_none_or(|right| left < right) => {
                before.next();
                differs(left, false);
            }
            (_, Some(right)) => {
                after.next();
                differs(right, true);
            }
            (_, None) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_text_is_nobody_elses() {
        let mut names = Names::default();
        let [source, kept] = [names.intern("a/b"), names.keep("a/b")];
        names.set_recipe(source, 7);
        assert_eq!((names.text(kept), names.find("a/b")), ("a/b", Some(source)));
        assert_eq!((names.recipe(source), names.recipe(kept)), (Some(7), None));
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
            let (mut gone, mut new) = (Vec::new(), Vec::new());
            compare(before, after, |number, is_new| if is_new { &mut new } else { &mut gone }.push(number));
            assert_eq!((&gone[..], &new[..]), (expect_gone, expect_new));
        }
    }
}
