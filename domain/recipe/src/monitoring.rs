//! `monitoring.yaml`: where new releases and vulnerabilities of an upstream are announced.

use std::sync::Arc;

use serde::Serialize;

use crate::error::RecipeError;
use crate::model::Text;
use crate::problem::Problem;
use crate::read::{Reader, shorten};
use crate::written::{Key, Node, Value, Written};

/// One `monitoring.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Monitoring {
    /// Where releases are announced.
    pub releases: Releases,
    /// Under which names vulnerabilities are known.
    pub security: Security,
}

/// Where releases are announced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Releases {
    /// The project's number at release-monitoring.org.
    pub id: Option<u64>,
    /// A feed.
    pub rss: Option<String>,
    /// Regular expressions of versions that do not count.
    pub ignore: Vec<String>,
}

/// Under which names vulnerabilities are known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Security {
    /// Entries of the Common Platform Enumeration.
    pub cpe: Vec<PlatformName>,
}

/// One entry of the Common Platform Enumeration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PlatformName {
    /// Who makes it.
    pub vendor: String,
    /// What it is.
    pub product: String,
}

/// A monitoring file and what is doubtful about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedMonitoring {
    /// What it says.
    pub monitoring: Monitoring,
    /// What has no effect, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Reads a `monitoring.yaml`. `file_name` is only for messages.
///
/// # Errors
/// When the text is not YAML of the kind we accept, or a key has a value that it cannot have.
pub fn parse(file_name: &str, text: &str) -> Result<ParsedMonitoring, RecipeError> {
    let written = Written::read(file_name, text)?;
    let mut reader = Reader::new(Arc::clone(&written.source));
    let monitoring = read(&mut reader, &written.root);
    reader.finish(monitoring).map(|(monitoring, warnings)| ParsedMonitoring { monitoring, warnings })
}

fn read(reader: &mut Reader, root: &Node) -> Option<Monitoring> {
    let Value::Mapping(pairs) = &root.value else {
        let message = format!("a monitoring file is a map of keys, not {}", root.kind());
        reader.error(root.start, message, "begin with `releases:`");
        return None;
    };
    let mut monitoring = Monitoring::default();
    for (key, value) in pairs {
        match key.text.as_str() {
            "releases" => monitoring.releases = releases(reader, key, value),
            "security" => monitoring.security = security(reader, key, value),
            _ => reader.unknown_key(key, "of a monitoring file", ["releases", "security"]),
        }
    }
    Some(monitoring)
}

fn releases(reader: &mut Reader, key: &Key, value: &Node) -> Releases {
    let mut releases = Releases::default();
    for (key, value) in reader.pairs_of_map(key, value) {
        match key.text.as_str() {
            "id" => releases.id = stated(reader, value, "id").and_then(|text| number(reader, value, &text)),
            "rss" => releases.rss = stated(reader, value, "rss").map(|text| text.text),
            "ignore" if value.is_null() => {}
            "ignore" => {
                for text in reader.texts(value, "ignore") {
                    if regex::Regex::new(&text).is_err() {
                        let message = format!("{:?} is not a regular expression", shorten(&text));
                        reader.warn(text.position(0), message, "versions are not ignored by it");
                    }
                    releases.ignore.push(text.text);
                }
            }
            _ => reader.unknown_key(key, "of releases", ["id", "rss", "ignore"]),
        }
    }
    releases
}

fn security(reader: &mut Reader, key: &Key, value: &Node) -> Security {
    let mut security = Security::default();
    for (key, value) in reader.pairs_of_map(key, value) {
        match key.text.as_str() {
            "cpe" if value.is_null() => {}
            "cpe" => {
                for item in reader.items(value, "cpe") {
                    security.cpe.extend(platform_name(reader, item));
                }
            }
            _ => reader.unknown_key(key, "of security", ["cpe"]),
        }
    }
    security
}

fn platform_name(reader: &mut Reader, item: &Node) -> Option<PlatformName> {
    let Value::Mapping(pairs) = &item.value else {
        let message = format!("an entry of cpe must be a map, not {}", item.kind());
        reader.error(item.start, message, "write `- vendor: …` and `product: …` below it");
        return None;
    };
    let mut name = PlatformName::default();
    for (key, value) in pairs {
        let text = match key.text.as_str() {
            "vendor" => &mut name.vendor,
            "product" => &mut name.product,
            _ => {
                reader.unknown_key(key, "of an entry of cpe", ["vendor", "product"]);
                continue;
            }
        };
        *text = reader.text(value, &key.text)?.text;
    }
    for (value, what) in [(&name.vendor, "vendor"), (&name.product, "product")] {
        if value.is_empty() {
            reader.error(item.start, format!("the entry of cpe has no {what}"), format!("add `{what}: …`"));
            return None;
        }
    }
    Some(name)
}

/// A value that may be left open with `~`.
fn stated(reader: &mut Reader, value: &Node, what: &str) -> Option<Text> {
    if value.is_null() { None } else { reader.text(value, what) }
}

fn number(reader: &mut Reader, value: &Node, text: &str) -> Option<u64> {
    let number = text.parse().ok();
    if number.is_none() {
        let message = format!("id must be a number, not {:?}", shorten(text));
        reader.error(
            value.start,
            message,
            "take it from the project's page at release-monitoring.org, or write `~`",
        );
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there() {
        let text = "releases:\n  id: 166\n  rss: ~\n  ignore: [ \"^1\\\\.\" ]\nsecurity:\n  cpe:\n    - vendor: gnu\n      \
                    product: bash\n";
        let parsed = parse("monitoring.yaml", text).unwrap();
        assert!(parsed.warnings.is_empty());
        assert_eq!(
            parsed.monitoring.releases,
            Releases { id: Some(166), rss: None, ignore: vec!["^1\\.".into()] }
        );
        let gnu_bash = PlatformName { vendor: "gnu".into(), product: "bash".into() };
        assert_eq!(parsed.monitoring.security.cpe, [gnu_bash]);
        let empty = parse("monitoring.yaml", "releases: { id: ~, rss: ~ }\nsecurity: { cpe: ~ }\n").unwrap();
        assert_eq!((empty.monitoring, empty.warnings), (Monitoring::default(), vec![]));
    }

    #[test]
    fn faults_name_their_place() {
        for (text, place) in [
            ("releases: { id: bash }", "monitoring.yaml:1:17: error: id must be a number"),
            ("security: { cpe: gnu }", "monitoring.yaml:1:18: error: cpe must be a list"),
            (
                "security: { cpe: [ { vendor: gnu } ] }",
                "monitoring.yaml:1:20: error: the entry of cpe has no product",
            ),
            ("- a", "monitoring.yaml:1:1: error: a monitoring file is a map"),
        ] {
            let error = parse("monitoring.yaml", text).unwrap_err().to_string();
            assert!(error.starts_with(place), "{error}");
        }
        let warned = parse("monitoring.yaml", "releases: { idd: 1 }\n").unwrap().warnings;
        assert_eq!(warned.len(), 1);
        assert_eq!(warned[0].help.as_deref(), Some("did you mean \"id\"?"));
    }
}
