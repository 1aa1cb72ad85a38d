//! The description of a sandbox: what its tree is made of, what runs in it, and how far it may go.
//!
//! A description is data: it travels as JSON to the process that performs it. [`Spec::check`] refuses what could not
//! be meant, before anything is started.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::SandboxError;

/// Most layers of one overlay: `mount(2)` takes its options in one page of 4,096 bytes, and a layer is named by at
/// most 20 of them (`/proc/self/fd/12345:`), which leaves room for upper, work and flags.
pub(crate) const OVERLAY_LAYERS_MAX: usize = 180;

/// Most mounts of one description. A build has about twenty; more than ten times that is a mistake.
pub(crate) const MOUNTS_MAX: usize = 256;

/// Most layers, sources and devices together: each is an open file during the set-up, and a layer is one twice, of which
/// 1,024 are usually allowed.
pub(crate) const SOURCES_MAX: usize = 384;

/// Longest path that the kernel takes, its end mark included (`PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;

/// Longest host name that the kernel takes (`__NEW_UTS_LEN`).
const HOSTNAME_BYTES_MAX: usize = 64;

/// Everything there is to say about one sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What `/` is.
    pub root: Root,
    /// Whether the file system of `/` itself can be written to. What is mounted below has its own rules.
    #[serde(default)]
    pub root_writable: bool,
    /// What is put into the tree, in this order.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Directories of the host that are made to belong, with all that is in them, to root inside, before anything is
    /// mounted: upper, work and build directories. Symbolic links are changed themselves, never followed. A file with
    /// several names changes under all of them, so this is not for trees that share files with a store.
    #[serde(default)]
    pub owned: Vec<PathBuf>,
    /// The program: absolute inside the tree, or a bare name that is looked for along `PATH` of `environment`.
    pub program: PathBuf,
    /// What the program is given after its own name.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// The whole environment; nothing is inherited.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Where the program starts, absolute inside the tree.
    #[serde(default = "slash")]
    pub directory: PathBuf,
    /// The name of the machine that the program sees.
    #[serde(default = "default_hostname")]
    pub hostname: String,
    /// Whether the network of the host can be reached.
    #[serde(default)]
    pub network: Network,
    /// How long and how much.
    #[serde(default)]
    pub limits: Limits,
    /// Where the program's output goes.
    #[serde(default)]
    pub output: Output,
}

impl Spec {
    /// A sandbox without mounts, limits, network or environment, that runs `program` in `root`.
    #[must_use]
    pub fn new<A: Into<String>>(
        root: Root,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Spec {
        Spec {
            root,
            root_writable: false,
            mounts: Vec::new(),
            owned: Vec::new(),
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: BTreeMap::new(),
            directory: slash(),
            hostname: default_hostname(),
            network: Network::None,
            limits: Limits::default(),
            output: Output::Combined,
        }
    }

    /// Refuses a description that cannot be performed as written.
    ///
    /// # Errors
    /// [`SandboxError::Description`] with the field and the reason.
    pub fn check(&self) -> Result<(), SandboxError> {
        let refuse = |why: String| Err(SandboxError::Description { why });
        if self.program.as_os_str().is_empty() {
            return refuse("no program is named".to_owned());
        }
        if self.hostname.is_empty() || self.hostname.len() > HOSTNAME_BYTES_MAX {
            return refuse(format!(
                "the host name has {} bytes, not 1 to {HOSTNAME_BYTES_MAX}",
                self.hostname.len()
            ));
        }
        if self.mounts.len() > MOUNTS_MAX {
            return refuse(format!("{} mounts are more than {MOUNTS_MAX}", self.mounts.len()));
        }
        let has_nul = |text: &str| text.contains('\0');
        if self.arguments.iter().any(|argument| has_nul(argument)) {
            return refuse("an argument contains a NUL byte".to_owned());
        }
        for (name, value) in &self.environment {
            if name.is_empty() || name.contains('=') || has_nul(name) || has_nul(value) {
                return refuse(format!("{name:?} is no name, or has no value, for the environment"));
            }
        }
        check_inside("directory", &self.directory)?;
        for path in &self.owned {
            check_host("owned", path)?;
        }
        let mut sources = match &self.root {
            Root::Tmpfs { .. } => 0,
            Root::Directory(path) => check_host("root", path).map(|()| 1)?,
            Root::Overlay { lower, upper } => check_layers("root", lower, upper.as_ref())?,
        };
        for mount in &self.mounts {
            sources += mount.check()?;
        }
        if sources > SOURCES_MAX {
            return refuse(format!("{sources} directories to mount are more than {SOURCES_MAX}"));
        }
        Ok(())
    }
}

fn slash() -> PathBuf {
    PathBuf::from("/")
}

fn default_hostname() -> String {
    "sandbox".to_owned()
}

/// What `/` is inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Root {
    /// An empty file system in memory.
    Tmpfs {
        /// Most bytes it may hold; `None` for the kernel's default, half of the memory.
        size_bytes: Option<u64>,
    },
    /// A directory of the host, without the file systems mounted below it. Missing places for mounts are created in
    /// it, and its files keep their ids: those of the machine's root belong to nobody inside. A tree that was installed
    /// by root is better the lower layer of an overlay with an upper one.
    Directory(PathBuf),
    /// Layers on top of one another. Without an upper layer the places of all mounts have to exist. Files of root in
    /// read-only layers belong to root inside.
    Overlay {
        /// Read-only layers, the uppermost first.
        lower: Vec<PathBuf>,
        /// Where changes go; `None` for a root that cannot be changed.
        upper: Option<Upper>,
    },
}

