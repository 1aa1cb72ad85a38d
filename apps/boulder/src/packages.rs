//! From an install root to package files: every file is assigned to a package, asked what it offers and needs, and written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use package::{Dependency, DependencyKind, ManifestFile, ManifestSource, PackageMeta};
use recipe::{BuildContext, PackageDefinition, Recipe};
use regex::Regex;

use crate::analyse::{Surroundings, Verdict, analyse};
use crate::build::BuildError;
use crate::collect::{InstalledFile, InstalledKind, collect};
use crate::emit::{Artefact, Owners, describe_artefact, write_package};

/// What to package, and where to.
pub struct Job<'a> {
    /// The recipe that was built.
    pub recipe: &'a Recipe,
    /// What its macros are evaluated with.
    pub context: &'a BuildContext,
    /// What it installed.
    pub install_root: &'a Path,
    /// The packages that the build root was made of.
    pub root: &'a Path,
    /// The number of this build of the release.
    pub build_release: u64,
    /// Architecture of the packages.
    pub architecture: &'a str,
    /// Where packages and manifests go.
    pub output: &'a Path,
    /// Owners inside for owners outside.
    pub owners: Owners<'a>,
}

/// One package on its way.
struct Pending<'a> {
    definition: &'a PackageDefinition,
    files: Vec<&'a InstalledFile>,
    provides: BTreeSet<Dependency>,
    depends: BTreeSet<Dependency>,
}

/// Writes every package that got a file, and both manifests. Returns them in the order of their names.
///
/// # Errors
/// When the install root cannot be read, a package not be described, or the disk fails.
pub fn write(job: &Job<'_>, say: &mut dyn FnMut(&str)) -> Result<Vec<Artefact>, BuildError> {
    let files = collect(job.install_root).map_err(BuildError::Collect)?;
    let rules = recipe::package_rules(job.recipe, job.context).map_err(BuildError::Rules)?;
    let mut pending: BTreeMap<&str, Pending<'_>> = BTreeMap::new();
    let exists = |path: &str| [job.install_root, job.root].iter().any(|root| lies_in(root, path));
    let surroundings = Surroundings { exists: &exists, drop_libtool_archives: job.recipe.options.lastrip };
    for file in files.iter().filter(|file| runs_as_its_owner(file)) {
        say(&format!(
            "warning: runs as its owner, whoever starts it: {} (mode {:o})",
            file.path,
            file.mode & 0o7777
        ));
    }
    for file in &files {
        match analyse(file, &surroundings) {
            Verdict::Drop(reason) => say(&format!("left out: {}: {reason}", file.path)),
            Verdict::Include(facts) => {
                for note in &facts.notes {
                    say(&format!("note: {note}"));
                }
                let Some(definition) = rules.assign(&file.path).and_then(|name| rules.package(name)) else {
                    say(&format!("left out: {}: no package takes it", file.path));
                    continue;
                };
                let package = pending.entry(definition.name.as_str()).or_insert_with(|| Pending {
                    definition,
                    files: Vec::new(),
                    provides: BTreeSet::new(),
                    depends: BTreeSet::new(),
                });
                package.files.push(file);
                package.provides.extend(facts.provides);
                package.depends.extend(facts.depends);
            }
        }
    }
    if pending.is_empty() {
        return Err(BuildError::Nothing { recipe: job.recipe.name.clone() });
    }

    let mut artefacts = Vec::new();
    let mut metas = Vec::new();
    let mut paths = BTreeMap::new();
    let is_never_made = |dependency: &Dependency| {
        dependency.kind == DependencyKind::Name
            && rules.package(&dependency.name).is_some()
            && !pending.contains_key(dependency.name.as_str())
    };
    for package in pending.values() {
        let meta = describe(job, package, &is_never_made)?;
        say(&format!("package: {} ({} files)", meta.file_name(), package.files.len()));
        artefacts
            .push(write_package(job.output, &meta, &package.files, job.owners).map_err(BuildError::Emit)?);
        paths.insert(meta.name.clone(), package.files.iter().map(|file| file.path.clone()).collect());
        metas.push(meta);
    }
    artefacts.extend(write_manifests(job, metas, &paths)?);
    Ok(artefacts)
}

/// A program that is set-user-id or set-group-id: legitimate, and for a person to know.
fn runs_as_its_owner(file: &InstalledFile) -> bool {
    matches!(file.kind, InstalledKind::Regular { .. }) && file.mode & 0o6000 != 0
}

/// Whether `/usr/…` is there below `root`, without following links out of it.
fn lies_in(root: &Path, path: &str) -> bool {
    let relative = path.trim_start_matches('/');
    !relative.split('/').any(|part| part == "..") && root.join(relative).symlink_metadata().is_ok()
}

