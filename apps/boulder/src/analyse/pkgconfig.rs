//! pkg-config files: which module they are, and which others they need.
//!
//! The file is read as text, not through the `pkg-config` program: what a package needs must not depend on what the
//! machine that packages it has installed. Versions are left out, as everywhere in this format.

use std::collections::BTreeMap;

use package::{Dependency, DependencyKind};

use super::Facts;

/// How deep `${variables}` may refer to each other.
const EXPANSION_DEPTH_MAX: usize = 16;
/// Length of one expanded value, so that variables that double each other end.
const EXPANSION_BYTES_MAX: usize = 64 << 10;

/// Adds what the `.pc` file at `/usr/BELOW_USR` with this text says.
pub(super) fn add_facts(below_usr: &str, text: &str, exists: &dyn Fn(&str) -> bool, facts: &mut Facts) {
    let (directory, name) = below_usr.rsplit_once('/').unwrap_or(("", below_usr));
    let stem = name.strip_suffix(".pc").unwrap_or(name);
    let is_32_bit = directory.split('/').any(|part| part == "lib32");
    let own_kind = if is_32_bit { DependencyKind::PkgConfig32 } else { DependencyKind::PkgConfig };
    if !stem.is_empty() {
        facts.provides.insert(Dependency::new(own_kind, stem));
    }
    for module in required_modules(text) {
        // A 32-bit module may also need one that has no 32-bit form, such as a module of headers only.
        let needed_kind = match is_32_bit {
            true if exists(&format!("/usr/{directory}/{module}.pc")) => DependencyKind::PkgConfig32,
            true if exists(&format!("/usr/lib32/pkgconfig/{module}.pc")) => DependencyKind::PkgConfig32,
            _ => DependencyKind::PkgConfig,
        };
        facts.depends.insert(Dependency::new(needed_kind, module));
    }
}

/// The modules named by `Requires` and `Requires.private`, in the order of the file.
fn required_modules(text: &str) -> Vec<String> {
    let mut variables = BTreeMap::new();
    let mut modules = Vec::new();
    for line in logical_lines(text) {
        let line = line.trim();
        let Some(position) = line.find([':', '=']) else { continue };
        let (key, value) = (line[..position].trim(), line[position + 1..].trim());
        if line.as_bytes()[position] == b'=' {
            variables.insert(key.to_owned(), value.to_owned());
        } else if key == "Requires" || key == "Requires.private" {
            modules.extend(module_names(&expand(value, &variables, 0)));
        }
    }
    modules
}

/// Lines without comments, those that end with a backslash joined to the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for line in text.lines() {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        let (content, continues) = line.strip_suffix('\\').map_or((line, false), |content| (content, true));
        if let Some(last) = lines.last_mut() {
            last.push_str(content);
        }
        if !continues {
            lines.push(String::new());
        }
    }
    lines
}

/// Names of a list such as `glib-2.0 >= 2.50, zlib`.
fn module_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut words =
        list.split(|letter: char| letter == ',' || letter.is_whitespace()).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        if matches!(word, "=" | "<" | ">" | "<=" | ">=" | "!=") {
            // The word after a comparison is a version.
            words.next();
        } else {
            let name = word.split(['<', '>', '=', '!']).next().unwrap_or(word);
            if !name.is_empty() && !name.contains('/') {
                names.push(name.to_owned());
            }
        }
    }
    names
}

fn expand(value: &str, variables: &BTreeMap<String, String>, depth: usize) -> String {
    let mut expanded = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        expanded.push_str(before);
        let Some((name, tail)) = after.split_once('}') else { break };
        if let Some(inner) = variables.get(name).filter(|_| depth < EXPANSION_DEPTH_MAX) {
            expanded.push_str(&expand(inner, variables, depth + 1));
        }
        if expanded.len() > EXPANSION_BYTES_MAX {
            return expanded;
        }
        rest = tail;
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(required_modules(text), expected, "{text:?}");
    }

    #[test]
    fn required_modules_without_their_versions() {
        check(
            "Requires: glib-2.0 >= 2.50, zlib\nRequires.private: libpng16\n",
            &["glib-2.0", "zlib", "libpng16"],
        );
        check("Requires: a>=1 b\n", &["a", "b"]);
        check("Requires:\nLibs: -lx\n", &[]);
        check("# Requires: x\nRequires: \\\n  y\n", &["y"]);
        check("Requires: ../../etc/passwd\n", &[]);
    }

    #[test]
    fn variables_are_expanded_and_bounded() {
        check("dep=zlib\nRequires: ${dep}\n", &["zlib"]);
        check("a=${b}\nb=${a}\nRequires: ${a} x\n", &["x"]);
        let bomb: String =
            (0..40).map(|level| format!("v{}=${{v{level}}}${{v{level}}}\n", level + 1)).collect();
        let names = required_modules(&format!("v0=aaaaaaaa\n{bomb}Requires: ${{v40}}\n"));
        assert!(names.iter().map(String::len).sum::<usize>() <= 2 * EXPANSION_BYTES_MAX);
    }

    #[test]
    fn a_32_bit_module_needs_32_bit_neighbours() {
        let mut facts = Facts::default();
        let exists = |path: &str| path == "/usr/lib32/pkgconfig/zlib.pc";
        add_facts("lib32/pkgconfig/png.pc", "Requires: zlib, headers\n", &exists, &mut facts);
        let texts: Vec<String> = facts.depends.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["pkgconfig(headers)", "pkgconfig32(zlib)"]);
        assert_eq!(facts.provides.iter().next().unwrap().to_string(), "pkgconfig32(png)");
    }
}
