//! Errors as answers: a status from the kind, the message, what to do.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use farm::rebuild::RebuildError;
use fault::{Fault, Kind};
use serde_json::json;

use crate::logs::LogError;
use crate::logs::search::PatternError;
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
    Look(#[from] LookError),
    #[error("cannot find {path}")]
    NoSuchPage { path: String },
    #[error("cannot understand {what}: {why}")]
    BadRequest { what: &'static str, why: String },
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    #[error("cannot plan: recipes and repository were not read yet")]
    NotReadYet,
    #[error("cannot change anything from there")]
    NotAllowed,
    #[error("cannot serve so many live views at once")]
    TooMany,
}

impl Fault for WebError {
    fn kind(&self) -> Kind {
        match self {
            WebError::Store(error) => error.kind(),
            WebError::Log(error) => error.kind(),
            WebError::Pattern(error) => error.kind(),
            WebError::Look(error) => error.kind(),
            WebError::Rebuild(error) => error.kind(),
            WebError::NotReadYet => Kind::Unavailable,
            WebError::NoSuchPage { .. } => Kind::NotFound,
            WebError::BadRequest { .. } => Kind::Input,
            WebError::NotAllowed => Kind::Denied,
            WebError::TooMany => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            WebError::Store(error) => error.hints(),
            WebError::Log(error) => error.hints(),
            WebError::Pattern(error) => error.hints(),
            WebError::Look(error) => error.hints(),
            WebError::Rebuild(error) => error.hints(),
            WebError::NotReadYet => vec!["what holds it up stands on the overview".into()],
            WebError::NotAllowed => vec![
                "on the machine that Summit runs on: curl -X POST -H 'X-Moraine: 1' http://127.0.0.1:PORT/api/…".into(),
            ],
            WebError::TooMany => vec!["reload the page in a while".into()],
            WebError::NoSuchPage { .. } | WebError::BadRequest { .. } => Vec::new(),
        }
    }
}

impl WebError {
    pub(crate) fn no_project(name: &str) -> Self {
        StoreError::NotFound { what: format!("project {name:?}") }.into()
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind().meaning().http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn log(&self) {
        if matches!(self.kind(), Kind::Bug | Kind::Damaged) {
            tracing::error!(error = fault::chain(self).join(": "), "a request failed");
        }
    }
}

/// `{"error":{"message","causes":[…],"hints":[…]}}`
impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        self.log();
        let mut chain = fault::chain(&self);
        let message = if chain.is_empty() { String::new() } else { chain.remove(0) };
        let body = json!({ "error": { "message": message, "causes": chain, "hints": self.hints() } });
        (self.status(), Json(body)).into_response()
    }
}

/// The same as a page.
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
        (self.0.status(), Html(pages::error(&self.0).into_string())).into_response()
    }
}
