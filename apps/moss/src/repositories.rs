//! The repositories a system uses, as its configuration files say.
//!
//! One file for each repository in `etc/moss/repo.d`, by the administrator, and in `usr/share/moss/repo.d`, by the
//! distribution; the administrator's word counts where both speak of one id. A file that cannot be understood is an error that
//! names it, never a repository that silently goes missing.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use fs_err as fs;
use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};
use repository::{ConfigError, RepositoryConfig, RepositoryFields};

use crate::swap::write_durably;

/// Where the distribution and the administrator put them, the one that counts more last.
const PLACES: [&str; 2] = ["usr/share/moss/repo.d", "etc/moss/repo.d"];

/// Largest file that is read; real ones have some hundred bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoriesError {
    /// A file or directory cannot be read or written.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// What was to be done.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is not KDL, or has something in it that has no place there.
    #[error("cannot understand {}:{line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A repository in a file is not one.
    #[error("cannot use {}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: ConfigError,
    },
    /// The id is taken.
    #[error("cannot add repository {id}: there is one of this name")]
    Exists {
        /// The id.
        id: String,
    },
    /// There is no such repository.
    #[error("cannot find a repository named {id}")]
    Unknown {
        /// The id.
        id: String,
    },
    /// It is the distribution's.
    #[error("cannot remove repository {id}: it belongs to the distribution, in {}", path.display())]
    Vendor {
        /// The id.
        id: String,
        /// Where it is.
        path: PathBuf,
    },
}

impl Fault for RepositoriesError {
    fn kind(&self) -> Kind {
        match self {
            RepositoriesError::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Kind::Denied
            }
            RepositoriesError::File { .. } => Kind::Unavailable,
            RepositoriesError::Syntax { .. } | RepositoriesError::Config { .. } => Kind::Input,
            RepositoriesError::Exists { .. } | RepositoriesError::Vendor { .. } => Kind::Conflict,
            RepositoriesError::Unknown { .. } => Kind::NotFound,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            RepositoriesError::File { .. } => Vec::new(),
            RepositoriesError::Syntax { path, .. } => {
                vec![format!("correct it, or move it away: mv {0} {0}.off", path.display())]
            }
            RepositoriesError::Config { source, .. } => source.hints(),
            RepositoriesError::Exists { id } => {
                vec![format!("remove the other first: moss repo remove {id}")]
            }
            RepositoriesError::Unknown { .. } => vec!["see which there are: moss repo list".into()],
            RepositoriesError::Vendor { id, .. } => {
                vec![format!(
                    "switch it off with a file of your own: etc/moss/repo.d/{id}.kdl with active #false"
                )]
            }
        }
    }
}

/// All repositories of a root, the preferred first: by priority, then by id.
///
/// # Errors
/// When a file cannot be read or understood.
pub fn load_repositories(root: &Path) -> Result<Vec<RepositoryConfig>, RepositoriesError> {
    let mut repositories = BTreeMap::new();
    for place in PLACES {
        for path in configuration_files(&root.join(place))? {
            for config in read_file(&path)? {
                repositories.insert(config.id.clone(), config);
            }
        }
    }
    let mut repositories: Vec<RepositoryConfig> = repositories.into_values().collect();
    repositories
        .sort_by(|left, right| right.priority.cmp(&left.priority).then_with(|| left.id.cmp(&right.id)));
    Ok(repositories)
}

