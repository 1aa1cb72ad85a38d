//! `moraine task …`: asks Summit about tasks.

mod log;

use clap::Subcommand;
use fault::Fault;

use log::LogArguments;

/// What is to be known of a task.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Print the log of a build, follow it, or search the logs of many.
    Log(LogArguments),
}

/// Runs a command about tasks.
///
/// # Errors
/// When Summit does not answer, or refuses.
pub(crate) fn task(command: &TaskCommand) -> Result<(), Box<dyn Fault>> {
    match command {
        TaskCommand::Log(arguments) => Ok(log::log(arguments)?),
    }
}
