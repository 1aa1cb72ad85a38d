//! Where in the log of a failed build its first error is: the line that somebody would look for.
//!
//! Programs say it in many ways; what compilers, linkers, build tools and interpreters write is known here. What only follows from an
//! error, such as the last words of `make`, counts where nothing better is found.

use std::io;
use std::sync::LazyLock;

use regex::{Regex, bytes};

use super::outline::{Outline, length};
use super::reader::LogReader;
use super::terminal::Terminal;

/// Bytes at the begin of a phase that are looked through, and at its end where it is longer: what stopped a build is rarely far from there.
const SEARCHED_FIRST_BYTES: u64 = 16 << 20;
const SEARCHED_LAST_BYTES: u64 = 4 << 20;

/// Bytes that are read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Bytes of a line that are looked at: an error stands at its begin.
const LINE_BYTES_MAX: usize = 2 << 10;

/// What the cause of a failure looks like.
const CAUSE: &str = r"(?x)
    (?: ^ | [\s:(\]\[] ) (?i: fatal\ error | error ) (?: \[ [\w-]+ \] )? : (?: \s | $ )
    | ^ \[? ERROR \]? [\s:]
    | ^ CMake\ Error
    | undefined\ reference\ to
    | ld: \ cannot\ find
    | ^ Traceback\ \(most\ recent
    | panicked\ at
    | : \ command\ not\ found
    | ^ FAILED: \s
    | Segmentation\ fault
    | hunk .* FAILED";

/// What follows from one.
const CONSEQUENCE: &str = r"(?x)
    \*\*\* .* \b Error \  \d
    | : \ No\ such\ file\ or\ directory
    | ^ E: \s
    | \b (?i: failed ) \b";

/// What every line of either kind has, so that only few of many lines are looked at closely.
const HINT: &str =
    r"rror|RROR|ndefined|cannot find|raceback|panicked|not found|ailed|FAILED|No such|tion fault|\nE: ";

/// An error in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstError {
    /// Number of its line, from 1.
    pub line: u64,
    /// What the line shows.
    pub text: String,
}

/// Looks for the first error in the phase that a build failed in, or in all of the log where that has no such phase.
///
/// # Errors
/// When the log cannot be read.
pub fn first_error(
    reader: &mut LogReader,
    outline: &Outline,
    failed_in: Option<&str>,
) -> io::Result<Option<FirstError>> {
    let marks = outline.marks();
    let place = failed_in.and_then(|name| marks.iter().rposition(|mark| mark.name == name));
    let begin = place.map_or(0, |place| marks[place].offset);
    let end = place.and_then(|place| marks.get(place + 1)).map_or(reader.size_bytes(), |mark| mark.offset);
    let first_end = end.min(begin.saturating_add(SEARCHED_FIRST_BYTES));
    let last_begin = end.saturating_sub(SEARCHED_LAST_BYTES).max(first_end);
    let mut consequence = None;
    for (from, to) in [(begin, first_end), (last_begin, end)] {
        match search(reader, from, to)? {
            Some((Weight::Cause, offset, text)) => {
                return Ok(Some(FirstError { line: reader.line_at(outline, offset)?, text }));
            }
            found => consequence = consequence.or(found),
        }
    }
    match consequence {
        Some((_, offset, text)) => Ok(Some(FirstError { line: reader.line_at(outline, offset)?, text })),
        None => Ok(None),
    }
}

/// The first cause between two places of a log, or the first consequence where there is no cause; where its line begins, and what it shows.
fn search(reader: &mut LogReader, begin: u64, end: u64) -> io::Result<Option<(Weight, u64, String)>> {
    static HINTS: LazyLock<Option<bytes::Regex>> = LazyLock::new(|| bytes::Regex::new(HINT).ok());
    let Some(hints) = HINTS.as_ref() else { return Ok(None) };
    let mut consequence = None;
    let mut offset = begin;
    while offset < end {
        let bytes = reader.read_range(offset, (offset + PIECE_BYTES).min(end))?;
        // A line that is cut off is looked at with the next piece; one that is longer than a piece is not.
        let whole = match bytes.iter().rposition(|&byte| byte == b'\n') {
            Some(last) => last + 1,
            None => bytes.len(),
        };
        let (mut from, piece) = (0, bytes.get(..whole).unwrap_or_default());
        while let Some(hint) = hints.find_at(piece, from) {
            let before = piece.get(..hint.end() - 1).unwrap_or_default();
            let line_begin = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            let rest = piece.get(line_begin..).unwrap_or_default();
            let line_end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            let shown = rest.get(..line_end.min(LINE_BYTES_MAX)).unwrap_or_default();
            let place = offset + length(piece.get(..line_begin).unwrap_or_default());
            match judge(shown) {
                Some((Weight::Cause, text)) => return Ok(Some((Weight::Cause, place, text))),
                Some((weight, text)) if consequence.is_none() => consequence = Some((weight, place, text)),
                _ => {}
            }
            from = (line_begin + line_end).max(hint.end());
        }
        if whole == 0 {
            break;
        }
        offset += length(piece);
    }
    Ok(consequence)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Cause,
    Consequence,
}

fn judge(line: &[u8]) -> Option<(Weight, String)> {
    static CAUSES: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(CAUSE).ok());
    static CONSEQUENCES: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(CONSEQUENCE).ok());
    let text = Terminal::text(line.trim_ascii_end());
    let is = |regex: &Option<Regex>| regex.as_ref().is_some_and(|regex| regex.is_match(&text));
    if is(&CAUSES) {
        return Some((Weight::Cause, text));
    }
    is(&CONSEQUENCES).then_some((Weight::Consequence, text))
}

