//! One build, from a recipe to packages: the order of the steps, and where each of them happens.
//!
//! ```text
//! recipe ─▶ plan ─▶ build root ─▶ sources ─▶ phases in the sandbox ─▶ debug split in the sandbox ─▶ packages
//! ```
//!
//! Everything of a build lies in one folder below the cache, locked while it is used and emptied when the build begins,
//! so whatever an interrupted build left behind is gone. Nothing appears in the output folder before every phase has
//! succeeded, and a package appears there only when it is complete.

mod failure;
mod record;
mod workspace;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fetch::{GitMirrors, Mirror, SourceCache};
use moss::{Materialise, Materialised, MissingPolicy};
use package::{Dependency, DependencyKind};
use recipe::{BuildContext, BuildPlan, Phase, Recipe, Toolchain};
use repository::RepositoryConfig;
use sandbox::{IdMap, Limits, Output, Sandbox, Spec};

use crate::analyse::elf;
use crate::collect::{InstalledKind, collect};
use crate::emit::Artefact;
use crate::pages;
use crate::room::{RoomWatch, Short};
use crate::root::{HostFacts, RootKind, Tree, definitions, inside, toolchain, tree};
use crate::sources::{Sources, lay_out};
use crate::split::{self, BINUTILS, LLVM, Wishes};
use crate::stop;

pub use crate::room::RoomLimits;
pub use failure::{BuildError, FailureClass};
pub use record::{Record, Report};
pub use workspace::{FolderState, LeftFolder, folder_states};

use workspace::Workspace;

/// Processes and threads of a build of any size: test suites start some hundred of each at a time. An ordinary machine
/// has 32768 for all that runs on it, and a script that forks without end must leave the most of them to others.
const PROCESSES_BASE: u64 = 2048;
/// As many again for each job: a compiler or linker starts at most 16 threads, a make and some shells above it.
const PROCESSES_PER_JOB: u64 = 128;
/// What every root made of packages holds, whatever the recipe asks for.
const BASE_PACKAGES: [&str; 17] = [
    "bash",
    "boulder",
    "coreutils",
    "dash",
    "diffutils",
    "findutils",
    "gawk",
    "glibc-devel",
    "grep",
    "layout",
    "libarchive",
    "linux-headers",
    "os-info",
    "pkgconf",
    "sed",
    "util-linux",
    "binary(git)",
];

/// What to build and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The `stone.yaml`.
    pub recipe: PathBuf,
    /// Where packages and manifests go; exists.
    pub output: PathBuf,
    /// What the build sees.
    pub root: RootKind,
    /// All that a root of stones gets beside what the recipe asks for; nothing for the usual set and the tools of the
    /// phases.
    pub base_packages: Option<Vec<Dependency>>,
    /// Where build dependencies come from.
    pub repositories: Vec<RepositoryConfig>,
    /// The number of this build of the release.
    pub build_release: u64,
    /// Architecture to build for, that of the machine.
    pub architecture: String,
    /// Jobs that a build runs at once.
    pub jobs: usize,
    /// Sources, build folders and packages of build roots.
    pub cache: PathBuf,
    /// Other places for sources.
    pub mirrors: Vec<Mirror>,
    /// `SOURCE_DATE_EPOCH` in seconds.
    pub source_date_epoch: u64,
    /// Longest time for everything that runs in the sandbox.
    pub time_limit: Option<Duration>,
    /// Most memory that the build may take, where the machine can hold it to that.
    pub memory_bytes_max: Option<u64>,
    /// What the build may take of the disk.
    pub room: RoomLimits,
    /// Leave the build folder as it is at the end, to look into it.
    pub keep: bool,
}

/// What came out of a build.
#[derive(Debug, Clone)]
pub struct Built {
    /// Packages, manifests and the record, in the output folder.
    pub artefacts: Vec<Artefact>,
    /// What went into the build, and how long it took.
    pub record: Record,
}

