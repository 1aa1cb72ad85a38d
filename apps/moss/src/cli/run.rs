//! `moss run`: a program of the root, in a namespace.

use std::io::Read;
use std::process::ExitCode;

use fault::Fault;
use sandbox::{Outcome, Output};
use serde_json::json;

use super::{CliError, Options, print_json};
use crate::run::{RunError, run_in_root};

/// Most bytes of each output stream that are kept for `--json`; what programs print to be read by others is far below.
const OUTPUT_BYTES_MAX: u64 = 16 << 20;

/// What shells add to the number of the signal that ended a program.
const SIGNAL_STATUS_BASE: i32 = 128;

pub(super) fn run(options: &Options, command: &[String]) -> Result<ExitCode, Box<dyn Fault>> {
    let output = if options.json { Output::Separate } else { Output::Inherit };
    let mut child = run_in_root(&options.root, command, output)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = std::thread::scope(|scope| {
        let errors = scope.spawn(|| read(stderr));
        (read(stdout), errors.join().unwrap_or_default())
    });
    let status = match child.wait().map_err(RunError::from)? {
        Outcome::Exited(status) => status,
        Outcome::Signaled(signal) => SIGNAL_STATUS_BASE + signal,
        other @ (Outcome::TimedOut | Outcome::Killed) => {
            let program = command.first().cloned().unwrap_or_default();
            return Err(CliError::Ended { program, how: format!("{other:?}") }.into());
        }
    };
    if options.json {
        print_json(&json!({ "command": command, "exit": status, "stdout": stdout, "stderr": stderr }))?;
    }
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)))
}

/// Reads to the end, so that the program never blocks, and keeps what fits.
fn read(stream: Option<impl Read>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    let read = stream
        .by_ref()
        .take(OUTPUT_BYTES_MAX)
        .read_to_end(&mut kept)
        .and_then(|_| std::io::copy(&mut stream, &mut std::io::sink()));
    if let Err(error) = read {
        tracing::warn!(%error, "the output of the program ended early");
    }
    String::from_utf8_lossy(&kept).into_owned()
}
