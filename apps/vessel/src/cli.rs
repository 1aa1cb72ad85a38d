//! The command line of `vessel`.

mod channel;
mod key;
mod release;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use fault::{Fault, Kind};
use observe::{LogFormat, LogLevel, Tracing, write_stdout};
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use wire::{Identity, PublicKey};

use channel::{ArtefactsArguments, ChannelCommand, Way};
use key::{KeyCommand, SignerArguments};
use release::ReleaseCommand;

use crate::folder::DataFolder;
use crate::operation::Operation;
use crate::operator;
use crate::publisher::Publisher;
use crate::serve::{Addresses, serve};
use crate::settings::{Written, check_channel};

/// Keeps the repository: takes packages from builders, publishes them, serves them.
#[derive(Debug, Parser)]
#[command(name = "vessel", version)]
struct Vessel {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take packages from builders and serve the published tree, until interrupted.
    Serve(ServeArguments),
    /// Print the public key of this Vessel, which Summit and builders pin; makes it when there is none. With a command: look after
    /// the keys that sign what is published.
    Key(KeyArguments),
    /// Hold a key and sign with it what a Vessel asks for over a socket, until interrupted; run it as a user of its own.
    Signer(SignerArguments),
    /// Publish a folder of .stone packages as one history.
    Import(ImportArguments),
    /// Look at channels, move streams, name histories, take packages out, remove what is old.
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// List what was published with builds beside their packages: manifests, records, provenance.
    Artefacts(ArtefactsArguments),
    /// Publish release files such as images, list them, take them away.
    #[command(subcommand)]
    Release(ReleaseCommand),
}

#[derive(Debug, Args)]
struct ServeArguments {
    /// Folder for everything that is kept.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address for Summit and builders; port 0 takes any free one.
    #[arg(long, value_name = "ADDR")]
    grpc: Option<SocketAddr>,
    /// Address for clients; port 0 takes any free one.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Public key of the Summit that orders; `summit key` prints it. It may begin with a dash. Can be given several times, for
    /// Summits on one database that have a key each.
    #[arg(long = "hub-key", value_name = "KEY", allow_hyphen_values = true)]
    hub_keys: Vec<PublicKey>,
    /// Address under which clients reach the published tree, when it is not that of --http.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Channels to keep; "main" when none is named.
    #[arg(long = "channel", value_name = "NAME", num_args = 1..)]
    channels: Vec<String>,
    /// What becomes of packages that need what is not there: auto, hold, warn or allow, for all channels or for one as
    /// CHANNEL=POLICY. Can be given several times.
    #[arg(long, value_name = "POLICY")]
    closure: Vec<String>,
    /// Read these settings from a TOML file; the command line wins.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the addresses as one JSON object when ready.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct KeyArguments {
    #[command(subcommand)]
    command: Option<KeyCommand>,
    /// The data folder.
    #[arg(long, value_name = "DIR", required = true)]
    data: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ImportArguments {
    /// Folder with .stone packages, looked through with all its folders.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The data folder; it is made where there is none.
    #[arg(long, value_name = "DIR", default_value = "vessel-data")]
    data: PathBuf,
    /// Settings of the Vessel, for where its keys and the published tree are.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The channel to publish in.
    #[arg(long, value_name = "NAME", default_value = "main")]
    channel: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What goes wrong before or beside the work itself.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("cannot start the threads of this program")]
    Runtime { source: std::io::Error },
}

impl Fault for CliError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }
}

/// Runs Vessel with these arguments, the first of which is its own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let vessel: Vessel = match observe::parse(arguments) {
        Ok(vessel) => vessel,
        Err(status) => return status,
    };
    observe::run(|| match vessel.command {
        Command::Serve(arguments) => run_serve(arguments),
        Command::Key(arguments) => run_key(arguments),
        Command::Signer(arguments) => key::run_signer(arguments),
        Command::Import(arguments) => run_import(&arguments),
        Command::Channel(command) => run_operation(command.into_parts()),
        Command::Artefacts(arguments) => run_operation(arguments.into_parts()),
        Command::Release(command) => run_operation(command.into_parts()),
    })
}

fn run_serve(arguments: ServeArguments) -> Result<(), Box<dyn Fault>> {
    observe::give_memory_back_early();
    Tracing::start(LogLevel::Info, LogFormat::Text)?;
    let file = arguments.config.as_deref().map(Written::read).transpose()?.unwrap_or_default();
    let command_line = Written {
        data: arguments.data,
        grpc: arguments.grpc,
        http: arguments.http,
        hub_key: None,
        hub_keys: arguments.hub_keys,
        public_url: arguments.public_url,
        channels: arguments.channels,
        closure: arguments.closure,
        ..Written::default()
    };
    let settings = command_line.or(file).complete()?;
    let json = arguments.json;
    runtime()?.block_on(async {
        let interrupted = interruption()?;
        let ready = |addresses: &Addresses| {
            // A supervisor that closed our standard output still wants the service.
            if let Err(error) = write_stdout(&told(addresses, json)) {
                tracing::debug!(%error, "nobody reads where this service is");
            }
        };
        serve(settings, ready, interrupted).await.map_err(Box::from)
    })
}

