//! Reading one address, bounded in size and time.
//!
//! Bytes are taken as they are sent: no content encoding is asked for or undone, so a size limit counts what is kept
//! and a compressed tarball stays the file its digest belongs to.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use fs_err as fs;
use ureq::http::header;
use ureq::tls::{RootCerts, TlsConfig};

use crate::address::{Address, redacted};
use crate::part::{PartError, PartFile};

mod error;

pub use error::HttpError;

/// Bytes read at a time; a few network buffers.
const CHUNK_BYTES: usize = 64 * 1024;
/// Where distributions keep the certificates they trust; one of these being there means the machine has its own.
const CERTIFICATE_PLACES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/usr/share/defaults/etc/ssl/certs/ca-certificates.crt",
];

/// How patient a [`Client`] is.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Longest time to reach a server, TLS included.
    pub connect_timeout: Duration,
    /// Longest silence of a server.
    pub read_timeout: Duration,
    /// Fewest bytes a second, measured over each `slow_window`; zero switches the measure off.
    pub slow_bytes_per_second: u64,
    /// How long a server may be slow before it is given up.
    pub slow_window: Duration,
    /// Most redirects that are followed.
    pub redirects_max: u32,
    /// Most times one address is asked, if asking again can help.
    pub attempts_max: u32,
    /// Pause before the second attempt; doubled for each further one.
    pub retry_pause: Duration,
}

impl Default for ClientSettings {
    /// Ten seconds to connect, half a minute of silence, 1 KiB/s over a minute, three attempts.
    fn default() -> Self {
        ClientSettings {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            slow_bytes_per_second: 1024,
            slow_window: Duration::from_secs(60),
            redirects_max: 10,
            attempts_max: 3,
            retry_pause: Duration::from_millis(500),
        }
    }
}

/// What tells one version of a file at an address from another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Validators {
    /// The `ETag`, as sent.
    pub etag: Option<String>,
    /// `Last-Modified`, as sent.
    pub last_modified: Option<String>,
}

/// What is at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// What the caller knew already.
    NotModified,
    /// These bytes.
    Bytes {
        /// The bytes, as sent.
        bytes: Vec<u8>,
        /// What to ask with next time.
        validators: Validators,
    },
}

/// What a server answered to a request that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// What it said.
    pub bytes: Vec<u8>,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here.
    pub received_bytes: u64,
    /// Bytes there will be, where the other end says so.
    pub total_bytes: Option<u64>,
}

/// Reads addresses. Cheap to clone; connections are kept and shared.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    settings: ClientSettings,
}

impl Default for Client {
    fn default() -> Self {
        Client::new(ClientSettings::default())
    }
}

impl Client {
    /// A client that is as patient as `settings` say. Proxies are taken from the usual variables (`HTTPS_PROXY` …).
    #[must_use]
    pub fn new(settings: ClientSettings) -> Client {
        let has_certificates = std::env::var_os("SSL_CERT_FILE").is_some()
            || std::env::var_os("SSL_CERT_DIR").is_some()
            || CERTIFICATE_PLACES.iter().any(|place| Path::new(place).exists());
        let roots = if has_certificates { RootCerts::PlatformVerifier } else { RootCerts::WebPki };
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("moraine/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .max_redirects(settings.redirects_max)
            .max_redirects_will_error(true)
            .timeout_resolve(Some(settings.connect_timeout))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_send_request(Some(settings.read_timeout))
            .timeout_recv_response(Some(settings.read_timeout))
            .timeout_per_read(Some(settings.read_timeout))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .new_agent();
        Client { agent, settings }
    }

    /// The same connections with other settings.
    pub(crate) fn with(&self, change: impl FnOnce(&ClientSettings) -> ClientSettings) -> Client {
        Client { agent: self.agent.clone(), settings: change(&self.settings) }
    }

    /// Reads what is at `url` into memory, unless it is what `known` describes.
    ///
    /// # Errors
    /// When it cannot be had, is larger than `size_bytes_max`, or is not an address.
    pub fn get(&self, url: &str, known: &Validators, size_bytes_max: u64) -> Result<Body, HttpError> {
        let mut sink = Memory::default();
        let modified = self.transfer(url, known, size_bytes_max, &mut sink, &|_| ())?;
        Ok(if modified {
            Body::Bytes { bytes: sink.bytes, validators: sink.validators }
        } else {
            Body::NotModified
        })
    }

    /// Sends `body` to `url`, once: what changes something is not asked for again. Whatever the server answers is an
    /// answer, also a refusal; redirects are not followed.
    ///
    /// # Errors
    /// When there is no answer, it is larger than `size_bytes_max`, or `url` is no address of a server.
    pub fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        size_bytes_max: u64,
    ) -> Result<Answer, HttpError> {
        let known = Validators::default();
        let (transfer, address) = self.question(url, &known, size_bytes_max)?;
        let mut request =
            self.agent.post(address).config().max_redirects(0).max_redirects_will_error(false).build();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(&transfer, request.send(body))
    }

