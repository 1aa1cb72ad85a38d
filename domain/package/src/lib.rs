//! Names, dependencies and providers, metadata and manifests of packages.
//!
//! A package is described by [`PackageMeta`], which is what one meta payload of a `.stone` file says. Whatever of it ends
//! up in file names or web addresses is checked when it is read, so that no other crate has to: see [`check_component`].

mod component;
mod dependency;
mod interface;
mod manifest;
mod meta;

pub use component::{COMPONENT_BYTES_MAX, ComponentFault, check_component, valid_component};
pub use dependency::{Dependency, DependencyError, DependencyKind};
pub use interface::{InterfaceChange, interface_change, interface_stem};
pub use manifest::{ManifestError, ManifestFile, ManifestSource};
pub use meta::{Field, HASH_DIGITS, MetaError, PackageMeta, valid_hash};
