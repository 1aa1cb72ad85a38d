//! What operators do with channels: they look, move streams, give names, and take packages out.
//!
//! A pointer moves as in a landing: first the ledger, by compare-and-swap, then the root index, by one rename. Nothing is
//! copied within a channel. Between channels a promotion makes a history of its own in the channel that it goes to, since
//! an index names packages by paths within its channel.

use std::collections::BTreeMap;
use std::sync::Arc;

use repository::retention;
use repository::{Format, Identifier, Moved as MovedChannel, Version};
use store::Source;

use super::held::report;
use super::releases::releases;
use super::{Base, Channel, Current, Deed, PublishError, Publisher, State, blocking, unix_seconds};
use crate::admission::{Landing, Package, PackageKey, Snapshot};
use crate::builds::BuildFile;
use crate::closure;
use crate::format;
use crate::ledger::{
    Attempt, AttemptState, History, Ledger, Movement, PlaceKey, Pointee, PublishedObject, VOLATILE,
};
use crate::operation::{
    ArtefactReport, ChannelReport, ChannelSummary, DiffReport, HeldReport, HistoryReport, Moved, Operation,
    Outcome, PackageChange, PackageVersion,
};

/// Histories that are told at most: a year of landings every ten minutes. The root index names them all.
const HISTORIES_TOLD_MAX: u32 = 50_000;

/// Packages taken out at once; more than any source makes.
const PACKAGES_REMOVED_MAX: usize = 10_000;

/// A version, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) id: String,
}

/// What a channel has, by the ledger.
pub(super) struct Versions {
    channel: String,
    histories: BTreeMap<u64, History>,
    streams: BTreeMap<String, u64>,
    pub(super) tags: BTreeMap<String, u64>,
    /// Tags through which clients of an older format are led.
    upgrades: BTreeMap<Format, String>,
    moved: Option<MovedChannel>,
}

impl Versions {
    pub(super) async fn read(ledger: &Ledger, channel: &str) -> Result<Self, PublishError> {
        let histories = ledger.histories(channel).await?;
        Ok(Self {
            channel: channel.to_owned(),
            histories: histories.into_iter().map(|history| (history.number, history)).collect(),
            streams: ledger.streams(channel).await?,
            tags: ledger.tags(channel).await?,
            upgrades: ledger.format_upgrades(channel).await?,
            moved: ledger.moved(channel).await?,
        })
    }

    /// The format of a history.
    pub(super) fn format(&self, number: u64) -> Format {
        self.histories.get(&number).map_or(Format::V0, |history| history.format.clone())
    }

    pub(super) fn id(&self, number: u64) -> Option<String> {
        self.histories.get(&number).map(|history| history.id.clone())
    }

    /// Finds `stream/NAME`, `tag/NAME`, `history/ID`, or a name alone: of a stream, a tag or a history, in this order.
    pub(super) fn find(&self, version: &str) -> Result<Found, PublishError> {
        let by_id = |id: &str| {
            let history = self.histories.values().find(|history| history.id == id);
            history.map(|history| history.number)
        };
        let number = if version.contains('/') {
            match version.parse::<Version>()? {
                Version::Stream(name) => self.streams.get(name.as_str()).copied(),
                Version::Tag(name) => self.tags.get(name.as_str()).copied(),
                Version::History(id) => by_id(id.as_str()),
            }
        } else {
            let named = self.streams.get(version).or_else(|| self.tags.get(version)).copied();
            named.or_else(|| by_id(version))
        };
        let found = number.and_then(|number| Some(Found { number, id: self.id(number)? }));
        found.ok_or_else(|| PublishError::NoVersion {
            channel: self.channel.clone(),
            version: version.chars().take(120).collect(),
            known: self
                .streams
                .keys()
                .map(|name| format!("stream/{name}"))
                .chain(self.tags.keys().map(|name| format!("tag/{name}")))
                .collect(),
        })
    }
}

