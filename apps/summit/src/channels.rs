//! What Vessel says of channels: where streams and tags point, the line of histories, what changed between two.
//!
//! Everybody who looks at a page may ask, so answers are kept for a moment, only few questions go on at once, and none waits
//! long. Where Vessel does not answer, what it said last is told, and that it is old.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fault::{Fault, Kind};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use wire::vessel::OperateRequest;
use wire::{RemoteError, WireError};

use crate::hub::Hub;
use crate::vessel_link::VesselLink;

/// How long an answer counts as new: whoever watches a landing looks again when news arrive.
const FRESH: Duration = Duration::from_secs(3);

/// Longest wait for Vessel: a page that comes later is not waited for.
const CALL_TIME_LIMIT: Duration = Duration::from_secs(10);

/// Questions at once: each reads two indexes at most.
const QUESTIONS_MAX: usize = 2;

/// Channels that are asked for.
pub(crate) const CHANNELS_MAX: usize = 16;

/// Histories that are kept of each channel, the newest.
pub(crate) const HISTORIES_MAX: usize = 200;

/// Largest answer: the report of a channel with 50,000 histories.
const ANSWER_SIZE_BYTES_MAX: usize = 8 << 20;

/// Longest wait for a stream that moves: in another channel a whole history is written. Proxies give up after 60 seconds.
const MOVE_TIME_LIMIT: Duration = Duration::from_secs(50);

/// Why Vessel did not say it, or did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelsError {
    #[error("cannot reach Vessel")]
    Wire(#[from] WireError),
    #[error("cannot ask Vessel about channels")]
    Vessel { source: RemoteError },
    #[error("cannot ask Vessel about channels: no answer within {} seconds", CALL_TIME_LIMIT.as_secs())]
    Timeout,
    #[error("cannot move the stream: Vessel says no")]
    Refused { source: RemoteError },
    #[error("cannot say whether the stream has moved: Vessel did not answer within {} seconds", MOVE_TIME_LIMIT.as_secs())]
    Unknown,
    #[error("cannot understand what Vessel said of channels")]
    Answer { source: serde_json::Error },
}

