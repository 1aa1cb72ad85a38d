//! The files that a configuration is read from, once and again.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::database_address::DatabaseChoice;
use super::{Config, ConfigError, seed};

/// Largest file that is read. A project takes some 500 bytes, a builder 100.
const FILE_SIZE_BYTES_MAX: u64 = 4 << 20;

/// A configuration file, and a seed file beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFiles {
    config: PathBuf,
    seed: Option<PathBuf>,
    database: DatabaseChoice,
}

/// A configuration as it stood in its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration, with the projects of the seed after its own.
    pub config: Config,
    /// What an operator may want to know of it, a sentence each.
    pub notes: Vec<String>,
}

/// What stands in the files: as long as it is the same, so is the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    config: String,
    seed: Option<(PathBuf, String)>,
}

impl ConfigFiles {
    /// The file at `config`; the seed at `seed`, or else the one that the file names.
    #[must_use]
    pub fn new(config: &Path, seed: Option<&Path>) -> Self {
        Self {
            config: config.to_path_buf(),
            seed: seed.map(Path::to_path_buf),
            database: DatabaseChoice::default(),
        }
    }

    /// The same files, with another word on where the database is.
    #[must_use]
    pub fn with_database(self, database: DatabaseChoice) -> Self {
        Self { database, ..self }
    }

    /// Reads and understands them.
    ///
    /// # Errors
    /// When one cannot be read or used; with the line where there is one.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        self.understand(&self.read()?)
    }

    /// Reads them.
    ///
    /// # Errors
    /// When one cannot be read, or when it cannot be known which seed is meant.
    pub(crate) fn read(&self) -> Result<Contents, ConfigError> {
        let config = read(&self.config)?;
        let seed = match &self.seed {
            Some(seed) => Some(seed.clone()),
            None => Config::parse(&self.config, &config)?.seed.map(|seed| {
                // Beside the file that names it, wherever Summit was started.
                self.config.parent().unwrap_or(Path::new("")).join(seed)
            }),
        };
        let seed = seed.map(|path| read(&path).map(|text| (path, text))).transpose()?;
        Ok(Contents { config, seed })
    }

    /// Understands what was read.
    ///
    /// # Errors
    /// When it cannot be used; with the line where there is one.
    pub(crate) fn understand(&self, contents: &Contents) -> Result<Loaded, ConfigError> {
        let mut config: Config = toml::from_str(&contents.config)
            .map_err(|source| ConfigError::Syntax { path: self.config.clone(), source })?;
        let mut notes = Vec::new();
        if let Some((path, text)) = &contents.seed {
            let projects =
                seed::projects(text).map_err(|source| ConfigError::Seed { path: path.clone(), source })?;
            for project in projects {
                if config.project(&project.name).is_some() {
                    notes.push(format!(
                        "project {} of the seed is left out: the configuration has one of this name",
                        project.name
                    ));
                } else {
                    config.projects.push(project);
                }
            }
        }
        config.seed = None;
        config.resolve_database_file(self.config.parent().unwrap_or(Path::new("")));
        self.database.apply(&mut config);
        match config.problem() {
            Some(what) => Err(ConfigError::Value { path: self.config.clone(), what }),
            None => Ok(Loaded { config, notes }),
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_path_buf(), source };
    let mut text = String::new();
    let file = fs_err::File::open(path).map_err(failed)?;
    let size_bytes = file.take(FILE_SIZE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if size_bytes as u64 > FILE_SIZE_BYTES_MAX {
        let what = format!("it has more than {FILE_SIZE_BYTES_MAX} bytes");
        return Err(ConfigError::Value { path: path.to_path_buf(), what });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::SMALLEST;

    const SEED: &str = "[[project]]\nname = 'D'\nslug = 'SLUG'\n\
        [[project.profile]]\nname = 'p'\narch = 'x86_64'\nindex = { uri = 'https://example.org/stone.index' }\n\
        [[project.repository]]\nname = 'r'\nuri = '/srv/other.git'\n";

    fn check(config: &str, seed: &str) -> Result<Loaded, String> {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("summit.toml"), config).unwrap();
        fs_err::write(folder.path().join("seed.toml"), seed).unwrap();
        let files = ConfigFiles::new(&folder.path().join("summit.toml"), None);
        files.load().map_err(|error| fault::chain(&error).join(": "))
    }

    #[test]
    fn a_seed_adds_projects_and_replaces_none() {
        let named = format!("seed = 'seed.toml'\n{SMALLEST}");
        let names = |loaded: &Loaded| {
            loaded.config.projects.iter().map(|project| project.name.clone()).collect::<Vec<_>>()
        };
        let loaded = check(&named, &SEED.replace("SLUG", "other")).unwrap();
        assert_eq!((names(&loaded), loaded.notes.len()), (vec!["demo".into(), "other".into()], 0));
        let loaded = check(&named, &SEED.replace("SLUG", "demo")).unwrap();
        assert_eq!(names(&loaded), ["demo"]);
        assert_eq!(loaded.config.projects[0].recipes, "/srv/recipes.git");
        assert!(loaded.notes[0].contains("project demo"), "{:?}", loaded.notes);
        assert_eq!(
            names(&check(SMALLEST, "nonsense").unwrap()),
            ["demo"],
            "a seed that nobody names is not read"
        );
    }

    #[test]
    fn a_bad_seed_is_named_with_its_line_and_a_farm_needs_a_project() {
        let named = format!("seed = 'seed.toml'\n{SMALLEST}");
        let message = check(&named, &SEED.replace("slug", "slag")).unwrap_err();
        assert!(message.contains("seed.toml") && message.contains("line 3"), "{message}");
        let vessel = SMALLEST.split("[vessel]").nth(1).unwrap();
        let empty = format!("seed = 'seed.toml'\n[vessel]{vessel}");
        assert!(check(&empty, "").unwrap_err().contains("no [[project]]"));
        assert_eq!(check(&empty, &SEED.replace("SLUG", "only")).unwrap().config.projects.len(), 1);
        let message = check("seed = 'missing.toml'\n", SEED).unwrap_err();
        assert!(message.contains("summit.toml"), "{message}");
    }
}
