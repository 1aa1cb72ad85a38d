//! One channel, from its keys to what each history lists.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;
use std::time::{SystemTime, UNIX_EPOCH};

use fault::{Fault, Kind};
use package::PackageMeta;
use repository::compact::{self, FileList, IMAGE_BYTES_MAX};
use repository::signed::{
    Digest, ENVELOPE_BYTES_MAX, Envelope, FileFacts, HistoryStatement, LISTS_MAX, POINTER_BYTES_MAX, Pointer,
    PublicKey, Role, STATEMENT_BYTES_MAX, SignedKind, TrustedKeys,
};
use repository::{Identifier, Index, ROOT_INDEX_BYTES_MAX, RootIndex, Version, layout, package_url};

use super::error::VerifyError;
use super::tree::Tree;
use super::trust::Trust;
use super::versions::Versions;

/// Largest `stone.index`: 65,535 packages, the most that fit, at 1,500 bytes each.
const INDEX_BYTES_MAX: usize = 100 << 20;

/// Largest file of lists of files, packed.
const LISTS_BYTES_MAX: usize = 512 << 20;

/// A package that some history lists.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Listed {
    /// Where it is, below the tree.
    pub(super) file: String,
    /// What the index says of it.
    pub(super) meta: PackageMeta,
    /// The index that says so.
    pub(super) by: String,
    /// Its packed list of files, where there is one.
    pub(super) paths: Option<Vec<u8>>,
    /// Whether only histories list it that were given up, so that it may be removed at any time.
    pub(super) may_be_gone: bool,
}

/// What was found in a channel.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) keys: usize,
    pub(super) pointers: usize,
    pub(super) histories: usize,
    pub(super) indexes: usize,
    pub(super) deltas: usize,
    pub(super) is_signed: bool,
    /// By digest: the same bytes are verified once.
    pub(super) packages: BTreeMap<(String, String), Listed>,
    /// The keys that vouch for the channel.
    pub(super) trust: Trust,
    /// The versions of its pointers.
    pub(super) versions: Versions,
}

/// The channel while it is verified.
pub(super) struct Channel<'t> {
    tree: &'t Tree,
    name: Identifier,
    pins: &'t [PublicKey],
    seen: &'t Versions,
    now: i64,
    found: Found,
    /// The images of all histories that were read, for the deltas between them.
    images: HashMap<(Identifier, String), Vec<u8>>,
    /// Whether histories are read that the root index does not name.
    is_given_up: bool,
}

