//! Removes old histories, and the packages that only they held, in two phases; see [`repository::retention`].
//!
//! The ledger first says what goes, then the root index no longer names it, then files go. A process that dies in between
//! leaves too much and never too little: the next start removes the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use repository::retention::{self, Due, HistoryAge};

use super::recovery::Needed;
use super::releases::needed_files;
use super::{Channel, PublishError, Publisher, blocking, unix_seconds};
use crate::builds::orphans;
use crate::ledger::History;
use crate::operation::{Outcome, Pruned};
use store::Sha256;

impl Publisher {
    /// Prunes all channels now and then, for ever. What fails is told, and tried again in its turn.
    pub(crate) async fn prune_every(&self, pause: Duration) {
        loop {
            let result = self.prune(None, false).await.map(drop);
            let trouble = result.err().map(|error| fault::chain(&error).join(": "));
            if let Some(reason) = &trouble {
                tracing::error!(%reason, "cannot prune; old histories stay until it can be done");
            }
            *self.pruning_trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
            tokio::time::sleep(pause).await;
        }
    }

    /// Prunes one channel, or all.
    pub(super) async fn prune(&self, channel: Option<&str>, dry_run: bool) -> Result<Outcome, PublishError> {
        let mut channels = Vec::new();
        match channel {
            Some(name) => channels.push(self.prune_channel(self.channel(name)?, dry_run).await?),
            None => {
                for channel in self.channels.values() {
                    channels.push(self.prune_channel(channel, dry_run).await?);
                }
            }
        }
        Ok(Outcome::Prune { dry_run, channels })
    }

    async fn prune_channel(&self, channel: &Channel, dry_run: bool) -> Result<Pruned, PublishError> {
        let mut state = channel.state.lock().await;
        let now = unix_seconds();
        let histories = self.ledger.histories(&channel.name).await?;
        let ages: Vec<HistoryAge> = histories.iter().map(age).collect();
        let due = self.retention.due(&ages, &self.pinned(channel).await?, now);
        let mut pruned = told(channel, &histories, &due);
        let living = histories.iter().map(|history| history.number);
        let living: BTreeSet<u64> = living.filter(|number| !due.remove.contains(number)).collect();
        if !dry_run {
            let name = &channel.name;
            self.ledger.give_up(name, &due.give_up, Some(now)).await?;
            self.ledger.give_up(name, &due.take_back, None).await?;
            self.ledger.remove_histories(name, &due.remove, now).await?;
            (self.reached)(crate::tree::Step::Recorded);
            if !due.is_nothing() {
                state.is_pointed = false;
                state.histories = u64::try_from(living.len()).unwrap_or(u64::MAX);
                self.settle_pointer(channel, &mut state).await?;
            }
        }
        let contents = self.ledger.contents(&channel.name).await?;
        let objects = retention::held(&contents, &living);
        let mut objects: BTreeMap<String, Sha256> =
            objects.into_iter().map(|object| (object.pool_path.clone(), object.sha256)).collect();
        // What belongs to a build goes with the last of its packages.
        let files = self.ledger.build_files(&channel.name, None).await?;
        let left: BTreeSet<String> = orphans(&files, objects.keys().map(String::as_str))
            .iter()
            .map(|file| file.path.clone())
            .collect();
        if !dry_run {
            self.ledger.remove_build_files(&channel.name, left.iter().map(String::as_str), now).await?;
        }
        let kept = files.into_iter().filter(|file| !left.contains(&file.path));
        objects.extend(kept.map(|file| (file.path, file.sha256)));
        objects.extend(needed_files(&self.ledger, &channel.name).await?);
        let ids = histories.iter().filter(|history| living.contains(&history.number));
        let needed = Needed { histories: ids.map(|history| history.id.clone()).collect(), objects };
        let tree = channel.tree.clone();
        let swept = blocking(move || Ok(tree.clear(&needed.histories, &needed.objects, dry_run)?)).await?;
        pruned.packages = swept.objects;
        pruned.size_bytes = swept.size_bytes;
        let did_something = !due.is_nothing() || swept.size_bytes > 0;
        if !dry_run && did_something {
            tracing::info!(
                channel.name = %channel.name, given_up = pruned.given_up.len(), removed = pruned.removed.len(),
                packages = pruned.packages, size_bytes = pruned.size_bytes, "pruned"
            );
        }
        Ok(pruned)
    }

    /// What streams and tags point to.
    async fn pinned(&self, channel: &Channel) -> Result<BTreeSet<u64>, PublishError> {
        let streams = self.ledger.streams(&channel.name).await?;
        let tags = self.ledger.tags(&channel.name).await?;
        Ok(streams.into_values().chain(tags.into_values()).collect())
    }
}

fn age(history: &History) -> HistoryAge {
    let History { number, recorded_at, given_up_at, .. } = history;
    HistoryAge { number: *number, recorded_at: *recorded_at, given_up_at: *given_up_at }
}

fn told(channel: &Channel, histories: &[History], due: &Due) -> Pruned {
    let ids: BTreeMap<u64, &String> = histories.iter().map(|history| (history.number, &history.id)).collect();
    let named = |numbers: &[u64]| -> Vec<String> {
        numbers.iter().filter_map(|number| ids.get(number).map(|id| (*id).clone())).collect()
    };
    let waiting =
        due.waiting.iter().filter_map(|(number, until)| Some(((*ids.get(number)?).clone(), *until)));
    Pruned {
        channel: channel.name.clone(),
        given_up: named(&due.give_up),
        taken_back: named(&due.take_back),
        removed: named(&due.remove),
        waiting: waiting.collect(),
        packages: 0,
        size_bytes: 0,
    }
}
