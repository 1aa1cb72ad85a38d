//! What Summit ordered: the one set of artefacts that an attempt may bring, and who may bring it.
//!
//! An [`Expectation`] exists only checked: every name in it is safe to be part of a path, every digest is one, sizes
//! add up within bounds, and the file name of every package says the version, release and architecture that were
//! ordered. What the packages themselves say is compared at the commit.

use std::collections::BTreeMap;

use fault::{Fault, Kind};
use repository::layout::{PROVENANCE_FILE, SIGNED_PROVENANCE_FILE};
use wire::PublicKey;

use store::Sha256;

/// Artefacts of one attempt. The largest source of AerynOS makes 125 packages, each with a debug package; manifests and
/// records come on top.
const ARTEFACTS_MAX: usize = 4096;

/// Bytes of all artefacts of one attempt: about ten times the largest package of any distribution (a debug package of
/// a browser, 3 GB).
const ATTEMPT_SIZE_BYTES_MAX: u64 = 32 << 30;

/// Bytes of a file name: NAME_MAX of Linux file systems, less what temporary names add.
const NAME_SIZE_BYTES_MAX: usize = 240;

/// Bytes of a text of [`Origin`]: as long as the addresses of repositories are anywhere.
const ORIGIN_SIZE_BYTES_MAX: usize = 2048;

/// Releases are kept in signed columns.
pub(crate) const RELEASE_MAX: u64 = i64::MAX.cast_unsigned();

/// What an artefact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtefactKind {
    /// A `.stone` package, to be published.
    Package,
    /// `manifest.<architecture>.bin`, kept.
    ManifestBinary,
    /// `manifest.<architecture>.jsonc`, kept.
    ManifestJson,
    /// What else the builder tells of the build, kept.
    Record,
}

/// One file that is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    /// What it is.
    pub kind: ArtefactKind,
    /// File name without any folder.
    pub name: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Digest of all of it.
    pub sha256: Sha256,
}

/// An order, bound to an attempt, a builder and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The task of Summit.
    pub task_id: u64,
    /// The attempt at it; unique for ever.
    pub attempt_id: u64,
    /// Where the packages go.
    pub channel: String,
    /// Source that every package names.
    pub source: String,
    /// Version of every package.
    pub version: String,
    /// Release of every package.
    pub release: u64,
    /// Build release of every package.
    pub build_release: u64,
    /// Architecture of every package.
    pub architecture: String,
    /// The only one who may upload.
    pub builder: PublicKey,
    /// What will come, ordered by name.
    pub artefacts: Vec<Artefact>,
    /// Where what is built comes from.
    pub origin: Origin,
    /// Whether it is one of several builds that need each other: it lands although what it needs is not there yet.
    pub may_land_unmet: bool,
}

/// Where what is built comes from, on Summit's word. Each may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Address of the git repository with the recipe.
    pub repository: String,
    /// The commit that was ordered.
    pub commit: String,
    /// The folder of the recipe in it.
    pub recipe_path: String,
    /// What Summit calls the builder.
    pub builder_name: String,
}

/// Why an expectation is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpectationError {
    /// A name that could lead out of its folder or that no file system takes.
    #[error("cannot expect {what} {name:?}: {why}")]
    UnsafeName {
        /// "source", "version" …
        what: &'static str,
        /// As it came.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A field that does not read as what it must be.
    #[error("cannot expect {what} {value:?}: {why}")]
    Unreadable {
        /// "builder key", "digest of a.stone" …
        what: String,
        /// As it came, shortened.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing to publish.
    #[error("cannot expect attempt {attempt_id}: it announces no package")]
    NoPackages {
        /// The attempt.
        attempt_id: u64,
    },
    /// The file name is not that of a package of this order.
    #[error("cannot expect package {name:?}: a package of this order is named NAME{suffix}")]
    ForeignFile {
        /// The file name.
        name: String,
        /// What it must end with.
        suffix: String,
    },
    /// The repository writes this file itself.
    #[error("cannot expect {name:?}: the repository writes the file of this name itself")]
    Reserved {
        /// The file name.
        name: String,
    },
    /// Two artefacts have one name, or one digest with two sizes.
    #[error("cannot expect {name:?} twice")]
    Twice {
        /// The file name.
        name: String,
    },
    /// More than is ever taken.
    #[error("cannot expect {count} {what}: at most {max} are taken")]
    TooMuch {
        /// "artefacts", "bytes"
        what: &'static str,
        /// What was announced.
        count: u64,
        /// The bound.
        max: u64,
    },
}

impl Fault for ExpectationError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ExpectationError::UnsafeName { .. } => {
                vec!["names begin with a letter or digit and go on with letters, digits and . _ + ~ -".into()]
            }
            ExpectationError::TooMuch { .. } => vec!["split the recipe, or leave debug packages out".into()],
            _ => Vec::new(),
        }
    }
}

