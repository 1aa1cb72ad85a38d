//! What is built: a project, what its recipes ask of a builder, and where build dependencies come from.

use std::collections::{BTreeSet, HashSet};

use farm::graph::HostProvides;
use farm::schedule::{Priority, Trust};
use serde::{Deserialize, Serialize};

use super::VesselConfig;
use super::size::ByteSize;
use crate::repository_state::PUBLISHED_VERSION;

/// Longest name of a project: it is part of names of folders and addresses.
const NAME_SIZE_BYTES_MAX: usize = 64;

/// Rounds of a knot that anybody may ask for. Output that has not settled by then never does.
const ROUNDS_MAX: u32 = 20;

/// What is built: a branch of a recipe repository, for some architectures, into a channel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Its name: lower-case letters, digits, `-`, `_` and `.`; no two projects have the same.
    pub name: String,
    /// Address of the git repository with the recipes, as builders see it too.
    pub recipes: String,
    /// The branch.
    #[serde(default = "default_branch")]
    pub branch: String,
    /// The architectures.
    #[serde(default = "default_architectures")]
    pub architectures: Vec<String>,
    /// The channel that is published to.
    #[serde(default = "default_channel")]
    pub channel: String,
    /// What the builders' own systems offer to builds.
    #[serde(default)]
    pub host_provides: HostProvides,
    /// How often recipes that need each other are built at most until their output settles.
    #[serde(default = "default_rounds_max")]
    pub rounds_max: u32,
    /// How urgent its builds are beside those of other projects.
    #[serde(default)]
    pub priority: Priority,
    /// Where build dependencies come from besides its own channel.
    #[serde(default, rename = "repository")]
    pub repositories: Vec<RepositoryConfig>,
    /// What some recipes ask of a builder.
    #[serde(default, rename = "requirement")]
    pub requirements: Vec<Requirement>,
    /// The file with the secret that a forge shows when it wakes Summit up; no forge may unless there is one.
    #[serde(default)]
    pub wake_up_secret_file: Option<std::path::PathBuf>,
}

/// One more place for build dependencies: an index, or a versioned repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryConfig {
    /// Its name; not that of the project's channel.
    pub id: String,
    /// Address of a `stone.index`.
    pub index_uri: Option<String>,
    /// Base address of a versioned repository.
    pub base_uri: Option<String>,
    /// Its channel.
    #[serde(default = "default_channel")]
    pub channel: String,
    /// `stream/NAME`, `tag/NAME` or `history/ID`.
    #[serde(default = "default_version")]
    pub version: String,
    /// The higher wins. Our own channel has 100.
    #[serde(default)]
    pub priority: i32,
    /// Whether it only serves as the first generation of recipes that need each other: a build sees it as long as its
    /// recipe lies in such a knot that was never published whole.
    #[serde(default)]
    pub bootstrap: bool,
}

impl RepositoryConfig {
    /// Whether it is the newest state of this channel of our own Vessel, which another project may publish to.
    #[must_use]
    pub fn is_channel(&self, vessel: &VesselConfig, channel: &str) -> bool {
        let is_ours = |uri: &String| uri.trim_end_matches('/') == vessel.public_url.trim_end_matches('/');
        self.base_uri.as_ref().is_some_and(is_ours)
            && self.channel == channel
            && self.version == PUBLISHED_VERSION
    }
}

/// What some recipes ask of a builder. Where several name a recipe, each adds to it; the last one that states a
/// priority decides that.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Source names; `*` stands for any text and `?` for one character.
    pub recipes: Vec<String>,
    /// What the builder must have.
    #[serde(default)]
    pub features: BTreeSet<String>,
    /// Memory that must be free.
    #[serde(default)]
    pub memory: ByteSize,
    /// Disk that must be free.
    #[serde(default)]
    pub disk: ByteSize,
    /// Who may build it.
    #[serde(default)]
    pub trust: Trust,
    /// How urgent it is; the project says so for the others.
    #[serde(default)]
    pub priority: Option<Priority>,
    /// How large a builder should be. Where no attached one is so large, the largest is.
    #[serde(default)]
    pub size: BuilderSize,
}

/// How large a builder is, beside the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuilderSize {
    /// As any.
    #[default]
    Small,
    /// Larger.
    Medium,
    /// Largest.
    Large,
}

/// What one recipe asks of a builder, all requirements together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// What the builder must have.
    pub features: BTreeSet<String>,
    /// Memory that must be free.
    pub memory_bytes: u64,
    /// Disk that must be free.
    pub disk_bytes: u64,
    /// Who may build it.
    pub trust: Trust,
    /// How urgent it is.
    pub priority: Priority,
    /// How large the builder should be.
    pub size: BuilderSize,
}

