//! `vessel channel …`: arguments into operations.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fault::Fault;
use wire::PublicKey;

use crate::operation::Operation;
use crate::operator::{Manner, Reach};
use crate::settings::{Written, check_channel};

#[derive(Debug, Subcommand)]
pub(super) enum ChannelCommand {
    /// List channels.
    List(ListArguments),
    /// Show the streams, tags and histories of a channel.
    Show(ShowArguments),
    /// List the histories of a channel, the newest first.
    Histories(HistoriesArguments),
    /// Say which packages differ between two versions.
    Diff(DiffArguments),
    /// Let a stream follow to a version, in this channel or in another one; makes the stream where there is none.
    Promote(PromoteArguments),
    /// Move a stream back to where it was, or to a version.
    Rollback(RollbackArguments),
    /// Give a version a name that never moves.
    Tag(TagArguments),
    /// Remove such a name.
    Untag(UntagArguments),
    /// Remove a stream.
    RemoveStream(RemoveStreamArguments),
    /// Take packages out: the next history is without them.
    #[command(visible_alias = "remove")]
    RemovePackage(RemovePackageArguments),
    /// Go to a newer format of the repository. Clients that do not know it are led to one that does, through the last history of
    /// the older format.
    UpgradeFormat(UpgradeFormatArguments),
    /// Send clients to another address. What is published here stays and goes on.
    Move(MoveArguments),
    /// Let packages land that are held back because they need what is not there.
    ReleaseHeld(HeldArguments),
    /// Refuse packages for ever that are held back; their tasks fail.
    DropHeld(HeldArguments),
    /// Give up histories that are old and that nothing points to, and remove the files of those given up before the grace time.
    Prune(PruneArguments),
}

/// Which Vessel is meant, and how its answer is printed.
#[derive(Debug, Args)]
pub(super) struct WayArguments {
    /// The data folder; whether a Vessel runs on it or not.
    #[arg(long, value_name = "DIR", required_unless_present = "vessel")]
    data: Option<PathBuf>,
    /// Address of a running Vessel, instead of its folder.
    #[arg(
        long,
        value_name = "ADDR",
        conflicts_with = "data",
        requires = "vessel_key",
        requires = "identity"
    )]
    vessel: Option<String>,
    /// Public key of that Vessel; `vessel key` prints it. It may begin with a dash.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true, requires = "vessel")]
    vessel_key: Option<PublicKey>,
    /// Private key of an operator, whose public key is among `operators` of that Vessel.
    #[arg(long, value_name = "FILE", requires = "vessel")]
    identity: Option<PathBuf>,
    /// Settings of the Vessel, such as for how long histories stay; a running one has its own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL", default_value = "main")]
    channel: String,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct HistoriesArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL", default_value = "main")]
    channel: String,
    /// At most so many.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The older version: stream/NAME, tag/NAME, history/ID, or a name alone.
    #[arg(value_name = "FROM")]
    from: String,
    /// The newer version.
    #[arg(value_name = "TO")]
    to: String,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct PromoteArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The version: stream/NAME, tag/NAME, history/ID, or a name alone.
    #[arg(value_name = "VERSION")]
    from: String,
    /// The stream that moves to it.
    #[arg(value_name = "STREAM")]
    to: String,
    /// The channel of the stream, when it is another one.
    #[arg(long, value_name = "CHANNEL")]
    to_channel: Option<String>,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The stream that moves.
    #[arg(value_name = "STREAM")]
    stream: String,
    /// To this version instead of the one before.
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct TagArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The name.
    #[arg(value_name = "NAME")]
    name: String,
    /// The version.
    #[arg(value_name = "VERSION", default_value = "stream/volatile")]
    version: String,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct UntagArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The name.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct RemoveStreamArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The stream.
    #[arg(value_name = "STREAM")]
    stream: String,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct RemovePackageArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// Packages.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Only those of this architecture.
    #[arg(long, value_name = "ARCH")]
    architecture: Option<String>,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct UpgradeFormatArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The format; the next one when none is named.
    #[arg(long, value_name = "FORMAT")]
    to: Option<String>,
    /// The name that the last history of the older format gets; last-FORMAT when none is said.
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// Also when the channel has no package moss, or Moss of this version does not read the format.
    #[arg(long)]
    unchecked: bool,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct HeldArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// Only these sources; all when none is named.
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["to", "here"])))]
pub(super) struct MoveArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// Address of the published tree there, above its channels.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// The channel there, when it has another name.
    #[arg(long, value_name = "CHANNEL", requires = "to")]
    to_channel: Option<String>,
    /// It is here after all.
    #[arg(long)]
    here: bool,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct ArtefactsArguments {
    /// The channel.
    #[arg(value_name = "CHANNEL", default_value = "main")]
    channel: String,
    /// Only of this source.
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
    #[command(flatten)]
    way: WayArguments,
}

