//! What the loops and the handlers of one Summit share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use access::{Action, Actor};
use farm::failure::FailureClass;
use farm::ids::{AttemptId, BuilderId, TaskId};
use farm::moment::Moment;
use farm::task::{Effect, Event};
use farm::why::Paused;
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use wire::summit::{Cancel, Release, to_agent};
use wire::{Identity, PublicKey};

use crate::board::Board;
use crate::clock::Clock;
use crate::config::{Config, Project};
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::sessions::Sessions;
use crate::store::{Applied, Store, StoreError};
use crate::watcher::{LookError, ProjectLook};
use crate::world::{World, Worlds};

/// News that a slow reader may be behind; it then reads the state anew.
const NEWS_MAX: usize = 1024;

/// Something changed; what it is now stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    Task(TaskId),
    Builders,
    Recipes,
    Channels,
}

/// Somebody wants to know what a look finds.
pub(crate) type LookRequest = oneshot::Sender<Result<ProjectLook, LookError>>;

/// How a watcher is reached.
#[derive(Debug, Clone)]
pub(crate) struct WatcherHandle {
    pub(crate) project: Arc<Project>,
    /// Asks it to look now.
    pub(crate) looks: mpsc::Sender<LookRequest>,
    /// Wakes it: a repository has something new.
    pub(crate) moved: Arc<Notify>,
}

/// What the look at the configuration file found last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConfigState {
    /// Why the file cannot be used; what it said before counts.
    pub(crate) trouble: Option<String>,
    /// Keys whose new values wait for a restart.
    pub(crate) waiting_for_restart: Vec<&'static str>,
}

/// Why something that was built is not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unpublished {
    /// Publishing comes to nothing.
    Trouble(String),
    /// The repository has it, and waits for what it needs.
    HeldBack(String),
}

pub(crate) struct Hub {
    pub(crate) identity: Identity,
    pub(crate) store: Store,
    pub(crate) logs: Logs,
    pub(crate) clock: Clock,
    pub(crate) sessions: Sessions,
    news: broadcast::Sender<News>,
    /// How much news there was.
    told: AtomicU64,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// The folder with everything that Summit keeps.
    pub(crate) data: PathBuf,
    /// Why older logs are not to be had.
    pub(crate) older_logs: OnceLock<String>,
    /// Wakes the dispatcher: something may have become ready, or a place free.
    pub(crate) dispatch: Notify,
    /// Wakes the publisher: something was built, or is to be withdrawn.
    pub(crate) publish: Notify,
    /// Wakes who starts and stops watchers: the projects are others now.
    pub(crate) projects_changed: Notify,
    /// Wakes who reads the configuration.
    pub(crate) look_at_config: Notify,
    /// No lease runs out before: a restart gives every agent the time to come back.
    pub(crate) grace_until: Moment,
    config: RwLock<Arc<Config>>,
    config_state: RwLock<ConfigState>,
    /// Landings since the start, by channel and architecture. A task is judged only by a world that has read all of
    /// them: a dependent must not start with the repository as it was before what it needs was there.
    landings: Mutex<HashMap<(String, String), u64>>,
    worlds: RwLock<Arc<Worlds>>,
    board: Mutex<Board>,
    /// Why tasks that were built are not published, as of the last look.
    unpublished: RwLock<HashMap<TaskId, Unpublished>>,
    watchers: RwLock<BTreeMap<String, WatcherHandle>>,
    /// Those who may build, as of the last look; none before the first.
    builders: RwLock<Option<HashSet<BuilderId>>>,
    /// Where agents dial in.
    pub(crate) grpc_address: OnceLock<SocketAddr>,
    /// Who paused the queue, as of the last look.
    paused: RwLock<Option<Paused>>,
    /// Keys that may speak with us.
    known_keys: RwLock<HashSet<PublicKey>>,
}

impl Hub {
    pub(crate) fn new(
        config: Config,
        identity: Identity,
        data: &Path,
        store: Store,
        clock: Clock,
    ) -> Arc<Self> {
        let hub = Self {
            logs: Logs::new(&crate::log_folder::of(&config, data), config.limits.log_bytes),
            grace_until: clock.now().after(config.lease()),
            sessions: Sessions::default(),
            metrics: Metrics::default(),
            data: data.to_path_buf(),
            older_logs: OnceLock::new(),
            news: broadcast::channel(NEWS_MAX).0,
            told: AtomicU64::new(0),
            dispatch: Notify::new(),
            publish: Notify::new(),
            projects_changed: Notify::new(),
            look_at_config: Notify::new(),
            config: RwLock::new(Arc::new(config)),
            config_state: RwLock::default(),
            landings: Mutex::default(),
            worlds: RwLock::default(),
            board: Mutex::default(),
            unpublished: RwLock::default(),
            watchers: RwLock::default(),
            builders: RwLock::default(),
            grpc_address: OnceLock::new(),
            paused: RwLock::default(),
            known_keys: RwLock::default(),
            identity,
            store,
            clock,
        };
        Arc::new(hub)
    }

