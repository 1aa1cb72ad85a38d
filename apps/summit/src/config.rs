//! What an operator says about a farm: one TOML file, read once at start. Unknown keys are errors with their line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use farm::graph::HostProvides;
use fault::{Fault, Kind};
use serde::Deserialize;
use wire::PublicKey;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the dashboard and the API listen; port 0 takes a free one.
    #[serde(default = "default_http_address")]
    pub http_address: SocketAddr,
    /// Where agents dial in; port 0 takes a free one.
    #[serde(default = "default_grpc_address")]
    pub grpc_address: SocketAddr,
    /// Time between two looks at the recipes.
    #[serde(default = "default_poll_seconds")]
    pub poll_seconds: u32,
    /// A builder that is not heard of for this long has lost its builds.
    #[serde(default = "default_lease_seconds")]
    pub lease_seconds: u32,
    /// What is built.
    pub project: Project,
    /// Where it is published.
    pub vessel: VesselConfig,
    /// Who builds. More can be added with `summit builder add` while Summit runs.
    #[serde(default, rename = "builder")]
    pub builders: Vec<BuilderConfig>,
    /// Where build dependencies come from besides our own channel.
    #[serde(default, rename = "repository")]
    pub repositories: Vec<RepositoryConfig>,
    /// What a build may use.
    #[serde(default)]
    pub limits: LimitsConfig,
}

/// What is built.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Its name, for people.
    pub name: String,
    /// Address of the git repository with the recipes, as builders see it too.
    pub repository: String,
    /// The branch.
    #[serde(default = "default_branch")]
    pub branch: String,
    /// The architecture.
    #[serde(default = "default_architecture")]
    pub architecture: String,
    /// The channel that is published to.
    #[serde(default = "default_channel")]
    pub channel: String,
    /// What the builders' own systems offer to builds.
    #[serde(default)]
    pub host_provides: HostProvides,
}

/// Where it is published.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VesselConfig {
    /// host:port, as Summit and the builders reach it.
    pub address: String,
    /// Its key.
    pub public_key: PublicKey,
    /// Base address of the published tree.
    pub public_url: String,
}

/// One builder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuilderConfig {
    /// Its name, for people.
    pub name: String,
    /// Its key.
    pub public_key: PublicKey,
}

/// One more place for build dependencies: an index, or a versioned repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryConfig {
    /// Its name.
    pub id: String,
    /// Address of a `stone.index`.
    pub index_uri: Option<String>,
    /// Base address of a versioned repository.
    pub base_uri: Option<String>,
    /// Its channel.
    #[serde(default = "default_channel")]
    pub channel: String,
    /// `stream/NAME`, `tag/NAME` or `history/ID`.
    #[serde(default = "default_version")]
    pub version: String,
    /// The higher wins. Our own channel has 100.
    #[serde(default)]
    pub priority: i32,
}

/// What a build may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Longest build. The longest known, a browser on a small machine, takes most of a day.
    pub time_seconds: u32,
    /// Longest silence. Linking the largest programs says nothing for half an hour.
    pub silence_seconds: u32,
    /// Largest log. The largest known has some 60 MB.
    pub log_bytes: u64,
    /// Everything that is built, together.
    pub output_bytes: u64,
    /// Memory; 0 for no limit but the machine's.
    pub memory_bytes: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            time_seconds: 24 * 3600,
            silence_seconds: 3600,
            log_bytes: 256 << 20,
            output_bytes: 16 << 30,
            memory_bytes: 0,
        }
    }
}

fn default_http_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5000))
}

fn default_grpc_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5001))
}

fn default_poll_seconds() -> u32 {
    30
}

fn default_lease_seconds() -> u32 {
    60
}

fn default_branch() -> String {
    "main".into()
}

fn default_architecture() -> String {
    "x86_64".into()
}

fn default_channel() -> String {
    "main".into()
}

fn default_version() -> String {
    "stream/volatile".into()
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {path:?}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it must be.
    #[error("cannot understand configuration {path:?}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: toml::de::Error,
    },
    /// A value that cannot be.
    #[error("cannot use configuration {path:?}: {what}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key and what is wrong with its value.
        what: String,
    },
}

impl Fault for ConfigError {
    fn kind(&self) -> Kind {
        match self {
            ConfigError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            ConfigError::Read { .. } => Kind::Unavailable,
            ConfigError::Syntax { .. } | ConfigError::Value { .. } => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ConfigError::Read { .. } => Vec::new(),
            ConfigError::Syntax { path, .. } | ConfigError::Value { path, .. } => {
                vec![format!("correct it and look again with `summit config check {}`", path.display())]
            }
        }
    }
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read or used; with the line where there is one.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs_err::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        Self::parse(path, &text)
    }

    /// Understands `text`, which stands in the file at `path`.
    ///
    /// # Errors
    /// When it cannot be used; with the line where there is one.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)
            .map_err(|source| ConfigError::Syntax { path: path.to_path_buf(), source })?;
        match config.problem() {
            Some(what) => Err(ConfigError::Value { path: path.to_path_buf(), what }),
            None => Ok(config),
        }
    }

    /// What is wrong beyond the syntax.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self.lease_seconds == 0 || self.poll_seconds == 0 {
            return Some("lease_seconds and poll_seconds must be at least 1".into());
        }
        if self.project.branch.is_empty() || self.project.branch.starts_with('-') {
            return Some(format!("project.branch {:?} is no branch", self.project.branch));
        }
        if self.project.repository.is_empty() || self.project.repository.starts_with('-') {
            return Some(format!("project.repository {:?} is no git address", self.project.repository));
        }
        if let Err(error) = self.project.channel.parse::<repository::Identifier>() {
            return Some(format!("project.channel: {error}"));
        }
        for place in &self.repositories {
            if place.index_uri.is_some() == place.base_uri.is_some() {
                return Some(format!("repository {:?} needs either index_uri or base_uri", place.id));
            }
        }
        None
    }

    /// How long a lease lasts.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_secs(u64::from(self.lease_seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = r#"
        [project]
        name = "demo"
        repository = "/srv/recipes.git"
        [vessel]
        address = "127.0.0.1:5002"
        public_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        public_url = "http://127.0.0.1:8080"
    "#;

    fn check(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("summit.toml"), text).map_err(|error| fault::chain(&error).join(": "))
    }

    #[test]
    fn the_smallest_file_has_sensible_defaults() {
        let config = check(SMALLEST).unwrap();
        assert_eq!((config.lease_seconds, config.poll_seconds), (60, 30));
        assert_eq!(config.project.branch, "main");
        assert!(config.builders.is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expect) in [
            (format!("pol_seconds = 3\n{SMALLEST}"), "unknown field `pol_seconds`"),
            (format!("pol_seconds = 3\n{SMALLEST}"), "line 1"),
            (format!("lease_seconds = 0\n{SMALLEST}"), "at least 1"),
            (format!("{SMALLEST}\n[[repository]]\nid = \"x\""), "either index_uri or base_uri"),
            (SMALLEST.replace("AAAA", "AA"), "43 characters"),
            (SMALLEST.replace("/srv/recipes.git", "--upload-pack=x"), "no git address"),
        ] {
            let message = check(&text).unwrap_err();
            assert!(message.contains(expect), "{message}");
        }
    }
}
