//! A channel goes to a newer format, or to another address; clients are led along.
//!
//! The last history of the older format gets a name that never moves, and the root index says of the older format that it
//! is the way up. The next history has the same packages and the newer format; so have all that follow. All of it is
//! one transaction of the ledger, and one move of the pointer.

use std::sync::Arc;

use repository::{Format, Identifier, KnownFormats, Moved, check_base_uri};
use store::Source;

use super::versions::Versions;
use super::{Base, Deed, PublishError, Publisher, unix_seconds};
use crate::admission::{Landing, Package};
use crate::ledger::{FormatUpgrade, VOLATILE};
use crate::operation::Upgraded;

/// The package without which clients cannot follow.
const CLIENT: &str = "moss";

impl Publisher {
    /// Lets a channel go to a newer format.
    pub(super) async fn upgrade_format(
        &self,
        channel: &str,
        to: Option<&str>,
        tag: Option<&str>,
        unchecked: bool,
    ) -> Result<Upgraded, PublishError> {
        let channel = self.channel(channel)?;
        let mut state = channel.state.lock().await;
        let versions = Versions::read(&self.ledger, &channel.name).await?;
        let newest = versions.find(&format!("stream/{VOLATILE}"))?;
        let from = versions.format(newest.number);
        let to = match to {
            Some(name) => Format::from_name(name),
            None => Format::numbered(from.number().map_or(0, |number| number.saturating_add(1))),
        };
        let refused = |why: String| PublishError::FormatUpgrade { channel: channel.name.clone(), why };
        if from == to || !to.may_follow(&from) {
            return Err(refused(format!(
                "its format is {}, and {} is not a later one",
                from.as_str(),
                to.as_str()
            )));
        }
        let tag: Identifier = tag.map_or_else(|| format!("last-{}", from.as_str()), str::to_owned).parse()?;
        let tagged = versions.tags.get(tag.as_str()).copied();
        if let Some(other) = tagged.filter(|number| *number != newest.number) {
            let history = versions.id(other).unwrap_or_default();
            return Err(PublishError::TagStands {
                channel: channel.name.clone(),
                tag: tag.to_string(),
                history,
            });
        }
        if !unchecked {
            if !state.snapshot.packages().any(|package| package.meta.name == CLIENT) {
                return Err(refused(format!(
                    "there is no package {CLIENT} in it, through which clients could follow"
                )));
            }
            if !KnownFormats::CURRENT.contains(&to) {
                let (to, known) = (to.as_str(), KnownFormats::CURRENT.newest());
                return Err(refused(format!(
                    "Moss of this version reads nothing newer than {}, so it could not read {to}",
                    known.as_str()
                )));
            }
        }
        let upgrade = FormatUpgrade {
            from: from.clone(),
            to: to.clone(),
            tag: tag.to_string(),
            is_tagged: tagged.is_some(),
        };
        let cause = format!("format {}", to.as_str());
        let base = Base { upgrade: Some(upgrade), ..Base::volatile(&state, &cause) };
        let snapshot = state.snapshot.packages().cloned().collect();
        let landing = Landing { snapshot, arriving: Vec::new(), obsolete: Vec::new() };
        let nothing = |_: &Package| Source::Bytes(Arc::default());
        let published = self.act(channel, &mut state, Deed::of_operator(base, landing), nothing).await?;
        Ok(Upgraded {
            channel: channel.name.clone(),
            from: from.as_str().to_owned(),
            to: to.as_str().to_owned(),
            tag: tag.to_string(),
            last: newest.id,
            history: published.history,
        })
    }

    /// Says under which address a channel is from now on, or that it is here.
    pub(super) async fn move_channel(
        &self,
        channel: &str,
        to: Option<&str>,
        to_channel: Option<&str>,
        by: &str,
    ) -> Result<Option<Moved>, PublishError> {
        let channel = self.channel(channel)?;
        let moved = match to {
            Some(base_uri) => Some(Moved {
                base_uri: check_base_uri(base_uri)?,
                channel: to_channel.unwrap_or(&channel.name).parse()?,
            }),
            None => None,
        };
        let mut state = channel.state.lock().await;
        if self.ledger.moved(&channel.name).await? != moved {
            self.ledger.set_moved(&channel.name, moved.as_ref(), unix_seconds(), by).await?;
            (self.reached)(crate::tree::Step::Recorded);
            tracing::info!(channel.name = %channel.name, to = ?moved, by, "moved to another address");
        }
        self.show_anew(channel, &mut state).await?;
        Ok(moved)
    }
}
