//! Where things are in a published tree: paths below the public folder or the base address, with `/` between components.
//!
//! ```text
//! CHANNEL/moss-root-index.json
//! CHANNEL/history/ID/ARCH/stone.index
//! CHANNEL/history/ID/ARCH/{index,texts,files}.compact
//! CHANNEL/history/ID/ARCH/delta/FROM-ID
//! CHANNEL/history/ID/statement.json
//! CHANNEL/stream/NAME.json, CHANNEL/tag/NAME.json
//! CHANNEL/keys.json, CHANNEL/keys/VERSION.json
//! CHANNEL/pool/v0/P/SOURCE/NAME-VERSION-RELEASE-BUILDRELEASE-ARCH.stone
//! CHANNEL/build/P/SOURCE/VERSION-RELEASE-BUILDRELEASE-ARCH/FILE
//! CHANNEL/release/NAME/FILE
//! ```
//!
//! `P` is the first letter of the source, or its first four characters where it begins with `lib` and goes on.

use package::PackageMeta;

use crate::identifier::{Identifier, Version};

/// The file in which streams and tags point to histories.
pub const ROOT_INDEX_FILE: &str = "moss-root-index.json";

/// The file that a channel leaves where it was, when nothing else is there any more: [`crate::Moved`] as JSON.
pub const MOVED_FILE: &str = "moved.json";

/// The file that lists packages.
pub const INDEX_FILE: &str = "stone.index";

/// The packed image of the packages: see [`crate::compact`].
pub const COMPACT_INDEX_FILE: &str = "index.compact";

/// Their packed texts.
pub const TEXTS_FILE: &str = "texts.compact";

/// The paths of their files.
pub const FILES_FILE: &str = "files.compact";

/// The folder of an architecture in which deltas are, each by the id of the history that it goes out from.
pub const DELTA_FOLDER: &str = "delta";

/// The file that says what a history is: see [`crate::signed`].
pub const STATEMENT_FILE: &str = "statement.json";

/// The newest list of keys of a channel, below it.
pub const KEYS_FILE: &str = "keys.json";

/// The folder that holds packages of format v0, below the channel.
pub const POOL: &str = "pool/v0";

/// The folder that holds what belongs to builds beside their packages, below the channel.
pub const BUILDS: &str = "build";

/// The folder that holds release files, below the channel.
pub const RELEASES: &str = "release";

/// The file of a build that says where it comes from: an in-toto statement. It names every other file of the build.
pub const PROVENANCE_FILE: &str = "provenance.json";

/// The same in an envelope, signed.
pub const SIGNED_PROVENANCE_FILE: &str = "provenance.intoto.json";

/// The file of a release that lists the others with lengths and digests.
pub const RELEASE_LIST_FILE: &str = "release.json";

/// The same in an envelope, signed.
pub const SIGNED_RELEASE_LIST_FILE: &str = "release.signed.json";

/// From the folder of an index to its channel: past the architecture, the history and the word `history`.
const INDEX_TO_CHANNEL: &str = "../../../";

/// `CHANNEL/moss-root-index.json`
#[must_use]
pub fn root_index_path(channel: &Identifier) -> String {
    format!("{channel}/{ROOT_INDEX_FILE}")
}

/// `CHANNEL/moved.json`
#[must_use]
pub fn moved_path(channel: &Identifier) -> String {
    format!("{channel}/{MOVED_FILE}")
}

/// `CHANNEL/history/ID`
#[must_use]
pub fn history_path(channel: &Identifier, history: &Identifier) -> String {
    format!("{channel}/history/{history}")
}

/// `CHANNEL/history/ID/ARCH/stone.index`. The architecture must be fit for a path, as that of a checked package is.
#[must_use]
pub fn history_index_path(channel: &Identifier, history: &Identifier, architecture: &str) -> String {
    format!("{}/{architecture}/{INDEX_FILE}", history_path(channel, history))
}

/// `CHANNEL/history/ID/ARCH/FILE`, for any file of an architecture.
#[must_use]
pub fn history_file_path(
    channel: &Identifier,
    history: &Identifier,
    architecture: &str,
    file: &str,
) -> String {
    format!("{}/{architecture}/{file}", history_path(channel, history))
}

/// `CHANNEL/history/ID/ARCH/delta/FROM`
#[must_use]
pub fn delta_path(
    channel: &Identifier,
    history: &Identifier,
    architecture: &str,
    from: &Identifier,
) -> String {
    format!("{}/{architecture}/{DELTA_FOLDER}/{from}", history_path(channel, history))
}

/// `CHANNEL/history/ID/statement.json`
#[must_use]
pub fn statement_path(channel: &Identifier, history: &Identifier) -> String {
    format!("{}/{STATEMENT_FILE}", history_path(channel, history))
}

