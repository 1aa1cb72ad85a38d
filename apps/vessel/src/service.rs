//! The gRPC service: converts, asks the publisher, converts back. Decides who may call what, and nothing else.
//!
//! | call | who |
//! |---|---|
//! | Expect, Withdraw, Landing, Changes | the hub |
//! | Offset, Put, Commit | the builder that the attempt names |
//! | Channel | anyone known |
//! | Operate | the hub, operators, and whoever holds the key of this Vessel |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fault::{Fault, Kind};
use wire::tonic::{Request, Response, Status, Streaming, async_trait};
use wire::vessel::vessel_server::Vessel;
use wire::vessel::{
    Artefact as WireArtefact, ArtefactKind as WireKind, ChangesReply, ChangesRequest, ChannelReply,
    ChannelRequest, CommitReply, CommitRequest, ExpectReply, ExpectRequest, LandingReply, LandingRequest,
    LandingState, OffsetReply, OffsetRequest, OperateReply, OperateRequest, PutChunk, PutReply,
    WithdrawReply, WithdrawRequest,
};
use wire::{PublicKey, peer_key, to_status};

use crate::expectation::{Artefact, ArtefactKind, Expectation, ExpectationError, Origin};
use crate::format;
use crate::ledger::AttemptState;
use crate::publisher::{Changes, Committed, LandingStatus, PublishError, Publisher};
use crate::staging::Announced;

/// Bytes of one chunk. Four times what our builders send, so that they may grow; a quarter of the largest message.
const CHUNK_SIZE_BYTES_MAX: usize = 1 << 20;

/// Longest wait for the next chunk. The slowest line that is waited for, sixteen kilobytes a second, brings one in as many
/// seconds.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);

/// The architecture whose index is told when none is asked for.
const DEFAULT_ARCHITECTURE: &str = "x86_64";

/// Answers calls.
#[derive(Debug)]
pub(crate) struct Service {
    publisher: Arc<Publisher>,
    hubs: Vec<PublicKey>,
    /// Beside the hub, who may say what becomes of channels.
    operators: BTreeSet<PublicKey>,
    public_url: String,
    refusals: Refusals,
}

/// How many calls of each key were refused. Only keys that are known get so far, so it holds no more than they are.
#[derive(Debug, Default)]
struct Refusals {
    counts: Mutex<BTreeMap<PublicKey, u64>>,
}

impl Refusals {
    /// Takes note of a refusal and passes it on. Each key is complained about ever more seldom: a hostile one does nothing else.
    fn note<T>(
        &self,
        key: PublicKey,
        call: &str,
        attempt_id: u64,
        result: Result<T, Status>,
    ) -> Result<T, Status> {
        if let Err(refused) = &result {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(key).or_default();
            *count = count.saturating_add(1);
            if count.is_power_of_two() {
                let reason = refused.message();
                tracing::warn!(builder.key = %key, call, attempt.id = attempt_id, count, reason, "a call is refused");
            }
        }
        result
    }
}

/// Somebody else than the hub calls what only the hub may.
#[derive(Debug, thiserror::Error)]
#[error("cannot do this for {caller}: only the hub may")]
struct NotTheHub {
    caller: PublicKey,
}

impl Fault for NotTheHub {
    fn kind(&self) -> Kind {
        Kind::Denied
    }

    fn hints(&self) -> Vec<String> {
        vec!["`vessel serve --hub-key KEY` says which Summit is the hub; `summit key` prints its key".into()]
    }
}

/// Somebody who is no operator calls what only operators may.
#[derive(Debug, thiserror::Error)]
#[error("cannot do this for {caller}: only operators may")]
struct NoOperator {
    caller: PublicKey,
}

impl Fault for NoOperator {
    fn kind(&self) -> Kind {
        Kind::Denied
    }

    fn hints(&self) -> Vec<String> {
        vec![
            "add the key to `operators` in the settings of Vessel, or use its data folder with --data".into(),
        ]
    }
}

/// A text that is no operation.
#[derive(Debug, thiserror::Error)]
#[error("cannot read what is to be done")]
struct NoOperation {
    source: serde_json::Error,
}

impl Fault for NoOperation {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        vec!["ask with a program of the same version as this Vessel".into()]
    }
}

impl Service {
    pub(crate) fn new(
        publisher: Arc<Publisher>,
        hubs: Vec<PublicKey>,
        operators: BTreeSet<PublicKey>,
        public_url: String,
    ) -> Self {
        Self { publisher, hubs, operators, public_url, refusals: Refusals::default() }
    }

