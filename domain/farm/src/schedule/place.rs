//! What a builder has free now and when it will have more, as a pass fills it.

use crate::moment::Moment;
use crate::schedule::pass::speed;
use crate::schedule::{Builder, Needs};

/// What a build that is overdue is taken to need still, as a part of what it has taken so far: the longer something
/// lasts, the longer it will last.
const OVERDUE_PART: u64 = 4;

/// What a machine that is wholly busy with other things adds to the time of a build.
const LOAD_PART: f64 = 0.5;

/// A reservation for a build that does not fit yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reservation {
    at: u64,
    spare_slots: u32,
    spare_memory: u64,
}

/// A builder during a pass.
#[derive(Debug, Clone)]
pub(super) struct Place<'b> {
    // What every task asks of every builder comes first, and lies together.
    /// How fast it is.
    pub(super) speed: f64,
    /// By how much what else its machine does makes a build longer; 1.0 for nothing.
    pub(super) load: f64,
    free_memory: u64,
    free_disk: u64,
    pub(super) free_slots: u32,
    pub(super) builder: &'b Builder,
    /// Ends of what runs, with the memory that is free then; in order once `sorted`.
    ends: Vec<(u64, u64)>,
    sorted: bool,
    reservation: Option<Reservation>,
}

impl<'b> Place<'b> {
    /// `in_use`: whether the builder may get anything.
    pub(super) fn new(builder: &'b Builder, in_use: bool) -> Self {
        let taken = u32::try_from(builder.running.len()).unwrap_or(u32::MAX);
        let used: u64 = builder.running.iter().map(|run| run.memory_bytes).sum();
        let unlimited = |bytes: u64| if bytes == 0 { u64::MAX } else { bytes };
        // What our own builds load is in the learned speed; only what goes beyond them speaks against a builder.
        let own = 100.0 * fraction(builder.running.len(), builder.slots);
        Self {
            speed: speed(builder),
            load: 1.0 + LOAD_PART * (f64::from(builder.load_percent.min(100)) - own).max(0.0) / 100.0,
            builder,
            free_slots: if in_use { builder.slots.saturating_sub(taken) } else { 0 },
            free_memory: unlimited(builder.memory_bytes).saturating_sub(used),
            free_disk: unlimited(builder.disk_free_bytes),
            ends: Vec::new(),
            sorted: false,
            reservation: None,
        }
    }

    /// Whether there is room for a build with these needs, reserved or not.
    pub(super) fn has_room(&self, needs: &Needs) -> bool {
        self.free_slots > 0 && needs.memory_bytes <= self.free_memory && needs.disk_bytes <= self.free_disk
    }

    /// Whether a build with these needs, that ends at `end`, may begin now.
    pub(super) fn takes(&self, needs: &Needs, end: u64) -> bool {
        self.has_room(needs)
            && self.reservation.is_none_or(|reserved| {
                end <= reserved.at
                    || (reserved.spare_slots > 0 && needs.memory_bytes <= reserved.spare_memory)
            })
    }

    /// A build begins.
    pub(super) fn begin(&mut self, needs: &Needs, end: u64) {
        self.free_slots = self.free_slots.saturating_sub(1);
        self.free_memory = self.free_memory.saturating_sub(needs.memory_bytes);
        self.free_disk = self.free_disk.saturating_sub(needs.disk_bytes);
        if let Some(reserved) = self.reservation.as_mut().filter(|reserved| end > reserved.at) {
            reserved.spare_slots = reserved.spare_slots.saturating_sub(1);
            reserved.spare_memory = reserved.spare_memory.saturating_sub(needs.memory_bytes);
        }
        self.ends.push((end, needs.memory_bytes));
        self.sorted = false;
    }

    /// When a build with these needs could begin, as far as ends are known; none when not even an idle builder would
    /// do, or when somebody else has the builder reserved.
    pub(super) fn earliest(&mut self, needs: &Needs, now: u64) -> Option<u64> {
        if needs.disk_bytes > self.free_disk || self.reservation.is_some() {
            return None;
        }
        self.room(needs, now).map(|room| room.at)
    }

    /// Keeps room for a build that begins at [`Place::earliest`] and lasts `lasts_ms`.
    ///
    /// When it waits for a slot, that slot goes to it next, so the next one has to wait for another. When it waits
    /// for memory while slots are free, others may use those only if they do not delay it.
    pub(super) fn keep(&mut self, needs: &Needs, now: u64, lasts_ms: u64) {
        let Some(room) = self.room(needs, now) else { return };
        if self.free_slots > 0 {
            self.reservation = Some(Reservation {
                at: room.at,
                spare_slots: room.slots.saturating_sub(1),
                spare_memory: room.memory.saturating_sub(needs.memory_bytes),
            });
        } else if let Some(last) = room.last
            && let Some(end) = self.ends.get_mut(last)
        {
            *end = (room.at.saturating_add(lasts_ms), needs.memory_bytes);
            self.sorted = false;
        }
    }

    fn room(&mut self, needs: &Needs, now: u64) -> Option<Room> {
        if !self.sorted {
            self.sort(now);
        }
        let mut room = Room { at: now, slots: self.free_slots, memory: self.free_memory, last: None };
        let mut ends = self.ends.iter().enumerate();
        while room.slots == 0 || room.memory < needs.memory_bytes {
            let (index, &(end, memory)) = ends.next()?;
            room.at = end.max(now);
            room.slots = room.slots.saturating_add(1);
            room.memory = room.memory.saturating_add(memory);
            room.last = Some(index);
        }
        Some(room)
    }

    fn sort(&mut self, now: u64) {
        if self.ends.len() < self.builder.running.len() {
            let running = self
                .builder
                .running
                .iter()
                .map(|run| (expected_end(run.since, run.expected_end, Moment(now)).0, run.memory_bytes));
            self.ends.extend(running);
        }
        self.ends.sort_unstable();
        self.sorted = true;
    }
}

#[derive(Debug, Clone, Copy)]
struct Room {
    at: u64,
    slots: u32,
    memory: u64,
    last: Option<usize>,
}

/// When something that runs will end, seen from `now`.
pub(super) fn expected_end(since: Moment, expected: Moment, now: Moment) -> Moment {
    if expected > now {
        return expected;
    }
    Moment(now.0.saturating_add(now.0.saturating_sub(since.0) / OVERDUE_PART).saturating_add(1))
}

fn fraction(part: usize, of: u32) -> f64 {
    let part = f64::from(u32::try_from(part).unwrap_or(u32::MAX));
    if of == 0 { 1.0 } else { part / f64::from(of) }
}
