//! Sizes as people write them: `32G`, `512M`, `1.5T` is not one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A number of bytes, written with a binary unit: `32G` is 32 times 2^30 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no size; write it like 512M, 32G or 2T")]
pub struct NoSize {
    text: String,
}

impl FromStr for ByteSize {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NoSize { text: text.to_owned() };
        let unit = text.trim_end_matches('B').trim_end_matches('i');
        let (digits, shift) = match unit.strip_suffix(['K', 'k']) {
            Some(digits) => (digits, 10),
            None => match unit.char_indices().last() {
                Some((end, 'M')) => (&unit[..end], 20),
                Some((end, 'G')) => (&unit[..end], 30),
                Some((end, 'T')) => (&unit[..end], 40),
                _ => (unit, 0),
            },
        };
        let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(ByteSize).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a size such as \"32G\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<ByteSize, E> {
                u64::try_from(number).map(ByteSize).map_err(|_| E::custom("a size is not negative"))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, expect) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("4k", Some(4096)),
            ("512M", Some(512 << 20)),
            ("32G", Some(32 << 30)),
            ("32 GiB", Some(32 << 30)),
            ("2TB", Some(2 << 40)),
            ("", None),
            ("G", None),
            ("-1G", None),
            ("1.5G", None),
            ("99999999T", None),
            ("5 parrots", None),
        ] {
            assert_eq!(text.parse().ok(), expect.map(ByteSize), "{text}");
        }
    }
}
