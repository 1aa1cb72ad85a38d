//! How long the builds of a recipe took, one after another: a point for each, the middle of those that went well, and what
//! is expected of the next.

use crate::axis::{clock, step_ms};
use crate::markup::{escaped, put};
use crate::timeline::{Ending, day};

const WIDTH: u64 = 640;
const HEIGHT: u64 = 200;
const LEFT: u64 = 64;
const RIGHT: u64 = 12;
const TOP: u64 = 12;
const BOTTOM: u64 = 26;

/// Marks of the scale on the left.
const MARKS_MAX: u64 = 4;

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// When it began.
    pub start_ms: u64,
    /// How long it took, or has taken.
    pub length_ms: u64,
    /// What became of it.
    pub ending: Ending,
    /// Where it leads to.
    pub address: String,
    /// Everything about it in a line.
    pub title: String,
}

/// Attempts of a recipe.
#[derive(Debug, Clone, Copy)]
pub struct Durations<'a> {
    /// The oldest first.
    pub points: &'a [Point],
    /// What is expected of a build, and the shortest and longest that would be no surprise.
    pub expected_ms: Option<(u64, u64, u64)>,
}

/// The middle of those that went well; none when none did.
#[must_use]
pub fn median_ms(points: &[Point]) -> Option<u64> {
    let well = points.iter().filter(|point| point.ending == Ending::Published);
    let mut lengths: Vec<u64> = well.map(|point| point.length_ms).collect();
    let middle = lengths.len() / 2;
    (!lengths.is_empty()).then(|| *lengths.select_nth_unstable(middle).1)
}

/// Draws it as HTML; nothing when there are no attempts.
#[must_use]
pub fn durations(durations: &Durations<'_>) -> String {
    let Some((first, last)) = durations.points.first().zip(durations.points.last()) else {
        return String::new();
    };
    let highest = durations.points.iter().map(|point| point.length_ms).max().unwrap_or(0);
    let highest = highest.max(durations.expected_ms.map_or(0, |(_, _, most)| most)).max(1000);
    let sheet = Sheet { highest_ms: highest + highest / 12, count: durations.points.len() };
    let mut svg = format!(
        "<svg class=\"durations\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"group\" aria-label=\"how long {} attempts took\">\n",
        durations.points.len()
    );
    sheet.scale(&mut svg);
    let right = WIDTH - RIGHT;
    if let Some((least, expected, most)) = durations.expected_ms {
        let (top, bottom) = (sheet.y(most), sheet.y(least));
        put!(
            svg,
            "<rect class=\"band\" x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{}\"><title>expected: {}, between {} and {}</title></rect>",
            right - LEFT,
            (bottom - top).max(1),
            clock(expected),
            clock(least),
            clock(most),
        );
    }
    let base = HEIGHT - BOTTOM + 17;
    if let Some(median) = median_ms(durations.points) {
        let y = sheet.y(median);
        // Beside the line it would lie under points.
        put!(
            svg,
            "<path class=\"median\" d=\"M{LEFT} {y}H{right}\"/><text class=\"soft middle\" x=\"{}\" y=\"{base}\">median {}</text>",
            (LEFT + right) / 2,
            clock(median)
        );
    }
    for (index, point) in durations.points.iter().enumerate() {
        sheet.point(&mut svg, index, point);
    }
    put!(svg, "<text class=\"soft\" x=\"{LEFT}\" y=\"{base}\">{}</text>", day(first.start_ms));
    if durations.points.len() > 1 {
        put!(svg, "<text class=\"soft end\" x=\"{right}\" y=\"{base}\">{}</text>", day(last.start_ms));
    }
    svg.push_str("</svg>");
    svg
}

struct Sheet {
    highest_ms: u64,
    count: usize,
}

impl Sheet {
    fn y(&self, length_ms: u64) -> u64 {
        let room = u128::from(HEIGHT - TOP - BOTTOM);
        let up = u128::from(length_ms.min(self.highest_ms)) * room / u128::from(self.highest_ms.max(1));
        HEIGHT - BOTTOM - u64::try_from(up).unwrap_or(0)
    }

    fn scale(&self, svg: &mut String) {
        let step = step_ms(self.highest_ms, MARKS_MAX);
        for mark in (0..=self.highest_ms / step).map(|number| number * step) {
            let y = self.y(mark);
            put!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y}H{}\"/><text class=\"soft end\" x=\"{}\" y=\"{}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8,
                y + 4,
                if mark == 0 { "0".to_owned() } else { clock(mark) }
            );
        }
        svg.push('\n');
    }

    fn point(&self, svg: &mut String, index: usize, point: &Point) {
        let room = WIDTH - LEFT - RIGHT - 24;
        let places = u64::try_from(self.count.saturating_sub(1)).unwrap_or(1).max(1);
        let index = u64::try_from(index).unwrap_or(0);
        // One alone stands in the middle.
        let x = LEFT + 12 + if self.count == 1 { room / 2 } else { room * index / places };
        let y = self.y(point.length_ms);
        let word = point.ending.word();
        put!(svg, "<a href=\"{}\"><title>{}</title>", escaped(&point.address), escaped(&point.title));
        match point.ending {
            Ending::Published => {
                put!(svg, "<circle class=\"point {word}\" cx=\"{x}\" cy=\"{y}\" r=\"4.5\"/>");
            }
            Ending::Running => put!(svg, "<circle class=\"point {word}\" cx=\"{x}\" cy=\"{y}\" r=\"5\"/>"),
            _ => put!(
                svg,
                "<path class=\"point {word}\" d=\"M{} {}l8 8m0-8l-8 8\"/>",
                x - 4,
                y.saturating_sub(4)
            ),
        }
        svg.push_str("</a>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(length_ms: u64, ending: Ending) -> Point {
        Point { start_ms: 0, length_ms, ending, address: "/tasks/1\"".into(), title: "<b>".into() }
    }

    #[test]
    fn the_middle_is_of_those_that_went_well() {
        let points = [
            point(9, Ending::Published),
            point(1, Ending::Failed),
            point(5, Ending::Published),
            point(7, Ending::Published),
            point(100_000, Ending::Running),
        ];
        assert_eq!((median_ms(&points), median_ms(&points[1..2])), (Some(7), None));
    }

    #[test]
    fn every_attempt_has_a_point_and_the_band_lies_around_what_is_expected() {
        let points = [point(60_000, Ending::Published), point(10_000, Ending::Failed)];
        let svg = durations(&Durations { points: &points, expected_ms: Some((30_000, 50_000, 90_000)) });
        assert_eq!((svg.matches("<circle").count(), svg.matches("class=\"point failed\"").count()), (1, 1));
        assert!(svg.contains("expected: 50 s, between 30 s and 1 min 30 s"), "{svg}");
        assert!(!svg.contains("<b>") && !svg.contains("1\"\""), "{svg}");
        assert_eq!(durations(&Durations { points: &[], expected_ms: None }), "");
    }

    #[test]
    fn nothing_is_drawn_outside_the_sheet() {
        for length_ms in [0, 1, 1000, u64::MAX / 2] {
            let sheet = Sheet { highest_ms: 1_000_000, count: 3 };
            assert!((TOP..=HEIGHT - BOTTOM).contains(&sheet.y(length_ms)), "{length_ms}");
        }
    }
}
