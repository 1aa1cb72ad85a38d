//! Changes of a system: planned, shown, then carried out; and the way back to an earlier state.
//!
//! [`System::plan`] chooses and changes nothing. [`System::apply`] carries a plan out: it downloads, unpacks, makes the new
//! tree, and exchanges it for the old one. An error on the way leaves the system as it was.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fault::{Fault, Kind};
use fetch::{Client, Standing};
use fs_err as fs;
use kdl::{KdlDocument, KdlNode};
use package::PackageMeta;
use repository::{KnownFormats, RepositoryConfig, UrlError};
use system::resolve::{Installed, Missing, Origin, Request, Resolution, ResolveError, Universe, resolve};
use system::tree::{IMPLIED_DIRECTORY_MODE, Layout, NodeKind, Tree, TreeError, merge};
use system::{PackageId, PackageIdError, StateId};

use crate::acquire::{AcquireError, Acquisition, Texts, Wanted};
use crate::blit::{BlitError, blit, set_mode};
use crate::catalog::{Catalog, candidate};
use crate::database::{Database, DatabaseError, State, StateMember, StoredPackage};
use crate::installation::{Access, Installation, InstallationError};
use crate::refresh::{
    FileLists, Freshness, Offer, RefreshError, Refreshed, RepositoryCache, Steps, Transition,
};
use crate::reporter::Reporter;
use crate::repositories::{RepositoriesError, host_rules, load_repositories, repository_node};
use crate::self_upgrade::Outdated;
use crate::store::Store;
use crate::swap::{StopAfter, Swap, SwapError, discard, recover_installation, refuse_unmanaged};

/// Files of the tree that moss writes itself; a package's own are left out.
const GENERATED_FILES: [&str; 2] = [".stateID", "lib/system-model.kdl"];

/// Mode of those files.
const GENERATED_FILE_MODE: u32 = 0o644;

/// What a system says of itself where no package does.
const GENERIC_OS_RELEASE: &str = "NAME=\"Unbranded OS\"\nID=unbranded-os\nPRETTY_NAME=\"Unbranded OS\"\n";

/// Why a change could not be planned or carried out.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The installation cannot be used.
    #[error(transparent)]
    Installation(#[from] InstallationError),
    /// Its database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The configuration of repositories cannot be used.
    #[error(transparent)]
    Repositories(#[from] RepositoriesError),
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
    /// The exchange failed.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// A file of the new tree cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The database does not know the active state, or a package of it.
    #[error("cannot tell what is installed: the database knows nothing of {what}")]
    Lost {
        /// What it does not know.
        what: String,
    },
    /// There is no such state.
    #[error("cannot activate state {id}: there is none")]
    UnknownState {
        /// Its number.
        id: StateId,
    },
    /// It is active already.
    #[error("cannot activate state {id}: it is active")]
    AlreadyActive {
        /// Its number.
        id: StateId,
    },
}

impl ChangeError {
    /// The repository that is in a format of the future, when that is why.
    #[must_use]
    pub fn outdated(&self) -> Option<&Outdated> {
        match self {
            ChangeError::Refresh(RefreshError::Outdated { outdated, .. }) => Some(outdated),
            _ => None,
        }
    }

    fn inner(&self) -> Option<&dyn Fault> {
        Some(match self {
            ChangeError::Installation(error) => error,
            ChangeError::Database(error) => error,
            ChangeError::Repositories(error) => error,
            ChangeError::Refresh(error) => error,
            ChangeError::PackageId(error) => error,
            ChangeError::Resolve(error) => error,
            ChangeError::Address(error) => error,
            ChangeError::Acquire(error) => error,
            ChangeError::Tree(error) => error.as_ref(),
            ChangeError::Blit(error) => error,
            ChangeError::Swap(error) => error,
            ChangeError::Write { .. }
            | ChangeError::Lost { .. }
            | ChangeError::UnknownState { .. }
            | ChangeError::AlreadyActive { .. } => return None,
        })
    }
}

impl Fault for ChangeError {
    fn kind(&self) -> Kind {
        match self {
            ChangeError::Write { .. } => Kind::Unavailable,
            ChangeError::Lost { .. } => Kind::Damaged,
            ChangeError::UnknownState { .. } => Kind::NotFound,
            ChangeError::AlreadyActive { .. } => Kind::Conflict,
            other => other.inner().map_or(Kind::Bug, Fault::kind),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ChangeError::Lost { .. } => vec!["go back to a state that it knows: moss state list".into()],
            ChangeError::UnknownState { .. } | ChangeError::AlreadyActive { .. } => {
                vec!["see which there are: moss state list".into()]
            }
            ChangeError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                vec!["the disk is full; the system is as it was: make room and do the same again".into()]
            }
            other => other.inner().map(Fault::hints).unwrap_or_default(),
        }
    }
}