impl BuilderSize {
    /// Its name in messages, files and the database.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            BuilderSize::Small => "small",
            BuilderSize::Medium => "medium",
            BuilderSize::Large => "large",
        }
    }

    /// The size of this name.
    #[must_use]
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        let all = [BuilderSize::Small, BuilderSize::Medium, BuilderSize::Large];
        all.into_iter().find(|size| size.keyword() == keyword)
    }

    /// The feature that stands for it; as any builder is, none.
    #[must_use]
    pub(crate) fn feature(self) -> Option<String> {
        match self {
            BuilderSize::Small => None,
            BuilderSize::Medium => Some("size:medium".into()),
            BuilderSize::Large => Some("size:large".into()),
        }
    }

    /// The size of a builder with these features.
    pub(crate) fn of(features: &BTreeSet<String>) -> Self {
        let all = [BuilderSize::Large, BuilderSize::Medium];
        let has = |size: &BuilderSize| size.feature().is_some_and(|feature| features.contains(&feature));
        all.into_iter().find(has).unwrap_or_default()
    }

    /// The features of a builder of this size: what it can do, and what smaller ones can.
    pub(crate) fn and_smaller(self) -> impl Iterator<Item = String> {
        [BuilderSize::Medium, BuilderSize::Large]
            .into_iter()
            .filter(move |size| *size <= self)
            .filter_map(Self::feature)
    }
}

pub(super) fn default_branch() -> String {
    "main".into()
}

fn default_architectures() -> Vec<String> {
    vec!["x86_64".into()]
}

pub(super) fn default_channel() -> String {
    "main".into()
}

pub(super) fn default_version() -> String {
    "stream/volatile".into()
}

pub(super) fn default_rounds_max() -> u32 {
    3
}

impl Project {
    /// What is wrong beyond the syntax.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self.wake_up_secret_file.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Some(format!("project {} needs an absolute wake_up_secret_file", self.name));
        }
        let name = &self.name;
        if !is_name(name) {
            return Some(format!(
                "the project name {name:?} cannot be used: up to {NAME_SIZE_BYTES_MAX} lower-case letters, digits, \
                 `-`, `_` and `.` are, the first one a letter or digit"
            ));
        }
        let wrong = |what: String| Some(format!("project {name}: {what}"));
        if self.branch.is_empty() || self.branch.starts_with('-') {
            return wrong(format!("branch {:?} is no branch", self.branch));
        }
        // Builders are told the same address, and fetch from it in folders of their own.
        if let Err(why) = fetch::check_git_address(&self.recipes) {
            return wrong(format!(
                "recipes {:?} is no git address that builders can use: {why}",
                self.recipes
            ));
        }
        if let Err(error) = self.channel.parse::<repository::Identifier>() {
            return wrong(format!("channel: {error}"));
        }
        if self.architectures.is_empty() {
            return wrong("it has no architecture".into());
        }
        let mut seen = HashSet::new();
        for architecture in &self.architectures {
            if package::check_component(architecture).is_err() || !seen.insert(architecture) {
                return wrong(format!("architecture {architecture:?} is none, or named twice"));
            }
        }
        if self.rounds_max == 0 || self.rounds_max > ROUNDS_MAX {
            return wrong(format!("rounds_max must be 1 to {ROUNDS_MAX}"));
        }
        self.problem_of_repositories().or_else(|| self.problem_of_requirements()).and_then(wrong)
    }

    fn problem_of_repositories(&self) -> Option<String> {
        let mut ids = HashSet::new();
        for place in &self.repositories {
            let id = &place.id;
            if place.index_uri.is_some() == place.base_uri.is_some() {
                return Some(format!("repository {id:?} needs either index_uri or base_uri"));
            }
            if package::check_component(id).is_err() {
                return Some(format!("repository {id:?} cannot be called so"));
            }
            if *id == self.channel {
                return Some(format!("repository {id:?} is called like the channel that is published to"));
            }
            if !ids.insert(id) {
                return Some(format!("there are two repositories {id:?}"));
            }
            if place.base_uri.is_some() {
                if let Err(error) = place.channel.parse::<repository::Identifier>() {
                    return Some(format!("repository {id:?}: channel: {error}"));
                }
                if let Err(error) = place.version.parse::<repository::Version>() {
                    return Some(format!("repository {id:?}: version: {error}"));
                }
            }
        }
        None
    }

    fn problem_of_requirements(&self) -> Option<String> {
        self.requirements
            .iter()
            .any(|requirement| requirement.recipes.is_empty())
            .then(|| "a requirement names no recipes".into())
    }

    /// What the recipe of this source asks of a builder.
    #[must_use]
    pub fn wishes(&self, source: &str) -> Wishes {
        let mut wishes = Wishes { priority: self.priority, ..Wishes::default() };
        for requirement in &self.requirements {
            if !requirement.recipes.iter().any(|pattern| matches(pattern, source)) {
                continue;
            }
            wishes.features.extend(requirement.features.iter().cloned());
            wishes.memory_bytes = wishes.memory_bytes.max(requirement.memory.0);
            wishes.disk_bytes = wishes.disk_bytes.max(requirement.disk.0);
            wishes.trust = wishes.trust.max(requirement.trust);
            wishes.priority = requirement.priority.unwrap_or(wishes.priority);
            wishes.size = wishes.size.max(requirement.size);
        }
        wishes
    }

    /// Whether its recipes have to be read anew to become as `other` says.
    #[must_use]
    pub(crate) fn reads_as(&self, other: &Self) -> bool {
        let what = |project: &Self| {
            (
                project.recipes.clone(),
                project.branch.clone(),
                project.architectures.clone(),
                project.channel.clone(),
                project.host_provides,
                project.repositories.clone(),
            )
        };
        what(self) == what(other)
    }
}

