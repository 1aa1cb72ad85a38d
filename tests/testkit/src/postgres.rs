//! A server of PostgreSQL for tests, in a folder of its own, reached by a socket in that folder; on demand also over TCP
//! with TLS.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::{skip, wait_until};

/// Where Debian keeps what is not on the path, a folder for each version.
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";

/// The user for whom the server runs when tests run as root, which it refuses to be: Debian's `nobody`.
const NOBODY: u32 = 65534;

/// A server starts in a second; a machine that is busy gets two minutes.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Runs the server, and does as it is told line by line. When whoever tells it is gone, so is the server with its folder:
/// tests end in many ways.
const KEEPER: &str = r#"
bin=$1 folder=$2; shift 2
start() { "$bin/postgres" -D "$folder/data" -k "$folder" -c max_connections=500 "$@" >>"$folder/log" 2>&1 & server=$!; }
start "$@"
while read -r word; do
    case $word in
    stop) kill -QUIT "$server"; wait "$server"; touch "$folder/stopped" ;;
    start) rm -f "$folder/stopped"; start "$@" ;;
    esac
done
kill -QUIT "$server" 2>/dev/null
wait
rm -rf "$folder"
"#;

/// How a server is reached over TLS.
#[derive(Debug)]
pub struct Tls {
    /// Where it listens, at PostgreSQL's own port, and what its certificate says.
    pub address: IpAddr,
    /// The authority that signed its certificate.
    pub trusted: PathBuf,
    /// Another one, which did not.
    pub other: PathBuf,
}

impl Tls {
    /// The address of `database`, which [`Postgres::database`] made, over TCP.
    ///
    /// # Panics
    /// When that is no such address.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "a test's own way to fail")]
    pub fn over_tcp(&self, database: &str, parameters: &str) -> String {
        let name = database.strip_prefix("postgres:///").unwrap().split('?').next().unwrap();
        format!("postgres://moraine@{}/{name}?{parameters}", self.address)
    }
}

/// A server of PostgreSQL that goes with this value, or with this process.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    programs: PathBuf,
    keeper: Child,
    orders: Mutex<Option<ChildStdin>>,
    databases: AtomicU64,
}

impl Postgres {
    /// Starts a server. `None`, after saying so, where there is no PostgreSQL.
    ///
    /// # Panics
    /// When it does not start: a test cannot go on.
    #[must_use]
    pub fn start() -> Option<Postgres> {
        Postgres::start_with(|_| vec!["-c".into(), "listen_addresses=".into()])
    }

    /// Starts a server that also listens on the loopback network and speaks TLS there. `None`, after saying so, where there
    /// is no PostgreSQL or no `openssl`.
    ///
    /// # Panics
    /// When it does not start: a test cannot go on.
    #[must_use]
    pub fn start_with_tls() -> Option<(Postgres, Tls)> {
        if !crate::has_programs(&["openssl"]) {
            return None;
        }
        let address = crate::steady_address().ip();
        let postgres = Postgres::start_with(|folder| {
            make_certificates(folder, address);
            let setting = |name: &str, value: &str| ["-c".into(), format!("{name}={value}")];
            let file = |name: &str| folder.join(name).display().to_string();
            [
                setting("listen_addresses", &address.to_string()),
                setting("ssl", "on"),
                setting("ssl_cert_file", &file("server.crt")),
                setting("ssl_key_file", &file("server.key")),
            ]
            .concat()
        })?;
        let tls = Tls {
            address,
            trusted: postgres.folder.join("ca.crt"),
            other: postgres.folder.join("other.crt"),
        };
        Some((postgres, tls))
    }

