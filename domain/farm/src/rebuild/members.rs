//! Which recipes belong to a plan, and why each does.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use package::{Dependency, DependencyKind, interface_stem};

use super::{Recipes, Situation, SourceChange, Why};
use crate::ids::RecipeId;

/// The members of a plan, each with its reasons.
type Members = BTreeMap<RecipeId, Vec<Why>>;

/// The named recipes and whoever needs them within `steps` steps. Each other is reached on a shortest way.
pub(super) fn by_needs(
    recipes: &Recipes<'_>,
    situation: &Situation<'_>,
    named: &[RecipeId],
    steps: usize,
) -> Members {
    let linked = Linked::new(recipes, situation);
    let mut members: Members = named.iter().map(|&id| (id, vec![Why::Named])).collect();
    let mut open: VecDeque<(RecipeId, Vec<String>)> =
        named.iter().map(|&id| (id, vec![recipes.source(id).to_owned()])).collect();
    while let Some((needed, chain)) = open.pop_front() {
        if chain.len() > steps {
            continue;
        }
        for (user, because) in users_of(recipes, situation, &linked, needed) {
            if members.contains_key(&user) {
                continue;
            }
            let mut chain = chain.clone();
            chain.push(recipes.source(user).to_owned());
            members.insert(user, vec![Why::Needs { chain: chain.clone(), because }]);
            open.push_back((user, chain));
        }
    }
    members
}

/// The named recipes, whoever uses what goes away of them, and whoever is broken by what went away already.
pub(super) fn by_changes(
    recipes: &Recipes<'_>,
    situation: &Situation<'_>,
    named: &[RecipeId],
    changes: &[SourceChange],
) -> Members {
    let mut members: Members = named.iter().map(|&id| (id, vec![Why::Named])).collect();
    let linked = Linked::new(recipes, situation);
    for change in changes {
        let gone: HashSet<&Dependency> = change.gone.iter().map(|gone| &gone.provider).collect();
        let mut used: BTreeMap<RecipeId, Vec<Dependency>> = BTreeMap::new();
        for (&user, entry) in &recipes.entries {
            let build = entry.build_depends.iter().filter(|dependency| gone.contains(dependency));
            used.entry(user).or_default().extend(build.cloned());
        }
        for (&dependency, users) in &linked.users {
            if gone.contains(dependency) {
                users.iter().for_each(|&user| used.entry(user).or_default().push(dependency.clone()));
            }
        }
        for (user, mut gone) in used {
            let is_itself = recipes.source(user) == change.source;
            gone.sort_unstable();
            gone.dedup();
            if !gone.is_empty() && !is_itself {
                let why = Why::Uses { of: change.source.clone(), gone, certain: change.certain };
                members.entry(user).or_default().push(why);
            }
        }
    }
    for (user, why) in broken(recipes, situation, named) {
        members.entry(user).or_default().push(why);
    }
    members
}

/// Recipes that need `needed` for their build or are linked against it, by name, with what they need of it.
fn users_of(
    recipes: &Recipes<'_>,
    situation: &Situation<'_>,
    linked: &Linked<'_>,
    needed: RecipeId,
) -> Vec<(RecipeId, Vec<Dependency>)> {
    let mut found: BTreeMap<RecipeId, Vec<Dependency>> = BTreeMap::new();
    for user in situation.graph.needed_by(needed) {
        found.entry(user).or_default().extend(situation.graph.because(user, needed));
    }
    let Some(entry) = recipes.entries.get(&needed) else { return Vec::new() };
    let promised = entry.manifest.iter().flat_map(|manifest| &manifest.provides);
    let offers: HashSet<&Dependency> =
        promised.chain(situation.published.offers_of_source(&entry.source)).collect();
    for offer in offers {
        for &user in linked.users.get(offer).into_iter().flatten() {
            if user != needed {
                found.entry(user).or_default().push(offer.clone());
            }
        }
    }
    let mut users: Vec<(RecipeId, Vec<Dependency>)> = found.into_iter().collect();
    for (_, because) in &mut users {
        because.sort_unstable();
        because.dedup();
    }
    users.sort_by_key(|(user, _)| recipes.source(*user));
    users
}

/// Recipes whose published packages need an interface that nobody offers any more, and that a named recipe offers in
/// another version.
fn broken(recipes: &Recipes<'_>, situation: &Situation<'_>, named: &[RecipeId]) -> Vec<(RecipeId, Why)> {
    let mut offered: HashMap<(DependencyKind, String), &str> = HashMap::new();
    for &id in named {
        let source = recipes.source(id);
        for offer in situation.published.offers_of_source(source).filter(|offer| offer.kind.is_interface()) {
            offered.entry((offer.kind, interface_stem(offer))).or_insert(source);
        }
    }
    let mut broken = Vec::new();
    for (&user, entry) in &recipes.entries {
        let packages = situation.published.packages_of_source(&entry.source);
        let mut needs: BTreeMap<&str, Vec<Dependency>> = BTreeMap::new();
        for dependency in packages.flat_map(|package| &package.depends) {
            let is_dangling =
                dependency.kind.is_interface() && situation.published.providers(dependency).next().is_none();
            if is_dangling && let Some(of) = offered.get(&(dependency.kind, interface_stem(dependency))) {
                needs.entry(of).or_default().push(dependency.clone());
            }
        }
        for (of, mut needs) in needs {
            needs.sort_unstable();
            needs.dedup();
            broken.push((user, Why::Broken { of: of.to_owned(), needs }));
        }
    }
    broken
}

/// Whose packages are linked against what: by their manifests and by what is published.
struct Linked<'a> {
    users: HashMap<&'a Dependency, Vec<RecipeId>>,
}

impl<'a> Linked<'a> {
    fn new(recipes: &Recipes<'a>, situation: &Situation<'a>) -> Self {
        let mut users: HashMap<&Dependency, Vec<RecipeId>> = HashMap::new();
        for (&id, entry) in &recipes.entries {
            let promised = entry.manifest.iter().flat_map(|manifest| &manifest.depends);
            let packages = situation.published.packages_of_source(&entry.source);
            let published = packages.flat_map(|package| &package.depends);
            for dependency in promised.chain(published).filter(|dependency| dependency.kind.is_interface()) {
                let users = users.entry(dependency).or_default();
                if users.last() != Some(&id) {
                    users.push(id);
                }
            }
        }
        Self { users }
    }
}
