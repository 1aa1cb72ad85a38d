//! Moss updates itself first, where a repository has gone to a format that it cannot read.
//!
//! The root index names a version that can still be read, `upgrade_via`. From there the package `moss` is taken, and what it
//! needs, and nothing else; that is a state of its own, so the way back is open. The new program then does what the old one
//! was asked to. It may be led on in the same way, in any number of hops.
//!
//! Every hop leads to a package that was not met before on this way, so the way ends: where the repository cannot be
//! read, or where it leads in a circle or nowhere, which is told as such. A Moss that does not even start is taken back.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fault::{Fault, Kind};
use fs_err as fs;
use repository::{RepositoryConfig, RepositorySource, Version};
use system::resolve::Request;
use system::{PackageId, StateId};

use crate::change::{Change, ChangeError, System};
use crate::refresh::Freshness;

/// The package that holds Moss, and the program in it.
const PACKAGE: &str = "moss";
const PROGRAM: &str = "usr/bin/moss";

/// The variable in which one Moss tells the next which packages of Moss were met on the way.
const TRAIL_VARIABLE: &str = "MOSS_SELF_UPGRADE_TRAIL";

/// Hops of one way. A repository had one format in its first three years.
const HOPS_MAX: usize = 32;

/// Why Moss could not update itself.
#[derive(Debug, thiserror::Error)]
pub enum SelfUpgradeError {
    /// The change itself.
    #[error("cannot update moss, which repository {repository} needs")]
    Change {
        /// The repository.
        repository: String,
        /// Why not.
        #[source]
        source: Box<ChangeError>,
    },
    /// The repository says nothing that helps.
    #[error(
        "cannot use repository {repository}: it has the format {format:?}, which this moss does not know, and it names no version from which moss could be updated"
    )]
    NoWay {
        /// The repository.
        repository: String,
        /// Its format.
        format: String,
    },
    /// The root has no Moss of its own.
    #[error("cannot update moss for repository {repository}: the package {PACKAGE} is not installed in {}", root.display())]
    NotInstalled {
        /// The repository.
        repository: String,
        /// The root.
        root: PathBuf,
    },
    /// The newest Moss that can be had is the one that runs.
    #[error(
        "cannot use repository {repository}: it has the format {format:?}, and the newest moss of {via} is {moss}, which does not know it"
    )]
    DeadEnd {
        /// The repository.
        repository: String,
        /// Its format.
        format: String,
        /// Where a newer one should be.
        via: Version,
        /// What is there.
        moss: String,
    },
    /// The way leads back to a Moss that has been there.
    #[error(
        "cannot use repository {repository}: its way to format {format:?} leads in a circle, from moss to moss and back to {moss}"
    )]
    Circle {
        /// The repository.
        repository: String,
        /// Its format.
        format: String,
        /// Where it came by twice.
        moss: String,
    },
    /// The new program cannot be started.
    #[error("cannot go on with the new moss: {why}")]
    Broken {
        /// What it does instead.
        why: String,
        /// Where the system is now.
        back_to: Option<StateId>,
    },
}

impl Fault for SelfUpgradeError {
    fn kind(&self) -> Kind {
        match self {
            SelfUpgradeError::Change { source, .. } => source.kind(),
            SelfUpgradeError::NoWay { .. } | SelfUpgradeError::NotInstalled { .. } => Kind::Conflict,
            SelfUpgradeError::DeadEnd { .. }
            | SelfUpgradeError::Circle { .. }
            | SelfUpgradeError::Broken { .. } => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        let owner = "tell whoever publishes the repository; until then, switch it off: active #false in its file in etc/moss/repo.d";
        match self {
            SelfUpgradeError::Change { source, .. } => source.hints(),
            SelfUpgradeError::NoWay { .. } => {
                vec!["get a newer moss elsewhere, and use it with -D on this root".into(), owner.into()]
            }
            SelfUpgradeError::NotInstalled { .. } => {
                vec!["use a newer moss on this root: the one that runs is not of it".into()]
            }
            SelfUpgradeError::DeadEnd { .. } | SelfUpgradeError::Circle { .. } => vec![owner.into()],
            SelfUpgradeError::Broken { back_to: Some(state), .. } => {
                vec![format!("state {state} is active again, with the moss of before"), owner.into()]
            }
            SelfUpgradeError::Broken { back_to: None, .. } => {
                vec!["go back to an earlier state: moss state list".into()]
            }
        }
    }
}

/// A repository whose format is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// The repository.
    pub repository: RepositoryConfig,
    /// Its format.
    pub format: String,
    /// Where it says that a newer Moss is.
    pub upgrade_via: Option<Version>,
}

/// The next hop.
#[derive(Debug)]
pub struct SelfUpgrade {
    repository: String,
    trail: Trail,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// Moss becomes another package.
    Replace(Box<Change>),
    /// The root has a Moss that may know more than the one that runs.
    Continue,
}

impl SelfUpgrade {
    /// What would be changed; nothing where only another program goes on.
    #[must_use]
    pub fn change(&self) -> Option<&Change> {
        match &self.step {
            Step::Replace(change) => Some(change),
            Step::Continue => None,
        }
    }
}

/// Packages of Moss that were met on the way, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Trail(Vec<PackageId>);

impl Trail {
    /// What the Moss before said. Something else in the variable counts as nothing.
    fn read(text: Option<&OsStr>) -> Self {
        let ids = text.and_then(OsStr::to_str).unwrap_or_default().split(',').take(HOPS_MAX + 1);
        Self(ids.filter_map(|id| id.parse().ok()).collect())
    }

