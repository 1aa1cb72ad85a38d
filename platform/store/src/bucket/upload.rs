//! Large objects: put in parts. What has arrived is noted in the journal, so that an upload goes on after a crash.
//!
//! A note is a file named by the digest of path and content:
//!
//! ```text
//! <path>
//! <sha256>
//! <id of the upload>
//! <number of a part> <what the service calls it>      one line for each that has arrived
//! ```
//!
//! A note that cannot be read, or whose upload the service does not know any more, is forgotten, and the upload begins
//! again. Parts of uploads that nobody goes on with stay in the bucket until [`NOTE_AGE_MAX`] has passed and the store is
//! opened again.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use object_store::multipart::{MultipartStore, PartId};
use object_store::{Error as ClientError, PutMultipartOptions, PutPayload};
use tokio::task::JoinSet;

use super::{BLOCK_SIZE_BYTES, Inner, attributes};
use crate::digest::{Hasher, Sha256};
use crate::durable;
use crate::error::{During, StoreError};
use crate::object::NewObject;

const ACTION: &str = "create an object";

/// Parts of one object under way at once.
const PARTS_AT_ONCE_MAX: usize = 4;

/// Parts that S3 takes at most. Larger objects get larger parts.
const PARTS_MAX: u64 = 10_000;

/// Bytes of a note that is read: 10,000 lines.
const NOTE_SIZE_BYTES_MAX: u64 = 4 << 20;

/// How long an unfinished upload is kept: longer than anybody is away before doing it again.
const NOTE_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// An upload that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Begun {
    id: String,
    parts: BTreeMap<usize, String>,
}

impl Inner {
    /// Puts a file in parts.
    pub(super) async fn upload(&self, object: &NewObject, file: &Path) -> Result<(), StoreError> {
        let note = self.note(object);
        let begun = match note.as_deref().and_then(|note| read_note(note, object)) {
            Some(begun) => begun,
            None => self.begin(object, note.as_deref()).await?,
        };
        let result = self.go_on(object, file, begun.clone(), note.as_deref()).await;
        match result {
            Ok(()) => forget(note.as_deref()),
            // The service does not know the upload any more: the next try begins again.
            Err(StoreError::Missing { .. }) => {
                forget(note.as_deref());
                // Or it was completed, and only the answer was lost.
                if self.digest(&object.path).await? == Some(object.sha256) {
                    return Ok(());
                }
                return Err(StoreError::Interrupted { place: self.settings.place() });
            }
            Err(StoreError::OtherSource(_)) => {
                drop(self.client.abort_multipart(&self.key(&object.path)?, &begun.id).await);
                forget(note.as_deref());
            }
            Err(_) => {}
        }
        result
    }

    fn note(&self, object: &NewObject) -> Option<PathBuf> {
        let name =
            Sha256::of(format!("{}\n{}\n{}", self.settings.place(), object.path, object.sha256).as_bytes());
        self.settings.journal.as_ref().map(|journal| journal.join(name.to_string()))
    }

    async fn begin(&self, object: &NewObject, note: Option<&Path>) -> Result<Begun, StoreError> {
        let options = PutMultipartOptions {
            attributes: attributes(&object.labels, object.sha256),
            ..PutMultipartOptions::default()
        };
        let id = self
            .client
            .create_multipart_opts(&self.key(&object.path)?, options)
            .await
            .map_err(|error| self.error(ACTION, &object.path, &error))?;
        if let Some(note) = note {
            if let Some(folder) = note.parent() {
                durable::create_folders(folder).during(ACTION)?;
            }
            let text = format!("{}\n{}\n{id}\n", object.path, object.sha256);
            durable::replace_file(note, text.as_bytes()).during(ACTION)?;
        }
        self.watch.note("begin", &object.path);
        Ok(Begun { id, parts: BTreeMap::new() })
    }

    async fn go_on(
        &self,
        object: &NewObject,
        path: &Path,
        begun: Begun,
        note: Option<&Path>,
    ) -> Result<(), StoreError> {
        let Begun { id, mut parts } = begun;
        let mut file = fs_err::File::open(path).during(ACTION)?;
        let size_bytes = file.metadata().during(ACTION)?.len();
        let part_size_bytes = part_size_bytes(size_bytes);
        let count = usize::try_from(size_bytes.div_ceil(part_size_bytes)).unwrap_or(usize::MAX);
        let mut hasher = Hasher::default();
        let mut running: JoinSet<Result<(usize, String), ClientError>> = JoinSet::new();
        for number in 0..count {
            let _place = self.blocks.acquire().await.ok();
            let mut bytes = Vec::new();
            io::Read::by_ref(&mut file).take(part_size_bytes).read_to_end(&mut bytes).during(ACTION)?;
            hasher.update(&bytes);
            if parts.contains_key(&number) {
                continue;
            }
            if running.len() >= PARTS_AT_ONCE_MAX
                && let Some(arrived) = running.join_next().await
            {
                self.arrived(object, arrived, note, &mut parts)?;
            }
            let (client, key, id) = (self.client.clone(), self.key(&object.path)?, id.clone());
            running.spawn(async move {
                let part = client.put_part(&key, &id, number, PutPayload::from(bytes)).await?;
                Ok((number, part.content_id))
            });
        }
        while let Some(arrived) = running.join_next().await {
            self.arrived(object, arrived, note, &mut parts)?;
        }
        let found = hasher.finish();
        if found != object.sha256 {
            return Err(self.other_source(object, found));
        }
        let parts = parts.into_values().map(|content_id| PartId { content_id }).collect();
        let complete = self.client.complete_multipart(&self.key(&object.path)?, &id, parts).await;
        complete.map_err(|error| self.upload_error(object, &error)).map(drop)
    }

