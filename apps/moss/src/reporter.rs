//! How the library tells what it is doing, without printing anything itself.

/// Something that takes long enough to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Repository indexes are refreshed; counted in repositories.
    Refresh,
    /// Packages are downloaded; counted in bytes.
    Download,
    /// Packages are verified and their files put into the content store; counted in bytes of the package files.
    Unpack,
    /// The file tree is made; counted in entries.
    Blit,
}

impl Phase {
    /// What to call it before a bar.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Phase::Refresh => "Refreshing",
            Phase::Download => "Downloading",
            Phase::Unpack => "Unpacking",
            Phase::Blit => "Building /usr",
        }
    }

    /// Whether it is counted in bytes.
    #[must_use]
    pub fn counts_bytes(self) -> bool {
        matches!(self, Phase::Download | Phase::Unpack)
    }
}

/// Receives progress and messages, from several threads at once.
pub trait Reporter: Sync {
    /// A phase begins; `total` is the amount to be done, in the unit of the phase.
    fn begin(&self, phase: Phase, total: u64);

    /// So much more has been done.
    fn advance(&self, phase: Phase, amount: u64);

    /// The phase is over, whether all was done or not.
    fn end(&self, phase: Phase);

    /// Something a person should know although it goes on.
    fn warn(&self, message: &str);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn begin(&self, _phase: Phase, _total: u64) {}

    fn advance(&self, _phase: Phase, _amount: u64) {}

    fn end(&self, _phase: Phase) {}

    fn warn(&self, _message: &str) {}
}

/// A phase that ends when this is dropped, so that no early return leaves a bar behind.
pub(crate) struct Running<'r> {
    reporter: &'r dyn Reporter,
    phase: Phase,
}

impl<'r> Running<'r> {
    pub(crate) fn begin(reporter: &'r dyn Reporter, phase: Phase, total: u64) -> Self {
        reporter.begin(phase, total);
        Self { reporter, phase }
    }

    pub(crate) fn advance(&self, amount: u64) {
        self.reporter.advance(self.phase, amount);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.reporter.end(self.phase);
    }
}
