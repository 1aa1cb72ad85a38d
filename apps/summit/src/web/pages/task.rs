//! One task: where it stands and why, its attempts, its log.

use axum::extract::State;
use farm::task::Phase;
use maud::{Markup, html};

use super::figures::{badge, duration, elapsed, size, time};
use super::log;
use super::tasks::detail;
use super::{Page, page};
use crate::logs::view::Window;
use crate::store::Outcome;
use crate::web::Web;
use crate::web::api::MaybeId;
use crate::web::error::WebError;
use crate::web::view::{AttemptView, TaskPageView, TaskView};

/// Bytes at the end of a log that the page of its task shows.
const PANEL_BYTES_MAX: u64 = 64 << 10;

pub(crate) async fn task(State(web): State<Web>, id: MaybeId) -> Page {
    let id = web.task_id(id).await?;
    let view = web.task_page(id).await?;
    let task = &view.task;
    let now = web.hub.clock.now().0;
    let log = match view.attempts.last() {
        Some(attempt) => Some(log_panel(&web, &view, attempt).await?),
        None => None,
    };
    let body = html! {
        div #head data-live {
            h1 { (task.source) " " small { (task.version) "-" (task.release) } " " (badge(task.phase)) }
            p.lead { (detail(task)) }
            (actions(task))
        }
        div #why data-live {
            p { (view.why.headline) }
            ul {
                @for because in &view.why.because {
                    li {
                        @match because.task {
                            Some(task) => a href=(format!("/tasks/{task}")) { (because.text) },
                            None => (because.text),
                        }
                    }
                }
            }
            p.hint { "Next: " (view.why.next_step) }
        }
        div #facts data-live { (facts(&view, now)) }
        div #attempts data-live {
            h2 { "Attempts" }
            @if view.attempts.is_empty() { p.empty { "It was not handed out yet." } }
            @else { (attempts(&view.attempts, now)) }
        }
        @match log {
            Some(panel) => (panel),
            None => { h2 { "Log" } p.empty { "A log begins when a builder does." } }
        }
        div #history data-live {
            h2 { "What happened" }
            ol.events {
                @for event in &view.events {
                    li { (time(event.at_ms)) " " span.verb { (event.verb) } " → " (badge(event.phase)) }
                }
            }
            @if view.events.is_empty() { p.empty { "Nothing yet." } }
        }
    };
    Ok(page(&format!("{} – task {id}", task.source), &web.farm_name(), body))
}

fn actions(task: &TaskView) -> Markup {
    let retry = matches!(task.phase, Phase::Failed | Phase::Cancelled);
    let cancel = task.phase.is_open() && task.phase != Phase::Publishing;
    let release = task.phase == Phase::Held;
    html! {
        @if retry || cancel {
            p.actions {
                @if retry { button type="button" data-post=(format!("/api/tasks/{}/retry", task.id)) { "Try again" } }
                @if release { button type="button" data-post=(format!("/api/tasks/{}/release", task.id)) { "Release" } }
                @if task.phase.is_queued() { button.quiet type="button" data-post=(format!("/api/tasks/{}/hold", task.id)) { "Hold" } }
                @if cancel { button.quiet type="button" data-post=(format!("/api/tasks/{}/cancel", task.id)) { "Cancel" } }
                span.answer role="status" {}
            }
        }
    }
}

fn facts(view: &TaskPageView, now_ms: u64) -> Markup {
    let task = &view.task;
    html! {
        dl.facts {
            div { dt { "Project" } dd { (task.project) ", published to channel " (task.channel) } }
            div { dt { "Why" } dd { (task.reason) } }
            div { dt { "Recipe" } dd { code { (task.recipe) } " at " code title=(task.commit) { (task.commit.get(..10).unwrap_or(&task.commit)) } } }
            div { dt { "For" } dd { (task.architecture) ", build release " (task.build_release) } }
            div { dt { "Made" } dd { (time(task.created_ms)) } }
            @if let Some(builder) = &task.builder { div { dt { "Builder" } dd { (builder) } } }
            @if let Some(since) = task.running_since_ms { div { dt { "Running" } dd { (elapsed(since, now_ms)) } } }
            @if let Some(failure) = &task.failure {
                div.failure { dt { "Failure" } dd { strong { (failure.class) } @if !failure.during.is_empty() { " in " (failure.during) } ": " (failure.message) } }
            }
            @if let Some(history) = &task.history { div { dt { "Published in" } dd { "history " code { (history) } } } }
            @if !view.needed_by.is_empty() {
                div { dt { "Needed by" } dd {
                    @for (number, link) in view.needed_by.iter().enumerate() {
                        @if number > 0 { ", " }
                        a href=(format!("/tasks/{}", link.task)) { (link.source) }
                    }
                } }
            }
        }
    }
}

fn attempts(attempts: &[AttemptView], now_ms: u64) -> Markup {
    html! {
        table {
            thead { tr { th { "Attempt" } th { "Builder" } th.wide { "End" } th { "Log" } th.right { "Memory" } th.right { "Time" } } }
            tbody {
                @for attempt in attempts {
                    tr {
                        td title=(attempt.why) { (attempt.number) }
                        td { (attempt.builder) }
                        td.wide { (outcome(attempt)) }
                        td { a href=(attempt.log_page_url) { (size(attempt.log_size_bytes)) } @if attempt.log_full { " (cut at its limit)" } }
                        td.right title="at the peak of the build" {
                            @if attempt.peak_memory_bytes > 0 { (size(attempt.peak_memory_bytes)) }
                        }
                        td.right {
                            @let begin = attempt.started_ms.unwrap_or(attempt.assigned_ms);
                            @match attempt.ended_ms {
                                Some(end) => { (duration(end.saturating_sub(begin))) }
                                None => (elapsed(begin, now_ms)),
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn outcome(attempt: &AttemptView) -> Markup {
    html! {
        @match &attempt.outcome {
            None if attempt.built_ms.is_some() => "built, is being published",
            None if attempt.started_ms.is_some() => "is being built",
            None => "ordered",
            Some(Outcome::Published { history }) => { "published in history " code { (history) } },
            Some(Outcome::Failed { class, message, during }) => {
                strong { (class) } @if !during.is_empty() { " in " (during) } ": " (message)
            },
            Some(Outcome::Stopped { why }) => (why),
        }
    }
}

/// The end of the newest log; the script goes on from there.
async fn log_panel(web: &Web, view: &TaskPageView, attempt: &AttemptView) -> Result<Markup, WebError> {
    let panel = log::panel(web, view.task.id, attempt, Window::End(PANEL_BYTES_MAX)).await?;
    Ok(html! {
        h2 { "Log of attempt " (attempt.number) " " small { a href=(attempt.log_page_url) { "on a page of its own" } } }
        (panel)
    })
}
