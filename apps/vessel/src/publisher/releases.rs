//! Release files, such as images: published once below `release/NAME/`, with a list of what belongs to the release.
//!
//! Whoever adds a release puts its files into the folder of what comes in and says what they are; nothing is published that is
//! not that. The ledger names a release only when all of it can be read back, and a start removes what it does not name.

use std::collections::BTreeMap;
use std::sync::Arc;

use repository::layout::{self, RELEASE_LIST_FILE, SIGNED_RELEASE_LIST_FILE};
use repository::signed::SignedKind;
use serde::Serialize;
use store::{Sha256, Source, durable};

use super::recovery::needed;
use super::{PublishError, Publisher, blocking, unix_seconds};
use crate::expectation::check_name;
use crate::ledger::{Ledger, Release, ReleaseFile};
use crate::operation::{ReleaseFileReport, ReleaseReport};
use crate::tree::{Object, TreeError};

/// Files of one release: an image for each edition and architecture, each with checksums and a signature.
const FILES_MAX: usize = 1000;

/// Bytes of one release: a hundred images.
const SIZE_BYTES_MAX: u64 = 1 << 40;

/// What everybody is told of a release.
#[derive(Serialize)]
struct List<'a> {
    channel: &'a str,
    release: &'a str,
    files: Vec<ReleaseFileReport>,
}

impl Publisher {
    /// Publishes the files that lie in the folder of what comes in for this release. The same again changes nothing.
    pub(super) async fn add_release(
        &self,
        channel: &str,
        name: &str,
        files: &[ReleaseFileReport],
        by: &str,
    ) -> Result<ReleaseReport, PublishError> {
        check_name("release", name)?;
        let channel = self.channel(channel)?;
        let mut files = checked(files)?;
        let list = list(&channel.name, name, &files);
        let incoming = self.folder.incoming(&channel.name, name);
        let place = |file: &ReleaseFile| (file.clone(), Source::File(incoming.join(&file.name)));
        let mut sources: Vec<(ReleaseFile, Source)> = files.iter().map(place).collect();
        let signed = self.sign(SignedKind::List, list.clone()).await?;
        for (name, bytes) in [(RELEASE_LIST_FILE, list), (SIGNED_RELEASE_LIST_FILE, signed)] {
            let listed = ReleaseFile {
                name: name.to_owned(),
                sha256: Sha256::of(&bytes),
                size_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            };
            sources.push((listed.clone(), Source::Bytes(Arc::from(bytes))));
            files.push(listed);
        }
        files.sort();

        let _turn = channel.state.lock().await;
        let known = self.ledger.releases(&channel.name).await?.remove(name);
        if let Some(known) = known {
            if !are_the_same(&known.files, &files) {
                let (channel, release) = (channel.name.clone(), name.to_string());
                return Err(PublishError::ReleaseStands { channel, release });
            }
            if known.removed_at.is_none() {
                return Ok(report(known));
            }
        }
        let object = |(file, from): (ReleaseFile, Source)| Object {
            from,
            pool_path: format!("{}/{name}/{}", layout::RELEASES, file.name),
            sha256: file.sha256,
            size_bytes: file.size_bytes,
        };
        let objects: Vec<Object> = sources.into_iter().map(object).collect();
        let tree = channel.tree.clone();
        blocking(move || {
            let unsettled = tree.store(&objects)?;
            tree.read_back(&objects)?;
            Ok(tree.settle(unsettled)?)
        })
        .await?;
        (self.reached)(crate::tree::Step::ObjectsReadBack);
        let release = Release {
            name: name.to_string(),
            added_at: unix_seconds(),
            added_by: by.to_owned(),
            removed_at: None,
            files,
        };
        self.ledger.add_release(&channel.name, &release).await?;
        durable::remove(&incoming)
            .map_err(|source| TreeError::Disk { action: "remove what came in for a release", source })?;
        tracing::info!(channel.name = %channel.name, release = %name, files = release.files.len(), by, "released");
        Ok(report(release))
    }

