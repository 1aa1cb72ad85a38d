//! What keeps recipes from ever being built, whatever becomes of the tasks.

use package::DependencyKind;

use super::draw::Work;
use super::{Graph, Obstacle};
use crate::catalogue::Catalogue;
use crate::ids::RecipeId;

impl Graph {
    /// Notes which recipes cannot be read.
    pub(super) fn unreadable_changed(&mut self, catalogue: &Catalogue, work: &mut Work) {
        let mut paths: Vec<&str> = catalogue.unreadable().iter().map(|file| file.path.as_str()).collect();
        paths.dedup();
        if self.unreadable != paths {
            self.unreadable = paths.into_iter().map(str::to_owned).collect();
            work.unreadable = true;
        }
    }

    /// Finds the obstacles of all recipes that may have others now.
    pub(super) fn find_obstacles(&mut self, work: &mut Work) {
        if work.unreadable {
            work.nodes.extend(self.recipes().map(|recipe| recipe.0));
        }
        for &slot in &work.nodes {
            let found = self.obstacles_of(slot);
            if found.is_empty() {
                self.obstacles.remove(&slot);
            } else {
                self.obstacles.insert(slot, found);
            }
        }
    }

    fn obstacles_of(&self, slot: u32) -> Vec<Obstacle> {
        let mut found = Vec::new();
        let mut knot = Vec::new();
        let Some(node) = self.nodes.get(slot as usize) else { return found };
        for &number in &node.build {
            let Some(thing) = self.things.get(number) else { continue };
            if thing.had.own || thing.had.others {
                continue;
            }
            let dependency = || self.things.dependency(&self.names, number);
            if thing.providers.is_empty() {
                if let Some(path) = self.unreadable_provider(number) {
                    found.push(Obstacle::Unreadable { path: path.to_owned() });
                } else if !thing.had.host {
                    found.extend(dependency().map(|dependency| Obstacle::Unresolved { dependency }));
                }
            } else if !thing.had.host
                && thing.providers.iter().all(|&provider| self.comes_too_late(slot, provider))
            {
                for &provider in &thing.providers {
                    let source = self.source(RecipeId(provider)).to_owned();
                    knot.extend(dependency().map(|dependency| (source, dependency)));
                }
            }
        }
        if !knot.is_empty() {
            knot.sort();
            found.push(Obstacle::Knot { needs: knot });
        }
        found.sort();
        found.dedup();
        found
    }

    /// Whether `user` is built before there is a new generation of `needed`.
    fn comes_too_late(&self, user: u32, needed: u32) -> bool {
        user == needed || self.is_deferred(RecipeId(user), RecipeId(needed))
    }

    /// The unreadable recipe that most likely offers a thing: the folder of a recipe has the name of its source, and the
    /// names of its packages begin with it. Better to wait for its correction than to build against the host.
    fn unreadable_provider(&self, thing: u32) -> Option<&str> {
        let (kind, name) = self.things.kind_and_name(&self.names, thing)?;
        if kind != DependencyKind::Name {
            return None;
        }
        let mut paths = self.unreadable.iter().map(String::as_str);
        paths.find(|path| {
            let folder = path.rsplit('/').nth(1).unwrap_or_default();
            let rest = name.strip_prefix(folder);
            !folder.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }
}
