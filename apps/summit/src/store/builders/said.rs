//! What an operator says about a builder, and what of it cannot be. Pure: nothing here knows of rows.

use std::collections::BTreeSet;

use farm::schedule::Trust;
use fault::{Fault, Kind};
use serde::{Deserialize, Serialize};

use crate::config::BuilderSize;

/// Longest name of a builder, label or feature: they stand in tables and addresses.
const WORD_SIZE_BYTES_MAX: usize = 64;

/// Most labels, or features, of one builder.
const WORDS_MAX: usize = 64;

/// What an operator says about a builder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuilderSaid {
    /// Its name, for people: no two builders have the same.
    pub name: String,
    /// Words for people.
    pub labels: BTreeSet<String>,
    /// What it has beyond others: words that a `[[project.requirement]]` asks for.
    pub features: BTreeSet<String>,
    /// Whether it belongs to the distribution.
    pub trust: Trust,
    /// How large it is, beside the others.
    pub size: BuilderSize,
    /// What its key may do.
    pub role: BuilderRole,
}

/// What a key may do. It is the operator's word, and no agent can claim another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuilderRole {
    /// Attach and build; nothing else.
    #[default]
    Builder,
    /// Wake Summit up when something was pushed; nothing else.
    Waker,
}

/// What is to be changed about a builder. Nothing unless said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BuilderChange {
    /// Another name.
    pub name: Option<String>,
    /// Labels to add.
    pub add_labels: Vec<String>,
    /// Labels to take away.
    pub remove_labels: Vec<String>,
    /// Features to add.
    pub add_features: Vec<String>,
    /// Features to take away.
    pub remove_features: Vec<String>,
    /// Another trust: `official` or `any`.
    pub trust: Option<String>,
    /// Another size: `small`, `medium` or `large`.
    pub size: Option<String>,
}

/// Why a builder is not changed as somebody wished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuilderRefusal {
    /// Another one has that name.
    #[error("cannot call a builder {name:?}: the builder with the key {key} has that name")]
    NameTaken {
        /// The name.
        name: String,
        /// The other one's key.
        key: String,
    },
    /// The configuration names it.
    #[error("cannot {verb} builder {name:?}: the configuration says so")]
    InConfiguration {
        /// What was wanted.
        verb: &'static str,
        /// Its name.
        name: String,
    },
    /// Not a name.
    #[error("cannot call a builder {name:?}: 1 to {WORD_SIZE_BYTES_MAX} characters without `/` are a name")]
    BadName {
        /// The text.
        name: String,
    },
    /// Not a word.
    #[error(
        "cannot use {word:?} as {what}: 1 to {WORD_SIZE_BYTES_MAX} letters, digits, `-`, `_`, `.`, `:`, `=` and `+` are one, the first a letter or digit"
    )]
    BadWord {
        /// What it was to be.
        what: &'static str,
        /// The text.
        word: String,
    },
    /// Too many words.
    #[error("cannot give a builder more than {WORDS_MAX} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
    },
    /// A value that is none.
    #[error("cannot use {value:?} as {what}: {known} are known")]
    BadValue {
        /// What it was to be.
        what: &'static str,
        /// The text.
        value: String,
        /// What it could be.
        known: &'static str,
    },
    /// The key belongs to somebody who is no builder.
    #[error("cannot add builder {name:?}: the key {key} is {owner}'s own")]
    OwnKey {
        /// The name.
        name: String,
        /// The key.
        key: String,
        /// Whose it is.
        owner: &'static str,
    },
    /// The key is a builder already.
    #[error("cannot add builder {name:?}: the key {key} is builder {other:?} already")]
    KeyTaken {
        /// The name.
        name: String,
        /// The key.
        key: String,
        /// Who has it.
        other: String,
    },
}