impl Fault for ChannelsError {
    fn kind(&self) -> Kind {
        match self {
            ChannelsError::Wire(error) => error.kind(),
            ChannelsError::Vessel { source } | ChannelsError::Refused { source } => source.kind(),
            ChannelsError::Timeout | ChannelsError::Unknown => Kind::Unavailable,
            ChannelsError::Answer { .. } => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ChannelsError::Vessel { source } | ChannelsError::Refused { source } => source.hints(),
            ChannelsError::Unknown => {
                vec!["it goes on there to its end; look at the channel in a while".into()]
            }
            ChannelsError::Wire(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

/// A channel, as Vessel tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ChannelReport {
    pub(crate) channel: String,
    /// Where the stream `volatile` is.
    pub(crate) history: Option<String>,
    /// Packages in it.
    pub(crate) packages: u64,
    /// Name → history.
    pub(crate) streams: BTreeMap<String, String>,
    /// Name → history.
    pub(crate) tags: BTreeMap<String, String>,
    /// The newest first; at most 200.
    pub(crate) histories: Vec<HistoryReport>,
}

/// A history, as Vessel tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct HistoryReport {
    pub(crate) id: String,
    /// The history that it was made from.
    pub(crate) previous: Option<String>,
    pub(crate) packages: u64,
    /// Unix seconds.
    pub(crate) recorded_at: i64,
    /// Why it came about.
    pub(crate) cause: String,
    /// Unix seconds; none while the root index names it.
    pub(crate) given_up_at: Option<i64>,
}

/// What differs between two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DiffReport {
    pub(crate) channel: String,
    /// The history of the first version.
    pub(crate) from: String,
    /// The history of the second.
    pub(crate) to: String,
    /// Packages that only the second has.
    pub(crate) added: Vec<PackageVersion>,
    /// Packages that only the first has.
    pub(crate) removed: Vec<PackageVersion>,
    /// Packages that both have, with other bytes.
    pub(crate) changed: Vec<PackageChange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PackageVersion {
    pub(crate) name: String,
    pub(crate) architecture: String,
    pub(crate) version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PackageChange {
    pub(crate) name: String,
    pub(crate) architecture: String,
    pub(crate) from: String,
    pub(crate) to: String,
}

/// Where a stream was and is, as Vessel tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MovedReport {
    pub(crate) channel: String,
    /// Name of the stream.
    pub(crate) name: String,
    /// The history before; none when it came into being.
    pub(crate) from: Option<String>,
    /// The history now.
    pub(crate) to: Option<String>,
    /// Whether readers see something else than before.
    pub(crate) changed: bool,
}

#[derive(Deserialize)]
struct Listed {
    channels: Vec<ListedChannel>,
}

#[derive(Deserialize)]
struct ListedChannel {
    channel: String,
}

/// What is known of a channel.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) report: ChannelReport,
    /// When Vessel said it, in milliseconds since 1970.
    pub(crate) said_ms: u64,
    /// When it was heard; none when it may have changed since.
    at: Option<Instant>,
}

/// Everything that Vessel was asked about channels.
#[derive(Debug)]
pub(crate) struct Channels {
    link: tokio::sync::Mutex<VesselLink>,
    places: Semaphore,
    known: Mutex<HashMap<String, Known>>,
    names: Mutex<Option<(Instant, Vec<String>)>>,
}

impl Default for Channels {
    fn default() -> Self {
        Self {
            link: tokio::sync::Mutex::default(),
            places: Semaphore::new(QUESTIONS_MAX),
            known: Mutex::default(),
            names: Mutex::default(),
        }
    }
}

impl Channels {
    /// The names of all channels.
    pub(crate) async fn names(&self, hub: &Hub) -> Result<Vec<String>, ChannelsError> {
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, names)) = known
            && at.elapsed() < FRESH
        {
            return Ok(names);
        }
        let listed: Listed = self.ask(hub, &json!({ "operation": "list" })).await?;
        let names: Vec<String> =
            listed.channels.into_iter().take(CHANNELS_MAX).map(|listed| listed.channel).collect();
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), names.clone()));
        Ok(names)
    }

    /// What is known of a channel, and why it is not what Vessel says now.
    pub(crate) async fn report(&self, hub: &Hub, channel: &str) -> (Option<Known>, Option<ChannelsError>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(channel).cloned();
        if known.as_ref().and_then(|known| known.at).is_some_and(|at| at.elapsed() < FRESH) {
            return (known, None);
        }
        let asked: Result<ChannelReport, _> =
            self.ask(hub, &json!({ "operation": "show", "channel": channel })).await;
        match asked {
            Ok(mut report) => {
                report.histories.truncate(HISTORIES_MAX);
                let fresh = Known { report, said_ms: hub.clock.now().0, at: Some(Instant::now()) };
                let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                if all.len() < CHANNELS_MAX || all.contains_key(channel) {
                    all.insert(channel.to_owned(), fresh.clone());
                }
                (Some(fresh), None)
            }
            Err(error) => (known, Some(error)),
        }
    }

    /// What differs between two versions of a channel.
    pub(crate) async fn diff(
        &self,
        hub: &Hub,
        channel: &str,
        from: &str,
        to: &str,
    ) -> Result<DiffReport, ChannelsError> {
        self.ask(hub, &json!({ "operation": "diff", "channel": channel, "from": from, "to": to })).await
    }

    /// Lets a stream follow to a version.
    pub(crate) async fn promote(
        &self,
        hub: &Hub,
        channel: &str,
        from: &str,
        stream: &str,
        to_channel: &str,
    ) -> Result<MovedReport, ChannelsError> {
        let operation = json!({
            "operation": "promote", "channel": channel, "from": from, "to": stream, "to_channel": to_channel,
        });
        self.move_stream(hub, &operation).await
    }

    /// Moves a stream back: to where it was before, or to a version.
    pub(crate) async fn roll_back(
        &self,
        hub: &Hub,
        channel: &str,
        stream: &str,
        to: Option<&str>,
    ) -> Result<MovedReport, ChannelsError> {
        let operation = json!({ "operation": "rollback", "channel": channel, "stream": stream, "to": to });
        self.move_stream(hub, &operation).await
    }

    async fn move_stream(&self, hub: &Hub, operation: &Value) -> Result<MovedReport, ChannelsError> {
        let moved: Result<MovedReport, _> = self.call(hub, operation, MOVE_TIME_LIMIT).await;
        // Whoever looks next sees where the stream is now. Also when that is not known.
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values_mut()
            .for_each(|known| known.at = None);
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = None;
        moved.map_err(|error| match error {
            ChannelsError::Vessel { source } => ChannelsError::Refused { source },
            ChannelsError::Timeout => ChannelsError::Unknown,
            other => other,
        })
    }

    async fn ask<T: DeserializeOwned>(&self, hub: &Hub, operation: &Value) -> Result<T, ChannelsError> {
        let place = timeout(CALL_TIME_LIMIT, self.places.acquire()).await;
        let _place = place.map_err(|_| ChannelsError::Timeout)?;
        self.call(hub, operation, CALL_TIME_LIMIT).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        hub: &Hub,
        operation: &Value,
        time_limit: Duration,
    ) -> Result<T, ChannelsError> {
        let answer = timeout(time_limit, async {
            let client = self.link.lock().await.client(hub).await?;
            let mut client = client.max_decoding_message_size(ANSWER_SIZE_BYTES_MAX);
            let request = OperateRequest { operation: operation.to_string() };
            let reply = client.operate(request).await;
            reply.map_err(|status| ChannelsError::Vessel { source: wire::from_status(&status) })
        });
        let answer = answer.await.unwrap_or(Err(ChannelsError::Timeout));
        if answer.as_ref().is_err_and(|error| error.kind() == Kind::Unavailable) {
            self.link.lock().await.forget();
        }
        serde_json::from_str(&answer?.into_inner().outcome).map_err(|source| ChannelsError::Answer { source })
    }
}
