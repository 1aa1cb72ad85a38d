//! What may be published, and what a channel holds afterwards.
//!
//! Pure: [`land`] looks at the current [`Snapshot`] and at what comes in, and answers the next snapshot or a
//! [`Refusal`]; nothing here touches a file. Rules:
//!
//! 1. Every package of an order says exactly what was ordered: source, version, release, build release, architecture.
//! 2. A newer (release, build release) of a package replaces the older one; a lower one is refused.
//! 3. The same (release, build release) must be the same bytes: what is published never changes.
//! 4. A name belongs to the source that made it. Another source gets it only after the first has given it up.
//! 5. An order brings all that its source makes: packages of the source that are not among them leave.
//!
//! A folder that an operator imports is not an order: rules 1, 4 and 5 do not hold for it, since it may hold any part
//! of any number of sources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fault::{Fault, Kind};
use package::PackageMeta;

use crate::expectation::{Expectation, ExpectationError, RELEASE_MAX, check_name};
use store::Sha256;

/// Of a package there is one in a snapshot for each architecture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageKey {
    /// Name of the package.
    pub name: String,
    /// `x86_64` and the like.
    pub architecture: String,
}

/// A package with the bytes that it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Package {
    /// What it says of itself.
    pub meta: PackageMeta,
    /// Digest of the `.stone` file.
    pub sha256: Sha256,
    /// Length of the `.stone` file.
    pub size_bytes: u64,
}

impl Package {
    /// Its place in a snapshot.
    #[must_use]
    pub fn key(&self) -> PackageKey {
        PackageKey { name: self.meta.name.clone(), architecture: self.meta.architecture.clone() }
    }

    /// What decides which of two packages of one name is newer.
    fn rank(&self) -> (u64, u64) {
        (self.meta.release, self.meta.build_release)
    }
}

/// Everything that one history holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    packages: BTreeMap<PackageKey, Arc<Package>>,
}

impl Snapshot {
    /// All packages, ordered by name and architecture.
    pub fn packages(&self) -> impl Iterator<Item = &Package> + Clone {
        self.packages.values().map(AsRef::as_ref)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// The package in this place.
    #[must_use]
    pub fn get(&self, key: &PackageKey) -> Option<&Package> {
        self.packages.get(key).map(AsRef::as_ref)
    }

    /// SHA-256 over name, architecture and digest of every package in order. Equal snapshots have equal digests, in
    /// whichever data folder they came about.
    #[must_use]
    pub fn content_digest(&self) -> Sha256 {
        let mut text = String::new();
        for (key, package) in &self.packages {
            // Neither names nor architectures contain blanks or line ends.
            text.push_str(&format!("{} {} {}\n", key.name, key.architecture, package.sha256));
        }
        Sha256::of(text.as_bytes())
    }
}

impl FromIterator<Package> for Snapshot {
    fn from_iter<I: IntoIterator<Item = Package>>(packages: I) -> Self {
        let packages = packages.into_iter().map(|package| (package.key(), Arc::new(package)));
        Self { packages: packages.collect() }
    }
}

/// On whose word packages come in.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// Summit's.
    Order(&'a Expectation),
    /// The operator's, from a folder.
    Folder,
}

/// What a landing does to a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Landing {
    /// What the channel holds afterwards.
    pub snapshot: Snapshot,
    /// Packages that are new or newer. Empty, with `obsolete`, when everything was there already.
    pub arriving: Vec<PackageKey>,
    /// Packages that leave because their source no longer makes them.
    pub obsolete: Vec<PackageKey>,
}

impl Landing {
    /// This, and what landed on top of it.
    #[must_use]
    pub fn and(self, next: Landing) -> Landing {
        let snapshot = next.snapshot;
        let (arriving, obsolete): (BTreeSet<PackageKey>, BTreeSet<PackageKey>) = self
            .arriving
            .into_iter()
            .chain(self.obsolete)
            .chain(next.arriving)
            .chain(next.obsolete)
            .partition(|key| snapshot.packages.contains_key(key));
        Landing {
            snapshot,
            arriving: arriving.into_iter().collect(),
            obsolete: obsolete.into_iter().collect(),
        }
    }

