//! The queue as it is now, and its pause.

use std::cmp::Reverse;

use access::{Action, Actor};
use axum::extract::State;
use axum::{Extension, Json};
use farm::task::Phase;
use farm::why::Paused;
use schemars::JsonSchema;
use serde::Serialize;

use super::tasks::{MaybeReason, reason};
use super::{Asked, asked};
use crate::web::Web;
use crate::web::error::WebError;
use crate::web::view::{MapQuery, MapView, NeighboursView, SignsView, TaskView};

/// Tasks that are named of those that come next.
const NEXT_MAX: usize = 20;

/// `/api/queue/now`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct QueueNowView {
    /// Who paused it: nothing is started then.
    paused: Option<Paused>,
    /// What a builder has.
    running: Vec<TaskView>,
    /// What comes next, nearly in the order in which builders get it; at most 20.
    next: Vec<TaskView>,
    /// How many wait altogether.
    next_total: usize,
    /// What somebody holds.
    held: Vec<TaskView>,
    blocked: u64,
    failed: u64,
    now_ms: u64,
}

/// Whether the queue goes on.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PauseView {
    /// Who paused it; null when it goes on.
    paused: Option<Paused>,
}

pub(crate) async fn now(State(web): State<Web>) -> Result<Json<QueueNowView>, WebError> {
    let names = web.names().await?;
    let running = web.tasks_in(&[Phase::Leased, Phase::Building, Phase::Publishing], &names).await?;
    let mut next = web.tasks_in(&[Phase::Ready, Phase::Waiting], &names).await?;
    let held = web.tasks_in(&[Phase::Held], &names).await?;
    let next_total = next.len();
    web.hub.with_board(|board| {
        next.sort_by_cached_key(|task| (task.phase != Phase::Ready, Reverse(board.urgency(task.id))));
    });
    next.truncate(NEXT_MAX);
    let counts = web.hub.store.counts(None).await?;
    let count = |wanted| counts.iter().find(|(phase, _)| *phase == wanted).map_or(0, |(_, count)| *count);
    Ok(Json(QueueNowView {
        paused: web.hub.paused(),
        running,
        next,
        next_total,
        held,
        blocked: count(Phase::Blocked),
        failed: count(Phase::Failed),
        now_ms: web.hub.clock.now().0,
    }))
}

pub(crate) async fn map(State(web): State<Web>, query: Asked<MapQuery>) -> Result<Json<MapView>, WebError> {
    Ok(Json(web.queue_map(&asked(query)?).await?.view()))
}

pub(crate) async fn signs(
    State(web): State<Web>,
    query: Asked<MapQuery>,
) -> Result<Json<SignsView>, WebError> {
    Ok(Json(web.queue_map(&asked(query)?).await?.signs()))
}

pub(crate) async fn neighbours(
    State(web): State<Web>,
    query: Asked<MapQuery>,
) -> Result<Json<NeighboursView>, WebError> {
    web.neighbours(&asked(query)?).await.map(Json)
}

pub(crate) async fn pause(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    why: MaybeReason,
) -> Result<Json<PauseView>, WebError> {
    let why = reason(why)?;
    if let Some(paused) = web.hub.store.paused().await? {
        return Err(WebError::PausedAlready { by: paused.by });
    }
    let paused = Paused { by: actor.to_string(), why: why.clone(), since: web.hub.clock.now() };
    web.hub.store.set_paused(Some(&paused)).await?;
    web.hub.set_paused(Some(paused.clone()));
    web.hub.audit(&actor, Action::PauseQueue, "the queue", &why).await;
    Ok(Json(PauseView { paused: Some(paused) }))
}

pub(crate) async fn resume(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
) -> Result<Json<PauseView>, WebError> {
    if web.hub.store.paused().await?.is_none() {
        return Err(WebError::NotPaused);
    }
    web.hub.store.set_paused(None).await?;
    web.hub.set_paused(None);
    web.hub.audit(&actor, Action::ResumeQueue, "the queue", "").await;
    Ok(Json(PauseView { paused: None }))
}
