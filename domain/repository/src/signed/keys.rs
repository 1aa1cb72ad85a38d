//! Who may sign: a list of keys that changes only as its own keys say.
//!
//! Each version of the list is signed by enough of the root keys of the version before, and by enough of its own. So a client
//! that once knew a version walks to the newest, whatever lies between, and nobody without the keys can lead it elsewhere.
//!
//! A key that is *retired* signs nothing new, and what it signed stays good; one that is *revoked* is worth nothing any more.

use std::collections::BTreeSet;

use fault::{Fault, Kind};
use key::PublicKey;
use serde::{Deserialize, Serialize};

use super::envelope::{Envelope, EnvelopeError, SignedKind, Verify};

/// Lists that are walked through at most: a rotation every week for ten years, and what keeps a hostile server from keeping
/// a client busy.
pub const LISTS_MAX: u64 = 520;

/// Keys of one list: everybody who ever signed for a distribution.
const KEYS_MAX: usize = 256;

/// What a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Lists of keys.
    Root,
    /// Pointers, statements of histories, provenance, lists of files.
    Publish,
}

/// What a key is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It signs.
    Active,
    /// It signs nothing new; what stays as it is was signed rightly.
    Retired,
    /// It may be in other hands: nothing that it signed is worth anything.
    Revoked,
}

/// A key and what it may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedKey {
    /// The key.
    pub key: PublicKey,
    /// What it may sign.
    pub roles: BTreeSet<Role>,
    /// What it is worth.
    pub state: KeyState,
    /// From when on it signs nothing new, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
}

/// A version of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyList {
    /// 1, and one more with each.
    pub version: u64,
    /// When it was made, in Unix seconds.
    pub issued: i64,
    /// How many active root keys must sign a list.
    pub threshold: u32,
    /// Each key once.
    pub keys: Vec<ListedKey>,
}

/// What the next list says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChange {
    /// Another key may sign.
    Add {
        /// The key.
        key: PublicKey,
        /// What it may.
        roles: BTreeSet<Role>,
        /// Until when, in Unix seconds.
        expires: Option<i64>,
    },
    /// A key takes the place of another one, which retires.
    Replace {
        /// The key that there is.
        old: PublicKey,
        /// The new one, for the same roles.
        new: PublicKey,
    },
    /// A key is worth less from now on.
    Become {
        /// The key.
        key: PublicKey,
        /// [`KeyState::Retired`] or [`KeyState::Revoked`].
        state: KeyState,
    },
    /// So many root keys must sign.
    Threshold(u32),
}

/// Why a list of keys is not followed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The envelope, or a signature in it.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It is not written as lists are.
    #[error("cannot read a list of keys")]
    Json {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// It contradicts itself.
    #[error("cannot use version {version} of the list of keys: {problem}")]
    Nonsense {
        /// Its version.
        version: u64,
        /// What is wrong.
        problem: String,
    },
    /// A key that is spoken of is not in it.
    #[error("cannot change what key {key} is worth: it is not in the list of keys")]
    NoKey {
        /// The key.
        key: PublicKey,
    },
    /// A key that is to come is there already.
    #[error("cannot add key {key}: it is in the list of keys already")]
    KnownKey {
        /// The key.
        key: PublicKey,
    },
    /// It is not the one that comes next.
    #[error("cannot follow from version {known} of the list of keys to version {found}")]
    NotNext {
        /// The version that is trusted.
        known: u64,
        /// The version that was given.
        found: u64,
    },
    /// Too few have signed it.
    #[error(
        "cannot trust version {version} of the list of keys: {signed} of its root keys have signed it, and {needed} must"
    )]
    TooFew {
        /// Its version.
        version: u64,
        /// Who has.
        signed: usize,
        /// Who must.
        needed: u32,
    },
    /// No list has a pinned key.
    #[error(
        "cannot trust this repository: none of the pinned keys ({}) is a root key that signed one of its lists of keys",
        listed(pinned)
    )]
    NotPinned {
        /// What is pinned.
        pinned: Vec<PublicKey>,
    },
    /// A pinned key is among those that are worth nothing.
    #[error("cannot trust this repository by key {key}: its owner has revoked that key")]
    PinRevoked {
        /// The key.
        key: PublicKey,
    },
}