#[cfg(test)]
mod tests {
    use farm::ids::{AttemptId, TaskId};

    use super::*;
    use crate::logs::Logs;

    fn weight(line: &str) -> Option<Weight> {
        judge(line.as_bytes()).map(|(weight, _)| weight)
    }

    #[test]
    fn errors_of_many_programs_are_known() {
        for line in [
            "src/main.c:118:21: error: implicit declaration of function",
            "\x1b[1msrc/main.c:118:21:\x1b[0m \x1b[1;31merror:\x1b[0m implicit declaration",
            "main.c:1:10: fatal error: zlib.h: No such file or directory",
            "error[E0425]: cannot find value `x` in this scope",
            "error: could not compile `thing`",
            "ERROR: Dependency \"glib-2.0\" not found",
            "[ERROR] Failed to execute goal",
            "CMake Error at CMakeLists.txt:12 (find_package):",
            "main.o: undefined reference to `frobnicate'",
            "/usr/bin/ld: cannot find -lfoo",
            "Traceback (most recent call last):",
            "thread 'main' panicked at src/main.rs:3:5:",
            "sh: line 3: meson: command not found",
            "FAILED: src/a.o ",
            "meson.build:12:0: ERROR: Dependency not found",
        ] {
            assert_eq!(weight(line), Some(Weight::Cause), "{line}");
        }
        for line in
            ["make: *** [Makefile:410: all] Error 2", "cp: cannot stat 'x': No such file or directory"]
        {
            assert_eq!(weight(line), Some(Weight::Consequence), "{line}");
        }
        for line in [
            "checking for error.h... yes",
            "cc -Werror -c error.c -o error.o",
            "0 errors, 3 warnings",
            "  Compiling thiserror v1.0.1",
            "linking a.out",
            "-- Performing Test HAVE_ERROR_AT_LINE",
            "testing error_handling ... ok",
        ] {
            assert_eq!(weight(line), None, "{line}");
        }
    }

    #[tokio::test]
    async fn the_first_cause_in_the_failed_phase_counts() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path(), u64::MAX);
        let (task, attempt) = (TaskId(1), AttemptId(1));
        let text = "==> phase setup\nconfigure: error: only a test\n==> phase build\nok\nmake: *** [x] Error 1\n\
                    a.c:1: error: here\na.c:2: error: later\n";
        logs.append(task, attempt, 0, text.as_bytes()).await.unwrap();
        let find = async |failed_in: Option<&'static str>| {
            let found = logs
                .with_outline(task, attempt, move |reader, outline| first_error(reader, outline, failed_in));
            found.await.unwrap().map(|found| (found.line, found.text))
        };
        assert_eq!(find(Some("build")).await, Some((6, "a.c:1: error: here".into())));
        assert_eq!(find(Some("setup")).await, Some((2, "configure: error: only a test".into())));
        assert_eq!(find(None).await, Some((2, "configure: error: only a test".into())));
        assert_eq!(find(Some("nothing")).await, Some((2, "configure: error: only a test".into())));
    }
}
