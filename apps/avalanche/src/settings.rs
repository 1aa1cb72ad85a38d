//! Settings: from a TOML file, from the command line, and what both leave open. The command line wins.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use fs_err as fs;
use serde::{Deserialize, Deserializer};
use wire::{PublicKey, PublicKeyError};

use crate::boulder::{Boulder, RootKind, default_program};
use crate::machine::cores;

/// Most builds at once; more would only be a mistyped number.
const SLOTS_MAX: usize = 256;
/// Free space below which no order is taken: a build root and the output of a middling package.
const FREE_BYTES_MIN_DEFAULT: u64 = 2 * 1024 * 1024 * 1024;
/// Of that space, the part that builds which run already must leave: logs, uploads and the machine itself need some.
const RESERVE_PART: u64 = 4;

/// What may be said, all of it optional. The same names in the file and, with dashes, on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// Folder of the agent: its key, caches and attempts
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address of Summit; may be repeated for one that has several, which are tried in turn
    #[arg(long = "summit", value_name = "HOST:PORT")]
    #[serde(skip)]
    pub(crate) addresses: Vec<String>,
    /// Of the file: an address, or tables
    #[arg(skip)]
    #[serde(default, rename = "summit")]
    pub(crate) summits: Summits,
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

/// Where the Summits are, as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Summits {
    /// `summit = "HOST:PORT"`: of the only one; none where nothing was said.
    Address(Option<String>),
    /// `[[summit]]`
    Tables(Vec<SummitTable>),
}

impl Default for Summits {
    fn default() -> Summits {
        Summits::Address(None)
    }
}

impl<'de> Deserialize<'de> for Summits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Summits, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Summits;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an address, or tables [[summit]]")
            }

            fn visit_str<E: serde::de::Error>(self, address: &str) -> Result<Summits, E> {
                Ok(Summits::Address(Some(address.to_owned())))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut tables: A) -> Result<Summits, A::Error> {
                let mut all = Vec::new();
                while let Some(table) = tables.next_element()? {
                    all.push(table);
                }
                Ok(Summits::Tables(all))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// One `[[summit]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SummitTable {
    pub(crate) name: String,
    /// One of them leads.
    pub(crate) addresses: Vec<String>,
    pub(crate) public_key: Option<String>,
    /// Where each address has a key of its own.
    #[serde(default)]
    pub(crate) public_keys: Vec<String>,
}

/// A Summit to build for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SummitSettings {
    /// None for the only one of an agent whose settings name none.
    pub(crate) name: Option<String>,
    pub(crate) addresses: Vec<String>,
    pub(crate) keys: Vec<PublicKey>,
}

/// What the agent runs with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) data: PathBuf,
    pub(crate) summits: Vec<SummitSettings>,
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
    #[error("cannot use [[summit]] {name:?}: {reason}")]
    Summit { name: String, reason: &'static str },
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
            addresses: or_list(self.addresses, other.addresses),
            summits: if self.summits == Summits::default() { other.summits } else { self.summits },
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
        let summits = settle_summits(self.addresses, self.summits, self.summit_key)?;
        let slots = in_range("slots", self.slots.unwrap_or(1), SLOTS_MAX)?;
        let jobs = self.jobs.unwrap_or_else(|| (cores() / slots).max(1));
        // A recipe that may use more than 4096 processors at once would run out of everything else.
        let jobs = in_range("jobs", jobs, 4096)?;
        let is_own = self.boulder.is_none();
        let free_bytes_min = self.free_bytes_min.unwrap_or(FREE_BYTES_MIN_DEFAULT);
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
            slots: u64::try_from(slots).unwrap_or(u64::MAX),
            disk_reserve_bytes: free_bytes_min / RESERVE_PART,
            is_own,
        };
        Ok(Settings {
            data,
            summits,
            name: self.name.unwrap_or_else(host_name),
            slots,
            boulder,
            free_bytes_min,
        })
    }
}

