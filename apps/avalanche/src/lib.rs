//! Build agent: takes orders from Summit, builds them with Boulder, streams the log, uploads to Vessel.
//!
//! The agent dials out, so it works behind any router. What it holds is on disk, so it survives its own end; what it
//! does goes on without Summit, so it survives Summit's.
//!
//! * [`ledger`](mod@ledger) decides: a pure machine from events to effects. Every rule about attempts is there.
//! * `agent` acts: one task that owns the ledger, carries its effects out, and turns everything that happens into
//!   events.
//! * `connection` dials Summit, again and again; `build` runs one Boulder on a thread of its own; `upload` brings what
//!   was built to Vessel; `store` is the folder on disk.
//!
//! Invariants: an attempt is reported under the lease it was ordered with and under no other; a log byte is sent from
//! the offset Summit names and never skipped; what was built stays until Summit releases it; a build ends with the
//! agent, with everything it started.

mod agent;
mod boulder;
mod build;
pub mod cli;
mod connection;
mod ledger;
mod machine;
mod order;
mod outcome;
mod settings;
mod store;
mod upload;
mod watch;
