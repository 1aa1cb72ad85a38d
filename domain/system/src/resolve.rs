//! From a request and the packages that exist to the new set of packages, or to the chain that cannot hold.
//!
//! Invariants of every answer: one package per name; every dependency of every package in the set is provided by the
//! set (or was allowed to be missing, and is then listed); no package conflicts with another; nothing that is installed
//! is replaced by an older release. The answer depends only on what is said in the arguments: among several providers
//! the highest repository priority wins, then the newest source release, then the newest build, then the name. Digests
//! are never compared.
//!
//! How: one pass walks the needs in order and takes the first provider that nothing speaks against. Where a need is
//! left with none, the pass says what stood in the way, and the search tries again with that one thing changed: another
//! version of the package that holds the name, without the package that conflicts, without the package that needs it.
//! The number of passes is bounded, so a hopeless request ends soon with the first, and plainest, explanation.
//!
//! It does not know version constraints, alternatives or optional dependencies: the formats have none.

mod answer;
mod remove;
mod search;
mod universe;

pub use answer::{
    ChainLink, Note, Obstacle, Origin, Removal, RemovalReason, Resolution, ResolveError, Selected, Stuck,
    Unresolved, Upgrade,
};
use package::{Dependency, DependencyKind};
pub use universe::{Candidate, Installed, Source, Universe};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// These, and what they need, beside everything that is installed already. What they name becomes explicit.
    Install(Vec<Dependency>),
    /// Not these, nor what cannot be without them, nor what only they needed.
    Remove(Vec<Dependency>),
    /// Everything explicit in the newest release, and what it needs now.
    Sync,
    /// This installed package in the newest release, and what it needs now; everything else stays as far as it can.
    Upgrade(String),
}

/// What to do about a need that no package anywhere provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// It is an error.
    Refuse,
    /// Needs of these kinds may stay open; they are listed in the answer.
    Allow(Vec<DependencyKind>),
}

impl Missing {
    pub(crate) fn allows(&self, dependency: &Dependency) -> bool {
        match self {
            Missing::Refuse => false,
            Missing::Allow(kinds) => kinds.contains(&dependency.kind),
        }
    }
}

/// Decides which packages the system is made of next.
///
/// # Errors
/// When no set of packages can satisfy the request, with the chain of needs that ends at the obstacle.
pub fn resolve(
    universe: &Universe<'_>,
    request: &Request,
    missing: &Missing,
) -> Result<Resolution, ResolveError> {
    match request {
        Request::Install(wanted) => search::install(universe, wanted, missing),
        Request::Remove(named) => remove::remove(universe, named),
        Request::Sync => search::sync(universe, missing),
        Request::Upgrade(name) => search::upgrade(universe, name, missing),
    }
}

#[cfg(test)]
mod tests;
