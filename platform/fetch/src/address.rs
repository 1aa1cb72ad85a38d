//! Addresses that can be read: `http:`, `https:` and `file:`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use fault::{Fault, Kind};
use ureq::http::Uri;

/// Longest address that is looked at; what web servers commonly accept as a request line.
const LENGTH_BYTES_MAX: usize = 8192;

/// An address that was looked at and can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// To be asked of a server.
    Http(String),
    /// A file of this machine.
    File(PathBuf),
}

/// An address cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the address {address:?}: {why}")]
pub struct AddressError {
    address: String,
    why: String,
}

impl Fault for AddressError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        vec!["write it as https://host/path, http://host/path or file:///path".to_owned()]
    }
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Address, AddressError> {
        let refused = |why: &str| {
            let address = redacted(text).chars().take(200).collect();
            AddressError { address, why: why.to_owned() }
        };
        if text.len() > LENGTH_BYTES_MAX {
            return Err(refused("it is too long"));
        }
        if text.chars().any(|character| character.is_control() || character == ' ') {
            return Err(refused("it holds a blank or a control character"));
        }
        if let Some(rest) = text.strip_prefix("file://") {
            let path = rest.strip_prefix("localhost").unwrap_or(rest);
            if !path.starts_with('/') {
                return Err(refused("a file: address needs three slashes and an absolute path"));
            }
            return match percent_decoded(path) {
                Some(bytes) if !bytes.contains(&0) => {
                    Ok(Address::File(PathBuf::from(OsString::from_vec(bytes))))
                }
                _ => Err(refused("its % escapes are broken")),
            };
        }
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err(refused("only https:, http: and file: are fetched"));
        }
        match text.parse::<Uri>() {
            Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => Ok(Address::Http(text.to_owned())),
            Ok(_) => Err(refused("it names no host")),
            Err(error) => Err(refused(&error.to_string())),
        }
    }
}

/// `address` as it may be printed: a user name and password before the host are left out.
#[must_use]
pub fn redacted(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://[redacted]@{host}{path}"),
        None => address.to_owned(),
    }
}

/// The last segment of the path of `address`, decoded, if it can be a file name.
pub(crate) fn file_name(address: &str) -> Option<String> {
    let path = address.split(['?', '#']).next().unwrap_or(address);
    let last = path.rsplit('/').next()?;
    let name = String::from_utf8(percent_decoded(last)?).ok()?;
    is_file_name(&name).then_some(name)
}

/// Whether `name` is one plain path segment.
pub(crate) fn is_file_name(name: &str) -> bool {
    // 255 bytes is NAME_MAX of every file system in use.
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains('/')
        && !name.chars().any(char::is_control)
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused_with_a_reason() {
        fn check(text: &str, expect: Result<Address, &str>) {
            match (Address::parse(text), expect) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected),
                (Err(got), Err(part)) => assert!(got.to_string().contains(part), "{got}"),
                (got, expected) => panic!("{text}: got {got:?}, expected {expected:?}"),
            }
        }
        check("https://host/a?b=c", Ok(Address::Http("https://host/a?b=c".to_owned())));
        check("file:///tmp/a%20b", Ok(Address::File(PathBuf::from("/tmp/a b"))));
        check("file://localhost/tmp", Ok(Address::File(PathBuf::from("/tmp"))));
        check("file://elsewhere/tmp", Err("three slashes"));
        check("file:///tmp/%zz", Err("escapes are broken"));
        check("file:///tmp/%00", Err("escapes are broken"));
        check("ftp://host/a", Err("only https:"));
        check("/etc/passwd", Err("only https:"));
        check("https:///a", Err("cannot read the address"));
        check("http://host/a b", Err("blank"));
        check("http://host/a\r\nX: y", Err("control character"));
        check(&format!("http://host/{}", "a".repeat(9000)), Err("too long"));
    }

    #[test]
    fn credentials_are_never_shown() {
        fn check(address: &str, expect: &str) {
            assert_eq!(redacted(address), expect);
        }
        check("https://host/a@b", "https://host/a@b");
        check("https://user:secret@host:1/a", "https://[redacted]@host:1/a");
        check("https://us@er:se@host/a", "https://[redacted]@host/a");
        check("git@host:path", "git@host:path");
        let error = Address::parse("https://user:secret@host/a b").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn a_file_name_is_the_last_segment() {
        fn check(address: &str, expect: Option<&str>) {
            assert_eq!(file_name(address).as_deref(), expect, "{address}");
        }
        check("https://host/a/x-1.0.tar.gz", Some("x-1.0.tar.gz"));
        check("https://host/a/x%2B1.tar.gz?download=1#top", Some("x+1.tar.gz"));
        check("https://host/a/", None);
        check("https://host/a/%2e%2e", None);
        check("https://host/a/b%2Fc", None);
    }
}
