//! The `avalanche` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbox::die_with_parent_if_asked();
    avalanche::cli::main(std::env::args_os())
}
