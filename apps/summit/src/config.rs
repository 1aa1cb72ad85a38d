//! What an operator says about a farm: one TOML file. Unknown keys are errors with their line.
//!
//! It is looked at again while Summit runs ([`files`]): a good new version takes effect at once, a bad one changes
//! nothing and is shown. A seed file in the form of AerynOS adds projects ([`seed`]).

pub(crate) mod database_address;
pub(crate) mod files;
pub(crate) mod project;
pub(crate) mod seed;
pub(crate) mod size;

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fault::{Fault, Kind};
use serde::Deserialize;
use wire::PublicKey;

pub use database_address::DatabaseChoice;
pub use farm::schedule::{Priority, Trust};
pub use files::{ConfigFiles, Loaded};
pub use project::{BuilderSize, Project, RepositoryConfig, Requirement, Wishes};
pub use size::ByteSize;

pub use crate::retention::RetentionConfig;

use seed::SeedError;

use crate::webhooks::WebhookConfig;

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
    /// Where the database is, as `postgres://…`; without it, a file in the data folder. Several Summits may have one.
    #[serde(default)]
    pub database: Option<String>,
    /// A file with that address, for one with a password; relative to this file.
    #[serde(default)]
    pub database_file: Option<PathBuf>,
    /// Where browsers reach this Summit, for others on the same database; without it, where it listens.
    #[serde(default)]
    pub announce_http: Option<String>,
    /// Where agents reach this Summit, as host:port, for others on the same database; without it, where it listens.
    #[serde(default)]
    pub announce_grpc: Option<String>,
    /// Where logs are kept; without it, in the data folder. Several Summits on one database share one.
    #[serde(default)]
    pub log_folder: Option<PathBuf>,
    /// Time between two looks at the recipes.
    #[serde(default = "default_poll_seconds")]
    pub poll_seconds: u32,
    /// A builder that is not heard of for this long has lost its builds.
    #[serde(default = "default_lease_seconds")]
    pub lease_seconds: u32,
    /// A seed file with further projects, relative to this file.
    #[serde(default)]
    pub seed: Option<PathBuf>,
    /// What is built. Where two build the same source for the same place, the first one does.
    #[serde(default, rename = "project")]
    pub projects: Vec<Project>,
    /// Where it is published.
    pub vessel: VesselConfig,
    /// Who builds. More can be added with `summit builder add` while Summit runs.
    #[serde(default, rename = "builder")]
    pub builders: Vec<BuilderConfig>,
    /// What a build may use.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// What is kept for how long.
    #[serde(default)]
    pub retention: RetentionConfig,
    /// Who may look and change.
    #[serde(default)]
    pub access: AccessConfig,
    /// Who is told what happens.
    #[serde(default, rename = "webhook")]
    pub webhooks: Vec<WebhookConfig>,
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
    /// What it has beyond others: words that a `[[project.requirement]]` asks for. The operator says so, not the
    /// builder.
    #[serde(default)]
    pub features: BTreeSet<String>,
    /// Whether it belongs to the distribution.
    #[serde(default)]
    pub trust: Trust,
    /// How large it is, beside the others.
    #[serde(default)]
    pub size: BuilderSize,
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
    /// Room on the disk of the builder; 0 for a fair share of what is free there.
    pub disk_bytes: u64,
}

/// Who may look and change, beside those who show a token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// Whether everybody who reaches the address may look.
    pub public: bool,
    /// Whether everybody on the machine that Summit runs on is taken for its operator.
    pub loopback_is_operator: bool,
    /// Changes from one address, in a minute. People and their scripts make some hundred at most.
    pub changes_per_minute: u32,
    /// Wrong tokens from one address, in a minute, before they are not even looked at.
    pub wrong_tokens_per_minute: u32,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            public: true,
            loopback_is_operator: false,
            changes_per_minute: 600,
            wrong_tokens_per_minute: 20,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            time_seconds: 24 * 3600,
            silence_seconds: 3600,
            log_bytes: 256 << 20,
            output_bytes: 16 << 30,
            memory_bytes: 0,
            disk_bytes: 0,
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
    /// The seed file is not what it must be.
    #[error("cannot use seed {path:?}", path = path.display())]
    Seed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: SeedError,
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
            ConfigError::Syntax { .. } | ConfigError::Seed { .. } | ConfigError::Value { .. } => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ConfigError::Read { .. } => Vec::new(),
            ConfigError::Seed { .. } => {
                vec!["correct the seed file; look again with `summit config check FILE`".into()]
            }
            ConfigError::Syntax { path, .. } | ConfigError::Value { path, .. } => {
                vec![format!("correct it and look again with `summit config check {}`", path.display())]
            }
        }
    }
}

