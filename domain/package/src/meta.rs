//! What is known about one package: the typed form of a meta payload.

use std::collections::BTreeSet;
use std::fmt;

use fault::{Fault, Kind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stone::{Record, Value, tag};

use crate::component::{ComponentFault, check_component};
use crate::dependency::{Dependency, DependencyKind};

/// Digits of a SHA-256 in hexadecimal.
pub const HASH_DIGITS: usize = 64;

/// Longest file name that common file systems take, in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;

/// What one meta payload says about a package. As JSON it is the object that `moss inspect --json` lists.
///
/// [`PackageMeta::check`] holds for every value that was read, from records or from JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct PackageMeta {
    /// Its name; the package provides it without saying so.
    pub name: String,
    /// Version of the software in it.
    pub version: String,
    /// Release of the recipe; a higher one is newer, whatever the version says.
    pub release: u64,
    /// How often this release was built; 0 in manifests.
    pub build_release: u64,
    /// Architecture that it runs on, such as `x86_64`.
    pub architecture: String,
    /// What it is, in one line.
    pub summary: String,
    /// What it is, in some lines.
    pub description: String,
    /// Name of the recipe that it was built from.
    pub source_id: String,
    /// Where the software is at home.
    pub homepage: String,
    /// Licences, SPDX expressions.
    pub licenses: Vec<String>,
    /// What it needs when installed.
    pub depends: BTreeSet<Dependency>,
    /// What it offers, without its own name unless the file says even that; [`PackageMeta::providers`] has all.
    pub provides: BTreeSet<Dependency>,
    /// What it cannot be installed with.
    pub conflicts: BTreeSet<Dependency>,
    /// What building it needed; in manifests.
    pub build_depends: BTreeSet<Dependency>,
    /// Where the `.stone` file is, relative to the index; in indexes.
    pub uri: Option<String>,
    /// SHA-256 of the `.stone` file, 64 lower-case hexadecimal digits; in indexes.
    pub hash: Option<String>,
    /// Length of the `.stone` file in bytes; in indexes.
    #[serde(rename = "download_size")]
    pub download_size_bytes: Option<u64>,
}

/// A field of a package's metadata that occurs at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field(u16);

impl Field {
    /// The tag of its record.
    #[must_use]
    pub fn tag(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            tag::NAME => "name",
            tag::ARCHITECTURE => "architecture",
            tag::VERSION => "version",
            tag::SUMMARY => "summary",
            tag::DESCRIPTION => "description",
            tag::HOMEPAGE => "homepage",
            tag::SOURCE_ID => "source id",
            tag::DEPENDS => "depends",
            tag::PROVIDES => "provides",
            tag::CONFLICTS => "conflicts",
            tag::RELEASE => "release",
            tag::LICENSE => "licence",
            tag::BUILD_RELEASE => "build release",
            tag::PACKAGE_URI => "package URI",
            tag::PACKAGE_HASH => "package hash",
            tag::PACKAGE_SIZE => "package size",
            tag::BUILD_DEPENDS => "build-depends",
            number => return write!(formatter, "tag {number}"),
        })
    }
}

/// Why records or JSON describe no package. `package` is its name, or empty where even that is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// A field that every package has is not there.
    #[error("cannot read the metadata of package {package:?}: it has no {field}")]
    Missing {
        /// The package.
        package: String,
        /// The field.
        field: Field,
    },
    /// A field that occurs once is there twice.
    #[error("cannot read the metadata of package {package:?}: it has more than one {field}")]
    Repeated {
        /// The package.
        package: String,
        /// The field.
        field: Field,
    },
    /// A value of another type than its field has.
    #[error("cannot read the metadata of package {package:?}: its {field} is of value type {type_number}")]
    WrongType {
        /// The package.
        package: String,
        /// The field.
        field: Field,
        /// The number of the value's type.
        type_number: u8,
    },
    /// A field that must be fit for file names is not.
    #[error("cannot accept the {field} {value:?} of package {package:?}: {fault}")]
    Component {
        /// The package.
        package: String,
        /// The field.
        field: Field,
        /// Its value.
        value: String,
        /// What is wrong with it.
        fault: ComponentFault,
    },
    /// The parts are fine and the whole is not.
    #[error(
        "cannot accept package {package:?}: its file name {file_name:?} is longer than {FILE_NAME_BYTES_MAX} bytes"
    )]
    FileName {
        /// The package.
        package: String,
        /// The file name.
        file_name: String,
    },
    /// A hash that is no SHA-256.
    #[error(
        "cannot accept the package hash {value:?} of package {package:?}: it is not 64 lower-case hexadecimal digits"
    )]
    Hash {
        /// The package.
        package: String,
        /// The value.
        value: String,
    },
    /// A dependency of a kind that this version does not know.
    #[error(
        "cannot read the metadata of package {package:?}: its {field} {name:?} is of the unknown kind {number}"
    )]
    UnknownKind {
        /// The package.
        package: String,
        /// The field.
        field: Field,
        /// The name.
        name: String,
        /// The number of the kind.
        number: u8,
    },
    /// A dependency or provider without a name.
    #[error("cannot read the metadata of package {package:?}: one of its {field} names nothing")]
    Nameless {
        /// The package.
        package: String,
        /// The field.
        field: Field,
    },
}

