//! Builders, and what they do.

use std::collections::HashMap;

use farm::ids::BuilderId;
use farm::moment::Moment;
use farm::schedule;
use farm::task::Phase;
use schemars::JsonSchema;
use serde::Serialize;

use super::TaskLink;
use crate::store::BuilderRow;
use crate::web::Web;
use crate::web::error::WebError;

/// `/api/builders`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BuilderListView {
    pub(crate) builders: Vec<BuilderView>,
}

/// One of `/api/builders`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BuilderView {
    pub(crate) name: String,
    pub(crate) public_key: String,
    pub(crate) attached: bool,
    pub(crate) attached_since_ms: Option<u64>,
    pub(crate) last_seen_ms: Option<u64>,
    pub(crate) drained: bool,
    /// Set aside after faults of its machine until then.
    pub(crate) rests_until_ms: Option<u64>,
    /// What its last fault was, while it counts.
    pub(crate) fault: Option<String>,
    pub(crate) architectures: Vec<String>,
    pub(crate) slots: u32,
    pub(crate) cores: u32,
    pub(crate) memory_bytes: u64,
    /// As much of its memory as its builds are expected to need, as far as that is known.
    pub(crate) memory_set_aside_bytes: u64,
    /// Free memory, as it said last; 0 when it does not know.
    pub(crate) memory_free_bytes: u64,
    /// Free room on its disk, as it said last; 0 when it does not know.
    pub(crate) disk_free_bytes: u64,
    pub(crate) load_percent: u32,
    /// What its machine waited for during the last ten seconds.
    pub(crate) pressure: schedule::Pressure,
    /// Why it gets nothing new just now.
    pub(crate) shortage: Option<schedule::Shortage>,
    /// What its agent found that the machine can do.
    pub(crate) features_found: Vec<String>,
    pub(crate) version: String,
    pub(crate) running: Vec<TaskLink>,
}

impl Web {
    pub(crate) async fn builder_list(&self) -> Result<Vec<BuilderView>, WebError> {
        let attached: HashMap<BuilderId, _> =
            self.hub.sessions.attached().into_iter().map(|session| (session.id.clone(), session)).collect();
        let running = self.hub.store.tasks_in(&[Phase::Leased, Phase::Building, Phase::Publishing]).await?;
        let now = self.hub.clock.now();
        let rows = self.hub.store.builders().await?;
        let set_aside = self.hub.with_board(|board| board.memory_set_aside());
        let view = |row: BuilderRow| {
            let session = attached.get(&row.id);
            let about = session.map_or(&row.about, |session| &session.about);
            let load = session.map(|session| session.load).unwrap_or_default();
            let mine = running
                .iter()
                .filter(|task| task.state.claims().any(|(claim, _)| claim.builder == row.id))
                .map(|task| TaskLink { task: task.id, source: task.source.clone() });
            BuilderView {
                name: row.said.name.clone(),
                public_key: row.id.0.clone(),
                attached: session.is_some(),
                attached_since_ms: session.map(|session| session.since.0),
                last_seen_ms: row.last_seen.map(|moment| moment.0),
                drained: row.drained,
                rests_until_ms: rest_of(&row, now),
                fault: (row.faults_in_row > 0).then(|| row.last_fault_reason.clone()),
                architectures: about.architectures.clone(),
                slots: about.slots,
                cores: about.cores,
                memory_bytes: about.memory_bytes,
                memory_set_aside_bytes: set_aside.get(&row.id).copied().unwrap_or(0),
                memory_free_bytes: load.memory_free_bytes,
                disk_free_bytes: load.disk_free_bytes,
                load_percent: load.load_percent,
                pressure: load.pressure,
                shortage: load.pressure.shortage(),
                features_found: session
                    .map(|session| session.features.iter().cloned().collect())
                    .unwrap_or_default(),
                version: about.version.clone(),
                running: mine.collect(),
            }
        };
        Ok(rows.into_iter().map(view).collect())
    }
}

fn rest_of(row: &BuilderRow, now: Moment) -> Option<u64> {
    let builder = schedule::Builder {
        id: row.id.clone(),
        faults_in_row: row.faults_in_row,
        last_fault: row.last_fault,
        ..schedule::Builder::default()
    };
    schedule::rests_until(&builder).filter(|until| *until > now).map(|until| until.0)
}
