//! Every state and every reason has an answer, and every answer has a next step.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::*;
use crate::ids::LeaseToken;
use crate::task::Claim;

const NOW: Moment = Moment(100_000_000);
const MINUTE: u64 = 60_000;

/// Every answer, as people read it. When a text was changed on purpose, the failing test prints the new file.
const ANSWERS: &str = include_str!("tests/answers.txt");

fn builder(name: &str) -> BuilderId {
    BuilderId(format!("key-of-{name}"))
}

fn name_of(builder: &BuilderId) -> String {
    builder.0.trim_start_matches("key-of-").to_owned()
}

fn claim(builder: &str, attempt: u64) -> Claim {
    Claim { builder: self::builder(builder), attempt: AttemptId(attempt), token: LeaseToken(attempt) }
}

fn lease(tries: Tries) -> Lease {
    Lease { claim: claim("ada", 7), until: Moment(NOW.0 + MINUTE), tries }
}

fn tried(attempt: u64, builder: &str, why: &str, outcome: Option<&str>) -> Tried {
    Tried {
        attempt: AttemptId(attempt),
        builder: self::builder(builder),
        why: why.into(),
        outcome: outcome.map(Into::into),
    }
}

fn ahead(task: u64, source: &str, phase: Phase, minutes: Option<u64>) -> Ahead {
    let expected_end = minutes.map(|minutes| Moment(NOW.0 + minutes * MINUTE));
    Ahead { task: TaskId(task), source: source.into(), phase, expected_end, unplaced: None }
}

/// One question.
struct Question {
    about: String,
    state: State,
    waits_on: Vec<Ahead>,
    held_up_by: Vec<Ahead>,
    unplaced: Option<Unplaced>,
    attempts: Vec<Tried>,
    holds_up: usize,
    expected_end: Option<Moment>,
    paused: Option<Paused>,
    trouble: Option<&'static str>,
    held_back: Option<&'static str>,
}

fn ask(about: impl Into<String>, state: State) -> Question {
    Question {
        about: about.into(),
        state,
        waits_on: Vec::new(),
        held_up_by: Vec::new(),
        unplaced: None,
        attempts: Vec::new(),
        holds_up: 0,
        expected_end: None,
        paused: None,
        trouble: None,
        held_back: None,
    }
}

fn answer(question: &Question) -> Explanation {
    explain(&Snapshot {
        task: TaskId(12),
        title: "nano 7.2-1",
        recipe_path: "n/nano/stone.yaml",
        made_because: "release 2 replaces release 1",
        state: &question.state,
        waits_on: &question.waits_on,
        held_up_by: &question.held_up_by,
        unplaced: question.unplaced.as_ref(),
        attempts: &question.attempts,
        holds_up: question.holds_up,
        expected_end: question.expected_end,
        paused: question.paused.as_ref(),
        trouble: question.trouble,
        held_back: question.held_back,
        name_of: &name_of,
        now: NOW,
    })
}

fn waiting_questions() -> Vec<Question> {
    use Phase::{Building, Leased, Publishing, Ready, Waiting};
    let state = || State::Waiting { tries: Tries::default() };
    let on = |about: &str, waits_on: Vec<Ahead>| Question {
        held_up_by: waits_on.iter().filter(|ahead| ahead.phase != Waiting).cloned().collect(),
        waits_on,
        ..ask(about, state())
    };
    let far = |about: &str, unplaced: Option<Unplaced>| Question {
        waits_on: vec![ahead(9, "qt6-base", Waiting, None)],
        held_up_by: vec![
            ahead(3, "zlib", Building, Some(4)),
            Ahead { unplaced, ..ahead(187, "findutils", Ready, None) },
        ],
        ..ask(about, state())
    };
    let many = (1..=7).map(|task| ahead(task, &format!("lib{task}"), Waiting, None)).collect();
    vec![
        ask("waiting, not judged", state()),
        Question {
            trouble: Some("cannot read the repository: the server answered 502"),
            ..ask("waiting, and Summit cannot read the repository", state())
        },
        on("waiting for one that is built", vec![ahead(3, "zlib", Building, Some(4))]),
        on("waiting for one that is overdue", vec![ahead(3, "zlib", Building, Some(0))]),
        on("waiting for one on its way", vec![ahead(3, "zlib", Publishing, None)]),
        on(
            "waiting for several",
            vec![
                ahead(3, "zlib", Leased, None),
                ahead(4, "xz", Ready, None),
                ahead(5, "file", Building, Some(9)),
            ],
        ),
        on("waiting for many", many),
        far("waiting for one that waits for a builder", Some(Unplaced::Busy { ahead: 2, until: None })),
        far("waiting for one that nobody can build", Some(Unplaced::NoBuilder)),
    ]
}