    /// Takes a release away. Its names keep their digests: should it come again, then with the same bytes.
    pub(super) async fn remove_release(
        &self,
        channel: &str,
        name: &str,
        by: &str,
    ) -> Result<ReleaseReport, PublishError> {
        let channel = self.channel(channel)?;
        let _turn = channel.state.lock().await;
        let known = self.ledger.releases(&channel.name).await?.remove(name);
        let Some(known) = known.filter(|known| known.removed_at.is_none()) else {
            let (channel, release) = (channel.name.clone(), name.chars().take(120).collect());
            return Err(PublishError::NoRelease { channel, release });
        };
        self.ledger.remove_release(&channel.name, &known.name, unix_seconds()).await?;
        let needed = needed(&self.ledger, &channel.name).await?;
        let tree = channel.tree.clone();
        blocking(move || Ok(tree.sweep(&needed.histories, &needed.objects)?)).await?;
        tracing::info!(channel.name = %channel.name, release = %known.name, by, "a release was removed");
        Ok(report(known))
    }
}

/// The releases of a channel that are there, by name.
pub(super) async fn releases(ledger: &Ledger, channel: &str) -> Result<Vec<ReleaseReport>, PublishError> {
    let releases = ledger.releases(channel).await?.into_values();
    Ok(releases.filter(|release| release.removed_at.is_none()).map(report).collect())
}

/// What release files have to be in the tree of a channel: path below it → digest.
pub(super) async fn needed_files(
    ledger: &Ledger,
    channel: &str,
) -> Result<BTreeMap<String, Sha256>, PublishError> {
    let mut needed = BTreeMap::new();
    for release in ledger.releases(channel).await?.into_values().filter(|it| it.removed_at.is_none()) {
        for file in release.files {
            needed.insert(format!("{}/{}/{}", layout::RELEASES, release.name, file.name), file.sha256);
        }
    }
    Ok(needed)
}

fn are_the_same(left: &[ReleaseFile], right: &[ReleaseFile]) -> bool {
    // Keys change, so the signed list alone says nothing of whether two releases are the same.
    let unsigned = |file: &&ReleaseFile| file.name != SIGNED_RELEASE_LIST_FILE;
    left.iter().filter(unsigned).eq(right.iter().filter(unsigned))
}

fn checked(files: &[ReleaseFileReport]) -> Result<Vec<ReleaseFile>, PublishError> {
    let refused = |why: String| Err(PublishError::ReleaseFiles { why });
    if files.is_empty() || files.len() > FILES_MAX {
        return refused(format!("{} files; name one at least and {FILES_MAX} at most", files.len()));
    }
    let size_bytes = files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size_bytes));
    if size_bytes > SIZE_BYTES_MAX {
        return refused(format!("{size_bytes} bytes; at most {SIZE_BYTES_MAX} are taken"));
    }
    let mut checked = BTreeMap::new();
    for file in files {
        check_name("release file", &file.name)?;
        if [RELEASE_LIST_FILE, SIGNED_RELEASE_LIST_FILE].contains(&file.name.as_str()) {
            return refused(format!("{} is written here", file.name));
        }
        let Ok(sha256) = file.sha256.parse() else {
            return refused(format!("the digest of {} is none", file.name));
        };
        let new = ReleaseFile { name: file.name.clone(), sha256, size_bytes: file.size_bytes };
        if checked.insert(file.name.clone(), new).is_some() {
            return refused(format!("{} comes twice", file.name));
        }
    }
    Ok(checked.into_values().collect())
}

/// The bytes of the list; the same for the same files.
fn list(channel: &str, release: &str, files: &[ReleaseFile]) -> Vec<u8> {
    let list = List { channel, release, files: files.iter().map(file_report).collect() };
    // Text keys and plain values have no way to fail.
    let mut bytes = serde_json::to_vec_pretty(&list).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn report(release: Release) -> ReleaseReport {
    let Release { name, added_at, added_by, files, .. } = release;
    ReleaseReport { name, added_at, added_by, files: files.iter().map(file_report).collect() }
}

fn file_report(file: &ReleaseFile) -> ReleaseFileReport {
    let ReleaseFile { name, sha256, size_bytes } = file;
    ReleaseFileReport { name: name.clone(), size_bytes: *size_bytes, sha256: sha256.to_string() }
}
