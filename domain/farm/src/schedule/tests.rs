//! Small farms, each for one rule.

use super::*;

const NOW: Moment = Moment(1_000_000);
const MINUTE: u64 = 60_000;
const GIB: u64 = 1 << 30;

fn needs(memory_gib: u64) -> Arc<Needs> {
    Arc::new(Needs { architecture: "x86_64".into(), memory_bytes: memory_gib * GIB, ..Needs::default() })
}

/// A task of `minutes`, with `tail` minutes of others after it.
fn candidate(task: u64, minutes: u64, tail: u64) -> Candidate {
    Candidate {
        task: TaskId(task),
        needs: needs(0),
        priority: Priority::Normal,
        path_ms: (minutes + tail) * MINUTE,
        expected_ms: Some(minutes * MINUTE),
        since: NOW,
        not_before: Moment(0),
        avoid: None,
    }
}

fn builder(id: &str, slots: u32, speed: f64) -> Builder {
    Builder {
        id: BuilderId(id.into()),
        architectures: vec!["x86_64".into()],
        slots,
        cores: slots * 4,
        memory_bytes: 16 * GIB,
        speed,
        ..Builder::default()
    }
}

/// Something that ends in `minutes` and has taken `gib` of memory.
fn running(task: u64, minutes: u64, gib: u64) -> Running {
    Running {
        task: TaskId(task),
        since: NOW,
        expected_end: Moment(NOW.0 + minutes * MINUTE),
        tail_ms: 0,
        memory_bytes: gib * GIB,
        twin: false,
    }
}

fn scheduler(candidates: impl IntoIterator<Item = Candidate>) -> Scheduler {
    let mut scheduler = Scheduler::new(Policy::CriticalPath);
    candidates.into_iter().for_each(|candidate| scheduler.offer(candidate));
    scheduler
}

fn pairs(schedule: &Schedule) -> Vec<(u64, &str)> {
    schedule.assignments.iter().map(|given| (given.task.0, given.builder.0.as_str())).collect()
}

fn held(schedule: &Schedule) -> Vec<(u64, &str)> {
    schedule.held.iter().map(|held| (held.task.0, held.builder.0.as_str())).collect()
}

#[test]
fn priority_goes_first_then_the_longest_way_then_age_then_the_smallest_number() {
    let mut scheduler = scheduler([
        candidate(1, 1, 0),
        candidate(2, 1, 90),
        Candidate { since: Moment(5), ..candidate(3, 1, 0) },
        Candidate { priority: Priority::High, ..candidate(4, 1, 0) },
        Candidate { priority: Priority::Low, ..candidate(5, 1, 900) },
        Candidate { priority: Priority::Urgent, ..candidate(6, 1, 0) },
        candidate(7, 1, 0),
    ]);
    let order: Vec<u64> =
        scheduler.pass(&[builder("a", 7, 1.0)], NOW).assignments.iter().map(|given| given.task.0).collect();
    assert_eq!(order, [6, 4, 2, 3, 1, 7, 5]);
    assert!(scheduler.is_empty(), "what is given away is forgotten");
}

#[test]
fn work_spreads_over_equal_builders() {
    let mut scheduler = scheduler((1..=4).map(|task| candidate(task, 1, 0)));
    let schedule = scheduler.pass(&[builder("a", 2, 1.0), builder("b", 3, 1.0)], NOW);
    assert_eq!(pairs(&schedule), [(1, "b"), (2, "a"), (3, "b"), (4, "a")]);
}

#[test]
fn the_faster_builder_is_taken_first() {
    let mut scheduler = scheduler([candidate(1, 1, 9), candidate(2, 1, 0)]);
    let schedule = scheduler.pass(&[builder("slow", 4, 0.5), builder("fast", 1, 1.0)], NOW);
    assert_eq!(pairs(&schedule), [(1, "fast"), (2, "slow")]);
    let why = &schedule.assignments[0].why;
    assert_eq!(
        why,
        "the chain of builds from here takes 10 min; expected 1 min here, 2 min on slow; ready for 0 s"
    );
}

