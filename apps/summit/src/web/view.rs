//! What pages and API say about things, gathered from the store. Times are milliseconds since 1970.

mod builders;
mod channels;
mod map;
mod order;
mod packages;
mod places;
mod status;
mod tasks;
mod timeline;

use std::collections::HashMap;
use std::sync::Arc;

use farm::ids::{BuilderId, TaskId};
use farm::moment::Moment;
use farm::schedule::Unplaced;
use schemars::JsonSchema;
use serde::Serialize;

use super::Web;
use super::error::WebError;
use crate::hub::Hub;

pub(crate) use builders::{BuilderListView, BuilderView};
pub(crate) use channels::{ChannelListView, ChannelView, DiffQuery};
pub(crate) use map::{MapPage, MapQuery, MapScope, MapView, NeighboursView, QueueMap, SignsView};
pub(crate) use order::{GraphView, QueueView};
pub(crate) use packages::{InputsView, OutputView, PackagePlaceView, PackageView, SourceBuildView};
pub(crate) use places::Drawings;
pub(crate) use status::{ProjectListView, ProjectView, StatusView};
pub(crate) use tasks::{AttemptView, TaskListView, TaskPageView, TaskView, task_view};
pub(crate) use timeline::{DurationsQuery, DurationsView, HOURS, TimelineQuery, TimelineView};

/// Tasks that one waits for up to which they are named.
const WAITS_NAMED_MAX: usize = 20;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct TaskLink {
    pub(crate) task: TaskId,
    pub(crate) source: String,
}

/// Names and reasons that views need, read once for each request.
pub(crate) struct Names {
    hub: Arc<Hub>,
    builders: HashMap<BuilderId, String>,
    unplaced: HashMap<TaskId, Unplaced>,
}

impl Names {
    pub(crate) fn builder(&self, id: &BuilderId) -> String {
        self.builders.get(id).cloned().unwrap_or_else(|| id.0.clone())
    }

    /// What a waiting task waits for, directly.
    fn waits_on(&self, task: TaskId) -> Vec<TaskLink> {
        self.hub.with_board(|board| {
            let link = |task: TaskId| {
                let source =
                    board.living(task).map_or_else(|| format!("task {task}"), |living| living.source.clone());
                TaskLink { task, source }
            };
            board.waits_on(task, WAITS_NAMED_MAX).into_iter().map(link).collect()
        })
    }

    /// When the build of a task will be done, by experience; nothing for one that is not being built.
    fn expected_end(&self, task: TaskId) -> Option<Moment> {
        self.hub.with_board(|board| board.expected_end_of(task))
    }

    pub(crate) fn unplaced(&self, task: TaskId) -> Option<&Unplaced> {
        self.unplaced.get(&task)
    }
}

impl Web {
    pub(crate) async fn names(&self) -> Result<Names, WebError> {
        let hub = &self.hub;
        let rows = hub.store.builders().await?;
        let attached = hub.sessions.attached();
        let unplaced = hub.with_board(|board| {
            let builders = board.builders(&rows, attached);
            board.unplaced(&builders, hub.clock.now())
        });
        // Also those that were removed: their old attempts are still told of.
        let builders = hub.store.builder_names().await?.into_iter().collect();
        Ok(Names { hub: Arc::clone(hub), builders, unplaced })
    }
}
