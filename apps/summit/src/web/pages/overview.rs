//! The first page: how the farm is, what runs where, what is in the way, what comes next.

use std::cmp::Reverse;

use axum::extract::State;
use farm::task::Phase;
use maud::{Markup, html};

use super::figures::{in_address, progress, time};
use super::tasks::{detail, task_table};
use super::{Entry, Page, Reader};
use crate::store::{TaskFilter, UnreadableRow};
use crate::web::Web;
use crate::web::error::WebError;
use crate::web::view::{BuilderView, Names, ProjectView, StatusView, TaskView};

/// Tasks in each list of the overview: what fits on a screen beside the rest.
const OVERVIEW_ROWS: usize = 10;

/// Builds that run up to which each is shown. A page of 60 KB has room for so many.
const RUNNING_ROWS: usize = 40;

/// Files that cannot be read up to which each is shown.
const UNREADABLE_ROWS: usize = 20;

pub(crate) async fn overview(State(web): State<Web>, reader: Reader) -> Page {
    let status = web.status().await?;
    let names = web.names().await?;
    let running = web.tasks_in(&[Phase::Leased, Phase::Building, Phase::Publishing], &names).await?;
    let (next, next_total) = web.next(&names).await?;
    let failed = web.newest(Phase::Failed, &names).await?;
    let recent = web.newest(Phase::Published, &names).await?;
    let builders = web.builder_list().await?;
    let recipes = web.recipe_summary(None).await?;
    let body = html! {
        h1.visually-hidden { "Overview" }
        div #summary data-live { (summary(&status)) }
        div #running data-live {
            h2 { "At work " small { (status.places_taken) " of " (status.places) " places taken" } }
            (fleet(&builders, &running, status.now_ms))
        }
        div #stuck data-live { (stuck(&status, &failed)) }
        div #queued data-live {
            h2 { "Next" @if next_total > next.len() { " " small { (next.len()) " of " a href="/tasks?phase=waiting" { (next_total) } } } }
            (task_table(&next, status.now_ms, "Nothing waits to be built."))
        }
        div #unreadable data-live { (unreadable(&recipes.unreadable)) }
        div #recent data-live {
            h2 { "Published" }
            (task_table(&recent, status.now_ms, "Nothing has been published yet."))
        }
    };
    Ok(reader.page("Overview", Entry::Overview, "/api/status", body))
}

impl Web {
    /// What may begin first, and of that the most urgent: nearly the order in which builders get it. And how many wait.
    async fn next(&self, names: &Names) -> Result<(Vec<TaskView>, usize), WebError> {
        let mut rows = self.hub.store.tasks_in(&[Phase::Ready, Phase::Waiting]).await?;
        let total = rows.len();
        self.hub.with_board(|board| {
            rows.sort_by_cached_key(|task| {
                (task.state.phase() != Phase::Ready, Reverse(board.urgency(task.id)), task.id)
            });
        });
        rows.truncate(OVERVIEW_ROWS);
        Ok((rows.iter().map(|row| crate::web::view::task_view(row, names)).collect(), total))
    }

    async fn newest(&self, phase: Phase, names: &Names) -> Result<Vec<TaskView>, WebError> {
        let count = u64::try_from(OVERVIEW_ROWS).unwrap_or(u64::MAX);
        let (rows, _) = self.hub.store.task_page(&TaskFilter::in_phase(phase), 0, count).await?;
        Ok(rows.iter().map(|row| crate::web::view::task_view(row, names)).collect())
    }
}

fn summary(status: &StatusView) -> Markup {
    let count = |wanted: &[Phase]| -> u64 {
        status.counts.iter().filter(|count| wanted.contains(&count.phase)).map(|count| count.tasks).sum()
    };
    let done = count(&[Phase::Published]);
    let tiles = [
        (
            "building",
            count(&[Phase::Leased, Phase::Building, Phase::Publishing]),
            "building",
            "/tasks?phase=building",
        ),
        ("can start", count(&[Phase::Ready]), "ready", "/tasks?phase=ready"),
        ("waiting", count(&[Phase::Waiting]), "waiting", "/tasks?phase=waiting"),
        ("blocked", status.blocked, "blocked", "/tasks?phase=blocked"),
        ("failed", count(&[Phase::Failed]), "failed", "/tasks?phase=failed"),
        ("published", done, "published", "/tasks?phase=published"),
    ];
    let total = done + status.open + count(&[Phase::Failed, Phase::Cancelled]);
    html! {
        @if let Some(trouble) = &status.trouble {
            @for line in trouble.lines() { p.warning { (line) } }
        }
        @if !status.waiting_for_restart.is_empty() {
            p.hint { "Takes effect at the next start: " (status.waiting_for_restart.join(", ")) }
        }
        div.tiles {
            @for (name, number, class, link) in tiles {
                a class=(format!("tile {}", if number == 0 { "zero" } else { class })) href=(link) { strong { (number) } (name) }
            }
        }
        @if total > 0 {
            div.whole.published { progress max=(total) value=(done) aria-label="published" { (done) " of " (total) } }
        }
        p.meta {
            @if total > 0 { (done) " of " (total) " tasks published · " }
            (status.recipes) " recipes"
            @if status.unreadable > 0 { ", " (status.unreadable) " unreadable" }
            @match &status.commit {
                Some(commit) => { " at " (super::forge::commit(&status.recipes_url, commit)) " of " (status.branch) }
                None => { " · the recipes were not read yet" }
            }
            " · "
            @match &status.history {
                Some(history) => { (status.published_packages) " packages in history " code { (history) } }
                None => { "nothing published yet" }
            }
            @if status.held > 0 { " · " a href="/tasks?phase=held" { (status.held) " held" } }
            @if let Some(looked) = status.looked_ms { " · looked " (time(looked)) }
        }
        @if status.projects.len() > 1 { (projects(&status.projects)) }
    }
}

