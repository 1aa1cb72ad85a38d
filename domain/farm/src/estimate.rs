//! How long builds take and how fast builders are, learned from what was built.
//!
//! The time of a build is taken to be the time of its recipe on a reference machine divided by the speed of the
//! builder, and both are learned at once in logarithms: what a sample shows beyond what was expected is shared between
//! the two by how little is known about each. So a new recipe teaches nothing about its builder, a recipe known from
//! other builders teaches the speed of a new one, and both go on following slow changes. A single odd sample moves
//! neither far. A recipe that only one builder has built is known relative to that builder: what is learned of the
//! builder later corrects the recipe as well.
//!
//! Only builds that were finished belong here. A sample costs the same however much was learned before. Equal samples
//! in equal order give equal estimates.

use std::collections::{BTreeMap, HashMap};

use crate::ids::BuilderId;
use crate::moment::Moment;
use crate::texts::Texts;

/// Variance of the logarithm of a build's time when recipe and builder are the same: about 15 % up or down.
const NOISE: f64 = 0.02;

/// What is not known of a builder in the beginning: most are between half and twice as fast as the reference.
const BUILDER_UNKNOWN: f64 = 0.25;

/// What is not known of a recipe in the beginning: anything between seconds and hours.
const RECIPE_UNKNOWN: f64 = 9.0;

/// What always stays unknown of a recipe, so that its estimate follows its latest builds: the newest of many counts
/// for about a third.
const RECIPE_UNKNOWN_MIN: f64 = 0.01;

/// What always stays unknown of a builder. Its machine changes seldom: the newest sample counts for a few percent.
const BUILDER_UNKNOWN_MIN: f64 = 0.001;

/// What is forgotten of a recipe in a day: after a year without a build little is left but the order of magnitude.
const FORGOTTEN_PER_DAY: f64 = 0.001;

/// The largest step in logarithms that one sample of something known may make.
const SURPRISE_MAX: f64 = 1.0;

/// How much of what it was too high a peak of memory comes down with each build that needed less.
const MEMORY_COMES_DOWN: u64 = 4;

/// Seconds that are taken for less: below that a build is nothing but its preparation.
const SECONDS_MIN: f64 = 0.1;

const DAY_MS: f64 = 86_400_000.0;

/// A build that was finished.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Source name.
    pub source: String,
    /// Architecture.
    pub architecture: String,
    /// Who built it.
    pub builder: BuilderId,
    /// How long it took.
    pub seconds: f64,
    /// Memory at its peak; 0 when that was not measured.
    pub peak_memory_bytes: u64,
    /// When it was done.
    pub at: Moment,
}

/// What is expected of a build.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Seconds on the reference machine.
    pub reference_seconds: f64,
    /// Memory at its peak; 0 when that is not known.
    pub memory_bytes: u64,
}

impl Expected {
    /// The time on the reference machine as the scheduler takes it; at least one millisecond.
    #[must_use]
    pub fn reference_ms(self) -> u64 {
        crate::schedule::whole(self.reference_seconds * 1000.0).max(1)
    }
}

/// Something learned: the logarithm, and how uncertain it is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Learned {
    value: f64,
    variance: f64,
}

#[derive(Debug, Clone, Copy)]
struct Recipe {
    /// On the reference machine; on its only builder, while there is only one.
    time: Learned,
    only_builder: Option<u32>,
    memory_bytes: u64,
    at: Moment,
    /// What it adds to the sum of all.
    counted: f64,
}

/// What was learned of builds for one architecture.
#[derive(Debug, Clone, Default)]
struct Recipes {
    sources: Texts,
    /// By the number of the source.
    learned: Vec<Recipe>,
}

impl Recipes {
    fn get(&self, source: &str) -> Option<&Recipe> {
        self.learned.get(self.sources.find(source)? as usize)
    }

    fn set(&mut self, source: &str, recipe: Recipe) {
        let (number, _) = self.sources.intern(source);
        match self.learned.get_mut(number as usize) {
            Some(known) => *known = recipe,
            None => self.learned.push(recipe),
        }
    }
}

/// Everything that was learned.
#[derive(Debug, Clone, Default)]
pub struct Estimates {
    /// By architecture.
    recipes: BTreeMap<String, Recipes>,
    builders: HashMap<BuilderId, u32>,
    /// By the numbers that `builders` gives.
    speeds: Vec<Learned>,
    sum_of_times: f64,
    known: u32,
}

