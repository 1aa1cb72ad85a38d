//! How a Vessel is: whether it could sign now, how long the pointers that it signed are still worth something, and whether it
//! could last prune as it should.
//!
//! Asking costs a call to the signer and a look into the database, so an answer serves everybody for some seconds.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::signing::soonest_pointer;
use super::{PublishError, Publisher, blocking, unix_seconds};

/// How long an answer serves: probes of several balancers ask every few seconds each.
const SERVES: Duration = Duration::from_secs(5);

/// Longest time that a signer is waited for; one that takes longer is as good as away.
const SIGNER_LIMIT: Duration = Duration::from_secs(3);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Health {
    /// Why nothing could be signed now; none where it could.
    pub(crate) signing: Option<String>,
    /// Why nothing could be signed after the next start, where it can be now: the key is in memory, and its file is gone.
    pub(crate) after_start: Option<String>,
    /// Each channel that has pointers.
    pub(crate) channels: Vec<ChannelHealth>,
    /// Why the last pruning by itself failed; none where it did not, or there was none.
    pub(crate) pruning: Option<String>,
}

/// How a channel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelHealth {
    /// Its name.
    pub(crate) name: String,
    /// The pointer that expires first.
    pub(crate) pointer: String,
    /// In how many seconds; fewer than none when it has.
    pub(crate) expires_in_seconds: i64,
    /// Seconds for which a pointer is worth something when it is signed.
    pub(crate) expiry_seconds: i64,
}

impl ChannelHealth {
    /// Whether pointers are signed anew in time: each is when a fourteenth of its life is over, so one with half of it left was
    /// passed over for days.
    pub(crate) fn is_well(&self) -> bool {
        self.expires_in_seconds > self.expiry_seconds / 2
    }
}

/// The last answer.
pub(super) type Known = tokio::sync::Mutex<Option<(Instant, Arc<Health>)>>;

impl Publisher {
    /// How this Vessel is.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(crate) async fn health(&self) -> Result<Arc<Health>, PublishError> {
        let mut known = self.health.lock().await;
        if let Some((asked, health)) = known.as_ref().filter(|(asked, _)| asked.elapsed() < SERVES) {
            tracing::trace!(age = ?asked.elapsed(), "the last answer serves");
            return Ok(Arc::clone(health));
        }
        let health = Arc::new(self.look_at_health().await?);
        *known = Some((Instant::now(), Arc::clone(&health)));
        Ok(health)
    }

    async fn look_at_health(&self) -> Result<Health, PublishError> {
        let hands = self.seals.hands();
        let signing = match tokio::time::timeout(SIGNER_LIMIT, blocking(move || hands.check())).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(fault::chain(&error).join(": ")),
            Err(_) => Some(format!("the signer does not answer within {} s", SIGNER_LIMIT.as_secs())),
        };
        let after_start = match signing {
            Some(_) => None,
            None => {
                let found = blocking(self.seals.check_after_start()).await;
                found.err().map(|error| fault::chain(&error).join(": "))
            }
        };
        let (now, expiry_seconds) = (unix_seconds(), self.seals.expiry_seconds());
        let mut channels = Vec::new();
        for channel in self.channels.values() {
            let rows = self.ledger.signed_pointers(&channel.name).await?;
            if let Some((pointer, expires)) = soonest_pointer(&rows, &channel.name.parse()?) {
                channels.push(ChannelHealth {
                    name: channel.name.clone(),
                    pointer,
                    expires_in_seconds: expires.saturating_sub(now),
                    expiry_seconds,
                });
            }
        }
        let pruning = self.pruning_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Health { signing, after_start, channels, pruning })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{deliver, open, order};
    use super::*;
    use crate::signing::{KeyPlace, Signing};

    #[test]
    fn a_pointer_with_half_its_life_was_passed_over() {
        let check = |left: i64, expect: bool| {
            let (name, pointer) = ("main".into(), "stream/volatile".into());
            let it = ChannelHealth { name, pointer, expires_in_seconds: left, expiry_seconds: 100 };
            assert_eq!(it.is_well(), expect, "{left}");
        };
        check(100, true);
        check(51, true);
        check(50, false);
        check(0, false);
        check(-5, false);
    }

    #[tokio::test]
    async fn a_signer_that_is_away_is_told_and_the_pointers_still_hold() {
        let data = tempfile::tempdir().unwrap();
        let publisher = open(data.path()).await;
        assert_eq!(*publisher.health().await.unwrap(), Health::default());
        deliver(&publisher, &order(1, "s", 1, &[("a", "one")])).await.unwrap();
        let health = publisher.look_at_health().await.unwrap();
        let [channel] = health.channels.as_slice() else { panic!("{health:?}") };
        assert_eq!((&health.signing, channel.pointer.as_str()), (&None, "stream/volatile"));
        assert!(channel.is_well() && channel.expires_in_seconds <= 14 * 86_400, "{channel:?}");

        // The key is gone while it runs, and after a restart with another place for it.
        let key = data.path().join("signing/publish.key");
        fs_err::rename(&key, data.path().join("away")).unwrap();
        let health = publisher.look_at_health().await.unwrap();
        assert_eq!(health.signing, None, "it is in memory");
        assert!(health.after_start.is_some());
        publisher.close().await;
        drop(publisher);
        let socket = data.path().join("nobody.sock");
        let elsewhere = Signing { keys: KeyPlace::Socket(socket), ..Signing::default() };
        let publisher = Publisher::open_signing(data.path(), &[], elsewhere).await.unwrap();
        let health = publisher.health().await.unwrap();
        let told = health.signing.as_deref().unwrap_or_default();
        assert!(told.contains("nobody.sock"), "{told}");
        assert!(health.channels[0].is_well());
        publisher.close().await;
    }
}
