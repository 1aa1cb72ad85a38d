//! Projects as a seed file in the form of AerynOS declares them.
//!
//! | there | here |
//! |---|---|
//! | `[[project]] slug` with one `[[project.repository]]` | a project of that name |
//! | … with several repositories | a project for each, called `SLUG-REPOSITORY` |
//! | `[[project.repository]] uri`, `branch` | `recipes`, `branch` (`main` without one) |
//! | `[[project.profile]] arch` | one of `architectures` |
//! | `[[project.profile]] index.channel` | `channel` (`main` with an `index.uri`); where it lies, `[vessel]` says |
//! | `[[project.profile.remote]]` | a `[[project.repository]]`, by rising `priority`; the own channel stands above all |
//! | `name`, `summary` | for people; nothing else reads them |
//!
//! Profiles of one project that publish to different channels, or build against different remotes, make projects of
//! their own, called `SLUG-PROFILE`. A seed only adds: where the configuration has a project of the same name, that one
//! counts. Keys that the form does not know are refused with their line.

use std::collections::{BTreeMap, HashSet};

use farm::schedule::Priority;
use serde::Deserialize;

use super::project::{self, Project, RepositoryConfig};

/// Remotes of one profile. Their priorities stay below that of the project's own channel.
const REMOTES_MAX: usize = 99;

