//! Processes of this machine that belong to one test.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// A process that has to do with a folder.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) id: i32,
    pub(crate) arguments: Vec<String>,
}

/// Every process, but this one, whose command line names `folder` or whose mounts come from it; the latter finds what
/// runs in a sandbox.
pub(crate) fn of_folder(folder: &Path) -> Vec<Process> {
    let own = i32::try_from(std::process::id()).unwrap();
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc").unwrap().flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(id) = id.filter(|id| *id != own) else { continue };
        // Processes end while they are looked at.
        let Ok(command_line) = fs_err::read(entry.path().join("cmdline")) else { continue };
        let mounts = fs_err::read(entry.path().join("mountinfo")).unwrap_or_default();
        let is_zombie = command_line.is_empty();
        if !is_zombie && (names(&command_line, folder) || names(&mounts, folder)) {
            let arguments =
                command_line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
            found.push(Process { id, arguments: arguments.collect() });
        }
    }
    found
}

fn names(text: &[u8], folder: &Path) -> bool {
    // The last name of a temporary folder is found nowhere else; mounts are named from the root of their own disk.
    let name = folder.file_name().unwrap().as_bytes();
    text.windows(name.len()).any(|window| window == name)
}

pub(crate) fn kill(id: i32) {
    // It may have ended by itself.
    let _gone = kill_process(Pid::from_raw(id).unwrap(), Signal::KILL);
}

pub(crate) fn terminate(id: i32) {
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
}
