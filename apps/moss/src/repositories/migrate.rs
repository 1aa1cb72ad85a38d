//! Moves a repository to another address in the file that names it.
//!
//! Nothing else in the file is touched: comments, order, priorities, keys and all other repositories stay. The file as it was
//! is kept beside it. What the distribution wrote is left alone, and a file of the administrator's takes its place. A file that
//! would not say afterwards exactly what it should is not written at all.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use repository::{RepositoryConfig, RepositorySource, sanitize_id};

use super::diff::diff;
use super::{
    Form, RepositoriesError, administrator_file, definitions, kdl_form, parse, read_text, yaml_form,
};
use crate::swap::write_durably;

/// Copies of a file that are kept before nobody seems to clean up after them.
const KEPT_MAX: u32 = 1000;

/// A change of a configuration file, not yet made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The repository as it will be.
    pub config: RepositoryConfig,
    /// The file that is written.
    pub path: PathBuf,
    /// What is in it now; none when it is not there.
    before: Option<String>,
    after: String,
}

/// Plans how repository `name` gets another source. Nothing is changed.
///
/// # Errors
/// When there is no such repository, or its file is written in a way that only a person can change.
pub fn plan_migration(
    root: &Path,
    name: &str,
    to: &RepositorySource,
) -> Result<Migration, RepositoriesError> {
    let id = sanitize_id(name);
    let Some(definition) = definitions(root)?.remove(&id) else {
        return Err(RepositoriesError::Unknown { id });
    };
    let config = RepositoryConfig { source: to.clone(), ..definition.config };
    if definition.is_vendors {
        let (path, after) = (administrator_file(root, &id), kdl_form::file(&config));
        return Ok(Migration { config, path, before: None, after });
    }
    let before = read_text(&definition.path)?;
    let is_model = definition.form == Form::Model;
    let edited = match definition.form {
        Form::Kdl | Form::Model => kdl_form::with_source(&before, &id, is_model, to),
        Form::Yaml => yaml_form::with_source(&before, &id, to),
    };
    let by_hand = |why: &str| RepositoriesError::ByHand {
        id: id.clone(),
        path: definition.path.clone(),
        why: why.to_owned(),
        write: super::source_keys(to).iter().map(|(key, value)| format!("{key} {value:?}\n")).collect(),
    };
    let after = edited.ok_or_else(|| by_hand("it is not written one key to a line"))?;
    // The proof of the edit: every other repository as before, and this one as wanted.
    let mut expected = parse(&definition.path, definition.form, &before)?;
    expected.iter_mut().filter(|other| other.id == id).for_each(|own| *own = config.clone());
    match parse(&definition.path, definition.form, &after) {
        Ok(found) if found == expected => {}
        _ => return Err(by_hand("it would say something else afterwards")),
    }
    Ok(Migration { config, path: definition.path, before: Some(before), after })
}

impl Migration {
    /// What changes, line by line.
    #[must_use]
    pub fn diff(&self) -> String {
        diff(self.before.as_deref().unwrap_or_default(), &self.after)
    }

    /// Changes the file, and answers where it is kept as it was.
    ///
    /// # Errors
    /// When it cannot be written; it is then as it was.
    pub fn apply(&self) -> Result<Option<PathBuf>, RepositoriesError> {
        let error = |source| RepositoriesError::File { verb: "write", path: self.path.clone(), source };
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent).map_err(error)?;
        }
        let kept = match self.before {
            Some(_) => Some(keep(&self.path).map_err(error)?),
            None => None,
        };
        write_durably(&self.path, self.after.as_bytes()).map_err(error)?;
        Ok(kept)
    }
}