#[test]
fn what_matters_waits_for_a_faster_builder_and_the_slow_one_takes_something_else() {
    let fast = Builder { running: vec![running(9, 1, 0)], ..builder("fast", 1, 1.0) };
    let farm = [fast, builder("slow", 1, 0.25)];
    let mut scheduler = scheduler([candidate(1, 10, 60), candidate(2, 2, 0)]);
    let schedule = scheduler.pass(&farm, NOW);
    assert_eq!(pairs(&schedule), [(2, "slow")]);
    assert_eq!(held(&schedule), [(1, "fast")]);
    assert_eq!(schedule.wake_at, Some(Moment(NOW.0 + MINUTE)));
    let waits = Unplaced::HeldFor { builder: BuilderId("fast".into()), until: Moment(NOW.0 + MINUTE) };
    assert_eq!(scheduler.unplaced(TaskId(1), &farm, NOW), Some(waits));
}

#[test]
fn nothing_waits_for_a_faster_builder_that_is_busy_for_long() {
    let fast = Builder { running: vec![running(9, 60, 0)], ..builder("fast", 1, 1.0) };
    let mut scheduler = scheduler([candidate(1, 10, 60)]);
    assert_eq!(pairs(&scheduler.pass(&[fast, builder("slow", 1, 0.25)], NOW)), [(1, "slow")]);
}

#[test]
fn at_the_end_of_a_run_no_long_task_goes_to_a_slow_machine() {
    let farm = |minutes| {
        let fast = Builder { running: vec![running(9, minutes, 0)], ..builder("fast", 1, 1.0) };
        [fast, builder("slow", 1, 0.25)]
    };
    assert_eq!(held(&scheduler([candidate(1, 30, 0)]).pass(&farm(5), NOW)), [(1, "fast")]);
    let mut early = scheduler((1..=30).map(|task| candidate(task, 30, 0)));
    assert_eq!(pairs(&early.pass(&farm(5), NOW)), [(1, "slow")], "with much to do no place stays free");
}

#[test]
fn builds_share_a_builder_when_memory_and_slots_allow_it() {
    let farm = [Builder { running: vec![running(9, 5, 10)], ..builder("a", 3, 1.0) }];
    for (memory, expect) in
        [(6, vec![(1, "a")]), (3, vec![(1, "a"), (2, "a")]), (7, vec![]), (0, vec![(1, "a"), (2, "a")])]
    {
        let tasks = (1..=3).map(|task| Candidate { needs: needs(memory), ..candidate(task, 1, 0) });
        assert_eq!(pairs(&scheduler(tasks).pass(&farm, NOW)), expect, "{memory} GiB");
    }
}

#[test]
fn a_large_task_is_not_starved_by_small_ones() {
    // 8 of 16 GiB are free; the large one has to wait ten minutes for 12 GiB.
    let farm = [Builder { running: vec![running(9, 10, 8)], ..builder("a", 4, 1.0) }];
    let large = Candidate { needs: needs(12), ..candidate(1, 5, 60) };
    for (minutes, memory, expect) in [
        (5, 8, vec![(2, "a")]),  // ends before
        (30, 4, vec![(2, "a")]), // leaves enough
        (30, 5, vec![]),
        (11, 8, vec![]),
    ] {
        let small = Candidate { needs: needs(memory), ..candidate(2, minutes, 0) };
        let mut scheduler = scheduler([large.clone(), small]);
        let schedule = scheduler.pass(&farm, NOW);
        assert_eq!(pairs(&schedule), expect, "{minutes} min, {memory} GiB");
        let until = Moment(NOW.0 + 10 * MINUTE);
        let reserved = Held { task: TaskId(1), builder: BuilderId("a".into()), until, for_memory: true };
        assert_eq!(schedule.held, [reserved]);
    }
    let small = |task| Candidate { needs: needs(4), ..candidate(task, 30, 0) };
    let mut scheduler = scheduler([large, small(2), small(3)]);
    assert_eq!(
        pairs(&scheduler.pass(&farm, NOW)),
        [(2, "a")],
        "together the small ones would not leave enough"
    );
}

