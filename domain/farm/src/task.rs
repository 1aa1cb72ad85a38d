//! The life of a task.
//!
//! A state owns everything that is true in it. One function, [`step`], says what an event makes of it; a refusal
//! changes nothing. A running task is a lease: reports count only with the claim (builder, attempt, token) of the
//! lease that runs. A lease that ran out is *lost*; lost attempts and faults of the farm are tried again, a limited
//! number of times ([`FailureClass::policy`](crate::failure::FailureClass::policy)), and are never charged to the recipe.
//!
//! A person may hold a task that is queued: it is not started, and what needs it waits, until it is released.
//!
//! What takes far too long may be begun a second time on another builder: a [`Twin`], with a claim of its own. The first
//! of the two that has built it goes on to be published, and the other is stopped. A failure that may be the machine's
//! ([`FailureClass::may_be_the_machine`](crate::failure::FailureClass::may_be_the_machine)) leaves the other one running; a failure of the recipe would only be repeated,
//! so it ends both. Tries are counted as if there had been one attempt after the other.
//!
//! Effects are what the caller should do next. Each can be read from the state as well, so a caller that was killed
//! before it did them finds them again. Every state and event is on one page, [`page`], which is `docs/task-life-cycle.md`.

mod event;
mod page;
mod state;
mod step;

pub use event::{Effect, Event, Refusal, Step};
pub use page::page;
pub use state::{Artefact, ArtefactKind, Claim, Lease, Phase, State, Tries, Twin};
pub use step::step;

#[cfg(test)]
mod tests;
