//! One file tree below `/usr` from what many packages contain.
//!
//! Invariants of every tree: each path once; the parent of each path is a directory of the tree and comes before it;
//! no path leaves `/usr`; what two packages both bring is the same thing in both. A path below a packaged symbolic link
//! is moved to where the link leads, because that is where the file would land on a running system.
//!
//! Whatever breaks one of these is an error that names the packages. It does not look at the contents of files.

mod path;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use fault::{Fault, Kind};
use stone::{Digest, Entry, EntryFile};

use path::{ancestors, check_path, follow, join};

/// Mode of directories that no package lists.
pub const IMPLIED_DIRECTORY_MODE: u32 = 0o755;

/// The bits of a mode that do not say what kind of file it is.
const PERMISSION_BITS: u32 = 0o7777;

/// How many links a path may lead through; the limit that Linux has for one lookup.
const LINKS_FOLLOWED_MAX: usize = 40;

/// Names in `/usr` that a link in the root of the file system leads to, so they must be directories, or lead to one.
const MERGED_DIRECTORIES: [&str; 4] = ["bin", "lib", "lib32", "sbin"];

/// A name in `/usr` that must not be a directory of its own: `/lib64` leads to `/usr/lib`.
const MERGED_INTO_LIB: &str = "lib64";

/// What one package brings.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a> {
    /// Name of the package, for messages.
    pub package: &'a str,
    /// Its files; targets are relative to `/usr`.
    pub entries: &'a [Entry],
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A file with this content.
    Regular(Digest),
    /// A symbolic link with this text.
    Symlink(String),
}

/// A path's kind, permissions and owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits, without the bits of the kind.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

/// A device, pipe or socket that a package lists; the format does not say enough to make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Name of the package.
    pub package: String,
    /// The path below `/usr`.
    pub path: String,
}

/// The tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// Nodes by path relative to `/usr`; parents sort before what they contain. `/usr` itself is not listed.
    pub nodes: BTreeMap<String, Node>,
    /// What was left out, in the order of the packages.
    pub skipped: Vec<Skipped>,
}

/// Why packages make no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A path that leaves `/usr` or is not in its plain form.
    #[error("cannot place {path:?} of {package}: {reason}")]
    BadPath {
        /// Name of the package.
        package: String,
        /// The path as the package has it.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two packages bring different things at one path.
    #[error("cannot place /usr/{path}: {first} and {second} both bring it, and not the same")]
    Collision {
        /// The path below `/usr`.
        path: String,
        /// Name of one package.
        first: String,
        /// Name of the other.
        second: String,
    },
    /// A path lies below something that is a file.
    #[error("cannot place /usr/{path} of {package}: /usr/{parent} of {other} is not a directory")]
    BelowFile {
        /// Name of the package.
        package: String,
        /// The path below `/usr`.
        path: String,
        /// The file.
        parent: String,
        /// Name of the package with the file.
        other: String,
    },
    /// A path lies below a link that leads to no packaged directory.
    #[error(
        "cannot place /usr/{path} of {package}: /usr/{link} of {other} is a link to {target:?}, which is no directory of any package"
    )]
    BelowLink {
        /// Name of the package.
        package: String,
        /// The path below `/usr`.
        path: String,
        /// The link.
        link: String,
        /// Where it leads, as written.
        target: String,
        /// Name of the package with the link.
        other: String,
    },
    /// A path that would split what the root links of a merged `/usr` hold together.
    #[error("cannot place /usr/{path} of {package}: {reason}")]
    SplitsUsr {
        /// Name of the package.
        package: String,
        /// The path below `/usr`.
        path: String,
        /// What must be there instead.
        reason: &'static str,
    },
}

impl Fault for TreeError {
    fn kind(&self) -> Kind {
        match self {
            TreeError::Collision { .. } | TreeError::BelowFile { .. } | TreeError::BelowLink { .. } => {
                Kind::Conflict
            }
            TreeError::BadPath { .. } | TreeError::SplitsUsr { .. } => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            TreeError::Collision { first, second, .. } => {
                vec![format!(
                    "these packages cannot be installed together; keep one: moss remove {first} or moss remove {second}"
                )]
            }
            TreeError::BelowFile { package, other, .. } | TreeError::BelowLink { package, other, .. } => {
                vec![format!("one of {package} and {other} is packaged wrongly; tell whoever packages them")]
            }
            TreeError::BadPath { package, .. } | TreeError::SplitsUsr { package, .. } => {
                vec![format!("{package} is packaged wrongly; tell whoever packages it")]
            }
        }
    }
}

