//! `boulder recipe`: looking at recipes without building them.
//!
//! `check` reads and evaluates any number of recipes and says what is wrong with them; `show` prints one. Both read
//! files only.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use fault::{Fault, Kind};
use recipe::{Problem, Recipe, Severity};
use serde_json::json;

/// The file that makes a directory a recipe.
const RECIPE_FILE: &str = "stone.yaml";

/// The file beside it that says where releases are announced.
const MONITORING_FILE: &str = "monitoring.yaml";

/// Directories deeper than this below a given path are not looked into; the official tree is two deep.
const WALK_DEPTH_MAX: usize = 16;

/// What to do with recipes.
#[derive(Debug, Subcommand)]
pub enum RecipeCommand {
    /// Say what is wrong with recipes
    Check {
        /// Recipes, their directories, or trees of directories
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// The architecture to evaluate for
        #[arg(long, default_value = std::env::consts::ARCH)]
        architecture: String,
    },
    /// Print what a recipe says
    Show {
        /// A recipe or its directory
        path: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Why a command about recipes did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum RecipeCommandError {
    /// A file or directory cannot be read; the source names it.
    #[error("cannot read recipes at {path}")]
    Read {
        /// What was asked for.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no recipe below a path.
    #[error("cannot check {path}: there is no {RECIPE_FILE} in it")]
    NoRecipe {
        /// What was asked for.
        path: String,
    },
    /// The recipe cannot be used.
    #[error(transparent)]
    Recipe(#[from] recipe::RecipeError),
    /// Some of the recipes have errors, which have been printed.
    #[error("cannot use {wrong} of {recipes} recipes: {errors} errors")]
    Wrong {
        /// How many recipes have errors.
        wrong: usize,
        /// How many there are.
        recipes: usize,
        /// How many errors there are.
        errors: usize,
    },
    /// The answer cannot be written as JSON.
    #[error("cannot print the answer as JSON")]
    Json(#[source] serde_json::Error),
    /// The answer cannot be printed.
    #[error(transparent)]
    Output(#[from] observe::OutputError),
}

impl Fault for RecipeCommandError {
    fn kind(&self) -> Kind {
        match self {
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::InvalidData => Kind::Input,
            Self::Read { .. } => Kind::Unavailable,
            Self::NoRecipe { .. } => Kind::NotFound,
            Self::Recipe(error) => error.kind(),
            Self::Wrong { .. } => Kind::Input,
            Self::Json(_) => Kind::Bug,
            Self::Output(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Read { .. } | Self::NoRecipe { .. } => {
                vec![format!("name a {RECIPE_FILE}, or a directory that holds recipes")]
            }
            Self::Recipe(error) => error.hints(),
            Self::Wrong { .. } => vec!["correct the lines named above".to_owned()],
            Self::Json(_) | Self::Output(_) => Vec::new(),
        }
    }
}

/// Runs a command about recipes. Results go to standard output.
///
/// # Errors
/// When a path cannot be read or a recipe has errors. `check` has printed what is wrong by then.
pub fn run(command: RecipeCommand) -> Result<(), Box<dyn Fault>> {
    match command {
        RecipeCommand::Check { paths, json, architecture } => check(&paths, json, &architecture)?,
        RecipeCommand::Show { path, json } => show(&path, json)?,
    }
    Ok(())
}

/// What was found out about a number of recipes.
#[derive(Debug, Default)]
struct Findings {
    recipes: usize,
    wrong: usize,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Findings {
    fn add(&mut self, problems: Vec<Problem>) {
        let errors_before = self.errors.len();
        for problem in problems {
            match problem.severity {
                Severity::Error => self.errors.push(problem),
                Severity::Warning => self.warnings.push(problem),
            }
        }
        self.recipes += 1;
        self.wrong += usize::from(self.errors.len() > errors_before);
    }
}

fn check(paths: &[PathBuf], json: bool, architecture: &str) -> Result<(), RecipeCommandError> {
    let mut findings = Findings::default();
    for path in paths {
        let files = recipe_files(path)?;
        if files.is_empty() {
            return Err(RecipeCommandError::NoRecipe { path: path.display().to_string() });
        }
        for file in files {
            let problems = check_file(&file, architecture)?;
            if !json {
                let text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
                observe::write_stdout(&text)?;
            }
            findings.add(problems);
        }
    }
    if json {
        let answer =
            json!({ "recipes": findings.recipes, "errors": findings.errors, "warnings": findings.warnings });
        observe::write_stdout(&format!("{answer}\n"))?;
    } else {
        let (recipes, errors, warnings) = (findings.recipes, findings.errors.len(), findings.warnings.len());
        observe::write_stdout(&format!("{recipes} recipes, {errors} errors, {warnings} warnings\n"))?;
    }
    if findings.errors.is_empty() {
        return Ok(());
    }
    Err(RecipeCommandError::Wrong {
        wrong: findings.wrong,
        recipes: findings.recipes,
        errors: findings.errors.len(),
    })
}

/// Everything that is wrong with one recipe and the monitoring file beside it.
fn check_file(file: &Path, architecture: &str) -> Result<Vec<Problem>, RecipeCommandError> {
    let mut problems = match recipe::parse(&file.display().to_string(), &read(file)?) {
        Ok(parsed) => {
            let mut problems = parsed.warnings;
            problems.extend(recipe::check(&parsed.recipe, architecture));
            problems.sort_by_key(Problem::position);
            problems
        }
        Err(error) => error.into_problems(),
    };
    let monitoring = file.with_file_name(MONITORING_FILE);
    if monitoring.is_file() {
        match recipe::monitoring::parse(&monitoring.display().to_string(), &read(&monitoring)?) {
            Ok(parsed) => problems.extend(parsed.warnings),
            Err(error) => problems.extend(error.into_problems()),
        }
    }
    Ok(problems)
}

fn show(path: &Path, json: bool) -> Result<(), RecipeCommandError> {
    let file = if path.is_dir() { path.join(RECIPE_FILE) } else { path.to_path_buf() };
    let parsed = recipe::parse(&file.display().to_string(), &read(&file)?)?;
    let text = if json {
        let mut text = serde_json::to_string_pretty(&parsed.recipe).map_err(RecipeCommandError::Json)?;
        text.push('\n');
        text
    } else {
        readable(&parsed.recipe)
    };
    observe::write_stdout(&text)?;
    Ok(())
}

/// The recipe for people: one line for each thing, lists indented.
fn readable(recipe: &Recipe) -> String {
    let mut lines = vec![format!("{} {}-{}", recipe.name, recipe.version, recipe.release)];
    let summary = recipe.package.summary.as_deref().unwrap_or_default().trim();
    for (label, value) in
        [("summary", summary), ("homepage", &recipe.homepage), ("license", &recipe.licenses.join(", "))]
    {
        if !value.is_empty() {
            lines.push(format!("{label}: {value}"));
        }
    }
    let mut list = |label: &str, entries: Vec<String>| {
        if !entries.is_empty() {
            lines.push(format!("{label}:"));
            lines.extend(entries.into_iter().map(|entry| format!("  {entry}")));
        }
    };
    list("upstreams", recipe.upstreams.iter().map(|upstream| upstream.url().to_owned()).collect());
    list("needs to build", recipe.all_build_depends().iter().map(package::Dependency::short).collect());
    list("packages beside the templates", recipe.packages.iter().map(|(name, _)| name.to_string()).collect());
    list("profiles", recipe.profiles.iter().map(|(name, _)| name.clone()).collect());
    // A foreign text must not reach the terminal with its escape sequences.
    let mut text: String =
        lines.join("\n").chars().filter(|letter| *letter == '\n' || !letter.is_control()).collect();
    text.push('\n');
    text
}

/// The recipes at a path, in the order of their names: the file itself, the one in the directory, or all below it.
fn recipe_files(path: &Path) -> Result<Vec<PathBuf>, RecipeCommandError> {
    let failed = |source| RecipeCommandError::Read { path: path.display().to_string(), source };
    if !fs_err::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    collect(path, 0, &mut files).map_err(failed)?;
    files.sort_unstable();
    Ok(files)
}

fn collect(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let file = directory.join(RECIPE_FILE);
    if file.is_file() {
        files.push(file);
        return Ok(());
    }
    if depth == WALK_DEPTH_MAX {
        return Ok(());
    }
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        // Links are not followed, so a tree that contains itself has an end.
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if entry.file_type()?.is_dir() && !hidden {
            collect(&entry.path(), depth + 1, files)?;
        }
    }
    Ok(())
}

/// The text of a file, which must not be larger than a recipe may be.
fn read(file: &Path) -> Result<String, RecipeCommandError> {
    let failed = |source| RecipeCommandError::Read { path: file.display().to_string(), source };
    let size_bytes = fs_err::metadata(file).map_err(failed)?.len();
    if usize::try_from(size_bytes).is_ok_and(|size_bytes| size_bytes <= recipe::INPUT_BYTES_MAX) {
        return fs_err::read_to_string(file).map_err(failed);
    }
    let message =
        format!("{} has {size_bytes} bytes; the limit is {}", file.display(), recipe::INPUT_BYTES_MAX);
    Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidData, message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "name: demo\nversion: \"1.0\"\nrelease: 2\nhomepage: https://x\nlicense: MIT\nsummary: Demo\n";

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        directory
    }

    #[test]
    fn a_tree_is_walked_in_order_and_without_what_is_hidden() {
        let tree = tree(&[
            ("b/two/stone.yaml", GOOD),
            ("a/one/stone.yaml", GOOD),
            ("a/one/pkg/stone.yaml", GOOD),
            (".git/x/stone.yaml", GOOD),
            ("README", ""),
        ]);
        let files = recipe_files(tree.path()).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.strip_prefix(tree.path()).unwrap()).collect();
        assert_eq!(names, [Path::new("a/one/stone.yaml"), Path::new("b/two/stone.yaml")]);
        assert_eq!(recipe_files(&files[0]).unwrap(), [files[0].clone()]);
    }

    #[test]
    fn errors_are_counted_and_end_the_command_as_bad_input() {
        let tree = tree(&[
            ("good/stone.yaml", GOOD),
            ("bad/stone.yaml", &format!("{GOOD}build: |\n  %nix\ntune: []\n")),
            ("bad/monitoring.yaml", "releases: { id: x }\n"),
        ]);
        let problems = check_file(&tree.path().join("bad/stone.yaml"), "x86_64").unwrap();
        let shown: Vec<String> = problems
            .iter()
            .map(|problem| format!("{}:{} {:?}", problem.line, problem.column, problem.severity))
            .collect();
        assert_eq!(shown, ["8:3 Error", "9:1 Warning", "1:17 Error"]);
        let error = check(&[tree.path().to_path_buf()], true, "x86_64").unwrap_err();
        assert_eq!(error.to_string(), "cannot use 1 of 2 recipes: 2 errors");
        assert_eq!(error.kind(), Kind::Input);
        check(&[tree.path().join("good")], true, "x86_64").unwrap();
    }

    #[test]
    fn what_is_not_there_is_said() {
        let tree = tree(&[("a/README", "")]);
        let nothing = check(&[tree.path().join("nothing")], false, "x86_64").unwrap_err();
        assert_eq!(nothing.kind(), Kind::NotFound);
        let empty = check(&[tree.path().to_path_buf()], false, "x86_64").unwrap_err();
        assert!(empty.to_string().ends_with("there is no stone.yaml in it"));
    }

    #[test]
    fn a_huge_file_is_refused_before_it_is_read() {
        let tree = tree(&[]);
        let file = tree.path().join("stone.yaml");
        fs_err::File::create(&file).unwrap().set_len(1 << 40).unwrap();
        let error = check_file(&file, "x86_64").unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
    }

    #[test]
    fn people_see_names_and_needs() {
        let text = format!(
            "{GOOD}builddeps: [ binary(x), zlib-devel ]\npackages:\n  - \"%(name)-x\": {{ paths: [ /x ] }}\n"
        );
        let recipe = recipe::parse("stone.yaml", &text).unwrap().recipe;
        assert_eq!(
            readable(&recipe),
            "demo 1.0-2\nsummary: Demo\nhomepage: https://x\nlicense: MIT\nneeds to build:\n  binary(x)\n  zlib-devel\n\
             packages beside the templates:\n  %(name)-x\n"
        );
    }
}
