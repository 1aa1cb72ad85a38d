//! The handlers of the JSON API that belong to no one part; each part has its own below. Which there are, and at which
//! address, says [`super::routes`]. Shapes are those of [`super::view`].

pub(crate) mod builders;
pub(crate) mod channels;
pub(crate) mod hooks;
pub(crate) mod logs;
pub(crate) mod queue;
pub(crate) mod tasks;
pub(crate) mod tokens;

use access::{Action, Actor};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use farm::task::Phase;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::Web;
use super::error::WebError;
use super::view::{
    DurationsQuery, DurationsView, GraphView, PackageView, ProjectListView, QueueView, StatusView,
    TaskListView, TaskPageView, TimelineQuery, TimelineView,
};
use crate::store::{AuditPage, RecipeSummary, TaskFilter, TaskOrder};
use crate::watcher::{LookReport, look_everywhere};

/// Rows of a page unless asked otherwise.
pub(crate) const PER_PAGE: u64 = 50;

/// Characters of a name that is searched for; those of recipes have some thirty.
const TEXT_CHARACTERS_MAX: usize = 200;

/// Most rows of a page.
const PER_PAGE_MAX: u64 = 500;

/// What a list of tasks is asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Only tasks in this phase; every one unless given, or `all`.
    #[schemars(schema_with = "phase_or_all")]
    phase: Option<String>,
    /// Only tasks of this project; every one unless given, or `all`.
    project: Option<String>,
    /// Only tasks whose recipe has this text in its name.
    q: Option<String>,
    /// Which come first: those that changed last unless given.
    #[schemars(schema_with = "order")]
    sort: Option<String>,
    /// Which page, from 1.
    page: Option<u64>,
    /// Rows of a page: 50 unless given, 500 at most.
    per_page: Option<u64>,
}

/// Which project and architecture are meant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArenaQuery {
    /// The project; the first one unless given.
    project: Option<String>,
    /// The architecture; the first one of the project unless given.
    arch: Option<String>,
}

/// Which project is meant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectQuery {
    /// The project; all of them unless given.
    project: Option<String>,
}

/// Which part of the audit trail.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    /// Only entries with a smaller number than this.
    pub(crate) before: Option<u64>,
    /// How many: 50 unless given, 500 at most.
    pub(crate) count: Option<u64>,
}

fn phase_or_all(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<&str> = ["", "all"].into_iter().chain(Phase::ALL.map(Phase::keyword)).collect();
    schemars::json_schema!({ "type": "string", "enum": words })
}

fn order(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<&str> = [""].into_iter().chain(TaskOrder::ALL.map(TaskOrder::keyword)).collect();
    schemars::json_schema!({ "type": "string", "enum": words })
}

/// A name, if one is given.
fn named(name: Option<&String>) -> Option<&str> {
    name.map(String::as_str).filter(|name| !matches!(*name, "" | "all"))
}

impl ListQuery {
    /// Which tasks, the page from 1, the rows of a page.
    pub(crate) fn read(&self) -> Result<(TaskFilter, u64, u64), WebError> {
        let phase = match self.phase.as_deref() {
            None | Some("" | "all") => None,
            Some(keyword) => Some(Phase::from_keyword(keyword).ok_or_else(|| WebError::BadRequest {
                what: "the phase",
                why: format!("{keyword:?} is none; known are {}", Phase::ALL.map(Phase::keyword).join(", ")),
            })?),
        };
        let order = match self.sort.as_deref() {
            None | Some("") => TaskOrder::default(),
            Some(keyword) => TaskOrder::from_keyword(keyword).ok_or_else(|| WebError::BadRequest {
                what: "the order",
                why: format!(
                    "{keyword:?} is none; known are {}",
                    TaskOrder::ALL.map(TaskOrder::keyword).join(", ")
                ),
            })?,
        };
        let text: String =
            self.q.as_deref().unwrap_or_default().trim().chars().take(TEXT_CHARACTERS_MAX).collect();
        let project = named(self.project.as_ref()).map(str::to_owned);
        let filter = TaskFilter { phase, project, text, order };
        let per_page = self.per_page.unwrap_or(PER_PAGE).clamp(1, PER_PAGE_MAX);
        Ok((filter, self.page.unwrap_or(1).max(1), per_page))
    }
}

impl ArenaQuery {
    /// The project, if one is named.
    pub(crate) fn project(&self) -> Option<&str> {
        named(self.project.as_ref())
    }

