//! The static server: anyone may read the published tree.
//!
//! Serves regular files below the public folder, a page at `/`, how it is at `/health` and `/metrics` (`health`); GET and HEAD only.
//! It reads what is on the disk and asks nobody, so any web server could take its place; only for debug information by build id
//! and for its health the publisher is asked (`debug`). Bounded: connections, time for a request head, time without progress, and how slowly a reader
//! may take an answer. What may be cached and for how long is decided in `answer`, what is sent compressed in `encoding`, and
//! where addresses of earlier times lead in `legacy`.

mod answer;
mod body;
mod debug;
mod encoding;
mod health;
mod legacy;
mod page;
mod site;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use repository::{Identifier, ROOT_INDEX_BYTES_MAX, RootIndex, layout};
use store::Store;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep};

pub(crate) use answer::labels;
use answer::{CACHE_NEVER, FileFacts, Lifetime, answer, put, put_keys};
use body::AnswerBody;
use encoding::{Encoding, Twins};
use legacy::Meant;
pub(crate) use page::ChannelFacts;
use site::{Content, REPLACED, Site, components};

use crate::delivery::Delivery;
use crate::publisher::Publisher;
use crate::purge::missing_key;

/// Connections served at once; more wait in the kernel's queue. Each holds a buffer of 64 KiB and two descriptors: 64 MiB,
/// and twice the usual limit of descriptors, which [`places`] raises where it may.
const CONNECTIONS_MAX: usize = 1024;

/// Descriptors that are left for everything else: gRPC, the database, uploads.
const OTHER_DESCRIPTORS: u64 = 256;

/// When fewer places than this are free, connections end after their answer, so that idle ones make room.
const PLACES_LOW: usize = CONNECTIONS_MAX / 4;

/// Time for the head of a request. A reader on a bad line needs one or two seconds.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without a byte in either direction after which a connection is dropped, kept alive or not.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Fewest bytes a second that a reader takes, and the time for which he may be slower. Counted is only the time in which he
/// is waited for. Slower readers hold a place each for hours.
const PACE_BYTES_PER_SECOND: u64 = 1024;

/// See [`PACE_BYTES_PER_SECOND`].
const PACE_WINDOW: Duration = Duration::from_secs(30);

/// Bytes of a request head; ours have some hundred.
const HEAD_SIZE_BYTES_MAX: usize = 16 << 10;

/// Pause after the system could not accept, for example because all file descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a pointer is asked for again that was replaced while it was read. Each time another landing was faster.
const REPLACED_TRIES_MAX: u32 = 5;

/// What the server shows.
#[derive(Debug)]
pub(crate) struct Shown {
    site: Site,
    twins: Twins,
    base_url: String,
    channels: watch::Receiver<Vec<ChannelFacts>>,
    /// What caches are told of pointers.
    pointer: String,
    publisher: Arc<Publisher>,
}

impl Shown {
    /// The tree in `store`, reached at `base_url`, what the page says of its channels, and how long caches keep pointers.
    pub(crate) fn open(
        store: &Store,
        base_url: String,
        publisher: Arc<Publisher>,
        delivery: &Delivery,
    ) -> io::Result<Self> {
        let pointer = delivery.cache_control();
        let (site, channels) = (Site::open(store)?, publisher.facts());
        Ok(Self { site, twins: Twins::default(), base_url, channels, pointer, publisher })
    }
}

