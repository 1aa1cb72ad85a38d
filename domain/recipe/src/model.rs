//! The second stage: a recipe whose every key has been read into its type.
//!
//! Texts in which macros are expanded later stay [`Text`], which remembers where in the file it stands, so that an
//! error found while expanding a script still points at the line of the recipe.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use package::Dependency;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::problem::{Position, Problem, Source};
use crate::rules;

/// A recipe and what is doubtful about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The recipe.
    pub recipe: Recipe,
    /// What has no effect or another effect than it seems, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// One `stone.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The name of the source and of its main package: a safe path component.
    pub name: String,
    /// The version as written; begins with a digit, is a safe path component.
    pub version: String,
    /// Counts the changes of the recipe; at least 1.
    pub release: u64,
    /// The project's page.
    pub homepage: String,
    /// SPDX licence expressions, at least one.
    pub licenses: Vec<String>,
    /// The scripts and build dependencies of the root.
    pub build: BuildFields,
    /// The fields of the main package.
    pub package: PackageFields,
    /// How it is built and packed.
    pub options: Options,
    /// What is fetched, in order.
    pub upstreams: Vec<Upstream>,
    /// Further packages by name; the names still hold macros.
    pub packages: Vec<(Text, PackageFields)>,
    /// Build fields that replace the root's for a target.
    pub profiles: Vec<(String, BuildFields)>,
    /// Architectures the recipe asks for; empty means the native one.
    pub architectures: Vec<String>,
    /// Changes to the default compiler flags.
    pub tuning: Vec<TuningChoice>,
    pub(crate) source: Arc<Source>,
}

/// Scripts and build dependencies, of the root or of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BuildFields {
    /// Prepares the build: patches, configure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<Text>,
    /// Builds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<Text>,
    /// Installs below the install root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub install: Option<Text>,
    /// Tests what was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<Text>,
    /// Exercises an instrumented build for profile guided optimisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Text>,
    /// Goes in front of every other script but the preparation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Text>,
    /// Needed to build.
    pub build_depends: Vec<Dependency>,
    /// Needed for `check`.
    pub check_depends: Vec<Dependency>,
}

/// What is said about a package, of the root or of an entry in `packages`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PackageFields {
    /// One line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Text>,
    /// Some sentences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// Dependencies beyond those that analysis finds.
    pub rundeps: Vec<Text>,
    /// Regular expressions; a dependency whose text matches is left out.
    pub rundeps_exclude: Vec<Text>,
    /// Regular expressions; a provider whose text matches is left out.
    pub provides_exclude: Vec<Text>,
    /// What may not be installed at the same time.
    pub conflicts: Vec<Text>,
    /// Which files belong to the package.
    pub paths: Vec<PathPattern>,
}

/// One entry of `paths`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathPattern {
    /// A shell glob; it covers everything below what it matches.
    pub pattern: Text,
    /// What kind of file it is said to be.
    pub kind: PathKind,
}

/// The kind of file that an entry of `paths` names. It has no effect on the choice of the package.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// Whatever it is.
    #[default]
    Any,
    /// A program.
    Exe,
    /// A symbolic link.
    Symlink,
    /// A device, pipe or socket.
    Special,
}

/// Which compilers build the recipe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Toolchain {
    /// clang, lld and the llvm tools.
    #[default]
    Llvm,
    /// gcc and binutils.
    Gnu,
}

/// The root's switches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Options {
    /// Which compilers.
    pub toolchain: Toolchain,
    /// A second, context-sensitive stage of profile guided optimisation.
    pub cspgo: bool,
    /// Sample based profiles in the last stage.
    pub samplepgo: bool,
    /// Split debug information off.
    pub debug: bool,
    /// Strip ELF files.
    pub strip: bool,
    /// The build may use the network.
    pub networking: bool,
    /// Compress manual and info pages.
    pub compressman: bool,
    /// Drop libtool archives.
    pub lastrip: bool,
    /// Also build for 32 bits.
    pub emul32: bool,
    /// Link with mold.
    pub mold: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            toolchain: Toolchain::Llvm,
            cspgo: false,
            samplepgo: false,
            debug: true,
            strip: true,
            networking: false,
            compressman: false,
            lastrip: true,
            emul32: false,
            mold: false,
        }
    }
}