/// What a build took of the machine, also one that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most memory that one of its sandboxes had in use, in bytes; they run one after the other. 0 before the first has
    /// ended. See [`sandbox::Child::peak_memory_bytes`] for what is counted.
    pub peak_memory_bytes: u64,
}

/// Builds one recipe. `say` is told what happens, a line each; what programs print goes to standard output. `usage` is
/// brought up to date after each sandbox.
///
/// # Errors
/// When the recipe, its dependencies, its sources, one of its phases or the machine fails; the class says whose fault it is.
pub fn build(request: &Request, usage: &mut Usage, say: &mut dyn FnMut(&str)) -> Result<Built, BuildError> {
    let begun = Instant::now();
    let recipe = load(&request.recipe)?;
    let host = HostFacts::look();
    let toolchain = toolchain(request.root, &host, recipe.options.toolchain);
    let plans = recipe
        .targets(&request.architecture)
        .iter()
        .map(|target| recipe::plan(&recipe, &context(request, &host, &recipe, target, toolchain)))
        .collect::<Result<Vec<BuildPlan>, _>>()
        .map_err(BuildError::Evaluate)?;
    let workspace = Workspace::wait_for(&request.cache, &recipe, &request.recipe, say)?;
    if request.keep {
        workspace.keep()?;
    }

    say(&format!(
        "building {} {}-{} in a {} root",
        recipe.name,
        recipe.version,
        recipe.release,
        request.root.label()
    ));
    let root = fill_root(request, &recipe, &plans, &workspace)?;
    for package in &root.packages {
        say(&format!("root: {} {}-{}", package.name, package.version, package.release));
    }
    let identities = fetch_sources(request, &recipe, &workspace, say)?;

    let tree = tree(request.root, &host, &workspace.places, recipe.options.networking);
    let mut runner =
        Runner { request, tree, workspace: &workspace, begun, ids: None, notices: BTreeSet::new(), usage };
    let mut record = Record::begin(&recipe, request, &root, identities);
    for plan in &plans {
        workspace.make_target_folder(&plan.target)?;
    }
    for plan in &plans {
        for phase in &plan.phases {
            let label = phase.kind.label();
            let name = if plans.len() > 1 { format!("{label} {}", plan.target) } else { label.to_owned() };
            say(&format!("phase {name}"));
            let seconds = runner.phase(phase, say)?;
            record.phase(&name, seconds);
        }
    }
    split_debug(&mut runner, &recipe, toolchain, say)?;
    if recipe.options.compressman {
        let files = collect(&workspace.places.install).map_err(BuildError::Collect)?;
        let count = pages::compress(&files).map_err(BuildError::Workspace)?;
        say(&format!("compressed {count} pages"));
    }

    say("packaging");
    let ids = runner.ids.take().ok_or(BuildError::NothingRan)?;
    let artefacts = crate::packages::write(
        &crate::packages::Job {
            recipe: &recipe,
            context: &context(request, &host, &recipe, &request.architecture, toolchain),
            install_root: &workspace.places.install,
            root: &workspace.places.packages,
            build_release: request.build_release,
            architecture: &request.architecture,
            output: &request.output,
            owners: &|uid, gid| Some((ids.to_inside(uid)?, ids.group_to_inside(gid)?)),
        },
        say,
    )?;
    record.finish(&artefacts, begun.elapsed(), *runner.usage);
    let record_artefact = record.write(&request.output)?;
    if !request.keep {
        workspace.remove()?;
    }
    let artefacts = artefacts.into_iter().chain([record_artefact]).collect();
    Ok(Built { artefacts, record })
}

/// Removes what a failed build left in its folder: a farm has some thousand recipes that fail, and no room for them all.
/// Another build of the same release that has begun by now is left alone.
pub fn discard(request: &Request, say: &mut dyn FnMut(&str)) {
    let Ok(recipe) = load(&request.recipe) else { return };
    let removed =
        Workspace::open(&request.cache, &recipe, &request.recipe).and_then(|workspace| workspace.remove());
    match removed {
        Ok(()) | Err(BuildError::Busy { .. }) => {}
        Err(error) => say(&format!("the build folder stays: {}", fault::chain(&error).join(": "))),
    }
}

