//! Settings: from a TOML file, from the command line, and what both leave open. The command line wins.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use fs_err as fs;
use serde::Deserialize;
use wire::{PublicKey, PublicKeyError};

use crate::boulder::{Boulder, RootKind, default_program};
use crate::machine::cores;

/// Most builds at once; more would only be a mistyped number.
const SLOTS_MAX: usize = 256;
/// Free space below which no order is taken: a build root and the output of a middling package.
const FREE_BYTES_MIN_DEFAULT: u64 = 2 * 1024 * 1024 * 1024;

/// What may be said, all of it optional. The same names in the file and, with dashes, on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// Folder of the agent: its key, caches and attempts
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address of Summit
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) summit: Option<String>,
    /// Public key of Summit; it may begin with a dash
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) summit_key: Option<String>,
    /// What the agent calls itself [default: the host name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Builds at once [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) slots: Option<usize>,
    /// Processors for each build [default: all, shared between the slots]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// What build roots are made of [default: host]
    #[arg(long, value_enum)]
    pub(crate) root: Option<RootKind>,
    /// The Boulder to run [default: the one beside this program]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) boulder: Option<PathBuf>,
    /// Folder of sources, packages and build folders; agents of one machine may share it [default: in the data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Another place for sources: `debian`, or the address of a folder; may be repeated
    #[arg(long = "mirror", value_name = "PLACE")]
    #[serde(default)]
    pub(crate) mirrors: Vec<String>,
    /// A further argument for every `boulder build`; may be repeated
    #[arg(long = "boulder-argument", value_name = "ARGUMENT", allow_hyphen_values = true)]
    #[serde(default)]
    pub(crate) boulder_arguments: Vec<String>,
    /// Free space below which no order is taken, in bytes [default: 2147483648]
    #[arg(long, value_name = "BYTES")]
    pub(crate) free_bytes_min: Option<u64>,
}