/// Why a seed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// It is not in the form that is known.
    #[error("cannot understand it")]
    Syntax(#[source] toml::de::Error),
    /// A value that cannot be.
    #[error("{what}")]
    Value {
        /// The project, and what is wrong.
        what: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seed {
    #[serde(default, rename = "project")]
    projects: Vec<SeedProject>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedProject {
    #[expect(dead_code, reason = "for people; known so that it is not refused")]
    name: String,
    slug: String,
    #[serde(default)]
    #[expect(dead_code, reason = "for people; known so that it is not refused")]
    summary: String,
    #[serde(default, rename = "profile")]
    profiles: Vec<SeedProfile>,
    #[serde(default, rename = "repository")]
    repositories: Vec<SeedRepository>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedProfile {
    name: String,
    arch: String,
    index: SeedIndex,
    #[serde(default, rename = "remote")]
    remotes: Vec<SeedRemote>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedRemote {
    name: String,
    index: SeedIndex,
    #[serde(default)]
    priority: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedIndex {
    uri: Option<String>,
    base_uri: Option<String>,
    channel: Option<String>,
    version: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedRepository {
    name: String,
    #[serde(default)]
    #[expect(dead_code, reason = "for people; known so that it is not refused")]
    summary: String,
    uri: String,
    branch: Option<String>,
}

/// The projects of a seed.
///
/// # Errors
/// When it is not in the known form, with the line; when a value cannot be, with the project.
pub(crate) fn projects(text: &str) -> Result<Vec<Project>, SeedError> {
    let seed: Seed = toml::from_str(text).map_err(SeedError::Syntax)?;
    let mut projects = Vec::new();
    let mut slugs = HashSet::new();
    for project in &seed.projects {
        if !slugs.insert(&project.slug) {
            return Err(SeedError::Value { what: format!("there are two projects {:?}", project.slug) });
        }
        projects.extend(
            projects_of(project)
                .map_err(|what| SeedError::Value { what: format!("project {:?}: {what}", project.slug) })?,
        );
    }
    for project in &projects {
        if let Some(what) = project.problem() {
            return Err(SeedError::Value { what });
        }
    }
    Ok(projects)
}

/// What a group of profiles has in common: the channel, and what is built against.
type Ground = (String, Vec<RepositoryConfig>);

fn projects_of(seed: &SeedProject) -> Result<Vec<Project>, String> {
    unique("repositories", seed.repositories.iter().map(|repository| &repository.name))?;
    unique("repositories with the address", seed.repositories.iter().map(|repository| &repository.uri))?;
    unique("profiles", seed.profiles.iter().map(|profile| &profile.name))?;
    let mut groups: Vec<(Ground, Vec<&SeedProfile>)> = Vec::new();
    for profile in &seed.profiles {
        let wrong = |what: String| format!("profile {:?}: {what}", profile.name);
        let channel = profile.index.channel_published_to().map_err(wrong)?;
        let remotes = remotes_of(profile, &channel).map_err(wrong)?;
        let ground = (channel, remotes);
        match groups.iter_mut().find(|(known, _)| *known == ground) {
            Some((_, profiles)) => profiles.push(profile),
            None => groups.push((ground, vec![profile])),
        }
    }
    let mut projects = Vec::new();
    for repository in &seed.repositories {
        for ((channel, remotes), profiles) in &groups {
            let mut name = seed.slug.clone();
            if seed.repositories.len() > 1 {
                name = format!("{name}-{}", name_of(&repository.name));
            }
            if let (true, Some(first)) = (groups.len() > 1, profiles.first()) {
                name = format!("{name}-{}", name_of(&first.name));
            }
            let mut architectures: Vec<String> = Vec::new();
            for profile in profiles {
                if !architectures.contains(&profile.arch) {
                    architectures.push(profile.arch.clone());
                }
            }
            projects.push(Project {
                name,
                recipes: repository.uri.clone(),
                branch: repository.branch.clone().unwrap_or_else(project::default_branch),
                architectures,
                channel: channel.clone(),
                host_provides: farm::graph::HostProvides::default(),
                rounds_max: project::default_rounds_max(),
                priority: Priority::default(),
                repositories: remotes.clone(),
                requirements: Vec::new(),
                wake_up_secret_file: None,
            });
        }
    }
    Ok(projects)
}

/// The remotes by rising priority: the places that builds know are numbered anew, as AerynOS does.
fn remotes_of(profile: &SeedProfile, channel: &str) -> Result<Vec<RepositoryConfig>, String> {
    if profile.remotes.len() > REMOTES_MAX {
        return Err(format!("it has more than {REMOTES_MAX} remotes"));
    }
    unique("remotes", profile.remotes.iter().map(|remote| &remote.name))?;
    let mut remotes: Vec<&SeedRemote> = profile.remotes.iter().collect();
    remotes.sort_by_key(|remote| remote.priority);
    let place = |(priority, remote): (i32, &SeedRemote)| {
        let index = &remote.index;
        index.check().map_err(|what| format!("remote {:?}: {what}", remote.name))?;
        let name = name_of(&remote.name);
        Ok(RepositoryConfig {
            // The own channel is a repository of its name.
            id: if name == channel { format!("{name}-remote") } else { name },
            index_uri: index.uri.clone(),
            base_uri: index.base_uri.clone(),
            channel: index.channel.clone().unwrap_or_else(project::default_channel),
            version: index.version.clone().unwrap_or_else(project::default_version),
            priority,
            bootstrap: false,
        })
    };
    (0..).zip(remotes).map(place).collect()
}

impl SeedIndex {
    fn check(&self) -> Result<(), String> {
        match (&self.uri, &self.base_uri, &self.channel, &self.version) {
            (Some(_), None, None, None) | (None, Some(_), _, _) => Ok(()),
            _ => Err("index needs either uri, or base_uri and perhaps channel and version".into()),
        }
    }

    fn channel_published_to(&self) -> Result<String, String> {
        self.check()?;
        Ok(self.channel.clone().unwrap_or_else(project::default_channel))
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen: BTreeMap<&String, ()> = BTreeMap::new();
    for name in names {
        if seen.insert(name, ()).is_some() {
            return Err(format!("there are two {what} {name:?}"));
        }
    }
    Ok(())
}

/// A free name as a part of a path.
fn name_of(free: &str) -> String {
    let fit = |letter: char| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.') => letter,
        _ => '-',
    };
    free.chars().map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{example, keys, keys_at};

    /// A distribution with one repository of recipes, and a second architecture in the making.
    const SEED: &str = r#"
        [[project]]
        name = "Example OS"
        slug = "example-os"
        summary = "A distribution"

        [[project.profile]]
        name = "mainline"
        arch = "x86_64"
        index = { base_uri = "https://packages.example.org/", channel = "unstable", version = "stream/volatile" }

        [[project.profile.remote]]
        name = "Old repository"
        index = { uri = "https://old.example.org/x86_64/stone.index" }
        priority = 50

        [[project.profile.remote]]
        name = "unstable"
        index = { base_uri = "https://cdn.example.org", version = "tag/2026-01" }
        priority = 10

        [[project.repository]]
        name = "recipes"
        summary = "All recipes"
        uri = "https://git.example.org/recipes"
    "#;

    fn check(text: &str) -> Result<Vec<Project>, String> {
        projects(text).map_err(|error| fault::chain(&error).join(": "))
    }

    #[test]
    fn the_example_has_every_key_and_can_be_used() {
        let (_, text) = example("seed.toml");
        let table: toml::Table = toml::from_str(&text).unwrap();
        for (path, known) in [
            (&[][..], keys::<Seed>()),
            (&["project"], keys::<SeedProject>()),
            (&["project", "profile"], keys::<SeedProfile>()),
            (&["project", "profile", "remote"], keys::<SeedRemote>()),
            (&["project", "profile", "remote", "index"], keys::<SeedIndex>()),
            (&["project", "repository"], keys::<SeedRepository>()),
        ] {
            assert_eq!(keys_at(&table, path), known, "{path:?}");
        }
        let projects = check(&text).unwrap();
        let [project] = &projects[..] else { panic!("{projects:?}") };
        assert_eq!(
            (project.name.as_str(), project.branch.as_str(), project.channel.as_str()),
            ("harbour", "trunk", "unstable")
        );
        let places: Vec<_> = project.repositories.iter().map(|place| place.id.as_str()).collect();
        assert_eq!(places, ["mainland", "drivers"], "by rising priority");
    }

    #[test]
    fn a_project_with_its_profile_and_repository() {
        let projects = check(SEED).unwrap();
        let [project] = &projects[..] else { panic!("{projects:?}") };
        assert_eq!((project.name.as_str(), project.channel.as_str()), ("example-os", "unstable"));
        assert_eq!(project.recipes, "https://git.example.org/recipes");
        assert_eq!(
            (project.branch.as_str(), &project.architectures[..]),
            ("main", &["x86_64".to_owned()][..])
        );
        let places: Vec<_> = project
            .repositories
            .iter()
            .map(|place| {
                (place.id.as_str(), place.priority, place.version.as_str(), place.index_uri.is_some())
            })
            .collect();
        assert_eq!(
            places,
            [("unstable-remote", 0, "tag/2026-01", false), ("old-repository", 1, "stream/volatile", true)],
            "by rising priority, and none called like the channel"
        );
    }

    #[test]
    fn several_repositories_profiles_and_architectures() {
        let more = format!(
            "{SEED}
            [[project.profile]]
            name = 'Next'
            arch = 'x86_64'
            index = {{ base_uri = 'https://packages.example.org', channel = 'next' }}
            [[project.profile]]
            name = 'next-arm'
            arch = 'aarch64'
            index = {{ base_uri = 'https://packages.example.org', channel = 'next' }}
            [[project.repository]]
            name = 'Non free'
            uri = 'https://git.example.org/non-free'
            branch = 'trunk'"
        );
        let found: Vec<_> = check(&more)
            .unwrap()
            .into_iter()
            .map(|project| (project.name, project.branch, project.channel, project.architectures.join(" ")))
            .collect();
        let row = |name: &str, branch: &str, channel: &str, architectures: &str| {
            (name.to_owned(), branch.to_owned(), channel.to_owned(), architectures.to_owned())
        };
        assert_eq!(
            found,
            [
                row("example-os-recipes-mainline", "main", "unstable", "x86_64"),
                row("example-os-recipes-next", "main", "next", "x86_64 aarch64"),
                row("example-os-non-free-mainline", "trunk", "unstable", "x86_64"),
                row("example-os-non-free-next", "trunk", "next", "x86_64 aarch64"),
            ]
        );
        assert_eq!(check("").unwrap(), []);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expect) in [
            (SEED.replace("summary = \"A dis", "sumary = \"A dis"), "unknown field `sumary`"),
            (SEED.replace("summary = \"A dis", "sumary = \"A dis"), "line 5"),
            (SEED.replace("uri = \"https://old", "ury = \"https://old"), "unknown field `ury`"),
            (SEED.replace("slug = \"example-os\"", ""), "missing field `slug`"),
            (SEED.replace("\"example-os\"", "\"Example OS\""), "project name \"Example OS\""),
            (
                SEED.replace("base_uri = \"https://packages", "uri = \"https://packages"),
                "either uri, or base_uri",
            ),
            (SEED.replace("arch = \"x86_64\"", "arch = \"../x\""), "architecture \"../x\""),
            (SEED.replace("channel = \"unstable\"", "channel = \"a/b\""), "channel"),
            (SEED.replace("uri = \"https://git.", "uri = \"-https://git."), "no git address"),
            (format!("{SEED}{SEED}"), "two projects \"example-os\""),
            (
                format!("{SEED}\n[[project.repository]]\nname = 'recipes'\nuri = 'x'"),
                "two repositories \"recipes\"",
            ),
        ] {
            let message = check(&text).unwrap_err();
            assert!(message.contains(expect), "{message}");
        }
    }
}
