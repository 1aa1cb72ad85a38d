//! The room on the disk that a build takes, watched while its scripts run.
//!
//! A script that writes without end would take the room of every other build. So the folder of the build is measured from
//! time to time, and the free room of its disk often, which costs nothing; whatever is found ends the sandbox. What lies in
//! the folder is the build's own and may be anything: it is opened step by step without following links, and nothing is read
//! but sizes.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use sandbox::Killer;

/// Between two looks at the free room of the disk.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Shortest time between two measurements of the folder.
const MEASURE_EVERY: Duration = Duration::from_secs(3);
/// The next measurement waits so many times as long as the last one took: two hundredths of a core at most.
const MEASURE_SHARE: u32 = 50;
/// Folders in each other that are measured. Real trees have some thirty; whatever lies deeper is found by the free room.
const DEPTH_MAX: usize = 256;
/// The unit in which the system counts the room of a file.
const BLOCK_BYTES: u64 = 512;

/// What a build may take of a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomLimits {
    /// Most that its own folder may take; none for no limit.
    pub folder_bytes_max: Option<u64>,
    /// Free room that must be left on the disk for others; 0 for none.
    pub free_bytes_min: u64,
}

/// What went beyond its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Short {
    /// The build takes too much.
    Folder { size_bytes: u64, limit_bytes: u64 },
    /// The disk has too little left, whoever took it.
    Disk { free_bytes: u64, needed_bytes: u64 },
}

/// Measures now and then.
#[derive(Debug, Clone)]
struct Gauge {
    folders: Vec<PathBuf>,
    limits: RoomLimits,
}

impl Gauge {
    fn free(&self) -> Option<Short> {
        let needed_bytes = self.limits.free_bytes_min;
        let space = rustix::fs::statvfs(self.folders.first()?).ok()?;
        let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
        (free_bytes < needed_bytes).then_some(Short::Disk { free_bytes, needed_bytes })
    }

    fn folder(&self) -> Option<Short> {
        let limit_bytes = self.limits.folder_bytes_max?;
        let size_bytes = self.folders.iter().map(|folder| size_of(folder)).fold(0, u64::saturating_add);
        (size_bytes > limit_bytes).then_some(Short::Folder { size_bytes, limit_bytes })
    }
}

/// Watches until it is asked for what it found.
pub(crate) struct RoomWatch {
    gauge: Gauge,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    is_over: bool,
    found: Option<Short>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoomWatch {
    /// Watches these folders, of which the first says which disk is meant; ends the sandbox when a limit is passed.
    pub(crate) fn begin(folders: Vec<PathBuf>, limits: RoomLimits, killer: Killer) -> std::io::Result<Self> {
        let gauge = Gauge { folders, limits };
        let shared = Arc::new(Shared::default());
        let (watched, watching) = (gauge.clone(), Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("room".to_owned()).spawn(move || {
            watch(&watched, &watching, &killer);
        })?;
        Ok(RoomWatch { gauge, shared, thread: Some(thread) })
    }

    /// What was found, the last look included: a build that was quick has written as much as a slow one.
    pub(crate) fn end(mut self) -> Option<Short> {
        self.stop();
        let found = self.shared.state().found;
        found.or_else(|| self.gauge.folder())
    }

    fn stop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but what it found.
            drop(thread.join());
        }
    }
}

impl Drop for RoomWatch {
    fn drop(&mut self) {
        self.stop();
    }
}

fn watch(gauge: &Gauge, shared: &Shared, killer: &Killer) {
    let mut next_measure = Instant::now() + MEASURE_EVERY;
    loop {
        let waited = shared.ended.wait_timeout_while(shared.state(), LOOK_EVERY, |state| !state.is_over);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_over {
            return;
        }
        drop(state);
        let mut found = gauge.free();
        if found.is_none() && Instant::now() >= next_measure {
            let begun = Instant::now();
            found = gauge.folder();
            next_measure = Instant::now() + MEASURE_EVERY.max(begun.elapsed().saturating_mul(MEASURE_SHARE));
        }
        if found.is_some() {
            shared.state().found = found;
            killer.kill();
            return;
        }
    }
}

/// The room that everything below `folder` takes. What cannot be seen, or goes away meanwhile, counts nothing.
fn size_of(folder: &Path) -> u64 {
    size_below(CWD, folder, 0)
}

fn size_below(at: BorrowedFd<'_>, name: impl rustix::path::Arg, depth: usize) -> u64 {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(folder) = rustix::fs::openat(at, name, flags, Mode::empty()) else { return 0 };
    let Ok(entries) = Dir::read_from(&folder) else { return 0 };
    let mut size_bytes = 0_u64;
    for entry in entries.flatten().filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")) {
        let Ok(stat) = rustix::fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        // A file with several names is counted once, a part at each.
        let names = if is_folder { 1 } else { stat.st_nlink.max(1) };
        size_bytes = size_bytes.saturating_add(blocks.saturating_mul(BLOCK_BYTES) / names);
        if is_folder && depth < DEPTH_MAX {
            size_bytes = size_bytes.saturating_add(size_below(folder.as_fd(), entry.file_name(), depth + 1));
        }
    }
    size_bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_room_of_a_tree_is_that_of_its_own_files_once() {
        let place = tempfile::tempdir().unwrap();
        let (folder, other) = (place.path().join("build"), place.path().join("other"));
        fs_err::create_dir_all(folder.join("a/b")).unwrap();
        fs_err::create_dir_all(&other).unwrap();
        fs_err::write(other.join("large"), vec![1; 3 << 20]).unwrap();
        fs_err::write(folder.join("a/b/file"), vec![1; 1 << 20]).unwrap();
        fs_err::hard_link(folder.join("a/b/file"), folder.join("again")).unwrap();
        symlink(&other, folder.join("link")).unwrap();
        symlink(other.join("large"), folder.join("to-file")).unwrap();
        let size_bytes = size_of(&folder);
        assert!((1 << 20..(1 << 20) + (64 << 10)).contains(&size_bytes), "{size_bytes}");
        assert_eq!(size_of(&place.path().join("nothing")), 0);
        assert_eq!(size_of(&folder.join("link")), 0, "not even the first step follows a link");
    }

    #[test]
    fn each_limit_is_found_and_none_where_there_is_none() {
        let place = tempfile::tempdir().unwrap();
        fs_err::write(place.path().join("file"), vec![1; 1 << 20]).unwrap();
        let look = |limits| {
            let gauge = Gauge { folders: vec![place.path().to_path_buf()], limits };
            (gauge.folder(), gauge.free())
        };
        assert_eq!(look(RoomLimits::default()), (None, None));
        let limits = RoomLimits { folder_bytes_max: Some(1000), free_bytes_min: u64::MAX };
        let (folder, disk) = look(limits);
        assert!(
            matches!(folder, Some(Short::Folder { limit_bytes: 1000, size_bytes }) if size_bytes >= 1 << 20)
        );
        assert!(matches!(disk, Some(Short::Disk { needed_bytes: u64::MAX, .. })));
    }
}