/// One of each blocker.
fn blockers() -> Vec<Blocker> {
    let dependency = || "pkgconfig(ncursesw)".parse().unwrap();
    vec![
        Blocker::Task { task: TaskId(3), source: "ncurses".into() },
        Blocker::Unresolved { dependency: dependency() },
        Blocker::Uninstallable {
            dependency: dependency(),
            package: "ncurses-devel".into(),
            needs: "soname(libtic.so.6(x86_64))".parse().unwrap(),
        },
        Blocker::Unreadable { path: "n/ncurses/stone.yaml".into() },
        Blocker::Knot { source: "ncurses".into(), dependency: Some(dependency()) },
        Blocker::Knot { source: "ncurses".into(), dependency: None },
    ]
}

fn blocked_questions() -> Vec<Question> {
    let ask_about =
        |about: &str, by: Vec<Blocker>| ask(about, State::Blocked { by, tries: Tries::default() });
    let mut questions: Vec<Question> = blockers()
        .into_iter()
        .map(|blocker| ask_about(&format!("blocked: {blocker}"), vec![blocker]))
        .collect();
    questions.push(ask_about("blocked by several", blockers()));
    questions.push(ask_about("blocked by nothing", Vec::new()));
    questions
}

/// One of each reason.
fn reasons() -> Vec<Unplaced> {
    let soon = Moment(NOW.0 + 5 * MINUTE);
    vec![
        Unplaced::Resting { until: soon },
        Unplaced::NoBuilder,
        Unplaced::NoArchitecture { architecture: "aarch64".into() },
        Unplaced::NoFeature { features: BTreeSet::from(["kvm".to_owned()]) },
        Unplaced::NotTrusted,
        Unplaced::NoMemory { needed_bytes: 64 << 30, largest_bytes: 3 << 29 },
        Unplaced::NoDisk { needed_bytes: 64 << 30, largest_bytes: 700 << 20 },
        Unplaced::Pressed { shortage: crate::schedule::Shortage::Memory },
        Unplaced::Pressed { shortage: crate::schedule::Shortage::Io },
        Unplaced::Quarantined { builder: builder("bob"), until: soon },
        Unplaced::Drained { builder: builder("bob") },
        Unplaced::ReservedFor { builder: builder("bob"), until: soon },
        Unplaced::HeldFor { builder: builder("bob"), until: soon },
        Unplaced::Busy { ahead: 0, until: Some(soon) },
        Unplaced::Busy { ahead: 1, until: None },
        Unplaced::Busy { ahead: 31, until: Some(soon) },
    ]
}

fn ready_questions() -> Vec<Question> {
    let since = Moment(NOW.0 - 90_000);
    let state = || State::Ready { since, tries: Tries::default() };
    let mut questions = vec![ask("ready, next", state())];
    questions.extend(reasons().into_iter().map(|unplaced| Question {
        unplaced: Some(unplaced.clone()),
        ..ask(format!("ready: {unplaced}"), state())
    }));
    let until = Moment(NOW.0 + 8000);
    let tries = Tries { faults: 2, not_before: until, avoid: Some(builder("ada")) };
    questions.push(Question {
        unplaced: Some(Unplaced::Resting { until }),
        attempts: vec![
            tried(5, "ada", "", Some("lost: nothing was heard of the builder")),
            tried(6, "ada", "", Some("host-fault: no space left on device")),
        ],
        holds_up: 41,
        ..ask("ready again after faults", State::Ready { since, tries })
    });
    questions
}

