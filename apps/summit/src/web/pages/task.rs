//! One task: where it stands and why, its attempts, its log.

use access::Action;
use axum::extract::State;
use farm::schedule::Priority;
use farm::task::Phase;
use maud::{Markup, html};

use super::figures::{about, badge, duration, elapsed, progress, size, time};
use super::{Entry, Page, Reader, forge, log, package};
use crate::logs::view::Window;
use crate::store::Outcome;
use crate::web::Web;
use crate::web::api::MaybeId;
use crate::web::error::WebError;
use crate::web::view::{AttemptView, TaskPageView, TaskView};

/// Bytes at the end of a log that the page of its task shows.
const PANEL_BYTES_MAX: u64 = 64 << 10;

/// Recipes up to which each that needs this one is named.
const NEEDED_BY_MAX: usize = 60;

pub(crate) async fn task(State(web): State<Web>, reader: Reader, id: MaybeId) -> Page {
    let id = web.task_id(id).await?;
    let view = web.task_page(id).await?;
    let task = &view.task;
    let now = web.hub.clock.now().0;
    let log = match view.attempts.last() {
        Some(attempt) => Some(log_panel(&web, &view, attempt).await?),
        None => None,
    };
    let recipes_url =
        web.hub.config().project(&task.project).map(|project| project.recipes.clone()).unwrap_or_default();
    let body = html! {
        div #head data-live {
            h1 {
                a href=(package::address(&task.source)) { (task.source) } " "
                small { (task.version) "-" (task.release) } " " (badge(task.phase))
            }
        }
        div #actions data-live { (actions(task, &reader)) }
        div #why data-live { (why(&view)) }
        div #facts data-live { (facts(&view, &recipes_url, now)) }
        @match log {
            Some(panel) => (panel),
            None => { h2 { "Log" } p.empty { "A log begins when a builder does." } }
        }
        div #attempts data-live {
            h2 { "Attempts" }
            @if view.attempts.is_empty() { p.empty { "It was not handed out yet." } }
            @else { (attempts(&view, now)) }
        }
        div.two {
            div #inputs data-live { h2 { "Built with" } (package::inputs(&view.inputs)) }
            div #outputs data-live {
                h2 { "Published of it" }
                @if view.outputs.is_empty() { p.empty { "Nothing of this recipe is published yet." } } @else { (package::outputs(&view.outputs)) }
                @if !view.needed_by.is_empty() {
                    h2 { "Waits for it " small { (view.needed_by.len()) } }
                    ul.chips {
                        @for link in view.needed_by.iter().take(NEEDED_BY_MAX) { li { a href=(format!("/tasks/{}", link.task)) { (link.source) } } }
                    }
                    @if view.needed_by.len() > NEEDED_BY_MAX { p.hint { "and " (view.needed_by.len() - NEEDED_BY_MAX) " more" } }
                }
            }
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
    let title = format!("{} – task {id}", task.source);
    Ok(reader.page(&title, Entry::Tasks, format!("/api/tasks/{id}"), body))
}

fn actions(task: &TaskView, reader: &Reader) -> Markup {
    let may = |action: Action| reader.may(action);
    let retry = matches!(task.phase, Phase::Failed | Phase::Cancelled) && may(Action::RetryTask);
    let cancel = task.phase.is_open() && task.phase != Phase::Publishing && may(Action::CancelTask);
    let release = task.phase == Phase::Held && may(Action::ReleaseTask);
    let hold = task.phase.is_queued() && task.phase != Phase::Held && may(Action::HoldTask);
    let urge = task.phase.is_open() && may(Action::SetPriority);
    let to = |verb: &str| format!("/api/tasks/{}/{verb}", task.id);
    html! {
        @if retry || cancel || release || hold || urge {
            div.actions role="group" aria-label="actions" {
                @if retry { button type="button" data-post=(to("retry")) { "Try again" } }
                @if release { button type="button" data-post=(to("release")) { "Release" } }
                @if hold || cancel { input name="why" maxlength="500" placeholder="why (for others to read)" aria-label="why"; }
                @if hold { button.quiet type="button" data-post=(to("hold")) data-send="why" { "Hold" } }
                @if cancel { button.quiet type="button" data-post=(to("cancel")) data-send="why" data-sure="Really cancel?" { "Cancel" } }
                @if urge {
                    select name="priority" data-post=(to("priority")) aria-label="priority" {
                        option value="" selected[task.priority.is_none()] { "priority as configured" }
                        @for priority in Priority::ALL {
                            option value=(priority.keyword()) selected[task.priority == Some(priority)] { (priority.keyword()) }
                        }
                    }
                }
                span.answer role="status" {}
            }
        }
    }
}

fn why(view: &TaskPageView) -> Markup {
    html! {
        div class=(format!("callout {}", view.task.phase)) {
            p { (view.why.headline) }
            @if !view.why.because.is_empty() {
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
            }
            p.hint { "Next: " (view.why.next_step) }
        }
    }
}

fn facts(view: &TaskPageView, recipes_url: &str, now_ms: u64) -> Markup {
    let task = &view.task;
    html! {
        dl.facts {
            div { dt { "Recipe" } dd { code { (task.recipe) } " at " (forge::commit(recipes_url, &task.commit)) } }
            div { dt { "For" } dd { (task.project) ", " (task.architecture) ", channel " (task.channel) } }
            div { dt { "Why it was made" } dd { (task.reason) ", build release " (task.build_release) ", " (time(task.created_ms)) } }
            @if let Some(builder) = &task.builder { div { dt { "Builder" } dd { a href=(format!("/builders/{}", super::figures::in_address(builder))) { (builder) } } } }
            @if task.running_since_ms.is_some() { div class=(task.phase.keyword()) { dt { "Running" } dd { (progress(task, now_ms)) } } }
            @else if let Some(expected) = view.expected_ms { div { dt { "A build takes" } dd { "about " (about(expected)) } } }
            @if let Some(history) = &task.history { div { dt { "Published in" } dd { "history " code { (history) } } } }
        }
    }
}

fn attempts(view: &TaskPageView, now_ms: u64) -> Markup {
    html! {
        div.table { table {
            thead { tr { th { "Attempt" } th { "Builder" } th.wide { "End" } th { "Log" } th.right { "Memory" } th.right { "Time" } } }
            tbody {
                @for attempt in view.attempts.iter().rev() {
                    tr {
                        td title=(attempt.why) data-label="attempt" { (attempt.number) }
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
                            @if let Some(expected) = view.expected_ms { " " small { "of about " (about(expected)) } }
                        }
                    }
                }
            }
        } }
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

/// The end of the newest log, from which the script goes on; of a failed build what is around its first error.
async fn log_panel(web: &Web, view: &TaskPageView, attempt: &AttemptView) -> Result<Markup, WebError> {
    let error = log::first_error(web, view.task.id, attempt).await?;
    let window = error.as_ref().map_or(Window::End(PANEL_BYTES_MAX), |error| Window::Line(error.line));
    let panel = log::panel(web, view.task.id, attempt, window).await?;
    Ok(html! {
        h2 { "Log of attempt " (attempt.number) " " small { a href=(attempt.log_page_url) { "on a page of its own" } } }
        @if let Some(error) = &error { (log::first_error_markup(error, attempt)) }
        (panel)
    })
}
