//! What repositories offer: fetched, verified, and kept for when they cannot be reached.
//!
//! Nothing replaces a cached index before it was read completely. For a versioned repository one conditional request
//! of its root index tells whether anything changed, because what a history lists never does.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::path::PathBuf;

use fault::{Fault, Kind};
use fetch::{Body, Client, HttpError, Validators};
use fs_err as fs;
use package::PackageMeta;
use repository::compact::{self, IMAGE_BYTES_MAX};
use repository::transition::{self, HostRule, Learned};
use repository::{
    Format, Index, IndexError, KnownFormats, Moved, ROOT_INDEX_BYTES_MAX, RepositoryConfig, RepositorySource,
    ResolveError, RootIndex, RootIndexError, layout,
};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::reporter::{Phase, Reporter, Running};
use crate::self_upgrade::Outdated;

mod files;
pub(crate) mod signed;

use files::CacheFiles;
pub(crate) use files::Steps;

/// Largest `stone.index` that is fetched: 65,535 packages, the most that fit, at 1,500 bytes each, not compressed at all.
const INDEX_BYTES_MAX: u64 = 100 << 20;

/// Largest file with the paths of all packages: a hundred million bytes for ten million files, and some.
const FILE_LISTS_BYTES_MAX: usize = 256 << 20;

/// Largest file that says where a repository went.
const MOVED_BYTES_MAX: u64 = 64 << 10;

fn root_index_bytes_max() -> u64 {
    u64::try_from(ROOT_INDEX_BYTES_MAX).unwrap_or(u64::MAX)
}

/// Under which name the cache of a repository is kept, so that several programs can have their own.
const PROGRAM: &str = "moss";

/// Why it is not known what a repository offers.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// It cannot be reached.
    #[error("cannot refresh repository {id}")]
    Fetch {
        /// The repository.
        id: String,
        /// Why not.
        #[source]
        source: HttpError,
    },
    /// Its root index cannot be read.
    #[error("cannot use repository {id}")]
    RootIndex {
        /// The repository.
        id: String,
        /// Why not.
        #[source]
        source: RootIndexError,
    },
    /// Its format is not known.
    #[error("cannot use repository {}", outdated.repository.id)]
    Outdated {
        /// The repository, and where it has a newer client.
        outdated: Box<Outdated>,
        /// Why not.
        #[source]
        source: Box<ResolveError>,
    },
    /// It has not the version that is to be followed.
    #[error("cannot use repository {id}")]
    Version {
        /// The repository.
        id: String,
        /// Why not.
        #[source]
        source: Box<ResolveError>,
    },
    /// Its index cannot be read.
    #[error("cannot use repository {id}")]
    Index {
        /// The repository.
        id: String,
        /// Why not.
        #[source]
        source: Box<IndexError>,
    },
    /// What it says is not what it must be.
    #[error("cannot trust repository {id}")]
    Trust {
        /// The repository.
        id: String,
        /// Why not.
        #[source]
        source: Box<signed::TrustError>,
    },
    /// Keys are pinned for it, and nothing there is signed.
    #[error("cannot use repository {id}: keys are pinned for it, and what is there is not signed")]
    Unsigned {
        /// The repository.
        id: String,
    },
    /// Its cache cannot be read or written.
    #[error("cannot use the cache of repository {id}, {}", path.display())]
    Cache {
        /// The repository.
        id: String,
        /// The cache.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Fault for RefreshError {
    fn kind(&self) -> Kind {
        match self {
            RefreshError::Fetch { source, .. } => source.kind(),
            RefreshError::RootIndex { source, .. } => source.kind(),
            RefreshError::Version { source, .. } | RefreshError::Outdated { source, .. } => source.kind(),
            RefreshError::Index { source, .. } => source.kind(),
            RefreshError::Trust { source, .. } => source.kind(),
            RefreshError::Unsigned { .. } => Kind::Denied,
            RefreshError::Cache { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            RefreshError::Fetch { source, .. } => {
                let mut hints = source.hints();
                hints.push("see where it is expected: moss repo list".into());
                hints
            }
            RefreshError::RootIndex { source, .. } => source.hints(),
            RefreshError::Version { source, .. } | RefreshError::Outdated { source, .. } => source.hints(),
            RefreshError::Index { source, .. } => source.hints(),
            RefreshError::Trust { source, .. } => source.hints(),
            RefreshError::Unsigned { .. } => vec![
                "use the address of a versioned repository that is signed, or unpin the keys if its owner says that it no longer is".into(),
            ],
            RefreshError::Cache { .. } => Vec::new(),
        }
    }
}

/// How recent the answer has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// What was fetched last; repositories that never were are left out with a warning.
    Cached,
    /// As it is now, or where that cannot be had what was fetched last, with a warning.
    Preferred,
    /// As it is now.
    Required,
}

