//! Decides the head of an answer from what was asked and what the file is: status, headers, and which bytes follow.
//!
//! Pure, so that every combination fits in a table test. The order of the checks is that of RFC 9110, section 13.2.2.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, VARY,
};
use hyper::{Method, StatusCode};
use store::Labels;

use super::encoding::Encoding;

/// What Fastly and Varnish know an answer by when it is to be purged.
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// The same for Cloudflare.
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// For what never changes under its name: pool and histories. A year is the longest that RFC 9111 readers honour.
pub(crate) const CACHE_FOREVER: &str = "public, max-age=31536000, immutable";

/// For everything that is made for the asker.
pub(crate) const CACHE_NEVER: &str = "no-store";

/// How long the bytes under a path stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Objects and histories: published bytes never change.
    Forever,
    /// The pointer and its compressed copy.
    Pointer,
}

impl Lifetime {
    /// Of the file at this path below the public folder, `<channel>/…`.
    pub(crate) fn of(components: &[String]) -> Self {
        match components.get(1).map(String::as_str) {
            Some("pool" | "history" | "build" | "release") => Lifetime::Forever,
            _ => Lifetime::Pointer,
        }
    }
}

/// What a bucket tells of the object at this path, where readers get it from there: the same as the server here. `pointer` is what
/// caches are told of pointers.
pub(crate) fn labels(path: &str, pointer: &str) -> Labels {
    let components: Vec<String> = path.split('/').map(str::to_owned).collect();
    let name = components.last().map_or("", String::as_str);
    let cache_control = match Lifetime::of(&components) {
        Lifetime::Forever => CACHE_FOREVER.into(),
        Lifetime::Pointer => pointer.to_owned().into(),
    };
    Labels { content_type: content_type(name), cache_control }
}

/// What is known of a file before its bytes are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFacts {
    pub(crate) size_bytes: u64,
    pub(crate) modified: SystemTime,
    /// Tells versions of the file apart: equal tags mean equal bytes.
    pub(crate) tag: String,
    pub(crate) content_type: &'static str,
    pub(crate) lifetime: Lifetime,
    /// What caches know it by: the channel, and the part of it.
    pub(crate) keys: Vec<String>,
    /// How the bytes that are served are compressed.
    pub(crate) encoding: Option<Encoding>,
}

impl FileFacts {
    /// Whether there are compressed twins of it: of small text that changes. What stays for ever is compressed inside.
    pub(crate) fn has_twins(&self) -> bool {
        self.lifetime == Lifetime::Pointer
            && self.content_type == "application/json"
            && self.size_bytes <= super::encoding::FILE_SIZE_BYTES_MAX
    }

    /// A strong entity tag; that of a twin differs from that of the file.
    pub(crate) fn entity_tag(&self) -> String {
        match self.encoding {
            None => format!("\"{}\"", self.tag),
            Some(encoding) => format!("\"{}-{}\"", self.tag, encoding.name()),
        }
    }

    /// The facts of the twin in this encoding.
    pub(crate) fn twin(&self, encoding: Encoding, size_bytes: u64) -> Self {
        Self { size_bytes, encoding: Some(encoding), ..self.clone() }
    }
}

/// What caches know the file at these components by: its channel, and within it the pointer, a history, or the pool.
pub(crate) fn surrogate_keys(components: &[String]) -> Vec<String> {
    let (Some(channel), below) = (components.first(), components.get(1..).unwrap_or_default()) else {
        return Vec::new();
    };
    let part = match below {
        [history, id, ..] if history == "history" => format!("{channel}/history/{id}"),
        [folder, _, ..] if matches!(folder.as_str(), "pool" | "build" | "release") => {
            format!("{channel}/{folder}")
        }
        _ => format!("{channel}/pointer"),
    };
    vec![channel.clone(), part]
}

/// Says what caches know an answer by.
pub(crate) fn put_keys(headers: &mut HeaderMap, keys: &[String]) {
    if !keys.is_empty() {
        put(headers, SURROGATE_KEY, &keys.join(" "));
        put(headers, CACHE_TAG, &keys.join(","));
    }
}

/// The head of an answer and the bytes of the file that follow it, if any.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Bytes to send; none for HEAD and for answers without the file.
    pub(crate) body: Option<Range<u64>>,
}

/// The type by the name of the file.
pub(crate) fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("stone") => "application/x-stone-binary",
        Some("index") => "application/x-stone-repository",
        Some("json") => "application/json",
        Some("zst") => "application/zstd",
        _ => "application/octet-stream",
    }
}