impl Estimates {
    /// Learns from one build. Give samples in the order in which the builds were done.
    pub fn learn(&mut self, sample: &Sample) {
        if !sample.seconds.is_finite() || sample.seconds <= 0.0 {
            return;
        }
        let measured = sample.seconds.max(SECONDS_MIN).ln();
        let builder = self.builder(&sample.builder);
        let known = self.recipes.get(&sample.architecture).and_then(|recipes| recipes.get(&sample.source));
        let mut recipe = match known {
            None => {
                self.known = self.known.saturating_add(1);
                Recipe {
                    time: Learned { value: measured, variance: NOISE },
                    only_builder: Some(builder),
                    memory_bytes: sample.peak_memory_bytes,
                    at: sample.at,
                    counted: 0.0,
                }
            }
            Some(&recipe) => {
                let days = crate::schedule::milliseconds(sample.at.0.saturating_sub(recipe.at.0)) / DAY_MS;
                let variance = (recipe.time.variance + days * FORGOTTEN_PER_DAY).min(RECIPE_UNKNOWN);
                let (time, only_builder) =
                    self.compare(Learned { variance, ..recipe.time }, recipe.only_builder, builder, measured);
                let memory_bytes = memory(recipe.memory_bytes, sample.peak_memory_bytes);
                Recipe { time, only_builder, memory_bytes, at: sample.at, ..recipe }
            }
        };
        let counted = self.reference(&recipe);
        self.sum_of_times += counted - recipe.counted;
        recipe.counted = counted;
        match self.recipes.get_mut(&sample.architecture) {
            Some(recipes) => recipes.set(&sample.source, recipe),
            None => {
                let mut recipes = Recipes::default();
                recipes.set(&sample.source, recipe);
                self.recipes.insert(sample.architecture.clone(), recipes);
            }
        }
    }

    /// Shares what a sample shows beyond what was expected between all that the expectation was made of. Returns what is
    /// known of the recipe then.
    fn compare(
        &mut self,
        time: Learned,
        only_builder: Option<u32>,
        builder: u32,
        measured: f64,
    ) -> (Learned, Option<u32>) {
        let none = Learned { value: 0.0, variance: 0.0 };
        let (first, speed) = match only_builder {
            // The same builder again: its speed is in both and cannot be seen.
            Some(only) if only == builder => (none, none),
            Some(only) => (self.speeds[only as usize], self.speeds[builder as usize]),
            None => (none, self.speeds[builder as usize]),
        };
        let expected = time.value + first.value - speed.value;
        let surprise = (measured - expected).clamp(-SURPRISE_MAX, SURPRISE_MAX);
        let total = time.variance + first.variance + speed.variance + NOISE;
        let (own, mut time) = (time.variance / total, time);
        time.value += own * surprise;
        time.variance = (time.variance * (1.0 - own)).max(RECIPE_UNKNOWN_MIN);
        let mut learn = |at: u32, part: f64, sign: f64| {
            let speed = &mut self.speeds[at as usize];
            speed.value += sign * part * surprise;
            speed.variance = (speed.variance * (1.0 - part)).max(BUILDER_UNKNOWN_MIN);
        };
        match only_builder {
            Some(only) if only == builder => (time, only_builder),
            Some(only) => {
                learn(only, first.variance / total, 1.0);
                learn(builder, speed.variance / total, -1.0);
                time.value += self.speeds[only as usize].value;
                // From now on both builders' speeds are in it, and neither can be told apart any more.
                time.variance +=
                    self.speeds[only as usize].variance.min(self.speeds[builder as usize].variance);
                (time, None)
            }
            None => {
                learn(builder, speed.variance / total, -1.0);
                (time, None)
            }
        }
    }

    fn builder(&mut self, id: &BuilderId) -> u32 {
        if let Some(&number) = self.builders.get(id) {
            return number;
        }
        let number = u32::try_from(self.speeds.len()).unwrap_or(u32::MAX);
        self.speeds.push(NEW_BUILDER);
        self.builders.insert(id.clone(), number);
        number
    }

    /// The logarithm of the time of a recipe on the reference machine.
    fn reference(&self, recipe: &Recipe) -> f64 {
        let speed = recipe.only_builder.and_then(|only| self.speeds.get(only as usize));
        recipe.time.value + speed.map_or(0.0, |speed| speed.value)
    }

    /// What to expect of a build on the reference machine. Where it was never built for this architecture, what it
    /// took for another one; none when it was never built at all.
    #[must_use]
    pub fn expected(&self, source: &str, architecture: &str) -> Option<Expected> {
        let here = self.recipes.get(architecture).and_then(|recipes| recipes.get(source));
        let recipe = here.or_else(|| self.recipes.values().find_map(|recipes| recipes.get(source)))?;
        Some(Expected { reference_seconds: self.reference(recipe).exp(), memory_bytes: recipe.memory_bytes })
    }

