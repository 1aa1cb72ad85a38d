//! Building a knot in rounds until it comes to rest.
//!
//! The members of a knot are built one after another, some of them against the previous generation of others. When one of
//! these others then turned out differently, those built before it may be out of date: they are built again, in the same
//! order, until nobody's output changes any more, or until somebody has been built as often as is allowed. What "differently"
//! means is the caller's: two builds are the same when their normalised output is.
//!
//! A *wave* is what is built together of a knot. Members outside the wave are not drawn in: that one package has a new
//! release is no reason to build a whole toolchain again, unless somebody asks for it.
//!
//! Nothing is decided while a member of the wave is still under way, so that one round is judged as a whole. A member that
//! failed holds up nobody here: the others come to rest without it, and when it lands one day, it counts like any other.

use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::ids::{RecipeId, TaskId};
use crate::missing::Wish;
use crate::moment::Moment;

/// Builds of one member of a wave, the first one included, unless somebody sets another limit. A compiler and its library
/// come to rest in two; three is what a compiler needs that has to be built by itself as well.
pub const ROUNDS_MAX_DEFAULT: u32 = 3;

/// One build of a member of a wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The recipe.
    pub recipe: RecipeId,
    /// The task.
    pub task: TaskId,
    /// Which build of this recipe in the wave it is, from 1.
    pub round: u32,
    /// When it began: what landed before, it was built with.
    pub began: Moment,
    /// What became of it.
    pub end: RunEnd,
}

/// What became of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum RunEnd {
    /// It is waiting, being built or being published.
    Open,
    /// It failed or was cancelled.
    Failed,
    /// The repository has it.
    Landed {
        /// Since then.
        at: Moment,
        /// Whether it is another than the generation before.
        changed: bool,
    },
}

/// A member that should be built again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The member.
    pub recipe: RecipeId,
    /// Which build of it in this wave the next one would be.
    pub round: u32,
    /// Members that it needs and that changed after its last build began, by number.
    pub because: Vec<RecipeId>,
}

impl Due {
    /// The wish for this build, with names.
    #[must_use]
    pub fn wish(&self, graph: &Graph) -> Wish {
        let mut because: Vec<String> =
            self.because.iter().map(|&recipe| graph.source(recipe).to_owned()).collect();
        because.sort();
        Wish::Round { round: self.round, because }
    }
}

/// How a wave stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rounds {
    /// To be built again, in the order of the knot.
    pub rebuild: Vec<Due>,
    /// Should be built again and have been as often as is allowed: the knot did not come to rest.
    pub unsettled: Vec<Due>,
    /// Still under way: nothing is decided before they are done.
    pub open: Vec<RecipeId>,
    /// Failed in their last build.
    pub failed: Vec<RecipeId>,
}

impl Rounds {
    /// Whether nothing is left to do and everything is built with the newest of everything.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self == &Self::default()
    }
}

/// What is to be done next in the wave of a knot. `knot` holds its members in their order
/// ([`Graph::component_members`]), `runs` all builds of the wave so far.
#[must_use]
pub fn due(graph: &Graph, knot: &[RecipeId], runs: &[Run], rounds_max: u32) -> Rounds {
    let mut rounds = Rounds::default();
    for &recipe in knot {
        let Some(last) = last_run(runs, recipe) else { continue };
        match last.end {
            RunEnd::Open => rounds.open.push(recipe),
            RunEnd::Failed => rounds.failed.push(recipe),
            RunEnd::Landed { .. } => {
                let because = changed_since(graph, knot, runs, last);
                if because.is_empty() {
                    continue;
                }
                let due = Due { recipe, round: last.round.saturating_add(1), because };
                let list = if due.round > rounds_max { &mut rounds.unsettled } else { &mut rounds.rebuild };
                list.push(due);
            }
        }
    }
    if !rounds.open.is_empty() {
        rounds.rebuild.clear();
        rounds.unsettled.clear();
    }
    rounds
}

fn last_run(runs: &[Run], recipe: RecipeId) -> Option<&Run> {
    runs.iter().filter(|run| run.recipe == recipe).max_by_key(|run| (run.round, run.task))
}

