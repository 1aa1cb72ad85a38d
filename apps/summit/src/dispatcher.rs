//! Judges what waits, hands out what is ready, and notices who is gone.
//!
//! Everything is found by looking at the store; being woken only makes it sooner.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use farm::ids::{BuilderId, RecipeId, TaskId};
use farm::queue::{OpenTask, Queue};
use farm::schedule::{
    ASSUMED_MS, Assignment, Builder, Candidate, Needs, Policy, Running, Scheduler, Unplaced,
};
use farm::task::{Claim, Event, Phase, State};
use wire::PublicKey;
use wire::summit::{Limits, Order, Repository, RootIndex, repository, to_agent};

use crate::config::{BuilderSize, Config, RepositoryConfig, Wishes};
use crate::hub::{Hub, News};
use crate::repository_state::PUBLISHED_VERSION;
use crate::store::{Mark, StoreError, TaskRow};
use crate::world::{Arena, World, Worlds};

/// Time after which everything is looked at without being woken. Leases run for a minute; a few seconds of delay do
/// not matter to anything that is found only here.
const SWEEP: Duration = Duration::from_secs(2);

/// Priority of our own channel among the repositories of a build.
const OWN_PRIORITY: i32 = 100;

/// Phases of tasks that still matter to others.
pub(crate) const LIVING: [Phase; 8] = [
    Phase::Waiting,
    Phase::Blocked,
    Phase::Ready,
    Phase::Leased,
    Phase::Building,
    Phase::Publishing,
    Phase::Failed,
    Phase::Cancelled,
];

/// What was judged last: nothing that matters to a judgement has changed while both are the same.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    worlds: Option<Arc<Worlds>>,
    mark: Option<Mark>,
}

/// Dispatches for ever.
pub(crate) async fn run(hub: Arc<Hub>) {
    let mut judged = Judged::default();
    loop {
        if let Err(error) = sweep(&hub, &mut judged).await {
            tracing::error!(error = fault::chain(&error).join(": "), "cannot dispatch; trying again");
        }
        // Being woken early or late makes no difference to what is found.
        drop(tokio::time::timeout(SWEEP, hub.dispatch.notified()).await);
    }
}

/// One look at everything.
pub(crate) async fn sweep(hub: &Hub, judged: &mut Judged) -> Result<(), StoreError> {
    load_builders(hub).await?;
    expire(hub).await?;
    let worlds = hub.worlds();
    for world in worlds.values().filter(|world| world.looked.is_some() && !hub.is_current(world)) {
        // Also when the first look after a landing failed, and nobody else asks for another.
        hub.channel_moved(&world.project.channel);
    }
    judge_if_changed(hub, &worlds, judged).await?;
    hand_out(hub, &worlds).await?;
    send_orders(hub, &worlds).await
}

