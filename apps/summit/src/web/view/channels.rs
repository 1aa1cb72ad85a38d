//! Channels as pages and programs see them.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channels::{CHANNELS_MAX, ChannelReport, DiffReport};
use crate::web::Web;
use crate::web::api::channels::check_names;
use crate::web::error::WebError;

/// `/api/channels`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChannelListView {
    pub(crate) channels: Vec<ChannelView>,
    /// Why there may be more channels than these.
    pub(crate) trouble: Option<String>,
    pub(crate) now_ms: u64,
}

/// One of `/api/channels`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChannelView {
    pub(crate) channel: String,
    /// Projects that publish to it.
    pub(crate) projects: Vec<String>,
    /// What Vessel said; none when it was never to be had.
    pub(crate) report: Option<ChannelReport>,
    /// When Vessel said that.
    pub(crate) said_ms: Option<u64>,
    /// Why it is not what Vessel says now.
    pub(crate) trouble: Option<String>,
}

/// What is compared.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffQuery {
    pub(crate) channel: String,
    /// The older version: `stream/NAME`, `tag/NAME`, `history/ID`, or a name alone.
    pub(crate) from: String,
    /// The newer one.
    pub(crate) to: String,
}

impl Web {
    pub(crate) async fn channel_list(&self) -> ChannelListView {
        let config = self.hub.config();
        let own = config.projects.iter().map(|project| project.channel.clone());
        let mut names: BTreeSet<String> = own.collect();
        let mut trouble = None;
        match self.channels.names(&self.hub).await {
            Ok(all) => names.extend(all),
            Err(error) => trouble = Some(fault::chain(&error).join(": ")),
        }
        let mut channels = Vec::new();
        for channel in names.into_iter().take(CHANNELS_MAX) {
            let (known, error) = self.channels.report(&self.hub, &channel).await;
            let projects = config.projects.iter().filter(|project| project.channel == channel);
            channels.push(ChannelView {
                projects: projects.map(|project| project.name.clone()).collect(),
                said_ms: known.as_ref().map(|known| known.said_ms),
                report: known.map(|known| known.report),
                trouble: error.map(|error| fault::chain(&error).join(": ")),
                channel,
            });
        }
        ChannelListView { channels, trouble, now_ms: self.hub.clock.now().0 }
    }

    pub(crate) async fn channel_diff(&self, query: &DiffQuery) -> Result<DiffReport, WebError> {
        check_names([query.channel.as_str(), &query.from, &query.to])?;
        let found = self.channels.diff(&self.hub, &query.channel, &query.from, &query.to).await;
        Ok(found?)
    }
}
