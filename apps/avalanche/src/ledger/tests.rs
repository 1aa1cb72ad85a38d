use super::*;
use crate::order::samples::order;
use crate::outcome::ArtefactKind;

const ID: AttemptId = AttemptId(1);
const TOKEN: LeaseToken = LeaseToken(1001);

fn artefacts() -> Vec<Artefact> {
    vec![Artefact {
        kind: ArtefactKind::Package,
        name: "nano.stone".to_owned(),
        size_bytes: 3,
        sha256: "ab".repeat(32),
    }]
}

fn product() -> Built {
    Built { artefacts: artefacts(), peak_memory_bytes: 3 << 30 }
}

fn target() -> UploadTarget {
    UploadTarget { vessel_address: "127.0.0.1:1".to_owned(), vessel_key: "key".to_owned() }
}

fn broken() -> Failure {
    Failure::new(FailureClass::Build, "build", "make: error 2")
}

/// An attached ledger of one slot.
fn attached() -> Ledger {
    let mut ledger = Ledger::new(1, &[]);
    assert_eq!(ledger.handle(Event::Attached(Vec::new())), []);
    ledger
}

fn building() -> Ledger {
    let mut ledger = attached();
    let effects = ledger.handle(Event::Ordered { order: order(1), host: Ok(()) });
    assert_eq!(effects, [Effect::Begin(order(1))]);
    ledger
}

fn built() -> Ledger {
    let mut ledger = building();
    let effects = end(&mut ledger, Outcome::Built(product()), 0);
    let standing = Standing::Built(product());
    assert_eq!(effects, [Effect::Keep { id: ID, standing }, tell(ID, TOKEN, Word::Built(product()))]);
    ledger
}

fn uploading() -> Ledger {
    let mut ledger = built();
    let effects = ledger.handle(Event::UploadWanted { id: ID, target: target() });
    assert_eq!(effects, [Effect::Upload { id: ID, target: target(), artefacts: artefacts() }]);
    ledger
}

fn end(ledger: &mut Ledger, outcome: Outcome, log_size_bytes: u64) -> Vec<Effect> {
    ledger.handle(Event::BuildEnded { id: ID, outcome, log_size_bytes })
}

fn send(offset: u64) -> Effect {
    Effect::SendLog { id: ID, lease_token: TOKEN, offset }
}

fn grew(size_bytes: u64) -> Event {
    Event::LogGrew { id: ID, size_bytes }
}

fn acknowledged(offset: u64) -> Event {
    Event::LogAcknowledged { id: ID, offset, full: false }
}

fn keep(log_offset: u64) -> Event {
    Event::Attached(vec![Verdict { id: ID, keep: true, log_offset }])
}

#[test]
fn the_happy_path() {
    let mut ledger = uploading();
    assert_eq!(ledger.held()[0].state, HeldState::Uploading);
    let effects = ledger.handle(Event::UploadEnded { id: ID, result: Ok("17-ab".to_owned()) });
    let history = "17-ab".to_owned();
    assert_eq!(
        effects,
        [
            Effect::Keep { id: ID, standing: Standing::Published { history: history.clone() } },
            tell(ID, TOKEN, Word::Published { history }),
        ]
    );
    assert_eq!(ledger.handle(Event::Released(ID)), [Effect::Delete(ID)]);
    assert_eq!(ledger.held(), []);
}

#[test]
fn one_piece_of_log_is_under_way_and_the_next_begins_where_summit_says() {
    let mut ledger = building();
    assert_eq!(ledger.handle(grew(10)), [send(0)]);
    assert_eq!(ledger.handle(grew(30)), [], "the first piece is not acknowledged");
    assert_eq!(ledger.handle(acknowledged(10)), [send(10)]);
    assert_eq!(ledger.handle(acknowledged(5)), [send(5)], "Summit lost some of it");
    assert_eq!(ledger.handle(acknowledged(30)), []);
    assert_eq!(ledger.handle(grew(31)), [send(30)]);
}