/// Serves until `shutdown` is ready. Connections in progress end with it.
pub(crate) async fn serve(listener: TcpListener, shown: Shown, shutdown: impl Future<Output = ()>) {
    let shown = Arc::new(shown);
    let places = Arc::new(Semaphore::new(places()));
    let mut connections = tokio::task::JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => return,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let (shown, free) = (Arc::clone(&shown), Arc::clone(&places));
                connections.spawn(async move {
                    let _place = place;
                    serve_connection(stream, shown, free).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// How many connections there may be: as many as there are descriptors for, of which as many are asked for as are needed.
fn places() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = u64::try_from(CONNECTIONS_MAX).unwrap_or(u64::MAX) * 2 + OTHER_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(wanted).min(wanted);
    let mut now = limit.current.unwrap_or(wanted);
    if now < most {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum }) {
            Ok(()) => now = most,
            Err(error) => tracing::debug!(%error, "cannot raise the limit of file descriptors"),
        }
    }
    let places = usize::try_from(now.saturating_sub(OTHER_DESCRIPTORS) / 2).unwrap_or(usize::MAX);
    places.clamp(PLACES_LOW, CONNECTIONS_MAX)
}

async fn serve_connection(stream: TcpStream, shown: Arc<Shown>, free: Arc<Semaphore>) {
    let service = service_fn(move |request| {
        let (shown, free) = (Arc::clone(&shown), Arc::clone(&free));
        async move {
            let mut response = respond(&request, &shown).await;
            if free.available_permits() < PLACES_LOW {
                put(response.headers_mut(), CONNECTION, "close");
            }
            Ok::<_, Infallible>(response)
        }
    });
    let result = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_SIZE_BYTES_MAX)
        .serve_connection(TokioIo::new(Watched::new(stream)), service)
        .await;
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

