//! What keeps recipes from ever being built, whatever becomes of the tasks.
//!
//! Whether a build dependency can be installed is judged by published packages only, which say for themselves what they
//! need: what recipes and manifests say is of all packages of a source together, and a needless package of a source must not
//! stop those who need another. For the same reason only the package that offers the dependency is looked at; what goes
//! wrong further away is for the build to say. Where a recipe could mend it, by a release that is not published yet or by
//! offering what is lacking, there is no obstacle.

use package::{Dependency, DependencyKind};

use super::draw::Work;
use super::names::Thing;
use super::{Graph, Obstacle};
use crate::catalogue::Catalogue;
use crate::ids::RecipeId;
use crate::published::Published;

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
    pub(super) fn find_obstacles(&mut self, own: &Published, work: &mut Work) {
        if work.unreadable {
            work.nodes.extend(self.recipes().map(|recipe| recipe.0));
        }
        let mut users = Vec::new();
        for slot in work.nodes.iter().chain(work.published.iter()) {
            let lacks = self.lacks_something(slot);
            let before = std::mem::replace(&mut self.nodes[slot as usize].lacks_something, lacks);
            if work.is_first || !(lacks || before) {
                continue;
            }
            let of_slot = self.ordered_before(RecipeId(slot)).map(|user| user.0);
            // Without a lack there, nobody has an obstacle who has none now.
            users.extend(of_slot.filter(|user| lacks || self.obstacles.contains_key(user)));
        }
        // Somebody else may offer now what a package that lacks something offers, or not any more.
        for thing in work.to_check.iter().filter_map(|thing| self.things.get(thing)) {
            let mut providers = self.pool.get(thing.providers).iter();
            if providers.any(|&provider| self.nodes[provider as usize].lacks_something) {
                users.extend_from_slice(self.pool.get(thing.build_users));
            }
        }
        work.nodes.extend(users);
        for slot in work.nodes.iter() {
            let found = self.obstacles_of(slot, own);
            if !found.is_empty() {
                self.obstacles.insert(slot, found);
            } else if !self.obstacles.is_empty() {
                self.obstacles.remove(&slot);
            }
        }
    }

    /// Whether something is published of a recipe, nothing newer is to come, and some package of it needs at run time what
    /// nobody offers.
    fn lacks_something(&self, slot: u32) -> bool {
        let node = &self.nodes[slot as usize];
        node.is_published
            && !node.is_due
            && self.pool.get(node.run).iter().any(|&thing| self.is_nowhere(thing))
    }

    /// Whether nobody has a thing, and no recipe offers it.
    fn is_nowhere(&self, thing: u32) -> bool {
        self.things
            .get(thing)
            .is_some_and(|thing| !thing.had.at_all() && self.pool.get(thing.providers).is_empty())
    }

    /// The package in the way and what it needs, when everybody who has `dependency` is such a package.
    fn uninstallable(
        &self,
        slot: u32,
        thing: &Thing,
        dependency: &Dependency,
        own: &Published,
    ) -> Option<Obstacle> {
        let may_lack = |&provider: &u32| provider != slot && self.nodes[provider as usize].lacks_something;
        let providers = self.pool.get(thing.providers);
        if thing.had.others || thing.had.host || providers.is_empty() || !providers.iter().all(may_lack) {
            return None;
        }
        let mut first = None;
        for name in own.providers(dependency) {
            let package = own.package(name)?;
            let maker = self.slot(&package.source);
            let run = maker.map_or(&[][..], |maker| self.pool.get(self.nodes[maker as usize].run));
            // What the recipe does not know of is not followed.
            let needs = package.depends.iter().find(|needed| {
                let number = self.things.find(&self.names, needed.kind, &needed.name);
                number.is_some_and(|number| run.contains(&number) && self.is_nowhere(number))
            })?;
            first.get_or_insert((name, needs));
        }
        let (package, needs) = first?;
        Some(Obstacle::Uninstallable {
            dependency: dependency.clone(),
            package: package.to_owned(),
            needs: needs.clone(),
        })
    }

    fn obstacles_of(&self, slot: u32, own: &Published) -> Vec<Obstacle> {
        let mut found = Vec::new();
        let mut knot = Vec::new();
        let Some(node) = self.nodes.get(slot as usize) else { return found };
        for &number in self.pool.get(node.build) {
            let Some(thing) = self.things.get(number) else { continue };
            let providers = self.pool.get(thing.providers);
            let dependency = || self.things.dependency(&self.names, number);
            if thing.had.own || thing.had.others {
                let is_suspect = |&provider: &u32| self.nodes[provider as usize].lacks_something;
                if providers.iter().any(is_suspect) {
                    found.extend(
                        dependency().and_then(|needed| self.uninstallable(slot, thing, &needed, own)),
                    );
                }
                continue;
            }
            if providers.is_empty() {
                if let Some(path) = self.unreadable_provider(number) {
                    found.push(Obstacle::Unreadable { path: path.to_owned() });
                } else if !thing.had.host {
                    found.extend(dependency().map(|dependency| Obstacle::Unresolved { dependency }));
                }
            } else if !thing.had.host && providers.iter().all(|&provider| self.comes_too_late(slot, provider))
            {
                for &provider in providers {
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
        let thing = self.things.get(thing).filter(|thing| thing.kind == DependencyKind::Name)?;
        let name = self.names.text(thing.name);
        let mut paths = self.unreadable.iter().map(String::as_str);
        paths.find(|path| {
            let folder = path.rsplit('/').nth(1).unwrap_or_default();
            let rest = name.strip_prefix(folder);
            !folder.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }
}
