//! The data folder is one Summit's alone: logs, mirrors and a database in a file are written by nobody else meanwhile.
//!
//! The lock goes with the process, however that ends. Tools that only ask or change the database do not take it.

use std::fs::TryLockError;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::SummitError;

/// The file that is locked; it says which process has it.
const LOCK_FILE: &str = "summit.lock";

/// How long a Summit that is about to end may still have the folder: whoever starts it again does not have to wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two tries.
const LOOK: Duration = Duration::from_millis(50);

/// Bytes of the file that are read: the number of a process.
const NUMBER_BYTES_MAX: u64 = 20;

/// A data folder that nobody else has.
#[derive(Debug)]
pub(crate) struct OwnFolder {
    _lock: fs_err::File,
}

impl OwnFolder {
    /// Takes the folder, which is made when it is missing.
    pub(crate) async fn take(data: &Path) -> Result<OwnFolder, SummitError> {
        let path = data.join(LOCK_FILE);
        let failed = |source| SummitError::Folder { path: path.clone(), source };
        fs_err::create_dir_all(data).map_err(failed)?;
        let mut options = fs_err::OpenOptions::new();
        let mut file = options.create(true).read(true).write(true).open(&path).map_err(failed)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.file().try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(LOOK).await,
                Err(TryLockError::WouldBlock) => return Err(occupied(data, &mut file)),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        let number = std::process::id().to_string();
        file.set_len(0).and_then(|()| file.write_all(number.as_bytes())).map_err(failed)?;
        Ok(OwnFolder { _lock: file })
    }
}

fn occupied(data: &Path, file: &mut fs_err::File) -> SummitError {
    let mut number = String::new();
    // Who it is helps, and is not needed.
    drop(Read::take(file, NUMBER_BYTES_MAX).read_to_string(&mut number));
    SummitError::Occupied { data: PathBuf::from(data), process: number.parse().ok() }
}

#[cfg(test)]
mod tests {
    use fault::{Fault, Kind};

    use super::*;

    #[tokio::test]
    async fn a_folder_is_one_summits_until_that_ends() {
        let data = tempfile::tempdir().unwrap();
        let first = OwnFolder::take(data.path()).await.unwrap();
        let error = OwnFolder::take(data.path()).await.unwrap_err();
        let told = format!("{error} {:?}", error.hints());
        assert_eq!(error.kind(), Kind::Conflict, "{told}");
        assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
        drop(first);
        OwnFolder::take(data.path()).await.unwrap();
    }
}
