//! Addresses of packages: what an index says, made whole, and never leading away from its repository.
//!
//! Only `http`, `https` and `file` are known. A `file` address is `file://` and an absolute path as it is, nothing in it
//! encoded; in the others, what may not stand in a path of an address is percent-encoded.

use fault::{Fault, Kind};

use crate::layout::INDEX_FILE;

/// Longest address, in bytes: what web servers commonly take.
const URL_BYTES_MAX: usize = 8192;

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No address of a known scheme.
    #[error("cannot use {url:?} as an address: it is not an http, https or file URL with a host or path")]
    Unknown {
        /// The address.
        url: String,
    },
    /// Something in it that has no place there: a query, a fragment, a name and password, a space, `.` or `..`.
    #[error("cannot use {url:?} as an address: it contains {what}")]
    Contains {
        /// The address.
        url: String,
        /// What it contains.
        what: &'static str,
    },
    /// A package that is not named by a relative path.
    #[error("cannot use {uri:?} as the address of a package: it is not a relative path")]
    NotRelative {
        /// What the index says.
        uri: String,
    },
    /// A package elsewhere than in its repository.
    #[error("cannot use {uri:?} as the address of a package: it leaves the repository {base}")]
    Escapes {
        /// What the index says.
        uri: String,
        /// The address that all packages are below.
        base: String,
    },
}

impl Fault for UrlError {
    fn kind(&self) -> Kind {
        match self {
            UrlError::Unknown { .. } | UrlError::Contains { .. } => Kind::Input,
            UrlError::NotRelative { .. } | UrlError::Escapes { .. } => Kind::Denied,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            UrlError::Unknown { .. } | UrlError::Contains { .. } => {
                "write it like \"https://packages.example.org/main\" or \"file:///srv/packages\""
            }
            UrlError::NotRelative { .. } | UrlError::Escapes { .. } => {
                "the index asks for a file outside of its repository: do not use this repository before its owner explains"
            }
        };
        vec![hint.to_owned()]
    }
}

/// An address in two parts: `https://host:port` or `file://`, and an absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    origin: String,
    /// Components of the path; an empty last one stands for a slash at the end.
    path: Vec<String>,
}

impl Address {
    fn parse(url: &str) -> Result<Self, UrlError> {
        let unknown = || UrlError::Unknown { url: url.to_owned() };
        let contains = |what| Err(UrlError::Contains { url: url.to_owned(), what });
        if url.len() > URL_BYTES_MAX {
            return contains("too much");
        }
        let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_file = scheme == "file";
        if !matches!(scheme, "http" | "https" | "file")
            || host.is_empty() != is_file
            || (is_file && path.is_empty())
        {
            return Err(unknown());
        }
        if url.chars().any(|character| character.is_control() || character == '\\') {
            return contains("a control character or a backslash");
        }
        if host.contains('@') {
            return contains("a name or password");
        }
        if !is_file && url.contains(['?', '#', ' ']) {
            return contains("a query, a fragment or a space");
        }
        let path: Vec<String> = path.trim_start_matches('/').split('/').map(str::to_owned).collect();
        if path.iter().any(|component| is_dots(component)) {
            return contains("a component \".\" or \"..\"");
        }
        Ok(Self { origin: format!("{scheme}://{host}"), path })
    }

    fn is_file(&self) -> bool {
        self.origin == "file://"
    }

    fn print(&self) -> String {
        let path = self.path.join("/");
        if self.is_file() { format!("file:///{path}") } else { format!("{}/{}", self.origin, encode(&path)) }
    }
}

/// Checks that an address is one that indexes may be fetched from, and returns it without slashes at the end.
///
/// # Errors
/// For an unknown scheme, and anything but a host and a plain path.
pub fn check_base(url: &str) -> Result<String, UrlError> {
    let trimmed = url.trim_end_matches('/');
    // `file:///` alone loses its path.
    let trimmed = if trimmed.len() < "file://".len() { url } else { trimmed };
    Address::parse(trimmed)?;
    Ok(trimmed.to_owned())
}

/// The address that all packages of an index must be below, with a slash at the end.
///
/// For `…/CHANNEL/history/ID/ARCH/stone.index` it is the channel, whose pool the packages are in. For an index elsewhere it
/// is the whole host, since indexes of other tools keep their pool wherever they like; or, for a file, its folder.
///
/// # Errors
/// For an address that is none; see [`UrlError`].
pub fn package_base(index_url: &str) -> Result<String, UrlError> {
    let mut address = Address::parse(index_url)?;
    let folder = address.path.len().saturating_sub(1);
    let in_history =
        folder >= 3 && address.path[folder] == INDEX_FILE && address.path[folder - 3] == "history";
    address.path.truncate(match (in_history, address.is_file()) {
        (true, _) => folder - 3,
        (false, true) => folder,
        (false, false) => 0,
    });
    address.path.push(String::new());
    Ok(address.print())
}

