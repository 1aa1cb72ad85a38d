//! Publishes a folder of packages as one history, without a farm.
//!
//! The operator's word counts instead of an order. Of several releases of one package the newest is taken and the
//! others are passed over; importing what is published already changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{PublishError, Publisher, blocking};
use crate::admission::{Package, Scope, land, newest};
use crate::builds::DebugFile;
use crate::format::pool_path;
use crate::tree::TreeError;
use crate::verify::{VerifyError, read_packages};
use store::Sha256;
use store::{Source, durable};

/// Packages in one import: more than any distribution has. What is known of each is in memory meanwhile, a kilobyte or two.
const PACKAGES_MAX: usize = 1 << 18;

/// Folders inside each other: as deep as a pool is, and some.
const DEPTH_MAX: usize = 16;

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The history that has the packages.
    pub history: String,
    /// Whether it is a new one; otherwise everything was published before.
    pub is_new: bool,
    /// Packages of the folder that the history has.
    pub packages: usize,
    /// File names of older releases that were passed over.
    pub passed_over: Vec<String>,
    /// What somebody should know of it: needs that nobody meets, paths that two packages have.
    pub remarks: String,
    /// How long making the indexes took; nothing where nothing changed.
    pub index_time: std::time::Duration,
}

impl Publisher {
    /// Publishes every `.stone` package below `folder` in `channel`.
    ///
    /// # Errors
    /// When the folder cannot be read or holds no packages, when one of them is damaged or refused; nothing is
    /// published then.
    pub async fn import(&self, folder: &Path, channel: &str) -> Result<Imported, PublishError> {
        let channel = self.channel(channel)?;
        let root = folder.to_path_buf();
        let Found { packages, passed_over, places, debug } = blocking(move || find(&root)).await?;
        let landing = land(&channel.state.lock().await.snapshot, &packages, Scope::Folder)?;
        let staging = self.folder.staging().join("import");
        let to_copy: Vec<(Sha256, PathBuf)> = landing
            .arriving
            .iter()
            .filter_map(|key| landing.snapshot.get(key))
            .filter_map(|package| Some((package.sha256, places.get(&package.sha256)?.clone())))
            .collect();
        let target = staging.clone();
        blocking(move || copy(&to_copy, &target)).await?;
        let staged = |package: &Package| Source::File(staging.join(package.sha256.to_string()));
        let arriving = landing.arriving.iter().filter_map(|key| landing.snapshot.get(key));
        let paths: BTreeSet<String> = arriving.map(|package| pool_path(&package.meta)).collect();
        let debug = debug.into_iter().filter(|file| paths.contains(&file.pool_path)).collect();
        let published = self.publish(channel, &packages, debug, staged).await;
        durable::remove(&staging)
            .map_err(|source| TreeError::Disk { action: "remove copied packages", source })?;
        let published = published?;
        Ok(Imported {
            history: published.history,
            is_new: published.is_new,
            packages: packages.len(),
            passed_over: passed_over.iter().map(|package| package.meta.file_name()).collect(),
            remarks: published.remarks,
            index_time: published.index_time,
        })
    }
}

/// What is in a folder.
struct Found {
    /// The newest of each.
    packages: Vec<Package>,
    passed_over: Vec<Package>,
    /// Where each file is.
    places: BTreeMap<Sha256, PathBuf>,
    debug: Vec<DebugFile>,
}

/// The newest packages below a folder, the older ones, and where each file is.
fn find(folder: &Path) -> Result<Found, PublishError> {
    let mut paths = Vec::new();
    walk(folder, DEPTH_MAX, &mut paths)
        .map_err(|source| PublishError::Import { folder: folder.to_path_buf(), source })?;
    let refused =
        |why: &str| PublishError::ImportFolder { folder: folder.to_path_buf(), why: why.to_owned() };
    if paths.is_empty() {
        return Err(refused("there is no .stone file in it"));
    }
    if paths.len() > PACKAGES_MAX {
        return Err(refused(&format!(
            "it holds more than {PACKAGES_MAX} packages; import a part of it first"
        )));
    }
    paths.sort();
    let (packages, debug): (Vec<Package>, Vec<Vec<DebugFile>>) = read_packages(&paths)?.into_iter().unzip();
    let debug = debug.into_iter().flatten().collect();
    let places = packages.iter().zip(&paths).map(|(package, path)| (package.sha256, path.clone())).collect();
    let (packages, passed_over) = newest(packages)?;
    Ok(Found { packages, passed_over, places, debug })
}

fn walk(folder: &Path, depth_left: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // Links are followed for files, which are read and copied, and not for folders, which could go round.
        if entry.file_type()?.is_dir() {
            if depth_left > 0 {
                walk(&path, depth_left - 1, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "stone")
            && path.is_file()
            && found.len() <= PACKAGES_MAX
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Copies files next to the tree, so that the pool shares no bytes with a folder that somebody may write to.
fn copy(files: &[(Sha256, PathBuf)], target: &Path) -> Result<(), PublishError> {
    let disk = |source| TreeError::Disk { action: "copy packages", source };
    durable::remove(target).map_err(disk)?;
    durable::create_folders(target).map_err(disk)?;
    let mut copies = Vec::with_capacity(files.len());
    for (sha256, path) in files {
        let to = target.join(sha256.to_string());
        fs_err::copy(path, &to).map_err(disk)?;
        // A copy keeps the mode of the original; published files may be read by any web server.
        fs_err::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o644)).map_err(disk)?;
        let found = Sha256::of_file(&to).map_err(disk)?;
        if found != *sha256 {
            return Err(VerifyError::OtherBytes {
                file: path.display().to_string(),
                announced: *sha256,
                found,
            }
            .into());
        }
        copies.push(to);
    }
    Ok(durable::sync_all(copies.iter()).map_err(disk)?)
}
