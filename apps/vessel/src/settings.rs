//! What a running Vessel is told: by a file, by the command line, which wins, and by defaults.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fault::{Fault, Kind};
use repository::retention::Retention;
use repository::{Identifier, IdentifierError};
use serde::Deserialize;
use wire::PublicKey;

use crate::delivery::{Delivery, GraceTooShort, WrittenDelivery};
use crate::gathering::Closure;
use crate::place::Place;
use crate::purge::Purge;
use crate::signing::{KeyPlace, Signing};
use crate::tree::StoneIndex;

/// Bytes of a configuration file; a complete one has about 500.
const FILE_SIZE_BYTES_MAX: u64 = 1 << 20;

/// Seconds of a day.
const DAY_SECONDS: u32 = 86_400;
/// Days for which a pointer may be worth something: a signer process signs for a month at most, and a Vessel must have time to
/// sign anew.
const EXPIRY_DAYS: RangeInclusive<u32> = 1..=30;

/// Hours between two prunings where `[retention]` is said and this is not: histories stay for days, so once a day is often enough.
const PRUNE_HOURS: u32 = 24;

/// The channel that there is when none is named; the one that AerynOS clients ask for.
const DEFAULT_CHANNEL: &str = "main";

/// Settings as written, each may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// The data folder.
    pub data: Option<PathBuf>,
    /// Where builders and Summit connect to.
    pub grpc: Option<SocketAddr>,
    /// Where the published tree is served.
    pub http: Option<SocketAddr>,
    /// The key of Summit.
    pub hub_key: Option<PublicKey>,
    /// The keys of several Summits that share a database, each with a key of its own.
    #[serde(default)]
    pub hub_keys: Vec<PublicKey>,
    /// The address under which clients reach the published tree.
    pub public_url: Option<String>,
    /// Channels to keep.
    #[serde(default)]
    pub channels: Vec<String>,
    /// Keys of operators, who may do over the network what `vessel channel` does.
    #[serde(default)]
    pub operators: Vec<PublicKey>,
    /// Where the published tree is: a folder, or a bucket.
    pub store: Option<Place>,
    /// How long old histories stay.
    pub retention: Option<WrittenRetention>,
    /// How long caches keep pointers.
    pub delivery: Option<WrittenDelivery>,
    /// Caches that are told when a pointer moves.
    #[serde(default)]
    pub purge: Vec<Purge>,
    /// Who signs what is published.
    pub signing: Option<WrittenSigning>,
    /// What happens where a channel has more packages than a `stone.index` can hold.
    pub stone_index: Option<WrittenStoneIndex>,
    /// What becomes of sets whose needs nobody meets: `POLICY` for all channels, or `CHANNEL=POLICY`.
    #[serde(default)]
    pub closure: Vec<String>,
}

/// Who signs, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenSigning {
    /// A file with the key.
    pub key_file: Option<PathBuf>,
    /// The socket of a signer process.
    pub socket: Option<PathBuf>,
    /// Days for which a pointer is worth something.
    pub expiry_days: Option<u32>,
}

impl WrittenSigning {
    /// With defaults where nothing is said.
    ///
    /// # Errors
    /// When both a file and a socket are named, and when pointers would expire at once or never.
    pub fn complete(self) -> Result<Signing, SettingsError> {
        let default = Signing::default();
        let keys = match (self.key_file, self.socket) {
            (None, None) => default.keys,
            (Some(file), None) => KeyPlace::File(file),
            (None, Some(socket)) => KeyPlace::Socket(socket),
            (Some(_), Some(_)) => return Err(SettingsError::TwoSigners),
        };
        let expiry_days = self.expiry_days.unwrap_or(default.expiry_days);
        if !EXPIRY_DAYS.contains(&expiry_days) {
            return Err(SettingsError::Expiry { days: expiry_days });
        }
        Ok(Signing { keys, expiry_days })
    }
}

/// What happens where a channel has more packages than a `stone.index` can hold, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WrittenStoneIndex {
    /// Nothing is published.
    Always,
    /// It is published without one.
    WhileItFits,
}

impl From<WrittenStoneIndex> for StoneIndex {
    fn from(written: WrittenStoneIndex) -> Self {
        match written {
            WrittenStoneIndex::Always => StoneIndex::Always,
            WrittenStoneIndex::WhileItFits => StoneIndex::WhileItFits,
        }
    }
}

