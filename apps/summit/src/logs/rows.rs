//! A part of a log as rows that can be shown.
//!
//! A row is a line, or [`ROW_BYTES_MAX`] of a line that is longer; where rows begin depends on the line alone, so parts of
//! a log that are read at different times fit together.

use super::outline::{length, phase_name};
use super::terminal::{Span, Terminal};

/// Bytes of a line in one row; what is longer goes on in the next. No line for people is as long.
pub const ROW_BYTES_MAX: usize = 8 << 10;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Number of the line, from 1.
    pub line: u64,
    /// Whether it goes on with the line of the row before.
    pub continues: bool,
    /// Bytes of the log that it stands for.
    pub size_bytes: u64,
    /// Whether the line ends with it.
    pub ends: bool,
    /// The phase that begins here.
    pub phase: Option<String>,
    /// What is to be seen.
    pub spans: Vec<Span>,
}

/// Makes rows of a log, part by part.
#[derive(Debug, Clone)]
pub struct Rows {
    terminal: Terminal,
    line: u64,
    continues: bool,
}

impl Rows {
    /// Begins in line `line`. What is `before` it in the log says which colours go on.
    #[must_use]
    pub fn new(line: u64, before: &[u8]) -> Self {
        let mut terminal = Terminal::default();
        for line in before.split_inclusive(|&byte| byte == b'\n') {
            terminal.show(line);
        }
        Self { terminal, line, continues: before.last().is_some_and(|&byte| byte != b'\n') }
    }

    /// The rows of the bytes that follow, and how many of them those are: the last row is left for the next part unless it
    /// has an end, or `at_end`.
    pub fn take(&mut self, bytes: &[u8], at_end: bool) -> (Vec<Row>, u64) {
        let mut rows = Vec::new();
        let mut taken = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let ends = line.ends_with(b"\n");
            let mut rest = line;
            while !rest.is_empty() {
                let cut = row_length(rest);
                let (row, after) = rest.split_at(cut);
                if after.is_empty() && !ends && !at_end {
                    return (rows, taken);
                }
                rows.push(self.row(row));
                taken += length(row);
                self.continues = true;
                rest = after;
            }
            if ends {
                self.line += 1;
                self.continues = false;
            }
        }
        (rows, taken)
    }

    /// How the begin of a row looks whose end is not there yet. Nothing changes by looking.
    #[must_use]
    pub fn peek(&self, bytes: &[u8]) -> Option<Row> {
        self.clone().take(bytes, true).0.pop()
    }

    fn row(&mut self, bytes: &[u8]) -> Row {
        let phase = if self.continues { None } else { phase_name(bytes) };
        let ends = bytes.ends_with(b"\n");
        Row {
            line: self.line,
            continues: self.continues,
            size_bytes: length(bytes),
            ends,
            phase,
            spans: self.terminal.show(bytes),
        }
    }
}

/// Bytes of the first row of a line. No character is cut in two.
fn row_length(line: &[u8]) -> usize {
    if line.len() <= ROW_BYTES_MAX {
        return line.len();
    }
    // A line whose end comes right behind a full row has no empty one after it.
    if line.len() == ROW_BYTES_MAX + 1 && line.ends_with(b"\n") {
        return line.len();
    }
    let is_inside = |place: usize| line.get(place).is_some_and(|byte| byte & 0xc0 == 0x80);
    let cut = (ROW_BYTES_MAX - 3..=ROW_BYTES_MAX).rev().find(|&place| !is_inside(place));
    cut.unwrap_or(ROW_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<Row> {
        Rows::new(1, b"").take(bytes, true).0
    }

    fn text(row: &Row) -> String {
        row.spans.iter().map(|span| span.text.as_str()).collect()
    }

    #[test]
    fn lines_have_numbers_and_phases() {
        let rows = all(b"one\n==> phase build\n\nlast");
        let seen: Vec<_> = rows.iter().map(|row| (row.line, row.phase.as_deref(), text(row))).collect();
        let expect =
            [(1, None, "one"), (2, Some("build"), "==> phase build"), (3, None, ""), (4, None, "last")];
        assert_eq!(seen, expect.map(|(line, phase, text)| (line, phase, text.to_owned())));
    }

    #[test]
    fn an_unfinished_line_waits_but_can_be_looked_at() {
        let mut rows = Rows::new(7, b"\x1b[31m");
        assert_eq!(rows.take(b"10%\r20%", false), (Vec::new(), 0));
        let seen = rows.peek(b"10%\r20%").unwrap();
        assert_eq!((text(&seen), seen.spans[0].style.foreground), ("20%".into(), Some(1)));
        let (done, taken) = rows.take(b"10%\r20%\rdone\n", false);
        assert_eq!((text(&done[0]), taken, done[0].line), ("done".into(), 13, 7));
    }

    #[test]
    fn an_extremely_long_line_is_many_rows_of_one_number() {
        let line = "é".repeat(100_000);
        let rows = all(format!("{line}\nnext\n").as_bytes());
        assert!(rows.iter().take(rows.len() - 1).all(|row| row.line == 1));
        assert_eq!(rows.iter().filter(|row| row.line == 1).map(text).collect::<String>(), line);
        assert_eq!((rows[rows.len() - 1].line, rows[1].continues), (2, true));
        assert_eq!(all(&[&vec![b'x'; ROW_BYTES_MAX][..], b"\n"].concat()).len(), 1);
    }

    proptest! {
        #[test]
        fn however_a_log_is_cut_the_rows_are_the_same(
            words in prop::collection::vec(prop::sample::select(vec![
                "word ", "\n", "\x1b[32m", "\x1b[0m", "é", "==> phase x\n", "\r", "long",
            ]), 0..80),
            repeat in 1..400_usize,
            cuts in prop::collection::vec(0..40_000_usize, 0..6),
        ) {
            let bytes = words.concat().replace("long", &"x".repeat(repeat * 37)).into_bytes();
            let mut ends: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            ends.sort_unstable();
            ends.push(bytes.len());
            let (mut rows, mut maker, mut begin) = (Vec::new(), Rows::new(1, b""), 0);
            let last = ends.len() - 1;
            for (number, end) in ends.into_iter().enumerate() {
                let (more, taken) = maker.take(&bytes[begin..end.max(begin)], number == last);
                rows.extend(more);
                begin += usize::try_from(taken).unwrap();
            }
            prop_assert_eq!(begin, bytes.len());
            prop_assert_eq!(rows, all(&bytes));
        }
    }
}
