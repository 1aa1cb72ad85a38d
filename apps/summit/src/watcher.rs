//! Looks at the recipes and at the repository, and turns what is missing into tasks.
//!
//! It looks every so often, when somebody calls, and when something was published. A look that fails changes nothing:
//! what was known stays, the trouble is shown, and the next look tries again.

use std::sync::Arc;
use std::time::Duration;

use farm::graph::Supply;
use farm::missing::{missing, unbumped};
use farm::moment::Moment;
use farm::plan::{Change, KnownTask, plan};
use farm::task::Phase;
use fault::{Fault, Kind};
use fetch::Client;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::discover::{Discoverer, Discovery};
use crate::git::GitError;
use crate::hub::{Hub, LookRequest, News, World};
use crate::repository_state::{self, RepositoryState, RepositoryStateError};
use crate::store::{NewTask, StoreError};

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LookReport {
    /// The commit that was read.
    pub commit: String,
    /// Whether it is another one than before.
    pub moved: bool,
    /// Recipes that can be used.
    pub recipes: usize,
    /// Recipes that cannot.
    pub unreadable: usize,
    /// Tasks that were made.
    pub new_tasks: Vec<farm::ids::TaskId>,
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The recipes cannot be read.
    #[error("cannot read the recipes")]
    Git {
        /// Why.
        #[from]
        source: GitError,
    },
    /// The repository cannot be read.
    #[error("cannot compare the recipes with the repository")]
    Repository {
        /// Why.
        #[from]
        source: RepositoryStateError,
    },
    /// What was found cannot be stored.
    #[error("cannot store what was found")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// A part of this program ended.
    #[error("cannot look: Summit is stopping")]
    Stopping,
}

impl Fault for LookError {
    fn kind(&self) -> Kind {
        match self {
            LookError::Git { source } => source.kind(),
            LookError::Repository { source } => source.kind(),
            LookError::Store { source } => source.kind(),
            LookError::Stopping => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            LookError::Git { source } => source.hints(),
            LookError::Repository { source } => source.hints(),
            LookError::Store { source } => source.hints(),
            LookError::Stopping => Vec::new(),
        }
    }
}

/// Looks for ever.
pub(crate) async fn run(
    hub: Arc<Hub>,
    mut discoverer: Discoverer,
    mut requests: mpsc::Receiver<LookRequest>,
) {
    let client = Client::default();
    let mut ticks = interval(Duration::from_secs(u64::from(hub.config.poll_seconds)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // The first tick comes at once.
        let (request, fetch) = tokio::select! {
            _ = ticks.tick() => (None, true),
            request = requests.recv() => match request {
                Some(request) => (Some(request), true),
                None => return,
            },
            () = hub.repository_moved.notified() => (None, false),
        };
        let result = look(&hub, &mut discoverer, &client, fetch).await;
        if let Err(error) = &result {
            let trouble = fault::chain(error).join(": ");
            tracing::warn!(%trouble, "the look came to nothing; the next one tries again");
            let world = World { trouble: Some(trouble), ..(*hub.world()).clone() };
            hub.set_world(world);
        }
        if let Some(request) = request {
            // Whoever asked may be gone; the look was worth it all the same.
            drop(request.send(result));
        }
    }
}

async fn look(
    hub: &Arc<Hub>,
    discoverer: &mut Discoverer,
    client: &Client,
    fetch: bool,
) -> Result<LookReport, LookError> {
    let commit = if fetch { discoverer.fetch().await? } else { discoverer.last().await? };
    let before = hub.world();
    let moved = before.commit.as_ref() != Some(&commit);
    let discovery = if moved {
        let discovery = discoverer.discover(commit).await?;
        hub.store.found_recipes(&discovery.commit.id, &discovery.catalogue).await?;
        discovery
    } else {
        Discovery { commit, catalogue: before.catalogue.clone() }
    };
    let landings = hub.landings();
    let read_from = hub.clock.now();
    let repository = read_repository(hub, client, Arc::clone(&before)).await?;
    let host = hub.config.project.host_provides;
    let mut graph = before.graph.clone();
    graph.update(&discovery.catalogue, &Supply { own: &repository.published, others: &[], host });
    let new_tasks = make_tasks(hub, &discovery, &repository, read_from).await?;
    let report = LookReport {
        commit: discovery.commit.id.clone(),
        moved,
        recipes: discovery.catalogue.recipes().len(),
        unreadable: discovery.catalogue.unreadable().len(),
        new_tasks,
    };
    if moved {
        tracing::info!(
            commit = report.commit,
            recipes = report.recipes,
            unreadable = report.unreadable,
            new_tasks = report.new_tasks.len(),
            "read a new commit"
        );
    }
    hub.set_world(World {
        commit: Some(discovery.commit),
        catalogue: discovery.catalogue,
        repository,
        graph,
        looked: Some(hub.clock.now()),
        landings,
        trouble: None,
    });
    Ok(report)
}

async fn read_repository(
    hub: &Arc<Hub>,
    client: &Client,
    known: Arc<World>,
) -> Result<RepositoryState, LookError> {
    let (hub, client) = (Arc::clone(hub), client.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let project = &hub.config.project;
        repository_state::read(
            &client,
            &hub.config.vessel.public_url,
            &project.channel,
            &project.architecture,
            &known.repository,
        )
    });
    Ok(reading.await.map_err(|_| LookError::Stopping)??)
}

/// Compares, plans, and writes the plan down. `read_from` is the moment since which the repository was being read.
async fn make_tasks(
    hub: &Hub,
    discovery: &Discovery,
    repository: &RepositoryState,
    read_from: Moment,
) -> Result<Vec<farm::ids::TaskId>, LookError> {
    let catalogue = &discovery.catalogue;
    for found in unbumped(catalogue, &repository.published) {
        if let Some(entry) = catalogue.recipes().get(found.recipe) {
            tracing::warn!(
                recipe.path = entry.path,
                version = entry.version,
                published = found.published_version,
                "the version changed and the release did not: nothing is built"
            );
        }
    }
    let known: Vec<KnownTask> = hub
        .store
        .known_tasks()
        .await?
        .into_iter()
        .map(|(task, updated)| match task.phase {
            // It landed after the repository was read: it is missing only in what we read.
            Phase::Published if updated >= read_from => KnownTask { phase: Phase::Publishing, ..task },
            _ => task,
        })
        .collect();
    let missing = missing(catalogue, &repository.published);
    let mut new = Vec::new();
    let mut withdrawn = Vec::new();
    for change in plan(catalogue, &missing, &known) {
        match change {
            Change::Create { recipe, reason, build_release, supersedes } => {
                let Some(entry) = catalogue.recipes().get(recipe) else { continue };
                new.push(NewTask {
                    source: entry.source.clone(),
                    version: entry.version.clone(),
                    release: entry.release,
                    build_release,
                    architecture: hub.config.project.architecture.clone(),
                    recipe_path: entry.path.clone(),
                    content: entry.content.clone(),
                    commit: discovery.commit.id.clone(),
                    commit_time_seconds: discovery.commit.time_seconds,
                    reason,
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
    let (made, effects) = hub.store.carry_out(&new, &withdrawn, hub.clock.now()).await?;
    hub.carry_out(&effects).await;
    for &task in made.iter().chain(&withdrawn) {
        hub.tell(News::Task(task));
    }
    Ok(made)
}
