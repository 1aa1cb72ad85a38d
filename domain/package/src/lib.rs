//! Names, dependencies and providers, metadata and manifests of packages.

mod dependency;

pub use dependency::{Dependency, DependencyError, DependencyKind};
