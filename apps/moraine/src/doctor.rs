//! What this machine can do, and how to get what it lacks.

use std::path::Path;

use fault::{Fault, Kind};
use observe::{OutputError, Palette, Stream, Style, write_stdout};
use sandbox::{Check, State};
use serde::Serialize;

/// Why a farm cannot work on this machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoctorError {
    /// Something is missing without which nothing can be built.
    #[error("cannot build on this machine: {} missing", missing.iter().map(|check| check.name.as_str()).collect::<Vec<_>>().join(", "))]
    Missing {
        /// What is missing.
        missing: Vec<Check>,
    },
    /// Standard output is closed.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Fault for DoctorError {
    fn kind(&self) -> Kind {
        match self {
            DoctorError::Missing { .. } => Kind::Unavailable,
            DoctorError::Output(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            DoctorError::Missing { missing } => missing
                .iter()
                .map(|check| format!("{} ({}): {}", check.name, check.found, check.remedy))
                .collect(),
            DoctorError::Output(_) => Vec::new(),
        }
    }
}

/// What `moraine doctor --json` prints.
#[derive(Debug, Serialize)]
struct Findings<'a> {
    /// Whether builds can run here.
    ready: bool,
    checks: &'a [Check],
}

/// Checks everything and prints it.
///
/// # Errors
/// When something is missing without which nothing can be built.
pub(crate) fn doctor(directory: &Path, json: bool) -> Result<(), DoctorError> {
    let checks = sandbox::probe(directory);
    if json {
        let ready = missing(&checks).is_empty();
        let text = serde_json::to_string_pretty(&Findings { ready, checks: &checks }).unwrap_or_default();
        write_stdout(&format!("{text}\n"))?;
    } else {
        write_stdout(&rendered(&checks, Palette::of(Stream::Stdout)))?;
    }
    refuse_missing(&checks)
}

/// Passes when nothing essential is missing. Says nothing.
///
/// # Errors
/// With everything that is missing, and how to get it.
pub(crate) fn require(directory: &Path) -> Result<(), DoctorError> {
    refuse_missing(&sandbox::probe(directory))
}

fn missing(checks: &[Check]) -> Vec<Check> {
    checks.iter().filter(|check| check.state == State::Missing).cloned().collect()
}

fn refuse_missing(checks: &[Check]) -> Result<(), DoctorError> {
    let missing = missing(checks);
    if missing.is_empty() { Ok(()) } else { Err(DoctorError::Missing { missing }) }
}

fn rendered(checks: &[Check], palette: Palette) -> String {
    let mut text = String::new();
    for check in checks {
        let (word, style) = match check.state {
            State::Ok => ("ok", Style::Good),
            State::Degraded => ("limited", Style::Warning),
            State::Missing => ("missing", Style::Error),
        };
        text.push_str(&format!(
            "{} {}: {}\n",
            palette.paint(style, &format!("{word:<8}")),
            check.name,
            check.found
        ));
        if !check.remedy.is_empty() {
            text.push_str(&format!("         {}\n", palette.paint(Style::Hint, &check.remedy)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, state: State) -> Check {
        Check { name: name.into(), state, found: "found".into(), remedy: "install it".into() }
    }

    #[test]
    fn only_what_is_missing_stops_a_build() {
        assert!(refuse_missing(&[check("cgroups", State::Degraded), check("git", State::Ok)]).is_ok());
        let error =
            refuse_missing(&[check("make", State::Missing), check("git", State::Missing)]).unwrap_err();
        assert!(error.to_string().contains("make, git"), "{error}");
        assert_eq!(error.hints().len(), 2, "one remedy each");
    }

    #[test]
    fn every_check_is_shown_with_its_remedy() {
        let text = rendered(&[check("make", State::Missing)], Palette::plain());
        assert_eq!(text, "missing  make: found\n         install it\n");
    }
}