    /// The architecture, if one is named.
    pub(crate) fn architecture(&self) -> Option<&str> {
        self.arch.as_deref().filter(|name| !name.is_empty())
    }
}

pub(crate) type Asked<T> = Result<Query<T>, QueryRejection>;
pub(crate) type Told<T> = Result<Json<T>, JsonRejection>;
pub(crate) type MaybeId = Result<Path<String>, PathRejection>;

/// The query, or what is wrong with it.
pub(crate) fn asked<T>(query: Asked<T>) -> Result<T, WebError> {
    query
        .map(|query| query.0)
        .map_err(|error| WebError::BadRequest { what: "the query", why: error.body_text() })
}

/// The body, or what is wrong with it.
pub(crate) fn told<T>(body: Told<T>) -> Result<T, WebError> {
    match body {
        Ok(Json(body)) => Ok(body),
        Err(error) if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE => {
            Err(WebError::TooLarge { what: "the request", size_bytes_max: super::BODY_SIZE_BYTES_MAX })
        }
        Err(error) => Err(WebError::BadRequest { what: "the request", why: error.body_text() }),
    }
}

pub(crate) async fn status(State(web): State<Web>) -> Result<Json<StatusView>, WebError> {
    web.status().await.map(Json)
}

pub(crate) async fn tasks(
    State(web): State<Web>,
    list: Asked<ListQuery>,
) -> Result<Json<TaskListView>, WebError> {
    let (filter, page, per_page) = asked(list)?.read()?;
    web.task_list(&filter, page, per_page).await.map(Json)
}

pub(crate) async fn task(State(web): State<Web>, id: MaybeId) -> Result<Json<TaskPageView>, WebError> {
    web.task_page(web.task_id(id).await?).await.map(Json)
}

pub(crate) async fn projects(State(web): State<Web>) -> Result<Json<ProjectListView>, WebError> {
    Ok(Json(ProjectListView { projects: web.project_list(&web.hub.worlds()).await? }))
}

pub(crate) async fn queue(
    State(web): State<Web>,
    arena: Asked<ArenaQuery>,
) -> Result<Json<QueueView>, WebError> {
    let query = asked(arena)?;
    web.queue_view(web.arena(query.project(), query.architecture())?).await.map(Json)
}

pub(crate) async fn durations(
    State(web): State<Web>,
    query: Asked<DurationsQuery>,
) -> Result<Json<DurationsView>, WebError> {
    web.durations(&asked(query)?).await.map(Json)
}

pub(crate) async fn timeline(
    State(web): State<Web>,
    query: Asked<TimelineQuery>,
) -> Result<Json<TimelineView>, WebError> {
    web.timeline(&asked(query)?).await.map(Json)
}

pub(crate) async fn plan_graph(
    State(web): State<Web>,
    arena: Asked<ArenaQuery>,
) -> Result<Json<GraphView>, WebError> {
    let query = asked(arena)?;
    web.graph_view(&web.arena(query.project(), query.architecture())?).map(Json)
}

pub(crate) async fn recipes(
    State(web): State<Web>,
    project: Asked<ProjectQuery>,
) -> Result<Json<RecipeSummary>, WebError> {
    web.recipe_summary(named(asked(project)?.project.as_ref())).await.map(Json)
}

pub(crate) async fn package(State(web): State<Web>, source: MaybeId) -> Result<Json<PackageView>, WebError> {
    let Path(source) =
        source.map_err(|error| WebError::BadRequest { what: "the package", why: error.body_text() })?;
    web.package_view(&source).await.map(Json)
}

pub(crate) async fn wake_up(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
) -> Result<Json<LookReport>, WebError> {
    let report = look_everywhere(&web.hub).await?;
    let detail = format!("{} new tasks", report.new_tasks.len());
    web.hub.audit(&actor, Action::WakeUp, "every project", &detail).await;
    Ok(Json(report))
}

pub(crate) async fn audit(
    State(web): State<Web>,
    query: Asked<AuditQuery>,
) -> Result<Json<AuditPage>, WebError> {
    let query = asked(query)?;
    let count = query.count.unwrap_or(PER_PAGE).clamp(1, PER_PAGE_MAX);
    Ok(Json(web.hub.store.audit(query.before, count).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_queries_are_bounded_or_refused() {
        let read = |phase: Option<&str>, page, per_page| {
            let query = ListQuery { phase: phase.map(str::to_owned), page, per_page, ..ListQuery::default() };
            query.read().ok().map(|(filter, page, per_page)| (filter.phase, page, per_page))
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
