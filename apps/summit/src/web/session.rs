//! Signing in and out with a browser: a token once, then a cookie.
//!
//! The cookie is a secret of its own, of which Summit keeps the digest; it is worth what its token is worth, and no script and no
//! other site gets it.

use std::time::Duration;

use access::token::{SecretDigest, Token};
use access::{Action, Actor};
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use maud::html;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::{PageError, WebError};
use super::pages::{Entry, Reader};
use super::{Web, check};
use crate::store::random;

/// The name of the cookie.
const COOKIE: &str = "moraine_session";

/// How long a session lasts: a working week.
const SESSION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Next {
    next: Option<String>,
}

/// What the form sends.
#[derive(Deserialize)]
pub(crate) struct SignIn {
    token: String,
    next: Option<String>,
}

/// Who asks, and what they may do.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WhoView {
    /// What kind of actor: `visitor`, `local`, `token`.
    kind: String,
    /// The name of the token.
    name: String,
    /// Actions that are allowed.
    actions: Vec<Action>,
}

/// `/api/whoami`
pub(crate) async fn whoami(State(web): State<Web>, Extension(actor): Extension<Actor>) -> Json<WhoView> {
    let may = |action: &Action| web.judge(&actor, *action).is_ok();
    Json(WhoView {
        kind: actor.kind().into(),
        name: actor.name().into(),
        actions: Action::ALL.into_iter().filter(may).collect(),
    })
}

/// A place of our own to go to; nothing that a browser would take for another host.
fn own_place(next: Option<&str>) -> &str {
    let is_plain = |text: &str| {
        text.starts_with('/')
            && !text.starts_with("//")
            && !text.contains('\\')
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    next.filter(|text| text.len() < 500 && is_plain(text)).unwrap_or("/")
}

pub(crate) async fn show(reader: Reader, Query(next): Query<Next>) -> Response {
    form(&reader, own_place(next.next.as_deref()), None)
}

fn form(reader: &Reader, next: &str, trouble: Option<&str>) -> Response {
    let body = html! {
        h1 { "Sign in" }
        @if let Some(trouble) = trouble { p.warning role="alert" { (trouble) } }
        @if let Actor::Token { name, .. } = reader.actor() {
            p.lead { "You are signed in with the token " code { (name) } "." }
            form method="post" action="/sign-out" { button type="submit" { "Sign out" } }
        } @else {
            form.sign-in method="post" action="/sign-in" {
                input type="hidden" name="next" value=(next);
                label { "Token " input type="password" name="token" autocomplete="current-password" required autofocus; }
                button type="submit" { "Sign in" }
            }
            p.hint { "Whoever runs this farm makes one: " code { "summit token add NAME --scope operate --data DIR" } }
        }
    };
    reader.page("Sign in", Entry::Elsewhere, "/api/whoami", body).into_response()
}

/// Takes a token and gives a cookie. The form itself carries the secret, so that no other site can send it for somebody else.
pub(crate) async fn sign_in(
    State(web): State<Web>,
    reader: Reader,
    Extension(peer): Extension<check::Peer>,
    headers: HeaderMap,
    sent: Result<Form<SignIn>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(sent) =
        sent.map_err(|error| WebError::BadRequest { what: "the form", why: error.body_text() })?;
    let next = own_place(sent.next.as_deref()).to_owned();
    if !check::is_same_origin(&headers) {
        return Err(WebError::WhoAreYou { why: "the form came from another site".into() }.into());
    }
    let now = web.hub.clock.now();
    let holder = match Token::parse(sent.token.trim()) {
        Ok(token) => web.hub.store.holder(&token, now).await?,
        Err(_) => None,
    };
    let Some(holder) = holder else {
        web.count_wrong_token(peer.0)?;
        let mut response =
            form(&reader, &next, Some("This token is not known here, was revoked, or has expired."));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    };
    let secret = random::<32>().map_err(crate::store::StoreError::from)?;
    let secret = SecretDigest::of(&secret).to_text();
    let session = SecretDigest::of(secret.as_bytes());
    web.hub.store.begin_session(session, &holder.id, now.after(SESSION), now).await?;
    if let Some(actor) = holder.actor() {
        web.hub.audit(&actor, Action::Greet, "a session", "signed in").await;
    }
    Ok(go(&next, &format!("{secret}; Max-Age={}", SESSION.as_secs())))
}

pub(crate) async fn sign_out(State(web): State<Web>, headers: HeaderMap) -> Result<Response, PageError> {
    if !check::is_same_origin(&headers) {
        return Err(WebError::WhoAreYou { why: "the form came from another site".into() }.into());
    }
    if let Some(session) = of_headers(&headers) {
        web.hub.store.end_session(session).await?;
    }
    Ok(go("/", "; Max-Age=0"))
}

fn go(place: &str, cookie: &str) -> Response {
    let cookie = format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict");
    let mut response = StatusCode::SEE_OTHER.into_response();
    for (name, value) in [(header::LOCATION, place), (header::SET_COOKIE, &cookie)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The session that a request shows.
pub(super) fn of_headers(headers: &HeaderMap) -> Option<SecretDigest> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, secret) = pairs.find(|(name, secret)| *name == COOKIE && secret.len() == 64)?;
    Some(SecretDigest::of(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_only_goes_to_places_of_our_own() {
        for (next, expect) in [
            (Some("/tasks?phase=failed"), "/tasks?phase=failed"),
            (None, "/"),
            (Some("https://evil.example/"), "/"),
            (Some("//evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("/x\r\nSet-Cookie: a=b"), "/"),
        ] {
            assert_eq!(own_place(next), expect, "{next:?}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let digits = "a".repeat(64);
        for (cookies, found) in [
            (format!("x=1; {COOKIE}={digits}; y=2"), true),
            (format!("{COOKIE}={digits}"), true),
            (format!("{COOKIE}=short"), false),
            (format!("x{COOKIE}={digits}"), false),
            (String::new(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_str(&cookies).unwrap());
            assert_eq!(of_headers(&headers).is_some(), found, "{cookies}");
        }
    }
}
