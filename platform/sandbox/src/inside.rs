//! Process 1 of a sandbox: performs the plan, starts the command, reaps, and tells the supervisor.
//!
//! It chooses nothing: the order comes from [`crate::plan`], the ids from the supervisor. It is cloned from the
//! supervisor with a single thread, and is not dumpable while the command runs, so that nothing inside can look into
//! its memory or its open files.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, setsid, umask, wait,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, UnshareFlags, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::channel::{ANSWER_BYTES_MAX, Ending, GoOn, Inside, Reader, Task, send};
use crate::error::SetupFailure;
use crate::ids::IdMap;
use crate::kernel::{self, Side};
use crate::mounting::{self, Mounting, failed};
use crate::plan::{self, Caller, Namespace, Step};
use crate::spec::Spec;
use crate::tree::{self, Owner};

/// What build scripts that play root need. Each counts in the sandbox's own user namespace only, over files and
/// processes of its own ids; outside they are worth nothing.
pub(crate) const KEPT_CAPABILITIES: [(CapabilitySet, &str); 6] = [
    (CapabilitySet::CHOWN, "install -o and tar give files to other accounts"),
    (CapabilitySet::DAC_OVERRIDE, "root writes into directories that it made read-only"),
    (CapabilitySet::FOWNER, "chmod of files that were given away before"),
    (CapabilitySet::FSETID, "set-group-id bits survive a write"),
    (CapabilitySet::SETUID, "test suites become nobody"),
    (CapabilitySet::SETGID, "test suites become nobody"),
];

/// Where the kernel keeps how many namespaces of each kind a user namespace may have below it.
const USER_SETTINGS: &str = "/proc/sys/user";

/// Exit status of a helper process that could not do its part; the reason has been sent before.
const STATUS_OF_FAILURE: i32 = 127;

/// What process 1 was given by the supervisor, before it was cloned.
pub(crate) struct Inner<'request> {
    pub(crate) caller: Caller,
    pub(crate) task: &'request Task,
    pub(crate) spec: &'request Spec,
    pub(crate) map: &'request IdMap,
    /// A user namespace with that map, where root shows its files through it.
    pub(crate) owners: Option<OwnedFd>,
    pub(crate) supervisor: UnixStream,
}

/// Does everything, and never returns.
pub(crate) fn run(inner: Inner<'_>) -> ! {
    let mut reader = Reader::new(ANSWER_BYTES_MAX);
    let status = match prepare_and_start(&inner, &mut reader) {
        Ok(None) => 0,
        Ok(Some(command)) => reap(&inner.supervisor, command),
        Err(failure) => {
            // Where even this cannot be said, the supervisor sees the end of the process.
            let _heard = send(&inner.supervisor, &Inside::Failed(failure));
            STATUS_OF_FAILURE
        }
    };
    kernel::exit_now(status)
}

/// The command's process id, or `None` where there is no command to wait for.
fn prepare_and_start(inner: &Inner<'_>, reader: &mut Reader) -> Result<Option<Pid>, SetupFailure> {
    die_with_supervisor()?;
    umask(Mode::empty());
    let mut build = Build { inner, reader, mounting: None, settings: None };
    for step in plan::steps(inner.caller, inner.task.purpose(), inner.spec) {
        build.perform(step)?;
    }
    umask(Mode::from_raw_mode(0o022));
    // A change of ids clears the death signal, so it is set again; a supervisor that died in between cannot answer.
    die_with_supervisor()?;
    tell(&inner.supervisor, &Inside::Ready)?;
    hear(&inner.supervisor, build.reader)?;
    if *inner.task != Task::Run {
        tell(&inner.supervisor, &Inside::Started)?;
        tell(&inner.supervisor, &Inside::Ended(Ending::Exited(0)))?;
        return Ok(None);
    }
    let hide = |cause: rustix::io::Errno| SetupFailure::new("hide", "process 1", io::Error::from(cause));
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(hide)?;
    start(inner).map(Some)
}

struct Build<'build, 'request> {
    inner: &'build Inner<'request>,
    reader: &'build mut Reader,
    mounting: Option<Mounting>,
    /// `/proc/sys/user` of the host, which every user namespace sees its own values in.
    settings: Option<OwnedFd>,
}

