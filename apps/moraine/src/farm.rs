//! A whole farm on one machine: Summit, Vessel and build agents, each a process, all below one folder.
//!
//! What is in the folder decides everything at the next start: identities, ports, and the data of each service. The
//! services find each other by address and key over loopback, exactly as they would across machines.

use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fault::{Fault, Kind};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use wire::{Identity, PublicKey};

use crate::bootstrap::{self, BootstrapError};
use crate::doctor::{self, DoctorError};
use crate::ports;
use crate::signals::Stop;
use crate::summit_api::{ApiError, SummitApi};
use crate::supervisor::{Service, Supervisor, SupervisorError};

/// Channel that the farm publishes to.
pub(crate) const CHANNEL: &str = "main";
/// Name of the project in Summit.
const PROJECT: &str = "recipes";
/// How often services are looked after.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Longest time from the start of a service to its first answer.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How often Summit looks for new commits on its own.
const POLL_SECONDS: u32 = 10;

/// What farm to run.
#[derive(Debug, Clone)]
pub(crate) struct FarmOptions {
    /// Where everything is kept.
    pub data: PathBuf,
    /// Address or folder of the git repository of recipes.
    pub recipes: String,
    /// Its branch.
    pub branch: String,
    /// Build agents on this machine.
    pub agents: usize,
    /// Address to listen on.
    pub listen: IpAddr,
    /// Port of the dashboard, or any free one.
    pub dashboard_port: Option<u16>,
    /// Port of the published repository, or any free one.
    pub repository_port: Option<u16>,
    /// Package this machine's C library into a new repository.
    pub bootstrap: bool,
    /// Other places for sources.
    pub mirrors: Vec<String>,
}

/// Why there is no farm.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FarmError {
    /// This machine cannot build.
    #[error(transparent)]
    Machine(#[from] DoctorError),
    /// The folder cannot be used.
    #[error("cannot use {path} for a farm")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the disk says.
        #[source]
        source: std::io::Error,
    },
    /// Another farm is running in it.
    #[error("cannot use {path} for a farm: one is running there already")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A key cannot be made or read.
    #[error("cannot use the identity of {service}")]
    Identity {
        /// Whose.
        service: String,
        /// Why.
        #[source]
        source: wire::IdentityError,
    },
    /// No port is free, or none may be taken.
    #[error("cannot listen on {address}")]
    Port {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The first packages cannot be made.
    #[error("cannot begin a new repository")]
    Bootstrap(#[source] BootstrapError),
    /// The first packages cannot be published.
    #[error("cannot begin a new repository: vessel import failed: {message}")]
    Import {
        /// What it said.
        message: String,
    },
    /// The configuration of Summit cannot be written.
    #[error("cannot write the configuration of Summit")]
    Config(#[source] toml::ser::Error),
    /// A service does not stay up.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// A service does not answer.
    #[error("cannot reach {service} at {address}: no answer within {} s; its log is {log}", READY_LIMIT.as_secs())]
    Silent {
        /// The service.
        service: &'static str,
        /// Where it should be.
        address: String,
        /// Its log.
        log: PathBuf,
    },
    /// Summit answers something else than it should.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Signals cannot be taken over.
    #[error("cannot take over interrupt and terminate")]
    Signals(#[source] std::io::Error),
}

impl Fault for FarmError {
    fn kind(&self) -> Kind {
        match self {
            FarmError::Machine(error) => error.kind(),
            FarmError::Busy { .. } => Kind::Conflict,
            FarmError::Config(_) => Kind::Bug,
            FarmError::Identity { source, .. } => source.kind(),
            FarmError::Bootstrap(error) => error.kind(),
            FarmError::Supervisor(error) => error.kind(),
            FarmError::Api(error) => error.kind(),
            FarmError::Folder { .. }
            | FarmError::Port { .. }
            | FarmError::Import { .. }
            | FarmError::Silent { .. }
            | FarmError::Signals(_) => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            FarmError::Machine(error) => error.hints(),
            FarmError::Identity { source, .. } => source.hints(),
            FarmError::Bootstrap(error) => error.hints(),
            FarmError::Supervisor(error) => error.hints(),
            FarmError::Api(error) => error.hints(),
            FarmError::Folder { .. } => vec!["choose another place with --data".into()],
            FarmError::Busy { .. } => vec!["stop that one, or choose another place with --data".into()],
            FarmError::Port { .. } => {
                vec!["choose other ports with --dashboard-port and --repository-port".into()]
            }
            FarmError::Silent { log, .. } => vec![format!("read its log: less {}", log.display())],
            FarmError::Import { .. } | FarmError::Config(_) | FarmError::Signals(_) => Vec::new(),
        }
    }
}

/// Ports of a farm, the same at every start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Ports {
    dashboard: u16,
    repository: u16,
    summit: u16,
    vessel: u16,
}

/// What Summit reads at its start, as far as a farm on one machine says something.
#[derive(Debug, Serialize)]
struct SummitConfig<'a> {
    http_address: String,
    grpc_address: String,
    poll_seconds: u32,
    access: AccessConfig,
    project: Vec<ProjectConfig<'a>>,
    vessel: VesselConfig,
    builder: Vec<BuilderConfig>,
}

/// Whoever sits at the machine of such a farm is its operator, and needs no token.
#[derive(Debug, Serialize)]
struct AccessConfig {
    loopback_is_operator: bool,
}

#[derive(Debug, Serialize)]
struct ProjectConfig<'a> {
    name: &'a str,
    recipes: &'a str,
    branch: &'a str,
    architectures: Vec<&'a str>,
    channel: &'a str,
    host_provides: &'a str,
}

