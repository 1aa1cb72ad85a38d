//! The dashboard in a real browser: a Summit with all recipes queued and four agents at work, looked at with Chromium.
//!
//! Pictures of the pages are kept below `target/screenshots`.

#![expect(unreachable_pub, reason = "the parts of a test program are private to it")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "farm/agent.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod agent;
#[path = "browser/busy.rs"]
mod busy;
#[path = "browser/channels.rs"]
mod channels;
#[path = "farm/fixture.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod fixture;
#[path = "browser/hard.rs"]
mod hard;
#[path = "browser/live.rs"]
mod live;
#[path = "browser/looks.rs"]
mod looks;
#[path = "browser/pictures.rs"]
mod pictures;
#[path = "farm/real_vessel.rs"]
mod real_vessel;
#[path = "farm/vessel.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod vessel;

/// A short way to a recipe.
pub fn recipe(name: &str, release: u64, needs: &[&str]) -> String {
    let needs: String = needs.iter().map(|need| format!("    - {need}\n")).collect();
    let needs = if needs.is_empty() { String::new() } else { format!("builddeps:\n{needs}") };
    format!(
        "name: {name}\nversion: \"1.0\"\nrelease: {release}\nhomepage: https://example.org\nlicense: MIT\nsummary: s\n\
         description: d\n{needs}"
    )
}
