//! The life of a task.
//!
//! A state owns everything that is true in it. One function, [`step`], says what an event makes of it; a refusal
//! changes nothing. A running task is a lease: reports count only with the claim (builder, attempt, token) of the
//! lease that runs. A lease that ran out is *lost*; lost attempts and faults of the farm are tried again, a limited
//! number of times, and are never charged to the recipe.
//!
//! What takes far too long may be begun a second time on another builder: a [`Twin`], with a claim of its own. The first
//! of the two that has built it goes on to be published, and the other is stopped. A failure that may be the machine's
//! ([`FailureClass::may_be_the_machine`]) leaves the other one running; a failure of the recipe would only be repeated,
//! so it ends both. Tries are counted as if there had been one attempt after the other.
//!
//! Effects are what the caller should do next. Each can be read from the state as well, so a caller that was killed
//! before it did them finds them again.

use std::time::Duration;

use fault::{Fault, Kind};
use serde::{Deserialize, Serialize};

use crate::failure::FailureClass;
use crate::ids::{AttemptId, BuilderId, LeaseToken, TaskId};
use crate::moment::Moment;
use crate::queue::{Blocker, Readiness};

/// Attempts in a row that the farm may lose before a person has to look.
pub const FAULTS_MAX: u32 = 4;

/// The first rest after an attempt that the farm lost; the next ones are four times as long each.
const REST_FIRST: Duration = Duration::from_secs(2);

/// What the farm did wrong with a task since it was last begun afresh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// Attempts in a row that were lost or broken by the farm.
    pub faults: u32,
    /// Not to be started before.
    pub not_before: Moment,
    /// Who had the last of them.
    pub avoid: Option<BuilderId>,
}

/// The right to build a task for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who has it, for which attempt, with which token.
    #[serde(flatten)]
    pub claim: Claim,
    /// When it runs out unless it is renewed.
    pub until: Moment,
    /// The tries before.
    pub tries: Tries,
}

/// What a report has to carry to count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The builder, by the key of its connection.
    pub builder: BuilderId,
    /// The attempt.
    pub attempt: AttemptId,
    /// The token of the lease.
    pub token: LeaseToken,
}

/// A second attempt at a build that takes too long, beside the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Twin {
    /// Who has it, for which attempt, with which token.
    #[serde(flatten)]
    pub claim: Claim,
    /// When its lease runs out unless it is renewed.
    pub until: Moment,
    /// Since when it builds; none while it was only told to.
    pub since: Option<Moment>,
}

/// What kind of file an artefact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtefactKind {
    /// A `.stone` package.
    Package,
    /// `manifest.ARCH.bin`
    ManifestBinary,
    /// `manifest.ARCH.jsonc`
    ManifestJson,
    /// The build record.
    Record,
}

/// One file that a build yielded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    /// What it is.
    pub kind: ArtefactKind,
    /// File name without any folder.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Where a task stands, and all that is true there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum State {
    /// Other tasks have to be published first, or it was not judged yet.
    Waiting {
        /// The tries before.
        tries: Tries,
    },
    /// It cannot start until somebody does something.
    Blocked {
        /// About these.
        by: Vec<Blocker>,
        /// The tries before.
        tries: Tries,
    },
    /// A builder may take it.
    Ready {
        /// Since then.
        since: Moment,
        /// The tries before.
        tries: Tries,
    },
    /// A builder was told to build it, and has not said that it does.
    Leased {
        /// The lease.
        lease: Lease,
    },
    /// A builder builds it.
    Building {
        /// The lease.
        lease: Lease,
        /// Since then.
        since: Moment,
        /// The second attempt, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        twin: Option<Twin>,
    },
    /// It was built and is on its way into the repository.
    Publishing {
        /// The lease.
        lease: Lease,
        /// What was built.
        artefacts: Vec<Artefact>,
        /// Since then.
        since: Moment,
    },
    /// The repository has it. Final.
    Published {
        /// The attempt that built it.
        attempt: AttemptId,
        /// The first history that has it.
        history: String,
    },
    /// It came to nothing, and somebody should look.
    Failed {
        /// The last attempt.
        attempt: AttemptId,
        /// Why.
        class: FailureClass,
        /// Why, in a line.
        message: String,
        /// In which part of the build; empty when none had begun.
        during: String,
    },
    /// Somebody stopped it.
    Cancelled {
        /// Why, in a line.
        why: String,
    },
    /// A later task of the same recipe took its place. Final.
    Superseded {
        /// That task; none when the recipe asks for nothing any more.
        by: Option<TaskId>,
    },
}

