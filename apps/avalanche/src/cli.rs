//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fault::{Fault, Kind};
use observe::{LogFormat, LogLevel, Tracing};
use tokio::signal::unix::{SignalKind, signal};
use wire::{Identity, PublicKey};

use crate::keeper::{self, Program};
use crate::settings::Said;
use crate::{agent, drain, enrol};

/// Build agent: takes orders from Summit, builds them with Boulder, uploads to Vessel
#[derive(Debug, Parser)]
#[command(name = "avalanche", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the agent until it is told to end; builds go on without it
    #[command(visible_alias = "serve")]
    Run {
        /// File with settings, in TOML
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Ends the builds too when the agent is told to end; otherwise they go on, and are found at the next start
        #[arg(long)]
        stop_builds: bool,
        #[command(flatten)]
        said: Box<Said>,
    },
    /// Takes no more orders, and waits until no build runs; until the agent is started again
    Drain {
        /// Folder of the agent
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Ends the builds instead of waiting; Summit gives them to others
        #[arg(long)]
        now: bool,
        /// Prints {"ended": N}, the builds that were waited for or ended
        #[arg(long)]
        json: bool,
    },
    /// Keeps one build; the agent starts it
    #[command(hide = true)]
    Keep {
        /// Folder of the attempt
        folder: PathBuf,
    },
    /// Makes this machine a builder, with the one-time token that an operator made for it
    Enrol {
        /// Folder of the agent
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Summit, as host:port
        #[arg(long, value_name = "ADDRESS")]
        summit: String,
        /// Public key of Summit; it may begin with a dash
        #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
        summit_key: PublicKey,
        /// File with the token
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        /// Prints {"name": NAME, "public_key": KEY}
        #[arg(long)]
        json: bool,
    },
    /// Prints the public key of the agent, which is made if there is none
    Key {
        /// Folder of the agent
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Prints {"public_key": KEY}
        #[arg(long)]
        json: bool,
    },
}

/// The machine does not let the agent run.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}")]
struct MachineError {
    action: String,
    #[source]
    source: std::io::Error,
}

impl Fault for MachineError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }
}

/// Runs the program `avalanche` with these arguments, the first of which is its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Arguments = match observe::parse(arguments) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    observe::run(|| match arguments.command {
        Command::Run { config, stop_builds, said } => run(config.as_deref(), stop_builds, *said),
        Command::Drain { data, now, json } => drain(&data, now, json),
        Command::Keep { folder } => {
            Tracing::start(LogLevel::Info, LogFormat::Text)?;
            Ok(keeper::keep(&folder)?)
        }
        Command::Enrol { data, summit, summit_key, token_file, json } => {
            enrol(&data, &summit, summit_key, &token_file, json)
        }
        Command::Key { data, json } => key(&data, json),
    })
}

fn key(data: &Path, json: bool) -> Result<(), Box<dyn Fault>> {
    let key = identity(data)?.public_key();
    let text = if json { serde_json::json!({ "public_key": key }).to_string() } else { key.to_string() };
    Ok(observe::write_stdout(&format!("{text}\n"))?)
}

fn enrol(
    data: &Path,
    address: &str,
    summit_key: PublicKey,
    token_file: &Path,
    json: bool,
) -> Result<(), Box<dyn Fault>> {
    let identity = identity(data)?;
    let machine = |source| MachineError { action: "start".to_owned(), source };
    let runtime = tokio::runtime::Runtime::new().map_err(machine)?;
    let name = runtime.block_on(enrol::enrol(address, summit_key, token_file, &identity))?;
    let text = match json {
        true => serde_json::json!({ "name": name, "public_key": identity.public_key() }).to_string(),
        false => format!(
            "this machine is builder {} now; the token is good for nothing more",
            observe::printable(&name)
        ),
    };
    Ok(observe::write_stdout(&format!("{text}\n"))?)
}

fn drain(data: &Path, now: bool, json: bool) -> Result<(), Box<dyn Fault>> {
    let ended = drain::drain(data, now)?;
    let text = match (json, ended) {
        (true, _) => serde_json::json!({ "ended": ended }).to_string(),
        (false, 0) => "no build runs, and no order is taken".to_owned(),
        (false, 1) => "one build has ended, and no order is taken".to_owned(),
        (false, _) => format!("{ended} builds have ended, and no order is taken"),
    };
    Ok(observe::write_stdout(&format!("{text}\n"))?)
}

fn run(config: Option<&Path>, stop_builds: bool, said: Said) -> Result<(), Box<dyn Fault>> {
    observe::give_memory_back_early();
    Tracing::start(LogLevel::Info, LogFormat::Text)?;
    let said = match config {
        Some(path) => said.or(Said::read(path)?),
        None => said,
    };
    let machine = |action: &str| {
        let action = action.to_owned();
        move |source| MachineError { action, source }
    };
    let current = std::env::current_exe().map_err(machine("find this program"))?;
    let settings = said.settle(&current)?;
    let identity = identity(&settings.data)?;
    tracing::info!(name = settings.name, key = %identity.public_key(), "the agent starts");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // It waits for the network; the builds need the processors.
        .worker_threads(2)
        .build()
        .map_err(machine("start the agent"))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(machine("listen for signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(machine("listen for signals"))?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        Ok(agent::run(settings, identity, Program::of(&current), stop_builds, shutdown).await?)
    })
}

fn identity(data: &Path) -> Result<Identity, Box<dyn Fault>> {
    fs_err::create_dir_all(data).map_err(|source| MachineError {
        action: format!("make the data folder {}", data.display()),
        source,
    })?;
    Ok(Identity::load_or_create(&data.join("identity.key"))?)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    /// One key in 64 begins with a dash.
    const KEY: &str = "-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_key_that_begins_with_a_dash_is_no_option() {
        let parsed = Arguments::try_parse_from(["avalanche", "run", "--summit-key", KEY]);
        assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
    }
}
