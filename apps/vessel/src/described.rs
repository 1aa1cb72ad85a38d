//! What a history has beside its plain indexes: compact indexes, texts, lists of files, deltas from older histories, and the
//! statement that names every file with its digest.
//!
//! Everything is made from the snapshot, from the files of the history before, and from the packages that are new; what it costs
//! is the packing of one index. Nothing is written here.

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use package::PackageMeta;
use repository::compact::{self, CompactError, FileList, IMAGE_BYTES_MAX};
use repository::layout::{COMPACT_INDEX_FILE, DELTA_FOLDER, FILES_FILE, INDEX_FILE, TEXTS_FILE, package_uri};
use repository::signed::{ArchitectureFiles, DeltaFacts, Digest, FileFacts, HistoryStatement};
use repository::{Format, Identifier};
use stone::{Entry, EntryFile};

use crate::admission::{Package, Snapshot};
use crate::collisions::{self, Collision, Owners};
use crate::format::FormatError;
use crate::tree::{TreeError, TreeFile};

/// A history that is about to be written.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) channel: Identifier,
    pub(crate) id: Identifier,
    pub(crate) number: u64,
    /// What it is made from.
    pub(crate) previous: Option<Identifier>,
    pub(crate) format: Format,
    /// Unix seconds.
    pub(crate) recorded: i64,
    /// Older histories from which there shall be deltas.
    pub(crate) bases: Vec<(u64, Identifier)>,
}

/// Where what is there already is read.
pub(crate) trait Shelf {
    /// A published file by its path below the channel; none where there is no such file.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, TreeError>;

    /// The files of a package, read from the package itself.
    fn layout(&self, package: &Package) -> Result<Vec<Entry>, TreeError>;
}

/// What was made last, by architecture: with each history the next one needs it again.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    made: BTreeMap<String, Remembered>,
    /// Who owns which path in a history.
    owners: BTreeMap<String, (Identifier, Owners)>,
}

/// Everything that is made for a history.
pub(crate) struct Described {
    /// Its files; paths are below its folder.
    pub(crate) files: Vec<TreeFile>,
    /// What is said of them.
    pub(crate) statement: HistoryStatement,
    /// Paths that packages of it have although others have them already.
    pub(crate) collisions: Vec<Collision>,
}

#[derive(Debug, Clone)]
struct Remembered {
    history: Identifier,
    image: Arc<Vec<u8>>,
    texts: Digest,
    texts_packed: Arc<Vec<u8>>,
    files: Arc<Vec<u8>>,
}

/// The files of a history, those in `indexes` among them, and what is said of them.
pub(crate) fn describe(
    plan: &Plan,
    snapshot: &Snapshot,
    indexes: Vec<TreeFile>,
    memory: &mut Memory,
    shelf: &dyn Shelf,
) -> Result<Described, TreeError> {
    let mut architectures = BTreeMap::new();
    let (mut files, mut collisions) = (Vec::new(), Vec::new());
    for (architecture, index) in by_architecture(snapshot, indexes) {
        let packages: Vec<&Package> =
            snapshot.packages().filter(|package| package.meta.architecture == architecture).collect();
        let failed = |source: CompactError| TreeError::Format {
            what: format!("the compact index of {} for {architecture}", plan.id),
            source: FormatError::Compact(source),
        };
        let made = Architecture { plan, name: &architecture, packages: &packages, shelf };
        let before = memory.made.get(&architecture);
        let (remembered, mut own) = made.indexes(before).map_err(failed)?;
        let Lists { bytes, old, fresh } = made.file_lists(before)?;
        let remembered = Remembered { files: Arc::new(bytes.clone()), ..remembered };
        own.push(made.file(FILES_FILE, bytes));
        let (owners, found) = made.collisions(memory.owners.remove(&architecture), &old, &fresh);
        memory.owners.insert(architecture.clone(), (plan.id.clone(), owners));
        collisions.extend(found);
        own.extend(index);
        let folder = format!("{architecture}/");
        let named = own.iter().filter_map(|file| Some((file.path.strip_prefix(&folder)?, &file.bytes)));
        let facts = named.map(|(name, bytes)| (name.to_owned(), FileFacts::of(bytes))).collect();
        let (deltas, delta_facts) = made.deltas(before, &remembered.image)?;
        own.extend(deltas);
        architectures.insert(
            architecture.clone(),
            ArchitectureFiles {
                packages: u64::try_from(packages.len()).unwrap_or(u64::MAX),
                image: Digest::of(&remembered.image),
                files: facts,
                deltas: delta_facts,
            },
        );
        memory.made.insert(architecture, remembered);
        files.append(&mut own);
    }
    let statement = HistoryStatement {
        channel: plan.channel.clone(),
        history: plan.id.clone(),
        number: plan.number,
        previous: plan.previous.clone(),
        recorded: plan.recorded,
        format: plan.format.as_str().to_owned(),
        architectures,
    };
    Ok(Described { files, statement, collisions })
}