/// Whether `name` can be a part of a path and of an address.
pub(super) fn is_name(name: &str) -> bool {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    let begins_well =
        name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    name.len() <= NAME_SIZE_BYTES_MAX && begins_well && name.bytes().all(fits)
}

/// Whether `text` is as `pattern` says. Takes at most as many steps as the product of their lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut place) = (0, 0);
    // Where the last star was, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == text[place] => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                (at, place) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern.iter().skip(at).all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expect) in [
            ("llvm", "llvm", true),
            ("llvm", "llvm-18", false),
            ("qt6-*", "qt6-base", true),
            ("qt6-*", "qt6-", true),
            ("qt6-*", "qt6", false),
            ("*", "", true),
            ("*-devel", "a-b-devel", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("p?thon", "python", true),
            ("p?thon", "pthon", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), expect, "{pattern} {text}");
        }
    }

    #[test]
    fn requirements_add_up_and_the_last_priority_counts() {
        let project: Project = toml::from_str(
            "name = 'x'
            recipes = '/y'
            priority = 'low'
            [[requirement]]
            recipes = ['qt6-*', 'llvm']
            features = ['kvm']
            memory = '16G'
            disk = '100G'
            priority = 'high'
            [[requirement]]
            recipes = ['qt6-webengine']
            features = ['fast-disk']
            memory = '8G'
            trust = 'official'
            size = 'large'
            [[requirement]]
            recipes = ['*-webengine']
            priority = 'urgent'",
        )
        .unwrap();
        let wishes = project.wishes("qt6-webengine");
        assert_eq!(wishes.features, ["kvm".to_owned(), "fast-disk".to_owned()].into());
        assert_eq!((wishes.memory_bytes, wishes.disk_bytes), (16 << 30, 100 << 30));
        assert_eq!(
            (wishes.trust, wishes.priority, wishes.size),
            (Trust::Official, Priority::Urgent, BuilderSize::Large)
        );
        assert_eq!(project.wishes("llvm").priority, Priority::High);
        assert_eq!(project.wishes("nano"), Wishes { priority: Priority::Low, ..Wishes::default() });
    }

    #[test]
    fn a_larger_builder_does_what_a_smaller_one_does() {
        let features = |size: BuilderSize| size.and_smaller().collect::<Vec<_>>();
        assert!(features(BuilderSize::Small).is_empty());
        assert_eq!(features(BuilderSize::Medium), ["size:medium"]);
        assert_eq!(features(BuilderSize::Large), ["size:medium", "size:large"]);
        for size in [BuilderSize::Small, BuilderSize::Medium, BuilderSize::Large] {
            assert_eq!(BuilderSize::of(&size.and_smaller().collect()), size);
        }
    }

    #[test]
    fn names_are_parts_of_paths() {
        for (name, expect) in [
            ("aerynos", true),
            ("aerynos-main_2.x", true),
            ("", false),
            (".", false),
            ("..", false),
            (".hidden", false),
            ("-x", false),
            ("a/b", false),
            ("Main", false),
            ("ä", false),
        ] {
            assert_eq!(is_name(name), expect, "{name}");
        }
        assert!(!is_name(&"x".repeat(65)));
    }
}
