//! What an event makes of a state.

use super::event::{Effect, Event, Refusal, Step};
use super::state::{Claim, Lease, State, Tries, Twin};
use crate::failure::{FAULTS_MAX, FailureClass, Place};
use crate::ids::AttemptId;
use crate::moment::Moment;
use crate::queue::Readiness;

/// What `event` makes of `state` at `now`.
///
/// # Errors
/// A refusal says why nothing changes.
pub fn step(state: &State, event: &Event, now: Moment) -> Result<Step, Refusal> {
    let verb = event.verb();
    match event {
        Event::Judged { readiness } => judged(state, readiness, verb, now),
        Event::Assigned { claim, until } => assigned(state, claim, *until, verb, now),
        Event::TwinAssigned { claim, until } => twin_assigned(state, claim, *until, verb),
        Event::Started { claim } => match holder(state, claim, verb)? {
            Holder::Twin(lease, since, twin) if twin.since.is_none() => {
                let twin = Twin { since: Some(now), ..twin.clone() };
                quiet(State::Building { lease: lease.clone(), since, twin: Some(twin) })
            }
            Holder::First(lease) if matches!(state, State::Leased { .. }) => {
                quiet(State::Building { lease: lease.clone(), since: now, twin: None })
            }
            _ => Err(Refusal::Unchanged { verb }),
        },
        Event::Renewed { claim, until } => renewed(state, claim, *until, verb),
        Event::Declined { claim, reason } => declined(state, claim, reason, verb, now),
        Event::Built { claim, artefacts } => {
            let lease = match holder(state, claim, verb)? {
                Holder::First(_) if matches!(state, State::Publishing { .. }) => {
                    return Err(Refusal::Unchanged { verb });
                }
                Holder::First(lease) => lease.clone(),
                Holder::Twin(first, _, twin) => {
                    Lease { claim: twin.claim.clone(), until: twin.until, tries: first.tries.clone() }
                }
            };
            let mut effects = vec![Effect::ExpectUpload(claim.clone())];
            let others = state.claims().filter(|(other, _)| *other != claim);
            effects.extend(others.map(|(other, _)| Effect::StopBuild(other.clone())));
            let next = State::Publishing { lease, artefacts: artefacts.clone(), since: now };
            Ok(Step { next, effects })
        }
        Event::Broke { claim, class, message, during } => {
            let mut step = lost_one(state, holder(state, claim, verb)?, *class, message, during, now);
            if !step.next.phase().is_running() {
                let others = state.claims().filter(|(other, _)| *other != claim);
                step.effects.extend(others.map(|(other, _)| Effect::StopBuild(other.clone())));
            }
            step.effects.push(Effect::Release(claim.clone()));
            withdraw_if_publishing(state, &mut step);
            Ok(step)
        }
        Event::Expired { claim } => {
            let holder = holder(state, claim, verb)?;
            let until = match holder {
                Holder::First(lease) => lease.until,
                Holder::Twin(_, _, twin) => twin.until,
            };
            if now < until {
                return Err(Refusal::TooEarly { verb, until });
            }
            let mut step =
                lost_one(state, holder, FailureClass::Lost, "nothing was heard of the builder", "", now);
            withdraw_if_publishing(state, &mut step);
            Ok(step)
        }
        Event::Landed { attempt, history } => {
            let lease = publishing(state, *attempt, verb)?;
            let next = State::Published { attempt: *attempt, history: history.clone() };
            Ok(Step { next, effects: vec![Effect::Release(lease.claim.clone()), Effect::JudgeDependents] })
        }
        Event::Rejected { attempt, reason } => {
            let lease = publishing(state, *attempt, verb)?;
            let mut step = broken(lease, FailureClass::StoreFault, reason, "publish", now);
            step.effects.extend([Effect::Withdraw(*attempt), Effect::Release(lease.claim.clone())]);
            Ok(step)
        }
        Event::RetryAsked => match state {
            State::Failed { .. } | State::Cancelled { .. } => {
                Ok(Step { next: State::new(), effects: vec![Effect::JudgeDependents] })
            }
            _ => Err(not_now(state, verb)),
        },
        Event::CancelAsked { why } => match state {
            // What the repository is about to publish cannot be called back with certainty.
            State::Publishing { .. }
            | State::Published { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Superseded { .. } => Err(not_now(state, verb)),
            _ => Ok(ended(state, State::Cancelled { why: why.clone() })),
        },
        Event::Held { by, why } => match (state, state.tries()) {
            (State::Held { .. }, _) => Err(Refusal::Unchanged { verb }),
            // What needs it waits now, also where this one was in the way.
            (_, Some(tries)) => Ok(Step {
                next: State::Held { by: by.clone(), why: why.clone(), since: now, tries: tries.clone() },
                effects: vec![Effect::JudgeDependents],
            }),
            (_, None) => Err(not_now(state, verb)),
        },
        Event::Released => match state {
            State::Held { tries, .. } => Ok(Step {
                next: State::Waiting { tries: tries.clone() },
                effects: vec![Effect::JudgeDependents],
            }),
            _ => Err(not_now(state, verb)),
        },
        Event::Replaced { by } => match state {
            State::Publishing { .. } | State::Published { .. } | State::Superseded { .. } => {
                Err(Refusal::WrongPhase { verb, phase: state.phase() })
            }
            _ => Ok(ended(state, State::Superseded { by: *by })),
        },
    }
}

/// A person's wish that the state does not allow.
fn not_now(state: &State, verb: &'static str) -> Refusal {
    match state {
        State::Superseded { by } => Refusal::Superseded { verb, by: *by },
        _ => Refusal::WrongPhase { verb, phase: state.phase() },
    }
}

fn judged(state: &State, readiness: &Readiness, verb: &'static str, now: Moment) -> Result<Step, Refusal> {
    let Some(tries) = state.tries().cloned() else {
        return Err(Refusal::WrongPhase { verb, phase: state.phase() });
    };
    let next = match (readiness, state) {
        (Readiness::Ready, State::Ready { .. }) => return Err(Refusal::Unchanged { verb }),
        (Readiness::Ready, _) => State::Ready { since: now, tries },
        (Readiness::Waits {}, _) => State::Waiting { tries },
        (Readiness::Blocked { by }, _) => State::Blocked { by: by.clone(), tries },
    };
    if next == *state {
        return Err(Refusal::Unchanged { verb });
    }
    quiet(next)
}

fn assigned(
    state: &State,
    claim: &Claim,
    until: Moment,
    verb: &'static str,
    now: Moment,
) -> Result<Step, Refusal> {
    let State::Ready { tries, .. } = state else {
        return Err(Refusal::WrongPhase { verb, phase: state.phase() });
    };
    if now < tries.not_before {
        return Err(Refusal::TooEarly { verb, until: tries.not_before });
    }
    let lease = Lease { claim: claim.clone(), until, tries: tries.clone() };
    Ok(Step { next: State::Leased { lease }, effects: vec![Effect::SendOrder(claim.clone())] })
}

fn twin_assigned(state: &State, claim: &Claim, until: Moment, verb: &'static str) -> Result<Step, Refusal> {
    match state {
        State::Building { twin: Some(_), .. } => Err(Refusal::Unchanged { verb }),
        State::Building { lease, .. } if lease.claim.builder == claim.builder => {
            Err(Refusal::SameBuilder { verb })
        }
        State::Building { lease, since, twin: None } => {
            let twin = Twin { claim: claim.clone(), until, since: None };
            let next = State::Building { lease: lease.clone(), since: *since, twin: Some(twin) };
            Ok(Step { next, effects: vec![Effect::SendOrder(claim.clone())] })
        }
        _ => Err(Refusal::WrongPhase { verb, phase: state.phase() }),
    }
}

fn renewed(state: &State, claim: &Claim, until: Moment, verb: &'static str) -> Result<Step, Refusal> {
    let lease = match holder(state, claim, verb)? {
        Holder::Twin(_, _, twin) if until <= twin.until => return Err(Refusal::Unchanged { verb }),
        Holder::Twin(lease, since, twin) => {
            let twin = Twin { until, ..twin.clone() };
            return quiet(State::Building { lease: lease.clone(), since, twin: Some(twin) });
        }
        Holder::First(lease) => lease,
    };
    if until <= lease.until {
        return Err(Refusal::Unchanged { verb });
    }
    let lease = Lease { until, ..lease.clone() };
    quiet(match state {
        State::Building { since, twin, .. } => State::Building { lease, since: *since, twin: twin.clone() },
        State::Publishing { since, artefacts, .. } => {
            State::Publishing { lease, artefacts: artefacts.clone(), since: *since }
        }
        _ => State::Leased { lease },
    })
}

fn declined(
    state: &State,
    claim: &Claim,
    reason: &str,
    verb: &'static str,
    now: Moment,
) -> Result<Step, Refusal> {
    match holder(state, claim, verb)? {
        Holder::Twin(lease, since, twin) if twin.since.is_none() => {
            quiet(State::Building { lease: lease.clone(), since, twin: None })
        }
        Holder::First(lease) if matches!(state, State::Leased { .. }) => {
            // Nothing was tried, so nothing failed: declining alone never ends a task.
            let mut lease = lease.clone();
            lease.tries.faults = lease.tries.faults.min(FAULTS_MAX - 2);
            Ok(broken(&lease, FailureClass::HostFault, &format!("the builder declined: {reason}"), "", now))
        }
        _ => Err(Refusal::WrongPhase { verb, phase: state.phase() }),
    }
}

/// Whose claim it is.
#[derive(Debug, Clone, Copy)]
enum Holder<'s> {
    First(&'s Lease),
    /// The lease of the first attempt and since when it builds; the second attempt.
    Twin(&'s Lease, Moment, &'s Twin),
}

/// Who holds the task with `claim`.
fn holder<'s>(state: &'s State, claim: &Claim, verb: &'static str) -> Result<Holder<'s>, Refusal> {
    match state {
        State::Building { lease, since, twin: Some(twin) } if twin.claim == *claim => {
            Ok(Holder::Twin(lease, *since, twin))
        }
        _ => match state.lease() {
            Some(lease) if lease.claim == *claim => Ok(Holder::First(lease)),
            _ => Err(Refusal::NotHolder { verb, attempt: claim.attempt }),
        },
    }
}

/// The lease, if `attempt` is being published.
fn publishing<'s>(state: &'s State, attempt: AttemptId, verb: &'static str) -> Result<&'s Lease, Refusal> {
    match state {
        State::Publishing { lease, .. } if lease.claim.attempt == attempt => Ok(lease),
        _ => Err(Refusal::NotHolder { verb, attempt }),
    }
}

/// An attempt came to nothing: try again, or give up.
fn broken(lease: &Lease, class: FailureClass, message: &str, during: &str, now: Moment) -> Step {
    let faults = lease.tries.faults + 1;
    let policy = class.policy();
    if faults < policy.attempts_max {
        let avoid = (policy.place == Place::Elsewhere).then(|| lease.claim.builder.clone());
        let tries = Tries { faults, not_before: now.after(policy.rest(faults)), avoid };
        return Step { next: State::Ready { since: now, tries }, effects: Vec::new() };
    }
    let next = match class {
        FailureClass::Cancelled => State::Cancelled { why: message.to_owned() },
        _ => State::Failed {
            attempt: lease.claim.attempt,
            class,
            message: message.to_owned(),
            during: during.to_owned(),
        },
    };
    Step { next, effects: vec![Effect::JudgeDependents] }
}

/// One attempt came to nothing. Where there is another, it may go on.
fn lost_one(
    state: &State,
    holder: Holder<'_>,
    class: FailureClass,
    message: &str,
    during: &str,
    now: Moment,
) -> Step {
    let quiet = |next| Step { next, effects: Vec::new() };
    match (holder, state) {
        (Holder::Twin(lease, since, _), _) if class.may_be_the_machine() => {
            quiet(State::Building { lease: lease.clone(), since, twin: None })
        }
        (Holder::Twin(lease, _, twin), _) => {
            let lease = Lease { claim: twin.claim.clone(), until: twin.until, tries: lease.tries.clone() };
            broken(&lease, class, message, during, now)
        }
        (Holder::First(lease), State::Building { twin: Some(twin), .. }) if class.may_be_the_machine() => {
            let faults = lease.tries.faults + u32::from(class.is_infrastructure());
            let avoid = Some(lease.claim.builder.clone());
            let tries = Tries { faults, avoid, ..lease.tries.clone() };
            let lease = Lease { claim: twin.claim.clone(), until: twin.until, tries };
            quiet(match twin.since {
                Some(since) => State::Building { lease, since, twin: None },
                None => State::Leased { lease },
            })
        }
        (Holder::First(lease), _) => broken(lease, class, message, during, now),
    }
}

fn withdraw_if_publishing(state: &State, step: &mut Step) {
    if let State::Publishing { lease, .. } = state {
        step.effects.push(Effect::Withdraw(lease.claim.attempt));
    }
}

/// The end of a task on somebody's word.
fn ended(state: &State, next: State) -> Step {
    let mut effects = Vec::new();
    effects.extend(state.claims().map(|(claim, _)| Effect::StopBuild(claim.clone())));
    effects.push(Effect::JudgeDependents);
    Step { next, effects }
}

fn quiet(next: State) -> Result<Step, Refusal> {
    Ok(Step { next, effects: Vec::new() })
}
