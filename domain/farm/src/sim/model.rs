//! How long builds take and how much memory they need, when nobody has measured it.
//!
//! Every recipe has a time and a peak of memory on the reference machine (speed 1.0, four cores for the build). A
//! history names them; without one they are drawn from two tables, by the seed and the name of the recipe, so that
//! order, policy and builders never change them.
//!
//! The table of times has a heavy tail, as real distributions have: half of all builds end within a minute, one in ten
//! takes more than seven, one in a hundred three quarters of an hour, the worst of all four hours. Its mean is near
//! four minutes: a few recipes are most of the work.

use std::collections::HashMap;

use super::random::{Random, quantile};

/// Share of the builds that take at most so many seconds.
const SECONDS: [(f64, f64); 10] = [
    (0.0, 5.0),
    (0.10, 12.0),
    (0.25, 25.0),
    (0.50, 60.0),
    (0.75, 150.0),
    (0.90, 420.0),
    (0.97, 1200.0),
    (0.99, 2700.0),
    (0.999, 7200.0),
    (1.0, 14_400.0),
];

/// Share of the builds that need at most so many MiB. Nothing needs more than 16 GiB: what does, fails on the machines
/// that distributions have, and is told to use fewer cores.
const MEBIBYTES: [(f64, f64); 7] = [
    (0.0, 100.0),
    (0.25, 400.0),
    (0.50, 900.0),
    (0.75, 1800.0),
    (0.90, 4000.0),
    (0.99, 10_000.0),
    (1.0, 16_384.0),
];

/// How much of a recipe's rank by memory is its rank by time: long builds tend to be large ones.
const MEMORY_FOLLOWS_TIME: f64 = 0.6;

/// How many times as long as now a build of the same recipe took in the past: at least, at most.
const PAST_TIMES: (f64, f64) = (0.85, 1.18);

/// What was measured of a recipe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Seconds on the reference machine.
    pub seconds: f64,
    /// Memory at its peak; none when that was not measured.
    pub peak_memory_bytes: Option<u64>,
}

/// What a build of a recipe costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Milliseconds on the reference machine, at least one.
    pub reference_ms: u64,
    /// Memory at its peak.
    pub memory_bytes: u64,
}

/// What every recipe costs in the world of one seed.
#[derive(Debug, Clone, Default)]
pub struct Model {
    seed: u64,
    measured: HashMap<String, Measured>,
}

