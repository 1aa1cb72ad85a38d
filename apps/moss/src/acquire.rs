//! Gets packages from where a repository says they are into the content store.
//!
//! A package file has its final name only after its SHA-256 was compared, and its files are in the store only after
//! their own digests were. A download that was interrupted goes on where it stopped. The cache and the store may be shared by
//! several processes: each package is worked on under a lock of its own.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fault::{Fault, Kind};
use fetch::{Client, HttpError, Location, MirrorError, PartError, Standing, WantedFile};
use fs_err as fs;
use package::PackageMeta;
use stone::{Digest, Entry, EntryFile, Limits, ReadError, Stone};
use system::PackageId;

use crate::reporter::{Phase, Reporter, Running};
use crate::store::Store;
use crate::swap::sync_file_system;

/// How many packages are worked on at once; enough to hide the latency of a server, few enough for a small machine.
const WORKERS_MAX: usize = 8;

/// Largest package file when the index does not say its size: more than the largest package known.
const PACKAGE_BYTES_MAX: u64 = 16 << 30;

/// A package that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) id: PackageId,
    pub(crate) meta: PackageMeta,
    /// Where the package file is: at its repository, then at the mirrors of that.
    pub(crate) locations: Vec<Location>,
}

/// A package whose files are in the store.
#[derive(Debug, Clone)]
pub(crate) struct Acquired {
    pub(crate) id: PackageId,
    pub(crate) layout: Vec<Entry>,
    pub(crate) installed_bytes: u64,
    /// What the package says of itself.
    pub(crate) texts: Texts,
}

/// What a package says of itself for people.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    pub(crate) summary: String,
    pub(crate) description: String,
    pub(crate) homepage: String,
    pub(crate) licenses: Vec<String>,
}