/// What the agent runs with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) data: PathBuf,
    pub(crate) summit: String,
    pub(crate) summit_key: PublicKey,
    pub(crate) name: String,
    pub(crate) slots: usize,
    pub(crate) boulder: Boulder,
    pub(crate) free_bytes_min: u64,
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read the settings in {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot understand the settings in {path}")]
    Syntax {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("cannot run an agent: {name} is not given")]
    Missing { name: &'static str },
    #[error("cannot use the key of Summit")]
    Key(#[source] PublicKeyError),
    #[error("cannot use {value} as {name}: it must be between 1 and {max}")]
    Range { name: &'static str, value: usize, max: usize },
}

impl Fault for SettingsError {
    fn kind(&self) -> Kind {
        match self {
            SettingsError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            SettingsError::Read { .. } => Kind::Unavailable,
            _ => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            SettingsError::Missing { name } => {
                let setting = name.replace('-', "_");
                vec![format!("give --{name}, or {setting} = … in the file of --config")]
            }
            SettingsError::Key(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

impl Said {
    /// What the file at `path` says.
    pub(crate) fn read(path: &Path) -> Result<Said, SettingsError> {
        let text = fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_path_buf(), source })?;
        toml::from_str(&text)
            .map_err(|source| SettingsError::Syntax { path: path.to_path_buf(), source: Box::new(source) })
    }

    /// This, and where it says nothing, `other`.
    pub(crate) fn or(self, other: Said) -> Said {
        Said {
            data: self.data.or(other.data),
            summit: self.summit.or(other.summit),
            summit_key: self.summit_key.or(other.summit_key),
            name: self.name.or(other.name),
            slots: self.slots.or(other.slots),
            jobs: self.jobs.or(other.jobs),
            root: self.root.or(other.root),
            boulder: self.boulder.or(other.boulder),
            cache: self.cache.or(other.cache),
            mirrors: or_list(self.mirrors, other.mirrors),
            boulder_arguments: or_list(self.boulder_arguments, other.boulder_arguments),
            free_bytes_min: self.free_bytes_min.or(other.free_bytes_min),
        }
    }

    pub(crate) fn data(&self) -> Result<&Path, SettingsError> {
        self.data.as_deref().ok_or(SettingsError::Missing { name: "data" })
    }

    /// The whole, for an agent whose program is at `current`.
    pub(crate) fn settle(self, current: &Path) -> Result<Settings, SettingsError> {
        let data = std::path::absolute(self.data()?)
            .map_err(|source| SettingsError::Read { path: self.data.clone().unwrap_or_default(), source })?;
        let summit = self.summit.ok_or(SettingsError::Missing { name: "summit" })?;
        let summit_key = self.summit_key.ok_or(SettingsError::Missing { name: "summit-key" })?;
        let slots = in_range("slots", self.slots.unwrap_or(1), SLOTS_MAX)?;
        let jobs = self.jobs.unwrap_or_else(|| (cores() / slots).max(1));
        // A recipe that may use more than 4096 processors at once would run out of everything else.
        let jobs = in_range("jobs", jobs, 4096)?;
        let program: Vec<OsString> = match self.boulder {
            Some(program) => vec![program.into()],
            None => default_program(current),
        };
        let cache = match &self.cache {
            Some(cache) => std::path::absolute(cache)
                .map_err(|source| SettingsError::Read { path: cache.clone(), source })?,
            None => data.join("boulder"),
        };
        let boulder = Boulder {
            program,
            root: self.root.unwrap_or_default(),
            jobs,
            cache,
            mirrors: self.mirrors,
            more_arguments: self.boulder_arguments,
        };
        Ok(Settings {
            data,
            summit,
            summit_key: summit_key.parse().map_err(SettingsError::Key)?,
            name: self.name.unwrap_or_else(host_name),
            slots,
            boulder,
            free_bytes_min: self.free_bytes_min.unwrap_or(FREE_BYTES_MIN_DEFAULT),
        })
    }
}

/// A list that says something replaces the other one.
fn or_list(list: Vec<String>, other: Vec<String>) -> Vec<String> {
    if list.is_empty() { other } else { list }
}

fn in_range(name: &'static str, value: usize, max: usize) -> Result<usize, SettingsError> {
    if (1..=max).contains(&value) { Ok(value) } else { Err(SettingsError::Range { name, value, max }) }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn file(text: &str) -> Result<Said, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("avalanche.toml");
        fs::write(&path, text).unwrap();
        Said::read(&path).map_err(|error| fault::chain(&error).join(": "))
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let text = format!(
            "data = \"/data\"\nsummit = \"a:1\"\nsummit_key = \"{KEY}\"\nslots = 3\nroot = \"stones\"\nboulder_arguments = [\"-v\"]\n"
        );
        let line = Said { slots: Some(2), jobs: Some(5), ..Said::default() };
        let settings = line.or(file(&text).unwrap()).settle(Path::new("/bin/moraine")).unwrap();
        assert_eq!((settings.slots, settings.boulder.jobs), (2, 5));
        assert_eq!(settings.boulder.root, RootKind::Stones);
        assert_eq!(settings.boulder.program, ["/bin/moraine", "boulder"]);
        assert_eq!(settings.boulder.cache, Path::new("/data/boulder"));
        assert_eq!(settings.boulder.more_arguments, ["-v"]);
        assert!(!settings.name.is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        fn check(said: Said, expect: &str) {
            let error = said.settle(Path::new("/bin/avalanche")).unwrap_err();
            assert!(fault::chain(&error).join(": ").contains(expect), "{error}");
        }
        let whole = Said {
            data: Some("/data".into()),
            summit: Some("a:1".to_owned()),
            summit_key: Some(KEY.to_owned()),
            ..Said::default()
        };
        assert!(whole.clone().settle(Path::new("/bin/avalanche")).is_ok());
        check(Said { data: None, ..whole.clone() }, "data is not given");
        check(Said { summit_key: None, ..whole.clone() }, "summit-key is not given");
        check(Said { summit_key: Some("x".to_owned()), ..whole.clone() }, "cannot read public key");
        check(Said { slots: Some(0), ..whole.clone() }, "cannot use 0 as slots");
        let unknown = file("slot = 3\n").unwrap_err();
        assert!(unknown.contains("unknown field `slot`") && unknown.contains("line 1"), "{unknown}");
    }
}
