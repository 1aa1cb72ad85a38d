//! A farm that runs in a moment: what a schedule is worth, before anybody waits for it.
//!
//! The simulator is a virtual clock around the farm's own code. The same [`crate::graph`] says who needs whom, the same
//! [`crate::queue`] who is ready, the same [`crate::schedule`] who goes where, the same [`crate::task`] what becomes of a
//! task, and the same [`crate::estimate`] what the scheduler expects. Only the builds are made up ([`Model`]), and what
//! goes wrong ([`Faults`]). Equal questions have equal answers: all chance comes from the seed.
//!
//! What the model says:
//!
//! - A build takes the reference seconds of its recipe, divided by the speed of its builder. It uses four cores, and a
//!   builder has a place for every four of its cores, at least one. AerynOS's order is simulated with its way to build:
//!   one build at a time on all cores, which makes it faster by Amdahl's law ([`Machine::pace`]).
//! - Publishing takes two seconds and no builder. Orders and reports take no time.
//! - Everything is built once, against the previous generation of every package ([`Beginning::PreviousGeneration`]),
//!   or from nothing: then knots that nobody can begin stay unbuilt, and are named.
//! - The scheduler knows some earlier builds of every recipe, each off by up to a sixth, or none.
//! - A crash takes a builder and all its builds away; the leases run out a minute later. A task that the farm gives up
//!   after too many faults is asked for again after a quarter of an hour, as an operator would.
//!
//! What it leaves out: fetching sources, a full disk, builds that slow each other down on one machine, and the rounds
//! in which a knot is built again until nothing changes.

mod bound;
mod engine;
mod faults;
mod fleet;
mod gantt;
mod model;
mod outcome;
mod random;
mod spec;

use std::collections::{BTreeSet, HashSet};

use package::{Dependency, DependencyKind};

pub use bound::LowerBound;
pub use faults::Faults;
pub use fleet::{CORES_PER_BUILD, Fleet, Machine, Width};
pub use gantt::{clock, gantt};
pub use model::{Cost, Measured, Model};
pub use outcome::{BuildEnd, BuildRun, MachineUse, Outcome, Unbuilt};
pub use random::Random;
pub use spec::SpecError;

use crate::catalogue::Catalogue;
use crate::graph::{Graph, HostProvides, Supply};
use crate::ids::RecipeId;
use crate::moment::Moment;
use crate::published::{Published, PublishedPackage};
use crate::schedule::Policy;
use engine::Engine;
use model::float;

/// From the end of a build until its packages are published.
pub const PUBLISHING_MS: u64 = 2000;

/// What is there before the first build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Beginning {
    /// The previous release of every recipe is published.
    #[default]
    PreviousGeneration,
    /// No recipe was ever built.
    Nothing,
}

/// Everything that a simulation depends on.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// Who needs whom. Every recipe of it is built.
    pub graph: &'a Graph,
    /// The architecture that is built for.
    pub architecture: &'a str,
    /// The builders.
    pub fleet: &'a Fleet,
    /// What builds cost.
    pub model: &'a Model,
    /// What goes wrong.
    pub faults: &'a Faults,
    /// Who decides.
    pub policy: Policy,
    /// Earlier builds of every recipe that the scheduler has seen.
    pub past_builds: u32,
}

impl Setup<'_> {
    /// How many cores a build gets under this policy.
    #[must_use]
    pub fn width(&self) -> Width {
        match self.policy {
            Policy::AerynOs => Width::WholeMachine,
            Policy::CriticalPath | Policy::FirstInFirstOut => Width::Places,
        }
    }
}

/// Somebody with a real clock who wants to know how long decisions take.
pub trait Watch {
    /// Something happened: the farm begins to deal with it.
    fn begins(&mut self) {}

