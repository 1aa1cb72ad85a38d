//! The farm as a whole, its projects, and their recipes.

use std::collections::HashMap;

use farm::ids::TaskId;
use farm::queue::Blocker;
use farm::task::{Phase, State};
use farm::why::Paused;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{Priority, Project};
use crate::store::{RecipeSummary, StoreError, TaskFilter, TaskRow};
use crate::web::Web;
use crate::web::error::WebError;
use crate::world::{Arena, Worlds};

/// Failed tasks that the status names; the rest is counted.
const FAILED_NAMED_MAX: usize = 100;

/// Blockers that the status names.
const BLOCKERS_NAMED_MAX: usize = 10;

/// `/api/status`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StatusView {
    /// The name of the first project; `projects` has all of them.
    pub(crate) project: String,
    pub(crate) recipes_url: String,
    pub(crate) branch: String,
    pub(crate) commit: Option<String>,
    /// When recipes and repository were read last; of all projects and architectures the one that was read first.
    pub(crate) looked_ms: Option<u64>,
    /// Why the last look came to nothing, and why the configuration cannot be used.
    pub(crate) trouble: Option<String>,
    pub(crate) repository_url: String,
    pub(crate) channel: String,
    pub(crate) history: Option<String>,
    /// In all channels and for all architectures.
    pub(crate) published_packages: usize,
    /// Of all projects.
    pub(crate) recipes: usize,
    pub(crate) unreadable: usize,
    pub(crate) projects: Vec<ProjectView>,
    /// Keys of the configuration whose new values wait for a restart.
    pub(crate) waiting_for_restart: Vec<&'static str>,
    /// Tasks by phase.
    pub(crate) counts: Vec<CountView>,
    /// Tasks in which something happens or will happen by itself.
    pub(crate) open: u64,
    /// Tasks that cannot go on until somebody does something.
    pub(crate) blocked: u64,
    pub(crate) failed: Vec<FailedView>,
    pub(crate) builders_attached: usize,
    pub(crate) builders: usize,
    /// Builds that all attached builders do at once, drained ones left out.
    pub(crate) places: u64,
    /// How many of these places are taken.
    pub(crate) places_taken: u64,
    /// What blocks tasks, whatever blocks most first.
    pub(crate) blockers: Vec<BlockerCountView>,
    /// Who paused the queue; null when it goes on.
    pub(crate) paused: Option<Paused>,
    /// Tasks that somebody holds.
    pub(crate) held: u64,
    /// Whether recipes were read and nothing is left to do but what is blocked, held or failed.
    pub(crate) idle: bool,
    pub(crate) now_ms: u64,
}

/// `/api/projects`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProjectListView {
    pub(crate) projects: Vec<ProjectView>,
}

/// One of `/api/projects`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ProjectView {
    pub(crate) name: String,
    pub(crate) recipes_url: String,
    pub(crate) branch: String,
    pub(crate) channel: String,
    pub(crate) priority: Priority,
    pub(crate) rounds_max: u32,
    /// Names of the repositories that it is built against besides its channel.
    pub(crate) repositories: Vec<String>,
    /// Tasks in which something happens or will happen by itself.
    pub(crate) open: u64,
    pub(crate) blocked: u64,
    pub(crate) failed: u64,
    pub(crate) architectures: Vec<ArenaView>,
}

/// A project on an architecture.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ArenaView {
    pub(crate) architecture: String,
    pub(crate) commit: Option<String>,
    /// When recipes and repository were read last.
    pub(crate) looked_ms: Option<u64>,
    /// Why the last look came to nothing.
    pub(crate) trouble: Option<String>,
    /// Members of cycles that did not come to rest in the rounds that are allowed; a line for each.
    pub(crate) unsettled: Vec<String>,
    /// Whether everything that landed in its channel was read.
    pub(crate) current: bool,
    pub(crate) history: Option<String>,
    pub(crate) published_packages: usize,
    pub(crate) recipes: usize,
    pub(crate) unreadable: usize,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct CountView {
    pub(crate) phase: Phase,
    pub(crate) tasks: u64,
}

/// Something in the way of tasks.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct BlockerCountView {
    /// The task that is in the way, if it is one.
    pub(crate) task: Option<TaskId>,
    pub(crate) text: String,
    /// How many tasks it blocks directly.
    pub(crate) tasks: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FailedView {
    pub(crate) task: TaskId,
    pub(crate) project: String,
    pub(crate) source: String,
    pub(crate) class: String,
    pub(crate) message: String,
}

