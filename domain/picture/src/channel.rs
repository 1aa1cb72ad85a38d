//! The line of a channel's histories, and where its streams and tags point.
//!
//! Time goes from left to right; the height of a history is how many packages it has. Flags above are streams, those below are
//! tags. Where the line is longer than the picture, older pointers stand at its left end.

use crate::markup::{escaped, put, shortened};

const WIDTH: usize = 1360;
const MARGIN: usize = 24;
const FLAG_HEIGHT: usize = 24;
const BARS_HEIGHT: usize = 56;
const CHARACTER_TENTHS: usize = 72;

/// Histories that are drawn: each has some ten units then.
pub const HISTORIES_MAX: usize = 90;

/// Characters of a pointer's name.
const NAME_CHARACTERS_MAX: usize = 24;

/// Rows of flags on one side: more pointers than that are named in the table only.
const ROWS_MAX: usize = 6;

/// A history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryMark {
    /// Packages in it.
    pub packages: u64,
    /// Whether it was given up.
    pub is_given_up: bool,
    /// Where it leads to; none for nowhere.
    pub address: Option<String>,
    /// Everything about it in a line.
    pub title: String,
}

/// A stream or a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Its name.
    pub name: String,
    /// Whether it never moves.
    pub is_tag: bool,
    /// Index of its history; none when that is older than all that are drawn.
    pub history: Option<usize>,
    /// Everything about it in a line.
    pub title: String,
}

/// A channel.
#[derive(Debug, Clone, Copy)]
pub struct ChannelPicture<'a> {
    /// The oldest first; at most [`HISTORIES_MAX`] are drawn, the newest.
    pub histories: &'a [HistoryMark],
    /// In any order.
    pub flags: &'a [Flag],
}

/// A flag with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placed {
    flag: usize,
    /// Where its pole stands.
    pole: usize,
    left: usize,
    width: usize,
    row: usize,
}

/// Draws it as HTML; nothing when there are no histories.
#[must_use]
pub fn channel(picture: &ChannelPicture<'_>) -> String {
    let skipped = picture.histories.len().saturating_sub(HISTORIES_MAX);
    let histories = &picture.histories[skipped..];
    if histories.is_empty() {
        return String::new();
    }
    let step = ((WIDTH - 2 * MARGIN) / histories.len()).min(60);
    let x_of = |index: usize| MARGIN + index * step + step / 2;
    let pole = |history: Option<usize>| match history.and_then(|index| index.checked_sub(skipped)) {
        Some(index) if index < histories.len() => x_of(index),
        _ => MARGIN / 2,
    };
    let streams = placed(picture.flags, false, pole);
    let tags = placed(picture.flags, true, pole);
    let rows = |flags: &[Placed]| flags.iter().map(|flag| flag.row + 1).max().unwrap_or(0);
    let line = 8 + rows(&streams) * FLAG_HEIGHT + 8 + BARS_HEIGHT;
    let height = line + 10 + rows(&tags) * FLAG_HEIGHT + 10;
    let flags_end = streams.iter().chain(&tags).map(|flag| flag.left + flag.width).max().unwrap_or(0);
    let width = (x_of(histories.len() - 1) + step / 2).max(flags_end) + MARGIN;
    let most = histories.iter().map(|history| history.packages).max().unwrap_or(0).max(1);
    let mut svg = format!(
        "<div class=\"channel\" tabindex=\"0\" role=\"region\" aria-label=\"line of histories\"><svg viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"group\" aria-label=\"{} histories, the newest on the right\">\n\
         <path class=\"line\" d=\"M{} {line}H{}\"/>\n",
        histories.len(),
        MARGIN / 2,
        x_of(histories.len() - 1) + step / 2,
    );
    for (index, history) in histories.iter().enumerate() {
        // The smallest is still seen, and the largest fills the room.
        let share = u128::from(history.packages) * 48 / u128::from(most);
        let high = 6 + usize::try_from(share).unwrap_or(0);
        let class = if history.is_given_up { "history given-up" } else { "history" };
        let width = (step * 7 / 10).clamp(3, 26);
        let address = history.address.as_ref().map(|address| format!(" href=\"{}\"", escaped(address)));
        put!(
            svg,
            "<a{}><title>{}</title><rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{width}\" height=\"{high}\" rx=\"2\"/></a>\n",
            address.unwrap_or_default(),
            escaped(&history.title),
            x_of(index).saturating_sub(width / 2),
            line - high,
        );
    }
    for (flags, is_tag) in [(&streams, false), (&tags, true)] {
        for placed in flags {
            let Some(flag) = picture.flags.get(placed.flag) else { continue };
            flag_of(&mut svg, flag, *placed, line, is_tag);
        }
    }
    svg.push_str("</svg></div>");
    svg
}

