//! How the slots of one machine are shared among several Summits: pure.
//!
//! A slot that is free is offered to one Summit at a time, so that two never order for the same one. Each has its turn
//! with all that is free; whoever has no work loses nothing but its turn. When a build ends, the turn goes to whoever has
//! the fewest, so that in the long run all that have work get the same.

/// A Summit, as sharing sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Builds that run here for it.
    pub(crate) running: usize,
    pub(crate) attached: bool,
}

/// How many slots each guest may have at once, what it has among them. `turn` is a place in `guests`.
pub(crate) fn grants(slots: usize, guests: &[Guest], turn: usize) -> Vec<usize> {
    let taken: usize = guests.iter().map(|guest| guest.running).sum();
    let free = slots.saturating_sub(taken);
    let holder = from(guests, turn).find(|(_, guest)| guest.attached).map(|(place, _)| place);
    let grant = |(place, guest): (usize, &Guest)| {
        guest.running.saturating_add(if holder == Some(place) { free } else { 0 })
    };
    guests.iter().enumerate().map(grant).collect()
}

/// Whose turn it is after `turn`: that of the next one that is there.
pub(crate) fn next_turn(guests: &[Guest], turn: usize) -> usize {
    from(guests, turn.saturating_add(1)).find(|(_, guest)| guest.attached).map_or(turn, |(place, _)| place)
}

/// Whose turn it is when a slot has become free: that of whoever has the fewest.
pub(crate) fn turn_after_end(guests: &[Guest], turn: usize) -> usize {
    let there = from(guests, turn.saturating_add(1)).filter(|(_, guest)| guest.attached);
    there.min_by_key(|(_, guest)| guest.running).map_or(turn, |(place, _)| place)
}

/// All guests once, the one at `turn` first.
fn from(guests: &[Guest], turn: usize) -> impl Iterator<Item = (usize, &Guest)> {
    let count = guests.len();
    let places = (0..count).map(move |step| (turn % count.max(1) + step) % count.max(1));
    places.filter_map(|place| Some((place, guests.get(place)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guests(running: &[usize]) -> Vec<Guest> {
        running.iter().map(|running| Guest { running: *running, attached: true }).collect()
    }

    #[test]
    fn what_is_free_is_offered_once() {
        fn check(slots: usize, running: &[usize], turn: usize, expect: &[usize]) {
            assert_eq!(grants(slots, &guests(running), turn), expect, "{slots} {running:?} {turn}");
        }
        check(4, &[0], 0, &[4]);
        check(4, &[0, 0], 0, &[4, 0]);
        check(4, &[0, 0], 1, &[0, 4]);
        check(4, &[3, 0], 1, &[3, 1]);
        check(4, &[3, 1], 0, &[3, 1]);
        check(1, &[2, 0], 1, &[2, 0]);
        check(4, &[1, 1], 7, &[1, 3]);
        check(4, &[], 0, &[]);
    }

    #[test]
    fn who_is_away_is_passed_over_and_keeps_what_runs() {
        let mut guests = guests(&[2, 0, 0]);
        guests[1].attached = false;
        assert_eq!(grants(4, &guests, 1), [2, 0, 2]);
        assert_eq!(next_turn(&guests, 0), 2);
        assert_eq!(next_turn(&guests, 2), 0);
        guests[2].attached = false;
        guests[0].attached = false;
        assert_eq!(grants(4, &guests, 1), [2, 0, 0]);
        assert_eq!(next_turn(&guests, 1), 1);
    }

    /// Two Summits with more work than slots end up with half each, however the first one began.
    #[test]
    fn in_the_long_run_all_get_the_same() {
        let mut running = [4_usize, 0];
        let mut turn = 0;
        let mut given = [0_usize; 2];
        for round in 0..1000 {
            // The oldest build ends: those of the first when it has any in even rounds.
            let ended = usize::from(running[round % 2] == 0) ^ (round % 2);
            running[ended] -= 1;
            turn = turn_after_end(&guests(&running), turn);
            let grants = grants(4, &guests(&running), turn);
            for place in 0..2 {
                given[place] += grants[place] - running[place];
            }
            running.copy_from_slice(&grants);
        }
        assert_eq!(running, [2, 2]);
        assert!(given[0].abs_diff(given[1]) <= 4, "{given:?}");
    }
}
