//! Who built what and when: a lane for every place of every builder, a bar for every attempt, and above them how much of
//! the farm was in use.
//!
//! What it does not do: it knows no time zone. Times of the day are those of UTC, and said to be.

use crate::axis::step_ms;
use crate::markup::{escaped, put, shortened};

/// Sizes in units of the picture: a pixel at its own size.
const WIDTH: u64 = 1360;
const LABELS_WIDTH: u64 = 132;
const RIGHT: u64 = 8;
const USE_TOP: u64 = 8;
const USE_HEIGHT: u64 = 56;
const LANES_TOP: u64 = USE_TOP + USE_HEIGHT + 34;
const LANE_HEIGHT: u64 = 22;
const BAR_HEIGHT: u64 = 18;
const BUILDER_GAP: u64 = 10;

/// Width of a character of the small type, in tenths, on the safe side.
const CHARACTER_TENTHS: u64 = 62;

/// Marks that the time axis has at most.
const MARKS_MAX: u64 = 12;

/// Steps of the line of use: about one for every ten units.
const USE_STEPS: u64 = 120;

/// Lanes of one builder that are drawn: builders of today have a handful of places.
const LANES_OF_ONE_MAX: usize = 64;

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It goes on.
    Running,
    /// The repository has what it built.
    Published,
    /// The build failed.
    Failed,
    /// The builder was lost, or its machine was at fault: nobody blames the recipe.
    Lost,
    /// Somebody stopped it, or another attempt was faster.
    Stopped,
}

impl Ending {
    /// The word for it, which is also the class of its bar.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Ending::Running => "running",
            Ending::Published => "published",
            Ending::Failed => "failed",
            Ending::Lost => "lost",
            Ending::Stopped => "stopped",
        }
    }

    /// What says it without colour.
    #[must_use]
    pub fn glyph(self) -> &'static str {
        match self {
            Ending::Running => "►",
            Ending::Published => "✓",
            Ending::Failed => "✕",
            Ending::Lost => "?",
            Ending::Stopped => "−",
        }
    }
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// Index of its builder.
    pub builder: usize,
    /// When it began.
    pub start_ms: u64,
    /// When it ended; the end of the picture for one that goes on.
    pub end_ms: u64,
    /// When it is expected to be done, for one that goes on.
    pub expected_end_ms: Option<u64>,
    /// What became of it.
    pub ending: Ending,
    /// What it built.
    pub name: String,
    /// Where the bar leads to.
    pub address: String,
    /// Everything about it in a line.
    pub title: String,
}

/// A builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    /// Its name.
    pub name: String,
    /// Builds that it takes at once.
    pub places: usize,
}

/// A stretch of time in a farm.
#[derive(Debug, Clone, Copy)]
pub struct Timeline<'a> {
    /// Where the picture begins.
    pub from_ms: u64,
    /// Where it ends.
    pub to_ms: u64,
    /// Builders from top to bottom.
    pub builders: &'a [Builder],
    /// Attempts in any order.
    pub bars: &'a [Bar],
}

/// The lane of each bar among those of its builder: the lowest that is free. A builder has more lanes than places where
/// more went on at once, such as after it was given fewer.
#[must_use]
pub fn lanes(bars: &[Bar], builders: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..bars.len()).collect();
    order.sort_by_key(|&bar| (bars[bar].start_ms, bars[bar].end_ms, bar));
    let mut ends: Vec<Vec<u64>> = vec![Vec::new(); builders];
    let mut lanes = vec![0; bars.len()];
    for index in order {
        let bar = &bars[index];
        let Some(ends) = ends.get_mut(bar.builder) else { continue };
        let free = ends.iter().position(|&end| end <= bar.start_ms);
        let lane = free.unwrap_or(ends.len());
        match ends.get_mut(lane) {
            Some(end) => *end = bar.end_ms,
            None => ends.push(bar.end_ms),
        }
        lanes[index] = lane;
    }
    lanes
}

