//! The client's decisions: which packages a system is made of, which files that gives, and how one state replaces another.
//!
//! Three modules, each a pure function from a snapshot to a plan that other code carries out:
//!
//! - [`resolve`](mod@resolve) turns a request and the packages that exist into the new set of packages, or says which chain cannot hold;
//! - [`tree`] merges what the packages contain into one file tree below `/usr`;
//! - [`transaction`] orders the steps from one state to the next, and decides what to do after a crash in between.
//!
//! Nothing here reads a disk, a clock or the network.

mod identity;
pub mod resolve;
pub mod transaction;
pub mod tree;

pub use identity::{PackageId, PackageIdError, PackageSummary, Release, StateId};
