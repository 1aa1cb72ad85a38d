//! The life of an attempt: expected, received, verified, landed or refused; or withdrawn.
//!
//! Everything can be asked again: a lost answer is repeated by repeating the call.

use std::sync::Arc;

use wire::PublicKey;

use super::builds::read_announced;
use super::groups::Committed;
use super::{PublishError, Publisher, blocking, unix_seconds};
use crate::admission::{Scope, expectable, land};
use crate::expectation::{Artefact, Expectation, Origin};
use crate::ledger::{Attempt, AttemptState};
use crate::staging::{Announced, Staging};
use crate::tree::Step;
use store::Sha256;

/// Attempts that may wait for their artefacts at once: a thousand builders with a few builds each. Beyond that Summit
/// forgot to withdraw.
const ATTEMPTS_WAITING_MAX: usize = 10_000;

/// Where an attempt is, for Summit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LandingStatus {
    Unknown,
    Expected,
    Receiving,
    Held { reason: String },
    Landed { history: String, remarks: String, output: Option<Sha256> },
    Refused { reason: String },
}

impl Publisher {
    /// Keeps an order. The same one again is fine; what cannot land is refused now, before anything is uploaded.
    pub(crate) async fn expect(&self, order: Expectation) -> Result<(), PublishError> {
        let order = order.checked()?;
        let channel = self.channel(&order.channel)?;
        if let Some(known) = self.ledger.attempt(order.attempt_id).await? {
            return self.expected_again(&order, known);
        }
        expectable(&channel.shown().snapshot, &order)?;
        let waiting = self.ledger.open_attempts().await?.len();
        if waiting >= ATTEMPTS_WAITING_MAX {
            return Err(PublishError::TooManyAttempts { attempt_id: order.attempt_id, waiting });
        }
        if !self.ledger.expect(&order, unix_seconds()).await?
            && let Some(known) = self.ledger.attempt(order.attempt_id).await?
        {
            return self.expected_again(&order, known);
        }
        self.admit_builder(order.builder);
        tracing::info!(
            task.id = order.task_id, attempt.id = order.attempt_id, builder.key = %order.builder,
            source = %order.source, version = %order.version, release = order.release, "expecting an upload"
        );
        Ok(())
    }

    fn expected_again(&self, order: &Expectation, known: Attempt) -> Result<(), PublishError> {
        if let Some(field) = first_difference(order, &known.expectation) {
            return Err(PublishError::OtherExpectation { attempt_id: order.attempt_id, field });
        }
        if let AttemptState::Refused { reason } = known.state {
            return Err(PublishError::WasRefused { attempt_id: order.attempt_id, reason });
        }
        self.admit_builder(order.builder);
        Ok(())
    }

    /// Forgets an attempt and what came for it. Withdrawing what is not there is fine.
    pub(crate) async fn withdraw(&self, attempt_id: u64) -> Result<(), PublishError> {
        if let Some(Attempt { state: AttemptState::Landed { history, .. }, .. }) =
            self.ledger.attempt(attempt_id).await?
        {
            return Err(PublishError::HasLanded { attempt_id, history });
        }
        if self.ledger.withdraw(attempt_id).await? {
            tracing::info!(attempt.id = attempt_id, "an attempt was withdrawn");
        }
        for channel in self.channels.values() {
            channel.held.remove(attempt_id);
        }
        self.forget_upload(attempt_id);
        Ok(())
    }

    /// Where an attempt is.
    pub(crate) async fn landing(&self, attempt_id: u64) -> Result<LandingStatus, PublishError> {
        let Some(attempt) = self.ledger.attempt(attempt_id).await? else { return Ok(LandingStatus::Unknown) };
        Ok(match attempt.state {
            AttemptState::Landed { history, remarks, output } => {
                // What Summit is told to be published can be read by whoever it tells.
                self.readable(&attempt.expectation.channel, &history).await?;
                LandingStatus::Landed { history, remarks, output }
            }
            AttemptState::Refused { reason } => LandingStatus::Refused { reason },
            AttemptState::Held { reason } => LandingStatus::Held { reason },
            AttemptState::Expected if self.staging.folder(attempt_id).exists() => LandingStatus::Receiving,
            AttemptState::Expected => LandingStatus::Expected,
        })
    }

