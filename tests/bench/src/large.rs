//! A thousand builders and three hundred thousand recipes that nobody has.
//!
//! The shape is that of a rebuild of everything after the toolchain changed: a knot of a few hundred recipes at the
//! bottom, one recipe that needs all of them, and above it 35,000 columns, each recipe of which needs the one below it
//! (the lowest that one recipe), some of the neighbours of that, and some of the recipes that everybody uses. So, once the
//! bottom is done, 35,000 recipes can be started at one moment, and many thousands for as long as the columns last.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use farm::catalogue::{Catalogue, RecipeEntry};
use farm::graph::{Graph, HostProvides, Supply};
use farm::moment::Moment;
use farm::published::{Published, PublishedPackage};
use farm::schedule::Policy;
use farm::sim::{Faults, Fleet, Model, Random, Setup, SpecError, Watch, simulate_watched};
use package::Dependency;
use serde::{Deserialize, Serialize};

use crate::machine::memory_mib;
use crate::timing;

/// Recipes in all, as many as the queue runner of the largest known farm has had steps.
const RECIPES: usize = 300_000;

/// Columns above the bottom.
const COLUMNS: usize = 35_000;

/// Recipes that need each other, at the bottom: as many as AerynOS has in its knot.
const KNOT: usize = 609;

/// What needs all of the bottom, and is needed by every column.
const GATE: &str = "toolchain";

/// Builders.
const BUILDERS: usize = 1000;

/// From how many runnable recipes on the scheduler's share of a core is counted by itself.
pub(crate) const BUSY: usize = 20_000;

/// What was measured of the large farm.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) recipes: usize,
    pub(crate) edges: usize,
    pub(crate) builders: usize,
    pub(crate) places: u32,
    pub(crate) ready_most: usize,
    pub(crate) graph_seconds: f64,
    pub(crate) begin_ms: f64,
    pub(crate) assignments: usize,
    pub(crate) assigned_p50_ms: f64,
    pub(crate) assigned_p99_ms: f64,
    pub(crate) assigned_worst_ms: f64,
    pub(crate) virtual_hours: f64,
    pub(crate) builds_per_second: f64,
    pub(crate) core_share: f64,
    pub(crate) busy_core_share: f64,
    pub(crate) busy_ready_mean: usize,
    pub(crate) us_per_build: f64,
    pub(crate) catalogue_mib: u64,
    pub(crate) graph_mib: u64,
    pub(crate) farm_mib: u64,
    pub(crate) peak_mib: u64,
}

/// Notes the time of every decision.
#[derive(Debug, Default)]
struct Clock {
    begun: Option<Instant>,
    first: Option<Duration>,
    /// By assignment, from what made it possible to the decision.
    waits: Vec<Duration>,
    spent: Duration,
    busy_spent: Duration,
    busy_ms: u64,
    busy_ready_ms: u128,
    last: Moment,
    last_ready: usize,
}

impl Watch for Clock {
    fn begins(&mut self) {
        self.begun = Some(Instant::now());
    }

    fn passed(&mut self, now: Moment, ready: usize, started: usize) {
        let took = self.begun.map(|begun| begun.elapsed()).unwrap_or_default();
        if self.first.is_none() {
            self.first = Some(took);
            self.last = now;
            return;
        }
        self.waits.extend(std::iter::repeat_n(took, started));
        self.spent += took;
        if self.last_ready >= BUSY {
            let passed_ms = now.0.saturating_sub(self.last.0);
            self.busy_spent += took;
            self.busy_ms += passed_ms;
            self.busy_ready_ms += u128::from(passed_ms) * u128::try_from(self.last_ready).unwrap_or(0);
        }
        self.last = now;
        self.last_ready = ready;
    }
}

