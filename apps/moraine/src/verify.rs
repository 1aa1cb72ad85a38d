//! `moraine verify`: a whole published tree, from the keys to the last byte of the last package.
//!
//! It reads what a client reads, in the same order, and everything that a client would only read some day: all histories, all
//! deltas, every package, what belongs to their builds, and releases. It trusts nothing but the keys that it is given. The first thing that is wrong is named, and nothing is
//! repaired.

mod builds;
mod channel;
mod error;
mod packages;
mod releases;
mod tree;
mod trust;
mod versions;
mod work;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use fault::Fault;
use fetch::Client;
use fs_err as fs;
use observe::write_stdout;
use repository::signed::PublicKey;
use repository::{Identifier, layout};
use serde_json::json;

use channel::{Channel, Found};
use error::VerifyError;
use releases::Releases;
use tree::Tree;
use versions::Versions;

/// The channel where none is named and none can be seen.
const DEFAULT_CHANNEL: &str = "main";

/// How often progress is shown; more often nobody can read it.
const SHOW_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The published tree: a folder, or an address, above its channels.
    #[arg(value_name = "URL_OR_DIR")]
    place: String,
    /// Only this channel; of a folder all are verified when none is named, of an address the channel main.
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// File with the public keys that are trusted, one in a line, or a key itself. Can be given several times. Without one, only what
    /// the tree says of itself is compared.
    #[arg(long = "key", value_name = "FILE", allow_hyphen_values = true)]
    keys: Vec<String>,
    /// File in which the versions of pointers are kept from one run to the next: one that is older than before is refused.
    #[arg(long, value_name = "FILE")]
    remember: Option<PathBuf>,
    /// A release to verify as well; can be given several times. Of a folder all are verified, an address lists none.
    #[arg(long = "release", value_name = "NAME")]
    releases: Vec<String>,
    /// Packages that are verified at once.
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn verify(arguments: &VerifyArguments) -> Result<(), Box<dyn Fault>> {
    let begin = Instant::now();
    let pins = read_keys(&arguments.keys)?;
    let (tree, inside) = open(&arguments.place)?;
    let names = match (&arguments.channel, inside) {
        (Some(name), _) => vec![name.clone()],
        (None, Some(name)) => vec![name],
        (None, None) => channels(&tree)?,
    };
    let mut versions = match &arguments.remember {
        Some(file) => Versions::read(file)?,
        None => Versions::default(),
    };
    let progress = Progress::new(arguments.json);
    let mut reports = Vec::new();
    let mut text = String::new();
    for name in &names {
        let channel: Identifier = name.parse().map_err(|source| VerifyError::Channel { source })?;
        progress.say(&format!("channel {name}: reading what it says of itself"));
        let found = Channel::new(&tree, &channel, &pins, &versions).verify()?;
        let total_bytes: u64 =
            found.packages.values().filter_map(|listed| listed.meta.download_size_bytes).sum();
        progress.begin(name, found.packages.len(), total_bytes);
        packages::verify(&tree, &found.packages, arguments.jobs, &|bytes| progress.advance(bytes))?;
        progress.say(&format!("channel {name}: builds and releases"));
        let builds = builds::verify(&tree, &channel, &found.packages, &found.trust, arguments.jobs)?;
        let releases = releases::verify(&tree, &channel, &arguments.releases, &found.trust, arguments.jobs)?;
        progress.end();
        versions.note(&found.versions);
        let verified = Verified { found, total_bytes, builds, releases };
        text.push_str(&verified.line(name, !pins.is_empty()));
        reports.push(verified.report(name));
    }
    if let Some(file) = &arguments.remember {
        versions.write(file)?;
    }
    let seconds = (begin.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    if arguments.json {
        let object = json!({ "verified": tree.place(), "keys_given": pins.len(), "channels": reports, "seconds": seconds });
        return Ok(write_stdout(&format!("{object}\n"))?);
    }
    Ok(write_stdout(&format!("{text}everything holds, in {seconds:.1} s\n"))?)
}

/// What was verified of a channel.
struct Verified {
    found: Found,
    total_bytes: u64,
    /// Builds of which there is more than packages.
    builds: usize,
    releases: Releases,
}

impl Verified {
    fn line(&self, name: &str, is_pinned: bool) -> String {
        let Self { found, total_bytes, builds, releases } = self;
        let trust = match (found.is_signed, is_pinned) {
            (true, true) => "signed by the keys given",
            (true, false) => "signed by its own keys; give one with --key to know whose they are",
            (false, _) => "not signed",
        };
        let mut line = format!(
            "channel {name}: {} histories, {} indexes, {} deltas, {} packages with {total_bytes} bytes, {} pointers, \
             {builds} builds, {} releases with {} files; {trust}\n",
            found.histories,
            found.indexes,
            found.deltas,
            found.packages.len(),
            found.pointers,
            releases.releases,
            releases.files,
        );
        if let (count, Some(file)) = found.trust.revoked() {
            line.push_str(&format!(
                "channel {name}: {count} files are signed by a key that was revoked, and worth nothing to clients, such as {file}\n"
            ));
        }
        line
    }

    fn report(&self, name: &str) -> serde_json::Value {
        let Self { found, total_bytes, builds, releases } = self;
        json!({
            "channel": name,
            "signed": found.is_signed,
            "key_lists": found.keys,
            "pointers": found.pointers,
            "histories": found.histories,
            "indexes": found.indexes,
            "deltas": found.deltas,
            "packages": found.packages.len(),
            "package_bytes": total_bytes,
            "builds": builds,
            "releases": releases.releases,
            "release_files": releases.files,
            "signed_by_revoked_keys": found.trust.revoked().0,
        })
    }
}

fn read_keys(given: &[String]) -> Result<Vec<PublicKey>, VerifyError> {
    let mut keys = Vec::new();
    for text in given {
        // A key has no slash and no dot, so it is hardly ever the name of a file as well.
        if let Ok(key) = text.parse() {
            keys.push(key);
            continue;
        }
        let path = PathBuf::from(text);
        let lines = fs::read_to_string(&path)
            .map_err(|source| VerifyError::KeyFile { path: path.clone(), source })?;
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            keys.push(line.parse().map_err(|source| VerifyError::Key { path: path.clone(), source })?);
        }
    }
    Ok(keys)
}

