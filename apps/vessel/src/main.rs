//! The `vessel` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    vessel::cli::main(std::env::args_os())
}
