//! What became another in the catalogue and in our own repository since they were followed last.

use std::cmp::Ordering;
use std::sync::{Arc, Weak};

use super::draw::Work;
use super::names::{NONE, Name, fingerprint, number};
use super::pool::List;
use super::{Graph, Node, PublishedRow};
use crate::catalogue::{Catalogue, RecipeEntry};
use crate::number_set::NumberSet;
use crate::published::Published;

impl Graph {
    /// Finds which recipes are new, changed and gone. An entry that is the same object as before is not looked into.
    pub(super) fn compare_recipes(&mut self, catalogue: &Catalogue, work: &mut Work) {
        let recipes = catalogue.recipes();
        let is_known = |(entry, known): (&Arc<RecipeEntry>, &Weak<RecipeEntry>)| is_same(entry, known);
        if recipes.len() == self.entries.len() && recipes.iter().zip(&self.entries).all(is_known) {
            return;
        }
        let slots = std::mem::replace(&mut self.catalogue_order, Vec::with_capacity(recipes.len()));
        let entries = std::mem::replace(&mut self.entries, Vec::with_capacity(recipes.len()));
        let mut before = slots.into_iter().zip(entries).peekable();
        let (mut left, mut found) = (Vec::new(), NumberSet::default());
        for (index, entry) in (0..).zip(recipes) {
            let mut likely = None;
            // Both are in the order of their paths.
            while let Some((slot, known)) = before.peek() {
                let order = match is_same(entry, known) {
                    true => Ordering::Equal,
                    false => self.path_of(*slot).cmp(&entry.path),
                };
                match order {
                    Ordering::Greater => break,
                    Ordering::Equal => {
                        likely = before.next();
                        break;
                    }
                    Ordering::Less => left.extend(before.next().map(|(slot, _)| slot)),
                }
            }
            let known = likely.map(|(slot, known)| match is_same(entry, &known) {
                true => (slot, known, true),
                false => (slot, Arc::downgrade(entry), false),
            });
            let (slot, known) = match known {
                Some((slot, known, true)) => (slot, known),
                Some((slot, known, false)) if self.source_of(slot) == entry.source => {
                    if self.content_of(slot) != content_of(entry) {
                        work.changed.push((slot, index));
                    }
                    (slot, known)
                }
                other => {
                    left.extend(other.map(|(slot, ..)| slot));
                    let slot = self.moved_or_new(entry, index, work);
                    found.insert(slot);
                    (slot, Arc::downgrade(entry))
                }
            };
            self.catalogue_order.push(slot);
            self.entries.push(known);
        }
        left.extend(before.map(|(slot, _)| slot));
        left.retain(|&slot| !found.contains(slot));
        left.sort_unstable();
        work.removed = left;
    }

    fn path_of(&self, slot: u32) -> &str {
        self.nodes.get(slot as usize).map_or("", |node| self.names.text(node.path))
    }

    fn source_of(&self, slot: u32) -> &str {
        self.nodes.get(slot as usize).map_or("", |node| self.names.text(node.source))
    }

    fn content_of(&self, slot: u32) -> u64 {
        self.nodes.get(slot as usize).map_or(0, |node| node.content)
    }

    /// The recipe of an entry at a path where it was not before.
    fn moved_or_new(&mut self, entry: &RecipeEntry, index: u32, work: &mut Work) -> u32 {
        let source = self.names.intern(&entry.source);
        if let Some(slot) = self.names.recipe(source) {
            work.changed.push((slot, index));
            return slot;
        }
        work.structure = true;
        let stray = self.strays.remove(&source);
        let node = Node {
            path: source,
            source,
            content: 0,
            exists: true,
            is_published: stray.is_some(),
            is_due: true,
            lacks_something: false,
            build: List::default(),
            run: List::default(),
            offers: List::default(),
            needs: List::default(),
            needed_by: List::default(),
        };
        work.to_check.extend(stray.into_iter().flatten());
        let slot = match self.free.pop() {
            Some(slot) => {
                self.nodes[slot as usize] = node;
                slot
            }
            None => {
                self.nodes.push(node);
                self.places.push(NONE);
                self.component_of.push(NONE);
                self.levels.push(0);
                number(self.nodes.len() - 1)
            }
        };
        self.names.set_recipe(source, slot);
        work.changed.push((slot, index));
        slot
    }

    /// Finds of which sources something else is published.
    pub(super) fn compare_published(&mut self, own: &Published, work: &mut Work) {
        if std::mem::replace(&mut self.own, own.fingerprint()) == own.fingerprint() {
            return;
        }
        let known = std::mem::replace(&mut self.rows, Vec::with_capacity(own.rows().len()));
        let mut known = known.into_iter().peekable();
        for (source, fingerprint) in own.rows() {
            // Both are in the order of their names, and a fingerprint belongs to one source only.
            while let Some(row) = known.peek() {
                let order = match row.fingerprint == fingerprint {
                    true => Ordering::Equal,
                    false => self.names.text(row.source).cmp(source),
                };
                if order != Ordering::Less {
                    break;
                }
                let gone = row.source;
                known.next();
                self.published_changed(gone, false, work);
            }
            let same = known.next_if(|row| row.fingerprint == fingerprint);
            let row = match same {
                Some(row) => row,
                None => {
                    let source = self.names.intern(source);
                    known.next_if(|row| row.source == source);
                    self.published_changed(source, true, work);
                    PublishedRow { source, fingerprint }
                }
            };
            self.rows.push(row);
        }
        for gone in known {
            self.published_changed(gone.source, false, work);
        }
    }

    fn published_changed(&mut self, source: Name, is_published: bool, work: &mut Work) {
        match self.names.recipe(source) {
            Some(slot) => {
                self.nodes[slot as usize].is_published = is_published;
                work.published.insert(slot);
            }
            None => work.strays.push(source),
        }
    }
}

fn is_same(entry: &Arc<RecipeEntry>, known: &Weak<RecipeEntry>) -> bool {
    Arc::as_ptr(entry) == known.as_ptr()
}

pub(super) fn content_of(entry: &RecipeEntry) -> u64 {
    fingerprint(&(&entry.content, &entry.version, entry.release))
}