/// The tree, and the channel when its own folder is meant.
fn open(place: &str) -> Result<(Tree, Option<String>), VerifyError> {
    if place.starts_with("http://") || place.starts_with("https://") {
        let scratch = tempfile::tempdir()
            .map_err(|source| VerifyError::Disk { file: "a folder for downloads".to_owned(), source })?;
        let base = place.trim_end_matches('/').to_owned();
        return Ok((Tree::Address { base, client: Client::default(), scratch }, None));
    }
    let folder = Path::new(place.strip_prefix("file://").unwrap_or(place));
    let nothing = || VerifyError::NoChannel { place: place.to_owned() };
    let folder = fs::canonicalize(folder).map_err(|_| nothing())?;
    if folder.join(layout::ROOT_INDEX_FILE).is_file() {
        let name = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let above = folder.parent().map(Path::to_path_buf).ok_or_else(nothing)?;
        return Ok((Tree::Folder(above), name));
    }
    // The folder of a Vessel has the tree in it.
    let public = folder.join("public");
    Ok((Tree::Folder(if public.is_dir() { public } else { folder }), None))
}

fn channels(tree: &Tree) -> Result<Vec<String>, VerifyError> {
    let Tree::Folder(root) = tree else { return Ok(vec![DEFAULT_CHANNEL.to_owned()]) };
    let names = tree.names("")?.unwrap_or_default();
    let channels: Vec<String> =
        names.into_iter().filter(|name| root.join(name).join(layout::ROOT_INDEX_FILE).is_file()).collect();
    if channels.is_empty() { Err(VerifyError::NoChannel { place: tree.place() }) } else { Ok(channels) }
}

/// A line on a terminal that is written over; nothing elsewhere.
struct Progress {
    is_shown: bool,
    total_bytes: AtomicU64,
    done_bytes: AtomicU64,
    shown: std::sync::Mutex<Option<Instant>>,
}

impl Progress {
    fn new(json: bool) -> Self {
        Self {
            is_shown: !json && std::io::stderr().is_terminal(),
            total_bytes: AtomicU64::new(0),
            done_bytes: AtomicU64::new(0),
            shown: std::sync::Mutex::new(None),
        }
    }

    fn say(&self, text: &str) {
        if self.is_shown {
            // A terminal that is gone needs no progress.
            let _told = write!(std::io::stderr().lock(), "\r\x1b[K{text}").is_ok();
        }
    }

    fn begin(&self, name: &str, packages: usize, total_bytes: u64) {
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
        self.done_bytes.store(0, Ordering::Relaxed);
        self.say(&format!("channel {name}: {packages} packages"));
    }

    fn advance(&self, bytes: u64) {
        let done = self.done_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let mut shown = self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if shown.is_none_or(|shown| shown.elapsed() >= SHOW_EVERY) {
            *shown = Some(Instant::now());
            let total = self.total_bytes.load(Ordering::Relaxed).max(1);
            let tenths = done.saturating_mul(20).checked_div(total).unwrap_or(0).min(20);
            let filled = usize::try_from(tenths).unwrap_or(0);
            let bar = format!("{}{}", "█".repeat(filled), "░".repeat(20 - filled));
            self.say(&format!("{bar} {} of {} MB of packages", done >> 20, total >> 20));
        }
    }

    fn end(&self) {
        self.say("");
    }
}
