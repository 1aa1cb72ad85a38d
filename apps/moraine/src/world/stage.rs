//! The programs of a world: one Summit, one Vessel, build agents; each a process, all below one folder, over real sockets.
//!
//! With faults, whoever speaks with another does it over a [`Proxy`], or each program has a network namespace of its own.
//! The driver itself asks Summit directly.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use wire::{Identity, PublicKey};

use super::error::WorldError;
use super::faults::{LEASE_SECONDS, Mishap};
use super::network::{self, Host, Link};
use super::proxy::Proxy;
use super::replay;
use super::usage::Usage;
use crate::ports;
use crate::supervisor::{Service, Supervisor};

/// Channel that is published to.
pub(super) const CHANNEL: &str = "main";
/// Longest time from the start of a service to its first answer.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How often services are looked after while one is waited for.
const TICK: Duration = Duration::from_millis(20);
/// How often Summit looks for new commits by itself: there are none.
const POLL_SECONDS: u32 = 30;
/// Leases of a world where nothing goes wrong.
const QUIET_LEASE_SECONDS: u32 = 60;

/// What Summit reads at its start.
#[derive(Debug, Serialize)]
struct SummitConfig {
    http_address: String,
    grpc_address: String,
    poll_seconds: u32,
    lease_seconds: u32,
    access: AccessConfig,
    project: Vec<ProjectConfig>,
    vessel: VesselConfig,
    builder: Vec<BuilderConfig>,
}

/// Nobody but the world itself is on its machine.
#[derive(Debug, Serialize)]
struct AccessConfig {
    loopback_is_operator: bool,
}

#[derive(Debug, Serialize)]
struct ProjectConfig {
    name: &'static str,
    recipes: String,
    branch: &'static str,
    architectures: Vec<&'static str>,
    channel: &'static str,
    host_provides: &'static str,
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

/// Where services listen.
#[derive(Debug, Clone, Copy)]
struct Places {
    dashboard: SocketAddr,
    summit: SocketAddr,
    vessel: SocketAddr,
    repository: SocketAddr,
}

/// How programs reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wiring {
    /// Over loopback, with nothing in between.
    Direct,
    /// Over loopback, through ways that can be cut and held up.
    Proxies,
    /// Each from a network namespace of its own.
    Namespaces,
}

/// How soon a service was there again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reopening {
    /// From its start until somebody could connect.
    pub(super) open: Duration,
    /// From its start until its first answer.
    pub(super) answers: Duration,
}

/// The programs, running; they end with it.
pub(super) struct Stage {
    supervisor: Supervisor,
    /// This program.
    program: PathBuf,
    data: PathBuf,
    wiring: Wiring,
    places: Places,
    pub(super) agents: Vec<String>,
    /// Ways that can be cut; none but with [`Wiring::Proxies`].
    ways: Vec<Proxy>,
    /// What can be parted; nothing but with [`Wiring::Namespaces`].
    links: Vec<Link>,
    /// The key that agents pin.
    summit_key: Option<PublicKey>,
    /// What services take.
    pub(super) usage: Usage,
}

impl Stage {
    /// Publishes `generation`, the folder of what is there to begin with, and starts Vessel and Summit.
    pub(super) fn set(
        data: &Path,
        builders: usize,
        generation: Option<&Path>,
        wiring: Wiring,
    ) -> Result<Stage, WorldError> {
        fs_err::create_dir_all(data.join("logs")).map_err(WorldError::folder(data))?;
        let program = std::env::current_exe().map_err(WorldError::folder("/proc/self/exe"))?;
        let link = data.join("bin").join(replay::PROGRAM);
        fs_err::create_dir_all(data.join("bin")).map_err(WorldError::folder(data))?;
        fs_err::os::unix::fs::symlink(&program, &link).map_err(WorldError::folder(&link))?;
        if let Some(generation) = generation {
            import(&program, data, generation)?;
        }
        let agents: Vec<String> = (1..=builders).map(|number| format!("agent-{number}")).collect();
        let (places, links) = match wiring {
            Wiring::Direct | Wiring::Proxies => (places()?, Vec::new()),
            Wiring::Namespaces => lay_out(&agents)?,
        };
        let starter = match wiring {
            Wiring::Direct | Wiring::Proxies => program.clone(),
            Wiring::Namespaces => PathBuf::from("ip"),
        };
        let mut stage = Stage {
            supervisor: Supervisor::new(starter),
            program,
            data: data.to_path_buf(),
            wiring,
            places,
            agents,
            ways: Vec::new(),
            links,
            summit_key: None,
            usage: Usage::default(),
        };
        if wiring == Wiring::Proxies {
            stage.open_ways()?;
        }
        stage.start()?;
        Ok(stage)
    }

