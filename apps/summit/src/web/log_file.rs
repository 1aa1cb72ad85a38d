//! A log as a file: whole or in ranges, as it was written, compressed on the way if the reader takes that.

use std::io::{self, Write};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use farm::ids::{AttemptId, TaskId};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Web;
use super::error::PageError;
use super::live::{LogPath, find};
use crate::logs::reader::LogReader;

/// Bytes on the way to a reader at once, and pieces of that size that wait for a slow one.
const PIECE_BYTES: usize = 128 << 10;
const PIECES_MAX: usize = 4;

/// How the bytes of a log are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// `/tasks/ID/log/ATTEMPT`: the log as it was written. Of one that grows, what is there now.
pub(crate) async fn log_file(
    State(web): State<Web>,
    path: LogPath,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let row = find(&web, path).await?;
    let (task, attempt) = (row.task, row.id);
    let (size_bytes, is_archived) = web
        .hub
        .logs
        .with_reader(task, attempt, |reader| Ok((reader.size_bytes(), reader.is_archived())))
        .await?;
    let etag = format!("\"{attempt}-{size_bytes}\"");
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let mut answer = HeaderMap::new();
    let mut put = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.insert(name, value);
        }
    };
    put(header::CONTENT_TYPE, "text/plain; charset=utf-8".into());
    put(header::CONTENT_DISPOSITION, format!("inline; filename=\"task-{task}-attempt-{attempt}.log\""));
    put(header::ACCEPT_RANGES, "bytes".into());
    put(header::VARY, "accept-encoding, range".into());
    if is_archived {
        // What has ended never changes; whether one may still read it is asked each time.
        put(header::CACHE_CONTROL, "private, no-cache".into());
        put(header::ETAG, etag.clone());
        if text(header::IF_NONE_MATCH).is_some_and(|known| known.split(',').any(|known| known.trim() == etag))
        {
            return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
        }
    }
    let is_same = text(header::IF_RANGE).is_none_or(|known| known == etag);
    let range = text(header::RANGE).filter(|_| is_same).map(|range| parse_range(range, size_bytes));
    let (status, begin, end, encoding) = match range {
        Some(Some(Range::Satisfiable { begin, end })) => {
            put(header::CONTENT_RANGE, format!("bytes {begin}-{}/{size_bytes}", end.saturating_sub(1)));
            (StatusCode::PARTIAL_CONTENT, begin, end, Encoding::Identity)
        }
        Some(Some(Range::Beyond)) => {
            put(header::CONTENT_RANGE, format!("bytes */{size_bytes}"));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, answer).into_response());
        }
        // A range that is not understood is not one (RFC 9110, 14.2).
        None | Some(None) => {
            let accepted = text(header::ACCEPT_ENCODING).unwrap_or_default();
            (StatusCode::OK, 0, size_bytes, choose(accepted, is_archived))
        }
    };
    match encoding {
        Encoding::Identity => put(header::CONTENT_LENGTH, (end - begin).to_string()),
        Encoding::Gzip => put(header::CONTENT_ENCODING, "gzip".into()),
        Encoding::Zstd => put(header::CONTENT_ENCODING, "zstd".into()),
    }
    let body = match encoding {
        Encoding::Zstd => file(&web, task, attempt).await?,
        encoding => stream(&web, task, attempt, begin, end, encoding),
    };
    Ok((status, answer, body).into_response())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    Satisfiable { begin: u64, end: u64 },
    Beyond,
}

/// One range of bytes (RFC 9110, 14.1.2); none when it is anything else, several ranges too.
fn parse_range(text: &str, size_bytes: u64) -> Option<Range> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let range = match (first.is_empty(), last.is_empty()) {
        (true, _) => {
            let count: u64 = last.parse().ok()?;
            (size_bytes.saturating_sub(count), size_bytes)
        }
        (false, true) => (first.parse().ok()?, size_bytes),
        (false, false) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(size_bytes))
        }
    };
    Some(match range {
        (begin, end) if begin < end => Range::Satisfiable { begin, end },
        _ => Range::Beyond,
    })
}

