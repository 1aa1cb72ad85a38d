//! The repository manager: takes what Summit ordered from the builder that Summit named, verifies it, and publishes it.
//!
//! From outside in:
//!
//! * [`cli`]: the program. [`serve`]: the running service. [`settings`]: what it is told.
//! * `service` answers gRPC calls, `http` serves the published tree.
//! * [`Publisher`] is the engine. It asks [`admission`] what a landing does, and lets `tree` and `ledger` do it.
//!
//! What holds, whatever happens: published bytes never change; a reader sees the version before or the one after, each
//! complete; a builder publishes what was ordered from it and nothing else.

pub mod admission;
mod builds;
pub mod cli;
pub mod closure;
mod collisions;
pub mod delivery;
mod described;
pub mod expectation;
mod folder;
mod format;
mod gathering;
mod http;
mod ledger;
pub mod operation;
mod operator;
mod output;
pub mod place;
mod provenance;
mod publisher;
pub mod purge;
pub mod serve;
mod service;
pub mod settings;
pub mod signing;
mod staging;
mod stored;
mod tree;
mod verify;

pub use folder::{DataFolder, FolderError};
pub use format::FormatError;
pub use gathering::{Closure, ClosurePolicy};
pub use provenance::RecordError;
pub use publisher::{Imported, PublishError, Publisher};
pub use staging::StagingError;
pub use store::{Sha256, Sha256Error, StoreError};
pub use tree::{StoneIndex, TreeError};
pub use verify::{VerifyError, read_package};
