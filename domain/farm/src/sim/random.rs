//! Chance that can be repeated.
//!
//! The generator is SplitMix64: a counter that grows by an odd constant, and a mixing function over it. It is small,
//! good enough for a simulation (it passes the usual batteries), and every number depends on nothing but seed and
//! position, so that two runs with one seed agree on every machine. It is no source of secrets.

/// The golden ratio as a 64-bit fraction, made odd: the step of the counter.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A sequence of numbers that depends on its seed only.
#[derive(Debug, Clone)]
pub struct Random {
    counter: u64,
}

impl Random {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { counter: seed }
    }

    /// The sequence that belongs to `name` in the world of `seed`. What else is drawn, and in which order, does not
    /// change it: a recipe costs the same whichever scheduler builds it.
    #[must_use]
    pub fn of(seed: u64, purpose: &str, name: &str) -> Self {
        // FNV-1a: short names, no dependency, the same on every machine.
        let bytes = purpose.bytes().chain([0]).chain(name.bytes());
        let hash = bytes.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        Self { counter: mix(seed.wrapping_add(STEP)) ^ hash }
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(STEP);
        mix(self.counter)
    }

    /// The next number from 0 up to, not including, 1.
    pub fn fraction(&mut self) -> f64 {
        // The upper 32 bits, which a float holds exactly.
        let bits = u32::try_from(self.draw() >> 32).unwrap_or(u32::MAX);
        f64::from(bits) / 4_294_967_296.0
    }

    /// The next number from 0 up to, not including, `end`; 0 when that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The upper half of the product; its bias is below 2^-32 for every range in use here.
        let wide = u128::from(self.draw()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

/// Stafford's variant 13 of the MurmurHash3 finaliser.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A distribution, as points of its inverse: the fraction of draws that stay below, and the value there. Between the
/// points it is a straight line, so that no function differs from one machine's mathematics library to another's.
pub(super) fn quantile(points: &[(f64, f64)], fraction: f64) -> f64 {
    let above = points.iter().position(|&(at, _)| at >= fraction).unwrap_or(points.len().saturating_sub(1));
    let Some(&(high_at, high)) = points.get(above) else { return 0.0 };
    let Some(&(low_at, low)) = above.checked_sub(1).and_then(|below| points.get(below)) else { return high };
    let share = (fraction - low_at) / (high_at - low_at);
    low + (high - low) * share.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // The reference values of SplitMix64 for the seed 1234567.
        let mut random = Random::new(1_234_567);
        let drawn = [random.draw(), random.draw(), random.draw()];
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn names_and_purposes_have_sequences_of_their_own() {
        let first = |seed, purpose, name| Random::of(seed, purpose, name).draw();
        assert_eq!(first(1, "seconds", "zlib"), first(1, "seconds", "zlib"));
        assert_ne!(first(1, "seconds", "zlib"), first(2, "seconds", "zlib"));
        assert_ne!(first(1, "seconds", "zlib"), first(1, "memory", "zlib"));
        assert_ne!(first(1, "seconds", "zlib"), first(1, "seconds", "xz"));
    }

    #[test]
    fn fractions_are_spread_evenly() {
        let mut random = Random::new(7);
        let mean = (0..10_000).map(|_| random.fraction()).sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
        assert!((0..1000).all(|_| random.below(3) < 3));
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn quantiles_are_straight_between_their_points() {
        let points = [(0.0, 10.0), (0.5, 20.0), (1.0, 100.0)];
        for (fraction, expect) in [(0.0, 10.0), (0.25, 15.0), (0.5, 20.0), (0.75, 60.0), (1.0, 100.0)] {
            assert!((quantile(&points, fraction) - expect).abs() < 1e-9, "{fraction}");
        }
    }
}
