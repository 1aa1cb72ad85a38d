//! `/api/tasks/ID/why`: where a task stands, what is behind it, and what the next step is.

use axum::Json;
use axum::extract::State;
use farm::ids::TaskId;
use farm::task::Phase;
use farm::why::{Ahead, Explanation, Snapshot, Tried, explain};
use schemars::JsonSchema;
use serde::Serialize;

use super::Web;
use super::api::MaybeId;
use super::error::WebError;
use super::view::Names;
use crate::hub::Unpublished;
use crate::store::{AttemptRow, Outcome, TaskRow};
use crate::world::Arena;

/// Tasks before this one that are looked at; the explanation names fewer.
const AHEAD_MAX: usize = 50;

/// The answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WhyView {
    pub(crate) task: u64,
    pub(crate) project: String,
    pub(crate) architecture: String,
    pub(crate) source: String,
    pub(crate) phase: Phase,
    #[serde(flatten)]
    pub(crate) explanation: Explanation,
}

pub(crate) async fn why(State(web): State<Web>, id: MaybeId) -> Result<Json<WhyView>, WebError> {
    let id = web.task_id(id).await?;
    let names = web.names().await?;
    let task = web.hub.store.task(id).await?;
    let attempts = web.hub.store.attempts(id).await?;
    let explanation = web.explanation(&task, &attempts, &names);
    Ok(Json(WhyView {
        task: id.0,
        project: task.project.clone(),
        architecture: task.architecture.clone(),
        source: task.source.clone(),
        phase: task.state.phase(),
        explanation,
    }))
}

impl Web {
    /// Explains a task with what is in mind now.
    pub(crate) fn explanation(&self, task: &TaskRow, attempts: &[AttemptRow], names: &Names) -> Explanation {
        let (waits_on, held_up_by, holds_up, expected_end) = self.hub.with_board(|board| {
            let ahead = |id| {
                let living = board.living(id)?;
                Some(Ahead {
                    task: id,
                    source: living.source.clone(),
                    phase: living.state.phase(),
                    expected_end: board.expected_end_of(id),
                    unplaced: names.unplaced(id).cloned(),
                })
            };
            let ahead_of = |ids: Vec<TaskId>| -> Vec<Ahead> { ids.into_iter().filter_map(ahead).collect() };
            let (waits_on, held_up_by) = match task.state.phase() {
                Phase::Waiting => (
                    ahead_of(board.waits_on(task.id, AHEAD_MAX)),
                    ahead_of(board.held_up_by(task.id, AHEAD_MAX)),
                ),
                _ => (Vec::new(), Vec::new()),
            };
            (waits_on, held_up_by, board.holds_up(task.id), board.expected_end_of(task.id))
        });
        let tried: Vec<Tried> = attempts
            .iter()
            .map(|attempt| Tried {
                attempt: attempt.id,
                builder: attempt.builder.clone(),
                why: attempt.why.clone(),
                outcome: attempt.outcome.as_ref().map(told),
            })
            .collect();
        let (trouble, held_back) = match task.state.phase() {
            Phase::Publishing => match self.hub.unpublished(task.id) {
                Some(Unpublished::Trouble(trouble)) => (Some(trouble), None),
                Some(Unpublished::HeldBack(reason)) => (None, Some(reason)),
                None => (None, None),
            },
            _ => (self.hub.worlds().get(&Arena::of(task)).and_then(|world| world.trouble.clone()), None),
        };
        let paused = self.hub.paused();
        explain(&Snapshot {
            task: task.id,
            title: &format!("{} {}-{}", task.source, task.version, task.release),
            recipe_path: &task.recipe_path,
            made_because: &task.reason.to_string(),
            state: &task.state,
            waits_on: &waits_on,
            held_up_by: &held_up_by,
            unplaced: names.unplaced(task.id),
            attempts: &tried,
            holds_up,
            expected_end,
            paused: paused.as_ref(),
            trouble: trouble.as_deref(),
            held_back: held_back.as_deref(),
            name_of: &|builder| names.builder(builder),
            now: self.hub.clock.now(),
        })
    }
}

/// How an attempt ended, in a line.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Published { history } => format!("published in history {history}"),
        Outcome::Failed { class, message, during } if during.is_empty() => format!("{class}: {message}"),
        Outcome::Failed { class, message, during } => format!("{class} in {during}: {message}"),
        Outcome::Stopped { why } => why.clone(),
    }
}
