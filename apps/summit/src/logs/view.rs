//! Which parts of a log are shown at first: its end, or what is around a line; the rest is named and can be asked for.

use std::io;

use super::outline::{Outline, length};
use super::reader::LogReader;
use super::rows::{ROW_BYTES_MAX, Row, Rows};

/// Bytes that are shown at once. A browser lays some 3,000 lines out without a pause.
pub const WINDOW_BYTES_MAX: u64 = 256 << 10;

/// Lines before the one that was asked for.
const LINES_BEFORE: u64 = 20;

/// Lines up to which every phase is shown open.
const LINES_OPEN_MAX: u64 = 200;

/// Bytes before a part that say which colours go on in it.
const COLOUR_BYTES: u64 = 8 << 10;

/// What is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// At most so many bytes at the end.
    End(u64),
    /// What is around the line of this number.
    Line(u64),
}

/// A log with some of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogView {
    /// Bytes of the log.
    pub size_bytes: u64,
    /// Its lines.
    pub lines: u64,
    /// Its phases and what is before the first, in order.
    pub sections: Vec<Section>,
    /// Up to where rows are shown.
    pub end: u64,
    /// Whether that is as far as there are whole rows.
    pub at_end: bool,
    /// The begin of a row whose end is not there yet.
    pub tail: Option<Row>,
}

/// A phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it is called; none when the log has no phases.
    pub name: Option<String>,
    /// Where it begins.
    pub begin: u64,
    /// Where it ends.
    pub end: u64,
    /// Number of its first line.
    pub first_line: u64,
    /// How many lines it has.
    pub lines: u64,
    /// What is shown of it.
    pub part: Option<Part>,
    /// Whether it is open.
    pub open: bool,
}

/// Rows that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where the first begins.
    pub begin: u64,
    /// Where the last ends.
    pub end: u64,
    /// The rows.
    pub rows: Vec<Row>,
}

impl LogView {
    /// Looks at a log. `ended` when nothing more will come; `failed_in` is the phase that the build failed in.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn new(
        reader: &mut LogReader,
        outline: &Outline,
        window: Window,
        ended: bool,
        failed_in: Option<&str>,
    ) -> io::Result<Self> {
        let size_bytes = reader.size_bytes();
        let (begin, end) = match window {
            Window::End(bytes) => {
                let begin = size_bytes.saturating_sub(bytes.min(WINDOW_BYTES_MAX));
                (row_begin_from(reader, begin)?, size_bytes)
            }
            Window::Line(line) => {
                let begin = reader.offset_of_line(outline, line.saturating_sub(LINES_BEFORE).max(1))?;
                (begin, begin.saturating_add(WINDOW_BYTES_MAX).min(size_bytes))
            }
        };
        let mut sections = sections(outline, size_bytes);
        let at_end = end == size_bytes;
        let mut shown = (begin, 0_u64);
        let mut tail = None;
        for section in &mut sections {
            let (from, to) = (section.begin.max(begin), section.end.min(end));
            if from >= to {
                continue;
            }
            // A phase ends with a line; only the last one may not.
            let is_whole = to == section.end && (to < size_bytes || ended);
            let (part, rest) = part(reader, outline, from, to, is_whole)?;
            shown = (part.end, shown.1 + length_of(part.rows.len()));
            tail = rest.filter(|_| at_end);
            section.part = Some(part);
        }
        let wanted = match window {
            Window::Line(line) => Some(line),
            Window::End(_) => None,
        };
        let last = sections.len().saturating_sub(1);
        for (number, section) in sections.iter_mut().enumerate() {
            let has_wanted = wanted
                .is_some_and(|line| (section.first_line..section.first_line + section.lines).contains(&line));
            let has_failed = failed_in.is_some() && section.name.as_deref() == failed_in;
            let is_open = match wanted {
                Some(_) => has_wanted,
                None => number == last || has_failed || shown.1 <= LINES_OPEN_MAX,
            };
            section.open = section.part.is_some() && is_open;
        }
        Ok(Self { size_bytes, lines: outline.lines(), sections, end: shown.0, at_end, tail })
    }
}

/// The rows from `begin` to `end`, and the begin of one that has no end there unless `is_whole`.
///
/// # Errors
/// When the log cannot be read.
pub fn part(
    reader: &mut LogReader,
    outline: &Outline,
    begin: u64,
    end: u64,
    is_whole: bool,
) -> io::Result<(Part, Option<Row>)> {
    let mut maker = rows_from(reader, outline, begin)?;
    let bytes = reader.read_range(begin, end)?;
    let (rows, taken) = maker.take(&bytes, is_whole);
    let rest = usize::try_from(taken).ok().and_then(|taken| bytes.get(taken..)).unwrap_or_default();
    Ok((Part { begin, end: begin + taken, rows }, maker.peek(rest)))
}

/// The part of at most [`WINDOW_BYTES_MAX`] that ends at `end` and begins at `begin` or later.
///
/// # Errors
/// When the log cannot be read.
pub fn part_before(reader: &mut LogReader, outline: &Outline, begin: u64, end: u64) -> io::Result<Part> {
    let wanted = end.saturating_sub(WINDOW_BYTES_MAX);
    let from = if wanted <= begin { begin } else { row_begin_from(reader, wanted)?.min(end) };
    Ok(part(reader, outline, from, end, true)?.0)
}

