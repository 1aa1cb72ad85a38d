//! The dashboard and the JSON API.
//!
//! Pages are made here and need nothing from elsewhere: one style sheet, one script, both served by Summit; without
//! the script everything but live updates and buttons works. Every page has a JSON twin below `/api`. Text from
//! recipes, logs and agents is escaped wherever it is shown, and a strict policy forbids anything else to run.
//!
//! What there is stands in one table, [`routes`]; who may ask for it is found out in one place, [`check`], before any handler
//! runs.

mod api;
mod bounds;
mod check;
mod error;
mod health;
mod live;
mod log_file;
pub(crate) mod openapi;
mod operation;
mod pages;
mod rebuild;
mod routes;
mod search;
mod server;
mod session;
mod view;
mod why;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::SummitError;
use crate::channels::Channels;
use crate::hub::Hub;
use error::WebError;

/// Browsers that may watch live at once. Each costs some kilobytes and one task.
const WATCHERS_MAX: usize = 512;

/// Largest body of a request. The largest that makes sense names every recipe: 2,000 names of 30 bytes.
pub(crate) const BODY_SIZE_BYTES_MAX: usize = 256 << 10;

/// Nothing but our own files may be loaded or run, and nobody may frame the pages.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) hub: Arc<Hub>,
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) searches: Arc<Semaphore>,
    pub(crate) bounds: Arc<check::Bounds>,
    pub(crate) channels: Arc<Channels>,
    pub(crate) drawings: Arc<view::Drawings>,
}

/// Serves browsers and tools until Summit stops.
pub(crate) async fn serve(
    listener: TcpListener,
    hub: Arc<Hub>,
    stopped: watch::Receiver<bool>,
) -> Result<(), SummitError> {
    server::serve(listener, router(hub), stopped).await;
    Ok(())
}

fn router(hub: Arc<Hub>) -> Router {
    let web = Web {
        hub,
        watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        searches: Arc::new(Semaphore::new(search::SEARCHES_MAX)),
        bounds: Arc::default(),
        channels: Arc::default(),
        drawings: Arc::default(),
    };
    routes::router(&web)
        .fallback(nothing_here)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_SIZE_BYTES_MAX))
        .layer(from_fn(security_headers))
        .with_state(web)
}

async fn nothing_here(State(web): State<Web>, request: Request) -> Response {
    let error = WebError::NoSuchPage { path: request.uri().path().to_owned() };
    check::refuse(&web, request, error).await
}

async fn no_such_method(State(web): State<Web>, request: Request) -> Response {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    check::refuse(&web, request, WebError::NoSuchMethod { method, path }).await
}

/// Whether programs ask there, who read JSON.
fn is_for_programs(path: &str) -> bool {
    ["/api/", "/hooks/", "/health", "/metrics"].iter().any(|place| path.starts_with(place))
}

/// Sends the security headers with every answer.
async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
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
