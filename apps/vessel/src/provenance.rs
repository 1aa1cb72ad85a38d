//! The provenance of a build: an in-toto statement (v1) with a SLSA provenance (v1), about every file that it published.
//!
//! Pure. What Vessel knows by itself stands plain: the digests, which it computed, and the order, which Summit gave.
//! What only the builder tells, in its record, says so: each dependency has the annotation `saidBy`, `summit` or
//! `builder`. For a package of the build root Vessel adds whether it ever published those bytes itself.
//!
//! The same order, record and answers give the same bytes. The statement is not signed here.

use std::collections::BTreeMap;

use fault::{Fault, Kind};
use serde::{Deserialize, Serialize};

use crate::admission::Refusal;
use crate::expectation::{Artefact, ArtefactKind, Expectation};
use store::Sha256;

/// Name of the file in which Boulder tells what went into a build.
pub(crate) const RECORD_FILE: &str = "build-record.json";

/// Bytes of a record: one of a thousand build-root packages and four thousand artefacts has one and a half million.
pub(crate) const RECORD_SIZE_BYTES_MAX: u64 = 8 << 20;

/// Entries of one list of a record. A build root of everything there is has ten thousand packages.
const ENTRIES_MAX: usize = 20_000;

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// What is done with the parameters: Boulder builds the recipe at the path of the commit.
const BUILD_TYPE: &str = "urn:moraine:build:recipe:v1";

/// What the builder tells of a build. What a newer Boulder adds is of no interest here.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Record {
    name: String,
    version: String,
    release: u64,
    build_release: u64,
    architecture: String,
    /// Unix seconds.
    #[serde(default)]
    began_at: Option<u64>,
    #[serde(default)]
    seconds: f64,
    #[serde(default)]
    program: String,
    #[serde(default)]
    root: String,
    #[serde(default)]
    sources: Vec<SourceClaim>,
    #[serde(default)]
    root_packages: Vec<PackageClaim>,
    #[serde(default)]
    from_host: Vec<String>,
    #[serde(default)]
    artefacts: Vec<ArtefactClaim>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct SourceClaim {
    url: String,
    identity: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct PackageClaim {
    name: String,
    version: String,
    release: u64,
    #[serde(default)]
    sha256: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct ArtefactClaim {
    name: String,
    sha256: String,
}

/// Why a record is none.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is no JSON of the right form.
    #[error("cannot read the record of the build")]
    Form {
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is larger than any is.
    #[error(
        "cannot read the record of the build: it has {size_bytes} bytes, at most {RECORD_SIZE_BYTES_MAX} are read"
    )]
    Size {
        /// What it has.
        size_bytes: u64,
    },
    /// It lists more than any build has.
    #[error("cannot read the record of the build: it lists {count} {what}, at most {ENTRIES_MAX} are read")]
    TooMany {
        /// "sources", "packages of the build root" …
        what: &'static str,
        /// How many.
        count: usize,
    },
}

impl Fault for RecordError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        vec![format!(
            "{RECORD_FILE} is written by Boulder; build with a version of the same release as Vessel"
        )]
    }
}

impl Record {
    /// Reads the bytes of a record.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let size_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size_bytes > RECORD_SIZE_BYTES_MAX {
            return Err(RecordError::Size { size_bytes });
        }
        let record: Self = serde_json::from_slice(bytes).map_err(|source| RecordError::Form { source })?;
        for (what, count) in [
            ("sources", record.sources.len()),
            ("packages of the build root", record.root_packages.len()),
            ("things of the host", record.from_host.len()),
            ("files", record.artefacts.len()),
        ] {
            if count > ENTRIES_MAX {
                return Err(RecordError::TooMany { what, count });
            }
        }
        Ok(record)
    }

    /// A record of something else than was ordered, or of other files than were announced, is refused.
    pub(crate) fn check(&self, order: &Expectation) -> Result<(), Refusal> {
        let other = |field, found: &str, ordered: &str| {
            let shortened = |text: &str| text.chars().take(120).collect();
            let file = RECORD_FILE.to_owned();
            Err(Refusal::NotOrdered { file, field, found: shortened(found), ordered: shortened(ordered) })
        };
        let fields = [
            ("source", self.name.clone(), order.source.clone()),
            ("version", self.version.clone(), order.version.clone()),
            ("release", self.release.to_string(), order.release.to_string()),
            ("build release", self.build_release.to_string(), order.build_release.to_string()),
            ("architecture", self.architecture.clone(), order.architecture.clone()),
        ];
        for (field, found, ordered) in &fields {
            if found != ordered {
                return other(field, found, ordered);
            }
        }
        let announced: BTreeMap<&str, Sha256> =
            order.artefacts.iter().map(|artefact| (artefact.name.as_str(), artefact.sha256)).collect();
        for claim in &self.artefacts {
            match announced.get(claim.name.as_str()) {
                Some(sha256) if sha256.to_string() == claim.sha256 => {}
                Some(sha256) => return other("digest of a file", &claim.sha256, &sha256.to_string()),
                None => return other("list of files", &claim.name, "what was announced"),
            }
        }
        Ok(())
    }

    /// Digests of the packages of the build root, as far as they are digests.
    pub(crate) fn root_digests(&self) -> impl Iterator<Item = Sha256> {
        self.root_packages.iter().filter_map(|claim| claim.sha256.as_ref()?.parse().ok())
    }
}

