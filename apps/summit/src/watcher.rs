//! Looks at the recipes of a project and at the repositories, and turns what is missing into tasks.
//!
//! Each project has a watcher of its own, so that a repository that hangs or is broken holds up no other; each of its
//! architectures is looked at for itself. A watcher looks every so often, when somebody calls, and when something was
//! published. A look that fails changes nothing: what was known stays, the trouble is shown, and the next look tries
//! again.

mod drawing;
mod planning;
mod report;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use farm::catalogue::{Catalogue, Unreadable};
use farm::ids::TaskId;
use fetch::Client;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use wire::vessel::ChangesRequest;

use crate::config::Project;
use crate::discover::{Discoverer, Understood};
use crate::git::{Commit, Mirror};
use crate::hub::{Hub, LookRequest};
use crate::repository_state::{self, RepositoryState, RepositoryStateError};
use crate::vessel_link::VesselLink;
use crate::world::{Arena, World};

use drawing::Drawing;
pub(crate) use report::look_everywhere;
pub use report::{LookError, LookReport, ProjectLook};

/// Time until the next look after one that came to nothing: what held it up, such as a git that an earlier Summit has
/// left behind, is often gone then.
const AGAIN: Duration = Duration::from_secs(5);

/// How often memory is given back that looks after landings leave strewn about; at once after recipes were read.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(30);

/// How long Vessel may take to say what changed; it keeps it in memory. The index is read instead then.
const CHANGES_TIME_LIMIT: Duration = Duration::from_secs(5);

/// Looks at one project for ever.
pub(crate) struct Watcher {
    hub: Arc<Hub>,
    project: Arc<Project>,
    mirror: Mirror,
    /// One for each architecture.
    readers: Vec<Reader>,
    client: Client,
    link: VesselLink,
    /// Recipes that are not used because an earlier project has their source, as they were written down last.
    left_out: Vec<Unreadable>,
    /// Where the branch was when it was fetched last: nobody else moves it.
    head: Option<Commit>,
}

/// Reads recipes as one architecture sees them.
struct Reader {
    architecture: String,
    discoverer: Discoverer,
    /// What was read last, before anything was left out.
    last: Option<(Commit, Arc<Catalogue>)>,
    drawing: Drawing,
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
                drawing: Drawing::default(),
            })
            .collect();
        let (client, link) = (Client::default(), VesselLink::default());
        Self { hub, project, mirror, readers, client, link, left_out: Vec::new(), head: None }
    }

    /// Looks every so often, when somebody asks, and when the repository has something new.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<LookRequest>, moved: Arc<Notify>) {
        let mut next = Instant::now();
        let mut given_back = Instant::now();
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
            self.hub.metrics.passed("watcher");
            let began = Instant::now();
            let result = self.look(fetch).await;
            self.hub.metrics.looked(&self.project.name, began.elapsed());
            if result.as_ref().is_ok_and(|look| look.moved) || given_back.elapsed() >= GIVE_BACK_EVERY {
                given_back = Instant::now();
                // It is no matter whether it comes to its end.
                drop(tokio::task::spawn_blocking(observe::give_memory_back).await);
            }
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
        let commit = match (fetch, self.head.take()) {
            (false, Some(known)) => Ok(known),
            (false, None) => self.mirror.head().await,
            (true, _) => self.mirror.fetch().await,
        };
        let commit = match commit {
            Ok(commit) => self.head.insert(commit).clone(),
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
        let drawing = &mut self.readers[place].drawing;
        let mut world = World {
            commit: Some(commit.clone()),
            landings,
            trouble: None,
            ..drawing.follow(before, catalogue, repository, others)
        };
        if moved {
            planning::warn_of_unbumped(&world);
        }
        let new_tasks = planning::make_tasks(&self.hub, &mut world, commit, read_from).await?;
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

    /// What the channel has, by what Vessel says has changed; none when that does not do.
    async fn follow_channel(
        &mut self,
        architecture: &str,
        known: &RepositoryState,
    ) -> Option<RepositoryState> {
        let request = ChangesRequest {
            channel: self.project.channel.clone(),
            architecture: architecture.to_owned(),
            since: known.history.as_ref()?.to_string(),
        };
        let asked = async {
            let mut client =
                self.link.client(&self.hub).await.map_err(|error| fault::chain(&error).join(": "))?;
            client.changes(request).await.map_err(|status| status.message().to_owned())
        };
        let trouble = match timeout(CHANGES_TIME_LIMIT, asked).await {
            Ok(Ok(reply)) => return repository_state::follow(known, reply.into_inner()),
            Ok(Err(trouble)) => trouble,
            Err(_elapsed) => "no answer".to_owned(),
        };
        self.link.forget();
        tracing::info!(
            project.name = self.project.name,
            trouble,
            "Vessel does not say what changed; reading the index"
        );
        None
    }

    /// The channel, and the repositories besides it. These are read anew only with the recipes, and the channel as any client
    /// reads it, so that it is noticed when none can.
    async fn read_repositories(
        &mut self,
        architecture: &str,
        before: &World,
        fetch: bool,
    ) -> Result<(RepositoryState, Vec<RepositoryState>), LookError> {
        if !fetch
            && before.others.len() == self.project.repositories.len()
            && let Some(own) = self.follow_channel(architecture, &before.repository).await
        {
            return Ok((own, before.others.clone()));
        }
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
}