impl Fault for BuilderRefusal {
    fn kind(&self) -> Kind {
        match self {
            BuilderRefusal::NameTaken { .. }
            | BuilderRefusal::InConfiguration { .. }
            | BuilderRefusal::KeyTaken { .. } => Kind::Conflict,
            BuilderRefusal::BadName { .. }
            | BuilderRefusal::BadWord { .. }
            | BuilderRefusal::TooMany { .. }
            | BuilderRefusal::BadValue { .. } => Kind::Input,
            BuilderRefusal::OwnKey { .. } => Kind::Denied,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            BuilderRefusal::NameTaken { name, .. } => vec![format!(
                "choose another name, or rename that one: `moraine builder label {name} --name OTHER`"
            )],
            BuilderRefusal::InConfiguration { .. } => vec![
                "change its `[[builder]]` in Summit's configuration: that takes effect at the next look, and at once after SIGHUP"
                    .into(),
            ],
            BuilderRefusal::KeyTaken { other, .. } => {
                vec![format!("to change it: `moraine builder label {other}`; to make it anew: `moraine builder remove {other}` first")]
            }
            BuilderRefusal::OwnKey { .. } => {
                vec!["each machine has a key of its own: `avalanche key --data DIR` prints it".into()]
            }
            BuilderRefusal::BadName { .. }
            | BuilderRefusal::BadWord { .. }
            | BuilderRefusal::TooMany { .. }
            | BuilderRefusal::BadValue { .. } => Vec::new(),
        }
    }
}

impl BuilderRole {
    /// Its name in messages, files and the database.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            BuilderRole::Builder => "builder",
            BuilderRole::Waker => "waker",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        [BuilderRole::Builder, BuilderRole::Waker].into_iter().find(|role| role.keyword() == keyword)
    }
}

impl BuilderSaid {
    /// A builder of this name of which nothing else is said.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// What of it cannot be.
    ///
    /// # Errors
    /// Names the first word that is none.
    pub fn check(&self) -> Result<(), BuilderRefusal> {
        let name = &self.name;
        let odd = |letter: char| letter.is_control() || letter == '/';
        if name.trim() != name || name.is_empty() || name.len() > WORD_SIZE_BYTES_MAX || name.contains(odd) {
            return Err(BuilderRefusal::BadName { name: name.chars().take(80).collect() });
        }
        for (what, one, words) in
            [("labels", "a label", &self.labels), ("features", "a feature", &self.features)]
        {
            if words.len() > WORDS_MAX {
                return Err(BuilderRefusal::TooMany { what });
            }
            for text in words {
                word(one, text)?;
            }
        }
        Ok(())
    }

    /// This with a change.
    ///
    /// # Errors
    /// When a word or value cannot be.
    pub fn changed(&self, change: &BuilderChange) -> Result<Self, BuilderRefusal> {
        let mut said = self.clone();
        if let Some(name) = &change.name {
            said.name.clone_from(name);
        }
        said.labels.extend(change.add_labels.iter().cloned());
        said.labels.retain(|label| !change.remove_labels.contains(label));
        said.features.extend(change.add_features.iter().cloned());
        said.features.retain(|feature| !change.remove_features.contains(feature));
        if let Some(value) = &change.trust {
            said.trust = trust_of(value)?;
        }
        if let Some(value) = &change.size {
            said.size = size_of(value)?;
        }
        said.check()?;
        Ok(said)
    }
}

fn trust_of(value: &str) -> Result<Trust, BuilderRefusal> {
    let bad =
        || BuilderRefusal::BadValue { what: "a trust", value: value.to_owned(), known: "official and any" };
    Trust::from_keyword(value).ok_or_else(bad)
}

fn size_of(value: &str) -> Result<BuilderSize, BuilderRefusal> {
    let bad = || BuilderRefusal::BadValue {
        what: "a size",
        value: value.to_owned(),
        known: "small, medium and large",
    };
    BuilderSize::from_keyword(value).ok_or_else(bad)
}

fn word(what: &'static str, text: &str) -> Result<(), BuilderRefusal> {
    let mut letters = text.chars();
    let first = letters.next().is_some_and(char::is_alphanumeric);
    let others = letters.all(|letter| letter.is_alphanumeric() || "-_.:=+".contains(letter));
    match first && others && text.len() <= WORD_SIZE_BYTES_MAX {
        true => Ok(()),
        false => Err(BuilderRefusal::BadWord { what, word: text.chars().take(80).collect() }),
    }
}
