//! What pages and API say about things, gathered from the store. Times are milliseconds since 1970.

use std::collections::HashMap;
use std::sync::Arc;

use farm::graph::GraphSummary;
use farm::ids::{BuilderId, TaskId};
use farm::moment::Moment;
use farm::plan::KnownTask;
use farm::schedule::{self, Unplaced};
use farm::task::{Phase, State};
use farm::why::Explanation;
use serde::Serialize;

use super::Web;
use super::error::WebError;
use crate::config::{Priority, Project};
use crate::hub::Hub;
use crate::store::{AttemptRow, BuilderRow, Outcome, RecipeSummary, TaskRow};
use crate::world::{Arena, World, Worlds};

/// Failed tasks that the status names; the rest is counted.
const FAILED_NAMED_MAX: usize = 100;

/// Events that a task page shows.
const EVENTS_SHOWN_MAX: u64 = 200;

/// `/api/status`
#[derive(Debug, Serialize)]
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
    /// Whether recipes were read and nothing is left to do but what is blocked or failed.
    pub(crate) idle: bool,
    pub(crate) now_ms: u64,
}

/// One of `/api/projects`
#[derive(Debug, Clone, Serialize)]
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
#[derive(Debug, Clone, Serialize)]
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

#[derive(Debug, Clone, Serialize)]
pub(crate) struct CountView {
    pub(crate) phase: Phase,
    pub(crate) tasks: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct FailedView {
    pub(crate) task: TaskId,
    pub(crate) project: String,
    pub(crate) source: String,
    pub(crate) class: String,
    pub(crate) message: String,
}

/// One task, as in lists.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TaskView {
    pub(crate) id: TaskId,
    pub(crate) project: String,
    pub(crate) channel: String,
    pub(crate) source: String,
    pub(crate) version: String,
    pub(crate) release: u64,
    pub(crate) build_release: u64,
    pub(crate) architecture: String,
    pub(crate) recipe: String,
    pub(crate) commit: String,
    pub(crate) reason: String,
    pub(crate) phase: Phase,
    /// What it is doing, or why it is not.
    pub(crate) detail: String,
    /// Tasks it waits for.
    pub(crate) waits_for: Vec<TaskLink>,
    /// What blocks it.
    pub(crate) blocked_by: Vec<BlockerView>,
    pub(crate) builder: Option<String>,
    pub(crate) attempt: Option<u64>,
    pub(crate) history: Option<String>,
    pub(crate) failure: Option<FailureView>,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
    /// Since when it builds or publishes.
    pub(crate) running_since_ms: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct TaskLink {
    pub(crate) task: TaskId,
    pub(crate) source: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct BlockerView {
    pub(crate) task: Option<TaskId>,
    pub(crate) text: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct FailureView {
    pub(crate) class: String,
    pub(crate) message: String,
    pub(crate) during: String,
    pub(crate) attempt: u64,
}

/// `/api/tasks/ID`
#[derive(Debug, Serialize)]
pub(crate) struct TaskPageView {
    #[serde(flatten)]
    pub(crate) task: TaskView,
    /// Where it stands, what is behind it, and what the next step is.
    pub(crate) why: Explanation,
    pub(crate) attempts: Vec<AttemptView>,
    pub(crate) events: Vec<EventView>,
    /// Open tasks that need this one directly.
    pub(crate) needed_by: Vec<TaskLink>,
}

#[derive(Debug, Serialize)]
pub(crate) struct AttemptView {
    pub(crate) id: u64,
    /// Which try at the task it is, from 1.
    pub(crate) number: usize,
    pub(crate) builder: String,
    pub(crate) why: String,
    pub(crate) assigned_ms: u64,
    pub(crate) started_ms: Option<u64>,
    pub(crate) built_ms: Option<u64>,
    pub(crate) ended_ms: Option<u64>,
    pub(crate) outcome: Option<Outcome>,
    /// Memory at the peak of its build; 0 when it is not known.
    pub(crate) peak_memory_bytes: u64,
    pub(crate) log_size_bytes: u64,
    pub(crate) log_full: bool,
    pub(crate) log_url: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct EventView {
    pub(crate) at_ms: u64,
    pub(crate) verb: String,
    pub(crate) phase: Phase,
}

/// `/api/tasks`
#[derive(Debug, Serialize)]
pub(crate) struct TaskListView {
    pub(crate) tasks: Vec<TaskView>,
    pub(crate) total: u64,
    pub(crate) page: u64,
    pub(crate) per_page: u64,
}

/// One of `/api/builders`
#[derive(Debug, Serialize)]
pub(crate) struct BuilderView {
    pub(crate) name: String,
    pub(crate) public_key: String,
    pub(crate) attached: bool,
    pub(crate) attached_since_ms: Option<u64>,
    pub(crate) last_seen_ms: Option<u64>,
    pub(crate) drained: bool,
    /// Set aside after faults of its machine until then.
    pub(crate) rests_until_ms: Option<u64>,
    /// What its last fault was, while it counts.
    pub(crate) fault: Option<String>,
    pub(crate) architectures: Vec<String>,
    pub(crate) slots: u32,
    pub(crate) cores: u32,
    pub(crate) memory_bytes: u64,
    /// As much of its memory as its builds are expected to need, as far as that is known.
    pub(crate) memory_set_aside_bytes: u64,
    pub(crate) version: String,
    pub(crate) running: Vec<TaskLink>,
}

/// `/api/queue`
#[derive(Debug, Serialize)]
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
#[derive(Debug, Serialize)]
pub(crate) struct GraphView {
    pub(crate) project: String,
    pub(crate) architecture: String,
    #[serde(flatten)]
    pub(crate) summary: GraphSummary,
}

#[derive(Debug, Serialize)]
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

#[derive(Debug, Serialize)]
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

/// Names and reasons that views need, read once for each request.
pub(crate) struct Names {
    hub: Arc<Hub>,
    builders: HashMap<BuilderId, String>,
    unplaced: HashMap<TaskId, Unplaced>,
}

/// Tasks that one waits for up to which they are named.
const WAITS_NAMED_MAX: usize = 20;

impl Names {
    pub(crate) fn builder(&self, id: &BuilderId) -> String {
        self.builders.get(id).cloned().unwrap_or_else(|| id.0.clone())
    }

    /// What a waiting task waits for, directly.
    fn waits_on(&self, task: TaskId) -> Vec<TaskLink> {
        self.hub.with_board(|board| {
            let link = |task: TaskId| {
                let source =
                    board.living(task).map_or_else(|| format!("task {task}"), |living| living.source.clone());
                TaskLink { task, source }
            };
            board.waits_on(task, WAITS_NAMED_MAX).into_iter().map(link).collect()
        })
    }

    pub(crate) fn unplaced(&self, task: TaskId) -> Option<&Unplaced> {
        self.unplaced.get(&task)
    }
}

impl Web {
    pub(crate) async fn names(&self) -> Result<Names, WebError> {
        let hub = &self.hub;
        let rows = hub.store.builders().await?;
        let (attached, config) = (hub.sessions.attached(), hub.config());
        let unplaced = hub.with_board(|board| {
            let builders = board.builders(&rows, attached, &config);
            board.unplaced(&builders, hub.clock.now())
        });
        let builders = rows.into_iter().map(|row| (row.id, row.name)).collect();
        Ok(Names { hub: Arc::clone(hub), builders, unplaced })
    }

    pub(crate) async fn status(&self) -> Result<StatusView, WebError> {
        let hub = &self.hub;
        // The worlds before the counts, and whether they are current after: what lands in between makes nobody idle.
        let (config, worlds) = (hub.config(), hub.worlds());
        let counts = hub.store.counts(None).await?;
        let count_of = |wanted: &dyn Fn(Phase) -> bool| -> u64 {
            counts.iter().filter(|(phase, _)| wanted(*phase)).map(|(_, count)| count).sum()
        };
        let failed = hub.store.task_page(Some(Phase::Failed), None, 0, FAILED_NAMED_MAX as u64).await?.0;
        let blocked = count_of(&|phase| phase == Phase::Blocked);
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
            builders: hub.store.builders().await?.len(),
            idle: is_read && open == blocked,
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
        let architecture = match architecture {
            Some(wanted) => project.architectures.iter().find(|known| *known == wanted),
            None => project.architectures.first(),
        };
        let architecture = architecture.ok_or_else(|| WebError::BadRequest {
            what: "the architecture",
            why: format!("project {} is built for {}", project.name, project.architectures.join(", ")),
        })?;
        Ok(Arena::new(&project.name, architecture))
    }

    /// What the pages are headed with.
    pub(crate) fn farm_name(&self) -> String {
        let config = self.hub.config();
        match &config.projects[..] {
            [] => "Summit".into(),
            [only] => only.name.clone(),
            [first, others @ ..] => format!("{} and {} more", first.name, others.len()),
        }
    }

    pub(crate) async fn task_list(
        &self,
        phase: Option<Phase>,
        project: Option<&str>,
        page: u64,
        per_page: u64,
    ) -> Result<TaskListView, WebError> {
        let names = self.names().await?;
        let offset = page.saturating_sub(1).saturating_mul(per_page);
        let (tasks, total) = self.hub.store.task_page(phase, project, offset, per_page).await?;
        let tasks = tasks.iter().map(|task| task_view(task, &names)).collect();
        Ok(TaskListView { tasks, total, page, per_page })
    }

    pub(crate) async fn tasks_in(&self, phases: &[Phase], names: &Names) -> Result<Vec<TaskView>, WebError> {
        let tasks = self.hub.store.tasks_in(phases).await?;
        Ok(tasks.iter().map(|task| task_view(task, names)).collect())
    }

    pub(crate) async fn task_page(&self, id: TaskId) -> Result<TaskPageView, WebError> {
        let names = self.names().await?;
        let task = self.hub.store.task(id).await?;
        let mut attempts = Vec::new();
        let rows = self.hub.store.attempts(id).await?;
        let why = self.explanation(&task, &rows, &names);
        for attempt in rows {
            let log_size_bytes = self.hub.logs.size_bytes(id, attempt.id).await;
            attempts.push(attempt_view(attempts.len() + 1, &attempt, &names, log_size_bytes));
        }
        let events = self.hub.store.events(id, EVENTS_SHOWN_MAX).await?;
        let events = events.into_iter().map(|event| EventView {
            at_ms: event.at.0,
            verb: event.verb,
            phase: event.phase,
        });
        Ok(TaskPageView {
            needed_by: self
                .hub
                .with_board(|board| board.needed_by(id))
                .into_iter()
                .map(|(task, source)| TaskLink { task, source })
                .collect(),
            task: task_view(&task, &names),
            why,
            attempts,
            events: events.collect(),
        })
    }

    pub(crate) async fn builder_list(&self) -> Result<Vec<BuilderView>, WebError> {
        let attached: HashMap<BuilderId, _> =
            self.hub.sessions.attached().into_iter().map(|session| (session.id.clone(), session)).collect();
        let running = self.hub.store.tasks_in(&[Phase::Leased, Phase::Building, Phase::Publishing]).await?;
        let now = self.hub.clock.now();
        let rows = self.hub.store.builders().await?;
        let set_aside = self.hub.with_board(|board| board.memory_set_aside());
        let view = |row: BuilderRow| {
            let session = attached.get(&row.id);
            let about = session.map_or(&row.about, |session| &session.about);
            let mine = running
                .iter()
                .filter(|task| task.state.claims().any(|(claim, _)| claim.builder == row.id))
                .map(|task| TaskLink { task: task.id, source: task.source.clone() });
            BuilderView {
                name: row.name.clone(),
                public_key: row.id.0.clone(),
                attached: session.is_some(),
                attached_since_ms: session.map(|session| session.since.0),
                last_seen_ms: row.last_seen.map(|moment| moment.0),
                drained: row.drained,
                rests_until_ms: rest_of(&row, now),
                fault: (row.faults_in_row > 0).then(|| row.last_fault_reason.clone()),
                architectures: about.architectures.clone(),
                slots: about.slots,
                cores: about.cores,
                memory_bytes: about.memory_bytes,
                memory_set_aside_bytes: set_aside.get(&row.id).copied().unwrap_or(0),
                version: about.version.clone(),
                running: mine.collect(),
            }
        };
        Ok(rows.into_iter().map(view).collect())
    }

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

    pub(crate) async fn queue_view(&self, arena: Arena) -> Result<QueueView, WebError> {
        let worlds = self.hub.worlds();
        let world = match worlds.get(&arena) {
            Some(world) => Arc::clone(world),
            None => {
                let project = self.hub.config().project(&arena.project).cloned();
                let project = project.ok_or_else(|| WebError::no_project(&arena.project))?;
                Arc::new(World::new(Arc::new(project), &arena.architecture))
            }
        };
        let recipes = world.catalogue.recipes();
        let mut newest: HashMap<String, KnownTask> = HashMap::new();
        for (task, _) in self.hub.store.known_tasks(&arena.project, &arena.architecture).await? {
            match newest.get(&task.source) {
                Some(known) if known.id > task.id => {}
                _ => {
                    newest.insert(task.source.clone(), task);
                }
            }
        }
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
            let task = newest.get(&recipe.source);
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

fn rest_of(row: &BuilderRow, now: Moment) -> Option<u64> {
    let builder = schedule::Builder {
        id: row.id.clone(),
        faults_in_row: row.faults_in_row,
        last_fault: row.last_fault,
        ..schedule::Builder::default()
    };
    schedule::rests_until(&builder).filter(|until| *until > now).map(|until| until.0)
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

pub(crate) fn task_view(task: &TaskRow, names: &Names) -> TaskView {
    let mut view = TaskView {
        id: task.id,
        project: task.project.clone(),
        channel: task.channel.clone(),
        source: task.source.clone(),
        version: task.version.clone(),
        release: task.release,
        build_release: task.build_release,
        architecture: task.architecture.clone(),
        recipe: task.recipe_path.clone(),
        commit: task.commit.clone(),
        reason: task.reason.to_string(),
        phase: task.state.phase(),
        detail: String::new(),
        waits_for: Vec::new(),
        blocked_by: Vec::new(),
        builder: None,
        attempt: None,
        history: None,
        failure: None,
        created_ms: task.created.0,
        updated_ms: task.updated.0,
        running_since_ms: None,
    };
    describe(&mut view, &task.state, names);
    view
}

/// Fills in what the state owns.
fn describe(view: &mut TaskView, state: &State, names: &Names) {
    if let Some(lease) = state.lease() {
        let id = &lease.claim.builder;
        view.builder = Some(names.builder(id));
        view.attempt = Some(lease.claim.attempt.0);
    }
    let builder = view.builder.clone().unwrap_or_default();
    view.detail = match state {
        State::Waiting { .. } => {
            view.waits_for = names.waits_on(view.id);
            match view.waits_for.is_empty() {
                true => "is looked at in a moment".into(),
                false => {
                    let sources: Vec<&str> = view.waits_for.iter().map(|link| link.source.as_str()).collect();
                    format!("waits for {}", sources.join(", "))
                }
            }
        }
        State::Blocked { by, .. } => {
            view.blocked_by = by
                .iter()
                .map(|blocker| BlockerView {
                    task: match blocker {
                        farm::queue::Blocker::Task { task, .. } => Some(*task),
                        _ => None,
                    },
                    text: blocker.to_string(),
                })
                .collect();
            let texts: Vec<&str> = view.blocked_by.iter().map(|blocker| blocker.text.as_str()).collect();
            format!("blocked by {}", texts.join("; "))
        }
        State::Ready { tries, .. } => {
            let why =
                names.unplaced(view.id).map_or_else(|| "is handed out next".into(), Unplaced::to_string);
            match tries.faults {
                0 => why,
                1 => format!("{why}; one attempt was lost by the farm"),
                faults => format!("{why}; {faults} attempts were lost by the farm"),
            }
        }
        State::Leased { .. } => format!("ordered from {builder}"),
        State::Building { since, twin, .. } => {
            view.running_since_ms = Some(since.0);
            match twin {
                None => format!("is built by {builder}"),
                Some(twin) => {
                    let second = names.builder(&twin.claim.builder);
                    format!("is built by {builder}, and a second time by {second}")
                }
            }
        }
        State::Publishing { since, artefacts, .. } => {
            view.running_since_ms = Some(since.0);
            format!("{builder} uploads {} files", artefacts.len())
        }
        State::Published { attempt, history } => {
            view.history = Some(history.clone());
            view.attempt = Some(attempt.0);
            format!("in history {history}")
        }
        State::Failed { attempt, class, message, during } => {
            view.attempt = Some(attempt.0);
            view.failure = Some(FailureView {
                class: class.to_string(),
                message: message.clone(),
                during: during.clone(),
                attempt: attempt.0,
            });
            match during.as_str() {
                "" => format!("{class}: {message}"),
                during => format!("{class} in {during}: {message}"),
            }
        }
        State::Cancelled { why } => why.clone(),
        State::Superseded { by: Some(by) } => format!("task {by} took its place"),
        State::Superseded { by: None } => "nobody asks for it any more".into(),
    };
}

fn attempt_view(number: usize, attempt: &AttemptRow, names: &Names, log_size_bytes: u64) -> AttemptView {
    AttemptView {
        id: attempt.id.0,
        number,
        builder: names.builder(&attempt.builder),
        why: attempt.why.clone(),
        assigned_ms: attempt.assigned.0,
        started_ms: attempt.started.map(|moment| moment.0),
        built_ms: attempt.built.map(|moment| moment.0),
        ended_ms: attempt.ended.map(|moment| moment.0),
        outcome: attempt.outcome.clone(),
        peak_memory_bytes: attempt.peak_memory_bytes,
        log_size_bytes,
        log_full: attempt.log_full,
        log_url: format!("/tasks/{}/log/{}", attempt.task, attempt.id),
    }
}
