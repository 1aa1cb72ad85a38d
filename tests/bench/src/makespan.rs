//! How close to the lower bound each policy comes on the real graph.

use std::collections::HashMap;
use std::path::Path;

use farm::graph::HostProvides;
use farm::schedule::Policy;
use farm::sim::{Beginning, Faults, Fleet, Model, Outcome, Setup, graph, simulate};

use crate::BenchError;

/// Four unequal builders.
pub(crate) const BUILDERS: &str = "a=16:1.0:64G,b=8:0.8:32G,c=8:0.6:16G,d=4:0.5:16G";

/// What goes wrong in the runs with faults.
pub(crate) const FAULTS: &str = "crash=6h,repair=10m,straggle=0.02:4,host=0.01";

/// Worlds that are simulated.
pub(crate) const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;

/// Figures of one way to run the farm, over all seeds.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) ratios: Vec<f64>,
    pub(crate) makespans_ms: Vec<u64>,
    pub(crate) utilisations: Vec<f64>,
    pub(crate) unbuilt: usize,
}

/// Everything about makespans.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) rows: Vec<Row>,
    pub(crate) critical_path_share: f64,
}

/// Runs every policy in every world.
pub(crate) fn measure(recipes: &Path) -> Result<Figures, BenchError> {
    let catalogue = summit::recipes::read_folder(recipes, "x86_64")?;
    let graph = graph(&catalogue, Beginning::PreviousGeneration, HostProvides::Everything);
    let fleet: Fleet = BUILDERS.parse()?;
    let faults: Faults = FAULTS.parse()?;
    let none = Faults::default();
    let ways: [(&'static str, Policy, u32, &Faults); 5] = [
        ("critical path", Policy::CriticalPath, 3, &none),
        ("critical path, nothing known of earlier builds", Policy::CriticalPath, 0, &none),
        ("first in, first out", Policy::FirstInFirstOut, 3, &none),
        ("AerynOS's order and builds", Policy::AerynOs, 3, &none),
        ("critical path, with faults", Policy::CriticalPath, 3, &faults),
    ];
    let mut critical_path_share = 0.0_f64;
    let mut rows = Vec::new();
    for (name, policy, past_builds, faults) in ways {
        let mut row =
            Row { name, ratios: Vec::new(), makespans_ms: Vec::new(), utilisations: Vec::new(), unbuilt: 0 };
        for seed in SEEDS {
            let model = Model::new(seed, HashMap::new());
            let setup = Setup {
                graph: &graph,
                architecture: "x86_64",
                fleet: &fleet,
                model: &model,
                faults,
                policy,
                past_builds,
            };
            let outcome = simulate(&setup);
            critical_path_share = critical_path_share.max(share(&outcome));
            row.ratios.push(outcome.ratio());
            row.makespans_ms.push(outcome.makespan_ms);
            row.utilisations.push(outcome.utilisation);
            row.unbuilt += outcome.unbuilt.len();
        }
        rows.push(row);
    }
    Ok(Figures { rows, critical_path_share })
}

/// The critical path as a share of all work spread evenly.
#[expect(clippy::cast_precision_loss, reason = "times of a simulation are far below 2^53 ms")]
fn share(outcome: &Outcome) -> f64 {
    outcome.bound.critical_path_ms as f64 / outcome.bound.work_ms.max(1) as f64
}
