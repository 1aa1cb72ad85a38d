//! Runs one sandbox from a description in JSON on standard input; the command's output goes to standard output.
//!
//! A tool for looking into descriptions, and the second program that the tests of this crate need: it can be started as
//! another user, and be killed. `sandbox-run --json` ends with one line on standard error that tells the outcome,
//! the ids and the notices; `sandbox-run --remove PATH` removes a tree; `sandbox-run --check DIRECTORY` prints what the
//! machine lacks.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use fault::Fault;
use sandbox::{Outcome, Sandbox, SandboxError, Spec};

/// Most bytes of a description; the same order as the library's own bound.
const DESCRIPTION_BYTES_MAX: u64 = 8 << 20;

fn main() -> ExitCode {
    sandbox::enter_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match arguments.as_slice() {
        ["--remove", path] => sandbox::remove_tree(Path::new(path)).map(|()| 0),
        ["--check", directory] => check(Path::new(directory)),
        [] => run(false),
        ["--json"] => run(true),
        _ => Err(SandboxError::Description {
            why: "usage: sandbox-run [--json | --remove PATH | --check DIRECTORY] < DESCRIPTION".to_owned(),
        }),
    };
    match answer {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let mut text = format!("error: {}\n", fault::chain(&error).join("\ncaused by: "));
            for hint in error.hints() {
                text.push_str(&format!("hint: {hint}\n"));
            }
            // There is nowhere to complain about a closed standard error.
            let _written = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(error.kind().meaning().exit_code)
        }
    }
}

fn run(json: bool) -> Result<u8, SandboxError> {
    let broken = |source| SandboxError::Conversation { action: "pass on the output of", source };
    let mut text = String::new();
    std::io::stdin().take(DESCRIPTION_BYTES_MAX).read_to_string(&mut text).map_err(broken)?;
    let spec: Spec =
        serde_json::from_str(&text).map_err(|error| SandboxError::Description { why: error.to_string() })?;
    let mut child = Sandbox::spawn(&spec)?;
    if let Some(mut output) = child.stdout.take() {
        std::io::copy(&mut output, &mut std::io::stdout()).map_err(broken)?;
    }
    let outcome = child.wait()?;
    if json {
        let report = serde_json::json!({
            "outcome": outcome,
            "memory_ran_out": child.memory_ran_out(),
            "peak_memory_bytes": child.peak_memory_bytes(),
            "id_map": child.id_map(),
            "notices": child.notices(),
        });
        std::io::stderr().write_all(format!("{report}\n").as_bytes()).map_err(broken)?;
    }
    Ok(match outcome {
        Outcome::Exited(status) => u8::try_from(status).unwrap_or(u8::MAX),
        // As shells have it: 128 and the signal.
        Outcome::Signaled(signal) => {
            u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128))
        }
        Outcome::TimedOut => 124,
        Outcome::Killed => 137,
    })
}

fn check(directory: &Path) -> Result<u8, SandboxError> {
    let broken = |source| SandboxError::Conversation { action: "print the checks of", source };
    let checks = sandbox::probe(directory);
    for check in &checks {
        let line = serde_json::to_string(check).unwrap_or_default();
        std::io::stdout().write_all(format!("{line}\n").as_bytes()).map_err(broken)?;
    }
    Ok(u8::from(checks.iter().any(|check| check.state == sandbox::State::Missing)))
}
