//! Package manager: installs atomically, with rollback.
//!
//! A system is a root directory in which `/usr` is made of packages and nothing else. Every change makes a whole new `/usr`
//! beside the old one and exchanges the two in one step of the kernel; the old one is kept, so going back is the same step.
//!
//! - [`System`] is such a root: it plans changes, carries them out, and goes back to earlier states.
//! - [`materialise`] fills a directory with packages without any of that, for builds.
//! - [`cli`] is the `moss` program over both.
//!
//! What to install is decided by the crate `system`; here it is fetched, verified, stored and put in place. Triggers that
//! packages carry are not run, and the boot loader is not touched. What is trusted is the index, and through its SHA-256 the
//! packages; where keys are pinned for a repository, they must vouch for its index.

mod acquire;
mod blit;
mod catalog;
mod change;
pub mod cli;
mod database;
pub mod inspect;
mod installation;
mod materialise;
mod refresh;
mod reporter;
mod repositories;
mod run;
mod self_upgrade;
mod store;
mod swap;

pub use acquire::AcquireError;
pub use blit::BlitError;
pub use change::{Change, ChangeError, InstalledPackage, System};
pub use database::{Database, DatabaseError, State, StateMember, StoredPackage};
pub use inspect::InspectError;
pub use installation::{Access, Installation, InstallationError};
pub use materialise::{Materialise, MaterialiseError, Materialised, MissingPolicy, materialise};
pub use refresh::signed::TrustError;
pub use refresh::{FileLists, Freshness, Offer, RefreshError, Refreshed, Transition};
pub use reporter::{Phase, Reporter, Silent};
pub use repositories::{
    Migration, RepositoriesError, add_repository, load_repositories, plan_migration, remove_repository,
};
pub use run::{RunError, run_in_root};
pub use self_upgrade::{Outdated, SelfUpgrade, SelfUpgradeError};
pub use store::{Store, StoreSink};
pub use swap::{StopAfter, SwapError};