/// Each builder with what it does.
fn fleet(builders: &[BuilderView], running: &[TaskView], now_ms: u64) -> Markup {
    if builders.is_empty() {
        return html! { p.empty { "No builder may attach yet: add one with " code { "moraine builder enrol NAME" } "." } };
    }
    let shown = running.len().min(RUNNING_ROWS);
    let mine = |builder: &BuilderView| -> Vec<&TaskView> {
        running[..shown].iter().filter(|task| task.builder.as_ref() == Some(&builder.name)).collect()
    };
    html! {
        div.cards {
            @for builder in builders {
                @let tasks = mine(builder);
                @if builder.attached || !tasks.is_empty() || builders.len() <= OVERVIEW_ROWS {
                    section.card {
                        h3 {
                            a href=(super::builders::address(builder)) { (builder.name) }
                            @if builder.state != "attached" { span class=(format!("badge {}", builder.state)) { (builder.state) } }
                            small { (builder.running.len()) "/" (builder.slots) }
                        }
                        @if tasks.is_empty() { p.meta { @if builder.attached { "has nothing to do" } @else { "is not here" } } }
                        ul.plain {
                            @for task in tasks {
                                li class=(task.phase.keyword()) {
                                    a href=(format!("/tasks/{}", task.id)) { (task.source) }
                                    (progress(task, now_ms))
                                }
                            }
                        }
                    }
                }
            }
        }
        @if running.len() > shown { p.hint { a href="/tasks?phase=building" { "and " (running.len() - shown) " more" } } }
        @if running.is_empty() { p.hint { "Nothing is being built." } }
    }
}

/// What somebody has to look at: failures, and what is in the way of most.
fn stuck(status: &StatusView, failed: &[TaskView]) -> Markup {
    html! {
        @if !failed.is_empty() {
            h2 { "Failed" @if status.failed.len() > failed.len() { " " small { (failed.len()) " of " a href="/tasks?phase=failed" { (status.failed.len()) } } } }
            div.table { table {
                thead { tr { th { "Recipe" } th.wide { "What is wrong" } th.right { "When" } } }
                tbody {
                    @for task in failed {
                        tr {
                            td.name { a href=(format!("/tasks/{}", task.id)) { (task.source) } " " small { (task.version) "-" (task.release) } }
                            td.wide { (detail(task)) }
                            td.right { (time(task.updated_ms)) }
                        }
                    }
                }
            } }
        }
        @if !status.blockers.is_empty() {
            h2 { "In the way " small { "of " a href="/tasks?phase=blocked" { (status.blocked) " blocked tasks" } } }
            ul.chips {
                @for blocker in &status.blockers {
                    li {
                        @match blocker.task {
                            Some(task) => a href=(format!("/tasks/{task}")) { (blocker.text) },
                            None => (blocker.text),
                        }
                        " " span.count title="tasks that it blocks directly" { (blocker.tasks) }
                    }
                }
            }
            p.hint { "The number says how many tasks each blocks directly." }
        }
    }
}

fn projects(projects: &[ProjectView]) -> Markup {
    html! {
        div.table { table {
            thead { tr { th { "Project" } th { "Channel" } th.wide { "Recipes" } th.right { "Open" } th.right { "Failed" } } }
            tbody {
                @for project in projects {
                    tr {
                        td.name { a href=(format!("/tasks?project={}", in_address(&project.name))) { (project.name) } }
                        td { (project.channel) }
                        td.wide {
                            @for (number, arena) in project.architectures.iter().enumerate() {
                                @if number > 0 { " · " }
                                (arena.architecture) ": "
                                @match &arena.commit {
                                    Some(commit) => { (arena.recipes) " at " (super::forge::commit(&project.recipes_url, commit)) " of " (project.branch) }
                                    None => "not read yet",
                                }
                            }
                        }
                        td.right data-label="open" { (project.open) }
                        td.right data-label="failed" { (project.failed) }
                    }
                }
            }
        } }
    }
}

fn unreadable(files: &[UnreadableRow]) -> Markup {
    let with_project = files.iter().any(|file| file.project != files[0].project);
    html! {
        @if !files.is_empty() {
            h2 { "Unreadable recipes " small { (files.len()) } }
            div.table { table {
                thead { tr { th { "File" } th.wide { "Problem" } } }
                tbody {
                    @for file in files.iter().take(UNREADABLE_ROWS) {
                        tr.failure {
                            td { @if with_project { (file.project) ": " } code { (file.path) @if file.line > 0 { ":" (file.line) @if file.column > 0 { ":" (file.column) } } } }
                            td.wide { @for line in file.message.lines() { div { (line) } } }
                        }
                    }
                }
            } }
            @if files.len() > UNREADABLE_ROWS { p.hint { a href="/api/recipes" { "all of them, as JSON" } } }
        }
    }
}