/// Reads the recipe; its warnings are the business of `recipe check`.
fn load(path: &Path) -> Result<Recipe, BuildError> {
    let text = fs_err::read_to_string(path).map_err(BuildError::ReadRecipe)?;
    let parsed = recipe::parse(&path.display().to_string(), &text).map_err(BuildError::Recipe)?;
    Ok(parsed.recipe)
}

fn context(
    request: &Request,
    host: &HostFacts,
    recipe: &Recipe,
    target: &str,
    toolchain: Toolchain,
) -> BuildContext {
    BuildContext {
        jobs: request.jobs,
        toolchain,
        source_date_epoch: request.source_date_epoch,
        overrides: definitions(request.root, host),
        ..BuildContext::new(recipe, target)
    }
}

/// Resolves and lays out the packages of the build root.
fn fill_root(
    request: &Request,
    recipe: &Recipe,
    plans: &[BuildPlan],
    workspace: &Workspace,
) -> Result<Materialised, BuildError> {
    let asked = recipe.all_build_depends();
    let implicit = plans.iter().flat_map(BuildPlan::implicit_depends).collect();
    let wanted = wanted(request.root, request.base_packages.as_deref(), &asked, implicit);
    let wanted: Vec<Dependency> = wanted.into_iter().collect();
    let missing = match request.root {
        RootKind::Host => MissingPolicy::Allow(DependencyKind::ALL.to_vec()),
        RootKind::Stones => MissingPolicy::Refuse,
    };
    fs_err::create_dir_all(workspace.places.packages.join("usr")).map_err(BuildError::Workspace)?;
    let materialised = moss::materialise(&Materialise {
        target: &workspace.places.packages,
        repositories: &request.repositories,
        cache_dir: &request.cache.join("moss"),
        wanted: &wanted,
        missing,
        reporter: &moss::Silent,
    })
    .map_err(BuildError::Root)?;
    fs_err::create_dir_all(workspace.places.packages.join("usr/lib")).map_err(BuildError::Workspace)?;
    if request.root == RootKind::Host {
        refuse_unmet(recipe, &materialised.unresolved, &asked, &host_provides)?;
    }
    Ok(materialised)
}

/// What the root is filled with. Whoever names the base of a root of packages names all of it: what the tools of the
/// recipe's phases would bring is then left out too, because a distribution that begins has none of it yet.
fn wanted(
    root: RootKind,
    base_packages: Option<&[Dependency]>,
    asked: &BTreeSet<Dependency>,
    implicit: BTreeSet<Dependency>,
) -> BTreeSet<Dependency> {
    let beside: BTreeSet<Dependency> = match (root, base_packages) {
        (RootKind::Host, _) => implicit,
        (RootKind::Stones, Some(packages)) => packages.iter().cloned().collect(),
        (RootKind::Stones, None) => {
            let base = BASE_PACKAGES.iter().filter_map(|text| text.parse().ok());
            implicit.into_iter().chain(base).collect()
        }
    };
    asked.union(&beside).cloned().collect()
}

/// On a host root the machine may stand in for programs and C libraries, but not for a package that a recipe names.
fn refuse_unmet(
    recipe: &Recipe,
    unresolved: &[Dependency],
    asked: &BTreeSet<Dependency>,
    host_provides: &dyn Fn(&Dependency) -> bool,
) -> Result<(), BuildError> {
    let unmet: Vec<Dependency> = unresolved
        .iter()
        .filter(|dependency| asked.contains(dependency) && !host_provides(dependency))
        .cloned()
        .collect();
    if unmet.is_empty() {
        Ok(())
    } else {
        Err(BuildError::Unmet { recipe: recipe.name.clone(), dependencies: unmet })
    }
}

