//! Vessel from outside: the real protocol over loopback, HTTP as a client speaks it, and the program.

mod fixture;
mod http;
mod import;
mod protocol;
#[path = "../../src/test_packages.rs"]
mod test_packages;