impl ArtefactsArguments {
    /// What is asked, and of whom.
    pub(super) fn into_parts(self) -> Result<(Operation, Way), Box<dyn Fault>> {
        let way = self.way.complete()?;
        Ok((Operation::Artefacts { channel: self.channel, source: self.source }, way))
    }
}

#[derive(Debug, Args)]
pub(super) struct PruneArguments {
    /// The channel; all when none is named.
    #[arg(value_name = "CHANNEL")]
    channel: Option<String>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    way: WayArguments,
}

/// The way to a Vessel, and how its answer is printed.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) reach: Reach,
    pub(super) json: bool,
}

impl WayArguments {
    pub(super) fn complete(self) -> Result<Way, Box<dyn Fault>> {
        let written = self.config.as_deref().map(Written::read).transpose()?.unwrap_or_default();
        let (retention, delivery) = written.keeping()?;
        let stone_index = written.stone_index.map(Into::into).unwrap_or_default();
        let signing = written.signing.unwrap_or_default().complete()?;
        let manner = Manner { retention, delivery, signing, stone_index };
        let reach = match (self.data, self.vessel, self.vessel_key, self.identity) {
            (None, Some(address), Some(key), Some(identity)) => Reach::Address { address, key, identity },
            // The parser asks for all three, or for the folder.
            (data, ..) => Reach::Folder { data: data.unwrap_or_default(), manner },
        };
        Ok(Way { reach, json: self.json })
    }
}

impl ChannelCommand {
    /// What is asked, and of whom.
    pub(super) fn into_parts(self) -> Result<(Operation, Way), Box<dyn Fault>> {
        let (operation, way) = match self {
            ChannelCommand::List(it) => (Operation::List, it.way),
            ChannelCommand::Show(it) => (Operation::Show { channel: it.channel }, it.way),
            ChannelCommand::Histories(it) => {
                (Operation::Histories { channel: it.channel, limit: it.limit }, it.way)
            }
            ChannelCommand::Diff(it) => {
                (Operation::Diff { channel: it.channel, from: it.from, to: it.to }, it.way)
            }
            ChannelCommand::Promote(PromoteArguments { channel, from, to, to_channel, way }) => {
                let to_channel = to_channel.unwrap_or_else(|| channel.clone());
                check_channel(&to_channel)?;
                (Operation::Promote { channel, from, to, to_channel }, way)
            }
            ChannelCommand::Rollback(it) => {
                (Operation::Rollback { channel: it.channel, stream: it.stream, to: it.to }, it.way)
            }
            ChannelCommand::Tag(it) => {
                (Operation::Tag { channel: it.channel, name: it.name, version: it.version }, it.way)
            }
            ChannelCommand::Untag(it) => (Operation::Untag { channel: it.channel, name: it.name }, it.way),
            ChannelCommand::RemoveStream(it) => {
                (Operation::RemoveStream { channel: it.channel, stream: it.stream }, it.way)
            }
            ChannelCommand::RemovePackage(RemovePackageArguments { channel, names, architecture, way }) => {
                (Operation::RemovePackage { channel, names, architecture }, way)
            }
            ChannelCommand::UpgradeFormat(UpgradeFormatArguments { channel, to, tag, unchecked, way }) => {
                (Operation::UpgradeFormat { channel, to, tag, unchecked }, way)
            }
            ChannelCommand::Move(it) => {
                (Operation::Move { channel: it.channel, to: it.to, to_channel: it.to_channel }, it.way)
            }
            ChannelCommand::ReleaseHeld(it) => {
                (Operation::ReleaseHeld { channel: it.channel, sources: it.sources }, it.way)
            }
            ChannelCommand::DropHeld(it) => {
                (Operation::DropHeld { channel: it.channel, sources: it.sources }, it.way)
            }
            ChannelCommand::Prune(it) => {
                (Operation::Prune { channel: it.channel, dry_run: it.dry_run }, it.way)
            }
        };
        Ok((operation, way.complete()?))
    }
}
