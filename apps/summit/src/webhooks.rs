//! Tells others what happens: webhooks as the Standard Webhooks specification has them.
//!
//! Each hook has a durable place among the events. One is told after the other, the next only when the receiver has said
//! yes to the one before; after a crash the last may be told again, with the same id. A receiver that does not say yes is asked
//! again with growing pauses for a day; then that event is given up, which is said, and the next one is told. One hook never
//! waits for another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use access::{Action, Actor};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farm::moment::Moment;
use fault::{Fault, Kind};
use fetch::{Client, ClientSettings};
use ring::hmac;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::hub::Hub;
use crate::secrets::{self, SecretError};
use crate::store::{StoreError, ToldEvent, WebhookRow};

/// How often it is looked whether there is something to tell.
const SWEEP: Duration = Duration::from_secs(1);

/// Events that are read at once.
const EVENTS_MAX: u64 = 200;

/// Longest wait for a receiver; the specification recommends 15 to 30 seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// First pause after a receiver did not say yes; doubled for each further one.
const PAUSE: Duration = Duration::from_secs(5);

/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// Time after which an event is given up.
const GIVE_UP: Duration = Duration::from_secs(24 * 3600);

/// One `[[webhook]]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// What it is called; its place among the events goes by it.
    pub name: String,
    /// Where it is told.
    pub url: String,
    /// Of what: `task.PHASE`, such as `task.failed`; `*` for everything.
    pub events: BTreeSet<String>,
    /// The file with the secret that signs, as `whsec_BASE64` or as it is.
    pub secret_file: std::path::PathBuf,
}

impl WebhookConfig {
    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let named = |what: &str| Some(format!("webhook {:?} {what}", self.name));
        let is_name = !self.name.is_empty()
            && self.name.len() <= 64
            && self.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let is_known = |event: &String| {
            event == "*"
                || event
                    .strip_prefix("task.")
                    .is_some_and(|phase| farm::task::Phase::from_keyword(phase).is_some())
        };
        if !is_name {
            return named("has a name that is none: letters, digits, `-`, `_` and `.`");
        }
        if !self.url.starts_with("https://") && !self.url.starts_with("http://") {
            return named("has no http address");
        }
        if self.events.is_empty() {
            return named("tells of nothing: events is empty");
        }
        if let Some(event) = self.events.iter().find(|event| !is_known(event)) {
            return named(&format!("tells of {event:?}, which never happens"));
        }
        (!self.secret_file.is_absolute()).then(|| named("needs an absolute secret_file")).flatten()
    }

    fn wants(&self, event: &ToldEvent) -> bool {
        self.events.contains("*") || self.events.contains(&kind_of(event))
    }
}

fn kind_of(event: &ToldEvent) -> String {
    format!("task.{}", event.phase)
}

