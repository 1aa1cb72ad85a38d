//! Places among the connections that are served at once.
//!
//! Connections are cheap for whoever opens them, so each kind has a number of places, and the places of one kind cannot be
//! used up by another. When all are taken, the one that has had its place longest gives way: a peer that means well is
//! done long before, and one that lost a connection without a word gets back in past its own dead ones.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use key::PublicKey;
use tokio::sync::oneshot;

use crate::limits;

/// Whose places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// Of everybody who has not shown a key yet.
    Handshake,
    /// Of all keys that are not known, together: a key costs nothing.
    Unknown,
    /// Of one key that is known.
    Known(PublicKey),
}

impl Kind {
    /// How many there are, and how long each may be kept at least.
    fn bounds(self) -> (usize, Duration) {
        match self {
            Kind::Handshake => (limits::HANDSHAKES_MAX, limits::HANDSHAKE_TIME_MIN),
            Kind::Unknown => (limits::UNKNOWN_CONNECTIONS_MAX, limits::UNKNOWN_CONNECTION_TIME_MIN),
            Kind::Known(_) => (limits::KEY_CONNECTIONS_MAX, Duration::ZERO),
        }
    }
}

/// Everybody who has a place.
#[derive(Debug, Default)]
pub(super) struct Places {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next_number: u64,
    /// The oldest first.
    taken: HashMap<Kind, VecDeque<Taken>>,
    known: usize,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    since: Instant,
    /// Dropping it takes the place away.
    _keep: oneshot::Sender<()>,
}

/// One place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    kind: Kind,
    number: u64,
    taken_away: oneshot::Receiver<()>,
}

/// Nobody gives way yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full {
    /// When the oldest will.
    pub(super) until: Option<Instant>,
}

impl Places {
    /// A place for a handshake.
    pub(super) fn handshake(self: &Arc<Self>) -> Result<Place, Full> {
        self.take(Kind::Handshake)
    }

    /// A place for a connection of a key, and whether another connection lost its own for it.
    pub(super) fn connection(self: &Arc<Self>, key: PublicKey, is_known: bool) -> Result<Place, Full> {
        self.take(if is_known { Kind::Known(key) } else { Kind::Unknown })
    }

    fn take(self: &Arc<Self>, kind: Kind) -> Result<Place, Full> {
        let (max, keep_at_least) = kind.bounds();
        let now = Instant::now();
        let mut inner = self.lock();
        let is_known = matches!(kind, Kind::Known(_));
        let held = inner.taken.get(&kind);
        let oldest = held.and_then(VecDeque::front).map(|taken| taken.since);
        if held.is_some_and(|held| held.len() >= max) {
            match oldest {
                Some(since) if now.duration_since(since) >= keep_at_least => inner.take_away_oldest(kind),
                _ => return Err(Full { until: oldest.map(|since| since + keep_at_least) }),
            }
        } else if is_known && inner.known >= limits::CONNECTIONS_MAX {
            return Err(Full { until: None });
        }
        inner.next_number += 1;
        let number = inner.next_number;
        let (keep, taken_away) = oneshot::channel();
        inner.taken.entry(kind).or_default().push_back(Taken { number, since: now, _keep: keep });
        inner.known += usize::from(is_known);
        Ok(Place { places: Arc::clone(self), kind, number, taken_away })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take_away_oldest(&mut self, kind: Kind) {
        if self.taken.get_mut(&kind).and_then(VecDeque::pop_front).is_some() {
            self.known -= usize::from(matches!(kind, Kind::Known(_)));
        }
    }

    fn give_back(&mut self, kind: Kind, number: u64) {
        let Some(held) = self.taken.get_mut(&kind) else { return };
        let before = held.len();
        held.retain(|taken| taken.number != number);
        self.known -= (before - held.len()) * usize::from(matches!(kind, Kind::Known(_)));
        if held.is_empty() {
            self.taken.remove(&kind);
        }
    }
}

impl Place {
    /// Ready once the place was taken away.
    pub(super) fn poll_taken_away(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.taken_away).poll(context).map(drop)
    }

    /// Waits until the place is taken away.
    pub(super) async fn taken_away(&mut self) {
        std::future::poll_fn(|context| self.poll_taken_away(context)).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().give_back(self.kind, self.number);
    }
}

/// Says the same thing once in a while only, whatever a peer does.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    inner: Mutex<(Option<Instant>, u64)>,
}

impl Complaints {
    /// How many there were since the last that was said, if it is time to say so.
    pub(super) fn add(&self) -> Option<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.1 += 1;
        if inner.0.is_some_and(|said| said.elapsed() < limits::COMPLAINT_PAUSE) {
            return None;
        }
        let count = std::mem::take(&mut inner.1);
        inner.0 = Some(Instant::now());
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn key() -> PublicKey {
        Identity::generate().unwrap().public_key()
    }

    fn is_taken_away(place: &mut Place) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        place.poll_taken_away(&mut context).is_ready()
    }

    #[test]
    fn a_key_that_wants_more_loses_its_own_oldest_and_nobody_elses() {
        let places = Arc::new(Places::default());
        let (greedy, honest) = (key(), key());
        let mut other = places.connection(honest, true).unwrap();
        let mut held: Vec<Place> =
            (0..limits::KEY_CONNECTIONS_MAX + 3).map(|_| places.connection(greedy, true).unwrap()).collect();
        let gone: Vec<bool> = held.iter_mut().map(is_taken_away).collect();
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 3);
        assert!(gone[..3].iter().all(|gone| *gone), "the oldest: {gone:?}");
        assert!(!is_taken_away(&mut other));
        assert_eq!(places.lock().known, limits::KEY_CONNECTIONS_MAX + 1);
        drop(held);
        drop(other);
        assert_eq!(places.lock().known, 0);
        assert!(places.lock().taken.is_empty());
    }

    #[test]
    fn those_without_a_known_key_share_their_places_and_keep_them_for_a_moment() {
        let places = Arc::new(Places::default());
        let held: Vec<Place> =
            (0..limits::UNKNOWN_CONNECTIONS_MAX).map(|_| places.connection(key(), false).unwrap()).collect();
        let full = places.connection(key(), false).unwrap_err();
        assert!(full.until.is_some_and(|until| until > Instant::now()));
        assert!(places.connection(key(), true).is_ok(), "a known key is served all the same");
        drop(held);
        assert!(places.connection(key(), false).is_ok());
    }

    #[test]
    fn all_known_keys_together_have_a_bound() {
        let places = Arc::new(Places::default());
        let held: Vec<Place> =
            (0..limits::CONNECTIONS_MAX).map(|_| places.connection(key(), true).unwrap()).collect();
        assert_eq!(places.connection(key(), true).unwrap_err(), Full { until: None });
        drop(held);
    }

    #[test]
    fn complaints_do_not_fill_the_log() {
        let complaints = Complaints::default();
        assert_eq!(complaints.add(), Some(1));
        assert_eq!((0..1000).filter_map(|_| complaints.add()).count(), 0);
    }
}
