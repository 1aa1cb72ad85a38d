//! How Boulder is called.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::order::Order;
use crate::store::AttemptFolder;

/// What build roots are made of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RootKind {
    /// The host's own /usr, with our packages over it.
    #[default]
    Host,
    /// Packages only.
    Stones,
}

impl RootKind {
    fn name(self) -> &'static str {
        match self {
            RootKind::Host => "host",
            RootKind::Stones => "stones",
        }
    }
}

/// The program, and what every build of this agent has in common.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub(crate) struct Boulder {
    /// The program and the words before its own arguments.
    pub(crate) program: Vec<OsString>,
    pub(crate) root: RootKind,
    pub(crate) jobs: usize,
    pub(crate) cache: PathBuf,
    /// Other places for sources, as Boulder takes them.
    pub(crate) mirrors: Vec<String>,
    /// Further arguments of the operator.
    pub(crate) more_arguments: Vec<String>,
    /// Builds that share the disk; missing in a plan that an older agent kept.
    #[serde(default)]
    pub(crate) slots: u64,
    /// Room on the disk that no build may take; missing likewise.
    #[serde(default)]
    pub(crate) disk_reserve_bytes: u64,
    /// Whether the program is the one that came with this agent.
    #[serde(default)]
    pub(crate) is_own: bool,
}

/// Whether the program at `current` is all of Moraine's: by its name, or because it was told which of them to be.
pub(crate) fn is_all_programs(current: &Path) -> bool {
    let told = std::env::args_os().nth(1).is_some_and(|word| word == "avalanche");
    told || current.file_name() == Some(OsStr::new("moraine"))
}

/// Boulder where nobody says otherwise: the same program if it is `moraine`, which is all of them, else `boulder`
/// beside this one, else the one that is installed.
pub(crate) fn default_program(current: &Path) -> Vec<OsString> {
    if is_all_programs(current) {
        return vec![current.into(), "boulder".into()];
    }
    let beside = current.with_file_name("boulder");
    if beside.is_file() { vec![beside.into()] } else { vec!["boulder".into()] }
}

impl Boulder {
    /// The command that builds `order`, whose recipes lie in `folder`.
    pub(crate) fn command(&self, order: &Order, folder: &AttemptFolder) -> Command {
        let mut words = self.program.iter();
        let mut command = Command::new(words.next().map_or(OsStr::new("boulder"), OsString::as_os_str));
        command
            .args(words)
            .arg("build")
            .arg(folder.source().join(order.recipe_folder()))
            .arg("--output")
            .arg(folder.output())
            .arg("--report")
            .arg(folder.report())
            .args(["--root", self.root.name()]);
        for repository in &order.repositories {
            let mut parts: Vec<String> =
                repository.parts().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            parts.push(format!("priority={}", repository.priority));
            command.arg("--repository").arg(parts.join(","));
        }
        command
            .arg("--build-release")
            .arg(order.build_release.to_string())
            .arg("--jobs")
            .arg(self.jobs.to_string())
            .arg("--cache-dir")
            .arg(&self.cache)
            .args(["--architecture", &order.architecture])
            .args(self.mirrors.iter().flat_map(|mirror| ["--mirror", mirror]));
        if order.limits.memory_bytes > 0 {
            // Boulder counts in MiB; a limit below one is one.
            command.arg("--memory-limit").arg((order.limits.memory_bytes >> 20).max(1).to_string());
        }
        let disk_bytes = match order.limits.disk_bytes {
            0 => self.share_of_disk(),
            limit => Some(limit),
        };
        if let Some(disk_bytes) = disk_bytes {
            command.arg("--disk-limit").arg((disk_bytes >> 20).max(1).to_string());
        }
        if self.disk_reserve_bytes >> 20 > 0 {
            command.arg("--disk-reserve").arg((self.disk_reserve_bytes >> 20).to_string());
        }
        command
            .args(&self.more_arguments)
            .current_dir(folder.source())
            .env("SOURCE_DATE_EPOCH", order.commit_time_seconds.to_string())
            .env(sandbox::DIE_WITH_PARENT, "1");
        command
    }
}

impl Boulder {
    /// What one build may take where nobody says more: all of them together leave something of what is free when they begin.
    fn share_of_disk(&self) -> Option<u64> {
        // The folder is made by the first build.
        let place = self.cache.ancestors().find(|folder| folder.is_dir())?;
        let space = rustix::fs::statvfs(place).ok()?;
        let free = space.f_bavail.saturating_mul(space.f_frsize).saturating_sub(self.disk_reserve_bytes);
        Some(free / self.slots.max(1))
    }

    /// Has what killed builds left removed from the cache. Another Boulder than our own is not asked.
    pub(crate) fn clean(&self) {
        if !self.is_own {
            return;
        }
        let Some((program, words)) = self.program.split_first() else { return };
        let mut command = Command::new(program);
        let output = command.args(words).args(["clean", "--json", "--cache-dir"]).arg(&self.cache).output();
        match output {
            Ok(output) if output.status.success() => {
                let said = String::from_utf8_lossy(&output.stdout);
                tracing::info!(cleaned = said.trim(), "what killed builds left is removed");
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                tracing::warn!(said = said.trim(), "cannot remove what killed builds left");
            }
            Err(error) => tracing::warn!(%error, "cannot remove what killed builds left"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::samples::order;
    use crate::store::Store;

    #[test]
    fn the_command_says_all_of_the_order() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let mut order = order(5);
        order.limits.memory_bytes = 3 << 20;
        order.limits.disk_bytes = 4 << 20;
        let boulder = Boulder {
            program: vec!["/x/moraine".into(), "boulder".into()],
            root: RootKind::Host,
            jobs: 2,
            cache: PathBuf::from("/cache"),
            mirrors: vec!["debian".to_owned()],
            more_arguments: vec!["--keep".to_owned()],
            slots: 2,
            disk_reserve_bytes: 5 << 20,
            is_own: false,
        };
        let command = boulder.command(&order, &store.shelf(None).attempt(order.attempt_id));
        let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let attempt = data.path().join("attempts/5").display().to_string();
        assert_eq!(
            words.join(" "),
            format!(
                "boulder build {attempt}/source/n/nano --output {attempt}/output --report {attempt}/report.json \
                 --root host --repository id=volatile,base-uri=http://127.0.0.1:1,channel=main,\
                 version=stream/volatile,priority=10 --build-release 1 --jobs 2 --cache-dir /cache \
                 --architecture x86_64 --mirror debian --memory-limit 3 --disk-limit 4 --disk-reserve 5 --keep"
            )
        );
        let share = |slots| {
            Boulder { slots, cache: data.path().join("made/later"), ..boulder.clone() }.share_of_disk()
        };
        let (one, four) = (share(1).unwrap(), share(4).unwrap());
        assert!(four > 0 && four < one / 3, "{four} of {one}");
    }

    #[test]
    fn boulder_is_found_where_this_program_is() {
        let folder = tempfile::tempdir().unwrap();
        let moraine = folder.path().join("moraine");
        assert_eq!(default_program(&moraine), [moraine.as_os_str(), OsStr::new("boulder")]);
        let avalanche = folder.path().join("avalanche");
        assert_eq!(default_program(&avalanche), ["boulder"]);
        let beside = folder.path().join("boulder");
        fs_err::write(&beside, "").unwrap();
        assert_eq!(default_program(&avalanche), [beside]);
    }
}
