//! Between messages and the domain.
//!
//! Numbers that this version does not know are refused, never guessed at.

use farm::failure::FailureClass;
use farm::task::{Artefact, ArtefactKind};

use crate::{summit, vessel};

/// A message says something that this version does not understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot understand the message: {what} number {number} is not known")]
pub struct UnknownNumber {
    /// Of what.
    pub what: &'static str,
    /// The number.
    pub number: i32,
}

impl fault::Fault for UnknownNumber {
    fn kind(&self) -> fault::Kind {
        fault::Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        vec!["the other side may be newer: update this program".into()]
    }
}

impl From<FailureClass> for summit::FailureClass {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::Build => Self::Build,
            FailureClass::Dependency => Self::Dependency,
            FailureClass::TimeLimit => Self::TimeLimit,
            FailureClass::Silence => Self::Silence,
            FailureClass::LogLimit => Self::LogLimit,
            FailureClass::SizeLimit => Self::SizeLimit,
            FailureClass::OutOfMemory => Self::OutOfMemory,
            FailureClass::DiskLimit => Self::DiskLimit,
            FailureClass::HostFault => Self::HostFault,
            FailureClass::StoreFault => Self::StoreFault,
            FailureClass::Lost => Self::Lost,
            FailureClass::Cancelled => Self::Cancelled,
            FailureClass::Unsupported => Self::Unsupported,
        }
    }
}

/// The failure class of this number.
///
/// # Errors
/// When there is none.
pub fn failure_class(number: i32) -> Result<FailureClass, UnknownNumber> {
    FailureClass::ALL
        .into_iter()
        .find(|class| summit::FailureClass::from(*class) as i32 == number)
        .ok_or(UnknownNumber { what: "failure class", number })
}

macro_rules! artefacts {
    ($protocol:ident) => {
        impl From<ArtefactKind> for $protocol::ArtefactKind {
            fn from(kind: ArtefactKind) -> Self {
                match kind {
                    ArtefactKind::Package => Self::Package,
                    ArtefactKind::ManifestBinary => Self::ManifestBinary,
                    ArtefactKind::ManifestJson => Self::ManifestJson,
                    ArtefactKind::Record => Self::Record,
                }
            }
        }

        impl From<Artefact> for $protocol::Artefact {
            fn from(artefact: Artefact) -> Self {
                Self {
                    kind: $protocol::ArtefactKind::from(artefact.kind).into(),
                    name: artefact.name,
                    size_bytes: artefact.size_bytes,
                    sha256: artefact.sha256,
                }
            }
        }

        impl TryFrom<$protocol::Artefact> for Artefact {
            type Error = UnknownNumber;

            /// Names and digests are taken as they are: whoever uses them checks them.
            fn try_from(artefact: $protocol::Artefact) -> Result<Self, UnknownNumber> {
                let kind = match artefact.kind() {
                    $protocol::ArtefactKind::Package => ArtefactKind::Package,
                    $protocol::ArtefactKind::ManifestBinary => ArtefactKind::ManifestBinary,
                    $protocol::ArtefactKind::ManifestJson => ArtefactKind::ManifestJson,
                    $protocol::ArtefactKind::Record => ArtefactKind::Record,
                    $protocol::ArtefactKind::Unspecified => {
                        return Err(UnknownNumber { what: "artefact kind", number: artefact.kind });
                    }
                };
                Ok(Self {
                    kind,
                    name: artefact.name,
                    size_bytes: artefact.size_bytes,
                    sha256: artefact.sha256,
                })
            }
        }
    };
}

artefacts!(summit);
artefacts!(vessel);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_class_survives_the_wire() {
        for class in FailureClass::ALL {
            assert_eq!(failure_class(summit::FailureClass::from(class).into()), Ok(class));
        }
        for number in [0, 14, -1] {
            assert_eq!(failure_class(number).unwrap_err().number, number);
        }
    }

    #[test]
    fn every_artefact_survives_the_wire() {
        for kind in [
            ArtefactKind::Package,
            ArtefactKind::ManifestBinary,
            ArtefactKind::ManifestJson,
            ArtefactKind::Record,
        ] {
            let artefact = Artefact { kind, name: "a".into(), size_bytes: 1, sha256: "0".repeat(64) };
            assert_eq!(summit::Artefact::from(artefact.clone()).try_into(), Ok(artefact.clone()));
            assert_eq!(vessel::Artefact::from(artefact.clone()).try_into(), Ok(artefact));
        }
        let unknown = vessel::Artefact { kind: 9, ..Default::default() };
        assert!(Artefact::try_from(unknown).is_err());
    }
}
