//! From [`Written`] to [`Recipe`]: every key is read into its type, every fault is collected with its place.
//!
//! Reading goes on after a fault, so that a person sees all of them at once. What readers of YAML disagree about is
//! decided here, once, and said in a warning:
//!
//! * a switch is `true` or `false`; the old words `yes`, `no`, `on` and `off` mean the same and are warned about;
//! * `version` is the text as written: `1.10` keeps its zero and `059` its own, with a warning, because other readers
//!   make a number of them;
//! * `release` is decimal, whatever zeros it begins with;
//! * an empty value is an error where one is needed, and otherwise as if the key were not there, with a warning;
//! * the text after `|` at the very end of a file ends with a newline even if the file does not.

mod fields;
mod upstream;

use std::sync::Arc;

use package::Dependency;

use crate::error::RecipeError;
use crate::model::{
    BuildFields, Options, Origin, PackageFields, Parsed, PathKind, PathPattern, Recipe, Text, Toolchain,
    TuningChoice, TuningSetting,
};
use crate::name;
use crate::problem::{Position, Problem, Severity, Source, suggest};
use crate::written::{Key, Node, Style, Value, Written};

/// Reads a recipe. `file_name` is only for messages.
///
/// # Errors
/// When the text is not YAML of the kind we accept, or a key is missing or has a value that it cannot have. All such
/// faults are named at once.
pub fn parse(file_name: &str, text: &str) -> Result<Parsed, RecipeError> {
    Written::read(file_name, text)?.into_recipe()
}

impl Written {
    /// Reads every key into its type.
    ///
    /// # Errors
    /// When a key is missing or has a value that it cannot have.
    pub fn into_recipe(self) -> Result<Parsed, RecipeError> {
        let mut reader = Reader::new(Arc::clone(&self.source));
        let recipe = reader.root(&self.root);
        reader.finish(recipe).map(|(recipe, warnings)| Parsed { recipe, warnings })
    }
}

/// A person corrects some dozens of faults and looks again; a file with more is not a recipe.
const PROBLEMS_MAX: usize = 100;

const IDENTITY_KEYS: &[&str] = &["name", "version", "release", "homepage", "license"];
const BUILD_KEYS: &[&str] =
    &["setup", "build", "install", "check", "workload", "environment", "builddeps", "checkdeps"];
const PACKAGE_KEYS: &[&str] =
    &["summary", "description", "rundeps", "rundeps-exclude", "provides-exclude", "conflicts", "paths"];
const OPTION_KEYS: &[&str] = &[
    "toolchain",
    "cspgo",
    "samplepgo",
    "debug",
    "strip",
    "networking",
    "compressman",
    "lastrip",
    "emul32",
    "mold",
];
const LIST_KEYS: &[&str] = &["upstreams", "packages", "profiles", "architectures", "tuning"];

/// Collects faults while values are read.
pub(crate) struct Reader {
    pub(crate) source: Arc<Source>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Reader {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        Self { source, errors: Vec::new(), warnings: Vec::new() }
    }

