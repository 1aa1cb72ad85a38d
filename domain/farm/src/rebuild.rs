//! Rebuild plans: what must be built again when a recipe is, in which stages, and what that costs.
//!
//! A plan is a value: it says for every recipe why it is there, for the whole how long a given fleet of builders is
//! busy, and how much everybody downloads afterwards. Nothing is changed by making one. No recipe has to be edited to
//! carry one out: each recipe is built at its present release with the next build release.
//!
//! Who is rebuilt with the named recipes is asked for by [`Dependents`]. A recipe depends on another in this sense when
//! it needs it for its build, or when its packages are linked against it: what is only called at run time, such as a
//! program, is as good with the next version.

mod change;
mod forecast;
mod members;
mod stages;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fault::{Fault, Kind};
use package::Dependency;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, RecipeEntry};
use crate::graph::{Graph, Obstacle};
use crate::ids::RecipeId;
use crate::missing::next_build_release;
use crate::published::{Published, PublishedPackage};

/// Seconds that a build is taken for when nobody knows how long any takes: the mean of a distribution's builds on four
/// cores, where half of all end within a minute.
const UNKNOWN_SECONDS: f64 = 240.0;

/// Characters in which a suggested name differs at most.
const SLIPS_MAX: usize = 2;

/// Characters of names that are compared: more than any name of a recipe has.
const NAME_CHARACTERS_MAX: usize = 64;

/// Names that an error suggests instead of an unknown one.
const SUGGESTIONS_MAX: usize = 3;

/// Which others are built again besides the named recipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dependents {
    /// Those that need a named one themselves.
    Direct,
    /// Those, and whoever needs them, and so on.
    Transitive,
    /// Those that use a soname, pkg-config module or CMake package that goes away.
    Abi,
}

/// What is asked for. The body of a request to Summit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RebuildRequest {
    /// Source names; the name of a package stands for its source.
    #[serde(default)]
    pub names: Vec<String>,
    /// Who is built with them; nobody when this is not given.
    #[serde(default)]
    pub dependents: Option<Dependents>,
    /// Every recipe there is.
    #[serde(default)]
    pub all: bool,
    /// For which architecture; the first one of the project when this is not given.
    #[serde(default)]
    pub architecture: Option<String>,
    /// Whether to carry the plan out.
    #[serde(default)]
    pub apply: bool,
}

/// What a plan is made from.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    /// The recipes.
    pub catalogue: &'a Catalogue,
    /// Who needs whom among them.
    pub graph: &'a Graph,
    /// What is published.
    pub published: &'a Published,
    /// How long a source takes to build on the reference machine; none when nobody knows.
    pub expected: &'a dyn Fn(&str) -> Option<Duration>,
    /// Who builds.
    pub fleet: &'a [FleetMember],
    /// Rounds in which a knot is built at most.
    pub rounds_max: u32,
}

/// A builder, as far as a forecast cares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FleetMember {
    /// Its name.
    pub name: String,
    /// How fast a build on it is; 1.0 is the reference machine.
    pub speed: f64,
    /// Builds at once.
    pub places: u32,
}

/// A rebuild plan. The JSON that `moraine plan rebuild` prints and Summit answers with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RebuildPlan {
    /// What was asked for.
    pub names: Vec<String>,
    /// Who is built with them.
    pub dependents: Option<Dependents>,
    /// Whether every recipe was asked for.
    pub all: bool,
    /// How many builds that is, each knot built once.
    pub builds: usize,
    /// What is built, by stage and within a stage in build order.
    pub recipes: Vec<Member>,
    /// What can be built at the same time, one stage after the other.
    pub stages: Vec<Stage>,
    /// Recipes that belong to the plan and cannot be built again.
    pub left_out: Vec<LeftOut>,
    /// What of the interfaces of the named recipes goes away; with [`Dependents::Abi`].
    pub changes: Vec<SourceChange>,
    /// How long it takes.
    pub forecast: Forecast,
    /// What users fetch.
    pub download: Download,
    /// What is uncertain about all this, for people.
    pub notes: Vec<String>,
    /// How many rebuilds were ordered; none for a plan that was only made.
    #[serde(default)]
    pub ordered: Option<usize>,
}

