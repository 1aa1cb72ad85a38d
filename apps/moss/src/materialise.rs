//! A tree of packages without a system around it: no state, no database, nothing to roll back. Boulder builds in such trees.

use std::path::Path;

use fault::{Fault, Kind};
use fetch::{Client, Standing};
use fs_err as fs;
use package::{Dependency, DependencyKind, PackageMeta};
use repository::{KnownFormats, RepositoryConfig, UrlError};
use system::PackageIdError;
use system::resolve::{Missing, Request, ResolveError, Universe, resolve};
use system::tree::{Layout, TreeError, merge};

use crate::acquire::{AcquireError, Acquisition};
use crate::blit::{BlitError, blit};
use crate::catalog::Catalog;
use crate::refresh::{Freshness, RefreshError, RepositoryCache, Steps};
use crate::reporter::Reporter;
use crate::store::Store;

/// What to do about needs that no repository provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingPolicy {
    /// They are an error.
    Refuse,
    /// Those of these kinds are listed in the answer; others are an error.
    Allow(Vec<DependencyKind>),
}

/// What is asked for.
pub struct Materialise<'a> {
    /// A directory that receives `usr`; there must be nothing, or an empty directory, in the place of `usr`.
    pub target: &'a Path,
    /// Where packages come from. Inactive ones are passed over.
    pub repositories: &'a [RepositoryConfig],
    /// Indexes, downloads and contents are kept here, and shared with other processes that use the same directory. On the
    /// file system of `target`, files are hard links to it.
    pub cache_dir: &'a Path,
    /// What must be in the tree.
    pub wanted: &'a [Dependency],
    /// What to do about needs that nobody provides.
    pub missing: MissingPolicy,
    /// Is told how it goes.
    pub reporter: &'a dyn Reporter,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Materialised {
    /// The packages in the tree, by name.
    pub packages: Vec<PackageMeta>,
    /// What is needed, by the request or by a package, and provided by nobody; sorted.
    pub unresolved: Vec<Dependency>,
}

/// Why there is no such tree.
#[derive(Debug, thiserror::Error)]
pub enum MaterialiseError {
    /// A repository cannot be used.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// An index names a package in an impossible way.
    #[error(transparent)]
    PackageId(#[from] PackageIdError),
    /// No set of packages holds together.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The address of a package is not one.
    #[error(transparent)]
    Address(#[from] UrlError),
    /// A package cannot be had.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The packages make no tree.
    #[error(transparent)]
    Tree(#[from] Box<TreeError>),
    /// The tree cannot be put onto the disk.
    #[error(transparent)]
    Blit(#[from] BlitError),
    /// Something is where the tree belongs.
    #[error("cannot make a tree in {}: there is one", target.display())]
    Occupied {
        /// Where the tree belongs.
        target: std::path::PathBuf,
    },
}

impl MaterialiseError {
    fn inner(&self) -> Option<&dyn Fault> {
        Some(match self {
            MaterialiseError::Refresh(error) => error,
            MaterialiseError::PackageId(error) => error,
            MaterialiseError::Resolve(error) => error,
            MaterialiseError::Address(error) => error,
            MaterialiseError::Acquire(error) => error,
            MaterialiseError::Tree(error) => error.as_ref(),
            MaterialiseError::Blit(error) => error,
            MaterialiseError::Occupied { .. } => return None,
        })
    }
}

impl Fault for MaterialiseError {
    fn kind(&self) -> Kind {
        self.inner().map_or(Kind::Conflict, Fault::kind)
    }

    fn hints(&self) -> Vec<String> {
        match self.inner() {
            Some(inner) => inner.hints(),
            None => vec!["name an empty directory".into()],
        }
    }
}

/// Fills a directory with packages: resolves, downloads what is not cached, and makes `target/usr`.
///
/// Repositories are asked whether they have something new; where one cannot be reached, what was fetched last serves.
///
/// # Errors
/// When a repository was never reached, needs cannot be met, or a package cannot be had or placed. What was made in
/// `target` until then stays.
pub fn materialise(request: &Materialise<'_>) -> Result<Materialised, MaterialiseError> {
    let usr = request.target.join("usr");
    if fs::read_dir(&usr).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(MaterialiseError::Occupied { target: usr });
    }
    let client = Client::default();
    let cache = RepositoryCache {
        directory: request.cache_dir.join("repo"),
        client: &client,
        reporter: request.reporter,
        keep: true,
        formats: KnownFormats::CURRENT,
        rules: Vec::new(),
        steps: Steps::default(),
    };
    let offers = cache.offers(request.repositories, Freshness::Preferred)?;
    let catalog = Catalog::new(&offers)?;
    let missing = match &request.missing {
        MissingPolicy::Refuse => Missing::Refuse,
        MissingPolicy::Allow(kinds) => Missing::Allow(kinds.clone()),
    };
    let universe = Universe::new(&[], &catalog.sources);
    let resolution = resolve(&universe, &Request::Install(request.wanted.to_vec()), &missing)?;

    let ids = resolution.selection.iter().map(|selected| &selected.package.id);
    let wanted: Vec<_> = ids.filter_map(|id| catalog.wanted(id)).collect::<Result<_, _>>()?;
    let store = Store::new(request.cache_dir.join("assets/v2"));
    let acquisition = Acquisition {
        cache: &request.cache_dir.join("cache"),
        store: &store,
        client: &client,
        reporter: request.reporter,
        standing: Standing::default(),
    };
    let acquired = acquisition.acquire(&wanted)?;
    let layouts: Vec<Layout<'_>> = wanted
        .iter()
        .zip(&acquired)
        .map(|(wanted, acquired)| Layout { package: &wanted.meta.name, entries: &acquired.layout })
        .collect();
    blit(&merge(&layouts).map_err(Box::new)?, &store, &usr, request.reporter)?;

    let mut unresolved: Vec<Dependency> =
        resolution.unresolved.into_iter().map(|open| open.dependency).collect();
    unresolved.sort();
    unresolved.dedup();
    Ok(Materialised { packages: wanted.into_iter().map(|wanted| wanted.meta).collect(), unresolved })
}
