//! `GET /health` and `GET /metrics`: how this Vessel is, for probes and for Prometheus.
//!
//! What is in trouble makes it `degraded`, which is 200: readers are served all the same, and another Vessel would fare no better.
//! Only without its database it is `failing`, which is 503.

use std::fmt::Write;

use hyper::StatusCode;
use serde::Serialize;

use super::page::ChannelFacts;
use crate::publisher::{ChannelHealth, Health, PublishError};

#[derive(Debug, Serialize)]
struct View {
    /// `well`, `degraded` or `failing`.
    status: &'static str,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    well: bool,
    /// What was found.
    detail: String,
}

impl Check {
    fn new(name: impl Into<String>, found: Result<String, String>) -> Self {
        Self { name: name.into(), well: found.is_ok(), detail: found.unwrap_or_else(|trouble| trouble) }
    }
}

/// The answer to `/health`.
pub(super) fn report(health: Result<&Health, &PublishError>) -> (StatusCode, String) {
    let (status, checks) = match health {
        Err(error) => {
            let check = Check::new("database", Err(fault::chain(error).join(": ")));
            (StatusCode::SERVICE_UNAVAILABLE, vec![check])
        }
        Ok(health) => (StatusCode::OK, checks(health)),
    };
    let word = match (status, checks.iter().all(|check| check.well)) {
        (StatusCode::OK, true) => "well",
        (StatusCode::OK, false) => "degraded",
        _ => "failing",
    };
    // Texts and truths have no way to fail.
    let mut text = serde_json::to_string(&View { status: word, checks }).unwrap_or_default();
    text.push('\n');
    (status, text)
}

fn checks(health: &Health) -> Vec<Check> {
    let signing = match &health.signing {
        None => Ok("a key that may sign is at hand".to_owned()),
        Some(trouble) => Err(format!("nothing can be published: {trouble}")),
    };
    let mut checks = vec![Check::new("database", Ok("answers".to_owned())), Check::new("signing", signing)];
    if let Some(trouble) = &health.after_start {
        let told = format!("restore the key before this Vessel is started again: {trouble}");
        checks.push(Check::new("key file", Err(told)));
    }
    for channel in &health.channels {
        let ChannelHealth { name, pointer, expires_in_seconds, .. } = channel;
        let hours = expires_in_seconds.unsigned_abs() / 3_600;
        let found = match (channel.is_well(), *expires_in_seconds > 0) {
            (true, _) => Ok(format!("the first to expire is {pointer}, in {hours} h")),
            (false, true) => {
                Err(format!("{pointer} was not signed anew: clients refuse it when it expires, in {hours} h"))
            }
            (false, false) => Err(format!("{pointer} expired {hours} h ago: clients refuse it")),
        };
        checks.push(Check::new(format!("pointers of {name}"), found));
    }
    if let Some(trouble) = &health.pruning {
        checks.push(Check::new("pruning", Err(format!("old histories stay: {trouble}"))));
    }
    checks
}

/// The answer to `/metrics`.
pub(super) fn metrics(health: &Health, channels: &[ChannelFacts]) -> String {
    let mut text = String::new();
    let mut family = |name: &str, help: &str, samples: Vec<(String, i64)>| {
        // Writing to memory cannot fail.
        let _written = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge").is_ok();
        for (labels, value) in samples {
            let _written = writeln!(text, "{name}{labels} {value}").is_ok();
        }
    };
    let of = |name: &str| format!("{{channel=\"{name}\"}}");
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let facts = |value: &dyn Fn(&ChannelFacts) -> u64| -> Vec<(String, i64)> {
        channels.iter().map(|channel| (of(&channel.name), count(value(channel)))).collect()
    };
    let packages = |channel: &ChannelFacts| u64::try_from(channel.packages).unwrap_or(u64::MAX);
    family(
        "vessel_signing_ready",
        "Whether a key that may sign is at hand.",
        vec![(String::new(), i64::from(health.signing.is_none()))],
    );
    family(
        "vessel_pointer_expires_seconds",
        "Time until the first pointer of a channel expires.",
        health.channels.iter().map(|it| (of(&it.name), it.expires_in_seconds)).collect(),
    );
    family(
        "vessel_pruning_failed",
        "Whether the last pruning by itself failed.",
        vec![(String::new(), i64::from(health.pruning.is_some()))],
    );
    family("vessel_packages", "Packages of the newest history of a channel.", facts(&packages));
    family("vessel_histories", "Histories of a channel.", facts(&|channel| channel.histories));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(expires_in_seconds: i64) -> ChannelHealth {
        let (name, pointer) = ("main".into(), "stream/volatile".into());
        ChannelHealth { name, pointer, expires_in_seconds, expiry_seconds: 14 * 86_400 }
    }

    #[test]
    fn trouble_is_told_and_nobody_is_sent_away_for_it() {
        let check = |health: Health, words: &[&str]| {
            let (status, text) = report(Ok(&health));
            assert_eq!(status, StatusCode::OK);
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        };
        let well = || Health { channels: vec![channel(13 * 86_400)], ..Health::default() };
        check(well(), &["\"status\":\"well\"", "in 312 h"]);
        let signing = Some("cannot reach the signer".to_owned());
        check(
            Health { signing, ..well() },
            &["degraded", "nothing can be published: cannot reach the signer"],
        );
        check(Health { channels: vec![channel(7_200)], ..well() }, &["degraded", "when it expires, in 2 h"]);
        check(Health { channels: vec![channel(-7_200)], ..well() }, &["degraded", "expired 2 h ago"]);
        let after_start = Some("no key".to_owned());
        check(Health { after_start, ..well() }, &["degraded", "is started again: no key"]);
        let pruning = Some("no room".to_owned());
        check(Health { pruning, ..well() }, &["degraded", "old histories stay: no room"]);
        let error = PublishError::NoSigningKey;
        assert_eq!(report(Err(&error)).0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn figures() {
        let health =
            Health { signing: Some(String::new()), channels: vec![channel(60)], ..Health::default() };
        let facts = ChannelFacts { name: "main".into(), history: None, histories: 3, packages: 4_000 };
        let text = metrics(&health, &[facts]);
        for line in [
            "vessel_signing_ready 0",
            "vessel_pointer_expires_seconds{channel=\"main\"} 60",
            "vessel_pruning_failed 0",
            "vessel_packages{channel=\"main\"} 4000",
            "vessel_histories{channel=\"main\"} 3",
            "# TYPE vessel_histories gauge",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        let alerts = testkit::workspace_root().join("examples/prometheus-alerts.yml");
        let alerts = fs_err::read_to_string(alerts).unwrap();
        let words = alerts.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
        let used: Vec<&str> = words.filter(|word| word.starts_with("vessel_")).collect();
        assert!(used.len() >= 2, "{used:?}");
        assert!(used.iter().all(|name| text.contains(&format!("# TYPE {name} "))), "{used:?}");
    }
}
