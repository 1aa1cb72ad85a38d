//! A file by its digest, from the first of several places that has it.
//!
//! A repository and its mirrors hold the same files under the same paths, and what a file is its digest says. So it does not
//! matter who sends it: a place that is away, slow, or behind the others is passed over, and one that sends other bytes is
//! set aside for good and named.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fault::{Fault, Kind};

use crate::address::redacted;
use crate::client::{Client, ClientSettings, HttpError, Progress};
use crate::digest::Digest;
use crate::part::{FinishedPart, PartError, PartFile};

/// How long a place that failed is asked after the others.
const REST: Duration = Duration::from_secs(120);

/// A place beside which there are others has to be so many times as fast, and is asked once.
const HASTE: u32 = 10;

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The repository or the mirror.
    pub place: String,
    /// The address of the file there.
    pub url: String,
}

/// What is known of places, shared by all who ask them.
#[derive(Debug, Default)]
pub struct Standing(Mutex<BTreeMap<String, Record>>);

#[derive(Debug, Clone, Copy, Default)]
struct Record {
    sent_other_bytes: bool,
    rests_until: Option<Instant>,
}

/// Why a file could not be had from anywhere.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The first place in the list that was asked did not send it.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// What came cannot be kept.
    #[error(transparent)]
    Part(#[from] PartError),
    /// What came is something else, and nobody had the right thing.
    #[error("cannot use {url}: its SHA-256 is {found}, and {expected} was promised")]
    OtherBytes {
        /// Where it came from, without credentials.
        url: String,
        /// What it is.
        found: Digest,
        /// What it should be.
        expected: Digest,
    },
}

impl Fault for MirrorError {
    fn kind(&self) -> Kind {
        match self {
            MirrorError::Http(error) => error.kind(),
            MirrorError::Part(error) => error.kind(),
            MirrorError::OtherBytes { .. } => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            MirrorError::Http(error) => error.hints(),
            MirrorError::Part(error) => error.hints(),
            MirrorError::OtherBytes { .. } => Vec::new(),
        }
    }
}

impl Standing {
    /// In which order to ask: as they are listed, those that failed a moment ago last, those that sent other bytes never, unless
    /// there is nobody else.
    fn order<'a>(&self, locations: &'a [Location], now: Instant) -> Vec<&'a Location> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let record = |location: &Location| records.get(&location.place).copied().unwrap_or_default();
        let mut trusted: Vec<&Location> =
            locations.iter().filter(|location| !record(location).sent_other_bytes).collect();
        if trusted.is_empty() {
            trusted = locations.iter().collect();
        }
        trusted.sort_by_key(|location| record(location).rests_until.is_some_and(|until| until > now));
        trusted
    }

    fn failed(&self, place: &str, now: Instant) {
        self.change(place, |record| record.rests_until = Some(now + REST));
    }

    fn sent_other_bytes(&self, place: &str) {
        self.change(place, |record| record.sent_other_bytes = true);
    }

    fn change(&self, place: &str, change: impl FnOnce(&mut Record)) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(records.entry(place.to_owned()).or_default());
    }
}

/// A file that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct WantedFile<'a> {
    /// Where it is, the preferred place first.
    pub locations: &'a [Location],
    /// What it is.
    pub sha256: Digest,
    /// Its size, or the most that is taken.
    pub size_bytes_max: u64,
    /// Where it goes. What is there already of it is gone on with.
    pub part: &'a Path,
}

impl Client {
    /// Gets a file by its digest. `told` hears of every place that is passed over, and why.
    ///
    /// # Errors
    /// When no place has it: what the first that was asked did.
    pub fn download_from(
        &self,
        standing: &Standing,
        wanted: &WantedFile<'_>,
        progress: &dyn Fn(Progress),
        told: &dyn Fn(&str),
    ) -> Result<FinishedPart, MirrorError> {
        let order = standing.order(wanted.locations, Instant::now());
        let hasty = self.with(|settings| settings.in_haste());
        let mut first = None;
        for (turn, location) in order.iter().enumerate() {
            let is_last = turn + 1 == order.len();
            let client = if is_last { self } else { &hasty };
            let error = match client.download_exactly(location, wanted, progress) {
                Ok(finished) => return Ok(finished),
                // No other place helps against a full disk.
                Err(error @ (MirrorError::Part(_) | MirrorError::Http(HttpError::Part(_)))) => {
                    return Err(error);
                }
                Err(error) => error,
            };
            let place = redacted(&location.place);
            let why = fault::chain(&error).join(": ");
            match &error {
                MirrorError::OtherBytes { .. } => {
                    standing.sent_other_bytes(&location.place);
                    told(&format!("{place} is set aside: {why}"));
                }
                _ => {
                    standing.failed(&location.place, Instant::now());
                    if !is_last {
                        told(&format!("{place} is passed over: {why}"));
                    }
                }
            }
            first.get_or_insert(error);
        }
        Err(first.unwrap_or_else(|| HttpError::nowhere().into()))
    }

    fn download_exactly(
        &self,
        location: &Location,
        wanted: &WantedFile<'_>,
        progress: &dyn Fn(Progress),
    ) -> Result<FinishedPart, MirrorError> {
        let mut resumes = true;
        loop {
            let mut part = PartFile::open(wanted.part)?;
            if !resumes && part.size_bytes() > 0 {
                part.discard()?;
                part = PartFile::open(wanted.part)?;
            }
            let held_bytes = part.size_bytes();
            self.download(&location.url, &mut part, wanted.size_bytes_max, progress)?;
            let finished = part.finish()?;
            if finished.sha256 == wanted.sha256 {
                return Ok(finished);
            }
            let found = finished.sha256;
            // Nothing of it is of use to anybody.
            PartFile::open(&finished.path)?.discard()?;
            // Two places may call different bytes by the same validator: then the beginning was of somebody else.
            if held_bytes > 0 && resumes {
                resumes = false;
                continue;
            }
            let url = redacted(&location.url);
            return Err(MirrorError::OtherBytes { url, found, expected: wanted.sha256 });
        }
    }
}

impl ClientSettings {
    /// For a place beside which there are others.
    fn in_haste(&self) -> Self {
        Self {
            slow_window: self.slow_window / HASTE,
            slow_bytes_per_second: self.slow_bytes_per_second.saturating_mul(HASTE.into()),
            attempts_max: 1,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locations(places: &[&str]) -> Vec<Location> {
        places.iter().map(|place| Location { place: (*place).into(), url: format!("{place}/x") }).collect()
    }

    #[test]
    fn places_are_asked_in_the_order_that_promises_most() {
        let standing = Standing::default();
        let all = locations(&["a", "b", "c"]);
        let now = Instant::now();
        let order = |at: Instant| -> Vec<&str> {
            standing.order(&all, at).into_iter().map(|location| location.place.as_str()).collect()
        };
        assert_eq!(order(now), ["a", "b", "c"]);
        standing.failed("a", now);
        assert_eq!(order(now), ["b", "c", "a"]);
        assert_eq!(order(now + REST), ["a", "b", "c"]);
        standing.sent_other_bytes("b");
        assert_eq!(order(now), ["c", "a"]);
        standing.sent_other_bytes("a");
        standing.sent_other_bytes("c");
        assert_eq!(order(now + REST), ["a", "b", "c"], "somebody has to be asked");
    }
}
