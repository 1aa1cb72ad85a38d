//! What a client knows about a repository: where it is and how much it counts.

use fault::{Fault, Kind};
use package::{ComponentFault, check_component};

use crate::identifier::{Identifier, IdentifierError, Version, VersionError};
use crate::layout;
use crate::url::{UrlError, check_base};

/// The channel where none is named.
const DEFAULT_CHANNEL: &str = "main";

/// The architecture where none is named.
const DEFAULT_ARCHITECTURE: &str = "x86_64";

/// Characters of a public key: 32 bytes as base64 of the kind that is safe in addresses, without filling.
const KEY_CHARACTERS: usize = 43;

/// Most keys of a repository: one, and the next while they change, for a few who may sign.
const KEYS_MAX: usize = 16;

/// Most mirrors of a repository; trying more would take longer than anybody waits.
const MIRRORS_MAX: usize = 32;

fn is_key(text: &str) -> bool {
    text.len() == KEY_CHARACTERS
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// A repository as a configuration file has it: every key that there may be, none of them judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepositoryFields {
    /// Free text.
    pub description: Option<String>,
    /// Address of a `stone.index`; either this …
    pub uri: Option<String>,
    /// … or the address of a versioned repository.
    pub base_uri: Option<String>,
    /// Channel of a versioned repository.
    pub channel: Option<String>,
    /// Version of a versioned repository.
    pub version: Option<String>,
    /// Architecture of a versioned repository.
    pub arch: Option<String>,
    /// Larger wins.
    pub priority: Option<u64>,
    /// Whether it is used.
    pub active: Option<bool>,
    /// Public keys of which one must vouch for everything that is fetched.
    pub keys: Vec<String>,
    /// Addresses of copies of the tree, tried for packages before or after the repository itself.
    pub mirrors: Vec<String>,
}

/// A repository that a client uses. Every address and name in it is fit for use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// Its name; see [`sanitize_id`].
    pub id: String,
    /// Free text.
    pub description: String,
    /// Where it is.
    pub source: RepositorySource,
    /// Of two repositories with the same package the one with the larger priority wins.
    pub priority: u64,
    /// Whether it is used.
    pub active: bool,
    /// Public keys, as base64; when there are any, what none of them vouches for is refused.
    pub keys: Vec<String>,
    /// Addresses of copies of the tree, without a slash at the end.
    pub mirrors: Vec<String>,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositorySource {
    /// One index, which is replaced in place.
    Direct {
        /// Address of the `stone.index`.
        uri: String,
    },
    /// A tree with histories.
    Versioned {
        /// Address of the tree, without a slash at the end.
        base_uri: String,
        /// The channel.
        channel: Identifier,
        /// The version to follow.
        version: Version,
        /// The architecture.
        arch: String,
    },
}

/// Why a repository cannot be used as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The name has nothing to make an id of.
    #[error("cannot use {id:?} as the name of a repository: it has no letter and no digit")]
    Id {
        /// The name.
        id: String,
    },
    /// A key that must be there.
    #[error("cannot use repository {id:?}: it has no {key:?}")]
    Missing {
        /// The repository.
        id: String,
        /// The key.
        key: &'static str,
    },
    /// Two keys that exclude each other.
    #[error("cannot use repository {id:?}: it has both {first:?} and {second:?}")]
    Contradiction {
        /// The repository.
        id: String,
        /// One key.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// An address that is none.
    #[error("cannot use repository {id:?}")]
    Url {
        /// The repository.
        id: String,
        /// Why.
        #[source]
        source: UrlError,
    },
    /// A channel that is none.
    #[error("cannot use the channel of repository {id:?}")]
    Channel {
        /// The repository.
        id: String,
        /// Why.
        #[source]
        source: IdentifierError,
    },
    /// A version that is none.
    #[error("cannot use the version of repository {id:?}")]
    Version {
        /// The repository.
        id: String,
        /// Why.
        #[source]
        source: VersionError,
    },
    /// A key that is none.
    #[error(
        "cannot use {key:?} as a key of repository {id:?}: it is not the {KEY_CHARACTERS} characters of a public key"
    )]
    Key {
        /// The repository.
        id: String,
        /// The key.
        key: String,
    },
    /// More than anybody needs.
    #[error("cannot use repository {id:?}: it has {count} {what}, and {max} are the most")]
    TooMany {
        /// The repository.
        id: String,
        /// Of what.
        what: &'static str,
        /// How many it has.
        count: usize,
        /// How many it may have.
        max: usize,
    },
    /// An architecture that is none.
    #[error("cannot use the architecture {arch:?} of repository {id:?}: {fault}")]
    Architecture {
        /// The repository.
        id: String,
        /// The architecture.
        arch: String,
        /// Why.
        fault: ComponentFault,
    },
}

