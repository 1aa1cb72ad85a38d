//! Which packages a recipe makes, and which file goes into which.
//!
//! Every recipe has the template packages of the macro files, then its own root package, then its `packages`. Entries
//! of the same name are one package. Of all rules that cover a path the last one decides, so the template's `*` for
//! the main package is what is left for everything else.

use std::collections::BTreeMap;

use package::Dependency;
use serde::Serialize;

use crate::error::EvaluateError;
use crate::expand::Expander;
use crate::glob::Glob;
use crate::macros::Macros;
use crate::model::{PackageFields, Recipe, Text};
use crate::name;
use crate::plan::BuildContext;
use crate::problem::{Position, Severity};

/// One package, as it will be if files are assigned to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageDefinition {
    /// Its name: a safe path component.
    pub name: String,
    /// One line; the recipe's where neither it nor its template has one.
    pub summary: String,
    /// Some sentences; the recipe's where neither it nor its template has one.
    pub description: String,
    /// Dependencies beyond those that analysis finds, sorted.
    pub rundeps: Vec<Dependency>,
    /// Regular expressions of dependencies to leave out, sorted.
    pub rundeps_exclude: Vec<String>,
    /// Regular expressions of providers to leave out.
    pub provides_exclude: Vec<String>,
    /// What may not be installed at the same time.
    pub conflicts: Vec<Dependency>,
    /// The patterns of its files, sorted.
    pub paths: Vec<String>,
}

/// The packages of a recipe and the rules that assign files to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageRules {
    packages: Vec<PackageDefinition>,
    /// In the order they are tried from behind; the number is that of the package.
    rules: Vec<(Glob, usize)>,
}

impl PackageRules {
    /// The packages, each name once, in the order they were first named. One that gets no file is not made.
    #[must_use]
    pub fn packages(&self) -> &[PackageDefinition] {
        &self.packages
    }

    /// The package with this name.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&PackageDefinition> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The name of the package that a file belongs to. `path` is absolute, as the file will be installed.
    #[must_use]
    pub fn assign(&self, path: &str) -> Option<&str> {
        let (_, number) = self.rules.iter().rev().find(|(glob, _)| glob.covers(path))?;
        self.packages.get(*number).map(|package| package.name.as_str())
    }
}

/// The packages and rules of a recipe for the architecture of the context's target.
///
/// # Errors
/// When a macro, a package name or a dependency in a package's fields cannot be used, or there are no macros for the
/// target.
pub fn package_rules(recipe: &Recipe, context: &BuildContext) -> Result<PackageRules, EvaluateError> {
    let mut collector = Collector { recipe, names: BTreeMap::new(), drafts: Vec::new(), rules: Vec::new() };
    let targets = recipe.targets(context.architecture());
    for (number, target) in targets.iter().enumerate() {
        let macros = Macros::for_target(target)?;
        let base = if number == 0 { macros.base_packages.as_slice() } else { &[] };
        for (name, fields) in base.iter().chain(&macros.target_packages) {
            collector.add(name, fields)?;
        }
    }
    let root_name = Text { text: recipe.name.clone(), origin: crate::model::Origin::Inline(Position::START) };
    collector.add(&root_name, &recipe.package)?;
    for (name, fields) in &recipe.packages {
        collector.add(name, fields)?;
    }
    collector.finish()
}

/// Expands what may be expanded outside of scripts: name, version and release.
pub(crate) fn expand_identity(recipe: &Recipe, text: &Text) -> Result<String, EvaluateError> {
    let macros = Macros {
        actions: BTreeMap::new(),
        definitions: BTreeMap::new(),
        flags: BTreeMap::new(),
        tuning: BTreeMap::new(),
        default_groups: Vec::new(),
        base_packages: Vec::new(),
        target_packages: Vec::new(),
    };
    let values = BTreeMap::from([
        ("name", recipe.name.clone()),
        ("version", recipe.version.clone()),
        ("release", recipe.release.to_string()),
    ]);
    let overrides = BTreeMap::new();
    let expander = Expander { macros: &macros, values, overrides: &overrides };
    expander.expand(text).map(|expanded| expanded.text).map_err(|error| {
        let at = text.position(error.offset_bytes);
        let help = "only %(name), %(version) and %(release) are known here; for a percent sign write %%";
        EvaluateError::recipe(recipe.source.problem(Severity::Error, at, error.message).with_help(help))
    })
}