/// The address of a package whose index, at `index_url`, gives `uri` for it. It lies below [`package_base`] of the index.
///
/// # Errors
/// For a `uri` that is not a relative path, or leads out of the repository.
pub fn package_url(index_url: &str, uri: &str) -> Result<String, UrlError> {
    let base = package_base(index_url)?;
    let mut address = Address::parse(index_url)?;
    let not_relative = || UrlError::NotRelative { uri: uri.to_owned() };
    let escapes = || UrlError::Escapes { uri: uri.to_owned(), base: base.clone() };
    let first = uri.split('/').next().unwrap_or_default();
    let odd = |character: char| character.is_control() || matches!(character, '\\' | '?' | '#' | ' ');
    if first.is_empty() || first.contains(':') || uri.contains(odd) || uri.len() > URL_BYTES_MAX {
        return Err(not_relative());
    }
    // The name of the index itself.
    address.path.pop();
    for component in uri.split('/') {
        match component {
            ".." => {
                address.path.pop().ok_or_else(escapes)?;
            }
            "." => {}
            "" => return Err(not_relative()),
            _ if is_dots(component) || hides_a_slash(component) => return Err(not_relative()),
            _ => address.path.push(component.to_owned()),
        }
    }
    let url = address.print();
    if url.starts_with(&base) && url.len() > base.len() && !uri.ends_with("..") && !uri.ends_with("/.") {
        Ok(url)
    } else {
        Err(escapes())
    }
}

/// Whether a component is `.` or `..`, in any encoding that a server may undo.
fn is_dots(component: &str) -> bool {
    matches!(component.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// Whether a component has an encoded slash, backslash, NUL or percent sign, which could become two components.
fn hides_a_slash(component: &str) -> bool {
    let lower = component.to_ascii_lowercase();
    ["%2f", "%5c", "%00", "%25"].iter().any(|code| lower.contains(code))
}

/// Percent-encodes what may not stand in a path after RFC 3986. A percent sign stays: what is encoded already is.
fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "https://example.org/repo/main/history/17/x86_64/stone.index";

    #[test]
    fn bases() {
        let table = [
            (INDEX, Some("https://example.org/repo/main/")),
            ("file:///srv/public/main/history/17/x86_64/stone.index", Some("file:///srv/public/main/")),
            ("http://[::1]:8080/history/a/b/stone.index", Some("http://[::1]:8080/")),
            ("https://example.org/unstable/x86_64/stone.index", Some("https://example.org/")),
            ("file:///home/me/my repo/stone.index", Some("file:///home/me/my repo/")),
            ("file:///stone.index", Some("file:///")),
            ("ftp://example.org/stone.index", None),
            ("https:///stone.index", None),
            ("file://host/stone.index", None),
            ("stone.index", None),
            ("https://me:secret@example.org/stone.index", None),
            ("https://example.org/stone.index?x=1", None),
            ("https://example.org/a/../stone.index", None),
            ("https://example.org/a/%2e%2E/stone.index", None),
            ("https://example.org/a\nb/stone.index", None),
        ];
        for (url, expect) in table {
            assert_eq!(package_base(url).ok().as_deref(), expect, "{url}");
        }
    }

    #[test]
    fn packages() {
        let local = "file:///srv/stones/stone.index";
        let table = [
            (
                INDEX,
                "../../../pool/v0/n/nano/nano-1.stone",
                Some("https://example.org/repo/main/pool/v0/n/nano/nano-1.stone"),
            ),
            (INDEX, "nano.stone", Some("https://example.org/repo/main/history/17/x86_64/nano.stone")),
            (INDEX, "./a/./nano 1.stone", None),
            (
                INDEX,
                "../../../pool/libstdc++-1^é.stone",
                Some("https://example.org/repo/main/pool/libstdc++-1%5E%C3%A9.stone"),
            ),
            (local, "nano~1.stone", Some("file:///srv/stones/nano~1.stone")),
            (local, "sub/../nano^1.stone", Some("file:///srv/stones/nano^1.stone")),
            (INDEX, "../../../../other/nano.stone", None),
            (INDEX, "../../../../main-evil/nano.stone", None),
            (INDEX, "../../../../../../../../etc/passwd", None),
            (INDEX, "../../..", None),
            (INDEX, "../../../pool/..", None),
            (INDEX, "/etc/passwd", None),
            (INDEX, "//evil.org/nano.stone", None),
            (INDEX, "https://evil.org/nano.stone", None),
            (INDEX, "file:///etc/passwd", None),
            (INDEX, "", None),
            (INDEX, "a//b.stone", None),
            (INDEX, "a/", None),
            (INDEX, "%2e%2e/%2E./%2e%2e/%2e%2e/x.stone", None),
            (INDEX, "..%2f..%2f..%2f..%2fx.stone", None),
            (INDEX, "..\\..\\x.stone", None),
            (INDEX, "x.stone?y", None),
            (INDEX, "x\0.stone", None),
            (local, "../other/nano.stone", None),
            (local, "../stones-evil/nano.stone", None),
        ];
        for (index, uri, expect) in table {
            let found = package_url(index, uri);
            assert_eq!(found.as_deref().ok(), expect, "{uri}: {found:?}");
        }
    }

    #[test]
    fn bases_lose_the_slash_at_their_end() {
        assert_eq!(check_base("https://example.org/").unwrap(), "https://example.org");
        assert_eq!(check_base("file:///srv/public//").unwrap(), "file:///srv/public");
        assert!(check_base("").is_err());
        assert!(check_base("file://").is_err());
    }
}
