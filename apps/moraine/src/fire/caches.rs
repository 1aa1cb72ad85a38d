//! Real caches in front of Vessel, told to be unfriendly: they keep pointers and even 404s for their own time, whatever they
//! are told, and hand out what is old for as long again.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Times;
use super::error::FireError;

/// Longest time for a cache to start; Varnish compiles its settings first.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Time for a cache to end by itself.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Where programs of the machine are that people do not call.
const PROGRAM_FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"];

/// The caches, running; they end with it.
pub(super) struct Caches {
    /// Name and address of each way to Vessel.
    ways: Vec<(String, String)>,
    /// Where caches are told that a pointer moved, in the way that Varnish understands.
    bans: Vec<String>,
    children: Vec<Child>,
    places: Vec<SocketAddr>,
}

impl Caches {
    /// Starts the caches that this machine has and that are wanted, in front of `vessel`, at these `places`,
    /// below `folder`.
    pub(super) fn start(
        folder: &Path,
        vessel: &str,
        places: [SocketAddr; 3],
        times: Times,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Self, FireError> {
        let [nginx, varnish, chain] = places;
        let mut caches =
            Self { ways: Vec::new(), bans: Vec::new(), children: Vec::new(), places: Vec::new() };
        if is_wanted("direct") {
            caches.ways.push(("direct".to_owned(), vessel.to_owned()));
        }
        let origin = vessel.trim_start_matches("http://");
        if let Some(program) = program("nginx").filter(|_| is_wanted("nginx") || is_wanted("chain")) {
            caches.nginx(&program, &folder.join("nginx"), nginx, origin, times)?;
            if is_wanted("nginx") {
                caches.ways.push(("nginx".to_owned(), format!("http://{nginx}")));
            }
        }
        if let Some(program) = program("varnishd") {
            if is_wanted("varnish") {
                caches.varnish(&program, &folder.join("varnish"), varnish, origin, times)?;
                caches.ways.push(("varnish".to_owned(), format!("http://{varnish}")));
                caches.bans.push(format!("http://{varnish}/"));
            }
            // Never told of anything: whoever comes this way meets the oldest pointers.
            if is_wanted("chain") && caches.places.contains(&nginx) {
                caches.varnish(&program, &folder.join("chain"), chain, &nginx.to_string(), times)?;
                caches.ways.push(("varnish over nginx".to_owned(), format!("http://{chain}")));
            }
        }
        if caches.ways.is_empty() {
            return Err(FireError::Start {
                program: "a cache".into(),
                why: "this machine has none of the ways".into(),
            });
        }
        Ok(caches)
    }

    pub(super) fn ways(&self) -> Vec<(String, String)> {
        self.ways.clone()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.ways.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn bans(&self) -> &[String] {
        &self.bans
    }

    /// Waits until all of them take connections.
    pub(super) fn wait_until_ready(&self) -> Result<(), FireError> {
        let begin = Instant::now();
        for place in &self.places {
            while TcpStream::connect(place).is_err() {
                if begin.elapsed() > READY_LIMIT {
                    let why = format!("nobody listens at {place} after {} s", READY_LIMIT.as_secs());
                    return Err(FireError::Start { program: "a cache".into(), why });
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    fn nginx(
        &mut self,
        program: &Path,
        folder: &Path,
        place: SocketAddr,
        origin: &str,
        times: Times,
    ) -> Result<(), FireError> {
        let (here, seconds) = (folder.display(), times.cache_seconds);
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let text = format!(
            "{user}\ndaemon off;\nworker_processes 2;\npid {here}/pid;\nerror_log {here}/error.log warn;\n\
             events {{ worker_connections 2048; }}\n\
             http {{\n  access_log off;\n  client_body_temp_path {here}/body;\n  proxy_temp_path {here}/temp;\n\
             \x20 fastcgi_temp_path {here}/a;\n  uwsgi_temp_path {here}/b;\n  scgi_temp_path {here}/c;\n\
             \x20 proxy_cache_path {here}/cache levels=1:2 keys_zone=fire:10m inactive={seconds}s use_temp_path=off;\n\
             \x20 upstream vessel {{ server {origin} max_fails=0; keepalive 32; }}\n\
             \x20 server {{\n    listen {place} backlog=1024;\n    location / {{\n      proxy_pass http://vessel;\n\
             \x20     proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      proxy_cache fire;\n\
             \x20     proxy_ignore_headers Cache-Control Expires;\n      proxy_cache_valid any {seconds}s;\n\
             \x20     proxy_cache_valid 500 502 503 504 0s;\n\
             \x20     proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;\n\
             \x20     proxy_cache_background_update on;\n      proxy_cache_lock on;\n      proxy_cache_revalidate on;\n\
             \x20   }}\n  }}\n}}\n"
        );
        let settings = write(folder, "nginx.conf", &text)?;
        let mut command = ending_with_us(program);
        command.arg("-p").arg(folder).arg("-c").arg(&settings);
        self.run("nginx", command, folder, place)
    }

    fn varnish(
        &mut self,
        program: &Path,
        folder: &Path,
        place: SocketAddr,
        origin: &str,
        times: Times,
    ) -> Result<(), FireError> {
        let (host, port) = origin.rsplit_once(':').unwrap_or((origin, "80"));
        let seconds = times.cache_seconds;
        let text = format!(
            "vcl 4.1;\nbackend vessel {{ .host = \"{host}\"; .port = \"{port}\"; }}\n\
             sub vcl_recv {{\n  if (req.method == \"BAN\") {{\n    ban(\"obj.http.Surrogate-Key ~ \" + req.http.X-Ban-Keys);\n\
             \x20   return (synth(200, \"banned\"));\n  }}\n}}\n\
             sub vcl_backend_response {{\n  if (beresp.status >= 500) {{ return (abandon); }}\n\
             \x20 set beresp.ttl = {seconds}s;\n  set beresp.grace = {seconds}s;\n  set beresp.keep = 0s;\n  return (deliver);\n}}\n"
        );
        let settings = write(folder, "fire.vcl", &text)?;
        let mut command = ending_with_us(program);
        command.arg("-F").arg("-f").arg(&settings);
        command.arg("-a").arg(place.to_string()).arg("-n").arg(folder.join("work"));
        command.args(["-s", "malloc,64m", "-p", "thread_pool_min=50", "-p", "vsl_space=1m", "-j", "none"]);
        self.run("varnishd", command, folder, place)
    }

    fn run(
        &mut self,
        name: &str,
        mut command: Command,
        folder: &Path,
        place: SocketAddr,
    ) -> Result<(), FireError> {
        let log = folder.join("log");
        let file = fs_err::File::create(&log).map_err(FireError::folder(&log))?.into_file();
        let errors = file.try_clone().map_err(FireError::folder(&log))?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        let start =
            |error: std::io::Error| FireError::Start { program: name.to_owned(), why: error.to_string() };
        self.children.push(child.map_err(start)?);
        self.places.push(place);
        Ok(())
    }
}

impl Drop for Caches {
    fn drop(&mut self) {
        for child in &self.children {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if pid.is_none_or(|pid| kill_process(pid, Signal::TERM).is_err()) {
                continue;
            }
        }
        let begin = Instant::now();
        for child in &mut self.children {
            while begin.elapsed() < END_LIMIT && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Writes the settings of a cache into its folder, which is made.
fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, FireError> {
    fs_err::create_dir_all(folder).map_err(FireError::folder(folder))?;
    let path = folder.join(name);
    fs_err::write(&path, text).map_err(FireError::folder(&path))?;
    Ok(path)
}

/// A program that is asked to end when this one does, however that is.
fn ending_with_us(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(program);
    command
}

/// Where a program of this machine is; none where it is not.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(PROGRAM_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}
