//! Every package of a tree, decoded to its last byte, several at once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use package::PackageMeta;
use repository::compact;
use stone::{Discard, Limits};

use super::channel::Listed;
use super::error::VerifyError;
use super::tree::Tree;

/// Largest package when its index does not say its size: more than the largest package known.
const PACKAGE_BYTES_MAX: u64 = 16 << 30;

/// Verifies packages with `jobs` threads; `done` is told the bytes of each.
pub(super) fn verify(
    tree: &Tree,
    packages: &BTreeMap<(String, String), Listed>,
    jobs: usize,
    done: &(dyn Fn(u64) + Sync),
) -> Result<(), VerifyError> {
    let packages: Vec<&Listed> = packages.values().collect();
    let next = AtomicUsize::new(0);
    let first: Mutex<Option<(usize, VerifyError)>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, packages.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(listed) = packages.get(number) else { return };
                    match one(tree, listed, number) {
                        Ok(size_bytes) => done(size_bytes),
                        Err(error) => {
                            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                            // Others began earlier ones; of all that are wrong the first in order is told.
                            if first.as_ref().is_none_or(|(known, _)| number < *known) {
                                *first = Some((number, error));
                            }
                            next.store(packages.len(), Ordering::Relaxed);
                            return;
                        }
                    }
                }
            });
        }
    });
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

fn one(tree: &Tree, listed: &Listed, number: usize) -> Result<u64, VerifyError> {
    let Listed { file, meta, by, paths } = listed;
    let limit = meta.download_size_bytes.unwrap_or(PACKAGE_BYTES_MAX);
    let opened = tree.open(file, number, limit)?;
    let promised = meta.hash.clone().unwrap_or_default();
    let found = opened.facts.sha256.to_string();
    let size_bytes = opened.facts.size_bytes;
    if found != promised || meta.download_size_bytes.is_some_and(|size| size != size_bytes) {
        return Err(VerifyError::OtherFile {
            file: file.clone(),
            found,
            found_bytes: size_bytes,
            promised,
            promised_bytes: limit,
            by: by.clone(),
        });
    }
    let stone = stone::read(opened.reader(file)?, &Limits::default(), &mut Discard)
        .map_err(|source| VerifyError::Package { file: file.clone(), source: Box::new(source) })?;
    let [records] = stone.metas.as_slice() else {
        return Err(VerifyError::MetaCount { file: file.clone(), count: stone.metas.len() });
    };
    let own = PackageMeta::from_records(records)
        .map_err(|source| VerifyError::Meta { file: file.clone(), source: Box::new(source) })?;
    let own = PackageMeta {
        uri: meta.uri.clone(),
        hash: meta.hash.clone(),
        download_size_bytes: meta.download_size_bytes,
        ..own
    };
    let differs = |found: String| {
        let (other, expected) = (by.clone(), "something else".to_owned());
        Err(VerifyError::Contradiction { file: file.clone(), found, other, expected })
    };
    if own != *meta {
        return differs(format!("it is {}", own.file_name()));
    }
    if let Some(packed) = paths {
        let listed = compact::unpack_paths(packed)
            .map_err(|source| VerifyError::Compact { file: by.clone(), source })?;
        let mut own: Vec<&str> = stone.layout.iter().map(|entry| entry.target.as_str()).collect();
        let mut listed: Vec<&str> = listed.iter().map(String::as_str).collect();
        own.sort_unstable();
        own.dedup();
        listed.sort_unstable();
        listed.dedup();
        if own != listed {
            return differs("it has other files than its list names".to_owned());
        }
    }
    Ok(size_bytes)
}
