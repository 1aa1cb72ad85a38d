//! Errors across the wire: one table between [`fault::Kind`] and gRPC codes.
//!
//! The message is the chain of causes in one line; hints travel in the details of the status.

use fault::{Fault, Kind};
use tonic::{Code, Status};

use crate::limits::STATUS_TEXT_SIZE_BYTES_MAX;

/// What the other side answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RemoteError {
    kind: Kind,
    message: String,
    hints: Vec<String>,
}

impl Fault for RemoteError {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn hints(&self) -> Vec<String> {
        self.hints.clone()
    }
}

/// The code of a kind.
#[must_use]
pub fn code(kind: Kind) -> Code {
    match kind {
        Kind::Input => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::Conflict => Code::FailedPrecondition,
        Kind::Denied => Code::PermissionDenied,
        Kind::Unavailable => Code::Unavailable,
        Kind::Damaged => Code::DataLoss,
        Kind::Bug => Code::Internal,
    }
}

/// The kind of a code, including those that only a library or a proxy answers.
#[must_use]
pub fn kind(code: Code) -> Kind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => Kind::Input,
        Code::NotFound => Kind::NotFound,
        Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => Kind::Conflict,
        Code::PermissionDenied | Code::Unauthenticated => Kind::Denied,
        Code::DataLoss => Kind::Damaged,
        Code::Internal | Code::Unimplemented | Code::Ok => Kind::Bug,
        // A broken connection reaches the caller as "unknown" or "cancelled".
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Cancelled
        | Code::Unknown => Kind::Unavailable,
    }
}

/// The status that tells a peer of `fault`.
#[must_use]
pub fn to_status(fault: &dyn Fault) -> Status {
    let message = fault::chain(fault).join(": ");
    let hints = fault.hints().join("\n");
    Status::with_details(
        code(fault.kind()),
        shortened(&message),
        shortened(&hints).to_owned().into_bytes().into(),
    )
}

/// What `status` tells of.
#[must_use]
pub fn from_status(status: &Status) -> RemoteError {
    let message = match status.message() {
        "" => format!("the server answered {:?} without a word", status.code()),
        message => message.to_owned(),
    };
    let hints = String::from_utf8_lossy(status.details());
    let hints = hints.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    RemoteError { kind: kind(status.code()), message, hints }
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(STATUS_TEXT_SIZE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the door")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("the key is bent")]
    struct Inner;

    impl Fault for Outer {
        fn kind(&self) -> Kind {
            Kind::Conflict
        }

        fn hints(&self) -> Vec<String> {
            vec!["straighten it".into(), "or ring".into()]
        }
    }

    #[test]
    fn every_kind_survives_the_wire() {
        for kind_sent in Kind::ALL {
            assert_eq!(kind(code(kind_sent)), kind_sent);
        }
    }

    #[test]
    fn causes_and_hints_survive_the_wire() {
        let error = from_status(&to_status(&Outer(Inner)));
        assert_eq!(error.to_string(), "cannot open the door: the key is bent");
        assert_eq!(error.hints(), ["straighten it", "or ring"]);
        assert_eq!(error.kind(), Kind::Conflict);
    }

    #[test]
    fn an_endless_message_is_cut_between_characters() {
        let text = "ä".repeat(STATUS_TEXT_SIZE_BYTES_MAX);
        assert_eq!(shortened(&text).len(), STATUS_TEXT_SIZE_BYTES_MAX);
        assert_eq!(shortened(&format!("x{text}")).len(), STATUS_TEXT_SIZE_BYTES_MAX - 1);
    }
}
