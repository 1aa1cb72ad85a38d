//! The tree that a build sees.
//!
//! There are two kinds. A root of *stones* is made of packages only. A *host* root shows the machine's own `/usr`,
//! read-only, under the packages that the recipe asks for and that our repository has: the way to build on a machine
//! whose distribution is another one, and to begin from nothing. In both, `/` is an empty file system in memory, `/etc`
//! holds only what is written here, and of the rest of the machine nothing can be seen.
//!
//! [`tree`] only chooses; the sandbox carries it out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use recipe::Toolchain;
use sandbox::{Mount, Network, Root};

/// Where a build finds its things inside the tree; recipes rely on these names.
pub mod inside {
    /// Everything of the build.
    pub const HOME: &str = "/mason";
    /// The recipe's folder, read-only.
    pub const RECIPE: &str = "/mason/recipe";
    /// Archives and checkouts, read-only.
    pub const SOURCES: &str = "/mason/sourcedir";
    /// Where sources are unpacked and built.
    pub const BUILD: &str = "/mason/build";
    /// Where the build installs to.
    pub const INSTALL: &str = "/mason/install";
    /// Scripts of the phases, read-only.
    pub const SCRIPTS: &str = "/mason/scripts";
    /// In a host root, the libraries of the packages alone, read-only.
    pub const LIBRARIES: &str = "/mason/lib";
}

/// What the tree is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RootKind {
    /// The machine's own `/usr`, read-only, under the packages asked for.
    Host,
    /// Packages only.
    Stones,
}

impl RootKind {
    /// The word for it on the command line and in records.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            RootKind::Host => "host",
            RootKind::Stones => "stones",
        }
    }
}

/// Folders of the machine that belong to one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Holds `usr/` of the packages that were asked for, in which there is a `lib`.
    pub packages: PathBuf,
    /// Becomes `/mason/build`.
    pub build: PathBuf,
    /// Becomes `/mason/install`.
    pub install: PathBuf,
    /// Becomes `/mason/sourcedir`.
    pub sources: PathBuf,
    /// Becomes `/mason/scripts`.
    pub scripts: PathBuf,
    /// Becomes `/mason/recipe`.
    pub recipe: PathBuf,
    /// Caches of compilers and languages: name below `/mason` and folder.
    pub caches: Vec<(String, PathBuf)>,
}

/// What there is on the machine, as far as a host root shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// `bin`, `lib64` and so on: the text of the link, or nothing for a real directory.
    pub top_level: BTreeMap<String, Option<PathBuf>>,
    /// Files and folders of `/etc` that programs of `/usr` cannot do without and that say nothing about the machine.
    pub etc: Vec<PathBuf>,
    /// What a build with network needs to find and trust other machines.
    pub network_etc: Vec<PathBuf>,
    /// Whether gcc is there.
    pub has_gcc: bool,
    /// Whether dash is there, the shell that configure scripts run fastest in.
    pub has_dash: bool,
}

impl HostFacts {
    /// Looks at the machine.
    #[must_use]
    pub fn look() -> Self {
        let mut facts = Self::default();
        for name in TOP_LEVEL {
            let path = Path::new("/").join(name);
            if let Ok(link) = fs_err::read_link(&path) {
                facts.top_level.insert(name.into(), Some(link));
            } else if path.is_dir() {
                facts.top_level.insert(name.into(), None);
            }
        }
        let there = |paths: &[&str]| paths.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
        facts.etc = there(&["/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"]);
        facts.has_gcc = Path::new("/usr/bin/gcc").exists();
        facts.has_dash = Path::new("/usr/bin/dash").exists();
        facts.network_etc = there(&["/etc/resolv.conf", "/etc/ssl", "/etc/pki", "/etc/ca-certificates"]);
        facts
    }
}

/// Directories beside `/usr` that old paths lead through.
const TOP_LEVEL: [&str; 5] = ["bin", "sbin", "lib", "lib64", "lib32"];
/// Where those paths lead in a system made of packages.
const MERGED: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib"),
    ("lib32", "usr/lib32"),
];

/// The compilers that a build uses: in a root of packages those that the recipe asks for. On a machine of another
/// distribution gcc comes first, whatever the recipe says: clang links there with a linker that the flags are not made for.
#[must_use]
pub fn toolchain(kind: RootKind, host: &HostFacts, asked: Toolchain) -> Toolchain {
    match kind {
        RootKind::Stones => asked,
        RootKind::Host if host.has_gcc => Toolchain::Gnu,
        RootKind::Host => Toolchain::Llvm,
    }
}

