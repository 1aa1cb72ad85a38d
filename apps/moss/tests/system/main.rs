//! Whole systems in temporary roots: packages from our own writer, an index, and the real program steps in between.

mod changes;
mod crashes;
mod faults;
mod packages;
mod program;
mod real_packages;
mod server;
