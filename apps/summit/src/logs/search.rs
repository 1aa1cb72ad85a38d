//! Looking for a text in a log, as a reader sees it: without colours, and as lines were at their end.
//!
//! A search is bounded: patterns are small and take time in proportion to what is searched, hits are counted, and whoever
//! asked is asked again and again whether an answer is still wanted.

use std::borrow::Cow;
use std::io;

use fault::{Fault, Kind};
use regex::{Regex, RegexBuilder};

use super::outline::length;
use super::reader::LogReader;
use super::terminal::Terminal;

/// Characters of a pattern; what people type is shorter.
const PATTERN_BYTES_MAX: usize = 1000;

/// Memory for a compiled pattern, and for what its search notes meanwhile.
const PATTERN_MEMORY_BYTES_MAX: usize = 4 << 20;

/// Bytes of a log that are searched at once.
const BLOCK_BYTES: usize = 256 << 10;

/// Bytes of a line that are searched together; a longer one is searched in parts.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Characters of a line that are shown.
const SHOWN_BYTES_MAX: usize = 300;

/// Characters before the first match that are shown of a long line.
const BEFORE_BYTES: usize = 60;

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
}

/// Why a pattern cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// There is nothing to look for.
    #[error("cannot search for nothing")]
    Empty,
    /// It is too long.
    #[error("cannot search for a text of more than {PATTERN_BYTES_MAX} bytes")]
    Long,
    /// It is no regular expression.
    #[error("cannot understand the regular expression")]
    Regex(#[source] Box<regex::Error>),
}

impl Fault for PatternError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        match self {
            PatternError::Regex(_) => vec![
                "leave `regex` out to search for the text as it is; https://docs.rs/regex/latest/regex/#syntax says what \
                 is understood"
                    .into(),
            ],
            PatternError::Empty | PatternError::Long => Vec::new(),
        }
    }
}

impl Pattern {
    /// A text as it is, or a regular expression. A text in small letters also means large ones.
    ///
    /// # Errors
    /// When it is empty, too long, or no regular expression.
    pub fn new(text: &str, is_regex: bool) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::Long);
        }
        let pattern = if is_regex { Cow::Borrowed(text) } else { Cow::Owned(regex::escape(text)) };
        let regex = RegexBuilder::new(&pattern)
            .case_insensitive(!is_regex && !text.chars().any(char::is_uppercase))
            .multi_line(true)
            .size_limit(PATTERN_MEMORY_BYTES_MAX)
            .dfa_size_limit(PATTERN_MEMORY_BYTES_MAX)
            .build()
            .map_err(|error| PatternError::Regex(Box::new(error)))?;
        Ok(Self { regex })
    }
}

/// A line that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its number, from 1.
    pub line: u64,
    /// The line, or what is around the first match in it.
    pub text: String,
    /// Where the first match is in `text`, in bytes.
    pub matched: (usize, usize),
}

/// What was found in a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The first lines that match.
    pub hits: Vec<Hit>,
    /// Whether more of them match.
    pub more: bool,
    /// Bytes that were looked at.
    pub searched_bytes: u64,
    /// Whether it was given up before its end.
    pub given_up: bool,
}

/// Looks for `pattern` in a log until `hits_max` lines are found, or `wanted` says no.
///
/// # Errors
/// When the log cannot be read.
pub fn search(
    reader: &mut LogReader,
    pattern: &Pattern,
    hits_max: usize,
    wanted: &dyn Fn() -> bool,
) -> io::Result<Found> {
    let mut found = Found::default();
    let mut block = Vec::new();
    let mut line = 1;
    loop {
        if !wanted() {
            found.given_up = true;
            return Ok(found);
        }
        let piece = reader.read_at(found.searched_bytes, BLOCK_BYTES)?;
        let at_end = piece.is_empty();
        found.searched_bytes += length(&piece);
        block.extend_from_slice(&piece);
        let end = block.iter().rposition(|&byte| byte == b'\n').map(|end| end + 1);
        let cut = match end {
            _ if at_end => block.len(),
            Some(end) => end,
            // The rest of an extremely long line is searched as if it were another.
            None if block.len() >= LINE_BYTES_MAX => block.len(),
            None => 0,
        };
        let rest = block.split_off(cut);
        search_block(&block, pattern, hits_max, &mut line, &mut found);
        block = rest;
        if at_end || found.more {
            return Ok(found);
        }
    }
}