/// Runs the large farm once.
pub(crate) fn measure() -> Result<Figures, SpecError> {
    let (before_mib, _) = memory_mib();
    let catalogue = catalogue();
    let (with_catalogue_mib, _) = memory_mib();
    let begin = Instant::now();
    let own = bottom_generation();
    let graph = Graph::new(&catalogue, &Supply { own: &own, others: &[], host: HostProvides::Everything });
    let graph_seconds = begin.elapsed().as_secs_f64();
    let (with_graph_mib, _) = memory_mib();

    let fleet = fleet()?;
    let model = Model::new(1, HashMap::new());
    let faults = Faults::default();
    let setup = Setup {
        graph: &graph,
        architecture: "x86_64",
        fleet: &fleet,
        model: &model,
        faults: &faults,
        policy: Policy::CriticalPath,
        past_builds: 1,
    };
    let mut clock = Clock::default();
    let outcome = simulate_watched(&setup, &mut clock);
    let (_, peak_mib) = memory_mib();
    let catalogue_mib = with_catalogue_mib.saturating_sub(before_mib);
    let seconds = milliseconds(outcome.makespan_ms) / 1000.0;
    let builds = milliseconds(u64::try_from(outcome.published).unwrap_or(0));
    Ok(Figures {
        recipes: catalogue.recipes().len(),
        edges: graph.edge_count(),
        builders: BUILDERS,
        places: fleet.places(setup.width()),
        ready_most: outcome.ready_most,
        graph_seconds,
        begin_ms: clock.first.unwrap_or_default().as_secs_f64() * 1000.0,
        assignments: clock.waits.len(),
        assigned_p50_ms: timing::at(&mut clock.waits, 50),
        assigned_p99_ms: timing::at(&mut clock.waits, 99),
        assigned_worst_ms: timing::at(&mut clock.waits, 100),
        virtual_hours: seconds / 3600.0,
        builds_per_second: builds / seconds,
        core_share: clock.spent.as_secs_f64() / seconds,
        busy_core_share: clock.busy_spent.as_secs_f64() / (milliseconds(clock.busy_ms) / 1000.0).max(1.0),
        busy_ready_mean: usize::try_from(clock.busy_ready_ms / u128::from(clock.busy_ms.max(1))).unwrap_or(0),
        us_per_build: clock.spent.as_secs_f64() * 1e6 / builds.max(1.0),
        catalogue_mib,
        graph_mib: with_graph_mib.saturating_sub(with_catalogue_mib),
        farm_mib: peak_mib.saturating_sub(before_mib + catalogue_mib),
        peak_mib,
    })
}

fn catalogue() -> Catalogue {
    let mut random = Random::new(1);
    let mut draw = |end: usize| usize::try_from(random.below(u64::try_from(end).unwrap_or(0))).unwrap_or(0);
    let mut entries = Vec::with_capacity(RECIPES);
    for member in 0..KNOT {
        let mut needs: BTreeSet<String> = (0..6).map(|_| bottom(draw(KNOT))).collect();
        // The ring makes it one knot whatever is drawn.
        needs.insert(bottom((member + 1) % KNOT));
        needs.remove(&bottom(member));
        entries.push(entry(bottom(member), needs));
    }
    entries.push(entry(GATE.into(), (0..KNOT).map(bottom).collect()));
    for number in 0..RECIPES - KNOT - 1 {
        let (level, column) = (number / COLUMNS, number % COLUMNS);
        let mut needs: BTreeSet<String> = (0..5).map(|_| bottom(draw(KNOT).min(draw(KNOT)))).collect();
        if level == 0 {
            needs.insert(GATE.into());
        } else {
            needs.insert(above(level - 1, column));
            needs.extend((0..4).map(|_| above(level - 1, (column + draw(4)) % COLUMNS)));
        }
        entries.push(entry(above(level, column), needs));
    }
    Catalogue::new(entries, Vec::new())
}

fn bottom(member: usize) -> String {
    format!("base-{member:03}")
}

fn above(level: usize, column: usize) -> String {
    format!("part-{column:05}-{level}")
}

fn entry(source: String, needs: BTreeSet<String>) -> RecipeEntry {
    RecipeEntry {
        path: format!("{source}/stone.yaml"),
        content: source.clone(),
        version: "1".into(),
        release: 1,
        packages: Vec::new(),
        build_depends: needs.into_iter().map(Dependency::name).collect(),
        run_depends: BTreeSet::new(),
        manifest: None,
        source,
    }
}

/// The knot has been built before, or nothing could begin.
fn bottom_generation() -> Published {
    Published::new((0..KNOT).map(|member| PublishedPackage {
        name: bottom(member),
        source: bottom(member),
        version: "1".into(),
        release: 0,
        build_release: 1,
        provides: Box::default(),
        depends: Box::default(),
        download_size_bytes: 0,
    }))
}

/// From 4 to 32 cores, and from half to one and a half times the reference speed.
fn fleet() -> Result<Fleet, SpecError> {
    let of = |number: usize| {
        let cores = [4, 8, 16, 16, 32][number % 5];
        let (whole, tenth) = ((5 + number % 11) / 10, (5 + number % 11) % 10);
        format!("b{number:03}={cores}:{whole}.{tenth}:{}G", cores * 4)
    };
    let text: Vec<String> = (0..BUILDERS).map(of).collect();
    text.join(",").parse()
}

#[expect(clippy::cast_precision_loss, reason = "times of a simulation are far below 2^53 ms")]
fn milliseconds(value: u64) -> f64 {
    value as f64
}