/// Why a package could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// It cannot be downloaded.
    #[error("cannot download {package}")]
    Download {
        /// The package.
        package: String,
        /// Why not.
        #[source]
        source: HttpError,
    },
    /// What was received cannot be kept.
    #[error("cannot keep the download of {package}")]
    Keep {
        /// The package.
        package: String,
        /// Why not.
        #[source]
        source: PartError,
    },
    /// What was received is not what the index promises.
    #[error("cannot use {package} from {address}: its SHA-256 is {found}, and the index says {expected}")]
    WrongDigest {
        /// The package.
        package: String,
        /// Where it came from.
        address: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// It has the promised digest and is no package.
    #[error("cannot read {package}")]
    Damaged {
        /// The package.
        package: String,
        /// What is wrong.
        #[source]
        source: Box<ReadError>,
    },
    /// The disk is too small.
    #[error("cannot store {what}: it needs {needed_bytes} bytes in {}, and {free_bytes} are free", path.display())]
    NoSpace {
        /// What is to be stored.
        what: String,
        /// Where.
        path: PathBuf,
        /// How much it needs.
        needed_bytes: u64,
        /// How much there is.
        free_bytes: u64,
    },
    /// A file of the cache cannot be read or written.
    #[error("cannot use the cache {}", path.display())]
    Cache {
        /// The cache.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Fault for AcquireError {
    fn kind(&self) -> Kind {
        match self {
            AcquireError::Download { source, .. } => source.kind(),
            AcquireError::Keep { source, .. } => source.kind(),
            AcquireError::WrongDigest { .. } | AcquireError::Damaged { .. } => Kind::Damaged,
            AcquireError::NoSpace { .. } | AcquireError::Cache { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        let full =
            "nothing was changed: make room and do the same again; what was downloaded is kept".to_owned();
        match self {
            AcquireError::Download { source, .. } => {
                let mut hints = source.hints();
                hints.push("nothing was changed; what was downloaded is kept, so do the same again later".into());
                hints
            }
            AcquireError::Keep { source, .. } => source.hints(),
            AcquireError::WrongDigest { .. } => vec![
                "nothing was changed; the repository's index may be newer or older than its packages: moss repo update".into(),
                "if it stays so, the package was tampered with or is damaged: tell whoever publishes the repository".into(),
            ],
            AcquireError::Damaged { .. } => vec!["nothing was changed; tell whoever publishes the repository".into()],
            AcquireError::NoSpace { .. } => vec![full],
            AcquireError::Cache { source, .. } if source.kind() == io::ErrorKind::StorageFull => vec![full],
            AcquireError::Cache { .. } => Vec::new(),
        }
    }
}

/// Where downloads and contents are kept.
pub(crate) struct Acquisition<'a> {
    pub(crate) cache: &'a Path,
    pub(crate) store: &'a Store,
    pub(crate) client: &'a Client,
    pub(crate) reporter: &'a dyn Reporter,
    /// What is known of repositories and their mirrors.
    pub(crate) standing: Standing,
}

impl Acquisition<'_> {
    /// Bytes that are still to be downloaded for these packages.
    pub(crate) fn missing_bytes(&self, wanted: &[Wanted]) -> u64 {
        let missing = wanted.iter().filter(|wanted| !self.package_file(&wanted.id).is_file());
        missing.map(|wanted| wanted.meta.download_size_bytes.unwrap_or_default()).fold(0, u64::saturating_add)
    }

    /// Downloads and unpacks the packages, several at once, in any order. The answer has the order of `wanted`.
    ///
    /// # Errors
    /// The first that occurs. What was completed until then stays in the cache.
    pub(crate) fn acquire(&self, wanted: &[Wanted]) -> Result<Vec<Acquired>, AcquireError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        fs::create_dir_all(self.cache).map_err(|source| self.cache_error(source))?;
        self.write_cache_tag().map_err(|source| self.cache_error(source))?;
        let missing_bytes = self.missing_bytes(wanted);
        self.check_space("the downloads", missing_bytes)?;
        {
            let running = Running::begin(self.reporter, Phase::Download, missing_bytes);
            for_each(wanted, |wanted| self.download(wanted, &running))?;
        }
        let unpack_bytes = wanted
            .iter()
            .map(|wanted| wanted.meta.download_size_bytes.unwrap_or_default())
            .fold(0, u64::saturating_add);
        let running = Running::begin(self.reporter, Phase::Unpack, unpack_bytes);
        let acquired = for_each(wanted, |wanted| {
            let acquired = self.unpack(wanted)?;
            running.advance(wanted.meta.download_size_bytes.unwrap_or_default());
            Ok(acquired)
        })?;
        let unmarked: Vec<PathBuf> =
            wanted.iter().map(|wanted| self.mark(&wanted.id)).filter(|mark| !mark.exists()).collect();
        if !unmarked.is_empty() {
            // The contents must be on the disk before anything says that they are complete.
            let marked = sync_file_system(self.cache)
                .and_then(|()| unmarked.iter().try_for_each(|mark| fs::write(mark, [])));
            marked.map_err(|source| self.cache_error(source))?;
        }
        Ok(acquired)
    }

    fn package_file(&self, id: &PackageId) -> PathBuf {
        let digits = id.as_str();
        self.cache.join("downloads/v1").join(&digits[..5]).join(&digits[digits.len() - 5..]).join(digits)
    }

    fn mark(&self, id: &PackageId) -> PathBuf {
        self.package_file(id).with_extension("unpacked")
    }

    fn cache_error(&self, source: io::Error) -> AcquireError {
        AcquireError::Cache { path: self.cache.to_path_buf(), source }
    }

    /// The convention by which backup programs know a cache (bford.info/cachedir).
    fn write_cache_tag(&self) -> io::Result<()> {
        let tag = self.cache.join("CACHEDIR.TAG");
        if tag.exists() { Ok(()) } else { fs::write(tag, "Signature: 8a477f597d28d172789f06886806bc55\n") }
    }

    fn check_space(&self, what: &str, needed_bytes: u64) -> Result<(), AcquireError> {
        let status = rustix::fs::statvfs(self.cache).map_err(|source| self.cache_error(source.into()))?;
        let free_bytes = status.f_bavail.saturating_mul(status.f_frsize);
        if needed_bytes <= free_bytes {
            return Ok(());
        }
        Err(AcquireError::NoSpace {
            what: what.to_owned(),
            path: self.cache.to_path_buf(),
            needed_bytes,
            free_bytes,
        })
    }

    /// Takes the lock of one package among all processes that share the cache. It goes with the returned file.
    fn lock(&self, id: &PackageId) -> Result<fs::File, AcquireError> {
        let file = self.package_file(id);
        let directory = file.parent().unwrap_or(self.cache);
        let lock = || {
            fs::create_dir_all(directory)?;
            let directory = fs::File::open(directory)?;
            rustix::io::retry_on_intr(|| {
                rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive)
            })?;
            Ok(directory)
        };
        lock().map_err(|source| self.cache_error(source))
    }

    fn download(&self, wanted: &Wanted, running: &Running<'_>) -> Result<(), AcquireError> {
        let destination = self.package_file(&wanted.id);
        if destination.is_file() {
            return Ok(());
        }
        let _lock = self.lock(&wanted.id)?;
        if destination.is_file() {
            return Ok(());
        }
        let package = package_text(&wanted.meta);
        let seen = std::sync::atomic::AtomicU64::new(0);
        let progress = |progress: fetch::Progress| {
            let before = seen.swap(progress.received_bytes, Ordering::Relaxed);
            running.advance(progress.received_bytes.saturating_sub(before));
        };
        let sha256 = fetch::Digest::parse(wanted.id.as_str())
            .map_err(|error| self.cache_error(io::Error::other(error)))?;
        let file = WantedFile {
            locations: &wanted.locations,
            sha256,
            size_bytes_max: wanted.meta.download_size_bytes.unwrap_or(PACKAGE_BYTES_MAX),
            part: &destination.with_extension("part"),
        };
        let told = |text: &str| {
            if wanted.locations.len() > 1 {
                self.reporter.warn(text);
            }
        };
        let finished = self.client.download_from(&self.standing, &file, &progress, &told);
        let finished = finished.map_err(|error| match error {
            MirrorError::Http(source) => AcquireError::Download { package, source },
            MirrorError::Part(source) => AcquireError::Keep { package, source },
            MirrorError::OtherBytes { url, found, expected } => AcquireError::WrongDigest {
                package,
                address: url,
                found: found.to_string(),
                expected: expected.to_string(),
            },
        })?;
        fs::rename(&finished.path, &destination).map_err(|source| self.cache_error(source))
    }

    fn unpack(&self, wanted: &Wanted) -> Result<Acquired, AcquireError> {
        let _lock = self.lock(&wanted.id)?;
        let package = package_text(&wanted.meta);
        let damaged = |source| match source {
            ReadError::Sink { source, .. } => AcquireError::Cache { path: self.cache.to_path_buf(), source },
            source => AcquireError::Damaged { package: package.clone(), source: Box::new(source) },
        };
        let path = self.package_file(&wanted.id);
        let open =
            || fs::File::open(&path).map(io::BufReader::new).map_err(|source| self.cache_error(source));
        let limits = Limits::default();
        let stone = stone::read_records(open()?, &limits).map_err(damaged)?;
        let complete = self.mark(&wanted.id).exists()
            && stone.index.iter().all(|slice| self.store.contains(slice.digest));
        if !complete {
            self.check_space(&format!("the files of {package}"), stone.content_bytes)?;
            let modes = stored_modes(&stone);
            let mut sink = self.store.sink(&modes);
            stone::read(open()?, &limits, &mut sink).map_err(damaged)?;
        }
        let installed_bytes = installed_bytes(&stone);
        let texts = texts(&stone);
        Ok(Acquired { id: wanted.id.clone(), layout: stone.layout, installed_bytes, texts })
    }
}

