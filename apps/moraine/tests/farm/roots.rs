//! Builds without a farm: in a root made of packages alone, and by a user who is nobody.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::Tarball;

use crate::bench::{moraine, recipe, said, succeed};

/// What a shell needs to unpack sources and to install files.
const PROGRAMS: [&str; 12] =
    ["bash", "cat", "chmod", "cp", "gzip", "install", "ln", "ls", "mkdir", "mv", "rm", "tar"];

/// User and group "nobody" of every distribution.
const NOBODY: u32 = 65534;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Option<Place> {
        testkit::has_programs(&["tar", "sha256sum", "getconf"])
            .then(|| Place { folder: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A recipe with an upstream archive; `fields` are its phases.
    fn recipe(&self, fields: &str) -> PathBuf {
        let tarball = Tarball::pack(self.folder.path(), "words-1.0", &[("words", "plain words\n")]);
        let folder = self.path("recipe");
        fs_err::create_dir_all(&folder).unwrap();
        let fields = format!("upstreams:\n    - {}: {}\n{fields}", tarball.url(), tarball.sha256);
        fs_err::write(folder.join("stone.yaml"), recipe("words", 1, &fields)).unwrap();
        folder
    }

    /// This machine's C library and some of its programs as a repository.
    fn repository(&self) -> String {
        let mut bootstrap = moraine();
        bootstrap.args(["bootstrap", "host", "--output"]).arg(self.path("bootstrap"));
        for program in PROGRAMS {
            bootstrap.args(["--program", program]);
        }
        succeed(&mut bootstrap);
        let mut import = moraine();
        import.args(["vessel", "import", "--json"]).arg(self.path("bootstrap"));
        let report = succeed(import.arg("--data").arg(self.path("vessel")));
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["packages"], 2, "{report}");
        let published = report["published"].as_str().unwrap();
        let arch = std::env::consts::ARCH;
        format!("id=first,base-uri=file://{published},channel=main,version=stream/volatile,arch={arch}")
    }

    fn build(&self, recipe: &Path, repository: &str) -> Command {
        let mut command = moraine();
        command.args(["boulder", "build", "--root", "stones", "--mirror", "none"]);
        command.args(["--repository", repository, "--cache-dir"]).arg(self.path("cache"));
        command.arg("--output").arg(self.path("output")).arg(recipe);
        command
    }

    fn package(&self) -> PathBuf {
        self.path("output").join(format!("words-1.0-1-1-{}.stone", std::env::consts::ARCH))
    }
}

/// Ends the build where anything of the machine shows.
const LOOK_AROUND: &str = "\
build: |
    for place in /usr/lib/*-linux-gnu /usr/include /usr/share /usr/sbin /etc/apt /etc/os-release /home /root /srv; do
        if [ -e \"$place\" ]; then
            echo \"$place can be seen\"
            exit 9
        fi
    done
    if [ -e /usr/bin/cc ] || [ ! -x /usr/bin/tar ]; then
        ls /usr/bin
        exit 9
    fi
install: |
    install -d %(installroot)/usr/share/words
    cp words %(installroot)/usr/share/words/words
";

#[test]
fn a_root_of_packages_alone_shows_nothing_of_the_machine() {
    let Some(place) = Place::new() else { return };
    let recipe = place.recipe(LOOK_AROUND);
    let repository = place.repository();

    let refused = place.build(&recipe, &repository).output().unwrap();
    assert!(!refused.status.success(), "there is no usual set of packages: {}", said(&refused));
    assert!(said(&refused).contains("nobody provides"), "what is missing is named: {}", said(&refused));
    assert!(!place.package().exists());

    let mut build = place.build(&recipe, &repository);
    for package in ["bootstrap-host-glibc", "bootstrap-host-programs"] {
        build.args(["--base-package", package]);
    }
    let log = succeed(&mut build);
    assert!(log.contains("root: bootstrap-host-programs"), "{log}");
    assert!(place.package().is_file(), "{log}");
}

#[test]
fn nobody_can_build() {
    let Some(place) = Place::new() else { return };
    let fields = "install: |\n    install -D -m 0644 words %(installroot)/usr/share/words/words\n";
    let recipe = place.recipe(fields);
    // The program and the sources must be where that user can read them.
    let program = place.path("moraine");
    fs_err::copy(env!("CARGO_BIN_EXE_moraine"), &program).unwrap();
    fs_err::set_permissions(place.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["home", "output"] {
        fs_err::create_dir(place.path(name)).unwrap();
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        if !testkit::has_programs(&["setpriv"]) {
            return;
        }
        for name in ["home", "output"] {
            std::os::unix::fs::chown(place.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    let as_nobody = || {
        let mut command = if is_root { Command::new("setpriv") } else { Command::new(&program) };
        if is_root {
            command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}"));
            command.args(["--clear-groups", "--"]).arg(&program);
        }
        command.env("HOME", place.path("home")).env_remove("XDG_CACHE_HOME").current_dir(place.path("home"));
        command
    };
    let doctor = as_nobody().args(["doctor", "--json"]).output().unwrap();
    let findings: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    if findings["ready"] != Value::Bool(true) {
        return testkit::skip(&format!("way for ordinary users to build: {findings}"));
    }

    let mut build = as_nobody();
    build.args(["boulder", "build", "--mirror", "none", "--output"]).arg(place.path("output")).arg(&recipe);
    succeed(&mut build);
    let inspected = succeed(moraine().args(["moss", "inspect", "--json"]).arg(place.package()));
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let file = &inspected["files"][0];
    assert_eq!(file["path"], "/usr/share/words/words", "{inspected:#}");
    assert_eq!((&file["uid"], &file["gid"]), (&0.into(), &0.into()), "in the package it is root's");
}