/// A package of the active state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledPackage {
    /// The digest.
    pub id: PackageId,
    /// The metadata.
    pub meta: PackageMeta,
    /// Whether somebody asked for it by name.
    pub explicit: bool,
    /// Bytes of its files.
    pub installed_bytes: u64,
}

/// A planned change.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which packages come, go and stay.
    pub resolution: Resolution,
    /// What has to be downloaded, in bytes.
    pub download_bytes: u64,
    /// What the files of packages that go take now, in bytes. Files that other packages share stay in the store.
    pub removed_bytes: u64,
    /// What the files of packages that come will take, in bytes; none while some of them were never downloaded.
    pub added_bytes: Option<u64>,
    /// Repositories that say that they are elsewhere from now on.
    pub transitions: Vec<Transition>,
    wanted: Vec<Wanted>,
    repositories: Vec<RepositoryConfig>,
    summary: &'static str,
}

impl Change {
    /// Whether the system would be the same afterwards.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resolution.changes_nothing()
    }

    /// The download size of a package that comes, in bytes, where the index says it.
    #[must_use]
    pub fn download_bytes_of(&self, id: &PackageId) -> Option<u64> {
        self.wanted.iter().find(|wanted| wanted.id == *id).and_then(|wanted| wanted.meta.download_size_bytes)
    }
}

/// A root directory whose `/usr` is made of packages.
pub struct System<'r> {
    installation: Installation,
    database: Database,
    client: Client,
    reporter: &'r dyn Reporter,
    access: Access,
    stop_after: StopAfter,
    stop_refresh_after: StopAfter,
    formats: KnownFormats,
}

impl<'r> System<'r> {
    /// Opens the system in `root`. With [`Access::Write`], waits for whoever changes it now, and brings a change that was
    /// interrupted to an end.
    ///
    /// # Errors
    /// When it cannot be read, or written, or a change cannot be brought to an end.
    pub fn open(root: &Path, access: Access, reporter: &'r dyn Reporter) -> Result<Self, ChangeError> {
        let installation = Installation::open(root, access, reporter)?;
        let database = Database::open(&installation, access)?;
        if access == Access::Write {
            recover_installation(&installation, &database, reporter)?;
        }
        let client = Client::default();
        Ok(Self {
            installation,
            database,
            client,
            reporter,
            access,
            stop_after: StopAfter::NEVER,
            stop_refresh_after: StopAfter::NEVER,
            formats: KnownFormats::CURRENT,
        })
    }

    /// The same, but only these formats of repositories can be read.
    #[must_use]
    pub fn knowing(mut self, formats: KnownFormats) -> Self {
        self.formats = formats;
        self
    }

    /// The same, but the next exchange stops after some steps as if the machine had crashed there. For tests.
    #[must_use]
    pub fn stopping_after(mut self, stop_after: StopAfter) -> Self {
        self.stop_after = stop_after;
        self
    }

    /// The same, but a refresh of what repositories offer stops after some steps of its writing. For tests.
    #[must_use]
    pub fn stopping_refresh_after(mut self, stop_after: StopAfter) -> Self {
        self.stop_refresh_after = stop_after;
        self
    }

    /// Where everything is.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// The packages of the active state, by name.
    ///
    /// # Errors
    /// When the database cannot be read or does not know the active state.
    pub fn installed(&self) -> Result<Vec<InstalledPackage>, ChangeError> {
        let Some(active) = self.installation.active_state()? else { return Ok(Vec::new()) };
        let state = self.database.state(active)?;
        let state =
            state.ok_or_else(|| ChangeError::Lost { what: format!("state {active}, which is active") })?;
        let mut packages = Vec::with_capacity(state.members.len());
        for member in state.members {
            let found = self.database.package(&member.id)?;
            let (meta, installed_bytes) =
                found.ok_or_else(|| ChangeError::Lost { what: format!("package {}", member.id) })?;
            packages.push(InstalledPackage {
                id: member.id,
                meta,
                explicit: member.explicit,
                installed_bytes,
            });
        }
        packages.sort_by(|left, right| left.meta.name.cmp(&right.meta.name));
        Ok(packages)
    }

