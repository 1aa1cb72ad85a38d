//! The releases of a channel: each file is named by the list of its release, and that is signed.

use std::collections::BTreeSet;

use repository::Identifier;
use repository::layout::{self, RELEASE_LIST_FILE, SIGNED_RELEASE_LIST_FILE};
use repository::signed::{ENVELOPE_BYTES_MAX, SignedKind};
use serde::Deserialize;

use super::error::VerifyError;
use super::tree::{Tree, is_plain_name};
use super::trust::Trust;
use super::work;

/// The list of a release.
#[derive(Debug, Deserialize)]
struct List {
    channel: String,
    release: String,
    files: Vec<ReleaseFile>,
}

#[derive(Debug, Deserialize)]
struct ReleaseFile {
    name: String,
    size_bytes: u64,
    sha256: String,
    /// Its release, to find it.
    #[serde(skip)]
    folder: String,
}

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Releases {
    pub(super) releases: usize,
    pub(super) files: usize,
}

/// Verifies the releases with these names, and of a folder all that there are, with `jobs` threads.
pub(super) fn verify(
    tree: &Tree,
    channel: &Identifier,
    named: &[String],
    trust: &Trust,
    jobs: usize,
) -> Result<Releases, VerifyError> {
    let there = tree.names(&format!("{channel}/{}", layout::RELEASES))?;
    let names: BTreeSet<String> = there.into_iter().flatten().chain(named.iter().cloned()).collect();
    let mut files = Vec::new();
    for name in &names {
        files.extend(release(tree, channel, name, trust)?);
    }
    let one = |file: &ReleaseFile, number: usize| {
        let path = format!("{}/{}", file.folder, file.name);
        let list = format!("{}/{SIGNED_RELEASE_LIST_FILE}", file.folder);
        let (scratch, limit) = (format!("release-{number}"), file.size_bytes);
        tree.promised(&path, &scratch, &file.sha256, Some(file.size_bytes), limit, &list)?;
        Ok(file.size_bytes)
    };
    work::all(&files, jobs, &one, &|_| ())?;
    Ok(Releases { releases: names.len(), files: files.len() })
}

/// The files that a release has by its list.
fn release(
    tree: &Tree,
    channel: &Identifier,
    name: &str,
    trust: &Trust,
) -> Result<Vec<ReleaseFile>, VerifyError> {
    let folder = layout::release_path(channel, name);
    let file = |name: &str| format!("{folder}/{name}");
    let signed = file(SIGNED_RELEASE_LIST_FILE);
    let Some(bytes) = tree.read(&signed, ENVELOPE_BYTES_MAX)? else {
        return Err(VerifyError::Unvouched { file: folder, missing: SIGNED_RELEASE_LIST_FILE });
    };
    let payload = trust.open(&signed, &bytes, SignedKind::List)?;
    let plain = tree.read(&file(RELEASE_LIST_FILE), ENVELOPE_BYTES_MAX)?;
    let plain = plain.ok_or_else(|| VerifyError::missing(&file(RELEASE_LIST_FILE)))?;
    if plain != payload {
        return Err(VerifyError::Rewritten { file: file(RELEASE_LIST_FILE) });
    }
    let list: List = serde_json::from_slice(&payload)
        .map_err(|source| VerifyError::Json { file: signed.clone(), source })?;
    if list.channel != channel.as_str() || list.release != name {
        return Err(VerifyError::Contradiction {
            found: format!("it is the list of {} in channel {}", list.release, list.channel),
            file: signed,
            other: "where it lies".to_owned(),
            expected: folder,
        });
    }
    let own = [RELEASE_LIST_FILE, SIGNED_RELEASE_LIST_FILE];
    if let Some(name) = list.files.iter().map(|it| it.name.as_str()).find(|name| !is_plain_name(name)) {
        return Err(VerifyError::Name { file: signed, name: name.chars().take(120).collect() });
    }
    let known: BTreeSet<&str> = list.files.iter().map(|file| file.name.as_str()).chain(own).collect();
    let there = tree.names(&folder)?;
    if let Some(name) = there.iter().flatten().find(|name| !known.contains(name.as_str())) {
        return Err(VerifyError::NotNamed { file: file(name), by: signed });
    }
    let here = |file: ReleaseFile| ReleaseFile { folder: folder.clone(), ..file };
    Ok(list.files.into_iter().map(here).collect())
}
