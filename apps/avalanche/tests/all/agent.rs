//! The agent's process, a repository of recipes and a Boulder that does what a recipe's script says.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use wire::summit::Order;
use wire::{Identity, PublicKey};

/// Runs `fake.sh` beside the recipe with `$OUT`, `$REPORT` and `$DATA`, the folder of the test.
const BOULDER: &str = r#"#!/bin/sh
set -e
[ "$1" = build ] || exit 64
RECIPE=$2; shift 2
while [ $# -gt 0 ]; do
    case $1 in
        --output) OUT=$2 ;;
        --report) REPORT=$2 ;;
    esac
    shift 2
done
export OUT REPORT
exec sh "$RECIPE/fake.sh"
"#;

pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    key: PublicKey,
    /// The agent's program, which an upgrade replaces.
    pub(crate) program: PathBuf,
}

/// Builds outlive the agent, but not the test.
impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.drain(&["--now"]).status.success());
        } else {
            drop(self.drain(&["--now"]));
        }
    }
}

impl Place {
    /// A folder with a Boulder, and a key for the agent.
    pub(crate) fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let boulder = folder.path().join("boulder");
        fs_err::write(&boulder, BOULDER).unwrap();
        fs_err::set_permissions(&boulder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let data = folder.path().join("data");
        fs_err::create_dir(&data).unwrap();
        let key = Identity::load_or_create(&data.join("identity.key")).unwrap().public_key();
        Place { folder, key, program: PathBuf::from(env!("CARGO_BIN_EXE_avalanche")) }
    }

    /// Puts the program elsewhere, as an upgrade does; the old one is gone.
    pub(crate) fn upgrade(&mut self) {
        let count = fs_err::read_dir(self.folder.path()).unwrap().count();
        let new = self.path(&format!("version-{count}/avalanche"));
        fs_err::create_dir(new.parent().unwrap()).unwrap();
        // Written by another process: a program that is open for writing here, if only in a child that is being started,
        // cannot be run.
        assert!(Command::new("cp").arg(&self.program).arg(&new).status().unwrap().success());
        if self.program.starts_with(self.folder.path()) {
            fs_err::remove_file(&self.program).unwrap();
        }
        self.program = new;
    }

    pub(crate) fn drain(&self, more: &[&str]) -> std::process::Output {
        Command::new(&self.program)
            .args(["drain", "--data"])
            .arg(self.path("data"))
            .args(more)
            .output()
            .unwrap()
    }

    /// Whose process the keeper of an attempt is.
    pub(crate) fn keeper(&self, attempt: &Path) -> Option<rustix::process::Pid> {
        let mark: serde_json::Value =
            serde_json::from_slice(&fs_err::read(attempt.join("keeper.json")).ok()?).ok()?;
        rustix::process::Pid::from_raw(i32::try_from(mark["pid"].as_i64()?).ok()?)
    }

    pub(crate) fn key(&self) -> PublicKey {
        self.key
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn attempt(&self, id: u64) -> PathBuf {
        self.path("data/attempts").join(id.to_string())
    }

    /// An order to run `script`, from a repository that holds just that.
    pub(crate) fn order(&self, attempt_id: u64, script: &str) -> Order {
        let repository = self.path(&format!("recipes-{attempt_id}"));
        let recipe = repository.join("n/nano");
        fs_err::create_dir_all(&recipe).unwrap();
        fs_err::write(recipe.join("stone.yaml"), "name: nano\n").unwrap();
        let script = format!("DATA={}\n{script}", self.folder.path().display());
        fs_err::write(recipe.join("fake.sh"), script).unwrap();
        git(&repository, &["init", "--quiet", "-b", "main", "."]);
        git(&repository, &["add", "-A"]);
        git(&repository, &["commit", "--quiet", "-m", "recipe"]);
        Order {
            task_id: 1,
            attempt_id,
            lease_token: attempt_id + 1000,
            git_url: format!("file://{}", repository.display()),
            commit: git(&repository, &["rev-parse", "HEAD"]),
            recipe_path: "n/nano/stone.yaml".to_owned(),
            architecture: "x86_64".to_owned(),
            build_release: 1,
            source_name: "nano".to_owned(),
            ..Order::default()
        }
    }

    pub(crate) fn start(&self, summit: &str, summit_key: PublicKey) -> Agent {
        self.start_with(summit, summit_key, &["--free-bytes-min", "0"])
    }

    pub(crate) fn start_with(&self, summit: &str, summit_key: PublicKey, more: &[&str]) -> Agent {
        let key = format!("--summit-key={summit_key}");
        self.run([&["--summit", summit, &key], more].concat().as_slice())
    }

    pub(crate) fn run(&self, more: &[&str]) -> Agent {
        let log = fs_err::OpenOptions::new().create(true).append(true).open(self.path("agent.log")).unwrap();
        let child = Command::new(&self.program)
            .args(["run", "--name", "tester", "--data"])
            .arg(self.path("data"))
            .arg("--boulder")
            .arg(self.path("boulder"))
            .args(more)
            .stdin(Stdio::null())
            .stderr(log.into_file())
            .spawn()
            .unwrap();
        Agent { child, log: self.path("agent.log") }
    }
}

pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// As `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As `kill`; gives whether it ended in order.
    pub(crate) fn terminate(mut self) -> bool {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().success()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("the agent said:\n{}", fs_err::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgSign=false"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
