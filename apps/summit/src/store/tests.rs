//! What the store promises beyond what the life cycle does.

use database::{Address, sqlx};
use farm::catalogue::{Catalogue, Unreadable};
use farm::failure::FailureClass;
use farm::ids::{BuilderId, TaskId};
use farm::missing::{Reason, Wanted, Wish};
use farm::moment::Moment;
use farm::queue::Readiness;
use farm::task::{Claim, Event, Phase};

use super::*;

const NOW: Moment = Moment(1_000_000);
const UNTIL: Moment = Moment(1_060_000);

/// Runs a test over every kind of database: a file, and a server where there is one.
pub(crate) async fn each_database(test: impl AsyncFn(Store)) {
    each_address(async |address| {
        let store = Store::open(&address).await.unwrap();
        test(store.clone()).await;
        store.close().await;
    })
    .await;
}

/// As [`each_database`], with an empty database that was never opened.
pub(crate) async fn each_address(test: impl AsyncFn(Address)) {
    let folder = tempfile::tempdir().unwrap();
    test(Address::File(folder.path().join("summit.db"))).await;
    if let Some(postgres) = testkit::Postgres::shared() {
        test(Address::parse(&postgres.database(), folder.path()).unwrap()).await;
    }
}

struct Fixture {
    store: Store,
}

impl Fixture {
    async fn task(&self, source: &str, supersedes: &[TaskId]) -> TaskId {
        let task = NewTask {
            project: "p".into(),
            channel: "main".into(),
            source: source.into(),
            version: "1.0".into(),
            release: 1,
            build_release: 1,
            architecture: "x86_64".into(),
            recipe_path: format!("{source}/stone.yaml"),
            content: "tree".into(),
            commit: "0".repeat(40),
            commit_time_seconds: 1,
            reason: Reason::New,
            wave: Some(1),
            round: 1,
            supersedes: supersedes.to_vec(),
        };
        self.store.carry_out(&[task], &[], NOW).await.unwrap().0[0]
    }

    async fn ready(&self) -> TaskId {
        let task = self.task("zlib", &[]).await;
        self.store.apply(task, &Event::Judged { readiness: Readiness::Ready }, NOW).await.unwrap();
        task
    }

    /// Lets a task be built, and land with this output at this time.
    async fn publish(&self, task: TaskId, output: &str, at: Moment) -> Claim {
        let ready = Event::Judged { readiness: Readiness::Ready };
        self.store.apply(task, &ready, NOW).await.unwrap();
        let claim = self.assign(task).await.unwrap();
        let built = Event::Built { claim: claim.clone(), artefacts: Vec::new() };
        self.store.finish(task, &built, 7, NOW).await.unwrap();
        self.store.land(task, claim.attempt, "1", output, at).await.unwrap();
        claim
    }

    async fn assign(&self, task: TaskId) -> Result<Claim, StoreError> {
        let applied = self.store.assign(task, &builder(), UNTIL, "why", false, NOW).await?;
        Ok(applied.task.state.lease().unwrap().claim.clone())
    }
}

fn builder() -> BuilderId {
    BuilderId("key".into())
}

#[tokio::test]
async fn invariant_1_every_change_has_its_event_and_a_refusal_leaves_nothing() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let task = fixture.ready().await;
        let before = fixture.store.task(task).await.unwrap();
        let mark = fixture.store.mark().await.unwrap();
        let refused = fixture.store.apply(task, &Event::RetryAsked, NOW).await;
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
        assert_eq!(fixture.store.task(task).await.unwrap(), before);
        assert_eq!(fixture.store.mark().await.unwrap(), mark);
        fixture.store.apply(task, &Event::CancelAsked { why: "x".into() }, NOW).await.unwrap();
        let after = fixture.store.task(task).await.unwrap();
        assert_eq!((after.generation, after.state.phase()), (before.generation + 1, Phase::Cancelled));
        let events = fixture.store.events(task, 10).await.unwrap();
        let verbs: Vec<_> = events.iter().map(|event| event.verb.as_str()).collect();
        assert_eq!(verbs, ["cancel", "judge"], "the newest first");
        assert_ne!(fixture.store.mark().await.unwrap(), mark);
    })
    .await;
}

