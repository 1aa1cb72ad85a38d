//! Recipes and their manifests: from bytes to a catalogue.
//!
//! What the bytes of one recipe mean is decided by [`understand`], a pure function; where the bytes come from is
//! somebody else's business:
//!
//! * [`read_folder`]: a plain folder, for tools that plan and simulate without a Summit;
//! * `discover`: a commit of a git mirror, where only what changed is read.
//!
//! One recipe that cannot be read is kept with its place and its problem and stops no other. Work on many recipes is
//! spread over the cores of the machine; the result does not depend on how many there are.

mod folder;
mod spread;
mod understand;

pub use folder::{ReadFolderError, read_folder};
pub(crate) use spread::on_all_cores;
pub(crate) use understand::{understand_manifest, understand_recipe};

/// Name of a recipe file.
pub(crate) const RECIPE: &str = "stone.yaml";

/// Largest manifest that is read. The largest one of AerynOS, of a package collection with thousands of providers,
/// has some 300 KB.
pub(crate) const MANIFEST_SIZE_BYTES_MAX: u64 = 8 << 20;

/// Recipes that are read from one repository: twenty times what the largest distributions have.
pub(crate) const RECIPES_MAX: usize = 500_000;

/// The folder of a path; empty for a file at the top.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
