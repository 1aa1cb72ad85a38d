//! Where a task stands, and all that is true there.

use serde::{Deserialize, Serialize};

use crate::failure::FailureClass;
use crate::ids::{AttemptId, BuilderId, LeaseToken, TaskId};
use crate::moment::Moment;
use crate::queue::Blocker;

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
    /// A person wants it not to start until it is released. What needs it waits.
    Held {
        /// Who.
        by: String,
        /// Why, in a line; empty when nothing was said.
        why: String,
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
    /// See [`State::Held`].
    Held,
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

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 11] = [
        Phase::Waiting,
        Phase::Blocked,
        Phase::Ready,
        Phase::Held,
        Phase::Leased,
        Phase::Building,
        Phase::Publishing,
        Phase::Published,
        Phase::Failed,
        Phase::Cancelled,
        Phase::Superseded,
    ];

    /// Phases of tasks that still matter to others: the open ones, and those that came to nothing and are in the way.
    pub const LIVING: [Phase; 9] = [
        Phase::Waiting,
        Phase::Blocked,
        Phase::Ready,
        Phase::Held,
        Phase::Leased,
        Phase::Building,
        Phase::Publishing,
        Phase::Failed,
        Phase::Cancelled,
    ];

    /// Its name in messages, addresses and the database.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::Blocked => "blocked",
            Phase::Ready => "ready",
            Phase::Held => "held",
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

    /// No builder has it, and one may get it by itself.
    #[must_use]
    pub fn is_queued(self) -> bool {
        matches!(self, Phase::Waiting | Phase::Blocked | Phase::Ready)
    }

    /// A builder has it.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Phase::Leased | Phase::Building | Phase::Publishing)
    }

    /// Something will still happen by itself, or would if it were neither blocked nor held.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.is_queued() || self == Phase::Held || self.is_running()
    }

    /// Whether it still matters to others.
    #[must_use]
    pub fn is_living(self) -> bool {
        Self::LIVING.contains(&self)
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
            State::Held { .. } => Phase::Held,
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
