//! Connections to Vessels that are kept for the next upload.
//!
//! An upload has a connection of its own while it goes on. Afterwards the connection waits a while: most builds are small,
//! and the next one is often not far. One that broke meanwhile is found out by whoever takes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wire::tonic::transport::Channel;

use crate::ledger::UploadTarget;

/// Connections that wait: one for each build that a usual machine runs. Vessel has two thousand in all.
const WAITING_MAX: usize = 2;

/// How long one waits.
const WAITING_TIME: Duration = Duration::from_secs(30);

/// The connections of one agent. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct VesselLinks {
    waiting: Arc<Mutex<Vec<Waiting>>>,
}

#[derive(Debug)]
struct Waiting {
    target: UploadTarget,
    channel: Channel,
    since: Instant,
}

impl VesselLinks {
    /// A connection to this Vessel that waited, if there is one.
    pub(crate) fn take(&self, target: &UploadTarget) -> Option<Channel> {
        let mut waiting = self.lock();
        let place = waiting.iter().rposition(|link| link.target == *target)?;
        Some(waiting.remove(place).channel)
    }

    /// Keeps a connection that worked.
    pub(crate) fn keep(&self, target: &UploadTarget, channel: Channel) {
        let mut waiting = self.lock();
        if waiting.len() >= WAITING_MAX {
            waiting.remove(0);
        }
        waiting.push(Waiting { target: target.clone(), channel, since: Instant::now() });
        drop(waiting);
        let links = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(WAITING_TIME).await;
            links.lock().retain(|link| link.since.elapsed() < WAITING_TIME);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_for_its_vessel_and_for_one_upload_at_a_time() {
        let target =
            |address: &str| UploadTarget { vessel_address: address.to_owned(), vessel_key: "key".to_owned() };
        let channel = || wire::tonic::transport::Endpoint::from_static("http://localhost:1").connect_lazy();
        let (one, other) = (target("one:1"), target("other:1"));
        let links = VesselLinks::default();
        assert!(links.take(&one).is_none());
        links.keep(&one, channel());
        assert!(links.take(&other).is_none());
        assert!(links.take(&one).is_some());
        assert!(links.take(&one).is_none());
        for _ in 0..WAITING_MAX {
            links.keep(&other, channel());
        }
        links.keep(&one, channel());
        assert!(links.take(&one).is_some());
        assert_eq!(links.lock().len(), WAITING_MAX - 1, "the oldest gave way");
    }
}
