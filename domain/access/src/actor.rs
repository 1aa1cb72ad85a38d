//! Who does something, and what a token allows.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::token::TokenId;

/// What a token allows. Each also allows to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at everything but tokens and the audit trail, also where the public may not; plan rebuilds.
    Read,
    /// Retry, cancel, hold, release, set priorities, pause, wake up.
    Operate,
    /// Order rebuilds.
    Plan,
    /// Add, enrol, label, drain and remove builders.
    Builders,
    /// Move streams of channels: what users get.
    Channels,
    /// Tokens, the audit trail, webhooks.
    Admin,
}

/// A word that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope; known are read, operate, plan, builders, channels, admin")]
pub struct UnknownScope(pub String);

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 6] =
        [Scope::Read, Scope::Operate, Scope::Plan, Scope::Builders, Scope::Channels, Scope::Admin];

    /// As it is written.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Operate => "operate",
            Scope::Plan => "plan",
            Scope::Builders => "builders",
            Scope::Channels => "channels",
            Scope::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.keyword())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let found = Scope::ALL.into_iter().find(|scope| scope.keyword() == text);
        found.ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// Whoever asks for something, as far as it is known who that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Somebody who shows nothing.
    Visitor,
    /// Somebody at the machine that Summit runs on, where the operator takes them for himself.
    Local,
    /// Whoever holds a token, directly or by a session that was begun with it.
    Token {
        /// Which one.
        id: TokenId,
        /// What its owner calls it.
        name: String,
        /// What it allows.
        scopes: BTreeSet<Scope>,
    },
    /// Somebody at a command line who may write in Summit's data folder.
    DataFolder,
    /// The file that Summit is configured with.
    Configuration,
    /// A build agent, by its key.
    Agent {
        /// The key.
        key: String,
    },
    /// The repository, by its key.
    Vessel,
    /// A forge that knows the secret of a project.
    Forge {
        /// The project.
        project: String,
    },
    /// Summit by itself.
    Summit,
}

impl Actor {
    /// What kind of actor it is, in a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Actor::Visitor => "visitor",
            Actor::Local => "local",
            Actor::Token { .. } => "token",
            Actor::DataFolder => "data_folder",
            Actor::Configuration => "configuration",
            Actor::Agent { .. } => "agent",
            Actor::Vessel => "vessel",
            Actor::Forge { .. } => "forge",
            Actor::Summit => "summit",
        }
    }

    /// Which one of its kind; empty where there is only one.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Actor::Token { name, .. } => name,
            Actor::Agent { key } => key,
            Actor::Forge { project } => project,
            _ => "",
        }
    }
}

/// For people: who it was.
impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Visitor => formatter.write_str("a visitor"),
            Actor::Local => formatter.write_str("somebody at this machine"),
            Actor::Token { name, .. } => write!(formatter, "{name}"),
            Actor::DataFolder => formatter.write_str("the command line"),
            Actor::Configuration => formatter.write_str("the configuration"),
            Actor::Agent { key } => write!(formatter, "agent {key}"),
            Actor::Vessel => formatter.write_str("Vessel"),
            Actor::Forge { project } => write!(formatter, "the forge of {project}"),
            Actor::Summit => formatter.write_str("Summit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for scope in Scope::ALL {
            assert_eq!(scope.keyword().parse(), Ok(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.keyword());
        }
        assert_eq!("root".parse::<Scope>(), Err(UnknownScope("root".into())));
    }
}
