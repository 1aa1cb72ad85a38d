//! The command line of `moraine`, and the way to the other programs in the same binary.

use std::ffi::OsString;
use std::iter;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use fault::Fault;
use observe::write_stdout;

use crate::bootstrap;
use crate::builder::{BuilderArguments, builder};
use crate::demo::{self, DemoOptions};
use crate::doctor::doctor;
use crate::farm::{self, FarmOptions};
use crate::fire::{self, FireArguments};
use crate::plan::{self, PlanCommand};
use crate::queue::{QueueArguments, queue};
use crate::sim::{SimArguments, sim};
use crate::summit_api::SummitArguments;
use crate::task::{TaskCommand, task};
use crate::verify::{self, VerifyArguments};
use crate::why;
use crate::world::{self, WorldArguments};

/// A main function that takes the whole command line, the program's own name first.
type Program = fn(Vec<OsString>) -> ExitCode;

/// What Vessel does with channels, also as a command of this program.
const CHANNEL: &str = "channel";

/// And with the keys that sign.
const KEY: &str = "key";

/// The other programs in this binary.
const PROGRAMS: [(&str, Program); 8] = [
    ("avalanche", |arguments| avalanche::cli::main(arguments)),
    ("boulder", |arguments| boulder::cli::main(arguments)),
    // Said so often that it has a way of its own.
    (CHANNEL, |arguments| vessel::cli::main(iter::once("vessel".into()).chain(arguments))),
    (KEY, |arguments| vessel::cli::main(iter::once("vessel".into()).chain(arguments))),
    ("moss", |arguments| moss::cli::main(arguments)),
    ("summit", |arguments| summit::cli::main(arguments)),
    ("vessel", |arguments| vessel::cli::main(arguments)),
    (world::replay::PROGRAM, |arguments| world::replay::main(arguments)),
];

/// Makes and delivers a Linux distribution: a farm on one machine, and every program of it.
#[derive(Debug, Parser)]
#[command(
    name = "moraine",
    version,
    after_help = "The other programs are in this binary too: moraine summit|vessel|avalanche|boulder|moss …\n\
                  Channels, streams and tags of a repository: moraine channel …, their keys: moraine key …"
)]
struct Moraine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch real recipes become packages, and the packages become a running system.
    Demo(DemoArguments),
    /// Run a farm for a repository of recipes on this machine.
    Up(UpArguments),
    /// Check what this machine can do, and say how to get what it lacks.
    Doctor(DoctorArguments),
    /// Show what would be built in which order, and what a rebuild costs.
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Simulate how long builders would take for all recipes of a folder.
    Sim(SimArguments),
    /// Say why a task stands where it stands, and what the next step is.
    Why(WhyArguments),
    /// Let a real farm rebuild every recipe of a folder, with builds that are only played, and judge the end.
    World(WorldArguments),
    /// Publish while readers behind real caches follow and Vessel is killed, and judge what they met.
    #[command(hide = true)]
    Fire(FireArguments),
    /// Ask about tasks, and say what is to become of them.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Show what is being built and what comes next, pause it, and let it go on.
    Queue(QueueArguments),
    /// Say who builds, and see how they are.
    Builder(BuilderArguments),
    /// Show who did what, the newest first.
    Audit(SummitArguments),
    /// Verify a whole published tree, from the keys to the last byte, and name the first thing that is wrong.
    #[command(
        after_help = "JSON: {\"verified\",\"keys_given\",\"channels\":[{\"channel\",\"signed\",\"key_lists\",\"pointers\",\"histories\",\"indexes\",\"deltas\",\"packages\",\"package_bytes\"}],\"seconds\"}"
    )]
    Verify(VerifyArguments),
    /// Make the first packages of a distribution.
    #[command(subcommand)]
    Bootstrap(BootstrapCommand),
}

#[derive(Debug, Args)]
struct DemoArguments {
    /// Print one JSON object at the end, and nothing else.
    #[arg(long)]
    json: bool,
    /// Stay up afterwards, until interrupted.
    #[arg(long)]
    serve: bool,
    /// Keep everything in this folder; it must be empty or missing.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Build agents to start.
    #[arg(long, default_value_t = 2)]
    agents: usize,
}

