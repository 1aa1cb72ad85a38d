//! The pages. Each says what it shows, also when that is nothing.
//!
//! Elements with `data-live` are exchanged for their newest version by the script when news arrive; the pages are
//! complete without it.

mod audit;
mod builder;
mod builders;
mod channels;
mod colours;
mod figures;
mod forge;
pub(crate) mod log;
mod logs;
mod order;
mod overview;
mod package;
pub(crate) mod pictures;
mod task;
mod tasks;
mod timeline;

use axum::response::Html;
use fault::Fault;
use maud::{DOCTYPE, Markup, html};

use super::error::{PageError, WebError};
use super::view::Head;
use figures::time;

pub(crate) use audit::audit;
pub(crate) use builder::builder;
pub(crate) use builders::builders;
pub(crate) use channels::{channels, diff};
pub(crate) use colours::colours;
pub(crate) use log::log;
pub(crate) use logs::logs;
pub(crate) use order::queue;
pub(crate) use overview::overview;
pub(crate) use package::package;
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
    frame("Error", None, &body)
}

pub(crate) fn page(title: &str, head: &Head, body: Markup) -> Html<String> {
    Html(frame(title, Some(head), &body).into_string())
}

/// Entries of the navigation.
const PLACES: [(&str, &str); 7] = [
    ("/", "Overview"),
    ("/tasks", "Tasks"),
    ("/queue", "Order"),
    ("/builders", "Builders"),
    ("/timeline", "Timeline"),
    ("/channels", "Channels"),
    ("/logs", "Logs"),
];

fn frame(title: &str, head: Option<&Head>, body: &Markup) -> Markup {
    let name = head.map_or("Summit", |head| head.name.as_str());
    let place = head.map_or("", |head| head.place);
    let twin = head.and_then(|head| head.twin.as_ref());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (name) }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
                link rel="stylesheet" href="/colours.css";
                link rel="stylesheet" href="/pictures.css";
                @if let Some(twin) = twin { link rel="alternate" type="application/json" href=(twin); }
                script src="/script.js" defer {}
                script src="/log.js" defer {}
            }
            body data-now=[head.map(|head| head.now_ms)] {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.home href="/" { img src="/icon.svg" alt="" width="24" height="24"; (name) }
                    nav aria-label="pages" {
                        @for (address, entry) in PLACES {
                            a href=(address) aria-current=[(address == place).then_some("page")] { (entry) }
                        }
                    }
                    span #live role="status" title="whether this page is kept up to date" {}
                    a.who href="/sign-in" { @match head.and_then(|head| head.reader.as_ref()) { Some(reader) => (reader), None => "Sign in" } }
                }
                p.notice #lost role="alert" hidden {}
                div #pause data-live { @if let Some(head) = head { (pause(head)) } }
                main #main tabindex="-1" { (body) }
                footer.bottom {
                    span { "Summit " (env!("CARGO_PKG_VERSION")) }
                    @if let Some(twin) = twin { a href=(twin) { "This page as JSON" } }
                    a href="/api/openapi.json" { "API" }
                    a href="/audit" { "Who did what" }
                }
            }
        }
    }
}

/// That the queue is paused, and by whom.
fn pause(head: &Head) -> Markup {
    html! {
        @if let Some(paused) = &head.paused {
            p.notice {
                strong { "Paused" } " by " (paused.by) " " (time(paused.since.0))
                @if !paused.why.is_empty() { ": " (paused.why) }
                ". Nothing is started; what is being built goes on. "
                @if head.may_resume {
                    span.actions {
                        button type="button" data-post="/api/queue/resume" { "Resume" }
                        span.answer role="status" {}
                    }
                }
            }
        }
    }
}