#[tokio::test]
async fn tokens_rise_and_a_task_is_never_handed_out_twice() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let task = fixture.ready().await;
        let first = fixture.assign(task).await.unwrap();
        assert!(fixture.assign(task).await.is_err());
        assert_eq!(
            fixture.store.attempts(task).await.unwrap().len(),
            1,
            "a refused assignment leaves no attempt"
        );
        fixture.store.apply(task, &Event::Expired { claim: first.clone() }, UNTIL).await.unwrap();
        let later = Moment(UNTIL.0 + 60_000);
        let second =
            fixture.store.assign(task, &builder(), Moment(u64::MAX >> 2), "why", false, later).await.unwrap();
        let second = second.task.state.lease().unwrap().claim.clone();
        assert!(second.token > first.token && second.attempt > first.attempt);
        assert!(first.attempt.0 >= NOW.0, "a store that begins anew gives no number a second time");
        let attempts = fixture.store.attempts(task).await.unwrap();
        assert!(
            matches!(attempts[0].outcome, Some(Outcome::Failed { class: FailureClass::Lost, .. })),
            "{:?}",
            attempts[0]
        );
        assert_eq!((attempts[0].ended, attempts[1].ended), (Some(UNTIL), None));
    })
    .await;
}

#[tokio::test]
async fn renewals_are_no_events() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let task = fixture.ready().await;
        let claim = fixture.assign(task).await.unwrap();
        let mark = fixture.store.mark().await.unwrap();
        let renewed = Event::Renewed { claim, until: Moment(UNTIL.0 + 1) };
        let applied = fixture.store.apply(task, &renewed, NOW).await.unwrap();
        assert_eq!(applied.task.state.lease().unwrap().until, Moment(UNTIL.0 + 1));
        assert_eq!(fixture.store.mark().await.unwrap(), mark);
    })
    .await;
}

#[tokio::test]
async fn what_was_on_its_way_is_withdrawn_even_after_a_restart() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let task = fixture.ready().await;
        let claim = fixture.assign(task).await.unwrap();
        let built = Event::Built { claim: claim.clone(), artefacts: Vec::new() };
        fixture.store.apply(task, &built, NOW).await.unwrap();
        assert!(fixture.store.to_withdraw().await.unwrap().is_empty());
        fixture.store.apply(task, &Event::Expired { claim: claim.clone() }, UNTIL).await.unwrap();
        assert_eq!(fixture.store.to_withdraw().await.unwrap(), [claim.attempt]);
        fixture.store.withdrawn(claim.attempt).await.unwrap();
        assert!(fixture.store.to_withdraw().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_new_task_takes_the_place_of_the_old_one() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let old = fixture.task("zlib", &[]).await;
        let new = fixture.task("zlib", &[old]).await;
        assert_eq!(fixture.store.task(old).await.unwrap().state.phase(), Phase::Superseded);
        let known = fixture.store.known_tasks("p", "x86_64").await.unwrap();
        assert_eq!(known.iter().map(|(task, _)| task.id).collect::<Vec<_>>(), [new]);
        let counts = fixture.store.counts(None).await.unwrap();
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 2);
        let (page, total) =
            fixture.store.task_page(&TaskFilter::in_phase(Phase::Waiting), 0, 1).await.unwrap();
        assert_eq!((page[0].id, total), (new, 1));
    })
    .await;
}

