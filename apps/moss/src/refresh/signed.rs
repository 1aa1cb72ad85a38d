//! Repositories that publish signed files: pointer, statement, compact index.
//!
//! One conditional request of the pointer tells whether anything changed. If so, the statement of the new history names every
//! file with its digest, and the new index is made from the one at hand by deltas, or fetched whole where that is less or there is
//! no way. What only some commands need, texts and lists of files, is fetched when they ask.
//!
//! Where keys are pinned, nothing counts that they do not vouch for: directly, or by a walk from list of keys to list of keys. What
//! was trusted last is remembered on the disk before it is relied upon, so that nobody can lead back to an older pointer, not even
//! after a crash. Where no keys are pinned the same files are read for their size alone, and are worth what the connection is.

mod error;
mod fetch;
mod memory;

use std::time::{SystemTime, UNIX_EPOCH};

use ::fetch::{Body, Validators};
use repository::compact;
use repository::signed::{
    Digest, Envelope, HistoryStatement, LISTS_MAX, POINTER_BYTES_MAX, Pointer, SignedKind, TrustedKeys,
};
use repository::{Format, Identifier, RepositorySource, ResolveError, RootIndex, Version, layout};

use super::{Fetched, Offer, Place, RefreshError};

pub use error::TrustError;
pub(super) use memory::SignedMemory;
use memory::Trust;

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
}

/// What a pointer says.
enum Followed {
    /// What it said last.
    Same,
    /// Something else, or it was never asked.
    Changed(Box<Pointer>, Validators),
}
