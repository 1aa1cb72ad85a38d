//! Who asks, and whether they may.
//!
//! An actor is known by a token in the `Authorization` header, or because they sit at the machine itself where the
//! configuration says that such a one is the operator. Whoever is neither is a visitor. Pages of other sites can make a browser
//! ask too; so whatever a browser does by itself counts for nothing unless the request has the header `X-Moraine: 1`, which
//! no other site can make it send, and names this machine.

use std::net::SocketAddr;

use access::{Action, Actor, Decision, decide};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Web;
use super::error::{PageError, WebError};

/// Lets a request through if whoever asks may do `action`, and tells the handler who it is.
pub(super) async fn check(
    State((web, action)): State<(Web, Action)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let is_page = !parts.uri.path().starts_with("/api/");
    let judged = async {
        let actor = identify(&web, &parts).await?;
        web.judge(&actor, action)?;
        Ok::<Actor, WebError>(actor)
    };
    match judged.await {
        Ok(actor) => {
            parts.extensions.insert(actor);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) if is_page => PageError::from(error).into_response(),
        Err(error) => error.into_response(),
    }
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

/// Who asks.
async fn identify(web: &Web, request: &Parts) -> Result<Actor, WebError> {
    let peer = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    let headers = &request.headers;
    let changes = !matches!(request.method, Method::GET | Method::HEAD);
    let asks_for_it = headers.get("x-moraine").is_some_and(|value| value == "1");
    let is_operator = web.hub.config().access.loopback_is_operator;
    match is_operator && is_local(peer, headers) && (asks_for_it || !changes) {
        true => Ok(Actor::Local),
        false => Ok(Actor::Visitor),
    }
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
