//! What goes wrong in a world, and when: a function of the seed.

use farm::sim::Random;

/// Time between two faults, in milliseconds: at least, at most.
const GAP_MS: (u64, u64) = (1_000, 4_000);
/// How long a way is held up, in milliseconds: at least, at most. Shorter than a lease: nobody notices.
const HOLD_MS: (u64, u64) = (500, 6_000);
/// One in so many is held up until leases run out.
const LONG_HOLD_ONE_IN: u64 = 6;
/// That long, in milliseconds: more than [`LEASE_SECONDS`].
const LONG_HOLD_MS: u64 = 25_000;
/// Leases of a world with faults: short, so that lost ones are seen.
pub(super) const LEASE_SECONDS: u32 = 20;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mishap {
    /// A service is killed, and started again.
    KillService(String),
    /// What an agent builds is killed: one of the programs that run for it, by rank.
    KillBuild { agent: String, rank: u64 },
    /// A connection is cut: one of those that a way has, by rank.
    Cut { way: String, rank: u64 },
    /// A way is held up, or two programs are parted: no byte passes and nobody is told.
    Hold { way: String, milliseconds: u64 },
}

impl Mishap {
    /// Faults of a kind are counted together.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Mishap::KillService(name) if name == "summit" => "Summit killed",
            Mishap::KillService(name) if name == "vessel" => "Vessel killed",
            Mishap::KillService(_) => "agent killed",
            Mishap::KillBuild { .. } => "build killed",
            Mishap::Cut { .. } => "connection cut",
            Mishap::Hold { .. } => "way held up",
        }
    }
}

impl std::fmt::Display for Mishap {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Mishap::KillService(service) => write!(formatter, "kill {service}"),
            Mishap::KillBuild { agent, .. } => write!(formatter, "kill a build of {agent}"),
            Mishap::Cut { way, .. } => write!(formatter, "cut a connection {way}"),
            Mishap::Hold { way, milliseconds } => write!(formatter, "hold up {way} for {milliseconds} ms"),
        }
    }
}

/// What can go wrong, without end.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    random: Random,
    at_ms: u64,
    agents: Vec<String>,
    ways: Vec<String>,
    can_cut: bool,
}

impl Schedule {
    /// The schedule of `seed` for these agents and these ways between programs. Where single connections cannot be cut,
    /// their ways are held up instead.
    pub(super) fn new(seed: u64, agents: &[String], ways: &[String], can_cut: bool) -> Self {
        let random = Random::of(seed, "world", "faults");
        Self { random, at_ms: 0, agents: agents.to_vec(), ways: ways.to_vec(), can_cut }
    }

    fn between(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.random.below(most - least + 1)
    }

    fn one_of(&mut self, names: &[String]) -> String {
        let place = self.random.below(u64::try_from(names.len()).unwrap_or(u64::MAX));
        usize::try_from(place).ok().and_then(|place| names.get(place)).cloned().unwrap_or_default()
    }
}

impl Iterator for Schedule {
    /// Milliseconds since the beginning, and what goes wrong then.
    type Item = (u64, Mishap);

    fn next(&mut self) -> Option<(u64, Mishap)> {
        self.at_ms += self.between(GAP_MS);
        let (agents, ways) = (self.agents.clone(), self.ways.clone());
        let kind = self.random.below(16);
        let mishap = match kind {
            0..=1 => Mishap::KillService("summit".to_owned()),
            2..=3 => Mishap::KillService("vessel".to_owned()),
            4..=6 => Mishap::KillService(self.one_of(&agents)),
            7..=9 => Mishap::KillBuild { agent: self.one_of(&agents), rank: self.random.draw() },
            10..=13 if self.can_cut => Mishap::Cut { way: self.one_of(&ways), rank: self.random.draw() },
            _ => {
                let is_long = self.random.below(LONG_HOLD_ONE_IN) == 0;
                let milliseconds = if is_long { LONG_HOLD_MS } else { self.between(HOLD_MS) };
                Mishap::Hold { way: self.one_of(&ways), milliseconds }
            }
        };
        Some((self.at_ms, mishap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64) -> Vec<(u64, Mishap)> {
        let names = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Schedule::new(seed, &names(&["agent-1", "agent-2"]), &names(&["a", "b", "c"]), true)
            .take(500)
            .collect()
    }

    #[test]
    fn a_seed_is_a_schedule() {
        assert_eq!(schedule(1), schedule(1));
        assert_ne!(schedule(1), schedule(2));
        assert!(schedule(1).windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn everything_goes_wrong_sooner_or_later() {
        let faults = schedule(3);
        for expected in
            ["kill summit", "kill vessel", "kill agent-1", "kill agent-2", "kill a build of agent-1"]
        {
            assert!(faults.iter().any(|(_, fault)| fault.to_string() == expected), "{expected}");
        }
        for way in ["a", "b", "c"] {
            assert!(
                faults.iter().any(|(_, fault)| matches!(fault, Mishap::Cut { way: cut, .. } if cut == way))
            );
        }
        assert!(faults.iter().any(|(_, fault)| matches!(fault, Mishap::Hold { milliseconds, .. }
            if *milliseconds > u64::from(LEASE_SECONDS) * 1000)));
    }
}
