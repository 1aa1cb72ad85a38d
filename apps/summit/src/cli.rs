//! The command line of `summit`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use farm::ids::BuilderId;
use fault::{Fault, Kind};
use observe::{LogFormat, LogLevel, Tracing, write_stdout};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use wire::PublicKey;

use crate::clock::Clock;
use crate::config::ConfigFiles;
use crate::store::BuilderRow;

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
    },
    /// Say who may build. Works while Summit runs.
    Builder {
        /// Folder with everything that Summit keeps.
        #[arg(long, global = true, default_value = ".")]
        data: PathBuf,
        #[command(subcommand)]
        command: BuilderCommand,
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
    /// Look at a configuration file.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum BuilderCommand {
    /// Let a builder attach.
    Add {
        /// Its name, for people.
        name: String,
        /// Its public key, as `avalanche key` prints it. It may begin with a dash.
        #[arg(allow_hyphen_values = true)]
        public_key: PublicKey,
    },
    /// List builders.
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Let a builder attach no more; what it builds goes elsewhere.
    Remove {
        /// Its name or public key.
        #[arg(allow_hyphen_values = true)]
        builder: String,
    },
    /// Give a builder no more work; what it builds goes on.
    Drain {
        /// Its name or public key.
        #[arg(allow_hyphen_values = true)]
        builder: String,
    },
    /// Give a drained builder work again.
    Undrain {
        /// Its name or public key.
        #[arg(allow_hyphen_values = true)]
        builder: String,
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
        Command::Serve { data, config, seed } => {
            Tracing::start(LogLevel::Info, LogFormat::Text)?;
            runtime()?.block_on(serve(ConfigFiles::new(&config, seed.as_deref()), &data))
        }
        Command::Builder { data, command } => runtime()?.block_on(builder(&data, command)),
        Command::Key { data, json } => {
            let key = crate::identity(&data)?.public_key();
            let text = if json { json!({ "public_key": key }).to_string() } else { key.to_string() };
            Ok(write_stdout(&format!("{text}\n"))?)
        }
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

async fn builder(data: &Path, command: BuilderCommand) -> Result<(), Box<dyn Fault>> {
    let store = crate::open_store(data).await?;
    match command {
        BuilderCommand::Add { name, public_key } => {
            store.add_builder(&BuilderId(public_key.to_string()), &name, Clock::system().now()).await?;
        }
        BuilderCommand::Remove { builder } => store.remove_builder(&builder).await?,
        BuilderCommand::Drain { builder } => store.drain_builder(&builder, true).await?,
        BuilderCommand::Undrain { builder } => store.drain_builder(&builder, false).await?,
        BuilderCommand::List { json } => {
            let builders = store.builders().await?;
            write_stdout(&if json { builders_json(&builders) } else { builders_text(&builders) })?;
        }
    }
    store.close().await;
    Ok(())
}

fn builders_json(builders: &[BuilderRow]) -> String {
    let builders: Vec<_> = builders
        .iter()
        .map(|builder| {
            json!({
                "name": builder.name,
                "public_key": builder.id.0,
                "drained": builder.drained,
                "last_seen_ms": builder.last_seen.map(|moment| moment.0),
            })
        })
        .collect();
    format!("{}\n", json!({ "builders": builders }))
}

fn builders_text(builders: &[BuilderRow]) -> String {
    if builders.is_empty() {
        return "no builders; add one with `summit builder add NAME PUBLIC_KEY`\n".into();
    }
    let line = |builder: &BuilderRow| {
        let drained = if builder.drained { "  drained" } else { "" };
        format!("{}  {}{drained}\n", builder.id, observe::printable(&builder.name))
    };
    builders.iter().map(line).collect()
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