    /// How much of an artefact is here.
    pub(crate) async fn offset(
        self: &Arc<Self>,
        builder: PublicKey,
        attempt_id: u64,
        sha256: &str,
    ) -> Result<u64, PublishError> {
        let (attempt, announced) = self.announced(builder, attempt_id, sha256).await?;
        match attempt.state {
            // Nothing is left to be sent.
            AttemptState::Landed { .. } | AttemptState::Held { .. } => Ok(announced.size_bytes),
            AttemptState::Refused { reason } => Err(PublishError::WasRefused { attempt_id, reason }),
            AttemptState::Expected => {
                let this = Arc::clone(self);
                blocking(move || Ok(this.staging.size_bytes(attempt_id, announced)?)).await
            }
        }
    }

    /// The announcement of an artefact, if this builder may bring it.
    pub(crate) async fn announced(
        &self,
        builder: PublicKey,
        attempt_id: u64,
        sha256: &str,
    ) -> Result<(Attempt, Announced), PublishError> {
        let attempt = self.attempt_of(builder, attempt_id).await?;
        let artefact = sha256.parse::<Sha256>().ok().and_then(|sha256| attempt.expectation.artefact(sha256));
        let Some(Artefact { size_bytes, sha256, .. }) = artefact.cloned() else {
            let sha256 = sha256.chars().take(80).collect();
            return Err(PublishError::NotAnnounced { attempt_id, sha256 });
        };
        Ok((attempt, Announced { sha256, size_bytes }))
    }

    /// Takes bytes of an announced artefact; answers how many are here.
    pub(crate) async fn append(
        self: &Arc<Self>,
        attempt_id: u64,
        announced: Announced,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<u64, PublishError> {
        let this = Arc::clone(self);
        blocking(move || Ok(this.staging.append(attempt_id, announced, offset, &bytes)?)).await
    }

    /// Checks an artefact that has come completely.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        attempt_id: u64,
        announced: Announced,
    ) -> Result<u64, PublishError> {
        let this = Arc::clone(self);
        blocking(move || Ok(this.staging.settle(attempt_id, announced)?)).await
    }

