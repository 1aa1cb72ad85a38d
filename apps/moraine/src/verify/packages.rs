//! Every package of a tree, decoded to its last byte, several at once.

use std::collections::BTreeMap;

use fault::{Fault, Kind};
use package::PackageMeta;
use repository::compact;
use stone::{Discard, Limits};

use super::channel::Listed;
use super::error::VerifyError;
use super::tree::Tree;
use super::work;

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
    let one = |listed: &&Listed, number: usize| match one(tree, listed, number) {
        Err(error) if listed.may_be_gone && error.kind() == Kind::NotFound => Ok(0),
        other => other,
    };
    work::all(&packages, jobs, &one, done)
}

fn one(tree: &Tree, listed: &Listed, number: usize) -> Result<u64, VerifyError> {
    let Listed { file, meta, by, paths, .. } = listed;
    let limit = meta.download_size_bytes.unwrap_or(PACKAGE_BYTES_MAX);
    let promised = meta.hash.as_deref().unwrap_or_default();
    let scratch = format!("package-{number}");
    let opened = tree.promised(file, &scratch, promised, meta.download_size_bytes, limit, by)?;
    let size_bytes = opened.facts.size_bytes;
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
