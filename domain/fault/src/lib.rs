//! What kinds of error there are, and what each kind means to a program.
//!
//! Every library has its own error enums, beside the operations that fail. They implement [`Fault`], which adds two
//! things to [`std::error::Error`]: a [`Kind`], from which exit codes, HTTP statuses and retry decisions are read in
//! one table, and hints, which tell a person what to do next. Programs end with `Result<(), Box<dyn Fault>>` and hand
//! what is left to `observe::report`.

use std::error::Error;

/// What an error means to whoever has to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What a person or a file said is wrong; saying it again changes nothing.
    Input,
    /// The thing asked for does not exist.
    NotFound,
    /// The thing is not in a state in which this can be done.
    Conflict,
    /// Not allowed to whoever asked.
    Denied,
    /// A disk, network or peer did not do its part; trying again later may help.
    Unavailable,
    /// Stored or received bytes are not what they must be.
    Damaged,
    /// A program contradicts itself.
    Bug,
}

impl Kind {
    /// Every kind, in the order of the table.
    pub const ALL: [Kind; 7] = [
        Kind::Input,
        Kind::NotFound,
        Kind::Conflict,
        Kind::Denied,
        Kind::Unavailable,
        Kind::Damaged,
        Kind::Bug,
    ];

    /// What this kind means at each edge of the programs.
    #[must_use]
    pub fn meaning(self) -> Meaning {
        let (exit_code, http_status, retry) = match self {
            Kind::Input => (2, 400, false),
            Kind::NotFound => (3, 404, false),
            Kind::Conflict => (4, 409, false),
            Kind::Denied => (5, 403, false),
            Kind::Unavailable => (6, 503, true),
            Kind::Damaged => (7, 502, false),
            Kind::Bug => (70, 500, false),
        };
        Meaning { exit_code, http_status, retry }
    }
}

/// One row of the table that [`Kind::meaning`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// Exit status of a program that ends with such an error.
    pub exit_code: u8,
    /// Status of an HTTP answer.
    pub http_status: u16,
    /// Whether doing the same again later can help.
    pub retry: bool,
}

/// An error that says what it means and what to do about it.
pub trait Fault: Error + Send + Sync + 'static {
    /// What the error means to whoever has to act on it.
    fn kind(&self) -> Kind;

    /// What to do next, a sentence each, with the command to run where there is one.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<F: Fault> From<F> for Box<dyn Fault> {
    fn from(fault: F) -> Self {
        Box::new(fault)
    }
}

/// The error and its sources, outermost first, one message each.
#[must_use]
pub fn chain(error: &dyn Error) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut current = error;
    while let Some(source) = current.source() {
        messages.push(source.to_string());
        current = source;
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_an_exit_code_of_its_own() {
        let mut codes: Vec<u8> = Kind::ALL.iter().map(|kind| kind.meaning().exit_code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Kind::ALL.len());
        assert!(!codes.contains(&0), "an error never ends with success");
    }

    #[test]
    fn only_outages_are_worth_a_retry() {
        let retried: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.meaning().retry).collect();
        assert_eq!(retried, [Kind::Unavailable]);
    }
}