#[test]
fn the_end_is_told_after_the_whole_log() {
    let mut ledger = building();
    ledger.handle(grew(10));
    let effects = end(&mut ledger, Outcome::Failed(broken()), 20);
    assert_eq!(effects, [Effect::Keep { id: ID, standing: Standing::Failed { failure: broken() } }]);
    assert_eq!(ledger.handle(acknowledged(10)), [send(10)]);
    assert_eq!(ledger.handle(acknowledged(20)), [tell(ID, TOKEN, Word::Failed(broken()))]);
    assert_eq!(ledger.handle(acknowledged(20)), [], "told once");
}

#[test]
fn a_full_log_holds_nothing_up() {
    let mut ledger = building();
    ledger.handle(grew(10));
    assert_eq!(ledger.handle(Event::LogAcknowledged { id: ID, offset: 4, full: true }), []);
    assert_eq!(ledger.handle(grew(100)), []);
    let effects = end(&mut ledger, Outcome::Failed(broken()), 200);
    assert_eq!(effects[1], tell(ID, TOKEN, Word::Failed(broken())));
}

#[test]
fn a_broken_connection_stops_nothing_and_resumes_by_offset() {
    let mut ledger = building();
    assert_eq!(ledger.handle(grew(10)), [send(0)]);
    assert_eq!(ledger.handle(Event::Detached), []);
    assert_eq!(ledger.handle(grew(50)), [], "nobody is there");
    assert_eq!(ledger.held()[0].log_size_bytes, 50);
    assert_eq!(ledger.building(), 1);
    assert_eq!(ledger.handle(keep(7)), [tell(ID, TOKEN, Word::Started), send(7)]);
    assert_eq!(ledger.handle(Event::Detached), []);
    let effects = end(&mut ledger, Outcome::Built(product()), 60);
    assert_eq!(effects.len(), 1, "kept, and told to nobody");
    assert_eq!(ledger.handle(keep(60)), [tell(ID, TOKEN, Word::Built(product()))]);
}

#[test]
fn an_offset_beyond_the_log_is_not_believed() {
    let mut ledger = building();
    ledger.handle(grew(10));
    assert_eq!(ledger.handle(acknowledged(u64::MAX)), []);
    assert_eq!(ledger.handle(grew(12)), [send(10)]);
}

#[test]
fn an_end_is_told_again_after_each_reconnection_until_it_is_answered() {
    let mut ledger = built();
    for _ in 0..2 {
        ledger.handle(Event::Detached);
        assert_eq!(ledger.handle(keep(0)), [tell(ID, TOKEN, Word::Built(product()))]);
    }
    ledger.handle(Event::UploadWanted { id: ID, target: target() });
    ledger.handle(Event::Detached);
    assert_eq!(ledger.handle(keep(0)), [], "Upload was the answer");
}

#[test]
fn what_survived_the_agent_is_held_and_told() {
    let standing = Standing::Built(product());
    let survivor = Survivor { order: order(1), found: Found::Standing(standing), log_size_bytes: 5 };
    let mut ledger = Ledger::new(1, &[survivor]);
    let held = Held { id: ID, lease_token: TOKEN, state: HeldState::Built, log_size_bytes: 5 };
    assert_eq!(ledger.held(), [held]);
    assert_eq!(ledger.building(), 0, "it takes no slot");
    assert_eq!(ledger.handle(keep(2)), [send(2)]);
    assert_eq!(ledger.handle(acknowledged(5)), [tell(ID, TOKEN, Word::Built(product()))]);
}

