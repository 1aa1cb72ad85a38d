//! Single values: texts, switches, lists, maps with one pair.

use crate::model::{Origin, Text};
use crate::problem::Position;
use crate::read::{Reader, shorten};
use crate::written::{Key, Node, Style, Value};

impl Reader {
    /// The text of a scalar that must be there, and how it was written.
    pub(super) fn required(&mut self, node: &Node, what: &str) -> Option<(String, Style)> {
        match &node.value {
            Value::Scalar { text, style } if !node.is_null() && !text.trim().is_empty() => {
                Some((text.clone(), *style))
            }
            Value::Scalar { .. } => {
                self.error(node.start, format!("{what} is empty"), "give a value");
                None
            }
            _ => {
                let message = format!("{what} must be a text, not {}", node.kind());
                self.error(node.start, message, "write one value behind the colon");
                None
            }
        }
    }

    /// A required text that a check must accept; empty after an error.
    pub(super) fn checked(
        &mut self,
        node: &Node,
        what: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> String {
        let Some((text, _)) = self.required(node, what) else { return String::new() };
        if let Err(why) = check(&text) {
            let message = format!("{what} {:?} cannot be used: {why}", shorten(&text));
            self.error(node.start, message, format!("choose another {what}"));
        }
        text
    }

    /// A scalar that must be there, in which macros may be expanded.
    pub(crate) fn text(&mut self, node: &Node, what: &str) -> Option<Text> {
        self.required(node, what).map(|(text, style)| self.placed(node, text, style))
    }

    /// A scalar that may be empty, which is as if the key were not there.
    pub(crate) fn optional_text(&mut self, node: &Node, key: &str) -> Option<Text> {
        match &node.value {
            Value::Scalar { .. } if node.is_null() => {
                self.warn_empty(node, key);
                None
            }
            Value::Scalar { text, style } => Some(self.placed(node, text.clone(), *style)),
            _ => {
                let message = format!("{key} must be a text, not {}", node.kind());
                self.error(node.start, message, format!("write `{key}: |` and the text indented below"));
                None
            }
        }
    }

    fn placed(&self, node: &Node, mut text: String, style: Style) -> Text {
        let origin = match style {
            Style::Plain | Style::Folded => Origin::Inline(node.start),
            Style::Quoted => {
                Origin::Inline(Position { line: node.start.line, column: node.start.column + 1 })
            }
            Style::Literal => {
                if !text.is_empty() && !text.ends_with('\n') && self.source.text.ends_with(&text) {
                    text.push('\n');
                }
                self.literal_origin(node.start, &text)
            }
        };
        Text { text, origin }
    }

    /// Finds the lines of a literal block. `start` is its first line that is not blank; all are indented alike.
    fn literal_origin(&self, start: Position, text: &str) -> Origin {
        let blank = text.lines().take_while(|line| line.trim().is_empty()).count();
        let written = self.source.line(start.line).chars().count();
        let kept = text.lines().nth(blank).map_or(written, |line| line.chars().count());
        Origin::Lines {
            first_line: start.line.saturating_sub(blank).max(1),
            indent: written.saturating_sub(kept),
        }
    }

    /// A switch; `None` after an error or when nothing is written.
    pub(super) fn boolean(&mut self, node: &Node, key: &str) -> Option<bool> {
        if node.is_null() {
            self.warn_empty(node, key);
            return None;
        }
        let found = self.boolean_word(node, key);
        if found.is_none() {
            let shown = match &node.value {
                Value::Scalar { text, .. } => format!("{:?}", shorten(text)),
                _ => node.kind().to_owned(),
            };
            let message = format!("{key} must be true or false, not {shown}");
            self.error(node.start, message, format!("write `{key}: true` or `{key}: false`"));
        }
        found
    }

    /// A switch, if the value is one.
    pub(super) fn boolean_word(&mut self, node: &Node, key: &str) -> Option<bool> {
        let Value::Scalar { text, style } = &node.value else { return None };
        let old = match text.as_str() {
            "true" | "True" | "TRUE" => return Some(true),
            "false" | "False" | "FALSE" => return Some(false),
            _ if *style != Style::Plain => return None,
            "yes" | "Yes" | "YES" | "on" | "On" | "ON" => true,
            "no" | "No" | "NO" | "off" | "Off" | "OFF" => false,
            _ => return None,
        };
        self.warn(
            node.start,
            format!("{text} means {old} only to older readers of YAML"),
            format!("write `{key}: {old}`"),
        );
        Some(old)
    }

    /// The items of a list that may be empty.
    pub(crate) fn items<'n>(&mut self, node: &'n Node, key: &str) -> &'n [Node] {
        match &node.value {
            Value::Sequence(items) => items,
            _ if node.is_null() => {
                self.warn_empty(node, key);
                &[]
            }
            _ => {
                let message = format!("{key} must be a list, not {}", node.kind());
                self.error(
                    node.start,
                    message,
                    format!("write `{key}:` alone and below it one `- …` for each"),
                );
                &[]
            }
        }
    }

    /// The texts of a list that may be empty.
    pub(crate) fn texts(&mut self, node: &Node, key: &str) -> Vec<Text> {
        let what = format!("an entry of {key}");
        let mut texts = Vec::new();
        for item in self.items(node, key) {
            texts.extend(self.text(item, &what));
        }
        texts
    }

    /// The pairs of a list of maps with one pair each.
    pub(crate) fn pairs_of_list<'n>(&mut self, node: &'n Node, key: &str) -> Vec<(&'n Key, &'n Node)> {
        let mut pairs = Vec::new();
        for item in self.items(node, key) {
            if let Value::Mapping(entries) = &item.value {
                pairs.extend(self.one_pair(entries, item.start, key));
            } else {
                let message = format!("an entry of {key} must be `name: …`, not {}", item.kind());
                self.error(item.start, message, "put a colon behind the name and its value behind that");
            }
        }
        pairs
    }

    /// The one pair of a map; of several the first in the order of the keys, as the reference tool takes it.
    pub(super) fn one_pair<'n>(
        &mut self,
        pairs: &'n [(Key, Node)],
        at: Position,
        place: &str,
    ) -> Option<(&'n Key, &'n Node)> {
        let chosen = pairs.iter().min_by(|(left, _), (right, _)| left.text.cmp(&right.text));
        let Some((key, value)) = chosen else {
            self.error(
                at,
                format!("an entry of {place} is an empty map"),
                "name something, or remove the entry",
            );
            return None;
        };
        for (other, _) in pairs.iter().filter(|(other, _)| other.text != key.text) {
            let message =
                format!("{:?} is ignored: its entry of {place} already names {:?}", other.text, key.text);
            self.warn(
                other.start,
                message,
                "begin an entry of its own with `- `, or correct the indentation",
            );
        }
        if key.text.trim().is_empty() {
            self.error(key.start, format!("an entry of {place} has no name"), "name it before the colon");
            return None;
        }
        Some((key, value))
    }

    /// The pairs of a map that may be empty.
    pub(crate) fn pairs_of_map<'n>(&mut self, key: &Key, node: &'n Node) -> &'n [(Key, Node)] {
        match &node.value {
            Value::Mapping(pairs) => pairs,
            _ if node.is_null() => {
                self.warn_empty(node, &key.text);
                &[]
            }
            _ => {
                let message = format!("{:?} must be a map of keys, not {}", shorten(&key.text), node.kind());
                self.error(node.start, message, "write its keys indented below it");
                &[]
            }
        }
    }

    fn warn_empty(&mut self, node: &Node, key: &str) {
        self.warn(
            node.start,
            format!("{:?} is empty and has no effect", shorten(key)),
            "remove it, or give a value",
        );
    }
}
