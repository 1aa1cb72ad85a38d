//! How services speak: gRPC over TLS 1.3, each side known by its ed25519 key.
//!
//! * [`summit`] and [`vessel`]: messages, clients and servers, generated from `proto/` by `cargo run -p xtask -- gen`.
//! * [`Identity`], [`PublicKey`]: who we are, who they are.
//! * [`serve`] and [`connect`]: both ends of a connection; [`peer_key`] says in a handler who calls.
//! * [`status`]: errors on the wire and back.
//!
//! Servers set `max_decoding_message_size` to [`limits::MESSAGE_SIZE_BYTES_MAX`]. This crate decides nothing about
//! what a peer may do beyond calling at all; handlers do.

mod client;
pub mod convert;
mod error;
mod identity;
pub mod limits;
mod server;
mod spki;
pub mod status;
mod tls;

pub use client::{connect, connect_to_any, connect_within};
pub use error::WireError;
pub use identity::{Identity, IdentityError};
pub use key::{PublicKey, PublicKeyError};
pub use server::{PeerKey, peer_key, serve, serve_open};
pub use status::{RemoteError, from_status, to_status};
pub use tonic;

/// The protocol between Summit and the build agents.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated; proto/summit.proto documents it")]
pub mod summit {
    include!("generated/moraine.summit.v1.rs");
}

/// The protocol of Vessel.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated; proto/vessel.proto documents it")]
pub mod vessel {
    include!("generated/moraine.vessel.v1.rs");
}