#[test]
fn an_attempt_that_summit_does_not_want_is_deleted() {
    let unwanted = || Event::Attached(vec![Verdict { id: ID, keep: false, log_offset: 0 }]);
    let mut ledger = building();
    assert_eq!(ledger.handle(unwanted()), [Effect::Kill { id: ID, unwanted: true }]);
    assert_eq!(ledger.held(), [], "it is not spoken of any more");
    assert_eq!(ledger.building(), 1, "but it takes its slot until it has ended");
    assert_eq!(end(&mut ledger, Outcome::Built(product()), 0), [Effect::Delete(ID)]);
    assert_eq!(built().handle(unwanted()), [Effect::Delete(ID)]);
    assert_eq!(uploading().handle(unwanted()), [Effect::StopUpload(ID), Effect::Delete(ID)]);
}

#[test]
fn cancelling_kills_and_is_told() {
    let failed = || tell(ID, TOKEN, Word::Failed(cancelled()));
    let standing = || Standing::Failed { failure: cancelled() };
    let mut ledger = building();
    assert_eq!(ledger.handle(Event::Cancelled(ID)), [Effect::Kill { id: ID, unwanted: true }]);
    assert_eq!(ledger.handle(Event::Cancelled(ID)), []);
    // It may have been built in the same moment.
    let effects = end(&mut ledger, Outcome::Built(Built { peak_memory_bytes: 0, ..product() }), 0);
    assert_eq!(effects, [Effect::Keep { id: ID, standing: standing() }, failed()]);

    let effects = built().handle(Event::Cancelled(ID));
    assert_eq!(effects, [Effect::Keep { id: ID, standing: standing() }, failed()]);
    let effects = uploading().handle(Event::Cancelled(ID));
    assert_eq!(effects, [Effect::StopUpload(ID), Effect::Keep { id: ID, standing: standing() }, failed()]);
    assert_eq!(ledger.handle(Event::Cancelled(ID)), [failed()], "told again on request");
    assert_eq!(ledger.handle(Event::Cancelled(AttemptId(9))), []);
}

#[test]
fn a_release_in_the_middle_of_a_build_ends_it() {
    let mut ledger = building();
    assert_eq!(ledger.handle(Event::Released(ID)), [Effect::Kill { id: ID, unwanted: true }]);
    assert_eq!(end(&mut ledger, Outcome::Failed(broken()), 9), [Effect::Delete(ID)]);
}

#[test]
fn orders_that_cannot_be_taken_are_refused_with_a_reason() {
    fn check(ledger: &mut Ledger, id: u64, host: Result<(), Unfit>, expect: &str) {
        let effects = ledger.handle(Event::Ordered { order: order(id), host });
        let [Effect::Tell(Report { word: Word::Refused { reason, .. }, .. })] = effects.as_slice() else {
            panic!("not refused: {effects:?}");
        };
        assert!(reason.contains(expect), "{reason}");
    }
    check(&mut building(), 2, Ok(()), "all 1 slots");
    check(
        &mut attached(),
        1,
        Err(Unfit { reason: "the disk is full".to_owned(), busy: false }),
        "the disk is full",
    );
    let mut stopping = attached();
    stopping.handle(Event::Stopping);
    check(&mut stopping, 1, Ok(()), "shutting down");
}

#[test]
fn the_same_order_twice_is_one_build() {
    let mut ledger = building();
    let again = ledger.handle(Event::Ordered { order: order(1), host: Ok(()) });
    assert_eq!(again, [tell(ID, TOKEN, Word::Started)]);
    let mut other = order(1);
    other.lease_token = LeaseToken(5);
    let effects = ledger.handle(Event::Ordered { order: other, host: Ok(()) });
    assert!(matches!(
        effects.as_slice(),
        [Effect::Tell(Report { lease_token: LeaseToken(5), word: Word::Refused { .. }, .. })]
    ));
    assert_eq!(ledger.building(), 1);
}

