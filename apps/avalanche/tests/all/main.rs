//! The agent as a process, against a Summit and a Vessel that speak the real protocol over loopback and do what a
//! test tells them. Boulder is a script that runs what the recipe's repository holds.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what the agent said"
)]

mod agent;
mod keepers;
mod scenarios;
mod several;
mod summit;
mod vessel;

use std::time::Duration;

/// How long anything may take before a test gives it up; generous, since the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done`.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(tokio::time::Instant::now() < deadline, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
