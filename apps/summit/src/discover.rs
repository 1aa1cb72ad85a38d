//! From the files of a commit to a catalogue.
//!
//! A recipe that cannot be read is kept with its place and its problem, and stops no other. What did not change since
//! the last commit is not read again.

use std::collections::HashMap;

use farm::catalogue::{Catalogue, RecipeEntry, Unreadable};
use package::ManifestFile;

use crate::git::{Commit, GitError, Mirror, TreeFile};
use crate::recipes::{
    MANIFEST_SIZE_BYTES_MAX, RECIPE, RECIPES_MAX, folder_of, understand_manifest, understand_recipe,
};

/// What was found at a commit.
#[derive(Debug, Clone)]
pub(crate) struct Discovery {
    /// The commit.
    pub commit: Commit,
    /// Its recipes.
    pub catalogue: Catalogue,
}

/// Reads commits, and remembers what it understood of the last one.
#[derive(Debug)]
pub(crate) struct Discoverer {
    mirror: Mirror,
    architecture: String,
    /// By the objects of the recipe and of its manifest.
    known: HashMap<(String, Option<String>), Result<RecipeEntry, Unreadable>>,
}

impl Discoverer {
    /// A discoverer of what `mirror` has for `architecture`.
    #[must_use]
    pub(crate) fn new(mirror: Mirror, architecture: &str) -> Self {
        Self { mirror, architecture: architecture.to_owned(), known: HashMap::new() }
    }

    /// Fetches what is new.
    ///
    /// # Errors
    /// When the repository cannot be reached.
    pub(crate) async fn fetch(&self) -> Result<Commit, GitError> {
        self.mirror.fetch().await
    }

    /// The commit that was fetched last, without asking anybody.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn last(&self) -> Result<Commit, GitError> {
        self.mirror.head().await
    }

    /// Reads the recipes of `commit`.
    ///
    /// # Errors
    /// When the mirror cannot be read. A recipe that cannot be is no error.
    pub(crate) async fn discover(&mut self, commit: Commit) -> Result<Discovery, GitError> {
        let manifest_name = ManifestFile::bin_name(&self.architecture);
        let is_named = |path: &str, name: &str| path.rsplit('/').next() == Some(name);
        let files = self
            .mirror
            .files(&commit, |path| is_named(path, RECIPE) || is_named(path, &manifest_name))
            .await?;
        let (recipes, manifests): (Vec<&TreeFile>, Vec<&TreeFile>) =
            files.iter().partition(|file| is_named(&file.path, RECIPE));
        let manifests: HashMap<&str, &TreeFile> =
            manifests.into_iter().map(|file| (folder_of(&file.path), file)).collect();

        let mut unreadable = Vec::new();
        let mut wanted = Vec::new();
        for recipe in recipes.into_iter().take(RECIPES_MAX) {
            let manifest = manifests.get(folder_of(&recipe.path)).copied();
            if recipe.size_bytes > recipe::INPUT_BYTES_MAX as u64 {
                let message =
                    format!("the file has {} bytes, more than a recipe may have", recipe.size_bytes);
                unreadable.push(Unreadable { path: recipe.path.clone(), line: 0, column: 0, message });
                continue;
            }
            wanted.push((recipe, manifest.filter(|file| file.size_bytes <= MANIFEST_SIZE_BYTES_MAX)));
        }
        let known = self.understand(&wanted).await?;

        let mut entries = Vec::with_capacity(wanted.len());
        for ((recipe, _), understood) in wanted.iter().zip(&known) {
            match understood.1.clone() {
                Ok(entry) => {
                    entries.push(RecipeEntry {
                        path: recipe.path.clone(),
                        content: recipe.folder.clone(),
                        ..entry
                    });
                }
                Err(problem) => unreadable.push(Unreadable { path: recipe.path.clone(), ..problem }),
            }
        }
        self.known = known.into_iter().collect();
        Ok(Discovery { commit, catalogue: Catalogue::new(entries, unreadable) })
    }

    /// Reads what is new among the files, and takes the rest from the last time.
    async fn understand(
        &self,
        wanted: &[(&TreeFile, Option<&TreeFile>)],
    ) -> Result<Vec<((String, Option<String>), Result<RecipeEntry, Unreadable>)>, GitError> {
        let key = |recipe: &TreeFile, manifest: Option<&TreeFile>| {
            (recipe.object.clone(), manifest.map(|file| file.object.clone()))
        };
        let new: Vec<&(&TreeFile, Option<&TreeFile>)> = wanted
            .iter()
            .filter(|(recipe, manifest)| !self.known.contains_key(&key(recipe, *manifest)))
            .collect();
        let to_read: Vec<&TreeFile> =
            new.iter().flat_map(|(recipe, manifest)| [Some(*recipe), *manifest]).flatten().collect();
        let mut contents = match to_read.is_empty() {
            true => Vec::new(),
            false => self.mirror.read(&to_read).await?,
        }
        .into_iter();
        let mut fresh = HashMap::new();
        for (recipe, manifest) in new {
            let text = contents.next().unwrap_or_default();
            let manifest_bytes = manifest.and_then(|_| contents.next());
            let entry = understand_recipe(&recipe.path, &text).map(|entry| RecipeEntry {
                manifest: manifest_bytes.and_then(|bytes| {
                    understand_manifest(&bytes)
                        .inspect_err(|message| {
                            tracing::warn!(recipe.path, message, "a manifest cannot be read and is left out");
                        })
                        .ok()
                }),
                ..entry
            });
            fresh.insert(key(recipe, *manifest), entry);
        }
        Ok(wanted
            .iter()
            .filter_map(|(recipe, manifest)| {
                let key = key(recipe, *manifest);
                let understood = fresh.get(&key).or_else(|| self.known.get(&key))?.clone();
                Some((key, understood))
            })
            .collect())
    }
}
