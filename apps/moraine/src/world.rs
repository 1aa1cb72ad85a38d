//! `moraine world`: the real Summit, Vessel and agents, over real sockets, rebuild every recipe of a pack.
//!
//! Only the build itself is played: a replayer ([`replay`]) takes Boulder's place, makes the packages that the committed
//! manifests list, and takes as long as the simulator's model says, scaled down. The repository begins with the previous
//! generation of every package, or with a set that is just enough to open every knot. By a seed, processes are killed and
//! connections cut while it goes on ([`faults`]).
//!
//! At the end everything is checked ([`check`]): each recipe is published at its release, nothing twice, nothing counts
//! as failed, nothing is left over, and no byte of a log is missing.

mod ask;
mod check;
mod error;
mod faults;
mod generation;
mod network;
mod pack;
mod proxy;
pub(crate) mod replay;
mod report;
mod script;
mod stage;
mod stones;
mod usage;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use farm::ids::RecipeId;
use fetch::{Client, Found};
use package::{Dependency, PackageMeta};
use repository::{RepositorySource, Version};

pub(crate) use error::WorldError;

use self::ask::{Status, Summit, TaskPage};
use self::check::{Evidence, judge};
use self::faults::{Mishap, Schedule};
use self::pack::Pack;
use self::replay::{Needs, Pace};
use self::report::{Details, Outcome, Queued};
use self::stage::{CHANNEL, Stage, Wiring};
use crate::signals::Stop;

/// How often services are looked after and faults injected.
const TICK: Duration = Duration::from_millis(50);
/// How often Summit is asked where everything is.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How often it is told how far everything is.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long a fault waits for something that it can happen to.
const POSTPONED_MAX: Duration = Duration::from_secs(5);
/// Everything is over when Summit says so for this long: a knot may still want another round.
const REST: Duration = Duration::from_secs(3);
/// Time for services to come to rest when everything is queued.
const SETTLING: Duration = Duration::from_secs(1);
/// Time in which something must be published.
const STUCK: Duration = Duration::from_secs(5 * 60);
/// Time for agents and Vessel to clean up after the last build.
const CLEANING_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(crate) struct WorldArguments {
    /// Folder of recipes: …/stone.yaml, each with its manifest.ARCH.bin beside it.
    #[arg(long, value_name = "DIR")]
    recipes: PathBuf,
    /// Build agents, with one build at a time each.
    #[arg(long, default_value_t = 4)]
    builders: usize,
    /// Kill processes and cut connections; which and when is a function of this seed.
    #[arg(long, value_name = "N")]
    kill_seed: Option<u64>,
    /// Give each process a network namespace of its own, and with --kill-seed part them instead of cutting connections.
    #[arg(long)]
    namespaces: bool,
    /// Says that this process is in its namespaces already.
    #[arg(long, hide = true, requires = "namespaces")]
    inside_namespaces: bool,
    /// Begin with a set of packages that opens every knot, instead of the previous generation of everything.
    #[arg(long)]
    bootstrap: bool,
    /// Play only so many of the recipes.
    #[arg(long, value_name = "N")]
    only: Option<usize>,
    /// How many times faster than real builds those of this world are.
    #[arg(long, default_value_t = 2000)]
    scale: u64,
    /// Seed of the times that builds take.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep everything in this folder; it must be empty or missing.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write the report to this file, in Markdown.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print one JSON object at the end.
    #[arg(long)]
    json: bool,
}

/// Plays a world to its end and judges it.
///
/// # Errors
/// When it cannot be played, or does not end as it must.
pub(crate) fn world(arguments: &WorldArguments) -> Result<(), WorldError> {
    if arguments.namespaces && !arguments.inside_namespaces {
        return Err(network::enter());
    }
    let stop = Stop::on_signals().map_err(WorldError::Signals)?;
    let folder = folder(arguments)?;
    let data = folder.path.clone();
    let outcome = Play::prepare(arguments, &stop, &data)?.play()?;
    // What went wrong is explained by what is there.
    if outcome.wrong.is_empty() {
        if let Some(temporary) = folder.temporary {
            drop(temporary.close());
        }
        return Ok(());
    }
    Err(WorldError::Wrong { wrong: outcome.wrong, data })
}

struct Folder {
    path: PathBuf,
    /// Removed at a good end.
    temporary: Option<tempfile::TempDir>,
}

