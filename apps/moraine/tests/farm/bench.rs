//! A repository of recipes, a farm that builds them, and a root that installs them.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use testkit::wait_until;

use crate::http;
use crate::processes::{self, Process};

/// How long anything may take before a test gives it up; generous, since the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A variable that every farm is started with and that no build may see.
pub(crate) const SECRET_NAME: &str = "MORAINE_ZOO_SECRET";

/// This program.
pub(crate) fn moraine() -> Command {
    Command::new(env!("CARGO_BIN_EXE_moraine"))
}

/// Runs to a good end and returns what was printed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything a program said.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A folder with a git repository of recipes.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// A bench, where this machine can build at all.
    pub(crate) fn new() -> Option<Bench> {
        if !testkit::has_programs(&["cc", "git", "tar", "sha256sum"]) {
            return None;
        }
        let doctor = moraine().args(["doctor", "--json"]).output().unwrap();
        let findings: Value = serde_json::from_slice(&doctor.stdout).unwrap();
        if findings["ready"] != Value::Bool(true) {
            testkit::skip(&format!("machine that can build: {findings}"));
            return None;
        }
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        fs_err::create_dir(bench.path("recipes")).unwrap();
        bench.git(&["init", "--quiet", "--initial-branch", "main"]);
        Some(bench)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME/stone.yaml`; it counts from the next commit on.
    pub(crate) fn write_recipe(&self, name: &str, text: &str) {
        let folder = self.path("recipes").join(name);
        fs_err::create_dir_all(&folder).unwrap();
        fs_err::write(folder.join("stone.yaml"), text).unwrap();
    }

    pub(crate) fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    /// A commit without recipes, so that there is a branch.
    pub(crate) fn commit_nothing(&self, message: &str) {
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
    }

    fn git(&self, arguments: &[&str]) {
        succeed(
            Command::new("git")
                .args(["-c", "user.name=Test", "-c", "user.email=test@example.org", "-C"])
                .arg(self.path("recipes"))
                .args(arguments)
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env("GIT_CONFIG_SYSTEM", "/dev/null"),
        );
    }

    /// Everything still running that has to do with this bench.
    pub(crate) fn processes(&self) -> Vec<Process> {
        processes::of_folder(self.folder.path())
    }

    /// Nothing is left running. What the kernel still tears down gets a moment.
    pub(crate) fn assert_quiet(&self) {
        let mut left = Vec::new();
        for _ in 0..500 {
            left = self.processes();
            if left.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("still running: {left:#?}");
    }

    /// `moss` for the root of this bench.
    pub(crate) fn moss(&self) -> Command {
        fs_err::create_dir_all(self.path("root")).unwrap();
        let mut command = moraine();
        command.args(["moss", "-D"]).arg(self.path("root"));
        command
    }

    pub(crate) fn moss_json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&succeed(self.moss().args(arguments).arg("--json"))).unwrap()
    }
}

impl Drop for Bench {
    /// Also when a test panics, nothing goes on running in the folder.
    fn drop(&mut self) {
        for process in self.processes() {
            processes::kill(process.id);
        }
    }
}

/// A recipe that needs no compiler: `fields` follow the ones every recipe has.
pub(crate) fn recipe(name: &str, release: u64, fields: &str) -> String {
    format!(
        "name: {name}\nversion: \"1.0\"\nrelease: {release}\nhomepage: https://example.org\nlicense: MIT\n\
         summary: {name} of a test\ndescription: {name} of a test.\n{fields}"
    )
}

/// A running `moraine up`. It is killed with it.
pub(crate) struct Farm<'a> {
    bench: &'a Bench,
    child: Child,
    pub(crate) dashboard: String,
    pub(crate) repository: String,
}

impl<'a> Farm<'a> {
    /// Starts a farm, or starts it again with what it had.
    pub(crate) fn start(bench: &'a Bench, agents: usize) -> Farm<'a> {
        let log = fs_err::OpenOptions::new().create(true).append(true).open(bench.path("up.log")).unwrap();
        let mut child = moraine()
            .args(["up", "--json", "--mirror", "none", "--agents", &agents.to_string(), "--recipes"])
            .arg(bench.path("recipes"))
            .arg("--data")
            .arg(bench.path("farm"))
            .env(SECRET_NAME, "not for builds")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.into_parts().0)
            .process_group(0)
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut farm = Farm { bench, child, dashboard: String::new(), repository: String::new() };
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // Whoever waits sees an empty line when there is none.
            drop(BufReader::new(stdout).read_line(&mut line));
            drop(sender.send(line));
        });
        let line = receiver.recv_timeout(PATIENCE).unwrap();
        let Ok(places) = serde_json::from_str::<Value>(&line) else { panic!("{line:?}\n{}", farm.logs()) };
        farm.dashboard = places["dashboard"].as_str().unwrap().to_owned();
        farm.repository = places["repository"].as_str().unwrap().to_owned();
        farm
    }

    /// What every service said, for whoever reads why a test failed.
    pub(crate) fn logs(&self) -> String {
        let mut text = fs_err::read_to_string(self.bench.path("up.log")).unwrap_or_default();
        for name in ["summit", "vessel", "agent-1", "agent-2"] {
            let path = self.bench.path("farm").join("logs").join(format!("{name}.log"));
            text.push_str(&format!("--- {name}\n{}", fs_err::read_to_string(path).unwrap_or_default()));
        }
        text
    }

    pub(crate) fn get(&self, path: &str) -> Result<(u16, String), std::io::Error> {
        http::request("GET", &format!("{}{path}", self.dashboard), &[])
    }

    pub(crate) fn post(&self, path: &str) -> (u16, Value) {
        let (status, body) =
            http::request("POST", &format!("{}{path}", self.dashboard), &[("X-Moraine", "1")]).unwrap();
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// The answer, once there is a good one: Summit may be starting again.
    pub(crate) fn ask(&self, path: &str) -> Value {
        let mut answer = None;
        self.wait(path, || {
            answer = match self.get(path) {
                Ok((200, body)) => serde_json::from_str(&body).ok(),
                _ => None,
            };
            answer.is_some()
        });
        answer.unwrap()
    }

    /// Waits, and says what the services said when it was in vain.
    pub(crate) fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(what, PATIENCE, &mut done);
        }));
        if waited.is_err() {
            let tasks = self.get("/api/tasks").map(|(_, body)| body);
            panic!("{what}: in vain\n{tasks:?}\n{}", self.logs());
        }
    }

    /// Has Summit look at the recipes now. Returns the tasks it made.
    pub(crate) fn wake_up(&self) -> u64 {
        let (status, report) = self.post("/api/wake-up");
        assert_eq!(status, 200, "{report}");
        u64::try_from(report["new_tasks"].as_array().unwrap().len()).unwrap()
    }

    /// Waits until nothing is left to do but what is blocked or failed.
    pub(crate) fn wait_idle(&self) {
        self.wait("an idle farm", || {
            let status = self.ask("/api/status");
            status["idle"] == Value::Bool(true) && status["recipes"].as_u64() > Some(0)
        });
    }

    pub(crate) fn wait_phase(&self, source: &str, release: u64, phase: &str) -> Value {
        self.wait(&format!("{source} release {release} {phase}"), || {
            self.task(source, release).is_some_and(|task| task["phase"] == phase)
        });
        self.task(source, release).unwrap()
    }

    /// Every task there is, the oldest first.
    pub(crate) fn tasks(&self) -> Vec<Value> {
        let mut tasks = self.ask("/api/tasks?per_page=500")["tasks"].as_array().unwrap().clone();
        tasks.sort_by_key(|task| task["id"].as_u64());
        tasks
    }

    /// The only task of a release.
    pub(crate) fn task(&self, source: &str, release: u64) -> Option<Value> {
        let tasks = self.tasks();
        let mut found = tasks.iter().filter(|task| task["source"] == source && task["release"] == release);
        let first = found.next().cloned();
        assert!(found.next().is_none(), "{source} has two tasks for release {release}: {tasks:#?}");
        first
    }

    /// The attempts of a task, in order.
    pub(crate) fn attempts(&self, source: &str, release: u64) -> Vec<Value> {
        let id = self.task(source, release).unwrap()["id"].clone();
        self.ask(&format!("/api/tasks/{id}"))["attempts"].as_array().unwrap().clone()
    }

    /// The log of an attempt, as far as Summit has it.
    pub(crate) fn log(&self, attempt: &Value) -> String {
        self.get(attempt["log_url"].as_str().unwrap()).map(|(_, body)| body).unwrap_or_default()
    }

    /// Kills a service without a word.
    pub(crate) fn kill(&self, service: &str) {
        let is_it = |process: &Process| {
            let words = &process.arguments;
            match service {
                agent if agent.starts_with("agent-") => {
                    words[1..].starts_with(&["avalanche".into(), "run".into()])
                        && words.iter().any(|word| word == agent)
                }
                other => words[1..].starts_with(&[other.into(), "serve".into()]),
            }
        };
        let found: Vec<Process> = self.bench.processes().into_iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{service}: {found:?}");
        processes::kill(found[0].id);
    }

    /// Kills the keeper of what an agent builds without a word.
    pub(crate) fn kill_keeper(&self, agent: &str) {
        let folder = format!("/{agent}/attempts/");
        let is_it = |process: &Process| {
            let words = &process.arguments;
            words[1..].starts_with(&["avalanche".into(), "keep".into()]) && words[3].contains(&folder)
        };
        let found: Vec<Process> = self.bench.processes().into_iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{agent}: {found:?}");
        processes::kill(found[0].id);
    }

    /// Stops it as its user does.
    pub(crate) fn stop(mut self) {
        processes::terminate(i32::try_from(self.child.id()).unwrap());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.logs());
    }

    /// Kills it without a word.
    pub(crate) fn kill_all(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What the stream points to now, and how many histories there are.
    pub(crate) fn channel(&self) -> Value {
        let text = succeed(
            moraine().args(["vessel", "channel", "show", "--json", "--data"]).arg(self.data().join("vessel")),
        );
        serde_json::from_str(&text).unwrap()
    }

    fn data(&self) -> PathBuf {
        self.bench.path("farm")
    }
}

impl Drop for Farm<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
