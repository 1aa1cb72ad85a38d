//! Macro files: the actions, definitions, compiler flags and template packages that recipes rely on.
//!
//! Ours are YAML files beside this crate, embedded at compile time and read by the same reader as recipes. For one
//! target they are laid over each other in this order: base, the target's file, every file of actions; what comes
//! later replaces what came before.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use package::Dependency;

use crate::error::{EvaluateError, RecipeError};
use crate::model::{PackageFields, Text};
use crate::read::Reader;
use crate::written::{Key, Node, Value, Written};

const BASE: (&str, &str) = ("base", include_str!("../macros/base.yaml"));

/// Files of targets, by the target's name.
const TARGETS: &[(&str, &str)] = &[
    ("x86_64", include_str!("../macros/arch/x86_64.yaml")),
    ("x86_64-v3x", include_str!("../macros/arch/x86_64-v3x.yaml")),
    ("x86", include_str!("../macros/arch/x86.yaml")),
    ("aarch64", include_str!("../macros/arch/aarch64.yaml")),
    ("riscv64", include_str!("../macros/arch/riscv64.yaml")),
    ("emul32/x86_64", include_str!("../macros/emul32/x86_64.yaml")),
];

const ACTIONS: &[(&str, &str)] = &[
    ("autotools", include_str!("../macros/actions/autotools.yaml")),
    ("cargo", include_str!("../macros/actions/cargo.yaml")),
    ("cmake", include_str!("../macros/actions/cmake.yaml")),
    ("files", include_str!("../macros/actions/files.yaml")),
    ("languages", include_str!("../macros/actions/languages.yaml")),
    ("meson", include_str!("../macros/actions/meson.yaml")),
];

/// A command that scripts call by `%name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What it does, one sentence.
    pub description: String,
    /// How it is called; may be empty.
    pub example: String,
    /// The text that takes its place.
    pub command: String,
    /// What the build root needs for it.
    pub dependencies: Vec<Dependency>,
}

/// The flags of one name, by toolchain and language.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FlagSet {
    pub(crate) any: BTreeMap<Language, String>,
    pub(crate) gnu: BTreeMap<Language, String>,
    pub(crate) llvm: BTreeMap<Language, String>,
}

/// What takes flags of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Language {
    C,
    Cxx,
    Fortran,
    Linker,
    D,
    Rust,
    Vala,
    Go,
}

impl Language {
    pub(crate) const ALL: [Language; 8] = [
        Language::C,
        Language::Cxx,
        Language::Fortran,
        Language::Linker,
        Language::D,
        Language::Rust,
        Language::Vala,
        Language::Go,
    ];

    /// The key in a macro file, and before `flags` the name of the built-in value.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Language::C => "c",
            Language::Cxx => "cxx",
            Language::Fortran => "f",
            Language::Linker => "ld",
            Language::D => "d",
            Language::Rust => "rust",
            Language::Vala => "vala",
            Language::Go => "go",
        }
    }
}

/// One group of tuning: the flags of each state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TuningGroup {
    pub(crate) enabled: Vec<String>,
    pub(crate) disabled: Vec<String>,
    pub(crate) default_choice: Option<String>,
    /// By choice the flags it adds.
    pub(crate) choices: Vec<(String, Vec<String>)>,
}

/// One macro file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MacroFile {
    actions: Vec<(String, Action)>,
    definitions: Vec<(String, String)>,
    flags: Vec<(String, FlagSet)>,
    tuning: Vec<(String, TuningGroup)>,
    packages: Vec<(Text, PackageFields)>,
    default_groups: Option<Vec<String>>,
}

/// All macros for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Macros {
    pub(crate) actions: BTreeMap<String, Action>,
    pub(crate) definitions: BTreeMap<String, String>,
    pub(crate) flags: BTreeMap<String, FlagSet>,
    pub(crate) tuning: BTreeMap<String, TuningGroup>,
    pub(crate) default_groups: Vec<String>,
    /// Template packages of base and of this target's file.
    pub(crate) base_packages: Vec<(Text, PackageFields)>,
    pub(crate) target_packages: Vec<(Text, PackageFields)>,
}

struct Embedded {
    base: MacroFile,
    targets: Vec<(&'static str, MacroFile)>,
    actions: Vec<MacroFile>,
}

/// The targets that there are macros for, in a fixed order.
#[must_use]
pub fn known_targets() -> Vec<&'static str> {
    TARGETS.iter().map(|(name, _)| *name).collect()
}