fn folder(arguments: &WorldArguments) -> Result<Folder, WorldError> {
    let Some(path) = &arguments.data else {
        let failed = WorldError::folder(std::env::temp_dir());
        let mut temporary = tempfile::Builder::new().prefix("moraine-world-").tempdir().map_err(failed)?;
        temporary.disable_cleanup(true);
        return Ok(Folder { path: temporary.path().to_path_buf(), temporary: Some(temporary) });
    };
    fs_err::create_dir_all(path).map_err(WorldError::folder(path))?;
    if fs_err::read_dir(path).map_err(WorldError::folder(path))?.next().is_some() {
        return Err(WorldError::NotEmpty { path: path.clone() });
    }
    let path = fs_err::canonicalize(path).map_err(WorldError::folder(path))?;
    Ok(Folder { path, temporary: None })
}

/// A world that is ready to be played.
struct Play<'a> {
    arguments: &'a WorldArguments,
    stop: &'a Stop,
    data: &'a Path,
    pack: Pack,
    begins_with: String,
    /// What is published to begin with.
    generation: Vec<PackageMeta>,
    needs: BTreeMap<String, Needs>,
    /// What it took to have everything queued.
    queued: Queued,
    begun: Instant,
    faults: BTreeMap<String, usize>,
}

struct End {
    wrong: Vec<String>,
}

/// How far a world is, as Summit said last.
struct Progress {
    asked: Instant,
    told: Instant,
    /// Since when everything is over, and how long it took until then.
    resting: Option<(Instant, f64)>,
    published: usize,
    /// When something was published last.
    moved: Instant,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Self { asked: now, told: now, resting: None, published: 0, moved: now }
    }
}

impl<'a> Play<'a> {
    fn prepare(arguments: &'a WorldArguments, stop: &'a Stop, data: &'a Path) -> Result<Self, WorldError> {
        let pack = Pack::read(&arguments.recipes, arguments.only)?;
        note(&format!("{} recipes in {}", pack.recipes.len(), data.display()));
        let (sources, begins_with) = match arguments.bootstrap {
            false => (
                pack.recipes.keys().cloned().collect(),
                "the previous generation of every package".to_owned(),
            ),
            true => {
                let set = generation::bootstrap_set(&pack);
                let names: Vec<&str> = set.iter().map(String::as_str).collect();
                let begins_with = format!("a bootstrap set of {} recipes: {}", set.len(), names.join(", "));
                (set, begins_with)
            }
        };
        note(&format!("the repository begins with {begins_with}"));
        let generation = generation::packages(&pack, sources.iter());
        let needs = needs(&pack, &generation);
        Ok(Play {
            arguments,
            stop,
            data,
            pack,
            begins_with,
            generation,
            needs,
            queued: Queued::default(),
            begun: Instant::now(),
            faults: BTreeMap::new(),
        })
    }

    fn play(mut self) -> Result<End, WorldError> {
        let pace = Pace { seed: self.arguments.seed, scale: self.arguments.scale };
        replay::prepare(&self.data.join("world"), pace, &self.needs)
            .map_err(WorldError::folder(self.data.join("world")))?;
        self.pack.make_repository(&self.data.join("recipes"))?;
        let folder = self.data.join("generation");
        generation::write(&folder, &self.generation)?;
        note(&format!("{} packages are published to begin with", self.generation.len()));
        let wiring = match (self.arguments.namespaces, self.arguments.kill_seed) {
            (true, _) => Wiring::Namespaces,
            (false, Some(_)) => Wiring::Proxies,
            (false, None) => Wiring::Direct,
        };
        let generation = (!self.generation.is_empty()).then_some(folder.as_path());
        let begun = Instant::now();
        let mut stage = Stage::set(self.data, self.arguments.builders, generation, wiring)?;
        note(&format!("dashboard {} after {:.1} s", stage.dashboard_url(), begun.elapsed().as_secs_f64()));
        let summit = Summit::new(stage.dashboard_url());
        self.queued = self.queue_all(&mut stage, &summit)?;
        self.begun = Instant::now();
        stage.admit_builders()?;
        let (status, seconds) = self.watch(&mut stage, &summit)?;
        let mut evidence = self.collect(&stage, &summit, &status)?;
        stage.stop();
        evidence.orphans.extend(stage.left_behind());
        self.tell(&evidence, &stage, seconds)
    }

    /// Waits until every recipe has a task, and starts Summit once more with all of them.
    fn queue_all(&self, stage: &mut Stage, summit: &Summit) -> Result<Queued, WorldError> {
        self.wait_queued(stage, summit)?;
        let reopening = stage.restart_summit()?;
        let tasks = self.wait_queued(stage, summit)?;
        // What the first look takes goes back to the system when it is over.
        let until = Instant::now() + SETTLING;
        while Instant::now() < until {
            stage.look_after()?;
            std::thread::sleep(TICK);
        }
        let (summit_bytes, vessel_bytes) = (stage.usage.last("summit"), stage.usage.last("vessel"));
        Ok(Queued { tasks, reopening, summit_bytes, vessel_bytes })
    }

