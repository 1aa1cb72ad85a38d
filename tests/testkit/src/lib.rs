//! What tests share: the folder of real data, packages, servers and browsers of their own, and skips that say why.
//!
//! A test that wants something the machine may lack asks for it here. Where it is missing the test prints
//! `skipped: no …` and passes; with `MORAINE_REQUIRE_ALL` set, as the continuous integration does, the same skip fails.

mod browser;
pub mod packages;
mod postgres;
mod seaweed;
mod sources;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub use browser::{Browser, Scheme, keys};
pub use postgres::{Postgres, Tls};
pub use seaweed::Seaweed;
pub use sources::Tarball;

/// The root of the workspace.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Says that a test is skipped because `what` is missing.
///
/// # Panics
/// With `MORAINE_REQUIRE_ALL` set: there nothing may be missing.
#[expect(clippy::panic, clippy::print_stderr, reason = "a test's own way to fail and to speak")]
pub fn skip(what: &str) {
    if std::env::var_os("MORAINE_REQUIRE_ALL").is_some() {
        panic!("no {what}, and MORAINE_REQUIRE_ALL forbids to skip");
    }
    eprintln!("skipped: no {what}");
}

/// Whether tests that take long do all they can: with `MORAINE_LONG` set, as the continuous integration does. Without it
/// they do a part that is worth having.
#[must_use]
pub fn long() -> bool {
    std::env::var_os("MORAINE_LONG").is_some()
}

/// The folder of real recipes, manifests and packages: `MORAINE_DATA`, or `../shared/data` beside the workspace.
/// `None`, after saying so, where there is none.
#[must_use]
pub fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("MORAINE_DATA")
        .map_or_else(|| workspace_root().join("../shared/data"), PathBuf::from);
    if folder.is_dir() {
        Some(folder)
    } else {
        skip("data");
        None
    }
}

/// Waits until `done` says so, looking often.
///
/// # Panics
/// When it does not within `limit`: then `what` did not happen.
#[expect(clippy::panic, reason = "a test's own way to fail")]
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        if Instant::now() >= deadline {
            panic!("{what}: not within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A place on the loopback network to listen at, with any port, that no other test has and no connection goes out from.
/// A server that is stopped and started again at the port it had finds it free there, whatever runs beside it.
#[must_use]
pub fn steady_address() -> SocketAddr {
    static GIVEN: AtomicU16 = AtomicU16::new(1);
    let [high, low] = GIVEN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    // 127.0 is where the ends of other connections are. Test programs that run side by side differ in their number.
    let program = u8::try_from(std::process::id() % 251).unwrap_or_default();
    SocketAddr::new(Ipv4Addr::new(127, 2 + program, high, low).into(), 0)
}

/// Whether programs of these names are on the path; says which is missing where one is.
#[must_use]
pub fn has_programs(names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing =
        names.iter().find(|name| !std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
    if let Some(name) = missing {
        skip(name);
    }
    missing.is_none()
}