    /// Sends `body` to `url` and says which status was answered. What the server says beside that is not waited for.
    /// Redirects are not followed, and nothing is sent twice.
    ///
    /// # Errors
    /// When there is no answer, or `url` is no address of a server.
    pub fn tell(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<u16, HttpError> {
        self.tell_by("POST", url, headers, body)
    }

    /// As [`Client::tell`], by another method than `POST`, such as the `BAN` of caches.
    ///
    /// # Errors
    /// As [`Client::tell`], and when there can be no such method or header.
    pub fn tell_by(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<u16, HttpError> {
        let known = Validators::default();
        let (transfer, address) = self.question(url, &known, 0)?;
        let mut request = ureq::http::Request::builder().method(method).uri(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(|error| transfer.protocol(&error.to_string()))?;
        let request = self
            .agent
            .configure_request(request)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .build();
        match self.agent.run(request) {
            Ok(response) => Ok(response.status().as_u16()),
            Err(source) => Err(transfer.connection(source)),
        }
    }

    /// Asks for what is at `url`, where whatever the server answers is an answer, also a refusal: for the interfaces of
    /// programs, which say more than a status does. Redirects are not followed.
    ///
    /// # Errors
    /// When there is no answer, it is larger than `size_bytes_max`, or `url` is no address of a server.
    pub fn ask(&self, url: &str, size_bytes_max: u64) -> Result<Answer, HttpError> {
        self.ask_with(url, &[], size_bytes_max)
    }

    /// As [`Client::ask`], with these headers.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn ask_with(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        size_bytes_max: u64,
    ) -> Result<Answer, HttpError> {
        let known = Validators::default();
        let (transfer, address) = self.question(url, &known, size_bytes_max)?;
        let mut request =
            self.agent.get(address).config().max_redirects(0).max_redirects_will_error(false).build();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(&transfer, request.call())
    }

    fn question<'a>(
        &'a self,
        url: &'a str,
        known: &'a Validators,
        size_bytes_max: u64,
    ) -> Result<(Transfer<'a>, String), HttpError> {
        let transfer = Transfer {
            url: redacted(url),
            known,
            size_bytes_max,
            progress: &|_| (),
            settings: &self.settings,
        };
        match Address::parse(url)? {
            Address::Http(address) => Ok((transfer, address)),
            Address::File(_) => Err(transfer.protocol("a file cannot be asked to do anything")),
        }
    }

    /// Receives what is at `url` into `part`, going on after the bytes the part already holds where the server
    /// agrees that they belong to the same file. `progress` is called after every piece.
    ///
    /// # Errors
    /// When it cannot be had, is larger than `size_bytes_max`, cannot be written, or is not an address. The part then
    /// keeps what came, for the next time.
    pub fn download(
        &self,
        url: &str,
        part: &mut PartFile,
        size_bytes_max: u64,
        progress: &dyn Fn(Progress),
    ) -> Result<(), HttpError> {
        self.transfer(url, &Validators::default(), size_bytes_max, part, progress).map(drop)
    }

    /// Gives whether anything was modified.
    fn transfer(
        &self,
        url: &str,
        known: &Validators,
        size_bytes_max: u64,
        sink: &mut dyn Sink,
        progress: &dyn Fn(Progress),
    ) -> Result<bool, HttpError> {
        let address = Address::parse(url)?;
        let mut pause = self.settings.retry_pause;
        let mut attempt = 1;
        loop {
            let transfer =
                Transfer { url: redacted(url), known, size_bytes_max, progress, settings: &self.settings };
            let result = match &address {
                Address::File(path) => transfer.copy(path, sink),
                Address::Http(url) => transfer.ask(&self.agent, url, sink),
            };
            match result {
                Err(error) if attempt < self.settings.attempts_max && error.is_worth_another_attempt() => {
                    tracing::info!(%error, attempt, "asking again");
                    std::thread::sleep(pause);
                    pause *= 2;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }
}

/// Where received bytes go.
trait Sink {
    fn size_bytes(&self) -> u64;
    /// What the bytes held so far belong to.
    fn validator(&self) -> Option<&str>;
    fn restart(&mut self, validators: &Validators) -> Result<(), PartError>;
    fn append(&mut self, bytes: &[u8]) -> Result<(), PartError>;
}

impl Sink for PartFile {
    fn size_bytes(&self) -> u64 {
        PartFile::size_bytes(self)
    }

    fn validator(&self) -> Option<&str> {
        PartFile::validator(self)
    }

    fn restart(&mut self, validators: &Validators) -> Result<(), PartError> {
        PartFile::restart(self, validators.for_a_range()).map_err(|source| self.error(source))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), PartError> {
        PartFile::append(self, bytes).map_err(|source| self.error(source))
    }
}

#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    validators: Validators,
}

impl Sink for Memory {
    fn size_bytes(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    fn validator(&self) -> Option<&str> {
        self.validators.for_a_range()
    }

    fn restart(&mut self, validators: &Validators) -> Result<(), PartError> {
        self.bytes.clear();
        self.validators = validators.clone();
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), PartError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl Validators {
    /// The one that `If-Range` may carry: a strong `ETag`, else the date (RFC 9110, 13.1.5).
    fn for_a_range(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| !etag.starts_with("W/")).or(self.last_modified.as_deref())
    }

    fn of(headers: &header::HeaderMap) -> Validators {
        let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
        Validators {
            etag: text(header::ETAG).map(str::to_owned),
            last_modified: text(header::LAST_MODIFIED).map(str::to_owned),
        }
    }
}

/// One attempt.
struct Transfer<'a> {
    url: String,
    known: &'a Validators,
    size_bytes_max: u64,
    progress: &'a dyn Fn(Progress),
    settings: &'a ClientSettings,
}

impl Transfer<'_> {
    fn copy(&self, path: &Path, sink: &mut dyn Sink) -> Result<bool, HttpError> {
        let file_error = |source| HttpError::File { url: self.url.clone(), source };
        let mut file = fs::File::open(path).map_err(file_error)?;
        let metadata = file.metadata().map_err(file_error)?;
        if !metadata.is_file() {
            return Err(file_error(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
        }
        let etag = format!("\"{}-{}.{}\"", metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if self.known.etag.as_ref() == Some(&etag) {
            return Ok(false);
        }
        sink.restart(&Validators { etag: Some(etag), last_modified: None })?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = file.read(&mut chunk).map_err(file_error)?;
            if count == 0 {
                return Ok(true);
            }
            self.take(chunk.get(..count).unwrap_or_default(), sink, Some(metadata.len()))?;
        }
    }

    fn ask(&self, agent: &ureq::Agent, url: &str, sink: &mut dyn Sink) -> Result<bool, HttpError> {
        let held = sink.size_bytes();
        let mut request = agent.get(url);
        if let Some(etag) = &self.known.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        } else if let Some(date) = &self.known.last_modified {
            request = request.header(header::IF_MODIFIED_SINCE, date);
        }
        let resumes = match sink.validator() {
            Some(validator) if held > 0 => {
                request = request
                    .header(header::RANGE, format!("bytes={held}-"))
                    .header(header::IF_RANGE, validator);
                true
            }
            _ => false,
        };
        let response = request.call().map_err(|source| self.connection(source))?;
        let status = response.status().as_u16();
        let headers = response.headers();
        match status {
            304 if *self.known != Validators::default() => return Ok(false),
            206 if resumes => {
                if range_start(headers) != Some(held) {
                    sink.restart(&Validators::default())?;
                    return Err(self.protocol("the server sent another range than was asked for"));
                }
            }
            // The range begins at or after the end: the file has changed, or all of it is here and the digest decides.
            416 if resumes => {
                sink.restart(&Validators::default())?;
                return self.ask(agent, url, sink);
            }
            200 => {
                refuse_encoding(headers).map_err(|why| self.protocol(why))?;
                sink.restart(&Validators::of(headers))?;
            }
            status => return Err(HttpError::Status { url: self.url.clone(), status }),
        }
        let total_bytes = response.body().content_length().map(|rest| rest.saturating_add(sink.size_bytes()));
        if total_bytes.is_some_and(|total| total > self.size_bytes_max) {
            return Err(self.too_large());
        }
        self.receive(&mut response.into_body().into_reader(), sink, total_bytes)?;
        Ok(true)
    }

    fn receive(
        &self,
        reader: &mut dyn Read,
        sink: &mut dyn Sink,
        total_bytes: Option<u64>,
    ) -> Result<(), HttpError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut pace = Pace::new(Instant::now());
        loop {
            let count = match reader.read(&mut chunk) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.truncated(sink, total_bytes, Some(source))),
            };
            if count == 0 {
                return match total_bytes {
                    Some(total) if sink.size_bytes() < total => Err(self.truncated(sink, total_bytes, None)),
                    _ => Ok(()),
                };
            }
            self.take(chunk.get(..count).unwrap_or_default(), sink, total_bytes)?;
            if let Some(received_bytes) = pace.too_slow(count, Instant::now(), self.settings) {
                return Err(HttpError::TooSlow {
                    url: self.url.clone(),
                    received_bytes,
                    window: self.settings.slow_window,
                });
            }
        }
    }

