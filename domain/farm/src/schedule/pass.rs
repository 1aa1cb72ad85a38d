//! One pass of [`Policy::CriticalPath`](super::Policy::CriticalPath).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, btree_set};

use crate::ids::BuilderId;
use crate::moment::Moment;
use crate::schedule::place::{Place, expected_end};
use crate::schedule::{
    Assignment, Builder, Candidate, Held, Key, Needs, Priority, Schedule, Scheduler, is_able, is_in_use,
};

/// Tasks that one pass keeps for busy builders. Beyond that the free places wait for the next pass: with more
/// looking ahead every figure is a guess about a guess.
const HELD_MAX: usize = 64;

/// A faster builder is worth waiting for only when that saves at least this part of the time here: expectations are
/// not better than that.
const GAIN_PART: f64 = 0.05;

/// A task matters to the end of the run when it would end, with everything after it, later than this part of the way
/// to that end. The rest is for expectations that were too low. Anything from 0.5 to 1.0 does about as well.
const MATTERS_PART: f64 = 0.9;

/// A builder that failed at a task before is taken again only if it is done in less than half of the time.
const AVOID_FACTOR: f64 = 2.0;

/// Other free builders that are looked at to name a runner-up.
const RUNNERS_UP: usize = 8;

/// Decides what begins now.
pub(super) fn run(scheduler: &Scheduler, builders: &[Builder], now: Moment) -> Schedule {
    let mut pass = Pass::new(scheduler, builders, now);
    let mut queues: Vec<btree_set::Iter<'_, Key>> =
        scheduler.classes.iter().map(|class| class.queue.iter()).collect();
    let mut heads: BinaryHeap<Reverse<(Key, usize)>> = queues
        .iter_mut()
        .enumerate()
        .filter_map(|(class, queue)| Some(Reverse((*queue.next()?, class))))
        .collect();
    while let Some(Reverse((key, class))) = heads.pop() {
        if pass.free_slots == 0 || pass.schedule.held.len() >= HELD_MAX {
            break;
        }
        let Some(entry) = scheduler.tasks.get(&key.task) else { continue };
        let Some(needs) = scheduler.classes.get(class).map(|class| &class.needs) else { continue };
        if pass.consider(&entry.candidate, needs, class)
            && let Some(next) = queues.get_mut(class).and_then(Iterator::next)
        {
            heads.push(Reverse((*next, class)));
        }
    }
    pass.schedule.wake_at = pass.schedule.held.iter().map(|held| held.until).min();
    pass.schedule
}

pub(super) struct Pass<'a> {
    now: Moment,
    places: Vec<Place<'a>>,
    free_slots: u64,
    /// Milliseconds from now to the end of the run at the earliest: the longest way, or what is ready shared by all
    /// builders. Work that still waits for others does not count: it cannot fill the places that are free meanwhile.
    horizon_ms: f64,
    best_speed: f64,
    /// All builders in use, the fastest first; made when it is needed.
    by_speed: Vec<usize>,
    /// Only for classes that were looked at.
    able: BTreeMap<usize, Able>,
    schedule: Schedule,
}

/// Builders that a class may use, the fastest first.
#[derive(Debug, Clone)]
struct Able {
    all: Vec<usize>,
    /// Those with room, and some that were filled since this was `cleaned`. Room only gets less during a pass.
    free: Vec<usize>,
    /// How many assignments had been made then.
    cleaned: usize,
}

/// Assignments after which lists of free builders are cleaned of those that are full.
const CLEAN_EVERY: usize = 16;

/// A builder for a task.
#[derive(Debug, Clone, Copy)]
struct Choice {
    place: usize,
    start: u64,
    /// Milliseconds that it takes there.
    lasts_ms: u64,
    /// Milliseconds from now until it is done, with everything that speaks against this builder. The smaller the
    /// better.
    score: f64,
}

