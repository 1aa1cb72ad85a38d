//! The recipes of a world: all of a folder, or a part of it that still has a knot; and the git repository that Summit
//! watches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use farm::catalogue::Catalogue;
use farm::graph::{Graph, HostProvides, Supply};
use farm::ids::RecipeId;
use farm::published::{Published, PublishedPackage};
use package::{Dependency, ManifestFile, PackageMeta};

use super::error::WorldError;
use super::stones::read_manifest;
use crate::examples;

/// Source and name of the package that has what no recipe of the pack makes.
pub(super) const OUTSIDE: &str = "world-outside";

/// One recipe that is played.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Played {
    /// Folder of the recipe below that of all recipes.
    pub(super) folder: String,
    pub(super) version: String,
    pub(super) release: u64,
    /// What its build yields, as the manifest has it.
    pub(super) packages: Vec<PackageMeta>,
}

/// The recipes that are played.
#[derive(Debug)]
pub(super) struct Pack {
    root: PathBuf,
    pub(super) catalogue: Catalogue,
    /// By source.
    pub(super) recipes: BTreeMap<String, Played>,
}

impl Pack {
    /// Reads the recipes below `root`; with `only`, so many of them.
    pub(super) fn read(root: &Path, only: Option<usize>) -> Result<Pack, WorldError> {
        let architecture = std::env::consts::ARCH;
        let whole = summit::recipes::read_folder(root, architecture)?;
        let mut kept: Vec<_> =
            whole.recipes().iter().filter(|entry| entry.manifest.is_some()).cloned().collect();
        if let Some(only) = only {
            let whole = Catalogue::sharing(kept.clone(), Vec::new());
            let chosen = choose(&whole, only);
            kept.retain(|entry| chosen.contains(&entry.source));
        }
        if kept.is_empty() {
            return Err(WorldError::NoManifests { path: root.to_path_buf(), architecture });
        }
        let mut recipes = BTreeMap::new();
        for entry in &kept {
            let folder = entry.path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
            let manifest = root.join(&folder).join(ManifestFile::bin_name(architecture));
            let packages = read_manifest(&manifest)?;
            let played = Played { folder, version: entry.version.clone(), release: entry.release, packages };
            recipes.insert(entry.source.clone(), played);
        }
        Ok(Pack { root: root.to_path_buf(), catalogue: Catalogue::sharing(kept, Vec::new()), recipes })
    }

    /// The build graph of the pack, with what is published.
    pub(super) fn graph(&self, published: &[PackageMeta]) -> Graph {
        let published = Published::new(published.iter().map(known));
        let supply = Supply { own: &published, others: &[], host: HostProvides::Nothing };
        Graph::new(&self.catalogue, &supply)
    }

    /// The package that has what no recipe of the pack makes and somebody needs; none when nothing is.
    pub(super) fn outside(&self) -> Option<PackageMeta> {
        let made: BTreeSet<Dependency> = self
            .recipes
            .values()
            .flat_map(|recipe| &recipe.packages)
            .flat_map(PackageMeta::providers)
            .chain(self.recipes.keys().map(Dependency::name))
            .collect();
        let build = self.catalogue.recipes().iter().flat_map(|entry| &entry.build_depends);
        let run = self.catalogue.recipes().iter().flat_map(|entry| &entry.run_depends);
        let packages = self.recipes.values().flat_map(|recipe| &recipe.packages);
        let needed = build.chain(run).chain(packages.flat_map(|package| &package.depends));
        let provides: BTreeSet<Dependency> =
            needed.filter(|dependency| !made.contains(dependency)).cloned().collect();
        let template = self.recipes.values().flat_map(|recipe| recipe.packages.first()).next()?;
        (!provides.is_empty()).then(|| PackageMeta {
            name: OUTSIDE.to_owned(),
            source_id: OUTSIDE.to_owned(),
            version: "1".to_owned(),
            release: 1,
            build_release: 1,
            summary: "What no recipe of this world makes".to_owned(),
            description: "What no recipe of this world makes".to_owned(),
            depends: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            build_depends: BTreeSet::new(),
            provides,
            ..template.clone()
        })
    }

    /// Makes the git repository of the pack at `directory`, with branch `main`.
    pub(super) fn make_repository(&self, directory: &Path) -> Result<(), WorldError> {
        for recipe in self.recipes.values() {
            let (from, to) = (self.root.join(&recipe.folder), directory.join(&recipe.folder));
            copy_folder(&from, &to)?;
        }
        fs_err::create_dir_all(directory).map_err(WorldError::folder(directory))?;
        Ok(examples::commit_all(directory, "world: the pack")?)
    }
}

/// `package` as the graph knows what is published.
pub(super) fn known(package: &PackageMeta) -> PublishedPackage {
    PublishedPackage {
        name: package.name.clone(),
        source: package.source_id.clone(),
        version: package.version.clone(),
        release: package.release,
        build_release: package.build_release,
        provides: package.provides.iter().cloned().collect(),
        depends: package.depends.iter().cloned().collect(),
        download_size_bytes: package.download_size_bytes.unwrap_or(0),
    }
}

/// A part of the recipes: half of it from the beginning of the largest knot, whose members need each other most, and the
/// rest from everywhere.
fn choose(catalogue: &Catalogue, only: usize) -> BTreeSet<String> {
    let published = Published::default();
    let supply = Supply { own: &published, others: &[], host: HostProvides::Everything };
    let graph = Graph::new(catalogue, &supply);
    let knot: Vec<RecipeId> =
        graph.knots().max_by_key(|knot| knot.len()).map(<[RecipeId]>::to_vec).unwrap_or_default();
    let mut chosen: BTreeSet<String> =
        knot.iter().take(only / 2).map(|&id| graph.source(id).to_owned()).collect();
    let rest: Vec<RecipeId> = graph.build_order().iter().filter(|id| !knot.contains(id)).copied().collect();
    let wanted = only.saturating_sub(chosen.len()).max(1);
    let step = (rest.len() / wanted).max(1);
    chosen.extend(rest.iter().step_by(step).take(wanted).map(|&id| graph.source(id).to_owned()));
    chosen
}

/// Copies files and folders; links are not followed and not copied.
fn copy_folder(from: &Path, to: &Path) -> Result<(), WorldError> {
    fs_err::create_dir_all(to).map_err(WorldError::folder(to))?;
    for entry in fs_err::read_dir(from).map_err(WorldError::folder(from))? {
        let entry = entry.map_err(WorldError::folder(from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(WorldError::folder(&path))?;
        if kind.is_dir() {
            copy_folder(&path, &target)?;
        } else if kind.is_file() {
            fs_err::copy(&path, &target).map_err(WorldError::folder(&path))?;
        }
    }
    Ok(())
}
