//! The dashboard and the JSON API.
//!
//! Pages are made here and need nothing from elsewhere: one style sheet, one script, both served by Summit; without
//! the script everything but live updates and buttons works. Every page has a JSON twin below `/api`. Text from
//! recipes, logs and agents is escaped wherever it is shown, and a strict policy forbids anything else to run.
//!
//! Reading is open to everybody who reaches the address. Changing something (`POST`) is not, until there are accounts:
//! only from the same machine, with the header `X-Moraine: 1` that no other site's page can send, by a host name that is
//! the machine itself, and not through a proxy.

mod api;
mod error;
mod live;
mod log_file;
mod pages;
mod picture;
mod rebuild;
mod search;
mod view;
mod why;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::SummitError;
use crate::hub::Hub;
use error::{PageError, WebError};

/// Browsers that may watch live at once. Each costs some kilobytes and one task.
const WATCHERS_MAX: usize = 512;

/// Nothing but our own files may be loaded or run, and nobody may frame the pages.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) hub: Arc<Hub>,
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) searches: Arc<Semaphore>,
}

/// Serves browsers and tools until Summit stops.
pub(crate) async fn serve(
    listener: TcpListener,
    hub: Arc<Hub>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), SummitError> {
    let app = router(hub).into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        result = axum::serve(listener, app) => result.map_err(|source| SummitError::Http { source }),
        // Streams of browsers never end by themselves; they connect again when Summit is back.
        _ = stopped.wait_for(|stop| *stop) => Ok(()),
    }
}

fn router(hub: Arc<Hub>) -> Router {
    let web = Web {
        hub,
        watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        searches: Arc::new(Semaphore::new(search::SEARCHES_MAX)),
    };
    Router::new()
        .route("/", get(pages::overview))
        .route("/tasks", get(pages::tasks))
        .route("/tasks/{id}", get(pages::task))
        .route("/tasks/{id}/attempts/{attempt}", get(pages::log))
        .route("/tasks/{id}/log/{attempt}", get(log_file::log_file))
        .route("/tasks/{id}/log/{attempt}/rows", get(api::logs::rows))
        .route("/tasks/{id}/log/{attempt}/stream", get(live::log_stream))
        .route("/builders", get(pages::builders))
        .route("/queue", get(pages::queue))
        .route("/logs", get(pages::logs))
        .route("/events", get(live::events))
        .route("/style.css", get(|| asset("text/css; charset=utf-8", include_str!("web/assets/style.css"))))
        .route("/colours.css", get(|| asset("text/css; charset=utf-8", pages::colours())))
        .route("/log.js", get(|| asset("text/javascript; charset=utf-8", include_str!("web/assets/log.js"))))
        .route(
            "/script.js",
            get(|| asset("text/javascript; charset=utf-8", include_str!("web/assets/script.js"))),
        )
        .route("/icon.svg", get(|| asset("image/svg+xml", include_str!("web/assets/icon.svg"))))
        .route("/api/status", get(api::status))
        .route("/api/tasks", get(api::tasks))
        .route("/api/tasks/{id}", get(api::task))
        .route("/api/projects", get(api::projects))
        .route("/api/builders", get(api::builders))
        .route("/api/queue", get(api::queue))
        .route("/api/plan/graph", get(api::plan_graph))
        .route("/api/recipes", get(api::recipes))
        .route("/api/tasks/{id}/why", get(why::why))
        .route("/api/tasks/{id}/attempts/{attempt}/log", get(api::logs::piece))
        .route("/api/logs/search", get(api::logs::search))
        .route("/api/tasks/{id}/retry", post(api::retry))
        .route("/api/tasks/{id}/cancel", post(api::cancel))
        .route("/api/projects/{name}/rebuild", post(rebuild::rebuild))
        .route("/api/wake-up", post(api::wake_up))
        .fallback(nothing_here)
        .layer(from_fn(guard))
        .with_state(web)
}

async fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=60")], text).into_response()
}

async fn nothing_here(uri: Uri) -> Response {
    let error = WebError::NoSuchPage { path: uri.path().to_owned() };
    match uri.path().starts_with("/api/") {
        true => error.into_response(),
        false => PageError::from(error).into_response(),
    }
}

/// Refuses changes from elsewhere, and sends the security headers with every answer.
async fn guard(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = match is_read || may_change(peer, request.headers()) {
        true => next.run(request).await,
        false => WebError::NotAllowed.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Whether a request may change something.
fn may_change(peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
    let is_local = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let asks_for_it = headers.get("x-moraine").is_some_and(|value| value == "1");
    // Through a proxy everybody looks local.
    let is_proxied =
        ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    is_local && asks_for_it && !is_proxied && is_own_host(host)
}

/// A name that only this machine resolves to itself: a page elsewhere whose name was made to point here has another.
fn is_own_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost"
        || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_from_this_machine_and_from_no_other_site() {
        let local = "127.0.0.1:4000";
        type Row = (&'static str, &'static [(&'static str, &'static str)], bool);
        let table: [Row; 9] = [
            (local, &[("x-moraine", "1"), ("host", "127.0.0.1:5000")], true),
            ("[::1]:4000", &[("x-moraine", "1"), ("host", "[::1]:5000")], true),
            ("[::ffff:127.0.0.1]:4000", &[("x-moraine", "1"), ("host", "localhost:5000")], true),
            (local, &[("x-moraine", "1"), ("host", "localhost")], true),
            (local, &[("host", "127.0.0.1:5000")], false),
            (local, &[("x-moraine", "1"), ("host", "evil.example:5000")], false),
            (local, &[("x-moraine", "1")], false),
            (local, &[("x-moraine", "1"), ("host", "localhost"), ("x-forwarded-for", "203.0.113.7")], false),
            ("192.0.2.1:4000", &[("x-moraine", "1"), ("host", "localhost")], false),
        ];
        for (peer, headers, expect) in table {
            let map = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(may_change(peer.parse().ok(), &map), expect, "{peer} {headers:?}");
        }
        assert!(!may_change(None, &HeaderMap::new()));
    }
}
