//! What the resolver answers, and how it explains that there is no answer.

use std::fmt;

use fault::{Fault, Kind};
use package::Dependency;

use crate::PackageSummary;

/// The new set of packages and how it differs from the installed one. All lists are sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// The whole set.
    pub selection: Vec<Selected>,
    /// Names that were not installed.
    pub added: Vec<PackageSummary>,
    /// Names that stay, in another package.
    pub upgraded: Vec<Upgrade>,
    /// Names that go.
    pub removed: Vec<Removal>,
    /// Installed names that were there for others and are explicit from now on.
    pub made_explicit: Vec<String>,
    /// What else a person should know.
    pub notes: Vec<Note>,
    /// Needs that nobody provides and that were allowed to stay open, sorted and without repetition.
    pub unresolved: Vec<Unresolved>,
}

impl Resolution {
    /// Whether the system would be the same afterwards.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        self.added.is_empty()
            && self.upgraded.is_empty()
            && self.removed.is_empty()
            && self.made_explicit.is_empty()
    }
}

/// A package of the new set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The package.
    pub package: PackageSummary,
    /// Whether somebody asked for it by name, now or earlier.
    pub explicit: bool,
    /// Why it is in the set.
    pub origin: Origin,
}

/// Why a package is in the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The request names it.
    Asked,
    /// It is installed.
    Installed,
    /// Another package needs something that it provides.
    NeededBy {
        /// Name of the other package.
        name: String,
        /// What that one needs.
        dependency: Dependency,
    },
}

/// A name that stays, in another package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The installed package.
    pub from: PackageSummary,
    /// What takes its place.
    pub to: PackageSummary,
}

/// A package that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The package.
    pub package: PackageSummary,
    /// Why.
    pub reason: RemovalReason,
}

/// Why a package goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovalReason {
    /// The request names it.
    Asked,
    /// It needs something that goes.
    Needs(Dependency),
    /// Nothing explicit needs it any more.
    Orphaned,
}

impl fmt::Display for RemovalReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemovalReason::Asked => formatter.write_str("asked for by you"),
            RemovalReason::Needs(dependency) => write!(formatter, "needs {}", dependency.short()),
            RemovalReason::Orphaned => formatter.write_str("no longer needed"),
        }
    }
}

/// Something a person should know about an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The repositories have only an older release; the installed one stays.
    NewerThanAvailable {
        /// What is installed.
        installed: PackageSummary,
        /// What the repositories have.
        available: PackageSummary,
    },
    /// No repository has it any more; the installed one stays.
    Unavailable(PackageSummary),
    /// A newer one exists and cannot be taken.
    HeldBack {
        /// What stays.
        installed: PackageSummary,
        /// What cannot be taken.
        available: PackageSummary,
        /// Why not.
        reason: String,
    },
}

impl Note {
    /// The installed package that it speaks of.
    #[must_use]
    pub fn package(&self) -> &PackageSummary {
        match self {
            Note::NewerThanAvailable { installed, .. } | Note::HeldBack { installed, .. } => installed,
            Note::Unavailable(installed) => installed,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::NewerThanAvailable { installed, available } => {
                write!(
                    formatter,
                    "{installed} stays: the repositories have only {}-{}",
                    available.version, available.release.source
                )
            }
            Note::Unavailable(installed) => {
                write!(formatter, "{installed} stays: no repository has it any more")
            }
            Note::HeldBack { installed, available, reason } => {
                write!(
                    formatter,
                    "{installed} stays, {}-{} cannot be taken: {reason}",
                    available.version, available.release.source
                )
            }
        }
    }
}

/// A need that nobody provides and that was allowed to stay open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unresolved {
    /// The need.
    pub dependency: Dependency,
    /// Name of the package that has it; none when the request itself names it.
    pub needed_by: Option<String>,
}

/// One step of an explanation: this package needs that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainLink {
    /// The package.
    pub package: PackageSummary,
    /// What it needs.
    pub needs: Dependency,
}

