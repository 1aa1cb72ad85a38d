//! Measures what the farm's decisions cost, and writes the report that is kept beside the code.
//!
//! `just bench` runs it in release. What is measured is the library code that Summit calls, in one thread unless the
//! code itself uses more, without database and network. Every figure is the median of several runs after one that does
//! not count; the report says of how many. The large farm is measured in a process of its own, so that its memory is
//! nobody else's.

mod large;
mod machine;
mod makespan;
mod real;
mod report;
mod timing;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use fault::{Fault, Kind};
use observe::{OutputError, write_stdout};

/// The argument by which the process for the large farm is told what it is.
const LARGE: &str = "large";

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
    /// The process for the large farm failed.
    #[error("cannot measure the large farm: {why}")]
    Large {
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
            BenchError::Large { .. } => Kind::Bug,
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
    if arguments.first().is_some_and(|first| first == LARGE) {
        let figures = large::measure()?;
        return Ok(write_stdout(&serde_json::to_string(&figures).unwrap_or_default())?);
    }
    let output =
        arguments.first().map_or_else(|| testkit::workspace_root().join("docs/benchmarks.md"), PathBuf::from);
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
    let large = large_in_own_process()?;
    let text = report::render(&machine, &real, &makespans, &large);
    fs_err::write(&output, text)?;
    Ok(write_stdout(&format!("wrote {}\n", output.display()))?)
}

fn unpack(archive: &Path, into: &Path) -> Result<(), BenchError> {
    let file = fs_err::File::open(archive)?;
    tar::Archive::new(zstd::Decoder::new(file)?).unpack(into)?;
    Ok(())
}

fn large_in_own_process() -> Result<large::Figures, BenchError> {
    let output = Command::new(std::env::current_exe()?).arg(LARGE).output()?;
    if !output.status.success() {
        return Err(BenchError::Large { why: output.status.to_string() });
    }
    serde_json::from_slice(&output.stdout).map_err(|error| BenchError::Large { why: error.to_string() })
}
