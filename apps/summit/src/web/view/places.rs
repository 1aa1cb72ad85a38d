//! Where recipes stand on a map: kept for as long as the same ones stand on it.
//!
//! With every package that is published for the first time the graph is another one: knots can be entered elsewhere, and nobody waits
//! any more for what the package needs to run. A map that followed would be shuffled under the eyes of whoever looks at it; so it is
//! laid out anew only when other recipes are on it, or when the recipes are of another commit. It also costs nothing then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use farm::ids::RecipeId;
use picture::Layers;

use super::MapScope;
use crate::world::{Arena, World};

/// Maps that are kept, two for each arena of a large farm.
const DRAWINGS_MAX: usize = 64;

/// The maps that were drawn last.
#[derive(Debug, Default)]
pub(crate) struct Drawings(Mutex<HashMap<(Arena, MapScope), Arc<Drawing>>>);

/// A map without what changes on it.
#[derive(Debug)]
pub(super) struct Drawing {
    commit: Option<String>,
    /// The sources that have a place, by name.
    shown: Vec<String>,
    /// Every source, in the order in which `layers` has them.
    sources: Vec<String>,
    pub(super) layers: Arc<Layers>,
}

impl Drawings {
    /// The map of an arena, with its recipes in the order of its layers.
    pub(super) fn of(
        &self,
        arena: &Arena,
        scope: MapScope,
        world: &World,
        is_shown: impl Fn(RecipeId) -> bool,
    ) -> (Vec<RecipeId>, Arc<Layers>) {
        let graph = &world.graph;
        let commit = world.commit.as_ref().map(|commit| commit.id.as_str());
        let on_it = graph.build_order().iter().filter(|&&recipe| is_shown(recipe));
        let mut shown: Vec<&str> = on_it.map(|&recipe| graph.source(recipe)).collect();
        shown.sort_unstable();
        let key = (arena.clone(), scope);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known.filter(|known| known.commit.as_deref() == commit && known.shown == shown) {
            let order: Option<Vec<RecipeId>> =
                known.sources.iter().map(|source| graph.by_source(source)).collect();
            if let Some(order) = order.filter(|order| order.len() == graph.build_order().len()) {
                return (order, Arc::clone(&known.layers));
            }
        }
        let (order, recipes) = farm::map::recipes(graph, &is_shown);
        let layers = Arc::new(picture::layers(&recipes));
        let drawing = Drawing {
            commit: commit.map(str::to_owned),
            shown: shown.into_iter().map(str::to_owned).collect(),
            sources: order.iter().map(|&recipe| graph.source(recipe).to_owned()).collect(),
            layers: Arc::clone(&layers),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= DRAWINGS_MAX && !all.contains_key(&key) {
            all.clear();
        }
        all.insert(key, Arc::new(drawing));
        (order, layers)
    }
}