fn paused(why: &str) -> Option<Paused> {
    Some(Paused { by: "ada".into(), why: why.into(), since: Moment(NOW.0 - 10 * MINUTE) })
}

/// What people keep from starting.
fn kept_questions() -> Vec<Question> {
    let since = Moment(NOW.0 - 10 * MINUTE);
    let held = |why: &str| State::Held {
        by: "ada".into(),
        why: why.into(),
        since,
        tries: Tries { faults: 1, ..Tries::default() },
    };
    let waiting = || State::Waiting { tries: Tries::default() };
    vec![
        Question { holds_up: 3, ..ask("held", held("not before the release of Monday")) },
        Question { paused: paused(""), ..ask("held without a reason, and the queue is paused", held("")) },
        Question {
            waits_on: vec![ahead(3, "zlib", Phase::Held, None)],
            held_up_by: vec![ahead(3, "zlib", Phase::Held, None), ahead(4, "xz", Phase::Ready, None)],
            ..ask("waiting for one that is held", waiting())
        },
        Question {
            waits_on: vec![ahead(4, "xz", Phase::Ready, None)],
            held_up_by: vec![ahead(4, "xz", Phase::Ready, None)],
            paused: paused(""),
            ..ask("waiting, and the queue is paused", waiting())
        },
        Question {
            paused: paused("the disk of Vessel is being replaced"),
            ..ask("ready, and the queue is paused", State::Ready { since, tries: Tries::default() })
        },
    ]
}

fn running_questions() -> Vec<Question> {
    let since = Moment(NOW.0 - 20 * MINUTE);
    let why = "the chain of builds from here takes 2 h; expected 25 min here, 31 min on bob; ready for 3 s";
    let attempts = || {
        vec![tried(7, "ada", why, None), tried(8, "bob", "runs for 50 min on ada instead of 25 min", None)]
    };
    let building = |twin| State::Building { lease: lease(Tries::default()), since, twin };
    let at = |offset_minutes: i64| Some(Moment(NOW.0.checked_add_signed(offset_minutes * 60_000).unwrap()));
    let twin = Twin { claim: claim("bob", 8), until: NOW, since: Some(since) };
    let publishing = State::Publishing { lease: lease(Tries::default()), artefacts: Vec::new(), since };
    let one_fault = Tries { faults: 1, ..Tries::default() };
    vec![
        Question { attempts: attempts(), ..ask("leased", State::Leased { lease: lease(one_fault) }) },
        Question {
            attempts: attempts(),
            expected_end: at(5),
            holds_up: 1,
            ..ask("building", building(None))
        },
        Question { expected_end: at(-12), ..ask("building, late", building(None)) },
        ask("building, never before", building(None)),
        Question { attempts: attempts(), expected_end: at(5), ..ask("building twice", building(Some(twin))) },
        ask("publishing", publishing.clone()),
        Question {
            trouble: Some("cannot reach Vessel at 10.0.0.2:5002: connection refused"),
            ..ask("publishing without Vessel", publishing.clone())
        },
        Question {
            held_back: Some("nothing in the channel provides name(zlib) needed by nano (x86_64)"),
            ..ask("held back by the repository", publishing)
        },
    ]
}

fn ended_questions() -> Vec<Question> {
    let mut questions: Vec<Question> = FailureClass::ALL
        .into_iter()
        .map(|class| {
            let message = "make: *** [all] Error 2".into();
            ask(
                format!("failed: {class}"),
                State::Failed { attempt: AttemptId(7), class, message, during: "build".into() },
            )
        })
        .collect();
    questions
        .push(ask("published", State::Published { attempt: AttemptId(7), history: "17-3fa94c21".into() }));
    questions.push(ask("cancelled", State::Cancelled { why: "not this week".into() }));
    questions.push(ask("superseded", State::Superseded { by: Some(TaskId(31)) }));
    questions.push(ask("superseded by nothing", State::Superseded { by: None }));
    questions
}

