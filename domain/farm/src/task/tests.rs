//! Every state × every event, and the rules that the cells follow.

use super::*;

const NOW: Moment = Moment(100_000);
const UNTIL: Moment = Moment(130_000);

fn claim() -> Claim {
    Claim { builder: BuilderId("a".into()), attempt: AttemptId(7), token: LeaseToken(70) }
}

fn lease() -> Lease {
    Lease { claim: claim(), until: UNTIL, tries: Tries::default() }
}

fn artefact() -> Artefact {
    Artefact {
        kind: ArtefactKind::Package,
        name: "nano-8.4-1-1-x86_64.stone".into(),
        size_bytes: 10,
        sha256: "0".repeat(64),
    }
}

/// One state for each phase.
fn states() -> Vec<State> {
    let tries = Tries::default;
    vec![
        State::Waiting { on: vec![TaskId(1)], tries: tries() },
        State::Blocked { by: vec![Blocker::Task { task: TaskId(1), source: "a".into() }], tries: tries() },
        State::Ready { since: Moment(1), tries: tries() },
        State::Leased { lease: lease() },
        State::Building { lease: lease(), since: Moment(2) },
        State::Publishing { lease: lease(), artefacts: vec![artefact()], since: Moment(3) },
        State::Published { attempt: AttemptId(7), history: "3-ab".into() },
        State::Failed {
            attempt: AttemptId(7),
            class: FailureClass::Build,
            message: "exit 2".into(),
            during: "build".into(),
        },
        State::Cancelled { why: "asked".into() },
        State::Superseded { by: Some(TaskId(9)) },
    ]
}

/// Every event, with the name of its column.
fn events() -> Vec<(&'static str, Event)> {
    let broke = |class| Event::Broke { claim: claim(), class, message: "m".into(), during: "build".into() };
    vec![
        ("judged ready", Event::Judged { readiness: Readiness::Ready }),
        ("judged waits", Event::Judged { readiness: Readiness::Waits { on: vec![TaskId(2)] } }),
        (
            "judged blocked",
            Event::Judged {
                readiness: Readiness::Blocked { by: vec![Blocker::Knot { source: "b".into() }] },
            },
        ),
        ("assigned", Event::Assigned { claim: claim(), until: UNTIL }),
        ("started", Event::Started { claim: claim() }),
        ("renewed", Event::Renewed { claim: claim(), until: Moment(UNTIL.0 + 1) }),
        ("declined", Event::Declined { claim: claim(), reason: "full".into() }),
        ("built", Event::Built { claim: claim(), artefacts: vec![artefact()] }),
        ("broke build", broke(FailureClass::Build)),
        ("broke host", broke(FailureClass::HostFault)),
        ("broke cancelled", broke(FailureClass::Cancelled)),
        ("expired", Event::Expired { claim: claim() }),
        ("landed", Event::Landed { attempt: AttemptId(7), history: "4-cd".into() }),
        ("rejected", Event::Rejected { attempt: AttemptId(7), reason: "older".into() }),
        ("retry asked", Event::RetryAsked),
        ("cancel asked", Event::CancelAsked { why: "asked".into() }),
        ("replaced", Event::Replaced { by: Some(TaskId(9)) }),
    ]
}

fn cell(state: &State, event: &Event, now: Moment) -> String {
    match step(state, event, now) {
        Ok(step) => {
            let effects = step.effects.iter().map(|effect| match effect {
                Effect::SendOrder(_) => "order",
                Effect::ExpectUpload(_) => "expect",
                Effect::StopBuild(_) => "stop",
                Effect::Withdraw(_) => "withdraw",
                Effect::Release(_) => "release",
                Effect::JudgeDependents => "judge",
            });
            let effects: Vec<&str> = effects.collect();
            format!("{} {}", step.next.phase(), effects.join("+")).trim_end().to_owned()
        }
        Err(Refusal::WrongPhase { .. }) => "-".into(),
        Err(Refusal::NotHolder { .. }) => "not holder".into(),
        Err(Refusal::TooEarly { .. }) => "too early".into(),
        Err(Refusal::Unchanged { .. }) => "unchanged".into(),
    }
}

/// Rows are events, columns are phases in the order of [`Phase::ALL`]. The time lies after the end of the lease.
const TABLE: &str = "
judged ready    | ready | ready | unchanged | - | - | - | - | - | - | -
judged waits    | waiting | waiting | waiting | - | - | - | - | - | - | -
judged blocked  | blocked | blocked | blocked | - | - | - | - | - | - | -
assigned        | - | - | leased order | - | - | - | - | - | - | -
started         | not holder | not holder | not holder | building | unchanged | unchanged | not holder | not holder | not holder | not holder
renewed         | not holder | not holder | not holder | leased | building | publishing | not holder | not holder | not holder | not holder
declined        | not holder | not holder | not holder | ready | - | - | not holder | not holder | not holder | not holder
built           | not holder | not holder | not holder | publishing expect | publishing expect | unchanged | not holder | not holder | not holder | not holder
broke build     | not holder | not holder | not holder | failed judge+release | failed judge+release | failed judge+release+withdraw | not holder | not holder | not holder | not holder
broke host      | not holder | not holder | not holder | ready release | ready release | ready release+withdraw | not holder | not holder | not holder | not holder
broke cancelled | not holder | not holder | not holder | cancelled judge+release | cancelled judge+release | cancelled judge+release+withdraw | not holder | not holder | not holder | not holder
expired         | not holder | not holder | not holder | ready | ready | ready withdraw | not holder | not holder | not holder | not holder
landed          | not holder | not holder | not holder | not holder | not holder | published release+judge | not holder | not holder | not holder | not holder
rejected        | not holder | not holder | not holder | not holder | not holder | ready withdraw+release | not holder | not holder | not holder | not holder
retry asked     | - | - | - | - | - | - | - | waiting judge | waiting judge | -
cancel asked    | cancelled judge | cancelled judge | cancelled judge | cancelled stop+judge | cancelled stop+judge | - | - | - | - | -
replaced        | superseded judge | superseded judge | superseded judge | superseded stop+judge | superseded stop+judge | - | - | superseded judge | superseded judge | -
";