impl Config {
    /// Reads the file at `path` and the seed that it names.
    ///
    /// # Errors
    /// When one cannot be read or used; with the line where there is one.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Ok(ConfigFiles::new(path, None).load()?.config)
    }

    /// Understands `text`, which stands in the file at `path`. A seed that it names is not read.
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
        if let Some(what) = self.database_problem() {
            return Some(what);
        }
        if self.log_folder.as_ref().is_some_and(|folder| !folder.is_absolute()) {
            return Some("log_folder must be an absolute path".into());
        }
        let mut names = HashSet::new();
        for project in &self.projects {
            if let Some(what) = project.problem() {
                return Some(what);
            }
            if !names.insert(project.name.as_str()) {
                return Some(format!("there are two projects {:?}", project.name));
            }
        }
        if self.projects.is_empty() && self.seed.is_none() {
            return Some("there is no [[project]]".into());
        }
        let mut hooks = HashSet::new();
        for hook in &self.webhooks {
            if let Some(what) = hook.problem() {
                return Some(what);
            }
            if !hooks.insert(hook.name.as_str()) {
                return Some(format!("there are two webhooks {:?}", hook.name));
            }
        }
        let (mut builders, mut names) = (HashSet::new(), HashSet::new());
        for builder in &self.builders {
            if !names.insert(builder.name.as_str()) {
                return Some(format!("there are two builders {:?}", builder.name));
            }
            if !builders.insert(builder.public_key) {
                return Some(format!("two builders have the key {}", builder.public_key));
            }
        }
        None
    }

    /// How long a lease lasts.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_secs(u64::from(self.lease_seconds))
    }

    /// The project of this name.
    #[must_use]
    pub fn project(&self, name: &str) -> Option<&Project> {
        self.projects.iter().find(|project| project.name == name)
    }

    /// What the operator says about the builder with this key.
    #[must_use]
    pub fn builder(&self, public_key: &str) -> Option<&BuilderConfig> {
        self.builders.iter().find(|builder| builder.public_key.to_string() == public_key)
    }

    /// This configuration as far as it can take effect in a Summit that runs with `running`, and the keys that have to
    /// wait for a restart.
    #[must_use]
    pub fn taking_over_from(mut self, running: &Self) -> (Self, Vec<&'static str>) {
        let mut waiting = Vec::new();
        let mut keep = |name: &'static str, differs: bool| {
            if differs {
                waiting.push(name);
            }
        };
        keep("http_address", self.http_address != running.http_address);
        keep("grpc_address", self.grpc_address != running.grpc_address);
        keep("database", self.database != running.database || self.database_file != running.database_file);
        keep("announce_http", self.announce_http != running.announce_http);
        keep("announce_grpc", self.announce_grpc != running.announce_grpc);
        keep("log_folder", self.log_folder != running.log_folder);
        // Agents were told how often to be heard of.
        keep("lease_seconds", self.lease_seconds != running.lease_seconds);
        keep("limits.log_bytes", self.limits.log_bytes != running.limits.log_bytes);
        self.http_address = running.http_address;
        self.grpc_address = running.grpc_address;
        self.database.clone_from(&running.database);
        self.database_file.clone_from(&running.database_file);
        self.announce_http.clone_from(&running.announce_http);
        self.announce_grpc.clone_from(&running.announce_grpc);
        self.log_folder.clone_from(&running.log_folder);
        self.lease_seconds = running.lease_seconds;
        self.limits.log_bytes = running.limits.log_bytes;
        (self, waiting)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const SMALLEST: &str = r#"
        [[project]]
        name = "demo"
        recipes = "/srv/recipes.git"
        [vessel]
        address = "127.0.0.1:5002"
        public_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        public_url = "http://127.0.0.1:8080"
    "#;

    /// The keys that a table which becomes a `T` may have, as the refusal of another one lists them.
    pub(crate) fn keys<T: serde::de::DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
        let refusal = toml::from_str::<T>("no-such-key = 1").unwrap_err();
        let (_, list) = refusal.message().split_once("expected ").unwrap();
        list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// The same without one that excludes another.
    fn keys_but<T: serde::de::DeserializeOwned + std::fmt::Debug>(left_out: &str) -> BTreeSet<String> {
        let mut keys = keys::<T>();
        assert!(keys.remove(left_out), "{left_out}");
        keys
    }

    /// The keys of all tables that lie at `path`, whichever of the lists on the way there they are in.
    pub(crate) fn keys_at(table: &toml::Table, path: &[&str]) -> BTreeSet<String> {
        let Some((first, rest)) = path.split_first() else { return table.keys().cloned().collect() };
        let tables = match table.get(*first) {
            Some(toml::Value::Table(table)) => vec![table],
            Some(toml::Value::Array(list)) => list.iter().filter_map(toml::Value::as_table).collect(),
            _ => Vec::new(),
        };
        tables.into_iter().flat_map(|table| keys_at(table, rest)).collect()
    }

    /// The text of one of the example files.
    pub(crate) fn example(name: &str) -> (PathBuf, String) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
        let text = fs_err::read_to_string(&path).unwrap();
        (path, text)
    }

    #[test]
    fn the_example_has_every_key_and_can_be_used() {
        let (path, text) = example("summit.toml");
        let table: toml::Table = toml::from_str(&text).unwrap();
        for (path, known) in [
            (&[][..], keys_but::<Config>("database_file")),
            (&["vessel"], keys::<VesselConfig>()),
            (&["limits"], keys::<LimitsConfig>()),
            (&["retention"], keys::<RetentionConfig>()),
            (&["builder"], keys::<BuilderConfig>()),
            (&["access"], keys::<AccessConfig>()),
            (&["webhook"], keys::<WebhookConfig>()),
            (&["project"], keys::<Project>()),
            (&["project", "repository"], keys::<RepositoryConfig>()),
            (&["project", "requirement"], keys::<Requirement>()),
        ] {
            assert!(known.len() > 2, "{known:?}");
            assert_eq!(keys_at(&table, path), known, "{path:?}");
        }

        let loaded = ConfigFiles::new(&path, None).load().unwrap();
        assert_eq!(loaded.notes, Vec::<String>::new());
        let config = loaded.config;
        let names: Vec<_> = config.projects.iter().map(|project| project.name.as_str()).collect();
        assert_eq!(names, ["mainline", "harbour"], "its own, then that of the seed");
        // The comments call these the defaults.
        let smallest = check(SMALLEST).unwrap();
        assert_eq!((&config.limits, &config.access), (&smallest.limits, &smallest.access));
        assert_eq!(config.retention, smallest.retention);
        assert_eq!(
            (config.http_address, config.poll_seconds, config.lease_seconds),
            (smallest.http_address, smallest.poll_seconds, smallest.lease_seconds)
        );
        let (shown, default) = (&config.projects[0], &smallest.projects[0]);
        assert_eq!(
            (&shown.branch, &shown.channel, shown.host_provides, shown.rounds_max, shown.priority),
            (&default.branch, &default.channel, default.host_provides, default.rounds_max, default.priority)
        );
    }

    pub(crate) fn check(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("summit.toml"), text).map_err(|error| fault::chain(&error).join(": "))
    }

    #[test]
    fn the_smallest_file_has_sensible_defaults() {
        let config = check(SMALLEST).unwrap();
        assert_eq!((config.lease_seconds, config.poll_seconds), (60, 30));
        let project = &config.projects[0];
        assert_eq!((project.branch.as_str(), project.channel.as_str()), ("main", "main"));
        assert_eq!((project.architectures.as_slice(), project.rounds_max), (&["x86_64".to_owned()][..], 3));
        assert!(config.builders.is_empty());
    }

    #[test]
    fn several_projects_and_what_builders_have() {
        let config = check(&format!(
            "{SMALLEST}
            [[builder]]
            name = 'big'
            public_key = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
            features = ['kvm']
            trust = 'official'
            size = 'large'
            [[project]]
            name = 'next'
            recipes = '/srv/recipes.git'
            branch = 'next'
            channel = 'next'
            architectures = ['x86_64', 'aarch64']
            priority = 'low'
            rounds_max = 1
            host_provides = 'binaries'
            [[project.repository]]
            id = 'volatile'
            base_uri = 'https://example.org/'
            priority = 10
            bootstrap = true
            [[project.requirement]]
            recipes = ['llvm', 'qt6-*']
            memory = '32G'
            size = 'large'
            "
        ))
        .unwrap();
        assert_eq!(config.projects.len(), 2);
        let next = config.project("next").unwrap();
        assert_eq!(next.repositories[0].version, "stream/volatile");
        assert!(next.repositories[0].bootstrap);
        assert_eq!(next.wishes("qt6-base").memory_bytes, 32 << 30);
        let big = config.builder("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        assert_eq!((big.trust, big.size), (Trust::Official, BuilderSize::Large));
    }

    #[test]
    fn mistakes_are_named() {
        let with = |line: &str| SMALLEST.replace("[vessel]", &format!("{line}\n[vessel]"));
        for (text, expect) in [
            (format!("pol_seconds = 3\n{SMALLEST}"), "unknown field `pol_seconds`"),
            (format!("pol_seconds = 3\n{SMALLEST}"), "line 1"),
            (format!("lease_seconds = 0\n{SMALLEST}"), "at least 1"),
            (with("[[project.repository]]\nid = \"x\""), "either index_uri or base_uri"),
            (
                with("[[project.repository]]\nid = \"main\"\nindex_uri = \"https://x\""),
                "is called like the channel",
            ),
            (with("[[project.requirement]]\nrecipes = []"), "names no recipes"),
            (with("[[project.requirement]]\nrecipes = ['x']\nmemory = '5 parrots'"), "no size"),
            (with("[[project]]\nname = \"demo\"\nrecipes = \"/x\""), "two projects \"demo\""),
            (SMALLEST.replace("/srv/recipes.git", "recipes.git"), "absolute paths"),
            (with("architectures = []"), "no architecture"),
            (with("architectures = ['../x']"), "architecture \"../x\""),
            (with("architecture = 'x86_64'"), "unknown field `architecture`"),
            (with("rounds_max = 0"), "rounds_max"),
            (SMALLEST.replace("\"demo\"", "\"Demo/x\""), "project name \"Demo/x\""),
            (SMALLEST.replace("AAAA", "AA"), "43 characters"),
            (SMALLEST.replace("/srv/recipes.git", "--upload-pack=x"), "no git address"),
            (
                SMALLEST.split("[vessel]").nth(1).map(|rest| format!("[vessel]{rest}")).unwrap(),
                "no [[project]]",
            ),
        ] {
            let message = check(&text).unwrap_err();
            assert!(message.contains(expect), "{message}");
        }
    }

    #[test]
    fn what_needs_a_restart_waits_for_it() {
        let running = check(SMALLEST).unwrap();
        let new =
            check(&format!("http_address = '127.0.0.1:1'\nlease_seconds = 7\npoll_seconds = 5\n{SMALLEST}"))
                .unwrap();
        let (taken, waiting) = new.taking_over_from(&running);
        assert_eq!(waiting, ["http_address", "lease_seconds"]);
        assert_eq!((taken.http_address, taken.poll_seconds), (running.http_address, 5));
    }
}
