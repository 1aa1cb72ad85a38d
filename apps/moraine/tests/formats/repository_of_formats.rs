//! A data folder of Vessel with packages of Moss in it, and roots that use what it publishes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fs_err as fs;
use package::PackageMeta;
use serde_json::{Value, json};

use crate::MARK;

/// A place for one test.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn published(&self) -> PathBuf {
        self.data().join("public")
    }

    pub(crate) fn base_uri(&self) -> String {
        format!("file://{}", self.published().display())
    }

    /// Lets Vessel publish packages as one history.
    pub(crate) fn import(&self, packages: &[(PackageMeta, Vec<u8>)]) {
        let stones = self.folder.path().join("stones");
        fs::create_dir_all(&stones).unwrap();
        for (meta, program) in packages {
            fs::write(stones.join(meta.file_name()), stone(meta, program)).unwrap();
        }
        self.vessel(&["import", stones.to_str().unwrap(), "--json"]).unwrap();
        fs::remove_dir_all(&stones).unwrap();
    }

    /// What Vessel says, or why it does not do it.
    pub(crate) fn vessel(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moraine"));
        let output = command.arg("vessel").args(arguments).arg("--data").arg(self.data()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Goes to the next format. The Moss of this version need not know it: those of the tests do.
    pub(crate) fn upgrade_format(&self) {
        self.vessel(&["channel", "upgrade-format", "main", "--unchecked"]).unwrap();
    }

    pub(crate) fn root_index(&self) -> Value {
        serde_json::from_slice(&fs::read(self.published().join("main/moss-root-index.json")).unwrap())
            .unwrap()
    }

    /// A root in which Moss of this generation installs itself and a tool from the stream.
    pub(crate) fn machine(&self, name: &str, generation: u32) -> Machine {
        let root = self.folder.path().join(name);
        fs::create_dir(&root).unwrap();
        let installer = self.folder.path().join(format!("moss-{generation}"));
        if !installer.exists() {
            fs::write(&installer, moss_program(generation)).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&installer, mode).unwrap();
        }
        let machine = Machine { root };
        let run = |arguments: &[&str]| {
            let output =
                Command::new(&installer).arg("-D").arg(&machine.root).args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(&["repo", "add", "main", &self.base_uri(), "--root-index", "version=stream/volatile"]);
        run(&["install", "-y", "moss", "tool"]);
        machine
    }
}

/// A root with a Moss of its own.
pub(crate) struct Machine {
    pub(crate) root: PathBuf,
}

impl Machine {
    /// Runs the Moss of the root.
    pub(crate) fn moss(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.root.join("usr/bin/moss"));
        command.arg("-D").arg(&self.root).args(arguments).output().unwrap()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.moss(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.moss(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// What is installed, as `name@release`.
    pub(crate) fn installed(&self) -> Vec<String> {
        let list = self.json(&["list", "installed"]);
        let text = |it: &Value| format!("{}@{}", it["name"].as_str().unwrap(), it["release"]);
        list["packages"].as_array().unwrap().iter().map(text).collect()
    }

    /// Why each state came about, the oldest first.
    pub(crate) fn states(&self) -> Vec<String> {
        let list = self.json(&["state", "list"]);
        let summary = |it: &Value| it["summary"].as_str().unwrap().to_owned();
        list["states"].as_array().unwrap().iter().map(summary).collect()
    }
}

/// The program file of a Moss that reads the formats up to `vN`.
fn moss_program(generation: u32) -> Vec<u8> {
    let mut bytes = fs::read("/proc/self/exe").unwrap();
    bytes.extend_from_slice(MARK);
    bytes.extend_from_slice(generation.to_string().as_bytes());
    bytes
}

/// A package of Moss.
pub(crate) fn moss(release: u64, generation: u32) -> (PackageMeta, Vec<u8>) {
    (meta("moss", release), moss_program(generation))
}

/// A package of Moss with something else in place of the program.
pub(crate) fn broken_moss(release: u64) -> (PackageMeta, Vec<u8>) {
    (meta("moss", release), b"#!/bin/sh\necho this moss is broken >&2; exit 3\n".to_vec())
}

/// A package that shows how far a sync came.
pub(crate) fn tool(release: u64) -> (PackageMeta, Vec<u8>) {
    (meta("tool", release), format!("tool {release}").into_bytes())
}

fn meta(name: &str, release: u64) -> PackageMeta {
    PackageMeta { version: format!("1.{release}"), ..testkit::packages::meta(name, name, release) }
}

fn stone(meta: &PackageMeta, program: &[u8]) -> Vec<u8> {
    testkit::packages::stone_with(meta, &[(&format!("bin/{}", meta.name), 0o100_755, program)])
}

/// Changes the root index by hand, as a broken repository would have it.
pub(crate) fn edit_root_index(published: &Path, edit: impl FnOnce(&mut Value)) {
    let path = published.join("main/moss-root-index.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(&path, json!(value).to_string()).unwrap();
}