    /// Waits until every recipe has a task and Summit has read all that it reads. How many tasks are open then.
    fn wait_queued(&self, stage: &mut Stage, summit: &Summit) -> Result<u64, WorldError> {
        let deadline = Instant::now() + STUCK;
        loop {
            stage.look_after()?;
            let status = summit.status().filter(Status::has_looked);
            if let Some(status) = status.filter(|status| status.open >= self.recipes()) {
                return Ok(status.open);
            }
            if self.stop.is_asked() {
                return Err(WorldError::Interrupted);
            }
            if Instant::now() >= deadline {
                return Err(stuck(summit)?);
            }
            std::thread::sleep(TICK);
        }
    }

    fn recipes(&self) -> u64 {
        u64::try_from(self.pack.recipes.len()).unwrap_or(u64::MAX)
    }

    /// Watches until everything is published, and lets go wrong what is due.
    fn watch(&mut self, stage: &mut Stage, summit: &Summit) -> Result<(Status, f64), WorldError> {
        let (agents, ways, can_cut) = (stage.agents.clone(), stage.way_names(), !self.arguments.namespaces);
        let schedule = self.arguments.kill_seed.map(|seed| Schedule::new(seed, &agents, &ways, can_cut));
        let mut schedule = schedule.into_iter().flatten().peekable();
        let mut postponed: Vec<(Instant, Mishap)> = Vec::new();
        let mut progress = Progress::new();
        loop {
            if self.stop.is_asked() {
                return Err(WorldError::Interrupted);
            }
            for event in stage.look_after()? {
                self.note(&event);
            }
            let elapsed = self.begun.elapsed();
            let due = |(at_ms, _): &(u64, _)| {
                elapsed >= Duration::from_millis(*at_ms) && progress.resting.is_none()
            };
            while let Some((_, mishap)) = schedule.next_if(due) {
                postponed.push((Instant::now() + POSTPONED_MAX, mishap));
            }
            postponed.retain(|(until, mishap)| self.postpones(stage, *until, mishap));
            if progress.asked.elapsed() >= ASK_EVERY {
                // A Summit that was killed is back in a moment.
                if let Some(end) = self.ask(summit, &mut progress)? {
                    return Ok(end);
                }
            }
            std::thread::sleep(if postponed.is_empty() { TICK } else { TICK / 10 });
        }
    }

    /// Lets something go wrong; whether it has to wait until there is something that can, such as a build.
    fn postpones(&mut self, stage: &mut Stage, until: Instant, mishap: &Mishap) -> bool {
        if stage.suffer(mishap) {
            self.note(&mishap.to_string());
            *self.faults.entry(mishap.kind().to_owned()).or_default() += 1;
            return false;
        }
        let goes_on = Instant::now() < until;
        if !goes_on {
            self.note(&format!("{mishap}: there was none"));
        }
        goes_on
    }

    /// Asks Summit how far everything is. At the end, how it stands and when everything was published.
    fn ask(&self, summit: &Summit, progress: &mut Progress) -> Result<Option<(Status, f64)>, WorldError> {
        progress.asked = Instant::now();
        let Some(status) = summit.status() else { return Ok(None) };
        let published = status.count("published");
        if published > progress.published {
            (progress.published, progress.moved) = (published, Instant::now());
        }
        if progress.told.elapsed() >= TELL_EVERY {
            progress.told = Instant::now();
            let (open, attached) = (status.open, status.builders_attached);
            self.note(&format!("{published} builds published, {open} tasks open, {attached} builders there"));
        }
        let is_over = status.idle && published > 0;
        match (is_over, progress.resting) {
            (true, Some((since, seconds))) if since.elapsed() >= REST => return Ok(Some((status, seconds))),
            (true, None) => progress.resting = Some((Instant::now(), self.begun.elapsed().as_secs_f64())),
            (true, Some(_)) => {}
            (false, _) => progress.resting = None,
        }
        if !is_over && progress.moved.elapsed() >= STUCK {
            return Err(stuck(summit)?);
        }
        Ok(None)
    }

    /// Tells what happened, with the time.
    fn note(&self, event: &str) {
        note(&format!("{:8.3} s  {event}", self.begun.elapsed().as_secs_f64()));
    }