/// Who may speak with us. Builders are added and removed by other processes too.
async fn load_builders(hub: &Hub) -> Result<(), StoreError> {
    let builders: HashSet<BuilderId> =
        hub.store.builders().await?.into_iter().map(|builder| builder.id).collect();
    let mut keys: HashSet<PublicKey> = builders.iter().filter_map(|id| id.0.parse().ok()).collect();
    keys.extend([hub.config().vessel.public_key, hub.identity.public_key()]);
    hub.set_known_keys(keys);
    hub.sessions.retain(|id| builders.contains(id));
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

/// Judging looks at every open task and its way through the graph; most sweeps find nothing changed.
async fn judge_if_changed(hub: &Hub, worlds: &Arc<Worlds>, judged: &mut Judged) -> Result<(), StoreError> {
    // Taken before: what changes meanwhile is judged again.
    let mark = hub.store.mark().await?;
    let same_worlds = judged.worlds.as_ref().is_some_and(|before| Arc::ptr_eq(before, worlds));
    if same_worlds && judged.mark == Some(mark) {
        return Ok(());
    }
    judge_waiting(hub, worlds).await?;
    *judged = Judged { worlds: Some(Arc::clone(worlds)), mark: Some(mark) };
    Ok(())
}

async fn judge_waiting(hub: &Hub, worlds: &Worlds) -> Result<(), StoreError> {
    let tasks = hub.store.tasks_in(&LIVING).await?;
    let states: HashMap<TaskId, &State> = tasks.iter().map(|task| (task.id, &task.state)).collect();
    let now = hub.clock.now();
    let mut events = Vec::new();
    for world in worlds.values().filter(|world| hub.is_current(world)) {
        let mut queue = Queue::new(&world.graph, open_tasks(world, &tasks));
        for recipe in queue.take_changed() {
            let Some(task) = queue.task(recipe).map(|task| task.id) else { continue };
            let Some(readiness) = queue.readiness(&world.graph, recipe) else { continue };
            let event = Event::Judged { readiness };
            // Most judgements say what was said before: only the others are written.
            if states.get(&task).is_some_and(|state| farm::task::step(state, &event, now).is_ok()) {
                events.push((task, event));
            }
        }
    }
    hub.apply_many(&events).await
}

/// The newest living task of each recipe of a world.
pub(crate) fn open_tasks(world: &World, tasks: &[TaskRow]) -> HashMap<RecipeId, OpenTask> {
    let mut open: HashMap<RecipeId, OpenTask> = HashMap::new();
    for task in tasks {
        let is_here = task.project == world.arena.project && task.architecture == world.arena.architecture;
        let Some(recipe) = is_here.then(|| world.graph.by_source(&task.source)).flatten() else { continue };
        let found = OpenTask { id: task.id, phase: task.state.phase() };
        let entry = open.entry(recipe).or_insert(found);
        if entry.id < found.id {
            *entry = found;
        }
    }
    open
}

async fn hand_out(hub: &Hub, worlds: &Worlds) -> Result<(), StoreError> {
    let ready = hub.store.tasks_in(&[Phase::Ready]).await?;
    // Before the first look it is not known what to build against.
    let is_known = |task: &TaskRow| worlds.get(&Arena::of(task)).is_some_and(|world| world.looked.is_some());
    let ready: Vec<TaskRow> = ready.into_iter().filter(is_known).collect();
    if ready.is_empty() {
        return Ok(());
    }
    let now = hub.clock.now();
    for given in plan_assignments(hub, worlds, &ready).await?.0 {
        let until = now.after(hub.config().lease());
        let result = hub.store.assign(given.task, &given.builder, until, &given.why, now).await;
        match result {
            Ok(applied) => {
                tracing::info!(task.id = %given.task, builder.id = %given.builder, source = applied.task.source,
                    why = given.why, "handed out");
                hub.tell(News::Task(given.task));
            }
            Err(StoreError::Refused { source, .. }) => {
                tracing::debug!(task.id = %given.task, reason = %source, "the task moved on meanwhile");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Who would get what now, and why the others get nothing.
pub(crate) async fn plan_assignments(
    hub: &Hub,
    worlds: &Worlds,
    ready: &[TaskRow],
) -> Result<(Vec<Assignment>, Vec<(TaskId, Unplaced)>), StoreError> {
    let config = hub.config();
    let builders = builders(hub).await?;
    let largest = largest_attached(&config, &builders);
    let mut scheduler = Scheduler::new(Policy::CriticalPath);
    let heights: HashMap<&Arena, Vec<usize>> =
        worlds.iter().map(|(arena, world)| (arena, world.graph.heights())).collect();
    for task in ready {
        let State::Ready { since, tries } = &task.state else { continue };
        let arena = Arena::of(task);
        let recipe = worlds.get(&arena).and_then(|world| world.graph.by_source(&task.source));
        let height = recipe.and_then(|recipe| heights.get(&arena)?.get(recipe.index()).copied()).unwrap_or(1);
        let height = u64::try_from(height).unwrap_or(u64::MAX);
        let wishes =
            config.project(&task.project).map(|project| project.wishes(&task.source)).unwrap_or_default();
        scheduler.offer(Candidate {
            task: task.id,
            priority: wishes.priority,
            needs: Arc::new(needs(wishes, &task.architecture, largest)),
            path_ms: height.saturating_mul(ASSUMED_MS),
            expected_ms: None,
            since: *since,
            not_before: tries.not_before,
            avoid: tries.avoid.clone(),
        });
    }
    let now = hub.clock.now();
    let assignments = scheduler.preview(&builders, now).assignments;
    Ok((assignments, scheduler.unplaced_all(&builders, now)))
}

/// The size of the largest builder that is there.
fn largest_attached(config: &Config, builders: &[Builder]) -> BuilderSize {
    builders.iter().map(|builder| size_of(config, &builder.id)).max().unwrap_or_default()
}

fn size_of(config: &Config, builder: &BuilderId) -> BuilderSize {
    config.builder(&builder.0).map(|known| known.size).unwrap_or_default()
}

/// What a recipe cannot do without. A size is a wish: where nobody is so large, the largest will do.
fn needs(wishes: Wishes, architecture: &str, largest: BuilderSize) -> Needs {
    let mut features = wishes.features;
    features.extend(wishes.size.min(largest).feature());
    Needs {
        architecture: architecture.to_owned(),
        features,
        memory_bytes: wishes.memory_bytes,
        disk_bytes: wishes.disk_bytes,
        trust: wishes.trust,
    }
}

/// The connected builders, and what they build.
async fn builders(hub: &Hub) -> Result<Vec<Builder>, StoreError> {
    let mut running: HashMap<BuilderId, Vec<Running>> = HashMap::new();
    // An upload takes no place: the machine can build meanwhile.
    for task in hub.store.tasks_in(&[Phase::Leased, Phase::Building]).await? {
        let since = match &task.state {
            State::Building { since, .. } => *since,
            _ => task.updated,
        };
        for (claim, _) in task.state.claims() {
            running.entry(claim.builder.clone()).or_default().push(Running {
                task: task.id,
                since,
                expected_end: since.after(Duration::from_millis(ASSUMED_MS)),
                tail_ms: 0,
                memory_bytes: 0,
                twin: task.state.twin().is_some(),
            });
        }
    }
    let rows: HashMap<BuilderId, _> =
        hub.store.builders().await?.into_iter().map(|row| (row.id.clone(), row)).collect();
    let config = hub.config();
    let attached = hub.sessions.attached().into_iter();
    let builders = attached.filter_map(|session| {
        let row = rows.get(&session.id)?;
        let said = config.builder(&session.id.0);
        let mut features = said.map(|said| said.features.clone()).unwrap_or_default();
        features.extend(size_of(&config, &session.id).and_smaller());
        Some(Builder {
            features,
            trust: said.map(|said| said.trust).unwrap_or_default(),
            running: running.remove(&session.id).unwrap_or_default(),
            id: session.id,
            architectures: session.about.architectures,
            slots: session.about.slots,
            cores: session.about.cores,
            memory_bytes: session.about.memory_bytes,
            speed: 1.0,
            drained: row.drained,
            faults_in_row: row.faults_in_row,
            last_fault: row.last_fault,
            ..Builder::default()
        })
    });
    Ok(builders.collect())
}

/// Orders that were not sent on the connection that their builder has now.
async fn send_orders(hub: &Hub, worlds: &Worlds) -> Result<(), StoreError> {
    for task in hub.store.tasks_in(&[Phase::Leased, Phase::Building]).await? {
        let ordered = match &task.state {
            State::Leased { lease } => Some(&lease.claim),
            state => state.twin().filter(|twin| twin.since.is_none()).map(|twin| &twin.claim),
        };
        let Some(claim) = ordered else { continue };
        // Before the first look after a start it is not known what to build against.
        let Some(world) = worlds.get(&Arena::of(&task)).filter(|world| world.looked.is_some()) else {
            continue;
        };
        if hub.sessions.take_order(&claim.builder, claim.attempt) {
            hub.send(&claim.builder, to_agent::Message::Order(order(hub, world, &task, claim)));
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