fn host_provides(dependency: &Dependency) -> bool {
    let directory = match dependency.kind {
        DependencyKind::Binary => "/usr/bin",
        DependencyKind::SystemBinary => "/usr/sbin",
        // Libraries and interpreters come with the compiler of the machine.
        DependencyKind::Soname | DependencyKind::Interpreter => return true,
        _ => return false,
    };
    !dependency.name.contains('/') && Path::new(directory).join(&dependency.name).exists()
}

fn fetch_sources(
    request: &Request,
    recipe: &Recipe,
    workspace: &Workspace,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<String>, BuildError> {
    for upstream in &recipe.upstreams {
        say(&format!("source: {}", upstream.url()));
    }
    let cache = SourceCache::new(&request.cache, fetch::Client::default(), fetch::Order::default());
    let git = GitMirrors::new(&request.cache.join("git"));
    let sources = Sources { cache: &cache, mirrors: &request.mirrors, git: &git };
    lay_out(&recipe.upstreams, &sources, &workspace.places.sources)
        .map_err(|error| BuildError::Sources(Box::new(error)))
}

/// Takes debug information out of what was installed, inside the sandbox.
fn split_debug(
    runner: &mut Runner<'_>,
    recipe: &Recipe,
    toolchain: Toolchain,
    say: &mut dyn FnMut(&str),
) -> Result<(), BuildError> {
    let wishes = Wishes { debug: recipe.options.debug, strip: recipe.options.strip };
    let files = collect(&runner.workspace.places.install).map_err(BuildError::Collect)?;
    let mut elf_files = Vec::new();
    for file in files {
        if matches!(file.kind, InstalledKind::Regular { .. })
            && !file.path.starts_with("/usr/lib/debug/")
            && let Ok(Some(facts)) = elf::read(&file.source)
        {
            elf_files.push((file, facts));
        }
    }
    let jobs = split::jobs(&elf_files, wishes);
    if jobs.is_empty() {
        return Ok(());
    }
    say(&format!("splitting debug information of {} files", jobs.len()));
    let tools = if toolchain == Toolchain::Llvm { LLVM } else { BINUTILS };
    let script = split::script(&jobs, tools, inside::INSTALL, runner.request.jobs);
    runner.run("split", &script, inside::BUILD, say)
}

/// Runs scripts of one build in its sandbox.
struct Runner<'a> {
    request: &'a Request,
    tree: Tree,
    workspace: &'a Workspace,
    begun: Instant,
    /// Known from the first run on.
    ids: Option<IdMap>,
    /// What the machine could not give, each said once.
    notices: BTreeSet<String>,
    usage: &'a mut Usage,
}

