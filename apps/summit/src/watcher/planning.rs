//! From what was read to tasks: what is missing and what is wished for, compared with the tasks that there are.

use std::collections::HashMap;

use farm::ids::TaskId;
use farm::missing::{Wanted, missing, unbumped};
use farm::moment::Moment;
use farm::plan::{Change, KnownTask, plan};
use farm::task::Phase;

use super::LookError;
use crate::git::Commit;
use crate::hub::{Hub, News};
use crate::store::NewTask;
use crate::waves::{self, WaveTask};
use crate::world::{Arena, World};

/// Compares, plans, and writes the plan down. `read_from` is the moment since which the repository was being read.
pub(super) async fn make_tasks(
    hub: &Hub,
    world: &mut World,
    commit: &Commit,
    read_from: Moment,
) -> Result<Vec<TaskId>, LookError> {
    let Arena { project, architecture } = world.arena.clone();
    let known = known_tasks(hub, &world.arena, read_from).await?;
    let of_waves = hub.store.wave_tasks(&project, &architecture).await?;
    let wanted = wishes(hub, world, &known, &of_waves, read_from).await?;
    let missing = missing(&world.catalogue, &world.repository.published, &wanted);
    let mut new = Vec::new();
    let mut withdrawn = Vec::new();
    for change in plan(&world.catalogue, &missing, &known) {
        match change {
            Change::Create { recipe, reason, build_release, supersedes } => {
                let Some(entry) = world.catalogue.recipes().get(recipe) else { continue };
                new.push(NewTask {
                    project: project.clone(),
                    channel: world.project.channel.clone(),
                    source: entry.source.clone(),
                    version: entry.version.clone(),
                    release: entry.release,
                    build_release,
                    architecture: architecture.clone(),
                    recipe_path: entry.path.clone(),
                    content: entry.content.clone(),
                    commit: commit.id.clone(),
                    commit_time_seconds: commit.time_seconds,
                    reason,
                    wave: None,
                    round: 0,
                    supersedes,
                });
            }
            Change::Withdraw { task, why } => {
                tracing::info!(task.id = %task, why, "nobody asks for this task any more");
                withdrawn.push(task);
            }
        }
    }
    if new.is_empty() && withdrawn.is_empty() {
        return Ok(Vec::new());
    }
    waves::number(&world.graph, &of_waves, &mut new);
    let (made, effects) = hub.store.carry_out(&new, &withdrawn, hub.clock.now()).await?;
    hub.carry_out(&effects).await;
    for &task in made.iter().chain(&withdrawn) {
        hub.tell(News::Task(task));
    }
    Ok(made)
}

/// Tasks that matter to what is planned, as they were when the repository was being read.
async fn known_tasks(hub: &Hub, arena: &Arena, read_from: Moment) -> Result<Vec<KnownTask>, LookError> {
    let known = hub.store.known_tasks(&arena.project, &arena.architecture).await?.into_iter();
    let known = known.map(|(task, updated)| match task.phase {
        // It landed after the repository was read: it is missing only in what we read.
        Phase::Published if updated >= read_from => KnownTask { phase: Phase::Publishing, ..task },
        _ => task,
    });
    Ok(known.collect())
}

/// Rebuilds that are wished for: those that were asked for, and what knots need to come to rest.
async fn wishes(
    hub: &Hub,
    world: &mut World,
    known: &[KnownTask],
    of_waves: &[WaveTask],
    read_from: Moment,
) -> Result<HashMap<String, Wanted>, LookError> {
    let store = &hub.store;
    let Arena { project, architecture } = &world.arena;
    let waves = waves::judge(&world.graph, of_waves, world.project.rounds_max, read_from);
    let rounds: Vec<(String, Wanted)> = waves
        .iter()
        .flat_map(|wave| &wave.rounds.rebuild)
        .filter_map(|due| waves::wish(&world.graph, due, &world.repository.published, known))
        .collect();
    if !rounds.is_empty() {
        store.want(project, architecture, &rounds, hub.clock.now()).await?;
    }
    let mut wanted = store.wanted(project, architecture).await?;
    let published = &world.repository.published;
    let came_true: Vec<(String, Wanted)> =
        wanted.extract_if(|source, wanted| wanted.is_fulfilled(published.source(source))).collect();
    if !came_true.is_empty() {
        store.fulfilled(project, architecture, &came_true).await?;
    }
    let unsettled = waves::unsettled(&world.graph, &waves);
    for line in unsettled.iter().filter(|line| !world.unsettled.contains(line)) {
        tracing::warn!(project.name = project, architecture, "{line}");
    }
    world.unsettled = unsettled;
    Ok(wanted)
}

/// Tells of recipes that were edited and not released.
pub(super) fn warn_of_unbumped(world: &World) {
    for found in unbumped(&world.catalogue, &world.repository.published) {
        if let Some(entry) = world.catalogue.recipes().get(found.recipe) {
            tracing::warn!(
                project.name = world.arena.project,
                recipe.path = entry.path,
                version = entry.version,
                published = found.published_version,
                "the version changed and the release did not: it is built as another build of the same release"
            );
        }
    }
}
