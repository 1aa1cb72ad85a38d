use std::collections::BTreeSet;

use super::*;

/// A disk as far as transactions see it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Disk {
    journal: Option<Journal>,
    usr: Found,
    staging: Found,
    archive: BTreeSet<StateId>,
    recorded: BTreeSet<StateId>,
}

impl Disk {
    fn observe(&self) -> Observed {
        let staged = match self.staging {
            Found::State(id) => Some(id),
            Found::Missing | Found::Unnumbered => None,
        };
        Observed {
            journal: self.journal,
            usr: self.usr,
            staging: self.staging,
            staging_is_recorded: staged.is_some_and(|id| self.recorded.contains(&id)),
            staging_is_archived: staged.is_some_and(|id| self.archive.contains(&id)),
        }
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::SyncFiles | Step::MakeRootLinks => {}
            Step::WriteJournal(journal) => self.journal = Some(journal),
            Step::TakeFromArchive(id) => {
                assert!(self.archive.remove(&id));
                assert_eq!(self.staging, Found::Missing);
                self.staging = Found::State(id);
            }
            Step::RecordState(id) => assert!(self.recorded.insert(id)),
            Step::Exchange => {
                // The executor makes an empty /usr first where there is none.
                let usr = if self.usr == Found::Missing { Found::Unnumbered } else { self.usr };
                self.usr = self.staging;
                self.staging = usr;
            }
            Step::Archive(id) => {
                assert_eq!(self.staging, Found::State(id));
                assert!(self.archive.insert(id));
                self.staging = Found::Missing;
            }
            Step::DiscardStaging => self.staging = Found::Missing,
            Step::ClearJournal => self.journal = None,
        }
    }

    fn mend(&mut self, step: RecoveryStep) {
        match step {
            RecoveryStep::ArchiveStaging(id) => self.act(Step::Archive(id)),
            RecoveryStep::DiscardStaging => {
                if let Found::State(id) = self.staging {
                    assert!(
                        !self.recorded.contains(&id) || self.archive.contains(&id),
                        "the only tree of state {id} is lost"
                    );
                }
                self.staging = Found::Missing;
            }
            RecoveryStep::ForgetState(id) => {
                self.recorded.remove(&id);
            }
            RecoveryStep::ClearJournal => self.journal = None,
        }
    }

    /// Every recorded state has its tree somewhere, and nothing is left over.
    fn assert_firm(&self, context: &str) {
        assert_eq!(self.journal, None, "{context}");
        assert_eq!(self.staging, Found::Missing, "{context}");
        for id in &self.recorded {
            assert!(
                self.usr == Found::State(*id) || self.archive.contains(id),
                "{context}: state {id} has no tree: {self:?}"
            );
        }
        for id in &self.archive {
            assert!(self.recorded.contains(id), "{context}: archived state {id} is not recorded");
        }
    }
}

fn states(ids: &[u64]) -> BTreeSet<StateId> {
    ids.iter().map(|id| StateId(*id)).collect()
}

fn cases() -> Vec<(&'static str, Disk, Journal)> {
    let old = Some(StateId(2));
    let installed = Disk {
        journal: None,
        usr: Found::State(StateId(2)),
        staging: Found::State(StateId(3)),
        archive: states(&[1]),
        recorded: states(&[1, 2]),
    };
    let empty = |usr| Disk {
        journal: None,
        usr,
        staging: Found::State(StateId(1)),
        archive: states(&[]),
        recorded: states(&[]),
    };
    let activate = Disk { staging: Found::Missing, ..installed.clone() };
    vec![
        ("install", installed, Journal { kind: TransactionKind::Create, new: StateId(3), old }),
        (
            "first install, no /usr",
            empty(Found::Missing),
            Journal { kind: TransactionKind::Create, new: StateId(1), old: None },
        ),
        (
            "first install, empty /usr",
            empty(Found::Unnumbered),
            Journal { kind: TransactionKind::Create, new: StateId(1), old: None },
        ),
        ("activate", activate, Journal { kind: TransactionKind::Activate, new: StateId(1), old }),
    ]
}

/// Carries out the recovery, and once for each of its steps stops there and begins it anew.
fn recovered(disk: &Disk, context: &str) -> Disk {
    let recovery = recover(&disk.observe()).unwrap();
    let mut whole = disk.clone();
    for (position, step) in recovery.steps().iter().enumerate() {
        whole.mend(*step);
        let mut again = whole.clone();
        for step in recover(&again.observe()).unwrap().steps() {
            again.mend(*step);
        }
        again.assert_firm(&format!("{context}, recovery stopped after step {position}"));
    }
    whole.assert_firm(context);
    assert_eq!(recover(&whole.observe()), Ok(Recovery::Clean), "{context}");
    whole
}

/// Invariant 9: any crash leaves the old state or the new one.
#[test]
fn a_crash_after_any_step_leaves_the_old_state_or_the_new_one() {
    for (name, before, journal) in cases() {
        let steps = plan(journal);
        let exchange = steps.iter().position(|step| *step == Step::Exchange).unwrap();
        for done in 0..=steps.len() {
            let context = format!("{name}, crash after {done} of {steps:?}");
            let mut disk = before.clone();
            for step in &steps[..done] {
                disk.act(*step);
            }
            let after = recovered(&disk, &context);
            if done > exchange {
                assert_eq!(after.usr, Found::State(journal.new), "{context}");
                assert!(after.recorded.contains(&journal.new), "{context}");
            } else {
                assert_eq!(after.usr, before.usr, "{context}");
                assert_eq!(after.recorded, before.recorded, "{context}");
                assert_eq!(after.archive, before.archive, "{context}");
            }
        }
    }
}

#[test]
fn what_can_be_refused_comes_before_the_exchange() {
    for (_, _, journal) in cases() {
        let steps = plan(journal);
        let place = |wanted: Step| steps.iter().position(|step| *step == wanted).unwrap();
        assert!(place(Step::SyncFiles) < place(Step::WriteJournal(journal)));
        assert!(place(Step::MakeRootLinks) < place(Step::Exchange));
        assert_eq!(steps.last(), Some(&Step::ClearJournal));
    }
}

#[test]
fn an_old_tree_left_in_staging_without_a_journal_is_archived_and_not_thrown_away() {
    let disk = Disk {
        journal: None,
        usr: Found::State(StateId(2)),
        staging: Found::State(StateId(1)),
        archive: states(&[]),
        recorded: states(&[1, 2]),
    };
    assert_eq!(recover(&disk.observe()), Ok(Recovery::Back(vec![RecoveryStep::ArchiveStaging(StateId(1))])));
}

#[test]
fn a_usr_that_nobody_speaks_of_is_left_alone() {
    let journal = Journal { kind: TransactionKind::Create, new: StateId(3), old: Some(StateId(2)) };
    for (usr, named) in [
        (Found::Missing, "missing"),
        (Found::Unnumbered, "without a number"),
        (Found::State(StateId(9)), "state 9"),
    ] {
        let observed = Observed {
            journal: Some(journal),
            usr,
            staging: Found::State(StateId(3)),
            staging_is_recorded: true,
            staging_is_archived: false,
        };
        let error = recover(&observed).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
}