#[tokio::test]
async fn faults_of_a_builder_are_counted_until_a_build_reaches_its_end() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let store = &fixture.store;
        store.add_builder(&builder(), &BuilderSaid::named("one"), false, NOW).await.unwrap();
        store.add_builder(&builder(), &BuilderSaid::named("uno"), false, NOW).await.unwrap();
        for (fault, expect) in [(Some("full"), 1), (Some("cold"), 2), (None, 0), (Some("full"), 1)] {
            match fault {
                Some(reason) => {
                    assert_eq!(store.builder_failed(&builder(), reason, NOW).await.unwrap(), expect);
                }
                None => {
                    let task = fixture.ready().await;
                    let broke = Event::Broke {
                        claim: fixture.assign(task).await.unwrap(),
                        class: farm::failure::FailureClass::Build,
                        message: "error 1".into(),
                        during: "build".into(),
                    };
                    let (applied, sample) = store.finish(task, &broke, 7, NOW).await.unwrap();
                    assert_eq!((applied.task.id, sample), (task, None), "what failed teaches nothing");
                    let attempt = store.attempts(task).await.unwrap().remove(0);
                    assert_eq!(attempt.peak_memory_bytes, 7);
                }
            }
            assert_eq!(store.builders().await.unwrap()[0].faults_in_row, expect);
        }
        assert_eq!(store.builders().await.unwrap()[0].last_fault_reason, "full");
        store.drain_builder("uno", true).await.unwrap();
        assert!(store.builders().await.unwrap()[0].drained);
        store.remove_builder("uno", NOW).await.unwrap();
        assert!(matches!(store.remove_builder("uno", NOW).await, Err(StoreError::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_database_of_one_project_becomes_one_of_several() {
    each_address(async |address| {
    let old = Database::open_at(&address, &schema::MIGRATIONS[..1]).await.unwrap();
    let state = serde_json::to_string(&farm::task::State::new()).unwrap();
    for sql in [
        format!(
            "INSERT INTO task (source, version, release, build_release, architecture, recipe_path, content, git_commit,
                 commit_time_seconds, reason, phase, state, generation, created, updated)
             VALUES ('zlib', '1.0', 1, 1, 'x86_64', 'z/zlib/stone.yaml', 't', 'c', 0, '{{\"reason\":\"new\"}}', 'waiting',
                 '{state}', 0, 5, 5)"
        ),
        "INSERT INTO recipe (path, source, version, release) VALUES ('z/zlib/stone.yaml', 'zlib', '1.0', 1)".into(),
        "INSERT INTO setting (name, value) VALUES ('commit', 'c'), ('other', 'x')".into(),
        "INSERT INTO attempt (task, builder, token, assigned, why) VALUES (1, 'key', 1, 5, 'why')".into(),
    ] {
        old.change(sqlx::query(sqlx::AssertSqlSafe(sql)), "prepare").await.unwrap();
    }
    old.close().await;
    let store = Store::open(&address).await.unwrap();
    assert_eq!(store.adopt_tasks("first", "main").await.unwrap(), 1);
    assert_eq!(store.adopt_tasks("second", "main").await.unwrap(), 0, "only once");
    let task = store.task(TaskId(1)).await.unwrap();
    assert_eq!((task.project.as_str(), task.channel.as_str(), task.round), ("first", "main", 0));
    assert_eq!(store.known_tasks("first", "x86_64").await.unwrap().len(), 1);
    assert_eq!(store.known_tasks("second", "x86_64").await.unwrap(), []);
    assert_eq!(store.attempts(TaskId(1)).await.unwrap()[0].peak_memory_bytes, 0);
    assert_eq!(store.recipes("first").await.unwrap().commit, None, "the next look reads them");
    store.apply(TaskId(1), &Event::Judged { readiness: Readiness::Ready }, NOW).await.unwrap();
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_push_of_the_whole_distribution_is_written_down_at_once() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let tasks: Vec<NewTask> = (0..1400)
            .map(|number| NewTask {
                project: "p".into(),
                channel: "main".into(),
                source: format!("s{number}"),
                version: "1.0".into(),
                release: 1,
                build_release: 1,
                architecture: "x86_64".into(),
                recipe_path: format!("s/s{number}/stone.yaml"),
                content: "tree".into(),
                commit: "0".repeat(40),
                commit_time_seconds: 1,
                reason: Reason::New,
                wave: None,
                round: 0,
                supersedes: Vec::new(),
            })
            .collect();
        let begin = std::time::Instant::now();
        let mark = fixture.store.mark().await.unwrap();
        let (made, _) = fixture.store.carry_out(&tasks, &[], NOW).await.unwrap();
        let made_in = begin.elapsed();
        let events: Vec<(TaskId, Event)> =
            made.iter().map(|&task| (task, Event::Judged { readiness: Readiness::Ready })).collect();
        let begin = std::time::Instant::now();
        assert_eq!(fixture.store.apply_many(&events, NOW).await.unwrap().len(), 1400);
        let judged_in = begin.elapsed();
        println!("1,400 tasks made in {made_in:?}, judged in {judged_in:?}");
        // Ten times what a slow machine takes without optimisation: one transaction each would take longer.
        assert!(made_in + judged_in < std::time::Duration::from_secs(10), "{made_in:?} {judged_in:?}");
        let (changed, new_mark) = fixture.store.changed_since(mark).await.unwrap();
        assert_eq!(changed.len(), 1400);
        assert_eq!(fixture.store.changed_since(new_mark).await.unwrap(), (Vec::new(), new_mark));
        let refused = [(made[0], Event::RetryAsked), (made[1], Event::CancelAsked { why: "x".into() })];
        let applied = fixture.store.apply_many(&refused, NOW).await.unwrap();
        assert_eq!(applied.len(), 1, "a refusal takes nothing else with it");
        assert_eq!(fixture.store.changed_since(new_mark).await.unwrap().0[0].id, made[1]);
    })
    .await;
}

#[tokio::test]
async fn tasks_of_arenas_that_are_gone_are_found() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let task = fixture.task("zlib", &[]).await;
        let arena =
            |project: &str, channel: &str| (project.to_owned(), "x86_64".to_owned(), channel.to_owned());
        for (arenas, expect) in [
            (vec![], vec![task]),
            (vec![arena("p", "main")], vec![]),
            (vec![arena("q", "main"), arena("p", "other")], vec![task]),
        ] {
            let found = fixture.store.tasks_outside(&arenas, &[Phase::Waiting]).await.unwrap();
            assert_eq!(found.iter().map(|task| task.id).collect::<Vec<_>>(), expect, "{arenas:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn recipes_are_those_of_a_project() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let bad = |path: &str| Unreadable { path: path.into(), line: 0, column: 0, message: "m".into() };
        let catalogue = Catalogue::new(Vec::new(), vec![bad("x/stone.yaml")]);
        for project in ["a", "b"] {
            fixture.store.found_recipes(project, "c", &catalogue, &[bad("y/stone.yaml")]).await.unwrap();
        }
        fixture.store.keep_projects(&["b".to_owned()]).await.unwrap();
        assert_eq!(fixture.store.recipes("a").await.unwrap().unreadable, []);
        let kept = fixture.store.recipes("b").await.unwrap();
        assert_eq!((kept.unreadable.len(), kept.commit.as_deref()), (2, Some("c")));
    })
    .await;
}

#[tokio::test]
async fn wishes_stay_until_they_come_true() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let store = &fixture.store;
        let wish = |build_release: u64, why: &str| {
            let why = Wish::Rebuild { why: why.into() };
            vec![("zlib".to_owned(), Wanted { release: 1, build_release, why })]
        };
        for (build_release, expect) in [(2, 2), (4, 4), (3, 4)] {
            store.want("p", "x86_64", &wish(build_release, "x"), NOW).await.unwrap();
            assert_eq!(store.wanted("p", "x86_64").await.unwrap()["zlib"].build_release, expect);
        }
        assert!(store.wanted("q", "x86_64").await.unwrap().is_empty());
        store.fulfilled("p", "x86_64", &wish(3, "x")).await.unwrap();
        assert_eq!(
            store.wanted("p", "x86_64").await.unwrap().len(),
            1,
            "a later wish is not forgotten with it"
        );
        store.fulfilled("p", "x86_64", &wish(4, "x")).await.unwrap();
        assert!(store.wanted("p", "x86_64").await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_output_is_compared_with_the_one_before() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let mut changed = Vec::new();
        for normalised in ["one", "one", "two"] {
            let task = fixture.task("zlib", &[]).await;
            let claim = fixture.publish(task, normalised, UNTIL).await;
            // Told once more, after a crash, it stays as it was.
            let again = fixture.store.land(task, claim.attempt, "1", "other", UNTIL).await;
            assert!(matches!(again, Err(StoreError::Refused { .. })), "{again:?}");
            let tasks = fixture.store.wave_tasks("p", "x86_64").await.unwrap();
            let (began, landed, is_new) = tasks.last().unwrap().output.unwrap();
            assert_eq!((tasks.last().unwrap().id, began, landed), (task, NOW, UNTIL));
            changed.push(is_new);
        }
        assert_eq!(changed, [true, false, true]);
    })
    .await;
}

