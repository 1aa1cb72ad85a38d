//! `moraine fire`: publishes under fire. A real Vessel, hundreds of readers behind real caches with unfriendly times, and nobody
//! ever meets anything but a complete version.
//!
//! Builders land orders, an operator promotes, rolls back, tags, takes packages out and prunes with the shortest grace that the
//! caches allow, and Vessel is killed and started again, sometimes with an import in between ([`publishers`], [`stage`]).
//! Meanwhile readers walk from a pointer to an index to packages and compare every byte ([`readers`]), over nginx and Varnish
//! that keep pointers and 404s as long as they please ([`caches`]), and real Moss installations follow.
//!
//! Somebody on the way of one of these hands out older pointers again, with signatures that are good ([`replayer`]). The tree may lie in
//! a folder or in a bucket.
//!
//! What must not happen, not once: a 404 of what a pointer names that is no older than the caches may hand out, bytes with
//! another digest, an index that is not that of its history or holds half of a landing, an older pointer accepted.

mod caches;
mod error;
mod publishers;
mod readers;
mod replayer;
mod report;
mod stage;
mod stones;
mod systems;
mod watcher;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use observe::write_stdout;

use self::caches::Caches;
use self::error::FireError;
use self::publishers::Publishers;
use self::report::{Outcome, Record};
use self::stage::Stage;
use self::watcher::Watcher;
use crate::signals::Stop;

/// How often the driver looks around.
const TICK: Duration = Duration::from_millis(20);

/// Seconds that a cache may take beyond its time, because Vessel was away or the machine is busy.
const LATE_SECONDS: u32 = 2;

/// Lets readers meet a repository while it changes.
#[derive(Debug, Args)]
pub(crate) struct FireArguments {
    /// How long it goes on.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Readers at the same time.
    #[arg(long, default_value_t = 100)]
    clients: u32,
    /// Moss installations that follow.
    #[arg(long, default_value_t = 2)]
    systems: u32,
    /// Seconds for which each cache keeps everything, also pointers and 404s; and for as long again it hands out what is old.
    #[arg(long, default_value_t = 2)]
    cache_seconds: u32,
    /// Seconds in which a reader gets the last package after its pointer.
    #[arg(long, default_value_t = 4)]
    download_seconds: u32,
    /// Only these ways to Vessel: direct, nginx, varnish, chain. By default all that this machine can do.
    #[arg(long = "way", value_name = "WAY")]
    ways: Vec<String>,
    /// File with the setting `store` of Vessel: a bucket that is there and empty, or another folder.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Let Vessel prune as if nobody kept anything, until a reader meets what must not be.
    #[arg(long)]
    careless: bool,
    /// What is drawn goes by this number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep everything in this folder; it must be empty or missing.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print one JSON object at the end.
    #[arg(long)]
    json: bool,
}

/// How long everything lasts.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// One cache.
    cache_seconds: u32,
    /// The oldest pointer that a reader gets: two caches behind each other, each with as much again of old answers.
    pointer_seconds: u32,
    download_seconds: u32,
    /// What Vessel is told of the last two.
    told_seconds: (u32, u32),
}

impl Times {
    fn of(arguments: &FireArguments) -> Self {
        let cache_seconds = arguments.cache_seconds.clamp(1, 600);
        let download_seconds = arguments.download_seconds.clamp(1, 600);
        let pointer_seconds = 4 * cache_seconds + LATE_SECONDS;
        let told_seconds = if arguments.careless { (0, 0) } else { (pointer_seconds, download_seconds) };
        Self { cache_seconds, pointer_seconds, download_seconds, told_seconds }
    }
}

/// Runs the whole thing and judges it.
///
/// # Errors
/// When it cannot be set up, and when a reader met anything but a complete version.
pub(crate) fn fire(arguments: &FireArguments) -> Result<(), FireError> {
    let stop = Stop::on_signals().map_err(FireError::Signals)?;
    let kept = tempfile::tempdir().map_err(FireError::folder(&std::env::temp_dir()))?;
    let data = arguments.data.clone().unwrap_or_else(|| kept.path().to_path_buf());
    let times = Times::of(arguments);
    let wanted: BTreeSet<&str> = arguments.ways.iter().map(String::as_str).collect();
    let record = Arc::new(Record::new());
    let store = arguments.store.as_deref().map(stage::read_store).transpose()?;
    let mut stage = Stage::set(&data, times, store)?;
    let caches = Caches::start(&data.join("caches"), &stage.url(), stage.caches, times, |way| {
        wanted.is_empty() || wanted.contains(way)
    })?;
    stage.purge_through(&caches)?;
    stage.start()?;
    tell(&format!("Vessel at {}, read by way of {}", stage.url(), caches.names().join(", ")));

    let over = Arc::new(AtomicBool::new(false));
    let publishers = Publishers::start(&stage, arguments.seed, &record, &over)?;
    publishers.wait_for_the_first(&mut stage)?;
    caches.wait_until_ready()?;
    let watcher = Watcher::start(&stage.url(), &over);
    let mut threads = systems::start(&data, &caches, &stage.key()?, arguments, &record, &over)?;
    threads.extend(readers::start(&caches, arguments, times, &watcher, &record, &over)?);

    let begin = Instant::now();
    let until = begin + Duration::from_secs(arguments.seconds.into());
    let mut mishaps = stage::Mishaps::new(arguments.seed);
    while Instant::now() < until && !stop.is_asked() {
        // Careless it is bad enough: the first who meets that ends it.
        if !arguments.careless {
            stage.trouble(&mut mishaps, begin.elapsed(), &record)?;
        } else if record.has_trouble() {
            break;
        }
        std::thread::sleep(TICK);
    }
    let time = begin.elapsed();
    over.store(true, Ordering::Relaxed);
    for thread in threads {
        // A reader that panicked is a fault of this program.
        thread.join().map_err(|_| FireError::Reader)?;
    }
    publishers.finish();
    stage.start_if_down()?;
    readers::walk_everything(&stage.url(), times, &record)?;
    let outcome = record.outcome(arguments, &caches, time, publishers::histories(&stage)?);
    drop(caches);
    drop(stage);
    write_stdout(&if arguments.json { outcome.json() } else { outcome.text() })?;
    judge(&outcome, &data)
}

fn judge(outcome: &Outcome, data: &std::path::Path) -> Result<(), FireError> {
    if outcome.is_clean() {
        return Ok(());
    }
    Err(FireError::Wrong { wrong: outcome.troubles.clone(), data: data.to_path_buf() })
}

/// Tells a person how far it is. Nobody has to read it.
fn tell(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
