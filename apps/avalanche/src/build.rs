//! One build, from the order to its outcome, as its keeper runs it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use fault::{Fault, Kind};
use fetch::{CommitId, Digest, GitError, GitMirrors};
use fs_err as fs;

use crate::boulder::Boulder;
use crate::order::Order;
use crate::outcome::{Artefact, Built, Failure, FailureClass, Outcome, kind_of, read_peak, read_report};
use crate::store::{AttemptFolder, remove};
use crate::watch::{Cancelled, End, Spool, WatchLimits, watch};

/// Most files of one build; the largest real recipes have some hundred packages.
const ARTEFACTS_MAX: usize = 4096;
/// Largest report of Boulder that is read; a real one is some kilobytes.
const REPORT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Everything one build needs.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) order: Order,
    pub(crate) folder: AttemptFolder,
    pub(crate) mirrors: GitMirrors,
    pub(crate) boulder: Boulder,
}

impl Build {
    /// Builds. What is left afterwards is the log and, when it was built, the output.
    pub(crate) fn run(&self, spool: &mut Spool, cancelled: &Cancelled) -> Outcome {
        let outcome = match self.try_run(spool, cancelled) {
            Ok(built) => Outcome::Built(built),
            Err(failure) => {
                spool.note(&format!("failed: {}", failure.message));
                if let Err(error) = remove(&self.folder.output()) {
                    tracing::warn!(%error, "cannot remove the output of a failed build");
                }
                Outcome::Failed(failure)
            }
        };
        if let Err(error) = remove(&self.folder.source()) {
            tracing::warn!(%error, "cannot remove the recipes of a build");
        }
        outcome
    }

    fn try_run(&self, spool: &mut Spool, cancelled: &Cancelled) -> Result<Built, Failure> {
        spool.note(&format!(
            "{} at {} of {}",
            self.order.recipe_path,
            self.order.commit,
            fetch::redacted(&self.order.git_url)
        ));
        self.check_out().map_err(|error| git_failure(&error))?;
        if cancelled.now() {
            return Err(Failure::new(FailureClass::Cancelled, "", "the build was cancelled"));
        }
        let peak_memory_bytes = self.boulder(spool, cancelled)?;
        match self.artefacts() {
            Ok(artefacts) => Ok(Built { artefacts, peak_memory_bytes }),
            Err(failure) => Err(failure.with_peak(peak_memory_bytes)),
        }
    }

    fn check_out(&self) -> Result<(), GitError> {
        let Some(commit) = CommitId::parse(&self.order.commit) else {
            return Err(GitError::Reference { reference: self.order.commit.clone() });
        };
        let mirror = self.mirrors.mirror(&self.order.git_url)?;
        mirror.fetch_commit(&commit)?;
        mirror.export_folder(&commit, self.order.recipe_folder(), &self.folder.source())
    }

    /// Runs Boulder; the peak of the memory in bytes, 0 when it is not known.
    fn boulder(&self, spool: &mut Spool, cancelled: &Cancelled) -> Result<u64, Failure> {
        let limits = WatchLimits {
            time: Duration::from_secs(self.order.limits.time_seconds.into()),
            silence: Duration::from_secs(self.order.limits.silence_seconds.into()),
        };
        let killed_before = killed_for_memory();
        let command = self.boulder.command(&self.order, &self.folder);
        let program = command.get_program().to_string_lossy().into_owned();
        let end = watch(command, spool, limits, cancelled).map_err(|error| {
            let message = format!("cannot run {program} and keep its log: {error}");
            Failure::new(FailureClass::HostFault, "", &message)
        })?;
        let limit = |class, message: String| {
            Err(Failure::new(class, "", &message).with_peak(self.report().map_or(0, |text| read_peak(&text))))
        };
        match end {
            End::Exited(status) => self.verdict(status, killed_before),
            End::Cancelled => limit(FailureClass::Cancelled, "the build was cancelled".to_owned()),
            End::TimeLimit => {
                let message = format!("it took longer than {} seconds", self.order.limits.time_seconds);
                limit(FailureClass::TimeLimit, message)
            }
            End::Silence => {
                let message = format!("it said nothing for {} seconds", self.order.limits.silence_seconds);
                limit(FailureClass::Silence, message)
            }
            End::LogFull => {
                let message = format!("its log is larger than {} bytes", self.order.limits.log_bytes);
                limit(FailureClass::LogLimit, message)
            }
        }
    }

