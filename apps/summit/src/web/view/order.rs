//! Who needs whom: the order of what is to be built, and the graph in figures.

use std::collections::HashMap;
use std::sync::Arc;

use farm::graph::GraphSummary;
use farm::ids::TaskId;
use farm::moment::Moment;
use farm::plan::KnownTask;
use farm::task::Phase;
use schemars::JsonSchema;
use serde::Serialize;

use crate::web::Web;
use crate::web::error::WebError;
use crate::world::{Arena, World};

/// `/api/queue`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct QueueView {
    pub(crate) project: String,
    pub(crate) architecture: String,
    /// Recipes by level; those of a level need only lower ones.
    pub(crate) nodes: Vec<QueueNode>,
    pub(crate) edges: Vec<QueueEdge>,
    /// Groups of recipes that need each other.
    pub(crate) knots: Vec<Vec<String>>,
    /// Whether recipes that are done were left out because there are too many.
    pub(crate) shortened: bool,
}

/// `/api/plan/graph`: what `moraine plan graph` says of a folder, of the graph that is planned with.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct GraphView {
    pub(crate) project: String,
    pub(crate) architecture: String,
    #[serde(flatten)]
    pub(crate) summary: GraphSummary,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct QueueNode {
    pub(crate) source: String,
    pub(crate) level: usize,
    pub(crate) height: usize,
    pub(crate) task: Option<TaskId>,
    /// The phase of its task; `published` without a task when the repository has it.
    pub(crate) phase: Option<Phase>,
    pub(crate) from_repository: Vec<String>,
    pub(crate) from_host: Vec<String>,
    pub(crate) unresolved: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct QueueEdge {
    /// Index of the node that needs.
    pub(crate) from: usize,
    /// Index of the node that is needed.
    pub(crate) to: usize,
    /// Built against the previous generation.
    pub(crate) deferred: bool,
    pub(crate) dependencies: Vec<String>,
}

/// Recipes up to which the picture of the queue shows those that are done as well.
const WHOLE_PICTURE_MAX: usize = 120;

impl Web {
    /// The build graph of an arena in figures.
    pub(crate) fn graph_view(&self, arena: &Arena) -> Result<GraphView, WebError> {
        let worlds = self.hub.worlds();
        let world = worlds.get(arena).filter(|world| world.looked.is_some()).ok_or(WebError::NotReadYet)?;
        Ok(GraphView {
            project: arena.project.clone(),
            architecture: arena.architecture.clone(),
            summary: world.graph.summary(&world.catalogue, world.graph_seconds),
        })
    }

    /// What was understood of an arena; nothing yet when it was never looked at.
    pub(super) fn world(&self, arena: &Arena) -> Result<Arc<World>, WebError> {
        if let Some(world) = self.hub.worlds().get(arena) {
            return Ok(Arc::clone(world));
        }
        let project = self.hub.config().project(&arena.project).cloned();
        let project = project.ok_or_else(|| WebError::no_project(&arena.project))?;
        Ok(Arc::new(World::new(Arc::new(project), &arena.architecture)))
    }

    /// The newest task of each source of an arena, with when it changed last.
    pub(super) async fn newest_tasks(
        &self,
        arena: &Arena,
    ) -> Result<HashMap<String, (KnownTask, Moment)>, WebError> {
        let mut newest: HashMap<String, (KnownTask, Moment)> = HashMap::new();
        for (task, updated) in self.hub.store.known_tasks(&arena.project, &arena.architecture).await? {
            match newest.get(&task.source) {
                Some((known, _)) if known.id > task.id => {}
                _ => {
                    newest.insert(task.source.clone(), (task, updated));
                }
            }
        }
        Ok(newest)
    }

    pub(crate) async fn queue_view(&self, arena: Arena) -> Result<QueueView, WebError> {
        let world = self.world(&arena)?;
        let recipes = world.catalogue.recipes();
        let newest = self.newest_tasks(&arena).await?;
        let graph = &world.graph;
        let heights = graph.heights();
        let shortened = recipes.len() > WHOLE_PICTURE_MAX;
        let texts = |dependencies: Vec<package::Dependency>| {
            dependencies.iter().map(package::Dependency::short).collect::<Vec<_>>()
        };
        let mut place = HashMap::new();
        let mut nodes = Vec::new();
        for recipe in recipes {
            let Some(id) = graph.by_source(&recipe.source) else { continue };
            let task = newest.get(&recipe.source).map(|(task, _)| task);
            let is_done = task.is_none_or(|task| task.phase == Phase::Published);
            if shortened && is_done {
                continue;
            }
            place.insert(id, nodes.len());
            let published = world.repository.published.source(&recipe.source).map(|_| Phase::Published);
            nodes.push(QueueNode {
                source: recipe.source.clone(),
                level: graph.level(id),
                height: heights.get(id.index()).copied().unwrap_or(0),
                task: task.map(|task| task.id),
                phase: task.map(|task| task.phase).or(published),
                from_repository: texts(graph.from_repository(id)),
                from_host: texts(graph.from_host(id)),
                unresolved: texts(graph.unresolved(id)),
            });
        }
        let mut edges = Vec::new();
        for id in graph.recipes() {
            let Some(&from) = place.get(&id) else { continue };
            for needed in graph.ordered_after(id) {
                let Some(&to) = place.get(&needed) else { continue };
                let dependencies = texts(graph.because(id, needed));
                edges.push(QueueEdge { from, to, deferred: graph.is_deferred(id, needed), dependencies });
            }
        }
        let knot = |members: &[farm::ids::RecipeId]| -> Vec<String> {
            members.iter().map(|&member| graph.source(member).to_owned()).collect()
        };
        let knots = graph.knots().map(knot).collect();
        Ok(QueueView {
            project: arena.project,
            architecture: arena.architecture,
            nodes,
            edges,
            knots,
            shortened,
        })
    }
}
