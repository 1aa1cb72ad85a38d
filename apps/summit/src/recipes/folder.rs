//! A plain folder of recipes as a source: a working copy, or an unpacked archive.
//!
//! Links are not followed, so that nothing outside of the folder is read. Depth, numbers and sizes are bounded.

use std::io::Read;
use std::path::{Path, PathBuf};

use farm::catalogue::{Catalogue, RecipeEntry, Unreadable};
use fault::{Fault, Kind};
use package::ManifestFile;
use stone::Hasher;

use crate::recipes::{
    MANIFEST_SIZE_BYTES_MAX, RECIPE, RECIPES_MAX, folder_of, on_all_cores, understand_manifest,
    understand_recipe,
};

/// Folders in folders. Recipe repositories have two levels and a `pkg` with a few more.
const DEPTH_MAX: usize = 16;

/// Entries of all folders together: ten for each recipe, where AerynOS has seven.
const ENTRIES_MAX: usize = 10 * RECIPES_MAX;

/// Why a folder gives no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum ReadFolderError {
    /// It cannot be listed.
    #[error("cannot read the recipes in {path}")]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It has no recipe at all.
    #[error("cannot find a recipe in {path}: no {RECIPE} lies there or in a folder below")]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// It is too large.
    #[error("cannot read the recipes in {path}: it has more than {most} {what}")]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// How many are read at most.
        most: usize,
        /// Of what.
        what: &'static str,
    },
}

impl Fault for ReadFolderError {
    fn kind(&self) -> Kind {
        match self {
            ReadFolderError::List { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            ReadFolderError::List { .. } => Kind::Unavailable,
            ReadFolderError::Empty { .. } | ReadFolderError::TooLarge { .. } => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ReadFolderError::List { .. } => Vec::new(),
            ReadFolderError::Empty { .. } | ReadFolderError::TooLarge { .. } => {
                vec!["name the folder that the recipe repository is checked out in".into()]
            }
        }
    }
}

/// Reads all recipes below `directory`, with their manifests for `architecture`, such as `x86_64`.
///
/// Paths in the catalogue are relative to `directory`. A recipe's content is named by a digest of the recipe and the
/// manifest; other files beside them do not count. Recipes and folders that cannot be read are among the unreadable.
///
/// # Errors
/// When the folder itself cannot be listed, has no recipe or far too many files.
pub fn read_folder(directory: &Path, architecture: &str) -> Result<Catalogue, ReadFolderError> {
    let mut listing = Listing::default();
    listing.walk(directory)?;
    if listing.recipes.is_empty() && listing.unreadable.is_empty() {
        return Err(ReadFolderError::Empty { path: directory.to_path_buf() });
    }
    let manifest_name = ManifestFile::bin_name(architecture);
    let understood = on_all_cores(&listing.recipes, |path| read_recipe(directory, path, &manifest_name));
    let mut entries = Vec::with_capacity(understood.len());
    let mut unreadable = listing.unreadable;
    for result in understood {
        match result {
            Ok(entry) => entries.push(entry),
            Err(problem) => unreadable.push(problem),
        }
    }
    Ok(Catalogue::new(entries, unreadable))
}

/// What lies in a folder.
#[derive(Default)]
struct Listing {
    /// Paths of recipe files, relative to the folder.
    recipes: Vec<String>,
    unreadable: Vec<Unreadable>,
    entries: usize,
}

impl Listing {
    fn walk(&mut self, top: &Path) -> Result<(), ReadFolderError> {
        let too_large = |most, what| ReadFolderError::TooLarge { path: top.to_path_buf(), most, what };
        // Folders still to be listed, relative to the top, with their depth.
        let mut open = vec![(String::new(), 0)];
        while let Some((folder, depth)) = open.pop() {
            let entries = match fs_err::read_dir(top.join(&folder)) {
                Ok(entries) => entries,
                Err(source) if depth == 0 => {
                    return Err(ReadFolderError::List { path: top.to_path_buf(), source });
                }
                Err(error) => {
                    self.unreadable.push(unreadable(&folder, format!("cannot be listed: {error}")));
                    continue;
                }
            };
            for entry in entries {
                self.entries += 1;
                if self.entries > ENTRIES_MAX {
                    return Err(too_large(ENTRIES_MAX, "files"));
                }
                // The kind of the entry itself: a link is a link, wherever it points.
                let Some((name, kind)) = entry
                    .ok()
                    .and_then(|entry| Some((entry.file_name().into_string().ok()?, entry.file_type().ok()?)))
                else {
                    continue;
                };
                let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
                if kind.is_file() && name == RECIPE {
                    self.recipes.push(path);
                    if self.recipes.len() > RECIPES_MAX {
                        return Err(too_large(RECIPES_MAX, "recipes"));
                    }
                } else if kind.is_dir() && !name.starts_with('.') {
                    if depth == DEPTH_MAX {
                        let message = format!("not read: more than {DEPTH_MAX} folders in each other");
                        self.unreadable.push(unreadable(&path, message));
                    } else {
                        open.push((path, depth + 1));
                    }
                }
            }
        }
        Ok(())
    }
}

fn unreadable(path: &str, message: String) -> Unreadable {
    Unreadable { path: path.to_owned(), line: 0, column: 0, message }
}

fn read_recipe(directory: &Path, path: &str, manifest_name: &str) -> Result<RecipeEntry, Unreadable> {
    let text = read_bounded(&directory.join(path), recipe::INPUT_BYTES_MAX as u64)
        .map_err(|why| unreadable(path, why))?;
    let mut entry = understand_recipe(path, &text)?;
    let mut content = Hasher::new();
    content.update(&text);
    let manifest_path = directory.join(folder_of(path)).join(manifest_name);
    let is_there = fs_err::symlink_metadata(&manifest_path).is_ok_and(|metadata| metadata.is_file());
    if is_there {
        let understood = read_bounded(&manifest_path, MANIFEST_SIZE_BYTES_MAX).and_then(|bytes| {
            content.update(&bytes);
            understand_manifest(&bytes)
        });
        match understood {
            Ok(manifest) => entry.manifest = Some(manifest),
            Err(message) => {
                tracing::warn!(recipe.path = path, %message, "a manifest cannot be read and is left out");
            }
        }
    }
    entry.content = content.digest().to_string();
    Ok(entry)
}

/// Reads a file of at most `most` bytes.
fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!("the file has more than the {most} bytes that are read"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(name: &str) -> String {
        format!(
            "name: {name}\nversion: 1.0\nrelease: 1\nhomepage: h\nlicense: MIT\nsummary: s\ndescription: d\n"
        )
    }

    fn put(folder: &Path, path: &str, text: &[u8]) {
        let path = folder.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    #[test]
    fn one_bad_recipe_stops_no_other() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "n/nano/stone.yaml", recipe("nano").as_bytes());
        put(folder.path(), "n/nano/manifest.x86_64.bin", b"garbage");
        put(folder.path(), "z/zlib/stone.yaml", recipe("zlib").as_bytes());
        put(folder.path(), "z/zlib/README.md", b"not a recipe");
        put(folder.path(), "b/bad/stone.yaml", b"name: bad\n");
        put(folder.path(), ".git/stone.yaml", recipe("hidden").as_bytes());
        let catalogue = read_folder(folder.path(), "x86_64").unwrap();
        let found: Vec<_> =
            catalogue.recipes().iter().map(|entry| (entry.path.as_str(), entry.source.as_str())).collect();
        assert_eq!(found, [("n/nano/stone.yaml", "nano"), ("z/zlib/stone.yaml", "zlib")]);
        assert_eq!(catalogue.recipes()[0].manifest, None, "a damaged manifest does not hide its recipe");
        assert_ne!(catalogue.recipes()[0].content, catalogue.recipes()[1].content);
        let bad: Vec<_> = catalogue.unreadable().iter().map(|file| file.path.as_str()).collect();
        assert_eq!(bad, ["b/bad/stone.yaml"]);
    }