fn told(addresses: &Addresses, json: bool) -> String {
    let Addresses { grpc, http, public_url, key } = addresses;
    if !json {
        return format!("gRPC   {grpc}\nHTTP   {http}\npublic {public_url}\nkey    {key}\n");
    }
    let object = serde_json::json!({
        "grpc": grpc.to_string(), "http": http.to_string(), "public_url": public_url, "key": key,
    });
    format!("{object}\n")
}

/// Ready when the program is asked to end.
fn interruption() -> Result<impl Future<Output = ()> + Send, CliError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|source| CliError::Runtime { source })?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|source| CliError::Runtime { source })?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn run_key(arguments: KeyArguments) -> Result<(), Box<dyn Fault>> {
    if let Some(command) = arguments.command {
        Tracing::start(LogLevel::Warn, LogFormat::Text)?;
        return Ok(write_stdout(&runtime()?.block_on(command.run())?)?);
    }
    // The parser asks for the folder where there is no command.
    let data = arguments.data.unwrap_or_default();
    let key = Identity::load_or_create(&DataFolder::identity_of(&data))?.public_key();
    let text = if arguments.json { serde_json::json!({ "key": key }).to_string() } else { key.to_string() };
    Ok(write_stdout(&format!("{text}\n"))?)
}

#[derive(Debug, Serialize)]
struct ImportReport {
    history: String,
    /// Packages of the folder that the history has.
    packages: usize,
    seconds: f64,
    /// A folder, or the address of a bucket.
    published: String,
    /// False when everything was published before.
    changed: bool,
    /// File names of older releases in the folder.
    passed_over: Vec<String>,
    /// What somebody should know of it.
    remarks: String,
}

fn run_import(arguments: &ImportArguments) -> Result<(), Box<dyn Fault>> {
    Tracing::start(LogLevel::Warn, LogFormat::Text)?;
    check_channel(&arguments.channel)?;
    let written = arguments.config.as_deref().map(Written::read).transpose()?.unwrap_or_default();
    let stone_index = written.stone_index.map(Into::into).unwrap_or_default();
    let (_, delivery) = written.keeping()?;
    let signing = written.signing.unwrap_or_default().complete()?;
    let begin = Instant::now();
    let (imported, published) = runtime()?.block_on(async {
        let channels = std::slice::from_ref(&arguments.channel);
        let (data, store) = (&arguments.data, written.store);
        let publisher = Publisher::open_with(data, channels, store, signing, &delivery).await?;
        let publisher = publisher.with_stone_index(stone_index);
        let imported = publisher.import(&arguments.folder, &arguments.channel).await;
        publisher.close().await;
        imported.map(|imported| (imported, publisher.store().place()))
    })?;
    let report = ImportReport {
        history: imported.history,
        packages: imported.packages,
        seconds: (begin.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        published,
        changed: imported.is_new,
        passed_over: imported.passed_over,
        remarks: imported.remarks,
    };
    let text = if arguments.json { json(&report) } else { import_text(&report) };
    Ok(write_stdout(&text)?)
}

fn import_text(report: &ImportReport) -> String {
    let ImportReport { history, packages, seconds, published, changed, passed_over, remarks } = report;
    let mut text = if *changed {
        format!("published {packages} packages as history {history} in {seconds:.1} s\n")
    } else {
        format!("nothing changed: history {history} has all {packages} packages already\n")
    };
    if !passed_over.is_empty() {
        text.push_str(&format!("passed over as older: {}\n", passed_over.join(", ")));
    }
    if !remarks.is_empty() {
        text.push_str(&format!("note: {remarks}\n"));
    }
    text.push_str(&format!("the published tree is {published}\n"));
    text
}

fn run_operation(asked: Result<(Operation, Way), Box<dyn Fault>>) -> Result<(), Box<dyn Fault>> {
    Tracing::start(LogLevel::Warn, LogFormat::Text)?;
    let (operation, way) = asked?;
    let outcome = runtime()?.block_on(operator::operate(&way.reach, operation))?;
    let text = if way.json { json(&outcome) } else { outcome.text() };
    Ok(write_stdout(&text)?)
}

fn runtime() -> Result<Runtime, CliError> {
    Runtime::new().map_err(|source| CliError::Runtime { source })
}

fn json(value: &impl Serialize) -> String {
    // Text keys and plain values have no way to fail.
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    /// One key in 64 begins with a dash.
    const KEY: &str = "-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn the_command_line_holds_together() {
        Vessel::command().debug_assert();
    }

    #[test]
    fn a_key_that_begins_with_a_dash_is_no_option() {
        let parsed = Vessel::try_parse_from(["vessel", "serve", "--hub-key", KEY]);
        assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
    }
}
