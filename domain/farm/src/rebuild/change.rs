//! What of the interface of the named recipes goes away with their next build.

use std::collections::HashSet;

use package::{Dependency, interface_change};

use super::{GoneProvider, Recipes, Situation, SourceChange};
use crate::ids::RecipeId;

/// Compares what is published of each named recipe with what its manifest promises for the next build. Where nobody
/// knows what that offers, all of the interface may go away, and `notes` says so.
pub(super) fn changes(
    recipes: &Recipes<'_>,
    situation: &Situation<'_>,
    named: &[RecipeId],
    notes: &mut Vec<String>,
) -> Vec<SourceChange> {
    let mut changes = Vec::new();
    for &id in named {
        let Some(entry) = recipes.entries.get(&id) else { continue };
        let source = &entry.source;
        if situation.published.source(source).is_none() {
            notes.push(format!("{source} was never published: nobody was built against it"));
            continue;
        }
        let before: Vec<&Dependency> = situation.published.offers_of_source(source).collect();
        let promised = entry.manifest.as_ref().filter(|manifest| manifest.release == entry.release);
        let Some(promised) = promised else {
            notes.push(format!(
                "there is no manifest of {source} for release {}: nobody knows what its next build offers, and every \
                 name that is published of it may go away",
                entry.release
            ));
            let gone = before.into_iter().filter(|offer| offer.kind.is_interface());
            let mut gone: Vec<Dependency> = gone.cloned().collect();
            gone.sort_unstable();
            let gone = gone.into_iter().map(|provider| GoneProvider { provider, instead: Vec::new() });
            changes.push(SourceChange {
                source: source.clone(),
                certain: false,
                gone: gone.collect(),
                new: Vec::new(),
            });
            continue;
        };
        let change = interface_change(before, &promised.provides);
        let gone: HashSet<&Dependency> = change.gone.keys().collect();
        let elsewhere = offered_elsewhere(recipes, situation, id, &gone);
        let gone = change.gone.iter().filter(|(provider, _)| !elsewhere.contains(provider));
        let gone = gone.map(|(provider, instead)| GoneProvider {
            provider: provider.clone(),
            instead: instead.iter().cloned().collect(),
        });
        changes.push(SourceChange {
            source: source.clone(),
            certain: true,
            gone: gone.collect(),
            new: change.new.into_iter().collect(),
        });
    }
    changes
}

/// Those of the names that another source offers too, or that moved there.
fn offered_elsewhere<'g>(
    recipes: &Recipes<'_>,
    situation: &Situation<'_>,
    id: RecipeId,
    gone: &HashSet<&'g Dependency>,
) -> HashSet<&'g Dependency> {
    if gone.is_empty() {
        return HashSet::new();
    }
    let source = recipes.source(id);
    let mut elsewhere = HashSet::new();
    for &provider in gone {
        let mut packages = situation.published.providers(provider);
        let is_other =
            |name: &str| situation.published.package(name).is_some_and(|package| package.source != source);
        if packages.any(is_other) {
            elsewhere.insert(provider);
        }
    }
    for (&other, entry) in &recipes.entries {
        let manifest = entry.manifest.as_ref().filter(|_| other != id);
        let provides = manifest.into_iter().flat_map(|manifest| &manifest.provides);
        elsewhere.extend(provides.filter_map(|offer| gone.get(offer).copied()));
    }
    elsewhere
}
