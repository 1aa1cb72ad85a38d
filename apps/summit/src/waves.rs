//! Knots are built in waves: what of a knot is built together, and what of it has to be built once more.
//!
//! A wave begins when a member of a knot gets a task and no other member of it is under way; whoever gets one meanwhile
//! belongs to the same wave. When all of them came to an end, [`farm::rounds`] says who was built with something that
//! changed afterwards; that becomes a wish for a rebuild, and the wish becomes a task of the same wave. Everything here is
//! a function of the graph and of what the store remembers, so a Summit that was killed in the middle decides the same.

use std::collections::HashMap;

use farm::graph::Graph;
use farm::ids::{RecipeId, TaskId};
use farm::missing::{Reason, Wanted, next_build_release};
use farm::moment::Moment;
use farm::plan::KnownTask;
use farm::published::Published;
use farm::rounds::{self, Due, Rounds, Run, RunEnd};
use farm::task::Phase;

use crate::store::NewTask;

/// A task that was made for a member of a knot, in one of the newest waves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveTask {
    /// The task.
    pub id: TaskId,
    /// Its source.
    pub source: String,
    /// Its wave.
    pub wave: u64,
    /// Which build of the source in this wave it is, from 1.
    pub round: u32,
    /// Where it stands.
    pub phase: Phase,
    /// When it changed last.
    pub updated: Moment,
    /// When its build began, when the repository had it, and whether it yielded something new; once it was published.
    pub output: Option<(Moment, Moment, bool)>,
}

/// How the newest wave of a knot stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wave {
    pub(crate) number: u64,
    pub(crate) rounds: Rounds,
}

/// How the newest wave of each knot stands. What landed since `read_from` counts as under way: the repository that everything
/// else is compared with was read before.
pub(crate) fn judge(graph: &Graph, tasks: &[WaveTask], rounds_max: u32, read_from: Moment) -> Vec<Wave> {
    let mut waves = Vec::new();
    for knot in graph.knots() {
        let of_knot = || tasks.iter().filter_map(|task| Some((member(graph, knot, &task.source)?, task)));
        let Some(number) = of_knot().map(|(_, task)| task.wave).max() else { continue };
        let runs: Vec<Run> = of_knot()
            .filter(|(_, task)| task.wave == number)
            .map(|(recipe, task)| run(recipe, task, read_from))
            .collect();
        waves.push(Wave { number, rounds: rounds::due(graph, knot, &runs, rounds_max) });
    }
    waves
}

/// The wish for the next build of a member.
pub(crate) fn wish(
    graph: &Graph,
    due: &Due,
    published: &Published,
    known: &[KnownTask],
) -> Option<(String, Wanted)> {
    let source = graph.source(due.recipe);
    let newest = known.iter().filter(|task| task.source == source);
    let newest = newest.map(|task| (task.release, task.build_release)).max();
    let there = published.source(source);
    let release = there.map(|there| there.release)?;
    let build_release = next_build_release(release, there, newest);
    Some((source.to_owned(), Wanted { release, build_release, why: due.wish(graph) }))
}

/// Members that did not come to rest, for people; a line for each.
pub(crate) fn unsettled(graph: &Graph, waves: &[Wave]) -> Vec<String> {
    let due = waves.iter().flat_map(|wave| &wave.rounds.unsettled);
    let line = |due: &Due| {
        let because: Vec<&str> = due.because.iter().map(|&recipe| graph.source(recipe)).collect();
        format!(
            "{} was built {} times and is still out of date: {} changed afterwards; \
             allow more rounds (rounds_max) or make its output the same every time",
            graph.source(due.recipe),
            due.round.saturating_sub(1),
            because.join(", ")
        )
    };
    due.map(line).collect()
}