/// Why something was not told.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The secret cannot be used.
    #[error("cannot sign")]
    Secret(#[from] SecretError),
    /// The receiver does not answer.
    #[error("cannot reach the receiver")]
    Fetch(#[source] fetch::HttpError),
    /// It says no.
    #[error("cannot deliver: the receiver answers {status}{}", if (300..400).contains(status) { ", and redirects are not followed" } else { "" })]
    Answer {
        /// The HTTP status.
        status: u16,
    },
    /// Summit is stopping.
    #[error("cannot deliver: Summit is stopping")]
    Stopping,
}

impl Fault for WebhookError {
    fn kind(&self) -> Kind {
        match self {
            WebhookError::Secret(error) => error.kind(),
            WebhookError::Fetch(error) => error.kind(),
            WebhookError::Answer { .. } | WebhookError::Stopping => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            WebhookError::Secret(error) => error.hints(),
            WebhookError::Answer { .. } => vec!["see what the receiver has logged".into()],
            _ => Vec::new(),
        }
    }
}

/// The key that a secret stands for.
fn key(secret: &[u8]) -> hmac::Key {
    let encoded = secret.strip_prefix(b"whsec_").and_then(|text| STANDARD.decode(text).ok());
    hmac::Key::new(hmac::HMAC_SHA256, encoded.as_deref().unwrap_or(secret))
}

/// The header `webhook-signature`.
fn signature(secret: &[u8], id: &str, timestamp: &str, body: &str) -> String {
    let tag = hmac::sign(&key(secret), format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

/// How long to wait after so many tries in vain.
fn pause(tries: u64) -> Duration {
    let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX).min(20);
    PAUSE.saturating_mul(1 << doublings).min(PAUSE_MAX)
}

/// Tells one receiver one thing, once. Blocks.
///
/// # Errors
/// When it does not say yes.
pub fn tell(hook: &WebhookConfig, id: &str, body: &str, now: Moment) -> Result<u16, WebhookError> {
    let secret = secrets::read(&hook.secret_file)?;
    let settings = ClientSettings {
        connect_timeout: PATIENCE,
        read_timeout: PATIENCE,
        redirects_max: 0,
        attempts_max: 1,
        ..ClientSettings::default()
    };
    let timestamp = (now.0 / 1000).to_string();
    let signature = signature(&secret, id, &timestamp, body);
    let headers = [
        ("Content-Type", "application/json"),
        ("webhook-id", id),
        ("webhook-timestamp", &timestamp),
        ("webhook-signature", &signature),
    ];
    // The status is the answer: a receiver that never gets to the end of what it says has said yes all the same.
    let status = Client::new(settings).tell(&hook.url, &headers, body.as_bytes());
    match status.map_err(WebhookError::Fetch)? {
        status @ 200..=299 => Ok(status),
        status => Err(WebhookError::Answer { status }),
    }
}

/// What is told of an event.
fn body(event: &ToldEvent) -> String {
    json!({
        "type": kind_of(event),
        "timestamp_ms": event.at.0,
        "data": {
            "task": event.task.0, "project": event.project, "source": event.source, "version": event.version,
            "release": event.release, "architecture": event.architecture, "phase": event.phase,
            "event": event.verb, "path": format!("/tasks/{}", event.task),
        },
    })
    .to_string()
}

/// What is told for a test.
#[must_use]
pub fn test_body(now: Moment) -> String {
    json!({ "type": "test", "timestamp_ms": now.0, "data": { "message": "Summit can be heard here." } })
        .to_string()
}

/// Tells for ever.
pub(crate) async fn run(hub: Arc<Hub>) {
    let mut running: BTreeMap<String, tokio::task::AbortHandle> = BTreeMap::new();
    let mut tellers = JoinSet::new();
    loop {
        while tellers.try_join_next().is_some() {}
        running.retain(|_, teller| !teller.is_finished());
        for hook in &hub.config().webhooks {
            if !running.contains_key(&hook.name) {
                let teller = tellers.spawn(tell_all(Arc::clone(&hub), hook.clone()));
                running.insert(hook.name.clone(), teller);
            }
        }
        tokio::time::sleep(SWEEP).await;
    }
}

/// Tells one hook everything that is due.
async fn tell_all(hub: Arc<Hub>, hook: WebhookConfig) {
    loop {
        match tell_some(&hub, &hook).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let error = fault::chain(&error).join(": ");
                tracing::error!(webhook = hook.name, error, "cannot see what is to be told");
                return;
            }
        }
    }
}

