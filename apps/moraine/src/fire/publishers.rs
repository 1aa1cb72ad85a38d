//! Builders that land orders over the wire, and an operator who moves streams and prunes, through every restart of Vessel.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use farm::sim::Random;
use fetch::Digest;
use wire::tonic::transport::Channel;
use wire::vessel::vessel_client::VesselClient;
use wire::vessel::{
    Artefact, ArtefactKind, CommitRequest, ExpectRequest, OffsetRequest, OperateRequest, PutChunk,
};
use wire::{Identity, connect};

use super::error::FireError;
use super::report::Record;
use super::stage::Stage;
use super::stones;

/// Builders at the same time.
const BUILDERS: u64 = 2;

/// Sources of each builder.
const SOURCES: u64 = 3;

/// Pause before a Vessel that is away is called again.
const AWAY_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause of a builder between two landings.
const BUILD_MS_MAX: u64 = 250;

/// Longest pause of the operator between two words.
const OPERATE_MS_MAX: u64 = 300;

/// Longest time until something is published at the beginning.
const FIRST_LIMIT: Duration = Duration::from_secs(60);

/// Tags that there are at most; an older one goes.
const TAGS_MAX: u64 = 3;

/// How Vessel is called.
#[derive(Debug, Clone)]
struct Line {
    address: String,
    hub: PathBuf,
    builder: PathBuf,
    /// The folder of Vessel: with its key, which is an operator's as well.
    data: PathBuf,
}

impl Line {
    fn of(stage: &Stage) -> Self {
        Self {
            address: stage.grpc(),
            hub: stage.hub_file.clone(),
            builder: stage.builder_file.clone(),
            data: stage.vessel_data(),
        }
    }

    /// Has an operator's word done; none when Vessel is away, or says no.
    async fn say(&self, word: &serde_json::Value) -> Option<serde_json::Value> {
        let own = Identity::load(&self.data.join("identity.key")).ok()?;
        let mut client = self.client(&own).await?;
        let answer = client.operate(OperateRequest { operation: word.to_string() }).await.ok()?;
        serde_json::from_str(&answer.into_inner().outcome).ok()
    }

    async fn client(&self, own: &Identity) -> Option<VesselClient<Channel>> {
        let key = Identity::load(&self.data.join("identity.key")).ok()?.public_key();
        Some(VesselClient::new(connect(&self.address, key, own).await.ok()?))
    }
}

/// Those who write.
pub(super) struct Publishers {
    threads: Vec<JoinHandle<()>>,
    landed: Arc<AtomicU64>,
}

impl Publishers {
    /// Starts them.
    pub(super) fn start(
        stage: &Stage,
        seed: u64,
        record: &Arc<Record>,
        over: &Arc<AtomicBool>,
    ) -> Result<Self, FireError> {
        let line = Line::of(stage);
        let mut publishers = Self { threads: Vec::new(), landed: Arc::default() };
        for number in 0..BUILDERS {
            let builder = Builder {
                number,
                line: line.clone(),
                random: Random::of(seed, "fire", &format!("builder {number}")),
                record: Arc::clone(record),
                over: Arc::clone(over),
                landed: Arc::clone(&publishers.landed),
            };
            publishers.spawn(move || block_on(builder.run()))?;
        }
        let operator = Operator {
            line,
            random: Random::of(seed, "fire", "operator"),
            record: Arc::clone(record),
            over: Arc::clone(over),
            tags: 0,
        };
        publishers.spawn(move || block_on(operator.run()))?;
        Ok(publishers)
    }

    fn spawn(&mut self, work: impl FnOnce() + Send + 'static) -> Result<(), FireError> {
        self.threads.push(std::thread::Builder::new().spawn(work).map_err(FireError::Thread)?);
        Ok(())
    }

    /// Waits until every source was published once.
    pub(super) fn wait_for_the_first(&self, stage: &mut Stage) -> Result<(), FireError> {
        let begin = Instant::now();
        while self.landed.load(Ordering::Relaxed) < BUILDERS * SOURCES {
            if begin.elapsed() > FIRST_LIMIT {
                let why = format!("not within {} s", FIRST_LIMIT.as_secs());
                return Err(FireError::Refused { action: "publish something".into(), why });
            }
            stage.start_if_down()?;
            std::thread::sleep(AWAY_PAUSE);
        }
        Ok(())
    }

    /// Waits for their end.
    pub(super) fn finish(self) {
        for thread in self.threads {
            drop(thread.join());
        }
    }
}

/// How many histories there ever were, and how many of them were removed, by whatever pruning got so far.
pub(super) fn histories(stage: &Stage) -> Result<(usize, usize), FireError> {
    let word = serde_json::json!({ "operation": "histories", "channel": "main", "limit": u32::MAX });
    let outcome = runtime().and_then(|runtime| runtime.block_on(Line::of(stage).say(&word)));
    let failed =
        || FireError::Refused { action: "count histories".into(), why: "Vessel does not tell".into() };
    let outcome = outcome.ok_or_else(failed)?;
    let left = outcome["histories"].as_array().ok_or_else(failed)?;
    let number = |history: &serde_json::Value| history["id"].as_str()?.split_once('-')?.0.parse().ok();
    let ever: usize = left.iter().filter_map(number).max().ok_or_else(failed)?;
    Ok((ever, ever.saturating_sub(left.len())))
}

