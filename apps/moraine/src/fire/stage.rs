//! The Vessel under fire: a process that is killed and started again at the same place.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use farm::sim::Random;
use sandbox::DIE_WITH_PARENT;
use wire::Identity;

use super::caches::Caches;
use super::error::FireError;
use super::report::Record;
use super::{Times, stones};
use crate::ports;

/// Time between two kills, in milliseconds: at least, at most.
const KILL_GAP_MS: (u64, u64) = (800, 4_000);

/// How long Vessel is away, in milliseconds at most.
const AWAY_MS_MAX: u64 = 300;

/// One in so many kills is followed by an import, and one in so many of these is killed as well.
const IMPORT_ONE_IN: u64 = 3;

/// How long an import runs before it is killed, in milliseconds at most.
const IMPORT_MS_MAX: u64 = 400;

/// What happens to Vessel, and when: a function of the seed.
pub(super) struct Mishaps {
    random: Random,
    next: Duration,
    kills: u64,
    imports: u64,
}

impl Mishaps {
    pub(super) fn new(seed: u64) -> Self {
        let mut mishaps =
            Self { random: Random::of(seed, "fire", "mishaps"), next: Duration::ZERO, kills: 0, imports: 0 };
        mishaps.plan(Duration::ZERO);
        mishaps
    }

    fn plan(&mut self, now: Duration) {
        let (least, most) = KILL_GAP_MS;
        self.next = now + Duration::from_millis(least + self.random.below(most - least));
    }

    fn away(&mut self) -> Duration {
        Duration::from_millis(self.random.below(AWAY_MS_MAX))
    }
}

/// The setting `store` of a file.
pub(super) fn read_store(path: &Path) -> Result<toml::Value, FireError> {
    let text = fs_err::read_to_string(path).map_err(FireError::folder(path))?;
    let settings = |why: String| FireError::Store { path: path.to_path_buf(), why };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| settings(error.to_string()))?;
    table.get("store").cloned().ok_or_else(|| settings("it does not say store".to_owned()))
}

/// Settings with another place for the tree.
fn with_store(text: &str, store: &toml::Value) -> Result<String, FireError> {
    let settings = |why: String| FireError::Refused { action: "write the settings".into(), why };
    let mut table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| settings(error.to_string()))?;
    table.insert("store".to_owned(), store.clone());
    toml::to_string(&table).map_err(|error| settings(error.to_string()))
}

/// The Vessel; it ends with it.
pub(super) struct Stage {
    program: PathBuf,
    data: PathBuf,
    grpc: SocketAddr,
    http: SocketAddr,
    /// Where caches may listen.
    pub(super) caches: [SocketAddr; 3],
    times: Times,
    /// Where the published tree is, as Vessel is told it; in its folder where nothing is said.
    store: Option<toml::Value>,
    pub(super) hub: Identity,
    pub(super) hub_file: PathBuf,
    pub(super) builder_file: PathBuf,
    child: Option<Child>,
}

impl Stage {
    /// Makes the folder and the settings; nothing runs yet.
    pub(super) fn set(data: &Path, times: Times, store: Option<toml::Value>) -> Result<Self, FireError> {
        fs_err::create_dir_all(data).map_err(FireError::folder(data))?;
        let data = fs_err::canonicalize(data).map_err(FireError::folder(data))?;
        let [grpc, http, caches @ ..] =
            ports::free::<5>(IpAddr::V4(Ipv4Addr::LOCALHOST)).map_err(FireError::Thread)?;
        let program = std::env::current_exe().map_err(FireError::folder(Path::new("/proc/self/exe")))?;
        let (hub_file, builder_file) = (data.join("hub.key"), data.join("builder.key"));
        let hub = Identity::load_or_create(&hub_file)?;
        Identity::load_or_create(&builder_file)?;
        let child = None;
        Ok(Self { program, data, grpc, http, caches, times, store, hub, hub_file, builder_file, child })
    }

    /// Where it is read.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Where it is written.
    pub(super) fn grpc(&self) -> String {
        self.grpc.to_string()
    }

    /// The folder of Vessel itself.
    pub(super) fn vessel_data(&self) -> PathBuf {
        self.data.join("vessel")
    }

    /// Writes the settings, the shortest that these caches allow.
    pub(super) fn purge_through(&self, caches: &Caches) -> Result<(), FireError> {
        let (pointer_seconds, download_seconds) = self.times.told_seconds;
        let grace_seconds = pointer_seconds + download_seconds;
        // What caches are told is less than what they do.
        let told = u32::from(grace_seconds > 0);
        let mut text = format!(
            "data = {:?}\ngrpc = \"{}\"\nhttp = \"{}\"\nhub_key = \"{}\"\nchannels = [\"main\"]\n\
             [retention]\nkeep_days = 0\nkeep_newest = 2\ngrace_seconds = {grace_seconds}\n\
             [delivery]\npointer_seconds = {told}\nstale_seconds = {told}\nstale_if_error_seconds = {told}\n\
             cache_seconds = {pointer_seconds}\ndownload_seconds = {download_seconds}\n",
            self.vessel_data(),
            self.grpc,
            self.http,
            self.hub.public_key(),
        );
        for url in caches.bans() {
            text.push_str(&format!("[[purge]]\nurl = \"{url}\"\nstyle = \"varnish-ban\"\n"));
        }
        if let Some(store) = &self.store {
            text = with_store(&text, store)?;
        }
        let path = self.settings();
        fs_err::write(&path, text).map_err(FireError::folder(&path))
    }

