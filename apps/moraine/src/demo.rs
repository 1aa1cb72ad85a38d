//! The whole way on one machine: recipes in git, a farm that builds them, a repository that publishes them, a fresh root
//! that installs them, and the programs running in it.
//!
//! Every step goes through what a distribution would use: git, the services over their sockets, the published tree over
//! HTTP, and the `moss` program. Nothing is handed over inside this process.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fault::{Fault, Kind};
use fetch::{Client, Found, Offer, OfferError};
use observe::OutputError;
use repository::{Identifier, RepositorySource, Version};
use serde::Serialize;
use serde_json::Value;

use crate::examples::{self, ExamplesError, Programme};
use crate::farm::{CHANNEL, Farm, FarmError, FarmOptions, TICK};
use crate::signals::Stop;
use crate::summit_api::{ApiError, Attempt, Task};
use crate::watch::{RowState, Watch};

/// How often the table is drawn.
const REDRAW: Duration = Duration::from_millis(400);
/// Longest time without any task before the recipes are taken to be unreadable.
const FIRST_TASK_LIMIT: Duration = Duration::from_secs(60);
/// Lines of a program's output that are shown to a person.
const SHOWN_LINES: usize = 3;

/// How to give the demo.
#[derive(Debug, Clone)]
pub(crate) struct DemoOptions {
    /// Print one JSON object at the end, and nothing else.
    pub json: bool,
    /// Stay up afterwards.
    pub serve: bool,
    /// Where everything is kept.
    pub keep: Option<PathBuf>,
    /// Build agents to start.
    pub agents: usize,
}

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The folder cannot be used.
    #[error("cannot use {path} for the demo")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the disk says.
        #[source]
        source: std::io::Error,
    },
    /// The folder holds something.
    #[error("cannot use {path} for the demo: it is not empty")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The recipes cannot be laid out.
    #[error(transparent)]
    Examples(#[from] ExamplesError),
    /// The farm fails.
    #[error(transparent)]
    Farm(#[from] FarmError),
    /// Summit does not answer as it should.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The published tree cannot be read.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// The channel has nothing, although everything landed.
    #[error("cannot find anything in channel {CHANNEL} of {url}")]
    Nothing {
        /// Address of the published tree.
        url: String,
    },
    /// Summit made nothing of the recipes.
    #[error("cannot build the example recipes: Summit made no task of them within {} s", FIRST_TASK_LIMIT.as_secs())]
    NoTasks,
    /// Moss refuses.
    #[error("cannot {action} with moss: {message}")]
    Moss {
        /// What it was asked to do.
        action: String,
        /// What it said.
        message: String,
    },
    /// Builds or programs failed.
    #[error("the demo did not succeed: {}", failed.join(", "))]
    Failed {
        /// What failed.
        failed: Vec<String>,
        /// Where to look.
        folder: PathBuf,
    },
    /// Somebody asked to stop.
    #[error("the demo was interrupted")]
    Interrupted,
    /// Standard output is closed.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Fault for DemoError {
    fn kind(&self) -> Kind {
        match self {
            DemoError::NotEmpty { .. } => Kind::Input,
            DemoError::Folder { .. } | DemoError::Moss { .. } | DemoError::Interrupted => Kind::Unavailable,
            DemoError::Examples(error) => error.kind(),
            DemoError::Farm(error) => error.kind(),
            DemoError::Api(error) => error.kind(),
            DemoError::Offer(error) => error.kind(),
            DemoError::Nothing { .. } => Kind::Damaged,
            DemoError::NoTasks | DemoError::Failed { .. } => Kind::Unavailable,
            DemoError::Output(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            DemoError::Examples(error) => error.hints(),
            DemoError::Farm(error) => error.hints(),
            DemoError::Api(error) => error.hints(),
            DemoError::Offer(error) => error.hints(),
            DemoError::Failed { folder, .. } => vec![format!("everything is kept in {}", folder.display())],
            DemoError::NotEmpty { .. } => vec!["name a new folder with --keep".into()],
            _ => Vec::new(),
        }
    }
}

/// What `moraine demo --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Outcome {
    packages: Vec<PackageOutcome>,
    build_order: Vec<String>,
    history: String,
    installed: Vec<Installed>,
    ran: Vec<Ran>,
    seconds: f64,
    failed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct PackageOutcome {
    name: String,
    version: String,
    release: u64,
    recipe: String,
    seconds: f64,
    size_bytes: u64,
    sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Installed {
    name: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Ran {
    command: Vec<String>,
    exit: i32,
    stdout: String,
}

/// Gives the demo.
///
/// # Errors
/// When a step fails. What was made until then is kept and named.
pub(crate) fn demo(options: &DemoOptions) -> Result<(), DemoError> {
    let begun = Instant::now();
    let stop = Stop::on_signals().map_err(FarmError::Signals)?;
    let folder = folder(options)?;
    let mut watch = Watch::new(options.json);
    let result = Stage { options, stop: &stop, folder: &folder.path, watch: &mut watch, begun }.play();
    // What a failed demo made is what explains it.
    if let (Ok(()), Some(temporary)) = (&result, folder.temporary) {
        drop(temporary.close());
    }
    result
}

struct Folder {
    path: PathBuf,
    /// Removed at a good end.
    temporary: Option<tempfile::TempDir>,
}

fn folder(options: &DemoOptions) -> Result<Folder, DemoError> {
    let Some(path) = &options.keep else {
        let failed = |source| DemoError::Folder { path: std::env::temp_dir(), source };
        let mut temporary = tempfile::Builder::new().prefix("moraine-demo-").tempdir().map_err(failed)?;
        temporary.disable_cleanup(true);
        return Ok(Folder { path: temporary.path().to_path_buf(), temporary: Some(temporary) });
    };
    let failed = |source| DemoError::Folder { path: path.clone(), source };
    fs_err::create_dir_all(path).map_err(failed)?;
    if fs_err::read_dir(path).map_err(failed)?.next().is_some() {
        return Err(DemoError::NotEmpty { path: path.clone() });
    }
    Ok(Folder { path: fs_err::canonicalize(path).map_err(failed)?, temporary: None })
}

struct Stage<'a> {
    options: &'a DemoOptions,
    stop: &'a Stop,
    folder: &'a Path,
    watch: &'a mut Watch,
    begun: Instant,
}

impl Stage<'_> {
    fn play(mut self) -> Result<(), DemoError> {
        let programme = examples::programme()?;
        let recipes = self.folder.join("recipes");
        examples::make_repository(&recipes)?;
        self.watch.say(&format!("recipes     {}", recipes.display()));

        let mut farm = self.start_farm(&recipes)?;
        self.watch.say(&format!("dashboard   {}", farm.dashboard_url()));
        self.watch.say(&format!("repository  {}", farm.repository_url()));
        let tasks = self.watch_builds(&mut farm)?;
        let mut outcome = self.outcome_of_builds(&farm, &tasks)?;
        if outcome.failed.is_empty() {
            self.install(&farm, &programme, &mut outcome)?;
            self.run(&programme, &mut outcome)?;
        }
        outcome.seconds = self.begun.elapsed().as_secs_f64();
        self.tell(&outcome)?;
        if self.options.serve && outcome.failed.is_empty() {
            self.serve(&mut farm)?;
        }
        farm.stop();
        match outcome.failed.is_empty() {
            true => Ok(()),
            false => Err(DemoError::Failed { failed: outcome.failed, folder: self.folder.to_path_buf() }),
        }
    }

    fn start_farm(&mut self, recipes: &Path) -> Result<Farm, DemoError> {
        let options = FarmOptions {
            data: self.folder.join("farm"),
            recipes: recipes.display().to_string(),
            branch: "main".to_owned(),
            agents: self.options.agents.max(1),
            listen: IpAddr::from([127, 0, 0, 1]),
            dashboard_port: None,
            repository_port: None,
            bootstrap: true,
            mirrors: Vec::new(),
        };
        let watch = &mut *self.watch;
        Ok(Farm::start(&options, &mut |line| watch.say(line))?)
    }

    /// Watches until nothing is left to do, or nothing can be done any more.
    fn watch_builds(&mut self, farm: &mut Farm) -> Result<Vec<Task>, DemoError> {
        let api = farm.api();
        let begun = Instant::now();
        let mut drawn: Option<Instant> = None;
        loop {
            if self.stop.is_asked() {
                return Err(DemoError::Interrupted);
            }
            for event in farm.look_after()? {
                self.watch.say(&event);
            }
            if drawn.is_none_or(|last| last.elapsed() >= REDRAW) {
                drawn = Some(Instant::now());
                // A service that was killed is back in a moment; its silence until then is no reason to stop.
                if let (Ok(status), Ok(tasks)) = (api.status(), api.tasks()) {
                    self.watch.show(&tasks.iter().map(|task| task.row(status.now_ms)).collect::<Vec<_>>());
                    if status.idle && (!tasks.is_empty() || status.unreadable > 0) {
                        self.watch.rest();
                        return Ok(tasks);
                    }
                    if tasks.is_empty() && begun.elapsed() > FIRST_TASK_LIMIT {
                        return Err(DemoError::NoTasks);
                    }
                }
            }
            std::thread::sleep(TICK);
        }
    }

    fn outcome_of_builds(&mut self, farm: &Farm, tasks: &[Task]) -> Result<Outcome, DemoError> {
        let api = farm.api();
        let mut failed: Vec<String> = api
            .unreadable()?
            .into_iter()
            .map(|recipe| format!("{}:{}: {}", recipe.path, recipe.line, recipe.message))
            .collect();
        let mut seconds: BTreeMap<&str, f64> = BTreeMap::new();
        let mut begun: Vec<(u64, &str)> = Vec::new();
        for task in tasks {
            let attempts = api.attempts(task)?;
            begun.extend(attempts.first().map(|attempt| (attempt.assigned_ms, task.source.as_str())));
            seconds.insert(&task.source, attempts.last().map_or(0.0, build_seconds));
            if task.state() != RowState::Published {
                failed.push(format!("{}: {}", task.source, task.detail));
                if let Some(Ok(log)) = attempts.last().map(|attempt| api.log_tail(attempt)) {
                    self.watch.say(&format!("\n--- end of the log of {} ---\n{log}", task.source));
                }
            }
        }
        begun.sort_unstable();
        let tree = offered(&farm.repository_url())?;
        let packages = tree
            .packages
            .into_iter()
            .filter_map(|package| {
                Some(PackageOutcome {
                    seconds: *seconds.get(package.source_id.as_str())?,
                    name: package.name,
                    version: package.version,
                    release: package.release,
                    recipe: package.source_id,
                    size_bytes: package.download_size_bytes.unwrap_or_default(),
                    sha256: package.hash.unwrap_or_default(),
                })
            })
            .collect();
        Ok(Outcome {
            packages,
            build_order: begun.into_iter().map(|(_, source)| source.to_owned()).collect(),
            history: tree.history.map(|history| history.to_string()).unwrap_or_default(),
            installed: Vec::new(),
            ran: Vec::new(),
            seconds: 0.0,
            failed,
        })
    }

    fn install(
        &mut self,
        farm: &Farm,
        programme: &Programme,
        outcome: &mut Outcome,
    ) -> Result<(), DemoError> {
        let root = self.root();
        fs_err::create_dir_all(&root).map_err(|source| DemoError::Folder { path: root.clone(), source })?;
        self.watch.say(&format!("\ninstalling into {}", root.display()));
        let root_index = format!("version=stream/volatile,channel={CHANNEL},arch={}", std::env::consts::ARCH);
        self.moss(
            "add the repository",
            &["repo", "add", "moraine", &farm.repository_url(), "--root-index", &root_index],
        )?;
        let names: Vec<&str> = programme.install.iter().map(String::as_str).collect();
        self.moss("install the packages", &[&["install", "--yes-all"], names.as_slice()].concat())?;
        let listed = self.moss("list what is installed", &["list", "installed"])?;
        outcome.installed = listed["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|package| Installed {
                name: package["name"].as_str().unwrap_or_default().to_owned(),
                version: package["version"].as_str().unwrap_or_default().to_owned(),
            })
            .collect();
        self.watch.say(&format!("{} packages installed", outcome.installed.len()));
        Ok(())
    }

    fn run(&mut self, programme: &Programme, outcome: &mut Outcome) -> Result<(), DemoError> {
        for run in &programme.run {
            let output = self
                .moss_command()
                .args(["run", "--"])
                .args(&run.command)
                .output()
                .map_err(|source| DemoError::Folder { path: self.root(), source })?;
            let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
            let exit = output.status.code().unwrap_or(-1);
            self.watch.say(&format!("\n$ {}", run.command.join(" ")));
            for line in stdout.lines().take(SHOWN_LINES) {
                self.watch.say(&format!("  {line}"));
            }
            if exit != 0 {
                let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                outcome.failed.push(format!("{} ended with {exit}: {message}", run.command.join(" ")));
            }
            outcome.ran.push(Ran { command: run.command.clone(), exit, stdout });
        }
        Ok(())
    }

    fn tell(&mut self, outcome: &Outcome) -> Result<(), DemoError> {
        if self.options.json {
            let text = serde_json::to_string_pretty(outcome).unwrap_or_default();
            observe::write_stdout(&format!("{text}\n"))?;
        } else {
            self.watch.say(&format!(
                "\n{} packages from {} recipes, published as history {}, installed and run in {:.0} s",
                outcome.packages.len(),
                outcome.build_order.len(),
                outcome.history,
                outcome.seconds
            ));
        }
        Ok(())
    }

    fn serve(&mut self, farm: &mut Farm) -> Result<(), DemoError> {
        self.watch.say(&format!("\nstill serving: {} — interrupt to stop", farm.dashboard_url()));
        while !self.stop.is_asked() {
            for event in farm.look_after()? {
                self.watch.say(&event);
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// The `moss` in this binary, for the fresh root.
    fn moss_command(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg("moss").arg("--directory").arg(self.root());
        command
    }

    fn moss(&self, action: &str, arguments: &[&str]) -> Result<Value, DemoError> {
        let failed = |message: String| DemoError::Moss { action: action.to_owned(), message };
        let output = self
            .moss_command()
            .args(arguments)
            .arg("--json")
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| failed(format!("it did not print JSON: {error}")))
    }
}

/// From the assignment to a builder until everything was built.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of one build are far below 2^52")]
fn build_seconds(attempt: &Attempt) -> f64 {
    attempt.built_ms.map_or(0.0, |built| built.saturating_sub(attempt.assigned_ms) as f64 / 1000.0)
}
/// What `stream/volatile` of the channel has now, read as any client reads it.
fn offered(base_url: &str) -> Result<Offer, DemoError> {
    let nothing = || DemoError::Nothing { url: base_url.to_owned() };
    let name = |name: &str| name.parse::<Identifier>().map_err(|_| nothing());
    let source = RepositorySource::Versioned {
        base_uri: base_url.to_owned(),
        channel: name(CHANNEL)?,
        version: Version::Stream(name("volatile")?),
        arch: std::env::consts::ARCH.to_owned(),
    };
    match Client::default().offer(&source, None)? {
        Found::Offer(offer) => Ok(offer),
        Found::Nothing | Found::Unchanged => Err(nothing()),
    }
}
