//! The command line of Boulder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fault::Fault;
use fetch::{DebianSources, Mirror, PrefixLayout};
use package::Dependency;
use repository::RepositoryConfig;

use crate::build::{BuildError, Report, Request, RoomLimits, Usage, build, discard};
use crate::clean::clean;
use crate::recipe_cli;
use crate::repository_argument;
use crate::root::RootKind;
use crate::stop;

/// Environment that names the time of a build; the Reproducible Builds project defines it.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
/// Time of builds for which nobody names one: the earliest that a zip archive can hold.
const SOURCE_DATE_EPOCH_DEFAULT: u64 = 315_532_800;

/// Turns recipes into packages in a sandbox.
#[derive(Debug, Parser)]
#[command(name = "boulder", version)]
struct Boulder {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a recipe into packages and manifests.
    Build(Box<BuildArguments>),
    /// Remove what killed builds left in the cache. Builds that run are left alone.
    Clean {
        /// The cache of the builds. The last one given counts.
        #[arg(long, overrides_with = "cache_dir")]
        cache_dir: Option<PathBuf>,
        /// Also what `build --keep` left to look into.
        #[arg(long)]
        kept: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Look at recipes.
    #[command(subcommand)]
    Recipe(recipe_cli::RecipeCommand),
}

#[derive(Debug, Args)]
struct BuildArguments {
    /// The recipe: a stone.yaml, or the folder it is in.
    #[arg(default_value = ".")]
    recipe: PathBuf,
    /// Where packages and manifests go.
    #[arg(short, long, default_value = ".")]
    output: PathBuf,
    /// What the build sees: the machine's own /usr with packages over it, or packages only.
    #[arg(long, value_enum, default_value = "host")]
    root: RootKind,
    /// In a root of packages, these instead of the usual set and of the compilers and tools that phases bring with them. Can
    /// be given several times.
    #[arg(long = "base-package", value_name = "DEPENDENCY")]
    base_packages: Vec<Dependency>,
    /// Where build dependencies come from: `id=NAME,uri=URL` or
    /// `id=NAME,base-uri=URL,channel=main,version=stream/volatile`, with `priority=N` and `arch=A`. Can be given several times.
    #[arg(long = "repository", value_name = "KEY=VALUE,…", value_parser = repository_argument::parse)]
    repositories: Vec<RepositoryConfig>,
    /// Another place for sources: `debian`, or the address of a folder. Can be given several times; `none` for no other.
    #[arg(long = "mirror", value_name = "PLACE")]
    mirrors: Vec<String>,
    /// The number of this build of the release.
    #[arg(short, long, default_value_t = 1)]
    build_release: u64,
    /// Architecture to build for.
    #[arg(long, default_value = std::env::consts::ARCH)]
    architecture: String,
    /// Jobs to run at once; as many as there are processors, unless given.
    #[arg(short, long)]
    jobs: Option<usize>,
    /// Sources, build folders and packages of build roots. The last one given counts.
    #[arg(long, overrides_with = "cache_dir")]
    cache_dir: Option<PathBuf>,
    /// Longest time for the build, in seconds.
    #[arg(long, value_name = "SECONDS")]
    time_limit: Option<u64>,
    /// Most memory for the build, in MiB.
    #[arg(long, value_name = "MIB")]
    memory_limit: Option<u64>,
    /// Most room that the build may take on the disk, in MiB.
    #[arg(long, value_name = "MIB")]
    disk_limit: Option<u64>,
    /// Room on that disk that the build must leave to others, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    disk_reserve: u64,
    /// Leave the build folder as it is at the end.
    #[arg(long)]
    keep: bool,
    /// Write how it ended into this file, for programs.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Runs Boulder with these arguments, the first of which is its own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let boulder: Boulder = match observe::parse(arguments) {
        Ok(boulder) => boulder,
        Err(status) => return status,
    };
    observe::run(|| match boulder.command {
        Command::Build(arguments) => run_build(*arguments),
        Command::Clean { cache_dir, kept, json } => run_clean(cache_dir, kept, json),
        Command::Recipe(command) => recipe_cli::run(command),
    })
}

fn run_clean(cache: Option<PathBuf>, kept: bool, json: bool) -> Result<(), Box<dyn Fault>> {
    let cleaned = clean(&cache.unwrap_or_else(default_cache), kept)?;
    if json {
        let text = serde_json::json!(cleaned);
        return Ok(observe::write_stdout(&format!("{text}\n"))?);
    }
    let lines = [
        ("removed", &cleaned.removed),
        ("left, in use", &cleaned.in_use),
        ("left, kept on purpose (--kept removes it)", &cleaned.kept),
    ];
    let mut text: String = lines
        .iter()
        .flat_map(|(what, names)| {
            names.iter().map(move |name| format!("{what}: {}\n", observe::printable(name)))
        })
        .collect();
    if text.is_empty() {
        text = "nothing to clean\n".to_owned();
    }
    Ok(observe::write_stdout(&text)?)
}

