//! Measures what the farm's decisions cost, and writes the report that is kept beside the code.
//!
//! `just bench` runs it in release. What is measured is the library code that Summit calls, in one thread unless the
//! code itself uses more, without database and network; only the way of a log is measured with a whole Summit, and
//! `just bench logs` measures that alone, `just bench store` the databases, and `just bench publish` a Vessel. Every figure is the median of several runs after one that does
//! not count; the report says of how many. The large farm is measured in a process of its own, so that its memory is
//! nobody else's.

mod large;
mod logs;
mod machine;
mod makespan;
mod publish;
mod real;
mod refresh;
mod report;
mod store;
mod timing;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use fault::{Fault, Kind};
use observe::{OutputError, write_stdout};
use serde::de::DeserializeOwned;

/// The argument by which the process for the large farm is told what it is.
const LARGE: &str = "large";

/// The same for the logs.
const LOGS_HERE: &str = "logs-here";

/// The argument that asks for the figures of logs only.
const LOGS: &str = "logs";

/// The same for the store, alone and as a part.
const STORE_HERE: &str = "store-here";
const STORE: &str = "store";

/// The same for publishing.
const PUBLISH_HERE: &str = "publish-here";
const PUBLISH: &str = "publish";

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// There is no recipe pack.
    #[error("cannot measure: there is no folder of real recipes")]
    NoData,
    /// A file cannot be read or written.
    #[error("cannot measure")]
    File {
        /// Why, with the path.
        #[from]
        source: std::io::Error,
    },
    /// The recipes cannot be read.
    #[error(transparent)]
    Recipes(#[from] summit::recipes::ReadFolderError),
    /// A part that is measured in a process of its own failed.
    #[error("cannot measure the {part}: {why}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why.
        why: String,
    },
    /// Builders or faults are written wrongly.
    #[error(transparent)]
    Spec(#[from] farm::sim::SpecError),
    /// Nobody reads the output.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Fault for BenchError {
    fn kind(&self) -> Kind {
        match self {
            BenchError::NoData => Kind::NotFound,
            BenchError::File { .. } => Kind::Unavailable,
            BenchError::Recipes(error) => error.kind(),
            BenchError::Part { .. } => Kind::Bug,
            BenchError::Spec(error) => error.kind(),
            BenchError::Output(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            BenchError::NoData => {
                vec!["say where recipes-dev.tar.zst is: MORAINE_DATA=folder just bench".into()]
            }
            _ => Vec::new(),
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    observe::run(|| run(&arguments).map_err(Into::into))
}

fn run(arguments: &[OsString]) -> Result<(), BenchError> {
    let is = |name: &str| arguments.first().is_some_and(|first| first == name);
    if is(LARGE) {
        let figures = large::measure()?;
        return Ok(write_stdout(&serde_json::to_string(&figures).unwrap_or_default())?);
    }
    if is(LOGS_HERE) {
        let figures =
            logs::measure().map_err(|why| BenchError::Part { part: "logs", why: why.to_string() })?;
        return Ok(write_stdout(&serde_json::to_string(&figures).unwrap_or_default())?);
    }
    if is(STORE_HERE) {
        let figures =
            store::measure().map_err(|why| BenchError::Part { part: "store", why: why.to_string() })?;
        return Ok(write_stdout(&serde_json::to_string(&figures).unwrap_or_default())?);
    }
    if is(PUBLISH_HERE) {
        let data = testkit::data().ok_or(BenchError::NoData)?;
        let folder = tempfile::tempdir()?;
        unpack(&data.join("recipes-dev.tar.zst"), folder.path())?;
        let figures = publish::measure(&folder.path().join("recipes-dev/recipes"))
            .map_err(|why| BenchError::Part { part: "publishing", why: why.to_string() })?;
        return Ok(write_stdout(&serde_json::to_string(&figures).unwrap_or_default())?);
    }
    let report = testkit::workspace_root().join("docs/benchmarks.md");
    if is(PUBLISH) {
        write_stdout("publishing …\n")?;
        let section = report::of_publish(&in_own_process("publishing", PUBLISH_HERE)?);
        fs_err::write(&report, report::with_section(&fs_err::read_to_string(&report)?, &section))?;
        return Ok(write_stdout(&format!("wrote {}\n", report.display()))?);
    }
    if is(STORE) {
        write_stdout("store …\n")?;
        let section = report::of_store(&in_own_process("store", STORE_HERE)?);
        fs_err::write(&report, report::with_section(&fs_err::read_to_string(&report)?, &section))?;
        return Ok(write_stdout(&format!("wrote {}\n", report.display()))?);
    }
    if is(LOGS) {
        write_stdout("logs …\n")?;
        let section = report::of_logs(&in_own_process("logs", LOGS_HERE)?);
        fs_err::write(&report, report::with_section(&fs_err::read_to_string(&report)?, &section))?;
        return Ok(write_stdout(&format!("wrote {}\n", report.display()))?);
    }
    let output = arguments.first().map_or(report, PathBuf::from);
    let data = testkit::data().ok_or(BenchError::NoData)?;
    let folder = tempfile::tempdir()?;
    unpack(&data.join("recipes-dev.tar.zst"), folder.path())?;
    let recipes = folder.path().join("recipes-dev/recipes");

    let machine = machine::Machine::this();
    write_stdout("real recipes …\n")?;
    let real = real::measure(&recipes)?;
    write_stdout("makespans …\n")?;
    let makespans = makespan::measure(&recipes)?;
    write_stdout("a large farm …\n")?;
    let large = in_own_process("large farm", LARGE)?;
    write_stdout("logs …\n")?;
    let logs = in_own_process("logs", LOGS_HERE)?;
    write_stdout("store …\n")?;
    let store = in_own_process("store", STORE_HERE)?;
    write_stdout("publishing …\n")?;
    let publish = in_own_process("publishing", PUBLISH_HERE)?;
    let text = report::render(&machine, &real, &makespans, &large, &logs, &store);
    let text = report::with_section(&text, &report::of_publish(&publish));
    fs_err::write(&output, text)?;
    Ok(write_stdout(&format!("wrote {}\n", output.display()))?)
}

fn unpack(archive: &Path, into: &Path) -> Result<(), BenchError> {
    let file = fs_err::File::open(archive)?;
    tar::Archive::new(zstd::Decoder::new(file)?).unpack(into)?;
    Ok(())
}

fn in_own_process<T: DeserializeOwned>(part: &'static str, argument: &str) -> Result<T, BenchError> {
    let output = Command::new(std::env::current_exe()?).arg(argument).output()?;
    if !output.status.success() {
        let why = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        return Err(BenchError::Part { part, why });
    }
    serde_json::from_slice(&output.stdout).map_err(|error| BenchError::Part { part, why: error.to_string() })
}
