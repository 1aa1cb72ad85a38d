//! The `summit` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    summit::cli::main(std::env::args_os())
}
