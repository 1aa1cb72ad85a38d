//! What happens to a task, what is to be done then, and why it may not happen.

use fault::{Fault, Kind};
use serde::{Deserialize, Serialize};

use super::state::{Artefact, Claim, Phase, State};
use crate::failure::FailureClass;
use crate::ids::{AttemptId, TaskId};
use crate::moment::Moment;
use crate::queue::Readiness;

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
    /// A person wants it not to start.
    Held {
        /// Who.
        by: String,
        /// Why; empty when nothing was said.
        why: String,
    },
    /// A person lets it start again.
    Released,
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
    /// A later task took its place, and building it would bring back what is old.
    #[error("cannot {verb} the task: {}", replaced(*by))]
    Superseded {
        /// What was wanted.
        verb: &'static str,
        /// That task; none when the recipe asks for nothing any more.
        by: Option<TaskId>,
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
            | Refusal::Superseded { .. }
            | Refusal::SameBuilder { .. }
            | Refusal::TooEarly { .. }
            | Refusal::Unchanged { .. } => Kind::Conflict,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Refusal::WrongPhase { verb, phase } => next_step(verb, *phase),
            Refusal::Superseded { by: Some(by), .. } => {
                Some(format!("that one is shown by `moraine task show {by}`"))
            }
            Refusal::Superseded { by: None, .. } => {
                Some("to build the recipe again: `moraine plan rebuild NAME --apply`".to_owned())
            }
            Refusal::NotHolder { .. }
            | Refusal::SameBuilder { .. }
            | Refusal::TooEarly { .. }
            | Refusal::Unchanged { .. } => None,
        };
        hint.into_iter().collect()
    }
}

fn replaced(by: Option<TaskId>) -> String {
    match by {
        Some(by) => format!("task {by} took its place"),
        None => "nobody asks for what it builds any more".to_owned(),
    }
}

/// What a person does instead of what the phase does not allow.
fn next_step(verb: &str, phase: Phase) -> Option<String> {
    let step = match (verb, phase) {
        ("retry" | "hold", Phase::Held) => "it is held: `moraine task release TASK` lets it start",
        ("retry" | "cancel" | "hold", Phase::Published) => {
            "to build it again with the next build release: `moraine plan rebuild NAME --apply`"
        }
        ("retry", Phase::Waiting | Phase::Blocked | Phase::Ready) => {
            "only failed and cancelled tasks are tried again; `moraine why TASK` says what this one waits for"
        }
        ("retry", Phase::Leased | Phase::Building) => {
            "to begin it afresh: `moraine task cancel TASK`, then `moraine task retry TASK`"
        }
        ("retry" | "cancel" | "hold", Phase::Publishing) => {
            "it is built and on its way into the repository, and cannot be called back; `moraine why TASK` says how far it is"
        }
        ("cancel", Phase::Failed | Phase::Cancelled) => {
            "it does nothing any more; `moraine task retry TASK` tries it again"
        }
        ("hold", Phase::Leased | Phase::Building) => {
            "a builder has it: `moraine task cancel TASK` stops it until `moraine task retry TASK`"
        }
        ("hold", Phase::Failed | Phase::Cancelled) => {
            "it does not start by itself anyway; `moraine task retry TASK` tries it again"
        }
        ("release", _) => "only held tasks are released; `moraine task list --phase held` shows them",
        _ => return None,
    };
    Some(step.to_owned())
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
            Event::Held { .. } => "hold",
            Event::Released => "release",
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
            | Event::Held { .. }
            | Event::Released
            | Event::Replaced { .. } => None,
        }
    }
}
