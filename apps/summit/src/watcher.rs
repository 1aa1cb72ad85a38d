//! Looks at the recipes of a project and at the repositories, and turns what is missing into tasks.
//!
//! Each project has a watcher of its own, so that a repository that hangs or is broken holds up no other; each of its
//! architectures is looked at for itself. A watcher looks every so often, when somebody calls, and when something was
//! published. A look that fails changes nothing: what was known stays, the trouble is shown, and the next look tries
//! again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use farm::catalogue::{Catalogue, Unreadable};
use farm::graph::{Graph, Supply};
use farm::ids::TaskId;
use farm::missing::{Wanted, missing, unbumped};
use farm::moment::Moment;
use farm::plan::{Change, KnownTask, plan};
use farm::published::Published;
use farm::task::Phase;
use fault::{Fault, Kind};
use fetch::Client;
use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::config::{Project, RepositoryConfig};
use crate::discover::{Discoverer, Understood};
use crate::git::{Commit, GitError, Mirror};
use crate::hub::{Hub, LookRequest, News};
use crate::repository_state::{self, RepositoryState, RepositoryStateError};
use crate::store::{NewTask, StoreError};
use crate::waves::{self, WaveTask};
use crate::world::{Arena, World};

/// Time until the next look after one that came to nothing: what held it up, such as a git that an earlier Summit has
/// left behind, is often gone then.
const AGAIN: Duration = Duration::from_secs(5);

/// What a look at every project found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LookReport {
    /// The commit that was read; of the first project.
    pub commit: String,
    /// Whether one is another one than before.
    pub moved: bool,
    /// Recipes that can be used.
    pub recipes: usize,
    /// Recipes that cannot.
    pub unreadable: usize,
    /// Tasks that were made.
    pub new_tasks: Vec<farm::ids::TaskId>,
    /// Each project, in the order of the configuration.
    pub projects: Vec<ProjectLook>,
}

/// What a look at one project found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProjectLook {
    /// The project.
    pub project: String,
    /// The commit that was read; empty when none could be.
    pub commit: String,
    /// Whether it is another one than before.
    pub moved: bool,
    /// Recipes that can be used.
    pub recipes: usize,
    /// Recipes that cannot.
    pub unreadable: usize,
    /// Tasks that were made, for all architectures.
    pub new_tasks: Vec<farm::ids::TaskId>,
    /// What went wrong; nothing of that project or architecture has changed then.
    pub trouble: Option<String>,
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

/// Looks at one project for ever.
pub(crate) struct Watcher {
    hub: Arc<Hub>,
    project: Arc<Project>,
    mirror: Mirror,
    /// One for each architecture.
    readers: Vec<Reader>,
    client: Client,
    /// Recipes that are not used because an earlier project has their source, as they were written down last.
    left_out: Vec<Unreadable>,
}

/// Reads recipes as one architecture sees them.
struct Reader {
    architecture: String,
    discoverer: Discoverer,
    /// What was read last, before anything was left out.
    last: Option<(Commit, Arc<Catalogue>)>,
}

/// What the look at one architecture found.
struct Found {
    moved: bool,
    new_tasks: Vec<TaskId>,
    /// Recipes that are not used because an earlier project has their source.
    left_out: Vec<Unreadable>,
}

impl Watcher {
    /// A watcher of `project`, with its mirror at `mirror`.
    pub(crate) fn new(hub: Arc<Hub>, project: Arc<Project>, mirror: &Path, understood: &Understood) -> Self {
        let mirror = Mirror::new(mirror, &project.recipes, &project.branch);
        let readers = project
            .architectures
            .iter()
            .map(|architecture| Reader {
                architecture: architecture.clone(),
                discoverer: Discoverer::new(mirror.clone(), architecture).sharing(understood.clone()),
                last: None,
            })
            .collect();
        Self { hub, project, mirror, readers, client: Client::default(), left_out: Vec::new() }
    }

