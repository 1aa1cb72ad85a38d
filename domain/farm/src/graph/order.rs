//! The order inside a knot: which of its members is built first.
//!
//! An edge whose target comes later cannot be waited for. The order tries to keep the weight of such edges small
//! (the weighted feedback arc set, which nobody can solve exactly for large knots): first a greedy order after Eades, Lin
//! and Smyth, then each member moves to the place where it costs least, until nothing gets better.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::names::number;

/// Rounds of moving members. The knots of AerynOS come to rest after four to six.
const ROUNDS_MAX: u32 = 20;

/// Places that all moves together may shift members by, and neighbours they may look at: about a tenth of a second. A
/// knot that is so large that this does not suffice gets a worse order, not a wrong one.
const WORK_MAX: u64 = 100_000_000;

/// `user` needs `needed`, by their numbers in the knot; the heavier, the worse it is to build without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Need {
    pub(super) user: u32,
    pub(super) needed: u32,
    pub(super) weight: i64,
}

/// An edge as seen from one of its ends.
#[derive(Debug, Clone, Copy)]
struct Neighbour {
    node: u32,
    weight: i64,
    /// Whether the neighbour is needed, and not the one that needs.
    is_needed: bool,
}

/// The members 0 to `count` in the order in which they are to be built. The same edges give the same order.
pub(super) fn order(count: usize, needs: &[Need]) -> Vec<u32> {
    let mut neighbours: Vec<Vec<Neighbour>> = vec![Vec::new(); count];
    for &Need { user, needed, weight } in needs {
        neighbours[user as usize].push(Neighbour { node: needed, weight, is_needed: true });
        neighbours[needed as usize].push(Neighbour { node: user, weight, is_needed: false });
    }
    let mut order = greedy(&neighbours);
    sift(&neighbours, &mut order);
    order
}

/// Who needs nobody any more goes to the front, whom nobody needs any more goes to the back, and when there is neither,
/// the member goes to the front that is needed most beyond what it needs.
fn greedy(neighbours: &[Vec<Neighbour>]) -> Vec<u32> {
    let count = neighbours.len();
    let total = |node: usize, is_needed: bool| {
        neighbours[node]
            .iter()
            .filter(|neighbour| neighbour.is_needed == is_needed)
            .map(|neighbour| neighbour.weight)
            .sum::<i64>()
    };
    let mut needs_left: Vec<i64> = (0..count).map(|node| total(node, true)).collect();
    let mut users_left: Vec<i64> = (0..count).map(|node| total(node, false)).collect();
    let gain = |needs_left: i64, users_left: i64| users_left - needs_left;
    // The smallest number first among equals; entries that are no longer true are passed over.
    let mut free: BinaryHeap<Reverse<u32>> = BinaryHeap::new();
    let mut last: BinaryHeap<Reverse<u32>> = BinaryHeap::new();
    let mut rest: BinaryHeap<(i64, Reverse<u32>)> = BinaryHeap::new();
    for node in 0..count {
        match (needs_left[node], users_left[node]) {
            (0, _) => free.push(Reverse(number(node))),
            (_, 0) => last.push(Reverse(number(node))),
            (needs, users) => rest.push((gain(needs, users), Reverse(number(node)))),
        }
    }
    let mut is_placed = vec![false; count];
    let (mut front, mut back) = (Vec::with_capacity(count), Vec::new());
    loop {
        let node = if let Some(Reverse(node)) = free.pop() {
            front.push(node);
            node
        } else if let Some(Reverse(node)) = last.pop() {
            if is_placed[node as usize] {
                continue;
            }
            back.push(node);
            node
        } else if let Some((known, Reverse(node))) = rest.pop() {
            if is_placed[node as usize] || known != gain(needs_left[node as usize], users_left[node as usize])
            {
                continue;
            }
            front.push(node);
            node
        } else {
            break;
        };
        if std::mem::replace(&mut is_placed[node as usize], true) {
            // A member can have become free of needs and of users both.
            front.pop();
            continue;
        }
        for neighbour in &neighbours[node as usize] {
            let other = neighbour.node as usize;
            if is_placed[other] {
                continue;
            }
            let left = if neighbour.is_needed { &mut users_left } else { &mut needs_left };
            left[other] -= neighbour.weight;
            match (needs_left[other], users_left[other]) {
                (0, _) => free.push(Reverse(neighbour.node)),
                (_, 0) => last.push(Reverse(neighbour.node)),
                (needs, users) => rest.push((gain(needs, users), Reverse(neighbour.node))),
            }
        }
    }
    front.extend(back.into_iter().rev());
    front
}