/// How many hundredths of the places were in use in each of `steps` parts of the time.
#[must_use]
pub fn usage(timeline: &Timeline<'_>, steps: u64) -> Vec<u64> {
    let places: usize = timeline.builders.iter().map(|builder| builder.places).sum();
    let (places, span) = (u64_of(places).max(1), timeline.to_ms.saturating_sub(timeline.from_ms).max(1));
    let edge = |step: u64| timeline.from_ms + span * step / steps.max(1);
    let used = |step: u64| {
        let (begin, end) = (edge(step), edge(step + 1));
        let inside = |bar: &Bar| bar.end_ms.min(end).saturating_sub(bar.start_ms.max(begin));
        let used: u64 = timeline.bars.iter().map(inside).sum();
        (used * 100 / (end - begin).max(1) / places).min(100)
    };
    (0..steps).map(used).collect()
}

/// Draws it as HTML. Colours are those of the page's style sheet.
#[must_use]
pub fn timeline(timeline: &Timeline<'_>) -> String {
    let lanes = lanes(timeline.bars, timeline.builders.len());
    let mut counts: Vec<usize> = timeline.builders.iter().map(|builder| builder.places.max(1)).collect();
    for (bar, lane) in timeline.bars.iter().zip(&lanes) {
        if let Some(count) = counts.get_mut(bar.builder) {
            *count = (*count).max(lane + 1);
        }
    }
    let mut tops = Vec::with_capacity(counts.len());
    let mut next = LANES_TOP;
    for count in &mut counts {
        *count = (*count).min(LANES_OF_ONE_MAX);
        tops.push(next);
        next += u64_of(*count) * LANE_HEIGHT + BUILDER_GAP;
    }
    let sheet = Sheet { timeline, bottom: next };
    let mut svg = format!(
        "<div class=\"timeline\" tabindex=\"0\" role=\"region\" aria-label=\"timeline of builders\"><svg viewBox=\"0 0 {WIDTH} {next}\" \
         width=\"{WIDTH}\" height=\"{next}\" role=\"group\" aria-label=\"{} attempts\">\n\
         <defs><pattern id=\"t-failed\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <path class=\"hatch\" d=\"M0 0v6\"/></pattern></defs>",
        timeline.bars.len()
    );
    sheet.usage(&mut svg);
    for ((builder, top), count) in timeline.builders.iter().zip(&tops).zip(&counts) {
        sheet.builder(&mut svg, builder, *top, *count);
    }
    sheet.axis(&mut svg);
    for (bar, lane) in timeline.bars.iter().zip(&lanes).filter(|(_, lane)| **lane < LANES_OF_ONE_MAX) {
        if let Some(top) = tops.get(bar.builder) {
            sheet.bar(&mut svg, bar, top + u64_of(*lane) * LANE_HEIGHT);
        }
    }
    svg.push_str("</svg></div>");
    svg
}

struct Sheet<'a> {
    timeline: &'a Timeline<'a>,
    bottom: u64,
}

