//! Every state × every event, and the rules that the cells follow.

use std::collections::BTreeSet;

use super::page::{UNTIL, artefact, claim, effect, events, lease, states, twin_claim};
use super::*;
use crate::failure::{FAULTS_MAX, FailureClass};
use crate::ids::{AttemptId, BuilderId, LeaseToken, TaskId};
use crate::moment::Moment;
use crate::queue::Readiness;
use fault::Fault;

const NOW: Moment = Moment(100_000);

fn twin(since: Option<Moment>) -> Twin {
    Twin { claim: twin_claim(), until: UNTIL, since }
}

/// A build with a second attempt, which was only ordered, or builds as well.
fn twins() -> [State; 2] {
    [None, Some(Moment(4))].map(|since| State::Building {
        lease: lease(),
        since: Moment(2),
        twin: Some(twin(since)),
    })
}

fn waits() -> Readiness {
    Readiness::Waits {}
}

fn cell(state: &State, event: &Event, now: Moment) -> String {
    match step(state, event, now) {
        Ok(step) => {
            let effects = step.effects.iter().map(effect);
            let effects: Vec<&str> = effects.collect();
            format!("{} {}", step.next.phase(), effects.join("+")).trim_end().to_owned()
        }
        Err(Refusal::WrongPhase { .. } | Refusal::Superseded { .. }) => "-".into(),
        Err(Refusal::NotHolder { .. }) => "not holder".into(),
        Err(Refusal::SameBuilder { .. }) => "same builder".into(),
        Err(Refusal::TooEarly { .. }) => "too early".into(),
        Err(Refusal::Unchanged { .. }) => "unchanged".into(),
    }
}

/// Rows are events, columns are phases in the order of [`Phase::ALL`]. The time lies after the end of the lease.
const TABLE: &str = "
judged ready    | ready | ready | unchanged | - | - | - | - | - | - | - | -
judged waits    | unchanged | waiting | waiting | - | - | - | - | - | - | - | -
judged blocked  | blocked | blocked | blocked | - | - | - | - | - | - | - | -
assigned        | - | - | leased order | - | - | - | - | - | - | - | -
twin assigned   | - | - | - | - | - | building order | - | - | - | - | -
started         | not holder | not holder | not holder | not holder | building | unchanged | unchanged | not holder | not holder | not holder | not holder
renewed         | not holder | not holder | not holder | not holder | leased | building | publishing | not holder | not holder | not holder | not holder
declined        | not holder | not holder | not holder | not holder | ready | - | - | not holder | not holder | not holder | not holder
built           | not holder | not holder | not holder | not holder | publishing expect | publishing expect | unchanged | not holder | not holder | not holder | not holder
broke build     | not holder | not holder | not holder | not holder | failed judge+release | failed judge+release | failed judge+release+withdraw | not holder | not holder | not holder | not holder
broke host      | not holder | not holder | not holder | not holder | ready release | ready release | ready release+withdraw | not holder | not holder | not holder | not holder
broke cancelled | not holder | not holder | not holder | not holder | cancelled judge+release | cancelled judge+release | cancelled judge+release+withdraw | not holder | not holder | not holder | not holder
expired         | not holder | not holder | not holder | not holder | ready | ready | ready withdraw | not holder | not holder | not holder | not holder
landed          | not holder | not holder | not holder | not holder | not holder | not holder | published release+judge | not holder | not holder | not holder | not holder
rejected        | not holder | not holder | not holder | not holder | not holder | not holder | ready withdraw+release | not holder | not holder | not holder | not holder
retry asked     | - | - | - | - | - | - | - | - | waiting judge | waiting judge | -
cancel asked    | cancelled judge | cancelled judge | cancelled judge | cancelled judge | cancelled stop+judge | cancelled stop+judge | - | - | - | - | -
held            | held judge | held judge | held judge | unchanged | - | - | - | - | - | - | -
released        | - | - | - | waiting judge | - | - | - | - | - | - | -
replaced        | superseded judge | superseded judge | superseded judge | superseded judge | superseded stop+judge | superseded stop+judge | - | - | superseded judge | superseded judge | -
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

