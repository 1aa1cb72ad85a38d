//! The first page: how the farm is, and what needs somebody.

use std::cmp::Reverse;

use axum::extract::State;
use farm::task::Phase;
use maud::{Markup, html};

use super::builders::builder_cards;
use super::figures::{in_address, time};
use super::tasks::task_table;
use super::{Page, page};
use crate::store::UnreadableRow;
use crate::web::Web;
use crate::web::view::{ProjectView, StatusView};

/// Tasks in each list of the overview.
const OVERVIEW_ROWS: u64 = 12;

pub(crate) async fn overview(State(web): State<Web>) -> Page {
    let status = web.status().await?;
    let names = web.names().await?;
    let running = web.tasks_in(&[Phase::Leased, Phase::Building, Phase::Publishing], &names).await?;
    let mut queued = web.tasks_in(&[Phase::Ready, Phase::Waiting], &names).await?;
    let queued_total = queued.len();
    web.hub.with_board(|board| {
        // What may begin first, and of that the most urgent: nearly the order in which builders get it.
        queued.sort_by_cached_key(|task| (task.phase != Phase::Ready, Reverse(board.urgency(task.id))));
    });
    queued.truncate(usize::try_from(OVERVIEW_ROWS).unwrap_or(usize::MAX));
    let stuck = web.tasks_in(&[Phase::Failed, Phase::Blocked], &names).await?;
    let recent = web.task_list(Some(Phase::Published), None, 1, OVERVIEW_ROWS).await?.tasks;
    let builders = web.builder_list().await?;
    let recipes = web.recipe_summary(None).await?;
    let body = html! {
        div #summary data-live { (summary(&status)) }
        div #running data-live {
            h2 { "Running" }
            (task_table(&running, status.now_ms, "Nothing is being built."))
        }
        div #stuck data-live {
            @if !stuck.is_empty() {
                h2 { "Needs somebody" }
                (task_table(&stuck, status.now_ms, ""))
            }
        }
        div #queued data-live {
            h2 { "Next" @if queued_total > queued.len() { small { " " (queued.len()) " of " (queued_total) } } }
            (task_table(&queued, status.now_ms, "Nothing waits to be built."))
        }
        div #unreadable data-live { (unreadable(&recipes.unreadable)) }
        div #builders data-live {
            h2 { "Builders" }
            (builder_cards(&builders, status.now_ms))
        }
        div #recent data-live {
            h2 { "Published" }
            (task_table(&recent, status.now_ms, "Nothing has been published yet."))
        }
    };
    Ok(page("Overview", &web.farm_name(), body))
}

fn summary(status: &StatusView) -> Markup {
    let count = |wanted: &[Phase]| -> u64 {
        status.counts.iter().filter(|count| wanted.contains(&count.phase)).map(|count| count.tasks).sum()
    };
    let tiles: [(&str, u64, &str, &str); 5] = [
        (
            "building",
            count(&[Phase::Leased, Phase::Building, Phase::Publishing]),
            "building",
            "/tasks?phase=building",
        ),
        ("queued", count(&[Phase::Ready, Phase::Waiting]), "waiting", "/tasks?phase=waiting"),
        ("blocked", status.blocked, "blocked", "/tasks?phase=blocked"),
        ("failed", count(&[Phase::Failed]), "failed", "/tasks?phase=failed"),
        ("published", count(&[Phase::Published]), "published", "/tasks?phase=published"),
    ];
    let done = count(&[Phase::Published]);
    let total = done + status.open + count(&[Phase::Failed, Phase::Cancelled]);
    html! {
        @if let Some(trouble) = &status.trouble {
            @for line in trouble.lines() { p.warning role="alert" { (line) } }
        }
        @if !status.waiting_for_restart.is_empty() {
            p.hint { "Takes effect at the next start: " (status.waiting_for_restart.join(", ")) }
        }
        div.tiles {
            @for (name, number, class, link) in tiles {
                a class=(if number == 0 { "tile none" } else { class_of_tile(class) }) href=(link) {
                    strong { (number) } " " span { (name) }
                }
            }
        }
        @if total > 0 {
            progress max=(total) value=(done) aria-label="published" { (done) " of " (total) }
        }
        p.meta {
            (status.recipes) " recipes"
            @if status.unreadable > 0 { ", " (status.unreadable) " unreadable" }
            @match &status.commit {
                Some(commit) => { " at " code title=(commit) { (commit.get(..10).unwrap_or(commit)) } " of " (status.branch) }
                None => { " · the recipes were not read yet" }
            }
            " · "
            @match &status.history {
                Some(history) => { (status.published_packages) " packages in history " code { (history) } }
                None => { "nothing published yet" }
            }
            @if let Some(looked) = status.looked_ms { " · looked " (time(looked)) }
        }
        @if status.projects.len() > 1 { (projects(&status.projects)) }
    }
}

fn projects(projects: &[ProjectView]) -> Markup {
    html! {
        table {
            thead { tr { th { "Project" } th { "Channel" } th.wide { "Recipes" } th.right { "Open" } th.right { "Failed" } } }
            tbody {
                @for project in projects {
                    tr {
                        td { a href=(format!("/tasks?project={}", in_address(&project.name))) { (project.name) } }
                        td { (project.channel) }
                        td.wide {
                            @for (number, arena) in project.architectures.iter().enumerate() {
                                @if number > 0 { " · " }
                                (arena.architecture) ": "
                                @match &arena.commit {
                                    Some(commit) => { (arena.recipes) " at " code title=(commit) { (commit.get(..10).unwrap_or(commit)) } " of " (project.branch) }
                                    None => "not read yet",
                                }
                            }
                        }
                        td.right { (project.open) }
                        td.right { (project.failed) }
                    }
                }
            }
        }
    }
}

fn class_of_tile(phase: &str) -> &'static str {
    match phase {
        "building" => "tile building",
        "waiting" => "tile waiting",
        "blocked" => "tile blocked",
        "failed" => "tile failed",
        _ => "tile published",
    }
}

fn unreadable(files: &[UnreadableRow]) -> Markup {
    let with_project = files.iter().any(|file| file.project != files[0].project);
    html! {
        @if !files.is_empty() {
            h2 { "Unreadable recipes" }
            table {
                thead { tr { th { "File" } th.wide { "Problem" } } }
                tbody {
                    @for file in files {
                        tr.failure {
                            td { @if with_project { (file.project) ": " } code { (file.path) @if file.line > 0 { ":" (file.line) @if file.column > 0 { ":" (file.column) } } } }
                            td.wide { @for line in file.message.lines() { div { (line) } } }
                        }
                    }
                }
            }
        }
    }
}
