//! Attempts that land together.
//!
//! Writing a history costs the same whether one attempt lands with it or ten. So whoever has its turn takes all others
//! along that wait at this moment; they find themselves landed when their own turn comes. Each is still judged for itself,
//! on what the ones before it leave, and what cannot land holds up nobody: it is left out, and told why in its own turn.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use store::Source;

use super::{Base, Channel, PublishError, Publisher, State};
use crate::admission::{Landing, Package, Scope, land};
use crate::expectation::Expectation;
use crate::ledger::{Attempt, AttemptState};
use crate::tree::Step;
use store::Sha256;

/// Attempts in one history at most: enough that nobody waits for a second turn, and few enough that a landing stays short.
const TOGETHER_MAX: usize = 64;

/// An attempt whose packages were read completely.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) order: Arc<Expectation>,
    pub(super) packages: Vec<Package>,
}

/// Attempts that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Vec<Verified>>);

impl Waiting {
    fn add(&self, attempt: Verified) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Those that wait, without the one whose turn it is.
    fn take_others(&self, own: u64) -> Vec<Verified> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|attempt| attempt.order.attempt_id != own);
        let count = waiting.len().min(TOGETHER_MAX - 1);
        waiting.drain(..count).collect()
    }
}

/// Several landings, one on top of the other.
struct Group {
    landing: Landing,
    attempts: Vec<u64>,
    /// Which attempt brought a file.
    brought_by: HashMap<Sha256, u64>,
}

impl Group {
    fn new(first: &Verified, landing: Landing) -> Self {
        let mut group = Self { landing, attempts: Vec::new(), brought_by: HashMap::new() };
        group.note(first);
        group
    }

    fn note(&mut self, attempt: &Verified) {
        let attempt_id = attempt.order.attempt_id;
        self.attempts.push(attempt_id);
        for package in &attempt.packages {
            self.brought_by.entry(package.sha256).or_insert(attempt_id);
        }
    }

    /// Takes along what can land on top. What changes nothing needs no history of its own, and none of ours.
    fn take_along(mut self, attempt: &Verified) -> Self {
        match land(&self.landing.snapshot, &attempt.packages, Scope::Order(&attempt.order)) {
            Ok(landing) if !landing.is_unchanged() => {
                self.landing = self.landing.and(landing);
                self.note(attempt);
                self
            }
            Ok(_) | Err(_) => self,
        }
    }
}

impl Publisher {
    /// Publishes a verified attempt, alone or with others; the history that has it.
    ///
    /// Run again for the same attempt it changes nothing and answers the same.
    pub(super) async fn publish_attempt(
        &self,
        channel: &Channel,
        own: Verified,
    ) -> Result<String, PublishError> {
        let attempt_id = own.order.attempt_id;
        channel.waiting.add(own.clone());
        let mut state = channel.state.lock().await;
        let others = channel.waiting.take_others(attempt_id);
        if let Some(Attempt { state: AttemptState::Landed { history, .. }, .. }) =
            self.ledger.attempt(attempt_id).await?
        {
            // Somebody took it along. Those that were taken from the list come by themselves.
            self.settle_pointer(channel, &mut state).await?;
            return Ok(history);
        }
        let landing = land(&state.snapshot, &own.packages, Scope::Order(&own.order))?;
        if let (true, Some(current)) = (landing.is_unchanged(), state.current.clone()) {
            self.ledger.land_unchanged(attempt_id, current.number).await?;
            self.settle_pointer(channel, &mut state).await?;
            return Ok(current.id);
        }
        (self.reached)(Step::Decided);
        let alone = Group::new(&own, landing);
        let history = self.land_group(channel, &mut state, &own, alone, &others).await?;
        drop(state);
        self.tell_facts();
        Ok(history)
    }

    async fn land_group(
        &self,
        channel: &Channel,
        state: &mut State,
        own: &Verified,
        alone: Group,
        others: &[Verified],
    ) -> Result<String, PublishError> {
        let mut group = alone;
        for other in self.still_expected(others).await? {
            group = group.take_along(other);
        }
        let together = group.attempts.len() > 1;
        match self.carry_out(channel, state, group).await {
            // One of the others may be the reason; they come by themselves.
            Err(error) if together => {
                let attempt_id = own.order.attempt_id;
                let reason = fault::chain(&error).join(": ");
                tracing::warn!(attempt.id = attempt_id, %reason, "cannot land with others; landing alone");
                if let Some(Attempt { state: AttemptState::Landed { history, .. }, .. }) =
                    self.ledger.attempt(attempt_id).await?
                {
                    self.settle_pointer(channel, state).await?;
                    return Ok(history);
                }
                let landing = land(&state.snapshot, &own.packages, Scope::Order(&own.order))?;
                self.carry_out(channel, state, Group::new(own, landing)).await
            }
            result => result,
        }
    }

    async fn carry_out(
        &self,
        channel: &Channel,
        state: &mut State,
        group: Group,
    ) -> Result<String, PublishError> {
        let Group { landing, attempts, brought_by } = group;
        let first = attempts.first().copied().unwrap_or_default();
        let staged = |package: &Package| {
            let attempt_id = brought_by.get(&package.sha256).copied().unwrap_or(first);
            Source::File(self.staging.complete(attempt_id, package.sha256))
        };
        let base = Base::volatile(state, "landing");
        Ok(self.act(channel, state, base, landing, attempts.clone(), staged).await?.history)
    }

    /// Those of the attempts that were neither withdrawn nor landed meanwhile; each once.
    async fn still_expected<'a>(&self, attempts: &'a [Verified]) -> Result<Vec<&'a Verified>, PublishError> {
        let mut seen = HashSet::new();
        let mut expected = Vec::new();
        for attempt in attempts {
            let known = self.ledger.attempt(attempt.order.attempt_id).await?;
            let is_expected = known.is_some_and(|known| known.state == AttemptState::Expected);
            if is_expected && seen.insert(attempt.order.attempt_id) {
                expected.push(attempt);
            }
        }
        Ok(expected)
    }
}
