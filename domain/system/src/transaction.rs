//! From one system state to the next, and back to firm ground after a crash.
//!
//! A state is a tree below `/usr` with its number in `/usr/.stateID`. The tree of the next state is made in *staging*,
//! exchanged with `/usr` in one step of the kernel, and the old tree goes to the *archive* under its number. A journal
//! of one record is written before the first step that matters and removed after the last.
//!
//! Invariants, each shown by a test that stops after every step, and again after every step of the recovery:
//! `/usr` is always a whole tree, the old one or the new one; every state in the database has its tree, in `/usr` or in the
//! archive; no tree of a recorded state is ever thrown away.
//!
//! This module only decides. Whoever carries the steps out must make each durable before the next.

use serde::{Deserialize, Serialize};

use crate::StateId;
use fault::{Fault, Kind};

/// What kind of transaction it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransactionKind {
    /// A state that never was, with a tree made in staging.
    Create,
    /// An archived state comes back.
    Activate,
}

/// The record that is on disk while a transaction runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// What kind of transaction it is.
    pub kind: TransactionKind,
    /// The state that is to be active.
    pub new: StateId,
    /// The state that was active; none when the system had none.
    pub old: Option<StateId>,
}

/// One step of a transaction. Each is atomic: after a crash it has happened or it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Everything written so far, the contents of files and of staging above all, is on the disk.
    SyncFiles,
    /// The journal is on the disk.
    WriteJournal(Journal),
    /// The archived tree of this state is moved to staging.
    TakeFromArchive(StateId),
    /// `/bin`, `/lib` and the others lead into `/usr`. Before the exchange, because it can be refused.
    MakeRootLinks,
    /// The database knows the new state.
    RecordState(StateId),
    /// Staging and `/usr` change places.
    Exchange,
    /// The old tree, now in staging, is moved to the archive.
    Archive(StateId),
    /// The empty directory that was `/usr` before the first state is removed from staging.
    DiscardStaging,
    /// The journal is gone.
    ClearJournal,
}

/// The steps of a transaction, in order.
#[must_use]
pub fn plan(journal: Journal) -> Vec<Step> {
    let mut steps = vec![Step::SyncFiles, Step::WriteJournal(journal)];
    if journal.kind == TransactionKind::Activate {
        steps.push(Step::TakeFromArchive(journal.new));
    }
    steps.push(Step::MakeRootLinks);
    if journal.kind == TransactionKind::Create {
        steps.push(Step::RecordState(journal.new));
    }
    steps.push(Step::Exchange);
    steps.push(match journal.old {
        Some(old) => Step::Archive(old),
        None => Step::DiscardStaging,
    });
    steps.push(Step::ClearJournal);
    steps
}

/// A tree as found on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing is there.
    Missing,
    /// A directory without the number of a state: empty, half made, or not ours.
    Unnumbered,
    /// The tree of this state.
    State(StateId),
}

/// What recovery looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// The journal, if there is one.
    pub journal: Option<Journal>,
    /// What is at `/usr`.
    pub usr: Found,
    /// What is in staging.
    pub staging: Found,
    /// Whether the database knows the state found in staging.
    pub staging_is_recorded: bool,
    /// Whether the archive already has a tree for the state found in staging.
    pub staging_is_archived: bool,
}

/// One step back to firm ground. Each can be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryStep {
    /// The tree in staging is moved to the archive under this number.
    ArchiveStaging(StateId),
    /// Whatever is in staging is removed.
    DiscardStaging,
    /// The database no longer knows this state, whose tree never became whole or active.
    ForgetState(StateId),
    /// The journal is removed.
    ClearJournal,
}

/// How an interrupted transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing was interrupted.
    Clean,
    /// The new state is active; what was left to do is tidying up.
    Forward(Vec<RecoveryStep>),
    /// The old state is active, and stays.
    Back(Vec<RecoveryStep>),
}

impl Recovery {
    /// What to do, in order.
    #[must_use]
    pub fn steps(&self) -> &[RecoveryStep] {
        match self {
            Recovery::Clean => &[],
            Recovery::Forward(steps) | Recovery::Back(steps) => steps,
        }
    }
}

/// Why nobody can tell what happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The journal speaks of two states and `/usr` is neither.
    #[error(
        "cannot recover the interrupted change to state {new}: /usr is {usr}, neither the old state nor the new one"
    )]
    UnknownUsr {
        /// The state that was to be active.
        new: StateId,
        /// What `/usr` is.
        usr: String,
    },
}

impl Fault for RecoveryError {
    fn kind(&self) -> Kind {
        Kind::Damaged
    }

    fn hints(&self) -> Vec<String> {
        vec![
            "something else than moss changed /usr; move the tree of the state you want to /usr".into(),
            "the trees of earlier states are in .moss/root; their numbers are in usr/.stateID".into(),
        ]
    }
}

/// Decides what to do about what an earlier run left behind.
///
/// # Errors
/// When `/usr` is a tree that the journal does not speak of.
pub fn recover(observed: &Observed) -> Result<Recovery, RecoveryError> {
    let Some(journal) = observed.journal else {
        return Ok(match tidy_staging(observed) {
            Some(step) => Recovery::Back(vec![step]),
            None => Recovery::Clean,
        });
    };
    let before = journal.old.map_or(matches!(observed.usr, Found::Missing | Found::Unnumbered), |old| {
        observed.usr == Found::State(old)
    });
    if observed.usr == Found::State(journal.new) {
        let mut steps: Vec<RecoveryStep> = tidy_staging(observed).into_iter().collect();
        steps.push(RecoveryStep::ClearJournal);
        Ok(Recovery::Forward(steps))
    } else if before {
        let mut steps = Vec::new();
        match journal.kind {
            TransactionKind::Create => {
                // The database forgets first: a recorded state must have a tree at every moment.
                steps.push(RecoveryStep::ForgetState(journal.new));
                if observed.staging != Found::Missing {
                    steps.push(RecoveryStep::DiscardStaging);
                }
            }
            TransactionKind::Activate => steps.extend(tidy_staging(observed)),
        }
        steps.push(RecoveryStep::ClearJournal);
        Ok(Recovery::Back(steps))
    } else {
        let usr = match observed.usr {
            Found::Missing => "missing".to_owned(),
            Found::Unnumbered => "a tree without a number".to_owned(),
            Found::State(id) => format!("state {id}"),
        };
        Err(RecoveryError::UnknownUsr { new: journal.new, usr })
    }
}

/// Staging holds the only copy of a state's tree, or something that can be made again.
fn tidy_staging(observed: &Observed) -> Option<RecoveryStep> {
    match observed.staging {
        Found::Missing => None,
        Found::State(id) if observed.staging_is_recorded && !observed.staging_is_archived => {
            Some(RecoveryStep::ArchiveStaging(id))
        }
        Found::State(_) | Found::Unnumbered => Some(RecoveryStep::DiscardStaging),
    }
}

#[cfg(test)]
mod tests;
