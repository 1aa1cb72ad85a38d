//! What the repository holds when a world begins: the previous generation of every package, or only of a set that opens
//! every knot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use farm::graph::Obstacle;
use package::PackageMeta;

use super::error::WorldError;
use super::pack::{Pack, Played};
use super::stones::{self, Generation};

/// Rounds of choosing: far more recipes than any knot needs to be opened.
const CHOICES_MAX: usize = 2000;

/// The packages of the generation before that of the recipe.
fn previous(recipe: &Played) -> impl Iterator<Item = PackageMeta> {
    let release = recipe.release.saturating_sub(1);
    let generation = Generation { version: &recipe.version, release, build_release: 1 };
    recipe.packages.iter().map(move |package| stones::of_generation(package, generation))
}

/// The packages that are there when the world begins; `sources` names the recipes that have a previous generation.
pub(super) fn packages<'a>(pack: &Pack, sources: impl Iterator<Item = &'a String>) -> Vec<PackageMeta> {
    let recipes = sources.filter_map(|source| pack.recipes.get(source));
    recipes.flat_map(previous).chain(pack.outside()).collect()
}

/// A small set of recipes whose previous generation suffices to build all others, found greedily: whatever most recipes
/// lack, until nobody lacks anything; then whatever turns out to be needless is left out again.
pub(super) fn bootstrap_set(pack: &Pack) -> BTreeSet<String> {
    let lacking = |set: &BTreeSet<String>| -> BTreeMap<String, usize> {
        let graph = pack.graph(&packages(pack, set.iter()));
        let mut lacking = BTreeMap::new();
        for obstacle in graph.recipes().flat_map(|recipe| graph.obstacles(recipe)) {
            if let Obstacle::Knot { needs } = obstacle {
                for (source, _) in needs {
                    *lacking.entry(source.clone()).or_default() += 1;
                }
            }
        }
        lacking
    };
    let mut set = BTreeSet::new();
    for _ in 0..CHOICES_MAX {
        let found = lacking(&set);
        let most = found.iter().filter(|(source, _)| !set.contains(*source)).max_by_key(|(_, count)| **count);
        let Some((source, _)) = most else { break };
        set.insert(source.clone());
    }
    for source in set.clone() {
        set.remove(&source);
        if !lacking(&set).is_empty() {
            set.insert(source);
        }
    }
    set
}

/// Writes the packages into `folder`, for `vessel import`.
pub(super) fn write(folder: &Path, packages: &[PackageMeta]) -> Result<Vec<PathBuf>, WorldError> {
    fs_err::create_dir_all(folder).map_err(WorldError::folder(folder))?;
    packages.iter().map(|package| stones::write(folder, package)).collect()
}
