//! The recipes of one commit.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use package::{Dependency, DependencyKind};

/// Endings of the packages that every recipe can yield besides the one of its own name (recipe format, section 3.6).
pub(crate) const TEMPLATE_SUFFIXES: [&str; 8] =
    ["-docs", "-devel", "-dbginfo", "-libs", "-32bit", "-32bit-devel", "-32bit-dbginfo", "-demos"];

/// Ending of the packages that manifests do not list and nobody depends on for a build.
const DEBUG_SUFFIX: &str = "-dbginfo";

/// What one recipe promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeEntry {
    /// Path of its `stone.yaml` in the repository.
    pub path: String,
    /// What names its content: two commits with the same recipe have the same text here.
    pub content: String,
    /// The source name.
    pub source: String,
    /// The version, as written.
    pub version: String,
    /// The release.
    pub release: u64,
    /// Names of the packages that the recipe itself lists, besides its own name.
    pub packages: Vec<String>,
    /// Everything that must be there to build and to check it.
    pub build_depends: BTreeSet<Dependency>,
    /// What the recipe itself says its packages need at run time; its manifest knows more.
    pub run_depends: BTreeSet<Dependency>,
    /// What its manifest for the wanted architecture says; none when there is no manifest yet.
    pub manifest: Option<ManifestEntry>,
}

/// What a manifest adds to a recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManifestEntry {
    /// The release that it was made for.
    pub release: u64,
    /// Names of the packages that the build yielded, without those for debugging.
    pub packages: BTreeSet<String>,
    /// Everything that those packages offer.
    pub provides: BTreeSet<Dependency>,
    /// Everything that those packages need at run time.
    pub depends: BTreeSet<Dependency>,
}

/// A recipe that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Path of the file.
    pub path: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// Column, from 1; 0 when the whole line is meant.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

/// All recipes of a commit. Entries are shared with the catalogues of other commits that have the same recipe: a copy
/// costs little, and what is the same entry did not change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    recipes: Vec<Arc<RecipeEntry>>,
    unreadable: Vec<Unreadable>,
}

impl Catalogue {
    /// Orders the recipes by path. A second recipe with the same source name becomes unreadable: two recipes that
    /// replaced each other's packages for ever would be worse.
    #[must_use]
    pub fn new(recipes: Vec<RecipeEntry>, unreadable: Vec<Unreadable>) -> Self {
        Self::sharing(recipes.into_iter().map(Arc::new).collect(), unreadable)
    }

    /// As [`Catalogue::new`], of entries that others may have as well.
    #[must_use]
    pub fn sharing(mut recipes: Vec<Arc<RecipeEntry>>, mut unreadable: Vec<Unreadable>) -> Self {
        recipes.sort_by(|left, right| left.path.cmp(&right.path));
        let mut first_of_name: HashMap<&str, &Arc<RecipeEntry>> = HashMap::with_capacity(recipes.len());
        let mut repeated = Vec::new();
        for (index, recipe) in recipes.iter().enumerate() {
            match first_of_name.get(recipe.source.as_str()) {
                None => drop(first_of_name.insert(&recipe.source, recipe)),
                Some(first) => {
                    let message = format!("the name {:?} already belongs to {}", recipe.source, first.path);
                    unreadable.push(Unreadable { path: recipe.path.clone(), line: 0, column: 0, message });
                    repeated.push(index);
                }
            }
        }
        for index in repeated.into_iter().rev() {
            recipes.remove(index);
        }
        unreadable.sort_by(|left, right| (&left.path, left.line).cmp(&(&right.path, right.line)));
        Self { recipes, unreadable }
    }

    /// The recipes, by path.
    #[must_use]
    pub fn recipes(&self) -> &[Arc<RecipeEntry>] {
        &self.recipes
    }

    /// What cannot be used, by path.
    #[must_use]
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }
}

impl RecipeEntry {
    /// Packages that must be published for the recipe to count as done: those of a manifest made for this release,
    /// else its own name.
    #[must_use]
    pub fn promised_packages(&self) -> Vec<&str> {
        match &self.manifest {
            Some(manifest) if manifest.release == self.release && !manifest.packages.is_empty() => manifest
                .packages
                .iter()
                .map(String::as_str)
                .filter(|name| !name.ends_with(DEBUG_SUFFIX))
                .collect(),
            _ => vec![&self.source],
        }
    }

