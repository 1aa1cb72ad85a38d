//! What a package needs and what it offers: `keyword(name)`, for example `soname(libc.so.6(x86_64))`.
//!
//! Text form and numbers are those of the `.stone` format, section 1.3. A dependency and a provider have the same
//! shape: a provider answers exactly the dependency that equals it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The kind of thing that is needed or offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DependencyKind {
    /// A package, by its name.
    Name,
    /// A shared library; the name includes the instruction set: `libc.so.6(x86_64)`.
    Soname,
    /// A pkg-config module.
    PkgConfig,
    /// An ELF interpreter with its instruction set.
    Interpreter,
    /// A CMake config package.
    CMake,
    /// A Python distribution, its name normalised after PEP 503.
    Python,
    /// A file in `/usr/bin`.
    Binary,
    /// A file in `/usr/sbin`.
    SystemBinary,
    /// A 32-bit pkg-config module.
    PkgConfig32,
}

impl DependencyKind {
    /// Every kind, in the order of their numbers in a `.stone` file, which begin at 0.
    pub const ALL: [DependencyKind; 9] = [
        DependencyKind::Name,
        DependencyKind::Soname,
        DependencyKind::PkgConfig,
        DependencyKind::Interpreter,
        DependencyKind::CMake,
        DependencyKind::Python,
        DependencyKind::Binary,
        DependencyKind::SystemBinary,
        DependencyKind::PkgConfig32,
    ];

    /// The word before the bracket.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            DependencyKind::Name => "name",
            DependencyKind::Soname => "soname",
            DependencyKind::PkgConfig => "pkgconfig",
            DependencyKind::Interpreter => "interpreter",
            DependencyKind::CMake => "cmake",
            DependencyKind::Python => "python",
            DependencyKind::Binary => "binary",
            DependencyKind::SystemBinary => "sysbinary",
            DependencyKind::PkgConfig32 => "pkgconfig32",
        }
    }

    /// The kind with this number in a `.stone` file; none for a number that this version does not know.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The number of this kind in a `.stone` file.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            DependencyKind::Name => 0,
            DependencyKind::Soname => 1,
            DependencyKind::PkgConfig => 2,
            DependencyKind::Interpreter => 3,
            DependencyKind::CMake => 4,
            DependencyKind::Python => 5,
            DependencyKind::Binary => 6,
            DependencyKind::SystemBinary => 7,
            DependencyKind::PkgConfig32 => 8,
        }
    }
}

/// A need or an offer. Ordered and printed by its text form `keyword(name)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dependency {
    /// The kind of thing.
    pub kind: DependencyKind,
    /// Its name; never empty.
    pub name: String,
}

impl Dependency {
    /// The package of this name.
    #[must_use]
    pub fn name(name: impl Into<String>) -> Self {
        Self { kind: DependencyKind::Name, name: name.into() }
    }

    /// A thing of this kind.
    #[must_use]
    pub fn new(kind: DependencyKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// As people write it in recipes and on the command line: a package name stands alone.
    #[must_use]
    pub fn short(&self) -> String {
        match self.kind {
            DependencyKind::Name => self.name.clone(),
            _ => self.to_string(),
        }
    }
}

/// Why a text is no dependency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// The word before the bracket is not a kind.
    #[error("cannot read dependency {text:?}: {keyword:?} is not a kind; known are {}", known_keywords())]
    UnknownKeyword {
        /// The whole text.
        text: String,
        /// The word before the bracket.
        keyword: String,
    },
    /// No closing bracket at the end.
    #[error("cannot read dependency {text:?}: it does not end with \")\"")]
    Unclosed {
        /// The whole text.
        text: String,
    },
    /// Nothing is named.
    #[error("cannot read dependency {text:?}: it names nothing")]
    Empty {
        /// The whole text.
        text: String,
    },
}

fn known_keywords() -> String {
    DependencyKind::ALL.map(DependencyKind::keyword).join(", ")
}

impl FromStr for Dependency {
    type Err = DependencyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let (kind, name) = match trimmed.split_once('(') {
            None => (DependencyKind::Name, trimmed),
            Some((keyword, rest)) => {
                let kind = DependencyKind::ALL
                    .into_iter()
                    .find(|kind| kind.keyword() == keyword.trim())
                    .ok_or_else(|| DependencyError::UnknownKeyword {
                        text: text.into(),
                        keyword: keyword.into(),
                    })?;
                let name =
                    rest.strip_suffix(')').ok_or_else(|| DependencyError::Unclosed { text: text.into() })?;
                (kind, name)
            }
        };
        if name.is_empty() {
            return Err(DependencyError::Empty { text: text.into() });
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

impl Dependency {
    /// As recipes write it and people say it: a name without `name(…)` around it.
    #[must_use]
    pub fn as_written(&self) -> Cow<'_, str> {
        match self.kind {
            DependencyKind::Name => Cow::Borrowed(&self.name),
            _ => Cow::Owned(self.to_string()),
        }
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}({})", self.kind.keyword(), self.name)
    }
}

impl Ord for Dependency {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The order of the text forms: '(' sorts before every character of a keyword.
        (self.kind.keyword(), &self.name).cmp(&(other.kind.keyword(), &other.name))
    }
}

impl PartialOrd for Dependency {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for Dependency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Dependency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let table = [
            ("nano", DependencyKind::Name, "nano", "name(nano)"),
            ("name(nano)", DependencyKind::Name, "nano", "name(nano)"),
            ("binary(ld.bfd)", DependencyKind::Binary, "ld.bfd", "binary(ld.bfd)"),
            (
                "soname(libc.so.6(x86_64))",
                DependencyKind::Soname,
                "libc.so.6(x86_64)",
                "soname(libc.so.6(x86_64))",
            ),
            ("pkgconfig32(zlib)", DependencyKind::PkgConfig32, "zlib", "pkgconfig32(zlib)"),
        ];
        for (text, kind, name, printed) in table {
            let dependency: Dependency = text.parse().unwrap();
            assert_eq!((dependency.kind, dependency.name.as_str()), (kind, name));
            assert_eq!(dependency.to_string(), printed);
            assert_eq!(printed.parse::<Dependency>().unwrap(), dependency);
        }
    }

    #[test]
    fn bad_text_is_refused_by_name() {
        for (text, reason) in [
            ("library(x)", "is not a kind"),
            ("binary(x", "does not end"),
            ("binary()", "names nothing"),
            ("", "names nothing"),
        ] {
            let error = text.parse::<Dependency>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn numbers_and_kinds_agree() {
        for kind in DependencyKind::ALL {
            assert_eq!(DependencyKind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(DependencyKind::from_number(9), None);
    }

    #[test]
    fn ordered_as_the_text_form() {
        let texts = ["pkgconfig(b)", "pkgconfig32(a)", "name(z)", "binary(y)", "cmake(x)", "soname(a)"];
        let mut dependencies: Vec<Dependency> = texts.iter().map(|text| text.parse().unwrap()).collect();
        dependencies.sort();
        let printed: Vec<String> = dependencies.iter().map(ToString::to_string).collect();
        let mut sorted = printed.clone();
        sorted.sort();
        assert_eq!(printed, sorted);
    }
}