impl Build<'_, '_> {
    fn perform(&mut self, step: Step) -> Result<(), SetupFailure> {
        let spec = self.inner.spec;
        match step {
            Step::ReceiveIds => self.receive_ids(),
            Step::EnterUserNamespace => {
                kernel::unshare(UnshareFlags::NEWUSER)
                    .map_err(|cause| SetupFailure::new("enter", "a user namespace", cause))?;
                self.receive_ids()
            }
            Step::BecomeRoot => become_root(),
            Step::Separate => separate(spec),
            Step::RaiseLoopback => kernel::raise_loopback()
                .map_err(|cause| SetupFailure::new("bring up", "the loopback interface", cause)),
            Step::SetHostname => rustix::system::sethostname(spec.hostname.as_bytes()).map_err(|cause| {
                SetupFailure::new("set the host name", spec.hostname.clone(), io::Error::from(cause))
            }),
            Step::TakeOwnership => self.take_ownership(),
            Step::DetachPropagation => {
                mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
                    .map_err(failed("keep mounts to itself below", "/"))
            }
            Step::OpenSources => {
                let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
                self.settings = openat(CWD, USER_SETTINGS, flags, Mode::empty()).ok();
                self.mounting =
                    Some(Mounting::open(spec, self.inner.caller, self.owner(), self.inner.owners.as_ref())?);
                Ok(())
            }
            Step::AttachRoot => self.mounting()?.attach_root(spec),
            Step::Mount(number) => self.mounting()?.mount(spec, number),
            Step::Pivot => {
                self.mounting()?;
                let notices = self.mounting.take().map_or_else(|| Ok(Vec::new()), Mounting::pivot)?;
                self.note(notices)
            }
            Step::SealRoot => mounting::seal_root(),
            Step::LimitProcess => self.limit_process(),
            Step::ForbidNamespaces => self.forbid_namespaces(),
            Step::DropCapabilities => drop_capabilities(),
            Step::ForbidNewPrivileges => set_no_new_privs(true)
                .map_err(|cause| SetupFailure::new("forbid", "new privileges", io::Error::from(cause))),
            Step::RemoveTrees => self.remove_trees(),
        }
    }

    fn mounting(&mut self) -> Result<&mut Mounting, SetupFailure> {
        self.mounting.as_mut().ok_or_else(|| SetupFailure::new("mount", "anything", "no source was opened"))
    }

    /// Root inside, as seen by process 1 while it mounts: root does that before it changes its ids, a user after.
    fn owner(&self) -> Owner {
        match self.inner.caller {
            Caller::User => Owner { uid: 0, gid: 0 },
            Caller::Root => Owner {
                uid: self.inner.map.to_outside(0).unwrap_or_default(),
                gid: self.inner.map.group_to_outside(0).unwrap_or_default(),
            },
        }
    }

    fn receive_ids(&mut self) -> Result<(), SetupFailure> {
        tell(&self.inner.supervisor, &Inside::WantsIds)?;
        match hear(&self.inner.supervisor, self.reader)? {
            GoOn::WithIds { setgroups: true } => set_thread_groups(&[])
                .map_err(|cause| SetupFailure::new("leave", "the caller's groups", io::Error::from(cause))),
            GoOn::WithIds { setgroups: false } | GoOn::Start => Ok(()),
        }
    }

    fn take_ownership(&self) -> Result<(), SetupFailure> {
        for path in &self.inner.spec.owned {
            tree::take_ownership(path, self.owner())
                .map_err(|error| failed("give to root inside", &error.path)(error.cause))?;
        }
        Ok(())
    }

    fn remove_trees(&self) -> Result<(), SetupFailure> {
        if let Task::Remove(paths) = self.inner.task {
            for path in paths {
                tree::remove(path).map_err(|error| failed("remove", &error.path)(error.cause))?;
            }
        }
        Ok(())
    }

    fn limit_process(&self) -> Result<(), SetupFailure> {
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
            .map_err(|cause| SetupFailure::new("forbid", "core dumps", io::Error::from(cause)))?;
        match kernel::join_fresh_keyring() {
            // A kernel without keyrings has none to hide.
            Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => self
                .note(vec![format!("the caller's session keyring stays: no other could be had ({error})")]),
            _ => Ok(()),
        }
    }

    /// Inside a further user namespace a program would have all capabilities again, if only there, and with them the
    /// parts of the kernel that are meant for root alone.
    fn forbid_namespaces(&mut self) -> Result<(), SetupFailure> {
        let written = self.settings.take().ok_or(rustix::io::Errno::NOENT).and_then(|settings| {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = openat(&settings, "max_user_namespaces", flags, Mode::empty())?;
            rustix::io::write(&file, b"0")
        });
        match written {
            Ok(_) => Ok(()),
            Err(cause) => self.note(vec![format!(
                "programs inside can make user namespaces of their own: {}",
                io::Error::from(cause)
            )]),
        }
    }

    fn note(&self, notices: Vec<String>) -> Result<(), SetupFailure> {
        notices.into_iter().try_for_each(|notice| tell(&self.inner.supervisor, &Inside::Notice(notice)))
    }
}

fn separate(spec: &Spec) -> Result<(), SetupFailure> {
    for namespace in plan::separate_namespaces(spec.network) {
        kernel::unshare(flag(namespace))
            .map_err(|cause| SetupFailure::new("enter", format!("a {namespace} namespace"), cause))?;
    }
    Ok(())
}

