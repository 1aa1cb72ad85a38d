//! What goes wrong between services.

use std::io;
use std::time::Duration;

use fault::{Fault, Kind};
use key::PublicKey;

/// Why there is no connection, or no server.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The address is no `host:port`.
    #[error("cannot connect to {address:?}: it is not of the form host:port")]
    BadAddress {
        /// What was given.
        address: String,
    },
    /// No TCP connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// host:port
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Nothing answered in time.
    #[error("cannot connect to {address}: no answer within {} seconds", limit.as_secs())]
    Timeout {
        /// host:port
        address: String,
        /// How long it was waited.
        limit: Duration,
    },
    /// Somebody else answers there.
    #[error("cannot trust the server at {address}: its key is {found}, pinned is {}", keys(pinned))]
    OtherKey {
        /// host:port
        address: String,
        /// The key that the server has.
        found: PublicKey,
        /// The keys of which it must have one.
        pinned: Vec<PublicKey>,
    },
    /// TLS or HTTP/2 came to nothing.
    #[error("cannot speak with the server at {address}")]
    Handshake {
        /// host:port
        address: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS cannot be set up with this identity.
    #[error("cannot set up TLS")]
    Tls {
        /// Why.
        source: tokio_rustls::rustls::Error,
    },
    /// The server ended.
    #[error("cannot serve on {address}")]
    Serve {
        /// host:port
        address: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn keys(keys: &[PublicKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

impl Fault for WireError {
    fn kind(&self) -> Kind {
        match self {
            WireError::BadAddress { .. } => Kind::Input,
            WireError::Connect { .. } | WireError::Timeout { .. } | WireError::Handshake { .. } => {
                Kind::Unavailable
            }
            WireError::Serve { .. } => Kind::Unavailable,
            WireError::OtherKey { .. } => Kind::Denied,
            WireError::Tls { .. } => Kind::Bug,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            WireError::BadAddress { .. } => {
                vec!["for example 127.0.0.1:5001 or summit.example.org:5001".into()]
            }
            WireError::Connect { address, source, .. }
                if source.kind() == io::ErrorKind::ConnectionRefused =>
            {
                vec![format!("nothing listens on {address}: start the service there, or correct the address")]
            }
            WireError::Connect { .. } | WireError::Timeout { .. } => {
                vec!["check the address, and that no firewall stands between".into()]
            }
            WireError::OtherKey { found, .. } => vec![format!(
                "when the server was set up anew and you trust it, pin its new key: {found}; otherwise somebody else answers there"
            )],
            WireError::Handshake { .. } => {
                vec!["check that the address is a service of Moraine, and not its HTTP port".into()]
            }
            WireError::Tls { .. } | WireError::Serve { .. } => Vec::new(),
        }
    }
}
