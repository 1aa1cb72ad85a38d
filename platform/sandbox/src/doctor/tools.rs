//! Programs that builds call, and room on the disk.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Check, State};

/// Room for a small root, its sources and one build. Larger packages need more, which only their recipes know.
const FREE_BYTES_MIN: u64 = 5 << 30;

/// Below this, build agents take no order unless told otherwise.
const FREE_BYTES_NEEDED: u64 = 2 << 30;

/// A tool: any of the programs will do.
struct Tool {
    name: &'static str,
    programs: &'static [&'static str],
    state: State,
    /// Packages on Debian, Fedora and Arch.
    packages: [&'static str; 3],
    /// What is lost without it, where things go on.
    loss: &'static str,
}

const fn needed(name: &'static str, programs: &'static [&'static str], packages: [&'static str; 3]) -> Tool {
    Tool { name, programs, state: State::Missing, packages, loss: "" }
}

const TOOLS: [Tool; 12] = [
    needed("C compiler", &["cc", "gcc", "clang"], ["gcc", "gcc", "gcc"]),
    needed("make", &["make"], ["make", "make", "make"]),
    needed("git", &["git"], ["git", "git-core", "git"]),
    needed("tar", &["tar"], ["tar", "tar", "tar"]),
    needed("xz", &["xz"], ["xz-utils", "xz", "xz"]),
    needed("bzip2", &["bzip2"], ["bzip2", "bzip2", "bzip2"]),
    needed("gzip", &["gzip"], ["gzip", "gzip", "gzip"]),
    needed("patch", &["patch"], ["patch", "patch", "patch"]),
    needed("objcopy", &["objcopy", "llvm-objcopy"], ["binutils", "binutils", "binutils"]),
    needed("strip", &["strip", "llvm-strip"], ["binutils", "binutils", "binutils"]),
    needed("shell", &["bash", "sh"], ["bash", "bash", "bash"]),
    Tool {
        name: "apt-get",
        programs: &["apt-get"],
        state: State::Degraded,
        packages: ["apt", "apt", "apt"],
        loss: "the Debian mirror of sources is not available; ",
    },
];

pub(super) fn checks() -> Vec<Check> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    TOOLS.iter().map(|tool| check(tool, &path)).collect()
}

fn check(tool: &Tool, path: &OsStr) -> Check {
    match tool.programs.iter().find_map(|program| find(program, path)) {
        Some(found) => Check::ok(tool.name, found.display().to_string()),
        None => {
            let [debian, fedora, arch] = tool.packages;
            let remedy = format!(
                "{}`apt install {debian}` (Debian), `dnf install {fedora}` (Fedora), `pacman -S {arch}` (Arch)",
                tool.loss
            );
            Check::lacking(
                tool.name,
                tool.state,
                format!("no {} on PATH", tool.programs.join(" or ")),
                remedy,
            )
        }
    }
}

fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|directory| directory.join(program)).find(|candidate| {
        fs_err::metadata(candidate)
            .is_ok_and(|status| status.is_file() && status.permissions().mode() & 0o111 != 0)
    })
}

pub(super) fn free_space(directory: &Path) -> Check {
    let name = "free disk space";
    match rustix::fs::statvfs(directory) {
        Ok(status) => judge_space(directory, status.f_bavail.saturating_mul(status.f_frsize)),
        Err(cause) => Check::lacking(
            name,
            State::Degraded,
            format!("{}: {}", directory.display(), std::io::Error::from(cause)),
            format!("`mkdir -p {}`", directory.display()),
        ),
    }
}

fn judge_space(directory: &Path, free_bytes: u64) -> Check {
    let name = "free disk space";
    let mebibytes = |bytes: u64| bytes >> 20;
    let found = format!("{} MiB in {}", mebibytes(free_bytes), directory.display());
    if free_bytes >= FREE_BYTES_MIN {
        Check::ok(name, found)
    } else {
        let remedy = format!("have {} MiB there, or choose another directory", mebibytes(FREE_BYTES_MIN));
        let state = if free_bytes < FREE_BYTES_NEEDED { State::Missing } else { State::Degraded };
        Check::lacking(name, state, found, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_a_file_that_may_be_executed() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().as_os_str();
        let tool = needed("C compiler", &["cc", "gcc"], ["gcc", "gcc", "gcc"]);
        let missing = check(&tool, path);
        assert_eq!(missing.state, State::Missing);
        assert!(
            missing.found.contains("cc or gcc") && missing.remedy.contains("apt install gcc"),
            "{missing:?}"
        );

        let program = base.path().join("gcc");
        fs_err::write(&program, "").unwrap();
        assert_eq!(check(&tool, path).state, State::Missing, "not executable");
        fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(check(&tool, path), Check::ok("C compiler", program.display().to_string()));
    }

    #[test]
    fn without_apt_only_the_mirror_is_lost() {
        let list: Vec<Check> = TOOLS.iter().map(|tool| check(tool, OsStr::new(""))).collect();
        let degraded: Vec<&str> = list
            .iter()
            .filter(|check| check.state == State::Degraded)
            .map(|check| check.name.as_str())
            .collect();
        assert_eq!(degraded, ["apt-get"]);
        assert!(list.iter().all(|check| check.remedy.contains("pacman -S")));
    }

    #[test]
    fn room_is_judged() {
        let state = |bytes| judge_space(Path::new("/x"), bytes).state;
        assert_eq!((state(FREE_BYTES_MIN), state(FREE_BYTES_MIN - 1)), (State::Ok, State::Degraded));
        assert_eq!(
            (state(FREE_BYTES_NEEDED), state(FREE_BYTES_NEEDED - 1)),
            (State::Degraded, State::Missing)
        );
        assert!(free_space(Path::new("/no/such/place")).remedy.contains("mkdir"));
    }
}