/// Writes a repository into a file of its own.
///
/// # Errors
/// When there is one of this id, or the file cannot be written.
pub fn add_repository(root: &Path, config: &RepositoryConfig) -> Result<(), RepositoriesError> {
    if load_repositories(root)?.iter().any(|present| present.id == config.id) {
        return Err(RepositoriesError::Exists { id: config.id.clone() });
    }
    let path = administrator_file(root, &config.id);
    let error = |source| RepositoriesError::File { verb: "write", path: path.clone(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(error)?;
    }
    let mut document = KdlDocument::new();
    document.nodes_mut().push(repository_node(config, "active"));
    document.autoformat();
    write_durably(&path, document.to_string().as_bytes()).map_err(error)
}

/// Removes the file of a repository that the administrator added.
///
/// # Errors
/// When there is none of this id, or it is the distribution's.
pub fn remove_repository(root: &Path, name: &str) -> Result<(), RepositoriesError> {
    let id = repository::sanitize_id(name);
    let unknown = || RepositoriesError::Unknown { id: id.clone() };
    if !load_repositories(root)?.iter().any(|present| present.id == id) {
        return Err(unknown());
    }
    let path = administrator_file(root, &id);
    match fs::remove_file(&path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(RepositoriesError::Vendor { id: id.clone(), path: root.join(PLACES[0]) })
        }
        Err(source) => Err(RepositoriesError::File { verb: "remove", path, source }),
    }
}

fn administrator_file(root: &Path, id: &str) -> PathBuf {
    root.join(PLACES[1]).join(format!("{id}.kdl"))
}

