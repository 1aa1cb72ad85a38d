//! The `avalanche` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    avalanche::main(std::env::args_os())
}