/// Merges what the packages contain.
///
/// # Errors
/// When a path escapes or is below no directory, or two packages bring different things at one path.
pub fn merge(layouts: &[Layout<'_>]) -> Result<Tree, TreeError> {
    let ground = Ground::new(layouts)?;
    let mut tree = Tree::default();
    // Whom a node came from, for messages; nodes themselves do not carry it.
    let mut owners: HashMap<String, usize> = HashMap::new();
    for (package, layout) in layouts.iter().enumerate() {
        for entry in layout.entries {
            let path = ground.place(layout.package, &entry.target)?;
            let Some(node) = node(entry) else {
                tree.skipped.push(Skipped { package: layout.package.to_owned(), path: path.into_owned() });
                continue;
            };
            check_merged_usr(layout.package, &path, &node)?;
            match tree.nodes.get(path.as_ref()) {
                None => {
                    owners.insert(path.clone().into_owned(), package);
                    tree.nodes.insert(path.into_owned(), node);
                }
                Some(present) if *present == node => {}
                Some(_) => {
                    let first = owners.get(path.as_ref()).map_or("", |owner| layouts[*owner].package);
                    return Err(TreeError::Collision {
                        first: first.to_owned(),
                        second: layout.package.to_owned(),
                        path: path.into_owned(),
                    });
                }
            }
        }
    }
    add_parents(&mut tree, &owners, layouts)?;
    Ok(tree)
}

fn node(entry: &Entry) -> Option<Node> {
    let kind = match &entry.file {
        EntryFile::Regular(digest) => NodeKind::Regular(*digest),
        EntryFile::Symlink(target) => NodeKind::Symlink(target.clone()),
        EntryFile::Directory => NodeKind::Directory,
        _ => return None,
    };
    // Linux ignores the mode of a link, and packages disagree about it.
    let mode = if matches!(kind, NodeKind::Symlink(_)) { 0o777 } else { entry.mode & PERMISSION_BITS };
    Some(Node { kind, mode, uid: entry.uid, gid: entry.gid })
}

fn check_merged_usr(package: &str, path: &str, node: &Node) -> Result<(), TreeError> {
    let reason = match &node.kind {
        NodeKind::Regular(_) if MERGED_DIRECTORIES.contains(&path) => {
            "a link in the root of the system leads here, so it must be a directory"
        }
        NodeKind::Symlink(target) if path == MERGED_INTO_LIB => {
            if follow(path, target).as_deref() == Some("lib") {
                return Ok(());
            }
            "the only thing this may be is a link to lib"
        }
        _ if path == MERGED_INTO_LIB
            || path.strip_prefix(MERGED_INTO_LIB).is_some_and(|rest| rest.starts_with('/')) =>
        {
            "/lib64 leads to /usr/lib, so the file belongs there"
        }
        _ => return Ok(()),
    };
    Err(TreeError::SplitsUsr { package: package.to_owned(), path: path.to_owned(), reason })
}

fn add_parents(
    tree: &mut Tree,
    owners: &HashMap<String, usize>,
    layouts: &[Layout<'_>],
) -> Result<(), TreeError> {
    let mut implied: HashSet<&str> = HashSet::new();
    for path in tree.nodes.keys() {
        for parent in ancestors(path) {
            match tree.nodes.get(parent) {
                Some(Node { kind: NodeKind::Directory, .. }) => {}
                Some(_) => {
                    let owner =
                        |path: &str| owners.get(path).map_or("", |owner| layouts[*owner].package).to_owned();
                    return Err(TreeError::BelowFile {
                        package: owner(path),
                        path: path.clone(),
                        parent: parent.to_owned(),
                        other: owner(parent),
                    });
                }
                None => {
                    implied.insert(parent);
                }
            }
        }
    }
    let implied: Vec<String> = implied.into_iter().map(str::to_owned).collect();
    let directory = Node { kind: NodeKind::Directory, mode: IMPLIED_DIRECTORY_MODE, uid: 0, gid: 0 };
    tree.nodes.extend(implied.into_iter().map(|path| (path, directory.clone())));
    Ok(())
}

struct Link<'a> {
    target: &'a str,
    package: &'a str,
}

/// What decides where paths land: the packaged links, and the directories that exist without going through one.
struct Ground<'a> {
    links: HashMap<&'a str, Link<'a>>,
    directories: HashSet<&'a str>,
}

impl<'a> Ground<'a> {
    fn new(layouts: &[Layout<'a>]) -> Result<Self, TreeError> {
        let mut links = HashMap::new();
        for layout in layouts {
            for entry in layout.entries {
                check_path(&entry.target).map_err(|reason| TreeError::BadPath {
                    package: layout.package.to_owned(),
                    path: entry.target.to_string(),
                    reason,
                })?;
                if let EntryFile::Symlink(target) = &entry.file {
                    links
                        .entry(entry.target.as_str())
                        .or_insert(Link { target: target.as_str(), package: layout.package });
                }
            }
        }
        // The empty path is /usr itself.
        let mut directories = HashSet::from([""]);
        for entry in layouts.iter().flat_map(|layout| layout.entries) {
            if ancestors(&entry.target).any(|parent| links.contains_key(parent)) {
                continue;
            }
            directories.extend(ancestors(&entry.target));
            if matches!(entry.file, EntryFile::Directory) {
                directories.insert(entry.target.as_str());
            }
        }
        Ok(Self { links, directories })
    }

    /// The path where an entry lands once every link on its way has been followed.
    fn place(&self, package: &str, target: &'a str) -> Result<Cow<'a, str>, TreeError> {
        let mut path = Cow::Borrowed(target);
        for _ in 0..LINKS_FOLLOWED_MAX {
            let Some((through, link)) = self.first_link(&path) else {
                return Ok(path);
            };
            let refuse = || TreeError::BelowLink {
                package: package.to_owned(),
                path: target.to_owned(),
                link: through.to_owned(),
                target: link.target.to_owned(),
                other: link.package.to_owned(),
            };
            let destination = follow(through, link.target).ok_or_else(refuse)?;
            let leads_on =
                self.links.contains_key(destination.as_str()) || self.first_link(&destination).is_some();
            if !leads_on && !self.directories.contains(destination.as_str()) {
                return Err(refuse());
            }
            path = Cow::Owned(join(&destination, &path[through.len() + 1..]));
        }
        Err(TreeError::BadPath {
            package: package.to_owned(),
            path: target.to_owned(),
            reason: "the links on its way lead in a circle",
        })
    }

    /// The first proper ancestor of the path that is a link.
    fn first_link<'p>(&self, path: &'p str) -> Option<(&'p str, &Link<'a>)> {
        ancestors(path).find_map(|parent| self.links.get(parent).map(|link| (parent, link)))
    }
}

#[cfg(test)]
mod tests;
