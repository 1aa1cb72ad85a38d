//! How builds end: what Boulder reports, what is kept on disk, what Summit is told.

pub(crate) use farm::failure::FailureClass;
use serde::{Deserialize, Serialize};
use wire::summit;

/// Longest message that is passed on; it is one line for people.
const MESSAGE_CHARACTERS_MAX: usize = 1000;

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Built(Built),
    Failed(Failure),
}

/// What came out of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Built {
    pub(crate) artefacts: Vec<Artefact>,
    /// Memory at its peak; 0 when it is not known, as for a build that an older agent kept.
    #[serde(default)]
    pub(crate) peak_memory_bytes: u64,
}

/// A file that was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Artefact {
    pub(crate) kind: ArtefactKind,
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ArtefactKind {
    Package,
    ManifestBinary,
    ManifestJson,
    Record,
}

/// Why a build failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    pub(crate) class: FailureClass,
    /// Empty when none began.
    pub(crate) phase: String,
    pub(crate) message: String,
    /// Memory at its peak; 0 when it is not known.
    #[serde(default)]
    pub(crate) peak_memory_bytes: u64,
}

impl Failure {
    pub(crate) fn new(class: FailureClass, phase: &str, message: &str) -> Failure {
        let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
        Failure {
            class,
            phase: phase.to_owned(),
            message: line.chars().take(MESSAGE_CHARACTERS_MAX).collect(),
            peak_memory_bytes: 0,
        }
    }

    /// The same, of a build that took so much memory.
    pub(crate) fn with_peak(self, peak_memory_bytes: u64) -> Failure {
        Failure { peak_memory_bytes, ..self }
    }
}

/// What Boulder writes with `--report`. Fields that a newer Boulder adds are of no interest here.
#[derive(Debug, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
enum Report {
    Built {
        #[serde(default)]
        peak_memory_bytes: u64,
    },
    Failed {
        class: String,
        #[serde(default)]
        phase: String,
        #[serde(default)]
        message: String,
        #[serde(default)]
        peak_memory_bytes: u64,
    },
}

/// Reads Boulder's report: the peak of the memory in bytes when it says that the recipe was built.
pub(crate) fn read_report(text: &str) -> Result<u64, Failure> {
    match serde_json::from_str(text) {
        Ok(Report::Built { peak_memory_bytes }) => Ok(peak_memory_bytes),
        Ok(Report::Failed { class, phase, message, peak_memory_bytes }) => {
            Err(Failure::new(class_of(&class), &phase, &message).with_peak(peak_memory_bytes))
        }
        Err(error) => Err(Failure::new(
            FailureClass::HostFault,
            "",
            &format!("Boulder's report cannot be read: {error}"),
        )),
    }
}

/// The peak of the memory in bytes that Boulder reported, however its build ended; 0 when it said nothing.
pub(crate) fn read_peak(text: &str) -> u64 {
    match read_report(text) {
        Ok(peak_memory_bytes) => peak_memory_bytes,
        Err(failure) => failure.peak_memory_bytes,
    }
}

/// A class by its name. One that this version does not know is the recipe's matter: told as a fault of the host, it
/// would set every builder aside.
fn class_of(name: &str) -> FailureClass {
    serde_json::from_value(name.into()).unwrap_or(FailureClass::Build)
}

fn wire_class(class: FailureClass) -> summit::FailureClass {
    match class {
        FailureClass::Build => summit::FailureClass::Build,
        FailureClass::Dependency => summit::FailureClass::Dependency,
        FailureClass::TimeLimit => summit::FailureClass::TimeLimit,
        FailureClass::Silence => summit::FailureClass::Silence,
        FailureClass::LogLimit => summit::FailureClass::LogLimit,
        FailureClass::SizeLimit => summit::FailureClass::SizeLimit,
        FailureClass::OutOfMemory => summit::FailureClass::OutOfMemory,
        FailureClass::DiskLimit => summit::FailureClass::DiskLimit,
        FailureClass::HostFault => summit::FailureClass::HostFault,
        FailureClass::StoreFault => summit::FailureClass::StoreFault,
        FailureClass::Lost => summit::FailureClass::Lost,
        FailureClass::Cancelled => summit::FailureClass::Cancelled,
        FailureClass::Unsupported => summit::FailureClass::Unsupported,
    }
}

