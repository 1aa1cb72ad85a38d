//! How much memory a sandbox took at its peak, from what the kernel says in three places.
//!
//! * **Looks** at the statistics of the control group, a few times a second: what is in use by all processes together and
//!   cannot be given back, which is their own memory and files in memory. Between two looks more may have been in use.
//! * The **largest process**, as the kernel reports it when processes are waited for (`ru_maxrss`). It misses nothing in
//!   between, and knows nothing of processes that ran side by side.
//! * The group's own **high-water mark**, exact, but with the contents of all files that were read and written: those
//!   stay in memory as long as nobody needs the room, so of a large build it says little more than how large the machine is.
//!
//! The peak is the larger of the first two, and never above the third. So it is a lower bound: with a group a close one for
//! anything that lasts longer than a look, without a group only that of one process. A process counts from before it
//! became another program, so the figure is never below the few MiB of the program that set the sandbox up.

use std::time::Duration;

use crate::cgroup::Version;

/// Pause between two looks. One costs some 50 microseconds; a linker or a compiler that matters lives for seconds.
pub(crate) const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// What is in use and cannot be given back, from the text of a group's `memory.stat`.
pub(crate) fn in_use(version: Version, statistics: &str) -> u64 {
    let names = match version {
        Version::One => ["total_rss", "total_shmem"],
        Version::Two => ["anon", "shmem"],
    };
    let value = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        names.contains(&name).then(|| value.trim().parse::<u64>().ok())?
    };
    statistics.lines().filter_map(value).fold(0, u64::saturating_add)
}

/// The peak in bytes: what looks found, the largest process, and the group's high-water mark where there is one.
pub(crate) fn peak(in_use: u64, largest_process: u64, with_files: Option<u64>) -> u64 {
    in_use.max(largest_process).min(with_files.filter(|bytes| *bytes > 0).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_can_be_dropped_are_not_in_use() {
        let one =
            "cache 900\nrss 1\nshmem 2\ntotal_cache 900\ntotal_rss 40\ntotal_shmem 2\ntotal_rss_huge 7\n";
        let two = "anon 50\nfile 800\nkernel 30\nshmem 5\nanon_thp 9\n";
        for (version, text, expect) in [
            (Version::One, one, 42),
            (Version::Two, two, 55),
            (Version::Two, one, 2),
            (Version::One, "total_rss many\ntotal_shmem\n\u{fffd} 3", 0),
            (Version::One, "total_rss 18446744073709551615\ntotal_shmem 1", u64::MAX),
        ] {
            assert_eq!(in_use(version, text), expect, "{text}");
        }
    }

    #[test]
    fn the_peak_is_the_most_that_is_certain() {
        for (in_use, largest_process, with_files, expect) in [
            (50, 30, Some(500), 50),
            (0, 30, Some(500), 30),
            (0, 30, None, 30),
            // The largest process shares what is charged to somebody else: the C library, say.
            (10, 30, Some(20), 20),
            (10, 30, Some(0), 30),
            (0, 0, None, 0),
        ] {
            assert_eq!(peak(in_use, largest_process, with_files), expect);
        }
    }
}
