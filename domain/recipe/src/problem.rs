//! What is wrong with a file, and where: the one shape that errors and warnings of this crate have.
//!
//! A [`Problem`] prints as `file:line:column: error: …`, the line itself, a caret below the place, and what to do
//! about it. Lines and columns begin at 1; a column counts characters, not bytes.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A long line is shown up to this many characters; a terminal and a web page both fit it.
const SHOWN_LINE_CHARACTERS_MAX: usize = 160;

/// Whether something can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but says something that has no effect or another effect than it seems.
    Warning,
}

/// A place in a file. Both numbers begin at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Position {
    /// The first character of a file.
    pub const START: Position = Position { line: 1, column: 1 };
}

/// A file's name and text, shared by whatever may have to show one of its lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) file: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Arc<Self> {
        Arc::new(Self { file: file.to_owned(), text: text.to_owned() })
    }

    /// The line with this number, without its end; empty when there is none.
    pub(crate) fn line(&self, line: usize) -> &str {
        self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default()
    }

    pub(crate) fn problem(&self, severity: Severity, at: Position, message: impl Into<String>) -> Problem {
        Problem {
            severity,
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            message: message.into(),
            help: None,
            source_line: self.line(at.line).trim_end().to_owned(),
        }
    }
}

/// Something wrong at one place of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The line of the file, without its end.
    #[serde(skip)]
    pub source_line: String,
}

/// A [`Problem`] that does not keep the file from being used.
pub type Warning = Problem;

impl Problem {
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The place in the file.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { line: self.line, column: self.column }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(formatter, "{}:{}:{}: {word}: {}", self.file, self.line, self.column, self.message)?;
        if !self.source_line.is_empty() {
            let (shown, caret) = excerpt(&self.source_line, self.column);
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            write!(formatter, "\n {number} | {shown}\n {margin} | {}^", " ".repeat(caret))?;
        }
        if let Some(help) = &self.help {
            write!(formatter, "\n help: {help}")?;
        }
        Ok(())
    }
}

/// The part of a line around a column, safe to print, and where in it the caret goes.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    let caret = column.saturating_sub(1).min(line.chars().count());
    let first = if caret < SHOWN_LINE_CHARACTERS_MAX { 0 } else { caret - SHOWN_LINE_CHARACTERS_MAX / 2 };
    let shown = line
        .chars()
        .skip(first)
        .take(SHOWN_LINE_CHARACTERS_MAX)
        // Escape sequences of a foreign file must not reach a terminal, and a tab would move the caret.
        .map(|character| match character {
            '\t' => ' ',
            control if control.is_control() => '\u{fffd}',
            other => other,
        })
        .collect();
    (shown, caret - first)
}

/// The known word nearest to `word`, if one is near enough that it may have been meant.
pub(crate) fn suggest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Longer words are not misspelt keys, and the distance costs the product of the lengths.
    const WORD_BYTES_MAX: usize = 64;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| {
            // `tune` for `tuning`, `test` for nothing: a shared beginning counts as one slip less.
            let distance = edit_distance(word, candidate);
            let shared =
                word.chars().zip(candidate.chars()).take_while(|(left, right)| left == right).count();
            (if shared >= 3 { distance.saturating_sub(2) } else { distance }, candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many single characters must be put in, left out or changed to turn one word into the other.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (row_number, left_character) in left.chars().enumerate() {
        let mut diagonal = row_number;
        let mut before = row_number + 1;
        for (cell, right_character) in row.iter_mut().skip(1).zip(&right) {
            let change = diagonal + usize::from(left_character != *right_character);
            diagonal = *cell;
            before = change.min(before + 1).min(*cell + 1);
            *cell = before;
        }
        if let Some(first) = row.first_mut() {
            *first = row_number + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_line_and_a_caret() {
        let source = Source::new("stone.yaml", "name: x\nrelase: 1\n");
        let problem = source
            .problem(Severity::Warning, Position { line: 2, column: 1 }, "unknown key \"relase\"")
            .with_help("did you mean \"release\"?");
        assert_eq!(
            problem.to_string(),
            "stone.yaml:2:1: warning: unknown key \"relase\"\n 2 | relase: 1\n   | ^\n help: did you mean \"release\"?"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place_and_never_harms_a_terminal() {
        let line = format!("{}\x1b[2J!", "a".repeat(10_000));
        let (shown, caret) = excerpt(&line, 10_001);
        assert!(shown.chars().count() <= SHOWN_LINE_CHARACTERS_MAX);
        assert_eq!(shown.chars().nth(caret), Some('\u{fffd}'));
        assert_eq!(excerpt("abc", 99), ("abc".to_owned(), 3));
    }

    #[test]
    fn distances() {
        for (left, right, expect) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("tune", "tuning", 3)]
        {
            assert_eq!(edit_distance(left, right), expect, "{left} {right}");
        }
    }

    #[test]
    fn suggestions_are_near_or_none() {
        let known = ["tuning", "builddeps", "rundeps", "release", "summary"];
        for (word, expect) in [
            ("tune", Some("tuning")),
            ("buildeps", Some("builddeps")),
            ("relase", Some("release")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(suggest(word, known), expect, "{word}");
        }
    }
}