/// The name of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// See [`State::Waiting`].
    Waiting,
    /// See [`State::Blocked`].
    Blocked,
    /// See [`State::Ready`].
    Ready,
    /// See [`State::Leased`].
    Leased,
    /// See [`State::Building`].
    Building,
    /// See [`State::Publishing`].
    Publishing,
    /// See [`State::Published`].
    Published,
    /// See [`State::Failed`].
    Failed,
    /// See [`State::Cancelled`].
    Cancelled,
    /// See [`State::Superseded`].
    Superseded,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// What it waits for was looked at.
    Judged {
        /// The answer.
        readiness: Readiness,
    },
    /// A builder is to build it.
    Assigned {
        /// The new lease's claim.
        claim: Claim,
        /// When the lease runs out.
        until: Moment,
    },
    /// A second builder is told to build it as well.
    TwinAssigned {
        /// The claim of the second attempt.
        claim: Claim,
        /// When its lease runs out.
        until: Moment,
    },
    /// The builder builds.
    Started {
        /// Its claim.
        claim: Claim,
    },
    /// The builder was heard of.
    Renewed {
        /// Its claim.
        claim: Claim,
        /// When the lease runs out now.
        until: Moment,
    },
    /// The builder does not take it on.
    Declined {
        /// Its claim.
        claim: Claim,
        /// Why.
        reason: String,
    },
    /// The build yielded these files.
    Built {
        /// The builder's claim.
        claim: Claim,
        /// The files.
        artefacts: Vec<Artefact>,
    },
    /// The build came to nothing.
    Broke {
        /// The builder's claim.
        claim: Claim,
        /// Why.
        class: FailureClass,
        /// Why, in a line.
        message: String,
        /// In which part of the build.
        during: String,
    },
    /// Nothing was heard of the builder.
    Expired {
        /// The claim whose time is over.
        claim: Claim,
    },
    /// The repository has published the files of an attempt.
    Landed {
        /// The attempt.
        attempt: AttemptId,
        /// The history that has them.
        history: String,
    },
    /// The repository does not take the files of an attempt.
    Rejected {
        /// The attempt.
        attempt: AttemptId,
        /// Why.
        reason: String,
    },
    /// A person wants it tried again.
    RetryAsked,
    /// A person wants it stopped.
    CancelAsked {
        /// Why.
        why: String,
    },
    /// Another task takes its place, or its recipe asks for nothing any more.
    Replaced {
        /// That task.
        by: Option<TaskId>,
    },
}

/// What is to be done after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send the order to the builder.
    SendOrder(Claim),
    /// Tell the repository what to expect, then the builder to upload it.
    ExpectUpload(Claim),
    /// Tell the builder to stop.
    StopBuild(Claim),
    /// Tell the repository to forget the attempt.
    Withdraw(AttemptId),
    /// Tell the builder that it may delete the files of the attempt.
    Release(Claim),
    /// Judge the tasks that need this one.
    JudgeDependents,
}

/// What an event makes of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The state afterwards.
    pub next: State,
    /// What is to be done.
    pub effects: Vec<Effect>,
}

/// Why an event changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state knows no such event.
    #[error("cannot {verb} a task that is {phase}")]
    WrongPhase {
        /// What was wanted.
        verb: &'static str,
        /// Where the task stands.
        phase: Phase,
    },
    /// The claim is not that of the lease that runs.
    #[error("cannot {verb} the task: attempt {attempt} does not hold it")]
    NotHolder {
        /// What was wanted.
        verb: &'static str,
        /// The attempt that claims it.
        attempt: AttemptId,
    },
    /// The builder has it already.
    #[error("cannot {verb} the task: that builder has it already")]
    SameBuilder {
        /// What was wanted.
        verb: &'static str,
    },
    /// It is too early for that.
    #[error("cannot {verb} the task yet")]
    TooEarly {
        /// What was wanted.
        verb: &'static str,
        /// When it can be done.
        until: Moment,
    },
    /// It is so already.
    #[error("cannot {verb} the task: that is so already")]
    Unchanged {
        /// What was wanted.
        verb: &'static str,
    },
}

