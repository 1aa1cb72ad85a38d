//! The repositories a system uses, as its configuration files say.
//!
//! `repo.kdl` or `repo.yaml` with any number of them and one file for each in `repo.d`, both by the distribution in
//! `usr/share/moss` and by the administrator in `etc/moss`; the administrator's word counts where both speak of one id. Where
//! there is `etc/moss/system-model.kdl`, it alone counts. A file that cannot be understood is an error that names it, never a
//! repository that silently goes missing.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use fs_err as fs;
use recipe::RecipeError;
use repository::{ConfigError, RepositoryConfig, RepositoryFields, RepositorySource, UrlError};

use crate::swap::write_durably;

mod diff;
mod kdl_form;
mod migrate;
mod rules;
mod yaml_form;

pub(crate) use kdl_form::repository_node;
pub use migrate::{Migration, plan_migration};
pub(crate) use rules::host_rules;

/// Where the distribution and the administrator put them, the one that counts more last.
const PLACES: [&str; 2] = ["usr/share/moss", "etc/moss"];

/// A file with any number of repositories, without what says its form, and a folder of them.
const FILE: &str = "repo";
const FOLDER: &str = "repo.d";

/// The file that takes the place of all others.
const MODEL: &str = "etc/moss/system-model.kdl";

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
    /// A file is not YAML.
    #[error("cannot understand {}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<RecipeError>,
    },
    /// The repositories are in the system model.
    #[error("cannot change single repositories: {} says which there are", path.display())]
    Model {
        /// The model.
        path: PathBuf,
    },
    /// It is in a file with others.
    #[error("cannot remove repository {id}: it is in {} with others", path.display())]
    Shared {
        /// The id.
        id: String,
        /// The file.
        path: PathBuf,
    },
    /// Its file is written in a way that only a person can change.
    #[error("cannot change repository {id} in {}: {why}", path.display())]
    ByHand {
        /// The id.
        id: String,
        /// The file.
        path: PathBuf,
        /// What is in the way.
        why: String,
        /// What to write there.
        write: String,
    },
    /// An address in the list of hosts is none.
    #[error("cannot use {}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: UrlError,
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
            RepositoriesError::Syntax { .. }
            | RepositoriesError::Yaml { .. }
            | RepositoriesError::Rule { .. }
            | RepositoriesError::Config { .. } => Kind::Input,
            RepositoriesError::Exists { .. }
            | RepositoriesError::Model { .. }
            | RepositoriesError::Shared { .. }
            | RepositoriesError::ByHand { .. }
            | RepositoriesError::Vendor { .. } => Kind::Conflict,
            RepositoriesError::Unknown { .. } => Kind::NotFound,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            RepositoriesError::File { .. } => Vec::new(),
            RepositoriesError::Model { path } => vec![format!("change it there: {}", path.display())],
            RepositoriesError::Shared { path, .. } => vec![format!("take it out there: {}", path.display())],
            RepositoriesError::ByHand { write, .. } => {
                vec![format!("write this in its place:\n{write}")]
            }
            RepositoriesError::Rule { source, .. } => source.hints(),
            RepositoriesError::Syntax { path, .. } | RepositoriesError::Yaml { path, .. } => {
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

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Kdl,
    Yaml,
    Model,
}

/// Where a repository is written down.
#[derive(Debug, Clone)]
struct Definition {
    config: RepositoryConfig,
    path: PathBuf,
    form: Form,
    is_vendors: bool,
}

/// All repositories of a root, the preferred first: by priority, then by id.
///
/// # Errors
/// When a file cannot be read or understood.
pub fn load_repositories(root: &Path) -> Result<Vec<RepositoryConfig>, RepositoriesError> {
    let mut repositories: Vec<RepositoryConfig> =
        definitions(root)?.into_values().map(|definition| definition.config).collect();
    repositories
        .sort_by(|left, right| right.priority.cmp(&left.priority).then_with(|| left.id.cmp(&right.id)));
    Ok(repositories)
}

