//! What can go wrong between the wish for a sandbox and a running command.

use std::io;
use std::path::PathBuf;

use fault::{Fault, Kind};
use serde::{Deserialize, Serialize};

/// A sandbox that did not come up, or was lost.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The description contradicts itself or asks for something outside the bounds.
    #[error("cannot use the description of the sandbox: {why}")]
    Description {
        /// What is wrong, naming the field.
        why: String,
    },
    /// The program that should become the supervisor could not be started.
    #[error("cannot start {} as the supervisor of a sandbox", program.display())]
    Start {
        /// The program that was tried.
        program: PathBuf,
        /// Why the start failed.
        source: io::Error,
    },
    /// A step of the set-up failed; the command was not started.
    #[error(transparent)]
    Setup(#[from] SetupFailure),
    /// The supervisor ended without saying how the command ended.
    #[error("cannot learn how the sandbox of {} ended: its supervisor went away", program.display())]
    Lost {
        /// The command that was to be run.
        program: PathBuf,
    },
    /// The conversation with the supervisor broke.
    #[error("cannot {action} the supervisor of a sandbox")]
    Conversation {
        /// What was tried: "write to", "read from".
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A tree could not be removed.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// Root of the tree.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The step of the set-up that failed, as the process that performed it told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("cannot {action} {object}: {cause}")]
pub struct SetupFailure {
    /// What was done, as words after "cannot": "mount overlay on".
    pub action: String,
    /// What it was done to: a path, a namespace, a program.
    pub object: String,
    /// The system's reason.
    pub cause: String,
}

impl SetupFailure {
    pub(crate) fn new(action: &str, object: impl Into<String>, cause: impl ToString) -> SetupFailure {
        SetupFailure { action: action.to_owned(), object: object.into(), cause: cause.to_string() }
    }
}

impl Fault for SandboxError {
    fn kind(&self) -> Kind {
        match self {
            SandboxError::Description { .. } => Kind::Input,
            SandboxError::Setup(failure) => failure.kind(),
            SandboxError::Start { .. }
            | SandboxError::Lost { .. }
            | SandboxError::Conversation { .. }
            | SandboxError::Remove { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            SandboxError::Setup(failure) => failure.hints(),
            SandboxError::Lost { .. } => vec![
                "the machine may be out of memory; look with `dmesg | tail`".to_owned(),
                "a program that starts sandboxes calls sandbox::enter_if_asked() first thing in its main"
                    .to_owned(),
            ],
            _ => Vec::new(),
        }
    }
}

impl Fault for SetupFailure {
    fn kind(&self) -> Kind {
        let cause = self.cause.as_str();
        if cause.contains("No such file") {
            Kind::NotFound
        } else if cause.contains("not permitted") || cause.contains("denied") {
            Kind::Denied
        } else {
            Kind::Unavailable
        }
    }

    fn hints(&self) -> Vec<String> {
        let mut hints = Vec::new();
        if self.object.contains("user namespace") {
            hints.push("see what this machine lacks with `moraine doctor`".to_owned());
        }
        if self.action.starts_with("mount") && self.kind() == Kind::Denied {
            hints.push(
                "inside a container, mounting has to be allowed by it; `moraine doctor` tries it".to_owned(),
            );
        }
        if self.action == "run" && self.kind() == Kind::NotFound {
            hints.push(
                "the program, or the interpreter or dynamic loader that it names, is not in the root"
                    .to_owned(),
            );
        }
        hints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_names_step_object_and_cause() {
        let error = SandboxError::from(SetupFailure::new(
            "mount overlay on",
            "/usr",
            "No such file or directory (os error 2)",
        ));
        assert_eq!(error.to_string(), "cannot mount overlay on /usr: No such file or directory (os error 2)");
        assert_eq!(error.kind(), Kind::NotFound);
    }

    #[test]
    fn hints_follow_the_step() {
        let check = |action: &str, object: &str, cause: &str, word: &str| {
            let hints = SetupFailure::new(action, object, cause).hints().join("\n");
            assert!(hints.contains(word), "{action} {object}: {hints}");
        };
        check("enter", "a user namespace", "Operation not permitted", "moraine doctor");
        check("run", "/bin/x", "No such file or directory", "dynamic loader");
        check("mount proc on", "/proc", "Operation not permitted", "container");
        assert!(SetupFailure::new("run", "/bin/x", "Permission denied").hints().is_empty());
    }
}