    /// Whether the channel stays as it is.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.arriving.is_empty() && self.obsolete.is_empty()
    }
}

/// Why packages may not be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A package is not what was ordered.
    #[error("cannot publish {file}: its {field} is {found:?}, ordered was {ordered:?}")]
    NotOrdered {
        /// File name.
        file: String,
        /// "source", "release" …
        field: &'static str,
        /// What the package says.
        found: String,
        /// What Summit said.
        ordered: String,
    },
    /// A manifest is none, or is not that of the packages.
    #[error("cannot publish {file}: {why}")]
    Manifest {
        /// File name.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A package has a name that no path may contain.
    #[error("cannot publish a package")]
    UnsafeName {
        /// Which and why.
        source: ExpectationError,
    },
    /// Two different files are the same package.
    #[error("cannot publish {name} {rank} for {architecture}: it comes twice, with different bytes")]
    Twice {
        /// Package name.
        name: String,
        /// Its release and build release.
        rank: Rank,
        /// Its architecture.
        architecture: String,
    },
    /// Something newer is published.
    #[error("cannot publish {name} {rank}: {published} is published")]
    Older {
        /// Package name.
        name: String,
        /// What came.
        rank: Rank,
        /// What is there.
        published: Rank,
    },
    /// The same release is published and is something else.
    #[error("cannot publish {name} {rank}: it is published with other bytes")]
    OtherBytes {
        /// Package name.
        name: String,
        /// Its release and build release.
        rank: Rank,
    },
    /// The same release is published and had more packages.
    #[error(
        "cannot publish source {source_name} {rank}: package {missing}, published with this release, is not in it"
    )]
    Fewer {
        /// The source.
        source_name: String,
        /// Its release and build release.
        rank: Rank,
        /// The package that is not there.
        missing: String,
    },
    /// The name is taken.
    #[error("cannot publish {name} from source {source_name}: the package belongs to source {owner}")]
    OtherOwner {
        /// Package name.
        name: String,
        /// The source that brings it.
        source_name: String,
        /// The source whose it is.
        owner: String,
    },
    /// The path had other bytes in an earlier history.
    #[error("cannot publish {path}: an earlier history has it with other bytes")]
    OtherObject {
        /// Path below the channel.
        path: String,
    },
}

/// Release and build release, printed as `release 34 build 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(pub u64, pub u64);

impl std::fmt::Display for Rank {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "release {} build {}", self.0, self.1)
    }
}

impl From<(u64, u64)> for Rank {
    fn from((release, build_release): (u64, u64)) -> Self {
        Self(release, build_release)
    }
}

impl Fault for Refusal {
    fn kind(&self) -> Kind {
        match self {
            Refusal::NotOrdered { .. } => Kind::Denied,
            Refusal::UnsafeName { .. } | Refusal::Manifest { .. } => Kind::Input,
            _ => Kind::Conflict,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Refusal::NotOrdered { .. } => {
                vec!["build the commit that was ordered; a builder publishes nothing else".into()]
            }
            Refusal::UnsafeName { source } => source.hints(),
            Refusal::Manifest { .. } => {
                vec!["build again; Boulder writes manifests with the packages".into()]
            }
            Refusal::Older { .. }
            | Refusal::OtherBytes { .. }
            | Refusal::Fewer { .. }
            | Refusal::OtherObject { .. } => {
                vec!["raise `release` in the recipe above the published one and build again".into()]
            }
            Refusal::Twice { .. } => vec!["remove one of the two files".into()],
            Refusal::OtherOwner { owner, .. } => vec![format!(
                "publish a release of {owner} that no longer makes the package first, or name the new one differently"
            )],
        }
    }
}

