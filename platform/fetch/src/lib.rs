//! Getting things from elsewhere: HTTP and `file:` addresses, git, and Debian's source archive.
//!
//! * [`Client`] reads one address, bounded in size and time, resuming where it stopped.
//! * [`SourceCache`] gets a source by its SHA-256 from the first of several places that has it, and keeps it.
//! * [`Client::download_from`] gets a file by its digest from a repository or one of its mirrors.
//! * [`GitMirrors`] keeps a bare mirror per git address and exports commits from it.
//!
//! Invariants: nothing is trusted but by its digest or commit id; every transfer has a size limit that the caller
//! gives and a time limit; what is printed of an address never holds credentials; a transfer that was interrupted
//! leaves a part file that the next one goes on from.
//!
//! The interface is synchronous: who calls it from an asynchronous program does so on a thread of its own. What is
//! fetched is never unpacked or decompressed here.

mod address;
pub mod bare;
mod cache;
mod client;
mod command;
mod debian;
mod digest;
mod git;
mod mirrors;
mod offer;
mod part;

pub use address::{AddressError, redacted};
pub use cache::{FailedAttempt, FetchError, Mirror, Order, PrefixLayout, Source, SourceCache};
pub use client::{Answer, Body, Client, ClientSettings, HttpError, Progress, Validators};
pub use command::CommandError;
pub use debian::{DebianError, DebianSources, DebianTarball};
pub use digest::{Digest, DigestError};
pub use git::{CommitId, GitError, GitMirror, GitMirrors, check_git_address};
pub use mirrors::{Location, MirrorError, Standing, WantedFile};
pub use offer::{Found, INDEX_BYTES_MAX, Offer, OfferError};
pub use part::{FinishedPart, PartError, PartFile};
