//! Bounds of every connection, shared by both sides.

use std::time::Duration;

/// Longest wait for a TCP connection together with its TLS handshake. Ten round trips of a bad satellite line, and
/// short enough that a person sees the error.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A ping goes out when a connection was quiet for this long. With [`KEEP_ALIVE_TIMEOUT`] a peer that vanished
/// without a word is noticed within 20 seconds, well inside a lease; common proxies give up after 60.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long the answer to a ping may take.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest message that is decoded. The largest one that is ever sent is an expectation with some thousand entries of
/// about 150 bytes, or a chunk.
pub const MESSAGE_SIZE_BYTES_MAX: usize = 2 << 20;

/// Largest message that Summit decodes: a Hello with a thousand attempts has some 40 kilobytes, the end of a build with two
/// thousand files some 300.
pub const AGENT_MESSAGE_SIZE_BYTES_MAX: usize = 1 << 20;

/// Bytes of payload in one chunk of a log or an artefact: large enough that framing costs nothing, small enough that
/// several builders share a line fairly.
pub const CHUNK_SIZE_BYTES: usize = 256 << 10;

/// Connections of known peers served at once: a thousand builders, each with a second connection while it
/// reconnects.
pub const CONNECTIONS_MAX: usize = 2048;

/// Connections of one known key served at once: an agent needs one for its orders and one for each upload, and those that
/// broke linger for a while.
pub const KEY_CONNECTIONS_MAX: usize = 8;

/// Connections of unknown peers served at once. Each is told in words that it is not known, and nothing else.
pub const UNKNOWN_CONNECTIONS_MAX: usize = 64;

/// How long an unknown peer keeps its place at least, when others want it: some round trips of a bad line.
pub const UNKNOWN_CONNECTION_TIME_MIN: Duration = Duration::from_secs(1);

/// How long an unknown peer may stay: time for one question and its answer.
pub const UNKNOWN_CONNECTION_TIME_MAX: Duration = Duration::from_secs(5);

/// TLS handshakes in progress at once; each is worth one signature and some tens of kilobytes.
pub const HANDSHAKES_MAX: usize = 512;

/// How long a handshake may take at least, when others wait for its place. It is two round trips.
pub const HANDSHAKE_TIME_MIN: Duration = Duration::from_millis(500);

/// Streams open at once on one connection: an agent needs one for its orders, and one for each file of an upload that it
/// sends at the same time. With the largest message and [`KEY_CONNECTIONS_MAX`] this bounds the memory that one key can take.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 8;

/// Open files that a server asks for: every connection, and what the service itself opens.
pub const OPEN_FILES_WANTED: u64 = 8192;

/// Shortest time between two lines of the log about peers that are turned away.
pub const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// How long running calls may go on after a server was asked to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Bytes of a message in a gRPC status. HTTP/2 peers accept 16 KiB of header in all, and every byte may become three.
pub const STATUS_TEXT_SIZE_BYTES_MAX: usize = 2048;
