//! Indexes, histories, streams and the layout of a published tree.
//!
//! A published tree holds packages in a pool, immutable histories that each list some of them in a `stone.index`, and one
//! `moss-root-index.json` per channel, in which streams move from history to history and tags stay. The types here read and
//! write those files and say where everything is; who fetches, stores or serves them is elsewhere.
//!
//! Everything that becomes part of a path is an [`Identifier`] or was checked by `package`.

pub mod compact;
mod config;
mod identifier;
mod index;
pub mod layout;
pub mod retention;
mod root_index;
pub mod signed;
pub mod transition;
mod url;

pub use config::{ConfigError, RepositoryConfig, RepositoryFields, RepositorySource, sanitize_id};
pub use identifier::{IDENTIFIER_BYTES_MAX, Identifier, IdentifierError, Version, VersionError};
pub use index::{Index, IndexError, PackedEntry, newest, supersedes, write_packed};
pub use root_index::{
    Format, Formats, HistoryEntry, KnownFormats, Moved, ROOT_INDEX_BYTES_MAX, ResolveError, Resolved,
    RootIndex, RootIndexError, StreamEntry, TagEntry, V0,
};
pub use url::{UrlError, check_base as check_base_uri, package_base, package_url};