/// Answers what only needs looking. Works beside a running service as well.
pub(crate) async fn look(ledger: &Ledger, operation: &Operation) -> Result<Option<Outcome>, PublishError> {
    Ok(Some(match operation {
        Operation::List => {
            let mut channels = Vec::new();
            for channel in ledger.channels().await? {
                let report = channel_report(&Versions::read(ledger, &channel).await?);
                let ChannelReport { history, packages, histories, .. } = report;
                channels.push(ChannelSummary { channel, history, packages, histories: histories.len() });
            }
            Outcome::List { channels }
        }
        Operation::Show { channel } => {
            let held = held_in(ledger, channel).await?;
            let versions = match known(ledger, channel).await {
                // Before the first history there may be something that waits to be in it.
                Err(PublishError::NoChannel { .. }) if !held.is_empty() => {
                    Versions::read(ledger, channel).await?
                }
                versions => versions?,
            };
            Outcome::Show(ChannelReport { held, ..channel_report(&versions) })
        }
        Operation::ReleaseList { channel } => {
            Outcome::ReleaseList { channel: channel.clone(), releases: releases(ledger, channel).await? }
        }
        Operation::Artefacts { channel, source } => {
            let files = ledger.build_files(channel, source.as_deref()).await?;
            if files.is_empty() {
                known(ledger, channel).await?;
            }
            Outcome::Artefacts {
                channel: channel.clone(),
                files: files.into_iter().map(artefact_report).collect(),
            }
        }
        Operation::Histories { channel, limit } => {
            let limit = usize::try_from(*limit.min(&HISTORIES_TOLD_MAX)).unwrap_or(usize::MAX);
            let mut report = channel_report(&known(ledger, channel).await?);
            report.histories.truncate(limit);
            Outcome::Histories { channel: channel.clone(), histories: report.histories }
        }
        Operation::Diff { channel, from, to } => {
            let versions = known(ledger, channel).await?;
            let (from, to) = (versions.find(from)?, versions.find(to)?);
            Outcome::Diff(diff(ledger, channel, from, to).await?)
        }
        _ => return Ok(None),
    }))
}

/// What waits in a channel, in the order in which it was announced.
async fn held_in(ledger: &Ledger, channel: &str) -> Result<Vec<HeldReport>, PublishError> {
    let mut held = Vec::new();
    for attempt_id in ledger.held_attempts(channel).await? {
        if let Some(Attempt { expectation, state: AttemptState::Held { reason } }) =
            ledger.attempt(attempt_id).await?
        {
            held.push(report(&expectation, reason));
        }
    }
    Ok(held)
}

fn artefact_report(file: BuildFile) -> ArtefactReport {
    let BuildFile { path, sha256, size_bytes, source, build } = file;
    ArtefactReport { source, build, path, size_bytes, sha256: sha256.to_string() }
}

/// The channel, which has histories.
async fn known(ledger: &Ledger, channel: &str) -> Result<Versions, PublishError> {
    let versions = Versions::read(ledger, channel).await?;
    if versions.histories.is_empty() {
        let known = ledger.channels().await?;
        return Err(PublishError::NoChannel { channel: channel.chars().take(120).collect(), known });
    }
    Ok(versions)
}

fn channel_report(versions: &Versions) -> ChannelReport {
    let newest = versions.streams.get(VOLATILE).and_then(|number| versions.histories.get(number));
    let named = |pointers: &BTreeMap<String, u64>| {
        pointers.iter().filter_map(|(name, number)| Some((name.clone(), versions.id(*number)?))).collect()
    };
    let report = |it: &History| HistoryReport {
        id: it.id.clone(),
        previous: it.previous.and_then(|number| versions.id(number)),
        packages: it.packages,
        recorded_at: it.recorded_at,
        cause: it.cause.clone(),
        given_up_at: it.given_up_at,
        format: it.format.as_str().to_owned(),
    };
    ChannelReport {
        channel: versions.channel.clone(),
        history: newest.map(|history| history.id.clone()),
        packages: newest.map_or(0, |history| history.packages),
        streams: named(&versions.streams),
        tags: named(&versions.tags),
        histories: versions.histories.values().rev().map(report).collect(),
        upgrade_via: versions
            .upgrades
            .iter()
            .map(|(format, tag)| (format.as_str().to_owned(), format!("tag/{tag}")))
            .collect(),
        moved: versions.moved.as_ref().map(ToString::to_string),
        held: Vec::new(),
    }
}

