//! The agent: one task that owns the ledger and carries its effects out.

use std::collections::HashMap;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fault::{Fault, Kind};
use fetch::GitMirrors;
use fs_err as fs;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};
use wire::Identity;
use wire::summit::{
    Failed, Finished, FromAgent, Heartbeat, Hello, LogChunk, Published, Refused, Started, from_agent,
    to_agent,
};

use crate::build::Build;
use crate::connection::{self, FromConnection, SessionNumber};
use crate::ledger::{Effect, Event, HeldState, Ledger, Report, UploadTarget, Verdict, Word};
use crate::machine;
use crate::order::{AttemptId, LeaseToken, Order};
use crate::outcome::{Failure, FailureClass, Outcome};
use crate::settings::Settings;
use crate::store::{Store, StoreError};
use crate::upload::Upload;
use crate::watch::{Canceller, Growth, Spool, cancellation};

/// Events that may wait; their senders wait when there are more.
const EVENTS_MAX: usize = 256;
/// Heartbeats until Summit says how often it wants them.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(10);
/// How long killed builds may take to end when the agent ends; the kernel needs a moment for large processes.
const ENDING_TIMEOUT: Duration = Duration::from_secs(20);

/// The agent cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fault for AgentError {
    fn kind(&self) -> Kind {
        match self {
            AgentError::Store(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            AgentError::Store(error) => error.hints(),
        }
    }
}

/// Runs until `shutdown` is ready. Builds end with it; what was built stays for the next start.
pub(crate) async fn run(
    settings: Settings,
    identity: Identity,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let store = Store::open(&settings.data)?;
    let survivors = store.survivors()?;
    let (connected, mut connection) = mpsc::channel(EVENTS_MAX);
    let (events, mut happened) = mpsc::channel(EVENTS_MAX);
    let summit = connection::Summit {
        address: settings.summit.clone(),
        key: settings.summit_key,
        identity: identity.clone(),
    };
    let mut agent = Agent {
        ledger: Ledger::new(settings.slots, survivors),
        mirrors: GitMirrors::new(&store.data().join("git")),
        settings,
        identity,
        store,
        events,
        builds: HashMap::new(),
        uploads: HashMap::new(),
        grown: Arc::new(Notify::new()),
        session: None,
        heartbeat: ticks(HEARTBEAT_DEFAULT),
    };
    let keeping = tokio::spawn(connection::keep(summit, connected));
    let grown = Arc::clone(&agent.grown);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(word) = connection.recv() => agent.hear(word),
            Some(event) = happened.recv() => agent.handle(event),
            () = grown.notified() => agent.logs_grew(),
            _ = agent.heartbeat.tick() => agent.beat(),
        }
    }
    tracing::info!(builds = agent.ledger.building(), "ending; running builds are killed, and lost");
    agent.handle(Event::Stopping);
    let ended = async {
        while agent.ledger.building() > 0 {
            match happened.recv().await {
                Some(event) => agent.handle(event),
                None => return,
            }
        }
    };
    if tokio::time::timeout(ENDING_TIMEOUT, ended).await.is_err() {
        tracing::warn!("some builds have not ended; they are swept at the next start");
    }
    keeping.abort();
    Ok(())
}

struct Agent {
    settings: Settings,
    identity: Identity,
    store: Store,
    mirrors: GitMirrors,
    ledger: Ledger,
    events: mpsc::Sender<Event>,
    builds: HashMap<AttemptId, RunningBuild>,
    uploads: HashMap<AttemptId, JoinHandle<()>>,
    /// Rung when any log has grown.
    grown: Arc<Notify>,
    session: Option<Session>,
    heartbeat: Interval,
}

/// The connection that stands. Dropping it ends the connection.
struct Session {
    number: SessionNumber,
    outgoing: mpsc::Sender<FromAgent>,
    _end: oneshot::Sender<()>,
}

struct RunningBuild {
    growth: Arc<Growth>,
    /// Taken to cancel.
    canceller: Option<Canceller>,
}

impl Agent {
    fn hear(&mut self, word: FromConnection) {
        match word {
            FromConnection::HelloWanted(reply) => {
                self.logs_grew();
                if reply.send(self.hello()).is_err() {
                    tracing::debug!("the connection is gone before its Hello");
                }
            }
            FromConnection::Attached { session, welcome, outgoing, end } => {
                tracing::info!(session, lease_seconds = welcome.lease_seconds, "Summit welcomes us");
                self.session = Some(Session { number: session, outgoing, _end: end });
                // Between once a second and once a minute, whatever a peer says.
                let seconds = welcome.heartbeat_seconds.clamp(1, 60);
                self.heartbeat = ticks(Duration::from_secs(seconds.into()));
                let verdicts = welcome.verdicts.iter().map(|verdict| Verdict {
                    id: AttemptId(verdict.attempt_id),
                    keep: verdict.keep,
                    log_offset: verdict.log_offset,
                });
                self.handle(Event::Attached(verdicts.collect()));
            }
            FromConnection::Detached { session } => {
                if self.session.as_ref().is_some_and(|current| current.number == session) {
                    self.detach();
                }
            }
            FromConnection::Message { session, message } => {
                if self.session.as_ref().is_some_and(|current| current.number == session) {
                    self.obey(message);
                }
            }
        }
    }

