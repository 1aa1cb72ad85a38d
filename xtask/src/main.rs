//! Automation with logic in it: `cargo run -p xtask -- COMMAND`.
//!
//! * `gen` writes code and pages that are generated from other files; `gen --check` fails when what is committed differs.

mod generate;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Automation with logic in it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the code that is generated from other files.
    Gen {
        /// Write nothing; fail when the committed code differs.
        #[arg(long)]
        check: bool,
    },
}

#[expect(clippy::print_stderr, reason = "a program's own words")]
fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a program's own words")]
fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = here.parent().unwrap_or(here);
    match arguments.command {
        Command::Gen { check } => {
            let mode = if check { generate::Mode::Check } else { generate::Mode::Write };
            let changed = generate::run(workspace, mode)?;
            for path in &changed {
                println!("{}: {}", if check { "differs" } else { "written" }, path.display());
            }
            let drift = check && !changed.is_empty();
            Ok(if drift { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
    }
}