/// How long old histories stay, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRetention {
    /// Days for which every history stays.
    pub keep_days: Option<u32>,
    /// How many of the newest stay, however old they are.
    pub keep_newest: Option<u32>,
    /// Days between giving a history up and removing its files.
    pub grace_days: Option<u32>,
    /// The same in seconds, instead of days.
    pub grace_seconds: Option<u32>,
    /// Hours between two prunings by itself; 0 for never.
    pub prune_hours: Option<u32>,
}

impl WrittenRetention {
    /// How often is pruned without a word from anybody; none for never.
    #[must_use]
    pub fn prune_pause(&self) -> Option<Duration> {
        let hours = self.prune_hours.unwrap_or(PRUNE_HOURS);
        (hours > 0).then(|| Duration::from_secs(u64::from(hours) * 3_600))
    }

    /// With defaults where nothing is said.
    #[must_use]
    pub fn complete(&self) -> Retention {
        let default = Retention::default();
        Retention {
            keep_days: self.keep_days.unwrap_or(default.keep_days),
            keep_newest: self.keep_newest.unwrap_or(default.keep_newest),
            grace_seconds: self
                .grace_seconds
                .or(self.grace_days.map(|days| days.saturating_mul(DAY_SECONDS)))
                .unwrap_or(default.grace_seconds),
        }
    }
}

/// Settings, complete and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The data folder.
    pub data: PathBuf,
    /// Where builders and Summit connect to.
    pub grpc: SocketAddr,
    /// Where the published tree is served.
    pub http: SocketAddr,
    /// The keys of the Summits that may order. One that is not among them at the next start orders nothing any more.
    pub hub_keys: Vec<PublicKey>,
    /// The address under which clients reach the published tree, without a slash at its end; by default the address
    /// of the HTTP server.
    pub public_url: Option<String>,
    /// Channels to keep.
    pub channels: Vec<String>,
    /// Keys of operators beside the hub.
    pub operators: Vec<PublicKey>,
    /// Where the published tree is, if it is said; otherwise it is where it was last.
    pub store: Option<Place>,
    /// How long old histories stay.
    pub retention: Retention,
    /// How often is pruned without a word from anybody. None for never, which is so where no `[retention]` is written.
    pub prune_pause: Option<Duration>,
    /// How long caches keep pointers.
    pub delivery: Delivery,
    /// Caches that are told when a pointer moves.
    pub purge: Vec<Purge>,
    /// Who signs what is published.
    pub signing: Signing,
    /// What happens where a channel has more packages than a `stone.index` can hold.
    pub stone_index: StoneIndex,
    /// What becomes of sets whose needs nobody meets.
    pub closure: Closure,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read settings {path:?}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that is no setting; the source shows the line.
    #[error("cannot use settings {path:?}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: Box<toml::de::Error>,
    },
    /// A setting without which nothing starts.
    #[error("cannot start without {what}")]
    Missing {
        /// "the data folder" …
        what: &'static str,
        /// How to say it.
        flag: &'static str,
        /// Its name in a file.
        key: &'static str,
    },
    /// A key file and a signer.
    #[error("cannot sign with both a key file and a signer process")]
    TwoSigners,
    /// Pointers that expire at once, or as good as never.
    #[error("cannot sign pointers for {days} days: it must be {} to {}", EXPIRY_DAYS.start(), EXPIRY_DAYS.end())]
    Expiry {
        /// As it was said.
        days: u32,
    },
    /// A channel with a name that clients cannot ask for.
    #[error("cannot use channel {name:?}")]
    Channel {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: IdentifierError,
    },
    /// A policy that is none.
    #[error("cannot use {text:?} as a policy for what is needed and not there")]
    Closure {
        /// As it was given.
        text: String,
    },
    /// A public address that is none.
    #[error(
        "cannot use {url:?} as the public address: it must begin with http:// or https:// and have neither blanks nor quotes"
    )]
    Url {
        /// As it was given.
        url: String,
    },
    /// An address of a cache that is none.
    #[error(
        "cannot use {url:?} as the address of a cache: it must begin with http:// or https:// and have neither blanks nor quotes"
    )]
    Purge {
        /// As it was given.
        url: String,
    },
    /// A grace that is written twice.
    #[error("cannot use both grace_days and grace_seconds")]
    TwoGraces,
    /// What is removed may still be asked for.
    #[error(transparent)]
    Grace(#[from] GraceTooShort),
}