/// Each architecture with its plain index; one that is too long for a plain index has none.
fn by_architecture(snapshot: &Snapshot, indexes: Vec<TreeFile>) -> BTreeMap<String, Option<TreeFile>> {
    let mut architectures: BTreeMap<String, Option<TreeFile>> =
        snapshot.packages().map(|package| (package.meta.architecture.clone(), None)).collect();
    for file in indexes {
        if let Some(architecture) = file.path.strip_suffix(INDEX_FILE).and_then(|it| it.strip_suffix('/')) {
            architectures.insert(architecture.to_owned(), Some(file));
        }
    }
    architectures
}

/// The lists of files of a history in the making.
struct Lists {
    /// All of them.
    bytes: Vec<u8>,
    /// Those of the history before.
    old: Vec<u8>,
    /// The packed ones of packages that came.
    fresh: HashMap<Digest, Vec<u8>>,
}

/// Paths with two owners that are looked at again in the packages themselves.
const CANDIDATES_MAX: usize = 64;

/// One architecture of a history in the making.
struct Architecture<'a> {
    plan: &'a Plan,
    name: &'a str,
    packages: &'a [&'a Package],
    shelf: &'a dyn Shelf,
}

impl Architecture<'_> {
    fn file(&self, name: &str, bytes: Vec<u8>) -> TreeFile {
        TreeFile { path: format!("{}/{name}", self.name), bytes }
    }

    /// The image and the texts, packed; and both as the next history needs them.
    fn indexes(&self, before: Option<&Remembered>) -> Result<(Remembered, Vec<TreeFile>), CompactError> {
        let metas: Vec<PackageMeta> = self.packages.iter().map(|package| listed(package)).collect();
        let image = compact::image(&metas)?;
        let texts = compact::texts(&metas)?;
        let texts_digest = Digest::of(&texts);
        // Most histories change no text.
        let texts_packed = match before.filter(|before| before.texts == texts_digest) {
            Some(before) => Arc::clone(&before.texts_packed),
            None => Arc::new(compact::pack(&texts)),
        };
        let files = vec![
            self.file(COMPACT_INDEX_FILE, compact::pack(&image)),
            self.file(TEXTS_FILE, texts_packed.to_vec()),
        ];
        let history = self.plan.id.clone();
        let (image, files_of) = (Arc::new(image), Arc::default());
        Ok((Remembered { history, image, texts: texts_digest, texts_packed, files: files_of }, files))
    }

    /// The lists of files: of the history before for what it had, from the packages for what is new.
    fn file_lists(&self, before: Option<&Remembered>) -> Result<Lists, TreeError> {
        let previous = self.plan.previous.as_ref();
        let old = match (before, previous) {
            (Some(before), Some(previous)) if before.history == *previous => Some(before.files.to_vec()),
            (_, Some(previous)) => self.shelf.read(&self.path(previous, FILES_FILE))?,
            (_, None) => None,
        };
        let old = old.unwrap_or_default();
        // What cannot be read is made anew from the packages.
        let lists = compact::read_file_lists(&old).unwrap_or_default();
        let known: HashMap<Digest, &[u8]> = lists.iter().map(|list| (list.package, list.packed)).collect();
        let mut fresh: HashMap<Digest, Vec<u8>> = HashMap::new();
        for package in self.packages {
            let digest = digest_of(package);
            if !known.contains_key(&digest) {
                let layout = self.shelf.layout(package)?;
                let paths = layout.iter().map(|entry| entry.target.as_str());
                fresh.insert(digest, compact::pack_paths(paths));
            }
        }
        let list = |package: &&Package| {
            let package = digest_of(package);
            let packed = known.get(&package).copied().or(fresh.get(&package).map(Vec::as_slice))?;
            Some(FileList { package, packed })
        };
        let lists: Vec<FileList<'_>> = self.packages.iter().filter_map(list).collect();
        let bytes = compact::write_file_lists(&lists);
        Ok(Lists { bytes, old, fresh })
    }

    /// Which packages that came have a path that another one has, and who owns what from now on. `before` says who did in an
    /// older history.
    fn collisions(
        &self,
        before: Option<(Identifier, Owners)>,
        old: &[u8],
        fresh: &HashMap<Digest, Vec<u8>>,
    ) -> (Owners, Vec<Collision>) {
        let paths = |packed: &[u8]| compact::unpack_paths(packed).unwrap_or_default();
        let here: HashMap<Digest, &Package> =
            self.packages.iter().map(|package| (digest_of(package), *package)).collect();
        let known = compact::read_file_lists(old).unwrap_or_default();
        let is_next = |history: &Identifier| self.plan.previous.as_ref() == Some(history);
        let mut owners = match before.filter(|(history, _)| is_next(history)) {
            Some((_, mut owners)) => {
                for list in known.iter().filter(|list| !here.contains_key(&list.package)) {
                    owners.remove(&list.package, paths(list.packed).iter().map(String::as_str));
                }
                owners
            }
            None => {
                let mut owners = Owners::default();
                for list in known.iter().filter(|list| here.contains_key(&list.package)) {
                    owners.add(&list.package, paths(list.packed).iter().map(String::as_str), |_, _| ());
                }
                owners
            }
        };
        let mut candidates = Vec::new();
        for package in self.packages {
            let digest = digest_of(package);
            let Some(packed) = fresh.get(&digest) else { continue };
            owners.add(&digest, paths(packed).iter().map(String::as_str), |owner, path| {
                if candidates.len() < CANDIDATES_MAX {
                    candidates.push((*package, owner, path.to_owned()));
                }
            });
        }
        let by_short: HashMap<u64, &Package> = match candidates.is_empty() {
            true => HashMap::new(),
            false => here.iter().map(|(digest, package)| (collisions::short(digest), *package)).collect(),
        };
        let mut layouts: HashMap<Digest, Vec<Entry>> = HashMap::new();
        let mut found = Vec::new();
        'candidates: for (newcomer, owner, path) in candidates {
            let Some(owner) = by_short.get(&owner) else { continue };
            let mut entries = Vec::new();
            for package in [newcomer, owner] {
                let digest = digest_of(package);
                let layout = match layouts.entry(digest) {
                    Place::Occupied(known) => known.into_mut(),
                    Place::Vacant(place) => match self.shelf.layout(package) {
                        Ok(layout) => place.insert(layout),
                        Err(error) => {
                            // What lands is in order; what was there before is another matter.
                            let reason = fault::chain(&error).join(": ");
                            tracing::warn!(package = %package.meta.name, reason, "cannot see whether packages share a path");
                            continue 'candidates;
                        }
                    },
                };
                entries.extend(layout.iter().find(|entry| entry.target == path).cloned());
            }
            if let [one, other] = entries.as_slice()
                && differ(one, other)
                && !exclude(newcomer, owner)
            {
                let (newcomer, owner) = (newcomer.meta.name.clone(), owner.meta.name.clone());
                found.push(Collision { newcomer, owner, path });
            }
        }
        (owners, found)
    }

    /// A delta from each base that has an image.
    fn deltas(
        &self,
        before: Option<&Remembered>,
        image: &[u8],
    ) -> Result<(Vec<TreeFile>, Vec<DeltaFacts>), TreeError> {
        let (mut files, mut facts) = (Vec::new(), Vec::new());
        for (number, base) in &self.plan.bases {
            let old = match before.filter(|before| before.history == *base) {
                Some(before) => Arc::clone(&before.image),
                None => match self.image_of(base)? {
                    Some(image) => Arc::new(image),
                    None => continue,
                },
            };
            let file = self.file(&format!("{DELTA_FOLDER}/{base}"), compact::delta(&old, image));
            facts.push(DeltaFacts { from: base.clone(), number: *number, file: FileFacts::of(&file.bytes) });
            files.push(file);
        }
        Ok((files, facts))
    }

    fn image_of(&self, history: &Identifier) -> Result<Option<Vec<u8>>, TreeError> {
        let Some(packed) = self.shelf.read(&self.path(history, COMPACT_INDEX_FILE))? else { return Ok(None) };
        match compact::unpack(&packed, IMAGE_BYTES_MAX, "a compact index") {
            Ok(image) => Ok(Some(image)),
            Err(error) => {
                let reason = fault::chain(&error).join(": ");
                tracing::warn!(%history, architecture = self.name, reason, "making no delta from a damaged index");
                Ok(None)
            }
        }
    }

    fn path(&self, history: &Identifier, file: &str) -> String {
        format!("history/{history}/{}/{file}", self.name)
    }
}

