//! Which compiler flags a recipe is built with.
//!
//! Groups of flags are on by default or not; a recipe's `tuning` switches them or makes another choice. The flags of
//! a language are a set of texts in byte order, so the same choices give the same command line everywhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::EvaluateError;
use crate::macros::{Language, Macros, TuningGroup};
use crate::model::{Recipe, Toolchain, TuningChoice, TuningSetting};
use crate::problem::{Severity, suggest};

/// Flags by language, macros in them not yet expanded.
pub(crate) type Flags = BTreeMap<Language, BTreeSet<String>>;

/// Resolves the default groups and the recipe's choices into flags.
pub(crate) fn resolve(
    recipe: &Recipe,
    macros: &Macros,
    toolchain: Toolchain,
) -> Result<Flags, EvaluateError> {
    let mut settings: BTreeMap<&str, &TuningSetting> =
        macros.default_groups.iter().map(|group| (group.as_str(), &TuningSetting::Enabled)).collect();
    for choice in &recipe.tuning {
        check(recipe, macros, choice)?;
        settings.insert(&choice.group, &choice.setting);
    }
    let mut flags = Flags::new();
    for (group, setting) in settings {
        let Some(group) = macros.tuning.get(group) else { continue };
        for name in names(group, setting) {
            add(macros, name, toolchain, &mut flags);
        }
    }
    if recipe.options.mold {
        flags.entry(Language::Linker).or_default().insert("-fuse-ld=mold".to_owned());
    }
    Ok(flags)
}

/// The names of the flags that a group adds in a state.
fn names<'g>(group: &'g TuningGroup, setting: &TuningSetting) -> Vec<&'g str> {
    let choice = match setting {
        TuningSetting::Disabled => return group.disabled.iter().map(String::as_str).collect(),
        TuningSetting::Enabled => group.default_choice.as_deref(),
        TuningSetting::Choice(choice) => Some(choice.as_str()),
    };
    let chosen =
        group.choices.iter().filter(|(name, _)| Some(name.as_str()) == choice).flat_map(|(_, flags)| flags);
    group.enabled.iter().chain(chosen).map(String::as_str).collect()
}

fn add(macros: &Macros, name: &str, toolchain: Toolchain, flags: &mut Flags) {
    let Some(set) = macros.flags.get(name) else { return };
    let special = match toolchain {
        Toolchain::Gnu => &set.gnu,
        Toolchain::Llvm => &set.llvm,
    };
    for language in Language::ALL {
        if let Some(text) = special.get(&language).or_else(|| set.any.get(&language))
            && !text.is_empty()
        {
            flags.entry(language).or_default().insert(text.clone());
        }
    }
}

