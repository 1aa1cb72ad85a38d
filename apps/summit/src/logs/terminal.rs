//! What a terminal would show at the end of each line: text in colours, after carriage returns and erasures.
//!
//! Sequences are parsed by `anstyle-parse`; of what they ask for, only this is done: colours and styles (SGR), moves within
//! the line, erasing within the line. Titles, links, cursor moves to other lines, modes, and whatever else a program may
//! send are left out. Each line is parsed by itself, so a sequence without an end hides no other line.

use anstyle_parse::{DefaultCharAccumulator, Params, Parser, Perform};

/// Columns that moves of the cursor reach. Terminals are narrower; text may be longer.
const COLUMNS_MAX: usize = 4096;

/// Columns between tab stops.
const TAB_COLUMNS: usize = 8;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Colour of the text, as a number of the palette of 256.
    pub foreground: Option<u8>,
    /// Colour behind it.
    pub background: Option<u8>,
    /// Bold.
    pub bold: bool,
    /// Dim.
    pub dim: bool,
    /// Italic.
    pub italic: bool,
    /// Underlined.
    pub underlined: bool,
    /// Struck through.
    pub struck: bool,
    /// Both colours exchanged.
    pub inverse: bool,
}

/// Text in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The text; it holds no control character.
    pub text: String,
    /// How it looks.
    pub style: Style,
}

/// Shows lines one after the other. Colours go on from line to line.
#[derive(Debug, Clone, Default)]
pub struct Terminal {
    style: Style,
}

impl Terminal {
    /// What is to be seen of a line, or of a part of one, with or without its end.
    pub fn show(&mut self, line: &[u8]) -> Vec<Span> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Before the parser: it would take bytes that follow invalid ones for a part of them.
        let text = String::from_utf8_lossy(line);
        if !text.chars().any(is_special) {
            return match text.is_empty() {
                true => Vec::new(),
                false => vec![Span { text: text.into_owned(), style: self.style }],
            };
        }
        let mut screen = Screen { cells: Vec::new(), column: 0, style: self.style };
        let mut parser = Parser::<DefaultCharAccumulator>::new();
        for byte in text.bytes() {
            parser.advance(&mut screen, byte);
        }
        self.style = screen.style;
        screen.spans()
    }

    /// The text alone.
    pub fn text(line: &[u8]) -> String {
        Terminal::default().show(line).into_iter().map(|span| span.text).collect()
    }
}

/// Whether a character is more than itself.
fn is_special(character: char) -> bool {
    character.is_control() || turns_text(character)
}