    fn text(&self) -> String {
        self.0.iter().map(PackageId::as_str).collect::<Vec<_>>().join(",")
    }

    fn has(&self, id: &PackageId) -> bool {
        self.0.contains(id) || self.0.len() >= HOPS_MAX
    }

    fn and(mut self, id: PackageId) -> Self {
        if !self.0.contains(&id) {
            self.0.push(id);
        }
        self
    }
}

impl System<'_> {
    /// Plans the next hop towards a Moss that can read the repository, and changes nothing.
    ///
    /// # Errors
    /// When there is none, or it cannot be had.
    pub fn plan_self_upgrade(&self, outdated: &Outdated) -> Result<SelfUpgrade, SelfUpgradeError> {
        let trail = Trail::read(std::env::var_os(TRAIL_VARIABLE).as_deref());
        let repository = outdated.repository.id.clone();
        let format = outdated.format.clone();
        let changed =
            |source| SelfUpgradeError::Change { repository: repository.clone(), source: Box::new(source) };
        let (Some(via), RepositorySource::Versioned { .. }) =
            (outdated.upgrade_via.clone(), &outdated.repository.source)
        else {
            return Err(SelfUpgradeError::NoWay { repository, format });
        };
        let installed = self.installed().map_err(changed)?;
        let Some(own) = installed.iter().find(|package| package.meta.name == PACKAGE) else {
            let root = self.installation().root().to_path_buf();
            return Err(SelfUpgradeError::NotInstalled { repository, root });
        };
        let mut from = outdated.repository.clone();
        if let RepositorySource::Versioned { version, .. } = &mut from.source {
            *version = via.clone();
        }
        let change = self
            .plan_from(&[from], &Request::Upgrade(PACKAGE.to_owned()), Freshness::Required)
            .map_err(changed)?;
        let next = change.resolution.upgraded.iter().find(|upgrade| upgrade.to.name == PACKAGE);
        let (step, id, moss) = match next {
            Some(upgrade) => {
                (Step::Replace(Box::new(change.clone())), &upgrade.to.id, upgrade.to.to_string())
            }
            None => {
                let moss = format!("{PACKAGE} {}-{}", own.meta.version, own.meta.release);
                if self.runs_here() {
                    return Err(SelfUpgradeError::DeadEnd { repository, format, via, moss });
                }
                (Step::Continue, &own.id, moss)
            }
        };
        if trail.has(id) {
            return Err(SelfUpgradeError::Circle { repository, format, moss });
        }
        // A Moss that is replaced without having been led here counts as met, too.
        let trail = if self.runs_here() { trail.and(own.id.clone()) } else { trail };
        Ok(SelfUpgrade { repository, trail: trail.and(id.clone()), step })
    }

    /// Whether the program that runs is the one of this root.
    fn runs_here(&self) -> bool {
        let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        let own = identity(&self.installation().root().join(PROGRAM));
        own.is_some() && own == identity(Path::new("/proc/self/exe"))
    }

    /// Carries out the hop, and becomes the new program with these arguments. Only comes back when that fails.
    pub fn self_upgrade(self, upgrade: SelfUpgrade, arguments: &[OsString]) -> SelfUpgradeError {
        let before = match self.installation().active_state() {
            Ok(before) => before,
            Err(error) => return upgrade.failed(error.into()),
        };
        if let Step::Replace(change) = &upgrade.step {
            let description = format!("moss updates itself, for repository {}", upgrade.repository);
            if let Err(error) = self.apply(change, &description) {
                return upgrade.failed(error);
            }
        }
        let program = self.installation().root().join(PROGRAM);
        if let Err(why) = starts(&program) {
            let back_to = before
                .filter(|before| matches!(upgrade.step, Step::Replace(_)) && self.activate(*before).is_ok());
            return SelfUpgradeError::Broken { why, back_to };
        }
        // The lock is closed with the old program, so that the new one can take it.
        let mut command = Command::new(&program);
        command.args(arguments.iter().skip(1)).env(TRAIL_VARIABLE, upgrade.trail.text());
        let error = command.exec();
        SelfUpgradeError::Broken { why: error.to_string(), back_to: None }
    }
}

impl SelfUpgrade {
    fn failed(self, error: ChangeError) -> SelfUpgradeError {
        SelfUpgradeError::Change { repository: self.repository, source: Box::new(error) }
    }
}

/// Whether a program of Moss can say its version; a missing library would show here, and not when it is too late.
fn starts(program: &Path) -> Result<(), String> {
    let run = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let output = run.map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it says nothing");
    Err(format!("{} --version ends with {}: {said}", program.display(), output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_goes_from_one_to_the_next() {
        let id = |digit: &str| digit.repeat(64).parse::<PackageId>().unwrap();
        let trail = Trail::default().and(id("a")).and(id("b")).and(id("a"));
        assert_eq!(Trail::read(Some(OsStr::new(&trail.text()))), trail);
        assert!(trail.has(&id("a")) && !trail.has(&id("c")));
        assert_eq!(Trail::read(Some(OsStr::new("what,../else"))), Trail::default());
        assert_eq!(Trail::read(None), Trail::default());
        let long = (0..HOPS_MAX).fold(Trail::default(), |trail, hop| trail.and(id(&format!("{hop:x}")[..1])));
        assert_eq!(long.0.len(), 16);
    }

    #[test]
    fn a_program_that_does_not_start_is_told() {
        assert!(starts(Path::new("/bin/true")).is_ok());
        assert!(starts(Path::new("/bin/false")).unwrap_err().contains("exit status: 1"));
        assert!(starts(Path::new("/nonexistent")).unwrap_err().contains("cannot be started"));
    }
}
