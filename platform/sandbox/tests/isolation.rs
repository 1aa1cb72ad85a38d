//! Real sandboxes, once with the rights of whoever runs the tests and, where that is root, once more as `nobody`.
//!
//! Nothing outside temporary directories is changed, and every process ends with its test.

#![expect(
    clippy::unwrap_used,
    clippy::let_underscore_must_use,
    reason = "helpers of tests are not recognised as tests, and fail as tests do"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sandbox::{
    Child, Mount, Network, Outcome, Output, Root, Sandbox, SandboxError, Spec, State, Upper, probe_through,
};
use tempfile::TempDir;

/// The program that knows how to be a supervisor.
const PROGRAM: &str = env!("CARGO_BIN_EXE_sandbox-run");

/// The account that stands for "some user" when the tests run as root.
const NOBODY: u32 = 65_534;

/// How long anything here may take before the test fails instead of waiting.
const PATIENCE: Duration = Duration::from_secs(90);

/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID and SETUID as the kernel prints them.
const KEPT_CAPABILITIES: &str = "00000000000000db";

/// Who starts a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Myself,
    Nobody,
}

/// Everyone who can be tried here; empty, after saying so, where user namespaces are missing.
fn everyone() -> Vec<Who> {
    static POSSIBLE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let possible = *POSSIBLE.get_or_init(|| {
        Sandbox::spawn_through(Path::new(PROGRAM), &host_programs("true"))
            .is_ok_and(|mut child| child.wait().is_ok_and(Outcome::success))
    });
    if !possible {
        testkit::skip("user namespaces");
        return Vec::new();
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root { vec![Who::Myself, Who::Nobody] } else { vec![Who::Myself] }
}

/// What a run said.
#[derive(Debug)]
struct Said {
    status: i32,
    output: String,
    errors: String,
}

impl Said {
    fn report(&self) -> serde_json::Value {
        self.errors.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default()
    }
}

/// A directory that everyone may enter, holding a copy of the program that everyone may start.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        open_to_all(directory.path());
        // Copied by another process: were it open for writing here, a process forked by another test at that moment
        // would keep it open, and the kernel starts no program that somebody may write to.
        let copied =
            Command::new("cp").arg(PROGRAM).arg(directory.path().join("sandbox-run")).status().unwrap();
        assert!(copied.success());
        Place { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A new directory that belongs to whoever is asked for.
    fn directory(&self, name: &str, who: Who) -> PathBuf {
        let path = self.path(name);
        fs_err::create_dir_all(&path).unwrap();
        open_to_all(&path);
        if who == Who::Nobody {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        path
    }

    fn file(&self, path: &Path, contents: &str, who: Who) {
        fs_err::write(path, contents).unwrap();
        if who == Who::Nobody {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    fn command(&self, who: Who, arguments: &[&str]) -> Command {
        let program = self.path("sandbox-run");
        let mut command = match who {
            Who::Myself => Command::new(program),
            Who::Nobody => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
                command
            }
        };
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, who: Who, spec: &Spec) -> Said {
        let mut child = self.command(who, &["--json"]).spawn().unwrap();
        let text = serde_json::to_vec(spec).unwrap();
        child.stdin.take().unwrap().write_all(&text).unwrap();
        let output = child.wait_with_output().unwrap();
        Said {
            status: output.status.code().unwrap(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn open_to_all(path: &Path) {
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// The mounts that make the host's programs usable, and nothing else of the host.
fn programs() -> Vec<Mount> {
    let mut mounts = Vec::new();
    for name in ["usr", "bin", "sbin", "lib", "lib64", "lib32"] {
        let path = Path::new("/").join(name);
        match fs_err::read_link(&path) {
            Ok(link) => mounts.push(Mount::Symlink { target: path, link }),
            Err(_) if path.is_dir() => {
                mounts.push(Mount::Bind {
                    source: path.clone(),
                    target: path,
                    writable: false,
                    recursive: true,
                });
            }
            Err(_) => {}
        }
    }
    mounts.push(Mount::Proc { target: "/proc".into() });
    mounts.push(Mount::Devices { target: "/dev".into() });
    mounts.push(Mount::Tmpfs { target: "/tmp".into(), mode: 0o1777, size_bytes: None });
    mounts
}

fn host_programs(script: &str) -> Spec {
    let mut spec = Spec::new(Root::Tmpfs { size_bytes: None }, "/bin/sh", ["-c", script]);
    spec.mounts = programs();
    spec.environment.insert("PATH".to_owned(), "/usr/bin:/bin:/usr/sbin:/sbin".to_owned());
    spec.limits.wall_time = Some(PATIENCE);
    spec
}

fn bind(source: &Path, target: &str, writable: bool) -> Mount {
    Mount::Bind { source: source.to_path_buf(), target: target.into(), writable, recursive: false }
}

/// Reads to the end in a thread, so that an end that never comes fails the test instead of hanging it.
fn read_all(mut source: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        source.read_to_string(&mut text).unwrap();
        let _ = sender.send(text);
    });
    receiver
}

fn spawn(spec: &Spec) -> Child {
    Sandbox::spawn_through(Path::new(PROGRAM), spec).unwrap()
}

#[test]
fn nothing_of_the_host_shows_but_what_was_asked_for() {
    let place = Place::new();
    for who in everyone() {
        let secret = place.directory("secret", Who::Myself).join("file");
        fs_err::write(&secret, "secret").unwrap();
        let script =
            format!("ls -A /; echo --; cat {}; cat /etc/passwd; cat /proc/self/mountinfo", secret.display());
        let said = place.run(who, &host_programs(&script));
        let (listing, rest) = said.output.split_once("--\n").unwrap();
        let names: Vec<&str> = listing.lines().collect();
        assert!(
            names.iter().all(|name| "usr bin sbin lib lib64 lib32 proc dev tmp".contains(name)),
            "{names:?}"
        );
        assert_eq!(rest.matches("No such file or directory").count(), 2, "{who:?}: {rest}");
        assert!(!rest.contains("/sys/fs") && !rest.contains("sandbox-run"), "{who:?}: {rest}");
    }
}

#[test]
fn what_is_read_only_stays_so() {
    let place = Place::new();
    for who in everyone() {
        let closed = place.directory(&format!("closed-{who:?}"), who);
        let open = place.directory(&format!("open-{who:?}"), who);
        let mut spec = host_programs(
            "for d in / /usr /closed /open /tmp; do touch $d/new 2>/dev/null && echo wrote $d; done; \
             mount -o remount,rw /usr 2>/dev/null && echo remounted; umount /closed 2>/dev/null && echo unmounted; \
             stat -c '%a %u' /tmp /open",
        );
        spec.mounts.extend([bind(&closed, "/closed", false), bind(&open, "/open", true)]);
        spec.owned = vec![closed, open.clone()];
        let said = place.run(who, &spec);
        assert_eq!(said.output, "wrote /open\nwrote /tmp\n1777 0\n755 0\n", "{who:?}: {}", said.errors);
        assert!(open.join("new").exists());
    }
}

#[test]
fn files_made_inside_have_owners_that_can_be_read_back() {
    let place = Place::new();
    for who in everyone() {
        let work = place.directory(&format!("work-{who:?}"), who);
        let mut spec =
            host_programs("echo x > /work/mine; chmod 4755 /work/mine; id -u; cat /proc/self/uid_map");
        spec.mounts.push(bind(&work, "/work", true));
        spec.owned = vec![work.clone()];
        let said = place.run(who, &spec);
        assert!(said.output.starts_with("0\n"), "{said:?}");
        let map: sandbox::IdMap = serde_json::from_value(said.report()["id_map"].clone()).unwrap();
        let outside = fs_err::metadata(work.join("mine")).unwrap().uid();
        assert_eq!(map.to_inside(outside), Some(0));
        assert_eq!(map.to_outside(0), Some(outside));
        assert_ne!(outside, 0, "root inside is never the machine's root");
    }
}

#[test]
fn only_the_loopback_interface_exists_and_it_is_up() {
    let place = Place::new();
    for who in everyone() {
        let said = place.run(who, &host_programs("tail -n +3 /proc/net/dev; cat /proc/net/fib_trie"));
        let interfaces: Vec<&str> = said.output.lines().filter(|line| line.contains(": ")).collect();
        assert_eq!(interfaces.len(), 1, "{who:?}: {interfaces:?}");
        assert!(interfaces[0].trim().starts_with("lo:"));
        assert!(said.output.contains("127.0.0.1"), "{who:?}: loopback is down");
    }
    if !everyone().is_empty() {
        let mut spec = host_programs("cat /proc/net/dev");
        spec.network = Network::Host;
        let said = place.run(Who::Myself, &spec);
        let own = fs_err::read_to_string("/proc/net/dev").unwrap();
        assert_eq!(said.output.lines().count(), own.lines().count());
    }
}

#[test]
fn the_command_sees_itself_alone_and_nothing_of_its_keeper() {
    let place = Place::new();
    for who in everyone() {
        let script = "ls /proc | grep -c '^[0-9]'; hostname; env | sort; cat /proc/1/environ /proc/1/maps; \
                      ls -l /proc/1/exe; ls /proc/self/fd | wc -l; umask; ulimit -c";
        let mut spec = host_programs(script);
        spec.hostname = "quarry".to_owned();
        spec.environment.insert("ONLY".to_owned(), "this".to_owned());
        let said = place.run(who, &spec);
        let lines: Vec<&str> = said.output.lines().collect();
        assert!(lines[0].parse::<u32>().unwrap() <= 4, "{who:?}: {lines:?}");
        assert_eq!(lines[1], "quarry");
        assert_eq!(lines[2..5], ["ONLY=this", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "PWD=/"]);
        assert_eq!(said.output.matches("Permission denied").count(), 3, "{who:?}: {lines:?}");
        assert_eq!(lines[lines.len() - 3..], ["4", "0022", "0"], "{who:?}");
    }
}

#[test]
fn root_inside_has_no_power_outside() {
    let place = Place::new();
    for who in everyone() {
        let foreign = place.directory("foreign", Who::Myself);
        fs_err::write(foreign.join("file"), "x").unwrap();
        chown(foreign.join("file"), Some(1), Some(1)).unwrap_or_default();
        let mut spec = host_programs(
            "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs):' /proc/self/status | cut -f2; \
             mount -t tmpfs none /tmp 2>/dev/null && echo mounted; mknod /tmp/disk b 254 0 2>/dev/null && echo device; \
             chown 0 /foreign/file 2>/dev/null && echo chowned; echo y 2>/dev/null >/foreign/file && echo wrote; \
             unshare -U true 2>/dev/null && echo nested; hostname other 2>/dev/null && echo renamed; \
             echo 1 2>/dev/null >/proc/sys/vm/drop_caches && echo sysctl; \
             chroot / true 2>/dev/null && echo chrooted; echo end",
        );
        spec.mounts.push(bind(&foreign, "/foreign", true));
        let said = place.run(who, &spec);
        let kept = KEPT_CAPABILITIES;
        let none = "0000000000000000";
        let mut expect = vec![none, kept, kept, kept, none, "1"];
        if !rustix::process::geteuid().is_root() {
            // Without root the test cannot make a file of somebody else's: this one is the caller's own.
            expect.extend(["chowned", "wrote"]);
        }
        expect.push("end");
        assert_eq!(said.output.lines().collect::<Vec<_>>(), expect, "{who:?}: {}", said.errors);
    }
}

#[test]
fn the_time_limit_reaches_those_who_ran_away() {
    let place = Place::new();
    for who in everyone() {
        let mut spec = host_programs("(setsid sh -c 'sleep 1000' &) ; echo started; sleep 1000");
        spec.limits.wall_time = Some(Duration::from_millis(400));
        let begun = Instant::now();
        // The runner copies the output to its end, which comes only when nobody holds the pipe any more.
        let said = place.run(who, &spec);
        assert_eq!((said.output.as_str(), said.status), ("started\n", 124), "{who:?}: {said:?}");
        assert_eq!(said.report()["outcome"], "timed-out");
        assert!(begun.elapsed() < PATIENCE);
    }
}

#[test]
fn the_end_of_the_command_is_the_end_of_all() {
    let place = Place::new();
    for who in everyone() {
        let said =
            place.run(who, &host_programs("(setsid sh -c 'trap \"\" TERM HUP; sleep 1000' &) ; exit 7"));
        assert_eq!(said.report()["outcome"], serde_json::json!({"exited": 7}), "{who:?}: {said:?}");
        let said = place.run(who, &host_programs("kill -SEGV $$"));
        assert_eq!(said.report()["outcome"], serde_json::json!({"signaled": 11}), "{who:?}: {said:?}");
    }
}

#[test]
fn a_caller_that_is_killed_takes_everything_along() {
    let place = Place::new();
    for who in everyone() {
        let mut spec = host_programs("(setsid sleep 1000 &); echo started; sleep 1000");
        // The command writes straight into the test's pipe: its end proves that nobody inside is left.
        spec.output = Output::Inherit;
        spec.limits.wall_time = None;
        let mut runner = place.command(who, &[]).spawn().unwrap();
        runner.stdin.take().unwrap().write_all(&serde_json::to_vec(&spec).unwrap()).unwrap();
        let mut output = BufReader::new(runner.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        runner.kill().unwrap();
        runner.wait().unwrap();
        read_all(output).recv_timeout(PATIENCE).expect("somebody inside survived the caller");
    }
}

#[test]
fn a_supervisor_that_is_killed_takes_everything_along() {
    if everyone().is_empty() {
        return;
    }
    let mut spec = host_programs("(setsid sleep 1000 &); echo started; sleep 1000");
    spec.limits.wall_time = None;
    let mut child = spawn(&spec);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let own = std::process::id();
    let children = fs_err::read_to_string(format!(
        "/proc/{own}/task/{}/children",
        rustix::thread::gettid().as_raw_nonzero()
    ));
    let Some(supervisor) =
        children.unwrap_or_default().split_whitespace().last().and_then(|pid| pid.parse().ok())
    else {
        testkit::skip("list of children in /proc");
        return;
    };
    let supervisor = rustix::process::Pid::from_raw(supervisor).unwrap();
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
    assert!(matches!(child.wait(), Err(SandboxError::Lost { .. })));
    read_all(output).recv_timeout(PATIENCE).expect("somebody inside survived the supervisor");
}

#[test]
fn kill_and_drop_end_everything() {
    if everyone().is_empty() {
        return;
    }
    let mut spec = host_programs("(setsid sleep 1000 &); sleep 1000");
    spec.limits.wall_time = None;
    let mut child = spawn(&spec);
    let output = read_all(child.stdout.take().unwrap());
    let killer = child.killer();
    let waiter = std::thread::spawn(move || (child.wait().unwrap(), child.wait().unwrap()));
    killer.kill();
    killer.kill();
    assert_eq!(waiter.join().unwrap(), (Outcome::Killed, Outcome::Killed));
    output.recv_timeout(PATIENCE).unwrap();
    killer.kill();

    let mut child = spawn(&spec);
    let output = read_all(child.stdout.take().unwrap());
    drop(child);
    output.recv_timeout(PATIENCE).expect("somebody inside survived the drop");
}

#[test]
fn many_at_once_do_not_hold_each_other_up() {
    if everyone().is_empty() {
        return;
    }
    // Each thread ends before its sandbox does: a sandbox belongs to its `Child`, not to the thread that made it.
    let starters: Vec<_> = (0..12)
        .map(|number| {
            std::thread::spawn(move || {
                (number, spawn(&host_programs(&format!("cat /proc/uptime; echo {number}"))))
            })
        })
        .collect();
    let mut long = host_programs("echo long; sleep 1000");
    long.limits.wall_time = None;
    let mut keeper = spawn(&long);
    for starter in starters {
        let (number, mut child) = starter.join().unwrap();
        let output = read_all(child.stdout.take().unwrap()).recv_timeout(PATIENCE).unwrap();
        assert!(output.ends_with(&format!("\n{number}\n")), "{output}");
        assert_eq!(child.wait().unwrap(), Outcome::Exited(0));
    }
    keeper.kill();
    assert_eq!(keeper.wait().unwrap(), Outcome::Killed);
}

#[test]
fn output_comes_combined_in_order_or_apart() {
    if everyone().is_empty() {
        return;
    }
    let script = "echo one; echo two >&2; echo three; cat";
    let mut child = spawn(&host_programs(script));
    assert_eq!(read_all(child.stdout.take().unwrap()).recv_timeout(PATIENCE).unwrap(), "one\ntwo\nthree\n");
    assert!(child.stderr.is_none() && child.wait().unwrap().success());

    let mut spec = host_programs(script);
    spec.output = Output::Separate;
    let mut child = spawn(&spec);
    assert_eq!(read_all(child.stdout.take().unwrap()).recv_timeout(PATIENCE).unwrap(), "one\nthree\n");
    assert_eq!(read_all(child.stderr.take().unwrap()).recv_timeout(PATIENCE).unwrap(), "two\n");
}

#[test]
fn layers_are_stacked_uppermost_first() {
    let place = Place::new();
    for who in everyone() {
        let name = |part: &str| format!("{part}-{who:?}");
        let (first, second) = (place.directory(&name("first"), who), place.directory(&name("second"), who));
        let (upper, work) = (place.directory(&name("upper"), who), place.directory(&name("work"), who));
        place.file(&first.join("both"), "first\n", who);
        place.file(&second.join("both"), "second\n", who);
        place.file(&second.join("below"), "below\n", who);
        let lower = vec![first.clone(), second.clone()];

        let mut spec = host_programs(
            "cat /data/both /data/below; echo new > /data/new; rm /data/below; ls /data; cat /fixed/both; echo x >/fixed/x",
        );
        let target = |path: &str| PathBuf::from(path);
        let writable = Some(Upper { upper: upper.clone(), work: work.clone() });
        spec.mounts.push(Mount::Overlay {
            lower: lower.clone(),
            upper: writable.clone(),
            target: target("/data"),
        });
        spec.mounts.push(Mount::Overlay { lower: lower.clone(), upper: None, target: target("/fixed") });
        spec.owned = [&first, &second, &upper, &work].into_iter().cloned().collect();
        let said = place.run(who, &spec);
        assert!(said.output.starts_with("first\nbelow\nboth\nnew\nfirst\n"), "{who:?}: {said:?}");
        assert!(said.output.contains("Read-only"), "{who:?}: {said:?}");
        assert!(second.join("below").exists() && upper.join("new").exists());

        // The same as the root itself, in which the mounts have to find room.
        let mut spec = host_programs("cat /both; echo x > /fresh && ls /");
        spec.root = Root::Overlay { lower, upper: writable };
        spec.root_writable = true;
        let said = place.run(who, &spec);
        assert!(said.output.starts_with("first\n") && said.output.contains("fresh"), "{who:?}: {said:?}");
        assert!(upper.join("fresh").exists() && !first.join("fresh").exists());
    }
}

#[test]
fn what_belongs_to_root_belongs_to_root_inside_and_can_be_changed_above() {
    let place = Place::new();
    for who in everyone() {
        let name = |part: &str| format!("{part}-{who:?}");
        let (first, second) = (place.directory(&name("first"), who), place.directory(&name("second"), who));
        let (upper, work) = (place.directory(&name("upper"), who), place.directory(&name("work"), who));
        let closed = place.directory(&name("closed"), who);
        fs_err::create_dir(second.join("etc")).unwrap();
        if who == Who::Nobody {
            chown(second.join("etc"), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        place.file(&second.join("etc/file"), "old\n", who);
        place.file(&closed.join("file"), "x", who);
        let mut spec = host_programs(
            "stat -c %u:%g /o/etc /o/etc/file /closed/file; echo new >> /o/etc/file; touch /o/etc/more; cat /o/etc/file",
        );
        let upper_layer = Some(Upper { upper: upper.clone(), work: work.clone() });
        spec.mounts.push(Mount::Overlay {
            lower: vec![first, second.clone()],
            upper: upper_layer,
            target: "/o".into(),
        });
        spec.mounts.push(bind(&closed, "/closed", false));
        spec.owned = vec![upper.clone(), work];
        let said = place.run(who, &spec);
        if said.errors.contains("cannot map ids") {
            testkit::skip("file system with id-mapped mounts");
            continue;
        }
        assert_eq!(said.output, "0:0\n0:0\n0:0\nold\nnew\n", "{who:?}: {}", said.errors);
        assert_eq!(fs_err::read_to_string(second.join("etc/file")).unwrap(), "old\n");
        let map: sandbox::IdMap = serde_json::from_value(said.report()["id_map"].clone()).unwrap();
        let copied = fs_err::metadata(upper.join("etc/file")).unwrap();
        assert_eq!(map.to_inside(copied.uid()), Some(0), "a changed copy belongs to the sandbox");
    }
}

#[test]
fn a_step_that_fails_names_what_it_was_about() {
    let place = Place::new();
    for who in everyone() {
        let check = |change: &dyn Fn(&mut Spec), expect: &str, status: i32| {
            let mut spec = host_programs("true");
            change(&mut spec);
            let said = place.run(who, &spec);
            assert!(said.errors.contains(expect), "{who:?}: {:?} does not say {expect:?}", said.errors);
            assert_eq!(said.status, status, "{who:?}: {}", said.errors);
        };
        let overlay = |lower: &[&str], target: &str| Mount::Overlay {
            lower: lower.iter().map(PathBuf::from).collect(),
            upper: None,
            target: target.into(),
        };
        check(
            &|spec| spec.mounts.push(overlay(&["/usr", "/no/such/layer"], "/o")),
            "cannot open /no/such/layer: No such file or directory",
            3,
        );
        check(
            &|spec| spec.mounts.push(overlay(&["/usr", "/dev/null"], "/o")),
            "cannot mount overlay on /o: ",
            6,
        );
        check(&|spec| spec.program = "/no/such".into(), "cannot run /no/such: No such file", 3);
        check(&|spec| spec.program = "/usr".into(), "cannot run /usr: Permission denied", 5);
        check(&|spec| spec.directory = "/nowhere".into(), "cannot enter directory /nowhere: No such", 3);
        check(
            &|spec| spec.owned = vec!["/no/such/work".into()],
            "cannot give to root inside /no/such/work",
            3,
        );
        check(&|spec| spec.root = Root::Directory("/no/root".into()), "cannot open /no/root: No such", 3);
        check(
            &|spec| {
                spec.mounts.push(Mount::Tmpfs {
                    target: "/usr/no/room".into(),
                    mode: 0o755,
                    size_bytes: None,
                });
            },
            "cannot mount tmpfs on /usr/no/room: Read-only file system",
            6,
        );
    }
}

#[test]
fn a_link_in_the_root_leads_nowhere_else() {
    let place = Place::new();
    for who in everyone() {
        let root = place.directory(&format!("root-{who:?}"), who);
        let outside = place.directory(&format!("outside-{who:?}"), who);
        symlink(&outside, root.join("trap")).unwrap();
        symlink("../../../../../..", root.join("up")).unwrap();
        for target in ["/trap", "/trap/deep"] {
            for mount in [
                Mount::Tmpfs { target: target.into(), mode: 0o777, size_bytes: None },
                Mount::Directory { target: target.into(), mode: 0o777 },
                bind(Path::new("/usr"), target, false),
            ] {
                let mut spec = host_programs("true");
                spec.root = Root::Directory(root.clone());
                spec.mounts.insert(0, mount);
                let said = place.run(who, &spec);
                assert!(said.errors.contains("File exists"), "{who:?} {target}: {said:?}");
            }
        }
        let mut spec = host_programs("cat /up/etc/planted; ls /up");
        spec.root = Root::Directory(root.clone());
        let file =
            |target: &str| Mount::File { target: target.into(), contents: "here\n".to_owned(), mode: 0o644 };
        spec.mounts.extend([file("/up/etc/planted"), file("/trap")]);
        let said = place.run(who, &spec);
        assert!(said.output.starts_with("here\n"), "{who:?}: {said:?}");
        assert!(root.join("etc/planted").exists() && !Path::new("/etc/planted").exists());
        assert!(root.join("trap").is_file(), "the link itself was replaced");
        assert_eq!(fs_err::read_dir(&outside).unwrap().count(), 0, "nothing escaped");
    }
}

#[test]
fn a_fork_bomb_is_bounded() {
    let place = Place::new();
    for who in everyone() {
        let mut spec =
            host_programs("i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done; echo all of them");
        spec.limits.processes = Some(30);
        let said = place.run(who, &spec);
        let notices = said.report()["notices"].to_string();
        if notices.contains("processes is not limited") {
            assert!(notices.contains("no pids control group is delegated to this user"), "{notices}");
            assert_eq!(said.output, "all of them\n", "{who:?}");
            if who == Who::Myself {
                testkit::skip("writable pids control group");
            }
            continue;
        }
        assert!(!said.output.contains("all of them"), "{who:?}: {said:?}");
    }
    for group in fs_err::read_dir("/sys/fs/cgroup/pids").into_iter().flatten().flatten() {
        let name = group.file_name().into_string().unwrap();
        if let Some(pid) = name.strip_prefix("moraine-sandbox-") {
            assert!(Path::new("/proc").join(pid).exists(), "{name} was left behind");
        }
    }
}

#[test]
fn memory_is_bounded_and_its_end_is_told() {
    let place = Place::new();
    for who in everyone() {
        // tail keeps all of a line without an end.
        let mut spec = host_programs("head -c 400000000 /dev/zero | tail | wc -c");
        spec.limits.memory_bytes = Some(64 << 20);
        let said = place.run(who, &spec);
        let report = said.report();
        if report["notices"].to_string().contains("memory is not limited") {
            assert_eq!(report["memory_ran_out"], false);
            if who == Who::Myself {
                testkit::skip("writable memory control group");
            }
            continue;
        }
        assert_eq!(report["memory_ran_out"], true, "{who:?}: {said:?}");
    }
}

/// Two that keep 64 MiB each, an endless line, until both have them and someone had the time to look.
const SIDE_BY_SIDE: &str = "\
    for n in 1 2; do head -c 67108864 /dev/zero | tail | { head -c 1 > /dev/null; touch /tmp/$n; \
    while ! { [ -e /tmp/1 ] && [ -e /tmp/2 ]; }; do sleep 0.05; done; sleep 0.5; cat > /dev/null; } & done; wait";

#[test]
fn the_peak_of_the_memory_is_told_with_and_without_a_limit() {
    let place = Place::new();
    let mebibytes = |said: &Said| said.report()["peak_memory_bytes"].as_u64().unwrap() >> 20;
    for who in everyone() {
        let mut spec = host_programs("head -c 67108864 /dev/zero | tail | wc -c");
        let limited = Some(1 << 30);
        for limit in [None, limited] {
            spec.limits.memory_bytes = limit;
            let said = place.run(who, &spec);
            assert!((64..128).contains(&mebibytes(&said)), "{who:?} {limit:?}: {said:?}");
        }
        spec.limits.memory_bytes = limited;
        let has_group = !place.run(who, &spec).report()["notices"].to_string().contains("is not limited");

        let said = place.run(who, &host_programs(SIDE_BY_SIDE));
        let expect = if has_group { 128..192 } else { 64..128 };
        assert!(expect.contains(&mebibytes(&said)), "{who:?}: {said:?}");
        if !has_group && who == Who::Myself {
            testkit::skip("writable memory control group");
        }

        // What the kernel keeps of files only for want of a better use is not counted, files in memory are.
        let work = place.directory(&format!("files-{who:?}"), who);
        let mut spec = host_programs("head -c 200000000 /dev/zero > /work/file; cat /work/file > /dev/null");
        spec.mounts.push(bind(&work, "/work", true));
        spec.owned = vec![work];
        let said = place.run(who, &spec);
        assert!((1..64).contains(&mebibytes(&said)), "{who:?}: {said:?}");
        if has_group {
            let said = place.run(who, &host_programs("head -c 67108864 /dev/zero > /tmp/file; sleep 0.5"));
            assert!((64..128).contains(&mebibytes(&said)), "{who:?}: {said:?}");
        }
    }
}

#[test]
fn a_build_that_is_ended_by_force_has_a_peak_too() {
    if everyone().is_empty() {
        return;
    }
    let mut spec = host_programs("head -c 67108864 /dev/zero | tail | { head -c 1; sleep 1000; }");
    let mut child = spawn(&spec);
    assert_eq!(child.peak_memory_bytes(), 0, "not before the end");
    let mut first = [1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    child.kill();
    assert_eq!(child.wait().unwrap(), Outcome::Killed);
    assert!(child.peak_memory_bytes() >= 64 << 20, "{}", child.peak_memory_bytes());

    spec.limits.wall_time = Some(Duration::from_secs(3));
    let mut child = spawn(&spec);
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(child.wait().unwrap(), Outcome::TimedOut);
    assert!(child.peak_memory_bytes() >= 64 << 20, "{}", child.peak_memory_bytes());
}

#[test]
fn a_lone_id_is_said() {
    let place = Place::new();
    for who in everyone().into_iter().filter(|who| *who == Who::Nobody) {
        let report = place.run(who, &host_programs("true")).report();
        let lone = report["id_map"]["users"].as_array().unwrap().len() == 1;
        assert_eq!(report["notices"].to_string().contains("only one user id"), lone);
    }
}

#[test]
fn trees_that_resist_are_removed() {
    let place = Place::new();
    for who in everyone() {
        let above = place.directory(&format!("above-{who:?}"), who);
        let keep = place.directory(&format!("keep-{who:?}"), who);
        fs_err::write(keep.join("file"), "x").unwrap();
        let mut spec =
            host_programs("mkdir -p /w/tree/shut/deep; ln -s /w /w/tree/shut/up; chmod 0 /w/tree/shut");
        spec.mounts.push(bind(&above, "/w", true));
        spec.owned = vec![above.clone()];
        assert_eq!(place.run(who, &spec).status, 0);
        let tree = above.join("tree");
        symlink(&keep, tree.join("link")).unwrap();
        let remove = || place.command(who, &["--remove", tree.to_str().unwrap()]).output().unwrap();
        let output = remove();
        assert!(output.status.success(), "{who:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!tree.exists() && keep.join("file").exists());
        assert!(remove().status.success(), "removing twice is fine");
    }
}

#[test]
fn accounts_can_be_changed_inside_where_there_are_ids() {
    if everyone().is_empty() || !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let script = "touch /tmp/a; chown 1000:100 /tmp/a; stat -c %u:%g /tmp/a; \
                  setpriv --reuid 1000 --regid 100 --clear-groups sh -c 'id -u; grep CapEff /proc/self/status | cut -f2'";
    let said = place.run(Who::Myself, &host_programs(script));
    assert_eq!(said.output, "1000:100\n1000\n0000000000000000\n", "{}", said.errors);
}

#[test]
fn terminals_and_shared_memory_work() {
    let place = Place::new();
    for who in everyone() {
        let script = "echo x > /dev/shm/a && head -c 2 /dev/urandom | wc -c; echo > /dev/null && echo null; \
                      script -qec 'tty' /dev/null; ls /dev";
        let said = place.run(who, &host_programs(script));
        assert!(said.output.starts_with("2\nnull\n"), "{who:?}: {said:?}");
        for name in ["full", "ptmx", "pts", "stdin", "zero"] {
            assert!(said.output.lines().any(|line| line == name), "{who:?}: {said:?}");
        }
        assert!(!said.output.lines().any(|line| line.starts_with("loop") || line == "kmsg"), "{said:?}");
        if !said.output.contains("script: not found") {
            assert!(said.output.contains("/dev/pts/0"), "{who:?}: {said:?}");
        }
    }
}

#[test]
fn the_check_up_agrees_with_what_works() {
    if everyone().is_empty() {
        return;
    }
    let checks = probe_through(Path::new(PROGRAM), &std::env::temp_dir());
    for name in ["user, pid and mount namespaces", "network namespaces", "proc", "devices", "overlayfs"] {
        let check = checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(check.state, State::Ok, "{check:?}");
    }
    for check in checks {
        assert!(!check.found.is_empty(), "{check:?}");
        assert_eq!(check.remedy.is_empty(), check.state == State::Ok, "{check:?}");
    }
    let left = fs_err::read_dir(std::env::temp_dir())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name() == *format!("moraine-doctor-{}", std::process::id()));
    assert_eq!(left.count(), 0);
}
