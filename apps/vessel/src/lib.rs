//! Repository manager: admits, stores, indexes and serves packages.