/// What counts for each id.
fn definitions(root: &Path) -> Result<BTreeMap<String, Definition>, RepositoriesError> {
    let mut definitions = BTreeMap::new();
    let model = root.join(MODEL);
    if model.is_file() {
        for config in read_file(&model, Form::Model)? {
            let definition = Definition { path: model.clone(), form: Form::Model, is_vendors: false, config };
            definitions.insert(definition.config.id.clone(), definition);
        }
        return Ok(definitions);
    }
    for (number, place) in PLACES.into_iter().enumerate() {
        let place = root.join(place);
        let single = forms_of(place.join(FILE)).into_iter().filter(|(path, _)| path.is_file());
        for (path, form) in single.take(1).chain(configuration_files(&place.join(FOLDER))?) {
            for config in read_file(&path, form)? {
                let definition = Definition { path: path.clone(), form, is_vendors: number == 0, config };
                definitions.insert(definition.config.id.clone(), definition);
            }
        }
    }
    Ok(definitions)
}

/// A file in each of its forms, the one that counts first.
fn forms_of(stem: PathBuf) -> [(PathBuf, Form); 3] {
    let with = |extension: &str| {
        let mut path = stem.clone().into_os_string();
        path.push(extension);
        PathBuf::from(path)
    };
    [(with(".kdl"), Form::Kdl), (with(".yaml"), Form::Yaml), (with(".yml"), Form::Yaml)]
}

/// The keys that say where a repository is.
fn source_keys(source: &RepositorySource) -> Vec<(&'static str, String)> {
    match source {
        RepositorySource::Direct { uri } => vec![("uri", uri.clone())],
        RepositorySource::Versioned { base_uri, channel, version, arch } => vec![
            ("base-uri", base_uri.clone()),
            ("channel", channel.to_string()),
            ("version", version.to_string()),
            ("arch", arch.clone()),
        ],
    }
}