    /// The key of the repository, to be pinned.
    pub(super) fn key(&self) -> Result<String, FireError> {
        Ok(Identity::load(&self.vessel_data().join("signing/publish.key"))?.public_key().to_string())
    }

    fn settings(&self) -> PathBuf {
        self.data.join("vessel.toml")
    }

    /// Starts Vessel. It is ready a moment later; who needs it tries again.
    pub(super) fn start(&mut self) -> Result<(), FireError> {
        let mut command = self.command("vessel.log")?;
        command.args(["vessel", "serve", "--config"]).arg(self.settings());
        let failed =
            |error: std::io::Error| FireError::Start { program: "vessel".into(), why: error.to_string() };
        self.child = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    /// This program, with what it says in a file.
    fn command(&self, log: &str) -> Result<Command, FireError> {
        let path = self.data.join(log);
        let file = fs_err::OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(FireError::folder(&path))?.into_file();
        let mut command = Command::new(&self.program);
        command.env(DIE_WITH_PARENT, "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Ok(command)
    }

    /// What is due: a kill, an import in between, a start.
    pub(super) fn trouble(
        &mut self,
        mishaps: &mut Mishaps,
        now: Duration,
        record: &Arc<Record>,
    ) -> Result<(), FireError> {
        self.check()?;
        if now < mishaps.next {
            return Ok(());
        }
        // Every other kill hits it wherever it is; the rest let it begin, or a slow machine would see starts only.
        if mishaps.kills % 2 == 1 && !self.listens() {
            return Ok(());
        }
        mishaps.kills += 1;
        let begin = Instant::now();
        self.kill();
        record.was_killed();
        std::thread::sleep(mishaps.away());
        if mishaps.random.below(IMPORT_ONE_IN) == 0 {
            self.import(mishaps, record)?;
        }
        self.start()?;
        mishaps.plan(now + begin.elapsed());
        Ok(())
    }

    /// A Vessel that ends by itself is a fault.
    fn check(&mut self) -> Result<(), FireError> {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(Some(status))) => {
                let log = fs_err::read_to_string(self.data.join("vessel.log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(6).collect();
                let why = format!("it ended with {status}: {}", last.join(" / "));
                Err(FireError::Start { program: "vessel".into(), why })
            }
            _ => Ok(()),
        }
    }

    /// Imports a folder of packages while nobody serves; sometimes that is killed as well.
    fn import(&mut self, mishaps: &mut Mishaps, record: &Arc<Record>) -> Result<(), FireError> {
        mishaps.imports += 1;
        let folder = self.data.join("import");
        drop(fs_err::remove_dir_all(&folder));
        fs_err::create_dir_all(&folder).map_err(FireError::folder(&folder))?;
        for (meta, bytes) in stones::packages("imported", mishaps.imports)? {
            let path = folder.join(meta.file_name());
            fs_err::write(&path, bytes).map_err(FireError::folder(&path))?;
        }
        // Taken out by the operator, now and then.
        let (meta, bytes) = stones::alone("alone", mishaps.imports)?;
        let path = folder.join(meta.file_name());
        fs_err::write(&path, bytes).map_err(FireError::folder(&path))?;
        let mut command = self.command("import.log")?;
        command.args(["vessel", "import"]).arg(&folder).arg("--data").arg(self.vessel_data());
        let failed =
            |error: std::io::Error| FireError::Start { program: "import".into(), why: error.to_string() };
        let mut child = command.spawn().map_err(failed)?;
        if mishaps.random.below(2) == 0 {
            std::thread::sleep(Duration::from_millis(mishaps.random.below(IMPORT_MS_MAX)));
            drop(child.kill());
            drop(child.wait());
            record.was_killed();
            return Ok(());
        }
        let status = child.wait().map_err(failed)?;
        if !status.success() {
            let log = fs_err::read_to_string(self.data.join("import.log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(6).collect();
            let why = format!("it ended with {status}: {}", last.join(" / "));
            return Err(FireError::Start { program: "import".into(), why });
        }
        record.was_imported();
        Ok(())
    }

    fn listens(&self) -> bool {
        std::net::TcpStream::connect(self.http).is_ok()
    }

    /// SIGKILL.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Lets Vessel run, and waits until it can be read.
    pub(super) fn start_if_down(&mut self) -> Result<(), FireError> {
        if self.child.is_none() {
            self.start()?;
        }
        let begin = Instant::now();
        while !self.listens() {
            self.check()?;
            if begin.elapsed() > Duration::from_secs(60) {
                return Err(FireError::Start { program: "vessel".into(), why: "nobody listens".into() });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.kill();
    }
}
