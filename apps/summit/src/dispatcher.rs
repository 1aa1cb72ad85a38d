//! Judges what waits, hands out what is ready, and notices who is gone.
//!
//! Everything is found by looking at the store; being woken only makes it sooner. What is kept in mind between two
//! looks is the [`crate::board::Board`], and only what changed is taken in.

use std::collections::HashSet;
use std::time::Duration;

use farm::failure::FailureClass;
use farm::ids::{BuilderId, TaskId};
use farm::moment::Moment;
use farm::schedule::{Assignment, Builder};
use farm::task::{Claim, Event, Phase};
use wire::PublicKey;
use wire::summit::{Limits, Order, Repository, RootIndex, repository, to_agent};

use crate::config::RepositoryConfig;
use crate::hub::{Hub, News};
use crate::repository_state::PUBLISHED_VERSION;
use crate::store::{Mark, StoreError, TaskRow};
use crate::world::{Arena, World, Worlds};

/// Time after which everything is looked at without being woken. Leases run for a minute; a few seconds of delay do
/// not matter to anything that is found only here.
const SWEEP: Duration = Duration::from_secs(2);

/// Shortest time between two sweeps that nobody asked for.
const SWEEP_MIN: Duration = Duration::from_millis(20);

/// Priority of our own channel among the repositories of a build.
const OWN_PRIORITY: i32 = 100;

/// Dispatches for ever.
pub(crate) async fn run(hub: std::sync::Arc<Hub>) {
    loop {
        hub.metrics.passed("dispatcher");
        let wait = match sweep(&hub).await {
            Ok(Some(wake_at)) => wake_at.since(hub.clock.now()).clamp(SWEEP_MIN, SWEEP),
            Ok(None) => SWEEP,
            Err(error) => {
                tracing::error!(error = fault::chain(&error).join(": "), "cannot dispatch; trying again");
                SWEEP
            }
        };
        // Being woken early or late makes no difference to what is found.
        drop(tokio::time::timeout(wait, hub.dispatch.notified()).await);
    }
}

/// One look at everything. Returns when there may be more to do although nothing happened.
pub(crate) async fn sweep(hub: &Hub) -> Result<Option<Moment>, StoreError> {
    follow_builders(hub).await?;
    hub.set_paused(hub.store.paused().await?);
    expire(hub).await?;
    let worlds = hub.worlds();
    for world in worlds.values().filter(|world| world.looked.is_some() && !hub.is_current(world)) {
        // Also when the first look after a landing failed, and nobody else asks for another.
        hub.channel_moved(&world.project.channel);
    }
    take_in(hub, &worlds).await?;
    judge(hub, &worlds).await?;
    // With what has just become ready.
    let builders = take_in(hub, &worlds).await?;
    let wake_at = hand_out(hub, &builders).await?;
    take_in(hub, &worlds).await?;
    send_orders(hub, &worlds).await?;
    Ok(wake_at)
}

/// Who may speak with us. Builders are added and removed by other processes too. One that was removed is cut off, and what
/// it had goes back.
pub(crate) async fn follow_builders(hub: &Hub) -> Result<(), StoreError> {
    let rows = hub.store.builders().await?;
    let mut keys: HashSet<PublicKey> = rows.iter().filter_map(|row| row.id.0.parse().ok()).collect();
    keys.extend([hub.config().vessel.public_key, hub.identity.public_key()]);
    hub.set_known_keys(keys);
    let builders: HashSet<BuilderId> = rows.into_iter().map(|row| row.id).collect();
    hub.sessions.retain(|id| builders.contains(id));
    if hub.has_lost_builders(&builders) {
        give_back(hub, &builders).await?;
    }
    hub.set_builders(builders);
    Ok(())
}

