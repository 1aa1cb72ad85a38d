//! The builders of a simulation.

use std::collections::HashSet;
use std::str::FromStr;

use super::spec::{Cursor, SpecError, decimal, plain_number, size_bytes};

/// Cores that one build is given. Most builds of a distribution gain little beyond it, and a machine that runs
/// several such builds gets more done than one that runs a single wide one.
pub const CORES_PER_BUILD: u32 = 4;

/// Share of a build that more cores make faster, in Amdahl's sense. Generous: configure scripts, linking and
/// installing run on one core, and are more than a tenth of most builds.
const PARALLEL_SHARE: f64 = 0.9;

/// Builders of a simulation: ten times what a large farm has.
const MACHINES_MAX: usize = 10_000;

/// The longest name, so that it fits beside its lane in a picture.
const NAME_CHARACTERS_MAX: usize = 40;

/// More cores than any machine has.
const CORES_MAX: u64 = 4096;

/// How builders are given.
const EXAMPLE: &str = "a=16:1.0:64G,b=8:0.8:32G (name=cores:speed:memory)";

/// How many cores a build gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// [`CORES_PER_BUILD`], several builds side by side on a large machine.
    Places,
    /// All that the machine has, one build at a time.
    WholeMachine,
}

/// One builder.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its cores.
    pub cores: u32,
    /// How fast a build on [`CORES_PER_BUILD`] of them is; the reference machine has 1.
    pub speed: f64,
    /// Its memory.
    pub memory_bytes: u64,
}

impl Machine {
    /// Builds that it takes at once.
    #[must_use]
    pub fn places(&self, width: Width) -> u32 {
        match width {
            Width::Places => (self.cores / CORES_PER_BUILD).max(1),
            Width::WholeMachine => 1,
        }
    }

    /// How many reference seconds of a build it does in one second.
    #[must_use]
    pub fn pace(&self, width: Width) -> f64 {
        match width {
            Width::Places => self.speed,
            Width::WholeMachine => self.speed * gain(self.cores),
        }
    }
}

/// How much faster a build is on all of `cores` than on [`CORES_PER_BUILD`], by Amdahl's law. Never more than the
/// builds that fit side by side, so that a wide build never does more in a second than narrow ones together.
fn gain(cores: u32) -> f64 {
    let seconds = |cores: u32| (1.0 - PARALLEL_SHARE) + PARALLEL_SHARE / f64::from(cores);
    seconds(CORES_PER_BUILD) / seconds(cores.max(CORES_PER_BUILD))
}

/// All builders, in the order in which they were given.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    machines: Vec<Machine>,
}

impl Fleet {
    /// The builders.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// Builds that run at once.
    #[must_use]
    pub fn places(&self, width: Width) -> u32 {
        self.machines.iter().map(|machine| machine.places(width)).sum()
    }

    /// Reference seconds of work that all of it does in one second, at the best.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        let of = |machine: &Machine| f64::from(machine.places(Width::Places)) * machine.speed;
        self.machines.iter().map(of).sum()
    }

    /// Reference seconds of one build that the best machine does in one second.
    #[must_use]
    pub fn best_pace(&self, width: Width) -> f64 {
        self.machines.iter().map(|machine| machine.pace(width)).fold(0.0, f64::max)
    }
}

impl FromStr for Fleet {
    type Err = SpecError;