/// Writes a repository into a file of its own.
///
/// # Errors
/// When there is one of this id, or the file cannot be written.
pub fn add_repository(root: &Path, config: &RepositoryConfig) -> Result<(), RepositoriesError> {
    refuse_model(root)?;
    if definitions(root)?.contains_key(&config.id) {
        return Err(RepositoriesError::Exists { id: config.id.clone() });
    }
    let path = administrator_file(root, &config.id);
    let error = |source| RepositoriesError::File { verb: "write", path: path.clone(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(error)?;
    }
    write_durably(&path, kdl_form::file(config).as_bytes()).map_err(error)
}

/// Removes the file of a repository that the administrator added.
///
/// # Errors
/// When there is none of this id, or it is the distribution's.
pub fn remove_repository(root: &Path, name: &str) -> Result<(), RepositoriesError> {
    let id = repository::sanitize_id(name);
    refuse_model(root)?;
    let Some(definition) = definitions(root)?.remove(&id) else {
        return Err(RepositoriesError::Unknown { id });
    };
    let path = administrator_file(root, &id);
    if definition.is_vendors {
        return Err(RepositoriesError::Vendor { id, path: definition.path });
    }
    if definition.path.parent() != path.parent() {
        return Err(RepositoriesError::Shared { id, path: definition.path });
    }
    fs::remove_file(&definition.path).map_err(|source| RepositoriesError::File {
        verb: "remove",
        path: definition.path,
        source,
    })
}

fn refuse_model(root: &Path) -> Result<(), RepositoriesError> {
    let path = root.join(MODEL);
    if path.is_file() { Err(RepositoriesError::Model { path }) } else { Ok(()) }
}

fn administrator_file(root: &Path, id: &str) -> PathBuf {
    root.join(PLACES[1]).join(FOLDER).join(format!("{id}.kdl"))
}

/// The files of a folder, by name. Of several with one stem only the first form counts.
fn configuration_files(directory: &Path) -> Result<Vec<(PathBuf, Form)>, RepositoriesError> {
    let error = |source| RepositoriesError::File { verb: "read", path: directory.to_path_buf(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let mut stems = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(error)?.path();
        let form = match path.extension().and_then(|extension| extension.to_str()) {
            Some("kdl") => Form::Kdl,
            Some("yaml" | "yml") => Form::Yaml,
            _ => continue,
        };
        let stem = path.with_extension("");
        if form == Form::Kdl || !stems.contains_key(&stem) {
            stems.insert(stem, (path, form));
        }
    }
    Ok(stems.into_values().collect())
}

fn read_file(path: &Path, form: Form) -> Result<Vec<RepositoryConfig>, RepositoriesError> {
    parse(path, form, &read_text(path)?)
}

fn read_text(path: &Path) -> Result<String, RepositoriesError> {
    let error = |source| RepositoriesError::File { verb: "read", path: path.to_path_buf(), source };
    let length = fs::metadata(path).map_err(error)?.len();
    if length > FILE_BYTES_MAX {
        let reason = format!("it has {length} bytes, and {FILE_BYTES_MAX} are the most");
        return Err(RepositoriesError::Syntax { path: path.to_path_buf(), line: 1, reason });
    }
    fs::read_to_string(path).map_err(error)
}

fn parse(path: &Path, form: Form, text: &str) -> Result<Vec<RepositoryConfig>, RepositoriesError> {
    let written = match form {
        Form::Kdl | Form::Model => kdl_form::read(path, text, form == Form::Model)?,
        Form::Yaml => yaml_form::read(path, text)?,
    };
    let config = |(name, mut fields): (String, RepositoryFields)| {
        if form == Form::Model {
            // A model names no priority where there is nothing to prefer.
            fields.priority = fields.priority.or(Some(0));
            fields.description = fields.description.or_else(|| Some(String::new()));
        }
        RepositoryConfig::from_fields(&name, &fields)
            .map_err(|source| RepositoriesError::Config { path: path.to_path_buf(), source })
    };
    written.into_iter().map(config).collect()
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
        let vendor = root.path().join(PLACES[0]).join(FOLDER);
        fs::create_dir_all(&vendor).unwrap();
        fs::write(
            vendor.join("main.kdl"),
            "main { description \"v\"; uri \"https://v.example/stone.index\"; priority 5 }",
        )
        .unwrap();
        assert!(matches!(remove_repository(root.path(), "main"), Err(RepositoriesError::Vendor { .. })));
        let own = root.path().join(PLACES[1]).join(FOLDER);
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
    fn every_form_and_place_counts_in_its_order() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let description = |id: &str| {
            let loaded = load_repositories(root.path()).unwrap();
            loaded.into_iter().find(|config| config.id == id).map(|config| config.description)
        };
        let kdl = |text: &str| {
            format!("main {{\n  description \"{text}\"\n  uri \"https://x/stone.index\"\n  priority 1\n}}\n")
        };
        let yaml = |text: &str| {
            format!("main:\n  description: \"{text}\"\n  uri: https://x/stone.index\n  priority: 1\n")
        };
        // Each place and form counts more than those before.
        for (path, text) in [
            ("usr/share/moss/repo.yaml", yaml("1")),
            ("usr/share/moss/repo.kdl", kdl("2")),
            ("usr/share/moss/repo.d/main.yaml", yaml("3")),
            ("usr/share/moss/repo.d/main.kdl", kdl("4")),
            ("etc/moss/repo.yaml", yaml("5")),
            ("etc/moss/repo.kdl", kdl("6")),
            ("etc/moss/repo.d/a.yaml", yaml("7")),
            ("etc/moss/repo.d/a.kdl", kdl("8")),
        ] {
            write(path, &text);
            let expect = text.split('"').nth(1).map(str::to_owned);
            assert_eq!(description("main"), expect, "{path}");
        }
        assert!(matches!(remove_repository(root.path(), "none"), Err(RepositoriesError::Unknown { .. })));
        write(
            MODEL,
            "repositories {\n  other {\n    description \"m\"\n    uri \"https://x/stone.index\"\n    enabled #false\n  }\n}\npackages {\n  nano\n}\n",
        );
        let loaded = load_repositories(root.path()).unwrap();
        assert_eq!((loaded.len(), loaded[0].id.as_str(), loaded[0].active), (1, "other", false));
        assert!(matches!(add_repository(root.path(), &config("x", 1)), Err(RepositoriesError::Model { .. })));
        assert!(matches!(remove_repository(root.path(), "other"), Err(RepositoriesError::Model { .. })));
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
            let error = parse(Path::new("file.kdl"), Form::Kdl, text).unwrap_err().to_string();
            assert!(error.contains(expect), "{error} does not say {expect:?}");
        }
    }
}