/// Moves each member to where it costs least, the others staying as they are.
fn sift(neighbours: &[Vec<Neighbour>], order: &mut [u32]) {
    let mut place = vec![0_u32; order.len()];
    for (position, &node) in order.iter().enumerate() {
        place[node as usize] = number(position);
    }
    let mut work = 0;
    let mut near: Vec<(u32, i64)> = Vec::new();
    // Only a member that moves can change what is best for its neighbours.
    let mut is_wanted = vec![true; order.len()];
    for _ in 0..ROUNDS_MAX {
        let mut has_moved = false;
        for node in 0..neighbours.len() {
            if !std::mem::replace(&mut is_wanted[node], false) {
                continue;
            }
            near.clear();
            // What it costs to pass a neighbour on the way to the back: less when it is needed, more when it needs.
            near.extend(neighbours[node].iter().map(|neighbour| {
                let step = if neighbour.is_needed { -neighbour.weight } else { neighbour.weight };
                (place[neighbour.node as usize], step)
            }));
            near.sort_unstable();
            // Two members that need each other are passed in one step.
            near.dedup_by(|later, first| {
                let is_same = later.0 == first.0;
                first.1 += if is_same { later.1 } else { 0 };
                is_same
            });
            work += near.len() as u64;
            let here = place[node];
            if let Some(target) = best_place(here, &near) {
                work += u64::from(here.abs_diff(target));
                shift(order, &mut place, here, target);
                has_moved = true;
                for neighbour in &neighbours[node] {
                    is_wanted[neighbour.node as usize] = true;
                }
            }
        }
        if !has_moved || work > WORK_MAX {
            return;
        }
    }
}

/// Where a member at `here` should go, given its neighbours' places with the cost of passing them; none when no place is
/// better than the one that it has.
fn best_place(here: u32, near: &[(u32, i64)]) -> Option<u32> {
    let cost_here: i64 = near.iter().take_while(|(place, _)| *place < here).map(|(_, step)| step).sum();
    let (mut cost, mut best_cost, mut best) = (0, cost_here, None);
    if cost < best_cost {
        (best_cost, best) = (cost, near.first().map(|(place, _)| *place));
    }
    for (place, step) in near {
        cost += step;
        if cost < best_cost {
            // Right behind this neighbour, which moves one place to the front when the member came from before it.
            best_cost = cost;
            best = Some(if *place < here { place + 1 } else { *place });
        }
    }
    best.filter(|&best| best != here)
}

fn shift(order: &mut [u32], place: &mut [u32], from: u32, to: u32) {
    let (first, last) = (from.min(to) as usize, from.max(to) as usize);
    let Some(moved) = order.get_mut(first..=last) else { return };
    if from < to {
        moved.rotate_left(1);
    } else {
        moved.rotate_right(1);
    }
    for (position, &node) in moved.iter().enumerate() {
        place[node as usize] = number(first + position);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn need(user: u32, needed: u32, weight: i64) -> Need {
        Need { user, needed, weight }
    }

    fn cost(order: &[u32], needs: &[Need]) -> i64 {
        let place = |node: u32| order.iter().position(|&member| member == node).unwrap();
        needs.iter().filter(|need| place(need.needed) > place(need.user)).map(|need| need.weight).sum()
    }

    #[test]
    fn the_light_edge_of_a_circle_is_broken() {
        for light in 0..4_u32 {
            let needs: Vec<Need> =
                (0..4).map(|node| need(node, (node + 1) % 4, if node == light { 1 } else { 1000 })).collect();
            let order = order(4, &needs);
            assert_eq!(cost(&order, &needs), 1, "{light}: {order:?}");
        }
    }

    #[test]
    fn without_a_circle_nothing_is_broken() {
        let needs = [need(0, 1, 5), need(1, 2, 1), need(0, 2, 1), need(3, 0, 1)];
        assert_eq!(order(4, &needs), [2, 1, 0, 3]);
    }

    proptest! {
        #[test]
        fn every_member_has_one_place_and_no_other_place_is_better(
            edges in proptest::collection::btree_map((0u32..8, 0u32..8), 1i64..20, 0..40)
        ) {
            let needs: Vec<Need> = edges
                .iter()
                .filter(|((user, needed), _)| user != needed)
                .map(|(&(user, needed), &weight)| need(user, needed, weight))
                .collect();
            let order = order(8, &needs);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, Vec::from_iter(0..8));
            for from in 0..8 {
                for to in 0..8 {
                    let mut other = order.clone();
                    let node = other.remove(from);
                    other.insert(to, node);
                    prop_assert!(cost(&order, &needs) <= cost(&other, &needs), "{order:?} {other:?}");
                }
            }
        }
    }
}
