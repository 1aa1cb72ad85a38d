//! What belongs to a build beside its packages: read, completed with the provenance, and published with them.

use std::collections::{BTreeSet, HashSet};
use std::io::{BufReader, Read};
use std::sync::Arc;

use package::{ManifestFile, PackageMeta};
use repository::layout::{self, PROVENANCE_FILE, SIGNED_PROVENANCE_FILE};
use repository::signed::SignedKind;
use stone::Limits;
use store::{Sha256, Source};

use super::groups::Verified;
use super::{Channel, PublishError, Publisher, blocking};
use crate::admission::{Package, Refusal};
use crate::builds::{BuildFile, DebugFile, orphans};
use crate::expectation::{Artefact, ArtefactKind, Expectation};
use crate::output::Content;
use crate::output::output_digest;
use crate::provenance::{RECORD_FILE, RECORD_SIZE_BYTES_MAX, Record, statement};
use crate::staging::Staging;
use crate::tree::{Object, TreeError};
use crate::verify;

/// A file of a build, and where it is now.
#[derive(Debug, Clone)]
pub(super) struct StagedFile {
    pub(super) file: BuildFile,
    pub(super) from: Source,
}

impl StagedFile {
    pub(super) fn object(self) -> Object {
        let BuildFile { path, sha256, size_bytes, .. } = self.file;
        Object { from: self.from, pool_path: path, sha256, size_bytes }
    }
}

/// What an attempt brought, read completely.
pub(super) struct Contents {
    pub(super) packages: Vec<Package>,
    pub(super) debug: Vec<DebugFile>,
    /// What the packages are to others.
    pub(super) output: Sha256,
    record: Option<Record>,
}

impl Publisher {
    /// Those of the files that have no other bytes under their paths. The files of a build are published once: when a build is
    /// repeated with the same packages, its first record and manifests stay, and nothing comes beside the provenance that does
    /// not speak of it.
    pub(super) async fn new_files(
        &self,
        channel: &str,
        files: Vec<StagedFile>,
    ) -> Result<Vec<StagedFile>, PublishError> {
        let paths = files.iter().map(|file| file.file.path.as_str());
        let known = self.ledger.known_build_files(channel, paths).await?;
        let is_free = |file: &StagedFile| known.get(&file.file.path).is_none_or(|it| *it == file.file.sha256);
        let build = |file: &StagedFile| (file.file.source.clone(), file.file.build.clone());
        let is_provenance = |file: &&StagedFile| file.file.path.ends_with(&format!("/{PROVENANCE_FILE}"));
        let told = files.iter().filter(is_provenance).filter(|file| !is_free(file));
        let told: HashSet<(String, String)> = told.map(build).collect();
        let is_new = |file: &StagedFile| is_free(file) && !told.contains(&build(file));
        Ok(files.into_iter().filter(is_new).collect())
    }

    /// Adds the provenance to what an attempt brought, and says where everything of it goes.
    pub(super) async fn complete(
        &self,
        order: Arc<Expectation>,
        contents: Contents,
    ) -> Result<Verified, PublishError> {
        let Contents { packages, debug, output, record } = contents;
        let digests = record.iter().flat_map(Record::root_digests);
        let published: HashSet<Sha256> = self.ledger.ever_published(digests).await?.into_iter().collect();
        let bytes = statement(&order, record.as_ref(), &|sha256| published.contains(&sha256));
        let signed = self.sign(SignedKind::Provenance, bytes.clone()).await?;
        let (staging, attempt_id) = (self.staging.clone(), order.attempt_id);
        let made = blocking(move || {
            let add = |name: &'static str, bytes: &[u8]| {
                let size_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let sha256 = staging
                    .add(attempt_id, bytes)
                    .map_err(|source| TreeError::Disk { action: "keep the provenance of a build", source })?;
                Ok::<_, TreeError>((name, sha256, size_bytes))
            };
            Ok([add(PROVENANCE_FILE, &bytes)?, add(SIGNED_PROVENANCE_FILE, &signed)?])
        })
        .await?;
        let brought = order.artefacts.iter().filter(|artefact| artefact.kind != ArtefactKind::Package);
        let brought = brought.map(|it| (it.name.as_str(), it.sha256, it.size_bytes));
        let files = brought.chain(made);
        let folder = layout::build_path(&order.source, &order.build());
        let file = |(name, sha256, size_bytes)| BuildFile {
            path: format!("{folder}/{name}"),
            sha256,
            size_bytes,
            source: order.source.clone(),
            build: order.build(),
        };
        let files = files.map(file).collect();
        Ok(Verified { packages, files, debug, output, order })
    }

    /// What belongs to the builds of packages that come from another channel.
    pub(super) async fn files_of_promoted(
        &self,
        from: &Channel,
        arriving: &[&Package],
    ) -> Result<Vec<StagedFile>, PublishError> {
        let all = self.ledger.build_files(&from.name, None).await?;
        let paths: Vec<String> = arriving.iter().map(|package| layout::pool_path(&package.meta)).collect();
        let left: HashSet<&str> = orphans(&all, paths.iter().map(String::as_str))
            .into_iter()
            .map(|file| file.path.as_str())
            .collect();
        let wanted = all.iter().filter(|file| !left.contains(file.path.as_str()));
        Ok(wanted
            .map(|file| StagedFile { file: file.clone(), from: Source::Stored(from.tree.object(&file.path)) })
            .collect())
    }

    /// The debug information in packages that come from another channel.
    pub(super) async fn debug_of_promoted(
        &self,
        from: &Channel,
        arriving: &[&Package],
    ) -> Result<Vec<DebugFile>, PublishError> {
        let paths: Vec<String> = arriving.iter().map(|package| layout::pool_path(&package.meta)).collect();
        Ok(self.ledger.debug_files(&from.name, paths.iter().map(String::as_str)).await?)
    }
}

