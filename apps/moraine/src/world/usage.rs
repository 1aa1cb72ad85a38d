//! What services take of the machine: memory and the time of processors, as the kernel says.

use std::collections::{BTreeMap, HashMap};

/// Ticks in a second of the times that the kernel tells: fixed for whoever is not the kernel.
const TICKS_PER_SECOND: u64 = 100;

/// What services took, by name. One that is killed goes on under the same name.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    /// The largest resident set of each, in bytes.
    largest: BTreeMap<String, u64>,
    /// The resident set of each at the last look, in bytes.
    last: BTreeMap<String, u64>,
    /// The time of each process, with those that it has waited for, in ticks.
    ticks: HashMap<(String, u32), u64>,
}

impl Usage {
    /// Looks at the services that run.
    pub(super) fn look(&mut self, processes: &[(&str, u32)]) {
        for &(name, pid) in processes {
            let size_bytes = resident_bytes(pid);
            self.last.insert(name.to_owned(), size_bytes);
            let largest = self.largest.entry(name.to_owned()).or_default();
            *largest = size_bytes.max(*largest);
            if let Some(ticks) = ticks(pid) {
                self.ticks.insert((name.to_owned(), pid), ticks);
            }
        }
    }

    /// The largest resident set of any service whose name begins so, in bytes.
    pub(super) fn largest(&self, name: &str) -> u64 {
        of_kind(&self.largest, name).max().unwrap_or(0)
    }

    /// The resident set at the last look of any service whose name begins so, in bytes.
    pub(super) fn last(&self, name: &str) -> u64 {
        of_kind(&self.last, name).max().unwrap_or(0)
    }

    /// Milliseconds of processor time that all services whose names begin so took together.
    pub(super) fn processor_ms(&self, name: &str) -> u64 {
        let of_kind = self.ticks.iter().filter(|((service, _), _)| service.starts_with(name));
        of_kind.map(|(_, ticks)| ticks * 1000 / TICKS_PER_SECOND).sum()
    }
}

fn of_kind<'a>(sizes: &'a BTreeMap<String, u64>, name: &'a str) -> impl Iterator<Item = u64> + 'a {
    sizes.iter().filter(move |(service, _)| service.starts_with(name)).map(|(_, size_bytes)| *size_bytes)
}

/// Memory of a process that is in memory, in bytes; 0 when it is gone.
fn resident_bytes(pid: u32) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|text| text.parse().ok());
    kibibytes.unwrap_or(0_u64).saturating_mul(1024)
}

/// Time of a process and of all those that it has waited for; none when it is gone.
fn ticks(pid: u32) -> Option<u64> {
    ticks_of(&fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The fields 14 to 17 of the line, of which the second is the name of the program, in parentheses, whatever it holds.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let times: Vec<u64> = rest.split(' ').skip(11).take(4).filter_map(|text| text.parse().ok()).collect();
    (times.len() == 4).then(|| times.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_measured_whatever_its_name() {
        let line = "12 (a ) b) S 1 12 12 0 -1 4194560 100 200 0 0 7 3 20 10 20 0 1 0 100 0 0";
        assert_eq!(ticks_of(line), Some(40));
        assert_eq!(ticks_of("12 (a) S 1 12"), None);
        let mut usage = Usage::default();
        usage.look(&[("summit", std::process::id())]);
        assert!(usage.largest("summit") > 1 << 20);
        assert_eq!(usage.last("sum"), usage.largest("summit"));
        assert_eq!(usage.largest("vessel"), 0);
    }
}