/// Rows are events, from the first builder (1) or from the second (2). Columns: the second was told to build; the
/// second builds too. What is in brackets are the attempts that can report afterwards.
const TWIN_TABLE: &str = "
judged ready      | - | -
assigned          | - | -
twin assigned     | unchanged | unchanged
started 1         | unchanged | unchanged
started 2         | building [7 8] | unchanged
renewed 1         | building [7 8] | building [7 8]
renewed 2         | building [7 8] | building [7 8]
declined 1        | - | -
declined 2        | building [7] | -
built 1           | publishing expect+stop [7] | publishing expect+stop [7]
built 2           | publishing expect+stop [8] | publishing expect+stop [8]
broke build 1     | failed judge+stop+release [] | failed judge+stop+release []
broke build 2     | failed judge+stop+release [] | failed judge+stop+release []
broke time 1      | leased release [8] | building release [8]
broke time 2      | building release [7] | building release [7]
broke host 1      | leased release [8] | building release [8]
broke host 2      | building release [7] | building release [7]
broke cancelled 1 | leased release [8] | building release [8]
broke cancelled 2 | building release [7] | building release [7]
expired 1         | leased [8] | building [8]
expired 2         | building [7] | building [7]
landed            | not holder | not holder
rejected          | not holder | not holder
retry asked       | - | -
held              | - | -
released          | - | -
cancel asked      | cancelled stop+stop+judge [] | cancelled stop+stop+judge []
replaced          | superseded stop+stop+judge [] | superseded stop+stop+judge []
";

/// The events of one of the two builders that the table of twins names.
fn twin_event(name: &str) -> Event {
    let (verb, claim) = match name.rsplit_once(' ') {
        Some((verb, "1")) => (verb, claim()),
        Some((verb, "2")) => (verb, twin_claim()),
        _ => (name, twin_claim()),
    };
    let broke =
        |class| Event::Broke { claim: claim.clone(), class, message: "m".into(), during: "build".into() };
    match verb {
        "started" => Event::Started { claim },
        "renewed" => Event::Renewed { claim, until: Moment(UNTIL.0 + 1) },
        "declined" => Event::Declined { claim, reason: "full".into() },
        "built" => Event::Built { claim, artefacts: vec![artefact()] },
        "broke build" => broke(FailureClass::Build),
        "broke time" => broke(FailureClass::TimeLimit),
        "broke host" => broke(FailureClass::HostFault),
        "broke cancelled" => broke(FailureClass::Cancelled),
        "expired" => Event::Expired { claim },
        _ => events().into_iter().find(|(known, _)| *known == verb).unwrap().1,
    }
}

#[test]
fn every_event_while_two_builders_build_it() {
    let mut verbs = BTreeSet::new();
    for line in TWIN_TABLE.trim().lines() {
        let row: Vec<&str> = line.split('|').map(str::trim).collect();
        let event = twin_event(row[0]);
        verbs.insert(event.verb());
        for (expect, state) in row[1..].iter().zip(twins()) {
            let mut found = cell(&state, &event, UNTIL);
            if let Ok(step) = step(&state, &event, UNTIL) {
                let left: Vec<String> =
                    step.next.claims().map(|(claim, _)| claim.attempt.to_string()).collect();
                found = format!("{found} [{}]", left.join(" "));
            }
            assert_eq!(found, *expect, "{} in {state:?}", row[0]);
        }
    }
    let all: BTreeSet<&str> = events().iter().map(|(_, event)| event.verb()).collect();
    assert_eq!(verbs, all, "every event has a row");
}

#[test]
fn the_first_of_two_that_has_built_it_is_published_and_the_other_can_say_nothing_more() {
    for (winner, loser) in [(claim(), twin_claim()), (twin_claim(), claim())] {
        for state in twins() {
            let built = Event::Built { claim: winner.clone(), artefacts: vec![artefact()] };
            let step = step(&state, &built, NOW).unwrap();
            assert_eq!(
                step.effects,
                [Effect::ExpectUpload(winner.clone()), Effect::StopBuild(loser.clone())]
            );
            let late = Event::Built { claim: loser.clone(), artefacts: Vec::new() };
            assert_eq!(cell(&step.next, &late, NOW), "not holder");
        }
    }
}

#[test]
fn a_twin_is_for_another_builder() {
    let own = Claim { builder: claim().builder, ..twin_claim() };
    let state = State::Building { lease: lease(), since: Moment(2), twin: None };
    assert_eq!(cell(&state, &Event::TwinAssigned { claim: own, until: UNTIL }, NOW), "same builder");
}

