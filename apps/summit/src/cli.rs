//! The command line of `summit`.

mod tokens;
mod webhooks;

mod builder;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fault::{Fault, Kind};
use observe::{LogFormat, LogLevel, Tracing, write_stdout};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use tokens::TokenCommand;
use webhooks::WebhookCommand;

use crate::clock::Clock;
use crate::config::{ConfigFiles, DatabaseChoice};

/// Controller of a build farm: watches recipes, hands builds out, keeps logs and history.
#[derive(Debug, Parser)]
#[command(name = "summit", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGINT or SIGTERM.
    Serve {
        /// Folder with everything that Summit keeps.
        #[arg(long)]
        data: PathBuf,
        /// The configuration file. It is looked at again at every poll, and at once after SIGHUP.
        #[arg(long)]
        config: PathBuf,
        /// A seed file with further projects, in the form of AerynOS; instead of the one that the configuration names.
        #[arg(long)]
        seed: Option<PathBuf>,
        /// Address of a database on a server, as postgres://…; instead of what the configuration says.
        #[arg(long, conflicts_with = "database_file")]
        database: Option<String>,
        /// A file with that address, for one with a password.
        #[arg(long)]
        database_file: Option<PathBuf>,
    },
    /// Say who may build. Works while Summit runs.
    Builder {
        /// Folder with everything that Summit keeps.
        #[arg(long, global = true, default_value = ".")]
        data: PathBuf,
        #[command(subcommand)]
        command: builder::BuilderCommand,
    },
    /// Say who may change things over the API. Works while Summit runs.
    Token {
        /// Folder with everything that Summit keeps.
        #[arg(long, global = true, default_value = ".")]
        data: PathBuf,
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Try webhooks.
    Webhook {
        #[command(subcommand)]
        command: WebhookCommand,
    },
    /// Show the public key, which agents and Vessel pin.
    Key {
        /// Folder with everything that Summit keeps.
        #[arg(long)]
        data: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print the description of the HTTP API, as /api/openapi.json has it.
    Openapi,
    /// Look at a configuration file.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether it can be used.
    Check {
        /// The configuration file.
        file: PathBuf,
        /// A seed file, instead of the one that the configuration names.
        #[arg(long)]
        seed: Option<PathBuf>,
    },
}

/// The async machinery cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start")]
struct RuntimeError(#[source] std::io::Error);

impl Fault for RuntimeError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }
}

/// Runs `summit` with these arguments, the first of which is its own name.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match observe::parse::<Arguments>(arguments) {
        Ok(arguments) => observe::run(|| run(arguments.command)),
        Err(code) => code,
    }
}

fn run(command: Command) -> Result<(), Box<dyn Fault>> {
    match command {
        Command::Serve { data, config, seed, database, database_file } => {
            observe::give_memory_back_early();
            Tracing::start(LogLevel::Info, LogFormat::Text)?;
            let database = DatabaseChoice { address: database, file: database_file };
            let files = ConfigFiles::new(&config, seed.as_deref()).with_database(database);
            runtime()?.block_on(serve(files, &data))
        }
        Command::Builder { data, command } => runtime()?.block_on(builder::run(&data, command)),
        Command::Token { data, command } => runtime()?.block_on(tokens::run(&data, command)),
        Command::Webhook { command } => webhooks::run(command),
        Command::Key { data, json } => {
            let key = crate::identity(&data)?.public_key();
            let text = if json { json!({ "public_key": key }).to_string() } else { key.to_string() };
            Ok(write_stdout(&format!("{text}\n"))?)
        }
        Command::Openapi => Ok(write_stdout(&crate::web::openapi::text())?),
        Command::Config { command: ConfigCommand::Check { file, seed } } => {
            let loaded = ConfigFiles::new(&file, seed.as_deref()).load()?;
            let notes: String = loaded.notes.iter().map(|note| format!("{note}\n")).collect();
            let names: Vec<&str> =
                loaded.config.projects.iter().map(|project| project.name.as_str()).collect();
            Ok(write_stdout(&format!(
                "{notes}the configuration can be used; it builds {}\n",
                names.join(", ")
            ))?)
        }
    }
}

fn runtime() -> Result<Runtime, RuntimeError> {
    Runtime::new().map_err(RuntimeError)
}

async fn serve(files: ConfigFiles, data: &Path) -> Result<(), Box<dyn Fault>> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RuntimeError)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RuntimeError)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(RuntimeError)?;
    let mut running = crate::start_from(files, data, Clock::system()).await?;
    // At once: whoever reads only the first line may be gone before the second.
    write_stdout(&format!(
        "dashboard: http://{}/\nagents: {} key {}\n",
        running.http_address(),
        running.grpc_address(),
        running.public_key()
    ))?;
    loop {
        tokio::select! {
            result = running.wait() => result?,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => running.look_at_configuration(),
        }
    }
    running.stop().await;
    Ok(())
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
        for line in [
            &["summit", "builder", "add", "one", KEY][..],
            &["summit", "builder", "remove", KEY],
            &["summit", "builder", "drain", KEY],
        ] {
            let parsed = Arguments::try_parse_from(line.iter().copied());
            assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
        }
    }
}