#[test]
fn every_state_and_every_event() {
    let rows: Vec<Vec<&str>> =
        TABLE.trim().lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    let events = events();
    assert_eq!(rows.len(), events.len(), "every event has a row");
    let states = states();
    assert_eq!(states.iter().map(State::phase).collect::<Vec<_>>(), Phase::ALL, "every phase has a column");
    for (row, (name, event)) in rows.iter().zip(&events) {
        assert_eq!(row[0], *name);
        assert_eq!(row.len(), 1 + states.len());
        for (expect, state) in row[1..].iter().zip(&states) {
            assert_eq!(cell(state, event, UNTIL), *expect, "{name} in {}", state.phase());
        }
    }
}

#[test]
fn invariant_2_only_the_holder_of_the_lease_may_report() {
    let strangers = [
        Claim { builder: BuilderId("b".into()), ..claim() },
        Claim { attempt: AttemptId(8), ..claim() },
        Claim { token: LeaseToken(69), ..claim() },
    ];
    for claim in strangers {
        let reports = [
            Event::Started { claim: claim.clone() },
            Event::Renewed { claim: claim.clone(), until: Moment(u64::MAX) },
            Event::Declined { claim: claim.clone(), reason: String::new() },
            Event::Built { claim: claim.clone(), artefacts: Vec::new() },
            Event::Broke {
                claim: claim.clone(),
                class: FailureClass::Build,
                message: String::new(),
                during: String::new(),
            },
            Event::Expired { claim: claim.clone() },
        ];
        for state in states() {
            for report in &reports {
                assert_eq!(cell(&state, report, UNTIL), "not holder", "{report:?} in {}", state.phase());
            }
        }
    }
}

#[test]
fn a_lease_expires_at_its_end_and_not_before() {
    for state in states().iter().filter(|state| state.lease().is_some()) {
        let event = Event::Expired { claim: claim() };
        assert_eq!(cell(state, &event, Moment(UNTIL.0 - 1)), "too early");
        assert!(cell(state, &event, UNTIL).starts_with("ready"));
        let back = Event::Renewed { claim: claim(), until: UNTIL };
        assert_eq!(cell(state, &back, NOW), "unchanged", "a lease is never shortened");
    }
}

#[test]
fn what_the_farm_loses_is_tried_again_a_limited_number_of_times() {
    let mut now = NOW;
    let mut state = State::Ready { since: now, tries: Tries::default() };
    let mut rests = Vec::new();
    for attempt in 1.. {
        let claim = Claim { attempt: AttemptId(attempt), token: LeaseToken(attempt), ..claim() };
        let assigned = Event::Assigned { claim: claim.clone(), until: now };
        state = step(&state, &assigned, now).unwrap().next;
        state = step(&state, &Event::Expired { claim }, now).unwrap().next;
        let State::Ready { tries, .. } = &state else { break };
        assert_eq!(tries.avoid, Some(BuilderId("a".into())));
        rests.push(tries.not_before.since(now).as_secs());
        let early = Event::Assigned { claim: self::claim(), until: now };
        assert_eq!(cell(&state, &early, now), "too early");
        now = tries.not_before;
    }
    assert_eq!(rests, [2, 8, 32]);
    let State::Failed { class, attempt, .. } = state else { panic!("{state:?}") };
    assert_eq!((class, attempt), (FailureClass::Lost, AttemptId(u64::from(FAULTS_MAX))));
}

#[test]
fn declining_alone_never_ends_a_task() {
    let mut state = State::Ready { since: NOW, tries: Tries::default() };
    let mut now = NOW;
    for _ in 0..20 {
        state = step(&state, &Event::Assigned { claim: claim(), until: UNTIL }, now).unwrap().next;
        state = step(&state, &Event::Declined { claim: claim(), reason: "full".into() }, now).unwrap().next;
        let State::Ready { tries, .. } = &state else { panic!("{state:?}") };
        now = tries.not_before;
    }
}

#[test]
fn a_retry_begins_afresh() {
    for state in
        states().iter().filter(|state| matches!(state, State::Failed { .. } | State::Cancelled { .. }))
    {
        assert_eq!(step(state, &Event::RetryAsked, NOW).unwrap().next, State::new());
    }
}

#[test]
fn a_judgement_that_says_the_same_changes_nothing() {
    for state in states() {
        let readiness = match &state {
            State::Waiting { on, .. } => Readiness::Waits { on: on.clone() },
            State::Blocked { by, .. } => Readiness::Blocked { by: by.clone() },
            State::Ready { .. } => Readiness::Ready,
            _ => continue,
        };
        assert_eq!(cell(&state, &Event::Judged { readiness }, NOW), "unchanged");
    }
}

#[test]
fn states_and_events_survive_storage() {
    for state in states() {
        let text = serde_json::to_string(&state).unwrap();
        assert!(text.contains(&format!("\"phase\":\"{}\"", state.phase())), "{text}");
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        assert_eq!(Phase::from_keyword(state.phase().keyword()), Some(state.phase()));
    }
    for (_, event) in events() {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}
