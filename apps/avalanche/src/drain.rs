//! Emptying a machine: no new orders, and the end of what is built, with or without an agent.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;

use crate::keeper;
use crate::store::{StoreError, draining, shelves_in};

/// Pause between two looks at what is built; nobody waits for less.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Takes no more orders, and waits until nothing is built any more; `now`: ends it. Says how many builds that were.
pub(crate) fn drain(data: &Path, now: bool) -> Result<usize, StoreError> {
    let data = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
    let error = |source| StoreError::Folder { path: data.clone(), source };
    fs::File::create(draining(&data)).map_err(error)?;
    end_builds(&data, now)
}

/// Waits until nothing is built any more; `now`: ends it. What it ended is lost to Summit, which gives it to others.
pub(crate) fn end_builds(data: &Path, now: bool) -> Result<usize, StoreError> {
    let error = |source| StoreError::Folder { path: data.to_path_buf(), source };
    let mut seen: HashSet<PathBuf> = HashSet::new();
    loop {
        let mut any = false;
        for shelf in shelves_in(data)? {
            for folder in shelf.folders()? {
                if !keeper::is_kept(&folder).map_err(error)? {
                    continue;
                }
                any = true;
                let is_new = seen.insert(folder.path().to_path_buf());
                if is_new && now {
                    keeper::end(&folder, false).map_err(error)?;
                }
            }
        }
        if !any {
            return Ok(seen.len());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
