//! Vessel from outside: the real protocol over loopback, HTTP as a client speaks it, and the program.

// Marked as what they are, so that lints for tests hold in helpers as well.
#[cfg(test)]
mod channel;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod http;
#[cfg(test)]
mod import;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod reader;