    /// Everything that this recipe may offer, as far as can be known before it is built: the names of its packages,
    /// listed or by template, and what its manifest says.
    #[must_use]
    pub fn offers(&self) -> BTreeSet<Dependency> {
        let mut names: BTreeSet<String> = [self.source.clone()].into();
        names.extend(TEMPLATE_SUFFIXES.iter().map(|suffix| format!("{}{suffix}", self.source)));
        names.extend(self.packages.iter().cloned());
        let mut offers: BTreeSet<Dependency> = names.into_iter().map(Dependency::name).collect();
        if let Some(manifest) = &self.manifest {
            offers.extend(manifest.packages.iter().map(Dependency::name));
            offers.extend(manifest.provides.iter().cloned());
        }
        offers
    }

    /// Whether [`RecipeEntry::offers`] has `dependency`, without making the whole list.
    #[must_use]
    pub fn may_offer(&self, dependency: &Dependency) -> bool {
        if self.manifest.as_ref().is_some_and(|manifest| manifest.provides.contains(dependency)) {
            return true;
        }
        if dependency.kind != DependencyKind::Name {
            return false;
        }
        let name = &dependency.name;
        let suffix = name.strip_prefix(&self.source);
        suffix.is_some_and(|suffix| suffix.is_empty() || TEMPLATE_SUFFIXES.contains(&suffix))
            || self.packages.contains(name)
            || self.manifest.as_ref().is_some_and(|manifest| manifest.packages.contains(name))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A recipe of release 1 that needs `needs`.
    pub(crate) fn recipe(source: &str, needs: &[&str]) -> RecipeEntry {
        RecipeEntry {
            path: format!("{}/{source}/stone.yaml", source.chars().next().unwrap()),
            content: format!("tree-of-{source}"),
            source: source.into(),
            version: "1.0".into(),
            release: 1,
            packages: Vec::new(),
            build_depends: needs.iter().map(|need| need.parse().unwrap()).collect(),
            run_depends: BTreeSet::new(),
            manifest: None,
        }
    }

    #[test]
    fn names_by_template_are_offered_and_only_the_own_name_is_promised() {
        let mut entry = recipe("ncurses", &[]);
        entry.packages = vec!["ncurses-terminfo".into()];
        let offers = entry.offers();
        for name in ["ncurses", "ncurses-devel", "ncurses-libs", "ncurses-terminfo"] {
            assert!(offers.contains(&Dependency::name(name)), "{name}");
            assert!(entry.may_offer(&Dependency::name(name)), "{name}");
        }
        for other in ["ncursesw", "ncurses-", "binary(ncurses)", "readline"] {
            assert!(!entry.may_offer(&other.parse().unwrap()), "{other}");
        }
        assert_eq!(entry.promised_packages(), ["ncurses"]);
    }

    #[test]
    fn a_manifest_promises_for_its_own_release_only() {
        let mut entry = recipe("zlib", &[]);
        entry.manifest = Some(ManifestEntry {
            release: 1,
            packages: ["zlib", "zlib-devel", "zlib-dbginfo"].map(String::from).into(),
            provides: ["pkgconfig(zlib)".parse().unwrap()].into(),
            depends: BTreeSet::new(),
        });
        assert_eq!(entry.promised_packages(), ["zlib", "zlib-devel"]);
        assert!(entry.offers().contains(&"pkgconfig(zlib)".parse().unwrap()));
        entry.release = 2;
        assert_eq!(entry.promised_packages(), ["zlib"], "the next release may yield other packages");
        assert!(
            entry.offers().contains(&"pkgconfig(zlib)".parse().unwrap()),
            "but most likely offers the same"
        );
    }

    #[test]
    fn the_second_recipe_of_one_name_is_set_aside_by_name() {
        let first = recipe("zlib", &[]);
        let second = RecipeEntry { path: "zz/zlib/stone.yaml".into(), ..first.clone() };
        let catalogue = Catalogue::new(vec![second, first.clone()], Vec::new());
        assert_eq!(catalogue.recipes(), [Arc::new(first.clone())]);
        assert_eq!(catalogue.unreadable()[0].path, "zz/zlib/stone.yaml");
        assert!(catalogue.unreadable()[0].message.contains(&first.path));
    }
}
