//! Brings what was built into the repository: tells Vessel what to expect, the builder to upload, and asks Vessel
//! whether it landed. Vessel's word counts, never the builder's.
//!
//! Nothing is remembered that matters: after a restart everything is asked again, and Vessel answers the same.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farm::graph::HostProvides;
use farm::ids::AttemptId;
use farm::task::{Artefact, Event, Lease, Phase, State};
use fault::{Fault, Kind};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wire::summit::{Upload, to_agent};
use wire::tonic::transport::Channel;
use wire::tonic::{Response, Status};
use wire::vessel::vessel_client::VesselClient;
use wire::vessel::{ExpectRequest, LandingReply, LandingRequest, LandingState, WithdrawRequest};
use wire::{RemoteError, WireError};

use crate::dispatcher::ignore_refusal;
use crate::hub::{Hub, Unpublished};
use crate::store::{StoreError, TaskRow};
use crate::vessel_link::VesselLink;

/// How often Vessel is asked while something is on its way.
const SWEEP: Duration = Duration::from_secs(1);

/// How often nothing is looked for.
const IDLE_SWEEP: Duration = Duration::from_secs(5);

/// Tasks that Vessel is asked about at the same time: enough that none waits for the answers to all before it, and few enough
/// that whoever else writes finds a turn in between.
const AT_ONCE: usize = 8;

/// Longest answer of Vessel. Expecting and asking are one row each; a minute covers a disk that stalls.
const CALL_TIME_LIMIT: Duration = Duration::from_secs(60);