fn settle_summits(
    addresses: Vec<String>,
    summits: Summits,
    summit_key: Option<String>,
) -> Result<Vec<SummitSettings>, SettingsError> {
    let key = |key: String| key.parse().map_err(SettingsError::Key);
    let only = |addresses: Vec<String>| {
        let summit_key = summit_key.ok_or(SettingsError::Missing { name: "summit-key" })?;
        let addresses = unrepeated(addresses);
        Ok(vec![SummitSettings { name: None, addresses, keys: vec![key(summit_key)?] }])
    };
    let tables = match summits {
        _ if !addresses.is_empty() => return only(addresses),
        Summits::Address(Some(address)) => return only(vec![address]),
        Summits::Tables(tables) if !tables.is_empty() => tables,
        Summits::Address(None) | Summits::Tables(_) => {
            return Err(SettingsError::Missing { name: "summit" });
        }
    };
    let mut settled: Vec<SummitSettings> = Vec::new();
    for table in tables {
        let SummitTable { name, addresses, public_key, public_keys } = table;
        let refuse = |reason| Err(SettingsError::Summit { name: name.clone(), reason });
        if tables_too_many(&settled) {
            return refuse("an agent serves at most 16 of them");
        }
        if !is_name(&name) {
            return refuse("a name has 1 to 64 letters, digits, - or _ and begins with a letter or digit");
        }
        if settled.iter().any(|other| other.name.as_ref() == Some(&name)) {
            return refuse("another one has the same name");
        }
        if addresses.is_empty() {
            return refuse("it has no addresses");
        }
        let keys: Vec<PublicKey> =
            public_key.into_iter().chain(public_keys).map(key).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return refuse("it has no public_key");
        }
        settled.push(SummitSettings { name: Some(name), addresses: unrepeated(addresses), keys });
    }
    Ok(settled)
}

/// Each serves people of its own; more on one machine would only be a mistake.
fn tables_too_many(settled: &[SummitSettings]) -> bool {
    settled.len() >= 16
}

/// The name becomes the name of a folder.
fn is_name(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.len() <= 64
        && text.chars().all(plain)
}

fn unrepeated(addresses: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
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
    fn several_summits_each_have_addresses_and_keys() {
        let text = format!(
            "data = \"/data\"\n[[summit]]\nname = \"one\"\naddresses = [\"a:1\", \"b:1\", \"a:1\"]\npublic_keys = [\"{KEY}\", \"{KEY}\"]\n\
             [[summit]]\nname = \"two\"\naddresses = [\"c:1\"]\npublic_key = \"{KEY}\"\n"
        );
        let settings = file(&text).unwrap().settle(Path::new("/bin/avalanche")).unwrap();
        let [one, two] = settings.summits.as_slice() else { panic!("{settings:?}") };
        assert_eq!((one.name.as_deref(), one.addresses.len(), one.keys.len()), (Some("one"), 2, 2));
        assert_eq!(
            (two.name.as_deref(), two.addresses.as_slice()),
            (Some("two"), ["c:1".to_owned()].as_slice())
        );
        let line = Said { addresses: vec!["x:1".into()], summit_key: Some(KEY.into()), ..Said::default() };
        let settings = line.or(file(&text).unwrap()).settle(Path::new("/bin/avalanche")).unwrap();
        assert_eq!(settings.summits.len(), 1, "the command line wins");
        assert!(
            file("[[summit]]\nname = \"x\"\naddresses = []\nkey = \"y\"\n")
                .unwrap_err()
                .contains("unknown field `key`")
        );
        for (table, expect) in [
            ("name = \"../x\"\naddresses = [\"a:1\"]", "a name has"),
            ("name = \"x\"\naddresses = []", "no addresses"),
            ("name = \"x\"\naddresses = [\"a:1\"]", "no public_key"),
        ] {
            let said = file(&format!("data = \"/data\"\n[[summit]]\n{table}\n")).unwrap();
            let error = said.settle(Path::new("/bin/avalanche")).unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        fn check(said: Said, expect: &str) {
            let error = said.settle(Path::new("/bin/avalanche")).unwrap_err();
            assert!(fault::chain(&error).join(": ").contains(expect), "{error}");
        }
        let whole = Said {
            data: Some("/data".into()),
            addresses: vec!["a:1".to_owned()],
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
