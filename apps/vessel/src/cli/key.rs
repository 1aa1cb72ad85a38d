//! `vessel key …` and `vessel signer`: who signs what is published.
//!
//! A list of keys is signed here, where the key files are, and given to the Vessel, which follows to it as a client would. So
//! neither a Vessel nor a signer process can change by itself whom clients believe.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use fault::{Fault, Kind};
use observe::write_stdout;
use repository::Identifier;
use repository::signed::{Envelope, KeyChange, KeyList, KeyState, PublicKey, Role, SignedKind, TrustedKeys};
use wire::Identity;

use super::channel::{Way, WayArguments};
use crate::operation::{KeysReport, Operation, Outcome};
use crate::operator;
use crate::publisher::unix_seconds;
use crate::signing::process::SignerProcess;
use crate::signing::{key_files, next_key_file, private_folder_of, public_key, sign_with};

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// List the keys that sign what is published, and those that clients pin.
    Show(ShowArguments),
    /// Make a new key that takes the place of the one that signs now; that one retires.
    Rotate(RotateArguments),
    /// Let another key sign as well.
    Add(AddArguments),
    /// Let a key sign nothing new. What it signed stays good.
    Retire(KeyOfList),
    /// Declare a key worthless, for instance because somebody else may have it. What it signed is worth nothing any more.
    Revoke(KeyOfList),
    /// Say how many root keys must sign a list of keys.
    Threshold(ThresholdArguments),
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    #[command(flatten)]
    way: WayArguments,
}

/// How a list is signed.
#[derive(Debug, Args)]
struct SignArguments {
    /// Sign with this key file too, besides those of the Vessel; can be given several times.
    #[arg(long = "sign-with", value_name = "FILE")]
    sign_with: Vec<PathBuf>,
    #[command(flatten)]
    way: WayArguments,
}