#[test]
fn a_retry_goes_elsewhere_where_that_costs_little() {
    let retry = Candidate { avoid: Some(BuilderId("a".into())), ..candidate(1, 1, 0) };
    for (other, expect) in [(1.0, "b"), (0.6, "b"), (0.4, "a")] {
        let farm = [builder("a", 4, 1.0), builder("b", 1, other)];
        assert_eq!(pairs(&scheduler([retry.clone()]).pass(&farm, NOW)), [(1, expect)], "{other}");
    }
    assert_eq!(pairs(&scheduler([retry]).pass(&[builder("a", 1, 1.0)], NOW)), [(1, "a")]);
}

#[test]
fn a_machine_that_is_busy_with_other_things_is_not_preferred() {
    let busy = Builder { load_percent: 100, ..builder("a", 1, 1.0) };
    assert_eq!(pairs(&scheduler([candidate(1, 1, 0)]).pass(&[busy, builder("b", 1, 0.9)], NOW)), [(1, "b")]);
}

#[test]
fn every_reason_to_wait_has_a_name() {
    let arm = Builder { architectures: vec!["aarch64".into()], ..builder("arm", 1, 1.0) };
    let drained = Builder { drained: true, ..builder("d", 1, 1.0) };
    let faulty = Builder { faults_in_row: 2, last_fault: NOW, ..builder("f", 1, 1.0) };
    let full = Builder { running: vec![running(9, 5, 0)], ..builder("a", 1, 1.0) };
    let pressed =
        Builder { pressure: Pressure { memory_percent: 70, ..Pressure::default() }, ..builder("p", 1, 1.0) };
    let small_disk = Builder { disk_free_bytes: GIB, ..builder("a", 1, 1.0) };
    let resting = Candidate { not_before: Moment(NOW.0 + 1), ..candidate(1, 1, 0) };
    let wants = |change: fn(&mut Needs)| {
        let mut needs = Needs::clone(&needs(0));
        change(&mut needs);
        Candidate { needs: Arc::new(needs), ..candidate(1, 1, 0) }
    };
    let kvm: BTreeSet<String> = ["kvm".to_owned()].into();
    let plain = || candidate(1, 1, 0);
    let one = || vec![builder("a", 1, 1.0)];
    let rest_over = NOW.after(REST_FIRST);
    let until = Some(Moment(NOW.0 + 5 * MINUTE));
    let table: Vec<(Candidate, Vec<Builder>, Unplaced)> = vec![
        (plain(), vec![], Unplaced::NoBuilder),
        (plain(), vec![arm], Unplaced::NoArchitecture { architecture: "x86_64".into() }),
        (
            wants(|needs| needs.features = ["kvm".to_owned()].into()),
            one(),
            Unplaced::NoFeature { features: kvm },
        ),
        (wants(|needs| needs.trust = Trust::Official), one(), Unplaced::NotTrusted),
        (
            wants(|needs| needs.memory_bytes = 32 * GIB),
            one(),
            Unplaced::NoMemory { needed_bytes: 32 * GIB, largest_bytes: 16 * GIB },
        ),
        (
            wants(|needs| needs.disk_bytes = 2 * GIB),
            vec![small_disk],
            Unplaced::NoDisk { needed_bytes: 2 * GIB, largest_bytes: GIB },
        ),
        (plain(), vec![pressed], Unplaced::Pressed { shortage: Shortage::Memory }),
        (plain(), vec![drained], Unplaced::Drained { builder: BuilderId("d".into()) }),
        (plain(), vec![faulty], Unplaced::Quarantined { builder: BuilderId("f".into()), until: rest_over }),
        (plain(), vec![full], Unplaced::Busy { ahead: 0, until }),
        (resting, one(), Unplaced::Resting { until: Moment(NOW.0 + 1) }),
    ];
    for (candidate, builders, expect) in table {
        let mut scheduler = scheduler([candidate]);
        assert_eq!(scheduler.unplaced(TaskId(1), &builders, NOW), Some(expect.clone()));
        assert_eq!(scheduler.unplaced_all(&builders, NOW), [(TaskId(1), expect)]);
        assert!(scheduler.pass(&builders, NOW).assignments.is_empty());
    }
    let mut scheduler = scheduler([plain(), candidate(2, 1, 0)]);
    assert_eq!(scheduler.unplaced(TaskId(1), &one(), NOW), None, "is handed out next");
    assert_eq!(scheduler.unplaced(TaskId(3), &one(), NOW), None, "is not known");
    let busy = Unplaced::Busy { ahead: 0, until: None };
    assert_eq!(scheduler.unplaced_all(&one(), NOW), [(TaskId(2), busy)]);
}

