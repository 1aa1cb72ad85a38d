//! What a recipe has to do with others: what it needs, what it yields, how its builds went.

use farm::ids::{AttemptId, TaskId};
use farm::task::Phase;
use package::Dependency;
use schemars::JsonSchema;
use serde::Serialize;

use super::Names;
use crate::store::{AttemptRow, Built, Outcome, StoreError};
use crate::web::Web;
use crate::web::error::WebError;
use crate::world::{Arena, World};

/// Builds of a package that are told of.
const BUILDS_MAX: u64 = 100;

/// Recipes that need one up to which each is named.
const NEEDED_BY_MAX: usize = 200;

/// What goes into a build.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct InputsView {
    /// Recipes whose packages it is built with.
    pub(crate) recipes: Vec<NeededView>,
    /// What the repository offers without a recipe.
    pub(crate) from_repository: Vec<String>,
    /// What the host of a bootstrap offers.
    pub(crate) from_host: Vec<String>,
    /// What nobody offers.
    pub(crate) unresolved: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NeededView {
    pub(crate) source: String,
    /// The dependencies because of which it is needed.
    pub(crate) because: Vec<String>,
}

/// A published package.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OutputView {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) release: u64,
    pub(crate) build_release: u64,
    pub(crate) download_size_bytes: u64,
}

/// `/api/packages/SOURCE`: a recipe with its builds and what is published of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PackageView {
    pub(crate) source: String,
    /// A place for each project and architecture that has it.
    pub(crate) places: Vec<PackagePlaceView>,
    /// Its builds, the newest first; 100 at most.
    pub(crate) builds: Vec<SourceBuildView>,
    pub(crate) now_ms: u64,
}

/// A recipe in a project on an architecture.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PackagePlaceView {
    pub(crate) project: String,
    pub(crate) channel: String,
    pub(crate) architecture: String,
    /// Path of the recipe; none when it is not there any more.
    pub(crate) recipe: Option<String>,
    /// As the recipe has them.
    pub(crate) version: Option<String>,
    pub(crate) release: Option<u64>,
    /// Its newest task.
    pub(crate) task: Option<TaskId>,
    pub(crate) phase: Option<Phase>,
    /// How long a build takes on the reference machine, by experience.
    pub(crate) expected_ms: Option<u64>,
    /// Packages that are published of it.
    pub(crate) outputs: Vec<OutputView>,
    pub(crate) inputs: InputsView,
    /// Recipes that are built with it; 200 at most.
    pub(crate) needed_by: Vec<String>,
}

/// One build of a recipe.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SourceBuildView {
    pub(crate) task: TaskId,
    pub(crate) attempt: AttemptId,
    pub(crate) project: String,
    pub(crate) architecture: String,
    pub(crate) version: String,
    pub(crate) release: u64,
    pub(crate) build_release: u64,
    pub(crate) commit: String,
    pub(crate) builder: String,
    pub(crate) assigned_ms: u64,
    pub(crate) started_ms: Option<u64>,
    pub(crate) built_ms: Option<u64>,
    pub(crate) ended_ms: Option<u64>,
    /// From its start until it was built, or failed.
    pub(crate) duration_ms: Option<u64>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) log_page_url: String,
}

impl Web {
    /// What goes into the build of a recipe, as far as the graph knows it.
    pub(crate) fn inputs(&self, arena: &Arena, source: &str) -> InputsView {
        self.hub.worlds().get(arena).map(|world| inputs(world, source)).unwrap_or_default()
    }

    /// What is published of a recipe.
    pub(crate) fn outputs(&self, arena: &Arena, source: &str) -> Vec<OutputView> {
        self.hub.worlds().get(arena).map(|world| outputs(world, source)).unwrap_or_default()
    }

    /// How long a build of it takes on the reference machine, by experience.
    pub(crate) fn expected_ms(&self, source: &str, architecture: &str) -> Option<u64> {
        let expected = self.hub.with_board(|board| board.expected(source, architecture))?;
        u64::try_from(expected.as_millis()).ok()
    }

    /// The recipe that a package of this name is built of, where that is another name.
    pub(crate) fn source_of_package(&self, name: &str) -> Option<String> {
        let worlds = self.hub.worlds();
        worlds
            .values()
            .find_map(|world| world.repository.published.package(name).map(|found| found.source.clone()))
    }