/// Why something is not published yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("cannot reach Vessel")]
    Wire(#[from] WireError),
    #[error("cannot {action} at Vessel")]
    Vessel { action: &'static str, source: RemoteError },
    #[error("cannot {action} at Vessel: no answer within {} seconds", CALL_TIME_LIMIT.as_secs())]
    Timeout { action: &'static str },
    #[error("cannot store what Vessel said")]
    Store(#[from] StoreError),
}

impl Fault for PublishError {
    fn kind(&self) -> Kind {
        match self {
            PublishError::Wire(error) => error.kind(),
            PublishError::Vessel { source, .. } => source.kind(),
            PublishError::Timeout { .. } => Kind::Unavailable,
            PublishError::Store(error) => error.kind(),
        }
    }
}

/// Publishes for ever.
pub(crate) async fn run(hub: Arc<Hub>) {
    let publisher = Arc::new(Publisher {
        hub: Arc::clone(&hub),
        link: tokio::sync::Mutex::default(),
        expected: Mutex::default(),
        held: Mutex::default(),
    });
    let mut trouble = String::new();
    loop {
        hub.metrics.passed("publisher");
        let busy = match publisher.sweep().await {
            Ok(busy) => {
                trouble.clear();
                busy
            }
            Err(error) => {
                let message = fault::chain(&error).join(": ");
                // The same trouble every second is said once.
                if message != trouble {
                    tracing::warn!(error = message, "cannot publish; trying again");
                    trouble = message;
                }
                true
            }
        };
        drop(timeout(if busy { SWEEP } else { IDLE_SWEEP }, hub.publish.notified()).await);
    }
}

struct Publisher {
    hub: Arc<Hub>,
    link: tokio::sync::Mutex<VesselLink>,
    /// Attempts that Vessel was told of by this process.
    expected: Mutex<HashSet<AttemptId>>,
    /// Attempts that Vessel holds back, and that their builders were told to drop.
    held: Mutex<HashSet<AttemptId>>,
}

impl Publisher {
    /// One look at everything. Returns whether something is on its way.
    async fn sweep(self: &Arc<Self>) -> Result<bool, PublishError> {
        let publishing = self.hub.store.tasks_in(&[Phase::Publishing]).await?;
        let withdrawals = self.hub.store.to_withdraw().await?;
        if publishing.is_empty() && withdrawals.is_empty() {
            self.expected().clear();
            self.held().clear();
            return Ok(false);
        }
        for attempt in withdrawals {
            if !self.withdraw(attempt).await? {
                tracing::warn!(attempt.id = %attempt, "it landed although its task went on; the next attempt replaces it");
            }
            self.hub.store.withdrawn(attempt).await?;
        }
        let mut first_error = None;
        let mut troubles = HashMap::new();
        let mut waiting = publishing.into_iter();
        let mut asked = JoinSet::new();
        loop {
            while asked.len() < AT_ONCE
                && let Some(task) = waiting.next()
            {
                let publisher = Arc::clone(self);
                asked.spawn(async move { (task.id, publisher.publish(&task).await) });
            }
            match asked.join_next().await {
                None => break,
                // One task that Vessel does not like must not hold up the others.
                Some(Ok((task, Err(error)))) => {
                    troubles.insert(task, Unpublished::Trouble(fault::chain(&error).join(": ")));
                    first_error.get_or_insert(error);
                }
                Some(Ok((task, Ok(Some(reason))))) => {
                    troubles.insert(task, Unpublished::HeldBack(reason));
                }
                Some(Ok((_, Ok(None)))) => {}
                Some(Err(panic)) => {
                    tracing::error!(%panic, "a task was not published; it is looked at again");
                }
            }
        }
        self.hub.set_unpublished(troubles);
        first_error.map_or(Ok(true), Err)
    }

    fn expected(&self) -> MutexGuard<'_, HashSet<AttemptId>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashSet<AttemptId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is known of what was said to Vessel about an attempt any more.
    fn forget(&self, attempt: AttemptId) {
        self.expected().remove(&attempt);
        self.held().remove(&attempt);
    }

    /// Brings a task on; answers what the repository holds it back for, if it does.
    async fn publish(&self, task: &TaskRow) -> Result<Option<String>, PublishError> {
        let State::Publishing { lease, artefacts, .. } = &task.state else { return Ok(None) };
        let attempt = lease.claim.attempt;
        if !self.expected().contains(&attempt) {
            match self.expect(task, lease, artefacts).await {
                Ok(()) => {
                    self.expected().insert(attempt);
                }
                Err(PublishError::Vessel { source, .. }) if is_verdict(&source) => {
                    // It may have landed already, and Vessel then refuses to expect it once more.
                    match self.landing(attempt).await? {
                        reply if reply.state() == LandingState::Landed => {
                            self.landed(task, attempt, reply).await?;
                        }
                        _ => self.rejected(task, attempt, source.to_string()).await?,
                    }
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        let builder = &lease.claim.builder;
        if self.hub.sessions.take_upload(builder, attempt) {
            let vessel = &self.hub.config().vessel;
            let upload = Upload {
                attempt_id: attempt.0,
                vessel_address: vessel.address.clone(),
                vessel_key: vessel.public_key.to_string(),
            };
            self.hub.send(builder, to_agent::Message::Upload(upload));
            // It cannot be there before it was ordered; should it be all the same, the builder says so at once.
            return Ok(None);
        }
        let reply = self.landing(attempt).await?;
        match reply.state() {
            LandingState::Landed => self.landed(task, attempt, reply).await?,
            LandingState::Refused => self.rejected(task, attempt, reply.reason).await?,
            LandingState::Held => {
                // Vessel has all of it: the builder need not keep it, and no lease is waited for any more.
                if self.held().insert(attempt) {
                    self.hub.release(builder, attempt);
                }
                return Ok(Some(reply.reason));
            }
            LandingState::Unknown | LandingState::Unspecified => {
                // Vessel has forgotten it; it is told again the next time.
                self.forget(attempt);
            }
            LandingState::Expected | LandingState::Receiving => self.expire(task, lease).await?,
        }
        Ok(None)
    }

    /// A builder that is gone while it uploads: nothing may land any more before the task goes elsewhere.
    async fn expire(&self, task: &TaskRow, lease: &Lease) -> Result<(), PublishError> {
        let now = self.hub.clock.now();
        if now < lease.until || now < self.hub.grace_until {
            return Ok(());
        }
        if !self.withdraw(lease.claim.attempt).await? {
            // It landed in this very moment; the next look finds it.
            return Ok(());
        }
        tracing::warn!(task.id = %task.id, builder.id = %lease.claim.builder, "the lease ran out before the upload ended");
        ignore_refusal(self.hub.apply(task.id, &Event::Expired { claim: lease.claim.clone() }).await)?;
        Ok(())
    }

    async fn landed(
        &self,
        task: &TaskRow,
        attempt: AttemptId,
        reply: LandingReply,
    ) -> Result<(), PublishError> {
        self.hub.count_landing(&task.channel, &task.architecture);
        ignore_refusal(self.hub.land(task.id, attempt, &reply.history, &reply.output).await)?;
        self.forget(attempt);
        self.hub.channel_moved(&task.channel);
        Ok(())
    }

    async fn rejected(&self, task: &TaskRow, attempt: AttemptId, reason: String) -> Result<(), PublishError> {
        tracing::warn!(task.id = %task.id, reason, "Vessel does not take what was built");
        ignore_refusal(self.hub.apply(task.id, &Event::Rejected { attempt, reason }).await)?;
        self.forget(attempt);
        Ok(())
    }

    async fn expect(
        &self,
        task: &TaskRow,
        lease: &Lease,
        artefacts: &[Artefact],
    ) -> Result<(), PublishError> {
        let config = self.hub.config();
        let project = config.project(&task.project);
        let builder_name = match self.hub.store.builder(&lease.claim.builder.0).await {
            Ok(row) => row.said.name,
            Err(StoreError::NotFound { .. }) => String::new(),
            Err(error) => return Err(error.into()),
        };
        let request = ExpectRequest {
            task_id: task.id.0,
            attempt_id: lease.claim.attempt.0,
            channel: task.channel.clone(),
            source: task.source.clone(),
            version: task.version.clone(),
            release: task.release,
            build_release: task.build_release,
            architecture: task.architecture.clone(),
            builder_key: lease.claim.builder.0.clone(),
            artefacts: artefacts.iter().cloned().map(Into::into).collect(),
            recipe_repository: project.map(|project| project.recipes.clone()).unwrap_or_default(),
            recipe_commit: task.commit.clone(),
            recipe_path: task.recipe_path.clone(),
            builder_name,
            // Members of a knot need each other and are built one after the other; what is built with a host's programs and
            // libraries needs those to run as well.
            may_land_unmet: task.wave.is_some()
                || project.is_some_and(|project| project.host_provides != HostProvides::Nothing),
        };
        let mut client = self.client().await?;
        let answer = timeout(CALL_TIME_LIMIT, client.expect(request)).await;
        self.understand("announce an upload", answer).await.map(drop)
    }

    async fn landing(&self, attempt: AttemptId) -> Result<LandingReply, PublishError> {
        let mut client = self.client().await?;
        let answer = timeout(CALL_TIME_LIMIT, client.landing(LandingRequest { attempt_id: attempt.0 })).await;
        self.understand("ask for an upload", answer).await
    }

    /// Returns whether nothing of the attempt can land any more; not so when it has landed.
    async fn withdraw(&self, attempt: AttemptId) -> Result<bool, PublishError> {
        let mut client = self.client().await?;
        let answer =
            timeout(CALL_TIME_LIMIT, client.withdraw(WithdrawRequest { attempt_id: attempt.0 })).await;
        match self.understand("withdraw an upload", answer).await {
            Ok(_) => Ok(true),
            // Never expected, or withdrawn before.
            Err(PublishError::Vessel { source, .. }) if source.kind() == Kind::NotFound => Ok(true),
            Err(PublishError::Vessel { source, .. }) if source.kind() == Kind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn client(&self) -> Result<VesselClient<Channel>, PublishError> {
        Ok(self.link.lock().await.client(&self.hub).await?)
    }

    async fn understand<T>(
        &self,
        action: &'static str,
        answer: Result<Result<Response<T>, Status>, tokio::time::error::Elapsed>,
    ) -> Result<T, PublishError> {
        match answer {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => {
                let source = wire::from_status(&status);
                if source.kind() == Kind::Unavailable {
                    // A fresh connection finds a Vessel that moved or was restarted.
                    self.link.lock().await.forget();
                }
                Err(PublishError::Vessel { action, source })
            }
            Err(_elapsed) => {
                self.link.lock().await.forget();
                Err(PublishError::Timeout { action })
            }
        }
    }
}

/// Whether Vessel has judged what it was told, and would judge the same again.
fn is_verdict(error: &RemoteError) -> bool {
    matches!(error.kind(), Kind::Input | Kind::Conflict | Kind::Damaged)
}