impl Fault for MetaError {
    fn kind(&self) -> Kind {
        Kind::Damaged
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            MetaError::UnknownKind { .. } | MetaError::WrongType { .. } => {
                "the file may come from a newer tool: update Moraine"
            }
            MetaError::Component { .. } | MetaError::FileName { .. } => {
                "correct the name or version in the recipe, and build the package again"
            }
            _ => "build the package again, or fetch it again",
        };
        vec![hint.to_owned()]
    }
}

impl PackageMeta {
    /// The metadata that these records describe. Records with other tags than those of a package are passed over, and so
    /// are providers of unknown kinds, which nothing known could ask for.
    ///
    /// # Errors
    /// For a field that is missing, there twice, of the wrong type or with a value that [`PackageMeta::check`] refuses.
    pub fn from_records(records: &[Record]) -> Result<Self, MetaError> {
        let package = records
            .iter()
            .find_map(|record| match &record.value {
                Value::Text(name) if record.tag == tag::NAME => Some(name.clone()),
                _ => None,
            })
            .unwrap_or_default();
        let reader = Reader { package: &package, records };
        let meta = Self {
            name: reader.required_text(tag::NAME)?,
            version: reader.required_text(tag::VERSION)?,
            release: reader.required_number(tag::RELEASE)?,
            build_release: reader.required_number(tag::BUILD_RELEASE)?,
            architecture: reader.required_text(tag::ARCHITECTURE)?,
            summary: reader.required_text(tag::SUMMARY)?,
            description: reader.required_text(tag::DESCRIPTION)?,
            source_id: reader.required_text(tag::SOURCE_ID)?,
            homepage: reader.required_text(tag::HOMEPAGE)?,
            licenses: reader.texts(tag::LICENSE)?,
            depends: reader.dependencies(tag::DEPENDS)?,
            provides: reader.dependencies(tag::PROVIDES)?,
            conflicts: reader.dependencies(tag::CONFLICTS)?,
            build_depends: reader.dependencies(tag::BUILD_DEPENDS)?,
            uri: reader.text(tag::PACKAGE_URI)?,
            hash: reader.text(tag::PACKAGE_HASH)?,
            download_size_bytes: reader.number(tag::PACKAGE_SIZE)?,
        };
        meta.check()?;
        Ok(meta)
    }

    /// The records of this package, in the order that the AerynOS tools write: the single fields, licences, depends,
    /// provides, conflicts, build-depends, each list sorted. Its own name is not among the provides.
    #[must_use]
    pub fn to_records(&self) -> Vec<Record> {
        let mut records = vec![
            Record::text(tag::NAME, &self.name),
            Record::text(tag::VERSION, &self.version),
            Record::number(tag::RELEASE, self.release),
            Record::number(tag::BUILD_RELEASE, self.build_release),
            Record::text(tag::ARCHITECTURE, &self.architecture),
            Record::text(tag::SUMMARY, &self.summary),
            Record::text(tag::DESCRIPTION, &self.description),
            Record::text(tag::SOURCE_ID, &self.source_id),
            Record::text(tag::HOMEPAGE, &self.homepage),
        ];
        records.extend(self.uri.iter().map(|uri| Record::text(tag::PACKAGE_URI, uri)));
        records.extend(self.hash.iter().map(|hash| Record::text(tag::PACKAGE_HASH, hash)));
        records.extend(self.download_size_bytes.map(|size| Record::number(tag::PACKAGE_SIZE, size)));
        // Repeated ones stay, as they do in the manifests of recipes that name a licence twice.
        let mut licenses: Vec<&String> = self.licenses.iter().collect();
        licenses.sort();
        records.extend(licenses.into_iter().map(|license| Record::text(tag::LICENSE, license)));
        records.extend(self.depends.iter().map(|dependency| needed(tag::DEPENDS, dependency)));
        let itself = self.implicit_provider();
        let provides = self.provides.iter().filter(|provider| **provider != itself);
        records.extend(provides.map(|provider| offered(tag::PROVIDES, provider)));
        records.extend(self.conflicts.iter().map(|conflict| offered(tag::CONFLICTS, conflict)));
        // Build dependencies are ordered as they were written in the recipe, package names without a keyword.
        let mut build_depends: Vec<&Dependency> = self.build_depends.iter().collect();
        build_depends.sort_by_key(|dependency| dependency.short());
        records.extend(build_depends.into_iter().map(|dependency| needed(tag::BUILD_DEPENDS, dependency)));
        records
    }

