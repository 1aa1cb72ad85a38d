//! The farm's decisions: what is missing, in which order it is built, who builds it, and what may happen to a task.
//!
//! Pure functions over snapshots. The way of a commit:
//!
//! 1. [`catalogue`]: what the recipes of one commit promise; [`published`]: what the repository has.
//! 2. [`missing`]: which recipes need a build, and why; [`plan`]: which tasks that makes, and which it ends.
//! 3. [`graph`]: who needs whom, knots and levels; [`queue`]: what each task waits for.
//! 4. [`schedule`]: which ready task goes to which builder, and why the others wait.
//!    [`estimate`]: how long builds take, learned from what was built; [`critical_path`]: how much waits behind each.
//! 5. [`task`]: the life of one task, changed by one function; [`why`]: what people are told about it.
//! 6. [`rounds`]: when a knot that was built has to be built again; [`rebuild`]: what must be built again when a recipe
//!    is, and what that costs.
//! 7. [`sim`]: all of it with a virtual clock, to see what a plan or a policy is worth.
//!
//! Nothing here knows the time, a file, a socket or a database.

pub mod catalogue;
pub mod critical_path;
pub mod estimate;
pub mod failure;
pub mod graph;
pub mod ids;
pub mod map;
pub mod missing;
pub mod moment;
mod number_set;
pub mod plan;
pub mod published;
pub mod queue;
pub mod rebuild;
pub mod rounds;
pub mod schedule;
mod schema;
pub mod sim;
pub mod task;
mod texts;
pub mod why;
