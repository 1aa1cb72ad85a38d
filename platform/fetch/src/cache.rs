//! The source cache: files by their SHA-256, got once from the first place that has them.
//!
//! Layout below the root: `sources/ab/cdef…` holds finished files, read-only, named by digest; `partial/` what is
//! being received; `locks/` one lock file per digest. A file appears under its final name only when its bytes are on
//! disk and have the digest, so whoever finds it may use it. Fetches of one source, in threads or processes, wait for
//! each other; fetches of different sources do not.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fault::{Fault, Kind};
use fs_err as fs;

use crate::address::{file_name, is_file_name, redacted};
use crate::client::{Client, HttpError, Progress};
use crate::debian::{DebianError, DebianSources};
use crate::digest::Digest;
use crate::part::{PartFile, remove_if_there};

/// Largest source that is taken; the largest real upstream tarballs (browsers, toolchains) are near 1.5 GiB.
const SOURCE_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;

/// A source as a recipe names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where upstream has it.
    pub url: String,
    /// What decides whether it is the right file.
    pub sha256: Digest,
    /// What upstream calls the file; mirrors are asked for that name.
    pub file_name: String,
}

impl Source {
    /// A source called by the last segment of its address.
    #[must_use]
    pub fn new(url: &str, sha256: Digest) -> Source {
        let file_name = file_name(url).unwrap_or_else(|| sha256.to_string());
        Source { url: url.to_owned(), sha256, file_name }
    }
}

/// How a mirror names its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixLayout {
    /// `BASE/FILE_NAME`.
    FileName,
    /// `BASE/ab/cdef…`, the digest as this cache itself lays it out.
    Digest,
}

/// Another place that may have a source.
#[derive(Debug, Clone)]
pub enum Mirror {
    /// A folder of files, over HTTP or `file:`.
    Prefix {
        /// The address of the folder.
        base: String,
        /// How files are named in it.
        layout: PrefixLayout,
    },
    /// Debian's source archive.
    DebianSources(DebianSources),
}

/// Whether mirrors come after the upstream or before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The upstream, then the mirrors.
    #[default]
    UpstreamFirst,
    /// The mirrors, then the upstream.
    MirrorsFirst,
}

/// One place that did not give a source.
#[derive(Debug)]
pub struct FailedAttempt {
    /// The place: an address without credentials, or a name.
    pub place: String,
    /// Why.
    pub reason: Box<dyn Fault>,
}

impl fmt::Display for FailedAttempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, fault::chain(self.reason.as_ref()).join(": "))
    }
}

