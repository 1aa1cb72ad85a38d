//! The recipes that a newcomer sees built, and what is done with the result.

use std::path::Path;
use std::process::Command;

use fault::{Fault, Kind};
use serde::Deserialize;

/// Recipe folders and their `stone.yaml`, as they are in `examples/recipes`.
const RECIPES: [(&str, &str); 7] = [
    ("bzip2", include_str!("../../../examples/recipes/bzip2/stone.yaml")),
    ("file", include_str!("../../../examples/recipes/file/stone.yaml")),
    ("hello", include_str!("../../../examples/recipes/hello/stone.yaml")),
    ("less", include_str!("../../../examples/recipes/less/stone.yaml")),
    ("nano", include_str!("../../../examples/recipes/nano/stone.yaml")),
    ("ncurses", include_str!("../../../examples/recipes/ncurses/stone.yaml")),
    ("xz", include_str!("../../../examples/recipes/xz/stone.yaml")),
];

/// What to install and run, as it is in `examples/demo.toml`.
const PROGRAMME: &str = include_str!("../../../examples/demo.toml");

/// What the demo does with the packages it made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Programme {
    /// Packages to install.
    pub install: Vec<String>,
    /// What to run afterwards.
    pub run: Vec<Run>,
}

/// A program to run in the fresh root.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// Program and arguments.
    pub command: Vec<String>,
}

/// Why there is no example repository.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExamplesError {
    /// A recipe cannot be written.
    #[error("cannot write the example recipes")]
    Write(#[source] std::io::Error),
    /// git does not do its part.
    #[error("cannot make a git repository of the example recipes: git {step} failed: {message}")]
    Git {
        /// What git was asked to do.
        step: String,
        /// What it said.
        message: String,
    },
    /// The programme that comes with the recipes is not what it should be.
    #[error("cannot read examples/demo.toml")]
    Programme(#[source] toml::de::Error),
}

impl Fault for ExamplesError {
    fn kind(&self) -> Kind {
        match self {
            ExamplesError::Write(_) | ExamplesError::Git { .. } => Kind::Unavailable,
            ExamplesError::Programme(_) => Kind::Bug,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ExamplesError::Git { .. } => vec!["see whether git is installed: moraine doctor".into()],
            _ => Vec::new(),
        }
    }
}

/// What comes with the recipes.
///
/// # Errors
/// When the file in `examples/` is not what it should be.
pub(crate) fn programme() -> Result<Programme, ExamplesError> {
    toml::from_str(PROGRAMME).map_err(ExamplesError::Programme)
}

/// Makes a git repository at `directory` with the example recipes on branch `main`.
///
/// # Errors
/// When the disk or git fails.
pub(crate) fn make_repository(directory: &Path) -> Result<(), ExamplesError> {
    for (name, text) in RECIPES {
        let folder = directory.join(name);
        fs_err::create_dir_all(&folder).map_err(ExamplesError::Write)?;
        fs_err::write(folder.join("stone.yaml"), text).map_err(ExamplesError::Write)?;
    }
    commit_all(directory, "examples: first light")
}

/// Makes a git repository of all files in `directory`, with one commit on branch `main`.
///
/// # Errors
/// When git fails.
pub(crate) fn commit_all(directory: &Path, message: &str) -> Result<(), ExamplesError> {
    git(directory, &["init", "--quiet", "--initial-branch=main"])?;
    git(directory, &["add", "--all"])?;
    git(directory, &["commit", "--quiet", &format!("--message={message}")])
}

fn git(directory: &Path, arguments: &[&str]) -> Result<(), ExamplesError> {
    let step = arguments.first().copied().unwrap_or_default().to_owned();
    // The same commit on every machine: neither its settings nor its clock take part.
    let output = Command::new("git")
        .args(["-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .envs([("GIT_AUTHOR_NAME", "Moraine"), ("GIT_AUTHOR_EMAIL", "demo@moraine.invalid")])
        .envs([("GIT_COMMITTER_NAME", "Moraine"), ("GIT_COMMITTER_EMAIL", "demo@moraine.invalid")])
        .envs([("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z"), ("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")])
        .output()
        .map_err(|source| ExamplesError::Git { step: step.clone(), message: source.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    Err(ExamplesError::Git { step, message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_folder_is_in_the_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/recipes");
        let mut names: Vec<String> = fs_err::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, RECIPES.map(|(name, _)| name));
    }

    #[test]
    fn what_is_installed_is_what_is_built() {
        let programme = programme().unwrap();
        assert!(programme.install.iter().all(|name| RECIPES.iter().any(|(recipe, _)| recipe == name)));
        assert!(programme.run.iter().all(|run| !run.command.is_empty()));
    }

    #[test]
    fn the_repository_is_the_same_every_time() {
        let commits: Vec<String> = (0..2)
            .map(|_| {
                let folder = tempfile::tempdir().unwrap();
                make_repository(folder.path()).unwrap();
                let output = Command::new("git")
                    .args(["rev-parse", "main"])
                    .current_dir(folder.path())
                    .output()
                    .unwrap();
                String::from_utf8(output.stdout).unwrap()
            })
            .collect();
        assert_eq!(commits[0], commits[1]);
        assert_eq!(commits[0].trim().len(), 40);
    }
}
