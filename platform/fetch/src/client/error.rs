//! Why an address was not read.

use std::io;
use std::time::Duration;

use fault::{Fault, Kind};

use crate::address::AddressError;
use crate::part::PartError;

/// An address could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// It is no address that can be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The server refused.
    #[error("cannot get {url}: the server answered {status}")]
    Status {
        /// The address, without credentials.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server could not be reached, or the connection broke.
    #[error("cannot get {url}: {}", unreachable_because(source))]
    Connection {
        /// The address, without credentials.
        url: String,
        /// What the network said.
        source: Box<ureq::Error>,
    },
    /// The connection ended early.
    #[error("cannot get {url}: the connection ended after {received_bytes} bytes{}", of_total(*total_bytes))]
    Truncated {
        /// The address, without credentials.
        url: String,
        /// Bytes that came.
        received_bytes: u64,
        /// Bytes that were announced.
        total_bytes: Option<u64>,
        /// What the network said, if anything.
        #[source]
        source: Option<io::Error>,
    },
    /// The server is too slow.
    #[error(
        "cannot get {url}: the server sent only {received_bytes} bytes in {} seconds",
        window.as_secs_f32()
    )]
    TooSlow {
        /// The address, without credentials.
        url: String,
        /// Bytes that came in the window.
        received_bytes: u64,
        /// The window.
        window: Duration,
    },
    /// There is more than the caller takes.
    #[error("cannot get {url}: it is larger than the limit of {size_bytes_max} bytes")]
    TooLarge {
        /// The address, without credentials.
        url: String,
        /// The caller's limit.
        size_bytes_max: u64,
    },
    /// The server does not speak HTTP as it must.
    #[error("cannot get {url}: {why}")]
    Protocol {
        /// The address, without credentials.
        url: String,
        /// What was wrong.
        why: String,
    },
    /// A `file:` address cannot be read.
    #[error("cannot read {url}")]
    File {
        /// The address.
        url: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What came cannot be kept.
    #[error(transparent)]
    Part(#[from] PartError),
}

impl Fault for HttpError {
    fn kind(&self) -> Kind {
        match self {
            HttpError::Address(error) => error.kind(),
            HttpError::Status { status, .. } => match status {
                401 | 403 | 407 => Kind::Denied,
                404 | 410 => Kind::NotFound,
                408 | 425 | 429 | 500.. => Kind::Unavailable,
                _ => Kind::Damaged,
            },
            HttpError::Connection { source, .. } => match source.as_ref() {
                ureq::Error::Io(_)
                | ureq::Error::Timeout(_)
                | ureq::Error::HostNotFound
                | ureq::Error::ConnectionFailed
                | ureq::Error::ConnectProxyFailed(_) => Kind::Unavailable,
                _ => Kind::Damaged,
            },
            HttpError::Truncated { .. } | HttpError::TooSlow { .. } => Kind::Unavailable,
            HttpError::TooLarge { .. } | HttpError::Protocol { .. } => Kind::Damaged,
            HttpError::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Kind::NotFound,
                io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Unavailable,
            },
            HttpError::Part(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            HttpError::Address(error) => error.hints(),
            HttpError::Part(error) => error.hints(),
            HttpError::Connection { source, .. } if matches!(source.as_ref(), ureq::Error::HostNotFound) => {
                vec!["check the host name, and that this machine has a way out".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

impl HttpError {
    /// There is not one address to ask.
    pub(crate) fn nowhere() -> Self {
        HttpError::Protocol { url: "it".to_owned(), why: "no address is known".to_owned() }
    }

    /// Whether asking the same address at once again can help. A host that has no name or refuses connections, or a
    /// disk that is full, will be the same in a second.
    pub(super) fn is_worth_another_attempt(&self) -> bool {
        match self {
            HttpError::Part(_) | HttpError::File { .. } => false,
            HttpError::Connection { source, .. } => match source.as_ref() {
                ureq::Error::Io(error) => error.kind() != io::ErrorKind::ConnectionRefused,
                ureq::Error::Timeout(timeout) => {
                    !matches!(timeout, ureq::Timeout::Connect | ureq::Timeout::Resolve)
                }
                _ => false,
            },
            _ => self.kind().meaning().retry,
        }
    }
}

fn of_total(total_bytes: Option<u64>) -> String {
    total_bytes.map(|total| format!(" of {total}")).unwrap_or_default()
}

/// Says what the network said in words; the error itself is of the HTTP library and not meant for people.
fn unreachable_because(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "the host name is not known".to_owned(),
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            "the server does not answer".to_owned()
        }
        ureq::Error::Timeout(_) => "the server went silent".to_owned(),
        ureq::Error::TooManyRedirects => "it redirects too often".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_the_kind_that_decides_about_a_retry() {
        fn check(status: u16, expect: Kind) {
            assert_eq!(HttpError::Status { url: String::new(), status }.kind(), expect, "{status}");
        }
        check(404, Kind::NotFound);
        check(410, Kind::NotFound);
        check(403, Kind::Denied);
        check(429, Kind::Unavailable);
        check(503, Kind::Unavailable);
        check(418, Kind::Damaged);
    }
}
