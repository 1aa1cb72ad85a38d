//! What holds for a store, whatever keeps it: the same tests over a folder and over a bucket of SeaweedFS.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod conformance;
mod crash;
mod faults;
mod stores;
