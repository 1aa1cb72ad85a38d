//! The clients against real servers, processes and repositories on this machine. No network is used, but by the test
//! of Debian's archive, which asks for `MORAINE_NETWORK`.

#![expect(clippy::unwrap_used, reason = "servers and repositories of a test fail the test")]

mod cache;
mod client;
mod debian;
mod git;
mod mirrors;
mod server;