    /// Looks every so often, when somebody asks, and when the repository has something new.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<LookRequest>, moved: Arc<Notify>) {
        let mut next = Instant::now();
        loop {
            // The first look is at once.
            let (request, fetch) = tokio::select! {
                () = sleep_until(next) => (None, true),
                request = requests.recv() => match request {
                    Some(request) => (Some(request), true),
                    None => return,
                },
                () = moved.notified() => (None, false),
            };
            let result = self.look(fetch).await;
            if fetch {
                let poll = Duration::from_secs(u64::from(self.hub.config().poll_seconds));
                next = Instant::now() + if result.is_ok() { poll } else { poll.min(AGAIN) };
            }
            if let Some(request) = request {
                // Whoever asked may be gone; the look was worth it all the same.
                drop(request.send(result));
            }
        }
    }

    async fn look(&mut self, fetch: bool) -> Result<ProjectLook, LookError> {
        let commit = if fetch { self.mirror.fetch().await } else { self.mirror.head().await };
        let commit = match commit {
            Ok(commit) => commit,
            Err(error) => {
                let error = LookError::from(error);
                for reader in &self.readers {
                    self.note_trouble(&reader.architecture, &error);
                }
                return Err(error);
            }
        };
        let mut report = ProjectLook {
            project: self.project.name.clone(),
            commit: commit.id.clone(),
            moved: false,
            recipes: 0,
            unreadable: 0,
            new_tasks: Vec::new(),
            trouble: None,
        };
        let mut left_out: BTreeMap<String, Unreadable> = BTreeMap::new();
        let (mut first_error, mut succeeded) = (None, 0);
        for place in 0..self.readers.len() {
            match self.look_for(place, &commit, fetch).await {
                Ok(found) => {
                    succeeded += 1;
                    report.moved |= found.moved;
                    report.new_tasks.extend(found.new_tasks);
                    left_out.extend(found.left_out.into_iter().map(|recipe| (recipe.path.clone(), recipe)));
                }
                Err(error) => {
                    // The other architectures go on.
                    self.note_trouble(&self.readers[place].architecture, &error);
                    report.trouble.get_or_insert_with(|| fault::chain(&error).join(": "));
                    first_error.get_or_insert(error);
                }
            }
        }
        if let (0, Some(error)) = (succeeded, first_error) {
            return Err(error);
        }
        self.write_down(&mut report, left_out.into_values().collect()).await?;
        Ok(report)
    }

    /// What was found is kept for people, and for later projects that may not have the same sources.
    async fn write_down(
        &mut self,
        report: &mut ProjectLook,
        left_out: Vec<Unreadable>,
    ) -> Result<(), LookError> {
        let Some((_, catalogue)) = self.readers.iter().find_map(|reader| reader.last.as_ref()) else {
            return Ok(());
        };
        let is_left_out: HashSet<&str> = left_out.iter().map(|recipe| recipe.path.as_str()).collect();
        let used = catalogue.recipes().iter().filter(|entry| !is_left_out.contains(entry.path.as_str()));
        report.recipes = used.clone().count();
        report.unreadable = catalogue.unreadable().len() + left_out.len();
        if !report.moved && left_out == self.left_out {
            return Ok(());
        }
        let used = Catalogue::sharing(used.cloned().collect(), catalogue.unreadable().to_vec());
        self.hub.store.found_recipes(&self.project.name, &report.commit, &used, &left_out).await?;
        for recipe in &left_out {
            tracing::warn!(
                project.name = self.project.name,
                recipe.path,
                reason = recipe.message,
                "a recipe is left out"
            );
        }
        self.left_out = left_out;
        for watcher in self.hub.watchers().values() {
            if watcher.project.channel == self.project.channel && watcher.project.name != self.project.name {
                watcher.moved.notify_one();
            }
        }
        tracing::info!(
            project.name = self.project.name,
            commit = report.commit,
            recipes = report.recipes,
            unreadable = report.unreadable,
            new_tasks = report.new_tasks.len(),
            "read a new commit"
        );
        Ok(())
    }

    fn note_trouble(&self, architecture: &str, error: &LookError) {
        let trouble = fault::chain(error).join(": ");
        tracing::warn!(project.name = self.project.name, architecture, %trouble,
            "the look came to nothing; the next one tries again");
        let world = World { trouble: Some(trouble), ..self.world(architecture) };
        self.hub.set_world(world);
    }

    fn world(&self, architecture: &str) -> World {
        match self.hub.worlds().get(&Arena::new(&self.project.name, architecture)) {
            Some(world) if world.project.reads_as(&self.project) => {
                World { project: Arc::clone(&self.project), ..(**world).clone() }
            }
            // What was read for another definition of the project says nothing.
            _ => World::new(Arc::clone(&self.project), architecture),
        }
    }

    /// Looks at `commit` as one architecture sees it.
    async fn look_for(&mut self, place: usize, commit: &Commit, fetch: bool) -> Result<Found, LookError> {
        let reader = &mut self.readers[place];
        let architecture = reader.architecture.clone();
        let moved = reader.last.as_ref().is_none_or(|(last, _)| last != commit);
        let whole = match &reader.last {
            Some((last, catalogue)) if last == commit => Arc::clone(catalogue),
            _ => {
                let catalogue = Arc::new(reader.discoverer.discover(commit).await?);
                reader.last = Some((commit.clone(), Arc::clone(&catalogue)));
                catalogue
            }
        };
        let mut before = self.world(&architecture);
        let repository_url = self.hub.config().vessel.public_url.clone();
        if before.repository_url != repository_url {
            before = World { repository: RepositoryState::default(), repository_url, ..before };
        }
        let (catalogue, left_out) = self.without_claimed(&whole, &before, &architecture).await?;
        let landings = self.hub.landings(&self.project.channel, &architecture);
        let read_from = self.hub.clock.now();
        let (repository, others) = self.read_repositories(&architecture, &before, fetch).await?;
        let mut world = World {
            commit: Some(commit.clone()),
            landings,
            trouble: None,
            ..redrawn(before, catalogue, repository, others)
        };
        if moved {
            warn_of_unbumped(&world);
        }
        let new_tasks = self.make_tasks(&mut world, commit, read_from).await?;
        self.hub.set_world(World { looked: Some(self.hub.clock.now()), ..world });
        Ok(Found { moved, new_tasks, left_out })
    }

    /// The catalogue without recipes whose sources an earlier project publishes to the same place: two that replaced
    /// each other's packages for ever would be worse.
    async fn without_claimed(
        &self,
        whole: &Arc<Catalogue>,
        before: &World,
        architecture: &str,
    ) -> Result<(Arc<Catalogue>, Vec<Unreadable>), LookError> {
        let config = self.hub.config();
        let earlier = config.projects.iter().take_while(|project| project.name != self.project.name).filter(
            |project| {
                project.channel == self.project.channel
                    && project.architectures.iter().any(|one| one == architecture)
            },
        );
        let mut left_out = Vec::new();
        for project in earlier {
            let claimed = self.hub.store.sources(&project.name).await?;
            let twice = whole.recipes().iter().filter(|entry| claimed.contains(&entry.source));
            left_out.extend(twice.map(|entry| Unreadable {
                path: entry.path.clone(),
                line: 0,
                column: 0,
                message: format!(
                    "project {} publishes {:?} to channel {} already: this recipe is ignored",
                    project.name, entry.source, project.channel
                ),
            }));
        }
        if left_out.is_empty() {
            return Ok((Arc::clone(whole), left_out));
        }
        let paths: HashSet<&str> = left_out.iter().map(|recipe| recipe.path.as_str()).collect();
        let kept =
            whole.recipes().iter().filter(|entry| !paths.contains(entry.path.as_str())).cloned().collect();
        let catalogue = Catalogue::sharing(kept, whole.unreadable().to_vec());
        // The same as before is told by its address.
        let catalogue =
            if *before.catalogue == catalogue { Arc::clone(&before.catalogue) } else { Arc::new(catalogue) };
        Ok((catalogue, left_out))
    }

    /// The channel, and the repositories besides it. These are read anew only with the recipes.
    async fn read_repositories(
        &self,
        architecture: &str,
        before: &World,
        fetch: bool,
    ) -> Result<(RepositoryState, Vec<RepositoryState>), LookError> {
        let client = self.client.clone();
        let (project, config) = (Arc::clone(&self.project), self.hub.config());
        let (known, known_others) = (before.repository.clone(), before.others.clone());
        let architecture = architecture.to_owned();
        let reading = tokio::task::spawn_blocking(move || {
            let own = repository_state::read(
                &client,
                &config.vessel.public_url,
                &project.channel,
                &architecture,
                &known,
            )?;
            if !fetch && known_others.len() == project.repositories.len() {
                return Ok((own, known_others));
            }
            let none = RepositoryState::default();
            let others = project.repositories.iter().enumerate().map(|(place, other)| {
                let known = known_others.get(place).unwrap_or(&none);
                repository_state::read_place(&client, other, &architecture, known)
            });
            Ok((own, others.collect::<Result<Vec<_>, RepositoryStateError>>()?))
        });
        let read = reading.await.map_err(|_| LookError::Stopping)?;
        read.map_err(|source: RepositoryStateError| LookError::Repository { source })
    }

    /// Compares, plans, and writes the plan down. `read_from` is the moment since which the repository was being read.
    async fn make_tasks(
        &self,
        world: &mut World,
        commit: &Commit,
        read_from: Moment,
    ) -> Result<Vec<TaskId>, LookError> {
        let hub = &self.hub;
        let Arena { project, architecture } = world.arena.clone();
        let known = self.known_tasks(&world.arena, read_from).await?;
        let of_waves = hub.store.wave_tasks(&project, &architecture).await?;
        let wanted = self.wishes(world, &known, &of_waves, read_from).await?;
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
    async fn known_tasks(&self, arena: &Arena, read_from: Moment) -> Result<Vec<KnownTask>, LookError> {
        let known = self.hub.store.known_tasks(&arena.project, &arena.architecture).await?.into_iter();
        let known = known.map(|(task, updated)| match task.phase {
            // It landed after the repository was read: it is missing only in what we read.
            Phase::Published if updated >= read_from => KnownTask { phase: Phase::Publishing, ..task },
            _ => task,
        });
        Ok(known.collect())
    }

    /// Rebuilds that are wished for: those that were asked for, and what knots need to come to rest.
    async fn wishes(
        &self,
        world: &mut World,
        known: &[KnownTask],
        of_waves: &[WaveTask],
        read_from: Moment,
    ) -> Result<HashMap<String, Wanted>, LookError> {
        let store = &self.hub.store;
        let Arena { project, architecture } = &world.arena;
        let waves = waves::judge(&world.graph, of_waves, self.project.rounds_max, read_from);
        let rounds: Vec<(String, Wanted)> = waves
            .iter()
            .flat_map(|wave| &wave.rounds.rebuild)
            .filter_map(|due| waves::wish(&world.graph, due, &world.repository.published, known))
            .collect();
        if !rounds.is_empty() {
            store.want(project, architecture, &rounds, self.hub.clock.now()).await?;
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
}

/// The world with what was read; its graph follows only when something is another than before.
fn redrawn(
    before: World,
    catalogue: Arc<Catalogue>,
    repository: RepositoryState,
    others: Vec<RepositoryState>,
) -> World {
    let same_place =
        |one: &RepositoryState, other: &RepositoryState| Arc::ptr_eq(&one.published, &other.published);
    let is_same = before.looked.is_some()
        && Arc::ptr_eq(&before.catalogue, &catalogue)
        && same_place(&before.repository, &repository)
        && before.others.len() == others.len()
        && before.others.iter().zip(&others).all(|(one, other)| same_place(one, other));
    if is_same {
        return World { repository, ..before };
    }
    let sources: HashSet<&str> = catalogue.recipes().iter().map(|entry| entry.source.as_str()).collect();
    let mut places: Vec<(&RepositoryConfig, Arc<Published>)> = before
        .project
        .repositories
        .iter()
        .zip(&others)
        .map(|(place, other)| match place.bootstrap {
            true => (place, Arc::new(of_sources(&other.published, &sources))),
            false => (place, Arc::clone(&other.published)),
        })
        .collect();
    // What is only for beginnings comes last, whatever its priority.
    places.sort_by_key(|(place, _)| (place.bootstrap, std::cmp::Reverse(place.priority)));
    let further: Vec<&Published> = places.iter().map(|(_, published)| &**published).collect();
    let supply = Supply { own: &repository.published, others: &further, host: before.project.host_provides };
    let began = Instant::now();
    let mut graph = Graph::clone(&before.graph);
    graph.update(&catalogue, &supply);
    let graph_seconds = began.elapsed().as_secs_f64();
    World { catalogue, repository, others, graph: Arc::new(graph), graph_seconds, ..before }
}

/// What a repository has of these sources. A first generation serves for what we build ourselves, and for nothing else.
fn of_sources(published: &Published, sources: &HashSet<&str>) -> Published {
    let kept = published.sources().filter(|source| sources.contains(source));
    Published::new(kept.flat_map(|source| published.packages_of_source(source)).cloned())
}

fn warn_of_unbumped(world: &World) {
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

/// Looks at every project, side by side.
///
/// # Errors
/// When every look came to nothing. What one of several could not do is in the report.
pub(crate) async fn look_everywhere(hub: &Hub) -> Result<LookReport, LookError> {
    let mut asked = Vec::new();
    for (name, watcher) in hub.watchers() {
        let (reply, answer) = oneshot::channel();
        // One that does not take the question is being stopped.
        let is_asked = watcher.looks.send(reply).await.is_ok();
        asked.push((name, is_asked.then_some(answer)));
    }
    let mut looks = Vec::new();
    let mut first_error = None;
    for (name, answer) in asked {
        let result = match answer {
            Some(answer) => answer.await.unwrap_or(Err(LookError::Stopping)),
            None => Err(LookError::Stopping),
        };
        match result {
            Ok(look) => looks.push(look),
            Err(error) => {
                looks.push(ProjectLook {
                    project: name,
                    commit: String::new(),
                    moved: false,
                    recipes: 0,
                    unreadable: 0,
                    new_tasks: Vec::new(),
                    trouble: Some(fault::chain(&error).join(": ")),
                });
                first_error.get_or_insert(error);
            }
        }
    }
    if let (true, Some(error)) = (looks.iter().all(|look| look.commit.is_empty()), first_error) {
        return Err(error);
    }
    let config = hub.config();
    let place = |look: &ProjectLook| config.projects.iter().position(|project| project.name == look.project);
    looks.sort_by_key(place);
    Ok(LookReport {
        commit: looks.first().map(|look| look.commit.clone()).unwrap_or_default(),
        moved: looks.iter().any(|look| look.moved),
        recipes: looks.iter().map(|look| look.recipes).sum(),
        unreadable: looks.iter().map(|look| look.unreadable).sum(),
        new_tasks: looks.iter().flat_map(|look| look.new_tasks.iter().copied()).collect(),
        projects: looks,
    })
}
