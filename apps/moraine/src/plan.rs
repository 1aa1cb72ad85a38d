//! `moraine plan`: what would be built, in which order, and what a rebuild costs. Nothing is changed unless asked for.

mod graph;
mod picture;
mod rebuild;

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use farm::catalogue::Catalogue;
use farm::graph::HostProvides;
use farm::rebuild::RebuildError;
use farm::sim::SpecError;
use fault::{Fault, Kind};
use observe::OutputError;
use summit::recipes::ReadFolderError;

use crate::history::HistoryError;
use crate::summit_api::ApiError;

#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Show who needs whom among the recipes of a folder: knots, levels, and what nobody offers.
    Graph(graph::GraphArguments),
    /// Show what must be built again when recipes are, and what that costs; with --apply have it done.
    Rebuild(rebuild::RebuildArguments),
}

/// A folder of recipes to plan over.
#[derive(Debug, Args)]
struct FolderArguments {
    /// Architecture to plan for; this machine's, or for Summit the first one of the project, unless given.
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Where dependencies come from that no recipe offers.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Host::Nothing)]
    host: Host,
}

/// What the machine that builds has besides packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Host {
    /// Nothing: builds have packages only.
    Nothing,
    /// Programs.
    Binaries,
    /// Everything.
    Everything,
}

impl From<Host> for HostProvides {
    fn from(host: Host) -> Self {
        match host {
            Host::Nothing => HostProvides::Nothing,
            Host::Binaries => HostProvides::Binaries,
            Host::Everything => HostProvides::Everything,
        }
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// The recipes cannot be read.
    #[error(transparent)]
    Recipes(#[from] ReadFolderError),
    /// What was asked for cannot be planned.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The builders cannot be understood.
    #[error(transparent)]
    Fleet(#[from] SpecError),
    /// Summit does not answer as it should.
    #[error(transparent)]
    Summit(#[from] ApiError),
    /// There is no single project to plan for.
    #[error("cannot tell which project is meant: Summit has {}", names(.known))]
    Project {
        /// Names of those that it has.
        known: Vec<String>,
    },
    /// The plan cannot be written as JSON.
    #[error("cannot write the plan")]
    Json(#[source] serde_json::Error),
    /// Standard output is closed.
    #[error(transparent)]
    Output(#[from] OutputError),
}

fn names(known: &[String]) -> String {
    if known.is_empty() { "none".into() } else { known.join(", ") }
}

impl Fault for PlanError {
    fn kind(&self) -> Kind {
        match self {
            PlanError::Recipes(error) => error.kind(),
            PlanError::Rebuild(error) => error.kind(),
            PlanError::History(error) => error.kind(),
            PlanError::Fleet(error) => error.kind(),
            PlanError::Summit(error) => error.kind(),
            PlanError::Project { .. } => Kind::Input,
            PlanError::Json(_) => Kind::Bug,
            PlanError::Output(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            PlanError::Recipes(error) => error.hints(),
            PlanError::Rebuild(error) => error.hints(),
            PlanError::History(error) => error.hints(),
            PlanError::Fleet(error) => error.hints(),
            PlanError::Summit(error) => error.hints(),
            PlanError::Project { known } if known.is_empty() => {
                vec!["give Summit a project in its configuration".into()]
            }
            PlanError::Project { .. } => vec!["name it with --project".into()],
            PlanError::Json(_) => Vec::new(),
            PlanError::Output(error) => error.hints(),
        }
    }
}

/// Makes the plan that the command asks for, and prints it.
///
/// # Errors
/// When recipes or builders cannot be understood, or Summit does not answer.
pub(crate) fn plan(command: &PlanCommand) -> Result<(), PlanError> {
    match command {
        PlanCommand::Graph(arguments) => graph::graph(arguments),
        PlanCommand::Rebuild(arguments) => rebuild::rebuild(arguments),
    }
}

fn read(folder: &Path, arguments: &FolderArguments) -> Result<Catalogue, ReadFolderError> {
    let architecture = arguments.arch.as_deref().unwrap_or(std::env::consts::ARCH);
    summit::recipes::read_folder(folder, architecture)
}