impl Fault for SettingsError {
    fn kind(&self) -> Kind {
        match self {
            SettingsError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            SettingsError::Read { .. } => Kind::Unavailable,
            _ => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            SettingsError::Missing { flag, key, .. } => {
                vec![format!("say {flag}, or `{key} = …` in the file of --config")]
            }
            SettingsError::Parse { .. } => {
                vec!["known are: data, grpc, http, hub_key, hub_keys, public_url, channels, operators, closure, stone_index, store (a folder, or [store] with endpoint, bucket, region, prefix, credentials_file, ca_file), [signing] with key_file, socket, expiry_days, [retention] with keep_days, keep_newest, prune_hours, grace_days or grace_seconds, [delivery] with pointer_seconds, stale_seconds, stale_if_error_seconds, cache_seconds, download_seconds, and [[purge]] with url, token_file, style (fastly, cloudflare, varnish-ban, plain)".into()]
            }
            SettingsError::Channel { source, .. } => source.hints(),
            SettingsError::TwoSigners => vec!["keep either key_file or socket in [signing]".into()],
            SettingsError::Expiry { .. } => vec!["14 days are usual".into()],
            SettingsError::Closure { .. } => {
                vec![
                    "say auto, hold, warn or allow for all channels, or CHANNEL=hold and so on for one"
                        .into(),
                ]
            }
            SettingsError::Url { .. } => vec!["for example https://packages.example.org".into()],
            SettingsError::Purge { .. } => {
                vec!["for example https://api.fastly.com/service/ID/purge, or http://127.0.0.1:6081/".into()]
            }
            SettingsError::TwoGraces => vec!["say one of them".into()],
            SettingsError::Grace(error) => error.hints(),
            SettingsError::Read { .. } => Vec::new(),
        }
    }
}

impl Written {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, or says something that is no setting.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let failed = |source| SettingsError::Read { path: path.to_path_buf(), source };
        let mut text = String::new();
        let file = fs_err::File::open(path).map_err(failed)?;
        std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_SIZE_BYTES_MAX), &mut text)
            .map_err(failed)?;
        toml::from_str(&text)
            .map_err(|source| SettingsError::Parse { path: path.to_path_buf(), source: Box::new(source) })
    }

    /// What `self` says, and where it says nothing, what `other` says.
    #[must_use]
    pub fn or(self, other: Written) -> Written {
        Written {
            data: self.data.or(other.data),
            grpc: self.grpc.or(other.grpc),
            http: self.http.or(other.http),
            // Together they say who may order: what the command line says replaces all that the file does.
            hub_key: if self.hub_keys.is_empty() { self.hub_key.or(other.hub_key) } else { self.hub_key },
            hub_keys: if self.hub_key.is_none() && self.hub_keys.is_empty() {
                other.hub_keys
            } else {
                self.hub_keys
            },
            public_url: self.public_url.or(other.public_url),
            channels: if self.channels.is_empty() { other.channels } else { self.channels },
            operators: if self.operators.is_empty() { other.operators } else { self.operators },
            store: self.store.or(other.store),
            retention: self.retention.or(other.retention),
            delivery: self.delivery.or(other.delivery),
            purge: if self.purge.is_empty() { other.purge } else { self.purge },
            signing: self.signing.or(other.signing),
            stone_index: self.stone_index.or(other.stone_index),
            closure: if self.closure.is_empty() { other.closure } else { self.closure },
        }
    }

    /// The complete settings.
    ///
    /// # Errors
    /// When something is missing or cannot be used.
    pub fn complete(self) -> Result<Settings, SettingsError> {
        let (retention, delivery) = self.keeping()?;
        let prune_pause = self.retention.as_ref().and_then(WrittenRetention::prune_pause);
        let missing = |what, flag, key| SettingsError::Missing { what, flag, key };
        let channels =
            if self.channels.is_empty() { vec![DEFAULT_CHANNEL.to_owned()] } else { self.channels };
        channels.iter().try_for_each(|name| check_channel(name))?;
        let data = self.data.ok_or_else(|| missing("the data folder", "--data DIR", "data"))?;
        let grpc = self.grpc.ok_or_else(|| missing("an address for builders", "--grpc ADDR", "grpc"))?;
        let http = self.http.ok_or_else(|| missing("an address for clients", "--http ADDR", "http"))?;
        let hub_keys: Vec<PublicKey> = self.hub_key.into_iter().chain(self.hub_keys).collect();
        if hub_keys.is_empty() {
            return Err(missing("the key of Summit", "--hub-key KEY", "hub_key"));
        }
        let mut closure = Closure::default();
        if let Some(text) = self.closure.into_iter().find(|text| !closure.take(text)) {
            return Err(SettingsError::Closure { text });
        }
        Ok(Settings {
            data,
            grpc,
            http,
            hub_keys,
            public_url: self.public_url.map(checked_url).transpose()?,
            channels,
            operators: self.operators,
            store: self.store,
            retention,
            prune_pause,
            delivery,
            purge: self.purge.into_iter().map(checked_purge).collect::<Result<_, _>>()?,
            signing: self.signing.unwrap_or_default().complete()?,
            stone_index: self.stone_index.map(StoneIndex::from).unwrap_or_default(),
            closure,
        })
    }

    /// How long old histories stay and caches keep pointers; the first goes by the second.
    ///
    /// # Errors
    /// When files would be removed that a reader may still ask for.
    pub fn keeping(&self) -> Result<(Retention, Delivery), SettingsError> {
        let written = self.retention.clone().unwrap_or_default();
        if written.grace_days.is_some() && written.grace_seconds.is_some() {
            return Err(SettingsError::TwoGraces);
        }
        let (retention, delivery) =
            (written.complete(), self.delivery.clone().unwrap_or_default().complete());
        delivery.check(&retention)?;
        Ok((retention, delivery))
    }
}