impl<'a> Pass<'a> {
    pub(super) fn new(scheduler: &Scheduler, builders: &'a [Builder], now: Moment) -> Self {
        let mut places = Vec::with_capacity(builders.len());
        let mut best_speed: f64 = 0.0;
        let mut capacity = 0.0;
        let mut running_ms: f64 = 0.0;
        let mut longest_ms: f64 = 0.0;
        for builder in builders {
            let in_use = is_in_use(builder, now);
            let place = Place::new(builder, in_use);
            if in_use {
                best_speed = best_speed.max(place.speed);
                capacity += place.speed * f64::from(builder.slots);
            }
            places.push(place);
        }
        let best_speed = if best_speed > 0.0 { best_speed } else { 1.0 };
        for builder in builders {
            for run in &builder.running {
                let left =
                    milliseconds(expected_end(run.since, run.expected_end, now).0.saturating_sub(now.0));
                running_ms += left * speed(builder);
                longest_ms = longest_ms.max(left + milliseconds(run.tail_ms) / best_speed);
            }
        }
        for class in &scheduler.classes {
            let head = class.queue.first().and_then(|key| scheduler.tasks.get(&key.task));
            if let Some(entry) = head {
                longest_ms = longest_ms.max(milliseconds(entry.candidate.path_ms) / best_speed);
            }
        }
        let work_ms = milliseconds(scheduler.offered_ms) + running_ms;
        let horizon_ms = longest_ms.max(if capacity > 0.0 { work_ms / capacity } else { 0.0 });
        let free_slots = places.iter().map(|place| u64::from(place.free_slots)).sum();
        Self {
            now,
            places,
            free_slots,
            horizon_ms,
            best_speed,
            by_speed: Vec::new(),
            able: BTreeMap::new(),
            schedule: Schedule::default(),
        }
    }

    /// Something has been given to a builder already.
    pub(super) fn occupy(&mut self, builder: &BuilderId, needs: &Needs, end: Moment) {
        if let Some(place) = self.places.iter_mut().find(|place| place.builder.id == *builder) {
            place.begin(needs, end.0);
        }
    }

    /// A builder takes nothing more.
    pub(super) fn close(&mut self, builder: &BuilderId) {
        if let Some(place) = self.places.iter_mut().find(|place| place.builder.id == *builder) {
            place.free_slots = 0;
        }
    }

    /// A second builder for what `first` builds, if it matters and is done there in less than `left_ms`.
    pub(super) fn second_place(
        &mut self,
        candidate: &Candidate,
        needs: &Needs,
        first: &BuilderId,
        left_ms: u64,
    ) -> Option<Assignment> {
        self.sort_by_speed();
        let is_other = |place: &Place<'_>| place.builder.id != *first && is_able(place.builder, needs);
        let others = self.by_speed.iter().copied();
        let others: Vec<usize> = others.filter(|&index| is_other(&self.places[index])).collect();
        let there = self.best_now(candidate, needs, &others)?;
        let left = Choice { score: milliseconds(left_ms), ..there };
        if there.score >= left.score || !self.matters(candidate, left) {
            return None;
        }
        let place = &mut self.places[there.place];
        let end = there.start.saturating_add(there.lasts_ms);
        place.begin(needs, end);
        let builder = place.builder.id.clone();
        Some(Assignment { task: candidate.task, builder, expected_end: Moment(end), why: String::new() })
    }

    /// Gives the task to a builder, or keeps it for one. False when nothing of its class can begin now.
    fn consider(&mut self, candidate: &Candidate, needs: &Needs, class: usize) -> bool {
        let Some(mut able) = self.able_places(needs, class) else { return false };
        if self.schedule.assignments.len() >= able.cleaned.saturating_add(CLEAN_EVERY) {
            able.cleaned = self.schedule.assignments.len();
            able.free.retain(|&index| self.places[index].has_room(needs));
        }
        let here = self.best_now(candidate, needs, &able.free);
        let goes_on = match here {
            None => {
                self.reserve(candidate, needs, &able.all);
                false
            }
            Some(here) => {
                let matters = self.matters(candidate, here);
                let there = matters.then(|| self.sooner(candidate, needs, &able.all, here)).flatten();
                match there {
                    Some(there) => self.hold(candidate, needs, there, false),
                    None => self.begin(candidate, needs, here, &able.free),
                }
                true
            }
        };
        self.able.insert(class, able);
        goes_on
    }

