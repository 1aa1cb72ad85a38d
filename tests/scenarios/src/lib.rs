//! Whole programs: killed, starved and cut off; the scenarios are in `tests/`.
