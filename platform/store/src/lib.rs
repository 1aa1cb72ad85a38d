//! Where published objects are: a folder on this machine, or a bucket of an S3-compatible store. Both behave the same.
//!
//! * Objects are created once ([`Store::create`]): the same bytes again are fine, others are refused by name.
//! * A few small objects are replaced, by compare-and-swap ([`Store::swap`]): of two writers one is told that it lost.
//! * What a call reported as done is durable and can be read back by everybody; only [`Store::create_unsettled`] leaves the
//!   first half of that to a [`Store::settle`] for several calls.
//!
//! The interface is blocking; whoever calls it from an asynchronous program does so on a thread of its own. Which objects
//! there should be, and in which order, is the caller's business.

mod bucket;
mod digest;
pub mod durable;
mod error;
mod folder;
mod object;
mod path;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bucket::Bucket;
use folder::Folder;

pub use bucket::{BucketSettings, Cause, Credentials, CredentialsError, Patience, SettingsError, Trouble};
pub use digest::{Sha256, Sha256Error};
pub use error::{Mismatch, StoreError};
pub use object::{Facts, Labels, Leftovers, Listed, NewObject, Read, Source, Swap, Tag, Unsettled};

/// A store, opened. Copies are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    engine: Arc<Engine>,
    watch: Watch,
}

#[derive(Debug)]
enum Engine {
    Folder(Folder),
    // Much larger than the other.
    Bucket(Box<Bucket>),
}

/// Is told of every write when it is done; tests die in it.
#[derive(Clone, Default)]
pub(crate) struct Watch(Option<Arc<Told>>);

type Told = dyn Fn(&'static str, &str) + Send + Sync;

impl Watch {
    fn note(&self, step: &'static str, path: &str) {
        if let Some(told) = &self.0 {
            told(step, path);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "watched" } else { "unwatched" })
    }
}