    fn check_hub<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let caller = peer_key(request)?;
        if self.hubs.contains(&caller) { Ok(()) } else { Err(to_status(&NotTheHub { caller })) }
    }

    /// Takes chunks until the sender ends or something is wrong.
    async fn receive(&self, builder: PublicKey, mut chunks: Streaming<PutChunk>) -> Result<u64, Status> {
        let Some(first) = next(&mut chunks).await? else {
            return Err(status(PublishError::Chunk { why: "none came".into() }));
        };
        let (attempt_id, name) = (first.attempt_id, first.sha256.clone());
        let (attempt, announced) =
            self.publisher.announced(builder, attempt_id, &name).await.map_err(status)?;
        match attempt.state {
            AttemptState::Expected => {}
            AttemptState::Landed { .. } | AttemptState::Held { .. } => return Ok(announced.size_bytes),
            AttemptState::Refused { reason } => {
                return Err(status(PublishError::WasRefused { attempt_id, reason }));
            }
        }
        let received = self.receive_all(first, &mut chunks, announced).await;
        // What came before a break is kept: the builder asks for the offset and goes on.
        let settled = self.publisher.settle(attempt_id, announced).await.map_err(status);
        received?;
        settled
    }

    async fn receive_all(
        &self,
        first: PutChunk,
        chunks: &mut Streaming<PutChunk>,
        announced: Announced,
    ) -> Result<(), Status> {
        let (attempt_id, sha256) = (first.attempt_id, first.sha256.clone());
        let mut next = Some(first);
        while let Some(chunk) = next {
            let refused = |why: String| Err(status(PublishError::Chunk { why }));
            if (chunk.attempt_id, &chunk.sha256) != (attempt_id, &sha256) {
                return refused("it belongs to another artefact than the first".into());
            }
            if chunk.bytes.len() > CHUNK_SIZE_BYTES_MAX {
                return refused(format!(
                    "it has {} bytes, at most {CHUNK_SIZE_BYTES_MAX} are taken",
                    chunk.bytes.len()
                ));
            }
            self.publisher.append(attempt_id, announced, chunk.offset, chunk.bytes).await.map_err(status)?;
            next = self::next(chunks).await?;
        }
        Ok(())
    }
}

async fn next(chunks: &mut Streaming<PutChunk>) -> Result<Option<PutChunk>, Status> {
    match tokio::time::timeout(CHUNK_TIMEOUT, chunks.message()).await {
        Ok(chunk) => chunk,
        Err(_) => {
            Err(Status::deadline_exceeded(format!("no chunk within {} seconds", CHUNK_TIMEOUT.as_secs())))
        }
    }
}

#[async_trait]
impl Vessel for Service {
    async fn expect(&self, request: Request<ExpectRequest>) -> Result<Response<ExpectReply>, Status> {
        self.check_hub(&request)?;
        let order = expectation(request.into_inner()).map_err(|error| to_status(&error))?;
        self.publisher.expect(order).await.map_err(status)?;
        Ok(Response::new(ExpectReply {}))
    }

    async fn withdraw(&self, request: Request<WithdrawRequest>) -> Result<Response<WithdrawReply>, Status> {
        self.check_hub(&request)?;
        self.publisher.withdraw(request.into_inner().attempt_id).await.map_err(status)?;
        Ok(Response::new(WithdrawReply {}))
    }

    async fn landing(&self, request: Request<LandingRequest>) -> Result<Response<LandingReply>, Status> {
        self.check_hub(&request)?;
        let landed = self.publisher.landing(request.into_inner().attempt_id).await.map_err(status)?;
        let state = |state: LandingState| LandingReply { state: state.into(), ..LandingReply::default() };
        Ok(Response::new(match landed {
            LandingStatus::Unknown => state(LandingState::Unknown),
            LandingStatus::Expected => state(LandingState::Expected),
            LandingStatus::Receiving => state(LandingState::Receiving),
            LandingStatus::Held { reason } => LandingReply { reason, ..state(LandingState::Held) },
            LandingStatus::Landed { history, remarks: reason, output } => {
                let output = output.map(|digest| digest.to_string()).unwrap_or_default();
                LandingReply { history, reason, output, ..state(LandingState::Landed) }
            }
            LandingStatus::Refused { reason } => LandingReply { reason, ..state(LandingState::Refused) },
        }))
    }

    async fn offset(&self, request: Request<OffsetRequest>) -> Result<Response<OffsetReply>, Status> {
        let builder = peer_key(&request)?;
        let OffsetRequest { attempt_id, sha256 } = request.into_inner();
        let answer = self.publisher.offset(builder, attempt_id, &sha256).await.map_err(status);
        let size_bytes = self.refusals.note(builder, "offset", attempt_id, answer)?;
        Ok(Response::new(OffsetReply { size_bytes }))
    }