/// The metadata of a package. A template makes `X-devel` need `X`; where a recipe installs nothing but headers there is no
/// `X`, and a need that nobody could ever meet is left out.
fn describe(
    job: &Job<'_>,
    package: &Pending<'_>,
    is_never_made: &dyn Fn(&Dependency) -> bool,
) -> Result<PackageMeta, BuildError> {
    let definition = package.definition;
    let own_name = Dependency::name(&definition.name);
    let unwanted_providers = Unwanted::of(&definition.name, &definition.provides_exclude)?;
    let unwanted_dependencies = Unwanted::of(&definition.name, &definition.rundeps_exclude)?;
    let mut provides = package.provides.clone();
    provides.retain(|provider| !unwanted_providers.covers(provider));
    let mut depends = package.depends.clone();
    depends.extend(definition.rundeps.iter().cloned());
    depends.retain(|dependency| {
        !unwanted_dependencies.covers(dependency)
            && !provides.contains(dependency)
            && *dependency != own_name
            && !is_never_made(dependency)
    });
    let recipe = job.recipe;
    let meta = PackageMeta {
        name: definition.name.clone(),
        version: recipe.version.clone(),
        release: recipe.release,
        build_release: job.build_release,
        architecture: job.architecture.to_owned(),
        summary: definition.summary.clone(),
        description: definition.description.clone(),
        source_id: recipe.name.clone(),
        homepage: recipe.homepage.clone(),
        licenses: recipe.licenses.iter().cloned().collect::<BTreeSet<String>>().into_iter().collect(),
        depends,
        provides,
        conflicts: definition.conflicts.iter().cloned().collect(),
        build_depends: BTreeSet::new(),
        uri: None,
        hash: None,
        download_size_bytes: None,
    };
    meta.check()
        .map_err(|error| BuildError::Package { package: meta.name.clone(), reason: error.to_string() })?;
    Ok(meta)
}

fn write_manifests(
    job: &Job<'_>,
    mut metas: Vec<PackageMeta>,
    paths: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Vec<Artefact>, BuildError> {
    let recipe = job.recipe;
    let fields = &recipe.build;
    for meta in &mut metas {
        meta.build_depends = fields.build_depends.iter().chain(&fields.check_depends).cloned().collect();
    }
    let failed = |error: package::ManifestError| BuildError::Package {
        package: format!("the manifest of {}", recipe.name),
        reason: fault::chain(&error).join(": "),
    };
    let manifest = ManifestFile::of_build(metas).map_err(failed)?;
    let binary = job.output.join(ManifestFile::bin_name(job.architecture));
    let bytes = manifest.write(std::io::Cursor::new(Vec::new())).map_err(failed)?.into_inner();
    fs_err::write(&binary, bytes).map_err(BuildError::Workspace)?;
    let json = job.output.join(ManifestFile::jsonc_name(job.architecture));
    let source = ManifestSource {
        name: recipe.name.clone(),
        version: recipe.version.clone(),
        release: recipe.release,
    };
    fs_err::write(&json, manifest.jsonc(&source, paths)).map_err(BuildError::Workspace)?;
    [binary, json].iter().map(|path| describe_artefact(path).map_err(BuildError::Emit)).collect()
}

/// What a recipe wants left out, by patterns over `keyword(name)`.
struct Unwanted(Vec<Regex>);

impl Unwanted {
    fn of(package: &str, patterns: &[String]) -> Result<Self, BuildError> {
        let compiled = patterns.iter().map(|pattern| {
            Regex::new(pattern).map_err(|error| BuildError::Package {
                package: package.to_owned(),
                reason: format!("{pattern:?} is no regular expression: {error}"),
            })
        });
        Ok(Self(compiled.collect::<Result<_, _>>()?))
    }

    fn covers(&self, dependency: &Dependency) -> bool {
        let text = dependency.to_string();
        self.0.iter().any(|pattern| pattern.is_match(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_searched_in_the_whole_text() {
        let unwanted = Unwanted::of("x", &["^soname\\(libfoo".to_owned(), "perl".to_owned()]).unwrap();
        for (text, expected) in [
            ("soname(libfoo.so.1(x86_64))", true),
            ("binary(perl5)", true),
            ("soname(libbar.so.1(x86_64))", false),
        ] {
            assert_eq!(unwanted.covers(&text.parse().unwrap()), expected, "{text}");
        }
        assert!(Unwanted::of("x", &["(".to_owned()]).is_err());
    }

    #[test]
    fn nothing_is_found_outside_of_a_root() {
        let root = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(root.path().join("usr/lib")).unwrap();
        fs_err::write(root.path().join("usr/lib/libx.so"), "").unwrap();
        assert!(lies_in(root.path(), "/usr/lib/libx.so"));
        assert!(!lies_in(root.path(), "/usr/lib/../../../etc/passwd"));
        assert!(!lies_in(root.path(), "/usr/lib/liby.so"));
    }
}