#[derive(Debug, Args)]
pub(super) struct RotateArguments {
    /// The key that retires; needed where several are at hand. It may begin with a dash.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    old: Option<PublicKey>,
    #[command(flatten)]
    sign: SignArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleWord {
    Root,
    Publish,
}

#[derive(Debug, Args)]
pub(super) struct AddArguments {
    /// The public key. It may begin with a dash.
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    key: PublicKey,
    /// What it may: sign lists of keys (root), or what is published (publish); can be given twice.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<RoleWord>,
    /// Days after which it signs nothing new.
    #[arg(long, value_name = "DAYS")]
    expires_days: Option<u32>,
    #[command(flatten)]
    sign: SignArguments,
}

#[derive(Debug, Args)]
pub(super) struct KeyOfList {
    /// The public key. It may begin with a dash.
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    key: PublicKey,
    #[command(flatten)]
    sign: SignArguments,
}

#[derive(Debug, Args)]
pub(super) struct ThresholdArguments {
    /// How many.
    #[arg(value_name = "COUNT")]
    count: u32,
    #[command(flatten)]
    sign: SignArguments,
}

#[derive(Debug, Args)]
pub(super) struct SignerArguments {
    /// File with the key; made when there is none.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Listen on this socket.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Keep here which versions were signed; FILE.seen.json by default.
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,
    /// Sign for this channel; for all when none is named.
    #[arg(long = "channel", value_name = "NAME")]
    channels: Vec<Identifier>,
}

/// Why keys stay as they are.
#[derive(Debug, thiserror::Error)]
enum KeyError {
    #[error("cannot rotate the key: it is not known which one; at hand are {}", listed(at_hand))]
    WhichKey { at_hand: Vec<PublicKey> },
    #[error("cannot rotate the key: another process has it")]
    NotHere,
    #[error("cannot understand the answer of Vessel")]
    Answer,
}

fn listed(keys: &[PublicKey]) -> String {
    if keys.is_empty() {
        return "none".to_owned();
    }
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Fault for KeyError {
    fn kind(&self) -> Kind {
        match self {
            KeyError::WhichKey { .. } | KeyError::Answer => Kind::Input,
            KeyError::NotHere => Kind::Conflict,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            KeyError::WhichKey { .. } => "name it with --old KEY",
            KeyError::NotHere => {
                "start a signer with a new key, `vessel key add` it with --sign-with the old key file, and `vessel key retire` the old one"
            }
            KeyError::Answer => "use a program of the same version as the Vessel",
        };
        vec![hint.to_owned()]
    }
}

impl KeyCommand {
    /// Does it, and gives the text to print.
    pub(super) async fn run(self) -> Result<String, Box<dyn Fault>> {
        let (way, outcome) = match self {
            KeyCommand::Show(it) => {
                let way = it.way.complete()?;
                let outcome = operator::operate(&way.reach, Operation::Keys).await?;
                (way, outcome)
            }
            KeyCommand::Rotate(it) => {
                let way = it.sign.way.complete()?;
                let report = keys(&way).await?;
                let file = report.key_file.clone().ok_or(KeyError::NotHere)?;
                let old = which(&report, it.old)?;
                let new = next_key_file(&file, report.list.version.saturating_add(1));
                private_folder_of(&new)?;
                let new = public_key(&Identity::load_or_create(&new)?);
                change(way, report, &KeyChange::Replace { old, new }, &it.sign.sign_with).await?
            }
            KeyCommand::Add(AddArguments { key, roles, expires_days, sign }) => {
                let role = |word: RoleWord| match word {
                    RoleWord::Root => Role::Root,
                    RoleWord::Publish => Role::Publish,
                };
                let roles: BTreeSet<Role> = roles.into_iter().map(role).collect();
                let expires =
                    expires_days.map(|days| unix_seconds().saturating_add(i64::from(days) * 86_400));
                begin(sign, &KeyChange::Add { key, roles, expires }).await?
            }
            KeyCommand::Retire(KeyOfList { key, sign }) => {
                begin(sign, &KeyChange::Become { key, state: KeyState::Retired }).await?
            }
            KeyCommand::Revoke(KeyOfList { key, sign }) => {
                begin(sign, &KeyChange::Become { key, state: KeyState::Revoked }).await?
            }
            KeyCommand::Threshold(ThresholdArguments { count, sign }) => {
                begin(sign, &KeyChange::Threshold(count)).await?
            }
        };
        Ok(if way.json { super::json(&outcome) } else { outcome.text() })
    }
}

async fn begin(sign: SignArguments, wanted: &KeyChange) -> Result<(Way, Outcome), Box<dyn Fault>> {
    let way = sign.way.complete()?;
    let report = keys(&way).await?;
    change(way, report, wanted, &sign.sign_with).await
}

async fn keys(way: &Way) -> Result<KeysReport, Box<dyn Fault>> {
    match operator::operate(&way.reach, Operation::Keys).await? {
        Outcome::Keys(report) => Ok(report),
        _ => Err(KeyError::Answer.into()),
    }
}

/// The key that retires: the named one, or the only one at hand that publishes.
fn which(report: &KeysReport, named: Option<PublicKey>) -> Result<PublicKey, KeyError> {
    let publishes: Vec<PublicKey> =
        report.list.active(Role::Publish).filter(|key| report.at_hand.contains(key)).copied().collect();
    match (named, publishes.as_slice()) {
        (Some(named), _) => Ok(named),
        (None, [only]) => Ok(*only),
        (None, _) => Err(KeyError::WhichKey { at_hand: report.at_hand.clone() }),
    }
}

/// Makes the next list, signs it with the keys that are here, and has the Vessel follow to it.
async fn change(
    way: Way,
    report: KeysReport,
    wanted: &KeyChange,
    sign_with: &[PathBuf],
) -> Result<(Way, Outcome), Box<dyn Fault>> {
    let next = report.list.changed(wanted, unix_seconds())?;
    let envelope = signed(&report, &next, sign_with)?;
    let bytes = envelope.to_json();
    // As clients judge it, before anybody hears of it.
    TrustedKeys::remembered(report.list).advance(&bytes, &seal::verify)?;
    let list = String::from_utf8(bytes).map_err(|_| KeyError::Answer)?;
    let outcome = operator::operate(&way.reach, Operation::FollowKeys { list }).await?;
    Ok((way, outcome))
}

/// The list with the signature of every root key of it or of the one before that is in a file here.
fn signed(
    report: &KeysReport,
    next: &KeyList,
    sign_with_files: &[PathBuf],
) -> Result<Envelope, Box<dyn Fault>> {
    let own = match report.key_file.as_deref().filter(|file| file.parent().is_some_and(Path::is_dir)) {
        Some(file) => key_files(file)?,
        None => Vec::new(),
    };
    let mut envelope = Envelope::new(SignedKind::Keys, next.to_payload());
    let mut used = BTreeSet::new();
    for file in own.iter().chain(sign_with_files) {
        let identity = Identity::load(file)?;
        let key = public_key(&identity);
        let is_root =
            [&report.list, next].iter().any(|list| list.active(Role::Root).any(|root| *root == key));
        if is_root && used.insert(key) {
            sign_with(&mut envelope, &identity);
        }
    }
    Ok(envelope)
}

/// Runs a signer until it is ended.
pub(super) fn run_signer(arguments: SignerArguments) -> Result<(), Box<dyn Fault>> {
    let SignerArguments { key, socket, memory, channels } = arguments;
    private_folder_of(&key)?;
    let memory = memory.unwrap_or_else(|| {
        let mut name = key.as_os_str().to_owned();
        name.push(".seen.json");
        PathBuf::from(name)
    });
    let identity = Identity::load_or_create(&key)?;
    let process = SignerProcess::open(identity, channels.into_iter().collect(), memory)?;
    process.serve(&socket, |line| {
        // Whoever no longer reads what is signed still wants it signed.
        drop(write_stdout(&format!("{line}\n")));
    })?;
    Ok(())
}