impl Fault for Refusal {
    fn kind(&self) -> Kind {
        match self {
            Refusal::NotHolder { .. } => Kind::Denied,
            Refusal::WrongPhase { .. }
            | Refusal::SameBuilder { .. }
            | Refusal::TooEarly { .. }
            | Refusal::Unchanged { .. } => Kind::Conflict,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Refusal::WrongPhase { verb: "retry", .. } => {
                vec!["only failed and cancelled tasks are tried again; blocked ones go on when what blocks them does".into()]
            }
            Refusal::WrongPhase { verb: "cancel", .. } => {
                vec!["only tasks that have not been built can be cancelled".into()]
            }
            _ => Vec::new(),
        }
    }
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 10] = [
        Phase::Waiting,
        Phase::Blocked,
        Phase::Ready,
        Phase::Leased,
        Phase::Building,
        Phase::Publishing,
        Phase::Published,
        Phase::Failed,
        Phase::Cancelled,
        Phase::Superseded,
    ];

    /// Its name in messages, addresses and the database.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::Blocked => "blocked",
            Phase::Ready => "ready",
            Phase::Leased => "leased",
            Phase::Building => "building",
            Phase::Publishing => "publishing",
            Phase::Published => "published",
            Phase::Failed => "failed",
            Phase::Cancelled => "cancelled",
            Phase::Superseded => "superseded",
        }
    }

    /// The phase of this name.
    #[must_use]
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.keyword() == keyword)
    }

    /// No builder has it, and one may get it.
    #[must_use]
    pub fn is_queued(self) -> bool {
        matches!(self, Phase::Waiting | Phase::Blocked | Phase::Ready)
    }

    /// A builder has it.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Phase::Leased | Phase::Building | Phase::Publishing)
    }

    /// Something will still happen by itself, or would if it were not blocked.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.is_queued() || self.is_running()
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.keyword())
    }
}

impl State {
    /// A task that was just made.
    #[must_use]
    pub fn new() -> Self {
        State::Waiting { tries: Tries::default() }
    }

    /// Its name.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            State::Waiting { .. } => Phase::Waiting,
            State::Blocked { .. } => Phase::Blocked,
            State::Ready { .. } => Phase::Ready,
            State::Leased { .. } => Phase::Leased,
            State::Building { .. } => Phase::Building,
            State::Publishing { .. } => Phase::Publishing,
            State::Published { .. } => Phase::Published,
            State::Failed { .. } => Phase::Failed,
            State::Cancelled { .. } => Phase::Cancelled,
            State::Superseded { .. } => Phase::Superseded,
        }
    }

    /// The lease that runs.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match self {
            State::Leased { lease } | State::Building { lease, .. } | State::Publishing { lease, .. } => {
                Some(lease)
            }
            _ => None,
        }
    }

    /// The second attempt, where there is one.
    #[must_use]
    pub fn twin(&self) -> Option<&Twin> {
        match self {
            State::Building { twin, .. } => twin.as_ref(),
            _ => None,
        }
    }

    /// Every claim that may report now, with the end of its lease: none, one, or that of the twin as well.
    pub fn claims(&self) -> impl Iterator<Item = (&Claim, Moment)> {
        let first = self.lease().map(|lease| (&lease.claim, lease.until));
        first.into_iter().chain(self.twin().map(|twin| (&twin.claim, twin.until)))
    }

    /// What the farm did wrong with it since it was last begun afresh; none when it is not queued.
    #[must_use]
    pub fn tries(&self) -> Option<&Tries> {
        match self {
            State::Waiting { tries } | State::Blocked { tries, .. } | State::Ready { tries, .. } => {
                Some(tries)
            }
            _ => None,
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl Event {
    /// What it wants to do to a task, for messages and the journal.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Event::Judged { .. } => "judge",
            Event::Assigned { .. } => "assign",
            Event::TwinAssigned { .. } => "start a second time",
            Event::Started { .. } => "start",
            Event::Renewed { .. } => "renew",
            Event::Declined { .. } => "decline",
            Event::Built { .. } => "finish",
            Event::Broke { .. } => "fail",
            Event::Expired { .. } => "expire",
            Event::Landed { .. } => "publish",
            Event::Rejected { .. } => "reject",
            Event::RetryAsked => "retry",
            Event::CancelAsked { .. } => "cancel",
            Event::Replaced { .. } => "replace",
        }
    }

    /// The claim that it comes with.
    #[must_use]
    pub fn claim(&self) -> Option<&Claim> {
        match self {
            Event::Assigned { claim, .. }
            | Event::TwinAssigned { claim, .. }
            | Event::Started { claim }
            | Event::Renewed { claim, .. }
            | Event::Declined { claim, .. }
            | Event::Built { claim, .. }
            | Event::Broke { claim, .. }
            | Event::Expired { claim } => Some(claim),
            Event::Judged { .. }
            | Event::Landed { .. }
            | Event::Rejected { .. }
            | Event::RetryAsked
            | Event::CancelAsked { .. }
            | Event::Replaced { .. } => None,
        }
    }
}

