//! Tokens, for whoever may make and revoke them.

use std::collections::BTreeSet;

use access::{Action, Actor, Scope};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Told, told};
use crate::store::{StoreError, TokenRow, lifetime};
use crate::web::Web;
use crate::web::error::WebError;

/// How long a token lives unless somebody says otherwise.
pub(crate) const LIFETIME: &str = "365d";

/// Every token.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TokenListView {
    tokens: Vec<TokenRow>,
}

/// What token is to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// What to call it: 1 to 64 letters, digits, `-`, `_`, `.` or `@`.
    #[schemars(regex(pattern = "^[A-Za-z0-9_.@-]{1,64}$"))]
    name: String,
    /// What it allows; at least one.
    #[schemars(length(min = 1))]
    scopes: BTreeSet<Scope>,
    /// How long it lives: `12h`, `90d`, `8w`, or `never`; `365d` unless given.
    #[serde(default)]
    expires: Option<String>,
}

/// A token that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NewTokenView {
    #[serde(flatten)]
    row: TokenRow,
    /// The token itself, which is shown only this once.
    token: String,
}

pub(crate) async fn list(State(web): State<Web>) -> Result<Json<TokenListView>, WebError> {
    Ok(Json(TokenListView { tokens: web.hub.store.tokens().await? }))
}

pub(crate) async fn add(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    request: Told<TokenRequest>,
) -> Result<(StatusCode, Json<NewTokenView>), WebError> {
    let request = told(request)?;
    // Nobody gives away what they have not got.
    if let Actor::Token { scopes, .. } = &actor {
        let missing = request.scopes.iter().find(|scope| **scope != Scope::Read && !scopes.contains(scope));
        if let Some(scope) = missing {
            return Err(WebError::Refused { action: Action::AddToken, needs: Some(*scope) });
        }
    }
    let life = lifetime(request.expires.as_deref().unwrap_or(LIFETIME)).map_err(StoreError::from)?;
    let now = web.hub.clock.now();
    let (token, row) = web.hub.store.add_token(&request.name, &request.scopes, life, now).await?;
    let scopes: Vec<&str> = row.scopes.iter().map(|scope| scope.keyword()).collect();
    let subject = format!("token {} ({})", row.name, row.id);
    web.hub.audit(&actor, Action::AddToken, &subject, &scopes.join(", ")).await;
    Ok((StatusCode::CREATED, Json(NewTokenView { row, token: token.reveal() })))
}

pub(crate) async fn revoke(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    token: Result<Path<String>, PathRejection>,
) -> Result<Json<TokenRow>, WebError> {
    let Path(token) =
        token.map_err(|error| WebError::BadRequest { what: "the token", why: error.body_text() })?;
    let row = web.hub.store.revoke_token(&token, web.hub.clock.now()).await?;
    let subject = format!("token {} ({})", row.name, row.id);
    web.hub.audit(&actor, Action::RevokeToken, &subject, "revoked").await;
    Ok(Json(row))
}