    /// Builders that the class may use; none when none of them has a free slot.
    fn able_places(&mut self, needs: &Needs, class: usize) -> Option<Able> {
        if let Some(known) = self.able.remove(&class) {
            return Some(known);
        }
        let is_able_place = |place: &Place<'_>| is_able(place.builder, needs);
        if !self.places.iter().any(|place| place.free_slots > 0 && is_able_place(place)) {
            return None;
        }
        self.sort_by_speed();
        let able = self.by_speed.iter().copied();
        let all: Vec<usize> = able.filter(|&index| is_able(self.places[index].builder, needs)).collect();
        let free = all.iter().copied().filter(|&index| self.places[index].has_room(needs)).collect();
        Some(Able { all, free, cleaned: self.schedule.assignments.len() })
    }

    fn sort_by_speed(&mut self) {
        if !self.by_speed.is_empty() {
            return;
        }
        let in_use = |&index: &usize| is_in_use(self.places[index].builder, self.now);
        self.by_speed = (0..self.places.len()).filter(in_use).collect();
        let places = &self.places;
        self.by_speed.sort_unstable_by(|&left, &right| {
            let (left, right) = (&places[left], &places[right]);
            right.speed.total_cmp(&left.speed).then_with(|| left.builder.id.cmp(&right.builder.id))
        });
    }

    /// The builder with a free place on which it is done first. `free` is ordered by speed, the fastest first.
    fn best_now(&self, candidate: &Candidate, needs: &Needs, free: &[usize]) -> Option<Choice> {
        let mut best: Option<(Choice, u32)> = None;
        for &index in free {
            let place = &self.places[index];
            if best.is_some_and(|(best, _)| self.at_best_ms(candidate, index) > best.score) {
                // The others are slower still.
                break;
            }
            if !place.has_room(needs) {
                continue;
            }
            let choice = self.choice(candidate, index, self.now.0);
            if !place.takes(needs, choice.start.saturating_add(choice.lasts_ms)) {
                continue;
            }
            // Of equally good ones the one with most room, so that work spreads; then the first by name.
            let better = best.is_none_or(|(known, free)| {
                choice.score < known.score || (choice.score <= known.score && place.free_slots > free)
            });
            if better {
                best = Some((choice, place.free_slots));
            }
        }
        best.map(|(choice, _)| choice)
    }

    /// Whether the end of the run, or of something urgent, is put off when the task is done no sooner than `here`.
    fn matters(&self, candidate: &Candidate, here: Choice) -> bool {
        let done_ms = here.score + milliseconds(candidate.tail_ms()) / self.best_speed;
        candidate.priority >= Priority::Urgent || done_ms > self.horizon_ms * MATTERS_PART
    }

    /// A faster builder that is busy now and yet would be done enough sooner.
    fn sooner(
        &mut self,
        candidate: &Candidate,
        needs: &Needs,
        able: &[usize],
        here: Choice,
    ) -> Option<Choice> {
        let limit = here.score - milliseconds(here.lasts_ms) * GAIN_PART;
        let mut best: Option<Choice> = None;
        for &index in able {
            if self.at_best_ms(candidate, index) >= best.map_or(limit, |best| best.score) {
                // The others are slower still.
                break;
            }
            let Some(start) = self.places[index].earliest(needs, self.now.0) else { continue };
            let choice = self.choice(candidate, index, start);
            if choice.score < best.map_or(limit, |best| best.score) {
                best = Some(choice);
            }
        }
        best
    }

    /// Keeps the builder that has enough memory first.
    fn reserve(&mut self, candidate: &Candidate, needs: &Needs, able: &[usize]) {
        let mut best: Option<Choice> = None;
        for &index in able {
            let Some(start) = self.places[index].earliest(needs, self.now.0) else { continue };
            let choice = self.choice(candidate, index, start);
            if best.is_none_or(|best| choice.score < best.score) {
                best = Some(choice);
            }
        }
        if let Some(best) = best {
            self.hold(candidate, needs, best, true);
        }
    }

