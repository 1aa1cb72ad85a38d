//! Real Moss installations that follow the repository by way of the caches, with its key pinned. The first of them has somebody on its
//! way who hands out older pointers again.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fault::Kind;
use sandbox::DIE_WITH_PARENT;

use super::FireArguments;
use super::caches::Caches;
use super::error::FireError;
use super::replayer::Replayer;
use super::report::{Record, Trouble};
use super::stones::{self, PARTS};

/// Pause between two updates.
const PAUSE: Duration = Duration::from_millis(300);

/// The source that is installed: all packages of it, so that a mixed version shows.
const SOURCE: &str = "s0-0";

/// Starts so many installations below `data`.
pub(super) fn start(
    data: &Path,
    caches: &Caches,
    key: &str,
    arguments: &FireArguments,
    record: &Arc<Record>,
    over: &Arc<AtomicBool>,
) -> Result<Vec<JoinHandle<()>>, FireError> {
    let program = std::env::current_exe().map_err(FireError::folder(Path::new("/proc/self/exe")))?;
    let ways = caches.ways();
    let mut threads = Vec::new();
    // The last way first: it has the most caches.
    for ((way, url), number) in ways.iter().rev().cycle().zip(0..arguments.systems) {
        let root = data.join(format!("system-{number}"));
        fs_err::create_dir_all(&root).map_err(FireError::folder(&root))?;
        let replayer = if number == 0 { Some(Replayer::open(url, arguments.seed)?) } else { None };
        let system = System {
            program: program.clone(),
            root,
            way: way.clone(),
            url: replayer.as_ref().map_or_else(|| url.clone(), Replayer::url),
            key: key.to_owned(),
            replayer,
            followed: 0,
            record: Arc::clone(record),
            over: Arc::clone(over),
        };
        let thread = std::thread::Builder::new().name(format!("system {number}"));
        threads.push(thread.spawn(move || system.run()).map_err(FireError::Thread)?);
    }
    Ok(threads)
}

struct System {
    program: PathBuf,
    root: PathBuf,
    way: String,
    url: String,
    key: String,
    /// Who hands out older pointers on its way.
    replayer: Option<Replayer>,
    /// The highest version of a pointer that it has followed.
    followed: u64,
    record: Arc<Record>,
    over: Arc<AtomicBool>,
}

impl System {
    fn run(mut self) {
        let version = ["--root-index", "version=stream/volatile"];
        self.until_done(&[&["repo", "add", "fire", &self.url], &version[..], &["--key", &self.key]].concat());
        let names: Vec<String> = (0..PARTS).map(|part| format!("{SOURCE}-{part}")).collect();
        let install: Vec<&str> =
            ["-y", "install"].into_iter().chain(names.iter().map(String::as_str)).collect();
        self.until_done(&install);
        self.look_back();
        if let Some(replayer) = &self.replayer {
            replayer.arm();
        }
        while !self.over.load(Ordering::Relaxed) {
            self.until_done(&["-y", "sync", "-u"]);
            self.look(&names);
            self.look_back();
            std::thread::sleep(PAUSE);
        }
    }

    /// Does it again as long as somebody is away. Anything else that goes wrong must not happen.
    fn until_done(&self, arguments: &[&str]) {
        while !self.over.load(Ordering::Relaxed) {
            match self.moss(arguments) {
                Ok(output) if output.status.success() => return,
                Ok(output) => self.judge(arguments, &output),
                Err(error) => self.record.trouble(Trouble::Mismatch, format!("cannot start Moss: {error}")),
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn judge(&self, arguments: &[&str], output: &Output) {
        let said = String::from_utf8_lossy(&output.stderr);
        // It was added when only its first refresh failed.
        if said.contains("there is one of this name") {
            return self.until_done(&["repo", "update"]);
        }
        // Asked to follow, it says that it will not: as it should.
        if said.contains("was seen before") {
            return self.record.refused_rollback();
        }
        // The stream was rolled back to before the first landing of what is wanted.
        if said.contains(&format!("nobody provides {SOURCE}-")) {
            return self.record.was_unavailable();
        }
        let first = said.lines().take(4).collect::<Vec<_>>().join(" / ");
        let text = format!("moss {} by way of {}: {first}", arguments.join(" "), self.way);
        let code = |kind: Kind| Some(i32::from(kind.meaning().exit_code));
        match output.status.code() {
            code_seen if code_seen == code(Kind::Unavailable) => self.record.was_unavailable(),
            code_seen if code_seen == code(Kind::NotFound) => self.record.trouble(Trouble::NotFound, text),
            _ => self.record.trouble(Trouble::Mismatch, text),
        }
    }

    fn moss(&self, arguments: &[&str]) -> std::io::Result<Output> {
        let mut command = Command::new(&self.program);
        command.arg("moss").arg("-D").arg(&self.root).args(arguments);
        command
            .env(DIE_WITH_PARENT, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
    }

    /// Whether it went back behind a pointer that it had followed.
    fn look_back(&mut self) {
        let Some(version) = followed(&self.root) else { return };
        if version < self.followed {
            self.record.accepted_rollback();
            let text = format!(
                "Moss by way of {} went back to version {version} of its pointer from {}",
                self.way, self.followed
            );
            self.record.trouble(Trouble::Mixed, text);
        }
        self.followed = self.followed.max(version);
        if let Some(replayer) = &self.replayer {
            self.record.rollbacks_were_offered(replayer.offered());
        }
    }

    /// What is installed must be of one release.
    fn look(&self, names: &[String]) {
        let read = |name: &String| fs_err::read_to_string(self.root.join("usr/share/fire").join(name));
        let texts: Vec<String> = names.iter().filter_map(|name| read(name).ok()).collect();
        let release =
            texts.first().and_then(|text| text.trim().rsplit_once(' ')).and_then(|(_, it)| it.parse().ok());
        let expected: Vec<String> =
            names.iter().filter_map(|name| Some(stones::text(name, release?))).collect();
        if texts == expected && !texts.is_empty() {
            self.record.has_synced();
        } else {
            self.record.trouble(Trouble::Mixed, format!("Moss by way of {} has {texts:?}", self.way));
        }
    }
}

/// The version of the pointer that the Moss of a root follows, as it remembers it; none before it has followed one.
fn followed(root: &Path) -> Option<u64> {
    let repositories = fs_err::read_dir(root.join(".moss/repo")).ok()?;
    let version = |folder: PathBuf| {
        let memory: serde_json::Value =
            serde_json::from_slice(&fs_err::read(folder.join("signed.json")).ok()?).ok()?;
        memory["pointer"]["version"].as_u64()
    };
    repositories.filter_map(|entry| version(entry.ok()?.path())).max()
}
