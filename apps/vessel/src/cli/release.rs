//! `vessel release …`: files into the folder of what comes in, and the word to publish them.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fault::{Fault, Kind};
use sha2::{Digest, Sha256};
use store::durable;

use super::channel::{Way, WayArguments};
use crate::expectation::check_name;
use crate::folder::DataFolder;
use crate::operation::{Operation, ReleaseFileReport};
use crate::operator::Reach;
use crate::settings::check_channel;

/// Bytes copied at a time.
const BLOCK_SIZE_BYTES: usize = 1 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum ReleaseCommand {
    /// Publish files, such as images, below release/NAME of a channel. They never change.
    Add(AddArguments),
    /// List the releases of a channel.
    List(ListArguments),
    /// Take a release away.
    Remove(RemoveArguments),
}

#[derive(Debug, Args)]
pub(super) struct AddArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The name of the release.
    #[arg(value_name = "NAME")]
    name: String,
    /// Files; they are copied.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL", default_value = "main")]
    channel: String,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The name of the release.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    way: WayArguments,
}

/// Why files cannot be added.
#[derive(Debug, thiserror::Error)]
enum AddError {
    #[error("cannot add files to a Vessel elsewhere")]
    Elsewhere,
    #[error("cannot add {path:?}: it has no plain name", path = path.display())]
    Name { path: PathBuf },
    #[error("cannot copy {path:?}", path = path.display())]
    Copy { path: PathBuf, source: io::Error },
}

impl Fault for AddError {
    fn kind(&self) -> Kind {
        match self {
            AddError::Elsewhere | AddError::Name { .. } => Kind::Input,
            AddError::Copy { source, .. } if source.kind() == io::ErrorKind::NotFound => Kind::NotFound,
            AddError::Copy { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            AddError::Elsewhere => vec!["do it on the machine of that Vessel, with --data".into()],
            _ => Vec::new(),
        }
    }
}

impl ReleaseCommand {
    /// Copies what is to be added, and says what is asked, and of whom.
    pub(super) fn into_parts(self) -> Result<(Operation, Way), Box<dyn Fault>> {
        match self {
            ReleaseCommand::Add(AddArguments { channel, name, files, way }) => {
                let way = way.complete()?;
                let Reach::Folder { data, .. } = &way.reach else { return Err(AddError::Elsewhere.into()) };
                check_channel(&channel)?;
                check_name("release", &name)?;
                let files = bring_in(&DataFolder::incoming_of(data, &channel, &name), &files)?;
                Ok((Operation::ReleaseAdd { channel, name, files }, way))
            }
            ReleaseCommand::List(it) => {
                Ok((Operation::ReleaseList { channel: it.channel }, it.way.complete()?))
            }
            ReleaseCommand::Remove(it) => {
                Ok((Operation::ReleaseRemove { channel: it.channel, name: it.name }, it.way.complete()?))
            }
        }
    }
}

/// Copies files into the folder, and says what they are.
fn bring_in(folder: &Path, files: &[PathBuf]) -> Result<Vec<ReleaseFileReport>, AddError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| AddError::Copy { path, source }
    };
    durable::remove(folder).map_err(failed(folder))?;
    durable::create_folders(folder).map_err(failed(folder))?;
    let mut reports = Vec::with_capacity(files.len());
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| AddError::Name { path: path.clone() })?.to_owned();
        let (size_bytes, sha256) = copy(path, &folder.join(&name)).map_err(failed(path))?;
        reports.push(ReleaseFileReport { name, size_bytes, sha256 });
    }
    durable::sync_folder_of(&folder.join("x")).map_err(failed(folder))?;
    Ok(reports)
}

/// Copies a file block by block; answers its length and digest.
fn copy(from: &Path, to: &Path) -> io::Result<(u64, String)> {
    let mut source = fs_err::File::open(from)?;
    let mut target = fs_err::File::create_new(to)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK_SIZE_BYTES];
    let mut size_bytes = 0_u64;
    loop {
        let count = source.read(&mut block)?;
        if count == 0 {
            break;
        }
        let bytes = block.get(..count).unwrap_or_default();
        hasher.update(bytes);
        target.write_all(bytes)?;
        size_bytes = size_bytes.saturating_add(u64::try_from(count).unwrap_or(0));
    }
    target.sync_all()?;
    let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((size_bytes, sha256))
}
