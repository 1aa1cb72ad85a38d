//! Which recipes need a build, and why.

use serde::{Deserialize, Serialize};

use crate::catalogue::Catalogue;
use crate::published::Published;

/// Why a recipe needs a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// Nothing of it has been published.
    New,
    /// An older release has been published.
    NewerRelease {
        /// The published release.
        from: u64,
        /// The release of the recipe.
        to: u64,
    },
    /// Its release has been published without a package that its manifest promises.
    NewSubPackage {
        /// The package that is not there.
        package: String,
    },
}

impl std::fmt::Display for Reason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::New => formatter.write_str("first build"),
            Reason::NewerRelease { from, to } => write!(formatter, "release {to} replaces release {from}"),
            Reason::NewSubPackage { package } => {
                write!(formatter, "package {package} has not been published yet")
            }
        }
    }
}

/// A recipe that needs a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Index of the recipe in the catalogue.
    pub recipe: usize,
    /// Why.
    pub reason: Reason,
    /// Build release that the new packages must carry to replace the published ones.
    pub build_release: u64,
}

/// A recipe whose version changed while its release did not: nothing will be built, and that may be a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbumped {
    /// Index of the recipe in the catalogue.
    pub recipe: usize,
    /// The published version.
    pub published_version: String,
}

/// What the repository lacks, in the order of the catalogue.
#[must_use]
pub fn missing(catalogue: &Catalogue, published: &Published) -> Vec<Missing> {
    let mut all = Vec::new();
    for (recipe, entry) in catalogue.recipes().iter().enumerate() {
        let (reason, build_release) = match published.source(&entry.source) {
            None => (Reason::New, 1),
            Some(known) if known.release < entry.release => {
                (Reason::NewerRelease { from: known.release, to: entry.release }, 1)
            }
            Some(known) if known.release == entry.release => {
                let absent = entry.promised_packages().into_iter().find(|name| {
                    // A package of this name may have moved here from another source.
                    published.package(name).is_none_or(|package| package.source != entry.source)
                });
                let has_manifest = entry.manifest.is_some();
                match absent {
                    Some(package) if has_manifest => (
                        Reason::NewSubPackage { package: package.to_owned() },
                        known.build_release.saturating_add(1),
                    ),
                    _ => continue,
                }
            }
            // The repository is ahead of the recipe: publishing backwards is an operator's decision.
            Some(_) => continue,
        };
        all.push(Missing { recipe, reason, build_release });
    }
    all
}

/// Recipes whose version differs from the published one at the same release.
#[must_use]
pub fn unbumped(catalogue: &Catalogue, published: &Published) -> Vec<Unbumped> {
    let mut all = Vec::new();
    for (recipe, entry) in catalogue.recipes().iter().enumerate() {
        if let Some(known) = published.source(&entry.source)
            && known.release == entry.release
            && known.version != entry.version
        {
            all.push(Unbumped { recipe, published_version: known.version.clone() });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::recipe;
    use crate::catalogue::{ManifestEntry, RecipeEntry};
    use crate::published::tests::package;

    fn zlib(release: u64, manifest: Option<&[&str]>) -> RecipeEntry {
        let manifest = manifest.map(|packages| ManifestEntry {
            release,
            packages: packages.iter().map(|&name| name.to_owned()).collect(),
            ..ManifestEntry::default()
        });
        RecipeEntry { release, manifest, ..recipe("zlib", &[]) }
    }

    #[test]
    fn reasons() {
        type Row = (RecipeEntry, Option<u64>, Option<(Reason, u64)>);
        let table: [Row; 7] = [
            (zlib(2, None), None, Some((Reason::New, 1))),
            (zlib(2, None), Some(1), Some((Reason::NewerRelease { from: 1, to: 2 }, 1))),
            (zlib(2, None), Some(2), None),
            (zlib(2, None), Some(3), None),
            (zlib(2, Some(&["zlib"])), Some(2), None),
            (zlib(2, Some(&["zlib", "zlib-dbginfo"])), Some(2), None),
            (
                zlib(2, Some(&["zlib", "zlib-devel"])),
                Some(2),
                Some((Reason::NewSubPackage { package: "zlib-devel".into() }, 2)),
            ),
        ];
        for (entry, release, expect) in table {
            let published = Published::new(release.map(|release| package("zlib", "zlib", release, &[])));
            let catalogue = Catalogue::new(vec![entry.clone()], Vec::new());
            let found =
                missing(&catalogue, &published).into_iter().map(|found| (found.reason, found.build_release));
            assert_eq!(found.collect::<Vec<_>>(), Vec::from_iter(expect), "{entry:?} over {release:?}");
        }
    }

    #[test]
    fn a_new_version_without_a_new_release_is_pointed_out() {
        let entry = RecipeEntry { version: "1.1".into(), ..recipe("zlib", &[]) };
        let catalogue = Catalogue::new(vec![entry], Vec::new());
        let published = Published::new([package("zlib", "zlib", 1, &[])]);
        assert!(missing(&catalogue, &published).is_empty());
        assert_eq!(unbumped(&catalogue, &published)[0].published_version, "1.0");
    }
}