/// `CHANNEL/stream/NAME.json` or `CHANNEL/tag/NAME.json`; none for a history, which has no pointer but its statement.
#[must_use]
pub fn pointer_path(channel: &Identifier, what: &Version) -> Option<String> {
    match what {
        Version::Stream(_) | Version::Tag(_) => Some(format!("{channel}/{what}.json")),
        Version::History(_) => None,
    }
}

/// `CHANNEL/keys.json`
#[must_use]
pub fn keys_path(channel: &Identifier) -> String {
    format!("{channel}/{KEYS_FILE}")
}

/// `CHANNEL/keys/VERSION.json`
#[must_use]
pub fn keys_version_path(channel: &Identifier, version: u64) -> String {
    format!("{channel}/keys/{version}.json")
}

/// Where a package is below its channel: `pool/v0/P/SOURCE/FILE`, the source in lower case.
#[must_use]
pub fn pool_path(meta: &PackageMeta) -> String {
    let source = meta.source_id.to_lowercase();
    format!("{POOL}/{}/{source}/{}", pool_prefix(&source), meta.file_name())
}

/// Where what belongs to a build is below its channel: `build/P/SOURCE/BUILD`, the source in lower case. Both must be fit for
/// a path.
#[must_use]
pub fn build_path(source: &str, build: &str) -> String {
    let source = source.to_lowercase();
    format!("{BUILDS}/{}/{source}/{build}", pool_prefix(&source))
}

/// The name of the build that a package is from: `8.4-34-1-x86_64`.
#[must_use]
pub fn build_name(meta: &PackageMeta) -> String {
    let PackageMeta { version, release, build_release, architecture, .. } = meta;
    format!("{version}-{release}-{build_release}-{architecture}")
}

/// `CHANNEL/release/NAME`
#[must_use]
pub fn release_path(channel: &Identifier, release: &str) -> String {
    format!("{channel}/{RELEASES}/{release}")
}

/// Where a package is for the index of its history: the URI to write there.
#[must_use]
pub fn package_uri(meta: &PackageMeta) -> String {
    format!("{INDEX_TO_CHANNEL}{}", pool_path(meta))
}

fn pool_prefix(source: &str) -> String {
    let letters = if source.starts_with("lib") && source.chars().count() > 4 { 4 } else { 1 };
    source.chars().take(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::meta;

    #[test]
    fn paths() {
        let (channel, history) = ("main".parse().unwrap(), "17".parse().unwrap());
        assert_eq!(
            build_path("LibXml2", &build_name(&meta("LibXml2", 5, 2))),
            "build/libx/libxml2/1-5-2-x86_64"
        );
        assert_eq!(release_path(&channel, "2026.1"), "main/release/2026.1");
        assert_eq!(root_index_path(&channel), "main/moss-root-index.json");
        assert_eq!(history_index_path(&channel, &history, "x86_64"), "main/history/17/x86_64/stone.index");
        assert_eq!(
            history_file_path(&channel, &history, "x86_64", TEXTS_FILE),
            "main/history/17/x86_64/texts.compact"
        );
        assert_eq!(statement_path(&channel, &history), "main/history/17/statement.json");
        let from = "16".parse().unwrap();
        assert_eq!(delta_path(&channel, &history, "x86_64", &from), "main/history/17/x86_64/delta/16");
        let pointer = |what: &str| pointer_path(&channel, &what.parse().unwrap());
        assert_eq!(pointer("stream/volatile").as_deref(), Some("main/stream/volatile.json"));
        assert_eq!(pointer("tag/2026-07").as_deref(), Some("main/tag/2026-07.json"));
        assert_eq!(pointer("history/17"), None);
        assert_eq!(keys_path(&channel), "main/keys.json");
        assert_eq!(keys_version_path(&channel, 3), "main/keys/3.json");
        let table = [
            ("nano", "pool/v0/n/nano/nano-1-5-2-x86_64.stone"),
            ("NetworkManager", "pool/v0/n/networkmanager/NetworkManager-1-5-2-x86_64.stone"),
            ("libxml2", "pool/v0/libx/libxml2/libxml2-1-5-2-x86_64.stone"),
            ("liba", "pool/v0/l/liba/liba-1-5-2-x86_64.stone"),
            ("libab", "pool/v0/liba/libab/libab-1-5-2-x86_64.stone"),
            ("7zip", "pool/v0/7/7zip/7zip-1-5-2-x86_64.stone"),
        ];
        for (name, expect) in table {
            let meta = meta(name, 5, 2);
            assert_eq!(pool_path(&meta), expect);
            assert_eq!(package_uri(&meta), format!("../../../{expect}"));
        }
    }
}
