//! What looks find, and asking every project for one.

use farm::ids::TaskId;
use fault::{Fault, Kind};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::git::GitError;
use crate::hub::Hub;
use crate::repository_state::RepositoryStateError;
use crate::store::StoreError;

/// What a look at every project found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
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
    pub new_tasks: Vec<TaskId>,
    /// Each project, in the order of the configuration.
    pub projects: Vec<ProjectLook>,
}

/// What a look at one project found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
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
    pub new_tasks: Vec<TaskId>,
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
