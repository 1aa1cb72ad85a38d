//! The whole farm from outside, as whoever runs it sees it: the real program, real git, real builds, nothing of the
//! network. What is looked at is what comes out: the API, the published tree, a root that installs from it.

// Marked as what they are, so that lints for tests hold in helpers as well.
#[cfg(test)]
mod bench;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod http;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod roots;
#[cfg(test)]
mod second_day;
#[cfg(test)]
mod zoo;
