//! What the machine has left, and what it can do: read from the kernel, never guessed.

use std::path::Path;

use fs_err as fs;
use wire::summit::Pressure;

/// Processors that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// All memory of the machine.
pub(crate) fn memory_bytes() -> u64 {
    let system = rustix::system::sysinfo();
    system.totalram.saturating_mul(system.mem_unit.into())
}

/// Memory that something new could have without anything being written to disk; 0 where the system does not say.
pub(crate) fn memory_free_bytes() -> u64 {
    available(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn available(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

/// How busy all processors together were over the last minute, in percent; 0 where the system does not say.
pub(crate) fn load_percent() -> u32 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    percent_of(&text, cores())
}

/// `text` begins with the mean number of processes that ran or wanted to, with two digits after the point.
fn percent_of(text: &str, cores: usize) -> u32 {
    let word = text.split(' ').next().unwrap_or_default();
    hundredths(word).unwrap_or(0) / u32::try_from(cores).unwrap_or(u32::MAX).max(1)
}

/// A number with two digits after the point, as the kernel writes them.
fn hundredths(word: &str) -> Option<u32> {
    let (whole, part) = word.split_once('.')?;
    let (whole, part): (u32, u32) = (whole.parse().ok()?, part.get(..2)?.parse().ok()?);
    whole.checked_mul(100)?.checked_add(part)
}

/// What the machine waits for; nothing where its kernel does not measure that.
pub(crate) fn pressure() -> Option<Pressure> {
    pressure_in(Path::new("/proc/pressure"))
}

fn pressure_in(folder: &Path) -> Option<Pressure> {
    let percent = |name: &str| some_percent(&fs::read_to_string(folder.join(name)).ok()?);
    Some(Pressure {
        cpu_percent: percent("cpu")?,
        memory_percent: percent("memory")?,
        io_percent: percent("io")?,
    })
}

/// Of `some avg10=12.34 avg60=…`.
fn some_percent(text: &str) -> Option<u32> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = some.split(' ').find_map(|word| word.strip_prefix("avg10="))?;
    Some((hundredths(average)? / 100).min(100))
}

/// What the machine is short of just now, by the same measure as Summit's.
pub(crate) fn shortage() -> Option<farm::schedule::Shortage> {
    let Pressure { cpu_percent, memory_percent, io_percent } = pressure()?;
    farm::schedule::Pressure { cpu_percent, memory_percent, io_percent }.shortage()
}

/// What this machine can do, by the names that placement knows.
pub(crate) fn features() -> Vec<String> {
    let mut features = Vec::new();
    let writable = |path: &str| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    if writable("/dev/kvm") {
        features.push("kvm".to_owned());
    }
    for (limit, available) in sandbox::limits_available() {
        if available {
            features.push(format!("{limit}-limit"));
        }
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_that_of_all_cores_together() {
        for (text, cores, expect) in [
            ("0.82 0.56 1.00 1/300 4711\n", 2, 41),
            ("8.00 0 0", 2, 400),
            ("16.50 0 0", 16, 103),
            ("", 2, 0),
            ("nonsense.xx", 2, 0),
            ("4294967295.00", 1, 0),
        ] {
            assert_eq!(percent_of(text, cores), expect, "{text}");
        }
    }

    #[test]
    fn pressure_is_read_as_the_kernel_writes_it() {
        fn check(text: &str, expect: Option<u32>) {
            assert_eq!(some_percent(text), expect, "{text}");
        }
        check("some avg10=12.99 avg60=1.00 avg300=0.48 total=3\nfull avg10=9.00\n", Some(12));
        check("full avg10=9.00 avg60=0.00 avg300=0.00 total=0\n", None);
        check("some avg60=1.00\n", None);
        check("some avg10=101.00\n", Some(100));
        check("", None);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(pressure_in(folder.path()), None, "a kernel without it");
    }

    #[test]
    fn free_memory_is_what_something_new_could_have() {
        assert_eq!(available("MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:    5 kB\n"), 5 * 1024);
        assert_eq!(available("MemTotal: 9 kB\n"), 0);
        assert!(memory_free_bytes() > 0 && memory_free_bytes() < memory_bytes());
    }
}