    /// Reads `name=cores:speed:memory,…`; memory with `K`, `M`, `G` or `T`.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut cursor = Cursor::new("the builders", EXAMPLE, text);
        let mut machines = Vec::new();
        let mut names = HashSet::new();
        loop {
            let start = cursor.place();
            let name = cursor.value(&['=', ',', ':'], "the name of a builder", |word| {
                let usable = !word.is_empty()
                    && word.chars().count() <= NAME_CHARACTERS_MAX
                    && !word.chars().any(|sign| sign.is_control() || sign.is_whitespace());
                usable.then(|| word.to_owned())
            })?;
            if !names.insert(name.clone()) {
                return Err(cursor.error(start, "a name that no other builder has"));
            }
            cursor.expect('=', "and the number of cores")?;
            let cores = cursor.value(&[':', ','], "a number of cores from 1 to 4096", |word| {
                let cores = plain_number(word).filter(|cores| (1..=CORES_MAX).contains(cores))?;
                u32::try_from(cores).ok()
            })?;
            cursor.expect(':', "and the speed")?;
            let speed =
                cursor.value(&[':', ','], "a speed from 0.01 to 100 (1.0 is the reference)", |word| {
                    decimal(word, 0.01, 100.0)
                })?;
            cursor.expect(':', "and the memory")?;
            let memory_bytes = cursor.value(&[','], "an amount of memory such as 64G", |word| {
                size_bytes(word).filter(|&size| size > 0)
            })?;
            machines.push(Machine { name, cores, speed, memory_bytes });
            if cursor.is_at_end() {
                return Ok(Self { machines });
            }
            if machines.len() >= MACHINES_MAX {
                return Err(cursor.error(cursor.place(), "no more than 10000 builders"));
            }
            cursor.expect(',', "and the next builder")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use fault::Fault;

    use super::*;

    #[test]
    fn builders_are_read() {
        let fleet: Fleet = "a=16:1.0:64G,b=8:0.8:32G,c=8:0.6:16G,d=4:0.5:16G".parse().unwrap();
        let places: Vec<u32> = fleet.machines().iter().map(|machine| machine.places(Width::Places)).collect();
        assert_eq!(places, [4, 2, 2, 1]);
        assert_eq!(fleet.places(Width::Places), 9);
        assert_eq!(fleet.places(Width::WholeMachine), 4);
        assert!((fleet.capacity() - (4.0 + 1.6 + 1.2 + 0.5)).abs() < 1e-9);
        assert_eq!(fleet.machines()[1].memory_bytes, 32 << 30);
        assert_eq!("x=1:2:1G".parse::<Fleet>().unwrap().places(Width::Places), 1, "at least one place");
    }

    #[test]
    fn bad_builders_are_refused_with_their_place() {
        for (text, position, expected, found) in [
            ("", 1, "the name of a builder", "nothing"),
            ("=4:1:1G", 1, "the name of a builder", "nothing"),
            ("a b=4:1:1G", 1, "the name of a builder", "\"a b\""),
            ("a", 2, "'=' and the number of cores", "nothing"),
            ("a=x:1:1G", 3, "a number of cores from 1 to 4096", "\"x\""),
            ("a=0:1:1G", 3, "a number of cores from 1 to 4096", "\"0\""),
            ("a=4,b=4", 4, "':' and the speed", "\",b=4\""),
            ("a=4:fast:1G", 5, "a speed from 0.01 to 100 (1.0 is the reference)", "\"fast\""),
            ("a=4:1", 6, "':' and the memory", "nothing"),
            ("a=4:1:1Q", 7, "an amount of memory such as 64G", "\"1Q\""),
            ("a=4:1:1G,", 10, "the name of a builder", "nothing"),
            ("a=4:1:1G,a=4:1:1G", 10, "a name that no other builder has", "\"a=4:1:1G\""),
            ("ä=4:1:1G,é=4:1:x", 16, "an amount of memory such as 64G", "\"x\""),
        ] {
            let error = text.parse::<Fleet>().unwrap_err();
            assert_eq!(
                (error.position, error.expected.as_str(), error.found.as_str()),
                (position, expected, found),
                "{text:?}"
            );
            assert!(!error.hints().is_empty());
        }
    }

    #[test]
    fn a_wide_build_is_faster_but_never_beats_narrow_ones_side_by_side() {
        for cores in [1, 2, 4, 8, 16, 64, 256] {
            let machine = Machine { name: "m".into(), cores, speed: 1.0, memory_bytes: 1 };
            let wide = machine.pace(Width::WholeMachine);
            let narrow = f64::from(machine.places(Width::Places)) * machine.pace(Width::Places);
            assert!(wide >= 1.0 && wide <= narrow.max(1.0) + 1e-9, "{cores} cores: {wide} against {narrow}");
        }
        assert!((gain(16) - 2.08).abs() < 0.001, "{}", gain(16));
    }
}
