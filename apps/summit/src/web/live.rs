//! What browsers see as it happens: news by server-sent events, and logs that can be resumed by offset.

use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use farm::ids::{AttemptId, TaskId};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::Web;
use super::error::WebError;
use super::pages::log::{row_markup, rows_markup};
use crate::hub::News;
use crate::logs::READ_SIZE_BYTES_MAX;
use crate::logs::reader::LogReader;
use crate::logs::rows::Rows;
use crate::logs::view::{WINDOW_BYTES_MAX, row_begin_from, rows_from};
use crate::store::{AttemptRow, StoreError};

/// A comment is sent when there was nothing else for so long: proxies give up after 60 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A log is looked at again after this time, whatever the news say.
const LOG_SWEEP: Duration = Duration::from_secs(5);

/// Shortest time between two pieces of a log for one browser: more often nobody sees.
const LOG_PACE: Duration = Duration::from_millis(40);

/// A browser that is so far behind is shown the end; what is skipped it can ask for.
const BEHIND_BYTES_MAX: u64 = 4 << 20;

/// Pieces that wait for a slow browser; then the log waits for it.
const PIECES_MAX: usize = 4;

type Pieces = Sse<axum::response::sse::KeepAliveStream<ReceiverStream<Result<Event, Infallible>>>>;
pub(crate) type LogPath = Result<Path<(u64, u64)>, PathRejection>;

/// What a page has seen.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Seen {
    told: Option<u64>,
}

/// Where a log is to be read from.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct From {
    offset: Option<u64>,
}

/// `/events`: one event `change` for each change; the data says of what: `task`, `builders`, `recipes`,
/// `channels`. With `?told=N`, the number in the page, the first is `all` when the page is older than the stream.
pub(crate) async fn events(
    State(web): State<Web>,
    seen: Result<Query<Seen>, QueryRejection>,
) -> Result<Pieces, WebError> {
    let Query(seen) =
        seen.map_err(|error| WebError::BadRequest { what: "the query", why: error.body_text() })?;
    let place = web.watchers.clone().try_acquire_owned().map_err(|_| WebError::TooMany)?;
    // In this order: what is told in between is told twice.
    let mut news = web.hub.listen();
    let mut missed = seen.told.is_some_and(|told| told != web.hub.told());
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let _place = place;
        loop {
            let data = tokio::select! {
                biased;
                () = ready(()), if std::mem::take(&mut missed) => "all".into(),
                news = news.recv() => match news {
                    Ok(News::Task(task)) => format!("task {task}"),
                    Ok(News::Builders) => "builders".into(),
                    Ok(News::Recipes) => "recipes".into(),
                    Ok(News::Channels) => "channels".into(),
                    // The browser reads everything anew.
                    Err(broadcast::error::RecvError::Lagged(_)) => "all".into(),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                () = sender.closed() => return,
            };
            if sender.send(Ok(Event::default().event("change").data(data))).await.is_err() {
                return;
            }
        }
    });
    Ok(pieces(receiver))
}

/// `/tasks/ID/log/ATTEMPT/stream?offset=N`: events `rows`, whose id is the offset after them, then one event `end`. A browser
/// that reconnects goes on after the last id it has seen. The data of `rows` is an object: `begin` and `end` in the log,
/// `parts` (each with its `phase` if one begins, `begin`, `end`, `line` and `html`), and `tail`, the begin of a row that has no end
/// yet. An event `skip` with `begin` and `end` says what is left out for a browser that is far behind.
pub(crate) async fn log_stream(
    State(web): State<Web>,
    path: LogPath,
    from: Result<Query<From>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Pieces, WebError> {
    let row = find(&web, path).await?;
    let from = from.map_err(|error| WebError::BadRequest { what: "the query", why: error.body_text() })?;
    let place = web.watchers.clone().try_acquire_owned().map_err(|_| WebError::TooMany)?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let offset = seen.or(from.offset).unwrap_or(0);
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let _place = place;
        let mut follower =
            Follower { web, task: row.task, attempt: row.id, offset, rows: None, tail: None, sender };
        if let Err(error) = follower.follow().await {
            tracing::debug!(error = fault::chain(&error).join(": "), "a live log ended");
        }
    });
    Ok(pieces(receiver))
}

/// One browser that looks at a log.
struct Follower {
    web: Web,
    task: TaskId,
    attempt: AttemptId,
    offset: u64,
    /// Makes rows from `offset` on.
    rows: Option<Rows>,
    /// The unfinished row that was shown last.
    tail: Option<String>,
    sender: mpsc::Sender<Result<Event, Infallible>>,
}

/// Nobody listens any more.
struct Gone;

