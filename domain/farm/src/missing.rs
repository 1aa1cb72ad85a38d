//! Which recipes need a build, and why.
//!
//! A recipe is compared with what is published of its source. Besides, a rebuild can be asked for: not as a task, which
//! may fail, be cancelled or be replaced, but as a wish for "at least build release N", which holds until the repository
//! has that or something newer, however often it is looked at.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, RecipeEntry};
use crate::published::{Published, PublishedSource};

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
    /// Its release has been published in another version: somebody forgot to raise the release.
    NewVersion {
        /// The published version.
        from: String,
        /// The version of the recipe.
        to: String,
    },
    /// Its release has been published without a package that its manifest promises.
    NewSubPackage {
        /// The package that is not there.
        package: String,
    },
    /// Somebody asked for it.
    Rebuild {
        /// In their words.
        why: String,
    },
    /// Others of its knot changed after it was built.
    Round {
        /// Which build of the wave it is: 2 for the first one that is built again.
        round: u32,
        /// Source names of those that changed.
        because: Vec<String>,
    },
}

/// Why a build is wished for that the recipe does not ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "kebab-case")]
pub enum Wish {
    /// Somebody asked for it.
    Rebuild {
        /// In their words.
        why: String,
    },
    /// Others of its knot changed after it was built.
    Round {
        /// Which build of the wave it is: 2 for the first one that is built again.
        round: u32,
        /// Source names of those that changed.
        because: Vec<String>,
    },
}

impl From<&Wish> for Reason {
    fn from(wish: &Wish) -> Self {
        match wish.clone() {
            Wish::Rebuild { why } => Reason::Rebuild { why },
            Wish::Round { round, because } => Reason::Round { round, because },
        }
    }
}

/// A source is to be built again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The release of the recipe when it was wished for. A newer release of the recipe fulfils the wish as well.
    pub release: u64,
    /// The build release that the repository must have of that release at least.
    pub build_release: u64,
    /// Why.
    pub why: Wish,
}

impl Wanted {
    /// Whether the repository has what was wished for.
    #[must_use]
    pub fn is_fulfilled(&self, published: Option<&PublishedSource>) -> bool {
        published
            .is_some_and(|known| (known.release, known.build_release) >= (self.release, self.build_release))
    }
}

/// The build release that a rebuild of `release` must have to replace what is published of its source, and to be another
/// than that of the newest task for it (as release and build release).
#[must_use]
pub fn next_build_release(
    release: u64,
    published: Option<&PublishedSource>,
    newest_task: Option<(u64, u64)>,
) -> u64 {
    let published = published.map(|known| (known.release, known.build_release));
    let taken = published.into_iter().chain(newest_task).filter(|(known, _)| *known == release);
    taken.map(|(_, build_release)| build_release).max().unwrap_or(0).saturating_add(1)
}

impl std::fmt::Display for Reason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::New => formatter.write_str("first build"),
            Reason::NewerRelease { from, to } => write!(formatter, "release {to} replaces release {from}"),
            Reason::NewVersion { from, to } => write!(formatter, "version {to} replaces version {from}"),
            Reason::NewSubPackage { package } => {
                write!(formatter, "package {package} has not been published yet")
            }
            Reason::Rebuild { why } => write!(formatter, "rebuild: {why}"),
            Reason::Round { round, because } => {
                write!(formatter, "round {round}: {} changed", because.join(", "))
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

/// A recipe whose version changed while its release did not. It is built, and the release may have been forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbumped {
    /// Index of the recipe in the catalogue.
    pub recipe: usize,
    /// The published version.
    pub published_version: String,
}

/// What the repository lacks, in the order of the catalogue. `wanted` is by source name; fulfilled wishes may stay in it.
#[must_use]
pub fn missing(
    catalogue: &Catalogue,
    published: &Published,
    wanted: &HashMap<String, Wanted>,
) -> Vec<Missing> {
    let recipes = catalogue.recipes().iter().enumerate();
    let lacks = recipes.filter_map(|(recipe, entry)| {
        let (reason, build_release) = lacking(entry, published, wanted.get(&entry.source))?;
        Some(Missing { recipe, reason, build_release })
    });
    lacks.collect()
}

