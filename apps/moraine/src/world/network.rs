//! A network of namespaces: each program of a world has an address of its own behind a bridge, and whoever may can be
//! parted from all others or from one of them. Nobody is told: packets just do not arrive.
//!
//! The whole world runs in a network and a mount namespace of its own, so that nothing of it is seen or left outside.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::error::WorldError;

/// Said to this program when it runs inside of its namespaces already.
pub(super) const INSIDE: &str = "--inside-namespaces";
/// The bridge.
const BRIDGE: &str = "world";
/// Addresses begin with these; the last part is a number of the program.
const NETWORK: [u8; 3] = [10, 77, 0];

/// Starts this program again, in namespaces of its own. Comes back only with the reason why not.
pub(super) fn enter() -> WorldError {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--"]);
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let error = command.arg(program).args(arguments).arg(INSIDE).exec();
    WorldError::Network { step: "unshare".to_owned(), message: error.to_string() }
}

/// A program's place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) address: IpAddr,
}

/// Something that can be broken for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// One program and all others.
    Around(Host),
    /// Two programs.
    Between(Host, Host),
}

impl Link {
    pub(super) fn name(&self) -> String {
        match self {
            Link::Around(host) => format!("everything of {}", host.name),
            Link::Between(one, other) => format!("between {} and {}", one.name, other.name),
        }
    }

    /// Parts them for a while. Somebody else's thread waits.
    pub(super) fn part(&self, time: Duration) {
        let link = self.clone();
        // What is parted already stays so until the first of both times is over.
        let waiting = std::thread::Builder::new().name("part".to_owned()).spawn(move || {
            link.switch(false);
            std::thread::sleep(time);
            link.switch(true);
        });
        drop(waiting);
    }

    fn switch(&self, on: bool) {
        let done = match self {
            Link::Around(host) => ip(&["link", "set", &outer(&host.name), if on { "up" } else { "down" }]),
            Link::Between(one, other) => {
                let verb = if on { "del" } else { "add" };
                ip(&["-n", &one.name, "route", verb, "blackhole", &format!("{}/32", other.address)])
            }
        };
        // Parted twice or joined twice: it is as it should be.
        drop(done);
    }
}

/// Lays the network out for these programs.
pub(super) fn lay_out(names: &[String]) -> Result<Vec<Host>, WorldError> {
    // The names of namespaces are files there.
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    ip(&["addr", "add", &format!("{}/24", address(1)), "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])?;
    let mut hosts = Vec::new();
    for (name, number) in names.iter().zip(10_u8..) {
        let (outer, address) = (outer(name), address(number));
        ip(&["netns", "add", name])?;
        ip(&["link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        ip(&["link", "set", &outer, "master", BRIDGE])?;
        ip(&["link", "set", &outer, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        hosts.push(Host { name: name.clone(), address });
    }
    Ok(hosts)
}

/// The words before a command that runs in the place of a program.
pub(super) fn prefix(name: &str) -> [OsString; 3] {
    ["netns".into(), "exec".into(), name.into()]
}

fn address(number: u8) -> IpAddr {
    let [one, two, three] = NETWORK;
    IpAddr::V4(Ipv4Addr::new(one, two, three, number))
}

/// The end of a program's line that is on the bridge.
fn outer(name: &str) -> String {
    format!("w-{name}")
}

fn ip(arguments: &[&str]) -> Result<(), WorldError> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), WorldError> {
    let failed =
        |message: String| WorldError::Network { step: format!("{program} {}", arguments.join(" ")), message };
    let output = Command::new(program).args(arguments).output().map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
