//! The order of the set-up, chosen by a pure function.
//!
//! There are two orders. Root mounts first and gives root up last: everything that is mounted belongs to the machine's
//! root and cannot be undone from inside. A user enters a user namespace first, because only there it may mount.

use std::fmt;

use crate::spec::{Network, Spec};

/// Who starts the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Root with the right to mount.
    Root,
    /// Anyone else.
    User,
}

/// What the sandbox is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run the command of the description.
    Run,
    /// To see whether it comes up.
    Try,
    /// To remove trees that hold files of ids that only exist inside.
    Remove,
}

/// A namespace that process 1 enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// Ids and capabilities.
    User,
    /// Processes.
    Pid,
    /// Mounts.
    Mount,
    /// Shared memory and message queues.
    Ipc,
    /// Host name.
    Hostname,
    /// Interfaces and sockets.
    Network,
    /// The view of control groups.
    ControlGroup,
}

/// One step of process 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Let the supervisor write the maps of the user namespace, which the clone already made.
    ReceiveIds,
    /// Enter a user namespace and let the supervisor write its maps.
    EnterUserNamespace,
    /// Become root of the user namespace.
    BecomeRoot,
    /// Leave the caller's namespaces.
    Separate,
    /// Bring up the loopback interface.
    RaiseLoopback,
    /// Set the host name.
    SetHostname,
    /// Make the directories of `owned` belong to root inside.
    TakeOwnership,
    /// Let no mount travel to or from the host.
    DetachPropagation,
    /// Take hold of every source before the new root covers anything.
    OpenSources,
    /// Attach the new root.
    AttachRoot,
    /// Put the nth mount of the description in place.
    Mount(usize),
    /// Make the new root `/`, and let go of the old one.
    Pivot,
    /// Make the file system of `/` read-only.
    SealRoot,
    /// Core dumps off, a keyring of its own.
    LimitProcess,
    /// Let nothing inside make user namespaces of its own.
    ForbidNamespaces,
    /// Keep only the capabilities that a build script needs.
    DropCapabilities,
    /// Gain nothing by starting a program.
    ForbidNewPrivileges,
    /// Remove the trees.
    RemoveTrees,
}

/// The namespaces that process 1 is cloned into; the others it enters by [`Step::Separate`].
#[must_use]
pub fn clone_namespaces(caller: Caller) -> Vec<Namespace> {
    match caller {
        Caller::Root => vec![Namespace::Pid],
        Caller::User => vec![Namespace::User, Namespace::Pid],
    }
}

/// The namespaces of [`Step::Separate`].
#[must_use]
pub fn separate_namespaces(network: Network) -> Vec<Namespace> {
    let mut list = vec![Namespace::Mount, Namespace::Ipc, Namespace::Hostname, Namespace::ControlGroup];
    if network == Network::None {
        list.push(Namespace::Network);
    }
    list
}

/// Everything that process 1 does before the command starts, in order.
#[must_use]
pub fn steps(caller: Caller, purpose: Purpose, spec: &Spec) -> Vec<Step> {
    let mut list = Vec::new();
    if caller == Caller::User {
        list.extend([Step::ReceiveIds, Step::BecomeRoot]);
    }
    if purpose == Purpose::Remove {
        list.push(Step::RemoveTrees);
        return list;
    }
    list.push(Step::Separate);
    if spec.network == Network::None {
        list.push(Step::RaiseLoopback);
    }
    list.push(Step::SetHostname);
    if !spec.owned.is_empty() {
        list.push(Step::TakeOwnership);
    }
    list.extend([Step::DetachPropagation, Step::OpenSources, Step::AttachRoot]);
    list.extend((0..spec.mounts.len()).map(Step::Mount));
    list.push(Step::Pivot);
    if !spec.root_writable {
        list.push(Step::SealRoot);
    }
    if caller == Caller::Root {
        list.extend([Step::EnterUserNamespace, Step::BecomeRoot]);
    }
    list.extend([
        Step::LimitProcess,
        Step::ForbidNamespaces,
        Step::DropCapabilities,
        Step::ForbidNewPrivileges,
    ]);
    list
}