#[test]
fn an_order_that_cannot_begin_frees_its_slot() {
    let mut ledger = building();
    let effects = ledger.handle(Event::NotBegun { id: ID, reason: "no disk".to_owned() });
    assert_eq!(
        effects,
        [Effect::Delete(ID), tell(ID, TOKEN, Word::Refused { reason: "no disk".to_owned(), busy: false })]
    );
    assert_eq!(ledger.building(), 0);
}

#[test]
fn a_store_that_refuses_for_good_is_a_failure_of_its_own() {
    let mut ledger = uploading();
    let failure = Failure::new(FailureClass::StoreFault, "", "refused");
    let effects = ledger.handle(Event::UploadEnded { id: ID, result: Err(failure.clone()) });
    assert_eq!(effects[1], tell(ID, TOKEN, Word::Failed(failure)));
}

#[test]
fn an_upload_to_another_address_replaces_the_first() {
    let mut ledger = uploading();
    assert_eq!(ledger.handle(Event::UploadWanted { id: ID, target: target() }), []);
    let other = UploadTarget { vessel_address: "127.0.0.1:2".to_owned(), ..target() };
    let effects = ledger.handle(Event::UploadWanted { id: ID, target: other.clone() });
    assert_eq!(
        effects,
        [Effect::StopUpload(ID), Effect::Upload { id: ID, target: other, artefacts: artefacts() }]
    );
}

#[test]
fn stopping_kills_builds_and_leaves_what_was_built() {
    let mut ledger = building();
    assert_eq!(ledger.handle(Event::Stopping), [Effect::Kill { id: ID, unwanted: false }]);
    assert_eq!(end(&mut ledger, Outcome::Failed(broken()), 0), [Effect::Delete(ID)]);
    assert_eq!(built().handle(Event::Stopping), []);
    assert_eq!(uploading().handle(Event::Stopping), [Effect::StopUpload(ID)]);
}

#[test]
fn a_piece_that_nobody_acknowledges_is_sent_again() {
    let mut ledger = building();
    assert_eq!(ledger.handle(grew(10)), [send(0)]);
    for _ in 1..BEATS_UNTIL_RESENT {
        assert_eq!(ledger.handle(Event::Beat), []);
    }
    assert_eq!(ledger.handle(Event::Beat), [send(0)]);
    assert_eq!(ledger.handle(acknowledged(10)), []);
    for _ in 0..=BEATS_UNTIL_RESENT {
        assert_eq!(ledger.handle(Event::Beat), [], "nothing is under way");
    }
}

#[test]
fn a_build_that_outlived_the_agent_goes_on_where_it_is() {
    for found in [Found::Building, Found::NotBegun] {
        let survivor = Survivor { order: order(1), found, log_size_bytes: 5 };
        let mut ledger = Ledger::new(1, &[survivor]);
        assert_eq!(ledger.building(), 1, "it takes its slot");
        assert_eq!(ledger.held()[0].state, HeldState::Building);
        assert_eq!(ledger.handle(keep(2)), [tell(ID, TOKEN, Word::Started), send(2)]);
        assert_eq!(ledger.handle(acknowledged(5)), []);
        assert_eq!(ledger.handle(grew(9)), [send(5)]);
        let effects = end(&mut ledger, Outcome::Built(product()), 9);
        assert_eq!(effects, [Effect::Keep { id: ID, standing: Standing::Built(product()) }]);
        assert_eq!(ledger.handle(acknowledged(9)), [tell(ID, TOKEN, Word::Built(product()))]);
    }
}

#[test]
fn a_cancelled_build_still_says_what_it_needed() {
    let mut ledger = building();
    ledger.handle(Event::Cancelled(ID));
    let ended = Outcome::Failed(Failure::new(FailureClass::Lost, "", "killed").with_peak(7));
    let failure = cancelled().with_peak(7);
    let standing = Standing::Failed { failure: failure.clone() };
    assert_eq!(
        end(&mut ledger, ended, 0),
        [Effect::Keep { id: ID, standing }, tell(ID, TOKEN, Word::Failed(failure))]
    );
}
