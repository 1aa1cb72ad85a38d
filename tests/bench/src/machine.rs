//! The machine that was measured on, as far as it matters.

/// What the report says of the machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) processor: String,
    /// Processes that wanted to run in the last minute, in the mean.
    pub(crate) load: f64,
}

impl Machine {
    /// This machine.
    pub(crate) fn this() -> Self {
        let field = |file: &str, name: &str| {
            let text = fs_err::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kibibytes = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kibibytes: u64 = kibibytes.trim_end_matches(" kB").parse().unwrap_or(0);
        let load = fs_err::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_ascii_whitespace().next().and_then(|first| first.parse().ok());
        Self {
            load: load.unwrap_or(0.0),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kibibytes + (1 << 19)) >> 20,
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into()),
        }
    }
}

/// What this process has of memory, in MiB: now, and at its peak.
pub(crate) fn memory_mib() -> (u64, u64) {
    let text = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        let kibibytes: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(kibibytes >> 10)
    };
    (field("VmRSS:").unwrap_or(0), field("VmHWM:").unwrap_or(0))
}