fn questions() -> Vec<Question> {
    [
        waiting_questions(),
        blocked_questions(),
        ready_questions(),
        kept_questions(),
        running_questions(),
        ended_questions(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_phase_every_reason_and_every_class_is_asked_about() {
    let phases: BTreeSet<Phase> = questions().iter().map(|question| question.state.phase()).collect();
    assert_eq!(phases, Phase::ALL.into());
    // A new variant has to be added to the lists above: these do not compile without it.
    for blocker in blockers() {
        match blocker {
            Blocker::Task { .. }
            | Blocker::Unresolved { .. }
            | Blocker::Uninstallable { .. }
            | Blocker::Unreadable { .. }
            | Blocker::Knot { .. } => {}
        }
    }
    for reason in reasons() {
        match reason {
            Unplaced::Resting { .. }
            | Unplaced::NoBuilder
            | Unplaced::NoArchitecture { .. }
            | Unplaced::NoFeature { .. }
            | Unplaced::NotTrusted
            | Unplaced::NoMemory { .. }
            | Unplaced::NoDisk { .. }
            | Unplaced::Pressed { .. }
            | Unplaced::Quarantined { .. }
            | Unplaced::Drained { .. }
            | Unplaced::ReservedFor { .. }
            | Unplaced::HeldFor { .. }
            | Unplaced::Busy { .. } => {}
        }
    }
}

#[test]
fn every_answer_is_what_people_were_shown_before() {
    let mut text = String::new();
    for question in questions() {
        let Explanation { headline, because, next_step } = answer(&question);
        writeln!(text, "== {}\n{headline}", question.about).unwrap();
        for because in because {
            let link = because.task.map(|task| format!(" [task {task}]")).unwrap_or_default();
            writeln!(text, "  - {}{link}", because.text).unwrap();
        }
        writeln!(text, "  > {next_step}\n").unwrap();
    }
    assert!(text.trim() == ANSWERS.trim(), "the answers are now:\n{text}");
}

#[test]
fn every_next_step_names_a_command_a_page_a_person_or_the_moment_when_it_goes_on() {
    for question in questions() {
        let step = answer(&question).next_step;
        let marks = [
            "`",
            "page /",
            "operator",
            "maintainer",
            "by itself",
            "Nothing to do",
            "Nothing has to be done",
            "Whoever",
        ];
        assert!(marks.iter().any(|mark| step.contains(mark)), "{}: {step}", question.about);
        assert!(step.ends_with('.'), "{}: {step}", question.about);
        assert!(!step.contains("key-of-"), "builders have names: {step}");
    }
}

#[test]
fn whoever_waits_for_others_is_sent_to_the_one_that_decides() {
    let question = |by: Blocker| ask("", State::Blocked { by: vec![by], tries: Tries::default() });
    let failed = Blocker::Task { task: TaskId(3), source: "ncurses".into() };
    assert!(answer(&question(failed)).next_step.contains("`moraine why 3`"));
    let waits_on = vec![ahead(3, "zlib", Phase::Building, Some(4)), ahead(4, "xz", Phase::Ready, None)];
    let held_up_by = waits_on.clone();
    let waiting = Question { waits_on, held_up_by, ..ask("", State::Waiting { tries: Tries::default() }) };
    assert!(answer(&waiting).next_step.contains("`moraine why 4`"), "what has not begun decides");
}

#[test]
fn the_answer_is_one_json_object() {
    let question = ask("", State::Blocked { by: blockers()[..1].to_vec(), tries: Tries::default() });
    let json = serde_json::to_value(answer(&question)).unwrap();
    assert_eq!(json["because"][0]["task"], 3);
    assert!(json["because"][1].get("task").is_none());
    assert!(json["headline"].is_string() && json["next_step"].is_string());
}
