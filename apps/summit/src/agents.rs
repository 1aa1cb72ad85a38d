//! The gRPC service that agents attach to.
//!
//! Every report is let happen to its task under the claim it carries: the key of the connection, the attempt and the
//! token. What the life cycle refuses changes nothing, and the agent is told to forget the attempt.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::{Action, Actor};
use farm::ids::{AttemptId, BuilderId, LeaseToken};
use farm::schedule::Pressure;
use farm::task::{Artefact, Claim, Event, Phase, Refusal};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tracing::Instrument;
use wire::convert::failure_class;
use wire::summit::summit_server::{Summit, SummitServer};
use wire::summit::{
    EnrolReply, EnrolRequest, Finished, FromAgent, Heartbeat, Held, Hello, LogAcknowledged, LogChunk,
    ToAgent, Verdict, WakeUpReply, WakeUpRequest, Welcome, finished, from_agent, to_agent,
};
use wire::tonic::service::Routes;
use wire::tonic::{self, Request, Response, Status, Streaming};
use wire::{PublicKey, peer_key, to_status};

use crate::hub::{Hub, News};
use crate::logs::writer::Acknowledge;
use crate::pace::{Greeting, Greetings, Pace};
use crate::sessions::{Load, MESSAGES_MAX, Sender};
use crate::store::{About, AttemptRow, BuilderRefusal, BuilderRole, EnrolRefusal, StoreError, TaskRow};
use crate::watcher::look_everywhere;

/// Attempts that one agent may hold: what it builds and what it could not deliver yet.
const HELD_MAX: usize = 1000;

/// Longest wait for the Hello of an agent that has connected: many round trips of a bad line.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Files of one build. The largest known recipe yields some 130 packages.
const ARTEFACTS_MAX: usize = 2000;

/// Text of a failure that is kept.
const MESSAGE_SIZE_BYTES_MAX: usize = 4096;

/// Texts in a Hello that are kept.
const WORD_SIZE_BYTES_MAX: usize = 200;

/// How long a disk that takes no log is left alone.
const DISK_PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

/// Slots that are believed. More builds at once on one machine have never made sense.
const SLOTS_MAX: u32 = 256;

/// Features of a machine that are believed; today's agents look for a handful.
const FEATURES_MAX: usize = 32;

/// What an agent found itself begins so.
const HOST_FEATURE_PREFIX: &str = "host:";

/// What is served to agents.
pub(crate) fn routes(hub: Arc<Hub>) -> Routes {
    let service = SummitServer::new(Service { hub, greetings: Arc::default() })
        .max_decoding_message_size(wire::limits::AGENT_MESSAGE_SIZE_BYTES_MAX);
    Routes::new(service)
}

struct Service {
    hub: Arc<Hub>,
    greetings: Arc<Greetings>,
}

#[tonic::async_trait]
impl Summit for Service {
    type AttachStream = ReceiverStream<Result<ToAgent, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let id = self.builder(peer_key(&request)?).await?;
        let row = self.hub.store.builder(&id.0).await.map_err(|error| to_status(&error))?;
        let name = row.said.name;
        let greeting = self.greetings.begin(&id, Instant::now()).map_err(|reason| {
            tracing::debug!(builder.id = %id, builder.name = name, reason, "an agent is sent away");
            Status::unavailable(reason)
        })?;
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let hub = Arc::clone(&self.hub);
        let span = tracing::info_span!("agent", builder.name = name);
        let conversation = async move {
            let mut stream = request.into_inner();
            if let Err(status) = converse(&hub, &id, greeting, &mut stream, &sender).await {
                tracing::info!(builder.id = %id, reason = status.message(), "a conversation with an agent ended");
                // The agent may be gone already, or take nothing.
                drop(sender.try_send(Err(status)));
            }
        };
        tokio::spawn(conversation.instrument(span));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolReply>, Status> {
        let key = peer_key(&request)?;
        match self.enrol_key(key, &request.get_ref().token).await {
            Ok(name) => {
                let actor = Actor::Agent { key: key.to_string() };
                self.hub
                    .audit(&actor, Action::EnrolBuilder, &format!("builder {name}"), "enrolled with a token")
                    .await;
                self.hub.tell(News::Builders);
                Ok(Response::new(EnrolReply { name }))
            }
            Err(error) => {
                let why = fault::chain(&error).join(": ");
                tracing::warn!(builder.id = %key, reason = why, "a builder was not enrolled");
                // Whoever has no token at all is not worth a row: anybody could fill the trail.
                if !matches!(error, StoreError::Enrol(EnrolRefusal::Unknown)) {
                    let actor = Actor::Agent { key: key.to_string() };
                    let now = self.hub.clock.now();
                    let noted =
                        self.hub.store.note(&actor, Action::EnrolBuilder, "a builder", &why, true, now).await;
                    noted.map_err(|error| to_status(&error))?;
                }
                Err(to_status(&error))
            }
        }
    }