    /// The report decides; an exit status without one is a fault of Boulder or of this machine.
    fn verdict(&self, status: ExitStatus, killed_before: Option<u64>) -> Result<u64, Failure> {
        let host_fault = |message: String| Failure::new(FailureClass::HostFault, "", &message);
        let peak_memory_bytes = match self.report() {
            Some(report) => read_report(&report)?,
            None => {
                return Err(match status.signal() {
                    Some(9) => {
                        let class = class_of_kill(killed_before, killed_for_memory());
                        Failure::new(class, "", "Boulder was killed")
                    }
                    _ => host_fault(format!("Boulder ended with {status} and left no report")),
                });
            }
        };
        if status.success() {
            Ok(peak_memory_bytes)
        } else {
            Err(host_fault(format!("Boulder reported success and ended with {status}")))
        }
    }

    /// What Boulder reported, if it did and if it is of a size that can be.
    fn report(&self) -> Option<String> {
        let path = self.folder.report();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= REPORT_BYTES_MAX => fs::read_to_string(&path).ok(),
            _ => None,
        }
    }

    fn artefacts(&self) -> Result<Vec<Artefact>, Failure> {
        let host_fault = |error: std::io::Error| {
            Failure::new(FailureClass::HostFault, "", &format!("cannot read what was built: {error}"))
        };
        let mut artefacts = Vec::new();
        let mut total_bytes = 0_u64;
        for entry in fs::read_dir(self.folder.output()).map_err(host_fault)? {
            let entry = entry.map_err(host_fault)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_file = entry.file_type().map_err(host_fault)?.is_file();
            let Some(kind) = kind_of(&name).filter(|_| is_file) else {
                tracing::warn!(name, "a file of a build is neither package nor manifest and stays here");
                continue;
            };
            let (sha256, size_bytes) = Digest::of_file(&entry.path()).map_err(host_fault)?;
            fs::File::open(entry.path()).and_then(|file| file.sync_all()).map_err(host_fault)?;
            total_bytes = total_bytes.saturating_add(size_bytes);
            artefacts.push(Artefact { kind, name, size_bytes, sha256: sha256.to_string() });
        }
        artefacts.sort_by(|one, other| one.name.cmp(&other.name));
        let refuse = |class, message: &str| Err(Failure::new(class, "", message));
        if artefacts.is_empty() {
            return refuse(FailureClass::Build, "nothing was built");
        }
        if artefacts.len() > ARTEFACTS_MAX {
            return refuse(FailureClass::SizeLimit, &format!("more than {ARTEFACTS_MAX} files were built"));
        }
        let limit = self.order.limits.output_bytes;
        if total_bytes > limit {
            let message = format!("{total_bytes} bytes were built, the limit is {limit}");
            return refuse(FailureClass::SizeLimit, &message);
        }
        Ok(artefacts)
    }
}

/// Whose fault it is that Boulder was killed: the kernel does it when memory is short, and counts how often. Anybody else
/// who does it says nothing about the recipe.
fn class_of_kill(before: Option<u64>, after: Option<u64>) -> FailureClass {
    match (before, after) {
        (Some(before), Some(after)) if before == after => FailureClass::HostFault,
        _ => FailureClass::OutOfMemory,
    }
}

/// How many processes the kernel has killed because memory was short, since this machine was started; none where it does
/// not say.
fn killed_for_memory() -> Option<u64> {
    count_of(&fs::read_to_string("/proc/vmstat").ok()?, "oom_kill")
}

/// The number after `name` in a list of names and numbers, a line each.
fn count_of(list: &str, name: &str) -> Option<u64> {
    let mut pairs = list.lines().filter_map(|line| line.split_once(' '));
    pairs.find(|(known, _)| *known == name).and_then(|(_, number)| number.trim().parse().ok())
}

/// A repository that cannot be reached is not the recipe's fault. One that has no such commit, or an address that
/// nobody can use, is the same on every builder.
fn git_failure(error: &GitError) -> Failure {
    let class = match error.kind() {
        Kind::Unavailable | Kind::Conflict | Kind::Denied | Kind::Damaged | Kind::Bug => {
            FailureClass::HostFault
        }
        Kind::NotFound | Kind::Input => match error {
            GitError::Unknown { .. } | GitError::Address { .. } | GitError::Reference { .. } => {
                FailureClass::Build
            }
            // git itself is missing.
            _ => FailureClass::HostFault,
        },
    };
    Failure::new(class, "checkout", &fault::chain(error).join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_kills_boulder_the_recipe_is_blamed_only_when_memory_was_short() {
        assert_eq!(class_of_kill(Some(3), Some(3)), FailureClass::HostFault);
        assert_eq!(class_of_kill(Some(3), Some(4)), FailureClass::OutOfMemory);
        assert_eq!(class_of_kill(None, Some(4)), FailureClass::OutOfMemory);
        assert_eq!(class_of_kill(None, None), FailureClass::OutOfMemory);
        let list = "oom_kill_memcg 7\noom_kill 12\nballoon 0\n";
        assert_eq!(count_of(list, "oom_kill"), Some(12));
        assert_eq!(count_of(list, "drop_pagecache"), None);
    }
}
