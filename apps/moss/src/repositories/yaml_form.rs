//! Repositories in YAML: read, and changed in place, line by line.

use std::path::Path;

use recipe::{Key, Node, Value, Written};
use repository::{RepositoryFields, RepositorySource, sanitize_id};

use super::{RepositoriesError, source_keys};

/// What a text says of repositories: name and keys, in its order.
pub(super) fn read(path: &Path, text: &str) -> Result<Vec<(String, RepositoryFields)>, RepositoriesError> {
    let name = path.display().to_string();
    let written = Written::read(&name, text)
        .map_err(|source| RepositoriesError::Yaml { path: path.to_path_buf(), source: Box::new(source) })?;
    let syntax =
        |line: usize, reason: String| RepositoriesError::Syntax { path: path.to_path_buf(), line, reason };
    let Value::Mapping(repositories) = &written.root().value else {
        return Err(syntax(1, "it must be a map of repositories by name".to_owned()));
    };
    let mut found = Vec::new();
    for (name, node) in repositories {
        let Value::Mapping(keys) = &node.value else {
            return Err(syntax(name.start.line, format!("{} must be a map", name.text)));
        };
        let mut fields = RepositoryFields::default();
        for (key, value) in keys {
            read_key(&mut fields, &key.text, value).map_err(|reason| syntax(key.start.line, reason))?;
        }
        found.push((name.text.clone(), fields));
    }
    Ok(found)
}

fn read_key(fields: &mut RepositoryFields, key: &str, node: &Node) -> Result<(), String> {
    let text = || match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => Ok(text.clone()),
        _ => Err(format!("the value of {key} must be text")),
    };
    let texts = || match &node.value {
        Value::Sequence(items) => items
            .iter()
            .map(|item| match &item.value {
                Value::Scalar { text, .. } => Ok(text.clone()),
                _ => Err(format!("the values of {key} must be text")),
            })
            .collect(),
        _ => text().map(|text| vec![text]),
    };
    match key {
        "description" => fields.description = Some(text()?),
        "uri" => fields.uri = Some(text()?),
        "base-uri" => fields.base_uri = Some(text()?),
        "channel" => fields.channel = Some(text()?),
        "version" => fields.version = Some(text()?),
        "arch" => fields.arch = Some(text()?),
        "key" => fields.keys.extend::<Vec<String>>(texts()?),
        "mirror" => fields.mirrors.extend::<Vec<String>>(texts()?),
        "priority" => {
            let number = text()?.parse().ok();
            fields.priority = Some(number.ok_or("the value of priority must be a whole number from 0")?);
        }
        "active" => {
            fields.active = Some(match text()?.as_str() {
                "true" => true,
                "false" => false,
                _ => return Err("the value of active must be true or false".to_owned()),
            });
        }
        _ => return Err(format!("{key} is not a key of a repository")),
    }
    Ok(())
}

/// The same text with another source of one repository; none when it is not there or not written one key to a line.
pub(super) fn with_source(text: &str, id: &str, source: &RepositorySource) -> Option<String> {
    let written = Written::read("", text).ok()?;
    let Value::Mapping(repositories) = &written.root().value else { return None };
    let (_, node) = repositories.iter().find(|(name, _)| sanitize_id(&name.text) == id)?;
    let Value::Mapping(keys) = &node.value else { return None };
    let first = keys.iter().map(|(key, _)| key).find(|key| is_source_key(&key.text))?;
    let mut lines: Vec<Option<String>> = text.lines().map(|line| Some(line.to_owned())).collect();
    let indent = " ".repeat(first.start.column.checked_sub(1)?);
    let mut after_first = String::new();
    for (name, value) in source_keys(source) {
        // Quoted, since an address has a colon in it.
        let line = format!("{indent}{name}: \"{value}\"");
        match keys.iter().find(|(key, _)| key.text == name) {
            Some((_, node)) if matches!(&node.value, Value::Scalar { text, .. } if *text == value) => {}
            Some((key, node)) => *alone(&mut lines, keys, key, node)? = Some(line),
            None => after_first.push_str(&format!("{line}\n")),
        }
    }
    for (key, node) in keys.iter().filter(|(key, _)| is_source_key(&key.text)) {
        if !source_keys(source).iter().any(|(name, _)| *name == key.text) {
            *alone(&mut lines, keys, key, node)? = None;
        }
    }
    let place = first.start.line.checked_sub(1)?;
    let mut edited = String::new();
    for (number, line) in lines.into_iter().enumerate() {
        if let Some(line) = line {
            edited.push_str(&line);
            edited.push('\n');
        }
        if number == place {
            edited.push_str(&after_first);
        }
    }
    Some(edited)
}

/// The line that a key and its value have for themselves; none when they share it or need several.
fn alone<'l>(
    lines: &'l mut [Option<String>],
    keys: &[(Key, Node)],
    key: &Key,
    node: &Node,
) -> Option<&'l mut Option<String>> {
    let others = keys.iter().filter(|(other, _)| other.start.line == key.start.line).count();
    let is_alone = others == 1 && node.start.line == key.start.line;
    let line = lines.get_mut(key.start.line.checked_sub(1)?)?;
    (is_alone && line.as_ref()?.trim_start().starts_with([key.text.chars().next()?, '"', '\'']))
        .then_some(line)
}

fn is_source_key(name: &str) -> bool {
    matches!(name, "uri" | "base-uri" | "channel" | "version" | "arch")
}
