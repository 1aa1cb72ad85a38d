//! A machine's check-up: what sandboxes and builds need, what was found, and how to get what is missing.
//!
//! What the kernel allows is tried for real, with sandboxes that end at once, because settings and documentation often
//! disagree with what happens. Tools are looked for along `PATH`.

mod isolation;
mod tools;

use std::path::Path;

use serde::{Deserialize, Serialize};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What: "user namespaces", "C compiler".
    pub name: String,
    /// Whether it is there.
    pub state: State,
    /// What was found: a path, a size, the system's refusal.
    pub found: String,
    /// What to do, with the package or the setting; empty where nothing is to be done.
    pub remedy: String,
}

/// Whether a thing is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is.
    Ok,
    /// It is not, and things go on with less: the remedy says with what less.
    Degraded,
    /// It is not, and nothing can be built.
    Missing,
}

/// Looks at everything; `directory` is where builds will need room. The running program's `main` begins with
/// [`crate::enter_if_asked`].
#[must_use]
pub fn probe(directory: &Path) -> Vec<Check> {
    probe_through(Path::new("/proc/self/exe"), directory)
}

/// As [`probe`], with sandboxes started through another program.
#[must_use]
pub fn probe_through(program: &Path, directory: &Path) -> Vec<Check> {
    let mut checks = isolation::checks(program);
    checks.extend(tools::checks());
    checks.push(tools::free_space(directory));
    checks
}

impl Check {
    fn ok(name: &str, found: impl Into<String>) -> Check {
        Check { name: name.to_owned(), state: State::Ok, found: found.into(), remedy: String::new() }
    }

    fn lacking(name: &str, state: State, found: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { name: name.to_owned(), state, found: found.into(), remedy: remedy.into() }
    }
}