/// Says before any upload whether an order could land: by what its file names tell.
///
/// # Errors
/// What [`land`] would refuse, as far as it can be known now.
pub fn expectable(current: &Snapshot, order: &Expectation) -> Result<(), Refusal> {
    let rank = (order.release, order.build_release);
    let announced: BTreeMap<&str, Sha256> =
        order.packages().map(|artefact| (order.package_name(artefact), artefact.sha256)).collect();
    for (name, sha256) in &announced {
        let key = PackageKey { name: (*name).to_owned(), architecture: order.architecture.clone() };
        if let Some(published) = current.get(&key) {
            check_owner(name, &order.source, published)?;
            check_rank(name, rank, *sha256, published)?;
        }
    }
    check_source(current, order, |name| announced.contains_key(name))
}

/// Decides what the channel holds after `incoming` has landed, or why it may not.
///
/// # Errors
/// The first rule that does not hold, by the name of the package.
pub fn land(current: &Snapshot, incoming: &[Package], scope: Scope<'_>) -> Result<Landing, Refusal> {
    let mut coming: BTreeMap<PackageKey, &Package> = BTreeMap::new();
    for package in incoming {
        check_names(&package.meta)?;
        if let Scope::Order(order) = scope {
            check_ordered(&package.meta, order)?;
        }
        if let Some(other) = coming.insert(package.key(), package)
            && other.sha256 != package.sha256
        {
            let PackageKey { name, architecture } = package.key();
            return Err(Refusal::Twice { name, rank: package.rank().into(), architecture });
        }
    }
    let mut snapshot = current.clone();
    let mut arriving = Vec::new();
    for (key, package) in &coming {
        if let Some(published) = current.get(key) {
            if let Scope::Order(order) = scope {
                check_owner(&key.name, &order.source, published)?;
            }
            check_rank(&key.name, package.rank(), package.sha256, published)?;
            if published.sha256 == package.sha256 {
                continue;
            }
        }
        snapshot.packages.insert(key.clone(), Arc::new((*package).clone()));
        arriving.push(key.clone());
    }
    let mut obsolete = Vec::new();
    if let Scope::Order(order) = scope {
        let has = |name: &str| coming.keys().any(|key| key.name == name);
        check_source(current, order, has)?;
        let leaves = |package: &&Package| is_of(package, order) && !has(&package.meta.name);
        obsolete = current.packages().filter(leaves).map(Package::key).collect();
        obsolete.iter().for_each(|key| drop(snapshot.packages.remove(key)));
    }
    Ok(Landing { snapshot, arriving, obsolete })
}

/// Of several releases of a package in a folder the newest; what is passed over comes second.
///
/// # Errors
/// When two different files are the newest of one package.
pub fn newest(found: Vec<Package>) -> Result<(Vec<Package>, Vec<Package>), Refusal> {
    let mut newest: BTreeMap<PackageKey, Package> = BTreeMap::new();
    let mut passed_over = Vec::new();
    for package in found {
        let key = package.key();
        match newest.remove(&key) {
            None => drop(newest.insert(key, package)),
            Some(other) if other.rank() == package.rank() && other.sha256 != package.sha256 => {
                let PackageKey { name, architecture } = key;
                return Err(Refusal::Twice { name, rank: package.rank().into(), architecture });
            }
            Some(other) => {
                let (winner, loser) =
                    if package.rank() > other.rank() { (package, other) } else { (other, package) };
                passed_over.push(loser);
                newest.insert(key, winner);
            }
        }
    }
    Ok((newest.into_values().collect(), passed_over))
}

/// The name of a history: its number and the first eight digits of what it holds.
///
/// The number alone would come again when a data folder is made anew, and with it an address that caches hold for a
/// year with other bytes behind it. With the digest the same id means the same content.
#[must_use]
pub fn history_id(number: u64, content: Sha256) -> String {
    format!("{number}-{}", &content.to_string()[..8])
}

fn check_names(meta: &PackageMeta) -> Result<(), Refusal> {
    for (what, name) in [
        ("package", &meta.name),
        ("version", &meta.version),
        ("source", &meta.source_id),
        ("architecture", &meta.architecture),
    ] {
        check_name(what, name).map_err(|source| Refusal::UnsafeName { source })?;
    }
    for (what, count) in [("release", meta.release), ("build release", meta.build_release)] {
        if count > RELEASE_MAX {
            let source = ExpectationError::TooMuch { what, count, max: RELEASE_MAX };
            return Err(Refusal::UnsafeName { source });
        }
    }
    Ok(())
}

