//! Compressed twins of small files that change: which encoding a reader takes, and the bytes in it.
//!
//! Twins are made here from the file that is served, and remembered by its entity tag, so that a twin is never of another
//! version than the file. Packages and indexes are compressed inside: compressing them again saves nothing.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use hyper::header::{ACCEPT_ENCODING, HeaderMap};

/// Largest file that gets twins: the pointer of a channel with some 50,000 histories.
pub(crate) const FILE_SIZE_BYTES_MAX: u64 = 4 << 20;

/// Twins that are remembered: two for the pointer of each of some thirty channels. When there are more, all are made anew.
const TWINS_MAX: usize = 64;

/// A pointer is compressed once for each version: of its bytes the highest level would save a fifth, for a hundred times
/// the work.
const ZSTD_LEVEL: i32 = 9;

/// An encoding that files are served in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Encoding {
    /// Zstandard, RFC 8878.
    Zstd,
    /// What every reader knows.
    Gzip,
}

impl Encoding {
    /// Its name in `Content-Encoding`, and in entity tags.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::Zstd => "zstd",
            Encoding::Gzip => "gzip",
        }
    }

    /// The one that a reader likes best; of two that it likes the same, the smaller. None where it names neither: what a
    /// reader can do without is not forced on it.
    pub(crate) fn asked(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let offers: Vec<(&str, u16)> = values.flat_map(|value| value.split(',')).map(offer).collect();
        let weight = |encoding: Encoding| {
            let named = offers.iter().find(|(name, _)| name.eq_ignore_ascii_case(encoding.name()));
            named.or_else(|| offers.iter().find(|(name, _)| *name == "*")).map_or(0, |(_, weight)| *weight)
        };
        let identity = offers.iter().find(|(name, _)| name.eq_ignore_ascii_case("identity"));
        let least = identity.map_or(1, |(_, weight)| (*weight).max(1));
        // The first of two that weigh the same stays, as the list begins with the smaller one.
        let mut best: Option<(Encoding, u16)> = None;
        for encoding in [Encoding::Zstd, Encoding::Gzip] {
            let weight = weight(encoding);
            if weight >= least && best.is_none_or(|(_, most)| weight > most) {
                best = Some((encoding, weight));
            }
        }
        best.map(|(encoding, _)| encoding)
    }

    fn encode(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Encoding::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL),
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }
}

/// One element of `Accept-Encoding`: its name, and its weight in thousandths.
fn offer(text: &str) -> (&str, u16) {
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let weight = parameters.trim().strip_prefix("q=").or_else(|| parameters.trim().strip_prefix("Q="));
    let thousandths = match weight {
        None => 1000,
        Some(weight) => match weight.split_once('.').unwrap_or((weight, "")) {
            ("1", _) => 1000,
            ("0", digits) if digits.len() <= 3 => format!("{digits:0<3}").parse().unwrap_or(0),
            _ => 0,
        },
    };
    (name.trim(), thousandths)
}

/// The twins that were made.
#[derive(Debug, Default)]
pub(crate) struct Twins(Mutex<BTreeMap<(String, Encoding), (String, Bytes)>>);

impl Twins {
    /// The twin of the file at `path`, if it was made of the version with this entity tag.
    pub(crate) fn known(&self, path: &str, encoding: Encoding, tag: &str) -> Option<Bytes> {
        let twins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, bytes) = twins.get(&(path.to_owned(), encoding))?;
        (of == tag).then(|| bytes.clone())
    }

    /// Makes the twin of these bytes and remembers it.
    pub(crate) fn make(
        &self,
        path: &str,
        encoding: Encoding,
        tag: String,
        bytes: &[u8],
    ) -> io::Result<Bytes> {
        let twin = Bytes::from(encoding.encode(bytes)?);
        let mut twins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (path.to_owned(), encoding);
        if twins.len() >= TWINS_MAX && !twins.contains_key(&key) {
            twins.clear();
        }
        twins.insert(key, (tag, twin.clone()));
        Ok(twin)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_reader_chooses() {
        fn check(values: &[&str], expect: Option<Encoding>) {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT_ENCODING, value.parse().unwrap());
            }
            assert_eq!(Encoding::asked(&headers), expect, "{values:?}");
        }
        use Encoding::{Gzip, Zstd};
        check(&[], None);
        check(&[""], None);
        check(&["identity"], None);
        check(&["gzip, deflate, br, zstd"], Some(Zstd));
        check(&["gzip;q=1.0, zstd;q=0.5"], Some(Gzip));
        check(&["zstd;q=0, gzip;q=0.001"], Some(Gzip));
        check(&["zstd;q=0, *"], Some(Gzip));
        check(&["*"], Some(Zstd));
        check(&["*;q=0"], None);
        check(&["identity, zstd;q=0.9"], None);
        check(&["identity;q=0.5", "ZSTD;q=0.9"], Some(Zstd));
        check(&["identity;q=0, gzip"], Some(Gzip));
        check(&["gzip;q=nonsense"], None);
        check(&["gzip;q=0.00001"], None);
        check(&["br"], None);
    }

    #[test]
    fn a_twin_is_of_the_version_it_was_made_of() {
        let twins = Twins::default();
        let text = b"pointer ".repeat(100);
        let zstd = twins.make("main/p.json", Encoding::Zstd, "\"1\"".into(), &text).unwrap();
        assert_eq!(zstd::bulk::decompress(&zstd, 1000).unwrap(), text);
        let gzip = twins.make("main/p.json", Encoding::Gzip, "\"1\"".into(), &text).unwrap();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, text);
        assert_eq!(twins.known("main/p.json", Encoding::Zstd, "\"1\""), Some(zstd));
        assert_eq!(twins.known("main/p.json", Encoding::Zstd, "\"2\""), None);
        assert_eq!(twins.known("main/q.json", Encoding::Zstd, "\"1\""), None);
        for number in 0..2 * TWINS_MAX {
            twins.make(&number.to_string(), Encoding::Gzip, "\"1\"".into(), &text).unwrap();
        }
        assert!(twins.0.lock().unwrap().len() <= TWINS_MAX);
    }
}
