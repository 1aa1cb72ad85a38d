//! `upstreams`: what is fetched. Whatever becomes a path or an argument later is checked here.

use std::collections::BTreeMap;

use crate::model::{Upstream, url_file_name};
use crate::name;
use crate::problem::Position;
use crate::read::{Reader, shorten};
use crate::written::{Key, Node, Value};

const ARCHIVE_KEYS: &[&str] = &["hash", "rename", "stripdirs", "unpack", "unpackdir"];
const GIT_KEYS: &[&str] = &["ref", "clonedir"];

/// The reference tool drops the one directory that releases are packed in.
const STRIP_COMPONENTS_DEFAULT: u8 = 1;

impl Reader {
    pub(super) fn upstream(&mut self, key: &Key, value: &Node) -> Option<Upstream> {
        if let Some(url) = key.text.strip_prefix("git|") {
            self.url(url, key)?;
            self.git(url, key, value)
        } else {
            self.url(&key.text, key)?;
            self.archive(&key.text, key, value)
        }
    }

    /// Warns when two upstreams would be one file in the folder of sources.
    pub(super) fn same_names(&mut self, list: &Node, upstreams: &[Upstream]) {
        let mut seen = BTreeMap::new();
        for upstream in upstreams {
            if let Some(first) = seen.insert(upstream.file_name(), upstream.url()) {
                let name = upstream.file_name();
                let message =
                    format!("two upstreams have the file name {name:?}: {first} and {}", upstream.url());
                self.error(list.start, message, "give one of them another name with `rename` (not for git)");
            }
        }
    }

    fn url(&mut self, url: &str, key: &Key) -> Option<()> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        let known = scheme.is_some_and(|scheme| {
            scheme.starts_with(|first: char| first.is_ascii_lowercase())
                && scheme
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'))
        });
        if !known || url.chars().any(|character| character.is_whitespace() || character.is_control()) {
            let message = format!("{:?} is not a URL", shorten(url));
            self.error(key.start, message, "write `https://host/file` or `git|https://host/repository.git`");
            return None;
        }
        Some(())
    }

    fn archive(&mut self, url: &str, key: &Key, value: &Node) -> Option<Upstream> {
        let mut hash = None;
        let mut rename = None;
        let mut strip_components = STRIP_COMPONENTS_DEFAULT;
        let mut unpack = true;
        let mut unpack_directory = None;
        match &value.value {
            Value::Mapping(pairs) => {
                for (key, value) in pairs {
                    match key.text.as_str() {
                        "hash" => hash = Some(value),
                        "rename" => rename = self.component(value, "rename"),
                        "stripdirs" => strip_components = self.strip_components(value),
                        "unpack" => unpack = self.boolean(value, "unpack").unwrap_or(true),
                        "unpackdir" => unpack_directory = self.directory(value, "unpackdir"),
                        "ref" | "clonedir" => self.wrong_properties(key, "only for git upstreams", "hash"),
                        _ => self.unknown_key(key, "of an upstream", ARCHIVE_KEYS.iter().copied()),
                    }
                }
            }
            _ => hash = Some(value),
        }
        let Some(hash) = hash else {
            self.error(key.start, "the upstream has no hash", "add `hash: …`, as `sha256sum FILE` prints it");
            return None;
        };
        let sha256 = self.sha256(hash)?;
        if rename.is_none() {
            self.default_name(url, key.start, "rename")?;
        }
        Some(Upstream::Archive {
            url: url.to_owned(),
            sha256,
            rename,
            strip_components,
            unpack,
            unpack_directory,
        })
    }

    fn git(&mut self, url: &str, key: &Key, value: &Node) -> Option<Upstream> {
        let mut reference = None;
        let mut clone_directory = None;
        match &value.value {
            Value::Mapping(pairs) => {
                for (key, value) in pairs {
                    match key.text.as_str() {
                        "ref" => reference = Some(value),
                        "clonedir" => clone_directory = self.directory(value, "clonedir"),
                        "hash" | "rename" | "stripdirs" | "unpack" => {
                            self.wrong_properties(key, "not for git upstreams", "ref");
                        }
                        "unpackdir" => {
                            let help = "write `clonedir`";
                            self.warn(key.start, "unpackdir is ignored for a git upstream", help);
                        }
                        _ => self.unknown_key(key, "of a git upstream", GIT_KEYS.iter().copied()),
                    }
                }
            }
            _ => reference = Some(value),
        }
        let Some(reference) = reference else {
            self.error(key.start, "the git upstream has no ref", "add `ref: …` with the commit");
            return None;
        };
        let reference = self.checked(reference, "ref", name::check_git_reference);
        self.default_name(url, key.start, "clonedir")?;
        Some(Upstream::Git { url: url.to_owned(), reference, clone_directory })
    }

    fn wrong_properties(&mut self, key: &Key, why: &str, instead: &str) {
        self.error(key.start, format!("{:?} is {why}", key.text), format!("give `{instead}`"));
    }

    fn sha256(&mut self, node: &Node) -> Option<String> {
        let (text, _) = self.required(node, "hash")?;
        let text = text.trim().to_ascii_lowercase();
        // SHA-256 has 32 bytes, two digits each.
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let message =
                format!("the hash {:?} is not the 64 hexadecimal digits of a SHA-256", shorten(&text));
            self.error(node.start, message, "take it from `sha256sum FILE`");
            return None;
        }
        Some(text)
    }

    fn strip_components(&mut self, node: &Node) -> u8 {
        let Some((text, _)) = self.required(node, "stripdirs") else { return STRIP_COMPONENTS_DEFAULT };
        text.parse().unwrap_or_else(|_| {
            let message = format!("stripdirs must be a number from 0 to 255, not {:?}", shorten(&text));
            self.error(node.start, message, "write how many leading directories to drop");
            STRIP_COMPONENTS_DEFAULT
        })
    }

    fn component(&mut self, node: &Node, what: &str) -> Option<String> {
        Some(self.checked(node, what, name::check_component)).filter(|text| !text.is_empty())
    }

    fn directory(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.checked(node, what, name::check_relative_path);
        Some(text.trim_end_matches('/').to_owned()).filter(|text| !text.is_empty())
    }

    fn default_name(&mut self, url: &str, at: Position, key: &str) -> Option<()> {
        if let Err(why) = name::check_component(url_file_name(url)) {
            let message = format!("the URL's last part cannot be a file name: {why}");
            self.error(at, message, format!("give a name with `{key}`, or use a URL that ends with one"));
            return None;
        }
        Some(())
    }
}
