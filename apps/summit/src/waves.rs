//! Recipes that need each other are built in waves: together, and in rounds until what they yield settles.
//!
//! Which member is due again is [`farm::rounds`]' decision. Here its question is put together from the store, and its
//! answer becomes wishes like any other rebuild, so that nothing is lost when Summit is killed in between.

use std::collections::HashMap;

use farm::ids::RecipeId;
use farm::missing::{Wanted, next_build_release};
use farm::moment::Moment;
use farm::plan::KnownTask;
use farm::rounds::{Run, RunEnd, due};
use farm::task::Phase;

use crate::store::{Store, StoreError, WaveTask};
use crate::world::World;

/// Waves of the knots of one arena, as they stand.
#[derive(Debug, Default)]
pub(crate) struct Waves {
    /// The newest wave of each knot, by component.
    of_knot: HashMap<usize, Wave>,
}

#[derive(Debug)]
struct Wave {
    number: u64,
    tasks: Vec<WaveTask>,
}

impl Waves {
    /// Reads the newest wave of each knot of `world`.
    pub(crate) async fn read(store: &Store, world: &World) -> Result<Self, StoreError> {
        let graph = &world.graph;
        let mut newest: HashMap<usize, u64> = HashMap::new();
        if graph.knots().next().is_none() {
            return Ok(Self::default());
        }
        for (source, wave) in store.newest_waves(&world.arena.project, &world.arena.architecture).await? {
            if let Some(knot) = graph.by_source(&source).and_then(|recipe| graph.knot_of(recipe)) {
                let known = newest.entry(knot).or_default();
                *known = wave.max(*known);
            }
        }
        let mut of_knot = HashMap::new();
        for (knot, number) in newest {
            of_knot.insert(knot, Wave { number, tasks: store.wave(number).await? });
        }
        Ok(Self { of_knot })
    }

    /// What the members that are due again should be built as, by source.
    pub(crate) fn wishes(
        &self,
        world: &World,
        rounds_max: u32,
        known: &[KnownTask],
    ) -> Vec<(String, Wanted)> {
        let graph = &world.graph;
        let mut wishes = Vec::new();
        for (&knot, wave) in &self.of_knot {
            let runs: Vec<Run> = wave
                .tasks
                .iter()
                .filter_map(|task| Some(run_of(task, graph.by_source(&task.source)?)))
                .collect();
            let rounds = due(graph, graph.component_members(knot), &runs, rounds_max);
            for unsettled in &rounds.unsettled {
                tracing::info!(
                    project.name = world.arena.project,
                    source = graph.source(unsettled.recipe),
                    rounds_max,
                    "did not settle: it stays as its last round made it"
                );
            }
            for due in &rounds.rebuild {
                let source = graph.source(due.recipe);
                let entry = world.catalogue.recipes().iter().find(|entry| entry.source == source);
                let Some(release) = entry.map(|entry| entry.release) else { continue };
                let newest = known
                    .iter()
                    .filter(|task| task.source == source)
                    .map(|task| (task.release, task.build_release))
                    .max();
                let published = world.repository.published.source(source);
                let build_release = next_build_release(release, published, newest);
                wishes.push((source.to_owned(), Wanted { release, build_release, why: due.wish(graph) }));
            }
        }
        wishes.sort_by(|one, other| one.0.cmp(&other.0));
        wishes
    }

    /// The wave and the round of a task that is made now; none outside of knots. What is made while a wave is under way
    /// belongs to it.
    pub(crate) fn place(
        &mut self,
        world: &World,
        source: &str,
        round: Option<u32>,
        now: Moment,
    ) -> (Option<u64>, u32) {
        let graph = &world.graph;
        let Some(knot) = graph.by_source(source).and_then(|recipe| graph.knot_of(recipe)) else {
            return (None, 0);
        };
        let wave = self.of_knot.entry(knot).or_insert_with(|| Wave { number: 0, tasks: Vec::new() });
        let is_under_way = wave.tasks.iter().any(|task| task.phase.is_open());
        if round.is_none() && !is_under_way {
            // Numbered by the time: later waves have greater numbers, and two knots in one moment different ones.
            let number = now.0.saturating_mul(1000).saturating_add(u64::try_from(knot % 1000).unwrap_or(0));
            *wave = Wave { number: number.max(wave.number.saturating_add(1)), tasks: Vec::new() };
        }
        let before = wave.tasks.iter().filter(|task| task.source == source).map(|task| task.round).max();
        let round = round.or(before).unwrap_or(1);
        wave.tasks.push(WaveTask {
            task: farm::ids::TaskId(u64::MAX),
            source: source.to_owned(),
            phase: Phase::Waiting,
            round,
            created: now,
            updated: now,
            output: None,
        });
        (Some(wave.number), round)
    }
}

fn run_of(task: &WaveTask, recipe: RecipeId) -> Run {
    let began = task.output.as_ref().map_or(task.created, |output| output.began);
    let end = match (task.phase, &task.output) {
        (Phase::Published, Some(output)) => {
            RunEnd::Landed { at: output.landed.unwrap_or(task.updated), changed: output.changed }
        }
        // A repository that does not say what it got is taken to have got nothing new.
        (Phase::Published, None) => RunEnd::Landed { at: task.updated, changed: false },
        (Phase::Failed | Phase::Cancelled, _) => RunEnd::Failed,
        _ => RunEnd::Open,
    };
    Run { recipe, task: task.task, round: task.round, began, end }
}
