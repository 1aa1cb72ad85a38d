//! Repositories in KDL: read, written, and changed in place without touching what else a file says.

use std::path::Path;

use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};
use repository::{RepositoryConfig, RepositoryFields, RepositorySource, sanitize_id};

use super::RepositoriesError;
use super::source_keys;

/// The node of a system model below which its repositories are.
const MODEL_REPOSITORIES: &str = "repositories";

/// What a text says of repositories: name and keys, in its order. In a system model they are below `repositories`.
pub(super) fn read(
    path: &Path,
    text: &str,
    is_model: bool,
) -> Result<Vec<(String, RepositoryFields)>, RepositoriesError> {
    let document = document(path, text)?;
    let syntax = |offset: usize, reason: String| syntax(path, text, offset, reason);
    let repositories = if is_model {
        document.get(MODEL_REPOSITORIES).and_then(KdlNode::children).map_or(&[][..], KdlDocument::nodes)
    } else {
        document.nodes()
    };
    let mut found = Vec::new();
    for node in repositories {
        let mut fields = RepositoryFields::default();
        for key in node.children().map_or(&[][..], KdlDocument::nodes) {
            read_key(&mut fields, key, is_model).map_err(|reason| syntax(key.span().offset(), reason))?;
        }
        found.push((node.name().value().to_owned(), fields));
    }
    Ok(found)
}

/// The text as KDL.
pub(super) fn document(path: &Path, text: &str) -> Result<KdlDocument, RepositoriesError> {
    KdlDocument::parse_v2(text).map_err(|error| {
        let first = error.diagnostics.first();
        let reason =
            first.and_then(|problem| problem.message.clone()).unwrap_or_else(|| "it is not KDL".into());
        syntax(path, text, first.map_or(0, |problem| problem.span.offset()), reason)
    })
}

fn syntax(path: &Path, text: &str, offset: usize, reason: String) -> RepositoriesError {
    let line = text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1);
    RepositoriesError::Syntax { path: path.to_path_buf(), line, reason }
}

fn read_key(fields: &mut RepositoryFields, node: &KdlNode, is_model: bool) -> Result<(), String> {
    let key = node.name().value();
    let texts = || {
        let text = |entry: &KdlEntry| match (entry.name(), entry.value().as_string()) {
            (None, Some(text)) => Ok(text.to_owned()),
            _ => Err(format!("the values of {key} must be text")),
        };
        node.entries().iter().map(text).collect::<Result<Vec<String>, String>>()
    };
    match key {
        // These may be repeated, and have several values.
        "key" => {
            fields.keys.extend(texts()?);
            return Ok(());
        }
        "mirror" => {
            fields.mirrors.extend(texts()?);
            return Ok(());
        }
        _ => {}
    }
    let value = match node.entries() {
        [entry] if entry.name().is_none() => entry.value(),
        _ => return Err(format!("{key} must have one value")),
    };
    let text =
        || value.as_string().map(str::to_owned).ok_or_else(|| format!("the value of {key} must be text"));
    match key {
        "description" => fields.description = Some(text()?),
        "uri" => fields.uri = Some(text()?),
        "base-uri" => fields.base_uri = Some(text()?),
        "channel" => fields.channel = Some(text()?),
        "version" => fields.version = Some(text()?),
        "arch" => fields.arch = Some(text()?),
        "priority" => {
            let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
            fields.priority = Some(number.ok_or("the value of priority must be a whole number from 0")?);
        }
        _ if key == active_key(is_model) => {
            let active =
                value.as_bool().ok_or_else(|| format!("the value of {key} must be #true or #false"))?;
            fields.active = Some(active);
        }
        _ => return Err(format!("{key} is not a key of a repository")),
    }
    Ok(())
}

/// What a file calls whether a repository is used.
pub(super) fn active_key(is_model: bool) -> &'static str {
    if is_model { "enabled" } else { "active" }
}

/// A file with this repository alone.
pub(super) fn file(config: &RepositoryConfig) -> String {
    let mut document = KdlDocument::new();
    document.nodes_mut().push(repository_node(config, active_key(false)));
    document.autoformat();
    document.to_string()
}

/// The same text with another source of one repository; none when it is not there.
pub(super) fn with_source(text: &str, id: &str, is_model: bool, source: &RepositorySource) -> Option<String> {
    let mut document = KdlDocument::parse_v2(text).ok()?;
    let repositories =
        if is_model { document.get_mut(MODEL_REPOSITORIES)?.children_mut().as_mut()? } else { &mut document };
    let node = repositories.nodes_mut().iter_mut().find(|node| sanitize_id(node.name().value()) == id)?;
    let keys = node.children_mut().as_mut()?.nodes_mut();
    let wanted = source_keys(source);
    // Where the first of them was, the new ones begin; the lines look like its line.
    let place = keys.iter().position(|key| is_source_key(key.name().value()))?;
    let format = keys.get(place)?.format().cloned();
    let mut next = place;
    for (name, value) in wanted {
        match keys.iter_mut().position(|key| key.name().value() == name) {
            Some(position) => {
                if let Some(entry) = keys.get_mut(position).and_then(|key| key.entries_mut().first_mut())
                    && entry.value().as_string() != Some(value.as_str())
                {
                    *entry = KdlEntry::new(value);
                    // Written anew it has no room before it.
                    entry.autoformat();
                }
                next = next.max(position + 1);
            }
            None => {
                let mut key = KdlNode::new(name);
                key.push(KdlEntry::new(value));
                if let Some(format) = &format {
                    key.set_format(format.clone());
                }
                keys.insert(next, key);
                next += 1;
            }
        }
    }
    keys.retain(|key| {
        let name = key.name().value();
        !is_source_key(name) || source_keys(source).iter().any(|(wanted, _)| *wanted == name)
    });
    Some(document.to_string())
}

fn is_source_key(name: &str) -> bool {
    matches!(name, "uri" | "base-uri" | "channel" | "version" | "arch")
}

/// The repository as a KDL node; `active_key` is what the file calls whether it is used.
pub(crate) fn repository_node(config: &RepositoryConfig, active_key: &str) -> KdlNode {
    let fields = config.to_fields();
    let mut children = KdlDocument::new();
    let mut push = |key: &str, value: KdlValue| {
        let mut node = KdlNode::new(key);
        node.push(KdlEntry::new(value));
        children.nodes_mut().push(node);
    };
    let texts = [
        ("description", fields.description),
        ("uri", fields.uri),
        ("base-uri", fields.base_uri),
        ("channel", fields.channel),
        ("version", fields.version),
        ("arch", fields.arch),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            push(key, KdlValue::String(text));
        }
    }
    for (key, texts) in [("key", fields.keys), ("mirror", fields.mirrors)] {
        texts.into_iter().for_each(|text| push(key, KdlValue::String(text)));
    }
    push("priority", KdlValue::Integer(i128::from(config.priority)));
    if !config.active {
        push(active_key, KdlValue::Bool(false));
    }
    let mut node = KdlNode::new(config.id.as_str());
    node.set_children(children);
    node
}
