//! What Summit says over HTTP, as far as a world needs it.

use fault::{Fault, Kind};
use fetch::{Body, Client, ClientSettings, HttpError, Validators};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::WorldError;

/// A page of 500 tasks has some 500 KB.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Tasks asked for at a time: what a page has at most.
const PER_PAGE: usize = 500;

/// Where the farm as a whole is.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Status {
    pub(super) idle: bool,
    pub(super) open: u64,
    pub(super) builders_attached: usize,
    pub(super) counts: Vec<Count>,
    pub(super) projects: Vec<Project>,
}

/// Tasks in a phase.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Count {
    pub(super) phase: String,
    pub(super) tasks: usize,
}

/// A project and its architectures.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Project {
    pub(super) architectures: Vec<Arena>,
}

/// An architecture of a project.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Arena {
    pub(super) unsettled: Vec<String>,
    /// When recipes and repository were read last.
    pub(super) looked_ms: Option<u64>,
}

impl Status {
    /// Whether everything was read since Summit was started.
    pub(super) fn has_looked(&self) -> bool {
        self.projects.iter().flat_map(|project| &project.architectures).all(|arena| arena.looked_ms.is_some())
    }

    /// Tasks in this phase.
    pub(super) fn count(&self, phase: &str) -> usize {
        self.counts.iter().filter(|count| count.phase == phase).map(|count| count.tasks).sum()
    }
}

/// One task of a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Task {
    pub(super) id: u64,
    pub(super) source: String,
    pub(super) release: u64,
    pub(super) build_release: u64,
    pub(super) phase: String,
    pub(super) detail: String,
}

/// A task with all that happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct TaskPage {
    #[serde(flatten)]
    pub(super) task: Task,
    pub(super) attempts: Vec<Attempt>,
    pub(super) events: Vec<Event>,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Attempt {
    pub(super) id: u64,
    pub(super) builder: String,
    pub(super) assigned_ms: u64,
    pub(super) started_ms: Option<u64>,
    pub(super) built_ms: Option<u64>,
    pub(super) ended_ms: Option<u64>,
    pub(super) log_url: String,
}

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Event {
    pub(super) at_ms: u64,
    pub(super) phase: String,
}

#[derive(Debug, Deserialize)]
struct TaskList {
    tasks: Vec<Task>,
}

/// Summit at an address.
#[derive(Debug, Clone)]
pub(super) struct Summit {
    base: String,
    client: Client,
}

impl Summit {
    pub(super) fn new(base: String) -> Self {
        // Whoever asks asks again.
        Self { base, client: Client::new(ClientSettings { attempts_max: 1, ..ClientSettings::default() }) }
    }

    /// Where the farm as a whole is; none while it does not answer.
    pub(super) fn status(&self) -> Option<Status> {
        self.ask("/api/status").ok()
    }

    /// All tasks.
    pub(super) fn tasks(&self) -> Result<Vec<Task>, WorldError> {
        let mut tasks = Vec::new();
        for page in 1_u32.. {
            let list: TaskList = self.ask(&format!("/api/tasks?per_page={PER_PAGE}&page={page}"))?;
            let is_last = list.tasks.len() < PER_PAGE;
            tasks.extend(list.tasks);
            if is_last {
                break;
            }
        }
        tasks.sort_by_key(|task| task.id);
        tasks.dedup_by_key(|task| task.id);
        Ok(tasks)
    }

    /// A task with all that happened to it.
    pub(super) fn task(&self, id: u64) -> Result<TaskPage, WorldError> {
        self.ask(&format!("/api/tasks/{id}"))
    }

    /// A log as it is kept; empty when there is none.
    pub(super) fn log(&self, attempt: &Attempt) -> Result<Vec<u8>, WorldError> {
        match self.get(&attempt.log_url) {
            Ok(bytes) => Ok(bytes),
            Err((_, error)) if error.kind() == Kind::NotFound => Ok(Vec::new()),
            Err((url, error)) => Err(WorldError::Ask { url, source: Box::new(error) }),
        }
    }

    fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, WorldError> {
        let bytes =
            self.get(path).map_err(|(url, error)| WorldError::Ask { url, source: Box::new(error) })?;
        let url = format!("{}{path}", self.base);
        serde_json::from_slice(&bytes).map_err(|source| WorldError::Answer { url, source })
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, (String, HttpError)> {
        let url = format!("{}{path}", self.base);
        match self.client.get(&url, &Validators::default(), ANSWER_BYTES_MAX) {
            Ok(Body::Bytes { bytes, .. }) => Ok(bytes),
            Ok(Body::NotModified) => Ok(Vec::new()),
            Err(error) => Err((url, error)),
        }
    }
}