fn check_ordered(meta: &PackageMeta, order: &Expectation) -> Result<(), Refusal> {
    let fields = [
        ("source", meta.source_id.clone(), order.source.clone()),
        ("version", meta.version.clone(), order.version.clone()),
        ("release", meta.release.to_string(), order.release.to_string()),
        ("build release", meta.build_release.to_string(), order.build_release.to_string()),
        ("architecture", meta.architecture.clone(), order.architecture.clone()),
    ];
    for (field, found, ordered) in fields {
        if found != ordered {
            return Err(Refusal::NotOrdered { file: meta.name.clone(), field, found, ordered });
        }
    }
    Ok(())
}

fn check_owner(name: &str, source: &str, published: &Package) -> Result<(), Refusal> {
    let owner = &published.meta.source_id;
    if owner == source {
        return Ok(());
    }
    Err(Refusal::OtherOwner { name: name.to_owned(), source_name: source.to_owned(), owner: owner.clone() })
}

fn check_rank(name: &str, rank: (u64, u64), sha256: Sha256, published: &Package) -> Result<(), Refusal> {
    let name = name.to_owned();
    if rank < published.rank() {
        return Err(Refusal::Older { name, rank: rank.into(), published: published.rank().into() });
    }
    if rank == published.rank() && sha256 != published.sha256 {
        return Err(Refusal::OtherBytes { name, rank: rank.into() });
    }
    Ok(())
}

/// What the packages of the ordered source that are not in the order say about it.
fn check_source(current: &Snapshot, order: &Expectation, has: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    let rank = (order.release, order.build_release);
    for package in current.packages().filter(|package| is_of(package, order) && !has(&package.meta.name)) {
        let missing = package.meta.name.clone();
        if package.rank() > rank {
            return Err(Refusal::Older {
                name: missing,
                rank: rank.into(),
                published: package.rank().into(),
            });
        }
        if package.rank() == rank {
            return Err(Refusal::Fewer { source_name: order.source.clone(), rank: rank.into(), missing });
        }
    }
    Ok(())
}

