//! What happens at every start: files are brought in line with the database, which is the truth.
//!
//! A landing that died before its transaction leaves files that nothing names: they are removed. One that died after
//! it leaves a pointer to the version before: it is moved. A tree that is newer than the database means that the
//! database was lost or restored from an old backup; then nothing is touched and nothing is served.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Current, PublishError, State, blocking, pointer_of};
use crate::ledger::{Ledger, VOLATILE};
use crate::staging::Staging;
use crate::tree::{Tree, TreeError};

/// Removes, checks and completes; answers what the channel holds.
pub(super) async fn bring_in_line(
    ledger: &Ledger,
    channel: &str,
    tree: &Tree,
) -> Result<State, PublishError> {
    let histories = ledger.histories(channel).await?;
    let ids: BTreeSet<String> = histories.iter().map(|history| history.id.clone()).collect();
    let objects = ledger.objects(channel).await?;
    let newest = ledger.streams(channel).await?.get(VOLATILE).copied();
    let last_number = histories.iter().map(|history| history.number).max().unwrap_or(0);
    let current = histories
        .iter()
        .find(|history| Some(history.number) == newest)
        .map(|history| Current { number: history.number, id: history.id.clone() });
    let pointer = match current {
        Some(_) => Some(pointer_of(ledger, channel).await?),
        None => None,
    };
    let (tree, channel, id) =
        (tree.clone(), channel.to_owned(), current.as_ref().map(|current| current.id.clone()));
    let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
    let snapshot = blocking(move || {
        if let Some(pointed) = tree.pointed()?
            && !ids.contains(&pointed)
        {
            return Err(TreeError::UnknownHistory { channel, id: pointed }.into());
        }
        tree.sweep(&ids, &objects)?;
        let snapshot = id.map(|id| tree.read_history(&id)).transpose()?.unwrap_or_default();
        if let Some(pointer) = pointer
            && !tree.has_pointer(&pointer)?
        {
            tracing::info!(channel.name = %channel, "moving the pointer to the newest history, which was recorded and not shown");
            tree.move_pointer(&pointer, &|_| {})?;
        }
        Ok(snapshot)
    })
    .await?;
    let snapshot = Arc::new(snapshot);
    Ok(State { snapshot, is_pointed: current.is_some(), current, last_number, histories: count })
}

/// Removes uploads of attempts that nobody waits for any more.
pub(super) async fn sweep_staging(ledger: &Ledger, staging: &Staging) -> Result<(), PublishError> {
    let open: BTreeSet<u64> = ledger.open_attempts().await?.into_iter().collect();
    staging
        .sweep(|attempt_id| open.contains(&attempt_id))
        .map_err(|source| TreeError::Disk { action: "remove old uploads", source }.into())
}