    /// What the operator says now.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The operator says something else. Whoever does the rest is woken.
    pub(crate) fn set_config(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.projects_changed.notify_one();
        self.dispatch.notify_one();
        self.publish.notify_one();
    }

    pub(crate) fn config_state(&self) -> ConfigState {
        self.config_state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether that is news.
    pub(crate) fn set_config_state(&self, state: ConfigState) -> bool {
        let mut known = self.config_state.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = *known != state;
        *known = state;
        drop(known);
        if is_new {
            self.tell(News::Recipes);
        }
        is_new
    }

    /// What the dispatcher keeps in mind. Others only look.
    pub(crate) fn with_board<T>(&self, look: impl FnOnce(&mut Board) -> T) -> T {
        look(&mut self.board.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why a task that was built is not published.
    pub(crate) fn unpublished(&self, task: TaskId) -> Option<Unpublished> {
        self.unpublished.read().unwrap_or_else(PoisonError::into_inner).get(&task).cloned()
    }

    pub(crate) fn set_unpublished(&self, troubles: HashMap<TaskId, Unpublished>) {
        *self.unpublished.write().unwrap_or_else(PoisonError::into_inner) = troubles;
    }

    pub(crate) fn worlds(&self) -> Arc<Worlds> {
        Arc::clone(&self.worlds.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Landings in `channel` for `architecture` since the start.
    pub(crate) fn landings(&self, channel: &str, architecture: &str) -> u64 {
        let landings = self.landings.lock().unwrap_or_else(PoisonError::into_inner);
        landings.get(&(channel.to_owned(), architecture.to_owned())).copied().unwrap_or(0)
    }

    /// Whether a world has read every landing of its channel.
    pub(crate) fn is_current(&self, world: &World) -> bool {
        world.looked.is_some()
            && world.landings == self.landings(&world.project.channel, &world.arena.architecture)
    }

    /// Something is about to be noted as landed.
    pub(crate) fn count_landing(&self, channel: &str, architecture: &str) {
        let mut landings = self.landings.lock().unwrap_or_else(PoisonError::into_inner);
        *landings.entry((channel.to_owned(), architecture.to_owned())).or_default() += 1;
    }

    pub(crate) fn set_world(&self, world: World) {
        self.change_worlds(|worlds| {
            worlds.insert(world.arena.clone(), Arc::new(world));
        });
    }

    /// Forgets the worlds that `keep` does not want.
    pub(crate) fn retain_worlds(&self, keep: impl Fn(&World) -> bool) {
        self.change_worlds(|worlds| worlds.retain(|_, world| keep(world)));
    }

    fn change_worlds(&self, change: impl FnOnce(&mut Worlds)) {
        let mut guard = self.worlds.write().unwrap_or_else(PoisonError::into_inner);
        let mut worlds = (**guard).clone();
        change(&mut worlds);
        *guard = Arc::new(worlds);
        drop(guard);
        self.tell(News::Recipes);
        self.dispatch.notify_one();
    }

    /// How the watchers are reached, by the names of their projects.
    pub(crate) fn watchers(&self) -> BTreeMap<String, WatcherHandle> {
        self.watchers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_watchers(&self, watchers: BTreeMap<String, WatcherHandle>) {
        *self.watchers.write().unwrap_or_else(PoisonError::into_inner) = watchers;
    }

    /// The channel has something new: wakes those who publish to it, and those who build against it.
    pub(crate) fn channel_moved(&self, channel: &str) {
        let config = self.config();
        for watcher in self.watchers.read().unwrap_or_else(PoisonError::into_inner).values() {
            let project = &watcher.project;
            let draws_on_it =
                || project.repositories.iter().any(|place| place.is_channel(&config.vessel, channel));
            if project.channel == channel || draws_on_it() {
                watcher.moved.notify_one();
            }
        }
    }

    pub(crate) fn is_known(&self, key: &PublicKey) -> bool {
        self.known_keys.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    pub(crate) fn set_known_keys(&self, keys: HashSet<PublicKey>) {
        *self.known_keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Whether somebody who could build at the last look is not among `builders`, or there was no look yet.
    pub(crate) fn has_lost_builders(&self, builders: &HashSet<BuilderId>) -> bool {
        let known = self.builders.read().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_none_or(|known| !known.is_subset(builders))
    }

    pub(crate) fn set_builders(&self, builders: HashSet<BuilderId>) {
        *self.builders.write().unwrap_or_else(PoisonError::into_inner) = Some(builders);
    }

    /// Whose key it is that is no agent's, whatever a list says: Vessel's and our own.
    pub(crate) fn owner_of(&self, key: PublicKey) -> Option<&'static str> {
        if key == self.identity.public_key() {
            return Some("Summit");
        }
        (key == self.config().vessel.public_key).then_some("Vessel")
    }

    /// Where agents dial in, as far as that is known here: behind an address of any interface stands a host that only people
    /// can name.
    pub(crate) fn grpc_address(&self) -> String {
        match self.grpc_address.get() {
            Some(address) if !address.ip().is_unspecified() => address.to_string(),
            Some(address) => format!("HOST:{}", address.port()),
            None => "HOST:PORT".to_owned(),
        }
    }

    /// Who paused the queue: nothing is started then.
    pub(crate) fn paused(&self) -> Option<Paused> {
        self.paused.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_paused(&self, paused: Option<Paused>) {
        let mut known = self.paused.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = *known != paused;
        *known = paused;
        drop(known);
        if is_new {
            self.tell(News::Recipes);
            self.dispatch.notify_one();
        }
    }

    /// Nobody listening is no reason to worry.
    pub(crate) fn tell(&self, news: News) {
        self.told.fetch_add(1, Ordering::SeqCst);
        drop(self.news.send(news));
    }

    /// How much news there was until now.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    /// The news from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Notes that `actor` did `action` to `subject`, and what became of it. It has happened already: what cannot be noted
    /// is told to the log.
    pub(crate) async fn audit(&self, actor: &Actor, action: Action, subject: &str, detail: &str) {
        tracing::info!(actor = %actor, action = action.keyword(), subject, detail, "something was changed");
        let noted = self.store.note(actor, action, subject, detail, false, self.clock.now()).await;
        if let Err(error) = noted {
            tracing::error!(error = fault::chain(&error).join(": "), actor = %actor, action = action.keyword(),
                subject, "cannot note who did what");
        }
    }

    /// Lets `event` happen to `task`, and does what is to be done then.
    pub(crate) async fn apply(&self, task: TaskId, event: &Event) -> Result<Applied, StoreError> {
        let applied = self.store.apply(task, event, self.clock.now()).await?;
        self.applied(event, &applied).await;
        Ok(applied)
    }

    /// Lets the end of a build happen to `task`, and takes in what it teaches.
    pub(crate) async fn finish(
        &self,
        task: TaskId,
        event: &Event,
        peak_memory_bytes: u64,
    ) -> Result<(), StoreError> {
        let (applied, sample) = self.store.finish(task, event, peak_memory_bytes, self.clock.now()).await?;
        if let Some(sample) = sample {
            self.metrics.built(sample.seconds);
            self.with_board(|board| board.learn(&sample));
        }
        self.applied(event, &applied).await;
        Ok(())
    }

    /// Lets what was built be in the repository.
    pub(crate) async fn land(
        &self,
        task: TaskId,
        attempt: AttemptId,
        history: &str,
        output: &str,
    ) -> Result<(), StoreError> {
        let applied = self.store.land(task, attempt, history, output, self.clock.now()).await?;
        self.applied(&Event::Landed { attempt, history: history.to_owned() }, &applied).await;
        Ok(())
    }

    /// Does what is to be done after an event.
    async fn applied(&self, event: &Event, applied: &Applied) {
        let task = applied.task.id;
        if let Event::Broke { class, .. } = event {
            self.metrics.broke(*class);
        } else if matches!(event, Event::Expired { .. }) {
            self.metrics.broke(FailureClass::Lost);
        }
        let quiet = matches!(event, Event::Renewed { .. });
        if !quiet {
            tracing::info!(task.id = %task, source = %applied.task.source, event = event.verb(),
                phase = %applied.task.state.phase(), "task changed");
            self.tell(News::Task(task));
        }
        self.carry_out(&applied.effects).await;
    }

    /// Lets each event happen to its task, all at once, and does what is to be done then. Refused ones are left out.
    pub(crate) async fn apply_many(&self, events: &[(TaskId, Event)]) -> Result<(), StoreError> {
        for applied in self.store.apply_many(events, self.clock.now()).await? {
            self.tell(News::Task(applied.task.id));
            self.carry_out(&applied.effects).await;
        }
        match events.len() {
            0 => {}
            tasks => tracing::info!(tasks, "tasks were judged"),
        }
        Ok(())
    }

    /// Effects are hints to loops that would find the same by themselves, and messages that an agent gets again when
    /// it attaches the next time.
    pub(crate) async fn carry_out(&self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::SendOrder(_) | Effect::JudgeDependents => self.dispatch.notify_one(),
                // Its builder has a place free again.
                Effect::ExpectUpload(_) => {
                    self.publish.notify_one();
                    self.dispatch.notify_one();
                }
                Effect::Withdraw(_) => self.publish.notify_one(),
                Effect::StopBuild(claim) => {
                    let cancel = Cancel { attempt_id: claim.attempt.0 };
                    self.send(&claim.builder, to_agent::Message::Cancel(cancel));
                    self.logs.close(claim.attempt).await;
                    self.dispatch.notify_one();
                }
                Effect::Release(claim) => {
                    self.release(&claim.builder, claim.attempt);
                    self.logs.close(claim.attempt).await;
                    self.dispatch.notify_one();
                }
            }
        }
    }

    pub(crate) fn release(&self, builder: &BuilderId, attempt: AttemptId) {
        self.send(builder, to_agent::Message::Release(Release { attempt_id: attempt.0 }));
    }

    /// Sends a message to an agent if it is there.
    pub(crate) fn send(&self, builder: &BuilderId, message: to_agent::Message) {
        if self.sessions.send(builder, message).is_err() {
            tracing::warn!(builder.id = %builder, "an agent does not take its messages and was disconnected");
            self.tell(News::Builders);
        }
    }
}
