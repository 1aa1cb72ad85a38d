//! Package manager: installs atomically, with rollback.

mod acquire;
mod blit;
mod database;
mod installation;
mod reporter;
mod store;
mod swap;

pub use acquire::AcquireError;
pub use blit::BlitError;
pub use database::{Database, DatabaseError, State, StateMember, StoredPackage};
pub use installation::{Access, Installation, InstallationError};
pub use reporter::{Phase, Reporter, Silent};
pub use store::{Store, StoreSink};
pub use swap::{StopAfter, SwapError, recover_installation};
