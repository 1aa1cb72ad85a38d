//! Starts and stops watchers as projects come, change and go, and ends what belongs to none any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use farm::ids::TaskId;
use farm::task::Phase;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::config::{Config, Project};
use crate::discover::Understood;
use crate::hub::{Hub, LookRequest, News, WatcherHandle};
use crate::store::StoreError;
use crate::watcher::Watcher;

/// Wake-up calls that may wait for the look in progress.
const LOOKS_WAITING_MAX: usize = 16;

/// Time until it is tried again when the database failed.
const AGAIN: Duration = Duration::from_secs(2);

/// What the names of folders with mirrors end with, after the names of projects.
const MIRROR_SUFFIX: &str = ".git";

/// Phases of tasks that end when nobody asks for them any more. What is being published lands: it cannot be taken back.
const ENDED: [Phase; 7] = [
    Phase::Waiting,
    Phase::Blocked,
    Phase::Ready,
    Phase::Leased,
    Phase::Building,
    Phase::Failed,
    Phase::Cancelled,
];

/// Every watcher that runs.
pub(crate) struct Watchers {
    hub: Arc<Hub>,
    /// Where the mirrors are.
    folder: PathBuf,
    /// Shared by all: projects often have recipes in common.
    understood: Understood,
    running: BTreeMap<String, RunningWatcher>,
}

struct RunningWatcher {
    project: Arc<Project>,
    looks: mpsc::Sender<LookRequest>,
    moved: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Watchers {
    /// None yet; mirrors go below `folder`.
    pub(crate) fn new(hub: Arc<Hub>, folder: &Path) -> Self {
        Self {
            hub,
            folder: folder.to_path_buf(),
            understood: Understood::default(),
            running: BTreeMap::new(),
        }
    }

    /// Does what the configuration says, for ever.
    pub(crate) async fn run(mut self) {
        let hub = Arc::clone(&self.hub);
        loop {
            hub.projects_changed.notified().await;
            while let Err(error) = self.follow(&hub.config()).await {
                tracing::error!(
                    error = fault::chain(&error).join(": "),
                    "cannot change the projects; trying again"
                );
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Stops watchers of projects that are gone or read otherwise, ends the tasks that belong to none, and starts what
    /// is missing.
    pub(crate) async fn follow(&mut self, config: &Config) -> Result<(), StoreError> {
        let stays = |watcher: &RunningWatcher| {
            let project = config.project(&watcher.project.name);
            !watcher.task.is_finished() && project.is_some_and(|project| project.reads_as(&watcher.project))
        };
        let gone: Vec<String> = self
            .running
            .iter()
            .filter(|(_, watcher)| !stays(watcher))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            let Some(mut watcher) = self.running.remove(&name) else { continue };
            watcher.task.abort();
            // It stops at its next rest, and makes no task after that. That it was aborted is no news.
            drop((&mut watcher.task).await);
        }
        let is_asked_for = |project: &str, architecture: &str, channel: &str| {
            config.project(project).is_some_and(|project| {
                project.channel == channel && project.architectures.iter().any(|one| one == architecture)
            })
        };
        self.hub.retain_worlds(|world| {
            is_asked_for(&world.arena.project, &world.arena.architecture, &world.project.channel)
        });
        self.end_tasks(config).await?;
        let names: Vec<String> = config.projects.iter().map(|project| project.name.clone()).collect();
        self.hub.store.keep_projects(&names).await?;
        // Their watchers have stopped: nobody reads what goes away.
        let (folder, kept) = (self.folder.clone(), names.clone());
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || remove_mirrors(&folder, &kept)).await {
            // It is tried again when the projects change the next time, and at every start.
            tracing::warn!(%error, "cannot remove what is left of projects that are gone");
        }
        for project in &config.projects {
            if !self.running.contains_key(&project.name) {
                let watcher = self.start(Arc::new(project.clone()));
                self.running.insert(project.name.clone(), watcher);
            }
        }
        self.hub.set_watchers(
            self.running.iter().map(|(name, watcher)| (name.clone(), watcher.handle())).collect(),
        );
        Ok(())
    }

    /// Tasks of projects, architectures and channels that are gone: queued ones are withdrawn, builds are stopped.
    async fn end_tasks(&self, config: &Config) -> Result<(), StoreError> {
        let arenas: Vec<(String, String, String)> = config
            .projects
            .iter()
            .flat_map(|project| {
                let arena = |architecture: &String| {
                    (project.name.clone(), architecture.clone(), project.channel.clone())
                };
                project.architectures.iter().map(arena)
            })
            .collect();
        let outside = self.hub.store.tasks_outside(&arenas, &ENDED).await?;
        if outside.is_empty() {
            return Ok(());
        }
        tracing::info!(tasks = outside.len(), "tasks end with their project");
        let ids: Vec<TaskId> = outside.iter().map(|task| task.id).collect();
        let (_, effects) = self.hub.store.carry_out(&[], &ids, self.hub.clock.now()).await?;
        self.hub.carry_out(&effects).await;
        for id in ids {
            self.hub.tell(News::Task(id));
        }
        Ok(())
    }

    fn start(&self, project: Arc<Project>) -> RunningWatcher {
        tracing::info!(
            project.name = project.name,
            recipes = project.recipes,
            branch = project.branch,
            "watching"
        );
        let (looks, requests) = mpsc::channel(LOOKS_WAITING_MAX);
        let moved = Arc::new(Notify::new());
        let watcher = Watcher::new(
            Arc::clone(&self.hub),
            Arc::clone(&project),
            &mirror(&self.folder, &project.name),
            &self.understood,
        );
        let task = tokio::spawn(watcher.run(requests, Arc::clone(&moved)));
        RunningWatcher { project, looks, moved, task }
    }
}

impl RunningWatcher {
    fn handle(&self) -> WatcherHandle {
        WatcherHandle {
            project: Arc::clone(&self.project),
            looks: self.looks.clone(),
            moved: Arc::clone(&self.moved),
        }
    }
}

impl Drop for RunningWatcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Removes the mirrors of all projects but these. What is there besides mirrors is left alone.
fn remove_mirrors(folder: &Path, kept: &[String]) -> Result<(), std::io::Error> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(project) = name.to_str().and_then(|name| name.strip_suffix(MIRROR_SUFFIX)) else { continue };
        if kept.iter().any(|name| name == project) || !entry.file_type()?.is_dir() {
            continue;
        }
        fs_err::remove_dir_all(entry.path())?;
        tracing::info!(project.name = project, "removed the mirror of a project that is gone");
    }
    Ok(())
}

/// Where the mirror of a project is. Names of projects are parts of paths.
pub(crate) fn mirror(folder: &Path, project: &str) -> PathBuf {
    folder.join(format!("{project}{MIRROR_SUFFIX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_of_projects_that_are_gone_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipes");
        remove_mirrors(&path, &[]).unwrap();
        for name in ["demo.git", "gone.git", "mine", "go.ne.git"] {
            fs_err::create_dir_all(path.join(name).join("objects")).unwrap();
        }
        fs_err::write(path.join("file.git"), "").unwrap();
        std::os::unix::fs::symlink(path.join("mine"), path.join("link.git")).unwrap();
        remove_mirrors(&path, &["demo".to_owned()]).unwrap();
        let mut left: Vec<String> = fs_err::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["demo.git", "file.git", "link.git", "mine"]);
        assert!(path.join("mine/objects").is_dir());
    }
}
