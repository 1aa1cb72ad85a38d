//! SeaweedFS for tests: a store that speaks S3, in a folder of its own, on an address of its own.
//!
//! Its parts also speak over sockets whose default names have nothing but the port in them: those are in the folder as well,
//! or stores of two tests would mix.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{has_programs, steady_address, wait_until};

/// A server starts in five seconds; a machine that is busy gets two minutes.
const START_LIMIT: Duration = Duration::from_secs(120);

/// And to hear of a new bucket.
const HEARING_LIMIT: Duration = Duration::from_secs(10);

/// Between two questions whether it has.
const HEARING_PAUSE: Duration = Duration::from_millis(50);

/// Runs a program until whoever started this one closes its standard input: tests end in many ways.
const KEEPER: &str = r#"log=$1; shift; "$@" >>"$log" 2>&1 </dev/null & read -r _; kill -9 "$!"; wait"#;

/// Who may do everything, and what everybody may read.
const IDENTITIES: &str = r#"{"identities":[
{"name":"vessel","credentials":[{"accessKey":"test-id","secretKey":"test-secret"}],"actions":["Admin"]},
{"name":"anonymous","actions":["Read"]}]}"#;

/// A program that goes with this value, or with this process.
#[derive(Debug)]
struct Kept(Child);

impl Kept {
    #[expect(clippy::unwrap_used, reason = "a test's own way to fail")]
    fn start(folder: &Path, arguments: &[String]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]).arg(folder.join("log")).arg("weed").args(arguments);
        // Some of what it keeps is where it was started.
        command.current_dir(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Kept {
    /// As hard as a power cut.
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

/// A store of SeaweedFS: one server, or several.
#[derive(Debug)]
pub struct Seaweed {
    ip: IpAddr,
    folder: PathBuf,
    volumes: Vec<Option<Kept>>,
    others: Vec<Kept>,
}

impl Seaweed {
    /// Public name of who may do everything.
    pub const ACCESS_KEY_ID: &str = "test-id";

    /// And the secret.
    pub const SECRET_ACCESS_KEY: &str = "test-secret";

    /// Starts a store of one server. `None`, after saying so, where there is no SeaweedFS.
    ///
    /// # Panics
    /// When it does not start: a test cannot go on.
    #[must_use]
    pub fn start() -> Option<Seaweed> {
        Self::start_with(&["-volume.max=2000", "-master.volumeSizeLimitMB=64"])
    }

    fn start_with(more: &[&str]) -> Option<Seaweed> {
        if !has_programs(&["weed"]) {
            return None;
        }
        let (ip, folder) = (steady_address().ip(), new_folder());
        let mut arguments = server_arguments("server", ip);
        arguments.push(format!("-dir={}", folder.display()));
        arguments.extend(["-master.telemetry=false", "-s3"].map(str::to_owned));
        arguments.push(format!("-filer.localSocket={}", folder.join("filer.sock").display()));
        arguments.push(format!("-s3.localSocket={}", folder.join("s3.sock").display()));
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments.push(format!("-s3.config={}", folder.join("s3.json").display()));
        let others = vec![Kept::start(&folder, &arguments)];
        Some(Self::ready(Self { ip, folder, volumes: Vec::new(), others }))
    }

    /// Starts a store of three servers for volumes, which keeps everything twice, on different ones.
    ///
    /// # Panics
    /// When it does not start: a test cannot go on.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "a test's own way to fail")]
    pub fn start_replicated() -> Option<Seaweed> {
        if !has_programs(&["weed"]) {
            return None;
        }
        let (ip, folder) = (steady_address().ip(), new_folder());
        let mut master = server_arguments("master", ip);
        master.push(format!("-mdir={}", folder.display()));
        master.extend(
            ["-defaultReplication=001", "-volumeSizeLimitMB=64", "-telemetry=false"].map(str::to_owned),
        );
        let mut others = vec![Kept::start(&folder, &master)];
        wait_until("the master listens", START_LIMIT, || {
            TcpStream::connect(SocketAddr::new(ip, 9333)).is_ok()
        });
        let volume = |number: u16| {
            let place = folder.join(format!("volume-{number}"));
            fs_err::create_dir_all(&place).unwrap();
            let mut volume = server_arguments("volume", ip);
            volume.push(format!("-dir={}", place.display()));
            volume.push(format!("-master={ip}:9333"));
            volume.push(format!("-port={}", 8080 + number));
            volume.push("-max=100".to_owned());
            Some(Kept::start(&folder, &volume))
        };
        let volumes: Vec<_> = (0..3).map(volume).collect();
        let mut filer = server_arguments("filer", ip);
        filer.push(format!("-master={ip}:9333"));
        filer.push(format!("-defaultStoreDir={}", folder.display()));
        filer.push(format!("-localSocket={}", folder.join("filer.sock").display()));
        filer.push(format!("-s3.localSocket={}", folder.join("s3.sock").display()));
        filer.extend(["-defaultReplicaPlacement=001", "-s3"].map(str::to_owned));
        filer.push(format!("-s3.config={}", folder.join("s3.json").display()));
        others.push(Kept::start(&folder, &filer));
        Some(Self::ready(Self { ip, folder, volumes, others }))
    }

    /// Waits until something can be written.
    fn ready(self) -> Self {
        wait_until("SeaweedFS answers", START_LIMIT, || {
            self.ask(8333, "GET", "/", "").is_some()
                && self
                    .ask(8888, "PUT", "/ready", "x")
                    .is_some_and(|answer| answer.starts_with("HTTP/1.1 201"))
        });
        self
    }

    /// A store that all tests of this process use.
    pub fn shared() -> Option<&'static Seaweed> {
        static SHARED: OnceLock<Option<Seaweed>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// The address of the service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The same, for a connection.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, 8333)
    }

    /// Makes a bucket that everybody may read; its name.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "a test's own way to fail")]
    pub fn bucket(&self) -> String {
        static GIVEN: AtomicU64 = AtomicU64::new(0);
        let begin = Instant::now();
        loop {
            let name = format!("bucket-{}", GIVEN.fetch_add(1, Ordering::Relaxed));
            let answer = self.ask(8888, "POST", &format!("/buckets/{name}/"), "").unwrap();
            assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
            // The part that speaks S3 hears of it a moment later; of one that is made while it begins to listen, never.
            let nothing = format!("/{name}/nothing");
            let until = Instant::now() + HEARING_LIMIT;
            while Instant::now() < until {
                if self.ask(8333, "GET", &nothing, "").is_some_and(|answer| answer.contains("NoSuchKey")) {
                    return name;
                }
                std::thread::sleep(HEARING_PAUSE);
            }
            assert!(begin.elapsed() < START_LIMIT, "no bucket is heard of within {START_LIMIT:?}");
        }
    }

    /// Kills a server for volumes.
    ///
    /// # Panics
    /// When there is none of this number.
    pub fn kill_volume_server(&mut self, number: usize) {
        assert!(self.volumes[number].take().is_some(), "it is dead already");
    }

    fn ask(&self, port: u16, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(SocketAddr::new(self.ip, port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            self.ip
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        self.volumes.clear();
        self.others.clear();
        drop(fs_err::remove_dir_all(&self.folder));
    }
}

fn server_arguments(kind: &str, ip: IpAddr) -> Vec<String> {
    vec!["-logtostderr=true".into(), kind.into(), format!("-ip={ip}"), format!("-ip.bind={ip}")]
}

#[expect(clippy::unwrap_used, reason = "a test's own way to fail")]
fn new_folder() -> PathBuf {
    static GIVEN: AtomicU64 = AtomicU64::new(0);
    let number = GIVEN.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("moraine-seaweed-{}-{number}", std::process::id()));
    drop(fs_err::remove_dir_all(&folder));
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::write(folder.join("s3.json"), IDENTITIES).unwrap();
    folder
}
