//! The folder of one build.

use std::path::{Path, PathBuf};

use recipe::Recipe;
use rustix::fs::FlockOperation;

use crate::build::BuildError;
use crate::root::Places;

/// Locked, emptied and ready; what is in it is left when this is dropped.
pub(super) struct Workspace {
    folder: PathBuf,
    pub(super) places: Places,
    /// Held as long as this lives; the kernel lets go of it when the process ends, however it ends.
    _lock: fs_err::File,
}

impl Workspace {
    /// Takes the folder of this release in the cache for oneself and empties it.
    pub(super) fn open(cache: &Path, recipe: &Recipe, recipe_file: &Path) -> Result<Self, BuildError> {
        let id = format!("{}-{}-{}", recipe.name, recipe.version, recipe.release);
        let builds = cache.join("builds");
        fs_err::create_dir_all(&builds).map_err(BuildError::Workspace)?;
        let builds = fs_err::canonicalize(&builds).map_err(BuildError::Workspace)?;
        let lock = fs_err::File::create(builds.join(format!("{id}.lock"))).map_err(BuildError::Workspace)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| BuildError::Busy { id: id.clone() })?;

        let folder = builds.join(&id);
        if folder.symlink_metadata().is_ok() {
            sandbox::remove_tree(&folder).map_err(BuildError::Remove)?;
        }
        let recipe_folder =
            recipe_file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let places = Places {
            packages: folder.join("packages"),
            build: folder.join("build"),
            install: folder.join("install"),
            sources: folder.join("sources"),
            scripts: folder.join("scripts"),
            recipe: fs_err::canonicalize(recipe_folder).map_err(BuildError::Workspace)?,
            caches: Vec::new(),
        };
        for path in [&places.packages, &places.build, &places.install, &places.sources, &places.scripts] {
            fs_err::create_dir_all(path).map_err(BuildError::Workspace)?;
        }
        Ok(Self { folder, places, _lock: lock })
    }

    /// Makes the empty folder that a target is built in.
    pub(super) fn make_target_folder(&self, target: &str) -> Result<(), BuildError> {
        fs_err::create_dir_all(self.places.build.join(target)).map_err(BuildError::Workspace)
    }

    /// Removes everything of the build.
    pub(super) fn remove(&self) -> Result<(), BuildError> {
        sandbox::remove_tree(&self.folder).map_err(BuildError::Remove)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        let text = "name: x\nversion: \"1\"\nrelease: 1\nhomepage: https://x\nlicense: MIT\n";
        recipe::parse("stone.yaml", text).unwrap().recipe
    }

    #[test]
    fn what_an_interrupted_build_left_is_gone() {
        let cache = tempfile::tempdir().unwrap();
        let file = cache.path().join("stone.yaml");
        let first = Workspace::open(cache.path(), &recipe(), &file).unwrap();
        fs_err::write(first.places.build.join("half"), "x").unwrap();
        drop(first);
        let second = Workspace::open(cache.path(), &recipe(), &file).unwrap();
        assert!(!second.places.build.join("half").exists());
    }

    #[test]
    fn two_builds_of_one_release_do_not_share_a_folder() {
        let cache = tempfile::tempdir().unwrap();
        let file = cache.path().join("stone.yaml");
        let _first = Workspace::open(cache.path(), &recipe(), &file).unwrap();
        let second = Workspace::open(cache.path(), &recipe(), &file).err().map(|error| error.to_string());
        assert!(second.unwrap_or_default().contains("another build"));
    }
}