/// A source was not got.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No place has it.
    #[error("cannot fetch {file_name} (sha256 {sha256}): no place has it{}", listed(attempts))]
    Nowhere {
        /// What upstream calls it.
        file_name: String,
        /// Its digest.
        sha256: Digest,
        /// Each place that was asked, in order, and why it did not help.
        attempts: Vec<FailedAttempt>,
    },
    /// The cache itself cannot be used.
    #[error("cannot use the source cache {root}")]
    Cache {
        /// Where it is.
        root: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Fault for FetchError {
    /// Unavailable as soon as one place may have it later; damaged when places only had other bytes.
    fn kind(&self) -> Kind {
        match self {
            FetchError::Cache { .. } => Kind::Unavailable,
            FetchError::Nowhere { attempts, .. } => {
                let has = |kind| attempts.iter().any(|attempt| attempt.reason.kind() == kind);
                [Kind::Unavailable, Kind::Damaged, Kind::Denied, Kind::Input]
                    .into_iter()
                    .find(|kind| has(*kind))
                    .unwrap_or(Kind::NotFound)
            }
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            FetchError::Cache { root, .. } => {
                vec![format!("check space and permissions of {}", root.display())]
            }
            FetchError::Nowhere { .. } => vec![
                "check the address and the digest in the recipe, or configure a mirror that has the file"
                    .to_owned(),
            ],
        }
    }
}

/// A place gave other bytes than the recipe asks for.
#[derive(Debug, thiserror::Error)]
#[error("the file has another digest: expected {expected}, got {got}")]
struct WrongDigest {
    expected: Digest,
    got: Digest,
}

impl Fault for WrongDigest {
    fn kind(&self) -> Kind {
        Kind::Damaged
    }
}

/// Files by digest below one folder, shared by any number of threads and processes.
#[derive(Debug)]
pub struct SourceCache {
    root: PathBuf,
    client: Client,
    order: Order,
    /// What this process has hashed: a file is read once a run, not at every use.
    verified: Mutex<HashSet<Digest>>,
}

impl SourceCache {
    /// The cache below `root`, which is made when something is fetched.
    #[must_use]
    pub fn new(root: &Path, client: Client, order: Order) -> SourceCache {
        SourceCache { root: root.to_path_buf(), client, order, verified: Mutex::default() }
    }

    /// The place of a digest in the cache, whether something is there or not.
    #[must_use]
    pub fn path(&self, sha256: Digest) -> PathBuf {
        self.root.join("sources").join(sha256.relative_path())
    }

    /// Gives the path of `source` in the cache, fetching it if it is not there. The file is read-only and must stay
    /// as it is. `progress` is told about transfers over HTTP.
    ///
    /// # Errors
    /// When no place has it, with each place and its reason; or when the cache cannot be written.
    pub fn fetch(
        &self,
        source: &Source,
        mirrors: &[Mirror],
        progress: &dyn Fn(Progress),
    ) -> Result<PathBuf, FetchError> {
        let cache_error = |error| FetchError::Cache { root: self.root.clone(), source: error };
        let path = self.path(source.sha256);
        if self.is_here(source.sha256).map_err(cache_error)? {
            return Ok(path);
        }
        let _lock = self.lock(source.sha256).map_err(cache_error)?;
        // Somebody else may have fetched it while this one waited.
        if self.is_here(source.sha256).map_err(cache_error)? {
            return Ok(path);
        }
        remove_if_there(&path).map_err(cache_error)?;

        let mut attempts = Vec::new();
        for place in self.places(source, mirrors) {
            tracing::debug!(place = place.name(), file = source.file_name, "asking for a source");
            match self.try_place(&place, source, progress) {
                Ok(received) => {
                    self.keep(&received, &path).map_err(cache_error)?;
                    self.remember(source.sha256);
                    tracing::info!(place = place.name(), file = source.file_name, "source fetched");
                    return Ok(path);
                }
                Err(Failure::Cache(error)) => return Err(cache_error(error)),
                Err(Failure::Place(reason)) => {
                    tracing::info!(place = place.name(), reason = %reason, "a place does not have a source");
                    attempts.push(FailedAttempt { place: place.name(), reason });
                }
            }
        }
        Err(FetchError::Nowhere { file_name: source.file_name.clone(), sha256: source.sha256, attempts })
    }

    fn places<'a>(&self, source: &Source, mirrors: &'a [Mirror]) -> Vec<Place<'a>> {
        let mut places: Vec<Place<'a>> = mirrors
            .iter()
            .filter_map(|mirror| match mirror {
                Mirror::Prefix { base, layout } => {
                    let base = base.trim_end_matches('/');
                    match layout {
                        PrefixLayout::Digest => {
                            Some(Place::Address(format!("{base}/{}", source.sha256.relative_path())))
                        }
                        PrefixLayout::FileName if is_file_name(&source.file_name) => {
                            Some(Place::Address(format!("{base}/{}", escaped(&source.file_name))))
                        }
                        PrefixLayout::FileName => None,
                    }
                }
                Mirror::DebianSources(debian) => Some(Place::Debian(debian)),
            })
            .collect();
        let upstream = Place::Address(source.url.clone());
        match self.order {
            Order::UpstreamFirst => places.insert(0, upstream),
            Order::MirrorsFirst => places.push(upstream),
        }
        places
    }

    fn try_place(
        &self,
        place: &Place<'_>,
        source: &Source,
        progress: &dyn Fn(Progress),
    ) -> Result<Received, Failure> {
        match place {
            Place::Address(url) => self.download(url, source, progress),
            Place::Debian(debian) => {
                let folder =
                    tempfile::Builder::new().prefix("debian-").tempdir_in(self.root.join("partial"))?;
                let path = debian.fetch(source.sha256, folder.path())?;
                fs::File::open(&path)?.sync_all()?;
                Ok(Received { path, _folder: Some(folder) })
            }
        }
    }

    fn download(&self, url: &str, source: &Source, progress: &dyn Fn(Progress)) -> Result<Received, Failure> {
        let path = self.root.join("partial").join(format!("{}.part", source.sha256));
        loop {
            let mut part = PartFile::open(&path)?;
            let goes_on = part.size_bytes() > 0;
            if let Err(error) = self.client.download(url, &mut part, SOURCE_BYTES_MAX, progress) {
                if part.size_bytes() == 0 {
                    part.discard()?;
                }
                return Err(error.into());
            }
            let finished = part.finish()?;
            if finished.sha256 == source.sha256 {
                return Ok(Received { path: finished.path, _folder: None });
            }
            remove_if_there(&finished.path)?;
            // The first bytes may have been of another place, under the same validator.
            if !goes_on {
                let wrong = WrongDigest { expected: source.sha256, got: finished.sha256 };
                return Err(Failure::Place(wrong.into()));
            }
        }
    }

    fn keep(&self, received: &Received, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        fs::set_permissions(&received.path, std::fs::Permissions::from_mode(0o444))?;
        fs::rename(&received.path, path)?;
        fs::File::open(folder)?.sync_all()
    }

    /// Whether the file is there and has its digest. A damaged one counts as missing.
    fn is_here(&self, sha256: Digest) -> io::Result<bool> {
        let path = self.path(sha256);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
            Ok(metadata) if !metadata.is_file() => return Ok(false),
            Ok(_) => {}
        }
        if self.verified.lock().is_ok_and(|verified| verified.contains(&sha256)) {
            return Ok(true);
        }
        let (got, _) = Digest::of_file(&path)?;
        if got == sha256 {
            self.remember(sha256);
            return Ok(true);
        }
        tracing::warn!(path = %path.display(), %got, "a file in the source cache is damaged and fetched again");
        Ok(false)
    }

    fn remember(&self, sha256: Digest) {
        // A poisoned lock only means that the file is hashed again.
        if let Ok(mut verified) = self.verified.lock() {
            verified.insert(sha256);
        }
    }

    fn lock(&self, sha256: Digest) -> io::Result<fs::File> {
        fs::create_dir_all(self.root.join("partial"))?;
        let locks = self.root.join("locks");
        fs::create_dir_all(&locks)?;
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(locks.join(sha256.to_string()))?;
        file.file().lock()?;
        Ok(file)
    }
}

enum Place<'a> {
    Address(String),
    Debian(&'a DebianSources),
}

impl Place<'_> {
    fn name(&self) -> String {
        match self {
            Place::Address(url) => redacted(url),
            Place::Debian(_) => "Debian's source archive".to_owned(),
        }
    }
}

/// A file with the right digest, on disk, not yet in its place.
struct Received {
    path: PathBuf,
    /// Removes the temporary folder that the file came in.
    _folder: Option<tempfile::TempDir>,
}

/// Whether the next place may help.
enum Failure {
    Place(Box<dyn Fault>),
    Cache(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Cache(error)
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Part(error) => Failure::Cache(error.into_io()),
            error => Failure::Place(error.into()),
        }
    }
}

impl From<crate::part::PartError> for Failure {
    fn from(error: crate::part::PartError) -> Self {
        Failure::Cache(error.into_io())
    }
}

impl From<DebianError> for Failure {
    fn from(error: DebianError) -> Self {
        Failure::Place(error.into())
    }
}

fn listed(attempts: &[FailedAttempt]) -> String {
    attempts.iter().map(|attempt| format!("\n- {attempt}")).collect()
}

/// A file name as a segment of an address.
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~+,=@:!$&'()*;".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