    /// The value, unless there were errors.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Problem>), RecipeError> {
        match value {
            Some(value) if self.errors.is_empty() => {
                let mut warnings = self.warnings;
                warnings.sort_by_key(Problem::position);
                Ok((value, warnings))
            }
            _ if self.errors.is_empty() => Err(RecipeError::one(self.source.problem(
                Severity::Error,
                Position::START,
                "the file cannot be used",
            ))),
            _ => Err(RecipeError::several(self.errors)),
        }
    }

    pub(crate) fn error(&mut self, at: Position, message: impl Into<String>, help: impl Into<String>) {
        if self.errors.len() < PROBLEMS_MAX {
            self.errors.push(self.source.problem(Severity::Error, at, message).with_help(help));
        }
    }

    pub(crate) fn warn(&mut self, at: Position, message: impl Into<String>, help: impl Into<String>) {
        if self.warnings.len() < PROBLEMS_MAX {
            self.warnings.push(self.source.problem(Severity::Warning, at, message).with_help(help));
        }
    }

    /// Warns about a key that nothing reads.
    pub(crate) fn unknown_key<'k>(
        &mut self,
        key: &Key,
        place: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let shown = shorten(&key.text);
        let help = match suggest(&key.text, known) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => "nothing reads it: remove it, or make it a comment".to_owned(),
        };
        self.warn(key.start, format!("unknown key {shown:?} {place} is ignored"), help);
    }

    fn root(&mut self, root: &Node) -> Option<Recipe> {
        let Value::Mapping(pairs) = &root.value else {
            self.error(
                root.start,
                format!("a recipe is a map of keys, not {}", root.kind()),
                "begin with `name: …`",
            );
            return None;
        };
        let mut recipe = Recipe {
            name: String::new(),
            version: String::new(),
            release: 0,
            homepage: String::new(),
            licenses: Vec::new(),
            build: BuildFields::default(),
            package: PackageFields::default(),
            options: Options::default(),
            upstreams: Vec::new(),
            packages: Vec::new(),
            profiles: Vec::new(),
            architectures: Vec::new(),
            tuning: Vec::new(),
            source: Arc::clone(&self.source),
        };
        for (key, value) in pairs {
            let known = self.identity_key(key, value, &mut recipe)
                || self.list_key(key, value, &mut recipe)
                || self.option_key(key, value, &mut recipe.options)
                || self.build_key(key, value, &mut recipe.build)
                || self.package_key(key, value, &mut recipe.package);
            if !known {
                let keys = [IDENTITY_KEYS, BUILD_KEYS, PACKAGE_KEYS, OPTION_KEYS, LIST_KEYS].concat();
                self.unknown_key(key, "of the recipe", keys);
            }
        }
        for required in IDENTITY_KEYS {
            if !pairs.iter().any(|(key, _)| key.text == *required) {
                self.error(
                    root.start,
                    format!("the key {required:?} is missing"),
                    format!("add `{required}: …`"),
                );
            }
        }
        Some(recipe)
    }

    fn identity_key(&mut self, key: &Key, value: &Node, recipe: &mut Recipe) -> bool {
        match key.text.as_str() {
            "name" => recipe.name = self.checked(value, "name", name::check_name),
            "version" => recipe.version = self.version(value),
            "release" => recipe.release = self.release(value),
            "homepage" => {
                if let Some((text, _)) = self.required(value, "homepage") {
                    recipe.homepage = text.trim().to_owned();
                }
            }
            "license" => recipe.licenses = self.licenses(value),
            _ => return false,
        }
        true
    }

    fn list_key(&mut self, key: &Key, value: &Node, recipe: &mut Recipe) -> bool {
        match key.text.as_str() {
            "upstreams" => {
                for (key, value) in self.pairs_of_list(value, "upstreams") {
                    recipe.upstreams.extend(self.upstream(key, value));
                }
                self.same_names(value, &recipe.upstreams);
            }
            "packages" => recipe.packages = self.packages(value),
            "profiles" => {
                for (key, value) in self.pairs_of_list(value, "profiles") {
                    let fields = self.build_fields(key, value);
                    recipe.profiles.push((key.text.clone(), fields));
                }
            }
            "architectures" => {
                recipe.architectures =
                    self.texts(value, "architectures").into_iter().map(|text| text.text).collect();
            }
            "tuning" => recipe.tuning = self.tuning(value),
            _ => return false,
        }
        true
    }

    fn option_key(&mut self, key: &Key, value: &Node, options: &mut Options) -> bool {
        let switch = match key.text.as_str() {
            "toolchain" => {
                if let Some(toolchain) = self.toolchain(value) {
                    options.toolchain = toolchain;
                }
                return true;
            }
            "cspgo" => &mut options.cspgo,
            "samplepgo" => &mut options.samplepgo,
            "debug" => &mut options.debug,
            "strip" => &mut options.strip,
            "networking" => &mut options.networking,
            "compressman" => &mut options.compressman,
            "lastrip" => &mut options.lastrip,
            "emul32" => &mut options.emul32,
            "mold" => &mut options.mold,
            _ => return false,
        };
        if let Some(on) = self.boolean(value, &key.text) {
            *switch = on;
        }
        true
    }

    fn build_key(&mut self, key: &Key, value: &Node, fields: &mut BuildFields) -> bool {
        let script = match key.text.as_str() {
            "setup" => &mut fields.setup,
            "build" => &mut fields.build,
            "install" => &mut fields.install,
            "check" => &mut fields.check,
            "workload" => &mut fields.workload,
            "environment" => &mut fields.environment,
            "builddeps" => {
                fields.build_depends = self.dependencies(value, "builddeps");
                return true;
            }
            "checkdeps" => {
                fields.check_depends = self.dependencies(value, "checkdeps");
                return true;
            }
            _ => return false,
        };
        // The reference tool prints an absent environment as "(null)", and old recipes took that over.
        *script = self.optional_text(value, &key.text).filter(|text| text.trim() != "(null)");
        true
    }

    fn package_key(&mut self, key: &Key, value: &Node, fields: &mut PackageFields) -> bool {
        match key.text.as_str() {
            "summary" => fields.summary = self.optional_text(value, "summary"),
            "description" => fields.description = self.optional_text(value, "description"),
            "rundeps" => fields.rundeps = self.texts(value, "rundeps"),
            "rundeps-exclude" => fields.rundeps_exclude = self.expressions(value, "rundeps-exclude"),
            "provides-exclude" => fields.provides_exclude = self.expressions(value, "provides-exclude"),
            "conflicts" => fields.conflicts = self.texts(value, "conflicts"),
            "paths" => fields.paths = self.paths(value),
            _ => return false,
        }
        true
    }

    /// The entries of `packages`, of a recipe or a macro file.
    pub(crate) fn packages(&mut self, value: &Node) -> Vec<(Text, PackageFields)> {
        let mut packages = Vec::new();
        for (key, value) in self.pairs_of_list(value, "packages") {
            let name = Text { text: key.text.clone(), origin: self.key_origin(key) };
            packages.push((name, self.package_fields(key, value)));
        }
        packages
    }

    fn package_fields(&mut self, key: &Key, value: &Node) -> PackageFields {
        let mut fields = PackageFields::default();
        for (key, value) in self.pairs_of_map(key, value) {
            if !self.package_key(key, value, &mut fields) {
                self.unknown_key(key, "of a package", PACKAGE_KEYS.iter().copied());
            }
        }
        fields
    }

    fn build_fields(&mut self, key: &Key, value: &Node) -> BuildFields {
        let mut fields = BuildFields::default();
        for (key, value) in self.pairs_of_map(key, value) {
            if !self.build_key(key, value, &mut fields) {
                self.unknown_key(key, "of a profile", BUILD_KEYS.iter().copied());
            }
        }
        fields
    }

    fn version(&mut self, value: &Node) -> String {
        if let Value::Scalar { text, style: Style::Plain } = &value.value
            && other_readers_change(text)
        {
            self.warn(
                value.start,
                format!("version {text} is a number to other readers of YAML, which print it another way"),
                format!("write `version: \"{text}\"`"),
            );
        }
        let version = self.checked(value, "version", name::check_version);
        if version.starts_with(|first: char| first.is_ascii_alphabetic()) {
            let help = "leave the letters out";
            self.warn(value.start, format!("version {version:?} does not begin with a digit"), help);
        }
        version
    }

    fn release(&mut self, value: &Node) -> u64 {
        let Some((text, style)) = self.required(value, "release") else { return 0 };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) if number > 0 && digits => {
                if style != Style::Plain || text.starts_with('0') {
                    self.warn(
                        value.start,
                        "release is not a plain number",
                        format!("write `release: {number}`"),
                    );
                }
                number
            }
            _ => {
                let message = format!("release must be a whole number from 1, not {:?}", shorten(&text));
                self.error(value.start, message, "write `release: 1` and count up with each change");
                0
            }
        }
    }

    fn licenses(&mut self, value: &Node) -> Vec<String> {
        let licenses: Vec<String> = match &value.value {
            Value::Sequence(_) => self.texts(value, "license").into_iter().map(|text| text.text).collect(),
            _ => self.required(value, "license").map(|(text, _)| text).into_iter().collect(),
        };
        if licenses.is_empty() && matches!(value.value, Value::Sequence(_)) {
            self.error(
                value.start,
                "license names nothing",
                "name the licence by its SPDX id, such as `MIT`",
            );
        }
        licenses
    }

    fn toolchain(&mut self, value: &Node) -> Option<Toolchain> {
        match self.optional_text(value, "toolchain")?.as_str() {
            "llvm" => Some(Toolchain::Llvm),
            "gnu" => Some(Toolchain::Gnu),
            other => {
                let message = format!("toolchain must be llvm or gnu, not {:?}", shorten(other));
                self.error(value.start, message, "write `toolchain: gnu`, or leave it out for llvm");
                None
            }
        }
    }

    pub(crate) fn dependencies(&mut self, value: &Node, key: &str) -> Vec<Dependency> {
        let mut dependencies = Vec::new();
        for text in self.texts(value, key) {
            match text.parse::<Dependency>() {
                Ok(dependency) => dependencies.push(dependency),
                Err(error) => {
                    self.error(text.position(0), error.to_string(), "write a package name or kind(name)");
                }
            }
            if text.contains("%(") {
                self.warn(
                    text.position(0),
                    format!("macros are not expanded in {key}"),
                    "write the name out",
                );
            }
        }
        dependencies
    }

    fn expressions(&mut self, value: &Node, key: &str) -> Vec<Text> {
        let texts = self.texts(value, key);
        for text in &texts {
            if regex::Regex::new(text).is_err() {
                let message = format!("{:?} is not a regular expression and excludes nothing", shorten(text));
                self.warn(
                    text.position(0),
                    message,
                    "escape brackets with a backslash, such as `soname\\(libx\\)`",
                );
            }
        }
        texts
    }

    fn paths(&mut self, value: &Node) -> Vec<PathPattern> {
        let mut paths = Vec::new();
        for item in self.items(value, "paths") {
            match &item.value {
                Value::Mapping(pairs) => {
                    let Some((key, value)) = self.one_pair(pairs, item.start, "paths") else { continue };
                    let kind = self.path_kind(value);
                    let pattern = Text { text: key.text.clone(), origin: self.key_origin(key) };
                    paths.extend(kind.map(|kind| PathPattern { pattern, kind }));
                }
                _ => {
                    let pattern = self.text(item, "an entry of paths");
                    paths.extend(pattern.map(|pattern| PathPattern { pattern, kind: PathKind::Any }));
                }
            }
        }
        paths
    }

    fn path_kind(&mut self, value: &Node) -> Option<PathKind> {
        let text = self.text(value, "the kind of a path")?;
        let kind = match text.as_str() {
            "any" => PathKind::Any,
            "exe" => PathKind::Exe,
            "symlink" => PathKind::Symlink,
            "special" => PathKind::Special,
            other => {
                let message = format!("{:?} is not a kind of path", shorten(other));
                self.error(
                    value.start,
                    message,
                    "leave the kind out; known are any, exe, symlink and special",
                );
                return None;
            }
        };
        if kind != PathKind::Any {
            let message = format!(
                "the kind {:?} of a path has no effect; the path is matched whatever it is",
                text.as_str()
            );
            self.warn(value.start, message, "write the path alone");
        }
        Some(kind)
    }

    fn tuning(&mut self, value: &Node) -> Vec<TuningChoice> {
        let mut choices = Vec::new();
        for item in self.items(value, "tuning") {
            let Value::Mapping(pairs) = &item.value else {
                if let Some(group) = self.text(item, "an entry of tuning") {
                    let at = group.position(0);
                    choices.push(TuningChoice { group: group.text, setting: TuningSetting::Enabled, at });
                }
                continue;
            };
            let Some((key, value)) = self.one_pair(pairs, item.start, "tuning") else { continue };
            let setting = if value.is_null() {
                TuningSetting::Enabled
            } else if let Some(on) = self.boolean_word(value, &key.text) {
                if on { TuningSetting::Enabled } else { TuningSetting::Disabled }
            } else if let Some(choice) = self.text(value, "a choice of tuning") {
                TuningSetting::Choice(choice.text)
            } else {
                continue;
            };
            choices.push(TuningChoice { group: key.text.clone(), setting, at: key.start });
        }
        choices
    }

    fn key_origin(&self, key: &Key) -> Origin {
        let line = self.source.line(key.start.line);
        let quoted = line.chars().nth(key.start.column - 1).is_some_and(|first| matches!(first, '"' | '\''));
        Origin::Inline(Position { line: key.start.line, column: key.start.column + usize::from(quoted) })
    }
}

/// Whether a plain scalar is a number whose usual printed form is another text.
fn other_readers_change(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        None => {
            let exponent =
                text.split_once(['e', 'E']).is_some_and(|(left, right)| digits(left) && digits(right));
            exponent || (digits(text) && text.len() > 1 && text.starts_with('0'))
        }
        Some((whole, fraction)) => digits(whole) && digits(fraction) && text.ends_with('0'),
    }
}

/// A foreign text, short enough for a message.
pub(crate) fn shorten(text: &str) -> String {
    // Enough to recognise a value by.
    const CHARACTERS_MAX: usize = 60;
    let mut short: String = text.chars().take(CHARACTERS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
