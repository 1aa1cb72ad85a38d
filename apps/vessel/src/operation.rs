//! What operators ask of channels, and what they are told: the same on the command line, in `--json`, and over the wire.

use std::collections::BTreeMap;
use std::path::PathBuf;

use repository::signed::{KeyList, KeyState, PublicKey, Role};
use serde::{Deserialize, Serialize};

/// Something that an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Which channels there are.
    List,
    /// Where the streams and tags of a channel point.
    Show {
        /// The channel.
        channel: String,
    },
    /// The histories of a channel, the newest first.
    Histories {
        /// The channel.
        channel: String,
        /// At most so many.
        limit: u32,
    },
    /// What differs between two versions.
    Diff {
        /// The channel.
        channel: String,
        /// The older one: `stream/NAME`, `tag/NAME`, `history/ID`, or a name alone.
        from: String,
        /// The newer one.
        to: String,
    },
    /// What was published with builds beside their packages.
    Artefacts {
        /// The channel.
        channel: String,
        /// Only of this source.
        source: Option<String>,
    },
    /// Publishes files that were brought in.
    ReleaseAdd {
        /// The channel.
        channel: String,
        /// Name of the release.
        name: String,
        /// What was brought in.
        files: Vec<ReleaseFileReport>,
    },
    /// Which releases there are.
    ReleaseList {
        /// The channel.
        channel: String,
    },
    /// Takes a release away.
    ReleaseRemove {
        /// The channel.
        channel: String,
        /// Name of the release.
        name: String,
    },
    /// Lets held sets land whatever they need.
    ReleaseHeld {
        /// The channel.
        channel: String,
        /// Only those of these sources.
        sources: Vec<String>,
    },
    /// Refuses held sets for ever.
    DropHeld {
        /// The channel.
        channel: String,
        /// Only those of these sources.
        sources: Vec<String>,
    },
    /// Lets a stream follow to a version, in the same channel or in another one.
    Promote {
        /// The channel of the version.
        channel: String,
        /// The version.
        from: String,
        /// The stream that moves; made when there is none.
        to: String,
        /// The channel of the stream.
        to_channel: String,
    },
    /// Moves a stream back.
    Rollback {
        /// The channel.
        channel: String,
        /// The stream.
        stream: String,
        /// To this version; where it was before when none is named.
        to: Option<String>,
    },
    /// Gives a version a name for ever.
    Tag {
        /// The channel.
        channel: String,
        /// The name.
        name: String,
        /// The version.
        version: String,
    },
    /// Removes such a name.
    Untag {
        /// The channel.
        channel: String,
        /// The name.
        name: String,
    },
    /// Removes a stream.
    RemoveStream {
        /// The channel.
        channel: String,
        /// The stream.
        stream: String,
    },
    /// Takes packages out of the newest history.
    RemovePackage {
        /// The channel.
        channel: String,
        /// Names of packages.
        names: Vec<String>,
        /// Only for this architecture.
        architecture: Option<String>,
    },
    /// Lets a channel go to a newer format. The last history of the old one gets a name, through which clients are led.
    UpgradeFormat {
        /// The channel.
        channel: String,
        /// The format; the next one when none is named.
        to: Option<String>,
        /// The name; `last-FORMAT` when none is said.
        tag: Option<String>,
        /// Also when no client could follow.
        unchecked: bool,
    },
    /// Says under which address a channel is from now on.
    Move {
        /// The channel.
        channel: String,
        /// The address of the tree; none when it is here after all.
        to: Option<String>,
        /// The channel there, when it has another name.
        to_channel: Option<String>,
    },
    /// Which keys sign.
    Keys,
    /// Follows to the next list of keys.
    FollowKeys {
        /// The list, signed: a file as clients read it.
        list: String,
    },
    /// Gives old histories up, and removes the files of those that were given up long enough ago.
    Prune {
        /// Only in this channel.
        channel: Option<String>,
        /// Only say what would be done.
        dry_run: bool,
    },
}

