//! From the files of a commit to a catalogue.
//!
//! What was understood once is not read again: neither at the next commit, nor by another project, nor for another
//! architecture. Git names every file by its content, so what a name means never changes; all discoverers that share
//! an [`Understood`] share what they know, for as long as one of them needs it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use farm::catalogue::{Catalogue, ManifestEntry, RecipeEntry, Unreadable};
use package::ManifestFile;

use crate::git::{Commit, GitError, Mirror, TreeFile};
use crate::recipes::{
    MANIFEST_SIZE_BYTES_MAX, RECIPE, RECIPES_MAX, folder_of, on_all_cores, understand_manifest,
    understand_recipe,
};

/// Bytes of files that are in memory at once: all of a large distribution, without its being a condition.
const PORTION_SIZE_BYTES: u64 = 32 << 20;

/// What recipes mean, kept while a discoverer needs it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Understood(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By the object of the recipe.
    recipes: HashMap<String, Weak<Meaning>>,
    entries: HashMap<Place, Weak<RecipeEntry>>,
}

/// What a recipe means without its manifest; path and content are of the first place that it was found in.
type Meaning = Result<RecipeEntry, Unreadable>;

/// A recipe where it lies, with its manifest: all that an entry is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    path: String,
    content: String,
    recipe: String,
    manifest: Option<String>,
}

/// Reads commits.
#[derive(Debug)]
pub(crate) struct Discoverer {
    mirror: Mirror,
    architecture: String,
    understood: Understood,
    /// What the last commit had; held so that it stays known.
    held: Vec<(Arc<Meaning>, Option<Arc<RecipeEntry>>)>,
}

/// One recipe of a commit, while it is looked for.
struct Wanted<'f> {
    recipe: &'f TreeFile,
    manifest: Option<&'f TreeFile>,
    meaning: Option<Arc<Meaning>>,
    entry: Option<Arc<RecipeEntry>>,
}

/// A file that nobody knows yet.
struct Unknown<'f> {
    file: &'f TreeFile,
    /// Path of the recipe that it is, or is the manifest of.
    path: &'f str,
    is_recipe: bool,
}

/// What the files that were read mean, by their objects.
#[derive(Default)]
struct Fresh {
    recipes: HashMap<String, Arc<Meaning>>,
    manifests: HashMap<String, ManifestEntry>,
}

impl Discoverer {
    /// A discoverer of what `mirror` has for `architecture`.
    #[must_use]
    pub(crate) fn new(mirror: Mirror, architecture: &str) -> Self {
        Self {
            mirror,
            architecture: architecture.to_owned(),
            understood: Understood::default(),
            held: Vec::new(),
        }
    }

    /// Makes it share what it understands with others.
    #[must_use]
    pub(crate) fn sharing(self, understood: Understood) -> Self {
        Self { understood, ..self }
    }

    /// Reads the recipes of `commit`.
    ///
    /// # Errors
    /// When the mirror cannot be read. A recipe that cannot be is no error.
    pub(crate) async fn discover(&mut self, commit: &Commit) -> Result<Catalogue, GitError> {
        let manifest_name = ManifestFile::bin_name(&self.architecture);
        let is_named = |path: &str, name: &str| path.rsplit('/').next() == Some(name);
        let files = self
            .mirror
            .files(commit, |path| is_named(path, RECIPE) || is_named(path, &manifest_name))
            .await?;
        let (recipes, manifests): (Vec<&TreeFile>, Vec<&TreeFile>) =
            files.iter().partition(|file| is_named(&file.path, RECIPE));
        let manifests: HashMap<&str, &TreeFile> =
            manifests.into_iter().map(|file| (folder_of(&file.path), file)).collect();

        let mut unreadable = Vec::new();
        let mut wanted = Vec::with_capacity(recipes.len());
        for recipe in recipes.into_iter().take(RECIPES_MAX) {
            if recipe.size_bytes > recipe::INPUT_BYTES_MAX as u64 {
                let message =
                    format!("the file has {} bytes, more than a recipe may have", recipe.size_bytes);
                unreadable.push(Unreadable { path: recipe.path.clone(), line: 0, column: 0, message });
                continue;
            }
            let manifest = manifests.get(folder_of(&recipe.path)).copied();
            let manifest = manifest.filter(|file| file.size_bytes <= MANIFEST_SIZE_BYTES_MAX);
            wanted.push(Wanted { recipe, manifest, meaning: None, entry: None });
        }
        self.understood.recall(&mut wanted);
        let fresh = self.understand(&wanted).await?;
        for wanted in &mut wanted {
            wanted.complete(&fresh);
        }
        self.understood.keep(&wanted);

        let mut entries = Vec::with_capacity(wanted.len());
        self.held.clear();
        for Wanted { recipe, meaning, entry, .. } in wanted {
            let Some(meaning) = meaning else { continue };
            match (&*meaning, &entry) {
                (_, Some(entry)) => entries.push(Arc::clone(entry)),
                (Err(problem), None) => {
                    unreadable.push(Unreadable { path: recipe.path.clone(), ..problem.clone() });
                }
                (Ok(_), None) => {}
            }
            self.held.push((meaning, entry));
        }
        self.understood.forget();
        Ok(Catalogue::sharing(entries, unreadable))
    }

