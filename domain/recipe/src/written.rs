//! The first stage: a YAML text as a tree of nodes, each with its place, each scalar as it was written.
//!
//! Nothing is interpreted here: `1.10` stays the five characters it is, `yes` stays a word. The YAML that a recipe
//! may use is the plain part of the language; what only serves to confuse or to blow up memory is refused by name:
//! anchors and aliases, tags, merge keys, more than one document, keys that are not plain words, and the same key twice.
//! Size, depth and number of nodes are bounded, so the tree is never much larger than the text.

use std::collections::BTreeMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use crate::error::RecipeError;
use crate::problem::{Position, Problem, Severity, Source};

/// The largest recipe known, llvm's, has 42 KB; 1 MiB leaves room and keeps a farm safe from absurd ones.
pub const INPUT_BYTES_MAX: usize = 1 << 20;

/// Recipes nest five levels deep (`packages`, its entry, its fields, `paths`, a pair); the rest is reserve.
pub const DEPTH_MAX: usize = 24;

/// The largest recipe known has about 1,000 nodes.
pub const NODES_MAX: usize = 100_000;

/// A file that is YAML of the kind we accept, nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub(crate) source: Arc<Source>,
    pub(crate) root: Node,
}

/// One node of the tree and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub start: Position,
    /// What it holds.
    pub value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A single value.
    Scalar {
        /// The text; for a plain scalar exactly as written.
        text: String,
        /// How it was written.
        style: Style,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Pairs in the order of the file; no key occurs twice.
    Mapping(Vec<(Key, Node)>),
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: `true`, `1.10`, nothing at all.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// After `|`: the lines of the text are lines of the file.
    Literal,
    /// After `>`.
    Folded,
}

/// The key of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it begins.
    pub start: Position,
}

impl Node {
    /// Whether nothing was written, or `null` or `~`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, style: Style::Plain }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What kind of node this is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a map",
        }
    }
}

impl Written {
    /// The node that everything is in.
    #[must_use]
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Reads a text as YAML.
    ///
    /// # Errors
    /// When the text is too large, is not YAML, or uses a part of YAML that is refused; the one place is named.
    pub fn read(file_name: &str, text: &str) -> Result<Self, RecipeError> {
        if text.len() > INPUT_BYTES_MAX {
            // The text is not kept: whoever sends a gigabyte must not find it copied.
            let source = Source::new(file_name, "");
            let message = format!("the file has {} bytes; the limit is {INPUT_BYTES_MAX}", text.len());
            return Err(RecipeError::one(source.problem(Severity::Error, Position::START, message)));
        }
        let source = Source::new(file_name, text.strip_prefix('\u{feff}').unwrap_or(text));
        let mut builder = Builder { source: &source, open: Vec::new(), root: None, nodes: 0, documents: 0 };
        let mut parser = Parser::new_from_str(&source.text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                let at = position(*error.marker());
                RecipeError::one(source.problem(
                    Severity::Error,
                    at,
                    format!("not valid YAML: {}", error.info()),
                ))
            })?;
            if event == Event::StreamEnd {
                break;
            }
            builder.event(event, span).map_err(RecipeError::one)?;
        }
        let root = builder.root.take().ok_or_else(|| {
            RecipeError::one(source.problem(Severity::Error, Position::START, "the file is empty"))
        })?;
        Ok(Self { source, root })
    }
}

/// A collection that is not closed yet.
enum Open {
    Sequence { start: Position, items: Vec<Node> },
    Mapping { start: Position, pairs: Vec<(Key, Node)>, key: Option<Key>, lines: BTreeMap<String, usize> },
}

