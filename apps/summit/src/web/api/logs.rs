//! Parts of logs: rows for the page, bytes for programs, lines that match.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::logs::view::{WINDOW_BYTES_MAX, part, part_before};
use crate::web::Web;
use crate::web::api::{Asked, asked};
use crate::web::error::WebError;
use crate::web::live::{LogPath, find};
use crate::web::pages::log::rows_markup;
use crate::web::search::{self, SearchQuery};

/// Bytes of a log in one answer; four thirds of it travel.
const PIECE_BYTES_MAX: u64 = 1 << 20;

/// Longest wait for something new. Proxies give up after a minute.
const WAIT_SECONDS_MAX: u64 = 20;

/// An attempt whose end nobody told is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Which rows of a log.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RowsQuery {
    begin: Option<u64>,
    end: Option<u64>,
    /// Those next to `end` rather than to `begin`.
    back: Option<bool>,
}

/// Rows, as the page shows them.
#[derive(Debug, Serialize)]
pub(crate) struct RowsView {
    begin: u64,
    end: u64,
    html: String,
}

/// `/tasks/ID/log/ATTEMPT/rows?begin=N&end=N&back=BOOL`: as many rows as are shown at once.
pub(crate) async fn rows(
    State(web): State<Web>,
    path: LogPath,
    wanted: Asked<RowsQuery>,
) -> Result<Json<RowsView>, WebError> {
    let row = find(&web, path).await?;
    let wanted = asked(wanted)?;
    let begin = wanted.begin.unwrap_or(0);
    let end = wanted.end.unwrap_or(u64::MAX);
    let back = wanted.back.unwrap_or(false);
    let part = web.hub.logs.with_outline(row.task, row.id, move |reader, outline| {
        let end = end.min(reader.size_bytes());
        match back {
            true => part_before(reader, outline, begin, end.max(begin)),
            false => {
                let to = begin.saturating_add(WINDOW_BYTES_MAX).min(end).max(begin);
                Ok(part(reader, outline, begin, to, to == end)?.0)
            }
        }
    });
    let part = part.await?;
    Ok(Json(RowsView { begin: part.begin, end: part.end, html: rows_markup(&part.rows).into_string() }))
}

/// `/api/logs`: what is kept.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeptLogsView {
    /// How many logs.
    logs: u64,
    /// Bytes of their files, as they are stored.
    stored_bytes: u64,
}

pub(crate) async fn kept(State(web): State<Web>) -> Json<KeptLogsView> {
    let usage = web.hub.logs.usage();
    Json(KeptLogsView { logs: usage.logs, stored_bytes: usage.stored_bytes })
}

/// Which bytes of a log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct PieceQuery {
    /// Where they begin.
    offset: Option<u64>,
    /// How long to wait until there are some.
    wait_seconds: Option<u64>,
}

/// Bytes of a log.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PieceView {
    task: u64,
    attempt: u64,
    /// Where the bytes begin.
    offset: u64,
    /// Where the next ones do.
    next_offset: u64,
    /// How much of the log there is.
    size_bytes: u64,
    /// Whether nothing more will come behind `size_bytes`.
    ended: bool,
    /// The bytes, in base64 (RFC 4648, 4).
    bytes: String,
}

/// `GET /api/tasks/ID/attempts/ATTEMPT/log?offset=N&wait_seconds=N`: the bytes from an offset on, at most a mebibyte. Waits
/// until there are some or the log has ended, but no longer than was said. Whoever asks from `next_offset` on until `ended`
/// has every byte once, whatever is started again meanwhile.
pub(crate) async fn piece(
    State(web): State<Web>,
    path: LogPath,
    wanted: Asked<PieceQuery>,
) -> Result<Json<PieceView>, WebError> {
    let mut row = find(&web, path).await?;
    let wanted = asked(wanted)?;
    let offset = wanted.offset.unwrap_or(0);
    let wait = Duration::from_secs(wanted.wait_seconds.unwrap_or(0).min(WAIT_SECONDS_MAX));
    let place = web.watchers.clone().try_acquire_owned().map_err(|_| WebError::TooMany)?;
    let deadline = tokio::time::Instant::now() + wait;
    let mut growth = web.hub.logs.growth(row.task, row.id);
    let (bytes, size_bytes) = loop {
        // Before the bytes are read: none come after the end.
        growth.borrow_and_update();
        let read = web.hub.logs.with_reader(row.task, row.id, move |reader| {
            let end = offset.saturating_add(PIECE_BYTES_MAX).min(reader.size_bytes());
            Ok((reader.read_range(offset.min(end), end)?, reader.size_bytes()))
        });
        let (bytes, size_bytes) = read.await?;
        let now = tokio::time::Instant::now();
        if !bytes.is_empty() || row.ended.is_some() || now >= deadline {
            break (bytes, size_bytes);
        }
        let until = deadline.min(now + LOOK_AGAIN);
        if !matches!(tokio::time::timeout_at(until, growth.changed()).await, Ok(Ok(()))) {
            row = web.hub.store.attempt(row.id).await?;
            if growth.has_changed().is_err() {
                growth = web.hub.logs.growth(row.task, row.id);
            }
        }
    };
    drop(place);
    let next_offset = offset + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Ok(Json(PieceView {
        task: row.task.0,
        attempt: row.id.0,
        offset,
        next_offset,
        size_bytes,
        ended: row.ended.is_some(),
        bytes: STANDARD.encode(bytes),
    }))
}

/// `GET /api/logs/search?q=TEXT[&regex][&source=NAME][&project=NAME][&phase=PHASE][&since=7d][&task=ID][&attempt=ID]
/// [&hits_max=N][&seconds_max=N]`: one line of JSON for each build that prints the text, as it is found, and one at the end,
/// see [`search::SearchLine`]. A search that fails in the middle ends with `{"error":…}`.
pub(crate) async fn search(State(web): State<Web>, wanted: Asked<SearchQuery>) -> Result<Response, WebError> {
    let lines = search::begin(&web, &asked(wanted)?)?;
    let lines = ReceiverStream::new(lines).map(|line| {
        let value = match line {
            Ok(line) => serde_json::to_string(&line),
            Err(error) => Ok(json!({ "error": { "message": fault::chain(&error).join(": ") } }).to_string()),
        };
        value.map(|line| format!("{line}\n"))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}