impl Expectation {
    /// Checks everything that can be checked without the channel.
    ///
    /// # Errors
    /// The first thing that is wrong, by name.
    pub fn checked(mut self) -> Result<Self, ExpectationError> {
        for (what, name) in [
            ("channel", &self.channel),
            ("source", &self.source),
            ("version", &self.version),
            ("architecture", &self.architecture),
        ] {
            check_name(what, name)?;
        }
        for (what, count) in [
            ("release", self.release),
            ("build release", self.build_release),
            ("attempt", self.attempt_id),
            ("task", self.task_id),
        ] {
            check_count(what, count, RELEASE_MAX)?;
        }
        self.origin.check()?;
        check_count("artefacts", count(self.artefacts.len()), count(ARTEFACTS_MAX))?;
        let total_bytes =
            self.artefacts.iter().fold(0_u64, |sum, artefact| sum.saturating_add(artefact.size_bytes));
        check_count("bytes", total_bytes, ATTEMPT_SIZE_BYTES_MAX)?;
        self.artefacts.sort_by(|a, b| a.name.cmp(&b.name));
        let suffix = self.package_suffix();
        let mut names = BTreeMap::new();
        let mut sizes_bytes = BTreeMap::new();
        for artefact in &self.artefacts {
            check_name("file", &artefact.name)?;
            let is_package = artefact.kind == ArtefactKind::Package;
            if is_package && artefact.name.strip_suffix(&suffix).is_none_or(str::is_empty) {
                return Err(ExpectationError::ForeignFile { name: artefact.name.clone(), suffix });
            }
            if [PROVENANCE_FILE, SIGNED_PROVENANCE_FILE].contains(&artefact.name.as_str()) {
                return Err(ExpectationError::Reserved { name: artefact.name.clone() });
            }
            // Equal bytes under two names are one upload. Two packages cannot be equal: each names itself.
            let is_other_size =
                *sizes_bytes.entry(artefact.sha256).or_insert(artefact.size_bytes) != artefact.size_bytes;
            if names.insert(&artefact.name, ()).is_some() || is_other_size {
                return Err(ExpectationError::Twice { name: artefact.name.clone() });
            }
        }
        if self.packages().next().is_none() {
            return Err(ExpectationError::NoPackages { attempt_id: self.attempt_id });
        }
        Ok(self)
    }

    /// The packages among the artefacts.
    pub fn packages(&self) -> impl Iterator<Item = &Artefact> {
        self.artefacts.iter().filter(|artefact| artefact.kind == ArtefactKind::Package)
    }

    /// The artefact with this digest.
    #[must_use]
    pub fn artefact(&self, sha256: Sha256) -> Option<&Artefact> {
        self.artefacts.iter().find(|artefact| artefact.sha256 == sha256)
    }

    /// The package name that a file name of this order says.
    #[must_use]
    pub fn package_name<'a>(&self, artefact: &'a Artefact) -> &'a str {
        artefact.name.strip_suffix(&self.package_suffix()).unwrap_or(&artefact.name)
    }

    /// What tells this build from every other of its source: `VERSION-RELEASE-BUILDRELEASE-ARCH`, as the file names of its
    /// packages end.
    #[must_use]
    pub fn build(&self) -> String {
        format!("{}-{}-{}-{}", self.version, self.release, self.build_release, self.architecture)
    }

    fn package_suffix(&self) -> String {
        format!("-{}.stone", self.build())
    }
}

impl Origin {
    fn check(&self) -> Result<(), ExpectationError> {
        for (what, text) in [
            ("repository of the recipe", &self.repository),
            ("commit of the recipe", &self.commit),
            ("path of the recipe", &self.recipe_path),
            ("name of the builder", &self.builder_name),
        ] {
            let why = if text.len() > ORIGIN_SIZE_BYTES_MAX {
                "it is too long"
            } else if text.chars().any(char::is_control) {
                "it has control characters"
            } else {
                continue;
            };
            return Err(ExpectationError::Unreadable {
                what: what.into(),
                value: text.chars().take(80).collect(),
                why: why.into(),
            });
        }
        Ok(())
    }
}