    fn take(&self, bytes: &[u8], sink: &mut dyn Sink, total_bytes: Option<u64>) -> Result<(), HttpError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if sink.size_bytes().saturating_add(length) > self.size_bytes_max {
            return Err(self.too_large());
        }
        sink.append(bytes)?;
        (self.progress)(Progress { received_bytes: sink.size_bytes(), total_bytes });
        Ok(())
    }

    fn connection(&self, source: ureq::Error) -> HttpError {
        HttpError::Connection { url: self.url.clone(), source: Box::new(source) }
    }

    fn protocol(&self, why: &str) -> HttpError {
        HttpError::Protocol { url: self.url.clone(), why: why.to_owned() }
    }

    fn too_large(&self) -> HttpError {
        HttpError::TooLarge { url: self.url.clone(), size_bytes_max: self.size_bytes_max }
    }

    fn truncated(&self, sink: &dyn Sink, total_bytes: Option<u64>, source: Option<io::Error>) -> HttpError {
        HttpError::Truncated { url: self.url.clone(), received_bytes: sink.size_bytes(), total_bytes, source }
    }
}

/// Counts bytes over windows of time.
struct Pace {
    since: Instant,
    received_bytes: u64,
}

impl Pace {
    fn new(now: Instant) -> Pace {
        Pace { since: now, received_bytes: 0 }
    }