/// Says of new tasks which wave they belong to, and which build of their source in it they are.
pub(crate) fn number(graph: &Graph, tasks: &[WaveTask], new: &mut [NewTask]) {
    let mut next = tasks.iter().map(|task| task.wave).max().unwrap_or(0) + 1;
    // By component: all that are made now for one knot go together.
    let mut wave_of: HashMap<usize, u64> = HashMap::new();
    for task in new {
        let Some(recipe) = graph.by_source(&task.source) else { continue };
        let Some(component) = graph.knot_of(recipe) else { continue };
        let knot = graph.component_members(component);
        let is_round = matches!(task.reason, Reason::Round { .. });
        let wave = *wave_of.entry(component).or_insert_with(|| {
            let of_knot = tasks.iter().filter(|task| member(graph, knot, &task.source).is_some());
            let newest = of_knot.clone().map(|task| task.wave).max();
            let goes_on = |wave: &u64| {
                is_round || of_knot.clone().any(|task| task.wave == *wave && task.phase.is_open())
            };
            newest.filter(goes_on).unwrap_or_else(|| {
                next += 1;
                next - 1
            })
        });
        let before = tasks.iter().filter(|other| other.wave == wave && other.source == task.source);
        let before = before.map(|task| task.round).max().unwrap_or(0);
        task.wave = Some(wave);
        // Whatever replaces a build of this round is a build of this round.
        task.round = if is_round { before + 1 } else { before.max(1) };
    }
}

fn member(graph: &Graph, knot: &[RecipeId], source: &str) -> Option<RecipeId> {
    graph.by_source(source).filter(|&recipe| {
        graph.knot_of(recipe).is_some_and(|component| graph.component_members(component) == knot)
    })
}

fn run(recipe: RecipeId, task: &WaveTask, read_from: Moment) -> Run {
    let (began, end) = match (task.phase, task.output) {
        (Phase::Published, _) if task.updated >= read_from => (task.updated, RunEnd::Open),
        (Phase::Published, Some((began, at, changed))) => (began, RunEnd::Landed { at, changed }),
        // From a Vessel that does not say what a build yielded: nothing would ever come to rest.
        (Phase::Published, None) => (task.updated, RunEnd::Landed { at: task.updated, changed: false }),
        (Phase::Failed | Phase::Cancelled | Phase::Superseded, _) => (task.updated, RunEnd::Failed),
        _ => (task.updated, RunEnd::Open),
    };
    Run { recipe, task: task.id, round: task.round, began, end }
}

#[cfg(test)]
mod tests {
    use farm::catalogue::{Catalogue, RecipeEntry};
    use farm::graph::{HostProvides, Supply};
    use farm::published::PublishedPackage;

    use super::*;

    fn recipe(source: &str, needs: &[&str]) -> RecipeEntry {
        RecipeEntry {
            path: format!("{source}/stone.yaml"),
            content: source.into(),
            source: source.into(),
            version: "1".into(),
            release: 1,
            packages: Vec::new(),
            build_depends: needs.iter().map(|need| need.parse().unwrap()).collect(),
            run_depends: Default::default(),
            manifest: None,
        }
    }

    fn package(name: &str) -> PublishedPackage {
        PublishedPackage {
            name: name.into(),
            source: name.into(),
            version: "1".into(),
            release: 1,
            build_release: 1,
            provides: Default::default(),
            depends: Default::default(),
            download_size_bytes: 1,
        }
    }

    /// gcc and glibc need each other, and so do file and flex; nano needs glibc.
    fn graph() -> Graph {
        let recipes = [
            recipe("gcc", &["glibc"]),
            recipe("glibc", &["gcc"]),
            recipe("file", &["flex"]),
            recipe("flex", &["file"]),
            recipe("nano", &["glibc"]),
        ];
        let own = Published::new(recipes.iter().map(|recipe| package(&recipe.source)));
        let catalogue = Catalogue::new(recipes.into(), Vec::new());
        Graph::new(&catalogue, &Supply { own: &own, others: &[], host: HostProvides::Nothing })
    }

    fn task(id: u64, source: &str, wave: u64, round: u32, phase: Phase) -> WaveTask {
        WaveTask {
            id: TaskId(id),
            source: source.into(),
            wave,
            round,
            phase,
            updated: Moment(0),
            output: None,
        }
    }

