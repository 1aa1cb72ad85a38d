//! Repositories that publish signed files: pointer, statement, compact index.
//!
//! One conditional request of the pointer tells whether anything changed. If so, the statement of the new history names every
//! file with its digest, and the new index is made from the one at hand by deltas, or fetched whole where that is less or there is
//! no way. What only some commands need, texts and lists of files, is fetched when they ask.
//!
//! Where keys are pinned, nothing counts that they do not vouch for: directly, or by a walk from list of keys to list of keys. What
//! was trusted last is remembered on the disk before it is relied upon, so that nobody can lead back to an older pointer, not even
//! after a crash. Where no keys are pinned the same files are read for their size alone, and are worth what the connection is.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use fault::{Fault, Kind};
use fetch::{Body, Validators};
use fs_err as fs;
use repository::compact::{self, CompactError, IMAGE_BYTES_MAX};
use repository::signed::{
    Digest, ENVELOPE_BYTES_MAX, Envelope, EnvelopeError, FileFacts, HistoryStatement, KeyList, KeysError,
    LISTS_MAX, POINTER_BYTES_MAX, Pointer, PointerError, PublicKey, STATEMENT_BYTES_MAX, SignedKind,
    StatementError, TrustedKeys,
};
use repository::{Format, Identifier, Moved, RepositorySource, ResolveError, RootIndex, Version, layout};
use serde::{Deserialize, Serialize};

use super::{Fetched, Offer, Place, RefreshError, replace};
use crate::swap::write_durably;

/// Files of the cache.
const TRUST_FILE: &str = "trust.json";
const MEMORY_FILE: &str = "signed.json";
const IMAGE_FILE: &str = "image";

/// Deltas that are applied one after the other before the whole index is less work.
const DELTAS_MAX: usize = 12;

/// Why what was fetched is not used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The list of keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The signatures of a file.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// What the pointer says.
    #[error(transparent)]
    Pointer(#[from] PointerError),
    /// What the statement of the history says.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The index itself.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// A file that is another than was promised.
    #[error(
        "cannot use {file}: it has {found_bytes} bytes with SHA-256 {found}, and {promised_bytes} with {promised} are promised"
    )]
    OtherFile {
        /// The file, below the address of the repository.
        file: String,
        /// Its digest.
        found: Digest,
        /// Its length.
        found_bytes: u64,
        /// What is promised.
        promised: Digest,
        /// What is promised.
        promised_bytes: u64,
    },
    /// The statement and the pointer do not fit together.
    #[error(
        "cannot use history {history}: its pointer says format {pointer:?}, and its statement {statement:?}"
    )]
    OtherFormat {
        /// The history.
        history: Identifier,
        /// One format.
        pointer: String,
        /// The other.
        statement: String,
    },
}

impl TrustError {
    fn inner(&self) -> Option<&dyn Fault> {
        Some(match self {
            TrustError::Keys(error) => error,
            TrustError::Envelope(error) => error,
            TrustError::Pointer(error) => error,
            TrustError::Statement(error) => error,
            TrustError::Compact(error) => error,
            TrustError::OtherFile { .. } | TrustError::OtherFormat { .. } => return None,
        })
    }

    /// Whether it only means that what is at hand is newer.
    pub(super) fn is_behind(&self) -> bool {
        matches!(self, TrustError::Pointer(PointerError::Older { .. }))
    }
}

impl Fault for TrustError {
    fn kind(&self) -> Kind {
        self.inner().map_or(Kind::Damaged, Fault::kind)
    }

    fn hints(&self) -> Vec<String> {
        match self.inner() {
            Some(inner) => inner.hints(),
            None => vec![
                "somebody changed a file on the way or where it lies: try again later, or another mirror, and tell the owner of the repository".into(),
            ],
        }
    }
}

/// What is known of a repository's keys, for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Trust {
    /// The keys that were pinned then; with others, trust begins anew.
    pins: Vec<String>,
    /// The newest list of keys.
    keys: KeyList,
    /// The highest version of the pointer that was ever followed.
    version: Option<u64>,
}