/// Decodes everything that an attempt brought.
pub(super) fn read_announced(staging: &Staging, order: &Expectation) -> Result<Contents, PublishError> {
    let mut packages = Vec::new();
    let mut debug = Vec::new();
    let mut contents = Vec::new();
    for artefact in order.packages() {
        let path = staging.complete(order.attempt_id, artefact.sha256);
        let (package, layout) = verify::read_announced(&path, &artefact.name, artefact.sha256)?;
        debug.extend(crate::builds::debug_files(&package.meta, &layout));
        contents.push(Content { meta: package.meta.clone(), layout });
        packages.push(package);
    }
    for artefact in order.artefacts.iter().filter(|artefact| artefact.kind == ArtefactKind::ManifestBinary) {
        check_manifest(staging, order, artefact, &packages)?;
    }
    let record = read_record(staging, order)?;
    Ok(Contents { output: output_digest(&contents), packages, debug, record })
}

/// A manifest says what the packages of its build say, or it is refused. What was needed to build only the manifest says.
fn check_manifest(
    staging: &Staging,
    order: &Expectation,
    artefact: &Artefact,
    packages: &[Package],
) -> Result<(), PublishError> {
    let refused = |why| Refusal::Manifest { file: artefact.name.clone(), why };
    let file = open(staging, order, artefact)?;
    let found = ManifestFile::read(BufReader::new(file), &Limits::default())
        .map_err(|source| refused(fault::chain(&source).join(": ")))?;
    let built = ManifestFile::of_build(packages.iter().map(|package| package.meta.clone()))
        .map_err(|source| refused(source.to_string()))?;
    let plain = |meta: &PackageMeta| PackageMeta { build_depends: BTreeSet::new(), ..meta.clone() };
    let mut pairs = found.packages().iter().zip(built.packages());
    let why = match pairs.find(|(found, built)| plain(found) != plain(built)) {
        Some((found, _)) => format!("what it says of {} is not what the package says", found.name),
        None if found.packages().len() == built.packages().len() => return Ok(()),
        None => {
            format!("it lists {} packages, {} were built", found.packages().len(), built.packages().len())
        }
    };
    Err(refused(why).into())
}

fn read_record(staging: &Staging, order: &Expectation) -> Result<Option<Record>, PublishError> {
    let mut records = order.artefacts.iter().filter(|artefact| artefact.kind == ArtefactKind::Record);
    let Some(artefact) = records.find(|artefact| artefact.name == RECORD_FILE) else { return Ok(None) };
    let mut bytes = Vec::new();
    let reading = open(staging, order, artefact)?.take(RECORD_SIZE_BYTES_MAX + 1).read_to_end(&mut bytes);
    reading.map_err(|source| TreeError::Disk { action: "read the record of a build", source })?;
    let record = Record::read(&bytes)?;
    record.check(order)?;
    Ok(Some(record))
}

fn open(staging: &Staging, order: &Expectation, artefact: &Artefact) -> Result<fs_err::File, PublishError> {
    let path = staging.complete(order.attempt_id, artefact.sha256);
    let file = fs_err::File::open(path);
    Ok(file.map_err(|source| TreeError::Disk { action: "read what belongs to a build", source })?)
}
