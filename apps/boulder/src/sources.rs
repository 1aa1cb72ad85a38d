//! Gets the sources of a recipe and lays them where the build finds them.
//!
//! Archives come out of the cache that is keyed by their digest; git trees out of a mirror. Nothing is unpacked here:
//! that happens inside the sandbox, where a hostile archive can harm nothing but its own build.

use std::path::Path;

use fault::{Fault, Kind};
use fetch::{Digest, FetchError, GitError, GitMirrors, Mirror, Source, SourceCache};
use recipe::Upstream;

/// Why a source is not there.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// An archive cannot be had.
    #[error("cannot get source {url}")]
    Archive {
        /// Where upstream has it.
        url: String,
        /// What was tried.
        #[source]
        source: Box<FetchError>,
    },
    /// The digest in the recipe is none.
    #[error("cannot get source {url}: {digest:?} is not a SHA-256 digest")]
    Digest {
        /// Where upstream has it.
        url: String,
        /// What the recipe says.
        digest: String,
    },
    /// A git tree cannot be had.
    #[error("cannot get source {url}")]
    Git {
        /// Where upstream has it.
        url: String,
        /// What git says.
        #[source]
        source: Box<GitError>,
    },
    /// Two sources want the same name.
    #[error("cannot lay out sources: two of them are called {name:?}")]
    Twice {
        /// The name.
        name: String,
    },
    /// The work folder cannot be written.
    #[error("cannot lay out source {url}")]
    Place {
        /// Where upstream has it.
        url: String,
        /// What the disk says.
        #[source]
        source: std::io::Error,
    },
}

impl SourcesError {
    /// Whether trying again on another machine may help: no place was reached, or the disk failed. One place that was
    /// reached and does not have the source is word enough that the recipe asks for what is not there.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            SourcesError::Archive { source, .. } => match &**source {
                FetchError::Nowhere { attempts, .. } => {
                    attempts.iter().all(|attempt| attempt.reason.kind().meaning().retry)
                }
                other @ FetchError::Cache { .. } => other.kind().meaning().retry,
            },
            other => other.kind().meaning().retry,
        }
    }
}

impl Fault for SourcesError {
    fn kind(&self) -> Kind {
        match self {
            SourcesError::Archive { source, .. } => source.kind(),
            SourcesError::Git { source, .. } => source.kind(),
            SourcesError::Digest { .. } | SourcesError::Twice { .. } => Kind::Input,
            SourcesError::Place { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            SourcesError::Archive { source, .. } => source.hints(),
            SourcesError::Git { source, .. } => source.hints(),
            SourcesError::Digest { .. } => vec!["write the 64 digits that `sha256sum FILE` prints".into()],
            SourcesError::Twice { .. } => vec!["give one of them another name with `rename`".into()],
            SourcesError::Place { .. } => vec!["see that the disk is not full: df -h".into()],
        }
    }
}

/// Where sources are looked for and kept.
pub struct Sources<'a> {
    /// Archives by digest.
    pub cache: &'a SourceCache,
    /// Where else an archive may be.
    pub mirrors: &'a [Mirror],
    /// Git repositories.
    pub git: &'a GitMirrors,
}

/// Lays every upstream into `directory`, under the name by which the build asks for it. Answers what each is, in their order:
/// the SHA-256 of an archive, the commit of a tree in git.
///
/// # Errors
/// When one cannot be had or laid out; the error names it and every place that was tried.
pub fn lay_out(
    upstreams: &[Upstream],
    sources: &Sources<'_>,
    directory: &Path,
) -> Result<Vec<String>, SourcesError> {
    let mut identities = Vec::with_capacity(upstreams.len());
    for upstream in upstreams {
        let url = upstream.url().to_owned();
        let target = directory.join(upstream.file_name());
        if target.symlink_metadata().is_ok() {
            return Err(SourcesError::Twice { name: upstream.file_name().to_owned() });
        }
        match upstream {
            Upstream::Archive { sha256, .. } => {
                let digest = Digest::parse(sha256)
                    .map_err(|_| SourcesError::Digest { url: url.clone(), digest: sha256.clone() })?;
                let cached = sources
                    .cache
                    .fetch(&Source::new(&url, digest), sources.mirrors, &|_| ())
                    .map_err(|source| SourcesError::Archive { url: url.clone(), source: Box::new(source) })?;
                // A link costs nothing; across file systems it has to be a copy.
                fs_err::hard_link(&cached, &target)
                    .or_else(|_| fs_err::copy(&cached, &target).map(|_| ()))
                    .map_err(|source| SourcesError::Place { url, source })?;
                identities.push(sha256.clone());
            }
            Upstream::Git { reference, .. } => {
                let failed = |source| SourcesError::Git { url: url.clone(), source: Box::new(source) };
                let mirror = sources.git.mirror(&url).map_err(failed)?;
                let commit = mirror.resolve(reference).map_err(failed)?;
                mirror.export(&commit, &target).map_err(failed)?;
                identities.push(commit.to_string());
            }
        }
    }
    Ok(identities)
}

#[cfg(test)]
mod tests {
    use fetch::{Client, Order};

    use super::*;

    fn archive(url: &str, sha256: String) -> Upstream {
        Upstream::Archive {
            url: url.to_owned(),
            sha256,
            rename: None,
            strip_components: 1,
            unpack: true,
            unpack_directory: None,
        }
    }

    fn check(upstreams: &[Upstream], expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let cache = SourceCache::new(&folder.path().join("cache"), Client::default(), Order::default());
        let git = GitMirrors::new(&folder.path().join("git"));
        let target = folder.path().join("sources");
        fs_err::create_dir(&target).unwrap();
        let sources = Sources { cache: &cache, mirrors: &[], git: &git };
        let error = lay_out(upstreams, &sources, &target).unwrap_err();
        let text = fault::chain(&error).join(": ");
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_source_is_laid_out_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let original = folder.path().join("x-1.0.tar.gz");
        fs_err::write(&original, "bytes").unwrap();
        let cache = SourceCache::new(&folder.path().join("cache"), Client::default(), Order::default());
        let git = GitMirrors::new(&folder.path().join("git"));
        let target = folder.path().join("sources");
        fs_err::create_dir(&target).unwrap();
        let sources = Sources { cache: &cache, mirrors: &[], git: &git };
        let url = format!("file://{}", original.display());
        lay_out(&[archive(&url, Digest::of(b"bytes").to_string())], &sources, &target).unwrap();
        assert_eq!(fs_err::read(target.join("x-1.0.tar.gz")).unwrap(), b"bytes");
    }

    #[test]
    fn a_source_that_is_not_there_is_no_outage() {
        let attempt = |reason: Box<dyn Fault>| fetch::FailedAttempt { place: "x".into(), reason };
        let nowhere = |attempts| SourcesError::Archive {
            url: "https://x".into(),
            source: Box::new(FetchError::Nowhere {
                file_name: "x".into(),
                sha256: Digest::of(b"x"),
                attempts,
            }),
        };
        let unreachable = || {
            attempt(Box::new(SourcesError::Place { url: String::new(), source: std::io::Error::other("x") }))
        };
        let missing = || attempt(Box::new(SourcesError::Twice { name: String::new() }));
        assert!(nowhere(vec![unreachable(), unreachable()]).is_outage());
        assert!(!nowhere(vec![unreachable(), missing()]).is_outage());
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        check(
            &[archive("file:///nowhere/x.tar.gz", Digest::of(b"x").to_string())],
            "file:///nowhere/x.tar.gz",
        );
        check(&[archive("file:///nowhere/x.tar.gz", "abc".into())], "is not a SHA-256 digest");
    }
}