/// Whether clients can ask for a channel of this name.
///
/// # Errors
/// When they cannot.
pub fn check_channel(name: &str) -> Result<(), SettingsError> {
    match name.parse::<Identifier>() {
        Ok(_) => Ok(()),
        Err(source) => Err(SettingsError::Channel { name: name.to_owned(), source }),
    }
}

fn checked_url(url: String) -> Result<String, SettingsError> {
    if is_url(&url) { Ok(url.trim_end_matches('/').to_owned()) } else { Err(SettingsError::Url { url }) }
}

fn checked_purge(purge: Purge) -> Result<Purge, SettingsError> {
    if is_url(&purge.url) { Ok(purge) } else { Err(SettingsError::Purge { url: purge.url }) }
}

fn is_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|text| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'<>\\".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

    fn file(text: &str) -> Result<Written, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vessel.toml");
        fs_err::write(&path, text).unwrap();
        Written::read(&path)
    }

    #[test]
    fn a_complete_file() {
        let text = format!(
            "data = \"/srv/vessel\"\ngrpc = \"127.0.0.1:1\"\nhttp = \"[::1]:2\"\nhub_key = \"{KEY}\"\n\
             public_url = \"https://example.org/\"\nchannels = [\"main\", \"try-1\"]\n"
        );
        let settings = file(&text).unwrap().complete().unwrap();
        assert_eq!(settings.public_url.as_deref(), Some("https://example.org"));
        assert_eq!(settings.channels, ["main", "try-1"]);
        assert_eq!(settings.hub_keys.iter().map(ToString::to_string).collect::<Vec<_>>(), [KEY]);
    }

    #[test]
    fn the_command_line_wins_and_main_is_the_channel() {
        let written = file(&format!(
            "data = \"/a\"\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\nhub_key = \"{KEY}\""
        ))
        .unwrap();
        let command_line = Written { data: Some("/b".into()), ..Written::default() };
        let settings = command_line.or(written).complete().unwrap();
        assert_eq!((settings.data, settings.channels), (PathBuf::from("/b"), vec!["main".to_owned()]));
    }

    #[test]
    fn several_summits_may_order_and_the_command_line_says_it_all() {
        const OTHER: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";
        let text = format!(
            "data = \"/a\"\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\nhub_keys = [\"{KEY}\", \"{OTHER}\"]"
        );
        let keys = |written: Written| {
            let keys = written.complete().unwrap().hub_keys;
            keys.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(keys(file(&text).unwrap()), [KEY, OTHER]);
        let said = Written { hub_keys: vec![OTHER.parse().unwrap()], ..Written::default() };
        assert_eq!(keys(said.or(file(&text).unwrap())), [OTHER]);
    }

    #[test]
    fn caches_are_told_and_grace_is_longer_than_they_keep_anything() {
        let text = "[delivery]\npointer_seconds = 5\n[retention]\ngrace_days = 3\n[[purge]]\nurl = \"http://127.0.0.1:6081/\"\nstyle = \"varnish-ban\"\n";
        let written = file(text).unwrap();
        let (retention, delivery) = written.keeping().unwrap();
        assert_eq!((retention.grace_seconds, delivery.pointer_seconds), (3 * DAY_SECONDS, 5));
        assert_eq!(written.purge[0].style, crate::purge::PurgeStyle::VarnishBan);
        for (text, expect) in [
            ("[retention]\ngrace_days = 0", "cannot remove what was given up after 0 s"),
            ("[retention]\ngrace_days = 1", "86460 s old"),
            ("[retention]\ngrace_days = 2\ngrace_seconds = 5", "both grace_days and grace_seconds"),
            ("[delivery]\ncache_seconds = 604800", "604800 s old"),
        ] {
            let error = file(text).unwrap().keeping().unwrap_err();
            assert!(error.to_string().contains(expect) && !error.hints().is_empty(), "{error}");
        }
    }

    #[test]
    fn nothing_is_pruned_that_nobody_has_said_anything_about() {
        let needed =
            format!("data = \"/a\"\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\nhub_key = \"{KEY}\"\n");
        let check = |text: &str, expect: Option<u64>| {
            let settings = file(&format!("{needed}{text}")).unwrap().complete().unwrap();
            assert_eq!(settings.prune_pause.map(|pause| pause.as_secs()), expect, "{text}");
        };
        check("", None);
        check("[retention]\nkeep_days = 7", Some(86_400));
        check("[retention]\nprune_hours = 6", Some(6 * 3_600));
        check("[retention]\nprune_hours = 0", None);
    }

    #[test]
    fn who_signs() {
        fn check(text: &str, expect: &str) {
            let found = match file(text).unwrap().signing.unwrap_or_default().complete() {
                Ok(signing) => format!("{:?} for {} days", signing.keys, signing.expiry_days),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expect, "{text}");
        }
        check("", "DataFolder for 14 days");
        check("[signing]\nkey_file = \"/k\"\nexpiry_days = 7", "File(\"/k\") for 7 days");
        check("[signing]\nsocket = \"/s\"", "Socket(\"/s\") for 14 days");
        let both = "[signing]\nsocket = \"/s\"\nkey_file = \"/k\"";
        check(both, "cannot sign with both a key file and a signer process");
        check("[signing]\nexpiry_days = 0", "cannot sign pointers for 0 days: it must be 1 to 30");
        check("[signing]\nexpiry_days = 31", "cannot sign pointers for 31 days: it must be 1 to 30");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        fn check(text: &str, expect: &str) {
            let error = file(text).and_then(Written::complete).unwrap_err();
            let message = fault::chain(&error).join(": ") + &error.hints().join(" ");
            assert!(message.contains(expect), "{message}");
        }
        check("data = \"/a\"\nchannel = \"main\"\n", "line 2");
        check("data = \"/a\"\ngrpc = \"nowhere\"\n", "line 2");
        check("hub_key = \"short\"\n", "43 characters");
        check("[[purge]]\nurl = \"http://a\"\nstyle = \"akamai\"\n", "line 3");
        check("[signing]\nexpiry_days = 0\n", "--data DIR");
        check("[signing]\nkey = \"a\"\n", "line 2");
        check("stone_index = \"never\"\n", "line 1");
        check("", "--data DIR");
        check("data = \"/a\"\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\n", "--hub-key KEY");
        check("channels = [\"../main\"]\n", "\"../main\"");
        let closure = format!(
            "data = \"/a\"\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\nhub_key = \"{KEY}\"\nclosure = [\"main=hald\"]"
        );
        check(&closure, "main=hald");
        for url in ["ftp://a", "http://", "http://a b", "https://a\\\"b"] {
            let text = format!(
                "data = \"/a\"\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\nhub_key = \"{KEY}\"\npublic_url = \"{url}\""
            );
            check(&text, "public address");
        }
    }
}