/// The writable side of an overlay. Both directories are on the same file system of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upper {
    /// Receives what is created or changed.
    pub upper: PathBuf,
    /// Empty; the kernel's own.
    pub work: PathBuf,
}

/// One thing in the tree. `target` is always absolute inside the tree; missing directories above it are created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mount {
    /// A file or directory of the host, never with set-user-id programs or devices.
    Bind {
        /// Absolute path on the host. Symbolic links in it are followed, on the host.
        source: PathBuf,
        /// Where it appears.
        target: PathBuf,
        /// Whether it can be changed from inside.
        writable: bool,
        /// Whether file systems mounted below the source appear as well.
        recursive: bool,
    },
    /// Layers on top of one another.
    Overlay {
        /// Read-only layers, the uppermost first.
        lower: Vec<PathBuf>,
        /// Where changes go; `None` for a tree that cannot be changed.
        upper: Option<Upper>,
        /// Where it appears.
        target: PathBuf,
    },
    /// An empty file system in memory that belongs to root inside.
    Tmpfs {
        /// Where it appears.
        target: PathBuf,
        /// Permissions of its root, as in 0o1777.
        mode: u32,
        /// Most bytes it may hold; `None` for the kernel's default.
        size_bytes: Option<u64>,
    },
    /// The processes of the sandbox.
    Proc {
        /// Where it appears: `/proc`.
        target: PathBuf,
    },
    /// null, zero, full, random, urandom, tty, pts, ptmx, shm and the links to standard streams.
    Devices {
        /// Where they appear: `/dev`.
        target: PathBuf,
    },
    /// A directory that belongs to root inside. One that exists is left as it is.
    Directory {
        /// Where it is created.
        target: PathBuf,
        /// Permissions, as in 0o755.
        mode: u32,
    },
    /// A symbolic link, in the place of whatever file was there.
    Symlink {
        /// Where the link is created.
        target: PathBuf,
        /// The text of the link: where it points.
        link: PathBuf,
    },
    /// A file that belongs to root inside, in the place of whatever file was there.
    File {
        /// Where it is created.
        target: PathBuf,
        /// What it holds.
        contents: String,
        /// Permissions, as in 0o644.
        mode: u32,
    },
}

impl Mount {
    /// Where the thing appears inside.
    #[must_use]
    pub fn target(&self) -> &Path {
        match self {
            Mount::Bind { target, .. }
            | Mount::Overlay { target, .. }
            | Mount::Tmpfs { target, .. }
            | Mount::Proc { target }
            | Mount::Devices { target }
            | Mount::Directory { target, .. }
            | Mount::Symlink { target, .. }
            | Mount::File { target, .. } => target,
        }
    }

    /// Checks the paths and says how many directories of the host are opened for it.
    fn check(&self) -> Result<usize, SandboxError> {
        let target = self.target();
        check_inside("target", target)?;
        if target.parent().is_none() {
            return Err(SandboxError::Description {
                why: "a mount has the target /; say what / is in `root`".to_owned(),
            });
        }
        match self {
            Mount::Bind { source, .. } => check_host("source", source).map(|()| 1),
            Mount::Overlay { lower, upper, .. } => check_layers("overlay", lower, upper.as_ref()),
            Mount::Devices { .. } => Ok(crate::mounting::DEVICE_NODES.len()),
            Mount::Tmpfs { .. }
            | Mount::Proc { .. }
            | Mount::Directory { .. }
            | Mount::Symlink { .. }
            | Mount::File { .. } => Ok(0),
        }
    }
}

/// Whether the network of the host can be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Only a loopback interface of the sandbox's own.
    #[default]
    None,
    /// The host's interfaces. Name resolution needs `/etc/resolv.conf` among the mounts.
    Host,
}

/// How long and how much; `None` is without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Time from the start of the command to its end by force.
    pub wall_time: Option<Duration>,
    /// Memory of all processes together, files in memory included.
    pub memory_bytes: Option<u64>,
    /// Processes and threads at a time.
    pub processes: Option<u64>,
}

/// Where the program's output goes. Its standard input is always empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// Standard output and standard error into one pipe, in the order written.
    #[default]
    Combined,
    /// A pipe for each.
    Separate,
    /// To where the caller's own go.
    Inherit,
}

