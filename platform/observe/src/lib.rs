//! What every program does the same way: end with an error, log, and look at its terminal.
//!
//! A `main` is `fn main() -> ExitCode { observe::run(|| …) }`. Whatever [`fault::Fault`] comes out of it is reported
//! once on standard error, as `error:`, `caused by:` and `hint:` lines, and gives the exit status that
//! [`fault::Kind::meaning`] names. A usage error that clap finds ends with status 2, the same as
//! [`fault::Kind::Input`]. A reader that closed our standard output (`moraine … | head`) is not an error.
//!
//! Nothing here decides what is worth saying: libraries return errors and emit `tracing` events, programs choose.

mod arguments;
mod logging;
mod memory;
mod output;
mod report;
mod terminal;

pub use arguments::parse;
pub use logging::{LogError, LogFormat, LogLevel, Tracing};
pub use memory::{give_memory_back, give_memory_back_early};
pub use output::{OutputError, write_stdout};
pub use report::{render, report, run};
pub use terminal::{Palette, Stream, Style, is_terminal, printable, width_columns};
