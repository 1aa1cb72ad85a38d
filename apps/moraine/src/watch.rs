//! Shows a farm at work: a table that redraws itself on a terminal, a line for each change elsewhere.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use observe::{Palette, Stream, Style, is_terminal, printable, width_columns};

/// One build as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Source name and version: `nano 7.2-1`.
    pub title: String,
    /// Where it is in its life.
    pub state: RowState,
    /// What there is to add: who builds it, what it waits for, why it failed.
    pub detail: String,
    /// How long it has been building, or built.
    pub elapsed: Option<Duration>,
}

/// Where a build is in its life, as far as a table tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowState {
    /// Not yet begun.
    Waiting,
    /// At work.
    Building,
    /// Built, on its way into the repository.
    Publishing,
    /// In the repository.
    Published,
    /// Over, without a package.
    Failed,
    /// Cannot begin because of another one.
    Blocked,
}

impl RowState {
    fn word(self) -> &'static str {
        match self {
            RowState::Waiting => "waiting",
            RowState::Building => "building",
            RowState::Publishing => "publishing",
            RowState::Published => "published",
            RowState::Failed => "failed",
            RowState::Blocked => "blocked",
        }
    }

    fn style(self) -> Style {
        match self {
            RowState::Waiting => Style::Dim,
            RowState::Building | RowState::Publishing => Style::Hint,
            RowState::Published => Style::Good,
            RowState::Failed => Style::Error,
            RowState::Blocked => Style::Warning,
        }
    }
}

/// Draws on standard error, so that standard output stays free for results.
pub(crate) struct Watch {
    live: bool,
    quiet: bool,
    palette: Palette,
    drawn_lines: usize,
    last: BTreeMap<String, RowState>,
}

impl Watch {
    /// A watch that says nothing when `quiet`.
    #[must_use]
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            live: !quiet && is_terminal(Stream::Stderr),
            quiet,
            palette: Palette::of(Stream::Stderr),
            drawn_lines: 0,
            last: BTreeMap::new(),
        }
    }

    /// Says one sentence above the table.
    pub(crate) fn say(&mut self, sentence: &str) {
        if !self.quiet {
            let erased = self.erase();
            self.write(&format!("{erased}{}\n", printable(sentence)));
        }
    }

    /// Shows the builds as they are now.
    pub(crate) fn show(&mut self, rows: &[Row]) {
        if self.live {
            let table = table(rows, width_columns(Stream::Stderr), self.palette);
            let erased = self.erase();
            self.drawn_lines = table.len();
            let text: String = table.iter().map(|line| format!("{line}\n")).collect();
            self.write(&format!("{erased}{text}"));
        } else if !self.quiet {
            for row in rows {
                let known = self.last.insert(row.title.clone(), row.state);
                if known != Some(row.state) && (known.is_some() || row.state != RowState::Waiting) {
                    // A state that has just begun has lasted no time yet.
                    let row = Row { elapsed: None, ..row.clone() };
                    self.write(&format!("{}\n", line(&row, Palette::plain())));
                }
            }
        }
    }

    /// Leaves the last table where it is.
    pub(crate) fn rest(&mut self) {
        self.drawn_lines = 0;
    }

    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn_lines) {
            0 => String::new(),
            lines => format!("\u{1b}[{lines}A\u{1b}[J"),
        }
    }

    fn write(&self, text: &str) {
        // With standard error closed nobody watches, which stops no build.
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
    }
}

fn table(rows: &[Row], width: usize, palette: Palette) -> Vec<String> {
    let done = rows.iter().filter(|row| row.state == RowState::Published).count();
    let mut lines: Vec<String> = rows.iter().map(|row| cut(row, width, palette)).collect();
    let bar_width = 24.min(width / 3);
    let filled = if rows.is_empty() { 0 } else { bar_width * done / rows.len() };
    let bar = format!("{}{}", "━".repeat(filled), "─".repeat(bar_width - filled));
    lines.push(format!("{} {done} of {} published", palette.paint(Style::Good, &bar), rows.len()));
    lines
}

fn cut(row: &Row, width: usize, palette: Palette) -> String {
    // A line that wraps would break the count of lines to erase; the detail gives way.
    let without = line(&Row { detail: String::new(), ..row.clone() }, Palette::plain()).chars().count();
    let room = width.saturating_sub(without + 3);
    let detail: String = printable(&row.detail).replace('\n', " ").chars().take(room).collect();
    line(&Row { detail, ..row.clone() }, palette)
}

fn line(row: &Row, palette: Palette) -> String {
    let state = palette.paint(row.state.style(), &format!("{:<10}", row.state.word()));
    let elapsed = row.elapsed.map(seconds).unwrap_or_default();
    let text = format!("  {:<20} {state} {elapsed:>7}  {}", printable(&row.title), printable(&row.detail));
    text.trim_end().to_owned()
}

/// `8 s`, `2:05`.
fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 { format!("{seconds} s") } else { format!("{}:{:02}", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(title: &str, state: RowState, detail: &str) -> Row {
        Row { title: title.into(), state, detail: detail.into(), elapsed: Some(Duration::from_secs(65)) }
    }

    #[test]
    fn a_table_has_a_line_a_build_and_counts() {
        let rows =
            [row("nano 7.2-1", RowState::Published, ""), row("file 5.44-1", RowState::Building, "agent-1")];
        let lines = table(&rows, 80, Palette::plain());
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("building") && lines[1].contains("1:05") && lines[1].ends_with("agent-1"));
        assert!(lines[2].ends_with("1 of 2 published"), "{}", lines[2]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let rows = [row("nano 7.2-1", RowState::Failed, &"very long ".repeat(50))];
        assert!(table(&rows, 80, Palette::plain()).iter().all(|line| line.chars().count() <= 80));
        assert_eq!(table(&[], 80, Palette::plain()).len(), 1, "an empty farm divides by nothing");
    }

    #[test]
    fn control_characters_of_a_recipe_reach_no_terminal() {
        let line = line(&row("x\u{1b}[2J", RowState::Failed, "\u{1b}]0;owned\u{7}"), Palette::plain());
        assert!(!line.contains('\u{1b}') && !line.contains('\u{7}'), "{line:?}");
    }
}
