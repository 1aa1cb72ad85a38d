//! Linux isolation: runs one command in a file tree of its own, out of which it can neither see nor reach.
//!
//! Boulder runs every build in such a sandbox, and programs of a freshly installed root are tried in one.
//!
//! # How it works
//! A program of many threads must not fork and then do real work, so the caller starts *itself* again
//! (`/proc/self/exe`) with a hidden first argument. Every program's `main` begins with [`enter_if_asked`], which turns
//! that second start into the **supervisor**: one thread, an empty environment, the description of the sandbox read
//! from the socket that is its standard input. The supervisor stays outside and clones **process 1** of a fresh pid
//! namespace, which performs the [`plan::steps`] one by one, starts the command, and reaps.
//!
//! ```text
//! caller ──socket──▶ supervisor ──socket──▶ process 1 ──▶ command and its children
//!                    (outside: ids, groups,  (new pid, mount, net, ipc, uts, cgroup
//!                     time limit, clean-up)   and user namespaces)
//! ```
//!
//! # Invariants
//! * The command never runs as the machine's root: started by root, it is moved into a user namespace last, after all
//!   mounts, onto a high range of ids that belongs to nobody else; started by a user, it is that user.
//! * Nothing survives. Process 1 dies with the supervisor (parent death signal), the supervisor ends everything when
//!   the caller's end of the socket closes (which a SIGKILL of the caller does as well), on [`Child::kill`], when the
//!   [`Child`] is dropped, and at the time limit; the kernel ends a pid namespace with its process 1.
//! * No path given in a description is followed out of the new root: each is resolved in it, symbolic links included.
//! * A failure of the set-up names the step, the object and the cause; it is never mistaken for the command's own.
//! * The supervisor outlives all that runs inside, so the kernel refuses to write to the program's own file
//!   (`ETXTBSY`) even where a hostile root finds a handle on it through `/proc`.
//!
//! # What it does not do
//! No system call filter is installed: with no capability outside the user namespace, no further user namespaces, no new
//! privileges, no host file and no device but the harmless ones, a filter would guard against flaws of the kernel
//! itself only, and would break test suites of what is built. It does not limit disk space or processor time, and where no control group may be
//! written it says so in [`Child::notices`] and does not limit memory or processes either.

mod cgroup;
mod channel;
mod child;
pub mod doctor;
mod error;
mod ids;
mod inside;
mod kernel;
mod lifetime;
mod measure;
mod mounting;
pub mod plan;
mod removal;
mod spec;
mod supervisor;
mod tree;

pub use cgroup::limits_available;
pub use child::{Child, Killer, Outcome, Sandbox};
pub use doctor::{Check, State, probe, probe_through};
pub use error::{SandboxError, SetupFailure};
pub use ids::{IdMap, IdRange};
pub use lifetime::{DIE_WITH_PARENT, die_with_parent_if_asked};
pub use removal::{remove_tree, remove_tree_through};
pub use spec::{Limits, Mount, Network, Output, Root, Spec, Upper};
pub use supervisor::enter_if_asked;