fn lacking(entry: &RecipeEntry, published: &Published, wanted: Option<&Wanted>) -> Option<(Reason, u64)> {
    // The first build of a release comes first, also where it was wished for to be built again: it may be under way.
    let Some(known) = published.source(&entry.source) else { return Some((Reason::New, 1)) };
    if known.release < entry.release {
        return Some((Reason::NewerRelease { from: known.release, to: entry.release }, 1));
    }
    if known.release > entry.release {
        // The repository is ahead of the recipe: publishing backwards is an operator's decision.
        return None;
    }
    let wanted = wanted.filter(|wanted| wanted.release == entry.release && !wanted.is_fulfilled(Some(known)));
    let absent = entry.promised_packages().into_iter().find(|name| {
        // A package of this name may have moved here from another source.
        published.package(name).is_none_or(|package| package.source != entry.source)
    });
    let next = known.build_release.saturating_add(1);
    if is_another_version(&entry.version, &known.version) {
        let build_release = wanted.map_or(next, |wanted| wanted.build_release.max(next));
        let (from, to) = (known.version.clone(), entry.version.clone());
        return Some((Reason::NewVersion { from, to }, build_release));
    }
    match (absent, wanted) {
        (Some(package), wanted) if entry.manifest.is_some() => {
            let build_release = wanted.map_or(next, |wanted| wanted.build_release.max(next));
            Some((Reason::NewSubPackage { package: package.to_owned() }, build_release))
        }
        (_, Some(wanted)) => Some((Reason::from(&wanted.why), wanted.build_release)),
        _ => None,
    }
}

/// Whether a version of a recipe is another than the published one. Other tools read a version without quotes as a
/// number, and publish 1.1 for the 1.10 that is written: that is the same.
fn is_another_version(written: &str, published: &str) -> bool {
    let as_number = || written.parse::<f64>().ok().map(|number| number.to_string());
    written != published && as_number().as_deref() != Some(published)
}