/// Characters that change the direction of others and so show text that is not there (Unicode, UAX 9).
fn turns_text(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

struct Screen {
    cells: Vec<(char, Style)>,
    column: usize,
    style: Style,
}

impl Screen {
    fn spans(self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for (character, style) in self.cells {
            match spans.last_mut() {
                Some(span) if span.style == style => span.text.push(character),
                _ => spans.push(Span { text: character.to_string(), style }),
            }
        }
        spans
    }

    fn move_to(&mut self, column: usize) {
        // Text itself may go further than moves do.
        self.column = column.min(COLUMNS_MAX.max(self.cells.len()));
    }

    fn put(&mut self, character: char) {
        if self.cells.len() < self.column {
            self.cells.resize(self.column, (' ', Style::default()));
        }
        match self.cells.get_mut(self.column) {
            Some(cell) => *cell = (character, self.style),
            None => self.cells.push((character, self.style)),
        }
        self.column += 1;
    }

    /// As CSI K does; the part to the right also as CSI J does.
    fn erase(&mut self, part: u16) {
        match part {
            0 => self.cells.truncate(self.column),
            1 => {
                for cell in self.cells.iter_mut().take(self.column + 1) {
                    *cell = (' ', Style::default());
                }
            }
            2 => self.cells.clear(),
            _ => {}
        }
    }

    fn set_style(&mut self, params: &Params) {
        if params.is_empty() {
            self.style = Style::default();
        }
        let mut params = params.iter();
        while let Some(param) = params.next() {
            let style = &mut self.style;
            match param.first().copied().unwrap_or(0) {
                0 => *style = Style::default(),
                1 => style.bold = true,
                2 => style.dim = true,
                3 => style.italic = true,
                4 => style.underlined = param.get(1) != Some(&0),
                7 => style.inverse = true,
                9 => style.struck = true,
                22 => (style.bold, style.dim) = (false, false),
                23 => style.italic = false,
                24 => style.underlined = false,
                27 => style.inverse = false,
                29 => style.struck = false,
                code @ 30..=37 => style.foreground = low(code - 30),
                code @ 90..=97 => style.foreground = low(code - 90 + 8),
                code @ 40..=47 => style.background = low(code - 40),
                code @ 100..=107 => style.background = low(code - 100 + 8),
                38 => style.foreground = colour(param, &mut params).or(style.foreground),
                48 => style.background = colour(param, &mut params).or(style.background),
                39 => style.foreground = None,
                49 => style.background = None,
                _ => {}
            }
        }
    }
}

impl Perform for Screen {
    fn print(&mut self, character: char) {
        if turns_text(character) {
            self.put(char::REPLACEMENT_CHARACTER);
        } else if !character.is_control() {
            self.put(character);
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\r' => self.column = 0,
            0x08 => self.column = self.column.saturating_sub(1),
            b'\t' => {
                let stop = (self.column / TAB_COLUMNS + 1) * TAB_COLUMNS;
                // Spaces are written as well, so that what is copied keeps its columns.
                while self.column < stop && self.column >= self.cells.len() {
                    self.put(' ');
                }
                self.column = stop;
            }
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: u8) {
        if ignore || !intermediates.is_empty() {
            return;
        }
        let first = params.iter().next().and_then(|param| param.first().copied()).unwrap_or(0);
        let count = usize::from(first.max(1));
        match action {
            b'm' => self.set_style(params),
            b'K' => self.erase(first),
            b'J' if first == 0 || first == 2 => self.erase(first),
            b'C' => self.move_to(self.column.saturating_add(count)),
            b'D' => self.column = self.column.saturating_sub(count),
            b'G' => self.move_to(count - 1),
            _ => {}
        }
    }
}

fn low(code: u16) -> Option<u8> {
    u8::try_from(code).ok()
}

/// The colour that follows a 38 or 48: `5;N`, `2;R;G;B`, or the same with colons.
fn colour<'a>(param: &[u16], params: &mut impl Iterator<Item = &'a [u16]>) -> Option<u8> {
    let mut next = || params.next().and_then(|param| param.first().copied());
    match param.get(1..).unwrap_or_default() {
        [] => match next()? {
            5 => low(next()?),
            2 => {
                let (red, green, blue) = (next()?, next()?, next()?);
                Some(nearest(low(red)?, low(green)?, low(blue)?))
            }
            _ => None,
        },
        [5, number, ..] => low(*number),
        [2, red, green, blue] | [2, _, red, green, blue, ..] => {
            Some(nearest(low(*red)?, low(*green)?, low(*blue)?))
        }
        _ => None,
    }
}

/// Steps of red, green and blue in the cube of the palette, and where its greys are: those of xterm.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];
const CUBE_BEGIN: u8 = 16;
const GREYS_BEGIN: u8 = 232;

/// Red, green and blue of a colour from 16 on.
#[must_use]
pub fn components(colour: u8) -> [u8; 3] {
    if let Some(grey) = colour.checked_sub(GREYS_BEGIN) {
        return [8 + 10 * grey; 3];
    }
    let place = colour.saturating_sub(CUBE_BEGIN);
    [place / 36, place / 6 % 6, place % 6].map(|step| CUBE.get(usize::from(step)).copied().unwrap_or(0))
}

/// The colour of the palette that is nearest: a strict content policy lets no page name one of its own.
fn nearest(red: u8, green: u8, blue: u8) -> u8 {
    let distance = |colour: u8| -> u32 {
        let pairs = components(colour).into_iter().zip([red, green, blue]);
        pairs.map(|(one, other)| u32::from(one.abs_diff(other)).pow(2)).sum()
    };
    (CUBE_BEGIN..=u8::MAX).min_by_key(|&colour| distance(colour)).unwrap_or(CUBE_BEGIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(line: &str) -> String {
        Terminal::text(line.as_bytes())
    }

    #[test]
    fn a_line_shows_what_a_terminal_shows_at_its_end() {
        for (line, expect) in [
            ("plain\n", "plain"),
            ("dos\r\n", "dos"),
            ("10%\r50%\r100%\n", "100%"),
            ("100% done\r50%\n", "50%% done"),
            ("100% done\r\x1b[K50%\n", "50%"),
            ("100% done\x1b[2K\r50%\n", "50%"),
            ("[#   ]\x08\x08\x08\x08##", "[### ]"),
            ("a\tb", "a       b"),
            ("ab\x1b[10Gcd", "ab       cd"),
            ("abc\x1b[2DX", "aXc"),
            ("a\x1b[3Cb", "a   b"),
            ("\x1b]0;title\x07x", "x"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b[?25lhidden cursor\x1b[?25h", "hidden cursor"),
            ("\x1b[5A\x1b[1;1Hup", "up"),
            ("a\0b\x07c", "abc"),
            ("\x1b", ""),
            ("\x1b[", ""),
            ("\x1b]0;without an end", ""),
            ("\x1bPq#0;2;0;0;0\x1b\\x", "x"),
            ("\u{9b}31mx", "31mx"),
            ("abc\u{202e}cba\u{2066}", "abc\u{fffd}cba\u{fffd}"),
            ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ] {
            assert_eq!(text(line), expect, "{line:?}");
        }
        assert_eq!(Terminal::text(b"\xff\xfe<b\xc3"), "\u{fffd}\u{fffd}<b\u{fffd}", "no byte is swallowed");
    }

    #[test]
    fn colours_are_those_that_were_asked_for() {
        let style = |sequence: &str| {
            let mut terminal = Terminal::default();
            terminal.show(format!("\x1b[{sequence}mx").as_bytes())[0].style
        };
        let foreground = |number| Style { foreground: Some(number), ..Style::default() };
        for (sequence, expect) in [
            ("31", foreground(1)),
            ("97", foreground(15)),
            ("38;5;208", foreground(208)),
            ("38:5:208", foreground(208)),
            ("38;2;255;135;0", foreground(208)),
            ("38:2::255:135:0", foreground(208)),
            ("38:2:255:135:0", foreground(208)),
            ("38;2;8;8;8", foreground(232)),
            ("38;5;300", Style::default()),
            ("38;5", Style::default()),
            ("31;39", Style::default()),
            ("1;31;0", Style::default()),
            ("", Style::default()),
            ("48;5;17", Style { background: Some(17), ..Style::default() }),
            ("102", Style { background: Some(10), ..Style::default() }),
            (
                "1;4;7;9;3;2",
                Style {
                    bold: true,
                    underlined: true,
                    inverse: true,
                    struck: true,
                    italic: true,
                    dim: true,
                    ..Style::default()
                },
            ),
            ("1;2;3;4;7;9;22;23;24;27;29", Style::default()),
            ("8;5;6;53;999", Style::default()),
        ] {
            assert_eq!(style(sequence), expect, "{sequence}");
        }
    }

    #[test]
    fn colours_go_on_in_the_next_line_and_unfinished_sequences_do_not() {
        let mut terminal = Terminal::default();
        terminal.show(b"\x1b[31mred\n");
        assert_eq!(terminal.show(b"also\n")[0].style.foreground, Some(1));
        terminal.show(b"\x1b]0;swallow\n");
        assert_eq!(terminal.show(b"seen\x1b[0m\n")[0].text, "seen");
        assert_eq!(terminal.show(b"plain\n")[0].style, Style::default());
    }

    proptest! {
        #[test]
        fn nothing_but_text_comes_out_and_never_more_than_went_in(
            words in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..6),
                prop::sample::select(vec![
                    b"\x1b[".to_vec(), b"\x1b]".to_vec(), b"65535C".to_vec(), b"31m".to_vec(), b"\r".to_vec(), b"\x1bP".to_vec(),
                    b"38;2;1;2;3m".to_vec(), b"\x1b[K".to_vec(), b"\x1b[9999G".to_vec(), b"<b>".to_vec(), b"\t".to_vec(),
                ]),
            ], 0..80),
        ) {
            let bytes = words.concat();
            let mut terminal = Terminal::default();
            let shown: usize = bytes
                .split_inclusive(|&byte| byte == b'\n')
                .map(|line| {
                    let spans = terminal.show(line);
                    for span in &spans {
                        assert!(!span.text.chars().any(is_special), "{span:?}");
                        assert!(!span.text.is_empty());
                    }
                    spans.iter().map(|span| span.text.chars().count()).sum::<usize>()
                })
                .sum();
            let lines = bytes.split(|&byte| byte == b'\n').count();
            prop_assert!(shown <= bytes.len() * TAB_COLUMNS + lines * (COLUMNS_MAX + TAB_COLUMNS));
        }
    }
}
