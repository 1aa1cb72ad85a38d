//! Orders of other systems, for comparison.

use crate::moment::Moment;
use crate::schedule::pass::{duration, milliseconds, speed, whole};
use crate::schedule::place::Place;
use crate::schedule::{
    Assignment, Builder, Candidate, Key, Needs, Policy, Schedule, Scheduler, is_able, is_in_use,
};

/// Size of a build or of a builder, as AerynOS's controller sorts them by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Size {
    Small,
    Medium,
    Large,
}

/// Builds up to five minutes are small, up to half an hour medium. AerynOS lists its large recipes by hand; they are
/// those.
const SMALL_MS: u64 = 5 * 60 * 1000;
const MEDIUM_MS: u64 = 30 * 60 * 1000;

/// Cores from which a builder is medium or large.
const MEDIUM_CORES: u32 = 8;
const LARGE_CORES: u32 = 16;

fn size_of_task(candidate: &Candidate) -> Size {
    match candidate.work_ms() {
        work_ms if work_ms <= SMALL_MS => Size::Small,
        work_ms if work_ms <= MEDIUM_MS => Size::Medium,
        _ => Size::Large,
    }
}

fn size_of_builder(builder: &Builder) -> Size {
    match builder.cores {
        cores if cores >= LARGE_CORES => Size::Large,
        cores if cores >= MEDIUM_CORES => Size::Medium,
        _ => Size::Small,
    }
}

/// The place of a task in its queue.
pub(super) fn key(policy: Policy, candidate: &Candidate) -> Key {
    let falling = |value: u64| u64::MAX - value;
    let task = candidate.task;
    match policy {
        Policy::CriticalPath => Key {
            first: falling(rank(candidate)),
            second: falling(candidate.path_ms),
            third: candidate.since.0,
            task,
        },
        Policy::FirstInFirstOut => Key { first: 0, second: 0, third: 0, task },
        Policy::AerynOs => {
            let size = match size_of_task(candidate) {
                Size::Large => 0,
                Size::Medium => 1,
                Size::Small => 2,
            };
            Key { first: size, second: 0, third: 0, task }
        }
    }
}

fn rank(candidate: &Candidate) -> u64 {
    use crate::schedule::Priority::{High, Low, Normal, Urgent};
    match candidate.priority {
        Low => 0,
        Normal => 1,
        High => 2,
        Urgent => 3,
    }
}

/// A pass in the order of the keys over everything that is ready. Not made for large queues.
pub(super) fn run(scheduler: &Scheduler, builders: &[Builder], now: Moment) -> Schedule {
    let mut places: Vec<Place<'_>> =
        builders.iter().map(|builder| Place::new(builder, is_in_use(builder, now))).collect();
    if scheduler.policy == Policy::AerynOs {
        for place in &mut places {
            let idle = place.free_slots > 0 && place.builder.running.is_empty();
            place.free_slots = u32::from(idle);
        }
    }
    let queues = scheduler.classes.iter().map(|class| class.queue.iter().map(move |key| (key, &class.needs)));
    let mut order: Vec<_> = queues.flatten().collect();
    order.sort();
    let mut schedule = Schedule::default();
    for (key, needs) in order {
        if places.iter().all(|place| place.free_slots == 0) {
            break;
        }
        let Some(entry) = scheduler.tasks.get(&key.task) else { continue };
        let chosen = match scheduler.policy {
            Policy::AerynOs => by_size(&places, needs, size_of_task(&entry.candidate)),
            _ => any(&places, needs),
        };
        let Some(place) = chosen.and_then(|index| places.get_mut(index)) else { continue };
        let lasts_ms = whole(milliseconds(entry.candidate.work_ms()) / speed(place.builder));
        let end = now.0.saturating_add(lasts_ms);
        place.begin(needs, end);
        schedule.assignments.push(Assignment {
            task: key.task,
            builder: place.builder.id.clone(),
            expected_end: Moment(end),
            why: format!(
                "next in the order; ready for {}",
                duration(now.0.saturating_sub(entry.candidate.since.0))
            ),
        });
    }
    schedule
}

fn free<'p>(places: &'p [Place<'p>], needs: &'p Needs) -> impl Iterator<Item = (usize, &'p Place<'p>)> {
    places
        .iter()
        .enumerate()
        .filter(|(_, place)| is_able(place.builder, needs) && place.takes(needs, u64::MAX))
}

/// The builder with most free slots.
fn any(places: &[Place<'_>], needs: &Needs) -> Option<usize> {
    let best =
        free(places, needs).min_by_key(|(_, place)| (std::cmp::Reverse(place.free_slots), &place.builder.id));
    best.map(|(index, _)| index)
}

/// The smallest idle builder that is large enough; else the largest smaller one, only when no connected builder is
/// large enough.
fn by_size(places: &[Place<'_>], needs: &Needs, size: Size) -> Option<usize> {
    let key = |place: &Place<'_>| size_of_builder(place.builder);
    let enough = free(places, needs).filter(|(_, place)| key(place) >= size);
    let best = enough.min_by_key(|(_, place)| (key(place), &place.builder.id));
    if let Some((index, _)) = best {
        return Some(index);
    }
    let able = |place: &&Place<'_>| is_able(place.builder, needs);
    if places.iter().filter(able).any(|place| key(place) >= size) {
        return None;
    }
    let smaller =
        free(places, needs).min_by_key(|(_, place)| (std::cmp::Reverse(key(place)), &place.builder.id));
    smaller.map(|(index, _)| index)
}
