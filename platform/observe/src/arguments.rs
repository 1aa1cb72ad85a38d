//! The end of a program whose command line cannot be read, or only asks for help.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Exit status of a usage error, that of every [`fault::Kind::Input`].
const USAGE: u8 = 2;

/// Reads the command line, the first word of which is the program's own name.
///
/// # Errors
/// The exit status with which to end, after the usage error, the help or the version was printed.
pub fn parse<P: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<P, ExitCode> {
    P::try_parse_from(arguments).map_err(|error| {
        // Nobody is left to tell when the stream is closed; the exit status still says it.
        drop(error.print());
        if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
    })
}
