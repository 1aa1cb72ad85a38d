//! The `moss` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbox::enter_if_asked();
    moss::cli::main(std::env::args_os())
}