async fn diff(ledger: &Ledger, channel: &str, from: Found, to: Found) -> Result<DiffReport, PublishError> {
    let contents = ledger.contents(channel).await?;
    let (before, after) =
        (retention::content(&contents, from.number), retention::content(&contents, to.number));
    let version = |key: &PlaceKey, object: &PublishedObject| PackageVersion {
        name: key.name.clone(),
        architecture: key.architecture.clone(),
        version: version_in(key, &object.pool_path),
    };
    let mut report = DiffReport {
        channel: channel.to_owned(),
        from: from.id,
        to: to.id,
        added: Vec::new(),
        removed: Vec::new(),
        changed: Vec::new(),
    };
    for (key, object) in &after {
        match before.get(*key) {
            None => report.added.push(version(key, object)),
            Some(old) if old.sha256 == object.sha256 => {}
            Some(old) => {
                let PackageVersion { name, architecture, version: to } = version(key, object);
                let from = version_in(key, &old.pool_path);
                report.changed.push(PackageChange { name, architecture, from, to });
            }
        }
    }
    let gone = before.iter().filter(|(key, _)| !after.contains_key(**key));
    report.removed = gone.map(|(key, object)| version(key, object)).collect();
    Ok(report)
}

/// Version, release and build release, from the name of the file: `NAME-VERSION-RELEASE-BUILDRELEASE-ARCH.stone`.
fn version_in(key: &PlaceKey, pool_path: &str) -> String {
    let file = pool_path.rsplit('/').next().unwrap_or(pool_path);
    let rest = file.strip_prefix(key.name.as_str()).and_then(|rest| rest.strip_prefix('-'));
    let rest = rest.and_then(|rest| rest.strip_suffix(&format!("-{}.stone", key.architecture)));
    rest.unwrap_or(file).to_owned()
}

impl Publisher {
    /// Does what an operator asks, and answers when it is done and readers can see it. `by` is whoever asks.
    ///
    /// # Errors
    /// When there is no such channel or version, when somebody else moved the pointer meanwhile, when the disk or the
    /// database refuses.
    pub async fn operate(&self, operation: Operation, by: &str) -> Result<Outcome, PublishError> {
        if let Some(outcome) = look(&self.ledger, &operation).await? {
            return Ok(outcome);
        }
        let outcome = match operation {
            Operation::Promote { channel, from, to, to_channel } if channel == to_channel => {
                Outcome::Promote(self.follow(&channel, &from, &to, by).await?)
            }
            Operation::Promote { channel, from, to, to_channel } => {
                Outcome::Promote(self.promote_across(&channel, &from, &to_channel, &to).await?)
            }
            Operation::Rollback { channel, stream, to } => {
                Outcome::Rollback(self.roll_back(&channel, &stream, to.as_deref(), by).await?)
            }
            Operation::Tag { channel, name, version } => {
                Outcome::Tag(self.tag(&channel, &name, &version, by).await?)
            }
            Operation::Untag { channel, name } => {
                Outcome::Untag(self.remove_pointer(&channel, "tag", &name, by).await?)
            }
            Operation::RemoveStream { channel, stream } => {
                Outcome::RemoveStream(self.remove_pointer(&channel, "stream", &stream, by).await?)
            }
            Operation::RemovePackage { channel, names, architecture } => {
                self.remove_packages(&channel, &names, architecture.as_deref()).await?
            }
            Operation::UpgradeFormat { channel, to, tag, unchecked } => {
                let (to, tag) = (to.as_deref(), tag.as_deref());
                Outcome::UpgradeFormat(self.upgrade_format(&channel, to, tag, unchecked).await?)
            }
            Operation::Move { channel, to, to_channel } => {
                let moved = self.move_channel(&channel, to.as_deref(), to_channel.as_deref(), by).await?;
                Outcome::Move { channel, to: moved.as_ref().map(ToString::to_string) }
            }
            Operation::Prune { channel, dry_run } => self.prune(channel.as_deref(), dry_run).await?,
            Operation::Keys => Outcome::Keys(self.keys().await?),
            Operation::FollowKeys { list } => Outcome::FollowKeys(self.follow_keys(&list).await?),
            Operation::ReleaseHeld { channel, sources } => {
                let held = self.release_held(&channel, &sources).await?;
                Outcome::ReleaseHeld { channel, held }
            }
            Operation::DropHeld { channel, sources } => {
                let held = self.drop_held(&channel, &sources, by).await?;
                Outcome::DropHeld { channel, held }
            }
            Operation::ReleaseAdd { channel, name, files } => {
                let release = self.add_release(&channel, &name, &files, by).await?;
                Outcome::ReleaseAdd { channel, release }
            }
            Operation::ReleaseRemove { channel, name } => {
                let release = self.remove_release(&channel, &name, by).await?;
                Outcome::ReleaseRemove { channel, release }
            }
            // Answered above.
            Operation::List
            | Operation::ReleaseList { .. }
            | Operation::Artefacts { .. }
            | Operation::Show { .. }
            | Operation::Histories { .. }
            | Operation::Diff { .. } => Outcome::List { channels: Vec::new() },
        };
        self.tell_facts();
        Ok(outcome)
    }