/// A name that is one component of a path on every file system, no option to any program, and nothing hidden.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), ExpectationError> {
    let error = |why| Err(ExpectationError::UnsafeName { what, name: name.chars().take(80).collect(), why });
    if name.len() > NAME_SIZE_BYTES_MAX {
        return error("it is too long");
    }
    match name.bytes().next() {
        None => return error("it is empty"),
        Some(byte) if !byte.is_ascii_alphanumeric() => {
            return error("it does not begin with a letter or digit");
        }
        Some(_) => {}
    }
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'~' | b'-' | b':');
    if name.bytes().all(is_plain) { Ok(()) } else { error("it has a character that names do not have") }
}

fn check_count(what: &'static str, count: u64, max: u64) -> Result<(), ExpectationError> {
    if count <= max { Ok(()) } else { Err(ExpectationError::TooMuch { what, count, max }) }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn artefact(kind: ArtefactKind, name: &str, bytes: &[u8]) -> Artefact {
        Artefact { kind, name: name.to_owned(), size_bytes: count(bytes.len()), sha256: Sha256::of(bytes) }
    }

    pub(crate) fn order() -> Expectation {
        Expectation {
            task_id: 3,
            attempt_id: 7,
            channel: "main".into(),
            source: "nano".into(),
            version: "8.4".into(),
            release: 34,
            build_release: 1,
            architecture: "x86_64".into(),
            builder: PublicKey::from_bytes([1; 32]),
            artefacts: vec![
                artefact(ArtefactKind::Package, "nano-8.4-34-1-x86_64.stone", b"nano"),
                artefact(ArtefactKind::ManifestJson, "manifest.x86_64.jsonc", b"{}"),
            ],
            origin: Origin::default(),
            may_land_unmet: false,
        }
    }

    fn check(change: impl FnOnce(&mut Expectation), expect: Option<&str>) {
        let mut order = order();
        change(&mut order);
        let found = order.checked().err().map(|error| error.to_string());
        match expect {
            None => assert_eq!(found, None),
            Some(text) => {
                assert!(found.as_ref().is_some_and(|found| found.contains(text)), "{found:?} lacks {text:?}");
            }
        }
    }

    #[test]
    fn what_is_refused_by_name() {
        check(|_| {}, None);
        check(|order| order.source = "libstdc++".into(), None);
        check(|order| order.source = "../nano".into(), Some("source \"../nano\""));
        check(|order| order.source = String::new(), Some("it is empty"));
        check(|order| order.channel = "-main".into(), Some("channel"));
        check(|order| order.channel = ".hidden".into(), Some("channel"));
        check(|order| order.architecture = "x86/64".into(), Some("architecture"));
        check(|order| order.source = "nano\u{0}".into(), Some("source"));
        check(|order| order.source = "a".repeat(300), Some("too long"));
        check(|order| order.release = u64::MAX, Some("release"));
        check(|order| order.attempt_id = u64::MAX, Some("attempt"));
        check(|order| order.artefacts[0].size_bytes = u64::MAX, Some("bytes"));
        check(|order| order.artefacts[1].size_bytes = ATTEMPT_SIZE_BYTES_MAX, Some("bytes"));
        check(
            |order| order.artefacts[0].name = "nano-8.4-35-1-x86_64.stone".into(),
            Some("NAME-8.4-34-1-x86_64.stone"),
        );
        check(|order| order.artefacts[0].name = "-8.4-34-1-x86_64.stone".into(), Some("letter or digit"));
        check(|order| order.artefacts[0].name = "../nano-8.4-34-1-x86_64.stone".into(), Some("file"));
        check(|order| order.artefacts[1].name = "a/b".into(), Some("file"));
        check(|order| order.artefacts[1].name = PROVENANCE_FILE.into(), Some("itself"));
        check(|order| order.origin.repository = "a\nb".into(), Some("control characters"));
        check(|order| order.origin.commit = "a".repeat(ORIGIN_SIZE_BYTES_MAX + 1), Some("too long"));
        check(|order| drop(order.artefacts.remove(0)), Some("no package"));
        check(|order| order.artefacts.push(order.artefacts[0].clone()), Some("twice"));
        check(
            |order| {
                let mut other = order.artefacts[1].clone();
                (other.name, other.size_bytes) = ("other".into(), 3);
                order.artefacts.push(other);
            },
            Some("twice"),
        );
        check(
            |order| order.artefacts = vec![order.artefacts[0].clone(); ARTEFACTS_MAX + 1],
            Some("artefacts"),
        );
    }

    #[test]
    fn the_file_name_says_the_package() {
        let mut order = order();
        order.artefacts[0].name = "nano-8.4-dbginfo-8.4-34-1-x86_64.stone".into();
        let order = order.checked().unwrap();
        let names: Vec<_> = order.packages().map(|artefact| order.package_name(artefact)).collect();
        assert_eq!(names, ["nano-8.4-dbginfo"]);
    }
}
