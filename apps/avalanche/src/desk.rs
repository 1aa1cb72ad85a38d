//! All that the agent has to do with one Summit: the ledger of its attempts, and the acts that the ledger asks for.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fs_err as fs;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use wire::Identity;
use wire::summit::{
    Failed, Finished, FromAgent, Heartbeat, Hello, LogChunk, Published, Refused, Started, from_agent,
    to_agent,
};

use crate::connection::{FromConnection, SessionNumber, SummitNumber};
use crate::growth::GrowthWatch;
use crate::keeper::{self, Plan, Program};
use crate::ledger::{Effect, Event, HeldState, Ledger, Report, Unfit, UploadTarget, Verdict, Word};
use crate::machine;
use crate::order::{AttemptId, LeaseToken, Order};
use crate::settings::Settings;
use crate::store::{Found, Shelf, Store, Survivor};
use crate::upload::Upload;
use crate::vessel_links::VesselLinks;

/// Heartbeats until Summit says how often it wants them.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(10);

/// What all desks share.
pub(crate) struct House {
    pub(crate) settings: Settings,
    pub(crate) identity: Identity,
    pub(crate) store: Store,
    /// This program, as keepers are started from it.
    pub(crate) program: Program,
    pub(crate) events: mpsc::Sender<(SummitNumber, Event)>,
    pub(crate) growth: GrowthWatch,
    /// A place for each upload that goes on.
    pub(crate) uploads: Arc<Semaphore>,
    /// Connections that wait for the next one.
    pub(crate) links: VesselLinks,
}

impl House {
    fn plan(&self) -> Plan {
        Plan { boulder: self.settings.boulder.clone(), git: self.store.data().join("git") }
    }

    /// Whether this machine can build one more, of which `building` run.
    fn can_build(&self, building: usize) -> Result<(), Unfit> {
        let busy = |reason: &str| Err(Unfit { reason: reason.to_owned(), busy: true });
        let broken = |reason: String| Err(Unfit { reason: format!("host fault: {reason}"), busy: false });
        if self.store.is_draining() {
            return busy("this builder is being drained; it builds again when its agent is started again");
        }
        if building >= self.settings.slots {
            return busy("all slots of this builder are taken, some of them by another Summit");
        }
        let needed = self.settings.free_bytes_min;
        match self.disk_free_bytes() {
            Ok(free) if free < needed => {
                return broken(format!("{free} bytes are free on this builder, it needs {needed}"));
            }
            Ok(_) => {}
            Err(error) => return broken(format!("the space on this builder cannot be measured: {error}")),
        }
        match machine::shortage() {
            Some(shortage) => busy(&format!("this builder {shortage} just now")),
            None => Ok(()),
        }
    }

