//! What the agent holds and what it does next: a pure machine.
//!
//! Everything that happens is an [`Event`]; [`Ledger::handle`] changes the ledger and gives the [`Effect`]s to carry
//! out, in order. Logs are sent one piece at a time: the next piece begins where Summit says that the last one ended,
//! so no byte is lost or doubled however often the connection breaks. A piece that nobody acknowledges is sent again after
//! some beats. The end of an attempt is told after all of its
//! log, and told again after each reconnection until Summit answers.

use std::collections::BTreeMap;

use crate::order::{AttemptId, LeaseToken, Order};
use crate::outcome::{Artefact, Built, Failure, FailureClass, Outcome};
use crate::store::{Found, Survivor};

/// Beats after which a piece of log that was not acknowledged is sent again: Summit could not store it, and says nothing
/// then. Acknowledgements normally take milliseconds.
const BEATS_UNTIL_RESENT: u32 = 3;

/// Where and to whom to bring what was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadTarget {
    pub(crate) vessel_address: String,
    pub(crate) vessel_key: String,
}

/// Summit's word about an attempt of our Hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) id: AttemptId,
    pub(crate) keep: bool,
    pub(crate) log_offset: u64,
}

/// Why an order cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) reason: String,
    /// Nothing is wrong with the machine.
    pub(crate) busy: bool,
}

#[derive(Debug)]
pub(crate) enum Event {
    /// Summit has answered our Hello.
    Attached(Vec<Verdict>),
    Detached,
    /// `host` says why this machine cannot take it, if so.
    Ordered {
        order: Order,
        host: Result<(), Unfit>,
    },
    /// An order could not be begun after all.
    NotBegun {
        id: AttemptId,
        reason: String,
    },
    LogAcknowledged {
        id: AttemptId,
        offset: u64,
        full: bool,
    },
    LogGrew {
        id: AttemptId,
        size_bytes: u64,
    },
    BuildEnded {
        id: AttemptId,
        outcome: Outcome,
        log_size_bytes: u64,
    },
    UploadWanted {
        id: AttemptId,
        target: UploadTarget,
    },
    UploadEnded {
        id: AttemptId,
        result: Result<String, Failure>,
    },
    Cancelled(AttemptId),
    Released(AttemptId),
    /// Some seconds have passed.
    Beat,
    /// The agent is ending.
    Stopping,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Tell(Report),
    /// Send a piece of the log that begins at `offset`.
    SendLog {
        id: AttemptId,
        lease_token: LeaseToken,
        offset: u64,
    },
    /// Lay the attempt out on disk and start it; then tell Started, or come back with [`Event::NotBegun`].
    Begin(Order),
    /// End a build. `unwanted`: Summit does not want it, rather than us ending.
    Kill {
        id: AttemptId,
        unwanted: bool,
    },
    /// Make durable how the attempt stands.
    Keep {
        id: AttemptId,
        standing: Standing,
    },
    Delete(AttemptId),
    Upload {
        id: AttemptId,
        target: UploadTarget,
        artefacts: Vec<Artefact>,
    },
    StopUpload(AttemptId),
}

/// What Summit is told about an attempt, under its lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) id: AttemptId,
    pub(crate) lease_token: LeaseToken,
    pub(crate) word: Word,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Started,
    Refused { reason: String, busy: bool },
    Built(Built),
    Failed(Failure),
    Published { history: String },
}

/// How an attempt that is not building stands; this is what survives the agent.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Standing {
    Built(Built),
    Failed { failure: Failure },
    Published { history: String },
}

/// An attempt as Hello and Heartbeat tell of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) id: AttemptId,
    pub(crate) lease_token: LeaseToken,
    pub(crate) state: HeldState,
    pub(crate) log_size_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeldState {
    Building,
    Built,
    Uploading,
    Failed,
}

#[derive(Debug)]
enum Phase {
    Building,
    /// Killed, and not ended yet; what was built meanwhile is not wanted.
    Ending(After),
    Standing(Standing),
    Uploading {
        artefacts: Vec<Artefact>,
        target: UploadTarget,
    },
}

/// What to do with an attempt whose build was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Report,
    Delete,
}

