//! What came of a simulation.

use super::bound::LowerBound;
use crate::ids::RecipeId;
use crate::moment::Moment;

/// How one start of a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildEnd {
    /// The repository has what it made.
    Published,
    /// Its builder crashed.
    Lost,
    /// Its builder had a fault.
    HostFault,
    /// Another start of the same build was faster.
    Stopped,
    /// The recipe cannot be built.
    Broke,
}

/// One start of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRun {
    /// What was built.
    pub recipe: RecipeId,
    /// By which builder, by its index in the fleet.
    pub machine: usize,
    /// In which of its places.
    pub lane: usize,
    /// When the recipe could have started.
    pub ready: Moment,
    /// When it was started.
    pub start: Moment,
    /// When it ended.
    pub end: Moment,
    /// How.
    pub outcome: BuildEnd,
    /// Whether it was started while another builder built the same.
    pub is_second: bool,
    /// Whether the recipe lies on the way that bounds the whole.
    pub on_critical_path: bool,
}

/// What one builder did.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineUse {
    /// Its name.
    pub name: String,
    /// Its places.
    pub lanes: usize,
    /// Builds that it brought to an end.
    pub builds: usize,
    /// Share of its places and of the makespan in which it built something.
    pub utilisation: f64,
}

/// A recipe that was not built, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbuilt {
    /// The recipe.
    pub recipe: RecipeId,
    /// Why, in a line.
    pub why: String,
    /// Whether the reason is its own, and not that another one was not built.
    pub is_root: bool,
}

/// What came of a simulation. Times begin at 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// From the beginning until the last package was published and the last build ended.
    pub makespan_ms: u64,
    /// What no schedule can beat.
    pub bound: LowerBound,
    /// Recipes that were built and published.
    pub published: usize,
    /// Every start of a build, in the order in which they ended.
    pub runs: Vec<BuildRun>,
    /// Share of all places, each weighed by its speed, and of the makespan in which something was built.
    pub utilisation: f64,
    /// The builders, in the order of the fleet.
    pub machines: Vec<MachineUse>,
    /// Half of the builds waited at most so long for a place once they could start.
    pub wait_p50_ms: u64,
    /// All but a hundredth of the builds waited at most so long.
    pub wait_p99_ms: u64,
    /// What was not built.
    pub unbuilt: Vec<Unbuilt>,
    /// Tasks that the farm gave up after too many faults in a row and that somebody asked for again.
    pub asked_again: usize,
    /// Times that the scheduler was asked.
    pub passes: u64,
    /// The most recipes that could have been started at one moment.
    pub ready_most: usize,
}

impl Outcome {
    /// How many times as long as the bound it took; 1 when there was nothing to do.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        match self.bound.makespan_ms() {
            0 => 1.0,
            bound => super::model::float(self.makespan_ms) / super::model::float(bound),
        }
    }

    /// Starts that ended in this way.
    #[must_use]
    pub fn ended(&self, outcome: BuildEnd) -> usize {
        self.runs.iter().filter(|run| run.outcome == outcome).count()
    }
}