    /// Verifies and publishes what an attempt brought, or holds it back; answers the history when readers can see it.
    ///
    /// Goes on to its end when the caller goes away.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        builder: PublicKey,
        attempt_id: u64,
    ) -> Result<Committed, PublishError> {
        let this = Arc::clone(self);
        let work = tokio::spawn(async move { this.commit_to_the_end(builder, attempt_id).await });
        work.await.unwrap_or_else(|error| Err(PublishError::Interrupted { source: Box::new(error) }))
    }

    async fn commit_to_the_end(
        self: Arc<Self>,
        builder: PublicKey,
        attempt_id: u64,
    ) -> Result<Committed, PublishError> {
        let attempt = self.attempt_of(builder, attempt_id).await?;
        match attempt.state {
            AttemptState::Landed { history, .. } => {
                self.readable(&attempt.expectation.channel, &history).await?;
                self.forget_upload(attempt_id);
                return Ok(Committed::Landed(history));
            }
            AttemptState::Held { reason } => return Ok(Committed::Held(reason)),
            AttemptState::Refused { reason } => return Err(PublishError::WasRefused { attempt_id, reason }),
            AttemptState::Expected => {}
        }
        let order = Arc::new(attempt.expectation);
        let landed = match self.land_attempt(&order).await {
            // Another call for the same attempt was faster, and took the upload away.
            Err(error) => self.landed_meanwhile(attempt_id).await?.map(Committed::Landed).ok_or(error),
            committed => committed,
        };
        match landed {
            Ok(Committed::Landed(history)) => {
                self.forget_upload(attempt_id);
                (self.reached)(Step::StagingRemoved);
                Ok(Committed::Landed(history))
            }
            Ok(held) => Ok(held),
            Err(error) if error.is_final() => {
                let reason = fault::chain(&error).join(": ");
                tracing::warn!(task.id = order.task_id, attempt.id = attempt_id, builder.key = %builder, %reason, "refused");
                self.ledger.refuse(attempt_id, &reason).await?;
                self.forget_upload(attempt_id);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn landed_meanwhile(&self, attempt_id: u64) -> Result<Option<String>, PublishError> {
        match self.ledger.attempt(attempt_id).await? {
            Some(Attempt { state: AttemptState::Landed { history, .. }, expectation }) => {
                self.readable(&expectation.channel, &history).await?;
                Ok(Some(history))
            }
            _ => Ok(None),
        }
    }

    async fn land_attempt(self: &Arc<Self>, order: &Arc<Expectation>) -> Result<Committed, PublishError> {
        let (staging, wanted) = (self.staging.clone(), Arc::clone(order));
        blocking(move || check_complete(&staging, &wanted)).await?;
        // Never closed.
        let place = self.verifications.acquire().await.ok();
        let (staging, wanted) = (self.staging.clone(), Arc::clone(order));
        let contents = blocking(move || read_announced(&staging, &wanted)).await?;
        let channel = self.channel(&order.channel)?;
        // Said before anything is kept; said again, on the snapshot that counts, when it lands.
        land(&channel.shown().snapshot, &contents.packages, Scope::Order(order))?;
        let verified = self.complete(Arc::clone(order), contents).await?;
        // Others are verified while this one waits for its turn.
        drop(place);
        self.publish_attempt(channel, verified).await
    }

    async fn attempt_of(&self, builder: PublicKey, attempt_id: u64) -> Result<Attempt, PublishError> {
        let attempt = self.ledger.attempt(attempt_id).await?.ok_or(PublishError::NoAttempt { attempt_id })?;
        if attempt.expectation.builder == builder {
            Ok(attempt)
        } else {
            Err(PublishError::OtherBuilder { attempt_id })
        }
    }

    /// A folder that cannot be removed now is removed at the next start.
    pub(super) fn forget_upload(&self, attempt_id: u64) {
        if let Err(error) = self.staging.remove(attempt_id) {
            tracing::warn!(attempt.id = attempt_id, %error, "cannot remove an upload");
        }
    }
}

/// Everything is here, and is what was announced.
fn check_complete(staging: &Staging, order: &Expectation) -> Result<(), PublishError> {
    let attempt_id = order.attempt_id;
    for Artefact { name, size_bytes, sha256, .. } in &order.artefacts {
        let here_bytes =
            staging.size_bytes(attempt_id, Announced { sha256: *sha256, size_bytes: *size_bytes })?;
        if !staging.complete(attempt_id, *sha256).exists() {
            let (name, size_bytes) = (name.clone(), *size_bytes);
            return Err(PublishError::Incomplete { attempt_id, name, here_bytes, size_bytes });
        }
    }
    Ok(())
}

fn first_difference(new: &Expectation, known: &Expectation) -> Option<&'static str> {
    let fields = [
        ("task", new.task_id == known.task_id),
        ("channel", new.channel == known.channel),
        ("source", new.source == known.source),
        ("version", new.version == known.version),
        ("release", new.release == known.release),
        ("build release", new.build_release == known.build_release),
        ("architecture", new.architecture == known.architecture),
        ("builder", new.builder == known.builder),
        ("set of artefacts", new.artefacts == known.artefacts),
        // An attempt from before origins were kept has none.
        ("origin", new.origin == known.origin || known.origin == Origin::default()),
    ];
    fields.into_iter().find(|(_, is_equal)| !is_equal).map(|(field, _)| field)
}
