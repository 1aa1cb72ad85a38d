//! Where things are in a published tree: paths below the public folder or the base address, with `/` between components.
//!
//! ```text
//! CHANNEL/moss-root-index.json
//! CHANNEL/history/ID/ARCH/stone.index
//! CHANNEL/pool/v0/P/SOURCE/NAME-VERSION-RELEASE-BUILDRELEASE-ARCH.stone
//! ```
//!
//! `P` is the first letter of the source, or its first four characters where it begins with `lib` and goes on.

use package::PackageMeta;

use crate::identifier::Identifier;

/// The file in which streams and tags point to histories.
pub const ROOT_INDEX_FILE: &str = "moss-root-index.json";

/// The file that lists packages.
pub const INDEX_FILE: &str = "stone.index";

/// The folder that holds packages of format v0, below the channel.
pub const POOL: &str = "pool/v0";

/// From the folder of an index to its channel: past the architecture, the history and the word `history`.
const INDEX_TO_CHANNEL: &str = "../../../";

/// `CHANNEL/moss-root-index.json`
#[must_use]
pub fn root_index_path(channel: &Identifier) -> String {
    format!("{channel}/{ROOT_INDEX_FILE}")
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

/// Where a package is below its channel: `pool/v0/P/SOURCE/FILE`, the source in lower case.
#[must_use]
pub fn pool_path(meta: &PackageMeta) -> String {
    let source = meta.source_id.to_lowercase();
    format!("{POOL}/{}/{source}/{}", pool_prefix(&source), meta.file_name())
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
        assert_eq!(root_index_path(&channel), "main/moss-root-index.json");
        assert_eq!(history_index_path(&channel, &history, "x86_64"), "main/history/17/x86_64/stone.index");
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
