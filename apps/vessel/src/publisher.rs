//! The engine: decides with `admission`, acts with `tree` and `ledger`, in the order that makes a landing atomic.
//!
//! ```text
//! objects → read back → indexes → all of it durable → pointer signed
//!         → history recorded and stream moved (one transaction) → pointer moved (one swap)
//! ```
//!
//! Up to the transaction nothing names what was written, and a start removes it: so all of it is made durable at once, just
//! before. From the transaction on the history
//! is the truth, and a start, or the next call for the attempt, moves the pointer. So a process that dies anywhere
//! leaves readers with the old version or the new one.
//!
//! One history at a time in a channel: each is decided on the snapshot before. Attempts that wait for their turn
//! meanwhile land together in the next one ([`groups`]); those whose needs nobody meets wait until somebody does ([`held`]).

mod attempts;
mod builds;
mod changes;
#[cfg(test)]
mod crash_tests;
mod debug;
mod error;
mod executables;
mod formats;
mod groups;
mod health;
mod held;
#[cfg(test)]
mod held_tests;
mod import;
mod prune;
mod recovery;
mod releases;
mod signing;
#[cfg(test)]
mod signing_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod version_tests;
mod versions;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use repository::Version;
use repository::layout::STATEMENT_FILE;
use repository::retention::Retention;
use repository::signed::FileFacts;
use store::{Source, Store};
use tokio::sync::{Mutex, Semaphore, watch};
use wire::PublicKey;

use crate::admission::{Landing, Package, PackageKey, Scope, Snapshot, history_id, land};
use crate::builds::DebugFile;
use crate::closure;
use crate::collisions;
use crate::delivery::Delivery;
use crate::described::{Described, Plan};
use crate::folder::DataFolder;
use crate::format::{self, Pointer};
use crate::gathering::{Closure, ClosurePolicy, is_closed};
use crate::http::ChannelFacts;
use crate::ledger::{
    Change, FormatUpgrade, LandingAttempt, Ledger, NewHistory, PublishedObject, Recorded, VOLATILE,
};
use crate::place::{Place, PlaceError, absolute};
use crate::purge::Moves;
use crate::signing::Signing;
use crate::staging::Staging;
use crate::tree::{Object, PlainIndexes, ROOT_INDEX, Step, StoneIndex, Tree, TreeFile};

pub(crate) use attempts::LandingStatus;
use builds::StagedFile;
pub(crate) use changes::Changes;
pub(crate) use debug::DebugInfo;
pub use error::PublishError;
pub(crate) use groups::Committed;
pub(crate) use health::{ChannelHealth, Health};
pub use import::Imported;
pub(crate) use versions::look;

/// Attempts verified at once. Decoding a package keeps one processor busy and may need a large decompressor.
const VERIFICATIONS_MAX: usize = 2;

/// Level for the compressed copy of the pointer. It names every history and is written with each: of some ten kilobytes for
/// 1,400 histories the highest level saves a fifth, and took a tenth of all of Vessel's time.
const ROOT_INDEX_LEVEL: i32 = 3;

/// Is told of every step; tests die in it.
pub(crate) type Reached = Arc<dyn Fn(Step) + Send + Sync>;

