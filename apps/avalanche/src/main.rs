//! The `avalanche` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    avalanche::cli::main(std::env::args_os())
}