/// What became of an [`Operation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
pub enum Outcome {
    /// The channels.
    List {
        /// By name.
        channels: Vec<ChannelSummary>,
    },
    /// A channel.
    Show(ChannelReport),
    /// Its histories.
    Histories {
        /// The channel.
        channel: String,
        /// The newest first.
        histories: Vec<HistoryReport>,
    },
    /// What differs.
    Diff(DiffReport),
    /// What belongs to builds.
    Artefacts {
        /// The channel.
        channel: String,
        /// In the order of their paths.
        files: Vec<ArtefactReport>,
    },
    /// A release is published.
    ReleaseAdd {
        /// The channel.
        channel: String,
        /// The release.
        release: ReleaseReport,
    },
    /// The releases.
    ReleaseList {
        /// The channel.
        channel: String,
        /// By name.
        releases: Vec<ReleaseReport>,
    },
    /// A release is gone.
    ReleaseRemove {
        /// The channel.
        channel: String,
        /// As it was.
        release: ReleaseReport,
    },
    /// What was let go.
    ReleaseHeld {
        /// The channel.
        channel: String,
        /// As it was.
        held: Vec<HeldReport>,
    },
    /// What was refused.
    DropHeld {
        /// The channel.
        channel: String,
        /// As it was.
        held: Vec<HeldReport>,
    },
    /// A stream moved, or was there already.
    Promote(Moved),
    /// A stream moved back.
    Rollback(Moved),
    /// A version has a name.
    Tag(Moved),
    /// It no longer has.
    Untag(Moved),
    /// A stream is gone.
    RemoveStream(Moved),
    /// Packages left.
    RemovePackage {
        /// The channel.
        channel: String,
        /// The history without them.
        history: String,
        /// `name (architecture)`.
        removed: Vec<String>,
        /// What to look at.
        remarks: String,
    },
    /// A channel has another format.
    UpgradeFormat(Upgraded),
    /// A channel is elsewhere.
    Move {
        /// The channel.
        channel: String,
        /// Where; none when it is here.
        to: Option<String>,
    },
    /// The keys.
    Keys(KeysReport),
    /// The keys after a change.
    FollowKeys(KeysReport),
    /// What was given up and removed.
    Prune {
        /// Whether it was only looked at.
        dry_run: bool,
        /// For each channel.
        channels: Vec<Pruned>,
    },
}

/// Which keys sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysReport {
    /// The newest list.
    pub list: KeyList,
    /// Keys with which this Vessel can sign; empty where nobody looked.
    pub at_hand: Vec<PublicKey>,
    /// Where its own keys are; none where another process has them, or nobody looked.
    pub key_file: Option<PathBuf>,
    /// Why the keys at hand are not known, if so.
    pub trouble: String,
}

/// A channel in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelSummary {
    /// Its name.
    pub channel: String,
    /// Where the stream "volatile" is.
    pub history: Option<String>,
    /// Packages in it.
    pub packages: u64,
    /// How many histories there are.
    pub histories: usize,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelReport {
    /// Its name.
    pub channel: String,
    /// Where the stream "volatile" is.
    pub history: Option<String>,
    /// Packages in it.
    pub packages: u64,
    /// Name → history.
    pub streams: BTreeMap<String, String>,
    /// Name → history.
    pub tags: BTreeMap<String, String>,
    /// The newest first.
    pub histories: Vec<HistoryReport>,
    /// Format → the version through which clients are led that read nothing newer.
    #[serde(default)]
    pub upgrade_via: BTreeMap<String, String>,
    /// Where the channel went; none while it is here.
    #[serde(default)]
    pub moved: Option<String>,
    /// What waits for what it needs to run.
    #[serde(default)]
    pub held: Vec<HeldReport>,
}

/// A set of packages that is held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldReport {
    /// The task of Summit.
    pub task: u64,
    /// The attempt at it.
    pub attempt: u64,
    /// The source.
    pub source: String,
    /// `8.4-34-1-x86_64`
    pub build: String,
    /// What it waits for.
    pub reason: String,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseReport {
    /// Its name.
    pub name: String,
    /// Unix seconds.
    pub added_at: i64,
    /// Who added it.
    pub added_by: String,
    /// By name.
    pub files: Vec<ReleaseFileReport>,
}

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseFileReport {
    /// File name.
    pub name: String,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// SHA-256 of it, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// A file that belongs to a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtefactReport {
    /// The source.
    pub source: String,
    /// `8.4-34-1-x86_64`
    pub build: String,
    /// Below the channel.
    pub path: String,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// SHA-256 of it, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// A history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// Its id.
    pub id: String,
    /// The history that it was made from.
    pub previous: Option<String>,
    /// Packages in it.
    pub packages: u64,
    /// Unix seconds.
    pub recorded_at: i64,
    /// Why it came about.
    pub cause: String,
    /// Unix seconds; none while the root index names it.
    pub given_up_at: Option<i64>,
    /// Its format.
    #[serde(default)]
    pub format: String,
}

/// What differs between two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffReport {
    /// The channel.
    pub channel: String,
    /// The history of the first version.
    pub from: String,
    /// The history of the second.
    pub to: String,
    /// Packages that only the second has.
    pub added: Vec<PackageVersion>,
    /// Packages that only the first has.
    pub removed: Vec<PackageVersion>,
    /// Packages that both have, with other bytes.
    pub changed: Vec<PackageChange>,
}

