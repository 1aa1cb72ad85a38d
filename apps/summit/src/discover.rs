//! From the files of a commit to a catalogue.
//!
//! A recipe that cannot be read is kept with its place and its problem, and stops no other. What did not change since
//! the last commit is not read again.

use std::collections::{BTreeSet, HashMap};
use std::io::Cursor;

use farm::catalogue::{Catalogue, ManifestEntry, RecipeEntry, Unreadable};
use package::ManifestFile;

use crate::git::{Commit, GitError, Mirror, TreeFile};

/// Name of a recipe file.
const RECIPE: &str = "stone.yaml";

/// Largest manifest that is read. The largest one of AerynOS, of a package collection with thousands of providers,
/// has some 300 KB.
const MANIFEST_SIZE_BYTES_MAX: u64 = 8 << 20;

/// Problems of one recipe that are named besides the first.
const PROBLEMS_NAMED_MAX: usize = 20;

/// Recipes that are read from one repository: twenty times what the largest distributions have.
const RECIPES_MAX: usize = 500_000;

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
            fresh.insert(key(recipe, *manifest), entry_of(&recipe.path, &text, manifest_bytes.as_deref()));
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

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Understands one recipe. Path and content are filled in by the caller: the same bytes may lie in several places.
fn entry_of(path: &str, text: &[u8], manifest: Option<&[u8]>) -> Result<RecipeEntry, Unreadable> {
    let problem = |line: usize, column: usize, message: String| Unreadable {
        path: path.to_owned(),
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
        message,
    };
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = text.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.split(|&byte| byte == b'\n').count();
        problem(line, 0, "the file is not UTF-8 text".into())
    })?;
    let recipe = recipe::parse(path, text)
        .map_err(|error| {
            let Some(first) = error.problems().first() else { return problem(0, 0, error.to_string()) };
            let text = |problem: &recipe::Problem| match &problem.help {
                Some(help) => format!("{}; {help}", problem.message),
                None => problem.message.clone(),
            };
            let others = error.problems().iter().skip(1).take(PROBLEMS_NAMED_MAX);
            let others: String =
                others.map(|other| format!("\nline {}: {}", other.line, text(other))).collect();
            problem(first.line, first.column, text(first) + &others)
        })?
        .recipe;
    if let Err(fault) = package::check_component(&recipe.name) {
        return Err(problem(0, 0, format!("the name {:?} cannot be used: {fault}", recipe.name)));
    }
    let manifest = match manifest.map(manifest_of) {
        None => None,
        Some(Ok(manifest)) => Some(manifest),
        Some(Err(message)) => {
            // The recipe is fine and a build makes a new manifest.
            tracing::warn!(recipe.path = path, %message, "a manifest cannot be read and is left out");
            None
        }
    };
    Ok(RecipeEntry {
        path: String::new(),
        content: String::new(),
        packages: recipe.packages.iter().map(|(name, _)| expand(name.as_str(), &recipe)).collect(),
        build_depends: recipe.all_build_depends(),
        run_depends: BTreeSet::new(),
        source: recipe.name,
        version: recipe.version,
        release: recipe.release,
        manifest,
    })
}

/// Names of packages may be made of these three macros and no others (recipe format, section 3.6).
fn expand(name: &str, recipe: &recipe::Recipe) -> String {
    name.replace("%(name)", &recipe.name)
        .replace("%(version)", &recipe.version)
        .replace("%(release)", &recipe.release.to_string())
}

fn manifest_of(bytes: &[u8]) -> Result<ManifestEntry, String> {
    let file = ManifestFile::read(Cursor::new(bytes), &stone::Limits::small())
        .map_err(|error| fault::chain(&error).join(": "))?;
    let mut entry = ManifestEntry::default();
    for package in file.packages() {
        entry.release = entry.release.max(package.release);
        entry.packages.insert(package.name.clone());
        entry.provides.extend(package.provides.iter().cloned());
        entry.depends.extend(package.depends.iter().cloned());
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NANO: &str = "name: nano\nversion: 8.4\nrelease: 3\nhomepage: https://nano-editor.org\nlicense: GPL-3.0-or-later\n\
        summary: s\ndescription: d\nbuilddeps:\n  - ncurses-devel\ncheckdeps:\n  - binary(expect)\n\
        packages:\n  - \"%(name)-syntax\":\n      paths:\n        - /usr/share/nano\n";

    #[test]
    fn a_recipe_becomes_an_entry() {
        let entry = entry_of("n/nano/stone.yaml", NANO.as_bytes(), None).unwrap();
        assert_eq!((entry.source.as_str(), entry.version.as_str(), entry.release), ("nano", "8.4", 3));
        assert_eq!(entry.packages, ["nano-syntax"]);
        assert_eq!(entry.build_depends.len(), 2, "what the check needs is needed as well");
    }

    #[test]
    fn a_bad_recipe_is_named_by_its_place() {
        let broken = NANO.replace("release: 3", "release: none");
        let problem = entry_of("n/nano/stone.yaml", broken.as_bytes(), None).unwrap_err();
        assert_eq!((problem.path.as_str(), problem.line), ("n/nano/stone.yaml", 3), "{problem:?}");
        let problem = entry_of("x/stone.yaml", b"name: x\n\xff\n", None).unwrap_err();
        assert_eq!((problem.line, problem.message.as_str()), (2, "the file is not UTF-8 text"));
        let evil = NANO.replace("name: nano", "name: ../nano");
        assert!(entry_of("x/stone.yaml", evil.as_bytes(), None).is_err());
    }

    #[test]
    fn a_damaged_manifest_does_not_hide_its_recipe() {
        let entry = entry_of("n/nano/stone.yaml", NANO.as_bytes(), Some(b"garbage")).unwrap();
        assert_eq!(entry.manifest, None);
    }
}