/// Answers GET or HEAD of a file that exists; `pointer` is what caches are told of pointers.
pub(crate) fn answer(method: &Method, asked: &HeaderMap, file: &FileFacts, pointer: &str) -> Head {
    let tag = file.entity_tag();
    let mut headers = HeaderMap::new();
    let cache_control = match file.lifetime {
        Lifetime::Forever => CACHE_FOREVER,
        Lifetime::Pointer => pointer,
    };
    put(&mut headers, CACHE_CONTROL, cache_control);
    put(&mut headers, ETAG, &tag);
    put(&mut headers, LAST_MODIFIED, &httpdate::fmt_http_date(file.modified));
    put_keys(&mut headers, &file.keys);
    if file.has_twins() {
        put(&mut headers, VARY, "accept-encoding");
    }
    if is_other(asked, &tag, file.modified) {
        put(&mut headers, CACHE_CONTROL, CACHE_NEVER);
        put(&mut headers, CONTENT_LENGTH, "0");
        return Head { status: StatusCode::PRECONDITION_FAILED, headers, body: None };
    }
    if is_unchanged(asked, &tag, file.modified) {
        return Head { status: StatusCode::NOT_MODIFIED, headers, body: None };
    }
    put(&mut headers, ACCEPT_RANGES, "bytes");
    put(&mut headers, CONTENT_TYPE, file.content_type);
    if let Some(encoding) = file.encoding {
        put(&mut headers, CONTENT_ENCODING, encoding.name());
    }
    let part = if method == Method::GET { part_asked(asked, &tag, file) } else { Part::Whole };
    match part {
        Part::Whole => {
            put(&mut headers, CONTENT_LENGTH, &file.size_bytes.to_string());
            let body = (method == Method::GET).then_some(0..file.size_bytes);
            Head { status: StatusCode::OK, headers, body }
        }
        Part::Some(range) => {
            put(&mut headers, CONTENT_LENGTH, &(range.end - range.start).to_string());
            let value = format!("bytes {}-{}/{}", range.start, range.end - 1, file.size_bytes);
            put(&mut headers, CONTENT_RANGE, &value);
            Head { status: StatusCode::PARTIAL_CONTENT, headers, body: Some(range) }
        }
        Part::None => {
            headers.remove(CONTENT_TYPE);
            headers.remove(CONTENT_ENCODING);
            // Of a file that grows tomorrow the range may be there.
            put(&mut headers, CACHE_CONTROL, CACHE_NEVER);
            put(&mut headers, CONTENT_LENGTH, "0");
            put(&mut headers, CONTENT_RANGE, &format!("bytes */{}", file.size_bytes));
            Head { status: StatusCode::RANGE_NOT_SATISFIABLE, headers, body: None }
        }
    }
}

/// Sets a header; every value here is made of visible ASCII.
pub(crate) fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether the reader wants another version than this one. If-Unmodified-Since counts only where there is no If-Match.
fn is_other(asked: &HeaderMap, tag: &str, modified: SystemTime) -> bool {
    if asked.contains_key(IF_MATCH) {
        // Compared strongly: a weak tag matches nothing.
        return !tags(asked, IF_MATCH).any(|candidate| candidate == "*" || candidate == tag);
    }
    let since = text(asked, IF_UNMODIFIED_SINCE).and_then(|date| httpdate::parse_http_date(date).ok());
    since.is_some_and(|since| whole_seconds(modified) > whole_seconds(since))
}

