//! The JSON API. Shapes are those of [`super::view`]; errors are `{"error":{"message","causes","hints"}}`.
//!
//! * `GET /api/status`
//! * `GET /api/tasks?phase=PHASE&project=NAME&page=N&per_page=N`, `GET /api/tasks/ID`
//! * `GET /api/tasks/ID/why`: `{"task","project","architecture","source","phase","headline","because":[{"text","task"?}],"next_step"}`
//! * `GET /api/projects`, `GET /api/builders`
//! * `GET /api/queue?project=NAME&arch=ARCH`: the first of them unless named; `GET /api/recipes?project=NAME`: all of them
//! * `GET /api/plan/graph?project=NAME&arch=ARCH`: the build graph as [`farm::graph::GraphSummary`], with `project` and
//!   `architecture`; the same as `moraine plan graph --json`
//! * `POST /api/tasks/ID/retry`, `POST /api/tasks/ID/cancel`: the task afterwards; 409 with the reason on refusal
//! * `POST /api/projects/NAME/rebuild` with `{"names":[…],"dependents":"direct|transitive|abi","all","architecture","apply"}`:
//!   the plan, as [`farm::rebuild::RebuildPlan`]; with `"apply":true` its rebuilds are ordered
//! * `GET /api/tasks/ID/attempts/ATTEMPT/log?offset=N&wait_seconds=N`: a piece of a log, see [`logs::PieceView`]
//! * `GET /api/logs/search?q=TEXT`: lines of JSON, see [`logs::search`]
//! * `POST /api/wake-up`: what the look found

pub(crate) mod logs;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use farm::ids::TaskId;
use farm::task::{Event, Phase};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Web;
use super::error::WebError;
use super::view::{GraphView, QueueView, StatusView, TaskListView, TaskPageView};
use crate::store::RecipeSummary;
use crate::watcher::{LookReport, look_everywhere};

/// Rows of a page unless asked otherwise.
const PER_PAGE: u64 = 50;

/// Most rows of a page.
const PER_PAGE_MAX: u64 = 500;

/// What a list of tasks is asked for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ListQuery {
    phase: Option<String>,
    project: Option<String>,
    arch: Option<String>,
    page: Option<u64>,
    per_page: Option<u64>,
}

impl ListQuery {
    /// The phase, the page from 1, the rows of a page.
    pub(crate) fn read(&self) -> Result<(Option<Phase>, u64, u64), WebError> {
        let phase = match self.phase.as_deref() {
            None | Some("" | "all") => None,
            Some(keyword) => Some(Phase::from_keyword(keyword).ok_or_else(|| WebError::BadRequest {
                what: "the phase",
                why: format!("{keyword:?} is none; known are {}", Phase::ALL.map(Phase::keyword).join(", ")),
            })?),
        };
        let per_page = self.per_page.unwrap_or(PER_PAGE).clamp(1, PER_PAGE_MAX);
        Ok((phase, self.page.unwrap_or(1).max(1), per_page))
    }

    /// The project, if one is named.
    pub(crate) fn project(&self) -> Option<&str> {
        self.project.as_deref().filter(|name| !matches!(*name, "" | "all"))
    }

    /// The architecture, if one is named.
    pub(crate) fn architecture(&self) -> Option<&str> {
        self.arch.as_deref().filter(|name| !name.is_empty())
    }
}

pub(crate) type MaybeQuery = Result<Query<ListQuery>, QueryRejection>;
pub(crate) type MaybeId = Result<Path<u64>, PathRejection>;

pub(crate) fn query(query: MaybeQuery) -> Result<ListQuery, WebError> {
    query
        .map(|query| query.0)
        .map_err(|error| WebError::BadRequest { what: "the query", why: error.body_text() })
}

pub(crate) fn task_id(id: MaybeId) -> Result<TaskId, WebError> {
    id.map(|id| TaskId(id.0))
        .map_err(|error| WebError::BadRequest { what: "the task number", why: error.body_text() })
}

pub(crate) async fn status(State(web): State<Web>) -> Result<Json<StatusView>, WebError> {
    web.status().await.map(Json)
}

pub(crate) async fn tasks(State(web): State<Web>, list: MaybeQuery) -> Result<Json<TaskListView>, WebError> {
    let list = query(list)?;
    let (phase, page, per_page) = list.read()?;
    web.task_list(phase, list.project(), page, per_page).await.map(Json)
}

pub(crate) async fn task(State(web): State<Web>, id: MaybeId) -> Result<Json<TaskPageView>, WebError> {
    web.task_page(task_id(id)?).await.map(Json)
}

pub(crate) async fn builders(State(web): State<Web>) -> Result<Json<Value>, WebError> {
    Ok(Json(json!({ "builders": web.builder_list().await? })))
}

pub(crate) async fn projects(State(web): State<Web>) -> Result<Json<Value>, WebError> {
    Ok(Json(json!({ "projects": web.project_list(&web.hub.worlds()).await? })))
}

pub(crate) async fn queue(State(web): State<Web>, list: MaybeQuery) -> Result<Json<QueueView>, WebError> {
    let list = query(list)?;
    web.queue_view(web.arena(list.project(), list.architecture())?).await.map(Json)
}

pub(crate) async fn plan_graph(
    State(web): State<Web>,
    list: MaybeQuery,
) -> Result<Json<GraphView>, WebError> {
    let list = query(list)?;
    web.graph_view(&web.arena(list.project(), list.architecture())?).map(Json)
}

pub(crate) async fn recipes(
    State(web): State<Web>,
    list: MaybeQuery,
) -> Result<Json<RecipeSummary>, WebError> {
    web.recipe_summary(query(list)?.project()).await.map(Json)
}

pub(crate) async fn retry(State(web): State<Web>, id: MaybeId) -> Result<Json<TaskPageView>, WebError> {
    change(&web, task_id(id)?, &Event::RetryAsked).await
}

pub(crate) async fn cancel(State(web): State<Web>, id: MaybeId) -> Result<Json<TaskPageView>, WebError> {
    change(&web, task_id(id)?, &Event::CancelAsked { why: "cancelled by an operator".into() }).await
}

async fn change(web: &Web, id: TaskId, event: &Event) -> Result<Json<TaskPageView>, WebError> {
    web.hub.apply(id, event).await?;
    web.task_page(id).await.map(Json)
}

pub(crate) async fn wake_up(State(web): State<Web>) -> Result<Json<LookReport>, WebError> {
    Ok(Json(look_everywhere(&web.hub).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_queries_are_bounded_or_refused() {
        let read = |phase: Option<&str>, page, per_page| {
            ListQuery { phase: phase.map(str::to_owned), page, per_page, ..ListQuery::default() }.read().ok()
        };
        assert_eq!(read(None, None, None), Some((None, 1, PER_PAGE)));
        assert_eq!(read(Some("all"), Some(0), Some(0)), Some((None, 1, 1)));
        assert_eq!(
            read(Some("failed"), Some(7), Some(u64::MAX)),
            Some((Some(Phase::Failed), 7, PER_PAGE_MAX))
        );
        assert_eq!(read(Some("<script>"), None, None), None);
    }
}