impl Macros {
    /// Our macros for a target such as `x86_64` or `emul32/x86_64`.
    ///
    /// # Errors
    /// When there are none for the target.
    pub fn for_target(target: &str) -> Result<Self, EvaluateError> {
        // Reading the files gives the same for ever; it is done once in a process.
        static EMBEDDED: OnceLock<Result<Embedded, RecipeError>> = OnceLock::new();
        let embedded = EMBEDDED
            .get_or_init(read_embedded)
            .as_ref()
            .map_err(|error| EvaluateError::Macros { message: error.to_string(), trace: Vec::new() })?;
        let file =
            embedded.targets.iter().find(|(name, _)| *name == target).map(|(_, file)| file).ok_or_else(
                || {
                    let known = known_targets().into_iter().map(str::to_owned).collect();
                    EvaluateError::UnknownTarget { target: target.to_owned(), known }
                },
            )?;
        Ok(Self::merge(&embedded.base, file, &embedded.actions))
    }

    fn merge(base: &MacroFile, target: &MacroFile, actions: &[MacroFile]) -> Self {
        let mut macros = Self {
            actions: BTreeMap::new(),
            definitions: BTreeMap::new(),
            flags: BTreeMap::new(),
            tuning: BTreeMap::new(),
            default_groups: target
                .default_groups
                .clone()
                .or_else(|| base.default_groups.clone())
                .unwrap_or_default(),
            base_packages: base.packages.clone(),
            target_packages: target.packages.clone(),
        };
        for file in [base, target].into_iter().chain(actions) {
            macros.actions.extend(file.actions.iter().cloned());
            macros.definitions.extend(file.definitions.iter().cloned());
            macros.flags.extend(file.flags.iter().cloned());
            macros.tuning.extend(file.tuning.iter().cloned());
        }
        macros
    }

    /// The actions by name.
    #[must_use]
    pub fn actions(&self) -> &BTreeMap<String, Action> {
        &self.actions
    }

    /// The definitions by name, not expanded.
    #[must_use]
    pub fn definitions(&self) -> &BTreeMap<String, String> {
        &self.definitions
    }
}

fn read_embedded() -> Result<Embedded, RecipeError> {
    let read = |(name, text): (&str, &str)| MacroFile::parse(&format!("macros/{name}.yaml"), text);
    Ok(Embedded {
        base: read(BASE)?,
        targets: TARGETS
            .iter()
            .map(|(name, text)| read((name, text)).map(|file| (*name, file)))
            .collect::<Result<_, _>>()?,
        actions: ACTIONS.iter().map(|file| read(*file)).collect::<Result<_, _>>()?,
    })
}

impl MacroFile {
    /// Reads a macro file. What a reader of recipes only warns about is an error here: the files are ours.
    pub(crate) fn parse(file_name: &str, text: &str) -> Result<Self, RecipeError> {
        let written = Written::read(file_name, text)?;
        let mut reader = Reader::new(Arc::clone(&written.source));
        let file = read_file(&mut reader, &written.root);
        let (file, warnings) = reader.finish(file)?;
        if warnings.is_empty() { Ok(file) } else { Err(RecipeError::several(warnings)) }
    }
}

fn read_file(reader: &mut Reader, root: &Node) -> Option<MacroFile> {
    let Value::Mapping(pairs) = &root.value else {
        reader.error(root.start, "a macro file is a map of keys", "begin with `definitions:` or `actions:`");
        return None;
    };
    let mut file = MacroFile::default();
    for (key, value) in pairs {
        match key.text.as_str() {
            "actions" => {
                for (key, value) in reader.pairs_of_list(value, "actions") {
                    file.actions.push((key.text.clone(), read_action(reader, key, value)));
                }
            }
            "definitions" => {
                for (key, value) in reader.pairs_of_list(value, "definitions") {
                    // An empty definition is a value like any other.
                    if let Value::Scalar { text, .. } = &value.value {
                        file.definitions.push((key.text.clone(), text.trim().to_owned()));
                    }
                }
            }
            "flags" => {
                for (key, value) in reader.pairs_of_list(value, "flags") {
                    file.flags.push((key.text.clone(), read_flags(reader, key, value)));
                }
            }
            "tuning" => {
                for (key, value) in reader.pairs_of_list(value, "tuning") {
                    file.tuning.push((key.text.clone(), read_tuning(reader, key, value)));
                }
            }
            "packages" => file.packages = reader.packages(value),
            "defaultTuningGroups" => file.default_groups = Some(words(reader, value, "defaultTuningGroups")),
            _ => reader.unknown_key(
                key,
                "of a macro file",
                ["actions", "definitions", "flags", "tuning", "packages"],
            ),
        }
    }
    Some(file)
}

fn read_action(reader: &mut Reader, key: &Key, value: &Node) -> Action {
    let mut action = Action {
        description: String::new(),
        example: String::new(),
        command: String::new(),
        dependencies: Vec::new(),
    };
    for (key, value) in reader.pairs_of_map(key, value) {
        let text = match key.text.as_str() {
            "description" => &mut action.description,
            "example" => &mut action.example,
            "command" => &mut action.command,
            "dependencies" => {
                action.dependencies = reader.dependencies(value, "dependencies");
                continue;
            }
            _ => {
                reader.unknown_key(
                    key,
                    "of an action",
                    ["description", "example", "command", "dependencies"],
                );
                continue;
            }
        };
        if let Some(read) = reader.text(value, &key.text) {
            *text = read.trim().to_owned();
        }
    }
    if action.command.is_empty() {
        reader.error(key.start, format!("action {:?} has no command", key.text), "add `command:`");
    }
    action
}

