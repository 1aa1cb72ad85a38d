//! The script language: `%%`, `%action`, `%(definition)`, and inside macros `%(_value)`.
//!
//! Expansion is textual and happens before the shell sees anything, comments and quotes included. It is bounded
//! in depth and in size, and an error names the place in the text that was to be expanded and the way from there.

use std::collections::{BTreeMap, BTreeSet};

use package::Dependency;

use crate::macros::Macros;
use crate::problem::suggest;

/// How deep macros may call macros; the number is the reference tool's.
pub const DEPTH_MAX: usize = 128;

/// A script of this size is a loop of macros or an attack; the largest known has 40 KB.
const OUTPUT_BYTES_MAX: usize = 8 << 20;

/// Why a text cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpandError {
    /// Where in the outermost text.
    pub(crate) offset_bytes: usize,
    pub(crate) message: String,
    pub(crate) help: String,
    /// The macros on the way, outermost first, as they are written.
    pub(crate) trace: Vec<String>,
}

/// Macros and values for one script.
#[derive(Debug, Clone)]
pub(crate) struct Expander<'m> {
    pub(crate) macros: &'m Macros,
    /// By name, without the underscore.
    pub(crate) values: BTreeMap<&'static str, String>,
    /// Definitions of the caller, which replace those of the macros.
    pub(crate) overrides: &'m BTreeMap<String, String>,
}

/// What a text became.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// What the actions in it need.
    pub(crate) dependencies: BTreeSet<Dependency>,
}

/// One piece of a text.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    Action(&'t str),
    Definition(&'t str),
    /// `%(` without a name and a closing bracket behind it.
    Unclosed,
}

