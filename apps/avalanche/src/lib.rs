//! Build agent: takes orders from Summit, builds them with Boulder, streams the log, uploads to Vessel.
//!
//! The agent dials out, so it works behind any router. What it holds is on disk, and each build is run by a process of
//! its own, so both survive the agent's end; what it does goes on without Summit, so it survives Summit's.
//!
//! * [`ledger`](mod@ledger) decides: a pure machine from events to effects. Every rule about attempts is there.
//! * `agent` acts: one task that has a `desk` for each Summit, which owns that Summit's ledger, carries its effects out,
//!   and turns everything that happens into events; `share` says how many slots each may have.
//! * `connection` dials a Summit, again and again; `keeper` is the process that runs one build, `build` and `watch` what
//!   it does; `upload` brings what was built to Vessel; `store` is the folder on disk.
//!
//! Invariants: an attempt is reported under the lease it was ordered with and under no other; a log byte is sent from
//! the offset Summit names and never skipped; what was built stays until Summit releases it; a build ends with its
//! keeper, with everything it started, and never because of the agent's end.

use std::path::Path;

use fault::Fault;

mod agent;
mod boulder;
mod build;
pub mod cli;
mod connection;
mod desk;
mod drain;
mod enrol;
mod growth;
mod keeper;
mod ledger;
mod machine;
mod order;
mod outcome;
mod settings;
mod share;
mod store;
mod upload;
mod vessel_links;
mod watch;

/// Ends every build in the folder of an agent, whether that runs or not, and says how many there were. Summit gives them
/// to others.
///
/// # Errors
/// When the folder cannot be read, or a process cannot be ended.
pub fn end_builds(data: &Path) -> Result<usize, Box<dyn Fault>> {
    let data = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
    Ok(drain::end_builds(&data, true)?)
}