/// The paths below `/usr` of each package, by its digest.
pub type FileLists = BTreeMap<String, Vec<String>>;

/// What a repository offers.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The repository.
    pub repository: RepositoryConfig,
    /// Address of the index, which the addresses of packages are relative to.
    pub index_url: String,
    /// Its packages.
    pub packages: Vec<PackageMeta>,
    /// Where it is from now on, when it is about to be elsewhere.
    pub moved: Option<Transition>,
    /// Whether summaries, descriptions, homepages and licences are in a file of their own, which only some commands need.
    pub lacks_texts: bool,
}

/// A repository that is elsewhere from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The repository, as it is configured.
    pub repository: RepositoryConfig,
    /// Where it is.
    pub to: RepositorySource,
    /// Who says so.
    pub learned: Learned,
}

/// What is remembered beside a cached index.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Memory {
    index_url: String,
    /// SHA-256 of the index that the rest speaks of.
    index_sha256: String,
    index_etag: Option<String>,
    index_last_modified: Option<String>,
    root_etag: Option<String>,
    root_last_modified: Option<String>,
    /// Where the repository said last that it is.
    #[serde(default)]
    moved: Option<Moved>,
    /// Of the root index that a rule points to.
    #[serde(default)]
    rule_etag: Option<String>,
}

/// Fetches and keeps what repositories offer.
pub(crate) struct RepositoryCache<'a> {
    pub(crate) directory: PathBuf,
    pub(crate) client: &'a Client,
    pub(crate) reporter: &'a dyn Reporter,
    /// Whether what is fetched may be kept.
    pub(crate) keep: bool,
    /// What can be read.
    pub(crate) formats: KnownFormats,
    /// Hosts whose plain indexes became versioned repositories.
    pub(crate) rules: Vec<HostRule>,
    /// What is written to it.
    pub(crate) steps: Steps,
}

/// Whether anything was fetched, for `repo update`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// It is as it was.
    Unchanged,
    /// A new index was fetched.
    Changed,
    /// Nobody asked, or it could not be reached.
    FromCache,
}

