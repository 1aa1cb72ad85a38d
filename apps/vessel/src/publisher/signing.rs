//! Signs what is published: lists of keys, pointers, and whatever else belongs to a channel.
//!
//! A pointer is signed when what it says is no longer so, when the list of keys is another, and anew in time before it
//! expires. Its version is given before it is signed, and what is signed is kept before it is published: a process that dies in
//! between has skipped a version, or publishes at its next start what it kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use fault::Fault;
use repository::layout::{KEYS_FILE, STATEMENT_FILE};
use repository::signed::{
    Envelope, FileFacts, HistoryStatement, KeyList, Pointer, PublicKey, Role, SignedKind, TrustedKeys,
    delta_bases,
};
use repository::{Format, Identifier, Version};

use super::{Channel, PublishError, Publisher, blocking, unix_seconds};
use crate::described::Plan;
use crate::ledger::{Ledger, NewHistory, SignedRow};
use crate::operation::KeysReport;
use crate::signing::{Signer, Signing, SigningError};
use crate::tree::{Step, TreeFile};

/// Who signs in this repository.
pub(super) struct Seals {
    signing: Signing,
    data: PathBuf,
    hands: RwLock<Arc<Hands>>,
}

/// A signer and the list that says what it may.
#[derive(Debug)]
pub(super) struct Hands {
    signer: Signer,
    list: KeyList,
}

impl Hands {
    fn sign(&self, kind: SignedKind, payload: Vec<u8>) -> Result<String, PublishError> {
        let bytes = self.signer.sign(kind, payload, &self.allowed())?;
        Ok(String::from_utf8(bytes).unwrap_or_default())
    }

    /// That a key is at hand with which something could be signed.
    pub(super) fn check(&self) -> Result<(), PublishError> {
        let (allowed, at_hand) = (self.allowed(), self.signer.keys()?);
        match at_hand.iter().any(|key| allowed.contains(key)) {
            true => Ok(()),
            false => Err(SigningError::NoKey { what: SignedKind::Pointer.what(), at_hand, allowed }.into()),
        }
    }

    fn allowed(&self) -> Vec<PublicKey> {
        let now = unix_seconds();
        let may = |key: &&PublicKey| {
            let expires = self.list.find(key).and_then(|listed| listed.expires);
            expires.is_none_or(|expires| now < expires)
        };
        self.list.active(Role::Publish).filter(may).copied().collect()
    }
}

impl Seals {
    /// Finds the keys. A repository that has no list of keys yet gets its first, of the key at hand.
    pub(super) async fn open(ledger: &Ledger, data: &Path, signing: Signing) -> Result<Self, PublishError> {
        let lists = ledger.key_lists().await?;
        let (found, folder, is_new) = (signing.clone(), data.to_path_buf(), lists.is_empty());
        let signer = blocking(move || Ok(Signer::open(&found, &folder, is_new)?)).await?;
        let hands = match lists.last_key_value() {
            Some((_, text)) => Hands { signer, list: read_list(text)? },
            None => {
                let (hands, text) = blocking(move || {
                    let keys = signer.keys()?;
                    let key = keys.first().copied().ok_or(PublishError::NoSigningKey)?;
                    let list = KeyList::first(key, unix_seconds());
                    let bytes = signer.sign(SignedKind::Keys, list.to_payload(), &[key])?;
                    Ok((Hands { signer, list }, String::from_utf8(bytes).unwrap_or_default()))
                })
                .await?;
                ledger.add_key_list(hands.list.version, &text).await?;
                hands
            }
        };
        Ok(Self { signing, data: data.to_path_buf(), hands: RwLock::new(Arc::new(hands)) })
    }

    /// Seconds for which a pointer is worth something when it is signed.
    pub(super) fn expiry_seconds(&self) -> i64 {
        self.signing.expiry_seconds()
    }