/// Why a provider of a need could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Another package of the same name is in the set already.
    NameTaken {
        /// The provider.
        provider: PackageSummary,
        /// What holds its name.
        taken_by: PackageSummary,
    },
    /// It and a package of the set exclude each other.
    Conflict {
        /// The provider.
        provider: PackageSummary,
        /// The package of the set.
        other: PackageSummary,
        /// What one has and the other refuses.
        over: Dependency,
    },
    /// It is older than what is installed.
    Older {
        /// The provider.
        provider: PackageSummary,
        /// What is installed.
        installed: PackageSummary,
    },
    /// It was tried and led nowhere.
    Tried {
        /// The provider.
        provider: PackageSummary,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::NameTaken { provider, taken_by } => {
                write!(formatter, "{provider} would replace {taken_by}, which must stay")
            }
            Obstacle::Conflict { provider, other, over } => {
                write!(formatter, "{provider} conflicts with {other} over {}", over.short())
            }
            Obstacle::Older { provider, installed } => {
                write!(formatter, "{provider} is older than the installed {installed}")
            }
            Obstacle::Tried { provider } => write!(formatter, "{provider} cannot be taken either"),
        }
    }
}

/// A need that cannot be met, and the way that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// From what was asked for, or is installed, down to the package with the need.
    pub chain: Vec<ChainLink>,
    /// The need.
    pub dependency: Dependency,
    /// Why each provider could not be taken; empty when nobody provides it.
    pub obstacles: Vec<Obstacle>,
    /// Whether the chain begins at something installed and not at the request.
    pub from_installed: bool,
}

impl fmt::Display for Stuck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, link) in self.chain.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(formatter, "{separator}{} needs {}", link.package, link.needs.short())?;
        }
        match (self.chain.is_empty(), self.obstacles.is_empty()) {
            (true, true) => write!(formatter, "nobody provides {}", self.dependency.short())?,
            (false, true) => formatter.write_str(", which nobody provides")?,
            (true, false) => write!(formatter, "{} cannot be had: ", self.dependency.short())?,
            (false, false) => formatter.write_str(", which cannot be had: ")?,
        }
        for (position, obstacle) in self.obstacles.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(formatter, "{separator}{obstacle}")?;
        }
        let first =
            self.chain.first().map_or_else(|| self.dependency.short(), |link| link.package.name.clone());
        match (self.from_installed, self.chain.is_empty()) {
            (true, _) => write!(formatter, "; {first} is installed"),
            (false, true) => formatter.write_str("; asked for by you"),
            (false, false) => write!(formatter, "; {first} was asked for by you"),
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// A need cannot be met.
    #[error("cannot find a set of packages that holds together: {0}")]
    Unsatisfiable(Box<Stuck>),
    /// The search was given up. The first obstacle is named; there may be another way around it.
    #[error(
        "cannot find a set of packages that holds together in {passes} attempts; the first one ended here: {stuck}"
    )]
    TooHard {
        /// How many ways were tried.
        passes: usize,
        /// Where the first one ended.
        stuck: Box<Stuck>,
    },
    /// What is to be removed is not there.
    #[error("cannot remove {}: it is not installed", .dependency.short())]
    NotInstalled {
        /// What the request names.
        dependency: Dependency,
    },
}

impl ResolveError {
    fn stuck(&self) -> Option<&Stuck> {
        match self {
            ResolveError::Unsatisfiable(stuck) | ResolveError::TooHard { stuck, .. } => Some(stuck),
            ResolveError::NotInstalled { .. } => None,
        }
    }
}

impl Fault for ResolveError {
    fn kind(&self) -> Kind {
        match self.stuck() {
            Some(stuck) if stuck.obstacles.is_empty() => Kind::NotFound,
            Some(_) => Kind::Conflict,
            None => Kind::NotFound,
        }
    }

    fn hints(&self) -> Vec<String> {
        let Some(stuck) = self.stuck() else {
            return vec!["see what is installed: moss list installed".into()];
        };
        let mut hints = Vec::new();
        if stuck.obstacles.is_empty() {
            if stuck.chain.is_empty() {
                hints.push(format!("look for it: moss search {}", stuck.dependency.name));
            }
            hints.push("the repositories may have changed: moss repo update".into());
        }
        for obstacle in &stuck.obstacles {
            match obstacle {
                Obstacle::Conflict { provider, other, .. } => {
                    hints.push(format!(
                        "keep one of them: moss remove {} or moss remove {}",
                        other.name, provider.name
                    ));
                }
                Obstacle::NameTaken { taken_by, .. } => {
                    hints.push(format!(
                        "see what {} gives and needs: moss info {}",
                        taken_by.name, taken_by.name
                    ));
                }
                Obstacle::Older { .. } | Obstacle::Tried { .. } => {}
            }
        }
        hints.sort();
        hints.dedup();
        hints
    }
}
