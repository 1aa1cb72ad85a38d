//! What people do to tasks: retry, cancel, hold, release, priority. Each answers with the task as it is afterwards.

use access::{Action, Actor};
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::{Extension, Json};
use farm::ids::TaskId;
use farm::schedule::Priority;
use farm::task::{Event, Phase, Refusal};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::hub::News;
use crate::store::{NamedTask, StoreError};
use crate::web::Web;
use crate::web::api::{MaybeId, Told, told};
use crate::web::error::WebError;
use crate::web::view::TaskPageView;

/// Text of a reason that is kept.
const WHY_SIZE_BYTES_MAX: usize = 500;

/// Why something is done, for others to read.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Reason {
    /// A line; nothing needs to be said.
    why: String,
}

/// How urgent a task is to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Urgency {
    /// The priority; null leaves it to the configuration.
    priority: Option<Priority>,
}

/// A reason, if one is given.
pub(crate) type MaybeReason = Result<Option<Json<Reason>>, JsonRejection>;

/// The reason, or what is wrong with it; nothing when there is none.
pub(crate) fn reason(reason: MaybeReason) -> Result<String, WebError> {
    let why = match reason {
        Ok(reason) => reason.map(|Json(reason)| reason.why).unwrap_or_default(),
        Err(error) => return told(Err(error)),
    };
    let why = why.trim();
    Ok(why[..why.floor_char_boundary(WHY_SIZE_BYTES_MAX)].to_owned())
}

/// What a task is called: `12`, `nano`, `nano@x86_64`, `project/nano`, `project/nano@x86_64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TaskName<'n> {
    Number(u64),
    Source { project: Option<&'n str>, source: &'n str, architecture: Option<&'n str> },
}

impl<'n> TaskName<'n> {
    fn read(text: &'n str) -> Self {
        if let Ok(number) = text.parse() {
            return TaskName::Number(number);
        }
        let (project, rest) = match text.split_once('/') {
            Some((project, rest)) => (Some(project), rest),
            None => (None, text),
        };
        let (source, architecture) = match rest.rsplit_once('@') {
            Some((source, architecture)) => (source, Some(architecture)),
            None => (rest, None),
        };
        TaskName::Source { project, source, architecture }
    }
}

impl Web {
    /// The task that a number or a name means. A name means the newest task of that source that still matters, else the
    /// newest.
    pub(crate) async fn task_id(&self, id: MaybeId) -> Result<TaskId, WebError> {
        let id = id.map_err(|error| WebError::BadRequest { what: "the task", why: error.body_text() })?;
        let (project, source, architecture) = match TaskName::read(&id.0) {
            TaskName::Number(number) => return Ok(TaskId(number)),
            TaskName::Source { project, source, architecture } => (project, source, architecture),
        };
        let named = self.hub.store.tasks_named(source, project, architecture).await?;
        match chosen(&named) {
            Some(task) => Ok(task.id),
            None if named.is_empty() => {
                let what = format!("task {:?}", id.0.chars().take(100).collect::<String>());
                Err(StoreError::NotFound { what }.into())
            }
            None => Err(WebError::Ambiguous {
                name: source.to_owned(),
                tasks: named
                    .iter()
                    .map(|task| format!("{}/{source}@{} (task {})", task.project, task.architecture, task.id))
                    .collect(),
            }),
        }
    }
}

/// The only one, or the only one that still matters.
fn chosen(named: &[NamedTask]) -> Option<&NamedTask> {
    if let [only] = named {
        return Some(only);
    }
    let mut living = named.iter().filter(|task| task.phase.is_living());
    let first = living.next()?;
    living.next().is_none().then_some(first)
}

pub(crate) async fn retry(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    id: MaybeId,
) -> Result<Json<TaskPageView>, WebError> {
    let id = web.task_id(id).await?;
    change(&web, &actor, Action::RetryTask, id, &Event::RetryAsked, "").await
}

