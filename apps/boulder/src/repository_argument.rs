//! A repository as one word of the command line: `id=NAME,base-uri=URL,channel=main,version=stream/volatile,priority=10`.

use repository::{RepositoryConfig, RepositoryFields};

/// Reads the word.
///
/// # Errors
/// With a sentence for whoever typed it.
pub(crate) fn parse(text: &str) -> Result<RepositoryConfig, String> {
    let mut id = None;
    let mut fields = RepositoryFields::default();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not KEY=VALUE"))?;
        let value = Some(value.to_owned());
        match key.trim() {
            "id" | "name" => id = value,
            "description" => fields.description = value,
            "uri" => fields.uri = value,
            "base-uri" => fields.base_uri = value,
            "channel" => fields.channel = value,
            "version" => fields.version = value,
            "arch" => fields.arch = value,
            "priority" => {
                let number = value.as_deref().unwrap_or_default().parse();
                fields.priority =
                    Some(number.map_err(|_| format!("the priority in {pair:?} is no whole number"))?);
            }
            other => {
                return Err(format!(
                    "{other:?} is not a key; known are id, uri, base-uri, channel, version, arch, priority, description"
                ));
            }
        }
    }
    let id = id.ok_or("a repository needs an id")?;
    fields.description.get_or_insert_with(|| id.clone());
    fields.priority.get_or_insert(0);
    RepositoryConfig::from_fields(&id, &fields).map_err(|error| fault::chain(&error).join(": "))
}

#[cfg(test)]
mod tests {
    use repository::RepositorySource;

    use super::*;

    #[test]
    fn both_kinds_of_address() {
        let direct = parse("id=local,uri=file:///srv/stone.index,priority=5").unwrap();
        assert_eq!((direct.id.as_str(), direct.priority), ("local", 5));
        assert!(matches!(direct.source, RepositorySource::Direct { .. }));
        let versioned = parse("id=main,base-uri=http://127.0.0.1:1,version=stream/volatile").unwrap();
        assert!(matches!(versioned.source, RepositorySource::Versioned { .. }));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("uri=file:///x", "needs an id"),
            ("id=a,url=x", "\"url\" is not a key"),
            ("id=a,uri=file:///x,priority=high", "no whole number"),
            ("id=a", "uri"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