#[derive(Debug, Args)]
struct UpArguments {
    /// Address or folder of the git repository of recipes.
    #[arg(long, value_name = "GIT_URL")]
    recipes: String,
    /// Its branch.
    #[arg(long, default_value = "main")]
    branch: String,
    /// Where everything is kept.
    #[arg(long, default_value = "moraine-data")]
    data: PathBuf,
    /// Build agents to start on this machine; 0 waits for agents from elsewhere.
    #[arg(long, default_value_t = 2)]
    agents: usize,
    /// Address to listen on. Anything but loopback shows the farm to whoever can reach it.
    #[arg(long, default_value = "127.0.0.1")]
    listen: IpAddr,
    /// Port of the dashboard; a free one, the same at every start, unless given.
    #[arg(long)]
    dashboard_port: Option<u16>,
    /// Port of the published repository; a free one, the same at every start, unless given.
    #[arg(long)]
    repository_port: Option<u16>,
    /// Do not package this machine's C library into a new repository.
    #[arg(long)]
    no_bootstrap: bool,
    /// Another place for sources, as for `boulder build`. Can be given several times.
    #[arg(long = "mirror", value_name = "PLACE")]
    mirrors: Vec<String>,
    /// Begin with one line of JSON that says where dashboard and repository are.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DoctorArguments {
    /// Where builds will need room.
    #[arg(long, default_value = ".")]
    data: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct WhyArguments {
    /// The task: its number, or its name, such as nano, nano@x86_64 or project/nano.
    task: String,
    #[command(flatten)]
    summit: SummitArguments,
}

#[derive(Debug, Subcommand)]
enum BootstrapCommand {
    /// Package this machine's C library, and programs on demand, to begin a distribution with.
    Host {
        /// Where the packages go.
        #[arg(short, long, default_value = ".")]
        output: PathBuf,
        /// A program to package as well, with the libraries it needs. Can be given several times.
        #[arg(long = "program", value_name = "NAME")]
        programs: Vec<String>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the program that the command line means, by the name it was started under or by its first word.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    if let Some((program, rest)) = other_program(&arguments) {
        return program(rest);
    }
    let moraine: Moraine = match observe::parse(arguments) {
        Ok(moraine) => moraine,
        Err(status) => return status,
    };
    observe::run(|| run(moraine.command))
}

fn other_program(arguments: &[OsString]) -> Option<(Program, Vec<OsString>)> {
    let find = |name: &str| PROGRAMS.iter().find(|(known, _)| *known == name).map(|(_, program)| *program);
    let own_name =
        arguments.first().and_then(|name| Path::new(name).file_name()).and_then(|name| name.to_str());
    if let Some(program) = own_name.and_then(find) {
        return Some((program, arguments.to_vec()));
    }
    let program = arguments.get(1).and_then(|name| name.to_str()).and_then(find)?;
    Some((program, arguments[1..].to_vec()))
}

/// A folder by a path that means the same for whoever is told it; other addresses as they are.
fn from_everywhere(recipes: String) -> String {
    let path = fs_err::canonicalize(&recipes).ok().filter(|path| path.is_dir());
    path.and_then(|path| path.into_os_string().into_string().ok()).unwrap_or(recipes)
}

fn run(command: Command) -> Result<(), Box<dyn Fault>> {
    match command {
        Command::Demo(arguments) => {
            demo::demo(&DemoOptions {
                json: arguments.json,
                serve: arguments.serve,
                keep: arguments.keep,
                agents: arguments.agents,
            })?;
        }
        Command::Up(arguments) => {
            let options = FarmOptions {
                data: arguments.data,
                recipes: from_everywhere(arguments.recipes),
                branch: arguments.branch,
                agents: arguments.agents,
                listen: arguments.listen,
                dashboard_port: arguments.dashboard_port,
                repository_port: arguments.repository_port,
                bootstrap: !arguments.no_bootstrap,
                mirrors: arguments.mirrors,
            };
            farm::up(&options, arguments.json)?;
        }
        Command::Plan(command) => plan::plan(&command)?,
        Command::Why(arguments) => why::why(&arguments.task, &arguments.summit)?,
        Command::Task(command) => task(&command)?,
        Command::Queue(arguments) => queue(&arguments)?,
        Command::Builder(arguments) => builder(&arguments)?,
        Command::Verify(arguments) => verify::verify(&arguments)?,
        Command::Audit(arguments) => crate::audit::audit(&arguments)?,
        Command::Doctor(arguments) => doctor(&arguments.data, arguments.json)?,
        Command::Sim(arguments) => sim(&arguments)?,
        Command::World(arguments) => world::world(&arguments)?,
        Command::Fire(arguments) => fire::fire(&arguments)?,
        Command::Bootstrap(BootstrapCommand::Host { output, programs, json }) => {
            let artefacts = bootstrap::host(&output, &programs, std::env::consts::ARCH)?;
            let files: Vec<String> =
                artefacts.iter().map(|artefact| artefact.path.display().to_string()).collect();
            if json {
                write_stdout(&format!("{}\n", serde_json::json!({ "packages": files })))?;
            } else {
                write_stdout(&files.iter().map(|file| format!("{file}\n")).collect::<String>())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_holds_together() {
        Moraine::command().debug_assert();
    }

    #[test]
    fn other_programs_are_found_by_name() {
        for (line, expected) in [
            ("/usr/bin/moss list installed", Some("/usr/bin/moss list installed")),
            ("moraine moss list installed", Some("moss list installed")),
            ("target/release/moraine demo", None),
            ("moraine", None),
            ("moraine install moss", None),
        ] {
            let found = other_program(&words(line)).map(|(_, rest)| rest);
            assert_eq!(found, expected.map(words), "{line}");
        }
    }
}