    async fn wake_up(&self, request: Request<WakeUpRequest>) -> Result<Response<WakeUpReply>, Status> {
        self.check_waker(peer_key(&request)?).await?;
        let report = look_everywhere(&self.hub).await.map_err(|error| to_status(&error))?;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Response::new(WakeUpReply {
            commit: report.commit,
            moved: report.moved,
            recipes: count(report.recipes),
            unreadable: count(report.unreadable),
            new_tasks: count(report.new_tasks.len()),
        }))
    }
}

impl Service {
    async fn role(&self, key: PublicKey) -> Result<Option<BuilderRole>, Status> {
        let row = self.hub.store.builder(&key.to_string()).await;
        match row {
            Ok(row) => Ok(Some(row.said.role)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(to_status(&error)),
        }
    }

    /// The builder with this key. What a key may do is the operator's word, and no agent says what it is.
    async fn builder(&self, key: PublicKey) -> Result<BuilderId, Status> {
        if let Some(owner) = self.hub.owner_of(key) {
            return Err(Status::permission_denied(format!(
                "the key {key} is {owner}'s own and builds nothing"
            )));
        }
        match self.role(key).await? {
            Some(BuilderRole::Builder) => Ok(BuilderId(key.to_string())),
            Some(role) => Err(Status::permission_denied(format!(
                "the key {key} has the role {} and builds nothing; each builder has a key of its own",
                role.keyword()
            ))),
            None => Err(Status::permission_denied(format!(
                "the key {key} is no builder; an operator adds it with `moraine builder add NAME {key}`"
            ))),
        }
    }

    async fn check_waker(&self, key: PublicKey) -> Result<(), Status> {
        if self.hub.owner_of(key).is_some() || self.role(key).await? == Some(BuilderRole::Waker) {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "the key {key} may not wake Summit up; an operator gives another key the role for it: `moraine builder add NAME KEY --role waker`"
        )))
    }

    /// Lets the bearer of a token become what it was made for.
    async fn enrol_key(&self, key: PublicKey, token: &str) -> Result<String, StoreError> {
        let id = BuilderId(key.to_string());
        if let Some(owner) = self.hub.owner_of(key) {
            let (name, key) = ("the bearer of the token".to_owned(), key.to_string());
            return Err(StoreError::from(BuilderRefusal::OwnKey { name, key, owner }));
        }
        let row = self.hub.store.enrol(token.trim(), &id, self.hub.clock.now()).await?;
        // At once: the agent attaches as soon as it has heard the answer.
        crate::dispatcher::follow_builders(&self.hub).await?;
        Ok(row.said.name)
    }
}