    async fn follow(&self, channel: &str, from: &str, to: &str, by: &str) -> Result<Moved, PublishError> {
        let stream: Identifier = to.parse()?;
        let channel = self.channel(channel)?;
        let mut state = channel.state.lock().await;
        let versions = Versions::read(&self.ledger, &channel.name).await?;
        let target = versions.find(from)?;
        let now = versions.streams.get(stream.as_str()).copied();
        self.point(channel, &mut state, &versions, ("stream", stream.as_str()), now, target, by).await
    }

    async fn roll_back(
        &self,
        channel: &str,
        stream: &str,
        to: Option<&str>,
        by: &str,
    ) -> Result<Moved, PublishError> {
        let channel = self.channel(channel)?;
        let mut state = channel.state.lock().await;
        let versions = Versions::read(&self.ledger, &channel.name).await?;
        let now = versions.find(&format!("stream/{stream}"))?;
        let target = match to {
            Some(version) => versions.find(version)?,
            None => {
                let pointee = Pointee { channel: &channel.name, kind: "stream", name: stream };
                let before = match self.ledger.moved_from(pointee, now.number).await? {
                    Some(number) => Some(number),
                    None => versions.histories.get(&now.number).and_then(|history| history.previous),
                };
                let found = before.and_then(|number| Some(Found { number, id: versions.id(number)? }));
                found.ok_or_else(|| PublishError::NothingBefore {
                    channel: channel.name.clone(),
                    stream: stream.to_owned(),
                    history: now.id.clone(),
                })?
            }
        };
        self.point(channel, &mut state, &versions, ("stream", stream), Some(now.number), target, by).await
    }

    async fn tag(&self, channel: &str, name: &str, version: &str, by: &str) -> Result<Moved, PublishError> {
        let name: Identifier = name.parse()?;
        let channel = self.channel(channel)?;
        let mut state = channel.state.lock().await;
        let versions = Versions::read(&self.ledger, &channel.name).await?;
        let target = versions.find(version)?;
        let now = versions.tags.get(name.as_str()).copied();
        if let Some(now) = now.filter(|now| *now != target.number) {
            return Err(PublishError::TagStands {
                channel: channel.name.clone(),
                tag: name.to_string(),
                history: versions.id(now).unwrap_or_default(),
            });
        }
        self.point(channel, &mut state, &versions, ("tag", name.as_str()), now, target, by).await
    }

