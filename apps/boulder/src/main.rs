//! The `boulder` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbox::enter_if_asked();
    sandbox::die_with_parent_if_asked();
    boulder::cli::main(std::env::args_os())
}