impl Sheet<'_> {
    /// A time as a distance from the left, in tenths.
    fn tenths(&self, at_ms: u64) -> u64 {
        let (from, to) = (self.timeline.from_ms, self.timeline.to_ms);
        let room = u128::from(WIDTH - LABELS_WIDTH - RIGHT) * 10;
        let inside = u128::from(at_ms.clamp(from, to.max(from)) - from);
        let share = inside * room / u128::from((to - from.min(to)).max(1));
        LABELS_WIDTH * 10 + u64::try_from(share).unwrap_or(0)
    }

    fn usage(&self, svg: &mut String) {
        let usage = usage(self.timeline, USE_STEPS);
        let bottom = USE_TOP + USE_HEIGHT;
        let room = (WIDTH - LABELS_WIDTH - RIGHT) * 10;
        let y = |hundredths: u64| bottom - USE_HEIGHT * hundredths / 100;
        let mut line = String::new();
        for (step, hundredths) in (0_u64..).zip(&usage) {
            let x = LABELS_WIDTH * 10 + room * step / USE_STEPS;
            let verb = if step == 0 { "M" } else { "L" };
            put!(line, "{verb}{} {}H{}", tenths(x), y(*hundredths), tenths(x + room / USE_STEPS));
        }
        let mean = usage.iter().sum::<u64>() / u64_of(usage.len()).max(1);
        put!(
            svg,
            "<rect class=\"lane\" x=\"{LABELS_WIDTH}\" y=\"{USE_TOP}\" width=\"{}\" height=\"{USE_HEIGHT}\"/>\
             <path class=\"use\" d=\"{line}V{bottom}H{LABELS_WIDTH}Z\"/>\
             <text class=\"label\" x=\"0\" y=\"{}\">in use</text><text class=\"soft\" x=\"0\" y=\"{}\">{mean} % of the time</text>\n",
            WIDTH - LABELS_WIDTH - RIGHT,
            USE_TOP + 24,
            USE_TOP + 42,
        );
    }

    fn builder(&self, svg: &mut String, builder: &Builder, top: u64, lanes: usize) {
        put!(
            svg,
            "<text class=\"label\" x=\"0\" y=\"{}\">{}</text>",
            top + 14,
            escaped(&shortened(&builder.name, 18))
        );
        for lane in 0..u64_of(lanes) {
            put!(
                svg,
                "<rect class=\"lane\" x=\"{LABELS_WIDTH}\" y=\"{}\" width=\"{}\" height=\"{BAR_HEIGHT}\"/>",
                top + lane * LANE_HEIGHT,
                WIDTH - LABELS_WIDTH - RIGHT,
            );
        }
        svg.push('\n');
    }

    fn axis(&self, svg: &mut String) {
        const DAY_MS: u64 = 86_400_000;
        let (from, to) = (self.timeline.from_ms, self.timeline.to_ms);
        let step = step_ms(to.saturating_sub(from), MARKS_MAX);
        let first = from.next_multiple_of(step);
        let mut at = first;
        // A mark at the right edge would be cut off.
        let last = to.saturating_sub(to.saturating_sub(from) / 60);
        while at <= last {
            let x = tenths(self.tenths(at));
            let minutes = at / 60_000;
            let word = match step >= DAY_MS || at.is_multiple_of(DAY_MS) {
                true => day(at),
                false => format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60),
            };
            put!(
                svg,
                "<path class=\"grid\" d=\"M{x} {USE_TOP}V{}\"/><text class=\"soft middle\" x=\"{x}\" y=\"{}\">{word}</text>",
                self.bottom - BUILDER_GAP / 2,
                USE_TOP + USE_HEIGHT + 18,
            );
            at += step;
        }
        put!(svg, "<text class=\"soft\" x=\"0\" y=\"{}\">UTC</text>\n", USE_TOP + USE_HEIGHT + 18);
    }

    fn bar(&self, svg: &mut String, bar: &Bar, top: u64) {
        let (start, end) = (self.tenths(bar.start_ms), self.tenths(bar.end_ms));
        let width = (end - start.min(end)).max(12);
        let word = bar.ending.word();
        put!(svg, "<a href=\"{}\"><title>{}</title>", escaped(&bar.address), escaped(&bar.title));
        if let Some(expected) = bar.expected_end_ms.map(|at| self.tenths(at)).filter(|at| *at > end) {
            put!(
                svg,
                "<rect class=\"expected\" x=\"{}\" y=\"{top}\" width=\"{}\" height=\"{BAR_HEIGHT}\" rx=\"3\"/>",
                tenths(start),
                tenths(expected - start),
            );
        }
        let shape = format!(
            "x=\"{}\" y=\"{top}\" width=\"{}\" height=\"{BAR_HEIGHT}\" rx=\"3\"",
            tenths(start),
            tenths(width)
        );
        put!(svg, "<rect class=\"bar {word}\" {shape}/>");
        if matches!(bar.ending, Ending::Failed | Ending::Lost) {
            put!(svg, "<rect fill=\"url(#t-failed)\" {shape}/>");
        }
        let fits = (width / CHARACTER_TENTHS).saturating_sub(1);
        let text = match bar.ending {
            Ending::Published => bar.name.clone(),
            ending => format!("{} {}", ending.glyph(), bar.name),
        };
        let characters = u64_of(text.chars().count());
        let text = match fits {
            fits if fits >= characters => text,
            fits if fits >= 5 => shortened(&text, usize::try_from(fits).unwrap_or(0)),
            _ => String::new(),
        };
        if !text.is_empty() {
            put!(
                svg,
                "<text class=\"name {word}\" x=\"{}\" y=\"{}\">{}</text>",
                tenths(start + 40),
                top + 13,
                escaped(&text)
            );
        }
        svg.push_str("</a>\n");
    }
}