impl RepositoryCache<'_> {
    /// What all active repositories offer.
    pub(crate) fn offers(
        &self,
        repositories: &[RepositoryConfig],
        freshness: Freshness,
    ) -> Result<Vec<Offer>, RefreshError> {
        let active: Vec<&RepositoryConfig> =
            repositories.iter().filter(|repository| repository.active).collect();
        let shown = match freshness {
            Freshness::Cached => None,
            Freshness::Preferred | Freshness::Required => {
                let total = u64::try_from(active.len()).unwrap_or(u64::MAX);
                Some(Running::begin(self.reporter, Phase::Refresh, total))
            }
        };
        let mut offers = Vec::new();
        for repository in active {
            offers.extend(self.offer(repository, freshness)?.map(|(offer, _)| offer));
            if let Some(running) = &shown {
                running.advance(1);
            }
        }
        Ok(offers)
    }

    fn place<'p>(&'p self, repository: &'p RepositoryConfig) -> Place<'p> {
        Place { cache: self, repository, directory: self.directory.join(cache_name(&repository.source)) }
    }

    /// Gives the packages of an offer their texts, where these are in a file of their own.
    pub(crate) fn add_texts(&self, offer: &mut Offer) -> Result<(), RefreshError> {
        if !offer.lacks_texts {
            return Ok(());
        }
        let repository = offer.repository.clone();
        let place = self.place(&repository);
        let Some(packed) = place.side_file(layout::TEXTS_FILE, IMAGE_BYTES_MAX)? else { return Ok(()) };
        let trust = |source: compact::CompactError| RefreshError::Trust {
            id: repository.id.clone(),
            source: Box::new(source.into()),
        };
        let texts = compact::unpack(&packed, IMAGE_BYTES_MAX, "the texts of an index").map_err(trust)?;
        compact::add_texts(&mut offer.packages, &texts).map_err(trust)?;
        offer.lacks_texts = false;
        Ok(())
    }

    /// The paths of the files of all packages of a repository, by the digest of the package; none where it does not tell.
    pub(crate) fn file_lists(
        &self,
        repository: &RepositoryConfig,
    ) -> Result<Option<FileLists>, RefreshError> {
        let place = self.place(repository);
        let Some(bytes) = place.side_file(layout::FILES_FILE, FILE_LISTS_BYTES_MAX)? else { return Ok(None) };
        let trust = |source: compact::CompactError| RefreshError::Trust {
            id: repository.id.clone(),
            source: Box::new(source.into()),
        };
        let mut lists = FileLists::new();
        for list in compact::read_file_lists(&bytes).map_err(trust)? {
            lists.insert(list.package.to_string(), compact::unpack_paths(list.packed).map_err(trust)?);
        }
        Ok(Some(lists))
    }

    /// What one repository offers; none when only the cache may answer and there is nothing in it.
    pub(crate) fn offer(
        &self,
        repository: &RepositoryConfig,
        freshness: Freshness,
    ) -> Result<Option<(Offer, Refreshed)>, RefreshError> {
        let place = self.place(repository);
        let cached = place.read_any()?;
        if freshness == Freshness::Cached {
            if cached.is_none() {
                self.reporter.warn(&format!(
                    "repository {0} was never fetched; fetch it: moss repo update {0}",
                    repository.id
                ));
            }
            return Ok(cached.map(|(offer, _)| (offer, Refreshed::FromCache)));
        }
        match place.fetch_any(cached.as_ref().map(|(_, memory)| memory)) {
            Ok(Fetched::New(offer)) => Ok(Some((*offer, Refreshed::Changed))),
            Ok(Fetched::Same(moved)) => {
                let moved = *moved;
                Ok(cached.map(|(offer, _)| (Offer { moved, ..offer }, Refreshed::Unchanged)))
            }
            Err(error) => match (freshness, cached) {
                (_, cached) if is_gone(&error) && place.farewell().is_some() => {
                    let empty = Offer {
                        repository: repository.clone(),
                        index_url: String::new(),
                        packages: Vec::new(),
                        moved: None,
                        lacks_texts: false,
                    };
                    let offer = cached.map_or(empty, |(offer, _)| offer);
                    Ok(Some((Offer { moved: place.farewell(), ..offer }, Refreshed::FromCache)))
                }
                (Freshness::Preferred, Some((offer, _))) if may_fall_back(&error) => {
                    let why = fault::chain(&error).join(": ");
                    self.reporter.warn(&format!("{why}; going on with what was fetched last"));
                    Ok(Some((offer, Refreshed::FromCache)))
                }
                _ => Err(error),
            },
        }
    }
}

/// What was fetched last was verified then, so it serves while a repository cannot be reached; but a format of the future must be
/// told, or it would be followed no more and nobody would know, and so must everything that looks like an attack.
fn may_fall_back(error: &RefreshError) -> bool {
    match error {
        RefreshError::Outdated { .. } | RefreshError::Unsigned { .. } => false,
        // A cache on the way may be behind; what is at hand is newer and was trusted.
        RefreshError::Trust { source, .. } => source.is_behind(),
        _ => true,
    }
}

