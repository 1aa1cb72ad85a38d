//! The whole farm in one program: `demo`, `up`, `doctor`, `bootstrap`, and every other program under its own name.

mod audit;
mod bootstrap;
mod builder;
mod cli;
mod demo;
mod doctor;
mod examples;
mod farm;
mod fire;
mod history;
mod plan;
mod ports;
mod queue;
mod signals;
mod sim;
mod summit_api;
mod supervisor;
mod table;
mod task;
mod verify;
mod watch;
mod why;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbox::enter_if_asked();
    sandbox::die_with_parent_if_asked();
    cli::main(std::env::args_os().collect())
}