impl Fault for ConfigError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ConfigError::Url { source, .. } => source.hints(),
            ConfigError::Channel { source, .. } => source.hints(),
            ConfigError::Version { source, .. } => source.hints(),
            ConfigError::Key { .. } => {
                vec!["whoever publishes the repository tells its key: vessel key show".to_owned()]
            }
            ConfigError::TooMany { .. } => vec!["leave some of them out".to_owned()],
            _ => vec![
                "a repository has a description, a priority, and either uri or base-uri with version"
                    .to_owned(),
            ],
        }
    }
}

/// A name as it becomes an id and a file name: everything but letters and digits of ASCII and `-` turned into `_`.
#[must_use]
pub fn sanitize_id(name: &str) -> String {
    name.chars()
        .map(|character| if character.is_ascii_alphanumeric() || character == '-' { character } else { '_' })
        .collect()
}

impl RepositoryConfig {
    /// Judges the keys of a repository. Channel defaults to `main`, architecture to `x86_64`; it is active unless it says no.
    ///
    /// # Errors
    /// For keys that are missing, contradict each other or have a value that is no good.
    pub fn from_fields(name: &str, fields: &RepositoryFields) -> Result<Self, ConfigError> {
        let id = sanitize_id(name);
        if !id.contains(|character: char| character.is_ascii_alphanumeric()) {
            return Err(ConfigError::Id { id: name.to_owned() });
        }
        let missing = |key| ConfigError::Missing { id: id.clone(), key };
        let description = fields.description.clone().ok_or_else(|| missing("description"))?;
        let priority = fields.priority.ok_or_else(|| missing("priority"))?;
        let source = RepositorySource::from_fields(&id, fields)?;
        for (what, count, max) in
            [("keys", fields.keys.len(), KEYS_MAX), ("mirrors", fields.mirrors.len(), MIRRORS_MAX)]
        {
            if count > max {
                return Err(ConfigError::TooMany { id, what, count, max });
            }
        }
        if let Some(key) = fields.keys.iter().find(|key| !is_key(key)) {
            return Err(ConfigError::Key { id, key: key.clone() });
        }
        let mirrors = fields.mirrors.iter().map(|mirror| check_base(mirror)).collect::<Result<_, _>>();
        let mirrors = mirrors.map_err(|source| ConfigError::Url { id: id.clone(), source })?;
        let active = fields.active.unwrap_or(true);
        Ok(Self { source, description, priority, active, keys: fields.keys.clone(), mirrors, id })
    }

    /// The keys that say the same, for writing.
    #[must_use]
    pub fn to_fields(&self) -> RepositoryFields {
        let common = RepositoryFields {
            description: Some(self.description.clone()),
            priority: Some(self.priority),
            active: Some(self.active),
            keys: self.keys.clone(),
            mirrors: self.mirrors.clone(),
            ..RepositoryFields::default()
        };
        match &self.source {
            RepositorySource::Direct { uri } => RepositoryFields { uri: Some(uri.clone()), ..common },
            RepositorySource::Versioned { base_uri, channel, version, arch } => RepositoryFields {
                base_uri: Some(base_uri.clone()),
                channel: Some(channel.to_string()),
                version: Some(version.to_string()),
                arch: Some(arch.clone()),
                ..common
            },
        }
    }
}

impl RepositorySource {
    fn from_fields(id: &str, fields: &RepositoryFields) -> Result<Self, ConfigError> {
        let id = || id.to_owned();
        let address = |url: &str| check_base(url).map_err(|source| ConfigError::Url { id: id(), source });
        if let Some(uri) = &fields.uri {
            let others = [
                ("base-uri", fields.base_uri.is_some()),
                ("channel", fields.channel.is_some()),
                ("version", fields.version.is_some()),
            ];
            if let Some((second, _)) = others.into_iter().find(|(_, is_there)| *is_there) {
                return Err(ConfigError::Contradiction { id: id(), first: "uri", second });
            }
            return Ok(RepositorySource::Direct { uri: address(uri)? });
        }
        let Some(base_uri) = &fields.base_uri else {
            return Err(ConfigError::Missing { id: id(), key: "uri" });
        };
        let Some(version) = &fields.version else {
            return Err(ConfigError::Missing { id: id(), key: "version" });
        };
        let arch = fields.arch.clone().unwrap_or_else(|| DEFAULT_ARCHITECTURE.to_owned());
        check_component(&arch).map_err(|fault| ConfigError::Architecture {
            id: id(),
            arch: arch.clone(),
            fault,
        })?;
        Ok(RepositorySource::Versioned {
            base_uri: address(base_uri)?,
            channel: fields
                .channel
                .as_deref()
                .unwrap_or(DEFAULT_CHANNEL)
                .parse()
                .map_err(|source| ConfigError::Channel { id: id(), source })?,
            version: version.parse().map_err(|source| ConfigError::Version { id: id(), source })?,
            arch,
        })
    }