    /// Everything it offers, its own name included, in order.
    pub fn providers(&self) -> impl Iterator<Item = Dependency> {
        let mut all = self.provides.clone();
        all.insert(self.implicit_provider());
        all.into_iter()
    }

    /// `NAME-VERSION-RELEASE-BUILDRELEASE-ARCH.stone`.
    #[must_use]
    pub fn file_name(&self) -> String {
        let Self { name, version, release, build_release, architecture, .. } = self;
        format!("{name}-{version}-{release}-{build_release}-{architecture}.stone")
    }

    /// Checks what everybody may rely on: name, version, architecture and recipe name are fit for file names, and so is
    /// the whole file name; the hash is a SHA-256; no dependency is without a name.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), MetaError> {
        let package = || self.name.clone();
        for (field, value) in [
            (tag::NAME, &self.name),
            (tag::VERSION, &self.version),
            (tag::ARCHITECTURE, &self.architecture),
            (tag::SOURCE_ID, &self.source_id),
        ] {
            check_component(value).map_err(|fault| MetaError::Component {
                package: package(),
                field: Field(field),
                value: value.clone(),
                fault,
            })?;
        }
        let file_name = self.file_name();
        if file_name.len() > FILE_NAME_BYTES_MAX {
            return Err(MetaError::FileName { package: package(), file_name });
        }
        if let Some(value) = self.hash.as_ref().filter(|hash| !valid_hash(hash)) {
            return Err(MetaError::Hash { package: package(), value: value.clone() });
        }
        for (field, dependencies) in [
            (tag::DEPENDS, &self.depends),
            (tag::PROVIDES, &self.provides),
            (tag::CONFLICTS, &self.conflicts),
            (tag::BUILD_DEPENDS, &self.build_depends),
        ] {
            if dependencies.iter().any(|dependency| dependency.name.is_empty()) {
                return Err(MetaError::Nameless { package: package(), field: Field(field) });
            }
        }
        Ok(())
    }

    fn implicit_provider(&self) -> Dependency {
        Dependency::name(&self.name)
    }
}

/// Whether a text is a SHA-256 as 64 lower-case hexadecimal digits.
#[must_use]
pub fn valid_hash(text: &str) -> bool {
    text.len() == HASH_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Serialize for PackageMeta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The inherent function that `remote = "Self"` derives.
        PackageMeta::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for PackageMeta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let meta = PackageMeta::deserialize(deserializer)?;
        meta.check().map_err(serde::de::Error::custom)?;
        Ok(meta)
    }
}

fn needed(tag: u16, dependency: &Dependency) -> Record {
    let value = Value::Dependency { kind: dependency.kind.number(), name: dependency.name.clone() };
    Record { tag, value }
}

fn offered(tag: u16, provider: &Dependency) -> Record {
    let value = Value::Provider { kind: provider.kind.number(), name: provider.name.clone() };
    Record { tag, value }
}

/// Takes typed fields out of records.
struct Reader<'a> {
    package: &'a str,
    records: &'a [Record],
}

