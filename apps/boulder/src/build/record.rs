//! What went into a build and what came out: for people, and for the farm.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moss::Materialised;
use recipe::{Recipe, Upstream};
use serde::Serialize;

use crate::build::{BuildError, FailureClass, Request, Usage};
use crate::emit::{Artefact, describe_artefact};

/// Name of the record among the artefacts.
const RECORD_FILE: &str = "build-record.json";

/// What went into a build and what came out of it. Two builds with the same packages have two records: times and memory
/// are measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Source name of the recipe.
    pub name: String,
    /// Version of the recipe.
    pub version: String,
    /// Release of the recipe.
    pub release: u64,
    /// The number of this build of the release.
    pub build_release: u64,
    /// Architecture built for.
    pub architecture: String,
    /// What built it: `boulder 0.1.0`.
    pub program: String,
    /// When the build began, in seconds since 1970.
    pub began_at: u64,
    /// Kind of root: `host` or `stones`.
    pub root: &'static str,
    /// `SOURCE_DATE_EPOCH` in seconds.
    pub source_date_epoch: u64,
    /// Sources with what decided that they are the right ones.
    pub sources: Vec<SourceRecord>,
    /// Packages of the build root.
    pub root_packages: Vec<PackageRecord>,
    /// What the machine stood in for.
    pub from_host: Vec<String>,
    /// Phases in order.
    pub phases: Vec<PhaseRecord>,
    /// Packages and manifests.
    pub artefacts: Vec<ArtefactRecord>,
    /// How long everything took.
    pub seconds: f64,
    /// Memory at the peak of the most demanding phase; 0 when it could not be measured.
    pub peak_memory_bytes: u64,
}

/// A source of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceRecord {
    /// Where upstream has it.
    pub url: String,
    /// SHA-256 of an archive, or the commit of a tree in git.
    pub identity: String,
}

/// A package of the build root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageRecord {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its release.
    pub release: u64,
    /// SHA-256 of the package file.
    pub sha256: Option<String>,
}

/// A phase of a build.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseRecord {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
}

/// Something that came out of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArtefactRecord {
    /// File name.
    pub name: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl Record {
    /// `identities` are those of the recipe's upstreams, in their order.
    pub(super) fn begin(
        recipe: &Recipe,
        request: &Request,
        root: &Materialised,
        identities: Vec<String>,
    ) -> Self {
        let source = |(upstream, identity): (&Upstream, String)| SourceRecord {
            url: upstream.url().to_owned(),
            identity,
        };
        Self {
            name: recipe.name.clone(),
            version: recipe.version.clone(),
            release: recipe.release,
            build_release: request.build_release,
            architecture: request.architecture.clone(),
            program: concat!("boulder ", env!("CARGO_PKG_VERSION")).to_owned(),
            began_at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            root: request.root.label(),
            source_date_epoch: request.source_date_epoch,
            sources: recipe.upstreams.iter().zip(identities).map(source).collect(),
            root_packages: root
                .packages
                .iter()
                .map(|package| PackageRecord {
                    name: package.name.clone(),
                    version: package.version.clone(),
                    release: package.release,
                    sha256: package.hash.clone(),
                })
                .collect(),
            from_host: root.unresolved.iter().map(ToString::to_string).collect(),
            phases: Vec::new(),
            artefacts: Vec::new(),
            seconds: 0.0,
            peak_memory_bytes: 0,
        }
    }

    pub(super) fn phase(&mut self, name: &str, seconds: f64) {
        self.phases.push(PhaseRecord { name: name.to_owned(), seconds });
    }

    pub(super) fn finish(&mut self, artefacts: &[Artefact], elapsed: Duration, usage: Usage) {
        self.artefacts = artefacts.iter().map(ArtefactRecord::of).collect();
        self.seconds = elapsed.as_secs_f64();
        self.peak_memory_bytes = usage.peak_memory_bytes;
    }

    /// Writes the record beside the packages.
    pub(super) fn write(&self, output: &Path) -> Result<Artefact, BuildError> {
        let path = output.join(RECORD_FILE);
        let text = serde_json::to_string_pretty(self).map_err(|error| BuildError::Workspace(error.into()))?;
        fs_err::write(&path, text + "\n").map_err(BuildError::Workspace)?;
        describe_artefact(&path).map_err(BuildError::Emit)
    }
}

impl ArtefactRecord {
    fn of(artefact: &Artefact) -> Self {
        let name =
            artefact.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { name, size_bytes: artefact.size_bytes, sha256: artefact.sha256.clone() }
    }
}

/// How a build ended, for the program that started it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Report {
    /// There are packages.
    Built {
        /// How long it took.
        seconds: f64,
        /// Memory at its peak; 0 when it could not be measured.
        peak_memory_bytes: u64,
        /// What came out.
        artefacts: Vec<ArtefactRecord>,
    },
    /// There are none.
    Failed {
        /// Whose fault it is.
        class: FailureClass,
        /// The phase it happened in; empty before the first.
        phase: String,
        /// The error with its causes, in one line.
        message: String,
        /// Memory at its peak; 0 when it could not be measured.
        peak_memory_bytes: u64,
    },
}

impl Report {
    /// Of a build that made packages.
    #[must_use]
    pub fn of_built(record: &Record) -> Self {
        Report::Built {
            seconds: record.seconds,
            peak_memory_bytes: record.peak_memory_bytes,
            artefacts: record.artefacts.clone(),
        }
    }

    /// Of a build that did not.
    #[must_use]
    pub fn of_error(error: &BuildError, usage: Usage) -> Self {
        Report::Failed {
            class: error.class(),
            phase: error.phase().to_owned(),
            message: fault::chain(error).join(": "),
            peak_memory_bytes: usage.peak_memory_bytes,
        }
    }

    /// Writes the report so that a reader finds all of it or nothing.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let partial = path.with_extension("part");
        fs_err::write(&partial, serde_json::to_vec(self)?)?;
        fs_err::rename(&partial, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_class_phase_and_reason() {
        let error = BuildError::Exited { phase: "check".into(), status: 1 };
        let usage = Usage { peak_memory_bytes: 5 << 20 };
        let json = serde_json::to_value(Report::of_error(&error, usage)).unwrap();
        assert_eq!(json["outcome"], "failed");
        assert_eq!(json["class"], "build");
        assert_eq!(json["phase"], "check");
        assert!(json["message"].as_str().unwrap().contains("exit status 1"));
        assert_eq!(json["peak_memory_bytes"], 5 << 20);
    }
}
