//! Whole systems in temporary roots: packages from our own writer, an index, and the real program steps in between.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod changes;
mod crashes;
mod faults;
mod mirrors;
mod moved;
mod packages;
mod program;
mod real_packages;
mod server;