    /// A recipe with its builds.
    pub(crate) async fn package_view(&self, source: &str) -> Result<PackageView, WebError> {
        let config = self.hub.config();
        let names = self.names().await?;
        let (mut places, mut builds) = (Vec::new(), Vec::new());
        for project in &config.projects {
            for architecture in &project.architectures {
                let arena = Arena::new(&project.name, architecture);
                let worlds = self.hub.worlds();
                let world = worlds.get(&arena);
                let entry = world.and_then(|world| {
                    world.catalogue.recipes().iter().find(|recipe| recipe.source == source)
                });
                let named =
                    self.hub.store.tasks_named(source, Some(&project.name), Some(architecture)).await?;
                let tried = self.hub.store.attempts_of_source(
                    source,
                    Some(&project.name),
                    Some(architecture),
                    BUILDS_MAX,
                );
                let tried = tried.await?;
                if entry.is_none() && named.is_empty() {
                    continue;
                }
                places.push(PackagePlaceView {
                    project: project.name.clone(),
                    channel: project.channel.clone(),
                    architecture: architecture.clone(),
                    recipe: entry.map(|entry| entry.path.clone()),
                    version: entry.map(|entry| entry.version.clone()),
                    release: entry.map(|entry| entry.release),
                    task: named.first().map(|named| named.id),
                    phase: named.first().map(|named| named.phase),
                    expected_ms: self.expected_ms(source, architecture),
                    outputs: world.map(|world| outputs(world, source)).unwrap_or_default(),
                    inputs: world.map(|world| inputs(world, source)).unwrap_or_default(),
                    needed_by: world.map(|world| needed_by(world, source)).unwrap_or_default(),
                });
                builds.extend(tried.into_iter().map(|(attempt, built)| build_view(attempt, built, &names)));
            }
        }
        if places.is_empty() {
            return Err(StoreError::NotFound { what: format!("package {source:?}") }.into());
        }
        builds.sort_by_key(|build| std::cmp::Reverse(build.attempt));
        Ok(PackageView { source: source.to_owned(), places, builds, now_ms: self.hub.clock.now().0 })
    }
}

fn build_view(attempt: AttemptRow, built: Built, names: &Names) -> SourceBuildView {
    let begin = attempt.started.map(|moment| moment.0);
    let end = attempt.built.or(attempt.ended).map(|moment| moment.0);
    SourceBuildView {
        task: attempt.task,
        attempt: attempt.id,
        project: built.project,
        architecture: built.architecture,
        version: built.version,
        release: built.release,
        build_release: built.build_release,
        commit: built.commit,
        builder: names.builder(&attempt.builder),
        assigned_ms: attempt.assigned.0,
        started_ms: begin,
        built_ms: attempt.built.map(|moment| moment.0),
        ended_ms: attempt.ended.map(|moment| moment.0),
        duration_ms: begin.zip(end).map(|(begin, end)| end.saturating_sub(begin)),
        outcome: attempt.outcome,
        log_page_url: format!("/tasks/{}/attempts/{}", attempt.task, attempt.id),
    }
}

fn texts(dependencies: &[Dependency]) -> Vec<String> {
    dependencies.iter().map(Dependency::short).collect()
}

fn inputs(world: &World, source: &str) -> InputsView {
    let graph = &world.graph;
    let Some(id) = graph.by_source(source) else { return InputsView::default() };
    let mut recipes: Vec<NeededView> = graph
        .ordered_after(id)
        .map(|needed| NeededView {
            source: graph.source(needed).to_owned(),
            because: texts(&graph.because(id, needed)),
        })
        .collect();
    recipes.sort_by(|one, other| one.source.cmp(&other.source));
    InputsView {
        recipes,
        from_repository: texts(&graph.from_repository(id)),
        from_host: texts(&graph.from_host(id)),
        unresolved: texts(&graph.unresolved(id)),
    }
}

fn outputs(world: &World, source: &str) -> Vec<OutputView> {
    let packages = world.repository.published.packages_of_source(source);
    packages
        .map(|package| OutputView {
            name: package.name.clone(),
            version: package.version.clone(),
            release: package.release,
            build_release: package.build_release,
            download_size_bytes: package.download_size_bytes,
        })
        .collect()
}

fn needed_by(world: &World, source: &str) -> Vec<String> {
    let graph = &world.graph;
    let Some(id) = graph.by_source(source) else { return Vec::new() };
    let mut users: Vec<String> = graph.needed_by(id).map(|user| graph.source(user).to_owned()).collect();
    users.sort();
    users.truncate(NEEDED_BY_MAX);
    users
}