/// Something to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Upstream {
    /// A file, known by its digest.
    Archive {
        /// Where it was published.
        url: String,
        /// SHA-256, 64 lower case hexadecimal digits.
        sha256: String,
        /// The file name to use instead of the URL's last segment: a safe path component.
        rename: Option<String>,
        /// How many leading directories to drop when unpacking.
        strip_components: u8,
        /// Whether to unpack it at all.
        unpack: bool,
        /// Where to unpack it below the build root: a safe relative path.
        unpack_directory: Option<String>,
    },
    /// A git tree.
    Git {
        /// Where the repository is, without `git|`.
        url: String,
        /// A commit, tag or branch.
        reference: String,
        /// Where to copy it below the build root: a safe relative path.
        clone_directory: Option<String>,
    },
}

impl Upstream {
    /// Where it is fetched from.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::Archive { url, .. } | Self::Git { url, .. } => url,
        }
    }

    /// Its name in the folder of sources: a safe path component.
    #[must_use]
    pub fn file_name(&self) -> &str {
        match self {
            Self::Archive { rename: Some(name), .. } => name,
            Self::Archive { url, .. } | Self::Git { url, .. } => url_file_name(url),
        }
    }

    /// Where its content is below the build root, for those that are unpacked or copied there.
    #[must_use]
    pub fn build_directory(&self) -> Option<&str> {
        match self {
            Self::Archive { unpack: false, .. } => None,
            Self::Archive { unpack_directory, .. } => {
                Some(unpack_directory.as_deref().unwrap_or(self.file_name()))
            }
            Self::Git { clone_directory, .. } => Some(clone_directory.as_deref().unwrap_or(self.file_name())),
        }
    }
}

/// The last segment of a URL's path; empty when the path ends with a slash or is missing.
pub(crate) fn url_file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    path.rsplit_once('/').map_or("", |(_, name)| name)
}

/// One entry of `tuning`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TuningChoice {
    /// The group of flags.
    pub group: String,
    /// What to do with it.
    #[serde(flatten)]
    pub setting: TuningSetting,
    #[serde(skip)]
    pub(crate) at: Position,
}

/// What an entry of `tuning` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "setting", content = "choice")]
pub enum TuningSetting {
    /// Switch the group on, with its default choice.
    Enabled,
    /// Switch the group off.
    Disabled,
    /// Switch the group on with this choice.
    Choice(String),
}

/// A text in which macros are still to be expanded, and where it stands in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// Where a [`Text`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its lines are lines of the file: the first is `first_line`, all are indented by `indent` characters.
    Lines { first_line: usize, indent: usize },
    /// Its first character is at this place. Further lines are not told apart.
    Inline(Position),
}