/// Makes rows from `begin` on.
///
/// # Errors
/// When the log cannot be read.
pub fn rows_from(reader: &mut LogReader, outline: &Outline, begin: u64) -> io::Result<Rows> {
    let line = reader.line_at(outline, begin)?;
    let before = reader.read_range(begin.saturating_sub(COLOUR_BYTES), begin)?;
    Ok(Rows::new(line, &before))
}

/// The begin of the first line at or after `offset`; `offset` itself within an extremely long line.
///
/// # Errors
/// When the log cannot be read.
pub fn row_begin_from(reader: &mut LogReader, offset: u64) -> io::Result<u64> {
    if offset == 0 {
        return Ok(0);
    }
    let bytes = reader.read_range(offset, offset + 2 * length_of(ROW_BYTES_MAX))?;
    let end = bytes.iter().position(|&byte| byte == b'\n');
    Ok(end.map_or(offset, |end| offset + length(&bytes[..=end])))
}

fn sections(outline: &Outline, size_bytes: u64) -> Vec<Section> {
    let marks = outline.marks().iter().filter(|mark| mark.offset < size_bytes);
    let mut begins: Vec<(u64, u64, Option<String>)> =
        marks.map(|mark| (mark.offset, mark.line, Some(mark.name.clone()))).collect();
    if begins.first().is_none_or(|(offset, _, _)| *offset > 0) {
        let name = (!begins.is_empty()).then(|| "preparation".to_owned());
        begins.insert(0, (0, 1, name));
    }
    let ends: Vec<(u64, u64)> = begins
        .iter()
        .skip(1)
        .map(|(offset, line, _)| (*offset, *line))
        .chain([(size_bytes, outline.lines() + 1)])
        .collect();
    begins
        .into_iter()
        .zip(ends)
        .map(|((begin, first_line, name), (end, end_line))| Section {
            name,
            begin,
            end,
            first_line,
            lines: end_line.saturating_sub(first_line),
            part: None,
            open: false,
        })
        .collect()
}

fn length_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use farm::ids::{AttemptId, TaskId};

    use super::*;
    use crate::logs::Logs;

    async fn view(text: &[u8], window: Window, ended: bool, failed_in: Option<&'static str>) -> LogView {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path(), u64::MAX);
        let (task, attempt) = (TaskId(1), AttemptId(1));
        logs.append(task, attempt, 0, text).await.unwrap();
        let look = move |reader: &mut LogReader, outline: &Outline| {
            LogView::new(reader, outline, window, ended, failed_in)
        };
        let growing = logs.with_outline(task, attempt, look).await.unwrap();
        logs.archive(task, attempt).await.unwrap();
        let archived = logs.with_outline(task, attempt, look).await.unwrap();
        assert_eq!(growing, archived, "a compressed log looks the same");
        growing
    }

    fn rows(view: &LogView) -> Vec<(u64, bool)> {
        let parts = view.sections.iter().filter_map(|section| section.part.as_ref());
        parts.flat_map(|part| part.rows.iter().map(|row| (row.line, row.continues))).collect()
    }

    #[tokio::test]
    async fn a_small_log_is_shown_whole_with_its_phases() {
        let text = b"==> building nano\n==> phase setup\na\n==> phase build\nb\nc";
        let ended = view(text, Window::End(1000), true, None).await;
        let names: Vec<_> = ended
            .sections
            .iter()
            .map(|section| (section.name.as_deref(), section.first_line, section.lines))
            .collect();
        assert_eq!(names, [(Some("preparation"), 1, 1), (Some("setup"), 2, 2), (Some("build"), 4, 3)]);
        assert!(ended.sections.iter().all(|section| section.open) && ended.tail.is_none());
        assert_eq!((rows(&ended).len(), ended.end), (6, 55));
        let growing = view(text, Window::End(1000), false, None).await;
        assert_eq!((rows(&growing).len(), growing.end, growing.tail.unwrap().line), (5, 54, 6));
        let none = view(b"", Window::End(1000), false, None).await;
        assert_eq!((none.sections.len(), none.end, none.at_end), (1, 0, true));
    }

    #[tokio::test]
    async fn of_a_large_log_the_end_is_shown_or_what_is_around_a_line() {
        let mut text = b"==> phase build\n".to_vec();
        text.extend((2..200_000).flat_map(|line| format!("line {line}\n").into_bytes()));
        text.extend_from_slice(b"==> phase check\nlast\n");
        let end = view(&text, Window::End(u64::MAX), true, Some("build")).await;
        let shown = rows(&end);
        assert!(shown.len() > 15_000 && shown.len() < 30_000, "{}", shown.len());
        assert_eq!(shown.last(), Some(&(200_001, false)));
        assert!(end.sections[0].open && end.sections[1].open && end.at_end);
        assert_eq!(end.sections[0].part.as_ref().unwrap().rows[0].line, shown[0].0);
        let around = view(&text, Window::Line(100_000), true, None).await;
        assert_eq!((rows(&around)[0], around.at_end), ((99_980, false), false));
        assert!(around.sections[0].open && around.sections[1].part.is_none());
        let far = view(&text, Window::Line(u64::MAX), true, None).await;
        assert_eq!(rows(&far), []);
    }

    #[tokio::test]
    async fn nul_bytes_and_lines_without_end_are_bounded() {
        let nothing = view(&vec![0; 3 << 20], Window::End(u64::MAX), true, None).await;
        assert!(rows(&nothing).len() <= 33 && nothing.lines == 1, "{:?}", rows(&nothing).len());
        let long = view(&vec![b'x'; 3 << 20], Window::End(u64::MAX), true, None).await;
        assert_eq!(rows(&long).len(), 32);
    }
}