    /// Moves a stream or a tag to a history of its channel.
    #[expect(clippy::too_many_arguments, reason = "a pointer, where it is, where it goes, and who says so")]
    async fn point(
        &self,
        channel: &Channel,
        state: &mut State,
        versions: &Versions,
        (kind, name): (&'static str, &str),
        now: Option<u64>,
        target: Found,
        by: &str,
    ) -> Result<Moved, PublishError> {
        let from = now.and_then(|number| versions.id(number));
        let to = Some(target.id.clone());
        let moved = Moved { channel: channel.name.clone(), name: name.to_owned(), from, to, changed: true };
        if now == Some(target.number) {
            self.settle_pointer(channel, state).await?;
            return Ok(Moved { changed: false, ..moved });
        }
        self.check_keys().await?;
        // Read before anything moves: a history that cannot be read is not shown to anybody.
        let snapshot = self.snapshot_of(channel, &target).await?;
        let pointee = Pointee { channel: &channel.name, kind, name };
        let movement = Movement { pointee, from: now, to: Some(target.number), at: unix_seconds(), by };
        if !self.ledger.point(&movement).await? {
            return Err(PublishError::StreamMoved { channel: channel.name.clone() });
        }
        (self.reached)(crate::tree::Step::Recorded);
        if kind == "stream" && name == VOLATILE {
            state.snapshot = Arc::new(snapshot);
            state.current = Some(Current { number: target.number, id: target.id });
        }
        self.show_anew(channel, state).await?;
        tracing::info!(channel.name = %channel.name, kind, name, from = ?moved.from, to = ?moved.to, by, "moved");
        Ok(moved)
    }

    /// Lets readers see what the ledger says now.
    pub(super) async fn show_anew(&self, channel: &Channel, state: &mut State) -> Result<(), PublishError> {
        state.is_pointed = false;
        self.settle_pointer(channel, state).await
    }

    async fn snapshot_of(&self, channel: &Channel, found: &Found) -> Result<Snapshot, PublishError> {
        let (tree, id) = (channel.tree.clone(), found.id.clone());
        blocking(move || Ok(tree.read_history(&id)?)).await
    }

    async fn remove_pointer(
        &self,
        channel: &str,
        kind: &'static str,
        name: &str,
        by: &str,
    ) -> Result<Moved, PublishError> {
        let channel = self.channel(channel)?;
        if kind == "stream" && name == VOLATILE {
            return Err(PublishError::Needed { channel: channel.name.clone(), stream: name.to_owned() });
        }
        let mut state = channel.state.lock().await;
        let versions = Versions::read(&self.ledger, &channel.name).await?;
        let now = versions.find(&format!("{kind}/{name}"))?;
        let leads = versions.upgrades.iter().find(|(_, tag)| kind == "tag" && tag.as_str() == name);
        if let Some((format, tag)) = leads {
            return Err(PublishError::WayUp {
                channel: channel.name.clone(),
                tag: tag.clone(),
                format: format.as_str().to_owned(),
            });
        }
        self.check_keys().await?;
        let pointee = Pointee { channel: &channel.name, kind, name };
        let movement = Movement { pointee, from: Some(now.number), to: None, at: unix_seconds(), by };
        if !self.ledger.point(&movement).await? {
            return Err(PublishError::StreamMoved { channel: channel.name.clone() });
        }
        self.show_anew(channel, &mut state).await?;
        tracing::info!(channel.name = %channel.name, kind, name, from = %now.id, by, "removed");
        let (channel, name) = (channel.name.clone(), name.to_owned());
        Ok(Moved { channel, name, from: Some(now.id), to: None, changed: true })
    }

    /// Takes packages out: another history, without them.
    async fn remove_packages(
        &self,
        channel: &str,
        names: &[String],
        architecture: Option<&str>,
    ) -> Result<Outcome, PublishError> {
        let channel = self.channel(channel)?;
        let mut state = channel.state.lock().await;
        let landing = without(&channel.name, &state.snapshot, names, architecture)?;
        let removed: Vec<String> =
            landing.obsolete.iter().map(|key| format!("{} ({})", key.name, key.architecture)).collect();
        let remarks = closure::remark(&closure::unmet(&state.snapshot, &landing));
        let mut cause = format!("removal of {}", names.join(", "));
        cause.truncate(cause.floor_char_boundary(200));
        let base = Base::volatile(&state, &cause);
        let deed = Deed::of_operator(base, landing);
        let published = self.act(channel, &mut state, deed, |_| Source::Bytes(Arc::default())).await?;
        Ok(Outcome::RemovePackage {
            channel: channel.name.clone(),
            history: published.history,
            removed,
            remarks,
        })
    }

    /// Makes the stream of another channel hold exactly what a version of this one holds.
    async fn promote_across(
        &self,
        from_channel: &str,
        version: &str,
        to_channel: &str,
        stream: &str,
    ) -> Result<Moved, PublishError> {
        let stream: Identifier = stream.parse()?;
        let (source, target) = (self.channel(from_channel)?, self.channel(to_channel)?);
        // In the order of their names, as everybody who needs two: nobody waits for one who waits for him. The source is
        // held so that nothing of it is removed meanwhile.
        let (_reading, mut state) = if source.name < target.name {
            let reading = source.state.lock().await;
            (reading, target.state.lock().await)
        } else {
            let state = target.state.lock().await;
            (source.state.lock().await, state)
        };
        let found = Versions::read(&self.ledger, &source.name).await?.find(version)?;
        let snapshot = self.snapshot_of(source, &found).await?;
        let versions = Versions::read(&self.ledger, &target.name).await?;
        let now = versions.streams.get(stream.as_str()).copied();
        let before = now.and_then(|number| Some(Found { number, id: versions.id(number)? }));
        let held = match &before {
            Some(now) => self.snapshot_of(target, now).await?,
            None => Snapshot::default(),
        };
        let landing = replacing(&held, snapshot);
        let moved = Moved {
            channel: target.name.clone(),
            name: stream.to_string(),
            from: before.as_ref().map(|now| now.id.clone()),
            to: before.as_ref().map(|now| now.id.clone()),
            changed: false,
        };
        if landing.is_unchanged() && before.is_some() {
            self.settle_pointer(target, &mut state).await?;
            return Ok(moved);
        }
        let base = Base {
            stream: stream.to_string(),
            previous: now,
            snapshot: Arc::new(held),
            cause: format!("promotion of {}/{}", source.name, found.id),
            upgrade: None,
        };
        let tree = source.tree.clone();
        let place = |package: &Package| Source::Stored(tree.object(&format::pool_path(&package.meta)));
        let arriving = landing.arriving.iter().filter_map(|key| landing.snapshot.get(key));
        let arriving: Vec<&Package> = arriving.collect();
        let files = self.files_of_promoted(source, &arriving).await?;
        let debug = self.debug_of_promoted(source, &arriving).await?;
        let deed = Deed { files, debug, ..Deed::of_operator(base, landing) };
        let published = self.act(target, &mut state, deed, place).await?;
        if stream.as_str() == VOLATILE {
            self.land_held(target, &mut state).await?;
        }
        Ok(Moved { to: Some(published.history), changed: true, ..moved })
    }
}

/// What is left when the packages of these names go; each must be there.
fn without(
    channel: &str,
    snapshot: &Snapshot,
    names: &[String],
    architecture: Option<&str>,
) -> Result<Landing, PublishError> {
    let is_asked = |key: &PackageKey, name: &String| {
        key.name == *name && architecture.is_none_or(|architecture| key.architecture == architecture)
    };
    let keys: Vec<PackageKey> = snapshot.packages().map(Package::key).collect();
    for name in names {
        if !keys.iter().any(|key| is_asked(key, name)) {
            let package = name.chars().take(120).collect();
            return Err(PublishError::NoPackage { channel: channel.to_owned(), package });
        }
    }
    if names.is_empty() || names.len() > PACKAGES_REMOVED_MAX {
        return Err(PublishError::HowMany { count: names.len(), max: PACKAGES_REMOVED_MAX });
    }
    let (obsolete, kept): (Vec<PackageKey>, Vec<PackageKey>) =
        keys.into_iter().partition(|key| names.iter().any(|name| is_asked(key, name)));
    let snapshot = kept.iter().filter_map(|key| snapshot.get(key)).cloned().collect();
    Ok(Landing { snapshot, arriving: Vec::new(), obsolete })
}

/// Everything of `before` gone, and everything of `after` there.
fn replacing(before: &Snapshot, after: Snapshot) -> Landing {
    let is_new =
        |package: &&Package| before.get(&package.key()).is_none_or(|old| old.sha256 != package.sha256);
    let arriving = after.packages().filter(is_new).map(Package::key).collect();
    let gone = before.packages().filter(|package| after.get(&package.key()).is_none());
    let obsolete = gone.map(Package::key).collect();
    Landing { snapshot: after, arriving, obsolete }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_file_names() {
        let check = |name: &str, path: &str, expect: &str| {
            let key = PlaceKey { name: name.into(), architecture: "x86_64".into() };
            assert_eq!(version_in(&key, path), expect);
        };
        check("nano", "pool/v0/n/nano/nano-8.4-34-1-x86_64.stone", "8.4-34-1");
        check("g++", "pool/v0/g/gcc/g++-15~rc1-2-1-x86_64.stone", "15~rc1-2-1");
        check("a-b", "pool/v0/a/a/a-b-1-1-1-x86_64.stone", "1-1-1");
        check("nano", "pool/v0/n/nano/strange", "strange");
    }
}