#[tokio::test]
async fn a_leader_whose_time_is_over_cannot_write() {
    each_address(async |address| {
        let tool = Store::open(&address).await.unwrap();
        let first = Store::open(&address).await.unwrap().take_over("http://a", "a:1", NOW).await.unwrap();
        let first = Fixture { store: first };
        let task = first.ready().await;
        let second = Store::open(&address).await.unwrap().take_over("http://b", "b:1", NOW).await.unwrap();
        let before = second.task(task).await.unwrap();
        let late = first.assign(task).await.unwrap_err();
        assert_eq!(late.kind(), Kind::Unavailable, "{late}");
        let late = first.store.adopt_tasks("x", "y").await.unwrap_err();
        assert!(late.to_string().contains("another program has taken over"), "{late}");
        assert_eq!(second.task(task).await.unwrap(), before);
        assert_eq!(first.store.task(task).await.unwrap(), before, "reading goes on");
        // Tools that lead nothing work beside whoever leads.
        tool.adopt_tasks("x", "y").await.unwrap();
        Fixture { store: second.clone() }.assign(task).await.unwrap();
        for store in [&tool, &first.store, &second] {
            store.close().await;
        }
    })
    .await;
}

#[tokio::test]
async fn many_tasks_are_judged_as_one_after_the_other() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let old = fixture.task("zlib", &[]).await;
        let held = Event::Held { by: "ikey".into(), why: "wait".into() };
        fixture.store.apply(old, &held, NOW).await.unwrap();
        let mut new: Vec<NewTask> = (0..250).map(|number| new_task(&format!("s{number}"))).collect();
        new.insert(0, NewTask { supersedes: vec![old], ..new_task("zlib") });
        let (made, _) = fixture.store.carry_out(&new, &[], NOW).await.unwrap();
        assert!(made.is_sorted() && made.len() == new.len());
        for (id, new) in made.iter().zip(&new) {
            assert_eq!(fixture.store.task(*id).await.unwrap().source, new.source, "numbers follow the order");
        }
        assert_eq!(
            fixture.store.task(made[0]).await.unwrap().state.phase(),
            Phase::Held,
            "what a person said stays"
        );
        assert_eq!(fixture.store.task(old).await.unwrap().state.phase(), Phase::Superseded);
        // The same task twice, a refusal between, and more than one statement holds.
        let mut events = vec![
            (made[1], Event::CancelAsked { why: "x".into() }),
            (made[2], Event::RetryAsked),
            (made[1], Event::RetryAsked),
        ];
        let ready = || Event::Judged { readiness: Readiness::Ready };
        events.extend(made[3..].iter().map(|task| (*task, ready())));
        let applied = fixture.store.apply_many(&events, NOW).await.unwrap();
        assert_eq!(applied.len(), events.len() - 1);
        assert_eq!(fixture.store.task(made[1]).await.unwrap().generation, 2);
        assert_eq!(fixture.store.events(made[1], 9).await.unwrap().len(), 2);
        assert_eq!(fixture.store.tasks_in(&[Phase::Ready]).await.unwrap().len(), made.len() - 3);
        for applied in applied.iter().skip(2) {
            assert_eq!(fixture.store.task(applied.task.id).await.unwrap(), applied.task);
        }
        let missing = fixture.store.apply_many(&[(made[3], ready()), (TaskId(9999), ready())], NOW).await;
        assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_old_is_forgotten_and_what_is_open_or_newest_never() {
    each_database(async |store| {
        let fixture = Fixture { store };
        let store = &fixture.store;
        let make = async |source: &str, supersedes: &[TaskId]| {
            let task = NewTask { supersedes: supersedes.to_vec(), ..new_task(source) };
            store.carry_out(&[task], &[], NOW).await.unwrap().0[0]
        };
        let (first, second) = (make("nano", &[]).await, make("nano", &[]).await);
        let attempt = fixture.publish(first, "x", NOW).await.attempt;
        fixture.publish(second, "x", NOW).await;
        let ended_later = make("nano", &[]).await;
        store.apply(ended_later, &Event::CancelAsked { why: "x".into() }, NOW).await.unwrap();
        let replaced = make("less", &[]).await;
        let open = make("less", &[replaced]).await;
        let wave = [fixture.task("gcc", &[]).await, fixture.task("gcc", &[]).await];
        for task in wave {
            fixture.publish(task, "x", NOW).await;
        }
        assert_eq!(store.forgettable(NOW).await.unwrap(), [], "nothing is older than now");
        let later = Moment(NOW.0 + 1);
        let found = store.forgettable(later).await.unwrap();
        assert_eq!(found, [(first, vec![attempt]), (replaced, vec![])]);
        let tasks: Vec<TaskId> = found.iter().map(|(task, _)| *task).collect();
        store.forget_tasks(&tasks).await.unwrap();
        assert_eq!(store.forgettable(later).await.unwrap(), []);
        for gone in [first, replaced] {
            assert!(matches!(store.task(gone).await, Err(StoreError::NotFound { .. })));
            assert!(store.attempts(gone).await.unwrap().is_empty());
            assert!(store.events(gone, 9).await.unwrap().is_empty());
        }
        for stays in [second, ended_later, open, wave[0], wave[1]] {
            store.task(stays).await.unwrap();
        }
        store.apply(open, &Event::Judged { readiness: Readiness::Ready }, NOW).await.unwrap();
        while store.forget_events(later).await.unwrap() {}
        assert_eq!(store.events(open, 9).await.unwrap().len(), 1, "of what is open everything stays");
        assert!(store.events(second, 9).await.unwrap().is_empty());
        let learned: Vec<_> = store.samples().await.unwrap();
        assert_eq!(learned.len(), 4);
        assert!(learned.iter().all(|sample| (sample.peak_memory_bytes, sample.at) == (7, NOW)));
        assert!(!store.forget_samples(later).await.unwrap());
        let left = store.samples().await.unwrap();
        let left: Vec<&str> = left.iter().map(|sample| sample.source.as_str()).collect();
        assert_eq!(left, ["nano", "gcc"], "the last one of each source stays");
        assert!(!store.forget_audit(later).await.unwrap());
    })
    .await;
}

pub(crate) fn new_task(source: &str) -> NewTask {
    NewTask {
        project: "p".into(),
        channel: "main".into(),
        source: source.into(),
        version: "1.0".into(),
        release: 1,
        build_release: 1,
        architecture: "x86_64".into(),
        recipe_path: format!("{source}/stone.yaml"),
        content: "tree".into(),
        commit: "0".repeat(40),
        commit_time_seconds: 1,
        reason: Reason::New,
        wave: None,
        round: 0,
        supersedes: Vec::new(),
    }
}