#[test]
fn a_lost_first_attempt_is_remembered_when_the_second_is_lost_too() {
    let state = step(&twins()[1], &Event::Expired { claim: claim() }, UNTIL).unwrap().next;
    assert_eq!(state.lease().unwrap().tries.avoid, Some(claim().builder));
    let state = step(&state, &Event::Expired { claim: twin_claim() }, UNTIL).unwrap().next;
    assert_eq!(state.tries().map(|tries| tries.faults), Some(2));
}

#[test]
fn invariant_2_only_the_holder_of_the_lease_may_report() {
    let strangers = [
        Claim { builder: BuilderId("b".into()), ..claim() },
        Claim { builder: BuilderId("a".into()), ..twin_claim() },
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
        for state in states().into_iter().chain(twins()) {
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
fn a_held_task_keeps_its_tries_and_goes_on_with_them() {
    let tries = Tries { faults: 2, not_before: Moment(5), avoid: Some(claim().builder) };
    let ready = State::Ready { since: Moment(1), tries: tries.clone() };
    let held = step(&ready, &Event::Held { by: "ada".into(), why: String::new() }, NOW).unwrap().next;
    assert_eq!(held, State::Held { by: "ada".into(), why: String::new(), since: NOW, tries: tries.clone() });
    assert!(held.phase().is_open() && !held.phase().is_queued(), "it is neither done nor handed out");
    assert_eq!(step(&held, &Event::Released, NOW).unwrap().next, State::Waiting { tries });
}

/// Row Q19: a retry that would bring back an old release says which task took its place.
#[test]
fn row_q19_what_a_person_cannot_do_is_refused_by_name_with_the_next_step() {
    let wishes = [
        Event::RetryAsked,
        Event::CancelAsked { why: String::new() },
        Event::Held { by: "ada".into(), why: String::new() },
        Event::Released,
    ];
    for wish in wishes {
        for state in states() {
            match step(&state, &wish, NOW) {
                Ok(_) | Err(Refusal::Unchanged { .. }) => {}
                Err(refusal) => {
                    let hints = refusal.hints();
                    assert!(hints.iter().any(|hint| hint.contains("`moraine ")), "{refusal}: {hints:?}");
                }
            }
        }
    }
    let refusal = step(&State::Superseded { by: Some(TaskId(9)) }, &Event::RetryAsked, NOW).unwrap_err();
    assert_eq!(refusal.to_string(), "cannot retry the task: task 9 took its place");
    assert_eq!(refusal.hints(), ["that one is shown by `moraine task show 9`"]);
}

#[test]
fn a_refused_upload_may_be_built_again_by_the_same_builder_and_a_lost_one_rather_not() {
    let publishing = State::Publishing { lease: lease(), artefacts: vec![artefact()], since: Moment(3) };
    let rejected = Event::Rejected { attempt: AttemptId(7), reason: "disk full".into() };
    let avoid = |event| step(&publishing, &event, UNTIL).unwrap().next.tries().unwrap().avoid.clone();
    assert_eq!(avoid(rejected), None);
    assert_eq!(avoid(Event::Expired { claim: claim() }), Some(claim().builder));
}

#[test]
fn a_judgement_that_says_the_same_changes_nothing() {
    for state in states() {
        let readiness = match &state {
            State::Waiting { .. } => waits(),
            State::Blocked { by, .. } => Readiness::Blocked { by: by.clone() },
            State::Ready { .. } => Readiness::Ready,
            _ => continue,
        };
        assert_eq!(cell(&state, &Event::Judged { readiness }, NOW), "unchanged");
    }
}

#[test]
fn rows_of_before_are_read() {
    let waiting = r#"{"phase":"waiting","on":[1,2],"tries":{"faults":0,"not_before":0,"avoid":null}}"#;
    assert_eq!(serde_json::from_str::<State>(waiting).unwrap(), State::new());
    let building = serde_json::to_string(&states()[5]).unwrap();
    assert!(!building.contains("twin"), "a row without a second attempt looks as it always did: {building}");
    assert_eq!(serde_json::from_str::<State>(&building).unwrap(), states()[5]);
}

#[test]
fn states_and_events_survive_storage() {
    for state in states().into_iter().chain(twins()) {
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