    /// Address of Summit's dashboard and API.
    pub(super) fn dashboard_url(&self) -> String {
        format!("http://{}", self.places.dashboard)
    }

    /// Address of what is published, past all that may be cut.
    pub(super) fn repository_url(&self) -> String {
        format!("http://{}", self.places.repository)
    }

    /// Names of what can be cut or held up.
    pub(super) fn way_names(&self) -> Vec<String> {
        self.ways.iter().map(|way| way.name.clone()).chain(self.links.iter().map(Link::name)).collect()
    }

    /// Looks after the services once, and measures them. Returns what happened to them.
    pub(super) fn look_after(&mut self) -> Result<Vec<String>, WorldError> {
        let events = self.supervisor.look_after()?;
        self.usage.look(&self.supervisor.processes());
        Ok(events)
    }

    /// Lets something go wrong; whether there was anything that could.
    pub(super) fn suffer(&mut self, mishap: &Mishap) -> bool {
        let way = |name: &str| self.ways.iter().find(|way| way.name == name);
        match mishap {
            Mishap::KillService(name) => self.supervisor.kill(name),
            Mishap::KillBuild { agent, rank } => kill_one(&self.replayers(agent), *rank),
            Mishap::Cut { way: name, rank } => {
                way(name).is_some_and(|way| way.cut(place(*rank, way.connections())))
            }
            Mishap::Hold { way: name, milliseconds } => {
                let time = Duration::from_millis(*milliseconds);
                let link = self.links.iter().find(|link| link.name() == *name);
                link.map(|link| link.part(time)).or(way(name).map(|way| way.hold(time))).is_some()
            }
        }
    }

    /// Stops every service in order, and what is built for an agent that was not there to end it.
    pub(super) fn stop(&mut self) {
        self.supervisor.stop();
        for agent in &self.agents {
            // What cannot be ended is found afterwards as left behind.
            drop(avalanche::end_builds(&self.data.join(agent)));
        }
    }

    /// Processes of this program that run although everything was stopped: those that name the folder of this world.
    pub(super) fn left_behind(&self) -> Vec<String> {
        let own = std::process::id();
        let folder = self.data.display().to_string();
        let program = std::env::current_exe().ok();
        let is_ours = |pid: u32| fs_err::read_link(format!("/proc/{pid}/exe")).ok() == program;
        let found = processes().into_iter().filter(|(pid, line)| *pid != own && line.contains(&folder));
        found.filter(|(pid, _)| is_ours(*pid)).map(|(pid, line)| format!("process {pid}: {line}")).collect()
    }

    /// The replayers that run for an agent.
    fn replayers(&self, agent: &str) -> Vec<u32> {
        let program = self.data.join("bin").join(replay::PROGRAM).display().to_string();
        let folder = format!("{}/", self.data.join(agent).display());
        let is_one = |line: &str| line.starts_with(&program) && line.contains(&folder);
        processes().into_iter().filter(|(_, line)| is_one(line)).map(|(pid, _)| pid).collect()
    }

    fn open_ways(&mut self) -> Result<(), WorldError> {
        let targets = [
            ("from Summit and agents to Vessel".to_owned(), self.places.vessel),
            ("to the repository".to_owned(), self.places.repository),
        ];
        let of_agents =
            self.agents.iter().map(|agent| (format!("from {agent} to Summit"), self.places.summit));
        for (name, target) in targets.into_iter().chain(of_agents) {
            let way =
                Proxy::open(&name, target).map_err(|source| WorldError::Port { address: target, source })?;
            self.ways.push(way);
        }
        Ok(())
    }

    /// How `target` is reached by way `index`, or directly where there are none.
    fn reached(&self, index: usize, target: SocketAddr) -> SocketAddr {
        self.ways.get(index).map_or(target, |way| way.address)
    }

