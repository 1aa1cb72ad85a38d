//! What browsers see as it happens: news by server-sent events, and logs that can be resumed by offset.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use farm::ids::{AttemptId, TaskId};
use serde::Deserialize;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::Web;
use super::error::{PageError, WebError};
use crate::hub::News;
use crate::logs::{plain_text, whole_lines};
use crate::store::StoreError;

/// A comment is sent when there was nothing else for so long: proxies give up after 60 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A log is looked at again after this time, whatever the news say.
const LOG_SWEEP: Duration = Duration::from_secs(5);

/// Pieces that wait for a slow browser; then the log waits for it.
const PIECES_MAX: usize = 4;

type Pieces = Sse<axum::response::sse::KeepAliveStream<ReceiverStream<Result<Event, Infallible>>>>;
type LogPath = Result<Path<(u64, u64)>, PathRejection>;

/// Where a log is to be read from.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct From {
    offset: Option<u64>,
}

/// `/events`: one event `change` for each change; the data says of what: `task`, `builders`, `recipes`.
pub(crate) async fn events(State(web): State<Web>) -> Result<Pieces, WebError> {
    let place = web.watchers.clone().try_acquire_owned().map_err(|_| WebError::TooMany)?;
    let mut news = web.hub.news.subscribe();
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let _place = place;
        loop {
            let data = tokio::select! {
                news = news.recv() => match news {
                    Ok(News::Task(task)) => format!("task {task}"),
                    Ok(News::Builders) => "builders".into(),
                    Ok(News::Recipes) => "recipes".into(),
                    Ok(News::Log(_)) => continue,
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

/// `/tasks/ID/log/ATTEMPT/stream?offset=N`: events `log`, whose id is the offset after them and whose data is a JSON
/// string, then one event `end`. A browser that reconnects goes on after the last id it has seen.
pub(crate) async fn log_stream(
    State(web): State<Web>,
    path: LogPath,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Pieces, WebError> {
    let (task, attempt) = find(&web, path).await?;
    let place = web.watchers.clone().try_acquire_owned().map_err(|_| WebError::TooMany)?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let offset = seen.or(from.offset).unwrap_or(0);
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let _place = place;
        if let Err(error) = follow(&web, task, attempt, offset, &sender).await {
            tracing::debug!(error = fault::chain(&error).join(": "), "a live log ended");
        }
    });
    Ok(pieces(receiver))
}

/// Sends the log from `offset` on until it is complete or nobody listens.
async fn follow(
    web: &Web,
    task: TaskId,
    attempt: AttemptId,
    mut offset: u64,
    sender: &mpsc::Sender<Result<Event, Infallible>>,
) -> Result<(), WebError> {
    let mut news = web.hub.news.subscribe();
    loop {
        // Asked before reading: what is written between the two is then read in this round.
        let ended = web.hub.store.attempt(attempt).await?.ended.is_some();
        loop {
            let bytes = web.hub.logs.read(task, attempt, offset).await?;
            let piece = whole_lines(&bytes, ended);
            if piece.is_empty() {
                break;
            }
            offset += piece.len() as u64;
            let text = serde_json::Value::String(plain_text(piece)).to_string();
            let event = Event::default().event("log").id(offset.to_string()).data(text);
            if sender.send(Ok(event)).await.is_err() {
                return Ok(());
            }
        }
        if ended {
            // Whoever has gone needs no end.
            drop(sender.send(Ok(Event::default().event("end").id(offset.to_string()).data("end"))).await);
            return Ok(());
        }
        tokio::select! {
            () = wait_for(&mut news, task, attempt) => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

async fn wait_for(news: &mut broadcast::Receiver<News>, task: TaskId, attempt: AttemptId) {
    let wanted = async {
        loop {
            match news.recv().await {
                Ok(News::Log(other)) if other == attempt => return,
                Ok(News::Task(other)) if other == task => return,
                Ok(_) => {}
                Err(_behind_or_closed) => return,
            }
        }
    };
    // Late or early makes no difference: the log is read again.
    drop(tokio::time::timeout(LOG_SWEEP, wanted).await);
}

/// `/tasks/ID/log/ATTEMPT`: the whole log as it was written.
pub(crate) async fn log_file(State(web): State<Web>, path: LogPath) -> Result<Response, PageError> {
    let (task, attempt) = find(&web, path).await?;
    let (sender, receiver) = mpsc::channel::<Result<Vec<u8>, crate::logs::LogError>>(PIECES_MAX);
    tokio::spawn(async move {
        let mut offset = 0;
        loop {
            let bytes = web.hub.logs.read(task, attempt, offset).await;
            let length = bytes.as_ref().map_or(0, Vec::len);
            let at_end = matches!(&bytes, Ok(bytes) if bytes.is_empty());
            let failed = bytes.is_err();
            if at_end || sender.send(bytes).await.is_err() || failed {
                return;
            }
            offset += length as u64;
        }
    });
    let name = format!("inline; filename=\"task-{task}-attempt-{attempt}.log\"");
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, axum::body::Body::from_stream(ReceiverStream::new(receiver))).into_response())
}

/// The attempt, if it belongs to the task.
async fn find(web: &Web, path: LogPath) -> Result<(TaskId, AttemptId), WebError> {
    let Path((task, attempt)) =
        path.map_err(|error| WebError::BadRequest { what: "the attempt", why: error.body_text() })?;
    let row = web.hub.store.attempt(AttemptId(attempt)).await?;
    if row.task != TaskId(task) {
        return Err(StoreError::NotFound { what: format!("attempt {attempt} of task {task}") }.into());
    }
    Ok((row.task, row.id))
}

fn pieces(receiver: mpsc::Receiver<Result<Event, Infallible>>) -> Pieces {
    Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