impl Text {
    /// The text as written, macros not expanded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The place in the file of the byte with this offset in the text.
    #[must_use]
    pub fn position(&self, offset_bytes: usize) -> Position {
        let before = self.text.get(..offset_bytes).unwrap_or(&self.text);
        let lines = before.matches('\n').count();
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count());
        match self.origin {
            Origin::Lines { first_line, indent } => {
                Position { line: first_line + lines, column: indent + column + 1 }
            }
            Origin::Inline(start) if lines == 0 => {
                Position { line: start.line, column: start.column + column }
            }
            Origin::Inline(start) => start,
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl Recipe {
    /// Everything that must be in a build root: the dependencies of the root and of all profiles, for building and
    /// for checking, whatever the target.
    #[must_use]
    pub fn all_build_depends(&self) -> BTreeSet<Dependency> {
        let profiles = self.profiles.iter().map(|(_, fields)| fields);
        std::iter::once(&self.build)
            .chain(profiles)
            .flat_map(|fields| fields.build_depends.iter().chain(&fields.check_depends))
            .cloned()
            .collect()
    }

    /// The build fields of the profile for a target such as `emul32/x86_64`, if there is one.
    #[must_use]
    pub fn profile(&self, target: &str) -> Option<&BuildFields> {
        let family = target.split_once('/').map(|(family, _)| family);
        let find =
            |wanted: &str| self.profiles.iter().find(|(key, _)| key == wanted).map(|(_, fields)| fields);
        find(target).or_else(|| family.and_then(find))
    }

    /// Whether some build block asks for profile guided optimisation.
    #[must_use]
    pub fn has_workload(&self) -> bool {
        self.build.workload.is_some() || self.profiles.iter().any(|(_, fields)| fields.workload.is_some())
    }

    /// The targets to build on a machine of this architecture, in order.
    #[must_use]
    pub fn targets(&self, architecture: &str) -> Vec<String> {
        let emulated = self.options.emul32.then(|| format!("emul32/{architecture}"));
        emulated.into_iter().chain([architecture.to_owned()]).collect()
    }
}

/// The recipe as `boulder recipe show --json` prints it: macros in the fields of
/// packages are expanded, the main package comes first.
impl Serialize for Recipe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Named<F> {
            name: String,
            #[serde(flatten)]
            fields: F,
        }
        let main = Named { name: self.name.clone(), fields: rules::expand_fields(self, &self.package) };
        let others = self.packages.iter().map(|(name, fields)| {
            let name = rules::expand_identity(self, name).unwrap_or_else(|_| name.text.clone());
            Named { name, fields: rules::expand_fields(self, fields) }
        });
        let packages: Vec<_> = std::iter::once(main).chain(others).collect();
        let profiles: Vec<_> =
            self.profiles.iter().map(|(name, fields)| Named { name: name.clone(), fields }).collect();

        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("release", &self.release)?;
        map.serialize_entry("homepage", &self.homepage)?;
        map.serialize_entry("licenses", &self.licenses)?;
        let root = packages.first().map(|package| &package.fields);
        map.serialize_entry("summary", &root.and_then(|fields| fields.summary.as_ref()))?;
        map.serialize_entry("description", &root.and_then(|fields| fields.description.as_ref()))?;
        map.serialize_entry("upstreams", &self.upstreams)?;
        map.serialize_entry("build_depends", &self.build.build_depends)?;
        map.serialize_entry("check_depends", &self.build.check_depends)?;
        map.serialize_entry("all_build_depends", &self.all_build_depends())?;
        map.serialize_entry("packages", &packages)?;
        map.serialize_entry("options", &self.options)?;
        map.serialize_entry("architectures", &self.architectures)?;
        map.serialize_entry("tuning", &self.tuning)?;
        map.serialize_entry("profiles", &profiles)?;
        let scripts =
            BuildFields { build_depends: Vec::new(), check_depends: Vec::new(), ..self.build.clone() };
        map.serialize_entry("scripts", &Scripts(&scripts))?;
        map.end()
    }
}

/// The scripts alone, without the dependencies beside them.
struct Scripts<'r>(&'r BuildFields);

impl Serialize for Scripts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.0;
        let mut map = serializer.serialize_map(None)?;
        for (name, text) in [
            ("environment", &fields.environment),
            ("setup", &fields.setup),
            ("build", &fields.build),
            ("install", &fields.install),
            ("check", &fields.check),
            ("workload", &fields.workload),
        ] {
            if let Some(text) = text {
                map.serialize_entry(name, text)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_of_urls() {
        for (url, expect) in [
            ("https://host/a/x-1.0.tar.xz", "x-1.0.tar.xz"),
            ("https://host/a/x.tar.gz?ref_type=tags", "x.tar.gz"),
            ("https://host/a/x#frag/ment", "x"),
            ("https://host/a/", ""),
            ("https://host", ""),
            ("https://host/qt.git", "qt.git"),
        ] {
            assert_eq!(url_file_name(url), expect, "{url}");
        }
    }

    #[test]
    fn a_place_in_a_script_is_a_place_in_the_file() {
        let text =
            Text { text: "one\n  twö three\n".into(), origin: Origin::Lines { first_line: 10, indent: 4 } };
        assert_eq!(text.position(0), Position { line: 10, column: 5 });
        let three = text.text.find("three").unwrap();
        assert_eq!(text.position(three), Position { line: 11, column: 11 });
        let inline = Text { text: "one two".into(), origin: Origin::Inline(Position { line: 3, column: 8 }) };
        assert_eq!(inline.position(4), Position { line: 3, column: 12 });
        assert_eq!(inline.position(99), Position { line: 3, column: 15 });
    }
}