    fn start(&mut self) -> Result<(), WorldError> {
        let (summit_key, vessel_key) = (self.key("summit")?, self.key("vessel")?);
        let public_url = format!("http://{}", self.reached(1, self.places.repository));
        let arguments = words(&["vessel", "serve", "--data"])
            .chain([self.data.join("vessel").into()])
            .chain(words(&["--grpc", &self.places.vessel.to_string()]))
            .chain(words(&["--http", &self.places.repository.to_string()]))
            .chain(words(&["--public-url", &public_url, "--hub-key", &summit_key.to_string()]))
            // The recipes of a pack need at run time what no recipe of the pack offers.
            .chain(words(&["--closure", "warn"]))
            .collect();
        self.launch("vessel", arguments)?;
        self.wait_ready("vessel", &format!("{}/health", self.repository_url()))?;

        let config = self.data.join("summit.toml");
        let text = self.summit_config(vessel_key, public_url)?;
        fs_err::write(&config, text).map_err(WorldError::folder(&config))?;
        let arguments = words(&["summit", "serve", "--data"])
            .chain([self.data.join("summit").into()])
            .chain(words(&["--config"]))
            .chain([config.into()])
            .collect();
        self.launch("summit", arguments)?;
        self.wait_ready("summit", &format!("{}/api/status", self.dashboard_url()))?;
        self.summit_key = Some(summit_key);
        Ok(())
    }