    #[test]
    fn links_lead_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        put(outside.path(), "stone.yaml", recipe("outside").as_bytes());
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "n/nano/stone.yaml", recipe("nano").as_bytes());
        let link = |target: &Path, path: &str| {
            std::os::unix::fs::symlink(target, folder.path().join(path)).unwrap();
        };
        link(outside.path(), "n/linked");
        link(folder.path(), "n/circle");
        fs_err::create_dir(folder.path().join("n/file")).unwrap();
        link(&outside.path().join("stone.yaml"), "n/file/stone.yaml");
        link(&outside.path().join("stone.yaml"), "n/nano/manifest.x86_64.bin");
        let catalogue = read_folder(folder.path(), "x86_64").unwrap();
        assert_eq!(catalogue.recipes().len(), 1, "{catalogue:?}");
        assert_eq!(catalogue.unreadable(), []);
    }

    #[test]
    fn too_deep_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let deep = "d/".repeat(DEPTH_MAX + 2);
        put(folder.path(), &format!("{deep}stone.yaml"), recipe("deep").as_bytes());
        put(folder.path(), "n/nano/stone.yaml", recipe("nano").as_bytes());
        let catalogue = read_folder(folder.path(), "x86_64").unwrap();
        assert_eq!(catalogue.recipes().len(), 1);
        assert!(catalogue.unreadable()[0].message.contains("in each other"), "{:?}", catalogue.unreadable());
    }

    #[test]
    fn no_recipes_is_an_error_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_folder(folder.path(), "x86_64").unwrap_err();
        assert!(matches!(error, ReadFolderError::Empty { .. }) && !error.hints().is_empty());
        let error = read_folder(&folder.path().join("none"), "x86_64").unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
    }
}