impl Store {
    /// The store in a folder, which is made if it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn folder(root: &Path) -> Result<Self, StoreError> {
        Ok(Self { engine: Arc::new(Engine::Folder(Folder::open(root)?)), watch: Watch::default() })
    }

    /// The store in a bucket, which must be there and let the credentials in.
    ///
    /// # Errors
    /// When the settings name no bucket, when the service cannot be reached or refuses.
    pub fn bucket(settings: BucketSettings) -> Result<Self, StoreError> {
        Self::bucket_watched(settings, Watch::default())
    }

    fn bucket_watched(settings: BucketSettings, watch: Watch) -> Result<Self, StoreError> {
        let bucket = Box::new(Bucket::open(settings, watch.clone())?);
        Ok(Self { engine: Arc::new(Engine::Bucket(bucket)), watch })
    }

    /// The same store, which tells of every write ("write", "create", "begin", "part", "swap", "delete" and the path) when
    /// it is done.
    ///
    /// # Errors
    /// When it cannot be opened once more.
    pub fn watched(
        self,
        told: impl Fn(&'static str, &str) + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let watch = Watch(Some(Arc::new(told)));
        match &*self.engine {
            Engine::Folder(_) => Ok(Self { watch, ..self }),
            Engine::Bucket(bucket) => Self::bucket_watched(bucket.settings().clone(), watch),
        }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match &*self.engine {
            Engine::Folder(folder) => folder.place(),
            Engine::Bucket(bucket) => bucket.settings().place(),
        }
    }

    /// The folder, of a store that is one.
    #[must_use]
    pub fn as_folder(&self) -> Option<&Path> {
        match &*self.engine {
            Engine::Folder(folder) => Some(folder.root()),
            Engine::Bucket(_) => None,
        }
    }

    /// Creates objects. Those that are there with the same bytes stay as they are.
    ///
    /// # Errors
    /// When one is there with other bytes and `leftovers` says so; when the store refuses. Some of the objects may be
    /// there then; doing it again goes on.
    pub fn create(&self, objects: &[NewObject], leftovers: Leftovers) -> Result<(), StoreError> {
        self.settle(self.create_unsettled(objects, leftovers)?)
    }

    /// The same, and does not wait until a power cut can no longer take them away.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub fn create_unsettled(
        &self,
        objects: &[NewObject],
        leftovers: Leftovers,
    ) -> Result<Unsettled, StoreError> {
        for object in objects {
            path::check(&object.path)?;
            if let Source::Stored(stored) = &object.from {
                path::check(stored)?;
            }
        }
        match &*self.engine {
            Engine::Folder(folder) => folder.create(objects, leftovers, &self.watch),
            Engine::Bucket(bucket) => bucket.create(objects, leftovers).map(|()| Unsettled::default()),
        }
    }

    /// Makes durable what was created. What several calls created takes as long together as that of one.
    ///
    /// # Errors
    /// When the store refuses. Nothing may rely on any of it then.
    pub fn settle(&self, unsettled: Unsettled) -> Result<(), StoreError> {
        match &*self.engine {
            Engine::Folder(folder) => folder.settle(unsettled),
            Engine::Bucket(_) => Ok(()),
        }
    }

    /// All bytes of an object; none when it is not there.
    ///
    /// # Errors
    /// When it has more than `max_bytes`; when the store refuses.
    pub fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Read>, StoreError> {
        path::check(path)?;
        match &*self.engine {
            Engine::Folder(folder) => folder.read(path, max_bytes),
            Engine::Bucket(bucket) => bucket.read(path, max_bytes),
        }
    }

    /// Some bytes of an object, as many as there are of this range; if there is a tag, of the bytes that it means.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when it has other bytes; when it is not there; when the store refuses.
    pub fn read_range(
        &self,
        path: &str,
        range: Range<u64>,
        tag: Option<&Tag>,
    ) -> Result<Vec<u8>, StoreError> {
        path::check(path)?;
        match &*self.engine {
            Engine::Folder(folder) => folder.read_range(path, range, tag),
            Engine::Bucket(bucket) => bucket.read_range(path, range, tag.cloned()),
        }
    }

    /// What is known of an object; none when it is not there.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn head(&self, path: &str) -> Result<Option<Facts>, StoreError> {
        path::check(path)?;
        match &*self.engine {
            Engine::Folder(folder) => folder.head(path),
            Engine::Bucket(bucket) => bucket.head(path),
        }
    }

    /// The digest of an object, from its bytes, each of which is read; none when it is not there.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn digest(&self, path: &str) -> Result<Option<Sha256>, StoreError> {
        Ok(self.digests(&[path.to_owned()])?.into_iter().next().flatten())
    }

    /// The same for many.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn digests(&self, paths: &[String]) -> Result<Vec<Option<Sha256>>, StoreError> {
        paths.iter().try_for_each(|path| path::check(path))?;
        match &*self.engine {
            Engine::Folder(folder) => paths.iter().map(|path| folder.digest(path)).collect(),
            Engine::Bucket(bucket) => bucket.digests(paths),
        }
    }

    /// Every object below a prefix, which ends where a component does; by path. What something that died left behind is
    /// among them, its names begin with a dot.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        if !prefix.is_empty() {
            path::check(prefix)?;
        }
        match &*self.engine {
            Engine::Folder(folder) => folder.list(prefix),
            Engine::Bucket(bucket) => bucket.list(prefix),
        }
    }

    /// Removes objects; those that are missing are fine.
    ///
    /// # Errors
    /// When the store refuses. Some may be gone then.
    pub fn delete(&self, paths: &[String]) -> Result<(), StoreError> {
        paths.iter().try_for_each(|path| path::check_leftover(path))?;
        match &*self.engine {
            Engine::Folder(folder) => paths.iter().try_for_each(|path| folder.delete(path, &self.watch)),
            Engine::Bucket(bucket) => bucket.delete(paths),
        }
    }

    /// Replaces a small object, if it still has the bytes that the caller knows of; none means that it is not there.
    /// The moment in which readers see the new bytes lies within this call. When they have them already, that is fine.
    ///
    /// # Errors
    /// [`StoreError::Swapped`] when somebody else was faster; when the store refuses.
    pub fn swap(
        &self,
        path: &str,
        bytes: &[u8],
        expected: Option<&Tag>,
        labels: Labels,
    ) -> Result<Tag, StoreError> {
        let (path, expected) = (path.to_owned(), expected.cloned());
        let mut given = None;
        self.swap_all(&[Swap { path: path.clone(), bytes, expected, labels }], &mut |_, tag| {
            given = Some(tag);
        })?;
        given.ok_or_else(|| StoreError::Missing { place: self.place(), path })
    }

    /// Replaces small objects as [`Store::swap`] does, one after the other in this order, and tells `done` of each, by its
    /// place in the list, once readers see its new bytes. All are durable when this returns.
    ///
    /// # Errors
    /// As [`Store::swap`], of the first that cannot be replaced; those that come after it stay as they are.
    pub fn swap_all(&self, swaps: &[Swap<'_>], done: &mut dyn FnMut(usize, Tag)) -> Result<(), StoreError> {
        swaps.iter().try_for_each(|swap| path::check(&swap.path))?;
        match &*self.engine {
            // A folder keeps no labels.
            Engine::Folder(folder) => folder.swap_all(swaps, &self.watch, done),
            Engine::Bucket(bucket) => {
                for (number, Swap { path, bytes, expected, labels }) in swaps.iter().enumerate() {
                    done(number, bucket.swap(path, bytes, expected.as_ref(), labels.clone())?);
                }
                Ok(())
            }
        }
    }
}