/// One recipe of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// Source name.
    pub source: String,
    /// The release that is built.
    pub release: u64,
    /// The build release that is built: at least this satisfies the plan.
    pub build_release: u64,
    /// Number of its stage, from 0.
    pub stage: usize,
    /// Why it is built again; at least one reason.
    pub why: Vec<Why>,
    /// What keeps it from being built, for people; empty when nothing does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<String>,
}

/// Why a recipe is in a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Why {
    /// It was named.
    Named,
    /// Everything was asked for.
    All,
    /// It needs one that is built again.
    Needs {
        /// Source names from a named one to this one; each needs the one before it.
        chain: Vec<String>,
        /// What it needs of the last but one.
        #[schemars(with = "Vec<String>")]
        because: Vec<Dependency>,
    },
    /// It uses what goes away, or may.
    Uses {
        /// Source that offers it.
        of: String,
        /// What it uses.
        #[schemars(with = "Vec<String>")]
        gone: Vec<Dependency>,
        /// Whether it is known to go away: else nobody knows yet what the next build offers.
        certain: bool,
    },
    /// Its published packages need what nobody offers any more, and what a named recipe offers in another version.
    Broken {
        /// That recipe.
        of: String,
        /// What they need.
        #[schemars(with = "Vec<String>")]
        needs: Vec<Dependency>,
    },
}

/// What can be built at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stage {
    /// Its recipes, in build order.
    pub recipes: Vec<String>,
    /// Those of them that need each other: built in rounds until nothing changes any more, at most
    /// [`Forecast::rounds_max`] times.
    pub knots: Vec<Vec<String>>,
}

/// A recipe that cannot be built again, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// Source name.
    pub source: String,
    /// Why, for people.
    pub why: String,
}

/// How the interface of a source changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceChange {
    /// Source name.
    pub source: String,
    /// Whether the next build's interface is known from a manifest: else all that is published of it may go away.
    pub certain: bool,
    /// What goes away or may, each with what most likely takes its place.
    pub gone: Vec<GoneProvider>,
    /// What is new.
    #[schemars(with = "Vec<String>")]
    pub new: Vec<Dependency>,
}

/// A name that goes away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoneProvider {
    /// The name.
    #[schemars(with = "String")]
    pub provider: Dependency,
    /// What most likely takes its place; empty when nothing does, or nobody knows.
    #[schemars(with = "Vec<String>")]
    pub instead: Vec<Dependency>,
}

/// How long a plan takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Forecast {
    /// Builders that were counted on.
    pub builders: usize,
    /// Builds at once.
    pub places: u32,
    /// Hours of the reference machine, one build after the other, each knot built once.
    pub work_hours: f64,
    /// Hours until all is built, each knot built once; none without a builder.
    pub hours: Option<f64>,
    /// The same when every knot takes all its rounds.
    pub hours_at_most: Option<f64>,
    /// Rounds in which a knot is built at most.
    pub rounds_max: u32,
    /// Builds whose time nobody knows, and that are taken for `assumed_seconds`.
    pub assumed: usize,
    /// Seconds that such a build is taken for.
    pub assumed_seconds: f64,
}

/// What everybody who has all of it installed fetches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Download {
    /// Bytes of the packages that are published now.
    pub size_bytes: u64,
    /// How many packages that is.
    pub packages: usize,
    /// Those of them whose size nobody knows.
    pub packages_of_unknown_size: usize,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RebuildError {
    /// No recipe has this name.
    #[error("cannot plan a rebuild of {name:?}: no recipe and no package has this name")]
    Unknown {
        /// The name.
        name: String,
        /// Names that are like it.
        similar: Vec<String>,
    },
    /// Nothing is named.
    #[error("cannot plan a rebuild: no recipe is named")]
    Nothing,
}

impl Fault for RebuildError {
    fn kind(&self) -> Kind {
        match self {
            RebuildError::Unknown { .. } => Kind::NotFound,
            RebuildError::Nothing => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            RebuildError::Unknown { similar, .. } if similar.is_empty() => Vec::new(),
            RebuildError::Unknown { similar, .. } => vec![format!("did you mean {}?", similar.join(", "))],
            RebuildError::Nothing => vec!["name a recipe, or ask for all of them with --all".into()],
        }
    }
}

