//! What a log has where: its lines and its phases, so that no part of it has to be read to find another.
//!
//! An outline grows with its log, piece by piece, and says the same whatever the pieces were. That of a log that has
//! ended is kept in the file with it.

use serde::{Deserialize, Serialize};

/// Lines are counted up to every such place.
const STEP_BYTES: u64 = 64 << 10;

/// Phases of one log that are told apart; a build has some ten for each target. Whoever writes more marks than that
/// means something else with them.
const MARKS_MAX: usize = 500;

/// The part of a line that may be a mark; no name of a phase is as long.
const HEAD_BYTES_MAX: usize = 100;

/// How Boulder begins the lines of its own.
const MARK: &[u8] = b"==> ";

/// Where lines and phases of a log are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// Bytes that were looked at.
    size_bytes: u64,
    /// Ends of lines among them.
    ends: u64,
    /// Ends of lines before each multiple of [`STEP_BYTES`], from the first on.
    steps: Vec<u64>,
    marks: Vec<Mark>,
    /// Where the last line begins.
    line_begin: u64,
    /// How it begins.
    #[serde(skip)]
    head: Vec<u8>,
}

/// The begin of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where its first line begins.
    pub offset: u64,
    /// Number of that line, from 1.
    pub line: u64,
    /// What the phase is called.
    pub name: String,
}

impl Outline {
    /// Takes in the bytes that follow those of before.
    pub fn extend(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = HEAD_BYTES_MAX.saturating_sub(self.head.len());
            self.head.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
            // The steps within the piece have the same lines before them.
            let end = self.size_bytes + length(piece);
            while self.steps_end() < end {
                self.steps.push(self.ends);
            }
            self.size_bytes = end;
            if piece.ends_with(b"\n") {
                self.note_mark();
                self.ends += 1;
                self.line_begin = end;
                self.head.clear();
            }
        }
    }

    fn steps_end(&self) -> u64 {
        u64::try_from(self.steps.len()).unwrap_or(u64::MAX).saturating_mul(STEP_BYTES)
    }

    fn note_mark(&mut self) {
        if self.marks.len() < MARKS_MAX
            && let Some(name) = phase_name(&self.head)
        {
            self.marks.push(Mark { offset: self.line_begin, line: self.ends + 1, name });
        }
    }

    /// Bytes that were taken in.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Lines, the last one too when it has no end.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.ends + u64::from(self.line_begin < self.size_bytes)
    }

    /// The phases, the first one first.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// A place at or before `offset`, and the ends of lines before that place: those in between are to be counted.
    #[must_use]
    pub fn step_before_offset(&self, offset: u64) -> (u64, u64) {
        let wanted = usize::try_from(offset / STEP_BYTES).unwrap_or(usize::MAX);
        let index = wanted.min(self.steps.len().saturating_sub(1));
        self.step(index)
    }

    /// A place before which at most `line - 1` lines end, as near to the begin of line `line` as is known, and the ends of
    /// lines before that place.
    #[must_use]
    pub fn step_before_line(&self, line: u64) -> (u64, u64) {
        let after = self.steps.partition_point(|&ends| ends < line.saturating_sub(1));
        self.step(after.saturating_sub(1))
    }

    fn step(&self, index: usize) -> (u64, u64) {
        let offset = u64::try_from(index).unwrap_or(0) * STEP_BYTES;
        (offset, self.steps.get(index).copied().unwrap_or(0))
    }
}

/// The phase that a line begins, if it begins one.
#[must_use]
pub fn phase_name(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line.strip_prefix(MARK)?);
    let text = text.trim();
    let name = match text {
        "packaging" => text,
        _ => text.strip_prefix("phase ")?.trim(),
    };
    let name: String = name.chars().filter(|character| !character.is_control()).collect();
    (!name.is_empty()).then_some(name)
}

/// As a number that sizes of files are counted in.
pub(super) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(bytes: &[u8]) -> Outline {
        let mut outline = Outline::default();
        outline.extend(bytes);
        outline
    }

    #[test]
    fn phases_are_found_where_they_begin() {
        let outline = of(b"==> building nano\n==> root: a 1-1\n==> phase setup\nx\n ==> phase no\n==> phase build x86_64\r\n==> packaging\nend");
        let marks: Vec<_> =
            outline.marks().iter().map(|mark| (mark.offset, mark.line, mark.name.as_str())).collect();
        assert_eq!(marks, [(34, 3, "setup"), (66, 6, "build x86_64"), (90, 7, "packaging")]);
        assert_eq!((outline.lines(), outline.size_bytes()), (8, 107));
        assert_eq!(of(b"").lines(), 0);
        assert_eq!(of(b"\n").lines(), 1);
    }

    #[test]
    fn marks_without_end_are_bounded() {
        let outline = of(&b"==> phase x\n".repeat(MARKS_MAX + 7));
        assert_eq!(outline.marks().len(), MARKS_MAX);
        assert_eq!(of(&[b"==> phase ".as_slice(), &vec![b'y'; 1 << 20]].concat()).marks().len(), 0);
        let long = of(&[b"==> phase ".as_slice(), &vec![b'y'; 1 << 20], b"\n"].concat());
        assert_eq!(long.marks()[0].name.len(), HEAD_BYTES_MAX - 10);
    }

    #[test]
    fn lines_are_counted_up_to_every_step() {
        let line = [b'x'; 99].iter().copied().chain([b'\n']).collect::<Vec<u8>>();
        let outline = of(&line.repeat(10_000));
        for wanted in [1, 2, 655, 656, 657, 5_000, 10_000] {
            let (offset, ends) = outline.step_before_line(wanted);
            assert!(ends < wanted && offset <= (wanted - 1) * 100, "{wanted}: {offset} {ends}");
            assert!((wanted - 1) * 100 - offset <= 2 * STEP_BYTES, "{wanted}: {offset} {ends}");
            assert_eq!(ends, offset / 100, "{wanted}");
        }
        assert_eq!(outline.step_before_offset(STEP_BYTES + 5), (STEP_BYTES, STEP_BYTES / 100));
        assert_eq!(outline.step_before_offset(u64::MAX).0, 1_000_000 / STEP_BYTES * STEP_BYTES);
        assert_eq!(of(b"").step_before_offset(9), (0, 0));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            words in prop::collection::vec(prop::sample::select(vec!["a", "\n", "==> phase b\n", "==> ", "phase ", "\0", "é"]), 0..60),
            cuts in prop::collection::vec(0..200_usize, 0..8),
        ) {
            let bytes = words.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut outline = Outline::default();
            let mut begin = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                outline.extend(&bytes[begin..cut]);
                begin = cut;
            }
            prop_assert_eq!(outline, of(&bytes));
        }
    }
}