fn search_block(block: &[u8], pattern: &Pattern, hits_max: usize, line: &mut u64, found: &mut Found) {
    let text = as_shown(block);
    let mut counted = 0;
    let mut begin = 0;
    while begin < text.len()
        && let Some(matched) = text.get(begin..).and_then(|rest| pattern.regex.find(rest))
    {
        let place = begin + matched.start();
        if place == text.len() && text.ends_with('\n') {
            // No line begins there.
            break;
        }
        let line_begin = text[..place].rfind('\n').map_or(0, |end| end + 1);
        let line_end = text[place..].find('\n').map_or(text.len(), |end| place + end);
        let shown = &text[line_begin..line_end];
        begin = line_end + 1;
        // A match over several lines is none; the line itself may still match.
        let Some(matched) = pattern.regex.find(shown) else { continue };
        if found.hits.len() >= hits_max {
            found.more = true;
            return;
        }
        *line += ends(&text[counted..line_begin]);
        counted = line_begin;
        found.hits.push(hit(*line, shown, (matched.start(), matched.end())));
    }
    *line += ends(text.get(counted..).unwrap_or_default());
}

fn ends(text: &str) -> u64 {
    u64::try_from(text.bytes().filter(|&byte| byte == b'\n').count()).unwrap_or(u64::MAX)
}

/// The lines as a reader sees them; as many as there are.
fn as_shown(block: &[u8]) -> Cow<'_, str> {
    if !block.iter().any(|&byte| byte < b' ' && byte != b'\n' && byte != b'\t') {
        return String::from_utf8_lossy(block);
    }
    let mut text = String::with_capacity(block.len());
    let mut uncoloured = Vec::new();
    for line in block.split_inclusive(|&byte| byte == b'\n') {
        uncoloured.clear();
        match strip_colours(line, &mut uncoloured) {
            true => text.push_str(&String::from_utf8_lossy(&uncoloured)),
            false => text.push_str(&Terminal::text(line)),
        }
        if line.ends_with(b"\n") {
            text.push('\n');
        }
    }
    Cow::Owned(text)
}