impl<'t> Channel<'t> {
    /// `seen` are the versions that pointers had before.
    pub(super) fn new(tree: &'t Tree, name: &Identifier, pins: &'t [PublicKey], seen: &'t Versions) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        Self {
            tree,
            name: name.clone(),
            pins,
            seen,
            now,
            found: Found::default(),
            images: HashMap::new(),
            is_given_up: false,
        }
    }

    /// Verifies everything but the bytes of packages, in the order in which a client reads it.
    pub(super) fn verify(mut self) -> Result<Found, VerifyError> {
        let root_file = layout::root_index_path(&self.name);
        let root_bytes = self.must(&root_file, ROOT_INDEX_BYTES_MAX)?;
        let trusted = self.keys()?;
        self.found.is_signed = trusted.is_some();
        self.found.trust = Trust::new(trusted.clone());
        let root = RootIndex::from_json(&root_bytes)
            .map_err(|source| VerifyError::RootIndex { file: root_file.clone(), source })?;
        // Nobody signs this file, which AerynOS's clients read; so each of its bytes is compared with what is signed.
        if trusted.is_some() && root.to_json() != root_bytes {
            return Err(VerifyError::Rewritten { file: root_file });
        }
        self.twin(&root_file, &root_bytes)?;
        let mut promised = BTreeMap::new();
        let mut expected = BTreeSet::new();
        let named = root
            .streams
            .iter()
            .map(|(name, entry)| (Version::Stream(name.clone()), &entry.history, entry.format.as_str()));
        let tagged = root
            .tags
            .iter()
            .map(|(name, entry)| (Version::Tag(name.clone()), &entry.history, entry.format.as_str()));
        for (what, history, format) in named.chain(tagged) {
            if let Some(entry) = root.history.get(history).filter(|entry| entry.format.as_str() != format) {
                let (found, expected) =
                    (format!("{what} has format {format}"), entry.format.as_str().to_owned());
                return Err(self.contradiction(
                    &root_file,
                    found,
                    &format!("its history {history}"),
                    expected,
                ));
            }
            let Some(trusted) = &trusted else { continue };
            let pointer = self.pointer(trusted, &what)?;
            if pointer.history != *history {
                let found = format!("{what} points to {history}");
                let file = layout::pointer_path(&self.name, &what).unwrap_or_default();
                return Err(self.contradiction(&root_file, found, &file, pointer.history.to_string()));
            }
            if pointer.moved != root.moved {
                let text = |moved: &Option<repository::Moved>| {
                    moved.as_ref().map_or_else(|| "here".to_owned(), ToString::to_string)
                };
                let file = layout::pointer_path(&self.name, &what).unwrap_or_default();
                let found = format!("the channel is said to be {}", text(&root.moved));
                return Err(self.contradiction(&root_file, found, &file, text(&pointer.moved)));
            }
            promised.insert(history.clone(), pointer);
            expected.insert(what.to_string());
        }
        if trusted.is_some() {
            self.no_other_pointers(&root_file, &expected)?;
        }
        for (history, entry) in &root.history {
            self.history(history, Some(entry.format.as_str()), promised.get(history), trusted.is_some())?;
        }
        self.given_up(&root, trusted.is_some())?;
        for number in 0..FORMATS_MAX {
            let format = repository::Format::numbered(number);
            if let Some(via) = root.formats.upgrade_via(&format) {
                let known = repository::KnownFormats::up_to(number);
                if let Err(error) = root.resolve_for(&via, known) {
                    let found = format!("clients of format {} are led through {via}", format.as_str());
                    return Err(self.contradiction(&root_file, found, "it", error.to_string()));
                }
            }
        }
        Ok(self.found)
    }

    fn contradiction(&self, file: &str, found: String, other: &str, expected: String) -> VerifyError {
        VerifyError::Contradiction { file: file.to_owned(), found, other: other.to_owned(), expected }
    }

    fn must(&self, file: &str, limit: usize) -> Result<Vec<u8>, VerifyError> {
        self.tree.read(file, limit)?.ok_or_else(|| VerifyError::missing(file))
    }

    /// A file of which length and digest are known.
    fn promised(&self, file: &str, facts: FileFacts, by: &str, limit: usize) -> Result<Vec<u8>, VerifyError> {
        let bytes = self.must(file, limit)?;
        let found = FileFacts::of(&bytes);
        if found == facts {
            return Ok(bytes);
        }
        Err(VerifyError::OtherFile {
            file: file.to_owned(),
            found: found.sha256.to_string(),
            found_bytes: found.size_bytes,
            promised: facts.sha256.to_string(),
            promised_bytes: facts.size_bytes,
            by: by.to_owned(),
        })
    }

    /// The compressed copy for web servers.
    fn twin(&self, file: &str, plain: &[u8]) -> Result<(), VerifyError> {
        let twin = format!("{file}.zst");
        let Some(bytes) = self.tree.read(&twin, ROOT_INDEX_BYTES_MAX)? else { return Ok(()) };
        match compact::unpack(&bytes, ROOT_INDEX_BYTES_MAX, "a compressed root index") {
            Ok(unpacked) if unpacked == plain => Ok(()),
            Ok(_) => {
                let found = "it holds something else".to_owned();
                Err(self.contradiction(&twin, found, file, "what it must hold".to_owned()))
            }
            Err(source) => Err(VerifyError::Compact { file: twin, source }),
        }
    }

    /// Walks the lists of keys; none where the channel has none and no key is given.
    fn keys(&mut self) -> Result<Option<TrustedKeys>, VerifyError> {
        let file = layout::keys_path(&self.name);
        let Some(newest) = self.tree.read(&file, ENVELOPE_BYTES_MAX)? else {
            if self.pins.is_empty() {
                return Ok(None);
            }
            return Err(VerifyError::Unsigned { channel: self.name.to_string() });
        };
        let mut lists: Vec<Vec<u8>> = Vec::new();
        for version in 1..=LISTS_MAX {
            let path = layout::keys_version_path(&self.name, version);
            let Some(list) = self.tree.read(&path, ENVELOPE_BYTES_MAX)? else { break };
            lists.push(list);
        }
        let keys = |source| VerifyError::Keys { file: file.clone(), source };
        let pins = if self.pins.is_empty() {
            // Nobody says which key is the right one: that of the first list then, so that the rest can be compared with it.
            let first = lists.first().map_or(newest.as_slice(), Vec::as_slice);
            let envelope = Envelope::read(first, SignedKind::Keys)
                .map_err(|source| VerifyError::Envelope { file: file.clone(), source })?;
            let list = repository::signed::KeyList::read(envelope.unchecked_payload()).map_err(keys)?;
            list.active(Role::Root).copied().collect()
        } else {
            self.pins.to_vec()
        };
        // From the first list on also where the pinned key came later: each list must follow from the one before.
        let mut walked: Option<TrustedKeys> = None;
        for (number, list) in lists.iter().enumerate() {
            let path = layout::keys_version_path(&self.name, u64::try_from(number).unwrap_or(0) + 1);
            let own = |source| VerifyError::Keys { file: path.clone(), source };
            let read = Envelope::read(list, SignedKind::Keys)
                .map_err(|source| VerifyError::Envelope { file: path.clone(), source })?;
            if read.to_json() != *list {
                return Err(VerifyError::Rewritten { file: path });
            }
            walked = match walked {
                Some(before) => Some(before.advance(list, &seal::verify).map_err(own)?),
                None => {
                    let first = repository::signed::KeyList::read(read.unchecked_payload()).map_err(own)?;
                    let roots: Vec<PublicKey> = first.active(Role::Root).copied().collect();
                    TrustedKeys::begin(list, &roots, &seal::verify).map_err(own)?
                }
            };
        }
        let trusted =
            TrustedKeys::walk(lists.iter().map(Vec::as_slice), &pins, &seal::verify).map_err(keys)?;
        if lists.last() != Some(&newest) {
            let path = layout::keys_version_path(&self.name, trusted.list().version);
            let found = "it is not the newest list of keys".to_owned();
            return Err(self.contradiction(&file, found, &path, "what is newest".to_owned()));
        }
        self.found.keys = lists.len();
        Ok(Some(trusted))
    }

    fn pointer(&mut self, trusted: &TrustedKeys, what: &Version) -> Result<Pointer, VerifyError> {
        let file = layout::pointer_path(&self.name, what).unwrap_or_default();
        let bytes = self.must(&file, POINTER_BYTES_MAX)?;
        let envelope = |source| VerifyError::Envelope { file: file.clone(), source };
        let pointer = |source| VerifyError::Pointer { file: file.clone(), source: Box::new(source) };
        let read = Envelope::read(&bytes, SignedKind::Pointer).map_err(envelope)?;
        if read.to_json() != bytes {
            return Err(VerifyError::Rewritten { file });
        }
        let payload = trusted.open_fresh(&read, self.now, &seal::verify).map_err(envelope)?;
        let found = Pointer::read(payload, &self.name, what).map_err(pointer)?;
        found.check(self.seen.of(&file), self.now).map_err(pointer)?;
        self.found.versions.add(&file, found.version);
        self.found.pointers += 1;
        Ok(found)
    }

    /// A pointer of which the root index knows nothing would lead clients of one kind where those of the other cannot go.
    fn no_other_pointers(&self, root_file: &str, expected: &BTreeSet<String>) -> Result<(), VerifyError> {
        for kind in ["stream", "tag"] {
            let names = self.tree.names(&format!("{}/{kind}", self.name))?;
            for name in names.iter().flatten().filter_map(|name| name.strip_suffix(".json")) {
                let what = format!("{kind}/{name}");
                if !expected.contains(&what) {
                    let file = format!("{}/{what}.json", self.name);
                    let found = format!("there is a pointer of {what}");
                    return Err(self.contradiction(&file, found, root_file, "that there is none".to_owned()));
                }
            }
        }
        Ok(())
    }

    /// Histories that the root index does not name: given up, and there for who is a while behind. Parts of them may be gone, or
    /// not be there yet; what is there must be right.
    fn given_up(&mut self, root: &RootIndex, is_signed: bool) -> Result<(), VerifyError> {
        let names = self.tree.names(&format!("{}/history", self.name))?;
        let others = names.into_iter().flatten().filter_map(|name| name.parse::<Identifier>().ok());
        for history in others.filter(|history| !root.history.contains_key(history)) {
            self.is_given_up = true;
            match self.history(&history, None, None, is_signed) {
                Err(error) if error.kind() == Kind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// One history. Its format is not known where the root index does not name it.
    fn history(
        &mut self,
        history: &Identifier,
        format: Option<&str>,
        pointer: Option<&Pointer>,
        is_signed: bool,
    ) -> Result<(), VerifyError> {
        if !is_signed {
            self.found.histories += 1;
            return self.unsigned_history(history);
        }
        let file = layout::statement_path(&self.name, history);
        let payload = match pointer {
            // Whoever signed the pointer vouches for every byte of it.
            Some(pointer) => {
                let by = layout::pointer_path(&self.name, &pointer.what).unwrap_or_default();
                let bytes = self.promised(&file, pointer.statement, &by, STATEMENT_BYTES_MAX)?;
                let envelope = |source| VerifyError::Envelope { file: file.clone(), source };
                let read = Envelope::read(&bytes, SignedKind::History).map_err(envelope)?;
                read.unchecked_payload().to_vec()
            }
            None => {
                let bytes = self.must(&file, STATEMENT_BYTES_MAX)?;
                self.found.trust.open(&file, &bytes, SignedKind::History)?
            }
        };
        let statement = HistoryStatement::read(&payload, &self.name, history)
            .map_err(|source| VerifyError::Statement { file: file.clone(), source })?;
        let others = format.into_iter().chain(pointer.map(|pointer| pointer.format.as_str()));
        if let Some(other) = others.into_iter().find(|other| statement.format != *other) {
            let found = format!("its format is {}", statement.format);
            let root_file = layout::root_index_path(&self.name);
            return Err(self.contradiction(&file, found, &root_file, other.to_owned()));
        }
        self.found.histories += 1;
        for architecture in statement.architectures.keys() {
            self.architecture(&statement, architecture, &file)?;
        }
        Ok(())
    }

    fn architecture(
        &mut self,
        statement: &HistoryStatement,
        architecture: &str,
        by: &str,
    ) -> Result<(), VerifyError> {
        let own = statement
            .architecture(architecture)
            .map_err(|source| VerifyError::Statement { file: by.to_owned(), source })?;
        let channel = self.name.clone();
        let path = |name: &str| layout::history_file_path(&channel, &statement.history, architecture, name);
        let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for (name, facts) in &own.files {
            let limit = match name.as_str() {
                layout::FILES_FILE => LISTS_BYTES_MAX,
                layout::INDEX_FILE => INDEX_BYTES_MAX,
                _ => IMAGE_BYTES_MAX,
            };
            files.insert(name, self.promised(&path(name), *facts, by, limit)?);
        }
        let mut packages = None;
        if let Some(packed) = files.get(layout::COMPACT_INDEX_FILE) {
            let file = path(layout::COMPACT_INDEX_FILE);
            let compact = |source| VerifyError::Compact { file: file.clone(), source };
            let image = compact::unpack(packed, IMAGE_BYTES_MAX, "a compact index").map_err(compact)?;
            if Digest::of(&image) != own.image {
                let (found, promised) = (Digest::of(&image), own.image);
                let found = format!("the index in it has SHA-256 {found}");
                return Err(self.contradiction(&file, found, by, promised.to_string()));
            }
            let mut listed = compact::packages(&image).map_err(compact)?;
            if let Some(packed) = files.get(layout::TEXTS_FILE) {
                let file = path(layout::TEXTS_FILE);
                let compact = |source| VerifyError::Compact { file: file.clone(), source };
                let texts =
                    compact::unpack(packed, IMAGE_BYTES_MAX, "the texts of an index").map_err(compact)?;
                compact::add_texts(&mut listed, &texts).map_err(compact)?;
            }
            self.deltas(statement, architecture, by, &image)?;
            if self.images.len() >= IMAGES_MAX {
                self.images.clear();
            }
            self.images.insert((statement.history.clone(), architecture.to_owned()), image);
            self.found.indexes += 1;
            packages = Some(listed);
        }
        if let Some(bytes) = files.get(layout::INDEX_FILE) {
            let file = path(layout::INDEX_FILE);
            let plain = self.read_index(&file, bytes)?;
            match &packages {
                Some(packages) if *packages != plain => {
                    let differs = plain.iter().zip(packages).find(|(left, right)| left != right);
                    let name = differs.map_or("the number of packages", |(left, _)| left.name.as_str());
                    let found = format!("it says something else of {name}");
                    let other = path(layout::COMPACT_INDEX_FILE);
                    return Err(self.contradiction(&file, found, &other, "the same".to_owned()));
                }
                _ => packages = Some(plain),
            }
        }
        let packages = packages.unwrap_or_default();
        if u64::try_from(packages.len()).ok() != Some(own.packages) {
            let found = format!("its indexes list {} packages for {architecture}", packages.len());
            return Err(self.contradiction(by, found, "it", own.packages.to_string()));
        }
        let lists = match files.get(layout::FILES_FILE) {
            Some(bytes) => {
                let file = path(layout::FILES_FILE);
                let lists = compact::read_file_lists(bytes);
                Some(lists.map_err(|source| VerifyError::Compact { file, source })?)
            }
            None => None,
        };
        self.list(&path(layout::INDEX_FILE), &packages, lists.as_deref())
    }

    /// Each delta must lead from the index that it names to this one.
    fn deltas(
        &mut self,
        statement: &HistoryStatement,
        architecture: &str,
        by: &str,
        image: &[u8],
    ) -> Result<(), VerifyError> {
        let Some(own) = statement.architectures.get(architecture) else { return Ok(()) };
        for delta in &own.deltas {
            let file = layout::delta_path(&self.name, &statement.history, architecture, &delta.from);
            let bytes = self.promised(&file, delta.file, by, IMAGE_BYTES_MAX)?;
            self.found.deltas += 1;
            let Some(old) = self.image(&delta.from, architecture)? else { continue };
            let made = compact::apply(&old, &bytes)
                .map_err(|source| VerifyError::Compact { file: file.clone(), source })?;
            if made != image {
                let found = "it leads to another index".to_owned();
                return Err(self.contradiction(&file, found, by, Digest::of(image).to_string()));
            }
        }
        Ok(())
    }

    /// The index of an older history; none when it is no longer there.
    fn image(&mut self, history: &Identifier, architecture: &str) -> Result<Option<Vec<u8>>, VerifyError> {
        let key = (history.clone(), architecture.to_owned());
        if let Some(image) = self.images.get(&key) {
            return Ok(Some(image.clone()));
        }
        let file = layout::history_file_path(&self.name, history, architecture, layout::COMPACT_INDEX_FILE);
        let Some(packed) = self.tree.read(&file, IMAGE_BYTES_MAX)? else { return Ok(None) };
        let image = compact::unpack(&packed, IMAGE_BYTES_MAX, "a compact index");
        Ok(Some(image.map_err(|source| VerifyError::Compact { file, source })?))
    }

    /// What AerynOS's own repositories have: an index for each architecture, that nobody signs.
    fn unsigned_history(&mut self, history: &Identifier) -> Result<(), VerifyError> {
        let folder = layout::history_path(&self.name, history);
        let names = self.tree.names(&folder)?;
        let architectures = names.unwrap_or_else(|| vec!["x86_64".to_owned()]);
        for architecture in architectures {
            let file = format!("{folder}/{architecture}/{}", layout::INDEX_FILE);
            let Some(bytes) = self.tree.read(&file, INDEX_BYTES_MAX)? else { continue };
            let packages = self.read_index(&file, &bytes)?;
            self.list(&file, &packages, None)?;
        }
        Ok(())
    }

    fn read_index(&mut self, file: &str, bytes: &[u8]) -> Result<Vec<PackageMeta>, VerifyError> {
        self.found.indexes += 1;
        let index = Index::read(Cursor::new(bytes), &Index::limits());
        let index =
            index.map_err(|source| VerifyError::Index { file: file.to_owned(), source: Box::new(source) })?;
        Ok(index.into_packages())
    }

    /// Notes what has to be fetched. The same bytes in several histories are one package.
    fn list(
        &mut self,
        index_file: &str,
        packages: &[PackageMeta],
        lists: Option<&[FileList<'_>]>,
    ) -> Result<(), VerifyError> {
        // An address of any kind, to see where a relative one leads; it never leaves the tree.
        const BASE: &str = "https://tree.invalid/";
        let lists: Option<HashMap<String, &[u8]>> =
            lists.map(|lists| lists.iter().map(|list| (list.package.to_string(), list.packed)).collect());
        if let Some(lists) = &lists
            && lists.len() != packages.len()
        {
            let found = format!("{} packages have lists of files", lists.len());
            let file = index_file.replace(layout::INDEX_FILE, layout::FILES_FILE);
            return Err(self.contradiction(&file, found, index_file, packages.len().to_string()));
        }
        for meta in packages {
            let uri = meta.uri.as_deref().unwrap_or_default();
            let url = package_url(&format!("{BASE}{index_file}"), uri)
                .map_err(|source| VerifyError::Address { file: index_file.to_owned(), source })?;
            let file = url.strip_prefix(BASE).unwrap_or(&url).to_owned();
            let sha256 = meta.hash.clone().unwrap_or_default();
            let paths = match &lists {
                None => None,
                Some(lists) => match lists.get(&sha256) {
                    Some(packed) => Some(packed.to_vec()),
                    None => {
                        let lists_file = index_file.replace(layout::INDEX_FILE, layout::FILES_FILE);
                        let found = format!("there is no list of files of {}", meta.name);
                        return Err(self.contradiction(&lists_file, found, index_file, "one".to_owned()));
                    }
                },
            };
            let listed = Listed {
                file: file.clone(),
                meta: meta.clone(),
                by: index_file.to_owned(),
                paths,
                may_be_gone: self.is_given_up,
            };
            match self.found.packages.get(&(file.clone(), sha256.clone())) {
                Some(known) if known.meta != listed.meta => {
                    let found = format!("it says something else of {}", meta.name);
                    return Err(self.contradiction(
                        index_file,
                        found,
                        &known.by.clone(),
                        "the same".to_owned(),
                    ));
                }
                Some(_) => {}
                None => {
                    self.found.packages.insert((file, sha256), listed);
                }
            }
        }
        Ok(())
    }
}

/// Indexes that are kept for deltas; one has a megabyte for 4,000 packages. Others are read again.
const IMAGES_MAX: usize = 64;

/// Formats of which a way up is looked for.
const FORMATS_MAX: u32 = 64;
