//! Strongly connected components by Tarjan's way, without recursion: a chain of recipes may be longer than the stack.

use super::names::{NONE, number};

/// What is known of a node while it is visited.
#[derive(Debug, Clone, Copy)]
struct Visit {
    /// In which order it was found; [`NONE`] before.
    number: u32,
    /// The earliest node that can be reached from it and is still open.
    low: u32,
    /// The next of its needs to follow.
    next: u32,
    is_open: bool,
}

/// Components, each after everything that it needs: the nodes one after another, and where each component ends. There
/// are `count` nodes. `ends` says what a node needs, in the caller's words, and `node` which node that is, if any.
pub(super) fn components<'e>(
    count: usize,
    ends: impl Fn(u32) -> &'e [u32],
    node: impl Fn(u32) -> Option<u32>,
) -> (Vec<u32>, Vec<u32>) {
    let mut visits = vec![Visit { number: NONE, low: NONE, next: 0, is_open: false }; count];
    let (mut found, mut component_ends) = (Vec::with_capacity(count), Vec::new());
    let (mut open, mut path) = (Vec::new(), Vec::new());
    let mut numbered = 0;
    for root in 0..number(count) {
        if visits[root as usize].number != NONE {
            continue;
        }
        path.push(root);
        while let Some(&at) = path.last() {
            let mut visit = visits[at as usize];
            if visit.number == NONE {
                visit = Visit { number: numbered, low: numbered, next: 0, is_open: true };
                numbered += 1;
                open.push(at);
            }
            let mut child = None;
            for needed in ends(at).get(visit.next as usize..).unwrap_or_default() {
                if let Some(needed) = node(*needed) {
                    let known = visits[needed as usize];
                    // A node that needs itself is known by its number, though not written down yet.
                    if known.number == NONE && needed != at {
                        child = Some(needed);
                        // The place stays: on the way back the child is looked at again, for its low.
                        break;
                    }
                    if known.is_open {
                        visit.low = visit.low.min(known.low);
                    }
                }
                visit.next += 1;
            }
            visits[at as usize] = visit;
            if let Some(child) = child {
                path.push(child);
                continue;
            }
            path.pop();
            if visit.low == visit.number {
                while let Some(member) = open.pop() {
                    visits[member as usize].is_open = false;
                    found.push(member);
                    if member == at {
                        break;
                    }
                }
                component_ends.push(number(found.len()));
            }
        }
    }
    (found, component_ends)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn components_of(needs: &[Vec<u32>]) -> Vec<Vec<u32>> {
        let (found, ends) = components(needs.len(), |node| &needs[node as usize], Some);
        let mut begin = 0;
        let mut all = Vec::new();
        for end in ends {
            let mut members = found[begin..end as usize].to_vec();
            members.sort_unstable();
            all.push(members);
            begin = end as usize;
        }
        all
    }

    #[test]
    fn two_circles_with_a_way_between_them() {
        let needs = [vec![1], vec![0, 2], vec![3], vec![2], vec![4, 0]];
        assert_eq!(components_of(&needs), [vec![2, 3], vec![0, 1], vec![4]]);
    }

    #[test]
    fn a_chain_longer_than_the_stack() {
        let needs: Vec<Vec<u32>> =
            (0..200_000).map(|node| if node == 199_999 { vec![] } else { vec![node + 1] }).collect();
        assert_eq!(components_of(&needs).len(), 200_000);
    }

    proptest! {
        #[test]
        fn members_reach_each_other_and_nobody_else_does(
            pairs in proptest::collection::vec((0u32..10, 0u32..10), 0..30)
        ) {
            let mut needs = vec![Vec::new(); 10];
            for (from, to) in pairs {
                needs[from as usize].push(to);
            }
            let mut reach = [[false; 10]; 10];
            for (from, needs) in needs.iter().enumerate() {
                reach[from][from] = true;
                for &to in needs {
                    reach[from][to as usize] = true;
                }
            }
            for middle in 0..10 {
                for from in 0..10 {
                    for to in 0..10 {
                        reach[from][to] |= reach[from][middle] && reach[middle][to];
                    }
                }
            }
            let found = components_of(&needs);
            let mut place = [0; 10];
            for (component, members) in found.iter().enumerate() {
                for &member in members {
                    place[member as usize] = component;
                }
            }
            for from in 0..10 {
                for to in 0..10 {
                    prop_assert_eq!(place[from] == place[to], reach[from][to] && reach[to][from]);
                    prop_assert!(!reach[from][to] || place[to] <= place[from], "what is needed comes first");
                }
            }
        }
    }
}