fn is_of(package: &Package, order: &Expectation) -> bool {
    package.meta.source_id == order.source && package.meta.architecture == order.architecture
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expectation::ArtefactKind;
    use crate::expectation::tests::{artefact, order as nano_order};
    use testkit::packages::meta;

    /// `source/name@release.build#bytes`
    fn package(text: &str) -> Package {
        let (text, bytes) = text.split_once('#').unwrap();
        let (source, rest) = text.split_once('/').unwrap();
        let (name, rank) = rest.split_once('@').unwrap();
        let (release, build) = rank.split_once('.').unwrap();
        let mut meta = meta(source, name, release.parse().unwrap());
        meta.build_release = build.parse().unwrap();
        Package { meta, sha256: Sha256::of(bytes.as_bytes()), size_bytes: 1 }
    }

    fn packages(texts: &[&str]) -> Vec<Package> {
        texts.iter().map(|text| package(text)).collect()
    }

    fn order(source: &str, release: u64, build_release: u64) -> Expectation {
        Expectation { source: source.into(), version: "1".into(), release, build_release, ..nano_order() }
    }

    fn names(keys: &[PackageKey]) -> String {
        keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Lands an order of source `s` with release 2 build 1; answers "arriving | obsolete", or the refusal.
    fn check(current: &[&str], incoming: &[&str], expect: &str) {
        let snapshot: Snapshot = packages(current).into_iter().collect();
        let order = order("s", 2, 1);
        let found = match land(&snapshot, &packages(incoming), Scope::Order(&order)) {
            Ok(landing) => {
                assert_eq!(landing.is_unchanged(), landing.snapshot == snapshot);
                format!("{} | {}", names(&landing.arriving), names(&landing.obsolete))
            }
            Err(refusal) => {
                assert!(!refusal.hints().is_empty(), "{refusal}");
                refusal.to_string()
            }
        };
        assert!(found.contains(expect), "{current:?} + {incoming:?}: {found:?}, expected {expect:?}");
    }

    #[test]
    fn orders() {
        check(&[], &["s/a@2.1#x"], "a | ");
        check(&["s/a@1.1#x"], &["s/a@2.1#y"], "a | ");
        check(&["s/a@1.9#x"], &["s/a@2.1#y"], "a | ");
        check(&["s/a@2.0#x"], &["s/a@2.1#y"], "a | ");
        check(&["t/b@9.1#x"], &["s/a@2.1#y"], "a | ");
        // Twice the same is once.
        check(&["s/a@2.1#x"], &["s/a@2.1#x"], " | ");
        check(&["s/a@2.1#x"], &["s/a@2.1#x", "s/b@2.1#y"], "b | ");
        // What the source no longer makes leaves; what others make stays.
        check(&["s/a@1.1#x", "s/old@1.1#y", "t/b@1.1#z"], &["s/a@2.1#w"], "a | old");
        check(&["s/old@1.1#y"], &["s/a@2.1#w"], "a | old");
        // Never backwards, never other bytes.
        check(&["s/a@3.1#x"], &["s/a@2.1#y"], "a release 2 build 1: release 3 build 1 is published");
        check(&["s/a@2.2#x"], &["s/a@2.1#y"], "release 2 build 2 is published");
        check(&["s/a@2.1#x"], &["s/a@2.1#y"], "published with other bytes");
        check(&["s/old@3.1#x"], &["s/a@2.1#y"], "release 3 build 1 is published");
        check(
            &["s/a@2.1#x", "s/b@2.1#y"],
            &["s/a@2.1#x"],
            "package b, published with this release, is not in it",
        );
        // A name belongs to its source.
        check(&["t/a@1.1#x"], &["s/a@2.1#y"], "belongs to source t");
        // Not what was ordered.
        check(&[], &["t/a@2.1#x"], "source is \"t\", ordered was \"s\"");
        check(&[], &["s/a@3.1#x"], "release is \"3\", ordered was \"2\"");
        check(&[], &["s/a@2.2#x"], "build release is \"2\"");
        check(&[], &["s/a@2.1#x", "s/a@2.1#y"], "twice");
        check(&[], &["s/..@2.1#x"], "cannot publish a package");
        check(&[], &["s/a b@2.1#x"], "cannot publish a package");
    }

    #[test]
    fn other_versions_and_architectures_were_not_ordered() {
        let order = order("s", 2, 1);
        for (change, field) in [
            ((|meta: &mut PackageMeta| meta.version = "2".into()) as fn(&mut PackageMeta), "version"),
            (|meta| meta.architecture = "aarch64".into(), "architecture"),
        ] {
            let mut package = package("s/a@2.1#x");
            change(&mut package.meta);
            let refusal = land(&Snapshot::default(), &[package], Scope::Order(&order)).unwrap_err();
            assert!(
                matches!(&refusal, Refusal::NotOrdered { field: found, .. } if *found == field),
                "{refusal}"
            );
            assert_eq!(refusal.kind(), Kind::Denied);
        }
    }

    #[test]
    fn another_architecture_is_another_package() {
        let mut other = package("s/a@9.1#x");
        other.meta.architecture = "aarch64".into();
        let snapshot: Snapshot = [other].into_iter().collect();
        let landing = land(&snapshot, &packages(&["s/a@2.1#x"]), Scope::Order(&order("s", 2, 1))).unwrap();
        assert_eq!((landing.snapshot.len(), landing.obsolete.len()), (2, 0));
    }

    #[test]
    fn a_folder_replaces_and_removes_nothing_else() {
        let snapshot: Snapshot = packages(&["s/a@1.1#x", "s/old@1.1#y", "t/b@1.1#z"]).into_iter().collect();
        let landing = land(&snapshot, &packages(&["s/a@2.1#v", "u/b@2.1#w"]), Scope::Folder).unwrap();
        assert_eq!((names(&landing.arriving), names(&landing.obsolete)), ("a b".into(), String::new()));
        assert!(land(&snapshot, &packages(&["s/a@0.1#v"]), Scope::Folder).is_err());
        let again = land(&landing.snapshot, &packages(&["s/a@2.1#v", "u/b@2.1#w"]), Scope::Folder).unwrap();
        assert!(again.is_unchanged());
    }

    #[test]
    fn landing_twice_is_landing_once() {
        let order = order("s", 2, 1);
        let snapshot: Snapshot = packages(&["s/old@1.1#y"]).into_iter().collect();
        let incoming = packages(&["s/a@2.1#x", "s/b@2.1#y"]);
        let first = land(&snapshot, &incoming, Scope::Order(&order)).unwrap();
        let second = land(&first.snapshot, &incoming, Scope::Order(&order)).unwrap();
        assert!(second.is_unchanged());
        assert_eq!(second.snapshot, first.snapshot);
    }

    #[test]
    fn of_several_releases_the_newest_is_taken() {
        let (taken, passed_over) =
            newest(packages(&["s/a@1.1#x", "s/a@3.1#y", "s/a@2.1#z", "s/b@1.1#w", "s/b@1.1#w"])).unwrap();
        let ranks: Vec<_> =
            taken.iter().map(|package| (package.meta.name.as_str(), package.rank())).collect();
        assert_eq!(ranks, [("a", (3, 1)), ("b", (1, 1))]);
        assert_eq!(passed_over.len(), 3);
        let refusal = newest(packages(&["s/a@1.1#x", "s/a@1.1#y"])).unwrap_err();
        assert!(matches!(refusal, Refusal::Twice { .. }), "{refusal}");
    }

    #[test]
    fn what_cannot_land_is_not_even_expected() {
        fn check(current: &[&str], announced: &[(&str, &str)], expect: Option<&str>) {
            let snapshot: Snapshot = packages(current).into_iter().collect();
            let mut order = order("s", 2, 1);
            order.artefacts = announced
                .iter()
                .map(|(name, bytes)| {
                    artefact(ArtefactKind::Package, &format!("{name}-1-2-1-x86_64.stone"), bytes.as_bytes())
                })
                .collect();
            let found = expectable(&snapshot, &order).err().map(|refusal| refusal.to_string());
            assert_eq!(found.is_some(), expect.is_some(), "{current:?}: {found:?}");
            assert!(found.unwrap_or_default().contains(expect.unwrap_or_default()));
        }
        check(&[], &[("a", "x")], None);
        check(&["s/a@1.1#x", "s/old@1.1#y"], &[("a", "y")], None);
        check(&["s/a@2.1#x"], &[("a", "x")], None);
        check(&["s/a@3.1#x"], &[("a", "y")], Some("release 3 build 1 is published"));
        check(&["s/a@2.1#x"], &[("a", "y")], Some("other bytes"));
        check(&["s/b@3.1#x"], &[("a", "y")], Some("release 3 build 1 is published"));
        check(&["s/a@2.1#x", "s/b@2.1#x"], &[("a", "x")], Some("package b"));
        check(&["t/a@1.1#x"], &[("a", "y")], Some("belongs to source t"));
    }

    #[test]
    fn ids_name_content() {
        let one: Snapshot = packages(&["s/a@1.1#x"]).into_iter().collect();
        let same: Snapshot = packages(&["s/a@1.1#x"]).into_iter().collect();
        let other: Snapshot = packages(&["s/a@1.1#y"]).into_iter().collect();
        let id = |snapshot: &Snapshot| history_id(17, snapshot.content_digest());
        assert_eq!(id(&one), id(&same));
        assert_ne!(id(&one), id(&other));
        assert!(id(&one).parse::<repository::Identifier>().is_ok(), "{}", id(&one));
        assert!(id(&one).starts_with("17-") && id(&one).len() == 11);
    }
}
