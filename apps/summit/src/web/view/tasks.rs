//! Tasks, their attempts, and what happened to them.

use farm::ids::TaskId;
use farm::schedule::{Priority, Unplaced};
use farm::task::{Phase, State};
use farm::why::Explanation;
use schemars::JsonSchema;
use serde::Serialize;

use super::packages::{InputsView, OutputView};
use super::{Names, TaskLink};
use crate::store::{AttemptRow, Outcome, TaskFilter, TaskRow};
use crate::web::Web;
use crate::web::error::WebError;
use crate::world::Arena;

/// Events that a task page shows.
const EVENTS_SHOWN_MAX: u64 = 200;

/// One task, as in lists.
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
    /// When its build will be done, by experience.
    pub(crate) expected_end_ms: Option<u64>,
    /// What an operator said about its priority; the configuration decides where that is nothing.
    pub(crate) priority: Option<Priority>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct BlockerView {
    pub(crate) task: Option<TaskId>,
    /// What that task builds.
    pub(crate) source: Option<String>,
    pub(crate) text: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct FailureView {
    pub(crate) class: String,
    pub(crate) message: String,
    pub(crate) during: String,
    pub(crate) attempt: u64,
}

/// `/api/tasks/ID`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TaskPageView {
    #[serde(flatten)]
    pub(crate) task: TaskView,
    /// Where it stands, what is behind it, and what the next step is.
    pub(crate) why: Explanation,
    pub(crate) attempts: Vec<AttemptView>,
    pub(crate) events: Vec<EventView>,
    /// Open tasks that need this one directly.
    pub(crate) needed_by: Vec<TaskLink>,
    /// How long its build takes on the reference machine, by experience.
    pub(crate) expected_ms: Option<u64>,
    /// What goes into it.
    pub(crate) inputs: InputsView,
    /// What is published of its recipe.
    pub(crate) outputs: Vec<OutputView>,
    pub(crate) now_ms: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
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
    /// The log as it was written.
    pub(crate) log_url: String,
    /// The page that shows it.
    pub(crate) log_page_url: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EventView {
    pub(crate) at_ms: u64,
    pub(crate) verb: String,
    pub(crate) phase: Phase,
}

/// `/api/tasks`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TaskListView {
    pub(crate) tasks: Vec<TaskView>,
    pub(crate) total: u64,
    pub(crate) page: u64,
    pub(crate) per_page: u64,
    pub(crate) now_ms: u64,
}

impl Web {
    pub(crate) async fn task_list(
        &self,
        filter: &TaskFilter,
        page: u64,
        per_page: u64,
    ) -> Result<TaskListView, WebError> {
        let names = self.names().await?;
        let offset = page.saturating_sub(1).saturating_mul(per_page);
        let (tasks, total) = self.hub.store.task_page(filter, offset, per_page).await?;
        let tasks = tasks.iter().map(|task| task_view(task, &names)).collect();
        Ok(TaskListView { tasks, total, page, per_page, now_ms: self.hub.clock.now().0 })
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
        let arena = Arena::of(&task);
        Ok(TaskPageView {
            expected_ms: self.expected_ms(&task.source, &task.architecture),
            inputs: self.inputs(&arena, &task.source),
            outputs: self.outputs(&arena, &task.source),
            now_ms: self.hub.clock.now().0,
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
        expected_end_ms: names.expected_end(task.id).map(|moment| moment.0),
        priority: task.priority,
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
                    source: match blocker {
                        farm::queue::Blocker::Task { source, .. } => Some(source.clone()),
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
        State::Held { by, why, .. } => match why.as_str() {
            "" => format!("held by {by}"),
            why => format!("held by {by}: {why}"),
        },
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
        log_page_url: format!("/tasks/{}/attempts/{}", attempt.task, attempt.id),
    }
}