/// Makes a plan. The same situation gives the same plan.
///
/// # Errors
/// When a name is unknown, or nothing is named.
pub fn rebuild_plan(
    request: &RebuildRequest,
    situation: &Situation<'_>,
) -> Result<RebuildPlan, RebuildError> {
    let recipes = Recipes::new(situation);
    let named = named(request, situation, &recipes)?;
    let mut notes = Vec::new();
    let mut changes = Vec::new();
    let why = if request.all {
        recipes.entries.keys().map(|&id| (id, vec![Why::All])).collect()
    } else {
        match request.dependents {
            None => named.iter().map(|&id| (id, vec![Why::Named])).collect(),
            Some(Dependents::Direct) => members::by_needs(&recipes, situation, &named, 1),
            Some(Dependents::Transitive) => members::by_needs(&recipes, situation, &named, usize::MAX),
            Some(Dependents::Abi) => {
                changes = change::changes(&recipes, situation, &named, &mut notes);
                members::by_changes(&recipes, situation, &named, &changes)
            }
        }
    };
    let mut left_out = Vec::new();
    let mut build_releases = BTreeMap::new();
    for &id in why.keys() {
        let Some(entry) = recipes.entries.get(&id) else { continue };
        match build_release_of(entry, situation.published) {
            Ok(build_release) => drop(build_releases.insert(id, build_release)),
            Err(why) => left_out.push(LeftOut { source: entry.source.clone(), why }),
        }
    }
    left_out.sort_by(|left, right| left.source.cmp(&right.source));
    let set: BTreeSet<RecipeId> = build_releases.keys().copied().collect();
    let staged = stages::stages(situation.graph, &set);
    let members = staged.iter().enumerate().flat_map(|(stage, ids)| ids.iter().map(move |&id| (stage, id)));
    let members: Vec<Member> = members
        .filter_map(|(stage, id)| {
            let entry = recipes.entries.get(&id)?;
            Some(Member {
                source: entry.source.clone(),
                release: entry.release,
                build_release: *build_releases.get(&id)?,
                stage,
                why: why.get(&id).cloned().unwrap_or_default(),
                obstacles: situation.graph.obstacles(id).iter().map(obstacle_text).collect(),
            })
        })
        .collect();
    let blocked = members.iter().filter(|member| !member.obstacles.is_empty()).count();
    if blocked > 0 {
        notes.push(format!("{blocked} of the builds cannot begin as things are: see their obstacles"));
    }
    let forecast = forecast::forecast(situation, &set);
    if forecast.assumed > 0 {
        notes.push(format!(
            "the time of {} of the builds is not known: each is taken for {:.0} seconds",
            forecast.assumed, forecast.assumed_seconds
        ));
    }
    let download = download(situation.published, members.iter().map(|member| member.source.as_str()));
    if download.packages_of_unknown_size > 0 {
        notes.push(format!(
            "the size of {} of the {} packages is not known",
            download.packages_of_unknown_size, download.packages
        ));
    }
    Ok(RebuildPlan {
        names: named.iter().map(|&id| situation.graph.source(id).to_owned()).collect(),
        dependents: request.dependents,
        all: request.all,
        builds: members.len(),
        stages: staged.iter().map(|ids| stages::stage(situation.graph, ids)).collect(),
        recipes: members,
        left_out,
        changes,
        forecast,
        download,
        notes,
        ordered: None,
    })
}

/// What the manifests of a catalogue promise, as if all of it were published once: for planning without a repository.
///
/// All packages of a source are taken to offer and need what the first one does, because a catalogue keeps this by
/// source. Nobody knows their sizes.
#[must_use]
pub fn promised(catalogue: &Catalogue) -> Published {
    let packages = catalogue.recipes().iter().flat_map(|entry| {
        let manifest = entry.manifest.as_ref();
        let names = manifest.map_or_else(BTreeSet::new, |manifest| manifest.packages.clone());
        names.into_iter().enumerate().map(move |(number, name)| PublishedPackage {
            name,
            source: entry.source.clone(),
            version: entry.version.clone(),
            release: manifest.map_or(entry.release, |manifest| manifest.release),
            build_release: 1,
            provides: manifest
                .filter(|_| number == 0)
                .iter()
                .flat_map(|all| &all.provides)
                .cloned()
                .collect(),
            depends: manifest.filter(|_| number == 0).iter().flat_map(|all| &all.depends).cloned().collect(),
            download_size_bytes: 0,
        })
    });
    Published::new(packages)
}