    async fn put(&self, request: Request<Streaming<PutChunk>>) -> Result<Response<PutReply>, Status> {
        let builder = peer_key(&request)?;
        let answer = self.receive(builder, request.into_inner()).await;
        let size_bytes = self.refusals.note(builder, "put", 0, answer)?;
        Ok(Response::new(PutReply { size_bytes }))
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<CommitReply>, Status> {
        let builder = peer_key(&request)?;
        let attempt_id = request.into_inner().attempt_id;
        let answer = self.publisher.commit(builder, attempt_id).await.map_err(status);
        Ok(Response::new(match self.refusals.note(builder, "commit", attempt_id, answer)? {
            Committed::Landed(history) => CommitReply { history, held: String::new() },
            Committed::Held(held) => CommitReply { history: String::new(), held },
        }))
    }

    async fn channel(&self, request: Request<ChannelRequest>) -> Result<Response<ChannelReply>, Status> {
        let channel = request.into_inner().channel;
        let history = self.publisher.current(&channel).await.map_err(status)?.unwrap_or_default();
        let index_path = if history.is_empty() {
            String::new()
        } else {
            format::index_path(&channel, &history, DEFAULT_ARCHITECTURE).map_err(|error| to_status(&error))?
        };
        Ok(Response::new(ChannelReply { history, index_path, public_base_url: self.public_url.clone() }))
    }

    async fn operate(&self, request: Request<OperateRequest>) -> Result<Response<OperateReply>, Status> {
        let caller = peer_key(&request)?;
        if !self.hubs.contains(&caller) && !self.operators.contains(&caller) {
            return Err(to_status(&NoOperator { caller }));
        }
        let operation = serde_json::from_str(&request.into_inner().operation)
            .map_err(|source| to_status(&NoOperation { source }))?;
        let publisher = Arc::clone(&self.publisher);
        // Goes on to its end when the caller goes away.
        let work = tokio::spawn(async move { publisher.operate(operation, &caller.to_string()).await });
        let outcome = work.await.map_err(|error| Status::internal(error.to_string()))?.map_err(status)?;
        let outcome = serde_json::to_string(&outcome).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(OperateReply { outcome }))
    }

    async fn changes(&self, request: Request<ChangesRequest>) -> Result<Response<ChangesReply>, Status> {
        self.check_hub(&request)?;
        let ChangesRequest { channel, architecture, since } = request.into_inner();
        let changes = self.publisher.changes(&channel, &architecture, &since).map_err(status)?;
        Ok(Response::new(match changes {
            Changes::Unknown { history } => ChangesReply { history, whole: true, ..ChangesReply::default() },
            Changes::Since { history, arrived, gone } => {
                ChangesReply { history, whole: false, arrived, gone }
            }
        }))
    }
}

fn status(error: PublishError) -> Status {
    match error.kind() {
        Kind::Unavailable | Kind::Bug | Kind::Damaged => {
            tracing::error!(error = %fault::chain(&error).join(": "), "a call failed");
        }
        _ => tracing::debug!(error = %fault::chain(&error).join(": "), "a call was refused"),
    }
    to_status(&error)
}

/// What the hub said, as values; checked as a whole by [`Expectation::checked`].
fn expectation(request: ExpectRequest) -> Result<Expectation, ExpectationError> {
    let builder =
        request.builder_key.parse().map_err(|error: wire::PublicKeyError| ExpectationError::Unreadable {
            what: "builder key".into(),
            value: request.builder_key.chars().take(80).collect(),
            why: error.to_string(),
        })?;
    let artefacts: Result<Vec<Artefact>, ExpectationError> =
        request.artefacts.into_iter().map(artefact).collect();
    Ok(Expectation {
        task_id: request.task_id,
        attempt_id: request.attempt_id,
        channel: request.channel,
        source: request.source,
        version: request.version,
        release: request.release,
        build_release: request.build_release,
        architecture: request.architecture,
        builder,
        artefacts: artefacts?,
        origin: Origin {
            repository: request.recipe_repository,
            commit: request.recipe_commit,
            recipe_path: request.recipe_path,
            builder_name: request.builder_name,
        },
        may_land_unmet: request.may_land_unmet,
    })
}

fn artefact(artefact: WireArtefact) -> Result<Artefact, ExpectationError> {
    let name: String = artefact.name.chars().take(300).collect();
    let unreadable = |what: &str, value: String, why: &str| {
        Err(ExpectationError::Unreadable { what: format!("{what} of {name:?}"), value, why: why.to_owned() })
    };
    let kind = match artefact.kind() {
        WireKind::Package => ArtefactKind::Package,
        WireKind::ManifestBinary => ArtefactKind::ManifestBinary,
        WireKind::ManifestJson => ArtefactKind::ManifestJson,
        WireKind::Record => ArtefactKind::Record,
        WireKind::Unspecified => {
            return unreadable("kind", artefact.kind.to_string(), "it is not one that is known");
        }
    };
    let Ok(sha256) = artefact.sha256.parse() else {
        let value = artefact.sha256.chars().take(80).collect();
        return unreadable("digest", value, "it is not 64 lower-case hexadecimal digits");
    };
    Ok(Artefact { kind, name, size_bytes: artefact.size_bytes, sha256 })
}