pub(crate) async fn cancel(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    id: MaybeId,
    why: MaybeReason,
) -> Result<Json<TaskPageView>, WebError> {
    let (id, why) = (web.task_id(id).await?, reason(why)?);
    let text = match why.as_str() {
        "" => format!("cancelled by {actor}"),
        why => format!("cancelled by {actor}: {why}"),
    };
    change(&web, &actor, Action::CancelTask, id, &Event::CancelAsked { why: text }, &why).await
}

pub(crate) async fn hold(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    id: MaybeId,
    why: MaybeReason,
) -> Result<Json<TaskPageView>, WebError> {
    let (id, why) = (web.task_id(id).await?, reason(why)?);
    let event = Event::Held { by: actor.to_string(), why: why.clone() };
    change(&web, &actor, Action::HoldTask, id, &event, &why).await
}

pub(crate) async fn release(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    id: MaybeId,
) -> Result<Json<TaskPageView>, WebError> {
    let id = web.task_id(id).await?;
    change(&web, &actor, Action::ReleaseTask, id, &Event::Released, "").await
}

pub(crate) async fn priority(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    id: MaybeId,
    urgency: Told<Urgency>,
) -> Result<Json<TaskPageView>, WebError> {
    let (id, priority) = (web.task_id(id).await?, told(urgency)?.priority);
    let phase = web.hub.store.task(id).await?.state.phase();
    // What is done has no turn any more; what failed or was stopped may still be tried again.
    if matches!(phase, Phase::Published | Phase::Superseded) {
        let source = Refusal::WrongPhase { verb: "set the priority of", phase };
        return Err(StoreError::Refused { task: id, source }.into());
    }
    let task = web.hub.store.set_priority(id, priority).await?;
    web.hub.with_board(|board| board.set_priority(id, priority));
    web.hub.tell(News::Task(id));
    web.hub.dispatch.notify_one();
    let subject = format!("task {id} ({})", task.source);
    let detail = priority.map_or("as the configuration says", Priority::keyword);
    web.hub.audit(&actor, Action::SetPriority, &subject, detail).await;
    web.task_page(id).await.map(Json)
}

/// Lets `event` happen to a task, as somebody wishes.
async fn change(
    web: &Web,
    actor: &Actor,
    action: Action,
    id: TaskId,
    event: &Event,
    why: &str,
) -> Result<Json<TaskPageView>, WebError> {
    let applied = web.hub.apply(id, event).await?;
    let subject = format!("task {id} ({})", applied.task.source);
    let phase = applied.task.state.phase();
    let detail = if why.is_empty() { phase.to_string() } else { format!("{phase}: {why}") };
    web.hub.audit(actor, action, &subject, &detail).await;
    web.task_page(id).await.map(Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tasks_are_numbers_or_sources() {
        let source = |project, source, architecture| TaskName::Source { project, source, architecture };
        for (text, expect) in [
            ("12", TaskName::Number(12)),
            ("nano", source(None, "nano", None)),
            ("nano@x86_64", source(None, "nano", Some("x86_64"))),
            ("main/nano", source(Some("main"), "nano", None)),
            ("main/gtk+@2@aarch64", source(Some("main"), "gtk+@2", Some("aarch64"))),
            ("18446744073709551616", source(None, "18446744073709551616", None)),
            ("", source(None, "", None)),
        ] {
            assert_eq!(TaskName::read(text), expect, "{text}");
        }
    }

    #[test]
    fn a_name_means_what_still_matters() {
        let task = |id, architecture: &str, phase| NamedTask {
            id: TaskId(id),
            project: "main".into(),
            architecture: architecture.into(),
            phase,
        };
        let id = |named: &[NamedTask]| chosen(named).map(|task| task.id.0);
        let (done, failed) = (task(1, "x86_64", Phase::Published), task(2, "aarch64", Phase::Failed));
        assert_eq!(id(std::slice::from_ref(&done)), Some(1));
        assert_eq!(id(&[done.clone(), failed.clone()]), Some(2));
        assert_eq!(id(&[done.clone(), task(3, "aarch64", Phase::Published)]), None);
        assert_eq!(id(&[failed.clone(), task(4, "x86_64", Phase::Ready)]), None);
        assert_eq!(id(&[]), None);
    }
}