    /// The bytes of the window that just ended, if they are too few.
    fn too_slow(&mut self, count: usize, now: Instant, settings: &ClientSettings) -> Option<u64> {
        self.received_bytes = self.received_bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < settings.slow_window {
            return None;
        }
        let received_bytes = self.received_bytes;
        *self = Pace::new(now);
        let expected = u128::from(settings.slow_bytes_per_second) * elapsed.as_millis() / 1000;
        (u128::from(received_bytes) < expected).then_some(received_bytes)
    }
}

/// The first byte of a `Content-Range: bytes 5-9/10`.
/// The whole of what a server says, whatever it is.
fn answer(
    transfer: &Transfer<'_>,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Answer, HttpError> {
    let response = response.map_err(|source| transfer.connection(source))?;
    refuse_encoding(response.headers()).map_err(|why| transfer.protocol(why))?;
    let status = response.status().as_u16();
    let total_bytes = response.body().content_length();
    if total_bytes.is_some_and(|total| total > transfer.size_bytes_max) {
        return Err(transfer.too_large());
    }
    let mut sink = Memory::default();
    transfer.receive(&mut response.into_body().into_reader(), &mut sink, total_bytes)?;
    Ok(Answer { status, bytes: sink.bytes })
}

fn range_start(headers: &header::HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// Some servers label a stored `.tar.gz` as an encoding of a `.tar`. Its bytes are what the digest belongs to, so gzip
/// is taken as it comes; anything else was not asked for.
fn refuse_encoding(headers: &header::HeaderMap) -> Result<(), &'static str> {
    match headers.get(header::CONTENT_ENCODING).map(header::HeaderValue::as_bytes) {
        None | Some(b"" | b"identity" | b"gzip" | b"x-gzip") => Ok(()),
        Some(_) => Err("the server sent it in an encoding that was not asked for"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_measured_over_whole_windows() {
        let settings = ClientSettings {
            slow_bytes_per_second: 100,
            slow_window: Duration::from_secs(10),
            ..ClientSettings::default()
        };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(start);
        assert_eq!(pace.too_slow(1, at(9), &settings), None, "the window is not over");
        assert_eq!(pace.too_slow(999, at(10), &settings), None, "just fast enough");
        assert_eq!(pace.too_slow(1, at(20), &settings), Some(1));
    }

    #[test]
    fn only_strong_validators_go_with_a_range() {
        fn check(etag: Option<&str>, last_modified: Option<&str>, expect: Option<&str>) {
            let validators =
                Validators { etag: etag.map(str::to_owned), last_modified: last_modified.map(str::to_owned) };
            assert_eq!(validators.for_a_range(), expect);
        }
        check(Some("\"a\""), Some("date"), Some("\"a\""));
        check(Some("W/\"a\""), Some("date"), Some("date"));
        check(Some("W/\"a\""), None, None);
        check(None, None, None);
    }

    #[test]
    fn a_range_names_its_first_byte() {
        fn check(text: &str, expect: Option<u64>) {
            let mut headers = header::HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, text.parse().unwrap());
            assert_eq!(range_start(&headers), expect, "{text}");
        }
        check("bytes 5-9/10", Some(5));
        check("bytes 5-9/*", Some(5));
        check("bytes */10", None);
        check("lines 1-2/3", None);
        check("bytes -5-9/10", None);
    }
}
