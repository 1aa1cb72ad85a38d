//! Who asks, and whether they may.
//!
//! An actor is known by a token in the `Authorization` header, by the cookie of a session that was begun with one, or because they sit at the machine itself where the
//! configuration says that such a one is the operator. Whoever is neither is a visitor. Pages of other sites can make a browser
//! ask too; so whatever a browser does by itself counts for nothing unless the request has the header `X-Moraine: 1`, which
//! no other site can make it send, and names this machine.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use access::token::Token;
use access::{Action, Actor, Decision, decide};
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use farm::moment::Moment;
use tokio::time::timeout;

use super::bounds::Buckets;
use super::error::{PageError, WebError};
use super::pages::Reader;
use super::{BODY_SIZE_BYTES_MAX, Web, is_for_programs, session};
use crate::store::TokenRow;

/// Longest time for the body of a request; ours have some hundred bytes.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The last use of a token is known to the minute, so that not every request writes.
const USE_NOTED_EVERY: Duration = Duration::from_secs(60);

/// What is counted of requests, and when tokens were used last.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    changes: Buckets,
    wrong_tokens: Buckets,
    uses: Mutex<HashMap<String, Moment>>,
}

/// Lets a request through if whoever asks may do `action`, and tells the handler who it is.
pub(super) async fn check(
    State((web, action, route)): State<(Web, Action, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let is_page = !is_for_programs(parts.uri.path());
    let began = Instant::now();
    // Whoever is not known is a visitor also to the page that says so.
    let identified = identify(&web, &parts).await;
    let actor = identified.as_ref().unwrap_or(&Actor::Visitor).clone();
    let judged = async {
        web.judge_and_note(&identified?, action, &parts).await?;
        if !changes(&parts.method) {
            return Ok(body);
        }
        web.count_change(peer_of(&parts.extensions))?;
        read(body).await
    };
    let response = match judged.await {
        Ok(body) => {
            let peer = Peer(peer_of(&parts.extensions));
            parts.extensions.insert(peer);
            parts.extensions.insert(actor.clone());
            next.run(Request::from_parts(parts, body)).await
        }
        // A browser is shown where it can say who asks.
        Err(WebError::WhoAreYou { .. })
            if is_page && parts.method == Method::GET && wants_page(&parts.headers) =>
        {
            let place = parts.uri.path_and_query().map_or("/", |place| place.as_str());
            Redirect::to(&format!("/sign-in?next={}", in_query(place))).into_response()
        }
        Err(error) if is_page => PageError::from(error).into_response(),
        Err(error) => error.into_response(),
    };
    web.hub.metrics.request(route, response.status().as_u16(), began.elapsed());
    if is_page { Reader::new(&web, actor).framed(response) } else { response }
}

/// What is answered at an address or with a method that there is not.
pub(super) async fn refuse(web: &Web, request: Request, error: WebError) -> Response {
    let (parts, _) = request.into_parts();
    if is_for_programs(parts.uri.path()) {
        return error.into_response();
    }
    let actor = identify(web, &parts).await.unwrap_or(Actor::Visitor);
    Reader::new(web, actor).framed(PageError::from(error).into_response())
}

impl Web {
    /// Refuses what `actor` may not do.
    pub(crate) fn judge(&self, actor: &Actor, action: Action) -> Result<(), WebError> {
        match decide(actor, action, self.hub.config().access.public) {
            Decision::Allowed => Ok(()),
            Decision::WhoAreYou => Err(WebError::WhoAreYou { why: "it needs a token".into() }),
            Decision::Refused { needs } => Err(WebError::Refused { action, needs }),
        }
    }
}

/// The whole body, which may be neither large nor slow.
async fn read(body: Body) -> Result<Body, WebError> {
    let too_large = |_| WebError::TooLarge { what: "the request", size_bytes_max: BODY_SIZE_BYTES_MAX };
    let read = timeout(BODY_TIMEOUT, to_bytes(body, BODY_SIZE_BYTES_MAX)).await;
    let read = read.map_err(|_| WebError::BadRequest {
        what: "the request",
        why: format!("its body did not come within {} seconds", BODY_TIMEOUT.as_secs()),
    })?;
    Ok(Body::from(read.map_err(too_large)?))
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

fn peer_of(extensions: &Extensions) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip())
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

/// A text as a value in a query (RFC 3986, 3.4).
fn in_query(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

impl Web {
    /// As [`Web::judge`]; what is refused to somebody who is known is noted.
    async fn judge_and_note(&self, actor: &Actor, action: Action, parts: &Parts) -> Result<(), WebError> {
        let judged = self.judge(actor, action);
        if let (Err(WebError::Refused { .. }), Actor::Token { .. }) = (&judged, actor) {
            self.count_change(peer_of(&parts.extensions))?;
            let noted = self.hub.store.note(
                actor,
                action,
                parts.uri.path(),
                "the token does not allow it",
                true,
                self.hub.clock.now(),
            );
            if let Err(error) = noted.await {
                tracing::error!(error = fault::chain(&error).join(": "), "cannot note a refusal");
            }
        }
        judged
    }

    /// One change more from there, if there were not too many.
    fn count_change(&self, peer: IpAddr) -> Result<(), WebError> {
        let per_minute = self.hub.config().access.changes_per_minute;
        let taken = self.bounds.changes.take(peer, per_minute, Instant::now());
        taken.map_err(|seconds| WebError::TooManyRequests { seconds })
    }

    /// One wrong token more from there, if there were not too many.
    pub(super) fn count_wrong_token(&self, peer: IpAddr) -> Result<(), WebError> {
        let per_minute = self.hub.config().access.wrong_tokens_per_minute;
        let taken = self.bounds.wrong_tokens.take(peer, per_minute, Instant::now());
        taken.map_err(|seconds| WebError::TooManyRequests { seconds })
    }

    /// Notes, once a minute at most, that a token was used.
    async fn note_use(&self, id: &str) {
        let now = self.hub.clock.now();
        {
            let mut uses = self.bounds.uses.lock().unwrap_or_else(PoisonError::into_inner);
            if uses.get(id).is_some_and(|last| now.since(*last) < USE_NOTED_EVERY) {
                return;
            }
            uses.insert(id.to_owned(), now);
        }
        if let Err(error) = self.hub.store.token_used(id, now).await {
            tracing::warn!(error = fault::chain(&error).join(": "), "cannot note the use of a token");
        }
    }
}

/// Who asks.
async fn identify(web: &Web, request: &Parts) -> Result<Actor, WebError> {
    let peer = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    let headers = &request.headers;
    let now = web.hub.clock.now();
    let shown = headers.get_all(header::AUTHORIZATION).into_iter().map(HeaderValue::as_bytes);
    let wrong = match Token::of_headers(shown) {
        Ok(None) => None,
        Ok(Some(token)) => match web.hub.store.holder(&token, now).await?.as_ref().and_then(actor_of) {
            Some(actor) => {
                web.note_use(token.id().as_str()).await;
                return Ok(actor);
            }
            None => Some("the token is not known here, was revoked, or has expired".to_owned()),
        },
        Err(why) => Some(why.to_string()),
    };
    if let Some(why) = wrong {
        web.count_wrong_token(peer_of(&request.extensions))?;
        return Err(WebError::WhoAreYou { why });
    }
    let changes = changes(&request.method);
    let asks_for_it = headers.get("x-moraine").is_some_and(|value| value == "1");
    if let Some(session) = session::of_headers(headers)
        && let Some(holder) = web.hub.store.session_holder(session, now).await?
    {
        web.note_use(&holder.id).await;
        let is_form = matches!(request.uri.path(), "/sign-in" | "/sign-out");
        return match holder.actor() {
            Some(actor) if !changes || is_form || (asks_for_it && is_same_origin(headers)) => Ok(actor),
            _ => Err(WebError::WhoAreYou {
                why: "a browser must send `X-Moraine: 1` from a page of this Summit".into(),
            }),
        };
    }
    let is_operator = web.hub.config().access.loopback_is_operator;
    match is_operator && is_local(peer, headers) && (asks_for_it || !changes) {
        true => Ok(Actor::Local),
        false => Ok(Actor::Visitor),
    }
}

fn actor_of(holder: &TokenRow) -> Option<Actor> {
    holder.actor()
}

/// Whether a browser sends this for a page of our own; other programs do not say (Fetch Metadata; RFC 6454, 7).
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let fetched_well = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let host = text("host").unwrap_or_default();
    // A form on a page that sends no referrer has the origin `null`; then only the fetch metadata tell.
    let is_own = |origin: &str| match origin {
        "null" => text("sec-fetch-site").is_some(),
        origin => origin.split_once("://").is_some_and(|(_, from)| from == host),
    };
    fetched_well && text("origin").is_none_or(is_own)
}

/// Whether a request comes from this machine, to this machine.
fn is_local(peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
    let is_loopback = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    // Through a proxy everybody looks local.
    let is_proxied =
        ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    is_loopback && !is_proxied && is_own_host(host)
}

/// A name that only this machine resolves to itself: a page elsewhere whose name was made to point here has another.
fn is_own_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost"
        || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn who_is_at_this_machine() {
        let local = "127.0.0.1:4000";
        type Row = (&'static str, &'static [(&'static str, &'static str)], bool);
        let table: [Row; 9] = [
            (local, &[("host", "127.0.0.1:5000")], true),
            ("[::1]:4000", &[("host", "[::1]:5000")], true),
            ("[::ffff:127.0.0.1]:4000", &[("host", "localhost:5000")], true),
            (local, &[("host", "localhost")], true),
            (local, &[("host", "evil.example:5000")], false),
            (local, &[], false),
            (local, &[("host", "localhost"), ("x-forwarded-for", "203.0.113.7")], false),
            (local, &[("host", "localhost"), ("via", "1.1 proxy")], false),
            ("192.0.2.1:4000", &[("host", "localhost")], false),
        ];
        for (peer, headers, expect) in table {
            let map = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(is_local(peer.parse().ok(), &map), expect, "{peer} {headers:?}");
        }
        assert!(!is_local(None, &HeaderMap::new()));
    }
}