/// A length in tenths, as text.
fn tenths(tenths: u64) -> String {
    match tenths % 10 {
        0 => format!("{}", tenths / 10),
        rest => format!("{}.{rest}", tenths / 10),
    }
}

/// `07-31`: month and day. Civil date from days since 1970, by the shift to years that begin in March.
pub(crate) fn day(at_ms: u64) -> String {
    let days = at_ms / 86_400_000 + 719_468;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    format!("{month:02}-{day:02}")
}

fn u64_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bar(builder: usize, start_ms: u64, end_ms: u64) -> Bar {
        Bar {
            builder,
            start_ms,
            end_ms,
            expected_end_ms: None,
            ending: Ending::Published,
            name: "nano".into(),
            address: "/tasks/1".into(),
            title: "nano".into(),
        }
    }

    fn builder(places: usize) -> Builder {
        Builder { name: "ada".into(), places }
    }

    #[test]
    fn what_goes_on_at_once_has_lanes_of_its_own() {
        let bars = [bar(0, 0, 10), bar(0, 5, 15), bar(0, 10, 20), bar(1, 5, 6), bar(0, 15, 16)];
        assert_eq!(lanes(&bars, 2), [0, 1, 0, 0, 1]);
    }

    #[test]
    fn use_counts_places() {
        let (builders, bars) = ([builder(2)], [bar(0, 0, 50), bar(0, 0, 100)]);
        let timeline = Timeline { from_ms: 0, to_ms: 200, builders: &builders, bars: &bars };
        assert_eq!(usage(&timeline, 4), [100, 50, 0, 0]);
        let nobody = Timeline { builders: &[], bars: &[], ..timeline };
        assert_eq!(usage(&nobody, 2), [0, 0]);
    }

    #[test]
    fn foreign_text_is_escaped_and_failures_have_a_pattern_and_a_sign() {
        let name = "<b onload='x'>";
        let failed = Bar {
            ending: Ending::Failed,
            name: name.into(),
            title: name.into(),
            address: "/tasks/\"1".into(),
            ..bar(0, 0, 90)
        };
        let builders = [Builder { name: "\"><script>".into(), places: 1 }];
        let svg = super::timeline(&Timeline { from_ms: 0, to_ms: 100, builders: &builders, bars: &[failed] });
        assert!(!svg.contains("<b") && !svg.contains("<script") && !svg.contains("/tasks/\"1"), "{svg}");
        assert!(svg.contains("url(#t-failed)") && svg.contains("✕ &lt;b"), "{svg}");
    }

    #[test]
    fn what_is_late_and_what_is_outside_stay_on_the_sheet() {
        let running = Bar { ending: Ending::Running, expected_end_ms: Some(400), ..bar(0, 50, 100) };
        let bars = [running, bar(0, 0, 20), bar(7, 0, 90)];
        let builders = [builder(1)];
        let svg = super::timeline(&Timeline { from_ms: 30, to_ms: 100, builders: &builders, bars: &bars });
        assert!(!svg.contains("class=\"expected\""), "nothing beyond the right edge: {svg}");
        assert_eq!(svg.matches("class=\"bar").count(), 2, "nobody knows the third builder");
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!((day(0), day(951_782_400_000)), ("01-01".to_owned(), "02-29".to_owned()));
    }

    proptest! {
        #[test]
        fn bars_of_a_lane_never_overlap(times in prop::collection::vec((0..3_usize, 0..1000_u64, 0..200_u64), 0..80)) {
            let bars: Vec<Bar> = times.iter().map(|&(builder, start, length)| bar(builder, start, start + length)).collect();
            let lanes = lanes(&bars, 3);
            for (one, lane) in bars.iter().zip(&lanes).enumerate().map(|(index, (bar, lane))| ((index, bar), lane)) {
                for (index, other) in bars.iter().enumerate().skip(one.0 + 1) {
                    if one.1.builder == other.builder && *lane == lanes[index] {
                        prop_assert!(one.1.end_ms <= other.start_ms || other.end_ms <= one.1.start_ms);
                    }
                }
            }
        }
    }
}
