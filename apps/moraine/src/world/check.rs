//! What a world has come to: counts of what must not be, and how long everything took. Pure, but for the data that it is
//! given.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ask::{Attempt, TaskPage};

/// Most builds of one member of a cycle: what a project allows unless it says otherwise.
const ROUNDS_MAX: usize = 3;

/// What is known when everything is over.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// The release of every recipe.
    pub(super) recipes: BTreeMap<String, u64>,
    /// Those whose tasks the task of each waits for directly; nobody waits for itself on any way.
    pub(super) waits_for: BTreeMap<String, Vec<String>>,
    /// The newest published release of every source, as any client reads it.
    pub(super) published: HashMap<String, u64>,
    pub(super) tasks: Vec<TaskPage>,
    /// Bytes that are missing from logs, or wrong.
    pub(super) lost_log_bytes: u64,
    /// Processes and files that nobody needs any more.
    pub(super) orphans: Vec<String>,
    /// Packages in the pool that were not there to begin with and belong to no published task; a line each.
    pub(super) unordered: Vec<String>,
    /// Members of cycles that did not come to rest.
    pub(super) unsettled: Vec<String>,
}

/// Middle and end of a spread, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Spread {
    pub(super) p50: u64,
    pub(super) p99: u64,
}

/// What it has come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Recipes that are published at their release.
    pub(super) published: usize,
    /// Attempts that built something that was published.
    pub(super) builds: usize,
    /// All attempts.
    pub(super) attempts: usize,
    pub(super) false_failures: usize,
    pub(super) duplicates: usize,
    /// From the moment that a build could run (it was ready, and its builder free) until it ran; for the
    /// first build of each builder from the order.
    pub(super) assign_ms: Spread,
    /// From the end of a build until the repository had it.
    pub(super) publish_ms: Spread,
    /// From the landing of the last thing that a task waits for, near or far, until it was ready.
    pub(super) ready_ms: Spread,
    /// What is not as it must be, a line each.
    pub(super) wrong: Vec<String>,
}

/// Judges the end of a world.
pub(super) fn judge(evidence: &Evidence) -> Verdict {
    let mut wrong = Vec::new();
    let is_published =
        |(source, release): &(&String, &u64)| evidence.published.get(*source) == Some(*release);
    let published = evidence.recipes.iter().filter(is_published).count();
    for (source, release) in evidence.recipes.iter().filter(|recipe| !is_published(recipe)) {
        let there =
            evidence.published.get(source).map_or("nothing".to_owned(), |there| format!("release {there}"));
        wrong.push(format!("{source} is published with {there}, not with release {release}"));
    }
    let open = |page: &&TaskPage| page.task.phase != "published" && page.task.phase != "superseded";
    for page in evidence.tasks.iter().filter(open) {
        let task = &page.task;
        wrong.push(format!("task {} ({}) is {}: {}", task.id, task.source, task.phase, task.detail));
    }
    let false_failures: usize = evidence.tasks.iter().map(|page| entries(page, "failed")).sum();
    let duplicates = duplicates(&evidence.tasks, &mut wrong) + evidence.unordered.len();
    wrong.extend(evidence.unordered.iter().cloned());
    wrong.extend(evidence.orphans.iter().map(|orphan| format!("left over: {orphan}")));
    wrong.extend(evidence.unsettled.iter().cloned());
    if false_failures > 0 {
        let failed: Vec<&str> = evidence
            .tasks
            .iter()
            .filter(|page| entries(page, "failed") > 0)
            .map(|page| page.task.source.as_str())
            .collect();
        wrong.push(format!("{false_failures} builds count as failed: {}", failed.join(", ")));
    }
    if evidence.lost_log_bytes > 0 {
        wrong.push(format!("{} bytes of logs are lost or wrong", evidence.lost_log_bytes));
    }
    let attempts = || evidence.tasks.iter().flat_map(|page| &page.attempts);
    Verdict {
        published,
        builds: evidence.tasks.iter().filter(|page| page.task.phase == "published").count(),
        attempts: attempts().count(),
        false_failures,
        duplicates,
        assign_ms: spread(assign_ms(&evidence.tasks)),
        publish_ms: spread(publish_ms(&evidence.tasks)),
        ready_ms: spread(ready_ms(evidence)),
        wrong,
    }
}

/// How often a task came into a phase.
fn entries(page: &TaskPage, phase: &str) -> usize {
    let before = std::iter::once("").chain(page.events.iter().map(|event| event.phase.as_str()));
    page.events.iter().zip(before).filter(|(event, before)| event.phase == phase && *before != phase).count()
}

