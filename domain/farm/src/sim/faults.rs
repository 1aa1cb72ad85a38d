//! What goes wrong in a simulation.

use std::str::FromStr;

use super::spec::{Cursor, SpecError, decimal, duration_ms};

/// How faults are given.
const EXAMPLE: &str = "crash=6h,repair=10m,straggle=0.02:4,host=0.01,break=0.01";

/// How long a builder is away when nothing else is said.
const REPAIR_MS: u64 = 10 * 60_000;

/// What goes wrong, and how often. Nothing by default.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Mean time between two crashes of one builder; whatever it builds is lost.
    pub crash_ms: Option<u64>,
    /// How long it is away then.
    pub repair_ms: u64,
    /// Share of the attempts that take longer for no reason of their own.
    pub straggle_share: f64,
    /// How many times as long those take.
    pub straggle_times: f64,
    /// Share of the attempts that a fault of the builder ends.
    pub host_share: f64,
    /// Share of the recipes that cannot be built, wherever they are tried.
    pub break_share: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            crash_ms: None,
            repair_ms: REPAIR_MS,
            straggle_share: 0.0,
            straggle_times: 1.0,
            host_share: 0.0,
            break_share: 0.0,
        }
    }
}

impl FromStr for Faults {
    type Err = SpecError;

    /// Reads `crash=6h,repair=10m,straggle=0.02:4,host=0.01,break=0.01`, any of them, in any order.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        const SHARE: &str = "a share from 0 to 1";
        const TIME: &str = "a time such as 90s, 10m, 6h or 2d";
        let mut cursor = Cursor::new("the faults", EXAMPLE, text);
        let mut faults = Self::default();
        loop {
            let start = cursor.place();
            let name = cursor.word(&['=', ',']);
            if !matches!(name, "crash" | "repair" | "straggle" | "host" | "break") {
                return Err(cursor.error(start, "crash, repair, straggle, host or break"));
            }
            cursor.expect('=', "and a value")?;
            match name {
                "crash" => faults.crash_ms = Some(cursor.value(&[','], TIME, duration_ms)?),
                "repair" => faults.repair_ms = cursor.value(&[','], TIME, duration_ms)?,
                "straggle" => {
                    faults.straggle_share =
                        cursor.value(&[',', ':'], SHARE, |word| decimal(word, 0.0, 1.0))?;
                    cursor.expect(':', "and how many times as long it takes")?;
                    faults.straggle_times =
                        cursor.value(&[','], "a number from 1 to 100", |word| decimal(word, 1.0, 100.0))?;
                }
                "host" => {
                    faults.host_share =
                        cursor.value(&[','], "a share from 0 to 0.9", |word| decimal(word, 0.0, 0.9))?;
                }
                _ => {
                    faults.break_share = cursor.value(&[','], SHARE, |word| decimal(word, 0.0, 1.0))?;
                }
            }
            if cursor.is_at_end() {
                return Ok(faults);
            }
            cursor.accept(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read() {
        let faults: Faults = "straggle=0.02:4,crash=6h,repair=90s,break=0.01,host=0.1".parse().unwrap();
        assert_eq!(
            faults,
            Faults {
                crash_ms: Some(21_600_000),
                repair_ms: 90_000,
                straggle_share: 0.02,
                straggle_times: 4.0,
                host_share: 0.1,
                break_share: 0.01,
            }
        );
        assert_eq!("crash=1h".parse::<Faults>().unwrap().repair_ms, REPAIR_MS);
    }

    #[test]
    fn bad_faults_are_refused_with_their_place() {
        for (text, position) in [
            ("", 1),
            ("fire=1h", 1),
            ("crash", 6),
            ("crash=6", 7),
            ("crash=6h,", 10),
            ("straggle=0.5", 13),
            ("straggle=2:4", 10),
            ("straggle=0.5:0.5", 14),
            ("crash=6h,break=-1", 16),
            ("host=1", 6),
        ] {
            let error = text.parse::<Faults>().unwrap_err();
            assert_eq!(error.position, position, "{text:?}: {error}");
        }
    }
}
