//! `moss repo`: where packages come from.

use clap::Subcommand;
use fault::Fault;
use repository::{RepositoryConfig, RepositoryFields, RepositorySource};
use serde_json::{Value, json};

use super::migrate::{self, MigrateArguments};
use super::{CliError, Options, print, print_json};
use crate::installation::Access;
use crate::refresh::Refreshed;
use crate::reporter::Reporter;
use crate::repositories::{RepositoriesError, add_repository, load_repositories, remove_repository};

#[derive(Debug, Subcommand)]
pub(super) enum RepoCommand {
    /// Add a repository: the address of a stone.index, or with --root-index that of a versioned repository.
    #[command(
        visible_alias = "ar",
        after_help = "JSON: {\"repository\":{…as in list…},\"packages\":n|null}; null when it could not be reached yet"
    )]
    Add {
        /// Its name.
        name: String,
        /// Its address.
        uri: String,
        /// What it is.
        #[arg(short, long, default_value = "")]
        comment: String,
        /// Of two repositories with the same package the one with the larger number wins.
        #[arg(short, long, default_value_t = 0)]
        priority: u64,
        /// Which part of a versioned repository: version=stream/NAME|tag/NAME|history/ID, and channel=… and arch=… where not main and x86_64.
        #[arg(long, value_name = "KEY=VALUE,…")]
        root_index: Option<String>,
        /// Its public key, which must vouch for everything that is fetched. Can be given several times. It may begin with a dash.
        #[arg(long = "key", value_name = "KEY", allow_hyphen_values = true)]
        keys: Vec<String>,
        /// Address of a copy of it, from which packages are taken as well. Can be given several times.
        #[arg(long = "mirror", value_name = "URL")]
        mirrors: Vec<String>,
    },
    /// All repositories, the preferred first.
    #[command(
        visible_alias = "lr",
        after_help = "JSON: {\"repositories\":[{\"id\",\"description\",\"priority\",\"active\",\"keys\":[…],\"mirrors\":[…],\"uri\"|\"base_uri\",\"channel\",\"version\",\"arch\"}]}"
    )]
    List,
    /// Fetch what is new, of all repositories or of one.
    #[command(
        visible_alias = "ur",
        after_help = "JSON: {\"repositories\":[{\"id\",\"packages\":n,\"changed\":bool}]}"
    )]
    Update {
        /// Its name.
        name: Option<String>,
    },
    /// Move repositories to their new addresses: to where they say that they are, or to where you say.
    #[command(
        after_help = "The configuration file is changed in place and kept as it was beside it; keys that are pinned stay pinned.\n\
                      JSON: {\"migrated\":[{\"id\",\"from\",\"to\",\"file\",\"kept\":FILE|null}],\"dry_run\":bool}"
    )]
    Migrate(MigrateArguments),
    /// Remove a repository. What was installed from it stays.
    #[command(visible_alias = "rr", after_help = "JSON: {\"removed\":ID}")]
    Remove {
        /// Its name.
        name: String,
    },
}

pub(super) fn run(
    options: &Options,
    command: RepoCommand,
    reporter: &dyn Reporter,
) -> Result<(), Box<dyn Fault>> {
    match command {
        RepoCommand::Add { name, uri, comment, priority, root_index, keys, mirrors } => {
            let fields = RepositoryFields {
                keys,
                mirrors,
                description: Some(comment),
                priority: Some(priority),
                active: Some(true),
                ..addresses(uri, root_index.as_deref())?
            };
            add(options, &RepositoryConfig::from_fields(&name, &fields)?, reporter)
        }
        RepoCommand::List => list(options, reporter),
        RepoCommand::Migrate(arguments) => migrate::run(options, &arguments, reporter),
        RepoCommand::Update { name } => update(options, name.as_deref(), reporter),
        RepoCommand::Remove { name } => {
            let system = options.system(Access::Write, reporter)?;
            remove_repository(system.installation().root(), &name)?;
            let id = repository::sanitize_id(&name);
            if options.json {
                print_json(&json!({ "removed": id }))
            } else {
                print(&format!("Repository {id} is removed.\n"))
            }
        }
    }
}

