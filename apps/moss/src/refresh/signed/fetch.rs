//! What is asked of the repository: files whose length and digest are known before, the lists of keys, and the index by the shortest
//! way.

use fetch::{Body, Validators};
use repository::compact::{self, IMAGE_BYTES_MAX};
use repository::signed::{
    Digest, ENVELOPE_BYTES_MAX, Envelope, FileFacts, HistoryStatement, LISTS_MAX, PublicKey,
    STATEMENT_BYTES_MAX, SignedKind, TrustedKeys,
};
use repository::{Identifier, layout};

use super::super::{Place, RefreshError, is_gone};
use super::error::TrustError;
use super::memory::SignedMemory;
use super::{Address, Keys};

/// Deltas that are applied one after the other before the whole index is less work.
const DELTAS_MAX: usize = 12;

impl Place<'_> {
    pub(super) fn bytes(
        &self,
        address: &Address<'_>,
        path: &str,
        limit: usize,
    ) -> Result<Vec<u8>, RefreshError> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        match self.get(&format!("{}/{path}", address.base_uri), &Validators::default(), limit)? {
            Body::Bytes { bytes, .. } => Ok(bytes),
            // Nobody was asked whether it changed.
            Body::NotModified => Ok(Vec::new()),
        }
    }

    /// The same, or none where there is no such file.
    pub(super) fn bytes_if_there(
        &self,
        address: &Address<'_>,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, RefreshError> {
        match self.bytes(address, path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A file of which length and digest are known.
    pub(super) fn promised(
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

    pub(super) fn pins(&self) -> Vec<PublicKey> {
        // They were checked when the configuration was read; one that is none would vouch for nothing.
        self.repository.keys.iter().filter_map(|key| key.parse().ok()).collect()
    }

    /// From the pinned keys to the newest list: at once where one of them is in it, else along all lists.
    pub(super) fn begin_trust(&self, address: &Address<'_>) -> Result<TrustedKeys, RefreshError> {
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
    pub(super) fn advance(
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

    /// What a history is; none where it has no statement and none is asked for.
    pub(super) fn statement(
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
        let payload = match (keys, promised) {
            (Some(keys), None) => {
                keys.open(&envelope, &seal::verify).map_err(|error| self.trust_error(error))?
            }
            // Whoever signed the pointer vouches for each byte of it, also when it was signed by a key that was revoked since.
            (Some(_), Some(_)) | (None, _) => envelope.unchecked_payload(),
        };
        let statement = HistoryStatement::read(payload, address.channel, history);
        statement.map(Some).map_err(|error| self.trust_error(error))
    }

    /// The index of a history: by deltas from the one at hand, or whole.
    pub(super) fn image(
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
    pub(super) fn by_deltas(
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
    pub(in crate::refresh) fn side_file(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, RefreshError> {
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
        self.keep(|files| files.replace(name, &bytes))?;
        Ok(Some(bytes))
    }
}