/// A package whose metadata cannot be understood says nothing; what counts is in the index.
fn texts(stone: &Stone) -> Texts {
    let meta = stone.metas.first().and_then(|records| PackageMeta::from_records(records).ok());
    meta.map_or_else(Texts::default, |meta| {
        let PackageMeta { summary, description, homepage, licenses, .. } = meta;
        Texts { summary, description, homepage, licenses }
    })
}

/// The mode to store each file with: that of the first entry which wants it and can share it.
fn stored_modes(stone: &Stone) -> HashMap<Digest, u32> {
    let mut modes = HashMap::new();
    for entry in &stone.layout {
        // Files with special bits or owners are always copied; a shared file must not carry them.
        let shareable = entry.uid == 0 && entry.gid == 0 && entry.mode & 0o7000 == 0;
        if let EntryFile::Regular(digest) = entry.file
            && shareable
        {
            modes.entry(digest).or_insert(entry.mode & 0o777);
        }
    }
    modes
}

fn installed_bytes(stone: &Stone) -> u64 {
    let sizes: BTreeMap<Digest, u64> = stone.sizes();
    let digests = stone.layout.iter().filter_map(|entry| entry.file.digest());
    digests.map(|digest| sizes.get(&digest).copied().unwrap_or_default()).fold(0, u64::saturating_add)
}

fn package_text(meta: &PackageMeta) -> String {
    format!("{} {}-{}", meta.name, meta.version, meta.release)
}

/// Does the work for each item with several threads. The answers have the order of the items; the first error ends it.
fn for_each<I: Sync, O: Send, E: Send>(
    items: &[I],
    work: impl Fn(&I) -> Result<O, E> + Sync,
) -> Result<Vec<O>, E> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<O, E>)>> = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..items.len().min(WORKERS_MAX) {
            scope.spawn(|| {
                loop {
                    let position = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(position) else { return };
                    let result = work(item);
                    if result.is_err() {
                        // Nobody begins anything new after an error.
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((position, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(position, _)| *position);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_workers_answer_in_order_and_stop_at_an_error() {
        let items: Vec<usize> = (0..100).collect();
        let doubled: Result<Vec<usize>, ()> = for_each(&items, |item| Ok(item * 2));
        assert_eq!(doubled.unwrap(), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        let failed: Result<Vec<usize>, usize> =
            for_each(&items, |item| if *item == 7 { Err(7) } else { Ok(*item) });
        assert_eq!(failed, Err(7));
        assert_eq!(for_each(&Vec::<u8>::new(), |_| Ok::<(), ()>(())), Ok(vec![]));
    }

    #[test]
    fn special_files_are_not_stored_with_their_bits() {
        let digest = Digest::of(b"su");
        let entry = |mode, uid| Entry {
            uid,
            gid: 0,
            mode,
            target: "bin/su".into(),
            file: EntryFile::Regular(digest),
        };
        let mut stone = Stone {
            file_type: stone::FileType::Binary,
            metas: Vec::new(),
            layout: vec![entry(0o104_755, 0), entry(0o100_644, 8)],
            index: Vec::new(),
            attributes: Vec::new(),
            content_bytes: 0,
        };
        assert!(stored_modes(&stone).is_empty());
        stone.layout.push(entry(0o100_755, 0));
        assert_eq!(stored_modes(&stone), HashMap::from([(digest, 0o755)]));
    }
}