/// The recipes of a situation, found by their place in the graph.
struct Recipes<'a> {
    entries: BTreeMap<RecipeId, &'a RecipeEntry>,
}

impl<'a> Recipes<'a> {
    fn new(situation: &Situation<'a>) -> Self {
        let entries = situation.catalogue.recipes().iter();
        let entries = entries.filter_map(|entry| Some((situation.graph.by_source(&entry.source)?, &**entry)));
        Self { entries: entries.collect() }
    }

    fn source(&self, id: RecipeId) -> &'a str {
        self.entries.get(&id).map_or("", |entry| &entry.source)
    }
}

/// The named recipes, each once, in the order of the names.
fn named(
    request: &RebuildRequest,
    situation: &Situation<'_>,
    recipes: &Recipes<'_>,
) -> Result<Vec<RecipeId>, RebuildError> {
    let mut named = Vec::new();
    for name in &request.names {
        let by_package = || {
            let package = situation.published.package(name).map(|package| package.source.as_str());
            let makes = |entry: &&&RecipeEntry| {
                entry.packages.contains(name)
                    || entry.manifest.as_ref().is_some_and(|manifest| manifest.packages.contains(name))
            };
            let recipe = || recipes.entries.values().find(makes).map(|entry| entry.source.as_str());
            situation.graph.by_source(package.or_else(recipe)?)
        };
        let found = situation.graph.by_source(name).or_else(by_package);
        let Some(id) = found else {
            return Err(RebuildError::Unknown { name: name.clone(), similar: similar(name, recipes) });
        };
        if !named.contains(&id) {
            named.push(id);
        }
    }
    if named.is_empty() && !request.all { Err(RebuildError::Nothing) } else { Ok(named) }
}

/// Names that contain the wanted one, are contained in it or differ by a slip of the finger, the most alike first.
fn similar(name: &str, recipes: &Recipes<'_>) -> Vec<String> {
    let likeness = |entry: &&RecipeEntry| {
        let source = entry.source.as_str();
        let slips = slips(name, source);
        let contains = !name.is_empty() && (source.contains(name) || name.contains(source));
        let distance = if contains { slips.min(SLIPS_MAX) } else { slips };
        (distance <= SLIPS_MAX).then(|| (slips, source.to_owned()))
    };
    let mut found: Vec<(usize, String)> = recipes.entries.values().filter_map(likeness).collect();
    found.sort_unstable();
    found.into_iter().take(SUGGESTIONS_MAX).map(|(_, source)| source).collect()
}

/// How many characters must be added, dropped or replaced to make `right` of `left` (Levenshtein). Beyond
/// [`NAME_CHARACTERS_MAX`] characters nothing is compared.
fn slips(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(NAME_CHARACTERS_MAX).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (number, character) in left.chars().take(NAME_CHARACTERS_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = number + 1;
        for (place, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(character != *other);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The build release that a rebuild of the recipe gets.
fn build_release_of(entry: &RecipeEntry, published: &Published) -> Result<u64, String> {
    match published.source(&entry.source) {
        Some(known) if known.release > entry.release => Err(format!(
            "release {} is published and the recipe has {}: a build of it would be older than what is there",
            known.release, entry.release
        )),
        known => Ok(next_build_release(entry.release, known, None)),
    }
}

fn obstacle_text(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::Unresolved { dependency } => format!("nobody offers {}", dependency.short()),
        Obstacle::Uninstallable { dependency, package, needs } => format!(
            "{} cannot be installed: {package} needs {}, which nobody offers",
            dependency.short(),
            needs.short()
        ),
        Obstacle::Unreadable { path } => format!("{path} cannot be read"),
        Obstacle::Knot { needs } => {
            let needs: Vec<String> =
                needs.iter().map(|(source, need)| format!("{} of {source}", need.short())).collect();
            format!("it needs what needs it, and nobody has that to begin with: {}", needs.join(", "))
        }
    }
}

fn download<'s>(published: &Published, sources: impl Iterator<Item = &'s str>) -> Download {
    let mut download = Download::default();
    for package in sources.flat_map(|source| published.packages_of_source(source)) {
        download.packages += 1;
        download.size_bytes = download.size_bytes.saturating_add(package.download_size_bytes);
        download.packages_of_unknown_size += usize::from(package.download_size_bytes == 0);
    }
    download
}

#[cfg(test)]
mod tests;
