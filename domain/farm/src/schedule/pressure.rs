//! A machine that waits for itself gets nothing new.
//!
//! The kernel measures in which part of the last seconds something could not go on for want of processor, memory or
//! disk. Waiting for processors is what a builder is for, and is already counted in its load. One that waits for memory
//! or for its disk only does everything slower with one more build.

use serde::{Deserialize, Serialize};

use super::Builder;

/// From here on a machine is short of memory: in a third of the time something waits for pages to come back.
const MEMORY_PERCENT_MAX: u32 = 33;

/// From here on a disk is all that anything waits for. Unpacking sources alone gets to some tens of percent.
const IO_PERCENT_MAX: u32 = 90;

/// Part of the last ten seconds in which something on a machine waited, in percent; all 0 where nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pressure {
    /// For a processor.
    pub cpu_percent: u32,
    /// For memory.
    pub memory_percent: u32,
    /// For a disk.
    pub io_percent: u32,
}

/// What a machine is short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Shortage {
    /// Memory.
    Memory,
    /// Disk.
    Io,
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Shortage::Memory => "is short of memory",
            Shortage::Io => "waits for its disk",
        })
    }
}

impl Pressure {
    /// What the machine is short of, so that it gets nothing new; none when it can take more.
    #[must_use]
    pub fn shortage(self) -> Option<Shortage> {
        if self.memory_percent >= MEMORY_PERCENT_MAX {
            Some(Shortage::Memory)
        } else if self.io_percent >= IO_PERCENT_MAX {
            Some(Shortage::Io)
        } else {
            None
        }
    }
}

/// What the first of `builders` that is short of something is short of, if all are.
pub(super) fn common_shortage(builders: &[&Builder]) -> Option<Shortage> {
    if builders.iter().any(|builder| builder.pressure.shortage().is_none()) {
        return None;
    }
    builders.first().and_then(|builder| builder.pressure.shortage())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_and_disk_keep_work_away() {
        fn check(cpu_percent: u32, memory_percent: u32, io_percent: u32, expect: Option<Shortage>) {
            assert_eq!(Pressure { cpu_percent, memory_percent, io_percent }.shortage(), expect);
        }
        check(0, 0, 0, None);
        check(100, 32, 89, None);
        check(0, 33, 0, Some(Shortage::Memory));
        check(0, 0, 90, Some(Shortage::Io));
        check(100, 100, 100, Some(Shortage::Memory));
    }
}