#[derive(Debug)]
struct Attempt {
    lease_token: LeaseToken,
    phase: Phase,
    log: LogCursor,
    /// Whether the end was told since the connection stands.
    told: bool,
}

#[derive(Debug, Default)]
struct LogCursor {
    size_bytes: u64,
    acknowledged_bytes: u64,
    /// A piece was sent and is not acknowledged, for so many beats.
    in_flight: Option<u32>,
    /// Summit takes no more of it.
    full: bool,
}

impl LogCursor {
    fn is_done(&self) -> bool {
        self.full || self.acknowledged_bytes >= self.size_bytes
    }
}

#[derive(Debug)]
pub(crate) struct Ledger {
    attempts: BTreeMap<AttemptId, Attempt>,
    slots: usize,
    attached: bool,
    stopping: bool,
}

impl Ledger {
    /// A ledger of an agent that builds `slots` recipes at once and has these attempts from before. What was not begun,
    /// and what ended without it, counts as building until the agent says that it ended.
    pub(crate) fn new(slots: usize, survivors: &[Survivor]) -> Ledger {
        let attempts = survivors.iter().map(|survivor| {
            let Survivor { order, found, log_size_bytes } = survivor;
            let log = LogCursor { size_bytes: *log_size_bytes, ..LogCursor::default() };
            let phase = match found {
                Found::Standing(standing) => Phase::Standing(standing.clone()),
                Found::Building | Found::NotBegun | Found::Ended(_) => Phase::Building,
            };
            (order.attempt_id, Attempt { lease_token: order.lease_token, phase, log, told: false })
        });
        Ledger { attempts: attempts.collect(), slots, attached: false, stopping: false }
    }