/// A package as a history has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageVersion {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Version, release and build release: `8.4-34-1`.
    pub version: String,
}

/// A package that is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Version, release and build release before.
    pub from: String,
    /// And after.
    pub to: String,
}

/// Where a stream or a tag went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The channel.
    pub channel: String,
    /// Name of the stream or the tag.
    pub name: String,
    /// The history before; none when it came into being.
    pub from: Option<String>,
    /// The history now; none when it is gone.
    pub to: Option<String>,
    /// Whether readers see something else than before.
    pub changed: bool,
}

/// From one format to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// The channel.
    pub channel: String,
    /// The format before.
    pub from: String,
    /// The format now.
    pub to: String,
    /// The name of the last history of the format before.
    pub tag: String,
    /// That history.
    pub last: String,
    /// The first history of the format now.
    pub history: String,
}

/// What was given up and removed in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// The channel.
    pub channel: String,
    /// Histories that the root index no longer names.
    pub given_up: Vec<String>,
    /// Histories that it names again.
    pub taken_back: Vec<String>,
    /// Histories whose files are gone.
    pub removed: Vec<String>,
    /// Histories that were given up and wait, and from when on they may go, in Unix seconds.
    pub waiting: BTreeMap<String, i64>,
    /// Files of packages that are gone.
    pub packages: u64,
    /// Their bytes.
    pub size_bytes: u64,
}

impl Outcome {
    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Outcome::List { channels } if channels.is_empty() => "nothing has been published yet\n".into(),
            Outcome::List { channels } => channels.iter().map(summary_line).collect(),
            Outcome::Show(report) => report.text(),
            Outcome::Histories { histories, .. } => histories.iter().map(HistoryReport::line).collect(),
            Outcome::Diff(report) => report.text(),
            Outcome::Artefacts { files, .. } if files.is_empty() => "there is nothing of that\n".into(),
            Outcome::Artefacts { files, .. } => files.iter().map(ArtefactReport::line).collect(),
            Outcome::ReleaseAdd { channel, release } => {
                format!("published below {channel}/release/{}\n{}", release.name, release.text())
            }
            Outcome::ReleaseList { releases, .. } if releases.is_empty() => "there is no release\n".into(),
            Outcome::ReleaseList { releases, .. } => releases.iter().map(ReleaseReport::text).collect(),
            Outcome::ReleaseRemove { channel, release } => {
                format!("channel {channel}: release {} is gone\n", release.name)
            }
            Outcome::ReleaseHeld { held, .. } => held_text("released", held),
            Outcome::DropHeld { held, .. } => held_text("dropped", held),
            Outcome::Promote(moved) | Outcome::Rollback(moved) => moved.text("stream"),
            Outcome::RemoveStream(moved) => moved.text("stream"),
            Outcome::Tag(moved) | Outcome::Untag(moved) => moved.text("tag"),
            Outcome::RemovePackage { channel, history, removed, remarks } => {
                let remarks = if remarks.is_empty() { String::new() } else { format!("{remarks}\n") };
                format!("channel {channel}: history {history} is without {}\n{remarks}", removed.join(", "))
            }
            Outcome::UpgradeFormat(it) => format!(
                "channel {}: format {} → {} with history {}; older clients are led through tag/{}, history {}\n",
                it.channel, it.from, it.to, it.history, it.tag, it.last
            ),
            Outcome::Move { channel, to: Some(to) } => {
                format!("channel {channel}: clients are sent to {to}\n")
            }
            Outcome::Move { channel, to: None } => format!("channel {channel}: clients stay here\n"),
            Outcome::Keys(report) | Outcome::FollowKeys(report) => report.text(),
            Outcome::Prune { dry_run, channels } => {
                channels.iter().map(|pruned| pruned.text(*dry_run)).collect()
            }
        }
    }
}

fn held_text(what: &str, held: &[HeldReport]) -> String {
    if held.is_empty() {
        return "nothing is held back\n".into();
    }
    held.iter().map(|it| format!("{what} {}", it.line())).collect()
}

impl ReleaseReport {
    fn text(&self) -> String {
        let line = |file: &ReleaseFileReport| {
            format!("{}/{}  {} {} bytes\n", self.name, file.name, file.sha256, file.size_bytes)
        };
        self.files.iter().map(line).collect()
    }
}

impl HeldReport {
    fn line(&self) -> String {
        let Self { task, attempt, source, build, reason } = self;
        format!("{source} {build} (task {task}, attempt {attempt}): {reason}\n")
    }
}