    /// Everything that says how it ended. The services still run.
    fn collect(&self, stage: &Stage, summit: &Summit, status: &Status) -> Result<Evidence, WorldError> {
        let tasks: Vec<TaskPage> =
            summit.tasks()?.iter().map(|task| summit.task(task.id)).collect::<Result<_, _>>()?;
        let mut lost_log_bytes = 0;
        for (page, attempt) in tasks.iter().flat_map(|page| page.attempts.iter().map(move |it| (page, it))) {
            let kept = summit.log(attempt)?;
            let lost = script::lost_bytes(&page.task.source, attempt.id, &kept, attempt.built_ms.is_some());
            if lost > 0 {
                note(&format!(
                    "{lost} bytes of the log of {} attempt {} are lost",
                    page.task.source, attempt.id
                ));
            }
            lost_log_bytes += lost;
        }
        let mut published = HashMap::new();
        for package in offered(&stage.repository_url())? {
            let newest = published.entry(package.source_id).or_insert(package.release);
            *newest = package.release.max(*newest);
        }
        Ok(Evidence {
            recipes: self
                .pack
                .recipes
                .iter()
                .map(|(source, recipe)| (source.clone(), recipe.release))
                .collect(),
            waits_for: waits_for(&self.pack, &self.generation),
            published,
            lost_log_bytes,
            orphans: self.left_over(stage),
            unordered: self.unordered(&tasks)?,
            unsettled: status
                .projects
                .iter()
                .flat_map(|project| &project.architectures)
                .flat_map(|arena| arena.unsettled.clone())
                .collect(),
            tasks,
        })
    }

    /// Files that nobody needs any more, when agents and Vessel had time to remove them.
    fn left_over(&self, stage: &Stage) -> Vec<String> {
        let mut folders: Vec<PathBuf> =
            stage.agents.iter().map(|agent| self.data.join(agent).join("attempts")).collect();
        folders.push(self.data.join("vessel/staging"));
        let deadline = Instant::now() + CLEANING_LIMIT;
        loop {
            let left: Vec<String> = folders
                .iter()
                .filter_map(|folder| fs_err::read_dir(folder).ok())
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path().display().to_string()))
                .collect();
            if left.is_empty() || Instant::now() >= deadline {
                return left;
            }
            std::thread::sleep(TICK);
        }
    }

    /// Packages in the pool that were neither there to begin with nor built by a task that was published; and packages of
    /// such tasks that are not there.
    fn unordered(&self, tasks: &[TaskPage]) -> Result<Vec<String>, WorldError> {
        let mut expected: BTreeSet<String> = self.generation.iter().map(PackageMeta::file_name).collect();
        for task in tasks.iter().map(|page| &page.task).filter(|task| task.phase == "published") {
            let Some(recipe) = self.pack.recipes.get(&task.source) else { continue };
            let generation = stones::Generation {
                version: &recipe.version,
                release: task.release,
                build_release: task.build_release,
            };
            let files = recipe.packages.iter().map(|package| stones::of_generation(package, generation));
            expected.extend(files.map(|package| package.file_name()));
        }
        let mut found = BTreeSet::new();
        files_below(&self.data.join("vessel/public").join(CHANNEL).join("pool"), &mut found)?;
        let more =
            found.difference(&expected).map(|name| format!("nobody ordered {name}, and it is in the pool"));
        let fewer =
            expected.difference(&found).map(|name| format!("{name} was published, and is not in the pool"));
        Ok(more.chain(fewer).collect())
    }

    fn tell(self, evidence: &Evidence, stage: &Stage, seconds: f64) -> Result<End, WorldError> {
        let verdict = judge(evidence);
        let outcome = Outcome {
            recipes: evidence.recipes.len(),
            published: verdict.published,
            false_failures: verdict.false_failures,
            orphans: evidence.orphans.len(),
            lost_log_bytes: evidence.lost_log_bytes,
            duplicates: verdict.duplicates,
            faults: self.faults.values().sum(),
            seconds: (seconds * 1000.0).round() / 1000.0,
            assign_ms: verdict.assign_ms,
        };
        let built = evidence.tasks.iter().filter(|page| page.task.phase == "published");
        let build_time: Duration = built
            .map(|page| script::duration(self.arguments.seed, &page.task.source, self.arguments.scale))
            .sum();
        let wrong = verdict.wrong.clone();
        let details = Details {
            command: self.command(),
            begins_with: self.begins_with,
            scale: self.arguments.scale,
            builders: self.arguments.builders,
            verdict,
            build_seconds: build_time.as_secs_f64(),
            usage: stage.usage.clone(),
            queued: self.queued,
            faults: self.faults,
        };
        let text = report::text(&outcome, &details);
        if let Some(path) = &self.arguments.report {
            fs_err::write(path, &text).map_err(WorldError::folder(path))?;
        }
        if self.arguments.json {
            note(&text);
            let json = serde_json::to_string(&outcome)
                .map_err(|source| WorldError::Answer { url: "this world".to_owned(), source })?;
            observe::write_stdout(&format!("{json}\n"))?;
        } else {
            observe::write_stdout(&text)?;
        }
        Ok(End { wrong })
    }

    /// The command that plays the same world again.
    fn command(&self) -> String {
        let arguments = self.arguments;
        let mut command = format!("moraine world --recipes DIR --builders {}", arguments.builders);
        if let Some(seed) = arguments.kill_seed {
            command += &format!(" --kill-seed {seed}");
        }
        if arguments.namespaces {
            command += " --namespaces";
        }
        if arguments.bootstrap {
            command += " --bootstrap";
        }
        if let Some(only) = arguments.only {
            command += &format!(" --only {only}");
        }
        command
    }
}