    fn hold(&mut self, candidate: &Candidate, needs: &Needs, there: Choice, for_memory: bool) {
        let place = &mut self.places[there.place];
        place.keep(needs, self.now.0, there.lasts_ms);
        self.schedule.held.push(Held {
            task: candidate.task,
            builder: place.builder.id.clone(),
            until: Moment(there.start),
            for_memory,
        });
    }

    fn begin(&mut self, candidate: &Candidate, needs: &Needs, here: Choice, free: &[usize]) {
        let end = here.start.saturating_add(here.lasts_ms);
        let why = self.why(candidate, here, free);
        let place = &mut self.places[here.place];
        place.begin(needs, end);
        self.free_slots = self.free_slots.saturating_sub(1);
        self.schedule.assignments.push(Assignment {
            task: candidate.task,
            builder: place.builder.id.clone(),
            expected_end: Moment(end),
            why,
        });
    }

    /// Milliseconds that a task takes on a builder that does nothing else.
    fn at_best_ms(&self, candidate: &Candidate, place: usize) -> f64 {
        milliseconds(candidate.work_ms()) / self.places[place].speed
    }

    fn choice(&self, candidate: &Candidate, place: usize, start: u64) -> Choice {
        let there = &self.places[place];
        let lasts = self.at_best_ms(candidate, place);
        let avoid = candidate.avoid.as_ref().is_some_and(|avoided| *avoided == there.builder.id);
        let avoid = if avoid { AVOID_FACTOR } else { 1.0 };
        Choice {
            place,
            start,
            lasts_ms: whole(lasts),
            score: milliseconds(start.saturating_sub(self.now.0)) + lasts * there.load * avoid,
        }
    }

    /// Why this task and this builder, with the figures.
    fn why(&self, candidate: &Candidate, here: Choice, free: &[usize]) -> String {
        let mut why = String::new();
        match candidate.priority {
            Priority::Urgent => why.push_str("urgent; "),
            Priority::High => why.push_str("high priority; "),
            Priority::Low => why.push_str("low priority; "),
            Priority::Normal => {}
        }
        why.push_str(&format!("the chain of builds from here takes {}", duration(candidate.path_ms)));
        let assumed = if candidate.expected_ms.is_none() { " (never built before)" } else { "" };
        why.push_str(&format!("; expected {} here{assumed}", duration(here.lasts_ms)));
        // Nearly always the next fastest: with a busy machine or a builder to avoid, it may be the one after that.
        let others = free.iter().copied();
        let others = others.filter(|&index| index != here.place && self.places[index].free_slots > 0);
        let choices = others.take(RUNNERS_UP).map(|index| self.choice(candidate, index, self.now.0));
        let runner_up = choices.min_by(|left, right| left.score.total_cmp(&right.score));
        match runner_up {
            Some(other) => {
                let id = &self.places[other.place].builder.id;
                why.push_str(&format!(", {} on {id}", duration(other.lasts_ms)));
            }
            None => why.push_str(", the only free place"),
        }
        why.push_str(&format!("; ready for {}", duration(self.now.0.saturating_sub(candidate.since.0))));
        why
    }
}

/// How fast a builder is; 1.0 when it says nothing sensible.
pub(super) fn speed(builder: &Builder) -> f64 {
    if builder.speed.is_finite() && builder.speed > 0.0 { builder.speed } else { 1.0 }
}

/// A duration for people.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds.div_ceil(1000);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) if minutes < 10 => format!("{minutes} min {seconds} s"),
        (0, minutes, _) => format!("{minutes} min"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "times here are far below 2^52 ms")]
pub(crate) fn milliseconds(value: u64) -> f64 {
    value as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::as_conversions,
    reason = "saturates; a time beyond the range is as good as the end of it"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value as u64
}