fn addresses(uri: String, root_index: Option<&str>) -> Result<RepositoryFields, CliError> {
    let Some(text) = root_index else {
        return Ok(RepositoryFields { uri: Some(uri), ..RepositoryFields::default() });
    };
    let mut fields = RepositoryFields { base_uri: Some(uri), ..RepositoryFields::default() };
    for part in text.split(',') {
        let refuse =
            |why: &str| CliError::RootIndex { text: text.to_owned(), why: format!("{part:?} {why}") };
        let (key, value) = part.split_once('=').ok_or_else(|| refuse("is not of the form KEY=VALUE"))?;
        let place = match key.trim() {
            "version" => &mut fields.version,
            "channel" => &mut fields.channel,
            "arch" => &mut fields.arch,
            _ => return Err(refuse("is none of version, channel and arch")),
        };
        if place.replace(value.trim().to_owned()).is_some() {
            return Err(refuse("is there twice"));
        }
    }
    Ok(fields)
}

fn add(options: &Options, config: &RepositoryConfig, reporter: &dyn Reporter) -> Result<(), Box<dyn Fault>> {
    let system = options.system(Access::Write, reporter)?;
    add_repository(system.installation().root(), config)?;
    // A repository may be added before it is there, so this is no error.
    let packages = match system.refresh(config) {
        Ok((packages, _)) => Some(packages),
        Err(error) => {
            let why = fault::chain(&error).join(": ");
            reporter.warn(&format!("{why}; repository {} is added and will be fetched later", config.id));
            None
        }
    };
    if options.json {
        return print_json(&json!({ "repository": as_json(config), "packages": packages }));
    }
    let count = packages.map(|packages| format!(" with {packages} packages")).unwrap_or_default();
    print(&format!("Repository {} is added{count}.\n", config.id))
}

fn as_json(config: &RepositoryConfig) -> Value {
    let mut value = json!({
        "id": config.id,
        "description": config.description,
        "priority": config.priority,
        "active": config.active,
        "keys": config.keys,
        "mirrors": config.mirrors,
    });
    match &config.source {
        RepositorySource::Direct { uri } => value["uri"] = json!(uri),
        RepositorySource::Versioned { base_uri, channel, version, arch } => {
            value["base_uri"] = json!(base_uri);
            value["channel"] = json!(channel.as_str());
            value["version"] = json!(version.to_string());
            value["arch"] = json!(arch);
        }
    }
    value
}

fn list(options: &Options, reporter: &dyn Reporter) -> Result<(), Box<dyn Fault>> {
    let system = options.system(Access::Read, reporter)?;
    let repositories = load_repositories(system.installation().root())?;
    if options.json {
        return print_json(&json!({ "repositories": repositories.iter().map(as_json).collect::<Vec<_>>() }));
    }
    let mut text = String::new();
    for config in &repositories {
        let place = match &config.source {
            RepositorySource::Direct { uri } => uri.clone(),
            RepositorySource::Versioned { base_uri, channel, version, arch } => {
                format!("{base_uri} {channel} {version} {arch}")
            }
        };
        let off = if config.active { "" } else { "  (not active)" };
        text.push_str(&format!("{:<16} {:>4}  {place}{off}\n", config.id, config.priority));
    }
    print(&text)
}

fn update(options: &Options, name: Option<&str>, reporter: &dyn Reporter) -> Result<(), Box<dyn Fault>> {
    let system = options.system(Access::Write, reporter)?;
    let mut repositories = load_repositories(system.installation().root())?;
    match name.map(repository::sanitize_id) {
        Some(id) => {
            repositories.retain(|config| config.id == id);
            if repositories.is_empty() {
                return Err(RepositoriesError::Unknown { id }.into());
            }
        }
        None => repositories.retain(|config| config.active),
    }
    let (mut objects, mut text) = (Vec::new(), String::new());
    for config in &repositories {
        let (packages, refreshed) = system.refresh(config)?;
        let changed = refreshed == Refreshed::Changed;
        objects.push(json!({ "id": config.id, "packages": packages, "changed": changed }));
        let news = if changed { "updated" } else { "nothing new" };
        text.push_str(&format!("{}: {news}, {packages} packages\n", config.id));
    }
    if options.json { print_json(&json!({ "repositories": objects })) } else { print(&text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_index_is_read_key_by_key() {
        let fields =
            addresses("https://x".into(), Some("version=stream/volatile,channel=main,arch=x86_64")).unwrap();
        assert_eq!(fields.base_uri.as_deref(), Some("https://x"));
        assert_eq!(fields.version.as_deref(), Some("stream/volatile"));
        assert_eq!((fields.channel.as_deref(), fields.arch.as_deref()), (Some("main"), Some("x86_64")));
        assert_eq!(
            addresses("https://x/stone.index".into(), None).unwrap().uri.as_deref(),
            Some("https://x/stone.index")
        );
        for (text, why) in [("stream/x", "KEY=VALUE"), ("colour=red", "none of"), ("arch=a,arch=b", "twice")]
        {
            let error = addresses(String::new(), Some(text)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