impl Model {
    /// The world of `seed`, but for what was measured, by source name.
    #[must_use]
    pub fn new(seed: u64, measured: HashMap<String, Measured>) -> Self {
        Self { seed, measured }
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What a build of `source` costs.
    #[must_use]
    pub fn cost(&self, source: &str) -> Cost {
        let rank = Random::of(self.seed, "time", source).fraction();
        let own = Random::of(self.seed, "memory", source).fraction();
        // The sum of two even spreads is no even spread; its own rank is, and the table is over ranks.
        let memory_rank = rank_of_sum(rank, own);
        let measured = self.measured.get(source);
        let seconds = measured.map_or_else(|| quantile(&SECONDS, rank), |known| known.seconds);
        let memory = measured.and_then(|known| known.peak_memory_bytes);
        Cost {
            reference_ms: whole(seconds * 1000.0).max(1),
            memory_bytes: memory.unwrap_or_else(|| whole(quantile(&MEBIBYTES, memory_rank) * 1_048_576.0)),
        }
    }

    /// What the `number`th build of `source` before this simulation took, in milliseconds on the reference machine.
    #[must_use]
    pub fn past_ms(&self, source: &str, number: u32) -> u64 {
        let (least, most) = PAST_TIMES;
        let times = Random::of(self.seed.wrapping_add(u64::from(number)), "past", source).fraction();
        let reference_ms = float(self.cost(source).reference_ms);
        whole(reference_ms * (least + (most - least) * times)).max(1)
    }
}

/// The rank of a weighted sum of two even spreads among all such sums.
fn rank_of_sum(time: f64, own: f64) -> f64 {
    let (large, small) = (MEMORY_FOLLOWS_TIME, 1.0 - MEMORY_FOLLOWS_TIME);
    let sum = large * time + small * own;
    // The density of the sum is a trapezoid: it rises up to `small`, is level up to `large`, and falls up to 1.
    let rising = |upto: f64| upto * upto / (2.0 * large * small);
    if sum < small {
        rising(sum)
    } else if sum < large {
        (sum - small / 2.0) / large
    } else {
        1.0 - rising(1.0 - sum)
    }
}

/// Milliseconds that a build of `reference_ms` takes at `pace`, rounded up: never faster than the model allows.
pub(super) fn at_pace_ms(reference_ms: u64, pace: f64) -> u64 {
    whole((float(reference_ms) / pace).ceil()).max(1)
}

/// As a float. Exact up to 2^53 ms, some 285,000 years.
#[expect(clippy::cast_precision_loss, reason = "times of a simulation are far below 2^53 ms")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

/// The whole part; 0 for what is negative or no number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from floats the cast keeps within the range by itself"
)]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Cost> {
        let model = Model::new(1, HashMap::new());
        (0..20_000).map(|number| model.cost(&format!("recipe-{number}"))).collect()
    }

    #[test]
    fn times_have_the_shape_that_is_written_down() {
        let mut seconds: Vec<u64> = all().iter().map(|cost| cost.reference_ms / 1000).collect();
        seconds.sort_unstable();
        let at = |per_mille: usize| seconds[seconds.len() * per_mille / 1000];
        assert!((55..66).contains(&at(500)), "median {}", at(500));
        assert!((390..450).contains(&at(900)), "ninth tenth {}", at(900));
        assert!((2300..3300).contains(&at(990)), "worst hundredth {}", at(990));
        assert!(seconds[seconds.len() - 1] <= 14_400);
        let mean = seconds.iter().sum::<u64>() / 20_000;
        assert!((200..260).contains(&mean), "mean {mean}");
    }

    #[test]
    fn long_builds_tend_to_be_large_and_the_table_of_memory_holds() {
        let costs = all();
        let mut memory: Vec<u64> = costs.iter().map(|cost| cost.memory_bytes >> 20).collect();
        memory.sort_unstable();
        assert!((850..950).contains(&memory[10_000]), "median {} MiB", memory[10_000]);
        assert!((3600..4400).contains(&memory[18_000]), "ninth tenth {} MiB", memory[18_000]);
        assert!(memory[19_999] <= 16_384);
        let mean_of = |wanted: &dyn Fn(u64) -> bool| {
            let chosen: Vec<u64> =
                costs.iter().filter(|cost| wanted(cost.reference_ms)).map(|cost| cost.memory_bytes).collect();
            chosen.iter().sum::<u64>() / chosen.len() as u64
        };
        assert!(mean_of(&|time| time > 600_000) > 3 * mean_of(&|time| time < 30_000));
    }

    #[test]
    fn what_was_measured_counts() {
        let model = Model::new(
            1,
            HashMap::from([
                ("llvm".into(), Measured { seconds: 5000.5, peak_memory_bytes: Some(9 << 30) }),
                ("zlib".into(), Measured { seconds: 0.0, peak_memory_bytes: None }),
            ]),
        );
        assert_eq!(model.cost("llvm"), Cost { reference_ms: 5_000_500, memory_bytes: 9 << 30 });
        assert_eq!(model.cost("zlib").reference_ms, 1, "nothing takes no time at all");
        assert!(model.cost("zlib").memory_bytes > 0);
        assert_ne!(model.cost("xz"), Model::new(2, HashMap::new()).cost("xz"), "another seed, another world");
    }

    #[test]
    fn the_past_is_near_but_not_the_same() {
        let model = Model::new(1, HashMap::new());
        for number in 1..=3 {
            let now = float(model.cost("llvm").reference_ms);
            let past = float(model.past_ms("llvm", number));
            assert!((0.84..1.19).contains(&(past / now)), "{past} against {now}");
        }
        assert_ne!(model.past_ms("llvm", 1), model.past_ms("llvm", 2));
    }

    #[test]
    fn pace_rounds_against_the_builder() {
        for (reference_ms, pace, expect) in
            [(1000, 1.0, 1000), (1000, 0.6, 1667), (1, 100.0, 1), (1000, 2.08, 481)]
        {
            assert_eq!(at_pace_ms(reference_ms, pace), expect);
        }
    }
}
