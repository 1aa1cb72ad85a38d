//! Tables for people: columns as wide as what stands in them, colours where the terminal shows them, and nothing that recipes
//! or builders said reaches the terminal as it is.

use observe::{Palette, Style, printable};

/// Spaces between two columns.
const GAP: usize = 2;

/// One field.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Option<Style>,
}

impl Cell {
    /// Text as it is.
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self { text: printable(text.as_ref()).replace(['\n', '\t'], " "), style: None }
    }

    /// Text in a style.
    pub(crate) fn styled(text: impl AsRef<str>, style: Option<Style>) -> Self {
        Self { style, ..Self::new(text) }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// How the state of a task is coloured.
pub(crate) fn style_of(phase: &str) -> Option<Style> {
    match phase {
        "failed" | "blocked" | "cancelled" => Some(Style::Error),
        "held" => Some(Style::Warning),
        "published" => Some(Style::Good),
        "leased" | "building" | "publishing" => Some(Style::Hint),
        _ => None,
    }
}

/// The table as lines of at most `width` columns; only the last column is cut. Nothing when there are no rows.
pub(crate) fn table(head: &[&str], rows: &[Vec<Cell>], palette: Palette, width: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let head: Vec<Cell> = head.iter().map(|title| Cell::styled(title, Some(Style::Dim))).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().chain(std::iter::once(&head)).filter_map(|row| row.get(column));
            cells.map(Cell::width).max().unwrap_or(0)
        })
        .collect();
    std::iter::once(&head).chain(rows).map(|row| line(row, &widths, palette, width)).collect()
}

fn line(row: &[Cell], widths: &[usize], palette: Palette, width: usize) -> String {
    let mut line = String::new();
    let mut used = 0;
    for (column, cell) in row.iter().enumerate() {
        let is_last = column + 1 == row.len();
        let room = width.saturating_sub(used).max(1);
        let text: String = match is_last && cell.width() > room {
            true => cell.text.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
            false => cell.text.clone(),
        };
        line.push_str(&cell.style.map_or_else(|| text.clone(), |style| palette.paint(style, &text)));
        if !is_last {
            let wide = widths.get(column).copied().unwrap_or(0) + GAP;
            line.push_str(&" ".repeat(wide.saturating_sub(cell.width())));
            used += wide;
        }
    }
    let end = line.trim_end_matches(' ').len();
    line.truncate(end);
    line.push('\n');
    line
}

/// A duration for people, to the second.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// How far something is that began, and is expected to end at a known moment.
pub(crate) fn progress(since_ms: u64, end_ms: Option<u64>, now_ms: u64) -> String {
    let lasted = now_ms.saturating_sub(since_ms);
    match end_ms {
        Some(end) if end > now_ms && end > since_ms => {
            let percent = lasted.saturating_mul(100) / (end - since_ms);
            format!("{percent:>2} %, {} left", duration(end - now_ms))
        }
        Some(end) => format!("{}, {} late", duration(lasted), duration(now_ms.saturating_sub(end))),
        None => duration(lasted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_one_is_cut() {
        let rows = vec![
            vec![
                Cell::new("1"),
                Cell::styled("building", Some(Style::Hint)),
                Cell::new("is built by ada\u{1b}[2J"),
            ],
            vec![Cell::new("1234"), Cell::new("held"), Cell::new("x")],
        ];
        let text = table(&["TASK", "STATE", "WHAT"], &rows, Palette::plain(), 26);
        assert_eq!(text, "TASK  STATE     WHAT\n1     building  is built …\n1234  held      x\n");
        assert!(
            table(&["TASK"], &rows[..1], Palette::coloured(), 80).contains("\u{1b}[1;36mbuilding\u{1b}[0m")
        );
        assert_eq!(table(&["TASK"], &[], Palette::plain(), 80), "");
    }

    #[test]
    fn progress_says_what_is_left_and_what_is_late() {
        assert_eq!(progress(0, Some(100_000), 25_000), "25 %, 1 min 15 s left");
        assert_eq!(progress(0, Some(100_000), 160_000), "2 min 40 s, 1 min 00 s late");
        assert_eq!(progress(0, None, 4_000), "4 s");
        assert_eq!(duration(90_000_000), "1 d 01 h");
    }
}