fn read_flags(reader: &mut Reader, key: &Key, value: &Node) -> FlagSet {
    let mut flags = FlagSet::default();
    for (key, value) in reader.pairs_of_map(key, value) {
        let toolchain = match key.text.as_str() {
            "gnu" => &mut flags.gnu,
            "llvm" => &mut flags.llvm,
            _ => {
                read_language(reader, key, value, &mut flags.any);
                continue;
            }
        };
        for (key, value) in reader.pairs_of_map(key, value) {
            read_language(reader, key, value, toolchain);
        }
    }
    flags
}

fn read_language(reader: &mut Reader, key: &Key, value: &Node, flags: &mut BTreeMap<Language, String>) {
    let language = Language::ALL.into_iter().find(|language| language.key() == key.text);
    match (language, &value.value) {
        (Some(language), Value::Scalar { text, .. }) => {
            flags.insert(language, text.trim().to_owned());
        }
        _ => reader.unknown_key(key, "of flags", Language::ALL.map(Language::key)),
    }
}

fn read_tuning(reader: &mut Reader, key: &Key, value: &Node) -> TuningGroup {
    let mut group = TuningGroup::default();
    for (key, value) in reader.pairs_of_map(key, value) {
        match key.text.as_str() {
            "enabled" => group.enabled = words(reader, value, "enabled"),
            "disabled" => group.disabled = words(reader, value, "disabled"),
            "default" => group.default_choice = reader.text(value, "default").map(|text| text.text),
            "choices" => {
                for (name, value) in reader.pairs_of_list(value, "choices") {
                    let mut enabled = Vec::new();
                    for (key, value) in reader.pairs_of_map(name, value) {
                        match key.text.as_str() {
                            "enabled" => enabled = words(reader, value, "enabled"),
                            _ => reader.unknown_key(key, "of a choice", ["enabled"]),
                        }
                    }
                    group.choices.push((name.text.clone(), enabled));
                }
            }
            _ => reader.unknown_key(key, "of a tuning group", ["enabled", "disabled", "default", "choices"]),
        }
    }
    group
}

fn words(reader: &mut Reader, node: &Node, key: &str) -> Vec<String> {
    reader.texts(node, key).into_iter().map(|text| text.text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_files_are_read_for_every_target() {
        for target in known_targets() {
            let macros = Macros::for_target(target).unwrap();
            for needed in ["march", "mtune", "target_triple", "build_platform", "host_platform", "libdir"] {
                assert!(macros.definitions.contains_key(needed), "{target} lacks {needed}");
            }
            assert!(macros.actions.contains_key("scriptBase"));
            assert!(macros.base_packages.len() >= 6);
        }
        assert!(matches!(Macros::for_target("vax"), Err(EvaluateError::UnknownTarget { .. })));
    }

    #[test]
    fn every_name_that_tuning_mentions_exists() {
        for target in known_targets() {
            let macros = Macros::for_target(target).unwrap();
            for name in &macros.default_groups {
                assert!(macros.tuning.contains_key(name), "{target}: no group {name}");
            }
            for (group, tuning) in &macros.tuning {
                let chosen = tuning.choices.iter().flat_map(|(_, flags)| flags);
                for flag in tuning.enabled.iter().chain(&tuning.disabled).chain(chosen) {
                    assert!(macros.flags.contains_key(flag), "{target}: {group} names {flag}");
                }
                if let Some(default) = &tuning.default_choice {
                    assert!(tuning.choices.iter().any(|(choice, _)| choice == default), "{group}: {default}");
                }
            }
        }
    }

    #[test]
    fn what_comes_later_replaces_what_came_before() {
        let base = MacroFile::parse("base", "definitions: [ { a: 1 }, { b: 1 } ]").unwrap();
        let target = MacroFile::parse("target", "definitions: [ { b: 2 }, { c: 2 } ]").unwrap();
        let actions = MacroFile::parse("actions", "definitions: [ { c: 3 } ]").unwrap();
        let merged = Macros::merge(&base, &target, &[actions]);
        let expect = [("a", "1"), ("b", "2"), ("c", "3")];
        assert_eq!(merged.definitions, expect.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
    }

    #[test]
    fn a_macro_file_with_a_slip_is_refused() {
        for text in [
            "definition: []",
            "actions: [ { a: { comand: x } } ]",
            "actions: [ { a: { description: x } } ]",
            "flags: [ { a: { cpp: x } } ]",
            "tuning: [ { a: { on: [x] } } ]",
            "- a",
        ] {
            assert!(MacroFile::parse("m", text).is_err(), "{text}");
        }
    }
}