fn listed(keys: &[PublicKey]) -> String {
    if keys.is_empty() {
        "none".to_owned()
    } else {
        keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl Fault for KeysError {
    fn kind(&self) -> Kind {
        match self {
            KeysError::Envelope(error) => error.kind(),
            KeysError::Json { .. } | KeysError::Nonsense { .. } | KeysError::NotNext { .. } => Kind::Damaged,
            KeysError::TooFew { .. } | KeysError::NotPinned { .. } | KeysError::PinRevoked { .. } => {
                Kind::Denied
            }
            KeysError::NoKey { .. } => Kind::NotFound,
            KeysError::KnownKey { .. } => Kind::Conflict,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            KeysError::Envelope(error) => return error.hints(),
            KeysError::NoKey { .. } | KeysError::KnownKey { .. } => "`vessel key show` lists the keys",
            KeysError::Json { .. } => "it may come from a newer Vessel: update Moraine",
            KeysError::Nonsense { .. } | KeysError::NotNext { .. } => {
                "fetch it again, from another mirror if there is one; if that does not help, tell the owner of the repository"
            }
            KeysError::TooFew { .. } | KeysError::NotPinned { .. } | KeysError::PinRevoked { .. } => {
                "compare the pinned key with what the owner of the repository publishes; do not pin another one unless he says so"
            }
        };
        vec![hint.to_owned()]
    }
}

impl KeyList {
    /// The first list, of one key that may everything.
    #[must_use]
    pub fn first(key: PublicKey, issued: i64) -> Self {
        let roles = [Role::Root, Role::Publish].into();
        let key = ListedKey { key, roles, state: KeyState::Active, expires: None };
        Self { version: 1, issued, threshold: 1, keys: vec![key] }
    }

    /// The next list.
    ///
    /// # Errors
    /// When the change names keys that are not there, or are, and when nobody could sign the list after it.
    pub fn changed(&self, change: &KeyChange, issued: i64) -> Result<Self, KeysError> {
        let mut next = Self { version: self.version.saturating_add(1), issued, ..self.clone() };
        match change {
            KeyChange::Add { key, roles, expires } => {
                next.add(*key, roles.clone(), *expires)?;
            }
            KeyChange::Replace { old, new } => {
                let roles = next.entry(old)?.roles.clone();
                next.entry(old)?.state = KeyState::Retired;
                next.add(*new, roles, None)?;
            }
            KeyChange::Become { key, state } => next.entry(key)?.state = *state,
            KeyChange::Threshold(threshold) => next.threshold = *threshold,
        }
        next.check()?;
        Ok(next)
    }

    fn add(&mut self, key: PublicKey, roles: BTreeSet<Role>, expires: Option<i64>) -> Result<(), KeysError> {
        if self.find(&key).is_some() {
            return Err(KeysError::KnownKey { key });
        }
        self.keys.push(ListedKey { key, roles, state: KeyState::Active, expires });
        Ok(())
    }

    fn entry(&mut self, key: &PublicKey) -> Result<&mut ListedKey, KeysError> {
        let found = self.keys.iter_mut().find(|listed| listed.key == *key);
        found.ok_or(KeysError::NoKey { key: *key })
    }

    /// Reads a payload and checks that it makes sense.
    ///
    /// # Errors
    /// When it does not.
    pub fn read(payload: &[u8]) -> Result<Self, KeysError> {
        let list: Self = serde_json::from_slice(payload).map_err(|source| KeysError::Json { source })?;
        list.check()?;
        Ok(list)
    }

    /// That enough keys can sign the next list, and that each is there once.
    ///
    /// # Errors
    /// When not.
    pub fn check(&self) -> Result<(), KeysError> {
        let nonsense = |problem: String| Err(KeysError::Nonsense { version: self.version, problem });
        if self.version == 0 {
            return nonsense("versions begin with 1".to_owned());
        }
        if self.keys.len() > KEYS_MAX {
            return nonsense(format!("it has more than {KEYS_MAX} keys"));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.keys.iter().find(|listed| !seen.insert(listed.key)) {
            return nonsense(format!("key {} is there twice", twice.key));
        }
        let roots = self.active(Role::Root).count();
        match usize::try_from(self.threshold) {
            Ok(1..) if usize::try_from(self.threshold).is_ok_and(|needed| needed <= roots) => Ok(()),
            _ => nonsense(format!("{} root keys must sign and {roots} can", self.threshold)),
        }
    }

    /// The payload.
    #[must_use]
    #[expect(clippy::expect_used, reason = "texts and numbers, written to memory, have no way to fail")]
    pub fn to_payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a list of keys turns into JSON")
    }

    /// The keys that are active in a role, whether their time is over or not.
    pub fn active(&self, role: Role) -> impl Iterator<Item = &PublicKey> {
        let listed = self.keys.iter();
        listed
            .filter(move |listed| listed.state == KeyState::Active && listed.roles.contains(&role))
            .map(|listed| &listed.key)
    }

    /// What is said of a key.
    #[must_use]
    pub fn find(&self, key: &PublicKey) -> Option<&ListedKey> {
        self.keys.iter().find(|listed| listed.key == *key)
    }

    /// That enough of the root keys of this list have signed an envelope.
    fn enough_roots(&self, envelope: &Envelope, version: u64, verify: Verify<'_>) -> Result<(), KeysError> {
        let signed = envelope.signed_by(self.active(Role::Root), verify)?.len();
        match usize::try_from(self.threshold).is_ok_and(|needed| needed <= signed) {
            true => Ok(()),
            false => Err(KeysError::TooFew { version, signed, needed: self.threshold }),
        }
    }
}

/// A list of keys that was reached from what is pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKeys {
    list: KeyList,
}

impl TrustedKeys {
    /// What was reached before and kept where nobody else can write.
    #[must_use]
    pub fn remembered(list: KeyList) -> Self {
        Self { list }
    }

    /// The list that holds.
    #[must_use]
    pub fn list(&self) -> &KeyList {
        &self.list
    }

    /// Walks through all lists of a repository, `keys/1.json` first, to the newest. The first that a pinned key has signed as
    /// a root key is believed; from there on each must follow from the one before.
    ///
    /// # Errors
    /// When no list has a pinned key, when one does not follow, and when the newest has revoked every pinned key.
    pub fn walk<'a>(
        lists: impl IntoIterator<Item = &'a [u8]>,
        pinned: &[PublicKey],
        verify: Verify<'_>,
    ) -> Result<Self, KeysError> {
        let mut trusted: Option<Self> = None;
        for bytes in lists {
            trusted = match trusted {
                Some(trusted) => Some(trusted.advance(bytes, verify)?),
                None => Self::begin(bytes, pinned, verify)?,
            };
        }
        let trusted = trusted.ok_or_else(|| KeysError::NotPinned { pinned: pinned.to_vec() })?;
        let is_revoked =
            |key: &&PublicKey| trusted.list.find(key).is_some_and(|listed| listed.state == KeyState::Revoked);
        match pinned.iter().find(is_revoked) {
            Some(key) if pinned.iter().filter(is_revoked).count() == pinned.len() => {
                Err(KeysError::PinRevoked { key: *key })
            }
            _ => Ok(trusted),
        }
    }

    /// Believes a list for a pinned key; none where it has none of them.
    ///
    /// # Errors
    /// When it has one and is not signed as it must be.
    pub fn begin(bytes: &[u8], pinned: &[PublicKey], verify: Verify<'_>) -> Result<Option<Self>, KeysError> {
        let envelope = Envelope::read(bytes, SignedKind::Keys)?;
        let list = KeyList::read(envelope.unchecked_payload())?;
        let roots: Vec<&PublicKey> = list.active(Role::Root).filter(|key| pinned.contains(key)).collect();
        if roots.is_empty() {
            return Ok(None);
        }
        envelope.signed_by(roots, verify)?;
        list.enough_roots(&envelope, list.version, verify)?;
        Ok(Some(Self { list }))
    }

    /// Goes on to the next list.
    ///
    /// # Errors
    /// When it is not the next, or not signed by enough root keys of this one and of itself.
    pub fn advance(&self, bytes: &[u8], verify: Verify<'_>) -> Result<Self, KeysError> {
        let envelope = Envelope::read(bytes, SignedKind::Keys)?;
        let list = KeyList::read(envelope.unchecked_payload())?;
        if self.list.version.checked_add(1) != Some(list.version) {
            return Err(KeysError::NotNext { known: self.list.version, found: list.version });
        }
        self.list.enough_roots(&envelope, list.version, verify)?;
        list.enough_roots(&envelope, list.version, verify)?;
        Ok(Self { list })
    }

    /// The payload of something that must have been signed lately, such as a pointer, at `now` in Unix seconds.
    ///
    /// # Errors
    /// When no active key that may has signed it.
    pub fn open_fresh<'e>(
        &self,
        envelope: &'e Envelope,
        now: i64,
        verify: Verify<'_>,
    ) -> Result<&'e [u8], EnvelopeError> {
        let active = self.list.keys.iter().filter(|listed| {
            listed.state == KeyState::Active
                && listed.roles.contains(&Role::Publish)
                && listed.expires.is_none_or(|expires| now < expires)
        });
        envelope.signed_by(active.map(|listed| &listed.key), verify)?;
        Ok(envelope.unchecked_payload())
    }

    /// The payload of something that was signed once for ever, such as the statement of a history.
    ///
    /// # Errors
    /// When no key has signed it that might and is not revoked.
    pub fn open<'e>(&self, envelope: &'e Envelope, verify: Verify<'_>) -> Result<&'e [u8], EnvelopeError> {
        let good = self
            .list
            .keys
            .iter()
            .filter(|listed| listed.state != KeyState::Revoked && listed.roles.contains(&Role::Publish));
        envelope.signed_by(good.map(|listed| &listed.key), verify)?;
        Ok(envelope.unchecked_payload())
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::tests::{key, sign, verify};
    use super::*;

    fn listed(number: u8, roles: &[Role], state: KeyState) -> ListedKey {
        ListedKey { key: key(number), roles: roles.iter().copied().collect(), state, expires: None }
    }

    const BOTH: &[Role] = &[Role::Root, Role::Publish];

    fn list(version: u64, threshold: u32, keys: &[ListedKey], signers: &[u8]) -> Vec<u8> {
        let list = KeyList { version, issued: 0, threshold, keys: keys.to_vec() };
        let mut envelope = Envelope::new(SignedKind::Keys, list.to_payload());
        signers.iter().for_each(|signer| sign(&mut envelope, &key(*signer)));
        envelope.to_json()
    }

    fn walk(lists: &[Vec<u8>], pinned: u8) -> Result<u64, String> {
        TrustedKeys::walk(lists.iter().map(Vec::as_slice), &[key(pinned)], &verify)
            .map(|trusted| trusted.list.version)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn from_a_pinned_key_to_the_newest_list() {
        use KeyState::{Active, Retired, Revoked};
        let one = list(1, 1, &[listed(1, BOTH, Active)], &[1]);
        let two = list(2, 1, &[listed(1, BOTH, Retired), listed(2, BOTH, Active)], &[1, 2]);
        let three = list(3, 2, &[listed(2, BOTH, Active), listed(3, &[Role::Root], Active)], &[2, 3]);
        let lists = [one.clone(), two.clone(), three.clone()];
        assert_eq!(walk(&lists, 1), Ok(3));
        assert_eq!(walk(&lists, 2), Ok(3), "a key that came later is pinned");
        assert!(
            walk(&lists, 9).unwrap_err().starts_with("cannot trust this repository: none of the pinned keys")
        );
        assert!(walk(&[], 1).is_err());
        assert!(
            walk(&[one.clone(), three], 1)
                .unwrap_err()
                .contains("from version 1 of the list of keys to version 3")
        );

        let by_itself = list(2, 1, &[listed(2, BOTH, Active)], &[2]);
        assert!(walk(&[one.clone(), by_itself], 1).unwrap_err().contains("none of these keys may sign it"));
        let by_the_old_one = list(2, 1, &[listed(2, BOTH, Active)], &[1]);
        assert!(walk(&[one.clone(), by_the_old_one], 1).is_err());
        let too_few = list(3, 2, &[listed(2, BOTH, Active), listed(3, BOTH, Active)], &[2]);
        let error = walk(&[one.clone(), two, too_few], 1).unwrap_err();
        assert_eq!(
            error,
            "cannot trust version 3 of the list of keys: 1 of its root keys have signed it, and 2 must"
        );
        let revoked = list(2, 1, &[listed(1, BOTH, Revoked), listed(2, BOTH, Active)], &[1, 2]);
        assert!(walk(&[one, revoked], 1).unwrap_err().ends_with("its owner has revoked that key"));
    }

    #[test]
    fn a_list_that_contradicts_itself_is_refused() {
        let active = listed(1, BOTH, KeyState::Active);
        let check = |version, threshold, keys: &[ListedKey], expect: &str| {
            let error = walk(&[list(version, threshold, keys, &[1])], 1).unwrap_err();
            assert!(error.ends_with(expect), "{error}");
        };
        check(0, 1, std::slice::from_ref(&active), "versions begin with 1");
        check(1, 0, std::slice::from_ref(&active), "0 root keys must sign and 1 can");
        check(1, 2, std::slice::from_ref(&active), "2 root keys must sign and 1 can");
        check(1, 1, &[active.clone(), active.clone()], "is there twice");
        check(1, 1, &[listed(1, &[Role::Publish], KeyState::Active)], "1 root keys must sign and 0 can");
    }

    #[test]
    fn the_next_list() {
        let first = KeyList::first(key(1), 0);
        let replaced = first.changed(&KeyChange::Replace { old: key(1), new: key(2) }, 9).unwrap();
        assert_eq!((replaced.version, replaced.issued), (2, 9));
        assert_eq!(replaced.find(&key(1)).unwrap().state, KeyState::Retired);
        assert_eq!(replaced.active(Role::Root).collect::<Vec<_>>(), [&key(2)]);
        let root = KeyChange::Add { key: key(3), roles: [Role::Root].into(), expires: None };
        let two = replaced.changed(&root, 9).unwrap().changed(&KeyChange::Threshold(2), 9).unwrap();
        assert_eq!((two.version, two.threshold, two.active(Role::Root).count()), (4, 2, 2));
        let check = |list: &KeyList, change: KeyChange, expect: &str| {
            let error = list.changed(&change, 9).unwrap_err();
            assert!(error.to_string().ends_with(expect), "{error}");
        };
        let revoked = |key| KeyChange::Become { key, state: KeyState::Revoked };
        check(&two, revoked(key(3)), "2 root keys must sign and 1 can");
        check(&two, revoked(key(9)), "it is not in the list of keys");
        check(&two, root, "it is in the list of keys already");
        check(&first, revoked(key(1)), "1 root keys must sign and 0 can");
    }

    #[test]
    fn what_each_key_is_worth() {
        let mut expiring = listed(5, BOTH, KeyState::Active);
        expiring.expires = Some(1_000);
        let keys = vec![
            listed(1, BOTH, KeyState::Active),
            listed(2, BOTH, KeyState::Retired),
            listed(3, BOTH, KeyState::Revoked),
            listed(4, &[Role::Root], KeyState::Active),
            expiring,
        ];
        let trusted = TrustedKeys::remembered(KeyList { version: 1, issued: 0, threshold: 1, keys });
        let check = |signer: u8, now: i64, fresh: bool, ever: bool| {
            let mut envelope = Envelope::new(SignedKind::Pointer, b"{}".to_vec());
            sign(&mut envelope, &key(signer));
            assert_eq!(trusted.open_fresh(&envelope, now, &verify).is_ok(), fresh, "key {signer} at {now}");
            assert_eq!(trusted.open(&envelope, &verify).is_ok(), ever, "key {signer}");
        };
        check(1, 0, true, true);
        check(2, 0, false, true);
        check(3, 0, false, false);
        check(4, 0, false, false);
        check(5, 999, true, true);
        check(5, 1_000, false, true);
        check(6, 0, false, false);
    }
}
