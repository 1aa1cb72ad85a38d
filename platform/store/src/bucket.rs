//! The store in a bucket of an S3-compatible service.
//!
//! Creation asks with `If-None-Match: *` and replacement with `If-Match`, so that the service itself decides who was
//! first. A write whose answer was lost is not guessed at: the object is read, and the bytes tell whether it happened.
//!
//! Bounded: bytes in memory ([`BLOCKS_IN_MEMORY_MAX`]), requests at a time, time and tries of each. All requests run on
//! threads of the store's own, so a caller may block wherever it likes.

mod credentials;
mod settings;
mod trouble;
mod upload;

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, BackoffConfig, Certificate, ClientOptions, Error as ClientError, GetOptions,
    GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig, UpdateVersion,
};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

use crate::Watch;
use crate::digest::{Hasher, Sha256};
use crate::error::{Mismatch, StoreError};
use crate::object::{Facts, Labels, Leftovers, Listed, NewObject, Read, Source, Tag};

pub use credentials::{Credentials, CredentialsError};
pub use settings::{BucketSettings, Patience, SettingsError};
pub use trouble::{Cause, Trouble};

/// Bytes of a request at most. Larger objects are put in parts and read in ranges of this size, so a request is done
/// within its time on any line that is fit to publish over. S3 asks for 5 MiB a part at least.
const BLOCK_SIZE_BYTES: u64 = 8 << 20;

/// Blocks in memory at once, in all: 128 MiB.
const BLOCKS_IN_MEMORY_MAX: usize = 16;

/// Objects worked on at once. More hide the way to the service better, and services ask for patience at some hundred.
const OBJECTS_AT_ONCE_MAX: usize = 12;

/// How often a write is done again when it is not known whether it happened.
const TRIES_MAX: u32 = 4;

/// Pause before a write is done again; doubled each time.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(crate) struct Bucket {
    inner: Arc<Inner>,
    /// Taken when the store goes.
    runtime: Option<Runtime>,
}