/// Definitions of the macros that the kind of root replaces, by name.
#[must_use]
pub fn definitions(kind: RootKind, host: &HostFacts) -> BTreeMap<String, String> {
    let mut definitions = BTreeMap::new();
    if kind == RootKind::Host {
        // The one locale with UTF-8 that every glibc has by itself.
        definitions.insert("locale".to_owned(), "C.UTF-8".to_owned());
        if !host.has_dash {
            definitions.insert("dash".to_owned(), "/usr/bin/bash".to_owned());
        }
    }
    definitions
}

/// The tree of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// What `/` is.
    pub root: Root,
    /// What is put into it.
    pub mounts: Vec<Mount>,
    /// Whether the machine's network is there.
    pub network: Network,
    /// Environment that belongs to the kind of root.
    pub environment: BTreeMap<String, String>,
}

/// Chooses the tree.
#[must_use]
pub fn tree(kind: RootKind, host: &HostFacts, places: &Places, networking: bool) -> Tree {
    let mut mounts = match kind {
        RootKind::Host => host_mounts(host, places),
        RootKind::Stones => stones_mounts(places),
    };
    mounts.push(Mount::Proc { target: "/proc".into() });
    mounts.push(Mount::Devices { target: "/dev".into() });
    for (target, mode) in [("/tmp", 0o1777), ("/run", 0o755), ("/var", 0o755)] {
        mounts.push(Mount::Tmpfs { target: target.into(), mode, size_bytes: None });
    }
    mounts.push(Mount::Directory { target: "/var/tmp".into(), mode: 0o1777 });
    for (target, contents) in ETC_FILES {
        mounts.push(Mount::File { target: target.into(), contents: contents.into(), mode: 0o644 });
    }
    for (source, target, writable) in [
        (&places.recipe, inside::RECIPE, false),
        (&places.sources, inside::SOURCES, false),
        (&places.scripts, inside::SCRIPTS, false),
        (&places.build, inside::BUILD, true),
        (&places.install, inside::INSTALL, true),
    ] {
        mounts.push(bind(source, Path::new(target), writable));
    }
    for (name, folder) in &places.caches {
        mounts.push(bind(folder, &Path::new(inside::HOME).join(name), true));
    }
    if networking {
        mounts.extend(host.network_etc.iter().map(|path| bind(path, path, false)));
    }
    Tree {
        root: Root::Tmpfs { size_bytes: None },
        mounts,
        network: if networking { Network::Host } else { Network::None },
        environment: environment(kind),
    }
}

fn host_mounts(host: &HostFacts, places: &Places) -> Vec<Mount> {
    let packages = places.packages.join("usr");
    let mut mounts =
        vec![Mount::Overlay { lower: vec![packages, "/usr".into()], upper: None, target: "/usr".into() }];
    for (name, link) in &host.top_level {
        let target = Path::new("/").join(name);
        mounts.push(match link {
            Some(link) => Mount::Symlink { target, link: link.clone() },
            None => bind(&target, &target, false),
        });
    }
    mounts.extend(host.etc.iter().map(|path| bind(path, path, false)));
    mounts.push(bind(&places.packages.join("usr/lib"), Path::new(inside::LIBRARIES), false));
    mounts
}

fn stones_mounts(places: &Places) -> Vec<Mount> {
    let mut mounts = vec![bind(&places.packages.join("usr"), Path::new("/usr"), false)];
    for (name, link) in MERGED {
        mounts.push(Mount::Symlink { target: Path::new("/").join(name), link: link.into() });
    }
    mounts
}

fn bind(source: &Path, target: &Path, writable: bool) -> Mount {
    Mount::Bind { source: source.to_path_buf(), target: target.to_path_buf(), writable, recursive: false }
}

fn environment(kind: RootKind) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([
        ("HOME".to_owned(), inside::BUILD.to_owned()),
        ("PATH".to_owned(), "/usr/bin:/usr/sbin".to_owned()),
    ]);
    if kind == RootKind::Host {
        // A machine of another distribution keeps its libraries elsewhere and looks there first, so the linker would take
        // its library of the same name. What packages brought is therefore also in a place of its own, which comes before
        // all of the machine's; /usr/lib itself would not do, because gcc looks into that folder's multiarch subfolder first.
        environment.insert("LIBRARY_PATH".into(), inside::LIBRARIES.into());
        // Of pkg-config files, what packages brought is all there is.
        environment.insert("PKG_CONFIG_LIBDIR".into(), "/usr/lib/pkgconfig:/usr/share/pkgconfig".into());
    }
    environment
}

