//! What happens at every start: files are brought in line with the database, which is the truth.
//!
//! A landing that died before its transaction leaves files that nothing names: they are removed. One that died after
//! it leaves a pointer to the version before: it is moved. Files of histories that were removed, and of packages that no
//! history holds any more, go if they are still there. A tree that is newer than the database means that the
//! database was lost or restored from an old backup; then nothing is touched and nothing is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use repository::retention;

use super::releases::needed_files;
use super::{Current, PublishError, State, blocking, pointer_of};
use crate::ledger::{Ledger, VOLATILE};
use crate::staging::Staging;
use crate::tree::{Tree, TreeError};
use store::Sha256;

/// Removes, checks and completes; answers what the channel holds.
pub(super) async fn bring_in_line(
    ledger: &Ledger,
    channel: &str,
    tree: &Tree,
) -> Result<State, PublishError> {
    let known = ledger.every_history(channel).await?;
    let Needed { histories, objects } = needed(ledger, channel).await?;
    let newest = ledger.streams(channel).await?.get(VOLATILE).copied();
    let last_number = known.keys().next_back().copied().unwrap_or(0);
    let id = newest.and_then(|number| known.get(&number)).cloned();
    let current = newest.zip(id.clone()).map(|(number, id)| Current { number, id });
    let pointer = if known.is_empty() { None } else { Some(pointer_of(ledger, channel).await?) };
    let is_closed = ledger.is_closed(channel).await?;
    let (tree, channel) = (tree.clone(), channel.to_owned());
    let count = u64::try_from(histories.len()).unwrap_or(u64::MAX);
    let snapshot = blocking(move || {
        if let Some(pointed) = tree.pointed()?
            && !known.values().any(|id| *id == pointed)
        {
            return Err(TreeError::UnknownHistory { channel, id: pointed }.into());
        }
        let snapshot = id.map(|id| tree.read_history(&id)).transpose()?.unwrap_or_default();
        if let Some(pointer) = pointer
            && !tree.has_pointer(&pointer)?
        {
            tracing::info!(channel.name = %channel, "moving the pointer to what was recorded and not shown");
            tree.move_pointer(&pointer, &|_| {})?;
        }
        // Last: until the pointer says what the database says it may name what goes now.
        tree.sweep(&histories, &objects)?;
        Ok(snapshot)
    })
    .await?;
    let snapshot = Arc::new(snapshot);
    Ok(State { snapshot, is_pointed: true, current, last_number, histories: count, is_closed })
}

/// What has to be in the tree of a channel.
pub(super) struct Needed {
    /// Ids.
    pub(super) histories: BTreeSet<String>,
    /// Path below the channel → digest.
    pub(super) objects: BTreeMap<String, Sha256>,
}

/// The histories that were not removed, and everything that one of them holds.
pub(super) async fn needed(ledger: &Ledger, channel: &str) -> Result<Needed, PublishError> {
    let histories = ledger.histories(channel).await?;
    let living = histories.iter().map(|history| history.number).collect();
    let contents = ledger.contents(channel).await?;
    let held = retention::held(&contents, &living);
    let packages = held.into_iter().map(|object| (object.pool_path.clone(), object.sha256));
    let builds = ledger.build_files(channel, None).await?;
    let builds = builds.into_iter().map(|file| (file.path, file.sha256));
    let releases = needed_files(ledger, channel).await?;
    Ok(Needed {
        histories: histories.into_iter().map(|history| history.id).collect(),
        objects: packages.chain(builds).chain(releases).collect(),
    })
}

/// Removes uploads of attempts that nobody waits for any more.
pub(super) async fn sweep_staging(
    ledger: &Ledger,
    channels: impl Iterator<Item = &String>,
    staging: &Staging,
) -> Result<(), PublishError> {
    let open = ledger.open_attempts().await?.into_iter().collect();
    let mut held = BTreeSet::new();
    for channel in channels {
        held.extend(ledger.held_attempts(channel).await?);
    }
    staging
        .sweep(&open, &held)
        .map_err(|source| TreeError::Disk { action: "remove old uploads", source }.into())
}