/// What every request needs.
#[derive(Debug)]
struct Inner {
    client: AmazonS3,
    settings: BucketSettings,
    /// Blocks that may still be taken into memory.
    blocks: Semaphore,
    watch: Watch,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Bucket {
    /// Opens the bucket, which must be there and let these credentials in.
    pub(crate) fn open(settings: BucketSettings, watch: Watch) -> Result<Self, StoreError> {
        let settings = settings.checked()?;
        // The whole workspace speaks TLS by one library; it may have been said already.
        drop(tokio_rustls::rustls::crypto::ring::default_provider().install_default());
        let failed = |error: ClientError| trouble::error("open the bucket", &settings.place(), "", &error);
        let client = client(&settings)?.build().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("store")
            .enable_all()
            .build()
            .map_err(|source| StoreError::Disk { action: "start the threads of a store", source })?;
        let blocks = Semaphore::new(BLOCKS_IN_MEMORY_MAX);
        let inner = Arc::new(Inner { client, settings, blocks, watch });
        let bucket = Self { inner, runtime: Some(runtime) };
        bucket.run(|inner| async move { inner.check().await })?;
        Ok(bucket)
    }

    pub(crate) fn settings(&self) -> &BucketSettings {
        &self.inner.settings
    }

    /// Runs a request to its end, from any thread.
    fn run<T, F>(&self, request: impl FnOnce(Arc<Inner>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let interrupted = || StoreError::Interrupted { place: self.inner.settings.place() };
        let (sender, receiver) = mpsc::sync_channel(1);
        let work = request(Arc::clone(&self.inner));
        self.runtime.as_ref().ok_or_else(interrupted)?.spawn(async move {
            // Whoever asked waits below, unless the program ends.
            drop(sender.send(work.await));
        });
        receiver.recv().unwrap_or_else(|_| Err(interrupted()))
    }

    pub(crate) fn create(&self, objects: &[NewObject], leftovers: Leftovers) -> Result<(), StoreError> {
        let objects = objects.to_vec();
        let create = move |inner: Arc<Inner>, object| async move { inner.create(&object, leftovers).await };
        self.run(|inner| each(inner, objects, create)).map(drop)
    }

    pub(crate) fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Read>, StoreError> {
        let path = path.to_owned();
        self.run(|inner| async move { inner.read(&path, max_bytes).await })
    }

    pub(crate) fn read_range(
        &self,
        path: &str,
        range: Range<u64>,
        tag: Option<Tag>,
    ) -> Result<Vec<u8>, StoreError> {
        let path = path.to_owned();
        self.run(|inner| async move { inner.read_range(&path, range, tag.as_ref()).await })
    }

    pub(crate) fn head(&self, path: &str) -> Result<Option<Facts>, StoreError> {
        let path = path.to_owned();
        self.run(|inner| async move { inner.head(&path).await })
    }

    pub(crate) fn digests(&self, paths: &[String]) -> Result<Vec<Option<Sha256>>, StoreError> {
        let paths = paths.to_vec();
        let digest = |inner: Arc<Inner>, path: String| async move { inner.digest(&path).await };
        self.run(|inner| each(inner, paths, digest))
    }

    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let prefix = prefix.to_owned();
        self.run(|inner| async move { inner.list(&prefix).await })
    }

    pub(crate) fn delete(&self, paths: &[String]) -> Result<(), StoreError> {
        let paths = paths.to_vec();
        let delete = |inner: Arc<Inner>, path: String| async move { inner.delete(&path).await };
        self.run(|inner| each(inner, paths, delete)).map(drop)
    }

    pub(crate) fn swap(
        &self,
        path: &str,
        bytes: &[u8],
        expected: Option<&Tag>,
        labels: Labels,
    ) -> Result<Tag, StoreError> {
        let (path, bytes, expected) = (path.to_owned(), bytes.to_vec(), expected.cloned());
        self.run(|inner| async move { inner.swap(&path, &bytes, expected.as_ref(), labels).await })
    }
}

/// Does the same for each, some at a time; the answers in order. The first error ends it.
async fn each<I, T, F>(
    inner: Arc<Inner>,
    items: Vec<I>,
    work: impl Fn(Arc<Inner>, I) -> F,
) -> Result<Vec<T>, StoreError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let mut answers: Vec<Option<T>> = items.iter().map(|_| None).collect();
    let mut waiting: VecDeque<(usize, I)> = items.into_iter().enumerate().collect();
    let mut running = JoinSet::new();
    loop {
        while running.len() < OBJECTS_AT_ONCE_MAX
            && let Some((number, item)) = waiting.pop_front()
        {
            let work = work(Arc::clone(&inner), item);
            running.spawn(async move { (number, work.await) });
        }
        match running.join_next().await {
            None => return Ok(answers.into_iter().flatten().collect()),
            Some(Ok((number, answer))) => {
                if let Some(place) = answers.get_mut(number) {
                    *place = Some(answer?);
                }
            }
            Some(Err(_)) => return Err(StoreError::Interrupted { place: inner.settings.place() }),
        }
    }
}

fn client(settings: &BucketSettings) -> Result<AmazonS3Builder, StoreError> {
    let Patience { connect, request, tries, all_tries } = settings.patience;
    let mut options = ClientOptions::new()
        .with_allow_http(settings.endpoint.starts_with("http://"))
        .with_connect_timeout(connect)
        .with_timeout(request);
    if let Some(file) = &settings.ca_file {
        let failed = |source| StoreError::Disk { action: "read the certificates of the store", source };
        let pem = fs_err::read(file).map_err(failed)?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| {
            trouble::error("use the certificates of the store", &settings.place(), "", &error)
        })?;
        options = certificates.into_iter().fold(options, ClientOptions::with_root_certificate);
    }
    let backoff = BackoffConfig { init_backoff: PAUSE, max_backoff: Duration::from_secs(5), base: 2.0 };
    let mut builder = AmazonS3Builder::new()
        .with_endpoint(&settings.endpoint)
        .with_bucket_name(&settings.bucket)
        .with_region(&settings.region)
        .with_virtual_hosted_style_request(false)
        .with_client_options(options)
        .with_retry(RetryConfig { backoff, max_retries: tries, retry_timeout: all_tries });
    let Credentials { access_key_id, secret_access_key, session_token } = &settings.credentials;
    builder = builder.with_access_key_id(access_key_id).with_secret_access_key(secret_access_key);
    if let Some(token) = session_token {
        builder = builder.with_token(token);
    }
    Ok(builder)
}

