//! What was understood of recipes and repositories: one world for each arena, a project on an architecture.
//!
//! Worlds are replaced whole and never changed. What one project or architecture does, or cannot do, touches no other
//! world.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use farm::catalogue::Catalogue;
use farm::graph::{Graph, Touched};
use farm::moment::Moment;

use crate::config::Project;
use crate::git::Commit;
use crate::repository_state::RepositoryState;
use crate::store::TaskRow;

/// A project on an architecture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Arena {
    pub(crate) project: String,
    pub(crate) architecture: String,
}

impl Arena {
    pub(crate) fn new(project: &str, architecture: &str) -> Self {
        Self { project: project.to_owned(), architecture: architecture.to_owned() }
    }

    /// The arena of a task.
    pub(crate) fn of(task: &TaskRow) -> Self {
        Self::new(&task.project, &task.architecture)
    }
}

/// What was understood of an arena.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) arena: Arena,
    /// The project as it was when its recipes were read.
    pub(crate) project: Arc<Project>,
    pub(crate) commit: Option<Commit>,
    pub(crate) catalogue: Arc<Catalogue>,
    /// Base address that the channel was read below.
    pub(crate) repository_url: String,
    /// The channel that is published to.
    pub(crate) repository: RepositoryState,
    /// The repositories that are built against besides it, in the order of the configuration.
    pub(crate) others: Vec<RepositoryState>,
    pub(crate) graph: Arc<Graph>,
    /// How the graph came from another one; none when it was drawn afresh.
    pub(crate) redrawn: Option<Arc<Redrawn>>,
    /// How long the graph took to follow the last change.
    pub(crate) graph_seconds: f64,
    /// When everything was read last.
    pub(crate) looked: Option<Moment>,
    /// Landings that the repository was read after; see [`crate::hub::Hub::landings`].
    pub(crate) landings: u64,
    /// Why the last look came to nothing.
    pub(crate) trouble: Option<String>,
    /// Members of knots that were built as often as is allowed and are still out of date; a line for each.
    pub(crate) unsettled: Vec<String>,
}

/// What a graph has become, beside the one that it was made of.
#[derive(Debug)]
pub(crate) struct Redrawn {
    /// The graph before. Nobody keeps it for this.
    pub(crate) of: Weak<Graph>,
    pub(crate) touched: Touched,
}

impl Redrawn {
    /// Whether it tells what became of `graph`.
    pub(crate) fn is_of(&self, graph: &Arc<Graph>) -> bool {
        std::ptr::eq(self.of.as_ptr(), Arc::as_ptr(graph))
    }
}

/// Every world there is.
pub(crate) type Worlds = BTreeMap<Arena, Arc<World>>;

impl World {
    /// The world of an arena that was never looked at.
    pub(crate) fn new(project: Arc<Project>, architecture: &str) -> Self {
        Self {
            arena: Arena::new(&project.name, architecture),
            project,
            commit: None,
            catalogue: Arc::default(),
            repository_url: String::new(),
            repository: RepositoryState::default(),
            others: Vec::new(),
            graph: Arc::default(),
            redrawn: None,
            graph_seconds: 0.0,
            looked: None,
            landings: 0,
            trouble: None,
            unsettled: Vec::new(),
        }
    }
}