    fn disk_free_bytes(&self) -> Result<u64, rustix::io::Errno> {
        let space = rustix::fs::statvfs(self.store.data())?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

/// The desk of one Summit.
pub(crate) struct Desk {
    number: SummitNumber,
    shelf: Shelf,
    ledger: Ledger,
    /// Attempts that a keeper builds.
    builds: HashSet<AttemptId>,
    uploads: HashMap<AttemptId, JoinHandle<()>>,
    /// Folders of attempts that are over, on their way out.
    deletions: JoinSet<()>,
    session: Option<Session>,
    beat_every: Duration,
    next_beat: Instant,
    /// Slots that this Summit may have at once; none for all.
    offered: Option<usize>,
}

/// The connection that stands. Dropping it ends the connection.
struct Session {
    number: SessionNumber,
    outgoing: mpsc::Sender<FromAgent>,
    _end: oneshot::Sender<()>,
}

impl Desk {
    /// Opens the desk and takes up what was left of the time before: builds that go on are followed, those that were not
    /// begun are begun, and those that ended are taken note of.
    pub(crate) fn open(house: &House, number: SummitNumber, shelf: Shelf, survivors: Vec<Survivor>) -> Desk {
        let mut desk = Desk {
            number,
            shelf,
            ledger: Ledger::new(house.settings.slots, &survivors),
            builds: HashSet::new(),
            uploads: HashMap::new(),
            deletions: JoinSet::new(),
            session: None,
            beat_every: HEARTBEAT_DEFAULT,
            next_beat: Instant::now(),
            offered: None,
        };
        for Survivor { order, found, .. } in survivors {
            let id = order.attempt_id;
            let taken_up = match found {
                Found::Standing(_) => Ok(()),
                Found::Building => {
                    tracing::info!(attempt.id = %id, source = order.source_name, "a build has gone on without us");
                    desk.follow(house, id, None)
                }
                Found::NotBegun => {
                    tracing::info!(attempt.id = %id, source = order.source_name, "an order was not begun yet");
                    desk.begin(house, &order)
                }
                Found::Ended(ended) => {
                    tracing::info!(attempt.id = %id, source = order.source_name, "a build ended without us");
                    let (outcome, log_size_bytes) = (ended.outcome, ended.log_size_bytes);
                    desk.handle(house, Event::BuildEnded { id, outcome, log_size_bytes });
                    Ok(())
                }
            };
            if let Err(error) = taken_up {
                tracing::error!(attempt.id = %id, %error, "a build cannot be taken up");
                desk.handle(house, Event::NotBegun { id, reason: error.to_string() });
            }
        }
        desk
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.session.is_some()
    }

    pub(crate) fn building(&self) -> usize {
        self.ledger.building()
    }

    /// What the connection says. `elsewhere`: builds that run for other Summits.
    pub(crate) fn hear(&mut self, house: &House, word: FromConnection, elsewhere: usize) {
        match word {
            FromConnection::HelloWanted(reply) => {
                self.logs_grew(house);
                if reply.send(self.hello(house)).is_err() {
                    tracing::debug!("the connection is gone before its Hello");
                }
            }
            FromConnection::Attached { session, welcome, outgoing, end } => {
                tracing::info!(session, lease_seconds = welcome.lease_seconds, "Summit welcomes us");
                self.session = Some(Session { number: session, outgoing, _end: end });
                // Between once a second and once a minute, whatever a peer says.
                let seconds = welcome.heartbeat_seconds.clamp(1, 60);
                self.beat_every = Duration::from_secs(seconds.into());
                self.next_beat = Instant::now();
                let verdicts = welcome.verdicts.iter().map(|verdict| Verdict {
                    id: AttemptId(verdict.attempt_id),
                    keep: verdict.keep,
                    log_offset: verdict.log_offset,
                });
                self.handle(house, Event::Attached(verdicts.collect()));
            }
            FromConnection::Detached { session } => {
                if self.session.as_ref().is_some_and(|current| current.number == session) {
                    self.detach(house);
                }
            }
            FromConnection::Message { session, message } => {
                if self.session.as_ref().is_some_and(|current| current.number == session) {
                    self.obey(house, message, elsewhere);
                }
            }
        }
    }

    fn obey(&mut self, house: &House, message: to_agent::Message, elsewhere: usize) {
        let event = match message {
            to_agent::Message::Welcome(_) => return,
            to_agent::Message::Order(order) => {
                let (id, lease_token) = (AttemptId(order.attempt_id), LeaseToken(order.lease_token));
                match Order::check(order) {
                    Ok(order) => {
                        tracing::info!(attempt.id = %id, recipe = order.recipe_path, "an order");
                        let building = elsewhere.saturating_add(self.building());
                        Event::Ordered { order, host: house.can_build(building) }
                    }
                    Err(reason) => {
                        tracing::warn!(attempt.id = %id, reason, "an order that cannot be used");
                        let word = Word::Refused { reason, busy: false };
                        return self.tell(house, Report { id, lease_token, word });
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
        self.handle(house, event);
    }

    pub(crate) fn handle(&mut self, house: &House, event: Event) {
        if let Event::BuildEnded { id, .. } = &event {
            self.builds.remove(id);
        }
        if let Event::UploadEnded { id, .. } = &event {
            self.uploads.remove(id);
        }
        for effect in self.ledger.handle(event) {
            self.carry_out(house, effect);
        }
    }

    fn carry_out(&mut self, house: &House, effect: Effect) {
        match effect {
            Effect::Tell(report) => self.tell(house, report),
            Effect::SendLog { id, lease_token, offset } => self.send_log(house, id, lease_token, offset),
            Effect::Begin(order) => {
                let (id, lease_token) = (order.attempt_id, order.lease_token);
                let folder = self.shelf.attempt(id);
                match folder.begin(&order, &house.plan()).and_then(|()| self.start(house, id)) {
                    Ok(()) => self.tell(house, Report { id, lease_token, word: Word::Started }),
                    Err(error) => {
                        tracing::error!(attempt.id = %id, %error, "a build cannot begin");
                        self.handle(house, Event::NotBegun { id, reason: error.to_string() });
                    }
                }
            }
            Effect::Kill { id, unwanted } => {
                if let Err(error) = keeper::end(&self.shelf.attempt(id), unwanted) {
                    tracing::error!(attempt.id = %id, %error, "a build cannot be ended");
                }
            }
            Effect::Keep { id, standing } => {
                if let Err(error) = self.shelf.attempt(id).keep(&standing) {
                    // It is held in memory; only a restart of the agent would lose it.
                    tracing::error!(attempt.id = %id, %error, "cannot keep how an attempt stands");
                }
            }
            Effect::Delete(id) => {
                let folder = self.shelf.attempt(id);
                while self.deletions.try_join_next().is_some() {}
                self.deletions.spawn_blocking(move || {
                    if let Err(error) = folder.delete() {
                        tracing::warn!(attempt.id = %id, %error, "cannot delete an attempt; it is swept later");
                    }
                });
            }
            Effect::Upload { id, target, artefacts } => {
                let folder = self.shelf.attempt(id).output();
                let upload = Upload {
                    id,
                    identity: house.identity.clone(),
                    target,
                    folder,
                    artefacts: artefacts.into(),
                    links: house.links.clone(),
                };
                let (events, number) = (house.events.clone(), self.number);
                let places = Arc::clone(&house.uploads);
                let task = tokio::spawn(async move {
                    // An error means that the places are closed, which they never are.
                    let _place = places.acquire_owned().await;
                    let result = upload.run().await;
                    if events.send((number, Event::UploadEnded { id, result })).await.is_err() {
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

    /// Waits until the folders of attempts that are over are gone. A runtime that ends drops what it has not begun.
    pub(crate) async fn finish_deletions(&mut self) {
        while self.deletions.join_next().await.is_some() {}
    }

    /// Begins what an agent before us had laid out.
    fn begin(&mut self, house: &House, order: &Order) -> std::io::Result<()> {
        self.shelf.attempt(order.attempt_id).begin(order, &house.plan())?;
        self.start(house, order.attempt_id)
    }

    fn start(&mut self, house: &House, id: AttemptId) -> std::io::Result<()> {
        let folder = self.shelf.attempt(id);
        let keeper = house.program.start(&folder)?;
        self.follow(house, id, Some(keeper)).inspect_err(|_| {
            if let Err(error) = keeper::end(&folder, true) {
                tracing::error!(attempt.id = %id, %error, "a build cannot be ended");
            }
        })
    }

    /// Waits for the end of a build on a thread of its own, and notices how its log grows.
    fn follow(&mut self, house: &House, id: AttemptId, mut keeper: Option<Child>) -> std::io::Result<()> {
        let folder = self.shelf.attempt(id);
        house.growth.add(&folder.log());
        let (events, number) = (house.events.clone(), self.number);
        std::thread::Builder::new().name(format!("build-{id}")).spawn(move || {
            let ended = keeper::wait_for_end(&folder);
            if let Some(keeper) = &mut keeper {
                // It is our child, and has ended.
                let _status = keeper.wait();
            }
            let keeper::Ended { outcome, log_size_bytes } = ended;
            let event = Event::BuildEnded { id, outcome, log_size_bytes };
            if events.blocking_send((number, event)).is_err() {
                tracing::debug!("a build ended after the agent");
            }
        })?;
        self.builds.insert(id);
        Ok(())
    }

    pub(crate) fn logs_grew(&mut self, house: &House) {
        let sizes: Vec<(AttemptId, u64)> =
            self.builds.iter().map(|id| (*id, self.shelf.attempt(*id).log_size_bytes())).collect();
        for (id, size_bytes) in sizes {
            self.handle(house, Event::LogGrew { id, size_bytes });
        }
    }

    fn send_log(&mut self, house: &House, id: AttemptId, lease_token: LeaseToken, offset: u64) {
        match read_piece(&self.shelf.attempt(id).log(), offset) {
            Ok(bytes) => {
                let (attempt_id, lease_token) = (id.0, lease_token.0);
                let chunk = LogChunk { attempt_id, lease_token, offset, bytes };
                self.send(house, from_agent::Message::Log(chunk));
            }
            Err(error) => {
                tracing::error!(attempt.id = %id, %error, "the rest of a log is lost");
                self.handle(house, Event::LogAcknowledged { id, offset, full: true });
            }
        }
    }

    fn tell(&mut self, house: &House, report: Report) {
        let (attempt_id, lease_token) = (report.id.0, report.lease_token.0);
        let message = match report.word {
            Word::Started => from_agent::Message::Started(Started { attempt_id, lease_token }),
            Word::Refused { reason, busy } => {
                tracing::warn!(attempt.id = attempt_id, reason, "an order is refused");
                from_agent::Message::Refused(Refused { attempt_id, lease_token, reason, busy })
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
        self.send(house, message);
    }

    /// What is to be done from time to time.
    pub(crate) fn tick(&mut self, house: &House) {
        if Instant::now() < self.next_beat {
            return;
        }
        self.next_beat = Instant::now() + self.beat_every;
        self.logs_grew(house);
        self.handle(house, Event::Beat);
        self.beat(house);
    }

    /// Tells Summit how many slots it may have at once, where that has changed.
    pub(crate) fn offer(&mut self, house: &House, slots: Option<usize>) {
        if self.offered != slots {
            self.offered = slots;
            self.beat(house);
        }
    }

    fn slots_offered(&self) -> Option<u32> {
        self.offered.map(|slots| u32::try_from(slots).unwrap_or(u32::MAX))
    }

    fn beat(&mut self, house: &House) {
        if self.session.is_none() {
            return;
        }
        let heartbeat = Heartbeat {
            held: self.held(),
            disk_free_bytes: house.disk_free_bytes().unwrap_or(0),
            load_percent: machine::load_percent(),
            memory_free_bytes: machine::memory_free_bytes(),
            pressure: machine::pressure(),
            slots_offered: self.slots_offered(),
        };
        self.send(house, from_agent::Message::Heartbeat(heartbeat));
    }

    /// A queue that is full or closed is a connection that has stopped: it is given up, and everything is said again
    /// on the next one.
    fn send(&mut self, house: &House, message: from_agent::Message) {
        let Some(session) = &self.session else { return };
        if let Err(error) = session.outgoing.try_send(FromAgent { message: Some(message) }) {
            tracing::debug!(%error, "the connection has stopped");
            self.detach(house);
        }
    }

    fn detach(&mut self, house: &House) {
        self.session = None;
        self.handle(house, Event::Detached);
    }

    fn hello(&self, house: &House) -> Hello {
        Hello {
            name: house.settings.name.clone(),
            architectures: vec![std::env::consts::ARCH.to_owned()],
            slots: u32::try_from(house.settings.slots).unwrap_or(u32::MAX),
            cores: u32::try_from(machine::cores()).unwrap_or(u32::MAX),
            memory_bytes: machine::memory_bytes(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            held: self.held(),
            disk_free_bytes: house.disk_free_bytes().unwrap_or(0),
            load_percent: machine::load_percent(),
            memory_free_bytes: machine::memory_free_bytes(),
            pressure: machine::pressure(),
            features: machine::features(),
            slots_offered: self.slots_offered(),
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