impl Expander<'_> {
    /// Expands a text of a recipe.
    pub(crate) fn expand(&self, text: &str) -> Result<Expanded, ExpandError> {
        let mut expanded = Expanded::default();
        for (offset_bytes, piece) in pieces(text) {
            self.piece(&piece, false, &mut Vec::new(), &mut expanded)
                .map_err(|error| ExpandError { offset_bytes, ..error })?;
        }
        Ok(expanded)
    }

    /// Expands a text of a macro file, where built-in values may be named.
    pub(crate) fn expand_inside(&self, text: &str) -> Result<Expanded, ExpandError> {
        let mut expanded = Expanded::default();
        self.nested(text, &mut Vec::new(), &mut expanded)?;
        Ok(expanded)
    }

    fn nested(&self, text: &str, trace: &mut Vec<String>, into: &mut Expanded) -> Result<(), ExpandError> {
        pieces(text).try_for_each(|(_, piece)| self.piece(&piece, true, trace, into))
    }

    fn piece(
        &self,
        piece: &Piece<'_>,
        inside: bool,
        trace: &mut Vec<String>,
        into: &mut Expanded,
    ) -> Result<(), ExpandError> {
        match *piece {
            Piece::Text(text) => {
                if into.text.len() + text.len() > OUTPUT_BYTES_MAX {
                    let message = format!("the expanded text is larger than {OUTPUT_BYTES_MAX} bytes");
                    return Err(failure(message, "use fewer macros", trace));
                }
                into.text.push_str(text);
                Ok(())
            }
            Piece::Unclosed => Err(failure(
                "%( is not followed by a name and a closing bracket".to_owned(),
                "write %%( for a percent sign before a bracket",
                trace,
            )),
            Piece::Action(name) => self.action(name, trace, into),
            Piece::Definition(name) => self.definition(name, inside, trace, into),
        }
    }

    fn action(&self, name: &str, trace: &mut Vec<String>, into: &mut Expanded) -> Result<(), ExpandError> {
        if matches!(name, "break_continue" | "break_exit") {
            return Err(failure(
                format!("the breakpoint %{name} needs a person at a terminal"),
                "remove it: this is an unattended build",
                trace,
            ));
        }
        let Some(action) = self.macros.actions.get(name) else {
            return Err(self.unknown_action(name, trace));
        };
        into.dependencies.extend(action.dependencies.iter().cloned());
        self.descend(format!("%{name}"), &action.command, trace, into)
    }

    fn unknown_action(&self, name: &str, trace: &[String]) -> ExpandError {
        let help = if self.find_definition(name).is_some() {
            format!("write %({name}) for the definition")
        } else {
            match suggest(name, self.macros.actions.keys().map(String::as_str)) {
                Some(meant) => format!("did you mean %{meant}? For a percent sign write %%"),
                None => format!("for a percent sign write %%{name}"),
            }
        };
        failure(format!("there is no action %{name}"), &help, trace)
    }

    fn definition(
        &self,
        name: &str,
        inside: bool,
        trace: &mut Vec<String>,
        into: &mut Expanded,
    ) -> Result<(), ExpandError> {
        if let Some(value) = name.strip_prefix('_').and_then(|name| self.values.get(name)) {
            if inside {
                return self.piece(&Piece::Text(value), true, trace, into);
            }
            let help = format!("write %({})", name.trim_start_matches('_'));
            return Err(failure(format!("%({name}) is only for macros"), &help, trace));
        }
        if let Some(text) = self.find_definition(name) {
            return self.descend(format!("%({name})"), text, trace, into);
        }
        if let Some(value) = self.values.get(name) {
            return self.piece(&Piece::Text(value), true, trace, into);
        }
        let known = self.macros.definitions.keys().map(String::as_str).chain(self.values.keys().copied());
        let help = if self.macros.actions.contains_key(name) {
            format!("write %{name} for the action")
        } else {
            match suggest(name, known) {
                Some(meant) => format!("did you mean %({meant})?"),
                None => "for a percent sign write %%".to_owned(),
            }
        };
        Err(failure(format!("there is no definition %({name})"), &help, trace))
    }

    fn find_definition(&self, name: &str) -> Option<&str> {
        self.overrides.get(name).or_else(|| self.macros.definitions.get(name)).map(String::as_str)
    }

    fn descend(
        &self,
        step: String,
        text: &str,
        trace: &mut Vec<String>,
        into: &mut Expanded,
    ) -> Result<(), ExpandError> {
        trace.push(step);
        if trace.len() > DEPTH_MAX {
            let message = format!("macros call each other more than {DEPTH_MAX} levels deep");
            return Err(failure(message, "a macro that calls itself has no end", trace));
        }
        self.nested(text, trace, into)?;
        trace.pop();
        Ok(())
    }
}

fn failure(message: String, help: &str, trace: &[String]) -> ExpandError {
    ExpandError { offset_bytes: 0, message, help: help.to_owned(), trace: trace.to_vec() }
}

/// Cuts a text at its percent signs; each piece comes with its place.
fn pieces(text: &str) -> impl Iterator<Item = (usize, Piece<'_>)> {
    let mut place = 0;
    std::iter::from_fn(move || {
        let rest = text.get(place..).filter(|rest| !rest.is_empty())?;
        let start = place;
        let (length, piece) = first_piece(rest);
        place += length;
        Some((start, piece))
    })
}

/// The first piece of a text that is not empty, and its length in bytes.
fn first_piece(text: &str) -> (usize, Piece<'_>) {
    let Some(behind) = text.strip_prefix('%') else {
        let end = text.find('%').unwrap_or(text.len());
        return (end, Piece::Text(text.get(..end).unwrap_or(text)));
    };
    if behind.starts_with('%') {
        return (2, Piece::Text("%"));
    }
    if let Some(bracketed) = behind.strip_prefix('(') {
        let name = identifier(bracketed);
        return match bracketed.get(name.len()..) {
            Some(end) if !name.is_empty() && end.starts_with(')') => {
                (name.len() + 3, Piece::Definition(name))
            }
            _ => (2, Piece::Unclosed),
        };
    }
    match identifier(behind) {
        // ${path%/*} and the like: a percent sign before anything else is itself.
        "" => (1, Piece::Text("%")),
        name => (name.len() + 1, Piece::Action(name)),
    }
}

