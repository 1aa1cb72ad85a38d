//! Reading the short texts in which builders and faults are given.

use fault::{Fault, Kind};

/// Why a text cannot be used, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {what}: expected {expected} at character {position}, found {found}")]
pub struct SpecError {
    /// What the text was to be.
    pub what: &'static str,
    /// Place of the trouble in the text, in characters, from 1.
    pub position: usize,
    /// What could stand there.
    pub expected: String,
    /// What stands there.
    pub found: String,
    /// A text that can be used.
    pub example: &'static str,
}

impl Fault for SpecError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        vec![format!("write it like {}", self.example)]
    }
}

/// A text and how far it has been read.
#[derive(Debug)]
pub(super) struct Cursor<'t> {
    what: &'static str,
    example: &'static str,
    text: &'t str,
    read: usize,
}

/// Characters of the offending text that an error repeats.
const FOUND_CHARACTERS_MAX: usize = 24;

impl<'t> Cursor<'t> {
    pub(super) fn new(what: &'static str, example: &'static str, text: &'t str) -> Self {
        Self { what, example, text, read: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.read >= self.text.len()
    }

    pub(super) fn place(&self) -> usize {
        self.read
    }

    /// Everything up to the next of `ends` or the end of the text; not the end itself.
    pub(super) fn word(&mut self, ends: &[char]) -> &'t str {
        let rest = &self.text[self.read..];
        let length = rest.find(ends).unwrap_or(rest.len());
        self.read += length;
        &rest[..length]
    }

    /// Steps over `wanted`.
    pub(super) fn expect(&mut self, wanted: char, meaning: &str) -> Result<(), SpecError> {
        if self.text[self.read..].starts_with(wanted) {
            self.read += wanted.len_utf8();
            return Ok(());
        }
        Err(self.error(self.read, &format!("{wanted:?} {meaning}")))
    }

    /// Steps over `wanted` if it comes next.
    pub(super) fn accept(&mut self, wanted: char) -> bool {
        self.expect(wanted, "").is_ok()
    }

    /// A value that `read` understands.
    pub(super) fn value<T>(
        &mut self,
        ends: &[char],
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, SpecError> {
        let start = self.read;
        let word = self.word(ends);
        read(word).ok_or_else(|| self.error_about(start, expected, word))
    }

    pub(super) fn error(&self, start: usize, expected: &str) -> SpecError {
        self.error_about(start, expected, self.text.get(start..).unwrap_or_default())
    }

    fn error_about(&self, start: usize, expected: &str, found: &str) -> SpecError {
        let shown: String = found.chars().take(FOUND_CHARACTERS_MAX).collect();
        SpecError {
            what: self.what,
            position: self.text.get(..start).unwrap_or_default().chars().count() + 1,
            expected: expected.to_owned(),
            found: if shown.is_empty() { "nothing".to_owned() } else { format!("{shown:?}") },
            example: self.example,
        }
    }
}

/// A decimal number without sign or exponent, within `from ..= to`.
pub(super) fn decimal(text: &str, from: f64, to: f64) -> Option<f64> {
    let plain = !text.is_empty() && text.chars().all(|sign| sign.is_ascii_digit() || sign == '.');
    let value: f64 = text.parse().ok().filter(|_| plain)?;
    (from..=to).contains(&value).then_some(value)
}

/// Digits and a unit letter, `K`, `M`, `G` or `T` of 1024 each; bare digits are bytes.
pub(super) fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|sign: char| sign.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    plain_number(digits)?.checked_mul(1 << shift)
}

/// Digits and a unit letter, `s`, `m`, `h` or `d`; in milliseconds, at least one second.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|sign: char| sign.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    plain_number(digits)?.checked_mul(unit_ms).filter(|&duration| duration > 0)
}

pub(super) fn plain_number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        for (text, expect) in [
            ("64G", Some(64 << 30)),
            ("64g", Some(64 << 30)),
            ("512M", Some(512 << 20)),
            ("3K", Some(3 << 10)),
            ("2T", Some(2 << 40)),
            ("1000", Some(1000)),
            ("", None),
            ("G", None),
            ("-1G", None),
            ("+1G", None),
            ("1.5G", None),
            ("64GB", None),
            ("99999999999999T", None),
        ] {
            assert_eq!(size_bytes(text), expect, "{text:?}");
        }
        for (text, expect) in [
            ("6h", Some(21_600_000)),
            ("10m", Some(600_000)),
            ("90s", Some(90_000)),
            ("2d", Some(172_800_000)),
            ("0s", None),
            ("6", None),
            ("h", None),
            ("6H", None),
            ("99999999999999999d", None),
        ] {
            assert_eq!(duration_ms(text), expect, "{text:?}");
        }
    }

    #[test]
    fn decimals_are_plain() {
        for (text, expect) in [
            ("0.5", Some(0.5)),
            ("1", Some(1.0)),
            (".5", Some(0.5)),
            ("1e0", None),
            ("-1", None),
            ("inf", None),
            ("nan", None),
            (".", None),
            ("7", None),
        ] {
            assert_eq!(decimal(text, 0.0, 5.0), expect, "{text:?}");
        }
    }
}
