//! Recipes: `stone.yaml` and `monitoring.yaml`, from text to build scripts.
//!
//! A recipe goes through three stages, each a type of its own, and nothing is guessed on the way:
//!
//! 1. [`Written`]: a tree of YAML nodes, every one with its line and column, every scalar as it was written;
//! 2. [`Recipe`]: every key read into its type, with the [`Warning`]s about what has no effect;
//! 3. [`BuildPlan`] and [`PackageRules`]: the scripts of one target with all macros expanded, and which file goes into
//!    which package.
//!
//! Invariants: whatever the bytes say, nothing here panics, and memory stays in proportion to the input, whose size is
//! bounded. What becomes part of a path or a command line is checked when the recipe is read. Every error names file,
//! line and column, shows the line, and says what to do.
//!
//! Nothing is fetched, run or written here, and recipes are never changed.

mod check;
mod error;
mod expand;
mod glob;
mod macros;
mod model;
pub mod monitoring;
mod name;
mod plan;
mod prepare;
mod problem;
mod read;
mod rules;
mod tuning;
mod written;

pub use check::check;
pub use error::{EvaluateError, RecipeError};
pub use expand::DEPTH_MAX as MACRO_DEPTH_MAX;
pub use macros::{Action, Macros, known_targets};
pub use model::{
    BuildFields, Options, PackageFields, Parsed, PathKind, PathPattern, Recipe, Text, Toolchain,
    TuningChoice, TuningSetting, Upstream,
};
pub use plan::{BuildContext, BuildPaths, BuildPlan, Phase, PhaseKind, plan};
pub use problem::{Position, Problem, Severity, Warning};
pub use read::parse;
pub use rules::{PackageDefinition, PackageRules, package_rules};
pub use written::{DEPTH_MAX, INPUT_BYTES_MAX, Key, NODES_MAX, Node, Style, Value, Written};
