//! Attempts that land together.
//!
//! Writing a history costs the same whether one attempt lands with it or ten. So whoever has its turn takes all others
//! along that wait at this moment; they find themselves landed when their own turn comes. Each is still judged for itself,
//! on what the ones before it leave, and what cannot land holds up nobody: it is left out, and told why in its own turn.
//! What was held back before is looked at again with every group.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use store::Source;

use super::builds::StagedFile;
use super::{Base, Channel, Deed, PublishError, Publisher, State};
use crate::admission::{Landing, Package, Scope, land};
use crate::builds::{BuildFile, DebugFile};
use crate::expectation::Expectation;
use crate::gathering::gather;
use crate::ledger::{Attempt, AttemptState, LandingAttempt};
use crate::tree::Step;
use store::Sha256;

/// Attempts in one history at most: enough that nobody waits for a second turn, and few enough that a landing stays short.
const TOGETHER_MAX: usize = 64;

/// An attempt whose packages were read completely.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) order: Arc<Expectation>,
    pub(super) packages: Vec<Package>,
    /// What else belongs to the build.
    pub(super) files: Vec<BuildFile>,
    /// The debug information in the packages.
    pub(super) debug: Vec<DebugFile>,
    /// What the packages are to others.
    pub(super) output: Sha256,
}

impl Verified {
    pub(super) fn landing(&self) -> LandingAttempt {
        LandingAttempt { attempt_id: self.order.attempt_id, output: self.output }
    }
}

/// What became of an attempt in its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Committed {
    /// In this history.
    Landed(String),
    /// It waits for this.
    Held(String),
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

/// Attempts that land together.
pub(super) struct Group {
    landing: Landing,
    attempts: Vec<Verified>,
}

impl Group {
    /// `landing` is what the attempts do together.
    pub(super) fn of(landing: Landing, attempts: Vec<&Verified>) -> Self {
        Self { landing, attempts: attempts.into_iter().cloned().collect() }
    }
}

impl Publisher {
    /// Publishes a verified attempt, alone or with others, or holds it back.
    ///
    /// Run again for the same attempt it changes nothing and answers the same.
    pub(super) async fn publish_attempt(
        &self,
        channel: &Channel,
        own: Verified,
    ) -> Result<Committed, PublishError> {
        let attempt_id = own.order.attempt_id;
        channel.waiting.add(own.clone());
        let mut state = channel.state.lock().await;
        let others = channel.waiting.take_others(attempt_id);
        if let Some(history) = self.landed_in(attempt_id).await? {
            // Somebody took it along. Those that were taken from the list come by themselves.
            self.settle_pointer(channel, &mut state).await?;
            return Ok(Committed::Landed(history));
        }
        let landing = land(&state.snapshot, &own.packages, Scope::Order(&own.order))?;
        if let (true, Some(current)) = (landing.is_unchanged(), state.current.clone()) {
            self.ledger.land_unchanged(own.landing(), current.number).await?;
            self.settle_pointer(channel, &mut state).await?;
            return Ok(Committed::Landed(current.id));
        }
        (self.reached)(Step::Decided);
        let committed = self.land_together(channel, &mut state, &own, &others).await?;
        if let Committed::Landed(_) = committed {
            self.land_held(channel, &mut state).await?;
        }
        drop(state);
        self.tell_facts();
        Ok(committed)
    }

    async fn land_together(
        &self,
        channel: &Channel,
        state: &mut State,
        own: &Verified,
        others: &[Verified],
    ) -> Result<Committed, PublishError> {
        let mut attempts = vec![own.clone()];
        attempts.extend(self.still_expected(others).await?.into_iter().cloned());
        attempts.extend(self.still_waiting(channel).await?);
        let gathered = gather(&state.snapshot, &self.candidates(channel, state, &attempts));
        // The own one is the first.
        if let Some(unmet) = gathered.held.get(&0) {
            return Ok(Committed::Held(self.note_held(channel, own, unmet).await?));
        }
        let landed: Vec<&Verified> =
            gathered.landed.iter().filter_map(|place| attempts.get(*place)).collect();
        let together = landed.len() > 1;
        let Some(landing) = gathered.landing else {
            return Err(PublishError::StreamMoved { channel: channel.name.clone() });
        };
        let history = match self.carry_out(channel, state, Group::of(landing, landed)).await {
            // One of the others may be the reason; they come by themselves.
            Err(error) if together => {
                let attempt_id = own.order.attempt_id;
                let reason = fault::chain(&error).join(": ");
                tracing::warn!(attempt.id = attempt_id, %reason, "cannot land with others; landing alone");
                if let Some(history) = self.landed_in(attempt_id).await? {
                    self.settle_pointer(channel, state).await?;
                    return Ok(Committed::Landed(history));
                }
                let alone =
                    gather(&state.snapshot, &self.candidates(channel, state, std::slice::from_ref(own)));
                // What it needs may be among the others, which could not land.
                let Some(landing) = alone.landing else { return Err(error) };
                self.carry_out(channel, state, Group::of(landing, vec![own])).await?
            }
            result => result?,
        };
        Ok(Committed::Landed(history))
    }

    pub(super) async fn carry_out(
        &self,
        channel: &Channel,
        state: &mut State,
        group: Group,
    ) -> Result<String, PublishError> {
        let Group { landing, attempts } = group;
        let mut brought_by: HashMap<Sha256, u64> = HashMap::new();
        let mut deed = Deed::of_operator(Base::volatile(state, "landing"), landing);
        for attempt in &attempts {
            let attempt_id = attempt.order.attempt_id;
            deed.attempts.push(attempt.landing());
            for package in &attempt.packages {
                brought_by.entry(package.sha256).or_insert(attempt_id);
            }
            let staged = |file: &BuildFile| StagedFile {
                file: file.clone(),
                from: Source::File(self.staging.complete(attempt_id, file.sha256)),
            };
            deed.files.extend(attempt.files.iter().map(staged));
            deed.debug.extend(attempt.debug.iter().cloned());
        }
        let first = attempts.first().map(|attempt| attempt.order.attempt_id).unwrap_or_default();
        let staged = |package: &Package| {
            let attempt_id = brought_by.get(&package.sha256).copied().unwrap_or(first);
            Source::File(self.staging.complete(attempt_id, package.sha256))
        };
        let history = self.act(channel, state, deed, staged).await?.history;
        for attempt in &attempts {
            // Whoever waited has nobody who comes and clears up.
            if channel.held.remove(attempt.order.attempt_id) {
                self.forget_upload(attempt.order.attempt_id);
            }
        }
        Ok(history)
    }

    /// The history of an attempt that has landed.
    async fn landed_in(&self, attempt_id: u64) -> Result<Option<String>, PublishError> {
        Ok(match self.ledger.attempt(attempt_id).await? {
            Some(Attempt { state: AttemptState::Landed { history, .. }, .. }) => Some(history),
            _ => None,
        })
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
