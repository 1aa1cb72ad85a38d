//! Errors as answers: a status from the kind, the message, what to do.

use access::{Action, Scope};
use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use farm::rebuild::RebuildError;
use fault::{Fault, Kind};
use schemars::JsonSchema;
use serde::Serialize;

use crate::channels::ChannelsError;
use crate::forge::Disbelief;
use crate::logs::LogError;
use crate::logs::search::PatternError;
use crate::secrets::SecretError;
use crate::store::StoreError;
use crate::watcher::LookError;

use super::pages;

/// Why a request is not answered as it wished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Look(#[from] LookError),
    #[error(transparent)]
    Channels(#[from] ChannelsError),
    #[error("cannot find {path}")]
    NoSuchPage { path: String },
    #[error("cannot understand {what}: {why}")]
    BadRequest { what: &'static str, why: String },
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    #[error("cannot plan: recipes and repository were not read yet")]
    NotReadYet,
    #[error("cannot do that without knowing who asks: {why}")]
    WhoAreYou { why: String },
    #[error("cannot believe a forge: {0}")]
    Forge(Disbelief),
    #[error("cannot let you do that")]
    Refused { action: Action, needs: Option<Scope> },
    #[error("cannot serve so many requests from one address")]
    TooManyRequests { seconds: u64 },
    #[error("cannot take {what}: it has more than {size_bytes_max} bytes")]
    TooLarge { what: &'static str, size_bytes_max: usize },
    #[error("cannot do that with {method} at {path}")]
    NoSuchMethod { method: String, path: String },
    #[error("cannot serve so many live views at once")]
    TooMany,
    #[error("cannot tell which task {name:?} means: {}", tasks.join(", "))]
    Ambiguous { name: String, tasks: Vec<String> },
    #[error("cannot pause the queue: {by} paused it already")]
    PausedAlready { by: String },
    #[error("cannot resume the queue: it is not paused")]
    NotPaused,
}

impl Fault for WebError {
    fn kind(&self) -> Kind {
        match self {
            WebError::Store(error) => error.kind(),
            WebError::Log(error) => error.kind(),
            WebError::Pattern(error) => error.kind(),
            WebError::Look(error) => error.kind(),
            WebError::Channels(error) => error.kind(),
            // Whose fault it is, is Summit's.
            WebError::Secret(_) => Kind::Unavailable,
            WebError::Rebuild(error) => error.kind(),
            WebError::NotReadYet => Kind::Unavailable,
            WebError::Ambiguous { .. } | WebError::PausedAlready { .. } | WebError::NotPaused => {
                Kind::Conflict
            }
            WebError::NoSuchPage { .. } => Kind::NotFound,
            WebError::BadRequest { .. } => Kind::Input,
            WebError::WhoAreYou { .. } | WebError::Forge(_) | WebError::Refused { .. } => Kind::Denied,
            WebError::TooLarge { .. } | WebError::NoSuchMethod { .. } => Kind::Input,
            WebError::TooMany | WebError::TooManyRequests { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            WebError::Store(error) => error.hints(),
            WebError::Log(error) => error.hints(),
            WebError::Pattern(error) => error.hints(),
            WebError::Look(error) => error.hints(),
            WebError::Channels(error) => error.hints(),
            WebError::Secret(error) => error.hints(),
            WebError::Rebuild(error) => error.hints(),
            WebError::Ambiguous { tasks, .. } => {
                let first = tasks.first().and_then(|task| task.split(' ').next()).unwrap_or_default();
                vec![format!("say which: by its number, or for example {first}")]
            }
            WebError::PausedAlready { .. } => vec!["`moraine queue resume` lets it go on".into()],
            WebError::NotPaused => vec!["`moraine queue` shows what runs and what comes next".into()],
            WebError::NotReadYet => vec!["what holds it up stands on the overview".into()],
            WebError::WhoAreYou { .. } => vec![
                "make a token on the machine that Summit runs on: summit token add NAME --scope SCOPE --data DIR".into(),
                "show it: curl -H \"Authorization: Bearer $TOKEN\" …, moraine --token-file FILE, or on the page /sign-in".into(),
            ],
            WebError::Forge(Disbelief::UnknownForge) => {
                vec!["GitHub, GitLab, Forgejo and Gitea are known; from elsewhere: POST /api/wake-up with a token".into()]
            }
            WebError::Forge(_) => vec![
                "give the forge the text in `wake_up_secret_file` of the project as its secret, and JSON as content type".into(),
            ],
            WebError::Refused { action, needs: Some(scope) } => vec![format!(
                "{} needs a token with the scope {scope}: summit token add NAME --scope {scope} --data DIR",
                action.keyword()
            )],
            WebError::Refused { .. } => vec!["no token allows it".into()],
            WebError::TooManyRequests { seconds } => vec![format!("try again in {seconds} seconds")],
            WebError::TooLarge { .. } | WebError::NoSuchMethod { .. } => Vec::new(),
            WebError::TooMany => vec!["reload the page in a while".into()],
            WebError::NoSuchPage { .. } | WebError::BadRequest { .. } => Vec::new(),
        }
    }
}

impl WebError {
    pub(crate) fn no_project(name: &str) -> Self {
        StoreError::NotFound { what: format!("project {name:?}") }.into()
    }

    pub(crate) fn no_recipe(source: &str) -> Self {
        StoreError::NotFound { what: format!("recipe {source:?}") }.into()
    }

    fn status(&self) -> StatusCode {
        match self {
            WebError::WhoAreYou { .. } | WebError::Forge(_) => StatusCode::UNAUTHORIZED,
            WebError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            WebError::NoSuchMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            WebError::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::from_u16(self.kind().meaning().http_status)
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// Headers that some statuses have (RFC 9110, 11.6.1; RFC 6585, 4).
    fn tell_when_and_how(&self, headers: &mut HeaderMap) {
        match self {
            WebError::WhoAreYou { .. } | WebError::Forge(_) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"Summit\""));
            }
            WebError::TooManyRequests { seconds } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            _ => {}
        }
    }

    fn log(&self) {
        if matches!(self.kind(), Kind::Bug | Kind::Damaged) {
            tracing::error!(error = fault::chain(self).join(": "), "a request failed");
        }
    }
}

/// Every error of the API.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename = "Error")]
pub(crate) struct ErrorView {
    error: ErrorText,
}

/// What is wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorText {
    /// What is wrong, in a line.
    message: String,
    /// What is behind it, the outermost first.
    causes: Vec<String>,
    /// What to do, a sentence each.
    hints: Vec<String>,
}

impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        self.log();
        let mut causes = fault::chain(&self);
        let message = if causes.is_empty() { String::new() } else { causes.remove(0) };
        let body = ErrorView { error: ErrorText { message, causes, hints: self.hints() } };
        let mut response = (self.status(), Json(body)).into_response();
        self.tell_when_and_how(response.headers_mut());
        response
    }
}

/// The same as a page, which [`Reader::framed`](pages::Reader::framed) puts into the frame of all pages.
#[derive(Debug)]
pub(crate) struct PageError(WebError);

impl<E: Into<WebError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        self.0.log();
        let text = fault::chain(&self.0).join(": ");
        let mut response = (self.0.status(), text).into_response();
        self.0.tell_when_and_how(response.headers_mut());
        response.extensions_mut().insert(pages::NoPage::new(self.0));
        response
    }
}
