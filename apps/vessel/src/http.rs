//! The static server: anyone may read the published tree.
//!
//! Serves regular files below the public folder, a page at `/` and `ok` at `/health`; GET and HEAD only. It reads what
//! is on the disk and asks nobody, so any web server could take its place. Bounded: connections, time for a request
//! head, time without progress. What may be cached and for how long is decided in `answer`.

mod answer;
mod body;
mod page;
mod site;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep};

use answer::{CACHE_NEVER, answer, put};
use body::AnswerBody;
pub(crate) use page::ChannelFacts;
use site::{Site, components};

/// Connections served at once; more wait in the kernel's queue. Each holds a buffer of 64 KiB and two descriptors,
/// which stays far below the usual limit of 1,024 descriptors a process.
const CONNECTIONS_MAX: usize = 256;

/// Time for the head of a request. A reader on a bad line needs one or two seconds.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without a byte in either direction after which a connection is dropped, kept alive or not.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a request head; ours have some hundred.
const HEAD_SIZE_BYTES_MAX: usize = 16 << 10;

/// Pause after the system could not accept, for example because all file descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server shows.
#[derive(Debug)]
pub(crate) struct Shown {
    site: Site,
    base_url: String,
    channels: watch::Receiver<Vec<ChannelFacts>>,
}

impl Shown {
    /// The tree below `public`, reached at `base_url`, and what the page says of its channels.
    pub(crate) fn open(
        public: &Path,
        base_url: String,
        channels: watch::Receiver<Vec<ChannelFacts>>,
    ) -> io::Result<Self> {
        Ok(Self { site: Site::open(public)?, base_url, channels })
    }
}

/// Serves until `shutdown` is ready. Connections in progress end with it.
pub(crate) async fn serve(listener: TcpListener, shown: Shown, shutdown: impl Future<Output = ()>) {
    let shown = Arc::new(shown);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
                let shown = Arc::clone(&shown);
                connections.spawn(async move {
                    let _place = place;
                    serve_connection(stream, shown).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, shown: Arc<Shown>) {
    let service = service_fn(move |request| {
        let shown = Arc::clone(&shown);
        async move { Ok::<_, Infallible>(respond(&request, &shown).await) }
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

async fn respond(request: &Request<Incoming>, shown: &Shown) -> Response<AnswerBody> {
    let (method, path) = (request.method(), request.uri().path());
    if method != Method::GET && method != Method::HEAD {
        let mut response = short(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n", method);
        put(response.headers_mut(), ALLOW, "GET, HEAD");
        return response;
    }
    match path {
        "/health" => return short(StatusCode::OK, "ok\n", method),
        "/" => {
            let page = page::render(&shown.base_url, &shown.channels.borrow());
            let mut response = short(StatusCode::OK, page, method);
            put(response.headers_mut(), CONTENT_TYPE, "text/html; charset=utf-8");
            return response;
        }
        _ => {}
    }
    let Some((file, facts)) = components(path).and_then(|components| shown.site.file(&components)) else {
        return short(StatusCode::NOT_FOUND, "there is no such file here\n", method);
    };
    let head = answer(method, request.headers(), &facts);
    let body = match head.body {
        None => AnswerBody::empty(),
        Some(range) => match AnswerBody::file(file, range).await {
            Ok(body) => body,
            Err(error) => {
                tracing::warn!(%path, %error, "cannot read a published file");
                return short(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read\n", method);
            }
        },
    };
    response(head.status, head.headers, body)
}

/// A text for the asker alone.
fn short(status: StatusCode, text: impl Into<String>, method: &Method) -> Response<AnswerBody> {
    let text = text.into();
    let mut headers = HeaderMap::new();
    put(&mut headers, CACHE_CONTROL, CACHE_NEVER);
    put(&mut headers, CONTENT_TYPE, "text/plain; charset=utf-8");
    put(&mut headers, hyper::header::CONTENT_LENGTH, &text.len().to_string());
    let body = if method == Method::HEAD { AnswerBody::empty() } else { AnswerBody::text(text) };
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

/// A connection that fails when nothing moves for [`IDLE_TIMEOUT`].
struct Watched {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
}

impl Watched {
    fn new(stream: TcpStream) -> Self {
        Self { stream, deadline: Box::pin(sleep(IDLE_TIMEOUT)) }
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
        this.watch(context, result)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
