//! `POST /api/projects/NAME/rebuild`: a plan for building recipes again, and on demand the wishes that carry it out.

use std::collections::HashMap;
use std::time::Duration;

use access::{Action, Actor};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use farm::missing::{Wanted, Wish, next_build_release};
use farm::rebuild::{FleetMember, RebuildPlan, RebuildRequest, Situation, rebuild_plan};

use super::Web;
use super::api::{Told, told};
use super::error::WebError;
use crate::dispatcher;
use crate::world::World;

pub(crate) async fn rebuild(
    State(web): State<Web>,
    name: Result<Path<String>, PathRejection>,
    Extension(actor): Extension<Actor>,
    request: Told<RebuildRequest>,
) -> Result<Json<RebuildPlan>, WebError> {
    let Path(name) =
        name.map_err(|error| WebError::BadRequest { what: "the project", why: error.body_text() })?;
    let request = told(request)?;
    if request.apply {
        web.judge(&actor, Action::OrderRebuild)?;
    }
    let arena = web.arena(Some(&name), request.architecture.as_deref())?;
    let worlds = web.hub.worlds();
    let world = worlds.get(&arena).filter(|world| world.looked.is_some()).ok_or(WebError::NotReadYet)?;
    let mut plan = web.rebuild_plan(&request, world).await?;
    if request.apply {
        let ordered = web.order(&plan, world).await?;
        plan.ordered = Some(ordered);
        let subject = format!("{} of {}", asked_for(&plan), world.arena.project);
        web.hub.audit(&actor, Action::OrderRebuild, &subject, &format!("{ordered} rebuilds ordered")).await;
    }
    Ok(Json(plan))
}

/// What a plan is for, in a few words.
fn asked_for(plan: &RebuildPlan) -> String {
    match plan.all {
        true => "all recipes".to_owned(),
        false => plan.names.join(", "),
    }
}

impl Web {
    async fn rebuild_plan(&self, request: &RebuildRequest, world: &World) -> Result<RebuildPlan, WebError> {
        let builders = dispatcher::builders(&self.hub).await?;
        let names: HashMap<_, _> =
            self.hub.store.builders().await?.into_iter().map(|row| (row.id, row.said.name)).collect();
        let architecture = &world.arena.architecture;
        let fleet: Vec<FleetMember> = builders
            .iter()
            .filter(|builder| !builder.drained && builder.architectures.contains(architecture))
            .map(|builder| FleetMember {
                name: names.get(&builder.id).cloned().unwrap_or_else(|| builder.id.0.clone()),
                speed: builder.speed,
                places: builder.slots,
            })
            .collect();
        let rounds_max =
            self.hub.config().project(&world.arena.project).map_or(1, |project| project.rounds_max);
        // Only what the recipes need of what was learned is taken along: planning takes longer than a lock should.
        let expected: HashMap<&str, Duration> = self.hub.with_board(|board| {
            let sources = world.catalogue.recipes().iter().map(|entry| entry.source.as_str());
            sources.filter_map(|source| Some((source, board.expected(source, architecture)?))).collect()
        });
        let situation = Situation {
            catalogue: &world.catalogue,
            graph: &world.graph,
            published: &world.repository.published,
            expected: &|source| expected.get(source).copied(),
            fleet: &fleet,
            rounds_max,
        };
        Ok(rebuild_plan(request, &situation)?)
    }

    /// Writes down what a plan asks for. Tasks are made of it at the next look, which is asked for.
    async fn order(&self, plan: &RebuildPlan, world: &World) -> Result<usize, WebError> {
        let arena = &world.arena;
        let mut newest: HashMap<String, (u64, u64)> = HashMap::new();
        for (task, _) in self.hub.store.known_tasks(&arena.project, &arena.architecture).await? {
            let known = newest.entry(task.source).or_default();
            *known = (*known).max((task.release, task.build_release));
        }
        let why = asked_for(plan);
        let wanted: Vec<(String, Wanted)> = plan
            .recipes
            .iter()
            .map(|member| {
                let published = world.repository.published.source(&member.source);
                let next = next_build_release(member.release, published, newest.get(&member.source).copied());
                let wanted = Wanted {
                    release: member.release,
                    build_release: member.build_release.max(next),
                    why: Wish::Rebuild { why: why.clone() },
                };
                (member.source.clone(), wanted)
            })
            .collect();
        self.hub.store.want(&arena.project, &arena.architecture, &wanted, self.hub.clock.now()).await?;
        if let Some(watcher) = self.hub.watchers().get(&arena.project) {
            watcher.moved.notify_one();
        }
        tracing::info!(project.name = arena.project, rebuilds = wanted.len(), why, "rebuilds were asked for");
        Ok(wanted.len())
    }
}
