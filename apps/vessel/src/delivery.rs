//! How long caches keep what may change, and what that means for how long old files stay.
//!
//! Everything but the pointers stays as it is for ever, so the only old thing that a cache can hand out is a pointer. Whoever
//! comes by an old pointer must still find the history that it names and every package of that one. So the oldest pointer that
//! a cache may hand out, and the time of a download after it, bound the grace of pruning from below.

use repository::retention::Retention;
use serde::Deserialize;

/// How pointers are delivered, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenDelivery {
    /// Seconds for which a cache hands a pointer out without asking.
    pub pointer_seconds: Option<u32>,
    /// Seconds for which it may hand out the old one while it asks.
    pub stale_seconds: Option<u32>,
    /// Seconds for which it may hand out the old one when we are down.
    pub stale_if_error_seconds: Option<u32>,
    /// Seconds for which a cache keeps a pointer that heeds none of this.
    pub cache_seconds: Option<u32>,
    /// Seconds in which a client gets the last package after it has read a pointer.
    pub download_seconds: Option<u32>,
}

/// How pointers are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Seconds for which a cache hands a pointer out without asking.
    pub pointer_seconds: u32,
    /// Seconds for which it may hand out the old one while it asks.
    pub stale_seconds: u32,
    /// Seconds for which it may hand out the old one when we are down.
    pub stale_if_error_seconds: u32,
    /// Seconds for which a cache keeps a pointer that heeds none of this; 0 where there is none.
    pub cache_seconds: u32,
    /// Seconds in which a client gets the last package after it has read a pointer.
    pub download_seconds: u32,
}

impl Default for Delivery {
    /// A minute fresh, another while it is fetched anew behind the reader's back, and a day when we are down. An old pointer
    /// is a complete older version, never a wrong one. An hour is enough to download 4 GB at 10 Mbit/s.
    fn default() -> Self {
        Self {
            pointer_seconds: 60,
            stale_seconds: 60,
            stale_if_error_seconds: 86_400,
            cache_seconds: 0,
            download_seconds: 3_600,
        }
    }
}

/// Settings under which a client could be sent to files that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot remove what was given up after {grace_seconds} s: a cache may hand out a pointer that is {pointer_seconds} s old, and whoever gets it may download for {download_seconds} s"
)]
pub struct GraceTooShort {
    /// The grace.
    pub grace_seconds: u32,
    /// The oldest pointer.
    pub pointer_seconds: u64,
    /// The longest download.
    pub download_seconds: u32,
}

impl GraceTooShort {
    /// What to write instead.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let least = self.pointer_seconds.saturating_add(self.download_seconds.into());
        vec![format!(
            "say grace_days = {} in [retention], or shorten the times in [delivery]",
            least.div_ceil(86_400)
        )]
    }
}

impl WrittenDelivery {
    /// With defaults where nothing is said.
    #[must_use]
    pub fn complete(&self) -> Delivery {
        let default = Delivery::default();
        Delivery {
            pointer_seconds: self.pointer_seconds.unwrap_or(default.pointer_seconds),
            stale_seconds: self.stale_seconds.unwrap_or(default.stale_seconds),
            stale_if_error_seconds: self.stale_if_error_seconds.unwrap_or(default.stale_if_error_seconds),
            cache_seconds: self.cache_seconds.unwrap_or(default.cache_seconds),
            download_seconds: self.download_seconds.unwrap_or(default.download_seconds),
        }
    }
}

impl Delivery {
    /// What caches are told of pointers.
    #[must_use]
    pub fn cache_control(&self) -> String {
        let Self { pointer_seconds, stale_seconds, stale_if_error_seconds, .. } = self;
        format!(
            "public, max-age={pointer_seconds}, stale-while-revalidate={stale_seconds}, stale-if-error={stale_if_error_seconds}"
        )
    }

    /// Seconds since the oldest pointer that a reader gets was the newest. Caches behind each other add nothing: each says how
    /// old it is already what it hands on.
    #[must_use]
    pub fn oldest_pointer_seconds(&self) -> u64 {
        let stale = self.stale_seconds.max(self.stale_if_error_seconds);
        (u64::from(self.pointer_seconds) + u64::from(stale)).max(self.cache_seconds.into())
    }

    /// Whether what is given up stays long enough for whoever comes by the oldest pointer.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(&self, retention: &Retention) -> Result<(), GraceTooShort> {
        let pointer_seconds = self.oldest_pointer_seconds();
        let Retention { grace_seconds, .. } = *retention;
        if u64::from(grace_seconds) >= pointer_seconds + u64::from(self.download_seconds) {
            return Ok(());
        }
        Err(GraceTooShort { grace_seconds, pointer_seconds, download_seconds: self.download_seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_is_longer_than_any_cache() {
        let check = |change: fn(&mut Delivery), grace_seconds: u32| {
            let mut delivery = Delivery::default();
            change(&mut delivery);
            delivery
                .check(&Retention { grace_seconds, ..Retention::default() })
                .map_err(|error| error.hints().join(""))
        };
        assert_eq!(check(|_| {}, Retention::default().grace_seconds), Ok(()));
        assert_eq!(check(|_| {}, 90_060), Ok(()));
        let hint = check(|_| {}, 90_059).unwrap_err();
        assert!(hint.contains("grace_days = 2"), "{hint}");
        check(|_| {}, 0).unwrap_err();
        check(|it| it.cache_seconds = 700_000, 600_000).unwrap_err();
        assert_eq!(check(|it| it.cache_seconds = 500_000, 600_000), Ok(()));
        let short = |it: &mut Delivery| {
            *it = Delivery {
                pointer_seconds: 1,
                stale_seconds: 2,
                stale_if_error_seconds: 1,
                cache_seconds: 0,
                download_seconds: 4,
            };
        };
        assert_eq!(check(short, 7), Ok(()));
        check(short, 6).unwrap_err();
        check(
            |it| {
                *it = Delivery {
                    pointer_seconds: u32::MAX,
                    stale_seconds: u32::MAX,
                    download_seconds: u32::MAX,
                    ..*it
                }
            },
            u32::MAX,
        )
        .unwrap_err();
    }

    #[test]
    fn caches_are_told() {
        let told = Delivery::default().cache_control();
        assert_eq!(told, "public, max-age=60, stale-while-revalidate=60, stale-if-error=86400");
    }
}