    /// All states, oldest first, and the number of the active one.
    ///
    /// # Errors
    /// When the database or the active state cannot be read.
    pub fn states(&self) -> Result<(Vec<State>, Option<StateId>), ChangeError> {
        Ok((self.database.states()?, self.installation.active_state()?))
    }

    pub(crate) fn repository_cache(&self) -> Result<RepositoryCache<'_>, RepositoriesError> {
        Ok(RepositoryCache {
            directory: self.installation.repository_cache(),
            client: &self.client,
            reporter: self.reporter,
            keep: self.access == Access::Write,
            formats: self.formats,
            rules: host_rules(self.installation.root())?,
            steps: Steps::until(self.stop_refresh_after),
        })
    }

    /// What the configured repositories offer.
    ///
    /// # Errors
    /// When the configuration cannot be read, or a repository cannot be used.
    pub fn offers(&self, freshness: Freshness) -> Result<Vec<Offer>, ChangeError> {
        let repositories = load_repositories(self.installation.root())?;
        Ok(self.repository_cache()?.offers(&repositories, freshness)?)
    }

    /// Gives packages their summaries and other texts, where a repository has these apart. What cannot be had is told.
    pub fn add_texts(&self, offers: &mut [Offer]) -> Result<(), ChangeError> {
        let cache = self.repository_cache()?;
        for offer in offers {
            if let Err(error) = cache.add_texts(offer) {
                let why = fault::chain(&error).join(": ");
                self.reporter.warn(&format!("{why}; what packages say of themselves is not shown"));
            }
        }
        Ok(())
    }

    /// The paths that packages of this repository put below `/usr`, by the digest of the package; none where it does not tell.
    ///
    /// # Errors
    /// When they cannot be had, or are not what the repository promises.
    pub fn file_lists(&self, repository: &RepositoryConfig) -> Result<Option<FileLists>, ChangeError> {
        Ok(self.repository_cache()?.file_lists(repository)?)
    }

    /// The paths that an installed package puts below `/usr`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn files_of(&self, id: &PackageId) -> Result<Vec<String>, ChangeError> {
        Ok(self.database.layout(id)?.into_iter().map(|entry| entry.target).collect())
    }

    /// Fetches what one repository offers now.
    ///
    /// # Errors
    /// When it cannot be reached or used.
    pub fn refresh(&self, repository: &RepositoryConfig) -> Result<(usize, Refreshed), ChangeError> {
        let answer = self.repository_cache()?.offer(repository, Freshness::Required)?;
        Ok(answer.map_or((0, Refreshed::FromCache), |(offer, refreshed)| (offer.packages.len(), refreshed)))
    }

    /// Where a repository says that it is from now on; none while it stays where it is.
    ///
    /// # Errors
    /// When it cannot be reached or used.
    pub fn transition(&self, repository: &RepositoryConfig) -> Result<Option<Transition>, ChangeError> {
        let answer = self.repository_cache()?.offer(repository, Freshness::Required)?;
        Ok(answer.and_then(|(offer, _)| offer.moved))
    }

    /// Decides what a request means, and changes nothing.
    ///
    /// # Errors
    /// When repositories cannot be used, or no set of packages satisfies the request.
    pub fn plan(&self, request: &Request, freshness: Freshness) -> Result<Change, ChangeError> {
        self.plan_from(&load_repositories(self.installation.root())?, request, freshness)
    }

    /// The same, with other repositories than those that are configured.
    pub(crate) fn plan_from(
        &self,
        repositories: &[RepositoryConfig],
        request: &Request,
        freshness: Freshness,
    ) -> Result<Change, ChangeError> {
        refuse_unmanaged(&self.installation, self.installation.active_state()?)?;
        let summary = match request {
            Request::Remove(_) => "Remove",
            Request::Install(_) => "Install",
            Request::Sync => "Sync",
            Request::Upgrade(_) => "Self upgrade",
        };
        let offers = match request {
            Request::Remove(_) => Vec::new(),
            _ => self.repository_cache()?.offers(repositories, freshness)?,
        };
        let transitions = offers.iter().filter_map(|offer| offer.moved.clone()).collect();
        let catalog = Catalog::new(&offers)?;
        let packages = self.installed()?;
        let installed: Vec<Installed> = packages
            .iter()
            .map(|package| Installed {
                candidate: candidate(package.id.clone(), &package.meta),
                explicit: package.explicit,
            })
            .collect();
        let resolution = resolve(&Universe::new(&installed, &catalog.sources), request, &Missing::Refuse)?;

        let mut wanted = Vec::new();
        for selected in &resolution.selection {
            if !self.is_complete(&selected.package.id)?
                && let Some(package) = catalog.wanted(&selected.package.id)
            {
                wanted.push(package?);
            }
        }
        let (cache, store) = (self.installation.cache(), self.installation.store());
        let download_bytes = self.acquisition(&cache, &store).missing_bytes(&wanted);
        let removed = resolution.removed.iter().map(|removal| &removal.package.id);
        let removed_bytes = packages
            .iter()
            .filter(|package| {
                removed
                    .clone()
                    .chain(resolution.upgraded.iter().map(|upgrade| &upgrade.from.id))
                    .any(|id| *id == package.id)
            })
            .map(|package| package.installed_bytes)
            .fold(0, u64::saturating_add);
        let added_bytes = self.known_bytes(&resolution)?;
        // What the new state says of repositories is what is configured, whichever of them were asked.
        let repositories = load_repositories(self.installation.root())?;
        Ok(Change {
            resolution,
            download_bytes,
            removed_bytes,
            added_bytes,
            transitions,
            wanted,
            repositories,
            summary,
        })
    }

    /// Whether the package and everything in it is here.
    fn is_complete(&self, id: &PackageId) -> Result<bool, ChangeError> {
        if !self.database.has_package(id)? {
            return Ok(false);
        }
        let store = self.installation.store();
        let layout = self.database.layout(id)?;
        Ok(layout.iter().filter_map(|entry| entry.file.digest()).all(|digest| store.contains(digest)))
    }

    fn known_bytes(&self, resolution: &Resolution) -> Result<Option<u64>, ChangeError> {
        let mut sum = 0_u64;
        for summary in resolution.added.iter().chain(resolution.upgraded.iter().map(|upgrade| &upgrade.to)) {
            match self.database.package(&summary.id)? {
                Some((_, installed_bytes)) => sum = sum.saturating_add(installed_bytes),
                None => return Ok(None),
            }
        }
        Ok(Some(sum))
    }

    fn acquisition<'s>(&'s self, cache: &'s Path, store: &'s Store) -> Acquisition<'s> {
        Acquisition {
            cache,
            store,
            client: &self.client,
            reporter: self.reporter,
            standing: Standing::default(),
        }
    }

    /// Carries a plan out and gives the number of the new state; none when the plan changes nothing. `description` is
    /// what the list of states shows, for example the command.
    ///
    /// # Errors
    /// When packages cannot be had, make no tree, or the exchange fails. The system is then as it was.
    pub fn apply(&self, change: &Change, description: &str) -> Result<Option<StateId>, ChangeError> {
        if change.is_empty() {
            return Ok(None);
        }
        self.fetch_and_remember(&change.wanted)?;
        let tree = self.tree(&change.resolution)?;
        let members = change.resolution.selection.iter().map(|selected| StateMember {
            id: selected.package.id.clone(),
            explicit: selected.explicit,
            reason: reason(&selected.origin),
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let state = State {
            id: self.database.next_state_id()?,
            created_unix_seconds: i64::try_from(now).unwrap_or(i64::MAX),
            summary: change.summary.to_owned(),
            description: description.to_owned(),
            members: members.collect(),
        };
        self.stage(&tree, &state, change)?;
        Swap { installation: &self.installation, database: &self.database, stop_after: self.stop_after }
            .create(&state)?;
        Ok(Some(state.id))
    }

    fn fetch_and_remember(&self, wanted: &[Wanted]) -> Result<(), ChangeError> {
        let (cache, store) = (self.installation.cache(), self.installation.store());
        let acquired = self.acquisition(&cache, &store).acquire(wanted)?;
        let packages: Vec<StoredPackage> = wanted
            .iter()
            .zip(acquired)
            .map(|(wanted, acquired)| StoredPackage {
                id: acquired.id,
                meta: with_texts(wanted.meta.clone(), acquired.texts),
                layout: acquired.layout,
                installed_bytes: acquired.installed_bytes,
            })
            .collect();
        Ok(self.database.remember_packages(&packages)?)
    }

    fn tree(&self, resolution: &Resolution) -> Result<Tree, ChangeError> {
        let mut packages = Vec::with_capacity(resolution.selection.len());
        for selected in &resolution.selection {
            packages.push((selected.package.name.as_str(), self.database.layout(&selected.package.id)?));
        }
        let layouts: Vec<Layout<'_>> = packages
            .iter()
            .map(|(package, entries)| Layout { package, entries: entries.as_slice() })
            .collect();
        let mut tree = merge(&layouts).map_err(Box::new)?;
        for skipped in &tree.skipped {
            let (path, package) = (&skipped.path, &skipped.package);
            self.reporter
                .warn(&format!("/usr/{path} of {package} is left out: it is a device, pipe or socket"));
        }
        for path in GENERATED_FILES {
            tree.nodes.remove(path);
        }
        Ok(tree)
    }

    /// Makes the tree of the state in staging.
    fn stage(&self, tree: &Tree, state: &State, change: &Change) -> Result<(), ChangeError> {
        let staging = self.installation.staging();
        discard(&staging)?;
        let usr = staging.join("usr");
        blit(tree, &self.installation.store(), &usr, self.reporter)?;
        let write = |path: PathBuf, text: &str| {
            // Everybody reads these, whatever the umask of whoever installs.
            let written = fs::write(&path, text).and_then(|()| set_mode(&path, GENERATED_FILE_MODE));
            written.map_err(|source| ChangeError::Write { path, source })
        };
        // Only into a directory of the tree itself: a packaged link could lead out of it.
        let lib = usr.join("lib");
        match tree.nodes.get("lib").map(|node| &node.kind) {
            Some(NodeKind::Directory) => {}
            None => {
                let made = fs::create_dir(&lib).and_then(|()| set_mode(&lib, IMPLIED_DIRECTORY_MODE));
                made.map_err(|source| ChangeError::Write { path: lib.clone(), source })?;
            }
            Some(_) => return write(usr.join(".stateID"), &state.id.to_string()),
        }
        if !tree.nodes.contains_key("lib/os-release") {
            write(lib.join("os-release"), GENERIC_OS_RELEASE)?;
        }
        write(lib.join("system-model.kdl"), &system_model(change))?;
        write(usr.join(".stateID"), &state.id.to_string())
    }

    /// Makes an earlier state the active one.
    ///
    /// # Errors
    /// When there is no such state, it is active already, or the exchange fails.
    pub fn activate(&self, id: StateId) -> Result<(), ChangeError> {
        if self.installation.active_state()? == Some(id) {
            return Err(ChangeError::AlreadyActive { id });
        }
        if !self.database.has_state(id)? {
            return Err(ChangeError::UnknownState { id });
        }
        Swap { installation: &self.installation, database: &self.database, stop_after: self.stop_after }
            .activate(id)?;
        Ok(())
    }
}

/// An index may leave out what the package itself says.
fn with_texts(meta: PackageMeta, texts: Texts) -> PackageMeta {
    if !meta.summary.is_empty() || !meta.licenses.is_empty() {
        return meta;
    }
    let Texts { summary, description, homepage, licenses } = texts;
    PackageMeta { summary, description, homepage, licenses, ..meta }
}

fn reason(origin: &Origin) -> String {
    match origin {
        Origin::Asked => "asked for".to_owned(),
        Origin::Installed => "installed before".to_owned(),
        Origin::NeededBy { name, dependency } => format!("{name} needs {}", dependency.short()),
    }
}

/// The repositories and explicit packages of a state, in the form that other tools for these systems read.
fn system_model(change: &Change) -> String {
    let mut repositories = KdlNode::new("repositories");
    let mut children = KdlDocument::new();
    children.nodes_mut().extend(change.repositories.iter().map(|config| repository_node(config, "enabled")));
    repositories.set_children(children);
    let mut packages = KdlNode::new("packages");
    let mut children = KdlDocument::new();
    let explicit = change.resolution.selection.iter().filter(|selected| selected.explicit);
    children.nodes_mut().extend(explicit.map(|selected| KdlNode::new(selected.package.name.as_str())));
    packages.set_children(children);
    let mut document = KdlDocument::new();
    document.nodes_mut().extend([repositories, packages]);
    document.autoformat();
    document.to_string()
}