    /// Kills Summit, starts it again, and says after which time its port was open and after which it answered.
    pub(super) fn restart_summit(&mut self) -> Result<Reopening, WorldError> {
        let begun = Instant::now();
        self.supervisor.restart("summit")?;
        while std::net::TcpStream::connect(self.places.dashboard).is_err() {
            self.supervisor.look_after()?;
            if begun.elapsed() >= READY_LIMIT {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let open = begun.elapsed();
        self.wait_ready("summit", &format!("{}/api/status", self.dashboard_url()))?;
        Ok(Reopening { open, answers: begun.elapsed() })
    }

    /// Starts the agents.
    pub(super) fn admit_builders(&mut self) -> Result<(), WorldError> {
        let Some(summit_key) = self.summit_key else { return Ok(()) };
        for (index, agent) in self.agents.clone().iter().enumerate() {
            let summit = self.reached(index + 2, self.places.summit).to_string();
            let world = self.data.join("world").display().to_string();
            let replayer = self.data.join("bin").join(replay::PROGRAM);
            let arguments = words(&["avalanche", "run", "--stop-builds", "--data"])
                .chain([self.data.join(agent).into()])
                .chain(words(&["--name", agent, "--summit", &summit]))
                .chain(words(&["--summit-key", &summit_key.to_string(), "--slots", "1", "--jobs", "1"]))
                .chain(words(&["--free-bytes-min", "1", "--boulder"]))
                .chain([replayer.into(), format!("--boulder-argument=--world={world}").into()])
                .collect();
            self.launch(agent, arguments)?;
        }
        Ok(())
    }

    fn summit_config(&self, vessel_key: PublicKey, public_url: String) -> Result<String, WorldError> {
        let builder = |agent: &String| {
            let public_key = self.key(agent)?.to_string();
            Ok(BuilderConfig { name: agent.clone(), public_key, trust: "official" })
        };
        let config = SummitConfig {
            http_address: self.places.dashboard.to_string(),
            grpc_address: self.places.summit.to_string(),
            poll_seconds: POLL_SECONDS,
            lease_seconds: match self.wiring {
                Wiring::Direct => QUIET_LEASE_SECONDS,
                Wiring::Proxies | Wiring::Namespaces => LEASE_SECONDS,
            },
            access: AccessConfig { loopback_is_operator: true },
            project: vec![ProjectConfig {
                name: "world",
                recipes: self.data.join("recipes").display().to_string(),
                branch: "main",
                architectures: vec![std::env::consts::ARCH],
                channel: CHANNEL,
                host_provides: "nothing",
            }],
            vessel: VesselConfig {
                address: self.reached(0, self.places.vessel).to_string(),
                public_key: vessel_key.to_string(),
                public_url,
            },
            builder: self.agents.iter().map(builder).collect::<Result<_, WorldError>>()?,
        };
        toml::to_string(&config).map_err(WorldError::Config)
    }

    fn key(&self, service: &str) -> Result<PublicKey, WorldError> {
        let folder = self.data.join(service);
        fs_err::create_dir_all(&folder).map_err(WorldError::folder(&folder))?;
        let identity = Identity::load_or_create(&folder.join("identity.key"))
            .map_err(|source| WorldError::Identity { service: service.to_owned(), source })?;
        Ok(identity.public_key())
    }

    fn launch(&mut self, name: &str, arguments: Vec<OsString>) -> Result<(), WorldError> {
        let arguments = match self.wiring {
            Wiring::Direct | Wiring::Proxies => arguments,
            Wiring::Namespaces => {
                let prefix = network::prefix(name).into_iter().chain([self.program.clone().into()]);
                prefix.chain(arguments).collect()
            }
        };
        let log = self.data.join("logs").join(format!("{name}.log"));
        Ok(self.supervisor.start(Service { name: name.to_owned(), arguments, log })?)
    }

    fn wait_ready(&mut self, service: &'static str, url: &str) -> Result<(), WorldError> {
        let client = fetch::Client::default();
        let deadline = Instant::now() + READY_LIMIT;
        while client.get(url, &fetch::Validators::default(), 1 << 20).is_err() {
            self.supervisor.look_after()?;
            if Instant::now() >= deadline {
                let log = self.data.join("logs").join(format!("{service}.log"));
                return Err(WorldError::Silent { service, url: url.to_owned(), log });
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }
}

/// Publishes a folder of packages before anything is served.
fn import(program: &Path, data: &Path, folder: &Path) -> Result<(), WorldError> {
    let output = Command::new(program)
        .args(["vessel", "import"])
        .arg(folder)
        .arg("--data")
        .arg(data.join("vessel"))
        .args(["--channel", CHANNEL, "--json"])
        .output()
        .map_err(WorldError::folder(program))?;
    if output.status.success() {
        return Ok(());
    }
    Err(WorldError::Import { message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

/// Free places to listen at.
fn places() -> Result<Places, WorldError> {
    let listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let failed = |source| WorldError::Port { address: SocketAddr::new(listen, 0), source };
    let [dashboard, summit, vessel, repository] = ports::free(listen).map_err(failed)?;
    Ok(Places { dashboard, summit, vessel, repository })
}

/// A network with a place for each program, and what can be parted in it.
fn lay_out(agents: &[String]) -> Result<(Places, Vec<Link>), WorldError> {
    let names: Vec<String> =
        ["summit", "vessel"].map(str::to_owned).into_iter().chain(agents.iter().cloned()).collect();
    let hosts = network::lay_out(&names)?;
    let [summit, vessel, agents @ ..] = hosts.as_slice() else { return Ok((places()?, Vec::new())) };
    // Every program has its address for itself, so ports are free.
    let at = |host: &Host, port| SocketAddr::new(host.address, port);
    let places = Places {
        dashboard: at(summit, 5000),
        summit: at(summit, 5001),
        vessel: at(vessel, 5002),
        repository: at(vessel, 5003),
    };
    let services = [summit, vessel].into_iter();
    let around = hosts.iter().cloned().map(Link::Around);
    let of_agents = agents
        .iter()
        .flat_map(|agent| services.clone().map(|service| Link::Between(agent.clone(), service.clone())));
    let of_services = Link::Between(summit.clone(), vessel.clone());
    Ok((places, around.chain(of_agents).chain([of_services]).collect()))
}

fn words<'a>(words: &'a [&'a str]) -> impl Iterator<Item = OsString> + 'a {
    words.iter().map(OsString::from)
}

/// A place among `count` that a drawn number stands for.
fn place(rank: u64, count: usize) -> usize {
    let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
    usize::try_from(rank % count).unwrap_or(0)
}

fn kill_one(pids: &[u32], rank: u64) -> bool {
    let pid = pids.get(place(rank, pids.len())).and_then(|pid| i32::try_from(*pid).ok());
    pid.and_then(Pid::from_raw).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

/// Every process with its command line.
fn processes() -> Vec<(u32, String)> {
    let Ok(entries) = fs_err::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        // It may be gone already.
        let line = fs_err::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<String> = line
            .split(|&byte| byte == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        (!words.is_empty()).then(|| (pid, words.join(" ")))
    })
    .collect()
}