/// All of `/etc` that a build sees beside what a host root must show.
const ETC_FILES: [(&str, &str); 5] = [
    (
        "/etc/passwd",
        "root:x:0:0:root:/mason/build:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    ),
    ("/etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("/etc/hostname", "boulder\n"),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let at = |name: &str| Path::new("/work").join(name);
        Places {
            packages: at("packages"),
            build: at("build"),
            install: at("install"),
            sources: at("sources"),
            scripts: at("scripts"),
            recipe: at("recipe"),
            caches: vec![("ccache".into(), at("ccache"))],
        }
    }

    fn debian() -> HostFacts {
        HostFacts {
            top_level: BTreeMap::from([("lib64".into(), Some("usr/lib64".into())), ("opt-bin".into(), None)]),
            etc: vec!["/etc/alternatives".into()],
            network_etc: vec!["/etc/resolv.conf".into()],
            has_gcc: true,
            has_dash: true,
        }
    }

    #[test]
    fn a_machine_builds_with_what_it_has() {
        let bare = HostFacts { has_gcc: false, has_dash: false, ..debian() };
        for (kind, host, asked, expected) in [
            (RootKind::Host, debian(), Toolchain::Llvm, Toolchain::Gnu),
            (RootKind::Host, bare.clone(), Toolchain::Gnu, Toolchain::Llvm),
            (RootKind::Stones, debian(), Toolchain::Llvm, Toolchain::Llvm),
            (RootKind::Stones, bare.clone(), Toolchain::Gnu, Toolchain::Gnu),
        ] {
            assert_eq!(toolchain(kind, &host, asked), expected);
        }
        assert_eq!(definitions(RootKind::Host, &bare).get("dash").map(String::as_str), Some("/usr/bin/bash"));
        assert!(!definitions(RootKind::Host, &debian()).contains_key("dash"));
        assert!(definitions(RootKind::Stones, &bare).is_empty());
    }

    fn sources(tree: &Tree) -> Vec<&Path> {
        tree.mounts
            .iter()
            .filter_map(|mount| match mount {
                Mount::Bind { source, .. } => Some(source.as_path()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_host_root_lays_packages_over_the_machine() {
        let tree = tree(RootKind::Host, &debian(), &places(), false);
        let lower = tree.mounts.iter().find_map(|mount| match mount {
            Mount::Overlay { lower, upper: None, target } if target == Path::new("/usr") => {
                Some(lower.clone())
            }
            _ => None,
        });
        assert_eq!(lower, Some(vec![PathBuf::from("/work/packages/usr"), PathBuf::from("/usr")]));
        assert!(tree.mounts.contains(&Mount::Symlink { target: "/lib64".into(), link: "usr/lib64".into() }));
    }

    #[test]
    fn the_linker_finds_libraries_of_packages_before_those_of_the_machine() {
        let tree = tree(RootKind::Host, &debian(), &places(), false);
        let place = tree.environment.get("LIBRARY_PATH").map(Path::new).unwrap();
        assert!(!place.starts_with("/usr"), "gcc would try the multiarch folder of the machine first");
        let shown = tree.mounts.iter().any(|mount| match mount {
            Mount::Bind { source, target, .. } => {
                source == Path::new("/work/packages/usr/lib") && target == place
            }
            _ => false,
        });
        assert!(shown);
    }

    #[test]
    fn a_root_of_stones_shows_nothing_of_the_machine() {
        let tree = tree(RootKind::Stones, &debian(), &places(), false);
        for source in sources(&tree) {
            assert!(source.starts_with("/work"), "{} is of the machine", source.display());
        }
        assert!(!tree.mounts.iter().any(|mount| matches!(mount, Mount::Overlay { .. })));
        assert!(!tree.environment.contains_key("LIBRARY_PATH"));
    }

    #[test]
    fn only_build_install_and_caches_can_be_written() {
        for kind in [RootKind::Host, RootKind::Stones] {
            let tree = tree(kind, &debian(), &places(), false);
            let writable: Vec<&Path> = tree
                .mounts
                .iter()
                .filter_map(|mount| match mount {
                    Mount::Bind { target, writable: true, .. } => Some(target.as_path()),
                    _ => None,
                })
                .collect();
            assert_eq!(
                writable,
                [Path::new("/mason/build"), Path::new("/mason/install"), Path::new("/mason/ccache")]
            );
        }
    }

    #[test]
    fn the_network_is_there_only_when_asked_for() {
        let without = tree(RootKind::Host, &debian(), &places(), false);
        assert_eq!(without.network, Network::None);
        assert!(!sources(&without).contains(&Path::new("/etc/resolv.conf")));
        let with = tree(RootKind::Host, &debian(), &places(), true);
        assert_eq!(with.network, Network::Host);
        assert!(sources(&with).contains(&Path::new("/etc/resolv.conf")));
    }
}
