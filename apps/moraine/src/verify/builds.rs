//! What belongs to the builds of a channel beside their packages: each file is named by the provenance, and that is signed.
//!
//! A folder of a build is looked at where an index lists a package of the build. Others were left by a publication that died, or
//! are about to be published or removed; nobody is led to them.

use std::collections::{BTreeMap, BTreeSet};

use repository::Identifier;
use repository::layout::{self, PROVENANCE_FILE, SIGNED_PROVENANCE_FILE};
use repository::signed::{ENVELOPE_BYTES_MAX, SignedKind};
use serde::Deserialize;

use super::channel::Listed;
use super::error::VerifyError;
use super::tree::{Tree, is_plain_name};
use super::trust::Trust;
use super::work;

/// Largest manifest or record: a record of a thousand packages in a build root has one and a half million bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A build of which an index lists packages.
#[derive(Debug)]
struct Build<'a> {
    /// Its folder, below the tree.
    folder: String,
    /// Its packages by the names of their files, with their digests and the index that says so.
    packages: BTreeMap<String, (&'a str, &'a str)>,
}

/// What is read of a provenance: an in-toto statement with a SLSA provenance.
#[derive(Debug, Deserialize)]
struct Statement {
    subject: Vec<Descriptor>,
    predicate: Predicate,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    external_parameters: Ordered,
}

/// What was ordered.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ordered {
    source: String,
    version: String,
    release: u64,
    build_release: u64,
    architecture: String,
}

#[derive(Debug, Deserialize)]
struct RunDetails {
    #[serde(default)]
    byproducts: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    name: String,
    digest: BTreeMap<String, String>,
}

impl Descriptor {
    fn sha256(&self) -> &str {
        self.digest.get("sha256").map_or("", String::as_str)
    }
}

/// Verifies the files of all builds that have any, with `jobs` threads; answers how many builds have.
pub(super) fn verify(
    tree: &Tree,
    channel: &Identifier,
    packages: &BTreeMap<(String, String), Listed>,
    trust: &Trust,
    jobs: usize,
) -> Result<usize, VerifyError> {
    let mut builds: BTreeMap<String, Build<'_>> = BTreeMap::new();
    for listed in packages.values().filter(|listed| !listed.may_be_gone) {
        let build = layout::build_path(&listed.meta.source_id, &layout::build_name(&listed.meta));
        let folder = format!("{channel}/{build}");
        let build = builds
            .entry(folder)
            .or_insert_with_key(|folder| Build { folder: folder.clone(), packages: BTreeMap::new() });
        let sha256 = listed.meta.hash.as_deref().unwrap_or_default();
        build.packages.insert(listed.meta.file_name(), (sha256, listed.by.as_str()));
    }
    let builds: Vec<Build<'_>> = builds.into_values().collect();
    let found = std::sync::atomic::AtomicUsize::new(0);
    let one = |build: &Build<'_>, number: usize| {
        if build.verify(tree, trust, number)? {
            found.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(0)
    };
    work::all(&builds, jobs, &one, &|_| ())?;
    Ok(found.into_inner())
}

impl Build<'_> {
    /// Whether there is anything of it.
    fn verify(&self, tree: &Tree, trust: &Trust, number: usize) -> Result<bool, VerifyError> {
        let file = |name: &str| format!("{}/{name}", self.folder);
        let names = tree.names(&self.folder)?;
        if names.as_ref().is_some_and(Vec::is_empty) {
            return Ok(false);
        }
        let signed = file(SIGNED_PROVENANCE_FILE);
        let plain = tree.read(&file(PROVENANCE_FILE), ENVELOPE_BYTES_MAX)?;
        let Some(bytes) = tree.read(&signed, ENVELOPE_BYTES_MAX)? else {
            // Behind an address nothing is listed: a build that was imported has no folder.
            return match (&names, &plain) {
                (None, None) => Ok(false),
                _ => {
                    Err(VerifyError::Unvouched { file: self.folder.clone(), missing: SIGNED_PROVENANCE_FILE })
                }
            };
        };
        let payload = trust.open(&signed, &bytes, SignedKind::Provenance)?;
        let plain = plain.ok_or_else(|| VerifyError::missing(&file(PROVENANCE_FILE)))?;
        if plain != payload {
            return Err(VerifyError::Rewritten { file: file(PROVENANCE_FILE) });
        }
        let statement: Statement = serde_json::from_slice(&payload)
            .map_err(|source| VerifyError::Json { file: signed.clone(), source })?;
        self.is_of_this_build(&signed, &statement)?;
        let byproducts = &statement.predicate.run_details.byproducts;
        if let Some(name) = byproducts.iter().map(|it| it.name.as_str()).find(|name| !is_plain_name(name)) {
            return Err(VerifyError::Name { file: signed, name: name.chars().take(120).collect() });
        }
        let known: BTreeSet<&str> = byproducts
            .iter()
            .map(|descriptor| descriptor.name.as_str())
            .chain([PROVENANCE_FILE, SIGNED_PROVENANCE_FILE])
            .collect();
        if let Some(name) = names.iter().flatten().find(|name| !known.contains(name.as_str())) {
            return Err(VerifyError::NotNamed { file: file(name), by: signed });
        }
        for (place, descriptor) in byproducts.iter().enumerate() {
            let path = file(&descriptor.name);
            let scratch = format!("build-{number}-{place}");
            tree.promised(&path, &scratch, descriptor.sha256(), None, FILE_BYTES_MAX, &signed)?;
        }
        Ok(true)
    }

    fn is_of_this_build(&self, signed: &str, statement: &Statement) -> Result<(), VerifyError> {
        let contradiction = |found: String, other: &str, expected: String| {
            Err(VerifyError::Contradiction {
                file: signed.to_owned(),
                found,
                other: other.to_owned(),
                expected,
            })
        };
        let Ordered { source, version, release, build_release, architecture } =
            &statement.predicate.build_definition.external_parameters;
        let own = layout::build_path(source, &format!("{version}-{release}-{build_release}-{architecture}"));
        if !self.folder.ends_with(&format!("/{own}")) {
            return contradiction(format!("it is about {own}"), "where it lies", self.folder.clone());
        }
        for subject in &statement.subject {
            if let Some((sha256, index)) =
                self.packages.get(&subject.name).filter(|(it, _)| *it != subject.sha256())
            {
                let found = format!("{} has SHA-256 {}", subject.name, subject.sha256());
                return contradiction(found, index, (*sha256).to_owned());
            }
        }
        Ok(())
    }
}