/// What the cached index is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SignedMemory {
    pub(super) pins: Vec<String>,
    etag: Option<String>,
    last_modified: Option<String>,
    pointer: Option<Pointer>,
    history: Identifier,
    number: u64,
    image: Digest,
    /// Files that are fetched when somebody asks.
    files: BTreeMap<String, FileFacts>,
    #[serde(default)]
    pub(super) moved: Option<Moved>,
}

/// The parts of an address of a versioned repository.
struct Address<'a> {
    base_uri: &'a str,
    channel: &'a Identifier,
    version: &'a Version,
    arch: &'a str,
}

/// Keys that are trusted; none where none is pinned.
type Keys = Option<TrustedKeys>;

impl Place<'_> {
    fn address(&self) -> Result<Address<'_>, RefreshError> {
        match &self.repository.source {
            RepositorySource::Versioned { base_uri, channel, version, arch } => {
                Ok(Address { base_uri, channel, version, arch })
            }
            RepositorySource::Direct { .. } => Err(RefreshError::Unsigned { id: self.id() }),
        }
    }

    fn trust_error(&self, source: impl Into<TrustError>) -> RefreshError {
        RefreshError::Trust { id: self.id(), source: Box::new(source.into()) }
    }

    /// What was fetched last and is whole.
    pub(super) fn read_signed(&self) -> Result<Option<(Offer, SignedMemory)>, RefreshError> {
        let Some((memory, image)) = self.read_image()? else { return Ok(None) };
        match compact::packages(&image) {
            Ok(packages) => {
                let offer = Offer {
                    repository: self.repository.clone(),
                    index_url: self.repository.source.index_url(&memory.history),
                    packages,
                    moved: self.transition_to(memory.moved.as_ref(), !self.repository.keys.is_empty()),
                    lacks_texts: true,
                };
                Ok(Some((offer, memory)))
            }
            Err(error) => {
                tracing::warn!(%error, "the cached index cannot be read and is fetched again");
                Ok(None)
            }
        }
    }

    fn read_image(&self) -> Result<Option<(SignedMemory, Vec<u8>)>, RefreshError> {
        let (Some(memory), Some(image)) = (self.read_optional(MEMORY_FILE)?, self.read_optional(IMAGE_FILE)?)
        else {
            return Ok(None);
        };
        let Ok(memory) = serde_json::from_slice::<SignedMemory>(&memory) else { return Ok(None) };
        let is_whole = Digest::of(&image) == memory.image && memory.pins == self.repository.keys;
        Ok(is_whole.then_some((memory, image)))
    }

    /// Fetches what is new; none where the repository has no signed files and none are asked for.
    pub(super) fn fetch_signed(&self) -> Result<Option<Fetched>, RefreshError> {
        let address = self.address()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let known = self.read_image()?;
        let trust = self.read_trust()?;
        let mut keys: Keys = match (self.repository.keys.is_empty(), &trust) {
            (true, _) => None,
            (false, Some(trust)) => Some(TrustedKeys::remembered(trust.keys.clone())),
            (false, None) => Some(self.begin_trust(&address)?),
        };
        let seen = trust.and_then(|trust| trust.version);
        let mut validators = Validators::default();
        let pointer = match layout::pointer_path(address.channel, address.version) {
            None => None,
            Some(path) => {
                let last = known.as_ref().map(|(memory, _)| memory);
                let Some(followed) = self.follow(&address, &path, last, &mut keys, seen, now)? else {
                    return Ok(None);
                };
                match followed {
                    Followed::Same => return Ok(Some(Fetched::Same(Box::new(self.moved_of(last))))),
                    Followed::Changed(pointer, new) => {
                        validators = new;
                        Some(*pointer)
                    }
                }
            }
        };
        let history = match (&pointer, address.version) {
            (Some(pointer), _) => pointer.history.clone(),
            (None, Version::History(history)) => history.clone(),
            (None, _) => return Ok(None),
        };
        if let Some(keys) = &keys {
            // Before anything is used: whatever happens next, nobody leads back behind this.
            let version = pointer.as_ref().map(|pointer| pointer.version).max(seen);
            self.write_trust(&Trust {
                pins: self.repository.keys.clone(),
                keys: keys.list().clone(),
                version,
            })?;
        }
        let moved = pointer.as_ref().and_then(|pointer| pointer.moved.clone());
        let validators = (validators.etag, validators.last_modified);
        if let Some((memory, _)) = known.as_ref().filter(|(memory, _)| memory.history == history) {
            let (etag, last_modified) = validators;
            let memory = SignedMemory { etag, last_modified, pointer, moved, ..memory.clone() };
            self.write_signed(&memory, None)?;
            return Ok(Some(Fetched::Same(Box::new(self.moved_of(Some(&memory))))));
        }
        let promised = pointer.as_ref().map(|pointer| pointer.statement);
        let Some(statement) = self.statement(&address, &history, promised, &keys)? else { return Ok(None) };
        self.check_format(&address, &statement, pointer.as_ref())?;
        let image = self.image(&address, &statement, known.as_ref(), &keys)?;
        let packages = compact::packages(&image).map_err(|error| self.trust_error(error))?;
        let files = statement.architecture(address.arch).map_err(|error| self.trust_error(error))?;
        let memory = SignedMemory {
            pins: self.repository.keys.clone(),
            etag: validators.0,
            last_modified: validators.1,
            pointer,
            history: history.clone(),
            number: statement.number,
            image: Digest::of(&image),
            files: files.files.clone(),
            moved,
        };
        self.write_signed(&memory, Some(&image))?;
        Ok(Some(Fetched::New(Box::new(Offer {
            repository: self.repository.clone(),
            index_url: self.repository.source.index_url(&history),
            packages,
            moved: self.moved_of(Some(&memory)),
            lacks_texts: true,
        }))))
    }

    fn moved_of(&self, memory: Option<&SignedMemory>) -> Option<super::Transition> {
        self.transition_to(memory?.moved.as_ref(), !self.repository.keys.is_empty())
    }

    fn bytes(&self, address: &Address<'_>, path: &str, limit: usize) -> Result<Vec<u8>, RefreshError> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        match self.get(&format!("{}/{path}", address.base_uri), &Validators::default(), limit)? {
            Body::Bytes { bytes, .. } => Ok(bytes),
            // Nobody was asked whether it changed.
            Body::NotModified => Ok(Vec::new()),
        }
    }

    /// The same, or none where there is no such file.
    fn bytes_if_there(
        &self,
        address: &Address<'_>,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, RefreshError> {
        match self.bytes(address, path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if super::is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A file of which length and digest are known.
    fn promised(
        &self,
        address: &Address<'_>,
        path: &str,
        promised: FileFacts,
        limit: usize,
    ) -> Result<Vec<u8>, RefreshError> {
        let limit = usize::try_from(promised.size_bytes).unwrap_or(usize::MAX).min(limit);
        // One byte more than promised shows that it is another file.
        let bytes = self.bytes(address, path, limit.saturating_add(1))?;
        let found = FileFacts::of(&bytes);
        if found == promised {
            return Ok(bytes);
        }
        Err(self.trust_error(TrustError::OtherFile {
            file: path.to_owned(),
            found: found.sha256,
            found_bytes: found.size_bytes,
            promised: promised.sha256,
            promised_bytes: promised.size_bytes,
        }))
    }

    fn read_trust(&self) -> Result<Option<Trust>, RefreshError> {
        let Some(bytes) = self.read_optional(TRUST_FILE)? else { return Ok(None) };
        let trust = serde_json::from_slice::<Trust>(&bytes).ok();
        Ok(trust.filter(|trust| trust.pins == self.repository.keys))
    }

    fn write_trust(&self, trust: &Trust) -> Result<(), RefreshError> {
        if !self.cache.keep {
            return Ok(());
        }
        let text = serde_json::to_vec(trust).map_err(|error| self.cache_error(error.into()))?;
        let path = self.directory.join(TRUST_FILE);
        let written = fs::create_dir_all(&self.directory).and_then(|()| write_durably(&path, &text));
        written.map_err(|source| self.cache_error(source))
    }

    fn write_signed(&self, memory: &SignedMemory, image: Option<&[u8]>) -> Result<(), RefreshError> {
        if !self.cache.keep {
            return Ok(());
        }
        let text = serde_json::to_vec(memory).map_err(|error| self.cache_error(error.into()))?;
        let write = || {
            fs::create_dir_all(&self.directory)?;
            // Whoever reads between the two finds digests that differ, and fetches for itself.
            if let Some(image) = image {
                replace(&self.directory.join(IMAGE_FILE), image)?;
            }
            replace(&self.directory.join(MEMORY_FILE), &text)
        };
        write().map_err(|source| self.cache_error(source))
    }

    fn pins(&self) -> Vec<PublicKey> {
        // They were checked when the configuration was read; one that is none would vouch for nothing.
        self.repository.keys.iter().filter_map(|key| key.parse().ok()).collect()
    }

    /// From the pinned keys to the newest list: at once where one of them is in it, else along all lists.
    fn begin_trust(&self, address: &Address<'_>) -> Result<TrustedKeys, RefreshError> {
        let pins = self.pins();
        let newest = self.bytes_if_there(address, &layout::keys_path(address.channel), ENVELOPE_BYTES_MAX)?;
        let newest = newest.ok_or_else(|| RefreshError::Unsigned { id: self.id() })?;
        if let Some(trusted) =
            TrustedKeys::begin(&newest, &pins, &seal::verify).map_err(|error| self.trust_error(error))?
        {
            return Ok(trusted);
        }
        let mut lists = Vec::new();
        for version in 1..=LISTS_MAX {
            let path = layout::keys_version_path(address.channel, version);
            match self.bytes_if_there(address, &path, ENVELOPE_BYTES_MAX)? {
                Some(list) => lists.push(list),
                None => break,
            }
        }
        TrustedKeys::walk(lists.iter().map(Vec::as_slice), &pins, &seal::verify)
            .map_err(|error| self.trust_error(error))
    }

    /// Goes on to newer lists of keys, at most to `version`.
    fn advance(
        &self,
        address: &Address<'_>,
        mut keys: TrustedKeys,
        version: u64,
    ) -> Result<TrustedKeys, RefreshError> {
        while keys.list().version < version.min(LISTS_MAX) {
            let path = layout::keys_version_path(address.channel, keys.list().version + 1);
            let Some(list) = self.bytes_if_there(address, &path, ENVELOPE_BYTES_MAX)? else { break };
            keys = keys.advance(&list, &seal::verify).map_err(|error| self.trust_error(error))?;
        }
        Ok(keys)
    }

    /// Asks where the stream or tag points now.
    fn follow(
        &self,
        address: &Address<'_>,
        path: &str,
        last: Option<&SignedMemory>,
        keys: &mut Keys,
        seen: Option<u64>,
        now: i64,
    ) -> Result<Option<Followed>, RefreshError> {
        let validators = last.map_or_else(Validators::default, |last| Validators {
            etag: last.etag.clone(),
            last_modified: last.last_modified.clone(),
        });
        let limit = u64::try_from(POINTER_BYTES_MAX).unwrap_or(u64::MAX);
        let answer = match self.get(&format!("{}/{path}", address.base_uri), &validators, limit) {
            Ok(answer) => answer,
            Err(error) if super::is_gone(&error) && keys.is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        let Body::Bytes { bytes, validators } = answer else {
            if let (Some(_), Some(pointer)) = (&keys, last.and_then(|last| last.pointer.as_ref())) {
                pointer.check(seen, now).map_err(|error| self.trust_error(error))?;
            }
            return Ok(Some(Followed::Same));
        };
        let envelope =
            Envelope::read(&bytes, SignedKind::Pointer).map_err(|error| self.trust_error(error))?;
        let read = |payload: &[u8]| {
            Pointer::read(payload, address.channel, address.version).map_err(|error| self.trust_error(error))
        };
        let Some(mut trusted) = keys.take() else {
            let pointer = read(envelope.unchecked_payload())?;
            self.check_known(address, &pointer)?;
            return Ok(Some(Followed::Changed(Box::new(pointer), validators)));
        };
        if trusted.open_fresh(&envelope, now, &seal::verify).is_err() {
            // It may be signed by a key that came later.
            trusted = self.advance(address, trusted, LISTS_MAX)?;
        }
        let open = |trusted: &TrustedKeys| {
            let payload = trusted.open_fresh(&envelope, now, &seal::verify);
            read(payload.map_err(|error| self.trust_error(error))?)
        };
        let mut pointer = open(&trusted)?;
        if pointer.keys > trusted.list().version {
            trusted = self.advance(address, trusted, pointer.keys)?;
            pointer = open(&trusted)?;
        }
        pointer.check(seen, now).map_err(|error| self.trust_error(error))?;
        *keys = Some(trusted);
        self.check_known(address, &pointer)?;
        Ok(Some(Followed::Changed(Box::new(pointer), validators)))
    }

    /// Refuses a format of the future, with the way to a Moss that knows it. The way is a hint: what is there is checked as all else.
    fn check_known(&self, address: &Address<'_>, pointer: &Pointer) -> Result<(), RefreshError> {
        if self.cache.formats.contains(&Format::from_name(&pointer.format)) {
            return Ok(());
        }
        let path = layout::root_index_path(address.channel);
        let root = self.bytes(address, &path, repository::ROOT_INDEX_BYTES_MAX)?;
        let root = RootIndex::from_json(&root)
            .map_err(|source| RefreshError::RootIndex { id: self.id(), source })?;
        Err(self.version_error(ResolveError::Unsupported {
            version: address.version.clone(),
            history: pointer.history.clone(),
            format: pointer.format.clone(),
            upgrade_via: root.way_up(self.cache.formats),
        }))
    }

    fn check_format(
        &self,
        address: &Address<'_>,
        statement: &HistoryStatement,
        pointer: Option<&Pointer>,
    ) -> Result<(), RefreshError> {
        if let Some(pointer) = pointer.filter(|pointer| pointer.format != statement.format) {
            return Err(self.trust_error(TrustError::OtherFormat {
                history: statement.history.clone(),
                pointer: pointer.format.clone(),
                statement: statement.format.clone(),
            }));
        }
        if self.cache.formats.contains(&Format::from_name(&statement.format)) {
            return Ok(());
        }
        Err(self.version_error(ResolveError::Unsupported {
            version: address.version.clone(),
            history: statement.history.clone(),
            format: statement.format.clone(),
            upgrade_via: None,
        }))
    }

    /// What a history is; none where it has no statement and none is asked for.
    fn statement(
        &self,
        address: &Address<'_>,
        history: &Identifier,
        promised: Option<FileFacts>,
        keys: &Keys,
    ) -> Result<Option<HistoryStatement>, RefreshError> {
        let path = layout::statement_path(address.channel, history);
        let bytes = match (promised, keys) {
            (Some(promised), _) => self.promised(address, &path, promised, STATEMENT_BYTES_MAX)?,
            (None, Some(_)) => self.bytes(address, &path, STATEMENT_BYTES_MAX)?,
            (None, None) => match self.bytes_if_there(address, &path, STATEMENT_BYTES_MAX)? {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
        };
        let envelope =
            Envelope::read(&bytes, SignedKind::History).map_err(|error| self.trust_error(error))?;
        let payload = match keys {
            Some(keys) => keys.open(&envelope, &seal::verify).map_err(|error| self.trust_error(error))?,
            None => envelope.unchecked_payload(),
        };
        let statement = HistoryStatement::read(payload, address.channel, history);
        statement.map(Some).map_err(|error| self.trust_error(error))
    }

    /// The index of a history: by deltas from the one at hand, or whole.
    fn image(
        &self,
        address: &Address<'_>,
        statement: &HistoryStatement,
        known: Option<&(SignedMemory, Vec<u8>)>,
        keys: &Keys,
    ) -> Result<Vec<u8>, RefreshError> {
        let own = statement.architecture(address.arch).map_err(|error| self.trust_error(error))?;
        let whole = statement
            .file(address.arch, layout::COMPACT_INDEX_FILE)
            .map_err(|error| self.trust_error(error))?;
        if let Some((memory, image)) = known {
            match self.by_deltas(address, statement, memory, image, whole.size_bytes, keys) {
                Ok(Some(image)) if Digest::of(&image) == own.image => return Ok(image),
                Ok(_) => {}
                Err(error) => {
                    let why = fault::chain(&error).join(": ");
                    self.cache.reporter.warn(&format!("{why}; the whole index is fetched instead"));
                }
            }
        }
        let path = layout::history_file_path(
            address.channel,
            &statement.history,
            address.arch,
            layout::COMPACT_INDEX_FILE,
        );
        let packed = self.promised(address, &path, whole, IMAGE_BYTES_MAX)?;
        let image = compact::unpack(&packed, IMAGE_BYTES_MAX, "a compact index")
            .map_err(|error| self.trust_error(error))?;
        if Digest::of(&image) == own.image {
            return Ok(image);
        }
        Err(self.trust_error(TrustError::OtherFile {
            file: path,
            found: Digest::of(&image),
            found_bytes: u64::try_from(image.len()).unwrap_or(u64::MAX),
            promised: own.image,
            promised_bytes: u64::try_from(image.len()).unwrap_or(u64::MAX),
        }))
    }

    /// The index of a history, from an older one; none where no way leads there that is shorter than the whole.
    fn by_deltas(
        &self,
        address: &Address<'_>,
        statement: &HistoryStatement,
        held: &SignedMemory,
        image: &[u8],
        whole_bytes: u64,
        keys: &Keys,
    ) -> Result<Option<Vec<u8>>, RefreshError> {
        let mut chain = Vec::new();
        let mut sum_bytes = 0_u64;
        let mut target = statement.clone();
        while target.history != held.history {
            let Some(delta) = target.best_delta(address.arch, held.number).cloned() else { return Ok(None) };
            sum_bytes = sum_bytes.saturating_add(delta.file.size_bytes);
            if sum_bytes >= whole_bytes || chain.len() >= DELTAS_MAX {
                return Ok(None);
            }
            let path = layout::delta_path(address.channel, &target.history, address.arch, &delta.from);
            chain.push((path, delta.file));
            if delta.from == held.history {
                break;
            }
            let Some(before) = self.statement(address, &delta.from, None, keys)? else { return Ok(None) };
            target = before;
        }
        let mut image = image.to_vec();
        for (path, facts) in chain.into_iter().rev() {
            let delta = self.promised(address, &path, facts, IMAGE_BYTES_MAX)?;
            image = compact::apply(&image, &delta).map_err(|error| self.trust_error(error))?;
        }
        Ok(Some(image))
    }

    /// A file that belongs to the cached index, fetched when it is not here; none where the repository has none.
    pub(super) fn side_file(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, RefreshError> {
        let Some((memory, _)) = self.read_image()? else { return Ok(None) };
        let Some(facts) = memory.files.get(name).copied() else { return Ok(None) };
        if let Some(bytes) = self.read_optional(name)?
            && FileFacts::of(&bytes) == facts
        {
            return Ok(Some(bytes));
        }
        let address = self.address()?;
        let path = layout::history_file_path(address.channel, &memory.history, address.arch, name);
        let bytes = self.promised(&address, &path, facts, limit)?;
        if self.cache.keep {
            replace(&self.directory.join(name), &bytes).map_err(|source| self.cache_error(source))?;
        }
        Ok(Some(bytes))
    }
}

/// What a pointer says.
enum Followed {
    /// What it said last.
    Same,
    /// Something else, or it was never asked.
    Changed(Box<Pointer>, Validators),
}