impl From<&Failure> for summit::Failed {
    fn from(failure: &Failure) -> Self {
        summit::Failed {
            class: wire_class(failure.class).into(),
            message: failure.message.clone(),
            phase: failure.phase.clone(),
            peak_memory_bytes: failure.peak_memory_bytes,
        }
    }
}

impl From<&Built> for summit::Built {
    fn from(built: &Built) -> Self {
        summit::Built {
            artefacts: built.artefacts.iter().map(Into::into).collect(),
            peak_memory_bytes: built.peak_memory_bytes,
        }
    }
}

impl From<&Artefact> for summit::Artefact {
    fn from(artefact: &Artefact) -> Self {
        let kind = match artefact.kind {
            ArtefactKind::Package => summit::ArtefactKind::Package,
            ArtefactKind::ManifestBinary => summit::ArtefactKind::ManifestBinary,
            ArtefactKind::ManifestJson => summit::ArtefactKind::ManifestJson,
            ArtefactKind::Record => summit::ArtefactKind::Record,
        };
        summit::Artefact {
            kind: kind.into(),
            name: artefact.name.clone(),
            size_bytes: artefact.size_bytes,
            sha256: artefact.sha256.clone(),
        }
    }
}

/// What a file of Boulder's output is, by its name; nothing for a file nobody asked for.
pub(crate) fn kind_of(name: &str) -> Option<ArtefactKind> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.+~".contains(letter);
    // 255 bytes is NAME_MAX.
    if name.len() > 255 || name.starts_with(['.', '-']) || !name.chars().all(plain) {
        return None;
    }
    if name.ends_with(".stone") {
        Some(ArtefactKind::Package)
    } else if name.starts_with("manifest.") && name.ends_with(".bin") {
        Some(ArtefactKind::ManifestBinary)
    } else if name.starts_with("manifest.") && name.ends_with(".jsonc") {
        Some(ArtefactKind::ManifestJson)
    } else if name.ends_with(".json") {
        Some(ArtefactKind::Record)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_whatever_they_hold() {
        fn check(text: &str, expect: Result<u64, (FailureClass, &str)>) {
            match (read_report(text), expect) {
                (Ok(peak), Ok(expected)) => assert_eq!(peak, expected, "{text}"),
                (Err(failure), Err((class, message))) => {
                    assert_eq!(failure.class, class, "{failure:?}");
                    assert!(failure.message.contains(message), "{failure:?}");
                }
                (got, expected) => panic!("{text}: got {got:?}, expected {expected:?}"),
            }
        }
        check(r#"{"outcome":"built","seconds":3,"packages":[]}"#, Ok(0));
        check(r#"{"outcome":"built","peak_memory_bytes":70000000}"#, Ok(70_000_000));
        check(
            r#"{"outcome":"built","peak_memory_bytes":-1}"#,
            Err((FailureClass::HostFault, "report cannot be read")),
        );
        check(
            r#"{"outcome":"failed","class":"build","phase":"check","message":"it\ndoes not pass"}"#,
            Err((FailureClass::Build, "it does not pass")),
        );
        check(r#"{"outcome":"failed","class":"host-fault"}"#, Err((FailureClass::HostFault, "")));
        check(r#"{"outcome":"failed","class":"time-limit"}"#, Err((FailureClass::TimeLimit, "")));
        check(r#"{"outcome":"failed","class":"of tomorrow"}"#, Err((FailureClass::Build, "")));
        check("", Err((FailureClass::HostFault, "report cannot be read")));
        let failed = r#"{"outcome":"failed","class":"out-of-memory","peak_memory_bytes":9}"#;
        assert_eq!(read_report(failed), Err(Failure::new(FailureClass::OutOfMemory, "", "").with_peak(9)));
        check("{\"outcome\":\"maybe\"}", Err((FailureClass::HostFault, "report cannot be read")));
    }

    #[test]
    fn files_are_told_apart_by_name() {
        fn check(name: &str, expect: Option<ArtefactKind>) {
            assert_eq!(kind_of(name), expect, "{name}");
        }
        check("nano-8.0-1-1-x86_64.stone", Some(ArtefactKind::Package));
        check("manifest.x86_64.bin", Some(ArtefactKind::ManifestBinary));
        check("manifest.x86_64.jsonc", Some(ArtefactKind::ManifestJson));
        check("record.json", Some(ArtefactKind::Record));
        check("notes.txt", None);
        check(".stone", None);
        check("a b.stone", None);
        check("-rf.stone", None);
    }
}
