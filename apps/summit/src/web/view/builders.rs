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
    /// In a word: quarantined, drained, attached or away.
    pub(crate) state: &'static str,
    /// What its key may do.
    pub(crate) role: &'static str,
    /// Words for people.
    pub(crate) labels: Vec<String>,
    /// What the operator says that it has beyond others.
    pub(crate) features: Vec<String>,
    /// Whether it belongs to the distribution: `official` or `any`.
    pub(crate) trust: &'static str,
    /// How large it is: `small`, `medium` or `large`.
    pub(crate) size: &'static str,
    /// Whether the configuration names it; then it says all but the labels.
    pub(crate) from_config: bool,
    /// How fast one build runs on it, as far as was learned; 1 is the reference machine.
    pub(crate) speed: f64,
    /// Faults of its machine in a row.
    pub(crate) faults_in_row: u32,
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
    pub(crate) now_ms: u64,
}

impl Web {
    pub(crate) async fn builder_list(&self) -> Result<Vec<BuilderView>, WebError> {
        let attached: HashMap<BuilderId, _> =
            self.hub.sessions.attached().into_iter().map(|session| (session.id.clone(), session)).collect();
        let running = self.hub.store.tasks_in(&[Phase::Leased, Phase::Building, Phase::Publishing]).await?;
        let now = self.hub.clock.now();
        let rows = self.hub.store.builders().await?;
        let set_aside = self.hub.with_board(|board| board.memory_set_aside());
        let speeds: HashMap<BuilderId, f64> = self
            .hub
            .with_board(|board| rows.iter().map(|row| (row.id.clone(), board.speed(&row.id))).collect());
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
                state: state(&row, session.is_some(), now),
                role: row.said.role.keyword(),
                labels: row.said.labels.iter().cloned().collect(),
                features: row.said.features.iter().cloned().collect(),
                trust: row.said.trust.keyword(),
                size: row.said.size.keyword(),
                from_config: row.from_config,
                speed: speeds.get(&row.id).copied().unwrap_or(1.0),
                faults_in_row: row.faults_in_row,
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
                now_ms: now.0,
            }
        };
        Ok(rows.into_iter().map(view).collect())
    }
}

fn state(row: &BuilderRow, attached: bool, now: Moment) -> &'static str {
    match (rest_of(row, now), row.drained, attached) {
        (Some(_), _, _) => "quarantined",
        (None, true, _) => "drained",
        (None, false, true) => "attached",
        (None, false, false) => "away",
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