struct Builder<'s> {
    source: &'s Source,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let start = position(span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(self.refuse(
                        start,
                        "a second document begins here",
                        "keep one document in the file",
                    ));
                }
                Ok(())
            }
            Event::Alias(_) => {
                Err(self.refuse(start, "aliases (*name) are not accepted", "write the value out"))
            }
            Event::Scalar(_, _, anchor, ref tag) => {
                self.refuse_decoration(start, anchor, tag.is_some())?;
                self.scalar(event, start)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_decoration(start, anchor, tag.is_some())?;
                self.begin(start, Open::Sequence { start, items: Vec::new() })
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_decoration(start, anchor, tag.is_some())?;
                self.begin(
                    start,
                    Open::Mapping { start, pairs: Vec::new(), key: None, lines: BTreeMap::new() },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn refuse_decoration(&self, start: Position, anchor: usize, tagged: bool) -> Result<(), Problem> {
        if anchor != 0 {
            return Err(self.refuse(start, "anchors (&name) are not accepted", "remove the anchor"));
        }
        if tagged {
            return Err(self.refuse(start, "tags (!name) are not accepted", "remove the tag"));
        }
        Ok(())
    }

    fn scalar(&mut self, event: Event<'_>, start: Position) -> Result<(), Problem> {
        let Event::Scalar(text, style, _, _) = event else { return Ok(()) };
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::Folded => Style::Folded,
        };
        if let Some(Open::Mapping { key: key @ None, lines, .. }) = self.open.last_mut() {
            let text = text.into_owned();
            if text == "<<" && style == Style::Plain {
                return Err(self.refuse(start, "merge keys (<<) are not accepted", "write the pairs out"));
            }
            if let Some(line) = lines.insert(text.clone(), start.line) {
                let message = format!("the key {text:?} was already given in line {line}");
                return Err(self.refuse(start, &message, "keep one of the two"));
            }
            *key = Some(Key { text, start });
            return self.count(start);
        }
        self.place(Node { start, value: Value::Scalar { text: text.into_owned(), style } })
    }

    fn begin(&mut self, start: Position, open: Open) -> Result<(), Problem> {
        if matches!(self.open.last(), Some(Open::Mapping { key: None, .. })) {
            return Err(self.refuse(start, "a key must be a word, not a list or a map", "quote it"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(self.refuse(start, &format!("nested deeper than {DEPTH_MAX} levels"), "nest less"));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        match self.open.pop() {
            Some(Open::Sequence { start, items }) => {
                self.place(Node { start, value: Value::Sequence(items) })
            }
            Some(Open::Mapping { start, pairs, .. }) => {
                self.place(Node { start, value: Value::Mapping(pairs) })
            }
            None => Ok(()),
        }
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node) -> Result<(), Problem> {
        self.count(node.start)?;
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { pairs, key, .. }) => {
                if let Some(key) = key.take() {
                    pairs.push((key, node));
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, at: Position) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.refuse(at, &format!("more than {NODES_MAX} values"), "split the file"));
        }
        Ok(())
    }

    fn refuse(&self, at: Position, message: &str, help: &str) -> Problem {
        self.source.problem(Severity::Error, at, message).with_help(help)
    }
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let error = Written::read("stone.yaml", text).unwrap_err();
        assert_eq!(error.problems().len(), 1);
        error.to_string()
    }

    #[test]
    fn scalars_keep_their_text_and_their_place() {
        let written = Written::read("stone.yaml", "# x\nversion : 1.10\nempty:\nlist:\n  - \"a\"\n").unwrap();
        let Value::Mapping(pairs) = &written.root.value else { panic!("a map") };
        let (key, value) = &pairs[0];
        assert_eq!((key.text.as_str(), key.start), ("version", Position { line: 2, column: 1 }));
        assert_eq!(value.start, Position { line: 2, column: 11 });
        assert_eq!(value.value, Value::Scalar { text: "1.10".into(), style: Style::Plain });
        assert!(pairs[1].1.is_null());
        let Value::Sequence(items) = &pairs[2].1.value else { panic!("a list") };
        assert_eq!(items[0].start, Position { line: 5, column: 5 });
    }

    #[test]
    fn what_confuses_is_refused_by_name() {
        for (text, reason) in [
            ("", "empty"),
            ("# only a comment\n", "empty"),
            ("a: &x 1\nb: *x\n", "anchors"),
            ("a: *x\n", "not valid YAML"),
            ("a: !!str 1\n", "tags"),
            ("<<: {a: 1}\n", "merge keys"),
            ("a: 1\nb: 2\na: 3\n", "already given in line 1"),
            ("a: 1\n---\nb: 1\n", "second document"),
            ("[a, b]: 1\n", "a key must be a word"),
            ("a: [1, 2\n", "not valid YAML"),
            ("a: \"x\n", "not valid YAML"),
        ] {
            let message = refused(text);
            assert!(message.contains(reason), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_repeated_key_is_named_with_both_places() {
        assert!(refused("a: 1\nb: 2\na: 3\n").starts_with("stone.yaml:3:1: error: "));
    }

    #[test]
    fn size_depth_and_number_are_bounded() {
        assert!(refused(&"x".repeat(INPUT_BYTES_MAX + 1)).contains("the limit is"));
        assert!(refused(&format!("{}{}", "[".repeat(100), "]".repeat(100))).contains("nested deeper"));
        refused(&"[".repeat(100_000));
        refused(&"- ".repeat(100_000));
        refused(&"{a: ".repeat(100_000));
        assert!(refused(&format!("[{}]", "1,".repeat(NODES_MAX + 1))).contains("more than"));
    }
}
