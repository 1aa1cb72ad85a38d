//! The life of an attempt: expected, received, verified, landed or refused; or withdrawn.
//!
//! Everything can be asked again: a lost answer is repeated by repeating the call.

use std::path::PathBuf;
use std::sync::Arc;

use wire::PublicKey;

use super::groups::Verified;
use super::{PublishError, Publisher, blocking, unix_seconds};
use crate::admission::{Package, Scope, expectable, land};
use crate::expectation::{Artefact, ArtefactKind, Expectation};
use crate::ledger::{Attempt, AttemptState};
use crate::output::{Content, output_digest};
use crate::staging::{Announced, Staging};
use crate::tree::{Step, TreeError};
use crate::verify;
use store::Sha256;
use store::durable;

/// Attempts that may wait for their artefacts at once: a thousand builders with a few builds each. Beyond that Summit
/// forgot to withdraw.
const ATTEMPTS_WAITING_MAX: usize = 10_000;

/// Where an attempt is, for Summit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LandingStatus {
    Unknown,
    Expected,
    Receiving,
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
            // Landed: nothing is left to be sent.
            AttemptState::Landed { .. } => Ok(announced.size_bytes),
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

    /// Makes durable what has come of an artefact.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        attempt_id: u64,
        announced: Announced,
    ) -> Result<u64, PublishError> {
        let this = Arc::clone(self);
        blocking(move || Ok(this.staging.settle(attempt_id, announced)?)).await
    }

    /// Verifies and publishes what an attempt brought; answers the history when readers can see it.
    ///
    /// Goes on to its end when the caller goes away.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        builder: PublicKey,
        attempt_id: u64,
    ) -> Result<String, PublishError> {
        let this = Arc::clone(self);
        let work = tokio::spawn(async move { this.commit_to_the_end(builder, attempt_id).await });
        work.await.unwrap_or_else(|error| Err(PublishError::Interrupted { source: Box::new(error) }))
    }

    async fn commit_to_the_end(
        self: Arc<Self>,
        builder: PublicKey,
        attempt_id: u64,
    ) -> Result<String, PublishError> {
        let attempt = self.attempt_of(builder, attempt_id).await?;
        match attempt.state {
            AttemptState::Landed { history, .. } => {
                self.readable(&attempt.expectation.channel, &history).await?;
                self.forget_upload(attempt_id);
                return Ok(history);
            }
            AttemptState::Refused { reason } => return Err(PublishError::WasRefused { attempt_id, reason }),
            AttemptState::Expected => {}
        }
        let order = Arc::new(attempt.expectation);
        let landed = match self.land_attempt(&order).await {
            // Another call for the same attempt was faster, and took the upload away.
            Err(error) => self.landed_meanwhile(attempt_id).await?.ok_or(error),
            landed => landed,
        };
        match landed {
            Ok(history) => {
                self.forget_upload(attempt_id);
                (self.reached)(Step::StagingRemoved);
                Ok(history)
            }
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

    async fn land_attempt(self: &Arc<Self>, order: &Arc<Expectation>) -> Result<String, PublishError> {
        let attempt_id = order.attempt_id;
        let (this, wanted) = (Arc::clone(self), Arc::clone(order));
        blocking(move || check_complete(&this.staging, &wanted)).await?;
        // Never closed.
        let place = self.verifications.acquire().await.ok();
        let (this, wanted) = (Arc::clone(self), Arc::clone(order));
        let contents = blocking(move || read_announced(&this.staging, &wanted)).await?;
        self.ledger.note_output(attempt_id, contents.output).await?;
        let packages = contents.packages;
        let channel = self.channel(&order.channel)?;
        // Said before records are kept; said again, on the snapshot that counts, when it lands.
        land(&channel.shown().snapshot, &packages, Scope::Order(order))?;
        let (this, wanted) = (Arc::clone(self), Arc::clone(order));
        blocking(move || this.keep_records(&wanted)).await?;
        // Others are verified while this one waits for its turn.
        drop(place);
        self.publish_attempt(channel, Verified { order: Arc::clone(order), packages }).await
    }

    /// Keeps manifests and records beside the published tree, by digest.
    fn keep_records(&self, order: &Expectation) -> Result<(), PublishError> {
        let disk = |source| TreeError::Disk { action: "keep the records of a build", source };
        let records = order.artefacts.iter().filter(|artefact| artefact.kind != ArtefactKind::Package);
        for artefact in records {
            let kept = self.folder.record(artefact.sha256);
            if let Some(folder) = kept.parent() {
                durable::create_folders(folder).map_err(disk)?;
            }
            durable::link_new(&self.staging.complete(order.attempt_id, artefact.sha256), &kept)
                .map_err(disk)?;
            durable::sync_folder_of(&kept).map_err(disk)?;
        }
        Ok(())
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
    fn forget_upload(&self, attempt_id: u64) {
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

/// The packages of an order, and what they are to others.
struct Contents {
    packages: Vec<Package>,
    output: Sha256,
}

fn read_announced(staging: &Staging, order: &Expectation) -> Result<Contents, PublishError> {
    let mut packages = Vec::new();
    let mut contents = Vec::new();
    for artefact in order.packages() {
        let path: PathBuf = staging.complete(order.attempt_id, artefact.sha256);
        let (package, layout) = verify::read_announced(&path, &artefact.name, artefact.sha256)?;
        contents.push(Content { meta: package.meta.clone(), layout });
        packages.push(package);
    }
    Ok(Contents { packages, output: output_digest(&contents) })
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
    ];
    fields.into_iter().find(|(_, is_equal)| !is_equal).map(|(field, _)| field)
}