    /// That a Vessel that is started now would find a key with which something could be signed.
    pub(super) fn check_after_start(&self) -> impl FnOnce() -> Result<(), PublishError> + Send + 'static {
        let (signing, data, list) = (self.signing.clone(), self.data.clone(), self.hands().list.clone());
        move || Hands { signer: Signer::open(&signing, &data, false)?, list }.check()
    }

    pub(super) fn hands(&self) -> Arc<Hands> {
        Arc::clone(&self.hands.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What every channel shows of keys and pointers, in the order in which it becomes visible: whoever finds a pointer finds the
/// keys that signed it, and whoever finds a stream in a newer format finds the tag through which older clients are led there.
pub(super) async fn signed_files(ledger: &Ledger, channel: &str) -> Result<Vec<TreeFile>, PublishError> {
    let lists = ledger.key_lists().await?;
    let newest = lists.values().next_back().cloned();
    let numbered = lists.into_iter().map(|(version, text)| (format!("keys/{version}.json"), text));
    let newest = newest.map(|text| (KEYS_FILE.to_owned(), text));
    let rows = ledger.signed_pointers(channel).await?;
    let (tags, streams): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(what, _)| what.starts_with("tag/"));
    let pointers = tags.into_iter().chain(streams);
    let pointers = pointers.filter_map(|(what, row)| Some((format!("{what}.json"), row.envelope?)));
    let files = numbered.chain(newest).chain(pointers);
    Ok(files.map(|(path, text)| TreeFile { path, bytes: text.into_bytes() }).collect())
}

/// A pointer that is to be signed.
pub(super) struct Target {
    pub(super) what: Version,
    /// What it stands for.
    pub(super) history: Identifier,
    pub(super) format: Format,
    /// The signed statement of that history.
    pub(super) statement: FileFacts,
}

/// Which pointers are to be signed, and which are no longer any.
#[derive(Debug, Default, PartialEq, Eq)]
struct Due {
    sign: Vec<Version>,
    gone: Vec<String>,
}

/// Decides it. `targets` are the histories that streams and tags stand for, `signed` is what was signed for them.
fn due(
    targets: &BTreeMap<Version, Identifier>,
    signed: &BTreeMap<String, Option<Pointer>>,
    keys: u64,
    now: i64,
    renewal_seconds: i64,
) -> Due {
    let is_good = |pointer: &Pointer, history: &Identifier| {
        pointer.history == *history
            && pointer.keys == keys
            && (pointer.issued..pointer.issued.saturating_add(renewal_seconds)).contains(&now)
    };
    let sign = targets.iter().filter(|(what, history)| {
        let pointer = signed.get(&what.to_string()).and_then(Option::as_ref);
        !pointer.is_some_and(|pointer| is_good(pointer, history))
    });
    let names: Vec<String> = targets.keys().map(ToString::to_string).collect();
    let gone = signed.iter().filter(|(what, pointer)| pointer.is_some() && !names.contains(what));
    Due {
        sign: sign.map(|(what, _)| what.clone()).collect(),
        gone: gone.map(|(what, _)| what.clone()).collect(),
    }
}

/// What a kept pointer says; none where there is none, or none that can be read.
fn kept(what: &str, row: &SignedRow, channel: &Identifier) -> Option<Pointer> {
    let envelope = Envelope::read(row.envelope.as_deref()?.as_bytes(), SignedKind::Pointer).ok()?;
    Pointer::read(envelope.unchecked_payload(), channel, &what.parse().ok()?).ok()
}

/// The pointer of a channel that expires first, and when, in Unix seconds; none where there is none.
pub(super) fn soonest_pointer(
    rows: &BTreeMap<String, SignedRow>,
    channel: &Identifier,
) -> Option<(String, i64)> {
    let expiries = rows.iter().filter_map(|(what, row)| Some((what, kept(what, row, channel)?.expires)));
    expiries.min_by_key(|(_, expires)| *expires).map(|(what, expires)| (what.clone(), expires))
}

impl Publisher {
    /// Signs something that belongs to what is published, such as the provenance of a build: the file to publish.
    pub(crate) async fn sign(&self, kind: SignedKind, payload: Vec<u8>) -> Result<Vec<u8>, PublishError> {
        let hands = self.seals.hands();
        blocking(move || Ok(hands.sign(kind, payload)?.into_bytes())).await
    }

    /// What the files of a history that is about to be written are made from.
    pub(super) async fn plan(&self, new: &NewHistory) -> Result<Plan, PublishError> {
        let histories = self.ledger.histories(&new.channel).await?;
        let ids: BTreeMap<u64, &String> =
            histories.iter().map(|history| (history.number, &history.id)).collect();
        let streams = self.ledger.streams(&new.channel).await?;
        let tags = self.ledger.tags(&new.channel).await?;
        let pointed = streams.into_values().chain(tags.into_values()).collect();
        let living = ids.keys().copied().collect();
        let mut bases = Vec::new();
        for number in delta_bases(new.number, &living, &pointed) {
            if let Some(id) = ids.get(&number) {
                bases.push((number, id.parse()?));
            }
        }
        let previous = new.previous.and_then(|number| ids.get(&number));
        let before = histories.iter().find(|history| Some(history.number) == new.previous);
        let format = match (&new.upgrade, before) {
            (Some(upgrade), _) => upgrade.to.clone(),
            (None, Some(before)) => before.format.clone(),
            (None, None) => Format::V0,
        };
        Ok(Plan {
            format,
            channel: new.channel.parse()?,
            id: new.id.parse()?,
            number: new.number,
            previous: previous.map(|id| id.parse()).transpose()?,
            recorded: new.recorded_at,
            bases,
        })
    }

    /// What signs the statement of a history.
    pub(super) fn signer_of_statements(
        &self,
    ) -> impl Fn(&HistoryStatement) -> Result<Vec<u8>, PublishError> + Send + 'static {
        let hands = self.seals.hands();
        move |statement| Ok(hands.sign(SignedKind::History, statement.to_payload())?.into_bytes())
    }

    /// Signs what has to be when a Vessel starts. Without its signer it serves what is published, as long as that is the truth.
    pub(super) async fn sign_at_start(&self) -> Result<(), PublishError> {
        match self.renew().await {
            Err(error) if is_without_signer(&error) => {
                tracing::error!("starting without a signer: nothing can be published until it is there");
                Ok(())
            }
            result => result,
        }
    }

    /// That something could be signed, before anything is done that must be.
    pub(super) async fn check_keys(&self) -> Result<(), PublishError> {
        let hands = self.seals.hands();
        blocking(move || hands.check()).await
    }

    /// Signs the pointers of a channel that are to be signed. Whether there were any.
    pub(super) async fn sign_pointers(&self, channel: &Channel) -> Result<bool, PublishError> {
        let hands = self.seals.hands();
        let name: Identifier = channel.name.parse()?;
        let targets = self.targets(channel).await?;
        let rows = self.ledger.signed_pointers(&channel.name).await?;
        let moved = self.ledger.moved(&channel.name).await?;
        // One that says nothing of where the channel went, or something else, is signed anew.
        let current = |what: &String, row| kept(what, row, &name).filter(|pointer| pointer.moved == moved);
        let signed: BTreeMap<String, Option<Pointer>> =
            rows.iter().map(|(what, row)| (what.clone(), current(what, row))).collect();
        let now = unix_seconds();
        let renewal = self.seals.signing.renewal_seconds();
        let Due { sign, mut gone } = due(&targets, &signed, hands.list.version, now, renewal);
        let mut wanted = Vec::new();
        for what in sign {
            let Some(history) = targets.get(&what).cloned() else { continue };
            let before = signed.get(&what.to_string()).and_then(Option::as_ref);
            let known = before.filter(|pointer| pointer.history == history).map(|pointer| pointer.statement);
            match known.or(self.statement_of(channel, &history).await?) {
                Some(statement) => {
                    let format = Format::V0;
                    wanted.push(Target { what, history, format, statement });
                }
                // Of a history from before there were statements nothing is signed, and nothing else in its place.
                None if before.is_some() => gone.push(what.to_string()),
                None => {}
            }
        }
        if wanted.is_empty() && gone.is_empty() {
            return Ok(false);
        }
        let names: Vec<String> = wanted.iter().map(|target| target.what.to_string()).collect();
        let versions = self.ledger.give_versions(&channel.name, &names).await?;
        let histories = self.ledger.histories(&channel.name).await?;
        let formats: BTreeMap<String, Format> =
            histories.into_iter().map(|history| (history.id, history.format)).collect();
        for target in &mut wanted {
            if let Some(format) = formats.get(target.history.as_str()) {
                target.format = format.clone();
            }
        }
        let signed = self.sign_targets(&channel.name, wanted, &versions).await?;
        self.ledger.keep_pointers(&channel.name, &signed, &gone).await?;
        Ok(true)
    }

    /// Signs pointers of a channel under versions that were given: the files, by `stream/NAME` and `tag/NAME`.
    pub(super) async fn sign_targets(
        &self,
        channel: &str,
        targets: Vec<Target>,
        versions: &BTreeMap<String, u64>,
    ) -> Result<BTreeMap<String, String>, PublishError> {
        let (hands, name) = (self.seals.hands(), channel.parse::<Identifier>()?);
        let moved = self.ledger.moved(channel).await?;
        let (versions, now) = (versions.clone(), unix_seconds());
        let expires = now.saturating_add(self.seals.signing.expiry_seconds());
        let signed = blocking(move || {
            let mut signed = BTreeMap::new();
            for Target { what, history, format, statement } in targets {
                let pointer = Pointer {
                    channel: name.clone(),
                    version: versions.get(&what.to_string()).copied().unwrap_or_default(),
                    issued: now,
                    expires,
                    keys: hands.list.version,
                    format: format.as_str().to_owned(),
                    history,
                    statement,
                    what,
                    moved: moved.clone(),
                };
                let text = hands.sign(SignedKind::Pointer, pointer.to_payload())?;
                signed.insert(pointer.what.to_string(), text);
            }
            Ok(signed)
        })
        .await?;
        (self.reached)(Step::PointersSigned);
        Ok(signed)
    }

    /// What the streams and tags of a channel stand for.
    async fn targets(&self, channel: &Channel) -> Result<BTreeMap<Version, Identifier>, PublishError> {
        let ids = self.ledger.every_history(&channel.name).await?;
        let mut targets = BTreeMap::new();
        let mut add = |what: Version, number: u64| -> Result<(), PublishError> {
            if let Some(id) = ids.get(&number) {
                targets.insert(what, id.parse()?);
            }
            Ok(())
        };
        for (name, number) in self.ledger.streams(&channel.name).await? {
            add(Version::Stream(name.parse()?), number)?;
        }
        for (name, number) in self.ledger.tags(&channel.name).await? {
            add(Version::Tag(name.parse()?), number)?;
        }
        Ok(targets)
    }

    async fn statement_of(
        &self,
        channel: &Channel,
        history: &Identifier,
    ) -> Result<Option<FileFacts>, PublishError> {
        let (tree, path) = (channel.tree.clone(), format!("history/{history}/{STATEMENT_FILE}"));
        let read = blocking(move || Ok(tree.read(&path)?)).await?;
        Ok(read.map(|bytes| FileFacts::of(&bytes)))
    }

    /// Signs anew what would expire, in every channel, and lets readers see it. Is called now and then.
    ///
    /// # Errors
    /// Of the first channel where it cannot be done; all are tried.
    pub async fn renew(&self) -> Result<(), PublishError> {
        let mut failed = None;
        for channel in self.channels.values() {
            if let Err(error) = self.renew_channel(channel).await {
                let reason = fault::chain(&error).join(": ");
                tracing::error!(
                    channel.name = %channel.name, %reason,
                    "cannot sign pointers anew; clients refuse those that are published when they expire"
                );
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    pub(super) async fn renew_channel(&self, channel: &Channel) -> Result<(), PublishError> {
        let mut state = channel.state.lock().await;
        if self.sign_pointers(channel).await? {
            state.is_pointed = false;
            self.settle_pointer(channel, &mut state).await?;
        }
        Ok(())
    }

    /// The newest list of keys, and which keys are at hand.
    pub(super) async fn keys(&self) -> Result<KeysReport, PublishError> {
        let hands = self.seals.hands();
        let list = hands.list.clone();
        let at_hand = blocking(move || Ok(hands.signer.keys()?)).await;
        let (at_hand, trouble) = match at_hand {
            Ok(keys) => (keys, String::new()),
            Err(error) => (Vec::new(), fault::chain(&error).join(": ")),
        };
        let key_file = self.seals.signing.key_file(&self.seals.data);
        let key_file = key_file.map(|file| std::path::absolute(&file).unwrap_or(file));
        Ok(KeysReport { list, at_hand, key_file, trouble })
    }

    /// Follows to the next list of keys, which must be signed as clients want it, and signs everything anew.
    pub(super) async fn follow_keys(&self, text: &str) -> Result<KeysReport, PublishError> {
        let before = self.seals.hands();
        let trusted = TrustedKeys::remembered(before.list.clone());
        let list = trusted.advance(text.as_bytes(), &seal::verify)?.list().clone();
        let (signing, data) = (self.seals.signing.clone(), self.seals.data.clone());
        let hands = blocking(move || {
            let signer = Signer::open(&signing, &data, false)?;
            let hands = Hands { signer, list };
            // Whether a key that may sign is at hand is found out before anybody is told of the new list.
            hands.check()?;
            Ok(hands)
        })
        .await?;
        let version = hands.list.version;
        if !self.ledger.add_key_list(version, text).await? {
            return Err(PublishError::KeysMoved { version });
        }
        (self.reached)(Step::Recorded);
        *self.seals.hands.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(hands);
        for channel in self.channels.values() {
            self.renew_channel(channel).await?;
        }
        tracing::info!(version, "following another list of keys");
        self.keys().await
    }
}

fn read_list(text: &str) -> Result<KeyList, PublishError> {
    let envelope =
        Envelope::read(text.as_bytes(), SignedKind::Keys).map_err(repository::signed::KeysError::from)?;
    Ok(KeyList::read(envelope.unchecked_payload())?)
}

/// Whether an error means that the signer cannot be had, and not that something is wrong with what is published.
pub(super) fn is_without_signer(error: &PublishError) -> bool {
    matches!(error, PublishError::Signing(_)) && error.kind() != fault::Kind::Damaged
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn pointer(history: &str, keys: u64, issued: i64) -> Option<Pointer> {
        Some(Pointer {
            channel: "main".parse().unwrap(),
            what: "stream/volatile".parse().unwrap(),
            version: 7,
            issued,
            expires: issued + 14 * DAY,
            keys,
            history: history.parse().unwrap(),
            format: "v0".into(),
            statement: FileFacts::of(b""),
            moved: None,
        })
    }

    #[test]
    fn a_pointer_is_signed_when_it_must_be() {
        let now = 1_000 * DAY;
        let check = |target: Option<&str>, signed: Option<Option<Pointer>>, expect: &str| {
            let volatile: Version = "stream/volatile".parse().unwrap();
            let targets = target.map(|id| (volatile.clone(), id.parse().unwrap())).into_iter().collect();
            let signed = signed.map(|pointer| ("stream/volatile".to_owned(), pointer)).into_iter().collect();
            let found = due(&targets, &signed, 2, now, DAY);
            let found = match (found.sign.len(), found.gone.len()) {
                (0, 0) => "stays",
                (1, 0) => "sign",
                (0, 1) => "gone",
                _ => "both",
            };
            assert_eq!(found, expect, "{target:?} {signed:?}");
        };
        check(Some("1"), None, "sign");
        check(Some("1"), Some(None), "sign");
        check(Some("1"), Some(pointer("1", 2, now)), "stays");
        check(Some("2"), Some(pointer("1", 2, now)), "sign");
        check(Some("1"), Some(pointer("1", 1, now)), "sign");
        check(Some("1"), Some(pointer("1", 2, now - DAY + 1)), "stays");
        check(Some("1"), Some(pointer("1", 2, now - DAY)), "sign");
        // The clock went back: clients would see a pointer from the future.
        check(Some("1"), Some(pointer("1", 2, now + 1)), "sign");
        check(None, Some(pointer("1", 2, now)), "gone");
        check(None, Some(None), "stays");
        check(None, None, "stays");
    }
}
