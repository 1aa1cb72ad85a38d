//! Starting `tracing`.
//!
//! Events go to standard error. The level comes from the caller, and `MORAINE_LOG` (`debug`, or
//! `avalanche=trace,fetch=debug`) overrides it.

use std::io;

use fault::{Fault, Kind};
use tracing_subscriber::EnvFilter;

use crate::terminal::{Palette, Stream};

/// The variable that overrides the level, in the syntax of `tracing_subscriber::EnvFilter`.
const VARIABLE: &str = "MORAINE_LOG";

/// The least serious events that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Only what went wrong and was not handled.
    Error,
    /// And what went wrong and was handled.
    Warn,
    /// And what an operator would tell a colleague.
    #[default]
    Info,
    /// And what a developer of this program wants to know.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    fn directive(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One line for a person, with the time.
    #[default]
    Text,
    /// One line for a person, without the time (a journal adds its own).
    Journal,
    /// One JSON object a line.
    Json,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The variable holds no filter.
    #[error("cannot read {VARIABLE}={value:?} as a log filter")]
    Filter {
        /// What the variable holds.
        value: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something in this process started it before.
    #[error("cannot start logging: it was started before")]
    Started,
}

impl Fault for LogError {
    fn kind(&self) -> Kind {
        match self {
            LogError::Filter { .. } => Kind::Input,
            LogError::Started => Kind::Bug,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            LogError::Filter { .. } => vec![format!("try {VARIABLE}=debug, or unset {VARIABLE}")],
            LogError::Started => Vec::new(),
        }
    }
}

/// The running log of a process.
#[derive(Debug)]
pub struct Tracing;

impl Tracing {
    /// Sends events of at least `level` to standard error, unless `MORAINE_LOG` says otherwise.
    ///
    /// # Errors
    /// When `MORAINE_LOG` is no filter, or logging was started before.
    pub fn start(level: LogLevel, format: LogFormat) -> Result<Tracing, LogError> {
        let filter = filter(level, std::env::var(VARIABLE).ok().as_deref())?;
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            // What cannot be logged, as on a full disk, cannot be complained about there either: trying to panics.
            .log_internal_errors(false)
            .with_ansi(Palette::of(Stream::Stderr).has_colours());
        let started = match format {
            LogFormat::Text => tracing::subscriber::set_global_default(builder.compact().finish()),
            LogFormat::Journal => {
                tracing::subscriber::set_global_default(builder.compact().without_time().finish())
            }
            LogFormat::Json => tracing::subscriber::set_global_default(builder.json().finish()),
        };
        started.map_err(|_| LogError::Started)?;
        Ok(Tracing)
    }
}

fn filter(level: LogLevel, variable: Option<&str>) -> Result<EnvFilter, LogError> {
    match variable {
        None | Some("") => Ok(EnvFilter::new(level.directive())),
        Some(value) => {
            EnvFilter::try_new(value).map_err(|source| LogError::Filter { value: value.to_owned(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_overrides_the_level() {
        fn check(level: LogLevel, variable: Option<&str>, expect: &str) {
            assert_eq!(filter(level, variable).unwrap().to_string(), expect);
        }
        check(LogLevel::Info, None, "info");
        check(LogLevel::Warn, Some(""), "warn");
        check(LogLevel::Warn, Some("fetch=debug"), "fetch=debug");
    }

    #[test]
    fn a_broken_filter_is_named() {
        let error = filter(LogLevel::Info, Some("fetch=loud")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read MORAINE_LOG=\"fetch=loud\" as a log filter");
        assert_eq!(error.kind(), Kind::Input);
    }
}
