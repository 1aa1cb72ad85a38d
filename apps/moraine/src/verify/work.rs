//! Many things that are verified several at once, and the first of them that is wrong.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::VerifyError;

/// Verifies `things` with `jobs` threads: `one` is given each with its number and answers how many bytes it read, which `done` is
/// told.
pub(super) fn all<T: Sync>(
    things: &[T],
    jobs: usize,
    one: &(dyn Fn(&T, usize) -> Result<u64, VerifyError> + Sync),
    done: &(dyn Fn(u64) + Sync),
) -> Result<(), VerifyError> {
    let next = AtomicUsize::new(0);
    let first: Mutex<Option<(usize, VerifyError)>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, things.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(thing) = things.get(number) else { return };
                    match one(thing, number) {
                        Ok(size_bytes) => done(size_bytes),
                        Err(error) => {
                            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                            // Others began earlier ones; of all that are wrong the first in order is told.
                            if first.as_ref().is_none_or(|(known, _)| number < *known) {
                                *first = Some((number, error));
                            }
                            next.store(things.len(), Ordering::Relaxed);
                            return;
                        }
                    }
                }
            });
        }
    });
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}
