//! Times along the edge of a picture.

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Distances between marks that people count in.
const STEPS_MS: [u64; 19] = [
    SECOND_MS,
    5 * SECOND_MS,
    10 * SECOND_MS,
    30 * SECOND_MS,
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
    2 * DAY_MS,
    7 * DAY_MS,
    14 * DAY_MS,
    28 * DAY_MS,
];

/// The distance between marks with which a length has at most `marks_max` of them.
#[must_use]
pub fn step_ms(length_ms: u64, marks_max: u64) -> u64 {
    let marks_max = marks_max.max(1);
    let longest = STEPS_MS[STEPS_MS.len() - 1];
    let known = STEPS_MS.into_iter().find(|step| length_ms / step <= marks_max);
    known.unwrap_or_else(|| (length_ms / marks_max).next_multiple_of(longest))
}

/// A length of time as people say it: at most two units.
#[must_use]
pub fn clock(milliseconds: u64) -> String {
    let seconds = milliseconds.saturating_add(500) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) if seconds.is_multiple_of(60) => format!("{minutes} min"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_what_people_count_in() {
        for (length_ms, expect) in [
            (0, SECOND_MS),
            (9 * SECOND_MS, SECOND_MS),
            (HOUR_MS, 5 * MINUTE_MS),
            (DAY_MS, 2 * HOUR_MS),
            (30 * DAY_MS, 7 * DAY_MS),
        ] {
            assert_eq!(step_ms(length_ms, 12), expect, "{length_ms}");
        }
        for length_ms in [1, DAY_MS * 365, u64::MAX / 2] {
            assert!(length_ms / step_ms(length_ms, 12) <= 12);
        }
    }

    #[test]
    fn lengths_have_two_units() {
        for (milliseconds, expect) in
            [(0, "0 s"), (61_000, "1 min 1 s"), (7_260_000, "2 h 1 min"), (90_000_000, "1 d 1 h")]
        {
            assert_eq!(clock(milliseconds), expect);
        }
    }
}
