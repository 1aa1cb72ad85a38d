//! How many requests an address may make: buckets that fill up with time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Addresses that are kept in mind. Those whose bucket is full again are forgotten first.
const ADDRESSES_MAX: usize = 10_000;

/// One bucket for each address. It holds as many as a minute may have, and fills up evenly.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    by_address: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Buckets {
    /// Takes one out of the bucket of `address`; else in how many seconds there is one again.
    pub(crate) fn take(&self, address: IpAddr, per_minute: u32, now: Instant) -> Result<(), u64> {
        let size = f64::from(per_minute.max(1));
        let filled = |bucket: &Bucket| {
            let seconds = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.left + seconds * size / 60.0).min(size)
        };
        let mut buckets = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ADDRESSES_MAX {
            buckets.retain(|_, bucket| filled(bucket) < size);
            if buckets.len() >= ADDRESSES_MAX {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(of_one_owner(address)).or_insert(Bucket { left: size, at: now });
        let left = filled(bucket);
        let may = left >= 1.0;
        *bucket = Bucket { left: if may { left - 1.0 } else { left }, at: now };
        match may {
            true => Ok(()),
            // A minute at most.
            false => {
                Err(1
                    + (0..60).take_while(|second| left + f64::from(*second) * size / 60.0 < 1.0).count()
                        as u64)
            }
        }
    }
}

/// Who has an IPv6 address has the other 2^64 beside it as a rule (RFC 6177).
fn of_one_owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            segments[4..].fill(0);
            IpAddr::V6(segments.into())
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_up_again() {
        let buckets = Buckets::default();
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let start = Instant::now();
        for _ in 0..6 {
            assert_eq!(buckets.take(one, 6, start), Ok(()));
        }
        let wait = buckets.take(one, 6, start).unwrap_err();
        assert!((10..=12).contains(&wait), "{wait}");
        assert_eq!(buckets.take(other, 6, start), Ok(()), "others are not held up");
        assert_eq!(buckets.take(one, 6, start + Duration::from_secs(11)), Ok(()));
        assert!(buckets.take(one, 6, start + Duration::from_secs(11)).is_err());
    }

    #[test]
    fn neighbours_in_one_network_share_a_bucket_and_memory_is_bounded() {
        let buckets = Buckets::default();
        let start = Instant::now();
        assert_eq!(buckets.take("2001:db8::1".parse().unwrap(), 1, start), Ok(()));
        assert!(buckets.take("2001:db8::2".parse().unwrap(), 1, start).is_err());
        assert_eq!(buckets.take("2001:db8:0:1::1".parse().unwrap(), 1, start), Ok(()));
        for number in 0..30_000_u32 {
            assert_eq!(buckets.take(IpAddr::V4(number.into()), 1, start), Ok(()));
        }
        assert!(buckets.by_address.lock().unwrap().len() <= ADDRESSES_MAX);
    }
}