fn runtime() -> Option<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().ok()
}

fn block_on(work: impl Future<Output = ()>) {
    if let Some(runtime) = runtime() {
        runtime.block_on(work);
    }
}

struct Builder {
    number: u64,
    line: Line,
    random: Random,
    record: Arc<Record>,
    over: Arc<AtomicBool>,
    landed: Arc<AtomicU64>,
}

impl Builder {
    async fn run(mut self) {
        let (Ok(hub), Ok(own)) = (Identity::load(&self.line.hub), Identity::load(&self.line.builder)) else {
            return;
        };
        for turn in 0.. {
            let (source, release) = (format!("s{}-{}", self.number, turn % SOURCES), turn / SOURCES + 1);
            let attempt_id = turn * BUILDERS + self.number + 1;
            while !self.over.load(Ordering::Relaxed) {
                match self.land(&hub, &own, attempt_id, &source, release).await {
                    Some(history) => {
                        self.record.landed_in(history, &source, release);
                        self.record.has_landed();
                        self.landed.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    None => tokio::time::sleep(AWAY_PAUSE).await,
                }
            }
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(self.random.below(BUILD_MS_MAX))).await;
        }
    }

    /// The history, when all went well. What was done is not undone by doing it again.
    async fn land(
        &self,
        hub: &Identity,
        own: &Identity,
        attempt_id: u64,
        source: &str,
        release: u64,
    ) -> Option<String> {
        let packages = stones::packages(source, release).ok()?;
        let artefact = |name: String, bytes: &[u8]| Artefact {
            kind: ArtefactKind::Package.into(),
            name,
            size_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            sha256: Digest::of(bytes).to_string(),
        };
        let order = ExpectRequest {
            task_id: attempt_id,
            attempt_id,
            channel: "main".into(),
            source: source.to_owned(),
            version: "1".into(),
            release,
            build_release: 1,
            architecture: "x86_64".into(),
            builder_key: own.public_key().to_string(),
            artefacts: packages.iter().map(|(meta, bytes)| artefact(meta.file_name(), bytes)).collect(),
            ..ExpectRequest::default()
        };
        self.line.client(hub).await?.expect(order).await.ok()?;
        let mut client = self.line.client(own).await?;
        for (_, bytes) in &packages {
            let sha256 = Digest::of(bytes).to_string();
            let question = OffsetRequest { attempt_id, sha256: sha256.clone() };
            let offset = client.offset(question).await.ok()?.into_inner().size_bytes;
            let rest = bytes.get(usize::try_from(offset).ok()?..)?.to_vec();
            if !rest.is_empty() {
                let chunk = PutChunk { attempt_id, sha256, offset, bytes: rest };
                client.put(tokio_stream::iter([chunk])).await.ok()?;
            }
        }
        Some(client.commit(CommitRequest { attempt_id }).await.ok()?.into_inner().history)
    }
}

struct Operator {
    line: Line,
    random: Random,
    record: Arc<Record>,
    over: Arc<AtomicBool>,
    tags: u64,
}

impl Operator {
    async fn run(mut self) {
        while !self.over.load(Ordering::Relaxed) {
            let word = self.word();
            // A version that is not there any more, or a Vessel that is away: the next word is another one.
            if self.line.say(&word).await.is_some() {
                self.record.was_operated();
            }
            tokio::time::sleep(Duration::from_millis(self.random.below(OPERATE_MS_MAX))).await;
        }
    }

    fn word(&mut self) -> serde_json::Value {
        match self.random.below(12) {
            0..=1 => serde_json::json!({
                "operation": "promote", "channel": "main", "from": "volatile", "to": "unstable", "to_channel": "main"
            }),
            2 => serde_json::json!({
                "operation": "promote", "channel": "main", "from": "unstable", "to": "stable", "to_channel": "main"
            }),
            3 => serde_json::json!({ "operation": "rollback", "channel": "main", "stream": "unstable" }),
            4 => serde_json::json!({ "operation": "rollback", "channel": "main", "stream": "volatile" }),
            5 => {
                self.tags += 1;
                let name = format!("tag-{}", self.tags);
                serde_json::json!({ "operation": "tag", "channel": "main", "name": name, "version": "volatile" })
            }
            6 => {
                let name = format!("tag-{}", self.tags.saturating_sub(TAGS_MAX));
                serde_json::json!({ "operation": "untag", "channel": "main", "name": name })
            }
            7 => serde_json::json!({ "operation": "remove-package", "channel": "main", "names": ["alone"] }),
            8 => serde_json::json!({ "operation": "remove-stream", "channel": "main", "stream": "stable" }),
            _ => serde_json::json!({ "operation": "prune", "channel": "main", "dry_run": false }),
        }
    }
}
