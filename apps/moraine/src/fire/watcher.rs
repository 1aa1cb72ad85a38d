//! Knows how old a pointer is that a cache hands out: looks all the time which one is current.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fetch::{Body, Client, ClientSettings, Digest, Validators};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Bytes of a pointer; those here have some thousand.
const POINTER_SIZE_BYTES_MAX: u64 = 4 << 20;

/// When each pointer was current last.
#[derive(Debug, Clone, Default)]
pub(super) struct Watcher(Arc<Mutex<HashMap<Digest, Instant>>>);

impl Watcher {
    /// Begins to look at the Vessel at `url` itself.
    pub(super) fn start(url: &str, over: &Arc<AtomicBool>) -> Self {
        let watcher = Self::default();
        let (known, url, over) =
            (watcher.clone(), format!("{url}/main/moss-root-index.json"), Arc::clone(over));
        std::thread::spawn(move || {
            let client = Client::new(ClientSettings { attempts_max: 1, ..ClientSettings::default() });
            while !over.load(Ordering::Relaxed) {
                // It was current when it was asked for, whenever the answer comes.
                let asked = Instant::now();
                if let Ok(Body::Bytes { bytes, .. }) =
                    client.get(&url, &Validators::default(), POINTER_SIZE_BYTES_MAX)
                {
                    let mut known = known.0.lock().unwrap_or_else(PoisonError::into_inner);
                    known.insert(Digest::of(&bytes), asked);
                }
                std::thread::sleep(LOOK_EVERY);
            }
        });
        watcher
    }

    /// How long ago a pointer was current; none for one that was so only between two looks.
    pub(super) fn age(&self, pointer: &[u8]) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&Digest::of(pointer)).map(Instant::elapsed)
    }
}