#[test]
fn a_pass_says_when_there_may_be_more_to_do() {
    let resting = Candidate { not_before: Moment(NOW.0 + 7), ..candidate(1, 1, 0) };
    let mut scheduler = scheduler([resting]);
    assert_eq!(scheduler.pass(&[builder("a", 1, 1.0)], NOW).wake_at, Some(Moment(NOW.0 + 7)));
    assert_eq!(pairs(&scheduler.pass(&[builder("a", 1, 1.0)], Moment(NOW.0 + 7))), [(1, "a")]);
}

#[test]
fn offering_again_replaces_and_retracting_forgets() {
    let mut scheduler = scheduler([candidate(1, 1, 0), candidate(2, 5, 0)]);
    scheduler.offer(Candidate { needs: needs(2), ..candidate(1, 1, 60) });
    assert_eq!(scheduler.len(), 2);
    assert_eq!(scheduler.retract(TaskId(2)).map(|candidate| candidate.task), Some(TaskId(2)));
    assert_eq!(scheduler.retract(TaskId(2)), None);
    assert_eq!(pairs(&scheduler.pass(&[builder("a", 4, 1.0)], NOW)), [(1, "a")]);
    assert_eq!((scheduler.len(), scheduler.offered_ms), (0, 0));
}

#[test]
fn two_faults_in_a_row_set_a_builder_aside_for_a_growing_while() {
    for (faults, seconds) in [(0, None), (1, None), (2, Some(60)), (3, Some(120)), (40, Some(1800))] {
        let builder = Builder { faults_in_row: faults, last_fault: NOW, ..builder("a", 1, 1.0) };
        let expect = seconds.map(|seconds| NOW.after(Duration::from_secs(seconds)));
        assert_eq!(rests_until(&builder), expect, "{faults}");
    }
    let mended = Builder { faults_in_row: 2, last_fault: Moment(0), ..builder("a", 1, 1.0) };
    assert_eq!(pairs(&scheduler([candidate(1, 1, 0)]).pass(&[mended], NOW)), [(1, "a")]);
}

#[test]
fn memory_is_rounded_up_by_less_than_a_quarter() {
    for (bytes, expect) in
        [(0, 0), (1, 1), (4, 4), (9, 10), (1000, 1024), (GIB, GIB), (GIB + 1, GIB + GIB / 4)]
    {
        assert_eq!(rounded_memory(bytes), expect, "{bytes}");
    }
    assert_eq!(rounded_memory(u64::MAX), u64::MAX);
}

#[test]
fn first_in_first_out_knows_no_urgency() {
    let mut scheduler = Scheduler::new(Policy::FirstInFirstOut);
    scheduler.offer(candidate(1, 1, 0));
    scheduler.offer(Candidate { priority: Priority::Urgent, ..candidate(2, 1, 90) });
    assert_eq!(
        pairs(&scheduler.pass(&[builder("a", 1, 0.1), builder("b", 1, 1.0)], NOW)),
        [(1, "a"), (2, "b")]
    );
}

