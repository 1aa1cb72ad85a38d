//! A repository that went to another address: which one that is, and whether a client may follow by itself.
//!
//! Two things tell a client: the repository itself, by [`Moved`] in its root index or signed pointer; and a list of hosts
//! whose plain `stone.index` addresses became versioned repositories, [`HostRule`]. Nobody is led silently to a place that
//! deserves less trust than the one before; what decides that is [`judge`].

use crate::config::RepositorySource;
use crate::identifier::{Identifier, Version};
use crate::layout::INDEX_FILE;
use crate::root_index::Moved;
use crate::url::{UrlError, check_base};

/// A host on which plain indexes became a versioned repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRule {
    /// The host, with a port where it has one.
    pub host: String,
    /// Where the versioned repository is; on the same host when it is not said.
    pub base_uri: Option<String>,
    /// Its channel.
    pub channel: Identifier,
}

/// From whom a client knows that a repository moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Learned {
    /// From a connection that anybody on the way could have changed.
    Plain,
    /// From a connection to the old host that nobody could change, or from a file of this machine.
    Secure,
    /// From the configuration of this machine.
    Configured,
    /// From something that a trusted key has signed.
    Signed,
}

/// Why a client does not follow by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistrust {
    /// The new place can be read along by others, and the old could not.
    #[error("{from} is a place that nobody can tamper with on the way, and {to} is not")]
    LessSecure {
        /// The old address.
        from: String,
        /// The new one.
        to: String,
    },
    /// Whoever is on the way could have said it.
    #[error("it was said over plain http, where anybody on the way can say so")]
    Hearsay,
}

/// The versioned repository that a plain address became, by the rules; none when no rule speaks of it.
///
/// Known are `HOST[/legacy][/stream]/NAME/ARCH/stone.index`, and the same with `tag` and `history`.
#[must_use]
pub fn versioned(uri: &str, rules: &[HostRule]) -> Option<RepositorySource> {
    let (scheme, rest) = uri.split_once("://")?;
    let (host, path) = rest.split_once('/')?;
    let rule = rules.iter().find(|rule| rule.host.eq_ignore_ascii_case(host))?;
    let path = path.strip_prefix("legacy/").unwrap_or(path);
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.len() == 3 {
        parts.insert(0, "stream");
    }
    let [kind, name, arch, INDEX_FILE] = parts.as_slice() else { return None };
    let version: Version = format!("{kind}/{name}").parse().ok()?;
    package::check_component(arch).ok()?;
    let base_uri = rule.base_uri.clone().unwrap_or_else(|| format!("{scheme}://{host}"));
    Some(RepositorySource::Versioned {
        base_uri: check_base(&base_uri).ok()?,
        channel: rule.channel.clone(),
        version,
        arch: (*arch).to_owned(),
    })
}

/// The same repository at its new address: the version and the architecture stay.
///
/// # Errors
/// When the new address is none. A plain index does not move this way, and gives none.
pub fn followed(source: &RepositorySource, moved: &Moved) -> Result<Option<RepositorySource>, UrlError> {
    let RepositorySource::Versioned { version, arch, .. } = source else { return Ok(None) };
    Ok(Some(RepositorySource::Versioned {
        base_uri: check_base(&moved.base_uri)?,
        channel: moved.channel.clone(),
        version: version.clone(),
        arch: arch.clone(),
    }))
}

/// Whether a client may follow without being told to by its owner. Keys that are pinned stay pinned in any case.
///
/// # Errors
/// When it may not, with the reason.
pub fn judge(from: &RepositorySource, to: &RepositorySource, learned: Learned) -> Result<(), Mistrust> {
    let (from, to) = (address(from), address(to));
    if learned == Learned::Plain {
        return Err(Mistrust::Hearsay);
    }
    // What is signed is checked wherever it comes from.
    if learned != Learned::Signed && is_secure(from) && !is_secure(to) {
        return Err(Mistrust::LessSecure { from: from.to_owned(), to: to.to_owned() });
    }
    Ok(())
}

/// How trustworthy it is what this address says of itself.
#[must_use]
pub fn learned_from(source: &RepositorySource) -> Learned {
    if is_secure(address(source)) { Learned::Secure } else { Learned::Plain }
}

fn address(source: &RepositorySource) -> &str {
    match source {
        RepositorySource::Direct { uri } => uri,
        RepositorySource::Versioned { base_uri, .. } => base_uri,
    }
}

