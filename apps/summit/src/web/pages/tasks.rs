//! Lists of tasks.

use axum::extract::State;
use farm::task::Phase;
use maud::{Markup, html};

use super::figures::{badge, elapsed, in_address, time};
use super::{Page, page};
use crate::web::Web;
use crate::web::api::{Asked, ListQuery, asked};
use crate::web::view::TaskView;

pub(crate) async fn tasks(State(web): State<Web>, list: Asked<ListQuery>) -> Page {
    let query = asked(list)?;
    let (phase, page_number, per_page) = query.read()?;
    let project = query.project();
    let status = web.status().await?;
    let counts = web.count_list(project).await?;
    let list = web.task_list(phase, project, page_number, per_page).await?;
    let pages = list.total.div_ceil(per_page).max(1);
    let keyword = phase.map_or("all", Phase::keyword);
    let of_project = project.map(|name| format!("&project={}", in_address(name))).unwrap_or_default();
    let link = |page: u64| format!("/tasks?phase={keyword}{of_project}&page={page}&per_page={per_page}");
    let total: u64 = counts.iter().map(|count| count.tasks).sum();
    let body = html! {
        h1 { "Tasks" }
        nav.filter #filter data-live aria-label="phase" {
            a href=(format!("/tasks?phase=all{of_project}")) aria-current=[(phase.is_none()).then_some("page")] { "all " span.count { (total) } }
            @for count in &counts {
                a href=(format!("/tasks?phase={}{of_project}", count.phase)) aria-current=[(phase == Some(count.phase)).then_some("page")] {
                    (count.phase) " " span.count { (count.tasks) }
                }
            }
        }
        @if status.projects.len() > 1 {
            nav.filter #projects data-live aria-label="project" {
                a href=(format!("/tasks?phase={keyword}")) aria-current=[project.is_none().then_some("page")] { "every project" }
                @for other in &status.projects {
                    a href=(format!("/tasks?phase={keyword}&project={}", in_address(&other.name))) aria-current=[(project == Some(other.name.as_str())).then_some("page")] {
                        (other.name) " " span.count { (other.open) }
                    }
                }
            }
        }
        div #list data-live {
            (task_table(&list.tasks, status.now_ms, match phase {
                None => "There are no tasks: everything in the recipes has been published.",
                Some(_) => "No task is in this state.",
            }))
        }
        nav.paging aria-label="pages" {
            @if page_number > 1 { a href=(link(page_number - 1)) rel="prev" { "← newer" } }
            span { "page " (page_number) " of " (pages) }
            @if page_number < pages { a href=(link(page_number + 1)) rel="next" { "older →" } }
        }
    };
    Ok(page("Tasks", &web.farm_name(), body))
}

pub(super) fn task_table(tasks: &[TaskView], now_ms: u64, empty: &str) -> Markup {
    if tasks.is_empty() {
        return html! { p.empty { (empty) } };
    }
    let place = |task: &TaskView| (task.project.clone(), task.architecture.clone());
    let with_project = tasks.iter().any(|task| place(task) != place(&tasks[0]));
    html! {
        table.tasks {
            thead { tr { th { "Recipe" } th { "State" } th.wide { "What" } th.right { "Time" } } }
            tbody {
                @for task in tasks {
                    tr {
                        td {
                            a href=(format!("/tasks/{}", task.id)) { (task.source) } " " small { (task.version) "-" (task.release) }
                            @if with_project { " " small.project { (task.project) " " (task.architecture) } }
                        }
                        td { (badge(task.phase)) }
                        td.wide { (detail(task)) }
                        td.right {
                            @match task.running_since_ms {
                                Some(since) => (elapsed(since, now_ms)),
                                None => (time(task.updated_ms)),
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What a task does, with links to the tasks that it names.
pub(super) fn detail(task: &TaskView) -> Markup {
    html! {
        @if !task.waits_for.is_empty() {
            "waits for "
            @for (number, link) in task.waits_for.iter().enumerate() {
                @if number > 0 { ", " }
                a href=(format!("/tasks/{}", link.task)) { (link.source) }
            }
        } @else if !task.blocked_by.is_empty() {
            "blocked by "
            @for (number, blocker) in task.blocked_by.iter().enumerate() {
                @if number > 0 { "; " }
                a href=[blocker.task.map(|task| format!("/tasks/{task}"))] { (blocker.text) }
            }
        } @else { (task.detail) }
    }
}
