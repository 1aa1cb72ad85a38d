//! What an S3-compatible service means with an error: from its code and status to what a person can do.

use fault::Kind;
use object_store::Error as ClientError;

use crate::error::StoreError;

/// Characters of a cause that are told. The answer of a service may be a whole page.
const CAUSE_CHARACTERS_MAX: usize = 600;

/// What is wrong with a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such bucket.
    NoBucket,
    /// The credentials are wrong, or do not suffice.
    Denied,
    /// The clock of this machine is wrong.
    Clock,
    /// The service has no room, or a quota is used up.
    Full,
    /// The service cannot be reached, does not answer in time, or has trouble of its own.
    Unreachable,
    /// Everything else.
    Refused,
}

impl Trouble {
    pub(crate) fn what(self) -> &'static str {
        match self {
            Trouble::NoBucket => "there is no such bucket",
            Trouble::Denied => "the service refuses these credentials",
            Trouble::Clock => "the clock of this machine and that of the service differ too much",
            Trouble::Full => "the service has no room left",
            Trouble::Unreachable => "the service does not answer as it should",
            Trouble::Refused => "the service refuses the request",
        }
    }

    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Trouble::NoBucket => {
                "create the bucket, or correct its name in the settings; Vessel makes none by itself"
            }
            Trouble::Denied => {
                "check the file of the credentials: they must allow to list, read, write and delete in this bucket"
            }
            Trouble::Clock => "set the clock of this machine, best by NTP",
            Trouble::Full => {
                "make room in the store or raise its quota and do it again; what is published is unchanged"
            }
            Trouble::Unreachable => {
                "check that the service runs and can be reached, and do it again; what is published is unchanged"
            }
            Trouble::Refused => {
                "check endpoint, region and bucket; the service must know conditional puts (If-None-Match, If-Match)"
            }
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Trouble::NoBucket => Kind::NotFound,
            Trouble::Denied => Kind::Denied,
            Trouble::Clock | Trouble::Refused => Kind::Input,
            Trouble::Full | Trouble::Unreachable => Kind::Unavailable,
        }
    }
}

/// The answer of the service, as text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

/// Whether the object is not there, in a bucket that is.
pub(super) fn is_missing(error: &ClientError) -> bool {
    matches!(error, ClientError::NotFound { .. }) && trouble(error, &text(error)) != Trouble::NoBucket
}

pub(super) fn error(action: &'static str, place: &str, key: &str, error: &ClientError) -> StoreError {
    let text = text(error);
    let trouble = trouble(error, &text);
    let cause = Cause(text.chars().take(CAUSE_CHARACTERS_MAX).collect());
    StoreError::Bucket { action, place: place.to_owned(), key: key.to_owned(), trouble, source: cause }
}

/// On one line.
fn text(error: &ClientError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn trouble(error: &ClientError, text: &str) -> Trouble {
    let says = |codes: &[&str]| codes.iter().any(|code| text.contains(code));
    if says(&["NoSuchBucket"]) {
        return Trouble::NoBucket;
    }
    if says(&["RequestTimeTooSkewed"]) {
        return Trouble::Clock;
    }
    if says(&[
        "507 Insufficient",
        "InsufficientStorage",
        "QuotaExceeded",
        "XMinioStorageFull",
        "no space left",
    ]) {
        return Trouble::Full;
    }
    match error {
        ClientError::PermissionDenied { .. } | ClientError::Unauthenticated { .. } => Trouble::Denied,
        _ if says(&["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"]) => Trouble::Denied,
        // Answers that say that the service was asked wrongly.
        ClientError::NotFound { .. }
        | ClientError::NotImplemented { .. }
        | ClientError::NotSupported { .. } => Trouble::Refused,
        _ if says(&["status code: 4"]) && !says(&["status code: 408", "status code: 429"]) => {
            Trouble::Refused
        }
        _ => Trouble::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> ClientError {
        ClientError::Generic { store: "S3", source: text.into() }
    }

    #[test]
    fn answers_and_what_they_mean() {
        let missing = |text: &str| ClientError::NotFound { path: "a".into(), source: text.into() };
        let table = [
            (missing("404 <Code>NoSuchBucket</Code>"), Trouble::NoBucket),
            (missing("404 <Code>NoSuchUpload</Code>"), Trouble::Refused),
            (generic("status code: 507 Insufficient Storage"), Trouble::Full),
            (generic("<Code>QuotaExceeded</Code>"), Trouble::Full),
            (generic("status code: 400 Bad Request: <Code>SignatureDoesNotMatch</Code>"), Trouble::Denied),
            (generic("status code: 400 Bad Request: <Code>InvalidArgument</Code>"), Trouble::Refused),
            (generic("status code: 429 Too Many Requests"), Trouble::Unreachable),
            (generic("status code: 503 Slow Down"), Trouble::Unreachable),
            (generic("HTTP error: error sending request"), Trouble::Unreachable),
            (generic("<Code>RequestTimeTooSkewed</Code>"), Trouble::Clock),
        ];
        for (error, expect) in table {
            assert_eq!(trouble(&error, &text(&error)), expect, "{error}");
        }
        assert!(is_missing(&missing("404 <Code>NoSuchKey</Code>")));
        assert!(!is_missing(&missing("404 <Code>NoSuchBucket</Code>")));
    }

    #[test]
    fn a_page_of_text_is_cut_and_stands_on_one_line() {
        let StoreError::Bucket { source, .. } =
            error("read", "b", "k", &generic(&"long\n  text ".repeat(1000)))
        else {
            panic!("another error")
        };
        assert_eq!(source.to_string().chars().count(), CAUSE_CHARACTERS_MAX);
        assert!(!source.to_string().contains('\n'));
    }
}