/// The best that a reader takes. A compressed log is there already; any other is sent as it is.
fn choose(accepted: &str, is_archived: bool) -> Encoding {
    let takes = |name: &str| {
        accepted.split(',').any(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let is_it = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case(name));
            let is_refused = parts.any(|part| {
                part.strip_prefix("q=")
                    .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
            });
            is_it && !is_refused
        })
    };
    match is_archived {
        true if takes("zstd") => Encoding::Zstd,
        true if takes("gzip") => Encoding::Gzip,
        _ => Encoding::Identity,
    }
}

/// The compressed file as it is.
async fn file(web: &Web, task: TaskId, attempt: AttemptId) -> Result<Body, PageError> {
    let path = web.hub.logs.archived_path(task, attempt);
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces::new(&sender);
        let result = fs_err::File::open(path).and_then(|mut file| io::copy(&mut file, &mut pieces));
        if let Err(error) = result.and_then(|_| pieces.flush()) {
            // Whoever has gone takes no error either.
            drop(sender.blocking_send(Err(error)));
        }
    });
    Ok(Body::from_stream(ReceiverStream::new(receiver)))
}

fn stream(web: &Web, task: TaskId, attempt: AttemptId, begin: u64, end: u64, encoding: Encoding) -> Body {
    let logs = web.hub.logs.clone();
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces::new(&sender);
        let result = logs.open(task, attempt).and_then(|mut reader| match encoding {
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(&mut pieces, Compression::fast());
                copy(&mut reader, begin, end, &mut encoder)?;
                encoder.finish().map(drop)
            }
            _ => copy(&mut reader, begin, end, &mut pieces),
        });
        if let Err(error) = result.and_then(|()| pieces.flush()) {
            drop(sender.blocking_send(Err(error)));
        }
    });
    Body::from_stream(ReceiverStream::new(receiver))
}

fn copy(reader: &mut LogReader, begin: u64, end: u64, out: &mut impl Write) -> io::Result<()> {
    let mut offset = begin;
    while offset < end {
        let room = usize::try_from(end - offset).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let bytes = reader.read_at(offset, room)?;
        if bytes.is_empty() {
            return Err(io::Error::other("the log is shorter than it was"));
        }
        offset += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Writes to whoever reads the answer.
struct Pieces<'a> {
    sender: &'a mpsc::Sender<io::Result<Vec<u8>>>,
    held: Vec<u8>,
}

impl<'a> Pieces<'a> {
    fn new(sender: &'a mpsc::Sender<io::Result<Vec<u8>>>) -> Self {
        Self { sender, held: Vec::new() }
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.held) {
            held if held.is_empty() => Ok(()),
            held => self.sender.blocking_send(Ok(held)).map_err(|_| io::ErrorKind::BrokenPipe.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        let satisfiable = |begin, end| Some(Range::Satisfiable { begin, end });
        for (text, expect) in [
            ("bytes=0-", satisfiable(0, 100)),
            ("bytes=10-19", satisfiable(10, 20)),
            ("bytes=90-500", satisfiable(90, 100)),
            ("bytes=-5", satisfiable(95, 100)),
            ("bytes=-500", satisfiable(0, 100)),
            ("bytes=99-99", satisfiable(99, 100)),
            ("bytes=100-", Some(Range::Beyond)),
            ("bytes=-0", Some(Range::Beyond)),
            ("bytes=9-3", None),
            ("bytes=0-1,5-6", None),
            ("bytes=a-b", None),
            ("lines=1-2", None),
            ("bytes=18446744073709551615-18446744073709551615", Some(Range::Beyond)),
        ] {
            assert_eq!(parse_range(text, 100), expect, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Some(Range::Beyond));
    }

    #[test]
    fn row_u2_every_reader_gets_a_finished_log() {
        for (accepted, archived, expect) in [
            ("", true, Encoding::Identity),
            ("identity", true, Encoding::Identity),
            ("br", true, Encoding::Identity),
            ("gzip, deflate, br", true, Encoding::Gzip),
            ("gzip, deflate, br, zstd", true, Encoding::Zstd),
            ("zstd;q=0, gzip;q=0.5", true, Encoding::Gzip),
            ("zstd, gzip", false, Encoding::Identity),
        ] {
            assert_eq!(choose(accepted, archived), expect, "{accepted}");
        }
    }
}
