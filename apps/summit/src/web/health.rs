//! `/health`: whether Summit does what it should, with reasons; `/metrics`: what it counts.
//!
//! 503 when it cannot do its work at all: the database does not answer, or there is no room left. What else is wrong, such as a git
//! that does not answer, makes it `degraded`, which is 200: another Summit would fare no better.

use std::net::ToSocketAddrs;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use farm::task::Phase;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;

use super::Web;
use super::error::WebError;
use crate::metrics::Now;

/// Longest wait for each thing that is looked at; probes give up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Room below which logs and database are in danger.
const ROOM_BYTES_MIN: u64 = 1 << 30;

/// How Summit is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HealthView {
    /// `leader`; a standby says `standby`.
    role: &'static str,
    /// `well`, `degraded` or `failing`.
    status: &'static str,
    checks: Vec<CheckView>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CheckView {
    /// `database`, `disk`, `logs`, `vessel`, `configuration` or `project NAME`.
    name: String,
    well: bool,
    /// Whether Summit cannot work without it.
    vital: bool,
    /// What was found.
    detail: String,
}

impl CheckView {
    fn new(name: impl Into<String>, vital: bool, found: Result<String, String>) -> Self {
        let well = found.is_ok();
        Self { name: name.into(), well, vital, detail: found.unwrap_or_else(|trouble| trouble) }
    }
}

pub(crate) async fn health(State(web): State<Web>) -> Response {
    let hub = &web.hub;
    let mut checks = Vec::new();
    let database = match timeout(PATIENCE, hub.store.mark()).await {
        Ok(Ok(_)) => Ok("answers".to_owned()),
        Ok(Err(error)) => Err(fault::chain(&error).join(": ")),
        Err(_) => Err(format!("no answer within {} seconds", PATIENCE.as_secs())),
    };
    checks.push(CheckView::new("database", true, database));
    checks.push(CheckView::new("disk", true, room(&hub.data)));
    let older =
        hub.older_logs.get().map_or_else(|| Ok("are where they were before".into()), |why| Err(why.clone()));
    let logs = older.and_then(|said: String| Ok(format!("{said}; {}", room(hub.logs.folder())?)));
    checks.push(CheckView::new("logs", false, logs));
    checks.push(CheckView::new("vessel", false, vessel(&hub.config().vessel.address).await));
    let trouble = hub.config_state().trouble;
    checks.push(CheckView::new("configuration", false, trouble.map_or_else(|| Ok("is used".into()), Err)));
    let worlds = hub.worlds();
    for project in &hub.config().projects {
        let troubles: Vec<String> = worlds
            .values()
            .filter(|world| world.arena.project == project.name)
            .filter_map(|world| world.trouble.clone())
            .collect();
        let found = match troubles.is_empty() {
            true => Ok("recipes and repository are read".to_owned()),
            false => Err(troubles.join("; ")),
        };
        checks.push(CheckView::new(format!("project {}", project.name), false, found));
    }
    let is_failing = checks.iter().any(|check| check.vital && !check.well);
    let status = match (is_failing, checks.iter().all(|check| check.well)) {
        (true, _) => "failing",
        (false, false) => "degraded",
        (false, true) => "well",
    };
    let code = if is_failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(HealthView { role: "leader", status, checks })).into_response()
}

fn room(data: &std::path::Path) -> Result<String, String> {
    let space =
        rustix::fs::statvfs(data).map_err(|error| format!("cannot see how much room is left: {error}"))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let text = format!("{} MiB free", free >> 20);
    if free < ROOM_BYTES_MIN { Err(text) } else { Ok(text) }
}

async fn vessel(address: &str) -> Result<String, String> {
    let place = address.to_owned();
    let resolved = tokio::task::spawn_blocking(move || place.to_socket_addrs().ok()?.next());
    let connected = async {
        let Ok(Some(place)) = resolved.await else { return Err(format!("{address} has no address")) };
        tokio::net::TcpStream::connect(place).await.map_err(|error| format!("{address}: {error}"))
    };
    match timeout(PATIENCE, connected).await {
        Ok(Ok(_)) => Ok(format!("{address} answers")),
        Ok(Err(trouble)) => Err(trouble),
        Err(_) => Err(format!("{address} does not answer within {} seconds", PATIENCE.as_secs())),
    }
}

pub(crate) async fn metrics(State(web): State<Web>) -> Result<Response, WebError> {
    let hub = &web.hub;
    let mut now = Now::default();
    for project in &hub.config().projects {
        let counts = hub.store.counts(Some(&project.name)).await?;
        now.tasks.extend(counts.into_iter().map(|(phase, count)| (project.name.clone(), phase, count)));
    }
    if let Some(oldest) = hub.store.oldest_in(Phase::Ready).await? {
        now.oldest_ready_seconds = hub.clock.now().since(oldest).as_secs_f64();
    }
    let builders = web.builder_list().await?;
    let attached = || builders.iter().filter(|builder| builder.attached);
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    now.builders = [
        ("known", builders.len()),
        ("attached", attached().count()),
        ("drained", builders.iter().filter(|builder| builder.drained).count()),
    ];
    now.slots = [
        ("all", attached().map(|builder| count(builder.slots)).sum()),
        ("busy", attached().map(|builder| builder.running.len()).sum()),
    ];
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    Ok((kind, hub.metrics.text(&now)).into_response())
}
