//! Attempts that are here completely and wait for what they need to run.
//!
//! They are kept as they came, in the folder of uploads, and noted in the ledger with what they wait for. Each time the
//! channel changes they are looked at again, together with what comes; see [`crate::gathering`].

use std::sync::{Arc, Mutex, PoisonError};

use super::builds::read_announced;
use super::groups::{Group, Verified};
use super::{Channel, PublishError, Publisher, State, blocking};
use crate::admission::{Scope, land};
use crate::closure::{Unmet, remark};
use crate::expectation::Expectation;
use crate::gathering::{Candidate, ClosurePolicy, gather};
use crate::ledger::AttemptState;
use crate::operation::HeldReport;
use crate::tree::TreeError;

/// The attempts of one channel that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<Vec<Verified>>);

impl Held {
    pub(super) fn all(&self) -> Vec<Verified> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, attempt: Verified) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|other| other.order.attempt_id != attempt.order.attempt_id);
        held.push(attempt);
    }

    pub(super) fn remove(&self, attempt_id: u64) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.len();
        held.retain(|attempt| attempt.order.attempt_id != attempt_id);
        held.len() < before
    }
}

impl Publisher {
    /// Reads what waited when this Vessel ended. What cannot be read any more has to come again.
    pub(super) async fn load_held(&self) -> Result<(), PublishError> {
        for channel in self.channels.values() {
            for attempt_id in self.ledger.held_attempts(&channel.name).await? {
                let Some(attempt) = self.ledger.attempt(attempt_id).await? else { continue };
                let order = Arc::new(attempt.expectation);
                let (staging, wanted) = (self.staging.clone(), Arc::clone(&order));
                let read = blocking(move || read_announced(&staging, &wanted)).await;
                let verified = match read {
                    Ok(contents) => self.complete(Arc::clone(&order), contents).await,
                    Err(error) => Err(error),
                };
                match verified {
                    Ok(verified) => channel.held.add(verified),
                    Err(error) => {
                        let reason = fault::chain(&error).join(": ");
                        tracing::warn!(attempt.id = attempt_id, %reason, "cannot read what was held back");
                        self.ledger.hold(attempt_id, None).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks at everything that waits once more, for when the policy is another one than before.
    ///
    /// # Errors
    /// When the disk or the database refuses.
    pub async fn land_all_held(&self) -> Result<(), PublishError> {
        for channel in self.channels.values() {
            let mut state = channel.state.lock().await;
            self.land_held(channel, &mut state).await?;
        }
        self.tell_facts();
        Ok(())
    }

    /// Lands what waits and finds what it needs now, and says anew what the rest waits for.
    pub(super) async fn land_held(&self, channel: &Channel, state: &mut State) -> Result<(), PublishError> {
        self.end_held(channel, state).await?;
        let held = self.still_waiting(channel).await?;
        if held.is_empty() {
            return Ok(());
        }
        let gathered = gather(&state.snapshot, &self.candidates(channel, state, &held));
        for (place, unmet) in &gathered.held {
            if let Some(attempt) = held.get(*place) {
                self.note_held(channel, attempt, unmet).await?;
            }
        }
        let Some(landing) = gathered.landing else { return Ok(()) };
        let landed = gathered.landed.iter().filter_map(|place| held.get(*place));
        let group = Group::of(landing, landed.collect());
        self.carry_out(channel, state, group).await?;
        Ok(())
    }

    /// Ends what waits in vain, because something newer landed, and what landed with another attempt.
    async fn end_held(&self, channel: &Channel, state: &State) -> Result<(), PublishError> {
        for attempt in self.still_waiting(channel).await? {
            let attempt_id = attempt.order.attempt_id;
            match (land(&state.snapshot, &attempt.packages, Scope::Order(&attempt.order)), &state.current) {
                (Err(refusal), _) => {
                    tracing::warn!(attempt.id = attempt_id, reason = %refusal, "what was held back can no longer land");
                    self.ledger.refuse(attempt_id, &refusal.to_string()).await?;
                }
                (Ok(landing), Some(current)) if landing.is_unchanged() => {
                    self.ledger.land_unchanged(attempt.landing(), current.number).await?;
                }
                _ => continue,
            }
            channel.held.remove(attempt_id);
            self.forget_upload(attempt_id);
        }
        Ok(())
    }

    /// Those that wait in a channel and were not withdrawn meanwhile.
    pub(super) async fn still_waiting(&self, channel: &Channel) -> Result<Vec<Verified>, PublishError> {
        let mut waiting = Vec::new();
        for attempt in channel.held.all() {
            let attempt_id = attempt.order.attempt_id;
            match self.ledger.attempt(attempt_id).await?.map(|known| known.state) {
                Some(AttemptState::Held { .. }) => waiting.push(attempt),
                _ => drop(channel.held.remove(attempt_id)),
            }
        }
        Ok(waiting)
    }

    /// The attempts as candidates, under the policy of their channel.
    pub(super) fn candidates<'a>(
        &self,
        channel: &Channel,
        state: &State,
        attempts: &'a [Verified],
    ) -> Vec<Candidate<'a>> {
        let lands_all = match self.closure.of(&channel.name) {
            ClosurePolicy::Hold => false,
            ClosurePolicy::Auto => !state.is_closed,
            ClosurePolicy::Warn | ClosurePolicy::Allow => true,
        };
        let candidate = |attempt: &'a Verified| Candidate {
            order: &attempt.order,
            packages: &attempt.packages,
            may_land_unmet: lands_all || attempt.order.may_land_unmet,
        };
        attempts.iter().map(candidate).collect()
    }

    /// Keeps an attempt that waits, and what for. Answers it in words.
    pub(super) async fn note_held(
        &self,
        channel: &Channel,
        attempt: &Verified,
        unmet: &[Unmet],
    ) -> Result<String, PublishError> {
        let Expectation { attempt_id, task_id, source, .. } = &*attempt.order;
        let reason = remark(unmet);
        let known = self.ledger.attempt(*attempt_id).await?.map(|known| known.state);
        if known == Some(AttemptState::Held { reason: reason.clone() }) {
            return Ok(reason);
        }
        if !matches!(known, Some(AttemptState::Held { .. })) {
            // The builder drops what it has once this is known.
            let (staging, attempt_id) = (self.staging.clone(), *attempt_id);
            let failed = |source| TreeError::Disk { action: "keep what is held back", source };
            blocking(move || Ok(staging.sync(attempt_id).map_err(failed)?)).await?;
        }
        if !self.ledger.hold(*attempt_id, Some(&reason)).await? {
            return Err(PublishError::NoAttempt { attempt_id: *attempt_id });
        }
        channel.held.add(attempt.clone());
        tracing::warn!(
            channel.name = %channel.name, task.id = task_id, attempt.id = attempt_id, %source, %reason, "held back"
        );
        Ok(reason)
    }

    /// Lets held sets of a channel land whatever they need: all, or those of these sources.
    pub(super) async fn release_held(
        &self,
        channel: &str,
        sources: &[String],
    ) -> Result<Vec<HeldReport>, PublishError> {
        let channel = self.channel(channel)?;
        let mut state = channel.state.lock().await;
        let mut released = Vec::new();
        for attempt in self.chosen(channel, sources).await? {
            if self.ledger.let_land_unmet(attempt.order.attempt_id).await? {
                released.push(self.held_report(&attempt).await?);
                let order = Arc::new(Expectation { may_land_unmet: true, ..(*attempt.order).clone() });
                channel.held.add(Verified { order, ..attempt });
            }
        }
        self.land_held(channel, &mut state).await?;
        Ok(released)
    }

    /// Refuses held sets of a channel for ever.
    pub(super) async fn drop_held(
        &self,
        channel: &str,
        sources: &[String],
        by: &str,
    ) -> Result<Vec<HeldReport>, PublishError> {
        let channel = self.channel(channel)?;
        let _turn = channel.state.lock().await;
        let mut dropped = Vec::new();
        for attempt in self.chosen(channel, sources).await? {
            let report = self.held_report(&attempt).await?;
            let reason = format!("it was held back, and an operator ({by}) dropped it: {}", report.reason);
            self.ledger.refuse(report.attempt, &reason).await?;
            channel.held.remove(report.attempt);
            self.forget_upload(report.attempt);
            dropped.push(report);
        }
        Ok(dropped)
    }

    async fn chosen(&self, channel: &Channel, sources: &[String]) -> Result<Vec<Verified>, PublishError> {
        let held = self.still_waiting(channel).await?;
        if let Some(source) = sources.iter().find(|source| held.iter().all(|it| it.order.source != **source))
        {
            let (channel, name) = (channel.name.clone(), source.chars().take(120).collect());
            return Err(PublishError::NotHeld { channel, name });
        }
        let is_chosen = |it: &Verified| sources.is_empty() || sources.contains(&it.order.source);
        Ok(held.into_iter().filter(is_chosen).collect())
    }

    async fn held_report(&self, attempt: &Verified) -> Result<HeldReport, PublishError> {
        let order = &attempt.order;
        let known = self.ledger.attempt(order.attempt_id).await?.map(|known| known.state);
        let reason = match known {
            Some(AttemptState::Held { reason }) => reason,
            _ => String::new(),
        };
        Ok(report(order, reason))
    }
}

/// A held attempt for an operator.
pub(super) fn report(order: &Expectation, reason: String) -> HeldReport {
    HeldReport {
        task: order.task_id,
        attempt: order.attempt_id,
        source: order.source.clone(),
        build: order.build(),
        reason,
    }
}
