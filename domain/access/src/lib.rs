//! Who may do what.
//!
//! Everything that Summit is asked for is an [`Action`], and whoever asks is an [`Actor`]. [`decide`] is the one place
//! that says whether they may; no handler judges by itself. What an actor is is found out elsewhere: by a token
//! ([`token`]), a session, the key of a connection, or because somebody sits at the machine.

mod action;
mod actor;
mod decision;
pub mod token;

pub use action::{Action, Need};
pub use actor::{Actor, Scope, UnknownScope};
pub use decision::{Decision, decide};