/// Takes back what those have who are no builders any more.
async fn give_back(hub: &Hub, builders: &HashSet<BuilderId>) -> Result<(), StoreError> {
    for task in hub.store.tasks_in(&[Phase::Leased, Phase::Building, Phase::Publishing]).await? {
        for (claim, _) in task.state.claims().filter(|(claim, _)| !builders.contains(&claim.builder)) {
            tracing::warn!(task.id = %task.id, builder.id = %claim.builder, "the builder was removed; its attempt goes back");
            let event = Event::Broke {
                claim: claim.clone(),
                class: FailureClass::Lost,
                message: "the builder was removed".into(),
                during: String::new(),
            };
            ignore_refusal(hub.apply(task.id, &event).await)?;
        }
    }
    Ok(())
}

/// Leases that ran out. What is being published may have landed: the publisher asks first.
async fn expire(hub: &Hub) -> Result<(), StoreError> {
    let now = hub.clock.now();
    if now < hub.grace_until {
        return Ok(());
    }
    for task in hub.store.tasks_in(&[Phase::Leased, Phase::Building]).await? {
        for (claim, _) in task.state.claims().filter(|(_, until)| *until <= now) {
            tracing::warn!(task.id = %task.id, builder.id = %claim.builder, "the lease ran out; the attempt is lost");
            ignore_refusal(hub.apply(task.id, &Event::Expired { claim: claim.clone() }).await)?;
        }
    }
    Ok(())
}

/// Takes in what changed in the store since the last time, and returns the builders that are there.
async fn take_in(hub: &Hub, worlds: &Worlds) -> Result<Vec<Builder>, StoreError> {
    let (rows, mark) = match hub.with_board(|board| board.mark()) {
        Some(mark) => hub.store.changed_since(mark).await?,
        None => {
            // Before the tasks: what happens in between is told once more the next time.
            let mark: Mark = hub.store.mark().await?;
            (hub.store.tasks_in(&Phase::LIVING).await?, mark)
        }
    };
    hub.with_board(|board| board.take_in(rows, mark));
    let builders = builders(hub).await?;
    let config = hub.config();
    hub.with_board(|board| board.follow(worlds, &config, &builders));
    Ok(builders)
}

/// The connected builders, and what they build.
pub(crate) async fn builders(hub: &Hub) -> Result<Vec<Builder>, StoreError> {
    let rows = hub.store.builders().await?;
    let attached = hub.sessions.attached();
    Ok(hub.with_board(|board| board.builders(&rows, attached)))
}

async fn judge(hub: &Hub, worlds: &Worlds) -> Result<(), StoreError> {
    let is_current = |arena: &Arena| worlds.get(arena).is_some_and(|world| hub.is_current(world));
    let events = hub.with_board(|board| board.verdicts(is_current, hub.clock.now()));
    let written = hub.apply_many(&events).await;
    if written.is_err() {
        hub.with_board(|board| board.judge_again());
    }
    written
}

async fn hand_out(hub: &Hub, builders: &[Builder]) -> Result<Option<Moment>, StoreError> {
    if hub.paused().is_some() {
        return Ok(None);
    }
    let now = hub.clock.now();
    let (schedule, second) = hub.with_board(|board| board.plan(builders, now));
    for given in &schedule.assignments {
        assign(hub, given, false).await?;
    }
    for given in &second {
        assign(hub, given, true).await?;
    }
    Ok(schedule.wake_at)
}

