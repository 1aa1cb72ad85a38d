//! What the terminal can show: whether it is one, how wide, and colours.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};

/// Columns assumed where nothing tells the width; what terminals have had since the VT100.
const WIDTH_COLUMNS_DEFAULT: usize = 80;

/// One of the two streams a person reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: results.
    Stdout,
    /// Standard error: messages.
    Stderr,
}

/// Whether `stream` is shown on a terminal.
#[must_use]
pub fn is_terminal(stream: Stream) -> bool {
    match stream {
        Stream::Stdout => io::stdout().is_terminal(),
        Stream::Stderr => io::stderr().is_terminal(),
    }
}

/// Columns of the terminal that `stream` is shown on, 80 where it is none or does not tell.
#[must_use]
pub fn width_columns(stream: Stream) -> usize {
    let size = match stream {
        Stream::Stdout => rustix::termios::tcgetwinsize(io::stdout()),
        Stream::Stderr => rustix::termios::tcgetwinsize(io::stderr()),
    };
    match size {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => WIDTH_COLUMNS_DEFAULT,
    }
}

/// What a piece of text is, and so how it is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Something failed.
    Error,
    /// Something deserves a look.
    Warning,
    /// Something went well.
    Good,
    /// What to do next.
    Hint,
    /// Less important than what is around it.
    Dim,
    /// More important than what is around it.
    Strong,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Error => "1;31",
            Style::Warning => "1;33",
            Style::Good => "1;32",
            Style::Hint => "1;36",
            Style::Dim => "2",
            Style::Strong => "1",
        }
    }
}

/// Whether and how to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    colours: bool,
}

impl Palette {
    /// Colours when `stream` is a terminal that can show them and `NO_COLOR` is unset or empty.
    #[must_use]
    pub fn of(stream: Stream) -> Self {
        let colours = wants_colours(
            is_terminal(stream),
            std::env::var_os("NO_COLOR").as_deref(),
            std::env::var_os("TERM").as_deref(),
        );
        Palette { colours }
    }

    /// Never colours.
    #[must_use]
    pub fn plain() -> Self {
        Palette { colours: false }
    }

    /// Always colours.
    #[must_use]
    pub fn coloured() -> Self {
        Palette { colours: true }
    }

    /// Whether this palette colours.
    #[must_use]
    pub fn has_colours(self) -> bool {
        self.colours
    }

    /// `text` in `style`, unchanged without colours.
    #[must_use]
    pub fn paint(self, style: Style, text: &str) -> String {
        if self.colours { format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()) } else { text.to_owned() }
    }
}

/// `text` with control characters (but line feeds and tabs) shown by their escapes, so that foreign text cannot
/// steer the terminal.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |character: char| !character.is_control() || matches!(character, '\n' | '\t');
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if harmless(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
    }
    Cow::Owned(shown)
}

/// The rule of no-color.org, and no colours on a terminal that calls itself dumb.
fn wants_colours(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    let refused = no_color.is_some_and(|value| !value.is_empty());
    is_terminal && !refused && term != Some(OsStr::new("dumb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_need_a_terminal_and_nobody_who_objects() {
        fn check(is_terminal: bool, no_color: Option<&str>, term: Option<&str>, expect: bool) {
            let got = wants_colours(is_terminal, no_color.map(OsStr::new), term.map(OsStr::new));
            assert_eq!(got, expect, "{is_terminal} {no_color:?} {term:?}");
        }
        check(true, None, Some("xterm"), true);
        check(true, Some(""), None, true);
        check(true, Some("1"), Some("xterm"), false);
        check(true, None, Some("dumb"), false);
        check(false, None, Some("xterm"), false);
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        fn check(input: &str, expect: &str) {
            assert_eq!(printable(input), expect);
        }
        check("plain – text\n\tindented", "plain – text\n\tindented");
        check("a\u{1b}]0;title\u{7}b", "a\\u{1b}]0;title\\u{7}b");
        check("gone\rover", "gone\\rover");
        check("\u{9b}31m", "\\u{9b}31m");
    }

    #[test]
    fn paint_leaves_plain_text_alone() {
        assert_eq!(Palette::plain().paint(Style::Error, "x"), "x");
        assert_eq!(Palette::coloured().paint(Style::Error, "x"), "\u{1b}[1;31mx\u{1b}[0m");
    }
}
