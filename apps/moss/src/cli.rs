//! The `moss` program: reads the command line, asks before it changes anything, and prints what became of it.
//!
//! Results go to standard output, everything else to standard error. With `--json` a command prints one JSON object, whose
//! shape its help gives, and no progress.

mod change;
mod migrate;
mod query;
mod repo;
mod run;
mod show;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use fault::{Fault, Kind};
use observe::OutputError;
use package::Dependency;
use repository::KnownFormats;
use system::StateId;

use crate::change::{ChangeError, System};
use crate::inspect;
use crate::installation::Access;
use crate::reporter::Reporter;

/// Package manager: installs atomically, with rollback.
///
/// Every change makes a new /usr and exchanges it for the old one in one step; `moss state activate` goes back. Triggers that
/// packages carry are not run yet, and the boot loader is left alone.
#[derive(Debug, Parser)]
#[command(name = "moss", version, propagate_version = true)]
struct Moss {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Options {
    /// The root directory of the system.
    #[arg(short = 'D', long = "directory", global = true, value_name = "ROOT", default_value = "/")]
    root: PathBuf,
    /// Do not ask.
    #[arg(short = 'y', long = "yes-all", global = true)]
    yes: bool,
    /// Print one JSON object; its shape is in each command's help.
    #[arg(long, global = true)]
    json: bool,
    /// Formats of repositories that this program reads.
    #[arg(skip)]
    formats: KnownFormats,
    /// The whole command line, for the Moss that goes on where this one cannot.
    #[arg(skip)]
    arguments: Vec<OsString>,
}

impl Options {
    /// The system that is meant.
    fn system<'r>(&self, access: Access, reporter: &'r dyn Reporter) -> Result<System<'r>, ChangeError> {
        Ok(System::open(&self.root, access, reporter)?.knowing(self.formats))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install packages, by name or by what they provide, such as binary(nano).
    #[command(visible_alias = "it", after_help = CHANGE_SHAPE)]
    Install(Named),
    /// Remove packages, what cannot be without them, and what nothing needs any more.
    #[command(visible_alias = "rm", after_help = CHANGE_SHAPE)]
    Remove(Named),
    /// Bring everything to the newest release. Nothing is ever replaced by an older one.
    #[command(visible_alias = "up", after_help = CHANGE_SHAPE)]
    Sync(Sync),
    /// List packages.
    #[command(subcommand)]
    List(List),
    /// Tell everything about packages.
    #[command(
        after_help = "JSON: {\"packages\":[{…as in moss inspect…,\"installed\":bool,\"repository\":ID|null}]}"
    )]
    Info {
        /// Names of packages.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Look for packages whose name or summary contains a word, or that provide a thing such as soname(libz.so.1(x86_64)).
    #[command(visible_alias = "sr", after_help = PACKAGES_SHAPE)]
    Search {
        /// The word or the thing.
        word: String,
        /// Look for files instead: packages that have one whose path contains the word. JSON: {"files":[{"path","package","installed","repository":ID|null}]}
        #[arg(long)]
        files: bool,
    },
    /// Show states, and go back to one.
    #[command(subcommand)]
    State(StateCommand),
    /// Manage where packages come from.
    #[command(subcommand)]
    Repo(repo::RepoCommand),
    /// Verify a .stone file, a stone.index or a binary manifest, and print what is in it.
    Inspect {
        /// The file.
        file: PathBuf,
    },
    /// Run a program of the root in a namespace, with nothing of the host showing and no network.
    #[command(
        after_help = "Ends with the status of the program. JSON: {\"command\":[…],\"exit\":n,\"stdout\":\"…\",\"stderr\":\"…\"}"
    )]
    Run {
        /// The program and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
}

const CHANGE_SHAPE: &str = "JSON: {\"state\":n|null,\"added\":[{\"name\",\"version\",\"release\"}],\"removed\":[…],\
    \"upgraded\":[{…,\"from\":{\"version\",\"release\"}}],\"download_bytes\":n,\"notes\":[…],\"dry_run\":bool}";

const PACKAGES_SHAPE: &str = "JSON: {\"packages\":[{\"name\",\"version\",\"release\",\"build_release\",\"summary\",\"explicit\":bool|null,\
    \"installed\":bool,\"repository\":ID|null}]}";

