//! How much a reader may be made to do.

/// What to do with a payload whose kind or compression this version of the format does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// Refuse the file.
    #[default]
    Refuse,
    /// Pass over its bytes unseen, as the AerynOS tools do. What was passed over is not in the result.
    Skip,
}

/// What a reader may spend on one file. The file's own claims never allow more than this.
///
/// The records of a file take at most about eight times `records_bytes_max` in memory (an attribute record with empty
/// key and value, 16 bytes, is the worst case short of a folder's layout record), and at once with them the buffer of
/// one decompressor, at most `window_bytes_max`. Such a buffer is touched only as far as bytes really come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most plain bytes of all payloads but the content, together.
    pub records_bytes_max: u64,
    /// Most plain bytes of the content.
    pub content_bytes_max: u64,
    /// Largest zstd window, as a power of two. Frames with a larger one are refused.
    pub window_log_max: u32,
    /// Largest buffer for a decompressor whose frame says how long its content is, in bytes. zstd allocates the
    /// smaller of the window and that length.
    pub window_bytes_max: u64,
    /// Largest window of a frame that does not say how long its content is, in bytes. There zstd allocates the whole
    /// window, so that a few bytes could otherwise ask for two gibibytes.
    pub unsized_window_bytes_max: u64,
    /// What to do with payloads of unknown kind or compression.
    pub unknown_payloads: Unknown,
}

impl Default for Limits {
    /// Limits that let through every package, index and manifest that AerynOS tools can write and that a machine with
    /// four gibibytes of memory can install.
    fn default() -> Self {
        Self {
            // 65,535 packages, the most that fit, at the 500 to 1,500 bytes a package takes in AerynOS indexes, is
            // some 100 MB; twice that and a little more.
            records_bytes_max: 256 << 20,
            // The largest packages known (compilers, firmware, game data) are below 4 GiB.
            content_bytes_max: 16 << 30,
            // The AerynOS writer sets this window; a pledged size bounds what it really takes.
            window_log_max: 31,
            window_bytes_max: 2 << 30,
            // The limit that zstd's own decoder has unless told otherwise, so no tool relied on more.
            unsized_window_bytes_max: 128 << 20,
            unknown_payloads: Unknown::Refuse,
        }
    }
}

impl Limits {
    /// Limits for bytes that a stranger hands in and that are only looked at, as in a fuzzer or a public service:
    /// 16 MiB of records, 256 MiB of content, decompressors of at most 8 MiB.
    #[must_use]
    pub fn small() -> Self {
        Self {
            records_bytes_max: 16 << 20,
            content_bytes_max: 256 << 20,
            window_log_max: 31,
            window_bytes_max: 8 << 20,
            unsized_window_bytes_max: 8 << 20,
            unknown_payloads: Unknown::Refuse,
        }
    }
}