/// One connection from its Hello to its end.
async fn converse(
    hub: &Arc<Hub>,
    id: &BuilderId,
    greeting: Greeting,
    stream: &mut Streaming<FromAgent>,
    sender: &Sender,
) -> Result<(), Status> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, stream.message()).await.map_err(|_| {
        Status::deadline_exceeded(format!("no Hello within {} seconds", HELLO_TIMEOUT.as_secs()))
    })?;
    let Some(FromAgent { message: Some(from_agent::Message::Hello(hello)) }) = first? else {
        return Err(Status::invalid_argument("the first message must be a Hello"));
    };
    drop(greeting);
    let about = about(&hello);
    hub.store.builder_attached(id, &about, hub.clock.now()).await.map_err(|error| to_status(&error))?;
    let lease_seconds = hub.config().lease_seconds;
    let welcome = Welcome {
        lease_seconds,
        // A lease outlives two lost heartbeats.
        heartbeat_seconds: (lease_seconds / 3).max(1),
        verdicts: verdicts(hub, id, &hello.held).await?,
    };
    let welcome = ToAgent { message: Some(to_agent::Message::Welcome(welcome)) };
    sender.send(Ok(welcome)).await.map_err(|_| Status::cancelled("the agent is gone"))?;
    let (number, close) = hub.sessions.begin(id, sender.clone(), about, hub.clock.now());
    let load = Load {
        disk_free_bytes: hello.disk_free_bytes,
        load_percent: hello.load_percent,
        memory_free_bytes: hello.memory_free_bytes,
        pressure: pressure(hello.pressure),
        slots_offered: hello.slots_offered,
    };
    hub.sessions.set_load(id, load);
    hub.sessions.set_features(id, host_features(&hello.features));
    let name = shortened(&hello.name, WORD_SIZE_BYTES_MAX);
    tracing::info!(builder.id = %id, name, held = hello.held.len(), "an agent attached");
    let caught_up = async {
        lose_what_is_gone(hub, id, &hello.held).await?;
        release_what_ended(hub, id, &hello.held).await
    };
    let result = match caught_up.await {
        Ok(()) => {
            hub.tell(News::Builders);
            hub.dispatch.notify_one();
            hub.publish.notify_one();
            listen(hub, id, stream, &close).await
        }
        Err(error) => Err(to_status(&error)),
    };
    if hub.sessions.end(id, number) {
        hub.tell(News::Builders);
    }
    result
}

