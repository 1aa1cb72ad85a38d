//! What the kernel allows, tried for real.

use std::path::{Path, PathBuf};

use super::{Check, State};
use crate::cgroup;
use crate::channel::Task;
use crate::child;
use crate::error::SandboxError;
use crate::spec::{Mount, Network, Root, Spec, Upper};
use crate::supervisor;

/// Settings that close user namespaces to users, the value that does, and how to open them again.
const SETTINGS: [(&str, &str, &str); 3] = [
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
];

pub(super) fn checks(program: &Path) -> Vec<Check> {
    let mut list = vec![user_namespaces(program)];
    if list.iter().all(|check| check.state == State::Ok) {
        list.push(tried(
            program,
            "network namespaces",
            &bare(Network::None),
            "allow network namespaces here",
        ));
        list.push(tried(
            program,
            "proc",
            &with(vec![Mount::Proc { target: "/proc".into() }]),
            "a container hides parts of /proc: start it with --security-opt systempaths=unconfined",
        ));
        list.push(tried(
            program,
            "devices",
            &with(vec![Mount::Devices { target: "/dev".into() }]),
            "the host's /dev has to hold null, zero, full, random and urandom",
        ));
        list.push(overlay(program));
    }
    list.push(more_ids());
    list.extend(limits());
    list
}

fn bare(network: Network) -> Spec {
    let mut spec = Spec::new(Root::Tmpfs { size_bytes: Some(1 << 20) }, "try", [""; 0]);
    spec.network = network;
    spec
}

fn with(mounts: Vec<Mount>) -> Spec {
    let mut spec = bare(Network::Host);
    spec.mounts = mounts;
    spec
}

fn try_out(program: &Path, spec: &Spec) -> Result<(), SandboxError> {
    child::start(program, spec, Task::Try)?.wait().map(drop)
}

fn tried(program: &Path, name: &str, spec: &Spec, remedy: &str) -> Check {
    match try_out(program, spec) {
        Ok(()) => Check::ok(name, "tried: works"),
        Err(error) => Check::lacking(name, State::Missing, error.to_string(), remedy),
    }
}

fn user_namespaces(program: &Path) -> Check {
    let name = "user, pid and mount namespaces";
    match try_out(program, &bare(Network::Host)) {
        Ok(()) => Check::ok(name, "tried: works"),
        Err(error) => {
            let values = SETTINGS.map(|(file, ..)| fs_err::read_to_string(file).ok());
            Check::lacking(name, State::Missing, error.to_string(), namespace_remedy(&values))
        }
    }
}

/// Which setting closes user namespaces, given the texts of [`SETTINGS`] in their order.
fn namespace_remedy(values: &[Option<String>; 3]) -> String {
    let closing: Vec<String> = SETTINGS
        .iter()
        .zip(values)
        .filter(|((_, closing, _), value)| value.as_deref().map(str::trim) == Some(*closing))
        .map(|((file, value, command), _)| format!("{file} is {value}: `{command}`"))
        .collect();
    if closing.is_empty() {
        "no setting forbids them, so a container or the kernel does: start a container with --privileged, or use a \
         kernel with CONFIG_USER_NS"
            .to_owned()
    } else {
        closing.join("; ")
    }
}

fn overlay(program: &Path) -> Check {
    let name = "overlayfs";
    let base = std::env::temp_dir().join(format!("moraine-doctor-{}", std::process::id()));
    let answer = try_overlay(program, &base);
    // Whatever is left is in the temporary directory and small.
    let _removed = crate::removal::remove_tree_through(program, &base);
    match answer {
        Ok(()) => Check::ok(name, "tried: works"),
        Err(why) => Check::lacking(
            name,
            State::Missing,
            why,
            "`modprobe overlay`; inside a container, give it a volume that is not itself an overlay and set TMPDIR to it",
        ),
    }
}

fn try_overlay(program: &Path, base: &Path) -> Result<(), String> {
    let directory = |name: &str| -> Result<PathBuf, String> {
        let path = base.join(name);
        fs_err::create_dir_all(&path).map(|()| path).map_err(|error| error.to_string())
    };
    let lower = vec![directory("first")?, directory("second")?];
    let upper = Some(Upper { upper: directory("upper")?, work: directory("work")? });
    let spec = with(vec![Mount::Overlay { lower, upper, target: "/usr".into() }]);
    try_out(program, &spec).map_err(|error| error.to_string())
}

fn more_ids() -> Check {
    let name = "ids for builds";
    match supervisor::grants() {
        Ok(grants) if grants.privileged => Check::ok(name, "root: a high range is used"),
        Ok(grants) if grants.sub_users.is_some() && grants.sub_groups.is_some() => {
            Check::ok(name, "newuidmap and /etc/subuid")
        }
        _ => Check::lacking(
            name,
            State::Degraded,
            "only the caller's own id",
            "packages cannot hold files of other accounts; install uidmap (Debian), shadow-utils (Fedora) or shadow \
             (Arch), then `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER`",
        ),
    }
}

fn limits() -> Vec<Check> {
    cgroup::available()
        .into_iter()
        .map(|(what, found)| {
            let name = format!("limit of {what}");
            match found {
                Ok(parent) => Check::ok(&name, parent.display().to_string()),
                Err(why) => Check::lacking(
                    &name,
                    State::Degraded,
                    why,
                    "builds run without this limit; start through `systemd-run --user --scope -p Delegate=yes`, or \
                     set Delegate=yes and DelegateSubgroup=main in the service",
                ),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_forbids_is_named_with_its_remedy() {
        let check = |values: [Option<&str>; 3], expect: &[&str]| {
            let remedy = namespace_remedy(&values.map(|value| value.map(str::to_owned)));
            for word in expect {
                assert!(remedy.contains(word), "{remedy:?} lacks {word:?}");
            }
        };
        check([Some("0\n"), None, Some("100\n")], &["unprivileged_userns_clone is 0", "clone=1`"]);
        check([Some("1\n"), Some("1\n"), None], &["apparmor_restrict_unprivileged_userns=0"]);
        check([None, Some("1\n"), Some("0\n")], &["apparmor", "max_user_namespaces=15000"]);
        check([None, Some("0\n"), Some("9\n")], &["CONFIG_USER_NS"]);
    }
}