fn identifier(text: &str) -> &str {
    let end =
        text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(test: impl FnOnce(&Expander<'_>) -> T) -> T {
        let mut macros = Macros::for_target("x86_64").unwrap();
        macros.definitions.insert("loop".into(), "x%(loop)".into());
        macros.definitions.insert("broken".into(), "%(deeper)".into());
        macros.definitions.insert("deeper".into(), "%(nowhere)".into());
        macros.definitions.insert("secret".into(), "%(_name)".into());
        let overrides = BTreeMap::from([("vendorID".to_owned(), "pc-linux-gnu".to_owned())]);
        let values = BTreeMap::from([
            ("name", "nano".to_owned()),
            ("jobs", "4".to_owned()),
            ("installroot", "/i".into()),
        ]);
        test(&Expander { macros: &macros, values, overrides: &overrides })
    }

    #[test]
    fn texts() {
        with(|expander| {
            for (text, expect) in [
                ("plain", "plain"),
                ("100%% sure", "100% sure"),
                ("${x%%.*}", "${x%.*}"),
                ("${x%/*} % %- %", "${x%/*} % %- %"),
                ("%(name)-%(jobs)", "nano-4"),
                ("%(secret)", "nano"),
                ("%(libdir)/x", "/usr/lib/x"),
                ("%(host_platform)", "x86_64-pc-linux-gnu"),
                ("%make check", "make VERBOSE=1 -j4 check"),
                ("%make_install\\\n x", "make VERBOSE=1 -j4 install DESTDIR=/i\\\n x"),
                ("# %make", "# make VERBOSE=1 -j4"),
                ("ä%(name)ö", "änanoö"),
            ] {
                assert_eq!(expander.expand(text).unwrap().text, expect, "{text}");
            }
        });
    }

    #[test]
    fn actions_bring_their_dependencies() {
        with(|expander| {
            let expanded = expander.expand("%make\n%patch x").unwrap();
            let names: Vec<String> = expanded.dependencies.iter().map(ToString::to_string).collect();
            assert_eq!(names, ["binary(make)", "binary(patch)"]);
        });
    }

    #[test]
    fn faults_name_the_place_the_way_and_the_remedy() {
        with(|expander| {
            for (text, offset, message, help) in [
                ("a %nothing", 2, "no action %nothing", "%%nothing"),
                ("%mak", 0, "no action %mak", "%make"),
                ("%name", 0, "no action %name", "%%name"),
                ("%libdir", 0, "no action %libdir", "%(libdir)"),
                ("ä %(libdr)", 3, "no definition %(libdr)", "%(libdir)"),
                ("%(make)", 0, "no definition %(make)", "%make for the action"),
                ("%(_name)", 0, "only for macros", "%(name)"),
                ("%(name", 0, "closing bracket", "%%("),
                ("%()", 0, "closing bracket", "%%("),
                ("%break_continue", 0, "breakpoint", "unattended"),
            ] {
                let error = expander.expand(text).unwrap_err();
                assert_eq!(error.offset_bytes, offset, "{text}");
                assert!(error.message.contains(message), "{text}: {}", error.message);
                assert!(error.help.contains(help), "{text}: {}", error.help);
            }
            let error = expander.expand("x %(broken)").unwrap_err();
            assert_eq!(
                (error.offset_bytes, error.trace),
                (2, vec!["%(broken)".to_owned(), "%(deeper)".to_owned()])
            );
        });
    }

    #[test]
    fn depth_and_size_are_bounded() {
        with(|expander| {
            let error = expander.expand("%(loop)").unwrap_err();
            assert!(error.message.contains("128 levels"), "{}", error.message);
            assert_eq!(error.trace.len(), DEPTH_MAX + 1);
            let error = expander.expand("%scriptBase").unwrap_err();
            assert!(error.message.contains("no definition"), "{}", error.message);
            let error = expander.expand(&"%(options_configure)".repeat(50_000)).unwrap_err();
            assert!(error.message.contains("larger than"), "{}", error.message);
        });
    }
}