/// Whether the server is there, and the repository is not.
fn is_gone(error: &RefreshError) -> bool {
    matches!(error, RefreshError::Fetch { source, .. } if source.kind() == Kind::NotFound)
}

/// What the cache has.
enum Known {
    Signed,
    Plain(Box<Memory>),
}

/// What a refresh found.
enum Fetched {
    /// Another index.
    New(Box<Offer>),
    /// The one that is known; and where the repository is from now on.
    Same(Box<Option<Transition>>),
}

/// The directory of a repository in the cache.
fn cache_name(source: &RepositorySource) -> String {
    let identity = match source {
        RepositorySource::Direct { uri } => format!("{PROGRAM}-{uri}"),
        RepositorySource::Versioned { base_uri, channel, version, arch } => {
            format!("{PROGRAM}-{base_uri}-{channel}-{version}-{arch}")
        }
    };
    format!("{:x}", xxh3_64(identity.as_bytes()))
}

struct Place<'a> {
    cache: &'a RepositoryCache<'a>,
    repository: &'a RepositoryConfig,
    directory: PathBuf,
}

impl Place<'_> {
    fn id(&self) -> String {
        self.repository.id.clone()
    }

    fn cache_error(&self, source: io::Error) -> RefreshError {
        RefreshError::Cache { id: self.id(), path: self.directory.clone(), source }
    }

    fn read_optional(&self, name: &str) -> Result<Option<Vec<u8>>, RefreshError> {
        match fs::read(self.directory.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.cache_error(source)),
        }
    }

    /// What was fetched last, in whichever form.
    fn read_any(&self) -> Result<Option<(Offer, Known)>, RefreshError> {
        if let Some((offer, _)) = self.read_signed()? {
            return Ok(Some((offer, Known::Signed)));
        }
        if !self.repository.keys.is_empty() {
            return Ok(None);
        }
        Ok(self.read()?.map(|(offer, memory)| (offer, Known::Plain(Box::new(memory)))))
    }

    /// Fetches what is new: signed files where keys are pinned or were used before, and where nothing is known yet and they are
    /// there; else the files that all clients of such repositories know.
    fn fetch_any(&self, known: Option<&Known>) -> Result<Fetched, RefreshError> {
        let is_versioned = matches!(self.repository.source, RepositorySource::Versioned { .. });
        let plain = match known {
            Some(Known::Plain(memory)) => Some(memory.as_ref()),
            _ => None,
        };
        if !self.repository.keys.is_empty() || (is_versioned && plain.is_none()) {
            match self.fetch_signed()? {
                Some(fetched) => return Ok(fetched),
                None if !self.repository.keys.is_empty() => {
                    return Err(RefreshError::Unsigned { id: self.id() });
                }
                None => {}
            }
        }
        self.fetch(plain)
    }

    /// What was fetched last. A cache whose parts do not belong together counts as none.
    fn read(&self) -> Result<Option<(Offer, Memory)>, RefreshError> {
        let (Some(index), Some(memory)) =
            (self.read_optional("stone.index")?, self.read_optional("memory.json")?)
        else {
            return Ok(None);
        };
        let Ok(memory) = serde_json::from_slice::<Memory>(&memory) else { return Ok(None) };
        if fetch::Digest::of(&index).to_string() != memory.index_sha256 {
            return Ok(None);
        }
        match self.parse(&index, &memory.index_url) {
            Ok(offer) => Ok(Some((Offer { moved: self.transition(&memory), ..offer }, memory))),
            Err(error) => {
                tracing::warn!(%error, "the cached index cannot be read and is fetched again");
                Ok(None)
            }
        }
    }

    fn parse(&self, bytes: &[u8], index_url: &str) -> Result<Offer, RefreshError> {
        let index = Index::read(Cursor::new(bytes), &Index::limits())
            .map_err(|source| RefreshError::Index { id: self.id(), source: Box::new(source) })?;
        Ok(Offer {
            repository: self.repository.clone(),
            index_url: index_url.to_owned(),
            packages: index.into_packages(),
            moved: None,
            lacks_texts: false,
        })
    }

    /// Fetches what is new.
    fn fetch(&self, known: Option<&Memory>) -> Result<Fetched, RefreshError> {
        let mut memory = Memory::default();
        let same = |memory: &Memory| Ok(Fetched::Same(Box::new(self.transition(memory))));
        let index_url = match (&self.repository.source, self.repository.source.root_index_url()) {
            (RepositorySource::Direct { uri }, _) => {
                self.ask_by_rule(uri, known, &mut memory);
                uri.clone()
            }
            (_, Some(root_url)) => match self.resolve(&root_url, known, &mut memory)? {
                Some(index_url) => index_url,
                None => return same(known.unwrap_or(&memory)),
            },
            (_, None) => return same(&memory),
        };
        let is_history = matches!(self.repository.source, RepositorySource::Versioned { .. });
        let same_address = known.filter(|known| known.index_url == index_url);
        if let (true, Some(known)) = (is_history, same_address) {
            // What a history lists never changes; only the root index has to be remembered.
            let memory = Memory {
                root_etag: memory.root_etag,
                root_last_modified: memory.root_last_modified,
                moved: memory.moved,
                ..known.clone()
            };
            self.write_memory(&memory)?;
            return same(&memory);
        }
        let validators = same_address.map_or_else(Validators::default, |known| Validators {
            etag: known.index_etag.clone(),
            last_modified: known.index_last_modified.clone(),
        });
        let Body::Bytes { bytes, validators } = self.get(&index_url, &validators, INDEX_BYTES_MAX)? else {
            let known = known.cloned().unwrap_or_default();
            let memory = Memory { moved: memory.moved, rule_etag: memory.rule_etag, ..known };
            self.write_memory(&memory)?;
            return same(&memory);
        };
        let offer = self.parse(&bytes, &index_url)?;
        let offer = Offer { moved: self.transition(&memory), ..offer };
        memory.index_sha256 = fetch::Digest::of(&bytes).to_string();
        memory.index_url = index_url;
        memory.index_etag = validators.etag;
        memory.index_last_modified = validators.last_modified;
        self.write(&bytes, &memory)?;
        Ok(Fetched::New(Box::new(offer)))
    }

    /// Where the repository is from now on.
    fn transition(&self, memory: &Memory) -> Option<Transition> {
        self.transition_to(memory.moved.as_ref(), false)
    }

    fn transition_to(&self, moved: Option<&Moved>, is_signed: bool) -> Option<Transition> {
        let moved = moved?;
        let source = &self.repository.source;
        let (to, learned) = match source {
            RepositorySource::Direct { uri } => {
                (transition::versioned(uri, &self.cache.rules)?, Learned::Configured)
            }
            // An address that is none is as good as nothing said.
            RepositorySource::Versioned { .. } => {
                let learned = if is_signed { Learned::Signed } else { transition::learned_from(source) };
                (transition::followed(source, moved).ok()??, learned)
            }
        };
        (to != *source).then(|| Transition { repository: self.repository.clone(), to, learned })
    }

    /// Looks whether the plain index of a host became a versioned repository. That it cannot be seen is no fault.
    fn ask_by_rule(&self, uri: &str, known: Option<&Memory>, memory: &mut Memory) {
        let Some(to) = transition::versioned(uri, &self.cache.rules) else { return };
        let RepositorySource::Versioned { base_uri, channel, version, .. } = &to else { return };
        let Some(root_url) = to.root_index_url() else { return };
        let etag = known.and_then(|known| known.rule_etag.clone());
        match self.get(&root_url, &Validators { etag, last_modified: None }, root_index_bytes_max()) {
            Ok(Body::Bytes { bytes, validators }) => {
                memory.rule_etag = validators.etag;
                // A stream that is still of the first format stays where it is, as it always was.
                let is_versioned = RootIndex::from_json(&bytes).is_ok_and(|root| {
                    match root.resolve_for(version, self.cache.formats) {
                        Ok(resolved) => resolved.format != Format::Legacy,
                        Err(error) => matches!(error, ResolveError::Unsupported { .. }),
                    }
                });
                if is_versioned {
                    memory.moved = Some(Moved { base_uri: base_uri.clone(), channel: channel.clone() });
                }
            }
            Ok(Body::NotModified) => {
                let known = known.cloned().unwrap_or_default();
                (memory.rule_etag, memory.moved) = (known.rule_etag, known.moved);
            }
            Err(error) => tracing::debug!(%error, "no versioned repository is seen"),
        }
    }

    /// What a repository left where it was: `CHANNEL/moved.json`, for places that are only files.
    fn farewell(&self) -> Option<Transition> {
        let RepositorySource::Versioned { base_uri, channel, .. } = &self.repository.source else {
            return None;
        };
        let url = format!("{base_uri}/{}", layout::moved_path(channel));
        let Ok(Body::Bytes { bytes, .. }) = self.get(&url, &Validators::default(), MOVED_BYTES_MAX) else {
            return None;
        };
        let moved = serde_json::from_slice(&bytes).ok()?;
        self.transition(&Memory { moved: Some(moved), ..Memory::default() })
    }

    fn get(&self, url: &str, known: &Validators, size_bytes_max: u64) -> Result<Body, RefreshError> {
        self.cache
            .client
            .get(url, known, size_bytes_max)
            .map_err(|source| RefreshError::Fetch { id: self.id(), source })
    }

    /// The address of the index that the version stands for now; none when the root index is as it was.
    fn resolve(
        &self,
        root_url: &str,
        known: Option<&Memory>,
        memory: &mut Memory,
    ) -> Result<Option<String>, RefreshError> {
        let RepositorySource::Versioned { version, .. } = &self.repository.source else { return Ok(None) };
        let validators = known.map_or_else(Validators::default, |known| Validators {
            etag: known.root_etag.clone(),
            last_modified: known.root_last_modified.clone(),
        });
        let Body::Bytes { bytes, validators } = self.get(root_url, &validators, root_index_bytes_max())?
        else {
            return Ok(None);
        };
        let root = RootIndex::from_json(&bytes)
            .map_err(|source| RefreshError::RootIndex { id: self.id(), source })?;
        let resolved =
            root.resolve_for(version, self.cache.formats).map_err(|source| self.version_error(source))?;
        memory.root_etag = validators.etag;
        memory.root_last_modified = validators.last_modified;
        memory.moved = root.moved;
        Ok(Some(self.repository.source.index_url(&resolved.history)))
    }

    fn version_error(&self, source: ResolveError) -> RefreshError {
        let ResolveError::Unsupported { format, upgrade_via, .. } = &source else {
            return RefreshError::Version { id: self.id(), source: Box::new(source) };
        };
        let outdated = Outdated {
            repository: self.repository.clone(),
            format: format.clone(),
            upgrade_via: upgrade_via.clone(),
        };
        RefreshError::Outdated { outdated: Box::new(outdated), source: Box::new(source) }
    }

    /// Changes the files of the cache, where anything may be kept.
    fn keep(&self, change: impl FnOnce(&CacheFiles<'_>) -> io::Result<()>) -> Result<(), RefreshError> {
        if !self.cache.keep {
            return Ok(());
        }
        let files = CacheFiles { directory: &self.directory, steps: &self.cache.steps };
        files.make().and_then(|()| change(&files)).map_err(|source| self.cache_error(source))
    }

    fn write(&self, index: &[u8], memory: &Memory) -> Result<(), RefreshError> {
        self.keep(|files| {
            // Whoever reads between the two finds digests that differ, and fetches for itself.
            files.replace("stone.index", index)?;
            files.replace("index-uri", memory.index_url.as_bytes())
        })?;
        self.write_memory(memory)
    }

    fn write_memory(&self, memory: &Memory) -> Result<(), RefreshError> {
        self.keep(|files| files.replace("memory.json", &serde_json::to_vec(memory)?))
    }
}
