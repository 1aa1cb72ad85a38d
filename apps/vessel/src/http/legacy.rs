//! Addresses from before there were versioned repositories, and what is at them now.
//!
//! AerynOS's servers rewrite every address that they ever gave out, so that machines which still have an old one go on. The
//! same addresses lead to the same things here, without a redirect: old clients follow none that leaves the path which
//! addresses in an index are relative to.
//!
//! ```text
//! /volatile/ARCH/stone.index, /stream/NAME/ARCH/…, /tag/NAME/ARCH/…    the index that the stream or tag points to now
//! /pool/…, /history/…, /moss-root-index.json                           the same in channel main
//! /CHANNEL/stream/NAME/…, /CHANNEL/tag/NAME/…                          the same in another channel
//! …/legacy/…                                                           without the word
//! …/pool/P/…                                                           …/pool/v0/P/…
//! ```

use repository::{Format, Identifier, ResolveError, RootIndex, Version};

/// The channel that addresses without one belong to.
const CHANNEL: &str = "main";

/// The oldest streams, whose addresses do without the word `stream`.
const STREAMS: [&str; 2] = ["volatile", "unstable"];

/// What an old address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meant {
    /// The file at these components.
    File(Vec<String>),
    /// The index that a version of a channel has for an architecture.
    Index { channel: Identifier, version: Version, architecture: String },
}

/// What the components of a path mean where no file is at them; none when they are no old address.
pub(crate) fn meant(components: &[String]) -> Option<Meant> {
    let words: Vec<&str> = components.iter().map(String::as_str).collect();
    let (channel, below) = match words.as_slice() {
        ["pool" | "history" | "stream" | "tag" | "legacy" | "moss-root-index.json", ..] => {
            (CHANNEL, &words[..])
        }
        [first, ..] if STREAMS.contains(first) => (CHANNEL, &words[..]),
        [channel, below @ ..] => (*channel, below),
        [] => return None,
    };
    let channel: Identifier = channel.parse().ok()?;
    let below = below.strip_prefix(&["legacy"]).unwrap_or(below);
    let version = |kind: &str, name: &str| format!("{kind}/{name}").parse::<Version>().ok();
    let index = |version: Option<Version>, architecture: &str| {
        Some(Meant::Index {
            channel: channel.clone(),
            version: version?,
            architecture: architecture.to_owned(),
        })
    };
    match below {
        [name, architecture, "stone.index"] if STREAMS.contains(name) => {
            index(version("stream", name), architecture)
        }
        [kind @ ("stream" | "tag"), name, architecture, "stone.index"] => {
            index(version(kind, name), architecture)
        }
        _ => {
            let mut file: Vec<String> =
                std::iter::once(channel.as_str()).chain(below.iter().copied()).map(str::to_owned).collect();
            if let ["pool", letters, ..] = below
                && *letters != "v0"
            {
                file.insert(2, "v0".to_owned());
            }
            (file != components).then_some(Meant::File(file))
        }
    }
}

/// The history whose index is at the old address of `version`. Clients that use one know no format above v0: where the
/// stream went on without them, they get what leads them on.
pub(crate) fn history(root: &RootIndex, version: &Version) -> Option<Identifier> {
    let readable = |version: &Version| {
        let resolved = root.resolve(version).ok()?;
        matches!(resolved.format, Format::Legacy | Format::V0).then_some(resolved.history)
    };
    match root.resolve(version) {
        Ok(_) | Err(ResolveError::Unsupported { .. }) => {
            readable(version).or_else(|| readable(root.formats.v0.upgrade_via.as_ref()?))
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_addresses_and_what_is_at_them() {
        fn check(path: &str, expect: &str) {
            let components: Vec<String> = path.split('/').map(str::to_owned).collect();
            let found = match meant(&components) {
                None => "nothing else".to_owned(),
                Some(Meant::File(components)) => components.join("/"),
                Some(Meant::Index { channel, version, architecture }) => {
                    format!("{version} of {channel} for {architecture}")
                }
            };
            assert_eq!(found, expect, "{path}");
        }
        check("volatile/x86_64/stone.index", "stream/volatile of main for x86_64");
        check("unstable/x86_64/stone.index", "stream/unstable of main for x86_64");
        check("stream/volatile/x86_64/stone.index", "stream/volatile of main for x86_64");
        check("stream/stable/aarch64/stone.index", "stream/stable of main for aarch64");
        check("tag/2026-11/x86_64/stone.index", "tag/2026-11 of main for x86_64");
        check("main/stream/volatile/x86_64/stone.index", "stream/volatile of main for x86_64");
        check("main/volatile/x86_64/stone.index", "stream/volatile of main for x86_64");
        check("main/legacy/stream/volatile/x86_64/stone.index", "stream/volatile of main for x86_64");
        check("try/stream/volatile/x86_64/stone.index", "stream/volatile of try for x86_64");
        check("legacy/stream/volatile/x86_64/stone.index", "stream/volatile of main for x86_64");
        check("moss-root-index.json", "main/moss-root-index.json");
        check("history/1-aa/x86_64/stone.index", "main/history/1-aa/x86_64/stone.index");
        check("pool/v0/n/nano/nano.stone", "main/pool/v0/n/nano/nano.stone");
        check("pool/n/nano/nano.stone", "main/pool/v0/n/nano/nano.stone");
        check("main/pool/n/nano/nano.stone", "main/pool/v0/n/nano/nano.stone");
        check("legacy/pool/n/nano/nano.stone", "main/pool/v0/n/nano/nano.stone");
        check("main/legacy/pool/v0/n/nano/nano.stone", "main/pool/v0/n/nano/nano.stone");
        for same in [
            "main/pool/v0/n/nano/nano.stone",
            "main/moss-root-index.json",
            "main/none",
            "none",
            "a b/legacy/x",
            "stream/-bad/x86_64/stone.index",
        ] {
            check(same, "nothing else");
        }
    }

    #[test]
    fn old_clients_stay_where_they_can_read() {
        let root = |text: &str| RootIndex::from_json(text.as_bytes()).unwrap();
        let version: Version = "stream/volatile".parse().unwrap();
        let of = |text: &str| history(&root(text), &version).map(|id| id.to_string());
        let plain = r#"{"formats":{"v0":{}},"streams":{"volatile":{"format":"v0","history":"2-b"}},"tags":{},
            "history":{"2-b":{"format":"v0"}}}"#;
        assert_eq!(of(plain).as_deref(), Some("2-b"));
        let newer = r#"{"formats":{"v0":{"upgrade_via":"tag/last"},"v1":{}},
            "streams":{"volatile":{"format":"v9","history":"3-c"}},"tags":{"last":{"format":"v0","history":"2-b"}},
            "history":{"2-b":{"format":"v0"},"3-c":{"format":"v9"}}}"#;
        assert_eq!(of(newer).as_deref(), Some("2-b"));
        assert_eq!(of(&newer.replace(r#""upgrade_via":"tag/last""#, "")), None);
        assert_eq!(of(&plain.replace("volatile", "other")), None);
    }
}