    /// Reads what nobody knows among the files.
    async fn understand(&self, wanted: &[Wanted<'_>]) -> Result<Fresh, GitError> {
        let mut asked = HashSet::new();
        let mut unknown = Vec::new();
        for Wanted { recipe, manifest, meaning, entry } in wanted {
            let path = recipe.path.as_str();
            if meaning.is_none() && asked.insert(recipe.object.as_str()) {
                unknown.push(Unknown { file: recipe, path, is_recipe: true });
            }
            // Without its recipe a manifest is of no use.
            let is_usable = entry.is_none() && meaning.as_ref().is_none_or(|meaning| meaning.is_ok());
            if let (true, Some(file)) = (is_usable, manifest)
                && asked.insert(file.object.as_str())
            {
                unknown.push(Unknown { file, path, is_recipe: false });
            }
        }
        let mut fresh = Fresh::default();
        let mut rest = unknown.as_slice();
        while !rest.is_empty() {
            let (portion, others) = rest.split_at(portion_of(rest));
            rest = others;
            let files: Vec<&TreeFile> = portion.iter().map(|unknown| unknown.file).collect();
            let contents = self.mirror.read(&files).await?;
            let paths = portion.iter().map(|unknown| (unknown.path.to_owned(), unknown.is_recipe));
            let pieces: Vec<((String, bool), Vec<u8>)> = paths.zip(contents).collect();
            // Nothing that waits for the network may wait for this.
            let reading = tokio::task::spawn_blocking(move || on_all_cores(&pieces, understand)).await;
            let read = reading.map_err(|error| match error.try_into_panic() {
                // Recipes that seem gone would take their tasks with them.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(stopping) => GitError::Run { source: stopping.into() },
            })?;
            for (unknown, read) in portion.iter().zip(read) {
                fresh.take(unknown, read);
            }
        }
        Ok(fresh)
    }
}

impl Understood {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // Every state between two statements is a good one: all that could be lost is what is read again.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills in what is known.
    fn recall(&self, wanted: &mut [Wanted<'_>]) {
        let known = self.lock();
        for wanted in wanted {
            wanted.meaning = known.recipes.get(&wanted.recipe.object).and_then(Weak::upgrade);
            wanted.entry = known.entries.get(&wanted.place()).and_then(Weak::upgrade);
        }
    }

    fn keep(&self, wanted: &[Wanted<'_>]) {
        let mut known = self.lock();
        for wanted in wanted {
            if let Some(meaning) = &wanted.meaning {
                known.recipes.insert(wanted.recipe.object.clone(), Arc::downgrade(meaning));
            }
            if let Some(entry) = &wanted.entry {
                known.entries.insert(wanted.place(), Arc::downgrade(entry));
            }
        }
    }

    /// Drops what nobody needs any more.
    fn forget(&self) {
        let mut known = self.lock();
        known.recipes.retain(|_, meaning| meaning.strong_count() > 0);
        known.entries.retain(|_, entry| entry.strong_count() > 0);
    }
}

impl Wanted<'_> {
    fn place(&self) -> Place {
        Place {
            path: self.recipe.path.clone(),
            content: self.recipe.folder.clone(),
            recipe: self.recipe.object.clone(),
            manifest: self.manifest.map(|file| file.object.clone()),
        }
    }

    /// Makes the entry of what is known now.
    fn complete(&mut self, fresh: &Fresh) {
        if self.meaning.is_none() {
            self.meaning = fresh.recipes.get(&self.recipe.object).cloned();
        }
        if let (None, Some(Ok(entry))) = (&self.entry, self.meaning.as_deref()) {
            self.entry = Some(Arc::new(RecipeEntry {
                path: self.recipe.path.clone(),
                content: self.recipe.folder.clone(),
                manifest: self.manifest.and_then(|file| fresh.manifests.get(&file.object)).cloned(),
                ..entry.clone()
            }));
        }
    }
}

/// How many of the files to read next: at least one.
fn portion_of(files: &[Unknown<'_>]) -> usize {
    let mut size_bytes: u64 = 0;
    let fits = |unknown: &&Unknown<'_>| {
        size_bytes = size_bytes.saturating_add(unknown.file.size_bytes);
        size_bytes <= PORTION_SIZE_BYTES
    };
    files.iter().take_while(fits).count().max(1)
}

/// What one file means.
enum Read {
    Recipe(Meaning),
    Manifest(Result<ManifestEntry, String>),
}

fn understand(((path, is_recipe), bytes): &((String, bool), Vec<u8>)) -> Read {
    if *is_recipe {
        Read::Recipe(understand_recipe(path, bytes))
    } else {
        Read::Manifest(understand_manifest(bytes))
    }
}

impl Fresh {
    fn take(&mut self, unknown: &Unknown<'_>, read: Read) {
        let object = unknown.file.object.clone();
        match read {
            Read::Recipe(meaning) => drop(self.recipes.insert(object, Arc::new(meaning))),
            Read::Manifest(Ok(manifest)) => drop(self.manifests.insert(object, manifest)),
            Read::Manifest(Err(message)) => {
                // The recipe is fine, and a build makes a new manifest.
                let path = unknown.path;
                tracing::warn!(recipe.path = path, message, "a manifest cannot be read and is left out");
            }
        }
    }
}

#[cfg(test)]
mod tests;