/// Members of the knot that `run` needs and that landed otherwise than before after it began.
fn changed_since(graph: &Graph, knot: &[RecipeId], runs: &[Run], run: &Run) -> Vec<RecipeId> {
    let is_newer = |needed: RecipeId| {
        runs.iter().any(|other| {
            other.recipe == needed
                && matches!(other.end, RunEnd::Landed { at, changed: true } if at > run.began)
        })
    };
    graph.ordered_after(run.recipe).filter(|&needed| knot.contains(&needed) && is_newer(needed)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::catalogue::Catalogue;
    use crate::catalogue::tests::recipe;
    use crate::graph::HostProvides;
    use crate::graph::tests::supply;
    use crate::published::Published;
    use crate::published::tests::package;
    use crate::queue::{OpenTask, Queue, Readiness};
    use crate::task::Phase;

    /// What the repository has of each member, as a number that stands for the normalised output.
    type Outputs = BTreeMap<&'static str, u64>;

    /// What a build yields of what it is built with; none when it fails.
    type Build = fn(&str, &Outputs) -> Option<u64>;

    const KNOT: [(&str, &[&str]); 2] = [("gcc", &["glibc"]), ("glibc", &["gcc"])];

    fn is_done(runs: &[Run], recipe: RecipeId) -> bool {
        !runs.iter().any(|run| run.recipe == recipe && run.end == RunEnd::Open)
    }

    /// Builds the knot of gcc and glibc in rounds, as a farm would. Tells every build by name, round and whether it changed,
    /// and how the wave stands in the end.
    fn simulate(build: Build, rounds_max: u32) -> (Vec<String>, Rounds) {
        let catalogue = Catalogue::new(KNOT.map(|(source, needs)| recipe(source, needs)).into(), Vec::new());
        let own = Published::new(KNOT.map(|(source, _)| package(source, source, 1, &[])));
        let graph = Graph::new(&catalogue, &supply(&own, HostProvides::Nothing));
        let knot = graph.knots().next().unwrap();
        let mut outputs: Outputs = [("gcc", 1), ("glibc", 1)].into();
        let (mut runs, mut told, mut now): (Vec<Run>, Vec<String>, u64) = (Vec::new(), Vec::new(), 0);
        let mut wanted: Vec<(RecipeId, u32)> = knot.iter().map(|&recipe| (recipe, 1)).collect();
        loop {
            let open = wanted.iter().map(|&(recipe, round)| {
                let task = OpenTask { id: TaskId(u64::from(recipe.0)), phase: Phase::Waiting };
                (recipe, task, round)
            });
            let open: Vec<_> = open.collect();
            let mut queue = Queue::new(&graph, open.iter().map(|&(recipe, task, _)| (recipe, task)));
            for &(recipe, task, round) in &open {
                runs.push(Run { recipe, task: task.id, round, began: Moment(0), end: RunEnd::Open });
            }
            loop {
                let is_ready = |recipe| queue.readiness(&graph, recipe) == Some(Readiness::Ready);
                let ready = queue.open().map(|(recipe, _)| recipe).find(|&recipe| is_ready(recipe));
                let Some(recipe) = ready.filter(|recipe| !is_done(&runs, *recipe)) else { break };
                assert_eq!(due(&graph, knot, &runs, rounds_max).rebuild, [], "nothing before all are done");
                let source = KNOT
                    .map(|(source, _)| source)
                    .into_iter()
                    .find(|source| *source == graph.source(recipe))
                    .unwrap();
                let run =
                    runs.iter_mut().find(|run| run.recipe == recipe && run.end == RunEnd::Open).unwrap();
                now += 10;
                run.began = Moment(now);
                let output = build(source, &outputs);
                now += 10;
                run.end = match output {
                    None => RunEnd::Failed,
                    Some(output) => {
                        let changed = outputs.insert(source, output) != Some(output);
                        RunEnd::Landed { at: Moment(now), changed }
                    }
                };
                let word = match run.end {
                    RunEnd::Landed { changed: true, .. } => "changed",
                    RunEnd::Landed { .. } => "same",
                    _ => "failed",
                };
                told.push(format!("{source} {} {word}", run.round));
                let left = (word == "failed").then_some(OpenTask { id: TaskId(0), phase: Phase::Failed });
                queue.set(&graph, recipe, left);
            }
            // What waits for a failed member stays open for ever: here somebody gives it up.
            for run in runs.iter_mut().filter(|run| run.end == RunEnd::Open) {
                run.end = RunEnd::Failed;
                told.push(format!("{} {} given up", graph.source(run.recipe), run.round));
            }
            let next = due(&graph, knot, &runs, rounds_max);
            wanted = next.rebuild.iter().map(|due| (due.recipe, due.round)).collect();
            if wanted.is_empty() {
                return (told, next);
            }
        }
    }

    #[test]
    fn a_knot_where_nothing_turns_out_differently_settles_at_once() {
        let (told, rounds) = simulate(|_, _| Some(1), ROUNDS_MAX_DEFAULT);
        assert_eq!(told, ["gcc 1 same", "glibc 1 same"]);
        assert!(rounds.is_settled());
    }

    #[test]
    fn a_member_whose_own_users_were_built_after_it_is_no_reason_to_build_again() {
        let gcc_alone: Build = |source, _| Some(if source == "gcc" { 2 } else { 1 });
        let (told, rounds) = simulate(gcc_alone, ROUNDS_MAX_DEFAULT);
        assert_eq!(told, ["gcc 1 changed", "glibc 1 same"]);
        assert!(rounds.is_settled());
    }

    /// The library has a new release; the compiler takes something of the library into itself.
    fn toolchain(source: &str, outputs: &Outputs) -> Option<u64> {
        if source == "glibc" { Some(2) } else { Some(outputs["glibc"]) }
    }

    #[test]
    fn a_knot_settles_in_two_rounds() {
        let (told, rounds) = simulate(toolchain, ROUNDS_MAX_DEFAULT);
        assert_eq!(told, ["gcc 1 same", "glibc 1 changed", "gcc 2 changed", "glibc 2 same"]);
        assert!(rounds.is_settled());
    }

    #[test]
    fn a_knot_that_never_settles_stops_at_the_limit_and_says_so() {
        let restless: Build = |_, outputs| outputs.values().max().map(|newest| newest + 1);
        for limit in [1, 2, 3] {
            let (told, rounds) = simulate(restless, limit);
            let last = told.iter().filter(|line| line.starts_with("gcc")).count();
            assert_eq!(last, usize::try_from(limit).unwrap(), "{told:?}");
            assert_eq!(rounds.rebuild, []);
            assert!(!rounds.is_settled());
            assert_eq!(rounds.unsettled.len(), 1);
            assert_eq!(rounds.unsettled[0].round, limit + 1);
        }
    }

    #[test]
    fn a_failed_member_is_named_and_the_wave_goes_no_further_than_it_can() {
        let broken: Build = |source, _| (source == "gcc").then_some(2);
        let (told, rounds) = simulate(broken, ROUNDS_MAX_DEFAULT);
        assert_eq!(told, ["gcc 1 changed", "glibc 1 failed"]);
        assert_eq!((rounds.failed.len(), rounds.rebuild.len()), (1, 0));
        let never: Build = |_, _| None;
        let (told, rounds) = simulate(never, ROUNDS_MAX_DEFAULT);
        assert_eq!(told, ["gcc 1 failed", "glibc 1 given up"]);
        assert_eq!(rounds.failed.len(), 2);
    }

    #[test]
    fn a_member_that_fails_in_a_later_round_is_not_built_again_by_itself() {
        let broken_later: Build = |source, outputs| match (source, outputs["glibc"]) {
            ("gcc", 2) => None,
            _ => toolchain(source, outputs),
        };
        let (told, rounds) = simulate(broken_later, ROUNDS_MAX_DEFAULT);
        assert_eq!(told, ["gcc 1 same", "glibc 1 changed", "gcc 2 failed"]);
        assert_eq!((rounds.failed.len(), rounds.rebuild.len()), (1, 0));
    }

    #[test]
    fn members_outside_the_wave_are_not_drawn_in_and_reasons_are_named() {
        let catalogue = Catalogue::new(KNOT.map(|(source, needs)| recipe(source, needs)).into(), Vec::new());
        let graph = Graph::new(&catalogue, &supply(&Published::default(), HostProvides::Everything));
        let knot = graph.knots().next().unwrap();
        let [gcc, glibc] = ["gcc", "glibc"].map(|source| graph.by_source(source).unwrap());
        let run = |recipe: RecipeId, began: u64, at: u64| Run {
            recipe,
            task: TaskId(1),
            round: 1,
            began: Moment(began),
            end: RunEnd::Landed { at: Moment(at), changed: true },
        };
        assert!(due(&graph, knot, &[run(glibc, 10, 20)], 3).is_settled(), "gcc is not part of it");
        let rounds = due(&graph, knot, &[run(gcc, 0, 10), run(glibc, 10, 20)], 3);
        assert_eq!(rounds.rebuild, [Due { recipe: gcc, round: 2, because: vec![glibc] }]);
        assert_eq!(rounds.rebuild[0].wish(&graph), Wish::Round { round: 2, because: vec!["glibc".into()] });
        let built_with_it = due(&graph, knot, &[run(gcc, 20, 30), run(glibc, 10, 20)], 3);
        assert_eq!(built_with_it.rebuild, [Due { recipe: glibc, round: 2, because: vec![gcc] }]);
    }
}