    /// Seconds that a build takes on `builder`; none when it was never built at all.
    #[must_use]
    pub fn expected_on(&self, source: &str, architecture: &str, builder: &BuilderId) -> Option<f64> {
        Some(self.expected(source, architecture)?.reference_seconds / self.speed(builder))
    }

    /// How fast a builder is: a build on it takes the time of the reference machine divided by this. 1.0 for one that
    /// is not known.
    #[must_use]
    pub fn speed(&self, builder: &BuilderId) -> f64 {
        let speed = self.builders.get(builder).and_then(|&number| self.speeds.get(number as usize));
        speed.map_or(1.0, |speed| speed.value.exp())
    }

    /// Seconds that a recipe of which nothing is known takes on the reference machine: the middle of all that are
    /// known; none when none is.
    #[must_use]
    pub fn typical_seconds(&self) -> Option<f64> {
        (self.known > 0).then(|| (self.sum_of_times / f64::from(self.known)).exp())
    }
}

const NEW_BUILDER: Learned = Learned { value: 0.0, variance: BUILDER_UNKNOWN };

/// A peak goes up at once, and comes down slowly: too little memory ends a build, too much only makes it wait.
fn memory(known: u64, measured: u64) -> u64 {
    match measured {
        0 => known,
        measured if measured >= known => measured,
        measured => known - (known - measured) / MEMORY_COMES_DOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repeatable noise: the sum of four even ones, so roughly a bell, with a deviation of about 1.
    struct Noise(u64);

    impl Noise {
        fn even(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            crate::schedule::milliseconds(self.0 >> 33) / f64::from(1_u32 << 31)
        }

        fn bell(&mut self) -> f64 {
            ((0..4).map(|_| self.even()).sum::<f64>() - 2.0) * 1.73
        }

        fn below(&mut self, end: usize) -> usize {
            usize::try_from(crate::schedule::whole(self.even() * f64::from(u32::try_from(end).unwrap())))
                .unwrap()
        }
    }

    const SPEEDS: [(&str, f64); 4] = [("a", 1.0), ("b", 0.8), ("c", 0.6), ("d", 0.5)];

    fn builder(name: &str) -> BuilderId {
        BuilderId(name.into())
    }

    fn sample(source: &str, builder: &str, seconds: f64) -> Sample {
        Sample {
            source: source.into(),
            architecture: "x86_64".into(),
            builder: self::builder(builder),
            seconds,
            peak_memory_bytes: 0,
            at: Moment(0),
        }
    }

    /// Builds of 200 recipes in random places, with times that scatter.
    fn learned(builds: usize, scatter: f64, odd_every: usize) -> (Estimates, Vec<f64>) {
        let mut noise = Noise(7);
        let truth: Vec<f64> = (0..200).map(|_| (3.0 + 5.0 * noise.even()).exp()).collect();
        let mut estimates = Estimates::default();
        for build in 0..builds {
            let (recipe, (name, speed)) = (noise.below(200), SPEEDS[noise.below(4)]);
            let odd = if build % odd_every == odd_every - 1 { 20.0 } else { 1.0 };
            let seconds = truth[recipe] / speed * (scatter * noise.bell()).exp() * odd;
            estimates.learn(&sample(&format!("recipe-{recipe}"), name, seconds));
        }
        (estimates, truth)
    }

    /// The largest error of a builder's speed, and the mean error of what is expected on a builder; both as factors.
    fn errors(estimates: &Estimates, truth: &[f64]) -> (f64, f64) {
        let first = estimates.speed(&builder("a"));
        let speed_error = SPEEDS.iter().map(|&(name, speed)| {
            let found = estimates.speed(&builder(name)) / first;
            (found / speed).ln().abs()
        });
        let time_errors = truth.iter().enumerate().filter_map(|(recipe, seconds)| {
            let found = estimates.expected_on(&format!("recipe-{recipe}"), "x86_64", &builder("c"))?;
            Some((found / (seconds / 0.6)).ln().abs())
        });
        let time_errors: Vec<f64> = time_errors.collect();
        let count = f64::from(u32::try_from(time_errors.len()).unwrap());
        (speed_error.fold(0.0, f64::max).exp(), (time_errors.iter().sum::<f64>() / count).exp())
    }

    #[test]
    fn speeds_and_times_are_found_in_scattered_samples() {
        for (builds, scatter, speeds_within, times_within) in
            [(400, 0.05, 1.15, 1.12), (1000, 0.15, 1.10, 1.12), (4000, 0.15, 1.06, 1.10)]
        {
            let (estimates, truth) = learned(builds, scatter, usize::MAX);
            let (speeds, times) = errors(&estimates, &truth);
            assert!(speeds < speeds_within, "{builds} builds: speeds are {speeds:.3} off");
            assert!(times < times_within, "{builds} builds: times are {times:.3} off");
        }
    }

    #[test]
    fn odd_builds_spoil_little() {
        let (estimates, truth) = learned(4000, 0.15, 50);
        let (speeds, times) = errors(&estimates, &truth);
        assert!(
            speeds < 1.12 && times < 1.20,
            "one in fifty took twenty times as long: {speeds:.3} {times:.3}"
        );
    }

    #[test]
    fn a_new_builder_is_known_after_a_few_builds_of_known_recipes() {
        let (mut estimates, truth) = learned(4000, 0.15, usize::MAX);
        let before = estimates.speed(&builder("a"));
        for (recipe, seconds) in truth.iter().enumerate().take(5) {
            estimates.learn(&sample(&format!("recipe-{recipe}"), "new", seconds / 2.0));
        }
        let found = estimates.speed(&builder("new")) / before;
        assert!((1.7..2.3).contains(&found), "{found}");
        assert!((estimates.speed(&builder("a")) - before).abs() < 1e-9, "the others stay what they are");
    }

    #[test]
    fn what_one_builder_built_is_corrected_when_its_speed_is_learned() {
        let mut estimates = Estimates::default();
        for recipe in 0..30 {
            estimates.learn(&sample(&format!("slow-{recipe}"), "slow", 200.0));
        }
        // Half of them on a builder that is twice as fast: the other half was never built there.
        for recipe in 0..15 {
            estimates.learn(&sample(&format!("slow-{recipe}"), "fast", 100.0));
        }
        let found = estimates.expected_on("slow-29", "x86_64", &builder("fast")).unwrap();
        assert!((95.0..105.0).contains(&found), "{found}");
    }

    #[test]
    fn new_recipes_teach_nothing_about_their_builder() {
        let mut estimates = Estimates::default();
        for recipe in 0..100 {
            estimates.learn(&sample(&format!("long-{recipe}"), "a", 10_000.0));
        }
        assert_eq!(estimates.speed(&builder("a")).to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn a_recipe_that_grew_is_followed() {
        let mut estimates = Estimates::default();
        (0..20).for_each(|_| estimates.learn(&sample("llvm", "a", 1000.0)));
        (0..6).for_each(|_| estimates.learn(&sample("llvm", "a", 4000.0)));
        let found = estimates.expected_on("llvm", "x86_64", &builder("a")).unwrap();
        assert!((3000.0..4500.0).contains(&found), "{found}");
    }

    #[test]
    fn memory_goes_up_at_once_and_comes_down_slowly() {
        let mut estimates = Estimates::default();
        let mut peaks = Vec::new();
        for peak_memory_bytes in [1000, 0, 5000, 1000, 1000, 6000] {
            estimates.learn(&Sample { peak_memory_bytes, ..sample("llvm", "a", 1000.0) });
            peaks.push(estimates.expected("llvm", "x86_64").unwrap().memory_bytes);
        }
        assert_eq!(peaks, [1000, 1000, 5000, 4000, 3250, 6000]);
    }

    #[test]
    fn what_is_not_known_is_said_or_taken_from_the_nearest() {
        let mut estimates = Estimates::default();
        assert_eq!((estimates.typical_seconds(), estimates.expected("a", "x86_64")), (None, None));
        assert_eq!(estimates.speed(&builder("nobody")).to_bits(), 1.0_f64.to_bits());
        estimates.learn(&sample("a", "a", 10.0));
        estimates.learn(&sample("b", "a", 1000.0));
        let typical = estimates.typical_seconds().unwrap();
        assert!((typical - 100.0).abs() < 1e-6, "the middle in logarithms: {typical}");
        assert_eq!(estimates.expected("a", "aarch64"), estimates.expected("a", "x86_64"));
        assert_eq!(estimates.expected("c", "x86_64"), None);
        let before = estimates.expected("a", "x86_64");
        for nonsense in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            estimates.learn(&sample("a", "a", nonsense));
        }
        assert_eq!(estimates.expected("a", "x86_64"), before);
        assert_eq!(before.map(Expected::reference_ms), Some(10_000));
    }

    #[test]
    fn what_was_long_ago_counts_less() {
        let year = 365 * 86_400_000;
        let after = |days| {
            let mut estimates = Estimates::default();
            (0..20).for_each(|_| estimates.learn(&sample("a", "a", 100.0)));
            estimates.learn(&Sample { at: Moment(days), ..sample("a", "a", 200.0) });
            estimates.expected_on("a", "x86_64", &builder("a")).unwrap()
        };
        assert!(after(0) < 140.0 && after(year) > 180.0, "{} {}", after(0), after(year));
    }
}