impl<'a> Reader<'a> {
    fn all(&self, tag: u16) -> impl Iterator<Item = &'a Value> {
        self.records.iter().filter(move |record| record.tag == tag).map(|record| &record.value)
    }

    fn single(&self, tag: u16) -> Result<Option<&'a Value>, MetaError> {
        let mut values = self.all(tag);
        let first = values.next();
        if values.next().is_some() {
            return Err(MetaError::Repeated { package: self.package.to_owned(), field: Field(tag) });
        }
        Ok(first)
    }

    fn wrong_type(&self, tag: u16, value: &Value) -> MetaError {
        let type_number = value.type_number();
        MetaError::WrongType { package: self.package.to_owned(), field: Field(tag), type_number }
    }

    fn text(&self, tag: u16) -> Result<Option<String>, MetaError> {
        match self.single(tag)? {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(value) => Err(self.wrong_type(tag, value)),
        }
    }

    fn number(&self, tag: u16) -> Result<Option<u64>, MetaError> {
        let Some(value) = self.single(tag)? else {
            return Ok(None);
        };
        let number = match *value {
            Value::U8(number) => Some(u64::from(number)),
            Value::U16(number) => Some(u64::from(number)),
            Value::U32(number) => Some(u64::from(number)),
            Value::U64(number) => Some(number),
            Value::I8(number) => u64::try_from(number).ok(),
            Value::I16(number) => u64::try_from(number).ok(),
            Value::I32(number) => u64::try_from(number).ok(),
            Value::I64(number) => u64::try_from(number).ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| self.wrong_type(tag, value))
    }

    fn required<T>(&self, tag: u16, value: Option<T>) -> Result<T, MetaError> {
        value.ok_or_else(|| MetaError::Missing { package: self.package.to_owned(), field: Field(tag) })
    }

    fn required_text(&self, tag: u16) -> Result<String, MetaError> {
        self.required(tag, self.text(tag)?)
    }

    fn required_number(&self, tag: u16) -> Result<u64, MetaError> {
        self.required(tag, self.number(tag)?)
    }

    fn texts(&self, tag: u16) -> Result<Vec<String>, MetaError> {
        self.all(tag)
            .map(|value| match value {
                Value::Text(text) => Ok(text.clone()),
                value => Err(self.wrong_type(tag, value)),
            })
            .collect()
    }

    /// Told apart by their tag; whether a record calls itself dependency or provider does not matter.
    fn dependencies(&self, tag: u16) -> Result<BTreeSet<Dependency>, MetaError> {
        let mut dependencies = BTreeSet::new();
        for value in self.all(tag) {
            let (Value::Dependency { kind, name } | Value::Provider { kind, name }) = value else {
                return Err(self.wrong_type(tag, value));
            };
            match DependencyKind::from_number(*kind) {
                Some(kind) => {
                    dependencies.insert(Dependency::new(kind, name));
                }
                None if tag == tag::PROVIDES => {}
                None => {
                    return Err(MetaError::UnknownKind {
                        package: self.package.to_owned(),
                        field: Field(tag),
                        name: name.clone(),
                        number: *kind,
                    });
                }
            }
        }
        Ok(dependencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(text: &str) -> Dependency {
        text.parse().unwrap()
    }

    pub(crate) fn nano() -> PackageMeta {
        PackageMeta {
            name: "nano".into(),
            version: "8.4".into(),
            release: 35,
            build_release: 1,
            architecture: "x86_64".into(),
            summary: "An editor".into(),
            description: "A small\neditor".into(),
            source_id: "nano".into(),
            homepage: "https://example.org".into(),
            licenses: vec!["GPL-3.0-or-later".into(), "FSFAP".into()],
            depends: ["soname(libc.so.6(x86_64))", "zlib"].map(dependency).into(),
            provides: ["binary(nano)", "name(nano)"].map(dependency).into(),
            conflicts: ["pico"].map(dependency).into(),
            build_depends: ["shadow", "pkgconfig(zlib)", "pkgconfig(uuid)"].map(dependency).into(),
            uri: Some("../../nano.stone".into()),
            hash: Some("0123456789abcdef".repeat(4)),
            download_size_bytes: Some(7),
        }
    }

    #[test]
    fn records_and_back() {
        let records = nano().to_records();
        let tags: Vec<u16> = records.iter().map(|record| record.tag).collect();
        assert_eq!(tags, [1, 3, 11, 13, 2, 4, 5, 7, 6, 14, 15, 16, 12, 12, 8, 8, 9, 10, 17, 17, 17]);
        assert_eq!(records[12], Record::text(tag::LICENSE, "FSFAP"), "licences are sorted");
        assert!(
            !records.iter().any(|record| record.tag == tag::PROVIDES
                && matches!(&record.value, Value::Provider { kind: 0, .. })),
            "the package's own name is left out"
        );
        let last = records.last().unwrap();
        assert_eq!(last.value, Value::Dependency { kind: 0, name: "shadow".into() }, "ordered as written");

        let read = PackageMeta::from_records(&records).unwrap();
        let mut expect = nano();
        expect.provides = ["binary(nano)"].map(dependency).into();
        expect.licenses.sort();
        assert_eq!(read, expect);
        assert_eq!(read.to_records(), records);
        let providers: Vec<String> = read.providers().map(|provider| provider.to_string()).collect();
        assert_eq!(providers, ["binary(nano)", "name(nano)"]);
    }

    #[test]
    fn json_and_back() {
        let json = serde_json::to_value(nano()).unwrap();
        let keys: BTreeSet<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let expect = [
            "name",
            "version",
            "release",
            "build_release",
            "architecture",
            "summary",
            "description",
            "source_id",
            "homepage",
            "licenses",
            "depends",
            "provides",
            "conflicts",
            "build_depends",
            "uri",
            "hash",
            "download_size",
        ];
        assert_eq!(keys, BTreeSet::from(expect));
        assert_eq!(json["depends"], serde_json::json!(["name(zlib)", "soname(libc.so.6(x86_64))"]));
        assert_eq!(json["download_size"], 7);
        assert_eq!(serde_json::from_value::<PackageMeta>(json.clone()).unwrap(), nano());
        let mut bad = json;
        bad["name"] = "../nano".into();
        let error = serde_json::from_value::<PackageMeta>(bad).unwrap_err().to_string();
        assert!(error.contains("begins with a dot"), "{error}");
        let bare = PackageMeta { uri: None, hash: None, download_size_bytes: None, ..nano() };
        assert_eq!(serde_json::to_value(bare).unwrap()["hash"], serde_json::Value::Null);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let check = |change: &dyn Fn(&mut Vec<Record>), words: &str| {
            let mut records = nano().to_records();
            change(&mut records);
            let error = PackageMeta::from_records(&records).unwrap_err();
            assert!(error.to_string().contains(words), "{error} does not say {words:?}");
            assert!(!error.hints().is_empty());
        };
        for (number, field) in [
            "name",
            "version",
            "release",
            "build release",
            "architecture",
            "summary",
            "description",
            "source id",
            "homepage",
        ]
        .into_iter()
        .enumerate()
        {
            check(&|records| drop(records.remove(number)), &format!("has no {field}"));
            check(&|records| records.push(records[number].clone()), &format!("more than one {field}"));
            check(
                &|records| records[number].value = Value::Opaque { type_number: 40, bytes: vec![] },
                "value type 40",
            );
        }
        check(&|records| records[2].value = Value::I8(-1), "its release is of value type 1");
        check(&|records| records[0] = Record::text(tag::NAME, "na/no"), "contains '/'");
        check(&|records| records[1] = Record::text(tag::VERSION, ""), "version \"\"");
        check(&|records| records[4] = Record::text(tag::ARCHITECTURE, "../.."), "begins with a dot");
        check(&|records| records[7] = Record::text(tag::SOURCE_ID, "-x"), "begins with a dash");
        check(
            &|records| records[10] = Record::text(tag::PACKAGE_HASH, "../../../../etc/passwd"),
            "64 lower-case",
        );
        check(&|records| records[10] = Record::text(tag::PACKAGE_HASH, "A".repeat(64)), "64 lower-case");
        let unknown = |tag| Record { tag, value: Value::Dependency { kind: 9, name: "x".into() } };
        check(&|records| records.push(unknown(tag::DEPENDS)), "unknown kind 9");
        check(&|records| records.push(unknown(tag::CONFLICTS)), "unknown kind 9");
        check(&|records| records.push(Record::text(tag::DEPENDS, "x")), "value type 9");
        let nameless =
            Record { tag: tag::DEPENDS, value: Value::Dependency { kind: 0, name: String::new() } };
        check(&|records| records.push(nameless.clone()), "names nothing");
        check(
            &|records| {
                records[0] = Record::text(tag::NAME, "n".repeat(100));
                records[1] = Record::text(tag::VERSION, "1".repeat(100));
                records[4] = Record::text(tag::ARCHITECTURE, "a".repeat(100));
            },
            "longer than 255 bytes",
        );
        // What nothing could ask for is passed over, and so is what nothing here reads.
        let mut records = nano().to_records();
        records.push(unknown(tag::PROVIDES));
        records.push(Record::number(tag::SOURCE_REF, 1));
        assert_eq!(PackageMeta::from_records(&records).unwrap().to_records(), nano().to_records());
    }

    #[test]
    fn numbers_of_any_width() {
        for value in [Value::U8(35), Value::U16(35), Value::U32(35), Value::I8(35), Value::I64(35)] {
            let mut records = nano().to_records();
            records[2].value = value;
            assert_eq!(PackageMeta::from_records(&records).unwrap().release, 35);
        }
    }

    #[test]
    fn file_names() {
        assert_eq!(nano().file_name(), "nano-8.4-35-1-x86_64.stone");
    }
}