impl Web {
    pub(crate) async fn status(&self) -> Result<StatusView, WebError> {
        let hub = &self.hub;
        // The worlds before the counts, and whether they are current after: what lands in between makes nobody idle.
        let (config, worlds) = (hub.config(), hub.worlds());
        let counts = hub.store.counts(None).await?;
        let count_of = |wanted: &dyn Fn(Phase) -> bool| -> u64 {
            counts.iter().filter(|(phase, _)| wanted(*phase)).map(|(_, count)| count).sum()
        };
        let failed =
            hub.store.task_page(&TaskFilter::in_phase(Phase::Failed), 0, FAILED_NAMED_MAX as u64).await?.0;
        let blocked = count_of(&|phase| phase == Phase::Blocked);
        let held = count_of(&|phase| phase == Phase::Held);
        let open = count_of(&Phase::is_open);
        let projects = self.project_list(&worlds).await?;
        let arenas = || projects.iter().flat_map(|project| &project.architectures);
        let first = projects.first();
        let first_arena = first.and_then(|project| project.architectures.first());
        // Recipes of several architectures are the same recipes.
        let of_recipes = |count: &dyn Fn(&ArenaView) -> usize| -> usize {
            projects.iter().filter_map(|project| project.architectures.iter().map(count).max()).sum()
        };
        let config_state = hub.config_state();
        let builders = self.builder_list().await?;
        let at_work = || builders.iter().filter(|builder| builder.attached && !builder.drained);
        let blockers = hub.with_board(|board| board.blockers(BLOCKERS_NAMED_MAX));
        let troubles: Vec<String> = config_state.trouble.into_iter().chain(troubles(&projects)).collect();
        let is_read = arenas().all(|arena| arena.current);
        Ok(StatusView {
            project: first.map(|project| project.name.clone()).unwrap_or_default(),
            recipes_url: first.map(|project| project.recipes_url.clone()).unwrap_or_default(),
            branch: first.map(|project| project.branch.clone()).unwrap_or_default(),
            commit: first_arena.and_then(|arena| arena.commit.clone()),
            looked_ms: arenas().map(|arena| arena.looked_ms).min().flatten(),
            trouble: (!troubles.is_empty()).then(|| troubles.join("\n")),
            repository_url: config.vessel.public_url.clone(),
            channel: first.map(|project| project.channel.clone()).unwrap_or_default(),
            history: first_arena.and_then(|arena| arena.history.clone()),
            published_packages: published_packages(&worlds),
            recipes: of_recipes(&|arena| arena.recipes),
            unreadable: of_recipes(&|arena| arena.unreadable),
            projects,
            waiting_for_restart: config_state.waiting_for_restart,
            counts: counts.iter().map(|&(phase, tasks)| CountView { phase, tasks }).collect(),
            open,
            blocked,
            failed: failed.into_iter().filter_map(failed_view).collect(),
            builders_attached: hub.sessions.attached().len(),
            builders: builders.len(),
            places: at_work().map(|builder| u64::from(builder.slots)).sum(),
            places_taken: at_work().map(|builder| builder.running.len() as u64).sum(),
            blockers: blockers.into_iter().map(blocker_view).collect(),
            paused: hub.paused(),
            held,
            idle: is_read && open == blocked + held,
            now_ms: hub.clock.now().0,
        })
    }

    /// Every project, in the order of the configuration.
    pub(crate) async fn project_list(&self, worlds: &Worlds) -> Result<Vec<ProjectView>, WebError> {
        let config = self.hub.config();
        let mut views = Vec::with_capacity(config.projects.len());
        for project in &config.projects {
            let counts = self.hub.store.counts(Some(&project.name)).await?;
            let count_of = |wanted: &dyn Fn(Phase) -> bool| -> u64 {
                counts.iter().filter(|(phase, _)| wanted(*phase)).map(|(_, count)| count).sum()
            };
            let arena = |architecture: &String| self.arena_view(worlds, project, architecture);
            views.push(ProjectView {
                name: project.name.clone(),
                recipes_url: project.recipes.clone(),
                branch: project.branch.clone(),
                channel: project.channel.clone(),
                priority: project.priority,
                rounds_max: project.rounds_max,
                repositories: project.repositories.iter().map(|place| place.id.clone()).collect(),
                open: count_of(&Phase::is_open),
                blocked: count_of(&|phase| phase == Phase::Blocked),
                failed: count_of(&|phase| phase == Phase::Failed),
                architectures: project.architectures.iter().map(arena).collect(),
            });
        }
        Ok(views)
    }