/// A second name for the file, that no configuration is read from. The first name then goes to the new text.
fn keep(path: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 1 { ".old".to_owned() } else { format!(".old-{number}") });
        match fs::hard_link(path, &name) {
            Ok(()) => return Ok(name.into()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < KEPT_MAX => number += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load_repositories;
    use super::*;

    fn new_home() -> RepositorySource {
        RepositorySource::Versioned {
            base_uri: "https://new.example/repo".into(),
            channel: "main".parse().unwrap(),
            version: "stream/volatile".parse().unwrap(),
            arch: "x86_64".into(),
        }
    }

    /// Writes a file, moves repository `main`, and gives the new text.
    fn migrated(path: &str, text: &str) -> String {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        let others = |root: &Path| {
            let mut loaded = load_repositories(root).unwrap();
            loaded.retain(|config| config.id != "main");
            loaded
        };
        let before = others(root.path());
        let migration = plan_migration(root.path(), "main", &new_home()).unwrap();
        let kept = migration.apply().unwrap();
        let loaded = load_repositories(root.path()).unwrap();
        assert!(loaded.contains(&migration.config), "{loaded:?}");
        assert_eq!((migration.config.priority, migration.config.source.clone()), (7, new_home()));
        assert_eq!(others(root.path()), before);
        if let Some(kept) = kept {
            assert_eq!(fs::read_to_string(kept).unwrap(), text, "the file as it was");
        }
        // Done again there is nothing to do, and the first copy stays.
        let again = plan_migration(root.path(), "main", &new_home()).unwrap();
        assert!(again.diff().lines().all(|line| line.starts_with("  ")), "{}", again.diff());
        fs::read_to_string(&migration.path).unwrap()
    }

    #[test]
    fn kdl_keeps_everything_else() {
        let text = "// ours\nmain {\n    description \"d\" // as it was\n    uri \"https://old.example/volatile/x86_64/stone.index\"\n    \
            priority 7\n    key \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n}\nother {\n    description \"o\"\n    uri \"https://o/stone.index\"\n    priority 1\n}\n";
        let after = migrated("etc/moss/repo.d/main.kdl", text);
        let expect = "// ours\nmain {\n    description \"d\" // as it was\n    base-uri \"https://new.example/repo\"\n    channel main\n    \
            version \"stream/volatile\"\n    arch x86_64\n    priority 7\n    key \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n}\nother {\n    \
            description \"o\"\n    uri \"https://o/stone.index\"\n    priority 1\n}\n";
        assert_eq!(after.replace("\"main\"", "main").replace("\"x86_64\"", "x86_64"), expect);
        migrated("etc/moss/repo.kdl", text);
        let versioned = "main {\n  description \"d\"\n  base-uri \"https://old.example\" // there\n  version \"tag/1\"\n  priority 7\n}\n";
        assert!(
            migrated("etc/moss/repo.d/x.kdl", versioned).contains("\"https://new.example/repo\" // there")
        );
    }

    #[test]
    fn yaml_keeps_everything_else() {
        let text = "# ours\nmain:\n    description: d  # as it was\n    uri: https://old.example/volatile/x86_64/stone.index\n    \
            priority: 7\nother:\n    description: \"o\"\n    uri: https://o/stone.index\n    priority: 1\n";
        let expect = "# ours\nmain:\n    description: d  # as it was\n    base-uri: \"https://new.example/repo\"\n    channel: \"main\"\n    \
            version: \"stream/volatile\"\n    arch: \"x86_64\"\n    priority: 7\nother:\n    description: \"o\"\n    \
            uri: https://o/stone.index\n    priority: 1\n";
        assert_eq!(migrated("etc/moss/repo.yaml", text), expect);
        assert_eq!(migrated("etc/moss/repo.d/main.yaml", text), expect);
    }

    #[test]
    fn a_system_model_keeps_its_packages() {
        let text = "// mine\nrepositories {\n    main {\n        description \"d\"\n        uri \"https://old.example/stone.index\"\n        priority 7\n    }\n}\n\
            packages {\n    nano // the editor\n    \"binary(cc)\"\n}\n";
        let after = migrated("etc/moss/system-model.kdl", text);
        assert!(after.contains("    nano // the editor\n    \"binary(cc)\"\n"), "{after}");
        assert!(after.contains("        base-uri \"https://new.example/repo\"\n"), "{after}");
    }

    #[test]
    fn a_file_of_the_distribution_is_overridden_and_not_edited() {
        let root = tempfile::tempdir().unwrap();
        let vendor = root.path().join("usr/share/moss/repo.d/main.kdl");
        fs::create_dir_all(vendor.parent().unwrap()).unwrap();
        let text = "main {\n  description \"d\"\n  uri \"https://old.example/stone.index\"\n  priority 7\n  active #false\n}\n";
        fs::write(&vendor, text).unwrap();
        let migration = plan_migration(root.path(), "main", &new_home()).unwrap();
        assert_eq!(migration.apply().unwrap(), None);
        assert_eq!(fs::read_to_string(&vendor).unwrap(), text);
        assert_eq!(migration.path, root.path().join("etc/moss/repo.d/main.kdl"));
        let loaded = load_repositories(root.path()).unwrap();
        assert_eq!((loaded[0].priority, loaded[0].active, &loaded[0].source), (7, false, &new_home()));
    }

    #[test]
    fn what_only_a_person_can_change_is_told_and_left() {
        for (path, text) in [
            ("etc/moss/repo.yaml", "main: {description: d, uri: \"https://o/stone.index\", priority: 7}\n"),
            (
                "etc/moss/repo.yaml",
                "main:\n  description: d\n  uri:\n    https://o/stone.index\n  priority: 7\n",
            ),
        ] {
            let root = tempfile::tempdir().unwrap();
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            let error = plan_migration(root.path(), "main", &new_home()).unwrap_err();
            assert!(matches!(error, RepositoriesError::ByHand { .. }), "{error}");
            assert!(fault::Fault::hints(&error)[0].contains("base-uri \"https://new.example/repo\""));
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        let root = tempfile::tempdir().unwrap();
        let error = plan_migration(root.path(), "main", &new_home()).unwrap_err();
        assert!(matches!(error, RepositoriesError::Unknown { .. }));
    }
}