fn check(recipe: &Recipe, macros: &Macros, choice: &TuningChoice) -> Result<(), EvaluateError> {
    let fail = |message: String, help: String| {
        let problem = recipe.source.problem(Severity::Error, choice.at, message).with_help(help);
        Err(EvaluateError::recipe(problem))
    };
    let Some(group) = macros.tuning.get(&choice.group) else {
        let known = macros.tuning.keys().map(String::as_str);
        let help = match suggest(&choice.group, known.clone()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("known groups are {}", known.collect::<Vec<_>>().join(", ")),
        };
        return fail(format!("there is no tuning group {:?}", choice.group), help);
    };
    let TuningSetting::Choice(wanted) = &choice.setting else { return Ok(()) };
    if group.choices.iter().any(|(name, _)| name == wanted) {
        return Ok(());
    }
    let choices: Vec<&str> = group.choices.iter().map(|(name, _)| name.as_str()).collect();
    let help = if choices.is_empty() {
        format!("write `{}: true` or `{}: false`", choice.group, choice.group)
    } else {
        format!("choices are {}", choices.join(", "))
    };
    fail(format!("tuning group {:?} has no choice {wanted:?}", choice.group), help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::parse;

    fn flags(tuning: &str, target: &str, toolchain: Toolchain, language: Language) -> String {
        let text =
            format!("name: a\nversion: \"1\"\nrelease: 1\nhomepage: h\nlicense: MIT\ntuning:\n{tuning}");
        let recipe = parse("stone.yaml", &text).unwrap().recipe;
        let flags = resolve(&recipe, &Macros::for_target(target).unwrap(), toolchain).unwrap();
        flags.get(&language).into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn recipes_change_the_default() {
        use Toolchain::{Gnu, Llvm};
        for (tuning, toolchain, has, lacks) in [
            ("", Llvm, "-O2", "-O3"),
            ("", Llvm, "-flto=thin", "-flto=full"),
            ("", Gnu, "-flto=%(jobs)", "-flto=thin"),
            (" - lto: full\n", Llvm, "-flto=full", "-flto=thin"),
            (" - lto\n", Llvm, "-flto=thin", "-flto=full"),
            (" - lto: false\n", Llvm, "-O2", "-flto"),
            (" - optimize: speed\n", Gnu, "-O3", "-O2"),
            (" - harden: false\n", Llvm, "-fno-stack-protector", "-fstack-protector"),
            (" - harden: lvl2\n", Llvm, "-fstack-clash-protection", "ssp-buffer-size=32"),
            (" - frame-pointer: false\n", Gnu, "-fomit-frame-pointer", "-fno-omit-frame-pointer"),
            (" - fat-lto: no\n", Gnu, "-fno-fat-lto-objects", "-ffat-lto-objects"),
        ] {
            let flags = flags(tuning, "x86_64", toolchain, Language::C);
            assert!(flags.contains(has), "{tuning}: {flags}");
            assert!(!flags.contains(lacks), "{tuning}: {flags}");
        }
    }

    #[test]
    fn a_toolchain_never_sees_flags_of_the_other() {
        for target in ["x86_64", "aarch64", "emul32/x86_64"] {
            for language in Language::ALL {
                let flags = flags(" - polly\n - relative-vtables\n", target, Toolchain::Gnu, language);
                for only_llvm in
                    ["--icf", "-flto=thin", "polly", "relative-c++", "undefined-version", "linker-plugin"]
                {
                    assert!(!flags.contains(only_llvm), "{target} {language:?}: {flags}");
                }
                if target != "x86_64" {
                    assert!(!flags.contains("-fcf-protection"), "{target} {language:?}: {flags}");
                }
            }
        }
    }

    #[test]
    fn the_set_is_in_byte_order_and_without_repetition() {
        let flags = flags(" - noplt\n", "x86_64", Toolchain::Llvm, Language::Linker);
        let mut sorted: Vec<&str> = flags.split(' ').collect();
        assert_eq!(sorted.iter().filter(|flag| flag.contains("relro")).count(), 1);
        sorted.sort_unstable();
        assert_eq!(flags.split(' ').collect::<Vec<_>>(), sorted);
    }

    #[test]
    fn unknown_groups_and_choices_are_refused_with_their_line() {
        for (tuning, message, help) in [
            ("tuning:\n - ltoo: full\n", "no tuning group \"ltoo\"", "lto"),
            ("tuning:\n - lto: fat\n", "no choice \"fat\"", "full, thin"),
            ("tuning:\n - base: most\n", "no choice \"most\"", "true"),
        ] {
            let text = format!("name: a\nversion: \"1\"\nrelease: 1\nhomepage: h\nlicense: MIT\n{tuning}");
            let recipe = parse("stone.yaml", &text).unwrap().recipe;
            let macros = Macros::for_target("x86_64").unwrap();
            let error = resolve(&recipe, &macros, Toolchain::Llvm).unwrap_err().to_string();
            assert!(error.starts_with("stone.yaml:7:4: error: "), "{error}");
            assert!(error.contains(message) && error.contains(help), "{error}");
        }
    }
}
