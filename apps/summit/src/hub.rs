//! What the loops and the handlers of one Summit share.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use farm::catalogue::Catalogue;
use farm::graph::Graph;
use farm::ids::{AttemptId, BuilderId, TaskId};
use farm::moment::Moment;
use farm::task::{Effect, Event};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use wire::summit::{Cancel, Release, to_agent};
use wire::{Identity, PublicKey};

use crate::clock::Clock;
use crate::config::Config;
use crate::git::Commit;
use crate::logs::Logs;
use crate::repository_state::RepositoryState;
use crate::sessions::Sessions;
use crate::store::{Applied, Store, StoreError};
use crate::watcher::{LookError, LookReport};

/// News that a slow reader may be behind; it then reads the state anew.
const NEWS_MAX: usize = 1024;

/// Wake-up calls that may wait for the look in progress.
const LOOKS_WAITING_MAX: usize = 16;

/// Something changed; what it is now stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    Task(TaskId),
    Builders,
    Recipes,
    Log(AttemptId),
}

/// What was understood of recipes and repository, together.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) commit: Option<Commit>,
    pub(crate) catalogue: Catalogue,
    pub(crate) repository: RepositoryState,
    pub(crate) graph: Graph,
    /// When everything was read last.
    pub(crate) looked: Option<Moment>,
    /// Landings that the repository was read after; see [`Hub::landings`].
    pub(crate) landings: u64,
    /// Why the last look came to nothing.
    pub(crate) trouble: Option<String>,
}

/// Somebody wants to know what a look finds.
pub(crate) type LookRequest = oneshot::Sender<Result<LookReport, LookError>>;

pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) store: Store,
    pub(crate) logs: Logs,
    pub(crate) clock: Clock,
    pub(crate) sessions: Sessions,
    pub(crate) news: broadcast::Sender<News>,
    /// Wakes the dispatcher: something may have become ready, or a place free.
    pub(crate) dispatch: Notify,
    /// Wakes the publisher: something was built, or is to be withdrawn.
    pub(crate) publish: Notify,
    /// Wakes the watcher: the repository has something new.
    pub(crate) repository_moved: Notify,
    /// Asks the watcher to look now.
    pub(crate) looks: mpsc::Sender<LookRequest>,
    /// No lease runs out before: a restart gives every agent the time to come back.
    pub(crate) grace_until: Moment,
    /// Landings since the start. A task is judged only by a world that has read all of them: a dependent must not start
    /// with the repository as it was before what it needs was there.
    landings: AtomicU64,
    world: RwLock<Arc<World>>,
    /// Keys that may speak with us.
    known_keys: RwLock<HashSet<PublicKey>>,
}

impl Hub {
    pub(crate) fn new(
        config: Config,
        identity: Identity,
        logs_folder: &Path,
        store: Store,
        clock: Clock,
    ) -> (Arc<Self>, mpsc::Receiver<LookRequest>) {
        let (looks, requests) = mpsc::channel(LOOKS_WAITING_MAX);
        let hub = Self {
            logs: Logs::new(logs_folder, config.limits.log_bytes),
            grace_until: clock.now().after(config.lease()),
            sessions: Sessions::default(),
            news: broadcast::channel(NEWS_MAX).0,
            dispatch: Notify::new(),
            publish: Notify::new(),
            repository_moved: Notify::new(),
            looks,
            landings: AtomicU64::new(0),
            world: RwLock::default(),
            known_keys: RwLock::default(),
            config,
            identity,
            store,
            clock,
        };
        (Arc::new(hub), requests)
    }

    pub(crate) fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn landings(&self) -> u64 {
        self.landings.load(Ordering::SeqCst)
    }

    /// Something is about to be noted as landed.
    pub(crate) fn count_landing(&self) {
        self.landings.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn set_world(&self, world: World) {
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(world);
        self.tell(News::Recipes);
        self.dispatch.notify_one();
    }

    pub(crate) fn is_known(&self, key: &PublicKey) -> bool {
        self.known_keys.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    pub(crate) fn set_known_keys(&self, keys: HashSet<PublicKey>) {
        *self.known_keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Nobody listening is no reason to worry.
    pub(crate) fn tell(&self, news: News) {
        drop(self.news.send(news));
    }

    /// Lets `event` happen to `task`, and does what is to be done then.
    pub(crate) async fn apply(&self, task: TaskId, event: &Event) -> Result<Applied, StoreError> {
        let applied = self.store.apply(task, event, self.clock.now()).await?;
        let quiet = matches!(event, Event::Renewed { .. });
        if !quiet {
            tracing::info!(task.id = %task, source = %applied.task.source, event = event.verb(),
                phase = %applied.task.state.phase(), "task changed");
            self.tell(News::Task(task));
        }
        self.carry_out(&applied.effects).await;
        Ok(applied)
    }

    /// Effects are hints to loops that would find the same by themselves, and messages that an agent gets again when
    /// it attaches the next time.
    pub(crate) async fn carry_out(&self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::SendOrder(_) | Effect::JudgeDependents => self.dispatch.notify_one(),
                Effect::ExpectUpload(_) | Effect::Withdraw(_) => self.publish.notify_one(),
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
