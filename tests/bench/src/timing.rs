//! Medians and percentiles.

use std::time::{Duration, Instant};

/// The median time of `count` runs after one that does not count, in milliseconds.
pub(crate) fn median_ms<T>(count: usize, mut run: impl FnMut() -> T) -> f64 {
    std::hint::black_box(run());
    let mut times: Vec<Duration> = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        let result = run();
        times.push(begin.elapsed());
        // Dropping what was made is not what is measured.
        std::hint::black_box(result);
    }
    at(&mut times, 50)
}

/// The time below which `per_cent` of `times` lie, in milliseconds.
pub(crate) fn at(times: &mut [Duration], per_cent: usize) -> f64 {
    times.sort_unstable();
    let index = (times.len() * per_cent / 100).min(times.len().saturating_sub(1));
    times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}
