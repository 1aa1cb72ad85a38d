//! Writing results to standard output.
//!
//! `println!` panics when the reader has gone away; this reports it as an error that [`crate::run`] knows to be quiet
//! about.

use std::io::{self, Write};

use fault::{Fault, Kind};

/// Why a result did not reach standard output.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct OutputError {
    #[source]
    source: io::Error,
}

impl OutputError {
    /// Wraps what writing to standard output said.
    #[must_use]
    pub fn new(source: io::Error) -> Self {
        OutputError { source }
    }

    /// Whether the reader closed its end, which is its good right.
    #[must_use]
    pub fn reader_is_gone(&self) -> bool {
        self.source.kind() == io::ErrorKind::BrokenPipe
    }
}

impl Fault for OutputError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }
}

/// Writes `text` to standard output and flushes it.
///
/// # Errors
/// When standard output does not take it, for example a full disk or a reader that has gone.
pub fn write_stdout(text: &str) -> Result<(), OutputError> {
    write_all(&mut io::stdout().lock(), text)
}

fn write_all(out: &mut dyn Write, text: &str) -> Result<(), OutputError> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(OutputError::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_told_from_a_full_disk() {
        assert!(write_all(&mut Closed, "x").unwrap_err().reader_is_gone());
        let full = OutputError::new(io::ErrorKind::StorageFull.into());
        assert!(!full.reader_is_gone());
    }
}