/// The fields with their macros expanded, for showing; what cannot be expanded stays as written.
pub(crate) fn expand_fields(recipe: &Recipe, fields: &PackageFields) -> PackageFields {
    let mut fields = fields.clone();
    let lists = [&mut fields.rundeps, &mut fields.conflicts].into_iter().flatten();
    let paths = fields.paths.iter_mut().map(|path| &mut path.pattern);
    for text in lists.chain(paths).chain(&mut fields.summary).chain(&mut fields.description) {
        if let Ok(expanded) = expand_identity(recipe, text) {
            expanded.trim().clone_into(&mut text.text);
        }
    }
    fields
}

/// A package while its entries are being merged.
#[derive(Default)]
struct Draft {
    name: String,
    summary: Option<String>,
    description: Option<String>,
    rundeps: Vec<Dependency>,
    rundeps_exclude: Vec<String>,
    provides_exclude: Vec<String>,
    conflicts: Vec<Dependency>,
    paths: Vec<String>,
}

struct Collector<'r> {
    recipe: &'r Recipe,
    names: BTreeMap<String, usize>,
    drafts: Vec<Draft>,
    rules: Vec<(Glob, usize)>,
}

impl Collector<'_> {
    fn add(&mut self, name: &Text, fields: &PackageFields) -> Result<(), EvaluateError> {
        let expanded = expand_identity(self.recipe, name)?;
        if let Err(why) = name::check_name(&expanded) {
            let message = format!("package name {expanded:?} cannot be used: {why}");
            return Err(self.fail(name, message, "choose another name"));
        }
        let summary = self.optional(fields.summary.as_ref())?;
        let description = self.optional(fields.description.as_ref())?;
        let rundeps = self.dependencies(&fields.rundeps)?;
        let conflicts = self.dependencies(&fields.conflicts)?;
        let rundeps_exclude = fields.rundeps_exclude.iter().map(|text| text.text.clone());
        let provides_exclude: Vec<String> =
            fields.provides_exclude.iter().map(|text| text.text.clone()).collect();
        let mut paths = Vec::new();
        for path in &fields.paths {
            paths.push(expand_identity(self.recipe, &path.pattern)?);
        }

        let number = *self.names.entry(expanded.clone()).or_insert(self.drafts.len());
        if number == self.drafts.len() {
            self.drafts.push(Draft { name: expanded, ..Draft::default() });
        }
        self.rules.extend(paths.iter().map(|path| (Glob::new(path), number)));
        let Some(draft) = self.drafts.get_mut(number) else { return Ok(()) };
        draft.summary = summary.or(draft.summary.take());
        draft.description = description.or(draft.description.take());
        draft.rundeps.extend(rundeps);
        draft.rundeps_exclude.extend(rundeps_exclude);
        draft.paths.extend(paths);
        if !provides_exclude.is_empty() {
            draft.provides_exclude = provides_exclude;
        }
        if !conflicts.is_empty() {
            draft.conflicts = conflicts;
        }
        Ok(())
    }

    fn optional(&self, text: Option<&Text>) -> Result<Option<String>, EvaluateError> {
        text.map(|text| expand_identity(self.recipe, text).map(|text| text.trim().to_owned())).transpose()
    }

    fn dependencies(&self, texts: &[Text]) -> Result<Vec<Dependency>, EvaluateError> {
        texts
            .iter()
            .map(|text| {
                expand_identity(self.recipe, text)?.parse().map_err(|error: package::DependencyError| {
                    self.fail(text, error.to_string(), "write a package name or kind(name)")
                })
            })
            .collect()
    }

    fn fail(&self, text: &Text, message: String, help: &str) -> EvaluateError {
        let at = text.position(0);
        EvaluateError::recipe(self.recipe.source.problem(Severity::Error, at, message).with_help(help))
    }

    fn finish(self) -> Result<PackageRules, EvaluateError> {
        let fallback_summary = self.optional(self.recipe.package.summary.as_ref())?.unwrap_or_default();
        let fallback_description =
            self.optional(self.recipe.package.description.as_ref())?.unwrap_or_default();
        let sorted = |mut texts: Vec<String>| {
            texts.sort_unstable();
            texts.dedup();
            texts
        };
        let packages = self
            .drafts
            .into_iter()
            .map(|draft| {
                let mut rundeps = draft.rundeps;
                rundeps.sort_unstable();
                rundeps.dedup();
                PackageDefinition {
                    name: draft.name,
                    summary: draft.summary.unwrap_or_else(|| fallback_summary.clone()),
                    description: draft.description.unwrap_or_else(|| fallback_description.clone()),
                    rundeps,
                    rundeps_exclude: sorted(draft.rundeps_exclude),
                    provides_exclude: draft.provides_exclude,
                    conflicts: draft.conflicts,
                    paths: sorted(draft.paths),
                }
            })
            .collect();
        Ok(PackageRules { packages, rules: self.rules })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::parse;

    fn rules(rest: &str) -> Result<PackageRules, EvaluateError> {
        let text = format!(
            "name: demo\nversion: \"1.0\"\nrelease: 2\nhomepage: h\nlicense: MIT\nsummary: The demo\n\
             description: |\n  Long words.\n{rest}"
        );
        package_rules(&parse("stone.yaml", &text).unwrap().recipe, &BuildContext::default())
    }

    #[test]
    fn templates_come_first_and_the_last_rule_wins() {
        let rules = rules(
            "packages:\n  - \"%(name)-libs\":\n      paths: [ /usr/lib/lib*.so.* ]\n  - \"%(name)-tools\":\n      \
             summary: Tools\n      paths: [ /usr/bin/t*, \"/usr/share/%(name)/\" ]\n  - \"%(name)\":\n      \
             rundeps: [ \"%(name)-libs\", binary(sh) ]\n      paths: [ /usr/bin/true ]\n",
        )
        .unwrap();
        for (path, package) in [
            ("/usr/bin/demo", "demo"),
            ("/usr/bin/tool", "demo-tools"),
            ("/usr/bin/true", "demo"),
            ("/usr/share/demo/a", "demo-tools"),
            ("/usr/lib/libx.so", "demo-devel"),
            ("/usr/lib/libx.so.1", "demo-libs"),
            ("/usr/lib/debug/.build-id/aa/bb.debug", "demo-dbginfo"),
            ("/usr/include/x.h", "demo-devel"),
            ("/usr/share/man/man3/x.3", "demo-devel"),
            ("/usr/share/man/man1/x.1", "demo"),
            ("/usr/lib32/libx.so.1", "demo"),
        ] {
            assert_eq!(rules.assign(path), Some(package), "{path}");
        }
        let demo = rules.package("demo").unwrap();
        assert_eq!(
            demo.rundeps.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["binary(sh)", "name(demo-libs)"]
        );
        assert_eq!((demo.summary.as_str(), demo.description.as_str()), ("The demo", "Long words."));
        assert_eq!(rules.package("demo-tools").unwrap().description, "Long words.");
    }

    #[test]
    fn a_recipe_that_only_adds_to_a_template_keeps_its_summary() {
        let rules = rules("packages:\n  - \"%(name)-devel\":\n      rundeps: [ zlib-devel ]\n").unwrap();
        let devel = rules.package("demo-devel").unwrap();
        assert_eq!(devel.summary, "Development files for demo");
        assert_eq!(devel.rundeps, [Dependency::name("demo"), Dependency::name("zlib-devel")]);
        assert!(devel.paths.contains(&"/usr/include".to_owned()));
    }

    #[test]
    fn thirty_two_bits_have_packages_of_their_own_when_asked_for() {
        let rules = rules("emul32: true\n").unwrap();
        for (path, package) in [
            ("/usr/lib32/libx.so.1", "demo-32bit"),
            ("/usr/lib32/libx.so", "demo-32bit-devel"),
            ("/usr/lib32/pkgconfig/x.pc", "demo-32bit-devel"),
            ("/usr/lib32/debug/.build-id/aa/bb.debug", "demo-32bit-dbginfo"),
            ("/usr/lib/libx.so.1", "demo"),
        ] {
            assert_eq!(rules.assign(path), Some(package), "{path}");
        }
    }

    #[test]
    fn faults_in_fields_name_their_place() {
        for (rest, place, message) in [
            ("packages:\n  - \"%(libdir)\":\n      paths: []\n", ":10:6:", "no definition %(libdir)"),
            ("packages:\n  - \"a/b\":\n      paths: []\n", ":10:6:", "must not contain"),
            ("rundeps:\n  - library(x)\n", ":10:5:", "is not a kind"),
            ("paths:\n  - \"/a/%(prefix)\"\n", ":10:9:", "no definition %(prefix)"),
        ] {
            let error = rules(rest).unwrap_err().to_string();
            assert!(error.contains(place) && error.contains(message), "{rest}: {error}");
        }
    }
}
