//! Why a build ends without packages, and whose fault it is.

use fault::{Fault, Kind};
use package::Dependency;
use sandbox::{Outcome, SandboxError};
use serde::Serialize;

use crate::collect::CollectError;
use crate::emit::EmitError;
use crate::sources::SourcesError;

/// Whose fault it is. A build farm decides by this whether to try again elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The recipe or what it builds.
    Build,
    /// Something that the build needs is not there.
    Dependency,
    /// It took longer than it may.
    TimeLimit,
    /// It took more memory than it may.
    OutOfMemory,
    /// It took more room on the disk than it may.
    DiskLimit,
    /// Something else was in the way; the recipe was not even tried.
    Lost,
    /// It was ended from outside.
    Cancelled,
    /// This machine cannot build such a thing.
    Unsupported,
    /// This machine or its network did not do its part.
    HostFault,
}

/// Why a build ends without packages.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The recipe is not there.
    #[error("cannot read the recipe")]
    ReadRecipe(#[source] std::io::Error),
    /// The recipe is not what it should be.
    #[error("cannot read the recipe")]
    Recipe(#[source] recipe::RecipeError),
    /// The scripts of the recipe cannot be made.
    #[error("cannot evaluate the recipe")]
    Evaluate(#[source] recipe::EvaluateError),
    /// The folder of the build cannot be used.
    #[error("cannot use the build folder")]
    Workspace(#[source] std::io::Error),
    /// Another build of the same release is running.
    #[error("cannot build {id}: another build of it is running in the same cache")]
    Busy {
        /// Name, version and release.
        id: String,
    },
    /// Something of an earlier build cannot be removed.
    #[error("cannot empty the build folder")]
    Remove(#[source] SandboxError),
    /// The packages of the build root cannot be had.
    #[error("cannot fill the build root")]
    Root(#[source] moss::MaterialiseError),
    /// The recipe asks for what nobody has.
    #[error("cannot build {recipe}: nobody provides {}", dependencies.iter().map(Dependency::short).collect::<Vec<_>>().join(", "))]
    Unmet {
        /// The recipe.
        recipe: String,
        /// What it asks for.
        dependencies: Vec<Dependency>,
    },
    /// A source cannot be had.
    #[error("cannot lay out the sources")]
    Sources(#[source] Box<SourcesError>),
    /// The sandbox cannot be set up.
    #[error("cannot run the build in a sandbox")]
    Sandbox(#[source] SandboxError),
    /// A script failed.
    #[error("phase {phase} ended with exit status {status}")]
    Exited {
        /// The phase.
        phase: String,
        /// Its exit status.
        status: i32,
    },
    /// A script was ended by a signal of its own making.
    #[error("phase {phase} was ended by signal {signal}")]
    Signaled {
        /// The phase.
        phase: String,
        /// The signal.
        signal: i32,
    },
    /// It took longer than it may.
    #[error("phase {phase} ran into the time limit")]
    TimeLimit {
        /// The phase.
        phase: String,
    },
    /// It took more memory than it may.
    #[error("phase {phase} ran out of memory")]
    OutOfMemory {
        /// The phase.
        phase: String,
    },
    /// It took more room on the disk than it may.
    #[error("phase {phase} filled the build folder: it takes {size_bytes} bytes, the limit is {limit_bytes}")]
    DiskLimit {
        /// The phase.
        phase: String,
        /// What the folder takes.
        size_bytes: u64,
        /// What it may take.
        limit_bytes: u64,
    },
    /// The disk has no room left.
    #[error(
        "phase {phase} was ended: {free_bytes} bytes are left on the disk of the build folder, {needed_bytes} must be"
    )]
    DiskFull {
        /// The phase.
        phase: String,
        /// What is left.
        free_bytes: u64,
        /// What must be.
        needed_bytes: u64,
    },
    /// It was ended from outside.
    #[error("phase {phase} was cancelled")]
    Cancelled {
        /// The phase.
        phase: String,
    },
    /// The recipe has no phase at all.
    #[error("cannot build: the recipe has neither sources nor scripts")]
    NothingRan,
    /// The install root cannot be read.
    #[error("cannot collect what was installed")]
    Collect(#[source] CollectError),
    /// A rule that sorts files into packages cannot be evaluated.
    #[error("cannot sort files into packages")]
    Rules(#[source] recipe::EvaluateError),
    /// A package cannot carry what it should.
    #[error("cannot package {package}: {reason}")]
    Package {
        /// The package.
        package: String,
        /// Why.
        reason: String,
    },
    /// No file was installed.
    #[error("cannot package {recipe}: the install phase left nothing below /usr")]
    Nothing {
        /// The recipe.
        recipe: String,
    },
    /// A package cannot be written.
    #[error("cannot write packages")]
    Emit(#[source] EmitError),
}

impl BuildError {
    /// Success, or the error that this end of a phase is.
    ///
    /// # Errors
    /// For every end but exit status 0.
    pub fn of_outcome(phase: &str, outcome: Outcome, memory_ran_out: bool) -> Result<(), BuildError> {
        let phase = phase.to_owned();
        match outcome {
            Outcome::Exited(0) => Ok(()),
            Outcome::Exited(_) | Outcome::Signaled(_) if memory_ran_out => {
                Err(BuildError::OutOfMemory { phase })
            }
            Outcome::Exited(status) => Err(BuildError::Exited { phase, status }),
            Outcome::Signaled(signal) => Err(BuildError::Signaled { phase, signal }),
            Outcome::TimedOut => Err(BuildError::TimeLimit { phase }),
            Outcome::Killed => Err(BuildError::Cancelled { phase }),
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            BuildError::Unmet { .. } => FailureClass::Dependency,
            BuildError::Root(error) if !error.kind().meaning().retry => FailureClass::Dependency,
            BuildError::Sources(error) if !error.is_outage() => FailureClass::Dependency,
            BuildError::TimeLimit { .. } => FailureClass::TimeLimit,
            BuildError::OutOfMemory { .. } => FailureClass::OutOfMemory,
            BuildError::DiskLimit { .. } => FailureClass::DiskLimit,
            BuildError::Busy { .. } => FailureClass::Lost,
            BuildError::Cancelled { .. } => FailureClass::Cancelled,
            BuildError::Sandbox(_)
            | BuildError::Remove(_)
            | BuildError::Workspace(_)
            | BuildError::DiskFull { .. } => FailureClass::HostFault,
            other if other.kind() == Kind::Unavailable => FailureClass::HostFault,
            _ => FailureClass::Build,
        }
    }

    /// The phase it happened in; empty before the first.
    #[must_use]
    pub fn phase(&self) -> &str {
        match self {
            BuildError::Exited { phase, .. }
            | BuildError::Signaled { phase, .. }
            | BuildError::TimeLimit { phase }
            | BuildError::OutOfMemory { phase }
            | BuildError::DiskLimit { phase, .. }
            | BuildError::DiskFull { phase, .. }
            | BuildError::Cancelled { phase } => phase,
            BuildError::Sources(_) => "sources",
            BuildError::Root(_) | BuildError::Unmet { .. } => "root",
            BuildError::Collect(_) | BuildError::Rules(_) | BuildError::Package { .. } => "package",
            BuildError::Nothing { .. } | BuildError::Emit(_) => "package",
            _ => "",
        }
    }
}

impl Fault for BuildError {
    fn kind(&self) -> Kind {
        match self {
            BuildError::ReadRecipe(error) if error.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
            BuildError::ReadRecipe(_) | BuildError::Workspace(_) => Kind::Unavailable,
            BuildError::Recipe(error) => error.kind(),
            BuildError::Evaluate(error) | BuildError::Rules(error) => error.kind(),
            BuildError::Busy { .. } => Kind::Conflict,
            BuildError::DiskFull { .. } => Kind::Unavailable,
            BuildError::Remove(error) | BuildError::Sandbox(error) => error.kind(),
            BuildError::Root(error) => error.kind(),
            BuildError::Sources(error) => error.kind(),
            BuildError::Collect(error) => error.kind(),
            BuildError::Emit(error) => error.kind(),
            BuildError::Unmet { .. }
            | BuildError::Exited { .. }
            | BuildError::Signaled { .. }
            | BuildError::TimeLimit { .. }
            | BuildError::OutOfMemory { .. }
            | BuildError::DiskLimit { .. }
            | BuildError::Cancelled { .. }
            | BuildError::NothingRan
            | BuildError::Package { .. }
            | BuildError::Nothing { .. } => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            BuildError::Recipe(error) => return error.hints(),
            BuildError::Evaluate(error) | BuildError::Rules(error) => return error.hints(),
            BuildError::Remove(error) | BuildError::Sandbox(error) => return error.hints(),
            BuildError::Root(error) => return error.hints(),
            BuildError::Sources(error) => return error.hints(),
            BuildError::Collect(error) => return error.hints(),
            BuildError::Emit(error) => return error.hints(),
            BuildError::ReadRecipe(_) => "name a stone.yaml, or the folder it is in",
            BuildError::Workspace(_) => {
                "see that the disk is not full, or choose another place with --cache-dir"
            }
            BuildError::Busy { .. } => "wait for it, or choose another place with --cache-dir",
            BuildError::Unmet { .. } => {
                "build or import what provides it, and name that repository with --repository"
            }
            BuildError::Exited { .. } | BuildError::Signaled { .. } => {
                "the reason is above; --keep leaves the build folder to look into"
            }
            BuildError::TimeLimit { .. } => "allow more with --time-limit, in seconds",
            BuildError::OutOfMemory { .. } => {
                "allow more with --memory-limit, in MiB, or build with fewer --jobs"
            }
            BuildError::DiskLimit { .. } => "allow more with --disk-limit, in MiB",
            BuildError::DiskFull { .. } => {
                "make room: boulder clean; or choose another place with --cache-dir"
            }
            BuildError::Cancelled { .. } => return Vec::new(),
            BuildError::NothingRan => "give the recipe upstreams or an install script",
            BuildError::Package { .. } => "see the package's fields in the recipe",
            BuildError::Nothing { .. } => "install into %(installroot)",
        };
        vec![hint.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_phase_has_its_class() {
        for (outcome, memory_ran_out, expected) in [
            (Outcome::Exited(0), false, None),
            (Outcome::Exited(0), true, None),
            (Outcome::Exited(2), false, Some(FailureClass::Build)),
            (Outcome::Exited(2), true, Some(FailureClass::OutOfMemory)),
            (Outcome::Signaled(11), false, Some(FailureClass::Build)),
            (Outcome::Signaled(9), true, Some(FailureClass::OutOfMemory)),
            (Outcome::TimedOut, false, Some(FailureClass::TimeLimit)),
            (Outcome::Killed, false, Some(FailureClass::Cancelled)),
        ] {
            let error = BuildError::of_outcome("build", outcome, memory_ran_out).err();
            assert_eq!(error.as_ref().map(BuildError::class), expected);
            assert!(error.is_none_or(|error| error.phase() == "build"));
        }
    }

    #[test]
    fn the_machine_is_blamed_for_its_disk_and_not_the_recipe() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(BuildError::Workspace(full()).class(), FailureClass::HostFault);
        assert_eq!(BuildError::Emit(EmitError::Read(full())).class(), FailureClass::HostFault);
        let short = BuildError::DiskFull { phase: "build".into(), free_bytes: 1, needed_bytes: 2 };
        assert_eq!(short.class(), FailureClass::HostFault);
        let greedy = BuildError::DiskLimit { phase: "build".into(), size_bytes: 2, limit_bytes: 1 };
        assert_eq!((greedy.class(), greedy.phase()), (FailureClass::DiskLimit, "build"));
        assert_eq!(BuildError::Busy { id: "x-1-1".into() }.class(), FailureClass::Lost);
        let unmet = BuildError::Unmet { recipe: "x".into(), dependencies: vec![Dependency::name("y")] };
        assert_eq!(unmet.class(), FailureClass::Dependency);
        assert!(unmet.to_string().contains("nobody provides y"));
    }
}
