//! The `.stone` v1 container: reader and writer.
//!
//! One container carries packages, repository indexes and build manifests. It is a header of 32 bytes and up to
//! 65,535 payloads, each with a header of 32 bytes of its own, all integers big-endian:
//!
//! | payload | what it holds | here |
//! |---|---|---|
//! | meta | tagged records that describe one package | [`Record`] |
//! | layout | the files, links and folders that the package puts below `/usr` | [`Entry`] |
//! | index | which bytes of the content are which file | [`Slice`] |
//! | content | the files themselves, one after the other | [`ContentSink`] |
//! | attributes | pairs of bytes; nothing writes them today | [`Attribute`] |
//!
//! # What holds
//!
//! - [`read`] accepts a file only when all of it is accounted for: every payload checksum, stored size, plain size and
//!   record count, every file digest, no byte before, between or after the payloads that nothing explains.
//! - What [`read`] returns, [`Writer`] can write, and reading that returns the same thing.
//! - Memory is bounded by [`Limits`], never by what a header claims: buffers grow as bytes really arrive.
//! - No target of an [`Entry`] leaves `/usr`, none occurs twice, and none lies below something that is no folder.
//! - A writer given the same values writes the same bytes.
//!
//! # What it does not do
//!
//! It knows no package names, no dependencies and no file system; those are in `package` and in the programs. The
//! format has no signature: whether a file is the right one is decided by the SHA-256 in a signed index. The fields of
//! the headers are covered by no checksum, which leaves a flipped file type as the only damage that can go unnoticed.

mod container;
mod digest;
mod entry;
mod frame;
mod limits;
mod place;
mod read;
mod record;
mod slice;
mod write;

pub use container::{Compression, FORMAT_VERSION, FileType, PAYLOADS_MAX, PayloadKind};
pub use digest::{Digest, DigestError, Hasher};
pub use entry::{Entry, EntryFile, TargetFault, check_target};
pub use limits::{Limits, Unknown};
pub use place::{PayloadPlace, RecordPlace};
pub use read::{ContentSink, Discard, ReadError, Stone, read, read_records};
pub use record::{Record, Value, tag};
pub use slice::{Attribute, Slice, SliceFault, TilingFault};
pub use write::{PackedMeta, Packing, WriteError, Writer};
