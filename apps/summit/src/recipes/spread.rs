//! The same work on many things, on all cores.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Threads at most: beyond that the disk and the allocator are what is waited for.
const THREADS_MAX: usize = 16;

/// Things that a thread takes at once: enough that counting costs nothing, few enough that all threads end together.
const TAKEN_AT_ONCE: usize = 16;

/// Does `work` to each of `items`. Results are in the order of the items, whoever did them.
pub(crate) fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(THREADS_MAX).min(items.len().div_ceil(TAKEN_AT_ONCE));
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let start = next.fetch_add(TAKEN_AT_ONCE, Ordering::Relaxed);
            let Some(rest) = items.get(start..) else { return done };
            if rest.is_empty() {
                return done;
            }
            done.push((start, rest.iter().take(TAKEN_AT_ONCE).map(&work).collect::<Vec<R>>()));
        }
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
        let mut done = take();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(start, _)| *start);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order() {
        for count in [0, 1, 15, 16, 17, 1000, 1001] {
            let items: Vec<usize> = (0..count).collect();
            let doubled = on_all_cores(&items, |item| item * 2);
            assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>(), "{count}");
        }
    }
}
