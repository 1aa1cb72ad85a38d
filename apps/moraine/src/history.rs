//! Measured builds, one JSON object on each line.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use farm::sim::Measured;
use fault::{Fault, Kind};
use serde::Deserialize;

/// Largest file that is read: a million builds of about a hundred bytes each.
const FILE_SIZE_BYTES_MAX: u64 = 100 << 20;

/// Longest build that is believed: a month.
const SECONDS_MAX: f64 = 30.0 * 86_400.0;

/// Why a history cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// It cannot be read.
    #[error("cannot read the history")]
    Read {
        /// Why, with the path.
        source: std::io::Error,
    },
    /// It is larger than any history.
    #[error("cannot read the history {path}: it has more than {FILE_SIZE_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line is not what it should be.
    #[error("cannot read the history {path}: line {line}: {why}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

impl Fault for HistoryError {
    fn kind(&self) -> Kind {
        match self {
            HistoryError::Read { source } if source.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
            HistoryError::Read { .. } => Kind::Unavailable,
            HistoryError::TooLarge { .. } | HistoryError::Line { .. } => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            HistoryError::Read { .. } => Vec::new(),
            HistoryError::TooLarge { .. } => vec!["keep the newest builds of each source only".into()],
            HistoryError::Line { .. } => {
                vec![
                    r#"a line is like {"source":"zlib","seconds":42.5,"peak_memory_bytes":300000000}"#.into(),
                ]
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Line {
    source: String,
    seconds: f64,
    peak_memory_bytes: Option<u64>,
}

/// Reads a history: of several builds of one source the middle time and the largest memory count.
///
/// # Errors
/// When the file cannot be read, or a line is not what it should be.
pub(crate) fn read(path: &Path) -> Result<HashMap<String, Measured>, HistoryError> {
    let file = fs_err::File::open(path).map_err(|source| HistoryError::Read { source })?;
    let mut text = String::new();
    file.take(FILE_SIZE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|source| HistoryError::Read { source })?;
    if u64::try_from(text.len()).is_ok_and(|length| length > FILE_SIZE_BYTES_MAX) {
        return Err(HistoryError::TooLarge { path: path.to_path_buf() });
    }
    understand(&text).map_err(|(line, why)| HistoryError::Line { path: path.to_path_buf(), line, why })
}

fn understand(text: &str) -> Result<HashMap<String, Measured>, (usize, String)> {
    let mut builds: HashMap<String, (Vec<f64>, Option<u64>)> = HashMap::new();
    for (number, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let line: Line = serde_json::from_str(text).map_err(|error| (number + 1, error.to_string()))?;
        if !(line.seconds > 0.0 && line.seconds <= SECONDS_MAX) {
            return Err((number + 1, format!("{} is no time of a build in seconds", line.seconds)));
        }
        let (times, memory) = builds.entry(line.source).or_default();
        times.push(line.seconds);
        *memory = (*memory).max(line.peak_memory_bytes);
    }
    let middle = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok(builds
        .into_iter()
        .map(|(source, (times, memory))| {
            (source, Measured { seconds: middle(times), peak_memory_bytes: memory })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_builds_the_middle_counts() {
        let text = "{\"source\":\"zlib\",\"seconds\":9}\n\n{\"source\":\"zlib\",\"seconds\":1.5,\"peak_memory_bytes\":5}\n\
                    {\"source\":\"zlib\",\"seconds\":4,\"peak_memory_bytes\":7,\"builder\":\"a\"}\n{\"source\":\"xz\",\"seconds\":2}\n";
        let known = understand(text).unwrap();
        assert_eq!(known["zlib"], Measured { seconds: 4.0, peak_memory_bytes: Some(7) });
        assert_eq!(known["xz"], Measured { seconds: 2.0, peak_memory_bytes: None });
    }

    #[test]
    fn bad_lines_are_named() {
        let good = "{\"source\":\"zlib\",\"seconds\":9}\n";
        for bad in [
            "zlib 9",
            "{\"source\":\"zlib\"}",
            "{\"source\":\"zlib\",\"seconds\":0}",
            "{\"source\":\"zlib\",\"seconds\":-4}",
            "{\"source\":\"zlib\",\"seconds\":1e300}",
            "{\"source\":\"zlib\",\"seconds\":1,\"peak_memory_bytes\":-1}",
        ] {
            assert_eq!(understand(&format!("{good}{bad}\n")).unwrap_err().0, 2, "{bad}");
        }
    }
}