/// Leaves colours out of a line and its end off. Says no to a line with anything else that a terminal does: most have
/// nothing but colours, and this is much faster than to be a terminal.
fn strip_colours(line: &[u8], text: &mut Vec<u8>) -> bool {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut rest = line.strip_suffix(b"\r").unwrap_or(line);
    while let Some(place) = rest.iter().position(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
        let (before, sequence) = rest.split_at(place);
        text.extend_from_slice(before);
        let Some(parameters) = sequence.strip_prefix(b"\x1b[") else { return false };
        let end = parameters.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'));
        match end.and_then(|end| parameters.get(end..)).and_then(|end| end.strip_prefix(b"m")) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    text.extend_from_slice(rest);
    true
}

fn hit(line: u64, text: &str, (begin, end): (usize, usize)) -> Hit {
    let from = match text.len() > SHOWN_BYTES_MAX {
        true => text.floor_char_boundary(begin.saturating_sub(BEFORE_BYTES)),
        false => 0,
    };
    let to = text.floor_char_boundary(from.saturating_add(SHOWN_BYTES_MAX).min(text.len()));
    let matched = (begin - from, end.min(to).max(begin) - from);
    let shown = text.get(from..to).unwrap_or_default();
    // Tabs are left of the control characters; a list has no columns.
    Hit { line, text: shown.replace('\t', " "), matched }
}

#[cfg(test)]
mod tests {
    use farm::ids::{AttemptId, TaskId};

    use super::*;
    use crate::logs::Logs;

    async fn look(text: &[u8], pattern: &str, is_regex: bool, hits_max: usize) -> Found {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path(), u64::MAX);
        let (task, attempt) = (TaskId(1), AttemptId(1));
        logs.append(task, attempt, 0, text).await.unwrap();
        let pattern = Pattern::new(pattern, is_regex).unwrap();
        let find = move |reader: &mut LogReader| search(reader, &pattern, hits_max, &|| true);
        let (plain, pattern_again) = (logs.with_reader(task, attempt, find.clone()).await.unwrap(), find);
        logs.archive(task, attempt).await.unwrap();
        assert_eq!(logs.with_reader(task, attempt, pattern_again).await.unwrap(), plain);
        plain
    }

    fn lines(found: &Found) -> Vec<u64> {
        found.hits.iter().map(|hit| hit.line).collect()
    }

    #[tokio::test]
    async fn what_is_seen_is_found_whatever_colours_it_has() {
        let text = b"one\nx.c:1: \x1b[01;35mwarn\x1b[0ming: unused\r\n50%\rWarning 2\nerror\xff \x00here\n";
        assert_eq!(lines(&look(text, "warning", false, 10).await), [2, 3]);
        assert_eq!(lines(&look(text, "Warning", false, 10).await), [3], "large letters are meant");
        assert_eq!(lines(&look(text, "^x.*unused$", true, 10).await), [2]);
        assert_eq!(lines(&look(text, "50%", false, 10).await), [] as [u64; 0], "it was overwritten");
        assert_eq!(lines(&look(text, "error\u{fffd} here", false, 10).await), [4]);
        let hit = &look(text, "warning", false, 1).await;
        assert_eq!(
            (hit.hits[0].text.as_str(), hit.hits[0].matched, hit.more),
            ("x.c:1: warning: unused", (7, 14), true)
        );
        // A text in which a dot is a dot.
        assert_eq!(lines(&look(text, "x.c", false, 10).await), [2]);
        assert_eq!(lines(&look(b"xxc\n", "x.c", false, 10).await), [] as [u64; 0]);
    }

    #[test]
    fn lines_that_are_only_coloured_need_no_terminal() {
        for (line, expect) in [
            (&b"plain\r\n"[..], Some("plain")),
            (b"\x1b[1m\x1b[38:2::1:2:3mred\x1b[m!\n", Some("red!")),
            (b"a\tb\x1b[0m", Some("a\tb")),
            (b"10%\r20%\n", None),
            (b"\x1b[2K\n", None),
            (b"\x1b[", None),
            (b"\x1b]0;x\x07", None),
            (b"\0", None),
        ] {
            let mut text = Vec::new();
            let stripped = strip_colours(line, &mut text).then(|| String::from_utf8(text).unwrap());
            assert_eq!(stripped.as_deref(), expect, "{line:?}");
            if let Some(stripped) = stripped {
                assert_eq!(
                    Terminal::text(line).replace("       b", "\tb"),
                    stripped,
                    "a terminal shows the same"
                );
            }
        }
    }

    #[tokio::test]
    async fn no_match_reaches_over_lines() {
        assert_eq!(lines(&look(b"a\nb\n", r"a\sb", true, 10).await), [] as [u64; 0]);
        assert_eq!(lines(&look(b"a\nab\n", r"a[^x]*b", true, 10).await), [2]);
        assert_eq!(lines(&look(b"a\n\n\nb", "^$", true, 10).await), [2, 3]);
        assert_eq!(lines(&look(b"a", "$", true, 10).await), [1]);
        assert_eq!(lines(&look(b"a\n", r"\z", true, 10).await), [] as [u64; 0]);
    }

    #[tokio::test]
    async fn large_logs_long_lines_and_unwanted_answers_are_bounded() {
        let mut text: Vec<u8> = (1..100_000).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
        text.extend(vec![b'y'; 1 << 20]);
        text.extend_from_slice(b"needle\nneedle\n");
        let found = look(&text, "needle", false, 10).await;
        assert_eq!(lines(&found), [100_000, 100_001]);
        assert!(
            found.hits.iter().all(|hit| hit.text.len() <= SHOWN_BYTES_MAX && hit.text.contains("needle"))
        );
        assert_eq!(lines(&look(&text, "line 77777", false, 10).await), [77_777]);
        let found = look(&text, "line", false, 3).await;
        assert_eq!((found.hits.len(), found.more), (3, true));

        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path(), u64::MAX);
        logs.append(TaskId(1), AttemptId(1), 0, b"x").await.unwrap();
        let pattern = Pattern::new("x", false).unwrap();
        let unwanted = move |reader: &mut LogReader| search(reader, &pattern, 10, &|| false);
        assert!(logs.with_reader(TaskId(1), AttemptId(1), unwanted).await.unwrap().given_up);
    }

    #[test]
    fn patterns_that_cost_too_much_are_refused() {
        for (pattern, is_regex) in [
            ("", false),
            ("(", true),
            ("(((a{1000}){1000}){1000})", true),
            ("\u{1}".repeat(2000).as_str(), false),
        ] {
            let error = Pattern::new(pattern, is_regex).unwrap_err();
            assert_eq!(error.kind(), Kind::Input, "{pattern}");
        }
        Pattern::new("(", false).unwrap();
    }
}
