//! What is around every page, and who looks at it.
//!
//! A page is made by its [`Reader`] and by nothing else. So each of them says who is signed in, which entry of the navigation it
//! belongs to, and where the API says the same.

use std::convert::Infallible;
use std::sync::Arc;

use access::{Action, Actor};
use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Response};
use farm::why::Paused;
use fault::Fault;
use maud::{DOCTYPE, Markup, html};

use super::figures::time;
use crate::web::Web;
use crate::web::error::WebError;

/// Whoever looks at a page.
pub(crate) struct Reader {
    web: Web,
    actor: Actor,
    /// How much news there was before the page was made.
    told: u64,
}

/// An entry of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Overview,
    Tasks,
    Order,
    Builders,
    Timeline,
    Channels,
    Logs,
    /// No entry: the page is found elsewhere.
    Elsewhere,
}

impl Entry {
    /// In the order of the navigation, with what stands there.
    const SHOWN: [(Entry, &str, &str); 7] = [
        (Entry::Overview, "/", "Overview"),
        (Entry::Tasks, "/tasks", "Tasks"),
        (Entry::Order, "/queue", "Order"),
        (Entry::Builders, "/builders", "Builders"),
        (Entry::Timeline, "/timeline", "Timeline"),
        (Entry::Channels, "/channels", "Channels"),
        (Entry::Logs, "/logs", "Logs"),
    ];
}

/// Why there is no page. An answer that has it is framed for whoever asked, see [`Reader::framed`].
#[derive(Debug, Clone)]
pub(crate) struct NoPage(Arc<WebError>);

impl FromRequestParts<Web> for Reader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Infallible> {
        // The check before every route has left there who it is.
        let actor = parts.extensions.get::<Actor>().cloned().unwrap_or(Actor::Visitor);
        Ok(Self::new(web, actor))
    }
}

impl Reader {
    pub(crate) fn new(web: &Web, actor: Actor) -> Self {
        Self { web: web.clone(), actor, told: web.hub.told() }
    }

    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Whether they may do that.
    pub(crate) fn may(&self, action: Action) -> bool {
        self.web.judge(&self.actor, action).is_ok()
    }

    /// A page for them. The API says the same at `twin`.
    pub(crate) fn page(
        &self,
        title: &str,
        entry: Entry,
        twin: impl Into<String>,
        body: Markup,
    ) -> Html<String> {
        self.frame(title, entry, Some(&twin.into()), &body)
    }

    /// An answer as they should see it: one that says why there is no page gets the frame that all pages have.
    pub(crate) fn framed(&self, answer: Response) -> Response {
        let (mut parts, body) = answer.into_parts();
        match parts.extensions.remove::<NoPage>() {
            Some(NoPage(error)) => {
                let page = self.frame("Error", Entry::Elsewhere, None, &why_not(&error)).into_response();
                parts.headers.remove(header::CONTENT_LENGTH);
                parts.headers.extend(page.headers().clone());
                Response::from_parts(parts, page.into_body())
            }
            None => Response::from_parts(parts, body),
        }
    }

    fn frame(&self, title: &str, entry: Entry, twin: Option<&str>, body: &Markup) -> Html<String> {
        let name = self.web.farm_name();
        let now_ms = self.web.hub.clock.now().0;
        let page = html! {
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
                // An error has nothing that could be kept up to date.
                body data-now=[twin.map(|_| now_ms)] data-told=[twin.map(|_| self.told)] {
                    a.skip href="#main" { "Skip to the content" }
                    header.top {
                        a.home href="/" { img src="/icon.svg" alt="" width="24" height="24"; (name) }
                        nav aria-label="pages" {
                            @for (one, address, word) in Entry::SHOWN {
                                a href=(address) aria-current=[(one == entry).then_some("page")] { (word) }
                            }
                        }
                        span #live role="status" title="whether this page is kept up to date" {}
                        a.who href="/sign-in" { (self.who()) }
                    }
                    p.notice #lost role="alert" hidden {}
                    div #pause data-live { @if let Some(paused) = self.web.hub.paused() { (self.pause(&paused)) } }
                    main #main tabindex="-1" { (body) }
                    footer.bottom {
                        span { "Summit " (env!("CARGO_PKG_VERSION")) }
                        @if let Some(twin) = twin { a href=(twin) { "This page as JSON" } }
                        a href="/api/openapi.json" { "API" }
                        a href="/audit" { "Who did what" }
                    }
                }
            }
        };
        Html(page.into_string())
    }

    /// Who it is, or that they can say so.
    fn who(&self) -> &str {
        match &self.actor {
            Actor::Token { name, .. } => name,
            Actor::Local => "at this machine",
            _ => "Sign in",
        }
    }

    /// That the queue is paused, and by whom.
    fn pause(&self, paused: &Paused) -> Markup {
        html! {
            p.notice {
                strong { "Paused" } " by " (paused.by) " " (time(paused.since.0))
                @if !paused.why.is_empty() { ": " (paused.why) }
                ". Nothing is started; what is being built goes on. "
                @if self.may(Action::ResumeQueue) {
                    span.actions {
                        button type="button" data-post="/api/queue/resume" { "Resume" }
                        span.answer role="status" {}
                    }
                }
            }
        }
    }
}

impl NoPage {
    pub(crate) fn new(error: WebError) -> Self {
        Self(Arc::new(error))
    }
}

fn why_not(error: &WebError) -> Markup {
    let chain = fault::chain(error);
    html! {
        h1 { "That did not work" }
        @for (number, message) in chain.iter().enumerate() {
            p.lead { @if number > 0 { "because: " } (message) }
        }
        @for hint in error.hints() { p.hint { (hint) } }
        p { a href="/" { "Back to the overview" } }
    }
}