/// The entity tags of a header.
fn tags(asked: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = asked.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether the reader has these bytes already. If-Modified-Since counts only where there is no If-None-Match.
fn is_unchanged(asked: &HeaderMap, tag: &str, modified: SystemTime) -> bool {
    if asked.contains_key(IF_NONE_MATCH) {
        return tags(asked, IF_NONE_MATCH)
            .any(|candidate| candidate == "*" || candidate.trim_start_matches("W/") == tag);
    }
    let Some(since) = text(asked, IF_MODIFIED_SINCE).and_then(|date| httpdate::parse_http_date(date).ok())
    else {
        return false;
    };
    whole_seconds(modified) <= whole_seconds(since)
}

enum Part {
    Whole,
    Some(Range<u64>),
    None,
}

/// One range of bytes. Several, another unit, or one that makes no sense are answered with the whole file, as
/// RFC 9110, section 14.2, allows.
fn part_asked(asked: &HeaderMap, tag: &str, file: &FileFacts) -> Part {
    let Some(range) = text(asked, RANGE).and_then(|value| value.strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    if asked.contains_key(IF_RANGE) && text(asked, IF_RANGE) != Some(tag) {
        return Part::Whole;
    }
    let Some((first, last)) = range.trim().split_once('-') else { return Part::Whole };
    let size_bytes = file.size_bytes;
    let (start, end) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(size_bytes)),
        (Some(first), None) if last.is_empty() => (first, size_bytes),
        (None, Some(length)) if first.is_empty() => (size_bytes.saturating_sub(length), size_bytes),
        _ => return Part::Whole,
    };
    if start < end { Part::Some(start..end) } else { Part::None }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Digits only: `u64::from_str` would take a sign.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// HTTP dates have no fractions.
fn whole_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"64-7\"";
    const POINTER: &str = "public, max-age=60";

    fn file() -> FileFacts {
        FileFacts {
            size_bytes: 100,
            modified: UNIX_EPOCH + Duration::from_secs(100),
            tag: "64-7".into(),
            content_type: content_type("a.stone"),
            lifetime: Lifetime::Forever,
            keys: vec!["main".into(), "main/pool".into()],
            encoding: None,
        }
    }

    fn asked(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn check(
        pairs: &[(HeaderName, &str)],
        status: u16,
        body: Option<Range<u64>>,
        content_range: Option<&str>,
    ) {
        let head = answer(&Method::GET, &asked(pairs), &file(), POINTER);
        assert_eq!((head.status.as_u16(), head.body.clone()), (status, body), "{pairs:?}");
        assert_eq!(text(&head.headers, CONTENT_RANGE), content_range, "{pairs:?}");
        assert_eq!(text(&head.headers, ETAG), Some(TAG));
        let cache = if [412, 416].contains(&status) { CACHE_NEVER } else { CACHE_FOREVER };
        assert_eq!(text(&head.headers, CACHE_CONTROL), Some(cache));
        assert_eq!(text(&head.headers, SURROGATE_KEY), Some("main main/pool"));
        let length: Option<u64> = text(&head.headers, CONTENT_LENGTH).map(|value| value.parse().unwrap());
        let expected =
            if status == 304 { None } else { Some(head.body.map_or(0, |range| range.end - range.start)) };
        assert_eq!(length, expected, "{pairs:?}");
    }

    #[test]
    fn ranges() {
        check(&[], 200, Some(0..100), None);
        check(&[(RANGE, "bytes=0-9")], 206, Some(0..10), Some("bytes 0-9/100"));
        check(&[(RANGE, "bytes=90-")], 206, Some(90..100), Some("bytes 90-99/100"));
        check(&[(RANGE, "bytes=90-1000")], 206, Some(90..100), Some("bytes 90-99/100"));
        check(&[(RANGE, "bytes=-1")], 206, Some(99..100), Some("bytes 99-99/100"));
        check(&[(RANGE, "bytes=-1000")], 206, Some(0..100), Some("bytes 0-99/100"));
        check(&[(RANGE, "bytes=100-")], 416, None, Some("bytes */100"));
        check(&[(RANGE, "bytes=-0")], 416, None, Some("bytes */100"));
        for whole in
            ["bytes=9-0", "bytes=0-1,5-6", "lines=1-2", "bytes=", "bytes=-", "bytes=+1-2", "bytes=x-y"]
        {
            check(&[(RANGE, whole)], 200, Some(0..100), None);
        }
        check(&[(RANGE, "bytes=18446744073709551615-")], 416, None, Some("bytes */100"));
        check(&[(RANGE, "bytes=0-18446744073709551615")], 206, Some(0..100), Some("bytes 0-99/100"));
    }

    #[test]
    fn a_range_of_another_version_is_the_whole_file() {
        check(&[(RANGE, "bytes=5-9"), (IF_RANGE, TAG)], 206, Some(5..10), Some("bytes 5-9/100"));
        check(&[(RANGE, "bytes=5-9"), (IF_RANGE, "\"other\"")], 200, Some(0..100), None);
        check(&[(RANGE, "bytes=5-9"), (IF_RANGE, &format!("W/{TAG}"))], 200, Some(0..100), None);
    }

    #[test]
    fn conditions() {
        let (same, later, earlier) = (
            "Thu, 01 Jan 1970 00:01:40 GMT",
            "Thu, 01 Jan 1970 00:01:41 GMT",
            "Thu, 01 Jan 1970 00:01:39 GMT",
        );
        check(&[(IF_NONE_MATCH, TAG)], 304, None, None);
        check(&[(IF_NONE_MATCH, &format!("\"a\", W/{TAG}"))], 304, None, None);
        check(&[(IF_NONE_MATCH, "\"a\""), (IF_NONE_MATCH, TAG)], 304, None, None);
        check(&[(IF_NONE_MATCH, "*")], 304, None, None);
        check(&[(IF_NONE_MATCH, "\"a\"")], 200, Some(0..100), None);
        check(&[(IF_MODIFIED_SINCE, same)], 304, None, None);
        check(&[(IF_MODIFIED_SINCE, later)], 304, None, None);
        check(&[(IF_MODIFIED_SINCE, earlier)], 200, Some(0..100), None);
        check(&[(IF_MODIFIED_SINCE, "yesterday")], 200, Some(0..100), None);
        check(&[(IF_NONE_MATCH, "\"a\""), (IF_MODIFIED_SINCE, later)], 200, Some(0..100), None);
        check(&[(IF_NONE_MATCH, TAG), (RANGE, "bytes=0-1")], 304, None, None);
    }

    #[test]
    fn a_version_that_must_be_another_is_refused() {
        check(&[(IF_MATCH, TAG)], 200, Some(0..100), None);
        check(&[(IF_MATCH, "*")], 200, Some(0..100), None);
        check(&[(IF_MATCH, TAG), (RANGE, "bytes=0-1")], 206, Some(0..2), Some("bytes 0-1/100"));
        check(&[(IF_MATCH, "\"other\"")], 412, None, None);
        check(&[(IF_MATCH, &format!("W/{TAG}"))], 412, None, None);
        check(&[(IF_UNMODIFIED_SINCE, "Thu, 01 Jan 1970 00:01:40 GMT")], 200, Some(0..100), None);
        check(&[(IF_UNMODIFIED_SINCE, "Thu, 01 Jan 1970 00:01:39 GMT")], 412, None, None);
        check(
            &[(IF_MATCH, TAG), (IF_UNMODIFIED_SINCE, "Thu, 01 Jan 1970 00:01:39 GMT")],
            200,
            Some(0..100),
            None,
        );
    }

    #[test]
    fn twins_have_tags_of_their_own_and_caches_are_told() {
        let file = FileFacts { content_type: "application/json", lifetime: Lifetime::Pointer, ..file() };
        let twin = file.twin(Encoding::Zstd, 40);
        let plain = answer(&Method::GET, &HeaderMap::new(), &file, POINTER);
        let small = answer(&Method::GET, &HeaderMap::new(), &twin, POINTER);
        for (head, tag, encoding, length) in
            [(plain, TAG, None, "100"), (small, "\"64-7-zstd\"", Some("zstd"), "40")]
        {
            assert_eq!(text(&head.headers, ETAG), Some(tag));
            assert_eq!(text(&head.headers, CONTENT_ENCODING), encoding);
            assert_eq!(text(&head.headers, CONTENT_LENGTH), Some(length));
            assert_eq!(text(&head.headers, VARY), Some("accept-encoding"));
            assert_eq!(text(&head.headers, CACHE_CONTROL), Some(POINTER));
        }
        let unchanged = answer(&Method::GET, &asked(&[(IF_NONE_MATCH, "\"64-7-zstd\"")]), &twin, POINTER);
        assert_eq!(
            (unchanged.status, text(&unchanged.headers, VARY)),
            (StatusCode::NOT_MODIFIED, Some("accept-encoding"))
        );
        let other = answer(&Method::GET, &asked(&[(IF_NONE_MATCH, TAG)]), &twin, POINTER);
        assert_eq!(other.status, StatusCode::OK);
    }

    #[test]
    fn caches_know_files_by_channel_and_part() {
        fn check(path: &str, expect: &[&str]) {
            let components: Vec<String> = path.split('/').map(str::to_owned).collect();
            assert_eq!(surrogate_keys(&components), expect, "{path}");
        }
        check("main/pool/v0/n/nano/nano.stone", &["main", "main/pool"]);
        check("main/history/1-aa/x86_64/stone.index", &["main", "main/history/1-aa"]);
        check("main/moss-root-index.json", &["main", "main/pointer"]);
    }

    #[test]
    fn head_tells_the_size_and_sends_nothing() {
        let head = answer(&Method::HEAD, &asked(&[(RANGE, "bytes=0-1")]), &file(), POINTER);
        assert_eq!((head.status, head.body), (StatusCode::OK, None));
        assert_eq!(text(&head.headers, CONTENT_LENGTH), Some("100"));
    }

    #[test]
    fn lifetimes_and_types() {
        fn check(path: &str, lifetime: Lifetime, kind: &str) {
            let components: Vec<String> = path.split('/').map(str::to_owned).collect();
            assert_eq!(Lifetime::of(&components), lifetime, "{path}");
            assert_eq!(content_type(components.last().unwrap()), kind, "{path}");
        }
        check("main/pool/v0/n/nano/nano-1-1-1-x86_64.stone", Lifetime::Forever, "application/x-stone-binary");
        check("main/history/1-aa/x86_64/stone.index", Lifetime::Forever, "application/x-stone-repository");
        check("main/moss-root-index.json", Lifetime::Pointer, "application/json");
        check("main/moss-root-index.json.zst", Lifetime::Pointer, "application/zstd");
        check("pool/strange", Lifetime::Pointer, "application/octet-stream");
    }
}