impl fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Namespace::User => "user",
            Namespace::Pid => "pid",
            Namespace::Mount => "mount",
            Namespace::Ipc => "ipc",
            Namespace::Hostname => "uts",
            Namespace::Network => "network",
            Namespace::ControlGroup => "cgroup",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Mount, Root};
    use Step::*;

    fn spec() -> Spec {
        let mut spec = Spec::new(Root::Tmpfs { size_bytes: None }, "/bin/true", [""; 0]);
        spec.mounts = vec![Mount::Proc { target: "/proc".into() }, Mount::Devices { target: "/dev".into() }];
        spec
    }

    #[test]
    fn the_two_orders() {
        let check = |caller: Caller, purpose: Purpose, change: fn(&mut Spec), expect: &[Step]| {
            let mut spec = spec();
            change(&mut spec);
            assert_eq!(steps(caller, purpose, &spec), expect, "{caller:?} {purpose:?}");
        };
        let tree =
            [DetachPropagation, OpenSources, AttachRoot, super::Step::Mount(0), super::Step::Mount(1), Pivot];
        let last = [LimitProcess, ForbidNamespaces, DropCapabilities, ForbidNewPrivileges];
        check(
            Caller::Root,
            Purpose::Run,
            |_| (),
            &[
                &[Separate, RaiseLoopback, SetHostname],
                &tree[..],
                &[SealRoot, EnterUserNamespace, BecomeRoot],
                &last,
            ]
            .concat(),
        );
        check(
            Caller::User,
            Purpose::Try,
            |_| (),
            &[&[ReceiveIds, BecomeRoot, Separate, RaiseLoopback, SetHostname], &tree[..], &[SealRoot], &last]
                .concat(),
        );
        check(
            Caller::User,
            Purpose::Run,
            |spec| {
                spec.network = Network::Host;
                spec.root_writable = true;
                spec.owned.push("/build".into());
            },
            &[&[ReceiveIds, BecomeRoot, Separate, SetHostname, TakeOwnership], &tree[..], &last].concat(),
        );
        check(Caller::User, Purpose::Remove, |_| (), &[ReceiveIds, BecomeRoot, RemoveTrees]);
        check(Caller::Root, Purpose::Remove, |_| (), &[RemoveTrees]);
    }

    /// Whatever is asked for, a command never starts with the machine's root, capabilities or new privileges.
    #[test]
    fn every_run_ends_unprivileged() {
        for caller in [Caller::Root, Caller::User] {
            for (network, writable) in [(Network::None, false), (Network::Host, true)] {
                let mut spec = spec();
                (spec.network, spec.root_writable) = (network, writable);
                let list = steps(caller, Purpose::Run, &spec);
                let place = |wanted: Step| list.iter().position(|step| *step == wanted);
                assert!(place(BecomeRoot) < place(DropCapabilities));
                assert!(place(DropCapabilities) < place(ForbidNewPrivileges));
                assert!(place(BecomeRoot) < place(ForbidNamespaces), "the limit is the new namespace's own");
                assert!(place(BecomeRoot).is_some());
                if caller == Caller::Root {
                    assert!(place(Pivot) < place(EnterUserNamespace), "mounts belong to the machine's root");
                }
            }
        }
    }

    #[test]
    fn the_network_is_separate_unless_asked_for() {
        assert!(separate_namespaces(Network::None).contains(&Namespace::Network));
        assert!(!separate_namespaces(Network::Host).contains(&Namespace::Network));
        assert!(clone_namespaces(Caller::User).contains(&Namespace::User));
        assert_eq!(clone_namespaces(Caller::Root), [Namespace::Pid]);
    }
}
