//! Services between the programs: messages, identities, TLS with pinned keys.