#[test]
fn aerynos_order_is_by_size_and_one_build_for_each_builder() {
    let mut scheduler = Scheduler::new(Policy::AerynOs);
    for (task, minutes) in [(1, 1), (2, 10), (3, 60), (4, 60), (5, 1)] {
        scheduler.offer(candidate(task, minutes, 0));
    }
    let farm = [builder("large", 4, 1.0), builder("medium", 2, 0.8), builder("small", 1, 0.5)];
    let schedule = scheduler.pass(&farm, NOW);
    // The second large one waits: a connected builder is large enough, if busy.
    assert_eq!(pairs(&schedule), [(3, "large"), (2, "medium"), (1, "small")]);
    let mut without_large = Scheduler::new(Policy::AerynOs);
    without_large.offer(candidate(3, 60, 0));
    assert_eq!(pairs(&without_large.pass(&farm[1..], NOW)), [(3, "medium")]);
}

/// A build that was to take ten minutes and has run for `minutes` at `now`, with an hour of others after it.
fn overdue(task: u64, minutes: u64, now: Moment) -> Running {
    let since = Moment(now.0 - minutes * MINUTE);
    let expected_end = Moment(since.0 + 10 * MINUTE);
    Running { since, expected_end, tail_ms: 60 * MINUTE, ..running(task, 0, 0) }
}

/// Who would begin task 9 a second time on this farm, on which it runs on the first builder.
fn second(farm: &[Builder], scheduler: &mut Scheduler, now: Moment) -> Vec<(u64, String)> {
    let schedule = scheduler.preview(farm, now);
    let seconds = scheduler.stragglers(farm, &schedule, |_| Some(needs(4)), now);
    seconds.into_iter().map(|given| (given.task.0, given.builder.0)).collect()
}

#[test]
fn a_straggler_that_matters_is_begun_a_second_time_where_that_is_likely_sooner() {
    let now = Moment(NOW.0 + 60 * MINUTE);
    let farm = |minutes: u64, change: fn(&mut Running), other: Builder| {
        let mut run = overdue(9, minutes, now);
        change(&mut run);
        [Builder { running: vec![run], ..builder("a", 4, 1.0) }, other]
    };
    let same: fn(&mut Running) = |_| ();
    let b = || builder("b", 1, 1.0);
    let one = || vec![(9, "b".to_owned())];
    let table = [
        (farm(15, same, b()), vec![], "not far beyond expectation"),
        (farm(25, same, b()), one(), "far beyond"),
        (farm(25, same, builder("b", 1, 0.3)), vec![], "the other would take longer than it has run"),
        (farm(25, |run| run.twin = true, b()), vec![], "it has a second attempt already"),
        (farm(25, same, Builder { drained: true, ..b() }), vec![], "drained"),
        (
            farm(25, same, Builder { running: vec![running(8, 300, 0)], ..b() }),
            vec![],
            "busy, and the rest is long",
        ),
        (farm(25, same, Builder { memory_bytes: GIB, ..b() }), vec![], "too little memory"),
    ];
    for (farm, expect, why) in table {
        assert_eq!(second(&farm, &mut scheduler([]), now), expect, "{why}");
    }
    let farm = farm(25, same, b());
    let mut busy = scheduler((1..=4).map(|task| candidate(task, 5, 0)));
    assert_eq!(second(&farm, &mut busy, now), [], "the places are taken");
    let schedule = Schedule::default();
    let why = &scheduler([]).stragglers(&farm, &schedule, |_| Some(needs(4)), now)[0].why;
    let expect =
        "runs for 25 min on a instead of 10 min; expected 10 min here; the longest way after it is 1 h";
    assert_eq!(why, expect);
}