fn flag_of(svg: &mut String, flag: &Flag, placed: Placed, line: usize, is_tag: bool) {
    let Placed { pole, left, width, row, .. } = placed;
    let (class, top) = match is_tag {
        true => ("tag", line + 12 + row * FLAG_HEIGHT),
        false => ("stream", (line - BARS_HEIGHT - 8).saturating_sub((row + 1) * FLAG_HEIGHT)),
    };
    put!(
        svg,
        "<g class=\"flag {class}\"><title>{}</title><path d=\"M{pole} {line}V{}\"/><rect x=\"{left}\" y=\"{top}\" width=\"{width}\" \
         height=\"19\" rx=\"4\"/><text x=\"{}\" y=\"{}\">{}</text></g>\n",
        escaped(&flag.title),
        top + 9,
        left + 7,
        top + 14,
        escaped(&shortened(&flag.name, NAME_CHARACTERS_MAX)),
    );
}

/// The flags of one side: each in the lowest row in which it touches no other.
fn placed(flags: &[Flag], is_tag: bool, pole: impl Fn(Option<usize>) -> usize) -> Vec<Placed> {
    let mut side: Vec<(usize, usize)> = flags
        .iter()
        .enumerate()
        .filter(|(_, flag)| flag.is_tag == is_tag)
        .map(|(index, flag)| (pole(flag.history), index))
        .collect();
    side.sort_by(|one, other| (one.0, &flags[one.1].name).cmp(&(other.0, &flags[other.1].name)));
    let mut ends: Vec<usize> = Vec::new();
    let mut placed = Vec::with_capacity(side.len());
    for (pole, flag) in side {
        let characters = flags[flag].name.chars().count().min(NAME_CHARACTERS_MAX);
        let width = characters * CHARACTER_TENTHS / 10 + 14;
        let left = pole.saturating_sub(6).min(WIDTH.saturating_sub(width + 4));
        let row = ends.iter().position(|&end| end + 4 <= left).unwrap_or(ends.len());
        if row >= ROWS_MAX {
            continue;
        }
        match ends.get_mut(row) {
            Some(end) => *end = left + width,
            None => ends.push(left + width),
        }
        placed.push(Placed { flag, pole, left, width, row });
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(packages: u64) -> HistoryMark {
        HistoryMark { packages, is_given_up: false, address: Some("/x?a&b".into()), title: "<h>".into() }
    }

    fn flag(name: &str, is_tag: bool, history: Option<usize>) -> Flag {
        Flag { name: name.into(), is_tag, history, title: name.into() }
    }

    #[test]
    fn flags_of_a_side_never_touch() {
        let flags: Vec<Flag> =
            (0..30).map(|number| flag(&format!("stream-{number}"), number % 3 == 0, Some(number))).collect();
        for is_tag in [false, true] {
            let placed = placed(&flags, is_tag, |history| history.unwrap_or(0) * 20);
            assert!(placed.len() > 5);
            for (index, one) in placed.iter().enumerate() {
                for other in placed.iter().skip(index + 1).filter(|other| other.row == one.row) {
                    assert!(one.left + one.width < other.left || other.left + other.width < one.left);
                }
            }
        }
    }

    #[test]
    fn pointers_stand_at_their_histories_and_old_ones_at_the_left_end() {
        let histories: Vec<HistoryMark> = (0..200).map(history).collect();
        let flags =
            [flag("volatile", false, Some(199)), flag("<old>", true, Some(3)), flag("gone", true, None)];
        let svg = channel(&ChannelPicture { histories: &histories, flags: &flags });
        assert_eq!(svg.matches("class=\"history\"").count(), HISTORIES_MAX);
        assert_eq!(svg.matches("d=\"M12 ").count(), 3, "the line, and two old tags: {svg}");
        assert!(!svg.contains("<old>") && !svg.contains("<h>") && !svg.contains("a&b"), "{svg}");
        assert_eq!(channel(&ChannelPicture { histories: &[], flags: &flags }), "");
    }
}