/// What was published more than once.
fn duplicates(tasks: &[TaskPage], wrong: &mut Vec<String>) -> usize {
    let mut seen: BTreeSet<(&str, u64, u64)> = BTreeSet::new();
    let mut of_source: BTreeMap<&str, usize> = BTreeMap::new();
    let mut duplicates = 0;
    for page in tasks {
        let task = &page.task;
        let times = entries(page, "published");
        if times == 0 {
            continue;
        }
        *of_source.entry(&task.source).or_default() += times;
        let is_first = seen.insert((&task.source, task.release, task.build_release));
        let more = times - usize::from(is_first);
        if more > 0 {
            wrong
                .push(format!("{} {}-{} was published twice", task.source, task.release, task.build_release));
        }
        duplicates += more;
    }
    for (source, times) in of_source.iter().filter(|(_, times)| **times > ROUNDS_MAX) {
        wrong.push(format!("{source} was published {times} times, {ROUNDS_MAX} rounds are allowed"));
    }
    duplicates
}

/// When an attempt no longer keeps its builder busy.
fn freed_ms(attempt: &Attempt) -> Option<u64> {
    attempt.built_ms.or(attempt.ended_ms)
}

fn assign_ms(tasks: &[TaskPage]) -> Vec<u64> {
    let mut freed: HashMap<&str, Vec<u64>> = HashMap::new();
    for attempt in tasks.iter().flat_map(|page| &page.attempts) {
        freed.entry(&attempt.builder).or_default().extend(freed_ms(attempt));
    }
    freed.values_mut().for_each(|times| times.sort_unstable());
    let mut found = Vec::new();
    for page in tasks {
        for attempt in &page.attempts {
            let Some(started_ms) = attempt.started_ms else { continue };
            let ready = page.events.iter().filter(|event| event.phase == "ready");
            let ready_ms = ready.map(|event| event.at_ms).filter(|at| *at <= attempt.assigned_ms).max();
            let times = freed.get(attempt.builder.as_str()).map_or(&[][..], Vec::as_slice);
            let before = times.partition_point(|at| *at <= attempt.assigned_ms);
            let free_ms = before.checked_sub(1).and_then(|last| times.get(last)).copied();
            // Nobody says when a builder was there that has built nothing yet: tasks are ready before any of them is.
            let could_ms =
                free_ms.map_or(attempt.assigned_ms, |free_ms| free_ms.max(ready_ms.unwrap_or(free_ms)));
            found.push(started_ms.saturating_sub(could_ms));
        }
    }
    found
}

fn published_at(page: &TaskPage) -> Option<u64> {
    page.events.iter().find(|event| event.phase == "published").map(|event| event.at_ms)
}

fn publish_ms(tasks: &[TaskPage]) -> Vec<u64> {
    let of_page = |page: &TaskPage| {
        let built_ms = page.attempts.iter().filter_map(|attempt| attempt.built_ms).max()?;
        Some(published_at(page)?.saturating_sub(built_ms))
    };
    tasks.iter().filter_map(of_page).collect()
}

fn ready_ms(evidence: &Evidence) -> Vec<u64> {
    let mut first: BTreeMap<&str, &TaskPage> = BTreeMap::new();
    for page in &evidence.tasks {
        first.entry(&page.task.source).or_insert(page);
    }
    let mut last_below = BTreeMap::new();
    let of_page = |(source, page): (&&str, &&TaskPage)| {
        let ready_ms = page.events.iter().find(|event| event.phase == "ready")?.at_ms;
        let last = last_landing_below(source, evidence, &first, &mut last_below)?;
        // It may have been ready before: who has a previous generation need not always be waited for.
        ready_ms.checked_sub(last)
    };
    first.iter().filter_map(of_page).collect()
}

/// When the last of those landed that `source` waits for, near or far; none when it waits for nobody.
fn last_landing_below<'a>(
    source: &str,
    evidence: &'a Evidence,
    first: &BTreeMap<&str, &TaskPage>,
    known: &mut BTreeMap<&'a str, Option<u64>>,
) -> Option<u64> {
    if let Some(last) = known.get(source) {
        return *last;
    }
    let (name, needed) = evidence.waits_for.get_key_value(source)?;
    // Should there be a ring after all, it ends here.
    known.insert(name, None);
    let of_needed = |needed: &'a String| {
        let landed = first.get(needed.as_str()).and_then(|page| published_at(page));
        landed.max(last_landing_below(needed, evidence, first, known))
    };
    let last = needed.iter().filter_map(of_needed).max();
    known.insert(name, last);
    last
}