    fn arrived(
        &self,
        object: &NewObject,
        arrived: Result<Result<(usize, String), ClientError>, tokio::task::JoinError>,
        note: Option<&Path>,
        parts: &mut BTreeMap<usize, String>,
    ) -> Result<(), StoreError> {
        let arrived = arrived.map_err(|_| StoreError::Interrupted { place: self.settings.place() })?;
        let (number, content_id) = arrived.map_err(|error| self.upload_error(object, &error))?;
        if let Some(note) = note {
            let mut file = fs_err::OpenOptions::new().append(true).open(note).during(ACTION)?;
            writeln!(file, "{number} {content_id}").during(ACTION)?;
        }
        self.watch.note("part", &object.path);
        parts.insert(number, content_id);
        Ok(())
    }

    fn upload_error(&self, object: &NewObject, error: &ClientError) -> StoreError {
        if super::trouble::is_missing(error) {
            return StoreError::Missing { place: self.settings.place(), path: object.path.clone() };
        }
        self.error(ACTION, &object.path, error)
    }

    /// Gives up uploads that nobody went on with. What cannot be given up now is at the next start.
    pub(super) async fn give_up_old_uploads(&self) {
        let entries = self.settings.journal.as_ref().and_then(|journal| fs_err::read_dir(journal).ok());
        for entry in entries.into_iter().flatten().flatten() {
            let age =
                entry.metadata().and_then(|metadata| metadata.modified()).map(|modified| modified.elapsed());
            if !matches!(age, Ok(Ok(age)) if age > NOTE_AGE_MAX) {
                continue;
            }
            let note = entry.path();
            if let Some((path, _, begun)) = parse_note(&note)
                && let Ok(key) = self.key(&path)
            {
                tracing::info!(%path, "giving up an upload that nobody went on with");
                drop(self.client.abort_multipart(&key, &begun.id).await);
            }
            forget(Some(&note));
        }
    }
}

/// As small as can be with no more parts than there may be.
fn part_size_bytes(size_bytes: u64) -> u64 {
    BLOCK_SIZE_BYTES.max(size_bytes.div_ceil(PARTS_MAX))
}

fn read_note(note: &Path, object: &NewObject) -> Option<Begun> {
    let (path, sha256, begun) = parse_note(note)?;
    (path == object.path && sha256 == object.sha256).then_some(begun)
}

/// Lines that were cut off by a crash count as not written.
fn parse_note(note: &Path) -> Option<(String, Sha256, Begun)> {
    let mut text = String::new();
    fs_err::File::open(note).ok()?.take(NOTE_SIZE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let (path, sha256, id) = (lines.next()?, lines.next()?.parse().ok()?, lines.next()?);
    let part = |line: &str| {
        let (number, content_id) = line.split_once(' ')?;
        Some((number.parse().ok()?, content_id.to_owned()))
    };
    Some((path.to_owned(), sha256, Begun { id: id.to_owned(), parts: lines.filter_map(part).collect() }))
}

/// A note that stays is of no harm: its upload is unknown to the service by then.
fn forget(note: Option<&Path>) {
    if let Some(note) = note
        && let Err(error) = durable::remove(note)
    {
        tracing::debug!(%error, "cannot remove the note of an upload");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Labels, Source};

    #[test]
    fn a_note_is_read_as_far_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("note");
        let sha256 = Sha256::of(b"x");
        let labels = Labels { content_type: "", cache_control: "".into() };
        let object = NewObject { path: "a/b".into(), from: Source::Stored("x".into()), sha256, labels };
        fs_err::write(&note, format!("a/b\n{sha256}\nid/1\n0 \"e0\"\n2 \"e2\"\n1 \"cut")).unwrap();
        let parts = BTreeMap::from([(0, "\"e0\"".to_owned()), (2, "\"e2\"".to_owned())]);
        assert_eq!(read_note(&note, &object), Some(Begun { id: "id/1".into(), parts }));
        let other = NewObject { sha256: Sha256::of(b"y"), ..object.clone() };
        assert_eq!(read_note(&note, &other), None, "of other bytes");
        fs_err::write(&note, "a/b\n").unwrap();
        assert_eq!(read_note(&note, &object), None);
    }

    #[test]
    fn parts_are_as_many_as_there_may_be() {
        for size_bytes in [1, BLOCK_SIZE_BYTES, 100 << 30, 5 << 40] {
            assert!(size_bytes.div_ceil(part_size_bytes(size_bytes)) <= PARTS_MAX);
        }
    }
}
