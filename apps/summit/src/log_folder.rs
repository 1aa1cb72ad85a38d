//! Where logs are kept, and whether it is where they were kept before.
//!
//! Several Summits on one database need one folder for the logs of all: the one that takes over shows what the others
//! received, and an agent goes on where the log of its build ends. The folder has a number of its own, in a file, and the
//! database remembers the number of the first that was used; so a Summit that has another folder is found out when it begins
//! to lead, and not when somebody looks for an old log.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::SummitError;
use crate::config::Config;
use crate::store::{Store, StoreError, random};

/// The file in the folder that holds its number.
const NUMBER_FILE: &str = "folder-id";

/// Bytes of the file that are read; a number has 32.
const NUMBER_BYTES_MAX: u64 = 200;

/// The folder of the logs: as the configuration says, or in the data folder.
pub(crate) fn of(config: &Config, data: &Path) -> PathBuf {
    config.log_folder.clone().unwrap_or_else(|| data.join("logs"))
}

/// Compares the folder with what the database knows. Says what is wrong, if something is: older logs are elsewhere.
pub(crate) async fn compare(store: &Store, folder: &Path) -> Result<Option<String>, SummitError> {
    let path = folder.join(NUMBER_FILE);
    let failed = |source| SummitError::Folder { path: path.clone(), source };
    let fresh: [u8; 16] = random().map_err(StoreError::from)?;
    let fresh: String = fresh.iter().map(|byte| format!("{byte:02x}")).collect();
    let here = number(folder, &path, &fresh).map_err(failed)?;
    let known = store.log_folder(&here).await?;
    if known == here {
        return Ok(None);
    }
    Ok(Some(format!(
        "older logs are not in {}: another folder was used before. Give all Summits of this database the same `log_folder`; \
         where the older logs are gone for good, write {known} into {}",
        folder.display(),
        path.display()
    )))
}

/// The number of the folder, which gets a fresh one if it has none.
fn number(folder: &Path, path: &Path, fresh: &str) -> std::io::Result<String> {
    fs_err::create_dir_all(folder)?;
    let part = folder.join(format!("{NUMBER_FILE}.{}.part", std::process::id()));
    if !path.exists() {
        let mut file = fs_err::File::create(&part)?;
        file.write_all(fresh.as_bytes())?;
        file.sync_all()?;
        // Of several Summits that begin at once, the number of the first counts.
        match fs_err::hard_link(&part, path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs_err::remove_file(&part)?,
        }
    }
    let mut text = String::new();
    let file = fs_err::File::open(path)?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, NUMBER_BYTES_MAX), &mut text)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use database::Address;

    use super::*;

    #[tokio::test]
    async fn another_folder_than_before_is_found_out() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&Address::File(place.path().join("summit.db"))).await.unwrap();
        let (shared, own) = (place.path().join("shared"), place.path().join("own"));
        assert_eq!(compare(&store, &shared).await.unwrap(), None, "the first one");
        assert_eq!(compare(&store, &shared).await.unwrap(), None, "the same again");
        let trouble = compare(&store, &own).await.unwrap().unwrap();
        assert!(trouble.contains("log_folder"), "{trouble}");
        // What the message says to do.
        fs_err::copy(shared.join(NUMBER_FILE), own.join(NUMBER_FILE)).unwrap();
        assert_eq!(compare(&store, &own).await.unwrap(), None);
        assert_eq!(fs_err::read_dir(&own).unwrap().count(), 1, "nothing half done is left");
    }
}