impl Runner<'_> {
    fn phase(&mut self, phase: &Phase, say: &mut dyn FnMut(&str)) -> Result<f64, BuildError> {
        let begun = Instant::now();
        self.run(phase.kind.label(), &phase.script, &phase.work_directory, say)?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn run(
        &mut self,
        name: &str,
        script: &str,
        directory: &str,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        let file = format!("{name}.sh");
        fs_err::write(self.workspace.places.scripts.join(&file), script).map_err(BuildError::Workspace)?;
        let mut child = Sandbox::spawn(&self.spec(&file, directory)?).map_err(BuildError::Sandbox)?;
        for notice in child.notices() {
            if self.notices.insert(notice.clone()) {
                say(&format!("note: {notice}"));
            }
        }
        self.ids = Some(child.id_map().clone());
        stop::entered(child.killer());
        let room = RoomWatch::begin(self.workspace.written(), self.request.room, child.killer());
        let outcome = child.wait();
        stop::left();
        let short = room.map_err(BuildError::Workspace)?.end();
        let outcome = outcome.map_err(BuildError::Sandbox)?;
        self.usage.peak_memory_bytes = self.usage.peak_memory_bytes.max(child.peak_memory_bytes());
        let phase = || name.to_owned();
        match short {
            Some(Short::Folder { size_bytes, limit_bytes }) => {
                return Err(BuildError::DiskLimit { phase: phase(), size_bytes, limit_bytes });
            }
            Some(Short::Disk { free_bytes, needed_bytes }) => {
                return Err(BuildError::DiskFull { phase: phase(), free_bytes, needed_bytes });
            }
            None => {}
        }
        BuildError::of_outcome(name, outcome, child.memory_ran_out())
    }

    fn spec(&self, script: &str, directory: &str) -> Result<Spec, BuildError> {
        let places = &self.workspace.places;
        let mut spec =
            Spec::new(self.tree.root.clone(), "/usr/bin/bash", [format!("{}/{script}", inside::SCRIPTS)]);
        spec.mounts.clone_from(&self.tree.mounts);
        spec.environment.clone_from(&self.tree.environment);
        spec.network = self.tree.network;
        spec.directory = directory.into();
        spec.hostname = "boulder".to_owned();
        spec.output = Output::Inherit;
        spec.limits = Limits {
            wall_time: self.time_left()?,
            memory_bytes: self.request.memory_bytes_max,
            processes: Some(processes_max(self.request.jobs)),
        };
        if self.ids.is_none() {
            // Once is enough: whatever is made later is made by root inside.
            let caches = places.caches.iter().map(|(_, path)| path);
            spec.owned = [&places.build, &places.install].into_iter().chain(caches).cloned().collect();
        }
        Ok(spec)
    }

    fn time_left(&self) -> Result<Option<Duration>, BuildError> {
        match self.request.time_limit.map(|limit| limit.checked_sub(self.begun.elapsed())) {
            Some(None) => Err(BuildError::TimeLimit { phase: "between two phases".to_owned() }),
            left => Ok(left.flatten()),
        }
    }
}

fn processes_max(jobs: usize) -> u64 {
    let jobs = u64::try_from(jobs).unwrap_or(u64::MAX);
    jobs.saturating_mul(PROCESSES_PER_JOB).saturating_add(PROCESSES_BASE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        let text = "name: x\nversion: \"1\"\nrelease: 1\nhomepage: https://x\nlicense: MIT\nbuilddeps:\n    - a-devel\n    - binary(gcc)\n";
        recipe::parse("stone.yaml", text).unwrap().recipe
    }

    fn check(unresolved: &[&str], expected: Option<&str>) {
        let recipe = recipe();
        let unresolved: Vec<Dependency> = unresolved.iter().map(|text| text.parse().unwrap()).collect();
        let on_host = |dependency: &Dependency| dependency.to_string() == "binary(gcc)";
        let result = refuse_unmet(&recipe, &unresolved, &recipe.all_build_depends(), &on_host);
        let message = result.err().map(|error| error.to_string());
        match expected {
            None => assert_eq!(message, None),
            Some(part) => assert!(message.as_deref().unwrap_or_default().contains(part), "{message:?}"),
        }
    }

    #[test]
    fn a_named_base_takes_the_place_of_everything_implicit() {
        let set = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<_>>();
        let (asked, implicit) = (set(&["a-devel"]), set(&["clang"]));
        let base: Vec<Dependency> = set(&["first-tools"]).into_iter().collect();
        let of = |root, base| wanted(root, base, &asked, implicit.clone());
        assert_eq!(of(RootKind::Host, Some(&base)), set(&["a-devel", "clang"]));
        assert_eq!(of(RootKind::Stones, Some(&base)), set(&["a-devel", "first-tools"]));
        let usual = of(RootKind::Stones, None);
        assert!(usual.is_superset(&set(&["a-devel", "clang", "coreutils", "binary(git)"])));
        assert_eq!(usual.len(), BASE_PACKAGES.len() + 2);
    }

    #[test]
    fn the_machine_stands_in_for_programs_but_not_for_packages() {
        check(&[], None);
        check(&["binary(gcc)"], None);
        check(&["a-devel"], Some("a-devel"));
        // What only an action or a package of the root wants is the machine's to have.
        check(&["autoconf", "soname(libc.so.6(x86_64))"], None);
    }
}
