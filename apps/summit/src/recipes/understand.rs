//! What the bytes of a recipe and of a manifest mean. No file is touched here.

use std::collections::BTreeSet;
use std::io::Cursor;

use farm::catalogue::{ManifestEntry, RecipeEntry, Unreadable};
use package::{Dependency, ManifestFile};
use recipe::{Recipe, Text};

/// Problems of one recipe that are named besides the first.
const PROBLEMS_NAMED_MAX: usize = 20;

/// Understands the bytes of one `stone.yaml`. `path` is only named in problems.
///
/// Content and manifest are left empty: the same bytes may lie in several places, with other files beside them.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn understand_recipe(path: &str, text: &[u8]) -> Result<RecipeEntry, Unreadable> {
    let problem = |line: usize, column: usize, message: String| Unreadable {
        path: path.to_owned(),
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
        message,
    };
    if text.len() > recipe::INPUT_BYTES_MAX {
        let message = format!("the file has {} bytes, more than a recipe may have", text.len());
        return Err(problem(0, 0, message));
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = text.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.split(|&byte| byte == b'\n').count();
        problem(line, 0, "the file is not UTF-8 text".into())
    })?;
    let recipe = recipe::parse(path, text)
        .map_err(|error| {
            let Some(first) = error.problems().first() else { return problem(0, 0, error.to_string()) };
            let text = |problem: &recipe::Problem| match &problem.help {
                Some(help) => format!("{}; {help}", problem.message),
                None => problem.message.clone(),
            };
            let others = error.problems().iter().skip(1).take(PROBLEMS_NAMED_MAX);
            let others: String =
                others.map(|other| format!("\nline {}: {}", other.line, text(other))).collect();
            problem(first.line, first.column, text(first) + &others)
        })?
        .recipe;
    if let Err(fault) = package::check_component(&recipe.name) {
        return Err(problem(0, 0, format!("the name {:?} cannot be used: {fault}", recipe.name)));
    }
    let run_depends = run_depends(&recipe).map_err(|(text, message)| {
        let at = text.position(0);
        problem(at.line, at.column, message)
    })?;
    Ok(RecipeEntry {
        path: path.to_owned(),
        content: String::new(),
        packages: recipe.packages.iter().map(|(name, _)| expand(name, &recipe)).collect(),
        build_depends: recipe.all_build_depends(),
        run_depends,
        source: recipe.name,
        version: recipe.version,
        release: recipe.release,
        manifest: None,
    })
}

/// What all packages of the recipe need at run time, as far as it is written there.
fn run_depends(recipe: &Recipe) -> Result<BTreeSet<Dependency>, (&Text, String)> {
    let packages = recipe.packages.iter().map(|(_, fields)| fields);
    let written = std::iter::once(&recipe.package).chain(packages).flat_map(|fields| &fields.rundeps);
    written
        .map(|text| {
            let expanded = expand(text, recipe);
            expanded.parse().map_err(|error: package::DependencyError| (text, error.to_string()))
        })
        .collect()
}

/// Names may be made of these three macros and no others (recipe format, section 3.6).
fn expand(text: &str, recipe: &Recipe) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    text.replace("%(name)", &recipe.name)
        .replace("%(version)", &recipe.version)
        .replace("%(release)", &recipe.release.to_string())
        .replace("%%", "%")
}

/// Understands the bytes of one `manifest.ARCH.bin`.
///
/// # Errors
/// Why it cannot be read, for people. The recipe may be fine all the same: a build makes a new manifest.
pub(crate) fn understand_manifest(bytes: &[u8]) -> Result<ManifestEntry, String> {
    let file = ManifestFile::read(Cursor::new(bytes), &stone::Limits::small())
        .map_err(|error| fault::chain(&error).join(": "))?;
    let mut entry = ManifestEntry::default();
    for mut package in file.into_packages() {
        entry.release = entry.release.max(package.release);
        entry.provides.append(&mut package.provides);
        entry.depends.append(&mut package.depends);
        entry.packages.insert(package.name);
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NANO: &str = "name: nano\nversion: 8.4\nrelease: 3\nhomepage: https://nano-editor.org\nlicense: GPL-3.0-or-later\n\
        summary: s\ndescription: d\nbuilddeps:\n  - ncurses-devel\ncheckdeps:\n  - binary(expect)\n\
        rundeps:\n  - \"%(name)-syntax\"\n  - \"soname(libmagic.so.%(release)(x86_64))\"\n\
        packages:\n  - \"%(name)-syntax\":\n      paths:\n        - /usr/share/nano\n      rundeps: [ binary(file) ]\n";

    #[test]
    fn a_recipe_becomes_an_entry() {
        let entry = understand_recipe("n/nano/stone.yaml", NANO.as_bytes()).unwrap();
        assert_eq!((entry.source.as_str(), entry.version.as_str(), entry.release), ("nano", "8.4", 3));
        assert_eq!(entry.path, "n/nano/stone.yaml");
        assert_eq!(entry.packages, ["nano-syntax"]);
        assert_eq!(entry.build_depends.len(), 2, "what the check needs is needed as well");
        let run_depends: Vec<String> = entry.run_depends.iter().map(Dependency::short).collect();
        assert_eq!(run_depends, ["binary(file)", "nano-syntax", "soname(libmagic.so.3(x86_64))"]);
    }

    #[test]
    fn a_bad_recipe_is_named_by_its_place() {
        for (from, to, place, message) in [
            ("release: 3", "release: none", (3, 10), ""),
            ("- binary(expect)", "- binary(expect", (11, 5), "does not end with"),
            ("\"%(name)-syntax\"\n  - \"soname", "library(x)\n  - \"soname", (13, 5), "is not a kind"),
            ("name: nano", "name: ../nano", (1, 7), ""),
        ] {
            let broken = NANO.replacen(from, to, 1);
            assert_ne!(broken, NANO);
            let problem = understand_recipe("n/nano/stone.yaml", broken.as_bytes()).unwrap_err();
            assert_eq!((problem.path.as_str(), (problem.line, problem.column)), ("n/nano/stone.yaml", place));
            assert!(problem.message.contains(message), "{problem:?}");
        }
        let problem = understand_recipe("x/stone.yaml", b"name: x\n\xff\n").unwrap_err();
        assert_eq!((problem.line, problem.message.as_str()), (2, "the file is not UTF-8 text"));
        let problem =
            understand_recipe("x/stone.yaml", &vec![b' '; recipe::INPUT_BYTES_MAX + 1]).unwrap_err();
        assert!(problem.message.contains("more than a recipe may have"), "{problem:?}");
    }

    #[test]
    fn garbage_is_no_manifest() {
        assert!(understand_manifest(b"garbage").unwrap_err().contains("manifest"));
    }
}