    #[expect(clippy::unwrap_used, clippy::panic, reason = "a test's own way to fail")]
    fn start_with(settings: impl FnOnce(&Path) -> Vec<String>) -> Option<Postgres> {
        let Some(programs) = programs() else {
            skip("PostgreSQL");
            return None;
        };
        let output = command(Path::new("mktemp")).args(["-d", "-t", "moraine-pg-XXXXXX"]).output().unwrap();
        let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let init = command(&programs.join("initdb"))
            .args(["--auth=trust", "--username=moraine", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"])
            .arg("-D")
            .arg(folder.join("data"))
            .output()
            .unwrap();
        if !init.status.success() {
            panic!("initdb failed: {}", String::from_utf8_lossy(&init.stderr));
        }
        let mut keeper = command(Path::new("sh"))
            .args(["-c", KEEPER, "keeper"])
            .arg(&programs)
            .arg(&folder)
            .args(settings(&folder))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let orders = Mutex::new(keeper.stdin.take());
        let postgres = Postgres { folder, programs, keeper, orders, databases: AtomicU64::new(0) };
        postgres.wait_until_ready();
        Some(postgres)
    }

    /// The server that all tests of this process share. `None`, after saying so, where there is no PostgreSQL.
    #[must_use]
    pub fn shared() -> Option<&'static Postgres> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        let shared = SHARED.get_or_init(Postgres::start).as_ref();
        if shared.is_none() {
            skip("PostgreSQL");
        }
        shared
    }

    /// Makes an empty database; returns its address.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "a test's own way to fail")]
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = command(&self.programs.join("createdb"))
            .args(["--username=moraine", "--host"])
            .arg(&self.folder)
            .arg(&name)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        format!("postgres:///{name}?user=moraine&host={}", self.folder.display())
    }

    /// Stops the server at once, as a crash would.
    pub fn stop(&self) {
        self.tell("stop");
        wait_until("PostgreSQL stops", START_LIMIT, || self.folder.join("stopped").exists());
    }

    /// Starts it again; waits until it answers.
    pub fn start_again(&self) {
        self.tell("start");
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        wait_until("PostgreSQL starts", START_LIMIT, || {
            let status = fs_err::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
            let stopped = self.folder.join("stopped").exists();
            !stopped && status.lines().any(|line| line.trim() == "ready")
        });
    }

    #[expect(clippy::unwrap_used, reason = "a test's own way to fail")]
    fn tell(&self, word: &str) {
        let mut orders = self.orders.lock().unwrap();
        writeln!(orders.as_mut().unwrap(), "{word}").unwrap();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Ok(mut orders) = self.orders.lock() {
            drop(orders.take());
        }
        drop(self.keeper.wait());
    }
}

/// Two authorities, and a certificate of the first for the server at `address`.
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test's own way to fail")]
fn make_certificates(folder: &Path, address: IpAddr) {
    let openssl = |words: &str| {
        let mut openssl = command(Path::new("openssl"));
        let output = openssl.args(words.split_whitespace()).current_dir(folder).output().unwrap();
        if !output.status.success() {
            panic!("openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
        }
    };
    const NEW: &str = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    for name in ["ca", "other"] {
        openssl(&format!("{NEW} -x509 -subj /CN=test-{name} -keyout {name}.key -out {name}.crt"));
    }
    openssl(&format!(
        "{NEW} -x509 -CA ca.crt -CAkey ca.key -subj /CN=server -keyout server.key -out server.crt \
         -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:{address}"
    ));
}

/// The folder with the programs of the newest version.
fn programs() -> Option<PathBuf> {
    let versions = fs_err::read_dir(DEBIAN_FOLDER).into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = versions.into_iter().rev().chain(std::env::split_paths(&path));
    let has_all = |folder: &PathBuf| {
        ["initdb", "postgres", "createdb"].iter().all(|program| folder.join(program).is_file())
    };
    folders.into_iter().find(has_all)
}

/// A command for a user whom the server accepts.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/");
    static IS_ROOT: OnceLock<bool> = OnceLock::new();
    // Only root may give a file away.
    let is_root = IS_ROOT.get_or_init(|| {
        let probe = std::env::temp_dir().join(format!("moraine-root-{}", std::process::id()));
        let given = fs_err::write(&probe, "").is_ok() && chown(&probe, Some(NOBODY), None).is_ok();
        drop(fs_err::remove_file(&probe));
        given
    });
    if *is_root {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