impl Inner {
    fn key(&self, path: &str) -> Result<Key, StoreError> {
        let key = match &self.settings.prefix {
            Some(prefix) if path.is_empty() => prefix.clone(),
            Some(prefix) => format!("{prefix}/{path}"),
            None => path.to_owned(),
        };
        Key::parse(key).map_err(|_| StoreError::Path { path: path.to_owned() })
    }

    fn error(&self, action: &'static str, path: &str, error: &ClientError) -> StoreError {
        let key = self.key(path).map(|key| key.to_string()).unwrap_or_default();
        trouble::error(action, &self.settings.place(), &key, error)
    }

    /// Whether the bucket is there and may be read.
    async fn check(&self) -> Result<(), StoreError> {
        let mut stream = self.client.list(Some(&self.key("")?));
        match stream.next().await {
            Some(Err(error)) => Err(self.error("open the bucket", "", &error)),
            Some(Ok(_)) | None => {
                self.give_up_old_uploads().await;
                Ok(())
            }
        }
    }

    async fn create(&self, object: &NewObject, leftovers: Leftovers) -> Result<(), StoreError> {
        let mut pause = PAUSE;
        for tries_left in (0..TRIES_MAX).rev() {
            match self.try_to_create(object, leftovers).await {
                Err(error) if tries_left > 0 && error.is_passing() => {
                    tracing::debug!(path = %object.path, %error, "putting an object again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                result => {
                    result?;
                    self.watch.note("create", &object.path);
                    break;
                }
            }
        }
        Ok(())
    }

    async fn try_to_create(&self, object: &NewObject, leftovers: Leftovers) -> Result<(), StoreError> {
        const ACTION: &str = "create an object";
        match &object.from {
            Source::Bytes(bytes) => {
                let payload = PutPayload::from(bytes.to_vec());
                self.put_new(object, payload, leftovers).await
            }
            Source::File(file) => {
                let size_bytes = fs_err::metadata(file)
                    .map_err(|source| StoreError::Disk { action: ACTION, source })?
                    .len();
                if size_bytes > BLOCK_SIZE_BYTES {
                    if !self.may_write(object, leftovers).await? {
                        return Ok(());
                    }
                    return self.upload(object, file).await;
                }
                let _place = self.blocks.acquire().await.ok();
                let bytes =
                    fs_err::read(file).map_err(|source| StoreError::Disk { action: ACTION, source })?;
                let found = Sha256::of(&bytes);
                if found != object.sha256 {
                    return Err(self.other_source(object, found));
                }
                self.put_new(object, PutPayload::from(bytes), leftovers).await
            }
            Source::Stored(stored) => {
                if !self.may_write(object, leftovers).await? {
                    return Ok(());
                }
                let (from, to) = (self.key(stored)?, self.key(&object.path)?);
                self.client.copy(&from, &to).await.map_err(|error| self.error(ACTION, &object.path, &error))
            }
        }
    }

    /// Puts a whole object, if there is none.
    async fn put_new(
        &self,
        object: &NewObject,
        payload: PutPayload,
        leftovers: Leftovers,
    ) -> Result<(), StoreError> {
        const ACTION: &str = "create an object";
        let key = self.key(&object.path)?;
        let options = |mode| PutOptions {
            mode,
            attributes: attributes(&object.labels, object.sha256),
            ..PutOptions::default()
        };
        match self.client.put_opts(&key, payload.clone(), options(PutMode::Create)).await {
            Ok(_) => Ok(()),
            Err(ClientError::AlreadyExists { .. } | ClientError::Precondition { .. }) => {
                if self.may_write(object, leftovers).await? {
                    let put = self.client.put_opts(&key, payload, options(PutMode::Overwrite)).await;
                    put.map_err(|error| self.error(ACTION, &object.path, &error))?;
                }
                Ok(())
            }
            Err(error) => Err(self.error(ACTION, &object.path, &error)),
        }
    }

    /// Whether the object is still to be written; an error when there is another that has to stay.
    async fn may_write(&self, object: &NewObject, leftovers: Leftovers) -> Result<bool, StoreError> {
        match self.digest(&object.path).await? {
            None => Ok(true),
            Some(found) if found == object.sha256 => Ok(false),
            Some(found) if leftovers == Leftovers::Refuse => {
                Err(StoreError::OtherBytes(Box::new(self.mismatch(object, found))))
            }
            Some(_) => {
                tracing::info!(path = %object.path, "replacing what something that died left");
                Ok(true)
            }
        }
    }

    fn other_source(&self, object: &NewObject, found: Sha256) -> StoreError {
        StoreError::OtherSource(Box::new(self.mismatch(object, found)))
    }

    fn mismatch(&self, object: &NewObject, found: Sha256) -> Mismatch {
        Mismatch { place: self.settings.place(), path: object.path.clone(), wanted: object.sha256, found }
    }

    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Read>, StoreError> {
        let Some(facts) = self.head(path).await? else { return Ok(None) };
        if facts.size_bytes > max_bytes {
            let (place, path, size_bytes) = (self.settings.place(), path.to_owned(), facts.size_bytes);
            return Err(StoreError::TooLarge { place, path, size_bytes, max_bytes });
        }
        let mut bytes = Vec::new();
        for range in blocks(facts.size_bytes) {
            match self.read_range(path, range, Some(&facts.tag)).await {
                Ok(block) => bytes.extend(block),
                // Replaced while it was being read; small objects only are, and rarely.
                Err(StoreError::Changed { .. }) => return Box::pin(self.read(path, max_bytes)).await,
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Read { bytes, tag: facts.tag }))
    }

    async fn read_range(
        &self,
        path: &str,
        range: Range<u64>,
        tag: Option<&Tag>,
    ) -> Result<Vec<u8>, StoreError> {
        const ACTION: &str = "read an object";
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: tag.map(Tag::quoted),
            ..GetOptions::default()
        };
        let place = || self.settings.place();
        let result = match self.client.get_opts(&self.key(path)?, options).await {
            Ok(result) => result.bytes().await,
            Err(error) => Err(error),
        };
        match result {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(ClientError::Precondition { .. }) => {
                Err(StoreError::Changed { place: place(), path: path.to_owned() })
            }
            Err(error) if trouble::is_missing(&error) => {
                Err(StoreError::Missing { place: place(), path: path.to_owned() })
            }
            Err(error) => Err(self.error(ACTION, path, &error)),
        }
    }