fn is_secure(address: &str) -> bool {
    !address.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Vec<HostRule> {
        let rule = |host: &str, base_uri: Option<&str>| HostRule {
            host: host.into(),
            base_uri: base_uri.map(str::to_owned),
            channel: "main".parse().unwrap(),
        };
        vec![rule("old.example", Some("https://new.example/repo/")), rule("same.example:81", None)]
    }

    fn source(base_uri: &str) -> RepositorySource {
        RepositorySource::Versioned {
            base_uri: base_uri.into(),
            channel: "main".parse().unwrap(),
            version: "stream/volatile".parse().unwrap(),
            arch: "x86_64".into(),
        }
    }

    #[test]
    fn plain_addresses_become_versions() {
        let check = |uri: &str, expect: Option<&str>| {
            let found = versioned(uri, &rules()).map(|source| match source {
                RepositorySource::Versioned { base_uri, channel, version, arch } => {
                    format!("{base_uri} {channel} {version} {arch}")
                }
                RepositorySource::Direct { uri } => uri,
            });
            assert_eq!(found.as_deref(), expect, "{uri}");
        };
        let volatile = Some("https://new.example/repo main stream/volatile x86_64");
        check("https://old.example/volatile/x86_64/stone.index", volatile);
        check("http://OLD.example/volatile/x86_64/stone.index", volatile);
        check("https://old.example/stream/volatile/x86_64/stone.index", volatile);
        check("https://old.example/legacy/stream/volatile/x86_64/stone.index", volatile);
        check(
            "https://old.example/tag/2026-07/aarch64/stone.index",
            Some("https://new.example/repo main tag/2026-07 aarch64"),
        );
        check(
            "http://same.example:81/unstable/x86_64/stone.index",
            Some("http://same.example:81 main stream/unstable x86_64"),
        );
        for other in [
            "https://same.example/unstable/x86_64/stone.index",
            "https://other.example/volatile/x86_64/stone.index",
            "https://old.example/stone.index",
            "https://old.example/a/b/volatile/x86_64/stone.index",
            "https://old.example/volatile/x86_64/other.index",
            "https://old.example/pool/volatile/x86_64/stone.index",
            "https://old.example/-x/x86_64/stone.index",
            "file:///old.example/volatile/x86_64/stone.index",
        ] {
            check(other, None);
        }
    }

    #[test]
    fn nobody_follows_to_a_place_of_less_trust() {
        let check = |from: &str, to: &str, learned: Learned, expect: Result<(), &str>| {
            let found = judge(&source(from), &source(to), learned).map_err(|mistrust| mistrust.to_string());
            match (&found, expect) {
                (Ok(()), Ok(())) => {}
                (Err(found), Err(words)) => assert!(found.contains(words), "{found}"),
                _ => panic!("{from} → {to}, {learned:?}: {found:?}"),
            }
        };
        check("https://a", "https://b", Learned::Secure, Ok(()));
        check("https://a", "http://b", Learned::Secure, Err("nobody can tamper"));
        check("https://a", "http://b", Learned::Configured, Err("nobody can tamper"));
        check("https://a", "http://b", Learned::Signed, Ok(()));
        check("http://a", "https://b", Learned::Plain, Err("plain http"));
        check("http://a", "http://b", Learned::Configured, Ok(()));
        check("http://a", "https://b", Learned::Signed, Ok(()));
        check("file:///a", "https://b", Learned::Secure, Ok(()));
        check("file:///a", "http://b", Learned::Secure, Err("nobody can tamper"));
        assert_eq!(learned_from(&source("http://a")), Learned::Plain);
        assert_eq!(learned_from(&source("file:///a")), Learned::Secure);
    }

    #[test]
    fn what_moved_keeps_its_version() {
        let moved = Moved { base_uri: "https://b/".into(), channel: "other".parse().unwrap() };
        let Some(RepositorySource::Versioned { base_uri, channel, version, arch }) =
            followed(&source("https://a"), &moved).unwrap()
        else {
            panic!()
        };
        assert_eq!((base_uri.as_str(), channel.as_str(), arch.as_str()), ("https://b", "other", "x86_64"));
        assert_eq!(version.to_string(), "stream/volatile");
        let nonsense = Moved { base_uri: "ftp://b".into(), channel: "other".parse().unwrap() };
        assert!(followed(&source("https://a"), &nonsense).is_err());
    }
}