#[derive(Debug, Args)]
struct Named {
    /// Names, or things such as binary(nano).
    #[arg(required = true, value_name = "PACKAGE")]
    packages: Vec<Dependency>,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct Sync {
    /// Fail when a repository cannot be reached, instead of going on with what was fetched last.
    #[arg(short, long)]
    update: bool,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
enum List {
    /// What the active state is made of.
    #[command(after_help = PACKAGES_SHAPE)]
    Installed {
        /// Only what was asked for by name.
        #[arg(short, long)]
        explicit: bool,
    },
    /// What the repositories offered when they were fetched last.
    #[command(after_help = PACKAGES_SHAPE)]
    Available,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// All states, oldest first.
    #[command(
        after_help = "JSON: {\"active\":n|null,\"states\":[{\"id\",\"created\",\"summary\",\"description\",\"packages\"}]}; created is in seconds since 1970"
    )]
    List,
    /// Make an earlier state the active one.
    #[command(after_help = "JSON: {\"state\":n}")]
    Activate {
        /// Its number.
        id: StateId,
    },
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Nobody can be asked.
    #[error("cannot ask whether to go on: {why}")]
    CannotAsk {
        /// Why not.
        why: &'static str,
    },
    /// The answer was no.
    #[error("nothing was changed, as you wished")]
    Declined,
    /// No package of this name.
    #[error("cannot find a package named {name}")]
    NoPackage {
        /// The name.
        name: String,
    },
    /// An option has a value that does not fit.
    #[error("cannot use --root-index {text:?}: {why}")]
    RootIndex {
        /// The value.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// The program that was run did not end by itself.
    #[error("cannot tell a status of {program}: {how}")]
    Ended {
        /// The program.
        program: String,
        /// How it ended.
        how: String,
    },
}

impl Fault for CliError {
    fn kind(&self) -> Kind {
        match self {
            CliError::CannotAsk { .. } | CliError::RootIndex { .. } => Kind::Input,
            CliError::Declined => Kind::Conflict,
            CliError::NoPackage { .. } => Kind::NotFound,
            CliError::Ended { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            CliError::CannotAsk { .. } => {
                vec!["nothing was changed; say yes beforehand with -y, or see what would change with --dry-run".into()]
            }
            CliError::NoPackage { name } => vec![
                format!("look for it: moss search {name}"),
                "or fetch what is new: moss repo update".into(),
            ],
            CliError::RootIndex { .. } => {
                vec!["write it like version=stream/volatile,channel=main,arch=x86_64".into()]
            }
            CliError::Declined | CliError::Ended { .. } => Vec::new(),
        }
    }
}

/// Runs the program. `arguments` begin with the name it was called by, as [`std::env::args_os`] gives them; `main` must have
/// called [`sandbox::enter_if_asked`] before.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    main_knowing(KnownFormats::CURRENT, arguments)
}

/// The same as a program that reads these formats of repositories, and no others: what an older or a newer Moss does.
pub fn main_knowing(formats: KnownFormats, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let moss: Moss = match observe::parse(arguments.iter().cloned()) {
        Ok(moss) => moss,
        Err(status) => return status,
    };
    let options = Options { formats, arguments, ..moss.options };
    if let Command::Run { command } = &moss.command {
        return match run::run(&options, command) {
            Ok(status) => status,
            Err(fault) => observe::report(fault.as_ref()),
        };
    }
    observe::run(|| dispatch(&options, moss.command))
}

fn dispatch(options: &Options, command: Command) -> Result<(), Box<dyn Fault>> {
    let reporter = show::reporter(options.json);
    let reporter: &dyn Reporter = reporter.as_ref();
    match command {
        Command::Install(named) => change::install(options, named, reporter),
        Command::Remove(named) => change::remove(options, named, reporter),
        Command::Sync(sync) => change::sync(options, &sync, reporter),
        Command::List(List::Installed { explicit }) => query::list_installed(options, explicit, reporter),
        Command::List(List::Available) => query::list_available(options, reporter),
        Command::Info { names } => query::info(options, &names, reporter),
        Command::Search { word, files: true } => query::search_files(options, &word, reporter),
        Command::Search { word, files: false } => query::search(options, &word, reporter),
        Command::State(StateCommand::List) => query::list_states(options, reporter),
        Command::State(StateCommand::Activate { id }) => change::activate(options, id, reporter),
        Command::Repo(command) => repo::run(options, command, reporter),
        Command::Inspect { file } => {
            let mut text = Vec::new();
            inspect::run(&file, options.json, &mut text)?;
            print(&String::from_utf8_lossy(&text))
        }
        Command::Run { .. } => Ok(()),
    }
}

fn print(text: &str) -> Result<(), Box<dyn Fault>> {
    observe::write_stdout(text).map_err(|error: OutputError| error.into())
}

fn print_json(value: &serde_json::Value) -> Result<(), Box<dyn Fault>> {
    print(&format!("{value}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Moss::command().debug_assert();
    }

    #[test]
    fn options_may_stand_anywhere() {
        let moss =
            Moss::try_parse_from(["moss", "install", "nano", "binary(cc)", "-D", "/root", "--json", "-y"])
                .unwrap();
        assert_eq!(moss.options.root, PathBuf::from("/root"));
        assert!(moss.options.yes && moss.options.json);
        let moss = Moss::try_parse_from(["moss", "run", "-D", "/root", "--", "nano", "--version"]).unwrap();
        let Command::Run { command } = moss.command else { panic!() };
        assert_eq!(command, ["nano", "--version"]);
        assert!(Moss::try_parse_from(["moss", "install", "library(x)"]).is_err());
        assert!(Moss::try_parse_from(["moss", "install"]).is_err());
    }
}
