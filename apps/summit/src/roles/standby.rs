//! What a Summit that stands by answers: that it does, and where the leader is.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::watch;
use wire::tonic::Status;
use wire::tonic::body::Body;
use wire::tonic::service::Routes;

use super::Standing;
use crate::SummitError;
use crate::term::{Summit, listener};

/// Nothing is shown that could load or run anything.
const CONTENT_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Seconds after which the next try is worth it: a Summit that takes over needs about that long.
const RETRY_AFTER_SECONDS: &str = "2";

/// Serves until the runtime ends.
pub(super) fn serve(
    runtime: &Handle,
    summit: &Summit,
    standing: watch::Receiver<Standing>,
) -> Result<(), SummitError> {
    let identity = crate::identity(&summit.data)?;
    let _context = runtime.enter();
    let (http, grpc) = (listener(&summit.http)?, listener(&summit.grpc)?);
    let pages = pages(standing.clone());
    runtime.spawn(async move {
        if let Err(error) = axum::serve(http, pages).await {
            tracing::error!(%error, "a standby cannot serve HTTP");
        }
    });
    let refusals = Routes::from(Router::new().fallback(refuse).with_state(standing));
    runtime.spawn(async move {
        // Whoever asks is told the same, and nothing else happens here: every key may ask.
        let served =
            wire::serve(grpc, &identity, |_: &wire::PublicKey| true, refusals, std::future::pending()).await;
        if let Err(error) = served {
            tracing::error!(error = fault::chain(&error).join(": "), "a standby cannot serve agents");
        }
    });
    Ok(())
}

fn pages(standing: watch::Receiver<Standing>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(elsewhere)
        .layer(axum::middleware::map_response(with_policy))
        .with_state(standing)
}

async fn with_policy(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn health(State(standing): State<watch::Receiver<Standing>>) -> Response {
    let standing = standing.borrow().clone();
    let leader = standing.leader.map(|leader| {
        json!({ "http": leader.http, "grpc": leader.grpc, "epoch": leader.epoch, "since_ms": leader.since.0 })
    });
    let code = if standing.trouble.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(json!({ "role": "standby", "leader": leader, "trouble": standing.trouble }))).into_response()
}

async fn metrics(State(standing): State<watch::Receiver<Standing>>) -> Response {
    let reachable = u8::from(standing.borrow().trouble.is_none());
    let text = format!(
        "# HELP summit_leading Whether this Summit leads.\n# TYPE summit_leading gauge\nsummit_leading 0\n\
         # HELP summit_database_up Whether the database answers.\n# TYPE summit_database_up gauge\n\
         summit_database_up {reachable}\n# EOF\n"
    );
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
        .into_response()
}

async fn elsewhere(State(standing): State<watch::Receiver<Standing>>, request: Request) -> Response {
    let leader = standing.borrow().leader.as_ref().map(|leader| leader.http.clone());
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let target = leader.as_ref().and_then(|leader| HeaderValue::try_from(format!("{leader}{path}")).ok());
    if let (true, Some(target)) = (is_read, target) {
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target)]).into_response();
    }
    let hint = match leader {
        Some(leader) => format!("ask the one that leads: {leader}"),
        None => "nobody leads at the moment; ask again in a while".to_owned(),
    };
    let body = json!({ "error": { "message": "cannot answer: this Summit stands by", "causes": [], "hints": [hint] } });
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER_SECONDS)], Json(body))
        .into_response()
}

async fn refuse(State(standing): State<watch::Receiver<Standing>>) -> axum::http::Response<Body> {
    let message = match standing.borrow().leader.as_ref() {
        Some(leader) => format!("this Summit stands by; the one that leads is at {}", leader.grpc),
        None => "this Summit stands by, and nobody leads at the moment".to_owned(),
    };
    Status::unavailable(message).into_http()
}