/// Nearest rank.
fn spread(mut values: Vec<u64>) -> Spread {
    values.sort_unstable();
    let at = |percent: usize| {
        let rank = (values.len() * percent).div_ceil(100).saturating_sub(1);
        values.get(rank).copied().unwrap_or(0)
    };
    Spread { p50: at(50), p99: at(99) }
}

#[cfg(test)]
mod tests {
    use super::super::ask::{Event, Task};
    use super::*;

    /// A task that was ready at `ready`, ran on `builder` from `ready + 30` for a second, and was published after 40 ms.
    fn page(id: u64, source: &str, builder: &str, ready: u64) -> TaskPage {
        let event = |at_ms, phase: &str| Event { at_ms, phase: phase.into() };
        TaskPage {
            task: Task {
                id,
                source: source.into(),
                release: 3,
                build_release: 1,
                phase: "published".into(),
                detail: String::new(),
            },
            attempts: vec![Attempt {
                id,
                builder: builder.into(),
                assigned_ms: ready + 20,
                started_ms: Some(ready + 30),
                built_ms: Some(ready + 1030),
                ended_ms: Some(ready + 1070),
                log_url: String::new(),
            }],
            events: vec![
                event(ready, "ready"),
                event(ready + 20, "leased"),
                event(ready + 30, "building"),
                event(ready + 31, "building"),
                event(ready + 1030, "publishing"),
                event(ready + 1070, "published"),
            ],
        }
    }

    fn evidence() -> Evidence {
        let names = ["bash", "nano"];
        Evidence {
            recipes: names.map(|name| (name.to_owned(), 3)).into(),
            published: names.map(|name| (name.to_owned(), 3)).into(),
            waits_for: [("nano", "sh"), ("sh", "bash")]
                .map(|(user, needed)| (user.into(), vec![needed.into()]))
                .into(),
            tasks: vec![page(1, "bash", "a", 1000), page(2, "nano", "a", 2085)],
            ..Evidence::default()
        }
    }

    #[test]
    fn a_good_end_is_good() {
        let verdict = judge(&evidence());
        assert_eq!(verdict.wrong, Vec::<String>::new());
        assert_eq!((verdict.published, verdict.builds, verdict.attempts), (2, 2, 2));
        assert_eq!(verdict.assign_ms, Spread { p50: 10, p99: 30 });
        assert_eq!(verdict.publish_ms, Spread { p50: 40, p99: 40 });
        assert_eq!(verdict.ready_ms, Spread { p50: 15, p99: 15 });
    }

    #[test]
    fn everything_that_must_not_be_is_told() {
        fn check(spoil: impl FnOnce(&mut Evidence), expect: &str) {
            let mut evidence = evidence();
            spoil(&mut evidence);
            let verdict = judge(&evidence);
            assert!(verdict.wrong.iter().any(|line| line.contains(expect)), "{expect}: {:?}", verdict.wrong);
        }
        check(|it| it.published.extend([("nano".to_owned(), 2)]), "nano is published with release 2");
        check(|it| it.published.retain(|name, _| name != "nano"), "nano is published with nothing");
        check(|it| it.tasks[0].task.phase = "blocked".into(), "task 1 (bash) is blocked");
        check(|it| it.tasks.push(page(3, "bash", "a", 9000)), "bash 3-1 was published twice");
        check(|it| it.lost_log_bytes = 7, "7 bytes of logs");
        check(|it| it.orphans.push("process 12".into()), "left over: process 12");
        check(|it| it.unordered.push("nobody asked for x".into()), "nobody asked for x");
        check(|it| it.tasks[1].events[2].phase = "failed".into(), "1 builds count as failed: nano");
        check(
            |it| {
                for number in 3..7 {
                    let mut page = page(number, "bash", "a", 9000);
                    page.task.build_release = number;
                    it.tasks.push(page);
                }
            },
            "bash was published 5 times",
        );
    }

    #[test]
    fn a_build_waits_for_its_builder_too() {
        let mut evidence = evidence();
        // Ready since long, but its builder was busy until 2030.
        evidence.tasks[1].events[0].at_ms = 1100;
        assert_eq!(assign_ms(&evidence.tasks), [10, 85]);
        assert_eq!(spread((1..=200).collect()), Spread { p50: 100, p99: 198 });
        assert_eq!(spread(Vec::new()), Spread::default());
    }
}