    fn arena_view(&self, worlds: &Worlds, project: &Project, architecture: &str) -> ArenaView {
        let world = worlds.get(&Arena::new(&project.name, architecture));
        ArenaView {
            architecture: architecture.to_owned(),
            commit: world.and_then(|world| world.commit.as_ref()).map(|commit| commit.id.clone()),
            looked_ms: world.and_then(|world| world.looked).map(|moment| moment.0),
            trouble: world.and_then(|world| world.trouble.clone()),
            unsettled: world.map(|world| world.unsettled.clone()).unwrap_or_default(),
            current: world.is_some_and(|world| self.hub.is_current(world)),
            history: world.and_then(|world| world.repository.history.as_ref()).map(ToString::to_string),
            published_packages: world.map_or(0, |world| world.repository.published.len()),
            recipes: world.map_or(0, |world| world.catalogue.recipes().len()),
            unreadable: world.map_or(0, |world| world.catalogue.unreadable().len()),
        }
    }

    /// How many tasks stand where, in one project or in all.
    pub(crate) async fn count_list(&self, project: Option<&str>) -> Result<Vec<CountView>, WebError> {
        let counts = self.hub.store.counts(project).await?;
        Ok(counts.into_iter().map(|(phase, tasks)| CountView { phase, tasks }).collect())
    }

    /// The recipes of one project, or of all of them one after the other.
    pub(crate) async fn recipe_summary(&self, project: Option<&str>) -> Result<RecipeSummary, WebError> {
        let config = self.hub.config();
        let mut all: Option<RecipeSummary> = None;
        for named in
            config.projects.iter().filter(|named| project.is_none_or(|project| named.name == project))
        {
            let summary = self.hub.store.recipes(&named.name).await?;
            match &mut all {
                None => all = Some(summary),
                Some(all) => {
                    all.recipes.extend(summary.recipes);
                    all.unreadable.extend(summary.unreadable);
                }
            }
        }
        all.ok_or_else(|| WebError::no_project(project.unwrap_or_default()))
    }

    /// The arena that is meant: the first architecture of the first project unless something else is said.
    pub(crate) fn arena(&self, project: Option<&str>, architecture: Option<&str>) -> Result<Arena, WebError> {
        let config = self.hub.config();
        let project = match project {
            Some(name) => config.project(name).ok_or_else(|| WebError::no_project(name))?,
            None => config.projects.first().ok_or_else(|| WebError::no_project(""))?,
        };
        let found = match architecture {
            Some(wanted) => project.architectures.iter().find(|known| *known == wanted),
            None => project.architectures.first(),
        };
        let found = found.ok_or_else(|| StoreError::NotFound {
            what: format!(
                "the architecture: project {} is built for {} and not for {}",
                project.name,
                project.architectures.join(", "),
                architecture.unwrap_or("any"),
            ),
        })?;
        Ok(Arena::new(&project.name, found))
    }

    /// What the pages are headed with.
    pub(crate) fn farm_name(&self) -> String {
        match &self.hub.config().projects[..] {
            [] => "Summit".into(),
            [only] => only.name.clone(),
            [first, others @ ..] => format!("{} and {} more", first.name, others.len()),
        }
    }
}

/// What went wrong where. The same for every architecture is said once.
fn troubles(projects: &[ProjectView]) -> Vec<String> {
    let mut all = Vec::new();
    for project in projects {
        let mut own: Vec<String> = Vec::new();
        let arenas = project.architectures.iter();
        for trouble in arenas.flat_map(|arena| arena.trouble.iter().chain(&arena.unsettled)) {
            let text = match projects.len() {
                1 => trouble.clone(),
                _ => format!("project {}: {trouble}", project.name),
            };
            if !own.contains(&text) {
                own.push(text);
            }
        }
        all.extend(own);
    }
    all
}

/// Packages of all channels and architectures; those of a channel that several projects publish to count once.
fn published_packages(worlds: &Worlds) -> usize {
    let places: HashMap<(&str, &str), usize> = worlds
        .values()
        .map(|world| {
            let place = (world.project.channel.as_str(), world.arena.architecture.as_str());
            (place, world.repository.published.len())
        })
        .collect();
    places.values().sum()
}

fn blocker_view((blocker, tasks): (Blocker, usize)) -> BlockerCountView {
    let (task, text) = match blocker {
        Blocker::Task { task, source } => (Some(task), source),
        other => (None, other.to_string()),
    };
    BlockerCountView { task, text, tasks }
}

fn failed_view(task: TaskRow) -> Option<FailedView> {
    let State::Failed { class, message, .. } = task.state else { return None };
    Some(FailedView {
        task: task.id,
        project: task.project,
        source: task.source,
        class: class.to_string(),
        message,
    })
}