impl Follower {
    /// Sends the log until it is complete or nobody listens.
    async fn follow(&mut self) -> Result<(), WebError> {
        let mut ended = self.has_ended().await?;
        let mut growth = self.web.hub.logs.growth(self.task, self.attempt);
        loop {
            let next = Instant::now() + LOG_PACE;
            growth.borrow_and_update();
            while let Some(sent) = self.step(ended).await? {
                if sent.is_err() {
                    return Ok(());
                }
            }
            if ended {
                let event = Event::default().event("end").id(self.offset.to_string()).data("end");
                // Whoever has gone needs no end.
                drop(self.sender.send(Ok(event)).await);
                return Ok(());
            }
            let more = tokio::select! {
                more = wait_for(&mut growth, next) => more,
                () = self.sender.closed() => return Ok(()),
            };
            if !more {
                ended = self.has_ended().await?;
                if !ended && growth.has_changed().is_err() {
                    growth = self.web.hub.logs.growth(self.task, self.attempt);
                }
            }
        }
    }

    async fn has_ended(&self) -> Result<bool, WebError> {
        Ok(self.web.hub.store.attempt(self.attempt).await?.ended.is_some())
    }

    /// Sends one piece; none when there is nothing new.
    async fn step(&mut self, ended: bool) -> Result<Option<Result<(), Gone>>, WebError> {
        let (begin, known) = (self.offset, self.rows.take());
        let read = move |reader: &mut LogReader, rows: Rows, begin: u64| {
            let bytes = reader.read_at(begin, READ_SIZE_BYTES_MAX)?;
            let left = reader.size_bytes().saturating_sub(begin);
            Ok((bytes, left, rows))
        };
        let logs = &self.web.hub.logs;
        let (bytes, left, mut rows) = match known {
            Some(rows) => {
                logs.with_reader(self.task, self.attempt, move |reader| read(reader, rows, begin)).await?
            }
            None => {
                let find = move |reader: &mut LogReader, outline: &_| {
                    let rows = rows_from(reader, outline, begin)?;
                    read(reader, rows, begin)
                };
                logs.with_outline(self.task, self.attempt, find).await?
            }
        };
        if left > BEHIND_BYTES_MAX {
            let near = begin + left - WINDOW_BYTES_MAX / 2;
            let begin_of_row = move |reader: &mut LogReader| row_begin_from(reader, near);
            self.offset = logs.with_reader(self.task, self.attempt, begin_of_row).await?;
            let skipped = json!({ "begin": begin, "end": self.offset });
            return Ok(Some(self.send("skip", &skipped).await));
        }
        let is_last = u64::try_from(bytes.len()).unwrap_or(u64::MAX) >= left;
        let (made, taken) = rows.take(&bytes, ended && is_last);
        let rest = usize::try_from(taken).ok().and_then(|taken| bytes.get(taken..)).unwrap_or_default();
        let tail = rows.peek(rest).filter(|_| is_last).map(|row| row_markup(&row).into_string());
        self.rows = Some(rows);
        if made.is_empty() && tail == self.tail {
            return Ok(None);
        }
        self.offset = begin + taken;
        let mut parts: Vec<Value> = Vec::new();
        let mut part_begin = begin;
        // A phase begins a part of its own, so that it can be folded.
        for part in made.chunk_by(|_, next| next.phase.is_none()) {
            if let Some(first) = part.first() {
                let end = part_begin + part.iter().map(|row| row.size_bytes).sum::<u64>();
                let html = rows_markup(part).into_string();
                let part = json!({
                    "phase": first.phase, "begin": part_begin, "end": end, "line": first.line, "html": html,
                });
                parts.push(part);
                part_begin = end;
            }
        }
        let data = json!({ "begin": begin, "end": self.offset, "parts": parts, "tail": tail });
        self.tail = tail;
        Ok(Some(self.send("rows", &data).await))
    }

    async fn send(&self, name: &str, data: &Value) -> Result<(), Gone> {
        let event = Event::default().event(name).id(self.offset.to_string()).data(data.to_string());
        self.sender.send(Ok(event)).await.map_err(|_| Gone)
    }
}

/// Waits until there is more, but not before `next`. Says whether there is: if not, the log may have ended.
async fn wait_for(growth: &mut watch::Receiver<Option<u64>>, next: Instant) -> bool {
    let more = matches!(tokio::time::timeout(LOG_SWEEP, growth.changed()).await, Ok(Ok(())));
    tokio::time::sleep_until(next).await;
    more
}

/// The attempt, if it belongs to the task.
pub(crate) async fn find(web: &Web, path: LogPath) -> Result<AttemptRow, WebError> {
    let Path((task, attempt)) =
        path.map_err(|error| WebError::BadRequest { what: "the attempt", why: error.body_text() })?;
    let row = web.hub.store.attempt(AttemptId(attempt)).await?;
    if row.task != TaskId(task) {
        return Err(StoreError::NotFound { what: format!("attempt {attempt} of task {task}") }.into());
    }
    Ok(row)
}

fn pieces(receiver: mpsc::Receiver<Result<Event, Infallible>>) -> Pieces {
    Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