/// Recipes whose version differs from the published one at the same release.
#[must_use]
pub fn unbumped(catalogue: &Catalogue, published: &Published) -> Vec<Unbumped> {
    let mut all = Vec::new();
    for (recipe, entry) in catalogue.recipes().iter().enumerate() {
        if let Some(known) = published.source(&entry.source)
            && known.release == entry.release
            && is_another_version(&entry.version, &known.version)
        {
            all.push(Unbumped { recipe, published_version: known.version.clone() });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::ManifestEntry;
    use crate::catalogue::tests::recipe;
    use crate::published::PublishedPackage;
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
            let found = missing(&catalogue, &published, &HashMap::new())
                .into_iter()
                .map(|found| (found.reason, found.build_release));
            assert_eq!(found.collect::<Vec<_>>(), Vec::from_iter(expect), "{entry:?} over {release:?}");
        }
    }

    #[test]
    fn a_new_version_without_a_new_release_is_built_and_pointed_out() {
        for (written, published, is_new) in [
            ("1.1", "1.0", true),
            ("1.0", "1.0", false),
            ("1.10", "1.1", false),
            ("1.1", "1.10", true),
            ("1.0a", "1", true),
        ] {
            let entry = RecipeEntry { version: written.into(), ..recipe("zlib", &[]) };
            let catalogue = Catalogue::new(vec![entry], Vec::new());
            let packages =
                [PublishedPackage { version: published.into(), ..package("zlib", "zlib", 1, &[]) }];
            let published = Published::new(packages);
            let found = missing(&catalogue, &published, &HashMap::new());
            assert_eq!(found.len(), usize::from(is_new), "{written} over {published:?}");
            assert_eq!(unbumped(&catalogue, &published).len(), usize::from(is_new));
            for found in found {
                assert_eq!(found.build_release, 2);
                assert!(found.reason.to_string().starts_with("version "), "{}", found.reason);
            }
        }
    }

    fn wish(release: u64, build_release: u64) -> Wanted {
        Wanted { release, build_release, why: Wish::Rebuild { why: "new compiler".into() } }
    }

    #[test]
    fn a_rebuild_is_missing_until_the_repository_has_it() {
        let rebuild = || Reason::Rebuild { why: "new compiler".into() };
        for (entry_release, published, wanted, expect) in [
            (2, Some((2, 1)), wish(2, 2), Some((rebuild(), 2))),
            (2, Some((2, 2)), wish(2, 2), None),
            (2, Some((2, 5)), wish(2, 2), None),
            // Asked for twice while nothing was built: the number is skipped, not built twice.
            (2, Some((2, 1)), wish(2, 3), Some((rebuild(), 3))),
            // A newer release is a newer build.
            (3, Some((2, 1)), wish(2, 2), Some((Reason::NewerRelease { from: 2, to: 3 }, 1))),
            (3, Some((3, 1)), wish(2, 2), None),
            // Asked for while the first build of the release was under way: that one first.
            (3, Some((2, 1)), wish(3, 2), Some((Reason::NewerRelease { from: 2, to: 3 }, 1))),
            (3, Some((3, 1)), wish(3, 2), Some((rebuild(), 2))),
            (2, None, wish(2, 2), Some((Reason::New, 1))),
            // The recipe was taken back after the wish.
            (1, Some((2, 1)), wish(2, 2), None),
            (1, Some((1, 1)), wish(2, 2), None),
        ] {
            let packages = published.map(|(release, build_release)| PublishedPackage {
                build_release,
                ..package("zlib", "zlib", release, &[])
            });
            let catalogue = Catalogue::new(vec![zlib(entry_release, None)], Vec::new());
            let wanted = HashMap::from([("zlib".to_owned(), wanted), ("other".to_owned(), wish(1, 9))]);
            let published = Published::new(packages);
            let found = missing(&catalogue, &published, &wanted).into_iter();
            let found: Vec<_> = found.map(|found| (found.reason, found.build_release)).collect();
            assert_eq!(found, Vec::from_iter(expect), "{entry_release} over {:?}", published.source("zlib"));
        }
    }

    #[test]
    fn a_new_sub_package_and_a_wish_are_one_build() {
        let catalogue = Catalogue::new(vec![zlib(2, Some(&["zlib", "zlib-devel"]))], Vec::new());
        let published = Published::new([package("zlib", "zlib", 2, &[])]);
        let wanted = HashMap::from([("zlib".to_owned(), wish(2, 4))]);
        let found = missing(&catalogue, &published, &wanted);
        assert_eq!((found.len(), found[0].build_release), (1, 4));
        assert_eq!(found[0].reason, Reason::NewSubPackage { package: "zlib-devel".into() });
    }

    #[test]
    fn a_rebuild_gets_a_number_that_nothing_else_has() {
        let published =
            |release, build_release| PublishedSource { version: "1".into(), release, build_release };
        for (known, task, expect) in [
            (None, None, 1),
            (Some(published(2, 1)), None, 2),
            (Some(published(2, 1)), Some((2, 3)), 4),
            (Some(published(2, 4)), Some((2, 3)), 5),
            (Some(published(1, 7)), Some((1, 8)), 1),
            (Some(published(1, 7)), Some((2, 1)), 2),
        ] {
            assert_eq!(next_build_release(2, known.as_ref(), task), expect, "{known:?} {task:?}");
        }
    }

    #[test]
    fn reasons_survive_storage_and_are_told_to_people() {
        for (reason, text) in [
            (Reason::Rebuild { why: "new compiler".into() }, "rebuild: new compiler"),
            (
                Reason::Round { round: 2, because: vec!["gcc".into(), "glibc".into()] },
                "round 2: gcc, glibc changed",
            ),
        ] {
            assert_eq!(reason.to_string(), text);
            let stored = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&stored).unwrap(), reason);
        }
    }
}