#[derive(Debug, Serialize)]
struct VesselConfig {
    address: String,
    public_key: String,
    public_url: String,
}

#[derive(Debug, Serialize)]
struct BuilderConfig {
    name: String,
    public_key: String,
    trust: &'static str,
}

/// A running farm; it ends with it.
pub(crate) struct Farm {
    supervisor: Supervisor,
    data: PathBuf,
    listen: IpAddr,
    ports: Ports,
    /// Folders of the agents of this machine.
    agents: Vec<String>,
    _lock: fs_err::File,
}

impl Farm {
    /// Starts every service and waits until they answer.
    ///
    /// # Errors
    /// When the machine, the folder, a port or a service fails.
    pub(crate) fn start(options: &FarmOptions, say: &mut dyn FnMut(&str)) -> Result<Farm, FarmError> {
        let folder = |source| FarmError::Folder { path: options.data.clone(), source };
        fs_err::create_dir_all(options.data.join("logs")).map_err(folder)?;
        let data = fs_err::canonicalize(&options.data).map_err(folder)?;
        let lock = fs_err::File::create(data.join("lock")).map_err(folder)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| FarmError::Busy { path: data.clone() })?;
        doctor::require(&data)?;

        let program = std::env::current_exe().map_err(folder)?;
        let ports = ports(&data, options)?;
        let mut farm = Farm {
            supervisor: Supervisor::new(program.clone()),
            data,
            listen: options.listen,
            ports,
            agents: Vec::new(),
            _lock: lock,
        };
        if options.bootstrap && !has_published(&farm.data) {
            say("packaging this machine's C library, to begin with");
            farm.bootstrap(&program)?;
        }
        farm.start_services(options)?;
        farm.wait_ready("vessel", &format!("{}/health", farm.repository_url()))?;
        farm.wait_ready("summit", &format!("{}/api/status", farm.dashboard_url()))?;
        Ok(farm)
    }

    /// Address of the dashboard.
    #[must_use]
    pub(crate) fn dashboard_url(&self) -> String {
        format!("http://{}", SocketAddr::new(self.listen, self.ports.dashboard))
    }

    /// Address of the published repository.
    #[must_use]
    pub(crate) fn repository_url(&self) -> String {
        format!("http://{}", SocketAddr::new(self.listen, self.ports.repository))
    }

    /// How an agent elsewhere becomes part of this farm, a line each.
    ///
    /// # Errors
    /// When the key of Summit cannot be read.
    pub(crate) fn how_to_join(&self) -> Result<[String; 3], FarmError> {
        let summit = self.data.join("summit");
        Ok([
            "no agent is started here; one joins in two steps:".to_owned(),
            format!(
                "  there  moraine avalanche run --data DIR --summit {} --summit-key {}",
                self.address(self.ports.summit),
                self.key("summit")?
            ),
            format!(
                "  here   moraine summit builder --data {} add NAME KEY   (KEY: moraine avalanche key --data DIR, there)",
                summit.display()
            ),
        ])
    }

    /// What Summit says over HTTP.
    #[must_use]
    pub(crate) fn api(&self) -> SummitApi {
        SummitApi::new(self.dashboard_url())
    }

    /// Looks after the services once. Returns what happened to them, a sentence each.
    ///
    /// # Errors
    /// When one cannot be kept running.
    pub(crate) fn look_after(&mut self) -> Result<Vec<String>, FarmError> {
        Ok(self.supervisor.look_after()?)
    }

    /// Stops every service in order, and what agents built that were not there to end it.
    pub(crate) fn stop(mut self) {
        self.supervisor.stop();
        for agent in &self.agents {
            if let Err(error) = avalanche::end_builds(&self.data.join(agent)) {
                note(&fault::chain(&*error).join(": "));
            }
        }
    }

    /// Packages the C library and lands it as the first history, before anything is served.
    fn bootstrap(&self, program: &Path) -> Result<(), FarmError> {
        let folder = self.data.join("bootstrap");
        bootstrap::host(&folder, &[], std::env::consts::ARCH).map_err(FarmError::Bootstrap)?;
        let output = Command::new(program)
            .args(["vessel", "import"])
            .arg(&folder)
            .arg("--data")
            .arg(self.data.join("vessel"))
            .args(["--channel", CHANNEL, "--json"])
            .output()
            .map_err(|source| FarmError::Folder { path: folder.clone(), source })?;
        if output.status.success() {
            return Ok(());
        }
        Err(FarmError::Import { message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }

    fn start_services(&mut self, options: &FarmOptions) -> Result<(), FarmError> {
        let summit_key = self.key("summit")?;
        let vessel_key = self.key("vessel")?;
        let agents: Vec<(String, PublicKey)> = (1..=options.agents)
            .map(|number| format!("agent-{number}"))
            .map(|name| self.key(&name).map(|key| (name, key)))
            .collect::<Result<_, _>>()?;

        self.launch("vessel", &self.vessel_arguments(&summit_key))?;
        let config = self.data.join("summit.toml");
        let text = self.summit_config(options, &vessel_key, &agents).map_err(FarmError::Config)?;
        fs_err::write(&config, text).map_err(|source| FarmError::Folder { path: config.clone(), source })?;
        self.launch("summit", &self.summit_arguments(&config))?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        for (name, _) in &agents {
            self.agents.push(name.clone());
            self.launch(name, &self.agent_arguments(name, &summit_key, processors, options))?;
        }
        Ok(())
    }

    fn key(&self, service: &str) -> Result<PublicKey, FarmError> {
        let folder = self.data.join(service);
        fs_err::create_dir_all(&folder)
            .map_err(|source| FarmError::Folder { path: folder.clone(), source })?;
        let identity = Identity::load_or_create(&folder.join("identity.key"))
            .map_err(|source| FarmError::Identity { service: service.to_owned(), source })?;
        Ok(identity.public_key())
    }

    fn launch(&mut self, name: &str, arguments: &[OsString]) -> Result<(), FarmError> {
        let log = self.data.join("logs").join(format!("{name}.log"));
        self.supervisor.start(Service { name: name.to_owned(), arguments: arguments.to_vec(), log })?;
        Ok(())
    }

    fn summit_arguments(&self, config: &Path) -> Vec<OsString> {
        words(&["summit", "serve", "--data"])
            .chain([self.data.join("summit").into()])
            .chain(words(&["--config"]))
            .chain([config.into()])
            .collect()
    }

    /// Everything Summit needs to know. Agents of this machine are added here; those from elsewhere with
    /// `moraine summit builder add`.
    fn summit_config(
        &self,
        options: &FarmOptions,
        vessel_key: &PublicKey,
        agents: &[(String, PublicKey)],
    ) -> Result<String, toml::ser::Error> {
        toml::to_string(&SummitConfig {
            http_address: self.address(self.ports.dashboard),
            grpc_address: self.address(self.ports.summit),
            poll_seconds: POLL_SECONDS,
            access: AccessConfig { loopback_is_operator: true },
            project: vec![ProjectConfig {
                name: PROJECT,
                recipes: &options.recipes,
                branch: &options.branch,
                architectures: vec![std::env::consts::ARCH],
                channel: CHANNEL,
                // Builds on this machine see its /usr: compilers and tools come from there.
                host_provides: "binaries",
            }],
            vessel: VesselConfig {
                address: self.address(self.ports.vessel),
                public_key: vessel_key.to_string(),
                public_url: self.repository_url(),
            },
            builder: agents
                .iter()
                .map(|(name, key)| BuilderConfig {
                    name: name.clone(),
                    public_key: key.to_string(),
                    // They are the farm's own.
                    trust: "official",
                })
                .collect(),
        })
    }

    fn vessel_arguments(&self, summit_key: &PublicKey) -> Vec<OsString> {
        words(&["vessel", "serve", "--data"])
            .chain([self.data.join("vessel").into()])
            .chain(words(&[
                "--grpc",
                &self.address(self.ports.vessel),
                "--http",
                &self.address(self.ports.repository),
            ]))
            .chain(words(&["--public-url", &self.repository_url(), "--hub-key", &summit_key.to_string()]))
            .collect()
    }

    fn agent_arguments(
        &self,
        name: &str,
        summit_key: &PublicKey,
        jobs: usize,
        options: &FarmOptions,
    ) -> Vec<OsString> {
        words(&["avalanche", "run", "--data"])
            .chain([self.data.join(name).into()])
            // The end of the farm is the end of its builds; that of an agent alone is not.
            .chain(words(&["--stop-builds"]))
            .chain(words(&["--name", name, "--summit", &self.address(self.ports.summit)]))
            .chain(words(&["--summit-key", &summit_key.to_string(), "--jobs", &jobs.to_string()]))
            // Agents on one machine share what they fetch.
            .chain([format!("--boulder-argument=--cache-dir={}", self.data.join("cache").display()).into()])
            .chain(
                options.mirrors.iter().map(|mirror| format!("--boulder-argument=--mirror={mirror}").into()),
            )
            .collect()
    }

    fn address(&self, port: u16) -> String {
        SocketAddr::new(self.listen, port).to_string()
    }

    fn wait_ready(&mut self, service: &'static str, url: &str) -> Result<(), FarmError> {
        let client = fetch::Client::default();
        let deadline = Instant::now() + READY_LIMIT;
        while client.get(url, &fetch::Validators::default(), 1 << 20).is_err() {
            self.supervisor.look_after()?;
            if Instant::now() >= deadline {
                let log = self.data.join("logs").join(format!("{service}.log"));
                return Err(FarmError::Silent { service, address: url.to_owned(), log });
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }
}

/// Runs a farm until it is asked to stop.
///
/// # Errors
/// When it cannot be started or a service cannot be kept running.
pub(crate) fn up(options: &FarmOptions, json: bool) -> Result<(), FarmError> {
    let stop = Stop::on_signals().map_err(FarmError::Signals)?;
    let mut say = |line: &str| note(line);
    let mut farm = Farm::start(options, &mut say)?;
    if json {
        let line =
            serde_json::json!({ "dashboard": farm.dashboard_url(), "repository": farm.repository_url() });
        // A closed pipe is the reader's business; the farm goes on.
        drop(observe::write_stdout(&format!("{line}\n")));
    } else {
        note(&format!("dashboard   {}", farm.dashboard_url()));
        note(&format!("repository  {}", farm.repository_url()));
        if options.agents == 0 {
            for line in farm.how_to_join()? {
                note(&line);
            }
        }
    }
    while !stop.is_asked() {
        for event in farm.look_after()? {
            note(&event);
        }
        std::thread::sleep(TICK);
    }
    note("stopping");
    farm.stop();
    Ok(())
}

fn note(line: &str) {
    // Nobody watches when standard error is closed; the farm goes on.
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

fn words<'a>(words: &'a [&'a str]) -> impl Iterator<Item = OsString> + 'a {
    words.iter().map(OsString::from)
}

/// Whether the repository of the farm has anything. Its pointer is the last thing that a first publication makes, so one
/// that was interrupted is begun again, which changes nothing where it had come far enough.
fn has_published(data: &Path) -> bool {
    data.join("vessel/public").join(CHANNEL).join("moss-root-index.json").exists()
}

/// The ports of the last start, or free ones; those that were asked for in any case.
fn ports(data: &Path, options: &FarmOptions) -> Result<Ports, FarmError> {
    let file = data.join("ports.json");
    let known: Option<Ports> = fs_err::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut ports = match known {
        Some(ports) => ports,
        None => {
            let address = SocketAddr::new(options.listen, 0);
            let [dashboard, repository, summit, vessel] = ports::free(options.listen)
                .map_err(|source| FarmError::Port { address, source })?
                .map(|place| place.port());
            Ports { dashboard, repository, summit, vessel }
        }
    };
    ports.dashboard = options.dashboard_port.unwrap_or(ports.dashboard);
    ports.repository = options.repository_port.unwrap_or(ports.repository);
    let text = serde_json::to_vec(&ports).unwrap_or_default();
    fs_err::write(&file, text).map_err(|source| FarmError::Folder { path: data.to_path_buf(), source })?;
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(data: &Path) -> FarmOptions {
        FarmOptions {
            data: data.to_path_buf(),
            recipes: "recipes".into(),
            branch: "main".into(),
            agents: 1,
            listen: IpAddr::from([127, 0, 0, 1]),
            dashboard_port: None,
            repository_port: None,
            bootstrap: false,
            mirrors: Vec::new(),
        }
    }

    #[test]
    fn a_first_publication_that_was_interrupted_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(folder.path().join("vessel/public/main/history")).unwrap();
        fs_err::write(folder.path().join("vessel/vessel.db"), "").unwrap();
        assert!(!has_published(folder.path()));
        fs_err::write(folder.path().join("vessel/public/main/moss-root-index.json"), "{}").unwrap();
        assert!(has_published(folder.path()));
    }

    #[test]
    fn ports_stay_the_same_from_start_to_start() {
        let folder = tempfile::tempdir().unwrap();
        let first = ports(folder.path(), &options(folder.path())).unwrap();
        let numbers = [first.dashboard, first.repository, first.summit, first.vessel];
        let distinct: std::collections::BTreeSet<u16> = numbers.into_iter().collect();
        assert_eq!(distinct.len(), 4, "{numbers:?}");
        assert_eq!(ports(folder.path(), &options(folder.path())).unwrap(), first);
        let asked = FarmOptions { dashboard_port: Some(8080), ..options(folder.path()) };
        assert_eq!(ports(folder.path(), &asked).unwrap().dashboard, 8080);
    }
}