    /// Everything of which something is still kept.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.attempts
            .iter()
            .filter_map(|(id, attempt)| {
                let state = match &attempt.phase {
                    Phase::Building | Phase::Ending(After::Report) => HeldState::Building,
                    Phase::Ending(After::Delete) => return None,
                    Phase::Standing(Standing::Built(_)) => HeldState::Built,
                    Phase::Standing(Standing::Failed { .. }) => HeldState::Failed,
                    Phase::Standing(Standing::Published { .. }) | Phase::Uploading { .. } => {
                        HeldState::Uploading
                    }
                };
                let log_size_bytes = attempt.log.size_bytes;
                Some(Held { id: *id, lease_token: attempt.lease_token, state, log_size_bytes })
            })
            .collect()
    }

    /// How many builds run.
    pub(crate) fn building(&self) -> usize {
        let runs = |attempt: &&Attempt| matches!(attempt.phase, Phase::Building | Phase::Ending(_));
        self.attempts.values().filter(runs).count()
    }

    pub(crate) fn handle(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Attached(verdicts) => self.attach(&verdicts, &mut effects),
            Event::Detached => self.attached = false,
            Event::Ordered { order, host } => self.order(order, host, &mut effects),
            Event::NotBegun { id, reason } => {
                if let Some(attempt) = self.attempts.remove(&id) {
                    effects.push(Effect::Delete(id));
                    effects.push(tell(id, attempt.lease_token, Word::Refused { reason, busy: false }));
                }
            }
            Event::LogAcknowledged { id, offset, full } => {
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    attempt.log.in_flight = None;
                    attempt.log.full |= full;
                    // A Summit that claims more than there is would make the end never come.
                    attempt.log.acknowledged_bytes = offset.min(attempt.log.size_bytes);
                    self.go_on(id, &mut effects);
                }
            }
            Event::LogGrew { id, size_bytes } => {
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    attempt.log.size_bytes = attempt.log.size_bytes.max(size_bytes);
                    self.go_on(id, &mut effects);
                }
            }
            Event::BuildEnded { id, outcome, log_size_bytes } => {
                self.build_ended(id, outcome, log_size_bytes, &mut effects);
            }
            Event::UploadWanted { id, target } => self.upload(id, target, &mut effects),
            Event::UploadEnded { id, result } => self.upload_ended(id, result, &mut effects),
            Event::Cancelled(id) => self.cancel(id, &mut effects),
            Event::Released(id) => self.forget(id, &mut effects),
            Event::Beat => self.beat(&mut effects),
            Event::Stopping => self.stop(&mut effects),
        }
        effects
    }

    fn attach(&mut self, verdicts: &[Verdict], effects: &mut Vec<Effect>) {
        self.attached = true;
        for attempt in self.attempts.values_mut() {
            attempt.told = false;
            attempt.log.in_flight = None;
        }
        for verdict in verdicts {
            if !verdict.keep {
                self.forget(verdict.id, effects);
            } else if let Some(attempt) = self.attempts.get_mut(&verdict.id) {
                attempt.log.acknowledged_bytes = verdict.log_offset.min(attempt.log.size_bytes);
            }
        }
        for (id, attempt) in &self.attempts {
            if matches!(attempt.phase, Phase::Building) {
                // The connection may have broken between the order and the first word about it.
                effects.push(tell(*id, attempt.lease_token, Word::Started));
            }
        }
        self.go_on_with_all(effects);
    }

    fn beat(&mut self, effects: &mut Vec<Effect>) {
        for attempt in self.attempts.values_mut() {
            attempt.log.in_flight =
                attempt.log.in_flight.map(|beats| beats + 1).filter(|beats| *beats < BEATS_UNTIL_RESENT);
        }
        self.go_on_with_all(effects);
    }

    fn go_on_with_all(&mut self, effects: &mut Vec<Effect>) {
        let ids: Vec<AttemptId> = self.attempts.keys().copied().collect();
        for id in ids {
            self.go_on(id, effects);
        }
    }

    fn order(&mut self, order: Order, host: Result<(), Unfit>, effects: &mut Vec<Effect>) {
        let (id, lease_token) = (order.attempt_id, order.lease_token);
        if let Some(attempt) = self.attempts.get(&id) {
            // The same order again: the answer to the first one was lost.
            let word = if attempt.lease_token == lease_token {
                Word::Started
            } else {
                let reason = format!("attempt {id} is held here under another lease");
                Word::Refused { reason, busy: false }
            };
            effects.push(tell(id, lease_token, word));
            return;
        }
        let busy = |reason: String| Err(Unfit { reason, busy: true });
        let fit = if self.stopping {
            busy("this builder is shutting down".to_owned())
        } else if self.building() >= self.slots {
            busy(format!("all {} slots of this builder are taken", self.slots))
        } else {
            host
        };
        match fit {
            Err(Unfit { reason, busy }) => {
                effects.push(tell(id, lease_token, Word::Refused { reason, busy }));
            }
            Ok(()) => {
                let attempt =
                    Attempt { lease_token, phase: Phase::Building, log: LogCursor::default(), told: false };
                self.attempts.insert(id, attempt);
                effects.push(Effect::Begin(order));
            }
        }
    }

    fn build_ended(
        &mut self,
        id: AttemptId,
        outcome: Outcome,
        log_size_bytes: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        attempt.log.size_bytes = attempt.log.size_bytes.max(log_size_bytes);
        let standing = match (&attempt.phase, outcome) {
            (Phase::Ending(After::Delete), _) => {
                self.attempts.remove(&id);
                effects.push(Effect::Delete(id));
                return;
            }
            (Phase::Ending(After::Report), outcome) => Standing::Failed { failure: cancelled_at(&outcome) },
            (Phase::Building, Outcome::Built(built)) => Standing::Built(built),
            (Phase::Building, Outcome::Failed(failure)) => Standing::Failed { failure },
            (Phase::Standing(_) | Phase::Uploading { .. }, _) => return,
        };
        effects.push(Effect::Keep { id, standing: standing.clone() });
        attempt.phase = Phase::Standing(standing);
        self.go_on(id, effects);
    }

    fn upload(&mut self, id: AttemptId, target: UploadTarget, effects: &mut Vec<Effect>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let artefacts = match &attempt.phase {
            Phase::Standing(Standing::Built(built)) => built.artefacts.clone(),
            Phase::Uploading { target: current, .. } if *current == target => return,
            Phase::Uploading { artefacts, .. } => {
                effects.push(Effect::StopUpload(id));
                artefacts.clone()
            }
            Phase::Building | Phase::Ending(_) | Phase::Standing(_) => return,
        };
        effects.push(Effect::Upload { id, target: target.clone(), artefacts: artefacts.clone() });
        attempt.phase = Phase::Uploading { artefacts, target };
    }

    fn upload_ended(&mut self, id: AttemptId, result: Result<String, Failure>, effects: &mut Vec<Effect>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        if !matches!(attempt.phase, Phase::Uploading { .. }) {
            return;
        }
        let standing = match result {
            Ok(history) => Standing::Published { history },
            Err(failure) => Standing::Failed { failure },
        };
        effects.push(Effect::Keep { id, standing: standing.clone() });
        attempt.phase = Phase::Standing(standing);
        attempt.told = false;
        self.go_on(id, effects);
    }

    fn cancel(&mut self, id: AttemptId, effects: &mut Vec<Effect>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        match &attempt.phase {
            Phase::Building => {
                attempt.phase = Phase::Ending(After::Report);
                effects.push(Effect::Kill { id, unwanted: true });
                return;
            }
            Phase::Ending(_) => return,
            Phase::Uploading { .. } => effects.push(Effect::StopUpload(id)),
            Phase::Standing(Standing::Built(_)) => {}
            // It has ended already; Summit hears how, again.
            Phase::Standing(Standing::Failed { .. } | Standing::Published { .. }) => {
                attempt.told = false;
                self.go_on(id, effects);
                return;
            }
        }
        let standing = Standing::Failed { failure: cancelled() };
        effects.push(Effect::Keep { id, standing: standing.clone() });
        attempt.phase = Phase::Standing(standing);
        attempt.told = false;
        self.go_on(id, effects);
    }

    fn forget(&mut self, id: AttemptId, effects: &mut Vec<Effect>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        match attempt.phase {
            Phase::Building => {
                attempt.phase = Phase::Ending(After::Delete);
                effects.push(Effect::Kill { id, unwanted: true });
                return;
            }
            Phase::Ending(_) => {
                attempt.phase = Phase::Ending(After::Delete);
                return;
            }
            Phase::Uploading { .. } => effects.push(Effect::StopUpload(id)),
            Phase::Standing(_) => {}
        }
        self.attempts.remove(&id);
        effects.push(Effect::Delete(id));
    }

    fn stop(&mut self, effects: &mut Vec<Effect>) {
        self.stopping = true;
        for (id, attempt) in &mut self.attempts {
            match attempt.phase {
                Phase::Building | Phase::Ending(_) => {
                    attempt.phase = Phase::Ending(After::Delete);
                    effects.push(Effect::Kill { id: *id, unwanted: false });
                }
                Phase::Uploading { .. } => effects.push(Effect::StopUpload(*id)),
                Phase::Standing(_) => {}
            }
        }
    }

    /// Sends the next piece of the log, or after all of it tells the end.
    fn go_on(&mut self, id: AttemptId, effects: &mut Vec<Effect>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        if !self.attached
            || attempt.log.in_flight.is_some()
            || matches!(attempt.phase, Phase::Ending(After::Delete))
        {
            return;
        }
        let lease_token = attempt.lease_token;
        if !attempt.log.is_done() {
            attempt.log.in_flight = Some(0);
            effects.push(Effect::SendLog { id, lease_token, offset: attempt.log.acknowledged_bytes });
            return;
        }
        let Phase::Standing(standing) = &attempt.phase else { return };
        if attempt.told {
            return;
        }
        attempt.told = true;
        let word = match standing {
            Standing::Built(built) => Word::Built(built.clone()),
            Standing::Failed { failure } => Word::Failed(failure.clone()),
            Standing::Published { history } => Word::Published { history: history.clone() },
        };
        effects.push(tell(id, lease_token, word));
    }
}

fn tell(id: AttemptId, lease_token: LeaseToken, word: Word) -> Effect {
    Effect::Tell(Report { id, lease_token, word })
}

/// A build that was cancelled while it ran, and needed so much memory until then.
fn cancelled_at(outcome: &Outcome) -> Failure {
    cancelled().with_peak(match outcome {
        Outcome::Built(built) => built.peak_memory_bytes,
        Outcome::Failed(failure) => failure.peak_memory_bytes,
    })
}

fn cancelled() -> Failure {
    Failure::new(FailureClass::Cancelled, "", "the build was cancelled")
}

#[cfg(test)]
mod tests;