fn run_build(arguments: BuildArguments) -> Result<(), Box<dyn Fault>> {
    let report_file = arguments.report.clone();
    stop::listen().map_err(BuildError::Workspace)?;
    let mut usage = Usage::default();
    let mut failed = None;
    let result = request(arguments).and_then(|request| {
        let result = build(&request, &mut usage, &mut say);
        failed = (result.is_err() && !request.keep).then_some(request);
        result
    });
    if let Some(path) = report_file {
        let report = match &result {
            Ok(built) => Report::of_built(&built.record),
            Err(error) => Report::of_error(error, usage),
        };
        report.write(&path).map_err(BuildError::Workspace)?;
    }
    // After the report: whoever ended this build may not wait for a large folder to go.
    if let Some(request) = failed {
        discard(&request, &mut say);
    }
    let built = result?;
    say(&format!(
        "done in {:.1} s, with {} MiB of memory at the peak",
        built.record.seconds,
        built.record.peak_memory_bytes >> 20
    ));
    Ok(())
}

/// Lines of Boulder stand out among those of compilers, and a reader of the log finds phases by them.
fn say(line: &str) {
    // When nobody reads the log any more, the build itself may still go on.
    drop(observe::write_stdout(&format!("==> {line}\n")));
}

fn request(arguments: BuildArguments) -> Result<Request, BuildError> {
    let recipe =
        if arguments.recipe.is_dir() { arguments.recipe.join("stone.yaml") } else { arguments.recipe };
    let cache = arguments.cache_dir.unwrap_or_else(default_cache);
    fs_err::create_dir_all(&cache).map_err(BuildError::Workspace)?;
    let cache = fs_err::canonicalize(cache).map_err(BuildError::Workspace)?;
    fs_err::create_dir_all(&arguments.output).map_err(BuildError::Workspace)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Request {
        recipe,
        output: fs_err::canonicalize(&arguments.output).map_err(BuildError::Workspace)?,
        root: arguments.root,
        base_packages: (!arguments.base_packages.is_empty()).then_some(arguments.base_packages),
        repositories: arguments.repositories,
        build_release: arguments.build_release,
        architecture: arguments.architecture,
        jobs: arguments.jobs.unwrap_or(processors).max(1),
        mirrors: mirrors(&arguments.mirrors, &cache),
        cache,
        source_date_epoch: source_date_epoch(std::env::var(SOURCE_DATE_EPOCH).ok().as_deref()),
        time_limit: arguments.time_limit.map(Duration::from_secs),
        memory_bytes_max: arguments.memory_limit.map(bytes_of),
        room: RoomLimits {
            folder_bytes_max: arguments.disk_limit.map(bytes_of),
            free_bytes_min: bytes_of(arguments.disk_reserve),
        },
        keep: arguments.keep,
    })
}

fn bytes_of(mebibytes: u64) -> u64 {
    mebibytes.saturating_mul(1 << 20)
}

fn default_cache() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/cache/boulder");
    }
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from).join(".cache");
    base.filter(|path| path.is_absolute()).unwrap_or_else(home).join("boulder")
}

/// Without any word about it, Debian's archive is asked where the machine can: it has the very bytes of many upstreams.
fn mirrors(places: &[String], cache: &Path) -> Vec<Mirror> {
    let debian = || Mirror::DebianSources(DebianSources::new(&cache.join("debian"), None));
    if places.is_empty() {
        return if DebianSources::offered().is_ok() { vec![debian()] } else { Vec::new() };
    }
    places
        .iter()
        .filter(|place| *place != "none")
        .map(|place| match place.as_str() {
            "debian" => debian(),
            base => Mirror::Prefix { base: base.to_owned(), layout: PrefixLayout::FileName },
        })
        .collect()
}

fn source_date_epoch(environment: Option<&str>) -> u64 {
    environment.and_then(|text| text.trim().parse().ok()).unwrap_or(SOURCE_DATE_EPOCH_DEFAULT)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Boulder::command().debug_assert();
    }

    #[test]
    fn mirrors_are_taken_in_the_order_given() {
        let places = ["https://mirror.example/sources".to_owned(), "debian".to_owned()];
        let found = mirrors(&places, Path::new("/cache"));
        assert!(matches!(&found[0], Mirror::Prefix { base, .. } if base == "https://mirror.example/sources"));
        assert!(matches!(found[1], Mirror::DebianSources(_)));
        assert!(mirrors(&["none".to_owned()], Path::new("/cache")).is_empty());
    }

    #[test]
    fn a_build_has_a_time_whatever_the_environment_says() {
        assert_eq!(source_date_epoch(Some("1700000000")), 1_700_000_000);
        assert_eq!(source_date_epoch(Some("yesterday")), SOURCE_DATE_EPOCH_DEFAULT);
        assert_eq!(source_date_epoch(None), SOURCE_DATE_EPOCH_DEFAULT);
    }
}
