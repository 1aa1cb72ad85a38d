//! How long a fleet takes for a plan: a list schedule over expected times.
//!
//! Whatever is ready goes to the fastest free place, the longest way first. The real scheduler weighs more than this;
//! for a forecast the expected times are the larger uncertainty.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use super::{FleetMember, Forecast, Situation, UNKNOWN_SECONDS};
use crate::ids::RecipeId;

/// Slowest and fastest a builder may claim to be: beyond that it is a slip, not a machine.
const SPEED_RANGE: (f64, f64) = (0.01, 100.0);

/// Builds at once that one builder is counted for at most; the largest machines have some hundred cores.
const PLACES_MAX: u32 = 256;

const SECONDS_PER_HOUR: f64 = 3600.0;

pub(super) fn forecast(situation: &Situation<'_>, set: &BTreeSet<RecipeId>) -> Forecast {
    let known: Vec<(RecipeId, Option<f64>)> = set
        .iter()
        .map(|&id| (id, (situation.expected)(situation.graph.source(id)).map(|time| time.as_secs_f64())))
        .collect();
    let assumed_seconds = middle(known.iter().filter_map(|(_, seconds)| *seconds)).unwrap_or(UNKNOWN_SECONDS);
    let assumed = known.iter().filter(|(_, seconds)| seconds.is_none()).count();
    let mut seconds = vec![0.0; situation.graph.slots()];
    for (id, known) in &known {
        seconds[id.index()] = known.unwrap_or(assumed_seconds);
    }
    let places = places(situation.fleet);
    let once = Ways::new(situation, &seconds).makespan_seconds(&places);
    // Each further round of a knot builds its members again.
    let mut repeated = seconds.clone();
    for knot in situation.graph.knots() {
        let members = knot.iter().filter(|id| set.contains(id));
        if members.clone().count() > 1 {
            members.for_each(|id| repeated[id.index()] *= f64::from(situation.rounds_max.max(1)));
        }
    }
    let at_most = Ways::new(situation, &repeated).makespan_seconds(&places);
    Forecast {
        builders: situation.fleet.len(),
        places: u32::try_from(places.len()).unwrap_or(u32::MAX),
        work_hours: seconds.iter().sum::<f64>() / SECONDS_PER_HOUR,
        hours: once.map(|seconds| seconds / SECONDS_PER_HOUR),
        hours_at_most: at_most.map(|seconds| seconds / SECONDS_PER_HOUR),
        rounds_max: situation.rounds_max,
        assumed,
        assumed_seconds,
    }
}

/// The median.
fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The speed of every place, the fastest first.
fn places(fleet: &[FleetMember]) -> Vec<f64> {
    let of_builder = |builder: &FleetMember| {
        let speed = if builder.speed.is_finite() { builder.speed } else { 1.0 };
        let speed = speed.clamp(SPEED_RANGE.0, SPEED_RANGE.1);
        (0..builder.places.min(PLACES_MAX)).map(move |_| speed)
    };
    let mut places: Vec<f64> = fleet.iter().flat_map(of_builder).collect();
    places.sort_by(|left, right| right.total_cmp(left));
    places
}

/// The order of builds without its circles: each waits for what it needs along edges that are not deferred, as tasks do.
/// Recipes that are not built take no time, and pass on what they wait for.
struct Ways {
    /// By recipe, in milliseconds on the reference machine; 0 needs no place either.
    work_ms: Vec<u64>,
    /// Who waits for each recipe, and for how many each waits.
    followers: Vec<Vec<usize>>,
    awaited: Vec<usize>,
    /// The longest way from each recipe to an end, its own time included.
    rest_ms: Vec<u64>,
}

impl Ways {
    fn new(situation: &Situation<'_>, seconds: &[f64]) -> Self {
        let graph = situation.graph;
        let slots = graph.slots();
        let mut ways = Self {
            work_ms: seconds.iter().map(|&seconds| milliseconds(seconds)).collect(),
            followers: vec![Vec::new(); slots],
            awaited: vec![0; slots],
            rest_ms: vec![0; slots],
        };
        for &id in graph.build_order() {
            for needed in graph.ordered_after(id) {
                // Along the order, so that no circle can arise.
                if graph.is_in_order(needed, id) {
                    ways.follow(needed.index(), id.index());
                }
            }
        }
        for &id in graph.build_order().iter().rev() {
            let longest = ways.followers[id.index()].iter().map(|&follower| ways.rest_ms[follower]).max();
            ways.rest_ms[id.index()] = ways.work_ms[id.index()].saturating_add(longest.unwrap_or(0));
        }
        ways
    }

    fn follow(&mut self, first: usize, then: usize) {
        self.followers[first].push(then);
        self.awaited[then] += 1;
    }

    /// Seconds until everything is built; none without a place.
    fn makespan_seconds(&self, places: &[f64]) -> Option<f64> {
        if places.is_empty() {
            return None;
        }
        let mut awaited = self.awaited.clone();
        let mut free: BTreeSet<usize> = (0..places.len()).collect();
        // The longest way first; among equals the one that comes first.
        let mut ready: BinaryHeap<(u64, Reverse<usize>)> = BinaryHeap::new();
        let mut running: BinaryHeap<Reverse<(u64, usize, usize)>> = BinaryHeap::new();
        // Nodes that wait for nothing any more.
        let mut begin: Vec<usize> = (0..awaited.len()).filter(|&node| awaited[node] == 0).collect();
        let mut now_ms: u64 = 0;
        loop {
            while let Some(node) = begin.pop() {
                if self.work_ms[node] > 0 {
                    ready.push((self.rest_ms[node], Reverse(node)));
                } else {
                    // Takes no time and no place.
                    self.release(node, &mut awaited, &mut begin);
                }
            }
            while let Some(&place) = free.first()
                && let Some((_, Reverse(node))) = ready.pop()
            {
                free.remove(&place);
                let seconds = Duration::from_millis(self.work_ms[node]).as_secs_f64() / places[place];
                running.push(Reverse((now_ms.saturating_add(milliseconds(seconds)), place, node)));
            }
            let Some(Reverse((end_ms, place, node))) = running.pop() else { break };
            now_ms = end_ms;
            free.insert(place);
            self.release(node, &mut awaited, &mut begin);
        }
        Some(Duration::from_millis(now_ms).as_secs_f64())
    }

    /// Counts `node` as done, and adds to `begin` what waits for nothing any more.
    fn release(&self, node: usize, awaited: &mut [usize], begin: &mut Vec<usize>) {
        for &follower in &self.followers[node] {
            awaited[follower] -= 1;
            if awaited[follower] == 0 {
                begin.push(follower);
            }
        }
    }
}

/// Whole milliseconds; at least one for whatever takes time at all.
fn milliseconds(seconds: f64) -> u64 {
    if seconds <= 0.0 {
        return 0;
    }
    // A year, for what is no time at all.
    let time = Duration::try_from_secs_f64(seconds.min(31_536_000.0)).unwrap_or_default();
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