/// What must be published before each recipe is built: what it needs outside of its cycle in the new generation, and what
/// it needs inside of it in any.
fn needs(pack: &Pack, generation: &[PackageMeta]) -> BTreeMap<String, Needs> {
    let graph = pack.graph(generation);
    let release = |source: &str| pack.recipes.get(source).map_or(0, |recipe| recipe.release);
    let of_recipe = |id| {
        let mut needs = Needs::default();
        let mut makers: BTreeMap<Dependency, Vec<RecipeId>> = BTreeMap::new();
        for needed in graph.needs(id) {
            let source = graph.source(needed);
            if needed != id && graph.component(needed) != graph.component(id) {
                needs.sources.insert(source.to_owned(), release(source));
            }
            for dependency in graph.because(id, needed) {
                makers.entry(dependency).or_default().push(needed);
            }
        }
        // Of a cycle nothing waits for everybody who offers the same: whoever is there first will do.
        let of_cycle = makers.into_iter().filter(|(_, makers)| {
            makers.iter().any(|&maker| maker != id && graph.component(maker) == graph.component(id))
        });
        let names = |makers: Vec<RecipeId>| makers.iter().map(|&it| graph.source(it).to_owned()).collect();
        needs.of_cycle =
            of_cycle.map(|(dependency, makers)| (dependency.to_string(), names(makers))).collect();
        (graph.source(id).to_owned(), needs)
    };
    graph.recipes().map(of_recipe).collect()
}

/// Whose tasks the task of each recipe waits for directly.
fn waits_for(pack: &Pack, generation: &[PackageMeta]) -> BTreeMap<String, Vec<String>> {
    let graph = pack.graph(generation);
    let names = |id| graph.waits_for(id).map(|needed| graph.source(needed).to_owned()).collect();
    graph.recipes().map(|id| (graph.source(id).to_owned(), names(id))).collect()
}

/// What any client finds.
fn offered(base_url: &str) -> Result<Vec<PackageMeta>, WorldError> {
    let (Ok(channel), Ok(stream)) = (CHANNEL.parse(), "volatile".parse()) else { return Ok(Vec::new()) };
    let source = RepositorySource::Versioned {
        base_uri: base_url.to_owned(),
        channel,
        version: Version::Stream(stream),
        arch: std::env::consts::ARCH.to_owned(),
    };
    match Client::default().offer(&source, None)? {
        Found::Offer(offer) => Ok(offer.packages),
        Found::Nothing | Found::Unchanged => Ok(Vec::new()),
    }
}

fn files_below(folder: &Path, found: &mut BTreeSet<String>) -> Result<(), WorldError> {
    for entry in fs_err::read_dir(folder).map_err(WorldError::folder(folder))? {
        let entry = entry.map_err(WorldError::folder(folder))?;
        if entry.file_type().map_err(WorldError::folder(folder))?.is_dir() {
            files_below(&entry.path(), found)?;
        } else {
            found.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// Nothing goes on any more.
fn stuck(summit: &Summit) -> Result<WorldError, WorldError> {
    let is_over = |phase: &str| matches!(phase, "published" | "superseded");
    let open: Vec<_> = summit.tasks()?.into_iter().filter(|task| !is_over(&task.phase)).collect();
    let example = open.iter().min_by_key(|task| task.phase == "waiting");
    let example = example.map(|task| format!("{} ({}: {})", task.source, task.phase, task.detail));
    Ok(WorldError::Stuck {
        minutes: STUCK.as_secs() / 60,
        open: open.len(),
        example: example.unwrap_or_default(),
    })
}

fn note(line: &str) {
    // Nobody watches when standard error is closed; the world goes on.
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