/// What `event` makes of `state` at `now`.
///
/// # Errors
/// A refusal says why nothing changes.
pub fn step(state: &State, event: &Event, now: Moment) -> Result<Step, Refusal> {
    let verb = event.verb();
    match event {
        Event::Judged { readiness } => judged(state, readiness, verb, now),
        Event::Assigned { claim, until } => assigned(state, claim, *until, verb, now),
        Event::TwinAssigned { claim, until } => twin_assigned(state, claim, *until, verb),
        Event::Started { claim } => match holder(state, claim, verb)? {
            Holder::Twin(lease, since, twin) if twin.since.is_none() => {
                let twin = Twin { since: Some(now), ..twin.clone() };
                quiet(State::Building { lease: lease.clone(), since, twin: Some(twin) })
            }
            Holder::First(lease) if matches!(state, State::Leased { .. }) => {
                quiet(State::Building { lease: lease.clone(), since: now, twin: None })
            }
            _ => Err(Refusal::Unchanged { verb }),
        },
        Event::Renewed { claim, until } => renewed(state, claim, *until, verb),
        Event::Declined { claim, reason } => declined(state, claim, reason, verb, now),
        Event::Built { claim, artefacts } => {
            let lease = match holder(state, claim, verb)? {
                Holder::First(_) if matches!(state, State::Publishing { .. }) => {
                    return Err(Refusal::Unchanged { verb });
                }
                Holder::First(lease) => lease.clone(),
                Holder::Twin(first, _, twin) => {
                    Lease { claim: twin.claim.clone(), until: twin.until, tries: first.tries.clone() }
                }
            };
            let mut effects = vec![Effect::ExpectUpload(claim.clone())];
            let others = state.claims().filter(|(other, _)| *other != claim);
            effects.extend(others.map(|(other, _)| Effect::StopBuild(other.clone())));
            let next = State::Publishing { lease, artefacts: artefacts.clone(), since: now };
            Ok(Step { next, effects })
        }
        Event::Broke { claim, class, message, during } => {
            let mut step = lost_one(state, holder(state, claim, verb)?, *class, message, during, now);
            if !step.next.phase().is_running() {
                let others = state.claims().filter(|(other, _)| *other != claim);
                step.effects.extend(others.map(|(other, _)| Effect::StopBuild(other.clone())));
            }
            step.effects.push(Effect::Release(claim.clone()));
            withdraw_if_publishing(state, &mut step);
            Ok(step)
        }
        Event::Expired { claim } => {
            let holder = holder(state, claim, verb)?;
            let until = match holder {
                Holder::First(lease) => lease.until,
                Holder::Twin(_, _, twin) => twin.until,
            };
            if now < until {
                return Err(Refusal::TooEarly { verb, until });
            }
            let mut step =
                lost_one(state, holder, FailureClass::Lost, "nothing was heard of the builder", "", now);
            withdraw_if_publishing(state, &mut step);
            Ok(step)
        }
        Event::Landed { attempt, history } => {
            let lease = publishing(state, *attempt, verb)?;
            let next = State::Published { attempt: *attempt, history: history.clone() };
            Ok(Step { next, effects: vec![Effect::Release(lease.claim.clone()), Effect::JudgeDependents] })
        }
        Event::Rejected { attempt, reason } => {
            let lease = publishing(state, *attempt, verb)?;
            let mut step = broken(lease, FailureClass::StoreFault, reason, "publish", now);
            step.effects.extend([Effect::Withdraw(*attempt), Effect::Release(lease.claim.clone())]);
            Ok(step)
        }
        Event::RetryAsked => match state {
            State::Failed { .. } | State::Cancelled { .. } => {
                Ok(Step { next: State::new(), effects: vec![Effect::JudgeDependents] })
            }
            _ => Err(Refusal::WrongPhase { verb, phase: state.phase() }),
        },
        Event::CancelAsked { why } => match state {
            // What the repository is about to publish cannot be called back with certainty.
            State::Publishing { .. }
            | State::Published { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Superseded { .. } => Err(Refusal::WrongPhase { verb, phase: state.phase() }),
            _ => Ok(ended(state, State::Cancelled { why: why.clone() })),
        },
        Event::Replaced { by } => match state {
            State::Publishing { .. } | State::Published { .. } | State::Superseded { .. } => {
                Err(Refusal::WrongPhase { verb, phase: state.phase() })
            }
            _ => Ok(ended(state, State::Superseded { by: *by })),
        },
    }
}

fn judged(state: &State, readiness: &Readiness, verb: &'static str, now: Moment) -> Result<Step, Refusal> {
    let Some(tries) = state.tries().cloned() else {
        return Err(Refusal::WrongPhase { verb, phase: state.phase() });
    };
    let next = match (readiness, state) {
        (Readiness::Ready, State::Ready { .. }) => return Err(Refusal::Unchanged { verb }),
        (Readiness::Ready, _) => State::Ready { since: now, tries },
        (Readiness::Waits {}, _) => State::Waiting { tries },
        (Readiness::Blocked { by }, _) => State::Blocked { by: by.clone(), tries },
    };
    if next == *state {
        return Err(Refusal::Unchanged { verb });
    }
    quiet(next)
}

fn assigned(
    state: &State,
    claim: &Claim,
    until: Moment,
    verb: &'static str,
    now: Moment,
) -> Result<Step, Refusal> {
    let State::Ready { tries, .. } = state else {
        return Err(Refusal::WrongPhase { verb, phase: state.phase() });
    };
    if now < tries.not_before {
        return Err(Refusal::TooEarly { verb, until: tries.not_before });
    }
    let lease = Lease { claim: claim.clone(), until, tries: tries.clone() };
    Ok(Step { next: State::Leased { lease }, effects: vec![Effect::SendOrder(claim.clone())] })
}

fn twin_assigned(state: &State, claim: &Claim, until: Moment, verb: &'static str) -> Result<Step, Refusal> {
    match state {
        State::Building { twin: Some(_), .. } => Err(Refusal::Unchanged { verb }),
        State::Building { lease, .. } if lease.claim.builder == claim.builder => {
            Err(Refusal::SameBuilder { verb })
        }
        State::Building { lease, since, twin: None } => {
            let twin = Twin { claim: claim.clone(), until, since: None };
            let next = State::Building { lease: lease.clone(), since: *since, twin: Some(twin) };
            Ok(Step { next, effects: vec![Effect::SendOrder(claim.clone())] })
        }
        _ => Err(Refusal::WrongPhase { verb, phase: state.phase() }),
    }
}

fn renewed(state: &State, claim: &Claim, until: Moment, verb: &'static str) -> Result<Step, Refusal> {
    let lease = match holder(state, claim, verb)? {
        Holder::Twin(_, _, twin) if until <= twin.until => return Err(Refusal::Unchanged { verb }),
        Holder::Twin(lease, since, twin) => {
            let twin = Twin { until, ..twin.clone() };
            return quiet(State::Building { lease: lease.clone(), since, twin: Some(twin) });
        }
        Holder::First(lease) => lease,
    };
    if until <= lease.until {
        return Err(Refusal::Unchanged { verb });
    }
    let lease = Lease { until, ..lease.clone() };
    quiet(match state {
        State::Building { since, twin, .. } => State::Building { lease, since: *since, twin: twin.clone() },
        State::Publishing { since, artefacts, .. } => {
            State::Publishing { lease, artefacts: artefacts.clone(), since: *since }
        }
        _ => State::Leased { lease },
    })
}

fn declined(
    state: &State,
    claim: &Claim,
    reason: &str,
    verb: &'static str,
    now: Moment,
) -> Result<Step, Refusal> {
    match holder(state, claim, verb)? {
        Holder::Twin(lease, since, twin) if twin.since.is_none() => {
            quiet(State::Building { lease: lease.clone(), since, twin: None })
        }
        Holder::First(lease) if matches!(state, State::Leased { .. }) => {
            // Nothing was tried, so nothing failed: declining alone never ends a task.
            let mut lease = lease.clone();
            lease.tries.faults = lease.tries.faults.min(FAULTS_MAX - 2);
            Ok(broken(&lease, FailureClass::HostFault, &format!("the builder declined: {reason}"), "", now))
        }
        _ => Err(Refusal::WrongPhase { verb, phase: state.phase() }),
    }
}

/// Whose claim it is.
#[derive(Debug, Clone, Copy)]
enum Holder<'s> {
    First(&'s Lease),
    /// The lease of the first attempt and since when it builds; the second attempt.
    Twin(&'s Lease, Moment, &'s Twin),
}

/// Who holds the task with `claim`.
fn holder<'s>(state: &'s State, claim: &Claim, verb: &'static str) -> Result<Holder<'s>, Refusal> {
    match state {
        State::Building { lease, since, twin: Some(twin) } if twin.claim == *claim => {
            Ok(Holder::Twin(lease, *since, twin))
        }
        _ => match state.lease() {
            Some(lease) if lease.claim == *claim => Ok(Holder::First(lease)),
            _ => Err(Refusal::NotHolder { verb, attempt: claim.attempt }),
        },
    }
}

/// The lease, if `attempt` is being published.
fn publishing<'s>(state: &'s State, attempt: AttemptId, verb: &'static str) -> Result<&'s Lease, Refusal> {
    match state {
        State::Publishing { lease, .. } if lease.claim.attempt == attempt => Ok(lease),
        _ => Err(Refusal::NotHolder { verb, attempt }),
    }
}

/// An attempt came to nothing: try again, or give up.
fn broken(lease: &Lease, class: FailureClass, message: &str, during: &str, now: Moment) -> Step {
    let faults = lease.tries.faults + 1;
    if class.is_infrastructure() && faults < FAULTS_MAX {
        let rest = REST_FIRST.saturating_mul(4_u32.saturating_pow(faults - 1));
        let tries = Tries { faults, not_before: now.after(rest), avoid: Some(lease.claim.builder.clone()) };
        return Step { next: State::Ready { since: now, tries }, effects: Vec::new() };
    }
    let next = match class {
        FailureClass::Cancelled => State::Cancelled { why: message.to_owned() },
        _ => State::Failed {
            attempt: lease.claim.attempt,
            class,
            message: message.to_owned(),
            during: during.to_owned(),
        },
    };
    Step { next, effects: vec![Effect::JudgeDependents] }
}

/// One attempt came to nothing. Where there is another, it may go on.
fn lost_one(
    state: &State,
    holder: Holder<'_>,
    class: FailureClass,
    message: &str,
    during: &str,
    now: Moment,
) -> Step {
    let quiet = |next| Step { next, effects: Vec::new() };
    match (holder, state) {
        (Holder::Twin(lease, since, _), _) if class.may_be_the_machine() => {
            quiet(State::Building { lease: lease.clone(), since, twin: None })
        }
        (Holder::Twin(lease, _, twin), _) => {
            let lease = Lease { claim: twin.claim.clone(), until: twin.until, tries: lease.tries.clone() };
            broken(&lease, class, message, during, now)
        }
        (Holder::First(lease), State::Building { twin: Some(twin), .. }) if class.may_be_the_machine() => {
            let faults = lease.tries.faults + u32::from(class.is_infrastructure());
            let avoid = Some(lease.claim.builder.clone());
            let tries = Tries { faults, avoid, ..lease.tries.clone() };
            let lease = Lease { claim: twin.claim.clone(), until: twin.until, tries };
            quiet(match twin.since {
                Some(since) => State::Building { lease, since, twin: None },
                None => State::Leased { lease },
            })
        }
        (Holder::First(lease), _) => broken(lease, class, message, during, now),
    }
}

fn withdraw_if_publishing(state: &State, step: &mut Step) {
    if let State::Publishing { lease, .. } = state {
        step.effects.push(Effect::Withdraw(lease.claim.attempt));
    }
}

/// The end of a task on somebody's word.
fn ended(state: &State, next: State) -> Step {
    let mut effects = Vec::new();
    effects.extend(state.claims().map(|(claim, _)| Effect::StopBuild(claim.clone())));
    effects.push(Effect::JudgeDependents);
    Step { next, effects }
}

fn quiet(next: State) -> Result<Step, Refusal> {
    Ok(Step { next, effects: Vec::new() })
}

#[cfg(test)]
mod tests;
