//! `moraine sim`: how long a fleet of builders would take for all recipes of a folder, under which policy.

mod report;

use std::path::PathBuf;

use clap::Args;
use farm::graph::HostProvides;
use farm::schedule::Policy;
use farm::sim::{Beginning, Faults, Fleet, Model, Outcome, Setup, SpecError, gantt, graph, simulate};
use fault::{Fault, Kind};
use observe::{OutputError, Palette, Stream, write_stdout};
use summit::recipes::{ReadFolderError, read_folder};

use crate::history::{self, HistoryError};

/// Earlier builds of every recipe that a farm in use has seen, unless said otherwise.
const REMEMBERED: u32 = 3;

/// What builders and faults look like, and what the model is; the end of the long help.
const NOTES: &str = "\
Builders: name=cores:speed:memory, separated by commas. A builder has a place for every four cores, at least one; \
speed is that of one place, 1.0 for the machine that all times refer to. Memory with K, M, G or T.

Faults, any of them, separated by commas:
  crash=6h         mean time between crashes of each builder; its builds are lost
  repair=10m       how long it is away then
  straggle=0.02:4  share of the starts that take so many times as long
  host=0.01        share of the starts that a fault of the builder ends
  break=0.01       share of the recipes that cannot be built

Without --history, times are drawn by seed and name: half of all builds within a minute, one in ten above seven \
minutes, one in a hundred above 45 minutes, four hours at most, on four cores of a machine of speed 1.0. The policy \
aerynos builds one recipe at a time on all cores of a builder, which is faster by Amdahl's law with a parallel share of \
nine tenths. The lower bound is the larger of the longest way through the graph on the fastest builder and all work \
spread evenly over all builders: no schedule can beat it.

Examples:
  moraine sim --recipes recipes --builders a=16:1.0:64G,b=8:0.8:32G --seed 1 --policy all
  moraine sim --recipes recipes --builders a=16:1.0:64G --faults crash=6h,repair=10m --gantt plan.svg";

#[derive(Debug, Args)]
#[command(after_long_help = NOTES)]
pub(crate) struct SimArguments {
    /// Folder of recipes: …/stone.yaml, each with its manifest.ARCH.bin beside it.
    #[arg(long, value_name = "DIR")]
    recipes: PathBuf,
    /// The builders: name=cores:speed:memory,… such as a=16:1.0:64G,b=8:0.8:32G.
    #[arg(long, value_name = "SPEC")]
    builders: String,
    /// Where all chance comes from. The same seed gives the same result.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Who decides which build goes where.
    #[arg(long, value_name = "NAME", default_value = "critical-path",
          value_parser = ["critical-path", "fifo", "aerynos", "all"])]
    policy: String,
    /// What goes wrong, such as crash=6h,repair=10m,straggle=0.02:4,host=0.01,break=0.01.
    #[arg(long, value_name = "SPEC")]
    faults: Option<String>,
    /// Measured builds, one JSON object on each line: {"source","seconds","peak_memory_bytes"?}.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Architecture to build for.
    #[arg(long, value_name = "ARCH", default_value = std::env::consts::ARCH)]
    arch: String,
    /// Begin without any published package.
    #[arg(long)]
    from_nothing: bool,
    /// Earlier builds of each recipe that the scheduler has seen; 3, or 0 from nothing.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    remembered: Option<u32>,
    /// Where dependencies come from that no recipe offers.
    #[arg(long, value_name = "WHAT", default_value = "everything",
          value_parser = ["nothing", "binaries", "everything"])]
    host: String,
    /// Draw every build of the (first) policy as an SVG picture.
    #[arg(long, value_name = "FILE")]
    gantt: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Why there is no simulation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimError {
    /// The recipes cannot be read.
    #[error(transparent)]
    Recipes(#[from] ReadFolderError),
    /// Builders or faults cannot be understood.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The picture cannot be written.
    #[error("cannot write the picture")]
    Picture {
        /// Why, with the path.
        source: std::io::Error,
    },
    /// Standard output is closed.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Fault for SimError {
    fn kind(&self) -> Kind {
        match self {
            SimError::Recipes(error) => error.kind(),
            SimError::Spec(error) => error.kind(),
            SimError::History(error) => error.kind(),
            SimError::Picture { .. } => Kind::Unavailable,
            SimError::Output(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            SimError::Recipes(error) => error.hints(),
            SimError::Spec(error) => error.hints(),
            SimError::History(error) => error.hints(),
            SimError::Picture { .. } => {
                vec!["choose a file in a folder that exists and can be written".into()]
            }
            SimError::Output(error) => error.hints(),
        }
    }
}

/// Simulates, and prints what came of it.
///
/// # Errors
/// When recipes, builders, faults or history cannot be understood, or a result cannot be written.
pub(crate) fn sim(arguments: &SimArguments) -> Result<(), SimError> {
    let fleet: Fleet = arguments.builders.parse()?;
    let faults = arguments.faults.as_deref().map_or_else(|| Ok(Faults::default()), str::parse)?;
    let measured = arguments.history.as_deref().map(history::read).transpose()?.unwrap_or_default();
    let catalogue = read_folder(&arguments.recipes, &arguments.arch)?;
    let beginning = if arguments.from_nothing { Beginning::Nothing } else { Beginning::PreviousGeneration };
    let host = match arguments.host.as_str() {
        "nothing" => HostProvides::Nothing,
        "binaries" => HostProvides::Binaries,
        _ => HostProvides::Everything,
    };
    let graph = graph(&catalogue, beginning, host);
    let model = Model::new(arguments.seed, measured);
    let remembered = arguments.remembered.unwrap_or(if arguments.from_nothing { 0 } else { REMEMBERED });
    let outcomes: Vec<(Policy, Outcome)> = policies(&arguments.policy)
        .iter()
        .map(|&policy| {
            let setup = Setup {
                graph: &graph,
                architecture: &arguments.arch,
                fleet: &fleet,
                model: &model,
                faults: &faults,
                policy,
                past_builds: remembered,
            };
            (policy, simulate(&setup))
        })
        .collect();
    if let (Some(path), Some((policy, outcome))) = (&arguments.gantt, outcomes.first()) {
        let title =
            format!("{} recipes by {}, seed {}", graph.recipes().count(), keyword(*policy), arguments.seed);
        fs_err::write(path, gantt(outcome, &graph, &title)).map_err(|source| SimError::Picture { source })?;
    }
    let report = report::Report {
        graph: &graph,
        unreadable: catalogue.unreadable(),
        architecture: &arguments.arch,
        seed: arguments.seed,
        remembered,
        outcomes: &outcomes,
    };
    let text = match arguments.json {
        true => report.json(),
        false => report.text(Palette::of(Stream::Stdout)),
    };
    Ok(write_stdout(&text)?)
}

fn policies(name: &str) -> &'static [Policy] {
    match name {
        "fifo" => &[Policy::FirstInFirstOut],
        "aerynos" => &[Policy::AerynOs],
        "all" => &[Policy::CriticalPath, Policy::FirstInFirstOut, Policy::AerynOs],
        _ => &[Policy::CriticalPath],
    }
}

/// The name of a policy on the command line.
fn keyword(policy: Policy) -> &'static str {
    match policy {
        Policy::CriticalPath => "critical-path",
        Policy::FirstInFirstOut => "fifo",
        Policy::AerynOs => "aerynos",
    }
}