    async fn head(&self, path: &str) -> Result<Option<Facts>, StoreError> {
        match self.client.head(&self.key(path)?).await {
            Ok(meta) => {
                let tag = meta.e_tag.unwrap_or_default().trim_matches('"').to_owned();
                let modified = SystemTime::from(meta.last_modified);
                Ok(Some(Facts { size_bytes: meta.size, tag: Tag(tag), modified }))
            }
            Err(error) if trouble::is_missing(&error) => Ok(None),
            Err(error) => Err(self.error("read an object", path, &error)),
        }
    }

    async fn digest(&self, path: &str) -> Result<Option<Sha256>, StoreError> {
        let Some(facts) = self.head(path).await? else { return Ok(None) };
        let mut hasher = Hasher::default();
        for range in blocks(facts.size_bytes) {
            let _place = self.blocks.acquire().await.ok();
            hasher.update(&self.read_range(path, range, Some(&facts.tag)).await?);
        }
        Ok(Some(hasher.finish()))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        const ACTION: &str = "list objects";
        let key = self.key(prefix)?;
        let above = self.settings.prefix.as_ref().map_or(0, |prefix| prefix.len() + 1);
        let mut stream = self.client.list(Some(&key));
        let mut found = Vec::new();
        while let Some(meta) = stream.next().await {
            let meta = meta.map_err(|error| self.error(ACTION, prefix, &error))?;
            if let Some(path) = meta.location.as_ref().get(above..) {
                found.push(Listed { path: path.to_owned(), size_bytes: meta.size });
            }
        }
        found.sort();
        Ok(found)
    }

    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        match self.client.delete(&self.key(path)?).await {
            Ok(()) => {}
            Err(error) if trouble::is_missing(&error) => {}
            Err(error) => return Err(self.error("remove an object", path, &error)),
        }
        self.watch.note("delete", path);
        Ok(())
    }

    async fn swap(
        &self,
        path: &str,
        bytes: &[u8],
        expected: Option<&Tag>,
        labels: Labels,
    ) -> Result<Tag, StoreError> {
        const ACTION: &str = "replace an object";
        let mut pause = PAUSE;
        let mut last = None;
        for _ in 0..TRIES_MAX {
            let mode = match expected {
                Some(tag) => PutMode::Update(UpdateVersion { e_tag: Some(tag.quoted()), version: None }),
                None => PutMode::Create,
            };
            let attributes = attributes(&labels, Sha256::of(bytes));
            let options = PutOptions { mode, attributes, ..PutOptions::default() };
            let key = self.key(path)?;
            let error = match self.client.put_opts(&key, PutPayload::from(bytes.to_vec()), options).await {
                Ok(put) => {
                    self.watch.note("swap", path);
                    // Somebody else may have replaced it since, having seen it: it was there all the same.
                    return match put.e_tag {
                        Some(tag) => Ok(Tag(tag.trim_matches('"').to_owned())),
                        None => {
                            self.head(path).await?.map(|facts| facts.tag).ok_or_else(|| self.swapped(path))
                        }
                    };
                }
                Err(error) => self.error(ACTION, path, &error),
            };
            // Whether it happened all the same, the bytes say.
            let max_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let found = match self.read(path, max_bytes).await {
                Ok(found) => found,
                // Larger than ours, so of somebody else.
                Err(StoreError::TooLarge { .. }) => return Err(self.swapped(path)),
                Err(_) => return Err(error),
            };
            match found {
                Some(found) if found.bytes == bytes => return Ok(found.tag),
                found if found.as_ref().map(|found| &found.tag) != expected => return Err(self.swapped(path)),
                _ if !error.is_passing() => return Err(error),
                _ => last = Some(error),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(last.unwrap_or_else(|| self.swapped(path)))
    }

    fn swapped(&self, path: &str) -> StoreError {
        StoreError::Swapped { place: self.settings.place(), path: path.to_owned() }
    }
}

fn attributes(labels: &Labels, sha256: Sha256) -> Attributes {
    Attributes::from_iter([
        (Attribute::ContentType, labels.content_type.to_owned()),
        (Attribute::CacheControl, labels.cache_control.to_string()),
        (Attribute::Metadata("sha256".into()), sha256.to_string()),
    ])
}

/// The ranges in which so many bytes are read.
fn blocks(size_bytes: u64) -> impl Iterator<Item = Range<u64>> {
    let count = size_bytes.div_ceil(BLOCK_SIZE_BYTES);
    (0..count).map(move |number| {
        let start = number * BLOCK_SIZE_BYTES;
        start..(start + BLOCK_SIZE_BYTES).min(size_bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_byte_once() {
        for size_bytes in
            [0, 1, BLOCK_SIZE_BYTES - 1, BLOCK_SIZE_BYTES, BLOCK_SIZE_BYTES + 1, 3 * BLOCK_SIZE_BYTES]
        {
            let mut end = 0;
            for range in blocks(size_bytes) {
                assert_eq!(range.start, end);
                assert!(!range.is_empty() && range.end - range.start <= BLOCK_SIZE_BYTES);
                end = range.end;
            }
            assert_eq!(end, size_bytes);
        }
    }
}
