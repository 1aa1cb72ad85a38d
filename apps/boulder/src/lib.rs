//! Turns a recipe into packages in a sandbox.
//!
//! [`build`](mod@build) is the order of the steps. What is chosen on the way is chosen by pure functions: scripts and package
//! rules in `recipe`, the tree that a build sees in [`root`], what is split in [`split`], what a file offers and needs in
//! [`analyse`](mod@analyse). Everything that a recipe brings runs in the sandbox and nowhere else.

pub mod analyse;
pub mod build;
pub mod clean;
pub mod cli;
pub mod collect;
pub mod emit;
pub mod packages;
pub mod pages;
pub mod recipe_cli;
mod repository_argument;
mod room;
pub mod root;
pub mod sources;
pub mod split;
mod stop;
