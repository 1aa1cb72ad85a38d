//! Real services with what goes wrong between them: a leader that dies in the middle of a build, and a machine that becomes
//! a builder with a token.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use package::PackageMeta;
use serde_json::Value;
use stone::{Entry, EntryFile, FileType, Hasher, Packing, Slice, Writer};
use testkit::wait_until;

#[path = "farm/http.rs"]
mod http;

/// How long anything may take before a test gives it up; generous, since the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lines of a build before and after it waits to be let go.
const HALF: usize = 200;

/// What an agent runs in Boulder's place: says half of its lines, waits for a file, says the rest and has built a package that
/// lies ready.
const BOULDER: &str = r#"#!/bin/sh
here=$(dirname "$0")
while [ $# -gt 0 ]; do
    case $1 in
    --output) output=$2; shift ;;
    --report) report=$2; shift ;;
    esac
    shift
done
echo begun >> "$here/builds"
seq -f 'line %g' 1 200
until [ -e "$here/go" ]; do sleep 0.05; done
seq -f 'line %g' 201 400
cp "$here"/*.stone "$output/"
echo '{"outcome":"built","seconds":1}' > "$report.part"
mv "$report.part" "$report"
"#;

fn moraine() -> Command {
    Command::new(env!("CARGO_BIN_EXE_moraine"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs to a good end and returns what was printed.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A service that runs, with the first lines that it said. It is killed with it.
struct Service {
    child: Child,
    lines: Vec<String>,
}

impl Service {
    fn start(place: &Place, name: &str, lines: usize, mut command: Command) -> Service {
        let log =
            fs_err::OpenOptions::new().create(true).append(true).open(place.path(&format!("{name}.log")));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.unwrap().into_file())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = output.lines().take(lines).map(Result::unwrap).collect();
        Service { child, lines }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// One Summit.
struct Summit {
    service: Service,
    http: String,
    grpc: String,
    key: String,
}

impl Summit {
    fn get(&self, path: &str) -> Option<Value> {
        match http::request("GET", &format!("{}{path}", self.http), &[]) {
            Ok((200, body)) => serde_json::from_str(&body).ok(),
            _ => None,
        }
    }

    fn role(&self) -> Option<String> {
        Some(self.get("/health")?["role"].as_str()?.to_owned())
    }

    fn wait_for_role(&self, role: &str) {
        wait_until(role, PATIENCE, || self.role().as_deref() == Some(role));
    }

    fn task(&self) -> Option<Value> {
        let tasks = self.get("/api/tasks")?;
        let id = &tasks["tasks"].get(0)?["id"];
        self.get(&format!("/api/tasks/{id}"))
    }

    fn log(&self) -> String {
        let Some(task) = self.task() else { return String::new() };
        let Some(url) = task["attempts"][0]["log_url"].as_str() else { return String::new() };
        http::request("GET", &format!("{}{url}", self.http), &[]).map(|(_, body)| body).unwrap_or_default()
    }
}

/// A folder with recipes, a Vessel, and whoever else is started in it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Option<Place> {
        if !testkit::has_programs(&["git", "seq"]) {
            return None;
        }
        let place = Place { folder: tempfile::tempdir().unwrap() };
        let recipe = place.path("recipes/steady");
        fs_err::create_dir_all(&recipe).unwrap();
        let text = "name: steady\nversion: \"1.0\"\nrelease: 1\nhomepage: https://example.org\nlicense: MIT\n\
                    summary: s\ndescription: d\n";
        fs_err::write(recipe.join("stone.yaml"), text).unwrap();
        for words in
            [&["init", "--quiet", "--initial-branch", "main"][..], &["add", "--all"], &["commit", "-qm", "r"]]
        {
            let git = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
            succeed(Command::new("git").args(git).args(words).current_dir(place.path("recipes")));
        }
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a key; returns the public one.
    fn key(&self, program: &str, data: &str) -> String {
        fs_err::create_dir_all(self.path(data)).unwrap();
        succeed(moraine().args([program, "key", "--data"]).arg(self.path(data))).trim().to_owned()
    }

    /// Vessel, which lets the Summits with these keys order; gRPC address, address of what is published, and its key.
    fn vessel(&self, hub_keys: &[&String]) -> (Service, [String; 3]) {
        let mut command = moraine();
        command.args([
            "vessel",
            "serve",
            "--json",
            "--grpc",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--data",
        ]);
        command.arg(self.path("vessel"));
        for key in hub_keys {
            command.arg(format!("--hub-key={key}"));
        }
        let service = Service::start(self, "vessel", 1, command);
        let told: Value = serde_json::from_str(&service.lines[0]).unwrap();
        let word = |name: &str| told[name].as_str().unwrap().to_owned();
        let words = [word("grpc"), word("public_url"), word("key")];
        (service, words)
    }

    fn summit(&self, name: &str, vessel: &[String; 3], more: &str, arguments: &[&str]) -> Summit {
        let [grpc, public_url, key] = vessel;
        let config = self.path(&format!("{name}.toml"));
        let text = format!(
            "http_address = \"127.0.0.1:0\"\ngrpc_address = \"127.0.0.1:0\"\npoll_seconds = 3600\nlease_seconds = 60\n{more}\
             [access]\nloopback_is_operator = true\n[[project]]\nname = \"test\"\nrecipes = \"{}\"\n\
             host_provides = \"everything\"\n\
             [vessel]\naddress = \"{grpc}\"\npublic_key = \"{key}\"\npublic_url = \"{public_url}\"\n",
            self.path("recipes").display()
        );
        fs_err::write(&config, text).unwrap();
        let mut command = moraine();
        command
            .args(["summit", "serve", "--data"])
            .arg(self.path(name))
            .arg("--config")
            .arg(config)
            .args(arguments);
        let service = Service::start(self, name, 2, command);
        let http = service.lines[0].strip_prefix("dashboard: ").unwrap().trim_end_matches('/').to_owned();
        let words: Vec<&str> = service.lines[1].split(' ').collect();
        let (grpc, key) = (words[1].to_owned(), words[3].to_owned());
        Summit { service, http, grpc, key }
    }

    /// A Boulder of our own, with what it will have built.
    fn boulder(&self) -> PathBuf {
        let folder = self.path("boulder");
        fs_err::create_dir_all(&folder).unwrap();
        write_package(&folder);
        let program = folder.join("boulder");
        fs_err::write(&program, BOULDER).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(&program, mode).unwrap();
        program
    }

    fn logs(&self) -> String {
        let read = |name: &str| fs_err::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        ["a", "b", "vessel", "agent"].map(|name| format!("--- {name}\n{}", read(name))).concat()
    }

    /// Waits, and says what the services said when it was in vain.
    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(what, PATIENCE, &mut done);
        }));
        if waited.is_err() {
            panic!("{what}: in vain\n{}", self.logs());
        }
    }
}

/// The package that a build of `steady` yields.
fn write_package(folder: &Path) {
    let package = PackageMeta {
        name: "steady".into(),
        version: "1.0".into(),
        release: 1,
        build_release: 1,
        architecture: std::env::consts::ARCH.into(),
        summary: "s".into(),
        description: "d".into(),
        source_id: "steady".into(),
        homepage: "https://example.org".into(),
        licenses: vec!["MIT".into()],
        depends: BTreeSet::new(),
        provides: BTreeSet::new(),
        conflicts: BTreeSet::new(),
        build_depends: BTreeSet::new(),
        uri: None,
        hash: None,
        download_size_bytes: None,
    };
    let text = b"steady\n";
    let mut hasher = Hasher::new();
    hasher.update(text);
    let digest = hasher.digest();
    let entry = Entry {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
        target: "share/steady".into(),
        file: EntryFile::Regular(digest),
    };
    let size_bytes = u64::try_from(text.len()).unwrap();
    let mut writer = Writer::with_packing(Cursor::new(Vec::new()), FileType::Binary, Packing::FAST).unwrap();
    writer.meta(&package.to_records()).unwrap();
    writer.layout(&[entry]).unwrap();
    writer.index(&[Slice { start: 0, end: size_bytes, digest }]).unwrap();
    writer.content(size_bytes, &text[..]).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    fs_err::write(folder.join(package.file_name()), bytes).unwrap();
}

/// Ends whatever an agent in this folder builds, also when a test fails.
struct EndOfBuilds(PathBuf);

impl Drop for EndOfBuilds {
    fn drop(&mut self) {
        drop(moraine().args(["avalanche", "drain", "--now", "--data"]).arg(&self.0).output());
    }
}

#[test]
fn an_agent_changes_to_the_next_leader_in_the_middle_of_a_build() {
    let Some(place) = Place::new() else { return };
    let Some(postgres) = testkit::Postgres::shared() else { return };
    let keys = ["a", "b"].map(|name| place.key("summit", name));
    assert_ne!(keys[0], keys[1], "each Summit has a key of its own");
    let (_vessel, vessel) = place.vessel(&keys.each_ref());
    let agent_key = place.key("avalanche", "agent");
    let database = postgres.database();
    let more = format!("log_folder = \"{}\"\n", place.path("logs").display());
    let arguments = ["--database", &database];
    let mut leader = place.summit("a", &vessel, &more, &arguments);
    leader.wait_for_role("leader");
    let standby = place.summit("b", &vessel, &more, &arguments);
    standby.wait_for_role("standby");
    succeed(moraine().args(["builder", "add", "one", &agent_key, "--summit", &leader.http]));

    let settings = format!(
        "slots = 1\nfree_bytes_min = 1\n[[summit]]\nname = \"farm\"\naddresses = [\"{}\", \"{}\"]\npublic_keys = [\"{}\", \"{}\"]\n",
        leader.grpc, standby.grpc, leader.key, standby.key
    );
    fs_err::write(place.path("agent.toml"), settings).unwrap();
    let boulder = place.boulder();
    let _end = EndOfBuilds(place.path("agent"));
    let mut command = moraine();
    command.args(["avalanche", "run", "--config"]).arg(place.path("agent.toml"));
    command.arg("--data").arg(place.path("agent")).arg("--boulder").arg(&boulder);
    let _agent = Service::start(&place, "agent", 0, command);

    place.wait("half of the build", || leader.log().contains(&format!("line {HALF}\n")));
    leader.service.kill();
    // It goes on at once, whether anybody leads or not.
    fs_err::write(place.path("boulder/go"), "").unwrap();
    place.wait("the other one leads", || standby.role().as_deref() == Some("leader"));
    place.wait("it is published", || standby.task().is_some_and(|task| task["phase"] == "published"));

    let task = standby.task().unwrap();
    assert_eq!(task["attempts"].as_array().unwrap().len(), 1, "{task:#}");
    assert_eq!(fs_err::read_to_string(place.path("boulder/builds")).unwrap(), "begun\n", "built once");
    let log = standby.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.starts_with("line ")).collect();
    let expected: Vec<String> = (1..=2 * HALF).map(|line| format!("line {line}")).collect();
    assert_eq!(lines, expected, "every line once and in order:\n{log}");
}

#[test]
fn a_machine_becomes_a_builder_with_a_token_that_is_good_once() {
    let Some(place) = Place::new() else { return };
    let key = place.key("summit", "a");
    let (_vessel, vessel) = place.vessel(&[&key]);
    let summit = place.summit("a", &vessel, "", &[]);
    summit.wait_for_role("leader");
    let token = place.path("token");
    succeed(
        moraine()
            .args(["builder", "enrol", "fresh", "--label", "rack-3", "--summit", &summit.http, "--output"])
            .arg(&token),
    );
    let enrol = |data: &str, summit_key: &str| {
        let mut command = moraine();
        command.args(["avalanche", "enrol", "--json", "--data"]).arg(place.path(data));
        command.args(["--summit", &summit.grpc]).arg(format!("--summit-key={summit_key}"));
        command.arg("--token-file").arg(&token).output().unwrap()
    };
    // Somebody in between, or a mistyped key: the token is not even shown.
    let elsewhere = enrol("agent", &place.key("summit", "other"));
    assert!(!elsewhere.status.success(), "{}", said(&elsewhere));
    let enrolled = enrol("agent", &summit.key);
    assert!(enrolled.status.success(), "{}", said(&enrolled));
    let told: Value = serde_json::from_slice(&enrolled.stdout).unwrap();
    assert_eq!(told["name"], "fresh", "{told}");
    let again = enrol("thief", &summit.key);
    assert_eq!(again.status.code(), Some(5), "{}", said(&again));
    assert!(said(&again).contains("used"), "{}", said(&again));

    let boulder = place.boulder();
    fs_err::write(place.path("boulder/go"), "").unwrap();
    let _end = EndOfBuilds(place.path("agent"));
    let mut command = moraine();
    command.args(["avalanche", "run", "--free-bytes-min", "1", "--summit", &summit.grpc]);
    command.arg(format!("--summit-key={}", summit.key)).arg("--data").arg(place.path("agent"));
    let _agent = Service::start(&place, "agent", 0, {
        command.arg("--boulder").arg(&boulder);
        command
    });
    place.wait("it builds", || summit.task().is_some_and(|task| task["phase"] == "published"));
    let builders = summit.get("/api/builders").unwrap();
    let builder = &builders["builders"][0];
    assert_eq!(
        (&builder["name"], &builder["labels"][0]),
        (&"fresh".into(), &"rack-3".into()),
        "{builders:#}"
    );
    assert_eq!(builders["builders"].as_array().unwrap().len(), 1, "nobody else became one: {builders:#}");
}