    /// Address of the root index; none for a direct index.
    #[must_use]
    pub fn root_index_url(&self) -> Option<String> {
        match self {
            RepositorySource::Direct { .. } => None,
            RepositorySource::Versioned { base_uri, channel, .. } => {
                Some(format!("{base_uri}/{}", layout::root_index_path(channel)))
            }
        }
    }

    /// Address of the index, given the history that the version stands for; a direct index has none and needs none.
    #[must_use]
    pub fn index_url(&self, history: &Identifier) -> String {
        match self {
            RepositorySource::Direct { uri } => uri.clone(),
            RepositorySource::Versioned { base_uri, channel, arch, .. } => {
                format!("{base_uri}/{}", layout::history_index_path(channel, history, arch))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versioned() -> RepositoryFields {
        RepositoryFields {
            description: Some("d".into()),
            base_uri: Some("https://example.org/repo/".into()),
            version: Some("stream/volatile".into()),
            priority: Some(7),
            ..RepositoryFields::default()
        }
    }

    fn direct() -> RepositoryFields {
        RepositoryFields {
            description: Some("d".into()),
            uri: Some("file:///srv/stones/stone.index".into()),
            priority: Some(0),
            active: Some(false),
            ..RepositoryFields::default()
        }
    }

    #[test]
    fn addresses() {
        let history = "17".parse().unwrap();
        let config = RepositoryConfig::from_fields("my repo", &versioned()).unwrap();
        assert_eq!((config.id.as_str(), config.priority, config.active), ("my_repo", 7, true));
        let root = config.source.root_index_url().unwrap();
        assert_eq!(root, "https://example.org/repo/main/moss-root-index.json");
        let index = config.source.index_url(&history);
        assert_eq!(index, "https://example.org/repo/main/history/17/x86_64/stone.index");

        let config = RepositoryConfig::from_fields("local", &direct()).unwrap();
        assert_eq!((config.source.root_index_url(), config.active), (None, false));
        assert_eq!(config.source.index_url(&history), "file:///srv/stones/stone.index");
    }

    #[test]
    fn fields_and_back() {
        for fields in [versioned(), direct()] {
            let config = RepositoryConfig::from_fields("r", &fields).unwrap();
            assert_eq!(RepositoryConfig::from_fields("r", &config.to_fields()).unwrap(), config);
        }
    }

    #[test]
    fn refused() {
        let check = |name: &str, fields: RepositoryFields, words: &str| {
            let error = RepositoryConfig::from_fields(name, &fields).unwrap_err();
            let chain = fault::chain(&error).join(": ");
            assert!(chain.contains(words), "{chain} does not say {words:?}");
            assert!(!error.hints().is_empty());
        };
        let some = |text: &str| Some(text.to_owned());
        check("/..", versioned(), "no letter");
        check("r", RepositoryFields { description: None, ..versioned() }, "no \"description\"");
        check("r", RepositoryFields { priority: None, ..versioned() }, "no \"priority\"");
        check("r", RepositoryFields { version: None, ..versioned() }, "no \"version\"");
        check("r", RepositoryFields { base_uri: None, ..versioned() }, "no \"uri\"");
        check(
            "r",
            RepositoryFields { version: some("stream/x"), ..direct() },
            "both \"uri\" and \"version\"",
        );
        check("r", RepositoryFields { base_uri: some("ftp://x"), ..versioned() }, "not an http");
        check("r", RepositoryFields { uri: some("https://x/../y"), ..direct() }, "component");
        check("r", RepositoryFields { channel: some("../x"), ..versioned() }, "channel");
        check("r", RepositoryFields { version: some("volatile"), ..versioned() }, "does not begin with");
        check("r", RepositoryFields { arch: some("../x"), ..versioned() }, "architecture");
        check("r", RepositoryFields { keys: vec!["short".into()], ..versioned() }, "public key");
        check("r", RepositoryFields { keys: vec!["k".repeat(43); 17], ..versioned() }, "17 keys");
        check("r", RepositoryFields { mirrors: vec!["ftp://m".into()], ..versioned() }, "not an http");
    }

    #[test]
    fn ids() {
        assert_eq!(sanitize_id("a/b.c d-é9"), "a_b_c_d-_9");
    }
}
