//! Why an attempt came to nothing, and whose fault it was.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fault::{Fault, Kind};
use serde::{Deserialize, Serialize};

/// Attempts in a row that the farm may lose before a person has to look.
pub const FAULTS_MAX: u32 = 4;

/// The first rest after an attempt that the farm lost: an agent that starts again is back by then.
const REST_FIRST: Duration = Duration::from_secs(2);

/// Each further rest is so many times as long: the third gives a machine half a minute to come up again.
const REST_FACTOR: u32 = 4;

/// The class of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// A phase of the recipe ended with an error.
    Build,
    /// A build dependency is not to be had.
    Dependency,
    /// It took too long.
    TimeLimit,
    /// It said nothing for too long.
    Silence,
    /// It said too much.
    LogLimit,
    /// It wrote too much.
    SizeLimit,
    /// It needed more memory than it may have.
    OutOfMemory,
    /// It took more room on the disk of its builder than it may.
    DiskLimit,
    /// The building machine is not in order.
    HostFault,
    /// The repository did not take what was built.
    StoreFault,
    /// The builder was not heard of for the time of its lease.
    Lost,
    /// Somebody stopped it.
    Cancelled,
    /// No builder can do what the recipe asks for.
    Unsupported,
}

/// Whose account a failure goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Charge {
    /// The recipe's: its maintainer has to look.
    Recipe,
    /// The building machine's: [`crate::schedule::FAULTS_BEFORE_REST`] in a row quarantine it.
    Machine,
    /// The farm's as a whole.
    Farm,
    /// Nobody's.
    Nobody,
}

/// Where the next attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Rather on another builder.
    Elsewhere,
    /// On any.
    Anywhere,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whose account it goes to.
    pub charge: Charge,
    /// Attempts in a row after which the task fails; 1 when it is never tried again by itself.
    pub attempts_max: u32,
    /// Where it is tried again.
    pub place: Place,
    /// Whether the same recipe may well be built on another machine, or in more time: what another attempt that runs
    /// already may still show. The farm itself never tries again because of this alone.
    pub may_be_the_machine: bool,
}

impl Policy {
    /// How long a task rests after so many faults in a row.
    #[must_use]
    pub fn rest(self, faults: u32) -> Duration {
        REST_FIRST.saturating_mul(REST_FACTOR.saturating_pow(faults.saturating_sub(1)))
    }
}

impl FailureClass {
    /// Every class.
    pub const ALL: [FailureClass; 13] = [
        FailureClass::Build,
        FailureClass::Dependency,
        FailureClass::TimeLimit,
        FailureClass::Silence,
        FailureClass::LogLimit,
        FailureClass::SizeLimit,
        FailureClass::OutOfMemory,
        FailureClass::DiskLimit,
        FailureClass::HostFault,
        FailureClass::StoreFault,
        FailureClass::Lost,
        FailureClass::Cancelled,
        FailureClass::Unsupported,
    ];

    /// What follows from a failure of this class. This table is the only place that says so.
    #[must_use]
    pub fn policy(self) -> Policy {
        use Charge::{Farm, Machine, Nobody, Recipe};
        use Place::{Anywhere, Elsewhere};
        let (charge, attempts_max, place, may_be_the_machine) = match self {
            FailureClass::Build => (Recipe, 1, Anywhere, false),
            FailureClass::Dependency => (Recipe, 1, Anywhere, false),
            FailureClass::TimeLimit => (Recipe, 1, Anywhere, true),
            FailureClass::Silence => (Recipe, 1, Anywhere, true),
            FailureClass::LogLimit => (Recipe, 1, Anywhere, false),
            FailureClass::SizeLimit => (Recipe, 1, Anywhere, false),
            FailureClass::OutOfMemory => (Recipe, 1, Anywhere, true),
            FailureClass::DiskLimit => (Recipe, 1, Anywhere, true),
            FailureClass::HostFault => (Machine, FAULTS_MAX, Elsewhere, true),
            // The same files may be taken the next time; who builds them does not matter.
            FailureClass::StoreFault => (Farm, FAULTS_MAX, Anywhere, true),
            FailureClass::Lost => (Farm, FAULTS_MAX, Elsewhere, true),
            FailureClass::Cancelled => (Nobody, 1, Anywhere, true),
            FailureClass::Unsupported => (Nobody, 1, Anywhere, false),
        };
        Policy { charge, attempts_max, place, may_be_the_machine }
    }

    /// Whether the farm is to blame: such an attempt is tried again and never charged to the recipe.
    #[must_use]
    pub fn is_infrastructure(self) -> bool {
        matches!(self.policy().charge, Charge::Machine | Charge::Farm)
    }

    /// Whether it says something about the machine that built. A lost builder is away, not broken.
    #[must_use]
    pub fn is_host(self) -> bool {
        self.policy().charge == Charge::Machine
    }

    /// See [`Policy::may_be_the_machine`].
    #[must_use]
    pub fn may_be_the_machine(self) -> bool {
        self.policy().may_be_the_machine
    }

    /// Its name in messages, files and addresses.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            FailureClass::Build => "build",
            FailureClass::Dependency => "dependency",
            FailureClass::TimeLimit => "time-limit",
            FailureClass::Silence => "silence",
            FailureClass::LogLimit => "log-limit",
            FailureClass::SizeLimit => "size-limit",
            FailureClass::OutOfMemory => "out-of-memory",
            FailureClass::DiskLimit => "disk-limit",
            FailureClass::HostFault => "host-fault",
            FailureClass::StoreFault => "store-fault",
            FailureClass::Lost => "lost",
            FailureClass::Cancelled => "cancelled",
            FailureClass::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.keyword())
    }
}

/// A text that is no failure class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read failure class {0:?}: it is not known")]
pub struct UnknownFailureClass(pub String);

impl Fault for UnknownFailureClass {
    fn kind(&self) -> Kind {
        Kind::Input
    }
}

impl FromStr for FailureClass {
    type Err = UnknownFailureClass;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|class| class.keyword() == text)
            .ok_or_else(|| UnknownFailureClass(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_read_back_and_equal_the_stored_form() {
        for class in FailureClass::ALL {
            assert_eq!(class.keyword().parse(), Ok(class));
            assert_eq!(serde_json::to_string(&class).unwrap(), format!("\"{class}\""));
        }
        assert!("Build".parse::<FailureClass>().is_err());
    }

    #[test]
    fn the_recipe_is_blamed_for_its_own_failures_only() {
        let infrastructure: Vec<_> =
            FailureClass::ALL.into_iter().filter(|class| class.is_infrastructure()).collect();
        assert_eq!(infrastructure, [FailureClass::HostFault, FailureClass::StoreFault, FailureClass::Lost]);
        for class in [FailureClass::Build, FailureClass::Dependency, FailureClass::SizeLimit] {
            assert!(!class.may_be_the_machine(), "{class} would only be repeated");
        }
    }
}