    fn obey(&mut self, message: to_agent::Message) {
        let event = match message {
            to_agent::Message::Welcome(_) => return,
            to_agent::Message::Order(order) => {
                let (id, lease_token) = (AttemptId(order.attempt_id), LeaseToken(order.lease_token));
                match Order::check(order) {
                    Ok(order) => {
                        tracing::info!(attempt.id = %id, recipe = order.recipe_path, "an order");
                        Event::Ordered { order, host: self.host_can_build() }
                    }
                    Err(reason) => {
                        tracing::warn!(attempt.id = %id, reason, "an order that cannot be used");
                        return self.tell(Report { id, lease_token, word: Word::Refused { reason } });
                    }
                }
            }
            to_agent::Message::LogAcknowledged(word) => Event::LogAcknowledged {
                id: AttemptId(word.attempt_id),
                offset: word.offset,
                full: word.full,
            },
            to_agent::Message::Upload(word) => Event::UploadWanted {
                id: AttemptId(word.attempt_id),
                target: UploadTarget { vessel_address: word.vessel_address, vessel_key: word.vessel_key },
            },
            to_agent::Message::Cancel(word) => Event::Cancelled(AttemptId(word.attempt_id)),
            to_agent::Message::Release(word) => Event::Released(AttemptId(word.attempt_id)),
        };
        self.handle(event);
    }