async fn assign(hub: &Hub, given: &Assignment, is_second: bool) -> Result<(), StoreError> {
    let now = hub.clock.now();
    let until = now.after(hub.config().lease());
    match hub.store.assign(given.task, &given.builder, until, &given.why, is_second, now).await {
        Ok(applied) => {
            tracing::info!(task.id = %given.task, builder.id = %given.builder, source = applied.task.source,
                why = given.why, is_second, "handed out");
            hub.tell(News::Task(given.task));
            Ok(())
        }
        Err(StoreError::Refused { source, .. }) => {
            tracing::debug!(task.id = %given.task, reason = %source, "the task moved on meanwhile");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Orders that were not sent on the connection that their builder has now.
async fn send_orders(hub: &Hub, worlds: &Worlds) -> Result<(), StoreError> {
    let ordered: Vec<(TaskId, Claim)> = hub.with_board(|board| board.ordered());
    for (task, claim) in ordered {
        if !hub.sessions.lacks_order(&claim.builder, claim.attempt) {
            continue;
        }
        let task = hub.store.task(task).await?;
        // Before the first look after a start it is not known what to build against.
        let Some(world) = worlds.get(&Arena::of(&task)).filter(|world| world.looked.is_some()) else {
            continue;
        };
        let still_holds = task.state.claims().any(|(holder, _)| *holder == claim);
        if still_holds && hub.sessions.take_order(&claim.builder, claim.attempt) {
            hub.send(&claim.builder, to_agent::Message::Order(order(hub, world, &task, &claim)));
        }
    }
    Ok(())
}

fn order(hub: &Hub, world: &World, task: &TaskRow, claim: &Claim) -> Order {
    let config = hub.config();
    let limits = &config.limits;
    Order {
        task_id: task.id.0,
        attempt_id: claim.attempt.0,
        lease_token: claim.token.0,
        git_url: world.project.recipes.clone(),
        commit: task.commit.clone(),
        recipe_path: task.recipe_path.clone(),
        architecture: task.architecture.clone(),
        build_release: u32::try_from(task.build_release).unwrap_or(u32::MAX),
        repositories: repositories(&config.vessel.public_url, world, task),
        limits: Some(Limits {
            time_seconds: limits.time_seconds,
            silence_seconds: limits.silence_seconds,
            log_bytes: limits.log_bytes,
            output_bytes: limits.output_bytes,
            memory_bytes: limits.memory_bytes,
            disk_bytes: limits.disk_bytes,
        }),
        source_name: task.source.clone(),
        commit_time_seconds: task.commit_time_seconds,
    }
}

/// What the task is built against: its own channel, then the project's other repositories by falling priority.
fn repositories(public_url: &str, world: &World, task: &TaskRow) -> Vec<Repository> {
    let own = Repository {
        id: task.channel.clone(),
        source: Some(repository::Source::RootIndex(RootIndex {
            base_uri: public_url.to_owned(),
            channel: task.channel.clone(),
            version: PUBLISHED_VERSION.into(),
        })),
        priority: OWN_PRIORITY,
    };
    // Before anything was published there is no stream to read.
    let own = world.repository.history.is_some().then_some(own);
    let begins = needs_first_generation(world, &task.source);
    let mut others: Vec<&RepositoryConfig> =
        world.project.repositories.iter().filter(|other| !other.bootstrap || begins).collect();
    others.sort_by_key(|other| std::cmp::Reverse(other.priority));
    own.into_iter().chain(others.into_iter().map(extra_repository)).collect()
}

/// Whether a recipe lies in a knot of which something was never published to our own channel.
fn needs_first_generation(world: &World, source: &str) -> bool {
    let graph = &world.graph;
    let Some(knot) = graph.by_source(source).and_then(|recipe| graph.knot_of(recipe)) else { return false };
    let members = graph.component_members(knot);
    !members.iter().all(|&member| world.repository.published.source(graph.source(member)).is_some())
}

fn extra_repository(config: &RepositoryConfig) -> Repository {
    let source = match (&config.index_uri, &config.base_uri) {
        (Some(uri), _) => Some(repository::Source::IndexUri(uri.clone())),
        (None, Some(base_uri)) => Some(repository::Source::RootIndex(RootIndex {
            base_uri: base_uri.clone(),
            channel: config.channel.clone(),
            version: config.version.clone(),
        })),
        (None, None) => None,
    };
    Repository { id: config.id.clone(), source, priority: config.priority }
}

/// A refusal means that the task moved on by itself.
pub(crate) fn ignore_refusal<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Refused { task, source }) => {
            tracing::debug!(task.id = %task, reason = %source, "the task moved on meanwhile");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