fn configuration_files(directory: &Path) -> Result<Vec<PathBuf>, RepositoriesError> {
    let error = |source| RepositoriesError::File { verb: "read", path: directory.to_path_buf(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(error)?.path();
        if path.extension().is_some_and(|extension| extension == "kdl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<Vec<RepositoryConfig>, RepositoriesError> {
    let error = |source| RepositoriesError::File { verb: "read", path: path.to_path_buf(), source };
    let length = fs::metadata(path).map_err(error)?.len();
    if length > FILE_BYTES_MAX {
        let reason = format!("it has {length} bytes, and {FILE_BYTES_MAX} are the most");
        return Err(RepositoriesError::Syntax { path: path.to_path_buf(), line: 1, reason });
    }
    let text = fs::read_to_string(path).map_err(error)?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<RepositoryConfig>, RepositoriesError> {
    let syntax = |offset: usize, reason: String| RepositoriesError::Syntax {
        path: path.to_path_buf(),
        line: text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1),
        reason,
    };
    let document = KdlDocument::parse_v2(text).map_err(|error| {
        let first = error.diagnostics.first();
        let reason =
            first.and_then(|problem| problem.message.clone()).unwrap_or_else(|| "it is not KDL".into());
        syntax(first.map_or(0, |problem| problem.span.offset()), reason)
    })?;
    let mut configs = Vec::new();
    for node in document.nodes() {
        let mut fields = RepositoryFields::default();
        for key in node.children().map_or(&[][..], KdlDocument::nodes) {
            read_key(&mut fields, key).map_err(|reason| syntax(key.span().offset(), reason))?;
        }
        let config = RepositoryConfig::from_fields(node.name().value(), &fields)
            .map_err(|source| RepositoriesError::Config { path: path.to_path_buf(), source })?;
        configs.push(config);
    }
    Ok(configs)
}

fn read_key(fields: &mut RepositoryFields, node: &KdlNode) -> Result<(), String> {
    let key = node.name().value();
    let value = match node.entries() {
        [entry] if entry.name().is_none() => entry.value(),
        _ => return Err(format!("{key} must have one value")),
    };
    let text =
        || value.as_string().map(str::to_owned).ok_or_else(|| format!("the value of {key} must be text"));
    match key {
        "description" => fields.description = Some(text()?),
        "uri" => fields.uri = Some(text()?),
        "base-uri" => fields.base_uri = Some(text()?),
        "channel" => fields.channel = Some(text()?),
        "version" => fields.version = Some(text()?),
        "arch" => fields.arch = Some(text()?),
        "priority" => {
            let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
            fields.priority = Some(number.ok_or("the value of priority must be a whole number from 0")?);
        }
        "active" => {
            fields.active = Some(value.as_bool().ok_or("the value of active must be #true or #false")?);
        }
        _ => return Err(format!("{key} is not a key of a repository")),
    }
    Ok(())
}

/// The repository as a KDL node; `active_key` is what the file calls whether it is used.
pub(crate) fn repository_node(config: &RepositoryConfig, active_key: &str) -> KdlNode {
    let fields = config.to_fields();
    let mut children = KdlDocument::new();
    let mut push = |key: &str, value: KdlValue| {
        let mut node = KdlNode::new(key);
        node.push(KdlEntry::new(value));
        children.nodes_mut().push(node);
    };
    let texts = [
        ("description", fields.description),
        ("uri", fields.uri),
        ("base-uri", fields.base_uri),
        ("channel", fields.channel),
        ("version", fields.version),
        ("arch", fields.arch),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            push(key, KdlValue::String(text));
        }
    }
    push("priority", KdlValue::Integer(i128::from(config.priority)));
    if !config.active {
        push(active_key, KdlValue::Bool(false));
    }
    let mut node = KdlNode::new(config.id.as_str());
    node.set_children(children);
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, priority: u64) -> RepositoryConfig {
        let fields = RepositoryFields {
            description: Some("a \"quoted\" text".into()),
            base_uri: Some("https://example.org".into()),
            version: Some("stream/volatile".into()),
            priority: Some(priority),
            ..RepositoryFields::default()
        };
        RepositoryConfig::from_fields(name, &fields).unwrap()
    }

    #[test]
    fn what_is_added_is_there_until_it_is_removed() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(load_repositories(root.path()).unwrap(), []);
        let mut low = config("low one", 1);
        low.active = false;
        let high = config("high", 2);
        add_repository(root.path(), &low).unwrap();
        add_repository(root.path(), &high).unwrap();
        assert_eq!(load_repositories(root.path()).unwrap(), [high.clone(), low]);
        assert!(matches!(add_repository(root.path(), &high), Err(RepositoriesError::Exists { .. })));
        remove_repository(root.path(), "low one").unwrap();
        assert!(matches!(remove_repository(root.path(), "low one"), Err(RepositoriesError::Unknown { .. })));
        assert_eq!(load_repositories(root.path()).unwrap(), [high]);
    }

    #[test]
    fn the_administrator_counts_more_than_the_distribution() {
        let root = tempfile::tempdir().unwrap();
        let vendor = root.path().join(PLACES[0]);
        fs::create_dir_all(&vendor).unwrap();
        fs::write(
            vendor.join("main.kdl"),
            "main { description \"v\"; uri \"https://v.example/stone.index\"; priority 5 }",
        )
        .unwrap();
        assert!(matches!(remove_repository(root.path(), "main"), Err(RepositoriesError::Vendor { .. })));
        let own = root.path().join(PLACES[1]);
        fs::create_dir_all(&own).unwrap();
        fs::write(
            own.join("z.kdl"),
            "main { description \"a\"; uri \"https://a.example/stone.index\"; priority 5 }",
        )
        .unwrap();
        let loaded = load_repositories(root.path()).unwrap();
        assert_eq!((loaded.len(), loaded[0].description.as_str()), (1, "a"));
    }

    #[test]
    fn what_cannot_be_understood_is_named_with_its_line() {
        let table = [
            ("main {\n  description \"x\n", "file.kdl:"),
            ("main {\n  colour \"red\"\n}", "file.kdl:2: colour is not a key of a repository"),
            (
                "main {\n  description \"d\"\n  priority \"high\"\n}",
                "file.kdl:3: the value of priority must be",
            ),
            ("main {\n  priority -1\n}", "file.kdl:2: the value of priority must be"),
            ("main {\n  active \"yes\"\n}", "file.kdl:2: the value of active must be"),
            ("main {\n  uri 1 2\n}", "file.kdl:2: uri must have one value"),
            ("main {\n  description \"d\"\n  priority 1\n}", "cannot use file.kdl"),
        ];
        for (text, expect) in table {
            let error = parse(Path::new("file.kdl"), text).unwrap_err().to_string();
            assert!(error.contains(expect), "{error} does not say {expect:?}");
        }
    }
}