impl ArtefactReport {
    fn line(&self) -> String {
        format!("{}  {} {} bytes\n", self.path, self.sha256, self.size_bytes)
    }
}

fn summary_line(it: &ChannelSummary) -> String {
    let history = it.history.as_deref().unwrap_or("none");
    format!("{}  history {history}, {} packages, {} histories\n", it.channel, it.packages, it.histories)
}

impl KeysReport {
    fn text(&self) -> String {
        let KeyList { version, threshold, keys, .. } = &self.list;
        let mut text = format!(
            "version {version} of the list of keys; {threshold} of its root keys must sign the next\n"
        );
        for listed in keys {
            let state = match listed.state {
                KeyState::Active => "active",
                KeyState::Retired => "retired",
                KeyState::Revoked => "revoked",
            };
            let role = |role: &Role| match role {
                Role::Root => "root",
                Role::Publish => "publish",
            };
            let roles: Vec<&str> = listed.roles.iter().map(role).collect();
            let at_hand = if self.at_hand.contains(&listed.key) { "  at hand" } else { "" };
            text.push_str(&format!("{}  {state}  {}{at_hand}\n", listed.key, roles.join(", ")));
        }
        let pins: Vec<String> = self.list.active(Role::Root).map(ToString::to_string).collect();
        text.push_str(&format!("clients pin {}\n", pins.join(" or ")));
        if !self.trouble.is_empty() {
            text.push_str(&format!("the keys at hand are not known: {}\n", self.trouble));
        }
        text
    }
}

impl ChannelReport {
    fn text(&self) -> String {
        let mut text = format!("channel {}\n", self.channel);
        for (what, names) in [("stream", &self.streams), ("tag", &self.tags)] {
            for (name, history) in names {
                text.push_str(&format!("{what} {name} → {history}\n"));
            }
        }
        for (format, version) in &self.upgrade_via {
            text.push_str(&format!("format {format} → through {version}\n"));
        }
        if let Some(moved) = &self.moved {
            text.push_str(&format!("clients are sent to {moved}\n"));
        }
        self.held.iter().for_each(|held| text.push_str(&format!("held back {}", held.line())));
        self.histories.iter().for_each(|history| text.push_str(&history.line()));
        text
    }
}

impl HistoryReport {
    fn line(&self) -> String {
        let cause = if self.cause.is_empty() { String::new() } else { format!("  {}", self.cause) };
        let given_up = if self.given_up_at.is_some() { "  given up" } else { "" };
        let format = if self.format == "v0" { String::new() } else { format!("  format {}", self.format) };
        format!("history {}  {} packages{cause}{format}{given_up}\n", self.id, self.packages)
    }
}

impl DiffReport {
    fn text(&self) -> String {
        let mut text = format!("channel {}: {} → {}\n", self.channel, self.from, self.to);
        for (sign, packages) in [("+", &self.added), ("-", &self.removed)] {
            for it in packages {
                text.push_str(&format!("{sign} {} {} ({})\n", it.name, it.version, it.architecture));
            }
        }
        for it in &self.changed {
            text.push_str(&format!("~ {} {} → {} ({})\n", it.name, it.from, it.to, it.architecture));
        }
        if self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() {
            text.push_str("the same packages\n");
        }
        text
    }
}

impl Moved {
    fn text(&self, what: &str) -> String {
        let Moved { channel, name, from, to, changed } = self;
        let from = from.as_deref().unwrap_or("nothing");
        match to {
            Some(to) if *changed => format!("channel {channel}: {what} {name} {from} → {to}\n"),
            Some(to) => format!("nothing changed: {what} {name} of channel {channel} is {to} already\n"),
            None => format!("channel {channel}: {what} {name} is gone; it was {from}\n"),
        }
    }
}

impl Pruned {
    fn text(&self, dry_run: bool) -> String {
        let words = if dry_run {
            ("would be given up", "would be taken back", "would be removed")
        } else {
            ("given up", "taken back", "removed")
        };
        let mut text = format!("channel {}\n", self.channel);
        for (word, ids) in [(words.0, &self.given_up), (words.1, &self.taken_back), (words.2, &self.removed)]
        {
            if !ids.is_empty() {
                text.push_str(&format!("histories {word}: {}\n", ids.join(", ")));
            }
        }
        if self.packages > 0 {
            text.push_str(&format!("{} packages {}, {} bytes\n", self.packages, words.2, self.size_bytes));
        }
        if !self.waiting.is_empty() {
            text.push_str(&format!(
                "{} given up before wait for the end of the grace time\n",
                self.waiting.len()
            ));
        }
        if text.lines().count() == 1 {
            text.push_str("nothing to do\n");
        }
        text
    }
}