async fn listen(
    hub: &Arc<Hub>,
    id: &BuilderId,
    stream: &mut Streaming<FromAgent>,
    close: &Notify,
) -> Result<(), Status> {
    let mut pace = Pace::new(Instant::now());
    loop {
        let message = tokio::select! {
            message = stream.message() => message?,
            () = close.notified() => return Err(Status::aborted("another connection took over, or the builder was removed")),
        };
        let Some(message) = message else { return Ok(()) };
        let Some(message) = message.message else {
            return Err(Status::invalid_argument(
                "a message of a kind that this Summit does not know; update it",
            ));
        };
        let parts = parts(&message)?;
        handle(hub, id, message).await.map_err(|error| to_status(&error))?;
        let wait = pace.take(parts, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// How much a message asks of us. One that no agent would send ends the conversation.
fn parts(message: &from_agent::Message) -> Result<usize, Status> {
    match message {
        from_agent::Message::Hello(_) => {
            Err(Status::invalid_argument("a second Hello on the same connection"))
        }
        from_agent::Message::Heartbeat(heartbeat) if heartbeat.held.len() > HELD_MAX => {
            Err(too_many_held(heartbeat.held.len()))
        }
        from_agent::Message::Heartbeat(heartbeat) => Ok(1 + heartbeat.held.len()),
        _ => Ok(1),
    }
}

fn too_many_held(count: usize) -> Status {
    Status::invalid_argument(format!("{count} attempts at once; at most {HELD_MAX} are believed"))
}

async fn handle(hub: &Arc<Hub>, id: &BuilderId, message: from_agent::Message) -> Result<(), StoreError> {
    match message {
        from_agent::Message::Hello(_) => Ok(()),
        from_agent::Message::Heartbeat(heartbeat) => {
            hub.store.builder_seen(id, hub.clock.now()).await?;
            let Heartbeat { disk_free_bytes, load_percent, memory_free_bytes, .. } = heartbeat;
            let pressure = pressure(heartbeat.pressure);
            let slots_offered = heartbeat.slots_offered;
            let load = Load { disk_free_bytes, load_percent, memory_free_bytes, pressure, slots_offered };
            if hub.sessions.set_load(id, load) {
                hub.dispatch.notify_one();
            }
            for held in &heartbeat.held {
                if renew(hub, id, held).await?.is_none() {
                    hub.release(id, AttemptId(held.attempt_id));
                }
            }
            Ok(())
        }
        from_agent::Message::Started(started) => {
            let claim = claim(id, started.attempt_id, started.lease_token);
            report(hub, &claim, &Event::Started { claim: claim.clone() }).await
        }
        from_agent::Message::Log(chunk) => log(hub, id, chunk).await,
        from_agent::Message::Finished(finished) => finish(hub, id, finished).await,
        from_agent::Message::Published(published) => {
            // A hint: Vessel is asked whether it is so. When the task is done, the agent has missed its Release.
            let claim = claim(id, published.attempt_id, published.lease_token);
            match current(hub, &claim).await? {
                Some(_) => hub.publish.notify_one(),
                None => hub.release(id, claim.attempt),
            }
            Ok(())
        }
        from_agent::Message::Refused(refused) => {
            let claim = claim(id, refused.attempt_id, refused.lease_token);
            let reason = shortened(&refused.reason, MESSAGE_SIZE_BYTES_MAX);
            let was_held = current(hub, &claim).await?.is_some();
            let event = Event::Declined { claim: claim.clone(), reason: reason.clone() };
            report(hub, &claim, &event).await?;
            match was_held && !refused.busy {
                // A machine that cannot would decline the next order as well.
                true => faulted(hub, id, &reason).await,
                false => Ok(()),
            }
        }
    }
}

fn claim(id: &BuilderId, attempt_id: u64, lease_token: u64) -> Claim {
    Claim { builder: id.clone(), attempt: AttemptId(attempt_id), token: LeaseToken(lease_token) }
}

/// The attempt and its task, if `claim` is the claim of the task's running lease.
async fn current(hub: &Hub, claim: &Claim) -> Result<Option<(AttemptRow, TaskRow)>, StoreError> {
    let attempt = match hub.store.attempt(claim.attempt).await {
        Ok(attempt) => attempt,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let task = hub.store.task(attempt.task).await?;
    let holds = task.state.claims().any(|(holder, _)| holder == claim);
    Ok(holds.then_some((attempt, task)))
}

/// Lets a report happen. One that does not count is answered by Release.
async fn report(hub: &Hub, claim: &Claim, event: &Event) -> Result<(), StoreError> {
    let Some((_, task)) = current(hub, claim).await? else {
        refuse(hub, claim, event.verb());
        return Ok(());
    };
    answered(hub, claim, hub.apply(task.id, event).await).map(drop)
}

/// What became of a report: whether it counted. One that comes too late is answered by Release.
fn answered<T>(hub: &Hub, claim: &Claim, result: Result<T, StoreError>) -> Result<bool, StoreError> {
    match result {
        Ok(_) => Ok(true),
        Err(StoreError::Refused {
            source: Refusal::Unchanged { .. } | Refusal::WrongPhase { .. }, ..
        }) => Ok(false),
        Err(StoreError::Refused { .. }) => {
            hub.release(&claim.builder, claim.attempt);
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Tells an agent to forget what it does not hold. Said once, and then ever more seldom on one connection: an agent that came
/// back has some such reports, a hostile one sends nothing else.
fn refuse(hub: &Hub, claim: &Claim, what: &str) {
    let count = hub.sessions.count_refusal(&claim.builder);
    if count.is_power_of_two() {
        tracing::warn!(builder.id = %claim.builder, attempt.id = %claim.attempt, what, count,
            "a report on an attempt that is not held is refused");
    }
    hub.release(&claim.builder, claim.attempt);
}

/// Renews the lease of what an agent holds; none when it does not hold it any more.
async fn renew(hub: &Hub, id: &BuilderId, held: &Held) -> Result<Option<(AttemptRow, TaskRow)>, StoreError> {
    let claim = claim(id, held.attempt_id, held.lease_token);
    let Some((attempt, task)) = current(hub, &claim).await? else { return Ok(None) };
    let lease = hub.config().lease();
    let until = hub.clock.now().after(lease);
    let running = task.state.claims().find(|(holder, _)| **holder == claim);
    let left = running.map_or(lease, |(_, until)| until.since(hub.clock.now()));
    // Half a lease is left for the next heartbeats; renewing it every time would only cost writes.
    if left < lease.mul_f32(0.75) {
        let renewed = hub.apply(task.id, &Event::Renewed { claim, until }).await;
        crate::dispatcher::ignore_refusal(renewed)?;
    }
    Ok(Some((attempt, task)))
}

async fn verdicts(hub: &Hub, id: &BuilderId, held: &[Held]) -> Result<Vec<Verdict>, Status> {
    if held.len() > HELD_MAX {
        return Err(too_many_held(held.len()));
    }
    let mut verdicts = Vec::with_capacity(held.len());
    for held in held {
        let kept = renew(hub, id, held).await.map_err(|error| to_status(&error))?;
        let log_offset = match &kept {
            Some((attempt, _)) => {
                hub.logs.resume(attempt.task, attempt.id).await.map_err(|error| to_status(&error))?
            }
            None => 0,
        };
        verdicts.push(Verdict { attempt_id: held.attempt_id, keep: kept.is_some(), log_offset });
    }
    Ok(verdicts)
}

/// Builds that we think this builder has, and of which it knows nothing any more: an agent whose disk was wiped.
async fn lose_what_is_gone(hub: &Hub, id: &BuilderId, held: &[Held]) -> Result<(), StoreError> {
    let held: HashSet<u64> = held.iter().map(|held| held.attempt_id).collect();
    for task in hub.store.tasks_in(&[Phase::Building]).await? {
        // A second attempt that was only ordered is not gone: its order is sent again.
        let ordered = task.state.twin().filter(|twin| twin.since.is_none()).map(|twin| &twin.claim);
        let gone = task.state.claims().map(|(claim, _)| claim).find(|claim| {
            claim.builder == *id && !held.contains(&claim.attempt.0) && Some(*claim) != ordered
        });
        let Some(claim) = gone else { continue };
        let event = Event::Broke {
            claim: claim.clone(),
            class: farm::failure::FailureClass::Lost,
            message: "the builder came back without the build".into(),
            during: String::new(),
        };
        crate::dispatcher::ignore_refusal(hub.apply(task.id, &event).await)?;
    }
    Ok(())
}

/// Attempts that ended between the verdicts and the begin of the session: nobody could be told then.
async fn release_what_ended(hub: &Hub, id: &BuilderId, held: &[Held]) -> Result<(), StoreError> {
    for held in held {
        if current(hub, &claim(id, held.attempt_id, held.lease_token)).await?.is_none() {
            hub.release(id, AttemptId(held.attempt_id));
        }
    }
    Ok(())
}

/// Takes a piece of a log. The agent hears of it when it is on the disk; the next piece is taken before that.
async fn log(hub: &Arc<Hub>, id: &BuilderId, chunk: LogChunk) -> Result<(), StoreError> {
    let claim = claim(id, chunk.attempt_id, chunk.lease_token);
    let Some((attempt, task)) = current(hub, &claim).await? else {
        refuse(hub, &claim, "log");
        return Ok(());
    };
    hub.metrics.log(chunk.bytes.len());
    let kept = match hub.logs.write(task.id, attempt.id, chunk.offset, chunk.bytes).await {
        Ok(written) => {
            if written.full && !attempt.log_full {
                hub.store.log_is_full(attempt.id).await?;
            }
            match written.acknowledge {
                Acknowledge::Now(offset) => {
                    acknowledge(hub, id, attempt.id, offset, written.full);
                    return Ok(());
                }
                Acknowledge::WithAnother => return Ok(()),
                Acknowledge::Later(kept) => Some((kept, written.full)),
            }
        }
        Err(error) => {
            tracing::error!(error = fault::chain(&error).join(": "), "cannot keep a piece of a log");
            None
        }
    };
    let (hub, id) = (Arc::clone(hub), id.clone());
    tokio::spawn(async move {
        let (offset, full) = match kept {
            Some((kept, full)) => (kept.offset().await, full),
            None => (None, false),
        };
        match offset {
            Some(offset) => acknowledge(&hub, &id, attempt.id, offset, full),
            None => {
                // What the disk has is told after a while, and the agent sends the rest again.
                tokio::time::sleep(DISK_PAUSE).await;
                if let Ok(offset) = hub.logs.resume(task.id, attempt.id).await {
                    acknowledge(&hub, &id, attempt.id, offset, false);
                }
            }
        }
    });
    Ok(())
}

fn acknowledge(hub: &Hub, id: &BuilderId, attempt: AttemptId, offset: u64, full: bool) {
    let acknowledged = LogAcknowledged { attempt_id: attempt.0, offset, full };
    hub.send(id, to_agent::Message::LogAcknowledged(acknowledged));
}

async fn finish(hub: &Hub, id: &BuilderId, finished: Finished) -> Result<(), StoreError> {
    let claim = claim(id, finished.attempt_id, finished.lease_token);
    let broke = |class, message: &str, during: &str| Event::Broke {
        claim: claim.clone(),
        class,
        message: shortened(message, MESSAGE_SIZE_BYTES_MAX),
        during: shortened(during, WORD_SIZE_BYTES_MAX),
    };
    let peak_memory_bytes = match &finished.outcome {
        Some(finished::Outcome::Built(built)) => built.peak_memory_bytes,
        Some(finished::Outcome::Failed(failed)) => failed.peak_memory_bytes,
        None => 0,
    };
    let event = match finished.outcome {
        Some(finished::Outcome::Built(built)) => match artefacts(built.artefacts) {
            Ok(artefacts) => {
                hub.sessions.ask_upload_again(id, claim.attempt);
                Event::Built { claim: claim.clone(), artefacts }
            }
            Err(message) => broke(farm::failure::FailureClass::HostFault, &message, "report"),
        },
        Some(finished::Outcome::Failed(failed)) => match failure_class(failed.class) {
            Ok(class) => broke(class, &failed.message, &failed.phase),
            Err(error) => broke(farm::failure::FailureClass::HostFault, &error.to_string(), &failed.phase),
        },
        None => {
            broke(farm::failure::FailureClass::HostFault, "the agent reported an end without an outcome", "")
        }
    };
    let Some((_, task)) = current(hub, &claim).await? else {
        refuse(hub, &claim, event.verb());
        return Ok(());
    };
    let ended = answered(hub, &claim, hub.finish(task.id, &event, peak_memory_bytes).await)?;
    if let Event::Built { .. } = &event {
        // Also when it is told again: the one who builds waits for an order to upload.
        hub.publish.notify_one();
    }
    // Only now: an end that could not be written down is told again, and is still one end.
    match &event {
        Event::Broke { class, message, .. } if ended && class.is_host() => faulted(hub, id, message).await,
        _ => Ok(()),
    }
}

/// Notes a fault of a builder's machine, and says when it is quarantined for it.
async fn faulted(hub: &Hub, id: &BuilderId, reason: &str) -> Result<(), StoreError> {
    let faults = hub.store.builder_failed(id, reason, hub.clock.now()).await?;
    if let Some(rest) = farm::schedule::quarantine(faults) {
        let detail = format!("quarantined for {} s after {faults} faults in a row: {reason}", rest.as_secs());
        hub.audit(&Actor::Summit, Action::DrainBuilder, &format!("builder {id}"), &detail).await;
    }
    hub.tell(News::Builders);
    Ok(())
}

/// Names and digests are checked before anything is made of them.
fn artefacts(sent: Vec<wire::summit::Artefact>) -> Result<Vec<Artefact>, String> {
    if sent.is_empty() || sent.len() > ARTEFACTS_MAX {
        return Err(format!("the agent reported {} files; 1 to {ARTEFACTS_MAX} are possible", sent.len()));
    }
    let mut names = HashSet::new();
    let mut artefacts = Vec::with_capacity(sent.len());
    for artefact in sent {
        let artefact = Artefact::try_from(artefact).map_err(|error| error.to_string())?;
        let name = shortened(&artefact.name, WORD_SIZE_BYTES_MAX);
        if package::check_component(&artefact.name).is_err() {
            return Err(format!("the agent reported a file that cannot be called so: {name:?}"));
        }
        if !package::valid_hash(&artefact.sha256) {
            return Err(format!("the agent reported file {name:?} with a digest that is none"));
        }
        if !names.insert(artefact.name.clone()) {
            return Err(format!("the agent reported file {name:?} twice"));
        }
        artefacts.push(artefact);
    }
    Ok(artefacts)
}

fn about(hello: &Hello) -> About {
    About {
        architectures: hello
            .architectures
            .iter()
            .take(16)
            .map(|name| shortened(name, WORD_SIZE_BYTES_MAX))
            .collect(),
        slots: hello.slots.min(SLOTS_MAX),
        cores: hello.cores,
        memory_bytes: hello.memory_bytes,
        version: shortened(&hello.version, WORD_SIZE_BYTES_MAX),
    }
}

fn pressure(said: Option<wire::summit::Pressure>) -> Pressure {
    said.map_or_else(Pressure::default, |said| Pressure {
        cpu_percent: said.cpu_percent.min(100),
        memory_percent: said.memory_percent.min(100),
        io_percent: said.io_percent.min(100),
    })
}

/// What an agent found out about its machine. It stands apart from what the operator says of a builder, so that none can
/// give itself a label.
fn host_features(said: &[String]) -> BTreeSet<String> {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    said.iter()
        .take(FEATURES_MAX)
        .filter(|name| !name.is_empty() && name.len() <= WORD_SIZE_BYTES_MAX && name.chars().all(plain))
        .map(|name| format!("{HOST_FEATURE_PREFIX}{name}"))
        .collect()
}

fn shortened(text: &str, size_bytes_max: usize) -> String {
    text[..text.floor_char_boundary(size_bytes_max)].to_owned()
}

/// What a key that nobody knows may call.
pub(crate) const OPEN_METHODS: &[&str] = &["/moraine.summit.v1.Summit/Enrol"];

/// Whether a key may open a connection at all.
pub(crate) fn allowed(hub: &Arc<Hub>) -> impl Fn(&PublicKey) -> bool + Clone + Send + Sync + 'static {
    let hub = Arc::clone(hub);
    move |key| hub.is_known(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_finds_is_never_taken_for_a_label_of_the_operator() {
        let said = ["kvm", "size:huge", "Official", "", "memory-limit"].map(str::to_owned);
        let found = host_features(&said);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["host:kvm", "host:memory-limit"]);
        let flood: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
        assert_eq!(host_features(&flood).len(), FEATURES_MAX);
    }

    #[test]
    fn artefacts_with_impossible_names_or_digests_are_refused() {
        let good = wire::summit::Artefact {
            kind: 1,
            name: "nano-8.4-1-1-x86_64.stone".into(),
            size_bytes: 1,
            sha256: "0".repeat(64),
        };
        assert_eq!(artefacts(vec![good.clone()]).unwrap().len(), 1);
        let with = |change: fn(&mut wire::summit::Artefact)| {
            let mut artefact = good.clone();
            change(&mut artefact);
            vec![artefact]
        };
        for bad in [
            vec![],
            vec![good.clone(), good.clone()],
            with(|artefact| artefact.name = "../x".into()),
            with(|artefact| artefact.name = String::new()),
            with(|artefact| artefact.sha256 = "x".repeat(64)),
            with(|artefact| artefact.sha256 = "A".repeat(64)),
            with(|artefact| artefact.kind = 0),
            with(|artefact| artefact.kind = 99),
        ] {
            assert!(artefacts(bad.clone()).is_err(), "{bad:?}");
        }
    }
}
