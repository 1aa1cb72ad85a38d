//! The folder of one build.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use recipe::Recipe;
use rustix::fs::FlockOperation;
use sandbox::SandboxError;

use crate::build::BuildError;
use crate::root::Places;

/// How long a build waits for another one in the same folder: one that was killed is gone in seconds, and one that its farm
/// has given up elsewhere is ended within a minute.
const BUSY_PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at it.
const BUSY_LOOK: Duration = Duration::from_millis(200);
/// A file in a folder that is left on purpose.
const KEPT_FILE: &str = "kept";

/// Locked, emptied and ready; what is in it is left when this is dropped.
pub(super) struct Workspace {
    folder: PathBuf,
    pub(super) places: Places,
    /// Held as long as this lives; the kernel lets go of it when the process ends, however it ends.
    _lock: fs_err::File,
}

impl Workspace {
    /// Takes the folder of this release in the cache for oneself and empties it. Waits for another build of it for a while.
    pub(super) fn wait_for(
        cache: &Path,
        recipe: &Recipe,
        recipe_file: &Path,
        say: &mut dyn FnMut(&str),
    ) -> Result<Self, BuildError> {
        let deadline = Instant::now() + BUSY_PATIENCE;
        let mut is_said = false;
        loop {
            match Self::open(cache, recipe, recipe_file) {
                Err(BuildError::Busy { id }) if Instant::now() < deadline => {
                    if !std::mem::replace(&mut is_said, true) {
                        say(&format!("waiting: another build of {id} is running in the same cache"));
                    }
                    std::thread::sleep(BUSY_LOOK);
                }
                result => return result,
            }
        }
    }

    /// Takes the folder of this release in the cache for oneself and empties it.
    pub(super) fn open(cache: &Path, recipe: &Recipe, recipe_file: &Path) -> Result<Self, BuildError> {
        let id = format!("{}-{}-{}", recipe.name, recipe.version, recipe.release);
        let builds = builds_of(cache);
        fs_err::create_dir_all(&builds).map_err(BuildError::Workspace)?;
        let builds = fs_err::canonicalize(&builds).map_err(BuildError::Workspace)?;
        let lock = lock(&builds, &id).map_err(BuildError::Workspace)?;
        let lock = lock.ok_or_else(|| BuildError::Busy { id: id.clone() })?;

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

    /// The folders that what is built writes to.
    pub(super) fn written(&self) -> Vec<PathBuf> {
        vec![self.places.build.clone(), self.places.install.clone()]
    }

    /// Leaves it for whoever wants to look into it.
    pub(super) fn keep(&self) -> Result<(), BuildError> {
        fs_err::write(self.folder.join(KEPT_FILE), "").map_err(BuildError::Workspace)
    }

    /// Removes everything of the build.
    pub(super) fn remove(&self) -> Result<(), BuildError> {
        sandbox::remove_tree(&self.folder).map_err(BuildError::Remove)
    }
}

/// How a build folder is found.
#[derive(Debug)]
pub enum FolderState {
    /// Somebody builds in it.
    InUse,
    /// Somebody wants to look into it.
    Kept(LeftFolder),
    /// It was left by one that was killed.
    Left(LeftFolder),
}

/// A folder in which nobody builds, and nobody can begin to while this lives.
#[derive(Debug)]
pub struct LeftFolder {
    folder: PathBuf,
    _lock: fs_err::File,
}

impl LeftFolder {
    /// Removes it.
    ///
    /// # Errors
    /// When something in it resists.
    pub fn remove(self) -> Result<(), SandboxError> {
        sandbox::remove_tree(&self.folder)
    }
}

/// Every build folder of a cache, by name.
///
/// # Errors
/// When the cache cannot be read.
pub fn folder_states(cache: &Path) -> io::Result<Vec<(String, FolderState)>> {
    let builds = builds_of(cache);
    let entries = match fs_err::read_dir(&builds) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut states = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Boulder gives no folder a name that is not UTF-8.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let state = match lock(&builds, &name)? {
            None => FolderState::InUse,
            Some(lock) => {
                let left = LeftFolder { folder: entry.path(), _lock: lock };
                match entry.path().join(KEPT_FILE).exists() {
                    true => FolderState::Kept(left),
                    false => FolderState::Left(left),
                }
            }
        };
        states.push((name, state));
    }
    states.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(states)
}

fn builds_of(cache: &Path) -> PathBuf {
    cache.join("builds")
}

/// The lock of a folder; none when somebody else has it.
fn lock(builds: &Path, id: &str) -> io::Result<Option<fs_err::File>> {
    let lock = fs_err::File::create(builds.join(format!("{id}.lock")))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::{Cleaned, clean};

    fn recipe() -> Recipe {
        named("x")
    }

    fn named(name: &str) -> Recipe {
        let text = format!("name: {name}\nversion: \"1\"\nrelease: 1\nhomepage: https://x\nlicense: MIT\n");
        recipe::parse("stone.yaml", &text).unwrap().recipe
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
    fn what_killed_builds_left_is_cleaned_and_nothing_else() {
        let cache = tempfile::tempdir().unwrap();
        let file = cache.path().join("stone.yaml");
        let running = Workspace::open(cache.path(), &named("running"), &file).unwrap();
        for name in ["killed", "wanted"] {
            let workspace = Workspace::open(cache.path(), &named(name), &file).unwrap();
            fs_err::write(workspace.places.build.join("half"), "x").unwrap();
            if name == "wanted" {
                workspace.keep().unwrap();
            }
        }
        let names = |name: &str| vec![format!("{name}-1-1")];
        let expect = Cleaned { removed: names("killed"), in_use: names("running"), kept: names("wanted") };
        assert_eq!(clean(cache.path(), false).unwrap(), expect);
        assert!(running.places.build.exists() && !cache.path().join("builds/killed-1-1").exists());
        assert_eq!(clean(cache.path(), true).unwrap().removed, names("wanted"));
        drop(running);
        assert_eq!(clean(cache.path(), false).unwrap().removed, names("running"));
        assert_eq!(clean(&cache.path().join("none"), false).unwrap(), Cleaned::default());
    }

    #[test]
    fn a_build_waits_for_one_that_is_about_to_end() {
        let cache = tempfile::tempdir().unwrap();
        let file = cache.path().join("stone.yaml");
        let first = Workspace::open(cache.path(), &recipe(), &file).unwrap();
        let (waits, is_waiting) = std::sync::mpsc::channel();
        let ending = std::thread::spawn(move || {
            let said: String = is_waiting.recv().unwrap();
            drop(first);
            said
        });
        let mut say = |line: &str| waits.send(line.to_owned()).unwrap();
        Workspace::wait_for(cache.path(), &recipe(), &file, &mut say).unwrap();
        assert!(ending.join().unwrap().contains("x-1-1"));
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