    fn handle(&mut self, event: Event) {
        if let Event::BuildEnded { id, .. } = &event {
            self.builds.remove(id);
        }
        if let Event::UploadEnded { id, .. } = &event {
            self.uploads.remove(id);
        }
        for effect in self.ledger.handle(event) {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Tell(report) => self.tell(report),
            Effect::SendLog { id, lease_token, offset } => self.send_log(id, lease_token, offset),
            Effect::Begin(order) => {
                let (id, lease_token) = (order.attempt_id, order.lease_token);
                match self.begin(order) {
                    Ok(()) => self.tell(Report { id, lease_token, word: Word::Started }),
                    Err(error) => {
                        tracing::error!(attempt.id = %id, %error, "a build cannot begin");
                        self.handle(Event::NotBegun { id, reason: error.to_string() });
                    }
                }
            }
            Effect::Kill(id) => {
                if let Some(build) = self.builds.get_mut(&id) {
                    drop(build.canceller.take());
                }
            }
            Effect::Keep { id, standing } => {
                if let Err(error) = self.store.attempt(id).keep(&standing) {
                    // It is held in memory; only a restart of the agent would lose it.
                    tracing::error!(attempt.id = %id, %error, "cannot keep how an attempt stands");
                }
            }
            Effect::Delete(id) => {
                let folder = self.store.attempt(id);
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = folder.delete() {
                        tracing::warn!(attempt.id = %id, %error, "cannot delete an attempt; it is swept later");
                    }
                });
            }
            Effect::Upload { id, target, artefacts } => {
                let folder = self.store.attempt(id).output();
                let upload = Upload { id, identity: self.identity.clone(), target, folder, artefacts };
                let events = self.events.clone();
                let task = tokio::spawn(async move {
                    let result = upload.run().await;
                    if events.send(Event::UploadEnded { id, result }).await.is_err() {
                        tracing::debug!("an upload ended after the agent");
                    }
                });
                self.uploads.insert(id, task);
            }
            Effect::StopUpload(id) => {
                if let Some(task) = self.uploads.remove(&id) {
                    task.abort();
                }
            }
        }
    }

    fn begin(&mut self, order: Order) -> std::io::Result<()> {
        let id = order.attempt_id;
        let folder = self.store.attempt(id);
        folder.begin(&order)?;
        let growth = Arc::new(Growth::new(Arc::clone(&self.grown)));
        let mut spool = Spool::create(&folder.log(), order.limits.log_bytes, Arc::clone(&growth))?;
        let (canceller, cancelled) = cancellation()?;
        let build =
            Build { order, folder, mirrors: self.mirrors.clone(), boulder: self.settings.boulder.clone() };
        let (events, shared) = (self.events.clone(), Arc::clone(&growth));
        // A thread of its own: Boulder ends with the thread that starts it, and those of a pool come and go.
        std::thread::Builder::new().name(format!("build-{id}")).spawn(move || {
            let run = std::panic::AssertUnwindSafe(|| build.run(&mut spool, &cancelled));
            let outcome = std::panic::catch_unwind(run).unwrap_or_else(|_| {
                let message = "the agent contradicts itself; its own log says more";
                Outcome::Failed(Failure::new(FailureClass::HostFault, "", message))
            });
            let log_size_bytes = shared.size_bytes();
            if events.blocking_send(Event::BuildEnded { id, outcome, log_size_bytes }).is_err() {
                tracing::debug!("a build ended after the agent");
            }
        })?;
        self.builds.insert(id, RunningBuild { growth, canceller: Some(canceller) });
        Ok(())
    }

    fn logs_grew(&mut self) {
        let sizes: Vec<(AttemptId, u64)> =
            self.builds.iter().map(|(id, build)| (*id, build.growth.size_bytes())).collect();
        for (id, size_bytes) in sizes {
            self.handle(Event::LogGrew { id, size_bytes });
        }
    }

    fn send_log(&mut self, id: AttemptId, lease_token: LeaseToken, offset: u64) {
        match read_piece(&self.store.attempt(id).log(), offset) {
            Ok(bytes) => self.send(from_agent::Message::Log(LogChunk {
                attempt_id: id.0,
                lease_token: lease_token.0,
                offset,
                bytes,
            })),
            Err(error) => {
                tracing::error!(attempt.id = %id, %error, "the rest of a log is lost");
                self.handle(Event::LogAcknowledged { id, offset, full: true });
            }
        }
    }

    fn tell(&mut self, report: Report) {
        let (attempt_id, lease_token) = (report.id.0, report.lease_token.0);
        let message = match report.word {
            Word::Started => from_agent::Message::Started(Started { attempt_id, lease_token }),
            Word::Refused { reason } => {
                tracing::warn!(attempt.id = attempt_id, reason, "an order is refused");
                from_agent::Message::Refused(Refused { attempt_id, lease_token, reason })
            }
            Word::Built(built) => {
                let outcome = Some(wire::summit::finished::Outcome::Built((&built).into()));
                from_agent::Message::Finished(Finished { attempt_id, lease_token, outcome })
            }
            Word::Failed(failure) => {
                tracing::info!(attempt.id = attempt_id, class = ?failure.class, message = failure.message, "a build failed");
                let outcome = Some(wire::summit::finished::Outcome::Failed(Failed::from(&failure)));
                from_agent::Message::Finished(Finished { attempt_id, lease_token, outcome })
            }
            Word::Published { history } => {
                from_agent::Message::Published(Published { attempt_id, lease_token, history })
            }
        };
        self.send(message);
    }

    fn beat(&mut self) {
        self.logs_grew();
        self.handle(Event::Beat);
        if self.session.is_some() {
            let held = self.held();
            self.send(from_agent::Message::Heartbeat(Heartbeat {
                held,
                disk_free_bytes: self.disk_free_bytes().unwrap_or(0),
                load_percent: machine::load_percent(),
                memory_free_bytes: machine::memory_free_bytes(),
                pressure: machine::pressure(),
            }));
        }
    }

    /// A queue that is full or closed is a connection that has stopped: it is given up, and everything is said again
    /// on the next one.
    fn send(&mut self, message: from_agent::Message) {
        let Some(session) = &self.session else { return };
        if let Err(error) = session.outgoing.try_send(FromAgent { message: Some(message) }) {
            tracing::debug!(%error, "the connection has stopped");
            self.detach();
        }
    }

    fn detach(&mut self) {
        self.session = None;
        self.handle(Event::Detached);
    }

    fn hello(&self) -> Hello {
        Hello {
            name: self.settings.name.clone(),
            architectures: vec![std::env::consts::ARCH.to_owned()],
            slots: u32::try_from(self.settings.slots).unwrap_or(u32::MAX),
            cores: u32::try_from(machine::cores()).unwrap_or(u32::MAX),
            memory_bytes: machine::memory_bytes(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            held: self.held(),
            disk_free_bytes: self.disk_free_bytes().unwrap_or(0),
            load_percent: machine::load_percent(),
            memory_free_bytes: machine::memory_free_bytes(),
            pressure: machine::pressure(),
            features: machine::features(),
        }
    }

    fn held(&self) -> Vec<wire::summit::Held> {
        let wire_state = |state| match state {
            HeldState::Building => wire::summit::HeldState::Building,
            HeldState::Built => wire::summit::HeldState::Built,
            HeldState::Uploading => wire::summit::HeldState::Uploading,
            HeldState::Failed => wire::summit::HeldState::Failed,
        };
        let held = self.ledger.held();
        held.into_iter()
            .map(|held| wire::summit::Held {
                attempt_id: held.id.0,
                lease_token: held.lease_token.0,
                state: wire_state(held.state).into(),
                log_size_bytes: held.log_size_bytes,
            })
            .collect()
    }

    fn host_can_build(&self) -> Result<(), String> {
        let needed = self.settings.free_bytes_min;
        match self.disk_free_bytes() {
            Ok(free) if free >= needed => Ok(()),
            Ok(free) => Err(format!("host fault: {free} bytes are free on this builder, it needs {needed}")),
            Err(error) => Err(format!("host fault: the space on this builder cannot be measured: {error}")),
        }
    }

    fn disk_free_bytes(&self) -> Result<u64, rustix::io::Errno> {
        let space = rustix::fs::statvfs(self.store.data())?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

fn read_piece(path: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let mut bytes = vec![0; wire::limits::CHUNK_SIZE_BYTES];
    let count = file.file().read_at(&mut bytes, offset)?;
    if count == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(count);
    Ok(bytes)
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