    /// It has dealt with it, at this moment of its own clock. So many tasks could have been started, and so many were.
    fn passed(&mut self, now: Moment, ready: usize, started: usize) {
        let _ = (now, ready, started);
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {}

/// The graph of a catalogue in which everything is to be built. What no recipe offers, and `elsewhere` covers, is in a
/// further repository; the machine that builds has nothing.
#[must_use]
pub fn graph(catalogue: &Catalogue, beginning: Beginning, elsewhere: HostProvides) -> Graph {
    let own = match beginning {
        Beginning::PreviousGeneration => previous_generation(catalogue),
        Beginning::Nothing => Published::default(),
    };
    let further = from_elsewhere(catalogue, elsewhere);
    Graph::new(catalogue, &Supply { own: &own, others: &[&further], host: HostProvides::Nothing })
}

/// Lets a farm build everything.
#[must_use]
pub fn simulate(setup: &Setup<'_>) -> Outcome {
    simulate_watched(setup, &mut Unwatched)
}

/// As [`simulate`], with somebody who watches.
#[must_use]
pub fn simulate_watched(setup: &Setup<'_>, watch: &mut dyn Watch) -> Outcome {
    let mut engine = Engine::new(setup);
    engine.run(watch);
    let cost = |recipe: RecipeId| setup.model.cost(setup.graph.source(recipe)).reference_ms;
    let mut cost_ms = vec![0; engine.published.len()];
    for recipe in setup.graph.recipes().filter(|recipe| engine.published[recipe.index()]) {
        cost_ms[recipe.index()] = cost(recipe);
    }
    let bound = bound::lower_bound(setup.graph, &cost_ms, setup.fleet, setup.width());
    let on_path: BTreeSet<RecipeId> = bound.critical_path.iter().copied().collect();
    let unbuilt = engine.unbuilt();
    let last_end = engine.runs.iter().map(|run| run.end.0).max().unwrap_or(0);
    let makespan_ms = engine.last_landing.0.max(last_end);
    let (machines, utilisation) = uses(setup, &engine, makespan_ms);
    let mut runs = std::mem::take(&mut engine.runs);
    for run in &mut runs {
        run.on_critical_path = on_path.contains(&run.recipe);
    }
    let mut waits_ms = std::mem::take(&mut engine.waits_ms);
    waits_ms.sort_unstable();
    let wait = |per_cent: usize| {
        waits_ms.get((waits_ms.len() * per_cent / 100).min(waits_ms.len().saturating_sub(1)))
    };
    Outcome {
        makespan_ms,
        bound,
        published: engine.published.iter().filter(|published| **published).count(),
        runs,
        utilisation,
        machines,
        wait_p50_ms: wait(50).copied().unwrap_or(0),
        wait_p99_ms: wait(99).copied().unwrap_or(0),
        unbuilt,
        asked_again: engine.asked_again,
        passes: engine.passes,
        ready_most: engine.ready_most,
    }
}

/// How much of the time each builder was in use, and all together.
fn uses(setup: &Setup<'_>, engine: &Engine<'_>, makespan_ms: u64) -> (Vec<MachineUse>, f64) {
    let width = setup.width();
    let mut used = 0.0;
    let mut there = 0.0;
    let mut machines = Vec::new();
    for (index, (machine, busy_ms)) in setup.fleet.machines().iter().zip(engine.busy_ms()).enumerate() {
        let places_ms = float(makespan_ms) * f64::from(machine.places(width));
        used += float(busy_ms) * machine.pace(width);
        there += places_ms * machine.pace(width);
        machines.push(MachineUse {
            name: machine.name.clone(),
            lanes: usize::try_from(machine.places(width)).unwrap_or(1),
            builds: engine
                .runs
                .iter()
                .filter(|run| run.machine == index && run.outcome == BuildEnd::Published)
                .count(),
            utilisation: if places_ms > 0.0 { float(busy_ms) / places_ms } else { 0.0 },
        });
    }
    (machines, if there > 0.0 { used / there } else { 0.0 })
}

/// The release before this one of every recipe, with all that its packages offer. What they needed at run time was
/// there, or they would not have been published.
fn previous_generation(catalogue: &Catalogue) -> Published {
    let packages = catalogue.recipes().iter().flat_map(|entry| {
        let offers = entry.offers();
        let names: BTreeSet<String> = match &entry.manifest {
            Some(manifest) if !manifest.packages.is_empty() => manifest.packages.clone(),
            _ => names_of(&offers).collect(),
        };
        // Which package offers what does not matter to the order of builds: the first stands for all.
        let provides = offers.into_iter().filter(|offer| offer.kind != DependencyKind::Name).collect();
        let provides = std::iter::once(provides).chain(std::iter::repeat_with(Box::default));
        names.into_iter().zip(provides).map(|(name, provides)| PublishedPackage {
            name,
            source: entry.source.clone(),
            version: entry.version.clone(),
            release: entry.release.saturating_sub(1),
            build_release: 1,
            provides,
            depends: Box::default(),
            download_size_bytes: 0,
        })
    });
    Published::new(packages)
}

/// A repository that has what no recipe of the catalogue offers, as far as it is said to.
fn from_elsewhere(catalogue: &Catalogue, covered: HostProvides) -> Published {
    let offered: HashSet<Dependency> = catalogue.recipes().iter().flat_map(|entry| entry.offers()).collect();
    let needed = catalogue.recipes().iter().flat_map(|entry| {
        let of_manifest = entry.manifest.iter().flat_map(|manifest| &manifest.depends);
        entry.build_depends.iter().chain(&entry.run_depends).chain(of_manifest)
    });
    let foreign: BTreeSet<&Dependency> =
        needed.filter(|needed| covered.covers(needed) && !offered.contains(*needed)).collect();
    let package = |name: &str, provides: Box<[Dependency]>| PublishedPackage {
        name: name.to_owned(),
        source: "elsewhere".into(),
        version: "1".into(),
        release: 1,
        build_release: 1,
        provides,
        depends: Box::default(),
        download_size_bytes: 0,
    };
    let (names, others): (Vec<&Dependency>, Vec<&Dependency>) =
        foreign.into_iter().partition(|foreign| foreign.kind == DependencyKind::Name);
    let of_name = names.into_iter().map(|foreign| package(&foreign.name, Box::default()));
    Published::new(of_name.chain([package("elsewhere", others.into_iter().cloned().collect())]))
}

fn names_of(offers: &BTreeSet<Dependency>) -> impl Iterator<Item = String> {
    offers.iter().filter(|offer| offer.kind == DependencyKind::Name).map(|offer| offer.name.clone())
}

#[cfg(test)]
mod tests;