async fn respond(request: &Request<Incoming>, shown: &Arc<Shown>) -> Response<AnswerBody> {
    let (method, path) = (request.method(), request.uri().path());
    if method != Method::GET && method != Method::HEAD {
        let mut response = short(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n", method);
        put(response.headers_mut(), ALLOW, "GET, HEAD");
        return response;
    }
    match path {
        "/health" => {
            let (status, text) = health::report(shown.publisher.health().await.as_deref());
            let mut response = short(status, text, method);
            put(response.headers_mut(), CONTENT_TYPE, "application/json");
            return response;
        }
        "/metrics" => {
            let Ok(health) = shown.publisher.health().await else {
                return short(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n", method);
            };
            let text = health::metrics(&health, &shown.channels.borrow());
            let mut response = short(StatusCode::OK, text, method);
            put(response.headers_mut(), CONTENT_TYPE, "text/plain; version=0.0.4");
            return response;
        }
        "/" => {
            let page = page::render(&shown.base_url, &shown.channels.borrow());
            let mut response = short(StatusCode::OK, page, method);
            put(response.headers_mut(), CONTENT_TYPE, "text/html; charset=utf-8");
            return response;
        }
        _ => {}
    }
    if let Some((asked, build_id)) = debug::asked(path) {
        return debug::respond(request, &shown.publisher, asked, &build_id).await;
    }
    let Some(components) = components(path) else { return missing(path, method) };
    let mut tries_left = REPLACED_TRIES_MAX;
    loop {
        let error = match find_and_send(request, shown, &components).await {
            Ok(Some(response)) => return response,
            Ok(None) => return missing(path, method),
            Err(error) => error,
        };
        if error.kind() == REPLACED && tries_left > 0 {
            tries_left -= 1;
            continue;
        }
        tracing::warn!(%path, error = %fault::chain(&error).join(": "), "cannot read a published file");
        // Nothing is said about whether there is such a file.
        let mut response = short(StatusCode::SERVICE_UNAVAILABLE, "the file cannot be read now\n", method);
        put(response.headers_mut(), RETRY_AFTER, "5");
        return response;
    }
}

async fn find_and_send(
    request: &Request<Incoming>,
    shown: &Arc<Shown>,
    components: &[String],
) -> io::Result<Option<Response<AnswerBody>>> {
    let found = match &shown.site {
        // A folder answers at once.
        Site::Folder(_) => find(components, shown)?,
        Site::Bucket(_) => {
            let (shown, components) = (Arc::clone(shown), components.to_vec());
            let work = tokio::task::spawn_blocking(move || find(&components, &shown));
            work.await.map_err(io::Error::other)??
        }
    };
    match found {
        None => Ok(None),
        Some((content, facts, path)) => send(request, shown, &path, content, facts).await.map(Some),
    }
}

/// The file that is asked for, or the one that an address of earlier times means, and the path that it really has.
fn find(components: &[String], shown: &Shown) -> io::Result<Option<(Content, FileFacts, String)>> {
    if let Some((file, facts)) = shown.site.file(components)? {
        return Ok(Some((file, facts, components.join("/"))));
    }
    match legacy::meant(components) {
        None => Ok(None),
        Some(Meant::File(components)) => {
            let found = shown.site.file(&components)?;
            Ok(found.map(|(file, facts)| (file, facts, components.join("/"))))
        }
        Some(Meant::Index { channel, version, architecture }) => {
            let pointer: Vec<String> =
                layout::root_index_path(&channel).split('/').map(str::to_owned).collect();
            let Some((pointer_file, pointer)) = shown.site.file(&pointer)? else { return Ok(None) };
            let bytes = pointer_file.read_whole(ROOT_INDEX_BYTES_MAX)?;
            let root = RootIndex::from_json(&bytes).ok();
            let Some(history) = root.and_then(|root| legacy::history(&root, &version)) else {
                return Ok(None);
            };
            let path = layout::history_index_path(&channel, &history, &architecture);
            let components: Vec<String> = path.split('/').map(str::to_owned).collect();
            let Some((file, facts)) = shown.site.file(&components)? else { return Ok(None) };
            // What is at this address moves as the pointer does, and is purged with it.
            Ok(Some((file, FileFacts { lifetime: pointer.lifetime, keys: pointer.keys, ..facts }, path)))
        }
    }
}

/// Answers with a file, or with its twin in an encoding that the reader likes better.
async fn send(
    request: &Request<Incoming>,
    shown: &Shown,
    path: &str,
    content: Content,
    facts: FileFacts,
) -> io::Result<Response<AnswerBody>> {
    let encoding = Encoding::asked(request.headers()).filter(|_| facts.has_twins());
    let (facts, twin) = match encoding {
        None => (facts, None),
        Some(encoding) => {
            let tag = facts.entity_tag();
            let twin = match shown.twins.known(path, encoding, &tag) {
                Some(twin) => twin,
                None => {
                    let (size_bytes, read) = (facts.size_bytes, content.clone());
                    let whole = move || read.read_whole(usize::try_from(size_bytes).unwrap_or(usize::MAX));
                    let bytes = tokio::task::spawn_blocking(whole).await.map_err(io::Error::other)??;
                    shown.twins.make(path, encoding, tag, &bytes)?
                }
            };
            let size_bytes = u64::try_from(twin.len()).unwrap_or(u64::MAX);
            if size_bytes < facts.size_bytes {
                (facts.twin(encoding, size_bytes), Some(twin))
            } else {
                (facts, None)
            }
        }
    };
    let head = answer(request.method(), request.headers(), &facts, &shown.pointer);
    let body = match (head.body, twin) {
        (None, _) => AnswerBody::empty(),
        (Some(range), None) => body(content, range, &facts).await?,
        (Some(range), Some(twin)) => {
            let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(twin.len());
            AnswerBody::memory(twin.slice(place(range.start)..place(range.end)))
        }
    };
    Ok(response(head.status, head.headers, body))
}

/// These bytes. What is replaced is read from a bucket before anything is sent: should it be replaced in this moment, it is
/// asked for again.
async fn body(content: Content, range: Range<u64>, facts: &FileFacts) -> io::Result<AnswerBody> {
    match content {
        Content::File(file) => AnswerBody::file(file.try_clone()?, range).await,
        Content::Stored(stored)
            if facts.lifetime == Lifetime::Pointer && facts.size_bytes <= encoding::FILE_SIZE_BYTES_MAX =>
        {
            let read = move || stored.read(range);
            Ok(AnswerBody::memory(tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??))
        }
        Content::Stored(stored) => Ok(AnswerBody::stored(stored, range)),
    }
}

/// There is nothing at this path. Caches that remember it all the same can be told to forget it.
fn missing(path: &str, method: &Method) -> Response<AnswerBody> {
    let mut response = short(StatusCode::NOT_FOUND, "there is no such file here\n", method);
    let channel = path.strip_prefix('/').and_then(|path| path.split('/').next());
    if let Some(channel) = channel.filter(|channel| channel.parse::<Identifier>().is_ok()) {
        put_keys(response.headers_mut(), &[channel.to_owned(), missing_key(channel)]);
    }
    response
}

/// A text for the asker alone.
fn short(status: StatusCode, text: impl Into<String>, method: &Method) -> Response<AnswerBody> {
    let text = text.into();
    let mut headers = HeaderMap::new();
    put(&mut headers, CACHE_CONTROL, CACHE_NEVER);
    put(&mut headers, CONTENT_TYPE, "text/plain; charset=utf-8");
    put(&mut headers, hyper::header::CONTENT_LENGTH, &text.len().to_string());
    let body = if method == Method::HEAD { AnswerBody::empty() } else { AnswerBody::memory(text) };
    response(status, headers, body)
}

fn response(status: StatusCode, mut headers: HeaderMap, body: AnswerBody) -> Response<AnswerBody> {
    // A file is what its type says and nothing that a browser guesses.
    put(&mut headers, hyper::header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A connection that fails when nothing moves for [`IDLE_TIMEOUT`], and when its reader is slower than
/// [`PACE_BYTES_PER_SECOND`].
struct Watched {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    pace: Pace,
}

/// How fast a reader takes what he asked for.
#[derive(Debug, Default)]
struct Pace {
    waiting_since: Option<Instant>,
    waited: Duration,
    taken_bytes: u64,
}

impl Pace {
    /// The reader takes nothing now.
    fn waits(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// The reader took some bytes; whether that is fast enough.
    fn takes(&mut self, bytes: usize, now: Instant) -> bool {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        self.taken_bytes = self.taken_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.waited < PACE_WINDOW {
            return true;
        }
        let is_fast = self.taken_bytes >= self.waited.as_secs().saturating_mul(PACE_BYTES_PER_SECOND);
        *self = Self::default();
        is_fast
    }
}

impl Watched {
    fn new(stream: TcpStream) -> Self {
        Self { stream, deadline: Box::pin(sleep(IDLE_TIMEOUT)), pace: Pace::default() }
    }

    /// Passes a result on: progress moves the deadline, waiting past it is an error.
    fn watch<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(result) => {
                self.deadline.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
                Poll::Ready(result)
            }
            Poll::Pending => match self.deadline.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_read(context, buffer);
        // While an answer is being written nobody reads: only the write side counts then, and a reader's silence must
        // not look like progress.
        this.watch(context, result)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        match &result {
            Poll::Pending => this.pace.waits(Instant::now()),
            Poll::Ready(Ok(count)) if !this.pace.takes(*count, Instant::now()) => {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Poll::Ready(_) => {}
        }
        this.watch(context, result)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_that_are_too_slow_are_let_go() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        assert!(pace.takes(1, at(0)));
        assert!(pace.takes(1, at(1000)), "nothing was to be sent meanwhile");
        pace.waits(at(1000));
        pace.waits(at(1020));
        assert!(pace.takes(1, at(1029)), "the window is not over");
        pace.waits(at(1029));
        assert!(!pace.takes(1, at(1031)), "3 bytes in 31 seconds");
        pace.waits(at(1031));
        assert!(pace.takes(40 << 10, at(1062)), "just fast enough, and the count begins anew");
        pace.waits(at(1062));
        assert!(!pace.takes(29 << 10, at(1092)));
    }
}