/// The bytes of the statement about what an order brought. `is_published` says of a digest whether a package of these bytes
/// was ever published here.
pub(crate) fn statement(
    order: &Expectation,
    record: Option<&Record>,
    is_published: &dyn Fn(Sha256) -> bool,
) -> Vec<u8> {
    let (subject, byproducts): (Vec<&Artefact>, Vec<&Artefact>) =
        order.artefacts.iter().partition(|artefact| artefact.kind == ArtefactKind::Package);
    let origin = &order.origin;
    let mut resolved = Vec::new();
    if !origin.repository.is_empty() {
        resolved.push(recipe(order));
    }
    if let Some(record) = record {
        resolved.extend(record.sources.iter().map(source));
        resolved.extend(record.root_packages.iter().map(|claim| root_package(claim, is_published)));
        resolved.extend(record.from_host.iter().map(|name| said_by_builder(name, "build-root, of the host")));
    }
    let statement = Statement {
        kind: STATEMENT_TYPE,
        subject: subject.into_iter().map(descriptor).collect(),
        predicate_type: PREDICATE_TYPE,
        predicate: Predicate {
            build_definition: BuildDefinition {
                build_type: BUILD_TYPE,
                external_parameters: ExternalParameters {
                    channel: &order.channel,
                    source: &order.source,
                    version: &order.version,
                    release: order.release,
                    build_release: order.build_release,
                    architecture: &order.architecture,
                    repository: &origin.repository,
                    commit: &origin.commit,
                    recipe_path: &origin.recipe_path,
                },
                internal_parameters: InternalParameters {
                    task: order.task_id,
                    attempt: order.attempt_id,
                    root: record.map(|record| record.root.as_str()).unwrap_or_default(),
                },
                resolved_dependencies: resolved,
            },
            run_details: RunDetails {
                builder: Builder {
                    id: format!("urn:moraine:builder:{}", order.builder),
                    name: &origin.builder_name,
                    program: record.map(|record| record.program.as_str()).unwrap_or_default(),
                },
                metadata: metadata(order, record),
                byproducts: byproducts.into_iter().map(descriptor).collect(),
            },
        },
    };
    // Text keys and plain values have no way to fail.
    let mut bytes = serde_json::to_vec_pretty(&statement).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn recipe(order: &Expectation) -> Descriptor {
    let origin = &order.origin;
    let is_object_id = |text: &str| {
        matches!(text.len(), 40 | 64)
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let digest = is_object_id(&origin.commit).then(|| ("gitCommit", origin.commit.clone()));
    Descriptor {
        name: origin.recipe_path.clone(),
        uri: format!("git+{}@{}", origin.repository, origin.commit),
        digest: digest.into_iter().collect(),
        annotations: [("saidBy", "summit".into()), ("part", "recipe".into())].into(),
    }
}

fn source(claim: &SourceClaim) -> Descriptor {
    let is_digest = claim.identity.parse::<Sha256>().is_ok();
    let kind = if is_digest { "sha256" } else { "gitCommit" };
    Descriptor {
        name: String::new(),
        uri: claim.url.clone(),
        digest: [(kind, claim.identity.clone())].into(),
        annotations: [("saidBy", "builder".into()), ("part", "source".into())].into(),
    }
}

fn root_package(claim: &PackageClaim, is_published: &dyn Fn(Sha256) -> bool) -> Descriptor {
    let sha256 = claim.sha256.as_ref().and_then(|sha256| sha256.parse::<Sha256>().ok());
    let mut dependency =
        said_by_builder(&format!("{}-{}-{}", claim.name, claim.version, claim.release), "build-root");
    if let Some(sha256) = sha256 {
        dependency.digest.insert("sha256", sha256.to_string());
        dependency.annotations.insert("publishedHere", is_published(sha256).into());
    }
    dependency
}

fn said_by_builder(name: &str, part: &str) -> Descriptor {
    Descriptor {
        name: name.to_owned(),
        uri: String::new(),
        digest: BTreeMap::new(),
        annotations: [("saidBy", "builder".into()), ("part", part.into())].into(),
    }
}

fn descriptor(artefact: &Artefact) -> Descriptor {
    Descriptor {
        name: artefact.name.clone(),
        uri: String::new(),
        digest: [("sha256", artefact.sha256.to_string())].into(),
        annotations: BTreeMap::new(),
    }
}

/// Times are the builder's.
fn metadata(order: &Expectation, record: Option<&Record>) -> Metadata {
    let began = record.and_then(|record| record.began_at);
    let ended = record.zip(began).map(|(record, began)| {
        // A duration is no time that matters to the second; what is no number counts as none.
        let lasted = std::time::Duration::try_from_secs_f64(record.seconds).unwrap_or_default();
        began.saturating_add(lasted.as_secs())
    });
    Metadata {
        invocation_id: format!("urn:moraine:attempt:{}", order.attempt_id),
        started_on: began.map(timestamp),
        finished_on: ended.map(timestamp),
    }
}

/// `2026-11-29T07:55:00Z`, by the proleptic Gregorian calendar.
fn timestamp(unix_seconds: u64) -> String {
    const DAY_SECONDS: u64 = 86_400;
    // Far beyond any clock; keeps the arithmetic below from overflowing.
    const SECONDS_MAX: u64 = 253_402_300_799;
    let seconds = unix_seconds.min(SECONDS_MAX);
    // Days since 1 March of year 0, so that a leap day is the last of its year.
    let days = seconds / DAY_SECONDS + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let second = seconds % DAY_SECONDS;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<Descriptor>,
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    build_definition: BuildDefinition<'a>,
    run_details: RunDetails<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition<'a> {
    build_type: &'static str,
    external_parameters: ExternalParameters<'a>,
    internal_parameters: InternalParameters<'a>,
    resolved_dependencies: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalParameters<'a> {
    channel: &'a str,
    source: &'a str,
    version: &'a str,
    release: u64,
    build_release: u64,
    architecture: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    repository: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    commit: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    recipe_path: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InternalParameters<'a> {
    task: u64,
    attempt: u64,
    /// Of which kind the build root was, by the builder.
    #[serde(skip_serializing_if = "str::is_empty")]
    root: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunDetails<'a> {
    builder: Builder<'a>,
    metadata: Metadata,
    byproducts: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Builder<'a> {
    id: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    /// By the builder.
    #[serde(skip_serializing_if = "str::is_empty")]
    program: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    invocation_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_on: Option<String>,
}

/// A file or a tree, by name, address and digest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uri: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    digest: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::expectation::Origin;
    use crate::expectation::tests::order;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn record() -> Value {
        json!({
            "name": "nano", "version": "8.4", "release": 34, "build_release": 1, "architecture": "x86_64",
            "began_at": 1_732_867_200, "seconds": 61.5, "program": "boulder 0.1.0", "root": "stones",
            "sources": [
                { "url": "https://example.org/nano.tar.xz", "identity": "ab".repeat(32) },
                { "url": "git|https://example.org/x.git", "identity": COMMIT },
            ],
            "root_packages": [
                { "name": "glibc", "version": "2.40", "release": 7, "sha256": Sha256::of(b"glibc").to_string() },
                { "name": "strange", "version": "1", "release": 1, "sha256": Sha256::of(b"x").to_string() },
                { "name": "bare", "version": "1", "release": 1, "sha256": null },
            ],
            "from_host": ["binary(cc)"],
            "artefacts": [{ "name": "nano-8.4-34-1-x86_64.stone", "size_bytes": 4, "sha256": Sha256::of(b"nano").to_string() }],
            "something_new": { "deep": [1] },
        })
    }

    fn read(value: &Value) -> Result<Record, RecordError> {
        Record::read(value.to_string().as_bytes())
    }

    #[test]
    fn a_statement_tells_what_is_known_from_what_is_claimed() {
        let mut order = order();
        order.origin = Origin {
            repository: "https://example.org/recipes.git".into(),
            commit: COMMIT.into(),
            recipe_path: "n/nano".into(),
            builder_name: "forge-1".into(),
        };
        let record = read(&record()).unwrap();
        record.check(&order).unwrap();
        let bytes = statement(&order, Some(&record), &|sha256| sha256 == Sha256::of(b"glibc"));
        assert_eq!(bytes, statement(&order, Some(&record), &|sha256| sha256 == Sha256::of(b"glibc")));
        let it: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(it["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(it["predicateType"], "https://slsa.dev/provenance/v1");
        assert_eq!(it["subject"].as_array().unwrap().len(), 1);
        assert_eq!(it["subject"][0]["digest"]["sha256"], Sha256::of(b"nano").to_string());
        let definition = &it["predicate"]["buildDefinition"];
        assert_eq!(definition["externalParameters"]["commit"], COMMIT);
        let dependencies = definition["resolvedDependencies"].as_array().unwrap();
        let find = |name: &str| dependencies.iter().find(|it| it["name"] == name).unwrap();
        assert_eq!(find("n/nano")["annotations"]["saidBy"], "summit");
        assert_eq!(find("n/nano")["digest"]["gitCommit"], COMMIT);
        assert_eq!(
            find("glibc-2.40-7")["annotations"],
            json!({"part": "build-root", "publishedHere": true, "saidBy": "builder"})
        );
        assert_eq!(find("strange-1-1")["annotations"]["publishedHere"], false);
        assert_eq!(find("bare-1-1").get("digest"), None);
        assert_eq!(find("binary(cc)")["annotations"]["saidBy"], "builder");
        assert_eq!(dependencies[1]["digest"]["sha256"], "ab".repeat(32));
        assert_eq!(dependencies[2]["digest"]["gitCommit"], COMMIT);
        let details = &it["predicate"]["runDetails"];
        assert_eq!(details["builder"]["name"], "forge-1");
        assert_eq!(details["builder"]["id"], format!("urn:moraine:builder:{}", order.builder));
        assert_eq!(details["metadata"]["startedOn"], "2024-11-29T08:00:00Z");
        assert_eq!(details["metadata"]["finishedOn"], "2024-11-29T08:01:01Z");
        assert_eq!(details["byproducts"][0]["name"], "manifest.x86_64.jsonc");
    }

    #[test]
    fn without_a_record_there_is_the_order() {
        let bytes = statement(&order(), None, &|_| false);
        let it: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(it["predicate"]["buildDefinition"]["resolvedDependencies"], json!([]));
        assert_eq!(
            it["predicate"]["runDetails"]["metadata"],
            json!({"invocationId": "urn:moraine:attempt:7"})
        );
    }

    #[test]
    fn a_record_of_something_else_is_refused() {
        fn check(change: impl FnOnce(&mut Value), expect: &str) {
            let mut value = record();
            change(&mut value);
            let refusal = read(&value).unwrap().check(&order()).unwrap_err().to_string();
            assert!(refusal.contains(expect), "{refusal}");
        }
        check(|it| it["name"] = "less".into(), "its source is \"less\"");
        check(|it| it["version"] = "9".into(), "its version is \"9\"");
        check(|it| it["release"] = 35.into(), "its release is \"35\"");
        check(|it| it["build_release"] = 2.into(), "its build release is \"2\"");
        check(|it| it["architecture"] = "aarch64".into(), "its architecture is \"aarch64\"");
        check(|it| it["artefacts"][0]["sha256"] = "00".into(), "its digest of a file");
        check(|it| it["artefacts"][0]["name"] = "../x".into(), "its list of files");
    }

    #[test]
    fn bytes_that_are_no_record_are_refused_and_nothing_panics() {
        for bytes in [&b""[..], b"{}", b"[]", b"{\"name\":1}", b"\xff\xfe", &[b'['; 100_000]] {
            assert_eq!(Record::read(bytes).unwrap_err().kind(), Kind::Input);
        }
        let large = vec![b' '; usize::try_from(RECORD_SIZE_BYTES_MAX).unwrap() + 1];
        assert!(matches!(Record::read(&large), Err(RecordError::Size { .. })));
        let mut many = record();
        many["from_host"] = vec!["x"; ENTRIES_MAX + 1].into();
        assert!(matches!(read(&many), Err(RecordError::TooMany { .. })));
        // Every record with one byte changed or cut off is read or refused, and a statement can be made of what was read.
        let text = record().to_string().into_bytes();
        for place in 0..text.len() {
            for change in [0_u8, b'"', b'9', b'}', 0xff] {
                let mut bytes = text.clone();
                bytes[place] = change;
                if let Ok(record) = Record::read(&bytes) {
                    drop(record.check(&order()));
                    assert!(!statement(&order(), Some(&record), &|_| true).is_empty());
                }
            }
            assert!(Record::read(&text[..place]).is_err());
        }
    }

    #[test]
    fn times() {
        for (seconds, expect) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(timestamp(seconds), expect);
        }
    }
}