/// The kernel's name of a namespace.
pub(crate) fn flag(namespace: Namespace) -> UnshareFlags {
    match namespace {
        Namespace::User => UnshareFlags::NEWUSER,
        Namespace::Pid => UnshareFlags::NEWPID,
        Namespace::Mount => UnshareFlags::NEWNS,
        Namespace::Ipc => UnshareFlags::NEWIPC,
        Namespace::Hostname => UnshareFlags::NEWUTS,
        Namespace::Network => UnshareFlags::NEWNET,
        Namespace::ControlGroup => UnshareFlags::NEWCGROUP,
    }
}

fn become_root() -> Result<(), SetupFailure> {
    let fail = |cause| SetupFailure::new("become", "root inside", io::Error::from(cause));
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    set_thread_res_gid(gid, gid, gid).map_err(fail)?;
    set_thread_res_uid(uid, uid, uid).map_err(fail)
}

fn drop_capabilities() -> Result<(), SetupFailure> {
    let fail = |cause| SetupFailure::new("drop", "capabilities", io::Error::from(cause));
    let kept = KEPT_CAPABILITIES.iter().fold(CapabilitySet::empty(), |all, (one, _)| all | *one);
    for capability in CapabilitySet::all().difference(kept).iter() {
        match remove_capability_from_bounding_set(capability) {
            // An older kernel does not know the newest of them.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(cause) => return Err(fail(cause)),
        }
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(fail)
}

fn die_with_supervisor() -> Result<(), SetupFailure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|cause| SetupFailure::new("follow", "the supervisor into its end", io::Error::from(cause)))
}

fn tell(supervisor: &UnixStream, message: &Inside) -> Result<(), SetupFailure> {
    send(supervisor, message).map_err(|cause| SetupFailure::new("speak to", "the supervisor", cause))
}

fn hear(supervisor: &UnixStream, reader: &mut Reader) -> Result<GoOn, SetupFailure> {
    let fail = |cause: io::Error| SetupFailure::new("hear from", "the supervisor", cause);
    reader.receive(supervisor).map_err(fail)?.ok_or_else(|| fail(io::ErrorKind::UnexpectedEof.into()))
}

/// Starts the command and waits until its program has replaced ours, or could not.
fn start(inner: &Inner<'_>) -> Result<Pid, SetupFailure> {
    let spec = inner.spec;
    let fail = failed("run", &spec.program);
    let (near, far) = UnixStream::pair().map_err(&fail)?;
    match kernel::fork().map_err(&fail)? {
        Side::Child => {
            drop(near);
            let failure = become_command(spec);
            let _heard = send(&far, &failure);
            kernel::exit_now(STATUS_OF_FAILURE)
        }
        Side::Parent(command) => {
            drop(far);
            // The end of the socket closes when the program starts; before, it can carry a failure.
            match Reader::new(ANSWER_BYTES_MAX).receive::<SetupFailure>(&near).map_err(&fail)? {
                Some(failure) => Err(failure),
                None => tell(&inner.supervisor, &Inside::Started).map(|()| command),
            }
        }
    }
}

/// Becomes the command; returns only where that fails.
fn become_command(spec: &Spec) -> SetupFailure {
    if let Err(cause) = setsid() {
        return SetupFailure::new("begin", "a session", io::Error::from(cause));
    }
    if let Err(cause) = rustix::process::chdir(&spec.directory) {
        return failed("enter directory", &spec.directory)(cause);
    }
    let cause = Command::new(&spec.program).args(&spec.arguments).env_clear().envs(&spec.environment).exec();
    failed("run", &spec.program)(cause)
}

/// Waits for every process that ends, until the command itself does; tells how, and gives process 1's exit status.
fn reap(supervisor: &UnixStream, command: Pid) -> i32 {
    if let Err(failure) = release_output() {
        let _heard = send(supervisor, &Inside::Notice(failure.to_string()));
    }
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == command => {
                let ending = match (status.exit_status(), status.terminating_signal()) {
                    (Some(status), _) => Ending::Exited(status),
                    (None, Some(signal)) => Ending::Signaled(signal),
                    (None, None) => continue,
                };
                let _heard = send(supervisor, &Inside::Ended(ending));
                return 0;
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return STATUS_OF_FAILURE,
        }
    }
}

/// Lets go of the caller's pipes, which now belong to the command alone.
fn release_output() -> Result<(), SetupFailure> {
    // An end of a socket that nobody else has takes their place: `/dev/null` may not exist in this root.
    let (silence, _) =
        UnixStream::pair().map_err(|cause| SetupFailure::new("release", "the output", cause))?;
    let fail = |cause| SetupFailure::new("release", "the output", io::Error::from(cause));
    rustix::stdio::dup2_stdout(silence.as_fd()).map_err(fail)?;
    rustix::stdio::dup2_stderr(silence.as_fd()).map_err(fail)
}