    fn landed(began: u64, at: u64, changed: bool, task: WaveTask) -> WaveTask {
        WaveTask { output: Some((Moment(began), Moment(at), changed)), phase: Phase::Published, ..task }
    }

    fn new(source: &str, reason: Reason) -> NewTask {
        NewTask {
            project: "p".into(),
            channel: "main".into(),
            source: source.into(),
            version: "1".into(),
            release: 1,
            build_release: 1,
            architecture: "x86_64".into(),
            recipe_path: String::new(),
            content: String::new(),
            commit: String::new(),
            commit_time_seconds: 0,
            reason,
            wave: None,
            round: 0,
            supersedes: Vec::new(),
        }
    }

    fn numbers(tasks: &[WaveTask], new_tasks: &[(&str, Reason)]) -> Vec<(Option<u64>, u32)> {
        let mut made: Vec<NewTask> =
            new_tasks.iter().map(|(source, reason)| new(source, reason.clone())).collect();
        number(&graph(), tasks, &mut made);
        made.iter().map(|task| (task.wave, task.round)).collect()
    }

    #[test]
    fn what_is_made_together_of_a_knot_is_one_wave() {
        let all = ["gcc", "nano", "glibc", "flex"].map(|source| (source, Reason::New));
        assert_eq!(numbers(&[], &all), [(Some(1), 1), (None, 0), (Some(1), 1), (Some(2), 1)]);
    }

    #[test]
    fn a_wave_takes_in_others_while_it_is_under_way() {
        let open = [task(1, "gcc", 4, 1, Phase::Building)];
        assert_eq!(numbers(&open, &[("glibc", Reason::New)]), [(Some(4), 1)]);
        let over = [landed(1, 2, true, task(1, "gcc", 4, 1, Phase::Published))];
        assert_eq!(numbers(&over, &[("glibc", Reason::New)]), [(Some(5), 1)]);
        let round = Reason::Round { round: 2, because: vec!["glibc".into()] };
        assert_eq!(numbers(&over, &[("gcc", round.clone())]), [(Some(4), 2)], "a round goes on");
        // A new release takes the place of a build of the second round.
        let open = [over[0].clone(), task(2, "gcc", 4, 2, Phase::Ready)];
        assert_eq!(numbers(&open, &[("gcc", Reason::New)]), [(Some(4), 2)]);
    }

    #[test]
    fn who_was_built_before_something_changed_is_due_when_all_are_done() {
        let graph = graph();
        let names = |wave: &Wave| {
            let due = wave.rounds.rebuild.iter();
            due.map(|due| format!("{} {}", graph.source(due.recipe), due.round)).collect::<Vec<_>>()
        };
        let first = landed(10, 20, true, task(1, "gcc", 1, 1, Phase::Published));
        let building = [first.clone(), task(2, "glibc", 1, 1, Phase::Building)];
        let waves = judge(&graph, &building, 3, Moment(1000));
        assert_eq!((waves.len(), names(&waves[0])), (1, vec![]), "nothing before all are done");
        let done = [first.clone(), landed(30, 40, true, task(2, "glibc", 1, 1, Phase::Published))];
        let waves = judge(&graph, &done, 3, Moment(1000));
        assert_eq!(names(&waves[0]), ["gcc 2"]);
        let fresh = [first.clone(), WaveTask { updated: Moment(1000), ..done[1].clone() }];
        assert_eq!(
            names(&judge(&graph, &fresh, 3, Moment(1000))[0]),
            [""; 0],
            "the repository is read first"
        );
        assert!(judge(&graph, &done, 1, Moment(1000))[0].rounds.rebuild.is_empty(), "one round is allowed");
        assert_eq!(judge(&graph, &done, 1, Moment(1000))[0].rounds.unsettled.len(), 1);
        let same = [first, landed(30, 40, false, task(2, "glibc", 1, 1, Phase::Published))];
        assert!(judge(&graph, &same, 3, Moment(1000))[0].rounds.is_settled());
    }
}