/// Is told of every write to the store when it is done; tests die in it.
pub(crate) type Wrote = Box<dyn Fn(&'static str, &str) + Send + Sync>;

/// Who is told of what happens.
pub(crate) struct Watched {
    pub(crate) reached: Reached,
    pub(crate) wrote: Option<Wrote>,
}

impl Default for Watched {
    fn default() -> Self {
        Self { reached: Arc::new(|_| {}), wrote: None }
    }
}

/// Everything a Vessel keeps, opened and in line.
pub struct Publisher {
    folder: Arc<DataFolder>,
    store: Store,
    ledger: Ledger,
    staging: Staging,
    channels: BTreeMap<String, Channel>,
    /// Keys of builders that were ever named by Summit.
    builders: Arc<RwLock<HashSet<PublicKey>>>,
    facts: watch::Sender<Vec<ChannelFacts>>,
    /// How often the pointer of each channel has moved.
    moves: watch::Sender<Moves>,
    verifications: Semaphore,
    extractions: Semaphore,
    executables: executables::Remembered,
    retention: Retention,
    plain_indexes: PlainIndexes,
    seals: signing::Seals,
    health: health::Known,
    /// Why the last pruning by itself failed.
    pruning_trouble: std::sync::Mutex<Option<String>>,
    closure: Closure,
    reached: Reached,
}

struct Channel {
    name: String,
    tree: Tree,
    state: Mutex<State>,
    /// The state as readers see it: of the last landing that is complete. Nobody waits for it.
    shown: RwLock<State>,
    /// Attempts that are verified and wait for their turn.
    waiting: groups::Waiting,
    /// Attempts that wait for what they need. Changed only by whoever holds the state.
    held: held::Held,
    /// What the newest histories changed.
    recent: changes::Recent,
}

/// What is known of a channel without asking the disk.
#[derive(Debug, Clone, Default)]
struct State {
    snapshot: Arc<Snapshot>,
    current: Option<Current>,
    /// Whether the published pointer says what the ledger says.
    is_pointed: bool,
    /// The highest number ever given to a history; none is given twice.
    last_number: u64,
    histories: u64,
    /// Whether everything in it found what it needed once.
    is_closed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Current {
    number: u64,
    id: String,
}

impl Channel {
    fn shown(&self) -> State {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, state: &State) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = state.clone();
    }
}

/// What a history is made from: a stream, and what it holds now.
#[derive(Debug, Clone)]
struct Base {
    stream: String,
    /// The number of its history; none for a stream that comes into being.
    previous: Option<u64>,
    snapshot: Arc<Snapshot>,
    /// Why another history comes about.
    cause: String,
    /// Whether it is the first of another format.
    upgrade: Option<FormatUpgrade>,
}

impl Base {
    /// The stream that follows every landing.
    fn volatile(state: &State, cause: &str) -> Self {
        Self {
            stream: VOLATILE.to_owned(),
            previous: state.current.as_ref().map(|current| current.number),
            snapshot: Arc::clone(&state.snapshot),
            cause: cause.to_owned(),
            upgrade: None,
        }
    }
}

/// What is to be carried out.
struct Deed {
    base: Base,
    landing: Landing,
    /// The attempts that land; none when an operator brings it.
    attempts: Vec<LandingAttempt>,
    /// What else belongs to the builds that land.
    files: Vec<StagedFile>,
    /// The debug information in the packages that arrive.
    debug: Vec<DebugFile>,
}

impl Deed {
    /// On an operator's word.
    fn of_operator(base: Base, landing: Landing) -> Self {
        Self { base, landing, attempts: Vec::new(), files: Vec::new(), debug: Vec::new() }
    }
}

/// A history whose files are durable, and which nothing names yet.
struct Written {
    snapshot: Snapshot,
    /// The signed statement.
    statement: FileFacts,
    /// How long making its indexes took.
    index_time: Duration,
    /// Paths that packages of it have although others have them already, in words.
    collisions: String,
}

/// What became of packages that were to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Published {
    /// The history that has them.
    history: String,
    /// Whether it is a new one.
    is_new: bool,
    packages: usize,
    /// How long making its indexes took.
    index_time: Duration,
    /// What somebody should know of it.
    remarks: String,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Publisher").field("channels", &self.channels.keys()).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Opens the data folder with these channels, locks it, and brings its files in line with its database.
    ///
    /// # Errors
    /// When another process uses it, when the disk or the database refuses, when what is published is damaged.
    pub async fn open(data: &Path, channels: &[String]) -> Result<Self, PublishError> {
        Self::open_at(data, channels, None).await
    }

    /// The same, with other keys than those in the data folder.
    ///
    /// # Errors
    /// As [`Publisher::open`], and when something must be signed and cannot be.
    pub async fn open_signing(
        data: &Path,
        channels: &[String],
        signing: Signing,
    ) -> Result<Self, PublishError> {
        Self::open_with(data, channels, None, signing, &Delivery::default()).await
    }

    /// The same with the published tree at this place; without one it is where it was last.
    ///
    /// # Errors
    /// As [`Publisher::open`]; when the place cannot be used, or holds what the database does not know.
    pub async fn open_at(
        data: &Path,
        channels: &[String],
        place: Option<Place>,
    ) -> Result<Self, PublishError> {
        Self::open_with(data, channels, place, Signing::default(), &Delivery::default()).await
    }

    /// The same with both, and with other times for which caches keep pointers that lie in a bucket.
    ///
    /// # Errors
    /// As [`Publisher::open_at`] and [`Publisher::open_signing`].
    pub async fn open_with(
        data: &Path,
        channels: &[String],
        place: Option<Place>,
        signing: Signing,
        delivery: &Delivery,
    ) -> Result<Self, PublishError> {
        Self::open_watched(data, channels, place, signing, delivery, Watched::default()).await
    }

    pub(crate) async fn open_watched(
        data: &Path,
        names: &[String],
        place: Option<Place>,
        signing: Signing,
        delivery: &Delivery,
        watched: Watched,
    ) -> Result<Self, PublishError> {
        let folder = Arc::new(DataFolder::open(data)?);
        let Watched { reached, wrote } = watched;
        let (place, store) = blocking({
            let folder = Arc::clone(&folder);
            move || {
                let place = place.map_or_else(|| Place::remembered(&folder), |place| Ok(absolute(place)))?;
                let store = place.open(&folder)?;
                let store = match wrote {
                    Some(wrote) => store.watched(wrote).map_err(PlaceError::from)?,
                    None => store,
                };
                Ok((place, store))
            }
        })
        .await?;
        let ledger = Ledger::open(&folder.database()).await?;
        let seals = signing::Seals::open(&ledger, data, signing).await?;
        let mut channels = BTreeMap::new();
        let known = ledger.channels().await?;
        for name in names.iter().chain(&known).collect::<BTreeSet<_>>() {
            crate::expectation::check_name("channel", name)?;
            let tree = Tree::new(&store, name, delivery);
            let state = recovery::bring_in_line(&ledger, name, &tree).await?;
            let (name, shown, waiting) =
                (name.clone(), RwLock::new(state.clone()), groups::Waiting::default());
            let (state, recent) = (Mutex::new(state), changes::Recent::default());
            let held = held::Held::default();
            channels.insert(name.clone(), Channel { name, tree, state, shown, waiting, held, recent });
        }
        // Only now: what is there fits the database.
        place.remember(&folder)?;
        let staging = Staging::new(folder.staging());
        recovery::sweep_staging(&ledger, channels.keys(), &staging).await?;
        let builders = ledger.builders().await?.iter().filter_map(|key| key.parse().ok()).collect();
        let moves = channels.keys().map(|name| (name.clone(), 0)).collect();
        let publisher = Self {
            folder,
            store,
            ledger,
            staging,
            channels,
            builders: Arc::new(RwLock::new(builders)),
            facts: watch::Sender::new(Vec::new()),
            moves: watch::Sender::new(moves),
            verifications: Semaphore::new(VERIFICATIONS_MAX),
            extractions: Semaphore::new(debug::EXTRACTIONS_MAX),
            executables: executables::Remembered::default(),
            retention: Retention::default(),
            plain_indexes: PlainIndexes::default(),
            seals,
            health: health::Known::default(),
            pruning_trouble: std::sync::Mutex::default(),
            closure: Closure::default(),
            reached,
        };
        publisher.sign_at_start().await?;
        publisher.load_held().await?;
        publisher.tell_facts();
        Ok(publisher)
    }

    /// The same, with another policy for old histories.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// The same, with another way with channels that have too many packages for a plain index.
    #[must_use]
    pub fn with_stone_index(self, stone_index: StoneIndex) -> Self {
        Self { plain_indexes: PlainIndexes { policy: stone_index, ..self.plain_indexes }, ..self }
    }

    /// The same with plain indexes that hold fewer packages than they could.
    #[cfg(test)]
    fn with_plain_indexes_of(self, packages_max: usize) -> Self {
        Self { plain_indexes: PlainIndexes { packages_max, ..self.plain_indexes }, ..self }
    }

    /// The same, with another policy for sets whose needs nobody meets.
    #[must_use]
    pub fn closing(self, closure: Closure) -> Self {
        Self { closure, ..self }
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// Where the published tree is.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Keys that may call at all, beside the hub's. The set grows as Summit names builders.
    pub(crate) fn builders(&self) -> Arc<RwLock<HashSet<PublicKey>>> {
        Arc::clone(&self.builders)
    }

    /// What the page at `/` says.
    pub(crate) fn facts(&self) -> watch::Receiver<Vec<ChannelFacts>> {
        self.facts.subscribe()
    }

    /// How often the pointer of each channel has moved since the start.
    pub(crate) fn moves(&self) -> watch::Receiver<Moves> {
        self.moves.subscribe()
    }

    /// Folds the database's log into its file.
    pub async fn close(&self) {
        self.ledger.close().await;
    }

    /// The newest history that readers of a channel see; none before the first landing.
    ///
    /// # Errors
    /// When there is no such channel.
    pub(crate) async fn current(&self, channel: &str) -> Result<Option<String>, PublishError> {
        let channel = self.channel(channel)?;
        let mut state = channel.state.lock().await;
        self.settle_pointer(channel, &mut state).await?;
        Ok(state.current.as_ref().map(|current| current.id.clone()))
    }

    fn channel(&self, name: &str) -> Result<&Channel, PublishError> {
        self.channels.get(name).ok_or_else(|| PublishError::NoChannel {
            channel: name.to_owned(),
            known: self.channels.keys().cloned().collect(),
        })
    }

    /// Publishes `incoming`, a folder's packages, as one history. `staged` says where a file is that is not in the pool yet.
    ///
    /// Run again with the same packages it changes nothing and answers the same.
    async fn publish(
        &self,
        channel: &Channel,
        incoming: &[Package],
        debug: Vec<DebugFile>,
        staged: impl Fn(&Package) -> Source,
    ) -> Result<Published, PublishError> {
        let mut state = channel.state.lock().await;
        let landing = land(&state.snapshot, incoming, Scope::Folder)?;
        if let (true, Some(current)) = (landing.is_unchanged(), state.current.clone()) {
            self.settle_pointer(channel, &mut state).await?;
            let (history, packages) = (current.id, state.snapshot.len());
            return Ok(Published {
                history,
                is_new: false,
                packages,
                index_time: Duration::ZERO,
                remarks: String::new(),
            });
        }
        (self.reached)(Step::Decided);
        let deed = Deed { debug, ..Deed::of_operator(Base::volatile(&state, "import"), landing) };
        let published = self.act(channel, &mut state, deed, staged).await?;
        self.land_held(channel, &mut state).await?;
        drop(state);
        self.tell_facts();
        Ok(published)
    }

    /// Carries a landing out. Chooses nothing.
    async fn act(
        &self,
        channel: &Channel,
        state: &mut State,
        deed: Deed,
        staged: impl Fn(&Package) -> Source,
    ) -> Result<Published, PublishError> {
        let Deed { base, landing, attempts, files, debug } = deed;
        let mut objects = objects(&landing, staged);
        self.check_objects(&channel.name, &objects).await?;
        let files = self.new_files(&channel.name, files).await?;
        let number = state.last_number + 1;
        let id = history_id(number, landing.snapshot.content_digest());
        channel.tree.check_fits(&id, &landing.snapshot, self.plain_indexes)?;
        let remarks = match self.closure.of(&channel.name) {
            ClosurePolicy::Allow => String::new(),
            _ => closure::remark(&closure::unmet(&base.snapshot, &landing)),
        };
        let follows = base.stream == VOLATILE;
        let mut new = NewHistory {
            channel: channel.name.clone(),
            number,
            id: id.clone(),
            previous: base.previous,
            recorded_at: unix_seconds(),
            cause: base.cause,
            packages: landing.snapshot.len(),
            changes: changes(&landing, &objects),
            builds: files.iter().map(|file| file.file.clone()).collect(),
            debug,
            closes: follows && !state.is_closed && is_closed(&landing.snapshot),
            attempts,
            remarks,
            upgrade: base.upgrade,
            stream: base.stream,
            signed: BTreeMap::new(),
        };
        objects.extend(files.into_iter().map(StagedFile::object));
        let size_bytes: u64 = objects.iter().map(|object| object.size_bytes).sum();
        let plan = self.plan(&new).await?;
        let what = Version::Stream(new.stream.parse()?);
        let names = [what.to_string()];
        // Should the landing come to nothing, a version is passed over. What writes must come to its end in any case.
        let (written, versions) = tokio::join!(
            self.write(channel, plan.clone(), objects, landing.snapshot),
            self.ledger.give_versions(&channel.name, &names)
        );
        let Written { snapshot, statement, index_time, collisions } = written?;
        let mut remarks = vec![std::mem::take(&mut new.remarks), collisions];
        remarks.retain(|remark| !remark.is_empty());
        new.remarks = remarks.join("; ");
        let target = signing::Target { what, history: plan.id, format: plan.format, statement };
        new.signed = self.sign_targets(&channel.name, vec![target], &versions?).await?;
        let snapshot = Arc::new(snapshot);
        self.record(channel, state, &new).await?;
        let touched = new.changes.iter().map(|change| PackageKey {
            name: change.name.clone(),
            architecture: change.architecture.clone(),
        });
        if let Some(before) = &state.current {
            channel.recent.note(&before.id, &id, touched.collect());
        }
        let packages = snapshot.len();
        if follows {
            state.current = Some(Current { number, id: id.clone() });
            state.snapshot = snapshot;
        }
        state.is_pointed = false;
        state.is_closed |= new.closes;
        state.last_number = number;
        state.histories += 1;
        match new.upgrade {
            None => self.show_pointer(channel, state).await?,
            // The last history of the format before has got a name.
            Some(_) => self.settle_pointer(channel, state).await?,
        }
        tracing::info!(
            channel.name = %channel.name,
            history = %id,
            attempts = new.attempts.len(),
            arriving = landing.arriving.len(),
            obsolete = landing.obsolete.len(),
            size_bytes,
            index_ms = u64::try_from(index_time.as_millis()).unwrap_or(u64::MAX),
            "published"
        );
        if !new.remarks.is_empty() {
            let remarks = &new.remarks;
            tracing::warn!(channel.name = %channel.name, history = %id, "{remarks}");
        }
        Ok(Published { history: id, is_new: true, packages, index_time, remarks: new.remarks })
    }

    /// Everything before the transaction: objects, read back, indexes, all of it durable. Nothing names any of it yet.
    async fn write(
        &self,
        channel: &Channel,
        plan: Plan,
        objects: Vec<Object>,
        snapshot: Snapshot,
    ) -> Result<Written, PublishError> {
        let (tree, reached, plain) = (channel.tree.clone(), Arc::clone(&self.reached), self.plain_indexes);
        let sign = self.signer_of_statements();
        blocking(move || {
            let stored = tree.store(&objects)?;
            reached(Step::ObjectsLinked);
            tree.read_back(&objects)?;
            reached(Step::ObjectsReadBack);
            let begin = Instant::now();
            let id = plan.id.as_str();
            let indexes = tree.indexes(id, &snapshot, plain)?;
            let Described { mut files, statement, collisions } = tree.describe(&plan, &snapshot, indexes)?;
            let signed = sign(&statement)?;
            let statement = FileFacts::of(&signed);
            files.push(TreeFile { path: STATEMENT_FILE.to_owned(), bytes: signed });
            let index_time = begin.elapsed();
            let written = tree.write_history(id, &files)?;
            tree.settle(stored.and(written))?;
            reached(Step::IndexesWritten);
            Ok(Written { snapshot, statement, index_time, collisions: collisions::remark(&collisions) })
        })
        .await
    }

    /// The transaction. When it fails, what is known of the channel is read anew: a database may have done what it
    /// could not answer for.
    async fn record(
        &self,
        channel: &Channel,
        state: &mut State,
        new: &NewHistory,
    ) -> Result<(), PublishError> {
        let error = match self.ledger.record(new).await {
            Ok(Recorded::Done) => {
                (self.reached)(Step::Recorded);
                return Ok(());
            }
            Ok(Recorded::StreamMoved) => PublishError::StreamMoved { channel: channel.name.clone() },
            Err(error) => error.into(),
        };
        *state = recovery::bring_in_line(&self.ledger, &channel.name, &channel.tree).await?;
        channel.show(state);
        Err(error)
    }

    /// Published bytes never change: a path that any history ever named keeps its bytes.
    async fn check_objects(&self, channel: &str, objects: &[Object]) -> Result<(), PublishError> {
        let paths = objects.iter().map(|object| object.pool_path.as_str());
        let published = self.ledger.published(channel, paths).await?;
        match objects
            .iter()
            .find(|object| published.get(&object.pool_path).is_some_and(|it| *it != object.sha256))
        {
            None => Ok(()),
            Some(object) => {
                Err(crate::admission::Refusal::OtherObject { path: object.pool_path.clone() }.into())
            }
        }
    }

    /// Lets readers see the newest history, if they do not yet. After this the landing is complete.
    async fn settle_pointer(&self, channel: &Channel, state: &mut State) -> Result<(), PublishError> {
        if state.is_pointed {
            return Ok(());
        }
        self.sign_pointers(channel).await?;
        self.show_pointer(channel, state).await
    }

    /// The same, where all pointers that must be are signed.
    async fn show_pointer(&self, channel: &Channel, state: &mut State) -> Result<(), PublishError> {
        let pointer = pointer_of(&self.ledger, &channel.name).await?;
        let (tree, reached) = (channel.tree.clone(), Arc::clone(&self.reached));
        blocking(move || {
            tree.move_pointer(&pointer, &*reached)?;
            Ok(tree.remove_other_pointers(&pointer)?)
        })
        .await?;
        state.is_pointed = true;
        channel.show(state);
        self.moves.send_modify(|moves| *moves.entry(channel.name.clone()).or_default() += 1);
        Ok(())
    }

    /// Waits until readers can see a history of a channel that is recorded.
    async fn readable(&self, channel: &str, history: &str) -> Result<(), PublishError> {
        let channel = self.channel(channel)?;
        let number = history.split_once('-').and_then(|(number, _)| number.parse::<u64>().ok());
        let shown = channel.shown();
        let is_shown = shown.is_pointed && shown.current.map(|current| current.number) >= number;
        if is_shown && number.is_some() {
            return Ok(());
        }
        self.settle_pointer(channel, &mut *channel.state.lock().await).await
    }

    fn tell_facts(&self) {
        let mut facts = Vec::new();
        for channel in self.channels.values() {
            let state = channel.shown();
            facts.push(ChannelFacts {
                name: channel.name.clone(),
                history: state.current.as_ref().map(|current| current.id.clone()),
                histories: state.histories,
                packages: state.snapshot.len(),
            });
        }
        self.facts.send_replace(facts);
    }

    fn admit_builder(&self, key: PublicKey) {
        self.builders.write().unwrap_or_else(PoisonError::into_inner).insert(key);
    }
}

/// The files that readers of a channel see replaced, as the ledger asks for them; the first is the pointer.
async fn pointer_of(ledger: &Ledger, channel: &str) -> Result<Vec<TreeFile>, PublishError> {
    let histories = ledger.histories(channel).await?;
    let ids: BTreeMap<u64, &String> = histories.iter().map(|history| (history.number, &history.id)).collect();
    let named = |pointers: BTreeMap<String, u64>| {
        let id = |number: u64| ids.get(&number).map(|id| (*id).clone());
        pointers.into_iter().filter_map(|(name, number)| Some((name, id(number)?))).collect()
    };
    let streams = named(ledger.streams(channel).await?);
    let tags = named(ledger.tags(channel).await?);
    let named = histories.iter().filter(|history| history.given_up_at.is_none());
    let histories = named.map(|history| (history.id.clone(), history.format.clone())).collect();
    let upgrades = ledger.format_upgrades(channel).await?;
    let moved = ledger.moved(channel).await?;
    let bytes =
        format::root_index(&Pointer { streams, tags, histories, upgrades, moved }).map_err(|source| {
            crate::tree::TreeError::Format { what: format!("the root index of {channel}"), source }
        })?;
    let compressed = zstd::bulk::compress(&bytes, ROOT_INDEX_LEVEL).map_err(|source| {
        crate::tree::TreeError::Disk { action: "compress the root index of a channel", source }
    })?;
    // A copy for web servers that send files compressed beforehand.
    let copy = TreeFile { path: format!("{ROOT_INDEX}.zst"), bytes: compressed };
    let root = [TreeFile { path: ROOT_INDEX.to_owned(), bytes }, copy];
    Ok(root.into_iter().chain(signing::signed_files(ledger, channel).await?).collect())
}

/// The files that arrive, in the order of `landing.arriving`.
fn objects(landing: &Landing, staged: impl Fn(&Package) -> Source) -> Vec<Object> {
    let arriving = landing.arriving.iter().filter_map(|key| landing.snapshot.get(key));
    let object = |package: &Package| Object {
        from: staged(package),
        pool_path: format::pool_path(&package.meta),
        sha256: package.sha256,
        size_bytes: package.size_bytes,
    };
    arriving.map(object).collect()
}

fn changes(landing: &Landing, objects: &[Object]) -> Vec<Change> {
    let change = |key: &PackageKey, object| Change {
        name: key.name.clone(),
        architecture: key.architecture.clone(),
        object,
    };
    let arriving = landing.arriving.iter().zip(objects).map(|(key, object)| {
        let pool_path = object.pool_path.clone();
        change(key, Some(PublishedObject { sha256: object.sha256, pool_path }))
    });
    arriving.chain(landing.obsolete.iter().map(|key| change(key, None))).collect()
}

/// Runs what waits for the disk where it keeps nobody else waiting.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PublishError> + Send + 'static,
) -> Result<T, PublishError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(PublishError::Interrupted { source: Box::new(error) }),
    }
}

pub(crate) fn unix_seconds() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}