/// Whether two entries at one path cannot be in one tree: folders and files may come twice when they are the same.
fn differ(one: &Entry, other: &Entry) -> bool {
    let rights = |entry: &Entry| (entry.mode, entry.uid, entry.gid);
    // Nobody looks at the mode of a link.
    let is_link = matches!(one.file, EntryFile::Symlink(_));
    one.file != other.file || (!is_link && rights(one) != rights(other))
}

/// Whether one of two packages says that it cannot be installed with the other.
fn exclude(one: &Package, other: &Package) -> bool {
    let names = |package: &Package, other: &Package| {
        package.meta.conflicts.iter().any(|conflict| conflict.name == other.meta.name)
    };
    names(one, other) || names(other, one)
}

/// A package as an index lists it.
fn listed(package: &Package) -> PackageMeta {
    PackageMeta {
        uri: Some(package_uri(&package.meta)),
        hash: Some(package.sha256.to_string()),
        download_size_bytes: Some(package.size_bytes),
        ..package.meta.clone()
    }
}

fn digest_of(package: &Package) -> Digest {
    Digest::from_bytes(package.sha256.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{PlainIndexes, StoneIndex, Tree};
    use store::{Sha256, Store};
    use testkit::packages::meta;

    /// Packages that are nowhere, all with the same files.
    struct Nowhere(Vec<Entry>);

    impl Shelf for Nowhere {
        fn read(&self, _path: &str) -> Result<Option<Vec<u8>>, TreeError> {
            Ok(None)
        }

        fn layout(&self, _package: &Package) -> Result<Vec<Entry>, TreeError> {
            Ok(self.0.clone())
        }
    }

    fn many(count: usize) -> Snapshot {
        let package = |number: usize| {
            let meta = meta("source", &format!("package-{number}"), 1);
            let sha256 = Sha256::of(meta.name.as_bytes());
            Package { meta, sha256, size_bytes: 1 }
        };
        (0..count).map(package).collect()
    }

    #[test]
    fn more_packages_than_a_plain_index_can_hold() {
        let folder = tempfile::tempdir().unwrap();
        let tree =
            Tree::new(&Store::folder(folder.path()).unwrap(), "main", &crate::delivery::Delivery::default());
        let snapshot = many(stone::PAYLOADS_MAX + 1);
        let id = crate::admission::history_id(1, snapshot.content_digest());
        let error = tree.indexes(&id, &snapshot, PlainIndexes::default()).unwrap_err();
        let told = fault::chain(&error).join(": ") + &fault::Fault::hints(&error).join(" ");
        assert!(told.contains("65536 packages do not fit") && told.contains("stone_index"), "{told}");

        let while_it_fits = PlainIndexes { policy: StoneIndex::WhileItFits, ..PlainIndexes::default() };
        let file = EntryFile::Symlink("it".into());
        let entry = Entry { uid: 0, gid: 0, mode: 0o120_777, target: "bin/it".into(), file };
        let nowhere = Nowhere(vec![entry]);
        let indexes = tree.indexes(&id, &snapshot, while_it_fits).unwrap();
        assert!(indexes.is_empty());
        let plan = Plan {
            channel: "main".parse().unwrap(),
            id: id.parse().unwrap(),
            number: 1,
            previous: None,
            format: Format::V0,
            recorded: 0,
            bases: Vec::new(),
        };
        let described = describe(&plan, &snapshot, indexes, &mut Memory::default(), &nowhere).unwrap();
        let Described { files, statement, collisions } = described;
        assert_eq!(collisions, [], "all have the same link");
        let described = statement.architecture("x86_64").unwrap();
        assert_eq!(described.packages, 65_536);
        assert!(
            !described.files.contains_key("stone.index") && described.files.contains_key("index.compact")
        );
        tree.settle(tree.write_history(&id, &files).unwrap()).unwrap();
        // And a start finds all of them.
        assert_eq!(tree.read_history(&id).unwrap().content_digest(), snapshot.content_digest());
    }
}
