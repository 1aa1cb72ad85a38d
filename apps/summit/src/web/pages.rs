//! The pages. Each says what it shows, also when that is nothing.
//!
//! Elements with `data-live` are exchanged for their newest version by the script when news arrive; the pages are
//! complete without it.

mod audit;
mod builders;
mod colours;
mod figures;
pub(crate) mod log;
mod logs;
mod order;
mod overview;
pub(crate) mod pictures;
mod task;
mod tasks;
mod timeline;

use axum::response::Html;
use fault::Fault;
use maud::{DOCTYPE, Markup, html};

use farm::why::Paused;

use super::error::{PageError, WebError};
use super::view::Head;
use figures::time;

pub(crate) use audit::audit;
pub(crate) use builders::builders;
pub(crate) use colours::colours;
pub(crate) use log::log;
pub(crate) use logs::logs;
pub(crate) use order::queue;
pub(crate) use overview::overview;
pub(crate) use task::task;
pub(crate) use tasks::tasks;
pub(crate) use timeline::timeline;

type Page = Result<Html<String>, PageError>;

/// A page that says why there is no page.
pub(crate) fn error(error: &WebError) -> Markup {
    let chain = fault::chain(error);
    let body = html! {
        h1 { "That did not work" }
        @for (number, message) in chain.iter().enumerate() {
            p.lead { @if number > 0 { "because: " } (message) }
        }
        @for hint in error.hints() { p.hint { (hint) } }
        p { a href="/" { "Back to the overview" } }
    };
    frame("Error", "Summit", None, &body)
}

pub(crate) fn page(title: &str, head: &Head, body: Markup) -> Html<String> {
    Html(frame(title, &head.name, head.paused.as_ref(), &body).into_string())
}

fn frame(title: &str, project: &str, paused: Option<&Paused>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (project) }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
                link rel="stylesheet" href="/colours.css";
                link rel="stylesheet" href="/pictures.css";
                script src="/script.js" defer {}
                script src="/log.js" defer {}
            }
            body {
                header {
                    a.home href="/" { img src="/icon.svg" alt="" width="24" height="24"; (project) }
                    nav aria-label="pages" {
                        a href="/" { "Overview" }
                        a href="/tasks" { "Tasks" }
                        a href="/queue" { "Order" }
                        a href="/builders" { "Builders" }
                        a href="/timeline" { "Timeline" }
                        a href="/logs" { "Logs" }
                    }
                    span #live role="status" title="whether this page is kept up to date" {}
                }
                div #pause data-live {
                    @if let Some(paused) = paused {
                        p.warning role="status" {
                            "Paused by " (paused.by) " " (time(paused.since.0))
                            @if !paused.why.is_empty() { ": " (paused.why) }
                            ". Nothing is started; what is being built goes on. "
                            span.actions {
                                button type="button" data-post="/api/queue/resume" { "Resume" }
                                span.answer role="status" {}
                            }
                        }
                    }
                }
                main { (body) }
                footer { "Summit " (env!("CARGO_PKG_VERSION")) " · " a href="/audit" { "Who did what" } " · " a href="/api/openapi.json" { "API" } " · " a href="/sign-in" { "Sign in" } }
            }
        }
    }
}
