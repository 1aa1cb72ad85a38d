//! How fast one agent may speak, and how often it may come: pure.
//!
//! Agents are machines of other people, and one that is broken or hostile must not take the time of Summit from the
//! others. Whoever speaks too fast is read more slowly, which its own sending notices; whoever comes too often is sent
//! away for a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use farm::ids::BuilderId;

/// What an agent may say in a second, in parts: a message is one, and each attempt that a heartbeat names is one more. A busy
/// agent of ten builds says some hundreds, all of them pieces of logs.
const PARTS_PER_SECOND: u32 = 1000;

/// What it may say at once: that many seconds' worth, for whoever was away.
const BURST_SECONDS: u32 = 2;

/// Connections of one builder that may be before their Hello at once: a new one, and one that is just breaking.
const GREETINGS_OPEN_MAX: usize = 4;

/// Attempts to attach that one builder may make within [`GREETINGS_WINDOW`]. An agent waits longer after each failure.
const GREETINGS_MAX: u32 = 30;

/// See [`GREETINGS_MAX`].
const GREETINGS_WINDOW: Duration = Duration::from_secs(10);

/// How fast one agent speaks.
#[derive(Debug)]
pub(crate) struct Pace {
    left: f64,
    at: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Pace {
        Pace { left: f64::from(PARTS_PER_SECOND * BURST_SECONDS), at: now }
    }

    /// Takes note of so many parts, and says how long to wait before anything more is read.
    pub(crate) fn take(&mut self, parts: usize, now: Instant) -> Duration {
        let rate = f64::from(PARTS_PER_SECOND);
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        let parts = u32::try_from(parts).unwrap_or(u32::MAX);
        self.left = (self.left + gained).min(rate * f64::from(BURST_SECONDS)) - f64::from(parts);
        self.at = now;
        if self.left >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.left / rate) }
    }
}

/// Who is about to say Hello.
#[derive(Debug, Default)]
pub(crate) struct Greetings {
    inner: Mutex<HashMap<BuilderId, Comings>>,
}

#[derive(Debug)]
struct Comings {
    open: usize,
    window_began: Instant,
    in_window: u32,
}

/// One that is about to say Hello.
#[derive(Debug)]
pub(crate) struct Greeting {
    greetings: Arc<Greetings>,
    id: BuilderId,
}

impl Greetings {
    /// Lets a builder come in, unless it comes too often.
    pub(crate) fn begin(self: &Arc<Self>, id: &BuilderId, now: Instant) -> Result<Greeting, String> {
        let mut inner = self.lock();
        // Those that did not come for a while are forgotten, so that this never holds more than the builders there are.
        inner.retain(|_, comings| comings.open > 0 || comings.is_recent(now));
        let comings = inner.entry(id.clone()).or_insert(Comings { open: 0, window_began: now, in_window: 0 });
        if !comings.is_recent(now) {
            (comings.window_began, comings.in_window) = (now, 0);
        }
        comings.in_window = comings.in_window.saturating_add(1);
        if comings.in_window > GREETINGS_MAX {
            let seconds = GREETINGS_WINDOW.as_secs();
            return Err(format!(
                "this builder attached more than {GREETINGS_MAX} times in {seconds} seconds; wait"
            ));
        }
        if comings.open >= GREETINGS_OPEN_MAX {
            return Err(format!("{GREETINGS_OPEN_MAX} connections of this builder have not said Hello yet"));
        }
        comings.open += 1;
        Ok(Greeting { greetings: Arc::clone(self), id: id.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BuilderId, Comings>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Comings {
    fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.window_began) < GREETINGS_WINDOW
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        if let Some(comings) = self.greetings.lock().get_mut(&self.id) {
            comings.open = comings.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_too_fast_is_read_more_slowly() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        assert_eq!(pace.take(2000, begin), Duration::ZERO, "what a busy agent says at once");
        assert_eq!(pace.take(500, begin), Duration::from_millis(500));
        assert_eq!(pace.take(1, begin + Duration::from_secs(1)), Duration::ZERO);
        let mut pace = Pace::new(begin);
        let day = Duration::from_secs(86_400);
        assert_eq!(pace.take(3000, begin + day), Duration::from_secs(1), "nothing is saved up for long");
        // A flood of heartbeats costs no more than one each second.
        let mut pace = Pace::new(begin);
        let mut now = begin;
        for _ in 0..10 {
            now += pace.take(1001, now);
        }
        assert!(now - begin > Duration::from_secs(7), "{:?}", now - begin);
    }

    #[test]
    fn who_comes_too_often_is_sent_away_and_nobody_else_is() {
        let greetings = Arc::new(Greetings::default());
        let (hostile, honest) = (BuilderId("a".into()), BuilderId("b".into()));
        let now = Instant::now();
        let open: Vec<Greeting> =
            (0..GREETINGS_OPEN_MAX).map(|_| greetings.begin(&hostile, now).unwrap()).collect();
        assert!(greetings.begin(&hostile, now).unwrap_err().contains("not said Hello"));
        greetings.begin(&honest, now).unwrap();
        drop(open);
        while greetings.begin(&hostile, now).is_ok() {}
        assert!(greetings.begin(&hostile, now).unwrap_err().contains("more than 30 times"));
        greetings.begin(&honest, now).unwrap();
        let later = now + GREETINGS_WINDOW;
        greetings.begin(&hostile, later).unwrap();
        assert_eq!(greetings.lock().len(), 1, "who does not come is forgotten");
    }
}