fn check_inside(field: &str, path: &Path) -> Result<(), SandboxError> {
    let refuse =
        |why: &str| Err(SandboxError::Description { why: format!("{field} {}: {why}", path.display()) });
    if !path.is_absolute() {
        return refuse("a path inside the sandbox begins with /");
    }
    if path.components().any(|part| matches!(part, Component::ParentDir)) {
        return refuse("`..` is not allowed");
    }
    check_length(field, path)
}

fn check_host(field: &str, path: &Path) -> Result<(), SandboxError> {
    if !path.is_absolute() {
        let why = format!("{field} {}: a path of the host is given absolute", path.display());
        return Err(SandboxError::Description { why });
    }
    check_length(field, path)
}

fn check_length(field: &str, path: &Path) -> Result<(), SandboxError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let why = if bytes.len() >= PATH_BYTES_MAX {
        format!("{field}: a path of {} bytes is longer than {}", bytes.len(), PATH_BYTES_MAX - 1)
    } else if bytes.contains(&0) {
        format!("{field}: a path contains a NUL byte")
    } else if path.to_str().is_none() {
        format!("{field} {}: the path is not UTF-8", path.display())
    } else {
        return Ok(());
    };
    Err(SandboxError::Description { why })
}

fn check_layers(field: &str, lower: &[PathBuf], upper: Option<&Upper>) -> Result<usize, SandboxError> {
    if lower.is_empty() || lower.len() > OVERLAY_LAYERS_MAX {
        let why =
            format!("{field}: an overlay has 1 to {OVERLAY_LAYERS_MAX} lower layers, not {}", lower.len());
        return Err(SandboxError::Description { why });
    }
    for path in lower.iter().chain(upper.iter().flat_map(|upper| [&upper.upper, &upper.work])) {
        check_host(field, path)?;
    }
    Ok(lower.len() + 2 * usize::from(upper.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> Spec {
        Spec::new(Root::Tmpfs { size_bytes: None }, "/bin/true", [""; 0])
    }

    #[test]
    fn descriptions_that_cannot_be_meant_are_refused_by_name() {
        let check = |change: fn(&mut Spec), expect: &str| {
            let mut spec = minimal();
            change(&mut spec);
            let message = spec.check().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(expect), "{message:?} does not say {expect:?}");
        };
        let tmpfs = |target: &str| Mount::Tmpfs { target: target.into(), mode: 0o755, size_bytes: None };
        assert!(tmpfs("/a").check().is_ok());
        check(|spec| spec.program = PathBuf::new(), "no program");
        check(|spec| spec.hostname = "x".repeat(65), "65 bytes");
        check(|spec| spec.directory = "work".into(), "begins with /");
        check(|spec| spec.directory = "/a/../b".into(), "`..`");
        check(|spec| spec.owned.push("build".into()), "owned build");
        check(|spec| spec.arguments.push("a\0b".to_owned()), "NUL");
        check(|spec| drop(spec.environment.insert("A=B".to_owned(), String::new())), "A=B");
        check(|spec| spec.root = Root::Directory("x".into()), "root x");
        check(|spec| spec.root = Root::Overlay { lower: Vec::new(), upper: None }, "not 0");
        check(|spec| spec.root = Root::Overlay { lower: vec!["/l".into(); 181], upper: None }, "not 181");
        check(|spec| spec.mounts.push(Mount::Proc { target: "/".into() }), "`root`");
        check(|spec| spec.mounts.push(Mount::Proc { target: "/a/../../proc".into() }), "`..`");
        check(|spec| spec.mounts = vec![Mount::Proc { target: "/proc".into() }; 257], "257 mounts");
        check(
            |spec| {
                let lower = vec![PathBuf::from("/l"); 180];
                spec.mounts = vec![Mount::Overlay { lower, upper: None, target: "/usr".into() }; 5];
            },
            "more than 384",
        );
    }

    #[test]
    fn a_description_survives_json() {
        let mut spec = minimal();
        spec.mounts = vec![
            Mount::Bind { source: "/usr".into(), target: "/usr".into(), writable: false, recursive: true },
            Mount::File { target: "/etc/hosts".into(), contents: "127.0.0.1 x\n".to_owned(), mode: 0o644 },
        ];
        spec.limits.wall_time = Some(Duration::from_millis(1500));
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
    }

    #[test]
    fn unknown_fields_are_refused_and_missing_ones_are_strict() {
        let text = r#"{"root":{"tmpfs":{"size_bytes":null}},"program":"/bin/true"}"#;
        let spec: Spec = serde_json::from_str(text).unwrap();
        assert_eq!(spec, minimal());
        assert_eq!((spec.network, spec.root_writable), (Network::None, false));
        assert!(serde_json::from_str::<Spec>(&text.replace("program", "programme")).is_err());
    }
}