/// Whether there may be more at once.
async fn tell_some(hub: &Hub, hook: &WebhookConfig) -> Result<bool, StoreError> {
    let mut row = hub.store.webhook(&hook.name).await?;
    if row.next_try_ms.is_some_and(|next| next > hub.clock.now().0) {
        return Ok(false);
    }
    let events = hub.store.events_after(row.position, EVENTS_MAX).await?;
    let is_all = (events.len() as u64) < EVENTS_MAX;
    let last = events.last().map(|event| event.id);
    for event in events.iter().filter(|event| hook.wants(event)) {
        let (told, id, text) = (hook.clone(), format!("moraine_{}", event.id), body(event));
        let now = hub.clock.now();
        let answer = tokio::task::spawn_blocking(move || tell(&told, &id, &text, now)).await;
        let answer = answer.unwrap_or(Err(WebhookError::Stopping));
        let outcome = if answer.is_ok() { "delivered" } else { "failed" };
        hub.metrics.webhook(&hook.name, outcome);
        let is_over = after(&mut row, event.id, &answer, hub.clock.now());
        hub.store.set_webhook(&row).await?;
        match is_over {
            Over::Told => {}
            Over::Later => {
                tracing::warn!(
                    webhook = hook.name,
                    answer = row.last_answer,
                    tries = row.tries,
                    "a webhook is told again later"
                );
                return Ok(false);
            }
            Over::GivenUp => {
                hub.metrics.webhook(&hook.name, "given_up");
                let detail = format!("given up after a day: {}", row.last_answer);
                tracing::error!(webhook = hook.name, event = event.id, detail, "an event was never told");
                let subject = format!("webhook {} event {}", hook.name, event.id);
                hub.audit(&Actor::Summit, Action::TestWebhook, &subject, &detail).await;
            }
        }
    }
    if let Some(last) = last
        && row.position < last
    {
        row.position = last;
        hub.store.set_webhook(&row).await?;
    }
    Ok(!is_all)
}

/// What becomes of an event that was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Told,
    Later,
    GivenUp,
}

/// Where a hook is after a try.
fn after(row: &mut WebhookRow, event: u64, answer: &Result<u16, WebhookError>, now: Moment) -> Over {
    row.last_at_ms = Some(now.0);
    row.last_answer = match answer {
        Ok(status) => status.to_string(),
        Err(error) => fault::chain(error).join(": ").chars().take(500).collect(),
    };
    let first = row.first_try_ms.unwrap_or(now.0);
    let over = match answer {
        Ok(_) => Over::Told,
        Err(_) if now.since(Moment(first)) >= GIVE_UP => Over::GivenUp,
        Err(_) => Over::Later,
    };
    match over {
        Over::Later => {
            row.tries += 1;
            row.first_try_ms = Some(first);
            row.next_try_ms = Some(now.after(pause(row.tries)).0);
        }
        Over::Told | Over::GivenUp => {
            row.delivered += u64::from(over == Over::Told);
            row.given_up += u64::from(over == Over::GivenUp);
            (row.position, row.tries, row.first_try_ms, row.next_try_ms) = (event, 0, None, None);
        }
    }
    over
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the Standard Webhooks specification.
        let found = signature(
            b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(found, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn pauses_grow_and_a_day_is_enough() {
        let mut row = WebhookRow {
            name: "x".into(),
            position: 6,
            tries: 0,
            first_try_ms: None,
            next_try_ms: None,
            delivered: 0,
            given_up: 0,
            last_answer: String::new(),
            last_at_ms: None,
        };
        let no = || Err(WebhookError::Answer { status: 302 });
        let mut now = Moment(1_000_000);
        let mut pauses = Vec::new();
        while after(&mut row, 7, &no(), now) == Over::Later {
            let next = Moment(row.next_try_ms.unwrap());
            pauses.push(next.since(now));
            now = next;
        }
        assert_eq!(pauses[..4], [5, 10, 20, 40].map(Duration::from_secs));
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]) && pauses.len() < 60, "{pauses:?}");
        assert_eq!((row.position, row.given_up, row.tries), (7, 1, 0));
        assert!(row.last_answer.contains("redirects are not followed"), "{}", row.last_answer);
        assert_eq!(after(&mut row, 8, &Ok(204), now), Over::Told);
        assert_eq!((row.position, row.delivered), (8, 1));
    }
}
